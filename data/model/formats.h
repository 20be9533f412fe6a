/* formats.h: the models of others: Hugging Face's GPT-2 and llm.c's files, read without trust and written so
 * that they come back bit for bit.
 *
 * It knows the parameter table (name, shape) of gpt.h and nothing of how the machine keeps a weight. It
 * refuses to convert arithmetic: a model with another activation, epsilon, head or width of the MLP than
 * GPT-2's is an error, since its numbers would be read without a word and be wrong.
 *
 *     ModelFile f = model_open("gpt2");       // a directory, a .safetensors, a .bin: told from content
 *     float *w = mem_new(gpt_elements(&f.table[WTE]), 4);
 *     model_values(&f, WTE, w);               // row-major, in the table's shape, whatever the file holds
 *     model_close(&f);
 *
 * Everything about sizes is checked against the length of the file before memory is taken for a tensor, so a
 * header that lies costs one line and not a gigabyte. A ModelFile holds no numbers, only where they lie: each
 * parameter is an StTensor into the mapped file. In the table a linear weight is (in, out), as at Hugging
 * Face's; llm.c stores (out, in), and all layers of a tensor before the next tensor.
 *
 *     llm.c model        i32[256]: magic 20240326, version 3 (f32) or 5 (bf16), ctx, V, L, NH, C, Vp, zeros
 *                        wte (Vp,C) with rows V .. Vp-1 zero, wpe (ctx,C), 12 tensors x L layers, ln_f w, b
 *     llm.c debug state  i32[256]: magic 20240327, version 2, B, T, zeros
 *                        inputs, targets i32 (B,T); logits (B,T,V); loss (1); gradients as in the model
 *     Hugging Face       config.json beside model.safetensors; names with or without "transformer." */
#ifndef FORMATS_H
#define FORMATS_H
#include "checkpoint.h"

typedef enum { MODEL_NATIVE, MODEL_HF, MODEL_LLMC } ModelKind;
static const char *const model_kinds[3] = {"native", "hf", "llmc"};

enum { LLMC_MODEL = 20240326, LLMC_DEBUG = 20240327, LLMC_HEADER = 1024, LLMC_PAD = 128 };

typedef struct {
    ModelKind kind;
    char *path;                 /* of the file with the weights */
    Bytes file;                 /* llm.c's */
    Safetensors st;             /* the others' */
    GptConfig c;                /* not read of a native checkpoint, whose reader is elsewhere */
    GptParam *table;
    StTensor *at;               /* where each parameter lies */
    const uint8_t **mask;       /* (rows, cols), 1 = kept; NULL: all are */
    bool out_in;                /* linear weights lie (out, in) */
} ModelFile;

/* Dies unless every number of a configuration is one that this program takes. */
static inline void model_check(const GptConfig *c, const char *file) {
    const struct { const char *name; size_t n, min, max; } size[5] = {
        {"layers", c->L, 1, 1000}, {"heads", c->NH, 1, 10000}, {"channels", c->C, 1, 100000},
        {"vocabulary", c->V, 2, 1u << 26}, {"positions", c->ctx, 1, 1000000}};
    for (int k = 0; k < 5; k++)
        if (size[k].n < size[k].min || size[k].n > size[k].max)
            die("%s: %s: expected %zu .. %zu, found %zu", file, size[k].name, size[k].min, size[k].max,
                size[k].n);
    if (c->C % c->NH) die("%s: heads: expected a divisor of %zu channels, found %zu", file, c->C, c->NH);
    if (c->C * c->L > 1u << 26) die("%s: %zu layers x %zu is beyond this program", file, c->L, c->C);
}

/* Parameter k as t holds it, (rows, cols) or with out_in and a linear weight (cols, rows): row-major values
 * in the table's shape. */
static inline void model_unpack(const StTensor *t, const GptParam *p, bool out_in, float *values) {
    if (!out_in || !p->in_out) { st_floats(t, values); return; }
    float *there = mem_new(t->count, sizeof *there);
    st_floats(t, there);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++) values[r * p->cols + c] = there[c * p->rows + r];
    free(there);
}

/* The values of parameter k, row-major. Dies if one is not finite, or not zero where the mask is. */
static inline void model_values(const ModelFile *f, size_t k, float *values) {
    const GptParam *p = &f->table[k];
    model_unpack(&f->at[k], p, f->out_in, values);
    for (size_t i = 0; i < gpt_elements(p); i++) {
        const bool kept = !f->mask[k] || f->mask[k][i];
        if (!isfinite(values[i]) || (!kept && values[i] != 0))
            die("%s: %s[%zu]: expected %s, found %g", f->path, p->name, i,
                kept ? "a finite number" : "0, where the mask is 0", (double)values[i]);
    }
}

/* ---- llm.c -------------------------------------------------------------------------------------------- */

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

/* ---- Hugging Face ------------------------------------------------------------------------------------- */

/* A whole number of config.json. */
static inline size_t hf_size(Json config, const char *key) {
    Json v = json_need(config, key);
    const uint64_t n = json_uint(&v);
    if (n > UINT32_MAX)
        die("%s: \"%s\": expected a smaller number, found %llu", v.name, key, (unsigned long long)n);
    return (size_t)n;
}
/* The members of a config.json of GPT-2. */
static const JsonField hf_config_fields[] = {
    {"n_layer", JSON_READ, ""}, {"n_head", JSON_READ, ""}, {"n_embd", JSON_READ, ""},
    {"vocab_size", JSON_READ, ""}, {"n_positions", JSON_READ, ""}, {"n_inner", JSON_READ, ""},
    {"layer_norm_epsilon", JSON_READ, ""}, {"tie_word_embeddings", JSON_READ, ""},
    {"model_type", JSON_NEUTRAL, "\"gpt2\"|null"},
    {"activation_function", JSON_NEUTRAL, "\"gelu_new\"|\"gelu_pytorch_tanh\"|null"},
    {"scale_attn_weights", JSON_NEUTRAL, "true|null"},
    {"scale_attn_by_inverse_layer_idx", JSON_NEUTRAL, "false|null"},
    {"add_cross_attention", JSON_NEUTRAL, "false|null"}, {"is_encoder_decoder", JSON_NEUTRAL, "false|null"},
    {"pruned_heads", JSON_NEUTRAL, "{}|null"}, {"quantization_config", JSON_NEUTRAL, "null"},
    {"architectures", JSON_IGNORED, ""}, {"_name_or_path", JSON_IGNORED, ""},
    {"transformers_version", JSON_IGNORED, ""}, {"torch_dtype", JSON_IGNORED, ""}, {"dtype", JSON_IGNORED, ""},
    {"n_ctx", JSON_IGNORED, ""}, {"is_decoder", JSON_IGNORED, ""}, {"use_cache", JSON_IGNORED, ""},
    {"attn_pdrop", JSON_IGNORED, ""}, {"embd_pdrop", JSON_IGNORED, ""}, {"resid_pdrop", JSON_IGNORED, ""},
    {"initializer_range", JSON_IGNORED, ""}, {"reorder_and_upcast_attn", JSON_IGNORED, ""},
    {"gradient_checkpointing", JSON_IGNORED, ""}, {"bos_token_id", JSON_IGNORED, ""},
    {"eos_token_id", JSON_IGNORED, ""}, {"pad_token_id", JSON_IGNORED, ""},
    {"task_specific_params", JSON_IGNORED, ""}, {"summary_activation", JSON_IGNORED, ""},
    {"summary_first_dropout", JSON_IGNORED, ""}, {"summary_proj_to_labels", JSON_IGNORED, ""},
    {"summary_type", JSON_IGNORED, ""}, {"summary_use_proj", JSON_IGNORED, ""}};

/* Dies if a key that may be absent or null is another number. */
static inline void hf_want_number(Json config, const char *key, double want) {
    Json v = json_at(config, key);
    if (v.p && json_peek(&v) != 'n' && !(fabs(json_real(v) - want) <= 1e-9 * want))
        die("%s: \"%s\": expected %g, found %g", v.name, key, want, json_real(v));
}

/* The configuration in a config.json of n bytes. Dies on whatever is not GPT-2; says what it does not know. */
static inline GptConfig hf_config(const uint8_t *p, size_t n, const char *name) {
    const Json j = json_open(p, n, name);
    const GptConfig c = {.L = hf_size(j, "n_layer"), .NH = hf_size(j, "n_head"), .C = hf_size(j, "n_embd"),
                         .V = hf_size(j, "vocab_size"), .ctx = hf_size(j, "n_positions")};
    model_check(&c, name);
    char unknown[JSON_KEY];
    const size_t strange = json_fields(j, hf_config_fields, sizeof hf_config_fields / sizeof *hf_config_fields,
                                       unknown);
    if (strange) note("%s: passed over: %zu members that are not known, \"%s\" first", name, strange, unknown);
    hf_want_number(j, "layer_norm_epsilon", 1e-5);
    hf_want_number(j, "n_inner", 4 * (double)c.C);
    return c;
}

/* Whether a tensor is one of the two buffers of a layer that hold its causal mask. */
static inline bool hf_buffer(const char *name) {
    const char *end = name + strlen(name);
    return (end - name > 10 && !strcmp(end - 10, ".attn.bias")) ||
           (end - name > 17 && !strcmp(end - 17, ".attn.masked_bias"));
}

/* Points f->at at the tensors of f->st for configuration f->c. Dies if one is missing, of another shape, or
 * unknown, or if a head is there that is not the embedding. */
static inline void hf_place(ModelFile *f) {
    const size_t count = gpt_count(&f->c);
    const char *prefix = st_find(&f->st, "transformer.wte.weight") ? "transformer." : "";
    const StTensor *head = st_find(&f->st, "lm_head.weight");
    size_t known = head != NULL;
    char name[64];
    f->table = gpt_table(&f->c);
    f->at = mem_new(count, sizeof *f->at), f->mask = mem_new(count, sizeof *f->mask);
    for (size_t k = 0; k < count; k++) {
        const GptParam *p = &f->table[k];
        const StTensor *t = st_find(&f->st, checkpoint_name(name, prefix, p));
        const StType type = t && t->type <= ST_BF16 ? t->type : ST_F32;
        f->at[k] = *st_need(&f->st, name, type, p->rank, (size_t[]){p->rows, p->cols});
        f->mask[k] = p->in_out ? mask_find(&f->st, p) : NULL;
        known += f->mask[k] ? 2 : 1;
    }
    for (size_t i = 0; i < f->st.n; i++)
        known += hf_buffer(f->st.tensors[i].name) || !f->st.tensors[i].count;
    if (known != f->st.n)
        die("%s: expected the %zu tensors of GPT-2, their masks and buffers, found %zu others", f->path,
            count, f->st.n - known);
    const StTensor *wte = &f->at[WTE];
    if (head && (head->type != wte->type || head->bytes != wte->bytes ||
                 memcmp(head->data, wte->data, wte->bytes)))
        die("%s: lm_head.weight: expected what wte.weight holds (one tensor, used twice), found another",
            f->path);
}

static inline void hf_read(ModelFile *f) {
    char *path = path_beside(f->path, "config.json");
    if (access(path, R_OK)) die("%s: expected a config.json beside it, found none", f->path);
    Bytes b = file_read(path);
    f->kind = MODEL_HF, f->c = hf_config(b.p, b.n, path);
    const Json tied = json_at(json_open(b.p, b.n, path), "tie_word_embeddings");
    if (tied.p && !st_find(&f->st, "lm_head.weight")) json_want(tied, "tie_word_embeddings", "true|null");
    hf_place(f);
    file_free(&b), free(path);
}

/* ---- any model ---------------------------------------------------------------------------------------- */

/* Opens a model whose kind is told from its content; a directory is one of Hugging Face's. Whatever is
 * safetensors and neither of the others is left to the reader of native checkpoints. */
static inline ModelFile model_open(const char *path) {
    struct stat st;
    ModelFile f = {0};
    const size_t n = strlen(path);
    const bool folder = !stat(path, &st) && S_ISDIR(st.st_mode);
    f.path = mem_new(n + 32, 1);
    snprintf(f.path, n + 32, folder ? "%s/model.safetensors" : "%s", path);
    if (folder && access(f.path, R_OK))
        die("%s: expected a file, or a directory with model.safetensors; found a directory without (a model in "
            "several files is not read)", path);
    Bytes b = file_read(f.path);
    const uint32_t magic = b.n < 4 ? 0 : get_u32(b.p);
    if (magic == LLMC_DEBUG) die("%s: expected a model, found a debug state, which verify reads", path);
    if (magic == LLMC_MODEL) {
        f.kind = MODEL_LLMC, f.file = b;
        llmc_read(&f);
        return f;
    }
    f.st = st_parse(b);
    const char *format = st_meta(&f.st, "format");
    const bool ours = format && (!strcmp(format, "sparseflow-checkpoint") || !strncmp(format, "gpt-ref", 7));
    if (!ours && (st_find(&f.st, "wte.weight") || st_find(&f.st, "transformer.wte.weight"))) hf_read(&f);
    return f;
}
static inline void model_close(ModelFile *f) {
    if (f->kind == MODEL_LLMC) file_free(&f->file);
    else st_free(&f->st);
    free(f->path), free(f->table), free(f->at), free(f->mask);
    *f = (ModelFile){0};
}

/* The vocabulary that lies beside a model of others, or NULL if there is none that can be used; then *lost says
 * whether there was one. Rows of the model that it has no token for are ids that text never makes. */
static inline Tokenizer *model_vocabulary(const ModelFile *f, bool *lost) {
    static const char *const names[] = {"tokenizer.json", "merges.txt", "vocab.bpe", "gpt2_tokenizer.bin"};
    Tokenizer *t = NULL;
    for (size_t k = f->kind == MODEL_LLMC ? 3 : 0; k < 4 && !t; k++) {
        char *path = path_beside(f->path, names[k]);
        const size_t V = f->c.V;
        const bool there = !access(path, R_OK);
        if (there && (t = tok_try(path)) && (t->V > V || V >= tok_count(t) + TOK_UNUSED)) {
            note("%s: not used: %zu ids, the model has %zu", path, t->V, V);
            tok_free(t), t = NULL;
        }
        if (t && t->V < V) {
            note("%s: the model has %zu ids more, which no token has", path, V - t->V);
            tok_widen(t, V);
        }
        *lost |= there && !t;
        free(path);
    }
    return t;
}

/* The kind of a model to be written: what format says or, if it is NULL, what the path looks like. */
static inline ModelKind model_kind_for(const char *path, const char *format) {
    static const char *const ends[3] = {".ckpt", ".safetensors", ".bin"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    struct stat st;
    for (int k = 0; k < 3; k++)
        if (format ? !strcmp(format, model_kinds[k]) : dot && !strcmp(dot, ends[k])) return (ModelKind)k;
    if (format) die("--format: expected native, hf or llmc, found '%s'", format);
    if (dot && !(!stat(path, &st) && S_ISDIR(st.st_mode)))
        die("%s: expected a directory, .ckpt, .safetensors or .bin; or --format native, hf or llmc", path);
    return MODEL_HF;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* Which elements of a weight (rows, cols) the machine keeps, 1 or 0. */
static inline void mask_of(const GptParam *p, uint8_t *mask) {
    memset(mask, 0, gpt_elements(p));
    for (GptPlace n = {0}; gpt_place(p, &n);) mask[n.named] = 1;
}
static inline void write_checked(bool good, const char *path) {
    if (!good) die("%s: cannot write: %s", path, strerror(errno));
}
static inline float *weights_of(const Gpt *m, size_t k) {   /* row-major, on the heap */
    float *values = mem_new(gpt_elements(&m->table[k]), sizeof *values);
    gpt_get(&m->table[k], m->w, values);
    return values;
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

static inline void hf_write_config(const char *path, const GptConfig *c, size_t eot) {
    Out out = out_open(path);
    fprintf(out.f, "{\n  \"architectures\": [\"GPT2LMHeadModel\"],\n  \"model_type\": \"gpt2\",\n"
            "  \"n_layer\": %zu,\n  \"n_head\": %zu,\n  \"n_embd\": %zu,\n  \"n_positions\": %zu,\n"
            "  \"n_ctx\": %zu,\n  \"vocab_size\": %zu,\n  \"activation_function\": \"gelu_new\",\n"
            "  \"layer_norm_epsilon\": 1e-05,\n  \"tie_word_embeddings\": true,\n  \"attn_pdrop\": 0.0,\n"
            "  \"embd_pdrop\": 0.0,\n  \"resid_pdrop\": 0.0,\n  \"torch_dtype\": \"float32\",\n"
            "  \"bos_token_id\": %zu,\n  \"eos_token_id\": %zu\n}\n", c->L, c->NH, c->C, c->ctx, c->ctx, c->V,
            eot, eot);
    out_done(&out);
}

/* Where the weights of a model go, on the heap: path is a directory, or a .safetensors file. */
static inline char *hf_weights(const char *path) {
    const size_t n = strlen(path);
    const bool file = n > 12 && !strcmp(path + n - 12, ".safetensors");
    char *weights = mem_new(n + 32, 1);
    snprintf(weights, n + 32, file ? "%s" : "%s/model.safetensors", path);
    return weights;
}
/* A model as transformers loads it: path is a directory, made if absent, or a .safetensors file; config.json
 * and, with a vocabulary, tokenizer.json go beside it. A sparse model is written dense, its zeros exact, and
 * its masks as U8 mask.NAME. Dies if it cannot be written. */
static inline void hf_write(const char *path, const Gpt *m, const Tokenizer *tok) {
    char *weights = hf_weights(path), name[64];
    StWriter w = {0};
    if (strcmp(weights, path) && mkdir(path, 0777) && errno != EEXIST)
        die("%s: cannot make: %s", path, strerror(errno));
    st_meta_put(&w, "format", "pt");                        /* transformers asks for this */
    for (int masks = 0; masks < 2; masks++)
        for (size_t k = 0; k < m->count; k++) {
            const GptParam *p = &m->table[k];
            if (masks && !gpt_masked(p)) continue;
            st_declare(&w, checkpoint_name(name, masks ? "mask." : "transformer.", p), masks ? ST_U8 : ST_F32,
                       p->rank, (size_t[]){p->rows, p->cols});
        }
    st_begin(&w, weights);
    for (int masks = 0; masks < 2; masks++)
        for (size_t k = 0; k < m->count; k++) {
            const GptParam *p = &m->table[k];
            if (masks && !gpt_masked(p)) continue;
            float *values = weights_of(m, k);
            if (masks) mask_of(p, (uint8_t *)values);
            st_write(&w, values, gpt_elements(p) * (masks ? 1 : sizeof *values));
            free(values);
        }
    write_checked(st_commit(&w), weights);
    char *config = path_beside(weights, "config.json"), *vocab = path_beside(weights, "tokenizer.json");
    hf_write_config(config, &m->c, tok ? tok->eot : m->c.V - 1);
    if (tok) hf_write_tokenizer(vocab, tok);
    free(weights), free(config), free(vocab);
}
#endif
