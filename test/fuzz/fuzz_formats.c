/* fuzz_formats.c: libFuzzer on the readers of formats.h, dump.h and choices.h.
 *
 * The first byte of an input says which: a dump, an llm.c model, an llm.c debug
 * state, a Hugging Face model, whose config.json comes first, its length in a
 * byte, a GGUF file, an index of two files, or multiple choice. A model that is
 * accepted gives all its values and its vocabulary, a small dump is verified,
 * items are whole. die() is a longjmp here, so all memory is kept on a list and
 * freed after each run; a file that is mapped is a copy on that list. */
#include "held.h"
#include <sys/mman.h>
#include <unistd.h>

/* What was mapped is on the list. */
static int fuzz_munmap(void *p, size_t n) {
    (void)p;
    (void)n;
    return 0;
}

/* n bytes that end where their block does, so that a read past them is seen. */
static void *fuzz_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from) {
    const size_t room = (n + 63) / 64 * 64;
    uint8_t *p = fuzz_malloc(room);
    (void)at;
    (void)prot;
    (void)flags;
    if (!p || pread(fd, p + room - n, n, from) != (ssize_t)n) return MAP_FAILED;
    return p + room - n;
}

#define mmap fuzz_mmap
#define munmap fuzz_munmap

#include "../../data/judge/choices.h"
#include "../../data/verify/verify.h"

/* n bytes that end where their block does, so that a read past them is seen. */
static Bytes fuzz_bytes(const uint8_t *p, size_t n) {
    uint8_t *copy = (uint8_t *)mem_new(n, 1) + (size_up(n ? n : 1, 64) - n);
    if (n) memcpy(copy, p, n);
    return (Bytes){copy, n, "fuzz", true};
}
/* Every number of a model; then it is closed. */
static void fuzz_values(ModelFile *f) {
    f->path = mem_new(1, 1);
    for (size_t k = 0; k < gpt_count(&f->c); k++) {
        float *values = mem_new(gpt_elements(&f->table[k]), sizeof *values);
        model_values(f, k, values);
        if (!gpt_finite(values, gpt_elements(&f->table[k]))) abort();
        free(values);
    }
    model_close(f);
}
static void fuzz_dump(Bytes b) {
    Dump d = dump_parse(b, NULL);
    const double tokens = (double)(d.B * d.T) * (double)(d.steps + 1);
    const double linear = (double)llmc_count(&d.c, d.c.V) * tokens;
    const double scores = (double)d.c.L * (double)d.c.NH * (double)d.T * (double)d.T;
    if (linear + scores < 1e5) {
        DfPool *pool = df_begin(1);
        verify(&d, pool, 0);
        df_end(pool);
    }
    dump_close(&d);
}
static void fuzz_debug(Bytes b) {
    const GptConfig c = {1, 1, 2, 3, 4};
    GptParam *table = gpt_table(&c);
    LlmcDebug d = llmc_debug(b, &c, table);
    float *values = mem_new(d.logits.count + 64, sizeof *values);
    st_floats(&d.logits, values);
    st_floats(&d.loss, values);
    for (size_t k = 0; k < gpt_count(&c); k++)
        model_unpack(&d.grad[k], &table[k], true, values);
    const uint32_t ends = get_u32(d.inputs) +
                          get_u32(d.targets + 4 * (d.B * d.T - 1));
    if (ends == 12345) free(values);            /* so both are read */
}
static void fuzz_gguf(Bytes b) {
    ModelFile f = {.path = text_copy("fuzz")};
    gguf_read(&f, b);
    Tokenizer *t = gguf_try(&f);
    uint32_t ids[16];
    if (t && tok_encode(t, (const uint8_t *)" lowlo\xff 12's", 13, ids) > 13) abort();
    fuzz_values(&f);
}
/* The tensors of a Hugging Face model are gathered: its values. */
static void fuzz_gathered(ModelFile *f) {
    st_sort("fuzz", f->st.tensors, f->st.n, sizeof *f->st.tensors);
    hf_place(f);
    fuzz_values(f);
}
static void fuzz_llmc(Bytes b) {
    ModelFile f = {.kind = MODEL_LLMC, .file = b};
    llmc_read(&f);
    fuzz_values(&f);
}
static void fuzz_hf(Bytes b) {
    ModelFile f = {.kind = MODEL_HF};
    const size_t n = b.n ? b.p[0] : 0;
    if (n + 1 > b.n) die("short");
    f.c = hf_config(fuzz_bytes(b.p + 1, n).p, n, "config");
    const Safetensors part = st_parse(fuzz_bytes(b.p + 1 + n, b.n - 1 - n));
    hf_gather(&f, &part);
    fuzz_gathered(&f);
}
/* A file in memory of these bytes; a path beside "/proc/self/fd/index" leads to
 * it by its number, 100 + k. */
static void fuzz_file(int k, const uint8_t *p, size_t n) {
    static bool there[2];
    if (!there[k] && dup2(memfd_create("fuzz", 0), 100 + k) < 0) abort();
    there[k] = true;
    if (ftruncate(100 + k, 0)) abort();
    if (pwrite(100 + k, p, n, 0) != (ssize_t)n) abort();
}
/* The lengths of the index and of the first file, 16 bits each; these; the rest
 * is the second file. */
static void fuzz_index(Bytes b) {
    ModelFile f = {
        .kind = MODEL_HF,
        .c = {1, 1, 2, 3, 2},
        .path = text_copy("/proc/self/fd/index"),
    };
    const size_t n = b.n < 4 ? 0 : get_u16(b.p);
    const size_t first = b.n < 4 ? 0 : get_u16(b.p + 2);
    if (b.n < 4 + n + first) die("short");
    fuzz_file(0, b.p + 4 + n, first);
    fuzz_file(1, b.p + 4 + n + first, b.n - 4 - n - first);
    hf_read_index(&f, fuzz_bytes(b.p + 4, n));
    fuzz_gathered(&f);
}
static void fuzz_choices(Bytes b) {
    enum { T = 6 };
    static const char none[] = TOK_MAGIC "1 0\n";
    const Tokenizer *t = tok_parse((const uint8_t *)none, strlen(none), "none");
    const Choices c = choices_parse(b, t, T);
    size_t rows = 0;
    for (const ChoiceItem *item = c.item; item < c.item + c.items; item++) {
        if (item->first != rows || item->n < 2) abort();
        if (item->right >= item->n) abort();
        rows += item->n;
    }
    if (rows != c.rows) abort();
    for (const ChoiceRow *row = c.row; row < c.row + c.rows; row++) {
        if (!row->scored || row->scored >= row->n) abort();
        if (row->n > T + 1 || row->at + row->n > c.ids) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const kind[7])(Bytes b) = {
        fuzz_dump, fuzz_llmc, fuzz_debug, fuzz_hf, fuzz_gguf, fuzz_index,
        fuzz_choices,
    };
    if (n && !setjmp(fuzz_jump)) {
        const Bytes b = fuzz_bytes(data + 1, n - 1);
        fuzz_memory(data, n);
        kind[data[0] % 7](b);
    }
    fuzz_end();
    return 0;
}
