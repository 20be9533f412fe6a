/* curves.h: runs laid side by side: their loss curves on axes that make them
 * comparable, and what follows from them.
 *
 * A comparison is arms (what differs) times seeds (what is repeated). Of every
 * run there is a curve: a point at each validation, with what the run had cost
 * until then in tokens, FLOPs and seconds. The loss is in bits per byte or,
 * where a text has no vocabulary, per token. Two runs are compared at equal
 * cost, the smaller of what both spent: at the ends of both, if these cost the
 * same, on all of the validation text; else on their curves, between two points
 * on the straight line, and so on the validation that runs do under way.
 *
 *     run     | arm 0    | arm 1    | arm 2    |     of seed 0
 *             | arm 0    | arm 1    | arm 2    |     of seed 1
 *     mean    | arm 0    | arm 1    | arm 2    |     over the seeds
 *
 * It refuses to know what a model is, and it trains nothing: ../train.c does.
 * It claims nothing where it has one seed and no documents to go by: then there
 * is a difference without an interval.
 *
 * Example: dense ends at 4.0 bits after 100 s; sparse had 5.0 after 20 s, 3.5
 * after 35 s and ends there. At equal time, 35 s, dense may have had 5.2: the
 * difference is -1.7. Sparse came by 4.0 after 20 + 15 x 2/3 = 30 s: its time
 * to dense is 0.3. */
#ifndef CURVES_H
#define CURVES_H
#include "../judge/measure.h"
#include "../run/options.h"

/* ---- curves -------------------------------------------------------------- */

typedef struct {
    size_t step;
    double tokens, flops, seconds;  /* since the start */
    double train;                   /* sum of the steps' losses since then */
    double step_ms;                 /* median since the point before */
    double loss;                    /* validation, nats per token */
    double bits;                    /* the same per byte; 0: not known */
} CmpPoint;

/* loss is NAN in a point at which the run was interrupted, and infinite in the
 * last one if it diverged. */
typedef struct {
    CmpPoint *point;                    /* [n] */
    size_t n, cap;
} CmpCurve;

static inline void cmp_add(CmpCurve *c, CmpPoint p) {
    c->point = mem_grow(c->point, c->n, &c->cap, sizeof *c->point);
    c->point[c->n++] = p;
}
static inline const CmpPoint *cmp_end(const CmpCurve *c) {
    return &c->point[c->n - 1];
}

/* Takes out the points at which a run was interrupted, once it has ended. */
static inline void cmp_join(CmpCurve *c) {
    size_t n = 0;
    for (size_t k = 0; k < c->n; k++)
        if (!isnan(c->point[k].loss)) c->point[n++] = c->point[k];
    c->n = n;
}
/* The median of the points' medians, in ms. */
static inline double cmp_step_ms(const CmpCurve *c) {
    double *ms = mem_new(c->n, sizeof *ms);
    for (size_t k = 0; k < c->n; k++) ms[k] = c->point[k].step_ms;
    const double median = stats_median(ms, c->n);
    free(ms);
    return median;
}

/* ---- equal cost ---------------------------------------------------------- */

enum { CMP_TOKENS, CMP_FLOPS, CMP_TIME, CMP_AXES };
static const char *const cmp_axis[CMP_AXES] = {"tokens", "flops", "time"};

static inline double cmp_cost(const CmpPoint *p, int axis) {
    if (axis == CMP_TOKENS) return p->tokens;
    return axis == CMP_FLOPS ? p->flops : p->seconds;
}
/* Bits per byte; if these are not known, per token. */
static inline double cmp_bits(const CmpPoint *p) {
    return p->bits > 0 ? p->bits : p->loss / NATS_PER_BIT;
}

/* The loss, in bits, at a cost that is not beyond the end; NAN before the first
 * point. */
static inline double cmp_at(const CmpCurve *c, int axis, double cost) {
    const CmpPoint *end = cmp_end(c);
    size_t k = 0;
    if (cost >= cmp_cost(end, axis)) return cmp_bits(end);
    while (cmp_cost(&c->point[k], axis) < cost) k++;
    const CmpPoint *after = &c->point[k];
    if (cost == cmp_cost(after, axis)) return cmp_bits(after);
    if (!k) return NAN;
    const CmpPoint *before = after - 1;
    const double x = cmp_cost(before, axis);
    const double y = cmp_cost(after, axis);
    return cmp_bits(before) +
           (cost - x) / (y - x) * (cmp_bits(after) - cmp_bits(before));
}

/* The cost at which the loss was first that low; NAN if it never was. Nothing
 * is known before the first point: what is that low there is so from there. */
static inline double cmp_when(const CmpCurve *c, int axis, double bits) {
    size_t k = 0;
    while (k < c->n && !(cmp_bits(&c->point[k]) <= bits)) k++;
    if (k == c->n || !isfinite(bits)) return NAN;
    const CmpPoint *after = &c->point[k];
    if (!k) return cmp_cost(after, axis);
    const CmpPoint *before = after - 1;
    const double part =
        (cmp_bits(before) - bits) / (cmp_bits(before) - cmp_bits(after));
    const double x = cmp_cost(before, axis);
    return x + part * (cmp_cost(after, axis) - x);
}

/* ---- arms and pairs ------------------------------------------------------ */

typedef struct {                    /* a finished run */
    CmpCurve curve;
    Measures m;                     /* of its end; infinite if it diverged */
    double parameters;              /* numbers in the model if it were dense */
    double active;                  /* numbers that it keeps at the end */
    double memory;                  /* bytes while it trains, by plan */
    char *exhibit;                  /* of the first seed: more members of its
                                     * arm in JSON, from a comma on */
    const Options *o;
} CmpRun;

/* Of a run that has ended or was interrupted; not its options. */
static inline void cmp_run_free(CmpRun *r) {
    free(r->curve.point);
    measures_free(&r->m);
    free(r->exhibit);
    *r = (CmpRun){0};
}

typedef struct {                    /* means over the seeds */
    double loss;                    /* nats per token */
    double bits, lo, hi;            /* the same in bits, with its interval */
    double train, floor;            /* bits */
    double step_ms;                 /* median */
    double tokens, flops, seconds;
    StatsInterval to_first[CMP_AXES]; /* cost of coming to the first arm's
                                         * loss, as a share of what that spent;
                                         * NAN if a seed never came there */
} CmpArm;

typedef struct {
    size_t arms, seeds;
    const char **name;              /* [arms]; all are held to the first */
    CmpRun *run;                    /* [seeds][arms] */
    CmpArm *mean;                   /* [arms] */
    double margin;                  /* bits that do not matter */
    char *command;                  /* line that repeats it */
} Cmp;

static inline const CmpRun *cmp_run(const Cmp *c, size_t seed, size_t arm) {
    return &c->run[seed * c->arms + arm];
}
/* Of a run that did not diverge, if there is any. */
static inline const Measures *cmp_any(const Cmp *c) {
    size_t k = 0;
    while (k + 1 < c->arms * c->seeds && !c->run[k].m.parts.n) k++;
    return &c->run[k].m;
}
static inline const char *cmp_unit(const Cmp *c) {
    return score_unit(&cmp_any(c)->val);
}

/* Bits per byte; if these are not known, per token. */
static inline double cmp_score(const Score *s) {
    return s->nats / NATS_PER_BIT /
           (s->bytes > 0 ? s->bytes : (double)s->tokens);
}

/* Whether two arms' ends cost the same: they differ by at most 3 % under every
 * seed, for widths come in steps. */
static inline bool cmp_same_cost(const Cmp *c, size_t a, size_t b, int axis) {
    for (size_t s = 0; s < c->seeds; s++) {
        const double x = cmp_cost(cmp_end(&cmp_run(c, s, a)->curve), axis);
        const double y = cmp_cost(cmp_end(&cmp_run(c, s, b)->curve), axis);
        if (!(fabs(x - y) <= 0.03 * fmax(x, y))) return false;
    }
    return true;
}
/* a's loss less b's on their curves, at the smaller of what both have spent. */
static inline double cmp_under_way(const CmpRun *a, const CmpRun *b, int axis) {
    const double cost = fmin(cmp_cost(cmp_end(&a->curve), axis),
                             cmp_cost(cmp_end(&b->curve), axis));
    return cmp_at(&a->curve, axis, cost) - cmp_at(&b->curve, axis, cost);
}
/* a's loss less b's over the seeds at equal cost. One seed has an interval over
 * documents if it is of the ends, and else none. */
static inline StatsInterval cmp_difference(const Cmp *c, size_t a, size_t b,
                                           int axis) {
    const bool ends = cmp_same_cost(c, a, b, axis);
    const Measures *first_a = &cmp_run(c, 0, a)->m;
    const Measures *first_b = &cmp_run(c, 0, b)->m;
    const bool same_parts = first_a->parts.n == first_b->parts.n;
    if (c->seeds == 1 && ends && same_parts)
        return parts_interval(&first_a->parts, &first_b->parts,
                              first_a->val.bytes > 0);
    double *diff = mem_new(c->seeds, sizeof *diff);
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpRun *x = cmp_run(c, s, a);
        const CmpRun *y = cmp_run(c, s, b);
        if (ends) diff[s] = cmp_score(&x->m.val) - cmp_score(&y->m.val);
        else diff[s] = cmp_under_way(x, y, axis);
    }
    const StatsInterval interval = stats_t_interval(diff, c->seeds);
    free(diff);
    return interval;
}

/* What an arm has spent when it comes to the first arm's loss, as a share of
 * what that spent; over the seeds. */
static inline StatsInterval cmp_to_first(const Cmp *c, size_t arm, int axis) {
    double *share = mem_new(c->seeds, sizeof *share);
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpPoint *goal = cmp_end(&cmp_run(c, s, 0)->curve);
        const double spent =
            cmp_when(&cmp_run(c, s, arm)->curve, axis, cmp_bits(goal));
        share[s] = spent / cmp_cost(goal, axis);
    }
    const StatsInterval interval = stats_t_interval(share, c->seeds);
    free(share);
    return interval;
}

/* An arm's loss at its end: over the seeds or, of one, over its parts. */
static inline StatsInterval cmp_loss(const Cmp *c, size_t arm) {
    const Measures *first = &cmp_run(c, 0, arm)->m;
    if (c->seeds == 1)
        return parts_interval(&first->parts, NULL, first->val.bytes > 0);
    double *bits = mem_new(c->seeds, sizeof *bits);
    for (size_t s = 0; s < c->seeds; s++)
        bits[s] = cmp_score(&cmp_run(c, s, arm)->m.val);
    const StatsInterval interval = stats_t_interval(bits, c->seeds);
    free(bits);
    return interval;
}
static inline CmpArm cmp_arm(const Cmp *c, size_t arm) {
    const double n = (double)c->seeds;
    double *ms = mem_new(c->seeds, sizeof *ms);
    CmpArm a = {0};
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpRun *r = cmp_run(c, s, arm);
        const CmpPoint *end = cmp_end(&r->curve);
        ms[s] = cmp_step_ms(&r->curve);
        a.loss += r->m.val.nats / (double)r->m.val.tokens / n;
        a.train += cmp_score(&r->m.train) / n;
        a.floor += r->m.floor / n;
        a.tokens += end->tokens / n;
        a.flops += end->flops / n;
        a.seconds += end->seconds / n;
    }
    const StatsInterval bits = cmp_loss(c, arm);
    a.bits = bits.diff;
    a.lo = bits.lo;
    a.hi = bits.hi;
    a.step_ms = stats_median(ms, c->seeds);
    free(ms);
    for (int axis = 0; axis < CMP_AXES; axis++)
        a.to_first[axis] = cmp_to_first(c, arm, axis);
    return a;
}

/* ---- questions ----------------------------------------------------------- */

typedef struct {
    size_t items;                   /* of all seeds together */
    double chance, a, b;            /* shares right */
    StatsInterval diff;             /* a less b: over seeds; of one, over items */
    double p;                       /* McNemar's, of one seed */
    bool above;                     /* either is certain to be above chance */
} CmpCloze;

/* Of one kind of question. No items where a run has none: it diverged, or its
 * text is too short. */
static inline CmpCloze cmp_cloze(const Cmp *c, size_t a, size_t b, int kind) {
    const double seeds = (double)c->seeds;
    double *diff = mem_new(c->seeds, sizeof *diff);
    CmpCloze x = {.p = NAN};
    bool all = true;
    for (size_t s = 0; s < c->seeds; s++) {
        const Measures *one = &cmp_run(c, s, a)->m;
        const Measures *two = &cmp_run(c, s, b)->m;
        ClozeTally t = {0};
        if (one->parts.n && two->parts.n)
            t = cloze_tally(one->cloze, two->cloze, kind);
        const double n = (double)t.items;
        all = t.items > 0;
        if (!all) break;
        x.items += t.items;
        x.chance += t.chance / seeds;
        x.a += (double)t.right[0] / n / seeds;
        x.b += (double)t.right[1] / n / seeds;
        diff[s] = ((double)t.right[0] - (double)t.right[1]) / n;
        if (c->seeds == 1)
            x.diff = stats_mcnemar(t.only[0], t.only[1], t.items, &x.p);
    }
    if (all && c->seeds > 1) x.diff = stats_t_interval(diff, c->seeds);
    free(diff);
    if (!all) return (CmpCloze){.p = NAN};
    const size_t best = (size_t)(fmax(x.a, x.b) * (double)x.items + 0.5);
    x.above = stats_share(best, x.items).lo > x.chance;
    return x;
}
#endif
