/* gpt.h: the model, twice.
 *
 * First the specification: GPT-2 forward, backward, loss and AdamW in double precision and plain loops over (B,T,C).
 * It is what to read first, the oracle of the tests and the arithmetic of verify. Then the machine's version: the same
 * mathematics as stages over panels (see sparse.h), in float32 with a fixed order of every sum. The two are written
 * independently and must agree to float32 rounding.
 *
 * It refuses to be general: one architecture (learned positions, pre-norm, GELU in its tanh form, tied head), no
 * dropout, no mixed precision.
 *
 * Letters     B sequences   T positions   C channels   V vocabulary   L layers   NH heads   hs = C / NH
 *             inp, out      of a function; dinp, dout: derivatives of the loss by them
 *
 * One layer   x -> ln_1 -> c_attn -> attention -> c_proj -> + x = x' -> ln_2 -> c_fc -> GELU -> c_proj -> + x'
 * The whole   wte[token] + wpe[position] -> layers -> ln_f -> times wte' -> softmax -> -log p[target], averaged
 *
 * Parameters have the names and shapes of Hugging Face's GPT-2; its linear weights are stored (in, out). One table
 * (gpt_table) of {name, shape, decay, init} drives allocation, files, optimizer and tests. */
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
    SpMat mat;                  /* of rank 2, as outputs x inputs */
} GptParam;

static inline size_t gpt_count(const GptConfig *c) { return LAYER0 + c->L * PER_LAYER + 2; }
static inline size_t gpt_layer(size_t l, int k) { return LAYER0 + l * PER_LAYER + (size_t)k; }
static inline size_t gpt_elements(const GptParam *p) { return p->rank == 2 ? p->rows * p->cols : p->rows; }

static inline void gpt_entry(GptParam *p, const char *name, size_t rows, size_t cols, double mean, double std) {
    *p = (GptParam){.rank = cols ? 2 : 1, .rows = rows, .cols = cols, .decay = cols > 0, .mean = mean, .std = std};
    snprintf(p->name, sizeof p->name, "%s", name);
    p->in_out = cols && name[0] == 'h';
}

/* The table of a configuration, gpt_count entries. Initial values as GPT-2's: N(0, 0.02), projections into the
 * residual stream 0.02 / sqrt(2L), biases 0, gains 1. */
static inline GptParam *gpt_table(const GptConfig *c) {
    static const struct { const char *name; size_t rows, cols; double mean, std; } layer[PER_LAYER] = {
        {"ln_1.weight", 1, 0, 1, 0},        {"ln_1.bias", 1, 0, 0, 0},
        {"attn.c_attn.weight", 1, 3, 0, 1}, {"attn.c_attn.bias", 3, 0, 0, 0},
        {"attn.c_proj.weight", 1, 1, 0, 2}, {"attn.c_proj.bias", 1, 0, 0, 0},
        {"ln_2.weight", 1, 0, 1, 0},        {"ln_2.bias", 1, 0, 0, 0},
        {"mlp.c_fc.weight", 1, 4, 0, 1},    {"mlp.c_fc.bias", 4, 0, 0, 0},
        {"mlp.c_proj.weight", 4, 1, 0, 2},  {"mlp.c_proj.bias", 1, 0, 0, 0}};   /* in units of C; std 1 or 2 */
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

/* out (N,OC) = inp (N,IC) w (IC,OC) + b (OC), b may be NULL */
static void spec_linear(double *out, const double *inp, const double *w, const double *b, size_t N, size_t IC,
                        size_t OC) {
    for (size_t n = 0; n < N; n++) {
        for (size_t o = 0; o < OC; o++) out[n * OC + o] = b ? b[o] : 0;
        for (size_t i = 0; i < IC; i++)
            for (size_t o = 0; o < OC; o++) out[n * OC + o] += inp[n * IC + i] * w[i * OC + o];
    }
}
static void spec_linear_backward(double *dinp, double *dw, double *db, const double *dout, const double *inp,
                                 const double *w, size_t N, size_t IC, size_t OC) {
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
static void spec_layernorm(double *out, const double *x, const double *w, const double *b, size_t N, size_t C) {
    for (size_t n = 0; n < N; n++) {
        double mean = 0, var = 0;
        for (size_t c = 0; c < C; c++) mean += x[n * C + c] / (double)C;
        for (size_t c = 0; c < C; c++) var += (x[n * C + c] - mean) * (x[n * C + c] - mean) / (double)C;
        double rstd = 1 / sqrt(var + 1e-5);
        for (size_t c = 0; c < C; c++) out[n * C + c] = w[c] * (x[n * C + c] - mean) * rstd + b[c];
    }
}
/* dinp += */
static void spec_layernorm_backward(double *dinp, double *dw, double *db, const double *dout, const double *x,
                                    const double *w, size_t N, size_t C) {
    for (size_t n = 0; n < N; n++) {
        const double *xn = x + n * C, *d = dout + n * C;
        double mean = 0, var = 0, a = 0, ah = 0;
        for (size_t c = 0; c < C; c++) mean += xn[c] / (double)C;
        for (size_t c = 0; c < C; c++) var += (xn[c] - mean) * (xn[c] - mean) / (double)C;
        double rstd = 1 / sqrt(var + 1e-5);
        for (size_t c = 0; c < C; c++) {            /* hat = (x - mean) rstd;  out = w hat + b */
            double hat = (xn[c] - mean) * rstd;
            dw[c] += d[c] * hat, db[c] += d[c];
            a += d[c] * w[c] / (double)C, ah += d[c] * w[c] * hat / (double)C;
        }
        for (size_t c = 0; c < C; c++)              /* mean and rstd depend on every x of the row */
            dinp[n * C + c] += rstd * (d[c] * w[c] - a - (xn[c] - mean) * rstd * ah);
    }
}

/* p (B,NH,T,T) = softmax over t2 <= t of q k / sqrt(hs); out (B,T,C) = p v; qkv (B,T,3C) */
static void spec_attention(double *out, double *p, const double *qkv, size_t B, size_t T, size_t C, size_t NH) {
    const size_t hs = C / NH;
    for (size_t bh = 0; bh < B * NH; bh++)
        for (size_t t = 0; t < T; t++) {
            const double *base = qkv + bh / NH * T * 3 * C + bh % NH * hs, *q = base + t * 3 * C;
            double *row = p + (bh * T + t) * T, *o = out + (bh / NH * T + t) * C + bh % NH * hs, max = 0, sum = 0;
            for (size_t u = 0; u <= t; u++) {
                const double *k = base + u * 3 * C + C;
                row[u] = 0;
                for (size_t i = 0; i < hs; i++) row[u] += q[i] * k[i] / sqrt((double)hs);
                if (u == 0 || row[u] > max) max = row[u];
            }
            for (size_t u = 0; u <= t; u++) sum += row[u] = exp(row[u] - max);
            for (size_t i = 0; i < hs; i++) o[i] = 0;
            for (size_t u = 0; u <= t; u++) {
                row[u] /= sum;
                for (size_t i = 0; i < hs; i++) o[i] += row[u] * base[u * 3 * C + 2 * C + i];
            }
        }
}
/* dqkv += */
static void spec_attention_backward(double *dqkv, const double *dout, const double *p, const double *qkv, size_t B,
                                    size_t T, size_t C, size_t NH) {
    const size_t hs = C / NH;
    double *dp = mem_new(T, sizeof *dp);
    for (size_t bh = 0; bh < B * NH; bh++)
        for (size_t t = 0; t < T; t++) {
            const size_t base = bh / NH * T * 3 * C + bh % NH * hs, at_q = base + t * 3 * C;
            const double *row = p + (bh * T + t) * T, *d = dout + (bh / NH * T + t) * C + bh % NH * hs;
            double mean = 0;
            for (size_t u = 0; u <= t; u++) {       /* o[i] += row[u] v[i] */
                const size_t at_v = base + u * 3 * C + 2 * C;
                dp[u] = 0;
                for (size_t i = 0; i < hs; i++) dp[u] += d[i] * qkv[at_v + i], dqkv[at_v + i] += row[u] * d[i];
                mean += row[u] * dp[u];
            }
            for (size_t u = 0; u <= t; u++) {       /* row = softmax(s): ds[u] = row[u] (dp[u] - sum row dp) */
                const size_t at_k = base + u * 3 * C + C;
                const double ds = row[u] * (dp[u] - mean) / sqrt((double)hs);
                for (size_t i = 0; i < hs; i++)     /* s[u] = q k / sqrt(hs) */
                    dqkv[at_q + i] += ds * qkv[at_k + i], dqkv[at_k + i] += ds * qkv[at_q + i];
            }
        }
    free(dp);
}

static const double SPEC_GELU = 0.7978845608028654;         /* sqrt(2 / pi) */
static double spec_gelu(double x) { return 0.5 * x * (1 + tanh(SPEC_GELU * (x + 0.044715 * x * x * x))); }
static double spec_gelu_slope(double x) {                   /* d/dx of the line above; tanh' = 1 - tanh^2 */
    double t = tanh(SPEC_GELU * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SPEC_GELU * (1 + 3 * 0.044715 * x * x);
}

/* loss (1) = mean of -log softmax(logits (N,V))[target]; dlogits = (softmax - [v = target]) / N */
static double spec_cross_entropy(double *dlogits, const double *logits, const int32_t *targets, size_t N, size_t V) {
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
    GptParam *table;
    double **w, **dw;                           /* [gpt_count] arrays of the table's shapes, row-major */
    struct SpecLayer { double *x, *ln1, *qkv, *p, *att, *mid, *ln2, *fc, *gelu; } *layer;   /* [L + 1] */
    double *lnf, *logits, *dlogits, loss;
} Spec;

static double *spec_array(size_t n) { return mem_new(n, sizeof(double)); }
static double **spec_arrays(const GptParam *table, size_t count) {
    double **a = mem_new(count, sizeof *a);
    for (size_t k = 0; k < count; k++) a[k] = spec_array(gpt_elements(&table[k]));
    return a;
}
static Spec *spec_new(GptConfig c, size_t B, size_t T) {
    Spec *s = mem_new(1, sizeof *s);
    const size_t N = B * T;
    *s = (Spec){.c = c, .B = B, .T = T, .table = gpt_table(&c)};
    s->w = spec_arrays(s->table, gpt_count(&c)), s->dw = spec_arrays(s->table, gpt_count(&c));
    s->layer = mem_new(c.L + 1, sizeof *s->layer);
    for (size_t l = 0; l <= c.L; l++)
        s->layer[l] = (struct SpecLayer){spec_array(N * c.C), spec_array(N * c.C), spec_array(N * 3 * c.C),
            spec_array(B * c.NH * T * T), spec_array(N * c.C), spec_array(N * c.C), spec_array(N * c.C),
            spec_array(N * 4 * c.C), spec_array(N * 4 * c.C)};
    s->lnf = spec_array(N * c.C), s->logits = spec_array(N * c.V), s->dlogits = spec_array(N * c.V);
    return s;
}
static void spec_free(Spec *s) {
    for (size_t k = 0; k < gpt_count(&s->c); k++) free(s->w[k]), free(s->dw[k]);
    for (size_t l = 0; l <= s->c.L; l++) {
        struct SpecLayer *a = &s->layer[l];
        free(a->x), free(a->ln1), free(a->qkv), free(a->p), free(a->att);
        free(a->mid), free(a->ln2), free(a->fc), free(a->gelu);
    }
    free(s->w), free(s->dw), free(s->layer), free(s->lnf), free(s->logits), free(s->dlogits), free(s->table), free(s);
}

/* inputs, targets (B,T) -> s->logits, s->loss, s->dlogits */
static void spec_forward(Spec *s, const int32_t *inputs, const int32_t *targets) {
    const size_t T = s->T, N = s->B * T, C = s->c.C;
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < C; i++)
            s->layer[0].x[n * C + i] = s->w[WTE][(size_t)inputs[n] * C + i] + s->w[WPE][n % T * C + i];
    for (size_t l = 0; l < s->c.L; l++) {
        struct SpecLayer *a = &s->layer[l];
        double **w = s->w + gpt_layer(l, 0), *next = s->layer[l + 1].x;
        spec_layernorm(a->ln1, a->x, w[LN1W], w[LN1B], N, C);
        spec_linear(a->qkv, a->ln1, w[QKVW], w[QKVB], N, C, 3 * C);
        spec_attention(a->att, a->p, a->qkv, s->B, T, C, s->c.NH);
        spec_linear(a->mid, a->att, w[PROJW], w[PROJB], N, C, C);
        for (size_t i = 0; i < N * C; i++) a->mid[i] += a->x[i];
        spec_layernorm(a->ln2, a->mid, w[LN2W], w[LN2B], N, C);
        spec_linear(a->fc, a->ln2, w[FCW], w[FCB], N, C, 4 * C);
        for (size_t i = 0; i < N * 4 * C; i++) a->gelu[i] = spec_gelu(a->fc[i]);
        spec_linear(next, a->gelu, w[FC2W], w[FC2B], N, 4 * C, C);
        for (size_t i = 0; i < N * C; i++) next[i] += a->mid[i];
    }
    double **f = s->w + gpt_layer(s->c.L, 0);
    spec_layernorm(s->lnf, s->layer[s->c.L].x, f[0], f[1], N, C);
    for (size_t n = 0; n < N; n++)                  /* logits = lnf wte', the head is tied */
        for (size_t v = 0; v < s->c.V; v++) {
            double sum = 0;
            for (size_t i = 0; i < C; i++) sum += s->lnf[n * C + i] * s->w[WTE][v * C + i];
            s->logits[n * s->c.V + v] = sum;
        }
    s->loss = spec_cross_entropy(s->dlogits, s->logits, targets, N, s->c.V);
}

/* After spec_forward on the same inputs: s->dw = the gradient of the loss. */
static void spec_backward(Spec *s, const int32_t *inputs) {
    const size_t T = s->T, N = s->B * T, C = s->c.C, V = s->c.V;
    double *dx = spec_array(N * C), *d = spec_array(N * C), *d4 = spec_array(N * 4 * C), *dqkv = spec_array(N * 3 * C);
    for (size_t k = 0; k < gpt_count(&s->c); k++) memset(s->dw[k], 0, gpt_elements(&s->table[k]) * sizeof(double));
    for (size_t n = 0; n < N; n++)                  /* logits[v] += lnf[i] wte[v][i] */
        for (size_t v = 0; v < V; v++)
            for (size_t i = 0; i < C; i++) {
                d[n * C + i] += s->dlogits[n * V + v] * s->w[WTE][v * C + i];
                s->dw[WTE][v * C + i] += s->dlogits[n * V + v] * s->lnf[n * C + i];
            }
    double **f = s->w + gpt_layer(s->c.L, 0), **df = s->dw + gpt_layer(s->c.L, 0);
    spec_layernorm_backward(dx, df[0], df[1], d, s->layer[s->c.L].x, f[0], N, C);
    for (size_t l = s->c.L; l-- > 0;) {             /* dx: the gradient of the layer's output, then of its input */
        struct SpecLayer *a = &s->layer[l];
        double **w = s->w + gpt_layer(l, 0), **dw = s->dw + gpt_layer(l, 0);
        spec_linear_backward(d4, dw[FC2W], dw[FC2B], dx, a->gelu, w[FC2W], N, 4 * C, C);
        for (size_t i = 0; i < N * 4 * C; i++) d4[i] *= spec_gelu_slope(a->fc[i]);
        spec_linear_backward(d, dw[FCW], dw[FCB], d4, a->ln2, w[FCW], N, C, 4 * C);
        spec_layernorm_backward(dx, dw[LN2W], dw[LN2B], d, a->mid, w[LN2W], N, C);
        spec_linear_backward(d, dw[PROJW], dw[PROJB], dx, a->att, w[PROJW], N, C, C);
        memset(dqkv, 0, N * 3 * C * sizeof(double));
        spec_attention_backward(dqkv, d, a->p, a->qkv, s->B, T, C, s->c.NH);
        spec_linear_backward(d, dw[QKVW], dw[QKVB], dqkv, a->ln1, w[QKVW], N, C, 3 * C);
        spec_layernorm_backward(dx, dw[LN1W], dw[LN1B], d, a->x, w[LN1W], N, C);
    }
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < C; i++) {            /* x = wte[token] + wpe[position] */
            s->dw[WTE][(size_t)inputs[n] * C + i] += dx[n * C + i];
            s->dw[WPE][n % T * C + i] += dx[n * C + i];
        }
    free(dx), free(d), free(d4), free(dqkv);
}

typedef struct { double lr, beta1, beta2, eps, decay, clip; } GptAdam;

/* The global norm of the gradient; PyTorch's clip_grad_norm_ scales by clip / (norm + 1e-6) if that is below 1. */
static double spec_norm(const Spec *s) {
    double sum = 0;
    for (size_t k = 0; k < gpt_count(&s->c); k++)
        for (size_t i = 0; i < gpt_elements(&s->table[k]); i++) sum += s->dw[k][i] * s->dw[k][i];
    return sqrt(sum);
}
/* Step t = 1, 2 ... of PyTorch's AdamW (Loshchilov and Hutter 2019): decay apart from the moments, eps outside the
 * root. m, v: arrays like s->w. */
static void spec_adamw(Spec *s, double **m, double **v, const GptAdam *o, size_t t) {
    const double norm = spec_norm(s), scale = o->clip > 0 && norm + 1e-6 > o->clip ? o->clip / (norm + 1e-6) : 1;
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
#endif
