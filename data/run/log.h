/* log.h: the CSV log of a run, a line a step, that a resumed run goes on with.
 *
 *     step,loss,bits_per_byte,lr,grad_norm,seconds
 *     1,6.03,3.15,1.2e-05,2.7,0.4811
 *     2,5.98,3.12,2.4e-05,2.6,0.4790        a run resumed at step 2
 *     3,5.91,3.09,3.6e-05,2.6,0.4802        loses this line, says so, and writes it again
 *
 * It refuses a file that begins otherwise: that is not a log. */
#ifndef LOG_H
#define LOG_H
#include "../base/base.h"
#include "../base/out.h"
#include <sys/stat.h>

static const char log_head[] = "step,loss,bits_per_byte,lr,grad_norm,seconds\n";

static inline bool log_has_head(const Bytes *log) {
    const size_t n = strlen(log_head);
    return log->n >= n && !memcmp(log->p, log_head, n);
}
/* Whether the log has no line: a run that died before its first checkpoint leaves
 * it so. */
static inline bool log_is_new(const char *path) {
    Bytes log = file_read(path);
    const bool head = log_has_head(&log) && log.n == strlen(log_head);
    file_free(&log);
    return head;
}
/* Where the lines of a log end that a run at `step` has written, in bytes. */
static inline size_t log_kept(const Bytes *old, size_t step) {
    size_t at = strlen(log_head);
    while (at < old->n && old->p[at] >= '0' && old->p[at] <= '9') {
        const uint8_t *end = memchr(old->p + at, '\n', old->n - at);
        if (!end || strtoull((const char *)old->p + at, NULL, 10) > step) break;
        at = (size_t)(end - old->p) + 1;
    }
    return at;
}
/* Says how many lines go from byte `at` on. */
static inline void log_note(const char *path, const Bytes *old, size_t at, size_t step) {
    size_t lines = 0;
    for (; at < old->n; at++) lines += old->p[at] == '\n' || at + 1 == old->n;
    if (lines)
        note("%s: lines after that of step %zu, of a run that was not saved, are taken out: %zu",
             path, step, lines);
}
/* Opens the CSV log; with path NULL there is none. A resumed run goes on after
 * the line of its step: later ones, of a run that was killed, go. */
static inline Out log_open(const char *path, size_t step) {
    struct stat st;
    if (!path) return (Out){0};
    Bytes old = {0};
    if (file_stat(path, &st) && S_ISREG(st.st_mode)) old = file_read(path);
    if (old.n && !log_has_head(&old))
        die("%s: line 1: expected %.*s, found another", path,
            (int)strlen(log_head) - 1, log_head);
    Out out = out_open(path);
    const size_t kept = old.n ? log_kept(&old, step) : 0;
    log_note(path, &old, kept, step);
    if (old.n) out_bytes(&out, old.p, kept);
    else out_text(&out, log_head);
    out_done(&out);
    file_free(&old);
    return out_append(path);
}
#endif
