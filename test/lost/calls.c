/* calls.c: preloaded (LD_PRELOAD), it makes the n-th call of a kind fail, and
 * stops the clock.
 *
 *     FAIL=memory:12      the 12th allocation fails
 *     FAIL=write:3+       the third write and all after it
 *     FAIL_COUNT=FILE     at the end, a line for each kind with the number of its calls
 *
 * `short` is a write that takes half of what it is given. Writes to standard
 * error never fail: the tests read there what the program says. The clock moves
 * by a whole second at every look at it, so that times, too, are the same in
 * every run. It refuses programs that call from several threads and need the same
 * n: there is only one count. glibc alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMORY, OPEN, STAT, READ, WRITE, SHORT, SYNC, CLOSE, RENAME, FOLDER, MAP,
    THREAD, KINDS
};
static const char *const kind_name[KINDS] = {
    "memory", "open", "stat", "read", "write", "short", "sync", "close",
    "rename", "folder", "map", "thread",
};
static atomic_long count[KINDS];
static atomic_long clock_seconds = 1000000;
static int wanted = KINDS;              /* the kind that is to fail; none until
                                         * the constructor has run */
static long first, last;                /* which of its calls */

/* glibc's own allocator, by the names under which it lets others in. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t line, size_t bytes);

/* What the standard output's stream writes goes through write, below: the C
 * library's own would not. */
static ssize_t print(void *none, const char *p, size_t n) {
    size_t done = 0;
    (void)none;
    while (done < n) {
        const ssize_t sent = write(1, p + done, n - done);
        if (sent <= 0) return 0;
        done += (size_t)sent;
    }
    return (ssize_t)n;
}
/* The kind of that name of n letters; KINDS: there is none. */
static int kind_of(const char *name, size_t n) {
    for (int k = 0; k < KINDS; k++)
        if (strlen(kind_name[k]) == n && !strncmp(kind_name[k], name, n))
            return k;
    return KINDS;
}
__attribute__((constructor)) static void begin(void) {
    const char *what = getenv("FAIL");
    const char *at = what ? strchr(what, ':') : NULL;
    stdout = fopencookie(NULL, "w", (cookie_io_functions_t){.write = print});
    for (int k = 0; k < KINDS; k++) count[k] = 0;   /* the loader's, until now */
    if (!at) return;
    first = strtol(at + 1, NULL, 10);
    last = what[strlen(what) - 1] == '+' ? first + (1L << 40) : first;
    wanted = kind_of(what, (size_t)(at - what));
}
__attribute__((destructor)) static void end(void) {
    char line[64];
    const char *path = getenv("FAIL_COUNT");
    if (!path) return;
    const int how = O_WRONLY | O_CREAT | O_TRUNC;
    const long file = syscall(SYS_openat, AT_FDCWD, path, how, 0666);
    for (int k = 0; k < KINDS; k++) {
        const int n = snprintf(line, sizeof line, "%s %ld\n", kind_name[k],
                               (long)count[k]);
        syscall(SYS_write, file, line, n);
    }
    syscall(SYS_close, file);
}

/* Counts a call; whether it is to fail, and then with that errno, if not 0. */
static bool fails(int kind, int error) {
    const long n = ++count[kind];
    if (kind != wanted || n < first || n > last) return false;
    if (error) errno = error;
    return true;
}

/* ---- memory -------------------------------------------------------------- */

void *malloc(size_t bytes) {
    return fails(MEMORY, ENOMEM) ? NULL : __libc_malloc(bytes);
}
void *calloc(size_t n, size_t size) {
    return fails(MEMORY, ENOMEM) ? NULL : __libc_calloc(n, size);
}
void *realloc(void *p, size_t bytes) {
    return fails(MEMORY, ENOMEM) ? NULL : __libc_realloc(p, bytes);
}
void *aligned_alloc(size_t line, size_t bytes) {
    return fails(MEMORY, ENOMEM) ? NULL : __libc_memalign(line, bytes);
}
int posix_memalign(void **p, size_t line, size_t bytes) {
    *p = fails(MEMORY, ENOMEM) ? NULL : __libc_memalign(line, bytes);
    return *p ? 0 : ENOMEM;
}
void *mmap(void *p, size_t bytes, int protect, int flags, int file, off_t at) {
    if (fails(MAP, ENOMEM)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, p, bytes, protect, flags, file, at);
}

/* ---- files --------------------------------------------------------------- */

int open(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    const int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
    va_end(ap);
    if (fails(OPEN, EMFILE)) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
    FILE *(*next)(const char *, const char *);
    *(void **)&next = dlsym(RTLD_NEXT, "fopen");
    return fails(OPEN, EMFILE) ? NULL : next(path, mode);
}
static int stat_next(const char *name, const char *path, struct stat *st) {
    int (*next)(const char *, struct stat *);
    *(void **)&next = dlsym(RTLD_NEXT, name);
    return fails(STAT, EIO) ? -1 : next(path, st);
}
int stat(const char *path, struct stat *st) {
    return stat_next("stat", path, st);
}
int lstat(const char *path, struct stat *st) {
    return stat_next("lstat", path, st);
}
int fstat(int file, struct stat *st) {
    int (*next)(int, struct stat *);
    *(void **)&next = dlsym(RTLD_NEXT, "fstat");
    return fails(STAT, EIO) ? -1 : next(file, st);
}
FILE *open_memstream(char **text, size_t *n) {
    FILE *(*next)(char **, size_t *);
    *(void **)&next = dlsym(RTLD_NEXT, "open_memstream");
    return fails(MEMORY, ENOMEM) ? NULL : next(text, n);
}
ssize_t read(int file, void *p, size_t n) {
    return fails(READ, EIO) ? -1 : syscall(SYS_read, file, p, n);
}
ssize_t write(int file, const void *p, size_t n) {
    if (file != 2 && fails(WRITE, ENOSPC)) return -1;
    if (file != 2 && n > 1 && fails(SHORT, 0)) n /= 2;
    return syscall(SYS_write, file, p, n);
}
ssize_t pwrite(int file, const void *p, size_t n, off_t at) {
    if (fails(WRITE, ENOSPC)) return -1;
    if (n > 1 && fails(SHORT, 0)) n /= 2;
    return syscall(SYS_pwrite64, file, p, n, at);
}
int ftruncate(int file, off_t n) {
    return fails(WRITE, EIO) ? -1 : (int)syscall(SYS_ftruncate, file, n);
}
/* Of the disk nothing is asked: a killed process loses nothing that it has
 * written, and waiting for the disk takes most of a try's time. What stands in
 * for it is a system call to be killed at. */
int fsync(int file) {
    if (fails(SYNC, EIO)) return -1;
    syscall(SYS_lseek, file, 0, SEEK_CUR);
    return 0;
}
int close(int file) {
    const bool bad = fails(CLOSE, EIO);
    syscall(SYS_close, file);       /* it is gone, also if that said otherwise */
    return bad ? -1 : 0;
}
int rename(const char *from, const char *to) {
    if (fails(RENAME, EIO)) return -1;
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}
int mkdir(const char *path, mode_t mode) {
    if (fails(FOLDER, ENOSPC)) return -1;
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

/* ---- threads, time ------------------------------------------------------- */

int pthread_create(pthread_t *thread, const pthread_attr_t *how,
                   void *(*start)(void *), void *arg) {
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    return fails(THREAD, EAGAIN) ? EAGAIN : next(thread, how, start, arg);
}
int clock_gettime(clockid_t clock, struct timespec *t) {
    (void)clock;
    *t = (struct timespec){.tv_sec = ++clock_seconds};
    return 0;
}
int getrusage(__rusage_who_t who, struct rusage *u) {
    (void)who;
    memset(u, 0, sizeof *u);
    u->ru_maxrss = 1024;
    return 0;
}
