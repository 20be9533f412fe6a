/* formats.h: models of any kind, told apart by their content: checkpoints of
 * our own, Hugging Face's, llm.c's and GGUF files.
 *
 * It refuses to trust a name: what a file is called says only what to write.
 *
 *     first bytes                        kind
 *     20240326, u32                      llm.c's
 *     "GGUF"                             GGUF
 *     {                                  Hugging Face's index of several files
 *     a length, {: safetensors           our own if its metadata says so;
 *                                        Hugging Face's if it has a wte.weight
 *
 * Example:
 *
 *     ModelFile f = model_open("gpt2");        // a folder, or a file
 *     float *w = mem_new(gpt_elements(&f.table[WTE]), 4);
 *     model_values(&f, WTE, w);                // row-major, the table's shape
 *     model_close(&f); */
#ifndef FORMATS_H
#define FORMATS_H
#include "gguf.h"
#include "hf.h"
#include "llmc.h"

/* ---- opening ------------------------------------------------------------- */

static inline bool path_is_folder(const char *path) {
    struct stat st;
    return file_stat(path, &st) && S_ISDIR(st.st_mode);
}
/* The file of a folder that holds the weights or says where they are, on the
 * heap. */
static inline char *model_weights_in(const char *folder) {
    static const char *const names[4] = {
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    };
    const size_t n = strlen(folder) + 40;
    char *path = mem_new(n, 1);
    for (int k = 0; k < 4; k++) {
        snprintf(path, n, "%s/%s", folder, names[k]);
        if (file_there(path)) return path;
    }
    die("%s: expected a file, or a directory with model.safetensors or its "
        "index; found a directory without",
        folder);
}

/* Whether safetensors are a checkpoint of this program. */
static inline bool model_is_ours(const Safetensors *s) {
    const char *format = st_meta(s, "format");
    if (!format) return false;
    return !strcmp(format, "sparseflow-checkpoint") ||
           !strncmp(format, "gpt-ref", 7);
}
/* Whether they have the embedding of a GPT-2 of Hugging Face's. */
static inline bool model_has_wte(const Safetensors *s) {
    for (size_t k = 0; k < s->n; k++)
        if (!strcmp(hf_plain(s->tensors[k].name), "wte.weight")) return true;
    return false;
}
/* Safetensors: a checkpoint of this program is left to its own reader. Dies of what
 * is neither that nor a GPT-2 of Hugging Face's. */
static inline void model_read_safetensors(ModelFile *f, Bytes b) {
    f->st = st_parse(b);
    if (model_is_ours(&f->st)) return;
    if (!model_has_wte(&f->st))
        die("%s: expected a checkpoint of this program, or a GPT-2 with its wte.weight; "
            "found safetensors with neither",
            f->path);
    f->part = mem_grow(NULL, 0, &f->part_cap, sizeof *f->part);
    f->part[f->parts++] = f->st;
    f->st = (Safetensors){0};
    hf_gather(f, &f->part[0]);
    hf_read(f);
}
/* Opens a model whose kind is told from its content; a directory is one of
 * Hugging Face's. Dies of what is none. */
static inline ModelFile model_open(const char *path) {
    ModelFile f = {0};
    f.path = path_is_folder(path) ? model_weights_in(path) : text_copy(path);
    Bytes b = file_read(f.path);
    const uint32_t magic = b.n < 4 ? 0 : get_u32(b.p);
    const bool json = b.n > 8 && *b.p == '{' && get_u64(b.p) > ST_HEADER;
    if (magic == LLMC_DEBUG)
        die("%s: expected a model, found a debug state, which verify reads",
            path);
    if (hf_pickled(b)) hf_die_pickled(f.path);
    if (magic == LLMC_MODEL) {
        f.kind = MODEL_LLMC;
        f.file = b;
        llmc_read(&f);
    } else if (magic == GGUF_MAGIC) gguf_read(&f, b);
    else if (json) {
        hf_read_index(&f, b);
        hf_read(&f);
    } else model_read_safetensors(&f, b);
    return f;
}
static inline void model_close(ModelFile *f) {
    for (size_t k = 0; f->own && k < gpt_count(&f->c); k++) free(f->own[k]);
    for (size_t k = 0; k < f->parts; k++) st_free(&f->part[k]);
    if (f->kind == MODEL_GGUF) gguf_close(f);
    if (f->kind == MODEL_LLMC) file_free(&f->file);
    else st_free(&f->st);
    free(f->path);
    free(f->table);
    free(f->at);
    free(f->mask);
    free(f->own);
    free(f->part);
    *f = (ModelFile){0};
}

/* ---- the vocabulary ------------------------------------------------------ */

/* A vocabulary as a model of V ids uses it: rows that it has no token for are
 * ids that text never makes. NULL if it has more ids than the model. */
static inline Tokenizer *vocabulary_fit(Tokenizer *t, size_t V,
                                        const char *path) {
    if (!t) return NULL;
    if (t->V > V || V >= tok_count(t) + TOK_UNUSED) {
        note("%s: not used: %zu ids, the model has %zu", path, t->V, V);
        tok_free(t);
        return NULL;
    }
    if (t->V < V) {
        note("%s: the model has %zu ids more, which no token has", path,
             V - t->V);
        tok_widen(t, V);
    }
    return t;
}
/* The vocabulary in a GGUF file. NULL, and a note, if it cannot be used. */
static inline Tokenizer *gguf_try(const ModelFile *f) {
    Attempt attempt;
    die_attempt = &attempt;
    if (setjmp(attempt.back)) {
        note("%s: its vocabulary is not used: %s", f->path, attempt.line);
        return NULL;
    }
    Tokenizer *t = gguf_vocabulary(f);
    die_attempt = NULL;
    return t;
}
/* The first vocabulary beside a model, or NULL if there is none or, *lost, if it cannot be
 * used: another file beside it might make other ids of the same text. */
static inline Tokenizer *vocabulary_beside(const ModelFile *f, bool *lost) {
    static const char *const names[4] = {
        "tokenizer.json",
        "merges.txt",
        "vocab.bpe",
        "gpt2_tokenizer.bin",
    };
    Tokenizer *t = NULL;
    const size_t first = f->kind == MODEL_LLMC ? 3 : 0;
    for (size_t k = first; k < 4 && !t && !*lost; k++) {
        char *path = path_beside(f->path, names[k]);
        const bool there = file_there(path);
        if (there) t = vocabulary_fit(tok_try(path), f->c.V, path);
        *lost |= there && !t;
        free(path);
    }
    return t;
}
/* The id, of several the first, with which a model says that a text begins (0) or ends
 * (1); SIZE_MAX if it names none, or one that it does not have: a default that nobody changed. */
static inline size_t model_edge(const ModelFile *f, int end) {
    size_t id = SIZE_MAX;
    if (f->kind == MODEL_GGUF) {
        const char *key = end ? "tokenizer.ggml.eos_token_id"
                              : "tokenizer.ggml.bos_token_id";
        if (gguf_find(f->gguf, key)) id = gguf_need(f, key);
    }
    if (f->kind == MODEL_HF) {
        char *path = path_beside(f->path, "config.json");
        Bytes b = file_read(path);
        Json value = json_at(json_open(b.p, b.n, path),
                             end ? "eos_token_id" : "bos_token_id");
        if (value.p && json_peek(&value) == '[') value = json_at(value, "0");
        const int c = value.p ? json_peek(&value) : 0;
        if (c >= '0' && c <= '9') id = (size_t)json_uint(&value);
        file_free(&b);
        free(path);
    }
    return id < f->c.V ? id : SIZE_MAX;
}
/* Says if a model separates texts by another token than the one that will stand
 * between documents here. */
static inline void vocabulary_edges(const ModelFile *f, const Tokenizer *t) {
    const size_t begin = model_edge(f, 0);
    const size_t end = model_edge(f, 1);
    const bool other[2] = {begin != SIZE_MAX && begin != t->eot,
                           end != SIZE_MAX && end != t->eot};
    if (other[0] || other[1])
        note("%s: it says that texts %s with id %zu; between documents stands id %u, "
             TOK_EOT,
             f->path, other[0] ? "begin" : "end", other[0] ? begin : end, t->eot);
}
/* The vocabulary that lies in or beside a model of others, or NULL if there is
 * none that can be used; then *lost says whether there was one. */
static inline Tokenizer *model_vocabulary(const ModelFile *f, bool *lost) {
    Tokenizer *t;
    if (f->kind == MODEL_GGUF) {
        t = vocabulary_fit(gguf_try(f), f->c.V, f->path);
        *lost = !t && gguf_find(f->gguf, "tokenizer.ggml.tokens");
    } else t = vocabulary_beside(f, lost);
    if (t) vocabulary_edges(f, t);
    return t;
}

/* ---- the kind of a model to be written ----------------------------------- */

/* The kind that --format names. */
static inline ModelKind model_kind_named(const char *format) {
    for (int k = 0; k < MODEL_KINDS; k++)
        if (!strcmp(format, model_kinds[k])) return (ModelKind)k;
    die("--format: expected native, hf, llmc or gguf, found '%s'", format);
}
/* What format says or, if it is NULL, what the path looks like. */
static inline ModelKind model_kind_for(const char *path, const char *format) {
    static const char *const ends[MODEL_KINDS] = {".ckpt", ".safetensors",
                                                  ".bin", ".gguf"};
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash ? slash + 1 : path, '.');
    if (format) return model_kind_named(format);
    if (!dot) return MODEL_HF;
    for (int k = 0; k < MODEL_KINDS; k++)
        if (!strcmp(dot, ends[k])) return (ModelKind)k;
    if (!path_is_folder(path))
        die("%s: expected a directory, .ckpt, .safetensors, .bin or .gguf; or "
            "--format native, hf, llmc or gguf",
            path);
    return MODEL_HF;
}
#endif
