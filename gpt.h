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
 * table (gpt_table) of {name, shape, decay, init} drives allocation, files, optimizer and tests. */
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
    SpMat mat;                  /* of rank 2, as outputs x inputs */
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
/* dinp += */
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
/* dqkv += */
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

typedef struct { double lr, beta1, beta2, eps, decay, clip; } GptAdam;

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
    float *lane_g, *lookup_g;           /* gradient of rank 1 per lane; of wte through the lookup */
} Gpt;

static inline Gpt *gpt_new(GptConfig c, bool train) {
    Gpt *m = mem_new(1, sizeof *m);
    *m = (Gpt){.c = c, .table = gpt_table(&c), .count = gpt_count(&c)};
    for (size_t k = 0; k < m->count; k++) {
        GptParam *p = &m->table[k];
        if (p->rank == 2) p->mat = p->in_out ? sp_dense(p->cols, p->rows) : sp_dense(p->rows, p->cols);
        p->at = m->floats, p->size = p->rank == 2 ? p->mat.lines * LINE : size_up(p->rows, LINE);
        m->floats += p->size;
        if (p->rank == 1) p->lane = m->lanes, m->lanes += p->size;
    }
    m->w = mem_new(m->floats, sizeof(float));
    if (train) {
        m->g = mem_new(m->floats, sizeof(float)), m->m = mem_new(m->floats, sizeof(float));
        m->v = mem_new(m->floats, sizeof(float)), m->lane_g = mem_new(m->lanes * LINE, sizeof(float));
        m->lookup_g = mem_new(m->table[WTE].size, sizeof(float));
    }
    return m;
}
static inline void gpt_free(Gpt *m) {
    for (size_t k = 0; k < m->count; k++) if (m->table[k].rank == 2) sp_free(&m->table[k].mat);
    free(m->table), free(m->w), free(m->g), free(m->m), free(m->v), free(m->lane_g), free(m->lookup_g);
    free(m);
}

/* Where element (row, col) of a tensor in its named shape lies among its floats. */
static inline size_t gpt_place(const GptParam *p, size_t row, size_t col) {
    const size_t o = p->in_out ? col : row, i = p->in_out ? row : col;
    return p->rank == 1 ? row : (o / LINE * p->mat.IC + i) * LINE + o % LINE;
}
/* Copies tensor p between a flat array and row-major values (rows, cols) in its named shape. */
static inline void gpt_get(const GptParam *p, const float *flat, float *values) {
    for (size_t r = 0, n = 0; r < p->rows; r++)
        for (size_t c = 0; c < (p->rank == 2 ? p->cols : 1); c++)
            values[n++] = flat[p->at + gpt_place(p, r, c)];
}
static inline void gpt_set(const GptParam *p, float *flat, const float *values) {
    for (size_t r = 0, n = 0; r < p->rows; r++)
        for (size_t c = 0; c < (p->rank == 2 ? p->cols : 1); c++)
            flat[p->at + gpt_place(p, r, c)] = values[n++];
}

/* Initial weights: element n of a tensor is a function of (seed, name, n) alone, whatever the layout. */
static inline void gpt_init(Gpt *m, uint64_t seed) {
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        const uint64_t key = rng_key(seed, p->name);
        for (size_t r = 0, n = 0; r < p->rows; r++)
            for (size_t c = 0; c < (p->rank == 2 ? p->cols : 1); c++, n++)
                m->w[p->at + gpt_place(p, r, c)] =
                    (float)(p->mean + (p->std > 0 ? p->std * rng_normal(key, n) : 0));
    }
}

/* ---- a run: the activations of B sequences of T tokens ------------------------------------------------ */

typedef struct { float *p; size_t rows; } GptEdge;          /* [group][rows][16]: what flows between stages */
typedef union {                                             /* of one layer, kept for the backward */
    struct { GptEdge x, ln1, qkv, soft, att, mid, ln2, fc; };
    GptEdge edge[8];
} GptActs;

typedef struct {
    Gpt *m;
    DfPool *pool;
    size_t B, T, stride;            /* sequences, tokens of each, groups from one sequence to the next */
    size_t from, groups;            /* the groups from .. groups-1 of each sequence are computed */
    size_t panel;                   /* groups a panel */
    const int32_t *inputs, *targets;                        /* (B,T); a target below 0 does not count */
    GptActs *acts;                  /* [L + 1] */
    union {                         /* of one layer at a time */
        struct { GptEdge n, h, dx, dn, dqkv, datt, dh; };
        GptEdge moving[7];
    };
    float *logits, *scratch;        /* one panel's logits; per worker, two columns of scores of one group */
    double *loss;                   /* (B, stride x 16) of each token */
    float dscale;                   /* 1 / number of targets that count in the whole step */
} GptRun;

typedef struct { size_t at, g0, ng; } GptPanel;     /* first group: in edges, in its sequence; how many */

static inline float *gpt_at(GptEdge e, size_t group) { return e.p + group * e.rows * LINE; }
static inline size_t gpt_rows(size_t n) { return size_up(n, LINE); }
static inline float *gpt_w(const GptRun *r, size_t k) { return r->m->w + r->m->table[k].at; }

/* Takes memory for an edge of so many groups and rows, or with a NULL edge only counts it; the bytes. */
static inline size_t gpt_edge(GptEdge *e, size_t groups, size_t rows) {
    const size_t floats = size_mul(size_mul(groups, rows), LINE);
    if (e) *e = (GptEdge){rows ? mem_new(floats, sizeof(float)) : NULL, rows};
    return size_mul(floats, sizeof(float));
}
/* All edges of a run, or with a NULL run only their bytes. Above the last layer: its output, the norm's. */
static inline size_t gpt_edges(const GptConfig *c, size_t groups, bool train, GptRun *r) {
    const size_t C = gpt_rows(c->C), C3 = gpt_rows(3 * c->C), C4 = gpt_rows(4 * c->C);
    const size_t kept[8] = {C, 2, C3, 2 * c->NH, C, C, 2, C4}, moving[7] = {C, C4, C, C, C3, C, C4};
    size_t bytes = 0;
    for (size_t l = 0; l <= c->L; l++)
        for (size_t k = 0; k < 8; k++)
            bytes += gpt_edge(r ? &r->acts[l].edge[k] : NULL, groups, l < c->L || k < 2 ? kept[k] : 0);
    for (size_t k = 0; k < 7; k++)
        bytes += gpt_edge(r ? &r->moving[k] : NULL, groups, train || k < 2 ? moving[k] : 0);
    return bytes;
}
static inline size_t gpt_groups(size_t T) { return (T + LINE - 1) / LINE; }
static inline size_t gpt_logits(const GptConfig *c, size_t panel) { return panel * gpt_rows(c->V) * LINE; }

/* Bytes that gpt_run_new will take, without taking them. */
static inline size_t gpt_run_bytes(const GptConfig *c, size_t B, size_t T, size_t panel, size_t workers,
                                   bool train) {
    const size_t groups = size_mul(B, gpt_groups(T));
    return gpt_edges(c, groups, train, NULL) + gpt_logits(c, panel) * 4 + workers * 2 * gpt_groups(T) * 1024
           + groups * LINE * 8;
}

/* A run of B sequences of up to T tokens, P tokens a panel; fewer if there would be too few panels to share
 * out. */
static inline GptRun *gpt_run_new(Gpt *m, DfPool *pool, size_t B, size_t T, size_t P, bool train) {
    GptRun *r = mem_new(1, sizeof *r);
    const size_t NG = gpt_groups(T), share = B * NG / (2 * pool->workers);
    *r = (GptRun){.m = m, .pool = pool, .B = B, .T = T, .stride = NG, .groups = NG, .panel = P / LINE};
    if (share < r->panel) r->panel = share ? share : 1;
    r->acts = mem_new(m->c.L + 1, sizeof *r->acts);
    gpt_edges(&m->c, B * NG, train, r);
    r->logits = mem_new(gpt_logits(&m->c, r->panel), sizeof(float));
    r->scratch = mem_new(pool->workers * 2 * NG * LINE * LINE, sizeof(float));
    r->loss = mem_new(B * NG * LINE, sizeof(double));
    return r;
}
static inline void gpt_run_free(GptRun *r) {
    for (size_t e = 0; e < 8 * (r->m->c.L + 1); e++) free(r->acts[e / 8].edge[e % 8].p);
    for (size_t e = 0; e < 7; e++) free(r->moving[e].p);
    free(r->acts), free(r->logits), free(r->scratch), free(r->loss), free(r);
}

static inline size_t gpt_panels(const GptRun *r) { return (r->groups - r->from + r->panel - 1) / r->panel; }
static inline GptPanel gpt_panel(const GptRun *r, size_t p) {           /* panel p of all sequences */
    const size_t per = gpt_panels(r), g0 = r->from + p % per * r->panel;
    const size_t ng = r->groups - g0 < r->panel ? r->groups - g0 : r->panel;
    return (GptPanel){p / per * r->stride + g0, g0, ng};
}
/* Panel p in the order of the backward stream: sequence by sequence, last panel first. */
static inline GptPanel gpt_panel_back(const GptRun *r, size_t p) {
    const size_t per = gpt_panels(r);
    return gpt_panel(r, p / per * per + (per - 1 - p % per));
}

/* ---- stages on one panel: norm, linear, GELU ---------------------------------------------------------- */

/* x = wte[token] + wpe[position]; idle lanes 0 */
static inline void gpt_embed(const GptRun *r, GptPanel p) {
    const size_t C = r->m->c.C;
    for (size_t g = 0; g < p.ng; g++) {
        float *x = gpt_at(r->acts[0].x, p.at + g);
        const float *pos = gpt_w(r, WPE) + (p.g0 + g) * C * LINE;
        for (size_t t = 0; t < LINE; t++) {
            const size_t token = (p.g0 + g) * LINE + t;
            const size_t id = token < r->T ? (size_t)r->inputs[p.at / r->stride * r->T + token] : 0;
            const float *word = gpt_w(r, WTE) + id / LINE * C * LINE + id % LINE;
            for (size_t c = 0; c < C; c++)
                x[c * LINE + t] = token < r->T ? word[c * LINE] + pos[c * LINE + t] : 0;
        }
    }
}

/* out = gain (x - mean) rstd + bias, per lane over C features. stats (2,16): mean and rstd */
static inline void gpt_norm(GptPanel p, size_t C, GptEdge ex, const float *gain, const float *bias,
                            GptEdge estats, GptEdge eout) {
    for (size_t g = 0; g < p.ng; g++) {
        const float *x = gpt_at(ex, p.at + g);
        float *stats = gpt_at(estats, p.at + g), *out = gpt_at(eout, p.at + g);
        for (size_t v = 0; v < LINE; v += LANES) {
            vf mean = vf_all(0), var = vf_all(0), rstd;
            for (size_t c = 0; c < C; c++) mean += vf_load(x + c * LINE + v);
            mean *= vf_all(1 / (float)C);
            for (size_t c = 0; c < C; c++) {
                const vf d = vf_load(x + c * LINE + v) - mean;
                var = vf_fma(d, d, var);
            }
            for (int i = 0; i < LANES; i++) rstd[i] = 1 / sqrtf(var[i] / (float)C + 1e-5f);
            for (size_t c = 0; c < C; c++)
                vf_store(out + c * LINE + v,
                         vf_fma((vf_load(x + c * LINE + v) - mean) * rstd, vf_all(gain[c]), vf_all(bias[c])));
            vf_store(stats + v, mean), vf_store(stats + LINE + v, rstd);
        }
    }
}

/* dx += the norm's backward of dn: rstd (dn gain - a - hat ah), a and ah the means of dn gain and dn gain hat
 */
static inline void gpt_norm_data(GptPanel p, size_t C, GptEdge ex, const float *gain, GptEdge estats,
                                 GptEdge edn, GptEdge edx) {
    for (size_t g = 0; g < p.ng; g++) {
        const float *x = gpt_at(ex, p.at + g), *stats = gpt_at(estats, p.at + g), *dn = gpt_at(edn, p.at + g);
        float *dx = gpt_at(edx, p.at + g);
        for (size_t v = 0; v < LINE; v += LANES) {
            const vf mean = vf_load(stats + v), rstd = vf_load(stats + LINE + v), part = vf_all(1 / (float)C);
            vf a = vf_all(0), ah = vf_all(0);
            for (size_t c = 0; c < C; c++) {
                const vf d = vf_load(dn + c * LINE + v) * vf_all(gain[c]);
                a += d, ah = vf_fma(d, (vf_load(x + c * LINE + v) - mean) * rstd, ah);
            }
            a *= part, ah *= part;
            for (size_t c = 0; c < C; c++) {
                const vf hat = (vf_load(x + c * LINE + v) - mean) * rstd;
                const vf d = vf_fma(-hat, ah, vf_load(dn + c * LINE + v) * vf_all(gain[c]) - a);
                vf_store(dx + c * LINE + v, vf_fma(rstd, d, vf_load(dx + c * LINE + v)));
            }
        }
    }
}

/* y = W x + b (+ add), row blocks r0 .. r1 of parameter k; its bias is parameter k + 1 */
static inline void gpt_linear(const GptRun *r, size_t k, size_t r0, size_t r1, GptPanel p, GptEdge x,
                              GptEdge y, const GptEdge *add) {
    const SpMat *mat = &r->m->table[k].mat;
    const float *bias = gpt_w(r, k + 1);
    for (size_t g = 0; g < p.ng; g++) {
        float *yg = gpt_at(y, p.at + g);
        const float *from = add ? gpt_at(*add, p.at + g) : NULL;
        for (size_t o = r0 * LINE; o < r1 * LINE; o++)
            for (size_t v = 0; v < LINE; v += LANES) {
                const vf b = vf_all(o < mat->OC ? bias[o] : 0);
                vf_store(yg + o * LINE + v, from ? b + vf_load(from + o * LINE + v) : b);
            }
    }
    sp_forward(mat, r0, r1, gpt_w(r, k) + (size_t)mat->first[r0] * LINE, gpt_at(x, p.at), x.rows * LINE,
               gpt_at(y, p.at) + r0 * LINE * LINE, y.rows * LINE, p.ng);
}

/* dx = W' dy, by parameter k */
static inline void gpt_linear_data(const GptRun *r, size_t k, GptPanel p, GptEdge dy, GptEdge dx) {
    memset(gpt_at(dx, p.at), 0, p.ng * dx.rows * LINE * sizeof(float));
    sp_backward_data(&r->m->table[k].mat, 0, r->m->table[k].mat.nb, gpt_w(r, k), gpt_at(dy, p.at),
                     dy.rows * LINE, gpt_at(dx, p.at), dx.rows * LINE, p.ng);
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

/* ---- attention: the same products with a head's keys and values in the place of the weights ----------- */

/* Scores of 16 queries (a group) against n groups of keys: s (16n,16) = keys' q; q, keys: hs lines, keys
 * stride apart */
static inline void gpt_scores(size_t hs, const uint32_t *col, const float *q, const float *keys,
                              size_t stride, size_t n, float *s) {
    memset(s, 0, n * LINE * LINE * sizeof(float));
    for (size_t k = 0; k < n; k++, keys += stride, s += LINE * LINE) {
        sp_tile_forward(6, keys, col, hs, q, s);
        sp_tile_forward(5, keys + 6, col, hs, q, s + 6 * LINE);
        sp_tile_forward(5, keys + 11, col, hs, q, s + 11 * LINE);
    }
}
/* out (hs,16) += values times p (16n,16), values: hs lines, stride apart */
static inline void gpt_mix(size_t hs, const uint32_t *col, const float *p, const float *values, size_t stride,
                           size_t n, float *out) {
    size_t d = 0;
    for (; d + 6 <= hs; d += 6) sp_tile_data(6, values + d * LINE, stride, col + d, n, p, out);
    for (; d + 2 <= hs; d += 2) sp_tile_data(2, values + d * LINE, stride, col + d, n, p, out);
    for (; d < hs; d++) sp_tile_data(1, values + d * LINE, stride, col + d, n, p, out);
}
/* dk (hs,16) += q (hs,16) times ds (16 keys, 16 queries) */
static inline void gpt_spread(size_t hs, const uint32_t *col, const float *ds, const float *q, float *dk) {
    float dst[LINE * LINE] __attribute__((aligned(64)));
    size_t d = 0;
    sp_transpose(dst, ds);
    for (; d + 6 <= hs; d += 6) sp_tile_weight(6, dk + d * LINE, col + d, dst, q, 0, 1);
    for (; d + 2 <= hs; d += 2) sp_tile_weight(2, dk + d * LINE, col + d, dst, q, 0, 1);
    for (; d < hs; d++) sp_tile_weight(1, dk + d * LINE, col + d, dst, q, 0, 1);
}
/* s (16n,16) becomes exp(s scale - max) mul, and 0 where a key of the last group lies after its query. max,
 * mul (may be NULL) and the sums over keys, sum (may be NULL), are one line each. */
static inline void gpt_softmax_exp(float *s, size_t n, float scale, const float *max, const float *mul,
                                   float *sum) {
    for (size_t v = 0; v < LINE; v += LANES) {
        vf total = vf_all(0);
        for (size_t k = 0; k < n * LINE; k++) {
            vf e = vf_exp(vf_fma(vf_load(s + k * LINE + v), vf_all(scale), -vf_load(max + v)));
            if (mul) e *= vf_load(mul + v);
            if (k / LINE == n - 1)
                for (size_t i = 0; i < LANES; i++) if (k % LINE > v + i) e[i] = 0;
            vf_store(s + k * LINE + v, e);
            total += e;
        }
        if (sum) vf_store(sum + v, total);
    }
}

/* att = softmax(q k / sqrt(hs)) v for head h and the queries of a panel; keeps the max and 1 / sum of each
 * query */
static inline void gpt_attention(const GptRun *r, size_t l, size_t h, GptPanel p, size_t worker) {
    const size_t C = r->m->c.C, hs = C / r->m->c.NH, stride = r->acts[l].qkv.rows * LINE;
    const uint32_t *col = r->m->table[WPE].mat.col;       /* 0, 1, 2 ... */
    const float scale = 1 / sqrtf((float)hs), *seq = gpt_at(r->acts[l].qkv, p.at - p.g0) + h * hs * LINE;
    float *s = r->scratch + worker * 2 * r->stride * LINE * LINE;
    for (size_t g = 0; g < p.ng; g++) {
        const size_t n = p.g0 + g + 1;
        float *soft = gpt_at(r->acts[l].soft, p.at + g) + h * 2 * LINE;
        float *out = gpt_at(r->acts[l].att, p.at + g) + h * hs * LINE;
        gpt_scores(hs, col, seq + (n - 1) * stride, seq + C * LINE, stride, n, s);
        for (size_t v = 0; v < LINE; v += LANES) {
            vf max;                                         /* of the keys that each query may see */
            for (size_t i = 0; i < LANES; i++) {
                max[i] = s[(n - 1) * LINE * LINE + v + i];
                for (size_t k = (n - 1) * LINE; k <= (n - 1) * LINE + v + i; k++)
                    if (s[k * LINE + v + i] > max[i]) max[i] = s[k * LINE + v + i];
            }
            for (size_t k = 0; k < (n - 1) * LINE; k++) max = vf_max(max, vf_load(s + k * LINE + v));
            vf_store(soft + v, max * vf_all(scale));
        }
        gpt_softmax_exp(s, n, scale, soft, NULL, soft + LINE);
        for (size_t v = 0; v < LINE; v += LANES)
            vf_store(soft + LINE + v, vf_all(1) / vf_load(soft + LINE + v));
        memset(out, 0, hs * LINE * sizeof(float));
        gpt_mix(hs, col, s, seq + 2 * C * LINE, stride, n, out);
        for (size_t i = 0; i < hs; i++)
            for (size_t v = 0; v < LINE; v += LANES)
                vf_store(out + i * LINE + v, vf_load(out + i * LINE + v) * vf_load(soft + LINE + v));
    }
}

/* dqkv of head h gains what the queries of a panel, last group first, contribute:
 *   out = sum p v:                   dv += p dout        dp = v dout
 *   p = softmax(s), s = q k scale:   ds = p (dp - D) scale with D = sum p dp = dout out
 *                                    dq = sum ds k       dk += ds q */
static inline void gpt_attention_back(const GptRun *r, size_t l, size_t h, GptPanel p, size_t worker) {
    const size_t C = r->m->c.C, hs = C / r->m->c.NH, stride = r->acts[l].qkv.rows * LINE;
    const uint32_t *col = r->m->table[WPE].mat.col;       /* 0, 1, 2 ... */
    const float scale = 1 / sqrtf((float)hs), *seq = gpt_at(r->acts[l].qkv, p.at - p.g0) + h * hs * LINE;
    float *prob = r->scratch + worker * 2 * r->stride * LINE * LINE, *ds = prob + r->stride * LINE * LINE;
    float *dseq = gpt_at(r->dqkv, p.at - p.g0) + h * hs * LINE;
    for (size_t g = p.ng; g-- > 0;) {
        const size_t n = p.g0 + g + 1;
        const float *soft = gpt_at(r->acts[l].soft, p.at + g) + h * 2 * LINE, *q = seq + (n - 1) * stride;
        const float *out = gpt_at(r->acts[l].att, p.at + g) + h * hs * LINE;
        const float *dout = gpt_at(r->datt, p.at + g) + h * hs * LINE;
        gpt_scores(hs, col, q, seq + C * LINE, stride, n, prob);
        gpt_softmax_exp(prob, n, scale, soft, soft + LINE, NULL);
        gpt_scores(hs, col, dout, seq + 2 * C * LINE, stride, n, ds);
        for (size_t v = 0; v < LINE; v += LANES) {
            vf D = vf_all(0);
            for (size_t i = 0; i < hs; i++)
                D = vf_fma(vf_load(dout + i * LINE + v), vf_load(out + i * LINE + v), D);
            for (size_t k = 0; k < n * LINE; k++)
                vf_store(ds + k * LINE + v,
                         vf_load(prob + k * LINE + v) * (vf_load(ds + k * LINE + v) - D) * vf_all(scale));
        }
        gpt_mix(hs, col, ds, seq + C * LINE, stride, n, dseq + (n - 1) * stride);
        for (size_t k = 0; k < n; k++) {
            gpt_spread(hs, col, ds + k * LINE * LINE, q, dseq + k * stride + C * LINE);
            gpt_spread(hs, col, prob + k * LINE * LINE, dout, dseq + k * stride + 2 * C * LINE);
        }
    }
}

/* ---- sums over tokens: slices of a gradient, each in the order of the backward stream ----------------- */

/* dw += dy x' and db += dy for row blocks r0 .. r1 of parameter k, over all panels */
static inline void gpt_linear_weight(const GptRun *r, size_t k, size_t r0, size_t r1, GptEdge dy, GptEdge x) {
    const GptParam *w = &r->m->table[k], *b = &r->m->table[k + 1];
    float *db = r->m->lane_g + (b->lane + r0 * LINE) * LINE,
          *dw = r->m->g + w->at + (size_t)w->mat.first[r0] * LINE;
    for (size_t i = 0; i < r->B * gpt_panels(r); i++) {
        const GptPanel p = gpt_panel_back(r, i);
        const float *dyp = gpt_at(dy, p.at) + r0 * LINE * LINE;
        sp_backward_weight(&w->mat, r0, r1, dw, dyp, dy.rows * LINE, gpt_at(x, p.at), x.rows * LINE, p.ng);
        for (size_t g = p.ng; g-- > 0;)
            for (size_t n = 0; n < (r1 - r0) * LINE * LINE; n += LANES)
                vf_store(db + n, vf_load(db + n) + vf_load(dyp + g * dy.rows * LINE + n));
    }
}

/* Gain and bias of a norm (parameters k, k + 1), features c0 .. c1: dgain += dn hat, dbias += dn */
static inline void gpt_norm_weight(const GptRun *r, size_t k, size_t c0, size_t c1, GptEdge dn, GptEdge x,
                                   GptEdge stats) {
    float *dgain = r->m->lane_g + r->m->table[k].lane * LINE,
          *dbias = r->m->lane_g + r->m->table[k + 1].lane * LINE;
    for (size_t i = 0; i < r->B * gpt_panels(r); i++) {
        const GptPanel p = gpt_panel_back(r, i);
        for (size_t g = p.ng; g-- > 0;) {
            const float *d = gpt_at(dn, p.at + g), *xg = gpt_at(x, p.at + g), *st = gpt_at(stats, p.at + g);
            for (size_t v = 0; v < LINE; v += LANES) {
                const vf mean = vf_load(st + v), rstd = vf_load(st + LINE + v);
                for (size_t n = c0 * LINE + v; n < c1 * LINE; n += LINE) {
                    const vf hat = (vf_load(xg + n) - mean) * rstd;
                    vf_store(dgain + n, vf_fma(vf_load(d + n), hat, vf_load(dgain + n)));
                    vf_store(dbias + n, vf_load(dbias + n) + vf_load(d + n));
                }
            }
        }
    }
}

/* The embeddings, features c0 .. c1: the rows of wte and wpe that were looked up gain dx */
static inline void gpt_embed_weight(const GptRun *r, size_t c0, size_t c1) {
    const size_t C = r->m->c.C;
    for (size_t i = 0; i < r->B * gpt_panels(r); i++) {
        const GptPanel p = gpt_panel_back(r, i);
        for (size_t g = p.ng; g-- > 0;) {
            const float *dx = gpt_at(r->dx, p.at + g);
            float *pos = r->m->g + r->m->table[WPE].at + (p.g0 + g) * C * LINE;
            for (size_t n = c0 * LINE; n < c1 * LINE; n++) pos[n] += dx[n];
            for (size_t t = 0, token = (p.g0 + g) * LINE; t < LINE && token < r->T; t++, token++) {
                const size_t id = (size_t)r->inputs[p.at / r->stride * r->T + token];
                float *word = r->m->lookup_g + id / LINE * C * LINE + id % LINE;
                for (size_t c = c0; c < c1; c++) word[c * LINE] += dx[c * LINE + t];
            }
        }
    }
}

/* ---- the head: logits, loss and their gradients, one panel at a time ---------------------------------- */

/* logits (V,16) of one group become d loss / d logits; loss gets -log p of each token's target */
static inline void gpt_cross_entropy(const GptRun *r, float *logits, size_t group, bool train) {
    const size_t V = r->m->c.V, b = group / r->stride, t0 = group % r->stride * LINE;
    float max[LINE], sum[LINE], mul[LINE];
    int32_t target[LINE];
    for (size_t i = 0; i < LINE; i++) target[i] = t0 + i < r->T ? r->targets[b * r->T + t0 + i] : -1;
    for (size_t v = 0; v < LINE; v += LANES) {
        vf m = vf_load(logits + v), s = vf_all(0);
        for (size_t o = 1; o < V; o++) m = vf_max(vf_load(logits + o * LINE + v), m);
        vf_store(max + v, m);
        for (size_t i = v; i < v + LANES; i++)      /* the target's logit, before it is overwritten */
            if (target[i] >= 0)
                r->loss[group * LINE + i] = (double)max[i] - (double)logits[(size_t)target[i] * LINE + i];
            else r->loss[group * LINE + i] = 0;
        for (size_t o = 0; o < V; o++) {
            const vf e = vf_exp(vf_load(logits + o * LINE + v) - m);
            vf_store(logits + o * LINE + v, e);
            s += e;
        }
        vf_store(sum + v, s);
    }
    for (size_t i = 0; i < LINE; i++) {
        if (target[i] >= 0) r->loss[group * LINE + i] += det_log((double)sum[i]);
        mul[i] = target[i] >= 0 ? r->dscale / sum[i] : 0;
    }
    if (!train) return;
    for (size_t o = 0; o < V; o++)
        for (size_t v = 0; v < LINE; v += LANES) {
            float *d = logits + o * LINE + v;
            vf_store(d, vf_load(d) * vf_load(mul + v));
        }
    for (size_t i = 0; i < LINE; i++) if (target[i] >= 0) logits[(size_t)target[i] * LINE + i] -= r->dscale;
}

enum { HEAD_BLOCKS = 16 };                                  /* row blocks of wte a task */

typedef struct { GptRun *r; GptPanel p; bool train; } GptHead;

static inline size_t gpt_head_tasks(const Gpt *m) {
    return (m->table[WTE].mat.nb + HEAD_BLOCKS - 1) / HEAD_BLOCKS;
}
static inline size_t gpt_head_end(const Gpt *m, size_t r0) {
    return r0 + HEAD_BLOCKS < m->table[WTE].mat.nb ? r0 + HEAD_BLOCKS : m->table[WTE].mat.nb;
}
static inline void gpt_head_logits(void *arg, size_t task, size_t worker) {
    const GptHead *h = arg;
    const GptRun *r = h->r;
    const SpMat *mat = &r->m->table[WTE].mat;
    const size_t r0 = task * HEAD_BLOCKS, r1 = gpt_head_end(r->m, r0), stride = mat->nb * LINE * LINE;
    float *logits = r->logits + r0 * LINE * LINE;
    (void)worker;
    for (size_t g = 0; g < h->p.ng; g++)
        memset(logits + g * stride, 0, (r1 - r0) * LINE * LINE * sizeof(float));
    sp_forward(mat, r0, r1, gpt_w(r, WTE) + (size_t)mat->first[r0] * LINE, gpt_at(r->n, h->p.at),
               r->n.rows * LINE, logits, stride, h->p.ng);
}
static inline void gpt_head_loss(void *arg, size_t g, size_t worker) {
    const GptHead *h = arg;
    (void)worker;
    gpt_cross_entropy(h->r, h->r->logits + g * h->r->m->table[WTE].mat.nb * LINE * LINE, h->p.at + g,
                      h->train);
}
/* Tasks 0 .. ng-1: dn = wte' dlogits of a group; the others: dwte += dlogits n' of a slice. */
static inline void gpt_head_back(void *arg, size_t task, size_t worker) {
    const GptHead *h = arg;
    const GptRun *r = h->r;
    const SpMat *mat = &r->m->table[WTE].mat;
    const size_t stride = mat->nb * LINE * LINE;
    (void)worker;
    if (task < h->p.ng) {
        float *dn = gpt_at(r->dn, h->p.at + task);
        memset(dn, 0, r->dn.rows * LINE * sizeof(float));
        sp_backward_data(mat, 0, mat->nb, gpt_w(r, WTE), r->logits + task * stride, stride, dn,
                         r->dn.rows * LINE, 1);
    } else {
        const size_t r0 = (task - h->p.ng) * HEAD_BLOCKS, r1 = gpt_head_end(r->m, r0);
        sp_backward_weight(mat, r0, r1, r->m->g + r->m->table[WTE].at + (size_t)mat->first[r0] * LINE,
                           r->logits + r0 * LINE * LINE, stride, gpt_at(r->n, h->p.at), r->n.rows * LINE,
                           h->p.ng);
    }
}
static inline void gpt_head(GptRun *r, bool train) {
    for (size_t i = 0; i < r->B * gpt_panels(r); i++) {
        GptHead h = {r, gpt_panel_back(r, i), train};
        df_run(r->pool, gpt_head_logits, &h, gpt_head_tasks(r->m));
        df_run(r->pool, gpt_head_loss, &h, h.p.ng);
        if (train) df_run(r->pool, gpt_head_back, &h, h.p.ng + gpt_head_tasks(r->m));
    }
}

/* ---- the graph: stages in order, each cut into tasks that may run in any order ------------------------ */

typedef enum {
    EMBED, LN1, QKV, ATTENTION, PROJ, LN2, FC, FC2, LNF,                        /* forward */
    LNF_W, LNF_DATA, FC2_DATA, FC2_W, FC_DATA, FC_W, LN2_W, LN2_DATA, PROJ_DATA, PROJ_W,
    ATTENTION_BACK, QKV_DATA, QKV_W, LN1_W, LN1_DATA, EMBED_W, GPT_STAGES       /* backward */
} GptStage;
typedef enum { BY_PANEL, BY_HEAD, BY_ROWS, BY_FEATURES } GptCut;

/* What cuts a stage into tasks: panels; (sequence, head); row blocks of parameter k; features. */
static const struct { const char *name; GptCut cut; int k; } gpt_stage[GPT_STAGES] = {
    {"embed", BY_PANEL, 0},         {"ln_1", BY_PANEL, 0},          {"attn.c_attn", BY_PANEL, QKVW},
    {"attention", BY_HEAD, 0},      {"attn.c_proj", BY_PANEL, PROJW}, {"ln_2", BY_PANEL, 0},
    {"mlp.c_fc", BY_PANEL, FCW},    {"mlp.c_proj", BY_PANEL, FC2W}, {"ln_f", BY_PANEL, 0},
    {"ln_f dw", BY_FEATURES, 0},    {"ln_f dx", BY_PANEL, 0},       {"mlp.c_proj dx", BY_PANEL, FC2W},
    {"mlp.c_proj dw", BY_ROWS, FC2W}, {"mlp.c_fc dx", BY_PANEL, FCW}, {"mlp.c_fc dw", BY_ROWS, FCW},
    {"ln_2 dw", BY_FEATURES, 0},    {"ln_2 dx", BY_PANEL, 0},       {"attn.c_proj dx", BY_PANEL, PROJW},
    {"attn.c_proj dw", BY_ROWS, PROJW}, {"attention dx", BY_HEAD, 0}, {"attn.c_attn dx", BY_PANEL, QKVW},
    {"attn.c_attn dw", BY_ROWS, QKVW}, {"ln_1 dw", BY_FEATURES, 0}, {"ln_1 dx", BY_PANEL, 0},
    {"embed dw", BY_FEATURES, 0}};

typedef struct {
    GptRun *r;
    GptStage stage;
    size_t l, unit;
} GptFire; /* unit: row blocks or features a task */

static inline void gpt_fire_panel(const GptRun *r, GptStage stage, size_t l, GptPanel p) {
    const size_t C = r->m->c.C, k = gpt_layer(l, 0);
    const GptActs *a = &r->acts[l];
    const GptParam *t = r->m->table;
#define GAIN(param) gpt_w(r, k + (param)), gpt_w(r, k + (param) + 1)
    switch (stage) {
    case EMBED: gpt_embed(r, p); break;
    case LN1: case LNF: gpt_norm(p, C, a->x, GAIN(LN1W), a->ln1, r->n); break;
    case QKV: gpt_linear(r, k + QKVW, 0, t[k + QKVW].mat.nb, p, r->n, a->qkv, NULL); break;
    case PROJ: gpt_linear(r, k + PROJW, 0, t[k + PROJW].mat.nb, p, a->att, a->mid, &a->x); break;
    case LN2: gpt_norm(p, C, a->mid, GAIN(LN2W), a->ln2, r->n); break;
    case FC:
        for (size_t b = 0; b < t[k + FCW].mat.nb; b++) {    /* GELU while the 16 rows are in the cache */
            gpt_linear(r, k + FCW, b, b + 1, p, r->n, a->fc, NULL);
            for (size_t g = 0; g < p.ng; g++)
                gpt_gelu(gpt_at(a->fc, p.at + g) + b * LINE * LINE, gpt_at(r->h, p.at + g) + b * LINE * LINE,
                         LINE);
        }
        break;
    case FC2: gpt_linear(r, k + FC2W, 0, t[k + FC2W].mat.nb, p, r->h, a[1].x, &a->mid); break;
    case LNF_DATA:
        memset(gpt_at(r->dx, p.at), 0, p.ng * r->dx.rows * LINE * sizeof(float));
        gpt_norm_data(p, C, a->x, gpt_w(r, k), a->ln1, r->dn, r->dx);
        break;
    case FC2_DATA:
        gpt_linear_data(r, k + FC2W, p, r->dx, r->dh);
        for (size_t g = 0; g < p.ng; g++)
            gpt_gelu_data(gpt_at(a->fc, p.at + g), gpt_at(r->h, p.at + g), gpt_at(r->dh, p.at + g), 4 * C);
        break;
    case FC_DATA:
        gpt_linear_data(r, k + FCW, p, r->dh, r->dn);
        gpt_norm(p, C, a->mid, GAIN(LN2W), a->ln2, r->n);   /* again: the weight gradient needs it */
        break;
    case LN2_DATA: gpt_norm_data(p, C, a->mid, gpt_w(r, k + LN2W), a->ln2, r->dn, r->dx); break;
    case PROJ_DATA: gpt_linear_data(r, k + PROJW, p, r->dx, r->datt); break;
    case QKV_DATA:
        gpt_linear_data(r, k + QKVW, p, r->dqkv, r->dn);
        gpt_norm(p, C, a->x, GAIN(LN1W), a->ln1, r->n);
        break;
    case LN1_DATA: gpt_norm_data(p, C, a->x, gpt_w(r, k + LN1W), a->ln1, r->dn, r->dx); break;
    default: break;
    }
#undef GAIN
}

static inline void gpt_fire_head(const GptRun *r, GptStage stage, size_t l, size_t task, size_t worker) {
    const size_t per = gpt_panels(r), h = task % r->m->c.NH, b = task / r->m->c.NH,
                 hs = r->m->c.C / r->m->c.NH;
    if (stage == ATTENTION)
        for (size_t i = 0; i < per; i++) gpt_attention(r, l, h, gpt_panel(r, b * per + i), worker);
    else {
        for (size_t g = 0; g < r->groups; g++)
            for (size_t third = 0; third < 3; third++)
                memset(gpt_at(r->dqkv, b * r->stride + g) + (third * r->m->c.C + h * hs) * LINE, 0,
                       hs * LINE * 4);
        for (size_t i = 0; i < per; i++) gpt_attention_back(r, l, h, gpt_panel_back(r, b * per + i), worker);
    }
}

static inline void gpt_fire_rows(const GptRun *r, GptStage stage, size_t l, size_t r0, size_t r1) {
    const GptActs *a = &r->acts[l];
    const size_t k = gpt_layer(l, gpt_stage[stage].k);
    gpt_linear_weight(r, k, r0, r1, stage == FC_W ? r->dh : stage == QKV_W ? r->dqkv : r->dx,
                      stage == FC2_W ? r->h : stage == PROJ_W ? a->att : r->n);
}

static inline void gpt_fire(void *arg, size_t task, size_t worker) {
    const GptFire *f = arg;
    const GptRun *r = f->r;
    const GptActs *a = &r->acts[f->l];
    const size_t from = task * f->unit, k = gpt_layer(f->l, 0), C = r->m->c.C;
    const size_t end =
        gpt_stage[f->stage].cut == BY_ROWS ? r->m->table[k + (size_t)gpt_stage[f->stage].k].mat.nb : C;
    const size_t to = from + f->unit < end ? from + f->unit : end;
    switch (gpt_stage[f->stage].cut) {
    case BY_PANEL: gpt_fire_panel(r, f->stage, f->l, gpt_panel(r, task)); break;
    case BY_HEAD: gpt_fire_head(r, f->stage, f->l, task, worker); break;
    case BY_ROWS: gpt_fire_rows(r, f->stage, f->l, from, to); break;
    case BY_FEATURES:
        if (f->stage == EMBED_W) gpt_embed_weight(r, from, to);
        else if (f->stage == LN2_W) gpt_norm_weight(r, k + LN2W, from, to, r->dn, a->mid, a->ln2);
        else gpt_norm_weight(r, k, from, to, r->dn, a->x, a->ln1);
    }
}

/* Runs one stage of layer l over the whole run, all workers. The cut does not change a bit. */
static inline void gpt_stage_run(GptRun *r, GptStage stage, size_t l) {
    const GptCut cut = gpt_stage[stage].cut;
    const size_t units = cut == BY_ROWS ? r->m->table[gpt_layer(l, gpt_stage[stage].k)].mat.nb : r->m->c.C;
    size_t unit = units / (4 * r->pool->workers), tasks;
    if (cut == BY_ROWS && unit > 8) unit = 8;               /* a slice of dw that stays in the cache */
    if (unit < 1) unit = 1;
    tasks = cut == BY_PANEL  ? r->B * gpt_panels(r)
            : cut == BY_HEAD ? r->B * r->m->c.NH
                             : (units + unit - 1) / unit;
    GptFire f = {r, stage, l, unit};
    df_run(r->pool, gpt_fire, &f, tasks);
}

/* Adds the tokens' losses to *sum one by one, so that groups of sequences add up as the whole does. */
static inline void gpt_loss_add(const GptRun *r, double *sum) {
    for (size_t b = 0; b < r->B; b++)
        for (size_t t = r->from * LINE; t < r->T; t++) *sum += r->loss[b * r->stride * LINE + t];
}

/* The layers forward: r->n holds the final norm's output. inputs (B,T). */
static inline void gpt_forward(GptRun *r) {
    gpt_stage_run(r, EMBED, 0);
    for (size_t l = 0; l < r->m->c.L; l++)
        for (GptStage s = LN1; s <= FC2; s++) gpt_stage_run(r, s, l);
    gpt_stage_run(r, LNF, r->m->c.L);
}

/* Forward only: adds the losses of inputs against targets (B,T) to *sum. */
static inline void gpt_eval(GptRun *r, const int32_t *inputs, const int32_t *targets, double *sum) {
    r->inputs = inputs, r->targets = targets;
    gpt_forward(r);
    gpt_head(r, false);
    gpt_loss_add(r, sum);
}

/* Forward and backward: adds the gradient of (sum of losses) / count to the model's, and the losses to *sum.
 */
static inline void gpt_train(GptRun *r, const int32_t *inputs, const int32_t *targets, size_t count,
                             double *sum) {
    r->inputs = inputs, r->targets = targets, r->dscale = 1 / (float)count;
    gpt_forward(r);
    gpt_head(r, true);
    gpt_stage_run(r, LNF_W, r->m->c.L), gpt_stage_run(r, LNF_DATA, r->m->c.L);
    for (size_t l = r->m->c.L; l-- > 0;)
        for (GptStage s = FC2_DATA; s <= LN1_DATA; s++) gpt_stage_run(r, s, l);
    gpt_stage_run(r, EMBED_W, 0);
    gpt_loss_add(r, sum);
}

/* ---- AdamW -------------------------------------------------------------------------------------------- */

enum { PIECE = 1 << 15 };                                   /* floats a task */

typedef struct {
    Gpt *m;
    double *sums;                                           /* one per piece */
    float lr, beta1, beta2, eps, decay, clip, scale1, root2;
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
static inline void gpt_norm_piece(void *arg, size_t piece, size_t worker) {
    const GptUpdate *u = arg;
    const size_t from = piece * PIECE, to = from + PIECE < u->m->floats ? from + PIECE : u->m->floats;
    const size_t lookup = u->m->table[WTE].at + u->m->table[WTE].size;
    double sum[8] = {0};
    float *g = u->m->g;
    (void)worker;
    for (size_t i = from; i < to && i < lookup; i++) g[i] += u->m->lookup_g[i], u->m->lookup_g[i] = 0;
    for (size_t i = from; i < to; i += 8)
        for (size_t j = 0; j < 8; j++) sum[j] += (double)g[i + j] * (double)g[i + j];
    u->sums[piece] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}
static inline void gpt_adamw_piece(void *arg, size_t piece, size_t worker) {
    const GptUpdate *u = arg;
    const size_t from = piece * PIECE, to = from + PIECE < u->m->floats ? from + PIECE : u->m->floats;
    (void)worker;
    for (size_t k = 0; k < u->m->count; k++) {
        const GptParam *p = &u->m->table[k];
        const size_t a = p->at > from ? p->at : from, b = p->at + p->size < to ? p->at + p->size : to;
        const float keep = p->decay ? 1 - u->lr * u->decay : 1;
        float *restrict w = u->m->w, *restrict g = u->m->g, *restrict m = u->m->m, *restrict v = u->m->v;
        for (size_t i = a; i < b; i++) {                    /* spec_adamw, in float32 */
            const float d = g[i] * u->clip;
            m[i] = u->beta1 * m[i] + (1 - u->beta1) * d;
            v[i] = u->beta2 * v[i] + (1 - u->beta2) * (d * d);
            w[i] = w[i] * keep - u->scale1 * m[i] / (sqrtf(v[i]) * u->root2 + u->eps);
            g[i] = 0;
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
    double b1 = 1, b2 = 1, p1 = o->beta1, p2 = o->beta2;
    for (size_t n = t; n; n >>= 1, p1 *= p1, p2 *= p2) if (n & 1) b1 *= p1, b2 *= p2;
    GptUpdate u = {m, NULL, (float)o->lr, (float)o->beta1, (float)o->beta2, (float)o->eps, (float)o->decay,
                   (float)(o->clip > 0 && norm + 1e-6 > o->clip ? o->clip / (norm + 1e-6) : 1),
                   (float)(o->lr / (1 - b1)), (float)(1 / sqrt(1 - b2))};
    df_run(pool, gpt_adamw_piece, &u, gpt_pieces(m));
}

/* ---- sampling ----------------------------------------------------------------------------------------- */

/* The logits after tokens[0 .. n-1], in r->logits, token v at [v * 16]. The first `done` tokens were given
 * before: the keys and values of their whole groups stand in qkv already, so only later groups are computed.
 * A token's lane never sees another token's but through those, so the bits are those of computing everything.
 * r: one sequence. */
static inline const float *gpt_next(GptRun *r, const int32_t *tokens, size_t n, size_t done) {
    r->inputs = tokens, r->T = n, r->groups = gpt_groups(n), r->from = done / LINE;
    gpt_forward(r);
    GptHead h = {r, {r->groups - 1, r->groups - 1, 1}, false};
    df_run(r->pool, gpt_head_logits, &h, gpt_head_tasks(r->m));
    return r->logits + (n - 1) % LINE;
}

typedef struct { double temperature, top_p; size_t top_k; } GptChoice;
typedef struct { double logit; uint32_t id; } GptCandidate;

static inline int gpt_by_logit(const void *a, const void *b) { /* largest first, ties to the smaller id */
    const GptCandidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id < y->id ? -1 : x->id > y->id;
}
/* Draws an id from V logits 16 floats apart, with u uniform in [0, 1): the softmax of logits / temperature,
 * of the top_k largest (0: all), cut to the smallest set of them that holds a share top_p. Temperature 0: the
 * largest. */
static inline uint32_t gpt_choose(const float *logits, size_t V, const GptChoice *how, double u) {
    GptCandidate *c = mem_new(V, sizeof *c);
    size_t n = V, kept = 0;
    double sum = 0, share = 0;
    for (size_t v = 0; v < V; v++) c[v] = (GptCandidate){(double)logits[v * LINE], (uint32_t)v};
    qsort(c, V, sizeof *c, gpt_by_logit);
    if (how->temperature <= 0) n = 1;
    else if (how->top_k && how->top_k < n) n = how->top_k;
    const double top = c[0].logit;
    for (size_t k = 0; k < n; k++)
        sum += c[k].logit = n == 1 ? 1 : exp((c[k].logit - top) / how->temperature);
    while (kept < n && (kept == 0 || share < how->top_p * sum)) share += c[kept++].logit;
    double at = u * share;
    size_t k = 0;
    while (k + 1 < kept && at >= c[k].logit) at -= c[k++].logit;
    const uint32_t id = c[k].id;
    free(c);
    return id;
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
    for (size_t e = 0; e < 8 * (m->c.L + 1); e++) {
        const GptEdge x = r->acts[e / 8].edge[e % 8];
        if (!gpt_finite(x.p, r->B * r->stride * x.rows * LINE))
            return snprintf(name, 64, "layer %zu, %s", e / 8, edge[e % 8]), name;
    }
    for (size_t k = m->count; k-- > 0;)
        if (!gpt_finite(m->g + m->table[k].at, m->table[k].size))
            return snprintf(name, 64, "gradient of %s", m->table[k].name), name;
    return "the loss";
}
#endif
