/* attention.h: attention of one head, for 16 queries at a time.
 *
 * It is the same three products as the linear layers (sparse.h), with the
 * head's keys and values in the place of the weights: 16 tokens' keys, hs lines
 * of them, are a row block of 16 outputs as they lie.
 *
 *     scores            = forward            with the keys
 *     mix of the values = backward-data      with the values
 *     dprob             = forward            with the values
 *     dquery            = backward-data      with the keys
 *     dkey, dvalue     += backward-weight
 *
 * Scores of 16 queries (the lanes) against n groups of keys, 16 lines a group:
 *
 *                     query 0  ...  15
 *     key 0         |  s  |  s  |  s  |         a query's sums run downwards,
 *     key 1         |  s  |  s  |  s  |         key by key
 *     ...           |     |     |     |
 *     key 16n - 1   |  0  |  0  |  s  |         of its own group a query sees
 *                                               the keys up to its own
 *
 * The largest score and 1 / sum of each query are kept, so the backward pass
 * finds the probabilities again from one product. Only a column of scores
 * exists at a time: memory O(T), work O(T^2). It refuses to know where keys and
 * values came from and how many heads there are. */
#ifndef ATTENTION_H
#define ATTENTION_H
#include "drop.h"
#include "panel.h"

/* Where a head's keys and values, and in the backward pass their gradients, of
 * the whole sequence lie, by groups of hs lines. On a chip they may be spread
 * over several tiles; off chip one tile has them all. */
typedef struct {
    float *k, *v, *dk, *dv;     /* of group 0 */
    size_t stride;              /* floats from a group to the next on a tile */
    size_t grains;              /* groups on a tile */
    size_t jump;                /* floats from a tile to the next */
} AttMemory;

/* Sixteen queries of a head, and what is theirs: panels of hs lines, and two
 * lines. */
typedef struct {
    size_t n;                   /* groups of keys that they see; theirs is the
                                 * last of these */
    size_t hs;
    float scale;                /* 1 / sqrt(hs) */
    SpPanel query;
    SpPanel out;                /* the mix of the values */
    SpPanel dquery, dout;       /* backward */
    float *max;                 /* (16) largest of the scaled scores */
    float *share;               /* (16) 1 / sum of exp(score - max) */
    Drop drop;                  /* of probabilities: rows are queries, columns
                                 * keys */
} AttQueries;

/* Group n of what lies at `of`, which is m->k, m->v, m->dk or m->dv. */
static inline float *att_group(const AttMemory *m, float *of, size_t n) {
    return of + n / m->grains * m->jump + n % m->grains * m->stride;
}
/* Copies the first hs lines of a group to a tile's memory. */
static inline void att_remember(float *to, SpPanel from, size_t hs) {
    for (size_t i = 0; i < hs; i++)
        memcpy(to + i * LINE, panel_line(from, 0, i), LINE * sizeof(float));
}
/* And back. */
static inline void att_recall(SpPanel to, const float *from, size_t hs) {
    for (size_t i = 0; i < hs; i++)
        memcpy(panel_line(to, 0, i), from + i * LINE, LINE * sizeof(float));
}

/* ---- the products -------------------------------------------------------- */

/* s (16n,16) = of' x: 16 queries' products with n groups of keys or values; of:
 * m->k or m->v */
static inline void att_scores(float *s, const AttMemory *m, float *of, size_t n,
                              SpPanel x, size_t hs) {
    const SpLines at = {.col = x.row, .n = hs, .blocks = 1};
    memset(s, 0, n * LINE * LINE * sizeof(float));
    for (size_t k = 0; k < n; k++, s += LINE * LINE)
        sp_forward_narrow(att_group(m, of, k), at, x, (SpPanel){.lines = s});
}
/* out (hs) = p (16n,16) times the keys or values at `of` */
static inline void att_mix(SpPanel out, const AttMemory *m, float *of, size_t n,
                           float *p, size_t hs) {
    size_t run;                                 /* groups on one tile */
    panel_clear(out, 0, 0, hs);
    for (size_t k = 0; k < n; k += run) {
        run = size_min(m->grains, n - k);
        const SpLines at = {out.row, hs, m->stride, run};
        sp_data_narrow(att_group(m, of, k), at, (SpPanel){.lines = p}, out);
        p += run * LINE * LINE;
    }
}
/* dk (hs,16) += x (hs) times ds (16 keys, 16 queries) */
static inline void att_spread(float *dk, SpPanel x, const float *ds,
                              size_t hs) {
    float turned[LINE * LINE] __attribute__((aligned(64)));
    const SpLines at = {.col = x.row, .n = hs, .blocks = 1};
    sp_transpose(turned, ds);
    sp_weight_narrow(dk, at, (SpPanel){.lines = turned}, x, 1);
}

/* ---- softmax ------------------------------------------------------------- */

/* The largest of the scores s (16n,16) that each query may see, for the queries
 * of one vector from v on. */
static inline vf att_max(const float *s, size_t n, size_t v) {
    const size_t own = (n - 1) * LINE;          /* the queries' own group */
    vf max = vf_load(s + own * LINE + v);
    for (size_t k = 1; k < LINE; k++) {
        const vf score = vf_load(s + (own + k) * LINE + v);
        max = vf_max(vf_below((int)k - (int)v, max, score), max);
    }
    for (size_t k = 0; k < own; k++)
        max = vf_max(max, vf_load(s + k * LINE + v));
    return max;
}
/* exp(s scale - top) of key k; 0 where it lies after the query. */
INLINE vf att_exp(const float *s, size_t k, size_t own, size_t v, vf scale,
                  vf top) {
    const vf e = vf_exp(vf_fma(vf_load(s + k * LINE + v), scale, -top));
    if (k < own) return e;
    return vf_below((int)(k - own) - (int)v, vf_all(0), e);
}
/* s (16n,16) becomes exp(s scale - max); sum (16) = its sums over keys. */
static inline void att_softmax_sum(float *restrict s, size_t n, float scale,
                                   const float *max, float *sum) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v);
        vf total = vf_all(0);
        for (size_t k = 0; k < n * LINE; k++) {
            const vf e =
                att_exp(s, k, (n - 1) * LINE, v, vf_all(scale), top);
            vf_store(s + k * LINE + v, e);
            total += e;
        }
        vf_store(sum + v, total);
    }
}
/* s (16n,16) becomes exp(s scale - max) share, the probabilities. */
static inline void att_softmax_again(float *restrict s, size_t n, float scale,
                                     const float *max, const float *share) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v);
        const vf by = vf_load(share + v);
        for (size_t k = 0; k < n * LINE; k++) {
            const vf e =
                att_exp(s, k, (n - 1) * LINE, v, vf_all(scale), top);
            vf_store(s + k * LINE + v, e * by);
        }
    }
}
/* ds (16n,16), which is dprob, becomes dscore times scale:
 *
 *     prob (dprob - D) scale,   D = sum over keys of prob dprob = dout out
 *
 * and D is found from out, in hs steps instead of 16n. */
static inline void att_softmax_data(float *restrict ds, const float *restrict p,
                                    const AttQueries *q) {
    for (size_t v = 0; v < LINE; v += LANES) {
        vf D = vf_all(0);
        for (size_t i = 0; i < q->hs; i++)
            D = vf_fma(vf_load(panel_line(q->dout, 0, i) + v),
                       vf_load(panel_line(q->out, 0, i) + v), D);
        for (size_t k = 0; k < q->n * LINE; k++) {
            const vf prob = vf_load(p + k * LINE + v);
            const vf dprob = vf_load(ds + k * LINE + v);
            vf_store(ds + k * LINE + v, prob * (dprob - D) * vf_all(q->scale));
        }
    }
}

/* ---- dropout ------------------------------------------------------------- */

/* The position of the first of the queries. */
static inline size_t att_row(const AttQueries *q) { return (q->n - 1) * LINE; }

/* s (16n,16) times the factors of dropout. */
static inline void att_drop(float *s, const AttQueries *q) {
    drop_lines(q->drop, s, att_row(q), 0, q->n * LINE);
}

/* Of the keys of group k: kept (16,16) = prob times the factors, for dv, and
 * ds (16,16), the derivative by what was mixed, becomes that by prob. */
static inline void att_drop_data(float *restrict kept,
                                 const float *restrict prob, float *restrict ds,
                                 const AttQueries *q, size_t k) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vu rows = drop_rows(att_row(q) + v);
        for (size_t i = 0; i < LINE; i++) {
            const uint32_t column = drop_column(q->drop, k * LINE + i);
            const vf factor = drop_factor(q->drop, column, rows);
            const size_t at = i * LINE + v;
            vf_store(kept + at, vf_load(prob + at) * factor);
            vf_store(ds + at, vf_load(ds + at) * factor);
        }
    }
}

/* ---- forward and backward ------------------------------------------------ */

/* out (hs) = softmax(query keys / sqrt(hs)) values; max and share are set.
 * s (16n,16): room for the scores. Passes as in the specification, but that it
 * normalises last, hs numbers instead of 16n. */
static inline void att_forward(const AttQueries *q, const AttMemory *m,
                               float *s) {
    /* 1 scores and their maximum */
    att_scores(s, m, m->k, q->n, q->query, q->hs);
    for (size_t v = 0; v < LINE; v += LANES)
        vf_store(q->max + v, att_max(s, q->n, v) * vf_all(q->scale));

    /* 2 exponentials and their sum */
    att_softmax_sum(s, q->n, q->scale, q->max, q->share);
    for (size_t v = 0; v < LINE; v += LANES)
        vf_store(q->share + v, vf_all(1) / vf_load(q->share + v));

    /* 3 mix the values, without those that are dropped: the sum is of all */
    if (q->drop.below) att_drop(s, q);
    att_mix(q->out, m, m->v, q->n, s, q->hs);

    /* 4 normalise */
    for (size_t i = 0; i < q->hs; i++)
        for (size_t v = 0; v < LINE; v += LANES) {
            float *out = panel_line(q->out, 0, i) + v;
            vf_store(out, vf_load(out) * vf_load(q->share + v));
        }
}
/* dquery (hs) =, and of the keys and values that they saw dk and dv +=, from
 * dout (hs). p and ds (16n,16): room for probabilities and their derivatives. */
static inline void att_backward(const AttQueries *q, const AttMemory *m,
                                float *p, float *ds) {
    /* the probabilities again */
    att_scores(p, m, m->k, q->n, q->query, q->hs);
    att_softmax_again(p, q->n, q->scale, q->max, q->share);

    /* forward: out = sum of prob factor value */
    att_scores(ds, m, m->v, q->n, q->dout, q->hs);
    for (size_t k = 0; k < q->n; k++) {
        float kept[LINE * LINE] __attribute__((aligned(64)));
        const float *prob = p + k * LINE * LINE;        /* (16,16) */
        if (q->drop.below) {
            att_drop_data(kept, prob, ds + k * LINE * LINE, q, k);
            prob = kept;
        }
        att_spread(att_group(m, m->dv, k), q->dout, prob, q->hs);
    }

    /* forward: prob = softmax(score) */
    att_softmax_data(ds, p, q);

    /* forward: score = query key scale */
    att_mix(q->dquery, m, m->k, q->n, ds, q->hs);
    for (size_t k = 0; k < q->n; k++) {
        const float *dscore = ds + k * LINE * LINE;     /* (16,16) */
        att_spread(att_group(m, m->dk, k), q->query, dscore, q->hs);
    }
}
#endif
