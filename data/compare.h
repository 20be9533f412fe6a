/* compare.h: runs laid side by side: their loss curves, on axes that make them comparable.
 *
 * A comparison is arms (what differs) times seeds (what is repeated). Of every run there is a curve: a point
 * at each validation, with what it had cost until then in tokens, FLOPs and seconds.
 *
 * It refuses to know what a model is: curves and scores come in, numbers and verdicts go out. It trains
 * nothing; ../train.c does. */
#ifndef COMPARE_H
#define COMPARE_H
#include "base.h"

/* ---- curves ------------------------------------------------------------------------------------------- */

typedef struct {
    size_t step;
    double tokens, flops, seconds, train;   /* since the start; train: the sum of the steps' losses */
    double step_ms;                         /* median since the point before */
    double loss, bits;                      /* validation: nats per token, bits per byte (0: not known) */
} CmpPoint;

/* loss is NAN in the last point of a run that was interrupted there, and infinite if the run diverged. */
typedef struct { CmpPoint *point; size_t n, cap; } CmpCurve;

static const char cmp_head[] = "step,tokens,flops,seconds,train_sum,step_ms,val_loss,bits_per_byte\n";

static inline void cmp_add(CmpCurve *c, CmpPoint p) {
    c->point = mem_grow(c->point, c->n, &c->cap, sizeof *c->point);
    c->point[c->n++] = p;
}

static inline void cmp_curve_write(const CmpCurve *c, const char *path) {
    Out out = out_open(path);
    fputs(cmp_head, out.f);
    for (size_t k = 0; k < c->n; k++) {
        const CmpPoint *p = &c->point[k];
        fprintf(out.f, "%zu,%.17g,%.17g,%.6f,%.17g,%.3f,%.17g,%.17g\n", p->step, p->tokens, p->flops,
                p->seconds, p->train, p->step_ms, p->loss, p->bits);
    }
    if (!out_commit(&out)) die("%s: cannot write: %s", path, strerror(errno));
}

/* The points up to that step: later ones are of a run that was killed before it had saved its model. */
static inline CmpCurve cmp_curve_read(const char *path, size_t step) {
    Bytes b = file_read(path);
    CmpCurve c = {0};
    char *text = mem_new(b.n + 1, 1), *p = memcpy(text, b.p, b.n);
    size_t line = 1;
    if (strncmp(text, cmp_head, strlen(cmp_head))) die("%s: line 1: expected %.40s...", path, cmp_head);
    for (p += strlen(cmp_head); *p; p++) {
        double x[8];
        line++;
        for (int k = 0; k < 8; k++) {
            char *end;
            x[k] = strtod(p, &end);
            if (end == p || *end != (k < 7 ? ',' : '\n'))
                die("%s: line %zu: expected 8 numbers, found '%.*s'", path, line, (int)strcspn(p, "\n"), p);
            p = end + (k < 7);
        }
        if (x[0] <= (double)step)
            cmp_add(&c, (CmpPoint){(size_t)x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]});
    }
    free(text), file_free(&b);
    return c;
}

#endif
