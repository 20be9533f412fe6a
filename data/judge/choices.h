/* choices.h: multiple choice as others publish it: which of several endings a
 * model finds likeliest.
 *
 * A file has an item a line, an object in JSON, of one of two shapes: that of
 * HellaSwag, a context, its endings and the number of the right one; or that of
 * BLiMP, a good and a bad sentence, which are two endings of nothing. An ending's
 * score is the sum of the log-probabilities of its tokens or, the second way,
 * their mean. An item is right if its right ending has the best score; a tie, or a
 * score that is not a number, counts as wrong.
 *
 * It refuses to judge what it has cut: of a row that is longer than the model's
 * context the beginning is left out, and a note says so, but an ending that does
 * not fit is an error.
 *
 * Example: {"ctx": "The sun", "endings": ["rises.", "reads it."], "label": 0} has
 * two rows, scored are the tokens in brackets. With a token a word, a mark alone:
 *
 *     The  sun [ rises] [.]                 -2.0 - 0.5 = -2.5;  -1.25 a token
 *     The  sun [ reads] [ it] [.]    -4.0 - 1.0 - 0.4 = -5.4;  -1.80 a token */
#ifndef CHOICES_H
#define CHOICES_H
#include "measure.h"

typedef struct {
    size_t line;                    /* of the file, from 1 */
    size_t first;                   /* its endings are rows first .. first + n - 1 */
    size_t n;
    size_t right;                   /* the place of the right one among them */
} ChoiceItem;

typedef struct {
    size_t item;
    size_t at;                      /* its ids are id[at .. at + n - 1] */
    size_t n;
    size_t scored;                  /* the last so many of them are the ending */
    double nats;                    /* less the sum of their log-probabilities */
} ChoiceRow;

typedef struct {
    ChoiceItem *item;
    ChoiceRow *row;
    int32_t *id;
    size_t items, rows, ids;
    size_t room[3];                 /* of these lists */
} Choices;

static inline void choices_free(Choices *c) {
    free(c->item);
    free(c->row);
    free(c->id);
    *c = (Choices){0};
}

/* ---- reading ------------------------------------------------------------------ */

static inline void choices_id(Choices *c, uint32_t id) {
    c->id = mem_grow(c->id, c->ids, &c->room[2], sizeof *c->id);
    c->id[c->ids++] = (int32_t)id;
}
/* Adds the ids of n bytes of text. */
static inline void choices_text(Choices *c, const Tokenizer *tok, const char *text,
                                size_t n) {
    uint32_t *id = mem_new(n, sizeof *id);
    const size_t count = tok_encode(tok, (const uint8_t *)text, n, id);
    for (size_t k = 0; k < count; k++) choices_id(c, id[k]);
    free(id);
}
static inline bool choice_space(char c) { return c && strchr(" \t\r\n", c); }

/* The string that j stands before, on the heap, a byte of room before it; its
 * length in *n. */
static inline char *choice_string(Json j, size_t *n) {
    const size_t room = (size_t)(j.end - j.p) + 1;
    char *text = mem_new(room + 1, 1);
    *n = json_string(&j, text + 1, room);
    return text;
}
/* Adds a row to the last item: a context, n bytes that do not end with white space,
 * and the ending that j stands before. They are encoded apart, with a space between
 * them unless the ending begins with white space. Before the ending of an empty
 * context stands the end-of-text id, for its first token needs one before it. */
static inline void choices_row(Choices *c, const Tokenizer *tok, const char *context,
                               size_t n, Json j) {
    size_t bytes;
    char *text = choice_string(j, &bytes);
    const bool space = n && !choice_space(text[1]);
    if (!bytes) json_die(&j, "a text that is not empty");
    ChoiceRow row = {.item = c->items - 1, .at = c->ids};
    if (n) choices_text(c, tok, context, n);
    else choices_id(c, tok->eot);
    const size_t before = c->ids;
    text[0] = ' ';
    choices_text(c, tok, text + !space, bytes + space);
    row.n = c->ids - row.at;
    row.scored = c->ids - before;
    c->row = mem_grow(c->row, c->rows, &c->room[1], sizeof *c->row);
    c->row[c->rows++] = row;
    c->item[c->items - 1].n++;
    free(text);
}
/* The number of the right ending of n; some write it as a string. */
static inline size_t choice_label(Json object, size_t n) {
    Json j = json_need(object, "label");
    const bool quoted = json_peek(&j) == '"';
    if (quoted) j.p++;
    const uint64_t label = json_uint(&j);
    if (quoted) json_expect(&j, '"');
    if (label >= n)
        die("%s: \"label\": expected 0 .. %zu, found %llu", object.name, n - 1,
            (unsigned long long)label);
    return (size_t)label;
}
/* The rows of the last item, which is of HellaSwag's shape. */
static inline void choices_of_context(Choices *c, const Tokenizer *tok, Json object) {
    Json endings = json_need(object, "endings");
    size_t n;
    char *context = choice_string(json_need(object, "ctx"), &n);
    while (n && choice_space(context[n])) n--;
    json_expect(&endings, '[');
    for (bool first = true; json_more(&endings, ']', &first); json_skip(&endings, 0)) {
        json_peek(&endings);
        choices_row(c, tok, context + 1, n, endings);
    }
    ChoiceItem *item = &c->item[c->items - 1];
    if (item->n < 2)
        die("%s: \"endings\": expected two or more, found %zu", object.name, item->n);
    item->right = choice_label(object, item->n);
    free(context);
}
/* Adds the item in the object that j stands before. */
static inline void choices_item(Choices *c, const Tokenizer *tok, Json j, size_t line) {
    static const JsonField fields[] = {
        {"ctx", JSON_READ, ""},           {"endings", JSON_READ, ""},
        {"label", JSON_READ, ""},         {"sentence_good", JSON_READ, ""},
        {"sentence_bad", JSON_READ, ""},
    };
    char unknown[JSON_KEY];
    json_fields(j, fields, sizeof fields / sizeof *fields, unknown);
    const bool endings = json_at(j, "endings").p;
    const bool sentences = json_at(j, "sentence_good").p;
    if (endings == sentences)
        die("%s: expected either \"endings\" or \"sentence_good\" in the object, found %s",
            j.name, endings ? "both" : "none");
    c->item = mem_grow(c->item, c->items, &c->room[0], sizeof *c->item);
    c->item[c->items++] = (ChoiceItem){.line = line, .first = c->rows};
    if (endings) choices_of_context(c, tok, j);
    else {
        choices_row(c, tok, NULL, 0, json_need(j, "sentence_good"));
        choices_row(c, tok, NULL, 0, json_need(j, "sentence_bad"));
    }
}
/* Leaves out the beginnings of rows that are too long for a context of T tokens. */
static inline void choices_cut(Choices *c, const char *path, size_t T) {
    size_t cut = 0;
    for (ChoiceRow *row = c->row; row < c->row + c->rows; row++) {
        if (row->scored > T)
            die("%s: line %zu: expected endings of at most %zu tokens, the model's "
                "context, found %zu",
                path, c->item[row->item].line, T, row->scored);
        if (row->n <= T + 1) continue;          /* the last one is only predicted */
        row->at += row->n - (T + 1);
        row->n = T + 1;
        cut++;
    }
    if (cut)
        note("%s: of %zu of %zu endings the context is longer than the model's %zu "
             "tokens: its beginning is left out",
             path, cut, c->rows, T);
}
/* Adds the item in a line of n bytes; one of white space has none. */
static inline void choices_of_line(Choices *c, const Tokenizer *tok,
                                   const uint8_t *p, size_t n, const char *path,
                                   size_t line) {
    char where[PATH_MAX + 32];
    snprintf(where, sizeof where, "%s: line %zu", path, line);
    Json j = json_open(p, n, where);
    j.p = utf8_stray(p, j.end);
    if (j.p < j.end) json_die(&j, "UTF-8");
    j.p = p;
    const bool begins = json_peek(&j);
    if (!begins && j.p == j.end) return;
    if (!begins) json_die(&j, "'{'");
    choices_item(c, tok, j, line);
    json_skip(&j, 0);
    json_peek(&j);
    if (j.p < j.end) json_die(&j, "the end of the line");
}
/* The items of a file, for a model of T tokens of context. */
static inline Choices choices_parse(Bytes b, const Tokenizer *tok, size_t T) {
    Choices c = {0};
    const uint8_t *p = b.p;
    const uint8_t *end = b.p + b.n;
    for (size_t line = 1; p < end; line++) {
        const uint8_t *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        choices_of_line(&c, tok, p, (size_t)(stop - p), b.name, line);
        p = stop < end ? stop + 1 : end;
    }
    if (!c.items) die("%s: expected an item a line, found none", b.name);
    tok_note_spelled(tok, b.p, b.n, b.name);
    choices_cut(&c, b.name, T);
    return c;
}

/* ---- scoring -------------------------------------------------------------------- */

/* The scores of n rows, at most r->B. */
static inline void choices_rows(const Choices *c, GptRun *r, ChoiceRow *const *row,
                                size_t n) {
    const size_t T = r->T;
    int32_t *inputs = mem_new(r->B * T, sizeof *inputs);        /* (B,T) */
    int32_t *targets = mem_new(r->B * T, sizeof *targets);      /* (B,T) */
    double unused = 0;
    for (size_t i = 0; i < r->B * T; i++) targets[i] = -1;
    for (size_t b = 0; b < n; b++) {
        const int32_t *id = c->id + row[b]->at;
        const size_t last = row[b]->n - 1;
        for (size_t t = 0; t < last; t++) {
            inputs[b * T + t] = id[t];
            if (t + row[b]->scored >= last) targets[b * T + t] = id[t + 1];
        }
    }
    gpt_eval(r, inputs, targets, &unused);
    for (size_t b = 0; b < n; b++) {
        const double *loss = r->loss + b * r->stride * LINE;
        const size_t last = row[b]->n - 1;
        for (size_t t = last - row[b]->scored; t < last; t++) row[b]->nats += loss[t];
    }
    free(inputs);
    free(targets);
}
/* The scores of all rows, those of equally many panels together. */
static inline void choices_score(Choices *c, const State *s, DfPool *pool) {
    const size_t panel = s->o->panel;
    const size_t ctx = s->m->c.ctx;
    const size_t B = group_size(s->o, &s->m->c, 16, GPT_FORWARD);
    ChoiceRow **row = mem_new(B, sizeof *row);
    for (size_t T = panel; T < ctx + panel; T += panel) {
        GptRun *r = NULL;
        size_t n = 0;
        for (size_t k = 0; k < c->rows; k++) {
            if (size_up(c->row[k].n - 1, panel) != T) continue;
            if (!r) r = gpt_run_new(s->m, pool, B, size_min(T, ctx), panel, GPT_FORWARD);
            row[n++] = &c->row[k];
            if (n < B) continue;
            choices_rows(c, r, row, n);
            n = 0;
        }
        if (n) choices_rows(c, r, row, n);
        if (r) gpt_run_free(r);
    }
    free(row);
}

/* ---- results -------------------------------------------------------------------- */

static inline double choice_nats(const ChoiceRow *row, bool mean) {
    return row->nats / (mean ? (double)row->scored : 1);
}
/* Whether the k-th ending of an item has a better score than all others. */
static inline bool choice_picked(const Choices *c, const ChoiceItem *item, size_t k,
                                 bool mean) {
    const double nats = choice_nats(&c->row[item->first + k], mean);
    bool best = isfinite(nats);
    for (size_t other = 0; other < item->n; other++)
        best &= other == k || nats < choice_nats(&c->row[item->first + other], mean);
    return best;
}
static inline StatsInterval choices_right(const Choices *c, bool mean) {
    size_t right = 0;
    for (size_t k = 0; k < c->items; k++)
        right += choice_picked(c, &c->item[k], c->item[k].right, mean);
    return stats_share(right, c->items);
}
/* How often a guess is right. */
static inline double choices_chance(const Choices *c) {
    double sum = 0;
    for (size_t k = 0; k < c->items; k++) sum += 1 / (double)c->item[k].n;
    return sum / (double)c->items;
}
static inline void choices_print(const Choices *c) {
    static const char *const by[2] = {
        "acc       by the sum of its tokens' log-probabilities ",
        "acc_norm  by their mean, per token                    ",
    };
    printf("%zu items, %zu endings; a guess is right in %.1f %%\n", c->items, c->rows,
           100 * choices_chance(c));
    for (int mean = 0; mean < 2; mean++) {
        const StatsInterval s = choices_right(c, mean);
        printf("%s %5.1f %% right, 95 %% interval %.1f .. %.1f %%\n", by[mean], 100 * s.diff,
               100 * s.lo, 100 * s.hi);
    }
}
static inline void choices_json(const Choices *c, const char *path) {
    Out out = out_open(path);
    out_char(&out, '{');
    json_member_put(&out, "items", (double)c->items);
    json_member_put(&out, "endings", (double)c->rows);
    json_member_put(&out, "chance", choices_chance(c));
    for (int mean = 0; mean < 2; mean++) {
        json_begin(&out, mean ? "acc_norm" : "acc", '{');
        json_interval(&out, "accuracy", choices_right(c, mean));
        json_close(&out, '}');
    }
    json_end(&out);
}
/* A line an ending, its item and its place there from 0. */
static inline void choices_csv(const Choices *c, const char *path) {
    Out out = out_open(path);
    out_text(&out, "item,line,ending,right,tokens,log_probability,picked,picked_norm\n");
    for (size_t k = 0; k < c->rows; k++) {
        const ChoiceRow *row = &c->row[k];
        const ChoiceItem *item = &c->item[row->item];
        const size_t place = k - item->first;
        out_print(&out, "%zu,%zu,%zu,%d,%zu,%.9g,%d,%d\n", row->item, item->line,
                  place, place == item->right, row->scored, -row->nats,
                  choice_picked(c, item, place, false),
                  choice_picked(c, item, place, true));
    }
    out_done(&out);
}
#endif
