/* cloze.h: questions that a text itself answers, and which of them a model gets
 * right.
 *
 * A loss says how well a model predicts the average token; these items say
 * whether it uses what it has read:
 *
 *     who_holds where   of the built-in stories, where the facts force the answer.
 *     how_many whose    Right if, of the four answers given, the model picks it token
 *                       by token, each time the likeliest of the tokens with which an
 *                       answer can go on. Chance: a guess at each such branch.
 *     last_word         of any text: a word of four letters or more that ends a clause
 *                       and has occurred before. Right if each of its tokens is the
 *                       likeliest of the whole vocabulary. Chance: a guess among the
 *                       words so far.
 *     continuation      of any text: 15 tokens, against three times 15 from other
 *                       documents. Right if its log-probability per byte is the
 *                       largest. Chance: 1/4.
 *
 * An item lies in a row of T tokens, a window of the text; of a continuation's
 * four rows the first is the true one:
 *
 *     | context .................... | answer | what is left |
 *       0                              at       at + n       T
 *
 * It refuses to generate: where the answers part is known beforehand, so that
 * one forward pass over a window of the text scores every item in it; only a
 * continuation needs three more, over its last 16 tokens. Which items there are
 * is a function of text, vocabulary, seed and window, so that two models can be
 * compared item by item. A tie, or a logit that is not a number, counts as
 * wrong.
 *
 * Example: "Who has the kite?" "It is with" goes on with " Mia", token 301; the
 * wrong answers " Tom", " Ida", " Max" are tokens 310, 355, and 340 with 88
 * after it. The item is right if, after "with", the logit of 301 is above those
 * of 310, 355 and 340; chance 1/4. Were " Mia" 340 and 20, then after "with"
 * 340 would have to be above 310 and 355, and after that 20 above 88; chance
 * 1/3 x 1/2. */
#ifndef CLOZE_H
#define CLOZE_H
#include "../run/schedule.h"
#include "../text/corpus.h"
#include "../text/loader.h"

/* The kinds of items; before these two, those of the stories. */
enum { CLOZE_WORD = CORPUS_KINDS, CLOZE_CONTINUATION, CLOZE_KINDS };
static const char *const cloze_kinds[CLOZE_KINDS] = {
    "who_holds", "where", "how_many", "whose", "last_word", "continuation",
};
enum { CLOZE_LETTERS = 4 };             /* of a last word, at least */
enum { CLOZE_T = 256 };                 /* tokens of its window, at most */
enum { CLOZE_GROUPS = 5 };              /* of 16 tokens: a continuation with its
                                         * context */

/* What a wrong answer has instead, at the place where it leaves the right
 * one. */
typedef struct {
    size_t at;
    int32_t token;
} ClozeRival;

typedef struct {
    int kind;
    bool right;
    double chance;
    size_t row;
    size_t at, n;                       /* the answer: tokens at .. at + n - 1 */
    ClozeRival rival[3];                /* of a question about a story */
} ClozeItem;

typedef struct {
    size_t T, rows, items;
    size_t room[2];                     /* of the two lists */
    int32_t *row;                       /* (rows,T) tokens */
    ClozeItem *item;                    /* [items] in the order of their rows */
} Cloze;

static inline void cloze_free(Cloze *z) {
    free(z->row);
    free(z->item);
    *z = (Cloze){0};
}
/* The next row, zeroed. */
static inline int32_t *cloze_row(Cloze *z) {
    z->row = mem_grow(z->row, z->rows, &z->room[0], z->T * sizeof *z->row);
    int32_t *row = z->row + z->rows++ * z->T;       /* (T) */
    return memset(row, 0, z->T * sizeof *row);
}
static inline ClozeItem *cloze_item(Cloze *z, ClozeItem item) {
    z->item = mem_grow(z->item, z->items, &z->room[1], sizeof *z->item);
    z->item[z->items] = item;
    return &z->item[z->items++];
}

/* ---- the built-in stories ------------------------------------------------ */

/* Where the three wrong answers to q leave the right one, which stands in row
 * (T). */
static inline void cloze_rivals(ClozeItem *item, const Tokenizer *tok,
                                const int32_t *row, const CorpusItem *q) {
    const int32_t *right = row + item->at;          /* [n] */
    uint32_t id[CORPUS_WORD];
    for (int k = 0; k < 3; k++) {
        const char *wrong = q->option[k + 1];
        const size_t n =
            tok_encode(tok, (const uint8_t *)wrong, strlen(wrong), id);
        size_t i = 0;
        while (i < n && i + 1 < item->n && (int32_t)id[i] == right[i]) i++;
        item->rival[k].at = item->at + i;
        item->rival[k].token = (int32_t)id[i];
    }
}
/* The ways on from place `at` of the answer: the right token and its rivals,
 * those that are the same token once. */
static inline size_t cloze_ways(const ClozeItem *item, size_t at) {
    size_t ways = 1;
    for (int k = 0; k < 3; k++) {
        const ClozeRival *rival = &item->rival[k];
        bool new = rival->at == at;
        for (const ClozeRival *other = item->rival; other < rival; other++)
            new &= other->at != at || other->token != rival->token;
        ways += new;
    }
    return ways;
}
/* The chance that a guess at each branch takes the right way. */
static inline double cloze_chance(const ClozeItem *item) {
    double chance = 1;
    for (size_t at = item->at; at < item->at + item->n; at++)
        chance /= (double)cloze_ways(item, at);
    return chance;
}

/* One story as tokens, the first of which is EOT. */
typedef struct {
    uint32_t id[CORPUS_MAX + 1];        /* [n] */
    size_t from[CORPUS_MAX + 1];        /* [n] the byte at which each begins */
    size_t n;
    CorpusItem q[TALE_MARKS];           /* [questions] about it */
    size_t questions;
} ClozeStory;

static inline void cloze_tell(ClozeStory *s, const Tokenizer *tok, uint64_t key,
                              uint64_t story) {
    char text[CORPUS_MAX];
    size_t bytes;
    size_t at = 0;
    s->questions = corpus_questions(key, story, text, &bytes, s->q);
    s->id[0] = tok->eot;
    s->n = 1 + tok_encode(tok, (const uint8_t *)text, bytes, s->id + 1);
    for (size_t i = 1; i < s->n; i++) {
        size_t len;
        tok_bytes(tok, s->id[i], &len);
        s->from[i] = at;
        at += len;
    }
}
/* Finds the tokens of the answers, found [questions]. Returns where the last
 * one ends that is still wanted, or 0. */
static inline size_t cloze_answers(const ClozeStory *s, const Tokenizer *tok,
                                   const size_t *left, ClozeItem *found) {
    size_t end = 0;
    size_t i = 1;
    for (size_t k = 0; k < s->questions; k++) {
        const CorpusItem *q = &s->q[k];
        const char *right = q->option[0];
        uint32_t answer[CORPUS_WORD];
        while (i < s->n && s->from[i] < q->at) i++;
        found[k] = (ClozeItem){.kind = q->kind, .at = i};
        found[k].n =
            tok_encode(tok, (const uint8_t *)right, strlen(right), answer);
        if (left[q->kind]) end = i + found[k].n;
    }
    return end;
}
/* The questions of one story that are still wanted, left[kind] of each kind, in
 * one row: the T tokens that end with the last answer. A question there has the
 * whole story before it, or more than T / 2 tokens. */
static inline void cloze_story(Cloze *z, const Tokenizer *tok, uint64_t key,
                               uint64_t story, size_t *left) {
    ClozeStory s;
    ClozeItem found[TALE_MARKS] = {{0}};
    cloze_tell(&s, tok, key, story);
    const size_t end = cloze_answers(&s, tok, left, found);
    if (!end) return;
    const size_t start = end > z->T ? end - z->T : 0;
    const size_t least = start ? start + z->T / 2 : 0;
    const size_t row_number = z->rows;
    int32_t *row = cloze_row(z);                    /* (T) */
    for (size_t i = start; i < end; i++) row[i - start] = (int32_t)s.id[i];
    for (size_t k = 0; k < s.questions; k++) {
        if (!left[s.q[k].kind] || found[k].at <= least) continue;
        left[s.q[k].kind]--;
        found[k].row = row_number;
        found[k].at -= start;
        cloze_rivals(&found[k], tok, row, &s.q[k]);
        found[k].chance = cloze_chance(&found[k]);
        cloze_item(z, found[k]);
    }
}
/* Makes the rows no longer than the last answer needs. */
static inline void cloze_shorten(Cloze *z) {
    size_t longest = 0;
    for (size_t k = 0; k < z->items; k++)
        longest = size_max(longest, z->item[k].at + z->item[k].n);
    if (!longest) return;
    for (size_t k = 0; k < z->rows; k++)
        memmove(z->row + k * longest, z->row + k * z->T,
                longest * sizeof *z->row);
    z->T = longest;
}
/* At most `most` questions about the stories of that key, as many of each kind;
 * windows of at most T. */
static inline Cloze cloze_stories(const Tokenizer *tok, uint64_t key,
                                  size_t most, size_t T) {
    Cloze z = {.T = T};
    size_t left[CORPUS_KINDS];
    for (size_t k = 0; k < CORPUS_KINDS; k++)
        left[k] = (most + k) / CORPUS_KINDS;
    for (uint64_t story = 0; story < 2 * most && z.items < most; story++)
        cloze_story(&z, tok, key, story, left);
    cloze_shorten(&z);
    return z;
}

/* ---- any text: last words ------------------------------------------------ */

/* A document's tokens in a window, and the bytes they are. */
typedef struct {
    uint8_t *text;                      /* [bytes] */
    size_t bytes;
    size_t first, n;                    /* tokens first .. first + n - 1 of the window */
    size_t *from;                       /* [n + 1] the byte at which each begins */
} ClozeText;

typedef struct {
    const uint8_t *p;
    size_t n;
} ClozeWord;

static inline ClozeText cloze_bytes(const Tokenizer *tok, const int32_t *id,
                                    size_t first, size_t n) {
    ClozeText x = {.first = first, .n = n};
    size_t len;
    x.from = mem_new(n + 1, sizeof *x.from);
    for (size_t k = 0; k < n; k++) {
        tok_bytes(tok, (uint32_t)id[first + k], &len);
        x.from[k + 1] = x.from[k] + len;
    }
    x.bytes = x.from[n];
    x.text = mem_new(x.bytes, 1);
    for (size_t k = 0; k < n; k++) {
        const uint8_t *bytes = tok_bytes(tok, (uint32_t)id[first + k], &len);
        memcpy(x.text + x.from[k], bytes, len);
    }
    return x;
}
static inline bool cloze_seen(const ClozeWord *word, size_t words, ClozeWord w) {
    for (size_t k = 0; k < words; k++)
        if (word[k].n == w.n && !memcmp(word[k].p, w.p, w.n)) return true;
    return false;
}
/* Adds an item if bytes i .. j - 1 of the text, a word of `words` known ones,
 * are whole tokens (a shard may have been cut otherwise), end a clause and lie
 * in the second half of the window. */
static inline void cloze_last_word(Cloze *z, const ClozeText *x, size_t i,
                                   size_t j, size_t words) {
    size_t k = 0;
    while (x->from[k] < i) k++;
    size_t end = k;
    while (x->from[end] < j) end++;
    const bool clause = j < x->bytes && x->text[j] &&
                        strchr(".,;:!?", x->text[j]);
    const bool tokens = x->from[k] == i && x->from[end] == j;
    if (!clause || !tokens || x->first + k < z->T / 2) return;
    cloze_item(z, (ClozeItem){
        .kind = CLOZE_WORD,
        .chance = 1 / (double)words,
        .row = z->rows,
        .at = x->first + k,
        .n = end - k,
    });
}
/* The last words of clauses, at most `most` of them in all, among n tokens of a
 * window from `first` on, which are of one document. A word is one of the
 * vocabulary's pieces (tok_piece), less the space before it. */
static inline void cloze_document(Cloze *z, const Tokenizer *tok,
                                  const int32_t *id, size_t first, size_t n,
                                  size_t most) {
    ClozeText x = cloze_bytes(tok, id, first, n);
    ClozeWord *word = mem_new(x.bytes / CLOZE_LETTERS, sizeof *word);   /* [words] */
    size_t words = 0;
    size_t j;
    for (size_t i = 0; i < x.bytes; i = j) {
        j = i + tok_piece(tok->classes, x.text + i, x.bytes - i);
        const bool space = x.text[i] == ' ';
        const ClozeWord w = {x.text + i + space, j - i - space};
        size_t len;
        if (w.n < CLOZE_LETTERS) continue;
        if (tok_class(tok->classes, w.p, w.n, &len) != TOK_LETTER) continue;
        if (!cloze_seen(word, words, w)) word[words++] = w;
        else if (space && z->items < most) cloze_last_word(z, &x, i, j, words);
    }
    free(x.from);
    free(x.text);
    free(word);
}
/* At most `most` last words from windows of T tokens, T / 2 apart, in an order
 * that the seed gives. */
static inline Cloze cloze_words(const Tokenizer *tok, const Tokens *t,
                                uint64_t seed, size_t most, size_t T) {
    Cloze z = {.T = size_min(T, CLOZE_T)};
    const size_t step = z.T / 2;
    const size_t windows = step ? t->n / step : 0;
    const uint64_t order = rng_key(seed, "last words");
    int32_t *id = mem_new(z.T, sizeof *id);         /* (T) */
    for (size_t k = 0; k < windows && z.items < most; k++) {
        const size_t at = step * rng_permute(order, k, windows);
        const size_t n = size_min(t->n - at, z.T);
        const size_t before = z.items;
        size_t end;
        tokens_get(t, at, n, id);
        for (size_t first = 0; first < n; first = end + 1) {
            end = first;
            while (end < n && (uint32_t)id[end] != tok->eot) end++;
            cloze_document(&z, tok, id, first, end - first, most);
        }
        if (z.items > before) memcpy(cloze_row(&z), id, n * sizeof *id);
    }
    free(id);
    return z;
}

/* ---- any text: continuations --------------------------------------------- */

/* Reads n tokens from `at` on into id. True if they are of one document and the
 * word-th begins a word. */
static inline bool cloze_passage(const Tokenizer *tok, const Tokens *t,
                                 size_t at, size_t n, size_t word, int32_t *id) {
    size_t len;
    if (at + n > t->n) return false;
    tokens_get(t, at, n, id);
    for (size_t k = 0; k < n; k++)
        if ((uint32_t)id[k] == tok->eot) return false;
    return *tok_bytes(tok, (uint32_t)id[word], &len) == ' ';
}
/* The passages of one item: the true one in the first row, in the others its
 * context with something else after it. */
typedef struct {
    const Tokenizer *tok;
    const Tokens *t;
    const uint32_t *of;                 /* [t->n - 1] the part that token k + 1 is in */
    size_t T, context;
    uint64_t key, draw;                 /* of the random places of wrong ones */
    int32_t *id;                        /* (4,T) */
} ClozeFour;

/* Finds the three wrong ones, which are of other parts than the true one at
 * place `at` of the text. False if a hundred places hold none. */
static inline bool cloze_wrong(ClozeFour *f, size_t at) {
    const uint32_t part = f->of[at + f->context - 1];
    size_t found = 0;
    for (int tries = 0; tries < 100 && found < 3; tries++) {
        const size_t from = 1 + rng_u64(f->key, f->draw++) % (f->t->n - 1);
        int32_t *row = f->id + (found + 1) * f->T;  /* (T) */
        memcpy(row, f->id, f->context * sizeof *row);
        found += cloze_passage(f->tok, f->t, from, f->T - f->context, 0,
                               row + f->context) &&
                 f->of[from - 1] != part;
    }
    return found == 3;
}
/* At most `most` continuations, in an order that the seed gives. A row has 1 +
 * 16 (groups - 1) tokens of context and 15 more. of[k]: the part of the text
 * that token k + 1 is in. */
static inline Cloze cloze_continuations(const Tokenizer *tok, const Tokens *t,
                                        const uint32_t *of, uint64_t seed,
                                        size_t most, size_t T) {
    const size_t groups = size_min(T / LINE, CLOZE_GROUPS);
    const size_t n = LINE - 1;
    Cloze z = {.T = groups * LINE};
    const size_t context = z.T - n;
    const size_t slots = groups < 2 ? 0 : t->n / z.T;
    const uint64_t order = rng_key(seed, "continuations");
    ClozeFour f = {.tok = tok, .t = t, .of = of, .T = z.T, .context = context};
    f.key = rng_key(seed, "wrong continuations");
    f.id = mem_new(4 * z.T + 1, sizeof *f.id);
    for (size_t k = 0; k < slots && z.items < most; k++) {
        size_t at = z.T * rng_permute(order, k, slots);
        const size_t last = at + LINE;
        while (at < last && !cloze_passage(tok, t, at, z.T, context, f.id))
            at++;
        if (at == last || !cloze_wrong(&f, at)) continue;
        cloze_item(&z, (ClozeItem){
            .kind = CLOZE_CONTINUATION,
            .chance = 0.25,
            .row = z.rows,
            .at = context,
            .n = n,
        });
        for (size_t row = 0; row < 4; row++)
            memcpy(cloze_row(&z), f.id + row * z.T, z.T * sizeof *f.id);
    }
    free(f.id);
    return z;
}

/* ---- scoring ------------------------------------------------------------- */

/* Whether the token at place `at` of an item's row beats its rivals there, by
 * the V logits before it, 16 floats apart. */
static inline bool cloze_beats(const ClozeItem *item, size_t at, int32_t token,
                               const float *logits, size_t V) {
    const float best = logits[(size_t)token * LINE];
    bool right = true;
    if (item->kind < CORPUS_KINDS)
        for (int k = 0; k < 3; k++) {
            const ClozeRival *rival = &item->rival[k];
            if (rival->at == at)
                right &= best > logits[(size_t)rival->token * LINE];
        }
    if (item->kind == CLOZE_WORD)
        for (size_t v = 0; v < V; v++)
            if (v != (size_t)token) right &= best > logits[v * LINE];
    return right;
}
/* Some items, and the run that holds their rows. */
typedef struct {
    GptRun *r;
    size_t row;                         /* the first that it holds */
    size_t from, end;                   /* items from .. end - 1 */
} ClozeTurn;

/* Panel by panel: the items lose `right` if they are not. */
static inline void cloze_panels(Cloze *z, const ClozeTurn *turn) {
    GptRun *r = turn->r;
    const size_t V = r->m->c.V;
    const size_t stride = gpt_logits_stride(r);
    for (size_t panel = 0; panel < gpt_panels(r); panel++) {
        const GptPanel p = gpt_panel_back(r, panel);
        const float *logits = NULL;                 /* (groups,V,16), groups a stride apart */
        for (size_t k = turn->from; k < turn->end; k++) {
            ClozeItem *item = &z->item[k];
            const int32_t *row = z->row + item->row * z->T;     /* (T) */
            const size_t first = (item->row - turn->row) * r->stride;
            for (size_t at = item->at; at < item->at + item->n; at++) {
                const size_t group = first + (at - 1) / LINE;
                if (group < p.at || group >= p.at + p.groups) continue;
                if (!logits) logits = gpt_logits(r, panel);
                const float *of_group = logits + (group - p.at) * stride;   /* (V,16) */
                const float *of_token = of_group + (at - 1) % LINE;
                item->right &= cloze_beats(item, at, row[at], of_token, V);
            }
        }
    }
}

/* The nats of a row's answer, from the losses of the run's sequence b, per
 * byte. */
static inline double cloze_nats(const GptRun *r, const Tokenizer *tok,
                                const int32_t *row, size_t b, size_t context) {
    const double *loss = r->loss + b * r->stride * LINE;
    double nats = 0;
    double bytes = 0;
    for (size_t t = context; t < r->T; t++) {
        size_t len;
        tok_bytes(tok, (uint32_t)row[t], &len);
        bytes += (double)len;
        nats += loss[t - 1];
    }
    return nats / bytes;
}
/* The items of a turn, at most B, are continuations: their first rows whole,
 * then only the last group of 16 tokens of the other three, whose context is
 * the same. inputs (B,T) is room. */
static inline void cloze_fours(Cloze *z, const ClozeTurn *turn,
                               const Tokenizer *tok, int32_t *inputs) {
    GptRun *r = turn->r;
    const size_t T = z->T;
    const size_t n = turn->end - turn->from;
    const size_t context = z->item->at;
    int32_t *targets = mem_new(r->B * T, sizeof *targets);      /* (B,T) */
    double *best = mem_new(r->B, sizeof *best);                 /* (B) */
    double unused = 0;
    for (size_t way = 0; way < 4; way++) {
        for (size_t b = 0; b < n; b++) {
            const size_t row_number = z->item[turn->from + b].row + way;
            const int32_t *row = z->row + row_number * T;       /* (T) */
            memcpy(inputs + b * T, row, T * sizeof *row);
            for (size_t t = 0; t < T; t++)
                targets[b * T + t] = t + 1 < T && t + 1 >= context ? row[t + 1]
                                                                   : -1;
        }
        r->from = way ? r->groups - 1 : 0;
        gpt_eval(r, inputs, targets, &unused);
        for (size_t b = 0; b < n; b++) {
            ClozeItem *item = &z->item[turn->from + b];
            const double nats = cloze_nats(r, tok, inputs + b * T, b, context);
            if (!way) best[b] = nats;
            item->right &= way ? best[b] < nats : isfinite(nats);
        }
    }
    r->from = 0;
    free(targets);
    free(best);
}
/* One forward pass scores the items of a turn. inputs (B,T) is room; past the
 * last row any tokens will do. */
static inline void cloze_once(Cloze *z, const ClozeTurn *turn, int32_t *inputs) {
    for (size_t b = 0; b < turn->r->B; b++) {
        const size_t row = turn->row + b < z->rows ? turn->row + b : turn->row;
        memcpy(inputs + b * z->T, z->row + row * z->T, z->T * sizeof *inputs);
    }
    turn->r->inputs = inputs;
    gpt_forward(turn->r);
    cloze_panels(z, turn);
}
/* Finds out which items the model gets right, B rows at a time, P tokens a
 * panel. what: this is, on a terminal, or NULL. */
static inline void cloze_score(Cloze *z, Gpt *m, const Tokenizer *tok,
                               DfPool *pool, size_t B, size_t P,
                               const char *what) {
    if (!z->items) return;
    GptRun *r = gpt_run_new(m, pool, B, z->T, P, GPT_FORWARD);
    int32_t *inputs = mem_new(B * z->T, sizeof *inputs);        /* (B,T) */
    ClozeTurn turn = {.r = r};
    Slow slow = slow_begin(what);
    for (; turn.from < z->items; turn.from = turn.end) {
        const bool fours = z->item[turn.from].kind == CLOZE_CONTINUATION;
        turn.row = z->item[turn.from].row;
        turn.end = turn.from;
        while (turn.end < z->items) {
            ClozeItem *item = &z->item[turn.end];
            if (item->row >= turn.row + B * (fours ? 4 : 1)) break;
            item->right = true;
            turn.end++;
        }
        if (fours) cloze_fours(z, &turn, tok, inputs);
        else cloze_once(z, &turn, inputs);
        slow_tell(&slow, (double)turn.end / (double)z->items);
    }
    slow_end(&slow);
    free(inputs);
    gpt_run_free(r);
}

/* ---- results ------------------------------------------------------------- */

/* Of the items of a kind: how many model a, and on the same items b, gets
 * right. */
typedef struct {
    size_t items;
    size_t right[2];
    size_t only[2];                     /* that one of them alone gets right */
    double chance;                      /* of a guess, on average */
} ClozeTally;

/* a and b are three lists each; b may be NULL, which is a again. */
static inline ClozeTally cloze_tally(const Cloze *a, const Cloze *b, int kind) {
    ClozeTally t = {0};
    if (!b) b = a;
    for (size_t list = 0; list < 3; list++)
        for (size_t k = 0; k < a[list].items; k++) {
            const ClozeItem *x = &a[list].item[k];
            const ClozeItem *y = &b[list].item[k];
            if (x->kind != kind) continue;
            t.items++;
            t.chance += x->chance;
            t.right[0] += x->right;
            t.right[1] += y->right;
            t.only[0] += x->right && !y->right;
            t.only[1] += y->right && !x->right;
        }
    t.chance /= t.items ? (double)t.items : 1;
    return t;
}
#endif
