/* weights.h: a model's numbers: their memory, the numbers of a tensor one by one,
 * and what they are before the first step.
 *
 * On the machine a matrix lies in row blocks (sparse.h), padded to whole ones, and
 * without what is masked; for everybody else it has rows and columns:
 *
 *     float *values = mem_new(gpt_elements(p), sizeof *values);
 *     gpt_get(p, model->w, values);       row by row, as Hugging Face has them
 *
 * It refuses to know of any file. */
#ifndef WEIGHTS_H
#define WEIGHTS_H
#include "../../gpt.h"

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
#endif
