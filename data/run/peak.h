/* peak.h: what a run's speed is measured against: the machine's own rate of multiply-adds, and the FLOPs that
 * training takes. */
#ifndef PEAK_H
#define PEAK_H
#include "../../gpt.h"

/* Twelve independent chains of a million multiply-adds each. */
static inline void peak_task(void *arg, size_t task, size_t worker) {
    float *sink = arg;
    vf a[12];
    (void)worker;
    UNROLL for (int i = 0; i < 12; i++) a[i] = vf_all((float)i);
    const vf m = vf_all(sink[0]), c = vf_all(sink[1]);
    for (int n = 0; n < 1000000; n++) { UNROLL for (int i = 0; i < 12; i++) a[i] = vf_fma(a[i], m, c); }
    UNROLL for (int i = 0; i < 12; i++) vf_store(sink + 16 + task * 256 + (size_t)i * LANES, a[i]);
}

/* Multiply-add rate of all workers of a pool in FLOP/s, the best of a few short runs. */
static inline double peak_flops(DfPool *pool) {
    float *sink = mem_new(16 + 256 * pool->workers, sizeof *sink);
    double best = 0;
    sink[0] = 0.9999f, sink[1] = 0.1f;
    for (int n = 0; n < 5; n++) {
        const double t = seconds();
        df_run(pool, peak_task, sink, pool->workers);
        best = fmax(best, (double)pool->workers * 12e6 * LANES * 2 / (seconds() - t));
    }
    free(sink);
    return best;
}

/* FLOPs of training on one token: 6 per kept weight (dense: per weight) of a linear layer or the head, and
 * attention. */
static inline double flops_per_token(const Gpt *m, size_t T, bool dense) {
    double weights = 0;
    for (size_t k = 0; k < m->count; k++)
        if (k == WTE || m->table[k].in_out)
            weights += (double)(dense ? gpt_elements(&m->table[k]) : sp_elements(&m->table[k].mat));
    return 6 * weights + 6.0 * (double)T * (double)m->c.C * (double)m->c.L;
}
#endif
