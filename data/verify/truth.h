/* truth.h: everything that a dump may hold, computed.
 *
 *     Spec     in double precision, by the specification of gpt.h, with or without
 *              a fault (faults.h): the truth
 *     Own      in this program's own float32 beside it: its distance from the truth
 *              is the yardstick of what float32 can reach on that very batch
 *
 * The two run abreast, for a result is visited while its truth stands in the
 * specification's arrays, and they hold one step at a time:
 *
 *     each step   forward, backward, masks, the fault's gradient
 *                 at the first: activations, logits, loss and gradients are visited
 *                 AdamW
 *     at last     losses and norms of the steps, and new weights, are visited
 *
 * It refuses to judge: it hands each check and its truth to a function of the
 * caller's. Example: dump.h writes a dump by
 *
 *     truth_compute(d, &no_fault, NULL, dump_put, &writer); */
#ifndef TRUTH_H
#define TRUTH_H
#include "faults.h"
#include "../run/schedule.h"

/* ---- distances ----------------------------------------------------------- */

/* The norm of want (n), at least floor; never 0. */
static inline double truth_norm(const double *want, size_t n, double floor) {
    double square = 0;
    for (size_t i = 0; i < n; i++) square += want[i] * want[i];
    return fmax(fmax(sqrt(square), floor), 1e-300);
}
/* got (n) against want (n). A norm of want below floor counts as floor; slack
 * (n), or NULL, is forgiven. A NaN is as wrong as can be; where float32 cannot
 * hold the truth the distance is infinite, whatever is there. */
static inline Distance truth_distance(const float *got, const double *want,
                                      size_t n, double floor,
                                      const float *slack) {
    Distance x = {0};
    double diff = 0;
    const double norm = truth_norm(want, n, floor);
    const double rms = norm / sqrt((double)n);
    for (size_t i = 0; i < n; i++) {
        const double forgiven = slack ? (double)slack[i] : 0;
        const bool held = isfinite((float)want[i]);
        double e = fabs((double)got[i] - want[i]) - forgiven;
        e = e == e && held ? fmax(e, 0) : INFINITY;
        x.stray |= !isfinite(got[i]) && held;
        diff += e * e;
        const double elem = e < INFINITY ? e / (fabs(want[i]) + rms) : e;
        if (i > 0 && !(elem > x.elem)) continue;
        x.elem = elem;
        x.worst = i;
        x.got = (double)got[i];
        x.want = want[i];
    }
    x.error = diff < INFINITY ? sqrt(diff) / norm : INFINITY;
    return x;
}

/* ---- this program's own float32 ------------------------------------------ */

typedef struct {
    Gpt *m;
    GptRun *r;
    DfPool *pool;
    float *logits;              /* (B,T,V) */
    double *step_loss;          /* [steps], at least 1 */
    double *step_norm;          /* [steps], at least 1 */
    Distance far;               /* of the logits: the yardstick of activations too */
} Own;

/* The dump's model at its initial weights, and a run of its batch. */
static inline Own own_new(const Dump *d, DfPool *pool) {
    SpMat *mats = mem_new(d->count, sizeof *mats);
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &d->table[k];
        if (d->mask[k])
            mats[k] = sp_elements_pattern(p->cols, p->rows, 1, d->mask[k]);
    }
    Own o = {.m = gpt_make(d->c, mats, true, true), .pool = pool};
    free(mats);
    o.logits = mem_new(size_mul(d->B * d->T, d->c.V), sizeof *o.logits);
    o.step_loss = mem_new(d->steps + 1, sizeof *o.step_loss);
    o.step_norm = mem_new(d->steps + 1, sizeof *o.step_norm);
    for (size_t k = 0; k < d->count; k++)
        gpt_set(&o.m->table[k], o.m->w, d->w[k]);
    o.r = gpt_run_new(o.m, pool, d->B, d->T, 64, GPT_TRAIN);
    return o;
}
static inline void own_free(Own *o) {
    gpt_run_free(o->r);
    gpt_free(o->m);
    free(o->logits);
    free(o->step_loss);
    free(o->step_norm);
}

/* The logits of all tokens: a training step keeps those of one panel only. */
static inline void own_logits(const Dump *d, Own *o) {
    GptRun *r = o->r;
    const size_t V = d->c.V;
    const size_t stride = gpt_logits_stride(r);
    r->inputs = d->inputs;
    gpt_forward(r);
    for (size_t i = 0; i < gpt_panels(r); i++) {
        const GptPanel p = gpt_panel_back(r, i);
        const size_t b = p.at / r->stride;
        const float *panel = gpt_logits(r, i);      /* (groups,V,16), a stride apart */
        for (size_t k = 0; k < p.groups * LINE; k++) {
            const size_t t = p.first * LINE + k;
            if (t >= d->T) break;
            const float *group = panel + k / LINE * stride;     /* (V,16) */
            float *logits = o->logits + (b * d->T + t) * V;     /* (V) */
            for (size_t v = 0; v < V; v++)
                logits[v] = group[v * LINE + k % LINE];
        }
    }
}

/* Forward and backward of step t: loss, norm, and the gradient in o->m->g. */
static inline void own_train(const Dump *d, Own *o, size_t t) {
    const size_t N = d->B * d->T;
    double sum = 0;
    gpt_train(o->r, d->inputs, d->targets, N, &sum);
    o->step_loss[t] = sum / (double)N;
    o->step_norm[t] = gpt_gradient_norm(o->m, o->pool);
}

/* Our value of the tensor of a check, on the heap; NULL for activations. */
static inline float *own_values(const Own *o, const Check *c) {
    if (c->kind == ACT) return NULL;
    float *values = mem_new(c->t.count, sizeof *values);
    const double *steps = c->kind == STEP_NORM ? o->step_norm : o->step_loss;
    if (c->kind == LOGITS)
        memcpy(values, o->logits, c->t.count * sizeof *values);
    else if (c->kind == GRAD) gpt_get(&o->m->table[c->k], o->m->g, values);
    else if (c->kind == AFTER) gpt_get(&o->m->table[c->k], o->m->w, values);
    else                                            /* loss: that of step 0 */
        for (size_t i = 0; i < c->t.count; i++) values[i] = (float)steps[i];
    return values;
}

/* The slack of n weights of a row, for one step: g (n) is our gradient, dw (n)
 * the true one; kept (n) or NULL, all. */
static inline void own_slack_row(float *slack, const float *g, const double *dw,
                                 const uint8_t *kept, size_t n, double lr) {
    double noise = 0;
    for (size_t i = 0; i < n; i++) noise += pow((double)g[i] - dw[i], 2);
    noise = 4 * sqrt(noise / (double)n);
    if (!(noise > 0)) return;
    for (size_t i = 0; i < n; i++) {
        if (kept && !kept[i]) continue;
        if (noise > 0.001 * fabs(dw[i]))
            slack[i] += (float)(lr * fmin(2, noise / fabs(dw[i])));
    }
}
/* AdamW divides a gradient by its own size: one that is all rounding moves its
 * weight by up to the learning rate either way, and one with a share r of
 * rounding adds about lr r to the weight's error. So a weight with 4 r > 0.001
 * is allowed 4 r lr a step, at most 2 lr. r is noise / |gradient|, the noise
 * that of our float32, a root mean square over the row. */
static inline void own_slack(Dump *d, const Own *o, const Spec *s) {
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &d->table[k];
        const uint8_t *mask = d->mask[k];           /* (rows,cols) */
        const size_t n = gpt_elements(p);
        const size_t row = p->rank == 2 ? p->cols : n;
        float *g = mem_new(n, sizeof *g);           /* (rows,cols) */
        gpt_get(&o->m->table[k], o->m->g, g);
        for (size_t at = 0; at < n; at += row)
            own_slack_row(d->slack[k] + at, g + at, s->dw[k] + at,
                          mask ? mask + at : NULL, row, d->adam.lr);
        free(g);
    }
}

/* ---- computing everything ------------------------------------------------ */

/* What is done with a check whose truth (its tensor's elements) has been
 * computed. */
typedef void TruthVisit(Dump *d, Check *c, const double *truth, void *arg);

/* Visits the checks of kinds from .. to. */
static inline void truth_visit(Dump *d, const Spec *s, CheckKind from,
                               CheckKind to, TruthVisit *visit, void *arg) {
    for (size_t i = 0; i < d->n; i++) {
        Check *c = &d->check[i];
        if (c->kind < from || c->kind > to) continue;
        visit(d, c, check_truth(d, s, c), arg);
    }
}

/* The specification at the dump's initial weights. */
static inline Spec *truth_new(const Dump *d, const Fault *f) {
    Spec *s = spec_new(d->c, d->B, d->T);
    for (size_t k = 0; k < d->count; k++)
        for (size_t i = 0; i < gpt_elements(&d->table[k]); i++)
            s->w[k][i] = (double)d->w[k][i];
    s->rules = fault_rules(s, f);
    return s;
}
/* Forward and backward; s->dw is then the gradient of the kept weights. */
static inline void truth_gradient(const Dump *d, Spec *s, const Fault *f) {
    fault_weights(s, f);
    spec_forward(s, d->inputs, f->own_targets ? d->inputs : d->targets);
    spec_backward(s, d->inputs);
    fault_weights_undo(s, f);
    for (size_t k = 0; k < d->count; k++) {
        const uint8_t *mask = d->mask[k];           /* (rows,cols) */
        if (!mask) continue;
        for (size_t i = 0; i < gpt_elements(&d->table[k]); i++)
            s->dw[k][i] *= mask[i];
    }
    fault_gradient(s, f);
}

/* Everything a dump may hold, in double precision and with a fault; with own,
 * which may be NULL, in our float32 beside it. Each check is visited when its
 * truth stands in the specification's arrays. */
static inline void truth_compute(Dump *d, const Fault *f, Own *own,
                                 TruthVisit *visit, void *arg) {
    Spec *s = truth_new(d, f);
    double **m = d->steps ? spec_arrays(d->table, d->count) : NULL;     /* [count] */
    double **v = d->steps ? spec_arrays(d->table, d->count) : NULL;     /* [count] */
    if (own) own_logits(d, own);
    for (size_t t = 0; t == 0 || t < d->steps; t++) {
        truth_gradient(d, s, f);
        const double norm = spec_norm(s);
        if (own && t == 0) {
            const size_t n = d->B * d->T * d->c.V;
            d->norm = norm;
            own->far = truth_distance(own->logits, s->logits, n, 0, NULL);
        }
        if (own) own_train(d, own, t);
        if (t == 0) {
            fault_flip(s, f);
            truth_visit(d, s, ACT, GRAD, visit, arg);
            fault_flip_undo(s, f);
        }
        if (!d->steps) break;
        const bool clipped = f->norm_after && d->adam.clip > 0;
        d->step_loss[t] = s->loss;
        d->step_norm[t] = clipped ? fmin(norm, d->adam.clip) : norm;
        if (own) {
            own_slack(d, own, s);
            gpt_adamw(own->m, own->pool, &d->adam, t + 1, own->step_norm[t]);
        }
        fault_adamw(s, m, v, d->adam, t + 1, f);
    }
    truth_visit(d, s, STEP_LOSS, AFTER, visit, arg);
    for (size_t k = 0; k < d->count && d->steps; k++) {
        free(m[k]);
        free(v[k]);
    }
    free(m);
    free(v);
    spec_free(s);
}
#endif
