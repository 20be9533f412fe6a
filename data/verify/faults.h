/* faults.h: what goes wrong in implementations of GPT-2, as a table; each can be computed with.
 *
 * It refuses to touch the specification of gpt.h, which knows no fault. A fault of the forward pass is other
 * rules (SpecRules) or other weights, with the gradient by them turned into that by the true ones: scores
 * that are not divided by sqrt(hs), say, come from queries times sqrt(hs), hence from that part of c_attn's
 * weight and bias times sqrt(hs). A fault of the backward pass changes the gradient when it is done. A fault
 * of the optimizer is spec_adamw by other arguments. To add one is to add a row, and a field if none of them
 * can say it.
 *
 *     s->rules = fault_rules(s, f), fault_weights(s, f, false);
 *     spec_forward(s, inputs, targets), spec_backward(s, inputs);
 *     fault_weights(s, f, true);              // the true weights again, and the gradient by them
 *     fault_gradient(s, f);
 *     fault_adamw(s, m, v, adam, 1, f);
 *
 * A clip without PyTorch's 1e-6 is not in the table: it changes a step by a millionth, which no float32
 * computation can show. */
#ifndef FAULTS_H
#define FAULTS_H
#include "checks.h"

enum { NO_BIAS = 1, NO_NORM = 2, NO_WPE = 4, NO_HEAD = 8, NO_LOOKUP = 16 };     /* missing gradients */
enum { DECAY_MATRICES, DECAY_ALL, DECAY_LINEAR, DECAY_NONE };
enum { CPROJ = 1, LINEAR };                                                     /* transposed weights */

/* A fault is what differs from GPT-2; a field that is 0 is as it should be. */
typedef struct Fault {
    const char *name, *means;
    Phase phase;
    double (*gelu)(double), (*slope)(double);
    double eps, eps_outside, unbiased;                      /* LayerNorm; unbiased 1: variance with 1/(C-1) */
    double q_hs, q_c;                                       /* scores are scaled by hs^q_hs C^q_c too much */
    size_t ahead;                                           /* positions that the causal mask lets see */
    int transposed;
    bool own_targets;                                       /* targets not shifted */
    double loss_n, grad_n, grad_b, grad_2;                  /* loss, gradient too large by (BT)^, B^, 2^ */
    int missing;
    bool flipped;                                           /* linear gradients written (out, in) */
    int decay;
    bool l2, eps_inside, uncorrected, unclipped, per_tensor, norm_after;
    double beta2;
} Fault;

static inline double gelu_erf(double x) { return 0.5 * x * (1 + erf(x * 0.70710678118654752)); }
static inline double gelu_erf_slope(double x) {             /* density = exp(-x^2 / 2) / sqrt(2 pi) */
    return 0.5 * (1 + erf(x * 0.70710678118654752)) + x * 0.3989422804014327 * exp(-0.5 * x * x);
}
static inline double gelu_quick(double x) { return x / (1 + exp(-1.702 * x)); }
static inline double gelu_quick_slope(double x) {           /* s + x s', s' = 1.702 s (1 - s) */
    const double s = 1 / (1 + exp(-1.702 * x));
    return s + x * 1.702 * s * (1 - s);
}
static inline double relu(double x) { return x > 0 ? x : 0; }
static inline double relu_slope(double x) { return x > 0; }

static const Fault no_fault = {0};
static const Fault faults[] = {
    {"gelu-erf", "GELU in its erf form; GPT-2 has the tanh form", FORWARD, .gelu = gelu_erf,
     .slope = gelu_erf_slope},
    {"gelu-quick", "GELU as x sigmoid(1.702 x); GPT-2 has the tanh form", FORWARD,
     .gelu = gelu_quick, .slope = gelu_quick_slope},
    {"relu", "ReLU in the place of GELU", FORWARD, .gelu = relu, .slope = relu_slope},
    {"gelu-erf-backward", "the backward of GELU is that of its erf form", BACKWARD,
     .slope = gelu_erf_slope},
    {"norm-variance", "LayerNorm divides the variance by C - 1, not C", FORWARD, .unbiased = 1},
    {"norm-eps-outside", "LayerNorm adds eps outside the root", FORWARD, .eps = 1e-300,
     .eps_outside = 1e-5},
    {"norm-eps-1e-6", "LayerNorm's eps is 1e-6, not 1e-5", FORWARD, .eps = 1e-6},
    {"norm-eps-1e-8", "LayerNorm's eps is 1e-8 or less, not 1e-5", FORWARD, .eps = 1e-8},
    {"attention-unscaled", "scores are not divided by sqrt(hs)", FORWARD, .q_hs = 0.5},
    {"attention-scale-hs", "scores are divided by hs, not sqrt(hs)", FORWARD, .q_hs = -0.5},
    {"attention-scale-c", "scores are divided by sqrt(C), not sqrt(hs)", FORWARD,
     .q_hs = 0.5, .q_c = -0.5},
    {"mask-ahead", "the causal mask is off by one: a token sees the next one", FORWARD, .ahead = 1},
    {"mask-none", "no causal mask: a token sees all after it", FORWARD, .ahead = SIZE_MAX / 2},
    {"transposed-c_proj", "attn.c_proj.weight, square, is used transposed", FORWARD, .transposed = CPROJ},
    {"transposed-linear", "linear weights are read (out, in); they are (in, out)", FORWARD,
     .transposed = LINEAR},
    {"targets-unshifted", "the loss is against the inputs, not the targets", FORWARD, .own_targets = true},
    {"loss-summed", "the loss is summed over the tokens, not averaged", FORWARD, .loss_n = 1, .grad_n = 1},
    {"gradient-summed", "the gradient is that of the summed, not the mean loss", BACKWARD, .grad_n = 1},
    {"gradient-times-b", "the gradient is B times too large: a sum over sequences", BACKWARD, .grad_b = 1},
    {"gradient-over-b", "the gradient is B times too small: divided by B twice", BACKWARD, .grad_b = -1},
    {"gradient-over-n", "the gradient is BT times too small: divided by BT twice", BACKWARD, .grad_n = -1},
    {"gradient-doubled", "the gradient is twice what it is: not set to zero before", BACKWARD, .grad_2 = 1},
    {"bias-gradient-missing", "the gradient of a linear layer's bias is missing", BACKWARD,
     .missing = NO_BIAS},
    {"norm-gradient-missing", "the gradient of a LayerNorm's gain and bias is missing", BACKWARD,
     .missing = NO_NORM},
    {"wpe-gradient-missing", "the gradient of the positions is missing", BACKWARD, .missing = NO_WPE},
    {"untied-head", "wte lacks the gradient of the head: the tie is cut", BACKWARD, .missing = NO_HEAD},
    {"untied-lookup", "wte has the gradient of the head only, not that of the lookup", BACKWARD,
     .missing = NO_LOOKUP},
    {"gradient-transposed", "gradients of linear weights lie (out, in), not (in, out)", BACKWARD,
     .flipped = true},
    {"decay-all", "weight decay on gains and biases too, not on matrices only", OPTIMIZER,
     .decay = DECAY_ALL},
    {"decay-linear", "no weight decay on the embeddings", OPTIMIZER, .decay = DECAY_LINEAR},
    {"decay-none", "weight decay is missing", OPTIMIZER, .decay = DECAY_NONE},
    {"decay-l2", "weight decay goes through the gradient (Adam with L2), not beside it", OPTIMIZER,
     .l2 = true},
    {"adam-eps-inside", "AdamW adds eps inside the root", OPTIMIZER, .eps_inside = true},
    {"adam-uncorrected", "AdamW without bias correction", OPTIMIZER, .uncorrected = true},
    {"adam-beta2-0.999", "beta2 is 0.999, not what the file says", OPTIMIZER, .beta2 = 0.999},
    {"adam-beta2-0.95", "beta2 is 0.95, not what the file says", OPTIMIZER, .beta2 = 0.95},
    {"clip-none", "the gradient is not clipped", OPTIMIZER, .unclipped = true},
    {"clip-per-tensor", "each tensor is clipped by its own norm, not by the global one", OPTIMIZER,
     .per_tensor = true},
    {"norm-after-clip", "step_grad_norm is the norm after clipping, not before", OPTIMIZER,
     .norm_after = true},
};
enum { FAULTS = sizeof faults / sizeof *faults };

/* a (rows,cols) becomes (cols,rows), in place */
static inline void flip(double *a, size_t rows, size_t cols) {
    double *b = spec_array(rows * cols);
    memcpy(b, a, rows * cols * sizeof *b);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) a[c * rows + r] = b[r * cols + c];
    free(b);
}
/* a[i] *= by, for the first `part` of each row of `cols` */
static inline void fault_scale_by(double *a, size_t rows, size_t cols, size_t part, double by) {
    for (size_t i = 0; i < rows * cols; i++) if (i % cols < part) a[i] *= by;
}

/* The rules of the faulty program. A variance with 1/(C-1) is one with 1/C, and eps and the gain less:
 * 1 / sqrt(var C/(C-1) + eps) = gain / sqrt(var + eps gain^2) where gain^2 = (C-1)/C. */
static inline SpecRules fault_rules(const Spec *s, const Fault *f) {
    const double C = (double)s->c.C, eps = f->eps > 0 ? f->eps : SPEC_GPT2.eps;
    return (SpecRules){eps * pow((C - 1) / C, f->unbiased), f->eps_outside, f->ahead,
                       f->gelu ? f->gelu : spec_gelu, f->slope ? f->slope : spec_gelu_slope};
}

/* Makes the weights those that the faulty program computes with; undone, the gradient becomes that by its own
 * weights: w' = w by, so dw = dw' by. */
static inline void fault_weights(Spec *s, const Fault *f, bool undo) {
    const double C = (double)s->c.C, hs = C / (double)s->c.NH;
    const double q = pow(hs, f->q_hs) * pow(C, f->q_c), gain = pow((C - 1) / C, f->unbiased / 2);
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        const GptParam *p = &s->table[k];
        const size_t inner = (k - LAYER0) % PER_LAYER, n = gpt_elements(p), cols = p->cols ? p->cols : n;
        const bool query = k >= LAYER0 && k < gpt_layer(s->c.L, 0) && (inner == QKVW || inner == QKVB);
        const double by = query ? q : p->rank == 1 && p->mean > 0 ? gain : 1;
        if (by != 1) {
            fault_scale_by(s->w[k], n / cols, cols, query ? s->c.C : cols, undo ? 1 / by : by);
            if (undo) fault_scale_by(s->dw[k], n / cols, cols, query ? s->c.C : cols, by);
        }
        if (!p->in_out || !(f->transposed == LINEAR || (f->transposed == CPROJ && inner == PROJW))) continue;
        if (!undo) flip(s->w[k], p->cols, p->rows);         /* what lies there, taken for (out, in) */
        else flip(s->w[k], p->rows, p->cols), flip(s->dw[k], p->rows, p->cols);
    }
}

/* dw of wte without one of its halves. head: dw[v][i] = sum of dlogits[n][v] lnf[n][i] */
static inline void fault_untie(Spec *s, bool keep_head) {
    const size_t N = s->B * s->T, C = s->c.C, V = s->c.V;
    double *head = spec_array(V * C);
    for (size_t n = 0; n < N; n++)
        for (size_t v = 0; v < V; v++)
            for (size_t i = 0; i < C; i++) head[v * C + i] += s->dlogits[n * V + v] * s->lnf[n * C + i];
    for (size_t i = 0; i < V * C; i++) s->dw[WTE][i] = keep_head ? head[i] : s->dw[WTE][i] - head[i];
    free(head);
}
static inline void fault_gradient(Spec *s, const Fault *f) {
    const double B = (double)s->B, N = B * (double)s->T;
    const double by = pow(N, f->grad_n) * pow(B, f->grad_b) * pow(2, f->grad_2);
    if (f->missing & (NO_HEAD | NO_LOOKUP)) fault_untie(s, f->missing & NO_LOOKUP);
    s->loss *= pow(N, f->loss_n);
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        const bool vector = s->table[k].rank == 1, norm = vector && strstr(s->table[k].name, "ln_") != NULL;
        const bool gone = (f->missing & NO_BIAS && vector && !norm) || (f->missing & NO_NORM && norm) ||
                          (f->missing & NO_WPE && k == WPE);
        fault_scale_by(s->dw[k], gpt_elements(&s->table[k]), 1, 1, gone ? 0 : by);
    }
}
static inline void fault_flip(Spec *s, const Fault *f, bool undo) {
    for (size_t k = 0; k < gpt_count(&s->c) && f->flipped; k++) {
        const GptParam *p = &s->table[k];
        if (p->in_out) flip(s->dw[k], undo ? p->cols : p->rows, undo ? p->rows : p->cols);
    }
}

/* Step t of AdamW with a fault of the optimizer: spec_adamw by other arguments.
 *     without correction  lr m / (sqrt(v) + eps) = lr' (m / c1) / (sqrt(v / c2) + eps'),
 *                         lr' = lr c1 / sqrt(c2), eps' = eps / sqrt(c2)
 *     eps inside          sqrt(v / c2 + eps): v is raised by eps c2 during the step */
static inline void fault_adamw(Spec *s, double **m, double **v, GptAdam o, size_t t, const Fault *f) {
    if (f->beta2 > 0) o.beta2 = f->beta2;
    const double norm = spec_norm(s), lr = o.lr;
    const double by = spec_clip(norm, o.clip);
    const double c1 = 1 - pow(o.beta1, (double)t), c2 = 1 - pow(o.beta2, (double)t);
    const double raise = f->eps_inside ? o.eps * c2 : 0;
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        GptParam *p = &s->table[k];
        const bool decays[] = {p->rank == 2, true, p->in_out, false};
        double own = 0;
        p->decay = decays[f->decay];
        for (size_t i = 0; i < gpt_elements(p); i++) own += s->dw[k][i] * s->dw[k][i];
        own = f->per_tensor ? (o.clip > 0 && sqrt(own) > o.clip ? o.clip / sqrt(own) : 1) : f->l2 ? by : 1;
        for (size_t i = 0; i < gpt_elements(p); i++) {
            s->dw[k][i] = s->dw[k][i] * own + (f->l2 && p->decay ? o.decay * s->w[k][i] : 0);
            if (raise > 0) v[k][i] += raise / o.beta2;
        }
    }
    if (f->l2 || f->unclipped || f->per_tensor) o.clip = 0;
    if (f->l2) o.decay = 0;
    if (f->uncorrected) o.lr *= c1 / sqrt(c2), o.eps /= sqrt(c2), o.decay *= lr / o.lr;
    if (f->eps_inside) o.eps = 0;
    spec_adamw(s, m, v, &o, t);
    for (size_t k = 0; k < gpt_count(&s->c) && raise > 0; k++)
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++) v[k][i] -= raise;
}
#endif
