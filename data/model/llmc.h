/* llmc.h: llm.c's models and debug states: the first are read and written, the second read.
 *
 * Everything lies where the header says by six numbers, so the length of the file must be exactly that.
 *
 *     model              i32[256]: magic 20240326, version 3 (f32) or 5 (bf16), ctx, V, L, NH, C, Vp, zeros
 *                        wte (Vp,C) with rows V .. Vp-1 zero, wpe (ctx,C), 12 tensors x L layers, ln_f w, b
 *     debug state        i32[256]: magic 20240327, version 2, B, T, zeros
 *                        inputs, targets i32 (B,T); logits (B,T,V); loss (1); gradients as in the model
 *
 * All layers of a tensor come before the next tensor, and a linear weight is (out, in). Written is version 3.
 *
 * Example: ctx 10, V 45, L 2, NH 3, C 12, Vp 128: 5,448 numbers, a file of 1024 + 4 x 5448 = 22,816 bytes. */
#ifndef LLMC_H
#define LLMC_H
#include "foreign.h"

enum { LLMC_MODEL = 20240326, LLMC_DEBUG = 20240327, LLMC_HEADER = 1024, LLMC_PAD = 128 };

/* Numbers in a model whose table of tokens has Vp rows. */
static inline size_t llmc_count(const GptConfig *c, size_t Vp) {
    const uint64_t n = (uint64_t)Vp * c->C + (uint64_t)c->ctx * c->C + 2 * (uint64_t)c->C
                       + (uint64_t)c->L * c->C * (12 * (uint64_t)c->C + 13);
    if (n > SIZE_MAX / 8) die("a model of %zu layers x %zu is too large for this machine", c->L, c->C);
    return (size_t)n;
}

/* The table's place of the n-th tensor of the file: there the layers are innermost. */
static inline size_t llmc_order(const GptConfig *c, size_t n) {
    const size_t inner = n - LAYER0, body = c->L * PER_LAYER;
    return n < LAYER0 || inner >= body ? n : gpt_layer(inner % c->L, (int)(inner / c->L));
}

/* Points at[k] at every parameter of the table in llm.c's order, from p on. */
static inline void llmc_place(StTensor *at, const GptParam *table, const GptConfig *c, size_t Vp,
                              const uint8_t *p, StType type, const char *file) {
    const size_t bytes = st_bits(type) / 8;
    for (size_t n = 0; n < gpt_count(c); n++) {
        const size_t k = llmc_order(c, n);
        const GptParam *t = &table[k];
        at[k] = (StTensor){.name = t->name, .file = file, .type = type, .rank = t->rank,
                           .shape = {t->in_out ? t->cols : t->rows, t->in_out ? t->rows : t->cols},
                           .count = gpt_elements(t), .bytes = gpt_elements(t) * bytes, .data = p};
        p += (k == WTE ? Vp * c->C : at[k].count) * bytes;  /* the padding rows are passed over */
    }
}

static inline void llmc_read(ModelFile *f) {
    const Bytes b = f->file;
    if (b.n < LLMC_HEADER) die("%s: expected a header of 1024 bytes, found %zu", b.name, b.n);
    const uint32_t version = get_u32(b.p + 4), Vp = get_u32(b.p + 28);
    if (version != 3 && version != 5)
        die("%s: version: expected 3 (float32) or 5 (bfloat16), found %u", b.name, version);
    f->c = (GptConfig){.L = get_u32(b.p + 16), .NH = get_u32(b.p + 20), .C = get_u32(b.p + 24),
                       .V = get_u32(b.p + 12), .ctx = get_u32(b.p + 8)};
    model_check(&f->c, b.name);
    if (Vp < f->c.V || Vp > 1u << 26)
        die("%s: padded vocabulary: expected %zu .. %u, found %u", b.name, f->c.V, 1u << 26, Vp);
    const StType type = version == 3 ? ST_F32 : ST_BF16;
    const size_t want = LLMC_HEADER + llmc_count(&f->c, Vp) * (st_bits(type) / 8);
    if (b.n != want) die("%s: expected a file of %zu bytes, found %zu", b.name, want, b.n);
    header_rest(b.p, 8, b.name);
    f->table = gpt_table(&f->c), f->out_in = true;
    f->at = mem_new(gpt_count(&f->c), sizeof *f->at), f->mask = mem_new(gpt_count(&f->c), sizeof *f->mask);
    llmc_place(f->at, f->table, &f->c, Vp, b.p + LLMC_HEADER, type, b.name);
}

typedef struct {
    Bytes file;
    size_t B, T;
    const uint8_t *inputs, *targets;                        /* i32 (B,T) */
    StTensor logits, loss, *grad;                           /* F32; grad[k] with linear weights (out, in) */
} LlmcDebug;

/* A debug state for a model of that table. Takes over b, whose magic was seen. */
static inline LlmcDebug llmc_debug(Bytes b, const GptConfig *c, const GptParam *table) {
    if (b.n < LLMC_HEADER) die("%s: expected a header of 1024 bytes, found %zu", b.name, b.n);
    if (get_u32(b.p + 4) != 2) die("%s: version: expected 2, found %u", b.name, get_u32(b.p + 4));
    LlmcDebug d = {.file = b, .B = get_u32(b.p + 8), .T = get_u32(b.p + 12)};
    if (d.B < 1 || d.B > 1u << 20 || d.T < 1 || d.T > c->ctx)
        die("%s: expected 1 .. 2^20 sequences of 1 .. %zu tokens, found %zu of %zu", b.name, c->ctx, d.B,
            d.T);
    const size_t N = d.B * d.T, row = 4 * c->C;
    if (N > SIZE_MAX / 8 / (c->V + 2)) die("%s: %zu x %zu tokens are too many", b.name, d.B, d.T);
    const size_t head = LLMC_HEADER + 8 * N + 4 * N * c->V + 4, least = head + 4 * llmc_count(c, c->V);
    if (b.n < least || (b.n - least) % row)                 /* what is left over is padding of wte */
        die("%s: expected %zu bytes and rows of padding of %zu, found %zu", b.name, least, row, b.n);
    header_rest(b.p, 4, b.name);
    d.inputs = b.p + LLMC_HEADER, d.targets = d.inputs + 4 * N;
    d.logits = (StTensor){"logits", b.name, ST_F32, 3, {d.B, d.T, c->V}, N * c->V, 0, 4 * N * c->V,
                          d.targets + 4 * N};
    d.loss = (StTensor){"loss", b.name, ST_F32, 1, {1}, 1, 0, 4, b.p + head - 4};
    d.grad = mem_new(gpt_count(c), sizeof *d.grad);
    llmc_place(d.grad, table, c, c->V + (b.n - least) / row, b.p + head, ST_F32, b.name);
    return d;
}

/* An llm.c model, version 3. Dies if it cannot be written. */
static inline void llmc_write(const char *path, const Gpt *m) {
    const GptConfig *c = &m->c;
    const size_t Vp = size_up(c->V, LLMC_PAD);
    const uint32_t head[8] = {LLMC_MODEL, 3, (uint32_t)c->ctx, (uint32_t)c->V, (uint32_t)c->L,
                              (uint32_t)c->NH, (uint32_t)c->C, (uint32_t)Vp};
    uint8_t header[LLMC_HEADER] = {0};
    for (size_t k = 0; k < 8; k++) put_u32(header + 4 * k, head[k]);
    Out out = out_open(path);
    out_bytes(&out, header, sizeof header);
    for (size_t n = 0; n < m->count; n++) {
        const size_t k = llmc_order(c, n);
        const GptParam *p = &m->table[k];
        const size_t count = gpt_elements(p), rows = p->in_out ? p->cols : count, cols = count / rows;
        float *w = weights_of(m, k), *turned = mem_new(count, sizeof *turned);
        for (size_t i = 0; i < count; i++) turned[i] = w[i % cols * rows + i / cols];
        out_bytes(&out, turned, count * sizeof *turned);
        if (k == WTE) {
            memset(w, 0, c->C * sizeof *w);
            for (size_t v = c->V; v < Vp; v++) out_bytes(&out, w, c->C * sizeof *w);
        }
        free(w), free(turned);
    }
    out_done(&out);
}

#endif
