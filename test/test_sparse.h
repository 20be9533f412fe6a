/* test_sparse.h: the three products against a matrix multiplication in double precision, for dense and sparse
 * patterns; slices against the whole, bit for bit; the exponential against libm's. */
#ifndef TEST_SPARSE_H
#define TEST_SPARSE_H
#include "check.h"
#include "../sparse.h"

/* A pattern that keeps each line with that probability; row block 1 and input 0 are empty. */
static SpMat sparse_pattern(size_t OC, size_t IC, double density) {
    SpMat m = {.OC = OC, .IC = IC, .nb = (OC + LINE - 1) / LINE, .w = 1};
    m.first = mem_new(m.nb + 1, sizeof *m.first), m.col = mem_new(m.nb * IC, sizeof *m.col);
    for (size_t r = 0; r < m.nb; r++) {
        for (size_t i = 1; i < IC && r != 1; i++)
            if (rng_f64(9, r * IC + i) < density) m.col[m.lines++] = (uint32_t)i;
        m.first[r + 1] = (uint32_t)m.lines;
    }
    return m;
}

/* Not inlined: gcc 12 for ARM fails on a loop that keeps the maximum of doubles. */
__attribute__((noinline)) static double larger(double a, double b) { return a > b ? a : b; }

/* Checks y = W x, dx = W' y and dw = y x' of ng groups against plain loops in double precision. */
static void check_products(SpMat m, size_t ng) {
    const size_t xs = m.IC * LINE, ys = m.nb * LINE * LINE, half = m.nb / 2;
    float *w = mem_new(m.lines, 64), *dw = mem_new(m.lines, 64), *x = mem_new(ng * xs, 4),
          *y = mem_new(ng * ys, 4);
    float *dx = mem_new(ng * xs, 4), *part = mem_new(ng * ys, 4), *dpart = mem_new(ng * xs, 4);
    double worst[3] = {0};
    for (size_t i = 0; i < m.lines * LINE; i++) w[i] = (float)rng_normal(1, i);
    for (size_t i = 0; i < ng * xs; i++) x[i] = (float)rng_normal(2, i);
    sp_forward(&m, 0, m.nb, w, x, xs, y, ys, ng);
    sp_backward_data(&m, 0, m.nb, w, y, ys, dx, xs, ng);
    sp_backward_weight(&m, 0, m.nb, dw, y, ys, x, xs, ng);
    const float *upper = w + (size_t)m.first[half] * LINE;
    sp_forward(&m, 0, half, w, x, xs, part, ys, ng);
    sp_forward(&m, half, m.nb, upper, x, xs, part + half * LINE * LINE, ys, ng);
    CHECK(!memcmp(part, y, ng * ys * 4), "slices of forward differ from the whole");
    sp_backward_data(&m, 0, half, w, y, ys, dpart, xs, ng);
    sp_backward_data(&m, half, m.nb, upper, y + half * LINE * LINE, ys, dpart, xs, ng);
    CHECK(!memcmp(dpart, dx, ng * xs * 4), "slices of backward-data differ from the whole");
    double *yd = mem_new(ng * ys, 8), *dxd = mem_new(ng * xs, 8), *ya = mem_new(ng * ys, 8),
           *dxa = mem_new(ng * xs, 8);
    for (size_t r = 0; r < m.nb; r++)
        for (size_t l = m.first[r]; l < m.first[r + 1]; l++)
            for (size_t o = 0; o < LINE; o++) {
                const double wv = (double)w[l * LINE + o];
                const size_t i = sp_cols(&m, r)[l - m.first[r]];
                double sum = 0, size = 1e-30;
                for (size_t t = 0; t < ng * LINE; t++) {
                    const size_t xi = t / LINE * xs + i * LINE + t % LINE,
                                 yi = t / LINE * ys + (r * LINE + o) * LINE + t % LINE;
                    yd[yi] += wv * (double)x[xi], ya[yi] += fabs(wv * (double)x[xi]);
                    dxd[xi] += wv * (double)y[yi], dxa[xi] += fabs(wv * (double)y[yi]);
                    sum += (double)y[yi] * (double)x[xi], size += fabs((double)y[yi] * (double)x[xi]);
                }
                worst[2] = larger(worst[2], fabs((double)dw[l * LINE + o] - sum) / size);
            }
    for (size_t i = 0; i < ng * ys; i++)
        worst[0] = larger(worst[0], fabs((double)y[i] - yd[i]) / (ya[i] + 1e-30));
    for (size_t i = 0; i < ng * xs; i++)
        worst[1] = larger(worst[1], fabs((double)dx[i] - dxd[i]) / (dxa[i] + 1e-30));
    for (int k = 0; k < 3; k++)
        CHECK(worst[k] < 4e-7 * sqrt((double)(m.IC + m.OC)),
              "%zu -> %zu, %zu lines, %zu groups, product %d: error %.3g of sum |a||b|", m.IC, m.OC, m.lines,
              ng, k, worst[k]);
    free(w), free(dw), free(x), free(y), free(dx), free(part), free(dpart), free(yd), free(dxd), free(ya),
        free(dxa);
}

static void test_exp(void) {
    double worst = 0;
    for (float at = -86.9f; at < 87.9f; at += QUICK ? 0.1f : 0.001f) {
        float x[LINE], e[LINE];
        for (int i = 0; i < LINE; i++) x[i] = at + 1e-4f * (float)i;
        for (int v = 0; v < LINE; v += LANES) vf_store(e + v, vf_exp(vf_load(x + v)));
        for (int i = 0; i < LINE; i++) {
            int k;
            const double want = exp((double)x[i]);
            frexp(want, &k);
            worst = larger(worst, fabs((double)e[i] - want) / ldexp(1, k - 24));
        }
    }
    CHECK(worst < 1, "the exponential is off by %.3f ulp", worst);
    float e[LANES];
    const float edge[4] = {-INFINITY, -1000, 1000, INFINITY};
    for (int k = 0; k < 4; k++) {
        vf_store(e, vf_exp(vf_all(edge[k])));
        CHECK(isfinite(e[0]) && (k < 2 ? e[0] < 2e-38f : e[0] > 1e38f), "exp(%g) = %g", (double)edge[k],
              (double)e[0]);
    }
}

static void test_sparse(void) {
    static const size_t shape[][2] = {{1, 1}, {16, 16}, {17, 5}, {48, 7}, {30, 130}, {100, 300}, {272, 97}};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++)
        for (size_t ng = 1; ng <= GROUPS_MAX; ng += QUICK ? 4 : 1)
            for (int d = 0; d < 5; d++) {
                static const double density[5] = {0, 1.0 / 16, 1.0 / 8, 0.5, 1};
                SpMat m = d == 4 ? sp_dense(shape[k][0], shape[k][1])
                                 : sparse_pattern(shape[k][0], shape[k][1], density[d]);
                check_products(m, ng);
                sp_free(&m);
            }
    test_exp();
}
#endif
