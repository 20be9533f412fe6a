/* panel.h: what is done to panels besides the products: norm, GELU, the loss.
 *
 * A panel is x[group][feature][16 tokens] (sparse.h). A lane is a token, so
 * what the specification says of one row, a mean over its C features, say, is
 * a plain loop over lines here, 4, 8 or 16 tokens at a time, and no sum ever
 * crosses a lane:
 *
 *                   token 0   1   2  ...  15
 *     feature 0   |  x  |  x  |  x  | ... |       sum over this axis: v,
 *     feature 1   |  x  |  x  |  x  | ... |       downwards
 *     ...         |     |     |     |     |
 *     mean        |  m  |  m  |  m  | ... |
 *
 * Every sum is one chain, over features in ascending order, over groups the last first,
 * so the bits are the same on every machine. Functions take panels, numbers and nothing
 * else: no model, no stage. Each follows its namesake in the specification in gpt.h; what
 * they leave for the backward pass is two lines a group, mean and 1 / deviation, for panels
 * are read again but statistics are not computed again. */
#ifndef PANEL_H
#define PANEL_H
#include "../../sparse.h"

/* Line i of group g. */
static inline float *panel_line(SpPanel x, size_t g, size_t i) {
    return x.lines + g * x.stride + (size_t)x.row[i] * LINE;
}
/* The panel from line i of group g on: its line 0 is that one. */
static inline SpPanel panel_from(SpPanel x, size_t g, size_t i) {
    return (SpPanel){x.lines + g * x.stride, x.stride, x.row + i};
}
/* Copies lines past the caches: nobody reads them soon. */
static inline void panel_stream(float *restrict to, const float *restrict from,
                                size_t lines) {
    for (size_t n = 0; n < lines * LINE; n += LANES)
        vf_stream(to + n, vf_load(from + n));
}
/* Asks memory for lines that are soon read or written. */
static inline void panel_ask(const float *lines, size_t n) {
    for (size_t i = 0; i < n; i++) __builtin_prefetch(lines + i * LINE, 0, 2);
}
/* to += from, lines that follow one another. */
static inline void panel_add(float *restrict to, const float *restrict from,
                             size_t lines) {
    for (size_t n = 0; n < lines * LINE; n += LANES)
        vf_store(to + n, vf_load(to + n) + vf_load(from + n));
}

/* sum (lines,16) += rows i .. i + lines - 1 of each group, the last group first. */
static inline void panel_add_groups(float *restrict sum, SpPanel x, size_t i, size_t lines,
                                    size_t groups) {
    for (size_t k = 0; k < lines; k++)
        for (size_t v = 0; v < LINE; v += LANES) {
            vf total = vf_load(sum + k * LINE + v);
            for (size_t g = groups; g-- > 0;)
                total += vf_load(panel_line(x, g, i + k) + v);
            vf_store(sum + k * LINE + v, total);
        }
}

/* ---- norm ---------------------------------------------------------------- */

typedef struct {
    SpPanel x;                  /* (C) what is normed */
    SpPanel side;               /* (2) each token's mean and rstd */
    const float *gain;          /* (C) */
    const float *bias;          /* (C) */
    size_t C;
    size_t groups;
} PanelNorm;

/* hat = (x - mean) rstd of feature i of LANES tokens of group g */
INLINE vf panel_hat(SpPanel x, size_t g, size_t i, size_t v, vf mean, vf rstd) {
    return (vf_load(panel_line(x, g, i) + v) - mean) * rstd;
}
/* out (C) = gain hat + bias, for LANES tokens of group g from v on */
INLINE void panel_norm_out(const PanelNorm *n, SpPanel out, size_t g, size_t v,
                           vf mean, vf rstd) {
    for (size_t i = 0; i < n->C; i++) {
        const vf hat = panel_hat(n->x, g, i, v, mean, rstd);
        const vf y = vf_fma(hat, vf_all(n->gain[i]), vf_all(n->bias[i]));
        vf_store(panel_line(out, g, i) + v, y);
    }
}
/* A sum is a chain: each addition waits for the one before it. So the sums of
 * several vectors go on at once, of one group after another: chain c is vector
 * c % VECS of group g + c / VECS. */
enum { PANEL_CHAINS = 4, PANEL_AT_ONCE = VECS < 4 ? 4 / VECS : 1 };

INLINE float *panel_chain(SpPanel x, size_t g, size_t i, size_t c) {
    return panel_line(x, g + c / VECS, i) + c % VECS * LANES;
}
/* panel_norm of the groups from g on of so many chains, a constant. */
INLINE void panel_norm_chains(const PanelNorm *n, SpPanel out, size_t g,
                              const size_t chains) {
    const size_t C = n->C;
    vf mean[PANEL_CHAINS];
    vf var[PANEL_CHAINS];
    UNROLL for (size_t c = 0; c < chains; c++) mean[c] = vf_all(0);
    for (size_t i = 0; i < C; i++)
        UNROLL for (size_t c = 0; c < chains; c++)
            mean[c] += vf_load(panel_chain(n->x, g, i, c));
    UNROLL for (size_t c = 0; c < chains; c++) {
        mean[c] *= vf_all(1 / (float)C);
        var[c] = vf_all(0);
    }
    for (size_t i = 0; i < C; i++)
        UNROLL for (size_t c = 0; c < chains; c++) {
            const vf d = vf_load(panel_chain(n->x, g, i, c)) - mean[c];
            var[c] = vf_fma(d, d, var[c]);
        }
    UNROLL for (size_t c = 0; c < chains; c++) {
        const vf root = vf_sqrt(var[c] / vf_all((float)C) + vf_all(1e-5f));
        const vf rstd = vf_all(1) / root;
        vf_store(panel_chain(n->side, g, 0, c), mean[c]);
        vf_store(panel_chain(n->side, g, 1, c), rstd);
        panel_norm_out(n, out, g + c / VECS, c % VECS * LANES, mean[c], rstd);
    }
}
/* out (C) = gain hat + bias, hat = (x - mean) rstd; mean and rstd stay, in
 * n->side, for the backward. Several groups' sums go on at once. */
static inline void panel_norm(const PanelNorm *n, SpPanel out) {
    size_t g = 0;
    for (; g + PANEL_AT_ONCE <= n->groups; g += PANEL_AT_ONCE)
        panel_norm_chains(n, out, g, PANEL_CHAINS);
    for (; g < n->groups; g++) panel_norm_chains(n, out, g, VECS);
}
/* The same out once more, with the mean and rstd that are known. */
static inline void panel_norm_again(const PanelNorm *n, SpPanel out) {
    for (size_t g = 0; g < n->groups; g++)
        for (size_t v = 0; v < LINE; v += LANES) {
            const vf mean = vf_load(panel_line(n->side, g, 0) + v);
            const vf rstd = vf_load(panel_line(n->side, g, 1) + v);
            panel_norm_out(n, out, g, v, mean, rstd);
        }
}
/* dgain, dbias (end - from, a line each) += of features from .. end-1, per lane:
 * a feature's sums stay in registers while they go through the groups, last
 * first.
 * forward: out = gain hat + bias */
static inline void panel_norm_weight(const PanelNorm *n, SpPanel dout,
                                     size_t from, size_t end,
                                     float *restrict dgain,
                                     float *restrict dbias) {
    for (size_t i = from; i < end; i++)
        for (size_t v = 0; v < LINE; v += LANES) {
            float *at_gain = dgain + (i - from) * LINE + v;
            float *at_bias = dbias + (i - from) * LINE + v;
            vf dg = vf_load(at_gain);
            vf db = vf_load(at_bias);
            for (size_t g = n->groups; g-- > 0;) {
                const vf mean = vf_load(panel_line(n->side, g, 0) + v);
                const vf rstd = vf_load(panel_line(n->side, g, 1) + v);
                const vf d = vf_load(panel_line(dout, g, i) + v);
                dg = vf_fma(d, panel_hat(n->x, g, i, v, mean, rstd), dg);
                db += d;
            }
            vf_store(at_gain, dg);
            vf_store(at_bias, db);
        }
}
/* panel_norm_data of the groups from g on of so many chains, a constant. */
INLINE void panel_norm_data_chains(const PanelNorm *n, SpPanel dinp,
                                   SpPanel dout, const SpPanel *residual,
                                   size_t g, const size_t chains) {
    const size_t C = n->C;
    vf a[PANEL_CHAINS];
    vf ah[PANEL_CHAINS];
    vf mean[PANEL_CHAINS];
    vf rstd[PANEL_CHAINS];
    UNROLL for (size_t c = 0; c < chains; c++) {
        mean[c] = vf_load(panel_chain(n->side, g, 0, c));
        rstd[c] = vf_load(panel_chain(n->side, g, 1, c));
        a[c] = vf_all(0);
        ah[c] = vf_all(0);
    }
    for (size_t i = 0; i < C; i++)
        UNROLL for (size_t c = 0; c < chains; c++) {
            const vf x = vf_load(panel_chain(n->x, g, i, c));
            const vf hat = (x - mean[c]) * rstd[c];
            const vf d =
                vf_load(panel_chain(dout, g, i, c)) * vf_all(n->gain[i]);
            a[c] += d;
            ah[c] = vf_fma(d, hat, ah[c]);
        }
    UNROLL for (size_t c = 0; c < chains; c++) {
        a[c] *= vf_all(1 / (float)C);
        ah[c] *= vf_all(1 / (float)C);
    }
    for (size_t i = 0; i < C; i++)
        UNROLL for (size_t c = 0; c < chains; c++) {
            const vf x = vf_load(panel_chain(n->x, g, i, c));
            const vf hat = (x - mean[c]) * rstd[c];
            const vf d =
                vf_load(panel_chain(dout, g, i, c)) * vf_all(n->gain[i]);
            const vf sum = vf_fma(-hat, ah[c], d - a[c]);
            vf begin = vf_all(0);
            if (residual) begin = vf_load(panel_chain(*residual, g, i, c));
            vf_store(panel_chain(dinp, g, i, c), vf_fma(rstd[c], sum, begin));
        }
}
/* dinp (C) = rstd (dout gain - a - hat ah), with a and ah the means over the
 * features of dout gain and of dout gain hat: mean and rstd, too, are made of
 * every x of the token. What reaches x another way, along the residual stream,
 * is added: residual (C), or NULL if nothing does.
 * forward: out = gain hat + bias, hat = (x - mean) rstd */
static inline void panel_norm_data(const PanelNorm *n, SpPanel dinp,
                                   SpPanel dout, const SpPanel *residual) {
    size_t g = 0;
    for (; g + PANEL_AT_ONCE <= n->groups; g += PANEL_AT_ONCE)
        panel_norm_data_chains(n, dinp, dout, residual, g, PANEL_CHAINS);
    for (; g < n->groups; g++)
        panel_norm_data_chains(n, dinp, dout, residual, g, VECS);
}

/* ---- GELU ---------------------------------------------------------------- */

/* s of GELU(x) = x s. In its tanh form GELU is x (1 + tanh u) / 2, with
 * u = sqrt(2 / pi) (x + 0.044715 x^3), and s = (1 + tanh u) / 2 =
 * 1 / (1 + exp(-2 u)). */
INLINE vf panel_sigmoid2u(vf x) {
    const vf linear = vf_all(-2 * 0.7978845608f);
    const vf cubic = vf_all(-2 * 0.044715f * 0.7978845608f);
    const vf minus_2u = x * vf_fma(x * x, cubic, linear);
    return vf_all(1) / (vf_all(1) + vf_exp(minus_2u));
}
/* inout = GELU(inout), lines that follow one another. */
static inline void panel_gelu(float *inout, size_t lines) {
    for (size_t n = 0; n < lines * LINE; n += LANES) {
        const vf x = vf_load(inout + n);
        vf_store(inout + n, x * panel_sigmoid2u(x));
    }
}
/* out = GELU(inp) again, in place of it or elsewhere, and d, which is the derivative
 * by it, becomes that by inp: d *= s + x s (1 - s) 2u'.
 * forward: out = x s */
static inline void panel_gelu_data(float *restrict d, float *out, const float *inp,
                                   size_t lines) {
    const vf cubic = vf_all(6 * 0.044715f * 0.7978845608f);
    for (size_t n = 0; n < lines * LINE; n += LANES) {
        const vf x = vf_load(inp + n);
        const vf s = panel_sigmoid2u(x);
        const vf slope_2u = vf_fma(x * x, cubic, vf_all(2 * 0.7978845608f));
        const vf slope = vf_fma(x * s * (vf_all(1) - s), slope_2u, s);
        vf_store(out + n, x * s);
        vf_store(d + n, vf_load(d + n) * slope);
        panel_ask(inp + n + lines * LINE, 1);   /* those that follow these */
    }
}

/* ---- the loss ------------------------------------------------------------ */

/* Of each token of group g: loss (16) = log sum exp(logit - max) + max -
 * logit[target], of which exponentials and their sum are float32, all else double;
 * the logits (V) become exp(logit - max), sum (16) = their sums. A target below 0
 * does not count: its loss is 0. */
static inline void panel_loss(double *loss, float *sum, SpPanel logits,
                              size_t g, size_t V, const int32_t *target) {
    float max[LINE];
    for (size_t v = 0; v < LINE; v += LANES) {
        vf top = vf_load(panel_line(logits, g, 0) + v);
        for (size_t o = 1; o < V; o++)
            top = vf_max(vf_load(panel_line(logits, g, o) + v), top);
        vf_store(max + v, top);
    }
    for (size_t t = 0; t < LINE; t++) {     /* while the logit is there */
        loss[t] = 0;
        if (target[t] < 0) continue;
        const size_t o = (size_t)target[t];
        loss[t] = (double)max[t] - (double)panel_line(logits, g, o)[t];
    }
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v);
        vf total = vf_all(0);
        for (size_t o = 0; o < V; o++) {
            float *at = panel_line(logits, g, o) + v;
            const vf e = vf_exp(vf_load(at) - top);
            vf_store(at, e);
            total += e;
        }
        vf_store(sum + v, total);
    }
    for (size_t t = 0; t < LINE; t++)
        if (target[t] >= 0) loss[t] += det_log((double)sum[t]);
}
/* What panel_loss has left in the logits of group g becomes the derivative by
 * them: (probability - [o is the target]) share, share = 1 / targets that
 * count; 0 where the target does not.
 * forward: loss = log sum exp(logit - max) + max - logit[target] */
static inline void panel_loss_data(SpPanel logits, size_t g, size_t V,
                                   const int32_t *target, const float *sum,
                                   float share) {
    float scale[LINE];
    for (size_t t = 0; t < LINE; t++)
        scale[t] = target[t] >= 0 ? share / sum[t] : 0;
    for (size_t o = 0; o < V; o++)
        for (size_t v = 0; v < LINE; v += LANES) {
            float *at = panel_line(logits, g, o) + v;
            vf_store(at, vf_load(at) * vf_load(scale + v));
        }
    for (size_t t = 0; t < LINE; t++)
        if (target[t] >= 0)
            panel_line(logits, g, (size_t)target[t])[t] -= share;
}
#endif
