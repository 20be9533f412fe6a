/* fuzz_safetensors.c: libFuzzer on st_parse, and through it on the JSON reader of base.h.
 *
 * Of an input that is accepted every byte of every tensor is read, every name and key found, every float
 * converted. die() is a longjmp here, which leaves behind what the reader holds; so allocations are listed,
 * and each run ends by freeing what is on the list. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include <setjmp.h>
#include <stdlib.h>

static jmp_buf fuzz_jump;
static void *fuzz_held[16];             /* NULL where free; the reader never holds more than a few */

static void *fuzz_hold(void *old, void *p) {            /* p takes the place of old; NULL is no allocation */
    size_t i = 0;
    while (i < 16 && fuzz_held[i] != old) i++;
    if (i == 16) abort();
    return fuzz_held[i] = p;
}
static void *fuzz_alloc(size_t to, size_t n) { return fuzz_hold(NULL, aligned_alloc(to, n)); }
static void *fuzz_realloc(void *p, size_t n) { return fuzz_hold(p, realloc(p, n)); }

#define aligned_alloc fuzz_alloc
#define realloc fuzz_realloc
#define DIE_HOOK(line) ((void)(line), longjmp(fuzz_jump, 1))
#include "../../data/safetensors.h"

static void fuzz_touch(const Safetensors *s) {
    for (const StTensor *t = s->tensors; t < s->tensors + s->n; t++) {
        float *out = malloc(t->count * sizeof *out + 1);
        for (size_t i = 0; i < t->bytes; i++) *(volatile const uint8_t *)(t->data + i);
        if (out && t->type <= ST_BF16) st_floats(t, out);
        free(out);
        if (st_find(s, t->name) != t || st_need(s, t->name, t->type, t->rank, t->shape) != t) abort();
    }
    for (size_t i = 0; i < s->n_meta; i++)
        if (st_meta(s, s->meta[i].key) != s->meta[i].value) abort();
    if (s->used > get_u64(s->file.p)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!setjmp(fuzz_jump)) {
        const Safetensors s = st_parse((Bytes){data, n, "fuzz", false});
        fuzz_touch(&s);
    }
    for (int i = 0; i < 16; i++) free(fuzz_held[i]), fuzz_held[i] = NULL;
    return 0;
}
