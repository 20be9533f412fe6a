/* why.h: what happens in a section, for people: who works when, who waits for
 * whom, and what happens to one panel.
 *
 * It goes by the firings that the clock tells of, simulated and without data, or
 * by those that a run's workers noted, and refuses to guess: a wait is of the part
 * whose firing ended it. An actor that starts later than it could has waited
 *
 *     for data    until the last part that it reads from gave the panel
 *     for room    until the last part that reads from it took an earlier one
 *     for turn    until its tile had done what other parts have on it; of a run,
 *                 until a worker was free: all that is left of the wait
 *
 * Of a part with replicas an actor has only some of the firings; in what is kept of
 * [actors][firings] the others are 0.
 *
 * It follows a wait to whoever is waited for while that is longer than the stage's
 * own work, or while the other works more than the stage itself.
 *
 * Example: of the picture at the head of dataflow.h it says
 *
 *     A waits 30 % of the section for room: C has not taken an earlier panel
 *     C waits 35 % of the section for data: B has not made its panel
 *     B computes 86 % of the section: those around it go at its pace */
#ifndef WHY_H
#define WHY_H
#include "../base/out.h"
#include "../run/clock.h"
#include "../run/options.h"

typedef struct {
    double from, to;
} WhyFiring;

/* All firings of a section. */
typedef struct {
    const DfGraph *graph;
    const DfPlan *plan;
    const DfSection *section;
    size_t firings;                 /* of a part */
    WhyFiring *at;                  /* [actors][firings] */
    double *given;                  /* [parts][firings] when the last tile of a part
                                     * gave its output */
    double cycles;                  /* of the section; of a run, here and everywhere
                                     * below, seconds */
} Why;

/* Keeps firing i of an actor: a DfSeen. */
static inline void why_seen(void *owner, const DfSection *section, size_t actor, size_t i,
                            double from, double to) {
    Why *why = owner;
    double *given = &why->given[section->actor[actor].part * why->firings + i];
    why->at[actor * why->firings + i] = (WhyFiring){from, to};
    *given = fmax(*given, to);
}
/* The n-th section of a plan, of which nothing is known yet, over so many panels. */
static inline Why why_of(const DfGraph *graph, const DfPlan *plan, size_t n, size_t panels) {
    const DfSection *section = &plan->section[n];
    Why why = {.graph = graph, .plan = plan, .section = section};
    why.firings = df_firings(section, panels);
    why.at = mem_new(size_mul(section->actors, why.firings), sizeof *why.at);
    why.given = mem_new(size_mul(section->parts, why.firings), sizeof *why.given);
    return why;
}
/* As the clock says, over so many sequences; freed with why_free. */
static inline Why why_new(const DfGraph *graph, const DfPlan *plan, size_t n, size_t sequences) {
    const DfStream stream = df_stream(graph, plan->section[n].first, sequences, graph->groups,
                                      plan->groups);
    Why why = why_of(graph, plan, n, stream.panels);
    why.cycles = df_clock(graph, plan, n, &stream, why_seen, &why).cycles;
    return why;
}
/* As workers have noted, over so many panels: event [actors][firings]; freed with
 * why_free. */
static inline Why why_noted(const DfGraph *graph, const DfPlan *plan, size_t n, size_t panels,
                            const DfEvent *event) {
    Why why = why_of(graph, plan, n, panels);
    const size_t firings = why.section->actors * why.firings;
    double begin = INFINITY;
    for (size_t k = 0; k < firings; k++)
        if (event[k].to > 0) begin = fmin(begin, event[k].from);
    for (size_t k = 0; k < firings; k++) {
        if (!(event[k].to > 0)) continue;       /* another replica's */
        const double to = event[k].to - begin;
        why_seen(&why, why.section, event[k].actor, event[k].panel, event[k].from - begin, to);
        why.cycles = fmax(why.cycles, to);
    }
    return why;
}
static inline void why_free(Why *why) {
    free(why->at);
    free(why->given);
}

/* ---- causes -------------------------------------------------------------- */

enum { WHY_DATA, WHY_ROOM, WHY_TURN, WHY_KINDS };

/* What a firing waited for: until when, and whom. */
typedef struct {
    double until;
    size_t part;                    /* DF_NOBODY: nobody */
} WhyCause;

/* Who gave an actor's part the last of its inputs for firing i. */
static inline WhyCause why_data(const Why *why, const DfPart *part, size_t i) {
    const size_t wanted = size_min(i + part->s.lag, why->firings - 1);
    WhyCause cause = {0, DF_NOBODY};
    for (size_t k = 0; k < part->needs; k++) {
        const double given = why->given[part->need[k] * why->firings + wanted];
        if (given > cause.until) cause = (WhyCause){given, part->need[k]};
    }
    return cause;
}
/* Who was the last to make room for its outputs. */
static inline WhyCause why_room(const Why *why, const DfPart *part, size_t i) {
    WhyCause cause = {0, DF_NOBODY};
    for (size_t k = 0; k < part->gives; k++) {
        const size_t panels = df_room_for(why->section, part, k, i);
        if (!panels) continue;
        const double given = why->given[part->give[k] * why->firings + panels - 1];
        if (given > cause.until) cause = (WhyCause){given, part->give[k]};
    }
    return cause;
}

/* What a part waited for, the mean of its actors: cycles by kind and by whom; a wait
 * for its turn is by itself. */
typedef struct {
    double *cycles;                 /* [WHY_KINDS][parts] */
    double works;                   /* cycles that it works, the mean too */
} WhySum;

/* Cycles that a part works, the mean of its actors. */
static inline double why_works(const Why *why, size_t s) {
    const DfPart *part = &why->section->part[s];
    const WhyFiring *at = why->at + part->actor * why->firings;
    double works = 0;
    for (size_t k = 0; k < part->actors * why->firings; k++) works += at[k].to - at[k].from;
    return works / (double)part->actors;
}
/* Each wait is cut where its inputs came and where room was: until the first for data,
 * until the second for room, the rest for its turn. Freed by its owner. */
static inline WhySum why_sum(const Why *why, size_t s) {
    const DfSection *section = why->section;
    const DfPart *part = &section->part[s];
    WhySum sum = {mem_new(WHY_KINDS * section->parts, sizeof *sum.cycles), why_works(why, s)};
    for (size_t k = 0; k < part->actors; k++) {
        const WhyFiring *at = &why->at[(part->actor + k) * why->firings];
        const size_t first = section->actor[part->actor + k].replica;
        double before = 0;          /* until when it was at the firing before */
        for (size_t i = first; i < why->firings; i += part->replicas) {
            const WhyCause data = why_data(why, part, i);
            const WhyCause room = why_room(why, part, i);
            const double ready = fmax(before, fmin(data.until, at[i].from));
            const double open = fmax(ready, fmin(room.until, at[i].from));
            if (ready > before)
                sum.cycles[WHY_DATA * section->parts + data.part] += ready - before;
            if (open > ready)
                sum.cycles[WHY_ROOM * section->parts + room.part] += open - ready;
            sum.cycles[WHY_TURN * section->parts + s] += at[i].from - open;
            before = at[i].to;
        }
    }
    for (size_t k = 0; k < WHY_KINDS * section->parts; k++)
        sum.cycles[k] /= (double)part->actors;
    return sum;
}
/* The kind of the longest wait; its part in *whom. */
static inline int why_largest(const WhySum *sum, size_t parts, size_t *whom) {
    size_t most = 0;
    for (size_t k = 1; k < WHY_KINDS * parts; k++)
        if (sum->cycles[k] > sum->cycles[most]) most = k;
    *whom = most % parts;
    return (int)(most / parts);
}
/* The part that takes most of the tiles of a part, besides it; itself if it is alone
 * there. */
static inline size_t why_neighbour(const Why *why, size_t s) {
    const DfSection *section = why->section;
    bool *near = mem_new(why->plan->chip.tiles, sizeof *near);
    double *work = mem_new(section->parts, sizeof *work);
    size_t found = s;
    for (size_t k = 0; k < section->actors; k++)
        if (section->actor[k].part == s) near[section->actor[k].tile] = true;
    for (size_t k = 0; k < section->actors; k++) {
        const DfActor *actor = &section->actor[k];
        const WhyFiring *at = &why->at[k * why->firings];
        if (!near[actor->tile] || actor->part == s) continue;
        for (size_t i = 0; i < why->firings; i++)
            work[actor->part] += at[i].to - at[i].from;
        if (work[actor->part] > work[found]) found = actor->part;
    }
    free(near);
    free(work);
    return found;
}

/* Whether firings of a part take long for the lines that they carry, not for their
 * arithmetic. */
static inline bool why_carries(const Why *why, const DfPart *part) {
    const DfWork work = df_firing(why->graph, &part->s, 0, size_min(part->per, part->s.units), 0,
                                  why->plan->groups);
    const DfWork arithmetic = {.flops = work.flops};
    return df_cycles(&why->plan->chip, &work) > df_cycles(&why->plan->chip, &arithmetic);
}

typedef struct {                    /* where a plan has a stage */
    size_t section, part;
} WhyPlace;

/* That of the first stage of a name. Dies if there is none. */
static inline WhyPlace why_place(const DfPlan *plan, const char *name) {
    for (size_t n = 0; n < plan->sections; n++)
        for (size_t s = 0; s < plan->section[n].parts; s++)
            if (!strcmp(plan->section[n].part[s].s.name, name))
                return (WhyPlace){n, s};
    usage("--why: expected a stage that simulate --show-graph lists, found '%s'",
          name);
}

/* The first section that is a pipeline; 0 if none is. */
static inline size_t why_first(const DfPlan *plan) {
    for (size_t n = 0; n < plan->sections; n++)
        if (plan->section[n].mode != DF_ALONE) return n;
    return 0;
}

/* What is waited for less than this share of a section is not followed. */
static const double WHY_LEAST = 0.02;

/* One line of the answer: what part s waits for most. Returns whom, or DF_NOBODY
 * if others go at its pace, or it waits for a worker. */
static inline size_t why_line(Out *out, const Why *why, size_t s) {
    const DfSection *section = why->section;
    const char *name = section->part[s].s.name;
    WhySum sum = why_sum(why, s);
    size_t whom;
    const int kind = why_largest(&sum, section->parts, &whom);
    const double wait = sum.cycles[(size_t)kind * section->parts + whom];
    const double share = 100 * wait / why->cycles;
    const bool behind = kind != WHY_TURN && wait > WHY_LEAST * why->cycles &&
                        why_works(why, whom) > sum.works;
    const bool works = sum.works >= wait && !behind;
    if (works || (kind == WHY_TURN && df_for_workers(why->plan))) whom = DF_NOBODY;
    else if (kind == WHY_TURN) whom = why_neighbour(why, s);
    const char *other = whom == DF_NOBODY ? "" : section->part[whom].s.name;
    if (works)
        out_print(out,
                  "%s %s %.0f %% of the section: those around it go at its pace\n",
                  name,
                  why_carries(why, &section->part[s]) ? "carries lines" : "computes",
                  100 * sum.works / why->cycles);
    else out_print(out, "%s waits %.0f %% of the section for ", name, share);
    if (!works && whom == DF_NOBODY)
        out_text(out, "a worker: all are at other stages\n");
    if (whom != DF_NOBODY && kind == WHY_DATA)
        out_print(out, "data: %s has not made its panel\n", other);
    if (whom != DF_NOBODY && kind == WHY_ROOM)
        out_print(out, "room: %s has not taken an earlier panel\n", other);
    if (whom != DF_NOBODY && kind == WHY_TURN)
        out_print(out, "its turn: %s has most of its tile\n", other);
    free(sum.cycles);
    return whom;
}
/* Follows the waits of part s to where they come from; returns the part that the
 * last line is about. Of many lines the first and the last two are shown. */
static inline size_t why_follow(Out *out, const Why *why, size_t s) {
    const size_t parts = why->section->parts;
    bool *seen = mem_new(parts, sizeof *seen);
    size_t *path = mem_new(parts, sizeof *path);
    size_t n = 0;
    size_t whom = s;
    Out silent = {0};
    while (whom != DF_NOBODY && !seen[whom]) {
        path[n] = whom;
        seen[whom] = true;
        whom = why_line(&silent, why, whom);
        n++;
    }
    for (size_t k = 0; k < n; k++)
        if (k < 2 || k + 2 >= n) why_line(out, why, path[k]);
        else if (k == 2) out_print(out, "... and so on, %zu stages ...\n", n - 4);
    if (whom != DF_NOBODY)
        out_text(out, "which goes round: these take turns, and with more slots "
                      "(--depth) could work at once\n");
    s = path[n - 1];
    free(seen);
    free(path);
    return s;
}

/* ---- the pipeline over time, and one panel ------------------------------- */

enum { WHY_COLUMNS = 64, WHY_ROWS = 64 };

/* In a row of so many characters for the whole section, an actor's firings: the last
 * digit of the firing's number; where several fit into one, of the last. */
static inline void why_draw(const Why *why, size_t actor, char *row,
                            size_t columns) {
    const DfActor *drawn = &why->section->actor[actor];
    const size_t replicas = why->section->part[drawn->part].replicas;
    const double each = why->cycles / (double)columns;
    for (size_t i = drawn->replica; i < why->firings; i += replicas) {
        const WhyFiring *at = &why->at[actor * why->firings + i];
        size_t c = size_min((size_t)(at->from / each), columns - 1);
        do {
            row[c] = (char)('0' + i % 10);
            c++;
        } while (c < columns && ((double)c + 0.5) * each < at->to);
    }
}
/* The pipeline over time: a row a stage, as its first actor works, and a row a tile,
 * if they are few. */
static inline void why_timeline(Out *out, const Why *why, const DfPlan *plan) {
    const DfSection *section = why->section;
    const size_t tiles = plan->chip.tiles <= WHY_ROWS ? plan->chip.tiles : 0;
    const size_t rows = section->parts + tiles;
    char (*row)[WHY_COLUMNS + 1] = mem_new(rows, sizeof *row);
    memset(row, ' ', rows * sizeof *row);
    for (size_t k = 0; k < section->actors; k++) {
        const DfActor *actor = &section->actor[k];
        if (actor->k == 0) why_draw(why, k, row[actor->part], WHY_COLUMNS);
        if (actor->tile < tiles)
            why_draw(why, k, row[section->parts + actor->tile], WHY_COLUMNS);
    }
    out_print(out,
              "%-24s tiles  %.0f cycles, %.3g a character; a digit is a panel\n",
              "stage", why->cycles, why->cycles / WHY_COLUMNS);
    for (size_t s = 0; s < section->parts; s++)
        out_print(out, "%-24s %5zu |%.*s|\n", section->part[s].s.name,
                  section->part[s].actors, WHY_COLUMNS, row[s]);
    for (size_t k = 0; k < tiles; k++)
        out_print(out, "%-24s %5zu |%.*s|\n", "tile", k, WHY_COLUMNS,
                  row[section->parts + k]);
    free(row);
}
/* What happens to panel i of a section, part by part: when, where, and after whom. Where
 * weights are streamed, to all panels of firing i. */
static inline void why_walk(Out *out, const Why *why, size_t i) {
    const DfSection *section = why->section;
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const WhyCause data = why_data(why, part, i);
        const WhyCause room = why_room(why, part, i);
        const size_t actors = df_replica_actors(part);
        const size_t first = part->actor + i % part->replicas * actors;
        double from = INFINITY;
        for (size_t k = first; k < first + actors; k++)
            from = fmin(from, why->at[k * why->firings + i].from);
        out_print(out, "%12.0f .. %-12.0f %s on %zu tiles, the first is %zu", from,
                  why->given[s * why->firings + i], part->s.name, actors,
                  section->actor[first].tile);
        if (room.until > data.until)
            out_print(out, "; %s made room at %.0f",
                      section->part[room.part].s.name, room.until);
        else if (data.part != DF_NOBODY)
            out_print(out, "; %s gave the last input at %.0f",
                      section->part[data.part].s.name, data.until);
        out_char(out, '\n');
    }
}
#endif
