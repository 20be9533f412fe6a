/* foreign.h: a model of another program: how large it is, and where each of its
 * numbers lies.
 *
 * It knows the parameter table (name, shape) of gpt.h and nothing of how the
 * machine keeps a weight. It refuses to convert arithmetic: a model with
 * another activation, epsilon, head or width of the MLP than GPT-2's is an
 * error, since its numbers would be read without a word and be wrong. Each
 * format has a file of its own, reader and writer side by side: hf.h, llmc.h,
 * gguf.h; formats.h tells them apart.
 *
 * A ModelFile holds no numbers, only where they lie: each parameter is an
 * StTensor into the mapped file. Sizes are checked against the length of the
 * file before memory is taken for a tensor, so a header that lies costs one
 * line and not a gigabyte. In the table a linear weight is (in, out), as at
 * Hugging Face's; llm.c and GGUF store (out, in).
 *
 *     table[k]   name, shape              of the parameter, by gpt.h
 *     at[k]      type, shape, data -->    ... into the mapped file
 *     mask[k]    NULL, or which of its elements are kept
 *
 * Example: of {L 2, C 32} parameter gpt_layer(1, FCW) is (32, 128), 4,096
 * numbers wherever they come from. */
#ifndef FOREIGN_H
#define FOREIGN_H
#include "checkpoint.h"

typedef enum {
    MODEL_NATIVE,
    MODEL_HF,
    MODEL_LLMC,
    MODEL_GGUF,
    MODEL_KINDS
} ModelKind;
static const char *const model_kinds[MODEL_KINDS] = {"native", "hf", "llmc",
                                                     "gguf"};

typedef struct {
    ModelKind kind;
    char *path;                 /* of the file with the weights */
    Bytes file;                 /* llm.c's */
    Safetensors st;             /* the others': named tensors */
    Safetensors *part;          /* (parts) Hugging Face's files, whose tensors
                                 * st has under plain names */
    size_t parts, part_cap;
    struct Gguf *gguf;          /* a GGUF file's values */
    GptConfig c;                /* not read of a native checkpoint, whose
                                 * reader is elsewhere */
    GptParam *table;            /* (parameters), and so the next three */
    StTensor *at;               /* where each lies */
    const uint8_t **mask;       /* (rows, cols) of each, 1 = kept, or NULL */
    uint8_t **own;              /* masks that lie on the heap, not in a file */
    bool out_in;                /* linear weights lie (out, in) */
} ModelFile;

/* ---- for the readers ----------------------------------------------------- */

/* Dies unless every number of a configuration is one that this program
 * takes. */
static inline void model_check(const GptConfig *c, const char *file) {
    const struct {
        const char *name;
        size_t n, min, max;
    } size[5] = {
        {"layers", c->L, 1, 1000},
        {"heads", c->NH, 1, 10000},
        {"channels", c->C, 1, 100000},
        {"vocabulary", c->V, 2, 1u << 26},
        {"positions", c->ctx, 1, 1000000},
    };
    for (int k = 0; k < 5; k++)
        if (size[k].n < size[k].min || size[k].n > size[k].max)
            die("%s: %s: expected %zu .. %zu, found %zu", file, size[k].name,
                size[k].min, size[k].max, size[k].n);
    if (c->C % c->NH)
        die("%s: heads: expected a divisor of %zu channels, found %zu", file,
            c->C, c->NH);
    if (c->C * c->L > 1u << 26)
        die("%s: %zu layers x %zu is beyond this program", file, c->L, c->C);
}
/* The table of f->c, and nothing in the places of its parameters. */
static inline void model_table(ModelFile *f, bool out_in) {
    const size_t count = gpt_count(&f->c);
    f->table = gpt_table(&f->c);
    f->at = mem_new(count, sizeof *f->at);
    f->mask = mem_new(count, sizeof *f->mask);
    f->out_in = out_in;
}
/* Dies if there is a head, and it holds other numbers than the embedding. */
static inline void model_tied(const ModelFile *f, const StTensor *head) {
    const StTensor *wte = &f->at[WTE];
    if (!head) return;
    if (head->type != wte->type || head->bytes != wte->bytes ||
        memcmp(head->data, wte->data, wte->bytes))
        die("%s: %s: expected what %s holds (one tensor, used twice), found "
            "another",
            f->path, head->name, wte->name);
}

/* ---- the numbers --------------------------------------------------------- */

/* Row-major values (rows, cols) from (cols, rows). */
static inline void values_turn(const float *from, size_t rows, size_t cols,
                               float *to) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) to[r * cols + c] = from[c * rows + r];
}
/* Parameter k as t holds it, (rows, cols) or with out_in and a linear weight
 * (cols, rows): row-major values in the table's shape. */
static inline void model_unpack(const StTensor *t, const GptParam *p,
                                bool out_in, float *values) {
    if (!out_in || !p->in_out) {
        st_floats(t, values);
        return;
    }
    float *there = mem_new(t->count, sizeof *there);        /* (cols, rows) */
    st_floats(t, there);
    values_turn(there, p->rows, p->cols, values);
    free(there);
}

/* The values of parameter k, row-major. Dies if one is not finite, or not zero
 * where the mask is. */
static inline void model_values(const ModelFile *f, size_t k, float *values) {
    const GptParam *p = &f->table[k];
    model_unpack(&f->at[k], p, f->out_in, values);
    for (size_t i = 0; i < gpt_elements(p); i++) {
        const bool kept = !f->mask[k] || f->mask[k][i];
        if (!isfinite(values[i]) || (!kept && values[i] != 0))
            die("%s: %s[%zu]: expected %s, found %g", f->path, p->name, i,
                kept ? "a finite number" : "0, where the mask is 0",
                (double)values[i]);
    }
}

/* ---- for the writers ----------------------------------------------------- */

/* Which elements of a weight (rows, cols) the machine keeps, 1 or 0. */
static inline void mask_of(const GptParam *p, uint8_t *mask) {
    memset(mask, 0, gpt_elements(p));
    for (GptPlace n = {0}; gpt_place(p, &n);) mask[n.named] = 1;
}
/* The weights of parameter k, row-major in the table's shape, on the heap. */
static inline float *weights_of(const Gpt *m, size_t k) {
    float *values = mem_new(gpt_elements(&m->table[k]), sizeof *values);
    gpt_get(&m->table[k], m->w, values);
    return values;
}
/* The same, but of a linear weight (out, in). */
static inline float *weights_turned(const Gpt *m, size_t k) {
    const GptParam *p = &m->table[k];
    float *values = weights_of(m, k);
    if (!p->in_out) return values;
    float *turned = mem_new(gpt_elements(p), sizeof *turned);
    values_turn(values, p->cols, p->rows, turned);
    free(values);
    return turned;
}
static inline void write_checked(bool good, const char *path) {
    if (!good) die_of(path, "write");
}
#endif
