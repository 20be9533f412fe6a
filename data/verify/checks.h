/* checks.h: a model, a batch and what some implementation made of them, as a
 * list of tensors to check:
 *
 *     weights w[k], masks, batch, AdamW's settings        what to compute with
 *     check[0 .. n-1]                                     what came out, in the
 *                                                         order of computing it:
 *         activations of every layer, logits, loss            forward
 *         gradients, last parameter first                     backward
 *         losses and norms of the steps, new weights          optimizer
 *
 * So the first check that fails is where an implementation first went wrong.
 *
 * It refuses to read, to compute and to judge: dump.h, truth.h and verify.h do.
 *
 * Example: of a model with one layer, the activations alone are ten checks:
 * embed; the layer's ln_1, attn.c_attn, attention, mid, ln_2, mlp.c_fc,
 * mlp.gelu, out; and ln_f. If ln_1 is right and attn.c_attn wrong, the fault is
 * in that product. */
#ifndef CHECKS_H
#define CHECKS_H
#include "../model/formats.h"
#include "../run/adamw.h"
#include <stddef.h>

typedef enum { ACT, LOGITS, LOSS, GRAD, STEP_LOSS, STEP_NORM, AFTER } CheckKind;

typedef enum { FORWARD, BACKWARD, OPTIMIZER } Phase;

static inline Phase check_phase(CheckKind kind) {
    if (kind < GRAD) return FORWARD;
    return kind == GRAD ? BACKWARD : OPTIMIZER;
}

/* How far numbers are from the truth (verify.h has the two formulas). */
typedef struct {
    double error;               /* of the whole tensor */
    double elem;                /* of its worst element */
    double got, want;           /* that element and its truth */
    size_t worst;               /* where it is */
    bool stray;                 /* a NaN or an infinity is there that the truth does
                                 * not have */
} Distance;

typedef struct {
    CheckKind kind;
    char name[64];
    size_t k;                   /* the parameter; of an activation its stage */
    size_t l;                   /* of an activation its layer */
    StTensor t;
    Distance dump, own;         /* from the truth: the dump's numbers, ours */
    bool pass;                  /* not wrong */
    bool same;                  /* as the fault that is being tried would have it */
    bool blind;                 /* nothing can be said: the yardstick is above its
                                 * cap */
    size_t row;                 /* the row that is wrong where the whole passes; the
                                 * distances are then its own */
} Check;
static const size_t ROW_NONE = SIZE_MAX;

struct Fault;                   /* faults.h */

typedef struct {
    GptConfig c;
    GptParam *table;            /* [count] */
    size_t count, B, T, steps;
    GptAdam adam;
    int32_t *inputs;            /* (B,T) */
    int32_t *targets;           /* (B,T) */
    float **w;                  /* [count] initial parameters */
    float **slack;              /* [count] what rounding may do to each by way of
                                 * AdamW */
    const uint8_t **mask;       /* [count] of each parameter; NULL: all kept */
    Check *check;               /* [n] in order */
    size_t n, cap;
    size_t strange;             /* tensors that are not known */
    const char *stranger;       /* the first of them */
    bool out_in;                /* linear weights among the results lie (out,in) */
    double tolerance;           /* in the place of yardsticks; 0: none */
    double norm;                /* of the gradient */
    double *step_loss;          /* [steps] */
    double *step_norm;          /* [steps] */
    const struct Fault *fault;  /* that explains what is wrong; NULL: none does */
    Safetensors st;
    LlmcDebug debug;
} Dump;

/* The stages of a layer by name, then those of the model: the array of a
 * SpecLayer that holds them, and their width in units of C. */
enum { STAGE_OUT = 7, STAGE_EMBED, STAGE_LNF, STAGES };
typedef struct {
    const char *name;
    size_t at, width;
} CheckStage;
static const CheckStage check_stages[STAGES] = {
    {"ln_1", offsetof(struct SpecLayer, ln1), 1},
    {"attn.c_attn", offsetof(struct SpecLayer, qkv), 3},
    {"attention", offsetof(struct SpecLayer, att), 1},
    {"mid", offsetof(struct SpecLayer, mid), 1},
    {"ln_2", offsetof(struct SpecLayer, ln2), 1},
    {"mlp.c_fc", offsetof(struct SpecLayer, fc), 4},
    {"mlp.gelu", offsetof(struct SpecLayer, gelu), 4},
    [STAGE_OUT] = {"out", offsetof(struct SpecLayer, x), 1},    /* the next one's */
    [STAGE_EMBED] = {"embed", offsetof(struct SpecLayer, x), 1},
    [STAGE_LNF] = {"ln_f", 0, 1},                               /* of no layer */
};

/* What s holds now of the activation of a check. */
static inline const double *check_activation(const Spec *s, const Check *c) {
    if (c->k == STAGE_LNF) return s->lnf;
    const struct SpecLayer *layer = &s->layer[c->l + (c->k == STAGE_OUT)];
    const char *field = (const char *)layer + check_stages[c->k].at;
    return *(double *const *)field;
}

/* What s, and the steps in d, hold now of the tensor of a check. */
static inline const double *check_truth(const Dump *d, const Spec *s,
                                        const Check *c) {
    switch (c->kind) {
    case ACT: return check_activation(s, c);
    case LOGITS: return s->logits;
    case LOSS: return &s->loss;
    case GRAD: return s->dw[c->k];
    case STEP_LOSS: return d->step_loss;
    case STEP_NORM: return d->step_norm;
    default: return s->w[c->k];
    }
}
#endif
