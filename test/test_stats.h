/* test_stats.h: the statistics against numbers worked out by hand, against
 * SciPy's, and against the truth in simulations that know it. */
#ifndef TEST_STATS_H
#define TEST_STATS_H
#include "check.h"
#include "../data/base/plot.h"
#include "../data/base/stats.h"

static bool stats_near(double x, double expected) {
    return fabs(x - expected) <= 1e-9 * fabs(expected);
}

/* scipy.stats.t.ppf(0.975, df) and (0.8, df), scipy.special.betainc. */
static void stats_check_tables(void) {
    static const double t[][3] = {{1, 12.706204736174694, 1.3763819204711738},
                                  {2, 4.302652729749462, 1.0606601717798214},
                                  {4, 2.7764451051977934, 0.9409645772351816},
                                  {9, 2.262157162798205, 0.8834038596855346},
                                  {30, 2.0422724563012378, 0.8537672614712979},
                                  {1e6, 1.959966356814107, 0.8416215930139844}};
    static const double beta[][4] = {
        {2.5, 0.5, 0.3, 0.018927124071945658}, {30, 70, 0.35, 0.8615754758661092},
        {0.5, 0.5, 0.99, 0.9362314391414803}, {990, 11, 0.9852, 0.126662378525635}};
    for (int k = 0; k < 6; k++) {
        const double a = stats_t_quantile(0.975, t[k][0]);
        const double b = stats_t_quantile(0.8, t[k][0]);
        CHECK(stats_near(a, t[k][1]) && stats_near(b, t[k][2]),
              "t of %g: %.12g, %.12g", t[k][0], a, b);
    }
    for (int k = 0; k < 4; k++) {
        const double x = stats_beta(beta[k][0], beta[k][1], beta[k][2]);
        CHECK(stats_near(x, beta[k][3]), "I_%g(%g, %g) = %.12g", beta[k][2],
              beta[k][0], beta[k][1], x);
    }
    CHECK(stats_beta(2, 3, 0) == 0 && stats_beta(2, 3, 1) == 1, "the ends of I_x");
}

static void stats_check_intervals(void) {
    /* mean 2, deviation 1, se = 1 / sqrt(3); t(0.975, 2) and t(0.8, 2) as above */
    StatsInterval s = stats_t_interval((double[]){1, 2, 3}, 3);
    CHECK(s.diff == 2 && stats_near(s.hi - 2, 4.302652729749462 / sqrt(3)) &&
              stats_near(s.lo + s.hi, 4) &&
              stats_near(s.detectable,
                         (4.302652729749462 + 1.0606601717798214) / sqrt(3)),
          "1, 2, 3: %g in %g .. %g, %g", s.diff, s.lo, s.hi, s.detectable);
    /* scipy.stats.ttest_1samp(..., 0).confidence_interval() */
    s = stats_t_interval((double[]){0.013, -0.004, 0.021, 0.008, 0.017}, 5);
    CHECK(stats_near(s.lo, -0.0010063194524677667) &&
              stats_near(s.hi, 0.023006319452467765),
          "%g .. %g", s.lo, s.hi);
    s = stats_t_interval((double[]){0.3}, 1);
    CHECK(s.diff == 0.3 && s.lo == -INFINITY && s.hi == INFINITY,
          "one seed: %g .. %g", s.lo, s.hi);
    /* scipy.stats.binomtest(81, 263).proportion_ci(method="wilson") */
    s = stats_share(81, 263);
    CHECK(stats_near(s.lo, 0.2552885198782742) &&
              stats_near(s.hi, 0.36620957698280004),
          "%g .. %g", s.lo, s.hi);
    /* Two documents, drawn twice: ratios 1 / 1, 4 / 4 and 5 / 5 or, with other
     * bits, 2, 0.5 and 4 / 5. */
    s = stats_bootstrap((double[]){1, 4}, (double[]){1, 4}, 2, 1);
    CHECK(s.diff == 1 && s.lo == 1 && s.hi == 1 && s.detectable < 1e-12, "%g .. %g",
          s.lo, s.hi);
    s = stats_bootstrap((double[]){2, 2}, (double[]){1, 4}, 2, 1);
    CHECK(s.diff == 0.8 && s.lo == 0.5 && s.hi == 2, "%g in %g .. %g", s.diff, s.lo,
          s.hi);
    /* a quarter of the ratios are 2, a quarter 0.5, half 0.8: mean 1.025, mean square 1.3825 */
    CHECK(fabs(s.detectable / 2.801585 - sqrt(1.3825 - 1.025 * 1.025)) < 0.02, "%g",
          s.detectable);
    s = stats_bootstrap((double[]){3}, (double[]){4}, 1, 1);
    CHECK(s.diff == 0.75 && s.lo == -INFINITY && s.hi == INFINITY,
          "one document: %g .. %g", s.lo, s.hi);
}

/* p is twice the smaller tail of the binomial distribution; SciPy's binomtest
 * where not worked out. */
static void stats_check_mcnemar(void) {
    static const struct {
        size_t a, b;
        double p;
    } item[] = {{2, 10, 2 * (1 + 12 + 66) / 4096.0},
                {10, 2, 158 / 4096.0},
                {5, 0, 2 / 32.0},
                {0, 0, 1},
                {7, 7, 1},
                {4, 5, 1},
                {480, 520, 0.2174482932041415},
                {10, 0, 2 / 1024.0}};
    double p;
    for (size_t k = 0; k < sizeof item / sizeof *item; k++) {
        const StatsInterval s = stats_mcnemar(item[k].a, item[k].b, 2000, &p);
        CHECK(stats_near(p, item[k].p), "%zu and %zu: p = %.12g", item[k].a,
              item[k].b, p);
        CHECK(s.diff == ((double)item[k].a - (double)item[k].b) / 2000,
              "difference %g", s.diff);
    }
    /* 11 and 3 of 102: difference 8 / 102, variance (14 / 102 - (8 / 102)^2) / 102 = 0.0358515^2 */
    const StatsInterval s = stats_mcnemar(10, 2, 100, &p);
    CHECK(fabs((s.lo + s.hi) / 2 - 8 / 102.0) < 1e-9 &&
              fabs((s.hi - s.lo) / 2 - 1.959964 * 0.0358515) < 1e-6,
          "%g .. %g", s.lo, s.hi);
    CHECK(stats_mcnemar(3, 0, 3, &p).hi == 1 && stats_mcnemar(0, 3, 3, &p).lo == -1,
          "more than all of them");
}

static void stats_check_verdicts(void) {
    static const struct {
        double lo, hi;
        const char *verdict;
    } item[] = {{-0.005, 0.005, "equal"},
                {-0.008, -0.002, "equal"},
                {0.002, 0.008, "equal"},
                {0, 0, "equal"},
                {-0.02, -0.001, "better"},
                {-0.02, 0.002, "not worse"},
                {0.001, 0.02, "worse"},
                {-0.002, 0.02, "undecided"},
                {-0.01, 0.009, "not worse"},
                {-0.009, 0.01, "undecided"},
                {-INFINITY, INFINITY, "undecided"}};
    for (size_t k = 0; k < sizeof item / sizeof *item; k++) {
        const char *said =
            stats_verdict((StatsInterval){0, item[k].lo, item[k].hi, 0}, 0.01);
        CHECK(!strcmp(said, item[k].verdict), "%g .. %g: %s", item[k].lo,
              item[k].hi, said);
    }
}

/* n intervals hold the truth as often as they say, within four standard
 * errors. */
static void stats_check_rate(const char *what, size_t hits, size_t n, double rate) {
    const double se = sqrt(rate * (1 - rate) / (double)n);
    const double found = (double)hits / (double)n;
    CHECK(fabs(found - rate) < 4 * se, "%s: %.3f of %zu, expected %.3f +- %.3f",
          what, found, n, rate, 4 * se);
}
/* Two models that differ by 0.02 bits per byte and noise, on documents of 500
 * .. 3500 bytes. */
static void stats_check_documents(void) {
    enum { DOCUMENTS = 60 };
    const size_t n = QUICK ? 60 : 300;
    double bits[DOCUMENTS], bytes[DOCUMENTS];
    size_t hits = 0;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < DOCUMENTS; i++) {
            bytes[i] = 500 + 3000 * rng_f64(1, k * DOCUMENTS + i);
            bits[i] = 0.02 * bytes[i] +
                      0.1 * bytes[i] * rng_normal(2, k * DOCUMENTS + i);
        }
        const StatsInterval s = stats_bootstrap(bits, bytes, DOCUMENTS, k);
        hits += s.lo < 0.02 && 0.02 < s.hi;
    }
    stats_check_rate("documents", hits, n, 0.95);
}
static void stats_check_seeds(void) {
    const size_t n = QUICK ? 1000 : 10000;
    for (size_t seeds = 2; seeds <= 5; seeds++) {
        size_t hits = 0;
        for (size_t k = 0; k < n; k++) {
            double diff[5];
            for (size_t i = 0; i < seeds; i++)
                diff[i] = -0.3 + 2 * rng_normal(3 + seeds, k * seeds + i);
            const StatsInterval s = stats_t_interval(diff, seeds);
            hits += s.lo < -0.3 && -0.3 < s.hi;
        }
        stats_check_rate("seeds", hits, n, 0.95);
    }
}
/* One model is right on 60 %, the other on 55 % of 500 items, independently. If
 * both are on 60 %, p is below 0.05 less than once in twenty. */
static void stats_check_items(void) {
    const size_t n = QUICK ? 400 : 4000, items = 500;
    size_t hits = 0, alarms = 0;
    for (size_t k = 0; k < n; k++) {
        size_t only[2] = {0}, same[2] = {0};
        for (size_t i = 0; i < items; i++) {
            const double a = rng_f64(11, k * items + i);
            const double b = rng_f64(12, k * items + i);
            only[0] += a < 0.6 && b >= 0.55;
            only[1] += a >= 0.6 && b < 0.55;
            same[0] += a < 0.6 && b >= 0.6;
            same[1] += a >= 0.6 && b < 0.6;
        }
        double p;
        const StatsInterval s = stats_mcnemar(only[0], only[1], items, &p);
        hits += s.lo < 0.05 && 0.05 < s.hi;
        stats_mcnemar(same[0], same[1], items, &p);
        alarms += p < 0.05;
    }
    stats_check_rate("items", hits, n, 0.95);
    const double most = 0.05 * (double)n + 4 * sqrt(0.05 * 0.95 * (double)n);
    CHECK((double)alarms < most && alarms > 0, "%zu false alarms in %zu", alarms, n);
}

/* Points and lines as text: where they stand, and what is off an axis or no number. */
static void stats_check_plot(void) {
    Plot p = plot_new((PlotAxis){0, 10, false}, (PlotAxis){1, 100, true});
    plot_line(&p, 0, 1, 10, 100, 'a');
    for (int row = 0; row < PLOT_HIGH; row++) {
        const int col = row * (PLOT_WIDE - 1) / (PLOT_HIGH - 1);
        CHECK(p.at[row][col] == 'a', "row %d: '%s'", row, p.at[row]);
    }
    const Plot before = p;
    plot_mark(&p, 5, NAN, 'b');
    plot_mark(&p, -0.1, 10, 'b');
    plot_mark(&p, 10.1, 10, 'b');
    plot_mark(&p, 5, 0, 'b');
    CHECK(!memcmp(before.at, p.at, sizeof p.at), "what is off an axis is left out");
    plot_mark(&p, 0, 100, 'b');
    plot_mark(&p, 0, 1, 'b');
    CHECK(p.at[PLOT_HIGH - 1][0] == 'b' && p.at[0][0] == '*', "'%c' and '%c'",
          p.at[PLOT_HIGH - 1][0], p.at[0][0]);
}

static void test_stats(void) {
    stats_check_plot();
    stats_check_tables();
    stats_check_intervals();
    stats_check_mcnemar();
    stats_check_verdicts();
    stats_check_documents();
    stats_check_seeds();
    stats_check_items();
}
#endif
