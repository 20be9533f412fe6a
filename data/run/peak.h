/* peak.h: what a run's speed is measured against: the machine's own rate of
 * multiply-adds, and the FLOPs that training takes. */
#ifndef PEAK_H
#define PEAK_H
#include "../../gpt.h"
#include "../base/cpu.h"

typedef struct {
    size_t steps;                           /* of all chains, a task */
    double *flops;                          /* [tasks] */
} PeakTasks;

static inline void peak_task(void *arg, size_t task, size_t worker) {
    const PeakTasks *p = arg;
    (void)worker;
    p->flops[task] = cpu_multiply_add(p->steps);
}
/* The multiply-adds of so many tasks at once, in FLOP/s; they took *took seconds. */
static inline double peak_run(DfPool *pool, size_t tasks, size_t steps, double *took) {
    PeakTasks p = {steps, mem_new(tasks, sizeof *p.flops)};
    const double start = seconds();
    df_run(pool, peak_task, &p, tasks);
    *took = seconds() - start;
    const double rate = (double)tasks * p.flops[0] / *took;
    free(p.flops);
    return rate;
}
enum { PEAK_RUNS = 5 };
static const double PEAK_RUN = 0.002;       /* seconds that one takes at least */
static const double PEAK_SECONDS = 0.1;     /* after which no more than these are made */
/* The processor's own multiply-add rate with all workers of a pool, in FLOP/s: the best
 * of a few runs, and of more while that is far from so many times what one worker does
 * alone, for threads that have just begun may still share a core. Not the compiler's: a
 * build that is narrower than the processor has a smaller share of it. */
static inline double peak_flops(DfPool *pool) {
    const double start = seconds();
    size_t steps = 1000;
    double took;
    double alone = peak_run(pool, 1, steps, &took);
    while (took < PEAK_RUN) {
        steps *= 2;
        alone = peak_run(pool, 1, steps, &took);
    }
    const double enough = 0.8 * (double)df_seats(pool) * alone;
    double best = 0;
    for (int n = 0; n < PEAK_RUNS ||
                    (best < enough && seconds() - start < PEAK_SECONDS); n++)
        best = fmax(best, peak_run(pool, pool->workers, steps, &took));
    return best;
}

/* A line of memory that the first and the last worker write by turns. */
typedef struct {
    _Alignas(64) atomic_size_t turn;        /* even: the first writes next */
    size_t last;                            /* worker */
    size_t trips;
} PeakPingPong;

static inline void peak_ping_pong(void *arg, size_t task, size_t worker) {
    PeakPingPong *p = arg;
    (void)worker;
    if (task != 0 && task != p->last) return;
    for (size_t n = task > 0; n < 2 * p->trips; n += 2) {
        while (atomic_load(&p->turn) != n) df_relax();
        atomic_store(&p->turn, n + 1);
    }
}
/* Seconds in which a line goes from the first worker to the last and back, the best of a
 * few runs: some 60 ns where they share a cache, several times as long where they do
 * not. 0 if there is only one, or one CPU for all. */
static inline double peak_round_trip(DfPool *pool) {
    double best = INFINITY;
    if (df_seats(pool) < 2) return 0;
    for (int n = 0; n < 5; n++) {
        PeakPingPong p = {.last = pool->workers - 1, .trips = 2000};
        const double start = seconds();
        df_run(pool, peak_ping_pong, &p, pool->workers);
        best = fmin(best, (seconds() - start) / (double)p.trips);
    }
    return best;
}

/* Says so if the processor is wider than what this binary was compiled for, which
 * then leaves half of it unused, or more. */
static inline void peak_note(void) {
    if (LANES < cpu_lanes())
        note("built for %s, on a processor with %s: make clean, then make "
             "ARCH=-march=native would use it",
             cpu_width_name(LANES), cpu_width_name(cpu_lanes()));
}

/* FLOPs of training on one token: 6 per kept weight (dense: per weight) of a
 * linear layer or the head, and attention. */
static inline double flops_per_token(const Gpt *m, size_t T, bool dense) {
    double weights = 0;
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (k != WTE && !p->in_out) continue;
        weights += (double)(dense ? gpt_elements(p) : sp_elements(&p->mat));
    }
    return 6 * weights + 6.0 * (double)T * (double)m->c.C * (double)m->c.L;
}
#endif
