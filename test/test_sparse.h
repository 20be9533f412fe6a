/* test_sparse.h: the three products against a matrix multiplication in double
 * precision, for dense and sparse patterns; slices against the whole, bit for
 * bit; the rules of masks on cases worked out by hand; the exponential against
 * libm's. */
#ifndef TEST_SPARSE_H
#define TEST_SPARSE_H
#include "check.h"
#include "../sparse.h"

/* A pattern that keeps each block with that probability; row block 1 and the
 * first block column are empty. At density 1 all is kept, but as a sparse matrix
 * says it, with its own list of columns for every row block. */
static SpMat some_pattern(size_t OC, size_t IC, size_t w, double density) {
    const size_t nb = (OC + LINE - 1) / LINE;
    const size_t J = IC / w;
    uint8_t *on = mem_new(nb * J, 1);
    for (size_t b = 0; b < nb * J; b++) {
        const bool some = b / J != 1 && b % J && rng_f64(9, b) < density;
        on[b] = density == 1 || some;
    }
    SpMat m = sp_pattern(OC, IC, w, on);
    if (m.dense) {
        m.dense = false;
        free(m.col);
        m.col = mem_new(m.lines + BEYOND, sizeof *m.col);
        for (size_t l = 0; l < m.lines; l++) m.col[l] = (uint32_t)(l % IC);
    }
    free(on);
    return m;
}

/* n numbers, normally distributed. */
static float *some_floats(uint64_t key, size_t n) {
    float *x = mem_new(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = (float)rng_normal(key, i);
    return x;
}
/* 0, 1, 2 ... for the rows of a panel. */
static uint32_t *some_rows(size_t n) {
    uint32_t *row = mem_new(n, sizeof *row);
    for (size_t i = 0; i < n; i++) row[i] = (uint32_t)i;
    return row;
}

/* A matrix, its operands and what the three products make of them: y = W x,
 * dx = W' y and dw = y x', of so many groups. */
typedef struct {
    SpMat m;
    size_t groups;
    size_t xs, ys;              /* floats from a group to the next */
    uint32_t *row;
    float *w;                   /* (lines,16) */
    float *x;                   /* (groups,IC,16), IC and OC rounded up to 16 */
    float *y;                   /* (groups,OC,16) */
    float *dx;                  /* (groups,IC,16) */
    float *dw;                  /* (lines,16) */
} Products;

static SpPanel products_panel(const Products *p, float *lines, size_t stride) {
    return (SpPanel){lines, stride, p->row};
}
static Products products_new(SpMat m, size_t groups) {
    const size_t xs = size_up(m.IC, LINE) * LINE;       /* a panel's rows come in sixteens */
    const size_t ys = m.nb * LINE * LINE;
    Products p = {.m = m, .groups = groups, .xs = xs, .ys = ys};
    p.row = some_rows(size_max(xs / LINE, m.nb * LINE));
    p.w = some_floats(1, m.lines * LINE);
    p.x = some_floats(2, groups * xs);
    p.y = mem_new(groups * ys, sizeof *p.y);
    p.dx = mem_new(groups * xs, sizeof *p.dx);
    p.dw = mem_new(m.lines * LINE, sizeof *p.dw);
    const SpBlocks all = {&m, 0, m.nb};
    const SpPanel x = products_panel(&p, p.x, xs);
    const SpPanel y = products_panel(&p, p.y, ys);
    sp_forward(all, p.w, x, y, groups);
    sp_backward_data(all, p.w, y, products_panel(&p, p.dx, xs), groups);
    sp_backward_weight(all, p.dw, y, x, groups);
    return p;
}
static void products_free(Products *p) {
    free(p->row);
    free(p->w);
    free(p->x);
    free(p->y);
    free(p->dx);
    free(p->dw);
}

/* The lower half of the row blocks and then the upper one give the bits of all. */
static void check_slices(const Products *p) {
    const SpMat *m = &p->m;
    const size_t half = m->nb / 2;
    const SpBlocks lower = {m, 0, half};
    const SpBlocks higher = {m, half, m->nb};
    const float *upper = p->w + (size_t)m->first[half] * LINE;
    float *y = mem_new(p->groups * p->ys, sizeof *y);
    float *dx = some_floats(3, p->groups * p->xs);      /* not 0: the sums begin anew */
    const SpPanel from = products_panel(p, p->x, p->xs);
    const SpPanel dout = products_panel(p, p->y, p->ys);
    sp_forward(lower, p->w, from, products_panel(p, y, p->ys), p->groups);
    sp_forward(higher, upper, from,
               products_panel(p, y + half * LINE * LINE, p->ys), p->groups);
    CHECK(!memcmp(y, p->y, p->groups * p->ys * sizeof *y),
          "slices of forward differ from the whole");
    const SpPanel to = products_panel(p, dx, p->xs);
    sp_backward_data(lower, p->w, dout, to, p->groups);
    sp_backward_data(higher, upper, dout, to, p->groups);
    CHECK(!memcmp(dx, p->dx, p->groups * p->xs * sizeof *dx),
          "slices of backward-data differ from the whole");
    free(y);
    free(dx);
}

/* A sum in double precision, and that of the magnitudes. */
typedef struct {
    double sum, size;
} Sum;
static void sum_add(Sum *s, double term) {
    s->sum += term;
    s->size += fabs(term);
}
static double sum_error(const Sum *s, float found) {
    return fabs((double)found - s->sum) / (s->size + 1e-30);
}
/* How far the three products are off plain loops, at most, in magnitudes. */
static void products_errors(const Products *p, double worst[3]) {
    const SpMat *m = &p->m;
    Sum *y = mem_new(p->groups * p->ys, sizeof *y);
    Sum *dx = mem_new(p->groups * p->xs, sizeof *dx);
    for (size_t r = 0; r < m->nb; r++)
        for (size_t l = m->first[r]; l < m->first[r + 1]; l++)
            for (size_t o = 0; o < LINE; o++) {
                const double w = (double)p->w[l * LINE + o];
                const size_t i = sp_cols(m, r)[l - m->first[r]];
                Sum dw = {0};
                for (size_t t = 0; t < p->groups * LINE; t++) {
                    const size_t g = t / LINE;
                    const size_t lane = t % LINE;
                    const size_t at_x = g * p->xs + i * LINE + lane;
                    const size_t at_y =
                        g * p->ys + (r * LINE + o) * LINE + lane;
                    sum_add(&y[at_y], w * (double)p->x[at_x]);
                    sum_add(&dx[at_x], w * (double)p->y[at_y]);
                    sum_add(&dw, (double)p->y[at_y] * (double)p->x[at_x]);
                }
                worst[2] = larger(worst[2], sum_error(&dw, p->dw[l * LINE + o]));
            }
    for (size_t i = 0; i < p->groups * p->ys; i++)
        worst[0] = larger(worst[0], sum_error(&y[i], p->y[i]));
    for (size_t i = 0; i < p->groups * p->xs; i++)
        worst[1] = larger(worst[1], sum_error(&dx[i], p->dx[i]));
    free(y);
    free(dx);
}
/* The products of a matrix against plain loops, and slices against the whole. */
static void check_products(SpMat m, size_t groups) {
    Products p = products_new(m, groups);
    double worst[3] = {0};
    check_slices(&p);
    products_errors(&p, worst);
    for (int k = 0; k < 3; k++)
        CHECK(worst[k] < 4e-7 * sqrt((double)(m.IC + m.OC)),
              "%zu -> %zu, %zu lines, %zu groups, product %d: "
              "error %.3g of sum |a||b|",
              m.IC, m.OC, m.lines, groups, k, worst[k]);
    products_free(&p);
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
        CHECK(isfinite(e[0]) && (k < 2 ? e[0] < 2e-38f : e[0] > 1e38f),
              "exp(%g) = %g", (double)edge[k], (double)e[0]);
    }
}

/* All kept gives the bits of dense. */
static void check_ones(size_t OC, size_t IC, size_t groups) {
    SpMat dense = sp_dense(OC, IC);
    SpMat all = some_pattern(OC, IC, 1, 1);
    Products a = products_new(dense, groups);
    Products b = products_new(all, groups);
    const bool y = !memcmp(a.y, b.y, groups * a.ys * sizeof *a.y);
    const bool dx = !memcmp(a.dx, b.dx, groups * a.xs * sizeof *a.dx);
    const bool dw = !memcmp(a.dw, b.dw, dense.lines * LINE * sizeof *a.dw);
    CHECK(y && dx && dw, "%zu -> %zu: all kept differs from dense", IC, OC);
    products_free(&a);
    products_free(&b);
    sp_free(&dense);
    sp_free(&all);
}

/* want: a letter a block, '1' kept, '0' not */
static void check_mask(const char *what, const uint8_t *on, const char *want) {
    for (size_t b = 0; want[b]; b++)
        CHECK(on[b] == want[b] - '0', "%s: block %zu is %d", what, b, on[b]);
}
/* What goes and what comes, on cases small enough to work out by hand. */
static void test_evolve(void) {
    uint8_t on[6];
    const float weight[6] = {5, 1, 3, 0, 0, 0};
    const float grow[6] = {9, 2, 1, 7, 7, 0};
    memcpy(on, (uint8_t[]){1, 1, 1, 0, 0, 0}, 6);
    CHECK(sp_evolve(on, 6, 1, 1, weight, grow, 0) == 1, "one block is new");
    check_mask("block 1 (|w| 1) goes, 3 comes: gradient 7 as of 4, and the smaller "
               "place", on, "101100");
    memcpy(on, (uint8_t[]){1, 1, 1, 0, 0, 0}, 6);
    const float again[6] = {9, 8, 1, 7, 7, 0};
    CHECK(sp_evolve(on, 6, 1, 1, weight, again, 0) == 0, "none is new");
    check_mask("block 1 goes and comes again", on, "111000");
    memcpy(on, (uint8_t[]){1, 1, 1, 1, 0, 0}, 6);
    sp_evolve(on, 6, 2, 0, (float[]){2, 1, 1, 1, 0, 0}, NULL, 0);
    check_mask("of three equals the two in the smaller places are dropped", on, "100100");
    memcpy(on, (uint8_t[]){0, 1, 0, 1, 0, 0}, 6);
    sp_evolve(on, 6, 0, 9, weight, grow, 0);
    check_mask("more to grow than there are", on, "111111");
}
/* Random growth takes any of the five that are out, equally often. */
static void test_evolve_random(void) {
    const float weight[6] = {5, 1, 3, 0, 0, 0};
    size_t moved[6] = {0};
    size_t fresh = 0;
    for (uint64_t key = 0; key < 300; key++) {
        uint8_t on[6] = {0, 1, 0, 0, 0, 0};
        fresh += sp_evolve(on, 6, 1, 1, weight, NULL, key);
        for (size_t b = 0; b < 6; b++) moved[b] += on[b];
    }
    for (size_t b = 0; b < 6; b++)
        CHECK(moved[b] > 25 && moved[b] < 75, "block %zu grown %zu of 300 times", b,
              moved[b]);
    CHECK(fresh == 300 - moved[1],
          "%zu of 300 are new, the dropped one came again %zu times", fresh,
          moved[1]);
}
/* A balanced mask keeps equally many in every row, and in every column to within
 * one. */
static void check_balanced(size_t nb, size_t J, size_t keep, uint64_t key) {
    uint8_t *on = mem_new(nb * J, 1);
    sp_mask_balanced(on, nb, J, keep, key);
    for (size_t r = 0; r < nb; r++) {
        size_t n = 0;
        for (size_t j = 0; j < J; j++) n += on[r * J + j];
        CHECK(n == keep, "row %zu of %zu x %zu keeps %zu, expected %zu", r, nb, J, n,
              keep);
    }
    for (size_t j = 0; j < J; j++) {
        size_t n = 0;
        for (size_t r = 0; r < nb; r++) n += on[r * J + j];
        CHECK(n == nb * keep / J || n == (nb * keep + J - 1) / J,
              "column %zu of %zu x %zu keeps %zu", j, nb, J, n);
    }
    free(on);
}
static void test_mask_rules(void) {
    uint8_t on[70];
    sp_mask_magnitude(on, 2, 3, 1, (float[]){1, 5, 2, 4, 4, 3});
    check_mask("the two largest of all, ties to the smaller place", on, "010100");
    sp_mask_butterfly(on, 8, 8, 2);     /* s = 8 would want 2 of its 4 partners */
    check_mask("butterfly, each block and its neighbour", on,
               "11000000" "11000000" "00110000" "00110000"
               "00001100" "00001100" "00000011" "00000011");
    sp_mask_random(on, 10, 7, 3, 1);
    size_t n = 0;
    for (size_t b = 0; b < 70; b++) n += on[b];
    CHECK(n == 30, "random keeps %zu of 30", n);
    static const size_t shape[][3] = {
        {48, 192, 24}, {144, 48, 6}, {5, 7, 3}, {3, 4, 4}, {9, 5, 1}};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++)
        check_balanced(shape[k][0], shape[k][1], shape[k][2], k);
}
/* Densities in proportion to 1 / OC + 1 / IC: 5050 of 10100 are kept. */
static void test_erdos_renyi(void) {
    double d[2];
    sp_erdos_renyi(2, (size_t[]){100, 10}, (size_t[]){100, 10}, 0.5, d);
    CHECK(d[1] == 1 && fabs(d[0] - 0.495) < 1e-12, "Erdos-Renyi: %g and %g", d[0],
          d[1]);
    sp_erdos_renyi(2, (size_t[]){30, 10}, (size_t[]){10, 10}, 0.25, d);
    CHECK(fabs(d[0] - 100. / 450) < 1e-12 && fabs(d[1] - 1. / 3) < 1e-12,
          "Erdos-Renyi: %g and %g", d[0], d[1]);
}

/* A change of mask carries what stays and nothing else. */
static void test_carry(void) {
    SpMat a = sp_pattern(16, 8, 2, (uint8_t[]){1, 0, 1, 0});
    SpMat b = sp_pattern(16, 8, 2, (uint8_t[]){0, 0, 1, 1});
    SpMat c = sp_dense(16, 8);
    const uint32_t old[4] = {10, 11, 14, 15};
    const uint32_t want_sparse[4] = {14, 15, 0, 0};
    const uint32_t want_dense[8] = {10, 11, 0, 0, 14, 15, 0, 0};
    uint32_t sparse[4] = {0};
    uint32_t dense[8] = {0};
    sp_carry(&a, &b, old, sparse, sizeof *old);
    sp_carry(&a, &c, old, dense, sizeof *old);
    CHECK(!memcmp(sparse, want_sparse, sizeof sparse), "carried %u %u %u %u",
          sparse[0], sparse[1], sparse[2], sparse[3]);
    CHECK(!memcmp(dense, want_dense, sizeof dense), "carried to dense");
    sp_free(&a);
    sp_free(&b);
    sp_free(&c);
}

/* Blocks of every width, at every density. */
static void test_blocks(void) {
    static const size_t shape[][2] = {
        {16, 16}, {17, 16}, {48, 32}, {30, 144}, {272, 96}, {16 * BAND + 40, 16}};
    static const double density[5] = {0, 1.0 / 16, 1.0 / 8, 0.5, 1};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++)
        for (size_t w = 1; w <= 16; w *= 2)
            for (int d = 0; d < 5; d++) {
                SpMat m = some_pattern(shape[k][0], shape[k][1], w, density[d]);
                check_products(m, 1 + (k + w) % GROUPS_MAX);
                sp_free(&m);
            }
}
/* Shapes that no tile divides, any number of groups; dense ones too. */
static void test_odd_shapes(void) {
    static const size_t odd[][2] = {
        {1, 1}, {17, 5}, {48, 7}, {30, 130}, {100, 300}, {272, 97}};
    static const double density[4] = {0, 1.0 / 16, 1.0 / 8, 0.5};
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
        for (size_t groups = 1; groups <= GROUPS_MAX; groups += QUICK ? 4 : 1)
            for (int d = 0; d < 5; d++) {
                const size_t OC = odd[k][0];
                const size_t IC = odd[k][1];
                SpMat m = d == 4 ? sp_dense(OC, IC)
                                 : some_pattern(OC, IC, 1, density[d]);
                check_products(m, groups);
                sp_free(&m);
            }
}

static void test_sparse(void) {
    test_blocks();
    test_odd_shapes();
    check_ones(48, 200, 3);
    check_ones(33, 7, 8);
    test_evolve();
    test_evolve_random();
    test_mask_rules();
    test_erdos_renyi();
    test_carry();
    test_exp();
}
#endif
