/* curves.h: runs laid side by side: their loss curves on axes that make them comparable, and the verdicts.
 *
 * A comparison is arms (what differs) times seeds (what is repeated). Of every run there is a curve: a point
 * at each validation, with what it had cost until then in tokens, FLOPs and seconds. The loss is in bits per
 * byte or, where a text has no vocabulary, per token. Two runs are compared at equal cost, the smaller of
 * what both spent: at the ends of both, if these cost the same, on all of the validation text; else on their
 * curves, between two points on the straight line, and so on the validation that runs do under way.
 *
 * It refuses to know what a model is, and it trains nothing: ../train.c does. It claims nothing where it has
 * one seed and no documents to go by: then there is a difference without an interval.
 *
 * Example: dense ends at 4.0 bits after 100 s; sparse had 5.0 after 20 s, 3.5 after 35 s and ends there. At
 * equal time, 35 s, dense may have had 5.2: the difference is -1.7. Sparse came by 4.0 after 20 + 15 x 2/3 =
 * 30 s: its time to dense is 0.3. */
#ifndef CURVES_H
#define CURVES_H
#include "../judge/measure.h"
#include "../run/options.h"

/* ---- curves ------------------------------------------------------------------------------------------- */

typedef struct {
    size_t step;
    double tokens, flops, seconds, train;   /* since the start; train: the sum of the steps' losses */
    double step_ms;                         /* median since the point before */
    double loss, bits;                      /* validation: nats per token, bits per byte (0: not known) */
} CmpPoint;

/* loss is NAN in a point at which the run was interrupted, and infinite in the last one if it diverged. */
typedef struct { CmpPoint *point; size_t n, cap; } CmpCurve;

static const char cmp_head[] = "step,tokens,flops,seconds,train_sum,step_ms,val_loss,bits_per_byte\n";

static inline void cmp_add(CmpCurve *c, CmpPoint p) {
    c->point = mem_grow(c->point, c->n, &c->cap, sizeof *c->point);
    c->point[c->n++] = p;
}

static inline void cmp_curve_write(const CmpCurve *c, const char *path) {
    Out out = out_open(path);
    out_text(&out, cmp_head);
    for (size_t k = 0; k < c->n; k++) {
        const CmpPoint *p = &c->point[k];
        out_print(&out, "%zu,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g\n", p->step, p->tokens, p->flops,
                p->seconds, p->train, p->step_ms, p->loss, p->bits);
    }
    out_done(&out);
}

/* The points up to that step: later ones are of a run that was killed before it had saved its model. */
static inline CmpCurve cmp_curve_read(const char *path, size_t step) {
    Bytes b = file_read(path);
    CmpCurve c = {0};
    char *text = mem_new(b.n + 1, 1), *p = memcpy(text, b.p, b.n);
    size_t line = 1;
    if (strncmp(text, cmp_head, strlen(cmp_head))) die("%s: line 1: expected %.40s...", path, cmp_head);
    for (p += strlen(cmp_head); *p; p++) {
        double x[8];
        line++;
        for (int k = 0; k < 8; k++) {
            char *end;
            x[k] = strtod(p, &end);
            if (strchr(" \t\n\r", *p) || end == p || *end != (k < 7 ? ',' : '\n') || (!k && !(x[0] >= 0)))
                die("%s: line %zu: expected 8 numbers, found '%.*s'", path, line, (int)strcspn(p, "\n"), p);
            p = end + (k < 7);
        }
        if (x[0] <= (double)step)
            cmp_add(&c, (CmpPoint){(size_t)x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]});
    }
    free(text), file_free(&b);
    return c;
}
/* Takes out the points at which a run was interrupted, once it has ended. */
static inline void cmp_join(CmpCurve *c) {
    size_t n = 0;
    for (size_t k = 0; k < c->n; k++) if (!isnan(c->point[k].loss)) c->point[n++] = c->point[k];
    c->n = n;
}

/* ---- equal cost --------------------------------------------------------------------------------------- */

enum { CMP_TOKENS, CMP_FLOPS, CMP_TIME, CMP_AXES };
static const char *const cmp_axis[CMP_AXES] = {"tokens", "flops", "time"};

static inline double cmp_cost(const CmpPoint *p, int axis) {
    return axis == CMP_TOKENS ? p->tokens : axis == CMP_FLOPS ? p->flops : p->seconds;
}
static inline double cmp_bits(const CmpPoint *p) { return p->bits > 0 ? p->bits : p->loss / NATS_PER_BIT; }
static inline const CmpPoint *cmp_end(const CmpCurve *c) { return &c->point[c->n - 1]; }

/* The loss at that cost, which is not beyond the end; NAN before the first point. */
static inline double cmp_at(const CmpCurve *c, int axis, double cost) {
    size_t k = 0;
    if (cost >= cmp_cost(cmp_end(c), axis)) return cmp_bits(cmp_end(c));
    while (cmp_cost(&c->point[k], axis) < cost) k++;
    const CmpPoint *q = &c->point[k], *p = q - (k > 0);
    const double x = cmp_cost(p, axis), y = cmp_cost(q, axis);
    if (cost == y) return cmp_bits(q);
    return k ? cmp_bits(p) + (cost - x) / (y - x) * (cmp_bits(q) - cmp_bits(p)) : NAN;
}

/* The cost at which the loss was first that low; NAN if it never was. Nothing is known before the first
 * point: what is that low there is so from there. */
static inline double cmp_when(const CmpCurve *c, int axis, double bits) {
    size_t k = 0;
    while (k < c->n && !(cmp_bits(&c->point[k]) <= bits)) k++;
    if (k == c->n || !isfinite(bits)) return NAN;
    const CmpPoint *q = &c->point[k], *p = q - (k > 0);
    const double part = k ? (cmp_bits(p) - bits) / (cmp_bits(p) - cmp_bits(q)) : 1;
    return cmp_cost(p, axis) + part * (cmp_cost(q, axis) - cmp_cost(p, axis));
}

/* ---- arms and pairs ----------------------------------------------------------------------------------- */

typedef struct {                    /* a finished run */
    CmpCurve curve;
    Measures m;                     /* of the model at its end; one that diverged has an infinite loss */
    double parameters, active;      /* numbers in the model as if it were dense; those it keeps at the end */
    double memory;                  /* bytes while it trains, by plan */
    const char *exhibit;            /* more members of its arm in JSON, from a comma on; of the first seed */
    const Options *o;
} CmpRun;

typedef struct {                    /* means over the seeds */
    double loss, bits, lo, hi, train, floor, step_ms, tokens, flops, seconds;
    StatsInterval to_first[CMP_AXES];   /* cost of coming to the first arm's loss, as shares of what that spent;
                                         * its diff is the mean, NAN if a seed never came there */
} CmpArm;

typedef struct {
    size_t arms, seeds;
    const char **name;              /* [arms]; the others are compared with the first */
    CmpRun *run;                    /* [seeds][arms] */
    CmpArm *mean;                   /* [arms] */
    double margin;                  /* bits that do not matter */
    const char *command;            /* line that repeats it */
} Cmp;

static inline const CmpRun *cmp_run(const Cmp *c, size_t seed, size_t arm) {
    return &c->run[seed * c->arms + arm];
}
static inline const Measures *cmp_any(const Cmp *c) {       /* of a run that did not diverge, if any */
    size_t k = 0;
    while (k + 1 < c->arms * c->seeds && !c->run[k].m.parts.n) k++;
    return &c->run[k].m;
}
static inline const char *cmp_unit(const Cmp *c) { return score_unit(&cmp_any(c)->val); }
static inline double cmp_score(const Score *s) {            /* bits per byte; if these are not known, token */
    return s->nats / NATS_PER_BIT / (s->bytes > 0 ? s->bytes : (double)s->tokens);
}
static inline double cmp_step_ms(const CmpCurve *c) {       /* the median of the points' medians */
    double *ms = mem_new(c->n, sizeof *ms);
    for (size_t k = 0; k < c->n; k++) ms[k] = c->point[k].step_ms;
    const double x = stats_median(ms, c->n);
    free(ms);
    return x;
}

/* a's loss less b's over the seeds at equal cost. Ends are equal that differ by at most 3 % under every seed,
 * for widths come in steps. One seed has an interval over documents if they are, and else none. */
static inline StatsInterval cmp_difference(const Cmp *c, size_t a, size_t b, int axis) {
    double *diff = mem_new(c->seeds, sizeof *diff);
    bool ends = true;
    for (int pass = 0; pass < 2; pass++)
        for (size_t s = 0; s < c->seeds; s++) {
            const CmpRun *x = cmp_run(c, s, a), *y = cmp_run(c, s, b);
            const double p = cmp_cost(cmp_end(&x->curve), axis), q = cmp_cost(cmp_end(&y->curve), axis);
            if (!pass) ends &= fabs(p - q) <= 0.03 * fmax(p, q);
            else diff[s] = ends ? cmp_score(&x->m.val) - cmp_score(&y->m.val)
                                : cmp_at(&x->curve, axis, fmin(p, q)) - cmp_at(&y->curve, axis, fmin(p, q));
        }
    const Measures *x = &cmp_run(c, 0, a)->m, *y = &cmp_run(c, 0, b)->m;
    ends &= x->parts.n == y->parts.n;                       /* one that diverged has none */
    const StatsInterval i = c->seeds > 1 || !ends ? stats_t_interval(diff, c->seeds)
                                                  : parts_interval(&x->parts, &y->parts, x->val.bytes > 0);
    free(diff);
    return i;
}

/* What an arm has spent when it comes to the first arm's loss, as a share of what that spent; over the seeds. */
static inline StatsInterval cmp_to_first(const Cmp *c, size_t arm, int axis) {
    double *share = mem_new(c->seeds, sizeof *share);
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpPoint *goal = cmp_end(&cmp_run(c, s, 0)->curve);
        share[s] = cmp_when(&cmp_run(c, s, arm)->curve, axis, cmp_bits(goal)) / cmp_cost(goal, axis);
    }
    const StatsInterval i = stats_t_interval(share, c->seeds);
    free(share);
    return i;
}

static inline CmpArm cmp_arm(const Cmp *c, size_t arm) {
    const double n = (double)c->seeds;
    double *bits = mem_new(c->seeds, sizeof *bits), *ms = mem_new(c->seeds, sizeof *ms);
    CmpArm a = {0};
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpRun *r = cmp_run(c, s, arm);
        const CmpPoint *end = cmp_end(&r->curve);
        bits[s] = cmp_score(&r->m.val), ms[s] = cmp_step_ms(&r->curve);
        a.loss += r->m.val.nats / (double)r->m.val.tokens / n;
        a.train += cmp_score(&r->m.train) / n, a.floor += r->m.floor / n;
        a.tokens += end->tokens / n, a.flops += end->flops / n, a.seconds += end->seconds / n;
    }
    const Measures *m = &cmp_run(c, 0, arm)->m;
    const StatsInterval i =
        c->seeds > 1 ? stats_t_interval(bits, c->seeds) : parts_interval(&m->parts, NULL, m->val.bytes > 0);
    a.bits = i.diff, a.lo = i.lo, a.hi = i.hi, a.step_ms = stats_median(ms, c->seeds);
    free(bits), free(ms);
    for (int axis = 0; axis < CMP_AXES; axis++) a.to_first[axis] = cmp_to_first(c, arm, axis);
    return a;
}

typedef struct {
    size_t items;                   /* of all seeds together */
    double chance, a, b;            /* shares right */
    StatsInterval diff;             /* a less b: over the seeds or, of one, over the items */
    double p;                       /* McNemar's, of one seed */
    bool above;                     /* either is certain to know more than chance does */
} CmpCloze;

/* No items where a run has none: it diverged, or its text is too short. */
static inline CmpCloze cmp_cloze(const Cmp *c, size_t a, size_t b, int kind) {
    for (size_t s = 0; s < c->seeds; s++)
        if (!cmp_run(c, s, a)->m.parts.n || !cmp_run(c, s, b)->m.parts.n) return (CmpCloze){.p = NAN};
    double *diff = mem_new(c->seeds, sizeof *diff);
    CmpCloze x = {.p = NAN};
    for (size_t s = 0; s < c->seeds; s++) {
        const ClozeTally t = cloze_tally(cmp_run(c, s, a)->m.cloze, cmp_run(c, s, b)->m.cloze, kind);
        const double n = (double)t.items, seeds = (double)c->seeds;
        if (!t.items) { free(diff); return (CmpCloze){.p = NAN}; }
        x.items += t.items, x.chance += t.chance / seeds;
        x.a += (double)t.right[0] / n / seeds, x.b += (double)t.right[1] / n / seeds;
        diff[s] = ((double)t.right[0] - (double)t.right[1]) / n;
        if (c->seeds == 1) x.diff = stats_mcnemar(t.only[0], t.only[1], t.items, &x.p);
    }
    if (c->seeds > 1) x.diff = stats_t_interval(diff, c->seeds);
    free(diff);
    const size_t best = (size_t)(fmax(x.a, x.b) * (double)x.items + 0.5);
    x.above = stats_share(best, x.items).lo > x.chance;
    return x;
}

/* ---- one sentence ------------------------------------------------------------------------------------- */

/* The arm that a comparison is about: `sparse`, or the second; 0 if there is one. */
static inline size_t cmp_lead(const Cmp *c) {
    size_t lead = c->arms > 1;
    for (size_t k = 1; k < c->arms; k++)
        if (!strcmp(c->name[k], "sparse")) lead = k;
    return lead;
}
/* What came of it, as the verdict and the curves say it. */
static inline void cmp_sentence(const Cmp *c, Out *out) {
    static const char *const say[][2] = {
        {"better", "is better than"}, {"equal", "is as good as"}, {"not worse", "is not worse than"},
        {"worse", "is worse than"}, {"undecided", "may or may not be as good as"}};
    const size_t a = cmp_lead(c);
    const StatsInterval s = cmp_difference(c, a, 0, CMP_TOKENS);
    const double time = c->mean[a].to_first[CMP_TIME].diff;
    const char *is = say[4][1];
    if (!a) {
        out_print(out, "%s: %.3f %s", c->name[0], c->mean[0].bits, cmp_unit(c));
        return;
    }
    if (!isfinite(s.diff)) {
        out_print(out, "%s cannot be compared with %s: one of them diverged.", c->name[a], c->name[0]);
        return;
    }
    for (size_t k = 0; k < 4 && isfinite(s.lo); k++)
        if (!strcmp(stats_verdict(s, c->margin), say[k][0])) is = say[k][1];
    const CmpRun *r = cmp_run(c, 0, a);
    const CmpRun *first = cmp_run(c, 0, 0);
    out_print(out, "With %.0f %% of the numbers and %.0f %% of the memory %s %s %s after as many tokens, and ",
              100 * r->active / first->active, 100 * r->memory / first->memory, c->name[a], is, c->name[0]);
    if (isnan(time)) out_text(out, "does not come to its loss.");
    else out_print(out, "comes to its loss in %.0f %% of the time.", 100 * time);
}

/* ---- the scores of a run on disk ---------------------------------------------------------------------- *
 * A safetensors file. Metadata, numbers: NAME_nats, NAME_bytes and NAME_tokens of the texts `val` and
 * `train`; floor, items, parameters, active_parameters. Tensors F32 (n,3): `parts`, of each part nats, bytes
 * and tokens; `cloze.0` .. `cloze.2`, of each item kind, chance and 1 if it is right. All of it can be worked
 * out from the checkpoint again. */

static const char cmp_version[] = "3";
static const char *const cmp_list[3] = {"cloze.0", "cloze.1", "cloze.2"};

static inline void cmp_meta_put(StWriter *w, const char *text, const char *key, double x) {
    char name[64], value[64];
    snprintf(name, sizeof name, "%s%s", text, key), snprintf(value, sizeof value, "%.17g", x);
    st_meta_put(w, name, value);
}
static inline void cmp_scores_write(const CmpRun *r, const char *path) {
    const Measures *m = &r->m;
    const Score *const score[2] = {&m->val, &m->train};
    StWriter w = {0};
    st_meta_put(&w, "format", "sparseflow-scores"), st_meta_put(&w, "version", cmp_version);
    st_meta_put(&w, "parts", m->parts.blocks ? "blocks" : "documents");
    for (int k = 0; k < 2; k++) {
        const char *text = k ? "train_" : "val_";
        cmp_meta_put(&w, text, "nats", score[k]->nats), cmp_meta_put(&w, text, "bytes", score[k]->bytes);
        cmp_meta_put(&w, text, "tokens", (double)score[k]->tokens);
    }
    cmp_meta_put(&w, "floor", "", m->floor), cmp_meta_put(&w, "items", "", (double)m->wanted);
    cmp_meta_put(&w, "parameters", "", r->parameters), cmp_meta_put(&w, "active_parameters", "", r->active);
    st_declare(&w, "parts", ST_F32, 2, (size_t[]){m->parts.n, 3});
    for (int k = 0; k < 3; k++)
        st_declare(&w, cmp_list[k], ST_F32, 2, (size_t[]){m->cloze[k].items, 3});
    st_begin(&w, path);
    for (size_t k = 0; k < m->parts.n; k++) {
        const Score *p = &m->parts.part[k];
        st_write(&w, (float[]){(float)p->nats, (float)p->bytes, (float)p->tokens}, 12);
    }
    for (int list = 0; list < 3; list++)
        for (size_t k = 0; k < m->cloze[list].items; k++) {
            const ClozeItem *x = &m->cloze[list].item[k];
            st_write(&w, (float[]){(float)x->kind, (float)x->chance, x->right}, 12);
        }
    if (!st_commit(&w)) die_of(path, "write");
}

/* The rows (n,3) of a tensor, numbers from 0 on, the first column below `most`. */
static inline float *cmp_rows(const Safetensors *st, const char *path, const char *name, double most, size_t *n) {
    const StTensor *t = st_find(st, name);
    if (!t || t->type != ST_F32 || t->rank != 2 || t->shape[1] != 3)
        die("%s: %s: expected F32 (n, 3)", path, name);
    float *x = mem_new(t->count, sizeof *x);
    st_floats(t, x);
    for (size_t i = 0; i < t->count; i++)
        if (!(x[i] >= 0 && isfinite(x[i])) || (i % 3 == 0 && x[i] >= most))
            die("%s: %s[%zu]: expected a number from 0 on, found %g", path, name, i, (double)x[i]);
    *n = t->shape[0];
    return x;
}
/* False if there is no such file, or one of another version or with other items. */
static inline bool cmp_scores_read(CmpRun *r, const char *path, size_t items) {
    if (access(path, F_OK)) return false;
    Safetensors st = st_read(path);
    Measures *m = &r->m;
    Score *const score[2] = {&m->val, &m->train};
    char name[64];
    const bool mine = !strcmp(meta_need(&st, path, "version"), cmp_version) &&
                      meta_size(&st, path, "items", 0, SIZE_MAX) == items;
    if (!mine) return st_free(&st), false;
    for (int k = 0; k < 2; k++) {
        const char *text = k ? "train" : "val";
        snprintf(name, sizeof name, "%s_nats", text), score[k]->nats = meta_positive(&st, path, name);
        snprintf(name, sizeof name, "%s_bytes", text), score[k]->bytes = meta_positive(&st, path, name);
        snprintf(name, sizeof name, "%s_tokens", text);
        score[k]->tokens = meta_size(&st, path, name, 1, SIZE_MAX);
    }
    m->floor = meta_positive(&st, path, "floor"), m->wanted = items;
    r->parameters = meta_positive(&st, path, "parameters");
    r->active = meta_positive(&st, path, "active_parameters");
    m->parts.blocks = !strcmp(meta_need(&st, path, "parts"), "blocks");
    if (!m->parts.blocks) meta_want(&st, path, "parts", "documents");
    meta_want(&st, path, "format", "sparseflow-scores");
    if (st.n != 4 || st.n_meta != 13)
        die("%s: expected 4 tensors and 13 metadata, found %zu and %zu", path, st.n, st.n_meta);
    float *x = cmp_rows(&st, path, "parts", INFINITY, &m->parts.n);
    m->parts.part = mem_new(m->parts.n, sizeof *m->parts.part);
    for (size_t k = 0; k < m->parts.n; k++)
        m->parts.part[k] = (Score){x[3 * k], x[3 * k + 1], (size_t)x[3 * k + 2]};
    free(x);
    for (int list = 0; list < 3; list++) {
        Cloze *z = &m->cloze[list];
        x = cmp_rows(&st, path, cmp_list[list], CLOZE_KINDS, &z->items);
        z->item = mem_new(z->items, sizeof *z->item);
        for (size_t k = 0; k < z->items; k++)
            z->item[k] = (ClozeItem){(int)x[3 * k], x[3 * k + 2] > 0, x[3 * k + 1], 0, 0, 0, {{0}}};
        free(x);
    }
    st_free(&st);
    return true;
}

/* ---- in the terminal ---------------------------------------------------------------------------------- */

/* What the intervals are over, as words. */
static inline const char *cmp_over(const Cmp *c, char out[96]) {
    const Parts *p = &cmp_any(c)->parts;
    if (c->seeds > 1) snprintf(out, 96, "t over %zu seeds", c->seeds);
    else snprintf(out, 96, "one seed: bootstrap over %zu %s", p->n, parts_name(p));
    return out;
}
/* A share of what the first arm spent, with its interval if there is one that says something. */
static inline void cmp_print_share(StatsInterval s) {
    if (isnan(s.diff)) printf("never");
    else if (isfinite(s.lo) && s.hi > s.lo) printf("%.3f (%.3f .. %.3f)  ", s.diff, s.lo, s.hi);
    else printf("%.3f  ", s.diff);
}
static inline void cmp_print_arms(const Cmp *c) {
    const CmpArm first = c->mean[0];
    char over[96];
    printf("\n%-10s %8s %8s %8s %8s %10s  %-16s %8s%s\n", "arm", "numbers", "kept", "rate", "loss",
           "perplexity", cmp_unit(c), "gap", first.floor > 0 ? "    floor" : "");
    for (size_t k = 0; k < c->arms; k++) {
        const CmpArm a = c->mean[k];
        const CmpRun *r = cmp_run(c, 0, k);
        if (!isfinite(a.bits)) { printf("%-10s diverged at rate %.3g\n", c->name[k], r->o->lr); continue; }
        printf("%-10s %6.2f M %6.2f M %8.3g %8.4f %10.2f  %.4f +- %.4f %8.4f", c->name[k],
               r->parameters / 1e6, r->active / 1e6, r->o->lr, a.loss, exp(a.loss), a.bits,
               (a.hi - a.lo) / 2, a.bits - a.train);
        if (first.floor > 0) printf("  %+.4f", a.bits - a.floor);
        putchar('\n');
    }
    printf("95 %% intervals: %s; kept: at the end; gap: validation less training%s\n", cmp_over(c, over),
           first.floor > 0 ? "; floor: above it" : "");
    printf("\n%-10s %9s %9s %10s %9s %9s   %s\n", "arm", "ms/step", "speed-up", "seconds", "TFLOP", "MiB",
           "share of the first's time, FLOPs, tokens to its loss");
    for (size_t k = 0; k < c->arms; k++) {
        const CmpArm a = c->mean[k];
        printf("%-10s %9.1f %8.2fx %10.1f %9.2f %9.0f   ", c->name[k], a.step_ms, first.step_ms / a.step_ms,
               a.seconds, a.flops / 1e12, cmp_run(c, 0, k)->memory / 0x1p20);
        cmp_print_share(a.to_first[CMP_TIME]);
        if (isnan(a.to_first[CMP_TIME].diff)) {
            putchar('\n');
            continue;
        }
        cmp_print_share(a.to_first[CMP_FLOPS]);
        cmp_print_share(a.to_first[CMP_TOKENS]);
        putchar('\n');
    }
}
static inline void cmp_print_verdicts(const Cmp *c) {
    for (int axis = 0; axis < CMP_AXES && c->arms > 1; axis++) {
        printf("\nagainst %s at equal %s, margin %g %s%s:\n", c->name[0], cmp_axis[axis], c->margin,
               cmp_unit(c), axis == CMP_TOKENS ? "" : " (where one has ended, the other may be half-way)");
        for (size_t k = 1; k < c->arms; k++) {
            const StatsInterval s = cmp_difference(c, k, 0, axis);
            if (isfinite(s.lo))
                printf("  %-10s %+.4f (%+.4f .. %+.4f)  %s; %.4f would have been seen in 4 of 5 cases\n",
                       c->name[k], s.diff, s.lo, s.hi, stats_verdict(s, c->margin), s.detectable);
            else if (isfinite(s.diff)) printf("  %-10s %+.4f  no interval: one seed\n", c->name[k], s.diff);
            else printf("  %-10s no value: diverged, or no validation by then (--every)\n", c->name[k]);
        }
    }
}
/* What the first arm gets right, and by how much more or less the others; marked where that is certain. */
static inline void cmp_print_cloze(const Cmp *c) {
    printf("\n%-13s %6s %7s", "cloze", "items", "chance");
    for (size_t k = 0; k < c->arms; k++) printf(" %9s", c->name[k]);
    putchar('\n');
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze first = cmp_cloze(c, 0, 0, kind);
        if (!first.items) continue;
        printf("%-13s %6zu %5.1f %% %7.1f %%", cloze_kinds[kind], first.items, 100 * first.chance,
               100 * first.a);
        for (size_t k = 1; k < c->arms; k++) {
            const CmpCloze x = cmp_cloze(c, k, 0, kind);
            if (x.items) printf(" %+8.1f%c", 100 * x.diff.diff, x.diff.lo > 0 || x.diff.hi < 0 ? '*' : ' ');
            else printf(" %9s", "-");
        }
        putchar('\n');
    }
    printf("* the 95 %% interval of the difference, %s, is without 0\n",
           c->seeds > 1 ? "t over the seeds" : "one seed: McNemar's over the items");
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static inline void cmp_json_run(Out *out, const CmpRun *r) {
    const CmpCurve *c = &r->curve;
    json_begin(out, NULL, '{');
    json_key(out, "seed"), out_print(out, "%zu", r->o->seed);
    json_member_put(out, "val_loss", r->m.val.nats / (double)r->m.val.tokens);
    json_member_put(out, "bits", cmp_score(&r->m.val)), json_member_put(out, "step_ms", cmp_step_ms(c));
    json_member_put(out, "seconds", cmp_end(c)->seconds), json_member_put(out, "flops", cmp_end(c)->flops);
    json_begin(out, "curve", '[');
    for (size_t k = 0; k < c->n; k++) {
        const CmpPoint *p = &c->point[k];
        json_begin(out, NULL, '{');
        json_member_put(out, "step", (double)p->step), json_member_put(out, "tokens", p->tokens);
        json_member_put(out, "flops", p->flops), json_member_put(out, "seconds", p->seconds);
        json_member_put(out, "val_loss", p->loss), json_member_put(out, "bits", cmp_bits(p));
        json_close(out, '}');
    }
    json_close(out, ']'), json_close(out, '}');
}
static inline void cmp_json_arm(Out *out, const Cmp *c, size_t arm) {
    const CmpArm a = c->mean[arm], first = c->mean[0];
    const CmpRun *r = cmp_run(c, 0, arm);
    char room[64];
    const struct { const char *key; double x; } number[] = {
        {"val_loss", a.loss}, {"bits_per_byte", r->m.val.bytes > 0 ? a.bits : NAN},
        {"bits", a.bits}, {"lo", a.lo}, {"hi", a.hi}, {"perplexity", exp(a.loss)},
        {"train_bits", a.train}, {"gap", a.bits - a.train}, {"floor", a.floor > 0 ? a.floor : NAN},
        {"above_floor", a.floor > 0 ? a.bits - a.floor : NAN}, {"step_ms", a.step_ms},
        {"speed_up", first.step_ms / a.step_ms}, {"seconds", a.seconds}, {"flops", a.flops},
        {"tokens", a.tokens},
        {"parameters", r->parameters}, {"active_parameters", r->active}, {"memory_bytes", r->memory}};
    out_char(out, '\n');
    json_begin(out, NULL, '{'), json_member_text(out, "name", c->name[arm]);
    for (size_t k = 0; k < sizeof number / sizeof *number; k++)
        json_member_put(out, number[k].key, number[k].x);
    json_begin(out, "options", '{');
    for (int k = 0; k < OPTIONS; k++) {
        const char *text = option_text(r->o, k, room);
        if (!options[k].decides) continue;
        if (options[k].kind == 's') json_member_text(out, options[k].name, text);
        else json_key(out, options[k].name), out_text(out, text);
    }
    json_close(out, '}'), json_begin(out, "runs", '[');
    for (size_t s = 0; s < c->seeds; s++) cmp_json_run(out, cmp_run(c, s, arm));
    json_close(out, ']'), out_text(out, r->exhibit ? r->exhibit : ""), json_close(out, '}');
}
static inline void cmp_json_pair(Out *out, const Cmp *c, size_t a, size_t b) {
    for (int axis = 0; axis < CMP_AXES; axis++) {
        const StatsInterval s = cmp_difference(c, a, b, axis);
        json_begin(out, NULL, '{');
        json_member_text(out, "a", c->name[a]), json_member_text(out, "b", c->name[b]);
        json_member_text(out, "axis", cmp_axis[axis]), json_interval(out, "diff", s);
        json_member_put(out, "detectable", s.detectable), json_member_put(out, "margin", c->margin);
        if (isfinite(s.lo)) json_member_text(out, "verdict", stats_verdict(s, c->margin));
        else json_member_put(out, "verdict", NAN);          /* null */
        json_close(out, '}');
    }
}
static inline void cmp_json_cloze(Out *out, const Cmp *c, size_t a, size_t b) {
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze x = cmp_cloze(c, a, b, kind);
        if (!x.items) continue;
        json_begin(out, NULL, '{');
        json_member_text(out, "a", c->name[a]), json_member_text(out, "b", c->name[b]);
        json_member_text(out, "kind", cloze_kinds[kind]), json_member_put(out, "items", (double)x.items);
        json_member_put(out, "chance", x.chance), json_member_put(out, "right_a", x.a);
        json_member_put(out, "right_b", x.b), json_interval(out, "diff", x.diff);
        json_member_put(out, "above_chance", x.above);
        json_member_put(out, "p", x.p), json_close(out, '}');
    }
}
/* Returns the object as a text, freed by the caller; *n: its bytes. */
static inline char *cmp_json(const Cmp *c, size_t *n) {
    Out out = out_memory();
    char over[96];
    out_char(&out, '{');
    json_member_text(&out, "command", c->command);
    Out sentence = out_memory();
    cmp_sentence(c, &sentence);
    char *text = out_string(&sentence);
    json_member_text(&out, "sentence", text);
    free(text);
    json_member_text(&out, "unit", cmp_unit(c));
    json_member_text(&out, "interval", cmp_over(c, over)), json_member_put(&out, "margin", c->margin);
    json_begin(&out, "arms", '[');
    for (size_t k = 0; k < c->arms; k++) cmp_json_arm(&out, c, k);
    json_close(&out, ']'), json_begin(&out, "pairs", '[');
    for (size_t a = 1; a < c->arms; a++) for (size_t b = 0; b < a; b++) cmp_json_pair(&out, c, a, b);
    json_close(&out, ']'), json_begin(&out, "cloze", '[');
    for (size_t a = 1; a < c->arms; a++) for (size_t b = 0; b < a; b++) cmp_json_cloze(&out, c, a, b);
    json_close(&out, ']'), json_begin(&out, "time_to_dense", '{');
    for (size_t k = 0; k < c->arms; k++) {
        json_begin(&out, c->name[k], '{');
        for (int axis = 0; axis < CMP_AXES; axis++) {
            const StatsInterval share = c->mean[k].to_first[axis];
            json_member_put(&out, cmp_axis[axis], share.diff);
            snprintf(over, sizeof over, "%s_lo", cmp_axis[axis]);
            json_member_put(&out, over, share.lo);
            snprintf(over, sizeof over, "%s_hi", cmp_axis[axis]);
            json_member_put(&out, over, share.hi);
        }
        json_close(&out, '}');
    }
    json_close(&out, '}');
    out_text(&out, "}\n");
    *n = out.n;
    return out_string(&out);
}
#endif
