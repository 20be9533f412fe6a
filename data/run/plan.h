/* plan.h: a section of a graph on a chip: what of each of its stages is on which
 * tile, and where in the tile's memory. Which stages are a section says cuts.h:
 * those with which the whole step is shortest.
 *
 *     df_section     its parts, and who waits for whom
 *     df_deal        places of the parts on tiles, all with equally much to do
 *     df_guess       what it will take
 *
 * It knows nothing of GPT, needs no data, and never changes a bit of a result:
 * what a firing computes does not depend on where it does.
 *
 * A part is cut into places so small that none is slower than the mean tile,
 * or than a share of it, but no smaller: every cut reads some inputs once more.
 * The places are dealt out, the heaviest first, each to a tile that has least
 * to do yet and has room; small ones take turns on one. A part whose single
 * units are too slow may have replicas that share out its panels, if no panel
 * adds to another.
 *
 * Example: a part of 5 units and two of 1, all alike, on 5 tiles. The mean tile
 * has 7/5 units to do, so the first is cut into 5 places. In the end two tiles
 * have two units each and three have one. */
#ifndef PLAN_H
#define PLAN_H
#include "kernel.h"

/* ---- what a part has to do ----------------------------------------------- */

/* A lane of attention costs more the later it comes, so what a part has to do
 * is looked at at so many times of a sequence. */
enum { DF_TIMES = 4 };

/* Cycles of one actor of a part, at so many units, on a panel at time `time` of
 * its sequence. */
static inline double df_pace_at(const DfGraph *graph, const DfPlan *plan,
                                const DfPart *part, size_t units, int time) {
    const size_t groups = size_min(plan->groups, graph->groups);
    const size_t last = graph->groups - groups;
    const size_t first = last * (size_t)(2 * time + 1) / (2 * DF_TIMES);
    const DfWork work = df_firing(graph, &part->s, 0,
                                  size_min(units, part->s.units), first, groups);
    return df_cycles(&plan->chip, &work);
}
/* The mean of these: cycles a panel. Without attention they are all the same. */
static inline double df_pace(const DfGraph *graph, const DfPlan *plan,
                             const DfPart *part, size_t units) {
    const bool later_more = part->s.per_pair > 0 || part->s.recalled > 0;
    double sum = 0;
    if (!later_more) return df_pace_at(graph, plan, part, units, 0);
    for (int time = 0; time < DF_TIMES; time++)
        sum += df_pace_at(graph, plan, part, units, time);
    return sum / DF_TIMES;
}

/* ---- a section's parts and who waits for whom ---------------------------- */

/* Of every edge of a graph, the first and the last stage that read it. */
static inline DfReads *df_reads_of(const DfGraph *graph) {
    DfReads *reads = mem_new(graph->edges, sizeof *reads);
    for (size_t s = 0; s < graph->stages; s++)
        for (int k = 0; k < DF_INS; k++) {
            const int e = graph->stage[s].in[k];
            if (e == DF_NONE) continue;
            if (!reads[e].any) reads[e].first = s;
            reads[e].last = s;
            reads[e].any = true;
        }
    return reads;
}

/* The stage of a part that brings edge e on the chip. */
static inline DfStage df_load(const DfGraph *graph, int e) {
    const DfEdge *edge = &graph->edge[e];
    DfStage load = {.kind = DF_LOAD, .out = {e, DF_NONE},
                    .units = edge->rows / LINE, .reads = (double)edge->rows};
    for (int k = 0; k < DF_INS; k++) load.in[k] = DF_NONE;
    snprintf(load.name, sizeof load.name, "load %.40s", edge->name);
    return load;
}
/* The parts of a section: its stages first .. end-1 of the graph, and before
 * them a load of every edge that one of them reads and none before it makes; none
 * for kernels. */
static inline void df_collect(const DfGraph *graph, DfSection *section,
                              size_t end) {
    const size_t first = section->first;
    const size_t stages = end - first;
    bool *here = mem_new(graph->edges, sizeof *here);
    int *load = mem_new(stages * DF_INS, sizeof *load);
    for (size_t s = first; s < end; s++) {
        const DfStage *stage = &graph->stage[s];
        for (int k = 0; k < DF_INS; k++) {
            const int e = stage->in[k];
            if (e == DF_NONE || here[e] || section->mode == DF_ALONE) continue;
            here[e] = true;
            load[section->loads] = e;
            section->loads++;
        }
        for (int k = 0; k < DF_OUTS; k++)
            if (stage->out[k] != DF_NONE) here[stage->out[k]] = true;
    }
    section->parts = section->loads + stages;
    section->part = mem_new(section->parts, sizeof *section->part);
    for (size_t s = 0; s < section->parts; s++) section->part[s].replicas = 1;
    for (size_t s = 0; s < section->loads; s++)
        section->part[s].s = df_load(graph, load[s]);
    for (size_t s = 0; s < stages; s++)
        section->part[section->loads + s].s = graph->stage[first + s];
    free(here);
    free(load);
}

/* Parts after `writer` that read edge e or what is written in its place. */
typedef struct {
    size_t part[DF_DEPS];
    size_t n;
} DfReaders;

static inline DfReaders df_readers(const DfGraph *graph,
                                   const DfSection *section, size_t writer,
                                   int e) {
    DfReaders readers = {.n = 0};
    for (size_t s = writer + 1; s < section->parts; s++) {
        bool reads = false;
        for (int k = 0; k < DF_INS && !reads; k++) {
            const int in = section->part[s].s.in[k];
            /* what it lies in is itself or its base */
            if (in == e || (in != DF_NONE && graph->edge[in].base == e))
                reads = df_root(graph, section, in) == e;
        }
        if (!reads) continue;
        if (readers.n == DF_DEPS)
            die("%s: more than %d stages read it", graph->edge[e].name,
                DF_DEPS);
        readers.part[readers.n] = s;
        readers.n++;
    }
    return readers;
}
/* Slots of an edge with these readers, which are in order: depth, and for one
 * that bypasses a path of parts, from its first reader to its last, some more,
 * so as not to stop that path: half a slot a part on it. Dies if with so few
 * the section would stand still: the last reader's panel 0 comes out of the
 * path when as many more have gone in as its parts lag together. */
static inline size_t df_slots(const DfSection *section,
                              const DfReaders *readers, size_t depth,
                              const char *name) {
    if (!readers->n) return depth;
    const size_t first = readers->part[0];
    const size_t last = readers->part[readers->n - 1];
    size_t lag = 0;
    for (size_t s = first; s < last; s++) lag += section->part[s].s.lag;
    for (size_t k = 0; k < readers->n; k++)
        lag = size_max(lag, section->part[readers->part[k]].s.lag);
    const size_t more = depth > 1 && first != last ? (last - first + 1) / 2 : 0;
    if (depth + more < lag + 1)
        die("%s: %zu slots would stand still: the path it bypasses lags %zu "
            "panels; it needs %zu",
            name, depth + more, lag, lag + 1);
    return depth + more;
}
/* Fills a part's list of whom it waits for because they read what it makes, and
 * says how many slots that has. Of replicas each needs a slot to work in at
 * once, whether they write the edge or read it: one more for each after the
 * first. */
static inline void df_gives(const DfGraph *graph, DfSection *section, size_t s,
                            size_t depth) {
    DfPart *part = &section->part[s];
    part->gives = 0;
    for (int k = 0; k < DF_OUTS; k++) {
        const int e = part->s.out[k];
        if (e == DF_NONE || df_root(graph, section, e) != e) continue;
        const DfReaders readers = df_readers(graph, section, s, e);
        size_t replicas = part->replicas;
        for (size_t n = 0; n < readers.n; n++)
            replicas = size_max(replicas,
                                section->part[readers.part[n]].replicas);
        const size_t slots = replicas - 1 + df_slots(section, &readers, depth,
                                                     graph->edge[e].name);
        section->slot[e].slots = slots;
        if (part->gives + readers.n > DF_DEPS)
            die("%s: more than %d stages read what it makes", part->s.name,
                DF_DEPS);
        for (size_t n = 0; n < readers.n; n++) {
            part->give[part->gives] = readers.part[n];
            part->ahead[part->gives] = slots;
            part->reads_state[part->gives] =
                section->part[readers.part[n]].s.recalls == readers.part[n] - s;
            part->gives++;
        }
    }
}
/* Firings a sequence, of `span` panels each. */
static inline size_t df_per_sequence(const DfGraph *graph, const DfPlan *plan,
                                     size_t span) {
    const size_t panels = (graph->groups + plan->groups - 1) / plan->groups;
    return (panels + span - 1) / span;
}
/* Which edges that a stage makes are stored: those that are kept, or that a
 * stage of another section reads. */
static inline void df_stores(const DfGraph *graph, const DfPlan *plan,
                             DfSection *section, const DfStage *stage,
                             size_t end) {
    for (int k = 0; k < DF_OUTS; k++) {
        const int e = stage->out[k];
        if (e == DF_NONE) continue;
        const DfReads *reads = &plan->reads[e];
        const bool outside =
            reads->any && (reads->first < section->first || reads->last >= end);
        section->slot[e].stored = graph->edge[e].kept || outside;
    }
}
/* Stages first .. end-1 as a section, with neither tiles nor addresses yet.
 * Freed with df_section_free. */
static inline DfSection df_section(const DfGraph *graph, const DfPlan *plan,
                                   size_t first, size_t end, int mode,
                                   size_t span) {
    DfSection section = {.first = first, .mode = mode, .span = span};
    section.streamed = mode == DF_STREAMED;
    section.per_sequence = df_per_sequence(graph, plan, span);
    section.slot = mem_new(graph->edges, sizeof *section.slot);
    df_collect(graph, &section, end);
    for (size_t s = 0; s < section.parts; s++) {
        DfPart *part = &section.part[s];
        section.all += df_pace(graph, plan, part, part->s.units);
        if (mode == DF_ALONE) continue;
        for (int k = 0; k < DF_INS; k++) {
            if (part->s.in[k] == DF_NONE) continue;
            part->need[part->needs] = df_writer(&section, part->s.in[k]);
            part->needs++;
        }
        df_gives(graph, &section, s, plan->depth);
        if (s >= section.loads) df_stores(graph, plan, &section, &part->s, end);
    }
    return section;
}

/* ---- a part's places ----------------------------------------------------- */

/* The most weight lines that a place holds, at `per` units a place. */
static inline size_t df_held(const DfStage *stage, size_t per) {
    size_t most = 0;
    if (!stage->lines) return 0;
    for (size_t u0 = 0; u0 < stage->units; u0 += per) {
        const size_t u1 = size_min(u0 + per, stage->units);
        most = size_max(most, stage->lines[u1] - stage->lines[u0]);
    }
    return most;
}
/* Cuts a part of a section into so many places, and says where in each what
 * lies, in bytes; returns the bytes of each. */
static inline size_t df_cut(const DfGraph *graph, DfSection *section,
                            DfPart *part, size_t places, const DfPlan *plan) {
    const size_t line = LINE * plan->chip.element;
    const DfStage *stage = &part->s;
    size_t at = 0;
    const size_t each = places / part->replicas;    /* places of a replica */
    part->per = (stage->units + each - 1) / each;
    const bool whole =
        df_for_workers(plan) && stage->whole && part->per > stage->whole;
    if (whole) {
        part->per = size_up(part->per, stage->whole);
        places = (stage->units + part->per - 1) / part->per;
    }
    part->places = places;
    const bool holds = !section->streamed && (stage->weights || stage->grads);
    const size_t held = holds ? df_held(stage, part->per) * line : 0;

    part->w = at;
    if (stage->weights) at += held;
    part->dw = at;
    if (stage->grads) at += held;
    part->sums = at;
    at += part->per * stage->sums * line;
    part->state = at;
    at += part->per * stage->state * line;
    part->scratch = at;
    at += stage->scratch * line;

    for (int k = 0; k < DF_OUTS; k++) {
        const int e = stage->out[k];
        if (e == DF_NONE || df_root(graph, section, e) != e) continue;
        DfSlot *slot = &section->slot[e];
        const size_t rows = graph->edge[e].rows;
        slot->per = whole ? (rows * part->per + stage->units - 1) / stage->units
                          : (rows + places - 1) / places;
        slot->per = size_up(slot->per, LINE);
        slot->at = at;
        at += slot->slots * section->span * plan->groups * slot->per * line;
    }
    part->bytes = size_up(at, DF_LINE_BYTES);
    part->actors = (stage->units + part->per - 1) / part->per * part->replicas;
    return part->bytes;
}
/* So many places are of use: of more none would have fewer units or rows. */
static inline size_t df_finest(const DfGraph *graph, const DfStage *stage) {
    size_t most = stage->units;
    for (int k = 0; k < DF_OUTS; k++) {
        if (stage->out[k] == DF_NONE) continue;
        most = size_max(most, graph->edge[stage->out[k]].rows / LINE);
    }
    return most;
}
/* Replicas of a part of which a unit takes `takes` cycles on a panel: so many
 * that each, which has every replicas-th panel, has `cycles` a panel at most,
 * as far as there is a tile for every unit of each. 1: the part may have no
 * others. */
static inline size_t df_replicas(const DfStage *stage, const DfPlan *plan,
                                 double takes, double cycles) {
    const size_t most = plan->chip.tiles / stage->units;
    const bool keeps = stage->grads || stage->sums ||
                       stage->state || stage->recalls;
    if (!stage->replicable || keeps || stage->lag || !(takes > cycles))
        return 1;
    const double wanted = df_sooner(ceil(takes / cycles), (double)plan->chip.tiles);
    return size_max(1, size_min((size_t)wanted, most));
}
/* Cuts a part into the fewest places that have at most `bytes` bytes each, and whose
 * actors take at most `cycles` cycles a panel; as finely as it can be, if that is not
 * to be had (so always at 0). False if even then a place is larger than a tile. */
static inline bool df_cut_part(const DfGraph *graph, DfSection *section,
                               DfPart *part, const DfPlan *plan, double cycles,
                               double bytes) {
    size_t most = size_min(df_finest(graph, &part->s), plan->chip.tiles);
    const size_t units = part->s.units;
    size_t low = 1;                             /* units an actor */
    size_t high = units;
    while (low < high) {
        const size_t middle = (low + high + 1) / 2;
        if (df_pace(graph, plan, part, middle) <= cycles) low = middle;
        else high = middle - 1;
    }
    size_t places = size_min((units + low - 1) / low, most);
    part->replicas = 1;
    const double one = (double)df_cut(graph, section, part, 1, plan);
    places = size_max(places, size_min((size_t)df_sooner(one / bytes, 1e9), most));
    if (low == 1 && section->replicate)
        part->replicas = df_replicas(&part->s, plan,
                                     df_pace(graph, plan, part, 1), cycles);
    if (part->replicas > 1) {                   /* of a unit on each tile */
        places = size_max(places, units * part->replicas);
        most = size_max(most, places);
    }
    while (df_cut(graph, section, part, places, plan) > bytes && places < most)
        places++;
    return part->bytes <= plan->room;
}

/* ---- dealing places out over tiles --------------------------------------- */

typedef struct {
    double work;            /* cycles a panel of all actors so far */
    double at[DF_TIMES];    /* the same, at the times of a sequence */
    size_t used;            /* bytes */
} DfTile;

/* The tiles of a chip while places are dealt out. */
typedef struct {
    DfTile *tile;           /* [tiles of the chip] */
    uint32_t *order;        /* [the same] those with least work first */
    uint32_t *taken, *left; /* [the same] who got more to do, and who was passed over */
} DfTable;

static inline DfTable df_table(const DfPlan *plan) {
    const size_t tiles = plan->chip.tiles;
    DfTable table = {mem_new(tiles, sizeof *table.tile),
                     mem_new(tiles, sizeof *table.order),
                     mem_new(tiles, sizeof *table.taken),
                     mem_new(tiles, sizeof *table.left)};
    for (size_t k = 0; k < tiles; k++) table.order[k] = (uint32_t)k;
    return table;
}
static inline void df_table_free(DfTable *table) {
    free(table->tile);
    free(table->order);
    free(table->taken);
    free(table->left);
}
/* Puts two runs of tiles, each with the least work first, together again: so many that
 * were taken, and those from there on in the order. */
static inline void df_merge(DfTable *table, size_t taken, size_t tiles) {
    size_t a = 0;
    size_t b = taken;
    for (size_t k = 0; a < taken; k++) {
        const bool first = b == tiles || table->tile[table->taken[a]].work <
                                             table->tile[table->order[b]].work;
        table->order[k] = first ? table->taken[a] : table->order[b];
        if (first) a++;
        else b++;
    }
}
/* Deals the places of a part to tiles with room that have least to do, each to
 * another. A place without an actor holds rows of edges only, and is no work.
 * False if there are too few tiles. */
static inline bool df_deal_part(const DfGraph *graph, DfTable *table,
                                DfSection *section, const DfPart *part,
                                const DfPlan *plan) {
    const double replicas = (double)part->replicas;
    const double work = df_pace(graph, plan, part, part->per) / replicas;
    double at[DF_TIMES];
    for (int time = 0; time < DF_TIMES; time++)
        at[time] = df_pace_at(graph, plan, part, part->per, time) / replicas;
    const size_t tiles = plan->chip.tiles;
    size_t taken = 0;
    size_t left = 0;
    size_t k = 0;
    for (size_t n = 0; n < tiles && k < part->places; n++) {
        const uint32_t number = table->order[n];
        DfTile *tile = &table->tile[number];
        const bool room = tile->used + part->bytes <= plan->room;
        const bool works = room && k < part->actors;
        if (works) {
            tile->work += work;
            for (int time = 0; time < DF_TIMES; time++)
                tile->at[time] += at[time];
            table->taken[taken] = number;
            taken++;
        } else {
            table->left[left] = number;
            left++;
        }
        if (!room) continue;
        DfPlace *place = &section->place[part->place + k];
        place->tile = number;
        place->at = tile->used;
        tile->used += part->bytes;
        k++;
    }
    memcpy(table->order + taken, table->left, left * sizeof *table->left);
    df_merge(table, taken, tiles);
    return k == part->places;
}

typedef struct {            /* in which order parts are dealt out */
    size_t part;
    double weight;          /* share of a tile that a place of it takes: of the
                             * mean tile's work, or of the memory */
} DfTurn;

static inline int df_turn_order(const void *one, const void *other) {
    const DfTurn *a = one;
    const DfTurn *b = other;
    if (a->weight != b->weight) return a->weight < b->weight ? 1 : -1;
    return a->part < b->part ? -1 : a->part > b->part;
}
/* Cuts every part into actors of at most so many cycles a panel, and places of
 * `most` bytes at most, as far as can be. The bytes of all; INFINITY if some
 * place is larger than a tile. */
static inline double df_cut_each(const DfGraph *graph, DfSection *section,
                                 const DfPlan *plan, double cycles, double most) {
    double bytes = 0;
    section->places = 0;
    for (size_t s = 0; s < section->parts; s++) {
        DfPart *part = &section->part[s];
        if (!df_cut_part(graph, section, part, plan, cycles, most))
            return INFINITY;
        part->place = section->places;
        section->places += part->places;
        bytes += (double)(part->places * part->bytes);
    }
    return bytes;
}
/* Whom each part waits for, and the slots, as its replicas are now. */
static inline void df_gives_all(const DfGraph *graph, DfSection *section,
                                const DfPlan *plan) {
    for (size_t s = 0; s < section->parts; s++)
        df_gives(graph, section, s, plan->depth);
}
/* Cuts every part so that no actor has more than a share of what a tile has to
 * do, and no place more than that share of its memory, as far as can be. False
 * if some place is larger than a tile, or all together than the chip; or if no
 * part has replicas though it may: that is the same as without. */
static inline bool df_cut_parts(const DfGraph *graph, DfSection *section,
                                const DfPlan *plan, double share) {
    const double tiles = (double)plan->chip.tiles;
    const double sram = (double)plan->room;
    const double cycles = share * section->all / tiles;
    const double most = df_sooner(share, 1) * sram;
    if (section->replicated) {                  /* by the cut before this one */
        for (size_t s = 0; s < section->parts; s++)
            section->part[s].replicas = 1;
        df_gives_all(graph, section, plan);
        section->replicated = false;
    }
    double bytes = df_cut_each(graph, section, plan, cycles, most);
    if (bytes == INFINITY) return false;
    for (size_t s = 0; s < section->parts; s++)
        section->replicated |= section->part[s].replicas > 1;
    if (section->replicated != section->replicate) return false;
    /* Replicas need more slots, which the cut before did not know. More slots
     * change the bytes, not the replicas, so the second cut is the last. */
    if (section->replicated) {
        df_gives_all(graph, section, plan);
        bytes = df_cut_each(graph, section, plan, cycles, most);
    }
    return bytes <= tiles * sram;
}
/* What the busiest tile of a section has to do, and the fullest has to hold. */
static inline void df_busiest(DfSection *section, const DfTable *table,
                              const DfPlan *plan) {
    double at[DF_TIMES] = {0};
    section->tiles = 0;
    section->peak = 0;
    section->work = 0;
    for (size_t k = 0; k < plan->chip.tiles; k++) {
        const DfTile *tile = &table->tile[k];
        section->tiles += tile->used > 0;
        section->peak = size_max(section->peak, tile->used);
        for (int time = 0; time < DF_TIMES; time++)
            if (tile->at[time] > at[time]) at[time] = tile->at[time];
    }
    for (int time = 0; time < DF_TIMES; time++)
        section->work += at[time] / DF_TIMES;
}
/* Cuts the parts of a section by such a share, and deals their places to tiles,
 * those first that take the largest share of one. False if they do not fit. */
static inline bool df_deal(const DfGraph *graph, DfSection *section,
                           const DfPlan *plan, double share) {
    if (!df_cut_parts(graph, section, plan, share)) return false;
    const double all = section->all;
    const double tiles = (double)plan->chip.tiles;
    DfTurn *turn = mem_new(section->parts, sizeof *turn);
    DfTable table = df_table(plan);
    free(section->place);
    section->place = mem_new(section->places, sizeof *section->place);
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const double work = df_pace(graph, plan, part, part->per) /
                            (double)part->replicas;
        const double room = (double)part->bytes / (double)plan->room;
        turn[s].part = s;
        turn[s].weight = df_later(all > 0 ? work * tiles / all : 0, room);
    }
    qsort(turn, section->parts, sizeof *turn, df_turn_order);
    bool fits = true;
    for (size_t k = 0; k < section->parts && fits; k++) {
        const DfPart *part = &section->part[turn[k].part];
        fits = df_deal_part(graph, &table, section, part, plan);
    }
    df_busiest(section, &table, plan);
    df_table_free(&table);
    free(turn);
    return fits;
}

/* ---- addresses and actors ------------------------------------------------ */

/* Actors of the parts of a section that was dealt out. */
static inline void df_place_actors(DfSection *section) {
    section->actors = 0;
    for (size_t s = 0; s < section->parts; s++) {
        section->part[s].actor = section->actors;
        section->actors += section->part[s].actors;
    }
    section->actor = mem_new(section->actors, sizeof *section->actor);
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const size_t each = df_replica_actors(part);
        for (size_t k = 0; k < part->actors; k++) {
            DfActor *actor = &section->actor[part->actor + k];
            actor->part = s;
            actor->k = k;
            actor->place = part->place + k;
            actor->tile = section->place[actor->place].tile;
            actor->replica = k / each;
            actor->u0 = k % each * part->per;
            actor->u1 = size_min(actor->u0 + part->per, part->s.units);
        }
    }
}
/* Where the rows of edge e lie in the chip's memory: in the places of the first
 * part that writes it. */
static inline void df_place_rows(const DfGraph *graph, DfSection *section,
                                 int e, const DfPlan *plan) {
    const size_t rows = graph->edge[e].rows;
    DfSlot *slot = &section->slot[e];
    size_t writer = 0;
    while (!df_writes(&section->part[writer].s, e)) writer++;
    const DfPlace *place = section->place + section->part[writer].place;
    slot->gs = slot->per * LINE;
    slot->stride = plan->groups * slot->gs;
    slot->chip = plan->memory;
    slot->row = mem_new(rows + BEYOND, sizeof *slot->row);
    for (size_t row = 0; row < rows; row++) {
        const DfPlace *in = &place[row / slot->per];
        const size_t at = (in->at + slot->at) / DF_LINE_BYTES;
        slot->row[row] =
            (uint32_t)(in->tile * plan->stride + at + row % slot->per);
    }
}
/* Places the edges of a section, and all that lies in the chip's memory if the
 * plan has one. */
static inline void df_place_edges(const DfGraph *graph, DfSection *section,
                                  const DfPlan *plan) {
    for (size_t k = 0; k < section->places && plan->memory; k++) {
        DfPlace *place = &section->place[k];
        place->chip = plan->memory + place->tile * plan->stride * LINE +
                      place->at / sizeof(float);
    }
    for (size_t e = 0; e < graph->edges; e++) {
        DfSlot *slot = &section->slot[e];
        if (!slot->slots) continue;
        if (plan->memory) df_place_rows(graph, section, (int)e, plan);
        slot->slots *= section->span;
    }
    for (size_t e = 0; e < graph->edges; e++) { /* what is written in place */
        const bool stored = section->slot[e].stored;
        section->slot[e] = section->slot[df_root(graph, section, (int)e)];
        section->slot[e].stored = stored;
    }
}

/* ---- what a section will take -------------------------------------------- */

typedef struct {            /* bytes off chip */
    double weights, grads;
    double in, out;         /* of activations, streamed */
    double random;
} DfTraffic;

static inline double df_bytes(const DfTraffic *traffic) {   /* all of them */
    return traffic->weights + traffic->grads + traffic->in + traffic->out +
           traffic->random;
}
/* Of a section over a stream of so many panels, which are so many groups.
 * Weights come once for each replica or, if they are streamed, once for each
 * firing, which is one replica's. Gradients and sums go both ways. */
static inline DfTraffic df_traffic(const DfGraph *graph, const DfPlan *plan,
                                   const DfSection *section, size_t panels,
                                   double groups) {
    const double line = LINE * (double)plan->chip.element;
    DfTraffic traffic = {0};
    double often = 1;                   /* times that weights come */
    if (section->streamed)
        often = ceil((double)panels / (double)section->span);
    for (size_t s = 0; s < section->parts; s++) {
        const DfStage *stage = &section->part[s].s;
        const double lines = df_lines(stage, 0, stage->units);
        const double replicas = (double)section->part[s].replicas;
        traffic.in += (stage->reads - stage->random) * groups * line;
        traffic.random += stage->random * groups * line;
        traffic.out += stage->writes * groups * line;
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = stage->out[k];
            if (e != DF_NONE && section->slot[e].stored)
                traffic.out += (double)graph->edge[e].rows * groups * line;
        }
        bool come = stage->weights;
        if (section->streamed) come = stage->lines && !stage->grads;
        /* 4 bytes: a line's column, though a dense matrix needs none */
        const double times = section->streamed ? often : replicas;
        if (come) traffic.weights += lines * (line + 4) * times;
        const double sums = (double)(stage->units * stage->sums);
        traffic.grads += 2 * (lines * stage->grads * often + sums) * line;
    }
    return traffic;
}
/* What a section holds that workers find in the caches near them from one panel
 * to the next; and how many times as fast as memory the cache is that holds
 * more. Chosen by trial, 4 layers x 256 and 6 x 384: with 2 and with 16 MiB
 * steps were slower. */
enum { DF_NEAR = 8 << 20, DF_FASTER = 4 };

/* Seconds in which workers bring weights, accumulators and edges near again at
 * every panel, if the section is too large to leave them there. */
static inline double df_again(const DfGraph *graph, const DfPlan *plan,
                              const DfSection *section, size_t panels) {
    const double line = LINE * (double)plan->chip.element;
    double held = 0;
    double lines = 0;                           /* a panel */
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const DfStage *stage = &part->s;
        const double rows = df_rows_in(graph, stage) + df_rows_out(graph, stage);
        held += (double)(part->places * part->bytes);
        lines += df_lines(stage, 0, stage->units) *
                     ((double)stage->weights + 2 * (double)stage->grads) +
                 rows * (double)plan->groups;
    }
    if (held <= DF_NEAR) return 0;
    return (double)panels * lines * line / (DF_FASTER * plan->chip.memory);
}
/* Seconds that a section whose parts are cut will take, guessed; work: cycles a
 * panel of its busiest tile. Its pipeline goes at that pace, or at that of the
 * slowest actor, and first must be filled; the longer of that and of its
 * traffic counts, and its weights before, if they are resident. Workers take
 * whatever is ready, of any tile, and carry the traffic themselves: theirs is
 * the sum. */
static inline double df_guess(const DfGraph *graph, const DfPlan *plan,
                              const DfSection *section, double work,
                              size_t panels) {
    const DfChip *chip = &plan->chip;
    const double full = (double)(panels * size_min(plan->groups, graph->groups));
    const double groups = (double)(panels * graph->groups) /
                          (double)df_per_sequence(graph, plan, 1);
    const double whole = groups / full;     /* of a panel, in the mean */
    const DfTraffic traffic = df_traffic(graph, plan, section, panels, groups);
    const double carried = (df_bytes(&traffic) - traffic.random) / chip->memory +
                           traffic.random / chip->random;
    if (df_for_workers(plan)) {
        const double mean = section->all / (double)chip->tiles;
        return (double)panels * mean / chip->clock + carried +
               df_again(graph, plan, section, panels);
    }
    double *through = mem_new(section->parts, sizeof *through);
    double pace = 0;
    double fill = 0;
    for (int time = 0; time < DF_TIMES; time++) {
        double slowest = work;
        double longest = 0;
        for (size_t s = 0; s < section->parts; s++) {
            const DfPart *part = &section->part[s];
            const double slow = df_pace_at(graph, plan, part, part->per, time);
            slowest = df_later(slowest, slow / (double)part->replicas);
            through[s] = 0;             /* until its first panel is done */
            for (size_t k = 0; k < part->needs; k++)
                through[s] = df_later(through[s], through[part->need[k]]);
            through[s] += slow;
            longest = df_later(longest, through[s]);
        }
        pace += slowest / DF_TIMES;
        fill += longest / DF_TIMES;
    }
    free(through);
    const double span = (double)section->span;
    const double firings = ceil((double)panels / span);
    const double first = df_later(fill, pace * whole);
    const double pipeline = span * (first + (firings - 1) * pace * whole) / chip->clock;
    const double load = section->streamed ? 0 : traffic.weights / chip->memory;
    return df_later(pipeline, carried - load) + load;
}
#endif
