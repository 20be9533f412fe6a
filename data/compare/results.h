/* results.h: what came of a comparison: tables for the terminal, and all of it
 * as JSON, from which the page is made (page.h).
 *
 * Both go through the arms in their order and ask curves.h for every figure:
 * nothing is worked out here but differences and shares of two of its figures.
 * The keys are listed in the README of this folder. The object, in the order it
 * is written:
 *
 *     command, sentence, unit, interval, margin
 *     arms            [ { name, ..., options, runs [ { ..., curve } ], ... } ]
 *     pairs           [ { a, b, axis, ... } ]       a later than b; three axes
 *     cloze           [ { a, b, kind, ... } ]       the same pairs
 *     time_to_dense   { arm: { tokens, tokens_lo, tokens_hi, flops, ... } }
 *
 * It refuses to print what is not known: a number that is not finite is null in
 * JSON and a word in a table.
 *
 * Example: three arms have the pairs (1,0), (2,0) and (2,1), nine objects. */
#ifndef RESULTS_H
#define RESULTS_H
#include "../base/plot.h"
#include "curves.h"

/* What the intervals are over, as words. */
static inline const char *cmp_over(const Cmp *c, char out[96]) {
    const Parts *p = &cmp_any(c)->parts;
    if (c->seeds > 1) snprintf(out, 96, "t over %zu seeds", c->seeds);
    else
        snprintf(out, 96, "one seed: bootstrap over %zu %s", p->n,
                 parts_name(p));
    return out;
}

/* ---- one sentence -------------------------------------------------------- */

/* The arm that a comparison is about: `sparse`, or the second; 0 if there is
 * one. */
static inline size_t cmp_lead(const Cmp *c) {
    size_t lead = c->arms > 1 ? 1 : 0;
    for (size_t k = 1; k < c->arms; k++)
        if (!strcmp(c->name[k], "sparse")) lead = k;
    return lead;
}
/* What the verdict says of the lead against the first arm. */
static inline const char *cmp_says(const Cmp *c, StatsInterval diff) {
    static const char *const say[][2] = {
        {"better", "is better than"},
        {"equal", "is as good as"},
        {"not worse", "is not worse than"},
        {"worse", "is worse than"},
    };
    const char *verdict = stats_verdict(diff, c->margin);
    for (size_t k = 0; k < sizeof say / sizeof *say && isfinite(diff.lo); k++)
        if (!strcmp(verdict, say[k][0])) return say[k][1];
    return "may or may not be as good as";
}
/* What came of it, as the verdict and the curves say it. */
static inline void cmp_sentence(const Cmp *c, Out *out) {
    const size_t lead = cmp_lead(c);
    const char *first = c->name[0];
    const char *name = c->name[lead];
    if (!lead) {
        out_print(out, "%s: %.3f %s", first, c->mean[0].bits, cmp_unit(c));
        return;
    }
    const StatsInterval diff = cmp_difference(c, lead, 0, CMP_TOKENS);
    if (!isfinite(diff.diff)) {
        out_print(out, "%s cannot be compared with %s: one of them diverged.",
                  name, first);
        return;
    }
    const CmpRun *a = cmp_run(c, 0, lead);
    const CmpRun *b = cmp_run(c, 0, 0);
    const double time = c->mean[lead].to_first[CMP_TIME].diff;
    out_print(out, "With %.0f %% of the numbers and %.0f %% of the memory %s "
                   "%s %s after as many tokens, and ",
              100 * a->active / b->active, 100 * a->memory / b->memory, name,
              cmp_says(c, diff), first);
    if (isnan(time)) out_text(out, "does not come to its loss.");
    else
        out_print(out, "comes to its loss in %.0f %% of the time.", 100 * time);
}

/* ---- in the terminal ----------------------------------------------------- */

static inline void cmp_print_losses(const Cmp *c) {
    const bool has_floor = c->mean[0].floor > 0;
    char over[96];
    printf("\n%-10s %8s %8s %8s %8s %10s  %-16s %8s%s\n", "arm", "numbers",
           "kept", "rate", "loss", "perplexity", cmp_unit(c), "gap",
           has_floor ? "    floor" : "");
    for (size_t k = 0; k < c->arms; k++) {
        const CmpArm *a = &c->mean[k];
        const CmpRun *r = cmp_run(c, 0, k);
        if (!isfinite(a->bits)) {
            printf("%-10s diverged at rate %.3g\n", c->name[k], r->o->lr);
            continue;
        }
        printf("%-10s %6.2f M %6.2f M %8.3g %8.4f %10.2f  %.4f +- %.4f %8.4f",
               c->name[k], r->parameters / 1e6, r->active / 1e6, r->o->lr,
               a->loss, exp(a->loss), a->bits, (a->hi - a->lo) / 2,
               a->bits - a->train);
        if (has_floor) printf("  %+.4f", a->bits - a->floor);
        putchar('\n');
    }
    printf("95 %% intervals: %s; kept: at the end; gap: validation less "
           "training%s\n",
           cmp_over(c, over), has_floor ? "; floor: above it" : "");
}
/* A share of what the first arm spent, with its interval if there is one that
 * says something. */
static inline void cmp_print_share(StatsInterval s) {
    if (isnan(s.diff)) printf("never");
    else if (isfinite(s.lo) && s.hi > s.lo)
        printf("%.3f (%.3f .. %.3f)  ", s.diff, s.lo, s.hi);
    else printf("%.3f  ", s.diff);
}
static inline void cmp_print_costs(const Cmp *c) {
    printf("\n%-10s %9s %9s %10s %9s %9s   %s\n", "arm", "ms/step", "speed-up",
           "seconds", "TFLOP", "MiB",
           "share of the first's time, FLOPs, tokens to its loss");
    for (size_t k = 0; k < c->arms; k++) {
        const CmpArm *a = &c->mean[k];
        const double speed_up = c->mean[0].step_ms / a->step_ms;
        printf("%-10s %9.1f %8.2fx %10.1f %9.2f %9.0f   ", c->name[k],
               a->step_ms, speed_up, a->seconds, a->flops / 1e12,
               cmp_run(c, 0, k)->memory / 0x1p20);
        cmp_print_share(a->to_first[CMP_TIME]);
        if (!isnan(a->to_first[CMP_TIME].diff)) {
            cmp_print_share(a->to_first[CMP_FLOPS]);
            cmp_print_share(a->to_first[CMP_TOKENS]);
        }
        putchar('\n');
    }
}
static inline void cmp_print_verdicts(const Cmp *c) {
    for (int axis = 0; axis < CMP_AXES && c->arms > 1; axis++) {
        printf("\nagainst %s at equal %s, margin %g %s%s:\n", c->name[0],
               cmp_axis[axis], c->margin, cmp_unit(c),
               axis == CMP_TOKENS
                   ? ""
                   : " (where one has ended, the other may be half-way)");
        for (size_t k = 1; k < c->arms; k++) {
            const StatsInterval s = cmp_difference(c, k, 0, axis);
            printf("  %-10s ", c->name[k]);
            if (isfinite(s.lo))
                printf("%+.4f (%+.4f .. %+.4f)  %s; %.4f would have been seen "
                       "in 4 of 5 cases\n",
                       s.diff, s.lo, s.hi, stats_verdict(s, c->margin),
                       s.detectable);
            else if (isfinite(s.diff))
                printf("%+.4f  no interval: one seed\n", s.diff);
            else
                printf("no value: diverged, or no validation by then "
                       "(--every)\n");
        }
    }
}
/* The curves of the first seed over time, an arm a letter from a on; a row of dots at
 * the loss that the first ends with. */
static inline void cmp_print_curves(const Cmp *c) {
    PlotAxis time = {0, 0, false};
    PlotAxis bits = {INFINITY, 0, false};
    for (size_t k = 0; k < c->arms; k++) {
        const CmpCurve *curve = &cmp_run(c, 0, k)->curve;
        time.hi = fmax(time.hi, cmp_end(curve)->seconds);
        for (size_t i = 0; i < curve->n; i++) {
            const double loss = cmp_bits(&curve->point[i]);
            if (!isfinite(loss)) continue;
            bits.lo = fmin(bits.lo, loss);
            bits.hi = fmax(bits.hi, loss);
        }
    }
    if (!(bits.hi > bits.lo)) return;       /* there is nothing to see */
    const double ends = cmp_bits(cmp_end(&cmp_run(c, 0, 0)->curve));
    const double unit = time.hi < 120 ? 1 : 60;
    time.hi /= unit;
    Plot plot = plot_new(time, bits);
    plot_line(&plot, 0, ends, time.hi, ends, '.');
    printf("\n%s over time:", cmp_unit(c));
    for (size_t k = 0; k < c->arms; k++) {
        const CmpCurve *curve = &cmp_run(c, 0, k)->curve;
        const char mark = (char)('a' + k);
        printf(" %c %s%s", mark, c->name[k], k + 1 < c->arms ? "," : "\n");
        for (size_t i = 0; i + 1 < curve->n; i++) {
            const CmpPoint *from = &curve->point[i];
            const CmpPoint *to = from + 1;
            plot_line(&plot, from->seconds / unit, cmp_bits(from), to->seconds / unit,
                      cmp_bits(to), mark);
        }
    }
    plot_print(&plot, 3, unit > 1 ? "minutes" : "seconds");
}
/* What the first arm gets right, and by how much more or less the others;
 * marked where that is certain. */
static inline void cmp_print_cloze(const Cmp *c) {
    printf("\n%-13s %6s %7s", "cloze", "items", "chance");
    for (size_t k = 0; k < c->arms; k++) printf(" %9s", c->name[k]);
    putchar('\n');
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze first = cmp_cloze(c, 0, 0, kind);
        if (!first.items) continue;
        printf("%-13s %6zu %5.1f %% %7.1f %%", cloze_kinds[kind], first.items,
               100 * first.chance, 100 * first.a);
        for (size_t k = 1; k < c->arms; k++) {
            const CmpCloze x = cmp_cloze(c, k, 0, kind);
            const bool sure = x.diff.lo > 0 || x.diff.hi < 0;
            if (x.items)
                printf(" %+8.1f%c", 100 * x.diff.diff, sure ? '*' : ' ');
            else printf(" %9s", "-");
        }
        putchar('\n');
    }
    printf("* the 95 %% interval of the difference, %s, is without 0\n",
           c->seeds > 1 ? "t over the seeds"
                        : "one seed: McNemar's over the items");
}

/* ---- JSON ---------------------------------------------------------------- */

static inline void cmp_json_run(Out *out, const CmpRun *r) {
    const CmpPoint *end = cmp_end(&r->curve);
    json_begin(out, NULL, '{');
    json_key(out, "seed");
    out_print(out, "%zu", r->o->seed);
    json_member_put(out, "val_loss", r->m.val.nats / (double)r->m.val.tokens);
    json_member_put(out, "bits", cmp_score(&r->m.val));
    json_member_put(out, "step_ms", cmp_step_ms(&r->curve));
    json_member_put(out, "seconds", end->seconds);
    json_member_put(out, "flops", end->flops);
    json_begin(out, "curve", '[');
    for (const CmpPoint *p = r->curve.point; p <= end; p++) {
        json_begin(out, NULL, '{');
        json_member_put(out, "step", (double)p->step);
        json_member_put(out, "tokens", p->tokens);
        json_member_put(out, "flops", p->flops);
        json_member_put(out, "seconds", p->seconds);
        json_member_put(out, "val_loss", p->loss);
        json_member_put(out, "bits", cmp_bits(p));
        json_close(out, '}');
    }
    json_close(out, ']');
    json_close(out, '}');
}
static inline void cmp_json_options(Out *out, const Options *o) {
    char room[64];
    json_begin(out, "options", '{');
    for (int k = 0; k < OPTIONS; k++) {
        if (!options[k].decides) continue;
        const char *text = option_text(o, k, room);
        if (option_is_text(&options[k]))
            json_member_text(out, options[k].name, text);
        else {
            json_key(out, options[k].name);
            out_text(out, text);
        }
    }
    json_close(out, '}');
}
static inline void cmp_json_arm(Out *out, const Cmp *c, size_t arm) {
    const CmpArm *a = &c->mean[arm];
    const CmpRun *r = cmp_run(c, 0, arm);
    const bool bytes = r->m.val.bytes > 0;
    const bool has_floor = a->floor > 0;
    out_char(out, '\n');
    json_begin(out, NULL, '{');
    json_member_text(out, "name", c->name[arm]);
    json_member_put(out, "val_loss", a->loss);
    json_member_put(out, "bits_per_byte", bytes ? a->bits : NAN);
    json_member_put(out, "bits", a->bits);
    json_member_put(out, "lo", a->lo);
    json_member_put(out, "hi", a->hi);
    json_member_put(out, "perplexity", exp(a->loss));
    json_member_put(out, "train_bits", a->train);
    json_member_put(out, "gap", a->bits - a->train);
    json_member_put(out, "floor", has_floor ? a->floor : NAN);
    json_member_put(out, "above_floor", has_floor ? a->bits - a->floor : NAN);
    json_member_put(out, "step_ms", a->step_ms);
    json_member_put(out, "speed_up", c->mean[0].step_ms / a->step_ms);
    json_member_put(out, "seconds", a->seconds);
    json_member_put(out, "flops", a->flops);
    json_member_put(out, "tokens", a->tokens);
    json_member_put(out, "parameters", r->parameters);
    json_member_put(out, "active_parameters", r->active);
    json_member_put(out, "memory_bytes", r->memory);
    cmp_json_options(out, r->o);
    json_begin(out, "runs", '[');
    for (size_t s = 0; s < c->seeds; s++) cmp_json_run(out, cmp_run(c, s, arm));
    json_close(out, ']');
    if (r->exhibit) out_text(out, r->exhibit);
    json_close(out, '}');
}
static inline void cmp_json_names(Out *out, const Cmp *c, size_t a, size_t b) {
    json_begin(out, NULL, '{');
    json_member_text(out, "a", c->name[a]);
    json_member_text(out, "b", c->name[b]);
}
static inline void cmp_json_pair(Out *out, const Cmp *c, size_t a, size_t b) {
    for (int axis = 0; axis < CMP_AXES; axis++) {
        const StatsInterval s = cmp_difference(c, a, b, axis);
        cmp_json_names(out, c, a, b);
        json_member_text(out, "axis", cmp_axis[axis]);
        json_interval(out, "diff", s);
        json_member_put(out, "detectable", s.detectable);
        json_member_put(out, "margin", c->margin);
        json_member_text(out, "verdict",
                         isfinite(s.lo) ? stats_verdict(s, c->margin) : NULL);
        json_close(out, '}');
    }
}
static inline void cmp_json_cloze(Out *out, const Cmp *c, size_t a, size_t b) {
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze x = cmp_cloze(c, a, b, kind);
        if (!x.items) continue;
        cmp_json_names(out, c, a, b);
        json_member_text(out, "kind", cloze_kinds[kind]);
        json_member_put(out, "items", (double)x.items);
        json_member_put(out, "chance", x.chance);
        json_member_put(out, "right_a", x.a);
        json_member_put(out, "right_b", x.b);
        json_interval(out, "diff", x.diff);
        json_member_put(out, "above_chance", x.above);
        json_member_put(out, "p", x.p);
        json_close(out, '}');
    }
}
/* A list of what `one` writes of every arm with every arm before it. */
static inline void cmp_json_pairs(Out *out, const Cmp *c, const char *key,
                                  void one(Out *, const Cmp *, size_t a,
                                           size_t b)) {
    json_begin(out, key, '[');
    for (size_t a = 1; a < c->arms; a++)
        for (size_t b = 0; b < a; b++) one(out, c, a, b);
    json_close(out, ']');
}
static inline void cmp_json_to_first(Out *out, const Cmp *c, size_t arm) {
    char key[32];
    json_begin(out, c->name[arm], '{');
    for (int axis = 0; axis < CMP_AXES; axis++) {
        const StatsInterval share = c->mean[arm].to_first[axis];
        json_member_put(out, cmp_axis[axis], share.diff);
        snprintf(key, sizeof key, "%s_lo", cmp_axis[axis]);
        json_member_put(out, key, share.lo);
        snprintf(key, sizeof key, "%s_hi", cmp_axis[axis]);
        json_member_put(out, key, share.hi);
    }
    json_close(out, '}');
}
/* Returns the object as a text, freed by the caller; *n: its bytes. */
static inline char *cmp_json(const Cmp *c, size_t *n) {
    Out out = out_memory();
    Out sentence = out_memory();
    char over[96];
    cmp_sentence(c, &sentence);
    out_char(&out, '{');
    json_member_text(&out, "command", c->command);
    json_member_text(&out, "sentence", out_string(&sentence));
    json_member_text(&out, "unit", cmp_unit(c));
    json_member_text(&out, "interval", cmp_over(c, over));
    json_member_put(&out, "margin", c->margin);
    json_begin(&out, "arms", '[');
    for (size_t k = 0; k < c->arms; k++) cmp_json_arm(&out, c, k);
    json_close(&out, ']');
    cmp_json_pairs(&out, c, "pairs", cmp_json_pair);
    cmp_json_pairs(&out, c, "cloze", cmp_json_cloze);
    json_begin(&out, "time_to_dense", '{');
    for (size_t k = 0; k < c->arms; k++) cmp_json_to_first(&out, c, k);
    json_close(&out, '}');
    out_text(&out, "}\n");
    out_free(&sentence);
    *n = out.n;
    return out_string(&out);
}
#endif
