/* simulate.h: what the clock says, for people: the graph, the sections, four ways to train compared, and a
 * trace.
 *
 * It refuses to mix clocks: every number here is simulated, of a chip that is described, and says so.
 * Utilisation is FLOPs over what all tiles of the chip could have done in the section's time. Operational
 * intensity is FLOPs per byte off chip. The waits are cycles a used tile stood still, on average, for data or
 * for room; contention in the fabric, refresh and bursts of memory are not modelled, so the times are
 * optimistic.
 *
 * Example of a line of the section table, which is also a line of the CSV file:
 *
 *     0  embed .. ln_f   stages 16 (+0 loads)  tiles 64  SRAM 90 %  ... */
#ifndef SIMULATE_H
#define SIMULATE_H
#include "../model/formats.h"
#include "../run/chip.h"
#include "../run/clock.h"
#include "../run/masks.h"

/* Stages, streams, weights and FLOPs of a group of 16 tokens in the middle of a sequence. */
static inline void report_graph(const DfGraph *g, size_t NG) {
    printf("%-24s %10s %12s %6s  %s\n", "stage", "KiB held", "FLOP/token", "units",
           "reads -> makes (lines a group)");
    for (size_t s = 0; s < g->stages; s++) {
        const DfStage *st = &g->stage[s];
        const double lines = df_lines(st, 0, st->units) * ((double)st->weights + (double)st->grads)
                             + (double)(st->units * (st->sums + st->state));
        printf("%-24s %10.1f %12.0f %6zu ", st->name, lines / 16, df_flops(st, 0, st->units, NG / 2, 1) / 16,
               st->units);
        for (int k = 0; k < DF_INS; k++)
            if (st->in[k] >= 0) printf(" %s (%zu)", g->edge[st->in[k]].name, g->edge[st->in[k]].rows);
        printf(" ->");
        for (int k = 0; k < DF_OUTS; k++)
            if (st->out[k] >= 0) printf(" %s (%zu)", g->edge[st->out[k]].name, g->edge[st->out[k]].rows);
        printf("%s\n", st->share ? " shares" : "");
    }
}

/* The sections of a plan over B sequences; their sum. csv: the same as a table, quiet prints nothing. */
static inline DfClock report_sections(const DfGraph *g, const DfPlan *plan, size_t B, Out *csv, bool quiet) {
    DfClock sum = {0};
    DfClock *clock = mem_new(plan->sections, sizeof *clock);
    df_clock_plan(g, plan, B, clock);
    out_print(csv,
              "section,first,last,stages,loads,tiles,sram_peak,sram,cycles,seconds,utilisation,data_wait,"
                "credit_wait,on_chip,gathered,weights,gradients,in,out,random,intensity,bound,mode\n");
    if (!quiet)
        printf("%3s %-22s %-22s %5s %5s %5s %12s %6s %9s %9s %9s %9s %7s %s\n", "#", "from", "to", "parts",
               "tiles", "SRAM", "cycles", "util", "data wait", "room wait", "on MB", "off MB", "FLOP/B",
               "bound");
    for (size_t n = 0; n < plan->sections; n++) {
        const DfSection *x = &plan->section[n];
        const DfClock c = clock[n];
        const char *from = x->part[x->loads].s.name, *to = x->part[x->parts - 1].s.name;
        static const char *const mode[DF_MODES] = {"resident", "streamed"};
        df_clock_add(&sum, &c);
        out_print(csv,
                    "%zu,%s,%s,%zu,%zu,%zu,%zu,%zu,%.0f,%.9g,%.4f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%."
                    "0f,%.2f,%s,%s\n",
                    n, from, to, x->parts - x->loads, x->loads, x->tiles, x->peak, plan->chip.sram, c.cycles,
                    c.seconds, c.utilisation, c.data_wait, c.credit_wait, c.on_chip, c.gathered, c.weights,
                    c.grads, c.in, c.out, c.random, c.flops / df_off_chip(&c), c.bound, mode[x->mode]);
        if (!quiet)
            printf("%3zu %-22s %-22s %5zu %5zu %4.0f%% %12.0f %5.1f%% %9.0f %9.0f %9.1f %9.1f %7.1f %s%s\n",
                   n, from, to, x->parts, x->tiles, 100.0 * (double)x->peak / (double)plan->chip.sram,
                   c.cycles, 100 * c.utilisation, c.data_wait, c.credit_wait, c.on_chip / 1e6,
                   df_off_chip(&c) / 1e6, c.flops / df_off_chip(&c), c.bound,
                   x->streamed ? ", weights streamed" : "");
    }
    free(clock);
    return sum;
}
/* The same graph a stage at a time, as a device without dataflow runs it. What joins the stage before is its
 * kernel's. */
static inline DfClock report_kernels(const DfGraph *g, const DfChip *chip, size_t B, size_t NG,
                                     size_t groups) {
    DfClock sum = {0};
    for (size_t s = 0; s < g->stages; s++) {
        const DfStream t = df_stream(g, s, B, NG, groups);
        DfStage st = g->stage[s];
        if (st.joins && g->edge[st.out[0]].base == st.in[0]) st.in[0] = st.out[0] = -1;
        const DfClock c = df_clock_kernel(g, chip, &st, &t);
        df_clock_add(&sum, &c);
    }
    return sum;
}
static inline void report_way(const char *what, const DfClock *c, double tokens) {
    printf("%-22s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %14.0f %11.4g\n", what, df_off_chip(c) / tokens / 1e3,
           c->weights / tokens / 1e3, c->grads / tokens / 1e3, (c->in + c->out) / tokens / 1e3,
           c->random / tokens / 1e3, c->flops / df_off_chip(c), c->cycles, c->seconds);
}

/* Chrome's trace format: the simulated tiles of every section, one after the other, in microseconds of the
 * chip. */
typedef struct { Out *out; double start, clock; size_t section; } ReportTrace;

static inline void report_event(Out *out, const char *name, int process, size_t thread, double from, double to,
                                size_t panel, size_t section) {                             /* seconds */
    out_text(out, ",\n{\"name\": ");
    json_put(out, name);
    out_print(out, ", \"ph\": \"X\", \"pid\": %d, \"tid\": %zu, \"ts\": %.3f, \"dur\": %.3f, \"args\": "
            "{\"panel\": %zu, \"section\": %zu}}", process, thread, 1e6 * from, 1e6 * (to - from), panel,
            section);
}
static inline void report_seen(void *owner, const DfSection *x, size_t actor, size_t panel, double from,
                               double to) {
    const ReportTrace *t = owner;
    const DfActor *a = &x->actor[actor];
    report_event(t->out, x->part[a->part].s.name, 1, a->tile, t->start + from / t->clock,
                 t->start + to / t->clock, panel, t->section);
}
/* event: of the host, per section as gpt_machine_run leaves it, or NULL; panels: of the run they are from. */
static inline void report_trace(const char *path, const DfGraph *g, const DfPlan *plan, size_t B, size_t NG,
                                DfEvent *const *event, size_t panels) {
    Out out = out_open(path);
    ReportTrace t = {.out = &out, .clock = plan->chip.clock};
    double zero = INFINITY;
    out_text(&out, "{\"traceEvents\": [");
    for (int k = 0; k < 2; k++)
        out_print(&out, "%s\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, \"args\": "
                "{\"name\": \"%s\"}}",
                k ? "," : "", k + 1, k ? "host threads" : "simulated tiles");
    for (t.section = 0; t.section < plan->sections; t.section++) {
        const DfSection *x = &plan->section[t.section];
        const DfStream s = df_stream(g, x->first, B, NG, plan->groups);
        t.start += df_clock(g, plan, t.section, &s, report_seen, &t).seconds;
    }
    for (size_t n = 0; event && n < plan->sections; n++) {
        const DfSection *x = &plan->section[n];
        const size_t firings = (panels + x->span - 1) / x->span;
        for (size_t k = 0; k < x->actors * firings; k++) {
            const DfEvent *e = &event[n][k];
            if (e->from < zero) zero = e->from;
            report_event(&out, x->part[x->actor[e->actor].part].s.name, 2, e->worker, e->from - zero,
                         e->to - zero, e->panel, e->section);
        }
    }
    out_text(&out, "\n]}\n");
    out_done(&out);
}

/* ---- the command -------------------------------------------------------------------------------------- */

/* A graph without its model: what row blocks and columns of a matrix would keep at that sparsity, evenly. */
static inline DfGraph simulate_graph(const Options *o, const GptConfig *c, double sparsity, size_t NG,
                                     size_t groups) {
    Options sparse = *o;
    GptParam *table = gpt_table(c);
    GptLines *lines = mem_new(gpt_count(c), sizeof *lines);
    double density[4];
    sparse.sparsity = sparsity;
    if (sparsity == 0) sparse.spread = "uniform";
    mask_densities(&sparse, c->C, density);
    for (size_t k = 0; k < gpt_count(c); k++) {
        const GptParam *p = &table[k];
        if (p->rank == 1) continue;
        const size_t OC = p->in_out ? p->cols : p->rows, IC = p->in_out ? p->rows : p->cols,
                     nb = gpt_rows(OC) / LINE;
        const size_t w = gpt_maskable(p) ? parse_block(o) : 1;
        if (IC % w)
            usage("--block: expected one that divides the %zu inputs of %s, found '%s'", IC, p->name,
                  o->block);
        const size_t row = gpt_maskable(p) ? sp_per_row(density[mask_kind(k)], IC / w) * w : IC;
        const size_t units = gpt_rows(IC) / LINE;
        if (size_mul(nb, IC) > UINT32_MAX)
            usage("%s: a matrix of %zu x %zu has too many weights to simulate", p->name, OC, IC);
        uint32_t *rows = mem_new(nb + units + 2, sizeof *rows), *cols = rows + nb + 1;
        for (size_t r = 0; r <= nb; r++) rows[r] = (uint32_t)(r * row);
        for (size_t u = 0; u <= units; u++) cols[u] = (uint32_t)(nb * row * u / units);
        lines[k] = (GptLines){rows, cols};
    }
    free(table);
    return gpt_graph(c, lines, NG, groups);
}
/* Dense and sparse, stage by stage and in sections: traffic, cycles and time of a step on a chip. */
static inline int cmd_simulate(int argc, char **argv) {
    Options *o = options_read(argc, argv, SIMULATE, NULL);
    outputs_check(o, NULL, 0);
    model_shape(o);
    const GptConfig c = {o->layers, o->heads, o->width, o->sim_vocab, o->context};
    model_check(&c, "the model");
    const DfChip chip = parse_chip(o);
    const size_t NG = gpt_groups(c.ctx), groups = size_min(o->panel / LINE, NG);
    const double tokens = (double)(o->batch * c.ctx),
                 sparsity[2] = {0, o->sparsity > 0 ? o->sparsity : 0.875};
    DfClock way[4];
    if (chip.kernels && (o->csv || o->trace))
        usage("--csv, --trace: expected a chip with dataflow, found %s", chip.name);
    for (int k = 0; k < 2; k++) {
        DfGraph g = simulate_graph(o, &c, sparsity[k], NG, groups);
        const bool shown = k == (o->sparsity > 0);
        Out csv = {0};
        if (shown && o->show_graph) report_graph(&g, NG);
        if (shown && o->csv) csv = out_open(o->csv);
        if (shown)
            printf("%zu layers x %zu, T=%zu, V=%zu, B=%zu, %g %% sparse, on chip %s: %zu tiles of %zu KiB, "
                   "panels of %zu, depth %zu\n"
                   "simulated, optimizer left out:\n",
                   c.L, c.C, c.ctx, c.V, o->batch, 100 * sparsity[k], chip.name, chip.tiles, chip.sram / 1024,
                   groups * LINE, o->depth);
        way[2 * k] = report_kernels(&g, &chip, o->batch, NG, groups);
        if (!chip.kernels) {
            const size_t panels = o->batch * ((NG + groups - 1) / groups);
            DfPlan *plan = df_plan(&g, chip, o->depth, groups, panels, false);
            way[2 * k + 1] = report_sections(&g, plan, o->batch, &csv, !shown);
            out_done(&csv);
            if (shown && o->trace) report_trace(o->trace, &g, plan, o->batch, NG, NULL, 0);
            df_plan_free(plan, &g);
        }
        gpt_graph_free(&g);
    }
    const int step = chip.kernels ? 2 : 1;                  /* past the ways that the chip does not know */
    printf("\n%-22s %9s %9s %9s %9s %9s %9s %14s %11s\n", "", "KB/token", "weights", "gradients", "activ.",
           "random", "FLOP/B", "cycles", "s a step");
    static const char *const name[4] = {"dense, kernel", "dense, dataflow", "sparse, kernel",
                                        "sparse, dataflow"};
    for (int k = 0; k < 4; k += step) report_way(name[k], &way[k], tokens);
    if (!chip.kernels)
        printf("a line gathered on chip lies across all banks; 16 random lanes into 16 banks would get "
               "%.1f %% of the throughput; gathered on chip %.1f GB a step, off chip 0\n",
               100 * df_bank_share(16, 16, 10000), way[3].gathered / 1e9);
    if (o->json) {
        Out out = out_open(o->json);
        static const char *const key[4] = {"dense_kernel", "dense_dataflow", "sparse_kernel",
                                           "sparse_dataflow"};
        out_char(&out, '{');
        for (int k = 0; k < 4; k += step)
            out_print(&out,
                    "%s\"%s\": {\"off_chip_bytes\": %.0f, \"weights\": %.0f, \"gradients\": %.0f, "
                    "\"activations\": %.0f, "
                    "\"random\": %.0f, \"flops\": %.0f, \"intensity\": %.6g, \"cycles\": %.0f, \"seconds\": "
                    "%.6g}",
                    k ? ", " : "", key[k], df_off_chip(&way[k]), way[k].weights, way[k].grads,
                    way[k].in + way[k].out, way[k].random, way[k].flops, way[k].flops / df_off_chip(&way[k]),
                    way[k].cycles, way[k].seconds);
        json_end(&out);
    }
    return 0;
}
#endif
