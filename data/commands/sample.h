/* sample.h: text from a model: `train sample`.
 *
 * Each token is drawn from the model's distribution with a number that is a function of (seed, place), so the
 * same seed gives the same text. Past the context the model goes on from the last half of it. */
#ifndef SAMPLE_H
#define SAMPLE_H
#include "../run/state.h"

typedef struct { double temperature, top_p; size_t top_k; } GptChoice;

typedef struct { double logit; uint32_t id; } GptCandidate;

static inline int gpt_by_logit(const void *a, const void *b) { /* largest first, ties to the smaller id */
    const GptCandidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id < y->id ? -1 : x->id > y->id;
}

/* Draws an id from V logits 16 floats apart, with u uniform in [0, 1): the softmax of logits / temperature,
 * of the top_k largest (0: all), cut to the smallest set of them that holds a share top_p. Temperature 0: the
 * largest. */
static inline uint32_t gpt_choose(const float *logits, size_t V, const GptChoice *how, double u) {
    GptCandidate *c = mem_new(V, sizeof *c);
    size_t n = V, kept = 0;
    double sum = 0, share = 0;
    for (size_t v = 0; v < V; v++) c[v] = (GptCandidate){(double)logits[v * LINE], (uint32_t)v};
    qsort(c, V, sizeof *c, gpt_by_logit);
    if (how->temperature <= 0) n = 1;
    else if (how->top_k && how->top_k < n) n = how->top_k;
    const double top = c[0].logit;
    for (size_t k = 0; k < n; k++)
        sum += c[k].logit = n == 1 ? 1 : exp((c[k].logit - top) / how->temperature);
    while (kept < n && (kept == 0 || share < how->top_p * sum)) share += c[kept++].logit;
    double at = u * share;
    size_t k = 0;
    while (k + 1 < kept && at >= c[k].logit) at -= c[k++].logit;
    const uint32_t id = c[k].id;
    free(c);
    return id;
}

/* Writes to f what the model adds to the prompt, as it comes: at most n tokens, until <|endoftext|>. */
static inline void sample(FILE *f, const State *s, DfPool *pool, const char *prompt, size_t n,
                          const GptChoice *how, uint64_t seed) {
    const size_t ctx = s->m->c.ctx, bytes = strlen(prompt);
    GptRun *r = gpt_run_new(s->m, pool, 1, ctx, 64, false);
    int32_t *window = mem_new(ctx + bytes + 2, sizeof *window);
    size_t have = 0, done = 0;
    Unfinished rest = {0};
    window[have++] = (int32_t)s->tok->eot;
    have += tok_encode(s->tok, (const uint8_t *)prompt, bytes, (uint32_t *)window + have);
    for (size_t k = 0; k < n; k++) {
        if (have > ctx) {                                   /* past the context: on from the last half */
            const size_t keep = (ctx + 1) / 2;
            memmove(window, window + have - keep, keep * sizeof *window);
            have = keep, done = 0;
        }
        const float *logits = gpt_next(r, window, have, done);
        done = have;
        const uint32_t id = gpt_choose(logits, s->m->c.V, how, rng_f64(rng_key(seed, "sample"), k));
        if (id == s->tok->eot) break;
        size_t len;
        const uint8_t *text = tok_bytes(s->tok, id, &len);
        show_next(f, &rest, text, len);
        fflush(f);
        window[have++] = (int32_t)id;
    }
    show(f, rest.byte, rest.n);
    gpt_run_free(r), free(window);
}

static inline int cmd_sample(int argc, char **argv) {
    Options *o = options_read(argc, argv, SAMPLE, "a checkpoint");
    State s = checkpoint_read(o->file, o, false);
    if (!s.tok) die("%s: the model has no vocabulary of its own", o->file);
    DfPool *pool = df_begin(o->threads);
    if (!o->quiet && o->prompt) fputs(o->prompt, stdout);
    sample(stdout, &s, pool, o->prompt ? o->prompt : "", o->count,
           &(GptChoice){o->temperature, o->top_p, o->top_k}, o->seed);
    putchar('\n');
    gpt_free(s.m), tok_free(s.tok), df_end(pool);
    return 0;
}
#endif
