/* test_compare.h: curves at equal cost and what follows from them, by hand; and `compare` from the inside:
 * interrupted at any moment and gone on with it leaves the bits of one without a break, which are those of
 * `run`. */
#ifndef TEST_COMPARE_H
#define TEST_COMPARE_H
#include "check.h"
#include "test_train.h"
#include <sys/time.h>

/* A curve of points (cost, bits); what it cost is the same on every axis. */
static CmpCurve curve_of(size_t n, const double (*xy)[2]) {
    CmpCurve c = {0};
    for (size_t k = 0; k < n; k++) {
        const double x = xy[k][0];
        cmp_add(&c, (CmpPoint){(size_t)x, x, x, x, 2 * x, 5, xy[k][1] * NATS_PER_BIT, xy[k][1]});
    }
    return c;
}
static bool near(double a, double b) { return fabs(a - b) < 1e-12; }

static void test_curves(void) {
    const CmpCurve sparse = curve_of(2, (double[][2]){{20, 5}, {35, 3.5}}),
                   dense = curve_of(3, (double[][2]){{30, 5.5}, {60, 4.6}, {100, 4}}),
                   lost = curve_of(3, (double[][2]){{10, 6}, {20, 5}, {20, INFINITY}});
    CHECK(near(cmp_at(&dense, CMP_TIME, 35), 5.35), "dense after 35: %g", cmp_at(&dense, CMP_TIME, 35));
    CHECK(near(cmp_at(&dense, CMP_FLOPS, 60), 4.6), "on a point: %g", cmp_at(&dense, CMP_FLOPS, 60));
    CHECK(near(cmp_at(&dense, CMP_TOKENS, 30), 5.5), "on the first: %g", cmp_at(&dense, CMP_TOKENS, 30));
    CHECK(near(cmp_at(&dense, CMP_TIME, 100), 4), "at the end: %g", cmp_at(&dense, CMP_TIME, 100));
    CHECK(isnan(cmp_at(&dense, CMP_TIME, 29)), "before the first point: %g", cmp_at(&dense, CMP_TIME, 29));
    CHECK(near(cmp_when(&sparse, CMP_TIME, 4), 30), "sparse at 4 bits: %g", cmp_when(&sparse, CMP_TIME, 4));
    CHECK(near(cmp_when(&sparse, CMP_TIME, 5), 20), "on a point: %g", cmp_when(&sparse, CMP_TIME, 5));
    CHECK(near(cmp_when(&sparse, CMP_TIME, 9), 20), "before all: %g", cmp_when(&sparse, CMP_TIME, 9));
    CHECK(isnan(cmp_when(&sparse, CMP_TIME, 3)), "never: %g", cmp_when(&sparse, CMP_TIME, 3));
    CHECK(isnan(cmp_when(&sparse, CMP_TIME, INFINITY)), "as low as a run that diverged");
    CHECK(isnan(cmp_when(&lost, CMP_TIME, 4)) && isinf(cmp_at(&lost, CMP_TIME, 20)), "a run that diverged");
    free(sparse.point), free(dense.point), free(lost.point);
}

/* Two arms, two seeds: sparse is better by 0.5 and 0.7 at the ends, t(0.975, 1) = 12.706. */
static void test_arms(void) {
    const char *name[2] = {"dense", "sparse"};
    Score part[2] = {{100, 50, 10}, {90, 50, 10}};
    CmpRun run[4] = {{.curve = curve_of(2, (double[][2]){{50, 5}, {100, 4}})},
                     {.curve = curve_of(2, (double[][2]){{25, 4.5}, {100, 3.5}})},
                     {.curve = curve_of(2, (double[][2]){{50, 5}, {100, 4.4}})},
                     {.curve = curve_of(2, (double[][2]){{25, 4.9}, {100, 3.7}})}};
    run[3].curve.point[1].flops = 45;                       /* 25 + 20 (4.9 - 4.4) / (4.9 - 3.7) at 4.4 */
    const Cmp c = {.arms = 2, .seeds = 2, .name = name, .run = run},
              one = {.arms = 2, .seeds = 1, .name = name, .run = run};
    for (size_t k = 0; k < 4; k++) {
        run[k].m.val = (Score){cmp_end(&run[k].curve)->bits * NATS_PER_BIT * 1000, 1000, 400};
        run[k].m.parts = (Parts){.part = part + k % 2, .n = 1};
    }
    StatsInterval s = cmp_difference(&c, 1, 0, CMP_TOKENS);
    CHECK(near(s.diff, -0.6) && fabs(s.hi - s.diff - 12.7062047 * 0.1) < 1e-6, "%g .. %g", s.diff, s.hi);
    const CmpArm a = cmp_arm(&c, 1);
    CHECK(near(a.bits, 3.6) && near(a.loss, 3.6 * NATS_PER_BIT * 2.5), "means: %g, %g", a.bits, a.loss);
    CHECK(near(a.to_first[CMP_TIME].diff, (0.625 + 0.5625) / 2), "time to dense: %g", a.to_first[CMP_TIME].diff);
    CHECK(fabs(a.to_first[CMP_TIME].hi - a.to_first[CMP_TIME].diff - 12.7062047 * 0.03125) < 1e-6,
          "time to dense, at most: %g", a.to_first[CMP_TIME].hi);
    CHECK(a.step_ms == 5 && a.seconds == 100 && a.flops == 72.5, "%g ms, %g s", a.step_ms, a.seconds);
    CHECK(near(a.to_first[CMP_FLOPS].diff, (0.625 + 1 / 3.0) / 2), "FLOPs to dense: %g", a.to_first[CMP_FLOPS].diff);
    CHECK(near(cmp_arm(&c, 0).to_first[CMP_FLOPS].diff, 1), "dense comes by its own loss at its end");

    s = cmp_difference(&one, 1, 0, CMP_TIME);               /* one part: nothing to draw from */
    CHECK(near(s.diff, -10 / NATS_PER_BIT / 50) && isinf(s.hi), "one seed: %g .. %g", s.diff, s.hi);
    run[1].curve.point[1].seconds = 80;                     /* dense had 4.4 by then */
    s = cmp_difference(&one, 1, 0, CMP_TIME);
    CHECK(near(s.diff, -0.9) && isinf(s.lo), "at equal time: %g from %g", s.diff, s.lo);
    run[3].m.val.nats *= 2;                                 /* the ends of one seed alone do not count */
    s = cmp_difference(&c, 1, 0, CMP_TIME);
    CHECK(near(s.diff, -0.8), "at equal time, ends of one seed equal: %g", s.diff);
    for (size_t k = 0; k < 4; k++) free(run[k].curve.point);
}

static void test_curve_file(void) {
    const char *path = file_in("curve");
    CmpCurve c = curve_of(4, (double[][2]){{1, 1.0 / 3}, {2, 0.1}, {3, NAN}, {4, INFINITY}});
    cmp_curve_write(&c, path);
    CmpCurve d = cmp_curve_read(path, 4), part = cmp_curve_read(path, 2);
    CHECK(d.n == 4 && part.n == 2, "%zu and %zu points", d.n, part.n);
    CHECK(d.point[0].bits == c.point[0].bits && d.point[1].train == 4, "a point changed on disk");
    CHECK(isnan(d.point[2].loss) && isinf(d.point[3].loss), "what is not finite changed on disk");
    static const char *const bad[] = {"1,2,3\n", "1,2,3,4,5,6,7,x\n", "1,2,3,4,5,6,7,8,9\n",
                                      "1,2,3,4,5,6,7,8"};
    for (size_t k = 0; k < 4; k++) {
        char text[300];
        snprintf(text, sizeof text, "%s%s", cmp_head, bad[k]);
        file_put(path, text, strlen(text));
        CHECK(DIES(cmp_curve_read(path, 9)) && strstr(check_line, "line 2"), "%zu: %s", k, check_line);
    }
    file_put(path, "step\n", 5);
    CHECK(DIES(cmp_curve_read(path, 9)) && strstr(check_line, "line 1"), "%s", check_line);
    free(c.point), free(d.point), free(part.point);
}

#define SHAPED                                                                                               \
    "--vocab 260 --layers 2 --heads 2 --width 32 --context 24 --batch 3 --steps 16 --every 4 --quiet "       \
    "--val-tokens 500 "
#define COMPARED                                                                                             \
    SHAPED "--text %s --items 20 --arms dense,small,sparse,mine --seeds 2 --threads 1 "                      \
           "--arm mine:sparsity=0.5,update=rigl,mask-every=6 "

/* What a model is worth comes back from its file, unless other items are wanted. */
static void test_scores_file(void) {
    Score part[2] = {{1.5, 70, 20}, {2.5, 80, 21}};
    ClozeItem item[3] = {{.kind = 1, .right = true, .chance = 0.25}, {.kind = 2, .chance = 0.5}};
    CmpRun a = {.m = {.val = {4, 150, 41}, .train = {3, 140, 40}, .parts = {part, 2, true, NULL},
                      .floor = 0.5, .wanted = 9,
                      .cloze = {{.items = 1, .item = item + 2}, {.items = 2, .item = item}}},
                .parameters = 1000, .active = 125}, b = {0};
    cmp_scores_write(&a, file_in("scores"));
    CHECK(!cmp_scores_read(&b, file_in("scores"), 8) && !cmp_scores_read(&b, file_in("nothere"), 9),
          "scores of other items were taken");
    CHECK(cmp_scores_read(&b, file_in("scores"), 9), "scores were not taken");
    CHECK(!memcmp(&a.m.val, &b.m.val, sizeof(Score)) && !memcmp(&a.m.train, &b.m.train, sizeof(Score)) &&
              b.m.floor == 0.5 && b.parameters == 1000 && b.active == 125,
          "other numbers came back");
    CHECK(b.m.parts.n == 2 && b.m.parts.blocks && !memcmp(part, b.m.parts.part, sizeof part), "other parts");
    CHECK(b.m.cloze[0].items == 1 && b.m.cloze[1].items == 2 && b.m.cloze[2].items == 0, "other lists");
    for (size_t k = 0; k < 2; k++) {
        const ClozeItem *x = &b.m.cloze[1].item[k];
        CHECK(x->kind == item[k].kind && x->right == item[k].right && x->chance == item[k].chance,
              "item %zu: kind %d, right %d, chance %g", k, x->kind, x->right, x->chance);
    }
    measures_free(&b.m);
}

/* Whether file NAME of both folders has the same bytes; of curves, but for what was measured by the clock. */
static bool same_file(const char *a, const char *b, const char *name) {
    return outside("cut -d, -f1-3,5,7- %s/%s > %s/left; cut -d, -f1-3,5,7- %s/%s > %s/right; cmp -s %s/left "
                   "%s/right", file_in(a), name, folder, file_in(b), name, folder, folder, folder) == 0;
}
static void on_alarm(int number) { interrupted = number; }
/* A step after which the user stops the comparison, where no milestone is. */
static bool step_and_stop(Run *run) {
    const bool good = run_step(run);
    interrupted = SIGINT;
    return good;
}
static int compare_a_step(int argc, char **argv) { return cmd_compare(argc - 1, argv + 1, step_and_stop); }

/* Interrupted again and again, after a little more processor time each time, until it is done. */
static void test_interrupted(const char *text) {
    static const char *const arm[] = {"dense", "small", "sparse", "mine"},
                      *const kind[] = {"ckpt", "csv", "scores"};
    int stops = 0, status = 3;
    bool between = false;                                   /* saved, where no milestone was */
    char name[64];
    signal(SIGPROF, on_alarm);
    command_entry = compare_a_step;
    CHECK(command("compare " COMPARED "--out %s", text, file_in("often")) == 3, "not stopped: %s", check_line);
    command_entry = train_program;
    for (int ms = 5; status == 3 && stops < 200; ms += ms + 5, stops++) {
        setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {ms / 1000, ms % 1000 * 1000}}, NULL);
        status = command("compare " COMPARED "--out %s", text, file_in("often"));
        for (size_t k = 0; k < 8; k++) {
            snprintf(name, sizeof name, "often/%s-%zu.ckpt", arm[k % 4], k / 4 + 1);
            if (access(file_in(name), F_OK)) continue;
            Safetensors st = st_read(file_in(name));
            between |= atoi(st_meta(&st, "step")) % 4;
            st_free(&st);
        }
    }
    setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
    CHECK(status == 0 && stops > 2, "status %d after %d interruptions: %s", status, stops, check_line);
    CHECK(between, "nothing was saved where %d interruptions came", stops);
    for (size_t k = 0; k < 24; k++) {
        snprintf(name, sizeof name, "%s-%zu.%s", arm[k % 4], k / 12 + 1, kind[k / 4 % 3]);
        CHECK(same_file("once", "often", name), "%s differs after %d interruptions", name, stops);
        if (k / 4 % 3 == 1)
            CHECK(!outside("awk -F, 'NR > 1 && !($6 > 0) { exit 1 }' %s/often/%s", folder, name),
                  "%s: steps that took no time", name);
    }
}

static void test_compare_json(const char *path) {
    static const char *const want[] = {
        "command", "arms/0/name", "arms/0/val_loss", "arms/0/bits_per_byte", "arms/0/step_ms",
        "arms/0/seconds", "arms/0/flops", "arms/0/options/lr", "arms/0/runs/0", "pairs/0/a", "pairs/0/b",
        "pairs/0/axis", "pairs/0/diff", "pairs/0/lo", "pairs/0/hi", "pairs/0/margin", "pairs/0/verdict",
        "cloze/0/right_a", "time_to_dense/sparse/time"};
    Bytes b = file_read(path);
    Json j = json_open(b.p, b.n, path);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        CHECK(json_at(j, want[k]).p, "the JSON has no %s", want[k]);
    json_skip(&j, 0);
    CHECK(json_peek(&j) == 0 && j.p == j.end, "the JSON goes on after its end");
    file_free(&b);
}

/* `small` has about as many parameters as `sparse`, `wide` as many FLOPs as `dense`. */
static void test_widths(void) {
    char *argv[] = {(char[]){"compare"}, (char[]){"--model"}, (char[]){"d4"}};
    const Options *o = options_read(3, argv, COMPARE, NULL);
    static const double one[4] = {1, 1, 1, 1}, eighth[4] = {0.125, 0.125, 0.125, 0.125};
    GptConfig c[4];
    static const char *const name[4] = {"dense", "sparse", "small", "wide"};
    for (size_t k = 0; k < 4; k++) {
        const Options a = arm_options(o, name[k], 0, 2049);
        c[k] = (GptConfig){a.layers, a.heads, a.width, 2049, a.context};
        CHECK((a.sparsity > 0) == k % 2 && a.width % a.heads == 0, "%s: sparsity %g", name[k], a.sparsity);
    }
    char *more[] = {(char[]){"compare"}, (char[]){"--update"}, (char[]){"set"}, (char[]){"--sparsity"},
                    (char[]){"0.75"}, (char[]){"--arm"}, (char[]){"sparse:spread=qkv=0.5/fc=0.9,lr=0.1"}};
    o = options_read(7, more, COMPARE, NULL);
    const Options d = arm_options(o, "dense", 0, 2049), s = arm_options(o, "sparse", 0, 2049);
    CHECK(d.sparsity == 0 && !strcmp(d.update, "static"), "dense: sparsity %g, %s", d.sparsity, d.update);
    CHECK(s.sparsity == 0.75 && !strcmp(s.update, "set"), "sparse: sparsity %g, %s", s.sparsity, s.update);
    CHECK(!strcmp(s.spread, "qkv=0.5/fc=0.9") && s.lr == 0.1, "sparse: spread %s, rate %g", s.spread, s.lr);
    const double p = model_size(&c[2], one, false) / model_size(&c[1], eighth, false),
                 f = model_size(&c[3], eighth, true) / model_size(&c[0], one, true);
    CHECK(c[2].C == 128 && c[2].NH == 2 && fabs(p - 1) < 0.1, "small: %zu wide, %g", c[2].C, p);
    CHECK(c[3].C == 592 && c[3].NH == 8 && fabs(f - 1) < 0.02, "wide: %zu wide, %g", c[3].C, f);
}

/* A rate that is far too high ends its own run, not the comparison; a sweep takes the best of its three. */
static void test_rates(const char *text) {
    CHECK(command("compare " SHAPED "--text %s --items 20 --arms mine,dense,last --out %s --json %s "
                  "--arm mine:lr=100,weight-decay=100 "
                  "last:lr=100,min-lr=100,weight-decay=100,warmup=0,steps=5",
                  text, file_in("lost"), file_in("diverged")) == 0, "%s", check_line);
    const CmpCurve lost = cmp_curve_read(file_in("lost/mine-1.csv"), 16),
                   last = cmp_curve_read(file_in("lost/last-1.csv"), 16);
    CHECK(isinf(cmp_end(&lost)->loss) && cmp_end(&lost)->step < 16, "it did not diverge");
    CHECK(isinf(cmp_end(&last)->loss) && cmp_end(&last)->step == 5 && last.n == 2,
          "no gradient told that the last step was one too many, only the validation after it: %g after %zu",
          cmp_end(&last)->loss, cmp_end(&last)->step);
    Bytes b = file_read(file_in("diverged"));
    Json j = json_open(b.p, b.n, "diverged");
    CHECK(isnan(json_real(json_at(j, "arms/2/parameters"))) &&
              json_real(json_at(j, "arms/1/parameters")) > 0 && isnan(json_real(json_at(j, "pairs/0/diff"))),
          "figures of runs that diverged");
    file_free(&b);
    CHECK(command("compare " SHAPED "--text %s --items 0 --arms dense --lr 0.1 --sweep --out %s", text,
                  file_in("swept")) == 0, "%s", check_line);
    check_refused("another comparison", "compare " SHAPED "--text %s --items 0 --arms dense --out %s", text,
                  file_in("swept"));
    const char *const grid[3] = {"0.05", "0.1", "0.2"};
    size_t best = 0;
    double least = INFINITY;
    for (size_t k = 0; k < 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "swept/dense@%s-1001.csv", grid[k]);
        CmpCurve c = cmp_curve_read(file_in(name), 16);
        if (cmp_end(&c)->loss < least) least = cmp_end(&c)->loss, best = k;
        free(c.point);
    }
    Safetensors st = st_read(file_in("swept/dense-1.ckpt"));
    CHECK(strtod(st_meta(&st, "lr"), NULL) == strtod(grid[best], NULL), "rate %s, where %s was the best",
          st_meta(&st, "lr"), grid[best]);
    st_free(&st), free(lost.point), free(last.point);
}

/* What a folder has lost is made anew: nothing of another run stands in for it. */
static void test_lost_files(const char *text) {
    const char *scores = file_in("lost/dense-1.scores");
    const uint64_t before = file_bits(scores);
    unlink(file_in("lost/dense-1.ckpt"));
    CHECK(command("compare " SHAPED "--text %s --items 20 --arms dense --arm dense:lr=0.001 --out %s", text,
                  file_in("lost")) == 0, "%s", check_line);
    CHECK(file_bits(file_in("lost/dense-1.scores")) != before, "scores of a run that is gone");
    outside("sed -i '$d' %s", file_in("lost/dense-1.csv"));
    check_refused("expected a line of step 16", "compare " SHAPED "--text %s --items 20 --arms dense --arm "
                  "dense:lr=0.001 --out %s", text, file_in("lost"));
    check_refused("written over", "compare " SHAPED "--text %s --arms dense --out %s --json %s", text,
                  file_in("lost"), text);
    check_refused("written over", "eval %s --json %s", file_in("once/dense-1.ckpt"),
                  file_in("once/dense-1.ckpt"));
    check_refused("a run's files", "compare " SHAPED "--text %s --arms dense --out %s --report %s", text,
                  file_in("lost"), file_in("lost/dense-1.csv"));
}

/* The same options typed in another way go on with what is there; others do not. */
static void test_by_value(const char *text) {
    static const char line[] = "compare " SHAPED "--text %s --items 0 --arms mine --out %s --arm "
                               "mine:sparsity=%s,spread=%s";
    const char *out = file_in("typed");
    CHECK(command(line, text, out, "0.5", "qkv=0.5/fc=0.75") == 0, "%s", check_line);
    const uint64_t before = file_bits(file_in("typed/mine-1.csv"));
    CHECK(command(line, text, out, "5e-1", "fc=.750/qkv=0.50/proj=0.5") == 0, "%s", check_line);
    CHECK(file_bits(file_in("typed/mine-1.csv")) == before, "it trained again");
    CHECK(command(line, text, out, "0.5", "qkv=0.5/fc=0.74") == 2 && strstr(check_line, "--spread"),
          "another spread: %s", check_line);
}

static void test_compare_bad_input(const char *text) {
    static const struct { const char *more, *expected; } bad[] = {
        {"--arms dense,fast", "no 'fast'"},
        {"--arms ,", "--arms"},
        {"--arms dense,dense", "twice"},
        {"--arms dense,../x", "letters and digits"},
        {"--arms dense --arm sparse:lr=1", "NAME of --arms"},
        {"--arms dense --arm dense", "NAME:KEY=VALUE"},
        {"--arms dense --arm dense:lr", "KEY=VALUE"},
        {"--arms dense --arm dense:lr=fast", "found 'fast'"},
        {"--arms dense --arm dense:quiet=1", "an option of training"},
        {"--arms dense --arm dense:seed=2", "the same for all arms"},
        {"--arms other --arm other:sparsity=0.5,update=set", "arm other: --update set"},
        {"--arms mine --arm mine:block=16x3,sparsity=0.5", "arm mine: --block"},
        {"--arms mine --arm mine:spread=fc=2,sparsity=0.5", "arm mine: --spread"},
        {"--arms mine --arm mine:sparcity=0.5", "arm mine: unknown option 'sparcity'; the nearest one is sparsity"},
        {"--arms mine --arm mine:heads=3", "arm mine: --heads"},
        {"--arms mine --arm mine:scale=up", "arm mine: --scale"},
        {"--arms mine --arm mine:layers=900,heads=1,width=99999", "arm mine"},
        {"--arms dense --warmup 17", "arm dense: --warmup: expected at most the 16 steps"},
        {"--arms dense,mine --arm mine:steps=4,warmup=9", "arm mine: --warmup"},
        {"--arms dense,mine --arm mine:lr=0.1,min-lr=0.2", "arm mine: --min-lr"},
        {"--arms dense --margin -1", "found '-1'"},
        {"--arms dense --seeds 0", "found '0'"},
        {"--arms dense --lr 0.5", "another comparison"},
        {"--arms dense --resume x", "does not take"},
        {"--arms dense --json /nothere/x", "/nothere/x"},
        {"--arms dense --json same --report same", "found it twice"},
        {"--arms dense --out /nothere/x", "given twice"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        check_refused(bad[k].expected, "compare " SHAPED "--text %s --out %s %s", text, file_in("once"),
                      bad[k].more);
    check_refused("--warmup", "compare --text nothere --steps 4 --warmup 9 --out %s", folder);
    check_refused("found it twice", "compare " SHAPED "--text %s --items 20 --arms dense --out %s --json %s "
                  "--report %s/./same", text, file_in("once"), file_in("same"), folder);
    check_refused("found a file", "compare --text %s --steps 1 --arms dense --out %s", text, text);
    make_text(file_in("tiny"), 300);
    check_refused("the training text has", "compare --text %s --vocab 260 --out %s", file_in("tiny"), folder);
    make_text(file_in("else"), 19000);
    check_refused("on another", "compare " SHAPED "--text %s --arms dense --out %s", file_in("else"),
                  file_in("once"));
}

static void test_compare(void) {
    snprintf(folder, sizeof folder, "/tmp/compare-test-XXXXXX");
    if (!mkdtemp(folder)) abort();
    char *line = words_join(3, (const char *[]){"a b", "it's", "x=1,y=2/3"});
    CHECK(!strcmp(line, "./train 'a b' 'it'\\''s' x=1,y=2/3"), "a line to repeat: %s", line);
    free(line);
    test_curves(), test_arms(), test_curve_file(), test_scores_file(), test_widths();
    char text[128];
    snprintf(text, sizeof text, "%s", file_in("text"));
    make_text(text, 20000);
    const int status =
        command("compare " COMPARED "--out %s --json %s", text, file_in("once"), file_in("json"));
    CHECK(status == 0, "%s", check_line);
    test_rates(text), test_by_value(text), test_lost_files(text);
    if (!status) test_compare_json(file_in("json")), test_interrupted(text), test_compare_bad_input(text);

    CHECK(command("run " SHAPED "--text %s --sparsity 0.875 --seed 2 --mask-seed 2 --out %s --log %s", text,
                  file_in("alone"), file_in("log")) == 0, "%s", check_line);
    Options none = {0};
    char path[160];
    snprintf(path, sizeof path, "%s/sparse-2.csv", file_in("once"));
    const CmpCurve curve = cmp_curve_read(path, 16);
    CHECK(outside("awk -F, 'NR > 1 { x += $2 } END { x /= %.17g; exit x < 0.999999 || x > 1.000001 }' %s",
                  cmp_end(&curve)->train, file_in("log")) == 0,
          "training losses whose sum is not %g", cmp_end(&curve)->train);
    free(curve.point);
    snprintf(path, sizeof path, "%s/sparse-2.ckpt", file_in("once"));
    const State a = checkpoint_read(file_in("alone"), &none, true), b = checkpoint_read(path, &none, true);
    CHECK(a.m->floats == b.m->floats && !memcmp(a.m->w, b.m->w, a.m->floats * 4) &&
              !memcmp(a.m->moment2, b.m->moment2, a.m->floats * 4),
          "an arm of a comparison is another model than a run of the same options");

    const double half[4] = {0.5, 0.5, 0.5, 0.5}, one[4] = {1, 1, 1, 1};
    snprintf(path, sizeof path, "%s/mine-1.csv", file_in("once"));
    const CmpCurve mine = cmp_curve_read(path, 16);         /* steps 6 and 12 had dense gradients */
    const double flops = 72 * (14 * model_size(&a.m->c, half, true) + 2 * model_size(&a.m->c, one, true));
    CHECK(cmp_end(&mine)->flops == flops, "%g FLOPs, expected %g", cmp_end(&mine)->flops, flops);
    free(mine.point);
    gpt_free(a.m), gpt_free(b.m), tok_free(a.tok), tok_free(b.tok), free(a.o), free(b.o);
    outside("rm -r %s", folder);
}
#endif
