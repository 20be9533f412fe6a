/* held.h: for a fuzzer in which die() is a longjmp: all memory is kept on a
 * list, and freed after each run. To be included before the code under test,
 * whose malloc, realloc, aligned_alloc and free become these. A block lies 64
 * bytes behind its node. */
#ifndef HELD_H
#define HELD_H
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf fuzz_jump;
typedef struct Held {
    struct Held *next;
    struct Held **from;             /* what points to this one */
    size_t n;                       /* bytes of the block */
} Held;
static Held *fuzz_list;

static size_t fuzz_left = SIZE_MAX; /* allocations until memory ends */

/* Of one input in four memory ends, at a place that its bytes decide: one of the
 * first 256. */
static void fuzz_memory(const uint8_t *data, size_t n) {
    uint32_t h = 2166136261u;       /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ data[i]) * 16777619u;
    fuzz_left = h >> 30 ? SIZE_MAX : h >> 16 & 255;
}
/* NULL from 1 GiB, too. */
static void *fuzz_alloc(size_t align, size_t n) {
    Held *h = NULL;
    if (fuzz_left && n < 1u << 30) h = aligned_alloc(64, (n + 127) / 64 * 64);
    fuzz_left -= fuzz_left > 0;
    (void)align;
    if (!h) return NULL;
    *h = (Held){fuzz_list, &fuzz_list, n};
    if (fuzz_list) fuzz_list->from = &h->next;
    fuzz_list = h;
    return (char *)h + 64;
}
static inline void *fuzz_malloc(size_t n) { return fuzz_alloc(64, n); }
static void fuzz_free(void *p) {
    if (!p) return;
    Held *h = (Held *)((char *)p - 64);
    if ((*h->from = h->next)) h->next->from = h->from;
    free(h);
}
static void *fuzz_realloc(void *old, size_t n) {
    void *p = fuzz_alloc(64, n);
    const size_t had = old ? ((Held *)((char *)old - 64))->n : 0;
    if (!p || !old) return p;
    memcpy(p, old, had < n ? had : n);
    fuzz_free(old);
    return p;
}
static void fuzz_end(void) {
    fuzz_left = SIZE_MAX;
    while (fuzz_list) fuzz_free((char *)fuzz_list + 64);
}

#define DIE_HOOK(line) ((void)(line), longjmp(fuzz_jump, 1))
#define NOTE_HOOK(line) ((void)(line))
#define aligned_alloc fuzz_alloc
#define malloc fuzz_malloc
#define realloc fuzz_realloc
#define free fuzz_free
#endif
