/* base.h: what every other file stands on: errors, memory, random numbers, reading files and JSON.
 *
 * It refuses to be a library. It holds what the program uses and nothing else, and it has one error style:
 * die() prints one line that names the file, the place, what was expected and what was found, and exits with
 * status 2. Readers of files therefore return only good data. What is written goes through out.h.
 *
 * Random numbers are a function of (seed, name, index), not a stream with a hidden state:
 *     rng_f64(rng_key(1, "wte.weight"), 7)   is number 7, from 0, of that tensor's uniform ones under seed 1
 * so that what is drawn depends neither on the order of drawing, nor on threads, nor on a memory layout.
 * det_log and det_cos are our own, because libm's last bit differs from system to system. */
#ifndef BASE_H
#define BASE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fenv.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- text --------------------------------------------------------------------------------------------- */

static inline size_t utf8_put(uint8_t out[4], uint32_t c) { /* bytes of code point c; returns how many */
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t k = n; --k; c >>= 6) out[k] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)(lead[n] | c);
    return n;
}

/* Decodes the code point at p (n >= 1 bytes are there) and returns its length. A byte that begins no valid
 * sequence (overlong forms, surrogates and what is above U+10FFFF are none) has length 1 and code UINT32_MAX,
 * so that any bytes at all can be read. */
static inline size_t utf8_get(const uint8_t *p, size_t n, uint32_t *code) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 5 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 5;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    *code = UINT32_MAX;
    if (len > 4 || len > n) return 1;
    for (size_t k = 1; k < len; k++) {
        if ((p[k] & 0xc0) != 0x80) return 1;
        c = c << 6 | (p[k] & 0x3f);
    }
    if (c < least[len] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff) return 1;
    return *code = c, len;
}

/* Writes n bytes of text to out so that no terminal takes them for orders: a control character (C1 are U+0080
 * .. U+009F) and a byte that is no UTF-8 become \x1b and the like, save those in `kept`. Whole characters, at
 * most cap - 1 bytes, then a NUL; returns how many bytes that is. */
static inline size_t text_show(char *out, size_t cap, const void *text, size_t n, const char *kept) {
    const uint8_t *p = text;
    size_t used = 0;
    for (size_t at = 0, len; at < n; at += len) {
        char hex[8];
        uint32_t c;
        len = utf8_get(p + at, n - at, &c);
        const bool plain = c == UINT32_MAX ? false : c >= 0xa0 || (c >= 0x20 && c < 0x7f);
        const bool whole = plain || (c && c < 0x20 && strchr(kept, (int)c));
        const size_t need = whole ? len : 4 * len;
        if (used + need >= cap) break;
        for (size_t k = 0; k < len; k++) {
            snprintf(hex, sizeof hex, "\\x%02x", p[at + k]);
            memcpy(out + used, whole ? (const char *)p + at + k : hex, whole ? 1 : 4);
            used += whole ? 1 : 4;
        }
    }
    out[used] = 0;
    return used;
}

/* ---- files that end with the process ------------------------------------------------------------------ */

/* Temporary files and locks are gone after every end that the program chooses, also one in the middle of an
 * output: so their names stand in a table, the program's one mutable state that no function is handed. A signal
 * may end the program at any moment; so a name is whole before it counts, and its place never moves. */
enum { PASSING = 16, TEMP_BYTES = PATH_MAX + 32 };
typedef struct { atomic_bool there; char path[TEMP_BYTES]; } Passing;
static struct {
    Passing file[PASSING];
    long dead;                      /* the process that was killed at what this one goes on with, or 0 */
} passing;

/* A free place for a name, which counts once `there` is true. NULL if there is none. */
static inline Passing *passing_free(void) {
    for (size_t k = 0; k < PASSING; k++)
        if (!passing.file[k].there) return &passing.file[k];
    return NULL;
}
/* Removes all of them. At exit it is called by itself. */
__attribute__((destructor)) static inline void passing_end(void) {
    for (size_t k = 0; k < PASSING; k++) {
        if (!passing.file[k].there) continue;
        unlink(passing.file[k].path);
        passing.file[k].there = false;
    }
}
/* The temporary file of a process on its way to path; turn: how many such names were taken. */
static inline void passing_name(char out[TEMP_BYTES], const char *path, long process, int turn) {
    const int n = snprintf(out, TEMP_BYTES, "%s.%ld", path, process);
    snprintf(out + n, TEMP_BYTES - (size_t)n, turn ? ".%d.tmp" : ".tmp", turn);
}
/* Removes what the dead process has left there. */
static inline void passing_of_dead(const char *path) {
    char name[TEMP_BYTES];
    if (!passing.dead) return;
    passing_name(name, path, passing.dead, 0);
    unlink(name);
}

static const int end_signal[3] = {SIGINT, SIGTERM, SIGHUP};

/* Ends the process as the signal would have, had nobody waited for it. */
static inline void passing_signal(int number) {
    passing_end();
    signal(number, SIG_DFL);
    raise(number);
}
/* Has another function called at these signals. One that was ignored at the start (nohup) stays so. */
static inline void signals_to(void (*act)(int)) {
    for (int k = 0; k < 3; k++)
        if (signal(end_signal[k], act) == SIG_IGN) signal(end_signal[k], SIG_IGN);
}

/* ---- errors ------------------------------------------------------------------------------------------- */

enum { LINE_BYTES = 1024 };         /* of a message, before control characters are spelled out */

#ifndef DIE_HOOK            /* the tests put a longjmp here; it must not return */
#define DIE_HOOK(line) (fflush(stdout), fprintf(stderr, "train: %s\n", line), exit(2))
#endif
#ifndef NOTE_HOOK
#define NOTE_HOOK(line) (fflush(stdout), fprintf(stderr, "train: note: %s\n", line))
#endif

/* Who can do without what he asks for (a file beside another) points die_attempt at one of these, and setjmp
 * says whether die was called instead of it. Nothing that was taken is given back: for small files only. */
typedef struct { jmp_buf back; char line[4 * LINE_BYTES]; } Attempt;
static _Thread_local Attempt *die_attempt;

/* The message as one line that can be shown. */
static inline void line_of(char out[4 * LINE_BYTES], const char *fmt, va_list ap) {
    char line[LINE_BYTES];
    vsnprintf(line, sizeof line, fmt, ap);
    text_show(out, 4 * LINE_BYTES, line, strlen(line), "");
}
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *fmt, ...) {
    char line[4 * LINE_BYTES];
    Attempt *attempt = die_attempt;
    va_list ap;
    va_start(ap, fmt);
    line_of(line, fmt, ap);
    va_end(ap);
    if (attempt) {
        die_attempt = NULL, memcpy(attempt->line, line, sizeof line);
        longjmp(attempt->back, 1);
    }
    passing_end();
    DIE_HOOK(line);
}
/* What an error of the system is called. */
static inline const char *why(int error) { return error == ENOMEM ? "out of memory" : strerror(error); }

/* Dies of errno, set by a call that was to do something with a file. If the machine has failed, or has run out
 * of something, that says nothing about the file, so nobody can do without what is in it. */
__attribute__((noreturn)) static inline void die_of(const char *path, const char *what) {
    const int error = errno;
    if (error == ENOMEM || error == EMFILE || error == ENFILE || error == EIO) die_attempt = NULL;
    die("%s: cannot %s: %s", path, what, why(error));
}
__attribute__((noreturn)) static inline void die_memory(size_t bytes) {
    die_attempt = NULL;
    die("out of memory: %zu bytes were asked for", bytes);
}

/* What was assumed, or passed over, and the result may be another than was meant. */
__attribute__((format(printf, 1, 2))) static inline void note(const char *fmt, ...) {
    char line[4 * LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    line_of(line, fmt, ap);
    va_end(ap);
    NOTE_HOOK(line);
}

/* A line of progress on a terminal, over the one before, cut to the terminal's width as it is now. */
__attribute__((format(printf, 1, 2))) static inline void progress(const char *fmt, ...) {
    char line[LINE_BYTES];
    struct winsize window;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    const int width = !ioctl(1, TIOCGWINSZ, &window) && window.ws_col > 1 ? window.ws_col - 1 : LINE_BYTES;
    printf("\r\033[K%.*s", width, line);
    fflush(stdout);
}

/* The machine's floating point as the language has it: rounds to nearest and keeps subnormal numbers, whatever
 * a library that was loaded first has set. Every thread that computes calls it when it starts. */
static inline void machine_ready(void) {
    fesetenv(FE_DFL_ENV);
#ifdef __SSE__
    __builtin_ia32_ldmxcsr(0x1f80);                         /* its state after a reset: the two flags are off */
#endif
}

static inline double seconds(void) {                        /* of a clock that never goes back */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- memory ------------------------------------------------------------------------------------------- */

static inline size_t size_mul(size_t a, size_t b) {
    if (b && a > SIZE_MAX / b) die("a size overflows: %zu x %zu", a, b);
    return a * b;
}
static inline size_t size_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
static inline size_t size_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

/* n zeroed elements on a 64-byte line; never NULL. Freed with free(). */
static inline void *mem_new(size_t n, size_t size) {
    size_t bytes = size_mul(n, size);
    if (bytes > SIZE_MAX - 128) die("a size overflows: %zu bytes", bytes);
    bytes = size_up(bytes ? bytes : 1, 64);
    void *p = aligned_alloc(64, bytes);
    if (!p) die_memory(bytes);
    return memset(p, 0, bytes);
}
/* p with room for that many bytes, contents kept, the rest unset. */
static inline void *mem_resize(void *p, size_t bytes) {
    p = realloc(p, bytes ? bytes : 1);
    if (!p) die_memory(bytes);
    return p;
}

/* Room for one more element in a growing array of *cap elements, doubling; contents kept, the rest unset. */
static inline void *mem_grow(void *p, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return p;
    *cap = *cap ? size_mul(*cap, 2) : 64;
    return mem_resize(p, size_mul(*cap, size));
}

static inline char *text_copy(const char *s) { return strcpy(mem_new(strlen(s) + 1, 1), s); }

/* Of names that are offered, the one nearest to a word that is none of them. */
typedef struct {
    const char *word;
    const char *name;               /* NULL: none is near */
    size_t edits;                   /* fewer than so many made another one of it */
} Nearest;

/* Letters to put in, take out, change or swap with the next to make b of a
 * (Damerau 1964), each one once; of the first 31 of each. */
static inline size_t text_edits(const char *a, const char *b) {
    enum { MOST = 31 };
    size_t edits[MOST + 1][MOST + 1];       /* [i][j]: of a's first i and b's first j */
    const size_t m = strnlen(a, MOST);
    const size_t n = strnlen(b, MOST);
    for (size_t i = 0; i <= m; i++)
        for (size_t j = 0; j <= n; j++) {
            if (!i || !j) {
                edits[i][j] = i + j;
                continue;
            }
            const size_t change = edits[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            const size_t out = edits[i - 1][j] + 1;
            const size_t in = edits[i][j - 1] + 1;
            size_t least = change < out ? change : out;
            if (in < least) least = in;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                edits[i - 2][j - 2] + 1 < least)
                least = edits[i - 2][j - 2] + 1;
            edits[i][j] = least;
        }
    return edits[m][n];
}
/* Near is what less than half of the word's letters would make of it. */
static inline Nearest nearest_to(const char *word) {
    return (Nearest){.word = word, .edits = (strlen(word) + 1) / 2};
}
static inline void nearest_offer(Nearest *near, const char *name) {
    const size_t edits = text_edits(near->word, name);
    if (edits >= near->edits) return;
    near->edits = edits;
    near->name = name;
}

/* Dies if the machine does not have that much memory. */
static inline void mem_check(double bytes, const char *what) {
    const double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (have > 0 && bytes > have)
        die("%s: needs %.2f GiB of memory, the machine has %.2f", what, bytes / 0x1p30, have / 0x1p30);
}

/* FNV-1a over n bytes, continued from h; starts with HASH_START. */
static const uint64_t HASH_START = 0xcbf29ce484222325u;
static inline uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    return h;
}

/* ---- random numbers: a function of (seed, name, index) ----------------------------------------------- */

static inline uint64_t rng_mix(uint64_t z) { /* the finaliser of splitmix64 (Steele et al. 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline uint64_t rng_key(uint64_t seed, const char *name) {
    return rng_mix(hash_bytes(HASH_START, name, strlen(name)) ^ rng_mix(seed + 0x9e3779b97f4a7c15u));
}
static inline uint64_t rng_u64(uint64_t key, uint64_t index) {
    return rng_mix(key + (index + 1) * 0x9e3779b97f4a7c15u);
}
static inline double rng_f64(uint64_t key, uint64_t index) {            /* uniform in [0, 1), 53 bits */
    return (double)(rng_u64(key, index) >> 11) * 0x1p-53;
}

/* Natural logarithm of a normal positive x: x = m 2^e, m in [0.71, 1.41), log m = 2 atanh((m-1)/(m+1)). */
static inline double det_log(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752) m *= 2, e--;
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int k = 21; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
    return 2 * s * sum + e * 0.69314718055994531;
}

/* cos(2 pi turns), by quarter turns and the Taylor series on [-pi/4, pi/4]. */
static inline double det_cos(double turns) {
    double q = turns * 4, n = floor(q + 0.5), r = (q - n) * 1.5707963267948966, r2 = r * r, c = 0, s = 0;
    for (int k = 16; k >= 2; k -= 2) c = (1 + c) * -r2 / (k * (k - 1));
    for (int k = 17; k >= 3; k -= 2) s = (1 + s) * -r2 / (k * (k - 1));
    c += 1, s = (1 + s) * r;
    int quarter = (int)(n - 4 * floor(n / 4));
    return quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
}

/* A standard normal number (Box and Muller 1958). */
static inline double rng_normal(uint64_t key, uint64_t index) {
    double u = 1 - rng_f64(key, 2 * index), v = rng_f64(key, 2 * index + 1);
    return sqrt(-2 * det_log(u)) * det_cos(v);
}

/* The image of i under a pseudo-random permutation of 0 .. n-1 that needs no memory: a four-round Feistel
 * network on the smallest 4^k >= n, walked until it lands inside (Black and Rogaway 2002). */
static inline uint64_t rng_permute(uint64_t key, uint64_t i, uint64_t n) {
    int half = 1;
    while (half < 31 && (UINT64_C(1) << (2 * half)) < n) half++;
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t l = i >> half, r = i & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t t = l ^ (rng_u64(key + round, r) & mask);
            l = r, r = t;
        }
        i = l << half | r;
    } while (i >= n);
    return i;
}

/* ---- a heap: the smallest (major, minor) comes out first ---------------------------------------------- */

typedef struct { uint64_t major, minor; } HeapItem;
typedef struct { HeapItem *item; size_t n, cap; } Heap;

static inline bool heap_before(HeapItem a, HeapItem b) {
    return a.major < b.major || (a.major == b.major && a.minor < b.minor);
}
static inline void heap_push(Heap *h, uint64_t major, uint64_t minor) {
    const HeapItem item = {major, minor};
    size_t at = h->n, up;
    h->item = mem_grow(h->item, h->n++, &h->cap, sizeof *h->item);
    for (; at && heap_before(item, h->item[up = (at - 1) / 2]); at = up) h->item[at] = h->item[up];
    h->item[at] = item;
}
static inline HeapItem heap_pop(Heap *h) {
    const HeapItem top = h->item[0], last = h->item[--h->n];
    size_t at = 0, child;
    for (; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && heap_before(h->item[child + 1], h->item[child])) child++;
        if (!heap_before(h->item[child], last)) break;
        h->item[at] = h->item[child];
    }
    h->item[at] = last;
    return top;
}

/* ---- files -------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *p;       /* n bytes */
    size_t n;
    const char *name;       /* for messages; the caller's string */
    bool mapped;
} Bytes;

/* All of a pipe or of standard input. name: for messages. */
static inline Bytes file_slurp(int file, const char *name) {
    uint8_t *p = NULL;
    size_t n = 0, cap = 0;
    ssize_t got;
    do {
        if (n + 65536 > cap) {
            cap = cap ? size_mul(cap, 2) : 1 << 17;
            mem_check((double)cap, name);
            p = mem_resize(p, cap);
        }
        got = read(file, p + n, 65536);
        if (got > 0) n += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    if (got < 0) die_of(name, "read");
    return (Bytes){p, n, name, false};
}

/* Dies unless a path that a file gave, not the user, leads to a regular file: a device has no end, and a FIFO
 * would be waited for. */
static inline void file_regular(const char *path) {
    struct stat st;
    if (stat(path, &st)) die_of(path, "open");
    if (!S_ISREG(st.st_mode)) die("%s: expected a regular file, found another kind", path);
}

/* Dies of what gzip has packed: nothing here unpacks it. */
static inline void file_unpacked(Bytes b) {
    if (b.n > 2 && b.p[0] == 0x1f && b.p[1] == 0x8b && b.p[2] == 8)
        die("%s: expected it unpacked, found a gzip file (gzip -dc FILE > UNPACKED makes it one)", b.name);
}

/* A whole file, memory-mapped if that is possible. Dies on what cannot be read; an empty file has n = 0. */
static inline Bytes file_read(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) die_of(path, "open");
    if (S_ISDIR(st.st_mode)) die("%s: expected a file, found a directory", path);
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((uintmax_t)st.st_size > SIZE_MAX) die("%s: too large for this machine", path);
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) die_of(path, "map");
        close(fd);
        const Bytes b = {p, (size_t)st.st_size, path, true};
        file_unpacked(b);
        return b;
    }
    const Bytes b = file_slurp(fd, path);
    close(fd);
    file_unpacked(b);
    return b;
}
static inline void file_free(Bytes *b) {
    if (b->mapped) munmap((void *)(uintptr_t)b->p, b->n);
    else free((void *)(uintptr_t)b->p);
    *b = (Bytes){0};
}

/* NAME in the folder of path, on the heap. */
static inline char *path_beside(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) + 1 : 0, size = n + strlen(name) + 1;
    char *out = mem_new(size, 1);
    memcpy(out, path, n), memcpy(out + n, name, strlen(name));
    return out;
}

/* Whether two paths are of one file, or would be: links, "..", and a folder by another name are looked
 * through. */
static inline bool file_same(const char *a, const char *b) {
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');
    struct stat x, y;
    const bool there = !stat(a, &x), here = !stat(b, &y);
    if (!there && !here && !strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b)) {
        char *in_a = path_beside(a, "."), *in_b = path_beside(b, ".");
        const bool folders = !stat(in_a, &x) && !stat(in_b, &y);
        free(in_a), free(in_b);
        if (!folders) return !strcmp(a, b);
    } else if (!there || !here) return false;
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Little-endian numbers at any alignment. */
static inline uint32_t get_u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t get_u32(const uint8_t *p) { return get_u16(p) | get_u16(p + 2) << 16; }
static inline uint64_t get_u64(const uint8_t *p) { return get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }
static inline void put_u32(uint8_t *p, uint32_t x) { for (int k = 0; k < 4; k++, x >>= 8) p[k] = (uint8_t)x; }
static inline float f32_of(uint32_t bits) {
    float f;
    return memcpy(&f, &bits, 4), f;
}
static inline float get_f32(const uint8_t *p) { return f32_of(get_u32(p)); }

/* Says if a header of llm.c's, 256 numbers at p, has one from the given on that is not 0: it means something
 * that is not known. */
static inline void header_rest(const uint8_t *p, size_t from, const char *name) {
    size_t k = from;
    while (k < 256 && !get_u32(p + 4 * k)) k++;
    if (k < 256)
        note("%s: byte %zu: passed over: %u in the header, where 0 is expected", name, 4 * k,
             get_u32(p + 4 * k));
}

/* ---- JSON: a reader that walks the text once and keeps nothing ----------------------------------------- */

typedef struct {
    const uint8_t *p, *end, *begin;
    const char *name;       /* the file, for messages */
} Json;

__attribute__((noreturn)) static inline void json_die(const Json *j, const char *expected) {
    char found[16] = "the end";
    if (j->p < j->end)
        snprintf(found, sizeof found, *j->p > 0x20 && *j->p < 0x7f ? "'%c'" : "byte 0x%02x", *j->p);
    die("%s: JSON at byte %zu: expected %s, found %s", j->name, (size_t)(j->p - j->begin), expected, found);
}
static inline Json json_open(const uint8_t *p, size_t n, const char *name) {
    return (Json){p, p + n, p, name};
}

/* The next character that is not white space, not consumed; 0 at the end. */
static inline int json_peek(Json *j) {
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r')) j->p++;
    return j->p < j->end ? *j->p : 0;
}
static inline void json_expect(Json *j, char c) {
    if (json_peek(j) != c) json_die(j, (char[]){'\'', c, '\'', 0});
    j->p++;
}
static inline uint32_t json_hex4(Json *j) {
    uint32_t v = 0;
    for (int k = 0; k < 4; k++, j->p++) {
        int c = j->p < j->end ? *j->p : 0;
        const char *digits = "0123456789abcdefABCDEF", *at = c ? strchr(digits, c) : NULL;
        if (!at) json_die(j, "four hexadecimal digits");
        v = v * 16 + (uint32_t)(at - digits > 15 ? at - digits - 6 : at - digits);
    }
    return v;
}
/* Reads a string into out (cap bytes, a NUL added); returns its length. Dies if it is longer. A NULL out
 * skips. */
static inline size_t json_string(Json *j, char *out, size_t cap) {
    size_t n = 0;
    json_expect(j, '"');
    for (;;) {
        uint8_t u[4];
        size_t k = 1;
        if (j->p >= j->end || *j->p < 0x20) json_die(j, "the rest of a string");
        int c = *j->p++;
        if (c == '"') break;
        u[0] = (uint8_t)c;
        if (c == '\\') {
            static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
            const char *at = j->p < j->end && *j->p ? strchr(from, *j->p) : NULL;
            if (at) u[0] = (uint8_t)to[at - from], j->p++;
            else if (j->p < j->end && *j->p == 'u') {
                j->p++;
                uint32_t code = json_hex4(j);
                if (code >= 0xd800 && code < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' &&
                    j->p[1] == 'u') {
                    j->p += 2;
                    uint32_t low = json_hex4(j);
                    if (low < 0xdc00 || low > 0xdfff) json_die(j, "the second half of a surrogate pair");
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                } else if (code >= 0xd800 && code < 0xe000) json_die(j, "a surrogate pair");
                k = utf8_put(u, code);
            } else json_die(j, "an escape");
        }
        if (out) {
            if (n + k >= cap) json_die(j, "a shorter string");
            memcpy(out + n, u, k);
        }
        n += k;
    }
    if (out) out[n] = 0;
    return n;
}

/* A whole number 0 .. 2^63-1. */
static inline uint64_t json_uint(Json *j) {
    int c = json_peek(j);
    uint64_t v = 0;
    if (c < '0' || c > '9') json_die(j, "a whole number");
    for (; j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++) {
        if (v > (UINT64_C(0x7fffffffffffffff) - 9) / 10) json_die(j, "a smaller number");
        v = v * 10 + (uint64_t)(*j->p - '0');
    }
    if (j->p < j->end && (*j->p == '.' || *j->p == 'e' || *j->p == 'E')) json_die(j, "a whole number");
    return v;
}

/* Steps through an object or array:  for (bool first = true; json_more(j, '}', &first);) ... */
static inline bool json_more(Json *j, char close, bool *first) {
    if (json_peek(j) == close && j->p < j->end) return j->p++, false;
    if (!*first) json_expect(j, ',');
    *first = false;
    return true;
}

/* Skips one value of any kind, at most 64 deep. */
static inline void json_skip(Json *j, int depth) {
    int c = json_peek(j);
    bool first = true;
    if (depth > 64) json_die(j, "less nesting");
    if (c == '"') json_string(j, NULL, 0);
    else if (c == '{' || c == '[') {
        char close = c == '{' ? '}' : ']';
        for (j->p++; json_more(j, close, &first); json_skip(j, depth + 1))
            if (c == '{') json_string(j, NULL, 0), json_expect(j, ':');
    } else {
        const uint8_t *from = j->p;
        while (j->p < j->end && strchr("+-.0123456789eEtrufalsn", *j->p) && *j->p) j->p++;
        if (j->p == from) json_die(j, "a value");
    }
}

enum { JSON_KEY = 256 };            /* bytes of a member's name, of those that are looked at */

/* The value that a path such as "arms/1/bits" leads to from the value j stands before: members by name,
 * elements by number. Its p is NULL if there is none. */
static inline Json json_at(Json j, const char *path) {
    while (*path && j.p) {
        const size_t n = strcspn(path, "/");
        const int open = json_peek(&j);
        bool first = true, found = false;
        if (open != '{' && open != '[') return (Json){0};
        j.p++;
        for (size_t k = 0; !found && json_more(&j, (char)(open + 2), &first); k++) {    /* ] is [ + 2 */
            char name[JSON_KEY];
            if (open == '{') json_string(&j, name, sizeof name), json_expect(&j, ':');
            else snprintf(name, sizeof name, "%zu", k);
            found = strlen(name) == n && !strncmp(name, path, n);
            if (!found) json_skip(&j, 0);
        }
        if (!found) return (Json){0};
        path += n + (path[n] == '/');
    }
    if (j.p) json_peek(&j);
    return j;
}
static inline Json json_need(Json object, const char *key) {
    const Json value = json_at(object, key);
    const size_t at = (size_t)(object.p - object.begin);
    if (value.p) return value;
    json_expect(&object, '{');
    die("%s: JSON at byte %zu: expected \"%s\" in the object, found none", object.name, at, key);
}
/* Dies if the value is none of the words, which stand between bars. */
static inline void json_want(Json value, const char *key, const char *words) {
    Json end = value;
    json_peek(&value), json_skip(&end, 0);
    const size_t n = (size_t)(end.p - value.p);
    for (const char *w = words; *w; w += strcspn(w, "|"), w += *w == '|')
        if (n == strcspn(w, "|") && !memcmp(value.p, w, n)) return;
    die("%s: \"%s\": expected %s, found %.*s", value.name, key, words, n < 40 ? (int)n : 40,
        (const char *)value.p);
}

/* What a reader makes of a member of an object: it reads it; it can do without, if the value is one of these
 * words; or the value changes nothing of what is read. */
typedef struct {
    const char *key;
    enum { JSON_READ, JSON_NEUTRAL, JSON_IGNORED } use;
    const char *words;
} JsonField;

/* Goes through all members of an object. Dies if one is given twice, or is neutral and has another value. Of
 * members that are not in the list it returns the number, and puts the first one's name in `unknown`. */
static inline size_t json_fields(Json object, const JsonField *f, size_t n, char unknown[JSON_KEY]) {
    size_t strange = 0;
    char key[JSON_KEY];
    uint64_t seen = 0;
    json_expect(&object, '{');
    for (bool first = true; json_more(&object, '}', &first); json_skip(&object, 0)) {
        size_t k = 0;
        json_string(&object, key, sizeof key), json_expect(&object, ':');
        while (k < n && strcmp(key, f[k].key)) k++;
        if (k == n && !strange++) strcpy(unknown, key);
        if (k == n) continue;
        if (seen >> k & 1) die("%s: expected \"%s\" once in the object, found it twice", object.name, key);
        seen |= UINT64_C(1) << k;
        if (f[k].use == JSON_NEUTRAL) json_want(object, key, f[k].words);
    }
    return strange;
}
/* The same, where what is not known may change the meaning of all else. */
static inline void json_fields_only(Json object, const JsonField *f, size_t n) {
    char unknown[JSON_KEY];
    if (json_fields(object, f, n, unknown))
        die("%s: \"%s\": expected a member that is known, found this one", object.name, unknown);
}
static inline double json_real(Json j) {                    /* NAN for what is no number */
    char text[32] = "";
    for (size_t k = 0; j.p && j.p + k < j.end && k < 31 && strchr("+-.0123456789eE", j.p[k]); k++)
        text[k] = (char)j.p[k], text[k + 1] = 0;
    return *text ? strtod(text, NULL) : NAN;
}
#endif
