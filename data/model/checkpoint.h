/* checkpoint.h: a model on disk: a safetensors file of its parameters, Adam's
 * moments, masks and vocabulary.
 *
 * It refuses to know what a training run is: the caller gives the metadata, and
 * keeps its own. It trusts nothing that it reads: every shape is checked before
 * memory is taken, every number before it is used.
 *
 *     NAME            F32 in the shape of the parameter table; of a sparse
 *                     matrix (lines, 16): only the kept lines, row block by row
 *                     block, as they lie in memory
 *     adam_m.NAME     as NAME; adam_v.NAME too
 *     born.NAME       U32 (lines): the optimizer step at which the line came;
 *                     only of masks that evolved
 *     keep.NAME       U16 (lines): bit o set where element o of the line is
 *                     kept; only of masked elements
 *     blocks.NAME     U8 (row blocks, groups of inputs): 1 where a block is
 *                     kept; only of sparse matrices
 *     vocabulary      U8: the bytes of a vocabulary file
 *     header_hash     U8 (8): a hash of the header, so that no byte of it can
 *                     change unnoticed
 *
 * Example: 32 inputs, 16 outputs, blocks of 16x4, the third of eight kept:
 *
 *     blocks.NAME (1,8)    0 0 1 0 0 0 0 0
 *     NAME (4,16)          the weights of input 8 to outputs 0 .. 15
 *                                     of inputs 9, 10 and 11 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H
#include "../../gpt.h"
#include "../text/vocabulary.h"
#include "safetensors.h"

/* What there is of every parameter. */
enum { CHECKPOINT_KINDS = 3 };
static const char *const checkpoint_kind[CHECKPOINT_KINDS] = {"", "adam_m.",
                                                              "adam_v."};

/* What there is of some, in the order of the file: wide types first. */
typedef enum { MASK_BORN, MASK_KEEP, MASK_BLOCKS, MASK_PARTS } MaskPart;
static const struct {
    const char *name;
    StType type;
} mask_part[MASK_PARTS] = {{"born.", ST_U32},
                           {"keep.", ST_U16},
                           {"blocks.", ST_U8}};

/* The name of a tensor of p: "adam_m.", "blocks." and so on before the
 * parameter's. */
static inline const char *checkpoint_name(char out[64], const char *kind,
                                          const GptParam *p) {
    snprintf(out, 64, "%s%s", kind, p->name);
    return out;
}
/* How values of p lie in the file, (lines, 16) if it is sparse: their shape;
 * returns its rank. */
static inline int checkpoint_shape(const GptParam *p, size_t shape[2]) {
    const bool masked = gpt_masked(p);
    shape[0] = masked ? p->mat.lines : p->rows;
    shape[1] = masked ? LINE : p->cols;
    return masked ? 2 : p->rank;
}
/* The same of a part of its mask. */
static inline int mask_part_shape(const GptParam *p, MaskPart part,
                                  size_t shape[2]) {
    shape[0] = p->mat.lines;
    if (part != MASK_BLOCKS) return 1;
    shape[0] = p->mat.nb;
    shape[1] = p->mat.IC / p->mat.block;
    return 2;
}
static inline bool mask_has_part(const GptParam *p, MaskPart part) {
    if (part == MASK_BORN) return p->born;
    if (part == MASK_KEEP) return p->mat.keep;
    return gpt_masked(p);
}

/* ---- writing ------------------------------------------------------------- */

/* Every tensor but vocabulary and hash, in the order in which they are
 * written. */
static inline void checkpoint_declare(StWriter *w, const Gpt *m) {
    char name[64];
    size_t shape[2];
    for (int kind = 0; kind < CHECKPOINT_KINDS; kind++)
        for (size_t k = 0; k < m->count; k++) {
            const GptParam *p = &m->table[k];
            const int rank = checkpoint_shape(p, shape);
            checkpoint_name(name, checkpoint_kind[kind], p);
            st_declare(w, name, ST_F32, rank, shape);
        }
    for (MaskPart part = 0; part < MASK_PARTS; part++)
        for (size_t k = 0; k < m->count; k++) {
            const GptParam *p = &m->table[k];
            if (!mask_has_part(p, part)) continue;
            const int rank = mask_part_shape(p, part, shape);
            checkpoint_name(name, mask_part[part].name, p);
            st_declare(w, name, mask_part[part].type, rank, shape);
        }
}
/* flat: all weights, or all of one of the moments. */
static inline void checkpoint_put_values(StWriter *w, const GptParam *p,
                                         const float *flat) {
    if (gpt_masked(p)) {
        st_write(w, flat + p->at, p->size * sizeof *flat);
        return;
    }
    float *values = mem_new(gpt_elements(p), sizeof *values);
    gpt_get(p, flat, values);
    st_write(w, values, gpt_elements(p) * sizeof *values);
    free(values);
}
static inline void checkpoint_put_blocks(StWriter *w, const SpMat *a) {
    uint8_t *on = mem_new(sp_blocks(a), 1);     /* (row blocks, groups) */
    sp_map(a, on);
    st_write(w, on, sp_blocks(a));
    free(on);
}
static inline void checkpoint_put_mask(StWriter *w, const GptParam *p,
                                       MaskPart part) {
    const SpMat *a = &p->mat;
    if (part == MASK_BORN) st_write(w, p->born, a->lines * sizeof *p->born);
    if (part == MASK_KEEP) st_write(w, a->keep, a->lines * sizeof *a->keep);
    if (part == MASK_BLOCKS) checkpoint_put_blocks(w, a);
}

/* Writes the model and its vocabulary (may be NULL) under the metadata that w
 * holds already. False, with errno set and any older file untouched, if the
 * disk did not take it; dies if it cannot begin a file. */
static inline bool checkpoint_save(StWriter *w, const char *path, const Gpt *m,
                                   const Tokenizer *tok) {
    const float *flat[CHECKPOINT_KINDS] = {m->w, m->moment1, m->moment2};
    uint8_t *vocab = NULL;
    const size_t vocab_bytes = tok ? tok_save(tok, &vocab) : 0;
    checkpoint_declare(w, m);
    if (tok) st_declare(w, "vocabulary", ST_U8, 1, &vocab_bytes);
    st_declare(w, "header_hash", ST_U8, 1, (size_t[]){8});
    st_begin(w, path);
    for (int kind = 0; kind < CHECKPOINT_KINDS; kind++)
        for (size_t k = 0; k < m->count; k++)
            checkpoint_put_values(w, &m->table[k], flat[kind]);
    for (MaskPart part = 0; part < MASK_PARTS; part++)
        for (size_t k = 0; k < m->count; k++)
            if (mask_has_part(&m->table[k], part))
                checkpoint_put_mask(w, &m->table[k], part);
    st_write(w, vocab, vocab_bytes);
    for (int k = 0; k < 8; k++)
        st_write(w, &(uint8_t){(uint8_t)(w->hash >> 8 * k)}, 1);
    free(vocab);
    return st_commit(w);
}

/* ---- reading: metadata --------------------------------------------------- */

/* The metadata of that key: as text, a whole number, a number; dies if there is
 * none such. */
static inline const char *meta_need(const Safetensors *st, const char *path,
                                    const char *key) {
    const char *value = st_meta(st, key);
    if (!value)
        die("%s: metadata '%s': expected a value, found none", path, key);
    return value;
}
static inline size_t meta_size(const Safetensors *st, const char *path,
                               const char *key, size_t min, size_t max) {
    const char *value = meta_need(st, path, key);
    errno = 0;
    const unsigned long long n = strtoull(value, NULL, 10);
    const bool digits = *value && !value[strspn(value, "0123456789")];
    if (!digits || errno || n < min || n > max)
        die("%s: metadata '%s': expected %zu .. %zu, found '%s'", path, key,
            min, max, value);
    return (size_t)n;
}
static inline double meta_number(const Safetensors *st, const char *path,
                                 const char *key, double min, double max) {
    char *end;
    const char *value = meta_need(st, path, key);
    const double x = strtod(value, &end);
    if (!*value || *end || !(x >= min && x <= max))
        die("%s: metadata '%s': expected a number %g .. %g, found '%s'", path,
            key, min, max, value);
    return x;
}
static inline double meta_positive(const Safetensors *st, const char *path,
                                   const char *key) {
    return meta_number(st, path, key, 0, 1e300);
}
/* Dies unless it is that word. */
static inline void meta_want(const Safetensors *st, const char *path,
                             const char *key, const char *word) {
    const char *value = st_meta(st, key);
    if (!value || strcmp(value, word))
        die("%s: metadata '%s': expected '%s', found '%s'", path, key, word,
            value ? value : "none");
}

/* ---- reading: masks ------------------------------------------------------ */

/* Which elements of its lines the pattern of p keeps. */
static inline void checkpoint_get_keep(const Safetensors *st, const GptParam *p,
                                       SpMat *m) {
    char name[64];
    checkpoint_name(name, mask_part[MASK_KEEP].name, p);
    const StTensor *keep = st_need(st, name, ST_U16, 1, &m->lines);
    m->keep = mem_new(m->lines, sizeof *m->keep);
    for (size_t l = 0; l < m->lines; l++)
        m->keep[l] = (uint16_t)get_u16(keep->data + 2 * l);
}
/* The pattern of parameter p, whose matrix would be OC x IC; empty if the file
 * holds it dense. */
static inline SpMat checkpoint_mask(const Safetensors *st, const char *path,
                                    const GptParam *p, size_t OC, size_t IC) {
    char name[64];
    const StTensor *t =
        st_find(st, checkpoint_name(name, mask_part[MASK_BLOCKS].name, p));
    const size_t nb = (OC + LINE - 1) / LINE;
    if (!t) return (SpMat){0};
    const bool rows = t->type == ST_U8 && t->rank == 2 && t->shape[0] == nb;
    const size_t groups = t->shape[1];
    if (!rows || !groups || IC % groups || IC / groups > LINE)
        die("%s: %s: expected U8 (%zu, a divisor of %zu), found another shape",
            path, name, nb, IC);
    st_check_bits(t);
    SpMat m = sp_pattern(OC, IC, IC / groups, t->data);
    const bool elements =
        st_find(st, checkpoint_name(name, mask_part[MASK_KEEP].name, p));
    if (m.dense && !elements)
        die("%s: blocks.%s: expected a block that is not kept, found none",
            path, p->name);
    if (elements) checkpoint_get_keep(st, p, &m);
    return m;
}

/* The tensor mask.NAME of parameter p in its shape, U8 or BOOL, or NULL. Dies if it
 * is another, or not of 0 and 1. */
static inline const uint8_t *mask_find(const Safetensors *st,
                                       const GptParam *p) {
    char name[64];
    const StTensor *t = st_find(st, checkpoint_name(name, "mask.", p));
    if (!t) return NULL;
    const StType type = t->type == ST_BOOL ? ST_BOOL : ST_U8;   /* the same bytes */
    t = st_need(st, name, type, p->rank, (size_t[]){p->rows, p->cols});
    st_check_bits(t);
    return t->data;
}
/* The pattern of parameter p by mask.NAME, in its named shape, of any
 * safetensors file: the 16 x w blocks that hold a kept element, and if they
 * hold others too, which. False if there is no such tensor. */
static inline bool checkpoint_element_mask(const Safetensors *st,
                                           const GptParam *p, size_t w,
                                           SpMat *out) {
    const uint8_t *mask = mask_find(st, p);
    if (mask) *out = sp_elements_pattern(p->cols, p->rows, w, mask);
    return mask;
}

/* ---- reading: values ----------------------------------------------------- */

/* Dies unless the values of a sparse matrix, (lines, 16), are 0 where nothing
 * is kept. name: the tensor. */
static inline void checkpoint_check_kept(const char *path, const char *name,
                                         const SpMat *m, const float *values) {
    for (size_t r = 0; r < m->nb; r++)
        for (size_t l = m->first[r]; l < m->first[r + 1]; l++)
            for (size_t o = 0; o < LINE; o++) {
                const float x = values[l * LINE + o];
                if (x != 0 && !(sp_kept(m, r, l) >> o & 1))
                    die("%s: %s[%zu]: expected 0 where nothing is kept, found "
                        "%g",
                        path, name, l * LINE + o, (double)x);
            }
}
/* Reads one kind of values of p into a flat array; every one finite, `second`
 * moments not below 0. */
static inline void checkpoint_get_values(const Safetensors *st,
                                         const char *path, const GptParam *p,
                                         const char *kind, float *flat,
                                         bool second) {
    char name[64];
    size_t shape[2];
    const bool masked = gpt_masked(p);
    const int rank = checkpoint_shape(p, shape);
    const StTensor *t = st_need(st, checkpoint_name(name, kind, p), ST_F32,
                                rank, shape);
    float *values = masked ? flat + p->at : mem_new(t->count, sizeof *values);
    st_floats(t, values);
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(values[i]) || (second && values[i] < 0))
            die("%s: %s[%zu]: expected a finite number%s, found %g", path, name,
                i, second ? ", not below 0" : "", (double)values[i]);
    if (masked) {
        checkpoint_check_kept(path, name, &p->mat, values);
        return;
    }
    gpt_set(p, flat, values);
    free(values);
}
/* At which step each line came, none later than `step`; p has none if the file
 * has none. */
static inline void checkpoint_get_born(const Safetensors *st, const char *path,
                                       GptParam *p, size_t step) {
    char name[64];
    if (!st_find(st, checkpoint_name(name, mask_part[MASK_BORN].name, p)))
        return;
    const StTensor *t = st_need(st, name, ST_U32, 1, &p->mat.lines);
    p->born = mem_new(p->mat.lines, sizeof *p->born);
    for (size_t l = 0; l < p->mat.lines; l++) {
        p->born[l] = get_u32(t->data + 4 * l);
        if (p->born[l] > step)
            die("%s: %s[%zu]: expected at most %zu, found %u", path, name, l,
                step, p->born[l]);
    }
}

/* The patterns of all parameters, on the heap; an empty one is dense. Dies
 * unless the weights of all have the shapes that these give them. */
static inline SpMat *checkpoint_masks(const Safetensors *st, const char *path,
                                      const GptConfig *c) {
    GptParam *table = gpt_table(c);
    SpMat *mats = mem_new(gpt_count(c), sizeof *mats);
    for (size_t k = 0; k < gpt_count(c); k++) {
        GptParam *p = &table[k];
        size_t shape[2];
        if (gpt_maskable(p))
            mats[k] = checkpoint_mask(st, path, p, p->cols, p->rows);
        p->mat = mats[k];
        p->mat.dense |= !mats[k].first;
        const int rank = checkpoint_shape(p, shape);
        st_need(st, p->name, ST_F32, rank, shape);
    }
    free(table);
    return mats;
}
/* The model of a checkpoint of that configuration, at that step. The metadata
 * is the caller's to check. */
static inline Gpt *checkpoint_load(const Safetensors *st, const char *path,
                                   GptConfig c, size_t step, bool train) {
    const StTensor *hash = st_need(st, "header_hash", ST_U8, 1, (size_t[]){8});
    if (get_u64(hash->data) != st->hash)
        die("%s: header: expected what was written, found it changed", path);
    SpMat *mats = checkpoint_masks(st, path, &c);   /* before memory is taken */
    Gpt *m = gpt_make(c, mats, train, train);
    float *flat[CHECKPOINT_KINDS] = {m->w, m->moment1, m->moment2};
    const int kinds = train ? CHECKPOINT_KINDS : 1;
    free(mats);
    for (int kind = 0; kind < kinds; kind++)
        for (size_t k = 0; k < m->count; k++)
            checkpoint_get_values(st, path, &m->table[k], checkpoint_kind[kind],
                                  flat[kind], kind == 2);
    for (size_t k = 0; k < m->count && train; k++)
        checkpoint_get_born(st, path, &m->table[k], step);
    return m;
}

/* The vocabulary of a checkpoint of V ids, or NULL. */
static inline Tokenizer *checkpoint_vocabulary(const Safetensors *st,
                                               const char *path, size_t V) {
    const StTensor *vocab = st_find(st, "vocabulary");
    if (!vocab) return NULL;
    if (vocab->type != ST_U8) die("%s: vocabulary: expected type U8", path);
    Tokenizer *tok = tok_parse(vocab->data, vocab->count, path);
    if (tok->V != V)
        die("%s: vocabulary: expected %zu ids, found %zu", path, V, tok->V);
    return tok;
}
#endif
