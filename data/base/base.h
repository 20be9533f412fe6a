/* base.h: what every other file stands on: errors, memory, random numbers,
 * reading files and JSON.
 *
 * It refuses to be a library. It holds what the program uses and nothing else,
 * and it has one error style: die() prints one line that names the file, the
 * place, what was expected and what was found, and exits with status 2. Readers
 * of files therefore return only good data. What is written goes through out.h.
 *
 * In this order: text, files that end with the process, errors, memory, random
 * numbers, a heap, files, JSON. Each part uses only those before it.
 *
 * Random numbers are a function of (seed, name, index), not a stream with a
 * hidden state:
 *
 *     rng_f64(rng_key(1, "wte.weight"), 7)
 *
 * is number 7, from 0, of that tensor's uniform ones under seed 1; so what is
 * drawn depends neither on the order of drawing, nor on threads, nor on a
 * memory layout. det_log and det_cos are our own, because libm's last bit
 * differs from system to system. */
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

/* ---- text ---------------------------------------------------------------- */

/* The bytes of code point c; returns how many. */
static inline size_t utf8_put(uint8_t out[4], uint32_t c) {
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    const size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t k = n; --k; c >>= 6) out[k] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)(lead[n] | c);
    return n;
}
/* How long a sequence is that begins with this byte; 0 if none does. */
static inline size_t utf8_length(uint8_t lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}
/* Decodes the code point at p (n >= 1 bytes are there) and returns its length.
 * A byte that begins no valid sequence (overlong forms, surrogates and what is
 * above U+10FFFF are none) has length 1 and code UINT32_MAX, so that any bytes
 * at all can be read. */
static inline size_t utf8_get(const uint8_t *p, size_t n, uint32_t *code) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t len = utf8_length(p[0]);
    *code = UINT32_MAX;
    if (len == 0 || len > n) return 1;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t k = 1; k < len; k++) {
        if ((p[k] & 0xc0) != 0x80) return 1;
        c = c << 6 | (p[k] & 0x3f);
    }
    if (c < least[len] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff) return 1;
    *code = c;
    return len;
}
/* The first place in p .. end that is not well-formed UTF-8 (RFC 3629), or
 * end. */
static inline const uint8_t *utf8_stray(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        uint32_t code;
        const size_t len = utf8_get(p, (size_t)(end - p), &code);
        if (code == UINT32_MAX) break;
        p += len;
    }
    return p;
}

/* Writes n bytes of text to out so that no terminal takes them for orders: a
 * control character (C1 are U+0080 .. U+009F) and a byte that is no UTF-8
 * become \x1b and the like, save those in `kept`. Whole characters, at most cap
 * - 1 bytes, then a NUL; returns how many bytes that is. */
static inline size_t text_show(char *out, size_t cap, const void *text,
                               size_t n, const char *kept) {
    const uint8_t *p = text;
    size_t used = 0;
    size_t len;
    for (size_t at = 0; at < n; at += len) {
        uint32_t c;
        len = utf8_get(p + at, n - at, &c);
        const bool valid = c != UINT32_MAX;
        const bool plain = valid && (c >= 0xa0 || (c >= 0x20 && c < 0x7f));
        const bool whole = plain || (c && c < 0x20 && strchr(kept, (int)c));
        const size_t need = whole ? len : 4 * len;
        if (used + need >= cap) break;
        if (whole) memcpy(out + used, p + at, len);
        for (size_t k = 0; k < len && !whole; k++) {
            char hex[8];
            snprintf(hex, sizeof hex, "\\x%02x", p[at + k]);
            memcpy(out + used + 4 * k, hex, 4);
        }
        used += need;
    }
    out[used] = 0;
    return used;
}

/* ---- files that end with the process ------------------------------------- */

/* Temporary files and locks are gone after every end that the program chooses,
 * also one in the middle of an output: so their names stand in a table, the
 * program's one mutable state that no function is handed. A signal may end the
 * program at any moment; so a name is whole before it counts, and its place
 * never moves. */
enum { PASSING = 16, TEMP_BYTES = PATH_MAX + 32 };
typedef struct {
    atomic_bool there;
    char path[TEMP_BYTES];
} Passing;
static struct {
    Passing file[PASSING];
    long dead;                      /* the process that was killed at what this one goes
                                     * on with, or 0 */
} passing;

/* A free place for a name, which counts once `there` is true. NULL if there is
 * none. */
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
/* The temporary file of a process on its way to path; turn: how many such names
 * were taken. */
static inline void passing_name(char out[TEMP_BYTES], const char *path,
                                long process, int turn) {
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
/* Has another function called at these signals. One that was ignored at the
 * start (nohup) stays so. */
static inline void signals_to(void (*act)(int)) {
    for (int k = 0; k < 3; k++)
        if (signal(end_signal[k], act) == SIG_IGN)
            signal(end_signal[k], SIG_IGN);
}

/* ---- errors -------------------------------------------------------------- */

enum { LINE_BYTES = 1024 };         /* of a message, before control characters are spelled out */

#ifndef DIE_HOOK            /* the tests put a longjmp here; it must not return */
#define DIE_HOOK(line) (fflush(stdout), fprintf(stderr, "train: %s\n", line), exit(2))
#endif
#ifndef NOTE_HOOK
#define NOTE_HOOK(line) (fflush(stdout), fprintf(stderr, "train: note: %s\n", line))
#endif

/* Who can do without what he asks for (a file beside another) points
 * die_attempt at one of these, and setjmp says whether die was called instead
 * of it. Nothing that was taken is given back: for small files only. */
typedef struct {
    jmp_buf back;
    char line[4 * LINE_BYTES];
} Attempt;
static _Thread_local Attempt *die_attempt;

/* The message as one line that can be shown. */
static inline void line_of(char out[4 * LINE_BYTES], const char *fmt,
                           va_list ap) {
    char line[LINE_BYTES];
    vsnprintf(line, sizeof line, fmt, ap);
    text_show(out, 4 * LINE_BYTES, line, strlen(line), "");
}
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(
    const char *fmt, ...) {
    char line[4 * LINE_BYTES];
    Attempt *attempt = die_attempt;
    va_list ap;
    va_start(ap, fmt);
    line_of(line, fmt, ap);
    va_end(ap);
    if (attempt) {
        die_attempt = NULL;
        memcpy(attempt->line, line, sizeof line);
        longjmp(attempt->back, 1);
    }
    passing_end();
    DIE_HOOK(line);
}
/* What an error of the system is called. */
static inline const char *why(int error) {
    return error == ENOMEM ? "out of memory" : strerror(error);
}

/* Dies of errno, set by a call that was to do something with a file. If the
 * machine has failed, or has run out of something, that says nothing about the
 * file, so nobody can do without what is in it. */
__attribute__((noreturn)) static inline void die_of(const char *path,
                                                    const char *what) {
    const int error = errno;
    const bool none_left = error == ENOMEM || error == EMFILE || error == ENFILE;
    if (none_left || error == EIO) die_attempt = NULL;
    die("%s: cannot %s: %s", path, what, why(error));
}
__attribute__((noreturn)) static inline void die_memory(size_t bytes) {
    die_attempt = NULL;
    die("out of memory: %zu bytes were asked for", bytes);
}

/* What was assumed, or passed over, and the result may be another than was
 * meant. */
__attribute__((format(printf, 1, 2))) static inline void note(const char *fmt,
                                                              ...) {
    char line[4 * LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    line_of(line, fmt, ap);
    va_end(ap);
    NOTE_HOOK(line);
}

/* A line of progress on a terminal, over the one before, cut to the terminal's
 * width as it is now. */
__attribute__((format(printf, 1, 2))) static inline void progress(const char *fmt,
                                                                  ...) {
    char line[LINE_BYTES];
    struct winsize window;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    const bool known = !ioctl(1, TIOCGWINSZ, &window) && window.ws_col > 1;
    printf("\r\033[K%.*s", known ? window.ws_col - 1 : LINE_BYTES, line);
    fflush(stdout);
}

/* The machine's floating point as the language has it: rounds to nearest and
 * keeps subnormal numbers, whatever a library that was loaded first has set.
 * Every thread that computes calls it when it starts. */
static inline void machine_ready(void) {
    fesetenv(FE_DFL_ENV);
#ifdef __SSE__
    __builtin_ia32_ldmxcsr(0x1f80);     /* its state after a reset: both flags are off */
#endif
}

/* Of a clock that never goes back. */
static inline double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Progress of work that may take long, said once a second. */
typedef struct {
    const char *what;                   /* is done; NULL: nobody is told */
    double told;                        /* when it was last */
    bool shown;
} Slow;

static inline Slow slow_begin(const char *what) {
    return (Slow){.what = isatty(1) ? what : NULL, .told = seconds()};
}
/* share: of the work that is done. */
static inline void slow_tell(Slow *s, double share) {
    if (!s->what || seconds() - s->told < 1) return;
    progress("%s: %.0f %%", s->what, 100 * share);
    s->told = seconds();
    s->shown = true;
}
static inline void slow_end(const Slow *s) {
    if (s->shown) printf("\r\033[K");
}

/* ---- memory -------------------------------------------------------------- */

static inline size_t size_mul(size_t a, size_t b) {
    if (b && a > SIZE_MAX / b) die("a size overflows: %zu x %zu", a, b);
    return a * b;
}
static inline size_t size_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}
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

/* Room for one more element in a growing array of *cap elements, doubling;
 * contents kept, the rest unset. */
static inline void *mem_grow(void *p, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return p;
    *cap = *cap ? size_mul(*cap, 2) : 64;
    return mem_resize(p, size_mul(*cap, size));
}

static inline char *text_copy(const char *s) {
    return strcpy(mem_new(strlen(s) + 1, 1), s);
}

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
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1] && edits[i - 2][j - 2] + 1 < least)
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
    const double pages = (double)sysconf(_SC_PHYS_PAGES);
    const double have = pages * (double)sysconf(_SC_PAGESIZE);
    if (have > 0 && bytes > have)
        die("%s: needs %.2f GiB of memory, the machine has %.2f", what,
            bytes / 0x1p30, have / 0x1p30);
}

/* FNV-1a over n bytes, continued from h; starts with HASH_START. */
static const uint64_t HASH_START = 0xcbf29ce484222325u;
static inline uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    const uint8_t *byte = p;
    for (size_t i = 0; i < n; i++) h = (h ^ byte[i]) * 0x100000001b3u;
    return h;
}

/* ---- random numbers: a function of (seed, name, index) ------------------- */

/* The finaliser of splitmix64 (Steele et al. 2014). */
static inline uint64_t rng_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline uint64_t rng_key(uint64_t seed, const char *name) {
    const uint64_t hash = hash_bytes(HASH_START, name, strlen(name));
    return rng_mix(hash ^ rng_mix(seed + 0x9e3779b97f4a7c15u));
}
static inline uint64_t rng_u64(uint64_t key, uint64_t index) {
    return rng_mix(key + (index + 1) * 0x9e3779b97f4a7c15u);
}
/* Uniform in [0, 1), 53 bits. */
static inline double rng_f64(uint64_t key, uint64_t index) {
    return (double)(rng_u64(key, index) >> 11) * 0x1p-53;
}

/* Natural logarithm of a normal positive x: x = m 2^e, m in [0.71, 1.41), and
 *
 *     log m = 2 atanh(r) where r = (m - 1) / (m + 1) */
static inline double det_log(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    const double r = (m - 1) / (m + 1);
    const double r2 = r * r;
    double sum = 0;
    for (int k = 21; k >= 1; k -= 2) sum = sum * r2 + 1.0 / k;
    return 2 * r * sum + e * 0.69314718055994531;
}

/* cos(2 pi turns), by quarter turns and the Taylor series on [-pi/4, pi/4]. */
static inline double det_cos(double turns) {
    const double quarters = turns * 4;
    const double nearest = floor(quarters + 0.5);
    const double r = (quarters - nearest) * 1.5707963267948966;     /* the angle left */
    const double r2 = r * r;
    double c = 0;
    double s = 0;
    for (int k = 16; k >= 2; k -= 2) c = (1 + c) * -r2 / (k * (k - 1));
    for (int k = 17; k >= 3; k -= 2) s = (1 + s) * -r2 / (k * (k - 1));
    c += 1;
    s = (1 + s) * r;
    switch ((int)(nearest - 4 * floor(nearest / 4))) {
    case 0: return c;
    case 1: return -s;
    case 2: return -c;
    default: return s;
    }
}

/* A standard normal number (Box and Muller 1958). */
static inline double rng_normal(uint64_t key, uint64_t index) {
    const double u = 1 - rng_f64(key, 2 * index);
    const double v = rng_f64(key, 2 * index + 1);
    return sqrt(-2 * det_log(u)) * det_cos(v);
}

/* The image of i under a pseudo-random permutation of 0 .. n-1 that needs no
 * memory: a four-round Feistel network on the smallest 4^k >= n, walked until
 * it lands inside (Black and Rogaway 2002). */
static inline uint64_t rng_permute(uint64_t key, uint64_t i, uint64_t n) {
    int half = 1;
    while (half < 31 && (UINT64_C(1) << (2 * half)) < n) half++;
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t left = i >> half;
        uint64_t right = i & mask;
        for (uint64_t round = 0; round < 4; round++) {
            const uint64_t mixed = left ^ (rng_u64(key + round, right) & mask);
            left = right;
            right = mixed;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* ---- a heap: the smallest (major, minor) comes out first ----------------- */

typedef struct {
    uint64_t major, minor;
} HeapItem;
typedef struct {
    HeapItem *item;         /* [n] no item comes before the one at (its place - 1) / 2 */
    size_t n, cap;
} Heap;

static inline bool heap_before(HeapItem a, HeapItem b) {
    return a.major < b.major || (a.major == b.major && a.minor < b.minor);
}
static inline void heap_push(Heap *h, uint64_t major, uint64_t minor) {
    const HeapItem item = {major, minor};
    h->item = mem_grow(h->item, h->n, &h->cap, sizeof *h->item);
    size_t at = h->n++;
    while (at) {
        const size_t up = (at - 1) / 2;
        if (!heap_before(item, h->item[up])) break;
        h->item[at] = h->item[up];
        at = up;
    }
    h->item[at] = item;
}
static inline HeapItem heap_pop(Heap *h) {
    const HeapItem top = h->item[0];
    const HeapItem last = h->item[--h->n];
    size_t at = 0;
    while (2 * at + 1 < h->n) {
        size_t child = 2 * at + 1;
        if (child + 1 < h->n && heap_before(h->item[child + 1], h->item[child]))
            child++;
        if (!heap_before(h->item[child], last)) break;
        h->item[at] = h->item[child];
        at = child;
    }
    h->item[at] = last;
    return top;
}

/* ---- files --------------------------------------------------------------- */

typedef struct {
    const uint8_t *p;       /* n bytes */
    size_t n;
    const char *name;       /* for messages; the caller's string */
    bool mapped;
} Bytes;

/* All of a pipe or of standard input. name: for messages. */
static inline Bytes file_slurp(int file, const char *name) {
    uint8_t *p = NULL;
    size_t n = 0;
    size_t cap = 0;
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

/* What is at a path, through links; false if nothing is. Dies where the system
 * cannot say: who took that for a no would write over what is there. */
static inline bool file_stat(const char *path, struct stat *st) {
    if (!stat(path, st)) return true;
    if (errno != ENOENT && errno != ENOTDIR) die_of(path, "look at");
    return false;
}
static inline bool file_there(const char *path) {
    struct stat st;
    return file_stat(path, &st);
}

/* Dies unless a path that a file gave, not the user, leads to a regular file: a
 * device has no end, and a FIFO would be waited for. */
static inline void file_regular(const char *path) {
    struct stat st;
    if (stat(path, &st)) die_of(path, "open");
    if (!S_ISREG(st.st_mode))
        die("%s: expected a regular file, found another kind", path);
}

/* Dies of what gzip, xz, zstd or bzip2 has packed: nothing here unpacks it. */
static inline void file_unpacked(Bytes b) {
    static const struct {
        const char *name;
        const char *begin;          /* the first bytes of such a file */
        size_t n;
    } packed[] = {
        {"gzip", "\x1f\x8b\x08", 3},
        {"xz", "\xfd" "7zXZ\0", 6},
        {"zstd", "\x28\xb5\x2f\xfd", 4},
        {"bzip2", "BZh91AY&SY", 10},    /* at its highest level, which is the usual one */
    };
    for (size_t k = 0; k < sizeof packed / sizeof *packed; k++)
        if (b.n >= packed[k].n && !memcmp(b.p, packed[k].begin, packed[k].n))
            die("%s: expected it unpacked, found a %s file (%s -dc FILE > UNPACKED makes "
                "it one)",
                b.name, packed[k].name, packed[k].name);
}

/* A whole file, memory-mapped if that is possible. Dies on what cannot be read;
 * an empty file has n = 0. */
static inline Bytes file_read(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) die_of(path, "open");
    if (S_ISDIR(st.st_mode))
        die("%s: expected a file, found a directory", path);
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((uintmax_t)st.st_size > SIZE_MAX)
            die("%s: too large for this machine", path);
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

/* The name at the end of a path. */
static inline const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
/* NAME in the folder of path, on the heap. */
static inline char *path_beside(const char *path, const char *name) {
    const size_t folder = (size_t)(path_name(path) - path);
    const size_t n = strlen(name);
    char *out = mem_new(folder + n + 1, 1);
    memcpy(out, path, folder);
    memcpy(out + folder, name, n);
    return out;
}

static inline bool stat_same(const char *a, const char *b) {
    struct stat x;
    struct stat y;
    return file_stat(a, &x) && file_stat(b, &y) && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}
/* Whether two paths are of one file, or would be: links, "..", and a folder by
 * another name are looked through. */
static inline bool file_same(const char *a, const char *b) {
    if (file_there(a) || file_there(b)) return stat_same(a, b);
    if (strcmp(path_name(a), path_name(b))) return false;
    char *in_a = path_beside(a, ".");
    char *in_b = path_beside(b, ".");
    const bool folders = file_there(in_a) && file_there(in_b);
    const bool same = folders ? stat_same(in_a, in_b) : !strcmp(a, b);
    free(in_a);
    free(in_b);
    return same;
}

/* Little-endian numbers at any alignment. */
static inline uint32_t get_u16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}
static inline uint32_t get_u32(const uint8_t *p) {
    return get_u16(p) | get_u16(p + 2) << 16;
}
static inline uint64_t get_u64(const uint8_t *p) {
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}
static inline void put_u32(uint8_t *p, uint32_t x) {
    for (int k = 0; k < 4; k++) p[k] = (uint8_t)(x >> 8 * k);
}
static inline float f32_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static inline float get_f32(const uint8_t *p) { return f32_of(get_u32(p)); }

/* Says if a header of llm.c's, 256 numbers at p, has one from the given on that
 * is not 0: it means something that is not known. */
static inline void header_rest(const uint8_t *p, size_t from, const char *name) {
    size_t k = from;
    while (k < 256 && !get_u32(p + 4 * k)) k++;
    if (k < 256)
        note("%s: byte %zu: passed over: %u in the header, where 0 is expected",
             name, 4 * k, get_u32(p + 4 * k));
}

/* ---- JSON: a reader that walks the text once and keeps nothing ----------- */

typedef struct {
    const uint8_t *p;       /* where the reader stands */
    const uint8_t *end;
    const uint8_t *begin;
    const char *name;       /* the file, for messages */
} Json;

__attribute__((noreturn)) static inline void json_die(const Json *j,
                                                      const char *expected) {
    char found[16] = "the end";
    if (j->p < j->end) {
        const bool shown = *j->p > 0x20 && *j->p < 0x7f;
        snprintf(found, sizeof found, shown ? "'%c'" : "byte 0x%02x", *j->p);
    }
    die("%s: JSON at byte %zu: expected %s, found %s", j->name,
        (size_t)(j->p - j->begin), expected, found);
}
static inline Json json_open(const uint8_t *p, size_t n, const char *name) {
    return (Json){p, p + n, p, name};
}

static inline bool json_space(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}
/* The next character that is not white space, not consumed; 0 at the end. */
static inline int json_peek(Json *j) {
    while (j->p < j->end && json_space(*j->p)) j->p++;
    return j->p < j->end ? *j->p : 0;
}
static inline void json_expect(Json *j, char c) {
    if (json_peek(j) != c) json_die(j, (char[]){'\'', c, '\'', 0});
    j->p++;
}
static inline uint32_t json_hex4(Json *j) {
    static const char digits[] = "0123456789abcdefABCDEF";
    uint32_t value = 0;
    for (int k = 0; k < 4; k++) {
        const int c = j->p < j->end ? *j->p : 0;
        const char *at = c ? strchr(digits, c) : NULL;
        if (!at) json_die(j, "four hexadecimal digits");
        const uint32_t place = (uint32_t)(at - digits);
        value = value * 16 + (place > 15 ? place - 6 : place);
        j->p++;
    }
    return value;
}
/* The code point of \uXXXX, or of the two of a surrogate pair; j stands behind
 * the u. */
static inline uint32_t json_code(Json *j) {
    const uint32_t code = json_hex4(j);
    if (code < 0xd800 || code >= 0xe000) return code;
    const bool pair = j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u';
    if (code >= 0xdc00 || !pair) json_die(j, "a surrogate pair");
    j->p += 2;
    const uint32_t low = json_hex4(j);
    if (low < 0xdc00 || low > 0xdfff)
        json_die(j, "the second half of a surrogate pair");
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}
/* The bytes of an escape; j stands behind the backslash. Returns how many. */
static inline size_t json_escape(Json *j, uint8_t out[4]) {
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char c = j->p < j->end ? (char)*j->p : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (!at && c != 'u') json_die(j, "an escape");
    j->p++;
    if (!at) return utf8_put(out, json_code(j));
    out[0] = (uint8_t)to[at - from];
    return 1;
}
/* Reads a string into out (cap bytes, a NUL added); returns its length. Dies if
 * it is longer. A NULL out skips. */
static inline size_t json_string(Json *j, char *out, size_t cap) {
    size_t n = 0;
    json_expect(j, '"');
    for (;;) {
        if (j->p >= j->end || *j->p < 0x20) json_die(j, "the rest of a string");
        uint8_t u[4] = {*j->p++};
        size_t k = 1;
        if (u[0] == '"') break;
        if (u[0] == '\\') k = json_escape(j, u);
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
    const int c = json_peek(j);
    uint64_t value = 0;
    if (c < '0' || c > '9') json_die(j, "a whole number");
    for (; j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++) {
        if (value > (UINT64_C(0x7fffffffffffffff) - 9) / 10)
            json_die(j, "a smaller number");
        value = value * 10 + (uint64_t)(*j->p - '0');
    }
    if (j->p < j->end && (*j->p == '.' || *j->p == 'e' || *j->p == 'E'))
        json_die(j, "a whole number");
    return value;
}

/* Steps through an object or array:
 *     for (bool first = true; json_more(j, '}', &first);) ... */
static inline bool json_more(Json *j, char close, bool *first) {
    if (json_peek(j) == close && j->p < j->end) {
        j->p++;
        return false;
    }
    if (!*first) json_expect(j, ',');
    *first = false;
    return true;
}
/* Reads a member's name and the colon behind it; key as json_string's out. */
static inline void json_member(Json *j, char *key, size_t cap) {
    json_string(j, key, cap);
    json_expect(j, ':');
}

/* How many digits there are from byte k on, of n. */
static inline size_t json_digits(const uint8_t *p, size_t n, size_t k) {
    size_t digits = 0;
    while (k + digits < n && p[k + digits] >= '0' && p[k + digits] <= '9') digits++;
    return digits;
}
/* Whether n bytes at p are a number as JSON has them: -1.5e+3, not 01 nor 1. nor +1. */
static inline bool json_is_number(const uint8_t *p, size_t n) {
    size_t k = n > 0 && p[0] == '-';
    size_t digits = json_digits(p, n, k);
    if (!digits || (digits > 1 && p[k] == '0')) return false;
    k += digits;
    if (k < n && p[k] == '.') {
        digits = json_digits(p, n, k + 1);
        if (!digits) return false;
        k += 1 + digits;
    }
    if (k < n && (p[k] == 'e' || p[k] == 'E')) {
        k++;
        k += k < n && (p[k] == '+' || p[k] == '-');
        digits = json_digits(p, n, k);
        if (!digits) return false;
        k += digits;
    }
    return k == n;
}
/* Skips one value of any kind, at most 64 deep. */
static inline void json_skip(Json *j, int depth) {
    const int c = json_peek(j);
    bool first = true;
    if (depth > 64) json_die(j, "less nesting");
    if (c == '"') json_string(j, NULL, 0);
    else if (c == '{' || c == '[') {
        const char close = c == '{' ? '}' : ']';
        j->p++;
        while (json_more(j, close, &first)) {
            if (c == '{') json_member(j, NULL, 0);
            json_skip(j, depth + 1);
        }
    } else {
        const uint8_t *from = j->p;
        while (j->p < j->end && *j->p && strchr("+-.0123456789eEtrufalsn", *j->p))
            j->p++;
        const size_t n = (size_t)(j->p - from);
        const bool word = (n == 4 && (!memcmp(from, "true", 4) || !memcmp(from, "null", 4))) ||
                          (n == 5 && !memcmp(from, "false", 5));
        if (!word && !json_is_number(from, n)) {
            j->p = from;
            json_die(j, "a value");
        }
    }
}

enum { JSON_KEY = 256 };    /* bytes of a member's name, of those that are looked at */

/* The value of the member of that name (n bytes) of an object or, of an array,
 * of the element of that number. Its p is NULL if there is none. */
static inline Json json_step(Json j, const char *name, size_t n) {
    const int open = json_peek(&j);
    bool first = true;
    if (open != '{' && open != '[') return (Json){0};
    j.p++;
    for (size_t k = 0; json_more(&j, open == '{' ? '}' : ']', &first); k++) {
        char key[JSON_KEY];
        if (open == '{') json_member(&j, key, sizeof key);
        else snprintf(key, sizeof key, "%zu", k);
        if (strlen(key) == n && !strncmp(key, name, n)) return j;
        json_skip(&j, 0);
    }
    return (Json){0};
}
/* The value that a path such as "arms/1/bits" leads to from the value j stands
 * before: members by name, elements by number. Its p is NULL if there is
 * none. */
static inline Json json_at(Json j, const char *path) {
    while (*path && j.p) {
        const size_t n = strcspn(path, "/");
        j = json_step(j, path, n);
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
    die("%s: JSON at byte %zu: expected \"%s\" in the object, found none",
        object.name, at, key);
}
/* Dies if anything follows the value that j stands before. */
static inline void json_alone(Json j) {
    json_skip(&j, 0);
    json_peek(&j);
    if (j.p < j.end) json_die(&j, "the end of the file");
}
/* The bytes of the value that *j stands before, which is moved onto it. */
static inline size_t json_extent(Json *j) {
    json_peek(j);
    Json end = *j;
    json_skip(&end, 0);
    return (size_t)(end.p - j->p);
}
/* Whether the value is one of the words, which stand between bars. */
static inline bool json_among(Json value, const char *words) {
    const size_t n = json_extent(&value);
    const char *word = words;
    while (*word) {
        const size_t length = strcspn(word, "|");
        if (n == length && !memcmp(value.p, word, n)) return true;
        word += length + (word[length] == '|');
    }
    return false;
}
/* Dies if it is none of them. */
static inline void json_want(Json value, const char *key, const char *words) {
    if (json_among(value, words)) return;
    const size_t n = json_extent(&value);
    die("%s: \"%s\": expected %s, found %.*s", value.name, key, words,
        (int)size_min(n, 40), (const char *)value.p);
}

/* What a reader makes of a member of an object: it reads it; it can do without,
 * if the value is one of these words; or the value changes nothing of what is
 * read. */
typedef struct {
    const char *key;
    enum { JSON_READ, JSON_NEUTRAL, JSON_IGNORED } use;
    const char *words;
} JsonField;

/* Goes through all members of an object. Dies if one is given twice, or is
 * neutral and has another value. Of members that are not in the list of n, at
 * most 64, it returns the number, and puts the first one's name in
 * `unknown`. */
static inline size_t json_fields(Json object, const JsonField *f, size_t n,
                                 char unknown[JSON_KEY]) {
    char key[JSON_KEY];
    size_t strange = 0;
    uint64_t seen = 0;
    bool first = true;
    json_expect(&object, '{');
    while (json_more(&object, '}', &first)) {
        size_t k = 0;
        json_member(&object, key, sizeof key);
        while (k < n && strcmp(key, f[k].key)) k++;
        if (k == n) {
            if (!strange) strcpy(unknown, key);
            strange++;
        } else {
            if (seen >> k & 1)
                die("%s: expected \"%s\" once in the object, found it twice",
                    object.name, key);
            seen |= UINT64_C(1) << k;
            if (f[k].use == JSON_NEUTRAL) json_want(object, key, f[k].words);
        }
        json_skip(&object, 0);
    }
    return strange;
}
/* The same, where what is not known may change the meaning of all else. */
static inline void json_fields_only(Json object, const JsonField *f, size_t n) {
    char unknown[JSON_KEY];
    if (json_fields(object, f, n, unknown))
        die("%s: \"%s\": expected a member that is known, found this one",
            object.name, unknown);
}
/* NAN for what is no number; dies of one that is too long to be read whole. */
static inline double json_real(Json j) {
    char text[64] = "";
    size_t n = 0;
    if (!j.p) return NAN;
    for (; j.p + n < j.end && n < sizeof text - 1 && strchr("+-.0123456789eE", j.p[n]); n++)
        text[n] = (char)j.p[n];
    if (n == sizeof text - 1) json_die(&j, "a number of at most 62 characters");
    return *text ? strtod(text, NULL) : NAN;
}
#endif
