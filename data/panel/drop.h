/* drop.h: dropout: which numbers are dropped, and panels of factors.
 *
 * In training a share of the numbers of an activation becomes 0 and the others
 * are divided by 1 - share (Srivastava et al. 2014). Whether one is dropped is
 * a function of (seed, step, place, sequence in the step, row, column) alone:
 *
 *     key      64-bit mixing of seed, step, place and sequence, once a place
 *     column   mix(key + column golden)           once a line of a panel
 *     element  mix(column's ^ row golden)         16 tokens at a time
 *
 * so nothing is stored, the backward pass asks again, and the answer does not
 * depend on who asks: threads, panels, tiles, groups of sequences, a resume.
 * Row is the token's position; column a feature or, in attention, the key's
 * position. The specification asks the same function, element by element. */
#ifndef DROP_H
#define DROP_H
#include "../../sparse.h"

/* One place in one sequence of one step. */
typedef struct {
    uint32_t key;
    uint32_t below;             /* of 2^31: what hashes below this is dropped; 0:
                                 * there is no dropout */
    double share;
    float scale;                /* of what stays: 1 / (1 - share) */
} Drop;
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));

static const uint32_t DROP_GOLDEN = 0x9e3779b9u;    /* 2^32 / golden ratio */
static const uint32_t DROP_ODD[2] = {0x21f0aaadu, 0x735a2d97u};

/* Of 32 bits, others, each of which depends on all (Wellons 2018, "lowbias32"). */
static inline uint32_t drop_mix(uint32_t x) {
    x = (x ^ x >> 16) * DROP_ODD[0];
    x = (x ^ x >> 15) * DROP_ODD[1];
    return x ^ x >> 15;
}
INLINE vu drop_mix_lanes(vu x) {
    x = (x ^ x >> 16) * DROP_ODD[0];
    x = (x ^ x >> 15) * DROP_ODD[1];
    return x ^ x >> 15;
}

static inline Drop drop_at(double share, uint64_t seed, uint64_t step,
                           uint64_t place, uint64_t sequence) {
    if (share <= 0) return (Drop){.scale = 1};
    const uint64_t key = rng_u64(rng_u64(rng_key(seed, "dropout"), step), place);
    return (Drop){
        .key = (uint32_t)(rng_u64(key, sequence) >> 32),
        .below = (uint32_t)(share * 0x1p31 + 0.5),
        .share = share,
        .scale = (float)(1 / (1 - share)),
    };
}

/* What a training step drops. All zero: nothing, as when nothing is trained. */
typedef struct {
    double share;               /* of the outputs of stages */
    double attention;           /* of the probabilities of attention */
    uint64_t seed;
    size_t step;                /* of the optimizer, from 0 */
    size_t sequence;            /* of the step: where b = 0 is */
} Dropout;

/* Of a stage's output, in sequence b; place: the number of its parameter, WTE for
 * the embedding's. */
static inline Drop drop_output(const Dropout *d, uint64_t place, size_t b) {
    return drop_at(d->share, d->seed, d->step, place, d->sequence + b);
}
/* Of the probabilities of its head h. */
static inline Drop drop_head(const Dropout *d, uint64_t place, size_t h,
                             size_t b) {
    const uint64_t inner = place | (uint64_t)(h + 1) << 32;
    return drop_at(d->attention, d->seed, d->step, inner, d->sequence + b);
}

static inline uint32_t drop_column(Drop d, size_t column) {
    return drop_mix(d.key + (uint32_t)column * DROP_GOLDEN);
}
static inline bool drop_keeps(Drop d, size_t row, size_t column) {
    const uint32_t golden = (uint32_t)row * DROP_GOLDEN;
    return drop_mix(drop_column(d, column) ^ golden) >> 1 >= d.below;
}

/* Rows row .. row + LANES - 1 as drop_factor takes them. */
INLINE vu drop_rows(size_t row) {
    vu lane;
    UNROLL for (int i = 0; i < LANES; i++) lane[i] = (uint32_t)i;
    return (lane + (uint32_t)row) * DROP_GOLDEN;
}
/* The factors of a column, which is given as drop_column does: 0 or scale. */
INLINE vf drop_factor(Drop d, uint32_t column, vu rows) {
    const vi hash = (vi)(drop_mix_lanes(rows ^ column) >> 1);
    const vi keeps = hash >= (int32_t)d.below;
    return (vf)(keeps & (vi)vf_all(d.scale));
}

/* x *= factors of rows row .. row + 15 and columns column .. column + lines - 1;
 * lines that follow one another. */
static inline void drop_lines(Drop d, float *x, size_t row, size_t column,
                              size_t lines) {
    for (size_t v = 0; v < LINE; v += LANES) {
        const vu rows = drop_rows(row + v);
        for (size_t i = 0; i < lines; i++) {
            const vf factor = drop_factor(d, drop_column(d, column + i), rows);
            float *at = x + i * LINE + v;
            vf_store(at, vf_load(at) * factor);
        }
    }
}
/* out = x times the same factors. */
static inline void drop_copy(Drop d, float *restrict out, const float *restrict x,
                             size_t row, size_t column, size_t lines) {
    memcpy(out, x, lines * LINE * sizeof *out);
    drop_lines(d, out, row, column, lines);
}
#endif
