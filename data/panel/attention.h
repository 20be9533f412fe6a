/* attention.h: attention of one head, for some groups of 16 queries at a time.
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
 * finds the probabilities again from one product. Scores exist of a panel of queries at a
 * time, on a tile of one group, their derivatives of a few panels: memory O(T), work O(T^2).
 * Of a panel's groups each sees one group of keys more than the one before it; what all see
 * goes through the wide tiles together.
 *
 * Forward, a head's queries may be shared out: no sum is of several queries.
 * Backward, its keys may: dk and dv are sums over queries alone, and dquery,
 * which is one over keys, is made afterwards from the derivatives of the scores.
 * It refuses to know where keys and values came from and how many heads there
 * are. */
#ifndef ATTENTION_H
#define ATTENTION_H
#include "drop.h"
#include "panel.h"
#include "../../dataflow.h"

/* A head's keys and values, and in the backward pass their gradients, of the
 * whole sequence, by groups of hs lines. Off chip they are the edges themselves.
 * On chip a part keeps them as its state, dealt out over its tiles: a unit has
 * every split-th group of a head, [group][k v dk dv][hs][16]. */
enum { ATT_KEY, ATT_VALUE, ATT_DKEY, ATT_DVALUE, ATT_KINDS };

typedef struct {
    float *edge[ATT_KINDS];     /* off chip: group 0 of each */
    size_t stride;              /* floats from a group to the next */
    const DfPart *keeper;       /* on chip; NULL: off chip */
    const DfPlace *place;       /* the keeper's */
    size_t first, split;        /* its first unit of the head; units a head */
    size_t each;                /* groups a unit */
    size_t one;                 /* floats of a group's keys */
} AttMemory;

/* Sixteen queries of a head, a lane each, and what is theirs: panels of hs
 * lines, and two lines. */
typedef struct {
    size_t n;                   /* groups of keys that they see; theirs is the
                                 * last of these */
    size_t hs;                  /* channels of a head */
    float scale;                /* 1 / sqrt(hs), for scores */
    SpPanel query;              /* those of the groups after it follow by the stride */
    SpPanel out;                /* the mix of the values */
    SpPanel dout;               /* backward */
    float *max;                 /* (16) largest of the scaled scores */
    float *rsum;                /* (16) 1 / sum of exp(score - max) */
    Drop drop;                  /* of probabilities: rows are queries, columns
                                 * keys */
} AttQueries;

/* Whether a tile has all groups of the head. */
static inline bool att_whole(const AttMemory *m) {
    return m->keeper->per % m->split == 0;
}
/* The place of group n of a head among those of all heads: a head's groups in
 * order if a tile has them all, else unit by unit. */
static inline size_t att_place(const AttMemory *m, size_t n) {
    if (att_whole(m)) return m->first * m->each + n;
    return (m->first + n % m->split) * m->each + n / m->split;
}
/* Group n of a head's keys, values or their gradients. */
static inline float *att_group(const AttMemory *m, int what, size_t n) {
    if (!m->keeper) return m->edge[what] + n * m->stride;
    const size_t tile = (m->first + n % m->split) / m->keeper->per;
    const size_t before = tile * m->keeper->per * m->each;  /* on other tiles */
    return m->place[tile].chip + m->keeper->state / sizeof(float) +
           (att_place(m, n) - before) * m->stride + (size_t)what * m->one;
}
/* Of so many groups from n on those that follow one another by m->stride. */
static inline size_t att_run(const AttMemory *m, size_t groups) {
    return !m->keeper || att_whole(m) ? groups : 1;
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

/* ---- the products -------------------------------------------------------- *
 * Of some groups of queries, side by side in every panel. Scores are panels too, whose
 * lines are keys. */

/* The scores of 16 keys, the k-th such group, from the g-th group of queries on. */
static inline SpPanel att_of(SpPanel s, size_t g, size_t k) {
    return (SpPanel){.lines = s.lines + g * s.stride + k * LINE * LINE, .stride = s.stride};
}
/* s (16,16) of each group = keys' x: queries' products with group k of keys or values,
 * while the next group of these is asked for */
static inline void att_scores(SpPanel s, const AttMemory *m, int what, size_t k, SpPanel x,
                              size_t hs, size_t groups) {
    const SpLines at = {.col = x.row, .n = hs, .stride = m->stride, .begins = true};
    sp_forward_lines(att_group(m, what, k), at, x, s, groups);
}
/* out (hs) of each group += p (16 keys,16) times the keys or values of `run` groups from
 * n on, which follow one another; = if n is 0 */
static inline void att_mix(SpPanel out, const AttMemory *m, int what, size_t n,
                           size_t run, SpPanel p, size_t hs, size_t groups) {
    const SpLines at = {.col = out.row, .n = hs, .stride = m->stride, .blocks = run,
                        .fours = hs % 4 == 0, .begins = n == 0};
    sp_data_lines(att_group(m, what, n), at, p, out, groups);
}
/* out (hs) of each group = p (16n,16) times the keys or values that it sees, in order: of
 * the first group n groups of these. */
static inline void att_mix_all(SpPanel out, const AttMemory *m, int what, size_t n,
                               SpPanel p, size_t hs, size_t groups) {
    const size_t run = att_run(m, n);
    for (size_t k = 0; k < n; k += run)
        att_mix(out, m, what, k, run, att_of(p, 0, k), hs, groups);
    for (size_t k = n; k < n + groups - 1; k++) {
        const size_t g = k - n + 1;             /* the first that sees them */
        att_mix(sp_group(out, g), m, what, k, 1, att_of(p, g, k), hs, groups - g);
    }
}
/* dk (hs,16) += x (hs) times ds (16 keys, 16 queries), summed over the groups of queries,
 * the last first; dk: the gradients of group k of keys or values. keys: 1, or WIDE groups
 * from k on, side by side; next: floats from the ds of one to the next one's. */
static inline void att_spread(const AttMemory *m, int what, size_t k, size_t keys,
                              SpPanel x, SpPanel ds, size_t next, size_t hs,
                              size_t groups) {
    float turned[WIDE * GROUPS_MAX * LINE * LINE] __attribute__((aligned(64)));
    const SpLines at = {.col = x.row, .n = hs, .stride = m->stride, .fours = hs % 4 == 0};
    const SpPanel by = {.lines = turned, .stride = groups * LINE * LINE};
    for (size_t j = 0; j < keys; j++)
        for (size_t g = 0; g < groups; g++)
            sp_transpose(turned + j * by.stride + g * LINE * LINE,
                         ds.lines + j * next + g * ds.stride);
    /* x, which is at hand: nothing else is to be asked for */
    if (keys == 1) sp_weight_narrow(att_group(m, what, k), at, by, x, groups, x);
    else sp_weight_wide(att_group(m, what, k), at, by, x, groups, x);
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
/* s (16n,16) becomes exp(s scale - max) times the factors of dropout; max and 1 / sum =,
 * the sum before these. */
static inline void att_softmax(const AttQueries *q, float *s) {
    for (size_t v = 0; v < LINE; v += LANES)
        vf_store(q->max + v, att_max(s, q->n, v) * vf_all(q->scale));
    att_softmax_sum(s, q->n, q->scale, q->max, q->rsum);
    for (size_t v = 0; v < LINE; v += LANES)
        vf_store(q->rsum + v, vf_all(1) / vf_load(q->rsum + v));
    if (q->drop.below) att_drop(s, q);
}
/* s (16,16), scores of one group of keys, becomes exp(s scale - max) rsum, the
 * probabilities; own: it is the queries' own group. */
static inline void att_softmax_again(float *restrict s, const AttQueries *q,
                                     bool own) {
    const size_t seen = own ? 0 : LINE;         /* keys that all queries see */
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(q->max + v);
        const vf by = vf_load(q->rsum + v);
        for (size_t k = 0; k < LINE; k++) {
            const vf e = att_exp(s, k, seen, v, vf_all(q->scale), top);
            vf_store(s + k * LINE + v, e * by);
        }
    }
}
/* D (16) = sum over keys of prob dprob = dout out, in hs steps instead of 16n */
static inline void att_softmax_dot(float *restrict sum, const AttQueries *q) {
    for (size_t v = 0; v < LINE; v += LANES) {
        vf D = vf_all(0);
        for (size_t i = 0; i < q->hs; i++)
            D = vf_fma(vf_load(panel_line(q->dout, 0, i) + v),
                       vf_load(panel_line(q->out, 0, i) + v), D);
        vf_store(sum + v, D);
    }
}
/* ds (16,16), which is dprob of one group of keys, becomes dscore times scale:
 * prob (dprob - D) scale. */
static inline void att_softmax_data(float *restrict ds, const float *restrict p,
                                    const AttQueries *q, const float *dot) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf D = vf_load(dot + v);
        for (size_t k = 0; k < LINE; k++) {
            const vf prob = vf_load(p + k * LINE + v);
            const vf dprob = vf_load(ds + k * LINE + v);
            vf_store(ds + k * LINE + v, prob * (dprob - D) * vf_all(q->scale));
        }
    }
}

/* ---- forward and backward ------------------------------------------------ */

/* out (hs) = softmax(query keys / sqrt(hs)) values of so many groups of queries, from q[0]
 * on; max and rsum =, for the backward. s (16n,16) of each: room for its scores. Passes as
 * in the specification, but that it normalises last, hs numbers instead of 16n. */
static inline void att_forward(const AttQueries *q, size_t groups, const AttMemory *m,
                               SpPanel s) {
    /* 1 scores */
    for (size_t k = 0; k < q[groups - 1].n; k++) {
        const size_t g = k < q->n ? 0 : k + 1 - q->n;   /* the first that sees them */
        att_scores(att_of(s, g, k), m, ATT_KEY, k, sp_group(q->query, g), q->hs, groups - g);
    }

    /* 2 their maximum, exponentials and the sum of these */
    for (size_t g = 0; g < groups; g++) att_softmax(&q[g], s.lines + g * s.stride);

    /* 3 mix the values */
    att_mix_all(q->out, m, ATT_VALUE, q->n, s, q->hs, groups);

    /* 4 normalise */
    for (size_t g = 0; g < groups; g++)
        for (size_t i = 0; i < q->hs; i++)
            for (size_t v = 0; v < LINE; v += LANES) {
                float *out = panel_line(q->out, g, i) + v;
                vf_store(out, vf_load(out) * vf_load(q[g].rsum + v));
            }
}
/* Of group k of keys and so many groups of queries, from q[0] on: mixed (16,16) of each =
 * factor prob, with which its values were mixed; ds (16,16) = the derivatives of the scores,
 * times scale. */
static inline void att_scores_data(const AttQueries *q, size_t groups, const AttMemory *m,
                                   size_t k, float (*dot)[LINE], SpPanel mixed, SpPanel ds) {
    float kept[LINE * LINE] __attribute__((aligned(64)));

    /* the probabilities again, and dprob.
     * forward: out = sum of factor prob value */
    att_scores(mixed, m, ATT_KEY, k, q->query, q->hs, groups);
    att_scores(ds, m, ATT_VALUE, k, q->dout, q->hs, groups);
    for (size_t g = 0; g < groups; g++) {
        float *prob = mixed.lines + g * mixed.stride;
        float *dscore = ds.lines + g * ds.stride;
        att_softmax_again(prob, &q[g], k + 1 == q[g].n);
        if (q->drop.below) att_drop_data(kept, prob, dscore, &q[g], k);

        /* forward: prob = softmax(score) */
        att_softmax_data(dscore, prob, &q[g], dot[g]);
        if (q->drop.below) memcpy(prob, kept, sizeof kept);
    }
}
/* dkey and dvalue (hs) += of group k of keys, or of WIDE from there on, from dout (hs) of
 * so many groups of queries, from q[0] on, which all see them; ds (16,16) of each = the
 * derivatives of the scores, times scale, of which dquery is made afterwards. dot (16) of
 * each: prob dprob summed over all keys, the specification's mean. */
static inline void att_backward(const AttQueries *q, size_t groups, const AttMemory *m,
                                size_t k, size_t keys, float (*dot)[LINE], SpPanel ds) {
    float mixed[WIDE * GROUPS_MAX * LINE * LINE] __attribute__((aligned(64)));
    const SpPanel first = {.lines = mixed, .stride = LINE * LINE};
    const size_t next = groups * LINE * LINE;
    for (size_t j = 0; j < keys; j++) {
        const SpPanel of = {.lines = mixed + j * next, .stride = first.stride};
        att_scores_data(q, groups, m, k + j, dot, of, att_of(ds, 0, j));
    }
    /* forward: out = sum of factor prob value */
    att_spread(m, ATT_DVALUE, k, keys, q->dout, first, next, q->hs, groups);

    /* forward: score = query key scale */
    att_spread(m, ATT_DKEY, k, keys, q->query, ds, LINE * LINE, q->hs, groups);
}
#endif
