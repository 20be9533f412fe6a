/* gpt.h: the model, twice.
 *
 * First the specification: GPT-2's forward pass, loss, backward pass and AdamW
 * in double precision, as plain loops. It is what to read first, what the tests
 * compare with, and the arithmetic of `verify`. Then the machine's version: the
 * same mathematics as stages over panels (see sparse.h), in float32, with a
 * fixed order of every sum. The two are written independently and must agree to
 * float32's rounding.
 *
 * It refuses to be general: one architecture (learned positions, norms before
 * attention and MLP, GELU in its tanh form, a head tied to the embedding), no
 * dropout, no mixed precision.
 *
 * Letters     B sequences    b = 0 .. B-1      N = B T tokens    n = 0 .. N-1
 *             T positions    t = 0 .. T-1      V vocabulary      v = 0 .. V-1
 *             C channels     i = 0 .. C-1      L layers          l = 0 .. L-1
 *             NH heads       h = 0 .. NH-1     hs = C / NH channels of a head
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
 * Two matrices of a layer are called c_proj: attn.c_proj and mlp.c_proj.
 *
 * Parameters have the names and shapes of Hugging Face's GPT-2. Its linear
 * weights are stored (in,out); llm.c's are the transposed. One table
 * (gpt_table) of name, shape, decay and initial values drives allocation,
 * files, optimizer and tests.
 *
 * Example: L = 4, C = 256, V = 2049 and 256 positions. wte and wpe have
 * (2049 + 256) 256 = 590,080 parameters. A layer has 12 C^2 in its four
 * matrices (3 + 1 + 4 + 4) and 13 C in norms and biases: 789,760. ln_f has 2 C.
 * Together 590,080 + 4 x 789,760 + 512 = 3,749,632. */
#ifndef GPT_H
#define GPT_H
#include "dataflow.h"
#include "sparse.h"

/* ---- configuration and the parameter table ------------------------------- */

typedef struct {
    size_t L, NH, C;
    size_t V;                   /* <|endoftext|> is one of them */
    size_t ctx;                 /* positions that wpe has: the largest T */
} GptConfig;

/* A parameter's number: the two embeddings, then each layer's twelve, then the
 * two of the final norm. FC2 is mlp.c_proj. */
enum { WTE, WPE, LAYER0 };
enum {
    LN1W, LN1B,                 /* W weight (of a norm: its gain), B bias */
    QKVW, QKVB,
    PROJW, PROJB,
    LN2W, LN2B,
    FCW, FCB,
    FC2W, FC2B,
    PER_LAYER
};
enum { LNFW, LNFB, FINAL };     /* where a layer L would begin */

typedef struct {
    char name[40];
    int rank;                   /* 2: shape (rows,cols); 1: shape (rows) */
    size_t rows, cols;          /* rank 1: cols is 0 */
    bool in_out;                /* a linear weight: rows are inputs */
    bool decay;
    double mean, std;           /* of the normal distribution it starts from */

    /* the machine's; the specification does not look at them */
    size_t at, size;            /* place in its flat arrays, in floats */
    size_t lane;                /* of rank 1: first line of its gradient, which
                                 * is kept per lane */
    SpMat mat;                  /* as outputs x inputs; rank 1: one input */
    float rate;                 /* factor on the learning rate, and so on the
                                 * decay */
    uint32_t *born;             /* [mat.lines] optimizer step at which a line
                                 * came; NULL: all at 0 */
} GptParam;

/* How many parameter tensors there are. */
static inline size_t gpt_count(const GptConfig *c) {
    return LAYER0 + c->L * PER_LAYER + FINAL;
}
/* The number of layer l's parameter k (LN1W ..), or of the final norm:
 * gpt_layer(L, LNFW). */
static inline size_t gpt_layer(size_t l, int k) {
    return LAYER0 + l * PER_LAYER + (size_t)k;
}
static inline size_t gpt_elements(const GptParam *p) {
    return p->rank == 2 ? p->rows * p->cols : p->rows;
}

/* One entry: a matrix (rows,cols), or with cols 0 a vector (rows). */
static inline void gpt_entry(GptParam *p, const char *name, size_t rows,
                             size_t cols, double mean, double std) {
    const bool matrix = cols > 0;
    *p = (GptParam){
        .rank = matrix ? 2 : 1,
        .rows = rows,
        .cols = cols,
        .in_out = matrix && name[0] == 'h',     /* h.0.attn.c_attn.weight ... */
        .decay = matrix,
        .mean = mean,
        .std = std,
    };
    snprintf(p->name, sizeof p->name, "%s", name);
}

/* The table of a configuration, gpt_count entries; freed with free(). Initial
 * values as GPT-2's (Radford et al. 2019): matrices N(0, 0.02), but those that
 * write into the residual stream N(0, 0.02 / sqrt(2 L)), for there are 2 L of
 * them; biases 0, gains 1. */
static inline GptParam *gpt_table(const GptConfig *c) {
    const double std = 0.02;
    const double residual = 0.02 / sqrt(2.0 * (double)c->L);
    const struct {
        const char *name;
        size_t rows, cols;      /* in units of C */
        double mean, std;
    } layer[PER_LAYER] = {
        [LN1W] = {"ln_1.weight", 1, 0, 1, 0},
        [LN1B] = {"ln_1.bias", 1, 0, 0, 0},
        [QKVW] = {"attn.c_attn.weight", 1, 3, 0, std},
        [QKVB] = {"attn.c_attn.bias", 3, 0, 0, 0},
        [PROJW] = {"attn.c_proj.weight", 1, 1, 0, residual},
        [PROJB] = {"attn.c_proj.bias", 1, 0, 0, 0},
        [LN2W] = {"ln_2.weight", 1, 0, 1, 0},
        [LN2B] = {"ln_2.bias", 1, 0, 0, 0},
        [FCW] = {"mlp.c_fc.weight", 1, 4, 0, std},
        [FCB] = {"mlp.c_fc.bias", 4, 0, 0, 0},
        [FC2W] = {"mlp.c_proj.weight", 4, 1, 0, residual},
        [FC2B] = {"mlp.c_proj.bias", 1, 0, 0, 0},
    };
    GptParam *table = mem_new(gpt_count(c), sizeof *table);
    gpt_entry(&table[WTE], "wte.weight", c->V, c->C, 0, std);
    gpt_entry(&table[WPE], "wpe.weight", c->ctx, c->C, 0, std);
    for (size_t l = 0; l < c->L; l++)
        for (int k = 0; k < PER_LAYER; k++) {
            char name[40];
            snprintf(name, sizeof name, "h.%zu.%s", l, layer[k].name);
            gpt_entry(&table[gpt_layer(l, k)], name, layer[k].rows * c->C,
                      layer[k].cols * c->C, layer[k].mean, layer[k].std);
        }
    gpt_entry(&table[gpt_layer(c->L, LNFW)], "ln_f.weight", c->C, 0, 1, 0);
    gpt_entry(&table[gpt_layer(c->L, LNFB)], "ln_f.bias", c->C, 0, 0, 0);
    return table;
}

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
 * sets and "+=" behind what it adds to. Derivatives by parameters are added,
 * for every token adds its share. */

/* ---- GELU ---------------------------------------------------------------- */

static const double SPEC_GELU = 0.7978845608028654;     /* sqrt(2 / pi) */

/* The simplest pair: GELU in its tanh form (Hendrycks and Gimpel 2016),
 *
 *     x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
static inline double spec_gelu(double x) {
    return 0.5 * x * (1 + tanh(SPEC_GELU * (x + 0.044715 * x * x * x)));
}
/* Its derivative by x: the product rule, with tanh' = 1 - tanh^2. */
static inline double spec_gelu_slope(double x) {
    /* forward: 0.5 * x * (1 + tanh_u), u = SPEC_GELU * (x + 0.044715 * x^3) */
    const double tanh_u = tanh(SPEC_GELU * (x + 0.044715 * x * x * x));
    const double slope_u = 1 + 3 * 0.044715 * x * x;    /* times SPEC_GELU */
    return 0.5 * (1 + tanh_u) +
           0.5 * x * (1 - tanh_u * tanh_u) * SPEC_GELU * slope_u;
}

/* The small print that is most often got wrong. `verify` computes again with
 * other rules to recognise a fault; all else keeps SPEC_GPT2. */
typedef struct {
    double eps, eps_outside;    /* LayerNorm divides by
                                 * sqrt(var + eps) + eps_outside */
    size_t ahead;               /* a token attends to those before it, to itself
                                 * and to so many after it */
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

/* out (N,OC) = inp (N,IC) times w (IC,OC), + b (OC) in each row:
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
 * Kiros and Hinton 2016):
 *
 *     out[i] = w[i] (inp[i] - mean) rstd + b[i]
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
 * in the forward. With norm = (inp - mean) rstd and dnorm = dout w
 *
 *     dinp[i] += rstd (dnorm[i] - mean of dnorm
 *                               - norm[i] times the mean of dnorm norm)
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
        double dnorm_mean = 0;
        double dnorm_norm_mean = 0;
        for (size_t i = 0; i < C; i++) {
            const double norm = (inp_n[i] - mean) * rstd;
            const double dnorm = dout_n[i] * w[i];
            dw[i] += dout_n[i] * norm;
            db[i] += dout_n[i];
            dnorm_mean += dnorm / (double)C;
            dnorm_norm_mean += dnorm * norm / (double)C;
        }

        /* the formula above. root is the part of 1 / rstd that inp moves; in
         * GPT-2 it is all of it, and this norm is the one above */
        for (size_t i = 0; i < C; i++) {
            const double dnorm = dout_n[i] * w[i];
            const double norm = (inp_n[i] - mean) / root;
            dinp_n[i] += rstd * (dnorm - dnorm_mean - norm * dnorm_norm_mean);
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

/* How many tokens token t attends to: those before it and itself, 0 .. t. */
static inline size_t spec_seen(size_t t, size_t T, size_t ahead) {
    return size_min(t + 1 + ahead, T);
}

/* out (B,T,C) and prob (B,NH,T,T) from qkv (B,T,3C), for each sequence, head
 * and token by itself (Vaswani et al. 2017):
 *
 *     score[t2] = sum over i of query[t][i] key[t2][i] / sqrt(hs)    t2 <= t
 *     prob[t2]  = exp(score[t2]) / sum over t2 of exp(score[t2])
 *     out[i]    = sum over t2 of prob[t2] value[t2][i]
 *
 * A row of prob holds the scores, then their exponentials, then what its name
 * says. The largest score is subtracted from all, so that no exponential
 * overflows; it cancels in the quotient. */
static inline void spec_attention(double *out, double *prob, const double *qkv,
                                  size_t B, size_t T, size_t C, size_t NH,
                                  size_t ahead) {
    const size_t hs = C / NH;
    const double root = sqrt((double)hs);
    for (size_t b = 0; b < B; b++) {
        for (size_t h = 0; h < NH; h++) {
            /* rows of hs, one a token, 3C apart */
            const double *queries = qkv + b * T * 3 * C + h * hs;   /* (T,hs) */
            const double *keys = queries + C;                       /* (T,hs) */
            const double *values = queries + 2 * C;                 /* (T,hs) */
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
                    for (size_t i = 0; i < hs; i++)
                        mix[i] += row[t2] * value[i];
                }
            }
        }
    }
}

/* dqkv (B,T,3C) +=, from dout (B,T,C); prob (B,NH,T,T) and qkv (B,T,3C) as the
 * forward left them. The same four passes, the last one first. A token's query
 * has its derivative from its own row alone; its key and value gather theirs
 * from the rows of all tokens that attend to it.
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
                                           size_t ahead) {
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
            for (size_t t = 0; t < T; t++) {
                const size_t seen = spec_seen(t, T, ahead);
                const double *query = queries + t * 3 * C;          /* (hs) */
                double *dquery = dqueries + t * 3 * C;              /* (hs) */
                const double *row = prob + ((b * NH + h) * T + t) * T;
                const double *dmix = dout + (b * T + t) * C + h * hs;

                /* pass 4, forward: mix[i] += row[t2] * value[i] */
                for (size_t t2 = 0; t2 < seen; t2++) {
                    const double *value = values + t2 * 3 * C;      /* (hs) */
                    double *dvalue = dvalues + t2 * 3 * C;          /* (hs) */
                    drow[t2] = 0;
                    for (size_t i = 0; i < hs; i++) {
                        drow[t2] += dmix[i] * value[i];
                        dvalue[i] += row[t2] * dmix[i];
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
                    const double ddot = dscore[t2] / root;
                    for (size_t i = 0; i < hs; i++) {
                        dquery[i] += ddot * key[i];
                        dkey[i] += ddot * query[i];
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

/* dlogits (N,V) =, the derivatives of that mean: a logit's probability, less 1
 * if it is the target's,
 *
 *     dlogits[n][v] = (softmax(logits[n])[v] - [v is the target]) / N */
static inline void spec_cross_entropy_backward(double *dlogits,
                                               const double *logits,
                                               const int32_t *targets, size_t N,
                                               size_t V) {
    for (size_t n = 0; n < N; n++) {
        double *drow = dlogits + n * V;             /* (V) */
        const double *row = logits + n * V;         /* (V) */
        const double max = spec_max(row, V);
        const double sum = spec_exp_sum(row, max, V);
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
    double *ln1;                /* (B,T,C) */
    double *qkv;                /* (B,T,3C) */
    double *p;                  /* (B,NH,T,T) probabilities of attention */
    double *att;                /* (B,T,C) */
    double *mid;                /* (B,T,C) x + attention */
    double *ln2;                /* (B,T,C) */
    double *fc;                 /* (B,T,4C) */
    double *gelu;               /* (B,T,4C) */
};

/* One forward and backward pass. w and dw hold one array per parameter: that of
 * layer l's c_attn is w[gpt_layer(l, QKVW)]. */
typedef struct {
    GptConfig c;
    size_t B, T;
    SpecRules rules;
    GptParam *table;            /* [gpt_count] */
    double **w, **dw;           /* [gpt_count] arrays of the table's shapes */
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
            .p = spec_array(B * c.NH * T * T),
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
        free(act->p);
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

/* The first layer's x (B,T,C) from inputs (B,T):
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
}
/* dw of wte (V,C) +=, of wpe (T,C) +=, from dx (B,T,C). */
static inline void spec_embed_backward(Spec *s, const int32_t *inputs,
                                       const double *dx) {
    const size_t C = s->c.C;
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

/* The residual stream: out (n) += inp (n). */
static inline void spec_residual(double *out, const double *inp, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] += inp[i];
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
    spec_attention(act->att, act->p, act->qkv, s->B, s->T, C, s->c.NH,
                   s->rules.ahead);
    spec_linear(act->mid, act->att, w[PROJW], w[PROJB], N, C, C);
    spec_residual(act->mid, act->x, N * C);

    spec_layernorm(act->ln2, act->mid, w[LN2W], w[LN2B], N, C, &s->rules);
    spec_linear(act->fc, act->ln2, w[FCW], w[FCB], N, C, 4 * C);
    for (size_t i = 0; i < N * 4 * C; i++)
        act->gelu[i] = s->rules.gelu(act->fc[i]);
    spec_linear(next, act->gelu, w[FC2W], w[FC2B], N, 4 * C, C);
    spec_residual(next, act->mid, N * C);
}

/* The same lines, the last one first. dx (B,T,C) comes as the derivative by the
 * layer's output and goes as that by its input. It flows back along the
 * residual stream: each out += inp passes it on as it is, both to inp and to
 * the branch that made out; at the branch's other end the norm adds to it. */
static inline void spec_layer_backward(Spec *s, size_t l, double *dx) {
    const size_t N = s->B * s->T;
    const size_t C = s->c.C;
    const struct SpecLayer *act = &s->layer[l];
    double **w = s->w + gpt_layer(l, 0);        /* [PER_LAYER] */
    double **dw = s->dw + gpt_layer(l, 0);      /* [PER_LAYER] */
    double *dgelu = spec_array(N * 4 * C);      /* (B,T,4C) */
    double *dfc = spec_array(N * 4 * C);        /* (B,T,4C) */
    double *dln2 = spec_array(N * C);           /* (B,T,C) */
    double *datt = spec_array(N * C);           /* (B,T,C) */
    double *dqkv = spec_array(N * 3 * C);       /* (B,T,3C) zero */
    double *dln1 = spec_array(N * C);           /* (B,T,C) */

    /* dx is by next. forward: next = mid + linear(gelu(linear(ln_2(mid)))) */
    spec_linear_backward(dgelu, dw[FC2W], dw[FC2B],
                         dx, act->gelu, w[FC2W], N, 4 * C, C);
    for (size_t i = 0; i < N * 4 * C; i++)
        dfc[i] = dgelu[i] * s->rules.gelu_slope(act->fc[i]);
    spec_linear_backward(dln2, dw[FCW], dw[FCB],
                         dfc, act->ln2, w[FCW], N, C, 4 * C);
    spec_layernorm_backward(dx, dw[LN2W], dw[LN2B],
                            dln2, act->mid, w[LN2W], N, C, &s->rules);

    /* dx is by mid. forward: mid = x + linear(attention(linear(ln_1(x)))) */
    spec_linear_backward(datt, dw[PROJW], dw[PROJB],
                         dx, act->att, w[PROJW], N, C, C);
    spec_attention_backward(dqkv, datt, act->p, act->qkv,
                            s->B, s->T, C, s->c.NH, s->rules.ahead);
    spec_linear_backward(dln1, dw[QKVW], dw[QKVB],
                         dqkv, act->ln1, w[QKVW], N, C, 3 * C);
    spec_layernorm_backward(dx, dw[LN1W], dw[LN1B],
                            dln1, act->x, w[LN1W], N, C, &s->rules);

    /* dx is by x */
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
        const double *lnf = s->lnf + n * C;         /* (C) */
        for (size_t v = 0; v < V; v++) {
            const double *token = s->w[WTE] + v * C;    /* (C) */
            double sum = 0;
            for (size_t i = 0; i < C; i++) sum += lnf[i] * token[i];
            s->logits[n * V + v] = sum;
        }
    }
}
/* dlnf (B,T,C) +=, dw of wte (V,C) +=, from dlogits (B,T,V). */
static inline void spec_head_backward(Spec *s, double *dlnf) {
    const size_t C = s->c.C;
    const size_t V = s->c.V;
    for (size_t n = 0; n < s->B * s->T; n++) {
        const double *lnf = s->lnf + n * C;         /* (C) */
        double *dlnf_n = dlnf + n * C;              /* (C) */
        for (size_t v = 0; v < V; v++) {
            const double *token = s->w[WTE] + v * C;    /* (C) */
            double *dtoken = s->dw[WTE] + v * C;        /* (C) */
            const double dlogit = s->dlogits[n * V + v];

            /* forward: logit += lnf[i] * token[i] */
            for (size_t i = 0; i < C; i++) {
                dlnf_n[i] += dlogit * token[i];
                dtoken[i] += dlogit * lnf[i];
            }
        }
    }
}

/* inputs, targets (B,T) -> s->logits, s->loss, and s->dlogits, with which the
 * backward pass begins. */
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

/* ---- AdamW --------------------------------------------------------------- */

typedef struct {
    double lr;                  /* learning rate */
    double beta1, beta2;        /* how much of its moments it keeps a step */
    double eps;
    double decay;
    double clip;                /* the largest norm of a gradient; 0: any */
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

/* Step t = 1, 2 ... of AdamW (Loshchilov and Hutter 2019) as PyTorch computes
 * it, of every weight w with a number g of the clipped gradient. moment1 and
 * moment2 are arrays like s->w, zero before the first step:
 *
 *     w       -= lr decay w                             matrices only
 *     moment1  = beta1 moment1 + (1 - beta1) g          a mean of g
 *     moment2  = beta2 moment2 + (1 - beta2) g^2        a mean of its square
 *     w       -= lr (moment1 / c1) / (sqrt(moment2 / c2) + eps)
 *
 * c1 = 1 - beta1^t and c2 = 1 - beta2^t make up for the zero that the moments
 * began with. The decay does not pass through the moments, and eps stands
 * outside the root. */
static inline void spec_adamw(Spec *s, double **moment1, double **moment2,
                              const GptAdam *adam, size_t t) {
    const double clip = spec_clip(spec_norm(s), adam->clip);
    const double c1 = 1 - pow(adam->beta1, (double)t);
    const double c2 = 1 - pow(adam->beta2, (double)t);
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

/* ======================================================================================================= *
 *  The machine's version                                                                                  *
 * ======================================================================================================= */

/* ---- parameters in row blocks ------------------------------------------------------------------------- *
 * Every tensor of rank 2 lies as w[row block of 16 outputs][input][16]: wte with tokens, wpe with positions
 * as its outputs. Padding outputs are zero and stay zero. Gradients of gains and biases are sums over tokens;
 * they are kept as one line per element, a sum per lane, and added over the lanes once a step. */

typedef struct {
    GptConfig c;
    GptParam *table;
    size_t count, floats, lanes;        /* tensors; numbers in each flat array; lines of lane_g */
    float *w, *g, *m, *v;               /* weights, gradient, Adam's moments; the last three only to train */
    float *lane_g, *lookup_g;           /* gradient of rank 1 per lane; of wte through the lookup, apart so
                                         * that groups of sequences give the bits of the whole */
} Gpt;

/* mats[k] is the pattern of tensor k, taken over; where it is empty, and with mats NULL everywhere, the
 * tensor is dense. gradient: to train; moments: with an optimizer. Freed with gpt_free. */
static inline Gpt *gpt_make(GptConfig c, const SpMat *mats, bool gradient, bool moments) {
    Gpt *m = mem_new(1, sizeof *m);
    *m = (Gpt){.c = c, .table = gpt_table(&c), .count = gpt_count(&c)};
    for (size_t k = 0; k < m->count; k++) {
        GptParam *p = &m->table[k];
        const size_t cols = p->rank == 2 ? p->cols : 1;
        if (mats && mats[k].first) p->mat = mats[k];
        else p->mat = p->in_out ? sp_dense(cols, p->rows) : sp_dense(p->rows, cols);
        p->at = m->floats, p->size = p->mat.lines * LINE, p->rate = 1;
        m->floats += p->size;
        if (p->rank == 1) p->lane = m->lanes, m->lanes += p->size;
    }
    m->w = mem_new(m->floats, sizeof(float));
    if (gradient) {
        m->g = mem_new(m->floats, sizeof(float)), m->lane_g = mem_new(m->lanes * LINE, sizeof(float));
        m->lookup_g = mem_new(m->table[WTE].size, sizeof(float));
    }
    if (moments) m->m = mem_new(m->floats, sizeof(float)), m->v = mem_new(m->floats, sizeof(float));
    return m;
}
static inline Gpt *gpt_new(GptConfig c, bool train) { return gpt_make(c, NULL, train, train); }
static inline void gpt_free(Gpt *m) {
    for (size_t k = 0; k < m->count; k++) sp_free(&m->table[k].mat), free(m->table[k].born);
    free(m->table), free(m->w), free(m->g), free(m->m), free(m->v), free(m->lane_g), free(m->lookup_g);
    free(m);
}

/* The numbers of a tensor that are kept, one after the other: for (GptPlace n = {0}; gpt_place(p, &n);). What
 * is padding or masked is passed over. */
typedef struct { size_t next, r, flat, named; } GptPlace;   /* place in the flat array; in the named shape */

static inline bool gpt_place(const GptParam *p, GptPlace *n) {
    const SpMat *m = &p->mat;
    for (; n->next < p->size; n->next++) {
        const size_t l = n->next / LINE, o = n->next % LINE;
        while (l == m->first[n->r + 1]) n->r++;             /* the row block of the line */
        if (!(sp_kept(m, n->r, l) >> o & 1)) continue;
        const size_t out = n->r * LINE + o, in = sp_cols(m, n->r)[l - m->first[n->r]];
        n->flat = p->at + n->next++, n->named = p->in_out ? in * m->OC + out : out * m->IC + in;
        return true;
    }
    return false;
}
/* Copies tensor p between a flat array and row-major values in its named shape; what is masked reads as 0 and
 * is not set. */
static inline void gpt_get(const GptParam *p, const float *flat, float *values) {
    memset(values, 0, gpt_elements(p) * sizeof *values);
    for (GptPlace n = {0}; gpt_place(p, &n);) values[n.named] = flat[n.flat];
}
static inline void gpt_set(const GptParam *p, float *flat, const float *values) {
    for (GptPlace n = {0}; gpt_place(p, &n);) flat[n.flat] = values[n.named];
}

static inline double gpt_density(const GptParam *p) {
    return (double)sp_elements(&p->mat) / (double)gpt_elements(p);
}

/* Initial weights: element n of a tensor is a function of (seed, name, n) alone, whatever the layout or mask.
 * scaled: times 1 / sqrt(density), so that a sparse matrix's outputs are as large as a dense one's. */
static inline void gpt_init(Gpt *m, uint64_t seed, bool scaled) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        const uint64_t key = rng_key(seed, p->name);
        const double std = p->std / (scaled ? sqrt(gpt_density(p)) : 1);
        for (GptPlace n = {0}; gpt_place(p, &n);)
            m->w[n.flat] = (float)(p->mean + (std > 0 ? std * rng_normal(key, n.named) : 0));
    }
}

static inline bool gpt_maskable(const GptParam *p) { return p->in_out; }    /* the four matrices of a layer */
static inline bool gpt_masked(const GptParam *p) { return !p->mat.dense || p->mat.keep; }

/* ---- a run: the activations of B sequences of T tokens ------------------------------------------------ *
 * An edge is what flows from one stage to another: rows, one line per group of 16 tokens each. All edges have
 * a place off chip, [group][row][16] for the whole run; those before E_KEPT stay there for the backward pass,
 * one array a layer, the others are used again by every layer. On chip an edge has a few panels' slots,
 * spread over the tiles of the stage that writes it. A view is where one panel of an edge lies, wherever that
 * is:
 *
 *     row i of group g:     p + g gs + row[i] 16 */

/* Forward     x -LN1- n1 -QKV- qkv -ATTENTION- att -PROJ, + x- mid -LN2- n2 -FC, GELU- h -FC2, + mid- next x
 * Backward    dx of l + 1 -FC2_DATA- dh -GELU_BACK- dg (in dh's place) -FC_DATA- dn2
 *             -LN2_DATA, + dx of l + 1- dxm -PROJ_DATA- datt -ATTENTION_BACK- dqkv -QKV_DATA- dn1
 *             -LN1_DATA, + dxm- dx
 * dx of layer l is the derivative by the layer's input, dxm that by mid. s1, s2: statistics of norms; soft:
 * of attention; fc: GELU's input; n1b, n2b, hb: n1, n2, h computed again, for dw. */
enum { E_X, E_S1, E_QKV, E_SOFT, E_ATT, E_MID, E_S2, E_FC, E_KEPT,
       E_N1 = E_KEPT, E_N2, E_H, E_DX, E_DH, E_DG, E_HB, E_DN2, E_N2B, E_DXM, E_DATT, E_DQKV, E_DN1, E_N1B,
       E_LOGITS, E_DLOGITS, EDGES };
enum { MOVING = 8 };                /* arrays that layers share: n h dx dh dn datt dqkv logits */

typedef struct { float *p; size_t rows; } GptEdge;          /* off chip */
typedef struct { float *p; size_t gs; const uint32_t *row; } GptView;
typedef struct { size_t at, g0, ng; } GptPanel; /* first group: in edges, in its sequence; how many */

typedef struct GptMachine GptMachine;
enum { MOVED_IN, MOVED_OUT, MOVED_RANDOM, MOVED_WEIGHTS, MOVED_GRADS, MOVED_KINDS = 8 };
typedef struct {
    Gpt *m;
    DfPool *pool;
    size_t B, T, stride;            /* sequences, tokens of each, groups from one sequence to the next */
    size_t from, groups;            /* the groups from .. groups-1 of each sequence are computed */
    size_t panel;                   /* groups a panel */
    const int32_t *inputs, *targets;                        /* (B,T); a target below 0 does not count */
    GptEdge *kept, moving[MOVING];  /* [(L + 1) KEPT] */
    uint32_t *identity;             /* 0, 1, 2 ... the rows of an edge off chip */
    float *scratch;                 /* per worker, two columns of scores of one group */
    double *loss;                   /* (B, stride x 16) of each token */
    float dscale;                   /* 1 / number of targets that count in the whole step */
    GptMachine *machine;            /* the chip that trains; NULL: stage by stage */
    const DfSection *on;            /* what the chip runs now */
    double *moved;                  /* [workers][8] lines that went on and off the chip, as they went */
} GptRun;

/* An edge's name in the graph; rows, in units of C or as the words say; of one that is not kept, which of the
 * shared arrays it uses off chip. */
enum { TWO = -3, TWO_A_HEAD, TOKENS };
static const struct { const char *name; int rows, array; } gpt_edge[EDGES] = {
    [E_X] = {"x", 1, 0},           [E_S1] = {"", TWO, 0},         [E_QKV] = {"qkv", 3, 0},
    [E_SOFT] = {"", TWO_A_HEAD, 0}, [E_ATT] = {"att", 1, 0},      [E_MID] = {"mid", 1, 0},
    [E_S2] = {"", TWO, 0},         [E_FC] = {"", 4, 0},           [E_N1] = {"n1", 1, 0},
    [E_N2] = {"n2", 1, 0},         [E_H] = {"h", 4, 1},           [E_DX] = {"dx", 1, 2},
    [E_DH] = {"dh", 4, 3},         [E_DG] = {"dh", 4, 3},         [E_HB] = {"h again", 4, 1},
    [E_DN2] = {"dn2", 1, 4},       [E_N2B] = {"n2 again", 1, 0},  [E_DXM] = {"dmid", 1, 2},
    [E_DATT] = {"datt", 1, 5},     [E_DQKV] = {"dqkv", 3, 6},     [E_DN1] = {"dn1", 1, 4},
    [E_N1B] = {"n1 again", 1, 0},  [E_LOGITS] = {"logits", TOKENS, 7}, [E_DLOGITS] = {"logits", TOKENS, 7}};

static inline size_t gpt_rows(size_t n) { return size_up(n, LINE); }
static inline float *gpt_w(const GptRun *r, size_t k) { return r->m->w + r->m->table[k].at; }
static inline size_t gpt_edge_rows(const GptConfig *c, int e) {
    const int n = gpt_edge[e].rows;
    return n == TWO ? 2 : n == TWO_A_HEAD ? 2 * c->NH : gpt_rows(n == TOKENS ? c->V : (size_t)n * c->C);
}
static inline int gpt_array_edge(int array) {               /* the first that uses it */
    int e = E_KEPT;
    while (gpt_edge[e].array != array) e++;
    return e;
}

/* Takes the memory of all edges of a run, or with a NULL run only counts it; the bytes. To train, everything;
 * else what the forward pass needs. Above the last layer there are its output, and the norm's statistics. */
static inline size_t gpt_edges(const GptConfig *c, size_t groups, size_t panel, bool train, GptRun *r) {
    size_t bytes = 0;
    for (size_t k = 0; k < (c->L + 1) * E_KEPT + MOVING; k++) {
        const size_t l = k / E_KEPT;
        const bool kept = l <= c->L;
        const int e = kept ? (int)(k % E_KEPT) : gpt_array_edge((int)(k - (c->L + 1) * E_KEPT));
        const bool used = kept ? l < c->L || e < 2 : train || e == E_N1 || e == E_H || e == E_LOGITS;
        GptEdge *edge = r ? kept ? &r->kept[k] : &r->moving[k - (c->L + 1) * E_KEPT] : NULL;
        const size_t rows = used ? gpt_edge_rows(c, e) : 0;
        const size_t floats = size_mul(size_mul(e == E_LOGITS ? panel : groups, rows), LINE);
        if (edge) *edge = (GptEdge){rows ? mem_new(floats, sizeof(float)) : NULL, rows};
        bytes += size_mul(floats, sizeof(float));
    }
    return bytes;
}
static inline size_t gpt_groups(size_t T) { return (T + LINE - 1) / LINE; }

/* Bytes that gpt_run_new will take, without taking them. */
static inline size_t gpt_run_bytes(const GptConfig *c, size_t B, size_t T, size_t panel, size_t workers,
                                   bool train) {
    const size_t groups = size_mul(B, gpt_groups(T));
    return gpt_edges(c, groups, panel, train, NULL) + workers * 2 * gpt_groups(T) * 1024 + groups * LINE * 8;
}

/* A run of B sequences of up to T tokens, P tokens a panel; fewer if there would be too few panels to share
 * out. */
static inline GptRun *gpt_run_new(Gpt *m, DfPool *pool, size_t B, size_t T, size_t P, bool train) {
    GptRun *r = mem_new(1, sizeof *r);
    const size_t NG = gpt_groups(T), share = B * NG / (2 * pool->workers);
    const size_t most = gpt_rows(m->c.V) + 4 * gpt_rows(m->c.C) + AHEAD;
    *r = (GptRun){.m = m, .pool = pool, .B = B, .T = T, .stride = NG, .groups = NG, .panel = P / LINE};
    r->panel = size_min(r->panel, size_max(share, 1));
    r->kept = mem_new((m->c.L + 1) * E_KEPT, sizeof *r->kept);
    gpt_edges(&m->c, B * NG, r->panel, train, r);
    r->identity = mem_new(most, sizeof *r->identity);
    for (size_t i = 0; i < most; i++) r->identity[i] = (uint32_t)i;
    r->scratch = mem_new(pool->workers * 2 * NG * LINE * LINE, sizeof(float));
    r->loss = mem_new(B * NG * LINE, sizeof(double));
    r->moved = mem_new(pool->workers * MOVED_KINDS, sizeof(double));
    return r;
}
static inline void gpt_machine_free(GptRun *r);
static inline void gpt_run_free(GptRun *r) {
    for (size_t e = 0; e < E_KEPT * (r->m->c.L + 1); e++) free(r->kept[e].p);
    for (size_t e = 0; e < MOVING; e++) free(r->moving[e].p);
    gpt_machine_free(r), free(r->moved);
    free(r->kept), free(r->identity), free(r->scratch), free(r->loss), free(r);
}

static inline size_t gpt_panels(const GptRun *r) { return (r->groups - r->from + r->panel - 1) / r->panel; }
static inline GptPanel gpt_panel(const GptRun *r, size_t p) {           /* panel p of all sequences */
    const size_t per = gpt_panels(r), g0 = r->from + p % per * r->panel;
    return (GptPanel){p / per * r->stride + g0, g0, size_min(r->groups - g0, r->panel)};
}
/* Panel p in the order of the backward stream: sequence by sequence, last panel first. */
static inline GptPanel gpt_panel_back(const GptRun *r, size_t p) {
    const size_t per = gpt_panels(r);
    return gpt_panel(r, p / per * per + (per - 1 - p % per));
}

/* One firing of a stage: units u0 .. u1 of it (row blocks, heads, features) on panel i of its stream. */
typedef struct {
    const GptRun *r;
    int stage;
    size_t l, u0, u1, i, worker;    /* layer; place in the stream, which gives the slot of an edge on chip */
    GptPanel p;
    const float *w;                 /* lines of row block u0 on */
    float *dw, *db;                 /* accumulators of the same; lines of per-lane sums of unit u0 on */
    float *state;                   /* attention's keys and values on chip; NULL: where the edges are */
    size_t grains, jump;            /* groups of them on a tile; floats from a tile to the next */
    const uint32_t *col;            /* the matrix's columns as rows of what it gathers from; NULL: as is */
    const SpMat *slice;             /* backward-data on a tile: the columns it holds; NULL: all */
    size_t b0, b1;                  /* and the row blocks it goes through; w: lines of b0 on */
} GptFire;

static inline GptView gpt_off_chip(const GptFire *f, size_t l, int e) {
    const GptRun *r = f->r;
    const GptEdge x = e < E_KEPT ? r->kept[l * E_KEPT + (size_t)e] : r->moving[gpt_edge[e].array];
    const size_t at = e == E_LOGITS || e == E_DLOGITS ? 0 : f->p.at;
    return (GptView){x.p + at * x.rows * LINE, x.rows * LINE, r->identity};
}
/* Where panel f->p of edge e of layer l lies. */
static inline GptView gpt_view(const GptFire *f, size_t l, int e) {
    const DfSlot *s = f->r->on ? &f->r->on->slot[l * EDGES + (size_t)e] : NULL;
    if (!s || !s->slots) return gpt_off_chip(f, l, e);
    return (GptView){s->chip + f->i % s->slots * s->stride, s->gs, s->row};
}
static inline float *gpt_line(GptView v, size_t g, size_t i) {
    return v.p + g * v.gs + (size_t)v.row[i] * LINE;
}

static inline void gpt_moved(const GptFire *f, int kind, size_t lines) {
    f->r->moved[f->worker * MOVED_KINDS + (size_t)kind] += (double)lines;
}

/* Zeroes the rows past n that fill an edge up to whole row blocks: on chip other things lay there before. */
static inline void gpt_pad(const GptFire *f, GptView v, size_t n) {
    for (size_t g = 0; g < f->p.ng; g++)
        for (size_t i = n; i < gpt_rows(n); i++) memset(gpt_line(v, g, i), 0, LINE * sizeof(float));
}

static inline void gpt_stream(float *restrict to, const float *restrict from, size_t lines) {
    for (size_t n = 0; n < lines * LINE; n += LANES) vf_stream(to + n, vf_load(from + n));
}
/* Stores rows i0 .. i1 of an edge off chip too, if it lies on chip and is wanted later. */
static inline void gpt_keep(const GptFire *f, size_t l, int e, size_t i0, size_t i1) {
    if (!f->r->on || !f->r->on->slot[l * EDGES + (size_t)e].stored) return;
    const GptView from = gpt_view(f, l, e), to = gpt_off_chip(f, l, e);
    for (size_t g = 0; g < f->p.ng; g++)
        for (size_t i = i0; i < i1; i++) gpt_stream(gpt_line(to, g, i), gpt_line(from, g, i), 1);
    gpt_moved(f, MOVED_OUT, f->p.ng * (i1 - i0));
}

/* ---- stages on one panel: norm, linear, GELU ---------------------------------------------------------- */

/* x = wte[token] + wpe[position]; idle lanes 0 */
static inline void gpt_embed(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const GptView vx = gpt_view(f, 0, E_X);
    for (size_t g = 0; g < f->p.ng; g++) {
        const float *pos = gpt_w(r, WPE) + (f->p.g0 + g) * C * LINE;
        for (size_t t = 0; t < LINE; t++) {
            const size_t token = (f->p.g0 + g) * LINE + t;
            const size_t id = token < r->T ? (size_t)r->inputs[f->p.at / r->stride * r->T + token] : 0;
            const float *word = gpt_w(r, WTE) + id / LINE * C * LINE + id % LINE;
            for (size_t c = 0; c < C; c++)
                gpt_line(vx, g, c)[t] = token < r->T ? word[c * LINE] + pos[c * LINE + t] : 0;
        }
    }
    gpt_pad(f, vx, C), gpt_keep(f, 0, E_X, 0, gpt_rows(C)), gpt_moved(f, MOVED_RANDOM, 2 * f->p.ng * C);
}

/* Of the norm of edge ex: its gain, and where its statistics lie. */
static inline size_t gpt_norm_gain(const GptFire *f, int ex) {
    return gpt_layer(f->l, ex == E_X ? LN1W : LN2W);
}
static inline GptView gpt_statistics(const GptFire *f, int ex) {
    return gpt_off_chip(f, f->l, ex == E_X ? E_S1 : E_S2);
}

/* out = gain (x - mean) rstd + bias, per lane over C features. stats (2,16): mean and rstd, off chip; found
 * there if `again` */
static inline void gpt_norm(const GptFire *f, int ex, int eout, bool again) {
    const size_t C = f->r->m->c.C, k = gpt_norm_gain(f, ex);
    const GptView vx = gpt_view(f, f->l, ex), vs = gpt_statistics(f, ex), vo = gpt_view(f, f->l, eout);
    const float *gain = gpt_w(f->r, k), *bias = gpt_w(f->r, k + 1);
    for (size_t g = 0; g < f->p.ng; g++) {
        const float *x = vx.p + g * vx.gs;
        float *stats = vs.p + g * vs.gs, *out = vo.p + g * vo.gs;
        for (size_t v = 0; v < LINE; v += LANES) {
            vf mean = vf_all(0), var = vf_all(0), rstd = vf_all(0);
            for (size_t c = 0; c < C && !again; c++) mean += vf_load(x + vx.row[c] * LINE + v);
            mean *= vf_all(1 / (float)C);
            for (size_t c = 0; c < C && !again; c++) {
                const vf d = vf_load(x + vx.row[c] * LINE + v) - mean;
                var = vf_fma(d, d, var);
            }
            rstd = vf_all(1) / vf_sqrt(var / vf_all((float)C) + vf_all(1e-5f));
            if (again) mean = vf_load(stats + v), rstd = vf_load(stats + LINE + v);
            else vf_store(stats + v, mean), vf_store(stats + LINE + v, rstd);
            for (size_t c = 0; c < C; c++)
                vf_store(out + vo.row[c] * LINE + v, vf_fma((vf_load(x + vx.row[c] * LINE + v) - mean) * rstd,
                                                            vf_all(gain[c]), vf_all(bias[c])));
        }
    }
    gpt_pad(f, vo, C), gpt_keep(f, f->l, eout, 0, gpt_rows(C)),
        gpt_moved(f, again ? MOVED_IN : MOVED_OUT, 2 * f->p.ng);
}

/* n = gain hat + bias, hat = (x - mean) rstd: dout = din + rstd (dn gain - a - hat ah), a and ah the means
 * over the features of dn gain and dn gain hat. edin < 0: no din */
static inline void gpt_norm_data(const GptFire *f, int ex, int edn, int edin, int edout) {
    const size_t C = f->r->m->c.C;
    const GptView vx = gpt_view(f, f->l, ex), vs = gpt_statistics(f, ex), vn = gpt_view(f, f->l, edn);
    const GptView vi = gpt_view(f, edin == E_DX ? f->l + 1 : f->l, edin < 0 ? edn : edin),
                  vo = gpt_view(f, f->l, edout);
    const float *gain = gpt_w(f->r, gpt_norm_gain(f, ex));
    for (size_t g = 0; g < f->p.ng; g++) {
        const float *x = vx.p + g * vx.gs, *stats = vs.p + g * vs.gs, *dn = vn.p + g * vn.gs,
                    *din = vi.p + g * vi.gs;
        float *dout = vo.p + g * vo.gs;
        for (size_t v = 0; v < LINE; v += LANES) {
            const vf mean = vf_load(stats + v), rstd = vf_load(stats + LINE + v), part = vf_all(1 / (float)C);
            vf a = vf_all(0), ah = vf_all(0);
            for (size_t c = 0; c < C; c++) {
                const vf d = vf_load(dn + vn.row[c] * LINE + v) * vf_all(gain[c]);
                a += d, ah = vf_fma(d, (vf_load(x + vx.row[c] * LINE + v) - mean) * rstd, ah);
            }
            a *= part, ah *= part;
            for (size_t c = 0; c < C; c++) {
                const vf hat = (vf_load(x + vx.row[c] * LINE + v) - mean) * rstd;
                const vf d = vf_fma(-hat, ah, vf_load(dn + vn.row[c] * LINE + v) * vf_all(gain[c]) - a);
                const vf before = edin < 0 ? vf_all(0) : vf_load(din + vi.row[c] * LINE + v);
                vf_store(dout + vo.row[c] * LINE + v, vf_fma(rstd, d, before));
            }
        }
    }
    gpt_pad(f, vo, C), gpt_keep(f, f->l, edout, 0, gpt_rows(C)), gpt_moved(f, MOVED_IN, 2 * f->p.ng);
}

/* The pattern of parameter k as a stage sees it that gathers from an edge. */
static inline SpMat gpt_pattern(const GptFire *f, size_t k, GptView from) {
    SpMat m = f->r->m->table[k].mat;
    if (m.dense) m.col = (uint32_t *)(uintptr_t)from.row;   /* only read */
    else if (f->col) m.col = (uint32_t *)(uintptr_t)f->col;
    return m;
}

/* GELU in its tanh form is x s with s = 1 / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3) */
INLINE vf gpt_sigmoid2u(vf x) {
    const vf u2 = x * vf_fma(x * x, vf_all(-2 * 0.044715f * 0.7978845608f), vf_all(-2 * 0.7978845608f));
    return vf_all(1) / (vf_all(1) + vf_exp(u2));
}
/* h = gelu(fc), n lines */
static inline void gpt_gelu(const float *restrict fc, float *restrict h, size_t n) {
    for (size_t i = 0; i < n * LINE; i += LANES) {
        const vf x = vf_load(fc + i);
        vf_store(h + i, x * gpt_sigmoid2u(x));
    }
}
/* h = gelu(fc) again, and dh *= gelu'(fc): d(x s) = s + x s (1 - s) 2u' */
static inline void gpt_gelu_data(const float *restrict fc, float *restrict h, float *restrict dh, size_t n) {
    for (size_t i = 0; i < n * LINE; i += LANES) {
        const vf x = vf_load(fc + i), s = gpt_sigmoid2u(x), one = vf_all(1);
        const vf slope = vf_fma(x * x, vf_all(6 * 0.044715f * 0.7978845608f), vf_all(2 * 0.7978845608f));
        vf_store(h + i, x * s);
        vf_store(dh + i, vf_load(dh + i) * vf_fma(x * s * (one - s), slope, s));
    }
}

/* y = W x + b (+ add), row blocks u0 .. u1 of parameter k; its bias is parameter k + 1, unless there is none.
 * The 16 outputs of a row block are set and summed while they are in the cache. With eh the sums are GELU's
 * input: they go off chip, GELU of them to eh. */
static inline void gpt_linear(const GptFire *f, size_t k, int ex, size_t ly, int ey, int eadd, int eh) {
    float block[GROUPS_MAX * LINE * LINE] __attribute__((aligned(64))); /* GELU's input of a row block */
    const GptView x = gpt_view(f, f->l, ex), y = eh < 0 ? gpt_view(f, ly, ey) : gpt_off_chip(f, ly, ey);
    const GptView add = eadd < 0 ? y : gpt_view(f, f->l, eadd), h = eh < 0 ? y : gpt_view(f, ly, eh);
    const SpMat mat = gpt_pattern(f, k, x);
    const float *bias = k == WTE ? NULL : gpt_w(f->r, k + 1);
    for (size_t b = f->u0; b < f->u1; b++) {
        float *out = eh < 0 ? gpt_line(y, 0, b * LINE) : block;
        const size_t gs = eh < 0 ? y.gs : LINE * LINE;
        for (size_t g = 0; g < f->p.ng; g++) {
            const float *from = gpt_line(add, g, b * LINE);
            for (size_t o = 0; o < LINE; o++)
                for (size_t v = 0; v < LINE; v += LANES) {
                    const vf s = vf_all(bias ? bias[b * LINE + o] : 0);
                    vf_store(out + g * gs + o * LINE + v, eadd < 0 ? s : s + vf_load(from + o * LINE + v));
                }
        }
        sp_forward((SpBlocks){&mat, b, b + 1}, f->w + (size_t)(mat.first[b] - mat.first[f->u0]) * LINE,
                   (SpPanel){x.p, x.gs, x.row}, (SpPanel){out, gs, y.row}, f->p.ng);
        if (eh < 0) { gpt_keep(f, ly, ey, b * LINE, (b + 1) * LINE); continue; }
        for (size_t g = 0; g < f->p.ng; g++) {
            gpt_gelu(block + g * gs, gpt_line(h, g, b * LINE), LINE);
            gpt_stream(gpt_line(y, g, b * LINE), block + g * gs, LINE);
        }
        gpt_keep(f, ly, eh, b * LINE, (b + 1) * LINE), gpt_moved(f, MOVED_OUT, f->p.ng * LINE);
    }
}

/* y = W x + b: dx = W' dy by parameter k, rows 16 u0 .. 16 u1 of dx: row blocks b0 .. b1 continue the sums
 * that those before them began. */
static inline void gpt_linear_data(const GptFire *f, size_t k, size_t ly, int edy, int edx) {
    const GptView dy = gpt_view(f, ly, edy), dx = gpt_view(f, f->l, edx);
    const SpMat mat = f->slice ? *f->slice : gpt_pattern(f, k, dx);
    for (size_t g = 0; g < f->p.ng && f->b0 == 0; g++)
        for (size_t i = f->u0 * LINE; i < f->u1 * LINE; i++)
            memset(gpt_line(dx, g, i), 0, LINE * sizeof(float));
    sp_backward_data((SpBlocks){&mat, f->b0, f->b1}, f->w, (SpPanel){dy.p, dy.gs, dy.row},
                     (SpPanel){dx.p, dx.gs, dx.row}, f->p.ng);
    if (f->b1 == mat.nb) gpt_keep(f, f->l, edx, f->u0 * LINE, f->u1 * LINE);
}

/* y = W x + b: dw += dy x' and db += dy for row blocks u0 .. u1 of parameter k */
static inline void gpt_linear_weight(const GptFire *f, size_t k, size_t ly, int edy, int ex) {
    const GptView dy = gpt_view(f, ly, edy), x = gpt_view(f, f->l, ex);
    const SpMat mat = gpt_pattern(f, k, x);
    sp_backward_weight((SpBlocks){&mat, f->u0, f->u1}, f->dw, (SpPanel){dy.p, dy.gs, dy.row},
                       (SpPanel){x.p, x.gs, x.row}, f->p.ng);
    for (size_t b = f->u0; b < f->u1 && f->db; b++)
        for (size_t g = f->p.ng; g-- > 0;) {
            const float *d = gpt_line(dy, g, b * LINE);
            float *db = f->db + (b - f->u0) * LINE * LINE;
            for (size_t n = 0; n < LINE * LINE; n += LANES)
                vf_store(db + n, vf_load(db + n) + vf_load(d + n));
        }
}

/* dh *= gelu'(fc), and h = gelu(fc) again, row blocks u0 .. u1 */
static inline void gpt_gelu_back(const GptFire *f) {
    const GptView fc = gpt_off_chip(f, f->l, E_FC), h = gpt_view(f, f->l, E_HB), dh = gpt_view(f, f->l, E_DG);
    for (size_t b = f->u0; b < f->u1; b++)
        for (size_t g = 0; g < f->p.ng; g++)
            gpt_gelu_data(gpt_line(fc, g, b * LINE), gpt_line(h, g, b * LINE), gpt_line(dh, g, b * LINE),
                          LINE);
    gpt_moved(f, MOVED_IN, f->p.ng * (f->u1 - f->u0) * LINE);
    gpt_keep(f, f->l, E_HB, f->u0 * LINE, f->u1 * LINE), gpt_keep(f, f->l, E_DG, f->u0 * LINE, f->u1 * LINE);
}

/* n = gain hat + bias, features u0 .. u1 of a norm: dgain += dn hat, dbias += dn. dw: dgain's lines, db:
 * dbias's */
static inline void gpt_norm_weight(const GptFire *f, int ex, int edn) {
    const GptView vx = gpt_view(f, f->l, ex), vs = gpt_statistics(f, ex), vn = gpt_view(f, f->l, edn);
    for (size_t g = f->p.ng; g-- > 0;) {
        const float *st = vs.p + g * vs.gs;
        for (size_t v = 0; v < LINE; v += LANES) {
            const vf mean = vf_load(st + v), rstd = vf_load(st + LINE + v);
            for (size_t c = f->u0; c < f->u1; c++) {
                float *dgain = f->dw + (c - f->u0) * LINE + v, *dbias = f->db + (c - f->u0) * LINE + v;
                const vf d = vf_load(gpt_line(vn, g, c) + v),
                         hat = (vf_load(gpt_line(vx, g, c) + v) - mean) * rstd;
                vf_store(dgain, vf_fma(d, hat, vf_load(dgain)));
                vf_store(dbias, vf_load(dbias) + d);
            }
        }
    }
    if (f->u0 == 0) gpt_moved(f, MOVED_IN, 2 * f->p.ng);
}

/* x = wte[token] + wpe[position], features u0 .. u1: both rows that were looked up gain dx */
static inline void gpt_embed_weight(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const GptView vx = gpt_view(f, 0, E_DX);
    for (size_t g = f->p.ng; g-- > 0;) {
        float *pos = r->m->g + r->m->table[WPE].at + (f->p.g0 + g) * C * LINE;
        for (size_t c = f->u0; c < f->u1; c++)
            for (size_t t = 0; t < LINE; t++) pos[c * LINE + t] += gpt_line(vx, g, c)[t];
        for (size_t t = 0, token = (f->p.g0 + g) * LINE; t < LINE && token < r->T; t++, token++) {
            const size_t id = (size_t)r->inputs[f->p.at / r->stride * r->T + token];
            float *word = r->m->lookup_g + id / LINE * C * LINE + id % LINE;
            for (size_t c = f->u0; c < f->u1; c++) word[c * LINE] += gpt_line(vx, g, c)[t];
        }
    }
    gpt_moved(f, MOVED_RANDOM, 4 * f->p.ng * (f->u1 - f->u0));
}

/* ---- attention: the same products with a head's keys and values in the place of the weights ----------- */

/* Where head h's keys and values, and with `back` their gradients, of the whole sequence lie, by groups of hs
 * lines. On chip they are the tile's state, [group][k v dk dv][hs][16], spread over several tiles if one is
 * too small; off chip the edges themselves. */
typedef struct { float *k, *v, *dk, *dv; size_t stride, grains, jump; } GptMemory;

static inline GptMemory gpt_memory(const GptFire *f, size_t h, bool back) {
    const GptRun *r = f->r;
    const size_t hs = r->m->c.C / r->m->c.NH, C = r->m->c.C, one = hs * LINE, stride = (back ? 4 : 2) * one;
    if (f->state) {
        float *p = f->state + (h - f->u0) * f->grains * stride;
        return (GptMemory){p, p + one, p + 2 * one, p + 3 * one, stride, f->grains, f->jump};
    }
    const GptView qkv = gpt_off_chip(f, f->l, E_QKV), d = back ? gpt_off_chip(f, f->l, E_DQKV) : qkv;
    float *p = qkv.p - f->p.g0 * qkv.gs + h * one, *dp = d.p - f->p.g0 * d.gs + h * one;
    return (GptMemory){p + C * LINE, p + 2 * C * LINE, dp + C * LINE, dp + 2 * C * LINE, qkv.gs, SIZE_MAX, 0};
}
static inline float *gpt_group(const GptMemory *m, float *of, size_t n) {
    return of + n / m->grains * m->jump + n % m->grains * m->stride;
}

/* Scores of 16 queries (a group) against n groups of keys, m->k or m->v: s (16n,16) = keys' q; q: lines col
 * of x */
static inline void gpt_scores(size_t hs, const uint32_t *col, const float *x, const GptMemory *m, float *keys,
                              size_t n, float *s) {
    memset(s, 0, n * LINE * LINE * sizeof(float));
    for (size_t k = 0; k < n; k++, s += LINE * LINE) {
        sp_forward_narrow(gpt_group(m, keys, k), (SpLines){.col = col, .n = hs, .blocks = 1},
                          (SpPanel){.lines = (float *)(uintptr_t)x}, (SpPanel){.lines = s});
    }
}
/* lines col of out (hs) += values times p (16n,16), values: m->k or m->v */
static inline void gpt_mix(size_t hs, const uint32_t *col, const float *p, const GptMemory *m, float *values,
                           size_t n, float *out) {
    for (size_t at = 0, run; at < n; at += run, p += run * LINE * LINE) {       /* groups on one tile */
        run = size_min(m->grains, n - at);
        sp_data_narrow(gpt_group(m, values, at), (SpLines){col, hs, m->stride, run},
                       (SpPanel){.lines = (float *)(uintptr_t)p}, (SpPanel){.lines = out});
    }
}
/* dk (hs,16) += lines col of x times ds (16 keys, 16 queries) */
static inline void gpt_spread(size_t hs, const uint32_t *col, const float *ds, const float *x, float *dk) {
    float dst[LINE * LINE] __attribute__((aligned(64)));
    sp_transpose(dst, ds);
    sp_weight_narrow(dk, (SpLines){.col = col, .n = hs, .blocks = 1}, (SpPanel){.lines = dst},
                     (SpPanel){.lines = (float *)(uintptr_t)x}, 1);
}
/* s (16n,16) becomes exp(s scale - max) mul, and 0 where a key of the last group lies after its query. max,
 * mul (may be NULL) and the sums over keys, sum (may be NULL), are one line each. */
static inline void gpt_softmax_exp(float *s, size_t n, float scale, const float *max, const float *mul,
                                   float *sum) {
    const size_t last = (n - 1) * LINE;             /* the first key of the queries' own group */
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v), by = mul ? vf_load(mul + v) : vf_all(1);
        vf total = vf_all(0);
        for (size_t k = 0; k < n * LINE; k++) {
            vf e = vf_exp(vf_fma(vf_load(s + k * LINE + v), vf_all(scale), -top)) * by;
            if (k >= last) e = vf_below((int)(k - last) - (int)v, vf_all(0), e);
            vf_store(s + k * LINE + v, e);
            total += e;
        }
        if (sum) vf_store(sum + v, total);
    }
}

/* max[.] of the scores s (16n,16) that each of the 16 queries of group n - 1 may see, for the queries of one
 * vector from v on */
static inline vf gpt_score_max(const float *s, size_t n, size_t v) {
    const size_t last = (n - 1) * LINE;
    vf max = vf_load(s + last * LINE + v);
    for (size_t k = 1; k < LINE; k++) {
        const vf seen = vf_load(s + (last + k) * LINE + v);
        max = vf_max(vf_below((int)k - (int)v, max, seen), max);
    }
    for (size_t k = 0; k < last; k++) max = vf_max(max, vf_load(s + k * LINE + v));
    return max;
}
/* Copies lines row of group g of a view to or from hs lines of a tile's state. */
static inline void gpt_move(float *to, GptView v, size_t g, size_t row, size_t hs, bool back) {
    for (size_t i = 0; i < hs; i++)
        memcpy(back ? gpt_line(v, g, row + i) : to + i * LINE, back ? to + i * LINE : gpt_line(v, g, row + i),
               LINE * 4);
}

/* att = softmax(q k / sqrt(hs)) v for heads u0 .. u1 and the queries of a panel; keeps the max and 1 / sum of
 * each query */
static inline void gpt_attention(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C, hs = C / r->m->c.NH;
    const GptView qkv = gpt_view(f, f->l, E_QKV), vs = gpt_off_chip(f, f->l, E_SOFT),
                  att = gpt_view(f, f->l, E_ATT);
    const float scale = 1 / sqrtf((float)hs);
    float *s = r->scratch + f->worker * 2 * r->stride * LINE * LINE;
    for (size_t h = f->u0; h < f->u1; h++) {
        const GptMemory m = gpt_memory(f, h, false);
        for (size_t g = 0; g < f->p.ng && f->state; g++)
            gpt_move(gpt_group(&m, m.k, f->p.g0 + g), qkv, g, C + h * hs, hs, false),
                gpt_move(gpt_group(&m, m.v, f->p.g0 + g), qkv, g, 2 * C + h * hs, hs, false);
        for (size_t g = 0; g < f->p.ng; g++) {
            const size_t n = f->p.g0 + g + 1;
            float *soft = vs.p + g * vs.gs + h * 2 * LINE;
            gpt_scores(hs, qkv.row + h * hs, qkv.p + g * qkv.gs, &m, m.k, n, s);
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(soft + v, gpt_score_max(s, n, v) * vf_all(scale));
            gpt_softmax_exp(s, n, scale, soft, NULL, soft + LINE);
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(soft + LINE + v, vf_all(1) / vf_load(soft + LINE + v));
            for (size_t i = 0; i < hs; i++) memset(gpt_line(att, g, h * hs + i), 0, LINE * sizeof(float));
            gpt_mix(hs, att.row + h * hs, s, &m, m.v, n, att.p + g * att.gs);
            for (size_t i = 0; i < hs; i++)
                for (size_t v = 0; v < LINE; v += LANES) {
                    float *o = gpt_line(att, g, h * hs + i) + v;
                    vf_store(o, vf_load(o) * vf_load(soft + LINE + v));
                }
        }
        gpt_keep(f, f->l, E_ATT, h * hs, (h + 1) * hs), gpt_moved(f, MOVED_OUT, 2 * f->p.ng);
    }
    if (f->u1 == r->m->c.NH) gpt_pad(f, att, C), gpt_keep(f, f->l, E_ATT, C, gpt_rows(C));
}

/* dqkv of heads u0 .. u1 gains what the queries of a panel, last group first, contribute:
 *   out = sum p v:                   dv += p dout        dp = v dout
 *   p = softmax(s), s = q k scale:   ds = p (dp - D) scale with D = sum p dp = dout out
 *                                    dq = sum ds k       dk += ds q
 * The first panel of a sequence clears dk and dv, and brings the keys and values on the chip. */
static inline void gpt_attention_back(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C, hs = C / r->m->c.NH;
    const GptView qkv = gpt_off_chip(f, f->l, E_QKV), vs = gpt_off_chip(f, f->l, E_SOFT),
                  att = gpt_view(f, f->l, E_ATT);
    const GptView datt = gpt_view(f, f->l, E_DATT), dqkv = gpt_view(f, f->l, E_DQKV);
    const float scale = 1 / sqrtf((float)hs);
    float *prob = r->scratch + f->worker * 2 * r->stride * LINE * LINE, *ds = prob + r->stride * LINE * LINE;
    for (size_t h = f->u0; h < f->u1; h++) {
        const GptMemory m = gpt_memory(f, h, true);
        GptView sequence = qkv;
        sequence.p -= f->p.g0 * qkv.gs;
        for (size_t g = 0; g < r->groups && f->p.g0 + f->p.ng == r->groups; g++) {
            memset(gpt_group(&m, m.dk, g), 0, hs * LINE * sizeof(float));
            memset(gpt_group(&m, m.dv, g), 0, hs * LINE * sizeof(float));
            if (!f->state) continue;
            gpt_move(gpt_group(&m, m.k, g), sequence, g, C + h * hs, hs, false);
            gpt_move(gpt_group(&m, m.v, g), sequence, g, 2 * C + h * hs, hs, false);
        }
        for (size_t g = f->p.ng; g-- > 0;) {
            const size_t n = f->p.g0 + g + 1;
            const float *soft = vs.p + g * vs.gs + h * 2 * LINE, *q = qkv.p + g * qkv.gs;
            gpt_scores(hs, qkv.row + h * hs, q, &m, m.k, n, prob);
            gpt_softmax_exp(prob, n, scale, soft, soft + LINE, NULL);
            gpt_scores(hs, datt.row + h * hs, datt.p + g * datt.gs, &m, m.v, n, ds);
            for (size_t v = 0; v < LINE; v += LANES) {
                vf D = vf_all(0);
                for (size_t i = 0; i < hs; i++)
                    D = vf_fma(vf_load(gpt_line(datt, g, h * hs + i) + v),
                               vf_load(gpt_line(att, g, h * hs + i) + v), D);
                for (size_t k = 0; k < n * LINE; k++)
                    vf_store(ds + k * LINE + v,
                             vf_load(prob + k * LINE + v) * (vf_load(ds + k * LINE + v) - D) * vf_all(scale));
            }
            for (size_t i = 0; i < hs; i++) memset(gpt_line(dqkv, g, h * hs + i), 0, LINE * sizeof(float));
            gpt_mix(hs, dqkv.row + h * hs, ds, &m, m.k, n, dqkv.p + g * dqkv.gs);
            for (size_t k = 0; k < n; k++) {
                gpt_spread(hs, qkv.row + h * hs, ds + k * LINE * LINE, q, gpt_group(&m, m.dk, k));
                gpt_spread(hs, datt.row + h * hs, prob + k * LINE * LINE, datt.p + g * datt.gs,
                           gpt_group(&m, m.dv, k));
            }
        }
        for (size_t g = 0; g < f->p.ng && f->state; g++)
            gpt_move(gpt_group(&m, m.dk, f->p.g0 + g), dqkv, g, C + h * hs, hs, true),
                gpt_move(gpt_group(&m, m.dv, f->p.g0 + g), dqkv, g, 2 * C + h * hs, hs, true);
        for (size_t third = 0; third < 3; third++)
            gpt_keep(f, f->l, E_DQKV, third * C + h * hs, third * C + (h + 1) * hs);
        gpt_moved(f, MOVED_IN, f->p.ng * (3 * hs + 2));     /* q, statistics; once a sequence k and v */
    }
    if (f->u1 == r->m->c.NH) gpt_pad(f, dqkv, 3 * C), gpt_keep(f, f->l, E_DQKV, 3 * C, gpt_rows(3 * C));
}

/* ---- the loss ------------------------------------------------------------------------------------------ */

/* loss = max + log sum exp(logit - max) - logit[target]. logits (V,16) of group g of a panel become d loss /
 * d logits = (p - [v = target]) dscale; r->loss gets each token's loss */
static inline void gpt_cross_entropy(const GptFire *f, size_t g, bool train) {
    const GptRun *r = f->r;
    const GptView logits = gpt_view(f, f->l, E_LOGITS);
    const size_t V = r->m->c.V, group = f->p.at + g, b = group / r->stride, t0 = group % r->stride * LINE;
    float max[LINE], sum[LINE], mul[LINE], *at = logits.p + g * logits.gs;
    int32_t target[LINE];
    for (size_t i = 0; i < LINE; i++) target[i] = t0 + i < r->T ? r->targets[b * r->T + t0 + i] : -1;
    for (size_t v = 0; v < LINE; v += LANES) {
        vf m = vf_load(at + v), s = vf_all(0);
        for (size_t o = 1; o < V; o++) m = vf_max(vf_load(at + logits.row[o] * LINE + v), m);
        vf_store(max + v, m);
        for (size_t i = v; i < v + LANES; i++)      /* the target's logit, before it is overwritten */
            r->loss[group * LINE + i] =
                target[i] < 0 ? 0 : (double)max[i] - (double)gpt_line(logits, g, (size_t)target[i])[i];
        for (size_t o = 0; o < V; o++) {
            const vf e = vf_exp(vf_load(at + logits.row[o] * LINE + v) - m);
            vf_store(at + logits.row[o] * LINE + v, e);
            s += e;
        }
        vf_store(sum + v, s);
    }
    for (size_t i = 0; i < LINE; i++) {
        if (target[i] >= 0) r->loss[group * LINE + i] += det_log((double)sum[i]);
        mul[i] = target[i] >= 0 ? r->dscale / sum[i] : 0;
    }
    gpt_moved(f, MOVED_OUT, 2);                             /* the losses, in double precision */
    if (!train) return;
    for (size_t o = 0; o < V; o++)
        for (size_t v = 0; v < LINE; v += LANES) {
            float *d = at + logits.row[o] * LINE + v;
            vf_store(d, vf_load(d) * vf_load(mul + v));
        }
    for (size_t i = 0; i < LINE; i++)
        if (target[i] >= 0) gpt_line(logits, g, (size_t)target[i])[i] -= r->dscale;
}

/* ---- the graph ------------------------------------------------------------------------------------------ *
 * What each stage reads, makes and owns: one table, from which both come: the stages one after the other over
 * the whole run (schedules serial and kernel), and the chip's graph (dataflow). */

typedef enum {
    EMBED, LN1, QKV, ATTENTION, PROJ, LN2, FC, FC2, LNF,                        /* forward */
    HEAD, HEAD_LOSS, HEAD_DATA, HEAD_W, LNF_W, LNF_DATA,                             /* backward */
    FC2_DATA, GELU_BACK, FC2_W, FC_DATA, LN2_AGAIN, FC_W, LN2_W, LN2_DATA, PROJ_DATA, PROJ_W,
    ATTENTION_BACK, QKV_DATA, LN1_AGAIN, QKV_W, LN1_W, LN1_DATA, EMBED_W, GPT_STAGES
} GptStage;
typedef enum { BY_PANEL, BY_HEAD, BY_ROWS, BY_FEATURES, BY_COLUMNS } GptCut;

/* cut: into what tasks `kernel` cuts it: panels; (sequence, head); row blocks; features. BY_COLUMNS: the chip
 * cuts it by columns of its matrix, `kernel` by panels. joins: a task of the stage before does this one too.
 * k: the parameter it owns, -1 none. share: uses the tiles of the stage so many before. */
static const struct {
    const char *name;
    GptCut cut;
    bool joins;
    int k, in[3], out[2];
    size_t share;
} gpt_stage[GPT_STAGES] = {
    [EMBED] = {"embed", BY_PANEL, 0, -1, {-1, -1, -1}, {E_X, -1}, 0},
    [LN1] = {"ln_1", BY_PANEL, 0, -1, {E_X, -1, -1}, {E_N1, -1}, 0},
    [QKV] = {"attn.c_attn", BY_PANEL, 0, QKVW, {E_N1, -1, -1}, {E_QKV, -1}, 0},
    [ATTENTION] = {"attention", BY_HEAD, 0, -1, {E_QKV, -1, -1}, {E_ATT, -1}, 0},
    [PROJ] = {"attn.c_proj", BY_PANEL, 0, PROJW, {E_ATT, E_X, -1}, {E_MID, -1}, 0},
    [LN2] = {"ln_2", BY_PANEL, 0, -1, {E_MID, -1, -1}, {E_N2, -1}, 0},
    [FC] = {"mlp.c_fc", BY_PANEL, 0, FCW, {E_N2, -1, -1}, {E_H, -1}, 0},
    [FC2] = {"mlp.c_proj", BY_PANEL, 0, FC2W, {E_H, E_MID, -1}, {E_X, -1}, 0},
    [LNF] = {"ln_f", BY_PANEL, 0, -1, {E_X, -1, -1}, {E_N1, -1}, 0},
    [HEAD] = {"head", BY_ROWS, 0, WTE, {E_N1, -1, -1}, {E_LOGITS, -1}, 0},
    [HEAD_LOSS] = {"loss", BY_PANEL, 0, -1, {E_LOGITS, -1, -1}, {E_DLOGITS, -1}, 0},
    [HEAD_DATA] = {"head dx", BY_COLUMNS, 0, WTE, {E_DLOGITS, -1, -1}, {E_DN1, -1}, 0},
    [HEAD_W] = {"head dw", BY_ROWS, 0, WTE, {E_N1, E_DLOGITS, -1}, {-1, -1}, 3},
    [LNF_W] = {"ln_f dw", BY_FEATURES, 0, LN1W, {E_DN1, E_X, -1}, {-1, -1}, 0},
    [LNF_DATA] = {"ln_f dx", BY_PANEL, 0, -1, {E_DN1, E_X, -1}, {E_DX, -1}, 1},
    [FC2_DATA] = {"mlp.c_proj dx", BY_COLUMNS, 0, FC2W, {E_DX, -1, -1}, {E_DH, -1}, 0},
    [GELU_BACK] = {"gelu dx", BY_PANEL, 1, -1, {E_DH, -1, -1}, {E_DG, E_HB}, 0},
    [FC2_W] = {"mlp.c_proj dw", BY_ROWS, 0, FC2W, {E_HB, E_DX, -1}, {-1, -1}, 2},
    [FC_DATA] = {"mlp.c_fc dx", BY_COLUMNS, 0, FCW, {E_DG, -1, -1}, {E_DN2, -1}, 0},
    [LN2_AGAIN] = {"ln_2 again", BY_PANEL, 1, -1, {E_MID, -1, -1}, {E_N2B, -1}, 0},
    [FC_W] = {"mlp.c_fc dw", BY_ROWS, 0, FCW, {E_N2B, E_DG, -1}, {-1, -1}, 2},
    [LN2_W] = {"ln_2 dw", BY_FEATURES, 0, LN2W, {E_DN2, E_MID, -1}, {-1, -1}, 0},
    [LN2_DATA] = {"ln_2 dx", BY_PANEL, 0, -1, {E_DN2, E_MID, E_DX}, {E_DXM, -1}, 1},
    [PROJ_DATA] = {"attn.c_proj dx", BY_COLUMNS, 0, PROJW, {E_DXM, -1, -1}, {E_DATT, -1}, 0},
    [PROJ_W] = {"attn.c_proj dw", BY_ROWS, 0, PROJW, {E_ATT, E_DXM, -1}, {-1, -1}, 1},
    [ATTENTION_BACK] = {"attention dx", BY_HEAD, 0, -1, {E_DATT, E_ATT, -1}, {E_DQKV, -1}, 0},
    [QKV_DATA] = {"attn.c_attn dx", BY_COLUMNS, 0, QKVW, {E_DQKV, -1, -1}, {E_DN1, -1}, 0},
    [LN1_AGAIN] = {"ln_1 again", BY_PANEL, 1, -1, {E_X, -1, -1}, {E_N1B, -1}, 0},
    [QKV_W] = {"attn.c_attn dw", BY_ROWS, 0, QKVW, {E_N1B, E_DQKV, -1}, {-1, -1}, 2},
    [LN1_W] = {"ln_1 dw", BY_FEATURES, 0, LN1W, {E_DN1, E_X, -1}, {-1, -1}, 0},
    [LN1_DATA] = {"ln_1 dx", BY_PANEL, 0, -1, {E_DN1, E_X, E_DXM}, {E_DX, -1}, 1},
    [EMBED_W] = {"embed dw", BY_FEATURES, 0, -1, {E_DX, -1, -1}, {-1, -1}, 0}};

static inline size_t gpt_in_layer(GptStage s, size_t l, int e) { /* whose edge e a stage of layer l reads */
    return e == E_DX && s != EMBED_W ? l + 1 : l;
}
static inline size_t gpt_out_layer(GptStage s, size_t l) { return s == FC2 ? l + 1 : l; }

/* The parameter that a stage owns; where it owns none, the first of its layer. */
static inline size_t gpt_owned(GptStage s, size_t l) {
    return s >= HEAD && s <= HEAD_W ? WTE : gpt_layer(l, gpt_stage[s].k < 0 ? 0 : gpt_stage[s].k);
}

static inline void gpt_fire(const GptFire *f) {
    const GptStage s = (GptStage)f->stage;
    const size_t l = f->l, k = gpt_owned(s, l);
    const int *in = gpt_stage[s].in, *out = gpt_stage[s].out;
    switch (s) {
    case EMBED: gpt_embed(f); break;
    case LN1: case LN2: case LNF: gpt_norm(f, in[0], out[0], false); break;
    case LN1_AGAIN: case LN2_AGAIN: gpt_norm(f, in[0], out[0], true); break;
    case LN1_W: case LN2_W: case LNF_W: gpt_norm_weight(f, in[1], in[0]); break;
    case LN1_DATA: case LN2_DATA: case LNF_DATA: gpt_norm_data(f, in[1], in[0], in[2], out[0]); break;
    case ATTENTION: gpt_attention(f); break;
    case ATTENTION_BACK: gpt_attention_back(f); break;
    case FC: gpt_linear(f, k, in[0], l, E_FC, -1, out[0]); break;
    case GELU_BACK: gpt_gelu_back(f); break;
    case HEAD_LOSS: for (size_t g = 0; g < f->p.ng; g++) gpt_cross_entropy(f, g, true); break;
    case EMBED_W: gpt_embed_weight(f); break;
    default:                                                /* linear: data, forward, weight */
        if (gpt_stage[s].cut == BY_COLUMNS) gpt_linear_data(f, k, gpt_in_layer(s, l, in[0]), in[0], out[0]);
        else if (out[0] >= 0) gpt_linear(f, k, in[0], gpt_out_layer(s, l), out[0], in[1], -1);
        else gpt_linear_weight(f, k, gpt_in_layer(s, l, in[1]), in[1], in[0]);
    }
    vf_streamed();
}

/* ---- schedules serial and kernel: a stage over the whole run, then the next ---------------------------- */

/* Where units u0 .. u1 of a stage find their weights and accumulators off chip. */
static inline void gpt_point(GptFire *f) {
    const GptRun *r = f->r;
    const size_t k = gpt_owned((GptStage)f->stage, f->l);
    if (gpt_stage[f->stage].k < 0) return;
    const GptParam *p = &r->m->table[k], *b = p + 1;
    if (p->rank == 1) {                                     /* gain and bias of a norm */
        f->dw = r->m->lane_g + (p->lane + f->u0) * LINE, f->db = r->m->lane_g + (b->lane + f->u0) * LINE;
        return;
    }
    f->w = r->m->w + p->at;
    f->b1 = p->mat.nb;
    if (gpt_stage[f->stage].cut == BY_COLUMNS) return;
    f->w += (size_t)p->mat.first[f->u0] * LINE;
    if (r->m->g) f->dw = r->m->g + p->at + (size_t)p->mat.first[f->u0] * LINE;
    if (r->m->g && k != WTE) f->db = r->m->lane_g + (b->lane + f->u0 * LINE) * LINE;
}
static inline size_t gpt_units(const GptRun *r, GptStage s, size_t l) { /* row blocks, columns, heads ... */
    if (s == ATTENTION || s == ATTENTION_BACK) return r->m->c.NH;
    if (s == GELU_BACK) return gpt_rows(4 * r->m->c.C) / LINE;
    if (gpt_stage[s].cut == BY_FEATURES) return r->m->c.C;
    if (gpt_stage[s].k < 0) return 1;
    const SpMat *m = &r->m->table[gpt_owned(s, l)].mat;
    return gpt_stage[s].cut == BY_COLUMNS ? gpt_rows(m->IC) / LINE : m->nb;
}

static inline GptCut gpt_cut(GptStage s) {
    return gpt_stage[s].cut == BY_COLUMNS ? BY_PANEL : gpt_stage[s].cut;
}

typedef struct { GptRun *r; GptStage stage; size_t l, unit, units; } GptKernel;     /* unit: units a task */

static inline void gpt_kernel_task(void *arg, size_t task, size_t worker) {
    const GptKernel *n = arg;
    const GptRun *r = n->r;
    const size_t per = gpt_panels(r);
    const GptCut cut = gpt_cut(n->stage);
    const bool back = n->stage > LNF;
    GptFire f = {.r = r, .stage = (int)n->stage, .l = n->l, .u1 = n->units, .worker = worker};
    if (cut == BY_PANEL) {
        f.p = gpt_panel(r, task);
        gpt_point(&f), gpt_fire(&f);
        if (n->stage + 1 == GPT_STAGES || !gpt_stage[n->stage + 1].joins) return;
        f.stage++, f.u1 = gpt_units(r, (GptStage)f.stage, n->l);
        gpt_fire(&f);
        return;
    }
    size_t first = 0, last = r->B * per;
    if (cut == BY_HEAD)
        f.u0 = task % n->units, f.u1 = f.u0 + 1, first = task / n->units * per, last = first + per;
    else f.u0 = task * n->unit, f.u1 = size_min(f.u0 + n->unit, n->units);
    gpt_point(&f);
    for (size_t i = first; i < last; i++) {
        f.p = back ? gpt_panel_back(r, i) : gpt_panel(r, i);
        gpt_fire(&f);
    }
}
/* Runs one stage of layer l over the whole run, all workers. The cut does not change a bit. */
static inline void gpt_kernel(GptRun *r, GptStage stage, size_t l) {
    const GptCut cut = gpt_cut(stage);
    GptKernel n = {r, stage, l, 0, gpt_units(r, stage, l)};
    n.unit = size_max(1, n.units / (4 * r->pool->workers));
    if (cut == BY_ROWS) n.unit = size_min(n.unit, 8);       /* a slice of dw that stays in the cache */
    df_run(r->pool, gpt_kernel_task, &n, cut == BY_PANEL ? r->B * gpt_panels(r)
                                         : cut == BY_HEAD ? r->B * n.units : (n.units + n.unit - 1) / n.unit);
}

/* The head panel by panel, so that no more than one panel's logits exist; returns them, [group][rows][16],
 * rows being V rounded up to whole row blocks. */
enum { HEAD_BLOCKS = 16 };                                  /* row blocks of wte a task */
typedef struct { GptFire f; bool train; } GptHead;

static inline void gpt_head_task(void *arg, size_t task, size_t worker) {
    const GptHead *h = arg;
    GptFire f = h->f;
    const size_t nb = gpt_units(f.r, HEAD, f.l), ng = f.p.ng;
    f.worker = worker, f.u1 = nb;
    if (f.stage == HEAD_LOSS) { gpt_cross_entropy(&f, task, h->train); return; }
    if (f.stage == HEAD_DATA && task < ng) { /* dn = wte' dlogits of a group; then slices of dwte */
        const GptView logits = gpt_view(&f, f.l, E_LOGITS);
        GptRun one = *f.r;
        one.moving[gpt_edge[E_LOGITS].array].p = logits.p + task * logits.gs;
        f.r = &one, f.p = (GptPanel){f.p.at + task, f.p.g0 + task, 1}, f.u1 = gpt_units(f.r, HEAD_DATA, f.l);
        gpt_point(&f), gpt_fire(&f);
        return;
    }
    if (f.stage == HEAD_DATA) f.stage = HEAD_W, task -= ng;
    f.u0 = task * HEAD_BLOCKS, f.u1 = size_min(f.u0 + HEAD_BLOCKS, nb);
    gpt_point(&f), gpt_fire(&f);
}
static inline float *gpt_head(GptRun *r, size_t panel, bool train, bool loss) {
    const size_t tasks = (gpt_units(r, HEAD, r->m->c.L) + HEAD_BLOCKS - 1) / HEAD_BLOCKS;
    GptHead h = {{.r = r, .stage = HEAD, .l = r->m->c.L, .p = gpt_panel_back(r, panel)}, train};
    df_run(r->pool, gpt_head_task, &h, tasks);
    h.f.stage = HEAD_LOSS;
    if (loss) df_run(r->pool, gpt_head_task, &h, h.f.p.ng);
    h.f.stage = HEAD_DATA;
    if (train) df_run(r->pool, gpt_head_task, &h, h.f.p.ng + tasks);
    return r->moving[gpt_edge[E_LOGITS].array].p;
}

/* Adds the tokens' losses to *sum one by one, so that groups of sequences add up as the whole does. */
static inline void gpt_loss_add(const GptRun *r, double *sum) {
    for (size_t b = 0; b < r->B; b++)
        for (size_t t = r->from * LINE; t < r->T; t++) *sum += r->loss[b * r->stride * LINE + t];
}

/* The layers forward, up to the final norm's output. inputs (B,T). */
static inline void gpt_forward(GptRun *r) {
    gpt_kernel(r, EMBED, 0);
    for (size_t l = 0; l < r->m->c.L; l++)
        for (GptStage s = LN1; s <= FC2; s++) gpt_kernel(r, s, l);
    gpt_kernel(r, LNF, r->m->c.L);
}

/* Forward only: adds the losses of inputs against targets (B,T) to *sum. */
static inline void gpt_eval(GptRun *r, const int32_t *inputs, const int32_t *targets, double *sum) {
    r->inputs = inputs, r->targets = targets;
    gpt_forward(r);
    for (size_t i = 0; i < r->B * gpt_panels(r); i++) gpt_head(r, i, false, true);
    gpt_loss_add(r, sum);
}

/* ---- schedule dataflow: the graph on the chip ---------------------------------------------------------- */

/* Of a matrix: rows[r], its lines before row block r; cols[u], its lines whose input is below 16 u. */
typedef struct { const uint32_t *rows, *cols; } GptLines;

struct GptMachine {
    DfGraph graph;
    DfPlan *plan;
    const Gpt *m;                   /* whose masks it was planned for */
    GptLines *lines;
    DfEvent **event;                /* [sections] when given: the first run's firings on the host */
};

/* Those of all parameters of a model, in one block to free. */
static inline GptLines *gpt_lines(const Gpt *m) {
    size_t all = 0;
    for (size_t k = 0; k < m->count; k++) all += gpt_rows(m->table[k].mat.IC) / LINE + 1;
    GptLines *lines = mem_new(m->count * sizeof *lines + all * sizeof(uint32_t), 1);
    uint32_t *cols = (uint32_t *)(lines + m->count);
    for (size_t k = 0; k < m->count; k++) {
        const SpMat *a = &m->table[k].mat;
        const size_t units = gpt_rows(a->IC) / LINE;
        lines[k] = (GptLines){a->first, cols};
        for (size_t r = 0; r < a->nb; r++)
            for (size_t l = a->first[r]; l < a->first[r + 1]; l++)
                cols[sp_cols(a, r)[l - a->first[r]] / LINE + 1]++;
        for (size_t u = 0; u < units; u++) cols[u + 1] += cols[u];
        cols += units + 1;
    }
    return lines;
}

/* Stage s of layer l for the planner: its units, FLOPs of a unit and lane, lines a group straight from and to
 * off-chip memory. From the configuration and lines alone: the simulator has no model. */
static inline DfStage gpt_stage_of(const GptConfig *c, GptStage s, size_t l, size_t NG,
                                   const GptLines *lines) {
    const double C = (double)c->C, C4 = (double)gpt_rows(4 * c->C), hs = C / (double)c->NH, V = (double)c->V;
    const int own = gpt_stage[s].k;
    const size_t k = gpt_owned(s, l);
    DfStage st = {.kind = (int)s, .layer = l, .share = gpt_stage[s].share, .units = 1};
    if (s == EMBED || s == EMBED_W || l == c->L) snprintf(st.name, sizeof st.name, "%s", gpt_stage[s].name);
    else snprintf(st.name, sizeof st.name, "h.%zu.%s", l, gpt_stage[s].name);
    for (int i = 0; i < DF_INS; i++) {
        const int e = i < 3 ? gpt_stage[s].in[i] : -1;
        st.in[i] = e < 0 ? -1 : (int)(gpt_in_layer(s, l, e) * EDGES) + e;
    }
    for (int i = 0; i < DF_OUTS; i++)
        st.out[i] = gpt_stage[s].out[i] < 0 ? -1 : (int)(gpt_out_layer(s, l) * EDGES) + gpt_stage[s].out[i];
    if (own >= 0 && gpt_stage[s].cut != BY_FEATURES) {      /* linear: forward, data, weight */
        const bool columns = gpt_stage[s].cut == BY_COLUMNS, weight = !columns && gpt_stage[s].out[0] < 0;
        const size_t OC = k == WTE ? c->V : (size_t)(own == QKVW ? 3 : own == FCW ? 4 : 1) * c->C,
                     IC = (size_t)(own == FC2W ? 4 : 1) * c->C;
        st.lines = columns ? lines[k].cols : lines[k].rows, st.units = gpt_rows(columns ? IC : OC) / LINE;
        st.per_line = 2 * LINE, st.scatter = columns, st.gather = !columns;
        st.weights = !weight, st.grads = weight;
        st.sums = weight && k != WTE ? LINE : 0;
        st.per_unit = weight ? LINE : columns ? 0 : s == FC ? 16 * 15 : LINE;
        if (s == FC) st.writes = C4;
        return st;
    }
    switch (s) {                    /* FLOPs by the source: an fma counts 2, e^x 8 */
    case EMBED: st.reads = st.random = 2 * C, st.per_unit = C; break;
    case LN1: case LN2: case LNF: st.writes = 2, st.per_unit = 8 * C; break;
    case LN1_AGAIN: case LN2_AGAIN: st.reads = 2, st.per_unit = 4 * C; break;
    case LNF_W: case LN1_W: case LN2_W: st.units = c->C, st.sums = 2, st.reads = 2, st.per_unit = 5; break;
    case LNF_DATA: case LN1_DATA: case LN2_DATA: st.reads = 2, st.per_unit = 14 * C; break;
    case GELU_BACK: st.units = gpt_rows(4 * c->C) / LINE, st.reads = C4, st.per_unit = 16 * 22; break;
    case HEAD_LOSS: st.writes = 2, st.per_unit = 12 * V; break;
    case EMBED_W: st.units = c->C, st.reads = st.random = 4 * C, st.per_unit = 2; break;
    default:                                                /* attention */
        st.units = c->NH, st.grain = (s == ATTENTION ? 2 : 4) * (size_t)hs, st.state = NG * st.grain;
        st.per_pair = s == ATTENTION ? 4 * hs + 12 : 10 * hs + 14;
        if (s == ATTENTION) st.writes = 2 * (double)c->NH;
        else st.reads = 3 * (double)c->C + 2 * (double)c->NH;
    }
    return st;
}

/* The model as a graph of stages and edges, forward then backward. lines[k] of parameter k must live as long;
 * NG: groups of a sequence. Freed with gpt_graph_free. */
static inline DfGraph gpt_graph(const GptConfig *c, const GptLines *lines, size_t NG) {
    const size_t L = c->L;
    DfGraph g = {.edges = (L + 1) * EDGES};
    g.edge = mem_new(g.edges, sizeof *g.edge), g.stage = mem_new(L * (GPT_STAGES - 9) + 9, sizeof *g.stage);
    for (size_t e = 0; e < g.edges; e++) {
        const int k = (int)(e % EDGES);
        const bool in_place = k == E_DG || k == E_DLOGITS;  /* of the edge before */
        g.edge[e] = (DfEdge){.rows = gpt_edge_rows(c, k), .base = in_place ? (int)e - 1 : -1,
                             .kept = k < E_KEPT};
        snprintf(g.edge[e].name, sizeof g.edge[e].name, "h.%zu %s", e / EDGES, gpt_edge[k].name);
    }
    g.stage[g.stages++] = gpt_stage_of(c, EMBED, 0, NG, lines);
    for (size_t l = 0; l < L; l++)
        for (GptStage s = LN1; s <= FC2; s++) g.stage[g.stages++] = gpt_stage_of(c, s, l, NG, lines);
    g.stage[g.stages++] = gpt_stage_of(c, LNF, L, NG, lines);
    g.forward = g.stages;
    for (GptStage s = HEAD; s <= LNF_DATA; s++) g.stage[g.stages++] = gpt_stage_of(c, s, L, NG, lines);
    for (size_t l = L; l-- > 0;)
        for (GptStage s = FC2_DATA; s <= LN1_DATA; s++)
            g.stage[g.stages++] = gpt_stage_of(c, s, l, NG, lines);
    g.stage[g.stages++] = gpt_stage_of(c, EMBED_W, 0, NG, lines);
    return g;
}
static inline void gpt_graph_free(DfGraph *g) { free(g->stage), free(g->edge); }

/* Column lists of sparse matrices as rows of the edges that they gather from or scatter to. */
static inline void gpt_machine_columns(const GptMachine *a) {
    for (size_t n = 0; n < a->plan->sections; n++)
        for (size_t s = 0; s < a->plan->section[n].parts; s++) {
            const DfSection *x = &a->plan->section[n];
            DfPart *p = &x->part[s];
            if (p->s.kind == DF_LOAD || !(p->s.gather || p->s.scatter)) continue;
            const SpMat *m = &a->m->table[gpt_owned((GptStage)p->s.kind, p->s.layer)].mat;
            df_columns(x, p, m, gpt_stage[p->s.kind].cut == BY_COLUMNS);
        }
}
static inline void gpt_machine_free(GptRun *r) {
    if (!r->machine) return;
    for (size_t n = 0; r->machine->event && n < r->machine->plan->sections; n++) free(r->machine->event[n]);
    free(r->machine->event);
    df_plan_free(r->machine->plan, &r->machine->graph), gpt_graph_free(&r->machine->graph);
    free(r->machine->lines), free(r->machine);
    r->machine = NULL;
}
/* To be called when r->m has become another model: the chip is planned anew before it trains. */
static inline void gpt_machine_stale(GptRun *r) {
    if (r->machine) r->machine->m = NULL;
}
/* Whether a chip has room for the streams of a run, whatever becomes of the weights. */
static inline bool gpt_machine_fits(const GptRun *r, DfChip chip, size_t depth) {
    GptLines *lines = gpt_lines(r->m);
    DfGraph g = gpt_graph(&r->m->c, lines, r->stride);
    const bool fits = df_holds(&g, chip, depth, r->panel);
    gpt_graph_free(&g), free(lines);
    return fits;
}
/* Plans the chip for a run's model and panels; again when its masks have changed. */
static inline void gpt_machine_plan(GptRun *r, DfChip chip, size_t depth) {
    gpt_machine_free(r);
    GptMachine *a = r->machine = mem_new(1, sizeof *a);
    if (chip.element != sizeof(float))
        die("chip %s: numbers of %zu bytes: it can be simulated, not run", chip.name, chip.element);
    a->lines = gpt_lines(r->m), a->graph = gpt_graph(&r->m->c, a->lines, r->stride);
    a->m = r->m;
    a->plan = df_plan(&a->graph, chip, depth, r->panel, r->B * gpt_panels(r), true);
    gpt_machine_columns(a);
}

/* What a firing of an actor works on. */
static inline GptFire gpt_machine_fire(const GptRun *r, const DfSection *x, const DfActor *a) {
    const DfPart *p = &x->part[a->part];
    const DfPlan *plan = r->machine->plan;
    GptFire f = {.r = r, .stage = p->s.kind, .l = p->s.layer, .u0 = a->u0, .u1 = a->u1, .col = p->col};
    float *tile = plan->memory + a->tile * plan->stride * LINE;
    if (p->s.kind == DF_LOAD) return f;
    gpt_point(&f);
    if (p->cut) f.slice = &p->cut[a->k].mat, f.w += (size_t)f.slice->first[0] * LINE;
    if (!x->streamed && p->s.lines) f.w = tile + p->w / 4, f.dw = tile + p->dw / 4;
    if (p->s.lines && p->s.sums) f.db = tile + p->sums / 4;
    if (!p->s.lines && p->s.sums) f.dw = tile + p->sums / 4, f.db = f.dw + p->per * LINE;
    if (p->s.state) f.state = tile + p->state / 4, f.grains = p->grains, f.jump = plan->stride * LINE;
    return f;
}
/* One panel of a firing. */
static inline void gpt_machine_panel(GptFire *f, const DfSection *x, const DfActor *a, size_t i) {
    const DfPart *p = &x->part[a->part];
    const GptRun *r = f->r;
    f->i = i;
    f->p = x->first < r->machine->graph.forward ? gpt_panel(r, i) : gpt_panel_back(r, i);
    if (p->s.kind != DF_LOAD) { gpt_fire(f); return; }
    const size_t l = (size_t)p->s.out[0] / EDGES;
    const int e = p->s.out[0] % EDGES;
    const GptView from = gpt_off_chip(f, l, e), to = gpt_view(f, l, e);
    for (size_t g = 0; g < f->p.ng; g++)                    /* rows of one tile follow one another */
        memcpy(gpt_line(to, g, a->u0 * LINE), gpt_line(from, g, a->u0 * LINE),
               (a->u1 - a->u0) * LINE * LINE * sizeof(float));
    gpt_moved(f, MOVED_IN, f->p.ng * (a->u1 - a->u0) * LINE);
}
/* A firing. Streamed weights pass through the tile a few row blocks at a time, each over all panels. */
static inline void gpt_machine_step(void *owner, const DfSection *x, const DfActor *a, size_t i,
                                    size_t worker) {
    const GptRun *r = owner;
    GptFire f = gpt_machine_fire(r, x, a);
    const DfPart *p = &x->part[a->part];
    const size_t first = i * x->span, end = size_min(first + x->span, r->B * gpt_panels(r));
    const size_t nb = p->cut ? f.b1 : a->u1;
    f.worker = worker;
    if (!x->streamed || !p->s.lines) {
        for (size_t n = first; n < end; n++) gpt_machine_panel(&f, x, a, n);
        return;
    }
    gpt_moved(&f, p->s.grads ? MOVED_GRADS : MOVED_WEIGHTS,
              (size_t)df_lines(&p->s, a->u0, a->u1) * (p->s.grads ? 2 : 1));
    const GptFire whole = f;
    for (size_t b = p->cut ? 0 : a->u0; b < nb; b += BUNDLE) {
        const size_t b1 = size_min(b + BUNDLE, nb);
        if (p->cut)
            f.w = whole.w + (size_t)(f.slice->first[b] - f.slice->first[0]) * LINE, f.b0 = b, f.b1 = b1;
        else f.u0 = b, f.u1 = b1, gpt_point(&f);
        if (whole.db && p->s.sums) f.db = whole.db + (b - a->u0) * LINE * LINE;
        for (size_t n = first; n < end; n++) gpt_machine_panel(&f, x, a, n);
    }
}

/* Brings an actor's weights and accumulators on the chip, or its accumulators back. */
typedef struct { GptRun *r; const DfSection *x; bool back; } GptCarry;

static inline void gpt_machine_carry(void *arg, size_t task, size_t worker) {
    const GptCarry *c = arg;
    const DfActor *a = &c->x->actor[task];
    const DfPart *p = &c->x->part[a->part];
    if (p->s.kind == DF_LOAD || (!p->s.lines && !p->s.sums)) return;
    GptFire chip = gpt_machine_fire(c->r, c->x, a), flat = chip;
    flat.db = NULL, gpt_point(&flat);
    const size_t lines = (size_t)df_lines(&p->s, a->u0, a->u1), units = a->u1 - a->u0;
    double *moved = c->r->moved + worker * MOVED_KINDS;
    if (p->s.lines && !c->x->streamed) {
        if (p->cut && !c->back)
            df_carry_slice(&p->cut[a->k], (float *)(uintptr_t)chip.w, flat.w);
        else if (p->s.weights && !c->back)
            df_carry((float *)(uintptr_t)chip.w, (float *)(uintptr_t)flat.w, lines, false);
        if (p->s.weights && !c->back) moved[MOVED_WEIGHTS] += (double)lines;
        if (p->s.grads) df_carry(chip.dw, flat.dw, lines, c->back), moved[MOVED_GRADS] += (double)lines;
    }
    if (p->s.sums) {
        if (!p->s.lines) df_carry(chip.dw, flat.dw, units, c->back);
        df_carry(chip.db, flat.db, p->s.lines ? units * LINE : units, c->back);
        moved[MOVED_GRADS] += (double)(units * p->s.sums);
    }
}
/* Forward and backward of a run on the chip, section by section. */
static inline void gpt_machine_run(GptRun *r) {
    DfPlan *plan = r->machine->plan;
    const size_t panels = r->B * gpt_panels(r);
    for (size_t n = 0; n < plan->sections; n++) {
        DfSection *x = &plan->section[n];
        GptCarry carry = {r, x, false};
        r->on = x;
        df_guard(plan, x);
        df_run(r->pool, gpt_machine_carry, &carry, x->actors);
        DfEvent *event = NULL;
        if (r->machine->event && !r->machine->event[n])
            event = r->machine->event[n] = mem_new(panels * x->actors, sizeof *event);
        df_section_run(r->pool, x, n, panels, gpt_machine_step, r, event);
        carry.back = true;
        df_run(r->pool, gpt_machine_carry, &carry, x->actors);
    }
    r->on = NULL;
}

/* Forward and backward: adds the gradient of sum of losses / count to the model's, and the losses to *sum. */
static inline void gpt_train(GptRun *r, const int32_t *inputs, const int32_t *targets, size_t count,
                             double *sum) {
    r->inputs = inputs, r->targets = targets, r->dscale = 1 / (float)count;
    if (r->machine) {
        if (r->machine->m != r->m) gpt_machine_plan(r, r->machine->plan->chip, r->machine->plan->depth);
        gpt_machine_run(r);
    } else {
        const size_t L = r->m->c.L;
        gpt_forward(r);
        for (size_t i = 0; i < r->B * gpt_panels(r); i++) gpt_head(r, i, true, true);
        gpt_kernel(r, LNF_W, L), gpt_kernel(r, LNF_DATA, L);
        for (size_t l = L; l-- > 0;)
            for (GptStage s = FC2_DATA; s <= LN1_DATA; s++) if (!gpt_stage[s].joins) gpt_kernel(r, s, l);
        gpt_kernel(r, EMBED_W, 0);
    }
    gpt_loss_add(r, sum);
}

/* Forward and backward over a batch (B,T) in groups of at most r->B sequences: the mean loss. */
static inline double train_groups(GptRun *r, size_t B, const int32_t *inputs, const int32_t *targets) {
    const size_t T = r->T, group = r->B;
    double sum = 0;
    for (size_t b = 0; b < B; b += group) {
        r->B = B - b < group ? B - b : group;
        gpt_train(r, inputs + b * T, targets + b * T, B * T, &sum);
    }
    r->B = group;
    return sum / (double)(B * T);
}

/* ---- AdamW -------------------------------------------------------------------------------------------- */

enum { PIECE = 1 << 15 };                                   /* floats a task */

typedef struct {
    Gpt *m;
    double *sums;                                           /* one per piece */
    const GptAdam *o;
    size_t t;
    float clip;
} GptUpdate;

static inline size_t gpt_pieces(const Gpt *m) { return (m->floats + PIECE - 1) / PIECE; }

/* Sums the lanes of rank-1 gradients, pairwise. */
static inline void gpt_gather_gradient(Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (p->rank == 2) continue;
        for (size_t i = 0; i < p->size; i++) {
            float *line = m->lane_g + (p->lane + i) * LINE;
            for (size_t half = LINE / 2; half; half /= 2)
                for (size_t j = 0; j < half; j++) line[j] += line[j + half];
            m->g[p->at + i] = line[0];
            memset(line, 0, LINE * sizeof(float));
        }
    }
}
/* Zeroes the gradient of elements from .. to that are masked inside a kept block. */
static inline void gpt_mask_gradient(Gpt *m, size_t from, size_t to) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        const size_t a = size_max(p->at, from), b = size_min(p->at + p->size, to);
        for (size_t i = a; p->mat.keep && i < b; i++)
            if (!(p->mat.keep[(i - p->at) / LINE] >> (i - p->at) % LINE & 1)) m->g[i] = 0;
    }
}
static inline void gpt_norm_piece(void *arg, size_t piece, size_t worker) {
    const GptUpdate *u = arg;
    const size_t from = piece * PIECE, to = size_min(from + PIECE, u->m->floats);
    const size_t lookup = u->m->table[WTE].at + u->m->table[WTE].size;
    float *restrict g = u->m->g;
    float *restrict from_lookup = u->m->lookup_g;
    vd sum[8 / VD_LANES] = {{0}};                   /* eight chains: number i is in chain i % 8 */
    double chain[8];
    (void)worker;
    gpt_mask_gradient(u->m, from, to);
    for (size_t i = from; i < size_min(to, lookup); i += LANES) {
        vf_store(g + i, vf_load(g + i) + vf_load(from_lookup + i));
        vf_store(from_lookup + i, vf_all(0));
    }
    for (size_t i = from; i < to; i += 8)
        UNROLL for (size_t j = 0; j < 8 / VD_LANES; j++) {
            const vd wide = vd_of(g + i + j * VD_LANES);
            sum[j] += wide * wide;
        }
    memcpy(chain, sum, sizeof chain);
    u->sums[piece] = ((chain[0] + chain[1]) + (chain[2] + chain[3])) +
                     ((chain[4] + chain[5]) + (chain[6] + chain[7]));
}

/* lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) after t steps */
static inline void gpt_correction(const GptUpdate *u, size_t t, float rate, float *scale1, float *root2) {
    double b1 = 1, b2 = 1, p1 = u->o->beta1, p2 = u->o->beta2;
    for (size_t n = t; n; n >>= 1, p1 *= p1, p2 *= p2) if (n & 1) b1 *= p1, b2 *= p2;
    *scale1 = (float)((double)rate * u->o->lr / (1 - b1)), *root2 = (float)(1 / sqrt(1 - b2));
}
/* spec_adamw in float32 on elements a .. b, which are t steps old */
static inline void gpt_adamw_range(const GptUpdate *u, const GptParam *p, size_t a, size_t b, size_t t) {
    const float beta1 = (float)u->o->beta1, beta2 = (float)u->o->beta2, eps = (float)u->o->eps;
    const float keep = p->decay ? 1 - (float)u->o->lr * p->rate * (float)u->o->decay : 1, clip = u->clip;
    float *restrict w = u->m->w, *restrict g = u->m->g, *restrict m = u->m->m, *restrict v = u->m->v;
    float scale1, root2;
    gpt_correction(u, t, p->rate, &scale1, &root2);
    for (size_t i = a; i < b; i += LANES) {
        const vf d = vf_load(g + i) * vf_all(clip);
        const vf moment1 = vf_all(beta1) * vf_load(m + i) + vf_all(1 - beta1) * d;
        const vf moment2 = vf_all(beta2) * vf_load(v + i) + vf_all(1 - beta2) * (d * d);
        const vf step = vf_all(scale1) * moment1 / (vf_sqrt(moment2) * vf_all(root2) + vf_all(eps));
        vf_store(w + i, vf_load(w + i) * vf_all(keep) - step);
        vf_store(m + i, moment1);
        vf_store(v + i, moment2);
        vf_store(g + i, vf_all(0));
    }
}
static inline void gpt_adamw_piece(void *arg, size_t piece, size_t worker) {
    const GptUpdate *u = arg;
    const size_t from = piece * PIECE, to = size_min(from + PIECE, u->m->floats);
    (void)worker;
    for (size_t k = 0; k < u->m->count; k++) {
        const GptParam *p = &u->m->table[k];
        const size_t a = size_max(p->at, from), b = size_min(p->at + p->size, to);
        for (size_t i = a, end; i < b; i = end) {           /* runs of lines of one age */
            end = p->born ? i + LINE : b;
            const uint32_t born = p->born ? p->born[(i - p->at) / LINE] : 0;
            while (end < b && p->born[(end - p->at) / LINE] == born) end += LINE;
            gpt_adamw_range(u, p, i, end, u->t - born);
        }
    }
}

/* Completes the gradient (lanes, both halves of wte) and returns its global norm. */
static inline double gpt_gradient_norm(Gpt *m, DfPool *pool) {
    GptUpdate u = {.m = m, .sums = mem_new(gpt_pieces(m), sizeof(double))};
    double sum = 0;
    gpt_gather_gradient(m);
    df_run(pool, gpt_norm_piece, &u, gpt_pieces(m));
    for (size_t i = 0; i < gpt_pieces(m); i++) sum += u.sums[i];
    free(u.sums);
    return sqrt(sum);
}

/* Step t = 1, 2 ... on a completed gradient of that norm, which is left zero. */
static inline void gpt_adamw(Gpt *m, DfPool *pool, const GptAdam *o, size_t t, double norm) {
    const GptUpdate u = {.m = m, .o = o, .t = t, .clip = (float)(o->clip > 0 && norm + 1e-6 > o->clip
                                                                     ? o->clip / (norm + 1e-6) : 1)};
    df_run(pool, gpt_adamw_piece, (void *)&u, gpt_pieces(m));
}

/* ---- sampling ----------------------------------------------------------------------------------------- */

/* Returns the logits after tokens[0 .. n-1], token v's at [v * 16], until r runs again. The first `done`
 * tokens were given before: the keys and values of their whole groups stand in qkv already, so only later
 * groups are computed. A token's lane never sees another token's but through those, so the bits are those of
 * computing everything. r: one sequence. */
static inline const float *gpt_next(GptRun *r, const int32_t *tokens, size_t n, size_t done) {
    r->inputs = tokens, r->T = n, r->groups = gpt_groups(n), r->from = done / LINE;
    gpt_forward(r);
    r->from = r->groups - 1;
    return gpt_head(r, 0, false, false) + (n - 1) % LINE;
}

/* ---- what went wrong first ---------------------------------------------------------------------------- */

static inline bool gpt_finite(const float *p, size_t n) {
    for (size_t i = 0; p && i < n; i++) if (!isfinite(p[i])) return false;
    return true;
}
/* Names the first tensor, in the order of the run just done, that holds a NaN or infinity; "the loss" if
 * none. */
static inline const char *gpt_first_bad(const GptRun *r, char name[64]) {
    static const char *const edge[8] = {"input", "ln_1 statistics", "attn.c_attn output", "attention softmax",
        "attention output", "attn.c_proj output", "ln_2 statistics", "mlp.c_fc output"};
    const Gpt *m = r->m;
    for (size_t k = 0; k < m->count; k++)
        if (!gpt_finite(m->w + m->table[k].at, m->table[k].size))
            return snprintf(name, 64, "%s", m->table[k].name), name;
    for (size_t e = 0; e < E_KEPT * (m->c.L + 1); e++) {
        const GptEdge x = r->kept[e];
        if (!gpt_finite(x.p, r->B * r->stride * x.rows * LINE))
            return snprintf(name, 64, "layer %zu, %s", e / 8, edge[e % 8]), name;
    }
    for (size_t k = m->count; k-- > 0;)
        if (!gpt_finite(m->g + m->table[k].at, m->table[k].size))
            return snprintf(name, 64, "gradient of %s", m->table[k].name), name;
    return "the loss";
}
#endif
