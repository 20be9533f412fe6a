/* test_train.h: the commands, from the inside (train.c with its main part
 * renamed) and, where a process must be killed, from the outside: resume bit
 * for bit, checkpoints that survive anything, one clear line for every bad
 * input.
 *
 * Every run is of one small model, and what they leave is in one folder:
 *
 *     text, whole, parts      a text; a run of 12 steps, at once and in parts
 *     maskN, partsN           the same of the Nth way to be sparse
 *     oddN, oddN.parts        the same of masks that are awkward to save
 *     damaged, killed, cut    checkpoints that were cut, overtaken, interrupted
 *
 * It refuses to compare losses where bits are promised: two runs are equal if
 * their weights and moments are, byte for byte.
 *
 * Example: command("run --steps %d", 0) runs that line as ./train would, prints
 * nothing and returns 2; check_line is then what ./train would have said. */
#ifndef TEST_TRAIN_H
#define TEST_TRAIN_H
#include "check.h"
#include "test_gpt.h"
#include "../data/commands/simulate.h"   /* whose runs have a program, too */
static int train_program(int argc, char **argv);
#pragma push_macro("program")           /* a portable build has set it: data/base/start.c */
#undef program
#define program train_program
#include "../train.c"
#undef program
#pragma pop_macro("program")
#include <sys/wait.h>

/* ---- files and command lines --------------------------------------------- */

static char folder[64];         /* of the files of a test: folder_begin */

/* A path in the folder; 64 at a time. */
static const char *file_in(const char *name) {
    static char path[64][128];
    static int turn;
    turn = (turn + 1) % 64;
    snprintf(path[turn], sizeof *path, "%s/%s", folder, name);
    return path[turn];
}
static void file_put(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) abort();
}
static uint64_t file_bits(const char *path) {
    Bytes b = file_read(path);
    const uint64_t h = bits_of(b.p, b.n);
    file_free(&b);
    return h;
}

static int out_to_null(void) {          /* returns what to restore */
    fflush(stdout);
    const int keep = dup(1);
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    close(null);
    return keep;
}
static void out_restore(int keep) {
    fflush(stdout);
    dup2(keep, 1);
    close(keep);
}

/* What runs a command line. */
static int (*command_entry)(int, char **) = train_program;

/* Runs a command line, words separated by single spaces, as ./train would but
 * without what that prints; its status, or 2 if it died. */
static int command(const char *fmt, ...) {
    static char line[4096];
    static char *word[64];
    va_list ap;
    int n = 0;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    word[n++] = (char[]){"train"};
    for (char *p = strtok(line, " "); p && n < 63; p = strtok(NULL, " "))
        word[n++] = p;
    interrupted = 0;
    const int keep = out_to_null();
    const int status = DIES(n = command_entry(n, word)) ? 2 : n;
    out_restore(keep);
    return status;
}
/* A command line, as printf makes it, does what it says. */
__attribute__((format(printf, 1, 2)))
static void check_works(const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    const int status = command("%s", line);
    CHECK(status == 0, "'%s': status %d: %s", line, status, check_line);
}
/* A command line, as printf makes it, is refused with one line that says what
 * was expected. */
__attribute__((format(printf, 2, 3)))
static void check_refused(const char *expected, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    const int status = command("%s", line);
    CHECK(status == 2, "'%s': status %d", line, status);
    CHECK(strstr(check_line, expected), "'%s': expected '%s' in: %s", line,
          expected, check_line);
    CHECK(!strchr(check_line, '\n'), "'%s': more than one line: %s", line,
          check_line);
}
/* The program, for a shell. */
static const char *train_path(void) {
    const char *path = getenv("TRAIN");
    return path ? path : "./train";
}
/* A shell command; its status. */
static int outside(const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    const int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
/* The folder of a test's files, made and removed. */
static void folder_begin(void) {
    strcpy(folder, "/tmp/train-test-XXXXXX");
    if (!mkdtemp(folder)) abort();
}
static void folder_end(void) { outside("rm -r %s", folder); }

/* A text of n bytes of made-up words: enough to learn from. */
static void make_text(const char *path, size_t n) {
    static const char *const word[] = {"the ",     "river ", "moves ",
                                       "a ",       "stone ", "slowly. ",
                                       "Then ",    "rain ",  "falls,\n"};
    char *text = mem_new(n + 16, 1);
    size_t at = 0;
    for (size_t k = 0; at < n; k++)
        at += (size_t)sprintf(text + at, "%s", word[rng_u64(7, k) % 9]);
    file_put(path, text, n);
    free(text);
}

#define SMALL                                                                  \
    "--vocab 260 --layers 2 --heads 2 --width 32 --context 24 --batch 3 "      \
    "--steps 12 --every 4 --lr 0.01 --quiet"

/* ---- resume -------------------------------------------------------------- */

/* Weights and moments. */
static bool equal_floats(const Gpt *a, const Gpt *b) {
    const size_t n = a->floats * sizeof *a->w;
    return a->floats == b->floats && !memcmp(a->w, b->w, n) &&
           !memcmp(a->moment1, b->moment1, n) &&
           !memcmp(a->moment2, b->moment2, n);
}
/* Two checkpoints are equal: steps, patterns, weights, moments. */
static void check_equal(const char *a, const char *b) {
    Options none = {0};
    State x = checkpoint_read(a, &none, true);
    State y = checkpoint_read(b, &none, true);
    CHECK(x.step == y.step && equal_floats(x.m, y.m), "%s and %s differ", a, b);
    for (size_t k = 0; k < x.m->count; k++)
        CHECK(sp_elements(&x.m->table[k].mat) ==
                  sp_elements(&y.m->table[k].mat),
              "%s: another pattern", x.m->table[k].name);
    state_free(&x);
    state_free(&y);
}
/* A log that has lines of later steps loses them, and it is said. */
static void check_log_cut(const char *text, const char *parts) {
    const char *log = file_in("longer");
    char *lines = NULL;
    Out longer = out_open(log);
    out_text(&longer, log_head);
    for (int step = 1; step < 1000; step++) out_print(&longer, "%d,1,1,1,1,1\n", step);
    out_done(&longer);
    CHECK(outside("%s run --text %s --resume %s --log %s --quiet 2>%s/said && "
                  "grep -q 'lines after that of step' %s/said",
                  train_path(), text, parts, log, folder, folder) == 0,
          "nothing is said of the lines that go");
    lines = file_text(log);
    CHECK(!strstr(lines, "\n999,"), "lines of steps to come");
    free(lines);
}
/* What a run in parts must not change, and what no command writes over. */
static void check_kept(const char *text, const char *whole, const char *parts) {
    /* a resume keeps what decides the result */
    check_refused("--lr", "run --text %s --resume %s --lr 1", text, whole);
    make_text(file_in("other"), 19000);
    check_refused("another", "run --text %s --resume %s", file_in("other"),
                  whole);
    check_refused("exists", "run --text %s --out %s", text, whole);
    check_refused("exists", "run --text %s --resume %s --out %s", text, whole,
                  parts);
    check_refused("while it is read", "run --text %s --resume %s --json %s",
                  text, whole, text);

    /* a log goes on, even one without a line; what is no log stays as it is */
    for (int k = 0; k < 2; k++)
        check_works("run --text %s --resume %s --log %s --quiet", text, parts,
                    file_in("late"));
    check_refused("line 1", "run --text %s --resume %s --log %s", text, parts,
                  file_in("other"));
    check_log_cut(text, parts);

    /* no command writes over what it reads */
    const uint64_t before = file_bits(whole);
    check_refused("while it is read", "dump %s --init %s", whole, whole);
    check_refused("an earlier dump, found another", "dump %s", whole);
    check_refused("--stop: expected more than", "run --text %s --resume %s --stop 1", text,
                  whole);
    check_refused("while it is read", "convert %s %s --format llmc", whole,
                  whole);
    check_refused("while it is read", "verify %s --json %s", whole, whole);
    check_refused("while it is read", "eval %s --json %s", whole, whole);
    check_refused("while it is read",
                  "tokenize --text %s --vocab 300 --save %s", whole, whole);
    check_refused("while it is read", "simulate --chip %s --csv %s", whole,
                  whole);
    CHECK(file_bits(whole) == before, "a checkpoint was written over");
    check_refused("found it twice", "run --text %s --out %s --log %s --json %s",
                  text, file_in("none"), file_in("same"), file_in("same"));
    if (symlink("nowhere", file_in("link"))) abort();
    check_refused("a link to none", "dump %s", file_in("link"));
}
static void test_resume(void) {
    const char *text = file_in("text");
    const char *whole = file_in("whole");
    const char *parts = file_in("parts");
    make_text(text, 20000);
    check_works("run --text %s --out %s --threads 1 " SMALL, text, whole);
    check_works("run --text %s --out %s --threads 2 --panel 16 --group 2 "
                "--stop 3 " SMALL, text, parts);
    check_works("run --text %s --resume %s --threads 3 --every 4 --stop 7 "
                "--quiet", text, parts);
    check_works("run --text %s --resume %s --threads 1 --panel 128 --every 4 "
                "--quiet", text, parts);
    check_equal(whole, parts);
    check_works("run --text %s --init %s --out %s --steps 2 --batch 3 --quiet",
                text, whole, file_in("from"));
    check_works("eval %s --text %s --json %s", whole, text,
                file_in("json"));
    check_kept(text, whole, parts);
}

/* A model whose logits are not finite draws no token. */
static void test_infinite(void) {
    Options none = {0};
    State s = checkpoint_read(file_in("whole"), &none, true);
    for (size_t k = 0; k < s.m->floats; k++) s.m->w[k] *= 1e30f;
    write_checked(checkpoint_write(&s, file_in("huge")), "huge");
    state_free(&s);
    NOTED("");
    CHECK(command("sample %s --quiet", file_in("huge")) == 3 && NOTED("expected finite logits"),
          "%s", check_line);
}

/* ---- the trace ----------------------------------------------------------- */

/* The trace of a run's first step, its options on top of SMALL: JSON, with as
 * many firings on the host as on the chip. Returns a hash of the simulated
 * ones, which are a function of the model that trained. */
static uint64_t trace_bits(const char *more) {
    check_works("run --text %s --out %s --stop 1 --schedule dataflow --trace "
                "%s " SMALL " %s",
                file_in("text"), file_in("traced"), file_in("trace"),
                more);
    Bytes b = file_read(file_in("trace"));
    Json j = json_open(b.p, b.n, "trace");
    size_t events[3] = {0};             /* of 1, the chip, and 2, the host */
    uint64_t h = HASH_START;
    json_skip(&j, 0);
    CHECK(json_peek(&j) == 0 && j.p == j.end,
          "the trace does not end where its JSON does");
    const uint8_t *end;
    for (const uint8_t *p = b.p; p < b.p + b.n; p = end + 1) {
        end = memchr(p, '\n', (size_t)(b.p + b.n - p));
        if (!end) break;
        const size_t n = (size_t)(end - p);
        const char *pid = memmem(p, n, "\"pid\": ", 7);
        if (!pid || !memmem(p, n, "\"ph\": \"X\"", 9)) continue;
        events[pid[7] - '0']++;
        if (pid[7] == '1') h = hash_bytes(h, p, n);
    }
    CHECK(events[1] > 100 && events[1] == events[2],
          "%s: %zu firings on the chip, %zu on the host", more, events[1],
          events[2]);
    unlink(file_in("traced"));
    unlink(file_in("traced.best"));
    unlink(file_in("trace"));
    file_free(&b);
    return h;
}
/* gmp after a dense start of 50 steps of 100, updates until 75: of a matrix that keeps
 * 16 blocks in each of 4 rows the first drops little, the last leaves an eighth. */
static void test_late_pruning(void) {
    char *words[] = {"run", "--sparsity", "0.875", "--update", "gmp", "--steps", "100",
                     "--dense-first", "0.5", "--mask-every", "1"};
    Options *o = options_read(sizeof words / sizeof *words, words, RUN, NULL);
    GptParam p = {.mat = sp_pattern(64, 64, 4, NULL)};
    const size_t first = masks_move(o, &p, 0.125, 51).dropped;
    const size_t last = masks_move(o, &p, 0.125, 75).dropped;
    CHECK(first == 4 * 2 && last == 4 * 14, "the first drops %zu, the last %zu", first, last);
    sp_free(&p.mat);
    options_free(o);
}
/* Masks that change after the first step: the trace is that of the model that
 * took it. And who waits for whom in that step. */
static void test_trace(void) {
    const uint64_t dense = trace_bits("");
    const uint64_t sparse = trace_bits("--sparsity 0.5");
    CHECK(dense != sparse, "a sparse model's trace is a dense one's");
    CHECK(trace_bits("--sparsity 0.5 --update set --mask-every 1") == sparse,
          "set");
    CHECK(trace_bits("--sparsity 0.5 --update rigl --mask-every 1") == dense,
          "rigl trains a dense copy");
    CHECK(trace_bits("--sparsity 0.5 --update gmp --mask-every 1") == dense,
          "gmp");
    CHECK(trace_bits("--sparsity 0.5 --dense-first 0.084") == dense,
          "dense at first");
    CHECK(trace_bits("--sparsity 0.5 --densify 0.916") == sparse,
          "dense at the end");
    check_works("run --text %s --out %s --stop 1 --schedule dataflow --why "
                "h.0.mlp.c_fc " SMALL, file_in("text"), file_in("asked"));
    unlink(file_in("asked"));
    unlink(file_in("asked.best"));
    check_refused("found 'h.7.gelu'", "run --text %s --out %s --schedule "
                  "dataflow --why h.7.gelu " SMALL, file_in("text"),
                  file_in("asked"));
    check_refused("--schedule dataflow", "run --text %s --out %s --schedule "
                  "kernel --why h.0.ln_1 " SMALL, file_in("text"),
                  file_in("asked"));
}

/* ---- masks --------------------------------------------------------------- */

/* Two models have weights of the same ages, or none. */
static void check_ages(const Gpt *a, const Gpt *b, const char *how) {
    for (size_t k = 0; k < a->count; k++) {
        const GptParam *p = &a->table[k];
        const uint32_t *one = p->born;
        const uint32_t *two = b->table[k].born;
        CHECK(!one == !two && (!one || !memcmp(one, two, 4 * p->mat.lines)),
              "%s: other ages of %s", how, p->name);
    }
}
/* The kth way to be sparse: a run in parts gives the bits of one without a
 * break, and ends with that density. */
static void check_way(size_t k, const char *how, double end) {
    const char *text = file_in("text");
    Options none = {0};
    char whole[128];
    char parts[128];
    char more[400];
    snprintf(whole, sizeof whole, "%s/mask%zu", folder, k);
    snprintf(parts, sizeof parts, "%s/parts%zu", folder, k);
    snprintf(more, sizeof more, "--sparsity 0.75 %s %s " SMALL, how,
             strstr(how, "update") ? "--mask-every 3 --mask-stop 0.9" : "");
    check_works("run --text %s --out %s --threads 1 %s", text, whole, more);
    check_works("run --text %s --out %s --threads 2 --panel 16 --group 2 "
                "--stop 5 %s", text, parts, more);
    check_works("run --text %s --resume %s --threads 2 --every 4 --stop 9 "
                "--schedule dataflow --quiet", text, parts);
    check_works("run --text %s --resume %s --threads 2 --schedule dataflow "
                "--tiles 9 --sram 32768 --depth 1 --quiet", text, parts);
    State a = checkpoint_read(whole, &none, true);
    State b = checkpoint_read(parts, &none, true);
    CHECK(equal_floats(a.m, b.m), "%s: other weights or moments after a resume",
          how);
    const double density = masks_density(a.m);
    CHECK(fabs(density - end) < 0.03, "%s: density %g, expected %g", how,
          density, end);
    check_ages(a.m, b.m, how);
    state_free(&a);
    state_free(&b);
}
/* Masks that change under way. */
static void test_masks(void) {
    static const struct {
        const char *how;
        double end;                     /* the density there */
    } way[] = {
        {"--mask random --spread qkv=0.5/fc=0.75",
         (3 * 0.5 + 0.25 + 4 * 0.25 + 4 * 0.25) / 12},
        {"--update set", 0.25},
        {"--update rigl --block 16x2", 0.25},
        {"--update gmp --spread erk", 0.25},
        {"--densify 0.3", 1},
        {"--dense-first 0.4 --mask magnitude", 0.25},
        {"--mask butterfly --scale supar", 0.354},
    };
    const size_t ways = sizeof way / sizeof *way;
    const char *text = file_in("text");
    const char *pruned = file_in("pruned");
    for (size_t k = 0; k < ways; k++)
        if (!QUICK || k == 2 || k == 4) check_way(k, way[k].how, way[k].end);
    check_works("run --text %s --init %s --out %s --mask magnitude "
                "--sparsity 0.5 --steps 2 --batch 3 --quiet",
                text, file_in("mask4"), pruned);
    check_works("eval %s --text %s", pruned, text);
}

/* A file of masks, each of them all zeros but for the first element. */
static void put_masks(const char *name, size_t n, const char *const *mask,
                      const size_t (*shape)[2], uint8_t first) {
    static const uint8_t zeros[32 * 128];
    StWriter w = {0};
    for (size_t k = 0; k < n; k++) st_declare(&w, mask[k], ST_U8, 2, shape[k]);
    st_begin(&w, file_in(name));
    for (size_t k = 0; k < n; k++) {
        st_write(&w, &first, 1);
        st_write(&w, zeros, shape[k][0] * shape[k][1] - 1);
    }
    st_commit(&w);
}
/* A mask of a wrong shape, of twos, of zeros only, or of no matrix there is. */
static void test_mask_files(void) {
    static const char *const qkv = "mask.h.0.attn.c_attn.weight";
    static const size_t good[2][2] = {{32, 96}, {32, 96}};
    static const char *const stray[3] = {
        "mask.wte.weight",
        "mask.h.2.attn.c_attn.weight",
        "msak.h.0.attn.c_attn.weight",
    };
    static const char *const all[8] = {
        "mask.h.0.attn.c_attn.weight", "mask.h.0.attn.c_proj.weight",
        "mask.h.0.mlp.c_fc.weight",    "mask.h.0.mlp.c_proj.weight",
        "mask.h.1.attn.c_attn.weight", "mask.h.1.attn.c_proj.weight",
        "mask.h.1.mlp.c_fc.weight",    "mask.h.1.mlp.c_proj.weight",
    };
    static const size_t shape[8][2] = {{32, 96},  {32, 32}, {32, 128},
                                       {128, 32}, {32, 96}, {32, 32},
                                       {32, 128}, {128, 32}};
    static const Refused file[] = {
        {"wrong", "32,96"},
        {"twos", "expected 0 or 1"},
        {"text", "safetensors"},
        {"nothing", "only zeros"},
        {"mask.wte.weight", "'mask.wte.weight'"},
        {"mask.h.2.attn.c_attn.weight", "'mask.h.2."},
        {"msak.h.0.attn.c_attn.weight", "'msak.h.0."},
    };
    put_masks("wrong", 1, &qkv, (const size_t[][2]){{32, 95}}, 2);
    put_masks("twos", 1, &qkv, good, 2);
    put_masks("nothing", 8, all, shape, 0);
    for (size_t k = 0; k < 3; k++)
        put_masks(stray[k], 2, (const char *const[]){qkv, stray[k]}, good, 0);
    for (size_t k = 0; k < sizeof file / sizeof *file; k++)
        check_refused(file[k].expected,
                      "run --text %s --mask %s --vocab 260 --layers 2 "
                      "--width 32 --context 24 --batch 3 --out %s",
                      file_in("text"), file_in(file[k].given), file_in("none"));
}

/* A run in parts, each under another schedule, has the bits of one without a
 * break. */
static void test_dropout(void) {
    static const char how[] = "--dropout 0.1 --attention-dropout 0.2 " SMALL;
    const char *text = file_in("text");
    const char *whole = file_in("dropped");
    const char *parts = file_in("dropped-parts");
    check_works("run --text %s --out %s --threads 1 --schedule serial %s",
                text, whole, how);
    check_works("run --text %s --out %s --threads 2 --panel 16 --group 2 "
                "--stop 3 %s", text, parts, how);
    check_works("run --text %s --resume %s --threads 3 --every 4 --stop 7 "
                "--schedule dataflow --quiet", text, parts);
    check_works("run --text %s --resume %s --threads 2 --schedule dataflow "
                "--tiles 9 --sram 65536 --depth 1 --quiet", text, parts);
    check_equal(whole, parts);
    check_refused("--dropout", "run --text %s --resume %s --dropout 0", text,
                  whole);
    check_refused("found '1'", "run --dropout 1");
}

/* A mask of single elements, in its own file, in a checkpoint and in another
 * form of the model: it stays as it is. */
static void check_chess(const uint8_t mask[32 * 96]) {
    Options none = {0};
    State s = checkpoint_read(file_in("odd1"), &none, true);
    const GptParam *p = &s.m->table[gpt_layer(0, QKVW)];
    float weights[32 * 96];
    size_t wrong = 0;
    gpt_get(p, s.m->w, weights);
    for (size_t i = 0; i < 32 * 96; i++) wrong += (weights[i] != 0) != mask[i];
    CHECK(p->mat.dense && sp_elements(&p->mat) == 32 * 96 / 2 && !wrong,
          "%zu elements against the mask", wrong);
    const char *hf = file_in("odd1-hf");
    const char *back = file_in("odd1-back.ckpt");
    check_works("convert %s %s", file_in("odd1"), hf);
    check_works("convert %s %s", hf, back);
    State b = checkpoint_read(back, &none, false);
    CHECK(sp_elements(&b.m->table[gpt_layer(0, QKVW)].mat) == 32 * 96 / 2 &&
              !memcmp(s.m->w, b.m->w, s.m->floats * 4),
          "masked elements by way of Hugging Face's form");
    state_free(&s);
    state_free(&b);
}
/* What a sparse model says to a run that starts from it, or scales by its
 * density.
 */
static void check_start_from(const char *text) {
    Options none = {0};
    State s = checkpoint_read(file_in("odd2"), &none, true);
    float *rate = &s.m->table[gpt_layer(0, FCW)].rate;
    CHECK(*rate == 4, "supar at a quarter: %g times the rate", (double)*rate);
    s.o->scale = "init";
    masks_ready(s.o, s.m);
    CHECK(*rate == 1, "without supar: %g times the rate", (double)*rate);
    state_free(&s);
    check_works("run --text %s --init %s --out %s --sparsity 0.75 "
                "--dense-first 0.5 --steps 4 --batch 3 --stop 1 --quiet",
                text, file_in("odd2"), file_in("thaw"));
    s = checkpoint_read(file_in("thaw"), &none, true);
    CHECK(!gpt_masked(&s.m->table[gpt_layer(0, FCW)]),
          "dense at first, from a sparse model, is sparse");
    state_free(&s);
}
/* Sparse models that are awkward to save: blocks whose number is no multiple of
 * four; masked elements in every block, so that all lines are kept. */
static void test_awkward_masks(void) {
    static const char shape[] = "--vocab 260 --layers 1 --heads 2 --context 24 "
                                "--batch 3 --steps 6 --every 4 --quiet";
    const char *text = file_in("text");
    char more[3][160];
    uint8_t mask[32 * 96];
    StWriter w = {0};
    for (size_t i = 0; i < sizeof mask; i++) mask[i] = (i / 96 + i % 96) % 2;
    st_declare(&w, "mask.h.0.attn.c_attn.weight", ST_U8, 2, (size_t[]){32, 96});
    st_begin(&w, file_in("chess"));
    st_write(&w, mask, sizeof mask);
    st_commit(&w);
    snprintf(more[0], 160,
             "--width 24 --sparsity 0.5 --update set --mask-every 2");
    snprintf(more[1], 160, "--width 32 --mask %s", file_in("chess"));
    snprintf(more[2], 160, "--width 32 --sparsity 0.75 --scale supar");
    for (size_t k = 0; k < 3; k++) {
        char whole[128];
        char parts[128];
        snprintf(whole, sizeof whole, "%s/odd%zu", folder, k);
        snprintf(parts, sizeof parts, "%s/odd%zu.parts", folder, k);
        check_works("run --text %s --out %s %s %s", text, whole, more[k],
                    shape);
        check_works("run --text %s --out %s %s %s --stop 3", text, parts,
                    more[k], shape);
        check_works("run --text %s --resume %s --quiet", text, parts);
        check_equal(whole, parts);
    }
    check_chess(mask);
    check_start_from(text);
}

/* ---- damage -------------------------------------------------------------- */

/* A checkpoint cut anywhere, or with any byte of its header changed, is
 * refused. */
static void test_damage(void) {
    Bytes good = file_read(file_in("whole"));
    const size_t header = 8 + (size_t)get_u64(good.p);
    const size_t step = good.n / (QUICK ? 40 : 160);
    uint8_t *copy = mem_new(good.n, 1);
    const char *path = file_in("damaged");
    for (size_t cut = 0; cut < good.n;) {
        file_put(path, good.p, cut);
        CHECK(command("sample %s --tokens 0 --quiet", path) == 2,
              "cut at byte %zu was read", cut);
        const bool edge = cut < 16 || cut + 16 > good.n;
        cut += edge ? 1 : step;
    }
    size_t refused = 0;
    size_t n = 0;
    for (size_t at = 0; at < header; at += QUICK ? 41 : 7) {
        memcpy(copy, good.p, good.n);
        copy[at] ^= (uint8_t)(1 + rng_u64(5, at) % 255);
        file_put(path, copy, good.n);
        refused += command("sample %s --tokens 0 --quiet", path) == 2;
        n++;
    }
    CHECK(refused == n, "%zu of %zu changed headers refused", refused, n);
    file_free(&good);
    free(copy);
}

static const char endless[] = "--vocab 260 --layers 1 --heads 1 --width 16 "
                              "--context 8 --batch 2 --steps 1000000 --quiet";

/* Interrupted after three seconds: the checkpoint is that of a run of so many
 * steps. */
static void check_cut(void) {
    const char *text = file_in("text");
    const char *cut = file_in("cut");
    const char *uncut = file_in("uncut");
    Options none = {0};
    const int status =
        outside("timeout --foreground --preserve-status -k 60 -s INT 3 "
                "%s run --text %s --out %s %s > %s 2>&1",
                train_path(), text, cut, endless, file_in("said"));
    CHECK(status == 3, "interrupted: status %d", status);
    if (status != 3) return;
    State s = checkpoint_read(cut, &none, true);
    if (s.step) {               /* a slow machine may not have got that far */
        check_works("run --text %s --out %s --stop %zu %s", text, uncut,
                    s.step, endless);
        State u = checkpoint_read(uncut, &none, true);
        CHECK(!memcmp(s.m->w, u.m->w, s.m->floats * 4),
              "interrupted after %zu steps: other weights", s.step);
        state_free(&u);
    }
    state_free(&s);
}
/* Killed, interrupted or out of room while it writes: the checkpoint is the old
 * one or the new one, whole. */
static void test_kill(void) {
    const char *train = train_path();
    const char *text = file_in("text");
    const char *out = file_in("killed");
    CHECK(outside("%s run --text %s --out %s %s --stop 2", train, text, out,
                  endless) == 0,
          "cannot run %s", train);
    const uint64_t before = file_bits(out);
    CHECK(outside("(ulimit -f 4; %s run --text %s --resume %s --quiet "
                  "--stop 3) 2>&1 | grep -q 'whole is still'",
                  train, text, out) == 0,
          "no word of a full disk");
    CHECK(file_bits(out) == before, "a full disk spoilt the checkpoint");
    outside("%s run --text %s --resume %s --quiet --every 1 & "
            "sleep 0.3; kill -9 $!; wait $! 2>/dev/null", train, text, out);
    CHECK(command("sample %s --tokens 0 --quiet", out) == 0, "after a kill: %s",
          check_line);
    outside("rm %s", out);
    CHECK(outside("%s run --text %s --out %s " SMALL " --batch 64 --vocab 300 "
                  "2>&1 | grep -q twice", train, text, out) == 0,
          "an option given twice");
    check_cut();
}

/* ---- bad input ----------------------------------------------------------- */

static const Refused bad_lines[] = {
    {"fly", "unknown command 'fly' (see"},
    {"rnu", "the nearest one is run"},
    {"help fly", "unknown command"},
    {"help run --every", "found '--every'"},
    {"run --fly 1", "unknown option '--fly' (see"},
    {"run --sparcity 0.5", "the nearest one is --sparsity"},
    {"sample x --sparcity 0.5", "unknown option '--sparcity' (see"},
    {"run --lr", "needs a value"},
    {"run --lr fast", "found 'fast'"},
    {"run --lr nan", "found 'nan'"},
    {"run --lr -1", "found '-1'"},
    {"run --batch 0", "found '0'"},
    {"run --batch -3", "found '-3'"},
    {"run --batch 1e99", "found '1e99'"},
    {"run --batch 99999999999999999999", "found"},
    {"run --steps 1.5", "found '1.5'"},
    {"run --steps 1 --steps 2", "twice"},
    {"run --layers 100000000000", "found"},
    {"run --heads 3 --width 32 --corpus 100000", "divisor"},
    {"run --model d0", "--model"},
    {"run --model huge", "--model"},
    {"run --panel 48", "--panel"},
    {"run --panel 8", "--panel"},
    {"run --vocab 100", "--vocab"},
    {"run --vocab nothere", "nothere"},
    {"run --text nothere", "nothere"},
    {"run --text . ", "directory"},
    {"run --text a --tokens b", "contradict"},
    {"run --threads 0", "--threads"},
    {"run --resume nothere", "nothere"},
    {"run --resume . ", "directory"},
    {"run file", "expected an option"},
    {"sample", "expected a checkpoint"},
    {"sample nothere", "nothere"},
    {"sample a b", "found 'b'"},
    {"sample a --tokens many", "found 'many'"},
    {"run --model d+1", "--model"},
    {"run --out --quiet", "needs a value"},
    {"run --steps 10 --warmup 11 --corpus 100000 --vocab 300", "--warmup"},
    {"run --steps 10 --warmup 11 --text nothere", "--warmup"},
    {"run --lr 0.1 --min-lr 0.2 --text nothere", "--min-lr"},
    {"run --val x", "--val needs"},
    {"run --text x --corpus 100000", "contradicts"},
    {"run --corpus 100000 --out /nothere/x", "/nothere/x"},
    {"run --width 60000 --layers 90 --heads 1 --corpus 100000", "GiB"},
    {"sample a --lr 1", "does not take"},
    {"eval a --top-k 3", "does not take"},
    {"tokenize --decode", "--decode"},
    {"run --corpus 100000 --context 1000000 --batch 1000",
     "the training text has"},
    {"run --sparsity 1", "found '1'"},
    {"run --sparsity -0.5", "found '-0.5'"},
    {"run --sparsity 0.5 --block 16x3", "found '16x3'"},
    {"run --sparsity 0.5 --block 8x8", "found '8x8'"},
    {"run --sparsity 0.5 --width 30 --heads 1 --corpus 100000",
     "divides the 30 inputs"},
    {"run --sparsity 0.5 --mask nothere --corpus 100000", "or a file, found 'nothere'"},
    {"run --mask nothere --corpus 100000", "or a file, found 'nothere'"},
    {"run --sparsity 0.5 --mask magnitude", "trained weights"},
    {"run --sparsity 0.5 --spread fc=2", "--spread"},
    {"run --sparsity 0.5 --spread qkv=0.5,fc=0.75", "--spread"},
    {"run --sparsity 0.5 --spread all", "--spread"},
    {"run --sparsity 0.5 --spread qkv=0.5/", "found ''"},
    {"run --sparsity 0.5 --spread qkv=0.5/qkv=0.9", "at most once"},
    {"run --sparsity 0.5 --scale up", "--scale"},
    {"run --update rigl", "needs --sparsity"},
    {"run --sparsity 0.5 --update often", "--update"},
    {"run --sparsity 0.5 --drop 0.5", "needs --update"},
    {"run --sparsity 0.5 --update gmp --mask-every 1000", "--mask-every"},
    {"run --sparsity 0.5 --update gmp --mask random", "keeps the largest weights: no --mask "},
    {"run --sparsity 0.5 --update gmp --drop 0.5", "keeps the largest weights: no --drop "},
    {"run --sparsity 0.5 --densify 0.6 --dense-first 0.6", "none of 500 steps sparse"},
    {"run --sparsity 0.5 --dense-first 1", "none of 500 steps sparse"},
    {"run --sparsity 0.5 --densify 1", "none of 500 steps sparse"},
    {"run --sparsity 0.5 --densify 0.5 --dense-first 0.5", "none of 500 steps sparse"},
    {"run --corpus 100000 --vocab 300 --pattern gpt2", "--pattern needs"},
    {"tokenize --vocab 300 --pattern gpt2", "--pattern needs"},
    {"eval a --margin 0.1", "needs two models"},
    {"sample a --temperature 0 --top-k 5", "no --top-k"},
    {"run --schedule kernel --tiles 3", "--tiles needs --schedule dataflow or fit"},
    {"bench --chip nothere", "found 'nothere'"},
    {"bench --products --block 16x3", "found '16x3'"},
    {"eval a --text x --corpus 100000", "contradicts"},
    {"compare --corpus 100000 --vocab 300 --sparsity 0", "for the arm 'sparse', found 0"},
    {"run --densify 0.1", "needs --sparsity"},
    {"run --mask random", "needs --sparsity"},
    {"run --spread erk", "needs --sparsity"},
    {"run --scale supar", "needs --sparsity"},
    {"dump x --sparsity 0.5 --block 1x-1", "OUTPUTSxINPUTS"},
    {"run --trace x.json", "--schedule dataflow"},
    {"run --schedule parallel", "--schedule"},
    {"run --schedule serial --threads 2", "one thread"},
    {"bench --schedule serial --threads 2", "one thread"},
    {"run --depth 0 --schedule dataflow", "found '0'"},
    {"run --corpus 100000 --vocab 300 --schedule dataflow --tiles 60000 "
     "--sram 1000000000",
     "GiB"},
    {"bench --products --chip mesh", "--products leaves out"},
    {"bench --products --depth 3", "--products leaves out"},
    {"simulate --chip nothere", "sn40l, a100, here or a file, found 'nothere'"},
    {"run --chip here", "simulate alone measures"},
    {"simulate --tiles 0", "--tiles"},
    {"simulate --layers 1 --heads 1 --width 100000 --vocab 1000000",
     "too many weights"},
    {"simulate --model d4 --tiles 1 --sram 640", "sram="},
    {"simulate --model gpt-14b", "gpt-13b"},
    {"simulate --sweep width=1..2", "--sweep"},
    {"simulate --sweep sparsity=0.5..1", "--sweep"},
    {"simulate --sweep batch=4..2", "--sweep"},
    {"simulate --sweep batch=1..2x", "--sweep"},
    {"simulate --sweep batch=1..2 --json x", "--sweep and --json contradict"},
    {"simulate --sweep batch=1..2 --why embed", "--sweep and --why contradict"},
    {"simulate --sweep batch=1..2 --batch 4", "--sweep and --batch contradict"},
    {"simulate --sweep context=1.5..4", "whole numbers"},
    {"simulate --sweep sram=100..400", "so many times 64"},
    {"simulate --validate --spread erk", "--validate and --spread contradict"},
    {"simulate --section 1", "--section: is of --timeline"},
    {"simulate --why embed --timeline --section 1", "--section: is of --timeline"},
    {"simulate --model d4 --chip a100 --csv x",
     "expected a chip with dataflow"},
};
static void test_bad_input(void) {
    char back[PATH_MAX];
    if (!getcwd(back, sizeof back) || chdir(folder)) abort();   /* no .ckpt */
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++)
        check_refused(bad_lines[i].expected, "%s", bad_lines[i].given);
    if (chdir(back)) abort();
    check_works("simulate --model d4 --chip a100");
    check_works("simulate --layers 1 --width 64 --context 64 --chip here --tiles 3");
    check_works(QUICK ? "simulate --layers 4" : "simulate");
    check_works("simulate --layers 1 --heads 1 --width 16 "
                "--sweep sparsity=0.3..0.9 --csv %s", file_in("sweep"));
    char *sweep = file_text(file_in("sweep"));
    CHECK(strstr(sweep, "\nsparsity,0.9,"), "the last line: %s", sweep);
    free(sweep);
    check_refused("sram=", "simulate --model d4 --tiles 1 --sram 640 --csv %s",
                  file_in("csv"));
    CHECK(access(file_in("csv"), F_OK) && access(file_in("csv.tmp"), F_OK),
          "a table of a plan that does not fit");
}

/* Texts that are too short to learn from, and no checkpoints. */
static void test_bad_texts(void) {
    static const struct {
        const char *name;
        const char *bytes;
        size_t n;
        const char *expected;
    } file[] = {
        {"empty", "", 0, "found none"},
        {"one", "x", 1, "training text has"},
        {"mark", "<|endoftext|>\r\n\n", 16, "found none"},
    };
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        const char *path = file_in(file[i].name);
        file_put(path, file[i].bytes, file[i].n);
        check_refused(file[i].expected, "run --text %s --out %s", path,
                      file_in("none"));
        check_refused(file[i].name, "sample %s", path);
    }
    if (!getuid()) return;              /* root may read all */
    file_put(file_in("secret"), "x", 1);
    chmod(file_in("secret"), 0);
    check_refused("ermission", "run --text %s --out %s", file_in("secret"),
                  file_in("none"));
}
/* A file of n bytes, of ten tokens but for the value at `at`, is refused. */
static void check_shard(size_t at, uint32_t value, size_t n,
                        const char *expected) {
    const uint32_t head[3] = {20240520, 1, 10};
    const char *path = file_in("shard");
    uint8_t shard[1024 + 20] = {0};
    Tokens t = {0};
    memcpy(shard, head, sizeof head);
    memcpy(shard + at, &value, 4);
    file_put(path, shard, n);
    const bool died = DIES(tokens_read(&t, path, 50257, false));
    CHECK(died && strstr(check_line, expected), "shard: expected '%s' in: %s",
          expected, check_line);
}
/* A header with another number, a file that is cut, an id that is too large. */
static void test_bad_tokens(void) {
    check_shard(0, 20240521, 1044, "magic");
    check_shard(4, 2, 1044, "version");
    check_shard(8, 11, 1044, "need a file of");
    check_shard(8, 10, 1043, "need a file of");
    check_shard(8, 10, 1000, "header");
    check_shard(1024, 50258, 1044, "below");
}

/* ---- help ---------------------------------------------------------------- */

static bool bytes_have(const Bytes *b, const char *what) {
    return memmem(b->p, b->n, what, strlen(what)) != NULL;
}
/* Every option of a command is in its help: the first ones, and the rest on
 * demand.
 */
static void test_help(void) {
    const char *train = train_path();
    CHECK(outside("%s run --help > %s/help; %s help run --all > %s/all", train,
                  folder, train, folder) == 0,
          "help");
    Bytes first = file_read(file_in("help"));
    Bytes all = file_read(file_in("all"));
    CHECK(bytes_have(&first, "--sparsity ") &&
              !bytes_have(&first, "--prompt ") &&
              !bytes_have(&first, "--mask-seed "),
          "help for one command");
    for (int k = 0; k < FIRST_LISTS; k++)
        for (int i = 0; i < FIRST; i++) {
            const char *name = first_options[k].option[i];
            CHECK(option_find(name, first_options[k].command) >= 0,
                  "list %d has no option %d", k, i);
        }
    for (int k = 0; k < OPTIONS; k++) {
        char name[64];
        snprintf(name, sizeof name, "    --%s ", options[k].name);
        if (help_shows(k, RUN))
            CHECK(bytes_have(&all, name), "no --%s", options[k].name);
    }
    file_free(&first);
    file_free(&all);
    CHECK(option_find("threads", 2 * COMPARE) >= 0,
          "another command takes no --threads");
}
/* A run that ends says how it goes on, in words that a shell takes. */
static void test_goes_on(void) {
    const char *train = train_path();
    const char *text = file_in("a text");
    make_text(text, 20000);
    CHECK(outside("%s run --text '%s' --vocab 260 --layers 1 --heads 1 "
                  "--width 16 --context 8 --batch 2 --steps 2 --stop 1 "
                  "--out '%s/a run' > '%s/said' && "
                  "grep -e ' run --resume' '%s/said' | "
                  "sed 's|./train|%s|' | sh > /dev/null && "
                  "! sh -c '%s run --resume \"%s/a run\" --text \"%s\"' | "
                  "grep -q -e --resume",
                  train, text, folder, folder, folder, train, train, folder,
                  text) == 0,
          "the line that a run ends with does not go on with it");
}
static void test_edits(void) {
    static const struct {
        const char *a;
        const char *b;
        size_t edits;
    } word[] = {
        {"", "", 0},
        {"run", "run", 0},
        {"rnu", "run", 1},
        {"", "abc", 3},
        {"sparcity", "sparsity", 1},
        {"kitten", "sitting", 3},
        {"steps", "step", 1},
    };
    for (size_t k = 0; k < sizeof word / sizeof *word; k++) {
        const size_t edits = text_edits(word[k].a, word[k].b);
        CHECK(edits == word[k].edits, "%s to %s: %zu edits", word[k].a,
              word[k].b, edits);
    }
}

/* ---- batches and samples ------------------------------------------------- */

/* n tokens 0, 1, 2 ... read in batches of one window of 10. */
static void check_batches(size_t n) {
    enum { T = 10 };
    const size_t windows = n >= 2 * T ? (n - T) / T : 1;
    uint8_t *bytes = mem_new(n, 2);     /* exactly: a read past it is seen */
    size_t *seen = mem_new(n, sizeof *seen);
    size_t offset = SIZE_MAX;           /* of windows from multiples of T */
    int32_t in[T];
    int32_t out[T];
    Tokens t = {0};
    for (size_t i = 0; i < n; i++) {
        bytes[2 * i] = (uint8_t)i;
        bytes[2 * i + 1] = (uint8_t)(i >> 8);
    }
    tokens_add(&t, bytes, n, 2, (Bytes){0});
    for (size_t s = 0; s < windows; s++) {
        batch_train(&t, 3, s, 1, T, in, out);
        for (size_t i = 0; i < T; i++)
            CHECK(out[i] == in[i] + 1 && out[i] < (int)n,
                  "sample %zu of %zu tokens", s, n);
        if ((size_t)in[0] % T != offset && offset != SIZE_MAX)
            CHECK(0, "offset changed within a pass");
        offset = (size_t)in[0] % T;
        seen[in[0]]++;
    }
    for (size_t i = 0; i < n; i++)
        CHECK(seen[i] <= 1, "window %zu of %zu tokens read %zu times", i, n,
              seen[i]);
    size_t count = 0;
    for (size_t first = 0; first * T + 1 < n; first++)
        count += batch_val(&t, first, SIZE_MAX, 1, T, in, out);
    CHECK(count == n - 1, "validation reads %zu of %zu targets", count, n - 1);
    free(seen);
    tokens_free(&t);
}
/* Every window of a pass is read once, no token past the end, and the same
 * sample is the same batch. */
static void test_batches(void) {
    static const size_t sizes[] = {11, 12, 20, 21, 100, 1001};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        check_batches(sizes[k]);
}

/* With the cache of keys and values the same bits of logits as without. */
static void test_cache(void) {
    enum { V = 50, T = 70 };
    GptPair p = pair_new((GptConfig){2, 2, 24, V, T}, 1, T, 0.3, 2);
    GptRun *cached = gpt_run_new(p.m, p.pool, 1, T, 64, GPT_FORWARD);
    GptRun *fresh = gpt_run_new(p.m, p.pool, 1, T, 64, GPT_FORWARD);
    size_t done = 0;
    for (size_t n = 1; n <= T;) {
        float a[V];
        float b[V];
        const float *x = gpt_next(cached, p.inputs, n, done);
        for (size_t v = 0; v < V; v++) a[v] = x[v * LINE];
        x = gpt_next(fresh, p.inputs, n, 0);
        for (size_t v = 0; v < V; v++) b[v] = x[v * LINE];
        CHECK(!memcmp(a, b, sizeof a), "%zu tokens", n);
        spec_forward(p.s, p.inputs, p.targets);
        for (size_t v = 0; v < V; v++)
            CHECK(fabs((double)a[v] - p.s->logits[(n - 1) * V + v]) < 1e-4,
                  "logit %zu after %zu tokens", v, n);
        done = n;
        n += n == 1 ? 29 : n == 35 && QUICK ? 35 : 1;
    }
    gpt_run_free(cached);
    gpt_run_free(fresh);
    pair_free(&p);
}
/* What is picked of four logits at a point u of the distribution. */
static uint32_t choose(GptChoice how, double u) {
    static const float logits[4] = {1, 3, 3, 0};
    GptCandidate c[4];
    for (uint32_t v = 0; v < 4; v++)
        c[v] = (GptCandidate){(double)logits[v], v};
    return gpt_choose(c, 4, &how, u);
}
static void test_choose(void) {
    CHECK(choose((GptChoice){0, 1, 0}, 0.99) == 1,
          "temperature 0: the largest, ties to the smaller id");
    CHECK(choose((GptChoice){1, 1, 2}, 0.99) == 2, "top-k keeps two");
    CHECK(choose((GptChoice){1, 0.3, 0}, 0.99) == 1, "top-p keeps one");
    CHECK(choose((GptChoice){1, 1, 0}, 0.999999) == 3, "all four");
}

static void test_train(void) {
    folder_begin();
    test_batches();
    test_cache();
    test_choose();
    test_resume();
    test_infinite();
    test_late_pruning();
    test_trace();
    test_masks();
    test_mask_files();
    test_dropout();
    test_awkward_masks();
    test_damage();
    test_kill();
    test_bad_input();
    test_help();
    test_goes_on();
    test_edits();
    test_bad_texts();
    test_bad_tokens();
    folder_end();
}
#endif
