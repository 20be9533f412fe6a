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

/* ---- configuration and the parameter table ------------------------------- */

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

/* ---- parameters in row blocks -------------------------------------------- *
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
typedef enum { IN_N, IN_H, IN_DX, IN_DH, IN_DN, IN_DATT, IN_DQKV, IN_LOGITS, SHARED } GptShared;

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
} GptStage;

typedef struct {
    GptConfig c;
    size_t groups;                  /* of a sequence */
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

/* Appends a stage of layer l, with one unit, that fires once a panel. */
static inline GptStage *gpt_append(GptProgram *g, size_t l, const char *name,
                                   void (*fire)(const GptFire *)) {
    g->stage = mem_grow(g->stage, g->stages, &g->stages_cap, sizeof *g->stage);
    GptStage *s = &g->stage[g->stages];
    *s = (GptStage){.fire = fire, .param = NONE, .side = {NONE, NONE}, .thirds = 1};
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
    float *scratch;                 /* per worker, two columns of scores of a group */
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
    float *state;                   /* attention's keys and values on chip; NULL:
                                     * where the edges are */
    size_t grains, jump;            /* groups of them on a tile; floats from a tile
                                     * to the next */
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

/* Where a head's keys and values, and in the backward pass their gradients, of
 * the whole sequence lie, by groups of hs lines. On chip they are the tile's
 * state, [group][k v dk dv][hs][16], spread over several tiles if one is too
 * small; off chip the edges themselves. */
typedef struct {
    float *k, *v, *dk, *dv;         /* of group 0 */
    size_t stride;                  /* floats from a group to the next on a tile */
    size_t grains;                  /* groups on a tile */
    size_t jump;                    /* floats from a tile to the next */
} GptMemory;

static inline size_t gpt_head_size(const GptRun *r) { return r->m->c.C / r->m->c.NH; }

/* parts: what a head remembers: 2 (k v), or 4 in the backward pass */
static inline GptMemory gpt_on_tile(const GptFire *f, size_t h, size_t parts) {
    const size_t one = gpt_head_size(f->r) * LINE;
    float *p = f->state + (h - f->unit) * f->grains * parts * one;
    return (GptMemory){p, p + one, p + 2 * one, p + 3 * one,
                       parts * one, f->grains, f->jump};
}
/* Group 0's keys of head h in a panel of q, k, v of its sequence. */
static inline float *gpt_keys(const GptFire *f, SpPanel qkv, size_t h) {
    return qkv.lines - f->panel.first * qkv.stride +
           (f->r->m->c.C + h * gpt_head_size(f->r)) * LINE;
}
static inline GptMemory gpt_in_edges(const GptFire *f, SpPanel qkv, SpPanel dqkv, size_t h) {
    const size_t values = f->r->m->c.C * LINE;      /* from a key to its value */
    float *k = gpt_keys(f, qkv, h);
    float *dk = gpt_keys(f, dqkv, h);
    return (GptMemory){k, k + values, dk, dk + values, qkv.stride, SIZE_MAX, 0};
}
/* Group n of what lies at `of`, which is m->k, m->v, m->dk or m->dv. */
static inline float *gpt_group(const GptMemory *m, float *of, size_t n) {
    return of + n / m->grains * m->jump + n % m->grains * m->stride;
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

/* s (16n,16) = keys' x: scores of 16 queries x (hs) against n groups of keys,
 * which are m->k or m->v */
static inline void gpt_scores(float *s, const GptMemory *m, float *keys, size_t n,
                              GptHeadRows x, size_t hs) {
    const SpLines at = {.col = x.row, .n = hs, .blocks = 1};
    memset(s, 0, n * LINE * LINE * sizeof(float));
    for (size_t k = 0; k < n; k++, s += LINE * LINE)
        sp_forward_narrow(gpt_group(m, keys, k), at, (SpPanel){.lines = x.lines},
                          (SpPanel){.lines = s});
}
/* out (hs) += values times p (16n,16); values: m->k or m->v */
static inline void gpt_mix(GptHeadRows out, const GptMemory *m, float *values, size_t n,
                           float *p, size_t hs) {
    for (size_t k = 0, run; k < n; k += run) {      /* groups on one tile */
        run = size_min(m->grains, n - k);
        sp_data_narrow(gpt_group(m, values, k), (SpLines){out.row, hs, m->stride, run},
                       (SpPanel){.lines = p}, (SpPanel){.lines = out.lines});
        p += run * LINE * LINE;
    }
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
/* s (16n,16) becomes exp(s scale - max) share, the probabilities; max, share (16) */
static inline void gpt_softmax_again(float *s, size_t n, float scale, const float *max,
                                     const float *share) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vf top = vf_load(max + v);
        const vf by = vf_load(share + v);
        for (size_t k = 0; k < n * LINE; k++)
            vf_store(s + k * LINE + v,
                     gpt_score_exp(s, k, (n - 1) * LINE, v, vf_all(scale), top) * by);
    }
}

/* att (C) = softmax(q k / sqrt(hs)) v for heads unit .. end-1 and the queries of
 * a panel. Each query's maximum and 1 / sum go to the stage's side, two lines a
 * head. */
static inline void gpt_attention(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const size_t hs = gpt_head_size(r);
    const float scale = 1 / sqrtf((float)hs);
    const SpPanel qkv = gpt_in(f, 0);
    const SpPanel att = gpt_out(f, 0);
    const SpPanel side = gpt_side(f, 0);
    float *s = r->scratch + f->worker * 2 * r->stride * LINE * LINE;
    for (size_t h = f->unit; h < f->end; h++) {
        const GptMemory m =
            f->state ? gpt_on_tile(f, h, 2) : gpt_in_edges(f, qkv, qkv, h);
        for (size_t g = 0; g < f->panel.groups && f->state; g++) {
            const size_t k = f->panel.first + g;
            gpt_remember(gpt_group(&m, m.k, k), qkv, g, C + h * hs, hs);
            gpt_remember(gpt_group(&m, m.v, k), qkv, g, 2 * C + h * hs, hs);
        }
        for (size_t g = 0; g < f->panel.groups; g++) {
            const size_t n = f->panel.first + g + 1;    /* groups of keys it may see */
            const GptHeadRows query = gpt_head_rows(qkv, g, h * hs);
            float *max = gpt_line(side, g, 2 * h);
            float *share = gpt_line(side, g, 2 * h + 1);
            /* 1 scores and their maximum */
            gpt_scores(s, &m, m.k, n, query, hs);
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(max + v, gpt_score_max(s, n, v) * vf_all(scale));
            /* 2 exponentials and their sum */
            gpt_softmax_sum(s, n, scale, max, share);
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(share + v, vf_all(1) / vf_load(share + v));
            /* 3 mix the values */
            gpt_clear(att, g, h * hs, hs);
            gpt_mix(gpt_head_rows(att, g, h * hs), &m, m.v, n, s, hs);
            /* 4 normalise */
            for (size_t i = h * hs; i < (h + 1) * hs; i++)
                for (size_t v = 0; v < LINE; v += LANES) {
                    float *at = gpt_line(att, g, i) + v;
                    vf_store(at, vf_load(at) * vf_load(share + v));
                }
        }
    }
}

/* ds (16n,16), which is dp, becomes p (dp - D) scale, with D = sum p dp = dout out */
static inline void gpt_softmax_data(float *ds, const float *p, size_t n, float scale,
                                    SpPanel dout, SpPanel out, size_t g, size_t i0,
                                    size_t hs) {
    for (size_t v = 0; v < LINE; v += LANES) {
        vf D = vf_all(0);
        for (size_t i = i0; i < i0 + hs; i++)
            D = vf_fma(vf_load(gpt_line(dout, g, i) + v), vf_load(gpt_line(out, g, i) + v),
                       D);
        for (size_t k = 0; k < n * LINE; k++) {
            const vf dp = vf_load(ds + k * LINE + v);
            vf_store(ds + k * LINE + v,
                     vf_load(p + k * LINE + v) * (dp - D) * vf_all(scale));
        }
    }
}
/* Before the first panel of the backward stream that a sequence's heads see: dk
 * and dv are 0, and keys and values come on the chip. */
static inline void gpt_attention_begin(const GptFire *f, const GptMemory *m, SpPanel qkv,
                                       size_t h) {
    const size_t C = f->r->m->c.C;
    const size_t hs = gpt_head_size(f->r);
    SpPanel sequence = qkv;
    sequence.lines -= f->panel.first * qkv.stride;
    for (size_t g = 0; g < f->r->groups; g++) {
        memset(gpt_group(m, m->dk, g), 0, hs * LINE * sizeof(float));
        memset(gpt_group(m, m->dv, g), 0, hs * LINE * sizeof(float));
        if (!f->state) continue;
        gpt_remember(gpt_group(m, m->k, g), sequence, g, C + h * hs, hs);
        gpt_remember(gpt_group(m, m->v, g), sequence, g, 2 * C + h * hs, hs);
    }
}
/* dqkv of heads unit .. end-1 gains what the queries of a panel, last group first,
 * contribute; the forward passes, last first:
 *   out = sum p v:                     dv += p dout      dp = v dout
 *   p = softmax(s), s = q k scale:     ds = p (dp - D) scale with D = sum p dp
 *                                      dq = sum ds k     dk += ds q
 * The maxima and 1 / sums are the first side, q, k and v the second. */
static inline void gpt_attention_back(const GptFire *f) {
    const GptRun *r = f->r;
    const size_t C = r->m->c.C;
    const size_t hs = gpt_head_size(r);
    const float scale = 1 / sqrtf((float)hs);
    const SpPanel datt = gpt_in(f, 0);
    const SpPanel att = gpt_in(f, 1);
    const SpPanel dqkv = gpt_out(f, 0);
    const SpPanel soft = gpt_side(f, 0);
    const SpPanel qkv = gpt_side(f, 1);
    float *p = r->scratch + f->worker * 2 * r->stride * LINE * LINE;
    float *ds = p + r->stride * LINE * LINE;
    for (size_t h = f->unit; h < f->end; h++) {
        const GptMemory m =
            f->state ? gpt_on_tile(f, h, 4) : gpt_in_edges(f, qkv, dqkv, h);
        if (f->panel.first + f->panel.groups == r->groups)
            gpt_attention_begin(f, &m, qkv, h);
        for (size_t g = f->panel.groups; g-- > 0;) {
            const size_t n = f->panel.first + g + 1;    /* groups of keys it saw */
            const GptHeadRows query = gpt_head_rows(qkv, g, h * hs);
            const GptHeadRows dout = gpt_head_rows(datt, g, h * hs);
            const float *max = gpt_line(soft, g, 2 * h);
            const float *share = gpt_line(soft, g, 2 * h + 1);
            /* the probabilities again */
            gpt_scores(p, &m, m.k, n, query, hs);
            gpt_softmax_again(p, n, scale, max, share);
            /* out = sum p v */
            gpt_scores(ds, &m, m.v, n, dout, hs);
            /* p = softmax(s) */
            gpt_softmax_data(ds, p, n, scale, datt, att, g, h * hs, hs);
            /* s = q k scale */
            gpt_clear(dqkv, g, h * hs, hs);
            gpt_mix(gpt_head_rows(dqkv, g, h * hs), &m, m.k, n, ds, hs);
            for (size_t k = 0; k < n; k++) {
                gpt_spread(gpt_group(&m, m.dk, k), query, ds + k * LINE * LINE, hs);
                gpt_spread(gpt_group(&m, m.dv, k), dout, p + k * LINE * LINE, hs);
            }
        }
        for (size_t g = 0; g < f->panel.groups && f->state; g++) {
            const size_t k = f->panel.first + g;
            gpt_recall(dqkv, g, C + h * hs, gpt_group(&m, m.dk, k), hs);
            gpt_recall(dqkv, g, 2 * C + h * hs, gpt_group(&m, m.dv, k), hs);
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
/* A stage whose units are heads, which remembers `parts` of each: keys, values
 * and, backward, their gradients. */
static inline GptStage *gpt_of_heads(GptProgram *g, size_t l, const char *name,
                                     size_t parts, void (*fire)(const GptFire *)) {
    GptStage *s = gpt_append(g, l, name, fire);
    s->cut = BY_HEAD;
    s->df.units = g->c.NH;
    s->df.grain = parts * (g->c.C / g->c.NH);
    s->df.state = g->groups * s->df.grain;
    return s;
}
/* att = softmax(q k / sqrt(hs)) v */
static inline int attention(GptProgram *g, size_t l, int qkv, int *side) {
    const double hs = (double)g->c.C / (double)g->c.NH;
    GptStage *s = gpt_of_heads(g, l, "attention", 2, gpt_attention);
    gpt_reads(s, qkv);
    *side = (int)gpt_array(g, l, "attention softmax", 2 * g->c.NH);
    s->side[0] = *side;
    s->real = g->c.C;
    s->df.writes = 2 * (double)g->c.NH;
    s->df.per_pair = 4 * hs + 12;
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
static inline int attention_data(GptProgram *g, size_t l, int datt, int att, int qkv,
                                 int side) {
    const double hs = (double)g->c.C / (double)g->c.NH;
    const size_t rows = gpt_rows(3 * g->c.C);
    GptStage *s = gpt_of_heads(g, l, "attention dx", 4, gpt_attention_back);
    gpt_reads(s, datt);
    gpt_reads(s, att);
    s->side[0] = side;
    s->side[1] = (int)g->array_of[qkv];
    s->real = 3 * g->c.C;
    s->thirds = 3;
    s->df.reads = 3 * (double)g->c.C + 2 * (double)g->c.NH;
    s->df.per_pair = 10 * hs + 14;
    return gpt_makes(s, gpt_passing(g, l, "dqkv", rows, IN_DQKV));
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

/* The program of a model on sequences of so many groups: embedding, layers, final
 * norm, head; and to train, everything backward. Freed with gpt_program_free. */
static inline GptProgram gpt_program(const GptConfig *c, size_t groups, bool train) {
    GptProgram program = {.c = *c, .groups = groups};
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

/* ---- AdamW --------------------------------------------------------------- */

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
#endif
