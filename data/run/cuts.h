/* cuts.h: which stages of a graph are on a chip together: the sections with which
 * the whole step is shortest.
 *
 *     df_true          what a section takes that plan.h deals out, by clock.h
 *     df_alone         what a stage takes by itself, by kernel.h
 *     df_choose        of all sections that may begin with a stage the best
 *     df_use_less      the same for less of the chip, if that turns out faster
 *     df_plan          the graph cut into sections, each placed
 *
 * It knows nothing of GPT, needs no data, and never changes a bit of a result.
 *
 * The cuts are found from the graph's end. time(s), the least from stage s on, is
 * the least of takes(s, e) + time(e) over all e where a section that begins with s
 * may end. What it takes is guessed, which is quick and mostly too little; what
 * looks best so is dealt out and simulated. Where a plan may have kernels, a section
 * may be a stage by itself on all tiles; then no plan is slower than a kernel at a
 * time. A kernel is taken as ideal, what streams is charged with all its waits. A
 * plan that workers are to run has no kernels, and goes by guesses made for workers.
 * The search is no proof: with more tiles, or more memory, it may go another way and end
 * worse. But a plan for less of a chip is a plan for all of it too: so the same is found
 * for half, and half of that, and the fastest is kept.
 *
 * Example: 40 layers have 700 places for a cut; where a section holds 3 layers at
 * most, that makes some 20,000 guesses, of which some hundred differ. */
#ifndef CUTS_H
#define CUTS_H
#include "clock.h"

/* ---- sections alike ------------------------------------------------------ *
 * The layers of a large model are alike, so most sections are like one that was
 * looked at before. A stage's sign says what it is. A section's sign is made of these, and
 * of who in it makes and reads what; sections of one sign take the same time. */

enum { DF_FAR = 128 };      /* stages of a section at most */

static inline uint64_t df_mix_real(uint64_t sign, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return df_mix(sign, bits);
}
/* What an edge is by itself. */
static inline uint64_t df_edge_sign(const DfEdge *edge) {
    return df_mix(edge->rows,
                  edge->kept + 2 * (edge->base != DF_NONE) + 4 * edge->inner);
}
/* What a stage is by itself. */
static inline uint64_t df_stage_sign(const DfStage *stage) {
    const double value[] = {
        (double)stage->lag, (double)stage->units, (double)stage->sums,
        (double)stage->state, (double)stage->recalls, (double)stage->scratch,
        (double)stage->together, (double)stage->whole, stage->per_line,
        stage->per_unit, stage->per_pair, stage->recalled, stage->reads,
        stage->writes, stage->random, stage->weights, stage->grads,
        stage->gather, stage->scatter, stage->replicable, stage->copies,
        stage->joins};
    uint64_t sign = 0;
    for (size_t k = 0; k < sizeof value / sizeof *value; k++)
        sign = df_mix_real(sign, value[k]);
    for (size_t u = 0; stage->lines && u <= stage->units; u++)
        sign = df_mix(sign, stage->lines[u] - stage->lines[0]);
    return sign;
}
/* The stages of a graph: what each is; and of each thing that it reads, which stage made
 * it and which read it last before. These are counted from 1 on; 0: none. */
typedef struct {
    uint64_t *sign;         /* [stages] */
    size_t *made;           /* [stages][DF_INS] */
    size_t *read;           /* [stages][DF_INS] */
} DfSigns;

static inline DfSigns df_signs(const DfGraph *graph) {
    DfSigns signs = {mem_new(graph->stages, sizeof *signs.sign),
                     mem_new(graph->stages, DF_INS * sizeof *signs.made),
                     mem_new(graph->stages, DF_INS * sizeof *signs.read)};
    size_t *made = mem_new(graph->edges, sizeof *made);
    size_t *read = mem_new(graph->edges, sizeof *read);
    for (size_t s = 0; s < graph->stages; s++) {
        const DfStage *stage = &graph->stage[s];
        uint64_t sign = df_mix(df_stage_sign(stage), s < graph->forward);
        for (size_t k = 0; k < DF_INS; k++) {
            const int e = stage->in[k];
            if (e == DF_NONE) continue;
            sign = df_mix(sign, df_edge_sign(&graph->edge[e]));
            signs.made[DF_INS * s + k] = made[e];
            signs.read[DF_INS * s + k] = read[e];
            read[e] = s + 1;
        }
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = stage->out[k];
            if (e == DF_NONE) continue;
            sign = df_mix(sign, df_edge_sign(&graph->edge[e]));
            made[e] = s + 1;
        }
        signs.sign[s] = sign;
    }
    free(made);
    free(read);
    return signs;
}
static inline void df_signs_free(DfSigns *signs) {
    free(signs->sign);
    free(signs->made);
    free(signs->read);
}
/* The sign of stages first .. end-1 as a section, after that of what is remembered of
 * them. Who makes what they read, and who reads what they make, matters only if it is one
 * of them: how far away it is then. */
static inline uint64_t df_range_sign(const DfGraph *graph, const DfPlan *plan,
                                     const DfSigns *signs, uint64_t sign, size_t first,
                                     size_t end) {
    for (size_t s = first; s < end; s++) {
        const size_t *made = &signs->made[DF_INS * s];
        const size_t *read = &signs->read[DF_INS * s];
        sign = df_mix(sign, signs->sign[s]);
        for (int k = 0; k < DF_INS; k++) {
            if (graph->stage[s].in[k] == DF_NONE) continue;
            const uint64_t maker = made[k] > first ? s + 1 - made[k] : 0;
            const uint64_t reader = read[k] > first ? s + 1 - read[k] : 0;
            sign = df_mix(sign, maker << 32 | reader);
        }
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = graph->stage[s].out[k];
            if (e == DF_NONE) continue;
            const DfReads *reads = &plan->reads[e];
            sign = df_mix(sign, reads->any && (reads->first < first || reads->last >= end));
        }
    }
    return sign | 1;                            /* 0 is nothing */
}

/* A section as it may be: where it ends, how it uses the chip, and the seconds
 * it will take. */
typedef struct {
    size_t end;
    int mode;
    size_t span;
    double share;
    bool replicate;         /* with replicas */
    double seconds;         /* INFINITY: it does not fit */
} DfChoice;

/* What was found out of sections, by their signs. */
typedef struct {
    uint64_t sign;          /* 0: nothing */
    DfChoice choice;        /* all of it but where it ends */
    bool simulated;         /* its seconds are no guess */
} DfKnown;

/* A hash table of these, never more than half full; a sign's place is the first
 * free one from its last bits on. */
typedef struct {
    DfKnown *known;         /* [1 << bits] */
    size_t n;               /* in use */
    int bits;
} DfMemory;

/* What is known of a sign; of one without a sign yet: nothing. */
static inline DfKnown *df_known(const DfMemory *memory, uint64_t sign) {
    const size_t mask = ((size_t)1 << memory->bits) - 1;
    size_t at = sign & mask;
    while (memory->known[at].sign && memory->known[at].sign != sign)
        at = (at + 1) & mask;
    return &memory->known[at];
}
/* Where to write what is known of a section that is not there yet. */
static inline DfKnown *df_learn(DfMemory *memory, uint64_t sign) {
    if (2 * memory->n >= (size_t)1 << memory->bits) {
        const DfMemory old = *memory;
        const size_t size = (size_t)2 << old.bits;
        memory->bits++;
        memory->known = mem_new(size, sizeof *memory->known);
        for (size_t k = 0; k < size / 2; k++)
            if (old.known[k].sign)
                *df_known(memory, old.known[k].sign) = old.known[k];
        free(old.known);
    }
    memory->n++;
    DfKnown *known = df_known(memory, sign);
    known->sign = sign;
    return known;
}

/* ---- the cuts ------------------------------------------------------------ */

/* Shares of a tile's work that a part is cut into at most: the coarsest first.
 * At 0 a part is cut as far as it can be, over all tiles. */
enum { DF_SHARES = 4 };
static const double df_shares[DF_SHARES] = {1, 0.5, 0.25, 0};

/* A plan while it is made. */
typedef struct {
    const DfGraph *graph;
    const DfPlan *plan;
    size_t panels;          /* of the stream */
    size_t sequences;       /* that these are */
    DfSigns signs;
    double *left;           /* [stages + 1] the least seconds from a stage to the
                             * end; INFINITY where the graph may not be cut */
    double guessed, took;   /* seconds of all sections that were simulated: as
                             * guessed; as simulated */
    size_t firings;         /* simulated so far, of tiles alike those of one */
    DfMemory memory;
} DfSearch;

/* What is remembered of a section: a guess; what it takes once it is dealt out;
 * and the same of one that cannot be cut. */
enum { DF_GUESS, DF_DEALT, DF_UNCUT };

/* The sign of that, of stages first .. end-1. */
static inline uint64_t df_sign(const DfSearch *search, uint64_t what, size_t first,
                               size_t end) {
    return df_range_sign(search->graph, search->plan, &search->signs, what, first, end);
}

/* A section dealt out by the share that a choice has, which is *best then if that is
 * faster; what is hardly faster does not count. */
static inline void df_try_share(const DfGraph *graph, const DfPlan *plan,
                                DfSection *section, DfChoice choice, size_t panels,
                                DfChoice *best) {
    section->replicate = choice.replicate;
    if (!df_deal(graph, section, plan, choice.share)) return;
    choice.seconds = df_guess(graph, plan, section, section->work, panels);
    if (choice.seconds < 0.98 * best->seconds) *best = choice;
}
/* The best share for stages first .. choice.end-1, by dealing them out, the
 * coarsest first, and whether with replicas. Workers do few large firings
 * faster than many small ones: what they run is cut as coarsely as fits. */
static inline DfChoice df_best_share(const DfGraph *graph, const DfPlan *plan,
                                     size_t first, DfChoice choice,
                                     size_t panels) {
    DfChoice best = choice;
    DfSection section = df_section(graph, plan, first, choice.end, choice.mode,
                                   choice.span);
    best.seconds = INFINITY;
    for (int k = 0; k < DF_SHARES; k++) {
        choice.share = df_shares[k];
        choice.replicate = false;
        df_try_share(graph, plan, &section, choice, panels, &best);
        if (df_for_workers(plan) && best.seconds < INFINITY) break;
        choice.replicate = true;
        df_try_share(graph, plan, &section, choice, panels, &best);
    }
    df_section_free(&section, graph);
    return best;
}
/* Whether stages first .. end-1 fit on the chip together. */
static inline bool df_fits(const DfGraph *graph, const DfPlan *plan,
                           size_t first, size_t end, int mode, size_t span) {
    const DfChoice choice = {.end = end, .mode = mode, .span = span};
    return df_best_share(graph, plan, first, choice, 1).seconds < INFINITY;
}
/* Whether the graph may be cut before stage s: at its end, or where neither s
 * nor a stage after it must be together with one before s. */
static inline bool df_may_cut(const DfGraph *graph, size_t s) {
    for (size_t after = s; after < graph->stages; after++)
        if (graph->stage[after].together > after - s) return false;
    return true;
}
/* The first place after stage s where the graph may be cut. */
static inline size_t df_next_cut(const DfGraph *graph, size_t s) {
    do s++;
    while (!df_may_cut(graph, s));
    return s;
}
/* What would have been enough, for the error: the least multiple of `unit` of
 * *field, which is the memory or the number of tiles of the plan's chip. 0: no
 * number is. */
static inline size_t df_enough(const DfGraph *graph, const DfPlan *plan,
                               size_t *field, size_t unit, size_t first,
                               size_t end) {
    size_t low = *field;
    size_t high = low;
    while (!df_fits(graph, plan, first, end, DF_STREAMED, 1)) {
        if (high > (size_t)1 << 40) return 0;   /* some part cannot be cut so */
        low = high;
        high *= 2;
        *field = high;
    }
    while (high - low > unit) {
        const size_t middle = (low + (high - low) / 2) / unit * unit;
        if (middle <= low) break;
        *field = middle;
        if (df_fits(graph, plan, first, end, DF_STREAMED, 1)) high = middle;
        else low = middle;
    }
    return high;
}
/* Says what stages first .. end-1, which cannot be cut, need, and dies. */
__attribute__((noreturn)) static inline void df_too_small(const DfGraph *graph,
                                                          const DfPlan *plan,
                                                          size_t first,
                                                          size_t end) {
    DfSection section = df_section(graph, plan, first, end, DF_STREAMED, 1);
    size_t need = 0;
    for (size_t s = 0; s < section.parts; s++)
        need += df_cut(graph, &section, &section.part[s], 1, plan);
    df_section_free(&section, graph);
    DfPlan larger = *plan;
    DfPlan wider = *plan;
    const size_t sram = df_enough(graph, &larger, &larger.room,
                                  DF_LINE_BYTES, first, end);
    const size_t tiles = df_enough(graph, &wider, &wider.chip.tiles,
                                   1, first, end);
    char hint[64] = "";
    if (tiles && tiles <= DF_TILES_MOST)
        snprintf(hint, sizeof hint, " or tiles=%zu", tiles);
    die("%s: needs %zu bytes for its streams alone, found %zu tiles of %zu; "
        "sram=%zu%s would do",
        graph->stage[first].name, need, plan->chip.tiles, plan->chip.sram, sram,
        hint);
}

/* How stages first .. end-1, which cannot be cut, fit on the chip, the best
 * first; DF_MODES if in no way. */
static inline int df_mode(const DfGraph *graph, const DfPlan *plan,
                          size_t first, size_t end) {
    for (int mode = DF_RESIDENT; mode <= DF_STREAMED; mode++)
        if (df_fits(graph, plan, first, end, mode, 1)) return mode;
    return DF_MODES;
}
/* Whether every part of the graph that cannot be cut fits in some way. */
static inline bool df_fits_all(const DfGraph *graph, const DfPlan *plan) {
    bool fits = true;
    size_t end;
    for (size_t first = 0; first < graph->stages && fits; first = end) {
        end = df_next_cut(graph, first);
        fits = df_mode(graph, plan, first, end) < DF_MODES;
    }
    return fits;
}
/* Whether a chip can run the graph at all. */
static inline bool df_holds(const DfGraph *graph, DfChip chip, size_t depth,
                            size_t groups) {
    DfPlan plan = {.chip = chip, .room = chip.sram, .depth = depth, .groups = groups};
    plan.reads = df_reads_of(graph);
    const bool holds = df_fits_all(graph, &plan);
    free(plan.reads);
    return holds;
}

/* Whether a section may have so many panels a firing: where a state is read, a
 * firing must not reach into the next sequence. */
static inline bool df_may_span(const DfGraph *graph, const DfPlan *plan,
                               size_t first, size_t end, size_t span) {
    bool recalls = false;
    for (size_t s = first; s < end; s++) recalls |= graph->stage[s].recalls > 0;
    return !recalls || df_per_sequence(graph, plan, 1) % span == 0;
}
/* Panels a firing where weights are streamed, from off chip once a firing: as
 * many as fit, a power of two, but an eighth of the stream's at most, for the
 * stages would else wait for one another. */
static inline size_t df_widest_span(const DfGraph *graph, const DfPlan *plan,
                                    size_t first, size_t end, int mode,
                                    size_t panels) {
    size_t span = 1;
    while (16 * span <= panels &&
           df_may_span(graph, plan, first, end, 2 * span) &&
           df_fits(graph, plan, first, end, mode, 2 * span)) span *= 2;
    return span;
}

/* Seconds of stages first .. end-1 with their weights on the chip, by the best
 * share, with replicas or without, guessed without dealing them out: as if all
 * tiles had equally much to do. INFINITY: they do not fit. */
static inline double df_resident(const DfGraph *graph, const DfPlan *plan,
                                 size_t first, size_t end, size_t panels) {
    const double tiles = (double)plan->chip.tiles;
    double best = INFINITY;
    DfSection section = df_section(graph, plan, first, end, DF_RESIDENT, 1);
    const double mean = section.all / tiles;
    for (int k = 0; k < 2 * DF_SHARES; k++) {
        section.replicate = k % 2;
        if (df_cut_parts(graph, &section, plan, df_shares[k / 2]))
            best = df_sooner(best, df_guess(graph, plan, &section, mean, panels));
        if (df_for_workers(plan) && best < INFINITY) break;
    }
    df_section_free(&section, graph);
    return best;
}
/* Stages first .. choice.end-1 as a section, dealt out as was chosen. */
static inline DfSection df_laid(const DfGraph *graph, const DfPlan *plan,
                                size_t first, const DfChoice *choice) {
    DfSection section = df_section(graph, plan, first, choice->end,
                                   choice->mode, choice->span);
    section.replicate = choice->replicate;
    section.tiles = plan->chip.tiles;
    if (section.mode == DF_ALONE) return section;
    if (!df_deal(graph, &section, plan, choice->share))
        die("%s: was placed once and is not again", graph->stage[first].name);
    df_place_actors(&section);
    return section;
}
/* When all parts have done the n-th sequence. */
static inline double df_sequence_end(const DfSim *sim, size_t n) {
    const size_t parts = sim->section->parts;
    const size_t each = sim->section->per_sequence;
    double end = 0;
    for (size_t at = n * each * parts; at < (n + 1) * each * parts; at++)
        end = df_later(end, sim->last[at]);
    return end;
}
/* So many panels of a long stream are simulated, but at least four sequences. */
enum { DF_LOOK = 128 };

/* Simulated cycles of a section over a stream. Of a long one only the beginning is
 * simulated; each later sequence is taken to last as long as those of the second half
 * of that beginning do in the mean, without the very last, which none follows closely. */
static inline DfClock df_look(DfSearch *search, const DfSection *section,
                              const DfStream *stream) {
    const size_t each = stream->per_sequence;
    const size_t sequences = stream->panels / each;
    size_t look = sequences;
    if (section->span == 1) look = size_min(look, size_max(4, DF_LOOK / each));
    DfStream begin = *stream;
    begin.panels = look * each;
    DfSim sim = df_sim(search->graph, search->plan, section, &begin, NULL, NULL);
    DfClock clock = sim.clock;
    if (look < sequences) {
        const size_t from = look / 2 - 1;
        const size_t to = look - 2;
        const double cycles =
            df_sequence_end(&sim, to) - df_sequence_end(&sim, from);
        clock.cycles += (double)(sequences - look) * cycles / (double)(to - from);
    }
    search->firings += sim.firings * sim.alike.begin[section->parts];
    df_sim_free(&sim);
    return clock;
}
/* Firings that are simulated for a plan at most, some seconds of the host. */
static const size_t DF_SIM_MOST = 8000000;

/* What was chosen by guessing, with the seconds that it takes: simulated, unless
 * it is for workers; after too many firings guessed, and longer by as much as
 * those before were. */
static inline DfChoice df_true(DfSearch *search, size_t first, DfChoice choice) {
    const DfGraph *graph = search->graph;
    const DfPlan *plan = search->plan;
    if (df_for_workers(plan) || choice.seconds == INFINITY) return choice;
    if (search->firings > DF_SIM_MOST) {
        choice.seconds *= search->took / search->guessed;
        return choice;
    }
    DfSection section = df_laid(graph, plan, first, &choice);
    const DfStream stream = df_stream(graph, first, search->sequences,
                                      graph->groups, plan->groups);
    DfClock clock = df_look(search, &section, &stream);
    df_add_traffic(graph, plan, &section, false, &stream, &clock);
    df_section_free(&section, graph);
    search->guessed += choice.seconds;
    search->took += clock.seconds;
    choice.seconds = clock.seconds;
    return choice;
}
/* How best to have stages first .. end-1, which cannot be cut, with their
 * weights streamed if need be. Dies if they do not fit. A smaller span leaves
 * room for replicas, but more traffic: it must gain a tenth. */
static inline DfChoice df_uncut(DfSearch *search, size_t first, size_t end) {
    const DfGraph *graph = search->graph;
    const DfPlan *plan = search->plan;
    const size_t panels = search->panels;
    DfChoice choice = {.end = end, .span = 1};
    choice.mode = df_mode(graph, plan, first, end);
    if (choice.mode == DF_MODES) df_too_small(graph, plan, first, end);
    if (choice.mode == DF_STREAMED)
        choice.span =
            df_widest_span(graph, plan, first, end, choice.mode, panels);
    DfChoice best = df_best_share(graph, plan, first, choice, panels);
    while (choice.span > 1 && !df_for_workers(plan)) {
        choice.span /= 2;
        const DfChoice found =
            df_best_share(graph, plan, first, choice, panels);
        if (found.replicate && found.seconds < 0.9 * best.seconds) best = found;
    }
    return df_true(search, first, best);
}
/* What df_uncut says, which is remembered for sections like it; with the seconds
 * to the graph's end. */
static inline DfChoice df_uncut_known(DfSearch *search, size_t first,
                                      size_t end) {
    const uint64_t sign = df_sign(search, DF_UNCUT, first, end);
    DfKnown *known = df_known(&search->memory, sign);
    if (!known->sign) {
        const DfChoice found = df_uncut(search, first, end);
        known = df_learn(&search->memory, sign);
        known->choice = found;
    }
    DfChoice choice = known->choice;
    choice.end = end;
    choice.seconds += search->left[end];
    return choice;
}
/* The first place after stage s, which begins a kernel, where the graph may be
 * cut and a kernel begins: stages that join one run with it. */
static inline size_t df_next_kernel(const DfGraph *graph, size_t s) {
    do s = df_next_cut(graph, s);
    while (s < graph->stages && graph->stage[s].joins);
    return s;
}
/* Stages from `first` on as kernels, as few as can be, with the seconds from
 * there to the graph's end. INFINITY: no kernel begins there, or none may. */
static inline DfChoice df_alone(const DfSearch *search, size_t first) {
    const DfGraph *graph = search->graph;
    const DfPlan *plan = search->plan;
    DfChoice choice = {.mode = DF_ALONE, .span = 1, .seconds = INFINITY};
    if (!df_has_kernels(plan) || graph->stage[first].joins) return choice;
    choice.end = df_next_kernel(graph, first);
    const DfClock clock = df_clock_kernels(graph, &plan->chip, first, choice.end,
                                           search->sequences, plan->groups);
    choice.seconds = clock.seconds + search->left[choice.end];
    return choice;
}
/* The sections with weights on the chip that may begin with stage `first`, into
 * choice[stages], with the seconds from `first` to the graph's end; how many.
 * None has stages both of forward and of backward, whose panels go the other
 * way. */
static inline size_t df_choices(DfSearch *search, size_t first,
                                DfChoice *choice) {
    const DfGraph *graph = search->graph;
    const size_t most = first < graph->forward ? graph->forward : graph->stages;
    const size_t last = size_min(most, first + DF_FAR);
    size_t n = 0;
    size_t end = first;
    while (end < most) {
        end = size_min(df_next_cut(graph, end), most);
        if (end > last) break;
        const uint64_t sign = df_sign(search, DF_GUESS, first, end);
        DfKnown *known = df_known(&search->memory, sign);
        if (!known->sign) {
            known = df_learn(&search->memory, sign);
            known->choice.seconds = df_resident(graph, search->plan, first, end,
                                                search->panels);
        }
        const double seconds = known->choice.seconds;
        if (seconds == INFINITY) break;
        choice[n] = (DfChoice){.end = end, .mode = DF_RESIDENT, .span = 1,
                               .seconds = seconds + search->left[end]};
        n++;
    }
    return n;
}
static inline int df_choice_order(const void *one, const void *other) {
    const DfChoice *a = one;
    const DfChoice *b = other;
    if (a->seconds != b->seconds) return a->seconds < b->seconds ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}
/* Of the sections that look best and fit so many are tried. */
enum { DF_TRIES = 16 };

/* One of those sections, dealt out, with the seconds to the graph's end; what is
 * found out is remembered for sections like it. INFINITY: it does not fit after
 * all. If its guess is no better than `best` seconds it remains a guess. */
static inline DfChoice df_dealt(DfSearch *search, size_t first,
                                const DfChoice *guess, double best) {
    const double left = search->left[guess->end];
    const uint64_t sign = df_sign(search, DF_DEALT, first, guess->end);
    DfKnown *known = df_known(&search->memory, sign);
    if (!known->sign) {
        const DfChoice found = df_best_share(search->graph, search->plan, first,
                                             *guess, search->panels);
        known = df_learn(&search->memory, sign);
        known->choice = found;
    }
    DfChoice choice = known->choice;
    choice.end = guess->end;
    if (!known->simulated && choice.seconds + left < best) {
        choice = df_true(search, first, choice);
        known->choice = choice;
        known->simulated = true;
    }
    choice.seconds += left;
    return choice;
}
/* The best section that begins with stage `first`, with the seconds from there
 * to the graph's end. Of those with weights on the chip it tries the longest,
 * whose guess errs most, one more, and then those that are guessed to take less
 * than the best so far; only if none fits what cannot be cut, with its weights
 * streamed. */
static inline DfChoice df_choose(DfSearch *search, size_t first) {
    DfChoice *choice = mem_new(search->graph->stages, sizeof *choice);
    const size_t n = df_choices(search, first, choice);
    DfChoice best = df_alone(search, first);
    size_t tried = 0;
    if (n && !df_for_workers(search->plan)) {
        const DfChoice longest = df_dealt(search, first, &choice[n - 1], INFINITY);
        if (longest.seconds < best.seconds) best = longest;
    }
    qsort(choice, n, sizeof *choice, df_choice_order);
    for (size_t k = 0; k < n && tried < DF_TRIES; k++) {
        if (tried && choice[k].seconds >= best.seconds) break;
        const DfChoice found = df_dealt(search, first, &choice[k], best.seconds);
        if (found.seconds == INFINITY) continue;
        tried++;
        if (found.seconds < best.seconds) best = found;
    }
    free(choice);
    if (tried) return best;
    const DfChoice uncut =
        df_uncut_known(search, first, df_next_cut(search->graph, first));
    return best.seconds < uncut.seconds ? best : uncut;
}
/* Finds search->left, from the graph's end on. */
static inline void df_search(DfSearch *search) {
    const DfGraph *graph = search->graph;
    for (size_t first = graph->stages; first-- > 0;) {
        search->left[first] = INFINITY;
        if (!first || first == graph->forward || df_may_cut(graph, first))
            search->left[first] = df_choose(search, first).seconds;
    }
}
/* The section that begins with stage `first`, placed. */
static inline DfSection df_placed(const DfSearch *search, size_t first,
                                  const DfChoice *choice) {
    const DfGraph *graph = search->graph;
    const DfPlan *plan = search->plan;
    DfSection section = df_laid(graph, plan, first, choice);
    section.sign = df_sign(search, section.mode, first, choice->end);
    if (section.mode != DF_ALONE) df_place_edges(graph, &section, plan);
    return section;
}

/* Takes the chip's memory. */
static inline void df_take_memory(DfPlan *plan) {
    const size_t lines = size_mul(plan->chip.tiles, plan->stride);
    if (lines > UINT32_MAX)
        die("chip %s: %zu tiles of %zu bytes: it can be simulated, not run",
            plan->chip.name, plan->chip.tiles, plan->chip.sram);
    plan->memory = mem_new(lines, DF_LINE_BYTES);
}
/* Leaves the plan without any. */
static inline void df_sections_free(DfPlan *plan, const DfGraph *graph) {
    for (size_t n = 0; n < plan->sections; n++)
        df_section_free(&plan->section[n], graph);
    free(plan->section);
    plan->section = NULL;
    plan->sections = 0;
}
/* Fills a plan with the best sections, or with kernels alone. */
static inline void df_fill(DfSearch *search, DfPlan *plan, bool alone) {
    size_t cap = 0;
    df_sections_free(plan, search->graph);
    for (size_t s = 0; s < search->graph->stages;) {
        const DfChoice choice =
            alone ? df_alone(search, s) : df_choose(search, s);
        plan->section = mem_grow(plan->section, plan->sections, &cap,
                                 sizeof *plan->section);
        plan->section[plan->sections] = df_placed(search, s, &choice);
        plan->sections++;
        s = choice.end;
    }
}
/* Seconds that a plan takes for so many sequences. */
static inline double df_seconds(const DfGraph *graph, const DfPlan *plan,
                                size_t sequences) {
    DfClock *clock = mem_new(plan->sections, sizeof *clock);
    double seconds = 0;
    df_clock_plan(graph, plan, sequences, clock);
    for (size_t n = 0; n < plan->sections; n++) seconds += clock[n].seconds;
    free(clock);
    return seconds;
}
/* Fills a plan with the best sections for what it may use of the chip, or with kernels
 * if these are faster, for what was not simulated to its end may have been chosen
 * wrongly. Returns its seconds, a guess for workers. Adds to *firings what it simulated. */
static inline double df_best(const DfGraph *graph, DfPlan *plan, size_t panels,
                             size_t *firings) {
    DfSearch search = {.graph = graph, .plan = plan, .panels = panels,
                       .firings = *firings};
    search.sequences = size_max(1, panels / df_per_sequence(graph, plan, 1));
    search.signs = df_signs(graph);
    search.memory.bits = 10;
    search.memory.known = mem_new((size_t)1 << search.memory.bits,
                                  sizeof *search.memory.known);
    search.left = mem_new(graph->stages + 1, sizeof *search.left);
    df_search(&search);
    df_fill(&search, plan, false);
    double took = df_for_workers(plan) ? search.left[0]
                                       : df_seconds(graph, plan, search.sequences);
    if (df_has_kernels(plan)) {
        const DfClock kernels = df_clock_kernels(graph, &plan->chip, 0, graph->stages,
                                                 search.sequences, plan->groups);
        if (took > kernels.seconds) df_fill(&search, plan, true);
        took = df_sooner(took, kernels.seconds);
    }
    *firings = search.firings;
    df_signs_free(&search.signs);
    free(search.left);
    free(search.memory.known);
    return took;
}
/* A plan for less of a chip is a plan for all of it. Takes one for a half of the tiles, a
 * quarter and so on, with as little of each one's memory, if on the whole chip it takes
 * less than `took` seconds: so twice the tiles or the memory never make a step slower,
 * unless they make the search so long that this is left out. What so few tiles cannot
 * do in less, busy all the time, is not tried. */
static inline void df_use_less(const DfGraph *graph, DfPlan *plan, size_t panels,
                               double took, size_t *firings) {
    const DfChip chip = plan->chip;
    const size_t sequences = size_max(1, panels / df_per_sequence(graph, plan, 1));
    const double flops = df_clock_kernels(graph, &chip, 0, graph->stages, sequences,
                                          plan->groups).flops;
    DfChip part = chip;
    DfPlan less = *plan;
    less.section = NULL;
    less.sections = 0;
    for (; flops / df_rate(&part) < took; part.tiles /= 2) {
        const bool whole = part.tiles == chip.tiles;
        for (size_t room = whole ? chip.sram / 2 : chip.sram; *firings < DF_SIM_MOST;
             room /= 2) {
            less.chip = part;
            less.room = room;
            if (!df_fits_all(graph, &less)) break;
            df_best(graph, &less, panels, firings);
            less.chip = chip;
            const double takes = df_seconds(graph, &less, sequences);
            if (takes >= took) continue;
            took = takes;
            const DfPlan swap = *plan;
            *plan = less;
            less = swap;
        }
    }
    df_sections_free(&less, graph);
}

/* Cuts the graph into sections for a chip: at least `depth` slots an edge,
 * `groups` a panel, `panels` in all that every section sees, whole sequences.
 * Dies if a stage cannot fit. Freed with df_plan_free. */
static inline DfPlan *df_plan(const DfGraph *graph, DfChip chip, size_t depth,
                              size_t groups, size_t panels, int purpose) {
    if (chip.sram % DF_LINE_BYTES)
        die("sram: expected a multiple of %d bytes, found %zu", DF_LINE_BYTES,
            chip.sram);
    DfPlan *plan = mem_new(1, sizeof *plan);
    *plan = (DfPlan){.chip = chip, .room = chip.sram, .depth = depth, .groups = groups,
                     .purpose = purpose};
    plan->stride = chip.sram / DF_LINE_BYTES + DF_GAP;
    plan->reads = df_reads_of(graph);
    if (purpose == DF_TO_RUN || purpose == DF_TO_TRY) df_take_memory(plan);
    size_t firings = 0;
    const double took = df_best(graph, plan, panels, &firings);
    if (!df_for_workers(plan)) df_use_less(graph, plan, panels, took, &firings);
    return plan;
}
static inline void df_plan_free(DfPlan *plan, const DfGraph *graph) {
    df_sections_free(plan, graph);
    if (plan->memory) df_unguard(plan);
    free(plan->reads);
    free(plan->memory);
    free(plan);
}
#endif
