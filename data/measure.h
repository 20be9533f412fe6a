/* measure.h: what a model is worth on a text: its loss, and how sure one can be of it.
 *
 * The text is read in windows of T tokens (batch_val), each token but the first a target exactly once. Every
 * target belongs to a part, and an interval is over the parts: a text's documents or, where it has fewer than
 * 20 of them, at most 100 equal blocks of it. An interval over documents tells what to expect on another text
 * of the same kind, one over blocks of a single novel on more of this novel: the program says which it is.
 *
 * It refuses to average over documents: a text's bits per byte are the sum of its parts' bits over the sum of
 * their bytes, so the parts add up to the loss that a run reports, which is this one.
 *
 * Example: 274 stories of 90,000 tokens are 274 parts; two novels are 100 blocks, of 24,910 bytes each if
 * there are 2,491,000. A token lies in the block in which its first byte lies. */
#ifndef MEASURE_H
#define MEASURE_H
#include "../gpt.h"
#include "loader.h"
#include "stats.h"

static const double NATS_PER_BIT = 0.69314718055994531;

typedef struct {
    Tokens train, val;
    double floor;                   /* bits per byte that no model can beat on val; 0: not known */
    uint32_t *bytes;                /* of each id, <|endoftext|> none; NULL without a vocabulary */
    int32_t eot;                    /* the id of <|endoftext|> */
} Data;

/* ---- scores ------------------------------------------------------------------------------------------- */

typedef struct { double nats, bytes; size_t tokens; } Score;

static inline double score_bits(const Score *s) {           /* per byte; 0: not known */
    return s->bytes > 0 ? s->nats / NATS_PER_BIT / s->bytes : 0;
}

enum { PARTS_FEW = 20, PARTS_BLOCKS = 100, PARTS_BYTES = 64 };
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
 * same text. */
static inline StatsInterval parts_interval(const Parts *a, const Parts *b, bool bytes) {
    double *num = mem_new(a->n, sizeof *num), *den = mem_new(a->n, sizeof *den);
    for (size_t k = 0; k < a->n; k++) {
        num[k] = (a->part[k].nats - (b ? b->part[k].nats : 0)) / NATS_PER_BIT;
        den[k] = bytes ? a->part[k].bytes : (double)a->part[k].tokens;
    }
    const StatsInterval s = stats_bootstrap(num, den, a->n, 1);
    free(num), free(den);
    return s;
}
#endif
