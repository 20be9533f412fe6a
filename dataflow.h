/* dataflow.h: the machine. A chip of tiles with memory, a planner that lays a
 * graph of stages on it, workers that run it for real, and a clock that says how
 * long the chip would take.
 *
 * It knows nothing of GPT: a stage is units, weights, edges and FLOPs, and its
 * owner fires it. It refuses hidden state, more memory than a tile has, and any
 * mixing of the host's seconds with the chip's cycles.
 *
 *     chip      tiles, bytes of memory of each, rates      DfChip
 *     graph     stages and the edges between them          DfGraph, the owner's
 *     section   the stages on the chip together            df_plan cuts the graph
 *     part      a stage in a section                       DfPart
 *     actor     a part on one tile; fires once a panel     df_section_run
 *     slot      room for a panel of an edge, in the        DfSlot
 *               tiles of the part that writes it
 *     credit    a free slot; a writer without one waits    df_waits
 *     span      panels a firing, where weights pass        df_widest_span
 *               through the tile
 *     clock     cycles, waits, bytes                       df_clock
 *
 *     Letters   e  an edge          s  a stage of the graph, or a part
 *               i  a panel          k  the k-th of a list; an actor of its part
 *
 * Memory of a tile while a section runs; n tiles follow one another:
 *
 *     0      +--------------+
 *            | weights      |  of the units that this tile works on
 *            | accumulators |  the gradients of those weights
 *            | sums         |  other gradients
 *            | state        |  what is remembered of a sequence
 *            | slot 0       |  of the first edge that the part makes: its rows
 *            | slot 1       |  that fall to this tile, for a panel each
 *            | ...          |
 *            +--------------+
 *            | ...          |  the same of another part that shares the tile
 *            +--------------+
 *            | free         |
 *     sram   +--------------+
 *            | gap          |  belongs to no tile: DF_GAP says why
 *            +--------------+
 *
 * Worked example: A makes edge x, B makes y from x, C reads x and y; they work 2,
 * 4 and 3 cycles on a panel, each on a tile, and there are 8 panels. An edge has
 * two slots, and x, which bypasses B, one more. Time goes from left to right, a
 * character a cycle; the digit is the panel that the tile works on:
 *
 *     A   tile 0   |001122   33  44  55  66  77             |
 *     B   tile 1   |  00001111222233334444555566667777      |
 *     C   tile 2   |      000 111 222 333 444 555 666 777   |
 *
 * A has room for three panels of x. It makes them at once, then stands still
 * until C has done panel 0 and so given a slot back: a credit. B is the slowest
 * and never waits; C waits for what B makes. Nobody steers this: each actor knows
 * whom it waits for, and df_waits is all of the rule. Where a stage has two tiles,
 * each makes half of the rows, and who reads them waits for both.
 *
 * What all of it stands on is df_run(pool, fn, arg, n) of pool.h: tasks 0 .. n-1,
 * on any worker. */
#ifndef DATAFLOW_H
#define DATAFLOW_H
#include "sparse.h"
#include "data/base/pool.h"

/* ---- the chip ------------------------------------------------------------ */

typedef struct {
    char name[32];
    size_t tiles;           /* compute tiles */
    size_t sram;            /* bytes of memory of each, whole lines of 64 */
    size_t element;         /* bytes of a number: 4 here, 2 where it is bfloat16 */
    double flops;           /* of a tile, a cycle */
    double clock;           /* Hz */
    double port;            /* bytes a cycle that a tile moves on chip */
    double memory;          /* bytes a second off chip, streamed */
    double random;          /* bytes a second off chip, at random */
    double launch;          /* seconds that starting a kernel takes */
    bool kernels;           /* knows no dataflow: a kernel at a time is all it does */
} DfChip;

/* ---- the graph ----------------------------------------------------------- */

enum { DF_INS = 5, DF_OUTS = 2, DF_DEPS = 12 };
enum { DF_NONE = -1 };      /* among edges: no edge */
enum { DF_LOAD = -1 };      /* among kinds: brings edge out[0] on the chip */

/* An edge: what one stage gives to others, panel by panel: `rows` lines for every
 * group of 16 lanes. */
typedef struct {
    char name[48];
    size_t rows;
    int base;               /* the edge in whose slots it lies, being written in
                             * place; DF_NONE: it has its own */
    bool kept;              /* stored off chip whenever it is made, for later */
} DfEdge;

/* A stage fires once a panel on each of its tiles, which share out its units:
 * whatever its owner cuts it into. */
typedef struct {
    char name[48];
    int kind;               /* the owner's, or DF_LOAD */
    size_t layer;           /* the owner's */
    int in[DF_INS];         /* edges that it reads, or DF_NONE */
    int out[DF_OUTS];       /* edges that it makes, or DF_NONE */
    size_t share;           /* stages back to the one whose tiles it shares; 0: it
                             * has its own */
    size_t lag;             /* panels of its inputs it must see ahead of the one it
                             * works on */
    size_t units;
    const uint32_t *lines;  /* [units + 1] unit u has weights lines[u] ..
                             * lines[u+1]; NULL: none */
    bool weights, grads;    /* what of them is on chip: the lines; accumulators */
    size_t sums;            /* lines a unit of other accumulators */
    size_t state;           /* lines a unit of what it remembers of a sequence */
    size_t grain;           /* lines of state that must lie on one tile: with n
                             * times more tiles than units, a unit's state is
                             * spread over n of them */
    double per_line;        /* FLOPs of a weight line and lane */
    double per_unit;        /* FLOPs of a unit and lane */
    double per_pair;        /* FLOPs of a unit, lane and earlier lane of the
                             * sequence */
    bool joins;             /* runs in the task of the stage before it, on the same
                             * panel */
    bool gather;            /* reads a line by a column list for each weight line
                             * and group */
    bool scatter;           /* adds to one instead, of its own rows, and reads all
                             * of in[0] */
    double reads, writes;   /* lines a group straight from and to off-chip memory */
    double random;          /* of these, at random places */
} DfStage;

typedef struct {
    DfStage *stage;
    DfEdge *edge;
    size_t stages, edges;
    size_t forward;         /* so many stages take the panels in order; the others
                             * take those of a sequence from its last to its first */
} DfGraph;

/* Weight lines of units u0 .. u1-1. */
static inline double df_lines(const DfStage *stage, size_t u0, size_t u1) {
    return stage->lines ? (double)(stage->lines[u1] - stage->lines[u0]) : 0;
}
/* FLOPs of units u0 .. u1-1 on so many groups, the first of them group `first` of
 * its sequence. A lane is paired with the groups up to its own: on the mean over
 * these, first + (groups + 1) / 2 groups of 16. */
static inline double df_flops(const DfStage *stage, size_t u0, size_t u1,
                              size_t first, size_t groups) {
    const double lanes = (double)(groups * LINE);
    const double units = (double)(u1 - u0);
    const double earlier = ((double)first + (double)(groups + 1) / 2) * LINE;
    return lanes * (df_lines(stage, u0, u1) * stage->per_line
                    + units * stage->per_unit + units * stage->per_pair * earlier);
}
static inline bool df_writes(const DfStage *stage, int e) {
    return stage->out[0] == e || stage->out[1] == e;
}
static inline bool df_reads(const DfStage *stage, int e) {
    for (int k = 0; k < DF_INS; k++)
        if (stage->in[k] == e) return true;
    return false;
}

/* ---- sections: what is on the chip together ------------------------------ *
 * An edge's rows are dealt out over the tiles of its part, equally many to each,
 * and lie at the same place in every one of them. Loads, which bring edges of
 * earlier sections on the chip, are parts like others. */

typedef struct {            /* where an edge lies in a section */
    size_t slots;           /* 0: it is not on chip */
    size_t per;             /* rows a tile */
    size_t tile;            /* the first of its tiles */
    size_t at;              /* bytes from each tile's start */
    bool stored;            /* goes off chip as well */
    float *chip;            /* group 0 of slot 0, row 0 of `row` */
    size_t gs, stride;      /* floats from group to group, from slot to slot */
    uint32_t *row;          /* [rows] line offset of each row */
} DfSlot;

/* What a tile holds of a matrix that is cut by its columns: some of them, and of
 * each row block the line of the whole matrix at which they begin. */
typedef struct {
    SpMat mat;
    const uint32_t *from;   /* [row blocks] */
} DfSlice;

typedef struct {            /* a stage in a section */
    DfStage s;
    size_t home;            /* the part whose tiles it uses: itself, or one before */
    size_t tile, tiles;     /* the first of them; how many */
    size_t per;             /* units a tile */
    size_t bytes;           /* of each tile, for all parts at home in this one */
    size_t spread, grains;  /* tiles of a unit's state; grains of it on each */
    size_t w, dw;           /* bytes from the start of each tile's memory: weights
                             * and accumulators, */
    size_t sums, state;     /* sums and state */
    size_t needs, need[DF_DEPS];    /* parts that make what it reads */
    size_t gives, give[DF_DEPS];    /* parts that read what it makes */
    size_t ahead[DF_DEPS];  /* panels it may be ahead of each of these: slots */
    size_t actor, actors;   /* the first; how many: fewer than tiles if there are
                             * fewer units */
    uint32_t *col;          /* the matrix's columns as rows of the edge it gathers
                             * from or scatters to */
    DfSlice *cut;           /* [actors] what its tiles hold, if units are columns */
    _Alignas(64) atomic_size_t done;        /* panels that all its tiles have done */
} DfPart;

typedef struct {            /* a part on one tile */
    size_t part, k;         /* it is the k-th of this part */
    size_t u0, u1;          /* its units are u0 .. u1-1 */
    size_t tile;
    _Alignas(64) atomic_size_t done;        /* panels */
    atomic_int busy;
} DfActor;

/* How a section uses the chip: weights resident, a stage (and those that share
 * its tiles) a tile; weights streamed through; and where that is too many tiles,
 * streamed and all stages on the same tiles. */
enum { DF_RESIDENT, DF_STREAMED, DF_CROWDED, DF_MODES };

typedef struct {
    DfPart *part;           /* the loads come first, then the graph's stages */
    size_t parts, loads;
    size_t first;           /* the first of the graph's stages */
    DfActor *actor;
    size_t actors;
    DfSlot *slot;           /* [edges of the graph] */
    size_t tiles;           /* used */
    size_t peak;            /* most bytes of a tile */
    int mode;               /* of the three above */
    bool streamed;          /* its weights stay off chip, and pass through it */
    size_t span;            /* panels a firing: the more, the less often streamed
                             * weights pass */
} DfSection;

typedef struct {
    DfChip chip;
    size_t depth;           /* slots of a stream */
    size_t groups;          /* of a panel */
    DfSection *section;
    size_t sections;
    float *memory;          /* of the tiles; NULL: a plan only, not to be run */
    size_t stride;          /* lines from a tile's memory to the next one's */
} DfPlan;

enum { DF_LINE_BYTES = LINE * sizeof(float) };

/* Lines between the memories of two tiles that belong to none. Without them the
 * same place of every tile would fall into the same set of the host's caches, for
 * a tile's size is a power of two: that cost a tenth of the speed. */
enum { DF_GAP = 321 };

static const size_t DF_NOBODY = SIZE_MAX;       /* no part */

/* The last part that writes edge e, or DF_NOBODY. */
static inline size_t df_writer(const DfSection *section, int e) {
    for (size_t s = section->parts; s-- > 0;)
        if (df_writes(&section->part[s].s, e)) return s;
    return DF_NOBODY;
}
/* The edge in whose slots edge e lies in this section: its base, if the part that
 * writes it in place is here. */
static inline int df_root(const DfGraph *graph, const DfSection *section, int e) {
    const size_t writer = df_writer(section, e);
    if (graph->edge[e].base == DF_NONE || writer == DF_NOBODY) return e;
    return section->part[writer].s.kind == DF_LOAD ? e : graph->edge[e].base;
}
static inline void df_section_free(DfSection *section, const DfGraph *graph) {
    for (size_t e = 0; e < graph->edges; e++) {
        const int base = graph->edge[e].base;
        const DfSlot *slot = &section->slot[e];
        if (base == DF_NONE || slot->row != section->slot[base].row) free(slot->row);
    }
    for (size_t s = 0; s < section->parts; s++) {
        free(section->part[s].col);
        free(section->part[s].cut);
    }
    free(section->slot);
    free(section->part);
    free(section->actor);
}

/* ---- planning: a section's parts and who waits for whom ------------------ */

/* A part that brings edge e on the chip. */
static inline DfStage df_load(const DfGraph *graph, int e) {
    const DfEdge *edge = &graph->edge[e];
    DfStage load = {.kind = DF_LOAD, .out = {e, DF_NONE},
                    .units = edge->rows / LINE, .reads = (double)edge->rows};
    for (int k = 0; k < DF_INS; k++) load.in[k] = DF_NONE;
    snprintf(load.name, sizeof load.name, "load %.40s", edge->name);
    return load;
}
/* The parts of a section: its stages first .. end-1 of the graph, and before them
 * a load of every edge that one of them reads and none before it makes. */
static inline void df_collect(const DfGraph *graph, DfSection *section, size_t end) {
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
    for (size_t s = 0; s < section->loads; s++)
        section->part[s].s = df_load(graph, load[s]);
    for (size_t s = 0; s < stages; s++)
        section->part[section->loads + s].s = graph->stage[first + s];
    free(here);
    free(load);
}

/* Parts after `writer` that read edge e or what is written in its place. */
typedef struct { size_t part[DF_DEPS], n; } DfReaders;

static inline DfReaders df_readers(const DfGraph *graph, const DfSection *section,
                                   size_t writer, int e) {
    DfReaders readers = {.n = 0};
    for (size_t s = writer + 1; s < section->parts; s++) {
        bool reads = false;
        for (int k = 0; k < DF_INS && !reads; k++) {
            const int in = section->part[s].s.in[k];
            reads = in != DF_NONE && df_root(graph, section, in) == e;
        }
        if (!reads) continue;
        if (readers.n == DF_DEPS)
            die("%s: more than %d stages read it", graph->edge[e].name, DF_DEPS);
        readers.part[readers.n] = s;
        readers.n++;
    }
    return readers;
}
/* Slots of an edge with these readers: depth, and for one that bypasses a path of
 * parts some more, so as not to stop that path. Dies if with so few the section
 * would stand still: the lag of the path, plus 1, is the least. */
static inline size_t df_slots(const DfSection *section, const DfReaders *readers,
                              size_t depth, const char *name) {
    if (!readers->n) return depth;
    const size_t first = readers->part[0];
    const size_t last = readers->part[readers->n - 1];
    size_t lag = 0;
    for (size_t s = first; s < last; s++) lag += section->part[s].s.lag;
    for (size_t k = 0; k < readers->n; k++)
        lag = size_max(lag, section->part[readers->part[k]].s.lag);
    const size_t more = depth > 1 && first != last ? (last - first + 1) / 2 : 0;
    if (depth + more < lag + 1)
        die("%s: %zu slots would stand still: the path it bypasses lags %zu panels; "
            "it needs %zu", name, depth + more, lag, lag + 1);
    return depth + more;
}
/* Fills a part's list of whom it waits for because they read what it makes. */
static inline void df_gives(const DfGraph *graph, DfSection *section, size_t s,
                            size_t depth) {
    DfPart *part = &section->part[s];
    for (int k = 0; k < DF_OUTS; k++) {
        const int e = part->s.out[k];
        if (e == DF_NONE || df_root(graph, section, e) != e) continue;
        const DfReaders readers = df_readers(graph, section, s, e);
        const size_t slots = df_slots(section, &readers, depth, graph->edge[e].name);
        section->slot[e].slots = slots;
        if (part->gives + readers.n > DF_DEPS)
            die("%s: more than %d stages read what it makes", part->s.name, DF_DEPS);
        for (size_t n = 0; n < readers.n; n++) {
            part->give[part->gives] = readers.part[n];
            part->ahead[part->gives] = slots;
            part->gives++;
        }
    }
}
/* Stages first .. end-1 as a section, with neither tiles nor addresses yet. Freed
 * with df_section_free. */
static inline DfSection df_section(const DfGraph *graph, const DfPlan *plan,
                                   size_t first, size_t end, int mode, size_t span) {
    DfSection section = {.first = first, .mode = mode, .span = span};
    section.streamed = mode != DF_RESIDENT;
    section.slot = mem_new(graph->edges, sizeof *section.slot);
    df_collect(graph, &section, end);
    for (size_t s = 0; s < section.parts; s++) {
        DfPart *part = &section.part[s];
        part->home = s - part->s.share;
        if (mode == DF_CROWDED || part->s.kind == DF_LOAD) part->home = 0;
        for (int k = 0; k < DF_INS; k++) {
            if (part->s.in[k] == DF_NONE) continue;
            part->need[part->needs] = df_writer(&section, part->s.in[k]);
            part->needs++;
        }
        df_gives(graph, &section, s, plan->depth);
    }
    return section;
}

/* ---- planning: tiles and memory ------------------------------------------ */

/* The most weight lines that a tile holds, at so many units a tile. */
static inline size_t df_held(const DfStage *stage, size_t per) {
    size_t most = 0;
    if (!stage->lines) return 0;
    for (size_t u0 = 0; u0 < stage->units; u0 += per) {
        const size_t u1 = size_min(u0 + per, stage->units);
        most = size_max(most, stage->lines[u1] - stage->lines[u0]);
    }
    return most;
}
/* Lays part s of a section on so many tiles, from byte `at` of each; where that
 * ends. */
static inline size_t df_lay_part(const DfGraph *graph, DfSection *section, size_t s,
                                 size_t tiles, const DfPlan *plan, size_t at) {
    const size_t line = LINE * plan->chip.element;
    DfPart *part = &section->part[s];
    const DfStage *stage = &part->s;
    part->tiles = tiles;
    part->per = (stage->units + tiles - 1) / tiles;
    const size_t held = section->streamed ? 0 : df_held(stage, part->per) * line;

    part->w = at;
    if (stage->weights) at += held;
    else if (stage->lines) part->w = section->part[s - stage->share].w;
    part->dw = at;
    if (stage->grads) at += held;
    part->sums = at;
    at += part->per * stage->sums * line;
    part->state = at;
    part->spread = 1;
    part->grains = 0;
    if (stage->state) {
        part->spread = size_max(tiles / stage->units, 1);
        const size_t grains = stage->state / stage->grain;
        part->grains = (grains + part->spread - 1) / part->spread;
    }
    at += part->per * part->grains * stage->grain * line;

    for (int k = 0; k < DF_OUTS; k++) {
        const int e = stage->out[k];
        if (e == DF_NONE || df_root(graph, section, e) != e) continue;
        DfSlot *slot = &section->slot[e];
        slot->per = size_up((graph->edge[e].rows + tiles - 1) / tiles, LINE);
        slot->at = at;
        at += slot->slots * section->span * plan->groups * slot->per * line;
    }
    return at;
}
/* Lays all parts at home in part `home` on so many tiles; bytes of each. */
static inline size_t df_lay(const DfGraph *graph, DfSection *section, size_t home,
                            size_t tiles, const DfPlan *plan) {
    size_t at = 0;
    for (size_t s = home; s < section->parts; s++)
        if (section->part[s].home == home)
            at = df_lay_part(graph, section, s, tiles, plan, at);
    return at;
}
/* The fewest tiles that hold all parts at home in `home`; 0 if no number does. */
static inline size_t df_fewest(const DfGraph *graph, DfSection *section, size_t home,
                               const DfPlan *plan) {
    const size_t sram = plan->chip.sram;
    size_t most = 1;                    /* with more no tile would hold less */
    for (size_t s = home; s < section->parts; s++) {
        const DfStage *stage = &section->part[s].s;
        if (section->part[s].home != home) continue;
        const size_t grains = stage->state ? stage->state / stage->grain : 1;
        most = size_max(most, stage->units * size_max(grains, 1));
        for (int k = 0; k < DF_OUTS; k++) {
            if (stage->out[k] == DF_NONE) continue;
            most = size_max(most, graph->edge[stage->out[k]].rows / LINE);
        }
    }
    if (df_lay(graph, section, home, most, plan) > sram) return 0;
    size_t tiles = size_max(1, df_lay(graph, section, home, 1, plan) / sram);
    while (tiles < most && df_lay(graph, section, home, tiles, plan) > sram) tiles++;
    return size_min(tiles, most);
}
/* Lays every part on the fewest tiles. False if the chip has too few. */
static inline bool df_pack(const DfGraph *graph, DfSection *section,
                           const DfPlan *plan) {
    section->tiles = 0;
    for (size_t s = 0; s < section->parts; s++) {
        if (section->part[s].home != s) continue;
        const size_t tiles = df_fewest(graph, section, s, plan);
        section->tiles += tiles;
        if (!tiles || section->tiles > plan->chip.tiles) return false;
        df_lay(graph, section, s, tiles, plan);
    }
    return true;
}

/* The group of its sequence by whose work tiles are shared out: some group must
 * stand for all, where a lane costs more the later it comes. */
enum { DF_TYPICAL = 4 };

/* FLOPs of that group, of all parts at home in `home`, on their first tile: taken
 * for the busiest. */
static inline double df_busiest(const DfSection *section, size_t home) {
    double sum = 0;
    for (size_t s = home; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const size_t units = size_min(part->per, part->s.units);
        if (part->home == home) sum += df_flops(&part->s, 0, units, DF_TYPICAL, 1);
    }
    return sum;
}
/* Gives the tiles that are left, one at a time, to the slowest part: until there
 * is none, or the slowest has more than its units or its memory let it use. */
static inline void df_spread(const DfGraph *graph, DfSection *section,
                             const DfPlan *plan) {
    double *work = mem_new(section->parts, sizeof *work);
    for (size_t s = 0; s < section->parts; s++)
        if (section->part[s].home == s) work[s] = df_busiest(section, s);
    while (section->tiles < plan->chip.tiles) {
        size_t slow = 0;
        size_t units = 1;
        for (size_t s = 1; s < section->parts; s++)
            if (work[s] > work[slow]) slow = s;
        if (work[slow] <= 0) break;
        for (size_t s = slow; s < section->parts; s++)
            if (section->part[s].home == slow)
                units = size_max(units, section->part[s].s.units);
        const size_t tiles = section->part[slow].tiles + 1;
        if (tiles <= units &&
            df_lay(graph, section, slow, tiles, plan) <= plan->chip.sram) {
            section->tiles++;
            work[slow] = df_busiest(section, slow);
        } else {
            df_lay(graph, section, slow, tiles - 1, plan);
            work[slow] = 0;             /* it takes no more */
        }
    }
    free(work);
}

/* ---- planning: addresses and actors -------------------------------------- */

/* Tiles and actors of the parts of a section that fits. */
static inline void df_place_parts(const DfGraph *graph, DfSection *section,
                                  const DfPlan *plan) {
    size_t tile = 0;
    for (size_t s = 0; s < section->parts; s++) {
        DfPart *part = &section->part[s];
        part->tile = section->part[part->home].tile;
        if (part->home == s) {
            part->tile = tile;
            tile += part->tiles;
            part->bytes = df_lay(graph, section, s, part->tiles, plan);
            section->peak = size_max(section->peak, part->bytes);
        }
        part->actor = section->actors;
        part->actors = (part->s.units + part->per - 1) / part->per;
        section->actors += part->actors;
    }
    section->actor = mem_new(section->actors, sizeof *section->actor);
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        for (size_t k = 0; k < part->actors; k++) {
            DfActor *actor = &section->actor[part->actor + k];
            actor->part = s;
            actor->k = k;
            actor->tile = part->tile + k * part->spread;
            actor->u0 = k * part->per;
            actor->u1 = size_min(actor->u0 + part->per, part->s.units);
        }
    }
}
/* Where the rows of edge e lie, in the tiles of the first part that writes it. */
static inline void df_place_rows(const DfGraph *graph, DfSection *section, int e,
                                 const DfPlan *plan) {
    const size_t rows = graph->edge[e].rows;
    DfSlot *slot = &section->slot[e];
    size_t writer = 0;
    while (!df_writes(&section->part[writer].s, e)) writer++;
    slot->tile = section->part[writer].tile;
    slot->gs = slot->per * LINE;
    slot->stride = plan->groups * slot->gs;
    slot->slots *= section->span;
    slot->row = mem_new(rows + BEYOND, sizeof *slot->row);
    for (size_t row = 0; row < rows; row++) {
        const size_t line = row / slot->per * plan->stride + row % slot->per;
        slot->row[row] = (uint32_t)line;
    }
}
/* Places the edges of a section: where each lies, and which are stored: those made
 * here that are kept, or that a stage of another section reads. */
static inline void df_place_edges(const DfGraph *graph, DfSection *section,
                                  const DfPlan *plan) {
    const size_t end = section->first + section->parts - section->loads;
    bool *outside = mem_new(graph->edges, sizeof *outside);
    for (size_t s = 0; s < graph->stages; s++)
        for (int k = 0; k < DF_INS && (s < section->first || s >= end); k++)
            if (graph->stage[s].in[k] != DF_NONE) outside[graph->stage[s].in[k]] = true;
    for (size_t e = 0; e < graph->edges; e++) {
        DfSlot *slot = &section->slot[e];
        const size_t writer = df_writer(section, (int)e);
        if (writer == DF_NOBODY) continue;
        if (slot->slots) df_place_rows(graph, section, (int)e, plan);
        if (section->part[writer].s.kind == DF_LOAD) continue;
        slot->stored = graph->edge[e].kept || outside[e];
    }
    free(outside);
    for (size_t e = 0; e < graph->edges; e++) { /* what is written in place */
        const bool stored = section->slot[e].stored;
        section->slot[e] = section->slot[df_root(graph, section, (int)e)];
        section->slot[e].stored = stored;
    }
}
/* Under the address sanitizer: of the chip's memory only what this section placed
 * may be touched. */
#if defined __SANITIZE_ADDRESS__
#define DF_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define DF_ASAN 1
#endif
#endif
#ifdef DF_ASAN
void __asan_poison_memory_region(void const volatile *p, size_t n);
void __asan_unpoison_memory_region(void const volatile *p, size_t n);
static inline void df_guard(const DfPlan *plan, const DfSection *section) {
    const size_t floats = plan->stride * LINE;
    __asan_poison_memory_region(plan->memory, plan->chip.tiles * floats * sizeof(float));
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        float *tile = plan->memory + part->tile * floats;
        for (size_t k = 0; k < part->tiles && part->bytes; k++)
            __asan_unpoison_memory_region(tile + k * floats, part->bytes);
    }
}
static inline void df_unguard(const DfPlan *plan) {
    const size_t lines = plan->chip.tiles * plan->stride;
    __asan_unpoison_memory_region(plan->memory, lines * DF_LINE_BYTES);
}
#else
static inline void df_guard(const DfPlan *plan, const DfSection *section) {
    (void)plan;
    (void)section;
}
static inline void df_unguard(const DfPlan *plan) { (void)plan; }
#endif

/* ---- planning: the cuts -------------------------------------------------- */

/* Whether stages first .. end-1 fit on the chip together. */
static inline bool df_fits(const DfGraph *graph, const DfPlan *plan, size_t first,
                           size_t end, int mode, size_t span) {
    DfSection section = df_section(graph, plan, first, end, mode, span);
    const bool fits = df_pack(graph, &section, plan);
    df_section_free(&section, graph);
    return fits;
}
/* Whether the graph may be cut before stage s: at its end, or where no stage
 * shares tiles across. */
static inline bool df_may_cut(const DfGraph *graph, size_t s) {
    for (size_t after = s; after < graph->stages; after++)
        if (graph->stage[after].share > after - s) return false;
    return true;
}
/* The first place after stage s where the graph may be cut. */
static inline size_t df_next_cut(const DfGraph *graph, size_t s) {
    do s++;
    while (!df_may_cut(graph, s));
    return s;
}
/* Rows that a cut before stage s takes off the chip and back: of edges that stages
 * first .. s-1 make and one of the DF_NEAR after them reads. Who reads an edge
 * later still would find it off chip whatever the cut. */
enum { DF_NEAR = 16 };
static inline size_t df_cut_rows(const DfGraph *graph, size_t first, size_t s) {
    const size_t end = size_min(s + DF_NEAR, graph->stages);
    size_t rows = 0;
    for (size_t e = 0; e < graph->edges; e++) {
        bool made = false;
        bool read = false;
        for (size_t k = first; k < s && !made; k++)
            made = df_writes(&graph->stage[k], (int)e);
        for (size_t k = s; k < end && made && !read; k++)
            read = df_reads(&graph->stage[k], (int)e);
        if (read) rows += graph->edge[e].rows * (graph->edge[e].kept ? 1 : 2);
    }
    return rows;
}

/* What would have been enough, for the error: the least multiple of `unit` of
 * *field, which is the memory or the number of tiles of the plan's chip. 0: no
 * number is. */
static inline size_t df_enough(const DfGraph *graph, const DfPlan *plan, size_t *field,
                               size_t unit, size_t first, size_t end) {
    size_t low = *field;
    size_t high = low;
    while (!df_fits(graph, plan, first, end, DF_CROWDED, 1)) {
        if (high > (size_t)1 << 40) return 0;
        low = high;
        high *= 2;
        *field = high;
    }
    while (high - low > unit) {
        const size_t middle = (low + (high - low) / 2) / unit * unit;
        if (middle <= low) break;
        *field = middle;
        if (df_fits(graph, plan, first, end, DF_CROWDED, 1)) high = middle;
        else low = middle;
    }
    return high;
}
__attribute__((noreturn)) static inline void df_too_small(const DfGraph *graph,
                                                          const DfPlan *plan,
                                                          size_t first, size_t end) {
    DfSection section = df_section(graph, plan, first, end, DF_CROWDED, 1);
    const size_t need = df_lay(graph, &section, 0, 1, plan);
    DfPlan larger = *plan;
    DfPlan wider = *plan;
    const size_t sram = df_enough(graph, &larger, &larger.chip.sram, DF_LINE_BYTES,
                                  first, end);
    const size_t tiles = df_enough(graph, &wider, &wider.chip.tiles, 1, first, end);
    char hint[64] = "";
    if (tiles) snprintf(hint, sizeof hint, " or tiles=%zu", tiles);
    die("%s: needs %zu bytes for its streams alone, found %zu tiles of %zu; sram=%zu%s "
        "would do",
        graph->stage[first].name, need, plan->chip.tiles, plan->chip.sram, sram, hint);
}

/* How stages first .. end-1, which cannot be cut, fit on the chip, the best first;
 * DF_MODES if in no way. */
static inline int df_mode(const DfGraph *graph, const DfPlan *plan, size_t first,
                          size_t end) {
    int mode = DF_RESIDENT;
    while (mode < DF_MODES && !df_fits(graph, plan, first, end, mode, 1)) mode++;
    return mode;
}
/* Whether a chip can run the graph at all: whether every part of it that cannot be
 * cut fits in some way. */
static inline bool df_holds(const DfGraph *graph, DfChip chip, size_t depth,
                            size_t groups) {
    const DfPlan plan = {.chip = chip, .depth = depth, .groups = groups};
    size_t end;
    for (size_t first = 0; first < graph->stages; first = end) {
        end = df_next_cut(graph, first);
        if (df_mode(graph, &plan, first, end) == DF_MODES) return false;
    }
    return true;
}

/* The end of the longest run of stages from `first` on, up to stage `turn`, that
 * fit with their weights; `first` if none do. */
static inline size_t df_longest(const DfGraph *graph, const DfPlan *plan, size_t first,
                                size_t turn) {
    size_t longest = first;
    for (size_t s = first + 1; s <= turn; s++) {
        if (s != turn && !df_may_cut(graph, s)) continue;
        if (!df_fits(graph, plan, first, s, DF_RESIDENT, 1)) break;
        longest = s;
    }
    return longest;
}
/* The cut in the second half of stages first .. end-1, or at their end, by which
 * least has to leave the chip. At `turn` it leaves it anyhow. */
static inline size_t df_cheapest_cut(const DfGraph *graph, size_t first, size_t end,
                                     size_t turn) {
    size_t best = first;
    size_t least = SIZE_MAX;
    for (size_t s = end; s > first && 2 * (end - s) <= end - first; s--) {
        const size_t rows = s == turn ? 0 : df_cut_rows(graph, first, s);
        if (rows >= least || !df_may_cut(graph, s)) continue;
        least = rows;
        best = s;
    }
    return best;
}
/* Panels a firing where weights are streamed: as many as fit, a power of two, but
 * an eighth of the stream's at most, for the stages would else wait for one
 * another. */
static inline size_t df_widest_span(const DfGraph *graph, const DfPlan *plan,
                                    size_t first, size_t end, int mode, size_t panels) {
    size_t span = 1;
    while (16 * span <= panels &&
           df_fits(graph, plan, first, end, mode, 2 * span)) span *= 2;
    return span;
}
/* The section that begins with stage `first`. Its four steps:
 *     1  the longest run of stages that fit, with their weights if that can be
 *     2  the cheapest cut in the second half of the run
 *     3  the span, if weights are streamed
 *     4  tiles, addresses, actors */
static inline DfSection df_next_section(const DfGraph *graph, const DfPlan *plan,
                                        size_t first, size_t panels) {
    const size_t turn = first < graph->forward ? graph->forward : graph->stages;
    size_t end = df_longest(graph, plan, first, turn);
    int mode = DF_RESIDENT;
    size_t span = 1;
    if (end > first) {
        end = df_cheapest_cut(graph, first, end, turn);
    } else {
        end = df_next_cut(graph, first);
        mode = df_mode(graph, plan, first, end);
        if (mode == DF_MODES) df_too_small(graph, plan, first, end);
        span = df_widest_span(graph, plan, first, end, mode, panels);
    }
    DfSection section = df_section(graph, plan, first, end, mode, span);
    df_pack(graph, &section, plan);
    df_spread(graph, &section, plan);
    df_place_parts(graph, &section, plan);
    df_place_edges(graph, &section, plan);
    return section;
}

/* Takes the chip's memory, and tells every edge where in it it lies. */
static inline void df_take_memory(DfPlan *plan, const DfGraph *graph) {
    const size_t lines = size_mul(plan->chip.tiles, plan->stride);
    plan->memory = mem_new(lines, DF_LINE_BYTES);
    for (size_t n = 0; n < plan->sections; n++)
        for (size_t e = 0; e < graph->edges; e++) {
            DfSlot *slot = &plan->section[n].slot[e];
            float *tile = plan->memory + slot->tile * plan->stride * LINE;
            slot->chip = tile + slot->at / sizeof(float);
        }
}
/* Cuts the graph into sections for a chip: `depth` slots a stream, `groups` a
 * panel, `panels` a stream. real: it is to be run, so with the chip's memory. Dies
 * if a stage cannot fit. Freed with df_plan_free. */
static inline DfPlan *df_plan(const DfGraph *graph, DfChip chip, size_t depth,
                              size_t groups, size_t panels, bool real) {
    if (chip.sram % DF_LINE_BYTES)
        die("sram: expected a multiple of %d bytes, found %zu", DF_LINE_BYTES,
            chip.sram);
    DfPlan *plan = mem_new(1, sizeof *plan);
    *plan = (DfPlan){.chip = chip, .depth = depth, .groups = groups};
    plan->stride = chip.sram / DF_LINE_BYTES + DF_GAP;
    size_t cap = 0;
    for (size_t s = 0; s < graph->stages;) {
        plan->section = mem_grow(plan->section, plan->sections, &cap,
                                 sizeof *plan->section);
        DfSection *section = &plan->section[plan->sections];
        *section = df_next_section(graph, plan, s, panels);
        plan->sections++;
        s += section->parts - section->loads;
    }
    if (real) df_take_memory(plan, graph);
    return plan;
}
static inline void df_plan_free(DfPlan *plan, const DfGraph *graph) {
    for (size_t n = 0; n < plan->sections; n++)
        df_section_free(&plan->section[n], graph);
    if (plan->memory) df_unguard(plan);
    free(plan->section);
    free(plan->memory);
    free(plan);
}

/* ---- slices: what a tile holds of a matrix that is cut by its columns ---- */

/* Cuts a matrix by the columns of each actor of a part: lines first[r] .. end[r]
 * of what the tile holds or, if weights stay off chip, of the whole. row: of every
 * column of the matrix its row of the edge that is scattered to; part->col gets
 * that of every line. */
static inline DfSlice *df_slices(const SpMat *mat, const DfSection *section,
                                 const DfPart *part, const uint32_t *row) {
    const size_t bytes = sizeof(DfSlice) + 3 * mat->nb * sizeof(uint32_t);
    DfSlice *slice = mem_new(part->actors, bytes);
    uint32_t *list = (uint32_t *)(slice + part->actors);
    for (size_t k = 0; k < part->actors; k++) {
        const DfActor *actor = &section->actor[part->actor + k];
        const size_t left = actor->u0 * LINE;
        const size_t right = size_min(actor->u1 * LINE, mat->IC);
        uint32_t *from = list;                  /* (row blocks) each */
        uint32_t *first = list + mat->nb;
        uint32_t *end = list + 2 * mat->nb;
        list += 3 * mat->nb;
        uint32_t *col = part->col;
        if (!mat->dense && !section->streamed) col += part->s.lines[actor->u0];
        uint32_t held = 0;
        for (size_t r = 0; r < mat->nb; r++) {
            const uint32_t *cols = sp_cols(mat, r);
            const uint32_t block = mat->first[r];
            const uint32_t block_end = mat->first[r + 1];
            uint32_t line = block;
            while (line < block_end && cols[line - block] < left) line++;
            from[r] = line;
            first[r] = section->streamed ? line : held;
            end[r] = first[r];
            for (; line < block_end && cols[line - block] < right; line++) {
                if (!mat->dense) col[end[r]] = row[cols[line - block]];
                end[r]++;
            }
            held += line - from[r];
        }
        slice[k] = (DfSlice){.mat = *mat, .from = from};
        slice[k].mat.first = first;
        slice[k].mat.end = end;
        slice[k].mat.IC = right - left;
        slice[k].mat.col = mat->dense ? (uint32_t *)(uintptr_t)(row + left) : col;
    }
    return slice;
}
/* Gives a part of a section its matrix: the column list as rows of the edge that
 * it gathers from or scatters to, and, if its units are columns, each tile's
 * slice. Freed with the plan. */
static inline void df_columns(const DfSection *section, DfPart *part, const SpMat *mat,
                              bool by_columns) {
    const int e = part->s.scatter ? part->s.out[0] : part->s.in[0];
    const uint32_t *row = section->slot[e].row;
    if (!mat->dense) part->col = mem_new(mat->lines + BEYOND, sizeof *part->col);
    if (by_columns)
        part->cut = df_slices(mat, section, part, row);
    else
        for (size_t line = 0; !mat->dense && line < mat->lines; line++)
            part->col[line] = row[mat->col[line]];
}
/* `lines` lines on the chip, or back. */
static inline void df_carry(float *chip, float *flat, size_t lines, bool back) {
    memcpy(back ? flat : chip, back ? chip : flat, lines * DF_LINE_BYTES);
}
/* The lines of a slice on the chip; flat: of the whole matrix. */
static inline void df_carry_slice(const DfSlice *slice, float *chip,
                                  const float *flat) {
    for (size_t r = 0; r < slice->mat.nb; r++) {
        const size_t first = slice->mat.first[r];
        const size_t from = slice->from[r];
        memcpy(chip + first * LINE, flat + from * LINE,
               (slice->mat.end[r] - first) * DF_LINE_BYTES);
    }
}

/* ---- running a section --------------------------------------------------- *
 * An actor fires when every part it reads from has done the panel (and those its
 * lag asks for) and every part that reads from it has room. All of that is
 * counters that only grow, so any worker may find out at any time, and what is
 * ready stays ready: a Kahn network, whose result depends neither on workers nor
 * on time. Workers look from the last part on, which keeps panels moving to the
 * end while they are in a worker's caches. */

/* Fires an actor on panels i x span .. of its stream. */
typedef void DfFire(void *owner, const DfSection *section, const DfActor *actor,
                    size_t i, size_t worker);

typedef struct {                    /* a firing, as it happened on the host */
    double from, to;                /* seconds */
    uint32_t worker, section, actor, panel;
} DfEvent;

typedef struct {
    DfSection *section;
    size_t number;                  /* of the section */
    size_t panels;                  /* firings of an actor */
    size_t workers;                 /* of the pool */
    DfFire *fire;
    void *owner;
    DfEvent *event;                 /* [actors][panels], or NULL: not wanted */
    atomic_size_t left;             /* firings */
    atomic_int firing;              /* workers that fire now */
} DfJob;

static inline size_t df_done(const DfSection *section, size_t s) {
    return atomic_load_explicit(&section->part[s].done, memory_order_acquire);
}
/* The part that a part waits for before panel i, or DF_NOBODY. */
static inline size_t df_waits(const DfSection *section, const DfPart *part, size_t i,
                              size_t panels) {
    const size_t wanted = size_min(i + 1 + part->s.lag, panels);
    for (size_t k = 0; k < part->needs; k++)
        if (df_done(section, part->need[k]) < wanted) return part->need[k];
    for (size_t k = 0; k < part->gives; k++)
        if (df_done(section, part->give[k]) + part->ahead[k] <= i) return part->give[k];
    return DF_NOBODY;
}
/* Panels that every tile of a part has done, counted anew. */
static inline size_t df_count(const DfSection *section, const DfPart *part) {
    size_t least = SIZE_MAX;
    for (size_t k = 0; k < part->actors; k++)
        least = size_min(least, atomic_load(&section->actor[part->actor + k].done));
    return least;
}
/* After a firing of one of its tiles: how far all of them are. The number only
 * grows, whoever writes it. */
static inline void df_advance(const DfSection *section, DfPart *part) {
    const size_t least = df_count(section, part);
    size_t was = atomic_load(&part->done);
    while (was < least && !atomic_compare_exchange_weak(&part->done, &was, least)) {}
}
/* Fires an actor, which is ready and this worker's alone, on panel i. */
static inline void df_fire(DfJob *job, DfPart *part, DfActor *actor, size_t i,
                           size_t worker) {
    const size_t number = (size_t)(actor - job->section->actor);
    const double from = job->event ? seconds() : 0;
    job->fire(job->owner, job->section, actor, i, worker);
    if (job->event)
        job->event[number * job->panels + i] = (DfEvent){
            .from = from, .to = seconds(), .worker = (uint32_t)worker,
            .section = (uint32_t)job->number, .actor = (uint32_t)number,
            .panel = (uint32_t)i};
    atomic_store(&actor->done, i + 1);  /* before df_advance reads: two may finish
                                         * at once */
    df_advance(job->section, part);
    atomic_fetch_sub(&job->left, 1);
}
/* Fires an actor if nobody else does and its next panel is ready; whether it did.
 * Another worker may have fired it since somebody looked, so all is asked again. */
static inline bool df_try(DfJob *job, DfPart *part, DfActor *actor, size_t worker) {
    int idle = 0;
    bool ready = false;
    atomic_fetch_add(&job->firing, 1);
    if (atomic_compare_exchange_strong(&actor->busy, &idle, 1)) {
        const size_t i = atomic_load_explicit(&actor->done, memory_order_acquire);
        ready = i < job->panels &&
                df_waits(job->section, part, i, job->panels) == DF_NOBODY;
        if (ready) df_fire(job, part, actor, i, worker);
        atomic_store_explicit(&actor->busy, 0, memory_order_release);
    }
    atomic_fetch_sub(&job->firing, 1);
    return ready;
}
/* Fires one tile of a part on panel i, if the part is ready for it and one of its
 * tiles is free and has come so far. */
static inline bool df_fire_part(DfJob *job, DfPart *part, size_t i, size_t worker) {
    DfSection *section = job->section;
    if (df_waits(section, part, i, job->panels) != DF_NOBODY) return false;
    for (size_t k = 0; k < part->actors; k++) {
        DfActor *actor = &section->actor[part->actor + k];
        if (atomic_load_explicit(&actor->done, memory_order_relaxed) != i) continue;
        if (atomic_load_explicit(&actor->busy, memory_order_relaxed)) continue;
        if (df_try(job, part, actor, worker)) return true;
    }
    return false;
}
/* Fires one actor that is ready, of the last part that has one: of the worker's
 * own panels, every workers-th, or of any. A panel that stays with one worker
 * stays in its cache, and with as many slots as workers so do the slots. Panels
 * cost more towards the end of a sequence, so the workers change places now and
 * then. */
static inline bool df_fire_one(DfJob *job, size_t worker, bool any) {
    for (size_t s = job->section->parts; s-- > 0;) {
        const size_t slowest = df_done(job->section, s);
        /* the panel of its slowest tile, then the one that others may be at */
        for (size_t i = slowest; i < slowest + 2 && i < job->panels; i++) {
            const size_t turn = i + i / (2 * job->workers);
            if (!any && turn % job->workers != worker) continue;
            if (df_fire_part(job, &job->section->part[s], i, worker)) return true;
        }
    }
    return false;
}
/* Nothing is ready, nobody fires and firings are left: says who waits for whom,
 * and ends the program. */
__attribute__((noreturn)) static inline void df_stuck(const DfJob *job) {
    const DfSection *section = job->section;
    char text[512] = "";
    size_t used = 0;
    size_t s = 0;
    while (s + 1 < section->parts && df_done(section, s) == job->panels) s++;
    for (int hop = 0; hop < 8 && s != DF_NOBODY && used < sizeof text; hop++) {
        const DfPart *part = &section->part[s];
        const size_t i = df_count(section, part);
        const int more = snprintf(text + used, sizeof text - used,
                                  "%s at panel %zu waits for ", part->s.name, i);
        used += (size_t)more;
        s = df_waits(section, part, i, job->panels);
    }
    die("the machine stands still: %s...", text);
}

enum { DF_PATIENCE = 64 };  /* looks in vain for its own panels before a worker
                             * takes any */

static inline void df_section_worker(void *arg, size_t task, size_t worker) {
    DfJob *job = arg;
    int idle = 0;
    (void)task;
    while (atomic_load(&job->left)) {
        if (df_fire_one(job, worker, idle >= DF_PATIENCE)) {
            idle = 0;
            continue;
        }
        idle++;
        if (idle < DF_SPINS) {
            df_relax();
            continue;
        }
        /* Somebody fires, or has just stopped: what that made ready is found by
         * looking again. Only looks between which nobody fired count towards
         * standing still. */
        if (atomic_load(&job->firing)) idle = DF_SPINS;
        if (idle > 100 * DF_SPINS && atomic_load(&job->left)) df_stuck(job);
        sched_yield();
    }
}
/* Runs a section, the number-th of its plan, over a stream of so many panels on
 * all workers of the pool. event: [actors][firings of each] gets what happened, or
 * NULL. */
static inline void df_section_run(DfPool *pool, DfSection *section, size_t number,
                                  size_t panels, DfFire *fire, void *owner,
                                  DfEvent *event) {
    DfJob job = {.section = section, .number = number, .workers = pool->workers,
                 .fire = fire, .owner = owner, .event = event};
    job.panels = (panels + section->span - 1) / section->span;
    atomic_init(&job.left, job.panels * section->actors);
    atomic_init(&job.firing, 0);
    for (size_t k = 0; k < section->actors; k++) atomic_store(&section->actor[k].done, 0);
    for (size_t s = 0; s < section->parts; s++) atomic_store(&section->part[s].done, 0);
    df_run(pool, df_section_worker, &job, pool->workers);
}

/* ---- the clock ----------------------------------------------------------- *
 * Simulated cycles, with no data, by events: every tile has a time, every panel
 * the time at which a part gave it. A firing is ready when its inputs have come
 * and its output has room; of its ready firings a tile takes the earliest, of the
 * last part if several, as the workers do; that takes the longer of its arithmetic
 * and its traffic on chip. Nothing of the host enters, so the numbers are the same
 * on any of them. Off-chip traffic is charged to the section as a whole, at
 * streaming or random rate: the section takes the longer of that and of its
 * pipeline. Its weights come before it, unless the chip had room for them while
 * the section before ran.
 *
 * What it cannot see: contention in the fabric, bank conflicts (a gathered line
 * lies across all banks, so there are none; see df_bank_share), refresh, and
 * bursts of off-chip traffic. Such models are optimistic. */

typedef struct {
    double cycles, seconds;         /* of the pipeline; in all */
    double compute;                 /* cycles of the busiest tile */
    double flops;
    double utilisation;             /* of all tiles over the section's seconds */
    double data_wait, credit_wait;  /* cycles, the mean over tiles used */
    double weights, grads, in, out, random;         /* bytes off chip */
    double on_chip, gathered;       /* bytes */
    double load;                    /* seconds of weights that nothing hid */
    const char *bound;
} DfClock;

/* The panels that a section sees, sequence by sequence. */
typedef struct {
    size_t panels;                  /* in all */
    size_t per_sequence;
    size_t groups, last_groups;     /* of a panel; of a sequence's last one */
    bool forward;                   /* from a sequence's first panel to its last */
} DfStream;

typedef struct { size_t first, groups; } DfPanel;   /* its first group; how many */

/* The stream that a section beginning with stage `first` sees of so many
 * sequences. */
static inline DfStream df_stream(const DfGraph *graph, size_t first, size_t sequences,
                                 size_t sequence_groups, size_t groups) {
    const size_t panels = (sequence_groups + groups - 1) / groups;
    return (DfStream){.panels = sequences * panels, .per_sequence = panels,
                      .groups = groups,
                      .last_groups = sequence_groups - (panels - 1) * groups,
                      .forward = first < graph->forward};
}
static inline DfPanel df_panel(const DfStream *stream, size_t i) {
    const size_t last = stream->per_sequence - 1;
    size_t at = i % stream->per_sequence;
    if (!stream->forward) at = last - at;
    return (DfPanel){.first = at * stream->groups,
                     .groups = at == last ? stream->last_groups : stream->groups};
}
/* Groups of all panels together. */
static inline double df_stream_groups(const DfStream *stream) {
    const size_t sequences = stream->panels / stream->per_sequence;
    const size_t whole = (stream->per_sequence - 1) * stream->groups;
    return (double)(sequences * (whole + stream->last_groups));
}
/* Rows that a stage reads and makes. */
static inline double df_rows_in(const DfGraph *graph, const DfStage *stage) {
    double rows = 0;
    for (int k = 0; k < DF_INS; k++)
        if (stage->in[k] != DF_NONE) rows += (double)graph->edge[stage->in[k]].rows;
    return rows;
}
static inline double df_rows_out(const DfGraph *graph, const DfStage *stage) {
    double rows = 0;
    for (int k = 0; k < DF_OUTS; k++)
        if (stage->out[k] != DF_NONE) rows += (double)graph->edge[stage->out[k]].rows;
    return rows;
}
/* Lines of which an actor gathers or scatters, a group. */
static inline double df_gathered(const DfPart *part, const DfActor *actor) {
    const double times = part->s.gather + 2 * part->s.scatter;
    return times * df_lines(&part->s, actor->u0, actor->u1);
}
/* Lines that a firing moves on chip besides, on so many groups: its share of the
 * rows, and its weights. */
static inline double df_moved(const DfGraph *graph, const DfPart *part,
                              const DfActor *actor, double groups) {
    const DfStage *stage = &part->s;
    const double share = (double)(actor->u1 - actor->u0) / (double)stage->units;
    const double all = stage->gather || stage->scatter
                       ? (double)graph->edge[stage->in[0]].rows : 0;
    double rows = df_rows_in(graph, stage) + df_rows_out(graph, stage);
    if (stage->gather) rows -= all;             /* counted line by line */
    rows *= share;
    if (stage->scatter) rows += (1 - share) * all;
    return rows * groups + df_lines(stage, actor->u0, actor->u1);
}

/* Is told of every firing, in cycles. */
typedef void DfSeen(void *owner, const DfSection *section, size_t actor, size_t i,
                    double from, double to);

typedef struct {
    const DfGraph *graph;
    const DfChip *chip;
    const DfSection *section;
    const DfStream *stream;
    DfSeen *seen;
    void *owner;
    size_t panels;                  /* firings of an actor */
    double *last;                   /* [panels][parts] when the last of a part's
                                     * tiles so far gave a panel */
    uint32_t *fired;                /* [panels][parts] how many did */
    double *time;                   /* [tiles] until when a tile is busy */
    double *busy;                   /* [tiles] cycles of work */
    size_t *done;                   /* [actors] panels */
    bool *waits;                    /* [actors] in the heap */
    Heap ready;                     /* actors, the earliest first */
    DfClock clock;
} DfSim;

/* An actor is ready at that time: of those at one time the last part's is first.
 * A time is not below 0, so its bits have its order. */
static inline void df_ready_at(DfSim *sim, size_t actor, double time) {
    const size_t part = sim->section->actor[actor].part;
    uint64_t bits;
    memcpy(&bits, &time, sizeof bits);
    heap_push(&sim->ready, bits, (uint64_t)(sim->section->parts - part) << 32 | actor);
}
/* When part s gave panel i; INFINITY if it has not yet. */
static inline double df_given(const DfSim *sim, size_t s, size_t i) {
    const size_t at = i * sim->section->parts + s;
    return sim->fired[at] == sim->section->part[s].actors ? sim->last[at] : INFINITY;
}
/* When an actor's next firing has its inputs; INFINITY if not known yet. */
static inline double df_data_at(const DfSim *sim, size_t actor) {
    const DfPart *part = &sim->section->part[sim->section->actor[actor].part];
    const size_t i = size_min(sim->done[actor] + part->s.lag, sim->panels - 1);
    double time = 0;
    for (size_t k = 0; k < part->needs; k++)
        time = fmax(time, df_given(sim, part->need[k], i));
    return time;
}
/* When it has room for its outputs; INFINITY if not known yet. */
static inline double df_room_at(const DfSim *sim, size_t actor) {
    const DfPart *part = &sim->section->part[sim->section->actor[actor].part];
    const size_t i = sim->done[actor];
    double time = 0;
    for (size_t k = 0; k < part->gives; k++)
        if (i >= part->ahead[k])
            time = fmax(time, df_given(sim, part->give[k], i - part->ahead[k]));
    return time;
}
/* Puts an actor in the heap, if its next firing has a time. */
static inline void df_wake(DfSim *sim, size_t actor) {
    if (sim->waits[actor] || sim->done[actor] == sim->panels) return;
    const double free_at = sim->time[sim->section->actor[actor].tile];
    const double time = fmax(df_data_at(sim, actor), df_room_at(sim, actor));
    if (time == INFINITY) return;
    sim->waits[actor] = true;
    df_ready_at(sim, actor, fmax(time, free_at));
}
static inline void df_wake_part(DfSim *sim, const DfPart *part) {
    for (size_t k = 0; k < part->actors; k++) df_wake(sim, part->actor + k);
}
static inline bool df_touches(const DfPart *part, size_t s) {
    for (size_t k = 0; k < part->needs; k++)
        if (part->need[k] == s) return true;
    for (size_t k = 0; k < part->gives; k++)
        if (part->give[k] == s) return true;
    return false;
}
/* Cycles of an actor's firing on panel i of its own; counts what it does. */
static inline double df_cost(DfSim *sim, const DfActor *actor, size_t i) {
    const DfPart *part = &sim->section->part[actor->part];
    const size_t first = i * sim->section->span;
    const size_t end = size_min(first + sim->section->span, sim->stream->panels);
    const double line = LINE * (double)sim->chip->element;
    double bytes = 0;
    double flops = 0;
    for (size_t n = first; n < end; n++) {
        const DfPanel panel = df_panel(sim->stream, n);
        const double groups = (double)panel.groups;
        const double gathered = df_gathered(part, actor) * groups * line;
        bytes += gathered + df_moved(sim->graph, part, actor, groups) * line;
        flops += df_flops(&part->s, actor->u0, actor->u1, panel.first, panel.groups);
        sim->clock.gathered += gathered;
    }
    sim->clock.flops += flops;
    sim->clock.on_chip += bytes;
    return fmax(flops / sim->chip->flops, bytes / sim->chip->port);
}
/* An actor's next firing, from that time on:
 *     1  how long it takes, and how long its tile waited for it, and why
 *     2  its tile is busy so long
 *     3  if it was the last tile to give the panel, who waited for that wakes */
static inline void df_sim_fire(DfSim *sim, size_t number, double from) {
    const DfSection *section = sim->section;
    const DfActor *actor = &section->actor[number];
    const DfPart *part = &section->part[actor->part];
    const size_t i = sim->done[number];
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
    sim->done[number]++;

    sim->last[at] = fmax(sim->last[at], *time);
    sim->fired[at]++;
    df_wake(sim, number);
    if (sim->fired[at] < part->actors) return;
    for (size_t s = 0; s < section->parts; s++)
        if (df_touches(&section->part[s], actor->part))
            df_wake_part(sim, &section->part[s]);
}
/* The pipeline of a section over a stream: its cycles, waits and traffic on chip. */
static inline DfClock df_pipeline(const DfGraph *graph, const DfPlan *plan,
                                  const DfSection *section, const DfStream *stream,
                                  DfSeen *seen, void *owner) {
    const size_t panels = (stream->panels + section->span - 1) / section->span;
    const size_t tiles = size_max(section->tiles, 1);
    DfSim sim = {.graph = graph, .chip = &plan->chip, .section = section,
                 .stream = stream, .seen = seen, .owner = owner, .panels = panels};
    sim.last = mem_new(size_mul(section->parts, panels), sizeof *sim.last);
    sim.fired = mem_new(size_mul(section->parts, panels), sizeof *sim.fired);
    sim.time = mem_new(tiles, sizeof *sim.time);
    sim.busy = mem_new(tiles, sizeof *sim.busy);
    sim.done = mem_new(section->actors, sizeof *sim.done);
    sim.waits = mem_new(section->actors, sizeof *sim.waits);
    for (size_t s = 0; s < section->parts; s++) df_wake_part(&sim, &section->part[s]);
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
        sim.waits[actor] = false;
        df_sim_fire(&sim, actor, time);
    }
    for (size_t k = 0; k < tiles; k++)
        sim.clock.compute = fmax(sim.clock.compute, sim.busy[k]);
    sim.clock.data_wait /= (double)tiles;
    sim.clock.credit_wait /= (double)tiles;
    free(sim.last);
    free(sim.fired);
    free(sim.time);
    free(sim.busy);
    free(sim.done);
    free(sim.waits);
    free(sim.ready.item);
    return sim.clock;
}

/* Adds the bytes that a section takes on and off the chip over a stream. */
static inline void df_traffic(DfClock *clock, const DfGraph *graph, const DfPlan *plan,
                              const DfSection *section, const DfStream *stream) {
    const double line = LINE * (double)plan->chip.element;
    const double groups = df_stream_groups(stream);
    double often = 1;                   /* times that weights come */
    if (section->streamed) often = ceil((double)stream->panels / (double)section->span);
    for (size_t s = 0; s < section->parts; s++) {
        const DfStage *stage = &section->part[s].s;
        const double lines = df_lines(stage, 0, stage->units);
        clock->in += (stage->reads - stage->random) * groups * line;
        clock->random += stage->random * groups * line;
        clock->out += stage->writes * groups * line;
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = stage->out[k];
            if (e != DF_NONE && section->slot[e].stored)
                clock->out += (double)graph->edge[e].rows * groups * line;
        }
        bool come = stage->weights;
        if (section->streamed) come = stage->lines && !stage->grads;
        /* 4 bytes: a line's column, though a dense matrix needs none */
        if (come) clock->weights += lines * (line + 4) * often;
        const double sums = (double)(stage->units * stage->sums);
        clock->grads += 2 * (lines * stage->grads * often + sums) * line;
    }
}
/* The time, from cycles and from seconds of traffic off chip, of which the longer
 * counts, and seconds that neither hides; and what bounds it. */
static inline void df_time(DfClock *clock, const DfChip *chip, double memory,
                           double unhidden) {
    const double pipeline = clock->cycles / chip->clock;
    clock->seconds = fmax(pipeline, memory) + unhidden;
    clock->bound = memory > pipeline ? "memory" : "compute";
    clock->utilisation = clock->flops / ((double)chip->tiles * chip->flops
                                         * chip->clock * clock->seconds);
}
/* The n-th section of a plan over a stream; seen is told of every firing. */
static inline DfClock df_clock(const DfGraph *graph, const DfPlan *plan, size_t n,
                               const DfStream *stream, DfSeen *seen, void *owner) {
    const DfChip *chip = &plan->chip;
    const DfSection *section = &plan->section[n];
    DfClock clock = df_pipeline(graph, plan, section, stream, seen, owner);
    df_traffic(&clock, graph, plan, section, stream);
    double bytes = clock.in + clock.out + clock.grads;
    double load = 0;
    if (section->streamed) bytes += clock.weights;
    else load = clock.weights / chip->memory;
    const bool hidden = n > 0 && section[-1].tiles + section->tiles <= chip->tiles;
    clock.load = hidden ? 0 : load;
    const double memory = bytes / chip->memory + clock.random / chip->random;
    df_time(&clock, chip, memory + load - clock.load, clock.load);
    if (!strcmp(clock.bound, "compute") && clock.compute < 0.5 * clock.cycles)
        clock.bound = "pipeline";
    return clock;
}

/* A stage by itself over a stream, as a device without dataflow runs it: all
 * tiles, every edge off chip. */
static inline DfClock df_clock_kernel(const DfGraph *graph, const DfChip *chip,
                                      const DfStage *stage, const DfStream *stream) {
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
        clock.flops += df_flops(stage, 0, stage->units, panel.first, panel.groups);
    }
    clock.cycles = clock.flops / ((double)chip->tiles * chip->flops);
    clock.compute = clock.cycles;
    const double bytes = clock.in + clock.out + clock.weights + clock.grads;
    df_time(&clock, chip, bytes / chip->memory + clock.random / chip->random,
            chip->launch);
    return clock;
}
static inline double df_off_chip(const DfClock *clock) {
    return clock->weights + clock->grads + clock->in + clock->out + clock->random;
}
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

/* The share of a memory's throughput that `lanes` reads at random get from so many
 * banks, 64 at most, when all wait for the fullest: 1 / E[most in a bank], by
 * drawing. 16 into 16: 0.325. A whole line across all banks: 1. */
static inline double df_bank_share(size_t lanes, size_t banks, size_t draws) {
    double sum = 0;
    for (size_t draw = 0; draw < draws; draw++) {
        size_t full[64] = {0};
        size_t most = 0;
        for (size_t lane = 0; lane < lanes; lane++) {
            const size_t bank = rng_u64(77, draw * lanes + lane) % size_min(banks, 64);
            full[bank]++;
            most = size_max(most, full[bank]);
        }
        sum += (double)most;
    }
    return (double)draws / sum;
}
#endif
