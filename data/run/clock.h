/* clock.h: how long the chip would take: simulated cycles, with no data.
 *
 * It knows nothing of GPT, and nothing of the host enters, so the numbers are
 * the same on any of them. It goes by events: every tile has a time, every
 * panel the time at which a part gave it. A firing is ready when its inputs
 * have come and its output has room. Of its ready firings a tile takes the
 * earliest, of the last part if several, as the workers do. A firing takes the
 * longer of its arithmetic and its traffic on chip. Off-chip traffic is charged
 * to the section as a whole, at streaming or random rate: the section takes the
 * longer of that and of its pipeline. Its weights come before it, unless the
 * chip had room for them while the section before ran.
 *
 * What it cannot see: contention in the fabric, bank conflicts (a gathered line
 * lies across all banks, so there are none; see df_bank_share), refresh, and
 * bursts of off-chip traffic. Such models are optimistic. Where replicas give a
 * later panel before an earlier one, whoever wants the later takes it at once;
 * the workers' counters (df_done) know only panels in order, and wait.
 *
 *     df_stream         the panels that a section sees
 *     df_clock          cycles, waits and bytes of a section
 *     df_clock_kernel   of a stage by itself, on a chip that knows no dataflow
 *
 * Example: the picture at the head of dataflow.h is what df_clock tells of its
 * three stages; a test draws it. */
#ifndef CLOCK_H
#define CLOCK_H
#include "plan.h"

/* ---- streams and traffic ------------------------------------------------- */

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
                                     * "pipeline" */
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
/* Is told of firing i of an actor: from when to when, in cycles. */
typedef void DfSeen(void *owner, const DfSection *section, size_t actor,
                    size_t i, double from, double to);

/* A section's pipeline while it is simulated. */
typedef struct {
    const DfGraph *graph;
    const DfChip *chip;
    const DfSection *section;
    const DfStream *stream;
    DfSeen *seen;                   /* NULL: nobody wants to know */
    void *owner;                    /* of seen */
    size_t firings;                 /* of a part */
    double *last;                   /* [firings][parts] when the last of a part's
                                     * tiles so far gave its output */
    uint32_t *fired;                /* [firings][parts] how many did */
    double *time;                   /* [tiles] until when a tile is busy */
    double *busy;                   /* [tiles] cycles of work */
    size_t *next;                   /* [actors] firing */
    bool *queued;                   /* [actors] in the heap */
    Heap ready;                     /* actors, the earliest first */
    DfClock clock;
} DfSim;

/* Puts an actor in the heap, ready at that time: of those at one time the last
 * part's comes out first. A time is not below 0, so its bits have its order. */
static inline void df_ready_at(DfSim *sim, size_t actor, double time) {
    const size_t part = sim->section->actor[actor].part;
    uint64_t bits;
    memcpy(&bits, &time, sizeof bits);
    const uint64_t late = sim->section->parts - part;
    heap_push(&sim->ready, bits, late << 32 | actor);
}
/* When the last tile of part s gave panel i; INFINITY if it has not yet. */
static inline double df_given(const DfSim *sim, size_t s, size_t i) {
    const size_t at = i * sim->section->parts + s;
    const DfPart *part = &sim->section->part[s];
    if (sim->fired[at] < df_replica_actors(part)) return INFINITY;
    return sim->last[at];
}
/* When an actor's next firing has its inputs; INFINITY if not known yet. It
 * asks for the last panel that the lag wants; where parts fire in order that is
 * the latest. */
static inline double df_data_at(const DfSim *sim, size_t actor) {
    const DfPart *part = &sim->section->part[sim->section->actor[actor].part];
    const size_t i = size_min(sim->next[actor] + part->s.lag, sim->firings - 1);
    double time = 0;
    for (size_t k = 0; k < part->needs; k++)
        time = fmax(time, df_given(sim, part->need[k], i));
    return time;
}
/* When it has room for its outputs; INFINITY if not known yet. */
static inline double df_room_at(const DfSim *sim, size_t actor) {
    const DfPart *part = &sim->section->part[sim->section->actor[actor].part];
    const size_t i = sim->next[actor];
    double time = 0;
    for (size_t k = 0; k < part->gives; k++) {
        const size_t panels = df_room_for(sim->section, part, k, i);
        if (panels)
            time = fmax(time, df_given(sim, part->give[k], panels - 1));
    }
    return time;
}
/* Puts an actor in the heap, if its next firing has a time. */
static inline void df_wake(DfSim *sim, size_t actor) {
    if (sim->queued[actor] || sim->next[actor] >= sim->firings) return;
    const double free_at = sim->time[sim->section->actor[actor].tile];
    const double time = fmax(df_data_at(sim, actor), df_room_at(sim, actor));
    if (time == INFINITY) return;
    sim->queued[actor] = true;
    df_ready_at(sim, actor, fmax(time, free_at));
}
/* The same of all actors of a part. */
static inline void df_wake_part(DfSim *sim, const DfPart *part) {
    for (size_t k = 0; k < part->actors; k++) df_wake(sim, part->actor + k);
}
/* Whether a part waits for part s, for data or for room. */
static inline bool df_touches(const DfPart *part, size_t s) {
    for (size_t k = 0; k < part->needs; k++)
        if (part->need[k] == s) return true;
    for (size_t k = 0; k < part->gives; k++)
        if (part->give[k] == s) return true;
    return false;
}
/* Cycles of an actor's firing i; adds what it does to the clock. */
static inline double df_cost(DfSim *sim, const DfActor *actor, size_t i) {
    const DfPart *part = &sim->section->part[actor->part];
    const size_t first = i * sim->section->span;
    const size_t panels = sim->stream->panels;
    const size_t end = size_min(first + sim->section->span, panels);
    const double line = LINE * (double)sim->chip->element;
    DfWork sum = {0};
    for (size_t n = first; n < end; n++) {
        const DfPanel panel = df_panel(sim->stream, n);
        const DfWork work = df_firing(sim->graph, &part->s, actor->u0,
                                      actor->u1, panel.first, panel.groups);
        sum.flops += work.flops;
        sum.gathered += work.gathered;
        sum.moved += work.moved;
    }
    sim->clock.flops += sum.flops;
    sim->clock.gathered += sum.gathered * line;
    sim->clock.on_chip += (sum.gathered + sum.moved) * line;
    return df_cycles(sim->chip, &sum);
}
/* The next firing of actor `number`, from that time on:
 *     1  how long it takes, and how long its tile waited for it, and why: until
 *        the data was there for data, and from then on for room
 *     2  its tile is busy so long
 *     3  if its tile was the last to give the panel, who waited for it wakes */
static inline void df_sim_fire(DfSim *sim, size_t number, double from) {
    const DfSection *section = sim->section;
    const DfActor *actor = &section->actor[number];
    const DfPart *part = &section->part[actor->part];
    const size_t i = sim->next[number];
    const size_t at = i * section->parts + actor->part;
    double *time = &sim->time[actor->tile];

    const double data = df_data_at(sim, number);
    const double room = df_room_at(sim, number);
    const double cost = df_cost(sim, actor, i);
    sim->clock.data_wait += fmax(0, fmin(data, from) - *time);
    sim->clock.credit_wait += fmax(0, fmin(room, from) - fmax(*time, data));

    *time = from + cost;
    sim->busy[actor->tile] += cost;
    sim->clock.cycles = fmax(sim->clock.cycles, *time);
    if (sim->seen) sim->seen(sim->owner, section, number, i, from, *time);
    sim->next[number] += part->replicas;

    sim->last[at] = fmax(sim->last[at], *time);
    sim->fired[at]++;
    df_wake(sim, number);
    if (sim->fired[at] < df_replica_actors(part)) return;
    for (size_t s = 0; s < section->parts; s++)
        if (df_touches(&section->part[s], actor->part))
            df_wake_part(sim, &section->part[s]);
}
/* The pipeline of a section over a stream: its cycles, waits and traffic on
 * chip. */
static inline DfClock df_pipeline(const DfGraph *graph, const DfPlan *plan,
                                  const DfSection *section,
                                  const DfStream *stream, DfSeen *seen,
                                  void *owner) {
    const size_t firings = df_firings(section, stream->panels);
    const size_t tiles = plan->chip.tiles;
    DfSim sim = {.graph = graph, .chip = &plan->chip, .section = section,
                 .stream = stream, .firings = firings, .seen = seen,
                 .owner = owner};
    sim.last = mem_new(size_mul(section->parts, firings), sizeof *sim.last);
    sim.fired = mem_new(size_mul(section->parts, firings), sizeof *sim.fired);
    sim.time = mem_new(tiles, sizeof *sim.time);
    sim.busy = mem_new(tiles, sizeof *sim.busy);
    sim.next = mem_new(section->actors, sizeof *sim.next);
    for (size_t k = 0; k < section->actors; k++)
        sim.next[k] = section->actor[k].replica;
    sim.queued = mem_new(section->actors, sizeof *sim.queued);
    for (size_t s = 0; s < section->parts; s++)
        df_wake_part(&sim, &section->part[s]);
    while (sim.ready.n) {
        const HeapItem item = heap_pop(&sim.ready);
        const size_t actor = (uint32_t)item.minor;
        const double free_at = sim.time[section->actor[actor].tile];
        double time;
        memcpy(&time, &item.major, sizeof time);
        if (free_at > time) {           /* another was before it on its tile */
            df_ready_at(&sim, actor, free_at);
            continue;
        }
        sim.queued[actor] = false;
        df_sim_fire(&sim, actor, time);
    }
    for (size_t k = 0; k < tiles; k++)
        sim.clock.compute = fmax(sim.clock.compute, sim.busy[k]);
    sim.clock.data_wait /= (double)size_max(section->tiles, 1);
    sim.clock.credit_wait /= (double)size_max(section->tiles, 1);
    free(sim.last);
    free(sim.fired);
    free(sim.time);
    free(sim.busy);
    free(sim.next);
    free(sim.queued);
    free(sim.ready.item);
    return sim.clock;
}

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
    clock->seconds = fmax(pipeline, memory) + unhidden;
    clock->bound = memory > pipeline ? "memory" : "compute";
    clock->utilisation = clock->flops / (df_rate(chip) * clock->seconds);
}
/* Whether the weights of section n come while the one before it runs: there are
 * tiles for both, if they were dealt to different ones. */
static inline bool df_preloads(const DfPlan *plan, size_t n) {
    const DfSection *section = plan->section;
    return n > 0 &&
           section[n - 1].tiles + section[n].tiles <= plan->chip.tiles;
}
/* The n-th section of a plan over a stream; seen, or NULL, is told of every
 * firing. Weights that come while the section before runs still take the
 * memory's time: they count with this section's traffic. */
static inline DfClock df_clock(const DfGraph *graph, const DfPlan *plan,
                               size_t n, const DfStream *stream, DfSeen *seen,
                               void *owner) {
    const DfChip *chip = &plan->chip;
    const DfSection *section = &plan->section[n];
    DfClock clock = df_pipeline(graph, plan, section, stream, seen, owner);
    const DfTraffic traffic = df_traffic(graph, plan, section, stream->panels,
                                         df_stream_groups(stream));
    clock.weights = traffic.weights;
    clock.grads = traffic.grads;
    clock.in = traffic.in;
    clock.out = traffic.out;
    clock.random = traffic.random;
    double bytes = clock.in + clock.out + clock.grads;
    double load = 0;
    if (section->streamed) bytes += clock.weights;
    else load = clock.weights / chip->memory;
    clock.load = df_preloads(plan, n) ? 0 : load;
    const double memory = bytes / chip->memory + clock.random / chip->random;
    df_time(&clock, chip, memory + load - clock.load, clock.load);
    if (!strcmp(clock.bound, "compute") && clock.compute < 0.5 * clock.cycles)
        clock.bound = "pipeline";       /* even the busiest tile mostly waits */
    return clock;
}

/* All sections of a plan over so many sequences, into clock[sections]. A
 * section like one before it takes the same time. */
static inline void df_clock_plan(const DfGraph *graph, const DfPlan *plan,
                                 size_t sequences, DfClock *clock) {
    for (size_t n = 0; n < plan->sections; n++) {
        const DfSection *section = &plan->section[n];
        size_t like = 0;
        while (like < n && (plan->section[like].sign != section->sign ||
                            df_preloads(plan, like) != df_preloads(plan, n)))
            like++;
        const DfStream stream = df_stream(graph, section->first, sequences,
                                          graph->groups, plan->groups);
        clock[n] = like < n ? clock[like]
                            : df_clock(graph, plan, n, &stream, NULL, NULL);
    }
}

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
    double cycles = 0;
    for (size_t i = 0; i < stream->panels; i++) {
        const DfPanel panel = df_panel(stream, i);
        const DfWork work = df_firing(graph, stage, 0, most, panel.first, panel.groups);
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
            longest = fmax(longest, each);
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
        clock.flops += df_flops(stage, 0, stage->units, panel.first,
                                panel.groups);
    }
    clock.cycles = df_waves(graph, chip, stage, stream);
    clock.compute = clock.cycles;
    const double bytes = clock.in + clock.out + clock.weights + clock.grads;
    df_time(&clock, chip, bytes / chip->memory + clock.random / chip->random,
            stage->joins ? 0 : chip->launch);
    return clock;
}
/* Seconds that no schedule of the chip goes below, for so much arithmetic and
 * traffic: all tiles busy all the time, or the memory. */
static inline double df_bound(const DfChip *chip, const DfClock *clock) {
    const double bytes = clock->weights + clock->grads + clock->in + clock->out;
    return fmax(clock->flops / df_rate(chip),
                bytes / chip->memory + clock->random / chip->random);
}
/* Bytes off chip. */
static inline double df_off_chip(const DfClock *clock) {
    return clock->weights + clock->grads + clock->in + clock->out +
           clock->random;
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

/* A whole graph a stage at a time over so many sequences, in panels of
 * `groups`. What only copies is not needed: off chip its input is still there.
 */
static inline DfClock df_clock_kernels(const DfGraph *graph, const DfChip *chip,
                                       size_t sequences, size_t groups) {
    DfClock sum = {0};
    for (size_t s = 0; s < graph->stages; s++) {
        if (graph->stage[s].copies) continue;
        const DfStage stage = df_kernel_stage(graph, &graph->stage[s]);
        const DfStream stream =
            df_stream(graph, s, sequences, graph->groups, groups);
        const DfClock clock = df_clock_kernel(graph, chip, &stage, &stream);
        df_clock_add(&sum, &clock);
    }
    return sum;
}

/* The share of a memory's throughput that `lanes` reads at random get from so
 * many banks, 64 at most, when all wait for the fullest: 1 / E[most in a bank],
 * by drawing. 16 into 16: 0.325. A whole line across all banks: 1. */
static inline double df_bank_share(size_t lanes, size_t banks, size_t draws) {
    double sum = 0;
    for (size_t draw = 0; draw < draws; draw++) {
        size_t full[64] = {0};
        size_t most = 0;
        for (size_t lane = 0; lane < lanes; lane++) {
            const uint64_t drawn = rng_u64(77, draw * lanes + lane);
            const size_t bank = drawn % size_min(banks, 64);
            full[bank]++;
            most = size_max(most, full[bank]);
        }
        sum += (double)most;
    }
    return (double)draws / sum;
}
#endif
