/* fuzz_train.c: libFuzzer on what train.c and the loader read: checkpoints,
 * texts, files of ids, lines of ids, logs, what a comparison keeps, and command
 * lines. The first byte of an input says which; the rest is the file or the line.
 *
 * A checkpoint ends with the hash of its own header, which no fuzzer guesses: it
 * is put right before reading, so that what lies behind it is reached. die() is a
 * longjmp, so all memory is kept on a list and freed after each run. */
#include "held.h"
#include <sys/mman.h>

static struct {
    void *p;                        /* NULL: free */
    size_t n;
} fuzz_map[4];

static void *fuzz_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from) {
    size_t k = 0;
    while (k < 4 && fuzz_map[k].p) k++;
    if (k == 4) abort();
    fuzz_map[k].n = n;
    fuzz_map[k].p = mmap(at, n, prot, flags, fd, from);
    return fuzz_map[k].p;
}
static int fuzz_munmap(void *p, size_t n) {
    for (size_t k = 0; k < 4; k++)
        if (fuzz_map[k].p == p) fuzz_map[k].p = NULL;
    return munmap(p, n);
}

#define mmap fuzz_mmap
#define munmap fuzz_munmap
#include "../../train.c"

/* A path under which these bytes lie. */
static const char *fuzz_file(const uint8_t *p, size_t n) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) fd = memfd_create("fuzz", 0);
    if (fd < 0 || ftruncate(fd, 0)) abort();
    if (pwrite(fd, p, n, 0) != (ssize_t)n) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}
/* The vocabulary of 256 bytes. */
static Tokenizer *fuzz_bytes(void) {
    static const char none[] = TOK_MAGIC "1 0\n";
    return tok_parse((const uint8_t *)none, strlen(none), "none");
}
static void fuzz_checkpoint(uint8_t *p, size_t n) {
    Options o = {0};
    const uint64_t header = n >= 8 ? get_u64(p) : 0;
    if (n >= 16 && header <= n - 16) {
        const uint64_t hash = hash_bytes(HASH_START, p, 8 + (size_t)header);
        for (size_t k = 0; k < 8; k++) p[n - 8 + k] = (uint8_t)(hash >> 8 * k);
    }
    State s = checkpoint_read(fuzz_file(p, n), &o, true);
    if (s.step > s.o->steps || !gpt_finite(s.m->w, s.m->floats)) abort();
}
static void fuzz_text(const uint8_t *p, size_t n) {
    Documents d = {0};
    documents_read(&d, fuzz_file(p, n), false);
    documents_hold_out(&d, 0.1, n);
    Tokenizer *t = fuzz_bytes();
    for (int held = 0; held < 2; held++) {
        Tokens k = documents_tokens(&d, t, held);
        int32_t in[8];
        int32_t out[8];
        if (k.n > 4) batch_train(&k, 1, n, 2, 4, in, out);
        batch_val(&k, n % 8, SIZE_MAX, 2, 4, in, out);
    }
}
static void fuzz_options(uint8_t *p, size_t n) {
    char *word[34] = {(char[]){"fuzz"}};
    char *line = mem_new(n + 1, 1);
    int count = 1;
    memcpy(line, p, n);
    const int command = 1 << (n ? (unsigned char)line[0] % 5 : 0);
    for (char *at = strtok(line, " "); at && count < 33; at = strtok(NULL, " "))
        word[count++] = at;
    options_read(count, word, command, command == SAMPLE ? "a file" : NULL);
}

/* What a comparison goes on with: a curve of steps up to that one, and scores
 * whose items are of some kind. */
static void fuzz_curve(uint8_t *p, size_t n, size_t step) {
    const CmpCurve c = cmp_curve_read(fuzz_file(p, n), step);
    for (size_t k = 0; k < c.n; k++)
        if (c.point[k].step > step) abort();
}
static void fuzz_scores(uint8_t *p, size_t n) {
    CmpRun r = {0};
    if (!cmp_scores_read(&r, fuzz_file(p, n), 2)) return;
    for (int list = 0; list < 3; list++)
        for (size_t k = 0; k < r.m.cloze[list].items; k++)
            if (r.m.cloze[list].item[k].kind >= CLOZE_KINDS) abort();
}

/* What is kept of a log are whole lines. */
static void fuzz_log(Bytes log, size_t step) {
    if (!log_has_head(&log)) return;
    const size_t n = log_kept(&log, step);
    if (n > log.n || log.p[n - 1] != '\n') abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    uint8_t *copy = NULL;
    if (n && !setjmp(fuzz_jump)) {
        const int kind = data[0] % 8;
        const size_t rest = n - 1;
        copy = fuzz_malloc(n);
        memcpy(copy, data + 1, rest);
        fuzz_memory(data, n);
        Tokens t = {0};
        if (kind == 0) fuzz_checkpoint(copy, rest);
        if (kind == 1) fuzz_text(copy, rest);
        if (kind == 2)
            tokens_read(&t, fuzz_file(copy, rest), data[0], data[0] >= 128);
        if (kind == 3) decode(fuzz_bytes(), (Bytes){copy, rest, "ids", false});
        if (kind == 4) fuzz_log((Bytes){copy, rest, "log", false}, data[0]);
        if (kind == 5) fuzz_curve(copy, rest, data[0]);
        if (kind == 6) fuzz_scores(copy, rest);
        if (kind == 7) fuzz_options(copy, rest);
    }
    fuzz_end();
    for (int k = 0; k < 4; k++)
        if (fuzz_map[k].p) fuzz_munmap(fuzz_map[k].p, fuzz_map[k].n);
    return 0;
}
