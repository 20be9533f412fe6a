/* test_gpt.h: the model. The specification against finite differences and against
 * dumps that PyTorch wrote in float64; the machine's version against the
 * specification; the same bits for every cut of the work. */
#ifndef TEST_GPT_H
#define TEST_GPT_H
#include "check.h"
#include "../data/model/checkpoint.h"
#include "../data/run/adamw.h"
#include "../data/run/schedule.h"

/* ||a - b|| / max(||b||, floor) over n elements */
static double gpt_distance(const double *a, const double *b, size_t n, double floor) {
    double diff = 0;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        diff += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(diff) / fmax(sqrt(norm), floor);
}
/* The largest |a - b|. */
static double gpt_worst(const double *a, const double *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}
/* Tensor k of the machine, row by row; flat: weights, gradient .. */
static double *gpt_values(const Gpt *m, const float *flat, size_t k) {
    const size_t n = gpt_elements(&m->table[k]);
    float *f = mem_new(n, sizeof *f);
    double *d = mem_new(n, sizeof *d);
    gpt_get(&m->table[k], flat, f);
    for (size_t i = 0; i < n; i++) d[i] = f[i];
    free(f);
    return d;
}

/* ---- a specification and a machine with the same weights, and a batch ---- */

typedef struct {
    Spec *s;
    Gpt *m;
    DfPool *pool;
    int32_t *inputs;            /* (B,T) */
    int32_t *targets;           /* (B,T) */
} GptPair;

/* Patterns of random blocks 16 x w, or with w = 0 of random elements of 16 x 1
 * blocks, at that density. */
static SpMat *some_masks(const GptConfig *c, size_t w, double density) {
    SpMat *mats = mem_new(gpt_count(c), sizeof *mats);
    GptParam *table = gpt_table(c);
    const size_t width = w ? w : 1;
    for (size_t k = 0; k < gpt_count(c); k++) {
        const size_t OC = table[k].cols;
        const size_t IC = table[k].rows;
        if (!gpt_maskable(&table[k]) || IC % width) continue;
        const size_t nb = (OC + LINE - 1) / LINE;
        const size_t J = IC / width;
        uint8_t *on = mem_new(nb * J, 1);
        sp_mask_random(on, nb, J, sp_per_row(density, J), rng_key(4, table[k].name));
        SpMat *m = &mats[k];
        *m = sp_pattern(OC, IC, width, on);
        if (!w) m->keep = mem_new(m->lines, sizeof *m->keep);
        for (size_t l = 0; !w && l < m->lines; l++)
            m->keep[l] = (uint16_t)rng_u64(5, l);
        free(on);
    }
    free(table);
    return mats;
}

/* Random weights, biases and gains too; sd is the deviation of the matrices.
 * mats: as for gpt_make, freed. */
static GptPair pair_masked(GptConfig c, SpMat *mats, size_t B, size_t T, double sd,
                           size_t workers) {
    GptPair p = {
        .s = spec_new(c, B, T),
        .m = gpt_make(c, mats, true, true),
        .pool = df_begin_on(workers, workers),  /* all awake, even on one core */
        .inputs = mem_new(B * T, sizeof(int32_t)),
        .targets = mem_new(B * T, sizeof(int32_t)),
    };
    free(mats);
    for (size_t k = 0; k < p.m->count; k++) {
        const GptParam *t = &p.m->table[k];
        const double deviation = t->rank == 2 ? sd : 0.1;
        float *f = mem_new(gpt_elements(t), sizeof *f);
        for (size_t i = 0; i < gpt_elements(t); i++) {
            const double noise = rng_normal(rng_key(3, t->name), i);
            f[i] = (float)(t->mean + deviation * noise);
        }
        gpt_set(t, p.m->w, f);
        gpt_get(t, p.m->w, f);                  /* masked ones as zeros */
        for (size_t i = 0; i < gpt_elements(t); i++) p.s->w[k][i] = f[i];
        free(f);
    }
    for (size_t i = 0; i < B * T; i++) {
        p.inputs[i] = (int32_t)(rng_u64(1, i) % c.V);
        p.targets[i] = (int32_t)(rng_u64(2, i) % c.V);
    }
    return p;
}
static GptPair pair_new(GptConfig c, size_t B, size_t T, double sd, size_t workers) {
    return pair_masked(c, NULL, B, T, sd, workers);
}
static void pair_free(GptPair *p) {
    spec_free(p->s);
    gpt_free(p->m);
    df_end(p->pool);
    free(p->inputs);
    free(p->targets);
}

/* The specification knows no masks: zeroes its gradient where the machine keeps
 * nothing. */
static void mask_spec(GptPair *p) {
    for (size_t k = 0; k < p->m->count; k++) {
        const GptParam *t = &p->m->table[k];
        float *ones = mem_new(p->m->floats, sizeof *ones);
        float *kept = mem_new(gpt_elements(t), sizeof *kept);
        for (size_t i = 0; i < p->m->floats; i++) ones[i] = 1;
        gpt_get(t, ones, kept);
        for (size_t i = 0; i < gpt_elements(t); i++)
            p->s->dw[k][i] *= (double)kept[i];
        free(ones);
        free(kept);
    }
}

/* Forward and backward of the specification, masked as the machine is. */
static void pair_spec(GptPair *p) {
    spec_forward(p->s, p->inputs, p->targets);
    spec_backward(p->s, p->inputs);
    mask_spec(p);
}

/* w: masks as some_masks makes them; DENSE: none. */
enum { DENSE = -1, ELEMENTS = 0 };
static SpMat *masks_or_none(const GptConfig *c, int w, double density) {
    return w == DENSE ? NULL : some_masks(c, (size_t)w, density);
}

/* Loss, norm and every gradient of the machine against the specification. */
static void check_against_spec(GptConfig c, size_t B, size_t T, size_t P, double sd,
                               int w) {
    GptPair p = pair_masked(c, masks_or_none(&c, w, 0.3), B, T, sd, 2);
    GptRun *r = gpt_run_new(p.m, p.pool, B, T, P, GPT_TRAIN);
    double sum = 0;
    gpt_train(r, p.inputs, p.targets, B * T, &sum);
    pair_spec(&p);
    const double loss = sum / (double)(B * T);
    const double norm = spec_norm(p.s);
    const double mine = gpt_gradient_norm(p.m, p.pool);
    CHECK(fabs(loss - p.s->loss) <= 1e-6 * p.s->loss, "loss %.9g, expected %.9g",
          loss, p.s->loss);
    CHECK(fabs(mine - norm) <= 1e-5 * norm, "gradient norm %.9g, expected %.9g",
          mine, norm);
    for (size_t k = 0; k < p.m->count; k++) {
        const size_t n = gpt_elements(&p.m->table[k]);
        double *g = gpt_values(p.m, p.m->g, k);
        const double d = gpt_distance(g, p.s->dw[k], n, 1e-6 * norm);
        CHECK(d <= 1e-5,
              "L=%zu C=%zu V=%zu B=%zu T=%zu P=%zu: gradient of %s is off by %.3g",
              c.L, c.C, c.V, B, T, P, p.m->table[k].name, d);
        free(g);
    }
    gpt_run_free(r);
    pair_free(&p);
}

/* The specification's derivative by element i of tensor k against
 * (loss(w + h) - loss(w - h)) / 2h. */
static void check_difference(GptPair *p, size_t k, size_t i) {
    const double h = 1e-5;
    const double keep = p->s->w[k][i];
    const double g = p->s->dw[k][i];
    double at[2];
    for (int side = 0; side < 2; side++) {
        p->s->w[k][i] = keep + (side ? h : -h);
        spec_forward(p->s, p->inputs, p->targets);
        at[side] = p->s->loss;
    }
    p->s->w[k][i] = keep;
    const double want = (at[1] - at[0]) / (2 * h);
    CHECK(fabs(want - g) <= 1e-6 * fmax(1e-2, fabs(g)),
          "%s[%zu]: %.9g, expected %.9g", p->m->table[k].name, i, g, want);
}
/* Every gradient, at a few elements. */
static void test_finite_differences(void) {
    GptPair p = pair_new((GptConfig){2, 2, 6, 11, 5}, 2, 5, 0.4, 1);
    pair_spec(&p);
    for (size_t k = 0; k < p.m->count; k++) {
        const size_t n = gpt_elements(&p.m->table[k]);
        const size_t step = n > 20 ? n / 10 : 1;
        for (size_t i = 0; i < n; i += step) check_difference(&p, k, i);
    }
    pair_free(&p);
}

/* ---- golden dumps -------------------------------------------------------- */

/* Tensor kind + name of a dump and its *n values; NULL if it has none. */
static double *golden_values(const Safetensors *st, const char *kind,
                             const char *name, size_t *n) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", kind, name);
    const StTensor *t = st_find(st, full);
    if (!t) return NULL;
    double *d = mem_new(t->count, sizeof *d);
    float *f = mem_new(t->count, sizeof *f);
    if (t->type == ST_U8 || t->type == ST_I32)
        for (size_t i = 0; i < t->count; i++)
            d[i] = t->type == ST_U8 ? t->data[i] : (double)get_u32(t->data + 4 * i);
    else {
        st_floats(t, f);
        for (size_t i = 0; i < t->count; i++) d[i] = f[i];
    }
    *n = t->count;
    free(f);
    return d;
}
static double golden_number(const Safetensors *st, const char *key) {
    return atof(st_meta(st, key));
}
static size_t golden_size(const Safetensors *st, const char *key) {
    return (size_t)golden_number(st, key);
}

/* A dump, and the specification and a machine with its weights, masks and batch. */
typedef struct {
    Safetensors st;
    GptPair p;
    double **moment1;               /* the specification's */
    double **moment2;
    GptAdam adam;
} Golden;

/* The dump's masks, for the machine. */
static void golden_masks(Golden *g, GptConfig c) {
    const GptParam *table = g->p.m->table;
    SpMat *mats = mem_new(g->p.m->count, sizeof *mats);
    for (size_t k = 0; k < g->p.m->count; k++)
        if (gpt_maskable(&table[k]))
            checkpoint_element_mask(&g->st, &table[k], 4, &mats[k]);
    gpt_free(g->p.m);
    g->p.m = gpt_make(c, mats, true, true);
    free(mats);
}
/* Its weights, for both. */
static void golden_weights(Golden *g) {
    for (size_t k = 0; k < g->p.m->count; k++) {
        const GptParam *t = &g->p.m->table[k];
        size_t n;
        double *d = golden_values(&g->st, "param.", t->name, &n);
        float *f = mem_new(n, sizeof *f);
        memcpy(g->p.s->w[k], d, n * sizeof *d);
        for (size_t i = 0; i < n; i++) f[i] = (float)d[i];
        gpt_set(t, g->p.m->w, f);
        free(d);
        free(f);
    }
}
static Golden golden_open(const char *path) {
    Golden g = {.st = st_read(path)};
    const StTensor *in = st_find(&g.st, "inputs");
    const GptConfig c = {
        .L = golden_size(&g.st, "n_layer"),
        .NH = golden_size(&g.st, "n_head"),
        .C = golden_size(&g.st, "n_embd"),
        .V = golden_size(&g.st, "vocab_size"),
        .ctx = golden_size(&g.st, "n_ctx"),
    };
    g.p = pair_new(c, in->shape[0], in->shape[1], 0, 2);
    golden_masks(&g, c);
    golden_weights(&g);
    g.moment1 = spec_arrays(g.p.m->table, g.p.m->count);
    g.moment2 = spec_arrays(g.p.m->table, g.p.m->count);
    g.adam = (GptAdam){
        .lr = golden_number(&g.st, "learning_rate"),
        .beta1 = golden_number(&g.st, "beta1"),
        .beta2 = golden_number(&g.st, "beta2"),
        .eps = golden_number(&g.st, "eps"),
        .decay = golden_number(&g.st, "weight_decay"),
        .clip = golden_number(&g.st, "grad_clip"),
    };
    const StTensor *target = st_find(&g.st, "targets");
    for (size_t i = 0; i < in->count; i++) {
        g.p.inputs[i] = (int32_t)get_u32(in->data + 4 * i);
        g.p.targets[i] = (int32_t)get_u32(target->data + 4 * i);
    }
    return g;
}
static void golden_close(Golden *g) {
    for (size_t k = 0; k < g->p.m->count; k++) {
        free(g->moment1[k]);
        free(g->moment2[k]);
    }
    free(g->moment1);
    free(g->moment2);
    pair_free(&g->p);
    st_free(&g->st);
}

/* Loss, logits and gradients before any update; mine: the machine's loss, norm:
 * the specification's gradient's. */
static void golden_first(const Golden *g, const char *path, double mine,
                         double norm) {
    const Spec *s = g->p.s;
    const Gpt *m = g->p.m;
    size_t n;
    double *loss = golden_values(&g->st, "", "loss", &n);
    double *logits = golden_values(&g->st, "", "logits", &n);
    CHECK(fabs(s->loss - *loss) <= 1e-6 * *loss, "%s: loss %.9g, expected %.9g", path,
          s->loss, *loss);
    CHECK(fabs(mine - *loss) <= 1e-6 * *loss, "%s: loss %.9g, expected %.9g", path,
          mine, *loss);
    CHECK(n == s->B * s->T * s->c.V, "%s: %zu logits", path, n);
    CHECK(gpt_distance(s->logits, logits, n, 0) <= 1e-6, "%s: logits", path);
    for (size_t k = 0; k < m->count; k++) {
        const char *name = m->table[k].name;
        double *want = golden_values(&g->st, "grad.", name, &n);
        double *fast = gpt_values(m, m->g, k);
        const double a = gpt_distance(s->dw[k], want, n, 1e-6 * norm);
        const double b = gpt_distance(fast, want, n, 1e-6 * norm);
        CHECK(a <= 1e-4, "%s: specification's gradient of %s off by %.3g", path, name,
              a);
        CHECK(b <= 1e-4, "%s: gradient of %s off by %.3g", path, name, b);
        free(want);
        free(fast);
    }
    free(loss);
    free(logits);
}
/* The weights after all steps. */
static void golden_after(const Golden *g, const char *path, size_t steps) {
    const Gpt *m = g->p.m;
    for (size_t k = 0; k < m->count; k++) {
        const char *name = m->table[k].name;
        size_t n;
        double *want = golden_values(&g->st, "after.", name, &n);
        double *fast = gpt_values(m, m->w, k);
        const double off = gpt_worst(g->p.s->w[k], want, n);
        CHECK(off <= 1e-5, "%s: specification's %s after %zu steps is off by %.3g",
              path, name, steps, off);
        /* The key third of c_attn.bias has a gradient of exactly zero, whose
         * rounding AdamW magnifies. */
        const bool keys = strstr(name, "c_attn.bias") != NULL;
        for (size_t part = 0; part < (keys ? 3 : 1); part++) {
            const size_t len = keys ? n / 3 : n;
            if (keys && part == 1) continue;
            const double worst = gpt_worst(fast + part * len, want + part * len, len);
            CHECK(worst <= 1e-5, "%s: %s after %zu steps is off by %.3g", path, name,
                  steps, worst);
        }
        free(want);
        free(fast);
    }
}
static void test_golden(const char *path) {
    Golden g = golden_open(path);
    Spec *s = g.p.s;
    Gpt *m = g.p.m;
    const size_t N = s->B * s->T;
    const size_t steps = golden_size(&g.st, "steps");
    size_t n;
    double *step_loss = golden_values(&g.st, "", "step_loss", &n);
    double *step_norm = golden_values(&g.st, "", "step_grad_norm", &n);
    GptRun *r = gpt_run_new(m, g.p.pool, s->B, s->T, 64, GPT_TRAIN);
    for (size_t step = 0; step < steps; step++) {
        double sum = 0;
        gpt_train(r, g.p.inputs, g.p.targets, N, &sum);
        pair_spec(&g.p);
        const double mine = sum / (double)N;
        const double norm = spec_norm(s);
        const double fast_norm = gpt_gradient_norm(m, g.p.pool);
        if (step == 0) golden_first(&g, path, mine, norm);
        CHECK(fabs(mine - step_loss[step]) <= 1e-5 * step_loss[step],
              "%s: loss of step %zu", path, step);
        CHECK(fabs(norm - step_norm[step]) <= 1e-5 * norm, "%s: norm of step %zu",
              path, step);
        CHECK(fabs(fast_norm - step_norm[step]) <= 1e-4 * norm,
              "%s: norm of step %zu", path, step);
        spec_adamw(s, g.moment1, g.moment2, &g.adam, step + 1);
        gpt_adamw(m, g.p.pool, &g.adam, step + 1, fast_norm);
    }
    golden_after(&g, path, steps);
    free(step_loss);
    free(step_norm);
    gpt_run_free(r);
    golden_close(&g);
}

/* ---- the same bits ------------------------------------------------------- */

static const GptAdam bits_adam = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1};

static uint64_t bits_of(const void *p, size_t bytes) {
    return hash_bytes(HASH_START, p, bytes);
}
/* A hash of loss, gradient and weights after two steps on B sequences of T tokens,
 * `group` at a time. */
static uint64_t bits_of_run(GptPair *p, GptRun *r, size_t B, size_t T,
                            size_t group) {
    const size_t bytes = p->m->floats * sizeof(float);
    uint64_t h = 0;
    for (size_t step = 1; step <= 2; step++) {
        double sum = 0;
        r->dropout.step = step;
        for (size_t b = 0; b < B; b += group) {
            r->B = B - b < group ? B - b : group;
            r->dropout.sequence = b;
            gpt_train(r, p->inputs + b * T, p->targets + b * T, B * T, &sum);
        }
        const double norm = gpt_gradient_norm(p->m, p->pool);
        h = rng_mix(h ^ bits_of(&sum, sizeof sum) ^ bits_of(&norm, sizeof norm) ^
                    bits_of(p->m->g, bytes));
        gpt_adamw(p->m, p->pool, &bits_adam, step, norm);
    }
    return rng_mix(h ^ bits_of(p->m->w, bytes) ^ bits_of(p->m->moment1, bytes));
}
static uint64_t bits_of_training(int w, size_t workers, size_t P, size_t group,
                                 int how) {
    const size_t B = 4;
    const size_t T = 37;
    const GptConfig c = {2, 3, w == DENSE ? 30 : 48, 61, 40};
    GptPair p = pair_masked(c, masks_or_none(&c, w, 0.3), B, T, 0.2, workers);
    GptRun *r = gpt_run_new(p.m, p.pool, group, T, P, how);
    const uint64_t h = bits_of_run(&p, r, B, T, group);
    gpt_run_free(r);
    pair_free(&p);
    return h;
}
/* Of dense, of blocks 16x4, of elements: the bits of every machine and compiler so
 * far, however the work is cut. */
static void test_bits(void) {
    static const struct {
        int w;
        uint64_t bits;
    } expected[] = {{DENSE, 0x7cf1a00172bcc1acu},
                    {4, 0xd9037cbdc8881c27u},
                    {ELEMENTS, 0x6c3031b06e6f63efu}};
    static const size_t workers[] = {1, 2, 3, 8};
    static const size_t panels[] = {16, 32, 64, 128};
    for (int k = 0; k < 3; k++) {
        const int mask = expected[k].w;
        const uint64_t want = bits_of_training(mask, 1, 64, 4, GPT_TRAIN);
        CHECK(want == expected[k].bits,
              "mask %d: other bits than on every machine and compiler so far: %016llx",
              mask, (unsigned long long)want);
        for (size_t w = 0; w < 4; w += QUICK ? 2 : 1)
            for (size_t p = 0; p < 4; p += QUICK ? 3 : 1)
                for (size_t group = QUICK ? 2 : 1; group <= 4; group *= 2) {
                    const int how = (w + p) % 2 ? GPT_TRAIN | GPT_RECOMPUTE : GPT_TRAIN;
                    CHECK(bits_of_training(mask, workers[w], panels[p], group, how) == want,
                          "mask %d, %zu workers, panels of %zu, groups of %zu, made %d", mask,
                          workers[w], panels[p], group, how);
                }
    }
}

/* Whether number `at` of a model, its gradient and its moments are all zero. */
static bool all_zero(const Gpt *m, size_t at) {
    return m->w[at] == 0 && m->g[at] == 0 && m->moment1[at] == 0 &&
           m->moment2[at] == 0;
}
/* After 100 steps a masked element of a kept block, its gradient and its moments
 * are exactly zero. */
static void test_masked_zero(void) {
    const GptConfig c = {1, 2, 32, 40, 20};
    GptPair p = pair_masked(c, some_masks(&c, ELEMENTS, 0.4), 2, 20, 0.1, 1);
    GptRun *r = gpt_run_new(p.m, p.pool, 2, 20, 64, GPT_TRAIN);
    size_t wrong = 0;
    size_t masked = 0;
    for (size_t step = 1; step <= 100; step++) {
        double loss = 0;
        gpt_train(r, p.inputs, p.targets, 40, &loss);
        const double norm = gpt_gradient_norm(p.m, p.pool);
        gpt_adamw(p.m, p.pool, &bits_adam, step, norm);
    }
    for (size_t k = 0; k < p.m->count; k++) {
        const GptParam *t = &p.m->table[k];
        for (size_t r16 = 0; r16 < t->mat.nb; r16++)
            for (size_t l = t->mat.first[r16]; l < t->mat.first[r16 + 1]; l++)
                for (size_t o = 0; o < LINE; o++) {
                    if (sp_kept(&t->mat, r16, l) >> o & 1) continue;
                    masked++;
                    wrong += !all_zero(p.m, t->at + l * LINE + o);
                }
    }
    CHECK(masked > 1000 && !wrong, "%zu of %zu masked elements are not zero", wrong,
          masked);
    gpt_run_free(r);
    pair_free(&p);
}

/* Odd and tiny shapes, small weights and large ones, dense and with every kind of
 * mask; under QUICK a part of them. */
static void test_shapes(void) {
    static const struct {
        GptConfig c;
        size_t B, T, P;
    } shape[] = {
        {{1, 1, 1, 2, 1}, 1, 1, 16},
        {{2, 2, 32, 96, 16}, 2, 16, 64},
        {{3, 3, 30, 61, 40}, 3, 37, 32},
        {{2, 4, 64, 130, 100}, 2, 97, 64},
        {{1, 3, 201, 40, 20}, 2, 20, 32},           /* the head's columns in two slices */
        {{1, 5, 35, 17, 33}, 4, 33, 16},
        {{2, 2, 48, 300, 200}, 1, 200, 128},
    };
    static const int masks[] = {DENSE, ELEMENTS, 4};
    const size_t shapes = QUICK ? 5 : sizeof shape / sizeof *shape;
    for (size_t i = 0; i < shapes; i++)
        for (int large = 0; large < 2; large++)
            for (int k = 0; k < 3; k++) {
                if (QUICK && large && masks[k] != 4) continue;
                check_against_spec(shape[i].c, shape[i].B, shape[i].T, shape[i].P,
                                   large ? 0.3 : 0.05, masks[k]);
            }
}

/* Four groups of an array lie in four parts of a cache of 64 sets, whatever its rows. */
static void test_apart(void) {
    const size_t rows[] = {16, 48, 64, 96, 768, 1600, 2304, 3072};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const ProgArray a = {.rows = rows[k]};
        const size_t lines = prog_stride(&a) / LINE;
        CHECK(lines >= rows[k] && lines <= rows[k] + 16 && lines % 32 == 16,
              "%zu rows: groups %zu lines apart", rows[k], lines);
    }
    CHECK(prog_stride(&(ProgArray){.rows = 0}) == 0, "no rows: not empty");
}

static void test_gpt(void) {
    test_finite_differences();
    test_shapes();
    test_apart();
    test_masked_zero();
    test_golden("test/golden/tiny_dense.safetensors");
    test_golden("test/golden/tiny_sparse.safetensors");
    test_bits();
}
#endif
