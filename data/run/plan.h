/* plan.h: lays a graph on a chip: which stages are on it together, what of each
 * is on which tile, and where in the tile's memory.
 *
 *     df_section     stages as a section: its parts, and who waits for whom
 *     df_deal        places of the parts on tiles, so that all tiles have
 *                    equally much to do
 *     df_plan        the sections that make the step shortest, by df_guess
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
 * Where to cut the graph into sections is found from its end. time(s), the
 * least from stage s to the end, is the least of guess(s, e) + time(e) over all
 * e where the section that begins with s may end. guess is the longer of its
 * pipeline and its traffic off chip, plus bringing its weights; where workers
 * run it, who carry the traffic themselves, the sum.
 *
 * Example: 40 layers have 700 places for a cut; where a section holds 3 layers
 * at most, that makes some 20,000 guesses. */
#ifndef PLAN_H
#define PLAN_H
#include "../../dataflow.h"

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
 * them a load of every edge that one of them reads and none before it makes. */
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
            if (e == DF_NONE || here[e]) continue;
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
            reads = in != DF_NONE && df_root(graph, section, in) == e;
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
        plan->real && stage->whole && part->per > stage->whole;
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
/* The mean of these: cycles a panel. */
static inline double df_pace(const DfGraph *graph, const DfPlan *plan,
                             const DfPart *part, size_t units) {
    double sum = 0;
    for (int time = 0; time < DF_TIMES; time++)
        sum += df_pace_at(graph, plan, part, units, time);
    return sum / DF_TIMES;
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
    const double wanted = fmin(ceil(takes / cycles), (double)plan->chip.tiles);
    return size_max(1, size_min((size_t)wanted, most));
}
/* Cuts a part into the fewest places that have at most so many bytes and whose
 * actors take at most so many cycles a panel, as far as it can be cut; 0 of
 * them: as far as it can be. False if a place is larger than a tile then. */
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
    places = size_max(places, size_min((size_t)fmin(one / bytes, 1e9), most));
    if (low == 1 && section->replicate)
        part->replicas = df_replicas(&part->s, plan,
                                     df_pace(graph, plan, part, 1), cycles);
    if (part->replicas > 1) {                   /* of a unit on each tile */
        places = size_max(places, units * part->replicas);
        most = size_max(most, places);
    }
    while (df_cut(graph, section, part, places, plan) > bytes && places < most)
        places++;
    return part->bytes <= plan->chip.sram;
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
    uint32_t *taken, *left; /* [the same] room to merge them anew */
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
/* Puts two runs of tiles, each with the least work first, together again. */
static inline void df_merge(DfTable *table, size_t taken, size_t left) {
    size_t a = 0;
    size_t b = 0;
    for (size_t k = 0; k < taken + left; k++) {
        bool first = a < taken;
        if (first && b < left)
            first = table->tile[table->taken[a]].work <
                    table->tile[table->left[b]].work;
        table->order[k] = first ? table->taken[a] : table->left[b];
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
    size_t taken = 0;
    size_t left = 0;
    size_t k = 0;
    for (size_t n = 0; n < plan->chip.tiles; n++) {
        const uint32_t number = table->order[n];
        DfTile *tile = &table->tile[number];
        const bool room = tile->used + part->bytes <= plan->chip.sram;
        if (k == part->places || !room) {
            table->left[left] = number;
            left++;
            continue;
        }
        DfPlace *place = &section->place[part->place + k];
        place->tile = number;
        place->at = tile->used;
        tile->used += part->bytes;
        if (k < part->actors) {
            tile->work += work;
            for (int time = 0; time < DF_TIMES; time++)
                tile->at[time] += at[time];
            table->taken[taken] = number;
            taken++;
        } else {
            table->left[left] = number;
            left++;
        }
        k++;
    }
    df_merge(table, taken, left);
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
/* Cycles a panel that all parts of a section take on one tile. */
static inline double df_all_work(const DfGraph *graph, const DfPlan *plan,
                                 const DfSection *section) {
    double sum = 0;
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        sum += df_pace(graph, plan, part, part->s.units);
    }
    return sum;
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
/* Cuts every part so that no actor has more than a share of what a tile has to
 * do, and no place more than that share of its memory, as far as can be. False
 * if some place is larger than a tile, or all together than the chip. */
static inline bool df_cut_parts(const DfGraph *graph, DfSection *section,
                                const DfPlan *plan, double share) {
    const double tiles = (double)plan->chip.tiles;
    const double sram = (double)plan->chip.sram;
    const double cycles = share * df_all_work(graph, plan, section) / tiles;
    const double most = fmin(share, 1) * sram;
    bool replicated = false;
    double bytes = df_cut_each(graph, section, plan, cycles, most);
    if (bytes == INFINITY) return false;
    for (size_t s = 0; s < section->parts; s++)
        replicated |= section->part[s].replicas > 1;
    /* Replicas need more slots, which the cut before did not know. More slots
     * change the bytes, not the replicas, so the second cut is the last. */
    if (replicated || section->replicated) {
        for (size_t s = 0; s < section->parts; s++)
            df_gives(graph, section, s, plan->depth);
        section->replicated = replicated;
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
            at[time] = fmax(at[time], tile->at[time]);
    }
    for (int time = 0; time < DF_TIMES; time++)
        section->work += at[time] / DF_TIMES;
}
/* Cuts the parts of a section by such a share, and deals their places to tiles,
 * those first that take the largest share of one. False if they do not fit. */
static inline bool df_deal(const DfGraph *graph, DfSection *section,
                           const DfPlan *plan, double share) {
    if (!df_cut_parts(graph, section, plan, share)) return false;
    const double all = df_all_work(graph, plan, section);
    const double tiles = (double)plan->chip.tiles;
    DfTurn *turn = mem_new(section->parts, sizeof *turn);
    DfTable table = df_table(plan);
    free(section->place);
    section->place = mem_new(section->places, sizeof *section->place);
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const double work = df_pace(graph, plan, part, part->per) /
                            (double)part->replicas;
        const double room = (double)part->bytes / (double)plan->chip.sram;
        turn[s].part = s;
        turn[s].weight = fmax(all > 0 ? work * tiles / all : 0, room);
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
    const DfTraffic traffic = df_traffic(graph, plan, section, panels,
                                         (double)(panels * plan->groups));
    const double carried = (df_bytes(&traffic) - traffic.random) / chip->memory +
                           traffic.random / chip->random;
    if (plan->real) {
        const double mean = df_all_work(graph, plan, section) /
                            (double)chip->tiles;
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
            slowest = fmax(slowest, slow / (double)part->replicas);
            through[s] = 0;             /* until its first panel is done */
            for (size_t k = 0; k < part->needs; k++)
                through[s] = fmax(through[s], through[part->need[k]]);
            through[s] += slow;
            longest = fmax(longest, through[s]);
        }
        pace += slowest / DF_TIMES;
        fill += longest / DF_TIMES;
    }
    free(through);
    const double span = (double)section->span;
    const double firings = ceil((double)panels / span);
    const double pipeline = span * (firings * pace + fill) / chip->clock;
    const double load = section->streamed ? 0 : traffic.weights / chip->memory;
    return fmax(pipeline, carried - load) + load;
}

/* ---- sections alike ------------------------------------------------------ *
 * The layers of a large model are alike, so most sections are like one that was
 * looked at before. A stage's sign says what it is, up to where in the graph it
 * stands; sections of the same signs in the same order take the same time. */

enum { DF_FAR = 128 };      /* stages between two that no section has both of */

static inline uint64_t df_mix(uint64_t sign, uint64_t value) {
    return rng_u64(sign, value);
}
static inline uint64_t df_mix_real(uint64_t sign, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return df_mix(sign, bits);
}
/* Stages from one to another; DF_FAR stands for all that are further. */
static inline uint64_t df_apart(size_t from, size_t to) {
    return size_min(to - from, DF_FAR);
}
/* What an edge is, seen from stage s. */
static inline uint64_t df_edge_sign(const DfGraph *graph, const DfPlan *plan, int e,
                                    size_t s) {
    const DfEdge *edge = &graph->edge[e];
    const DfReads *reads = &plan->reads[e];
    uint64_t sign = df_mix(edge->rows, edge->kept + 2 * (edge->base != DF_NONE));
    if (edge->kept || !reads->any) return sign;
    sign = df_mix(sign, reads->last > s ? df_apart(s, reads->last) : DF_FAR + 1);
    return df_mix(sign, reads->first > s ? df_apart(s, reads->first) : DF_FAR + 1);
}
/* What a stage is by itself. */
static inline uint64_t df_stage_sign(const DfStage *stage) {
    const double value[] = {
        (double)stage->lag, (double)stage->units, (double)stage->sums,
        (double)stage->state, (double)stage->recalls, (double)stage->scratch,
        (double)stage->together, (double)stage->whole, stage->per_line,
        stage->per_unit, stage->per_pair, stage->recalled, stage->reads,
        stage->writes, stage->random, stage->weights, stage->grads,
        stage->gather, stage->scatter, stage->replicable};
    uint64_t sign = 0;
    for (size_t k = 0; k < sizeof value / sizeof *value; k++)
        sign = df_mix_real(sign, value[k]);
    for (size_t u = 0; stage->lines && u <= stage->units; u++)
        sign = df_mix(sign, stage->lines[u] - stage->lines[0]);
    return sign;
}
/* The signs of all stages of a graph: itself, its edges, and how far back those
 * are made and were last read. */
static inline uint64_t *df_signs(const DfGraph *graph, const DfPlan *plan) {
    uint64_t *sign = mem_new(graph->stages, sizeof *sign);
    size_t *made = mem_new(graph->edges, sizeof *made);
    size_t *read = mem_new(graph->edges, sizeof *read);
    for (size_t s = 0; s < graph->stages; s++) {
        const DfStage *stage = &graph->stage[s];
        sign[s] = df_mix(df_stage_sign(stage), s < graph->forward);
        for (int k = 0; k < DF_INS; k++) {
            const int e = stage->in[k];
            if (e == DF_NONE) continue;
            sign[s] = df_mix(sign[s], df_edge_sign(graph, plan, e, s));
            sign[s] = df_mix(sign[s], df_apart(made[e], s));
            sign[s] = df_mix(sign[s], df_apart(read[e], s + 1));
            read[e] = s + 1;
        }
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = stage->out[k];
            if (e == DF_NONE) continue;
            sign[s] = df_mix(sign[s], df_edge_sign(graph, plan, e, s));
            made[e] = s;
        }
    }
    free(made);
    free(read);
    return sign;
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
    uint64_t *sign;         /* [stages] */
    double *left;           /* [stages + 1] the least seconds from a stage to the
                             * end; INFINITY where the graph may not be cut */
    DfMemory memory;
} DfSearch;

/* What is remembered of a section: a guess; a guess once it is dealt out; and
 * the same of one that cannot be cut. */
enum { DF_GUESS, DF_DEALT, DF_UNCUT };

/* A section of stages first .. choice.end-1, dealt out by a share, in *best if
 * that is faster; what is hardly faster does not count. */
static inline void df_try_share(const DfGraph *graph, const DfPlan *plan,
                                size_t first, DfChoice choice, size_t panels,
                                DfChoice *best) {
    DfSection section = df_section(graph, plan, first, choice.end, choice.mode,
                                   choice.span);
    section.replicate = choice.replicate;
    if (df_deal(graph, &section, plan, choice.share) &&
        section.replicated == choice.replicate) {
        choice.seconds = df_guess(graph, plan, &section, section.work, panels);
        if (choice.seconds < 0.98 * best->seconds) *best = choice;
    }
    df_section_free(&section, graph);
}
/* The best share for stages first .. choice.end-1, by dealing them out, the
 * coarsest first, and whether with replicas. Workers do few large firings
 * faster than many small ones: what they run is cut as coarsely as fits. */
static inline DfChoice df_best_share(const DfGraph *graph, const DfPlan *plan,
                                     size_t first, DfChoice choice,
                                     size_t panels) {
    DfChoice best = choice;
    best.seconds = INFINITY;
    for (int k = 0; k < DF_SHARES; k++) {
        choice.share = df_shares[k];
        choice.replicate = false;
        df_try_share(graph, plan, first, choice, panels, &best);
        if (plan->real && best.seconds < INFINITY) break;
        choice.replicate = true;
        df_try_share(graph, plan, first, choice, panels, &best);
    }
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
    const size_t sram = df_enough(graph, &larger, &larger.chip.sram,
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
    int mode = DF_RESIDENT;
    while (mode < DF_MODES && !df_fits(graph, plan, first, end, mode, 1))
        mode++;
    return mode;
}
/* Whether a chip can run the graph at all: whether every part of it that cannot
 * be cut fits in some way. */
static inline bool df_holds(const DfGraph *graph, DfChip chip, size_t depth,
                            size_t groups) {
    DfPlan plan = {.chip = chip, .depth = depth, .groups = groups};
    bool holds = true;
    size_t end;
    plan.reads = df_reads_of(graph);
    for (size_t first = 0; first < graph->stages && holds; first = end) {
        end = df_next_cut(graph, first);
        holds = df_mode(graph, &plan, first, end) < DF_MODES;
    }
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
    const double mean = df_all_work(graph, plan, &section) / tiles;
    for (int k = 0; k < 2 * DF_SHARES; k++) {
        section.replicate = k % 2;
        if (df_cut_parts(graph, &section, plan, df_shares[k / 2]) &&
            section.replicated == section.replicate)
            best = fmin(best, df_guess(graph, plan, &section, mean, panels));
        if (plan->real && best < INFINITY) break;
    }
    df_section_free(&section, graph);
    return best;
}
/* How best to have stages first .. end-1, which cannot be cut, with their
 * weights streamed if need be. Dies if they do not fit. A smaller span leaves
 * room for replicas, but more traffic: it must gain a tenth. */
static inline DfChoice df_uncut(const DfGraph *graph, const DfPlan *plan,
                                size_t first, size_t end, size_t panels) {
    DfChoice choice = {.end = end, .span = 1};
    choice.mode = df_mode(graph, plan, first, end);
    if (choice.mode == DF_MODES) df_too_small(graph, plan, first, end);
    if (choice.mode == DF_STREAMED)
        choice.span =
            df_widest_span(graph, plan, first, end, choice.mode, panels);
    DfChoice best = df_best_share(graph, plan, first, choice, panels);
    while (choice.span > 1 && !plan->real) {
        choice.span /= 2;
        const DfChoice found =
            df_best_share(graph, plan, first, choice, panels);
        if (found.replicate && found.seconds < 0.9 * best.seconds) best = found;
    }
    return best;
}
/* The sign of stages first .. end-1, after that of those before or of what is
 * remembered of them. */
static inline uint64_t df_range_sign(const DfSearch *search, uint64_t sign,
                                     size_t first, size_t end) {
    for (size_t s = first; s < end; s++) sign = df_mix(sign, search->sign[s]);
    return sign | 1;                            /* 0 is nothing */
}
/* What df_uncut says, which is remembered for sections like it. */
static inline DfChoice df_uncut_known(DfSearch *search, size_t first,
                                      size_t end) {
    const uint64_t sign = df_range_sign(search, DF_UNCUT, first, end);
    DfKnown *known = df_known(&search->memory, sign);
    if (!known->sign) {
        const DfChoice found = df_uncut(search->graph, search->plan, first, end,
                                        search->panels);
        known = df_learn(&search->memory, sign);
        known->choice = found;
    }
    DfChoice choice = known->choice;
    choice.end = end;
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
    uint64_t sign = DF_GUESS;
    size_t n = 0;
    size_t end = first;
    while (end < most) {
        const size_t from = end;
        end = size_min(df_next_cut(graph, end), most);
        if (end > last) break;
        sign = df_range_sign(search, sign, from, end);
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
/* Finds search->left, from the graph's end on. */
static inline void df_search(DfSearch *search) {
    const DfGraph *graph = search->graph;
    DfChoice *choice = mem_new(graph->stages, sizeof *choice);
    for (size_t first = graph->stages; first-- > 0;) {
        double *left = &search->left[first];
        *left = INFINITY;
        if (first && first != graph->forward && !df_may_cut(graph, first))
            continue;
        const size_t n = df_choices(search, first, choice);
        for (size_t k = 0; k < n; k++) *left = fmin(*left, choice[k].seconds);
        if (n) continue;
        const size_t end = df_next_cut(graph, first);
        *left = df_uncut_known(search, first, end).seconds + search->left[end];
    }
    free(choice);
}
static inline int df_choice_order(const void *one, const void *other) {
    const DfChoice *a = one;
    const DfChoice *b = other;
    if (a->seconds != b->seconds) return a->seconds < b->seconds ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}
/* Of the sections that look best, so many are dealt out; more if none fits. */
enum { DF_TRIES = 4 };

/* The best section that begins with stage `first`, once it is dealt out. */
static inline DfChoice df_choose(DfSearch *search, size_t first) {
    DfChoice *choice = mem_new(search->graph->stages, sizeof *choice);
    DfChoice best = {.seconds = INFINITY};
    const size_t n = df_choices(search, first, choice);
    qsort(choice, n, sizeof *choice, df_choice_order);
    for (size_t k = 0; k < n; k++) {
        if (k >= DF_TRIES && best.seconds != INFINITY) break;
        const size_t end = choice[k].end;
        const uint64_t sign = df_range_sign(search, DF_DEALT, first, end);
        DfKnown *known = df_known(&search->memory, sign);
        if (!known->sign) {
            const DfChoice found =
                df_best_share(search->graph, search->plan, first, choice[k],
                              search->panels);
            known = df_learn(&search->memory, sign);
            known->choice = found;
        }
        const double seconds = known->choice.seconds + search->left[end];
        if (seconds >= best.seconds) continue;
        best = known->choice;
        best.end = end;
        best.seconds = seconds;
    }
    free(choice);
    if (best.seconds < INFINITY) return best;
    return df_uncut_known(search, first, df_next_cut(search->graph, first));
}
/* The section that begins with stage `first`, placed. */
static inline DfSection df_next_section(DfSearch *search, size_t first) {
    const DfGraph *graph = search->graph;
    const DfPlan *plan = search->plan;
    const DfChoice choice = df_choose(search, first);
    DfSection section = df_section(graph, plan, first, choice.end, choice.mode,
                                   choice.span);
    section.replicate = choice.replicate;
    df_deal(graph, &section, plan, choice.share);
    df_place_actors(&section);
    df_place_edges(graph, &section, plan);
    section.sign = df_range_sign(search, section.mode, first, choice.end);
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
/* What a plan is for: to be simulated; to be run fast by a few workers; to be
 * run as it would be simulated, which tests do. To be run it needs memory of
 * the host for that of the chip. */
enum { DF_TO_SIMULATE, DF_TO_RUN, DF_TO_TRY };

/* Cuts the graph into sections for a chip: at least `depth` slots an edge,
 * `groups` a panel, `panels` in all that every section sees. Dies if a stage
 * cannot fit. Freed with df_plan_free. */
static inline DfPlan *df_plan(const DfGraph *graph, DfChip chip, size_t depth,
                              size_t groups, size_t panels, int purpose) {
    if (chip.sram % DF_LINE_BYTES)
        die("sram: expected a multiple of %d bytes, found %zu", DF_LINE_BYTES,
            chip.sram);
    DfPlan *plan = mem_new(1, sizeof *plan);
    *plan = (DfPlan){.chip = chip, .depth = depth, .groups = groups,
                     .real = purpose == DF_TO_RUN};
    plan->stride = chip.sram / DF_LINE_BYTES + DF_GAP;
    plan->reads = df_reads_of(graph);
    DfSearch search = {.graph = graph, .plan = plan, .panels = panels};
    search.sign = df_signs(graph, plan);
    search.memory.bits = 10;
    search.memory.known = mem_new((size_t)1 << search.memory.bits,
                                  sizeof *search.memory.known);
    search.left = mem_new(graph->stages + 1, sizeof *search.left);
    df_search(&search);
    if (purpose != DF_TO_SIMULATE) df_take_memory(plan);
    size_t cap = 0;
    for (size_t s = 0; s < graph->stages;) {
        plan->section = mem_grow(plan->section, plan->sections, &cap,
                                 sizeof *plan->section);
        DfSection *section = &plan->section[plan->sections];
        *section = df_next_section(&search, s);
        plan->sections++;
        s += section->parts - section->loads;
    }
    free(search.sign);
    free(search.left);
    free(search.memory.known);
    return plan;
}
static inline void df_plan_free(DfPlan *plan, const DfGraph *graph) {
    for (size_t n = 0; n < plan->sections; n++)
        df_section_free(&plan->section[n], graph);
    if (plan->memory) df_unguard(plan);
    free(plan->reads);
    free(plan->section);
    free(plan->memory);
    free(plan);
}
#endif
