/* test_drop.h: dropout: the function that decides, the specification against finite
 * differences, the machine against the specification, and the same bits however a
 * step is cut. (That of a resume is test_train.h's.) */
#ifndef TEST_DROP_H
#define TEST_DROP_H
#include "test_machine.h"

static const Dropout drop_some = {.share = 0.2, .attention = 0.3, .seed = 5, .step = 7};

/* Lanes ask as the specification does, and the share that is dropped lies within 4
 * deviations: of a place, of each row and column of it, and of places that differ by
 * one step, sequence, seed or head. */
static void test_drop_share(void) {
    enum { ROWS = 128, COLUMNS = 256 };
    static const double shares[] = {0.1, 0.5, 0.9};
    for (int s = 0; s < 3; s++)
        for (size_t place = 0; place < 8; place++) {
            const double p = shares[s];
            const Drop d = drop_at(p, 1 + place % 2, place / 2 % 2, place, place / 4);
            static float x[COLUMNS * LINE];
            size_t all = 0;
            size_t row[ROWS] = {0};
            size_t wrong = 0;
            double worst = 0;
            for (size_t t = 0; t < ROWS; t += LINE) {
                for (size_t n = 0; n < COLUMNS * LINE; n++) x[n] = 1;
                drop_lines(d, x, t, 0, COLUMNS);
                for (size_t n = 0; n < COLUMNS * LINE; n++) {
                    const bool keeps = drop_keeps(d, t + n % LINE, n / LINE);
                    wrong += x[n] != (keeps ? d.scale : 0);
                    row[t + n % LINE] += !keeps;
                    all += !keeps;
                }
            }
            CHECK(!wrong, "share %g: %zu lanes are not the specification's", p, wrong);
            const double n = ROWS * COLUMNS;
            CHECK(fabs((double)all - n * p) < 4 * sqrt(n * p * (1 - p)),
                  "share %g, place %zu: %zu of %g dropped", p, place, all, n);
            for (size_t t = 0; t < ROWS; t++)
                worst = larger(worst, fabs((double)row[t] - COLUMNS * p));
            CHECK(worst < 4.7 * sqrt(COLUMNS * p * (1 - p)),
                  "share %g, place %zu: a row is off by %g", p, place, worst);
            for (size_t i = 0; i < COLUMNS; i++) {
                size_t column = 0;
                for (size_t t = 0; t < ROWS; t++) column += !drop_keeps(d, t, i);
                worst = larger(worst, fabs((double)column - ROWS * p));
            }
            CHECK(worst < 4.9 * sqrt(COLUMNS * p * (1 - p)), "share %g: a column is off by %g",
                  p, worst);
        }
}
/* Two places agree as often as chance has it. */
static void test_drop_apart(void) {
    const Drop one = drop_at(0.5, 1, 1, 1, 1);
    const Drop other[4] = {drop_at(0.5, 2, 1, 1, 1), drop_at(0.5, 1, 2, 1, 1),
                           drop_at(0.5, 1, 1, 2, 1), drop_at(0.5, 1, 1, 1, 2)};
    for (int k = 0; k < 4; k++) {
        double same = 0;
        for (size_t n = 0; n < 10000; n++)
            same += drop_keeps(one, n / 100, n % 100) == drop_keeps(other[k], n / 100, n % 100);
        CHECK(fabs(same - 5000) < 4 * 50, "argument %d: %g of 10000 agree", k, same);
    }
}

static void test_drop_differences(void) {
    GptPair p = pair_new((GptConfig){2, 2, 6, 11, 5}, 2, 5, 0.4, 1);
    p.s->dropout = drop_some;
    spec_forward(p.s, p.inputs, p.targets);
    spec_backward(p.s, p.inputs);
    for (size_t k = 0; k < p.m->count; k++)
        for (size_t n = gpt_elements(&p.m->table[k]), i = 0; i < n; i += n > 20 ? n / 10 : 1) {
            const double keep = p.s->w[k][i];
            const double h = 1e-5;
            const double g = p.s->dw[k][i];
            double at[2];
            for (int side = 0; side < 2; side++) {
                p.s->w[k][i] = keep + (side ? h : -h);
                spec_forward(p.s, p.inputs, p.targets);
                at[side] = p.s->loss;
            }
            p.s->w[k][i] = keep;
            CHECK(fabs((at[1] - at[0]) / (2 * h) - g) <= 1e-6 * larger(1e-2, fabs(g)),
                  "%s[%zu]: %.9g, expected %.9g", p.m->table[k].name, i, g,
                  (at[1] - at[0]) / (2 * h));
        }
    pair_free(&p);
}

/* Loss and every gradient of the machine against the specification. */
static void drop_against_spec(GptConfig c, size_t B, size_t T, size_t P, Dropout dropout,
                              int w) {
    SpMat *mats = w < 0 ? NULL : some_masks(&c, (size_t)w, 0.3);
    GptPair p = pair_masked(c, mats, B, T, 0.2, 2);
    GptRun *r = gpt_run_new(p.m, p.pool, B, T, P,
                            dropout.share > 0 ? GPT_TRAIN | GPT_DROP : GPT_TRAIN);
    double loss = 0;
    r->dropout = dropout;
    p.s->dropout = dropout;
    gpt_train(r, p.inputs, p.targets, B * T, &loss);
    loss /= (double)(B * T);
    spec_forward(p.s, p.inputs, p.targets);
    spec_backward(p.s, p.inputs);
    mask_spec(&p);
    const double norm = spec_norm(p.s);
    const double mine = gpt_gradient_norm(p.m, p.pool);
    CHECK(fabs(loss - p.s->loss) <= 1e-6 * p.s->loss, "loss %.9g, expected %.9g", loss,
          p.s->loss);
    CHECK(fabs(mine - norm) <= 1e-5 * norm, "norm %.9g, expected %.9g", mine, norm);
    for (size_t k = 0; k < p.m->count; k++) {
        double *g = gpt_values(p.m, p.m->g, k);
        const double d =
            gpt_distance(g, p.s->dw[k], gpt_elements(&p.m->table[k]), 1e-6 * norm);
        CHECK(d <= 1e-5, "C=%zu T=%zu P=%zu: gradient of %s is off by %.3g", c.C, T, P,
              p.m->table[k].name, d);
        free(g);
    }
    gpt_run_free(r);
    pair_free(&p);
}

/* What is not a training step drops nothing: the loss has the bits of a run without. */
static void test_drop_off(void) {
    const GptConfig c = {2, 2, 32, 96, 40};
    GptPair p = pair_new(c, 2, 37, 0.2, 2);
    GptRun *r[2] = {gpt_run_new(p.m, p.pool, 2, 37, 64, GPT_TRAIN),
                    gpt_run_new(p.m, p.pool, 2, 37, 64, GPT_TRAIN | GPT_DROP)};
    double loss[3] = {0};
    r[1]->dropout = drop_some;
    gpt_eval(r[0], p.inputs, p.targets, &loss[0]);
    gpt_train(r[1], p.inputs, p.targets, 2 * 37, &loss[2]);
    gpt_eval(r[1], p.inputs, p.targets, &loss[1]);
    CHECK(loss[0] == loss[1], "evaluated %.17g, with dropout %.17g", loss[0], loss[1]);
    CHECK(loss[2] != loss[0], "a training step drops nothing");
    gpt_run_free(r[0]);
    gpt_run_free(r[1]);
    pair_free(&p);
}

/* A hash of two steps; chip: NULL stage by stage. */
static uint64_t drop_bits(const MachineCase *k, const DfChip *chip, size_t depth) {
    GptPair p = machine_pair(k);
    const int how = k->workers % 2 ? GPT_TRAIN : GPT_TRAIN | GPT_RECOMPUTE;
    GptRun *r = gpt_run_new(p.m, p.pool, k->group, k->T, k->P, how | GPT_DROP);
    r->dropout = drop_some;
    if (chip) gpt_machine_plan_for(r, *chip, depth, k->purpose);
    const uint64_t h = bits_of_run(&p, r, k->B, k->T, k->group);
    gpt_run_free(r);
    pair_free(&p);
    return h;
}
/* Threads, panels and groups of sequences, and random chips, do not change a
 * bit. */
static void test_drop_bits(void) {
    const MachineCase base = {{2, 3, 48, 61, 40}, 4, 4, 37, 64, 4, 1, GPT_TRAIN, DF_TO_RUN};
    const uint64_t want = drop_bits(&base, NULL, 0);
    CHECK(want == 0x2acac5779a4a432eu,
          "other bits than on every machine and compiler so far: %016llx",
          (unsigned long long)want);
    for (size_t n = 0; n < (QUICK ? 6 : 60); n++) {
        MachineCase k = base;
        DfChip chip = df_chip("host");
        k.workers = 1 + n % 4;
        k.P = (size_t)16 << n % 4;
        k.group = 1 + n / 3 % 4;
        chip.tiles = 1 + rng_u64(3, n) % 64;
        chip.sram = (size_t)8192 << n % 5;
        if (n % 2) k.purpose = DF_TO_TRY;
        CHECK(drop_bits(&k, NULL, 0) == want, "%zu workers, panels of %zu, groups of %zu",
              k.workers, k.P, k.group);
        const size_t depth = 1 + n % 3;
        /* the stages of dropout need a few lines more than the plan without */
        while (!machine_fits(&k, &chip, depth)) chip.sram *= 2;
        chip.sram *= 2;
        CHECK(drop_bits(&k, &chip, depth) == want, "%zu tiles of %zu, depth %zu", chip.tiles,
              chip.sram, depth);
    }
}

static void test_drop(void) {
    static const struct {
        GptConfig c;
        size_t B, T, P;
        int w;
    } shape[] = {{{2, 2, 32, 96, 16}, 2, 16, 64, -1},
                 {{3, 3, 30, 61, 40}, 3, 37, 32, -1},
                 {{2, 4, 64, 130, 100}, 2, 97, 64, 4},
                 {{1, 5, 35, 17, 33}, 4, 33, 16, -1}};
    test_drop_share();
    test_drop_apart();
    test_drop_differences();
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int part = 0; part < 3; part++) {          /* both, and each alone */
            Dropout dropout = drop_some;
            if (part == 1) dropout.share = 0;
            if (part == 2) dropout.attention = 0;
            drop_against_spec(shape[i].c, shape[i].B, shape[i].T, shape[i].P, dropout,
                              shape[i].w);
        }
    test_drop_off();
    test_drop_bits();
}
#endif
