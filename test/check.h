/* check.h: the test harness. One program, one counter, one last line "N passed,
 * N failed".
 *
 *     CHECK(cond, "format", ...)  counts; on failure prints the place, the
 *                                 condition and the note
 *     DIES(statement)             true if the statement ends in die(); its line
 *                                 is then in check_line
 *     NOTED(text)                 true if a note says that since the last
 *                                 question; forgets all of them
 *     QUICK                       true under QUICK=1: smaller sweeps of the same
 *                                 tests */
#ifndef CHECK_H
#define CHECK_H
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long check_passed, check_failed;
static jmp_buf check_jump;
static int check_armed;                                 /* inside DIES */
static char check_line[4096];

__attribute__((noreturn)) static inline void check_died(const char *line) {
    snprintf(check_line, sizeof check_line, "%s", line);
    if (!check_armed) {
        fprintf(stderr, "died outside of a test for it: %s\n", line);
        exit(1);
    }
    longjmp(check_jump, 1);
}
static char check_notes[4096];          /* the notes since a test emptied it */
static inline void check_noted(const char *line) {
    strncat(check_notes, line, sizeof check_notes - strlen(check_notes) - 1);
}
#define DIE_HOOK(line) check_died(line)
#define NOTE_HOOK(line) check_noted(line)
#include "../data/base/base.h"

__attribute__((format(printf, 5, 6)))
static inline void check(int good, const char *file, int line,
                         const char *what, const char *fmt, ...) {
    if (good) {
        check_passed++;
        return;
    }
    va_list ap;
    check_failed++;
    fprintf(stderr, "%s:%d: FAILED %s: ", file, line, what);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}
#define CHECK(cond, ...) check((cond) != 0, __FILE__, __LINE__, #cond, __VA_ARGS__)
#define DIES(statement)                                                        \
    (check_line[0] = 0, check_armed = 1,                                       \
     setjmp(check_jump) ? (check_armed = 0, 1) : ((statement), check_armed = 0))

static inline int check_asked(const char *text) {
    const int there = strstr(check_notes, text) != NULL;
    check_notes[0] = 0;
    return there;
}
#define NOTED(text) check_asked(text)

/* A case of a table: what is given, and what the error says of it. */
typedef struct {
    const char *given;
    const char *expected;
} Refused;
/* The same of something right in which one text is put in another's place. */
typedef struct {
    const char *from;
    const char *to;
    const char *expected;
} Spoiled;

/* A file as a C string, on the heap. */
static inline char *file_text(const char *path) {
    Bytes b = file_read(path);
    char *text = mem_new(b.n + 1, 1);
    memcpy(text, b.p, b.n);
    file_free(&b);
    return text;
}

/* The JSON text with another value at the path, or with a member more in the
 * object there, on the heap. */
static inline char *check_json(const char *text, const char *path,
                               const char *value, const char *member) {
    const Json file = json_open((const uint8_t *)text, strlen(text), "json");
    const Json at = json_at(file, path);
    Json end = at;
    if (!at.p) check(0, __FILE__, __LINE__, path, "not in the file");
    if (value) json_skip(&end, 0);
    else end.p++;
    char *out = mem_new(strlen(text) + 200, 1);
    const int before = (int)(at.p - file.p);
    if (value) sprintf(out, "%.*s%s%s", before, text, value, (const char *)end.p);
    else sprintf(out, "%.*s{%s, %s", before, text, member, (const char *)end.p);
    return out;
}

static inline int check_quick(void) {
    const char *q = getenv("QUICK");
    return q && *q && *q != '0';
}
#define QUICK check_quick()

/* Who sleeps uses no processor time, but ThreadSanitizer's own work at each of
 * many wake-ups does: the share that waiting threads may use is unlimited
 * there. */
#ifdef __SANITIZE_THREAD__
#define IDLE_SHARE(limit) INFINITY
#else
#define IDLE_SHARE(limit) (limit)
#endif

/* Not inlined: gcc 12 for ARM fails on a loop that keeps the maximum of
 * doubles. */
__attribute__((noinline)) static double larger(double a, double b) {
    return a > b ? a : b;
}
#endif
