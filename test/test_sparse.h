/* test_sparse.h: the three products against a matrix multiplication in double precision, for dense and sparse
 * patterns; slices against the whole, bit for bit; the exponential against libm's. */
#ifndef TEST_SPARSE_H
#define TEST_SPARSE_H
#include "check.h"
#include "../sparse.h"

/* A pattern that keeps each block with that probability; row block 1 and the first block column are empty. At
 * density 1 all is kept, but as a sparse matrix says it, with its own list of columns for every row block. */
static SpMat some_pattern(size_t OC, size_t IC, size_t w, double density) {
    const size_t nb = (OC + LINE - 1) / LINE, J = IC / w;
    uint8_t *on = mem_new(nb * J, 1);
    for (size_t b = 0; b < nb * J; b++)
        on[b] = density == 1 || (b / J != 1 && b % J && rng_f64(9, b) < density);
    SpMat m = sp_pattern(OC, IC, w, on);
    if (m.dense) {
        m.dense = false, free(m.col), m.col = mem_new(m.lines + BEYOND, sizeof *m.col);
        for (size_t l = 0; l < m.lines; l++) m.col[l] = (uint32_t)(l % IC);
    }
    free(on);
    return m;
}

/* Checks y = W x, dx = W' y and dw = y x' of ng groups against plain loops in double precision. */
static void check_products(SpMat m, size_t ng) {
    const size_t xs = m.IC * LINE, ys = m.nb * LINE * LINE, half = m.nb / 2;
    float *w = mem_new(m.lines, 64), *dw = mem_new(m.lines, 64), *x = mem_new(ng * xs, 4),
          *y = mem_new(ng * ys, 4);
    float *dx = mem_new(ng * xs, 4), *part = mem_new(ng * ys, 4), *dpart = mem_new(ng * xs, 4);
    double worst[3] = {0};
    for (size_t i = 0; i < m.lines * LINE; i++) w[i] = (float)rng_normal(1, i);
    for (size_t i = 0; i < ng * xs; i++) x[i] = (float)rng_normal(2, i);
    const SpBlocks all = {&m, 0, m.nb}, lower = {&m, 0, half}, higher = {&m, half, m.nb};
    uint32_t *row = mem_new(m.nb * LINE, sizeof *row);
    for (size_t o = 0; o < m.nb * LINE; o++) row[o] = (uint32_t)o;
    const SpPanel px = {x, xs, row}, py = {y, ys, row}, pdx = {dx, xs, row}, pdpart = {dpart, xs, row};
    sp_forward(all, w, px, py, ng);
    sp_backward_data(all, w, py, pdx, ng);
    sp_backward_weight(all, dw, py, px, ng);
    const float *upper = w + (size_t)m.first[half] * LINE;
    sp_forward(lower, w, px, (SpPanel){part, ys, row}, ng);
    sp_forward(higher, upper, px, (SpPanel){part + half * LINE * LINE, ys, row}, ng);
    CHECK(!memcmp(part, y, ng * ys * 4), "slices of forward differ from the whole");
    sp_backward_data(lower, w, py, pdpart, ng);
    sp_backward_data(higher, upper, py, pdpart, ng);
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
    free(w), free(dw), free(x), free(y), free(dx), free(part), free(dpart), free(row), free(yd), free(dxd), free(ya),
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

/* All kept gives the bits of dense. */
static void check_ones(size_t OC, size_t IC, size_t ng) {
    SpMat m[2] = {sp_dense(OC, IC), some_pattern(OC, IC, 1, 1)};
    const size_t xs = IC * LINE, ys = m[0].nb * LINE * LINE;
    float *w = mem_new(m[0].lines, 64), *x = mem_new(ng * xs, 4), *out[2];
    for (size_t i = 0; i < m[0].lines * LINE; i++) w[i] = (float)rng_normal(1, i);
    for (size_t i = 0; i < ng * xs; i++) x[i] = (float)rng_normal(2, i);
    const size_t n = ng * ys + ng * xs + m[0].lines * LINE;
    uint32_t *row = mem_new(m[0].nb * LINE, sizeof *row);
    for (size_t o = 0; o < m[0].nb * LINE; o++) row[o] = (uint32_t)o;
    for (int k = 0; k < 2; k++) {
        float *y = out[k] = mem_new(n, 4), *dx = y + ng * ys, *dw = dx + ng * xs;
        const SpBlocks all = {&m[k], 0, m[k].nb};
        const SpPanel px = {x, xs, row}, py = {y, ys, row};
        sp_forward(all, w, px, py, ng);
        sp_backward_data(all, w, py, (SpPanel){dx, xs, row}, ng);
        sp_backward_weight(all, dw, py, px, ng);
    }
    CHECK(!memcmp(out[0], out[1], n * 4), "%zu -> %zu: all kept differs from dense", IC, OC);
    for (int k = 0; k < 2; k++) sp_free(&m[k]), free(out[k]);
    free(w), free(x), free(row);
}

static void check_mask(const char *what, const uint8_t *on, const char *want) { /* want: '1' kept, '0' not */
    for (size_t b = 0; want[b]; b++) CHECK(on[b] == want[b] - '0', "%s: block %zu is %d", what, b, on[b]);
}
/* The rules on cases small enough to work out by hand. */
static void test_mask_rules(void) {
    uint8_t on[48 * 192];
    const float weight[6] = {5, 1, 3, 0, 0, 0}, grow[6] = {9, 2, 1, 7, 7, 0};
    memcpy(on, (uint8_t[]){1, 1, 1, 0, 0, 0}, 6);
    CHECK(sp_evolve(on, 6, 1, 1, weight, grow, 0) == 1, "one block is new");
    check_mask("block 1 (|w| 1) goes, 3 comes: gradient 7 as of 4, and the smaller place", on, "101100");
    memcpy(on, (uint8_t[]){1, 1, 1, 0, 0, 0}, 6);
    CHECK(sp_evolve(on, 6, 1, 1, weight, (float[]){9, 8, 1, 7, 7, 0}, 0) == 0, "none is new");
    check_mask("block 1 goes and comes again", on, "111000");
    memcpy(on, (uint8_t[]){1, 1, 1, 1, 0, 0}, 6);
    sp_evolve(on, 6, 2, 0, (float[]){2, 1, 1, 1, 0, 0}, NULL, 0);
    check_mask("of three equals the two in the smaller places are dropped", on, "100100");
    memcpy(on, (uint8_t[]){0, 1, 0, 1, 0, 0}, 6);
    sp_evolve(on, 6, 0, 9, weight, grow, 0);
    check_mask("more to grow than there are", on, "111111");
    size_t moved[6] = {0}, fresh = 0;
    for (uint64_t key = 0; key < 300; key++) {              /* random growth: any of the five that are out */
        memcpy(on, (uint8_t[]){0, 1, 0, 0, 0, 0}, 6);
        fresh += sp_evolve(on, 6, 1, 1, weight, NULL, key);
        for (size_t b = 0; b < 6; b++) moved[b] += on[b];
    }
    for (size_t b = 0; b < 6; b++)
        CHECK(moved[b] > 25 && moved[b] < 75, "block %zu grown %zu of 300 times", b, moved[b]);
    CHECK(fresh == 300 - moved[1], "%zu of 300 are new, the dropped one came again %zu times", fresh,
          moved[1]);
    sp_mask_magnitude(on, 2, 3, 1, (float[]){1, 5, 2, 4, 4, 3});
    check_mask("the two largest of all, ties to the smaller place", on, "010100");
    sp_mask_butterfly(on, 8, 8, 2);     /* s = 8 would want 2 of its 4 partners */
    check_mask("butterfly, each block and its neighbour", on,
               "1100000011000000001100000011000000001100000011000000001100000011");
    sp_mask_random(on, 10, 7, 3, 1);
    size_t n = 0;
    for (size_t b = 0; b < 70; b++) n += on[b];
    CHECK(n == 30, "random keeps %zu of 30", n);
    static const size_t shape[][3] = {{48, 192, 24}, {144, 48, 6}, {5, 7, 3}, {3, 4, 4}, {9, 5, 1}};
    for (size_t k = 0; k < 5; k++) {
        const size_t nb = shape[k][0], J = shape[k][1], keep = shape[k][2];
        sp_mask_balanced(on, nb, J, keep, k);
        for (size_t r = 0; r < nb; r++) {
            for (size_t j = n = 0; j < J; j++) n += on[r * J + j];
            CHECK(n == keep, "row %zu of %zu x %zu keeps %zu, expected %zu", r, nb, J, n, keep);
        }
        for (size_t j = 0; j < J; j++) {
            for (size_t r = n = 0; r < nb; r++) n += on[r * J + j];
            CHECK(n == nb * keep / J || n == (nb * keep + J - 1) / J, "column %zu of %zu x %zu keeps %zu", j,
                  nb, J, n);
        }
    }
    double d[2];
    sp_erdos_renyi(2, (size_t[]){100, 10}, (size_t[]){100, 10}, 0.5, d);
    CHECK(d[1] == 1 && fabs(d[0] - 0.495) < 1e-12, "Erdos-Renyi: %g and %g", d[0], d[1]); /* 5050 of 10100 */
    sp_erdos_renyi(2, (size_t[]){30, 10}, (size_t[]){10, 10}, 0.25, d);
    CHECK(fabs(d[0] - 100. / 450) < 1e-12 && fabs(d[1] - 1. / 3) < 1e-12, "Erdos-Renyi: %g and %g", d[0],
          d[1]);
}

/* A change of mask carries what stays and nothing else. */
static void test_carry(void) {
    SpMat a = sp_pattern(16, 8, 2, (uint8_t[]){1, 0, 1, 0}),
          b = sp_pattern(16, 8, 2, (uint8_t[]){0, 0, 1, 1}), c = sp_dense(16, 8);
    const uint32_t old[4] = {10, 11, 14, 15};
    uint32_t new[4] = {0}, all[8] = {0};
    sp_carry(&a, &b, old, new, 4), sp_carry(&a, &c, old, all, 4);
    CHECK(new[0] == 14 && new[1] == 15 && !new[2] && !new[3], "carried %u %u %u %u", new[0], new[1], new[2],
          new[3]);
    CHECK(all[0] == 10 && all[1] == 11 && !all[2] && !all[3] && all[4] == 14 && all[5] == 15 && !all[7],
          "to dense");
    sp_free(&a), sp_free(&b), sp_free(&c);
}

static void test_sparse(void) {
    static const size_t shape[][2] = {{16, 16}, {17, 16}, {48, 32}, {30, 144}, {272, 96}};
    static const double density[5] = {0, 1.0 / 16, 1.0 / 8, 0.5, 1};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++)
        for (size_t w = 1; w <= 16; w *= 2)
            for (int d = 0; d < 5; d++) {
                SpMat m = some_pattern(shape[k][0], shape[k][1], w, density[d]);
                check_products(m, 1 + (k + w) % GROUPS_MAX);
                sp_free(&m);
            }
    static const size_t odd[][2] = {{1, 1}, {17, 5}, {48, 7}, {30, 130}, {100, 300}, {272, 97}};
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
        for (size_t ng = 1; ng <= GROUPS_MAX; ng += QUICK ? 4 : 1)
            for (int d = 0; d < 5; d++) {
                SpMat m = d == 4 ? sp_dense(odd[k][0], odd[k][1])
                                 : some_pattern(odd[k][0], odd[k][1], 1, density[d]);
                check_products(m, ng);
                sp_free(&m);
            }
    check_ones(48, 200, 3), check_ones(33, 7, 8);
    test_mask_rules(), test_carry();
    test_exp();
}
#endif
