/* turns.h: the runs of a comparison, trained by turns.
 *
 * The arms of a seed train on the same data, always the one that is furthest
 * behind, for a hundredth of its schedule, so that what else the machine does
 * slows all of them alike:
 *
 *     dense     ==1      ==2      ==3      ==4          the hundredths that it
 *     small        ==1      ==2      ==3      ==4       has done
 *     sparse          ==1      ==2      ==3      ==4
 *               time ->
 *
 * At a milestone, each --every steps and at the end, a run is judged and saved.
 * A folder keeps of each run its checkpoint and two files more (kept.h); what
 * it has is not done again.
 *
 *     arm_look -> arm_open -> arm_turn, arm_turn ... -> arm_scores
 *     (folder)    (memory)    (with milestones)        -> arm_exhibit
 *
 * It refuses a folder whose runs were made under other options or from another
 * text.
 *
 * Example: dense is to do 300 steps, sparse 500. A turn is 4 steps of dense and
 * 6 of sparse; when dense is at 8 (2.7 %) and sparse at 12 (2.4 %), sparse is
 * next. */
#ifndef TURNS_H
#define TURNS_H
#include "arms.h"
#include "kept.h"
#include "exhibit.h"
#include "../commands/sample.h"
#include "../judge/measure.h"

/* Medians that a step counts at most: beyond, the process stood still. */
enum { STILL = 8 };

typedef struct {                    /* an arm under a seed */
    char name[ARM_NAME + 16];
    Options o;                      /* always quiet: its words name no arm */
    Run run;                        /* once it is open */
    RunStep *step;
    CmpRun kept;                    /* what the folder has of it */
    CmpPoint now;                   /* what the steps so far have cost */
    bool quiet;                     /* whether nothing is to be said of it */
} ArmRun;

/* ---- the folder ---------------------------------------------------------- */

static const char *arm_path(const ArmRun *a, const char *kind,
                            char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%s-%zu.%s", a->o.dir, a->name, a->o.seed, kind);
    return out;
}

/* Whether option k is worth the same in both, however it was typed. */
static inline bool arm_same(const Options *a, const Options *b, int k) {
    const size_t at = options[k].at;
    const void *x = (const char *)a + at;
    const void *y = (const char *)b + at;
    double density[2][4];
    if (options[k].kind == WHOLE) return *(const size_t *)x == *(const size_t *)y;
    if (options[k].kind == REAL) return *(const double *)x == *(const double *)y;
    if (at == offsetof(Options, block)) return parse_block(a) == parse_block(b);
    if (at == offsetof(Options, mask) && mask_rule(a) < 0 && mask_rule(b) < 0)
        return file_same(a->mask, b->mask);
    if (at == offsetof(Options, spread)) {
        mask_densities(a, a->width, density[0]);
        mask_densities(b, a->width, density[1]);
        return !memcmp(density[0], density[1], sizeof density[0]);
    }
    return !strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Dies if the checkpoint at path was made under other options than the arm has.
 */
static inline void arm_look_options(const ArmRun *a, const Safetensors *st,
                                    const char *path) {
    Options found = a->o;
    char asked[64];
    char here[64];
    options_from_meta(st, path, &found);
    for (int k = 0; k < OPTIONS; k++) {
        if (!options[k].decides || arm_same(&a->o, &found, k)) continue;
        die("%s: --%s: expected %s, found %s: another comparison is in that "
            "folder",
            path, options[k].name, option_text(&a->o, k, asked),
            option_text(&found, k, here));
    }
}
/* What the folder has of the run already: its curve, if there is a checkpoint.
 * Dies if that was made under other options, or on a text with another hash.
 * Scores without a checkpoint are of a run that is gone, and go. */
static inline void arm_look(ArmRun *a, uint64_t hash) {
    char path[PATH_MAX];
    if (!file_there(arm_path(a, "ckpt", path))) {
        if (unlink(arm_path(a, "scores", path)) && errno != ENOENT)
            die_of(path, "remove");
        return;
    }
    Safetensors st = st_read(path);
    arm_look_options(a, &st, path);
    if (strtoull(meta_need(&st, path, "data_hash"), NULL, 16) != hash)
        die("%s: expected a run on this text, found one on another", path);
    const size_t step = meta_size(&st, path, "step", 0, a->o.steps);
    st_free(&st);
    a->kept.curve = cmp_curve_read(arm_path(a, "csv", path), step);
    if (!a->kept.curve.n || cmp_end(&a->kept.curve)->step != step)
        die("%s: expected a line of step %zu, at which its checkpoint is, "
            "found none",
            path, step);
    a->now = *cmp_end(&a->kept.curve);
}

/* Whether its curve has come to its end: the last step, judged, or where it
 * diverged. */
static inline bool arm_done(const ArmRun *a) {
    if (!a->kept.curve.n) return false;
    const CmpPoint *end = cmp_end(&a->kept.curve);
    if (isnan(end->loss)) return false;
    return end->step == a->o.steps || isinf(end->loss);
}

/* ---- one run ------------------------------------------------------------- */

/* Begins a run, or goes on with what the folder has; d and tok must outlive it.
 */
static inline void arm_open(ArmRun *a, const Data *d, Tokenizer *tok,
                            DfPool *pool) {
    char path[PATH_MAX];
    Run *run = &a->run;
    run->d = d;
    if (!file_there(arm_path(a, "ckpt", path)))
        run->s = state_fresh(&a->o, d, tok);
    else {
        run->s = checkpoint_read(path, &a->o, true);
        tok_free(run->s.tok);
        free(run->s.o);
        run->s.tok = tok;
        run->s.o = &a->o;
    }
    run_open(run, pool);
}

/* Counts the time of the steps since the last point. */
static inline void arm_time(ArmRun *a) {
    Run *run = &a->run;
    if (!run->n) return;
    const double median = stats_median(run->took, run->n);
    a->now.step_ms = 1000 * median;
    for (; run->n; run->n--)
        a->now.seconds += fmin(run->took[run->n - 1], STILL * median);
}
/* Saves the run, with its validation loss unless that was interrupted; infinite
 * if it has diverged. */
static inline void arm_milestone(ArmRun *a, bool diverged) {
    char path[PATH_MAX];
    Run *run = &a->run;
    CmpCurve *curve = &a->kept.curve;
    Score val = {0};
    if (!interrupted && !diverged)
        val = evaluate(run->r, run->d, a->o.val_tokens, NULL, NULL);
    if (!interrupted && !isfinite(val.nats)) diverged = true;
    a->now.step = run->s.step;
    a->now.tokens = (double)run->s.step * tokens_per_step(&a->o);
    arm_time(a);
    CmpPoint p = a->now;
    p.loss = val.nats / (double)val.tokens;
    p.bits = score_bits(&val);
    if (diverged || interrupted) {
        p.loss = diverged ? INFINITY : NAN;
        p.bits = p.loss;
    }
    cmp_add(curve, p);
    /* the curve first: a line too many of it is passed over */
    cmp_curve_write(curve, arm_path(a, "csv", path));
    run_save(run, arm_path(a, "ckpt", path));
    if (arm_done(a)) {
        cmp_join(curve);
        cmp_curve_write(curve, arm_path(a, "csv", path));
    }
    if (!a->quiet && !interrupted)
        printf("%sseed %zu  %-8s  step %zu/%zu  loss %.4f  %.4f %s  %.1f ms a "
               "step\n",
               isatty(1) ? "\r\033[K" : "", a->o.seed, a->name, p.step,
               a->o.steps, p.loss, cmp_bits(&p), score_unit(&val), p.step_ms);
    fflush(stdout);
}

/* The last step at which the run was judged: where it stopped it may not have
 * been.
 */
static inline size_t arm_judged(const ArmRun *a) {
    const CmpCurve *curve = &a->kept.curve;
    for (size_t n = curve->n; n > 0; n--)
        if (!isnan(curve->point[n - 1].loss)) return curve->point[n - 1].step;
    return 0;
}
/* Trains for a hundredth of the schedule. */
static inline void arm_turn(ArmRun *a) {
    Run *run = &a->run;
    const size_t steps = a->o.steps;
    const size_t end = size_min(run->s.step + steps / 100 + 1, steps);
    while (!interrupted) {
        const size_t step = run->s.step;
        const bool milestone = step % a->o.every == 0 || step == steps;
        if (milestone && step > arm_judged(a)) arm_milestone(a, false);
        if (step >= end || interrupted || arm_done(a)) break;
        if (!a->step(run)) {
            arm_milestone(a, true);
            break;
        }
        a->now.flops += run->flops;
        a->now.train += run->loss;
    }
}

/* ---- the runs of a seed -------------------------------------------------- */

/* Of its schedule, what it has done. */
static inline double arm_share(const ArmRun *a) {
    return (double)a->run.s.step / (double)a->o.steps;
}
/* The run that is furthest behind of n; NULL if all are done. */
static inline ArmRun *arms_behind(ArmRun *a, size_t n) {
    ArmRun *least = NULL;
    for (size_t k = 0; k < n; k++) {
        if (arm_done(&a[k])) continue;
        if (!least || arm_share(&a[k]) < arm_share(least)) least = &a[k];
    }
    return least;
}
/* Trains n runs by turns. */
static inline void arms_train(ArmRun *a, size_t n, const Data *d,
                              Tokenizer *tok, DfPool *pool) {
    const double start = seconds();
    double from = NAN;                  /* the share that was done before */
    for (size_t k = 0; k < n; k++)
        if (!arm_done(&a[k])) arm_open(&a[k], d, tok, pool);
    while (!interrupted) {
        ArmRun *next = arms_behind(a, n);
        if (!next) break;
        const double share = arm_share(next);
        if (isnan(from)) from = share;
        if (!next->quiet && isatty(1) && share > from) {
            const double passed = seconds() - start;
            const double left = passed * (1 - share) / (share - from);
            progress("seed %zu: %.0f %%, %.0f:%02.0f left", next->o.seed,
                     100 * share, floor(left / 60), floor(fmod(left, 60)));
        }
        arm_turn(next);
    }
    for (size_t k = 0; k < n; k++) {
        if (!a[k].run.r) continue;
        if (interrupted && !arm_done(&a[k])) arm_milestone(&a[k], false);
        run_close(&a[k].run);
        a[k].run.r = NULL;
    }
}

/* Bytes that a run takes while it trains, with a vocabulary of V, by plan. */
static inline double arm_bytes(const Options *o, size_t V) {
    const GptConfig c = {o->layers, o->heads, o->width, V, o->context};
    const bool sparse = masks_at_start(o) && masks_to(o) == o->steps;
    double density[4];
    mask_densities(o, o->width, density);
    const double kept =
        (3 * density[0] + density[1] + 4 * density[2] + 4 * density[3]) / 12;
    return run_bytes(o, &c, sparse ? kept : 1);
}
/* Trains what the folder does not have of n runs on the same data. */
static inline void seed_train(ArmRun *a, size_t n, const Data *d,
                              Tokenizer *tok, DfPool *pool) {
    const uint64_t hash = data_hash(d);
    const double pages = (double)sysconf(_SC_PHYS_PAGES);
    const double have = pages * (double)sysconf(_SC_PAGESIZE);
    double need = data_bytes(d);
    for (size_t k = 0; k < n; k++) {
        arm_look(&a[k], hash);
        a[k].kept.memory = arm_bytes(&a[k].o, tok ? tok->V : a[k].o.vocab_size);
        if (!arm_done(&a[k])) need += a[k].kept.memory;
    }
    const bool together = need < 0.8 * have;
    const size_t group = together ? n : 1;
    if (!together)
        printf("all arms at once need %.1f GiB of memory, the machine has "
               "%.1f: they "
               "train one after the other, and their times are not of the same "
               "minutes\n",
               need / 0x1p30, have / 0x1p30);
    for (size_t k = 0; k < n && !interrupted; k += group)
        arms_train(a + k, group, d, tok, pool);
}

/* ---- finished runs ------------------------------------------------------- */

/* Questions that it is to be asked of each kind: without bytes there are none.
 */
static inline size_t arm_items(const ArmRun *a, const Data *d) {
    return d->bytes ? a->o.items : 0;
}
/* Works out what the model of a finished run is worth and puts that in the
 * folder. False if its loss is not finite: then there is nothing to put. */
static inline bool arm_measure(ArmRun *a, const Data *d, DfPool *pool) {
    char path[PATH_MAX];
    CmpRun *kept = &a->kept;
    const size_t items = arm_items(a, d);
    if (!a->quiet)
        printf("seed %zu  %-8s  is measured on all of the validation text\n", a->o.seed,
               a->name);
    fflush(stdout);
    State s = checkpoint_read(arm_path(a, "ckpt", path), &a->o, false);
    kept->m = measure(&s, a->name, pool, d, a->o.context);
    kept->parameters = (double)parameters(s.m, false);
    kept->active = (double)parameters(s.m, true);
    state_free(&s);
    if (!isfinite(kept->m.val.nats)) {
        measures_free(&kept->m);
        return false;
    }
    if (interrupted) return true;
    arm_path(a, "scores", path);
    cmp_scores_write(kept, path);
    measures_free(&kept->m);
    cmp_scores_read(kept, path, items);     /* the same figures next time */
    return true;
}
/* What a finished run is worth: as in the folder, or worked out and put there.
 */
static inline void arm_scores(ArmRun *a, const Data *d, DfPool *pool) {
    char path[PATH_MAX];
    CmpRun *kept = &a->kept;
    const Score *val = &kept->m.val;
    const size_t items = arm_items(a, d);
    kept->o = &a->o;
    cmp_join(&kept->curve);     /* it may have been killed before it did that */
    bool diverged = isinf(cmp_end(&kept->curve)->loss);
    if (!diverged && !cmp_scores_read(kept, arm_path(a, "scores", path), items))
        diverged = !arm_measure(a, d, pool);
    if (diverged) {
        kept->m = (Measures){.val = {INFINITY, 0, 1}};
        kept->parameters = NAN;
        kept->active = NAN;
    }
    if (a->quiet || interrupted) return;
    printf("seed %zu  %-8s  loss %.4f, %.4f %s on all of the validation text\n",
           a->o.seed, a->name, val->nats / (double)val->tokens, cmp_score(val),
           score_unit(val));
}

/* What there is to see of a finished run's model. */
static inline void arm_exhibit(ArmRun *a, DfPool *pool) {
    char path[PATH_MAX];
    State s = checkpoint_read(arm_path(a, "ckpt", path), &a->o, false);
    Out out = out_memory();
    out.comma = true;                       /* members come before */
    if (s.tok) {
        Out text = out_memory();
        sample(&text, &s, pool, &(GptPrompt){.text = ""}, 200,
               &(GptChoice){0.8, 1, 0}, a->o.seed);
        exhibit_text(&out, "sample", text.text, text.n);
        out_free(&text);
    }
    exhibit_masks(&out, s.m);
    exhibit_pipeline(&out, s.m, &a->o);
    state_free(&s);
    a->kept.exhibit = out_string(&out);
}
#endif
