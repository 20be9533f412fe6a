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
static void test_rate(void) {
    snprintf(folder, sizeof folder, "/tmp/rate-test-XXXXXX");
    if (!mkdtemp(folder)) abort();
    make_text(file_in("text"), 20000);
    test_rate_rule();
    static const char shape[] = "--layers 6 --heads 2 --width 32 --sparsity 0.75";
    char given[128];
    const double rule = rate_product(rate_rule(6, 32, 0.25));
    CHECK(rate_stored(shape) == rule, "a run takes another rate than the rule's");
    snprintf(given, sizeof given, "%s --lr 0.001", shape);
    CHECK(rate_stored(given) == 0.001, "--lr does not win");
    outside("rm -r %s", folder);
}
#endif
