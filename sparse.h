/* sparse.h: matrices of row blocks, and the three products that are nearly all
 * the arithmetic of a GPT.
 *
 * It knows nothing of GPT. It refuses fast-math, and any order of summation
 * that depends on threads, panel size or machine: every output is one chain of
 * fused multiply-adds in an order stated below, so the bits are the same
 * everywhere. Intrinsics stand in the vector shim alone, for the few operations
 * that compilers spoil when they are left to find them; everything else is
 * plain C over one vector type of the machine's width.
 *
 *     Letters   W, W'       a matrix of OC outputs o and IC inputs i; transposed
 *               x, y, w     inputs, outputs, the weights that are kept
 *               dx, dy, dw  the derivatives of the loss by them
 *               l, r, g, t  a line of w, a row block, a group, a token
 *     Words     line        16 numbers, one 64-byte cache line
 *               row block   16 outputs
 *               lane        one token; 16 lanes are a group
 *               panel       the groups of a sequence that are worked on at once
 *
 * A panel is x[group][feature][16 tokens], a line a feature; weights are
 * w[row block][kept input][16 outputs], a line an input:
 *
 *     group 0   +----------------+         row block 0   +----------------+
 *     feature 0 | token 0 .. 15  |         input 0       | output 0 .. 15 |
 *     feature 1 | token 0 .. 15  |         input 1       | output 0 .. 15 |
 *     feature 2 | token 0 .. 15  |         input 4       | output 0 .. 15 |
 *     ...       | ...            |         ...           | ...            |
 *     group 1   +----------------+         row block 1   +----------------+
 *     feature 0 | token 16 .. 31 |         input 2       | output 16..31  |
 *     ...       | ...            |         ...           | ...            |
 *
 * A sparse matrix keeps, for each row block, only the lines of some inputs, in
 * ascending order; col l is the input of line l. A dense matrix is one that
 * keeps all of them, so one code path serves both. Lines are kept or dropped by
 * blocks, of 16 x 4 say, but the products need not know that.
 *
 *     product           what is summed                      in which order
 *     forward           y[o]  += w[l][o] x[col l]           lines l ascending
 *     backward-data     dx[i] += w[l of i][o] dy[o]         outputs ascending
 *     backward-weight   dw[l][o] += dy[o][t] x[col l][t]    groups last to first,
 *                                                           tokens t ascending
 *
 * Worked example: OC = 16, IC = 2, one group. forward takes line 0 of w (the 16
 * weights of input 0) and line 0 of x (feature 0 of 16 tokens); output o gains
 * w[0][o] times that whole line; then line 1. Sixteen tokens move together and
 * no sum crosses a lane, so nothing has to be shuffled.
 *
 * The innermost loop of all three is alike, a tile (of registers; the tiles of
 * dataflow.h are others): R rows of G lines are summed in registers, and a step
 * loads G lines and multiplies each by R scalars.
 *
 *     product          a step of       its G lines           its R scalars
 *     forward          a line of w     x[col l], G groups    w[l][o], R outputs
 *     backward-data    an output       dy[o], G groups       w[l][o], R lines
 *     backward-weight  a token         dy, G row blocks      x[col l], R lines
 *
 * Only the last sums over tokens: it first turns 16 x 16 pieces of dy, so that
 * outputs are the lanes. Its groups go last to first because in the backward pass
 * panels do, for a key's gradient comes from the queries after it. R and G, as
 * large as the registers allow, do not change a bit. Tiles as R x G:
 *
 *     width              registers   wide tiles   narrow tiles
 *     AVX-512 16 floats         32   6 x 4        16 x 1 forward, 12 x 1 else
 *     AVX2     8 floats         16   -            6 x 1, a line is 2 registers
 *     NEON     4 floats         32   -            4 x 1, a line is 4 registers
 *
 * Backward-data of a sparse matrix is two products. Narrow tiles take a row block after
 * the other, and each adds to lines of dx that lie anywhere. Wide ones would carry as many
 * lines to and from the first-level cache as they multiply; so they take four inputs that
 * are kept together, in tiles of 4 x 4, through all row blocks that keep them: then dy is
 * read at random, which can be asked for, and dx written once.
 *
 * A multiply-add takes 4 turns of the clock and two can begin in each, so 8
 * sums must be under way: on AVX-512 6 rows of one line are too few. And a
 * scalar that serves 4 lines is loaded a quarter as often. Wide tiles need G
 * groups or, backward-weight, G row blocks that keep the same inputs, as those
 * of a dense matrix do. What is left over takes narrow ones.
 *
 * A gathered line that lies in the second-level cache is prefetched some lines
 * before its turn, for no machine guesses where the next one is: that took a
 * matrix 3072 -> 768 that keeps 1/8 from 65 to 83 % of peak (Zen 3). What the next
 * row block reads or writes is asked for too, a few lines a tile: all of it at once
 * holds up the loads between. */
#ifndef SPARSE_H
#define SPARSE_H
#include "data/base/base.h"

/* ---- the vector shim ------------------------------------------------------- */

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
enum { LINE = 16, VECS = LINE / LANES };        /* floats a line, registers a line */
enum { WIDE = LANES == 16 ? 4 : 1 };            /* lines of a wide tile, 6 rows tall */
enum { ROWS = LANES == 16 ? 12 : LANES == 8 ? 6 : 4 };  /* of a narrow tile */
enum { AHEAD = 8, AHEAD_W = 32 };               /* lines of x, of w asked for before use */
enum { SOON = 2 };                              /* lines of dy a tile and group asks for */
enum { BEYOND = 16 };                           /* entries past the end of a column list */
enum { BAND = 48 };                             /* row blocks whose dy is used together */

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

#ifdef __clang__                /* unrolled whole, or the sums leave their registers */
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#endif
#define INLINE static inline __attribute__((always_inline))
#define SP_APART __attribute__((noinline, unused)) static

INLINE vf vf_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

/* What compilers make scalar code of, or not always one instruction, if it is
 * written as a loop over lanes:
 *     vf_all     s in every lane
 *     vf_fma     a b + c, rounded once
 *     vf_sqrt    the root, rounded correctly
 *     vf_max     the larger; b if either is a NaN, so that one in a is lost: who
 *                must notice looks at the inputs
 *     vf_stream  a store past the caches, for what is not read again soon: it
 *                neither fetches the line nor drives another out. p is aligned to
 *                the vector. Other threads see it after vf_streamed().
 * In plain C a lane may be a call of libm: right, and slow. */
#if LANES == 16
INLINE vf vf_all(float s) { return (vf)_mm512_set1_ps(s); }
INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vf vf_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE void vf_stream(float *p, vf v) { _mm512_stream_ps(p, (__m512)v); }
INLINE void vf_streamed(void) { _mm_sfence(); }
#elif LANES == 8
INLINE vf vf_all(float s) { return (vf)_mm256_set1_ps(s); }
INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vf vf_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE void vf_stream(float *p, vf v) { _mm256_stream_ps(p, (__m256)v); }
INLINE void vf_streamed(void) { _mm_sfence(); }
#else
INLINE vf vf_all(float s) { return (vf){s, s, s, s}; }
#if defined __aarch64__
INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
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
INLINE vf vf_max(vf a, vf b) {
    const vi larger = a > b;
    return (vf)(((vi)a & larger) | ((vi)b & ~larger));
}
INLINE void vf_stream(float *p, vf v) { vf_store(p, v); }
INLINE void vf_streamed(void) {}
#endif

/* For turning 4 x 4 pieces, LANES / 4 of them at a time:
 *     vf_fours   four floats from each of so many places, `apart` floats one from
 *                the next
 *     vf_zip     of each four lanes of a and of b: low a0 b0 a1 b1, high a2 b2 a3 b3 */
#if LANES == 16
INLINE vf vf_fours(const float *p, size_t apart) {
    const __m512 one = _mm512_zextps128_ps512(_mm_loadu_ps(p));
    const __m512 two = _mm512_insertf32x4(one, _mm_loadu_ps(p + apart), 1);
    const __m512 three = _mm512_insertf32x4(two, _mm_loadu_ps(p + 2 * apart), 2);
    return (vf)_mm512_insertf32x4(three, _mm_loadu_ps(p + 3 * apart), 3);
}
INLINE vf vf_zip_low(vf a, vf b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21,
                                   8, 24, 9, 25, 12, 28, 13, 29);
}
INLINE vf vf_zip_high(vf a, vf b) {
    return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23,
                                   10, 26, 11, 27, 14, 30, 15, 31);
}
#elif LANES == 8
INLINE vf vf_fours(const float *p, size_t apart) {
    const __m256 one = _mm256_zextps128_ps256(_mm_loadu_ps(p));
    return (vf)_mm256_insertf128_ps(one, _mm_loadu_ps(p + apart), 1);
}
INLINE vf vf_zip_low(vf a, vf b) {
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
}
INLINE vf vf_zip_high(vf a, vf b) {
    return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}
#else
INLINE vf vf_fours(const float *p, size_t apart) {
    (void)apart;
    return vf_load(p);
}
INLINE vf vf_zip_low(vf a, vf b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
INLINE vf vf_zip_high(vf a, vf b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
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

/* e^x for every lane, within 1 ulp (tests measure 0.99) for |x| <= 87; below -87
 * it is e^-87 and above 88 it is e^88, both finite. x = n ln2 + r with |r| <=
 * ln2 / 2, ln2 in two parts (Cody and Waite 1980); e^r by its Taylor polynomial
 * of degree 7, whose remainder is below 2^-27; 2^n by building the exponent. */
INLINE vf vf_exp(vf x) {
    const vf magic = vf_all(12582912.0f);       /* 1.5 2^23 */
    x = vf_max(x, vf_all(-87.0f));
    x = -vf_max(-x, vf_all(-88.0f));
    /* adding magic rounds to a whole number, in the low bits */
    vf n = vf_fma(x, vf_all(1.44269504f), magic);
    const vi exponent = (vi)n - (vi)magic;
    n = n - magic;
    vf r = vf_fma(n, vf_all(-0.693359375f), x);
    r = vf_fma(n, vf_all(2.12194440e-4f), r);
    vf p = vf_all(1.0f / 5040);
    p = vf_fma(p, r, vf_all(1.0f / 720));
    p = vf_fma(p, r, vf_all(1.0f / 120));
    p = vf_fma(p, r, vf_all(1.0f / 24));
    p = vf_fma(p, r, vf_all(1.0f / 6));
    p = vf_fma(p, r, vf_all(0.5f));
    p = vf_fma(p, r, vf_all(1.0f));
    p = vf_fma(p, r, vf_all(1.0f));
    return (vf)((vi)p + (exponent << 23));
}

/* ---- the pattern of a matrix --------------------------------------------- */

typedef struct {            /* four lines that a row block keeps, inputs 4i .. 4i + 3 */
    uint32_t block, line;   /* which row block; the first of the lines, from line first[0] on */
} SpFour;

/* Which lines a matrix keeps. The numbers in them, float w[lines][16], lie
 * elsewhere: weights, gradients and moments share one pattern. */
typedef struct {
    size_t OC, IC, nb;      /* nb = ceil(OC / 16) row blocks; outputs past OC have
                             * zero weights */
    size_t lines;           /* kept lines of all row blocks */
    size_t block;           /* so many inputs are kept or dropped together */
    bool dense;             /* every line is kept, perhaps with masked elements */
    bool fours;             /* a row block's lines are inputs 4i .. 4i + 3, four by
                             * four, which lie side by side in any panel */
    uint32_t *first;        /* [nb + 1] row block r: lines first[r] .. first[r+1] */
    const uint32_t *end;    /* first + 1; in a slice of columns, where the lines
                             * of a row block end */
    uint32_t *col;          /* the input of each line; all row blocks of a dense
                             * matrix share one row 0 .. IC-1 */
    uint16_t *keep;         /* [lines] bit o: element o of the line is kept; NULL:
                             * every one is */
    SpFour *four;           /* [lines / 4] of a sparse matrix for wide tiles: its fours,
                             * by bands of row blocks, inputs, row blocks; or NULL */
    uint32_t *begin;        /* [bands IC / 4 + 1] where those of a band and input begin */
} SpMat;

/* The inputs of row block r's lines. */
static inline const uint32_t *sp_cols(const SpMat *m, size_t r) {
    return m->col + (m->dense ? 0 : m->first[r]);
}
/* Where output o's part of its row block begins, if the lines are shared out among
 * the block's 16 outputs; first (nb + 1): the matrix's. */
static inline uint32_t sp_part(const uint32_t *first, size_t o) {
    const uint32_t *block = first + o / LINE;
    const size_t k = o % LINE;
    return k ? block[0] + (uint32_t)((block[1] - block[0]) * k / LINE) : block[0];
}

/* How many bands of BAND row blocks it has. */
static inline size_t sp_bands(const SpMat *m) { return (m->nb + BAND - 1) / BAND; }

/* Lists a matrix's fours. */
static inline void sp_list_fours(SpMat *m) {
    const size_t fours = m->IC / 4;
    uint32_t *next = mem_new(m->nb, sizeof *next);          /* line of a row block */
    memcpy(next, m->first, m->nb * sizeof *next);
    m->four = mem_new(m->lines / 4 + BEYOND, sizeof *m->four);
    m->begin = mem_new(sp_bands(m) * fours + 1, sizeof *m->begin);
    uint32_t n = 0;
    for (size_t at = 0; at < sp_bands(m) * fours; at++) {
        const size_t i = at % fours * 4;
        const size_t r0 = at / fours * BAND;
        for (size_t r = r0; r < m->nb && r < r0 + BAND; r++) {
            if (next[r] == m->first[r + 1] || m->col[next[r]] != i) continue;
            m->four[n] = (SpFour){(uint32_t)r, next[r]};
            next[r] += 4;
            n++;
        }
        m->begin[at + 1] = n;
    }
    free(next);
}

/* The matrix that keeps the lines of inputs j block .. (j + 1) block - 1 of row
 * block r where on[r][j] (nb, IC / block) is set; with on NULL all of them.
 * block divides IC. Ends the program if there are 2^28 lines or more, kept or not.
 * Freed with sp_free. */
static inline SpMat sp_pattern(size_t OC, size_t IC, size_t block, const uint8_t *on) {
    SpMat m = {.OC = OC, .IC = IC, .nb = (OC + LINE - 1) / LINE, .block = block};
    const size_t all = size_mul(m.nb, IC);
    const size_t J = IC / block;
    if (all > UINT32_MAX / LINE)
        die("a matrix of %zu x %zu has too many weights for this program", OC, IC);
    for (size_t b = 0; b < m.nb * J; b++)
        if (!on || on[b]) m.lines += block;
    m.dense = m.lines == all;
    m.fours = m.dense || block % 4 == 0;
    m.first = mem_new(m.nb + 1, sizeof *m.first);
    m.end = m.first + 1;
    /* a tile looks at the columns of as many lines to come as it has rows */
    m.col = mem_new((m.dense ? IC : m.lines) + BEYOND, sizeof *m.col);
    size_t l = 0;
    for (size_t r = 0; r < m.nb; r++) {
        for (size_t i = 0; i < IC; i++)
            if (m.dense || on[r * J + i / block]) {
                m.col[m.dense ? i : l] = (uint32_t)i;
                l++;
            }
        m.first[r + 1] = (uint32_t)l;
    }
    if (WIDE > 1 && m.fours && !m.dense) sp_list_fours(&m);
    return m;
}
static inline SpMat sp_dense(size_t OC, size_t IC) {
    return sp_pattern(OC, IC, 1, NULL);
}
static inline void sp_free(SpMat *m) {
    free(m->first);
    free(m->col);
    free(m->keep);
    free(m->four);
    free(m->begin);
    *m = (SpMat){0};
}

static inline size_t sp_blocks(const SpMat *m) { return m->nb * (m->IC / m->block); }

/* on[r][j] (nb, IC / block): 1 where a block is kept. */
static inline void sp_map(const SpMat *m, uint8_t *on) {
    const size_t J = m->IC / m->block;
    memset(on, 0, m->nb * J);
    for (size_t r = 0; r < m->nb; r++)
        for (size_t l = m->first[r]; l < m->first[r + 1]; l += m->block)
            on[r * J + sp_cols(m, r)[l - m->first[r]] / m->block] = 1;
}

/* The same pattern once more. */
static inline SpMat sp_copy(const SpMat *m) {
    uint8_t *on = mem_new(sp_blocks(m), 1);
    sp_map(m, on);
    SpMat copy = sp_pattern(m->OC, m->IC, m->block, on);
    free(on);
    if (!m->keep) return copy;
    copy.keep = mem_new(m->lines, sizeof *copy.keep);
    memcpy(copy.keep, m->keep, m->lines * sizeof *copy.keep);
    return copy;
}

/* Bits of the elements of line l, of row block r, that exist (outputs below OC)
 * and are kept. */
static inline uint16_t sp_kept(const SpMat *m, size_t r, size_t l) {
    const size_t real = size_min(m->OC - r * LINE, LINE);
    const unsigned kept = m->keep ? m->keep[l] : 0xffffu;
    return (uint16_t)(kept & ((1u << real) - 1));
}
/* How many elements are kept. */
static inline size_t sp_elements(const SpMat *m) {
    size_t n = 0;
    for (size_t r = 0; r < m->nb; r++)
        if (!m->keep)
            n += (m->first[r + 1] - m->first[r]) * size_min(m->OC - r * LINE, LINE);
        else
            for (size_t l = m->first[r]; l < m->first[r + 1]; l++)
                n += (size_t)__builtin_popcount(sp_kept(m, r, l));
    return n;
}

/* The matrix that keeps the elements of mask (IC,OC), 0 or 1: the blocks, of 16
 * outputs x `block` inputs, that hold a kept element, and if they hold others
 * too, which. */
static inline SpMat sp_elements_pattern(size_t OC, size_t IC, size_t block,
                                        const uint8_t *mask) {
    const size_t J = IC / block;
    uint8_t *on = mem_new((OC + LINE - 1) / LINE * J, 1);
    bool whole = true;
    for (size_t i = 0; i < IC; i++)
        for (size_t o = 0; o < OC; o++) on[o / LINE * J + i / block] |= mask[i * OC + o];
    SpMat m = sp_pattern(OC, IC, block, on);
    free(on);
    m.keep = mem_new(m.lines, sizeof *m.keep);
    for (size_t r = 0; r < m.nb; r++)
        for (size_t l = m.first[r]; l < m.first[r + 1]; l++) {
            const size_t i = sp_cols(&m, r)[l - m.first[r]];
            for (size_t o = 0; o < LINE && r * LINE + o < OC; o++)
                if (mask[i * OC + r * LINE + o])
                    m.keep[l] |= (uint16_t)(1u << o);
                else
                    whole = false;
        }
    if (whole) {
        free(m.keep);
        m.keep = NULL;
    }
    return m;
}

/* Copies what belongs to the lines that both a and b have, `bytes` a line: from
 * old, in a's layout, to new, in b's. */
static inline void sp_carry(const SpMat *a, const SpMat *b, const void *old,
                            void *new, size_t bytes) {
    for (size_t r = 0; r < b->nb; r++) {
        const uint32_t *old_col = sp_cols(a, r);
        const uint32_t *new_col = sp_cols(b, r);
        size_t i = a->first[r];
        size_t j = b->first[r];
        while (i < a->first[r + 1] && j < b->first[r + 1]) {
            const uint32_t was = old_col[i - a->first[r]];
            const uint32_t is = new_col[j - b->first[r]];
            if (was == is)
                memcpy((char *)new + j * bytes, (const char *)old + i * bytes, bytes);
            i += was <= is;
            j += is <= was;
        }
    }
}

/* ---- where the products find and put things ------------------------------ */

/* Where a panel lies: feature i of group g is the line at lines + g stride +
 * row[i] 16. lines is not const, but what a product only reads stays as it is. */
typedef struct {
    float *lines;
    size_t stride;          /* floats from a group to the next */
    const uint32_t *row;    /* the 16 features of a row block follow one another;
                             * row blocks lie anywhere, dealt out over tiles */
} SpPanel;

typedef struct {            /* row blocks first .. end-1 of a matrix */
    const SpMat *mat;
    size_t first, end;
} SpBlocks;

/* Lines of w that a kernel works on, of one row block or of several that keep
 * the same inputs. */
typedef struct {
    const uint32_t *col;    /* [n] the input of each */
    size_t n;
    size_t stride;          /* floats from a row block's weights to the next's; forward:
                             * to the lines that are asked for meanwhile */
    size_t blocks;          /* backward-data: row blocks, whose dy follow one another */
    bool fours;             /* as of SpMat: one address serves four lines */
    bool begins;            /* the sums begin with these, at 0, and do not go on */
    bool ends;              /* forward: with these the row block ends */
} SpLines;

static inline SpPanel sp_group(SpPanel x, size_t g) {   /* the panel from group g on */
    x.lines += g * x.stride;
    return x;
}
/* Features i .. i + n - 1 of so many groups become 0. */
static inline void sp_clear(SpPanel x, size_t i, size_t n, size_t groups) {
    for (size_t g = 0; g < groups; g++)
        for (size_t k = 0, run; k < n; k += run) {
            for (run = 1; k + run < n && x.row[i + k + run] == x.row[i + k] + run;) run++;
            memset(x.lines + g * x.stride + (size_t)x.row[i + k] * LINE, 0,
                   run * LINE * sizeof(float));
        }
}

/* ---- tiles: R rows of G lines, summed in registers ----------------------- *
 * R and G are constants wherever these are inlined. Lines that stand side by
 * side are a stride apart. The outer loops are do-while, for there is always one
 * turn: if there might be none, gcc copies all sums around the loop. */

enum { MOST = BEYOND };                         /* rows of the tallest tile */
typedef vf SpSums[MOST][WIDE * VECS];           /* row j: G lines, VECS registers each */


/* G lines, a stride apart. */
INLINE void sp_load(const int G, vf *line, const float *from, size_t stride) {
    UNROLL for (int v = 0; v < G * VECS; v++)
        line[v] = vf_load(from + (size_t)(v / VECS) * stride + v % VECS * LANES);
}
INLINE void sp_save(const int G, float *to, size_t stride, const vf *line) {
    UNROLL for (int v = 0; v < G * VECS; v++)
        vf_store(to + (size_t)(v / VECS) * stride + v % VECS * LANES, line[v]);
}
INLINE void sp_zero(const int R, const int G, SpSums sum) {
    UNROLL for (int j = 0; j < R; j++)
        UNROLL for (int v = 0; v < G * VECS; v++) sum[j][v] = vf_all(0);
}
/* Line i of a panel. If a tile has several groups it hides the address, or the compiler
 * computes those of all its rows and groups at once, more than there are registers. */
INLINE float *sp_line(const int G, SpPanel x, size_t i) {
    float *line = x.lines + i * LINE;
    if (G > 1) __asm__("" : "+r"(line));
    return line;
}
INLINE void sp_take(const int R, const int G, SpSums sum, SpPanel from) {
    UNROLL for (int j = 0; j < R; j++) sp_load(G, sum[j], sp_line(G, from, (size_t)j), from.stride);
}
INLINE void sp_give(const int R, const int G, SpSums sum, SpPanel to) {
    UNROLL for (int j = 0; j < R; j++) sp_save(G, sp_line(G, to, (size_t)j), to.stride, sum[j]);
}
/* Asks for line i of G groups, which will be read, or written. */
INLINE void sp_ask(const int G, SpPanel x, size_t i) {
    UNROLL for (int g = 0; g < G; g++)
        __builtin_prefetch(x.lines + (size_t)g * x.stride + i * LINE);
}
INLINE void sp_ask_to_write(const int G, SpPanel x, size_t i) {
    UNROLL for (int g = 0; g < G; g++)
        __builtin_prefetch(x.lines + (size_t)g * x.stride + i * LINE, 1);
}

/* A step: each of R rows of sums, j, gains the G lines times scalar[j apart]. */
INLINE void sp_step(const int R, const int G, SpSums sum, const vf *line,
                    const float *scalar, int apart) {
    /* hides the address, or gcc makes one vector of neighbouring scalars and
     * takes it apart again */
    __asm__("" : "+r"(scalar));
    UNROLL for (int j = 0; j < R; j++) {
        const vf s = vf_all(scalar[j * apart]);
        UNROLL for (int v = 0; v < G * VECS; v++)
            sum[j][v] = vf_fma(s, line[v], sum[j][v]);
    }
}

/* R outputs y[o] of G groups += w[l][o] x[col l], summed over at.n lines l; w
 * and y begin at the first output. Several tiles take the same lines of x, one
 * after the other: the first asks for x's lines to come and w's a stride on, the last
 * for the next row block's outputs, which follow its own. */
INLINE void sp_tile_forward(const int R, const int G, const bool first, const bool last,
                            const float *w, SpLines at, SpPanel x, SpPanel y) {
    SpSums sum;
    vf line[WIDE * VECS];
    if (at.begins) sp_zero(R, G, sum);
    else sp_take(R, G, sum, y);
    size_t l = 0;
    do {
        if (first) {
            __builtin_prefetch(w + at.stride + l * LINE);
            sp_ask(G, x, at.col[l + AHEAD]);
        }
        if (last && at.ends && l < LINE) sp_ask_to_write(G, y, (size_t)R + l);
        sp_load(G, line, x.lines + (size_t)at.col[l] * LINE, x.stride);
        sp_step(R, G, sum, line, w + l * LINE, 1);
        l++;
    } while (l < at.n);
    sp_give(R, G, sum, y);
}

/* dx[col j] of G groups += w[j][o] dy[o] (=, if at.begins), summed over the 16 outputs o of
 * each row block, for R lines j, of which each `run` lie side by side. A row block's
 * outputs follow those of the one before. Of w it asks for the tile after the next. */
INLINE void sp_tile_data(const int R, const int G, const int run, const float *w,
                         SpLines at, SpPanel dy, SpPanel dx) {
    SpSums sum;
    vf line[WIDE * VECS];
    const float *out = dy.lines;
    uint32_t row[MOST];         /* at.col; the compiler would read it again after
                                 * every store */
    UNROLL for (int j = 0; j < R; j++) row[j] = at.col[j - j % run] + (uint32_t)(j % run);
    if (at.begins) sp_zero(R, G, sum);
    else UNROLL for (int j = 0; j < R; j++)
        sp_load(G, sum[j], sp_line(G, dx, row[j]), dx.stride);
    UNROLL for (int j = 0; j < R; j++)
        sp_ask_to_write(G, dx, at.col[R + j - j % run] + (size_t)(j % run));
    const float *const end = out + at.blocks * LINE * LINE;
    do {
        UNROLL for (int j = 0; j < R; j++) __builtin_prefetch(w + (2 * R + j) * LINE);
        UNROLL_TWICE for (int o = 0; o < LINE; o++) {
            sp_load(G, line, out + o * LINE, dy.stride);
            sp_step(R, G, sum, line, w + o, LINE);
        }
        w += at.stride;
        out += LINE * LINE;
    } while (out < end);
    UNROLL for (int j = 0; j < R; j++) sp_save(G, sp_line(G, dx, row[j]), dx.stride, sum[j]);
}

/* dw[j] of G row blocks += x[col j][t] dy'[t], summed over groups, last first,
 * and their tokens t, for R lines j, of which each `run` lie side by side. turned:
 * dy' as [row block][group][token][16 outputs]. soon: lines of each group that are
 * asked for, for a row block to come. */
INLINE void sp_tile_weight(const int R, const int G, const int run, float *dw,
                           SpLines at, SpPanel turned, SpPanel x, size_t groups,
                           SpPanel soon) {
    SpSums sum;
    vf line[WIDE * VECS];
    const SpPanel to = {.lines = dw, .stride = at.stride};
    const float *row[MOST];
    sp_take(R, G, sum, to);
    if (G > 1)
        UNROLL for (int j = 0; j < R; j++) sp_ask_to_write(G, to, (size_t)(R + j));
    size_t g = groups;
    do {
        g--;
        UNROLL for (int j = 0; j < R; j += run) {
            row[j] = x.lines + g * x.stride + (size_t)at.col[j] * LINE;
            __asm__("" : "+r"(row[j]));         /* a register each, no differences */
            const float *next = x.lines + g * x.stride + (size_t)at.col[R + j] * LINE;
            UNROLL for (int k = 0; k < run; k++) __builtin_prefetch(next + k * LINE);
        }
        UNROLL for (int k = 0; k < SOON; k++)
            __builtin_prefetch(soon.lines + g * soon.stride + k * LINE);
        /* of one line two tokens a turn: there gcc does not heed UNROLL_TWICE */
        const int turn = LANES == 16 && G == 1 ? 2 : 1;
        UNROLL_TWICE for (int from = 0; from < LINE; from += turn)
            UNROLL for (int t = from; t < from + turn; t++) {
                sp_load(G, line, turned.lines + (g * LINE + (size_t)t) * LINE, turned.stride);
                UNROLL for (int j = 0; j < R; j++) {
                    const vf s = vf_all(row[j - j % run][j % run * LINE + t]);
                    UNROLL for (int v = 0; v < G * VECS; v++)
                        sum[j][v] = vf_fma(s, line[v], sum[j][v]);
                }
            }
    } while (g > 0);
    sp_give(R, G, sum, to);
}

/* dx[0 .. 3] of WIDE groups += w[l][o] dy[o], summed over the outputs of so many row
 * blocks, which keep those four; begins: = . It asks for the next one's dy and for w of
 * the one after. */
INLINE void sp_tile_fours(const SpFour *four, size_t n, bool begins, const float *w,
                          SpPanel dy, SpPanel dx) {
    SpSums sum;
    vf line[WIDE * VECS];
    const SpFour *const end = four + n;
    if (begins) sp_zero(4, WIDE, sum);
    else sp_take(4, WIDE, sum, dx);
    do {
        const float *out = dy.lines + (size_t)dy.row[four->block * LINE] * LINE;
        const float *scalar = w + (size_t)four->line * LINE;
        SpPanel next = dy;
        next.lines += (size_t)dy.row[four[1].block * LINE] * LINE;
        UNROLL for (size_t j = 0; j < 4; j++)
            __builtin_prefetch(w + (four[2].line + j) * LINE);
        UNROLL_TWICE for (int o = 0; o < LINE; o++) {
            sp_ask(WIDE, next, (size_t)o);
            sp_load(WIDE, line, out + o * LINE, dy.stride);
            sp_step(4, WIDE, sum, line, scalar + o, LINE);
        }
        four++;
    } while (four < end);
    sp_give(4, WIDE, sum, dx);
}

/* ---- kernels: all tiles of some lines ------------------------------------ *
 * Each is a function of its own: two such loops in one share the registers, and
 * spill. */

/* forward of the 16 outputs of a row block, for one group, or for WIDE */
SP_APART void sp_forward_narrow(const float *w, SpLines at, SpPanel x, SpPanel y) {
    if (LANES == 16) {
        sp_tile_forward(16, 1, true, true, w, at, x, y);
    } else if (LANES == 8) {
        sp_tile_forward(6, 1, true, false, w, at, x, y);
        y.lines += 6 * LINE;
        sp_tile_forward(5, 1, false, false, w + 6, at, x, y);
        y.lines += 5 * LINE;
        sp_tile_forward(5, 1, false, true, w + 11, at, x, y);
    } else {
        sp_tile_forward(4, 1, true, false, w, at, x, y);
        for (int o = 4; o < LINE; o += 4) {
            y.lines += 4 * LINE;
            sp_tile_forward(4, 1, false, o + 4 == LINE, w + o, at, x, y);
        }
    }
}
SP_APART void sp_forward_wide(const float *w, SpLines at, SpPanel x, SpPanel y) {
    sp_tile_forward(6, WIDE, true, false, w, at, x, y);
    y.lines += 6 * LINE;
    sp_tile_forward(5, WIDE, false, false, w + 6, at, x, y);
    y.lines += 5 * LINE;
    sp_tile_forward(5, WIDE, false, true, w + 11, at, x, y);
}

/* forward of the 16 outputs of a row block, for so many groups */
INLINE void sp_forward_lines(const float *w, SpLines at, SpPanel x, SpPanel y,
                             size_t groups) {
    size_t g = 0;
    for (; WIDE > 1 && g + WIDE <= groups; g += WIDE)
        sp_forward_wide(w, at, sp_group(x, g), sp_group(y, g));
    for (; g < groups; g++) sp_forward_narrow(w, at, sp_group(x, g), sp_group(y, g));
}

/* Rows of the next tile when so many lines are left: most, then 4, 2 and 1.
 * Eight are two fours rather than six and two, for two rows alone leave the
 * multiply-add units idle. */
INLINE size_t sp_rows(size_t most, size_t left) {
    if (left >= most && !(most == 6 && left == 8)) return most;
    return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}
/* backward-data by some lines, for one group, or for WIDE. Each tile asks for a line of
 * dy after these row blocks'. */
SP_APART void sp_data_narrow(const float *w, SpLines at, SpPanel dy, SpPanel dx) {
    size_t soon = at.blocks * LINE;
    for (size_t l = 0, n; l < at.n; l += n, at.col += n, w += n * LINE) {
        n = sp_rows(ROWS, at.n - l);
        sp_ask(1, dy, soon++);
        if (n == ROWS) sp_tile_data(ROWS, 1, 1, w, at, dy, dx);
        else if (n == 4) sp_tile_data(4, 1, 1, w, at, dy, dx);
        else if (n == 2) sp_tile_data(2, 1, 1, w, at, dy, dx);
        else sp_tile_data(1, 1, 1, w, at, dy, dx);
    }
}
SP_APART void sp_data_wide(const float *w, SpLines at, SpPanel dy, SpPanel dx) {
    size_t soon = at.blocks * LINE;
    for (size_t l = 0, n; l < at.n; l += n, at.col += n, w += n * LINE) {
        n = sp_rows(6, at.n - l);
        sp_ask(WIDE, dy, soon++);
        if (n == 6 && at.fours) sp_tile_data(6, WIDE, 2, w, at, dy, dx);
        else if (n == 6) sp_tile_data(6, WIDE, 1, w, at, dy, dx);
        else if (n == 4) sp_tile_data(4, WIDE, 1, w, at, dy, dx);
        else if (n == 2) sp_tile_data(2, WIDE, 1, w, at, dy, dx);
        else sp_tile_data(1, WIDE, 1, w, at, dy, dx);
    }
}
/* backward-data by a band of a sparse matrix, for WIDE groups; its sums begin with band 0.
 * Meanwhile each tile asks for some of the next band's dy. */
SP_APART void sp_data_band(const SpMat *m, size_t band, const float *w, SpPanel dy,
                           SpPanel dx) {
    const size_t fours = m->IC / 4;
    const uint32_t *begin = m->begin + band * fours;
    const size_t soon_end = size_min((band + 2) * BAND, m->nb) * LINE;
    size_t soon = size_min((band + 1) * BAND, m->nb) * LINE;
    const size_t some = (BAND * LINE + fours - 1) / fours;
    for (size_t i = 0; i < fours; i++) {
        for (size_t k = 0; k < some && soon < soon_end; k++)
            sp_ask(WIDE, dy, dy.row[soon++]);
        SpPanel out = dx;
        out.lines += (size_t)dx.row[4 * i] * LINE;
        const size_t n = begin[i + 1] - begin[i];
        if (n > 0) sp_tile_fours(m->four + begin[i], n, band == 0, w, dy, out);
        else if (band == 0) sp_clear(dx, 4 * i, 4, WIDE);
    }
}
/* backward-data by a sparse matrix, for WIDE groups */
static inline void sp_data_fours(const SpMat *m, const float *w, SpPanel dy, SpPanel dx) {
    for (size_t band = 0; band < sp_bands(m); band++) sp_data_band(m, band, w, dy, dx);
}
/* backward-data by some lines, for so many groups */
INLINE void sp_data_lines(const float *w, SpLines at, SpPanel dy, SpPanel dx,
                          size_t groups) {
    size_t g = 0;
    for (; WIDE > 1 && g + WIDE <= groups; g += WIDE)
        sp_data_wide(w, at, sp_group(dy, g), sp_group(dx, g));
    for (; g < groups; g++) sp_data_narrow(w, at, sp_group(dy, g), sp_group(dx, g));
}
/* backward-weight of the lines of one row block, or of WIDE */
SP_APART void sp_weight_narrow(float *dw, SpLines at, SpPanel turned, SpPanel x,
                               size_t groups, SpPanel soon) {
    for (size_t l = 0, n; l < at.n; l += n, at.col += n, dw += n * LINE) {
        n = sp_rows(ROWS, at.n - l);
        if (n == ROWS && ROWS % 4 == 0 && at.fours)
            sp_tile_weight(ROWS, 1, 4, dw, at, turned, x, groups, soon);
        else if (n == ROWS) sp_tile_weight(ROWS, 1, 1, dw, at, turned, x, groups, soon);
        else if (n == 4) sp_tile_weight(4, 1, 1, dw, at, turned, x, groups, soon);
        else if (n == 2) sp_tile_weight(2, 1, 1, dw, at, turned, x, groups, soon);
        else sp_tile_weight(1, 1, 1, dw, at, turned, x, groups, soon);
        soon.lines += SOON * LINE;
    }
}
SP_APART void sp_weight_wide(float *dw, SpLines at, SpPanel turned, SpPanel x,
                             size_t groups, SpPanel soon) {
    for (size_t l = 0, n; l < at.n; l += n, at.col += n, dw += n * LINE) {
        n = sp_rows(6, at.n - l);
        if (n == 6) sp_tile_weight(6, WIDE, 1, dw, at, turned, x, groups, soon);
        else if (n == 4) sp_tile_weight(4, WIDE, 1, dw, at, turned, x, groups, soon);
        else if (n == 2) sp_tile_weight(2, WIDE, 1, dw, at, turned, x, groups, soon);
        else sp_tile_weight(1, WIDE, 1, dw, at, turned, x, groups, soon);
        soon.lines += SOON * LINE;
    }
}

/* out (16,16) = the transpose of in (16,16), by 4 x 4 pieces, as many of one column
 * at a time as fill a register. Zipping rows 0 and 2, and 1 and 3, and then the
 * results, puts column c of a piece into line c. */
INLINE void sp_transpose(float *restrict out, const float *restrict in) {
    UNROLL for (int i = 0; i < LINE; i += 4)
        UNROLL for (int o = 0; o < LINE; o += LANES) {
            vf row[4];
            UNROLL for (int k = 0; k < 4; k++)
                row[k] = vf_fours(in + (o + k) * LINE + i, 4 * LINE);
            const vf even_low = vf_zip_low(row[0], row[2]);
            const vf even_high = vf_zip_high(row[0], row[2]);
            const vf odd_low = vf_zip_low(row[1], row[3]);
            const vf odd_high = vf_zip_high(row[1], row[3]);
            float *line = out + i * LINE + o;
            vf_store(line, vf_zip_low(even_low, odd_low));
            vf_store(line + LINE, vf_zip_high(even_low, odd_low));
            vf_store(line + 2 * LINE, vf_zip_low(even_high, odd_high));
            vf_store(line + 3 * LINE, vf_zip_high(even_high, odd_high));
        }
}

/* ---- the three products --------------------------------------------------- */

enum { CHUNK = WIDE > 1 ? 48 : 128 };   /* lines of w, and of x in WIDE groups, in L1 */
enum { INPUTS = WIDE > 1 ? 384 : 96 };  /* inputs of a dense matrix taken together */
enum { BUNDLE = 4 };                    /* its row blocks taken together */
enum { GROUPS_MAX = 8 };                /* groups of a panel at most */

/* y (OC) += W x (IC) of so many groups, by some row blocks of W. w: their lines;
 * y begins at their first output. */
SP_APART void sp_forward(SpBlocks rows, const float *w, SpPanel x, SpPanel y,
                         size_t groups) {
    const SpMat *m = rows.mat;
    for (size_t r = rows.first; r < rows.end; r++) {
        const size_t lines = m->first[r + 1] - m->first[r];
        SpLines at = {.col = sp_cols(m, r), .stride = AHEAD_W * LINE};
        for (size_t l = 0; l < lines; l += at.n) {
            /* so many lines that the first-level cache holds them well, for all groups */
            at.n = size_min(lines - l, CHUNK);
            at.ends = l + at.n == lines;
            sp_forward_lines(w, at, x, y, groups);
            at.col += at.n;
            w += at.n * LINE;
        }
        y.lines += LINE * LINE;
    }
}

/* How many row blocks from r on keep the same inputs and have outputs that follow
 * one another, BUNDLE at most. */
INLINE size_t sp_bundle(SpBlocks rows, size_t r, const uint32_t *row) {
    size_t n = 1;
    while (rows.mat->dense && n < BUNDLE && r + n < rows.end &&
           row[(r + n) * LINE] == row[r * LINE] + n * LINE)
        n++;
    return n;
}

/* backward-data by some row blocks, one bundle after the other, whose sums go on with dx;
 * but those of a dense matrix begin with row block 0. */
SP_APART void sp_data_blocks(SpBlocks rows, const float *w, SpPanel dy, SpPanel dx,
                             size_t groups) {
    const SpMat *m = rows.mat;
    /* Of a dense matrix some inputs at a time. Narrow tiles go through w once a group and
     * must find it in the first-level cache; wide ones go through it once, and the longer
     * its runs the faster it comes, while dx stays in the second-level cache. Of a sparse
     * matrix all, for its row blocks keep different ones. */
    const size_t chunk = m->dense ? INPUTS : m->IC;
    for (size_t l = 0; l < m->IC; l += chunk)
        for (size_t r = rows.first, n; r < rows.end; r += n) {
            /* row blocks that keep the same inputs */
            const size_t lines = size_min(m->end[r] - m->first[r], m->IC);
            n = sp_bundle(rows, r, dy.row);
            if (l >= lines) continue;
            const SpLines at = {.col = sp_cols(m, r) + l,
                                .n = size_min(lines - l, chunk),
                                .stride = (m->first[r + 1] - m->first[r]) * LINE,
                                .blocks = n, .fours = m->fours,
                                .begins = m->dense && r == 0};
            const float *wr = w + (m->first[r] - m->first[rows.first] + l) * LINE;
            SpPanel out = dy;
            out.lines += (size_t)dy.row[r * LINE] * LINE;
            sp_data_lines(wr, at, out, dx, groups);
        }
}

/* dx (IC) = W' dy (OC) by some row blocks of W, w their lines, if the first of them is row
 * block 0; else dx += : so row blocks taken in ascending order, some at a time, give the
 * bits of all at once. dy begins at output 0, dx at input 0, and what rounds IC up to
 * lines becomes 0. The matrix may be a slice of columns: row block r has lines first[r] ..
 * end[r] of w and of col, and dx begins at its first.
 * forward: y[o] += w[l][o] x[col l] */
SP_APART void sp_backward_data(SpBlocks rows, const float *w, SpPanel dy, SpPanel dx,
                               size_t groups) {
    const SpMat *m = rows.mat;
    size_t g = 0;
    if (m->four && rows.first == 0 && rows.end == m->nb)
        for (; g + WIDE <= groups; g += WIDE)
            sp_data_fours(m, w, sp_group(dy, g), sp_group(dx, g));
    if (rows.first == 0) {
        sp_clear(dx, m->IC, size_up(m->IC, LINE) - m->IC, groups);
        if (!m->dense) sp_clear(sp_group(dx, g), 0, m->IC, groups - g);
    }
    if (g < groups) sp_data_blocks(rows, w, sp_group(dy, g), sp_group(dx, g), groups - g);
}

/* dw += dy (OC) times x (IC), summed over the tokens of up to GROUPS_MAX groups,
 * of some row blocks, dw their lines. dy begins at output 0.
 * forward: y[o] += w[l][o] x[col l] */
SP_APART void sp_backward_weight(SpBlocks rows, float *dw, SpPanel dy, SpPanel x,
                                 size_t groups) {
    const SpMat *m = rows.mat;
    float space[WIDE * GROUPS_MAX * LINE * LINE] __attribute__((aligned(64)));
    const SpPanel turned = {.lines = space, .stride = groups * LINE * LINE};
    for (size_t r = rows.first, n; r < rows.end; r += n) {
        /* WIDE row blocks that keep the same inputs, or one */
        const size_t lines = m->first[r + 1] - m->first[r];
        n = WIDE > 1 && m->dense && r + WIDE <= rows.end ? WIDE : 1;
        for (size_t b = 0; b < n; b++)
            for (size_t g = 0; g < groups; g++)
                sp_transpose(space + b * turned.stride + g * LINE * LINE,
                             dy.lines + g * dy.stride +
                                 (size_t)dy.row[(r + b) * LINE] * LINE);
        const SpLines at = {.col = sp_cols(m, r), .n = lines, .stride = lines * LINE,
                            .fours = m->fours};
        SpPanel soon = dy;                      /* the row blocks after these */
        soon.lines += ((size_t)dy.row[r * LINE] + n * LINE) * LINE;
        if (n == 1) sp_weight_narrow(dw, at, turned, x, groups, soon);
        else sp_weight_wide(dw, at, turned, x, groups, soon);
        dw += n * lines * LINE;
    }
}

/* ---- masks: which blocks to keep, and how that changes -------------------- *
 * A mask is on[nb][J], one byte a block. Every rule but butterfly, a formula, is
 * one act: score the blocks, pick the best.
 *
 *     balanced    row by row, the columns least used so far, in random order;
 *                 static, the default
 *     random      anywhere
 *     butterfly   on a square of s = 2^k parts a side: i, j with i xor j in 0,
 *                 1, 2, 4 ... (Dao et al. 2022)
 *     magnitude   the largest sums of |w|
 *     evolving    drop the n kept blocks of the smallest |w|, then grow n of all
 *                 that are not kept now, those just dropped included: at random
 *                 (SET: Mocanu et al. 2018) or where the gradient of a dense
 *                 weight is largest (RigL: Evci et al. 2020). What is dropped
 *                 and grown at once never left.
 *
 * Example, J = 4: kept blocks 0 1 2 with |w| = 5, 1, 3; gradient 9, 2, 1, 7;
 * n = 1. Block 1 goes, block 3 (7, against block 1's 2) comes. */

typedef struct {
    float score;
    uint32_t at;
} SpRank;

/* Orders the largest first, ties to the smaller place. */
static inline int sp_by_score(const void *a, const void *b) {
    const SpRank *x = a;
    const SpRank *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->at < y->at ? -1 : 1;
}
/* Of the n blocks with on == from, the k of the largest score become `to`. */
static inline void sp_pick(uint8_t *on, uint8_t from, uint8_t to, const float *score,
                           size_t n, size_t k) {
    SpRank *rank = mem_new(n, sizeof *rank);
    size_t ranked = 0;
    for (size_t b = 0; b < n; b++)
        if (on[b] == from) rank[ranked++] = (SpRank){score[b], (uint32_t)b};
    qsort(rank, ranked, sizeof *rank, sp_by_score);
    for (size_t i = 0; i < ranked && i < k; i++) on[rank[i].at] = to;
    free(rank);
}

/* Blocks a row of J at that density: at least one. */
static inline size_t sp_per_row(double density, size_t J) {
    const size_t k = (size_t)(density * (double)J + 0.5);
    return k < 1 ? 1 : k > J ? J : k;
}

/* k blocks in every row, and in every column as many as in any other, or one
 * less. */
static inline void sp_mask_balanced(uint8_t *on, size_t nb, size_t J, size_t k,
                                    uint64_t key) {
    float *score = mem_new(J, sizeof *score);
    size_t *used = mem_new(J, sizeof *used);
    memset(on, 0, nb * J);
    for (size_t r = 0; r < nb; r++) {
        for (size_t j = 0; j < J; j++)
            score[j] = -(float)used[j] - 0.99f * (float)rng_f64(key, r * J + j);
        sp_pick(on + r * J, 0, 1, score, J, k);
        for (size_t j = 0; j < J; j++) used[j] += on[r * J + j];
    }
    free(score);
    free(used);
}
/* nb k blocks anywhere. */
static inline void sp_mask_random(uint8_t *on, size_t nb, size_t J, size_t k,
                                  uint64_t key) {
    float *score = mem_new(nb * J, sizeof *score);
    for (size_t b = 0; b < nb * J; b++) score[b] = (float)rng_f64(key, b);
    memset(on, 0, nb * J);
    sp_pick(on, 0, 1, score, nb * J, nb * k);
    free(score);
}
/* Row r and column j of the nb x J blocks lie in parts r s / nb and j s / J of a
 * square of s parts a side; kept is where the xor of these is among the first
 * `partners` of 0, 1, 2, 4 ... s is the largest whose density k / J asks for no
 * more of them than there are, 1 + log2 s. */
static inline void sp_mask_butterfly(uint8_t *on, size_t nb, size_t J, size_t k) {
    size_t s = 1;
    size_t partners = 1;
    size_t most = 1;                            /* 1 + log2 of the side tried */
    for (size_t side = 1; side <= nb && side <= J; side *= 2) {
        const size_t want = (side * k + J / 2) / J;
        if (want <= most) {
            s = side;
            partners = want ? want : 1;
        }
        most++;
    }
    for (size_t r = 0; r < nb; r++)
        for (size_t j = 0; j < J; j++) {
            const size_t x = (r * s / nb) ^ (j * s / J);
            const bool power = !(x & (x - 1));  /* 0, 1, 2, 4 ... */
            on[r * J + j] = power && x < (UINT64_C(1) << (partners - 1));
        }
}
/* The nb k blocks of the largest weight; weight[b]: the sum of |w| of block b. */
static inline void sp_mask_magnitude(uint8_t *on, size_t nb, size_t J, size_t k,
                                     const float *weight) {
    memset(on, 0, nb * J);
    sp_pick(on, 0, 1, weight, nb * J, nb * k);
}

/* Drops n kept blocks of the smallest weight, then grows `back` of the largest
 * grow score, which with grow NULL is random. Returns how many blocks are new. */
static inline size_t sp_evolve(uint8_t *on, size_t blocks, size_t n, size_t back,
                               const float *weight, const float *grow, uint64_t key) {
    float *score = mem_new(blocks, sizeof *score);
    uint8_t *was = mem_new(blocks, 1);
    size_t fresh = 0;
    memcpy(was, on, blocks);
    for (size_t b = 0; b < blocks; b++) score[b] = -weight[b];
    sp_pick(on, 1, 0, score, blocks, n);
    for (size_t b = 0; b < blocks; b++)
        score[b] = grow ? grow[b] : (float)rng_f64(key, b);
    sp_pick(on, 0, 1, score, blocks, back);
    for (size_t b = 0; b < blocks; b++) fresh += on[b] && !was[b];
    free(score);
    free(was);
    return fresh;
}

/* sum[b] (nb, IC / block) = the sum of |v| of each block of values v in m's layout; 0
 * where nothing is kept. */
static inline void sp_sums(const SpMat *m, const float *v, float *sum) {
    const size_t J = m->IC / m->block;
    memset(sum, 0, m->nb * J * sizeof *sum);
    for (size_t r = 0; r < m->nb; r++)
        for (size_t l = m->first[r]; l < m->first[r + 1]; l++) {
            float *of = &sum[r * J + sp_cols(m, r)[l - m->first[r]] / m->block];
            for (size_t o = 0; o < LINE; o++) *of += fabsf(v[l * LINE + o]);
        }
}

/* The density of each of n matrices, to *out: as Erdos-Renyi (Evci et al. 2020)
 * proportional to (OC + IC) / (OC IC), those that would exceed 1 dense, the
 * whole keeping the same number of weights as at `density` each. */
static inline void sp_erdos_renyi(size_t n, const size_t *OC, const size_t *IC,
                                  double density, double *out) {
    for (size_t k = 0; k < n; k++) out[k] = 0;
    bool again = true;
    while (again) {
        double want = 0;                        /* weights for those not dense yet */
        double have = 0;
        again = false;
        for (size_t k = 0; k < n; k++) {
            want += density * (double)(OC[k] * IC[k]);
            if (out[k] == 1) want -= (double)(OC[k] * IC[k]);
            else have += (double)(OC[k] + IC[k]);
        }
        for (size_t k = 0; k < n; k++) {
            if (out[k] == 1) continue;
            out[k] = want / have * (double)(OC[k] + IC[k]) / (double)(OC[k] * IC[k]);
            if (out[k] > 1) {
                out[k] = 1;
                again = true;
            }
        }
    }
}

/* A picture of a mask, at most 24 lines of 64 characters: how full each cell is,
 * from ' ' to '@'. */
static inline void sp_show(const uint8_t *on, size_t nb, size_t J) {
    const size_t high = size_min(nb, 24);
    const size_t wide = size_min(J, 64);
    for (size_t y = 0; y < high; y++) {
        printf("    |");
        for (size_t x = 0; x < wide; x++) {
            const size_t j0 = x * J / wide;
            const size_t j1 = (x + 1) * J / wide;
            const size_t r0 = y * nb / high;
            const size_t r1 = (y + 1) * nb / high;
            const size_t all = (r1 - r0) * (j1 - j0);
            size_t kept = 0;
            for (size_t r = r0; r < r1; r++)
                for (size_t j = j0; j < j1; j++) kept += on[r * J + j];
            putchar(" .:-=+*#%@"[(kept * 9 + all - 1) / all]);
        }
        printf("|\n");
    }
}
#endif
