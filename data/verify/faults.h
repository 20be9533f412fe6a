/* faults.h: what goes wrong in implementations of GPT-2, as a table; each can
 * be computed with.
 *
 * It refuses to touch the specification of gpt.h, which knows no fault. Instead
 *
 *     a fault of      is                       for example
 *     the forward     other rules (SpecRules)  another GELU
 *                     or other weights         scores not divided by sqrt(hs) are
 *                                              those of queries times sqrt(hs),
 *                                              hence of that part of c_attn's
 *                                              weight and bias times sqrt(hs)
 *     the backward    a change of the          a bias gradient that is missing
 *                     gradient when it is done
 *     the optimizer   spec_adamw by other      no bias correction
 *                     arguments
 *
 * Where weights are changed, the gradient by them becomes the one by the true
 * weights afterwards. To add a fault is to add a row, and a field if none of
 * them can say it.
 *
 *     s->rules = fault_rules(s, f);
 *     fault_weights(s, f);
 *     spec_forward(s, inputs, targets);
 *     spec_backward(s, inputs);
 *     fault_weights_undo(s, f);       // the true weights again, the gradient by them
 *     fault_gradient(s, f);
 *     fault_adamw(s, m, v, adam, 1, f);
 *
 * A clip without PyTorch's 1e-6 is not in the table: it changes a step by a
 * millionth, which no float32 computation can show. */
#ifndef FAULTS_H
#define FAULTS_H
#include "checks.h"

/* Gradients that are missing; a set of these. */
enum { NO_BIAS = 1, NO_NORM = 2, NO_WPE = 4, NO_HEAD = 8, NO_LOOKUP = 16 };
/* The parameters that weight decay is on. */
enum { DECAY_MATRICES, DECAY_ALL, DECAY_LINEAR, DECAY_NONE, DECAYS };
/* The weights that are used transposed: none, attn.c_proj.weight, all linear
 * ones. */
enum { CPROJ = 1, LINEAR };

/* What differs from GPT-2; a field that is 0 is as it should be. */
typedef struct Fault {
    const char *name;
    const char *means;
    Phase phase;

    /* forward */
    double (*gelu)(double);
    double (*slope)(double);    /* GELU's derivative */
    double eps, eps_outside;    /* of LayerNorm */
    double unbiased;            /* 1: variance with 1 / (C - 1) */
    double q_hs, q_c;           /* scores are hs^q_hs C^q_c too large */
    size_t ahead;               /* positions that the causal mask lets see */
    int transposed;
    bool own_targets;           /* the inputs are the targets: not shifted */
    double loss_n;              /* the loss is (B T)^loss_n too large */

    /* backward */
    double grad_n, grad_b;      /* the gradient is (B T)^grad_n B^grad_b and */
    double grad_2;              /* 2^grad_2 too large */
    int missing;
    bool flipped;               /* linear gradients are written (out,in) */

    /* optimizer */
    int decay;
    bool l2;                    /* decay goes through the gradient */
    bool eps_inside, uncorrected, unclipped;
    bool per_tensor;            /* clipped by its own norm */
    bool norm_after;            /* the norm after clipping is reported */
    double beta2;
} Fault;

/* ---- other activations --------------------------------------------------- */

/* GELU in its erf form, x P(X < x) for a normal X. */
static inline double fault_gelu_erf(double x) {
    return 0.5 * x * (1 + erf(x * 0.70710678118654752));
}
/* P(X < x) + x density(x), density = exp(-x^2 / 2) / sqrt(2 pi). */
static inline double fault_gelu_erf_slope(double x) {
    return 0.5 * (1 + erf(x * 0.70710678118654752)) +
           x * 0.3989422804014327 * exp(-0.5 * x * x);
}
static inline double fault_gelu_quick(double x) {
    return x / (1 + exp(-1.702 * x));
}
/* s + x s', where s' = 1.702 s (1 - s). */
static inline double fault_gelu_quick_slope(double x) {
    const double s = 1 / (1 + exp(-1.702 * x));
    return s + x * 1.702 * s * (1 - s);
}
static inline double fault_relu(double x) { return x > 0 ? x : 0; }
static inline double fault_relu_slope(double x) { return x > 0; }

/* ---- the table ----------------------------------------------------------- */

static const Fault no_fault = {0};
static const Fault faults[] = {
    {"gelu-erf",
     "GELU in its erf form; GPT-2 has the tanh form",
     FORWARD, .gelu = fault_gelu_erf, .slope = fault_gelu_erf_slope},
    {"gelu-quick",
     "GELU as x sigmoid(1.702 x); GPT-2 has the tanh form",
     FORWARD, .gelu = fault_gelu_quick, .slope = fault_gelu_quick_slope},
    {"relu",
     "ReLU in the place of GELU",
     FORWARD, .gelu = fault_relu, .slope = fault_relu_slope},
    {"gelu-erf-backward",
     "the backward of GELU is that of its erf form",
     BACKWARD, .slope = fault_gelu_erf_slope},
    {"norm-variance",
     "LayerNorm divides the variance by C - 1, not C",
     FORWARD, .unbiased = 1},
    {"norm-eps-outside",
     "LayerNorm adds eps outside the root",
     FORWARD, .eps = 1e-300, .eps_outside = 1e-5},
    {"norm-eps-1e-6",
     "LayerNorm's eps is 1e-6, not 1e-5",
     FORWARD, .eps = 1e-6},
    {"norm-eps-1e-8",
     "LayerNorm's eps is 1e-8 or less, not 1e-5",
     FORWARD, .eps = 1e-8},
    {"attention-unscaled",
     "scores are not divided by sqrt(hs)",
     FORWARD, .q_hs = 0.5},
    {"attention-scale-hs",
     "scores are divided by hs, not sqrt(hs)",
     FORWARD, .q_hs = -0.5},
    {"attention-scale-c",
     "scores are divided by sqrt(C), not sqrt(hs)",
     FORWARD, .q_hs = 0.5, .q_c = -0.5},
    {"mask-ahead",
     "the causal mask is off by one: a token sees the next one",
     FORWARD, .ahead = 1},
    {"mask-none",
     "no causal mask: a token sees all after it",
     FORWARD, .ahead = SIZE_MAX / 2},
    {"transposed-c_proj",
     "attn.c_proj.weight, square, is used transposed",
     FORWARD, .transposed = CPROJ},
    {"transposed-linear",
     "linear weights are read (out, in); they are (in, out)",
     FORWARD, .transposed = LINEAR},
    {"targets-unshifted",
     "the loss is against the inputs, not the targets",
     FORWARD, .own_targets = true},
    {"loss-summed",
     "the loss is summed over the tokens, not averaged",
     FORWARD, .loss_n = 1, .grad_n = 1},
    {"gradient-summed",
     "the gradient is that of the summed, not the mean loss",
     BACKWARD, .grad_n = 1},
    {"gradient-times-b",
     "the gradient is B times too large: a sum over sequences",
     BACKWARD, .grad_b = 1},
    {"gradient-over-b",
     "the gradient is B times too small: divided by B twice",
     BACKWARD, .grad_b = -1},
    {"gradient-over-n",
     "the gradient is BT times too small: divided by BT twice",
     BACKWARD, .grad_n = -1},
    {"gradient-doubled",
     "the gradient is twice what it is: not set to zero before",
     BACKWARD, .grad_2 = 1},
    {"bias-gradient-missing",
     "the gradient of a linear layer's bias is missing",
     BACKWARD, .missing = NO_BIAS},
    {"norm-gradient-missing",
     "the gradient of a LayerNorm's gain and bias is missing",
     BACKWARD, .missing = NO_NORM},
    {"wpe-gradient-missing",
     "the gradient of the positions is missing",
     BACKWARD, .missing = NO_WPE},
    {"untied-head",
     "wte lacks the gradient of the head: the tie is cut",
     BACKWARD, .missing = NO_HEAD},
    {"untied-lookup",
     "wte has the gradient of the head only, not that of the lookup",
     BACKWARD, .missing = NO_LOOKUP},
    {"gradient-transposed",
     "gradients of linear weights lie (out, in), not (in, out)",
     BACKWARD, .flipped = true},
    {"decay-all",
     "weight decay on gains and biases too, not on matrices only",
     OPTIMIZER, .decay = DECAY_ALL},
    {"decay-linear",
     "no weight decay on the embeddings",
     OPTIMIZER, .decay = DECAY_LINEAR},
    {"decay-none",
     "weight decay is missing",
     OPTIMIZER, .decay = DECAY_NONE},
    {"decay-l2",
     "weight decay goes through the gradient (Adam with L2), not beside it",
     OPTIMIZER, .l2 = true},
    {"adam-eps-inside",
     "AdamW adds eps inside the root",
     OPTIMIZER, .eps_inside = true},
    {"adam-uncorrected",
     "AdamW without bias correction",
     OPTIMIZER, .uncorrected = true},
    {"adam-beta2-0.999",
     "beta2 is 0.999, not what the file says",
     OPTIMIZER, .beta2 = 0.999},
    {"adam-beta2-0.95",
     "beta2 is 0.95, not what the file says",
     OPTIMIZER, .beta2 = 0.95},
    {"clip-none",
     "the gradient is not clipped",
     OPTIMIZER, .unclipped = true},
    {"clip-per-tensor",
     "each tensor is clipped by its own norm, not by the global one",
     OPTIMIZER, .per_tensor = true},
    {"norm-after-clip",
     "step_grad_norm is the norm after clipping, not before",
     OPTIMIZER, .norm_after = true},
};
enum { FAULTS = sizeof faults / sizeof *faults };

/* ---- the forward --------------------------------------------------------- */

/* The rules of the faulty program. A variance with 1 / (C - 1) is one with 1 /
 * C, and eps and the gain less: where gain^2 = (C - 1) / C
 *
 *     1 / sqrt(var C / (C - 1) + eps) = gain / sqrt(var + eps gain^2) */
static inline SpecRules fault_rules(const Spec *s, const Fault *f) {
    const double C = (double)s->c.C;
    const double eps = f->eps > 0 ? f->eps : SPEC_GPT2.eps;
    return (SpecRules){
        .eps = eps * pow((C - 1) / C, f->unbiased),
        .eps_outside = f->eps_outside,
        .ahead = f->ahead,
        .gelu = f->gelu ? f->gelu : spec_gelu,
        .gelu_slope = f->slope ? f->slope : spec_gelu_slope,
    };
}

/* a (rows,cols) becomes (cols,rows), in place. */
static inline void fault_transpose(double *a, size_t rows, size_t cols) {
    double *b = spec_array(rows * cols);            /* (rows,cols) */
    memcpy(b, a, rows * cols * sizeof *b);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) a[c * rows + r] = b[r * cols + c];
    free(b);
}

/* A factor on the first elements of each row of a tensor. */
typedef struct {
    double by;
    size_t cols, part;          /* of a row's elements, so many */
} FaultScale;

static inline void fault_scale_by(double *a, size_t n, FaultScale scale) {
    for (size_t i = 0; i < n; i++)
        if (i % scale.cols < scale.part) a[i] *= scale.by;
}

/* The place of parameter k in its layer, QKVW ..; PER_LAYER if it is of
 * none. */
static inline size_t fault_place(const Spec *s, size_t k) {
    const bool layer = k >= LAYER0 && k < gpt_layer(s->c.L, 0);
    return layer ? (k - LAYER0) % PER_LAYER : PER_LAYER;
}
/* What the faulty program's parameter k is of the true one. */
static inline FaultScale fault_scale(const Spec *s, const Fault *f, size_t k) {
    const double C = (double)s->c.C;
    const double hs = C / (double)s->c.NH;
    const GptParam *p = &s->table[k];
    const size_t place = fault_place(s, k);
    FaultScale scale = {.by = 1, .cols = p->cols ? p->cols : gpt_elements(p)};
    scale.part = scale.cols;
    if (place == QKVW || place == QKVB) {
        scale.by = pow(hs, f->q_hs) * pow(C, f->q_c);
        scale.part = s->c.C;                        /* the queries */
    } else if (p->rank == 1 && p->mean > 0)         /* a gain */
        scale.by = pow((C - 1) / C, f->unbiased / 2);
    return scale;
}
/* Whether the faulty program takes parameter k for its transposed. */
static inline bool fault_transposed(const Spec *s, const Fault *f, size_t k) {
    if (f->transposed == LINEAR) return s->table[k].in_out;
    return f->transposed == CPROJ && fault_place(s, k) == PROJW;
}

/* Makes the weights those that the faulty program computes with. */
static inline void fault_weights(Spec *s, const Fault *f) {
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        const GptParam *p = &s->table[k];
        const FaultScale scale = fault_scale(s, f, k);
        if (scale.by != 1) fault_scale_by(s->w[k], gpt_elements(p), scale);
        if (fault_transposed(s, f, k))      /* what lies there, taken for (out,in) */
            fault_transpose(s->w[k], p->cols, p->rows);
    }
}
/* Makes them the true ones again, and the gradient the one by these: w' = w by,
 * so dw = dw' by. */
static inline void fault_weights_undo(Spec *s, const Fault *f) {
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        const GptParam *p = &s->table[k];
        const FaultScale scale = fault_scale(s, f, k);
        FaultScale back = scale;
        back.by = 1 / scale.by;
        if (scale.by != 1) {
            fault_scale_by(s->w[k], gpt_elements(p), back);
            fault_scale_by(s->dw[k], gpt_elements(p), scale);
        }
        if (fault_transposed(s, f, k)) {
            fault_transpose(s->w[k], p->rows, p->cols);
            fault_transpose(s->dw[k], p->rows, p->cols);
        }
    }
}

/* ---- the backward -------------------------------------------------------- */

/* dw of wte without one of its halves.
 *     head: dw[v][i] = sum over n of dlogits[n][v] lnf[n][i] */
static inline void fault_untie(Spec *s, bool keep_head) {
    const size_t C = s->c.C;
    const size_t V = s->c.V;
    double *head = spec_array(V * C);               /* (V,C) */
    for (size_t n = 0; n < s->B * s->T; n++) {
        const double *dlogits = s->dlogits + n * V; /* (V) */
        const double *lnf = s->lnf + n * C;         /* (C) */
        for (size_t v = 0; v < V; v++)
            for (size_t i = 0; i < C; i++)
                head[v * C + i] += dlogits[v] * lnf[i];
    }
    double *dwte = s->dw[WTE];                      /* (V,C) */
    for (size_t i = 0; i < V * C; i++)
        dwte[i] = keep_head ? head[i] : dwte[i] - head[i];
    free(head);
}
/* Whether the gradient of parameter k is missing as a whole. */
static inline bool fault_missing(const Spec *s, const Fault *f, size_t k) {
    const bool vector = s->table[k].rank == 1;
    const bool norm = vector && strstr(s->table[k].name, "ln_");
    if (k == WPE) return f->missing & NO_WPE;
    if (norm) return f->missing & NO_NORM;
    return vector && f->missing & NO_BIAS;
}
/* Makes loss and gradient those of the faulty program. */
static inline void fault_gradient(Spec *s, const Fault *f) {
    const double B = (double)s->B;
    const double N = B * (double)s->T;
    const double by = pow(N, f->grad_n) * pow(B, f->grad_b) * pow(2, f->grad_2);
    if (f->missing & (NO_HEAD | NO_LOOKUP))
        fault_untie(s, f->missing & NO_LOOKUP);
    s->loss *= pow(N, f->loss_n);
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        const double factor = fault_missing(s, f, k) ? 0 : by;
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++)
            s->dw[k][i] *= factor;
    }
}
/* Makes the gradients (out,in) that the faulty program writes so. */
static inline void fault_flip(Spec *s, const Fault *f) {
    for (size_t k = 0; k < gpt_count(&s->c) && f->flipped; k++) {
        const GptParam *p = &s->table[k];
        if (p->in_out) fault_transpose(s->dw[k], p->rows, p->cols);
    }
}
static inline void fault_flip_undo(Spec *s, const Fault *f) {
    for (size_t k = 0; k < gpt_count(&s->c) && f->flipped; k++) {
        const GptParam *p = &s->table[k];
        if (p->in_out) fault_transpose(s->dw[k], p->cols, p->rows);
    }
}

/* ---- the optimizer ------------------------------------------------------- */

static inline bool fault_decays(const GptParam *p, const Fault *f) {
    const bool decays[DECAYS] = {
        [DECAY_MATRICES] = p->rank == 2,
        [DECAY_ALL] = true,
        [DECAY_LINEAR] = p->in_out,
        [DECAY_NONE] = false,
    };
    return decays[f->decay];
}
/* The factor on the gradient of parameter k by which the faulty program clips
 * it before spec_adamw would. */
static inline double fault_clip(const Spec *s, const Fault *f, const GptAdam *o,
                                double norm, size_t k) {
    if (f->per_tensor) {
        double square = 0;
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++)
            square += s->dw[k][i] * s->dw[k][i];
        return o->clip > 0 && sqrt(square) > o->clip ? o->clip / sqrt(square)
                                                     : 1;
    }
    return f->l2 ? spec_clip(norm, o->clip) : 1;    /* before the decay is added */
}
static inline void fault_add(Spec *s, double **v, double by) {
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++) v[k][i] += by;
}

/* Step t of AdamW with a fault of the optimizer: spec_adamw by other arguments.
 * m and v hold an array for each parameter. With c1 = 1 - beta1^t and c2 = 1 -
 * beta2^t
 *
 *     without correction  lr m / (sqrt(v) + eps) =
 *                         lr' (m / c1) / (sqrt(v / c2) + eps')
 *                         where lr' = lr c1 / sqrt(c2), eps' = eps / sqrt(c2)
 *     eps inside          sqrt(v / c2 + eps): v is raised by eps c2 during the step */
static inline void fault_adamw(Spec *s, double **m, double **v, GptAdam o,
                               size_t t, const Fault *f) {
    if (f->beta2 > 0) o.beta2 = f->beta2;
    const double norm = spec_norm(s);
    const double lr = o.lr;
    const double c1 = 1 - pow(o.beta1, (double)t);
    const double c2 = 1 - pow(o.beta2, (double)t);
    const double raise = o.eps * c2;
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        GptParam *p = &s->table[k];
        const double clip = fault_clip(s, f, &o, norm, k);
        p->decay = fault_decays(p, f);
        const bool l2 = f->l2 && p->decay;
        for (size_t i = 0; i < gpt_elements(p); i++)
            s->dw[k][i] = s->dw[k][i] * clip + (l2 ? o.decay * s->w[k][i] : 0);
    }
    if (f->l2 || f->unclipped || f->per_tensor) o.clip = 0;
    if (f->l2) o.decay = 0;
    if (f->uncorrected) {
        o.lr *= c1 / sqrt(c2);
        o.eps /= sqrt(c2);
        o.decay *= lr / o.lr;
    }
    if (f->eps_inside) {
        o.eps = 0;
        fault_add(s, v, raise / o.beta2);           /* spec_adamw takes beta2 of it */
    }
    spec_adamw(s, m, v, &o, t);
    if (f->eps_inside) fault_add(s, v, -raise);
}
#endif
