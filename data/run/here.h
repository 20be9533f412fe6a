/* here.h: the machine at hand as a chip, for `simulate --chip here`: its rates,
 * measured in a second or two.
 *
 *     flops            multiply-adds that no compiler chooses (peak.h)
 *     port             bytes that copies in a core's own cache read and write
 *     memory, random   bytes of lines that all cores read, one after the other
 *                      and in an order that nothing foresees
 *     launch           a run of all workers in which there is nothing to do
 *
 * These are what the machine can do at best, as the figures of other chips are.
 * It refuses to be a prediction: what steps take here is asked of the stages
 * themselves (commands/validate.h). The clock is one of 1 GHz, so its cycles
 * are nanoseconds.
 *
 * Example: two cores that do 228 GFLOP/s are 8 tiles of 28.5 FLOPs a cycle. */
#ifndef HERE_H
#define HERE_H
#include "peak.h"

enum {
    HERE_ROUNDS = 5,                /* at most; the best of them counts */
    HERE_TILES = 4,                 /* a worker */
    HERE_SRAM = 2 << 20,            /* bytes of a tile, as host has */
    HERE_SLOT = 4096,               /* numbers of 4 bytes that a slot holds: 16 KiB */
    HERE_LINES = 1 << 22,           /* of memory, which no cache holds: 256 MiB */
    HERE_LAUNCHES = 1000            /* at most */
};
/* Seconds after which nothing is measured once more: what takes longer, under an
 * emulator or beside other work, is no truer for it. */
static const double HERE_SECONDS = 0.3;

/* What the workers move: each its own lines, a power of two of them. */
typedef struct {
    size_t lines;
    uint32_t *memory;               /* [workers][lines][LINE] */
    uint32_t *sum;                  /* [workers][LINE] of what was read, for the compiler
                                     * would leave the reading out */
} HereLines;

/* A worker reads all its lines, one after the other. */
static inline void here_stream(void *arg, size_t task, size_t worker) {
    const HereLines *h = arg;
    const uint32_t *own = h->memory + task * h->lines * LINE;
    uint32_t sum = 0;
    (void)worker;
    for (size_t k = 0; k < h->lines; k++) sum += own[k * LINE];
    h->sum[task * LINE] = sum;
}
/* In an order that nothing foresees: the multiplier is 1 modulo 4 and what is added
 * odd, so that every line comes once (Hull and Dobell 1962). */
static inline void here_random(void *arg, size_t task, size_t worker) {
    const HereLines *h = arg;
    const uint32_t *own = h->memory + task * h->lines * LINE;
    size_t at = 0;
    uint32_t sum = 0;
    (void)worker;
    for (size_t k = 0; k < h->lines; k++) {
        sum += own[at * LINE];
        at = (at * 1664525 + 1013904223) & (h->lines - 1);
    }
    h->sum[task * LINE] = sum;
}
/* As many lines read, and as many written, within its cache. */
static inline void here_copy(void *arg, size_t task, size_t worker) {
    const HereLines *h = arg;
    _Alignas(64) uint32_t from[HERE_SLOT];
    _Alignas(64) uint32_t to[HERE_SLOT];
    (void)worker;
    memset(from, 0, sizeof from);
    for (size_t k = 0; k < h->lines; k += HERE_SLOT / LINE) {
        memcpy(to, from, sizeof to);
        from[k % HERE_SLOT] = to[k / LINE % HERE_SLOT] + 1;     /* each copy is wanted */
    }
    h->sum[task * LINE] = to[0];
}
/* Nothing but to come, and to wait for the others. */
static inline void here_meet(void *arg, size_t task, size_t worker) {
    (void)task;
    (void)worker;
    df_meet(arg);
}
/* Bytes a second that all workers move, of so many each. */
static inline double here_rate(DfPool *pool, DfTask *fn, HereLines *h, double bytes) {
    const double begin = seconds();
    double best = 0;
    for (int n = 0; n < HERE_ROUNDS && seconds() - begin < HERE_SECONDS; n++) {
        const double start = seconds();
        df_run(pool, fn, h, pool->workers);
        best = fmax(best, (double)pool->workers * bytes / (seconds() - start));
    }
    return best;
}
/* Seconds of a run in which there is nothing to do. */
static inline double here_launch(DfPool *pool) {
    DfMeeting meeting;
    const double start = seconds();
    double took = 0;
    int n = 0;
    while (n < HERE_LAUNCHES && took < HERE_SECONDS) {
        df_meeting(&meeting, pool);
        df_run(pool, here_meet, &meeting, pool->workers);
        took = seconds() - start;
        n++;
    }
    return took / n;
}
/* The machine at hand with so many threads, as a chip. */
static inline DfChip here_chip(size_t threads) {
    DfPool *pool = df_begin(threads);
    DfChip c = {.name = "here", .tiles = HERE_TILES * threads, .sram = HERE_SRAM,
                .element = sizeof(float), .clock = 1e9};
    const double cycles = (double)c.tiles * c.clock;        /* of all tiles, a second */
    HereLines h = {.lines = HERE_LINES};
    while (h.lines * threads > HERE_LINES) h.lines /= 2;
    const double bytes = (double)h.lines * DF_LINE_BYTES;
    h.memory = mem_new(h.lines * threads * LINE, sizeof *h.memory);
    h.sum = mem_new(threads * LINE, sizeof *h.sum);
    for (size_t k = 0; k < h.lines * threads * LINE; k += LINE)
        h.memory[k] = (uint32_t)k;          /* pages that nobody wrote are all one page */
    c.flops = peak_flops(pool) / cycles;
    c.port = here_rate(pool, here_copy, &h, 2 * bytes) / cycles;
    c.memory = here_rate(pool, here_stream, &h, bytes);
    c.random = here_rate(pool, here_random, &h, bytes);
    c.launch = here_launch(pool);
    free(h.sum);
    free(h.memory);
    df_end(pool);
    return c;
}
#endif
