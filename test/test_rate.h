/* test_rate.h: the learning rate that a run takes by itself, beside the best of
 * those that were tried. */
#ifndef TEST_RATE_H
#define TEST_RATE_H
#include "check.h"
#include "test_train.h"

/* Trials in PyTorch: one pass over the novels, batch 16 x 256, blocks of 16x4.
 * alone: no other rate was tried. */
static const struct {
    size_t layers, width;
    double density, best;
    bool alone;
} rate_trials[] = {
    {4, 256, 1, 2e-3, false},
    {6, 384, 1, 1.2e-3, false},
    {8, 512, 1, 1.2e-3, false},
    {12, 768, 1, 5e-4, false},
    {4, 256, 0.125, 1.2e-2, false},
    {6, 384, 0.125, 8e-3, true},
    {8, 512, 0.125, 5e-3, false},
    {12, 768, 0.125, 3.5e-3, false},
    {4, 256, 0.0625, 1e-2, true},
    {12, 768, 0.0625, 5e-3, true},
};

/* Within a factor of 1.5 of every best rate; of one chosen among several, not
 * above it by more than 2 %: the rule errs low. */
static void test_rate_rule(void) {
    for (size_t k = 0; k < sizeof rate_trials / sizeof *rate_trials; k++) {
        const double best = rate_trials[k].best;
        const double rate = rate_product(
            rate_rule(rate_trials[k].layers, rate_trials[k].width, rate_trials[k].density));
        const double most = rate_trials[k].alone ? 1.5 : 1.02;
        CHECK(rate > best / 1.5 && rate < most * best,
              "%zu layers x %zu at %g: rate %g, the best of the trials is %g",
              rate_trials[k].layers, rate_trials[k].width, rate_trials[k].density, rate,
              best);
    }
    CHECK(rate_product(rate_rule(12, 768, 1)) < 6e-4, "12 dense layers spike above 0.0006");
    CHECK(rate_product(rate_rule(4, 256, 1)) == 0.002, "4 layers x 256");
    CHECK(rate_product(rate_rule(1, 256, 1)) == 0.002, "a shallow model's is not higher");
}

/* The rate that a run of these options stores. */
static double rate_stored(const char *more) {
    CHECK(command("run --text %s --out %s --vocab 260 --context 24 --batch 3 --steps 1 "
                  "--quiet %s", file_in("text"), file_in("rated"), more) == 0,
          "%s: %s", more, check_line);
    Safetensors st = st_read(file_in("rated"));
    const double rate = strtod(meta_need(&st, "rated", "lr"), NULL);
    st_free(&st);
    unlink(file_in("rated"));
    unlink(file_in("rated.best"));
    return rate;
}

/* L = 3, F = 0.5: the layers 0.25, 0.5, 1, the embeddings 0.125, the final norm 1;
 * and F = 1 leaves every rate as it is. */
static void test_layer_rates(void) {
    static const double layer[3] = {0.25, 0.5, 1};
    for (size_t k = 0; k < LAYER0 + 3 * PER_LAYER + FINAL; k++) {
        const double want = k < LAYER0 ? 0.125
                          : k < LAYER0 + 3 * PER_LAYER ? layer[(k - LAYER0) / PER_LAYER]
                                                       : 1;
        CHECK(rate_of_layer(3, 0.5, k) == want, "parameter %zu: %g, expected %g", k,
              rate_of_layer(3, 0.5, k), want);
        CHECK(rate_of_layer(3, 1, k) == 1, "parameter %zu at F = 1", k);
    }
}
/* The largest change of parameter k from one checkpoint to the next. */
static double rate_moved(const State *a, const State *b, size_t k) {
    const GptParam *p = &b->m->table[k];
    double most = 0;
    for (size_t n = 0; n < p->size; n++)
        most = larger(most, fabs((double)b->m->w[p->at + n] - (double)a->m->w[p->at + n]));
    return most;
}
/* AdamW's first step moves every weight by the rate, whatever its gradient: so a
 * step of a run shows the table. A run in parts has the bits of one without. */
static void test_layer_decay(void) {
    static const char how[] = "--layer-decay 0.5 --lr 0.01 --weight-decay 0 --warmup 0 "
                              "--layers 3 --heads 2 --width 32 --vocab 260 --context 24 "
                              "--batch 3 --quiet";
    const char *text = file_in("text");
    const char *whole = file_in("whole");
    const char *parts = file_in("parts");
    Options none = {0};
    CHECK(command("run --text %s --steps 2 --stop 1 --out %s %s", text, file_in("one"),
                  how) == 0, "%s", check_line);
    State b = checkpoint_read(file_in("one"), &none, true);
    State a = {.m = gpt_new(b.m->c, false)};
    gpt_init(a.m, 1, true);
    for (size_t k = 0; k < b.m->count; k++) {
        const double want = 0.01 * rate_of_layer(3, 0.5, k);
        const double moved = rate_moved(&a, &b, k);
        CHECK(fabs(moved - want) < 0.001 * want, "%s moved by %g, expected %g",
              b.m->table[k].name, moved, want);
    }
    gpt_free(a.m);
    gpt_free(b.m);
    tok_free(b.tok);
    free(b.o);
    CHECK(command("run --text %s --steps 6 --out %s %s", text, whole, how) == 0, "%s",
          check_line);
    CHECK(command("run --text %s --steps 6 --stop 2 --out %s %s", text, parts, how) == 0,
          "%s", check_line);
    CHECK(command("run --text %s --resume %s --quiet", text, parts) == 0, "%s", check_line);
    check_equal(whole, parts);
    check_refused("--layer-decay", "run --text %s --resume %s --layer-decay 1", text, whole);
}

/* A checkpoint from before an option was there reads as one that has its default. */
static void test_older_options(void) {
    StWriter w = {0};
    Options o = {.file = "kept"};
    char room[64];
    for (int k = 0; k < OPTIONS; k++) option_preset(&o, k);
    o.warmup = o.layers = o.heads = o.width = 1;
    o.lr = o.min_lr = 0.5;
    for (int k = 0; k < OPTIONS; k++)
        if (options[k].decides && strcmp(options[k].name, "layer-decay"))
            st_meta_put(&w, options[k].name, option_text(&o, k, room));
    st_declare(&w, "nothing", ST_U8, 1, (size_t[]){1});
    st_begin(&w, file_in("older"));
    st_write(&w, "", 1);
    st_commit(&w);
    Safetensors st = st_read(file_in("older"));
    o.layer_decay = 0.25;
    o.lr = 7;
    options_from_meta(&st, "older", &o);
    CHECK(o.layer_decay == 1 && o.lr == 0.5, "an older checkpoint: %g, rate %g",
          o.layer_decay, o.lr);
    st_free(&st);
}

static void test_rate(void) {
    folder_begin();
    make_text(file_in("text"), 20000);
    test_rate_rule();
    static const char shape[] = "--layers 6 --heads 2 --width 32 --sparsity 0.75";
    char given[128];
    const double rule = rate_product(rate_rule(6, 32, 0.25));
    CHECK(rate_stored(shape) == rule, "a run takes another rate than the rule's");
    snprintf(given, sizeof given, "%s --lr 0.001", shape);
    CHECK(rate_stored(given) == 0.001, "--lr does not win");
    test_layer_rates();
    test_layer_decay();
    test_older_options();
    folder_end();
}
#endif
