/* measure.h: what a model is worth on a text: its loss, the questions it gets right, and how sure one can be.
 *
 * The text is read in windows of T tokens (batch_val), each token but the first a target exactly once. Every
 * target belongs to a part, and an interval is over the parts: a text's documents or, where it has fewer than
 * 20 of them, at most 100 equal blocks of it. An interval over documents tells what to expect on another text
 * of the same kind, one over blocks of a single novel on more of this novel: the program says which it is.
 *
 * It refuses to average over documents: a text's bits per byte are the sum of its parts' bits over the sum of
 * their bytes, so the parts add up to the loss that a run reports, which is this one.
 *
 * Example: 269 stories of 96,670 tokens are 269 parts; two novels are 100 blocks, of 24,910 bytes each if
 * there are 2,491,000. A token lies in the block in which its first byte lies. */
#ifndef MEASURE_H
#define MEASURE_H
#include "cloze.h"
#include "../base/stats.h"
#include "../run/state.h"

/* ---- scores ------------------------------------------------------------------------------------------- */

typedef struct { double nats, bytes; size_t tokens; } Score;

static inline double score_bits(const Score *s) {           /* per byte; 0: not known */
    return s->bytes > 0 ? s->nats / NATS_PER_BIT / s->bytes : 0;
}

enum { PARTS_FEW = 20, PARTS_BLOCKS = 100, PARTS_BYTES = 64, PARTS_LEAST = 10 };
typedef struct {
    Score *part;                    /* [n] in the order of the text */
    size_t n;
    bool blocks;                    /* equal ones, because the documents are too few */
    uint32_t *of;                   /* [val.n - 1] the part of target k, which is token k + 1 */
} Parts;

/* The parts of d->val, still without scores. EOT ends a document and belongs to it. */
static inline Parts parts_new(const Data *d) {
    const size_t n = d->val.n - 1;
    int32_t *id = mem_new(n, sizeof *id);
    Parts p = {.of = mem_new(n, sizeof *p.of)};
    double total = 0, done = 0;
    tokens_get(&d->val, 1, n, id);
    for (size_t k = 0; k < n; k++) {
        p.of[k] = (uint32_t)p.n, p.n += id[k] == d->eot || k + 1 == n;
        total += d->bytes ? d->bytes[id[k]] : 1;
    }
    if (p.n < PARTS_FEW) {
        p.blocks = true;
        p.n = total >= PARTS_BLOCKS * PARTS_BYTES ? PARTS_BLOCKS : 1 + (size_t)total / PARTS_BYTES;
        for (size_t k = 0; k < n; done += d->bytes ? d->bytes[id[k]] : 1, k++)
            p.of[k] = done < total ? (uint32_t)(done * (double)p.n / total) : (uint32_t)p.n - 1;
    }
    p.part = mem_new(p.n, sizeof *p.part);
    free(id);
    return p;
}
static inline void parts_free(Parts *p) { free(p->part), free(p->of), *p = (Parts){0}; }

/* Adds the loss of targets (B,T) that gpt_eval has just computed, windows `first` on of d->val, to their
 * parts. */
static inline void parts_add(Parts *p, const GptRun *r, const Data *d, const int32_t *targets, size_t first) {
    for (size_t i = 0; i < r->B * r->T; i++) {
        if (targets[i] < 0) continue;
        Score *part = &p->part[p->of[first * r->T + i]];
        part->nats += r->loss[i / r->T * r->stride * LINE + i % r->T];
        part->bytes += d->bytes ? d->bytes[targets[i]] : 0, part->tokens++;
    }
}

/* Bits per byte or, without a vocabulary, per token: of one model or, if b is not NULL, a's less b's on the
 * same text. Fewer than 10 parts have no finite interval: a bootstrap of 5 covers 82 % and not 95. */
static inline StatsInterval parts_interval(const Parts *a, const Parts *b, bool bytes) {
    double *num = mem_new(a->n, sizeof *num), *den = mem_new(a->n, sizeof *den);
    for (size_t k = 0; k < a->n; k++) {
        num[k] = (a->part[k].nats - (b ? b->part[k].nats : 0)) / NATS_PER_BIT;
        den[k] = bytes ? a->part[k].bytes : (double)a->part[k].tokens;
    }
    StatsInterval s = stats_bootstrap(num, den, a->n, 1);
    if (a->n < PARTS_LEAST) s.lo = -INFINITY, s.hi = s.detectable = INFINITY;
    free(num), free(den);
    return s;
}

/* The loss over windows of d->val that hold the first `most` tokens (0: all); of its parts too, unless they
 * are NULL. */
static inline Score evaluate(GptRun *r, const Data *d, size_t most, Parts *parts) {
    Score s = {0};
    const size_t B = r->B, T = r->T, end = most ? (most + T - 1) / T : SIZE_MAX;
    int32_t *inputs = mem_new(B * T, 4), *targets = mem_new(B * T, 4);
    for (size_t first = 0; first < end && first * T + 1 < d->val.n && !interrupted; first += B) {
        s.tokens += batch_val(&d->val, first, end, B, T, inputs, targets);
        gpt_eval(r, inputs, targets, &s.nats);
        if (parts) parts_add(parts, r, d, targets, first);
        for (size_t i = 0; d->bytes && i < B * T; i++) if (targets[i] >= 0) s.bytes += d->bytes[targets[i]];
    }
    free(inputs), free(targets);
    return s;
}

/* ---- everything that is measured ---------------------------------------------------------------------- */

typedef struct {
    const char *name;               /* of the model */
    Score val, train;               /* train: as much of the text it was trained on; no tokens: not at hand */
    Parts parts;                    /* of val */
    double floor;                   /* as Data's */
    size_t wanted;                  /* items of each list */
    Cloze cloze[3];                 /* questions about stories, last words, continuations */
} Measures;

static inline void measures_free(Measures *x) {
    parts_free(&x->parts);
    for (int k = 0; k < 3; k++) cloze_free(&x->cloze[k]);
}

/* Everything that is measured of a model on d, on d->train too if it is there; windows of items of at most T.
 */
static inline Measures measure(const State *s, const char *name, DfPool *pool, const Data *d, size_t T) {
    const Options *o = s->o;
    const bool stories = !o->text.n && !o->tokens.n;
    Measures x = {.name = name, .parts = parts_new(d), .floor = d->floor, .wanted = s->tok ? o->items : 0};
    GptRun *r = gpt_run_new(s->m, pool, group_size(o, &s->m->c, 16, false), s->m->c.ctx, o->panel, false);
    x.val = evaluate(r, d, 0, &x.parts);
    if (d->train.n > 1) {
        Data train = *d;
        train.val = d->train;
        x.train = evaluate(r, &train, d->val.n, NULL);
    }
    gpt_run_free(r);
    if (!x.wanted) return x;
    if (stories) x.cloze[0] = cloze_stories(s->tok, rng_key(o->seed, "stories held out"), x.wanted, T);
    x.cloze[1] = cloze_words(s->tok, &d->val, o->seed, x.wanted, T);
    x.cloze[2] = cloze_continuations(s->tok, &d->val, x.parts.of, o->seed, x.wanted, T);
    for (int k = 0; k < 3; k++) {
        const size_t B = group_size(o, &s->m->c, k < 2 ? 16 : 64, false);
        cloze_score(&x.cloze[k], s->m, s->tok, pool, B, o->panel);
    }
    return x;
}

static inline void score_print(const char *what, const Score *s, double floor) {
    printf("%s loss %.4f, perplexity %.2f", what, s->nats / (double)s->tokens,
           exp(s->nats / (double)s->tokens));
    if (s->bytes > 0) printf(", %.4f bits/byte", score_bits(s));
    if (s->bytes > 0 && floor > 0) printf(" (floor %.4f, %.4f above)", floor, score_bits(s) - floor);
    printf(", %zu tokens\n", s->tokens);
}
static inline void json_score(Out *out, const Score *s, double floor) {
    json_member_put(out, "val_loss", s->nats / (double)s->tokens);
    json_member_put(out, "val_tokens", (double)s->tokens);
    json_member_put(out, "bits_per_byte", s->bytes > 0 ? score_bits(s) : NAN);
    json_member_put(out, "floor", floor > 0 ? floor : NAN);
}
static inline void json_interval(Out *out, const char *key, StatsInterval s) {
    json_member_put(out, key, s.diff), json_member_put(out, "lo", s.lo), json_member_put(out, "hi", s.hi);
}

/* What N of them are; the unit of their scores, and one of these. */
static inline const char *parts_name(const Parts *p) {
    return p->blocks ? "equal blocks (its documents are too few)" : "documents";
}
static inline const char *score_unit(const Score *s) { return s->bytes > 0 ? "bits/byte" : "bits/token"; }
static inline double parts_bits(const Measures *x, size_t k) {
    const Score *s = &x->parts.part[k];
    return s->nats / NATS_PER_BIT / (x->val.bytes > 0 ? s->bytes : (double)s->tokens);
}

/* Kind by kind, what model a and, if it is not NULL, b gets right. */
static inline void cloze_print(const Measures *a, const Measures *b) {
    static const char *const list[3] = {"questions", "last_word", "continuation"};
    if (b) printf("cloze          items    first   second   differ  95 %% interval          p   chance\n");
    else printf("cloze          items    right  95 %% interval      chance\n");
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const ClozeTally t = cloze_tally(a->cloze, b ? b->cloze : NULL, kind);
        const double n = (double)t.items;
        double p;
        if (!t.items) continue;
        const StatsInterval one = stats_share(t.right[0], t.items),
                            two = stats_mcnemar(t.only[0], t.only[1], t.items, &p);
        printf("%-13s %6zu  %5.1f %%", cloze_kinds[kind], t.items, 100 * one.diff);
        if (b)
            printf("  %5.1f %%  %+5.1f %%  %+5.1f .. %+5.1f %%  %7.2g", 100 * (double)t.right[1] / n,
                   100 * two.diff, 100 * two.lo, 100 * two.hi, p);
        else printf("  %5.1f .. %5.1f %%", 100 * one.lo, 100 * one.hi);
        printf("  %5.1f %%\n", 100 * t.chance);
    }
    for (int k = 0; k < 3; k++)
        if ((k || a->cloze[0].T) && a->cloze[k].items < a->wanted)
            printf("%s: %zu items, fewer than %zu: the text or the context is too short\n", list[k],
                   a->cloze[k].items, a->wanted);
}
static inline void measures_print(const Measures *x) {
    const StatsInterval s = parts_interval(&x->parts, NULL, x->val.bytes > 0);
    double easiest = INFINITY, hardest = 0;
    for (size_t k = 0; k < x->parts.n; k++)
        easiest = fmin(easiest, parts_bits(x, k)), hardest = fmax(hardest, parts_bits(x, k));
    score_print(x->name, &x->val, x->floor);
    printf("95 %% interval %.4f .. %.4f over %zu %s, from %.4f to %.4f %s\n", s.lo, s.hi, x->parts.n,
           parts_name(&x->parts), easiest, hardest, score_unit(&x->val));
    if (x->train.tokens)
        printf("on as much of its training text %.4f bits/byte, a gap of %.4f\n", score_bits(&x->train),
               score_bits(&x->val) - score_bits(&x->train));
    if (x->wanted) cloze_print(x, NULL);
}
static inline void json_cloze(Out *out, const Measures *a, const Measures *b) {
    json_begin(out, "cloze", '[');
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const ClozeTally t = cloze_tally(a->cloze, b ? b->cloze : NULL, kind);
        double p;
        if (!t.items) continue;
        json_begin(out, NULL, '{');
        json_member_text(out, "kind", cloze_kinds[kind]);
        json_member_put(out, "items", (double)t.items), json_member_put(out, "chance", t.chance);
        if (b) {
            json_interval(out, "diff", stats_mcnemar(t.only[0], t.only[1], t.items, &p));
            json_member_put(out, "p", p), json_member_put(out, "only_a", (double)t.only[0]);
            json_member_put(out, "only_b", (double)t.only[1]);
        } else json_interval(out, "accuracy", stats_share(t.right[0], t.items));
        json_close(out, '}');
    }
    json_close(out, ']');
}
/* The members of an object. */
static inline void json_measures(Out *out, const Measures *x) {
    json_score(out, &x->val, x->floor);
    json_member_put(out, "perplexity", exp(x->val.nats / (double)x->val.tokens));
    json_member_put(out, "train_bits_per_byte", x->train.tokens ? score_bits(&x->train) : NAN);
    json_member_text(out, "over", x->parts.blocks ? "blocks" : "documents");
    const StatsInterval s = parts_interval(&x->parts, NULL, x->val.bytes > 0);
    json_member_put(out, "lo", s.lo), json_member_put(out, "hi", s.hi);
    json_begin(out, "parts", '[');
    for (size_t k = 0; k < x->parts.n; k++) json_member_put(out, NULL, parts_bits(x, k));
    json_close(out, ']'), json_cloze(out, x, NULL);
}

/* ---- two models on the same text ---------------------------------------------------------------------- */

/* paired: they have the same vocabulary, hence the same items. */
static inline void pair_print(const Measures x[2], double margin, bool paired) {
    const bool bytes = x[0].val.bytes > 0 && x[1].val.bytes > 0;
    const StatsInterval s = parts_interval(&x[0].parts, &x[1].parts, bytes);
    for (int k = 0; k < 2; k++) {
        if (!paired) measures_print(&x[k]);
        else score_print(x[k].name, &x[k].val, x[k].floor);
    }
    if (!paired) printf("their vocabularies differ: compared by the byte, and the items are not paired\n");
    printf("first less second %+.4f %s, 95 %% interval %+.4f .. %+.4f over %zu %s\n", s.diff,
           bytes ? "bits/byte" : "bits/token", s.lo, s.hi, x->parts.n, parts_name(&x->parts));
    printf("the first is %s (margin %g); a difference of %.4f would be seen four times in five\n",
           stats_verdict(s, margin), margin, s.detectable);
    if (paired && x->wanted) cloze_print(&x[0], &x[1]);
}
static inline void json_pair(Out *out, const Measures x[2], double margin, bool paired) {
    const bool bytes = x[0].val.bytes > 0 && x[1].val.bytes > 0;
    const StatsInterval s = parts_interval(&x[0].parts, &x[1].parts, bytes);
    for (int k = 0; k < 2; k++) {
        json_begin(out, k ? "b" : "a", '{'), json_member_text(out, "name", x[k].name);
        json_measures(out, &x[k]), json_close(out, '}');
    }
    json_interval(out, "diff", s), json_member_put(out, "detectable", s.detectable);
    json_member_put(out, "margin", margin), json_member_text(out, "verdict", stats_verdict(s, margin));
    json_member_text(out, "over", x->parts.blocks ? "blocks" : "documents");
    if (paired) json_cloze(out, &x[0], &x[1]);
}
#endif
