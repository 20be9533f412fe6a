/* gguf.h: GGUF, the file that llama.cpp and what is built on it run, read and
 * written for GPT-2.
 *
 * It refuses to quantise: written are float32 and half precision, read are
 * these, bfloat16 and float64. What a file says that is not known is named;
 * what would change a number is refused.
 *
 *     byte 0    "GGUF"; version u32, 3 (read is 2 too); number of tensors u64,
 *               of values u64
 *          24   the values: key, type u32, then the number, the string or the
 *               array
 *               the tensors: name, rank u32, sizes u64 (fastest first), type
 *               u32, offset u64
 *               zeros to a multiple of the alignment (32, unless
 *               general.alignment says another)
 *               the data: each tensor at its offset from here, zeros between
 *               them to the alignment
 *
 * A string is its length, u64, and its bytes without an end. An array is the
 * type of its elements, u32, their number, u64, and the elements. Types and
 * keys are in README.md beside this file.
 *
 * A linear weight has sizes (inputs, outputs), so its rows are outputs: (out,
 * in), as in llm.c. A sparse one is written with its zeros, for a reader would
 * refuse tensors it does not know; its mask is a value that others pass over.
 * Of a mask in blocks 16xW, W first, then a u16 for each row block and each
 * group of W inputs, whose bit o says whether output o of the row block is
 * kept.
 *
 * Example: 32 inputs, 16 outputs, blocks of 16x4, the second of eight kept:
 * 4, 0, 65535, 0, 0, 0, 0, 0, 0. */
#ifndef GGUF_H
#define GGUF_H
#include "foreign.h"

typedef enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
} GgufType;
static const uint8_t gguf_bytes[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4,
                                               1, 0, 0, 8, 8, 8};

enum { GGUF_MAGIC = 0x46554747, GGUF_ALIGN = 32, GGUF_RANK = 4 };
enum { GGUF_HEAD = 24 };            /* bytes before the values */
enum { GGUF_WORD = 96 };            /* bytes of a value in words */

/* Kinds of a token. */
enum { GGUF_NORMAL = 1, GGUF_CONTROL = 3, GGUF_USER = 4, GGUF_UNUSED = 5 };

/* A value: n elements at p, all of the type `of`; one, and no array, if type is
 * not GGUF_ARRAY. */
typedef struct {
    char *key;                      /* first: st_by_name */
    GgufType type, of;
    size_t n;
    const uint8_t *p;
} GgufValue;

typedef struct Gguf {
    GgufValue *value;               /* (n) sorted by key */
    size_t n, cap;
    size_t bytes;                   /* before the data */
} Gguf;

/* The file's number of a tensor's type. */
static const struct {
    uint32_t number;
    StType type;
} gguf_tensor_types[4] = {{0, ST_F32},
                          {1, ST_F16},
                          {28, ST_F64},
                          {30, ST_BF16}};

/* Its names of the parts of a layer, in the table's order. */
static const char *const gguf_layer[PER_LAYER] = {
    "attn_norm.weight",   "attn_norm.bias",
    "attn_qkv.weight",    "attn_qkv.bias",
    "attn_output.weight", "attn_output.bias",
    "ffn_norm.weight",    "ffn_norm.bias",
    "ffn_up.weight",      "ffn_up.bias",
    "ffn_down.weight",    "ffn_down.bias",
};
static const char gguf_mask_key[] = "sparseflow.mask.";

/* The name of parameter k. */
static inline const char *gguf_name(char out[64], const GptConfig *c,
                                    size_t k) {
    const size_t inner = k - LAYER0;
    if (k == WTE) return "token_embd.weight";
    if (k == WPE) return "position_embd.weight";
    if (k == gpt_layer(c->L, 0)) return "output_norm.weight";
    if (k == gpt_layer(c->L, 1)) return "output_norm.bias";
    snprintf(out, 64, "blk.%zu.%s", inner / PER_LAYER,
             gguf_layer[inner % PER_LAYER]);
    return out;
}
/* The key of the mask of parameter p. */
static inline const char *gguf_mask_name(char out[80], const GptParam *p) {
    snprintf(out, 80, "%s%s", gguf_mask_key, p->name);
    return out;
}
static inline bool gguf_is_mask(const char *key) {
    return !strncmp(key, gguf_mask_key, sizeof gguf_mask_key - 1);
}

/* ---- reading: values and names ------------------------------------------- */

typedef struct {
    const uint8_t *p;               /* what is still to be read */
    const uint8_t *end;
    const uint8_t *begin;
    const char *name;               /* the file, for messages */
} GgufAt;

static inline size_t gguf_byte(const GgufAt *at) {
    return (size_t)(at->p - at->begin);
}

/* The next n bytes; what: they are, for messages. */
static inline const uint8_t *gguf_take(GgufAt *at, size_t n, const char *what) {
    const uint8_t *p = at->p;
    if (n > (size_t)(at->end - p))
        die("%s: byte %zu: expected %zu bytes of %s, found %td", at->name,
            gguf_byte(at), n, what, at->end - p);
    at->p += n;
    return p;
}
static inline uint32_t gguf_u32(GgufAt *at, const char *what) {
    return get_u32(gguf_take(at, 4, what));
}
static inline size_t gguf_count(GgufAt *at, const char *what) {
    const uint64_t n = get_u64(gguf_take(at, 8, what));
    if (n > SIZE_MAX / 16)
        die("%s: byte %zu: %s: expected a smaller number, found %llu", at->name,
            gguf_byte(at) - 8, what, (unsigned long long)n);
    return (size_t)n;
}
/* The next string: its bytes, and in *n how many. */
static inline const uint8_t *gguf_string(GgufAt *at, size_t *n,
                                         const char *what) {
    *n = gguf_count(at, what);
    return gguf_take(at, *n, what);
}
/* The next string as a name, on the heap. */
static inline char *gguf_text(GgufAt *at, const char *what) {
    size_t n;
    const uint8_t *p = gguf_string(at, &n, what);
    if (memchr(p, 0, n))
        die("%s: byte %zu: expected no NUL in a name", at->name,
            (size_t)(p - at->begin));
    char *text = mem_new(n + 1, 1);
    memcpy(text, p, n);
    return text;
}

/* The next key and its value. */
static inline GgufValue gguf_read_value(GgufAt *at) {
    GgufValue v = {.key = gguf_text(at, "a key"), .n = 1};
    v.type = gguf_u32(at, "a type");
    v.of = v.type;
    if (v.type == GGUF_ARRAY) {
        v.of = gguf_u32(at, "a type");
        v.n = gguf_count(at, "an array's length");
    }
    if (v.of >= GGUF_TYPES || v.of == GGUF_ARRAY)
        die("%s: '%.200s': expected a type 0 .. 12, and no array in an array, "
            "found %u",
            at->name, v.key, v.of);
    v.p = at->p;
    if (v.of != GGUF_STRING) {
        gguf_take(at, v.n * gguf_bytes[v.of], v.key);
        return v;
    }
    for (size_t k = 0; k < v.n; k++) {
        size_t n;
        gguf_string(at, &n, v.key);
    }
    return v;
}

/* The next tensor's name, sizes, type and offset; the shape is row-major. */
static inline StTensor gguf_read_tensor(GgufAt *at) {
    StTensor t = {.name = gguf_text(at, "a name"), .file = at->name};
    const uint32_t rank = gguf_u32(at, "a rank");
    if (rank < 1 || rank > GGUF_RANK)
        die("%s: tensor '%.200s': expected 1 .. 4 dimensions, found %u",
            at->name, t.name, rank);
    t.rank = (int)rank;
    for (uint32_t d = rank; d--;) t.shape[d] = gguf_count(at, "a size");
    const uint32_t type = gguf_u32(at, "a type");
    size_t k = 0;
    while (k < 4 && gguf_tensor_types[k].number != type) k++;
    if (k == 4)
        die("%s: tensor '%.200s': expected F32, F16, BF16 or F64, found type "
            "%u (a quantised model cannot be read; take one in F16)",
            at->name, t.name, type);
    t.type = gguf_tensor_types[k].type;
    t.offset = gguf_count(at, "an offset");
    st_measure(&t);
    return t;
}

static inline const GgufValue *gguf_find(const Gguf *g, const char *key) {
    return bsearch(&key, g->value, g->n, sizeof *g->value, st_by_name);
}

/* A value as JSON would have it; an array as the number of its elements. */
static inline void gguf_word(const GgufValue *v, char out[GGUF_WORD]) {
    const int bits = 8 * gguf_bytes[v->of];
    uint64_t n = 0;                 /* a number's */
    double x;
    if (v->type == GGUF_ARRAY) {
        snprintf(out, GGUF_WORD, "[%zu]", v->n);
        return;
    }
    if (v->of == GGUF_STRING) {
        const int shown = (int)size_min(get_u64(v->p), 80);
        snprintf(out, GGUF_WORD, "\"%.*s\"", shown, v->p + 8);
        return;
    }
    for (int k = bits / 8; k--;) n = n << 8 | v->p[k];
    memcpy(&x, &n, 8);
    if (v->of == GGUF_F32) x = (double)f32_of((uint32_t)n);
    const bool real = v->of == GGUF_F32 || v->of == GGUF_F64;
    const bool sign = v->of == GGUF_I8 || v->of == GGUF_I16 ||
                      v->of == GGUF_I32 || v->of == GGUF_I64;
    const int64_t whole = (int64_t)(n << (64 - bits)) >> (64 - bits);
    if (real) snprintf(out, GGUF_WORD, "%g", x);
    else if (v->of == GGUF_BOOL) strcpy(out, n ? "true" : "false");
    else if (sign) snprintf(out, GGUF_WORD, "%lld", (long long)whole);
    else snprintf(out, GGUF_WORD, "%llu", (unsigned long long)n);
}
/* A whole number that must be there. */
static inline size_t gguf_need(const ModelFile *f, const char *key) {
    const GgufValue *v = gguf_find(f->gguf, key);
    char word[GGUF_WORD] = "none";
    if (v) gguf_word(v, word);
    if (!v || word[strspn(word, "0123456789")] || strlen(word) > 9)
        die("%s: '%s': expected a whole number below 10^9, found %s", f->path,
            key, word);
    return strtoul(word, NULL, 10);
}
/* Whether a string is there, and is this one. */
static inline bool gguf_is(const GgufValue *v, const char *text) {
    if (!v || v->type != GGUF_STRING) return false;
    return get_u64(v->p) == strlen(text) &&
           !memcmp(v->p + 8, text, strlen(text));
}

/* The values of a GPT-2. Others whose keys begin with "general." tell people
 * what the file is. */
static const JsonField gguf_fields[] = {
    {"general.architecture", JSON_NEUTRAL, "\"gpt2\""},
    {"general.alignment", JSON_READ, ""},
    {"gpt2.block_count", JSON_READ, ""},
    {"gpt2.context_length", JSON_READ, ""},
    {"gpt2.embedding_length", JSON_READ, ""},
    {"gpt2.feed_forward_length", JSON_READ, ""},
    {"gpt2.attention.head_count", JSON_READ, ""},
    {"gpt2.attention.head_count_kv", JSON_READ, ""},
    {"gpt2.attention.layer_norm_epsilon", JSON_NEUTRAL, "1e-05"},
    {"gpt2.attention.key_length", JSON_READ, ""},
    {"gpt2.attention.value_length", JSON_READ, ""},
    {"gpt2.attention.causal", JSON_NEUTRAL, "true"},
    {"gpt2.vocab_size", JSON_READ, ""},
    {"split.count", JSON_NEUTRAL, "0|1"},
    {"split.no", JSON_NEUTRAL, "0"},
    {"split.tensors.count", JSON_IGNORED, ""},
    {"tokenizer.ggml.model", JSON_READ, ""},
    {"tokenizer.ggml.pre", JSON_READ, ""},
    {"tokenizer.ggml.tokens", JSON_READ, ""},
    {"tokenizer.ggml.token_type", JSON_READ, ""},
    {"tokenizer.ggml.merges", JSON_READ, ""},
    {"tokenizer.ggml.scores", JSON_IGNORED, ""},
    {"tokenizer.ggml.bos_token_id", JSON_READ, ""},
    {"tokenizer.ggml.eos_token_id", JSON_READ, ""},
    {"tokenizer.ggml.unknown_token_id", JSON_IGNORED, ""},
    {"tokenizer.ggml.padding_token_id", JSON_IGNORED, ""},
    {"tokenizer.ggml.add_bos_token", JSON_IGNORED, ""},
    {"tokenizer.ggml.add_eos_token", JSON_IGNORED, ""},
    {"tokenizer.ggml.add_space_prefix", JSON_NEUTRAL, "false"},
    {"tokenizer.chat_template", JSON_IGNORED, ""},
};

/* Goes through all values. Dies if one is neutral and has another; says which
 * are not known. */
static inline void gguf_check_fields(const ModelFile *f) {
    enum { FIELDS = sizeof gguf_fields / sizeof *gguf_fields };
    Out unknown = out_memory();     /* their names */
    size_t strange = 0;
    for (size_t n = 0; n < f->gguf->n; n++) {
        const GgufValue *v = &f->gguf->value[n];
        size_t k = 0;
        while (k < FIELDS && strcmp(v->key, gguf_fields[k].key)) k++;
        if (k < FIELDS && gguf_fields[k].use == JSON_NEUTRAL) {
            char word[GGUF_WORD];
            gguf_word(v, word);
            const Json value = json_open((const uint8_t *)word, strlen(word),
                                         f->path);
            json_want(value, v->key, gguf_fields[k].words);
        }
        if (k < FIELDS || !strncmp(v->key, "general.", 8) ||
            gguf_is_mask(v->key))
            continue;
        out_print(&unknown, strange++ ? ", '%s'" : "'%s'", v->key);
    }
    if (strange)
        note("%s: passed over: %zu values that are not known: %.600s", f->path, strange,
             out_string(&unknown));
    out_free(&unknown);
}

/* Dies of what a file says of the architecture besides, unless that is off: a
 * scale or a window of attention would change every number. */
static inline void gguf_check_architecture(const ModelFile *f) {
    enum { FIELDS = sizeof gguf_fields / sizeof *gguf_fields };
    for (size_t n = 0; n < f->gguf->n; n++) {
        const GgufValue *v = &f->gguf->value[n];
        char word[GGUF_WORD];
        size_t k = 0;
        if (strncmp(v->key, "gpt2.", 5)) continue;
        while (k < FIELDS && strcmp(v->key, gguf_fields[k].key)) k++;
        gguf_word(v, word);
        if (k < FIELDS || !strcmp(word, "0") || !strcmp(word, "false")) continue;
        die("%s: '%.200s': expected a value that is known, or 0 or false, found %s",
            f->path, v->key, word);
    }
}

/* ---- reading: tensors ---------------------------------------------------- */

/* Points the tensors, in the order of the file, at their data, which begins at
 * byte `before`. Dies unless they lie one after the other, each at the next
 * multiple of the alignment, to the end of the file. */
static inline void gguf_lay(Safetensors *st, size_t before, size_t align) {
    const Bytes b = st->file;
    const size_t total = b.n > before ? b.n - before : 0;
    size_t next = 0;
    size_t end = 0;
    for (StTensor *t = st->tensors; t < st->tensors + st->n; t++) {
        if (t->offset != next || next > total || t->bytes > total - next)
            die("%s: tensor '%.200s': expected %zu bytes at %zu within %zu of "
                "data, found an offset of %zu",
                b.name, t->name, t->bytes, next, total, t->offset);
        t->data = b.p + before + next;
        end = next + t->bytes;
        next = size_up(end, align);
    }
    if (total != end && total != next)
        die("%s: expected %zu bytes after the tensors' names, found %zu",
            b.name, end, total);
}
/* The alignment of the data. */
static inline size_t gguf_alignment(const ModelFile *f) {
    if (!gguf_find(f->gguf, "general.alignment")) return GGUF_ALIGN;
    const size_t align = gguf_need(f, "general.alignment");
    if (!align || align > 65536 || align & (align - 1))
        die("%s: 'general.alignment': expected a power of two, at most 65536, "
            "found %zu",
            f->st.file.name, align);
    return align;
}
/* Values and tensors of the file b into f, sorted by name. */
static inline void gguf_parse(ModelFile *f, Bytes b) {
    GgufAt at = {b.p, b.p + b.n, b.p, b.name};
    Gguf *g = mem_new(1, sizeof *g);
    Safetensors *st = &f->st;
    gguf_take(&at, 4, "magic");
    const uint32_t version = gguf_u32(&at, "version");
    if (version != 2 && version != 3)
        die("%s: version: expected 2 or 3, found %u", b.name, version);
    const size_t tensors = gguf_count(&at, "the number of tensors");
    const size_t values = gguf_count(&at, "the number of values");
    f->gguf = g;
    *st = (Safetensors){.file = b};
    g->value = mem_grow(NULL, 0, &g->cap, sizeof *g->value);
    st->tensors = mem_grow(NULL, 0, &st->cap, sizeof *st->tensors);
    while (g->n < values) {
        g->value = mem_grow(g->value, g->n, &g->cap, sizeof *g->value);
        g->value[g->n++] = gguf_read_value(&at);
    }
    st_sort(b.name, g->value, g->n, sizeof *g->value);
    while (st->n < tensors) {
        st->tensors = mem_grow(st->tensors, st->n, &st->cap,
                               sizeof *st->tensors);
        st->tensors[st->n++] = gguf_read_tensor(&at);
    }
    const size_t align = gguf_alignment(f);
    g->bytes = size_up(gguf_byte(&at), align);
    gguf_lay(st, g->bytes, align);
    st_sort(b.name, st->tensors, st->n, sizeof *st->tensors);
}

/* The mask of parameter p, (rows, cols), 1 = kept, on the heap; NULL if there
 * is none. */
static inline uint8_t *gguf_mask(const ModelFile *f, const GptParam *p) {
    char key[80];
    const GgufValue *v = gguf_find(f->gguf, gguf_mask_name(key, p));
    const size_t IC = p->rows;
    const size_t OC = p->cols;
    const size_t row_blocks = (OC + LINE - 1) / LINE;
    if (!v) return NULL;
    const bool numbers = v->type == GGUF_ARRAY && v->of == GGUF_U16 && v->n;
    const size_t w = numbers ? get_u16(v->p) : 0;
    const bool width = w && w <= LINE && !(w & (w - 1));
    if (!width || IC % w || v->n != 1 + row_blocks * (IC / w))
        die("%s: '%s': expected u16: 1, 2, 4, 8 or 16, a divisor of %zu, and a "
            "mask in such blocks, found %zu numbers",
            f->path, key, IC, v->n);
    uint8_t *mask = mem_new(IC * OC, 1);
    for (size_t i = 0; i < IC; i++)
        for (size_t o = 0; o < OC; o++) {
            const size_t block = o / LINE * (IC / w) + i / w;
            mask[i * OC + o] = get_u16(v->p + 2 + 2 * block) >> o % LINE & 1;
        }
    return mask;
}
/* Dies if there are masks of others than the parameters, `found` of which have
 * one. */
static inline void gguf_check_masks(const ModelFile *f, size_t found) {
    size_t masks = 0;
    for (size_t k = 0; k < f->gguf->n; k++)
        masks += gguf_is_mask(f->gguf->value[k].key);
    if (masks > found)
        die("%s: expected masks of matrices of the model alone, found others",
            f->path);
}

/* Points f->at at the tensors, f->mask at the masks. Dies if one is missing, of
 * another shape, or unknown. */
static inline void gguf_place(ModelFile *f) {
    const StTensor *head = st_find(&f->st, "output.weight");
    size_t masks = 0;
    char name[64];
    model_table(f, true);
    const size_t count = gpt_count(&f->c);
    f->own = mem_new(count, sizeof *f->own);
    for (size_t k = 0; k < count; k++) {
        const GptParam *p = &f->table[k];
        const char *there = gguf_name(name, &f->c, k);
        const StTensor *t = st_find(&f->st, there);
        const size_t turned[2] = {p->cols, p->rows};
        const size_t plain[2] = {p->rows, p->cols};
        f->at[k] = *st_need(&f->st, there, t ? t->type : ST_F32, p->rank,
                            p->in_out ? turned : plain);
        if (p->in_out) f->own[k] = gguf_mask(f, p);
        f->mask[k] = f->own[k];
        masks += f->mask[k] != NULL;
    }
    gguf_check_masks(f, masks);
    const size_t known = count + (head != NULL);
    if (f->st.n != known)
        die("%s: expected the %zu tensors of GPT-2, found %zu others", f->path,
            count, f->st.n - known);
    model_tied(f, head);
}

/* Dies if a value that may be absent is another number. */
static inline void gguf_want(const ModelFile *f, const char *key, size_t want) {
    if (!gguf_find(f->gguf, key)) return;
    const size_t found = gguf_need(f, key);
    if (found != want)
        die("%s: '%s': expected %zu, found %zu", f->path, key, want, found);
}
/* Reads a file whose magic was seen. */
static inline void gguf_read(ModelFile *f, Bytes b) {
    f->kind = MODEL_GGUF;
    gguf_parse(f, b);
    if (!gguf_find(f->gguf, "general.architecture"))
        die("%s: 'general.architecture': expected \"gpt2\", found none",
            f->path);
    gguf_check_fields(f);
    const StTensor *wte = st_find(&f->st, "token_embd.weight");
    if (!gguf_find(f->gguf, "gpt2.attention.layer_norm_epsilon"))
        die("%s: 'gpt2.attention.layer_norm_epsilon': expected 1e-05, found "
            "none",
            f->path);
    if (!wte || wte->rank != 2)
        die("%s: expected a matrix token_embd.weight, found none", f->path);
    f->c.L = gguf_need(f, "gpt2.block_count");
    f->c.NH = gguf_need(f, "gpt2.attention.head_count");
    f->c.C = gguf_need(f, "gpt2.embedding_length");
    f->c.V = wte->shape[0];
    f->c.ctx = gguf_need(f, "gpt2.context_length");
    model_check(&f->c, f->path);
    gguf_want(f, "gpt2.feed_forward_length", 4 * f->c.C);
    gguf_want(f, "gpt2.attention.head_count_kv", f->c.NH);
    gguf_want(f, "gpt2.attention.key_length", f->c.C / f->c.NH);
    gguf_want(f, "gpt2.attention.value_length", f->c.C / f->c.NH);
    gguf_want(f, "gpt2.vocab_size", f->c.V);
    gguf_check_architecture(f);
    gguf_place(f);
}
static inline void gguf_close(ModelFile *f) {
    for (size_t k = 0; k < f->gguf->n; k++) free(f->gguf->value[k].key);
    for (size_t k = 0; k < f->st.n; k++)
        free((char *)(uintptr_t)f->st.tensors[k].name);
    free(f->gguf->value);
    free(f->gguf);
}

/* ---- reading: the vocabulary --------------------------------------------- */

/* An array of elements of that type, or dies. */
static inline const GgufValue *gguf_array(const ModelFile *f, const char *key,
                                          GgufType of) {
    const GgufValue *v = gguf_find(f->gguf, key);
    if (!v || v->type != GGUF_ARRAY || v->of != of)
        die("%s: '%s': expected an array of type %d, found %s", f->path, key,
            of, v ? "another" : "none");
    return v;
}
/* The kinds of so many tokens, NULL if the file does not say. */
static inline const GgufValue *gguf_kinds(const ModelFile *f, size_t tokens) {
    if (!gguf_find(f->gguf, "tokenizer.ggml.token_type")) return NULL;
    const GgufValue *kinds = gguf_array(f, "tokenizer.ggml.token_type",
                                        GGUF_I32);
    if (kinds->n != tokens)
        die("%s: 'tokenizer.ggml.token_type': expected %zu, found %zu", f->path,
            tokens, kinds->n);
    return kinds;
}
/* The next token of that id and kind. */
static inline void gguf_read_token(TokSource *s, GgufAt *at, uint32_t kind) {
    size_t n;
    const uint8_t *text = gguf_string(at, &n, "a token");
    memcpy(s->text, text, n);
    s->text[n] = 0;
    if (kind == GGUF_UNUSED) return;
    if (kind == GGUF_USER)
        src_die(s,
                "a special one, found '%.60s', to be looked for in every text",
                s->text);
    src_named(s, n, s->at);
}
/* The vocabulary in the file; NULL if it has none. Dies if it is not one that
 * encodes as GPT-2's. */
static inline Tokenizer *gguf_vocabulary(const ModelFile *f) {
    const GgufValue *model = gguf_find(f->gguf, "tokenizer.ggml.model");
    const GgufValue *pre = gguf_find(f->gguf, "tokenizer.ggml.pre");
    if (!model || gguf_is(model, "no_vocab") || gguf_is(model, "none"))
        return NULL;
    if (!gguf_is(model, "gpt2"))
        die("%s: 'tokenizer.ggml.model': expected gpt2, found another",
            f->path);
    if (pre && !gguf_is(pre, "gpt-2"))
        die("%s: 'tokenizer.ggml.pre': expected gpt-2, found another", f->path);
    const GgufValue *tokens = gguf_array(f, "tokenizer.ggml.tokens",
                                         GGUF_STRING);
    const GgufValue *merges = gguf_array(f, "tokenizer.ggml.merges",
                                         GGUF_STRING);
    const GgufValue *kinds = gguf_kinds(f, tokens->n);
    const Bytes b = f->st.file;
    TokSource s = src_open(f->path, "merge", f->gguf->bytes);
    GgufAt at = {merges->p, b.p + b.n, b.p, f->path};
    for (; s.at < merges->n; s.at++) {
        size_t n;
        const uint8_t *text = gguf_string(&at, &n, "a merge");
        src_merge(&s, (const char *)text, n);
    }
    at.p = tokens->p;
    s.unit = "token of id";
    for (s.at = 0; s.at < tokens->n; s.at++) {
        const uint32_t kind = kinds ? get_u32(kinds->p + 4 * s.at)
                                    : GGUF_NORMAL;
        gguf_read_token(&s, &at, kind);
    }
    src_close(&s, true);
    src_note_assumed(&s);
    if (!pre)
        note("%s: it does not say for which pattern its vocabulary was made; "
             "taken is GPT-2's",
             f->path);
    return s.t;
}

/* ---- writing ------------------------------------------------------------- */

/* The part before the data, while it grows in memory. */
typedef struct {
    Out out;
    size_t values;
} GgufText;

/* A number of so many bytes, little-endian. */
static inline void gguf_put(Out *out, uint64_t x, int bytes) {
    for (int k = 0; k < bytes; k++) out_char(out, (int)(x >> 8 * k & 255));
}
static inline void gguf_put_string(Out *out, const void *p, size_t n) {
    gguf_put(out, n, 8);
    out_bytes(out, p, n);
}
/* What has grown in memory as a string; the memory is empty again. */
static inline void gguf_put_grown(Out *out, Out *word) {
    gguf_put_string(out, word->text, word->n);
    word->n = 0;
}
/* The key and the type of the next value. */
static inline void gguf_put_key(GgufText *t, const char *key, GgufType type) {
    gguf_put_string(&t->out, key, strlen(key));
    gguf_put(&t->out, type, 4);
    t->values++;
}
static inline void gguf_put_array(GgufText *t, const char *key, GgufType of,
                                  size_t n) {
    gguf_put_key(t, key, GGUF_ARRAY);
    gguf_put(&t->out, of, 4);
    gguf_put(&t->out, n, 8);
}
static inline void gguf_put_number(GgufText *t, const char *key, size_t x) {
    gguf_put_key(t, key, GGUF_U32);
    gguf_put(&t->out, x, 4);
}
static inline void gguf_put_word(GgufText *t, const char *key,
                                 const char *word) {
    gguf_put_key(t, key, GGUF_STRING);
    gguf_put_string(&t->out, word, strlen(word));
}

static inline int gguf_token_kind(const Tokenizer *t, uint32_t id) {
    if (t->token_of[id] == TOK_NONE) return GGUF_UNUSED;
    return tok_is_text(t, id) ? GGUF_NORMAL : GGUF_CONTROL;
}
/* What an id is called: its letters, its name if it is special, or [PADn] if no
 * token has it. */
static inline void gguf_put_token(Out *out, const Tokenizer *t, uint32_t id) {
    const int kind = gguf_token_kind(t, id);
    size_t n;
    const uint8_t *name = tok_bytes(t, id, &n);
    if (kind == GGUF_UNUSED) out_print(out, "[PAD%u]", id);
    else if (kind == GGUF_NORMAL)
        letters_put(out, t, &t->tokens, t->token_of[id]);
    else out_bytes(out, name, n);
}
static inline void gguf_put_vocabulary(GgufText *text, const Tokenizer *t) {
    Out *out = &text->out;
    Out word = out_memory();
    gguf_put_word(text, "tokenizer.ggml.model", "gpt2");
    gguf_put_word(text, "tokenizer.ggml.pre", "gpt-2");
    gguf_put_array(text, "tokenizer.ggml.tokens", GGUF_STRING, t->V);
    for (uint32_t id = 0; id < t->V; id++) {
        gguf_put_token(&word, t, id);
        gguf_put_grown(out, &word);
    }
    gguf_put_array(text, "tokenizer.ggml.token_type", GGUF_I32, t->V);
    for (uint32_t id = 0; id < t->V; id++)
        gguf_put(out, (uint64_t)gguf_token_kind(t, id), 4);
    gguf_put_array(text, "tokenizer.ggml.merges", GGUF_STRING, t->n - 256);
    for (size_t k = 0; k < t->n - 256; k++) {
        letters_merge(&word, t, k);
        gguf_put_grown(out, &word);
    }
    gguf_put_number(text, "tokenizer.ggml.bos_token_id", t->eot);
    gguf_put_number(text, "tokenizer.ggml.eos_token_id", t->eot);
    gguf_put_key(text, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
    gguf_put(out, 1, 1);
    out_free(&word);
}
/* The mask of a sparse matrix, in the blocks that it is made of. */
static inline void gguf_put_mask(GgufText *t, const GptParam *p) {
    const size_t IC = p->rows;
    const size_t OC = p->cols;
    const size_t row_blocks = (OC + LINE - 1) / LINE;
    const size_t w = p->mat.keep ? 1 : p->mat.block;
    uint8_t *mask = mem_new(gpt_elements(p), 1);            /* (IC,OC) */
    char key[80];
    mask_of(p, mask);
    gguf_put_array(t, gguf_mask_name(key, p), GGUF_U16,
                   1 + row_blocks * (IC / w));
    gguf_put(&t->out, w, 2);
    for (size_t r = 0; r < row_blocks; r++)
        for (size_t i = 0; i < IC; i += w) {
            const uint8_t *kept = mask + i * OC + r * LINE;
            uint32_t bits = 0;
            for (size_t o = 0; o < LINE && r * LINE + o < OC; o++)
                bits |= (uint32_t)kept[o] << o;
            gguf_put(&t->out, bits, 2);
        }
    free(mask);
}

/* Whether parameter k is written in half precision, if the matrices are:
 * positions are not, as in llama.cpp's own files. */
static inline bool gguf_is_half(const GptParam *table, size_t k, bool half) {
    return half && table[k].rank == 2 && k != WPE;
}
/* Bytes of a parameter's numbers, with zeros to the alignment. */
static inline size_t gguf_size(const GptParam *p, bool half) {
    return size_up(gpt_elements(p) * (half ? 2 : 4), GGUF_ALIGN);
}
static inline void gguf_put_tensors(Out *out, const Gpt *m, bool half) {
    size_t offset = 0;
    char name[64];
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        const bool h = gguf_is_half(m->table, k, half);
        const char *there = gguf_name(name, &m->c, k);
        gguf_put_string(out, there, strlen(there));
        gguf_put(out, (uint64_t)p->rank, 4);
        if (p->rank == 2) gguf_put(out, p->in_out ? p->rows : p->cols, 8);
        gguf_put(out, p->in_out ? p->cols : p->rows, 8);
        gguf_put(out, h ? 1 : 0, 4);
        gguf_put(out, offset, 8);
        offset += gguf_size(p, h);
    }
}
/* The numbers of parameter k, and zeros to the alignment. Dies if one is beyond
 * half precision. */
static inline void gguf_put_values(Out *out, const Gpt *m, size_t k,
                                   bool half) {
    const GptParam *p = &m->table[k];
    const size_t n = gpt_elements(p);
    const size_t bytes = gguf_size(p, half);
    float *w = weights_turned(m, k);            /* (n) */
    uint8_t *to = mem_new(bytes, 1);
    if (!half) memcpy(to, w, n * sizeof *w);
    for (size_t i = 0; i < n && half; i++) {
        const uint32_t h = st_to_half(w[i]);
        if ((h & 0x7c00) == 0x7c00)
            die("%s: %s: %g is beyond half precision; write float32", out->path,
                p->name, (double)w[i]);
        to[2 * i] = (uint8_t)h;
        to[2 * i + 1] = (uint8_t)(h >> 8);
    }
    out_bytes(out, to, bytes);
    free(w);
    free(to);
}

/* A model and its vocabulary (may be NULL) as llama.cpp reads them, the
 * matrices in half precision or all in float32. Dies if it cannot be
 * written. */
static inline void gguf_write(const char *path, const Gpt *m,
                              const Tokenizer *tok, bool half) {
    const GptConfig *c = &m->c;
    GgufText t = {.out = out_memory()};
    gguf_put_word(&t, "general.architecture", "gpt2");
    gguf_put_number(&t, "general.file_type", half ? 1 : 0);
    gguf_put_number(&t, "gpt2.block_count", c->L);
    gguf_put_number(&t, "gpt2.context_length", c->ctx);
    gguf_put_number(&t, "gpt2.embedding_length", c->C);
    gguf_put_number(&t, "gpt2.feed_forward_length", 4 * c->C);
    gguf_put_number(&t, "gpt2.attention.head_count", c->NH);
    gguf_put_key(&t, "gpt2.attention.layer_norm_epsilon", GGUF_F32);
    gguf_put(&t.out, 0x3727c5ac, 4);                        /* 1e-5 */
    gguf_put_number(&t, "gpt2.vocab_size", c->V);
    if (tok) gguf_put_vocabulary(&t, tok);
    else gguf_put_word(&t, "tokenizer.ggml.model", "no_vocab");
    for (size_t k = 0; k < m->count; k++)
        if (gpt_masked(&m->table[k])) gguf_put_mask(&t, &m->table[k]);
    gguf_put_tensors(&t.out, m, half);
    while ((GGUF_HEAD + t.out.n) % GGUF_ALIGN) out_char(&t.out, 0);
    Out out = out_open(path);
    gguf_put(&out, GGUF_MAGIC, 4);
    gguf_put(&out, 3, 4);
    gguf_put(&out, m->count, 8);
    gguf_put(&out, t.values, 8);
    out_bytes(&out, t.out.text, t.out.n);
    for (size_t k = 0; k < m->count; k++)
        gguf_put_values(&out, m, k, gguf_is_half(m->table, k, half));
    out_done(&out);
    out_free(&t.out);
}
#endif
