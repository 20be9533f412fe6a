/* compare.h: dense against sparse arms, over seeds: quality, time, and how sure
 * that is: `train compare`.
 *
 *     names of the arms, their options           arms.h
 *     the folder, locked
 *     --sweep: each arm at three rates  ---+
 *     each seed: its data, its arms     ---+---> trained by turns    turns.h
 *                                                at equal cost       curves.h
 *     tables and JSON                            results.h
 *     the page, made of that JSON                page.h
 *
 * Bad options are found before anything is read or trained. It refuses to
 * choose rates on the seeds that it compares: the sweep has a seed of its own.
 *
 * Example: --arms dense,sparse --seeds 3 --sweep trains 6 runs under seed 1001,
 * then 2 under each of the seeds 1, 2 and 3 at the rates that did best. */
#ifndef COMPARE_H
#define COMPARE_H
#include "../run/help.h"
#include "../run/lock.h"
#include "../run/peak.h"
#include "page.h"
#include "results.h"
#include "turns.h"
#include <dirent.h>

/* The sweep's seed from the first: more than --seeds can be. */
enum { APART = 1000 };

/* ---- training ------------------------------------------------------------ */

/* The text of the nth seed, with its vocabulary. */
static inline Data seed_data(const Options *o, size_t nth, Tokenizer **tok) {
    Options of_seed = *o;
    of_seed.seed += nth;
    const Data d = data_read(&of_seed, tok, 0, true);
    signals_catch();            /* a wait for the text ends with the process */
    return d;
}
/* An arm under the nth seed, before it has trained. lr: its learning rate, NAN
 * for the one that it has by itself. */
static inline void arm_begin(ArmRun *a, const Options *o, const char *name,
                             size_t nth, const Data *d, Tokenizer *tok,
                             double lr, RunStep *step) {
    snprintf(a->name, sizeof a->name, "%.*s", ARM_NAME, name);
    a->o = arm_options(o, name, nth, tok ? tok->V : o->vocab_size);
    if (!isnan(lr)) a->o.lr = lr;
    gpt_free(state_fresh(&a->o, d, tok).m);     /* sets what is automatic */
    a->quiet = o->quiet;
    a->o.quiet = true;
    a->step = step;
}

enum { RATES = 3 };             /* of a sweep, for each arm */

/* The best of the rates of an arm that has trained with all of them. */
static inline double sweep_best(const char *name, const ArmRun grid[RATES]) {
    size_t best = 0;
    double least = INFINITY;
    printf("sweep  %-8s", name);
    for (size_t i = 0; i < RATES; i++) {
        const double loss = cmp_end(&grid[i].kept.curve)->loss;
        printf("  %.3g: %.4f", grid[i].o.lr, loss);
        if (loss < least) {
            least = loss;
            best = i;
        }
    }
    printf("  -> %.3g%s\n", grid[best].o.lr,
           best == 1 ? "" : ", at the edge: a better one may lie beyond");
    return grid[best].o.lr;
}
/* The learning rate of each of n arms at which it does best under a seed that
 * no comparison uses: half, once or twice the one it has. Every arm gets the
 * same number of runs. */
static inline void sweep(const Options *o, const char name[][ARM_NAME],
                         size_t n, RunStep *step, DfPool *pool, double *best) {
    static const double factor[RATES] = {0.5, 1, 2};
    Tokenizer *tok = NULL;
    Data d = seed_data(o, APART, &tok);
    ArmRun *grid = mem_new(n * RATES, sizeof *grid);            /* [n][RATES] */
    for (size_t k = 0; k < n; k++) {
        ArmRun own = {0};
        arm_begin(&own, o, name[k], APART, &d, tok, NAN, step);
        for (size_t i = 0; i < RATES; i++) {
            ArmRun *a = &grid[k * RATES + i];
            const double lr = own.o.lr * factor[i];
            arm_begin(a, o, name[k], APART, &d, tok, lr, step);
            snprintf(a->name, sizeof a->name, "%.*s@%.3g", ARM_NAME, name[k],
                     lr);
        }
    }
    seed_train(grid, n * RATES, &d, tok, pool);
    for (size_t k = 0; k < n && !interrupted; k++)
        best[k] = sweep_best(name[k], grid + k * RATES);
    for (size_t k = 0; k < n * RATES; k++) cmp_run_free(&grid[k].kept);
    free(grid);
    tok_free(tok);
    data_free(&d);
}

/* The n arms of the nth seed, trained and scored, at these learning rates. */
static inline void seed_run(const Options *o, const char name[][ARM_NAME],
                            const double *lr, size_t nth, ArmRun *a, size_t n,
                            RunStep *step, DfPool *pool) {
    Tokenizer *tok = NULL;
    Data d = seed_data(o, nth, &tok);
    for (size_t k = 0; k < n; k++)
        arm_begin(&a[k], o, name[k], nth, &d, tok, lr[k], step);
    seed_train(a, n, &d, tok, pool);
    for (size_t k = 0; k < n && !interrupted; k++) arm_scores(&a[k], &d, pool);
    tok_free(tok);
    data_free(&d);
}

/* ---- refusals ------------------------------------------------------------ */

/* Dies if results would have the name of a file that a run keeps. */
static inline void compare_check_name(const char *path) {
    const char *end = path ? strrchr(path, '.') : NULL;
    if (end && (!strcmp(end, ".ckpt") || !strcmp(end, ".csv") ||
                !strcmp(end, ".scores")))
        usage("%s: expected a name that is none of a run's files", path);
}
/* Dies if the last seed would be larger than a seed can be. */
static inline void compare_check_seeds(const Options *o) {
    const double most = options[option_find("seed", COMPARE)].max;
    const double last = (double)(o->sweep ? APART : o->seeds - 1);
    const double seed = (double)o->seed + last;
    const double mask_seed = (double)o->mask_seed + last;
    if (seed > most || mask_seed > most)
        usage("--seeds: expected --seed and --mask-seed of the last of them at "
              "most "
              "%.0f, found %.0f",
              most, fmax(seed, mask_seed));
}
/* Removes what a process that was killed here, if one was, has left of any run. */
static inline void compare_clean(const char *folder) {
    char end[32];
    if (!passing.dead) return;
    const size_t n = (size_t)snprintf(end, sizeof end, ".%ld.tmp", passing.dead);
    DIR *d = opendir(folder);
    if (!d) die_of(folder, "read");
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        const size_t length = strlen(e->d_name);
        if (length > n && !strcmp(e->d_name + length - n, end))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}
/* Makes the folder, if it is not there, and takes it. */
static inline void compare_folder(const Options *o) {
    char lock[PATH_MAX];
    struct stat st;
    if (snprintf(lock, sizeof lock, "%s/compare", o->dir) >= PATH_MAX - 32)
        die("%.60s...: expected a shorter path", o->dir);
    const bool again = o->sweep || o->seeds > 1;    /* each seed reads them */
    for (size_t k = 0; k < o->text.n; k++) {
        if (access(o->text.item[k], R_OK)) die_of(o->text.item[k], "open");
        if (again) file_regular(o->text.item[k]);
    }
    if (mkdir(o->dir, 0777) && errno != EEXIST)
        die_of(o->dir, "make the folder");
    if (!file_stat(o->dir, &st) || !S_ISDIR(st.st_mode))
        die("%s: expected a folder, found a file", o->dir);
    lock_take(lock);
    compare_clean(o->dir);
    outputs_check(o, (const char *const[]){lock_path()}, 1);
}

/* ---- the comparison ------------------------------------------------------ */

typedef struct {
    Cmp c;                          /* the figures, and what they point into: */
    char name[ARMS_MAX][ARM_NAME];
    ArmRun *run;                    /* [seeds][arms] */
} Comparison;

static inline void compare_free(Comparison *x) {
    for (size_t k = 0; k < x->c.arms * x->c.seeds; k++) cmp_run_free(&x->c.run[k]);
    free(x->c.name);
    free(x->c.run);
    free(x->c.mean);
    free(x->c.command);
    free(x->run);
}
/* Trains, by that step, and measures what the options ask for; false if it was
 * interrupted. Freed by compare_free. */
static inline bool compare(const Options *o, RunStep *step, Comparison *x) {
    Cmp *c = &x->c;
    char (*name)[ARM_NAME] = x->name;
    const size_t n = arm_names(o, name);
    double lr[ARMS_MAX];
    for (size_t k = 0; k < n; k++) arm_check(o, name[k]);
    peak_note();
    compare_check_name(o->json);
    compare_check_name(o->report);
    compare_check_seeds(o);
    compare_folder(o);

    ArmRun *all = x->run = mem_new(n * o->seeds, sizeof *all);
    DfPool *pool = df_begin(o->threads);
    for (size_t k = 0; k < n; k++) lr[k] = NAN;
    if (o->sweep) sweep(o, name, n, step, pool, lr);
    for (size_t s = 0; s < o->seeds && !interrupted; s++)
        seed_run(o, name, lr, s, all + s * n, n, step, pool);
    const bool seen = o->json || o->report;
    for (size_t k = 0; k < n && seen && !interrupted; k++)
        arm_exhibit(&all[k], pool);
    df_end(pool);

    c->arms = n;
    c->seeds = o->seeds;
    c->margin = o->margin;
    c->name = mem_new(n, sizeof *c->name);
    c->run = mem_new(n * o->seeds, sizeof *c->run);
    c->mean = mem_new(n, sizeof *c->mean);
    for (size_t k = 0; k < n; k++) c->name[k] = name[k];
    for (size_t k = 0; k < n * o->seeds; k++) c->run[k] = all[k].kept;
    for (size_t k = 0; k < n && !interrupted; k++) c->mean[k] = cmp_arm(c, k);
    if (interrupted) printf("interrupted; the same command goes on\n");
    return !interrupted;
}

/* Writes the results as JSON and the page that is made of it; returns the JSON,
 * *n bytes, freed by the caller. */
static inline char *compare_write(const Cmp *c, const Options *o, size_t *n) {
    char *text = cmp_json(c, n);
    if (o->json) {
        Out out = out_open(o->json);
        out_bytes(&out, text, *n);
        out_done(&out);
    }
    if (o->report) {
        output_check(o->report, o, o->json);
        html_report(text, *n, o->report);
    }
    return text;
}

static inline int cmd_compare(int argc, char **argv, RunStep *step) {
    Options *o = options_read(argc, argv, COMPARE, NULL);
    Comparison x = {.c.command = words_join(argc, (const char *const *)argv)};
    const Cmp *c = &x.c;
    size_t n;
    const bool ended = compare(o, step, &x);
    if (ended) {
        cmp_print_losses(c);
        cmp_print_costs(c);
        cmp_print_curves(c);
        cmp_print_verdicts(c);
        if (o->items) cmp_print_cloze(c);
        free(compare_write(c, o, &n));
    }
    compare_free(&x);
    options_free(o);
    return ended ? 0 : 3;
}
#endif
