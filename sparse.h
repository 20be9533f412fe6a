/* sparse.h: matrices of row blocks, and the three products that are nearly all the arithmetic of a GPT.
 *
 * It knows nothing of GPT. It refuses fast-math, and any order of summation that depends on threads, panel
 * size or machine: every output is one chain of fused multiply-adds in an order stated below, so the bits are
 * the same everywhere. Intrinsics stand in the vector shim alone, for the few operations that compilers spoil
 * when they are left to find them; everything else is plain C over one vector type of the machine's width.
 *
 * Letters     OC, IC      outputs and inputs of a matrix
 *             row block   16 outputs
 *             line        16 numbers, one 64-byte cache line
 *             lane        one token; 16 lanes are a group, ng groups of one sequence a panel
 *             x, y, w     inputs, outputs, weights; dx, dy, dw the derivatives of the loss by them
 *
 * Activations: a panel is x[ng][IC][16], one line per (group, feature):
 *
 *     group 0:  feature 0  [token 0 .. token 15]      Weights: row block r is w[r][lines][16]:
 *               feature 1  [token 0 .. token 15]
 *               ...                                       input 0  [output 16r .. output 16r+15]
 *     group 1:  feature 0  [token 16 .. token 31]         input 1  [output 16r .. output 16r+15]
 *               ...                                       ...
 *
 * A sparse matrix keeps, for each row block, only the lines of its active inputs, sorted; col names their
 * inputs. A dense matrix is one that keeps all of them, so one code path serves both. Groups of w inputs that
 * are kept or dropped together (blocks 16 x w) matter to those who choose the lines, not to the products.
 *
 *     product            per group of lanes                            order of each sum
 *     forward            y[o]  += sum_l  w[l][o] x[col l]              lines ascending
 *     backward-data      dx[i] += sum_o  w[l(i)][o] dy[o]              outputs ascending
 *     backward-weight    dw[l][o] += sum_t dy[o][t] x[col l][t]        groups last to first, lanes ascending
 *
 * Worked example: OC = 16, IC = 2, one group. forward takes line 0 of w (the 16 weights of input 0) and line
 * 0 of x (feature 0 of 16 tokens); output o gains w[0][o] times that whole line; then line 1. Sixteen tokens
 * move together and no sum ever crosses a lane, so nothing has to be shuffled and every compiler can
 * vectorise it.
 *
 * The innermost loop of all three is the same, a tile: R rows of G lines are summed in registers, and a step
 * loads G lines and multiplies each by R scalars.
 *
 *     product            a step of                 its G lines                       its R scalars
 *     forward            one line of w             x[col l] of G groups              w[l][o], R outputs
 *     backward-data      one output                dy[o] of G groups                 w[l][o], R lines
 *     backward-weight    one token                 dy of the token, G row blocks     x[col l] of it, R lines
 *
 * Only the last sums over tokens: it first turns 16 x 16 pieces of dy, so that outputs are the lanes. R and G
 * are what the registers hold, and no choice of them changes a bit:
 *
 *     width                       registers    wide tiles    narrow tiles
 *     AVX-512   16 floats             32       6 x 4         16 x 1 forward, 12 x 1 backward
 *     AVX2       8 floats             16       -             6 x 1 (a line is 2 registers)
 *     NEON       4 floats             32       -             4 x 1 (a line is 4 registers)
 *
 * A multiply-add takes 4 turns of the clock and two can begin in each, so 8 sums must be under way; on
 * AVX-512 one line of 6 rows has too few of them, and a scalar that serves 4 lines is loaded a quarter as
 * often. Wide tiles need G groups of tokens or, backward-weight, G row blocks that keep the same inputs: those
 * of a dense matrix. What is left over takes narrow ones.
 *
 * A gathered line that lies in the second-level cache is asked for some lines before its turn, for no machine
 * guesses where the next one is: that took 3072 -> 768 at 1/8 from 65 to 83 % of peak (Zen 3). */
#ifndef SPARSE_H
#define SPARSE_H
#include "data/base/base.h"

/* ---- the vector shim ---------------------------------------------------------------------------------- */

#if defined __AVX512F__
#include <immintrin.h>
#define LANES 16
#elif defined __AVX2__ && defined __FMA__
#include <immintrin.h>
#define LANES 8
#else
#define LANES 4                                     /* NEON, or plain C: whatever 16 bytes become */
#if defined __aarch64__
#include <arm_neon.h>
#endif
#endif
enum { LINE = 16, VECS = LINE / LANES };            /* floats a line, registers a line */
enum { WIDE = LANES == 16 ? 4 : 1 };                /* lines of a wide tile */
enum { ROWS = LANES == 16 ? 12 : LANES == 8 ? 6 : 4 };      /* of a narrow tile; a wide one has 6 */
enum { AHEAD = 8 };                                 /* lines of x fetched ahead of use */

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

#ifdef __clang__ /* unrolled whole, or the sums leave their registers */
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#endif
#define INLINE static inline __attribute__((always_inline))
#define SP_APART __attribute__((noinline, unused)) static  /* its loops get all registers */

INLINE vf vf_load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

/* What compilers make scalar code of, or not always one instruction, if it is written as a loop over lanes:
 *     vf_all      s in every lane
 *     vf_fma      a b + c, rounded once
 *     vf_sqrt     the root, rounded correctly
 *     vf_max      the larger; b if either is a NaN, so that one in a is lost: who must notice looks at inputs
 *     vf_stream   a store past the caches, for what is not read again soon: it neither fetches the line nor
 *                 drives another out. p is aligned to the vector. Others see it after vf_streamed().
 * In plain C a lane may be a call of libm: right, and slow. */
#if LANES == 16
INLINE vf vf_all(float s) { return (vf)_mm512_set1_ps(s); }
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vf vf_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE void vf_stream(float *p, vf v) { _mm512_stream_ps(p, (__m512)v); }
INLINE void vf_streamed(void) { _mm_sfence(); }
#elif LANES == 8
INLINE vf vf_all(float s) { return (vf)_mm256_set1_ps(s); }
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vf vf_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE void vf_stream(float *p, vf v) { _mm256_stream_ps(p, (__m256)v); }
INLINE void vf_streamed(void) { _mm_sfence(); }
#else
INLINE vf vf_all(float s) { return (vf){s, s, s, s}; }
#if defined __aarch64__
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vf vf_sqrt(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
#else
INLINE vf vf_fma(vf a, vf b, vf c) {
    for (int i = 0; i < LANES; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
INLINE vf vf_sqrt(vf a) {
    for (int i = 0; i < LANES; i++) a[i] = sqrtf(a[i]);
    return a;
}
#endif
INLINE vf vf_max(vf a, vf b) { return (vf)(((vi)a & (a > b)) | ((vi)b & ~(a > b))); }
INLINE void vf_stream(float *p, vf v) { vf_store(p, v); }
INLINE void vf_streamed(void) {}
#endif

/* Doubles, as many as fill a register, of so many floats. */
enum { VD_LANES = LANES / 2 };
typedef double vd __attribute__((vector_size(4 * LANES)));
INLINE vd vd_of(const float *p) {
    typedef float half __attribute__((vector_size(2 * LANES)));
    half h;
    memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, vd);
}


/* v, but `other` in the lanes below n; n may be below 0 or above LANES. */
INLINE vf vf_below(int n, vf other, vf v) {
    vi lane;
    UNROLL for (int i = 0; i < LANES; i++) lane[i] = i;
    const vi below = lane < n;
    return (vf)(((vi)other & below) | ((vi)v & ~below));
}

/* e^x for every lane, within 1 ulp (tests measure 0.99) for |x| <= 87; below -87 it is e^-87 and above 88 it
 * is e^88, both finite. x = n ln2 + r with |r| <= ln2 / 2, ln2 in two parts (Cody and Waite 1980); e^r by its
 * Taylor polynomial of degree 7, whose remainder is below 2^-27; 2^n by building the exponent. */
INLINE vf vf_exp(vf x) {
    const vf lo = vf_all(-87.0f), hi = vf_all(88.0f), magic = vf_all(12582912.0f);
    x = vf_max(x, lo);
    x = -vf_max(-x, -hi);
    vf n =
        vf_fma(x, vf_all(1.44269504f), magic); /* adding 1.5 2^23 rounds to a whole number in the low bits */
    vi k = (vi)n - (vi)magic;
    n = n - magic;
    vf r = vf_fma(n, vf_all(-0.693359375f), x), p = vf_all(1.0f / 5040);
    r = vf_fma(n, vf_all(2.12194440e-4f), r);
    p = vf_fma(p, r, vf_all(1.0f / 720));
    p = vf_fma(p, r, vf_all(1.0f / 120));
    p = vf_fma(p, r, vf_all(1.0f / 24));
    p = vf_fma(p, r, vf_all(1.0f / 6));
    p = vf_fma(p, r, vf_all(0.5f));
    p = vf_fma(p, r, vf_all(1.0f));
    p = vf_fma(p, r, vf_all(1.0f));
    return (vf)((vi)p + (k << 23));
}

/* ---- the pattern of a matrix -------------------------------------------------------------------------- */

typedef struct {
    size_t OC, IC, nb;          /* nb = ceil(OC / 16) row blocks; outputs past OC have zero weights */
    size_t lines;               /* kept lines of all row blocks: the matrix holds 16 x lines numbers */
    size_t w;                   /* inputs that are kept or dropped together: blocks are 16 x w */
    bool dense;                 /* every line is kept; elements of them may be masked all the same */
    uint32_t *first;            /* [nb + 1] row block r owns lines first[r] .. first[r+1] */
    const uint32_t *end;        /* first + 1; in a slice of columns, where its lines of a row block end */
    uint32_t *col;              /* the input of each line; a dense matrix shares one row 0 .. IC-1 */
    uint16_t *keep;             /* [lines] bit o: element o of the line is kept; NULL: every one is */
} SpMat;

static inline const uint32_t *sp_cols(const SpMat *m, size_t r) {
    return m->col + (m->dense ? 0 : m->first[r]);
}

/* The matrix that keeps block (r, j), that is inputs j w .. j w + w - 1 of row block r, where on[r][j] is
 * set; with on NULL all of them. w divides IC. Freed with sp_free. */
static inline SpMat sp_pattern(size_t OC, size_t IC, size_t w, const uint8_t *on) {
    SpMat m = {.OC = OC, .IC = IC, .nb = (OC + LINE - 1) / LINE, .w = w, .dense = true};
    const size_t all = size_mul(m.nb, IC), J = IC / w;
    if (all > UINT32_MAX / LINE) die("a matrix of %zu x %zu has too many weights for this program", OC, IC);
    for (size_t b = 0; on && b < m.nb * J; b++) m.lines += on[b] ? w : 0;
    if (!on) m.lines = all;
    m.dense = m.lines == all;
    m.end = (m.first = mem_new(m.nb + 1, sizeof *m.first)) + 1;
    m.col = mem_new((m.dense ? IC : m.lines) + AHEAD, sizeof *m.col);        /* AHEAD more are looked at */
    for (size_t r = 0, l = 0; r < m.nb; m.first[++r] = (uint32_t)l)
        for (size_t i = 0; i < IC; i++)
            if (m.dense) m.col[i] = (uint32_t)i, l++;
            else if (on[r * J + i / w]) m.col[l++] = (uint32_t)i;
    return m;
}
static inline SpMat sp_dense(size_t OC, size_t IC) { return sp_pattern(OC, IC, 1, NULL); }
static inline void sp_free(SpMat *m) { free(m->first), free(m->col), free(m->keep), *m = (SpMat){0}; }

static inline size_t sp_blocks(const SpMat *m) { return m->nb * (m->IC / m->w); }

/* on[r][j] (nb, IC / w): whether each block is kept, and if at is given, its first line or UINT32_MAX. */
static inline void sp_map(const SpMat *m, uint8_t *on, uint32_t *at) {
    const size_t J = m->IC / m->w;
    memset(on, 0, m->nb * J);
    for (size_t b = 0; at && b < m->nb * J; b++) at[b] = UINT32_MAX;
    for (size_t r = 0; r < m->nb; r++)
        for (size_t l = m->first[r]; l < m->first[r + 1]; l += m->w) {
            const size_t b = r * J + sp_cols(m, r)[l - m->first[r]] / m->w;
            on[b] = 1;
            if (at) at[b] = (uint32_t)l;
        }
}

/* Bits of the elements of line l that exist (outputs below OC) and are kept. */
static inline uint16_t sp_kept(const SpMat *m, size_t r, size_t l) {
    const size_t real = size_min(m->OC - r * LINE, LINE);
    return (uint16_t)((m->keep ? m->keep[l] : 0xffffu) & ((1u << real) - 1));
}
static inline size_t sp_elements(const SpMat *m) {          /* that are kept */
    size_t n = 0;
    for (size_t r = 0; r < m->nb; r++)
        if (!m->keep)
            n += (m->first[r + 1] - m->first[r]) * size_min(m->OC - r * LINE, LINE);
        else
            for (size_t l = m->first[r]; l < m->first[r + 1]; l++)
                n += (size_t)__builtin_popcount(sp_kept(m, r, l));
    return n;
}

/* The matrix that keeps the elements of mask (IC,OC), 0 or 1: the 16 x w blocks that hold a kept element,
 * and if they hold others too, which. */
static inline SpMat sp_elements_pattern(size_t OC, size_t IC, size_t w, const uint8_t *mask) {
    const size_t J = IC / w, nb = (OC + LINE - 1) / LINE;
    uint8_t *on = mem_new(nb * J, 1);
    bool whole = true;
    for (size_t n = 0; n < IC * OC; n++) on[n % OC / LINE * J + n / OC / w] |= mask[n];
    SpMat m = sp_pattern(OC, IC, w, on);
    m.keep = mem_new(m.lines, sizeof *m.keep);
    for (size_t r = 0; r < nb; r++)
        for (size_t l = m.first[r]; l < m.first[r + 1]; l++)
            for (size_t o = 0, i = sp_cols(&m, r)[l - m.first[r]]; o < LINE && r * LINE + o < OC; o++)
                if (mask[i * OC + r * LINE + o]) m.keep[l] |= (uint16_t)(1u << o);
                else whole = false;
    if (whole) free(m.keep), m.keep = NULL;
    free(on);
    return m;
}

/* Copies what belongs to the lines that both have, `bytes` a line, from old in a's layout to new in b's. */
static inline void sp_carry(const SpMat *a, const SpMat *b, const void *old, void *new, size_t bytes) {
    for (size_t r = 0; r < b->nb; r++) {
        const uint32_t *ca = sp_cols(a, r), *cb = sp_cols(b, r);
        size_t i = a->first[r], j = b->first[r];
        while (i < a->first[r + 1] && j < b->first[r + 1]) {
            const uint32_t x = ca[i - a->first[r]], y = cb[j - b->first[r]];
            if (x == y) memcpy((char *)new + j * bytes, (const char *)old + i * bytes, bytes);
            i += x <= y, j += y <= x;
        }
    }
}

/* ---- masks: which blocks to keep, and how that changes ------------------------------------------------ *
 * A mask is on[nb][J], one byte a block. Every rule but butterfly, a formula, is one act: score the blocks,
 * pick the best.
 *
 *     balanced    row by row, the columns least used so far, in random order    static, the default
 *     random      anywhere
 *     butterfly   on a square of s = 2^k parts a side: i, j with i xor j in 0, 1, 2, 4 ... (Dao et al. 2022)
 *     magnitude   the largest sums of |w|
 *     evolving    drop the n kept blocks of the smallest |w|, then grow n of all that are not kept now, those
 *                 just dropped included: at random (SET: Mocanu et al. 2018) or where the gradient of a dense
 *                 weight is largest (RigL: Evci et al. 2020). What is dropped and grown at once never left.
 *
 * Example, J = 4: kept blocks 0 1 2 with |w| = 5, 1, 3; gradient 9, 2, 1, 7; n = 1. Block 1 goes, block 3 (7,
 * against block 1's 2) comes. */

typedef struct { float score; uint32_t at; } SpRank;

static inline int sp_by_score(const void *a, const void *b) { /* largest first, ties to the smaller place */
    const SpRank *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : x->at < y->at ? -1 : 1;
}
/* Of the n blocks with on == from, the k of the largest score become `to`. */
static inline void sp_pick(uint8_t *on, uint8_t from, uint8_t to, const float *score, size_t n, size_t k) {
    SpRank *rank = mem_new(n, sizeof *rank);
    size_t m = 0;
    for (size_t b = 0; b < n; b++) if (on[b] == from) rank[m++] = (SpRank){score[b], (uint32_t)b};
    qsort(rank, m, sizeof *rank, sp_by_score);
    for (size_t i = 0; i < m && i < k; i++) on[rank[i].at] = to;
    free(rank);
}

/* Blocks a row of J at that density: at least one. */
static inline size_t sp_per_row(double density, size_t J) {
    const size_t k = (size_t)(density * (double)J + 0.5);
    return k < 1 ? 1 : k > J ? J : k;
}

/* k blocks in every row, and in every column as many as in any other, or one less. */
static inline void sp_mask_balanced(uint8_t *on, size_t nb, size_t J, size_t k, uint64_t key) {
    float *score = mem_new(J, sizeof *score);
    size_t *used = mem_new(J, sizeof *used);
    memset(on, 0, nb * J);
    for (size_t r = 0; r < nb; r++) {
        for (size_t j = 0; j < J; j++) score[j] = -(float)used[j] - 0.99f * (float)rng_f64(key, r * J + j);
        sp_pick(on + r * J, 0, 1, score, J, k);
        for (size_t j = 0; j < J; j++) used[j] += on[r * J + j];
    }
    free(score), free(used);
}
/* nb k blocks anywhere. */
static inline void sp_mask_random(uint8_t *on, size_t nb, size_t J, size_t k, uint64_t key) {
    float *score = mem_new(nb * J, sizeof *score);
    for (size_t b = 0; b < nb * J; b++) score[b] = (float)rng_f64(key, b);
    memset(on, 0, nb * J);
    sp_pick(on, 0, 1, score, nb * J, nb * k);
    free(score);
}
/* Row r and column j of the nb x J blocks lie in parts r s / nb and j s / J of a square of s parts a side;
 * kept is where the xor of these is among the first `partners` of 0, 1, 2, 4 ... s is the largest whose
 * density k / J asks for no more of them than there are, 1 + log2 s. */
static inline void sp_mask_butterfly(uint8_t *on, size_t nb, size_t J, size_t k) {
    size_t s = 1, partners = 1;
    for (size_t t = 1, stages = 1; t <= nb && t <= J; t *= 2, stages++) {      /* stages = 1 + log2 t */
        const size_t want = (t * k + J / 2) / J;
        if (want <= stages) s = t, partners = want ? want : 1;
    }
    for (size_t r = 0; r < nb; r++)
        for (size_t j = 0; j < J; j++) {
            const size_t x = (r * s / nb) ^ (j * s / J);
            on[r * J + j] = !(x & (x - 1)) && x < (UINT64_C(1) << (partners - 1));
        }
}
/* The nb k blocks of the largest weight; weight[b]: the sum of |w| of block b. */
static inline void sp_mask_magnitude(uint8_t *on, size_t nb, size_t J, size_t k, const float *weight) {
    memset(on, 0, nb * J);
    sp_pick(on, 0, 1, weight, nb * J, nb * k);
}

/* Drops n kept blocks of the smallest weight, then grows `back` of the largest grow score, which with grow
 * NULL is random. Returns how many blocks are new. */
static inline size_t sp_evolve(uint8_t *on, size_t blocks, size_t n, size_t back, const float *weight,
                               const float *grow, uint64_t key) {
    float *score = mem_new(blocks, sizeof *score);
    uint8_t *was = mem_new(blocks, 1);
    size_t fresh = 0;
    memcpy(was, on, blocks);
    for (size_t b = 0; b < blocks; b++) score[b] = -weight[b];
    sp_pick(on, 1, 0, score, blocks, n);
    for (size_t b = 0; b < blocks; b++) score[b] = grow ? grow[b] : (float)rng_f64(key, b);
    sp_pick(on, 0, 1, score, blocks, back);
    for (size_t b = 0; b < blocks; b++) fresh += on[b] && !was[b];
    free(score), free(was);
    return fresh;
}

/* sum[b] (nb, IC / w) = the sum of |v| of each block of values in m's layout; 0 where nothing is kept. */
static inline void sp_sums(const SpMat *m, const float *v, float *sum) {
    const size_t J = m->IC / m->w;
    memset(sum, 0, m->nb * J * sizeof *sum);
    for (size_t r = 0; r < m->nb; r++)
        for (size_t l = m->first[r]; l < m->first[r + 1]; l++) {
            float *s = &sum[r * J + sp_cols(m, r)[l - m->first[r]] / m->w];
            for (size_t o = 0; o < LINE; o++) *s += fabsf(v[l * LINE + o]);
        }
}

/* Density of each of n matrices: all the same, or as Erdos-Renyi (Evci et al. 2020) proportional to
 * (OC + IC) / (OC IC), those that would exceed 1 dense, the whole keeping the same number of weights. */
static inline void sp_erdos_renyi(size_t n, const size_t *OC, const size_t *IC, double density, double *out) {
    for (size_t k = 0; k < n; k++) out[k] = 0;
    for (bool again = true; again;) {
        double want = 0, have = 0;
        again = false;
        for (size_t k = 0; k < n; k++) {
            want += density * (double)(OC[k] * IC[k]);
            if (out[k] == 1) want -= (double)(OC[k] * IC[k]);
            else have += (double)(OC[k] + IC[k]);
        }
        for (size_t k = 0; k < n; k++)
            if (out[k] != 1) {
                out[k] = want / have * (double)(OC[k] + IC[k]) / (double)(OC[k] * IC[k]);
                if (out[k] > 1) out[k] = 1, again = true;
            }
    }
}

/* A picture of a mask, at most 24 lines of 64 characters: how full each cell is, from ' ' to '@'. */
static inline void sp_show(FILE *f, const uint8_t *on, size_t nb, size_t J) {
    const size_t H = size_min(nb, 24), W = size_min(J, 64);
    for (size_t y = 0; y < H; y++) {
        fputs("    |", f);
        for (size_t x = 0; x < W; x++) {
            size_t kept = 0, all = 0;
            for (size_t r = y * nb / H; r < (y + 1) * nb / H; r++)
                for (size_t j = x * J / W; j < (x + 1) * J / W; j++) kept += on[r * J + j], all++;
            fputc(" .:-=+*#%@"[(kept * 9 + all - 1) / all], f);
        }
        fputs("|\n", f);
    }
}

/* ---- tiles: R rows of G lines, summed in registers ---------------------------------------------------- *
 * R and G are constants wherever these are inlined. Lines that stand side by side are a stride apart. */

enum { MOST = 16 };                                 /* rows of the tallest tile */
typedef vf SpSums[MOST][WIDE * VECS];               /* row j's G lines, a register each LANES floats */

/* Rows 0 .. R-1 of a tile are lines row[0] .. row[R-1] of where its sums are kept. */
static const uint32_t sp_in_order[MOST] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

INLINE void sp_lines(const int G, vf *line, const float *from, size_t stride) {
    UNROLL for (int v = 0; v < G * VECS; v++)
        line[v] = vf_load(from + (size_t)(v / VECS) * stride + v % VECS * LANES);
}
INLINE void sp_take(const int R, const int G, SpSums sum, const float *from, size_t stride,
                    const uint32_t *row) {
    UNROLL for (int j = 0; j < R; j++) sp_lines(G, sum[j], from + (size_t)row[j] * LINE, stride);
}
INLINE void sp_give(const int R, const int G, SpSums sum, float *to, size_t stride, const uint32_t *row) {
    UNROLL for (int j = 0; j < R; j++)
        UNROLL for (int v = 0; v < G * VECS; v++)
            vf_store(to + (size_t)(v / VECS) * stride + row[j] * LINE + v % VECS * LANES, sum[j][v]);
}
/* Asks for line `at` of each of G, to be read (to_write = 0) or written. */
#define SP_FETCH(G, from, stride, at, to_write) \
    UNROLL for (int g = 0; g < (G); g++) \
        __builtin_prefetch((from) + (size_t)g * (stride) + (size_t)(at) * LINE, to_write)

/* A step: row j gains the G lines times scalar[j apart]. */
INLINE void sp_step(const int R, const int G, SpSums sum, const vf *line, const float *scalar, int apart) {
    __asm__("" : "+r"(scalar));     /* or gcc makes one vector of neighbouring scalars, and takes it apart */
    UNROLL for (int j = 0; j < R; j++) {
        const vf s = vf_all(scalar[j * apart]);
        UNROLL for (int v = 0; v < G * VECS; v++) sum[j][v] = vf_fma(s, line[v], sum[j][v]);
    }
}

/* y (R,16) of G groups += sum over n lines of w[l][0..R-1] x[col l]. w: lines of 16. Of the tiles that take
 * the same lines, the first asks for those to come, and for the n lines of w after these. */
INLINE void sp_tile_forward(const int R, const int G, const float *restrict w, const uint32_t *restrict col,
                            size_t n, const float *restrict x, size_t xs, float *restrict y, size_t ys,
                            const bool first) {
    SpSums sum;
    vf line[WIDE * VECS];
    sp_take(R, G, sum, y, ys, sp_in_order);
    for (size_t l = 0; l < n; l++) {
        if (first) {
            __builtin_prefetch(w + (l + n) * LINE);
            SP_FETCH(G, x, xs, col[l + AHEAD], 0);
        }
        sp_lines(G, line, x + (size_t)col[l] * LINE, xs);
        sp_step(R, G, sum, line, w + l * LINE, 1);
    }
    sp_give(R, G, sum, y, ys, sp_in_order);
}

/* dx[col j] of G groups += sum over nr row blocks of w[j][o] dy[o], for R lines j. The next row block's lines
 * of w are wstride floats on, its 16 outputs the next 256 floats of dy. */
INLINE void sp_tile_data(const int R, const int G, const float *restrict w, size_t wstride,
                         const uint32_t *restrict col, size_t nr, const float *restrict dy, size_t ys,
                         float *restrict dx, size_t xs) {
    SpSums sum;
    vf line[WIDE * VECS];
    sp_take(R, G, sum, dx, xs, col);
    UNROLL for (int j = 0; j < R; j++) SP_FETCH(G, dx, xs, col[R + j], 1);
    for (size_t r = 0; r < nr; r++, w += wstride, dy += LINE * LINE)
        UNROLL_TWICE for (int o = 0; o < LINE; o++) {
            sp_lines(G, line, dy + o * LINE, ys);
            sp_step(R, G, sum, line, w + o, LINE);
        }
    sp_give(R, G, sum, dx, xs, col);
}

/* dw[j] of G row blocks += sum over groups, last first, of x[col j][t] times line t of dyt[g] (16 tokens, 16
 * outputs), for R lines j. A row block's dw is ds floats, its dyt ts floats after the one before. */
INLINE void sp_tile_weight(const int R, const int G, float *restrict dw, size_t ds,
                           const uint32_t *restrict col, const float *restrict dyt, size_t ts,
                           const float *restrict x, size_t xs, size_t ng) {
    SpSums sum;
    vf line[WIDE * VECS];
    const float *row[MOST];
    sp_take(R, G, sum, dw, ds, sp_in_order);
    if (G > 1)
        UNROLL for (int j = 0; j < R; j++) SP_FETCH(G, dw, ds, R + j, 1);
    for (size_t g = ng; g-- > 0;) {
        UNROLL for (int j = 0; j < R; j++) {
            row[j] = x + g * xs + (size_t)col[j] * LINE;
            __asm__("" : "+r"(row[j]));
        }
        UNROLL for (int j = 0; j < R; j++) __builtin_prefetch(x + g * xs + (size_t)col[R + j] * LINE);
        UNROLL_TWICE for (int t = 0; t < LINE; t++) {
            sp_lines(G, line, dyt + g * LINE * LINE + t * LINE, ts);
            UNROLL for (int j = 0; j < R; j++) {
                const vf s = vf_all(row[j][t]);
                UNROLL for (int v = 0; v < G * VECS; v++) sum[j][v] = vf_fma(s, line[v], sum[j][v]);
            }
        }
    }
    sp_give(R, G, sum, dw, ds, sp_in_order);
}

/* ---- a row block by tiles ------------------------------------------------------------------------------ *
 * Each of these loops stands in a function of its own: two in one share the registers, and spill. */

/* forward of the 16 outputs of a row block, for one group, or for WIDE of them */
SP_APART void sp_forward_narrow(const float *restrict w, const uint32_t *restrict col, size_t n,
                             const float *restrict x, float *restrict y) {
    if (LANES == 16) sp_tile_forward(16, 1, w, col, n, x, 0, y, 0, true);
    else if (LANES == 8) {
        sp_tile_forward(6, 1, w, col, n, x, 0, y, 0, true);
        sp_tile_forward(5, 1, w + 6, col, n, x, 0, y + 6 * LINE, 0, false);
        sp_tile_forward(5, 1, w + 11, col, n, x, 0, y + 11 * LINE, 0, false);
    } else {
        sp_tile_forward(4, 1, w, col, n, x, 0, y, 0, true);
        for (int o = 4; o < LINE; o += 4)
            sp_tile_forward(4, 1, w + o, col, n, x, 0, y + o * LINE, 0, false);
    }
}
SP_APART void sp_forward_wide(const float *restrict w, const uint32_t *restrict col, size_t n,
                           const float *restrict x, size_t xs, float *restrict y, size_t ys) {
    sp_tile_forward(6, WIDE, w, col, n, x, xs, y, ys, true);
    sp_tile_forward(5, WIDE, w + 6, col, n, x, xs, y + 6 * LINE, ys, false);
    sp_tile_forward(5, WIDE, w + 11, col, n, x, xs, y + 11 * LINE, ys, false);
}

/* The largest tile for what is left of some lines: whole tiles, then 4, 2 and 1; eight are two fours, for two
 * rows alone leave the multiply-add units idle. */
INLINE size_t sp_tall(size_t most, size_t lines) {
    return lines >= most && (most != 6 || lines != 8) ? most : lines >= 4 ? 4 : lines >= 2 ? 2 : 1;
}
/* backward-data of `lines` lines of one row block, or of nr that keep the same */
SP_APART void sp_data_narrow(const float *restrict w, size_t wstride, const uint32_t *restrict col, size_t lines,
                          size_t nr, const float *restrict dy, float *restrict dx) {
    for (size_t l = 0, n; l < lines; l += n, w += n * LINE, col += n) {
        n = sp_tall(ROWS, lines - l);
        if (n == ROWS) sp_tile_data(ROWS, 1, w, wstride, col, nr, dy, 0, dx, 0);
        else if (n == 4) sp_tile_data(4, 1, w, wstride, col, nr, dy, 0, dx, 0);
        else if (n == 2) sp_tile_data(2, 1, w, wstride, col, nr, dy, 0, dx, 0);
        else sp_tile_data(1, 1, w, wstride, col, nr, dy, 0, dx, 0);
    }
}
SP_APART void sp_data_wide(const float *restrict w, size_t wstride, const uint32_t *restrict col, size_t lines,
                        size_t nr, const float *restrict dy, size_t ys, float *restrict dx, size_t xs) {
    for (size_t l = 0, n; l < lines; l += n, w += n * LINE, col += n) {
        n = sp_tall(6, lines - l);
        if (n == 6) sp_tile_data(6, WIDE, w, wstride, col, nr, dy, ys, dx, xs);
        else if (n == 4) sp_tile_data(4, WIDE, w, wstride, col, nr, dy, ys, dx, xs);
        else if (n == 2) sp_tile_data(2, WIDE, w, wstride, col, nr, dy, ys, dx, xs);
        else sp_tile_data(1, WIDE, w, wstride, col, nr, dy, ys, dx, xs);
    }
}
/* backward-weight of the lines of one row block, or of WIDE that keep the same */
SP_APART void sp_weight_narrow(float *restrict dw, const uint32_t *restrict col, size_t lines,
                            const float *restrict dyt, const float *restrict x, size_t xs, size_t ng) {
    for (size_t l = 0, n; l < lines; l += n, dw += n * LINE, col += n) {
        n = sp_tall(ROWS, lines - l);
        if (n == ROWS) sp_tile_weight(ROWS, 1, dw, 0, col, dyt, 0, x, xs, ng);
        else if (n == 4) sp_tile_weight(4, 1, dw, 0, col, dyt, 0, x, xs, ng);
        else if (n == 2) sp_tile_weight(2, 1, dw, 0, col, dyt, 0, x, xs, ng);
        else sp_tile_weight(1, 1, dw, 0, col, dyt, 0, x, xs, ng);
    }
}
SP_APART void sp_weight_wide(float *restrict dw, size_t ds, const uint32_t *restrict col, size_t lines,
                          const float *restrict dyt, size_t ts, const float *restrict x, size_t xs,
                          size_t ng) {
    for (size_t l = 0, n; l < lines; l += n, dw += n * LINE, col += n) {
        n = sp_tall(6, lines - l);
        if (n == 6) sp_tile_weight(6, WIDE, dw, ds, col, dyt, ts, x, xs, ng);
        else if (n == 4) sp_tile_weight(4, WIDE, dw, ds, col, dyt, ts, x, xs, ng);
        else if (n == 2) sp_tile_weight(2, WIDE, dw, ds, col, dyt, ts, x, xs, ng);
        else sp_tile_weight(1, WIDE, dw, ds, col, dyt, ts, x, xs, ng);
    }
}

/* out (16,16) = the transpose of in (16,16), by 4 x 4 pieces. Zipping rows 0 and 2, 1 and 3, and then the
 * results, puts column c of a piece into line c. */
typedef float Four __attribute__((vector_size(16)));
#define SP_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define SP_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)

INLINE void sp_transpose(float *restrict out, const float *restrict in) {
    UNROLL for (int i = 0; i < LINE; i += 4)
        UNROLL for (int o = 0; o < LINE; o += 4) {
            Four row[4], line[4];
            UNROLL for (int k = 0; k < 4; k++) memcpy(&row[k], in + (i + k) * LINE + o, sizeof row[k]);
            const Four even = SP_ZIP_LOW(row[0], row[2]), even2 = SP_ZIP_HIGH(row[0], row[2]);
            const Four odd = SP_ZIP_LOW(row[1], row[3]), odd2 = SP_ZIP_HIGH(row[1], row[3]);
            line[0] = SP_ZIP_LOW(even, odd);
            line[1] = SP_ZIP_HIGH(even, odd);
            line[2] = SP_ZIP_LOW(even2, odd2);
            line[3] = SP_ZIP_HIGH(even2, odd2);
            UNROLL for (int k = 0; k < 4; k++) memcpy(out + (o + k) * LINE + i, &line[k], sizeof line[k]);
        }
}

/* ---- the three products ------------------------------------------------------------------------------- */

enum { CHUNK = WIDE > 1 ? 64 : 128 };               /* lines of w, and of x in WIDE groups, that L1 holds */
enum { BUNDLE = 4, GROUPS_MAX = 8 };                /* row blocks taken together; groups of a panel */

/* Row blocks r0 .. r1 of y += W x. w: the lines of row block r0 on; x: [ng] groups xs floats apart, IC lines
 * each; y: [ng] groups ys apart, its first line is output 16 r0. */
SP_APART void sp_forward(const SpMat *m, size_t r0, size_t r1, const float *restrict w, const float *restrict x,
                      size_t xs, float *restrict y, size_t ys, size_t ng) {
    for (size_t r = r0; r < r1; r++, y += LINE * LINE) {
        const uint32_t *col = sp_cols(m, r);
        const size_t lines = m->first[r + 1] - m->first[r];
        for (size_t l = 0, n; l < lines; l += n, w += n * LINE) {
            n = size_min(lines - l, CHUNK);
            size_t g = 0;
            for (; WIDE > 1 && g + WIDE <= ng; g += WIDE)
                sp_forward_wide(w, col + l, n, x + g * xs, xs, y + g * ys, ys);
            for (; g < ng; g++) sp_forward_narrow(w, col + l, n, x + g * xs, y + g * ys);
        }
    }
}

/* The line at which the 16 outputs of row block r begin in a group: yrow[16 r], or with yrow NULL 16 r. */
INLINE size_t sp_row(const uint32_t *yrow, size_t r) { return yrow ? yrow[r * LINE] : r * LINE; }

/* dx += W' dy over row blocks r0 .. r1, of which w is: continues the sums in dx, so that slices of a matrix
 * taken in order give the bits of the whole. dy begins at output 0, wherever yrow says its rows are. A dense
 * matrix takes four row blocks and 96 inputs at a time. m may be a slice of columns: row block r has lines
 * first[r] .. end[r] of w and of col. */
SP_APART void sp_backward_data(const SpMat *m, size_t r0, size_t r1, const float *restrict w,
                            const float *restrict dy, const uint32_t *yrow, size_t ys, float *restrict dx,
                            size_t xs, size_t ng) {
    const size_t chunk = m->dense ? 96 : SIZE_MAX / 2, bundle = m->dense ? BUNDLE : 1;
    for (size_t l0 = 0; l0 < (m->dense ? m->IC : 1); l0 += chunk)
        for (size_t r = r0, nr; r < r1; r += nr) {
            const uint32_t *col = sp_cols(m, r) + l0;
            const size_t lines = m->end[r] - m->first[r], end = size_min(l0 + chunk, lines);
            const float *wr = w + ((size_t)(m->first[r] - m->first[r0]) + l0) * LINE;
            const size_t row = sp_row(yrow, r);     /* blocks whose outputs follow one another go together */
            for (nr = 1; nr < bundle && r + nr < r1 && sp_row(yrow, r + nr) == row + nr * LINE;) nr++;
            const size_t stride = nr > 1 ? (size_t)(m->first[r + 1] - m->first[r]) * LINE : 0;
            const float *dyr = dy + row * LINE;
            if (l0 >= end) continue;
            size_t g = 0;
            for (; WIDE > 1 && g + WIDE <= ng; g += WIDE)
                sp_data_wide(wr, stride, col, end - l0, nr, dyr + g * ys, ys, dx + g * xs, xs);
            for (; g < ng; g++)
                sp_data_narrow(wr, stride, col, end - l0, nr, dyr + g * ys, dx + g * xs);
        }
}

/* dw += dy x' over the lanes of ng <= GROUPS_MAX groups, row blocks r0 .. r1. Layouts as in
 * sp_backward_data. */
SP_APART void sp_backward_weight(const SpMat *m, size_t r0, size_t r1, float *restrict dw,
                              const float *restrict dy, const uint32_t *yrow, size_t ys,
                              const float *restrict x, size_t xs, size_t ng) {
    float dyt[WIDE * GROUPS_MAX * LINE * LINE] __attribute__((aligned(64)));
    const size_t ts = ng * LINE * LINE;
    for (size_t r = r0, nr; r < r1; r += nr) {
        const uint32_t *col = sp_cols(m, r);
        const size_t lines = m->first[r + 1] - m->first[r];
        float *dwr = dw + (size_t)(m->first[r] - m->first[r0]) * LINE;
        nr = WIDE > 1 && m->dense && r + WIDE <= r1 ? WIDE : 1;
        for (size_t b = 0; b < nr; b++)
            for (size_t g = 0; g < ng; g++)
                sp_transpose(dyt + b * ts + g * LINE * LINE, dy + g * ys + sp_row(yrow, r + b) * LINE);
        if (nr > 1) sp_weight_wide(dwr, lines * LINE, col, lines, dyt, ts, x, xs, ng);
        else sp_weight_narrow(dwr, col, lines, dyt, x, xs, ng);
    }
}
#endif
