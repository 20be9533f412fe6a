/* rate.h: the learning rate that a run takes if nobody names one.
 *
 * A rule that was fitted to the best rates of trials at one batch, 16 x 256
 * tokens, and to one pass over a text: 4 to 12 layers, 256 to 768 wide, dense
 * and down to a sixteenth kept. It knows nothing of other batches, nor of a
 * model that has been trained before. Where it errs it errs low, for too high a
 * rate spoils a run and too low a one delays it:
 *
 *     0.512 / width  x  depth  x  density^-(11/16)
 *
 *     depth = 1 - density (1 - (4 / layers)^(1/4)), 1 up to 4 layers
 *
 * The wider a model, the more outputs a step moves at once. A sparse one sums
 * over fewer inputs and bears a higher rate, for all of its parameters. Depth
 * costs a dense model stability (12 layers spike above 0.0006) and a sparse one
 * hardly any: its share in the rule is the density.
 *
 * Example: 12 layers, 768 wide. Dense: 0.512 / 768 x 0.76 = 0.000507. An eighth
 * kept: 0.512 / 768 x 0.97 x 4.18 = 0.0027. */
#ifndef RATE_H
#define RATE_H
#include "../../gpt.h"
#include "options.h"

/* The factors of the rule: their product is the rate. */
typedef struct {
    double width;                   /* with 4 dense layers: 0.002 at 256 */
    double depth, density;
} Rate;

/* The rule for a model whose four matrices of each layer keep `density` of their
 * weights. By square roots alone: libm's pow has other bits on other machines. */
static inline Rate rate_rule(size_t layers, size_t width, double density) {
    const double shallow = sqrt(sqrt(fmin(1, 4 / (double)layers)));
    const double root = sqrt(density);
    const double root8 = sqrt(sqrt(root));              /* density^(1/8) */
    return (Rate){
        .width = 0.512 / (double)width,
        .depth = 1 - density * (1 - shallow),
        .density = 1 / (root * root8 * sqrt(root8)),    /* 1/2 + 1/8 + 1/16 */
    };
}
static inline double rate_product(Rate r) {
    return r.width * r.depth * r.density;
}

/* Discriminative fine-tuning (Howard and Ruder 2018): what is nearer to the text
 * has learned more general things, and learns slower. The factor on the rate of
 * parameter k in a model of L layers: the final norm's is 1, layer l's is
 * F^(L-1-l), that of both embeddings, and so of the head that is tied to one,
 * F^L. With L = 3, F = 0.5 the layers have 0.25, 0.5, 1, the embeddings 0.125. */
static inline double rate_of_layer(size_t L, double F, size_t k) {
    const size_t place = k < LAYER0 ? 0 : 1 + (k - LAYER0) / PER_LAYER;
    double rate = 1;
    for (size_t l = place; l < L; l++) rate *= F;       /* place L: the last layer */
    return rate;
}

/* Refuses a schedule that contradicts itself, as far as it is known. */
static inline void rate_check(const Options *o) {
    if (o->warmup != AUTO && o->warmup > o->steps)
        refuse(o, "--warmup: expected at most the %zu steps, found %zu", o->steps, o->warmup);
    if (o->min_lr > o->lr)                              /* neither is NAN */
        refuse(o, "--min-lr: expected at most --lr %g, found %g", o->lr, o->min_lr);
}

/* Which rate a run takes, and why; of a model of that density. */
static inline void rate_describe(const Options *o, const GptConfig *c, double density) {
    printf("learning rate %.3g", o->lr);
    if (o->resume) printf(", as the checkpoint says");
    else if (option_given(o, "lr")) printf(", as given");
    else {
        const Rate r = rate_rule(c->L, c->C, density);
        printf(" by rule: %.3g for width %zu x %.3g for %zu layers x %.3g for "
               "density %.3g; --lr sets another",
               r.width, c->C, r.depth, c->L, r.density, density);
    }
    if (o->layer_decay < 1)
        printf("; x %.3g in the lowest layer, x %.3g in the embeddings",
               rate_of_layer(c->L, o->layer_decay, LAYER0),
               rate_of_layer(c->L, o->layer_decay, WTE));
    printf("\n");
}
#endif
