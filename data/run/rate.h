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
#include "masks.h"

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

/* The rule for the options' model: of its density as it is or, if masks are to
 * come, as they will make it. */
static inline Rate rate_of(const Options *o, const Gpt *m) {
    const bool now = !masks_wanted(o) || masks_at_start(o);
    return rate_rule(m->c.L, m->c.C, masks_density(o, m, now));
}
/* Refuses a schedule that contradicts itself, as far as it is known. */
static inline void rate_check(const Options *o) {
    if (o->warmup != AUTO && o->warmup > o->steps)
        refuse(o, "--warmup: expected at most the %zu steps, found %zu", o->steps, o->warmup);
    if (o->min_lr > o->lr)                              /* neither is NAN */
        refuse(o, "--min-lr: expected at most --lr %g, found %g", o->lr, o->min_lr);
}

/* Which rate a run takes, and why. */
static inline void rate_describe(const Options *o, const Gpt *m) {
    printf("learning rate %.3g", o->lr);
    if (o->resume) printf(", as the checkpoint says\n");
    else if (option_given(o, "lr")) printf(", as given\n");
    else {
        const Rate r = rate_of(o, m);
        printf(" by rule: %.3g for width %zu x %.3g for %zu layers x %.3g for "
               "density %.3g; --lr sets another\n",
               r.width, m->c.C, r.depth, m->c.L, r.density,
               masks_density(o, m, !masks_wanted(o) || masks_at_start(o)));
    }
}
#endif
