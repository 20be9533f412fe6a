/* cloze.h: questions that a text itself answers, and which of them a model gets right.
 *
 * A loss says how well a model predicts the average token; these items say whether it uses what it has read:
 *
 *     who_holds where      of the built-in stories, where the facts force the answer. Right if, of the four
 *     how_many whose       answers given, the model picks it token by token, each time the likeliest of the
 *                          tokens with which an answer can go on. Chance: a guess at each such branch.
 *     last_word            of any text: a word of four letters or more that ends a clause and has occurred
 *                          before. Right if each of its tokens is the likeliest of the whole vocabulary.
 *                          Chance: a guess among the words so far.
 *     continuation         of any text: 15 tokens, against three times 15 from other documents. Right if its
 *                          log-probability per byte is the largest. Chance: 1/4.
 *
 * It refuses to generate: where the answers part is known beforehand, so that one forward pass over a window
 * of the text scores every item in it; only a continuation needs three more, over its last 16 tokens. Which
 * items there are is a function of text, vocabulary, seed and window, so that two models can be compared item
 * by item. A tie, or a logit that is not a number, counts as wrong.
 *
 * Example: "Who has the kite?" "It is with" goes on with " Mia", token 301; the wrong answers " Tom", " Ida",
 * " Max" are tokens 310, 355, and 340 with 88 after it. The item is right if, after "with", the logit of 301
 * is above those of 310, 355 and 340; chance 1/4. Were " Mia" 340 and 20, then after "with" 340 would have to
 * be above 310 and 355, and after that 20 above 88; chance 1/3 x 1/2. */
#ifndef CLOZE_H
#define CLOZE_H
#include "../run/schedule.h"
#include "../text/corpus.h"
#include "../text/loader.h"

enum { CLOZE_WORD = CORPUS_KINDS, CLOZE_CONTINUATION, CLOZE_KINDS };
static const char *const cloze_kinds[CLOZE_KINDS] = {"who_holds", "where",     "how_many",
                                                     "whose",     "last_word", "continuation"};
enum { CLOZE_LETTERS = 4, CLOZE_T = 256 };          /* of a last word, at least; of its window, at most */
enum { CLOZE_GROUPS = 5 };                          /* of 16 tokens: a continuation with its context */

typedef struct {
    int kind;
    bool right;
    double chance;
    size_t row, at, n;                  /* the answer: tokens at .. at + n - 1 of that row */
    struct { size_t at; int32_t token; } rival[3];      /* what another answer has at that place instead */
} ClozeItem;

typedef struct {
    size_t T, rows, items, room[2];
    int32_t *row;                       /* (rows,T) tokens; of a continuation's four rows the first is true */
    ClozeItem *item;                    /* [items] in the order of their rows */
} Cloze;

static inline void cloze_free(Cloze *z) { free(z->row), free(z->item), *z = (Cloze){0}; }
/* The next row, zeroed: a window of T tokens. */
static inline int32_t *cloze_row(Cloze *z) {
    z->row = mem_grow(z->row, z->rows, &z->room[0], z->T * sizeof *z->row);
    return memset(z->row + z->rows++ * z->T, 0, z->T * sizeof *z->row);
}
static inline ClozeItem *cloze_item(Cloze *z, ClozeItem item) {
    z->item = mem_grow(z->item, z->items, &z->room[1], sizeof *z->item);
    z->item[z->items] = item;
    return &z->item[z->items++];
}

/* ---- the built-in stories ----------------------------------------------------------------------------- */

/* Where three wrong answers leave the right one, which stands in row; the chance of taking no such turn. */
static inline void cloze_rivals(ClozeItem *item, const Tokenizer *tok, const int32_t *row, CorpusItem *q) {
    uint32_t id[CORPUS_WORD];
    for (int k = 0; k < 3; k++) {
        const char *wrong = q->option[k + 1];
        const size_t n = tok_encode(tok, (const uint8_t *)wrong, strlen(wrong), id);
        size_t i = 0;
        while (i < n && i + 1 < item->n && (int32_t)id[i] == row[item->at + i]) i++;
        item->rival[k].at = item->at + i, item->rival[k].token = (int32_t)id[i];
    }
    item->chance = 1;
    for (size_t at = item->at; at < item->at + item->n; at++) {
        double ways = 1;
        for (int k = 0; k < 3; k++) {
            bool new = item->rival[k].at == at;
            for (int j = 0; j < k; j++)
                new &= item->rival[j].at != at || item->rival[j].token != item->rival[k].token;
            ways += new;
        }
        item->chance /= ways;
    }
}

/* The questions of one story that are still wanted, left[kind] of each kind, in one row: the T tokens that
 * end with the last answer. A question there has the whole story before it, or more than T / 2 tokens. */
static inline void cloze_story(Cloze *z, const Tokenizer *tok, uint64_t key, uint64_t story, size_t *left) {
    char text[CORPUS_MAX];
    uint32_t id[CORPUS_MAX + 1] = {tok->eot};
    size_t from[CORPUS_MAX + 1], bytes, n, at = 0, end = 0;
    CorpusItem q[TALE_MARKS];
    const size_t questions = corpus_questions(key, story, text, &bytes, q);
    ClozeItem found[TALE_MARKS] = {{0}};
    n = 1 + tok_encode(tok, (const uint8_t *)text, bytes, id + 1);
    for (size_t i = 1, len; i < n; i++, at += len) from[i] = at, tok_bytes(tok, id[i], &len);
    for (size_t k = 0, i = 1; k < questions; k++) {
        uint32_t answer[CORPUS_WORD];
        const char *right = q[k].option[0];
        while (i < n && from[i] < q[k].at) i++;
        found[k] = (ClozeItem){.kind = q[k].kind, .at = i, .row = z->rows};
        found[k].n = tok_encode(tok, (const uint8_t *)right, strlen(right), answer);
        if (left[q[k].kind]) end = i + found[k].n;
    }
    const size_t start = end > z->T ? end - z->T : 0;
    if (!end) return;
    int32_t *row = cloze_row(z);
    for (size_t i = start; i < end; i++) row[i - start] = (int32_t)id[i];
    for (size_t k = 0; k < questions; k++) {
        if (!left[q[k].kind] || found[k].at <= start + (start ? z->T / 2 : 0)) continue;
        left[q[k].kind]--, found[k].at -= start;
        cloze_rivals(cloze_item(z, found[k]), tok, row, &q[k]);
    }
}
/* At most `most` questions about the stories of that key, as many of each kind; windows of at most T. */
static inline Cloze cloze_stories(const Tokenizer *tok, uint64_t key, size_t most, size_t T) {
    Cloze z = {.T = T};
    size_t left[CORPUS_KINDS], longest = 0;
    for (size_t k = 0; k < CORPUS_KINDS; k++) left[k] = (most + k) / CORPUS_KINDS;
    for (uint64_t story = 0; story < 2 * most && z.items < most; story++)
        cloze_story(&z, tok, key, story, left);
    for (size_t k = 0; k < z.items; k++)
        if (z.item[k].at + z.item[k].n > longest) longest = z.item[k].at + z.item[k].n;
    for (size_t k = 0; k < z.rows; k++) memmove(z.row + k * longest, z.row + k * T, longest * sizeof *z.row);
    if (longest) z.T = longest;
    return z;
}

/* ---- any text ----------------------------------------------------------------------------------------- */

/* The last words of clauses, at most `most` of them in all, among tokens a .. b - 1 of a window, which are of
 * one document; in the second half of the window. A word is one of the vocabulary's pieces (tok_piece). */
static inline void cloze_document(Cloze *z, const Tokenizer *tok, const int32_t *id, size_t a, size_t b,
                                  size_t most) {
    size_t bytes = 0, words = 0, len, *from = mem_new(b - a + 1, sizeof *from);
    for (size_t k = a; k < b; k++, bytes += len) from[k - a] = bytes, tok_bytes(tok, (uint32_t)id[k], &len);
    from[b - a] = bytes;
    uint8_t *text = mem_new(bytes, 1);
    struct { const uint8_t *p; size_t n; } *word = mem_new(bytes / CLOZE_LETTERS, sizeof *word);
    for (size_t k = a; k < b; k++)
        memcpy(text + from[k - a], tok_bytes(tok, (uint32_t)id[k], &len), from[k + 1 - a] - from[k - a]);
    for (size_t i = 0, j, k = a; i < bytes; i = j) {
        j = i + tok_piece(tok->classes, text + i, bytes - i);
        const bool space = text[i] == ' ';
        const uint8_t *p = text + i + space;
        const size_t n = j - i - space;
        if (n < CLOZE_LETTERS || tok_class(tok->classes, p, n, &len) != TOK_LETTER) continue;
        bool seen = false;
        for (size_t w = 0; w < words; w++) seen |= word[w].n == n && !memcmp(word[w].p, p, n);
        if (!seen) { word[words].p = p, word[words++].n = n; continue; }
        while (from[k - a] < i) k++;
        size_t end = k;
        while (from[end - a] < j) end++;
        if (space && k >= z->T / 2 && j < bytes && text[j] && strchr(".,;:!?", text[j]) && z->items < most &&
            from[k - a] == i && from[end - a] == j)         /* a shard may have been cut otherwise */
            cloze_item(z, (ClozeItem){.kind = CLOZE_WORD, .chance = 1 / (double)words, .row = z->rows,
                                      .at = k, .n = end - k});
    }
    free(from), free(text), free(word);
}
/* At most `most` last words from windows of T tokens, T / 2 apart, in an order that the seed gives. */
static inline Cloze cloze_words(const Tokenizer *tok, const Tokens *t, uint64_t seed, size_t most, size_t T) {
    Cloze z = {.T = size_min(T, CLOZE_T)};
    const size_t step = z.T / 2, windows = step ? t->n / step : 0;
    int32_t *id = mem_new(z.T, sizeof *id);
    for (size_t k = 0; k < windows && z.items < most; k++) {
        const size_t at = step * rng_permute(rng_key(seed, "last words"), k, windows), before = z.items;
        const size_t n = size_min(t->n - at, z.T);
        tokens_get(t, at, n, id);
        for (size_t a = 0, b; a < n; a = b + 1) {
            for (b = a; b < n && (uint32_t)id[b] != tok->eot; b++) { }
            cloze_document(&z, tok, id, a, b, most);
        }
        if (z.items > before) memcpy(cloze_row(&z), id, n * sizeof *id);
    }
    free(id);
    return z;
}

/* Reads tokens at .. at + n - 1 into id. True if they are of one document and the word-th begins a word. */
static inline bool cloze_passage(const Tokenizer *tok, const Tokens *t, size_t at, size_t n, size_t word,
                                 int32_t *id) {
    if (at + n > t->n) return false;
    tokens_get(t, at, n, id);
    for (size_t k = 0; k < n; k++) if ((uint32_t)id[k] == tok->eot) return false;
    size_t len;
    return *tok_bytes(tok, (uint32_t)id[word], &len) == ' ';
}
/* At most `most` continuations, in an order that the seed gives. A row has 1 + 16 (groups - 1) tokens of
 * context and 15 more. of[k]: the part of the text that token k + 1 is in; wrong ones are of other parts. */
static inline Cloze cloze_continuations(const Tokenizer *tok, const Tokens *t, const uint32_t *of,
                                        uint64_t seed, size_t most, size_t T) {
    const size_t groups = size_min(T / LINE, CLOZE_GROUPS), n = LINE - 1;
    Cloze z = {.T = groups * LINE};
    const size_t slots = groups < 2 ? 0 : t->n / z.T, context = z.T - n;
    const uint64_t order = rng_key(seed, "continuations"), other = rng_key(seed, "wrong continuations");
    int32_t *id = mem_new(4 * z.T + 1, sizeof *id);
    uint64_t draw = 0;
    for (size_t k = 0; k < slots && z.items < most; k++) {
        size_t at = z.T * rng_permute(order, k, slots), found = 0;
        const size_t last = at + LINE;
        while (at < last && !cloze_passage(tok, t, at, z.T, context, id)) at++;
        for (int tries = 0; tries < 100 && at < last && found < 3; tries++) {
            const size_t from = 1 + rng_u64(other, draw++) % (t->n - 1);
            int32_t *wrong = id + (found + 1) * z.T;
            memcpy(wrong, id, context * sizeof *id);
            found += cloze_passage(tok, t, from, n, 0, wrong + context) &&
                     of[from - 1] != of[at + context - 1];
        }
        if (found < 3) continue;
        cloze_item(&z, (ClozeItem){.kind = CLOZE_CONTINUATION, .chance = 0.25, .row = z.rows, .at = context,
                                   .n = n});
        for (int row = 0; row < 4; row++) memcpy(cloze_row(&z), id + (size_t)row * z.T, z.T * sizeof *id);
    }
    free(id);
    return z;
}

/* ---- scoring ------------------------------------------------------------------------------------------ */

/* Whether the token at place `at` of an item's row beats its rivals there, by the V logits before it. */
static inline bool cloze_beats(const ClozeItem *item, size_t at, int32_t token, const float *logits,
                               size_t V) {
    const float best = logits[(size_t)token * LINE];
    bool right = true;
    for (int k = 0; k < 3 && item->kind < CORPUS_KINDS; k++)
        if (item->rival[k].at == at) right &= best > logits[(size_t)item->rival[k].token * LINE];
    for (size_t v = 0; v < V && item->kind == CLOZE_WORD; v++)
        if (v != (size_t)token) right &= best > logits[v * LINE];
    return right;
}
/* Panel by panel of a run that holds rows row0 on: items k0 .. k1 - 1, of these rows, lose `right` if they
 * are not. */
static inline void cloze_panels(Cloze *z, GptRun *r, size_t row0, size_t k0, size_t k1) {
    const size_t V = r->m->c.V;
    for (size_t panel = 0; panel < gpt_panels(r); panel++) {
        const GptPanel p = gpt_panel_back(r, panel);
        const float *logits = NULL;
        for (size_t k = k0; k < k1; k++)
            for (size_t at = z->item[k].at; at < z->item[k].at + z->item[k].n; at++) {
                ClozeItem *item = &z->item[k];
                const size_t group = (item->row - row0) * r->stride + (at - 1) / LINE;
                if (group < p.at || group >= p.at + p.groups) continue;
                if (!logits) logits = gpt_logits(r, panel);
                item->right &= cloze_beats(item, at, z->row[item->row * z->T + at],
                                           logits + (group - p.at) * gpt_rows(V) * LINE + (at - 1) % LINE, V);
            }
    }
}
/* Items k0 .. k1 - 1, at most B, are continuations: their first rows whole, then only the last group of 16
 * tokens of the other three, whose context is the same. */
static inline void cloze_fours(Cloze *z, GptRun *r, const Tokenizer *tok, int32_t *inputs, size_t k0,
                               size_t k1) {
    const size_t T = z->T, context = z->item->at;
    int32_t *targets = mem_new(r->B * T, 4);
    double *best = mem_new(r->B, sizeof *best), unused = 0;
    for (size_t way = 0; way < 4; way++) {
        for (size_t b = 0; b < k1 - k0; b++) {
            const int32_t *row = z->row + (z->item[k0 + b].row + way) * T;
            memcpy(inputs + b * T, row, T * sizeof *row);
            for (size_t t = 0; t < T; t++)
                targets[b * T + t] = t + 1 < T && t + 1 >= context ? row[t + 1] : -1;
        }
        r->from = way ? r->groups - 1 : 0;
        gpt_eval(r, inputs, targets, &unused);
        for (size_t b = 0; b < k1 - k0; b++) {
            double nats = 0, bytes = 0;
            for (size_t t = context; t < T; t++) {
                size_t len;
                tok_bytes(tok, (uint32_t)inputs[b * T + t], &len);
                bytes += (double)len, nats += r->loss[b * r->stride * LINE + t - 1];
            }
            if (!way) best[b] = nats / bytes;
            z->item[k0 + b].right &= way ? best[b] < nats / bytes : isfinite(nats);
        }
    }
    r->from = 0;
    free(targets), free(best);
}
/* Finds out which items the model gets right, B rows at a time, P tokens a panel. */
static inline void cloze_score(Cloze *z, Gpt *m, const Tokenizer *tok, DfPool *pool, size_t B, size_t P) {
    if (!z->items) return;
    GptRun *r = gpt_run_new(m, pool, B, z->T, P, false);
    int32_t *inputs = mem_new(B * z->T, 4);
    for (size_t k = 0, end; k < z->items; k = end) {
        const size_t row = z->item[k].row;
        const bool fours = z->item[k].kind == CLOZE_CONTINUATION;
        for (end = k; end < z->items && z->item[end].row < row + B * (fours ? 4 : 1); end++)
            z->item[end].right = true;
        if (fours) { cloze_fours(z, r, tok, inputs, k, end); continue; }
        for (size_t b = 0; b < B; b++)                      /* past the last row any tokens will do */
            memcpy(inputs + b * z->T, z->row + (row + b < z->rows ? row + b : row) * z->T, z->T * 4);
        r->inputs = inputs;
        gpt_forward(r);
        cloze_panels(z, r, row, k, end);
    }
    free(inputs), gpt_run_free(r);
}

/* ---- results ------------------------------------------------------------------------------------------ */

/* Of the items of a kind in lists of three: how many model a, and on the same items b, gets right, which of
 * them alone; the mean chance. b may be NULL. */
typedef struct { size_t items, right[2], only[2]; double chance; } ClozeTally;

static inline ClozeTally cloze_tally(const Cloze *a, const Cloze *b, int kind) {
    ClozeTally t = {0};
    for (size_t list = 0; list < 3; list++)
        for (size_t k = 0; k < a[list].items; k++) {
            const ClozeItem *x = &a[list].item[k], *y = b ? &b[list].item[k] : x;
            if (x->kind != kind) continue;
            t.items++, t.chance += x->chance;
            t.right[0] += x->right, t.right[1] += y->right;
            t.only[0] += x->right && !y->right, t.only[1] += y->right && !x->right;
        }
    t.chance /= t.items ? (double)t.items : 1;
    return t;
}
#endif
