/* compare.h: dense against sparse arms, over seeds: quality, time, and how sure that is: `train compare`. */
#ifndef COMPARE_H
#define COMPARE_H
#include "../run/help.h"
#include "../run/lock.h"
#include "../run/peak.h"
#include "page.h"
#include "turns.h"

enum { APART = 1000 };              /* the sweep's seed from the first: more than --seeds can be */

/* The learning rate of each arm at which it does best under a seed that no comparison uses: half, once or
 * twice the one it has. Every arm gets the same number of runs. */
static inline void sweep(const Options *common, const char name[][ARM_NAME], size_t n, RunStep *step,
                         DfPool *pool, double *best) {
    enum { RATES = 3 };
    Options data = *common;
    Tokenizer *tok = NULL;
    double rate = 0;
    data.seed += APART;
    Data d = data_read(&data, &tok, 0, true);
    signals_catch();                                        /* a wait for the text ends with the process */
    ArmRun *grid = mem_new(n * RATES, sizeof *grid);
    for (size_t k = 0; k < n * RATES; k++) {
        ArmRun *a = &grid[k];
        const char *arm = name[k / RATES];
        a->o = arm_options(common, arm, APART, tok ? tok->V : common->vocab_size);
        if (k % RATES == 0) {                               /* the rate it has by itself */
            Options ready = a->o;
            gpt_free(state_fresh(&ready, &d, tok).m), rate = ready.lr;
        }
        a->o.lr = rate * (k % RATES == 0 ? 0.5 : (double)(k % RATES));
        gpt_free(state_fresh(&a->o, &d, tok).m);
        snprintf(a->name, sizeof a->name, "%.*s@%.3g", ARM_NAME, arm, a->o.lr);
        a->quiet = common->quiet, a->o.quiet = true;
        a->step = step;
    }
    seed_train(grid, n * RATES, &d, tok, pool);
    for (size_t k = 0; k < n && !interrupted; k++) {
        size_t least = 0;
        printf("sweep  %-8s", name[k]);
        for (size_t i = 0; i < RATES; i++) {
            const ArmRun *a = &grid[k * RATES + i], *b = &grid[k * RATES + least];
            const double loss = cmp_end(&a->kept.curve)->loss;
            printf("  %.3g: %.4f", a->o.lr, loss);
            if (loss < cmp_end(&b->kept.curve)->loss) least = i;
        }
        best[k] = grid[k * RATES + least].o.lr;
        printf("  -> %.3g%s\n", best[k], least == 1 ? "" : ", at the edge: a better one may lie beyond");
    }
    free(grid), tok_free(tok), data_free(&d);
}

/* The arms of the nth seed, trained and scored, at the learning rates that are not NAN. */
static inline void seed_run(const Options *o, const char name[][ARM_NAME], const double *lr, size_t nth,
                            ArmRun *a, size_t n, RunStep *step, DfPool *pool) {
    Options data = *o;
    Tokenizer *tok = NULL;
    data.seed += nth;
    Data d = data_read(&data, &tok, 0, true);
    signals_catch();                                        /* a wait for the text ends with the process */
    for (size_t k = 0; k < n; k++) {
        snprintf(a[k].name, sizeof a[k].name, "%.*s", ARM_NAME, name[k]);
        a[k].o = arm_options(o, name[k], nth, tok ? tok->V : o->vocab_size);
        if (!isnan(lr[k])) a[k].o.lr = lr[k];
        gpt_free(state_fresh(&a[k].o, &d, tok).m);          /* works out the options that are automatic */
        a[k].quiet = o->quiet, a[k].o.quiet = true;
        a[k].step = step;
    }
    seed_train(a, n, &d, tok, pool);
    for (size_t k = 0; k < n && !interrupted; k++) arm_scores(&a[k], &d, pool);
    tok_free(tok), data_free(&d);
}

/* Trains, by that step, and measures what the options ask for; false if it was interrupted. */
static inline bool compare(const Options *o, RunStep *step, Cmp *c) {
    char (*name)[ARM_NAME] = mem_new(ARMS_MAX, sizeof *name);
    double lr[ARMS_MAX];
    const size_t n = arm_names(o, name);
    struct stat st;
    for (size_t k = 0; k < n; k++) arm_check(o, name[k]);
    peak_note();
    for (int k = 0; k < 2; k++) {
        const char *path = k ? o->report : o->json, *end = path ? strrchr(path, '.') : NULL;
        if (end && (!strcmp(end, ".ckpt") || !strcmp(end, ".csv") || !strcmp(end, ".scores")))
            usage("%s: expected a name that is none of a run's files", path);
    }
    const double last = (double)(o->sweep ? APART : o->seeds - 1);
    const double most = options[option_find("seed", COMPARE)].max;
    if ((double)o->seed + last > most || (double)o->mask_seed + last > most)
        usage("--seeds: expected --seed and --mask-seed of the last of them at most %.0f, found %.0f", most,
              fmax((double)o->seed, (double)o->mask_seed) + last);
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s/compare", o->dir) >= PATH_MAX - 32)
        die("%.60s...: expected a shorter path", o->dir);
    for (size_t k = 0; k < o->text.n && (o->sweep || o->seeds > 1); k++)
        file_regular(o->text.item[k]);                      /* each seed reads it again */
    if (mkdir(o->dir, 0777) && errno != EEXIST)
        die_of(o->dir, "make the folder");
    if (stat(o->dir, &st) || !S_ISDIR(st.st_mode)) die("%s: expected a folder, found a file", o->dir);
    lock_take(folder);
    outputs_check(o, (const char *const[]){lock_path()}, 1);
    ArmRun *all = mem_new(n * o->seeds, sizeof *all);
    DfPool *pool = df_begin(o->threads);
    for (size_t k = 0; k < n; k++) lr[k] = NAN;
    if (o->sweep) sweep(o, name, n, step, pool, lr);
    for (size_t s = 0; s < o->seeds && !interrupted; s++)
        seed_run(o, name, lr, s, all + s * n, n, step, pool);
    for (size_t k = 0; k < n && (o->json || o->report) && !interrupted; k++) arm_exhibit(&all[k], pool);
    df_end(pool);
    c->arms = n, c->seeds = o->seeds, c->margin = o->margin;
    c->name = mem_new(n, sizeof *c->name), c->run = mem_new(n * o->seeds, sizeof *c->run);
    for (size_t k = 0; k < n; k++) c->name[k] = name[k];
    for (size_t k = 0; k < n * o->seeds; k++) c->run[k] = all[k].kept;
    c->mean = mem_new(n, sizeof *c->mean);
    for (size_t k = 0; k < n && !interrupted; k++) c->mean[k] = cmp_arm(c, k);
    if (interrupted) printf("interrupted; the same command goes on\n");
    return !interrupted;
}

/* Writes the results as JSON and the page that is made of it; returns the JSON, *n bytes. */
static inline char *compare_write(const Cmp *c, const Options *o, size_t *n) {
    char *text = cmp_json(c, n);
    if (o->json) {
        Out out = out_open(o->json);
        out_bytes(&out, text, *n);
        out_done(&out);
    }
    if (o->report) output_check(o->report, o, o->json), html_report(text, *n, o->report);
    return text;
}

static inline int cmd_compare(int argc, char **argv, RunStep *step) {
    Options *o = options_read(argc, argv, COMPARE, NULL);
    Cmp c = {.command = words_join(argc, (const char *const *)argv)};
    size_t n;
    if (!compare(o, step, &c)) return 3;
    cmp_print_arms(&c), cmp_print_verdicts(&c);
    if (o->items) cmp_print_cloze(&c);
    free(compare_write(&c, o, &n));
    return 0;
}
#endif
