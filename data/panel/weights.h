/* weights.h: the parameters of a GPT: names, shapes, memory, places, and what they
 * are before the first step.
 *
 * Names and shapes are those of Hugging Face's GPT-2. Its linear weights are stored
 * (in,out); llm.c's are the transposed. One table (gpt_table) of name, shape, decay
 * and initial values drives allocation, files, optimizer and tests.
 *
 * On the machine a matrix lies in row blocks (sparse.h), padded to whole ones, and
 * without what is masked; for everybody else it has rows and columns:
 *
 *     float *values = mem_new(gpt_elements(p), sizeof *values);
 *     gpt_get(p, model->w, values);       row by row, as Hugging Face has them
 *
 * It refuses to know of any file.
 *
 * Example: L = 4, C = 256, V = 2049 and 256 positions. wte and wpe have
 * (2049 + 256) 256 = 590,080 parameters. A layer has 12 C^2 in its four
 * matrices (3 + 1 + 4 + 4) and 13 C in norms and biases: 789,760. ln_f has 2 C.
 * Together 590,080 + 4 x 789,760 + 512 = 3,749,632. */
#ifndef WEIGHTS_H
#define WEIGHTS_H
#include "../../sparse.h"

/* ---- configuration and the parameter table ------------------------------- */

typedef struct {
    size_t L, NH, C;            /* layers, heads, channels */
    size_t V;                   /* vocabulary; <|endoftext|> is one of them */
    size_t ctx;                 /* positions that wpe has: the largest T */
} GptConfig;

/* A parameter's number: the two embeddings, then each layer's twelve, then the
 * two of the final norm. PROJ is attn.c_proj, FC2 is mlp.c_proj. */
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
/* The final norm stands where layer L would begin, numbered as that layer's first
 * norm: LNFW is LN1W and LNFB is LN1B, so what serves the one serves the other. */
enum { LNFW, LNFB, FINAL };

typedef struct {
    char name[40];
    int rank;                   /* 2: shape (rows,cols); 1: shape (rows) */
    size_t rows, cols;          /* rank 1: cols is 0 */
    bool in_out;                /* a linear weight: rows are inputs */
    bool decay;                 /* AdamW lets it decay: every matrix */
    double mean, std;           /* of the normal distribution it starts from */

    /* the machine's; the specification does not look at them */
    size_t at, size;            /* place in its flat arrays, in floats */
    size_t lane;                /* of rank 1: first line of its gradient, which
                                 * is kept per lane */
    SpMat mat;                  /* as outputs x inputs; rank 1: one input */
    float rate;                 /* factor on the learning rate and on decay */
    uint32_t *born;             /* [mat.lines] optimizer step at which a line
                                 * was grown; NULL: all at 0 */
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

/* ---- parameters in row blocks -------------------------------------------- *
 *
 * Every matrix lies as w[row block of 16 outputs][input][16]: wte with tokens,
 * wpe with positions as its outputs. Padding outputs are zero and stay zero. A
 * gradient of a gain or bias is a sum over tokens; it is kept as one line per
 * element, a sum per lane, and added over the lanes once a step. */

typedef struct {
    GptConfig c;
    GptParam *table;
    size_t count;               /* tensors */
    size_t floats;              /* numbers in each flat array */
    size_t lanes;               /* lines of lane_g */
    float *w;                   /* weights */
    float *g;                   /* gradient; NULL if it is not to train */
    float *moment1, *moment2;   /* AdamW's; NULL without an optimizer */
    float *lane_g;              /* gradient of rank 1 per lane */
    float *lookup_g;            /* gradient of wte through the lookup, apart so
                                 * that groups of sequences give the bits of the
                                 * whole */
} Gpt;

/* The four matrices of a layer. */
static inline bool gpt_maskable(const GptParam *p) { return p->in_out; }
static inline bool gpt_masked(const GptParam *p) {
    return !p->mat.dense || p->mat.keep;
}

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
        m->moment1 = mem_new(m->floats, sizeof(float));
        m->moment2 = mem_new(m->floats, sizeof(float));
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
    free(m->moment1);
    free(m->moment2);
    free(m->lane_g);
    free(m->lookup_g);
    free(m);
}

/* The numbers of a tensor that are kept, one after the other; what is padding or
 * masked is passed over:
 *     for (GptPlace n = {0}; gpt_place(p, &n);) ... */
typedef struct {
    size_t flat;                    /* place in the flat array */
    size_t named;                   /* place in the named shape */

    size_t lines;                   /* begun so far; the rest is of the last */
    size_t r;                       /* its row block */
    unsigned left;                  /* bit o set: number o is still to come */
    size_t flat0, named0;           /* the places of number 0 */
} GptPlace;

/* Begins the next line, one input's numbers to the 16 outputs of a row block;
 * false: there is none. */
static inline bool gpt_next_line(const GptParam *p, GptPlace *n) {
    const SpMat *m = &p->mat;
    const size_t l = n->lines;
    if (l == m->lines) return false;
    while (l == m->first[n->r + 1]) n->r++;
    const size_t out = n->r * LINE;
    const size_t in = sp_cols(m, n->r)[l - m->first[n->r]];
    n->left = sp_kept(m, n->r, l);
    n->flat0 = p->at + l * LINE;
    n->named0 = p->in_out ? in * m->OC + out : out * m->IC + in;
    n->lines++;
    return true;
}
static inline bool gpt_place(const GptParam *p, GptPlace *n) {
    while (!n->left)
        if (!gpt_next_line(p, n)) return false;
    const size_t o = (size_t)__builtin_ctz(n->left);
    n->left &= n->left - 1;
    n->flat = n->flat0 + o;
    n->named = n->named0 + (p->in_out ? o : o * p->mat.IC);
    return true;
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
#endif
