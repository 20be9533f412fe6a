/* sample.h: text from a model: `train sample`.
 *
 * Each token is drawn from the model's distribution with a number that is a
 * function of (seed, place), so the same seed gives the same text. The window
 * that the model looks at, of T tokens, the context, at most:
 *
 *     <|endoftext|> prompt drawn drawn drawn ..      until it is full;
 *     its last half, drawn drawn drawn ..            then on from there
 *
 * Without --no-eot the end-of-text id stands before the prompt. Of a prompt as
 * long as the context or longer the first token comes from the last T tokens.
 * It refuses to draw ids that no text holds.
 *
 * Example: logits 2, 1 and 0, temperature 1, top_p 0.9: the shares are 0.67,
 * 0.24 and 0.09; the first two hold 0.91, so only they can be drawn, the first
 * if u is below 0.67 / 0.91 = 0.73. */
#ifndef SAMPLE_H
#define SAMPLE_H
#include "../run/state.h"

/* How a token is drawn. */
typedef struct {
    double temperature;             /* 0: always the likeliest */
    double top_p;                   /* the share that is kept */
    size_t top_k;                   /* so many are kept; 0: all */
} GptChoice;

/* What stands before the first token that is drawn. */
typedef struct {
    const char *text;
    bool no_eot;                    /* no end-of-text id before it */
    bool special;                   /* <|endoftext|> in it is the id */
} GptPrompt;

typedef struct {
    double logit;
    uint32_t id;
} GptCandidate;

/* Largest first, ties to the smaller id. */
static inline int gpt_by_logit(const void *a, const void *b) {
    const GptCandidate *x = a;
    const GptCandidate *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The ids that may be drawn, and their logits, 16 floats apart: those of text
 * and <|endoftext|>. An id that no token has, or a special one, no text holds.
 * Returns how many. */
static inline size_t gpt_candidates(GptCandidate *c, const float *logits,
                                    const Tokenizer *tok) {
    size_t n = 0;
    for (uint32_t v = 0; v < tok->V; v++)
        if (tok_is_text(tok, v) || v == tok->eot)
            c[n++] = (GptCandidate){(double)logits[v * LINE], v};
    return n;
}

/* Draws one of n candidates, with u uniform in [0, 1): the softmax of logits /
 * temperature, of the top_k largest, cut to the smallest set of them that holds
 * a share top_p. Changes the candidates. */
static inline uint32_t gpt_choose(GptCandidate *c, size_t n,
                                  const GptChoice *how, double u) {
    qsort(c, n, sizeof *c, gpt_by_logit);
    if (how->temperature <= 0) n = 1;
    else if (how->top_k && how->top_k < n) n = how->top_k;

    /* logits become shares, not yet divided by their sum */
    const double top = c[0].logit;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        c[i].logit = n == 1 ? 1 : exp((c[i].logit - top) / how->temperature);
        sum += c[i].logit;
    }
    size_t kept = 0;
    double share = 0;
    while (kept < n && (kept == 0 || share < how->top_p * sum))
        share += c[kept++].logit;

    double at = u * share;
    size_t k = 0;
    while (k + 1 < kept && at >= c[k].logit) at -= c[k++].logit;
    return c[k].id;
}

/* The ids of a prompt, into room for its bytes and one more; returns how
 * many. */
static inline size_t prompt_encode(const Tokenizer *tok,
                                   const GptPrompt *prompt, uint32_t *ids) {
    const char *p = prompt->text;
    const char *end = p + strlen(p);
    size_t n = 0;
    if (!prompt->no_eot) ids[n++] = tok->eot;
    while (p < end) {
        const char *mark = prompt->special ? strstr(p, TOK_EOT) : NULL;
        const char *stop = mark ? mark : end;
        n += tok_encode(tok, (const uint8_t *)p, (size_t)(stop - p), ids + n);
        if (mark) ids[n++] = tok->eot;
        p = mark ? mark + strlen(TOK_EOT) : end;
    }
    return n;
}

/* Writes to out what the model adds to the prompt, as it comes: at most n
 * tokens, until <|endoftext|>. False if it ends at logits that are not finite. */
static inline bool sample(Out *out, const State *s, DfPool *pool,
                         const GptPrompt *prompt, size_t n,
                         const GptChoice *how, uint64_t seed) {
    const size_t ctx = s->m->c.ctx;
    const uint64_t key = rng_key(seed, "sample");
    GptRun *r = gpt_run_new(s->m, pool, 1, ctx, 64, GPT_FORWARD);
    GptCandidate *candidates = mem_new(s->m->c.V, sizeof *candidates);
    int32_t *window = mem_new(ctx + strlen(prompt->text) + 2, sizeof *window);
    size_t have = prompt_encode(s->tok, prompt, (uint32_t *)window);
    size_t done = 0;                /* of the window, so many has the model seen */
    size_t keep = ctx;              /* of a window that is too long: all at first */
    Unfinished rest = {0};
    bool finite = true;
    for (size_t k = 0; k < n; k++) {
        if (have > ctx) {
            memmove(window, window + have - keep, keep * sizeof *window);
            have = keep;
            done = 0;
        }
        keep = (ctx + 1) / 2;
        const float *logits = gpt_next(r, window, have, done);
        done = have;
        const size_t count = gpt_candidates(candidates, logits, s->tok);
        for (size_t c = 0; c < count; c++) finite &= isfinite(candidates[c].logit);
        if (!finite) break;
        const uint32_t id = gpt_choose(candidates, count, how, rng_f64(key, k));
        if (id == s->tok->eot) break;
        size_t len;
        const uint8_t *text = tok_bytes(s->tok, id, &len);
        show_next(out, &rest, text, len);
        out_flush(out);
        window[have++] = (int32_t)id;
    }
    show(out, rest.byte, rest.n);
    gpt_run_free(r);
    free(window);
    free(candidates);
    return finite;
}

static inline int cmd_sample(int argc, char **argv) {
    Options *o = options_read(argc, argv, SAMPLE, "a checkpoint");
    static const char *const drawing[] = {"top-k", "top-p", "seed"};
    for (size_t k = 0; k < sizeof drawing / sizeof *drawing && o->temperature == 0; k++)
        if (o->given[option_find(drawing[k], SAMPLE)])
            usage("--temperature 0 takes the likeliest token: no --%s", drawing[k]);
    State s = checkpoint_read(o->file, o, false);
    if (o->no_eot && (!o->prompt || !*o->prompt))
        usage("--no-eot needs a --prompt to begin with");
    if (!s.tok) die("%s: the model has no vocabulary of its own", o->file);
    const GptPrompt prompt = {o->prompt ? o->prompt : "", o->no_eot, o->special};
    const GptChoice how = {o->temperature, o->top_p, o->top_k};
    tok_note_spelled(s.tok, (const uint8_t *)prompt.text, strlen(prompt.text), "--prompt");
    DfPool *pool = df_begin(o->threads);
    Out out = out_standard();
    if (!o->quiet) out_text(&out, prompt.text);
    const bool finite = sample(&out, &s, pool, &prompt, o->count, &how, o->seed);
    out_char(&out, '\n');
    out_done(&out);
    if (!finite) note("%s: expected finite logits, found others", o->file);
    state_free(&s);
    df_end(pool);
    options_free(o);
    return finite ? 0 : 3;
}
#endif
