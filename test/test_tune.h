/* test_tune.h: a trained model goes on with another text: with fewer positions,
 * masks taken off or put on. */
#ifndef TEST_TUNE_H
#define TEST_TUNE_H
#include "check.h"
#include "test_train.h"

static State tune_read(const char *name) {
    const Options none = {0};
    return checkpoint_read(file_in(name), &none, true);
}
static void tune_free(State s) {
    gpt_free(s.m);
    tok_free(s.tok);
    free(s.o);
}
/* A run from --init FROM at a rate of 0, so that what comes out is what it began
 * with. */
static void tune_still(const char *from, const char *out, const char *more) {
    CHECK(command("run --init %s --text %s --out %s --steps 2 --batch 3 --lr 0 --quiet %s",
                  file_in(from), file_in("text"), file_in(out), more) == 0,
          "%s %s: %s", from, more, check_line);
}

/* A model of `positions` has the weights of one of more, and as many of its positions;
 * its matrices keep what they kept, or with all, everything. */
static void tune_same(const char *long_one, const char *short_one, size_t positions,
                      bool all) {
    State a = tune_read(long_one);
    State b = tune_read(short_one);
    CHECK(b.m->c.ctx == positions, "%s: %zu positions", short_one, b.m->c.ctx);
    for (size_t k = 0; k < a.m->count; k++) {
        const GptParam *p = &a.m->table[k];
        const GptParam *q = &b.m->table[k];
        float *x = mem_new(gpt_elements(p), sizeof *x);
        float *y = mem_new(gpt_elements(q), sizeof *y);
        gpt_get(p, a.m->w, x);
        gpt_get(q, b.m->w, y);
        CHECK(!memcmp(x, y, gpt_elements(q) * sizeof *x), "%s: other values", q->name);
        const size_t kept = k == WPE || all ? gpt_elements(q) : sp_elements(&p->mat);
        CHECK(sp_elements(&q->mat) == kept, "%s keeps %zu, expected %zu", q->name,
              sp_elements(&q->mat), kept);
        free(x);
        free(y);
    }
    tune_free(a);
    tune_free(b);
}
/* A run from --init in parts has the bits of one without a break. */
static void tune_resumes(const char *from, const char *more) {
    const char *text = file_in("text");
    const char *how = "--steps 6 --batch 3 --layer-decay 0.7 --quiet";
    CHECK(command("run --init %s --text %s --out %s %s %s", file_in(from), text,
                  file_in("whole"), how, more) == 0, "%s", check_line);
    CHECK(command("run --init %s --text %s --out %s --stop 2 %s %s", file_in(from), text,
                  file_in("parts"), how, more) == 0, "%s", check_line);
    CHECK(command("run --text %s --resume %s --quiet", text, file_in("parts")) == 0, "%s",
          check_line);
    check_equal(file_in("whole"), file_in("parts"));
    outside("rm %s/whole* %s/parts*", folder, folder);
}

static void test_tune(void) {
    folder_begin();
    const char *text = file_in("text");
    make_text(text, 20000);
    CHECK(command("run --text %s --out %s " SMALL, text, file_in("dense")) == 0, "%s",
          check_line);
    CHECK(command("convert %s %s", file_in("dense"), file_in("gpt2-dir")) == 0, "%s",
          check_line);
    CHECK(command("run --text %s --out %s --sparsity 0.75 " SMALL, text,
                  file_in("sparse")) == 0, "%s", check_line);
    tune_still("gpt2-dir", "shorter", "--context 10");
    tune_same("dense", "shorter", 10, false);
    tune_still("sparse", "brief", "--context 16");
    tune_same("sparse", "brief", 16, false);
    tune_still("sparse", "lifted", "--context 7 --densify 1");
    tune_same("sparse", "lifted", 7, true);
    tune_resumes("gpt2-dir", "--context 10 --sparsity 0.5 --mask magnitude");
    tune_resumes("sparse", "--context 10 --densify 1");
    tune_resumes("sparse", "--context 17");
    check_refused("expected at most the 24 positions",
                  "run --init %s --text %s --context 25 --out %s", file_in("gpt2-dir"),
                  text, file_in("none"));
    check_refused("--densify needs --sparsity",
                  "run --init %s --text %s --densify 0.5 --out %s", file_in("sparse"),
                  text, file_in("none"));
    folder_end();
}
#endif
