/* fuzz_safetensors.c: libFuzzer on st_parse, and through it on the JSON reader
 * of base.h.
 *
 * Of an input that is accepted every byte of every tensor is read, every name
 * and key found, every float converted. die() is a longjmp here, so all memory
 * is kept on a list and freed after each run. */
#include "held.h"
#include "../../data/model/safetensors.h"

static void fuzz_touch(const Safetensors *s) {
    for (const StTensor *t = s->tensors; t < s->tensors + s->n; t++) {
        float *out = malloc(t->count * sizeof *out + 1);
        for (size_t i = 0; i < t->bytes; i++)
            *(volatile const uint8_t *)(t->data + i);
        if (out && t->type <= ST_BF16) st_floats(t, out);
        free(out);
        if (st_find(s, t->name) != t) abort();
        if (st_need(s, t->name, t->type, t->rank, t->shape) != t) abort();
    }
    for (size_t i = 0; i < s->n_meta; i++)
        if (st_meta(s, s->meta[i].key) != s->meta[i].value) abort();
    if (s->used > get_u64(s->file.p)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!setjmp(fuzz_jump)) {
        fuzz_memory(data, n);
        const Safetensors s = st_parse((Bytes){data, n, "fuzz", false});
        fuzz_touch(&s);
    }
    fuzz_end();
    return 0;
}
