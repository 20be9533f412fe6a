/* demo.h: the demonstration: `train` without a command.
 *
 * It is a comparison like any other, with its options fixed:
 *
 *     demo_line -> options -> compare -> a table in plain words
 *                                     -> sparseflow-demo/report.html
 *                                     -> what to type next
 *
 * Of the same shape and at 4 times the learning rate, the sparse model is as
 * good as the other with a third of its numbers. It refuses to write over files
 * that are not its own.
 *
 * Example: a line of the table, a figure of each model,
 *
 *     loss on stories never seen, bits/byte          0.5138     0.5148 */
#ifndef DEMO_H
#define DEMO_H
#include "compare.h"

/* ---- the table ----------------------------------------------------------- */

static inline void demo_row(const char *what, int digits, double dense,
                            double sparse) {
    printf("%-42s %10.*f %10.*f\n", what, digits, dense, digits, sparse);
}
/* Bytes off chip a token, in KB, of an arm's simulated step; way: dataflow or
 * kernel. */
static inline double demo_off_chip(Json all, int arm, const char *way) {
    char key[64];
    snprintf(key, sizeof key, "arms/%d/pipeline/%s/bytes_per_token", arm, way);
    return json_real(json_at(all, key)) / 1e3;
}
static inline void demo_cloze(const Cmp *c) {
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze x = cmp_cloze(c, 1, 0, kind);
        char what[64];
        if (!x.items || !x.above) continue;
        snprintf(what, sizeof what, "%s, %% right (by chance %.0f)",
                 cloze_kinds[kind], 100 * x.chance);
        for (char *p = what; *p; p++)
            if (*p == '_') *p = ' ';
        demo_row(what, 1, 100 * x.b, 100 * x.a);
    }
}
static inline void demo_samples(const Cmp *c, Json all) {
    for (int arm = 0; arm < 2; arm++) {
        char key[64];
        snprintf(key, sizeof key, "arms/%d/sample", arm);
        char *text = html_raw(json_at(all, key));
        Out out = out_standard();
        out_print(&out, "\n%s:\n\n", c->name[arm]);
        show(&out, text, strlen(text));
        out_char(&out, '\n');
        out_done(&out);
        free(text);
    }
}
/* What came of it; all: the same as JSON. */
static inline void demo_print(const Cmp *c, Json all) {
    const CmpArm *d = &c->mean[0];
    const CmpArm *s = &c->mean[1];
    const StatsInterval diff = cmp_difference(c, 1, 0, CMP_TOKENS);
    char *sentence = html_raw(json_at(all, "sentence"));
    printf("\n%-42s %10s %10s\n", "", "dense", "sparse");
    demo_row("numbers kept, million", 2, c->run[0].active / 1e6,
             c->run[1].active / 1e6);
    demo_row("memory while training, MiB", 0, c->run[0].memory / 0x1p20,
             c->run[1].memory / 0x1p20);
    demo_row("loss on stories never seen, bits/byte", 4, d->bits, s->bits);
    demo_row("  95 % interval, +-", 4, (d->hi - d->lo) / 2,
             (s->hi - s->lo) / 2);
    demo_row("  above the floor that no model can beat", 4, d->bits - d->floor,
             s->bits - s->floor);
    demo_cloze(c);
    demo_row("a training step, ms", 1, d->step_ms, s->step_ms);
    demo_row("all of the training, s", 1, d->seconds, s->seconds);
    demo_row("off chip by stages, KB/token (simulated)", 1,
             demo_off_chip(all, 0, "kernel"), demo_off_chip(all, 1, "kernel"));
    demo_row("  streamed through the chip", 1,
             demo_off_chip(all, 0, "dataflow"),
             demo_off_chip(all, 1, "dataflow"));
    putchar('\n');
    help_wrap(sentence, 0, 0);
    printf("\nsparse less dense: %+.4f bits/byte, ", diff.diff);
    printf("95 %% interval %+.4f .. %+.4f\n", diff.lo, diff.hi);
    printf("with a margin of %g: %s; a step of sparse is %.2fx as fast\n",
           c->margin, stats_verdict(diff, c->margin), d->step_ms / s->step_ms);
    free(sentence);
    demo_samples(c, all);
}

/* ---- the command --------------------------------------------------------- */

static const char demo_line[] =
    "compare --arms dense,sparse --layers 3 --heads 3 --width 192 --vocab 512 "
    "--context 128 --batch 16 --corpus 4000000 --steps 450 --every 45 "
    "--val-tokens 8192 --items 1000 --arm dense:lr=0.003 "
    "sparse:sparsity=0.75,lr=0.012 --schedule dataflow "
    "--out sparseflow-demo --json sparseflow-demo/results.json "
    "--report sparseflow-demo/report.html";

/* Dies if there is a file that the demonstration would write, and is not its
 * own. */
static inline void demo_check(const char *path) {
    const bool ours = file_there("sparseflow-demo/dense-1.ckpt");
    if (!ours && file_there(path))
        die("%s: is not of the demonstration, which would write over it", path);
}
/* Says what came of it, writes the page, and what to type next; train: how the
 * program was called. */
static inline void demo_tell(const Options *o, const Cmp *c, const char *train) {
    size_t n;
    char *json = compare_write(c, o, &n);
    demo_print(c, json_open((const uint8_t *)json, n, o->json));
    printf("\nThe whole comparison as a page: %s. Next:\n\n"
           "    %s sample sparseflow-demo/sparse-1.ckpt --prompt \"One day\"\n"
           "    %s run --text input.txt --out my.ckpt --sparsity 0.875\n"
           "    %s compare --text input.txt --arms dense,sparse --out mine "
           "--report mine.html\n",
           o->report, train, train, train);
    free(json);
}
/* Trains a dense and a sparse model on the built-in stories, through the
 * dataflow schedule. Returns 3 if it was interrupted. */
static inline int cmd_demo(const char *train, RunStep *step) {
    char *word[64];
    char *words = text_copy(demo_line);     /* the options point into it */
    size_t n = 0;
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) word[n++] = w;
    Comparison x = {.c.command = words_join((int)n, (const char *const *)word)};
    Options *o = options_read((int)n, word, COMPARE, NULL);
    demo_check(o->report);
    demo_check(o->json);
    printf("Two GPTs of one shape learn to tell stories, by turns: a dense one, and\n"
           "one in whose layers three in four weights do not exist. One to three\n"
           "minutes on two cores. All files are in sparseflow-demo/; if it is\n"
           "interrupted, the same command goes on.\n\n");
    mkdir(o->dir, 0777);                    /* if that fails, compare says so */
    const bool ended = compare(o, step, &x);
    if (ended) demo_tell(o, &x.c, train);
    compare_free(&x);
    options_free(o);
    free(words);
    return ended ? 0 : 3;
}
#endif
