/* test_files.h: one file never takes another's place, one process at a time
 * writes a run's, a stranger's file reaches neither a disk nor a terminal by
 * our hand, and what the machine was left in changes no bit. */
#ifndef TEST_FILES_H
#define TEST_FILES_H
#include "test_train.h"

#define SHAPE "--vocab 260 --layers 1 --heads 1 --width 16 --context 8 " \
              "--batch 2 --every 1000 --quiet "
#define TINY "--threads 1 " SHAPE

static void files_text(const char *name, const char *text) {
    file_put(file_in(name), text, strlen(text));
}

/* ---- the same file ------------------------------------------------------- */

static void files_same(void) {
    char folders[PATH_MAX];
    outside("mkdir %s && ln -s sub %s", file_in("sub"), file_in("link"));
    files_text("here", "x");
    outside("ln -s here %s && ln %s %s", file_in("soft"), file_in("here"),
            file_in("hard"));
    static const struct {
        const char *a;
        const char *b;
        bool same;
    } pair[] =
        {{"here", "here", true},        {"here", "./here", true},
         {"here", "sub/../here", true}, {"here", "soft", true},
         {"here", "hard", true},        {"here", "none", false},
         {"none", "./none", true},      {"sub/none", "link/none", true},
         {"none", "sub/none", false},   {"sub/none", "sub/../none", false},
         {"none", "nonesuch", false},   {"nowhere/none", "nowhere/none", true}};
    for (size_t k = 0; k < sizeof pair / sizeof *pair; k++)
        CHECK(file_same(file_in(pair[k].a), file_in(pair[k].b)) == pair[k].same,
              "%s, %s", pair[k].a, pair[k].b);
    const char *text = file_in("text");
    static const char *const twice[][2] = {{"z", "./z"},
                                           {"z", "sub/../z"},
                                           {"sub/z", "link/z"},
                                           {"z", "./z.best"},
                                           {"z", "z.lock"}};
    for (size_t k = 0; k < sizeof twice / sizeof *twice; k++)
        check_refused("found it twice", "run " TINY "--text %s --out %s --json %s",
                      text, file_in(twice[k][0]), file_in(twice[k][1]));
    check_refused("found it twice",
                  "run " TINY "--text %s --out %s --json %s --log %s", text,
                  file_in("z"), file_in("sub/j"), file_in("link/j"));
    snprintf(folders, sizeof folders, "%s", file_in("sub"));
    static const char *const option[] = {"json", "trace", "log"};
    for (size_t k = 0; k < 3; k++)
        check_refused("found a directory",
                      "run " TINY "--text %s --out %s --schedule dataflow --%s %s",
                      text, file_in("z"), option[k], folders);
    check_refused("found a directory", "compare --text %s --out %s --report %s",
                  text, file_in("cmp"), folders);
    check_refused("found a directory", "simulate --csv %s", folders);
    CHECK(access(file_in("z"), F_OK) && access(file_in("z.lock"), F_OK),
          "nothing has begun");
}

/* ---- one process at a time ----------------------------------------------- */

/* Two runs on one --out, started together: one wins, the other says why. */
static void files_pair(const char *text) {
    const char *out = file_in("pair");
    const char *said = file_in("pair.said");
    const char *train = train_path();
    const int status =
        outside("for i in 1 2; do %s run " TINY
                "--text %s --steps 300 --out %s 2>>%s & p=\"$p $!\"; done; lost=0; "
                "for j in $p; do wait $j || lost=$((lost+1)); done; "
                "[ $lost = 1 ] && grep -q 'process [0-9]* writes it\\|exists already' %s",
                train, text, out, said, said);
    CHECK(outside("rm %s %s.best %s", out, out, said) == 0, "the winner's files");
    CHECK(status == 0, "a pair of processes: status %d", status);
}

static void files_lock(void) {
    char number[32];
    char text[128];                 /* many names are made before it is used last */
    snprintf(text, sizeof text, "%s", file_in("text"));
    int ready[2];
    char byte = 0;
    if (pipe(ready)) abort();
    const pid_t other = fork();
    if (!other) {
        lock_take(file_in("locked"));
        if (write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    if (read(ready[0], &byte, 1) != 1) abort();
    snprintf(number, sizeof number, "process %ld writes it", (long)other);
    for (int k = 0; k < 2; k++)         /* by another name of the folder, too */
        check_refused(number, "run " TINY "--text %s --steps 2 --out %s", text,
                      file_in(k ? "sub/../locked" : "locked"));
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    CHECK(!access(file_in("locked.lock"), F_OK), "what was killed leaves its lock");
    for (int k = 0; k < 2; k++) {
        snprintf(number, sizeof number, "locked%s.%ld.tmp", k ? ".best" : "",
                 (long)other);
        files_text(number, "half a checkpoint");
    }
    CHECK(command("run " TINY "--text %s --steps 2 --out %s", text,
                  file_in("locked")) == 0,
          "%s", check_line);
    CHECK(outside("! ls %s | grep -q 'locked.*tmp\\|locked.lock'", folder) == 0,
          "it takes away what was left");
    outside("mkfifo %s", file_in("fifo.lock"));
    check_refused("expected a file that locks", "run " TINY "--text %s --out %s",
                  text, file_in("fifo"));
    outside("ln -s here %s", file_in("linked.lock"));
    check_refused("linked.lock: cannot write", "run " TINY "--text %s --out %s",
                  text, file_in("linked"));
    for (int k = 0; k < (QUICK ? 2 : 10); k++) files_pair(text);
}

/* ---- files that are not ours --------------------------------------------- */

static void files_strangers(void) {
    char temp[PATH_MAX];
    snprintf(temp, sizeof temp, "%s.%ld.tmp", file_in("out"), (long)getpid());
    files_text("victim", "untouched");
    if (symlink("victim", temp)) abort();
    Out out = out_open(file_in("out"));
    out_bytes(&out, "new", 3);
    out_done(&out);
    char *victim = file_text(file_in("victim"));
    char *written = file_text(file_in("out"));
    CHECK(!strcmp(victim, "untouched") && !strcmp(written, "new"), "'%s', '%s'",
          victim, written);
    free(victim);
    free(written);
    unlink(temp);

    /* a checkpoint whose mask is still to be read names a FIFO */
    CHECK(command("run " TINY
                  "--text %s --steps 4 --stop 2 --sparsity 0.5 --dense-first 0.75 --out %s",
                  file_in("text"), file_in("late")) == 0,
          "%s", check_line);
    Options none = {0};
    outside("mkfifo %s", file_in("fifo"));
    State s = checkpoint_read(file_in("late"), &none, true);
    s.o->mask = file_in("fifo");
    if (!checkpoint_write(&s, file_in("late"))) abort();
    check_refused("--mask FILE says all", "run --resume %s --text %s",
                  file_in("late"), file_in("text"));
    s.o->sparsity = 0;
    s.o->dense_first = 0;
    SpMat *mats = NULL;
    CHECK(DIES(mats = masks_new(s.o, &s.m->c, s.m)) &&
              strstr(check_line, "regular file"),
          "%s", check_line);
    state_free(&s);
    free(mats);
}

static void files_shown(void) {
    static const struct { const char *text, *shown;
    } line[] = {{"plain \xc3\xa9", "plain \xc3\xa9"},
                {"\x1b[2J", "\\x1b[2J"},
                {"a\nb\tc", "a\nb\tc"},
                {"\xc2\x9b"
                 "31m",
                 "\\xc2\\x9b31m"},
                {"\x9b", "\\x9b"},
                {"\x7f", "\\x7f"},
                {"\xed\xa0\x80", "\\xed\\xa0\\x80"}};
    char shown[64];
    for (size_t k = 0; k < sizeof line / sizeof *line; k++) {
        text_show(shown, sizeof shown, line[k].text, strlen(line[k].text), "\n\t");
        CHECK(!strcmp(shown, line[k].shown), "'%s'", shown);
    }
    CHECK(text_show(shown, 5, "ab\xc3\xa9", 4, "") == 4 &&
              text_show(shown, 4, "ab\xc3\xa9", 4, "") == 2,
          "whole characters");
    CHECK(DIES(die("%s", "\x1b[1m\xc2\x85")) &&
              !strcmp(check_line, "\\x1b[1m\\xc2\\x85"),
          "%s", check_line);
    Out text = out_memory();
    json_put(&text, "a\xff\"\xc3\xa9");
    CHECK(!strcmp(out_string(&text), "\"a\xef\xbf\xbd\\\"\xc3\xa9\""), "%s", text.text);
    out_free(&text);
}

/* ---- what is written ----------------------------------------------------- */

static bool files_there(const char *path) { return !access(path, F_OK); }
/* How many more outputs may be open at once. They are left open. */
static size_t files_open(const char *path) {
    volatile size_t n = 0;                                  /* DIES is a longjmp */
    while (!DIES(out_open(path))) n++;
    return n;
}
static void files_out(void) {
    char dead[TEMP_BYTES];
    char *wide = mem_new(OUT_ROOM + 100, 1);
    memset(wide, 'x', OUT_ROOM + 99);
    Out text = out_memory();
    for (int k = 0; k < 3; k++) out_print(&text, "%d%s", k, wide);
    CHECK(text.n == 3 * (OUT_ROOM + 100) && text.text[text.n - 1] == 'x',
          "%zu bytes", text.n);
    Out none = {0};
    Out file = out_open(file_in("order"));
    out_print(&none, "%s", wide);
    json_member_put(&none, "key", 1);
    CHECK(!none.n && out_commit(&none), "an output of zeros keeps nothing");
    out_char(&file, '<');
    out_bytes(&file, wide, OUT_ROOM + 99);
    out_print(&file, "%s>", wide);
    CHECK(out_commit(&file) && !files_there(file.temp->path), "%s", strerror(errno));
    char *read = file_text(file_in("order"));
    CHECK(strlen(read) == 2 * (OUT_ROOM + 99) + 2 && read[0] == '<' &&
              read[2 * OUT_ROOM + 199] == '>',
          "in order");

    Out full = out_open("/dev/full");
    out_text(&full, "x");
    CHECK(!out_flush(&full) && errno == ENOSPC, "a full disk takes something");
    out_text(&full, "y");
    CHECK(!out_commit(&full) && errno == ENOSPC, "what failed is forgotten");

    file = out_open(file_in("order"));
    CHECK(files_there(file.temp->path) && DIES(die("x")) &&
              !files_there(file.temp->path),
          "an end leaves it");
    CHECK(files_open(file_in("many")) == PASSING &&
              strstr(check_line, strerror(EMFILE)),
          "%s", check_line);
    CHECK(outside("! ls %s | grep -q tmp", folder) == 0, "an end leaves one of many");
    passing.dead = 12345;
    passing_name(dead, file_in("order"), passing.dead, 0);
    files_text("order.12345.tmp", "half of it");
    out_probe(file_in("order"));
    passing.dead = 0;
    CHECK(!files_there(dead) && files_there(file_in("order")),
          "what a killed process left stays");
    free(wide);
    free(read);
    out_free(&text);
}
/* What the system cannot look at is no free place. */
static void files_unseen(void) {
    static const char run[] = "run " TINY "--text %s --steps 2 --out %s --log %s";
    char loop[128];
    snprintf(loop, sizeof loop, "%s", file_in("loop"));
    CHECK(!symlink("loop", loop), "%s", strerror(errno));
    check_refused("loop: cannot look at: ", run, file_in("text"), loop, file_in("unseen"));
    check_refused("loop: cannot look at: ", run, file_in("text"), file_in("unseen"), loop);
    CHECK(!files_there(file_in("unseen")), "a run began");
}
/* A run that died before its first checkpoint leaves a log of nothing but its
 * head: it may begin again. */
static void files_logs(void) {
    static const char run[] = "run " TINY "--text %s --steps 2 --out %s --log %s";
    char log[128];                  /* many names are made before it is used last */
    snprintf(log, sizeof log, "%s", file_in("begun.log"));
    files_text("begun.log", log_head);
    CHECK(command(run, file_in("text"), file_in("begun"), log) == 0, "%s", check_line);
    char *lines = file_text(file_in("begun.log"));
    unlink(file_in("begun"));
    unlink(file_in("begun.best"));
    check_refused("exists already", run, file_in("text"), file_in("begun"), log);
    char *after = file_text(file_in("begun.log"));
    CHECK(strstr(lines, "\n2,") && !strcmp(lines, after), "%s", after);
    free(lines);
    free(after);
}

/* ---- terminals and signals ----------------------------------------------- */

/* What a command prints on a terminal of that many columns. */
static char *files_terminal(const char *line, unsigned short columns) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    char *text = mem_new(1 << 20, 1);
    size_t n = 0;
    if (master < 0 || grantpt(master) || unlockpt(master) ||
        ioctl(master, TIOCSWINSZ, &size))
        abort();
    const pid_t child = fork();
    if (!child) {
        const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
        dup2(slave, 1);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    int status;
    fcntl(master, F_SETFL, O_NONBLOCK);
    for (bool over = false;; usleep(1000)) {
        ssize_t got;
        while ((got = read(master, text + n, (1 << 20) - 1 - n)) > 0) n += (size_t)got;
        if (over) break;
        over = waitpid(child, &status, WNOHANG) == child;
    }
    close(master);
    text[n] = 0;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "'%s' on a terminal", line);
    return text;
}
static void files_terminals(void) {
    char line[1024];
    snprintf(line, sizeof line,
             "%s run --threads 1 --vocab 260 --layers 1 --heads 1 --width 16 --context 8 --batch 2 "
             "--steps 300 --text %s --out %s 2>/dev/null",
             train_path(), file_in("text"), file_in("wide"));
    char *text = files_terminal(line, 30);
    size_t longest = 0, lines = 0;
    for (const char *p = text; (p = strstr(p, "\r\033[K")); lines++) {
        p += 4;
        longest = size_max(longest, strcspn(p, "\r\n"));
    }
    CHECK(lines && longest == 29, "%zu progress lines of at most %zu columns",
          lines, longest);
    free(text);
    files_text("escapes", TOK_MAGIC "1 0\n");
    snprintf(line, sizeof line,
             "echo 216 58 216 64 128 | %s tokenize --decode --vocab %s",
             train_path(),
             file_in("escapes")); /* U+001C [ U+001C a, then the start of a character */
    text = files_terminal(line, 80);
    CHECK(strstr(text, "\\x1c[\\x1ca\\xc4") != NULL, "'%s'", text);
    free(text);
    CHECK(outside("echo 216 58 216 64 | %s tokenize --decode --vocab %s | grep -q '\x1c\\[\x1c'",
                  train_path(), file_in("escapes")) == 0,
          "a file gets the bytes");
}
static void files_signals(void) {
    static const char endless[] =
        "--threads 1 --vocab 260 --layers 1 --heads 1 --width 16 --context 8 --batch 2 --quiet "
        "--steps 100000000 --every 100000000";
    const char *text = file_in("text");
    const char *out = file_in("hup");
    const char *train = train_path();
    const int status =
        outside("%s run --text %s --out %s %s >/dev/null & p=$!; "
                "while [ ! -e %s ]; do sleep 0.05; done; "
                "sleep 0.3; kill -HUP $p; wait $p",
                train, text, out, endless, out);
    CHECK(status == 3 && access(file_in("hup.lock"), F_OK),
          "SIGHUP saves: status %d", status);
    CHECK(outside("trap '' HUP; %s run --text %s --out %s %s --stop 1500 & p=$!; "
                  "while [ ! -e %s ]; do sleep 0.02; done; kill -HUP $p; wait $p",
                  train, text, file_in("nohup"), endless, file_in("nohup")) == 0,
          "ignored at the start, ignored");
    CHECK(outside("mkfifo %s; %s run --text %s --out %s %s & p=$!; sleep 0.5; "
                  "kill -TERM $p; wait $p 2>/dev/null",
                  file_in("wait"), train, file_in("wait"), file_in("waits"),
                  endless) != 0,
          "a wait ends");
    outside("(ulimit -f 220; %s run --text %s --out %s --log %s %s --steps 20000 2>%s)",
            train, text, file_in("logged"), file_in("log"), TINY,
            file_in("said")); /* 110 KB: less than the log's */
    char *said = file_text(file_in("said"));
    CHECK(strstr(said, "File too large; the checkpoint is written"), "%s", said);
    free(said);
}

/* ---- the machine --------------------------------------------------------- */

static void files_mode(void *arg, size_t task, size_t worker) {
    volatile float least = 1e-38f;
    ((bool *)arg)[task] = fegetround() == FE_TONEAREST && least / 4 > 0;
    (void)worker;
}
/* As a library that is loaded first may. */
static void files_spoil(void) {
    fesetround(FE_UPWARD);
#ifdef __SSE__
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#endif
}
static void files_machine(void) {
    bool good[64] = {0};
    files_spoil();
    DfPool *pool = df_begin(3);         /* threads begin as their maker is */
    machine_ready();
    for (int k = 0; k < 20; k++) {
        df_run(pool, files_mode, good, 64);
        for (size_t i = 0; i < 64; i++)
            CHECK(good[i], "task %zu rounds or flushes in another way", i);
    }
    df_end(pool);
    CHECK(command("run --threads 2 " SHAPE "--text %s --steps 3 --out %s",
                  file_in("text"), file_in("clean")) == 0,
          "%s", check_line);
    files_spoil();
    const int status = command("run --threads 2 " SHAPE
                               "--text %s --steps 3 --out %s",
                               file_in("text"), file_in("spoilt"));
    CHECK(status == 0 && file_bits(file_in("clean")) == file_bits(file_in("spoilt")),
          "other bits");
    machine_ready();
}

/* ---- the smaller ones ---------------------------------------------------- */

static void files_smaller(void) {
    static const char chip[] =
        "tiles=4\nsram=65536 # of a tile\nelement=4\t# bytes\nflops=16\nclock=1e9\nport=64\n"
        "memory=1e9\nrandom=1e8\nlaunch=1e-6 # x\n";
    files_text("chip", chip);
    CHECK(df_chip(file_in("chip")).launch == 1e-6,
          "a comment may have a space before it");
    char cut[sizeof chip];
    memcpy(cut, chip, sizeof chip);
    cut[7] = 0;                         /* the end of tiles=4 */
    file_put(file_in("cut"), cut, sizeof cut - 1);
    CHECK(DIES(df_chip(file_in("cut"))) && strstr(check_line, "cut:1: expected text"), "%s",
          check_line);
    check_refused("at most 1000000000000000",
                  "compare --seed 1000000000000000 --seeds 2 --text %s --out %s",
                  file_in("text"), file_in("far"));
    check_refused("at most 1000000000000000",
                  "compare --mask-seed 999999999999500 --sweep --text %s --out %s",
                  file_in("text"), file_in("far"));
    CHECK(outside("printf 'ab<|endoftext|>ab<|endoftext|>ab<|endoftext|>' > %s",
                  file_in("marks")) == 0 &&
              outside("%s tokenize --vocab 300 --save %s < %s > /dev/null",
                      train_path(), file_in("v1"), file_in("marks")) == 0 &&
              outside("%s tokenize --vocab 300 --save %s --text %s < /dev/null > /dev/null",
                      train_path(), file_in("v2"), file_in("marks")) == 0 &&
              file_bits(file_in("v1")) == file_bits(file_in("v2")),
          "two ways in, one vocabulary");
    files_text("model.safetensors.index.json",
               "{\"metadata\": {}, \"weight_map\": {}}");
    check_refused("expected a config.json beside it", "eval %s",
                  file_in("model.safetensors.index.json"));
}

/* What is printed gets into no file, be it that standard output is closed. */
static void files_closed(void) {
    check_works("convert test/golden/sharded %s", file_in("open.gguf"));
    const int status = outside("%s convert test/golden/sharded %s >&- 2>&-", train_path(),
                               file_in("closed.gguf"));
    CHECK(status == 2, "standard output closed: status %d", status);
    CHECK(file_bits(file_in("open.gguf")) == file_bits(file_in("closed.gguf")),
          "standard output closed: another file");
}

/* Results for the standard output come after what is printed, also where that is a
 * file. */
static void files_printed(void) {
    CHECK(outside("%s simulate --layers 1 --heads 1 --width 16 --context 16 "
                  "--json /dev/stdout >%s/said && sed '$d' %s/said | grep -q '^sparse' && "
                  "sed -n '$p' %s/said | grep -q '^{.*}$'",
                  train_path(), folder, folder, folder) == 0,
          "the table, then its JSON");
}

static void test_files(void) {
    folder_begin();
    make_text(file_in("text"), 3000);
    files_same();
    files_lock();
    files_strangers();
    files_shown();
    files_out();
    files_unseen();
    files_logs();
    files_terminals();
    files_signals();
    files_machine();
    files_smaller();
    files_closed();
    files_printed();
    folder_end();
}
#endif
