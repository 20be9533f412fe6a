/* lock.h: one process at a time writes a run's files.
 *
 * The lock is on a file of its own beside the output, PATH.lock, for the output
 * itself is renamed over. It is the system's (fcntl), so that other processes
 * see it, the system says which process has it, and its death frees it.
 *
 *     PATH                the output
 *     PATH.lock           locked; holds its holder's number, in decimal
 *     PATH.NUMBER.tmp     what the holder is writing (out.h)
 *
 * A holder that was killed leaves its number; the next one takes the lock over
 * and takes away the temporary files that the dead one left. A file system
 * without locks gets a note. It refuses to wait.
 *
 * Example:
 *     lock_take("model.ckpt");        // or dies, naming the process that has it
 *     lock_leave();                   // the end of the process does that too */
#ifndef LOCK_H
#define LOCK_H
#include "../base/base.h"

enum { LOCK_NONE = -1 };
static struct {
    int file;                       /* the lock's, or LOCK_NONE */
    Passing *name;                  /* PATH.lock */
} lock_held = {.file = LOCK_NONE};

static inline void lock_leave(void) {
    if (lock_held.file == LOCK_NONE) return;
    lock_held.name->there = false;      /* from now on it may be another's */
    unlink(lock_held.name->path);
    close(lock_held.file);              /* in this order: see lock_open */
    lock_held.file = LOCK_NONE;
}

/* The lock's file, or "" if there is none. */
static inline const char *lock_path(void) {
    return lock_held.file == LOCK_NONE ? "" : lock_held.name->path;
}

/* Locks an open file for this process, if the file system can, or says so.
 * False if that has to be tried again, for the last holder has just left. Dies
 * if another process has it. path: what is locked. */
static inline bool lock_file(int file, const char *path) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!fcntl(file, F_SETLK, &lock)) return true;
    if (errno != EACCES && errno != EAGAIN) {
        note("%s: no lock (%s): nothing else may write it", path, why(errno));
        return true;
    }
    if (fcntl(file, F_GETLK, &lock)) die_of(path, "lock");
    if (lock.l_type == F_UNLCK) return false;
    die("%s: process %ld writes it", path, (long)lock.l_pid);
}
/* Opens and locks the file of that name; false if that has to be tried again,
 * for the last holder has just left. path: what is locked. */
static inline bool lock_open(const char *path, Passing *name) {
    struct stat mine;
    struct stat there;
    const int how = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    const int file = open(name->path, how, 0666);
    if (file < 0 || fstat(file, &mine)) die_of(name->path, "write");
    if (!S_ISREG(mine.st_mode))
        die("%s: expected a file that locks, found another kind", name->path);
    const bool locked = lock_file(file, path);

    /* while we waited it may have been taken away, and another put there */
    const bool same = file_stat(name->path, &there) &&
                      there.st_dev == mine.st_dev && there.st_ino == mine.st_ino;
    if (!locked || !same) {
        close(file);
        return false;
    }
    name->there = true;
    lock_held.file = file;
    lock_held.name = name;
    return true;
}

/* Reads who had the lock before, into passing.dead, and removes what that
 * process, now dead, has left of the files at path and path.best. */
static inline void lock_clean(const char *path) {
    char number[24] = "";
    char best[PATH_MAX + 8];
    if (read(lock_held.file, number, sizeof number - 1) < 0)
        die_of(lock_path(), "read");
    passing.dead = strtol(number, NULL, 10);
    passing_of_dead(path);
    snprintf(best, sizeof best, "%s.best", path);
    passing_of_dead(best);
}
/* Makes this process the only one that writes path and path.best, and leaves
 * any other path. Of what is no regular file (a device) there is none. Dies if
 * another process has it. */
static inline void lock_take(const char *path) {
    struct stat st;
    char real[PATH_MAX];
    char number[24];
    lock_leave();
    passing.dead = 0;
    const bool there = file_stat(path, &st);
    if (there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return;
    if (!there) snprintf(real, sizeof real, "%s", path);
    else if (!realpath(path, real)) die_of(path, "lock");
    Passing *name = passing_free();
    if (!name) die("%s: cannot lock: too many files", path);
    snprintf(name->path, sizeof name->path, "%s.lock", real);
    while (!lock_open(path, name)) continue;
    lock_clean(real);
    const int bytes = snprintf(number, sizeof number, "%ld\n", (long)getpid());
    errno = EIO;                        /* what a short write means */
    if (pwrite(lock_held.file, number, (size_t)bytes, 0) != bytes ||
        ftruncate(lock_held.file, bytes))
        die_of(lock_path(), "write");
}
#endif
