/* truth.h: everything that a dump may hold, computed: in double precision by the specification of gpt.h, with
 * or without a fault, and in this program's own float32 beside it, whose distance from the truth is the
 * yardstick of what float32 can reach on that very batch. */
#ifndef TRUTH_H
#define TRUTH_H
#include "faults.h"
#include "../model/weights.h"
#include "../run/schedule.h"

/* ---- distances ---------------------------------------------------------------------------------------- */

/* got against want, n numbers. A norm of want below floor counts as floor; slack (or NULL) is forgiven. Where
 * float32 cannot hold the truth the distance is infinite, whatever is there. */
static inline Distance distance(const float *got, const double *want, size_t n, double floor,
                                const float *slack) {
    Distance x = {0};
    double norm = 0, diff = 0;
    for (size_t i = 0; i < n; i++) norm += want[i] * want[i];
    norm = fmax(fmax(sqrt(norm), floor), 1e-300);
    const double rms = norm / sqrt((double)n);
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - want[i]) - (slack ? (double)slack[i] : 0);
        e = e == e && isfinite((float)want[i]) ? fmax(e, 0) : INFINITY;    /* a NaN is as wrong as can be */
        x.stray |= !isfinite(got[i]) && isfinite((float)want[i]);
        diff += e * e, e = e < INFINITY ? e / (fabs(want[i]) + rms) : e;
        if (i == 0 || e > x.elem) x.elem = e, x.worst = i, x.got = (double)got[i], x.want = want[i];
    }
    x.error = diff < INFINITY ? sqrt(diff) / norm : INFINITY;
    return x;
}

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
    for (size_t i = 0; i < gpt_panels(r); i++) {
        const GptPanel p = gpt_panel_back(r, i);
        const float *logits = gpt_logits(r, i);
        for (size_t t = 0; t < p.groups * LINE && p.first * LINE + t < d->T; t++) {
            const size_t n = p.at / r->stride * d->T + p.first * LINE + t;
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
#endif
