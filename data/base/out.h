/* out.h: all that is written: files, the standard output, text that grows in
 * memory; JSON for any of them.
 *
 * A file appears whole or not at all. It is written to a temporary file beside
 * its place, goes to the disk and is renamed, so that at every moment there is
 * either the old file or the new one. An end in between, also one by a signal,
 * takes the temporary file away (see Passing).
 *
 *     Out out = out_open("results.json");      // dies if that cannot be written
 *     out_print(&out, "{\"loss\": %g}\n", loss);
 *     out_done(&out);                          // dies if any of it could not be
 *
 * Whoever writes asks nothing in between: what failed is kept, what comes after
 * it is not tried, and the end tells. Only memory dies at once. An Out of zeros
 * takes everything and keeps nothing: for results that nobody has asked for. */
#ifndef OUT_H
#define OUT_H
#include "base.h"

typedef struct {
    enum { OUT_NONE, OUT_MEMORY, OUT_FILE } kind;
    int file;
    int error;              /* errno of the first call that failed, or 0 */
    bool terminal;          /* whether the file is one */
    bool comma;             /* before the next member of the JSON written there */
    char *text;             /* what is not in the file yet; in memory, all of it */
    size_t n, cap;          /* its bytes, and its room */
    Passing *temp;          /* the temporary file, or NULL: written in place */
    char path[PATH_MAX];
} Out;

enum { OUT_ROOM = 1 << 16 };        /* bytes that a file's Out holds back */

/* ---- begin --------------------------------------------------------------- */

static inline Out out_memory(void) { return (Out){.kind = OUT_MEMORY}; }

/* The standard output, after what is printed already. */
static inline Out out_standard(void) {
    fflush(stdout);
    return (Out){.kind = OUT_FILE, .file = 1, .terminal = isatty(1),
                 .path = "standard output"};
}

/* Opens a new file beside o->path, which no other process has; -1, with errno
 * set, if that cannot be. */
static inline int out_temp(Out *o) {
    int file = -1;
    Passing *temp = passing_free();
    passing_of_dead(o->path);
    errno = EMFILE;
    for (int turn = 0; temp && file < 0 && turn < 100; turn++) {
        passing_name(temp->path, o->path, (long)getpid(), turn);
        temp->there = true;     /* the number in it is ours: so is the file */
        file = open(temp->path,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (file < 0) temp->there = false;
        if (file < 0 && errno != EEXIST) break;
    }
    o->temp = temp;
    return file;
}
/* Nothing is at path until out_commit, unless it is a device or a pipe, or where the
 * standard output goes already. Dies if it cannot be written. */
static inline Out out_open(const char *path) {
    Out o = {.kind = OUT_FILE};
    struct stat st;
    struct stat printed;
    if (strlen(path) >= PATH_MAX - 32)
        die("%.60s...: expected a shorter path", path);
    const bool there = file_stat(path, &st);
    if (there && S_ISDIR(st.st_mode))
        die("%s: expected a file to write, found a directory", path);
    if (!there && !lstat(path, &st))
        die("%s: expected a file to write, found a link to none", path);
    if (there && !fstat(1, &printed) && printed.st_dev == st.st_dev &&
        printed.st_ino == st.st_ino)
        return out_standard();
    const bool file = there && S_ISREG(st.st_mode);
    if (!file) strcpy(o.path, path);
    else if (!realpath(path, o.path)) die_of(path, "write");    /* of a link, its file */
    if (!there || file) o.file = out_temp(&o);
    else o.file = open(o.path, O_WRONLY | O_CLOEXEC);
    if (!*path) errno = ENOENT;
    if (!*path || o.file < 0)
        die("%s: cannot write: %s%s%s", path, o.temp ? o.temp->path : "",
            o.temp ? ": " : "", why(errno));
    o.terminal = isatty(o.file);
    return o;
}
/* Goes on at the end of a file that is there. */
static inline Out out_append(const char *path) {
    Out o = {.kind = OUT_FILE,
             .file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)};
    if (o.file < 0) die_of(path, "write");
    snprintf(o.path, sizeof o.path, "%s", path);
    return o;
}

/* ---- write --------------------------------------------------------------- */

static inline void out_send(Out *o, const char *p, size_t n) {
    while (n && !o->error) {
        const ssize_t sent = write(o->file, p, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) {
            o->error = sent < 0 ? errno : EIO;
            return;
        }
        p += sent;
        n -= (size_t)sent;
    }
}
/* Gives the system what a file has held back. False, with errno set, if that or
 * anything before it failed. */
static inline bool out_flush(Out *o) {
    if (o->kind != OUT_FILE) return true;
    out_send(o, o->text, o->n);
    o->n = 0;
    errno = o->error;
    return !o->error;
}
/* Where the next n bytes go; they count once o->n has grown. */
static inline char *out_room(Out *o, size_t n) {
    if (o->kind == OUT_FILE && o->n + n > OUT_ROOM) out_flush(o);
    if (o->n + n > o->cap) {
        const size_t least = o->kind == OUT_FILE ? OUT_ROOM : 256;
        o->cap = size_max(least, size_max(o->n + n, size_mul(o->cap, 2)));
        o->text = mem_resize(o->text, o->cap);
    }
    return o->text + o->n;
}
static inline void out_bytes(Out *o, const void *p, size_t n) {
    if (o->kind == OUT_NONE || !n) return;
    if (o->kind == OUT_FILE && n >= OUT_ROOM) {             /* a tensor needs no copy */
        out_flush(o);
        out_send(o, p, n);
        return;
    }
    memcpy(out_room(o, n), p, n);
    o->n += n;
}
static inline void out_text(Out *o, const char *text) {
    out_bytes(o, text, strlen(text));
}
static inline void out_char(Out *o, int c) {
    out_bytes(o, &(char){(char)c}, 1);
}

__attribute__((format(printf, 2, 3))) static inline void out_print(
    Out *o, const char *fmt, ...) {
    if (o->kind == OUT_NONE) return;
    for (size_t room = 128;;) {                             /* again, with the room it wants */
        va_list ap;
        va_start(ap, fmt);
        const int n = vsnprintf(out_room(o, room), room, fmt, ap);
        va_end(ap);
        if (n < 0) die_memory(room);
        if ((size_t)n < room) {
            o->n += (size_t)n;
            return;
        }
        room = (size_t)n + 1;
    }
}

/* ---- end ----------------------------------------------------------------- */

static inline void out_free(Out *o) {
    free(o->text);
    o->text = NULL;
    o->n = o->cap = 0;
    o->kind = OUT_NONE;
}
/* Leaves nothing of it. */
static inline void out_drop(Out *o) {
    if (o->kind == OUT_FILE && o->file != 1) close(o->file);
    if (o->temp) {
        unlink(o->temp->path);
        o->temp->there = false;
    }
    out_free(o);
}
/* Dies now if path could not be written later. */
static inline void out_probe(const char *path) {
    Out o = out_open(path);
    out_drop(&o);
}
/* Flushes, syncs, closes and renames. False, with errno set and the old file
 * untouched, if anything failed. */
static inline bool out_commit(Out *o) {
    out_flush(o);
    if (o->temp && !o->error && fsync(o->file)) o->error = errno;
    if (o->kind == OUT_FILE && o->file != 1 && close(o->file) && !o->error)
        o->error = errno;
    if (o->temp) {
        if (!o->error && rename(o->temp->path, o->path)) o->error = errno;
        if (o->error) unlink(o->temp->path);
        o->temp->there = false;
    }
    out_free(o);
    errno = o->error;
    return !o->error;
}
static inline void out_done(Out *o) {
    if (!out_commit(o)) die("%s: cannot write: %s", o->path, why(errno));
}
/* What has grown in memory, with a NUL after it. Freed with free(). */
static inline char *out_string(Out *o) {
    *out_room(o, 1) = 0;
    return o->text;
}

/* ---- for people ---------------------------------------------------------- */

/* n bytes that came from a file: a terminal gets them without its control
 * characters. */
static inline void show(Out *o, const void *p, size_t n) {
    if (!o->terminal) {
        out_bytes(o, p, n);
        return;
    }
    char *text = mem_resize(NULL, 4 * n + 8);
    out_bytes(o, text, text_show(text, 4 * n + 8, p, n, "\n\t"));
    free(text);
}
/* The same of text that comes in parts: a character that is not whole yet waits
 * for the next one. */
typedef struct {
    uint8_t byte[4];
    size_t n;
} Unfinished;
static inline void show_next(Out *o, Unfinished *u, const uint8_t *p, size_t n) {
    const size_t all = u->n + n;
    size_t keep = 0;
    uint8_t *text = mem_resize(NULL, all + 1);
    memcpy(text, u->byte, u->n);
    memcpy(text + u->n, p, n);
    for (size_t k = 1; k < 4 && k <= all && text[all - k] >= 0x80; k++) {
        const uint8_t lead = text[all - k];
        if (lead < 0xc0) continue;
        if (k < (lead < 0xe0 ? 2u : lead < 0xf0 ? 3u : 4u)) keep = k;
        break;
    }
    show(o, text, all - keep);
    memcpy(u->byte, text + all - keep, keep);
    u->n = keep;
    free(text);
}

/* ---- JSON ---------------------------------------------------------------- */

/* s as a JSON string, quotes included; U+FFFD for a byte that is no UTF-8. */
static inline void json_put(Out *o, const char *s) {
    const char *end = s + strlen(s);
    out_char(o, '"');
    for (size_t len; s < end; s += len) {
        uint32_t c;
        len = utf8_get((const uint8_t *)s, (size_t)(end - s), &c);
        if (c == UINT32_MAX) out_text(o, "\xef\xbf\xbd");
        else if (c < 0x20) out_print(o, "\\u%04x", c);
        else {
            if (c == '"' || c == '\\') out_char(o, '\\');
            out_bytes(o, s, len);
        }
    }
    out_char(o, '"');
}

/* Members of JSON objects and lists; key is NULL in a list. A number that is
 * not finite is null. */
static inline void json_key(Out *o, const char *key) {
    if (o->comma) out_text(o, ", ");
    if (key) {
        json_put(o, key);
        out_text(o, ": ");
    }
    o->comma = true;
}
static inline void json_member_put(Out *o, const char *key, double x) {
    json_key(o, key);
    if (isfinite(x)) out_print(o, "%.12g", x);
    else out_text(o, "null");
}
static inline void json_member_text(Out *o, const char *key, const char *text) {
    json_key(o, key);
    if (text) json_put(o, text);
    else out_text(o, "null");
}
static inline void json_member_bool(Out *o, const char *key, bool yes) {
    json_key(o, key);
    out_text(o, yes ? "true" : "false");
}
static inline void json_begin(Out *o, const char *key, char bracket) {
    json_key(o, key);
    out_char(o, bracket);
    o->comma = false;
}
static inline void json_close(Out *o, char bracket) {
    out_char(o, bracket);
    o->comma = true;
}
static inline void json_end(Out *o) {
    out_text(o, "}\n");
    out_done(o);
}
#endif
