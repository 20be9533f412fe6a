/* llmc.h: llm.c's models and debug states: the first are read and written, the
 * second read.
 *
 * It refuses a file whose length is not exactly what six numbers of its header
 * say, for by them alone everything has its place.
 *
 *     model         header    i32 (256): magic 20240326, version 3 (float32) or
 *                             5 (bfloat16), ctx, V, L, NH, C, Vp, zeros
 *                   wte       (Vp,C), rows V .. Vp - 1 zero
 *                   wpe       (ctx,C)
 *                   12 tensors, each of all L layers before the next one
 *                   ln_f      weight (C), bias (C)
 *     debug state   header    i32 (256): magic 20240327, version 2, B, T, zeros
 *                   inputs    i32 (B,T); targets i32 (B,T)
 *                   logits    (B,T,V)
 *                   loss      (1)
 *                   gradients as in the model
 *
 * A linear weight is (out, in). Written is version 3.
 *
 * Example: ctx 10, V 45, L 2, NH 3, C 12, Vp 128: 5,448 numbers, a file of
 * 1024 + 4 x 5448 = 22,816 bytes. */
#ifndef LLMC_H
#define LLMC_H
#include "foreign.h"

enum { LLMC_MODEL = 20240326, LLMC_DEBUG = 20240327 };
enum { LLMC_HEADER = 1024 };        /* bytes */
enum { LLMC_PAD = 128 };            /* written, Vp is a multiple of it */

/* Numbers in a model whose table of tokens has Vp rows. */
static inline size_t llmc_count(const GptConfig *c, size_t Vp) {
    const uint64_t C = c->C;
    const uint64_t layer = C * (12 * C + 13);
    const uint64_t n = Vp * C + c->ctx * C + 2 * C + c->L * layer;
    if (n > SIZE_MAX / 8)
        die("a model of %zu layers x %zu is too large for this machine", c->L,
            c->C);
    return (size_t)n;
}

/* The table's place of the n-th tensor of the file: there the layers are
 * innermost. */
static inline size_t llmc_order(const GptConfig *c, size_t n) {
    const size_t inner = n - LAYER0;
    if (n < LAYER0 || inner >= c->L * PER_LAYER) return n;
    return gpt_layer(inner % c->L, (int)(inner / c->L));
}

/* Where parameter t lies from p on, a linear weight as (out, in). */
static inline StTensor llmc_tensor(const GptParam *t, const uint8_t *p,
                                   StType type, const char *file) {
    const size_t count = gpt_elements(t);
    StTensor at = {.name = t->name,
                   .file = file,
                   .type = type,
                   .rank = t->rank};
    at.shape[0] = t->in_out ? t->cols : t->rows;
    at.shape[1] = t->in_out ? t->rows : t->cols;
    at.count = count;
    at.bytes = count * st_bits(type) / 8;
    at.data = p;
    return at;
}
/* Points at[k] at every parameter of the table in llm.c's order, from p on. */
static inline void llmc_place(StTensor *at, const GptParam *table,
                              const GptConfig *c, size_t Vp, const uint8_t *p,
                              StType type, const char *file) {
    for (size_t n = 0; n < gpt_count(c); n++) {
        const size_t k = llmc_order(c, n);
        at[k] = llmc_tensor(&table[k], p, type, file);
        p += at[k].bytes;
        if (k != WTE) continue;
        p += (Vp - c->V) * c->C * st_bits(type) / 8;        /* the padding */
    }
}

/* A model in f->file, whose magic was seen. */
static inline void llmc_read(ModelFile *f) {
    const Bytes b = f->file;
    if (b.n < LLMC_HEADER)
        die("%s: expected a header of 1024 bytes, found %zu", b.name, b.n);
    const uint32_t version = get_u32(b.p + 4);
    const uint32_t Vp = get_u32(b.p + 28);
    if (version != 3 && version != 5)
        die("%s: version: expected 3 (float32) or 5 (bfloat16), found %u",
            b.name, version);
    f->c.ctx = get_u32(b.p + 8);
    f->c.V = get_u32(b.p + 12);
    f->c.L = get_u32(b.p + 16);
    f->c.NH = get_u32(b.p + 20);
    f->c.C = get_u32(b.p + 24);
    model_check(&f->c, b.name);
    if (Vp < f->c.V || Vp > 1u << 26)
        die("%s: padded vocabulary: expected %zu .. %u, found %u", b.name,
            f->c.V, 1u << 26, Vp);
    const StType type = version == 3 ? ST_F32 : ST_BF16;
    const size_t want = LLMC_HEADER +
                        llmc_count(&f->c, Vp) * (st_bits(type) / 8);
    if (b.n != want)
        die("%s: expected a file of %zu bytes, found %zu", b.name, want, b.n);
    header_rest(b.p, 8, b.name);
    model_table(f, true);
    llmc_place(f->at, f->table, &f->c, Vp, b.p + LLMC_HEADER, type, b.name);
}

typedef struct {
    Bytes file;
    size_t B, T;
    const uint8_t *inputs;          /* i32 (B,T) */
    const uint8_t *targets;         /* i32 (B,T) */
    StTensor logits, loss;          /* F32 */
    StTensor *grad;                 /* (parameters) F32, weights (out, in) */
} LlmcDebug;

/* A debug state for a model of that table. Takes over b, whose magic was
 * seen. */
static inline LlmcDebug llmc_debug(Bytes b, const GptConfig *c,
                                   const GptParam *table) {
    if (b.n < LLMC_HEADER)
        die("%s: expected a header of 1024 bytes, found %zu", b.name, b.n);
    if (get_u32(b.p + 4) != 2)
        die("%s: version: expected 2, found %u", b.name, get_u32(b.p + 4));
    LlmcDebug d = {.file = b, .B = get_u32(b.p + 8), .T = get_u32(b.p + 12)};
    if (d.B < 1 || d.B > 1u << 20 || d.T < 1 || d.T > c->ctx)
        die("%s: expected 1 .. 2^20 sequences of 1 .. %zu tokens, found %zu of "
            "%zu",
            b.name, c->ctx, d.B, d.T);
    const size_t N = d.B * d.T;
    if (N > SIZE_MAX / 8 / (c->V + 2))
        die("%s: %zu x %zu tokens are too many", b.name, d.B, d.T);
    const size_t loss = LLMC_HEADER + 8 * N + 4 * N * c->V;
    const size_t least = loss + 4 + 4 * llmc_count(c, c->V);
    const size_t row = 4 * c->C;
    if (b.n < least || (b.n - least) % row)     /* the rest is padding of wte */
        die("%s: expected %zu bytes and rows of padding of %zu, found %zu",
            b.name, least, row, b.n);
    header_rest(b.p, 4, b.name);
    d.inputs = b.p + LLMC_HEADER;
    d.targets = d.inputs + 4 * N;
    d.logits =
        (StTensor){.name = "logits", .file = b.name, .type = ST_F32, .rank = 3};
    d.logits.shape[0] = d.B;
    d.logits.shape[1] = d.T;
    d.logits.shape[2] = c->V;
    d.logits.count = N * c->V;
    d.logits.bytes = 4 * N * c->V;
    d.logits.data = d.targets + 4 * N;
    d.loss =
        (StTensor){.name = "loss", .file = b.name, .type = ST_F32, .rank = 1};
    d.loss.shape[0] = 1;
    d.loss.count = 1;
    d.loss.bytes = 4;
    d.loss.data = b.p + loss;
    d.grad = mem_new(gpt_count(c), sizeof *d.grad);
    llmc_place(d.grad, table, c, c->V + (b.n - least) / row, b.p + loss + 4,
               ST_F32, b.name);
    return d;
}

/* An llm.c model, version 3. Dies if it cannot be written. */
static inline void llmc_write(const char *path, const Gpt *m) {
    const GptConfig *c = &m->c;
    const size_t Vp = size_up(c->V, LLMC_PAD);
    const size_t head[8] = {LLMC_MODEL, 3, c->ctx, c->V, c->L, c->NH, c->C, Vp};
    uint8_t header[LLMC_HEADER] = {0};
    for (size_t k = 0; k < 8; k++) put_u32(header + 4 * k, (uint32_t)head[k]);
    Out out = out_open(path);
    out_bytes(&out, header, sizeof header);
    for (size_t n = 0; n < m->count; n++) {
        const size_t k = llmc_order(c, n);
        const size_t count = gpt_elements(&m->table[k]);
        float *w = weights_turned(m, k);
        out_bytes(&out, w, count * sizeof *w);
        free(w);
        if (k != WTE) continue;
        float *zeros = mem_new((Vp - c->V) * c->C, sizeof *zeros);
        out_bytes(&out, zeros, (Vp - c->V) * c->C * sizeof *zeros);
        free(zeros);
    }
    out_done(&out);
}
#endif
