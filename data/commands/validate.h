/* validate.h: the clock held against the machine at hand: what it says that
 * training steps take on this processor, and what they take: `train simulate
 * --validate`.
 *
 * Only pieces are measured for the prediction, never a step:
 *
 *     a stage of one layer, alone           by all workers together, as schedule
 *                                           `kernel` runs it; and by each for itself,
 *                                           a panel at a time, as the chip fires it
 *     a firing that does nothing            what the machine itself takes
 *     panels on the chip                    bytes a second
 *     weights on the chip, gradients back   seconds of a step
 *     a gradient's norm, a step of AdamW    seconds a weight
 *
 * Before each of these the caches get what they hold in a step: first half of a
 * step goes through them, then all workers write anew, as it was, what the stage reads
 * and the memory that every layer writes. Of the pieces two schedules are put together:
 *
 *     kernel      the sum over all stages of all layers, of what each takes a worker
 *     dataflow    the plan that really runs, dealt to so many workers by the
 *                 machine's own rule, df_fire_one, in time that is only counted:
 *
 *                 worker 0   | c_fc 0 | c_fc 2    | gelu 2 | ...
 *                 worker 1   | c_fc 1    | gelu 0 | gelu 1 | ...
 *                                     ^ who is free first takes the next
 *
 * A firing of a stage takes its share of the stage's seconds, as its FLOPs are
 * of the stage's. What it stores off the chip costs no more, for by itself the stage
 * writes its outputs to memory too. It refuses to fit anything: no number here comes
 * from a step or is adjusted to one. Times are medians of a few rounds, each of all
 * pieces and then of steps.
 *
 * Example: a stage takes a worker 16 ms for 64 panels, while the other workers do
 * the same; a tile that has a quarter of its units fires 64 times for 1/16 ms. */
#ifndef VALIDATE_H
#define VALIDATE_H
#include "../base/plot.h"
#include "../run/state.h"
#include "bench.h"

/* ---- what is tried ------------------------------------------------------- */

enum { HOST_SIZES = 6, HOST_ROUNDS = 5, HOST_MOST = 25 };

/* Sizes, so that a step takes a second at most; each dense and sparse, under two
 * schedules, with one thread and with all. */
static const BenchStep host_sizes[HOST_SIZES] = {
    {.c = {2, 2, 128, 512, 128}, .B = 4, .T = 128},
    {.c = {4, 4, 256, 2048, 256}, .B = 4, .T = 256},
    {.c = {6, 6, 384, 2048, 256}, .B = 2, .T = 256},
    {.c = {8, 8, 512, 2048, 256}, .B = 2, .T = 256},
    {.c = {4, 12, 768, 2048, 256}, .B = 2, .T = 256},
    {.c = {12, 12, 768, 2048, 256}, .B = 1, .T = 256},
};

typedef struct {
    BenchStep step;
    bool flow;                      /* schedule dataflow */
    double predicted, measured;     /* seconds a step */
    double fire;                    /* worker-seconds of a firing that does nothing */
    double carry;                   /* seconds of weights to tiles and gradients back */
    double load;                    /* bytes a worker-second onto the chip */
    double *piece;                  /* of kernel: seconds of each stage of a layer, in
                                     * all layers, and then of the optimizer */
} HostCase;

/* ---- the caches as a step leaves them ------------------------------------ */

/* Memory that nobody needs: workers go through it, and the caches hold what a step
 * would have left in them instead of what was just measured. */
typedef struct {
    float *line;                    /* [workers][each] */
    size_t each;                    /* floats a worker */
} HostFlush;

/* A worker goes through its share. It writes every second line, as of those that a
 * step leaves in the caches about half are written, by the stage that made them, and
 * half only read again: whoever needs room must first have the written ones carried
 * off. (With all of them written, sparse pieces took two workers a tenth longer than
 * in a step.) */
static inline void host_flush_task(void *arg, size_t task, size_t worker) {
    const HostFlush *f = arg;
    float *p = f->line + task * f->each;
    float sum = 0;
    (void)worker;
    for (size_t i = 0; i < f->each; i += 2 * LINE) {
        p[i] += 1;
        sum += p[i + LINE];
    }
    p[0] = sum;                     /* or the compiler would leave the reading out */
}
/* Half of what a step touches of weights, gradients, moments and activations, for each
 * is used twice or more in it: forward, backward, by AdamW. But no more than empties any
 * cache. */
static inline HostFlush host_flush(const BenchStep *b, const Options *o) {
    const double most = 128u << 20;
    const double need = model_bytes(&b->c, 1 - b->sparsity) +
                        (double)gpt_arrays_bytes(&b->c, b->B, b->T, o->panel / LINE, GPT_TRAIN);
    HostFlush f = {.each = (size_t)fmin(need / 2, most) / b->threads / sizeof(float)};
    f.each = size_up(size_max(f.each, 1 << 16), 2 * LINE);
    f.line = mem_new(f.each * b->threads, sizeof *f.line);
    return f;
}

/* ---- a piece, alone ------------------------------------------------------ */

typedef struct {
    double took[HOST_MOST];         /* seconds, of each round so far */
    size_t n;
} HostTimes;

/* One layer of a model, to measure its pieces. Of stages that run in one piece the
 * first has all of the time. */
typedef struct {
    GptRun *r;                      /* by all workers together */
    GptRun **own;                   /* [workers] by each of them alone: the same
                                     * weights, other gradients */
    GptLines *lines;
    DfGraph graph;
    HostFlush flush;
    HostTimes *together;            /* [stages] by r */
    HostTimes *alone;               /* [stages] a worker */
    HostTimes update;               /* of the gradient's norm and AdamW */
    HostTimes load;                 /* of half of a worker's lines to flush with */
} HostProbe;

/* What came of it: medians. */
typedef struct {
    const Program *like;            /* the probe's program */
    double *kernel;                 /* [stages] seconds of a worker under `kernel`, in the mean */
    double *work;                   /* [stages] worker-seconds; those that join a
                                     * stage have a share, by FLOPs */
    double update;                  /* seconds a weight of norm and AdamW */
    double load;                    /* worker-seconds a byte onto the chip */
} HostCosts;

/* What units u0 .. u1-1 of a stage do on a panel, in FLOPs or, if there are none, in
 * lines that they move. It is the same of the two on all panels, so that the seconds of a
 * stage can be shared out by it. */
static inline double host_work(const DfGraph *g, const DfStage *stage, size_t u0,
                               size_t u1, const GptPanel *panel) {
    const DfWork w = df_firing(g, stage, u0, u1, panel->first, panel->groups);
    return w.flops > 0 ? w.flops : w.moved;
}
/* All units on all panels of a run. */
static inline double host_stage_work(const GptRun *r, const DfGraph *g, size_t s) {
    const DfStage *stage = &g->stage[s];
    double work = 0;
    for (size_t i = 0; i < gpt_panels(r); i++) {
        const GptPanel panel = gpt_panel_for(r, &r->program.stage[s], i);
        work += host_work(g, stage, 0, stage->units, &panel);
    }
    return work;
}
/* Makes a panel of an edge as it is: a float a line. What has one panel's memory for all
 * of them is there since the first. */
static inline void host_make_edge(const Firing *f, int edge) {
    const size_t array = f->r->program.array_of[edge];
    if (f->r->program.array[array].one_panel && f->panel.at > 0) return;
    const SpPanel x = gpt_off_chip(f, array);
    for (size_t i = 0; i < f->panel.groups * x.stride; i += LINE) {
        volatile float *line = &x.lines[i];
        *line = *line;
    }
}
/* Makes what a stage finds in the caches of panel i: what it is going to write, if that
 * goes where the stages before wrote too, which is no longer ago than a layer; and what
 * it is going to read. */
static inline void host_make(const GptRun *r, size_t s, size_t i) {
    const ProgStage *stage = &r->program.stage[s];
    const GptPanel panel = gpt_panel(r, i);
    const Firing f = {.r = r, .panel = panel, .logits_at = panel.at};
    for (int k = 0; k < DF_OUTS && stage->df.out[k] != DF_NONE; k++)
        if (r->program.array_of[stage->df.out[k]] < r->program.shared)
            host_make_edge(&f, stage->df.out[k]);
    for (int k = 0; k < DF_INS && stage->df.in[k] != DF_NONE; k++)
        host_make_edge(&f, stage->df.in[k]);
}
/* Whether stage s runs in the piece of the one before it. */
static inline bool host_joins(const GptRun *r, size_t s) {
    return r->program.stage[s].df.joins || s == r->program.head + HEAD_WEIGHT;
}
/* The first stage after s that does not. */
static inline size_t host_piece_end(const GptRun *r, size_t s) {
    size_t end = s + 1;
    while (end < r->program.stages && host_joins(r, end)) end++;
    return end;
}
/* The mean of what each worker took. */
static inline double host_mean(const double *took, size_t workers) {
    double sum = 0;
    for (size_t i = 0; i < workers; i++) sum += took[i];
    return sum / (double)workers;
}
/* A kernel, and the seconds that its tasks take each worker. */
typedef struct {
    GptKernel kernel;
    double took[DF_WORKERS];
} HostKernel;

static inline void host_kernel_task(void *arg, size_t task, size_t worker) {
    HostKernel *k = arg;
    const double start = seconds();
    gpt_kernel_task(&k->kernel, task, worker);
    k->took[worker] += seconds() - start;
}
/* Stages s .. end-1 by themselves; returns the seconds of a worker in the mean, for in a
 * step who is done goes on to what comes next. */
static inline double host_kernel(GptRun *r, size_t s, size_t end) {
    HostKernel k = {.kernel = gpt_kernel_of(r, s, end)};
    k.kernel.run = &k.kernel;                   /* it waits for no other */
    k.kernel.done = r->done;
    df_run(r->pool, host_kernel_task, &k, k.kernel.tasks);
    return host_mean(k.took, r->pool->workers);
}
/* A part of the step that runs by itself: stage s, or of the head the stages that
 * go together, panel by panel, for which all workers wait. Returns its seconds. */
static inline double host_piece(GptRun *r, size_t s) {
    const size_t head = r->program.head;
    if (s < head || s > head + HEAD_WEIGHT) return host_kernel(r, s, host_piece_end(r, s));
    const double start = seconds();
    for (size_t i = 0; i < gpt_panels(r); i++) {
        GptHead h = {r, gpt_panel_back(r, i)};
        if (s == head + HEAD_LOGITS) gpt_logits(r, i);
        if (s == head + HEAD_LOSS) df_run(r->pool, gpt_loss_data_task, &h, h.panel.groups);
        if (s == head + HEAD_DATA) gpt_head_back(r, &h);
    }
    return seconds() - start;
}
/* A piece on panel i as a chip fires it: all units, and then the next panel; backward
 * too from the first on, which takes as long. */
static inline void host_panel(GptRun *r, size_t s, size_t i) {
    const ProgStage *stage = &r->program.stage[s];
    const size_t units = stage->df.units;
    const GptKernel n = {.r = r, .stage = stage,
                         .end = &r->program.stage[host_piece_end(r, s)],
                         .units = stage->cut == BY_HEAD ? stage->split : units};
    Firing f = {.r = r, .stage = stage, .panel = gpt_panel(r, i)};
    f.logits_at = f.panel.at;
    if (stage->cut == BY_PANEL) {
        gpt_kernel_panel(&n, f, i);
        f.unit = units;
    }
    for (; f.unit < units; f.unit = f.end) {
        f.end = f.unit + n.units;
        gpt_point(&f);
        gpt_fire(&f);
        if (stage->cut == BY_HEAD) gpt_kernel_head(&n, f);
    }
    if (s == r->program.head + HEAD_DATA) host_panel(r, s + 1, i);
}
/* What a task of a measurement gets. */
typedef struct {
    const HostProbe *probe;
    size_t stage;                   /* to be done */
    DfMeeting *meeting;             /* [panels][2] all workers begin at once, and end */
    size_t meetings;
    double took[DF_WORKERS];        /* seconds of each */
} HostTry;

/* A worker does all of a stage by itself, as all others do, panel by panel; what it reads
 * of a sequence's panels was made just before, by each of the workers in turn if they run
 * at once: who makes panels runs ahead as far as there are slots. */
static inline void host_alone_task(void *arg, size_t task, size_t worker) {
    HostTry *t = arg;
    GptRun *const *own = t->probe->own;
    const size_t workers = t->probe->r->pool->workers;
    const size_t per = gpt_panels_a_sequence(own[task]);
    const bool at_once = t->meeting->all == workers;
    (void)worker;
    t->took[task] = 0;
    for (size_t i = 0; i < gpt_panels(own[task]); i++) {
        for (size_t k = i; i % per == 0 && k < i + per; k++)
            host_make(own[at_once ? (task + k) % workers : task], t->stage, k);
        df_meet(&t->meeting[2 * i]);
        const double start = seconds();
        host_panel(own[task], t->stage, i);
        t->took[task] += seconds() - start;
        df_meet(&t->meeting[2 * i + 1]);
    }
}
/* A worker copies its share of the lines that the caches are flushed with to a slot, as
 * a stage that loads does: past the caches they went to memory. */
static inline void host_load_task(void *arg, size_t task, size_t worker) {
    HostTry *t = arg;
    const HostFlush *f = &t->probe->flush;
    _Alignas(64) float slot[4096];
    float *line = f->line + task * f->each;
    float sum = 0;
    (void)worker;
    memset(slot, 0, sizeof slot);
    for (size_t at = 0; at + 4096 <= f->each / 2; at += 4096)
        panel_stream(line + at, slot, 4096 / LINE);
    vf_streamed();
    df_meet(t->meeting);
    const double start = seconds();
    for (size_t at = 0; at + 4096 <= f->each / 2; at += 4096) {
        memcpy(slot, line + at, sizeof slot);
        sum += slot[1];
    }
    t->took[task] = seconds() - start;
    line[0] = sum;                  /* or the compiler would leave the copies out */
}
/* Seconds of a try by all workers at once, the mean of them, the caches as in a step. */
static inline double host_try(HostTry *t, DfTask *fn) {
    DfPool *pool = t->probe->r->pool;
    for (size_t i = 0; i < t->meetings; i++) df_meeting(&t->meeting[i], pool);
    df_run(pool, host_flush_task, (void *)(uintptr_t)&t->probe->flush, pool->workers);
    df_run(pool, fn, t, pool->workers);
    return host_mean(t->took, pool->workers);
}
/* Every worker makes its share of what a stage finds in the caches: the panels that it is
 * going to work on, one after the other. */
static inline void host_make_task(void *arg, size_t task, size_t worker) {
    const HostTry *t = arg;
    const size_t panels = gpt_panels(t->probe->r);
    const size_t workers = t->probe->r->pool->workers;
    const size_t end = (task + 1) * panels / workers;
    (void)worker;
    for (size_t i = task * panels / workers; i < end; i++) host_make(t->probe->r, t->stage, i);
}
/* Gives the caches what they have when a stage of a step begins; no worker sleeps
 * then, for the stage before has only just ended. */
static inline void host_ready(HostTry *t, size_t s) {
    DfPool *pool = t->probe->r->pool;
    t->stage = s;
    df_run(pool, host_flush_task, (void *)(uintptr_t)&t->probe->flush, pool->workers);
    df_run(pool, host_make_task, t, pool->workers);
}
/* Another round's seconds. */
static inline void host_note(HostTimes *t, double took) {
    t->took[t->n] = took;
    t->n++;
}
static inline double host_median(HostTimes t) { return stats_median(t.took, t.n); }
/* Whether stage s is the first of a piece. */
static inline bool host_begins(const HostProbe *p, size_t s) {
    return !p->graph.stage[s].copies && !host_joins(p->r, s);
}
/* A round: every piece once, after one that does not count, so that its memory is as
 * near as a step's, and not as far away as the steps of the last round. */
static inline void host_round(HostProbe *p) {
    GptRun *r = p->r;
    HostTry t = {.probe = p, .meetings = 2 * gpt_panels(p->own[0])};
    t.meeting = mem_new(t.meetings, sizeof *t.meeting);
    for (size_t s = 0; s < p->graph.stages; s++)
        if (host_begins(p, s)) host_piece(r, s);
    for (size_t s = 0; s < p->graph.stages; s++) {
        if (!host_begins(p, s)) continue;
        host_ready(&t, s);
        host_note(&p->together[s], host_piece(r, s));
        host_note(&p->alone[s], host_try(&t, host_alone_task));
    }
    host_note(&p->load, host_try(&t, host_load_task));
    host_ready(&t, 0);
    const double start = seconds();
    bench_update(r, p->update.n + 1);
    host_note(&p->update, seconds() - start);
    free(t.meeting);
}
/* A run of one layer of a model with something in all of its arrays. weights: those of
 * another, or NULL for its own. */
static inline GptRun *host_run(const BenchStep *b, const Options *o, DfPool *pool,
                               float *weights) {
    Gpt *m = bench_model(b, o);
    GptRun *r = gpt_run_new(m, pool, b->B, b->T, o->panel, GPT_TRAIN);
    int32_t *inputs = bench_ids(1, b->B * b->T, b->c.V);    /* (B,T) */
    int32_t *targets = bench_ids(2, b->B * b->T, b->c.V);   /* (B,T) */
    double sum = 0;
    if (weights) {                  /* and no optimizer: there are many of these */
        free(m->w);
        free(m->moment1);
        free(m->moment2);
        m->w = weights;
        m->moment1 = NULL;
        m->moment2 = NULL;
    }
    gpt_train(r, inputs, targets, b->B * b->T, &sum);
    return r;
}
static inline void host_run_free(GptRun *r, const float *weights) {
    Gpt *m = r->m;
    if (m->w == weights) m->w = NULL;
    free((int32_t *)(uintptr_t)r->inputs);
    free((int32_t *)(uintptr_t)r->targets);
    gpt_run_free(r);
    gpt_free(m);
}
/* A probe of a model. */
static inline HostProbe host_probe(BenchStep b, const Options *o, DfPool *pool) {
    HostProbe p = {.flush = host_flush(&b, o)};
    b.c.L = 1;
    p.r = host_run(&b, o, pool, NULL);
    p.own = mem_new(pool->workers, sizeof *p.own);
    b.B = size_max(1, b.B / pool->workers);     /* as much as a worker does in a step */
    for (size_t w = 0; w < pool->workers; w++)
        p.own[w] = host_run(&b, o, df_begin(1), p.r->m->w);
    p.lines = gpt_lines(p.r->m);
    p.graph = gpt_graph_of(&p.r->program, p.lines);
    p.together = mem_new(p.graph.stages, sizeof *p.together);
    p.alone = mem_new(p.graph.stages, sizeof *p.alone);
    return p;
}
static inline void host_probe_free(HostProbe *p) {
    const size_t workers = p->r->pool->workers;
    for (size_t w = 0; w < workers; w++) {
        df_end(p->own[w]->pool);
        host_run_free(p->own[w], p->r->m->w);
    }
    host_run_free(p->r, NULL);
    gpt_graph_free(&p->graph);
    free(p->own);
    free(p->lines);
    free(p->flush.line);
    free(p->together);
    free(p->alone);
}
/* The medians of all rounds. Lives as long as the probe; freed by host_costs_free. */
static inline HostCosts host_costs(const HostProbe *p) {
    const DfGraph *g = &p->graph;
    const double bytes = (double)(p->flush.each / 2 * sizeof(float));   /* loaded */
    const double all = (double)p->r->B / (double)p->own[0]->B;  /* of what one does alone */
    const double workers = (double)p->r->pool->workers;
    HostCosts c = {.like = &p->r->program};
    c.kernel = mem_new(g->stages, sizeof *c.kernel);
    c.work = mem_new(g->stages, sizeof *c.work);
    for (size_t s = 0, end; s < g->stages; s = end) {     /* piece by piece */
        double work = 0;
        end = host_piece_end(p->r, s);
        for (size_t k = s; k < end; k++) work += host_stage_work(p->r, g, k);
        /* a product that follows a norm finds each panel just made, as on the chip */
        const ProgStage *stage = &p->r->program.stage[s];
        const bool follows = stage->df.weights && gpt_follows(stage);
        c.kernel[s] = follows ? host_median(p->alone[s]) * all / workers
                              : host_median(p->together[s]);
        for (size_t k = s; k < end && !g->stage[s].copies; k++)
            c.work[k] = host_median(p->alone[s]) * all * host_stage_work(p->r, g, k) / work;
    }
    c.load = host_median(p->load) / bytes;
    c.update = host_median(p->update) / (double)p->r->m->floats;
    return c;
}
static inline void host_costs_free(HostCosts *c) {
    free(c->kernel);
    free(c->work);
}

/* ---- the pieces put together --------------------------------------------- */

/* A stage's name without its layer. */
static inline const char *host_stage_name(const char *name) {
    const char *dot = strncmp(name, "h.", 2) ? NULL : strchr(name + 2, '.');
    return dot ? dot : name;
}
/* The stage of the probe that stands for stage s of a whole model. */
static inline size_t host_like(const HostCosts *c, const GptRun *r, size_t s) {
    const char *name = host_stage_name(r->program.stage[s].df.name);
    size_t k = 0;
    while (strcmp(name, host_stage_name(c->like->stage[k].df.name))) k++;
    return k;
}
/* Seconds of the gradient's norm and AdamW. */
static inline double host_optimizer(const HostCosts *c, const GptRun *r) {
    return c->update * (double)r->m->floats;
}
/* The step's seconds, and those of its pieces, piece[stages of the probe + 1]. */
static inline double host_predict_kernel(const HostCosts *c, const GptRun *r, double *piece) {
    const size_t stages = c->like->stages;
    double sum = 0;
    piece[stages] = host_optimizer(c, r);
    for (size_t s = 0; s < r->program.stages; s++) {
        const size_t k = host_like(c, r, s);
        piece[k] += c->kernel[k];
    }
    for (size_t k = 0; k <= stages; k++) sum += piece[k];
    return sum;
}

/* A section dealt to workers in time that is only counted. */
typedef struct {
    DfJob job;
    const HostCosts *costs;
    const GptRun *r;
    const double *rate;             /* [stages] worker-seconds of a stage's work */
    double fire;                    /* worker-seconds of any firing, besides */
    double cost;                    /* worker-seconds of the one that has just begun */
    DfActor *holds[DF_WORKERS];     /* what each worker is at; NULL: it is free */
    size_t at[DF_WORKERS];          /* which firing of it */
    double until[DF_WORKERS];       /* seconds from the section's begin */
} HostDeal;

/* Worker-seconds of firing i of an actor. */
static inline double host_firing(const HostDeal *d, const DfActor *actor, size_t i) {
    const GptRun *r = d->r;
    const DfGraph *g = &r->machine->graph;
    const DfPart *part = &d->job.section->part[actor->part];
    const size_t first = i * d->job.section->span;
    const size_t end = size_min(first + d->job.section->span, gpt_panels(r));
    const bool forward = d->job.section->first < r->program.forward;
    double cost = d->fire;
    for (size_t n = first; n < end; n++) {
        const GptPanel panel = forward ? gpt_panel(r, n) : gpt_panel_back(r, n);
        const double work = host_work(g, &part->s, actor->u0, actor->u1, &panel);
        const bool moves = part->s.kind == DF_LOAD || part->s.copies;
        cost += work * (moves ? DF_LINE_BYTES * d->costs->load : d->rate[part->s.kind]);
    }
    return cost;
}
/* A firing of the machine's that only says what it would take. */
static inline void host_begin(void *owner, const DfSection *section,
                              const DfActor *actor, size_t i, size_t worker) {
    HostDeal *d = owner;
    (void)section;
    d->cost = host_firing(d, actor, i);
    d->holds[worker] = d->job.section->actor + (actor - section->actor);
    d->at[worker] = i;
}
static inline void host_nothing(void *owner, const DfSection *section,
                                const DfActor *actor, size_t i, size_t worker) {
    (void)owner;
    (void)section;
    (void)actor;
    (void)i;
    (void)worker;
}
/* A free worker begins what the machine would have it do. The machine then holds it
 * for done; that is taken back until its time has come. */
static inline void host_take(HostDeal *d, size_t worker, double now) {
    if (!df_fire_one(&d->job, worker, worker, false) &&
        !df_fire_one(&d->job, worker, worker, true))
        return;
    DfActor *actor = d->holds[worker];
    DfPart *part = &d->job.section->part[actor->part];
    d->until[worker] = now + d->cost;
    atomic_store(&actor->next, d->at[worker]);
    atomic_store(&part->done, df_count(d->job.section, part));
    atomic_store(&actor->busy, 1);
}
/* A worker has come to the end of what it holds. */
static inline void host_end(HostDeal *d, size_t worker) {
    DfActor *actor = d->holds[worker];
    DfPart *part = &d->job.section->part[actor->part];
    atomic_store(&actor->next, d->at[worker] + part->replicas);
    df_advance(d->job.section, part);
    atomic_store(&actor->busy, 0);
    d->holds[worker] = NULL;
}
/* Seconds until all firings of a section are done: time goes on to where the first
 * worker comes to an end, and who is free then begins anew. */
static inline double host_deal(HostDeal *d, DfSection *section, size_t panels) {
    const size_t workers = d->job.pool->workers;
    double now = 0;
    d->job.section = section;
    d->job.firings = df_firings(section, panels);
    d->job.fire = host_begin;
    d->job.owner = d;
    df_rewind(section);
    for (;;) {
        size_t next = DF_NOBODY;
        for (size_t w = 0; w < workers; w++)
            if (!d->holds[w]) host_take(d, w, now);
        for (size_t w = 0; w < workers; w++)
            if (d->holds[w] && (next == DF_NOBODY || d->until[w] < d->until[next])) next = w;
        if (next == DF_NOBODY) return now;
        now = d->until[next];
        host_end(d, next);
    }
}
/* Worker-seconds of a firing that does nothing: a run of the whole plan of these. */
static inline double host_fire(const GptRun *r) {
    DfPlan *plan = r->machine->plan;
    const size_t panels = gpt_panels(r);
    double firings = 0;
    for (size_t k = 0; k < plan->sections; k++)
        firings += (double)df_all_firings(&plan->section[k], panels);
    const double start = seconds();
    for (size_t k = 0; k < plan->sections; k++)
        df_section_run(r->pool, &plan->section[k], k, panels, host_nothing, NULL, NULL);
    return (seconds() - start) * (double)r->pool->workers / firings;
}
/* Seconds in which weights and gradients go to the tiles of all sections, and gradients
 * back, from the caches as a step leaves them. */
static inline double host_carry(GptRun *r, const HostFlush *flush) {
    DfPlan *plan = r->machine->plan;
    double took = 0;
    for (int back = 0; back < 2; back++) {
        df_run(r->pool, host_flush_task, (void *)(uintptr_t)flush, r->pool->workers);
        const double start = seconds();
        for (size_t k = 0; k < plan->sections; k++) {
            GptCarry carry = {r, &plan->section[k], back};
            df_guard(plan, carry.section);
            df_run(r->pool, gpt_machine_carry, &carry, carry.section->actors);
        }
        took += seconds() - start;
    }
    return took;
}
/* Seconds of a step on the chip: all sections, one after the other, and the optimizer;
 * without what goes on the chip before each section and back after it. */
static inline double host_predict_flow(const HostCosts *c, const GptRun *r, double fire) {
    const DfPlan *plan = r->machine->plan;
    double *rate = mem_new(r->program.stages, sizeof *rate);
    HostDeal d = {.job = {.pool = r->pool}, .costs = c, .r = r, .rate = rate, .fire = fire};
    double sum = host_optimizer(c, r);
    for (size_t s = 0; s < r->program.stages; s++)
        rate[s] = c->work[host_like(c, r, s)] / host_stage_work(r, &r->machine->graph, s);
    for (size_t n = 0; n < plan->sections; n++)
        sum += host_deal(&d, &plan->section[n], gpt_panels(r));
    free(rate);
    return sum;
}

/* ---- against what it takes ----------------------------------------------- */

/* The options of a step, as bench has them. */
static inline Options host_options(const Options *o, const BenchStep *b) {
    Options own = *o;
    own.batch = b->B;
    own.context = b->T;
    own.group = AUTO;
    own.sparsity = b->sparsity;
    own.mask = "balanced";
    own.spread = "uniform";
    own.update = "static";
    return own;
}
/* A training step, by the chip or, without one, a stage at a time: its seconds. */
static inline double host_step(GptRun *r, GptMachine *machine, size_t step,
                               const int32_t *inputs, const int32_t *targets) {
    r->machine = machine;
    const double start = seconds();
    train_batch(r, r->B, inputs, targets);
    bench_update(r, step);
    return seconds() - start;
}
/* Both schedules of a run, which has a chip: a step each whose time is kept, after one
 * that gives the caches back what the other schedule took. */
static inline void host_steps(GptRun *r, const int32_t *inputs, const int32_t *targets,
                              HostTimes took[2]) {
    GptMachine *machine = r->machine;
    size_t step = 4 * took[0].n;
    for (int by = 0; by < 2; by++) {
        double last = 0;
        for (int k = 0; k < 2; k++) {
            step++;
            last = host_step(r, by ? machine : NULL, step, inputs, targets);
        }
        host_note(&took[by], last);
    }
    r->machine = machine;
}
/* Predicts and measures a case by each schedule: way[0] kernel, way[1] dataflow. Pieces
 * and steps take turns, for the machine's speed changes within minutes. */
static inline void host_case(HostCase way[2], const Options *o) {
    const BenchStep b = way[0].step;
    const Options own = host_options(o, &b);
    DfPool *pool = df_begin(b.threads);
    HostProbe probe = host_probe(b, &own, pool);
    HostTimes took[2] = {{.n = 0}};
    HostTimes fire = {.n = 0};
    HostTimes carry = {.n = 0};
    Gpt *m = bench_model(&b, &own);
    GptRun *r = gpt_run_new(m, pool, b.B, b.T, own.panel, GPT_TRAIN);
    int32_t *inputs = bench_ids(1, b.B * b.T, b.c.V);       /* (B,T) */
    int32_t *targets = bench_ids(2, b.B * b.T, b.c.V);      /* (B,T) */
    gpt_machine_plan(r, parse_chip(&own), own.depth);
    /* a step of a few milliseconds is soon disturbed: more of them, 1e11 FLOPs together */
    const double work = flops_per_token(m, b.T, true) * (double)(b.B * b.T);
    const size_t rounds = (size_t)fmin(fmax(1e11 / work, HOST_ROUNDS), HOST_MOST);
    for (size_t n = 0; n < rounds; n++) {
        host_round(&probe);
        host_note(&fire, host_fire(r));
        host_note(&carry, host_carry(r, &probe.flush));
        host_steps(r, inputs, targets, took);
    }
    HostCosts costs = host_costs(&probe);
    way[1].fire = host_median(fire);
    way[1].carry = host_median(carry);
    way[1].load = 1 / costs.load;
    way[0].piece = mem_new(costs.like->stages + 1, sizeof *way[0].piece);
    way[0].predicted = host_predict_kernel(&costs, r, way[0].piece);
    way[1].predicted = host_predict_flow(&costs, r, way[1].fire) + way[1].carry;
    for (int k = 0; k < 2; k++) way[k].measured = host_median(took[k]);
    host_costs_free(&costs);
    host_probe_free(&probe);
    free(inputs);
    free(targets);
    gpt_run_free(r);
    gpt_free(m);
    df_end(pool);
}

/* ---- what is told -------------------------------------------------------- */

enum { HOST_KINDS = 8 };            /* cases of a size: + 4 if sparse, + 2 with all
                                     * threads rather than one, + 1 on the chip */

static inline double host_off(const HostCase *x) { return x->predicted / x->measured - 1; }
/* Of n pairs the correlation of the logarithms. */
static inline double host_correlation(const HostCase *x, size_t n) {
    double mean[2] = {0};
    double square[2] = {0};
    double cross = 0;
    for (size_t k = 0; k < n; k++) {
        mean[0] += log(x[k].predicted) / (double)n;
        mean[1] += log(x[k].measured) / (double)n;
    }
    for (size_t k = 0; k < n; k++) {
        const double a = log(x[k].predicted) - mean[0];
        const double b = log(x[k].measured) - mean[1];
        square[0] += a * a;
        square[1] += b * b;
        cross += a * b;
    }
    return cross / sqrt(square[0] * square[1]);
}
/* Two cases of a size that differ in one thing: how the second's time is to the
 * first's. */
static inline void host_ratio(const char *what, const HostCase *a, const HostCase *b,
                              Out *json) {
    const double predicted = b->predicted / a->predicted;
    const double measured = b->measured / a->measured;
    const bool sure = fabs(measured - 1) > 0.05;
    const bool wrong = sure && (predicted - 1) * (measured - 1) < 0;
    printf("  %-34s %7.3f %9.3f  %+6.1f %%%s\n", what, predicted, measured,
           100 * (predicted / measured - 1), wrong ? "  the wrong way" : "");
    json_begin(json, NULL, '{');
    json_member_text(json, "ratio", what);
    json_member_put(json, "predicted", predicted);
    json_member_put(json, "measured", measured);
    json_close(json, '}');
}
static inline void host_name(const HostCase *x, char name[96]) {
    const GptConfig *c = &x->step.c;
    snprintf(name, 96, "%zu x %zu, B=%zu, %s, %zu thread%s, %s", c->L, c->C, x->step.B,
             x->step.sparsity > 0 ? "sparse" : "dense", x->step.threads,
             x->step.threads > 1 ? "s" : "", x->flow ? "dataflow" : "kernel");
}
static inline void host_tell(const HostCase *x, Out *json) {
    char name[96];
    host_name(x, name);
    printf("  %-48s %10.2f %9.2f  %+6.1f %%\n", name, 1000 * x->predicted,
           1000 * x->measured, 100 * host_off(x));
    fflush(stdout);
    json_begin(json, NULL, '{');
    json_member_put(json, "layers", (double)x->step.c.L);
    json_member_put(json, "width", (double)x->step.c.C);
    json_member_put(json, "batch", (double)x->step.B);
    json_member_put(json, "sparsity", x->step.sparsity);
    json_member_put(json, "threads", (double)x->step.threads);
    json_member_text(json, "schedule", x->flow ? "dataflow" : "kernel");
    json_member_put(json, "predicted_ms", 1000 * x->predicted);
    json_member_put(json, "measured_ms", 1000 * x->measured);
    json_close(json, '}');
}
/* All cases: across what was measured, upwards what was predicted; on the dots they
 * are equal. */
static inline void host_plot(const HostCase *x, size_t n) {
    PlotAxis ms = {INFINITY, 0, true};
    for (size_t k = 0; k < n; k++) {
        ms.lo = fmin(ms.lo, 1000 * fmin(x[k].predicted, x[k].measured));
        ms.hi = fmax(ms.hi, 1000 * fmax(x[k].predicted, x[k].measured));
    }
    Plot plot = plot_new(ms, ms);
    plot_line(&plot, ms.lo, ms.lo, ms.hi, ms.hi, '.');
    for (size_t k = 0; k < n; k++)
        plot_mark(&plot, 1000 * x[k].measured, 1000 * x[k].predicted, x[k].flow ? 'd' : 'k');
    printf("\npredicted, ms: k kernel, d dataflow, * both\n");
    plot_print(&plot, 1, "ms, measured");
}
/* Median and largest error, and the correlation. */
static inline void host_summary(const HostCase *x, size_t n, Out *json) {
    double *off = mem_new(n, sizeof *off);
    for (size_t k = 0; k < n; k++) off[k] = fabs(host_off(&x[k]));
    const double median = stats_median(off, n);     /* and the largest is the last */
    const double correlation = host_correlation(x, n);
    host_plot(x, n);
    printf("\nerror of %zu steps: median %.1f %%, largest %.1f %%; correlation of the "
           "logarithms %.4f\n",
           n, 100 * median, 100 * off[n - 1], correlation);
    const HostCase *last = &x[n - 1];
    printf("of the last: a firing that does nothing takes a worker %.2f us; it copies %.1f "
           "GB/s onto the chip; weights to tiles and gradients back take %.2f ms\n",
           1e6 * last->fire, last->load / 1e9, 1000 * last->carry);
    json_member_put(json, "median_error", median);
    json_member_put(json, "largest_error", off[n - 1]);
    json_member_put(json, "correlation", correlation);
    free(off);
}
/* What of each size must come out: sparse against dense by either schedule, and
 * dataflow against kernel, with all threads. x: the cases of a size. */
static inline void host_ratios(const HostCase x[HOST_KINDS], Out *json) {
    static const char *const what[4] = {"sparse / dense, kernel", "sparse / dense, dataflow",
                                        "dataflow / kernel, dense",
                                        "dataflow / kernel, sparse"};
    const size_t pair[4][2] = {{2, 6}, {3, 7}, {2, 3}, {6, 7}};
    for (size_t k = 0; k < 4; k++) {
        char name[96];
        snprintf(name, sizeof name, "%zu x %zu, %s", x->step.c.L, x->step.c.C, what[k]);
        host_ratio(name, &x[pair[k][0]], &x[pair[k][1]], json);
    }
}
/* Where the time goes, dense and sparse, by all threads a stage at a time. x: the cases
 * of a size. */
static inline void host_pieces(const HostCase x[HOST_KINDS], Out *json) {
    const BenchStep *b = &x->step;
    GptConfig one = b->c;
    const HostCase *dense = &x[2];
    const HostCase *sparse = &x[6];
    one.L = 1;
    Program p = gpt_program(&one, gpt_groups(b->T), 1, GPT_TRAIN);
    printf("\n%-30s %8s %6s %8s %6s\n", "pieces of the predicted steps", "dense", "", "sparse",
           "");
    json_begin(json, "pieces", '[');
    for (size_t k = 0; k <= p.stages; k++) {
        const char *name = k < p.stages ? host_stage_name(p.stage[k].df.name) : "norm, AdamW";
        if (!(dense->piece[k] > 0)) continue;
        printf("  %-28s %8.2f %4.1f %% %8.2f %4.1f %%\n", name + (*name == '.'),
               1000 * dense->piece[k], 100 * dense->piece[k] / dense->predicted,
               1000 * sparse->piece[k], 100 * sparse->piece[k] / sparse->predicted);
        json_begin(json, NULL, '{');
        json_member_text(json, "piece", name + (*name == '.'));
        json_member_put(json, "dense_ms", 1000 * dense->piece[k]);
        json_member_put(json, "sparse_ms", 1000 * sparse->piece[k]);
        json_close(json, '}');
    }
    json_close(json, ']');
    prog_free(&p);
}
/* Predicts and measures steps of n sizes, says and writes what came of it. */
static inline void host_validate(const Options *o, const BenchStep *size, size_t n) {
    const size_t cases = n * HOST_KINDS;
    const double sparsity = o->sparsity > 0 ? o->sparsity : 0.875;
    HostCase *x = mem_new(cases, sizeof *x);                    /* [sizes][kinds] */
    Out json = {0};
    if (o->json) json = out_open(o->json);
    json_begin(&json, NULL, '{');
    bench_machine(o->threads, &json);
    printf("%-50s %10s %9s\n", "ms a step", "predicted", "measured");
    json_begin(&json, "steps", '[');
    for (size_t k = 0; k < cases; k += 2) {
        BenchStep step = size[k / HOST_KINDS];
        step.sparsity = k % HOST_KINDS < 4 ? 0 : sparsity;
        step.threads = k % 4 < 2 ? 1 : o->threads;
        x[k] = (HostCase){.step = step};
        x[k + 1] = (HostCase){.step = step, .flow = true};
        host_case(&x[k], o);
        host_tell(&x[k], &json);
        host_tell(&x[k + 1], &json);
    }
    json_close(&json, ']');
    printf("\n%-36s %7s %9s\n", "ratios, all threads", "pred.", "measured");
    json_begin(&json, "ratios", '[');
    for (size_t k = 0; k < cases; k += HOST_KINDS) host_ratios(&x[k], &json);
    json_close(&json, ']');
    host_pieces(&x[cases - HOST_KINDS], &json);
    host_summary(x, cases, &json);
    json_end(&json);
    for (size_t k = 0; k < cases; k++) free(x[k].piece);
    free(x);
}
/* `simulate --validate`: of the model that the options name or, if they name none, of
 * all sizes. */
static inline void host_command(const Options *o, const GptConfig *c) {
    static const char *const named[] = {"model", "layers", "heads", "width",
                                        "vocab", "context", "batch"};
    static const char *const not[] = {"csv",    "trace",   "report",     "timeline",
                                      "walk",   "why",     "sweep",      "show-graph",
                                      "spread", "section", "peak-share", "recompute"};
    const BenchStep own = {.c = *c, .B = o->batch, .T = o->context};
    bool any = false;
    for (size_t k = 0; k < sizeof named / sizeof *named; k++)
        any |= o->given[option_find(named[k], SIMULATE)];
    options_contradict(o, SIMULATE, "validate", not, sizeof not / sizeof *not);
    host_validate(o, any ? &own : host_sizes, any ? 1 : HOST_SIZES);
}
#endif
