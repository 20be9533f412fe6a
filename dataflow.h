/* dataflow.h: the machine. A chip of tiles with memory, a planner that lays a
 * graph of stages on it, and workers that run it for real. How long such a chip
 * would take says data/run/clock.h.
 *
 * It knows nothing of GPT: a stage is units, weights, edges and FLOPs, and its
 * owner fires it. It refuses hidden state, more memory than a tile has, and any
 * mixing of the host's seconds with the chip's cycles.
 *
 *     chip      tiles, bytes of memory of each, rates     DfChip
 *     graph     stages and the edges between them         DfGraph, the owner's
 *     section   the stages on the chip together           DfSection; df_plan
 *     part      a stage in a section                      DfPart
 *     actor     a part on one tile; fires once a panel    DfActor
 *     slot      room for a panel of an edge, in the       DfSlot
 *               tiles of the part that writes it
 *     credit    a free slot; a writer without one waits   df_waits
 *     span      panels a firing, where weights pass       df_widest_span
 *               through the tile
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
 * Worked example: A makes edge x, B makes y from x, C reads x and y. They work
 * 2, 4 and 3 cycles on a panel, each on a tile, and there are 8 panels. An edge
 * has two slots, and x, which bypasses B, one more. Time goes from left to
 * right, a character a cycle; the digit is the panel that the tile works on:
 *
 *     A   tile 0   |001122   33  44  55  66  77             |
 *     B   tile 1   |  00001111222233334444555566667777      |
 *     C   tile 2   |      000 111 222 333 444 555 666 777   |
 *
 * A has room for three panels of x. It makes them at once, then stands still
 * until C has done panel 0 and so given a slot back: a credit. B is the slowest
 * and never waits once it has begun; C waits for what B makes. Nobody steers
 * this: each actor knows whom it waits for, and df_waits is all of the rule.
 * Where a stage has two tiles, each makes half of the rows, and who reads them
 * waits for both.
 *
 * What all of it stands on is df_run(pool, fn, arg, n) of pool.h: tasks
 * 0 .. n-1, on any worker. */
#ifndef DATAFLOW_H
#define DATAFLOW_H
#include "sparse.h"
#include "data/base/pool.h"

/* ---- the chip ------------------------------------------------------------ */

typedef struct {
    char name[32];
    size_t tiles;           /* compute tiles */
    size_t sram;            /* bytes of memory of each, whole lines of 64 */
    size_t element;         /* bytes of a number: 4; 2 if it is bfloat16 */
    double flops;           /* of a tile, a cycle */
    double clock;           /* Hz */
    double port;            /* bytes a cycle that a tile moves on chip */
    double memory;          /* bytes a second off chip, streamed */
    double random;          /* bytes a second off chip, at random */
    double launch;          /* seconds that starting a kernel takes */
    bool kernels;           /* knows no dataflow, only a kernel at a time */
} DfChip;

/* ---- the graph ----------------------------------------------------------- */

enum { DF_INS = 5, DF_OUTS = 2, DF_DEPS = 12 };
enum { DF_NONE = -1 };      /* among edges: no edge */
enum { DF_LOAD = -1 };      /* among kinds: brings edge out[0] on the chip */

/* An edge: what one stage gives to others, panel by panel: `rows` lines for
 * every group of 16 lanes. */
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
    size_t share;           /* stages back to the one whose tiles it shares; 0:
                             * it has its own */
    size_t lag;             /* panels of its inputs it must see ahead of the one
                             * it works on */
    size_t units;
    const uint32_t *lines;  /* [units + 1] unit u has weights lines[u] ..
                             * lines[u+1]; NULL: none */
    bool weights, grads;    /* what is on chip: the lines; their gradients */
    size_t sums;            /* lines a unit of other accumulators */
    size_t state;           /* lines a unit of what a sequence leaves behind */
    size_t grain;           /* lines of state that must lie on one tile: with n
                             * times more tiles than units, a unit's state is
                             * spread over n of them */
    double per_line;        /* FLOPs of a weight line and lane */
    double per_unit;        /* FLOPs of a unit and lane */
    double per_pair;        /* FLOPs of a unit, lane and earlier lane of the
                             * sequence */
    bool joins;             /* runs in the task of the stage before it, on the
                             * same panel */
    bool gather;            /* reads a line by a column list for each weight
                             * line and group */
    bool scatter;           /* adds to one instead, of its own rows, and reads
                             * all of in[0] */
    double reads, writes;   /* lines a group straight from and to off chip */
    double random;          /* of these, at random places */
} DfStage;

typedef struct {
    DfStage *stage;
    DfEdge *edge;
    size_t stages, edges;
    size_t forward;         /* so many stages take the panels in order; the
                             * others take those of a sequence from its last to
                             * its first */
} DfGraph;

/* Weight lines of units u0 .. u1-1. */
static inline double df_lines(const DfStage *stage, size_t u0, size_t u1) {
    return stage->lines ? (double)(stage->lines[u1] - stage->lines[u0]) : 0;
}
/* FLOPs of units u0 .. u1-1 on so many groups, the first of them group `first`
 * of its sequence. A lane is paired with the groups up to its own: on the mean
 * over these, first + (groups + 1) / 2 groups of 16. */
static inline double df_flops(const DfStage *stage, size_t u0, size_t u1,
                              size_t first, size_t groups) {
    const double lanes = (double)(groups * LINE);
    const double units = (double)(u1 - u0);
    const double earlier = ((double)first + (double)(groups + 1) / 2) * LINE;
    const double lines = df_lines(stage, u0, u1);
    return lanes * (lines * stage->per_line + units * stage->per_unit
                    + units * stage->per_pair * earlier);
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
 * An edge's rows are dealt out over the tiles of its part, equally many to
 * each, and lie at the same place in every one of them. Loads, which bring
 * edges of earlier sections on the chip, are parts like others. */

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

/* What a tile holds of a matrix that is cut by its columns: some of them, and
 * of each row block the line of the whole matrix at which they begin. */
typedef struct {
    SpMat mat;
    const uint32_t *from;   /* [row blocks] */
} DfSlice;

typedef struct {            /* a stage in a section */
    DfStage s;
    size_t home;            /* the part whose tiles it uses, maybe itself */
    size_t tile, tiles;     /* the first of them; how many */
    size_t per;             /* units a tile */
    size_t bytes;           /* of each tile, for all parts at home in it */
    size_t spread, grains;  /* tiles of a unit's state; grains of it on each */
    size_t w, dw;           /* bytes from the start of each tile's memory:
                             * weights and accumulators, */
    size_t sums, state;     /* sums, state */
    size_t needs, need[DF_DEPS];    /* parts that make what it reads */
    size_t gives, give[DF_DEPS];    /* parts that read what it makes */
    size_t ahead[DF_DEPS];  /* panels it may be ahead of each of these: slots */
    size_t actor, actors;   /* the first; how many: fewer than tiles if there
                             * are fewer units */
    uint32_t *col;          /* the matrix's columns as rows of the edge it
                             * gathers from or scatters to */
    DfSlice *cut;           /* [actors] what tiles hold, if units are columns */
    _Alignas(64) atomic_size_t done;    /* panels that all its tiles did */
} DfPart;

typedef struct {            /* a part on one tile */
    size_t part, k;         /* it is the k-th of this part */
    size_t u0, u1;          /* its units are u0 .. u1-1 */
    size_t tile;
    _Alignas(64) atomic_size_t done;        /* panels */
    atomic_int busy;
} DfActor;

/* How a section uses the chip: weights resident, a stage (and those that share
 * its tiles) a tile; weights streamed through; and where that is too many
 * tiles, streamed and all stages on the same tiles. */
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
    size_t span;            /* panels a firing: the more, the less often
                             * streamed weights pass */
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
 * same place of every tile would fall into the same set of the host's caches,
 * for a tile's size is a power of two: that cost a tenth of the speed. */
enum { DF_GAP = 321 };

static const size_t DF_NOBODY = SIZE_MAX;       /* no part */

/* The last part that writes edge e, or DF_NOBODY. */
static inline size_t df_writer(const DfSection *section, int e) {
    for (size_t s = section->parts; s-- > 0;)
        if (df_writes(&section->part[s].s, e)) return s;
    return DF_NOBODY;
}
/* The edge in whose slots edge e lies in this section: its base, if the part
 * that writes it in place is here. */
static inline int df_root(const DfGraph *graph, const DfSection *section,
                          int e) {
    const size_t writer = df_writer(section, e);
    if (graph->edge[e].base == DF_NONE || writer == DF_NOBODY) return e;
    return section->part[writer].s.kind == DF_LOAD ? e : graph->edge[e].base;
}
static inline void df_section_free(DfSection *section, const DfGraph *graph) {
    for (size_t e = 0; e < graph->edges; e++) {
        const int base = graph->edge[e].base;
        const DfSlot *slot = &section->slot[e];
        if (base == DF_NONE || slot->row != section->slot[base].row)
            free(slot->row);
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
    for (size_t s = 0; s < section->loads; s++)
        section->part[s].s = df_load(graph, load[s]);
    for (size_t s = 0; s < stages; s++)
        section->part[section->loads + s].s = graph->stage[first + s];
    free(here);
    free(load);
}

/* Parts after `writer` that read edge e or what is written in its place. */
typedef struct { size_t part[DF_DEPS], n; } DfReaders;

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
/* Slots of an edge with these readers: depth, and for one that bypasses a path
 * of parts some more, so as not to stop that path. Dies if with so few the
 * section would stand still: the lag of the path, plus 1, is the least. */
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
/* Fills a part's list of whom it waits for because they read what it makes. */
static inline void df_gives(const DfGraph *graph, DfSection *section, size_t s,
                            size_t depth) {
    DfPart *part = &section->part[s];
    for (int k = 0; k < DF_OUTS; k++) {
        const int e = part->s.out[k];
        if (e == DF_NONE || df_root(graph, section, e) != e) continue;
        const DfReaders readers = df_readers(graph, section, s, e);
        const size_t slots =
            df_slots(section, &readers, depth, graph->edge[e].name);
        section->slot[e].slots = slots;
        if (part->gives + readers.n > DF_DEPS)
            die("%s: more than %d stages read what it makes", part->s.name,
                DF_DEPS);
        for (size_t n = 0; n < readers.n; n++) {
            part->give[part->gives] = readers.part[n];
            part->ahead[part->gives] = slots;
            part->gives++;
        }
    }
}
/* Stages first .. end-1 as a section, with neither tiles nor addresses yet.
 * Freed with df_section_free. */
static inline DfSection df_section(const DfGraph *graph, const DfPlan *plan,
                                   size_t first, size_t end, int mode,
                                   size_t span) {
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
static inline size_t df_lay_part(const DfGraph *graph, DfSection *section,
                                 size_t s, size_t tiles, const DfPlan *plan,
                                 size_t at) {
    const size_t line = LINE * plan->chip.element;
    DfPart *part = &section->part[s];
    const DfStage *stage = &part->s;
    part->tiles = tiles;
    part->per = (stage->units + tiles - 1) / tiles;
    const size_t held =
        section->streamed ? 0 : df_held(stage, part->per) * line;

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
static inline size_t df_lay(const DfGraph *graph, DfSection *section,
                            size_t home, size_t tiles, const DfPlan *plan) {
    size_t at = 0;
    for (size_t s = home; s < section->parts; s++)
        if (section->part[s].home == home)
            at = df_lay_part(graph, section, s, tiles, plan, at);
    return at;
}
/* The fewest tiles that hold all parts at home in `home`; 0 if no number
 * does. */
static inline size_t df_fewest(const DfGraph *graph, DfSection *section,
                               size_t home, const DfPlan *plan) {
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
    while (tiles < most && df_lay(graph, section, home, tiles, plan) > sram)
        tiles++;
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

/* FLOPs of that group, of all parts at home in `home`, on their first tile:
 * taken for the busiest. */
static inline double df_busiest(const DfSection *section, size_t home) {
    double sum = 0;
    for (size_t s = home; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        const size_t units = size_min(part->per, part->s.units);
        if (part->home == home)
            sum += df_flops(&part->s, 0, units, DF_TYPICAL, 1);
    }
    return sum;
}
/* Gives the tiles that are left, one at a time, to the slowest part: until
 * there is none, or the slowest has more than its units or its memory let it
 * use. */
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
/* Where the rows of edge e lie, in the tiles of the first part that writes
 * it. */
static inline void df_place_rows(const DfGraph *graph, DfSection *section,
                                 int e, const DfPlan *plan) {
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
/* Places the edges of a section: where each lies, and which are stored: those
 * made here that are kept, or that a stage of another section reads. */
static inline void df_place_edges(const DfGraph *graph, DfSection *section,
                                  const DfPlan *plan) {
    const size_t end = section->first + section->parts - section->loads;
    bool *outside = mem_new(graph->edges, sizeof *outside);
    for (size_t s = 0; s < graph->stages; s++)
        for (int k = 0; k < DF_INS && (s < section->first || s >= end); k++)
            if (graph->stage[s].in[k] != DF_NONE)
                outside[graph->stage[s].in[k]] = true;
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
/* Under the address sanitizer: of the chip's memory only what this section
 * placed may be touched. */
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
    const size_t bytes = plan->chip.tiles * floats * sizeof(float);
    __asan_poison_memory_region(plan->memory, bytes);
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
static inline bool df_fits(const DfGraph *graph, const DfPlan *plan,
                           size_t first, size_t end, int mode, size_t span) {
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
/* Rows that a cut before stage s takes off the chip and back: of edges that
 * stages first .. s-1 make and one of the DF_NEAR after them reads. Who reads
 * an edge later still would find it off chip whatever the cut. */
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
static inline size_t df_enough(const DfGraph *graph, const DfPlan *plan,
                               size_t *field, size_t unit, size_t first,
                               size_t end) {
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
                                                          size_t first,
                                                          size_t end) {
    DfSection section = df_section(graph, plan, first, end, DF_CROWDED, 1);
    const size_t need = df_lay(graph, &section, 0, 1, plan);
    DfPlan larger = *plan;
    DfPlan wider = *plan;
    const size_t sram = df_enough(graph, &larger, &larger.chip.sram,
                                  DF_LINE_BYTES, first, end);
    const size_t tiles = df_enough(graph, &wider, &wider.chip.tiles,
                                   1, first, end);
    char hint[64] = "";
    if (tiles) snprintf(hint, sizeof hint, " or tiles=%zu", tiles);
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
    const DfPlan plan = {.chip = chip, .depth = depth, .groups = groups};
    size_t end;
    for (size_t first = 0; first < graph->stages; first = end) {
        end = df_next_cut(graph, first);
        if (df_mode(graph, &plan, first, end) == DF_MODES) return false;
    }
    return true;
}

/* The end of the longest run of stages from `first` on, up to stage `turn`,
 * that fit with their weights; `first` if none do. */
static inline size_t df_longest(const DfGraph *graph, const DfPlan *plan,
                                size_t first, size_t turn) {
    size_t longest = first;
    for (size_t s = first + 1; s <= turn; s++) {
        if (s != turn && !df_may_cut(graph, s)) continue;
        if (!df_fits(graph, plan, first, s, DF_RESIDENT, 1)) break;
        longest = s;
    }
    return longest;
}
/* The cut in the second half of stages first .. end-1, or at their end, by
 * which least has to leave the chip. At `turn` it leaves it anyhow. */
static inline size_t df_cheapest_cut(const DfGraph *graph, size_t first,
                                     size_t end, size_t turn) {
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
/* Panels a firing where weights are streamed: as many as fit, a power of two,
 * but an eighth of the stream's at most, for the stages would else wait for one
 * another. */
static inline size_t df_widest_span(const DfGraph *graph, const DfPlan *plan,
                                    size_t first, size_t end, int mode,
                                    size_t panels) {
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
static inline DfSection df_next_section(const DfGraph *graph,
                                        const DfPlan *plan, size_t first,
                                        size_t panels) {
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
 * panel, `panels` a stream. real: it is to be run, so with the chip's memory.
 * Dies if a stage cannot fit. Freed with df_plan_free. */
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

/* Cuts a matrix by the columns of each actor of a part: lines first[r] ..
 * end[r] of what the tile holds or, if weights stay off chip, of the whole.
 * row: of every column of the matrix its row of the edge that is scattered to;
 * part->col gets that of every line. */
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
        slice[k].mat.col = col;
        if (mat->dense) slice[k].mat.col = (uint32_t *)(uintptr_t)(row + left);
    }
    return slice;
}
/* Gives a part of a section its matrix: the column list as rows of the edge
 * that it gathers from or scatters to, and, if its units are columns, each
 * tile's slice. Freed with the plan. */
static inline void df_columns(const DfSection *section, DfPart *part,
                              const SpMat *mat, bool by_columns) {
    const int e = part->s.scatter ? part->s.out[0] : part->s.in[0];
    const uint32_t *row = section->slot[e].row;
    if (!mat->dense)
        part->col = mem_new(mat->lines + BEYOND, sizeof *part->col);
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
 * An actor fires when every part it reads from has done the panel (and those
 * its lag asks for) and every part that reads from it has room. All of that is
 * counters that only grow, so any worker may find out at any time, and what is
 * ready stays ready: a Kahn network, whose result depends neither on workers
 * nor on time. Workers look from the last part on, which keeps panels moving to
 * the end while they are in a worker's caches. */

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
    DfPool *pool;
    DfFire *fire;
    void *owner;
    DfEvent *event;                 /* [actors][panels], or NULL: not wanted */
    pthread_mutex_t lock;
    pthread_cond_t wake;            /* an actor has fired */
    size_t awake;                   /* workers that are in it and do not sleep */
    atomic_size_t asleep;           /* and those who do; both under the lock */
    atomic_size_t left;             /* firings */
} DfJob;

static inline size_t df_done(const DfSection *section, size_t s) {
    return atomic_load_explicit(&section->part[s].done, memory_order_acquire);
}
/* The part that a part waits for before panel i, or DF_NOBODY. */
static inline size_t df_waits(const DfSection *section, const DfPart *part,
                              size_t i, size_t panels) {
    const size_t wanted = size_min(i + 1 + part->s.lag, panels);
    for (size_t k = 0; k < part->needs; k++)
        if (df_done(section, part->need[k]) < wanted) return part->need[k];
    for (size_t k = 0; k < part->gives; k++)
        if (df_done(section, part->give[k]) + part->ahead[k] <= i)
            return part->give[k];
    return DF_NOBODY;
}
/* Panels that every tile of a part has done, counted anew. */
static inline size_t df_count(const DfSection *section, const DfPart *part) {
    size_t least = SIZE_MAX;
    for (size_t k = 0; k < part->actors; k++) {
        DfActor *actor = &section->actor[part->actor + k];
        least = size_min(least, atomic_load(&actor->done));
    }
    return least;
}
/* After a firing of one of its tiles: how far all of them are. The number only
 * grows, whoever writes it. */
static inline void df_advance(const DfSection *section, DfPart *part) {
    const size_t least = df_count(section, part);
    size_t was = atomic_load(&part->done);
    while (was < least &&
           !atomic_compare_exchange_weak(&part->done, &was, least)) {}
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
    atomic_store(&actor->done, i + 1);  /* before df_advance reads: two may
                                         * finish at once */
    df_advance(job->section, part);
}
/* After a firing: one less is left, and who has slept since he found nothing
 * that is ready may look again. At the end everybody has to know. */
static inline void df_fired(DfJob *job) {
    const size_t left = atomic_fetch_sub(&job->left, 1) - 1;
    if (!atomic_load(&job->asleep)) return;
    pthread_mutex_lock(&job->lock);
    if (left) df_rouse(job->pool, &job->wake);
    else pthread_cond_broadcast(&job->wake);
    pthread_mutex_unlock(&job->lock);
}
/* Fires an actor if nobody else does and its next panel is ready; whether it
 * did. Another worker may have fired it since somebody looked, so all is asked
 * again. */
static inline bool df_try(DfJob *job, DfPart *part, DfActor *actor,
                          size_t worker) {
    int idle = 0;
    bool ready = false;
    if (atomic_compare_exchange_strong(&actor->busy, &idle, 1)) {
        const size_t i =
            atomic_load_explicit(&actor->done, memory_order_acquire);
        ready = i < job->panels &&
                df_waits(job->section, part, i, job->panels) == DF_NOBODY;
        if (ready) df_fire(job, part, actor, i, worker);
        atomic_store_explicit(&actor->busy, 0, memory_order_release);
    }
    if (ready) df_fired(job);
    return ready;
}
/* Fires one tile of a part on panel i, if the part is ready for it and one of
 * its tiles is free and has come so far. */
static inline bool df_fire_part(DfJob *job, DfPart *part, size_t i,
                                size_t worker) {
    DfSection *section = job->section;
    if (df_waits(section, part, i, job->panels) != DF_NOBODY) return false;
    for (size_t k = 0; k < part->actors; k++) {
        DfActor *actor = &section->actor[part->actor + k];
        if (atomic_load_explicit(&actor->done, memory_order_relaxed) != i)
            continue;
        if (atomic_load_explicit(&actor->busy, memory_order_relaxed)) continue;
        if (df_try(job, part, actor, worker)) return true;
    }
    return false;
}
/* Fires one actor that is ready, of the last part that has one: of the panels of
 * the worker's seat, every seats-th, or of any. A panel that stays with one
 * worker stays in its cache, and with as many slots as workers so do the slots.
 * Panels cost more towards the end of a sequence, so the workers change places
 * now and then. */
static inline bool df_fire_one(DfJob *job, size_t seat, size_t worker, bool any) {
    const size_t seats = size_min(job->pool->workers, job->pool->cpus);
    for (size_t s = job->section->parts; s-- > 0;) {
        const size_t slowest = df_done(job->section, s);
        /* the panel of its slowest tile, then the one that others may be at */
        for (size_t i = slowest; i < slowest + 2 && i < job->panels; i++) {
            const size_t turn = i + i / (2 * seats);
            if (!any && turn % seats != seat % seats) continue;
            if (df_fire_part(job, &job->section->part[s], i, worker))
                return true;
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
        const int more =
            snprintf(text + used, sizeof text - used,
                     "%s at panel %zu waits for ", part->s.name, i);
        used += (size_t)more;
        s = df_waits(section, part, i, job->panels);
    }
    die("the machine stands still: %s...", text);
}

enum { DF_PATIENCE = 64 };  /* looks in vain for its own panels before a worker
                             * takes any */

/* Sleeps until an actor has fired since `left` firings were left: then this
 * worker began to look, and found that nothing was ready. If nobody is awake
 * who could make something ready, the machine stands still. */
static inline void df_section_sleep(DfJob *job, size_t left) {
    pthread_mutex_lock(&job->lock);
    atomic_fetch_add(&job->asleep, 1);
    job->awake--;
    if (!job->awake && atomic_load(&job->left) == left) df_stuck(job);
    while (atomic_load(&job->left) == left)
        df_sleep(job->pool, &job->wake, &job->lock);
    atomic_fetch_sub(&job->asleep, 1);
    job->awake++;
    pthread_mutex_unlock(&job->lock);
}
/* What a worker does while a section runs: fires whatever is ready, until no
 * firing is left. The task is its seat: the first to come get the first ones. */
static inline void df_section_worker(void *arg, size_t seat, size_t worker) {
    DfJob *job = arg;
    int idle = 0;                       /* looks in vain since it fired */
    size_t left;
    pthread_mutex_lock(&job->lock);
    job->awake++;
    pthread_mutex_unlock(&job->lock);
    while ((left = atomic_load(&job->left))) {
        const bool any = idle >= DF_PATIENCE;
        if (df_fire_one(job, seat, worker, any)) {
            idle = 0;
        } else if (!any || df_may_spin(job->pool, idle)) {
            idle++;
            df_relax();
        } else {
            df_section_sleep(job, left);
            idle = 0;
        }
    }
    pthread_mutex_lock(&job->lock);
    job->awake--;
    pthread_mutex_unlock(&job->lock);
}
/* Runs a section, the number-th of its plan, over a stream of so many panels on
 * all workers of the pool. event: [actors][firings of each] gets what happened,
 * or NULL. */
static inline void df_section_run(DfPool *pool, DfSection *section,
                                  size_t number, size_t panels, DfFire *fire,
                                  void *owner, DfEvent *event) {
    DfJob job = {.section = section, .number = number, .pool = pool,
                 .fire = fire, .owner = owner, .event = event};
    job.panels = (panels + section->span - 1) / section->span;
    atomic_init(&job.left, job.panels * section->actors);
    atomic_init(&job.asleep, 0);
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.wake, NULL);
    for (size_t k = 0; k < section->actors; k++)
        atomic_store(&section->actor[k].done, 0);
    for (size_t s = 0; s < section->parts; s++)
        atomic_store(&section->part[s].done, 0);
    df_run(pool, df_section_worker, &job, pool->workers);
    pthread_mutex_destroy(&job.lock);
    pthread_cond_destroy(&job.wake);
}
#endif
