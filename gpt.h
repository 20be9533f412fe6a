/* gpt.h: the model, twice.
 *
 * First the specification: GPT-2 forward, backward, loss and AdamW in double precision and plain loops over
 * (B,T,C). It is what to read first, the oracle of the tests and the arithmetic of verify. Then the machine's
 * version: the same mathematics as stages over panels (see sparse.h), in float32 with a fixed order of every
 * sum. The two are written independently and must agree to float32 rounding.
 *
 * It refuses to be general: one architecture (learned positions, pre-norm, GELU in its tanh form, tied head),
 * no dropout, no mixed precision.
 *
 * Letters     B sequences  T positions  C channels  V vocabulary  L layers  NH heads  hs = C / NH
 *             inp, out      of a function; dinp, dout: derivatives of the loss by them
 *
 * One layer   x -> ln_1 -> c_attn -> attention -> c_proj -> + x = x'
 *             x' -> ln_2 -> c_fc -> GELU -> c_proj -> + x'
 * The whole   wte[token] + wpe[position] -> layers -> ln_f -> times wte' -> softmax -> mean of -log p[target]
 *
 * Parameters have the names and shapes of Hugging Face's GPT-2; its linear weights are stored (in, out). One
 * table (gpt_table) of {name, shape, decay, init} drives allocation, files, optimizer and tests.
 *
 * Example: d4, L = 4, C = 256, 256 positions, V = 2049: wte and wpe have (V + 256) C parameters, a layer
 * 12 C^2 in its four matrices and 13 C in norms and biases, 789,760, ln_f has 2 C: 3,749,632 in all. */
#ifndef GPT_H
#define GPT_H
#include "dataflow.h"
#include "sparse.h"

/* ---- configuration and the parameter table ------------------------------------------------------------ */

typedef struct { size_t L, NH, C, V, ctx; } GptConfig;      /* ctx: positions; V counts <|endoftext|> */

/* Which parameter: two embeddings, PER_LAYER of each layer, two of the final norm. */
enum { WTE, WPE, LAYER0 };
enum { LN1W, LN1B, QKVW, QKVB, PROJW, PROJB, LN2W, LN2B, FCW, FCB, FC2W, FC2B, PER_LAYER };

typedef struct {
    char name[40];
    int rank;                   /* 2: shape (rows, cols); 1: shape (rows) */
    size_t rows, cols;
    bool in_out;                /* a linear weight: rows are inputs */
    bool decay;
    double mean, std;           /* of the initial values */
    size_t at, size;            /* place in the machine's flat arrays, in floats */
    size_t lane;                /* of rank 1: first line of its gradient, which is kept per lane */
    SpMat mat;                  /* as outputs x inputs; rank 1: one input */
    float rate;                 /* factor on the learning rate, and so on its decay */
    uint32_t *born;             /* [mat.lines] optimizer step at which a line came; NULL: all at 0 */
} GptParam;

static inline size_t gpt_count(const GptConfig *c) { return LAYER0 + c->L * PER_LAYER + 2; }
static inline size_t gpt_layer(size_t l, int k) { return LAYER0 + l * PER_LAYER + (size_t)k; }
static inline size_t gpt_elements(const GptParam *p) { return p->rank == 2 ? p->rows * p->cols : p->rows; }

static inline void gpt_entry(GptParam *p, const char *name, size_t rows, size_t cols, double mean,
                             double std) {
    *p = (GptParam){
        .rank = cols ? 2 : 1, .rows = rows, .cols = cols, .decay = cols > 0, .mean = mean, .std = std};
    snprintf(p->name, sizeof p->name, "%s", name);
    p->in_out = cols && name[0] == 'h';
}

/* The table of a configuration, gpt_count entries. Initial values as GPT-2's: N(0, 0.02), projections into
 * the residual stream 0.02 / sqrt(2L), biases 0, gains 1. */
static inline GptParam *gpt_table(const GptConfig *c) {
    static const struct { const char *name; size_t rows, cols; double mean, std;
    } layer[PER_LAYER] = {
        {"ln_1.weight", 1, 0, 1, 0},        {"ln_1.bias", 1, 0, 0, 0},
        {"attn.c_attn.weight", 1, 3, 0, 1}, {"attn.c_attn.bias", 3, 0, 0, 0},
        {"attn.c_proj.weight", 1, 1, 0, 2}, {"attn.c_proj.bias", 1, 0, 0, 0},
        {"ln_2.weight", 1, 0, 1, 0},        {"ln_2.bias", 1, 0, 0, 0},
        {"mlp.c_fc.weight", 1, 4, 0, 1},    {"mlp.c_fc.bias", 4, 0, 0, 0},
        {"mlp.c_proj.weight", 4, 1, 0, 2},  {"mlp.c_proj.bias", 1, 0, 0, 0}}; /* in units of C; std 1 or 2 */
    const double std[3] = {0, 0.02, 0.02 / sqrt(2.0 * (double)c->L)};
    GptParam *t = mem_new(gpt_count(c), sizeof *t);
    gpt_entry(&t[WTE], "wte.weight", c->V, c->C, 0, 0.02);
    gpt_entry(&t[WPE], "wpe.weight", c->ctx, c->C, 0, 0.02);
    for (size_t l = 0; l < c->L; l++)
        for (int k = 0; k < PER_LAYER; k++) {
            char name[40];
            snprintf(name, sizeof name, "h.%zu.%s", l, layer[k].name);
            gpt_entry(&t[gpt_layer(l, k)], name, layer[k].rows * c->C, layer[k].cols * c->C, layer[k].mean,
                      std[(int)layer[k].std]);
        }
    gpt_entry(&t[gpt_layer(c->L, 0)], "ln_f.weight", c->C, 0, 1, 0);
    gpt_entry(&t[gpt_layer(c->L, 1)], "ln_f.bias", c->C, 0, 0, 0);
    return t;
}

/* ======================================================================================================= *
 *  The specification                                                                                      *
 * ======================================================================================================= */

static const double SPEC_GELU = 0.7978845608028654;         /* sqrt(2 / pi) */
static inline double spec_gelu(double x) {
    return 0.5 * x * (1 + tanh(SPEC_GELU * (x + 0.044715 * x * x * x)));
}
static inline double spec_gelu_slope(double x) { /* d/dx of the line above; tanh' = 1 - tanh^2 */
    double t = tanh(SPEC_GELU * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SPEC_GELU * (1 + 3 * 0.044715 * x * x);
}

/* The small print that is most often got wrong. verify recomputes with other rules to recognise a fault; all
 * else keeps SPEC_GPT2. */
typedef struct {
    double eps, eps_outside;                    /* LayerNorm: (x - mean) / (sqrt(var + eps) + eps_outside) */
    size_t ahead;                               /* a token attends to itself and so many after it */
    double (*gelu)(double), (*gelu_slope)(double);
} SpecRules;
static const SpecRules SPEC_GPT2 = {1e-5, 0, 0, spec_gelu, spec_gelu_slope};

/* out (N,OC) = inp (N,IC) w (IC,OC) + b (OC), b may be NULL */
static inline void spec_linear(double *out, const double *inp, const double *w, const double *b, size_t N,
                               size_t IC, size_t OC) {
    for (size_t n = 0; n < N; n++) {
        for (size_t o = 0; o < OC; o++) out[n * OC + o] = b ? b[o] : 0;
        for (size_t i = 0; i < IC; i++)
            for (size_t o = 0; o < OC; o++) out[n * OC + o] += inp[n * IC + i] * w[i * OC + o];
    }
}
/* out[o] = b[o] + sum_i inp[i] w[i][o]: dinp (N,IC) = dout w', dw (IC,OC) += inp' dout, db (OC) += dout */
static inline void spec_linear_backward(double *dinp, double *dw, double *db, const double *dout,
                                        const double *inp, const double *w, size_t N, size_t IC, size_t OC) {
    for (size_t n = 0; n < N; n++) {
        const double *d = dout + n * OC;
        for (size_t o = 0; o < OC; o++) db[o] += d[o];
        for (size_t i = 0; i < IC; i++) {           /* out[o] += inp[i] w[i][o] */
            double sum = 0;
            for (size_t o = 0; o < OC; o++) {
                sum += d[o] * w[i * OC + o];
                dw[i * OC + o] += d[o] * inp[n * IC + i];
            }
            dinp[n * IC + i] = sum;
        }
    }
}

/* out (N,C) = w (x - mean) / sqrt(var + 1e-5) + b over each row of x (N,C), var with 1/C */
static inline void spec_layernorm(double *out, const double *x, const double *w, const double *b, size_t N,
                                  size_t C, const SpecRules *r) {
    for (size_t n = 0; n < N; n++) {
        double mean = 0, var = 0;
        for (size_t c = 0; c < C; c++) mean += x[n * C + c] / (double)C;
        for (size_t c = 0; c < C; c++) var += (x[n * C + c] - mean) * (x[n * C + c] - mean) / (double)C;
        double rstd = 1 / (sqrt(var + r->eps) + r->eps_outside);
        for (size_t c = 0; c < C; c++) out[n * C + c] = w[c] * (x[n * C + c] - mean) * rstd + b[c];
    }
}
/* out = w hat + b, hat = (x - mean) rstd: dinp (N,C) +=, dw (C) +=, db (C) +=; dout and x (N,C) */
static inline void spec_layernorm_backward(double *dinp, double *dw, double *db, const double *dout,
                                           const double *x, const double *w, size_t N, size_t C,
                                           const SpecRules *r) {
    for (size_t n = 0; n < N; n++) {
        const double *xn = x + n * C, *d = dout + n * C;
        double mean = 0, var = 0, a = 0, ah = 0;
        for (size_t c = 0; c < C; c++) mean += xn[c] / (double)C;
        for (size_t c = 0; c < C; c++) var += (xn[c] - mean) * (xn[c] - mean) / (double)C;
        double root = sqrt(var + r->eps), rstd = 1 / (root + r->eps_outside);
        for (size_t c = 0; c < C; c++) {            /* hat = (x - mean) rstd;  out = w hat + b */
            double hat = (xn[c] - mean) * rstd;
            dw[c] += d[c] * hat, db[c] += d[c];
            a += d[c] * w[c] / (double)C, ah += d[c] * w[c] * hat / (double)C;
        }
        for (size_t c = 0; c < C; c++)              /* mean and rstd depend on every x of the row */
            dinp[n * C + c] += rstd * (d[c] * w[c] - a - (xn[c] - mean) / root * ah);
    }
}

/* p (B,NH,T,T) = softmax over t2 <= t (+ ahead) of q k / sqrt(hs); out (B,T,C) = p v; qkv (B,T,3C) */
static inline void spec_attention(double *out, double *p, const double *qkv, size_t B, size_t T, size_t C,
                                  size_t NH, size_t ahead) {
    const size_t hs = C / NH;
    for (size_t bh = 0; bh < B * NH; bh++)
        for (size_t t = 0; t < T; t++) {
            const size_t last = t + ahead < T ? t + ahead : T - 1;
            const double *base = qkv + bh / NH * T * 3 * C + bh % NH * hs, *q = base + t * 3 * C;
            double *row = p + (bh * T + t) * T, *o = out + (bh / NH * T + t) * C + bh % NH * hs, max = 0,
                   sum = 0;
            for (size_t u = 0; u <= last; u++) {
                const double *k = base + u * 3 * C + C;
                row[u] = 0;
                for (size_t i = 0; i < hs; i++) row[u] += q[i] * k[i] / sqrt((double)hs);
                if (u == 0 || row[u] > max) max = row[u];
            }
            for (size_t u = 0; u <= last; u++) sum += row[u] = exp(row[u] - max);
            for (size_t i = 0; i < hs; i++) o[i] = 0;
            for (size_t u = 0; u <= last; u++) {
                row[u] /= sum;
                for (size_t i = 0; i < hs; i++) o[i] += row[u] * base[u * 3 * C + 2 * C + i];
            }
        }
}
/* out = p v, p = softmax(q k' / sqrt(hs)): dqkv (B,T,3C) +=; dout (B,T,C), p (B,NH,T,T) */
static inline void spec_attention_backward(double *dqkv, const double *dout, const double *p,
                                           const double *qkv, size_t B, size_t T, size_t C, size_t NH,
                                           size_t ahead) {
    const size_t hs = C / NH;
    double *dp = mem_new(T, sizeof *dp);
    for (size_t bh = 0; bh < B * NH; bh++)
        for (size_t t = 0; t < T; t++) {
            const size_t last = t + ahead < T ? t + ahead : T - 1;
            const size_t base = bh / NH * T * 3 * C + bh % NH * hs, at_q = base + t * 3 * C;
            const double *row = p + (bh * T + t) * T, *d = dout + (bh / NH * T + t) * C + bh % NH * hs;
            double mean = 0;
            for (size_t u = 0; u <= last; u++) {       /* o[i] += row[u] v[i] */
                const size_t at_v = base + u * 3 * C + 2 * C;
                dp[u] = 0;
                for (size_t i = 0; i < hs; i++)
                    dp[u] += d[i] * qkv[at_v + i], dqkv[at_v + i] += row[u] * d[i];
                mean += row[u] * dp[u];
            }
            for (size_t u = 0; u <= last; u++) { /* row = softmax(s): ds[u] = row[u] (dp[u] - sum row dp) */
                const size_t at_k = base + u * 3 * C + C;
                const double ds = row[u] * (dp[u] - mean) / sqrt((double)hs);
                for (size_t i = 0; i < hs; i++)     /* s[u] = q k / sqrt(hs) */
                    dqkv[at_q + i] += ds * qkv[at_k + i], dqkv[at_k + i] += ds * qkv[at_q + i];
            }
        }
    free(dp);
}

/* loss (1) = mean of -log softmax(logits (N,V))[target]; dlogits = (softmax - [v = target]) / N */
static inline double spec_cross_entropy(double *dlogits, const double *logits, const int32_t *targets,
                                        size_t N, size_t V) {
    double loss = 0;
    for (size_t n = 0; n < N; n++) {
        const double *row = logits + n * V;
        double max = row[0], sum = 0;
        for (size_t v = 0; v < V; v++) if (row[v] > max) max = row[v];
        for (size_t v = 0; v < V; v++) sum += exp(row[v] - max);
        loss += (log(sum) + max - row[targets[n]]) / (double)N;
        for (size_t v = 0; v < V; v++)
            dlogits[n * V + v] = (exp(row[v] - max) / sum - ((size_t)targets[n] == v)) / (double)N;
    }
    return loss;
}

/* Everything of one forward and backward pass. w and dw point at one array per parameter, in table order. */
typedef struct {
    GptConfig c;
    size_t B, T;
    SpecRules rules;
    GptParam *table;
    double **w, **dw;                           /* [gpt_count] arrays of the table's shapes, row-major */
    struct SpecLayer { double *x, *ln1, *qkv, *p, *att, *mid, *ln2, *fc, *gelu; } *layer;   /* [L + 1] */
    double *lnf, *logits, *dlogits, loss;
} Spec;

static inline double *spec_array(size_t n) { return mem_new(n, sizeof(double)); }
static inline double **spec_arrays(const GptParam *table, size_t count) {
    double **a = mem_new(count, sizeof *a);
    for (size_t k = 0; k < count; k++) a[k] = spec_array(gpt_elements(&table[k]));
    return a;
}
static inline Spec *spec_new(GptConfig c, size_t B, size_t T) {
    Spec *s = mem_new(1, sizeof *s);
    const size_t N = B * T;
    *s = (Spec){.c = c, .B = B, .T = T, .rules = SPEC_GPT2, .table = gpt_table(&c)};
    s->w = spec_arrays(s->table, gpt_count(&c)), s->dw = spec_arrays(s->table, gpt_count(&c));
    s->layer = mem_new(c.L + 1, sizeof *s->layer);
    for (size_t l = 0; l <= c.L; l++)
        s->layer[l] = (struct SpecLayer){spec_array(N * c.C), spec_array(N * c.C), spec_array(N * 3 * c.C),
            spec_array(B * c.NH * T * T), spec_array(N * c.C), spec_array(N * c.C), spec_array(N * c.C),
            spec_array(N * 4 * c.C), spec_array(N * 4 * c.C)};
    s->lnf = spec_array(N * c.C), s->logits = spec_array(N * c.V), s->dlogits = spec_array(N * c.V);
    return s;
}
static inline void spec_free(Spec *s) {
    for (size_t k = 0; k < gpt_count(&s->c); k++) free(s->w[k]), free(s->dw[k]);
    for (size_t l = 0; l <= s->c.L; l++) {
        struct SpecLayer *a = &s->layer[l];
        free(a->x), free(a->ln1), free(a->qkv), free(a->p), free(a->att);
        free(a->mid), free(a->ln2), free(a->fc), free(a->gelu);
    }
    free(s->w), free(s->dw), free(s->layer), free(s->lnf), free(s->logits), free(s->dlogits), free(s->table),
        free(s);
}

/* inputs, targets (B,T) -> s->logits, s->loss, s->dlogits */
static inline void spec_forward(Spec *s, const int32_t *inputs, const int32_t *targets) {
    const size_t T = s->T, N = s->B * T, C = s->c.C;
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < C; i++)
            s->layer[0].x[n * C + i] = s->w[WTE][(size_t)inputs[n] * C + i] + s->w[WPE][n % T * C + i];
    for (size_t l = 0; l < s->c.L; l++) {
        struct SpecLayer *a = &s->layer[l];
        double **w = s->w + gpt_layer(l, 0), *next = s->layer[l + 1].x;
        spec_layernorm(a->ln1, a->x, w[LN1W], w[LN1B], N, C, &s->rules);
        spec_linear(a->qkv, a->ln1, w[QKVW], w[QKVB], N, C, 3 * C);
        spec_attention(a->att, a->p, a->qkv, s->B, T, C, s->c.NH, s->rules.ahead);
        spec_linear(a->mid, a->att, w[PROJW], w[PROJB], N, C, C);
        for (size_t i = 0; i < N * C; i++) a->mid[i] += a->x[i];
        spec_layernorm(a->ln2, a->mid, w[LN2W], w[LN2B], N, C, &s->rules);
        spec_linear(a->fc, a->ln2, w[FCW], w[FCB], N, C, 4 * C);
        for (size_t i = 0; i < N * 4 * C; i++) a->gelu[i] = s->rules.gelu(a->fc[i]);
        spec_linear(next, a->gelu, w[FC2W], w[FC2B], N, 4 * C, C);
        for (size_t i = 0; i < N * C; i++) next[i] += a->mid[i];
    }
    double **f = s->w + gpt_layer(s->c.L, 0);
    spec_layernorm(s->lnf, s->layer[s->c.L].x, f[0], f[1], N, C, &s->rules);
    for (size_t n = 0; n < N; n++)                  /* logits = lnf wte', the head is tied */
        for (size_t v = 0; v < s->c.V; v++) {
            double sum = 0;
            for (size_t i = 0; i < C; i++) sum += s->lnf[n * C + i] * s->w[WTE][v * C + i];
            s->logits[n * s->c.V + v] = sum;
        }
    s->loss = spec_cross_entropy(s->dlogits, s->logits, targets, N, s->c.V);
}

/* After spec_forward on the same inputs: s->dw = the gradient of the loss. */
static inline void spec_backward(Spec *s, const int32_t *inputs) {
    const size_t T = s->T, N = s->B * T, C = s->c.C, V = s->c.V;
    double *dx = spec_array(N * C), *d = spec_array(N * C), *d4 = spec_array(N * 4 * C),
           *dqkv = spec_array(N * 3 * C);
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        memset(s->dw[k], 0, gpt_elements(&s->table[k]) * sizeof(double));
    for (size_t n = 0; n < N; n++)                  /* logits[v] += lnf[i] wte[v][i] */
        for (size_t v = 0; v < V; v++)
            for (size_t i = 0; i < C; i++) {
                d[n * C + i] += s->dlogits[n * V + v] * s->w[WTE][v * C + i];
                s->dw[WTE][v * C + i] += s->dlogits[n * V + v] * s->lnf[n * C + i];
            }
    double **f = s->w + gpt_layer(s->c.L, 0), **df = s->dw + gpt_layer(s->c.L, 0);
    spec_layernorm_backward(dx, df[0], df[1], d, s->layer[s->c.L].x, f[0], N, C, &s->rules);
    for (size_t l = s->c.L; l-- > 0;) { /* dx: the gradient of the layer's output, then of its input */
        struct SpecLayer *a = &s->layer[l];
        double **w = s->w + gpt_layer(l, 0), **dw = s->dw + gpt_layer(l, 0);
        spec_linear_backward(d4, dw[FC2W], dw[FC2B], dx, a->gelu, w[FC2W], N, 4 * C, C);
        for (size_t i = 0; i < N * 4 * C; i++) d4[i] *= s->rules.gelu_slope(a->fc[i]);
        spec_linear_backward(d, dw[FCW], dw[FCB], d4, a->ln2, w[FCW], N, C, 4 * C);
        spec_layernorm_backward(dx, dw[LN2W], dw[LN2B], d, a->mid, w[LN2W], N, C, &s->rules);
        spec_linear_backward(d, dw[PROJW], dw[PROJB], dx, a->att, w[PROJW], N, C, C);
        memset(dqkv, 0, N * 3 * C * sizeof(double));
        spec_attention_backward(dqkv, d, a->p, a->qkv, s->B, T, C, s->c.NH, s->rules.ahead);
        spec_linear_backward(d, dw[QKVW], dw[QKVB], dqkv, a->ln1, w[QKVW], N, C, 3 * C);
        spec_layernorm_backward(dx, dw[LN1W], dw[LN1B], d, a->x, w[LN1W], N, C, &s->rules);
    }
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < C; i++) {            /* x = wte[token] + wpe[position] */
            s->dw[WTE][(size_t)inputs[n] * C + i] += dx[n * C + i];
            s->dw[WPE][n % T * C + i] += dx[n * C + i];
        }
    free(dx), free(d), free(d4), free(dqkv);
}

typedef struct { double lr, beta1, beta2, eps, decay, clip; } GptAdam;  /* clip: largest norm; 0: any */

/* The global norm of the gradient; PyTorch's clip_grad_norm_ scales by clip / (norm + 1e-6) if that is
 * below 1. */
static inline double spec_norm(const Spec *s) {
    double sum = 0;
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++) sum += s->dw[k][i] * s->dw[k][i];
    return sqrt(sum);
}
/* Step t = 1, 2 ... of PyTorch's AdamW (Loshchilov and Hutter 2019): decay apart from the moments, eps
 * outside the root. m, v: arrays like s->w. */
static inline void spec_adamw(Spec *s, double **m, double **v, const GptAdam *o, size_t t) {
    const double norm = spec_norm(s),
                 scale = o->clip > 0 && norm + 1e-6 > o->clip ? o->clip / (norm + 1e-6) : 1;
    const double c1 = 1 - pow(o->beta1, (double)t), c2 = 1 - pow(o->beta2, (double)t);
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++) {
            const double g = s->dw[k][i] * scale;
            s->w[k][i] *= 1 - o->lr * (s->table[k].decay ? o->decay : 0);
            m[k][i] = o->beta1 * m[k][i] + (1 - o->beta1) * g;
            v[k][i] = o->beta2 * v[k][i] + (1 - o->beta2) * g * g;
            s->w[k][i] -= o->lr * (m[k][i] / c1) / (sqrt(v[k][i] / c2) + o->eps);
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
    const size_t most = gpt_rows(m->c.V) + 4 * gpt_rows(m->c.C) + BEYOND;
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
