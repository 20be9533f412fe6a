/* adamw.h: what becomes of a gradient: its norm, and a step of AdamW, twice.
 *
 * First the specification's, in double precision, which tests and `verify`
 * compare with. Then the machine's: the same in float32, on the model's flat
 * arrays (data/panel/weights.h).
 *
 *     norm = gpt_gradient_norm(model, pool);      after gpt_train, once
 *     gpt_adamw(model, pool, &adam, step, norm);  step 1, 2 ...
 *
 * The arrays are cut into pieces of 32,768 numbers, whatever tensors lie there;
 * a task takes one. Neither the length of a piece nor the order in which their
 * sums are added depends on the number of threads, so the bits do not either.
 *
 *     w         | wte | wpe | h.0.ln_1.weight | ...              | ln_f.bias |
 *     gradient  |     |     |                 |                  |           |
 *     moment1   |     |     |                 |                  |           |
 *     moment2   |     |     |                 |                  |           |
 *               | piece 0    | piece 1    | piece 2    | ...  | the last  |
 *
 * It refuses a pass over the arrays for anything but the norm and the step: masks,
 * the lanes of biases and the two halves of wte's gradient are put together on the
 * way to the norm, and the step leaves the gradient zero.
 *
 * Example: a first step at rate 0.001, with beta1 0.9 and beta2 0.95. moment1 is
 * 0.1 g, c1 is 0.1; moment2 is 0.05 g^2, c2 is 0.05: the weight moves by
 * 0.001 g / |g|, whatever g is. */
#ifndef ADAMW_H
#define ADAMW_H
#include "../../gpt.h"

/* ---- the specification --------------------------------------------------- */

typedef struct {
    double lr;                  /* learning rate */
    double beta1, beta2;        /* how much of its moments it keeps a step */
    double eps;                 /* or a root of 0 would divide */
    double decay;               /* of matrices alone */
    double clip;                /* the largest norm of the gradient; 0: any */
} GptAdam;

/* The global norm of the gradient: the root of the sum of all its squares. */
static inline double spec_norm(const Spec *s) {
    double sum = 0;
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++)
            sum += s->dw[k][i] * s->dw[k][i];
    return sqrt(sum);
}

/* What a gradient of that norm is multiplied by, so that its norm is at most
 * clip, as PyTorch's clip_grad_norm_ does: clip / (norm + 1e-6), if below 1. */
static inline double spec_clip(double norm, double clip) {
    if (clip > 0 && norm + 1e-6 > clip) return clip / (norm + 1e-6);
    return 1;
}

/* Step 1, 2 ... of AdamW (Loshchilov and Hutter 2019) as PyTorch has it, for
 * every weight w and its gradient g, which is clipped. moment1 and moment2 are
 * arrays like s->w, zero before the first step:
 *
 *     w       -= lr decay w                             matrices only
 *     moment1  = beta1 moment1 + (1 - beta1) g          a mean of g
 *     moment2  = beta2 moment2 + (1 - beta2) g^2        a mean of its square
 *     w       -= lr (moment1 / c1) / (sqrt(moment2 / c2) + eps)
 *
 * c1 = 1 - beta1^step and c2 = 1 - beta2^step make up for the zero that the
 * moments began with. The decay does not pass through the moments, and eps
 * stands outside the root. */
static inline void spec_adamw(Spec *s, double **moment1, double **moment2,
                              const GptAdam *adam, size_t step) {
    const double clip = spec_clip(spec_norm(s), adam->clip);
    const double c1 = 1 - pow(adam->beta1, (double)step);
    const double c2 = 1 - pow(adam->beta2, (double)step);
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        const double decay = s->table[k].decay ? adam->decay : 0;
        double *w = s->w[k];            /* [elements], and so are the others */
        const double *dw = s->dw[k];
        double *m1 = moment1[k];
        double *m2 = moment2[k];
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++) {
            const double g = dw[i] * clip;
            w[i] *= 1 - adam->lr * decay;
            m1[i] = adam->beta1 * m1[i] + (1 - adam->beta1) * g;
            m2[i] = adam->beta2 * m2[i] + (1 - adam->beta2) * g * g;
            w[i] -= adam->lr * (m1[i] / c1) / (sqrt(m2[i] / c2) + adam->eps);
        }
    }
}

/* ---- the machine's ------------------------------------------------------- */

enum { PIECE = 1 << 15 };           /* floats a task */

/* Numbers from .. end-1 of the flat arrays, whole lines; from >= end: none. */
typedef struct {
    size_t from, end;
} GptSpan;

static inline size_t gpt_pieces(const Gpt *m) {
    return (m->floats + PIECE - 1) / PIECE;
}
static inline GptSpan gpt_piece(const Gpt *m, size_t piece) {
    const size_t from = piece * PIECE;
    return (GptSpan){from, size_min(from + PIECE, m->floats)};
}
/* The part of a span that is tensor p's. */
static inline GptSpan gpt_part(GptSpan span, const GptParam *p) {
    return (GptSpan){size_max(span.from, p->at),
                     size_min(span.end, p->at + p->size)};
}

/* The sum of a line's 16 lanes, pairwise; the line is used up. */
static inline float gpt_lane_sum(float *line) {
    for (size_t half = LINE / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++) line[j] += line[j + half];
    return line[0];
}
/* Gradients of gains and biases in a span: from a sum per lane to one number,
 * which is set. The lanes are zero again. */
static inline void gpt_gather_gradient(Gpt *m, GptSpan span) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (p->rank == 2) continue;
        const GptSpan part = gpt_part(span, p);
        for (size_t n = part.from; n < part.end; n++) {
            float *lanes = m->lane_g + (p->lane + n - p->at) * LINE;    /* (16) */
            m->g[n] = gpt_lane_sum(lanes);
            memset(lanes, 0, LINE * sizeof *lanes);
        }
    }
}
/* Zeroes the gradient, in a span, of weights that are masked inside a kept
 * block. */
static inline void gpt_mask_gradient(Gpt *m, GptSpan span) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!p->mat.keep) continue;
        const GptSpan part = gpt_part(span, p);
        for (size_t n = part.from; n < part.end; n++) {
            const size_t l = (n - p->at) / LINE;
            const size_t o = (n - p->at) % LINE;
            if (!(p->mat.keep[l] >> o & 1)) m->g[n] = 0;
        }
    }
}
/* Adds to wte's gradient, in a span, what came through the lookup. That is zero
 * again. */
INLINE void gpt_join_lookup(Gpt *m, GptSpan span) {
    const GptSpan part = gpt_part(span, &m->table[WTE]);
    float *restrict g = m->g;
    float *restrict lookup_g = m->lookup_g;
    for (size_t n = part.from; n < part.end; n += LANES) {
        vf_store(g + n, vf_load(g + n) + vf_load(lookup_g + n));
        vf_store(lookup_g + n, vf_all(0));
    }
}
/* The sum of the squares of g in a span, in double precision: eight chains, of
 * which number n is in chain n % 8, then pairwise. */
INLINE double gpt_squares(const float *g, GptSpan span) {
    vd sum[8 / VD_LANES] = {{0}};
    double chain[8];
    for (size_t n = span.from; n < span.end; n += 8)
        UNROLL for (size_t j = 0; j < 8 / VD_LANES; j++) {
            const vd wide = vd_of(g + n + j * VD_LANES);
            sum[j] += wide * wide;
        }
    memcpy(chain, sum, sizeof chain);
    return ((chain[0] + chain[1]) + (chain[2] + chain[3])) +
           ((chain[4] + chain[5]) + (chain[6] + chain[7]));
}

/* What a task of the gradient's norm gets. */
typedef struct {
    Gpt *m;
    double *sum;                    /* [pieces] of squares */
} GptSquares;

static inline void gpt_squares_piece(void *arg, size_t piece, size_t worker) {
    const GptSquares *squares = arg;
    Gpt *m = squares->m;
    const GptSpan span = gpt_piece(m, piece);
    (void)worker;
    gpt_gather_gradient(m, span);
    gpt_mask_gradient(m, span);
    gpt_join_lookup(m, span);
    squares->sum[piece] = gpt_squares(m->g, span);
}

/* The global norm of the gradient. What the backward pass left apart is put
 * together on the way (lanes, masks, both halves of wte), which so takes no pass
 * of its own. To be called once between gpt_train and gpt_adamw. */
static inline double gpt_gradient_norm(Gpt *m, DfPool *pool) {
    GptSquares squares = {m, mem_new(gpt_pieces(m), sizeof *squares.sum)};
    double sum = 0;
    df_run(pool, gpt_squares_piece, &squares, gpt_pieces(m));
    for (size_t piece = 0; piece < gpt_pieces(m); piece++)
        sum += squares.sum[piece];
    free(squares.sum);
    return sqrt(sum);
}

/* What a task of the update gets. */
typedef struct {
    Gpt *m;
    const GptAdam *adam;
    size_t step;                    /* 1, 2 ... */
    float clip;                     /* factor on the gradient */
} GptUpdate;

/* base^n by squaring: libm's pow has other bits on other machines. */
static inline double gpt_power(double base, size_t n) {
    double power = 1;
    for (; n > 0; n >>= 1) {
        if (n & 1) power *= base;
        base *= base;
    }
    return power;
}

/* spec_adamw on a span of parameter p, whose weights have had `age` steps, this
 * one counted. With all that is the same for the whole span taken out of it:
 *
 *     w = keep w - scale1 moment1 / (sqrt(moment2) root2 + eps)
 *
 *     keep = 1 - lr decay,  scale1 = lr / c1,  root2 = 1 / sqrt(c2)
 *
 * and lr times the tensor's own rate. The gradient is zero again. */
static inline void gpt_adamw_range(const GptUpdate *u, const GptParam *p,
                                   GptSpan span, size_t age) {
    const GptAdam *adam = u->adam;
    const double c1 = 1 - gpt_power(adam->beta1, age);
    const double c2 = 1 - gpt_power(adam->beta2, age);
    const float scale1 = (float)((double)p->rate * adam->lr / c1);
    const float root2 = (float)(1 / sqrt(c2));
    const float lr = (float)adam->lr * p->rate;
    const float keep = p->decay ? 1 - lr * (float)adam->decay : 1;
    const float beta1 = (float)adam->beta1;
    const float beta2 = (float)adam->beta2;
    const float eps = (float)adam->eps;
    const float clip = u->clip;
    float *restrict w = u->m->w;            /* [floats], as all four */
    float *restrict g = u->m->g;
    float *restrict m = u->m->moment1;
    float *restrict v = u->m->moment2;
    for (size_t n = span.from; n < span.end; n += LANES) {
        const vf d = vf_load(g + n) * vf_all(clip);
        const vf old1 = vf_load(m + n);
        const vf old2 = vf_load(v + n);
        const vf moment1 = vf_all(beta1) * old1 + vf_all(1 - beta1) * d;
        const vf moment2 = vf_all(beta2) * old2 + vf_all(1 - beta2) * (d * d);
        const vf root = vf_sqrt(moment2) * vf_all(root2) + vf_all(eps);
        const vf step = vf_all(scale1) * moment1 / root;
        vf_store(w + n, vf_load(w + n) * vf_all(keep) - step);
        vf_store(m + n, moment1);
        vf_store(v + n, moment2);
        vf_store(g + n, vf_all(0));
    }
}

/* The optimizer step at which the line of number n of parameter p came. */
static inline size_t gpt_born(const GptParam *p, size_t n) {
    return p->born ? p->born[(n - p->at) / LINE] : 0;
}
/* The longest span from n on, up to end, of lines of p that came together. */
static inline GptSpan gpt_same_age(const GptParam *p, size_t n, size_t end) {
    if (!p->born) return (GptSpan){n, end};
    GptSpan span = {n, n + LINE};
    while (span.end < end && gpt_born(p, span.end) == gpt_born(p, n))
        span.end += LINE;
    return span;
}
static inline void gpt_adamw_piece(void *arg, size_t piece, size_t worker) {
    const GptUpdate *u = arg;
    const GptSpan span = gpt_piece(u->m, piece);
    (void)worker;
    for (size_t k = 0; k < u->m->count; k++) {
        const GptParam *p = &u->m->table[k];
        const GptSpan part = gpt_part(span, p);
        size_t n = part.from;
        while (n < part.end) {
            const GptSpan run = gpt_same_age(p, n, part.end);
            gpt_adamw_range(u, p, run, u->step - gpt_born(p, n));
            n = run.end;
        }
    }
}

/* Step 1, 2 ... with the gradient whose norm gpt_gradient_norm has returned. */
static inline void gpt_adamw(Gpt *m, DfPool *pool, const GptAdam *adam,
                             size_t step, double norm) {
    GptUpdate u = {m, adam, step, (float)spec_clip(norm, adam->clip)};
    df_run(pool, gpt_adamw_piece, &u, gpt_pieces(m));
}
#endif
