/* fuzz_formats.c: libFuzzer on the readers of formats.h and dump.h. The first byte of an input says which: a
 * dump, an llm.c model, an llm.c debug state, a GGUF file, or a Hugging Face model, whose config.json comes
 * first, its length in a byte. A model that is accepted gives all its values and its vocabulary, a small dump is
 * verified. die() is a
 * longjmp here, so all memory is kept on a list and freed after each run. */
#include "held.h"
#include <sys/mman.h>

static int fuzz_munmap(void *p, size_t n) { return (void)p, (void)n, 0; }   /* inputs are on the list */

#define munmap fuzz_munmap
#include "../../data/verify/verify.h"

/* n bytes that end where their block does, so that a read past them is seen. */
static Bytes fuzz_bytes(const uint8_t *p, size_t n) {
    uint8_t *copy = (uint8_t *)mem_new(n, 1) + (size_up(n ? n : 1, 64) - n);
    if (n) memcpy(copy, p, n);
    return (Bytes){copy, n, "fuzz", true};
}
static void fuzz_values(ModelFile *f) {                     /* every number of a model; then it is closed */
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
    const double work = (double)llmc_count(&d.c, d.c.V) * (double)(d.B * d.T) * (double)(d.steps + 1);
    if (work + (double)d.c.L * (double)d.c.NH * (double)d.T * (double)d.T < 1e5) {
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
    st_floats(&d.logits, values), st_floats(&d.loss, values);
    for (size_t k = 0; k < gpt_count(&c); k++) model_unpack(&d.grad[k], &table[k], true, values);
    if (get_u32(d.inputs) + get_u32(d.targets + 4 * (d.B * d.T - 1)) == 12345) free(values);
}
static void fuzz_gguf(Bytes b) {
    ModelFile f = {.path = text_copy("fuzz")};
    gguf_read(&f, b);
    Tokenizer *t = gguf_try(&f);
    uint32_t ids[16];
    if (t && tok_encode(t, (const uint8_t *)" lowlo\xff 12's", 13, ids) > 13) abort();
    fuzz_values(&f);
}
static void fuzz_hf(Bytes b) {
    ModelFile f = {.kind = MODEL_HF};
    const size_t n = b.n ? b.p[0] : 0;
    if (n + 1 > b.n) die("short");
    f.c = hf_config(fuzz_bytes(b.p + 1, n).p, n, "config");
    const Safetensors part = st_parse(fuzz_bytes(b.p + 1 + n, b.n - 1 - n));
    hf_gather(&f, &part);
    st_sort("fuzz", f.st.tensors, f.st.n, sizeof *f.st.tensors);
    hf_place(&f), fuzz_values(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n && !setjmp(fuzz_jump)) {
        const Bytes b = fuzz_bytes(data + 1, n - 1);
        ModelFile f = {.kind = MODEL_LLMC, .file = b};
        fuzz_memory(data, n);
        switch (data[0] % 5) {
        case 0: fuzz_dump(b); break;
        case 1: llmc_read(&f), fuzz_values(&f); break;
        case 2: fuzz_debug(b); break;
        case 4: fuzz_gguf(b); break;
        default: fuzz_hf(b);
        }
    }
    fuzz_end();
    return 0;
}
