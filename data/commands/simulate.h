/* simulate.h: what the clock says, for people: the graph, the sections, four ways
 * to train compared, and a trace.
 *
 * It refuses to mix clocks: every number here is of a chip that is described,
 * simulated or, of kernels, worked out, and says so. Utilisation is FLOPs over
 * what all tiles of the chip could have done in the section's time. Operational
 * intensity is FLOPs per byte off chip. The waits are cycles a used tile stood
 * still, on average, for data or for room; contention in the fabric, refresh and
 * bursts of memory are not modelled, so the times are optimistic.
 *
 * Example of how a line of the section table begins: its number, the first and the
 * last stage, parts, tiles, how full the fullest tile is (--csv has more columns):
 *
 *      0 embed                  ln_f                      16    64   90% ... */
#ifndef SIMULATE_H
#define SIMULATE_H
#include "../model/formats.h"
#include "../run/chip.h"
#include "../run/clock.h"
#include "../run/here.h"
#include "../run/masks.h"
#include "stepview.h"
#include "validate.h"

/* An edge that a stage reads or makes; nothing of none. */
static inline void report_edge(const DfGraph *g, int edge) {
    if (edge != DF_NONE)
        printf(" %s (%zu)", g->edge[edge].name, g->edge[edge].rows);
}
/* Stages, streams, weights and FLOPs of a group of 16 tokens in the middle of a
 * sequence. */
static inline void report_graph(const DfGraph *g, size_t NG) {
    printf("%-24s %10s %12s %6s  %s\n", "stage", "KiB held", "FLOP/token", "units",
           "reads -> makes (lines a group)");
    for (size_t s = 0; s < g->stages; s++) {
        const DfStage *st = &g->stage[s];
        const double weights = df_lines(st, 0, st->units) *
                               ((double)st->weights + (double)st->grads);
        const double sums = (double)(st->units * (st->sums + st->state));
        const double flops = df_flops(st, 0, st->units, NG / 2, 1);
        printf("%-24s %10.1f %12.0f %6zu ", st->name, (weights + sums) / 16,
               flops / 16, st->units);
        for (int k = 0; k < DF_INS; k++) report_edge(g, st->in[k]);
        printf(" ->");
        for (int k = 0; k < DF_OUTS; k++) report_edge(g, st->out[k]);
        printf("%s\n", st->together ? " shares" : "");
    }
}

/* Section n of a plan as a line of the CSV file. */
static inline void report_csv(Out *csv, const DfPlan *plan, size_t n,
                              const DfClock *c) {
    static const char *const mode[DF_MODES] = {"resident", "streamed", "kernel"};
    const DfSection *x = &plan->section[n];
    out_print(csv, "%zu,%s,%s,%zu,%zu,%zu,%zu,%zu,", n,
              x->part[x->loads].s.name, x->part[x->parts - 1].s.name,
              x->parts - x->loads, x->loads, x->tiles, x->peak, plan->chip.sram);
    out_print(csv, "%.0f,%.9g,%.4f,%.0f,%.0f,%.0f,%.0f,", c->cycles, c->seconds,
              c->utilisation, c->data_wait, c->credit_wait, c->on_chip,
              c->gathered);
    out_print(csv, "%.0f,%.0f,%.0f,%.0f,%.0f,%.2f,%s,%s\n", c->weights, c->grads,
              c->in, c->out, c->random, c->flops / df_off_chip(c), c->bound,
              mode[x->mode]);
}
/* The same as a line of the table. */
static inline void report_section(const DfPlan *plan, size_t n,
                                  const DfClock *c) {
    const DfSection *x = &plan->section[n];
    const double sram = 100.0 * (double)x->peak / (double)plan->chip.sram;
    printf("%3zu %-22s %-22s %5zu %5zu %4.0f%% ", n, x->part[x->loads].s.name,
           x->part[x->parts - 1].s.name, x->parts, x->tiles, sram);
    printf("%12.0f %5.1f%% %9.0f %9.0f %9.1f %9.1f %7.1f %s%s\n", c->cycles,
           100 * c->utilisation, c->data_wait, c->credit_wait, c->on_chip / 1e6,
           df_off_chip(c) / 1e6, c->flops / df_off_chip(c), c->bound,
           x->streamed ? ", weights streamed" : "");
}
/* The sections of a plan over B sequences; their sum. csv: the same as a file;
 * quiet prints nothing. */
static inline DfClock report_sections(const DfGraph *g, const DfPlan *plan,
                                      size_t B, Out *csv, bool quiet) {
    DfClock sum = {0};
    DfClock *clock = mem_new(plan->sections, sizeof *clock);
    df_clock_plan(g, plan, B, clock);
    out_text(csv, "section,first,last,stages,loads,tiles,sram_peak,sram,cycles,"
                  "seconds,utilisation,data_wait,credit_wait,on_chip,gathered,"
                  "weights,gradients,in,out,random,intensity,bound,mode\n");
    if (!quiet)
        printf("%3s %-22s %-22s %5s %5s %5s %12s %6s %9s %9s %9s %9s %7s %s\n", "#",
               "from", "to", "parts", "tiles", "SRAM", "cycles", "util",
               "data wait", "room wait", "on MB", "off MB", "FLOP/B", "bound");
    size_t kernels = 0;
    double seconds = 0;             /* of kernels */
    for (size_t n = 0; n < plan->sections; n++) {
        df_clock_add(&sum, &clock[n]);
        report_csv(csv, plan, n, &clock[n]);
        if (!quiet) report_section(plan, n, &clock[n]);
        if (plan->section[n].mode != DF_ALONE) continue;
        kernels++;
        seconds += clock[n].seconds;
    }
    if (!quiet && kernels)
        printf("%zu of %zu sections, %.0f %% of the time, are kernels: stages by themselves, on "
               "all tiles\n",
               kernels, plan->sections, 100 * seconds / sum.seconds);
    free(clock);
    return sum;
}
static inline void report_way(const char *what, const DfClock *c, double tokens) {
    const double kilo = 1e3 * tokens;       /* KB a token */
    printf("%-22s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %14.0f %11.4g\n", what,
           df_off_chip(c) / kilo, c->weights / kilo, c->grads / kilo,
           (c->in + c->out) / kilo, c->random / kilo, c->flops / df_off_chip(c),
           c->cycles, c->seconds);
}

/* Chrome's trace format: the simulated tiles of every section, one after the
 * other, in microseconds of the chip. */
typedef struct {
    Out *out;
    double start;                   /* seconds */
    double clock;                   /* cycles a second */
    size_t section;
} ReportTrace;

/* from, to: seconds. */
static inline void report_event(Out *out, const char *name, int process,
                                size_t thread, double from, double to,
                                size_t panel, size_t section) {
    out_text(out, ",\n{\"name\": ");
    json_put(out, name);
    out_print(out, ", \"ph\": \"X\", \"pid\": %d, \"tid\": %zu, \"ts\": %.3f, "
                   "\"dur\": %.3f, \"args\": {\"panel\": %zu, \"section\": %zu}}",
              process, thread, 1e6 * from, 1e6 * (to - from), panel, section);
}
static inline void report_seen(void *owner, const DfSection *x, size_t actor,
                               size_t panel, double from, double to) {
    const ReportTrace *t = owner;
    const DfActor *a = &x->actor[actor];
    report_event(t->out, x->part[a->part].s.name, 1, a->tile,
                 t->start + from / t->clock, t->start + to / t->clock, panel,
                 t->section);
}
/* event: of the host, per section as gpt_machine_run leaves it, or NULL; panels:
 * of the run they are from. */
static inline void report_trace(const char *path, const DfGraph *g,
                                const DfPlan *plan, size_t B, size_t NG,
                                DfEvent *const *event, size_t panels) {
    Out out = out_open(path);
    ReportTrace t = {.out = &out, .clock = plan->chip.clock};
    double zero = INFINITY;
    out_text(&out, "{\"traceEvents\": [");
    for (int k = 0; k < 2; k++)
        out_print(&out,
                  "%s\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, "
                  "\"args\": {\"name\": \"%s\"}}",
                  k ? "," : "", k + 1, k ? "host threads" : "simulated tiles");
    for (t.section = 0; t.section < plan->sections; t.section++) {
        const DfSection *x = &plan->section[t.section];
        const DfStream s = df_stream(g, x->first, B, NG, plan->groups);
        const double end = t.start + df_clock(g, plan, t.section, &s, report_seen, &t).seconds;
        if (x->mode == DF_ALONE)                /* all tiles at once: on the first */
            report_event(&out, x->part[x->loads].s.name, 1, 0, t.start, end, 0, t.section);
        t.start = end;
    }
    for (size_t n = 0; event && n < plan->sections; n++) {
        const DfSection *x = &plan->section[n];
        for (size_t k = 0; k < x->actors * df_firings(x, panels); k++) {
            const DfEvent *e = &event[n][k];
            if (!(e->to > 0)) continue;         /* another replica's */
            if (e->from < zero) zero = e->from;
            report_event(&out, x->part[x->actor[e->actor].part].s.name, 2,
                         e->worker, e->from - zero, e->to - zero, e->panel,
                         e->section);
        }
    }
    out_text(&out, "\n]}\n");
    out_done(&out);
}

/* ---- a run's first step -------------------------------------------------- */

/* From here on a run's firings are noted, of its first group of sequences, on a
 * chip planned for the model that is about to train. Dies if it has not the stage
 * of --why. */
static inline void notes_begin(GptRun *r, const Options *o) {
    const DfPlan *plan = r->machine->plan;
    if (r->machine->m != r->m) gpt_machine_plan(r, plan->chip, plan->depth);
    if (o->why) why_place(r->machine->plan, o->why);
    r->machine->event = mem_new(r->machine->plan->sections, sizeof(DfEvent *));
}
/* They become a trace, beside what the clock says of them, and the answer to
 * --why. To be called before the masks change: the graph is that of the model that
 * has trained. */
static inline void notes_end(const GptRun *r, const Options *o) {
    const GptMachine *a = r->machine;
    const size_t panels = gpt_panels(r);
    if (o->trace)
        report_trace(o->trace, &a->graph, a->plan, r->B, r->groups, a->event,
                     panels);
    if (!o->why) return;
    const WhyPlace at = why_place(a->plan, o->why);
    Why why = why_noted(&a->graph, a->plan, at.section, panels,
                        a->event[at.section]);
    Out out = out_standard();
    why_follow(&out, &why, at.part);
    out_done(&out);
    why_free(&why);
}

/* ---- a graph without its model ------------------------------------------- */

/* Row blocks of outputs of a matrix, and of inputs. */
static inline size_t simulate_rows(const GptParam *p) {
    return gpt_rows(p->in_out ? p->cols : p->rows) / LINE;
}
static inline size_t simulate_units(const GptParam *p) {
    return gpt_rows(p->in_out ? p->rows : p->cols) / LINE;
}
/* What they would keep of it at that density, evenly; *room: [simulate_rows(p) + 1]
 * numbers, [16 simulate_rows(p) + 1] and [simulate_units(p) + 1], is moved past them. */
static inline GptLines simulate_lines(const Options *o, const GptParam *p, double density,
                                      uint32_t **room) {
    const size_t OC = p->in_out ? p->cols : p->rows;
    const size_t IC = p->in_out ? p->rows : p->cols;
    const size_t nb = simulate_rows(p);
    const size_t units = simulate_units(p);
    uint32_t *rows = *room;
    uint32_t *parts = rows + nb + 1;
    uint32_t *cols = parts + nb * LINE + 1;
    const size_t w = gpt_maskable(p) ? parse_block(o) : 1;
    size_t row = IC;                /* lines of a row block */
    if (IC % w)
        usage("--block: expected one that divides the %zu inputs of %s, found '%s'",
              IC, p->name, o->block);
    if (gpt_maskable(p)) row = sp_per_row(density, IC / w) * w;
    if (size_mul(nb, IC) > UINT32_MAX)
        usage("%s: a matrix of %zu x %zu has too many weights to simulate",
              p->name, OC, IC);
    for (size_t r = 0; r <= nb; r++) rows[r] = (uint32_t)(r * row);
    for (size_t out = 0; out <= nb * LINE; out++) parts[out] = sp_part(rows, out);
    for (size_t u = 0; u <= units; u++)
        cols[u] = (uint32_t)(nb * row * u / units);
    *room = cols + units + 1;
    return (GptLines){rows, parts, cols};
}
/* The graph that a model of that sparsity would have; *lines, which are to be freed
 * after it, must live as long. */
static inline DfGraph simulate_graph(const Options *o, const GptConfig *c, double sparsity,
                                     size_t NG, size_t groups, GptLines **lines) {
    Options sparse = *o;
    GptParam *table = gpt_table(c);
    const size_t count = gpt_count(c);
    size_t all = 0;
    double density[4];
    sparse.sparsity = sparsity;
    if (sparsity == 0) sparse.spread = "uniform";
    mask_densities(&sparse, c->C, density);
    for (size_t k = 0; k < count; k++)
        all += (1 + LINE) * simulate_rows(&table[k]) + simulate_units(&table[k]) + 3;
    *lines = mem_new(count * sizeof **lines + all * sizeof(uint32_t), 1);
    uint32_t *room = (uint32_t *)(*lines + count);
    for (size_t k = 0; k < count; k++) {
        const GptParam *p = &table[k];
        const double kept = gpt_maskable(p) ? density[mask_kind(k)] : 1;
        if (p->rank > 1) (*lines)[k] = simulate_lines(o, p, kept, &room);
    }
    free(table);
    return gpt_graph(c, *lines, NG, groups, train_how(o));
}

/* ---- what is not the graph's: optimizer, memory, the ceiling ------------- */

/* Numbers that a step of AdamW moves, of a graph without its model: weights that are
 * kept (the token table is the head's), biases and gains; without the position
 * embeddings, whose gradient no tile holds. */
static inline double simulate_active(const DfGraph *g) {
    double active = 0;
    for (size_t s = 0; s < g->stages; s++) {
        const DfStage *stage = &g->stage[s];
        if (stage->grads) active += LINE * df_lines(stage, 0, stage->units);
        active += (double)(stage->units * stage->sums);     /* a line each, of lanes */
    }
    return active;
}
/* AdamW as a section of its own: every active parameter's weight, gradient and
 * two moments are read, and all but the gradient written, in float32. */
static inline DfClock simulate_optimizer(const DfGraph *g, const DfChip *chip) {
    enum { READ = 16, WRITTEN = 12, FLOPS = 16 };       /* bytes and FLOPs of one */
    const double active = simulate_active(g);
    DfClock clock = {.flops = FLOPS * active, .weights = (READ + WRITTEN) * active};
    clock.cycles = clock.flops / ((double)chip->tiles * chip->flops);
    clock.seconds = fmax(clock.weights / chip->memory, clock.flops / df_rate(chip)) +
                    chip->launch;
    return clock;
}
/* Bytes that a step keeps off chip, in three parts. */
static inline void simulate_memory(const DfGraph *g, const DfChip *chip,
                                   double groups) {
    const double active = simulate_active(g);
    const double copy = chip->element < 4 ? (double)chip->element : 0;
    const double state = active * (4 + 4 + 8 + copy);
    double rows = 0;
    for (size_t s = 0; s < g->forward; s++) {
        rows += g->stage[s].writes;
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = g->stage[s].out[k];
            if (e != DF_NONE && g->edge[e].kept) rows += (double)g->edge[e].rows;
        }
    }
    const double activations = rows * groups * LINE * (double)chip->element;
    printf("off chip: %.3f GB of weights, gradients and moments (float32%s), "
           "%.3f GB of activations: %.3f GB\n",
           state / 1e9, copy > 0 ? ", and the weights the chip computes with" : "",
           activations / 1e9, (state + activations) / 1e9);
}
/* FLOPs of a token, forward and backward, the attention counted in full, as
 * published rates count it; density: of the four matrices of a layer. */
static inline double simulate_flops(const GptConfig *c, double density) {
    const double C = (double)c->C;
    const double L = (double)c->L;
    const double linear = 6 * 12 * L * C * C * density;
    return linear + 12 * (double)c->ctx * C * L + 6 * (double)c->V * C;
}

/* ---- the command --------------------------------------------------------- */

/* Both ways to train a graph on a chip. */
typedef struct {
    DfClock kernel, flow;
} Simulated;

static inline size_t simulate_groups(const Options *o, const GptConfig *c) {
    return size_min(o->panel / LINE, gpt_groups(c->ctx));
}
/* With kernels where they are faster, or without, as --schedule says. */
static inline int simulate_purpose(const Options *o) {
    const int schedule = parse_schedule(o);
    if (schedule != IF_IT_FITS && schedule != DATAFLOW)
        usage("--schedule: expected fit or dataflow, found '%s'", o->schedule);
    return schedule == DATAFLOW ? DF_TO_STREAM : DF_TO_SIMULATE;
}
/* Plans a graph; dies if it does not fit. */
static inline DfPlan *simulate_plan(const Options *o, const DfGraph *g,
                                    DfChip chip, size_t groups) {
    const size_t panels = o->batch * ((g->groups + groups - 1) / groups);
    return df_plan(g, chip, o->depth, groups, panels, simulate_purpose(o));
}
/* The sum over all sections of a graph, and over all kernels. */
static inline Simulated simulate_quietly(const Options *o, const GptConfig *c,
                                         DfChip chip, double sparsity) {
    const size_t groups = simulate_groups(o, c);
    GptLines *lines;
    DfGraph g = simulate_graph(o, c, sparsity, gpt_groups(c->ctx), groups, &lines);
    Simulated way = {.kernel = df_clock_kernels(&g, &chip, 0, g.stages, o->batch, groups)};
    if (!chip.kernels) {
        DfPlan *plan = simulate_plan(o, &g, chip, groups);
        way.flow = report_sections(&g, plan, o->batch, &(Out){0}, true);
        df_plan_free(plan, &g);
    }
    gpt_graph_free(&g);
    free(lines);
    return way;
}
/* Answers --timeline, --walk and --why of a plan. Dies if there is no such section,
 * panel or stage. */
static inline void simulate_why(const Options *o, const DfGraph *g, const DfPlan *plan) {
    WhyPlace at = {.section = o->section};
    if (o->why) at = why_place(plan, o->why);
    else if (at.section == AUTO) at.section = why_first(plan);
    if (at.section >= plan->sections)
        usage("--section: expected one below %zu, found %zu", plan->sections, at.section);
    const DfSection *x = &plan->section[at.section];
    if (x->mode == DF_ALONE)
        usage("section %zu: %s runs by itself, as a kernel, and waits for nobody; with "
              "--schedule dataflow it is in a pipeline",
              at.section, x->part[o->why ? at.part : x->loads].s.name);
    Why why = why_new(g, plan, at.section, o->batch);
    if (o->walk != AUTO && o->walk >= why.firings)
        usage("--walk: expected a panel below %zu, found %zu", why.firings, o->walk);
    Out out = out_standard();
    if (o->timeline) why_timeline(&out, &why, plan);
    if (o->walk != AUTO) why_walk(&out, &why, o->walk);
    if (o->why) why_follow(&out, &why, at.part);
    out_done(&out);
    why_free(&why);
}
/* The same with all that is to be shown or written of it. */
static inline Simulated simulate_shown(const Options *o, const GptConfig *c,
                                       DfChip chip, double sparsity) {
    const size_t NG = gpt_groups(c->ctx);
    const size_t groups = simulate_groups(o, c);
    GptLines *lines;
    DfGraph g = simulate_graph(o, c, sparsity, NG, groups, &lines);
    DfPlan *plan = chip.kernels ? NULL : simulate_plan(o, &g, chip, groups);
    Simulated way = {.kernel = df_clock_kernels(&g, &chip, 0, g.stages, o->batch, groups)};
    if (o->show_graph) report_graph(&g, NG);
    char title[256];
    snprintf(title, sizeof title,
             "%zu layers x %zu, T=%zu, V=%zu, B=%zu, %g %% sparse, on chip %s: "
             "%zu tiles of %zu KiB, panels of %zu, depth %zu",
             c->L, c->C, c->ctx, c->V, o->batch, 100 * sparsity, chip.name,
             chip.tiles, chip.sram / 1024, groups * LINE, o->depth);
    printf("%s\nsimulated:\n", title);
    if (plan) {
        Out csv = {0};
        if (o->csv) csv = out_open(o->csv);
        way.flow = report_sections(&g, plan, o->batch, &csv, false);
        out_done(&csv);
        if (o->trace) report_trace(o->trace, &g, plan, o->batch, NG, NULL, 0);
        if (o->report) {
            Out page = out_open(o->report);
            view_page(&page, title, &g, plan, o->batch);
            out_done(&page);
        }
        if (o->timeline || o->why || o->walk != AUTO) simulate_why(o, &g, plan);
        df_plan_free(plan, &g);
    }
    const DfClock optimizer = simulate_optimizer(&g, &chip);
    printf("  + optimizer %.4g s, %.1f MB off chip, not in the times below\n",
           optimizer.seconds, optimizer.weights / 1e6);
    simulate_memory(&g, &chip, (double)(o->batch * NG));
    gpt_graph_free(&g);
    free(lines);
    return way;
}
/* The sparse step against a dense one of the same model on an A100, which knows
 * only kernels: at its full peak, and at the share of it that is published. */
static inline void simulate_against(const Options *o, const GptConfig *c,
                                    double sparsity, double seconds) {
    const DfChip a100 = df_chip("a100");
    Options kept = *o;
    kept.recompute = false;
    const double tokens = (double)(o->batch * c->ctx);
    const double ideal = simulate_quietly(&kept, c, a100, 0).kernel.seconds;
    const double dense = simulate_flops(c, 1);
    const double published = tokens * dense / (o->peak_share * df_rate(&a100));
    printf("a dense step on an a100 takes %.4g s if it is ideal: %.2f times the "
           "sparse step of this chip; %.4g s at %.2f %% of its peak: %.2f times; "
           "the FLOPs alone would allow %.2f\n",
           ideal, ideal / seconds, published, 100 * o->peak_share,
           published / seconds, dense / simulate_flops(c, 1 - sparsity));
}
/* Where memory is what bounds the step of a graph of that sparsity: what it would take
 * if less were kept. flow: what it takes. */
static inline void simulate_again(const Options *o, const GptConfig *c, const DfChip *chip,
                                  double sparsity, const DfClock *flow) {
    Options again = *o;
    if (o->recompute || df_bound(chip, flow) <= flow->flops / df_rate(chip)) return;
    again.recompute = true;
    const DfClock clock = simulate_quietly(&again, c, *chip, sparsity).flow;
    printf("memory is the bound: with --recompute the %s step takes %.4g s, no schedule less "
           "than %.4g\n",
           sparsity > 0 ? "sparse" : "dense", clock.seconds, df_bound(chip, &clock));
}
static inline void simulate_table(const Simulated way[2], const DfChip *chip,
                                  double tokens, int purpose) {
    static const char *const name[4] = {"dense, kernel", "dense, dataflow",
                                        "sparse, kernel", "sparse, dataflow"};
    printf("\n%-22s %9s %9s %9s %9s %9s %9s %14s %11s\n", "", "KB/token", "weights",
           "gradients", "activ.", "random", "FLOP/B", "cycles", "s a step");
    for (int k = 0; k < 4; k++) {
        const DfClock *clock = k % 2 ? &way[k / 2].flow : &way[k / 2].kernel;
        if (k % 2 && chip->kernels) continue;
        report_way(name[k], clock, tokens);
        if (k % 2)
            printf("%22s no schedule with this traffic takes less than %.4g s; "
                   "reached: %.2f of that\n",
                   "", df_bound(chip, clock),
                   clock->seconds / df_bound(chip, clock));
    }
    printf("kernel: whole waves of work on all tiles, every edge off chip, a launch "
           "each, and else ideal: every tile at its peak\n");
    if (chip->kernels) return;
    if (purpose == DF_TO_SIMULATE)
        printf("dataflow: sections that stream, and kernels for stages that are faster by "
               "themselves; --schedule dataflow has none of these\n");
    printf("a line gathered on chip lies across all banks; 16 random lanes into 16 "
           "banks would get %.1f %% of the throughput; gathered on chip %.1f GB a "
           "step, off chip 0\n",
           100 * df_bank_share(16, 16, 10000), way[1].flow.gathered / 1e9);
}
static inline void simulate_json(const Options *o, const Simulated way[2],
                                 const DfChip *chip) {
    static const char *const key[4] = {"dense_kernel", "dense_dataflow",
                                       "sparse_kernel", "sparse_dataflow"};
    Out out = out_open(o->json);
    out_char(&out, '{');
    for (int k = 0; k < 4; k++) {
        const DfClock *c = k % 2 ? &way[k / 2].flow : &way[k / 2].kernel;
        if (k % 2 && chip->kernels) continue;
        out_print(&out,
                  "%s\"%s\": {\"off_chip_bytes\": %.0f, \"weights\": %.0f, "
                  "\"gradients\": %.0f, \"activations\": %.0f, \"random\": %.0f, "
                  "\"flops\": %.0f, \"intensity\": %.6g, \"cycles\": %.0f, "
                  "\"seconds\": %.6g, \"bound\": %.6g}",
                  k ? ", " : "", key[k], df_off_chip(c), c->weights, c->grads,
                  c->in + c->out, c->random, c->flops, c->flops / df_off_chip(c),
                  c->cycles, c->seconds, df_bound(chip, c));
    }
    json_end(&out);
}

/* What --sweep KEY=A..B varies: sparsity in eight steps, the others by doubling. */
enum { SWEEP_STEPS = 8 };
enum {
    SWEEP_SPARSITY, SWEEP_BATCH, SWEEP_SRAM, SWEEP_MEMORY, SWEEP_CONTEXT,
    SWEEP_KEYS
};
static const struct {
    const char *name;
    double least, most;
    double unit;                    /* A is so many times this; 0: any number */
} sweep_keys[SWEEP_KEYS] = {
    {"sparsity", 0, 0.999, 0}, {"batch", 1, 1e15, 1},
    {"sram", DF_LINE_BYTES, 1e15, DF_LINE_BYTES},
    {"memory", 1, 1e15, 0}, {"context", 1, 1e15, 1},
};

typedef struct {
    int key;
    double from, to;
} Sweep;

/* The key whose name text begins with, n letters; SWEEP_KEYS: none. */
static inline int sweep_key(const char *text, size_t n) {
    for (int k = 0; k < SWEEP_KEYS; k++)
        if (strlen(sweep_keys[k].name) == n && !strncmp(sweep_keys[k].name, text, n))
            return k;
    return SWEEP_KEYS;
}
static inline Sweep sweep_parse(const Options *o) {
    const char *value = strchr(o->sim_sweep, '=');
    const size_t n = value ? (size_t)(value - o->sim_sweep) : 0;
    Sweep sweep = {.key = sweep_key(o->sim_sweep, n)};
    const char *dots = value ? strstr(value, "..") : NULL;
    char from[32] = "";
    char *end = from;
    if (dots && (size_t)(dots - value) < sizeof from)
        memcpy(from, value + 1, (size_t)(dots - value) - 1);
    sweep.from = strtod(from, &end);
    const bool read = *from && !*end && dots[2];
    if (read) sweep.to = strtod(dots + 2, &end);
    bool right = read && !*end && sweep.key < SWEEP_KEYS && sweep.to >= sweep.from;
    if (right) {
        const double unit = sweep_keys[sweep.key].unit;
        right = sweep.from >= sweep_keys[sweep.key].least &&
                sweep.to <= sweep_keys[sweep.key].most &&
                !(unit > 0 && fmod(sweep.from, unit) > 0);
    }
    if (!right)
        usage("--sweep: expected KEY=A..B, A at most B, KEY one of sparsity (0 to "
              "0.999), batch or context (whole numbers), sram (A so many times %d), "
              "memory, found '%s'",
              DF_LINE_BYTES, o->sim_sweep);
    if (sweep.key != SWEEP_MEMORY)
        options_contradict(o, SIMULATE, "sweep", &sweep_keys[sweep.key].name, 1);
    return sweep;
}
/* One line: the sparse model, or at a sparsity of 0 the dense one, with that
 * value. */
static inline void sweep_line(Out *out, const Options *options, GptConfig c,
                              DfChip chip, const Sweep *sweep, double value) {
    Options o = *options;
    if (sweep->key == SWEEP_SPARSITY) o.sparsity = value;
    if (sweep->key == SWEEP_BATCH) o.batch = (size_t)value;
    if (sweep->key == SWEEP_SRAM) chip.sram = (size_t)value;
    if (sweep->key == SWEEP_MEMORY) chip.memory = value;
    if (sweep->key == SWEEP_CONTEXT) c.ctx = (size_t)value;
    const Simulated way =
        simulate_quietly(&o, &c, df_chip_check(chip, chip.name), o.sparsity);
    out_print(out, "%s,%g,%zu,%.6g", sweep_keys[sweep->key].name, value,
              o.batch * c.ctx, way.kernel.seconds);
    if (chip.kernels) out_text(out, ",,\n");
    else
        out_print(out, ",%.6g,%.6g\n", way.flow.seconds,
                  df_bound(&chip, &way.flow));
}
static inline void sweep_run(const Options *o, const GptConfig *c,
                             const DfChip *chip) {
    const Sweep sweep = sweep_parse(o);
    Out out = o->csv ? out_open(o->csv) : out_standard();
    double value = sweep.from;
    out_text(&out, "key,value,tokens,kernel_seconds,dataflow_seconds,dataflow_bound\n");
    for (int k = 0; value <= sweep.to; k++) {
        sweep_line(&out, o, *c, *chip, &sweep, value);
        const double step = (sweep.to - sweep.from) / SWEEP_STEPS;
        if (sweep.key != SWEEP_SPARSITY) value *= 2;
        else if (k < SWEEP_STEPS && step > 0)
            value = fmin(sweep.from + step * (k + 1), sweep.to);    /* rounding may go beyond */
        else break;
    }
    out_done(&out);
}

/* The chip of --chip. If that is the machine at hand, what was measured of it. */
static inline DfChip simulate_chip(const Options *o) {
    if (o->validate || strcmp(o->chip, "here")) return parse_chip(o);
    const DfChip c = chip_with(here_chip(o->threads), o);
    note("here: %zu tiles, %zu a thread: %.1f GFLOP/s; %.1f GB/s in the cores' caches, %.1f "
         "from memory, %.2f line by line; %.2f us to start a stage",
         c.tiles, c.tiles / o->threads, df_rate(&c) / 1e9,
         (double)c.tiles * c.port * c.clock / 1e9, c.memory / 1e9, c.random / 1e9,
         1e6 * c.launch);
    return c;
}
/* Dense and sparse, stage by stage and in sections: traffic, cycles and time of a
 * step on a chip. */
static inline int cmd_simulate(int argc, char **argv) {
    Options *o = options_read(argc, argv, SIMULATE, NULL);
    outputs_check(o, NULL, 0);
    model_shape(o);
    if (o->sim_vocab == AUTO) o->sim_vocab = o->model[0] == 'd' ? 2048 : 50257;
    const GptConfig c = {o->layers, o->heads, o->width, o->sim_vocab, o->context};
    model_check(&c, "the model");
    const DfChip chip = simulate_chip(o);
    const double sparsity = o->sparsity > 0 ? o->sparsity : 0.875;
    const bool dense = !(o->sparsity > 0);      /* whose sections are shown */
    Simulated way[2];
    static const char *const not[] = {"json",   "trace",   "report",     "timeline", "walk",
                                      "why",    "section", "show-graph", "peak-share"};
    const bool inside = o->timeline || o->why || o->walk != AUTO || o->report;
    const bool streams = simulate_purpose(o) == DF_TO_STREAM;
    if (chip.kernels && ((o->csv && !o->sim_sweep) || o->trace || inside || streams))
        usage("--csv, --trace, --timeline, --walk, --why, --report, --schedule dataflow: "
              "expected a chip with dataflow, found %s",
              chip.name);
    if (o->sim_sweep) options_contradict(o, SIMULATE, "sweep", not, sizeof not / sizeof *not);
    if (o->section != AUTO && (o->why || !(o->timeline || o->walk != AUTO)))
        usage("--section: is of --timeline and --walk; --why has the section of its stage");
    if (o->validate && streams)
        usage("--validate: takes steps by both schedules; expected no --schedule");
    if (o->validate || o->sim_sweep) {
        if (o->validate) host_command(o, &c);
        else sweep_run(o, &c, &chip);
        options_free(o);
        return 0;
    }
    if (dense) way[0] = simulate_shown(o, &c, chip, 0);
    else way[0] = simulate_quietly(o, &c, chip, 0);
    if (dense) way[1] = simulate_quietly(o, &c, chip, sparsity);
    else way[1] = simulate_shown(o, &c, chip, sparsity);
    simulate_table(way, &chip, (double)(o->batch * c.ctx), simulate_purpose(o));
    if (!chip.kernels) simulate_again(o, &c, &chip, sparsity, &way[1].flow);
    const double sparse = chip.kernels ? way[1].kernel.seconds : way[1].flow.seconds;
    simulate_against(o, &c, sparsity, sparse);
    if (o->json) simulate_json(o, way, &chip);
    options_free(o);
    return 0;
}
#endif
