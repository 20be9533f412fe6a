/* clock.h: how long the chip would take: simulated cycles, with no data.
 *
 * It knows nothing of GPT, and nothing of the host enters, so the numbers are
 * the same on any of them. It goes by events: every tile has a time, every
 * panel the time at which a part gave it. A firing is ready when its inputs
 * have come and its output has room. Of the firings that are ready when a tile
 * is free it takes that of the last part, as the workers do; if none is, it
 * takes the first that will be. A firing takes the longer of its arithmetic and
 * its traffic on chip. Off-chip traffic is charged to the section as a whole, at
 * streaming or random rate: the section takes the longer of that and of its
 * pipeline. Its weights come before it, unless the chip had room for them while
 * the section before ran.
 *
 * What it cannot see: contention in the fabric, bank conflicts (a gathered line
 * lies across all banks, so there are none; see df_bank_share), refresh, and
 * bursts of off-chip traffic. Such models are optimistic. Where replicas give a
 * later panel before an earlier one, whoever wants the later takes it at once;
 * the workers' counters (df_done) know only panels in order, and wait.
 *
 *     df_alike          tiles that do the same at the same time: one of each
 *                       kind is simulated
 *     df_sim            a section's pipeline, panel by panel
 *     df_clock          cycles, waits and bytes of a section of a plan; of one
 *                       that is kernels as kernel.h says
 *
 * Example: the picture at the head of dataflow.h is what df_clock tells of its
 * three stages; a test draws it. */
#ifndef CLOCK_H
#define CLOCK_H
#include "plan.h"

/* Is told of firing i of an actor: from when to when, in cycles. */
typedef void DfSeen(void *owner, const DfSection *section, size_t actor,
                    size_t i, double from, double to);

/* ---- tiles alike --------------------------------------------------------- *
 * Who waits for a part waits for all of its tiles, so tiles that have the same
 * to do do it at the same time, and of each kind of tile one is simulated. Its
 * actors lead; those of the others are told of when their leader fires. */

static inline uint64_t df_mix(uint64_t sign, uint64_t value) {
    return rng_u64(sign, value);
}
typedef struct {
    size_t *times;          /* [actors] so many are like a leader, itself one of
                             * them; 0: it does not lead */
    size_t *like;           /* [actors] the next one like it, or DF_NOBODY */
    size_t *leader;         /* all leaders, part by part */
    size_t *begin;          /* [parts + 1] where those of a part begin */
} DfAlike;

typedef struct {            /* a tile and, in short, what it has to do */
    uint64_t sign;
    size_t tile;
    size_t first;           /* its first actor; DF_NOBODY: it has none */
} DfKind;

static inline int df_kind_order(const void *one, const void *other) {
    const DfKind *a = one;
    const DfKind *b = other;
    if (a->sign != b->sign) return a->sign < b->sign ? -1 : 1;
    return a->tile < b->tile ? -1 : a->tile > b->tile;
}
/* All tiles of a section, those alike together; next[actors] gets of each actor
 * the next of its tile, or DF_NOBODY. To be freed. */
static inline DfKind *df_kinds(const DfSection *section, size_t tiles,
                               size_t *next) {
    DfKind *kind = mem_new(tiles, sizeof *kind);
    for (size_t k = 0; k < tiles; k++)
        kind[k] = (DfKind){0, k, DF_NOBODY};
    for (size_t k = section->actors; k-- > 0;) {
        const DfActor *actor = &section->actor[k];
        const DfStage *stage = &section->part[actor->part].s;
        DfKind *of = &kind[actor->tile];
        const size_t lines = (size_t)df_lines(stage, actor->u0, actor->u1);
        of->sign = df_mix(of->sign, actor->part << 20 | actor->replica);
        of->sign = df_mix(of->sign, actor->u1 - actor->u0);
        of->sign = df_mix(of->sign, lines);
        next[k] = of->first;
        of->first = k;
    }
    qsort(kind, tiles, sizeof *kind, df_kind_order);
    return kind;
}
static inline DfAlike df_alike(const DfSection *section, size_t tiles) {
    DfAlike alike = {mem_new(section->actors, sizeof(size_t)),
                     mem_new(section->actors, sizeof(size_t)),
                     mem_new(section->actors, sizeof(size_t)),
                     mem_new(section->parts + 1, sizeof(size_t))};
    size_t *next = mem_new(section->actors, sizeof *next);
    DfKind *kind = df_kinds(section, tiles, next);
    const DfKind *leads = kind;
    for (size_t k = 0; k < tiles; k++) {
        if (kind[k].sign != leads->sign) leads = &kind[k];
        size_t leader = leads->first;
        for (size_t a = kind[k].first; a != DF_NOBODY; a = next[a]) {
            alike.times[leader]++;
            alike.like[a] = a == leader ? DF_NOBODY : alike.like[leader];
            if (a != leader) alike.like[leader] = a;
            leader = next[leader];
        }
    }
    size_t n = 0;
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        alike.begin[s] = n;
        for (size_t k = part->actor; k < part->actor + part->actors; k++) {
            if (!alike.times[k]) continue;
            alike.leader[n] = k;
            n++;
        }
    }
    alike.begin[section->parts] = n;
    free(next);
    free(kind);
    return alike;
}
static inline void df_alike_free(DfAlike *alike) {
    free(alike->times);
    free(alike->like);
    free(alike->leader);
    free(alike->begin);
}

/* ---- a section's pipeline ------------------------------------------------ */

/* A section's pipeline while it is simulated. */
typedef struct {
    const DfGraph *graph;
    const DfChip *chip;
    const DfSection *section;
    const DfStream *stream;
    DfAlike alike;
    size_t *wait;                   /* parts that wait for part s, for data or for
                                     * room: wait[begin[s]] .. */
    size_t *begin;                  /* [parts + 1] */
    DfSeen *seen;                   /* NULL: nobody wants to know */
    void *owner;                    /* of seen */
    size_t firings;                 /* of a part */
    double *last;                   /* [firings][parts] when the last of a part's
                                     * tiles so far gave its output */
    uint32_t *fired;                /* [firings][parts] how many did */
    double *time;                   /* [tiles] until when a tile is busy */
    double *busy;                   /* [tiles] cycles of work */
    double *turn;                   /* [tiles] when it fires next, as far as is
                                     * known; INFINITY: it is not */
    size_t *queue;                  /* [tiles] one of its actors whose next firing
                                     * has a time, or DF_NOBODY */
    size_t *behind;                 /* [actors] the next one in its tile's queue */
    double *ready;                  /* [actors] that time; INFINITY: it is in no
                                     * queue */
    size_t *next;                   /* [actors] firing */
    Heap turns;                     /* tiles, the earliest first; of one that came
                                     * to be earlier the later ones count nothing */
    DfClock clock;
} DfSim;

/* A tile fires at that time, if not before. A time is not below 0, so its bits
 * have its order. */
static inline void df_take_turn(DfSim *sim, size_t tile, double time) {
    uint64_t bits;
    if (time >= sim->turn[tile]) return;
    sim->turn[tile] = time;
    memcpy(&bits, &time, sizeof bits);
    heap_push(&sim->turns, bits, tile);
}
/* When the last tile of part s gave panel i; INFINITY if it has not yet. */
static inline double df_given(const DfSim *sim, size_t s, size_t i) {
    const size_t at = i * sim->section->parts + s;
    const DfPart *part = &sim->section->part[s];
    if (sim->fired[at] < df_replica_actors(part)) return INFINITY;
    return sim->last[at];
}
/* When firing i of a part has its inputs; INFINITY if not known yet. It asks for
 * the last panel that the lag wants; where parts fire in order that is the latest. */
static inline double df_data_at(const DfSim *sim, const DfPart *part, size_t i) {
    const size_t last = size_min(i + part->s.lag, sim->firings - 1);
    double time = 0;
    for (size_t k = 0; k < part->needs; k++)
        time = df_later(time, df_given(sim, part->need[k], last));
    return time;
}
/* When it has room for its outputs; INFINITY if not known yet. */
static inline double df_room_at(const DfSim *sim, const DfPart *part, size_t i) {
    double time = 0;
    for (size_t k = 0; k < part->gives; k++) {
        const size_t panels = df_room_for(sim->section, part, k, i);
        if (panels)
            time = df_later(time, df_given(sim, part->give[k], panels - 1));
    }
    return time;
}
/* When it is ready. */
static inline double df_ready(const DfSim *sim, const DfPart *part, size_t i) {
    return df_later(df_data_at(sim, part, i), df_room_at(sim, part, i));
}
/* Puts an actor in its tile's queue whose next firing is ready at that time, if
 * that is known and the actor is not there yet. */
static inline void df_wake(DfSim *sim, size_t actor, double time) {
    const size_t tile = sim->section->actor[actor].tile;
    if (sim->ready[actor] < INFINITY || time == INFINITY) return;
    sim->ready[actor] = time;
    sim->behind[actor] = sim->queue[tile];
    sim->queue[tile] = actor;
    df_take_turn(sim, tile, df_later(time, sim->time[tile]));
}
/* Takes out of a tile's queue, of those who are ready at that time, the one of the
 * last part. */
static inline size_t df_unqueue(DfSim *sim, size_t tile, double time) {
    size_t *best = NULL;
    size_t *at = &sim->queue[tile];
    for (; *at != DF_NOBODY; at = &sim->behind[*at])
        if (sim->ready[*at] <= time && (!best || *at > *best)) best = at;
    const size_t actor = *best;
    *best = sim->behind[actor];
    sim->ready[actor] = INFINITY;
    return actor;
}
/* df_wake for all leaders of part s, most of which are at the same firing. */
static inline void df_wake_part(DfSim *sim, size_t s) {
    const size_t *begin = sim->alike.begin;
    size_t i = SIZE_MAX;
    double time = INFINITY;
    for (size_t k = begin[s]; k < begin[s + 1]; k++) {
        const size_t actor = sim->alike.leader[k];
        const size_t next = sim->next[actor];
        if (sim->ready[actor] < INFINITY || next >= sim->firings) continue;
        if (next != i) time = df_ready(sim, &sim->section->part[s], next);
        i = next;
        df_wake(sim, actor, time);
    }
}
/* Whether a part waits for part s, for data or for room. */
static inline bool df_touches(const DfPart *part, size_t s) {
    for (size_t k = 0; k < part->needs; k++)
        if (part->need[k] == s) return true;
    for (size_t k = 0; k < part->gives; k++)
        if (part->give[k] == s) return true;
    return false;
}
/* Cycles of firing i of an actor, one of so many; adds what they do to the
 * clock. */
static inline double df_cost(DfSim *sim, const DfActor *actor, size_t i,
                             double times) {
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
    sim->clock.flops += times * sum.flops;
    sim->clock.gathered += times * sum.gathered * line;
    sim->clock.on_chip += times * (sum.gathered + sum.moved) * line;
    return df_cycles(sim->chip, &sum);
}
/* Tells of firing i of a leader and of all that are like it. */
static inline void df_tell(const DfSim *sim, size_t leader, size_t i, double from,
                           double to) {
    const size_t *like = sim->alike.like;
    for (size_t k = leader; k != DF_NOBODY; k = like[k])
        sim->seen(sim->owner, sim->section, k, i, from, to);
}
/* The next firing of leader `number`, and of those like it, from that time on:
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
    const size_t alike = sim->alike.times[number];
    const double times = (double)alike;

    const double data = df_data_at(sim, part, i);
    const double room = df_room_at(sim, part, i);
    const double cost = df_cost(sim, actor, i, times);
    sim->clock.data_wait += times * df_later(0, df_sooner(data, from) - *time);
    sim->clock.credit_wait +=
        times * df_later(0, df_sooner(room, from) - df_later(*time, data));

    *time = from + cost;
    sim->busy[actor->tile] += cost;
    sim->clock.cycles = df_later(sim->clock.cycles, *time);
    if (sim->seen) df_tell(sim, number, i, from, *time);
    sim->next[number] += part->replicas;

    sim->last[at] = df_later(sim->last[at], *time);
    sim->fired[at] += (uint32_t)alike;
    if (sim->next[number] < sim->firings)
        df_wake(sim, number, df_ready(sim, part, sim->next[number]));
    if (sim->fired[at] < df_replica_actors(part)) return;
    const size_t end = sim->begin[actor->part + 1];
    for (size_t k = sim->begin[actor->part]; k < end; k++)
        df_wake_part(sim, sim->wait[k]);
}
/* Fills the lists of who waits for whom. */
static inline void df_find_waits(DfSim *sim) {
    const size_t parts = sim->section->parts;
    size_t n = 0;
    sim->wait = mem_new(2 * DF_DEPS * parts, sizeof *sim->wait);
    sim->begin = mem_new(parts + 1, sizeof *sim->begin);
    for (size_t s = 0; s < parts; s++) {
        for (size_t p = 0; p < parts; p++) {
            if (!df_touches(&sim->section->part[p], s)) continue;
            sim->wait[n] = p;
            n++;
        }
        sim->begin[s + 1] = n;
    }
}
/* A section's pipeline over a stream, from its first panel to its last; seen, or
 * NULL, is told of every firing. Freed with df_sim_free. */
static inline DfSim df_sim(const DfGraph *graph, const DfPlan *plan,
                           const DfSection *section, const DfStream *stream,
                           DfSeen *seen, void *owner) {
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
    sim.turn = mem_new(tiles, sizeof *sim.turn);
    sim.queue = mem_new(tiles, sizeof *sim.queue);
    sim.behind = mem_new(section->actors, sizeof *sim.behind);
    sim.ready = mem_new(section->actors, sizeof *sim.ready);
    for (size_t k = 0; k < section->actors; k++) sim.ready[k] = INFINITY;
    for (size_t k = 0; k < tiles; k++) {
        sim.turn[k] = INFINITY;
        sim.queue[k] = DF_NOBODY;
    }
    sim.alike = df_alike(section, tiles);
    df_find_waits(&sim);
    for (size_t s = 0; s < section->parts; s++) df_wake_part(&sim, s);
    while (sim.turns.n) {
        const HeapItem item = heap_pop(&sim.turns);
        const size_t tile = item.minor;
        double time;
        memcpy(&time, &item.major, sizeof time);
        if (time != sim.turn[tile]) continue;
        sim.turn[tile] = INFINITY;
        df_sim_fire(&sim, df_unqueue(&sim, tile, time), time);
        size_t actor = sim.queue[tile];
        for (; actor != DF_NOBODY; actor = sim.behind[actor])
            df_take_turn(&sim, tile, df_later(sim.ready[actor], sim.time[tile]));
    }
    for (size_t k = 0; k < tiles; k++)
        sim.clock.compute = df_later(sim.clock.compute, sim.busy[k]);
    sim.clock.data_wait /= (double)size_max(section->tiles, 1);
    sim.clock.credit_wait /= (double)size_max(section->tiles, 1);
    return sim;
}
static inline void df_sim_free(DfSim *sim) {
    free(sim->last);
    free(sim->fired);
    free(sim->time);
    free(sim->busy);
    free(sim->next);
    free(sim->turn);
    free(sim->queue);
    free(sim->behind);
    free(sim->ready);
    free(sim->turns.item);
    free(sim->wait);
    free(sim->begin);
    df_alike_free(&sim->alike);
}

/* Adds to what a section's pipeline takes the traffic off chip. hidden: its
 * weights come while the section before it runs. They still take the memory's
 * time then: they count with this section's traffic. */
static inline void df_add_traffic(const DfGraph *graph, const DfPlan *plan,
                                  const DfSection *section, bool hidden,
                                  const DfStream *stream, DfClock *clock) {
    const DfChip *chip = &plan->chip;
    const DfTraffic traffic = df_traffic(graph, plan, section, stream->panels,
                                         df_stream_groups(stream));
    clock->weights = traffic.weights;
    clock->grads = traffic.grads;
    clock->in = traffic.in;
    clock->out = traffic.out;
    clock->random = traffic.random;
    if (!section->streamed && !hidden) clock->load = clock->weights / chip->memory;
    df_time(clock, chip, df_carried(chip, clock) - clock->load, clock->load);
}
/* Whether the weights of section n come while the one before it runs: there are
 * tiles for both, if they were dealt to different ones. */
static inline bool df_preloads(const DfPlan *plan, size_t n) {
    const DfSection *section = plan->section;
    return n > 0 &&
           section[n - 1].tiles + section[n].tiles <= plan->chip.tiles;
}
/* The n-th section of a plan over a stream; seen, or NULL, is told of every
 * firing. */
static inline DfClock df_clock(const DfGraph *graph, const DfPlan *plan,
                               size_t n, const DfStream *stream, DfSeen *seen,
                               void *owner) {
    const DfSection *section = &plan->section[n];
    if (section->mode == DF_ALONE) {
        const size_t sequences = stream->panels / stream->per_sequence;
        DfClock kernels = df_clock_kernels(graph, &plan->chip, section->first,
                                           df_section_end(section), sequences,
                                           stream->groups);
        kernels.bound = "kernel";
        return kernels;
    }
    DfSim sim = df_sim(graph, plan, section, stream, seen, owner);
    DfClock clock = sim.clock;
    df_sim_free(&sim);
    df_add_traffic(graph, plan, section, df_preloads(plan, n), stream, &clock);
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
