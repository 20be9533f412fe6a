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

/* Step 1, 2 ... of AdamW (Loshchilov and Hutter 2019) as PyTorch has it, for
 * every weight w and its number g of the clipped gradient. moment1 and moment2
 * are arrays like s->w, zero before the first step:
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

/* ======================================================================================================= *
 *  The machine's version                                                                                  *
 * ======================================================================================================= */

/* ---- parameters in row blocks -------------------------------------------- *
 * Every tensor of rank 2 lies as w[row block of 16 outputs][input][16]: wte with
 * tokens, wpe with positions as its outputs. Padding outputs are zero and stay
 * zero. Gradients of gains and biases are sums over tokens; they are kept as one
 * line per element, a sum per lane, and added over the lanes once a step. */

typedef struct {
    GptConfig c;
    GptParam *table;
    size_t count;                   /* tensors */
    size_t floats;                  /* numbers in each flat array */
    size_t lanes;                   /* lines of lane_g */
    float *w;                       /* weights */
    float *g;                       /* gradient; NULL if the model is not to train */
    float *m, *v;                   /* Adam's moments; NULL without an optimizer */
    float *lane_g;                  /* gradient of rank 1 per lane */
    float *lookup_g;                /* gradient of wte through the lookup, apart so
                                     * that groups of sequences give the bits of the
                                     * whole */
} Gpt;

/* A model of zeros. mats[k] is the pattern of tensor k, taken over; where it is
 * empty, and with mats NULL everywhere, the tensor is dense. gradient: to train;
 * moments: with an optimizer. Freed with gpt_free. */
static inline Gpt *gpt_make(GptConfig c, const SpMat *mats, bool gradient,
                            bool moments) {
    Gpt *m = mem_new(1, sizeof *m);
    *m = (Gpt){.c = c, .table = gpt_table(&c), .count = gpt_count(&c)};
    for (size_t k = 0; k < m->count; k++) {
        GptParam *p = &m->table[k];
        const size_t cols = p->rank == 2 ? p->cols : 1;
        if (mats && mats[k].first) p->mat = mats[k];
        else if (p->in_out) p->mat = sp_dense(cols, p->rows);
        else p->mat = sp_dense(p->rows, cols);
        p->rate = 1;
        p->at = m->floats;
        p->size = p->mat.lines * LINE;
        m->floats += p->size;
        if (p->rank == 2) continue;
        p->lane = m->lanes;
        m->lanes += p->size;
    }
    m->w = mem_new(m->floats, sizeof(float));
    if (gradient) {
        m->g = mem_new(m->floats, sizeof(float));
        m->lane_g = mem_new(m->lanes * LINE, sizeof(float));
        m->lookup_g = mem_new(m->table[WTE].size, sizeof(float));
    }
    if (moments) {
        m->m = mem_new(m->floats, sizeof(float));
        m->v = mem_new(m->floats, sizeof(float));
    }
    return m;
}
static inline Gpt *gpt_new(GptConfig c, bool train) {
    return gpt_make(c, NULL, train, train);
}
static inline void gpt_free(Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        sp_free(&m->table[k].mat);
        free(m->table[k].born);
    }
    free(m->table);
    free(m->w);
    free(m->g);
    free(m->m);
    free(m->v);
    free(m->lane_g);
    free(m->lookup_g);
    free(m);
}

/* The numbers of a tensor that are kept, one after the other; what is padding or
 * masked is passed over:
 *     for (GptPlace n = {0}; gpt_place(p, &n);) ... */
typedef struct {
    size_t next;                    /* the next to look at */
    size_t r;                       /* its row block */
    size_t flat;                    /* place in the flat array */
    size_t named;                   /* place in the named shape */
} GptPlace;

static inline bool gpt_place(const GptParam *p, GptPlace *n) {
    const SpMat *m = &p->mat;
    for (; n->next < p->size; n->next++) {
        const size_t l = n->next / LINE;
        const size_t o = n->next % LINE;
        while (l == m->first[n->r + 1]) n->r++;
        if (!(sp_kept(m, n->r, l) >> o & 1)) continue;
        const size_t out = n->r * LINE + o;
        const size_t in = sp_cols(m, n->r)[l - m->first[n->r]];
        n->flat = p->at + n->next;
        n->named = p->in_out ? in * m->OC + out : out * m->IC + in;
        n->next++;
        return true;
    }
    return false;
}
/* Copies tensor p between a flat array and row-major values in its named shape;
 * what is masked reads as 0 and is not set. */
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

/* Initial weights: element n of a tensor is a function of (seed, name, n) alone,
 * whatever the layout or mask. scaled: times 1 / sqrt(density), so that a sparse
 * matrix's outputs are as large as a dense one's. */
static inline void gpt_init(Gpt *m, uint64_t seed, bool scaled) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        const uint64_t key = rng_key(seed, p->name);
        const double std = p->std / (scaled ? sqrt(gpt_density(p)) : 1);
        for (GptPlace n = {0}; gpt_place(p, &n);) {
            const double noise = std > 0 ? std * rng_normal(key, n.named) : 0;
            m->w[n.flat] = (float)(p->mean + noise);
        }
    }
}

/* The four matrices of a layer. */
static inline bool gpt_maskable(const GptParam *p) { return p->in_out; }
static inline bool gpt_masked(const GptParam *p) { return !p->mat.dense || p->mat.keep; }

/* ---- what a layer is: stages, and what flows between them ---------------- *
 * layer_forward and layer_backward below are the layer. Each of their lines
 * appends one stage to a program and returns what it makes; the schedules, the
 * planner, the counters and the simulator read the stages' records and nothing
 * else.
 *
 * What flows is an edge: rows, a line of 16 tokens each, panel by panel. Every
 * edge has an array off chip, [group][row][16] for the whole run. Those that the
 * backward pass wants have one of their own; the others use a few again and
 * again, layer by layer. On chip an edge has a few panels' slots, spread over
 * the tiles of the stage that makes it. */

enum { NONE = -1 };                 /* no edge, no array, no parameter */

/* The arrays that all layers share, by what lies in them. */
typedef enum { IN_N, IN_H, IN_DX, IN_DH, IN_DN, IN_DATT, IN_DQKV, IN_LOGITS,
               IN_NOTHING, SHARED } GptShared;

typedef struct {
    char name[64];                  /* what lies in it */
    size_t rows;                    /* 0: nothing lies in it */
    bool one_panel;                 /* the logits: no more than a panel's exist */
} GptArray;

typedef struct GptFire GptFire;     /* a firing of a stage: below */

/* Into what tasks schedule `kernel` cuts a stage: panels; heads of a sequence;
 * row blocks or features, each over the whole run. */
typedef enum { BY_PANEL, BY_HEAD, BY_ROWS, BY_FEATURES } GptCut;

typedef struct {
    DfStage df;                     /* edges, units, FLOPs, lines: what is planned
                                     * and counted; df.kind: its place here */
    void (*fire)(const GptFire *);  /* its mathematics */
    GptCut cut;
    int param;                      /* the parameter that it reads, or whose
                                     * gradient it makes; a bias is the next one */
    int side[2];                    /* arrays off chip that it reads or writes
                                     * besides its edges: statistics, GELU's input */
    size_t real;                    /* rows of its outputs that are not padding;
                                     * 0: all */
    size_t thirds;                  /* its units cut its outputs 3 times: q, k and
                                     * v; else 1 */
    size_t split;                   /* units a head, the j-th of which has the groups
                                     * n of its sequence with n % split = j; else 1 */
} GptStage;

typedef struct {
    GptConfig c;
    size_t groups;                  /* of a sequence */
    size_t panel;                   /* groups a panel, at most */
    GptStage *stage;
    size_t stages, stages_cap;
    size_t forward;                 /* so many stages take the panels in order, the
                                     * others in the order of the backward stream */
    DfEdge *edge;
    size_t edges, edges_cap;
    size_t *array_of;               /* [edges] */
    size_t array_of_cap;
    GptArray *array;                /* the shared ones first */
    size_t arrays, arrays_cap;
    size_t head;                    /* four stages: logits, loss, dx, dw */
} GptProgram;

static inline size_t gpt_rows(size_t n) { return size_up(n, LINE); }
static inline size_t gpt_groups(size_t T) { return (T + LINE - 1) / LINE; }

/* ---- building a program -------------------------------------------------- */

/* A new edge of layer l in array `array`. */
static inline int gpt_edge_in(GptProgram *g, size_t l, const char *name, size_t rows,
                              size_t array) {
    g->edge = mem_grow(g->edge, g->edges, &g->edges_cap, sizeof *g->edge);
    g->array_of =
        mem_grow(g->array_of, g->edges, &g->array_of_cap, sizeof *g->array_of);
    DfEdge *e = &g->edge[g->edges];
    *e = (DfEdge){.rows = rows, .base = NONE, .kept = array >= SHARED};
    snprintf(e->name, sizeof e->name, "h.%zu %s", l, name);
    g->array_of[g->edges] = array;
    return (int)g->edges++;
}
/* An array that is kept for the backward pass. */
static inline size_t gpt_array(GptProgram *g, size_t l, const char *name, size_t rows) {
    g->array = mem_grow(g->array, g->arrays, &g->arrays_cap, sizeof *g->array);
    g->array[g->arrays] = (GptArray){.rows = rows};
    snprintf(g->array[g->arrays].name, sizeof g->array->name, "layer %zu, %s", l, name);
    return g->arrays++;
}
/* An edge that the backward pass reads again; what: its name for people. */
static inline int gpt_kept(GptProgram *g, size_t l, const char *name, size_t rows,
                           const char *what) {
    return gpt_edge_in(g, l, name, rows, gpt_array(g, l, what, rows));
}
/* An edge that is gone when its readers have read it. */
static inline int gpt_passing(GptProgram *g, size_t l, const char *name, size_t rows,
                              GptShared in) {
    g->array[in].rows = size_max(g->array[in].rows, rows);
    return gpt_edge_in(g, l, name, rows, in);
}
/* An edge that is written in place of another. */
static inline int gpt_in_place(GptProgram *g, size_t l, const char *name, int of) {
    const int e = gpt_edge_in(g, l, name, g->edge[of].rows, g->array_of[of]);
    g->edge[e].base = of;
    return e;
}

/* An edge that exists on chip alone, or inside a kernel. */
static inline int gpt_inner(GptProgram *g, size_t l, const char *name, size_t rows) {
    const int e = gpt_edge_in(g, l, name, rows, IN_NOTHING);
    g->edge[e].inner = true;
    return e;
}

/* Appends a stage of layer l, with one unit, that fires once a panel. */
static inline GptStage *gpt_append(GptProgram *g, size_t l, const char *name,
                                   void (*fire)(const GptFire *)) {
    g->stage = mem_grow(g->stage, g->stages, &g->stages_cap, sizeof *g->stage);
    GptStage *s = &g->stage[g->stages];
    *s = (GptStage){.fire = fire, .param = NONE, .side = {NONE, NONE}, .thirds = 1,
                    .split = 1};
    s->df = (DfStage){.kind = (int)g->stages, .layer = l, .units = 1};
    for (int k = 0; k < DF_INS; k++) s->df.in[k] = NONE;
    for (int k = 0; k < DF_OUTS; k++) s->df.out[k] = NONE;
    if (l < g->c.L) snprintf(s->df.name, sizeof s->df.name, "h.%zu.%s", l, name);
    else snprintf(s->df.name, sizeof s->df.name, "%s", name);
    g->stages++;
    return s;
}
static inline void gpt_reads(GptStage *s, int edge) {
    int k = 0;
    while (s->df.in[k] != NONE) k++;
    s->df.in[k] = edge;
}
static inline int gpt_makes(GptStage *s, int edge) {
    int k = 0;
    while (s->df.out[k] != NONE) k++;
    s->df.out[k] = edge;
    return edge;
}

/* ---- a run: the activations of B sequences of T tokens ------------------- */

typedef struct GptMachine GptMachine;
enum { MOVED_IN, MOVED_OUT, MOVED_RANDOM, MOVED_WEIGHTS, MOVED_GRADS, MOVED_KINDS = 8 };

typedef struct {
    Gpt *m;
    DfPool *pool;
    GptProgram program;
    size_t B, T;                    /* sequences, tokens of each */
    size_t stride;                  /* groups from one sequence to the next */
    size_t from, groups;            /* the groups from .. groups-1 of each sequence
                                     * are computed */
    size_t panel;                   /* groups a panel */
    const int32_t *inputs;          /* (B,T) */
    const int32_t *targets;         /* (B,T); one below 0 does not count */
    float **array;                  /* [arrays of the program] */
    uint32_t *identity;             /* 0, 1, 2 ... the rows of an edge off chip */
    float *scratch;                 /* per worker, the scores of a head and a panel */
    double *loss;                   /* (B, stride x 16) of each token */
    float dscale;                   /* 1 / targets that count in the whole step */
    GptMachine *machine;            /* the chip that trains; NULL: stage by stage */
    const DfSection *on;            /* what the chip runs now */
    double *moved;                  /* [workers][8] lines that went on and off the
                                     * chip, as they went */
} GptRun;

typedef struct {                    /* a panel of one sequence */
    size_t at;                      /* its first group, in the run's arrays */
    size_t first;                   /* the same, in its sequence */
    size_t groups;
} GptPanel;

/* One firing of a stage: units unit .. end-1 of it (row blocks, heads, features)
 * on one panel. */
struct GptFire {
    const GptRun *r;
    const GptStage *stage;
    size_t unit, end;
    size_t turn;                    /* place in the stream: the slot of an edge */
    size_t worker;
    GptPanel panel;
    size_t logits_at;               /* the first group whose logits exist */
    const float *w;                 /* lines of its first unit on */
    float *dw;                      /* accumulators of the same */
    float *db;                      /* lines of per-lane sums of its first unit on */
    const DfPart *keeper;           /* the part that remembers the sequence on chip;
                                     * NULL: that is where the edges are */
    const DfPlace *kept;            /* its places */
    float *scratch;                 /* lines to work with */
    const uint32_t *col;            /* the matrix's columns as rows of what it
                                     * gathers from; NULL: as they are */
    const SpMat *slice;             /* backward-data on a tile: the columns it holds;
                                     * NULL: all */
    size_t block, block_end;        /* and the row blocks it goes through; w: lines
                                     * of the first on */
};

static inline const float *gpt_w(const GptRun *r, int k) {
    return r->m->w + r->m->table[k].at;
}

/* Where the firing's panel lies in an array off chip. */
static inline SpPanel gpt_off_chip(const GptFire *f, size_t array) {
    const GptArray *a = &f->r->program.array[array];
    const size_t at = f->panel.at - (a->one_panel ? f->logits_at : 0);
    const size_t stride = a->rows * LINE;
    return (SpPanel){f->r->array[array] + at * stride, stride, f->r->identity};
}
/* Where the firing's panel of an edge lies, on chip or off. */
static inline SpPanel gpt_panel_of(const GptFire *f, int edge) {
    const DfSlot *slot = f->r->on ? &f->r->on->slot[edge] : NULL;
    if (!slot || !slot->slots) return gpt_off_chip(f, f->r->program.array_of[edge]);
    float *lines = slot->chip + f->turn % slot->slots * slot->stride;
    return (SpPanel){lines, slot->gs, slot->row};
}
static inline SpPanel gpt_in(const GptFire *f, int k) {
    return gpt_panel_of(f, f->stage->df.in[k]);
}
static inline SpPanel gpt_out(const GptFire *f, int k) {
    return gpt_panel_of(f, f->stage->df.out[k]);
}
static inline SpPanel gpt_side(const GptFire *f, int k) {
    return gpt_off_chip(f, (size_t)f->stage->side[k]);
}
/* Line i of group g. */
static inline float *gpt_line(SpPanel x, size_t g, size_t i) {
    return x.lines + g * x.stride + (size_t)x.row[i] * LINE;
}

/* ---- embedding ----------------------------------------------------------- */

/* x (C) = wte[token] + wpe[position]; idle lanes 0 */
static inline void gpt_embed(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const SpPanel x = gpt_out(f, 0);
    const int32_t *inputs = r->inputs + f->panel.at / r->stride * r->T;     /* (T) */
    for (size_t g = 0; g < f->panel.groups; g++) {
        const size_t group = f->panel.first + g;
        const float *pos = gpt_w(r, WPE) + group * C * LINE;
        for (size_t t = 0; t < LINE; t++) {
            const size_t token = group * LINE + t;
            const bool idle = token >= r->T;
            const size_t id = idle ? 0 : (size_t)inputs[token];
            const float *word = gpt_w(r, WTE) + id / LINE * C * LINE + id % LINE;
            for (size_t i = 0; i < C; i++)
                gpt_line(x, g, i)[t] = idle ? 0 : word[i * LINE] + pos[i * LINE + t];
        }
    }
}
/* x = wte[token] + wpe[position]: both rows that were looked up gain dx, features
 * unit .. end-1 */
static inline void gpt_embed_weight(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const SpPanel dx = gpt_in(f, 0);
    const int32_t *inputs = r->inputs + f->panel.at / r->stride * r->T;     /* (T) */
    for (size_t g = f->panel.groups; g-- > 0;) {
        const size_t t0 = (f->panel.first + g) * LINE;
        float *pos = r->m->g + r->m->table[WPE].at + t0 * C;
        for (size_t i = f->unit; i < f->end; i++)
            for (size_t t = 0; t < LINE; t++)
                pos[i * LINE + t] += gpt_line(dx, g, i)[t];
        for (size_t t = 0; t < LINE && t0 + t < r->T; t++) {
            const size_t id = (size_t)inputs[t0 + t];
            float *word = r->m->lookup_g + id / LINE * C * LINE + id % LINE;
            for (size_t i = f->unit; i < f->end; i++)
                word[i * LINE] += gpt_line(dx, g, i)[t];
        }
    }
}

/* ---- norm ---------------------------------------------------------------- */

/* hat (C) = (x - mean) rstd of one feature of LANES tokens */
INLINE vf gpt_hat(SpPanel x, size_t g, size_t i, size_t v, vf mean, vf rstd) {
    return (vf_load(gpt_line(x, g, i) + v) - mean) * rstd;
}
/* out (C) = gain hat + bias, for LANES tokens of group g from v on */
INLINE void gpt_norm_out(const GptFire *f, size_t g, size_t v, vf mean, vf rstd) {
    const float *gain = gpt_w(f->r, f->stage->param);
    const float *bias = gpt_w(f->r, f->stage->param + 1);
    const SpPanel x = gpt_in(f, 0);
    const SpPanel out = gpt_out(f, 0);
    for (size_t i = 0; i < f->r->m->c.C; i++)
        vf_store(gpt_line(out, g, i) + v,
                 vf_fma(gpt_hat(x, g, i, v, mean, rstd), vf_all(gain[i]),
                        vf_all(bias[i])));
}
/* out (C) = gain (x - mean) rstd + bias, per token over C features. Mean and rstd
 * go to the stage's side, (2) a group */
static inline void gpt_norm(const GptFire *f) {
    const size_t C = f->r->m->c.C;
    const SpPanel x = gpt_in(f, 0);
    const SpPanel side = gpt_side(f, 0);
    for (size_t g = 0; g < f->panel.groups; g++)
        for (size_t v = 0; v < LINE; v += LANES) {
            vf mean = vf_all(0);
            vf var = vf_all(0);
            for (size_t i = 0; i < C; i++) mean += vf_load(gpt_line(x, g, i) + v);
            mean *= vf_all(1 / (float)C);
            for (size_t i = 0; i < C; i++) {
                const vf d = vf_load(gpt_line(x, g, i) + v) - mean;
                var = vf_fma(d, d, var);
            }
            const vf rstd = vf_all(1) / vf_sqrt(var / vf_all((float)C) + vf_all(1e-5f));
            vf_store(gpt_line(side, g, 0) + v, mean);
            vf_store(gpt_line(side, g, 1) + v, rstd);
            gpt_norm_out(f, g, v, mean, rstd);
        }
}
/* The same out once more, with the mean and rstd that are known. */
static inline void gpt_norm_again(const GptFire *f) {
    const SpPanel side = gpt_side(f, 0);
    for (size_t g = 0; g < f->panel.groups; g++)
        for (size_t v = 0; v < LINE; v += LANES)
            gpt_norm_out(f, g, v, vf_load(gpt_line(side, g, 0) + v),
                         vf_load(gpt_line(side, g, 1) + v));
}
/* out = gain hat + bias, features unit .. end-1: dgain += dout hat,
 * dbias += dout. dw: dgain's lines, db: dbias's */
static inline void gpt_norm_weight(const GptFire *f) {
    const SpPanel dout = gpt_in(f, 0);
    const SpPanel x = gpt_in(f, 1);
    const SpPanel side = gpt_side(f, 0);
    for (size_t g = f->panel.groups; g-- > 0;)
        for (size_t v = 0; v < LINE; v += LANES) {
            const vf mean = vf_load(gpt_line(side, g, 0) + v);
            const vf rstd = vf_load(gpt_line(side, g, 1) + v);
            for (size_t i = f->unit; i < f->end; i++) {
                float *dgain = f->dw + (i - f->unit) * LINE + v;
                float *dbias = f->db + (i - f->unit) * LINE + v;
                const vf d = vf_load(gpt_line(dout, g, i) + v);
                const vf hat = gpt_hat(x, g, i, v, mean, rstd);
                vf_store(dgain, vf_fma(d, hat, vf_load(dgain)));
                vf_store(dbias, vf_load(dbias) + d);
            }
        }
}
/* out = gain hat + bias, hat = (x - mean) rstd, mean and rstd of every x of the
 * token: dinp = rstd (dout gain - a - hat ah), a and ah the means over the
 * features of dout gain and dout gain hat. The residual path's derivative, if x
 * is also added further on, is the third input: dinp begins with it. */
static inline void gpt_norm_data(const GptFire *f) {
    const size_t C = f->r->m->c.C;
    const float *gain = gpt_w(f->r, f->stage->param);
    const bool residual = f->stage->df.in[2] != NONE;
    const SpPanel dout = gpt_in(f, 0);
    const SpPanel x = gpt_in(f, 1);
    const SpPanel before = gpt_in(f, residual ? 2 : 0);
    const SpPanel dinp = gpt_out(f, 0);
    const SpPanel side = gpt_side(f, 0);
    const vf share = vf_all(1 / (float)C);
    for (size_t g = 0; g < f->panel.groups; g++)
        for (size_t v = 0; v < LINE; v += LANES) {
            const vf mean = vf_load(gpt_line(side, g, 0) + v);
            const vf rstd = vf_load(gpt_line(side, g, 1) + v);
            vf a = vf_all(0);
            vf ah = vf_all(0);
            for (size_t i = 0; i < C; i++) {
                const vf d = vf_load(gpt_line(dout, g, i) + v) * vf_all(gain[i]);
                a += d;
                ah = vf_fma(d, gpt_hat(x, g, i, v, mean, rstd), ah);
            }
            a *= share;
            ah *= share;
            for (size_t i = 0; i < C; i++) {
                const vf hat = gpt_hat(x, g, i, v, mean, rstd);
                const vf d = vf_load(gpt_line(dout, g, i) + v) * vf_all(gain[i]);
                const vf sum = vf_fma(-hat, ah, d - a);
                const vf begin =
                    residual ? vf_load(gpt_line(before, g, i) + v) : vf_all(0);
                vf_store(gpt_line(dinp, g, i) + v, vf_fma(rstd, sum, begin));
            }
        }
}

/* ---- GELU ---------------------------------------------------------------- */

/* GELU in its tanh form is x s with s = 1 / (1 + exp(-2u)),
 * u = sqrt(2/pi) (x + 0.044715 x^3) */
INLINE vf gpt_sigmoid2u(vf x) {
    const float slope = -2 * 0.7978845608f;
    const vf u2 = x * vf_fma(x * x, vf_all(-2 * 0.044715f * 0.7978845608f), vf_all(slope));
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
static inline void gpt_gelu_data(const float *restrict fc, float *restrict h,
                                 float *restrict dh, size_t n) {
    for (size_t i = 0; i < n * LINE; i += LANES) {
        const vf x = vf_load(fc + i);
        const vf s = gpt_sigmoid2u(x);
        const vf slope = vf_fma(x * x, vf_all(6 * 0.044715f * 0.7978845608f),
                                vf_all(2 * 0.7978845608f));
        vf_store(h + i, x * s);
        vf_store(dh + i,
                 vf_load(dh + i) * vf_fma(x * s * (vf_all(1) - s), slope, s));
    }
}
/* dh *= gelu'(fc) in place, and h = gelu(fc) again; side: fc */
static inline void gpt_gelu_back(const GptFire *f) {
    const SpPanel fc = gpt_side(f, 0);
    const SpPanel dh = gpt_out(f, 0);
    const SpPanel h = gpt_out(f, 1);
    for (size_t b = f->unit; b < f->end; b++)
        for (size_t g = 0; g < f->panel.groups; g++)
            gpt_gelu_data(gpt_line(fc, g, b * LINE), gpt_line(h, g, b * LINE),
                          gpt_line(dh, g, b * LINE), LINE);
}

/* ---- linear -------------------------------------------------------------- */

/* The stage's matrix, whose columns name rows of the edge it gathers from. */
static inline SpMat gpt_pattern(const GptFire *f, SpPanel from) {
    SpMat m = f->r->m->table[f->stage->param].mat;
    const uint32_t *col = m.dense ? from.row : f->col ? f->col : m.col;
    m.col = (uint32_t *)(uintptr_t)col;             /* only read */
    return m;
}
/* Groups of 16 lines begin with the bias of row block b; the head has none. */
static inline void gpt_begin(const GptFire *f, size_t b, SpPanel y) {
    const int k = f->stage->param;
    const float *bias = k == WTE ? NULL : gpt_w(f->r, k + 1) + b * LINE;
    for (size_t g = 0; g < f->panel.groups; g++)
        for (size_t o = 0; o < LINE; o++)
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(y.lines + g * y.stride + o * LINE + v,
                         vf_all(bias ? bias[o] : 0));
}
/* y += W x by row block b of the matrix; y begins at its first output. */
static inline void gpt_multiply(const GptFire *f, const SpMat *m, size_t b, SpPanel x,
                                SpPanel y) {
    const size_t lines = m->first[b] - m->first[f->unit];
    sp_forward((SpBlocks){m, b, b + 1}, f->w + lines * LINE, x, y, f->panel.groups);
}
/* The 16 outputs of row block b. */
static inline SpPanel gpt_block(SpPanel y, size_t b) {
    y.lines = gpt_line(y, 0, b * LINE);
    return y;
}

/* y = W x + b, row blocks unit .. end-1. The 16 outputs of a row block are set and
 * summed while they are in the cache. */
static inline void gpt_linear(const GptFire *f) {
    const SpPanel x = gpt_in(f, 0);
    const SpPanel y = gpt_out(f, 0);
    const SpMat m = gpt_pattern(f, x);
    for (size_t b = f->unit; b < f->end; b++) {
        const SpPanel block = gpt_block(y, b);
        gpt_begin(f, b, block);
        gpt_multiply(f, &m, b, x, block);
    }
}
/* y = W x + b + residual, the second input */
static inline void gpt_linear_add(const GptFire *f) {
    const SpPanel x = gpt_in(f, 0);
    const SpPanel residual = gpt_in(f, 1);
    const SpPanel y = gpt_out(f, 0);
    const SpMat m = gpt_pattern(f, x);
    for (size_t b = f->unit; b < f->end; b++) {
        const SpPanel block = gpt_block(y, b);
        const SpPanel from = gpt_block(residual, b);
        gpt_begin(f, b, block);
        for (size_t g = 0; g < f->panel.groups; g++)
            for (size_t n = 0; n < LINE * LINE; n += LANES) {
                float *at = block.lines + g * block.stride + n;
                vf_store(at, vf_load(at) + vf_load(from.lines + g * from.stride + n));
            }
        gpt_multiply(f, &m, b, x, block);
    }
}
static inline void gpt_stream(float *restrict to, const float *restrict from,
                              size_t lines) {
    for (size_t n = 0; n < lines * LINE; n += LANES) vf_stream(to + n, vf_load(from + n));
}
/* h = gelu(W x + b); what GELU takes goes to the stage's side */
static inline void gpt_linear_gelu(const GptFire *f) {
    float space[GROUPS_MAX * LINE * LINE] __attribute__((aligned(64)));
    const SpPanel block = {space, LINE * LINE, sp_in_order};
    const SpPanel x = gpt_in(f, 0);
    const SpPanel h = gpt_out(f, 0);
    const SpPanel fc = gpt_side(f, 0);
    const SpMat m = gpt_pattern(f, x);
    for (size_t b = f->unit; b < f->end; b++) {
        gpt_begin(f, b, block);
        gpt_multiply(f, &m, b, x, block);
        for (size_t g = 0; g < f->panel.groups; g++) {
            const float *in = space + g * block.stride;
            gpt_gelu(in, gpt_line(h, g, b * LINE), LINE);
            gpt_stream(gpt_line(fc, g, b * LINE), in, LINE);
        }
    }
}
/* y = W x + b: dx = W' dy, rows 16 unit .. 16 end of dx. Row blocks go on with the
 * sums that those before them began. */
static inline void gpt_linear_data(const GptFire *f) {
    const SpPanel dy = gpt_in(f, 0);
    const SpPanel dx = gpt_out(f, 0);
    const SpMat m = f->slice ? *f->slice : gpt_pattern(f, dx);
    for (size_t g = 0; g < f->panel.groups && f->block == 0; g++)
        for (size_t i = f->unit * LINE; i < f->end * LINE; i++)
            memset(gpt_line(dx, g, i), 0, LINE * sizeof(float));
    sp_backward_data((SpBlocks){&m, f->block, f->block_end}, f->w, dy, dx,
                     f->panel.groups);
}
/* y = W x + b: dw += dy x' and db += dy, row blocks unit .. end-1 */
static inline void gpt_linear_weight(const GptFire *f) {
    const SpPanel x = gpt_in(f, 0);
    const SpPanel dy = gpt_in(f, 1);
    const SpMat m = gpt_pattern(f, x);
    sp_backward_weight((SpBlocks){&m, f->unit, f->end}, f->dw, dy, x, f->panel.groups);
    for (size_t b = f->unit; b < f->end && f->db; b++)
        for (size_t g = f->panel.groups; g-- > 0;) {
            const float *d = gpt_line(dy, g, b * LINE);
            float *db = f->db + (b - f->unit) * LINE * LINE;
            for (size_t n = 0; n < LINE * LINE; n += LANES)
                vf_store(db + n, vf_load(db + n) + vf_load(d + n));
        }
}

/* ---- attention: the same products with a head's keys and values as weights --- */

/* A head's keys and values, and in the backward pass their gradients, of the
 * whole sequence, by groups of hs lines. Off chip they are the edges themselves.
 * On chip they are the state of the stage that keeps them, dealt out over its
 * tiles: of a unit, [its groups][k v dk dv][hs][16]. */
enum { KEY, VALUE, DKEY, DVALUE };

typedef struct {
    float *edge[4];                 /* off chip: group 0 of each */
    size_t stride;                  /* floats from a group to the next */
    const DfPart *keeper;           /* NULL: off chip */
    const DfPlace *kept;
    size_t h, split;                /* the head; units a head */
    size_t share;                   /* groups a unit */
    size_t one;                     /* floats of a group's keys */
} GptMemory;

/* Some units of one head: the j0-th .. j1-1-th. */
typedef struct {
    size_t h, j0, j1;
} GptOfHead;

static inline size_t gpt_head_size(const GptRun *r) { return r->m->c.C / r->m->c.NH; }

/* The units of a firing from `unit` on that are of one head. */
static inline GptOfHead gpt_of_head_at(const GptFire *f, size_t unit) {
    const size_t split = f->stage->split;
    const size_t j0 = unit % split;
    return (GptOfHead){unit / split, j0, size_min(split, j0 + (f->end - unit))};
}
/* Whether group n of the sequence is one of theirs. */
static inline bool gpt_has(const GptFire *f, const GptOfHead *of, size_t n) {
    const size_t j = n % f->stage->split;
    return of->j0 <= j && j < of->j1;
}
/* Groups of a sequence that a unit has, if a head has so many units. */
static inline size_t gpt_groups_each(size_t groups, size_t split) {
    return (groups + split - 1) / split;
}
/* Group 0's keys of head h in a panel of q, k, v of its sequence. */
static inline float *gpt_keys(const GptFire *f, SpPanel qkv, size_t h) {
    return qkv.lines - f->panel.first * qkv.stride +
           (f->r->m->c.C + h * gpt_head_size(f->r)) * LINE;
}
/* What is remembered of head h. */
static inline GptMemory gpt_memory(const GptFire *f, SpPanel qkv, SpPanel dqkv, size_t h) {
    GptMemory m = {.keeper = f->keeper, .kept = f->kept, .h = h};
    m.one = gpt_head_size(f->r) * LINE;
    if (!m.keeper) {
        const size_t values = f->r->m->c.C * LINE;  /* from a key to its value */
        float *k = gpt_keys(f, qkv, h);
        float *dk = gpt_keys(f, dqkv, h);
        m.edge[KEY] = k;
        m.edge[VALUE] = k + values;
        m.edge[DKEY] = dk;
        m.edge[DVALUE] = dk + values;
        m.stride = qkv.stride;
        return m;
    }
    m.split = m.keeper->s.units / f->r->m->c.NH;
    m.share = gpt_groups_each(f->r->program.groups, m.split);
    m.stride = m.keeper->s.state / m.share * LINE;
    return m;
}
/* Group n of a head's keys, values or gradients. A tile that has the whole head
 * keeps its groups in order. */
static inline float *gpt_group(const GptMemory *m, int what, size_t n) {
    if (!m->keeper) return m->edge[what] + n * m->stride;
    const size_t per = m->keeper->per;
    const size_t unit = m->h * m->split + n % m->split;
    const size_t first = unit / per * per;
    const size_t at = per % m->split == 0
                          ? (m->h * m->split - first) * m->share + n
                          : (unit - first) * m->share + n / m->split;
    return m->kept[unit / per].chip + m->keeper->state / sizeof(float) +
           at * m->stride + (size_t)what * m->one;
}
/* Groups from n on, before `end`, that follow one another by m->stride. */
static inline size_t gpt_run_of(const GptMemory *m, size_t n, size_t end) {
    return !m->keeper || m->keeper->per % m->split == 0 ? end - n : 1;
}
/* Copies lines i .. i + hs - 1 of group g of a panel to a tile's state. */
static inline void gpt_remember(float *to, SpPanel from, size_t g, size_t i, size_t hs) {
    for (size_t k = 0; k < hs; k++)
        memcpy(to + k * LINE, gpt_line(from, g, i + k), LINE * sizeof(float));
}
/* And back. */
static inline void gpt_recall(SpPanel to, size_t g, size_t i, const float *from, size_t hs) {
    for (size_t k = 0; k < hs; k++)
        memcpy(gpt_line(to, g, i + k), from + k * LINE, LINE * sizeof(float));
}
static inline void gpt_clear(SpPanel x, size_t g, size_t i, size_t lines) {
    for (size_t k = 0; k < lines; k++) memset(gpt_line(x, g, i + k), 0, LINE * sizeof(float));
}

/* One head's rows of a panel: the lines from `row` on, in one group. */
typedef struct {
    float *lines;                   /* of the group */
    const uint32_t *row;            /* [hs] */
} GptHeadRows;
static inline GptHeadRows gpt_head_rows(SpPanel x, size_t g, size_t i) {
    return (GptHeadRows){x.lines + g * x.stride, x.row + i};
}

/* s (16,16) = keys' x: scores of 16 queries x (hs) against 16 keys, or the like of
 * their values */
static inline void gpt_scores(float *s, const float *keys, GptHeadRows x, size_t hs) {
    const SpLines at = {.col = x.row, .n = hs, .blocks = 1};
    memset(s, 0, LINE * LINE * sizeof(float));
    sp_forward_narrow(keys, at, (SpPanel){.lines = x.lines}, (SpPanel){.lines = s});
}
/* out (hs) += values times p (16 blocks,16); values: KEY or VALUE of groups n on,
 * which follow one another */
static inline void gpt_mix(GptHeadRows out, const GptMemory *m, int values, size_t n,
                           size_t blocks, float *p, size_t hs) {
    sp_data_narrow(gpt_group(m, values, n), (SpLines){out.row, hs, m->stride, blocks},
                   (SpPanel){.lines = p}, (SpPanel){.lines = out.lines});
}
/* dk (hs,16) += x (hs) times ds (16 keys, 16 queries) */
static inline void gpt_spread(float *dk, GptHeadRows x, const float *ds, size_t hs) {
    float turned[LINE * LINE] __attribute__((aligned(64)));
    const SpLines at = {.col = x.row, .n = hs, .blocks = 1};
    sp_transpose(turned, ds);
    sp_weight_narrow(dk, at, (SpPanel){.lines = turned}, (SpPanel){.lines = x.lines}, 1);
}

/* max[.] of the scores s (16n,16) that each of the 16 queries of group n - 1 may
 * see, for the queries of one vector from v on */
static inline vf gpt_score_max(const float *s, size_t n, size_t v) {
    const size_t own = (n - 1) * LINE;              /* the queries' own group */
    vf max = vf_load(s + own * LINE + v);
    for (size_t k = 1; k < LINE; k++) {
        const vf score = vf_load(s + (own + k) * LINE + v);
        max = vf_max(vf_below((int)k - (int)v, max, score), max);
    }
    for (size_t k = 0; k < own; k++) max = vf_max(max, vf_load(s + k * LINE + v));
    return max;
}
/* The exponential of one line k of scores, 0 where the key lies after the query. */
INLINE vf gpt_score_exp(const float *s, size_t k, size_t own, size_t v, vf scale, vf top) {
    const vf e = vf_exp(vf_fma(vf_load(s + k * LINE + v), scale, -top));
    if (k < own) return e;
    return vf_below((int)(k - own) - (int)v, vf_all(0), e);
}
/* s (16n,16) becomes exp(s scale - max), max (16); sum (16) its sums over keys. */
static inline void gpt_softmax_sum(float *s, size_t n, float scale, const float *max,
                                   float *sum) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v);
        vf total = vf_all(0);
        for (size_t k = 0; k < n * LINE; k++) {
            const vf e = gpt_score_exp(s, k, (n - 1) * LINE, v, vf_all(scale), top);
            vf_store(s + k * LINE + v, e);
            total += e;
        }
        vf_store(sum + v, total);
    }
}
/* Where a firing of attention works, if the chip gives it no room of its own. */
static inline float *gpt_scratch(const GptFire *f) {
    const GptRun *r = f->r;
    if (f->scratch) return f->scratch;
    return r->scratch + f->worker * r->program.panel * r->program.groups * LINE * LINE;
}
/* Carries the keys and values of a panel to the tiles that keep them. */
static inline void gpt_attention_keys(const GptFire *f) {
    const size_t C = f->r->m->c.C;
    const size_t hs = gpt_head_size(f->r);
    const SpPanel qkv = gpt_in(f, 0);
    GptOfHead of;
    for (size_t unit = f->unit; unit < f->end; unit += of.j1 - of.j0) {
        of = gpt_of_head_at(f, unit);
        const GptMemory m = gpt_memory(f, qkv, qkv, of.h);
        for (size_t g = 0; g < f->panel.groups; g++) {
            const size_t n = f->panel.first + g;
            if (!gpt_has(f, &of, n)) continue;
            gpt_remember(gpt_group(&m, KEY, n), qkv, g, C + of.h * hs, hs);
            gpt_remember(gpt_group(&m, VALUE, n), qkv, g, 2 * C + of.h * hs, hs);
        }
    }
}
/* att (hs) of a head and the 16 queries of group g of a panel. Each query's maximum
 * and 1 / sum go to the stage's side, two lines a head. s: room for the scores */
static inline void gpt_attend(const GptFire *f, const GptMemory *m, size_t g, float *s) {
    const size_t hs = gpt_head_size(f->r);
    const size_t h = m->h;
    const size_t n = f->panel.first + g + 1;        /* groups of keys it may see */
    const float scale = 1 / sqrtf((float)hs);
    const SpPanel att = gpt_out(f, 0);
    const SpPanel side = gpt_side(f, 0);
    const GptHeadRows query = gpt_head_rows(gpt_in(f, 0), g, h * hs);
    float *max = gpt_line(side, g, 2 * h);
    float *share = gpt_line(side, g, 2 * h + 1);
    /* 1 scores and their maximum */
    for (size_t k = 0; k < n; k++)
        gpt_scores(s + k * LINE * LINE, gpt_group(m, KEY, k), query, hs);
    for (size_t v = 0; v < LINE; v += LANES)
        vf_store(max + v, gpt_score_max(s, n, v) * vf_all(scale));
    /* 2 exponentials and their sum */
    gpt_softmax_sum(s, n, scale, max, share);
    for (size_t v = 0; v < LINE; v += LANES)
        vf_store(share + v, vf_all(1) / vf_load(share + v));
    /* 3 mix the values */
    gpt_clear(att, g, h * hs, hs);
    for (size_t k = 0, run; k < n; k += run) {
        run = gpt_run_of(m, k, n);
        gpt_mix(gpt_head_rows(att, g, h * hs), m, VALUE, k, run, s + k * LINE * LINE, hs);
    }
    /* 4 normalise */
    for (size_t i = h * hs; i < (h + 1) * hs; i++)
        for (size_t v = 0; v < LINE; v += LANES) {
            float *at = gpt_line(att, g, i) + v;
            vf_store(at, vf_load(at) * vf_load(share + v));
        }
}
/* att (C) = softmax(q k / sqrt(hs)) v for the heads of units unit .. end-1 and
 * those groups of queries of a panel that are theirs. */
static inline void gpt_attention(const GptFire *f) {
    const SpPanel qkv = gpt_in(f, 0);
    float *s = gpt_scratch(f);
    GptOfHead of;
    for (size_t unit = f->unit; unit < f->end; unit += of.j1 - of.j0) {
        of = gpt_of_head_at(f, unit);
        const GptMemory m = gpt_memory(f, qkv, qkv, of.h);
        for (size_t g = 0; g < f->panel.groups; g++)
            if (gpt_has(f, &of, f->panel.first + g)) gpt_attend(f, &m, g, s);
    }
}

/* Where ds (16 keys of group n, 16 queries of group g of the panel) of a head lies:
 * on chip in an edge, by the units of the stage that makes it. */
static inline float *gpt_ds(const GptFire *f, int edge, const GptMemory *m, size_t g,
                            size_t n) {
    if (!m->keeper)
        return gpt_scratch(f) + (g * f->r->program.groups + n) * LINE * LINE;
    const size_t at = (m->h * m->split + n % m->split) * m->share + n / m->split;
    return gpt_line(gpt_panel_of(f, edge), g, at * LINE);
}
/* Before the first panel of the backward stream that a sequence's heads see: dk
 * and dv are 0, and keys and values come on the chip. */
static inline void gpt_attention_begin(const GptFire *f, const GptMemory *m, SpPanel qkv,
                                       const GptOfHead *of) {
    const size_t C = f->r->m->c.C;
    const size_t hs = gpt_head_size(f->r);
    SpPanel sequence = qkv;
    sequence.lines -= f->panel.first * qkv.stride;
    for (size_t n = 0; n < f->r->groups; n++) {
        if (!gpt_has(f, of, n)) continue;
        memset(gpt_group(m, DKEY, n), 0, hs * LINE * sizeof(float));
        memset(gpt_group(m, DVALUE, n), 0, hs * LINE * sizeof(float));
        if (!m->keeper) continue;
        gpt_remember(gpt_group(m, KEY, n), sequence, n, C + of->h * hs, hs);
        gpt_remember(gpt_group(m, VALUE, n), sequence, n, 2 * C + of->h * hs, hs);
    }
}
/* D (16) = sum p dp = dout out, of 16 queries of group g, rows i0 .. i0+hs-1 */
static inline void gpt_softmax_dot(float *D, SpPanel dout, SpPanel out, size_t g, size_t i0,
                                   size_t hs) {
    for (size_t v = 0; v < LINE; v += LANES) {
        vf sum = vf_all(0);
        for (size_t i = i0; i < i0 + hs; i++)
            sum = vf_fma(vf_load(gpt_line(dout, g, i) + v),
                         vf_load(gpt_line(out, g, i) + v), sum);
        vf_store(D + v, sum);
    }
}
/* What the forward pass left of 16 queries of a head, and what it gets back. */
typedef struct {
    GptHeadRows query, dout;
    const float *max, *share;       /* (16) of each query */
    const float *D;                 /* (16) */
} GptQueries;

/* p (16,16), which is scores, becomes exp(s scale - max) share, the probabilities;
 * ds, which is dp, becomes p (dp - D) scale. own: of keys of the queries' group */
static inline void gpt_softmax_data(float *p, float *ds, const GptQueries *q, float scale,
                                    bool own) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(q->max + v);
        const vf by = vf_load(q->share + v);
        const vf D = vf_load(q->D + v);
        for (size_t k = 0; k < LINE; k++) {
            const size_t first = own ? 0 : LINE;
            const vf e = gpt_score_exp(p, k, first, v, vf_all(scale), top) * by;
            const vf dp = vf_load(ds + k * LINE + v);
            vf_store(p + k * LINE + v, e);
            vf_store(ds + k * LINE + v, e * (dp - D) * vf_all(scale));
        }
    }
}
/* What the queries of group n of the sequence contribute to the keys and values of
 * group k, and ds (16,16), from which dq follows. */
static inline void gpt_attend_back(const GptMemory *m, const GptQueries *q, size_t n,
                                   size_t k, float *ds, size_t hs) {
    float p[LINE * LINE] __attribute__((aligned(64)));
    const float scale = 1 / sqrtf((float)hs);
    gpt_scores(p, gpt_group(m, KEY, k), q->query, hs);
    gpt_scores(ds, gpt_group(m, VALUE, k), q->dout, hs);
    gpt_softmax_data(p, ds, q, scale, k == n);
    gpt_spread(gpt_group(m, DKEY, k), q->query, ds, hs);
    gpt_spread(gpt_group(m, DVALUE, k), q->dout, p, hs);
}
/* dk and dv of the groups of keys that are units unit .. end-1's gain what the
 * queries of a panel, last group first, contribute; the forward passes, last first:
 *   out = sum p v:                     dv += p dout      dp = v dout
 *   p = softmax(s), s = q k scale:     ds = p (dp - D) scale with D = sum p dp
 *                                      dk += ds q
 * The maxima and 1 / sums are the first side, q, k and v the second. When a panel
 * has been seen as queries its keys and values have all they get. */
static inline void gpt_attention_back(const GptFire *f) {
    const size_t C = f->r->m->c.C;
    const size_t hs = gpt_head_size(f->r);
    const SpPanel datt = gpt_in(f, 0);
    const SpPanel att = gpt_in(f, 1);
    const SpPanel dqkv = gpt_out(f, 0);
    const SpPanel soft = gpt_side(f, 0);
    const SpPanel qkv = gpt_side(f, 1);
    const int ds = f->stage->df.out[1];
    GptOfHead of;
    for (size_t unit = f->unit; unit < f->end; unit += of.j1 - of.j0) {
        of = gpt_of_head_at(f, unit);
        const size_t h = of.h;
        const GptMemory m = gpt_memory(f, qkv, dqkv, h);
        if (f->panel.first + f->panel.groups == f->r->groups)
            gpt_attention_begin(f, &m, qkv, &of);
        for (size_t g = f->panel.groups; g-- > 0;) {
            const size_t n = f->panel.first + g;
            float D[LINE] __attribute__((aligned(64)));
            const GptQueries q = {.query = gpt_head_rows(qkv, g, h * hs),
                                  .dout = gpt_head_rows(datt, g, h * hs),
                                  .max = gpt_line(soft, g, 2 * h),
                                  .share = gpt_line(soft, g, 2 * h + 1), .D = D};
            gpt_softmax_dot(D, datt, att, g, h * hs, hs);
            for (size_t k = 0; k <= n; k++)
                if (gpt_has(f, &of, k))
                    gpt_attend_back(&m, &q, n, k, gpt_ds(f, ds, &m, g, k), hs);
        }
        for (size_t g = 0; g < f->panel.groups && m.keeper; g++) {
            const size_t n = f->panel.first + g;
            if (!gpt_has(f, &of, n)) continue;
            gpt_recall(dqkv, g, C + h * hs, gpt_group(&m, DKEY, n), hs);
            gpt_recall(dqkv, g, 2 * C + h * hs, gpt_group(&m, DVALUE, n), hs);
        }
    }
}
/* dq = sum ds k, keys in order, of the groups of queries of a panel that are units
 * unit .. end-1's. */
static inline void gpt_attention_queries(const GptFire *f) {
    const size_t hs = gpt_head_size(f->r);
    const int ds = f->stage->df.in[1];
    const SpPanel dqkv = gpt_out(f, 0);
    const SpPanel qkv = gpt_side(f, 0);
    GptOfHead of;
    for (size_t unit = f->unit; unit < f->end; unit += of.j1 - of.j0) {
        of = gpt_of_head_at(f, unit);
        const GptMemory m = gpt_memory(f, qkv, dqkv, of.h);
        for (size_t g = 0; g < f->panel.groups; g++) {
            const size_t n = f->panel.first + g;
            if (!gpt_has(f, &of, n)) continue;
            const GptHeadRows dq = gpt_head_rows(dqkv, g, of.h * hs);
            gpt_clear(dqkv, g, of.h * hs, hs);
            for (size_t k = 0, run; k <= n; k += run) {
                run = m.keeper ? 1 : n + 1;
                gpt_mix(dq, &m, KEY, k, run, gpt_ds(f, ds, &m, g, k), hs);
            }
        }
    }
}

/* ---- the loss ------------------------------------------------------------ */

/* loss = max + log sum exp(logit - max) - logit[target], of each token of group g;
 * the logits (V) become exp(logit - max), scale (16) what turns these into
 * probabilities / targets that count; 0 for tokens without a target. */
static inline void gpt_loss_group(const GptFire *f, SpPanel logits, size_t g, float *scale,
                                  const int32_t *target) {
    const GptRun *r = f->r;
    const size_t V = r->m->c.V;
    double *loss = r->loss + (f->panel.at + g) * LINE;
    float max[LINE];
    float sum[LINE];
    for (size_t v = 0; v < LINE; v += LANES) {
        vf top = vf_load(gpt_line(logits, g, 0) + v);
        for (size_t o = 1; o < V; o++)
            top = vf_max(vf_load(gpt_line(logits, g, o) + v), top);
        vf_store(max + v, top);
    }
    for (size_t t = 0; t < LINE; t++)       /* the target's logit, while it is there */
        loss[t] = target[t] < 0 ? 0
                                : (double)max[t] -
                                      (double)gpt_line(logits, g, (size_t)target[t])[t];
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v);
        vf total = vf_all(0);
        for (size_t o = 0; o < V; o++) {
            float *at = gpt_line(logits, g, o) + v;
            const vf e = vf_exp(vf_load(at) - top);
            vf_store(at, e);
            total += e;
        }
        vf_store(sum + v, total);
    }
    for (size_t t = 0; t < LINE; t++) {
        if (target[t] >= 0) loss[t] += det_log((double)sum[t]);
        scale[t] = target[t] >= 0 ? r->dscale / sum[t] : 0;
    }
}
/* target (16) of the tokens of group g of a panel; -1 where there is none */
static inline void gpt_targets(const GptFire *f, size_t g, int32_t *target) {
    const GptRun *r = f->r;
    const size_t b = f->panel.at / r->stride;
    const size_t t0 = (f->panel.first + g) * LINE;
    for (size_t t = 0; t < LINE; t++)
        target[t] = t0 + t < r->T ? r->targets[b * r->T + t0 + t] : -1;
}
/* The losses alone. */
static inline void gpt_loss(const GptFire *f) {
    const SpPanel logits = gpt_in(f, 0);
    for (size_t g = 0; g < f->panel.groups; g++) {
        float scale[LINE];
        int32_t target[LINE];
        gpt_targets(f, g, target);
        gpt_loss_group(f, logits, g, scale, target);
    }
}
/* The losses, and the logits (V) become d loss / d logits =
 * (p - [v = target]) / targets that count */
static inline void gpt_loss_data(const GptFire *f) {
    const SpPanel logits = gpt_in(f, 0);
    const size_t V = f->r->m->c.V;
    for (size_t g = 0; g < f->panel.groups; g++) {
        float scale[LINE];
        int32_t target[LINE];
        gpt_targets(f, g, target);
        gpt_loss_group(f, logits, g, scale, target);
        for (size_t o = 0; o < V; o++)
            for (size_t v = 0; v < LINE; v += LANES) {
                float *at = gpt_line(logits, g, o) + v;
                vf_store(at, vf_load(at) * vf_load(scale + v));
            }
        for (size_t t = 0; t < LINE; t++)
            if (target[t] >= 0)
                gpt_line(logits, g, (size_t)target[t])[t] -= f->r->dscale;
    }
}

/* ---- the layer ----------------------------------------------------------- *
 * FLOPs are counted by the source: a multiply-add is 2, e^x is 8. */

enum { QKV = QKVW, PROJ = PROJW, FC = FCW, FC2 = FC2W, LN1 = LN1W, LN2 = LN2W };

static inline GptStage *gpt_of_param(GptProgram *g, size_t l, const char *name, int k,
                                     void (*fire)(const GptFire *)) {
    GptStage *s = gpt_append(g, l, name, fire);
    s->param = (int)gpt_layer(l, k);
    return s;
}

/* What layer_forward leaves for layer_backward. */
typedef struct {
    int x, qkv, att, mid;           /* kept edges */
    int norm1, norm2, soft, fc;     /* arrays of statistics, and GELU's input */
} GptSaved;

/* n = gain (x - mean) rstd + bias; k: LN1 or LN2 */
static inline int norm(GptProgram *g, size_t l, int k, int x, int *side) {
    const bool last = l == g->c.L;
    const char *name = last ? "ln_f" : k == LN1 ? "ln_1" : "ln_2";
    GptStage *s = gpt_of_param(g, l, name, k, gpt_norm);
    gpt_reads(s, x);
    *side = (int)gpt_array(g, l, k == LN1 ? "ln_1 statistics" : "ln_2 statistics", 2);
    s->side[0] = *side;
    s->real = g->c.C;
    s->df.writes = 2;
    s->df.per_unit = 8 * (double)g->c.C;
    return gpt_makes(s, gpt_passing(g, l, k == LN1 ? "n1" : "n2", gpt_rows(g->c.C), IN_N));
}
static inline const char *gpt_linear_name(int k) {
    return k == QKV ? "attn.c_attn" : k == PROJ ? "attn.c_proj"
         : k == FC ? "mlp.c_fc" : "mlp.c_proj";
}
/* A stage of a linear layer, whose units are the row blocks of its outputs, or of
 * its inputs. */
static inline GptStage *gpt_of_linear(GptProgram *g, size_t l, const char *name, int k,
                                      size_t rows, void (*fire)(const GptFire *)) {
    GptStage *s = gpt_of_param(g, l, name, k, fire);
    s->df.units = gpt_rows(rows) / LINE;
    s->df.per_line = 2 * LINE;
    return s;
}
static inline size_t gpt_outputs(const GptProgram *g, int k) {
    return (k == QKV ? 3 : k == FC ? 4 : 1) * g->c.C;
}
static inline size_t gpt_inputs(const GptProgram *g, int k) {
    return (k == FC2 ? 4 : 1) * g->c.C;
}
static inline GptStage *gpt_forward_of(GptProgram *g, size_t l, int k, int x,
                                       void (*fire)(const GptFire *)) {
    GptStage *s =
        gpt_of_linear(g, l, gpt_linear_name(k), k, gpt_outputs(g, k), fire);
    gpt_reads(s, x);
    s->df.weights = true;
    s->df.gather = true;
    s->df.per_unit = LINE;
    return s;
}
/* qkv = W x + b */
static inline int linear(GptProgram *g, size_t l, int k, int x) {
    GptStage *s = gpt_forward_of(g, l, k, x, gpt_linear);
    return gpt_makes(s, gpt_kept(g, l, "qkv", gpt_rows(gpt_outputs(g, k)),
                                 "attn.c_attn output"));
}
/* mid, or the next layer's x, = W x + b + residual */
static inline int linear_add(GptProgram *g, size_t l, int k, int x, int residual) {
    GptStage *s = gpt_forward_of(g, l, k, x, gpt_linear_add);
    gpt_reads(s, residual);
    const size_t rows = gpt_rows(g->c.C);
    if (k == PROJ) return gpt_makes(s, gpt_kept(g, l, "mid", rows, "attn.c_proj output"));
    return gpt_makes(s, gpt_kept(g, l + 1, "x", rows, "input"));
}
/* h = gelu(W x + b) */
static inline int linear_gelu(GptProgram *g, size_t l, int k, int x, int *side) {
    const size_t rows = gpt_rows(gpt_outputs(g, k));
    GptStage *s = gpt_forward_of(g, l, k, x, gpt_linear_gelu);
    *side = (int)gpt_array(g, l, "mlp.c_fc output", rows);
    s->side[0] = *side;
    s->df.per_unit = 16 * 15;
    s->df.writes = (double)rows;
    return gpt_makes(s, gpt_passing(g, l, "h", rows, IN_H));
}
/* Units a head whose groups of keys are dealt out. */
enum { KEY_SPLIT = 16 };
/* A stage whose units are heads, each split by groups of 16 tokens. */
static inline GptStage *gpt_of_heads(GptProgram *g, size_t l, const char *name,
                                     size_t split, void (*fire)(const GptFire *)) {
    GptStage *s = gpt_append(g, l, name, fire);
    s->cut = BY_HEAD;
    s->split = split;
    s->df.units = g->c.NH * split;
    return s;
}
/* The same, split by keys, remembers `parts` of them: keys, values and, backward,
 * their gradients. */
static inline GptStage *gpt_of_keys(GptProgram *g, size_t l, const char *name,
                                    size_t parts, void (*fire)(const GptFire *)) {
    const size_t split = size_min(g->groups, KEY_SPLIT);
    GptStage *s = gpt_of_heads(g, l, name, split, fire);
    s->df.state = gpt_groups_each(g->groups, split) * parts * (g->c.C / g->c.NH);
    return s;
}
/* The same, split by queries, reads what the stage before it remembers. */
static inline GptStage *gpt_of_queries(GptProgram *g, size_t l, const char *name,
                                       void (*fire)(const GptFire *)) {
    GptStage *s = gpt_of_heads(g, l, name, g->panel, fire);
    s->df.share = 1;
    s->df.recalls = 1;
    return s;
}
/* att = softmax(q k / sqrt(hs)) v, once the keys and values are where all of its
 * tiles find them */
static inline int attention(GptProgram *g, size_t l, int qkv, int *side) {
    const double hs = (double)g->c.C / (double)g->c.NH;
    GptStage *s = gpt_of_keys(g, l, "attention keys", 2, gpt_attention_keys);
    gpt_reads(s, qkv);
    s->df.copies = true;
    const int there = gpt_makes(s, gpt_inner(g, l, "keys", 0));
    s = gpt_of_queries(g, l, "attention", gpt_attention);
    gpt_reads(s, qkv);
    gpt_reads(s, there);
    *side = (int)gpt_array(g, l, "attention softmax", 2 * g->c.NH);
    s->side[0] = *side;
    s->real = g->c.C;
    s->df.writes = 2 * (double)g->c.NH;
    s->df.per_pair = (4 * hs + 12) / (double)s->split;
    s->df.recalled = 2 * hs / (double)s->split;
    s->df.scratch = g->groups * LINE;
    return gpt_makes(s, gpt_kept(g, l, "att", gpt_rows(g->c.C), "attention output"));
}

/* One layer, from its input to the next one's. */
static inline int layer_forward(GptProgram *g, size_t l, int x, GptSaved *saved) {
    const int n1 = norm(g, l, LN1, x, &saved->norm1);
    const int qkv = linear(g, l, QKV, n1);
    const int att = attention(g, l, qkv, &saved->soft);
    const int mid = linear_add(g, l, PROJ, att, x);
    const int n2 = norm(g, l, LN2, mid, &saved->norm2);
    const int h = linear_gelu(g, l, FC, n2, &saved->fc);
    saved->x = x;
    saved->qkv = qkv;
    saved->att = att;
    saved->mid = mid;
    return linear_add(g, l, FC2, h, mid);           /* the next layer's x */
}

/* y = W x + b: dx = W' dy */
static inline int linear_data(GptProgram *g, size_t l, int k, int dy, GptShared in) {
    const size_t rows = gpt_rows(gpt_inputs(g, k));
    char name[40];
    snprintf(name, sizeof name, "%s dx", gpt_linear_name(k));
    GptStage *s = gpt_of_linear(g, l, name, k, rows, gpt_linear_data);
    gpt_reads(s, dy);
    s->df.weights = true;
    s->df.scatter = true;
    const char *const edge = k == FC2 ? "dh" : k == FC ? "dn2" : k == PROJ ? "datt" : "dn1";
    return gpt_makes(s, gpt_passing(g, l, edge, rows, in));
}
/* y = W x + b: dw += dy x', db += dy. It shares the tiles of the stage `share`
 * before it. */
static inline void linear_weight(GptProgram *g, size_t l, int k, int x, int dy,
                                 size_t share) {
    char name[40];
    snprintf(name, sizeof name, "%s dw", gpt_linear_name(k));
    GptStage *s = gpt_of_linear(g, l, name, k, gpt_outputs(g, k), gpt_linear_weight);
    gpt_reads(s, x);
    gpt_reads(s, dy);
    s->cut = BY_ROWS;
    s->df.grads = true;
    s->df.gather = true;
    s->df.sums = LINE;
    s->df.per_unit = LINE;
    s->df.share = share;
}
/* dh *= gelu'(fc) in place; *h: gelu(fc) again. It runs where the stage before it
 * does. */
static inline int gelu_data(GptProgram *g, size_t l, int dh, int side, int *h) {
    const size_t rows = gpt_rows(4 * g->c.C);
    GptStage *s = gpt_append(g, l, "gelu dx", gpt_gelu_back);
    s->df.joins = true;
    s->side[0] = side;
    s->df.units = rows / LINE;
    s->df.reads = (double)rows;
    s->df.per_unit = 16 * 22;
    gpt_reads(s, dh);
    const int dg = gpt_makes(s, gpt_in_place(g, l, "dh", dh));
    *h = gpt_makes(s, gpt_passing(g, l, "h again", rows, IN_H));
    return dg;
}
/* n once more, for dw. It runs where the stage before it does. */
static inline int norm_again(GptProgram *g, size_t l, int k, int x, int side) {
    GptStage *s = gpt_of_param(g, l, k == LN1 ? "ln_1 again" : "ln_2 again", k,
                               gpt_norm_again);
    gpt_reads(s, x);
    s->df.joins = true;
    s->side[0] = side;
    s->df.reads = 2;
    s->real = g->c.C;
    s->df.per_unit = 4 * (double)g->c.C;
    const char *const edge = k == LN1 ? "n1 again" : "n2 again";
    return gpt_makes(s, gpt_passing(g, l, edge, gpt_rows(g->c.C), IN_N));
}
/* n = gain hat + bias: dgain += dn hat, dbias += dn */
static inline void norm_weight(GptProgram *g, size_t l, int k, int dn, int x, int side) {
    const char *name = l == g->c.L ? "ln_f dw" : k == LN1 ? "ln_1 dw" : "ln_2 dw";
    GptStage *s = gpt_of_param(g, l, name, k, gpt_norm_weight);
    gpt_reads(s, dn);
    gpt_reads(s, x);
    s->cut = BY_FEATURES;
    s->side[0] = side;
    s->df.units = g->c.C;
    s->df.sums = 2;
    s->df.reads = 2;
    s->df.per_unit = 5;
}
/* The derivative by x of n, and of what the residual path makes of x, if it does.
 * It shares the tiles of the stage before it. */
static inline int norm_data(GptProgram *g, size_t l, int k, int dn, int x, int residual,
                            int side) {
    const char *name = l == g->c.L ? "ln_f dx" : k == LN1 ? "ln_1 dx" : "ln_2 dx";
    GptStage *s = gpt_of_param(g, l, name, k, gpt_norm_data);
    gpt_reads(s, dn);
    gpt_reads(s, x);
    if (residual != NONE) gpt_reads(s, residual);
    s->side[0] = side;
    s->df.reads = 2;
    s->real = g->c.C;
    s->df.per_unit = 14 * (double)g->c.C;
    s->df.share = 1;
    return gpt_makes(s, gpt_passing(g, l, k == LN1 ? "dx" : "dmid", gpt_rows(g->c.C), IN_DX));
}
/* The derivatives by k and v, and then by q. */
static inline int attention_data(GptProgram *g, size_t l, int datt, int att, int qkv,
                                 int side) {
    const double hs = (double)g->c.C / (double)g->c.NH;
    const size_t rows = gpt_rows(3 * g->c.C);
    GptStage *s = gpt_of_keys(g, l, "attention dk dv", 4, gpt_attention_back);
    const size_t each = gpt_groups_each(g->groups, s->split);
    gpt_reads(s, datt);
    gpt_reads(s, att);
    s->side[0] = side;
    s->side[1] = (int)g->array_of[qkv];
    s->real = 3 * g->c.C;
    s->df.reads = 3 * (double)g->c.C + 2 * (double)g->c.NH;
    s->df.per_pair = (8 * hs + 14) / (double)s->split;
    s->df.scratch = LINE;
    const int dkv = gpt_makes(s, gpt_passing(g, l, "dqkv", rows, IN_DQKV));
    const int ds = gpt_makes(s, gpt_inner(g, l, "ds", s->df.units * each * LINE));
    s = gpt_of_queries(g, l, "attention dq", gpt_attention_queries);
    s->df.joins = true;
    s->side[0] = (int)g->array_of[qkv];
    gpt_reads(s, dkv);
    gpt_reads(s, ds);
    s->real = 3 * g->c.C;
    s->thirds = 3;
    s->df.per_pair = 2 * hs / (double)s->split;
    s->df.recalled = hs / (double)s->split;
    return gpt_makes(s, gpt_in_place(g, l, "dqkv", dkv));
}

/* The same layer backward: from the derivative of its output to that of its
 * input. Every line differentiates one of layer_forward, last first. */
static inline int layer_backward(GptProgram *g, size_t l, int dout, const GptSaved *saved) {
    int h;
    const int dh = linear_data(g, l, FC2, dout, IN_DH);
    const int dg = gelu_data(g, l, dh, saved->fc, &h);
    linear_weight(g, l, FC2, h, dout, 2);
    const int dn2 = linear_data(g, l, FC, dg, IN_DN);
    const int n2 = norm_again(g, l, LN2, saved->mid, saved->norm2);
    linear_weight(g, l, FC, n2, dg, 2);
    norm_weight(g, l, LN2, dn2, saved->mid, saved->norm2);
    const int dmid = norm_data(g, l, LN2, dn2, saved->mid, dout, saved->norm2);
    const int datt = linear_data(g, l, PROJ, dmid, IN_DATT);
    linear_weight(g, l, PROJ, saved->att, dmid, 1);
    const int dqkv = attention_data(g, l, datt, saved->att, saved->qkv, saved->soft);
    const int dn1 = linear_data(g, l, QKV, dqkv, IN_DN);
    const int n1 = norm_again(g, l, LN1, saved->x, saved->norm1);
    linear_weight(g, l, QKV, n1, dqkv, 2);
    norm_weight(g, l, LN1, dn1, saved->x, saved->norm1);
    return norm_data(g, l, LN1, dn1, saved->x, dmid, saved->norm1);
}

/* ---- the whole model ----------------------------------------------------- */

/* x = wte[token] + wpe[position] */
static inline int embed(GptProgram *g) {
    GptStage *s = gpt_append(g, 0, "embed", gpt_embed);
    snprintf(s->df.name, sizeof s->df.name, "embed");
    s->df.reads = 2 * (double)g->c.C;
    s->df.random = s->df.reads;
    s->real = g->c.C;
    s->df.per_unit = (double)g->c.C;
    return gpt_makes(s, gpt_kept(g, 0, "x", gpt_rows(g->c.C), "input"));
}
static inline void embed_weight(GptProgram *g, int dx) {
    GptStage *s = gpt_append(g, 0, "embed dw", gpt_embed_weight);
    snprintf(s->df.name, sizeof s->df.name, "embed dw");
    gpt_reads(s, dx);
    s->cut = BY_FEATURES;
    s->df.units = g->c.C;
    s->df.reads = 4 * (double)g->c.C;
    s->df.random = s->df.reads;
    s->df.per_unit = 2;
}
/* A stage of the head, which is tied to the token table. */
static inline GptStage *gpt_of_head(GptProgram *g, const char *name, size_t rows,
                                    void (*fire)(const GptFire *)) {
    GptStage *s = gpt_append(g, g->c.L, name, fire);
    s->param = WTE;
    s->df.units = gpt_rows(rows) / LINE;
    s->df.per_line = 2 * LINE;
    return s;
}
/* logits = wte n, loss, and both derivatives of the head; returns dn. Four stages
 * in a row: schedule kernel runs them panel by panel. */
static inline int head(GptProgram *g, int n) {
    const size_t V = gpt_rows(g->c.V);
    g->head = g->stages;
    GptStage *s = gpt_of_head(g, "head", g->c.V, gpt_linear);
    gpt_reads(s, n);
    s->cut = BY_ROWS;
    s->df.weights = true;
    s->df.gather = true;
    s->df.per_unit = LINE;
    const int logits = gpt_makes(s, gpt_passing(g, g->c.L, "logits", V, IN_LOGITS));
    s = gpt_append(g, g->c.L, "loss", gpt_loss_data);
    gpt_reads(s, logits);
    s->df.writes = 2;                               /* in double precision */
    s->df.per_unit = 12 * (double)g->c.V;
    const int dlogits = gpt_makes(s, gpt_in_place(g, g->c.L, "logits", logits));
    s = gpt_of_head(g, "head dx", g->c.C, gpt_linear_data);
    gpt_reads(s, dlogits);
    s->df.weights = true;
    s->df.scatter = true;
    const int dn = gpt_makes(s, gpt_passing(g, g->c.L, "dn1", gpt_rows(g->c.C), IN_DN));
    s = gpt_of_head(g, "head dw", g->c.V, gpt_linear_weight);
    gpt_reads(s, n);
    gpt_reads(s, dlogits);
    s->cut = BY_ROWS;
    s->df.grads = true;
    s->df.gather = true;
    s->df.per_unit = LINE;
    s->df.share = 3;
    return dn;
}

/* The program of a model on sequences of so many groups, in panels of so many: embedding, layers, final
 * norm, head; and to train, everything backward. Freed with gpt_program_free. */
static inline GptProgram gpt_program(const GptConfig *c, size_t groups, size_t panel,
                                     bool train) {
    GptProgram program = {.c = *c, .groups = groups, .panel = panel};
    GptProgram *g = &program;
    GptSaved *saved = mem_new(c->L, sizeof *saved);
    int norm_f;
    for (size_t k = 0; k < SHARED; k++) gpt_array(g, 0, "", 0);
    g->array[IN_LOGITS].one_panel = true;

    int x = embed(g);
    for (size_t l = 0; l < c->L; l++) x = layer_forward(g, l, x, &saved[l]);
    const int n = norm(g, c->L, LN1, x, &norm_f);
    g->forward = g->stages;

    const int dn = head(g, n);
    norm_weight(g, c->L, LN1, dn, x, norm_f);
    int dx = norm_data(g, c->L, LN1, dn, x, NONE, norm_f);
    for (size_t l = c->L; l-- > 0;) dx = layer_backward(g, l, dx, &saved[l]);
    embed_weight(g, dx);

    /* an array that only the backward pass needs is not there without it */
    for (size_t k = 0; k < SHARED && !train; k++)
        if (k != IN_N && k != IN_H && k != IN_LOGITS) g->array[k].rows = 0;
    free(saved);
    return program;
}
static inline void gpt_program_free(GptProgram *g) {
    free(g->stage);
    free(g->edge);
    free(g->array_of);
    free(g->array);
    *g = (GptProgram){0};
}

/* ---- AdamW --------------------------------------------------------------- *
 * spec_norm and spec_adamw in float32, on the flat arrays. A task takes a piece
 * of them, whatever tensors lie there. Neither the length of a piece nor the
 * order in which their sums are added depends on the number of threads, so the
 * bits do not either. */

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
/* Gradients of gains and biases: from a sum per lane to one number, which is
 * set. The lanes are zero again. */
static inline void gpt_gather_gradient(Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (p->rank == 2) continue;
        float *g = m->g + p->at;                    /* (size) */
        float *lanes = m->lane_g + p->lane * LINE;  /* (size,16) */
        for (size_t i = 0; i < p->size; i++)
            g[i] = gpt_lane_sum(lanes + i * LINE);
        memset(lanes, 0, p->size * LINE * sizeof *lanes);
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

/* What a task of the norm gets. */
typedef struct {
    Gpt *m;
    double *sum;                    /* [pieces] of squares */
} GptNorm;

static inline void gpt_norm_piece(void *arg, size_t piece, size_t worker) {
    const GptNorm *norm = arg;
    Gpt *m = norm->m;
    const GptSpan span = gpt_piece(m, piece);
    (void)worker;
    gpt_mask_gradient(m, span);
    gpt_join_lookup(m, span);
    norm->sum[piece] = gpt_squares(m->g, span);
}

/* The global norm of the gradient. What the backward pass left apart is put
 * together on the way (lanes, masks, both halves of wte), so that the gradient
 * goes through the caches once. To be called once between gpt_train and
 * gpt_adamw. */
static inline double gpt_gradient_norm(Gpt *m, DfPool *pool) {
    GptNorm norm = {m, mem_new(gpt_pieces(m), sizeof *norm.sum)};
    double sum = 0;
    gpt_gather_gradient(m);
    df_run(pool, gpt_norm_piece, &norm, gpt_pieces(m));
    for (size_t piece = 0; piece < gpt_pieces(m); piece++)
        sum += norm.sum[piece];
    free(norm.sum);
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
    float *restrict m = u->m->m;
    float *restrict v = u->m->v;
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
