/* kernel.h: how long a chip takes for a stage by itself, as a device without
 * dataflow runs it: all panels of one stage, then all of the next.
 *
 * Worked out, not simulated. A kernel is charged what kernels pay: whole waves
 * of work on all tiles, every edge off chip, and a launch. The rest is ideal:
 * every item at its tile's full rate, every edge and weight off chip once, and
 * room for it all.
 *
 *     DfClock            what is said of a kernel, a section (clock.h) or a step
 *     DfStream           the panels that it sees
 *     df_bound           what no schedule of so much work and traffic goes below
 *     df_clock_kernel    one stage
 *     df_clock_kernels   several, one after the other
 *
 * Example: 40 items of 700 cycles take 5 tiles 8 waves, that is 5600 cycles, and
 * 30 tiles 2, the second a third full. */
#ifndef KERNEL_H
#define KERNEL_H
#include "../../dataflow.h"

/* ---- what a clock says, and of which stream ------------------------------ */

/* What the clock says of a section, or of all; of all it is the sum, without
 * compute, utilisation and bound. */
typedef struct {
    double cycles, seconds;         /* of the pipeline; in all */
    double compute;                 /* cycles of the busiest tile */
    double flops;
    double utilisation;             /* flops, as a share of what all tiles could
                                     * do in these seconds */
    double data_wait, credit_wait;  /* cycles, the mean over tiles used: for
                                     * inputs; for room */
    double weights, grads, in, out, random;         /* bytes off chip */
    double on_chip, gathered;       /* bytes: all; of these, line by line */
    double load;                    /* seconds of weights that nothing hid */
    const char *bound;              /* what is slowest: "compute", "memory" or,
                                     * if tiles mostly wait for one another,
                                     * "pipeline"; "kernel": it is no pipeline */
} DfClock;

/* The panels that a section sees, sequence by sequence. */
typedef struct {
    size_t panels;                  /* in all */
    size_t per_sequence;
    size_t groups, last_groups;     /* of a panel; of a sequence's last one */
    bool forward;                   /* from a sequence's first panel to its
                                     * last */
} DfStream;

typedef struct {
    size_t first;                   /* its first group, of its sequence */
    size_t groups;                  /* how many it has */
} DfPanel;

/* The stream that a section beginning with stage `first` sees of so many
 * sequences of `sequence_groups` groups, in panels of `groups`. */
static inline DfStream df_stream(const DfGraph *graph, size_t first,
                                 size_t sequences, size_t sequence_groups,
                                 size_t groups) {
    const size_t panels = (sequence_groups + groups - 1) / groups;
    return (DfStream){.panels = sequences * panels, .per_sequence = panels,
                      .groups = groups,
                      .last_groups = sequence_groups - (panels - 1) * groups,
                      .forward = first < graph->forward};
}
/* The i-th panel, in the order in which they come. */
static inline DfPanel df_panel(const DfStream *stream, size_t i) {
    const size_t last = stream->per_sequence - 1;
    size_t at = i % stream->per_sequence;
    if (!stream->forward) at = last - at;
    const size_t groups = at == last ? stream->last_groups : stream->groups;
    return (DfPanel){.first = at * stream->groups, .groups = groups};
}
/* Groups of all panels together. */
static inline double df_stream_groups(const DfStream *stream) {
    const size_t sequences = stream->panels / stream->per_sequence;
    const size_t whole = (stream->per_sequence - 1) * stream->groups;
    return (double)(sequences * (whole + stream->last_groups));
}

/* ---- seconds ------------------------------------------------------------- */

/* FLOPs a second of all tiles. */
static inline double df_rate(const DfChip *chip) {
    return (double)chip->tiles * chip->flops * chip->clock;
}
/* Fills in the seconds: the longer of the cycles and of `memory` seconds of
 * traffic off chip, and `unhidden` seconds that come before or after these;
 * then which it was, and the utilisation. */
static inline void df_time(DfClock *clock, const DfChip *chip, double memory,
                           double unhidden) {
    const double pipeline = clock->cycles / chip->clock;
    clock->seconds = df_later(pipeline, memory) + unhidden;
    clock->bound = memory > pipeline ? "memory" : "compute";
    clock->utilisation = clock->flops / (df_rate(chip) * clock->seconds);
}
/* Bytes off chip: those that are streamed; and all. */
static inline double df_passed(const DfClock *clock) {
    return clock->weights + clock->grads + clock->in + clock->out;
}
static inline double df_off_chip(const DfClock *clock) {
    return df_passed(clock) + clock->random;
}
/* Seconds that these take. */
static inline double df_carried(const DfChip *chip, const DfClock *clock) {
    return df_passed(clock) / chip->memory + clock->random / chip->random;
}
/* Seconds that no schedule of the chip goes below, for so much arithmetic and
 * traffic: all tiles busy all the time, or the memory. */
static inline double df_bound(const DfChip *chip, const DfClock *clock) {
    return df_later(clock->flops / df_rate(chip), df_carried(chip, clock));
}
/* Adds a section's, or a kernel's, to the sum. */
static inline void df_clock_add(DfClock *sum, const DfClock *clock) {
    sum->cycles += clock->cycles;
    sum->seconds += clock->seconds;
    sum->flops += clock->flops;
    sum->load += clock->load;
    sum->weights += clock->weights;
    sum->grads += clock->grads;
    sum->in += clock->in;
    sum->out += clock->out;
    sum->random += clock->random;
    sum->on_chip += clock->on_chip;
    sum->gathered += clock->gathered;
    sum->data_wait += clock->data_wait;
    sum->credit_wait += clock->credit_wait;
}

/* ---- kernels ------------------------------------------------------------- */

/* A stage as a kernel has it: without the edges that pass inside a kernel and,
 * if it joins the stage before, without what it writes in place, for the kernel
 * has that at hand and it was counted where it was made. */
static inline DfStage df_kernel_stage(const DfGraph *graph,
                                      const DfStage *stage) {
    DfStage kernel = *stage;
    for (int k = 0; k < DF_INS; k++)
        if (kernel.in[k] != DF_NONE && graph->edge[kernel.in[k]].inner)
            kernel.in[k] = DF_NONE;
    for (int k = 0; k < DF_OUTS; k++)
        if (kernel.out[k] != DF_NONE && graph->edge[kernel.out[k]].inner)
            kernel.out[k] = DF_NONE;
    const int out = kernel.out[0];
    if (kernel.joins && out != DF_NONE && graph->edge[out].base == kernel.in[0]) {
        kernel.in[0] = DF_NONE;
        kernel.out[0] = DF_NONE;
    }
    return kernel;
}
/* Cycles of the busiest tile of a chip that does a stage alone whose panels add to
 * one another: the units are dealt out, and each has all panels. */
static inline double df_adding(const DfGraph *graph, const DfChip *chip,
                               const DfStage *stage, const DfStream *stream) {
    const size_t most = (stage->units + chip->tiles - 1) / chip->tiles;
    size_t busiest = 0;                     /* its first unit */
    double cycles = 0;
    for (size_t u = 0; u + most <= stage->units; u += most)
        if (df_lines(stage, u, u + most) >
            df_lines(stage, busiest, busiest + most)) busiest = u;
    for (size_t i = 0; i < stream->panels; i++) {
        const DfPanel panel = df_panel(stream, i);
        const DfWork work = df_firing(graph, stage, busiest, busiest + most,
                                      panel.first, panel.groups);
        cycles += df_cycles(chip, &work);
    }
    return cycles;
}
/* Cycles in which a chip does a stage alone. Its items, a unit on a panel each
 * or, if these are fewer than tiles, on a group, go to the tiles wave by wave,
 * in order; a wave takes as long as its longest, be it full or not. */
static inline double df_waves(const DfGraph *graph, const DfChip *chip,
                              const DfStage *stage, const DfStream *stream) {
    const bool fine = stage->units * stream->panels < chip->tiles;
    size_t room = chip->tiles;              /* left in the wave */
    double cycles = 0;
    double longest = 0;
    if (stage->grads || stage->sums) return df_adding(graph, chip, stage, stream);
    for (size_t i = 0; i < stream->panels; i++) {
        const DfPanel panel = df_panel(stream, i);
        const DfWork all = df_firing(graph, stage, 0, stage->units, panel.first,
                                     panel.groups);
        size_t items = stage->units * (fine ? panel.groups : 1);
        const double each = df_cycles(chip, &all) / (double)items;
        while (items) {
            const size_t taken = size_min(items, room);
            longest = df_later(longest, each);
            room -= taken;
            items -= taken;
            if (room) continue;
            const size_t full = items / chip->tiles;
            cycles += longest + each * (double)full;
            items -= full * chip->tiles;
            room = chip->tiles;
            longest = 0;
        }
    }
    return cycles + longest;
}
/* A stage by itself over a stream, as a device without dataflow runs it: whole
 * waves of work on all tiles, every edge off chip, and a launch unless it joins
 * the stage before. The rest is ideal: every item at the tile's full rate. */
static inline DfClock df_clock_kernel(const DfGraph *graph, const DfChip *chip,
                                      const DfStage *stage,
                                      const DfStream *stream) {
    const double line = LINE * (double)chip->element;
    const double lines = df_lines(stage, 0, stage->units);
    const double all = df_stream_groups(stream) * line;
    DfClock clock = {.random = stage->random * all};
    clock.in = (stage->reads - stage->random + df_rows_in(graph, stage)) * all;
    clock.out = (stage->writes + df_rows_out(graph, stage)) * all;
    if (stage->lines && !stage->grads) clock.weights = lines * (line + 4);
    if (stage->grads) clock.grads = 2 * lines * line;
    clock.grads += 2 * (double)(stage->units * stage->sums) * line;
    for (size_t i = 0; i < stream->panels; i++) {
        const DfPanel panel = df_panel(stream, i);
        const DfWork work = df_firing(graph, stage, 0, stage->units,
                                      panel.first, panel.groups);
        clock.flops += work.flops;
        clock.gathered += work.gathered * line;
        clock.on_chip += (work.gathered + work.moved) * line;
    }
    clock.cycles = df_waves(graph, chip, stage, stream);
    clock.compute = clock.cycles;
    df_time(&clock, chip, df_carried(chip, &clock),
            stage->joins ? 0 : chip->launch);
    return clock;
}
/* Stages first .. end-1 of a graph, one after the other, each over the stream
 * that it sees of so many sequences in panels of `groups`. What only copies is
 * not needed: off chip its input is still there. */
static inline DfClock df_clock_kernels(const DfGraph *graph, const DfChip *chip,
                                       size_t first, size_t end,
                                       size_t sequences, size_t groups) {
    DfClock sum = {0};
    for (size_t s = first; s < end; s++) {
        if (graph->stage[s].copies) continue;
        const DfStage stage = df_kernel_stage(graph, &graph->stage[s]);
        const DfStream stream =
            df_stream(graph, s, sequences, graph->groups, groups);
        const DfClock clock = df_clock_kernel(graph, chip, &stage, &stream);
        df_clock_add(&sum, &clock);
    }
    if (sum.seconds > 0)
        sum.utilisation = sum.flops / (df_rate(chip) * sum.seconds);
    return sum;
}
#endif
