/* test_measure.h: what `eval` measures: the parts of a text and their losses. */
#ifndef TEST_MEASURE_H
#define TEST_MEASURE_H
#include "check.h"
#include "test_train.h"

/* A text of n documents of 3, 4, 5 .. tokens, ids below V - 1, EOT = V - 1; token id has id + 1 bytes. */
static Data measure_text(size_t n, size_t V) {
    Data d = {.bytes = mem_new(V, sizeof *d.bytes), .eot = (int32_t)V - 1};
    const size_t room = 1 + n * (3 + n);
    uint8_t *id = mem_new(room, 2);
    size_t at = 1;
    for (uint32_t k = 0; k + 1 < V; k++) d.bytes[k] = k + 1;
    id[0] = (uint8_t)d.eot;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < 3 + k; i++, at++) id[2 * at] = (uint8_t)(rng_u64(k, i) % (V - 1));
        id[2 * at++] = (uint8_t)d.eot;
    }
    tokens_add(&d.val, id, at, 2, (Bytes){0});
    return d;
}
/* Every token but the first is in one part: a document's, or one of equal blocks. The parts' losses add up to
 * that of the text, and are those of their tokens in the windows that a run validates on. */
static void measure_check_parts(size_t documents) {
    const size_t V = 23, T = 10;
    Data d = measure_text(documents, V);
    Parts p = parts_new(&d);
    GptPair pair = pair_new((GptConfig){1, 2, 8, V, T}, 3, T, 0.3, 2);
    GptRun *r = gpt_run_new(pair.m, pair.pool, 3, T, 64, false);
    const Score s = evaluate(r, &d, 0, &p);
    Score sum = {0};
    double bytes[2] = {INFINITY, 0};
    for (size_t k = 0; k < p.n; k++) {
        sum.nats += p.part[k].nats, sum.bytes += p.part[k].bytes, sum.tokens += p.part[k].tokens;
        bytes[0] = fmin(bytes[0], p.part[k].bytes), bytes[1] = fmax(bytes[1], p.part[k].bytes);
        CHECK(p.blocks || p.part[k].tokens == k + 4, "document %zu has %zu tokens", k, p.part[k].tokens);
    }
    CHECK(p.blocks == (documents < 20), "%zu documents, blocks %d", documents, p.blocks);
    CHECK(p.blocks || p.n == documents, "%zu parts of %zu documents", p.n, documents);
    CHECK(!p.blocks || bytes[1] - bytes[0] <= 2 * (double)V, "blocks of %g .. %g bytes", bytes[0], bytes[1]);
    CHECK(sum.tokens == s.tokens && s.tokens == d.val.n - 1 && sum.bytes == s.bytes, "%zu of %zu tokens",
          sum.tokens, s.tokens);
    CHECK(fabs(sum.nats - s.nats) < 1e-9 * s.nats, "%.12g nats in parts, %.12g in all", sum.nats, s.nats);
    double nats = 0;                        /* the first part again, window by window */
    for (size_t first = 0; first * T < p.part[0].tokens; first++) {
        GptRun *one = gpt_run_new(pair.m, pair.pool, 1, T, 64, false);
        int32_t in[10], out[10];
        batch_val(&d.val, first, SIZE_MAX, 1, T, in, out);
        for (size_t t = 0; t < T; t++) if (first * T + t >= p.part[0].tokens) out[t] = -1;
        gpt_eval(one, in, out, &nats), gpt_run_free(one);
    }
    CHECK(fabs(p.part[0].nats - nats) < 1e-12 * nats, "part 0: %.12g, alone %.12g", p.part[0].nats, nats);
    const StatsInterval i = parts_interval(&p, NULL, true), none = parts_interval(&p, &p, true);
    CHECK(fabs(i.diff - score_bits(&s)) < 1e-12 * i.diff, "%g and %g bits/byte", i.diff, score_bits(&s));
    CHECK(p.n < 2 || (i.lo < i.diff && i.diff < i.hi), "%g .. %g", i.lo, i.hi);
    CHECK(p.n < 2 || (none.lo == 0 && none.hi == 0), "a model against itself: %g .. %g", none.lo, none.hi);
    gpt_run_free(r), pair_free(&pair), parts_free(&p), data_free(&d);
}

static void test_measure(void) {
    static const size_t documents[] = {1, 2, 19, 20, 60};
    for (size_t k = 0; k < sizeof documents / sizeof *documents; k++) measure_check_parts(documents[k]);
}
#endif
