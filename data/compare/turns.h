/* turns.h: the runs of a comparison, trained by turns.
 *
 * The arms of a seed train on the same data, always the one that is furthest behind, so that what else the
 * machine does slows all of them alike. A folder keeps each arm's checkpoint, curve and scores; what it has
 * is not done again. It refuses a folder whose runs were made under other options or from another text. */
#ifndef TURNS_H
#define TURNS_H
#include "arms.h"
#include "curves.h"
#include "exhibit.h"
#include "../commands/sample.h"
#include "../judge/measure.h"

enum { STILL = 8 };                 /* medians that a step counts at most: beyond, the process stood still */

typedef struct {                    /* an arm under a seed */
    char name[ARM_NAME + 16];
    Options o;
    Run run;                        /* once it is open */
    RunStep *step;
    CmpRun kept;                    /* what the folder has of it */
    CmpPoint now;                   /* what the steps so far have cost */
    bool quiet;                     /* o is quiet always: what a run says of itself would not say which */
} ArmRun;

static const char *arm_path(const ArmRun *a, const char *kind, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%s-%zu.%s", a->o.dir, a->name, a->o.seed, kind);
    return out;
}

/* Whether option k of an arm is worth the same in both, however it was typed. */
static inline bool arm_same(const Options *a, const Options *b, int k) {
    const size_t at = options[k].at;
    const void *x = (const char *)a + at;
    const void *y = (const char *)b + at;
    double density[2][4];
    if (options[k].kind == 'u') return *(const size_t *)x == *(const size_t *)y;
    if (options[k].kind == 'f') return *(const double *)x == *(const double *)y;
    if (at == offsetof(Options, block)) return parse_block(a) == parse_block(b);
    if (at == offsetof(Options, mask) && mask_rule(a) < 0 && mask_rule(b) < 0) return file_same(a->mask, b->mask);
    if (at == offsetof(Options, spread)) {
        mask_densities(a, a->width, density[0]);
        mask_densities(b, a->width, density[1]);
        return !memcmp(density[0], density[1], sizeof density[0]);
    }
    return !strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* What the folder has of the run already: its curve, if there is a checkpoint. Dies if that was made under
 * other options than those that are asked for. Scores without a checkpoint are of a run that is gone, and go;
 * so do the temporary files of a process that was killed. */
static inline void arm_look(ArmRun *a, uint64_t hash) {
    char path[PATH_MAX], asked[64], here[64];
    static const char *const kept[3] = {"ckpt", "csv", "scores"};
    for (size_t k = 0; k < 3; k++) passing_of_dead(arm_path(a, kept[k], path));
    if (access(arm_path(a, "ckpt", path), F_OK)) { unlink(arm_path(a, "scores", path)); return; }
    Safetensors st = st_read(path);
    Options found = a->o;
    options_from_meta(&st, path, &found);
    for (int k = 0; k < OPTIONS; k++) {
        if (!options[k].decides) continue;
        if (!arm_same(&a->o, &found, k))
            die("%s: --%s: expected %s, found %s: another comparison is in that folder", path,
                options[k].name, option_text(&a->o, k, asked), option_text(&found, k, here));
    }
    if (strtoull(meta_need(&st, path, "data_hash"), NULL, 16) != hash)
        die("%s: expected a run on this text, found one on another", path);
    const size_t step = meta_size(&st, path, "step", 0, a->o.steps);
    st_free(&st);
    a->kept.curve = cmp_curve_read(arm_path(a, "csv", path), step);
    if (!a->kept.curve.n || cmp_end(&a->kept.curve)->step != step)
        die("%s: expected a line of step %zu, at which its checkpoint is, found none", path, step);
    a->now = *cmp_end(&a->kept.curve);
}

static inline bool arm_done(const ArmRun *a) {
    const CmpCurve *c = &a->kept.curve;
    return c->n && !isnan(cmp_end(c)->loss) && (cmp_end(c)->step == a->o.steps || isinf(cmp_end(c)->loss));
}

static inline void arm_open(ArmRun *a, const Data *d, Tokenizer *tok, DfPool *pool) {
    char path[PATH_MAX];
    a->run.d = d;
    if (access(arm_path(a, "ckpt", path), F_OK)) a->run.s = state_fresh(&a->o, d, tok);
    else {
        a->run.s = checkpoint_read(path, &a->o, true);
        tok_free(a->run.s.tok), free(a->run.s.o);
        a->run.s.tok = tok, a->run.s.o = &a->o;
    }
    run_open(&a->run, pool);
}

/* Saves the run, with its validation loss unless that was interrupted; infinite if it has diverged. */
static inline void arm_milestone(ArmRun *a, bool diverged) {
    char path[PATH_MAX];
    Run *run = &a->run;
    CmpCurve *c = &a->kept.curve;
    const Score val = interrupted || diverged ? (Score){0} : evaluate(run->r, run->d, a->o.val_tokens, NULL);
    diverged |= !interrupted && !isfinite(val.nats);
    CmpPoint p = a->now;
    p.step = run->s.step, p.tokens = (double)p.step * tokens_per_step(&a->o);
    const double step = stats_median(run->took, run->n);
    if (run->n) p.step_ms = 1000 * step;
    for (; run->n; run->n--) p.seconds += fmin(run->took[run->n - 1], STILL * step);
    a->now = p;
    p.loss = diverged ? INFINITY : interrupted ? NAN : val.nats / (double)val.tokens;
    p.bits = diverged ? INFINITY : interrupted ? NAN : score_bits(&val);
    cmp_add(c, p);
    cmp_curve_write(c, arm_path(a, "csv", path));           /* first: a line too many is passed over */
    run_save(run, arm_path(a, "ckpt", path));
    if (arm_done(a)) cmp_join(c), cmp_curve_write(c, arm_path(a, "csv", path));
    if (!a->quiet && !interrupted)
        printf("%sseed %zu  %-8s  step %zu/%zu  loss %.4f  %.4f %s  %.1f ms a step\n",
               isatty(1) ? "\r\033[K" : "", a->o.seed, a->name, p.step, a->o.steps, p.loss, cmp_bits(&p),
               score_unit(&val), p.step_ms);
    fflush(stdout);
}

/* Trains for a hundredth of the schedule. */
static inline void arm_turn(ArmRun *a) {
    Run *run = &a->run;
    const size_t last = run->s.step + a->o.steps / 100 + 1, end = last < a->o.steps ? last : a->o.steps;
    while (!interrupted) {
        const CmpCurve *c = &a->kept.curve;
        const size_t step = run->s.step;
        size_t n = c->n;
        while (n && isnan(c->point[n - 1].loss)) n--;       /* where it stopped, it may have been judged */
        const size_t done = n ? c->point[n - 1].step : 0;
        if (step > done && (step % a->o.every == 0 || step == a->o.steps)) arm_milestone(a, false);
        if (step >= end || interrupted || arm_done(a)) break;
        if (!a->step(run)) { arm_milestone(a, true); break; }
        a->now.flops += run->flops, a->now.train += run->loss;
    }
}

/* Trains n runs by turns, always the one that is furthest behind, so that what else the machine does slows
 * all of them alike. */
static inline void arms_train(ArmRun *a, size_t n, const Data *d, Tokenizer *tok, DfPool *pool) {
    const double start = seconds();
    double from = NAN;
    for (size_t k = 0; k < n; k++) if (!arm_done(&a[k])) arm_open(&a[k], d, tok, pool);
    while (!interrupted) {
        ArmRun *next = NULL;
        double least = 1;
        for (size_t k = 0; k < n; k++) {
            if (arm_done(&a[k])) continue;
            const double share = (double)a[k].run.s.step / (double)a[k].o.steps;
            if (!next || share < least) next = &a[k], least = share;
        }
        if (!next) break;
        if (isnan(from)) from = least;
        if (!next->quiet && isatty(1) && least > from) {
            const double left = (seconds() - start) * (1 - least) / (least - from);
            progress("seed %zu: %.0f %%, %.0f:%02.0f left", next->o.seed, 100 * least, floor(left / 60),
                     floor(fmod(left, 60)));
        }
        arm_turn(next);
    }
    for (size_t k = 0; k < n; k++) {
        if (!a[k].run.r) continue;
        if (interrupted && !arm_done(&a[k])) arm_milestone(&a[k], false);
        run_close(&a[k].run), a[k].run.r = NULL;
    }
}

/* What a finished run is worth: as in the folder, or worked out and put there. */
static inline void arm_scores(ArmRun *a, const Data *d, DfPool *pool) {
    char path[PATH_MAX];
    CmpRun *kept = &a->kept;
    kept->o = &a->o, cmp_join(&kept->curve);                /* it may have been killed before it did that */
    bool diverged = isinf(cmp_end(&kept->curve)->loss);
    if (!diverged && !cmp_scores_read(kept, arm_path(a, "scores", path), d->bytes ? a->o.items : 0)) {
        State s = checkpoint_read(arm_path(a, "ckpt", path), &a->o, false);
        kept->m = measure(&s, a->name, pool, d, a->o.context);
        kept->parameters = (double)parameters(s.m, false), kept->active = (double)parameters(s.m, true);
        diverged = !isfinite(kept->m.val.nats);
        if (diverged) measures_free(&kept->m);
        else if (!interrupted) {                            /* and read back: the same figures next time */
            cmp_scores_write(kept, arm_path(a, "scores", path)), measures_free(&kept->m);
            cmp_scores_read(kept, path, d->bytes ? a->o.items : 0);
        }
        gpt_free(s.m), tok_free(s.tok), free(s.o);
    }
    if (diverged) kept->m = (Measures){.val = {INFINITY, 0, 1}}, kept->parameters = kept->active = NAN;
    if (!a->quiet && !interrupted)
        printf("seed %zu  %-8s  loss %.4f, %.4f %s on all of the validation text\n", a->o.seed, a->name,
               kept->m.val.nats / (double)kept->m.val.tokens, cmp_score(&kept->m.val),
               score_unit(&kept->m.val));
}

/* What there is to see of a finished run's model. */
static inline void arm_exhibit(ArmRun *a, DfPool *pool) {
    char path[PATH_MAX];
    State s = checkpoint_read(arm_path(a, "ckpt", path), &a->o, false);
    Out out = out_memory();
    out.comma = true;                                       /* members come before */
    if (s.tok) {
        Out text = out_memory();
        sample(&text, &s, pool, &(GptPrompt){.text = ""}, 200, &(GptChoice){0.8, 1, 0}, a->o.seed);
        exhibit_text(&out, "sample", text.text, text.n);
        out_free(&text);
    }
    exhibit_masks(&out, s.m), exhibit_pipeline(&out, s.m, &a->o);
    gpt_free(s.m), tok_free(s.tok), free(s.o);
    a->kept.exhibit = out_string(&out);
}

/* Trains what the folder does not have of n runs on the same data. */
static inline void seed_train(ArmRun *a, size_t n, const Data *d, Tokenizer *tok, DfPool *pool) {
    const uint64_t hash = data_hash(d);
    const double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double need = data_bytes(d);
    for (size_t k = 0; k < n; k++) {
        const Options *o = &a[k].o;
        const GptConfig c = {o->layers, o->heads, o->width, tok ? tok->V : o->vocab_size, o->context};
        const bool sparse = masks_at_start(o) && masks_to(o) == o->steps;
        double density[4];
        mask_densities(o, o->width, density);
        const double kept = (3 * density[0] + density[1] + 4 * density[2] + 4 * density[3]) / 12;
        arm_look(&a[k], hash);
        a[k].kept.memory = run_bytes(o, &c, sparse ? kept : 1);
        if (!arm_done(&a[k])) need += a[k].kept.memory;
    }
    const bool together = need < 0.8 * have;
    if (!together)
        printf("all arms at once need %.1f GiB of memory, the machine has %.1f: they train one after the "
               "other, and their times are not of the same minutes\n",
               need / 0x1p30, have / 0x1p30);
    for (size_t k = 0; k < n && !interrupted; k += together ? n : 1)
        arms_train(a + k, together ? n : 1, d, tok, pool);
}
#endif
