/* test_compare.h: curves at equal cost and what follows from them, by hand; and
 * `compare` from the inside: interrupted at any moment and gone on with, it
 * leaves the bits of one without a break, which are those of `run`.
 *
 * The folders of the whole comparisons, all with one seed or two:
 *
 *     once       dense, small, sparse, mine, without a break
 *     often      the same, interrupted again and again
 *     alone      the arm sparse-2 of these, as a run
 *     lost       runs that diverge; later, files that are gone
 *     swept      a sweep of three learning rates
 *     typed      the same options in other words
 *
 * It refuses tolerances where bits are promised: files are compared whole, but
 * for the columns that the clock made.
 *
 * Example: of two curves (30 s, 5.5 bits) .. (60 s, 4.6) and a cost of 35 s,
 * the loss is 5.5 - 5/30 x 0.9 = 5.35. */
#ifndef TEST_COMPARE_H
#define TEST_COMPARE_H
#include "check.h"
#include "test_train.h"
#include <sys/time.h>

/* A curve of points (cost, bits); what it cost is the same on every axis. */
static CmpCurve curve_of(size_t n, const double (*xy)[2]) {
    CmpCurve c = {0};
    for (size_t k = 0; k < n; k++) {
        const double cost = xy[k][0];
        const double bits = xy[k][1];
        cmp_add(&c, (CmpPoint){
                        .step = (size_t)cost,
                        .tokens = cost,
                        .flops = cost,
                        .seconds = cost,
                        .train = 2 * cost,
                        .step_ms = 5,
                        .loss = bits * NATS_PER_BIT,
                        .bits = bits,
                    });
    }
    return c;
}
static bool near(double a, double b) { return fabs(a - b) < 1e-12; }

static void check_at(const CmpCurve *c, int axis, double cost, double bits,
                     const char *what) {
    const double found = cmp_at(c, axis, cost);
    CHECK(near(found, bits), "%s: %g bits at %g", what, found, cost);
}
static void check_when(const CmpCurve *c, double bits, double cost,
                       const char *what) {
    const double found = cmp_when(c, CMP_TIME, bits);
    CHECK(near(found, cost), "%s: %g bits at %g", what, bits, found);
}
static void test_curves(void) {
    const CmpCurve sparse = curve_of(2, (double[][2]){{20, 5}, {35, 3.5}});
    const CmpCurve dense =
        curve_of(3, (double[][2]){{30, 5.5}, {60, 4.6}, {100, 4}});
    const CmpCurve lost =
        curve_of(3, (double[][2]){{10, 6}, {20, 5}, {20, INFINITY}});
    check_at(&dense, CMP_TIME, 35, 5.35, "dense after 35");
    check_at(&dense, CMP_FLOPS, 60, 4.6, "on a point");
    check_at(&dense, CMP_TOKENS, 30, 5.5, "on the first");
    check_at(&dense, CMP_TIME, 100, 4, "at the end");
    CHECK(isnan(cmp_at(&dense, CMP_TIME, 29)), "before the first point: %g",
          cmp_at(&dense, CMP_TIME, 29));
    check_when(&sparse, 4, 30, "between two points");
    check_when(&sparse, 5, 20, "on a point");
    check_when(&sparse, 9, 20, "before all");
    CHECK(isnan(cmp_when(&sparse, CMP_TIME, 3)), "never: %g",
          cmp_when(&sparse, CMP_TIME, 3));
    CHECK(isnan(cmp_when(&sparse, CMP_TIME, INFINITY)),
          "as low as a run that diverged");
    CHECK(isnan(cmp_when(&lost, CMP_TIME, 4)), "a run that diverged: when");
    CHECK(isinf(cmp_at(&lost, CMP_TIME, 20)), "a run that diverged: at");
    free(sparse.point);
    free(dense.point);
    free(lost.point);
}

/* Two arms, two seeds: sparse is better by 0.5 and 0.7 at the ends. */
static const double T_975 = 12.7062047;         /* of one degree of freedom */

static void check_means(const Cmp *c) {
    const CmpArm a = cmp_arm(c, 1);
    const StatsInterval time = a.to_first[CMP_TIME];
    const StatsInterval flops = a.to_first[CMP_FLOPS];
    CHECK(near(a.bits, 3.6) && near(a.loss, 3.6 * NATS_PER_BIT * 2.5),
          "means: %g, %g", a.bits, a.loss);
    CHECK(near(time.diff, (0.625 + 0.5625) / 2), "time to dense: %g",
          time.diff);
    CHECK(fabs(time.hi - time.diff - T_975 * 0.03125) < 1e-6,
          "time to dense, at most: %g", time.hi);
    CHECK(a.step_ms == 5 && a.seconds == 100 && a.flops == 72.5, "%g ms, %g s",
          a.step_ms, a.seconds);
    CHECK(near(flops.diff, (0.625 + 1 / 3.0) / 2), "FLOPs to dense: %g",
          flops.diff);
    CHECK(near(cmp_arm(c, 0).to_first[CMP_FLOPS].diff, 1),
          "dense comes by its own loss at its end");
}
static void test_arms(void) {
    const char *name[2] = {"dense", "sparse"};
    Score part[2] = {{100, 50, 10}, {90, 50, 10}};
    CmpRun run[4] = {
        {.curve = curve_of(2, (double[][2]){{50, 5}, {100, 4}})},
        {.curve = curve_of(2, (double[][2]){{25, 4.5}, {100, 3.5}})},
        {.curve = curve_of(2, (double[][2]){{50, 5}, {100, 4.4}})},
        {.curve = curve_of(2, (double[][2]){{25, 4.9}, {100, 3.7}})},
    };
    run[3].curve.point[1].flops = 45;   /* 25 + 20 (4.9 - 4.4) / (4.9 - 3.7) */
    const Cmp c = {.arms = 2, .seeds = 2, .name = name, .run = run};
    const Cmp one = {.arms = 2, .seeds = 1, .name = name, .run = run};
    for (size_t k = 0; k < 4; k++) {
        const double nats = cmp_end(&run[k].curve)->bits * NATS_PER_BIT * 1000;
        run[k].m.val = (Score){nats, 1000, 400};
        run[k].m.parts = (Parts){.part = part + k % 2, .n = 1};
    }
    StatsInterval s = cmp_difference(&c, 1, 0, CMP_TOKENS);
    CHECK(near(s.diff, -0.6) && fabs(s.hi - s.diff - T_975 * 0.1) < 1e-6,
          "%g .. %g", s.diff, s.hi);
    check_means(&c);

    s = cmp_difference(&one, 1, 0, CMP_TIME);   /* one part: nothing to draw */
    CHECK(near(s.diff, -10 / NATS_PER_BIT / 50) && isinf(s.hi),
          "one seed: %g .. %g", s.diff, s.hi);
    run[1].curve.point[1].seconds = 80;         /* dense had 4.4 by then */
    s = cmp_difference(&one, 1, 0, CMP_TIME);
    CHECK(near(s.diff, -0.9) && isinf(s.lo), "at equal time: %g from %g",
          s.diff, s.lo);
    run[3].m.val.nats *= 2;     /* the ends of one seed alone do not count */
    s = cmp_difference(&c, 1, 0, CMP_TIME);
    CHECK(near(s.diff, -0.8), "at equal time, ends of one seed equal: %g",
          s.diff);
    for (size_t k = 0; k < 4; k++) free(run[k].curve.point);
}

static void test_curve_file(void) {
    static const char *const bad[] = {
        "1,2,3\n",
        "1,2,3,4,5,6,7,x\n",
        "1,2,3,4,5,6,7,8,9\n",
        "1,2,3,4,5,6,7,8",
    };
    const char *path = file_in("curve");
    CmpCurve c = curve_of(
        4, (double[][2]){{1, 1.0 / 3}, {2, 0.1}, {3, NAN}, {4, INFINITY}});
    cmp_curve_write(&c, path);
    CmpCurve all = cmp_curve_read(path, 4);
    CmpCurve part = cmp_curve_read(path, 2);
    CHECK(all.n == 4 && part.n == 2, "%zu and %zu points", all.n, part.n);
    CHECK(all.point[0].bits == c.point[0].bits && all.point[1].train == 4,
          "a point changed on disk");
    CHECK(isnan(all.point[2].loss) && isinf(all.point[3].loss),
          "what is not finite changed on disk");
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        char text[300];
        snprintf(text, sizeof text, "%s%s", cmp_head, bad[k]);
        file_put(path, text, strlen(text));
        CHECK(DIES(cmp_curve_read(path, 9)) && strstr(check_line, "line 2"),
              "%zu: %s", k, check_line);
    }
    file_put(path, "step\n", 5);
    CHECK(DIES(cmp_curve_read(path, 9)) && strstr(check_line, "line 1"), "%s",
          check_line);
    free(c.point);
    free(all.point);
    free(part.point);
}

/* What a model is worth comes back from its file, unless other items are
 * wanted. */
static void test_scores_file(void) {
    Score part[2] = {{1.5, 70, 20}, {2.5, 80, 21}};
    ClozeItem item[3] = {
        {.kind = 1, .right = true, .chance = 0.25},
        {.kind = 2, .chance = 0.5},
    };
    const Measures m = {
        .val = {4, 150, 41},
        .train = {3, 140, 40},
        .parts = {part, 2, true, NULL},
        .floor = 0.5,
        .wanted = 9,
        .cloze = {{.items = 1, .item = item + 2}, {.items = 2, .item = item}},
    };
    CmpRun a = {.m = m, .parameters = 1000, .active = 125};
    CmpRun b = {0};
    cmp_scores_write(&a, file_in("scores"));
    CHECK(!cmp_scores_read(&b, file_in("scores"), 8) &&
              !cmp_scores_read(&b, file_in("nothere"), 9),
          "scores of other items were taken");
    CHECK(cmp_scores_read(&b, file_in("scores"), 9), "scores were not taken");
    CHECK(!memcmp(&a.m.val, &b.m.val, sizeof(Score)) &&
              !memcmp(&a.m.train, &b.m.train, sizeof(Score)) &&
              b.m.floor == 0.5 && b.parameters == 1000 && b.active == 125,
          "other numbers came back");
    CHECK(b.m.parts.n == 2 && b.m.parts.blocks &&
              !memcmp(part, b.m.parts.part, sizeof part),
          "other parts");
    CHECK(b.m.cloze[0].items == 1 && b.m.cloze[1].items == 2 &&
              b.m.cloze[2].items == 0,
          "other lists");
    for (size_t k = 0; k < 2; k++) {
        const ClozeItem *x = &b.m.cloze[1].item[k];
        CHECK(x->kind == item[k].kind && x->right == item[k].right &&
                  x->chance == item[k].chance,
              "item %zu: kind %d, right %d, chance %g", k, x->kind, x->right,
              x->chance);
    }
    measures_free(&b.m);

    part[1].bytes = 1e30;               /* no size holds it */
    cmp_scores_write(&a, file_in("scores"));
    CHECK(DIES(cmp_scores_read(&b, file_in("scores"), 9)) &&
              strstr(check_line, "parts[4]: expected a number from 0 to 2^53"),
          "%s", check_line);
}

/* ---- whole comparisons --------------------------------------------------- */

#define SHAPED                                                                 \
    "--vocab 260 --layers 2 --heads 2 --width 32 --context 24 --batch 3 "      \
    "--steps 16 --every 4 --quiet --val-tokens 500 "
#define COMPARED                                                               \
    SHAPED "--text %s --items 20 --arms dense,small,sparse,mine --seeds 2 "    \
           "--threads 1 --arm mine:sparsity=0.5,update=rigl,mask-every=6 "

/* Whether file NAME of both folders has the same bytes; of curves, but for what
 * was measured by the clock. */
static bool same_file(const char *a, const char *b, const char *name) {
    return outside("cut -d, -f1-3,5,7- %s/%s > %s/left; "
                   "cut -d, -f1-3,5,7- %s/%s > %s/right; "
                   "cmp -s %s/left %s/right",
                   file_in(a), name, folder, file_in(b), name, folder, folder,
                   folder) == 0;
}
static void on_alarm(int number) { interrupted = number; }
/* A step after which the user stops the comparison, where no milestone is. */
static bool step_and_stop(Run *run) {
    const bool good = run_step(run);
    interrupted = SIGINT;
    return good;
}
static int compare_a_step(int argc, char **argv) {
    return cmd_compare(argc - 1, argv + 1, step_and_stop);
}

static const char *const compared_arm[4] = {"dense", "small", "sparse", "mine"};

/* Whether a checkpoint in `often` is of a step that is no milestone. */
static bool often_between(void) {
    bool between = false;
    char name[64];
    for (size_t k = 0; k < 8; k++) {
        snprintf(name, sizeof name, "often/%s-%zu.ckpt", compared_arm[k % 4],
                 k / 4 + 1);
        if (access(file_in(name), F_OK)) continue;
        Safetensors st = st_read(file_in(name));
        between |= atoi(st_meta(&st, "step")) % 4;
        st_free(&st);
    }
    return between;
}
/* Interrupted again and again, after a little more processor time each time,
 * until it is done. */
static void test_interrupted(const char *text) {
    static const char *const kind[] = {"ckpt", "csv", "scores"};
    int stops = 0;
    int status = 3;
    bool between = false;
    char name[64];
    signal(SIGPROF, on_alarm);
    command_entry = compare_a_step;
    CHECK(command("compare " COMPARED "--out %s", text, file_in("often")) == 3,
          "not stopped: %s", check_line);
    command_entry = train_program;
    for (int ms = 5; status == 3 && stops < 200; ms += ms + 5, stops++) {
        const struct itimerval soon = {
            .it_value = {ms / 1000, ms % 1000 * 1000}};
        setitimer(ITIMER_PROF, &soon, NULL);
        status =
            command("compare " COMPARED "--out %s", text, file_in("often"));
        between |= often_between();
    }
    setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
    CHECK(status == 0 && stops > 2, "status %d after %d interruptions: %s",
          status, stops, check_line);
    CHECK(between, "nothing was saved where %d interruptions came", stops);
    for (size_t k = 0; k < 24; k++) {
        const char *ending = kind[k / 4 % 3];
        snprintf(name, sizeof name, "%s-%zu.%s", compared_arm[k % 4],
                 k / 12 + 1, ending);
        CHECK(same_file("once", "often", name),
              "%s differs after %d interruptions", name, stops);
        if (!strcmp(ending, "csv"))
            CHECK(!outside("awk -F, 'NR > 1 && !($6 > 0) { exit 1 }' "
                           "%s/often/%s", folder, name),
                  "%s: steps that took no time", name);
    }
}

static void test_compare_json(const char *path) {
    static const char *const want[] = {
        "command", "arms/0/name", "arms/0/val_loss", "arms/0/bits_per_byte",
        "arms/0/step_ms", "arms/0/seconds", "arms/0/flops", "arms/0/options/lr",
        "arms/0/runs/0", "pairs/0/a", "pairs/0/b", "pairs/0/axis",
        "pairs/0/diff", "pairs/0/lo", "pairs/0/hi", "pairs/0/margin",
        "pairs/0/verdict", "cloze/0/right_a", "time_to_dense/sparse/time",
    };
    Bytes b = file_read(path);
    Json j = json_open(b.p, b.n, path);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        CHECK(json_at(j, want[k]).p, "the JSON has no %s", want[k]);
    json_skip(&j, 0);
    CHECK(json_peek(&j) == 0 && j.p == j.end, "the JSON goes on after its end");
    file_free(&b);
}

/* `small` has about as many parameters as `sparse`, `wide` as many FLOPs as
 * `dense`. */
static void test_widths(void) {
    enum { DENSE, SPARSE, SMALL_ARM, WIDE };
    static const char *const name[4] = {"dense", "sparse", "small", "wide"};
    static const double one[4] = {1, 1, 1, 1};
    static const double eighth[4] = {0.125, 0.125, 0.125, 0.125};
    char *argv[] = {(char[]){"compare"}, (char[]){"--model"}, (char[]){"d4"}};
    const Options *o = options_read(3, argv, COMPARE, NULL);
    GptConfig c[4];
    for (size_t k = 0; k < 4; k++) {
        const Options a = arm_options(o, name[k], 0, 2049);
        c[k] = (GptConfig){a.layers, a.heads, a.width, 2049, a.context};
        CHECK((a.sparsity > 0) == k % 2 && a.width % a.heads == 0,
              "%s: sparsity %g", name[k], a.sparsity);
    }
    const double numbers = model_size(&c[SMALL_ARM], one, false) /
                           model_size(&c[SPARSE], eighth, false);
    const double flops = model_size(&c[WIDE], eighth, true) /
                         model_size(&c[DENSE], one, true);
    CHECK(c[SMALL_ARM].C == 128 && c[SMALL_ARM].NH == 2 &&
              fabs(numbers - 1) < 0.1,
          "small: %zu wide, %g", c[SMALL_ARM].C, numbers);
    CHECK(c[WIDE].C == 592 && c[WIDE].NH == 8 && fabs(flops - 1) < 0.02,
          "wide: %zu wide, %g", c[WIDE].C, flops);
}
/* Options of all arms, and more of one; dense takes none that make it sparse.
 */
static void test_arm_options(void) {
    char *argv[] = {
        (char[]){"compare"},    (char[]){"--update"}, (char[]){"set"},
        (char[]){"--sparsity"}, (char[]){"0.75"},     (char[]){"--arm"},
        (char[]){"sparse:spread=qkv=0.5/fc=0.9,lr=0.1"},
    };
    const Options *o = options_read(7, argv, COMPARE, NULL);
    const Options dense = arm_options(o, "dense", 0, 2049);
    const Options sparse = arm_options(o, "sparse", 0, 2049);
    CHECK(dense.sparsity == 0 && !strcmp(dense.update, "static"),
          "dense: sparsity %g, %s", dense.sparsity, dense.update);
    CHECK(sparse.sparsity == 0.75 && !strcmp(sparse.update, "set"),
          "sparse: sparsity %g, %s", sparse.sparsity, sparse.update);
    CHECK(!strcmp(sparse.spread, "qkv=0.5/fc=0.9") && sparse.lr == 0.1,
          "sparse: spread %s, rate %g", sparse.spread, sparse.lr);
}

/* A rate that is far too high ends its own run, not the comparison. */
static void test_diverged(const char *text) {
    check_works("compare " SHAPED
                "--text %s --items 20 --arms mine,dense,last "
                "--out %s --json %s --arm mine:lr=100,weight-decay=100 "
                "last:lr=100,min-lr=100,weight-decay=100,warmup=0,steps=5",
                text, file_in("lost"), file_in("diverged"));
    const CmpCurve lost = cmp_curve_read(file_in("lost/mine-1.csv"), 16);
    const CmpCurve last = cmp_curve_read(file_in("lost/last-1.csv"), 16);
    CHECK(isinf(cmp_end(&lost)->loss) && cmp_end(&lost)->step < 16,
          "it did not diverge");
    CHECK(isinf(cmp_end(&last)->loss) && cmp_end(&last)->step == 5 &&
              last.n == 2,
          "no gradient told that the last step was one too many, only the "
          "validation after it: %g after %zu",
          cmp_end(&last)->loss, cmp_end(&last)->step);
    Bytes b = file_read(file_in("diverged"));
    Json j = json_open(b.p, b.n, "diverged");
    CHECK(isnan(json_real(json_at(j, "arms/2/parameters"))) &&
              json_real(json_at(j, "arms/1/parameters")) > 0 &&
              isnan(json_real(json_at(j, "pairs/0/diff"))),
          "figures of runs that diverged");
    file_free(&b);
    free(lost.point);
    free(last.point);
}
/* A sweep takes the best of its three rates. */
static void test_sweep(const char *text) {
    static const char *const grid[3] = {"0.05", "0.1", "0.2"};
    size_t best = 0;
    double least = INFINITY;
    check_works("compare " SHAPED "--text %s --items 0 --arms dense --lr 0.1 "
                "--sweep --out %s", text, file_in("swept"));
    check_refused("another comparison",
                  "compare " SHAPED "--text %s --items 0 --arms dense --out %s",
                  text, file_in("swept"));
    for (size_t k = 0; k < 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "swept/dense@%s-1001.csv", grid[k]);
        CmpCurve c = cmp_curve_read(file_in(name), 16);
        const double loss = cmp_end(&c)->loss;
        if (loss < least) {
            least = loss;
            best = k;
        }
        free(c.point);
    }
    Safetensors st = st_read(file_in("swept/dense-1.ckpt"));
    CHECK(strtod(st_meta(&st, "lr"), NULL) == strtod(grid[best], NULL),
          "rate %s, where %s was the best", st_meta(&st, "lr"), grid[best]);
    st_free(&st);
}

/* What a folder has lost is made anew: nothing of another run stands in for it.
 */
static void test_lost_files(const char *text) {
    static const char one[] = "compare " SHAPED "--text %s --items 20 "
                              "--arms dense --arm dense:lr=0.001 --out %s";
    const char *lost = file_in("lost");
    const char *scores = file_in("lost/dense-1.scores");
    const char *other = file_in("once/dense-1.ckpt");
    const uint64_t before = file_bits(scores);
    unlink(file_in("lost/dense-1.ckpt"));
    check_works(one, text, lost);
    CHECK(file_bits(scores) != before, "scores of a run that is gone");
    outside("sed -i '$d' %s", file_in("lost/dense-1.csv"));
    check_refused("expected a line of step 16", one, text, lost);
    check_refused("written over",
                  "compare " SHAPED "--text %s --arms dense --out %s --json %s",
                  text, lost, text);
    check_refused("written over", "eval %s --json %s", other, other);
    check_refused("a run's files",
                  "compare " SHAPED "--text %s --arms dense --out %s "
                  "--report %s",
                  text, lost, file_in("lost/dense-1.csv"));
}

/* The same options typed in another way go on with what is there; others do
 * not. */
static void test_by_value(const char *text) {
    static const char line[] =
        "compare " SHAPED "--text %s --items 0 --arms mine --out %s "
        "--arm mine:sparsity=%s,spread=%s";
    const char *out = file_in("typed");
    const char *curve = file_in("typed/mine-1.csv");
    check_works(line, text, out, "0.5", "qkv=0.5/fc=0.75");
    const uint64_t before = file_bits(curve);
    check_works(line, text, out, "5e-1", "fc=.750/qkv=0.50/proj=0.5");
    CHECK(file_bits(curve) == before, "it trained again");
    check_refused("--spread", line, text, out, "0.5", "qkv=0.5/fc=0.74");
}

static const Refused bad_compare[] = {
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
    {"--arms other --arm other:sparsity=0.5,update=set",
     "arm other: --update set"},
    {"--arms mine --arm mine:block=16x3,sparsity=0.5", "arm mine: --block"},
    {"--arms mine --arm mine:spread=fc=2,sparsity=0.5",
     "arm mine: --spread"},
    {"--arms mine --arm mine:sparcity=0.5",
     "arm mine: unknown option 'sparcity'; the nearest one is sparsity"},
    {"--arms mine --arm mine:heads=3", "arm mine: --heads"},
    {"--arms mine --arm mine:scale=up", "arm mine: --scale"},
    {"--arms mine --arm mine:layers=900,heads=1,width=99999", "arm mine"},
    {"--arms dense --warmup 17",
     "arm dense: --warmup: expected at most the 16 steps"},
    {"--arms dense,mine --arm mine:steps=4,warmup=9", "arm mine: --warmup"},
    {"--arms dense,mine --arm mine:lr=0.1,min-lr=0.2",
     "arm mine: --min-lr"},
    {"--arms dense --margin -1", "found '-1'"},
    {"--arms dense --seeds 0", "found '0'"},
    {"--arms dense --lr 0.5", "another comparison"},
    {"--arms dense --resume x", "does not take"},
    {"--arms dense --json /nothere/x", "/nothere/x"},
    {"--arms dense --json same --report same", "found it twice"},
    {"--arms dense --out /nothere/x", "given twice"},
};
static void test_compare_bad_input(const char *text) {
    const char *once = file_in("once");
    for (size_t k = 0; k < sizeof bad_compare / sizeof *bad_compare; k++)
        check_refused(bad_compare[k].expected,
                      "compare " SHAPED "--text %s --out %s %s", text, once,
                      bad_compare[k].given);
    check_refused("--warmup",
                  "compare --text nothere --steps 4 --warmup 9 --out %s",
                  folder);
    check_refused("found it twice",
                  "compare " SHAPED "--text %s --items 20 --arms dense "
                  "--out %s --json %s --report %s/./same",
                  text, once, file_in("same"), folder);
    check_refused("found a file",
                  "compare --text %s --steps 1 --arms dense --out %s", text,
                  text);
    make_text(file_in("tiny"), 300);
    check_refused("the training text has",
                  "compare --text %s --vocab 260 --out %s", file_in("tiny"),
                  folder);
    make_text(file_in("else"), 19000);
    check_refused("on another",
                  "compare " SHAPED "--text %s --arms dense --out %s",
                  file_in("else"), once);
}

/* An arm under a seed is what `run` makes of the same options, and the curve
 * has the sum of the losses that the run logs. */
static void test_as_run(const char *text) {
    Options none = {0};
    check_works("run " SHAPED "--text %s --sparsity 0.875 --seed 2 "
                "--mask-seed 2 --out %s --log %s",
                text, file_in("alone"), file_in("log"));
    const CmpCurve curve = cmp_curve_read(file_in("once/sparse-2.csv"), 16);
    CHECK(outside("awk -F, 'NR > 1 { x += $2 } "
                  "END { x /= %.17g; exit x < 0.999999 || x > 1.000001 }' %s",
                  cmp_end(&curve)->train, file_in("log")) == 0,
          "training losses whose sum is not %g", cmp_end(&curve)->train);
    free(curve.point);
    State a = checkpoint_read(file_in("alone"), &none, true);
    State b = checkpoint_read(file_in("once/sparse-2.ckpt"), &none, true);
    CHECK(equal_floats(a.m, b.m),
          "an arm of a comparison is another model than a run of its options");
    state_free(&a);
    state_free(&b);
}
/* Steps 6 and 12 of `mine`, of 16, had dense gradients: so many FLOPs. */
static void test_flops(void) {
    static const double half[4] = {0.5, 0.5, 0.5, 0.5};
    static const double one[4] = {1, 1, 1, 1};
    Options none = {0};
    State s = checkpoint_read(file_in("once/mine-1.ckpt"), &none, true);
    const CmpCurve mine = cmp_curve_read(file_in("once/mine-1.csv"), 16);
    const double found = cmp_end(&mine)->flops;
    const double flops = 72 * (14 * model_size(&s.m->c, half, true) +
                               2 * model_size(&s.m->c, one, true));
    CHECK(found == flops, "%g FLOPs, expected %g", found, flops);
    free(mine.point);
    state_free(&s);
}

/* A checkpoint that the system cannot look at is not one that is not there, and
 * scores that stay though they should go are not of the run that is next: the
 * comparison ends before it writes anything. What was killed there has left is
 * gone even so. */
static void test_unseen(const char *text) {
    static const char line[] = "compare " COMPARED "--out %s";
    outside("mkdir %s && cd %s && ln -s dense-1.ckpt dense-1.ckpt && echo > dense-1.scores",
            file_in("unseen"), file_in("unseen"));
    check_refused("dense-1.ckpt: cannot look at: ", line, text, file_in("unseen"));
    CHECK(outside("cd %s && test -s dense-1.scores && test $(ls | wc -l) = 2",
                  file_in("unseen")) == 0, "something was lost");
    outside("cd %s && rm * && mkdir dense-1.scores", file_in("unseen"));
    check_refused("dense-1.scores: cannot remove: ", line, text, file_in("unseen"));

    outside("mkdir %s && cd %s && echo 99999999 > compare.lock && "
            "touch a-2.ckpt.99999999.tmp a-2.ckpt.9.tmp",
            file_in("killed"), file_in("killed"));
    check_refused("killed: ", "compare --text %s --out %s", file_in("killed"),
                  file_in("killed"));
    CHECK(outside("cd %s && test \"$(echo a*)\" = a-2.ckpt.9.tmp", file_in("killed")) == 0,
          "what a killed process left stays, or another's is gone");
    check_refused("nothere: cannot open", "compare --text %s --out %s", file_in("nothere"),
                  file_in("unmade"));
    CHECK(outside("test ! -e %s", file_in("unmade")) == 0, "a folder without its text");
}

static void test_compare(void) {
    folder_begin();
    char *line = words_join(3, (const char *[]){"a b", "it's", "x=1,y=2/3"});
    CHECK(!strcmp(line, "./train 'a b' 'it'\\''s' x=1,y=2/3"),
          "a line to repeat: %s", line);
    free(line);
    test_curves();
    test_arms();
    test_curve_file();
    test_scores_file();
    test_widths();
    test_arm_options();
    char text[128];
    snprintf(text, sizeof text, "%s", file_in("text"));
    make_text(text, 20000);
    const int status = command("compare " COMPARED "--out %s --json %s", text,
                               file_in("once"), file_in("json"));
    CHECK(status == 0, "%s", check_line);
    test_diverged(text);
    test_sweep(text);
    test_by_value(text);
    test_lost_files(text);
    test_unseen(text);
    if (!status) {
        test_compare_json(file_in("json"));
        test_interrupted(text);
        test_compare_bad_input(text);
        test_as_run(text);
        test_flops();
    }
    folder_end();
}
#endif
