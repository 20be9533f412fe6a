/* kept.h: what a comparison keeps of a run beside its checkpoint: two files, so
 * that a finished run is read and not trained again.
 *
 * ARM-SEED.csv is the run's curve, a head and then a line a point:
 *
 *     step,tokens,flops,seconds,train_sum,step_ms,val_loss,bits_per_byte
 *     4,288,27869184,0.0183,22.3,4.6,5.51,3.98
 *     6,432,41803776,0.0277,33.4,4.7,nan,nan      here it was interrupted
 *
 * ARM-SEED.scores is what its model is worth, a safetensors file. Metadata,
 * numbers: NAME_nats, NAME_bytes and NAME_tokens of the texts `val` and
 * `train`; floor, items, parameters, active_parameters. Tensors, F32 (n,3):
 *
 *     parts                 nats   bytes    tokens     a row a part of `val`
 *     cloze.0 .. cloze.2    kind   chance   1: right   a row an item
 *
 * All of .scores can be worked out from the checkpoint again.
 *
 * It refuses numbers that no run can have had. But .scores of another version,
 * or with other items than are asked for, are as good as none: they are made
 * anew.
 *
 * Example: of a run whose checkpoint is at step 4 the curve above has one
 * point: the second line is of a process that was killed before it had saved
 * its model. */
#ifndef KEPT_H
#define KEPT_H
#include "curves.h"

/* ---- the curve ----------------------------------------------------------- */

enum { CMP_COLUMNS = 8 };
static const char cmp_head[] =
    "step,tokens,flops,seconds,train_sum,step_ms,val_loss,bits_per_byte\n";

static inline void cmp_curve_write(const CmpCurve *c, const char *path) {
    Out out = out_open(path);
    out_text(&out, cmp_head);
    for (size_t k = 0; k < c->n; k++) {
        const CmpPoint *p = &c->point[k];
        out_print(&out, "%zu,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g\n",
                  p->step, p->tokens, p->flops, p->seconds, p->train,
                  p->step_ms, p->loss, p->bits);
    }
    out_done(&out);
}

/* Reads a line's numbers and moves *at to its end. False if it has not as many
 * as there are columns, or no step: then *at is the first one that is amiss. */
static inline bool cmp_line_read(const char **at, double x[CMP_COLUMNS]) {
    for (int k = 0; k < CMP_COLUMNS; k++) {
        const bool last = k == CMP_COLUMNS - 1;
        const char *p = *at;
        char *end;
        x[k] = strtod(p, &end);
        if (strchr(" \t\n\r", *p) || end == p) return false;
        if (*end != (last ? '\n' : ',')) return false;
        if (k == 0 && !(x[k] >= 0)) return false;
        *at = end + !last;
    }
    return true;
}
/* The points up to that step: later ones are of a run that was killed before it
 * had saved its model. */
static inline CmpCurve cmp_curve_read(const char *path, size_t step) {
    Bytes b = file_read(path);
    CmpCurve c = {0};
    char *text = mem_new(b.n + 1, 1);
    size_t line = 1;
    memcpy(text, b.p, b.n);
    if (strncmp(text, cmp_head, strlen(cmp_head)))
        die("%s: line 1: expected %.40s...", path, cmp_head);
    for (const char *p = text + strlen(cmp_head); *p; p++) {
        double x[CMP_COLUMNS];
        line++;
        if (!cmp_line_read(&p, x))
            die("%s: line %zu: expected 8 numbers, found '%.*s'", path, line,
                (int)strcspn(p, "\n"), p);
        if (x[0] > (double)step) continue;
        cmp_add(&c, (CmpPoint){(size_t)x[0], x[1], x[2], x[3], x[4], x[5], x[6],
                               x[7]});
    }
    free(text);
    file_free(&b);
    return c;
}

/* ---- the scores ---------------------------------------------------------- */

static const char cmp_version[] = "3";
static const char *const cmp_list[3] = {"cloze.0", "cloze.1", "cloze.2"};
enum { CMP_META = 13 };             /* members of the metadata */

static inline void cmp_meta_put(StWriter *w, const char *key, double x) {
    char value[64];
    snprintf(value, sizeof value, "%.17g", x);
    st_meta_put(w, key, value);
}
static inline void cmp_rows_declare(StWriter *w, const char *name, size_t n) {
    st_declare(w, name, ST_F32, 2, (size_t[]){n, 3});
}
static inline void cmp_row_write(StWriter *w, double a, double b, double c) {
    const float row[3] = {(float)a, (float)b, (float)c};
    st_write(w, row, sizeof row);
}
static inline void cmp_scores_write(const CmpRun *r, const char *path) {
    const Measures *m = &r->m;
    StWriter w = {0};
    st_meta_put(&w, "format", "sparseflow-scores");
    st_meta_put(&w, "version", cmp_version);
    st_meta_put(&w, "parts", m->parts.blocks ? "blocks" : "documents");
    cmp_meta_put(&w, "val_nats", m->val.nats);
    cmp_meta_put(&w, "val_bytes", m->val.bytes);
    cmp_meta_put(&w, "val_tokens", (double)m->val.tokens);
    cmp_meta_put(&w, "train_nats", m->train.nats);
    cmp_meta_put(&w, "train_bytes", m->train.bytes);
    cmp_meta_put(&w, "train_tokens", (double)m->train.tokens);
    cmp_meta_put(&w, "floor", m->floor);
    cmp_meta_put(&w, "items", (double)m->wanted);
    cmp_meta_put(&w, "parameters", r->parameters);
    cmp_meta_put(&w, "active_parameters", r->active);
    cmp_rows_declare(&w, "parts", m->parts.n);
    for (int list = 0; list < 3; list++)
        cmp_rows_declare(&w, cmp_list[list], m->cloze[list].items);
    st_begin(&w, path);
    for (size_t k = 0; k < m->parts.n; k++) {
        const Score *part = &m->parts.part[k];
        cmp_row_write(&w, part->nats, part->bytes, (double)part->tokens);
    }
    for (int list = 0; list < 3; list++)
        for (size_t k = 0; k < m->cloze[list].items; k++) {
            const ClozeItem *item = &m->cloze[list].item[k];
            cmp_row_write(&w, item->kind, item->chance, item->right);
        }
    if (!st_commit(&w)) die_of(path, "write");
}

/* The rows (n,3) of a tensor: numbers from 0 to 2^53, which a size can hold, in
 * the first column below `most`. */
static inline float *cmp_rows_read(const Safetensors *st, const char *path,
                                   const char *name, double most, size_t *n) {
    const StTensor *t = st_find(st, name);
    if (!t || t->type != ST_F32 || t->rank != 2 || t->shape[1] != 3)
        die("%s: %s: expected F32 (n, 3)", path, name);
    float *x = mem_new(t->count, sizeof *x);
    st_floats(t, x);
    for (size_t i = 0; i < t->count; i++)
        if (!(x[i] >= 0 && x[i] < 0x1p53f) || (i % 3 == 0 && x[i] >= most))
            die("%s: %s[%zu]: expected a number from 0 to 2^53, found %g", path,
                name, i, (double)x[i]);
    *n = t->shape[0];
    return x;
}
static inline void cmp_parts_read(Parts *p, const Safetensors *st,
                                  const char *path) {
    float *x = cmp_rows_read(st, path, "parts", INFINITY, &p->n);
    p->part = mem_new(p->n, sizeof *p->part);
    for (size_t k = 0; k < p->n; k++)
        p->part[k] = (Score){x[3 * k], x[3 * k + 1], (size_t)x[3 * k + 2]};
    free(x);
}
static inline void cmp_cloze_read(Cloze *z, const Safetensors *st,
                                  const char *path, const char *name) {
    float *x = cmp_rows_read(st, path, name, CLOZE_KINDS, &z->items);
    z->item = mem_new(z->items, sizeof *z->item);
    for (size_t k = 0; k < z->items; k++) {
        z->item[k].kind = (int)x[3 * k];
        z->item[k].chance = x[3 * k + 1];
        z->item[k].right = x[3 * k + 2] > 0;
    }
    free(x);
}
/* False if there is no such file, or one of another version or with other
 * items. */
static inline bool cmp_scores_read(CmpRun *r, const char *path, size_t items) {
    if (!file_there(path)) return false;
    Safetensors st = st_read(path);
    Measures *m = &r->m;
    bool mine = !strcmp(meta_need(&st, path, "version"), cmp_version);
    if (mine) mine = meta_size(&st, path, "items", 0, SIZE_MAX) == items;
    if (!mine) {
        st_free(&st);
        return false;
    }
    m->val.nats = meta_positive(&st, path, "val_nats");
    m->val.bytes = meta_positive(&st, path, "val_bytes");
    m->val.tokens = meta_size(&st, path, "val_tokens", 1, SIZE_MAX);
    m->train.nats = meta_positive(&st, path, "train_nats");
    m->train.bytes = meta_positive(&st, path, "train_bytes");
    m->train.tokens = meta_size(&st, path, "train_tokens", 1, SIZE_MAX);
    m->floor = meta_positive(&st, path, "floor");
    m->wanted = items;
    r->parameters = meta_positive(&st, path, "parameters");
    r->active = meta_positive(&st, path, "active_parameters");
    m->parts.blocks = !strcmp(meta_need(&st, path, "parts"), "blocks");
    if (!m->parts.blocks) meta_want(&st, path, "parts", "documents");
    meta_want(&st, path, "format", "sparseflow-scores");
    if (st.n != 4 || st.n_meta != CMP_META)
        die("%s: expected 4 tensors and %d metadata, found %zu and %zu", path,
            CMP_META, st.n, st.n_meta);
    cmp_parts_read(&m->parts, &st, path);
    for (int list = 0; list < 3; list++)
        cmp_cloze_read(&m->cloze[list], &st, path, cmp_list[list]);
    st_free(&st);
    return true;
}
#endif
