/* gpt.h: the model, twice.
 *
 * First the specification: GPT-2's forward pass, loss and backward pass in
 * double precision, as plain loops. It is what to read first, what the tests
 * compare with, and the truth of `train verify`, which judges the numbers of
 * other programs. Then the machine's version: the same mathematics as stages,
 * each of which makes panels from panels (sparse.h), in float32, with a fixed
 * order of every sum. The two are written independently and must agree to
 * float32's rounding. What is done to a panel, besides the products, is in
 * data/panel/; who fires the stages, and when, in data/run/schedule.h.
 *
 * It refuses to be general: one architecture (learned positions, norms before
 * attention and MLP, GELU in its tanh form, a tied head), one precision.
 *
 * Letters     B sequences    b = 0 .. B-1      N = B T tokens    n = 0 .. N-1
 *             T positions    t = 0 .. T-1      V vocabulary      v = 0 .. V-1
 *             C channels     i = 0 .. C-1      L layers          l = 0 .. L-1
 *             NH heads       h = 0 .. NH-1     hs = C / NH channels of a head
 *             IC, OC         inputs i and outputs o of a linear layer
 *             inp, out       what a function reads and what it makes
 *             dinp, dout     the derivatives of the loss by them
 *             (B,T,C)        a shape; the last one runs fastest in memory
 *
 * The model   x of layer 0 = wte[token] + wpe[position]
 *             every layer:   mid    = x   + c_proj(attention(c_attn(ln_1(x))))
 *                            next x = mid + c_proj(GELU(c_fc(ln_2(mid))))
 *             logits = ln_f(x of layer L) times wte transposed
 *             loss   = mean over tokens of -log softmax(logits)[target]
 *
 * The c_proj of the first line is attn.c_proj, that of the second mlp.c_proj.
 *
 * With dropout, which is for training alone, the x of layer 0, what each c_proj
 * makes and the probabilities of attention are dropped, each number with chance
 * p: multiplied by 0, and by 1 / (1 - p) if it stays.
 *
 * Parameters have the names and shapes of Hugging Face's GPT-2, in one table:
 * data/panel/weights.h. */
#ifndef GPT_H
#define GPT_H
#include "data/panel/heads.h"

/* ========================================================================== *
 *  The specification                                                         *
 * ========================================================================== *
 *
 * Every function of the forward pass is followed by its backward. The backward
 * is given dout, the derivative of the loss by what the forward made, and finds
 * the derivatives by what the forward read. Where it differentiates a line of
 * the forward, it quotes that line:
 *
 *     forward: out[o] += inp[i] * w[i][o]
 *
 * means that dinp[i] gains dout[o] w[i][o] for every o, and dw[i][o] gains
 * dout[o] inp[i]. In the first comment of a function, "=" stands behind what it
 * sets and "+=" behind what it adds to. Derivatives by parameters are added to,
 * for every token adds its share. */

/* ---- GELU ---------------------------------------------------------------- */

static const double SPEC_GELU = 0.7978845608028654;     /* sqrt(2 / pi) */

/* The simplest pair: GELU in its tanh form (Hendrycks and Gimpel 2016). */
static inline double spec_gelu(double x) {
    return 0.5 * x * (1 + tanh(SPEC_GELU * (x + 0.044715 * x * x * x)));
}
/* Its derivative by x: the product rule, with tanh' = 1 - tanh^2. */
static inline double spec_gelu_slope(double x) {
    /* forward: 0.5 * x * (1 + tanh(SPEC_GELU * (x + 0.044715 * x * x * x))) */
    const double tanh_u = tanh(SPEC_GELU * (x + 0.044715 * x * x * x));
    const double slope_cubic = 1 + 3 * 0.044715 * x * x;
    return 0.5 * (1 + tanh_u) +
           0.5 * x * (1 - tanh_u * tanh_u) * SPEC_GELU * slope_cubic;
}

/* The small print that is most often got wrong. `train verify` tries others,
 * to name the fault of another program; all else keeps SPEC_GPT2. */
typedef struct {
    double eps, eps_outside;    /* LayerNorm divides by sqrt(var + eps) +
                                 * eps_outside, which is 0 in GPT-2 */
    size_t ahead;               /* later tokens that one attends to: 0 */
    double (*gelu)(double);
    double (*gelu_slope)(double);
} SpecRules;
static const SpecRules SPEC_GPT2 = {
    .eps = 1e-5,
    .eps_outside = 0,
    .ahead = 0,
    .gelu = spec_gelu,
    .gelu_slope = spec_gelu_slope,
};

/* n zeroes; freed with free(). */
static inline double *spec_array(size_t n) {
    return mem_new(n, sizeof(double));
}

/* ---- linear layers: c_attn, c_proj, c_fc --------------------------------- */

/* out (N,OC) from inp (N,IC), w (IC,OC) and b (OC):
 *
 *     out[n][o] = b[o] + sum over i of inp[n][i] w[i][o]
 *
 * The loop over o is innermost because there w is contiguous; each out[o] still
 * sums over i in ascending order. */
static inline void spec_linear(double *out, const double *inp,
                               const double *w, const double *b, size_t N,
                               size_t IC, size_t OC) {
    for (size_t n = 0; n < N; n++) {
        double *out_n = out + n * OC;               /* (OC) */
        const double *inp_n = inp + n * IC;         /* (IC) */
        for (size_t o = 0; o < OC; o++) out_n[o] = b[o];
        for (size_t i = 0; i < IC; i++) {
            const double *w_i = w + i * OC;         /* (OC) */
            for (size_t o = 0; o < OC; o++) out_n[o] += inp_n[i] * w_i[o];
        }
    }
}

/* dinp (N,IC) =, dw (IC,OC) +=, db (OC) +=, from dout (N,OC); inp (N,IC) and
 * w (IC,OC) as in the forward. dinp is set, not added to, because nothing else
 * reads what a linear layer reads. */
static inline void spec_linear_backward(double *dinp, double *dw, double *db,
                                        const double *dout, const double *inp,
                                        const double *w, size_t N, size_t IC,
                                        size_t OC) {
    for (size_t n = 0; n < N; n++) {
        double *dinp_n = dinp + n * IC;             /* (IC) */
        const double *dout_n = dout + n * OC;       /* (OC) */
        const double *inp_n = inp + n * IC;         /* (IC) */

        /* forward: out[o] = b[o] */
        for (size_t o = 0; o < OC; o++) db[o] += dout_n[o];

        /* forward: out[o] += inp[i] * w[i][o] */
        for (size_t i = 0; i < IC; i++) {
            const double *w_i = w + i * OC;         /* (OC) */
            double *dw_i = dw + i * OC;             /* (OC) */
            double sum = 0;
            for (size_t o = 0; o < OC; o++) {
                sum += dout_n[o] * w_i[o];
                dw_i[o] += dout_n[o] * inp_n[i];
            }
            dinp_n[i] = sum;
        }
    }
}

/* ---- LayerNorm: ln_1, ln_2, ln_f ----------------------------------------- */

/* The mean of x (C). */
static inline double spec_mean(const double *x, size_t C) {
    double mean = 0;
    for (size_t i = 0; i < C; i++) mean += x[i] / (double)C;
    return mean;
}
/* The variance of x (C), with 1 / C. */
static inline double spec_variance(const double *x, double mean, size_t C) {
    double var = 0;
    for (size_t i = 0; i < C; i++)
        var += (x[i] - mean) * (x[i] - mean) / (double)C;
    return var;
}

/* out (N,C) from inp (N,C), gain w (C) and bias b (C), each row by itself (Ba,
 * Kiros and Hinton 2016), mean and var being over its C numbers:
 *
 *     out[i] = w[i] hat[i] + b[i],   hat[i] = (inp[i] - mean) rstd
 *     rstd   = 1 / sqrt(var + eps) */
static inline void spec_layernorm(double *out, const double *inp,
                                  const double *w, const double *b, size_t N,
                                  size_t C, const SpecRules *rules) {
    for (size_t n = 0; n < N; n++) {
        double *out_n = out + n * C;                /* (C) */
        const double *inp_n = inp + n * C;          /* (C) */
        const double mean = spec_mean(inp_n, C);
        const double var = spec_variance(inp_n, mean, C);
        const double rstd = 1 / (sqrt(var + rules->eps) + rules->eps_outside);
        for (size_t i = 0; i < C; i++)
            out_n[i] = w[i] * (inp_n[i] - mean) * rstd + b[i];
    }
}

/* dinp (N,C) +=, dw (C) +=, db (C) +=, from dout (N,C); inp (N,C) and w (C) as
 * in the forward. With dhat = dout w, the derivative by hat,
 *
 *     dinp[i] += rstd (dhat[i] - mean of dhat
 *                              - hat[i] times the mean of dhat hat)
 *
 * The first mean is there because every inp[i] of the row moves mean, the
 * second because it moves rstd. dinp is added to, because what a norm reads
 * goes around it too, on the residual stream. */
static inline void spec_layernorm_backward(double *dinp, double *dw, double *db,
                                           const double *dout,
                                           const double *inp, const double *w,
                                           size_t N, size_t C,
                                           const SpecRules *rules) {
    for (size_t n = 0; n < N; n++) {
        double *dinp_n = dinp + n * C;              /* (C) */
        const double *dout_n = dout + n * C;        /* (C) */
        const double *inp_n = inp + n * C;          /* (C) */
        const double mean = spec_mean(inp_n, C);
        const double var = spec_variance(inp_n, mean, C);
        const double root = sqrt(var + rules->eps);
        const double rstd = 1 / (root + rules->eps_outside);

        /* forward: out[i] = w[i] * (inp[i] - mean) * rstd + b[i] */
        double dhat_mean = 0;
        double dhat_hat_mean = 0;
        for (size_t i = 0; i < C; i++) {
            const double hat = (inp_n[i] - mean) * rstd;
            const double dhat = dout_n[i] * w[i];
            dw[i] += dout_n[i] * hat;
            db[i] += dout_n[i];
            dhat_mean += dhat / (double)C;
            dhat_hat_mean += dhat * hat / (double)C;
        }

        /* and forward: rstd = 1 / (root + eps_outside), of which inp[i] moves
         * root, by slope / C. As GPT-2's eps_outside is 0, slope is hat */
        for (size_t i = 0; i < C; i++) {
            const double dhat = dout_n[i] * w[i];
            const double slope = (inp_n[i] - mean) / root;
            dinp_n[i] += rstd * (dhat - dhat_mean - slope * dhat_hat_mean);
        }
    }
}

/* ---- dropout ------------------------------------------------------------- */

/* Which numbers are dropped says data/panel/drop.h. A Drop is one place in one
 * sequence; a row is a token's position, a column a feature or, in attention, a
 * key's position. What a number is multiplied by: 0 if it is dropped, else
 * 1 / (1 - share). */
static inline double spec_factor(Drop d, size_t row, size_t column) {
    return drop_keeps(d, row, column) ? 1 / (1 - d.share) : 0;
}
/* out (B,T,C) = inp (B,T,C) times the factors of a place, and so its backward;
 * out may be inp. The place has the number k of a parameter: the x of layer 0
 * is at WTE, what a c_proj makes at PROJW or FC2W of its layer. */
static inline void spec_drop(double *out, const double *inp,
                             const Dropout *dropout, size_t k, size_t B,
                             size_t T, size_t C) {
    for (size_t b = 0; b < B; b++) {
        const Drop d = drop_output(dropout, k, b);
        for (size_t t = 0; t < T; t++)
            for (size_t i = 0; i < C; i++) {
                const size_t n = (b * T + t) * C + i;
                out[n] = inp[n] * spec_factor(d, t, i);
            }
    }
}

/* ---- attention ----------------------------------------------------------- *
 *
 * A row of qkv (3C) holds a token's queries, its keys and its values, C numbers
 * each; of every C, a head has hs:
 *
 *     | q head 0 | q head 1 | ... | k head 0 | ... | v head 0 | ... |
 *     0          hs         2hs   C                2C               3C */

/* How many tokens token t attends to: 0 .. t, for in GPT-2 `ahead` is 0. */
static inline size_t spec_seen(size_t t, size_t T, size_t ahead) {
    return size_min(t + 1 + ahead, T);
}

/* out (B,T,C) and prob (B,NH,T,T) from qkv (B,T,3C), for each sequence, head
 * and token by itself (Vaswani et al. 2017):
 *
 *     score[t2] = sum over i of query[i] key[t2][i] / sqrt(hs)    t2 = 0 .. t
 *     prob[t2]  = exp(score[t2]) / sum over t3 of exp(score[t3])
 *     out[i]    = sum over t2 of prob[t2] factor[t2] value[t2][i]
 *
 * factor is dropout's, which asks for the layer l: 1 outside of training.
 * A row of prob holds the scores, then their exponentials, then what its name
 * says. The largest score is subtracted from all, so that no exponential
 * overflows; it cancels in the quotient. */
static inline void spec_attention(double *out, double *prob, const double *qkv,
                                  size_t B, size_t T, size_t C, size_t NH,
                                  size_t ahead, size_t l,
                                  const Dropout *dropout) {
    const size_t hs = C / NH;
    const double root = sqrt((double)hs);
    for (size_t b = 0; b < B; b++) {
        for (size_t h = 0; h < NH; h++) {
            /* rows of hs, one a token, 3C apart */
            const double *queries = qkv + b * T * 3 * C + h * hs;   /* (T,hs) */
            const double *keys = queries + C;                       /* (T,hs) */
            const double *values = queries + 2 * C;                 /* (T,hs) */
            const Drop drop = drop_head(dropout, gpt_layer(l, QKVW), h, b);
            for (size_t t = 0; t < T; t++) {
                const size_t seen = spec_seen(t, T, ahead);
                const double *query = queries + t * 3 * C;          /* (hs) */
                double *row = prob + ((b * NH + h) * T + t) * T;    /* (T) */
                double *mix = out + (b * T + t) * C + h * hs;       /* (hs) */

                /* pass 1: scores and their maximum */
                double max = -INFINITY;
                for (size_t t2 = 0; t2 < seen; t2++) {
                    const double *key = keys + t2 * 3 * C;          /* (hs) */
                    double score = 0;
                    for (size_t i = 0; i < hs; i++)
                        score += query[i] * key[i] / root;
                    row[t2] = score;
                    if (score > max) max = score;
                }

                /* pass 2: exponentials and their sum */
                double sum = 0;
                for (size_t t2 = 0; t2 < seen; t2++) {
                    row[t2] = exp(row[t2] - max);
                    sum += row[t2];
                }

                /* pass 3: normalise */
                for (size_t t2 = 0; t2 < seen; t2++) row[t2] /= sum;

                /* pass 4: mix the values */
                for (size_t i = 0; i < hs; i++) mix[i] = 0;
                for (size_t t2 = 0; t2 < seen; t2++) {
                    const double *value = values + t2 * 3 * C;      /* (hs) */
                    const double factor = spec_factor(drop, t, t2);
                    for (size_t i = 0; i < hs; i++)
                        mix[i] += row[t2] * factor * value[i];
                }
            }
        }
    }
}

/* dqkv (B,T,3C) +=, from dout (B,T,C); prob (B,NH,T,T) and qkv (B,T,3C) as the
 * forward left them. The same four passes, the last one first. A token's query
 * has its derivative from its own row of prob alone; its key and value gather
 * theirs from the rows of all tokens that attend to it.
 *
 * A row came about in two passes: e[t2] = exp(score[t2] - max), then
 * row[t2] = e[t2] / sum. The more an e[t2] grows, the more its own row[t2]
 * grows, but through sum the whole row shrinks; and exp' = exp:
 *
 *     pass 3    de[t2]     = (drow[t2] - mean) / sum
 *               mean       = sum over t2 of row[t2] drow[t2]
 *     pass 2    dscore[t2] = e[t2] de[t2] = row[t2] (drow[t2] - mean)
 *
 * Neither sum nor e need to be kept. max cancels, so it has no derivative. */
static inline void spec_attention_backward(double *dqkv, const double *dout,
                                           const double *prob,
                                           const double *qkv, size_t B,
                                           size_t T, size_t C, size_t NH,
                                           size_t ahead, size_t l,
                                           const Dropout *dropout) {
    const size_t hs = C / NH;
    const double root = sqrt((double)hs);
    double *drow = spec_array(T);
    double *dscore = spec_array(T);
    for (size_t b = 0; b < B; b++) {
        for (size_t h = 0; h < NH; h++) {
            const double *queries = qkv + b * T * 3 * C + h * hs;   /* (T,hs) */
            const double *keys = queries + C;                       /* (T,hs) */
            const double *values = queries + 2 * C;                 /* (T,hs) */
            double *dqueries = dqkv + b * T * 3 * C + h * hs;       /* (T,hs) */
            double *dkeys = dqueries + C;                           /* (T,hs) */
            double *dvalues = dqueries + 2 * C;                     /* (T,hs) */
            const Drop drop = drop_head(dropout, gpt_layer(l, QKVW), h, b);
            for (size_t t = 0; t < T; t++) {
                const size_t seen = spec_seen(t, T, ahead);
                const double *query = queries + t * 3 * C;          /* (hs) */
                double *dquery = dqueries + t * 3 * C;              /* (hs) */
                const double *row = prob + ((b * NH + h) * T + t) * T;
                const double *dmix = dout + (b * T + t) * C + h * hs; /* (hs) */

                /* pass 4, forward: mix[i] += row[t2] * factor * value[i] */
                for (size_t t2 = 0; t2 < seen; t2++) {
                    const double *value = values + t2 * 3 * C;      /* (hs) */
                    double *dvalue = dvalues + t2 * 3 * C;          /* (hs) */
                    const double factor = spec_factor(drop, t, t2);
                    drow[t2] = 0;
                    for (size_t i = 0; i < hs; i++) {
                        drow[t2] += dmix[i] * factor * value[i];
                        dvalue[i] += row[t2] * factor * dmix[i];
                    }
                }

                /* pass 3, forward: row[t2] /= sum */
                double mean = 0;
                for (size_t t2 = 0; t2 < seen; t2++)
                    mean += row[t2] * drow[t2];

                /* pass 2, forward: row[t2] = exp(row[t2] - max) */
                for (size_t t2 = 0; t2 < seen; t2++)
                    dscore[t2] = row[t2] * (drow[t2] - mean);

                /* pass 1, forward: score += query[i] * key[i] / root */
                for (size_t t2 = 0; t2 < seen; t2++) {
                    const double *key = keys + t2 * 3 * C;          /* (hs) */
                    double *dkey = dkeys + t2 * 3 * C;              /* (hs) */
                    const double dproduct = dscore[t2] / root;
                    for (size_t i = 0; i < hs; i++) {
                        dquery[i] += dproduct * key[i];
                        dkey[i] += dproduct * query[i];
                    }
                }
            }
        }
    }
    free(drow);
    free(dscore);
}

/* ---- the loss ------------------------------------------------------------ */

/* The largest of x (V). */
static inline double spec_max(const double *x, size_t V) {
    double max = x[0];
    for (size_t v = 0; v < V; v++)
        if (x[v] > max) max = x[v];
    return max;
}
/* The sum of exp(x[v] - max) over x (V). */
static inline double spec_exp_sum(const double *x, double max, size_t V) {
    double sum = 0;
    for (size_t v = 0; v < V; v++) sum += exp(x[v] - max);
    return sum;
}

/* The mean over tokens of -log softmax(logits)[target], in nats; logits (N,V),
 * targets (N), each below V. For one token, the maximum taken out of the sum:
 *
 *     -log(exp(logit[target]) / sum over v of exp(logit[v]))
 *         = log(sum over v of exp(logit[v] - max)) + max - logit[target] */
static inline double spec_cross_entropy(const double *logits,
                                        const int32_t *targets, size_t N,
                                        size_t V) {
    double loss = 0;
    for (size_t n = 0; n < N; n++) {
        const double *row = logits + n * V;         /* (V) */
        const double max = spec_max(row, V);
        const double sum = spec_exp_sum(row, max, V);
        loss += (log(sum) + max - row[targets[n]]) / (double)N;
    }
    return loss;
}

/* dlogits (N,V) =, a logit's probability, less 1 if it is the target's, / N:
 * the derivative of log(sum) + max by row[v] is exp(row[v] - max) / sum. */
static inline void spec_cross_entropy_backward(double *dlogits,
                                               const double *logits,
                                               const int32_t *targets, size_t N,
                                               size_t V) {
    for (size_t n = 0; n < N; n++) {
        double *drow = dlogits + n * V;             /* (V) */
        const double *row = logits + n * V;         /* (V) */
        const double max = spec_max(row, V);
        const double sum = spec_exp_sum(row, max, V);

        /* forward: loss += (log(sum) + max - row[targets[n]]) / N */
        for (size_t v = 0; v < V; v++) {
            const double prob = exp(row[v] - max) / sum;
            const double wanted = v == (size_t)targets[n] ? 1 : 0;
            drow[v] = (prob - wanted) / (double)N;
        }
    }
}

/* ---- the whole model ----------------------------------------------------- */

/* What a layer computes, kept for the backward pass. */
struct SpecLayer {
    double *x;                  /* (B,T,C) its input */
    double *ln1;                /* (B,T,C) = ln_1(x) */
    double *qkv;                /* (B,T,3C) = c_attn(ln1) */
    double *prob;               /* (B,NH,T,T) of attention */
    double *att;                /* (B,T,C) = attention(qkv) */
    double *mid;                /* (B,T,C) = x + attn.c_proj(att) */
    double *ln2;                /* (B,T,C) = ln_2(mid) */
    double *fc;                 /* (B,T,4C) = c_fc(ln2) */
    double *gelu;               /* (B,T,4C) = GELU(fc) */
};

/* One forward and backward pass. w and dw hold one array per parameter, by its
 * number: that of layer l's c_attn is w[gpt_layer(l, QKVW)]. */
typedef struct {
    GptConfig c;
    size_t B, T;
    SpecRules rules;
    Dropout dropout;            /* nothing is dropped, unless it is set */
    GptParam *table;            /* [parameters of the model] */
    double **w, **dw;           /* [the same] arrays of the table's shapes */
    struct SpecLayer *layer;    /* [L + 1]; the last has only an x, which is
                                 * what the layers make */
    double *lnf;                /* (B,T,C) */
    double *logits, *dlogits;   /* (B,T,V) */
    double loss;
} Spec;

static inline double **spec_arrays(const GptParam *table, size_t count) {
    double **array = mem_new(count, sizeof *array);
    for (size_t k = 0; k < count; k++)
        array[k] = spec_array(gpt_elements(&table[k]));
    return array;
}

/* A model whose weights are all 0, for B sequences of T tokens; freed with
 * spec_free. */
static inline Spec *spec_new(GptConfig c, size_t B, size_t T) {
    const size_t N = B * T;
    Spec *s = mem_new(1, sizeof *s);
    *s = (Spec){.c = c, .B = B, .T = T, .rules = SPEC_GPT2};
    s->table = gpt_table(&c);
    s->w = spec_arrays(s->table, gpt_count(&c));
    s->dw = spec_arrays(s->table, gpt_count(&c));
    s->layer = mem_new(c.L + 1, sizeof *s->layer);
    for (size_t l = 0; l < c.L; l++)
        s->layer[l] = (struct SpecLayer){
            .x = spec_array(N * c.C),
            .ln1 = spec_array(N * c.C),
            .qkv = spec_array(N * 3 * c.C),
            .prob = spec_array(B * c.NH * T * T),
            .att = spec_array(N * c.C),
            .mid = spec_array(N * c.C),
            .ln2 = spec_array(N * c.C),
            .fc = spec_array(N * 4 * c.C),
            .gelu = spec_array(N * 4 * c.C),
        };
    s->layer[c.L].x = spec_array(N * c.C);
    s->lnf = spec_array(N * c.C);
    s->logits = spec_array(N * c.V);
    s->dlogits = spec_array(N * c.V);
    return s;
}
static inline void spec_free(Spec *s) {
    for (size_t k = 0; k < gpt_count(&s->c); k++) {
        free(s->w[k]);
        free(s->dw[k]);
    }
    for (size_t l = 0; l <= s->c.L; l++) {
        struct SpecLayer *act = &s->layer[l];
        free(act->x);
        free(act->ln1);
        free(act->qkv);
        free(act->prob);
        free(act->att);
        free(act->mid);
        free(act->ln2);
        free(act->fc);
        free(act->gelu);
    }
    free(s->w);
    free(s->dw);
    free(s->layer);
    free(s->lnf);
    free(s->logits);
    free(s->dlogits);
    free(s->table);
    free(s);
}

/* The first layer's x (B,T,C) from inputs (B,T), and dropout:
 *
 *     x[b][t] = wte[inputs[b][t]] + wpe[t] */
static inline void spec_embed(Spec *s, const int32_t *inputs) {
    const size_t C = s->c.C;
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->T; t++) {
            const size_t n = b * s->T + t;
            const size_t v = (size_t)inputs[n];
            const double *token = s->w[WTE] + v * C;        /* (C) */
            const double *position = s->w[WPE] + t * C;     /* (C) */
            double *x = s->layer[0].x + n * C;              /* (C) */
            for (size_t i = 0; i < C; i++) x[i] = token[i] + position[i];
        }
    spec_drop(s->layer[0].x, s->layer[0].x, &s->dropout, WTE, s->B, s->T, C);
}
/* dw of wte (V,C) +=, of wpe (T,C) +=, from dx (B,T,C), which is used up. */
static inline void spec_embed_backward(Spec *s, const int32_t *inputs,
                                       double *dx) {
    const size_t C = s->c.C;
    /* forward: x = drop(x) */
    spec_drop(dx, dx, &s->dropout, WTE, s->B, s->T, C);
    for (size_t b = 0; b < s->B; b++)
        for (size_t t = 0; t < s->T; t++) {
            const size_t n = b * s->T + t;
            const size_t v = (size_t)inputs[n];
            double *dtoken = s->dw[WTE] + v * C;            /* (C) */
            double *dposition = s->dw[WPE] + t * C;         /* (C) */
            const double *dx_n = dx + n * C;                /* (C) */

            /* forward: x[i] = token[i] + position[i] */
            for (size_t i = 0; i < C; i++) {
                dtoken[i] += dx_n[i];
                dposition[i] += dx_n[i];
            }
        }
}

/* The residual stream goes around a branch: out (count) += inp (count). */
static inline void spec_residual(double *out, const double *inp, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += inp[i];
}

/* out (B,T,C) = inp (B,T,C) times dropout's factors of what layer l's parameter k,
 * PROJW or FC2W, makes: forward of that itself, backward of its derivative. */
static inline void spec_drop_branch(const Spec *s, size_t l, int k, double *out,
                                    const double *inp) {
    spec_drop(out, inp, &s->dropout, gpt_layer(l, k), s->B, s->T, s->c.C);
}

/* Layer l, from its x (B,T,C) to the next layer's. */
static inline void spec_layer(Spec *s, size_t l) {
    const size_t N = s->B * s->T;
    const size_t C = s->c.C;
    struct SpecLayer *act = &s->layer[l];
    double **w = s->w + gpt_layer(l, 0);        /* [PER_LAYER] */
    double *next = s->layer[l + 1].x;           /* (B,T,C) */

    spec_layernorm(act->ln1, act->x, w[LN1W], w[LN1B], N, C, &s->rules);
    spec_linear(act->qkv, act->ln1, w[QKVW], w[QKVB], N, C, 3 * C);
    spec_attention(act->att, act->prob, act->qkv, s->B, s->T, C, s->c.NH,
                   s->rules.ahead, l, &s->dropout);
    spec_linear(act->mid, act->att, w[PROJW], w[PROJB], N, C, C);
    spec_drop_branch(s, l, PROJW, act->mid, act->mid);
    spec_residual(act->mid, act->x, N * C);

    spec_layernorm(act->ln2, act->mid, w[LN2W], w[LN2B], N, C, &s->rules);
    spec_linear(act->fc, act->ln2, w[FCW], w[FCB], N, C, 4 * C);
    for (size_t i = 0; i < N * 4 * C; i++)
        act->gelu[i] = s->rules.gelu(act->fc[i]);
    spec_linear(next, act->gelu, w[FC2W], w[FC2B], N, 4 * C, C);
    spec_drop_branch(s, l, FC2W, next, next);
    spec_residual(next, act->mid, N * C);
}

/* The same lines, the last one first. dx (B,T,C) comes as the derivative by
 * next, becomes that by mid, and goes as that by x. It flows back along the
 * residual stream: each out += inp passes it on as it is, both to inp and to
 * the branch that made out; at the branch's other end the norm adds to it. */
static inline void spec_layer_backward(Spec *s, size_t l, double *dx) {
    const size_t N = s->B * s->T;
    const size_t C = s->c.C;
    const struct SpecLayer *act = &s->layer[l];
    double **w = s->w + gpt_layer(l, 0);        /* [PER_LAYER] */
    double **dw = s->dw + gpt_layer(l, 0);      /* [PER_LAYER] */
    double *dbranch = spec_array(N * C);        /* (B,T,C) */
    double *dgelu = spec_array(N * 4 * C);      /* (B,T,4C) */
    double *dfc = spec_array(N * 4 * C);        /* (B,T,4C) */
    double *dln2 = spec_array(N * C);           /* (B,T,C) */
    double *datt = spec_array(N * C);           /* (B,T,C) */
    double *dqkv = spec_array(N * 3 * C);       /* (B,T,3C) zero */
    double *dln1 = spec_array(N * C);           /* (B,T,C) */

    /* forward: next = mid + drop(linear(gelu(linear(ln_2(mid))))) */
    spec_drop_branch(s, l, FC2W, dbranch, dx);
    spec_linear_backward(dgelu, dw[FC2W], dw[FC2B],
                         dbranch, act->gelu, w[FC2W], N, 4 * C, C);
    for (size_t i = 0; i < N * 4 * C; i++)
        dfc[i] = dgelu[i] * s->rules.gelu_slope(act->fc[i]);
    spec_linear_backward(dln2, dw[FCW], dw[FCB],
                         dfc, act->ln2, w[FCW], N, C, 4 * C);
    spec_layernorm_backward(dx, dw[LN2W], dw[LN2B],
                            dln2, act->mid, w[LN2W], N, C, &s->rules);

    /* forward: mid = x + drop(linear(attention(linear(ln_1(x))))) */
    spec_drop_branch(s, l, PROJW, dbranch, dx);
    spec_linear_backward(datt, dw[PROJW], dw[PROJB],
                         dbranch, act->att, w[PROJW], N, C, C);
    spec_attention_backward(dqkv, datt, act->prob, act->qkv, s->B, s->T, C,
                            s->c.NH, s->rules.ahead, l, &s->dropout);
    spec_linear_backward(dln1, dw[QKVW], dw[QKVB],
                         dqkv, act->ln1, w[QKVW], N, C, 3 * C);
    spec_layernorm_backward(dx, dw[LN1W], dw[LN1B],
                            dln1, act->x, w[LN1W], N, C, &s->rules);

    free(dbranch);
    free(dgelu);
    free(dfc);
    free(dln2);
    free(datt);
    free(dqkv);
    free(dln1);
}

/* logits (B,T,V) from lnf (B,T,C), with wte (V,C) for the weights: the head is
 * tied to the embedding (Press and Wolf 2017), and has no bias.
 *
 *     logits[n][v] = sum over i of lnf[n][i] wte[v][i] */
static inline void spec_head(Spec *s) {
    const size_t C = s->c.C;
    const size_t V = s->c.V;
    for (size_t n = 0; n < s->B * s->T; n++) {
        const double *lnf_n = s->lnf + n * C;       /* (C) */
        for (size_t v = 0; v < V; v++) {
            const double *token = s->w[WTE] + v * C;    /* (C) */
            double logit = 0;
            for (size_t i = 0; i < C; i++) logit += lnf_n[i] * token[i];
            s->logits[n * V + v] = logit;
        }
    }
}
/* dlnf (B,T,C) +=, dw of wte (V,C) +=, from dlogits (B,T,V). */
static inline void spec_head_backward(Spec *s, double *dlnf) {
    const size_t C = s->c.C;
    const size_t V = s->c.V;
    for (size_t n = 0; n < s->B * s->T; n++) {
        const double *lnf_n = s->lnf + n * C;       /* (C) */
        double *dlnf_n = dlnf + n * C;              /* (C) */
        for (size_t v = 0; v < V; v++) {
            const double *token = s->w[WTE] + v * C;    /* (C) */
            double *dtoken = s->dw[WTE] + v * C;        /* (C) */
            const double dlogit = s->dlogits[n * V + v];

            /* forward: logit += lnf_n[i] * token[i] */
            for (size_t i = 0; i < C; i++) {
                dlnf_n[i] += dlogit * token[i];
                dtoken[i] += dlogit * lnf_n[i];
            }
        }
    }
}

/* s->logits =, s->loss = and s->dlogits =, with which the backward pass begins;
 * from inputs and targets (B,T). */
static inline void spec_forward(Spec *s, const int32_t *inputs,
                                const int32_t *targets) {
    const size_t N = s->B * s->T;
    const size_t C = s->c.C;
    const size_t V = s->c.V;
    const size_t L = s->c.L;
    const double *gain = s->w[gpt_layer(L, LNFW)];      /* (C) */
    const double *bias = s->w[gpt_layer(L, LNFB)];      /* (C) */

    spec_embed(s, inputs);
    for (size_t l = 0; l < L; l++) spec_layer(s, l);
    spec_layernorm(s->lnf, s->layer[L].x, gain, bias, N, C, &s->rules);
    spec_head(s);
    s->loss = spec_cross_entropy(s->logits, targets, N, V);
    spec_cross_entropy_backward(s->dlogits, s->logits, targets, N, V);
}

/* After spec_forward on the same inputs: s->dw = the gradient of the loss. */
static inline void spec_backward(Spec *s, const int32_t *inputs) {
    const size_t N = s->B * s->T;
    const size_t C = s->c.C;
    const size_t L = s->c.L;
    const double *gain = s->w[gpt_layer(L, LNFW)];      /* (C) */
    double *dgain = s->dw[gpt_layer(L, LNFW)];          /* (C) */
    double *dbias = s->dw[gpt_layer(L, LNFB)];          /* (C) */
    double *dlnf = spec_array(N * C);                   /* (B,T,C) zero */
    double *dx = spec_array(N * C);                     /* (B,T,C) zero */
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        memset(s->dw[k], 0, gpt_elements(&s->table[k]) * sizeof(double));

    spec_head_backward(s, dlnf);
    spec_layernorm_backward(dx, dgain, dbias, dlnf, s->layer[L].x, gain, N, C,
                            &s->rules);
    for (size_t l = L; l-- > 0;) spec_layer_backward(s, l, dx);
    spec_embed_backward(s, inputs, dx);
    free(dlnf);
    free(dx);
}

/* ========================================================================== *
 *  The machine's version                                                     *
 * ========================================================================== */

/* ---- dropout ------------------------------------------------------------- */

/* What to drop of the output of the stage's parameter. */
static inline Drop gpt_drop_here(const Firing *f) {
    if (!f->r->dropping) return (Drop){.below = 0};
    const size_t k = f->stage->param == PROG_NONE ? WTE : (size_t)f->stage->param;
    return drop_output(&f->r->dropout, k, gpt_sequence(f));
}
/* dy = dout times the factors by which the forward multiplied y (C).
 * forward: out = drop(y) + residual */
static inline void gpt_drop_data(const Firing *f) {
    const SpPanel dout = gpt_in(f, 0);
    const SpPanel dy = gpt_out(f, 0);
    const Drop drop = gpt_drop_here(f);
    for (size_t g = 0; g < f->panel.groups; g++)
        for (size_t i = 0; i < f->r->m->c.C; i++)
            drop_copy(drop, panel_line(dy, g, i), panel_line(dout, g, i),
                      gpt_position(f, g), i, 1);
}

/* ---- embedding ----------------------------------------------------------- */

/* The inputs (T) of the firing's sequence. */
static inline const int32_t *gpt_inputs(const Firing *f) {
    return f->r->inputs + gpt_sequence(f) * f->r->T;
}
/* x (C) = wte[token] + wpe[position]; idle lanes 0 */
static inline void gpt_embed(const Firing *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const SpPanel x = gpt_out(f, 0);
    const Drop drop = gpt_drop_here(f);
    const int32_t *inputs = gpt_inputs(f);              /* (T) */
    for (size_t g = 0; g < f->panel.groups; g++) {
        const size_t group = f->panel.first + g;
        const float *pos = gpt_w(r, WPE) + group * C * LINE;
        for (size_t j = 0; j < LINE; j++) {
            const size_t t = group * LINE + j;
            const bool idle = t >= r->T;
            const size_t id = idle ? 0 : (size_t)inputs[t];
            const float *word =
                gpt_w(r, WTE) + id / LINE * C * LINE + id % LINE;
            for (size_t i = 0; i < C; i++) {
                const float sum = word[i * LINE] + pos[i * LINE + j];
                panel_line(x, g, i)[j] = idle ? 0 : sum;
            }
        }
        for (size_t i = 0; i < C && drop.below; i++)
            drop_lines(drop, panel_line(x, g, i), group * LINE, i, 1);
    }
}
/* Both rows that were looked up gain dx, features unit .. end-1.
 * forward: x = wte[token] + wpe[position] */
static inline void gpt_embed_weight(const Firing *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const SpPanel dx = gpt_in(f, 0);
    const int32_t *inputs = gpt_inputs(f);              /* (T) */
    for (size_t g = f->panel.groups; g-- > 0;) {
        const size_t t0 = gpt_position(f, g);
        float *pos = r->m->g + r->m->table[WPE].at + t0 * C;
        for (size_t i = f->unit; i < f->end; i++)
            for (size_t j = 0; j < LINE; j++)
                pos[i * LINE + j] += panel_line(dx, g, i)[j];
        for (size_t j = 0; j < LINE && t0 + j < r->T; j++) {
            const size_t id = (size_t)inputs[t0 + j];
            float *word = r->m->lookup_g + id / LINE * C * LINE + id % LINE;
            for (size_t i = f->unit; i < f->end; i++)
                word[i * LINE] += panel_line(dx, g, i)[j];
        }
    }
}

/* ---- norm ---------------------------------------------------------------- */

/* x is the stage's input number `in`; mean and rstd are its side. */
static inline PanelNorm gpt_norm_of(const Firing *f, int in) {
    return (PanelNorm){
        .x = gpt_in(f, in),
        .side = gpt_side(f, 0),
        .gain = gpt_w(f->r, f->stage->param),
        .bias = gpt_w(f->r, f->stage->param + 1),
        .C = f->r->m->c.C,
        .groups = f->panel.groups,
    };
}
/* out (C) = gain hat + bias, hat = (x - mean) rstd */
static inline void gpt_norm(const Firing *f) {
    const PanelNorm n = gpt_norm_of(f, 0);
    panel_norm(&n, gpt_out(f, 0));
}
static inline void gpt_norm_again(const Firing *f) {
    const PanelNorm n = gpt_norm_of(f, 0);
    panel_norm_again(&n, gpt_out(f, 0));
}
/* dgain and dbias of features unit .. end-1 */
static inline void gpt_norm_weight(const Firing *f) {
    const PanelNorm n = gpt_norm_of(f, 1);
    panel_norm_weight(&n, gpt_in(f, 0), f->unit, f->end, f->dw, f->db);
}
/* dx; the third input, if there is one, is what reaches x along the residual
 * stream */
static inline void gpt_norm_data(const Firing *f) {
    const PanelNorm n = gpt_norm_of(f, 1);
    const bool stream = f->stage->df.in[2] != DF_NONE;
    const SpPanel residual = gpt_in(f, stream ? 2 : 0);
    panel_norm_data(&n, gpt_out(f, 0), gpt_in(f, 0), stream ? &residual : NULL);
}

/* ---- linear, and GELU on what it makes ----------------------------------- */

/* The stage's matrix, whose columns name rows of the edge it gathers from or scatters to. */
static inline SpMat gpt_pattern(const Firing *f, SpPanel from) {
    SpMat m = f->r->m->table[f->stage->param].mat;
    const uint32_t *col = m.dense ? from.row : f->col ? f->col : m.col;
    m.col = (uint32_t *)(uintptr_t)col;         /* only read */
    return m;
}
/* The 16 outputs of row block b begin with its bias; the head has none. */
static inline void gpt_begin(const Firing *f, size_t b, SpPanel y) {
    const int k = f->stage->param;
    const float *bias = k == WTE ? NULL : gpt_w(f->r, k + 1) + b * LINE;
    for (size_t g = 0; g < f->panel.groups; g++)
        for (size_t o = 0; o < LINE; o++)
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(y.lines + g * y.stride + o * LINE + v,
                         vf_all(bias ? bias[o] : 0));
}
/* y += W x by row block b of the matrix; y begins at its first output. */
static inline void gpt_multiply(const Firing *f, const SpMat *m, size_t b,
                                SpPanel x, SpPanel y) {
    const size_t lines = m->first[b] - m->first[f->unit];
    const SpBlocks block = {m, b, b + 1};
    sp_forward(block, f->w + lines * LINE, x, y, f->panel.groups);
}
/* The panel from the first of row block b's outputs on, rows as they are. */
static inline SpPanel gpt_block(SpPanel y, size_t b) {
    y.lines = panel_line(y, 0, b * LINE);
    return y;
}

/* y (OC) = W x (IC) + b, row blocks unit .. end-1: the 16 outputs of one begin
 * with the bias and are summed while they are in the cache. */
static inline void gpt_linear(const Firing *f) {
    const SpPanel x = gpt_in(f, 0);
    const SpPanel y = gpt_out(f, 0);
    const SpMat m = gpt_pattern(f, x);
    for (size_t b = f->unit; b < f->end; b++) {
        const SpPanel block = gpt_block(y, b);
        gpt_begin(f, b, block);
        gpt_multiply(f, &m, b, x, block);
    }
}
/* y = drop(W x + b) + residual, the second input. The sum begins with b + residual; but
 * under dropout with b, and the residual is added when the sum is whole. */
static inline void gpt_linear_add(const Firing *f) {
    const Drop drop = gpt_drop_here(f);
    const SpPanel x = gpt_in(f, 0);
    const SpPanel residual = gpt_in(f, 1);
    const SpPanel y = gpt_out(f, 0);
    const SpMat m = gpt_pattern(f, x);
    for (size_t b = f->unit; b < f->end; b++) {
        const SpPanel block = gpt_block(y, b);
        gpt_begin(f, b, block);
        if (drop.below) gpt_multiply(f, &m, b, x, block);
        for (size_t g = 0; g < f->panel.groups; g++) {
            float *lines = panel_line(y, g, b * LINE);      /* (16,16) */
            if (drop.below)
                drop_lines(drop, lines, gpt_position(f, g), b * LINE, LINE);
            panel_add(lines, panel_line(residual, g, b * LINE), LINE);
            panel_ask(panel_line(residual, g, (b + 1) * LINE), LINE);
        }
        if (!drop.below) gpt_multiply(f, &m, b, x, block);
    }
}
/* h = GELU(W x + b); what GELU takes goes to the stage's side, if it has one */
static inline void gpt_linear_gelu(const Firing *f) {
    const SpPanel x = gpt_in(f, 0);
    const SpPanel h = gpt_out(f, 0);
    const SpMat m = gpt_pattern(f, x);
    for (size_t b = f->unit; b < f->end; b++) {
        const SpPanel block = gpt_block(h, b);
        gpt_begin(f, b, block);
        gpt_multiply(f, &m, b, x, block);
        for (size_t g = 0; g < f->panel.groups; g++) {
            float *lines = panel_line(h, g, b * LINE);      /* (16,16) */
            if (f->stage->side[0] != PROG_NONE)
                panel_stream(panel_line(gpt_side(f, 0), g, b * LINE), lines, LINE);
            panel_gelu(lines, LINE);
        }
    }
}
/* dh becomes the derivative by fc, the stage's side or its second input, in
 * place; and h = GELU(fc) again
 * forward: h = GELU(fc) */
static inline void gpt_gelu_data(const Firing *f) {
    const bool kept = f->stage->side[0] != PROG_NONE;
    const SpPanel fc = kept ? gpt_side(f, 0) : gpt_in(f, 1);
    const SpPanel dh = gpt_out(f, 0);
    const SpPanel h = gpt_out(f, 1);
    for (size_t b = f->unit; b < f->end; b++)
        for (size_t g = 0; g < f->panel.groups; g++)
            panel_gelu_data(panel_line(dh, g, b * LINE),
                            panel_line(h, g, b * LINE),
                            panel_line(fc, g, b * LINE), LINE);
}
/* dx = W' dy, rows 16 unit .. 16 end - 1 of dx. Row blocks go on with the sums that
 * those before them began.
 * forward: y = W x + b */
static inline void gpt_linear_data(const Firing *f) {
    SpPanel dx = gpt_out(f, 0);
    const SpMat m = f->slice ? *f->slice : gpt_pattern(f, dx);
    dx.row += f->unit * LINE;
    sp_backward_data((SpBlocks){&m, f->block, f->block_end}, f->w, gpt_in(f, 0), dx,
                     f->panel.groups);
}
/* dw += dy x' of some lines of row block b: those of its outputs o .. end-1. */
static inline void gpt_weight_part(const Firing *f, const SpMat *m, size_t o,
                                   size_t end, float *dw) {
    const size_t b = o / LINE;
    uint32_t first[2] = {sp_part(m->first, o), sp_part(m->first, end)};
    SpMat part = *m;
    SpPanel dy = gpt_in(f, 1);
    part.first = first;
    part.fours = m->fours && (first[0] - m->first[b]) % 4 == 0;
    if (m->dense) part.col += first[0] - m->first[b];
    dy.row += b * LINE;
    sp_backward_weight((SpBlocks){&part, 0, 1}, dw, dy, gpt_in(f, 0),
                       f->panel.groups);
}
/* dw += dy x' and db += dy, units unit .. end-1; the head has no db. A line of
 * weights is of 16 outputs, so the lines of a row block are shared out among its
 * outputs (sp_part): unit o does output o of db, but of dw its share of the lines,
 * for all 16 outputs.
 * forward: y = W x + b */
static inline void gpt_linear_weight(const Firing *f) {
    const SpPanel x = gpt_in(f, 0);
    const SpPanel dy = gpt_in(f, 1);
    const SpMat m = gpt_pattern(f, x);
    const size_t blocks_end = f->end / LINE;
    size_t o = f->unit;
    while (o < f->end) {
        const size_t b = o / LINE;
        float *dw = f->dw + (size_t)(sp_part(m.first, o) -
                                     sp_part(m.first, f->unit)) * LINE;
        const bool whole = o % LINE == 0 && b < blocks_end;
        const SpBlocks blocks = {&m, b, blocks_end};
        const size_t end = whole ? blocks_end * LINE
                                 : size_min(f->end, (b + 1) * LINE);
        if (whole) sp_backward_weight(blocks, dw, dy, x, f->panel.groups);
        else gpt_weight_part(f, &m, o, end, dw);
        o = end;
    }
    if (f->db) panel_add_groups(f->db, dy, f->unit, f->end - f->unit, f->panel.groups);
}

/* ---- the loss ------------------------------------------------------------ */

/* target (16) of the tokens of group g of a panel; -1 where there is none */
static inline void gpt_targets(const Firing *f, size_t g, int32_t *target) {
    const GptRun *r = f->r;
    const size_t b = gpt_sequence(f);
    const size_t t0 = gpt_position(f, g);
    for (size_t t = 0; t < LINE; t++)
        target[t] = t0 + t < r->T ? r->targets[b * r->T + t0 + t] : -1;
}
/* The losses of a panel's tokens; of the logits (V) it leaves, if `data`, the
 * derivatives. */
static inline void gpt_loss_of(const Firing *f, bool data) {
    const SpPanel logits = gpt_in(f, 0);
    const size_t V = f->r->m->c.V;
    for (size_t g = 0; g < f->panel.groups; g++) {
        double *loss = f->r->loss + (f->panel.at + g) * LINE;       /* (16) */
        float sum[LINE];
        int32_t target[LINE];
        gpt_targets(f, g, target);
        panel_loss(loss, sum, logits, g, V, target);
        if (data) panel_loss_data(logits, g, V, target, sum, f->r->dscale);
    }
}
static inline void gpt_loss(const Firing *f) { gpt_loss_of(f, false); }
static inline void gpt_loss_data(const Firing *f) { gpt_loss_of(f, true); }

/* ---- the layer ----------------------------------------------------------- *
 * layer_forward and layer_backward are the layer. They compute nothing: a line
 * appends a stage (attention, attention_data and fc_again two; drop_data and fc_again
 * none if there is nothing to do) to a program (data/panel/program.h), and returns the
 * number of the edge that it makes; _weight makes none. FLOPs are counted as the source
 * has them: a multiply-add is 2, e^x is 8; each output of a matrix has one more, for a
 * bias, the head's too. */

/* The arrays that all layers share, by what lies in them. */
typedef enum {
    IN_N, IN_H, IN_FC, IN_DX, IN_DH, IN_DN, IN_DATT, IN_DQKV, IN_DROP,
    IN_LOGITS, IN_NOTHING
} GptShared;
enum { SHARED = IN_NOTHING + 1 };

/* How a program is made: forward alone, or more. */
enum {
    GPT_FORWARD = 0,
    GPT_TRAIN = 1,
    GPT_DROP = 2,               /* and through dropout */
    GPT_RECOMPUTE = 4           /* and with less kept: see GptBuild.again */
};

/* What the builders of stages share. */
typedef struct {
    Program *p;
    GptConfig c;
    size_t groups;              /* of a sequence */
    bool drop;                  /* some of every residual branch */
    bool again;                 /* what GELU takes is not kept: it is computed
                                 * again when it is needed */
} GptBuild;

/* What layer_forward leaves for layer_backward: edges and arrays, by number. */
typedef struct {
    int x, qkv, att, mid;       /* edges that are kept off chip */
    int norm1, norm2;           /* arrays: each token's mean and rstd */
    int soft;                   /* each query's maximum and 1 / sum */
    int fc;                     /* what GELU takes, or PROG_NONE */
} GptSaved;

/* What a stage's parameter calls it, the rows of the outputs and inputs of its
 * matrix in units of C, and the edge with the derivative by those inputs. */
static const struct {
    const char *name;
    size_t OC, IC;
    const char *dinp;
} GPT_STAGE[PER_LAYER] = {
    [LN1W] = {"ln_1", 1, 1, "dx"},
    [QKVW] = {"attn.c_attn", 3, 1, "dn1"},
    [PROJW] = {"attn.c_proj", 1, 1, "datt"},
    [LN2W] = {"ln_2", 1, 1, "dmid"},
    [FCW] = {"mlp.c_fc", 4, 1, "dn2"},
    [FC2W] = {"mlp.c_proj", 1, 4, "dh"},
};

/* Appends a stage of layer l that belongs to its parameter k (LN1W, QKVW ..),
 * or of the final norm: l = L, k = LNFW. suffix: " dx" .. */
static inline ProgStage *gpt_stage(GptBuild *g, size_t l, int k,
                                   const char *suffix,
                                   void (*fire)(const Firing *)) {
    const bool last = l == g->c.L;
    char name[40];
    snprintf(name, sizeof name, "%s%s", last ? "ln_f" : GPT_STAGE[k].name,
             suffix);
    ProgStage *s = prog_append(g->p, l, name, fire);
    s->param = (int)gpt_layer(l, k);
    return s;
}
/* One whose units are the row blocks of so many rows. */
static inline ProgStage *gpt_matrix_stage(GptBuild *g, size_t l, int k,
                                          const char *suffix, size_t rows,
                                          void (*fire)(const Firing *)) {
    ProgStage *s = gpt_stage(g, l, k, suffix, fire);
    s->df.units = gpt_rows(rows) / LINE;
    s->df.per_line = 2 * LINE;
    return s;
}
/* One whose units are heads, each split by groups of 16 tokens. */
static inline ProgStage *gpt_heads_stage(GptBuild *g, size_t l,
                                         const char *name, size_t split,
                                         void (*fire)(const Firing *)) {
    ProgStage *s = prog_append(g->p, l, name, fire);
    s->cut = BY_HEAD;
    s->split = split;
    s->df.units = g->c.NH * split;
    s->df.whole = split;
    return s;
}
enum { KEY_SPLIT = 16 };    /* units a head's keys are split into, at most */

/* The same, split by keys, which remembers `parts` of them: keys, values and,
 * backward, their gradients. */
static inline ProgStage *gpt_keys_stage(GptBuild *g, size_t l, const char *name,
                                        size_t parts,
                                        void (*fire)(const Firing *)) {
    const size_t split = size_min(g->groups, KEY_SPLIT);
    const size_t each = gpt_groups_each(g->groups, split);
    ProgStage *s = gpt_heads_stage(g, l, name, split, fire);
    s->df.state = each * parts * (g->c.C / g->c.NH);
    return s;
}
/* The same, split by queries, which reads what the stage before it remembers. */
static inline ProgStage *gpt_queries_stage(GptBuild *g, size_t l,
                                           const char *name,
                                           void (*fire)(const Firing *)) {
    ProgStage *s = gpt_heads_stage(g, l, name, g->p->panel, fire);
    s->df.together = 1;
    s->df.recalls = 1;
    return s;
}

/* n = gain (x - mean) rstd + bias */
static inline int norm(GptBuild *g, size_t l, int k, int x, int *side) {
    ProgStage *s = gpt_stage(g, l, k, "", gpt_norm);
    prog_reads(s, x);
    *side = (int)prog_array(g->p, l, "statistics of a norm", 2);
    s->side[0] = *side;
    s->real = g->c.C;
    s->df.writes = 2;
    s->df.per_unit = 8 * (double)g->c.C;
    const char *n = k == LN1W ? "n1" : "n2";
    return prog_makes(s, prog_passing(g->p, l, n, gpt_rows(g->c.C), IN_N));
}
/* One that multiplies edge x by the matrix of its parameter. */
static inline ProgStage *gpt_forward_stage(GptBuild *g, size_t l, int k,
                                           const char *suffix, int x,
                                           void (*fire)(const Firing *)) {
    const size_t rows = GPT_STAGE[k].OC * g->c.C;
    ProgStage *s = gpt_matrix_stage(g, l, k, suffix, rows, fire);
    prog_reads(s, x);
    s->df.weights = true;
    s->df.gather = true;
    s->df.per_unit = LINE;
    return s;
}
/* qkv (3C) = W x (C) + b */
static inline int linear(GptBuild *g, size_t l, int k, int x) {
    const size_t rows = gpt_rows(GPT_STAGE[k].OC * g->c.C);
    ProgStage *s = gpt_forward_stage(g, l, k, "", x, gpt_linear);
    return prog_makes(s, prog_kept(g->p, l, "qkv", rows, "attn.c_attn output"));
}
/* mid, or the next layer's x, = W x + b + residual */
static inline int linear_add(GptBuild *g, size_t l, int k, int x,
                             int residual) {
    const size_t rows = gpt_rows(g->c.C);
    ProgStage *s = gpt_forward_stage(g, l, k, "", x, gpt_linear_add);
    prog_reads(s, residual);
    const int out =
        k == PROJW ? prog_kept(g->p, l, "mid", rows, "attn.c_proj output")
                   : prog_kept(g->p, l + 1, "x", rows, "input");
    return prog_makes(s, out);
}
/* h = GELU(W x + b) */
static inline int linear_gelu(GptBuild *g, size_t l, int k, int x, int *side) {
    const size_t rows = gpt_rows(GPT_STAGE[k].OC * g->c.C);
    ProgStage *s = gpt_forward_stage(g, l, k, "", x, gpt_linear_gelu);
    *side = PROG_NONE;
    if (!g->again) *side = (int)prog_array(g->p, l, "mlp.c_fc output", rows);
    s->side[0] = *side;
    s->df.per_unit = 16 * 15;
    s->df.writes = g->again ? 0 : (double)rows;
    return prog_makes(s, prog_passing(g->p, l, "h", rows, IN_H));
}
/* att = softmax(q k / sqrt(hs)) v, once keys and values are where all tiles of a
 * head find them */
static inline int attention(GptBuild *g, size_t l, int qkv, int *side) {
    const size_t rows = gpt_rows(g->c.C);
    const double hs = (double)g->c.C / (double)g->c.NH;
    ProgStage *s = gpt_keys_stage(g, l, "attention keys", 2, gpt_attention_keys);
    prog_reads(s, qkv);
    s->df.copies = true;
    const int there = prog_makes(s, prog_inner(g->p, l, "keys", 0, IN_NOTHING));
    s = gpt_queries_stage(g, l, "attention", gpt_attention);
    prog_reads(s, qkv);
    prog_reads(s, there);
    *side = (int)prog_array(g->p, l, "attention softmax", 2 * g->c.NH);
    s->side[0] = *side;
    s->real = g->c.C;
    s->df.writes = 2 * (double)g->c.NH;
    s->df.per_pair = (4 * hs + 12) / (double)s->split;
    s->df.recalled = 2 * hs / (double)s->split;
    s->df.scratch = g->groups * LINE;
    return prog_makes(s, prog_kept(g->p, l, "att", rows, "attention output"));
}

/* One layer, from its input x (C) to the next one's: spec_layer's lines. */
static inline int layer_forward(GptBuild *g, size_t l, int x, GptSaved *saved) {
    const int n1 = norm(g, l, LN1W, x, &saved->norm1);
    const int qkv = linear(g, l, QKVW, n1);
    const int att = attention(g, l, qkv, &saved->soft);
    const int mid = linear_add(g, l, PROJW, att, x);
    const int n2 = norm(g, l, LN2W, mid, &saved->norm2);
    const int gelu = linear_gelu(g, l, FCW, n2, &saved->fc);
    saved->x = x;
    saved->qkv = qkv;
    saved->att = att;
    saved->mid = mid;
    return linear_add(g, l, FC2W, gelu, mid);       /* the next layer's x */
}

/* dy = dout times dropout's factors; dout, if nothing is dropped.
 * forward: out = drop(y) + residual */
static inline int drop_data(GptBuild *g, size_t l, int k, int dout) {
    const size_t rows = gpt_rows(g->c.C);
    if (!g->drop) return dout;
    ProgStage *s = gpt_stage(g, l, k, " drop", gpt_drop_data);
    prog_reads(s, dout);
    s->real = g->c.C;
    s->df.per_unit = 12 * (double)g->c.C;
    return prog_makes(s, prog_passing(g->p, l, "dy", rows, IN_DROP));
}
/* dx = W' dy. forward: y = W x + b */
static inline int linear_data(GptBuild *g, size_t l, int k, int dy,
                              GptShared in) {
    const size_t rows = gpt_rows(GPT_STAGE[k].IC * g->c.C);
    ProgStage *s = gpt_matrix_stage(g, l, k, " dx", rows, gpt_linear_data);
    prog_reads(s, dy);
    s->df.weights = true;
    s->df.scatter = true;
    return prog_makes(s, prog_passing(g->p, l, GPT_STAGE[k].dinp, rows, in));
}
/* dw += dy x', db += dy; its units are outputs. It is on the chip together with
 * the stage that many before it, which reads dy too.
 * forward: y = W x + b */
static inline void linear_weight(GptBuild *g, size_t l, int k, int x, int dy,
                                 size_t together) {
    const size_t rows = GPT_STAGE[k].OC * g->c.C;
    ProgStage *s = gpt_matrix_stage(g, l, k, " dw", rows, gpt_linear_weight);
    prog_reads(s, x);
    prog_reads(s, dy);
    s->cut = BY_ROWS;
    s->df.units *= LINE;
    s->df.whole = LINE;
    s->df.grads = true;
    s->df.gather = true;
    s->df.sums = 1;
    s->df.per_unit = 1;
    s->df.together = together;
}
/* dgelu becomes the derivative by what GELU took, in place; *gelu = GELU of it
 * again. It runs where the stage before it does. fc: what GELU took, or DF_NONE if
 * that was kept in array side, whose place *gelu takes. forward: gelu = GELU(fc) */
static inline int gelu_data(GptBuild *g, size_t l, int dgelu, int fc, int side,
                            int *gelu) {
    const size_t rows = gpt_rows(4 * g->c.C);
    ProgStage *s = prog_append(g->p, l, "gelu dx", gpt_gelu_data);
    prog_reads(s, dgelu);
    if (fc != DF_NONE) prog_reads(s, fc);
    s->df.together = fc == DF_NONE ? 0 : 2;
    s->df.joins = true;
    s->side[0] = side;
    s->df.units = rows / LINE;
    s->df.reads = fc == DF_NONE ? (double)rows : 0;
    s->df.per_unit = 16 * 22;
    const int dfc = prog_makes(s, prog_in_place(g->p, l, "dh", dgelu));
    const size_t to = fc == DF_NONE ? (size_t)side : IN_H;
    *gelu = prog_makes(s, prog_passing(g->p, l, "h again", rows, to));
    return dfc;
}
/* n once more: for dw, or for what `what` names (", fc"). It runs where the stage
 * before it does. */
static inline int norm_again(GptBuild *g, size_t l, int k, const char *what,
                             int x, int side) {
    char suffix[16];
    snprintf(suffix, sizeof suffix, " again%s", what);
    ProgStage *s = gpt_stage(g, l, k, suffix, gpt_norm_again);
    prog_reads(s, x);
    s->df.joins = true;
    s->side[0] = side;
    s->df.reads = 2;
    s->real = g->c.C;
    s->df.per_unit = 4 * (double)g->c.C;
    const char *n = k == LN1W ? "n1 again" : "n2 again";
    return prog_makes(s, prog_passing(g->p, l, n, gpt_rows(g->c.C), IN_N));
}
/* What GELU took once more; DF_NONE if it was kept. Neither it nor n2 waits for a
 * derivative, so either may run ahead of stages whose edges share its array; so both are
 * kept on chip, in slots of their own. */
static inline int fc_again(GptBuild *g, size_t l, const GptSaved *saved) {
    const size_t rows = gpt_rows(4 * g->c.C);
    if (!g->again) return DF_NONE;
    const int n2 =
        norm_again(g, l, LN2W, ", fc", saved->mid, saved->norm2);
    ProgStage *s = gpt_forward_stage(g, l, FCW, " again", n2, gpt_linear);
    s->df.together = 1;
    return prog_makes(s, prog_passing(g->p, l, "fc again", rows, IN_FC));
}
/* dgain += dn hat, dbias += dn. forward: n = gain hat + bias */
static inline void norm_weight(GptBuild *g, size_t l, int k, int dn, int x,
                               int side) {
    ProgStage *s = gpt_stage(g, l, k, " dw", gpt_norm_weight);
    prog_reads(s, dn);
    prog_reads(s, x);
    s->cut = BY_FEATURES;
    s->side[0] = side;
    s->df.units = g->c.C;
    s->df.sums = 2;
    s->df.reads = 2;
    s->df.per_unit = 5;
}
/* dx, from dn and from what reaches x along the residual stream, or DF_NONE. It
 * is on the chip together with the stage before it, which reads dn and x too.
 * forward: n = gain hat + bias, hat = (x - mean) rstd */
static inline int norm_data(GptBuild *g, size_t l, int k, int dn, int x,
                            int residual, int side) {
    const size_t rows = gpt_rows(g->c.C);
    ProgStage *s = gpt_stage(g, l, k, " dx", gpt_norm_data);
    prog_reads(s, dn);
    prog_reads(s, x);
    if (residual != DF_NONE) prog_reads(s, residual);
    s->side[0] = side;
    s->df.reads = 2;
    s->real = g->c.C;
    s->df.per_unit = 14 * (double)g->c.C;
    s->df.together = 1;
    return prog_makes(s, prog_passing(g->p, l, GPT_STAGE[k].dinp, rows, IN_DX));
}
/* dqkv: of k and v, then of q. forward: att = softmax(q k / sqrt(hs)) v */
static inline int attention_data(GptBuild *g, size_t l, int datt, int att,
                                 int qkv, int side) {
    const double C = (double)g->c.C;
    const double NH = (double)g->c.NH;
    const size_t rows = gpt_rows(3 * g->c.C);
    ProgStage *s =
        gpt_keys_stage(g, l, "attention dk dv", 4, gpt_attention_data);
    const size_t each = gpt_groups_each(g->groups, s->split);
    const size_t scores = s->df.units * each * LINE;
    prog_reads(s, datt);
    prog_reads(s, att);
    s->side[0] = side;
    s->side[1] = (int)g->p->array_of[qkv];
    s->real = 3 * g->c.C;
    s->df.reads = 3 * C + 2 * NH;
    s->df.per_pair = (8 * C / NH + 14) / (double)s->split;
    s->df.scratch = LINE;
    const int dkv = prog_makes(s, prog_passing(g->p, l, "dkv", rows, IN_DQKV));
    const int ds = prog_makes(s, prog_inner(g->p, l, "ds", scores, IN_NOTHING));
    s = gpt_queries_stage(g, l, "attention dq", gpt_attention_queries);
    prog_reads(s, dkv);
    prog_reads(s, ds);
    s->side[0] = (int)g->p->array_of[qkv];
    s->real = 3 * g->c.C;
    s->thirds = 3;
    s->df.joins = true;
    s->df.per_pair = 2 * C / NH / (double)s->split;
    s->df.recalled = C / NH / (double)s->split;
    return prog_makes(s, prog_in_place(g->p, l, "dqkv", dkv));
}

/* The same layer backward, last line first: from the derivative by its output
 * (C) to that by its input (C). _data makes the derivative by what a stage
 * read, _weight adds those by its parameters; what was not kept is made anew.
 * The number that ends a line is linear_weight's DfStage.together. */
static inline int layer_backward(GptBuild *g, size_t l, int dout,
                                 const GptSaved *saved) {
    /* forward: gelu = linear_gelu(FCW, n2); linear_add(FC2W, gelu, mid) */
    int gelu;
    const int dy2 = drop_data(g, l, FC2W, dout);
    const int fc = fc_again(g, l, saved);
    const int dgelu = linear_data(g, l, FC2W, dy2, IN_DH);
    const int dfc = gelu_data(g, l, dgelu, fc, saved->fc, &gelu);
    linear_weight(g, l, FC2W, gelu, dy2, 2);
    const int dn2 = linear_data(g, l, FCW, dfc, IN_DN);
    const int n2 = norm_again(g, l, LN2W, "", saved->mid, saved->norm2);
    linear_weight(g, l, FCW, n2, dfc, 2);

    /* forward: n2 = norm(LN2W, mid); dout reaches mid past it, too */
    norm_weight(g, l, LN2W, dn2, saved->mid, saved->norm2);
    const int dmid =
        norm_data(g, l, LN2W, dn2, saved->mid, dout, saved->norm2);

    /* forward: att = attention(linear(QKVW, n1)); linear_add(PROJW, att, x) */
    const int dy = drop_data(g, l, PROJW, dmid);
    const int datt = linear_data(g, l, PROJW, dy, IN_DATT);
    linear_weight(g, l, PROJW, saved->att, dy, 1);
    const int dqkv =
        attention_data(g, l, datt, saved->att, saved->qkv, saved->soft);
    const int dn1 = linear_data(g, l, QKVW, dqkv, IN_DN);
    const int n1 = norm_again(g, l, LN1W, "", saved->x, saved->norm1);
    linear_weight(g, l, QKVW, n1, dqkv, 2);

    /* forward: n1 = norm(LN1W, x); dmid reaches x past it, too */
    norm_weight(g, l, LN1W, dn1, saved->x, saved->norm1);
    return norm_data(g, l, LN1W, dn1, saved->x, dmid, saved->norm1);
}

/* ---- the whole model ----------------------------------------------------- */

/* x = wte[token] + wpe[position] */
static inline int embed(GptBuild *g) {
    ProgStage *s = prog_append(g->p, g->c.L, "embed", gpt_embed);
    s->df.layer = 0;
    s->df.reads = 2 * (double)g->c.C;
    s->df.random = s->df.reads;
    s->real = g->c.C;
    s->df.per_unit = (double)g->c.C;
    return prog_makes(s, prog_kept(g->p, 0, "x", gpt_rows(g->c.C), "input"));
}
/* dx = dx times dropout's factors, as drop_data. forward: x = drop(wte + wpe) */
static inline int embed_drop_data(GptBuild *g, int dx) {
    const size_t rows = gpt_rows(g->c.C);
    if (!g->drop) return dx;
    ProgStage *s = prog_append(g->p, g->c.L, "embed drop", gpt_drop_data);
    prog_reads(s, dx);
    s->df.layer = 0;
    s->real = g->c.C;
    s->df.per_unit = 12 * (double)g->c.C;
    return prog_makes(s, prog_passing(g->p, 0, "dy", rows, IN_DROP));
}
static inline void embed_weight(GptBuild *g, int dx) {
    ProgStage *s = prog_append(g->p, g->c.L, "embed dw", gpt_embed_weight);
    prog_reads(s, dx);
    s->df.layer = 0;
    s->cut = BY_FEATURES;
    s->df.units = g->c.C;
    s->df.reads = 4 * (double)g->c.C;
    s->df.random = s->df.reads;
    s->df.per_unit = 2;
}
/* A stage of the head, which is tied to the token table. */
static inline ProgStage *gpt_head_stage(GptBuild *g, const char *name,
                                        size_t rows,
                                        void (*fire)(const Firing *)) {
    ProgStage *s = prog_append(g->p, g->c.L, name, fire);
    s->param = WTE;
    s->df.units = gpt_rows(rows) / LINE;
    s->df.per_line = 2 * LINE;
    return s;
}
/* logits = wte n */
static inline int head(GptBuild *g, int n) {
    const size_t rows = gpt_rows(g->c.V);
    ProgStage *s = gpt_head_stage(g, "head", g->c.V, gpt_linear);
    prog_reads(s, n);
    s->cut = BY_ROWS;
    s->df.weights = true;
    s->df.gather = true;
    s->df.per_unit = LINE;
    return prog_makes(s,
                      prog_passing(g->p, g->c.L, "logits", rows, IN_LOGITS));
}
/* The losses; the logits become the derivatives by them, in place. */
static inline int cross_entropy(GptBuild *g, int logits) {
    ProgStage *s = prog_append(g->p, g->c.L, "loss", gpt_loss_data);
    prog_reads(s, logits);
    s->df.writes = 2;                               /* in double precision */
    s->df.per_unit = 12 * (double)g->c.V;
    return prog_makes(s, prog_in_place(g->p, g->c.L, "logits", logits));
}
/* dn = wte' dlogits. forward: logits = wte n */
static inline int head_data(GptBuild *g, int dlogits) {
    const size_t rows = gpt_rows(g->c.C);
    ProgStage *s = gpt_head_stage(g, "head dx", g->c.C, gpt_linear_data);
    prog_reads(s, dlogits);
    s->df.weights = true;
    s->df.scatter = true;
    return prog_makes(s, prog_passing(g->p, g->c.L, "dn1", rows, IN_DN));
}
/* dwte += dlogits n'. forward: logits = wte n */
static inline void head_weight(GptBuild *g, int n, int dlogits) {
    ProgStage *s = gpt_head_stage(g, "head dw", g->c.V, gpt_linear_weight);
    prog_reads(s, n);
    prog_reads(s, dlogits);
    s->cut = BY_ROWS;
    s->df.units *= LINE;
    s->df.whole = LINE;
    s->df.grads = true;
    s->df.gather = true;
    s->df.per_unit = 1;
    s->df.together = 3;         /* the head: the logits are not stored */
}

/* The program of a model on sequences of so many groups, in panels of at most
 * so many: embedding, layers, final norm, head, and everything backward. how: of
 * GPT_TRAIN and the like; without it nobody runs the backward stages, and they
 * get no memory. Freed with prog_free. */
static inline Program gpt_program(const GptConfig *c, size_t groups,
                                  size_t panel, int how) {
    const bool train = how & GPT_TRAIN;
    const bool again = !train || how & GPT_RECOMPUTE;
    Program p = {.layers = c->L, .shared = SHARED, .groups = groups,
                 .panel = panel};
    GptBuild build = {&p, *c, groups, how & GPT_DROP, again};
    GptBuild *g = &build;
    GptSaved *saved = mem_new(c->L, sizeof *saved);
    int norm_f;
    for (size_t k = 0; k < SHARED; k++) prog_array(&p, 0, "", 0);
    /* logits are so many that only one panel's exist, until head_weight */
    p.array[IN_LOGITS].one_panel = true;

    int x = embed(g);
    for (size_t l = 0; l < c->L; l++) x = layer_forward(g, l, x, &saved[l]);
    const int n = norm(g, c->L, LNFW, x, &norm_f);
    p.forward = p.stages;       /* from here on panels come last to first */
    p.head = p.stages;
    const int logits = head(g, n);
    size_t used[SHARED];        /* rows of the shared arrays so far */
    for (size_t k = 0; k < SHARED; k++) used[k] = p.array[k].rows;

    const int dlogits = cross_entropy(g, logits);
    const int dn = head_data(g, dlogits);
    head_weight(g, n, dlogits);
    norm_weight(g, c->L, LNFW, dn, x, norm_f);
    int dx = norm_data(g, c->L, LNFW, dn, x, DF_NONE, norm_f);
    for (size_t l = c->L; l-- > 0;) dx = layer_backward(g, l, dx, &saved[l]);
    embed_weight(g, embed_drop_data(g, dx));

    for (size_t k = 0; k < SHARED && !train; k++) p.array[k].rows = used[k];
    free(saved);
    return p;
}
#endif
