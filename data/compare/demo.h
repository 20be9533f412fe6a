/* demo.h: the demonstration: `train` without a command. */
#ifndef DEMO_H
#define DEMO_H
#include "compare.h"

static inline void demo_line(const char *what, int digits, double dense, double sparse) {
    printf("%-42s %10.*f %10.*f\n", what, digits, dense, digits, sparse);
}

/* What came of it; all: the same as JSON. */
static inline void demo_print(const Cmp *c, Json all) {
    const CmpArm d = c->mean[0], s = c->mean[1];
    const StatsInterval diff = cmp_difference(c, 1, 0, CMP_TOKENS);
    char key[2][64], what[64];
    printf("\n%-42s %10s %10s\n", "", "dense", "sparse");
    demo_line("numbers kept, million", 2, c->run[0].active / 1e6, c->run[1].active / 1e6);
    demo_line("memory while training, MiB", 0, c->run[0].memory / 0x1p20, c->run[1].memory / 0x1p20);
    demo_line("loss on stories never seen, bits/byte", 4, d.bits, s.bits);
    demo_line("  95 % interval, +-", 4, (d.hi - d.lo) / 2, (s.hi - s.lo) / 2);
    demo_line("  above the floor that no model can beat", 4, d.bits - d.floor, s.bits - s.floor);
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze x = cmp_cloze(c, 1, 0, kind);
        snprintf(what, sizeof what, "%s, %% right (by chance %.0f)", cloze_kinds[kind], 100 * x.chance);
        for (char *p = what; *p; p++) if (*p == '_') *p = ' ';
        if (x.items && x.above) demo_line(what, 1, 100 * x.b, 100 * x.a);
    }
    demo_line("a training step, ms", 1, d.step_ms, s.step_ms);
    demo_line("all of the training, s", 1, d.seconds, s.seconds);
    for (int k = 0; k < 2; k++) {
        for (int arm = 0; arm < 2; arm++)
            snprintf(key[arm], sizeof key[arm], "arms/%d/pipeline/%s/bytes_per_token", arm,
                     k ? "dataflow" : "kernel");
        demo_line(k ? "  streamed through the chip" : "off chip by stages, KB/token (simulated)", 1,
                  json_real(json_at(all, key[0])) / 1e3, json_real(json_at(all, key[1])) / 1e3);
    }
    char *sentence = html_raw(json_at(all, "sentence"));
    printf("\n%s\n\nsparse less dense: %+.4f bits/byte, 95 %% interval %+.4f .. %+.4f\n"
           "with a margin of %g: %s; a step of sparse is %.2fx as fast\n",
           sentence, diff.diff, diff.lo, diff.hi, c->margin, stats_verdict(diff, c->margin), d.step_ms / s.step_ms);
    free(sentence);
    for (int arm = 0; arm < 2; arm++) {
        snprintf(key[0], sizeof key[0], "arms/%d/sample", arm);
        char *text = html_raw(json_at(all, key[0]));
        Out out = out_standard();
        out_print(&out, "\n%s:\n\n", c->name[arm]);
        show(&out, text, strlen(text));
        out_char(&out, '\n');
        out_done(&out);
        free(text);
    }
}

/* Trains a dense and a sparse model on the built-in stories, through the dataflow schedule. A third wider
 * and at 5 times the learning rate, the sparse one is as good as the other with a third of its numbers. */
static inline int cmd_demo(int argc, char **argv, RunStep *step) {
    static const char line[] =
        "compare --arms dense,sparse --layers 3 --heads 3 --width 192 --vocab 512 --context 128 --batch 16 "
        "--corpus 4000000 --steps 450 --every 45 --val-tokens 8192 --items 1000 --arm dense:lr=0.003 "
        "sparse:width=256,heads=4,lr=0.016 --schedule dataflow --out sparseflow-demo "
        "--json sparseflow-demo/results.json --report sparseflow-demo/report.html";
    char *word[64], *words = text_copy(line);
    size_t n = 0;
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) word[n++] = w;
    Cmp c = {.command = words_join((int)n, (const char *const *)word)};
    Options *o = options_read((int)n, word, COMPARE, NULL);
    for (int k = 0; k < 2; k++) {
        const char *file = k ? o->json : o->report;
        if (!access(file, F_OK) && access("sparseflow-demo/dense-1.ckpt", F_OK))
            die("%s: is not of the demonstration, which would write over it", file);
    }
    printf("Two GPTs learn to tell stories, by turns: a dense one, and one that is a third wider, but of\n"
           "whose weights seven in eight do not exist. Two to three minutes on two cores. All files are in\n"
           "sparseflow-demo/; if it is interrupted, the same command goes on.\n\n");
    mkdir(o->dir, 0777);                                    /* if it cannot be, compare says so */
    if (!compare(o, step, &c)) return 3;
    char *json = compare_write(&c, o, &n);
    demo_print(&c, json_open((const uint8_t *)json, n, o->json));
    printf("\nThe whole comparison as a page: %s. Next:\n\n"
           "    %s sample sparseflow-demo/sparse-1.ckpt --prompt \"One day\"\n"
           "    %s run --text input.txt --out my.ckpt --sparsity 0.875\n"
           "    %s compare --text input.txt --arms dense,sparse --out mine --report mine.html\n",
           o->report, argv[0], argv[0], argv[0]);
    (void)argc, free(json), free(o);
    return 0;
}
#endif
