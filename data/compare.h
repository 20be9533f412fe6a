/* compare.h: runs laid side by side: their loss curves on axes that make them comparable, and the verdicts.
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
#ifndef COMPARE_H
#define COMPARE_H
#include "measure.h"
#include "options.h"

/* ---- curves ------------------------------------------------------------------------------------------- */

typedef struct {
    size_t step;
    double tokens, flops, seconds, train;   /* since the start; train: the sum of the steps' losses */
    double step_ms;                         /* median since the point before */
    double loss, bits;                      /* validation: nats per token, bits per byte (0: not known) */
} CmpPoint;

/* loss is NAN in the last point of a run that was interrupted there, and infinite if the run diverged. */
typedef struct { CmpPoint *point; size_t n, cap; } CmpCurve;

static const char cmp_head[] = "step,tokens,flops,seconds,train_sum,step_ms,val_loss,bits_per_byte\n";

static inline void cmp_add(CmpCurve *c, CmpPoint p) {
    c->point = mem_grow(c->point, c->n, &c->cap, sizeof *c->point);
    c->point[c->n++] = p;
}

static inline void cmp_curve_write(const CmpCurve *c, const char *path) {
    Out out = out_open(path);
    fputs(cmp_head, out.f);
    for (size_t k = 0; k < c->n; k++) {
        const CmpPoint *p = &c->point[k];
        fprintf(out.f, "%zu,%.17g,%.17g,%.6f,%.17g,%.3f,%.17g,%.17g\n", p->step, p->tokens, p->flops,
                p->seconds, p->train, p->step_ms, p->loss, p->bits);
    }
    if (!out_commit(&out)) die("%s: cannot write: %s", path, strerror(errno));
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
            if (end == p || *end != (k < 7 ? ',' : '\n'))
                die("%s: line %zu: expected 8 numbers, found '%.*s'", path, line, (int)strcspn(p, "\n"), p);
            p = end + (k < 7);
        }
        if (x[0] <= (double)step)
            cmp_add(&c, (CmpPoint){(size_t)x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]});
    }
    free(text), file_free(&b);
    return c;
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
    while (k < c->n && cmp_cost(&c->point[k], axis) < cost) k++;
    if (k == c->n) return cmp_bits(cmp_end(c));
    const CmpPoint *q = &c->point[k], *p = q - (k > 0);
    const double x = cmp_cost(p, axis), y = cmp_cost(q, axis);
    if (cost == y) return cmp_bits(q);
    return k ? cmp_bits(p) + (cost - x) / (y - x) * (cmp_bits(q) - cmp_bits(p)) : NAN;
}

/* The cost at which the loss was first that low; NAN if it never was. Before the first point nothing is known:
 * what is that low there is so from there. */
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
    Score all;                      /* on the whole validation text; infinite if it diverged */
    Parts parts;                    /* of that */
    double floor;                   /* bits that no model can beat; 0: not known */
    size_t parameters, active;      /* numbers in the model as if it were dense; those it keeps at the end */
    double memory;                  /* bytes while it trains, by plan */
    const Options *o;
} CmpRun;

typedef struct {
    size_t arms, seeds;
    const char **name;              /* [arms]; the others are compared with the first */
    CmpRun *run;                    /* [seeds][arms] */
    double margin;                  /* bits that do not matter */
    const char *command;            /* line that repeats it */
} Cmp;

typedef struct {                    /* means over the seeds; time to dense: shares of the first arm's cost */
    double loss, bits, lo, hi, floor, train, step_ms, tokens, flops, seconds, to_dense[CMP_AXES];
} CmpArm;

static inline const CmpRun *cmp_run(const Cmp *c, size_t seed, size_t arm) {
    return &c->run[seed * c->arms + arm];
}
static inline double cmp_score(const Score *s) {            /* bits per byte or, if these are not known, token */
    return s->nats / NATS_PER_BIT / (s->bytes > 0 ? s->bytes : (double)s->tokens);
}
static inline double cmp_step_ms(const CmpCurve *c) {
    double *ms = mem_new(c->n, sizeof *ms);
    for (size_t k = 0; k < c->n; k++) ms[k] = c->point[k].step_ms;
    const double x = stats_median(ms, c->n);
    free(ms);
    return x;
}
/* Mean loss of the training steps after the last point but one, nats per token. */
static inline double cmp_train(const CmpCurve *c) {
    const CmpPoint *q = cmp_end(c), none = {0}, *p = c->n > 1 ? q - 1 : &none;
    return (q->train - p->train) / (double)(q->step - p->step);
}

/* a's loss less b's over the seeds at equal cost. One seed has an interval over documents where both ends
 * cost the same, and none elsewhere. */
static inline StatsInterval cmp_difference(const Cmp *c, size_t a, size_t b, int axis) {
    double *diff = mem_new(c->seeds, sizeof *diff);
    bool ends = true;
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpRun *x = cmp_run(c, s, a), *y = cmp_run(c, s, b);
        const double p = cmp_cost(cmp_end(&x->curve), axis), q = cmp_cost(cmp_end(&y->curve), axis);
        diff[s] = p == q ? cmp_score(&x->all) - cmp_score(&y->all)
                         : cmp_at(&x->curve, axis, fmin(p, q)) - cmp_at(&y->curve, axis, fmin(p, q));
        ends &= p == q;
    }
    const CmpRun *x = cmp_run(c, 0, a), *y = cmp_run(c, 0, b);
    ends &= x->parts.n == y->parts.n;                       /* one that diverged has none */
    const StatsInterval i = c->seeds > 1 || !ends ? stats_t_interval(diff, c->seeds)
                                                  : parts_interval(&x->parts, &y->parts, x->all.bytes > 0);
    free(diff);
    return i;
}

static inline CmpArm cmp_arm(const Cmp *c, size_t arm) {
    const double n = (double)c->seeds;
    double *bits = mem_new(c->seeds, sizeof *bits), *ms = mem_new(c->seeds, sizeof *ms);
    CmpArm a = {0};
    for (size_t s = 0; s < c->seeds; s++) {
        const CmpRun *r = cmp_run(c, s, arm), *first = cmp_run(c, s, 0);
        const CmpPoint *end = cmp_end(&r->curve), *goal = cmp_end(&first->curve);
        bits[s] = cmp_score(&r->all), ms[s] = cmp_step_ms(&r->curve);
        a.loss += r->all.nats / (double)r->all.tokens / n, a.train += cmp_train(&r->curve) / n;
        a.floor += r->floor / n, a.tokens += end->tokens / n, a.flops += end->flops / n, a.seconds += end->seconds / n;
        for (int axis = 0; axis < CMP_AXES; axis++)
            a.to_dense[axis] += cmp_when(&r->curve, axis, cmp_bits(goal)) / cmp_cost(goal, axis) / n;
    }
    const CmpRun *r = cmp_run(c, 0, arm);
    const StatsInterval i = c->seeds > 1 ? stats_t_interval(bits, c->seeds)
                                         : parts_interval(&r->parts, NULL, r->all.bytes > 0);
    a.bits = i.diff, a.lo = i.lo, a.hi = i.hi, a.step_ms = stats_median(ms, c->seeds);
    free(bits), free(ms);
    return a;
}

/* ---- the scores of a run on disk ------------------------------------------------------------------------ *
 * A safetensors file: metadata nats, bytes, tokens, floor, parameters, active_parameters; `parts` F32 (n,3): nats,
 * bytes and tokens of each part. They can be worked out from the checkpoint again. */

static const char cmp_version[] = "2";

static inline void cmp_scores_write(const CmpRun *r, const char *path) {
    const struct { const char *key; double value; } number[] = {
        {"nats", r->all.nats}, {"bytes", r->all.bytes}, {"tokens", (double)r->all.tokens}, {"floor", r->floor},
        {"parameters", (double)r->parameters}, {"active_parameters", (double)r->active}};
    StWriter w = {0};
    st_meta_put(&w, "format", "sparseflow-scores"), st_meta_put(&w, "version", cmp_version);
    st_meta_put(&w, "parts", r->parts.blocks ? "blocks" : "documents");
    for (size_t k = 0; k < sizeof number / sizeof *number; k++) {
        char text[64];
        snprintf(text, sizeof text, "%.17g", number[k].value), st_meta_put(&w, number[k].key, text);
    }
    st_declare(&w, "parts", ST_F32, 2, (size_t[]){r->parts.n, 3});
    st_begin(&w, path);
    for (size_t k = 0; k < r->parts.n; k++) {
        const Score *p = &r->parts.part[k];
        st_write(&w, (float[]){(float)p->nats, (float)p->bytes, (float)p->tokens}, 12);
    }
    if (!st_commit(&w)) die("%s: cannot write: %s", path, strerror(errno));
}
/* False if there is no such file, or one of another version. */
static inline bool cmp_scores_read(CmpRun *r, const char *path) {
    if (access(path, F_OK)) return false;
    Safetensors st = st_read(path);
    const bool mine = !strcmp(meta_need(&st, path, "version"), cmp_version);
    if (mine) {
        const StTensor *t = st_find(&st, "parts");
        if (!t || t->type != ST_F32 || t->rank != 2 || t->shape[1] != 3)
            die("%s: parts: expected F32 (parts, 3)", path);
        float *x = mem_new(t->count, sizeof *x);
        st_floats(t, x);
        r->all = (Score){meta_positive(&st, path, "nats"), meta_positive(&st, path, "bytes"),
                         meta_size(&st, path, "tokens", 1, SIZE_MAX)};
        r->floor = meta_positive(&st, path, "floor");
        r->parameters = meta_size(&st, path, "parameters", 1, SIZE_MAX);
        r->active = meta_size(&st, path, "active_parameters", 1, SIZE_MAX);
        r->parts = (Parts){.n = t->shape[0], .blocks = !strcmp(meta_need(&st, path, "parts"), "blocks")};
        r->parts.part = mem_new(r->parts.n, sizeof *r->parts.part);
        for (size_t k = 0; k < r->parts.n; k++)
            r->parts.part[k] = (Score){x[3 * k], x[3 * k + 1], (size_t)x[3 * k + 2]};
        free(x);
    }
    st_free(&st);
    return mine;
}

/* ---- the table ------------------------------------------------------------------------------------------ */

/* What the intervals are over, as words. */
static inline const char *cmp_over(const Cmp *c, char out[64]) {
    const Parts *p = &c->run[0].parts;
    if (c->seeds > 1) snprintf(out, 64, "t over %zu seeds", c->seeds);
    else snprintf(out, 64, "one seed: bootstrap over %zu %s", p->n, p->blocks ? "equal blocks" : "documents");
    return out;
}
static inline void cmp_table(const Cmp *c) {
    const bool bytes = c->run[0].all.bytes > 0;
    char over[64];
    printf("\n%-10s %9s %9s %8s %8s  %-17s %8s %8s %8s  %s\n", "arm", "numbers", "kept", "rate", "loss",
           bytes ? "bits/byte" : "bits/token", "gap", "ms/step", "speed-up", "time, FLOPs to the first's loss");
    const CmpArm first = cmp_arm(c, 0);
    for (size_t k = 0; k < c->arms; k++) {
        const CmpArm a = cmp_arm(c, k);
        const CmpRun *r = cmp_run(c, 0, k);
        printf("%-10s %7.2f M %7.2f M %8.3g %8.4f  %.4f +- %.4f %8.3f %8.1f %7.2fx  ", c->name[k],
               (double)r->parameters / 1e6, (double)r->active / 1e6, r->o->lr, a.loss, a.bits,
               (a.hi - a.lo) / 2, a.loss - a.train, a.step_ms, first.step_ms / a.step_ms);
        if (isnan(a.to_dense[CMP_TIME])) printf("never\n");
        else printf("%.3f, %.3f\n", a.to_dense[CMP_TIME], a.to_dense[CMP_FLOPS]);
    }
    printf("95 %% intervals: %s; kept: of the end; gap: validation less training loss, nats/token\n",
           cmp_over(c, over));
    if (first.floor > 0) {
        printf("above the floor of %.4f:", first.floor);
        for (size_t k = 0; k < c->arms; k++)
            printf(" %s %.4f%s", c->name[k], cmp_arm(c, k).bits - first.floor, k + 1 < c->arms ? "," : "\n");
    }
}
static inline void cmp_verdicts(const Cmp *c) {
    for (int axis = 0; axis < CMP_AXES; axis++) {
        printf("\nagainst %s at equal %s, margin %g:\n", c->name[0], cmp_axis[axis], c->margin);
        for (size_t k = 1; k < c->arms; k++) {
            const StatsInterval s = cmp_difference(c, k, 0, axis);
            if (isfinite(s.lo))
                printf("  %-10s %+.4f (%+.4f .. %+.4f)  %s; a difference of %.4f would have shown\n", c->name[k],
                       s.diff, s.lo, s.hi, stats_verdict(s, c->margin), s.detectable);
            else if (isfinite(s.diff)) printf("  %-10s %+.4f  no interval: one seed\n", c->name[k], s.diff);
            else printf("  %-10s no value: one diverged, or had no validation by then (--every)\n", c->name[k]);
        }
    }
}

/* ---- JSON ----------------------------------------------------------------------------------------------- */

/* A member of an object after the first one; null if it is not finite. */
static inline void cmp_put(FILE *f, const char *key, double x) {
    fprintf(f, isfinite(x) ? ", \"%s\": %.12g" : ", \"%s\": null", key, x);
}
static inline void cmp_json_run(FILE *f, const CmpRun *r) {
    const CmpCurve *c = &r->curve;
    fprintf(f, "{\"seed\": %zu", r->o->seed);
    cmp_put(f, "val_loss", r->all.nats / (double)r->all.tokens), cmp_put(f, "bits", cmp_score(&r->all));
    cmp_put(f, "step_ms", cmp_step_ms(c)), cmp_put(f, "seconds", cmp_end(c)->seconds);
    cmp_put(f, "flops", cmp_end(c)->flops);
    fputs(", \"curve\": [", f);
    for (size_t k = 0; k < c->n; k++) {
        const CmpPoint *p = &c->point[k];
        fprintf(f, "%s{\"step\": %zu", k ? ", " : "", p->step);
        cmp_put(f, "tokens", p->tokens), cmp_put(f, "flops", p->flops), cmp_put(f, "seconds", p->seconds);
        cmp_put(f, "val_loss", p->loss), cmp_put(f, "bits", cmp_bits(p)), fputc('}', f);
    }
    fputs("]}", f);
}
static inline void cmp_json_arm(FILE *f, const Cmp *c, size_t arm) {
    const CmpArm a = cmp_arm(c, arm);
    const CmpRun *r = cmp_run(c, 0, arm);
    fputs("{\"name\": ", f), json_put(f, c->name[arm]);
    cmp_put(f, "val_loss", a.loss), cmp_put(f, "bits_per_byte", r->all.bytes > 0 ? a.bits : NAN);
    cmp_put(f, "bits", a.bits), cmp_put(f, "lo", a.lo), cmp_put(f, "hi", a.hi);
    cmp_put(f, "floor", a.floor > 0 ? a.floor : NAN), cmp_put(f, "train_loss", a.train);
    cmp_put(f, "step_ms", a.step_ms), cmp_put(f, "seconds", a.seconds), cmp_put(f, "flops", a.flops);
    cmp_put(f, "tokens", a.tokens), cmp_put(f, "parameters", (double)r->parameters);
    cmp_put(f, "active_parameters", (double)r->active), cmp_put(f, "memory_bytes", r->memory);
    fputs(",\n  \"options\": {", f);
    for (int k = 0, n = 0; k < OPTIONS; k++) {
        const void *field = (const char *)r->o + options[k].at;
        if (!options[k].decides) continue;
        if (n++) fputs(", ", f);
        json_put(f, options[k].name), fputs(": ", f);
        if (options[k].kind == 's') json_put(f, *(const char *const *)field);
        else fprintf(f, "%.12g", options[k].kind == 'u' ? (double)*(const size_t *)field : *(const double *)field);
    }
    fputs("},\n  \"runs\": [", f);
    for (size_t s = 0; s < c->seeds; s++) fputs(s ? ",\n    " : "\n    ", f), cmp_json_run(f, cmp_run(c, s, arm));
    fputs("]}", f);
}
static inline void cmp_json_pair(FILE *f, const Cmp *c, size_t a, size_t b, int axis) {
    const StatsInterval s = cmp_difference(c, a, b, axis);
    fputs("{\"a\": ", f), json_put(f, c->name[a]), fputs(", \"b\": ", f), json_put(f, c->name[b]);
    fprintf(f, ", \"axis\": \"%s\"", cmp_axis[axis]);
    cmp_put(f, "diff", s.diff), cmp_put(f, "lo", s.lo), cmp_put(f, "hi", s.hi);
    cmp_put(f, "detectable", s.detectable), cmp_put(f, "margin", c->margin);
    fprintf(f, ", \"verdict\": \"%s\"}", stats_verdict(s, c->margin));
}
static inline void cmp_json(const Cmp *c, const char *path) {
    Out out = out_open(path);
    FILE *f = out.f;
    char over[64];
    fputs("{\"command\": ", f), json_put(f, c->command);
    fprintf(f, ",\n\"unit\": \"bits per %s\", \"interval\": \"%s\", \"margin\": %.12g,\n\"arms\": [",
            c->run[0].all.bytes > 0 ? "byte" : "token", cmp_over(c, over), c->margin);
    for (size_t k = 0; k < c->arms; k++) fputs(k ? ",\n " : "\n ", f), cmp_json_arm(f, c, k);
    fputs("],\n\"pairs\": [", f);
    for (size_t a = 1; a < c->arms; a++)
        for (size_t b = 0; b < a; b++)
            for (int axis = 0; axis < CMP_AXES; axis++)
                fputs(a + b + (size_t)axis > 1 ? ",\n " : "\n ", f), cmp_json_pair(f, c, a, b, axis);
    fputs("],\n\"time_to_dense\": {", f);
    for (size_t k = 0; k < c->arms; k++) {
        const CmpArm a = cmp_arm(c, k);
        fputs(k ? ", " : "", f), json_put(f, c->name[k]);
        fprintf(f, ": {\"reached\": %s", isnan(a.to_dense[0]) ? "false" : "true");
        for (int axis = 0; axis < CMP_AXES; axis++) cmp_put(f, cmp_axis[axis], a.to_dense[axis]);
        fputc('}', f);
    }
    fputc('}', f), json_end(&out);
}

#endif
