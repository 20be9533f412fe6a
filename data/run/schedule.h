/* schedule.h: how a model's program is run: the stages one after the other over
 * the whole batch, or streaming over the tiles of a chip. The same stages, the same
 * bits.
 *
 *     a run        a model, its program, the arrays of B sequences    GptRun
 *     a firing     some units of one stage on one panel               Firing
 *     serial       one stage at a time, one thread                    gpt_kernels
 *     kernel       the same, all threads, a product together with the
 *                  norm before it: what a GPU does; but a task waits
 *                  for the panels that it reads, not for everybody    gpt_kernels
 *     dataflow     all stages of a section at once, panel by panel    gpt_machine_run
 *
 *     GptRun *r = gpt_run_new(model, pool, B, T, 64, GPT_TRAIN);
 *     gpt_machine_plan(r, chip, 2);               without it: a stage at a time
 *     gpt_train(r, inputs, targets, B * T, &sum); gradients in model->g
 *
 * It refuses to know what a stage computes. It takes from a stage's record
 * (data/panel/program.h) what fires when, what is stored, padded and counted. */
#ifndef SCHEDULE_H
#define SCHEDULE_H
#include "../../gpt.h"
#include "cuts.h"

/* ---- firing a stage ------------------------------------------------------ *
 * Its mathematics, and then what is the same for every stage and comes from its
 * record: padding, storing, counting. */

/* What a panel's edge holds past its real rows is 0: on chip other things lay
 * there before. */
static inline void gpt_pad(const Firing *f, int edge, size_t real) {
    sp_clear(gpt_panel_of(f, edge), real, f->r->program.edge[edge].rows - real,
             f->panel.groups);
}
static inline void gpt_moved(const Firing *f, int kind, double lines) {
    f->r->moved[f->worker * MOVED_KINDS + (size_t)kind] += lines;
}
/* Stores rows i0 .. i1-1 of an edge off chip too, if it is wanted there, of those
 * groups n of the sequence with n % split = j. */
static inline void gpt_store(const Firing *f, int edge, size_t i0, size_t i1, size_t split,
                             size_t j) {
    if (!f->r->on || !f->r->on->slot[edge].stored) return;
    const SpPanel from = gpt_panel_of(f, edge);
    const SpPanel to = gpt_off_chip(f, f->r->program.array_of[edge]);
    for (size_t g = 0; g < f->panel.groups; g++) {
        if ((f->panel.first + g) % split != j) continue;
        for (size_t i = i0; i < i1; i++)
            panel_stream(panel_line(to, g, i), panel_line(from, g, i), 1);
        gpt_moved(f, MOVED_OUT, (double)(i1 - i0));
    }
}
/* Stores what a firing's units have made of the real rows of an edge. */
static inline void gpt_store_units(const Firing *f, int edge, size_t real) {
    const ProgStage *s = f->stage;
    const size_t third = real / s->thirds;
    const size_t each = third * s->split / s->df.units;
    for (size_t i = 0; i < real; i += third) {
        if (s->split == 1) {
            gpt_store(f, edge, i + f->unit * each, i + f->end * each, 1, 0);
            continue;
        }
        for (size_t u = f->unit; u < f->end; u++) {
            const size_t first = i + u / s->split * each;
            gpt_store(f, edge, first, first + each, s->split, u % s->split);
        }
    }
}
/* Of lines a group that a stage's units share out, those of this firing; if they
 * cannot be shared out, the first unit moves all. */
static inline double gpt_share(const Firing *f, double lines) {
    const double units = (double)f->stage->df.units;
    const double groups = (double)f->panel.groups;
    if (fmod(lines, units) == 0) return groups * lines / units * (double)(f->end - f->unit);
    return f->unit == 0 ? groups * lines : 0;
}
/* Whether a firing of backward-data ends its sums: it has come to the last row block. */
static inline bool gpt_ends(const Firing *f) {
    return f->block_end == f->r->m->table[f->stage->param].mat.nb;
}
/* Fires a stage: its mathematics, then what it made of its outputs padded and, if
 * wanted there, stored off chip; and what it moved counted. */
static inline void gpt_fire(const Firing *f) {
    const ProgStage *s = f->stage;
    const bool last = f->end == s->df.units;
    s->fire(f);
    for (int k = 0; k < DF_OUTS && s->df.out[k] != DF_NONE; k++) {
        const int edge = s->df.out[k];
        if (f->r->program.edge[edge].inner) continue;
        const size_t rows = f->r->program.edge[edge].rows;
        const size_t real = s->real ? s->real : rows;
        if (last && real < rows) gpt_pad(f, edge, real);
        if (s->df.scatter && !gpt_ends(f)) continue;    /* sums go on */
        gpt_store_units(f, edge, real);
        if (last) gpt_store(f, edge, real, rows, 1, 0);
    }
    gpt_moved(f, MOVED_RANDOM, gpt_share(f, s->df.random));
    gpt_moved(f, MOVED_IN, gpt_share(f, s->df.reads - s->df.random));
    gpt_moved(f, MOVED_OUT, gpt_share(f, s->df.writes));
    vf_streamed();              /* or another worker may not see the stores */
}
/* Where a firing's units find their weights and accumulators off chip. */
static inline void gpt_point(Firing *f) {
    const Gpt *m = f->r->m;
    const int k = f->stage->param;
    if (k == PROG_NONE) return;
    const GptParam *p = &m->table[k];
    const GptParam *bias = p + 1;
    if (p->rank == 1) {                             /* gain and bias of a norm */
        if (!m->lane_g) return;
        f->dw = m->lane_g + (p->lane + f->unit) * LINE;
        f->db = m->lane_g + (bias->lane + f->unit) * LINE;
        return;
    }
    f->w = m->w + p->at;
    f->block_end = p->mat.nb;
    if (f->stage->df.scatter) return;
    const bool outputs = f->stage->df.grads;                /* units, not row blocks */
    const size_t line = outputs ? sp_part(p->mat.first, f->unit) : p->mat.first[f->unit];
    f->w += line * LINE;
    if (!m->g) return;
    f->dw = m->g + p->at + line * LINE;
    if (outputs && k != WTE) f->db = m->lane_g + (bias->lane + f->unit) * LINE;
}

/* ---- a run's memory ------------------------------------------------------ */

/* Floats of array k of a program, `groups` groups in all. */
static inline size_t gpt_array_floats(const Program *g, size_t k, size_t groups,
                                      size_t panel) {
    const ProgArray *a = &g->array[k];
    return size_mul(a->one_panel ? panel : groups, prog_stride(a));
}
/* Bytes of all arrays of a run of B sequences' groups, with panels of so many. how:
 * of GPT_TRAIN and the like, as everywhere. */
static inline size_t gpt_arrays_bytes(const GptConfig *c, size_t B, size_t T, size_t panel,
                                      int how) {
    Program g = gpt_program(c, gpt_groups(T), panel, how);
    const size_t groups = size_mul(B, gpt_groups(T));
    size_t bytes = 0;
    for (size_t k = 0; k < g.arrays; k++)
        bytes += size_mul(gpt_array_floats(&g, k, groups, panel), sizeof(float));
    prog_free(&g);
    return bytes;
}
static inline size_t gpt_scratch_floats(size_t T, size_t panel) {   /* of a worker */
    return panel * gpt_groups(T) * LINE * LINE;
}
/* Bytes that gpt_run_new will take, without taking them; panel: in groups, P / 16. */
static inline size_t gpt_run_bytes(const GptConfig *c, size_t B, size_t T, size_t panel,
                                   size_t workers, int how) {
    const size_t groups = size_mul(B, gpt_groups(T));
    return gpt_arrays_bytes(c, B, T, panel, how) +
           workers * gpt_scratch_floats(T, panel) * sizeof(float) +
           groups * (LINE * sizeof(double) + DF_LOTS * sizeof(atomic_uint));
}

/* A run of B sequences of up to T tokens, P tokens a panel; fewer if there would be
 * too few panels to share out. Freed with gpt_run_free. */
static inline GptRun *gpt_run_new(Gpt *m, DfPool *pool, size_t B, size_t T, size_t P,
                                  int how) {
    GptRun *r = mem_new(1, sizeof *r);
    const size_t groups = gpt_groups(T);
    const size_t share = B * groups / (2 * pool->workers);
    const size_t most = gpt_rows(m->c.V) + 4 * gpt_rows(m->c.C) + BEYOND;
    *r = (GptRun){.m = m, .pool = pool, .B = B, .T = T, .stride = groups, .groups = groups};
    r->panel = size_min(P / LINE, size_max(share, 1));
    r->program = gpt_program(&m->c, groups, r->panel, how);
    r->array = mem_new(r->program.arrays, sizeof *r->array);
    for (size_t k = 0; k < r->program.arrays; k++) {
        const size_t n = gpt_array_floats(&r->program, k, B * groups, r->panel);
        if (n) r->array[k] = mem_new(n, sizeof(float));
    }
    r->identity = mem_new(most, sizeof *r->identity);
    for (size_t i = 0; i < most; i++) r->identity[i] = (uint32_t)i;
    r->scratch = mem_new(pool->workers * gpt_scratch_floats(T, r->panel), sizeof(float));
    r->loss = mem_new(B * groups * LINE, sizeof(double));
    r->done = mem_new(B * groups * DF_LOTS, sizeof *r->done);
    r->moved = mem_new(pool->workers * MOVED_KINDS, sizeof(double));
    return r;
}
static inline void gpt_machine_free(GptRun *r);
static inline void gpt_run_free(GptRun *r) {
    gpt_machine_free(r);
    for (size_t k = 0; k < r->program.arrays; k++) free(r->array[k]);
    free(r->array);
    prog_free(&r->program);
    free(r->moved);
    free(r->identity);
    free(r->scratch);
    free(r->loss);
    free(r->done);
    free(r);
}

/* Panels of a run. */
static inline size_t gpt_panels_a_sequence(const GptRun *r) {
    return (r->groups - r->from + r->panel - 1) / r->panel;
}
static inline size_t gpt_panels(const GptRun *r) { return r->B * gpt_panels_a_sequence(r); }
static inline GptPanel gpt_panel(const GptRun *r, size_t i) {
    const size_t per = gpt_panels_a_sequence(r);
    const size_t first = r->from + i % per * r->panel;
    return (GptPanel){i / per * r->stride + first, first,
                      size_min(r->groups - first, r->panel)};
}
/* Panel i in the order of the backward stream: sequence by sequence, last panel
 * first. */
static inline GptPanel gpt_panel_back(const GptRun *r, size_t i) {
    const size_t per = gpt_panels_a_sequence(r);
    return gpt_panel(r, i / per * per + (per - 1 - i % per));
}
static inline GptPanel gpt_panel_for(const GptRun *r, const ProgStage *s, size_t i) {
    const bool forward = (size_t)s->df.kind < r->program.forward;
    return forward ? gpt_panel(r, i) : gpt_panel_back(r, i);
}

/* ---- schedules serial and kernel: a stage over the whole run, then the next  *
 * A kernel is a stage, and those that run in its tasks. A task begins when the kernels
 * before, as far as it reads what they write or writes what they read, are done with its
 * panels. Two sequences of two panels each, two workers:
 *
 *     worker 0   | qkv 0 | qkv 1 | heads of a  | proj 0 | proj 1 | fc 0 ...
 *     worker 1   | qkv 2    | qkv 3    | heads of b  | proj 2 | proj 3 ...
 *                                ^ the heads of sequence a need its panels alone */

typedef struct GptKernel GptKernel;
struct GptKernel {
    GptRun *r;
    const ProgStage *stage;
    const ProgStage *end;           /* those up to here run in its tasks */
    size_t units;                   /* a task */
    size_t tasks;
    const GptKernel *run;           /* the first of those that run together */
    uint32_t after;                 /* bit k: its tasks wait for those of run[k] on their panels */
    atomic_uint *done;              /* [panels] its tasks that are done with a panel */
};
_Static_assert(DF_LOTS <= 32, "`after` has a bit for each kernel of a run");

/* All units of a stage, and of those that run in its tasks, on one panel. */
static inline void gpt_kernel_panel(const GptKernel *n, Firing f, size_t panel) {
    f.panel = gpt_panel(n->r, panel);
    f.logits_at = f.panel.at;
    for (; f.stage < n->end; f.stage++) {
        f.end = f.stage->df.units;
        gpt_point(&f);
        gpt_fire(&f);
    }
}
/* The stages that join one by heads, on the panel and the head of its firing. */
static inline void gpt_kernel_head(const GptKernel *n, Firing f) {
    const size_t head = f.unit / n->units;
    while (++f.stage < n->end) {
        f.unit = head * f.stage->split;
        f.end = f.unit + f.stage->split;
        gpt_fire(&f);
    }
}
/* Panels first .. end-1 of a run: those that a task has to do with. */
typedef struct {
    size_t first, end;
} GptPanels;

static inline GptPanels gpt_kernel_panels(const GptKernel *n, size_t task) {
    const size_t per = gpt_panels_a_sequence(n->r);
    if (n->stage->cut == BY_PANEL) return (GptPanels){task, task + 1};
    if (n->stage->cut != BY_HEAD) return (GptPanels){0, gpt_panels(n->r)};
    const size_t b = task / (n->stage->df.units / n->units);    /* its sequence */
    return (GptPanels){b * per, (b + 1) * per};
}
/* How many tasks have to do with each panel. */
static inline size_t gpt_kernel_shares(const GptKernel *n) {
    if (n->stage->cut == BY_PANEL) return 1;
    return n->stage->cut == BY_HEAD ? n->stage->df.units / n->units : n->tasks;
}
/* A task's stages on its panels. */
static inline void gpt_kernel_fire(const GptKernel *n, size_t task, GptPanels panels,
                                   size_t worker) {
    const size_t units = n->stage->df.units;
    Firing f = {.r = n->r, .stage = n->stage, .worker = worker};
    if (n->stage->cut == BY_PANEL) {
        gpt_kernel_panel(n, f, task);
        return;
    }
    f.unit = task * n->units % size_up(units, n->units);
    f.end = size_min(f.unit + n->units, units);
    gpt_point(&f);
    for (size_t i = panels.first; i < panels.end; i++) {
        f.panel = gpt_panel_for(n->r, n->stage, i);
        f.logits_at = f.panel.at;
        gpt_fire(&f);
        if (n->stage->cut == BY_HEAD) gpt_kernel_head(n, f);
    }
}
/* A task, when the stages before that it needs are done with its panels. */
static inline void gpt_kernel_task(void *arg, size_t task, size_t worker) {
    const GptKernel *n = arg;
    const GptPanels panels = gpt_kernel_panels(n, task);
    for (const GptKernel *k = n->run; k < n; k++) {
        if (!(n->after >> (k - n->run) & 1)) continue;
        const unsigned shares = (unsigned)gpt_kernel_shares(k);
        for (size_t i = panels.first; i < panels.end; i++) df_await(&k->done[i], shares);
    }
    gpt_kernel_fire(n, task, panels, worker);
    for (size_t i = panels.first; i < panels.end; i++) atomic_fetch_add(&n->done[i], 1);
}
/* Whether a stage runs in the tasks of the one before it: it joins that one, or it finds
 * there the panel that a stage without weights, a norm say, has just made. No product
 * follows a product: each goes through its weights for all panels, and so has them in the
 * cache. */
static inline bool gpt_follows(const ProgStage *s) {
    return s->df.joins ||
           (s->cut == BY_PANEL && s[-1].cut == BY_PANEL && !s[-1].df.weights);
}
/* A stage, and those up to `end` that run in its tasks, over the whole run. How it is cut
 * into tasks does not change a bit. */
static inline GptKernel gpt_kernel_of(GptRun *r, size_t stage, size_t end) {
    const ProgStage *s = &r->program.stage[stage];
    const size_t units = s->df.units;
    GptKernel n = {.r = r, .stage = s, .end = &r->program.stage[end],
                   .units = size_max(1, units / (4 * r->pool->workers)),
                   .tasks = gpt_panels(r)};
    if (s->cut == BY_ROWS) {            /* whole row blocks, half a worker's share, for each
                                         * task reads all of x; but dw stays in the cache */
        const SpMat *m = &r->m->table[s->param].mat;
        const size_t block = size_max(1, s->df.whole);
        const size_t cached = 8 * m->nb * m->IC / size_max(m->lines, 1);    /* dense: 8 */
        n.units = size_max(1, size_min(2 * n.units / block, cached)) * block;
    }
    if (s->cut == BY_HEAD) n.units = s->split;
    if (s->df.copies) n.tasks = 0;
    else if (s->cut == BY_HEAD) n.tasks = r->B * units / s->split;
    else if (s->cut != BY_PANEL) n.tasks = (units + n.units - 1) / n.units;
    return n;
}

/* The arrays that a stage writes, or those that it reads. What lies beside its edges is
 * written forward and read backward. */
typedef struct {
    size_t n;
    size_t array[DF_INS + DF_OUTS + 2];
} GptArrays;

static inline GptArrays gpt_arrays(const GptRun *r, const ProgStage *s, bool written) {
    const bool forward = (size_t)s->df.kind < r->program.forward;
    const int *edge = written ? s->df.out : s->df.in;
    const int edges = written ? DF_OUTS : DF_INS;
    GptArrays a = {.n = 0};
    for (int k = 0; k < edges && edge[k] != DF_NONE; k++)
        a.array[a.n++] = r->program.array_of[edge[k]];
    for (int k = 0; k < 2 && forward == written; k++)
        if (s->side[k] != PROG_NONE) a.array[a.n++] = (size_t)s->side[k];
    return a;
}
static inline bool gpt_share_array(GptArrays a, GptArrays b) {
    for (size_t i = 0; i < a.n; i++)
        for (size_t k = 0; k < b.n; k++)
            if (a.array[i] == b.array[k]) return true;
    return false;
}
/* Whether a stage, on a panel, must follow an earlier one: it reads what that one writes, or
 * writes what that one reads or writes. */
static inline bool gpt_must_follow(const GptRun *r, const ProgStage *s, const ProgStage *before) {
    const GptArrays writes = gpt_arrays(r, s, true);
    const GptArrays written = gpt_arrays(r, before, true);
    return gpt_share_array(gpt_arrays(r, s, false), written) ||
           gpt_share_array(writes, written) ||
           gpt_share_array(writes, gpt_arrays(r, before, false));
}
/* The same of all that runs in the tasks of each. */
static inline bool gpt_kernel_follows(const GptKernel *n, const GptKernel *before) {
    for (const ProgStage *s = n->stage; s < n->end; s++)
        for (const ProgStage *b = before->stage; b < before->end; b++)
            if (gpt_must_follow(n->r, s, b)) return true;
    return false;
}
/* Whether a kernel makes gradients alone, which nobody reads before AdamW. */
static inline bool gpt_makes_gradients(const GptKernel *n) {
    return n->stage->df.out[0] == DF_NONE;
}
/* Appends a kernel to so many, but before gradients at their end that it need not follow:
 * these read all panels, and the later they begin, the fewer are not done. */
static inline void gpt_kernel_append(GptKernel *kernel, size_t count, GptKernel n) {
    size_t k = count;
    while (k > 0 && !gpt_makes_gradients(&n) && gpt_makes_gradients(&kernel[k - 1]) &&
           !gpt_kernel_follows(&n, &kernel[k - 1])) {
        kernel[k] = kernel[k - 1];
        k--;
    }
    kernel[k] = n;
}
/* Runs so many kernels, DF_LOTS at most: each as a lot of tasks. */
static inline void gpt_kernels_run(GptRun *r, GptKernel *kernel, size_t count) {
    const size_t panels = gpt_panels(r);
    DfLot lot[DF_LOTS];
    for (size_t k = 0; k < count; k++) {
        GptKernel *n = &kernel[k];
        lot[k] = (DfLot){gpt_kernel_task, n, n->tasks};
        n->run = kernel;
        n->after = 0;
        n->done = r->done + k * panels;
        for (size_t i = 0; i < panels; i++) atomic_store(&n->done[i], 0);
        for (size_t b = 0; b < k; b++)
            if (gpt_kernel_follows(n, &kernel[b])) n->after |= UINT32_C(1) << b;
    }
    if (count) df_run_lots(r->pool, lot, count);
}

/* The head panel by panel, so that no more than one panel's logits exist. */
enum { HEAD_BLOCKS = 16, HEAD_COLUMNS = 192 };  /* of wte a task: row blocks, columns */
enum { HEAD_LOGITS, HEAD_LOSS, HEAD_DATA, HEAD_WEIGHT };    /* stages from program.head */

typedef struct {
    const GptRun *r;
    GptPanel panel;
} GptHead;

static inline Firing gpt_head_fire(const GptHead *h, size_t stage, size_t worker) {
    const ProgStage *s = &h->r->program.stage[h->r->program.head + stage];
    return (Firing){.r = h->r, .stage = s, .worker = worker, .panel = h->panel,
                     .logits_at = h->panel.at, .end = s->df.units};
}
/* Narrows a firing to group g of its panel. */
static inline void gpt_one_group(Firing *f, size_t g) {
    f->panel = (GptPanel){f->panel.at + g, f->panel.first + g, 1};
}
/* Row blocks of the head, forward or dw, of one task. */
static inline void gpt_head_blocks(Firing f, size_t task) {
    const size_t units = HEAD_BLOCKS * size_max(1, f.stage->df.whole);
    f.unit = task * units;
    f.end = size_min(f.unit + units, f.stage->df.units);
    gpt_point(&f);
    gpt_fire(&f);
}
static inline void gpt_logits_task(void *head, size_t task, size_t worker) {
    gpt_head_blocks(gpt_head_fire(head, HEAD_LOGITS, worker), task);
}
static inline void gpt_loss_task(void *head, size_t g, size_t worker) {
    Firing f = gpt_head_fire(head, HEAD_LOSS, worker);
    gpt_one_group(&f, g);
    gpt_loss(&f);
}
static inline void gpt_loss_data_task(void *head, size_t g, size_t worker) {
    Firing f = gpt_head_fire(head, HEAD_LOSS, worker);
    gpt_one_group(&f, g);
    gpt_fire(&f);
}
/* Some columns of dn. A dense matrix's row blocks all have the same columns, so a slice
 * of it is the same lines, begun later. */
static inline void gpt_head_columns(Firing f, size_t task) {
    const SpMat *wte = &f.r->m->table[WTE].mat;
    const size_t left = task * HEAD_COLUMNS;
    SpMat slice = *wte;
    slice.IC = size_min(wte->IC - left, HEAD_COLUMNS);
    slice.col += left;
    f.slice = &slice;
    f.unit = left / LINE;
    f.end = size_min(f.unit + HEAD_COLUMNS / LINE, f.stage->df.units);
    gpt_point(&f);
    f.w += left * LINE;
    gpt_fire(&f);
}
static inline size_t gpt_head_slices(const GptRun *r) {
    return (r->m->c.C + HEAD_COLUMNS - 1) / HEAD_COLUMNS;
}
/* dn, then slices of dwte. */
static inline void gpt_head_back_task(void *head, size_t task, size_t worker) {
    const GptHead *h = head;
    const size_t slices = gpt_head_slices(h->r);
    if (task < slices) gpt_head_columns(gpt_head_fire(h, HEAD_DATA, worker), task);
    else gpt_head_blocks(gpt_head_fire(h, HEAD_WEIGHT, worker), task - slices);
}
static inline size_t gpt_head_tasks(const GptRun *r) {
    const size_t blocks = r->program.stage[r->program.head].df.units;
    return (blocks + HEAD_BLOCKS - 1) / HEAD_BLOCKS;
}
/* dn and dwte of a panel of the head, whose derivatives by the logits are there. */
static inline void gpt_head_back(GptRun *r, GptHead *h) {
    df_run(r->pool, gpt_head_back_task, h, gpt_head_slices(r) + gpt_head_tasks(r));
}

/* The logits of panel i of the backward stream, [group][V][16], groups gpt_logits_stride
 * apart, until the next call. After gpt_forward. */
static inline float *gpt_logits(GptRun *r, size_t i) {
    GptHead h = {r, gpt_panel_back(r, i)};
    df_run(r->pool, gpt_logits_task, &h, gpt_head_tasks(r));
    return r->array[IN_LOGITS];
}
/* Floats from a group of them to the next. */
static inline size_t gpt_logits_stride(const GptRun *r) {
    return prog_stride(&r->program.array[IN_LOGITS]);
}
static inline void gpt_losses(GptRun *r, size_t i) {
    GptHead h = {r, gpt_panel_back(r, i)};
    gpt_logits(r, i);
    df_run(r->pool, gpt_loss_task, &h, h.panel.groups);
}
static inline void gpt_head_train(GptRun *r, size_t i) {
    GptHead h = {r, gpt_panel_back(r, i)};
    gpt_logits(r, i);
    df_run(r->pool, gpt_loss_data_task, &h, h.panel.groups);
    gpt_head_back(r, &h);
}

/* Adds the tokens' losses to *sum one by one, so that groups of sequences add up as
 * the whole does. */
static inline void gpt_loss_add(const GptRun *r, double *sum) {
    for (size_t b = 0; b < r->B; b++)
        for (size_t t = r->from * LINE; t < r->T; t++)
            *sum += r->loss[b * r->stride * LINE + t];
}

/* The end of what runs in the tasks of stage s. */
static inline size_t gpt_kernel_end(const GptRun *r, size_t s, size_t end) {
    const Program *g = &r->program;
    if (s == g->head) return s + HEAD_WEIGHT + 1;
    for (s++; s < end && gpt_follows(&g->stage[s]);) s++;
    return s;
}
/* Stages first .. end-1, one after the other, but each task as soon as what it reads is
 * there; of the head all or none. */
static inline void gpt_kernels(GptRun *r, size_t first, size_t end) {
    const Program *g = &r->program;
    GptKernel kernel[DF_LOTS];
    size_t count = 0;
    for (size_t s = first, next; s < end; s = next) {
        next = gpt_kernel_end(r, s, end);
        if (s == g->head || count == DF_LOTS) {
            gpt_kernels_run(r, kernel, count);
            count = 0;
        }
        if (s == g->head) {
            for (size_t i = 0; i < gpt_panels(r); i++) gpt_head_train(r, i);
            continue;
        }
        const GptKernel n = gpt_kernel_of(r, s, next);
        if (n.tasks == 0) continue;
        gpt_kernel_append(kernel, count, n);
        count++;
    }
    gpt_kernels_run(r, kernel, count);
}
/* The layers forward, up to the final norm's output, for r->inputs. */
static inline void gpt_forward(GptRun *r) { gpt_kernels(r, 0, r->program.forward); }
/* Forward only: adds the losses of inputs against targets (B,T) to *sum. */
static inline void gpt_eval(GptRun *r, const int32_t *inputs, const int32_t *targets,
                            double *sum) {
    r->inputs = inputs;
    r->targets = targets;
    gpt_forward(r);
    for (size_t i = 0; i < gpt_panels(r); i++) gpt_losses(r, i);
    gpt_loss_add(r, sum);
}

/* ---- schedule dataflow: the graph on the chip ---------------------------- */

/* Of a matrix: rows[r], its lines before row block r; parts[o], before the part of
 * output o of its row block; cols[u], its lines whose input is below 16 u. */
typedef struct {
    const uint32_t *rows;
    const uint32_t *parts;
    const uint32_t *cols;
} GptLines;

struct GptMachine {
    DfGraph graph;
    DfPlan *plan;
    const Gpt *m;                   /* whose masks it was planned for */
    GptLines *lines;
    DfEvent **event;                /* [sections] of each the firings of its first run on
                                     * the host, as df_section_run notes them; NULL: not
                                     * wanted */
};

/* GptLines of all parameters of a model, in one block to free. */
static inline GptLines *gpt_lines(const Gpt *m) {
    size_t all = 0;
    for (size_t k = 0; k < m->count; k++)
        all += gpt_rows(m->table[k].mat.IC) / LINE + m->table[k].mat.nb * LINE + 2;
    GptLines *lines = mem_new(m->count * sizeof *lines + all * sizeof(uint32_t), 1);
    uint32_t *parts = (uint32_t *)(lines + m->count);
    for (size_t k = 0; k < m->count; k++) {
        const SpMat *a = &m->table[k].mat;
        const size_t units = gpt_rows(a->IC) / LINE;
        uint32_t *cols = parts + a->nb * LINE + 1;
        lines[k] = (GptLines){a->first, parts, cols};
        for (size_t o = 0; o <= a->nb * LINE; o++) parts[o] = sp_part(a->first, o);
        for (size_t r = 0; r < a->nb; r++)
            for (size_t l = a->first[r]; l < a->first[r + 1]; l++)
                cols[sp_cols(a, r)[l - a->first[r]] / LINE + 1]++;
        for (size_t u = 0; u < units; u++) cols[u + 1] += cols[u];
        parts = cols + units + 1;
    }
    return lines;
}

/* A program as a graph of stages and edges. lines[k] of parameter k must live as long.
 * Freed with gpt_graph_free. */
static inline DfGraph gpt_graph_of(const Program *g, const GptLines *lines) {
    DfGraph graph = {.stages = g->stages, .edges = g->edges, .groups = g->groups,
                     .forward = g->forward};
    graph.stage = mem_new(g->stages, sizeof *graph.stage);
    graph.edge = mem_new(g->edges, sizeof *graph.edge);
    memcpy(graph.edge, g->edge, g->edges * sizeof *graph.edge);
    for (size_t s = 0; s < g->stages; s++) {
        DfStage *stage = &graph.stage[s];
        *stage = g->stage[s].df;
        if (stage->per_line == 0) continue;         /* not linear: no lines */
        const GptLines *of = &lines[g->stage[s].param];
        stage->lines = stage->scatter ? of->cols : stage->grads ? of->parts : of->rows;
    }
    return graph;
}
/* A model's training as a graph, on sequences of so many groups, in panels of so many.
 * lines[k] of parameter k must live as long; from the configuration and lines alone,
 * for the simulator has no model. Freed with gpt_graph_free. */
static inline DfGraph gpt_graph(const GptConfig *c, const GptLines *lines, size_t groups,
                                size_t panel, int how) {
    Program g = gpt_program(c, groups, panel, how);
    const DfGraph graph = gpt_graph_of(&g, lines);
    prog_free(&g);
    return graph;
}
static inline void gpt_graph_free(DfGraph *g) {
    free(g->stage);
    free(g->edge);
}

/* What a part computes; a load computes nothing. */
static inline const ProgStage *gpt_stage_of(const GptRun *r, const DfPart *part) {
    return &r->program.stage[part->s.kind];
}
/* Column lists of sparse matrices as rows of the edges that they gather from or
 * scatter to. */
static inline void gpt_machine_columns(const GptRun *r) {
    const DfPlan *plan = r->machine->plan;
    for (size_t n = 0; n < plan->sections; n++)
        for (size_t s = 0; s < plan->section[n].parts; s++) {
            DfPart *part = &plan->section[n].part[s];
            if (part->s.kind == DF_LOAD || !(part->s.gather || part->s.scatter)) continue;
            if (plan->section[n].mode == DF_ALONE) continue;
            const SpMat *m = &r->m->table[gpt_stage_of(r, part)->param].mat;
            df_columns(&plan->section[n], part, m, part->s.scatter);
        }
}
static inline void gpt_machine_free(GptRun *r) {
    GptMachine *a = r->machine;
    if (!a) return;
    for (size_t n = 0; a->event && n < a->plan->sections; n++) free(a->event[n]);
    free(a->event);
    df_plan_free(a->plan, &a->graph);
    gpt_graph_free(&a->graph);
    free(a->lines);
    free(a);
    r->machine = NULL;
}
/* To be called when r->m has become another model: the chip is planned anew before
 * it trains. */
static inline void gpt_machine_stale(GptRun *r) {
    if (r->machine) r->machine->m = NULL;
}
/* Whether a chip has room for the streams of a run, whatever becomes of the weights. */
static inline bool gpt_machine_fits(const GptRun *r, DfChip chip, size_t depth) {
    GptLines *lines = gpt_lines(r->m);
    DfGraph g = gpt_graph_of(&r->program, lines);
    const bool fits = df_holds(&g, chip, depth, r->panel);
    gpt_graph_free(&g);
    free(lines);
    return fits;
}
/* Plans the chip for a run's model and panels, for that purpose. */
static inline void gpt_machine_plan_for(GptRun *r, DfChip chip, size_t depth, int purpose) {
    gpt_machine_free(r);
    if (chip.element != sizeof(float))
        die("chip %s: numbers of %zu bytes: it can be simulated, not run", chip.name,
            chip.element);
    GptMachine *a = r->machine = mem_new(1, sizeof *a);
    a->lines = gpt_lines(r->m);
    a->graph = gpt_graph_of(&r->program, a->lines);
    a->m = r->m;
    a->plan = df_plan(&a->graph, chip, depth, r->panel, gpt_panels(r), purpose);
    gpt_machine_columns(r);
}
/* To be run fast; again when its masks have changed. */
static inline void gpt_machine_plan(GptRun *r, DfChip chip, size_t depth) {
    gpt_machine_plan_for(r, chip, depth, DF_TO_RUN);
}

/* What a firing of an actor works on. */
static inline Firing gpt_machine_fire(const GptRun *r, const DfSection *section,
                                       const DfActor *actor) {
    const DfPart *part = &section->part[actor->part];
    float *tile = section->place[actor->place].chip;
    Firing f = {.r = r, .unit = actor->u0, .end = actor->u1, .col = part->col};
    if (part->s.kind == DF_LOAD) return f;
    f.stage = gpt_stage_of(r, part);
    gpt_point(&f);
    if (part->cut) {
        f.slice = &part->cut[actor->k].mat;
        f.w += (size_t)f.slice->first[0] * LINE;
    }
    if (!section->streamed && part->s.lines) {
        f.w = tile + part->w / sizeof(float);
        f.dw = tile + part->dw / sizeof(float);
    }
    if (part->s.sums && part->s.lines) f.db = tile + part->sums / sizeof(float);
    if (part->s.sums && !part->s.lines) {           /* a norm's gain and bias */
        f.dw = tile + part->sums / sizeof(float);
        f.db = f.dw + part->per * LINE;
    }
    if (part->s.scratch) f.scratch = tile + part->scratch / sizeof(float);
    if (part->s.state || part->s.recalls) {
        f.keeper = part - part->s.recalls;
        f.kept = &section->place[f.keeper->place];
    }
    return f;
}
/* Brings its rows of a panel of an edge on the chip. */
static inline void gpt_machine_load(const Firing *f, int edge) {
    const SpPanel from = gpt_off_chip(f, f->r->program.array_of[edge]);
    const SpPanel to = gpt_panel_of(f, edge);
    const size_t lines = (f->end - f->unit) * LINE;
    for (size_t g = 0; g < f->panel.groups; g++)    /* rows of one tile are in order */
        memcpy(panel_line(to, g, f->unit * LINE), panel_line(from, g, f->unit * LINE),
               lines * LINE * sizeof(float));
    gpt_moved(f, MOVED_IN, (double)(f->panel.groups * lines));
}
/* One panel of a firing. */
static inline void gpt_machine_panel(Firing *f, const DfSection *section,
                                     const DfPart *part, size_t i) {
    const GptRun *r = f->r;
    f->turn = i;
    f->panel = section->first < r->program.forward ? gpt_panel(r, i) : gpt_panel_back(r, i);
    f->logits_at = f->panel.at;
    if (part->s.kind == DF_LOAD) gpt_machine_load(f, part->s.out[0]);
    else gpt_fire(f);
}
/* A firing on panels first .. end-1 whose weights pass through the tile a few row
 * blocks at a time, each over all panels. */
static inline void gpt_machine_stream(Firing f, const DfSection *section,
                                      const DfActor *actor, size_t first, size_t end) {
    const DfPart *part = &section->part[actor->part];
    const size_t from = part->cut ? 0 : f.unit;
    const size_t to = part->cut ? f.block_end : f.end;
    const double lines = df_lines(&part->s, f.unit, f.end);
    const Firing whole = f;
    if (part->s.grads) gpt_moved(&f, MOVED_GRADS, 2 * lines);
    else gpt_moved(&f, MOVED_WEIGHTS, lines);
    const size_t step = BUNDLE * size_max(1, part->s.whole);
    for (size_t b = from; b < to; b += step) {
        if (part->cut) {
            f.block = b;
            f.block_end = size_min(b + step, to);
            f.w = whole.w + (size_t)(f.slice->first[b] - f.slice->first[0]) * LINE;
        } else {
            f.unit = b;
            f.end = size_min(b + step, to);
            gpt_point(&f);
            if (part->s.sums) f.db = whole.db + (b - from) * LINE;
        }
        for (size_t i = first; i < end; i++) gpt_machine_panel(&f, section, part, i);
    }
}
/* Firing i of an actor. */
static inline void gpt_machine_step(void *owner, const DfSection *section,
                                    const DfActor *actor, size_t i, size_t worker) {
    const GptRun *r = owner;
    const DfPart *part = &section->part[actor->part];
    const size_t first = i * section->span;
    const size_t end = size_min(first + section->span, gpt_panels(r));
    Firing f = gpt_machine_fire(r, section, actor);
    f.worker = worker;
    if (section->streamed && part->s.lines) {
        gpt_machine_stream(f, section, actor, first, end);
        return;
    }
    for (size_t n = first; n < end; n++) gpt_machine_panel(&f, section, part, n);
}

/* Weights and accumulators to the tiles of a section, or accumulators back. */
typedef struct {
    GptRun *r;
    const DfSection *section;
    bool back;
} GptCarry;

/* The weight lines of an actor, and the gradients of these; moved[MOVED_KINDS], in
 * lines, is added to. chip, flat: where they lie on the chip, and off it. */
static inline void gpt_carry_lines(const GptCarry *c, const DfActor *actor, Firing chip,
                                   Firing flat, double *moved) {
    const DfPart *part = &c->section->part[actor->part];
    const size_t lines = (size_t)df_lines(&part->s, actor->u0, actor->u1);
    float *on_chip = (float *)(uintptr_t)chip.w;    /* not const while it is brought */
    if (part->s.weights && !c->back) {
        if (part->cut) df_carry_slice(&part->cut[actor->k], on_chip, flat.w);
        else df_carry(on_chip, (float *)(uintptr_t)flat.w, lines, false);
        moved[MOVED_WEIGHTS] += (double)lines;
    }
    if (part->s.grads) {
        df_carry(chip.dw, flat.dw, lines, c->back);
        moved[MOVED_GRADS] += (double)lines;
    }
}
/* All that an actor has: a task. */
static inline void gpt_machine_carry(void *arg, size_t task, size_t worker) {
    const GptCarry *c = arg;
    const DfActor *actor = &c->section->actor[task];
    const DfPart *part = &c->section->part[actor->part];
    const size_t units = actor->u1 - actor->u0;
    double *moved = c->r->moved + worker * MOVED_KINDS;
    if (part->s.kind == DF_LOAD || (!part->s.lines && !part->s.sums)) return;
    const Firing chip = gpt_machine_fire(c->r, c->section, actor);
    Firing flat = chip;
    flat.db = NULL;
    gpt_point(&flat);
    if (part->s.lines && !c->section->streamed)
        gpt_carry_lines(c, actor, chip, flat, moved);
    if (!part->s.sums) return;
    if (!part->s.lines) df_carry(chip.dw, flat.dw, units, c->back);
    df_carry(chip.db, flat.db, units, c->back);
    moved[MOVED_GRADS] += (double)(units * part->s.sums);
}
/* Forward and backward of a run on the chip, section by section: weights and
 * gradients on the chip, all panels through it, gradients back. */
static inline void gpt_machine_run(GptRun *r) {
    DfPlan *plan = r->machine->plan;
    const size_t panels = gpt_panels(r);
    for (size_t n = 0; n < plan->sections; n++) {
        DfSection *section = &plan->section[n];
        DfEvent *event = NULL;
        GptCarry carry = {r, section, false};
        if (section->mode == DF_ALONE) {
            r->on = NULL;
            gpt_kernels(r, section->first, df_section_end(section));
            continue;
        }
        r->on = section;
        df_guard(plan, section);
        df_run(r->pool, gpt_machine_carry, &carry, section->actors);
        if (r->machine->event && !r->machine->event[n]) {
            event = mem_new(df_firings(section, panels) * section->actors, sizeof *event);
            r->machine->event[n] = event;
        }
        df_section_run(r->pool, section, n, panels, gpt_machine_step, r, event);
        carry.back = true;
        df_run(r->pool, gpt_machine_carry, &carry, section->actors);
    }
    r->on = NULL;
}

/* ---- training ------------------------------------------------------------ */

/* Forward and backward of inputs, targets (B,T): adds the tokens' losses to *sum,
 * and the gradient of that sum / count to the model's. */
static inline void gpt_train(GptRun *r, const int32_t *inputs, const int32_t *targets,
                             size_t count, double *sum) {
    const DfPlan *plan = r->machine ? r->machine->plan : NULL;
    r->inputs = inputs;
    r->targets = targets;
    r->dscale = 1 / (float)count;
    r->dropping = r->dropout.share > 0 || r->dropout.attention > 0;
    /* a model with other masks than the one that was planned for */
    if (plan && r->machine->m != r->m)
        gpt_machine_plan_for(r, plan->chip, plan->depth, plan->purpose);
    if (plan) gpt_machine_run(r);
    else gpt_kernels(r, 0, r->program.stages);
    r->dropping = false;
    gpt_loss_add(r, sum);
}

enum { TRIAL_STEPS = 6 };           /* on the chip, without it, and so on */

/* Notes what a step of a trial took, which ran with or without the chip: the seconds of
 * a sequence, in that group of them that took least; after the last step the chip stays if
 * it was faster. Both give the same bits. */
static inline void gpt_trial_note(GptRun *r, GptMachine *chip, double took) {
    GptTrial *t = &r->trial;
    double *least = &t->least[r->machine != NULL];
    *least = fmin(*least, took);
    if (!r->machine) r->machine = chip;
    t->left--;
    if (!t->left && t->least[0] < t->least[1]) gpt_machine_free(r);
}
/* Forward and backward over a batch (B,T), as many sequences at a time as the run
 * has memory for; returns the mean loss, in nats. */
static inline double train_batch(GptRun *r, size_t B, const int32_t *inputs,
                                 const int32_t *targets) {
    const size_t T = r->T;
    const size_t most = r->B;
    GptMachine *chip = r->machine;
    double took = INFINITY;
    double sum = 0;
    if (r->trial.left % 2) r->machine = NULL;       /* a turn without the chip */
    for (size_t b = 0; b < B; b += most) {
        r->B = size_min(B - b, most);
        r->dropout.sequence = b;
        const double start = seconds();
        gpt_train(r, inputs + b * T, targets + b * T, B * T, &sum);
        took = fmin(took, (seconds() - start) / (double)r->B);
    }
    r->B = most;
    if (r->trial.left) gpt_trial_note(r, chip, took);
    return sum / (double)(B * T);
}

/* ---- one token more ------------------------------------------------------ */

/* The logits after tokens[0 .. n-1], token v's at [v * 16], until r runs again. The
 * first `done` tokens were given before: the keys and values of their whole groups
 * stand in qkv already, so only later groups are computed. A token's lane never
 * sees another token's but through those, so the bits are those of computing
 * everything. r: one sequence. */
static inline const float *gpt_next(GptRun *r, const int32_t *tokens, size_t n,
                                    size_t done) {
    r->inputs = tokens;
    r->T = n;
    r->groups = gpt_groups(n);
    r->from = done / LINE;
    gpt_forward(r);
    r->from = r->groups - 1;
    return gpt_logits(r, 0) + (n - 1) % LINE;
}

/* ---- what went wrong first ----------------------------------------------- */

static inline bool gpt_finite(const float *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(p[i])) return false;
    return true;
}
/* Names the first tensor, in the order of the run just done, that holds a NaN or
 * infinity; "the loss" if none. */
static inline const char *gpt_first_bad(const GptRun *r, char name[64]) {
    const Gpt *m = r->m;
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        snprintf(name, 64, "%s", p->name);
        if (!gpt_finite(m->w + p->at, p->size)) return name;
    }
    for (size_t k = SHARED; k < r->program.arrays; k++) {
        const ProgArray *a = &r->program.array[k];
        snprintf(name, 64, "%s", a->name);
        if (!gpt_finite(r->array[k], r->B * r->stride * prog_stride(a))) return name;
    }
    for (size_t k = m->count; k-- > 0;) {
        const GptParam *p = &m->table[k];
        snprintf(name, 64, "gradient of %s", p->name);
        if (!gpt_finite(m->g + p->at, p->size)) return name;
    }
    return "the loss";
}
#endif
