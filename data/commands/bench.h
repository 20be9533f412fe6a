/* bench.h: how fast: the machine's own peak, and kernels and whole steps
 * measured beside it.
 *
 * Shared machines vary by a third within minutes. So no figure stands alone:
 * right before each one the rate of the processor's widest multiply-add is
 * measured in every worker (cpu.h), and the share of that peak is what is
 * compared. A product reports its best of several runs, a whole step its
 * median.
 *
 *     768 -> 3072, 256 tokens, dense, forward             82.4 GFLOP/s   84 % of peak    14.660 ms
 *
 * FLOPs are those of the kept weights: a matrix that keeps an eighth counts an
 * eighth. It refuses to compare figures of two moments: what a share of the
 * peak cannot settle takes pairs of runs. */
#ifndef BENCH_H
#define BENCH_H
#include "../base/cpu.h"
#include "../base/stats.h"
#include "../run/adamw.h"
#include "../run/chip.h"
#include "../run/masks.h"
#include "../run/peak.h"

/* Prints one measured figure: its rate and its share of the peak measured
 * beside it; to *json too. step: it is a whole step's. */
static inline void bench_line(Out *json, const char *what, double flops,
                              double share, double ms, bool step) {
    printf("%-64s %7.1f GFLOP/s  %3.0f %% of peak", what, flops / 1e9,
           100 * share);
    if (ms > 0) printf("  %8.*f ms", step ? 1 : 3, ms);
    putchar('\n');
    fflush(stdout);
    json_begin(json, NULL, '{');
    json_member_text(json, "name", what);
    json_member_put(json, "gflops", flops / 1e9);
    json_member_put(json, "peak_share", share);
    json_member_put(json, "ms", ms > 0 ? ms : NAN);
    json_member_put(json, "step_ms", step ? ms : NAN);
    json_close(json, '}');
}

enum { BENCH_T = 256 };             /* tokens of a product */

typedef struct {
    SpMat mat;
    float *w;               /* (lines, 16) */
    float *dw;
    float *x;               /* (256 / 16, IC, 16) */
    float *y;               /* (256 / 16, OC, 16) */
    uint32_t *row;          /* 0, 1, 2 .. */
    size_t groups;
    size_t panel;           /* groups */
    int product;            /* 0 forward, 1 backward-data, 2 backward-weight */
} BenchProduct;

/* One product of all tokens, panel by panel. */
static inline void bench_product(const BenchProduct *b) {
    const SpBlocks all = {&b->mat, 0, b->mat.nb};
    SpPanel x = {b->x, b->mat.IC * LINE, b->row};
    SpPanel y = {b->y, b->mat.nb * LINE * LINE, b->row};
    for (size_t g = 0; g < b->groups; g += b->panel) {
        if (b->product == 0) sp_forward(all, b->w, x, y, b->panel);
        else if (b->product == 1) sp_backward_data(all, b->w, y, x, b->panel);
        else sp_backward_weight(all, b->dw, y, x, b->panel);
        x = sp_group(x, b->panel);
        y = sp_group(y, b->panel);
    }
}
/* A matrix, dense (w = 0) or of blocks of 16xw of which that share is 0, with
 * its input and output. */
static inline BenchProduct bench_matrix(size_t IC, size_t OC, size_t w,
                                        double sparsity, size_t panel) {
    const size_t nb = OC / LINE;
    const size_t J = w ? IC / w : 1;
    BenchProduct b = {.groups = BENCH_T / LINE, .panel = panel / LINE};
    uint8_t *on = mem_new(nb * J, 1);                       /* (nb,J) */
    if (w)
        sp_mask_balanced(on, nb, J, sp_per_row(1 - sparsity, J), 1);
    b.mat = sp_pattern(OC, IC, w ? w : 1, w ? on : NULL);
    free(on);
    b.w = mem_new(b.mat.lines, LINE * sizeof(float));
    b.dw = mem_new(b.mat.lines, LINE * sizeof(float));
    b.x = mem_new(BENCH_T * IC, sizeof(float));
    b.y = mem_new(BENCH_T * OC, sizeof(float));
    b.row = mem_new(size_max(IC, OC), sizeof *b.row);
    for (size_t i = 0; i < size_max(IC, OC); i++) b.row[i] = (uint32_t)i;
    for (size_t i = 0; i < b.mat.lines * LINE; i++)
        b.w[i] = (float)(rng_f64(1, i) - 0.5);
    return b;
}
static inline void bench_matrix_free(BenchProduct *b) {
    sp_free(&b->mat);
    free(b->w);
    free(b->dw);
    free(b->x);
    free(b->y);
    free(b->row);
}
/* One run of a product, beside a fresh measurement of the peak, which is
 * returned; *took: its seconds. */
static inline double bench_once(const BenchProduct *b, DfPool *one,
                                double *took) {
    for (size_t i = 0; i < BENCH_T * b->mat.IC; i++)
        b->x[i] = (float)(rng_f64(2, i) - 0.5);
    for (size_t i = 0; i < BENCH_T * b->mat.OC; i++)
        b->y[i] = (float)(rng_f64(3, i) - 0.5);
    const double peak = peak_flops(one);
    bench_product(b);                                       /* once to have it in the caches */
    const double start = seconds();
    bench_product(b);
    *took = seconds() - start;
    return peak;
}
/* The three products of one matrix; w and sparsity as above. */
static inline void bench_products(size_t IC, size_t OC, size_t w,
                                  const Options *o, DfPool *one, Out *json) {
    static const char *const name[3] = {"forward", "backward-data",
                                        "backward-weight"};
    BenchProduct b = bench_matrix(IC, OC, w, o->zeros, o->panel);
    const double kept = (double)(b.mat.lines * LINE);
    const double flops = 2 * BENCH_T * kept;
    char what[128];
    char block[64] = "dense";
    if (w)
        snprintf(block, sizeof block, "%.3g %% in 16x%zu",
                 100 * kept / (double)(IC * OC), w);
    for (b.product = 0; b.product < 3; b.product++) {
        double best = 0;
        double share = 0;
        for (int n = 0; n < (w ? 25 : 9); n++) {
            double took;
            const double peak = bench_once(&b, one, &took);
            if (flops / took / peak <= share) continue;
            share = flops / took / peak;
            best = flops / took;
        }
        snprintf(what, sizeof what, "%zu -> %zu, %d tokens, %s, %s", IC, OC,
                 (int)BENCH_T, block, name[b.product]);
        bench_line(json, what, best, share, 1000 * flops / best, false);
    }
    bench_matrix_free(&b);
}

/* A step to measure: B sequences of T tokens, the four matrices of each layer
 * that sparse. */
typedef struct {
    GptConfig c;
    size_t B, T;
    double sparsity;
    size_t threads;
    size_t steps;           /* so many are measured */
} BenchStep;

/* A random model for it. */
static inline Gpt *bench_model(const BenchStep *b, const Options *o) {
    SpMat *mats = b->sparsity > 0 ? masks_new(o, &b->c, NULL) : NULL;
    Gpt *m = gpt_make(b->c, mats, true, true);
    free(mats);
    gpt_init(m, 1, true);
    return m;
}
/* n random ids below V. */
static inline int32_t *bench_ids(uint64_t key, size_t n, size_t V) {
    int32_t *id = mem_new(n, sizeof *id);
    for (size_t i = 0; i < n; i++) id[i] = (int32_t)(rng_u64(key, i) % V);
    return id;
}
/* The gradient's norm and step 1, 2 .. of AdamW. */
static inline void bench_update(GptRun *r, size_t step) {
    const GptAdam adam = {1e-4, 0.9, 0.95, 1e-8, 0.1, 1};
    gpt_adamw(r->m, r->pool, &adam, step, gpt_gradient_norm(r->m, r->pool));
}
/* Runs and times the steps, and before them one that fills the caches, or those that
 * try which schedule is faster. took (steps): the seconds of each; peak (steps): the
 * peak in FLOP/s right before it. */
static inline void bench_steps_run(const BenchStep *b, GptRun *r, double *took,
                                   double *peak) {
    int32_t *inputs = bench_ids(1, b->B * b->T, b->c.V);    /* (B,T) */
    int32_t *targets = bench_ids(2, b->B * b->T, b->c.V);   /* (B,T) */
    const size_t before = size_max(1, r->trial.left);
    for (size_t n = 0; n < before + b->steps; n++) {
        const double rate = peak_flops(r->pool);
        const double start = seconds();
        train_batch(r, b->B, inputs, targets);
        bench_update(r, n + 1);
        if (n < before) continue;
        took[n - before] = seconds() - start;
        peak[n - before] = rate;
    }
    free(inputs);
    free(targets);
}
/* The median seconds of a whole training step. */
static inline double bench_step(BenchStep b, const Options *opt, Out *json) {
    const GptConfig *c = &b.c;
    const Options o = {
        .batch = b.B,
        .context = b.T,
        .group = AUTO,
        .sparsity = b.sparsity,
        .block = opt->block,
        .mask = "balanced",
        .spread = "uniform",
        .update = "static",
    };
    DfPool *pool = df_begin(b.threads);
    Gpt *m = bench_model(&b, &o);
    GptRun *r = gpt_run_new(m, pool, group_size(&o, c, b.B, GPT_TRAIN), b.T,
                            opt->panel, GPT_TRAIN);
    schedule_set(r, opt);
    const double flops = flops_per_token(m, b.T, false) * (double)(b.B * b.T);
    double *took = mem_new(b.steps, sizeof *took);          /* (steps) */
    double *share = mem_new(b.steps, sizeof *share);        /* (steps) */
    bench_steps_run(&b, r, took, share);
    for (size_t n = 0; n < b.steps; n++) share[n] = flops / took[n] / share[n];
    const double step = stats_median(took, b.steps);
    char what[96];
    snprintf(what, sizeof what,
             "step, %zu layers x %zu, T=%zu, V=%zu, B=%zu, %g %% sparse, %zu thread%s",
             c->L, c->C, b.T, c->V, b.B, 100 * b.sparsity, b.threads,
             b.threads > 1 ? "s" : "");
    bench_line(json, what, flops / step, stats_median(share, b.steps),
               1000 * step, true);
    free(took);
    free(share);
    gpt_run_free(r);
    gpt_free(m);
    df_end(pool);
    return step;
}

/* What is measured, by so many threads, and what was built: a few lines, and members of
 * *json. */
static inline void bench_machine(size_t threads, Out *json) {
    DfPool *pool = df_begin(threads);
    const double trip = 1e9 * peak_round_trip(pool);    /* ns */
    char name[128];
    char caches[128];
    char build[256];
    const char *compiler = "clang";
#ifndef __clang__
    compiler = "gcc";
#endif
    cpu_name(name);
    cpu_caches(caches);
    snprintf(build, sizeof build, "%s %.60s, %s", compiler, __VERSION__,
             cpu_width_name(LANES));
    printf("processor  %s: %s%s%s\n", name, cpu_width_name(cpu_lanes()),
           *caches ? "; " : "", caches);
    printf("build      %s\n", build);
    if (trip > 0)
        printf("workers    a line of memory goes from the first to the last and back in "
               "%.0f ns\n",
               trip);
    peak_note();
    df_end(pool);
    json_member_text(json, "processor", name);
    json_member_text(json, "processor_width", cpu_width_name(cpu_lanes()));
    json_member_text(json, "caches", caches);
    json_member_text(json, "build", build);
    json_member_put(json, "round_trip_ns", trip);
}

/* The products of both matrices of the MLP; w as in bench_products. */
static inline void bench_both(size_t w, const Options *o, DfPool *one,
                              Out *json) {
    bench_products(768, 3072, w, o, one, json);
    bench_products(3072, 768, w, o, one, json);
}

/* How much faster the FLOPs of that sparsity would allow a step to be. */
static inline double bench_ratio(const GptConfig *c, double sparsity) {
    const double linear = 12.0 * (double)(c->L * c->C * c->C);
    const double rest = (double)(c->V * c->C) + 256.0 * (double)(c->C * c->L);
    return (linear + rest) / (linear * (1 - sparsity) + rest);
}
/* Whole steps of several models, dense and sparse, with one thread and with
 * all. p1, pn: FLOP/s of the peak with one thread and with all. */
static inline void bench_steps(const Options *o, double p1, double pn,
                               Out *json) {
    static const double sparsity[] = {0.5, 0.75, 0.875, 0.9, 0.95};
    const size_t all = o->threads;
    const BenchStep small = {{6, 6, 384, 1024, 256}, 8, 256, 0, all, 5};
    const BenchStep middle = {{12, 12, 768, 4096, 256}, 8, 256, 0, all, 3};
    const BenchStep gpt2 = {{12, 12, 768, 50257, 1024}, 4, 64, 0, all, 5};
    BenchStep one = middle;
    BenchStep sparse = middle;
    one.threads = 1;
    sparse.steps = 5;
    bench_step(small, o, json);
    const double alone = bench_step(one, o, json);
    const double dense = bench_step(middle, o, json);
    printf("%zu threads are %.2fx one thread; the peak's own scaling is %.2fx\n",
           all, alone / dense, pn / p1);
    for (size_t k = 0; k < sizeof sparsity / sizeof *sparsity; k++) {
        sparse.sparsity = sparsity[k];
        const double ratio = dense / bench_step(sparse, o, json);
        printf("    %.2fx the dense step; its FLOPs would allow %.2fx\n", ratio,
               bench_ratio(&middle.c, sparsity[k]));
    }
    bench_step(gpt2, o, json);
}

static inline int cmd_bench(int argc, char **argv) {
    Options *o = options_read(argc, argv, BENCH, NULL);
    Out json = {0};
    outputs_check(o, NULL, 0);
    static const char *const of_steps[] = {"schedule", "chip", "tiles", "sram",
                                           "depth"};
    const size_t n = o->products ? sizeof of_steps / sizeof *of_steps : 0;
    for (size_t k = 0; k < n; k++)
        if (option_given(o, of_steps[k]))
            usage("--%s: is of whole steps, which --products leaves out",
                  of_steps[k]);
    if (!o->products) parse_chip(o);            /* what is wrong there is said first */
    parse_block(o);
    if (o->json) json = out_open(o->json);
    json_begin(&json, NULL, '{');
    bench_machine(o->threads, &json);
    DfPool *one = df_begin(1);
    DfPool *all = df_begin(o->threads);
    const double p1 = peak_flops(one);
    const double pn = peak_flops(all);
    df_end(all);
    json_begin(&json, "results", '[');
    bench_line(&json, "multiply-adds, 1 thread", p1, 1, 0, false);
    char what[64];
    snprintf(what, sizeof what, "multiply-adds, %zu thread%s", o->threads,
             o->threads > 1 ? "s" : "");
    bench_line(&json, what, pn, 1, 0, false);
    bench_both(0, o, one, &json);
    if (o->products) bench_both(parse_block(o), o, one, &json);
    else
        for (size_t w = 1; w <= 16; w *= 2) bench_both(w, o, one, &json);
    df_end(one);
    if (!o->products) bench_steps(o, p1, pn, &json);
    json_close(&json, ']');
    json_end(&json);
    options_free(o);
    return 0;
}
#endif
