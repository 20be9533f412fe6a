/* stats.h: how sure one can be of a difference.
 *
 * Everything is a 95 % interval of a mean difference, paired, with the smallest
 * true difference that it would have shown; and a verdict against a margin
 * fixed beforehand.
 *
 *     several seeds    stats_t_interval over the seeds' differences: three seeds give
 *                      t = 4.30, where a bootstrap over three would claim far too much
 *     one seed         stats_bootstrap over the documents, as a ratio of sums: sum of
 *                      bits / sum of bytes
 *     right or wrong   stats_mcnemar over the items that only one of two models gets
 *                      right
 *
 * It refuses unpaired comparisons, and a significance without its size.
 *
 * The worked example is of the tests: losses that differ by 1, 2 and 3 over
 * three seeds have mean 2, standard error 1 / sqrt(3) = 0.577 and, with
 * t(0.975, 2) = 4.303, the interval -0.48 .. 4.48: nothing is shown yet. With
 * t(0.8, 2) = 1.061 the smallest difference that would be seen four times out
 * of five is (4.303 + 1.061) 0.577 = 3.10. */
#ifndef STATS_H
#define STATS_H
#include "base.h"

typedef struct {
    double diff;                        /* the mean difference */
    double lo, hi;                      /* its 95 % interval */
    double detectable;                  /* what would be seen four times out of five */
} StatsInterval;

static const double STATS_Z = 1.959963984540054;            /* normal, 0.975 */
static const double STATS_POWER_Z = 0.8416212335729143;     /* normal, 0.8 */

/* ---- the middle ---------------------------------------------------------- */

static inline int stats_by_size(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}
/* Sorts x (n); 0 if there is none. */
static inline double stats_median(double *x, size_t n) {
    if (!n) return 0;
    qsort(x, n, sizeof *x, stats_by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* ---- the t distribution -------------------------------------------------- */

/* I_x(a, b), the regularised incomplete beta function: the continued fraction
 * of the Digital Library of Mathematical Functions, 8.17.22, by the modified
 * method of Lentz; it converges fast for x below (a + 1) / (a + b + 2), and
 * I_x(a, b) = 1 - I_(1-x)(b, a). */
static inline double stats_beta(double a, double b, double x) {
    if (x <= 0 || x >= 1) return x > 0;
    if (x > (a + 1) / (a + b + 2)) return 1 - stats_beta(b, a, 1 - x);
    double c = 1;
    double d = 1 / (1 - (a + b) * x / (a + 1));
    double sum = d;
    for (int m = 1; m < 1000; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd =
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        sum *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        sum *= c * d;
        if (fabs(c * d - 1) < 1e-15) break;
    }
    const double front =
        a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b);
    return exp(front) / a * sum;
}

/* The t that Student's distribution with df degrees of freedom stays below with
 * probability p >= 1/2, by halving (Abramowitz and Stegun, 26.7.1):
 *
 *     P(T > t) = I_x(df/2, 1/2) / 2 at x = df / (df + t^2) */
static inline double stats_t_quantile(double p, double df) {
    double lo = 0;
    double hi = 1e6;
    for (int k = 0; k < 100; k++) {
        const double t = (lo + hi) / 2;
        const double above = stats_beta(df / 2, 0.5, df / (df + t * t)) / 2;
        if (above > 1 - p) lo = t;
        else hi = t;
    }
    return (lo + hi) / 2;
}

/* ---- intervals ----------------------------------------------------------- */

/* Of a standard error; t and power: the quantiles of 0.975 and of 0.8. */
static inline StatsInterval stats_around(double diff, double se, double t,
                                         double power) {
    return (StatsInterval){diff, diff - t * se, diff + t * se, (t + power) * se};
}

/* Of the mean of n paired differences, one per seed. One difference says
 * nothing of the next: its interval is infinite. */
static inline StatsInterval stats_t_interval(const double *diff, size_t n) {
    double mean = 0;
    double square = 0;
    for (size_t k = 0; k < n; k++) mean += diff[k] / (double)n;
    if (n < 2) return (StatsInterval){mean, -INFINITY, INFINITY, INFINITY};
    for (size_t k = 0; k < n; k++)
        square += (diff[k] - mean) * (diff[k] - mean);
    const double df = (double)n - 1;
    const double se = sqrt(square / df / (double)n);
    return stats_around(mean, se, stats_t_quantile(0.975, df),
                        stats_t_quantile(0.8, df));
}

/* The ratio of the sums of n of num (n) and den (n), drawn with replacement;
 * the draw-th such draw. */
static inline double stats_draw(const double *num, const double *den, size_t n,
                                uint64_t key, uint64_t draw) {
    double sum_num = 0;
    double sum_den = 0;
    for (size_t k = 0; k < n; k++) {
        const size_t one =
            (size_t)((rng_u64(key, draw * n + k) >> 32) * n >> 32);
        sum_num += num[one];
        sum_den += den[one];
    }
    return sum_num / sum_den;
}
/* Of sum num / sum den over n documents: num (n) the bits of each, or the
 * difference of two models' bits; den (n) its bytes. The documents are drawn
 * anew, with replacement, 10,000 times; the interval is what lies between the
 * 250th smallest and the 250th largest ratio (Efron and Tibshirani 1993,
 * chapter 13). That of one is infinite. */
static inline StatsInterval stats_bootstrap(const double *num, const double *den,
                                            size_t n, uint64_t seed) {
    enum { DRAWS = 10000, CUT = DRAWS / 40 };
    const uint64_t key = rng_key(seed, "bootstrap");
    double total_num = 0;
    double total_den = 0;
    for (size_t k = 0; k < n; k++) {
        total_num += num[k];
        total_den += den[k];
    }
    StatsInterval s = {total_num / total_den, -INFINITY, INFINITY, INFINITY};
    if (n < 2) return s;

    double *ratio = mem_new(DRAWS, sizeof *ratio);  /* [DRAWS] */
    double mean = 0;
    double square = 0;
    for (size_t draw = 0; draw < DRAWS; draw++) {
        ratio[draw] = stats_draw(num, den, n, key, draw);
        mean += ratio[draw] / DRAWS;
    }
    for (size_t draw = 0; draw < DRAWS; draw++)
        square += (ratio[draw] - mean) * (ratio[draw] - mean);
    qsort(ratio, DRAWS, sizeof *ratio, stats_by_size);
    s.lo = ratio[CUT - 1];
    s.hi = ratio[DRAWS - CUT];
    s.detectable = (STATS_Z + STATS_POWER_Z) * sqrt(square / DRAWS);
    free(ratio);
    return s;
}

/* ---- right or wrong ------------------------------------------------------ */

/* Of a share, `right` of n items: Wilson's interval (1927). */
static inline StatsInterval stats_share(size_t right, size_t n) {
    const double N = (double)n;
    const double p = (double)right / N;
    const double zz = STATS_Z * STATS_Z;
    const double middle = (p + zz / (2 * N)) / (1 + zz / N);
    const double half =
        STATS_Z / (1 + zz / N) * sqrt(p * (1 - p) / N + zz / (4 * N * N));
    return (StatsInterval){
        .diff = p,
        .lo = fmax(middle - half, 0),
        .hi = fmin(middle + half, 1),
        .detectable = (1 + STATS_POWER_Z / STATS_Z) * half,
    };
}

/* How likely so uneven a split of items is, of which only a has a_only right
 * and only b b_only, if neither model is better (McNemar 1947; exact,
 * two-sided): with X binomial (a_only + b_only, 1/2)
 *
 *     2 P(X <= few), where P(X <= k) = I_(1-1/2)(split - k, k + 1) */
static inline double stats_mcnemar_p(size_t a_only, size_t b_only) {
    const double few = (double)(a_only < b_only ? a_only : b_only);
    const double split = (double)(a_only + b_only);
    if (a_only == b_only) return 1;
    const double p = 2 * stats_beta(split - few, few + 1, 0.5);
    return p > 1 ? 1 : p;
}
/* Of the share that a gets right less that of b, over n items: one added to
 * either count, two to n (Bonett and Price 2012). *p: as stats_mcnemar_p. */
static inline StatsInterval stats_mcnemar(size_t a_only, size_t b_only,
                                          size_t n, double *p) {
    const double N = (double)n + 2;
    const double one = ((double)a_only + 1) / N;
    const double other = ((double)b_only + 1) / N;
    const double se = sqrt((one + other - (one - other) * (one - other)) / N);
    StatsInterval s = stats_around(one - other, se, STATS_Z, STATS_POWER_Z);
    s.diff = ((double)a_only - (double)b_only) / (double)n;
    s.lo = fmax(s.lo, -1);
    s.hi = fmin(s.hi, 1);
    *p = stats_mcnemar_p(a_only, b_only);
    return s;
}

/* ---- verdicts ------------------------------------------------------------ */

/* On a against b, if s is the interval of a's loss less b's and differences
 * below margin do not matter. The first that holds: a small difference is
 * "equal" even where it is certain. */
static inline const char *stats_verdict(StatsInterval s, double margin) {
    if (s.lo > -margin && s.hi < margin) return "equal";
    if (s.hi < 0) return "better";
    if (s.lo > 0) return "worse";
    if (s.hi < margin) return "not worse";
    return "undecided";
}
#endif
