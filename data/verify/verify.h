/* verify.h: is another implementation right, and if not, where does it first go wrong, and why?
 *
 * A dump (dump.h) holds a model, a batch and what another program made of them. All of it is computed again
 * twice: by the specification of gpt.h in double precision, which is taken for the truth, and in this
 * program's own float32, whose distance from the truth is the yardstick of what float32 can reach on that
 * very batch. A tensor passes if its distance is at most VERIFY_MULTIPLE yardsticks.
 * It refuses a fixed tolerance: one that suits logits lets a gradient pass that is a hundred times too wrong.
 *
 * Two distances, both free of units, must hold:
 *     error   ||dump - truth|| / ||truth||             of a gradient at least 1e-6 of the global norm below
 *     worst   max |dump[i] - truth[i]| / (|truth[i]| + rms)      finds a single wrong element in millions
 *
 * The tensors are visited in the order in which they are computed: activations, logits, loss, gradients from
 * the last layer to the first, then what the optimizer makes of them. The first wrong one is the place to
 * look. Then each known fault (faults.h) is tried: everything is computed once more with it, and one that
 * gives the dump's numbers where they are wrong is named.
 *
 *     DfPool *pool = df_begin(2);
 *     Dump d = dump_open("theirs.safetensors", NULL);
 *     const bool right = verify_print(&d, pool, 0);   // a line a tensor, and what is wrong
 *     dump_close(&d), df_end(pool); */
#ifndef VERIFY_H
#define VERIFY_H
#include "faults.h"

static const double VERIFY_MULTIPLE = 16, VERIFY_FLOOR = 1e-6;         /* the least yardstick */
enum { VERIFY_ELEMENTS = 8 };                       /* --tolerance allows `worst` so much more */

/* ---- this program's own float32 ----------------------------------------------------------------------- */

typedef struct {
    Gpt *m;
    GptRun *r;
    DfPool *pool;
    float *logits;              /* (B,T,V) */
    double *step_loss, *step_norm;
    Distance far;               /* of the logits: the yardstick of activations too */
} Own;

static inline Own own_new(const Dump *d, DfPool *pool) {
    SpMat *mats = mem_new(d->count, sizeof *mats);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k]) mats[k] = sp_elements_pattern(d->table[k].cols, d->table[k].rows, 1, d->mask[k]);
    Own o = {.m = gpt_make(d->c, mats, true, true), .pool = pool};
    free(mats);
    o.logits = mem_new(size_mul(d->B * d->T, d->c.V), sizeof(float));
    o.step_loss = mem_new(d->steps + 1, sizeof(double)), o.step_norm = mem_new(d->steps + 1, sizeof(double));
    for (size_t k = 0; k < d->count; k++) gpt_set(&o.m->table[k], o.m->w, d->w[k]);
    o.r = gpt_run_new(o.m, pool, d->B, d->T, 64, true);
    return o;
}
static inline void own_free(Own *o) {
    gpt_run_free(o->r), gpt_free(o->m), free(o->logits), free(o->step_loss), free(o->step_norm);
}

/* The logits of all tokens: a training step keeps those of one panel only. */
static inline void own_logits(const Dump *d, Own *o) {
    GptRun *r = o->r;
    const size_t stride = gpt_rows(d->c.V) * LINE;
    r->inputs = d->inputs;
    gpt_forward(r);
    for (size_t i = 0; i < r->B * gpt_panels(r); i++) {
        const GptPanel p = gpt_panel_back(r, i);
        const float *logits = gpt_head(r, i, false, false);
        for (size_t t = 0; t < p.ng * LINE && p.g0 * LINE + t < d->T; t++) {
            const size_t n = p.at / r->stride * d->T + p.g0 * LINE + t;
            for (size_t v = 0; v < d->c.V; v++)
                o->logits[n * d->c.V + v] = logits[t / LINE * stride + v * LINE + t % LINE];
        }
    }
}
/* Forward and backward of step t: loss, norm, and the gradient in o->m->g. */
static inline void own_train(const Dump *d, Own *o, size_t t) {
    double sum = 0;
    gpt_train(o->r, d->inputs, d->targets, d->B * d->T, &sum);
    o->step_loss[t] = sum / (double)(d->B * d->T), o->step_norm[t] = gpt_gradient_norm(o->m, o->pool);
}
/* Our value of the tensor of a check, on the heap; NULL for activations. */
static inline float *own_values(const Own *o, const Check *c) {
    float *values = c->kind == ACT ? NULL : mem_new(c->t.count, sizeof *values);
    const double *steps = c->kind == STEP_NORM ? o->step_norm : o->step_loss;   /* loss: that of step 0 */
    if (c->kind == LOGITS) memcpy(values, o->logits, c->t.count * sizeof *values);
    else if (c->kind == GRAD || c->kind == AFTER)
        gpt_get(&o->m->table[c->k], c->kind == GRAD ? o->m->g : o->m->w, values);
    else for (size_t i = 0; i < c->t.count && values; i++) values[i] = (float)steps[i];
    return values;
}

/* AdamW divides a gradient by its own size: one that is all rounding moves its weight by up to the learning
 * rate either way, and one with a share r of rounding adds about lr r to the weight's error. So a weight with
 * 4 r > 0.001 is allowed 4 r lr a step, at most 2 lr. r is noise / |gradient|, the noise that of our float32,
 * a root mean square over the row. */
static inline void own_slack(Dump *d, const Own *o, const Spec *s) {
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &d->table[k];
        const size_t n = gpt_elements(p), row = p->rank == 2 ? p->cols : n;
        float *g = mem_new(n, sizeof *g);
        gpt_get(&o->m->table[k], o->m->g, g);
        for (size_t from = 0; from < n; from += row) {
            double noise = 0;
            for (size_t i = from; i < from + row; i++) noise += pow((double)g[i] - s->dw[k][i], 2);
            noise = 4 * sqrt(noise / (double)row);
            for (size_t i = from; i < from + row && noise > 0; i++)
                if ((!d->mask[k] || d->mask[k][i]) && noise > 0.001 * fabs(s->dw[k][i]))
                    d->slack[k][i] += (float)(d->adam.lr * fmin(2, noise / fabs(s->dw[k][i])));
        }
        free(g);
    }
}

/* ---- distances ---------------------------------------------------------------------------------------- */

/* got against want, n numbers. A norm of want below floor counts as floor; slack (or NULL) is forgiven. */
static inline Distance distance(const float *got, const double *want, size_t n, double floor,
                                const float *slack) {
    Distance x = {0};
    double norm = 0, diff = 0;
    for (size_t i = 0; i < n; i++) norm += want[i] * want[i];
    norm = fmax(fmax(sqrt(norm), floor), 1e-300);
    const double rms = norm / sqrt((double)n);
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - want[i]) - (slack ? (double)slack[i] : 0);
        e = e == e ? fmax(e, 0) : INFINITY;                 /* a NaN is as wrong as can be */
        diff += e * e, e = e < INFINITY ? e / (fabs(want[i]) + rms) : e;
        if (i == 0 || e > x.elem) x.elem = e, x.worst = i, x.got = (double)got[i], x.want = want[i];
    }
    x.error = diff < INFINITY ? sqrt(diff) / norm : INFINITY;
    return x;
}
/* Units in the last place of float32 between two numbers, both as float32. */
static inline double ulps(double a, double b) {
    const float x = (float)a, y = (float)b;
    int32_t i, j;
    memcpy(&i, &x, 4), memcpy(&j, &y, 4);
    const int64_t p = i < 0 ? -(int64_t)(i & INT32_MAX) : i, q = j < 0 ? -(int64_t)(j & INT32_MAX) : j;
    return isfinite(a) && isfinite(b) ? (double)(p > q ? p - q : q - p) : INFINITY;
}
static inline double check_limit(const Dump *d, const Check *c, bool elem) {
    if (d->tolerance > 0) return d->tolerance * (elem ? VERIFY_ELEMENTS : 1);
    return VERIFY_MULTIPLE * fmax(elem ? c->own.elem : c->own.error, VERIFY_FLOOR);
}
static inline bool check_holds(const Dump *d, const Check *c, const Distance *x) {
    return x->error <= check_limit(d, c, false) && x->elem <= check_limit(d, c, true);
}
static inline Distance check_distance(const Dump *d, const Check *c, const float *values,
                                      const double *truth) {
    return distance(values, truth, c->t.count, c->kind == GRAD ? VERIFY_FLOOR * d->norm : 0,
                    c->kind == AFTER ? d->slack[c->k] : NULL);
}
static inline float *check_values(const Dump *d, const Check *c) {      /* the dump's, on the heap */
    float *values = mem_new(c->t.count, sizeof *values);
    if (c->kind == GRAD) model_unpack(&c->t, &d->table[c->k], d->out_in, values);
    else st_floats(&c->t, values);
    return values;
}

/* ---- computing everything ----------------------------------------------------------------------------- */

typedef void CheckVisit(Dump *d, Check *c, const double *truth, void *arg);

static inline void visit_all(Dump *d, const Spec *s, CheckKind from, CheckKind to, CheckVisit *visit,
                             void *arg) {
    for (size_t i = 0; i < d->n; i++)
        if (d->check[i].kind >= from && d->check[i].kind <= to)
            visit(d, &d->check[i], check_truth(d, s, &d->check[i]), arg);
}

/* Everything a dump may hold, in double precision and with a fault, and with own in our float32 beside it;
 * each check is visited when its truth stands in the specification's arrays. */
static inline void dump_compute(Dump *d, const Fault *f, Own *own, CheckVisit *visit, void *arg) {
    Spec *s = spec_new(d->c, d->B, d->T);
    double **m = d->steps ? spec_arrays(d->table, d->count) : NULL;
    double **v = d->steps ? spec_arrays(d->table, d->count) : NULL;
    for (size_t k = 0; k < d->count; k++)
        for (size_t i = 0; i < gpt_elements(&d->table[k]); i++) s->w[k][i] = (double)d->w[k][i];
    s->rules = fault_rules(s, f);
    if (own) own_logits(d, own);
    for (size_t t = 0; t == 0 || t < d->steps; t++) {
        fault_weights(s, f, false);
        spec_forward(s, d->inputs, f->own_targets ? d->inputs : d->targets), spec_backward(s, d->inputs);
        fault_weights(s, f, true);
        for (size_t k = 0; k < d->count; k++)
            for (size_t i = 0; i < gpt_elements(&d->table[k]) && d->mask[k]; i++)
                s->dw[k][i] *= d->mask[k][i];
        fault_gradient(s, f);
        const double norm = spec_norm(s);
        if (own && t == 0) {
            d->norm = norm;
            own->far = distance(own->logits, s->logits, d->B * d->T * d->c.V, 0, NULL);
        }
        if (own) own_train(d, own, t);
        fault_flip(s, f, false);
        if (t == 0) visit_all(d, s, ACT, GRAD, visit, arg);
        fault_flip(s, f, true);
        if (!d->steps) break;
        d->step_loss[t] = s->loss;
        d->step_norm[t] = f->norm_after && d->adam.clip > 0 ? fmin(norm, d->adam.clip) : norm;
        if (own) own_slack(d, own, s), gpt_adamw(own->m, own->pool, &d->adam, t + 1, own->step_norm[t]);
        fault_adamw(s, m, v, d->adam, t + 1, f);
    }
    visit_all(d, s, STEP_LOSS, AFTER, visit, arg);
    for (size_t k = 0; k < d->count && d->steps; k++) free(m[k]), free(v[k]);
    free(m), free(v), spec_free(s);
}

/* The dump's and our distance from the truth, and the verdict. */
static inline void visit_measure(Dump *d, Check *c, const double *truth, void *arg) {
    const Own *own = arg;
    float *theirs = check_values(d, c), *ours = own_values(own, c);
    c->dump = check_distance(d, c, theirs, truth);
    c->own = ours ? check_distance(d, c, ours, truth) : own->far;
    c->pass = check_holds(d, c, &c->dump);
    free(theirs), free(ours);
}
static inline void visit_fault(Dump *d, Check *c, const double *truth, void *arg) {
    float *theirs = check_values(d, c);
    const Distance x = check_distance(d, c, theirs, truth);
    c->same = check_holds(d, c, &x);
    free(theirs);
    (void)arg;
}

/* ---- the verdict -------------------------------------------------------------------------------------- */

static inline const Check *first_wrong(const Dump *d) {           /* NULL: all is right */
    for (size_t i = 0; i < d->n; i++) if (!d->check[i].pass) return &d->check[i];
    return NULL;
}
static inline char *check_index(const Dump *d, const Check *c, char out[192]) { /* of the worst: [2,0,5] */
    size_t shape[ST_RANK], rest = c->dump.worst, at[ST_RANK];
    const bool turned = c->kind == GRAD && d->out_in && d->table[c->k].in_out;
    for (int k = 0; k < c->t.rank; k++) shape[k] = c->t.shape[turned ? c->t.rank - 1 - k : k];
    for (int k = c->t.rank; k-- > 0; rest /= shape[k]) at[k] = rest % shape[k];
    return st_sizes(out, "[]", c->t.rank, at);
}
static inline void check_print(const Dump *d, const Check *c) {
    char shape[192], at[192];
    printf("%-5s %-32s %-13s %8.1e %8.1e  %8.1e %8.1e  %s %.9g for %.9g, %.3g ulp\n",
           c->pass ? "ok" : "WRONG", c->name, st_sizes(shape, "()", c->t.rank, c->t.shape), c->dump.error,
           c->own.error, c->dump.elem, c->own.elem, check_index(d, c, at), c->dump.got, c->dump.want,
           ulps(c->dump.got, c->dump.want));
}

/* How well a fault explains what is wrong: 0 not; else the number of checks that are as it would have them,
 * and d->n more if those are all that are wrong, not only those of the phase where the first one is. */
static inline size_t fault_score(const Dump *d, Phase first) {
    bool phase = true, all = true;
    size_t same = 0;
    for (size_t i = 0; i < d->n; i++) {
        const Check *c = &d->check[i];
        const bool explained = c->pass || c->same;
        same += c->same, all &= explained, phase &= explained || phase_of(c->kind) != first;
    }
    return phase ? same + (all ? d->n : 0) : 0;
}

/* After verify found something wrong: the known fault that explains it best goes to d->fault, -1: none. */
static inline void verify_fault(Dump *d) {
    const Phase first = phase_of(first_wrong(d)->kind);
    size_t best = 0;
    for (int k = 0; k < FAULTS; k++) {
        if ((faults[k].phase == OPTIMIZER) != (first == OPTIMIZER)) continue;
        dump_compute(d, &faults[k], NULL, visit_fault, NULL);
        const size_t score = fault_score(d, first);
        if (score > best) best = score, d->fault = k;
    }
}

/* Measures every result of the dump; whether all are right. tolerance: of the error, in the place of the
 * yardstick; 0: none. */
static inline bool verify(Dump *d, DfPool *pool, double tolerance) {
    Own own = own_new(d, pool);
    d->tolerance = tolerance, d->fault = -1;
    dump_compute(d, &no_fault, &own, visit_measure, &own);
    own_free(&own);
    return !first_wrong(d);
}

/* verify, in words on standard output: a line a tensor, the first wrong one, the fault that explains it. */
static inline bool verify_print(Dump *d, DfPool *pool, double tolerance) {
    const double start = seconds();
    const bool right = verify(d, pool, tolerance);
    const double took = seconds() - start;
    printf("%zu layers x %zu, %zu heads, vocabulary %zu; B=%zu T=%zu; %zu steps. Distances from double "
           "precision:\n%-5s %-32s %-13s %8s %8s  %8s %8s\n", d->c.L, d->c.C, d->c.NH, d->c.V, d->B, d->T,
           d->steps, "", "tensor", "shape", "error", "ours", "worst", "ours");
    for (size_t i = 0; i < d->n; i++) check_print(d, &d->check[i]);
    if (d->strange) note("not compared: %zu tensors that are not known, '%.200s' first", d->strange, d->stranger);
    if (right) { printf("all %zu tensors are right\n", d->n); return true; }
    printf("first wrong: %s\n", first_wrong(d)->name);
    if (took > 5) printf("trying the known faults, %.0f s each\n", took);
    fflush(stdout);
    verify_fault(d);
    if (d->fault >= 0) printf("fault: %s: %s\n", faults[d->fault].name, faults[d->fault].means);
    else printf("fault: none of the %d known ones gives these numbers\n", FAULTS);
    return false;
}

/* The verdict as one JSON object. Dies if it cannot be written. */
static inline void verify_json(const Dump *d, const char *path) {
    const Check *wrong = first_wrong(d);
    char at[192];
    Out out = out_open(path);
    fputc('{', out.f), json_member_bool(&out, "pass", !wrong);
    json_member_text(&out, "first_wrong", wrong ? wrong->name : NULL);
    json_member_text(&out, "fault", d->fault < 0 ? NULL : faults[d->fault].name);
    json_begin(&out, "tensors", '[');
    for (size_t i = 0; i < d->n; i++) {
        const Check *c = &d->check[i];
        json_begin(&out, NULL, '{'), json_member_text(&out, "name", c->name);
        json_member_bool(&out, "pass", c->pass);
        json_member_put(&out, "error", c->dump.error), json_member_put(&out, "own_error", c->own.error);
        json_member_put(&out, "worst", c->dump.elem), json_member_put(&out, "own_worst", c->own.elem);
        json_key(&out, "at"), fputs(check_index(d, c, at), out.f);
        json_member_put(&out, "found", c->dump.got), json_member_put(&out, "expected", c->dump.want);
        json_member_put(&out, "ulp", ulps(c->dump.got, c->dump.want)), json_close(&out, '}');
    }
    json_close(&out, ']'), json_end(&out);
}

/* ---- writing a dump ----------------------------------------------------------------------------------- */

static inline void visit_write(Dump *d, Check *c, const double *truth, void *arg) {
    float *values = mem_new(c->t.count, sizeof *values);
    for (size_t i = 0; i < c->t.count; i++) values[i] = (float)truth[i];
    st_write(arg, values, c->t.bytes);
    free(values);
    (void)d;
}
/* Computes every result of d (configuration, weights, masks, batch and settings are set) in double precision
 * and writes the dump; with acts the activations too. Dies if it cannot be written. */
static inline void dump_write(Dump *d, const char *path, bool acts, double sparsity, const char *block) {
    StWriter w = {0};
    char name[64], text[40];
    const size_t BT[2] = {d->B, d->T};
    const struct { const char *key; double x; } number[] = {
        {"n_layer", (double)d->c.L}, {"n_head", (double)d->c.NH}, {"n_embd", (double)d->c.C},
        {"n_ctx", (double)d->c.ctx}, {"vocab_size", (double)d->c.V}, {"steps", (double)d->steps},
        {"learning_rate", d->adam.lr}, {"weight_decay", d->adam.decay}, {"beta1", d->adam.beta1},
        {"beta2", d->adam.beta2}, {"eps", d->adam.eps}, {"grad_clip", d->adam.clip}, {"sparsity", sparsity}};
    st_meta_put(&w, "format", "gpt-reference-dump"), st_meta_put(&w, "version", "1");
    for (size_t k = 0; k < sizeof number / sizeof *number; k++)
        snprintf(text, sizeof text, "%.17g", number[k].x), st_meta_put(&w, number[k].key, text);
    st_meta_put(&w, "weight_decay_on", "matrices"), st_meta_put(&w, "block", block);
    st_meta_put(&w, "source", "sparseflow float64");
    dump_list(d, NULL, acts);
    for (size_t k = 0; k < d->count; k++)
        st_declare(&w, checkpoint_name(name, "param.", &d->table[k]), ST_F32, d->table[k].rank,
                   (size_t[]){d->table[k].rows, d->table[k].cols});
    for (size_t i = 0; i < d->n; i++)
        st_declare(&w, d->check[i].name, ST_F32, d->check[i].t.rank, d->check[i].t.shape);
    st_declare(&w, "inputs", ST_I32, 2, BT), st_declare(&w, "targets", ST_I32, 2, BT);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k])
            st_declare(&w, checkpoint_name(name, "mask.", &d->table[k]), ST_U8, 2,
                       (size_t[]){d->table[k].rows, d->table[k].cols});
    st_begin(&w, path);
    for (size_t k = 0; k < d->count; k++) st_write(&w, d->w[k], gpt_elements(&d->table[k]) * sizeof(float));
    dump_compute(d, &no_fault, NULL, visit_write, &w);
    st_write(&w, d->inputs, d->B * d->T * 4), st_write(&w, d->targets, d->B * d->T * 4);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k]) st_write(&w, d->mask[k], gpt_elements(&d->table[k]));
    write_checked(st_commit(&w), path);
}
#endif
