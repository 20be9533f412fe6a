/* measure.h: what a model is worth on a text: its loss, the questions it gets
 * right, and how sure one can be.
 *
 * The text is read in windows of T tokens (batch_val), each token but the first
 * a target exactly once. Every target belongs to a part, and an interval is
 * over the parts: a text's documents or, where it has fewer than 20 of them, at
 * most 100 equal blocks:
 *
 *     windows   |----- T -----|----- T -----|----- T -----|----- T -----|
 *     parts     |-- document --|---- document ----|--- document ---|-- ..
 *
 * An interval over documents tells what to expect on another text of the same
 * kind, one over blocks of a single novel on more of this novel: the program
 * says which it is.
 *
 * It refuses to average over documents: a text's bits per byte are the sum of
 * its parts' bits over the sum of their bytes, so the parts add up to the loss
 * that a run reports, which is this one.
 *
 * Example: 269 stories of 96,670 tokens are 269 parts; two novels are 100
 * blocks, of 24,910 bytes each if there are 2,491,000. A token lies in the
 * block in which its first byte lies. */
#ifndef MEASURE_H
#define MEASURE_H
#include "cloze.h"
#include "../base/stats.h"
#include "../run/state.h"

/* ---- scores -------------------------------------------------------------- */

typedef struct {
    double nats, bytes;                 /* sums over its tokens; bytes 0: not known */
    size_t tokens;
} Score;

static inline double score_bits(const Score *s) {           /* per byte; 0: not known */
    return s->bytes > 0 ? s->nats / NATS_PER_BIT / s->bytes : 0;
}
static inline double score_loss(const Score *s) {
    return s->nats / (double)s->tokens;
}
static inline const char *score_unit(const Score *s) {
    return s->bytes > 0 ? "bits/byte" : "bits/token";
}

enum { PARTS_FEW = 20 };                /* documents: fewer give way to blocks, */
enum { PARTS_BLOCKS = 100 };            /* so many at most, */
enum { PARTS_BYTES = 64 };              /* of so many bytes at least */
enum { PARTS_LEAST = 10 };              /* that an interval is computed over */
typedef struct {
    Score *part;                        /* [n] in the order of the text */
    size_t n;
    bool blocks;                        /* equal ones: the documents are too few */
    uint32_t *of;                       /* [val.n - 1] the part of target k, which is
                                         * token k + 1 */
} Parts;

/* The bytes of a token or, where they are not known, 1. */
static inline double parts_bytes(const Data *d, int32_t id) {
    return d->bytes ? d->bytes[id] : 1;
}
/* Divides n targets into equal blocks; total: their bytes. */
static inline void parts_blocks(Parts *p, const Data *d, const int32_t *id,
                                size_t n, double total) {
    const size_t few = 1 + (size_t)total / PARTS_BYTES;
    double done = 0;
    p->blocks = true;
    p->n = total >= PARTS_BLOCKS * PARTS_BYTES ? PARTS_BLOCKS : few;
    for (size_t k = 0; k < n; k++) {
        const double share = done * (double)p->n / total;
        p->of[k] = done < total ? (uint32_t)share : (uint32_t)p->n - 1;
        done += parts_bytes(d, id[k]);
    }
}
/* The parts of d->val, still without scores. EOT ends a document and belongs to
 * it. */
static inline Parts parts_new(const Data *d) {
    const size_t n = d->val.n - 1;
    int32_t *id = mem_new(n, sizeof *id);           /* [n] */
    Parts p = {.of = mem_new(n, sizeof *p.of)};
    double total = 0;
    tokens_get(&d->val, 1, n, id);
    for (size_t k = 0; k < n; k++) {
        p.of[k] = (uint32_t)p.n;
        p.n += id[k] == d->eot || k + 1 == n;
        total += parts_bytes(d, id[k]);
    }
    if (p.n < PARTS_FEW) parts_blocks(&p, d, id, n, total);
    p.part = mem_new(p.n, sizeof *p.part);
    free(id);
    return p;
}
static inline void parts_free(Parts *p) {
    free(p->part);
    free(p->of);
    *p = (Parts){0};
}

/* Adds the loss of targets (B,T) that gpt_eval has just computed, windows
 * `first` on of d->val, to their parts. */
static inline void parts_add(Parts *p, const GptRun *r, const Data *d,
                             const int32_t *targets, size_t first) {
    for (size_t i = 0; i < r->B * r->T; i++) {
        if (targets[i] < 0) continue;
        const double *loss = r->loss + i / r->T * r->stride * LINE;     /* (T) */
        Score *part = &p->part[p->of[first * r->T + i]];
        part->nats += loss[i % r->T];
        part->bytes += d->bytes ? d->bytes[targets[i]] : 0;
        part->tokens++;
    }
}

/* Bits per byte or, without a vocabulary, per token: of one model or, if b is
 * not NULL, a's less b's on the same text. Fewer than 10 parts have no finite
 * interval: a bootstrap of 5 covers 82 % and not 95. */
static inline StatsInterval parts_interval(const Parts *a, const Parts *b,
                                           bool bytes) {
    double *num = mem_new(a->n, sizeof *num);       /* [n] bits */
    double *den = mem_new(a->n, sizeof *den);       /* [n] bytes or tokens */
    for (size_t k = 0; k < a->n; k++) {
        const double less = b ? b->part[k].nats : 0;
        num[k] = (a->part[k].nats - less) / NATS_PER_BIT;
        den[k] = bytes ? a->part[k].bytes : (double)a->part[k].tokens;
    }
    StatsInterval s = stats_bootstrap(num, den, a->n, 1);
    if (a->n < PARTS_LEAST) {
        s.lo = -INFINITY;
        s.hi = INFINITY;
        s.detectable = INFINITY;
    }
    free(num);
    free(den);
    return s;
}

/* The loss over windows of d->val that hold the first `most` tokens (0: all);
 * of its parts too, unless they are NULL. what: this is, on a terminal, or NULL. */
static inline Score evaluate(GptRun *r, const Data *d, size_t most, Parts *parts,
                             const char *what) {
    const size_t B = r->B;
    const size_t T = r->T;
    const size_t end = most ? (most + T - 1) / T : SIZE_MAX;
    int32_t *inputs = mem_new(B * T, sizeof *inputs);       /* (B,T) */
    int32_t *targets = mem_new(B * T, sizeof *targets);     /* (B,T) */
    Score s = {0};
    Slow slow = slow_begin(what);
    for (size_t first = 0; first < end && first * T + 1 < d->val.n; first += B) {
        if (interrupted) break;
        s.tokens += batch_val(&d->val, first, end, B, T, inputs, targets);
        gpt_eval(r, inputs, targets, &s.nats);
        slow_tell(&slow, (double)s.tokens / (double)size_min(most ? most : SIZE_MAX, d->val.n));
        if (parts) parts_add(parts, r, d, targets, first);
        if (!d->bytes) continue;
        for (size_t i = 0; i < B * T; i++)
            if (targets[i] >= 0) s.bytes += d->bytes[targets[i]];
    }
    slow_end(&slow);
    free(inputs);
    free(targets);
    return s;
}

/* ---- everything that is measured ----------------------------------------- */

typedef struct {
    const char *name;                   /* of the model */
    Score val;
    Score train;                        /* as much of the text it was trained on; no
                                         * tokens: not at hand */
    Parts parts;                        /* of val */
    double floor;                       /* as Data's */
    size_t wanted;                      /* items of each list */
    Cloze cloze[3];                     /* questions about stories, last words,
                                         * continuations */
} Measures;

static inline void measures_free(Measures *x) {
    parts_free(&x->parts);
    for (int k = 0; k < 3; k++) cloze_free(&x->cloze[k]);
}

/* The losses: x->val, by parts, and x->train. */
static inline void measure_losses(Measures *x, const State *s, DfPool *pool,
                                  const Data *d) {
    const GptConfig *c = &s->m->c;
    const size_t B = group_size(s->o, c, 16, GPT_FORWARD);
    GptRun *r = gpt_run_new(s->m, pool, B, c->ctx, s->o->panel, GPT_FORWARD);
    const bool told = !s->o->quiet;
    x->val = evaluate(r, d, 0, &x->parts, told ? "text held out" : NULL);
    if (d->train.n > 1) {
        Data train = *d;
        train.val = d->train;
        x->train = evaluate(r, &train, d->val.n, NULL, told ? "training text" : NULL);
    }
    gpt_run_free(r);
}
/* The items that the model gets right, in windows of at most T. */
static inline void measure_cloze(Measures *x, const State *s, DfPool *pool,
                                 const Data *d, size_t T) {
    const Options *o = s->o;
    const bool stories = !o->text.n && !o->tokens.n;
    const uint64_t key = rng_key(o->seed, "stories held out");
    const size_t most = x->wanted;
    if (stories) x->cloze[0] = cloze_stories(s->tok, key, most, T);
    x->cloze[1] = cloze_words(s->tok, &d->val, o->seed, most, T);
    x->cloze[2] =
        cloze_continuations(s->tok, &d->val, x->parts.of, o->seed, most, T);
    for (int k = 0; k < 3; k++) {
        const size_t B = group_size(o, &s->m->c, k < 2 ? 16 : 64, GPT_FORWARD);
        cloze_score(&x->cloze[k], s->m, s->tok, pool, B, o->panel,
                    o->quiet ? NULL : "questions");
    }
}
/* Everything that is measured of a model on d, on d->train too if it is there;
 * windows of items of at most T. */
static inline Measures measure(const State *s, const char *name, DfPool *pool,
                               const Data *d, size_t T) {
    Measures x = {.name = name, .parts = parts_new(d), .floor = d->floor};
    x.wanted = s->tok ? s->o->items : 0;
    measure_losses(&x, s, pool, d);
    if (x.wanted) measure_cloze(&x, s, pool, d, T);
    return x;
}

/* What N of them are. */
static inline const char *parts_name(const Parts *p) {
    return p->blocks ? "equal blocks (its documents are too few)" : "documents";
}
/* The bits per byte, or per token, of part k. */
static inline double parts_bits(const Measures *x, size_t k) {
    const Score *s = &x->parts.part[k];
    return s->nats / NATS_PER_BIT /
           (x->val.bytes > 0 ? s->bytes : (double)s->tokens);
}
static inline StatsInterval measures_interval(const Measures *x) {
    return parts_interval(&x->parts, NULL, x->val.bytes > 0);
}

/* ---- one model in words -------------------------------------------------- */

static inline void score_print(const char *what, const Score *s, double floor) {
    const double bits = score_bits(s);
    printf("%s loss %.4f, perplexity %.2f", what, score_loss(s),
           exp(score_loss(s)));
    if (s->bytes > 0) printf(", %.4f bits/byte", bits);
    if (s->bytes > 0 && floor > 0)
        printf(" (floor %.4f, %.4f above)", floor, bits - floor);
    printf(", %zu tokens\n", s->tokens);
}

/* What model a and, if `two`, b gets right of a kind. */
static inline void cloze_print_kind(const ClozeTally *t, int kind, bool two) {
    const StatsInterval one = stats_share(t->right[0], t->items);
    printf("%-13s %6zu  %5.1f %%", cloze_kinds[kind], t->items, 100 * one.diff);
    if (two) {
        double p;
        const StatsInterval both =
            stats_mcnemar(t->only[0], t->only[1], t->items, &p);
        printf("  %5.1f %%  %+5.1f %%  %+5.1f .. %+5.1f %%  %7.2g",
               100 * (double)t->right[1] / (double)t->items, 100 * both.diff,
               100 * both.lo, 100 * both.hi, p);
    } else printf("  %5.1f .. %5.1f %%", 100 * one.lo, 100 * one.hi);
    printf("  %5.1f %%\n", 100 * t->chance);
}
/* Kind by kind, what model a and, if it is not NULL, b gets right. */
static inline void cloze_print(const Measures *a, const Measures *b) {
    static const char *const list[3] = {"questions", "last_word",
                                        "continuation"};
    if (b)
        printf("cloze          items    first   second   differ  95 %% interval"
               "          p   chance\n");
    else printf("cloze          items    right  95 %% interval      chance\n");
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const ClozeTally t = cloze_tally(a->cloze, b ? b->cloze : NULL, kind);
        if (t.items) cloze_print_kind(&t, kind, b);
    }
    for (int k = 0; k < 3; k++) {
        const bool asked = k > 0 || a->cloze[0].T;
        if (!asked || a->cloze[k].items >= a->wanted) continue;
        printf("%s: %zu items, fewer than %zu: the text or the context is too short\n",
               list[k], a->cloze[k].items, a->wanted);
    }
}
static inline void measures_print(const Measures *x) {
    const StatsInterval s = measures_interval(x);
    double easiest = INFINITY;
    double hardest = 0;
    for (size_t k = 0; k < x->parts.n; k++) {
        easiest = fmin(easiest, parts_bits(x, k));
        hardest = fmax(hardest, parts_bits(x, k));
    }
    score_print(x->name, &x->val, x->floor);
    if (x->parts.n >= PARTS_LEAST) printf("95 %% interval %.4f .. %.4f over", s.lo, s.hi);
    else printf("no interval over so few as");
    printf(" %zu %s, from %.4f to %.4f %s\n", x->parts.n, parts_name(&x->parts), easiest,
           hardest, score_unit(&x->val));
    if (x->train.tokens)
        printf("on as much of its training text %.4f bits/byte, a gap of %.4f\n",
               score_bits(&x->train),
               score_bits(&x->val) - score_bits(&x->train));
    if (x->wanted) cloze_print(x, NULL);
}

/* ---- one model as JSON, the members of an object ------------------------- */

static inline void json_score(Out *out, const Score *s, double floor) {
    json_member_put(out, "val_loss", score_loss(s));
    json_member_put(out, "val_tokens", (double)s->tokens);
    json_member_put(out, "bits_per_byte", s->bytes > 0 ? score_bits(s) : NAN);
    json_member_put(out, "floor", floor > 0 ? floor : NAN);
}
static inline void json_interval(Out *out, const char *key, StatsInterval s) {
    json_member_put(out, key, s.diff);
    json_member_put(out, "lo", s.lo);
    json_member_put(out, "hi", s.hi);
}
static inline void json_over(Out *out, const Parts *p) {
    json_member_text(out, "over", p->blocks ? "blocks" : "documents");
}
static inline void json_cloze_kind(Out *out, const ClozeTally *t, int kind,
                                   bool two) {
    json_begin(out, NULL, '{');
    json_member_text(out, "kind", cloze_kinds[kind]);
    json_member_put(out, "items", (double)t->items);
    json_member_put(out, "chance", t->chance);
    if (two) {
        double p;
        json_interval(out, "diff",
                      stats_mcnemar(t->only[0], t->only[1], t->items, &p));
        json_member_put(out, "p", p);
        json_member_put(out, "only_a", (double)t->only[0]);
        json_member_put(out, "only_b", (double)t->only[1]);
    } else json_interval(out, "accuracy", stats_share(t->right[0], t->items));
    json_close(out, '}');
}
static inline void json_cloze(Out *out, const Measures *a, const Measures *b) {
    json_begin(out, "cloze", '[');
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const ClozeTally t = cloze_tally(a->cloze, b ? b->cloze : NULL, kind);
        if (t.items) json_cloze_kind(out, &t, kind, b);
    }
    json_close(out, ']');
}
static inline void json_measures(Out *out, const Measures *x) {
    const StatsInterval s = measures_interval(x);
    json_score(out, &x->val, x->floor);
    json_member_put(out, "perplexity", exp(score_loss(&x->val)));
    json_member_put(out, "train_bits_per_byte",
                    x->train.tokens ? score_bits(&x->train) : NAN);
    json_over(out, &x->parts);
    json_member_put(out, "lo", s.lo);
    json_member_put(out, "hi", s.hi);
    json_begin(out, "parts", '[');
    for (size_t k = 0; k < x->parts.n; k++)
        json_member_put(out, NULL, parts_bits(x, k));
    json_close(out, ']');
    json_cloze(out, x, NULL);
}

/* ---- two models on the same text ----------------------------------------- */

/* Whether both have bytes; else they are compared by the token. */
static inline bool pair_bytes(const Measures x[2]) {
    return x[0].val.bytes > 0 && x[1].val.bytes > 0;
}
static inline StatsInterval pair_interval(const Measures x[2]) {
    return parts_interval(&x[0].parts, &x[1].parts, pair_bytes(x));
}
/* paired: they have the same vocabulary, hence the same items. */
static inline void pair_print(const Measures x[2], double margin, bool paired) {
    const StatsInterval s = pair_interval(x);
    for (int k = 0; k < 2; k++) {
        if (!paired) measures_print(&x[k]);
        else score_print(x[k].name, &x[k].val, x[k].floor);
    }
    if (!paired)
        printf(
            "their vocabularies differ: compared by the %s, and the items are not "
            "paired\n",
            pair_bytes(x) ? "byte" : "token");
    printf("first less second %+.4f %s", s.diff,
           pair_bytes(x) ? "bits/byte" : "bits/token");
    if (isfinite(s.lo)) printf(", 95 %% interval %+.4f .. %+.4f over", s.lo, s.hi);
    else printf(", no interval over so few as");
    printf(" %zu %s\n", x->parts.n, parts_name(&x->parts));
    if (isfinite(s.lo))
        printf("the first is %s (margin %g); a difference of %.4f would be seen four "
               "times in five\n",
               stats_verdict(s, margin), margin, s.detectable);
    if (paired && x->wanted) cloze_print(&x[0], &x[1]);
}
static inline void json_pair(Out *out, const Measures x[2], double margin,
                             bool paired) {
    const StatsInterval s = pair_interval(x);
    for (int k = 0; k < 2; k++) {
        json_begin(out, k ? "b" : "a", '{');
        json_member_text(out, "name", x[k].name);
        json_measures(out, &x[k]);
        json_close(out, '}');
    }
    json_interval(out, "diff", s);
    json_member_put(out, "detectable", s.detectable);
    json_member_put(out, "margin", margin);
    json_member_text(out, "verdict", stats_verdict(s, margin));
    json_over(out, &x->parts);
    if (paired) json_cloze(out, &x[0], &x[1]);
}
#endif
