/* checks.h: a model, a batch and what some implementation made of them, as a list of tensors to check:
 *
 *     weights w[k], masks, batch, AdamW's settings        what to compute with
 *     check[0 .. n-1]                                     what came out, in the order of computing it:
 *         activations of every layer, logits, loss,       forward
 *         gradients, last parameter first,                backward
 *         losses and norms of the steps, new weights      optimizer
 *
 * So the first check that fails is where an implementation first went wrong. */
#ifndef CHECKS_H
#define CHECKS_H
#include "../model/formats.h"
#include "../run/adamw.h"
#include <stddef.h>

typedef enum { ACT, LOGITS, LOSS, GRAD, STEP_LOSS, STEP_NORM, AFTER } CheckKind;

typedef enum { FORWARD, BACKWARD, OPTIMIZER } Phase;

static inline Phase phase_of(CheckKind k) { return k < GRAD ? FORWARD : k == GRAD ? BACKWARD : OPTIMIZER; }

typedef struct {
    double error, elem, got, want;
    size_t worst;
    bool stray;                 /* a NaN or an infinity is there that the truth does not have */
} Distance;

typedef struct {
    CheckKind kind;
    char name[64];
    size_t k, l;                /* the parameter; of an activation its stage and layer */
    StTensor t;
    Distance dump, own;         /* from the truth */
    bool pass, same;            /* not wrong; as the fault being tried would have it */
    bool blind;                 /* nothing can be said: the yardstick is above its cap */
    size_t row;                 /* if a row is wrong where the whole passes: which, and the distances are its */
} Check;
static const size_t ROW_NONE = SIZE_MAX;

typedef struct {
    GptConfig c;
    GptParam *table;
    size_t count, B, T, steps;
    GptAdam adam;
    int32_t *inputs, *targets;  /* (B,T) */
    float **w, **slack;         /* initial parameters; what rounding may do to each by way of AdamW */
    const uint8_t **mask;       /* of each parameter; NULL: all kept */
    Check *check;               /* n, in order */
    size_t n, cap, strange;     /* strange: tensors that are not known */
    const char *stranger;       /* the first of them */
    bool out_in;                /* linear weights among the results lie (out, in) */
    double tolerance, norm, *step_loss, *step_norm;         /* norm: of the gradient */
    int fault;                  /* that explains what is wrong, by its place in a table; -1: none */
    Safetensors st;
    LlmcDebug debug;
} Dump;

/* The stages of a layer, by name: the array of struct SpecLayer that holds them, width in C. */
enum { STAGE_OUT = 7, STAGE_EMBED, STAGE_LNF, STAGES };
static const struct { const char *name; size_t at, width; } act_stage[STAGES] = {
#define AT(field) offsetof(struct SpecLayer, field)
    {"ln_1", AT(ln1), 1}, {"attn.c_attn", AT(qkv), 3}, {"attention", AT(att), 1}, {"mid", AT(mid), 1},
    {"ln_2", AT(ln2), 1}, {"mlp.c_fc", AT(fc), 4}, {"mlp.gelu", AT(gelu), 4}, {"out", AT(x), 1},
    {"embed", AT(x), 1}, {"ln_f", 0, 1}};
#undef AT

/* What s holds now of the tensor of a check. */
static inline const double *check_truth(const Dump *d, const Spec *s, const Check *c) {
    switch (c->kind) {
    case ACT:
        if (c->k == STAGE_LNF) return s->lnf;
        return *(double *const *)((const char *)&s->layer[c->l + (c->k == STAGE_OUT)] + act_stage[c->k].at);
    case LOGITS: return s->logits;
    case LOSS: return &s->loss;
    case GRAD: return s->dw[c->k];
    case STEP_LOSS: return d->step_loss;
    case STEP_NORM: return d->step_norm;
    default: return s->w[c->k];
    }
}
#endif
