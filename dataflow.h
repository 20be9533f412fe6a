/* dataflow.h: the machine: a chip of tiles with memory, a planner that lays a graph of stages on it, workers
 * that run it for real, and a clock that says how long the chip would take.
 *
 * It knows nothing of GPT: a stage is units, weights, edges and FLOPs, and its owner fires it. It refuses
 * hidden state, larger memories than were asked for, and any mixing of the host's seconds with the chip's
 * cycles.
 *
 *     chip        tiles, bytes of memory of each, rates                     DfChip
 *     graph       stages and the edges between them                         DfGraph, the owner's
 *     section     the stages on the chip together                           df_plan cuts the graph into them
 *     slot        room for one panel of an edge, in its writer's tiles      `depth` of them, or more
 *     credit      a free slot; a writer without one waits                   df_waits
 *     actor       a stage on one tile; it fires once a panel                df_section_run
 *     span        panels a firing, where weights pass through the tile      df_plan
 *     clock       cycles, waits, bytes                                      df_clock
 *
 * Memory of a tile while a section runs:
 *
 *     [a stage: weights | accumulators | sums | state | slots] [another that shares the tile: ...] free | gap
 *
 * Worked example: stage A (2 tiles) makes edge e for stage B (1 tile), 32 rows, depth 2, panels of 4 groups.
 * Each of A's tiles holds 2 slots x 4 groups x 16 rows of e. A's tiles fire on panel 0, then on panel 1
 * without waiting for B; panel 2 needs slot 0, so A waits until B has done panel 0. B fires on panel 0 once
 * both of A's tiles have.
 *
 * What all of it stands on is df_run(pool, fn, arg, n) of pool.h: tasks 0 .. n-1, on any worker. */
#ifndef DATAFLOW_H
#define DATAFLOW_H
#include "sparse.h"
#include "data/base/pool.h"

/* ---- the chip ------------------------------------------------------------------------------------------ */

typedef struct {
    char name[32];
    size_t tiles, sram;             /* compute tiles; bytes of memory of each */
    size_t element;                 /* bytes of a number: 4 here, 2 on machines for bfloat16 */
    double flops, clock, port;      /* of a tile: FLOPs a cycle; Hz; bytes on chip a cycle */
    double memory, random;          /* off chip: bytes a second streamed, and at random */
    double launch;                  /* seconds that starting a kernel takes */
    bool kernels;                   /* knows no dataflow: a kernel at a time is all it does */
} DfChip;

/* ---- the graph ----------------------------------------------------------------------------------------- */

enum { DF_INS = 5, DF_OUTS = 2, DF_DEPS = 12, DF_LINE = 16, DF_LOAD = -1 };

/* An edge: what one stage gives to others, panel by panel: rows lines for every group of 16 lanes. */
typedef struct {
    char name[48];
    size_t rows;
    int base;                       /* the edge in whose slots it lies, being written in place; -1: its own */
    bool kept;                      /* stored off chip whenever it is made: the backward pass wants it */
} DfEdge;

/* A stage fires once a panel on each of its tiles, which share out its units: row blocks, heads, features. */
typedef struct {
    char name[48];
    int kind;                       /* the owner's; DF_LOAD: brings edge out[0] on the chip */
    size_t layer;
    int in[DF_INS], out[DF_OUTS];   /* edges; -1: none */
    size_t share;                   /* stages back to the one whose tiles it shares; 0: its own */
    size_t lag;                     /* panels of its inputs it must see ahead of the one it works on */
    size_t units;
    const uint32_t *lines;          /* [units + 1] unit u has weights lines[u] .. lines[u+1]; NULL: none */
    bool weights, grads;            /* which it holds on chip: the lines, and accumulators for them */
    size_t sums, state;             /* lines a unit: other accumulators; what it remembers of a sequence */
    size_t grain;                   /* lines of state that must lie on one tile: with s times more tiles than
                                     * units a unit's state is spread over s of them */
    double per_line, per_unit;      /* FLOPs of a weight line and lane; of a unit and lane */
    double per_pair;                /* of a unit, lane and earlier lane of the sequence */
    bool joins;                     /* runs in the task of the stage before it, on the same panel */
    bool gather;                    /* reads a line by a column list for each weight line and group */
    bool scatter;                   /* adds to one instead, of its own rows, and reads all of in[0] */
    double reads, writes;           /* lines a group straight from and to off-chip memory */
    double random;                  /* of these, at random places */
} DfStage;

typedef struct {
    DfStage *stage;
    DfEdge *edge;
    size_t stages, edges, forward;  /* forward: so many stages take the panels in order */
} DfGraph;

static inline double df_lines(const DfStage *s, size_t u0, size_t u1) {
    return s->lines ? (double)(s->lines[u1] - s->lines[u0]) : 0;
}
/* FLOPs of units u0 .. u1 on ng groups, the first of them group g0 of its sequence. A lane of attention meets
 * the groups up to its own: on the mean over these ng, g0 + (ng + 1) / 2 groups of 16. */
static inline double df_flops(const DfStage *s, size_t u0, size_t u1, size_t g0, size_t ng) {
    const double lanes = (double)(ng * DF_LINE), units = (double)(u1 - u0);
    return lanes * (df_lines(s, u0, u1) * s->per_line + units * s->per_unit
                    + units * s->per_pair * ((double)g0 + (double)(ng + 1) / 2) * DF_LINE);
}

/* ---- sections: what is on the chip together ------------------------------------------------------------- *
 * A tile's memory, from its start, for each stage that shares the tile:
 *
 *     weights | accumulators | sums | state | slots of its edges
 *
 * An edge's rows are dealt out over the tiles of its stage, equally many to each, and lie at the same place
 * in every one of them. Loads, which bring edges of earlier sections on the chip, are stages like others. */

typedef struct {                    /* where an edge lies in a section */
    size_t slots, per;              /* 0: not on chip; rows a tile */
    size_t tile, at;                /* the first of its tiles; bytes from each tile's start */
    bool stored;                    /* goes off chip as well */
    float *chip;                    /* group 0 of slot 0, row 0 of `row` */
    size_t gs, stride;              /* floats from group to group, from slot to slot */
    uint32_t *row;                  /* [rows] line offset of each row */
} DfSlot;

/* What a tile of backward-data holds: some columns of a matrix, and of each row block the line of the whole
 * matrix at which they begin. */
typedef struct { SpMat mat; const uint32_t *from; } DfSlice;

typedef struct {                    /* a stage in a section */
    DfStage s;
    size_t home, tile, tiles;       /* the stage whose tiles it uses; the first of them; how many */
    size_t per;                     /* units a tile */
    size_t bytes;                   /* of each of its tiles, if it is at home there */
    size_t spread, grains;          /* tiles of a unit's state; grains of it on each */
    size_t w, dw, sums, state;      /* bytes from the start of each tile's memory */
    size_t needs, need[DF_DEPS];    /* stages that make what it reads */
    size_t gives, give[DF_DEPS], slots[DF_DEPS]; /* stages that read what it makes; how far it may be ahead */
    size_t actor;                   /* the first; tiles of them, fewer if there are fewer units */
    size_t actors;
    uint32_t *col;                  /* the matrix's column list as rows of the edge it gathers from */
    DfSlice *cut;                   /* [actors] what its tiles hold, if its units are columns */
    _Alignas(64) atomic_size_t done;        /* panels that all its tiles have done */
} DfPart;

typedef struct {                    /* a stage on one tile */
    size_t part, k, u0, u1, tile;
    _Alignas(64) atomic_size_t done;        /* panels */
    atomic_int busy;
} DfActor;

typedef struct {
    DfPart *part;
    size_t parts, loads, first;     /* loads come first, then the graph's stages from first on */
    DfActor *actor;
    size_t actors;
    DfSlot *slot;                   /* [edges of the graph] */
    size_t tiles, peak;             /* tiles used; most bytes of a tile */
    int mode;                       /* of the three below */
    bool streamed;                  /* too big for the chip: its weights stay off chip, and pass through it */
    size_t span;                    /* panels a firing: the more, the less often streamed weights pass */
} DfSection;

/* How a section uses the chip: weights resident, a stage (and those that share its tiles) a tile; weights
 * streamed through; and where that is too many tiles, streamed and all stages on the same tiles. */
enum { DF_RESIDENT, DF_STREAMED, DF_CROWDED };

typedef struct {
    DfChip chip;
    size_t depth, groups;           /* slots of a stream; groups of a panel */
    DfSection *section;
    size_t sections;
    float *memory;                  /* the tiles', `stride` lines from one to the next; NULL: a plan only */
    size_t stride;
} DfPlan;

/* Lines between the memories of two tiles that belong to none. Without them the same place of every tile
 * would fall into the same set of the host's caches, for a tile's size is a power of two: that cost a tenth
 * of the speed. */
enum { DF_GAP = 321 };

static inline bool df_writes(const DfStage *s, int e) { return s->out[0] == e || s->out[1] == e; }
/* The last stage of the section that writes edge e, or SIZE_MAX. */
static inline size_t df_writer(const DfSection *x, int e) {
    for (size_t s = x->parts; s-- > 0;) if (df_writes(&x->part[s].s, e)) return s;
    return SIZE_MAX;
}
/* The edge in whose slots edge e lies in this section. */
static inline int df_root(const DfGraph *g, const DfSection *x, int e) {
    const size_t w = df_writer(x, e);
    return g->edge[e].base >= 0 && w != SIZE_MAX && x->part[w].s.kind != DF_LOAD ? g->edge[e].base : e;
}

/* Stages s0 .. s1 of the graph and the loads that they need. */
static inline DfSection df_collect(const DfGraph *g, size_t s0, size_t s1, int mode, size_t span) {
    DfSection x = {.first = s0, .mode = mode, .streamed = mode != DF_RESIDENT, .span = span};
    bool *made = mem_new(g->edges, sizeof *made);
    int *load = mem_new((s1 - s0) * DF_INS, sizeof *load);
    for (size_t s = s0; s < s1; s++) {
        for (int k = 0; k < DF_INS; k++) {
            const int e = g->stage[s].in[k];
            if (e >= 0 && !made[e]) made[e] = true, load[x.loads++] = e;
        }
        for (int k = 0; k < DF_OUTS; k++) if (g->stage[s].out[k] >= 0) made[g->stage[s].out[k]] = true;
    }
    x.parts = x.loads + s1 - s0;
    x.part = mem_new(x.parts, sizeof *x.part);
    for (size_t p = 0; p < x.loads; p++) {
        DfStage *s = &x.part[p].s;
        *s = (DfStage){.kind = DF_LOAD, .in = {-1, -1, -1, -1, -1}, .out = {load[p], -1},
                       .units = g->edge[load[p]].rows / DF_LINE, .reads = (double)g->edge[load[p]].rows};
        snprintf(s->name, sizeof s->name, "load %.40s", g->edge[load[p]].name);
    }
    for (size_t s = s0; s < s1; s++) x.part[x.loads + s - s0].s = g->stage[s];
    free(made), free(load);
    return x;
}

/* Who waits for whom, and how many slots each edge has: depth, and for an edge that bypasses a path of stages
 * some more, so as not to stop that path. Dies if so few slots stand still: path's lag + 1 is the least. */
static inline void df_depend(const DfGraph *g, DfSection *x, size_t depth) {
    x->slot = mem_new(g->edges, sizeof *x->slot);
    for (size_t s = 0; s < x->parts; s++) {
        DfPart *p = &x->part[s];
        p->home = x->mode == DF_CROWDED || p->s.kind == DF_LOAD ? 0 : s - p->s.share;   /* loads come first */
        for (int k = 0; k < DF_INS; k++)
            if (p->s.in[k] >= 0) p->need[p->needs++] = df_writer(x, p->s.in[k]);
    }
    for (size_t s = 0; s < x->parts; s++)
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = x->part[s].s.out[k];
            if (e < 0 || df_root(g, x, e) != e) continue;
            size_t readers[DF_DEPS], n = 0, lag = 0;
            for (size_t c = s + 1; c < x->parts; c++)
                for (int i = 0; i < DF_INS; i++)
                    if (x->part[c].s.in[i] >= 0 && df_root(g, x, x->part[c].s.in[i]) == e &&
                        (!n || readers[n - 1] != c)) {
                        if (n == DF_DEPS) die("%s: more than %d stages read it", g->edge[e].name, DF_DEPS);
                        readers[n++] = c;
                    }
            for (size_t c = n ? readers[0] : s; n && c < readers[n - 1]; c++) lag += x->part[c].s.lag;
            for (size_t i = 0; i < n; i++) lag = size_max(lag, x->part[readers[i]].s.lag);
            const size_t slots = depth < 2 || n < 2 ? depth : depth + (readers[n - 1] - readers[0] + 1) / 2;
            if (slots < lag + 1)
                die("%s: %zu slots would stand still: the path it bypasses lags %zu panels; it needs %zu",
                    g->edge[e].name, slots, lag, lag + 1);
            x->slot[e].slots = slots;
            DfPart *p = &x->part[s];
            if (p->gives + n > DF_DEPS)
                die("%s: more than %d stages read what it makes", p->s.name, DF_DEPS);
            for (size_t i = 0; i < n; i++)
                p->give[p->gives] = readers[i], p->slots[p->gives++] = slots;
        }
}

/* Lines of weights that a stage holds on one tile, the most of any. */
static inline size_t df_held(const DfStage *s, size_t per, bool streamed) {
    size_t most = 0;
    for (size_t u0 = 0; s->lines && !streamed && u0 < s->units; u0 += per)
        most = size_max(most, s->lines[size_min(u0 + per, s->units)] - s->lines[u0]);
    return most;
}
/* Bytes of each of n tiles for the stages at home in part `home`; writes down where all of it lies. */
static inline size_t df_lay(const DfGraph *g, DfSection *x, size_t home, size_t n, const DfPlan *plan) {
    const size_t line = DF_LINE * plan->chip.element;
    size_t at = 0;
    for (size_t s = home; s < x->parts; s++) {
        DfPart *p = &x->part[s];
        if (p->home != home) continue;
        p->tiles = n, p->per = (p->s.units + n - 1) / n;
        const size_t held = df_held(&p->s, p->per, x->streamed) * line;
        p->w = p->s.weights || !p->s.lines ? at : x->part[s - p->s.share].w;
        at += p->s.weights ? held : 0, p->dw = at;
        at += p->s.grads ? held : 0, p->sums = at;
        at += p->per * p->s.sums * line, p->state = at;
        p->spread = p->s.state && n > p->s.units ? n / p->s.units : 1;
        p->grains = p->s.state ? (p->s.state / p->s.grain + p->spread - 1) / p->spread : 0;
        at += p->per * p->grains * p->s.grain * line;
        for (int k = 0; k < DF_OUTS; k++) {
            const int e = p->s.out[k];
            if (e < 0 || df_root(g, x, e) != e) continue;
            DfSlot *slot = &x->slot[e];
            slot->per = size_up((g->edge[e].rows + n - 1) / n, DF_LINE), slot->at = at;
            at += slot->slots * x->span * plan->groups * slot->per * line;
        }
    }
    return at;
}
/* The fewest tiles that hold part `home` and all at home there; 0 if no number does. */
static inline size_t df_fewest(const DfGraph *g, DfSection *x, size_t home, const DfPlan *plan) {
    size_t most = 1;
    for (size_t s = home; s < x->parts; s++) {
        const DfPart *p = &x->part[s];
        if (p->home != home) continue;
        most = size_max(most, p->s.units * (p->s.state ? size_max(p->s.state / p->s.grain, 1) : 1));
        for (int k = 0; k < DF_OUTS; k++)
            if (p->s.out[k] >= 0) most = size_max(most, g->edge[p->s.out[k]].rows / DF_LINE);
    }
    if (df_lay(g, x, home, most, plan) > plan->chip.sram) return 0;
    size_t n = size_max(1, df_lay(g, x, home, 1, plan) / plan->chip.sram);
    while (n < most && df_lay(g, x, home, n, plan) > plan->chip.sram) n++;
    return size_min(n, most);
}
/* FLOPs of a group, a sequence's fifth, on the first of the tiles that parts share: taken for the busiest. */
static inline double df_busiest(const DfSection *x, size_t home) {
    double sum = 0;
    for (size_t s = home; s < x->parts; s++) {
        const DfPart *p = &x->part[s];
        if (p->home == home) sum += df_flops(&p->s, 0, size_min(p->per, p->s.units), 4, 1);
    }
    return sum;
}
/* Tiles for every part: the fewest, then one more for the slowest while there are any. False if they are too
 * few. */
static inline bool df_share_out(const DfGraph *g, DfSection *x, const DfPlan *plan, bool all) {
    size_t *n = mem_new(x->parts, sizeof *n);
    double *work = mem_new(x->parts, sizeof *work);
    bool fits = true;
    x->tiles = 0;
    for (size_t s = 0; s < x->parts && fits; s++) {
        if (x->part[s].home != s) continue;
        n[s] = df_fewest(g, x, s, plan);
        x->tiles += n[s];
        fits = n[s] && x->tiles <= plan->chip.tiles;
        if (fits) df_lay(g, x, s, n[s], plan), work[s] = df_busiest(x, s);
    }
    while (fits && all && x->tiles < plan->chip.tiles) {
        size_t slow = 0;
        for (size_t s = 1; s < x->parts; s++) if (work[s] > work[slow]) slow = s;
        size_t units = 1;
        for (size_t s = slow; s < x->parts; s++)
            if (x->part[s].home == slow) units = size_max(units, x->part[s].s.units);
        if (work[slow] <= 0) break;
        if (n[slow] >= units || df_lay(g, x, slow, n[slow] + 1, plan) > plan->chip.sram) {
            df_lay(g, x, slow, n[slow], plan), work[slow] = 0;
            continue;
        }
        n[slow]++, x->tiles++, work[slow] = df_busiest(x, slow);
    }
    free(n), free(work);
    return fits;
}
static inline void df_section_free(DfSection *x, const DfGraph *g) {
    for (size_t e = 0; x->slot && e < g->edges; e++)
        if (g->edge[e].base < 0 || x->slot[e].row != x->slot[g->edge[e].base].row) free(x->slot[e].row);
    for (size_t s = 0; s < x->parts; s++) free(x->part[s].col), free(x->part[s].cut);
    free(x->slot), free(x->part), free(x->actor);
}

static inline bool df_fits(const DfGraph *g, const DfPlan *plan, size_t s0, size_t s1, int mode,
                           size_t span) {
    DfSection x = df_collect(g, s0, s1, mode, span);
    df_depend(g, &x, plan->depth);
    const bool fits = df_share_out(g, &x, plan, false);
    df_section_free(&x, g);
    return fits;
}
/* Whether the graph may be cut before stage s: at its end, or where no stage shares tiles across. */
static inline bool df_may_cut(const DfGraph *g, size_t s) {
    if (s == g->stages) return true;
    for (size_t t = s; t < g->stages; t++) if (g->stage[t].share > t - s) return false;
    return true;
}
/* Rows that a cut before stage s takes off the chip and back: of edges that stages s0 .. s - 1 make and one of
 * the DF_NEAR after them reads. Who reads an edge later still would find it off chip whatever the cut. */
enum { DF_NEAR = 16 };
static inline size_t df_cut_rows(const DfGraph *g, size_t s0, size_t s) {
    size_t rows = 0;
    for (size_t e = 0; e < g->edges; e++) {
        bool made = false, read = false;
        for (size_t t = s0; t < s && !made; t++) made = df_writes(&g->stage[t], (int)e);
        for (size_t t = s; t < g->stages && t < s + DF_NEAR && made && !read; t++)
            for (int k = 0; k < DF_INS; k++) read |= g->stage[t].in[k] == (int)e;
        if (made && read) rows += g->edge[e].rows * (g->edge[e].kept ? 1 : 2);
    }
    return rows;
}

/* What would have been enough, for the error: the least multiple of `unit` of sram or tiles. */
static inline size_t df_enough(const DfGraph *g, DfPlan plan, size_t s0, size_t s1, bool sram) {
    size_t *field = sram ? &plan.chip.sram : &plan.chip.tiles, lo = *field, hi = lo;
    const size_t unit = sram ? 64 : 1;
    while (!df_fits(g, &plan, s0, s1, DF_CROWDED, 1)) {
        if (hi > (size_t)1 << 40) return 0;
        lo = hi, hi = *field = hi * 2;
    }
    while (hi - lo > unit) {
        const size_t mid = *field = (lo + (hi - lo) / 2) / unit * unit;
        if (mid <= lo) break;
        if (df_fits(g, &plan, s0, s1, DF_CROWDED, 1)) hi = mid;
        else lo = mid;
    }
    return hi;
}
__attribute__((noreturn)) static inline void df_too_small(const DfGraph *g, const DfPlan *plan, size_t s0,
                                                          size_t s1) {
    DfSection x = df_collect(g, s0, s1, DF_CROWDED, 1);
    df_depend(g, &x, plan->depth);
    size_t need = 0;
    for (size_t s = 0; s < x.parts; s++)
        if (x.part[s].home == s) need += df_lay(g, &x, s, 1, plan);
    const size_t sram = df_enough(g, *plan, s0, s1, true), tiles = df_enough(g, *plan, s0, s1, false);
    char hint[64] = "";
    if (tiles) snprintf(hint, sizeof hint, " or tiles=%zu", tiles);
    die("%s: needs %zu bytes for its streams alone, found %zu tiles of %zu; sram=%zu%s would do",
        g->stage[s0].name, need, plan->chip.tiles, plan->chip.sram, sram, hint);
}

/* Whether a chip can run the graph at all: whether every part of it that cannot be cut fits in some way. */
static inline bool df_holds(const DfGraph *g, DfChip chip, size_t depth, size_t groups) {
    const DfPlan plan = {.chip = chip, .depth = depth, .groups = groups};
    for (size_t s0 = 0, end; s0 < g->stages; s0 = end) {
        bool fits = false;
        for (end = s0 + 1; !df_may_cut(g, end);) end++;
        for (int mode = DF_RESIDENT; mode <= DF_CROWDED; mode++) fits |= df_fits(g, &plan, s0, end, mode, 1);
        if (!fits) return false;
    }
    return true;
}

/* Tiles, addresses and actors of a section that fits. */
static inline void df_place(const DfGraph *g, DfSection *x, const DfPlan *plan) {
    size_t tile = 0, actors = 0;
    df_share_out(g, x, plan, true);
    for (size_t s = 0; s < x->parts; s++) {
        DfPart *p = &x->part[s];
        if (p->home == s) {
            p->bytes = df_lay(g, x, s, p->tiles, plan), x->peak = size_max(x->peak, p->bytes);
            p->tile = tile, tile += p->tiles;
        } else p->tile = x->part[p->home].tile;
        p->actor = actors, p->actors = (p->s.units + p->per - 1) / p->per, actors += p->actors;
    }
    x->actor = mem_new(actors, sizeof *x->actor), x->actors = actors;
    for (size_t s = 0; s < x->parts; s++)
        for (size_t k = 0; k < x->part[s].actors; k++) {
            const DfPart *p = &x->part[s];
            DfActor *a = &x->actor[p->actor + k];
            a->part = s, a->k = k, a->tile = p->tile + k * p->spread, a->u0 = k * p->per;
            a->u1 = size_min(a->u0 + p->per, p->s.units);
        }
    for (size_t e = 0; e < g->edges; e++) {
        DfSlot *slot = &x->slot[e];
        const size_t w = df_writer(x, (int)e);
        if (w == SIZE_MAX) continue;
        if (slot->slots) {
            slot->tile = x->part[w].tile;
            for (size_t s = 0; s < x->parts; s++) /* the first writer, not who writes in place */
                if (df_writes(&x->part[s].s, (int)e)) { slot->tile = x->part[s].tile; break; }
            slot->gs = slot->per * DF_LINE, slot->stride = plan->groups * slot->gs, slot->slots *= x->span;
            slot->row = mem_new(g->edge[e].rows + 16, sizeof *slot->row);
            for (size_t i = 0; i < g->edge[e].rows; i++)
                slot->row[i] = (uint32_t)(i / slot->per * plan->stride + i % slot->per);
        }
        bool later = g->edge[e].kept;
        for (size_t s = 0; s < g->stages && !later; s++)
            for (int k = 0; k < DF_INS; k++)
                later |= g->stage[s].in[k] == (int)e && (s < x->first || s >= x->first + x->parts - x->loads);
        slot->stored = later && x->part[w].s.kind != DF_LOAD;
    }
    for (size_t e = 0; e < g->edges; e++) { /* edges written in place lie where their base does */
        const int base = df_writer(x, (int)e) == SIZE_MAX ? (int)e : df_root(g, x, (int)e);
        const bool stored = x->slot[e].stored;
        if (base == (int)e) continue;
        x->slot[e] = x->slot[base], x->slot[e].stored = stored;
    }
}

/* Under the address sanitizer: of the chip's memory only what this section placed may be touched. */
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
#endif
static inline void df_guard(const DfPlan *plan, const DfSection *x) {
    (void)plan, (void)x;
#ifdef DF_ASAN
    __asan_poison_memory_region(plan->memory, plan->chip.tiles * plan->stride * 64);
    for (size_t s = 0; x && s < x->parts; s++)
        for (size_t k = 0; k < x->part[s].tiles && x->part[s].bytes; k++)
            __asan_unpoison_memory_region(plan->memory + (x->part[s].tile + k) * plan->stride * DF_LINE,
                                          x->part[s].bytes);
    if (!x) __asan_unpoison_memory_region(plan->memory, plan->chip.tiles * plan->stride * 64);
#endif
}

/* Cuts the graph into sections: as many stages together as fit, ending, in the second half of these, where
 * least has to leave the chip. A firing on streamed weights takes as many of the stream's panels as fit, an
 * eighth of them at most: the stages would else wait for one another. real: with the chip's memory. Dies if a
 * stage cannot fit. */
static inline DfPlan *df_plan(const DfGraph *g, DfChip chip, size_t depth, size_t groups, size_t panels,
                              bool real) {
    DfPlan *plan = mem_new(1, sizeof *plan);
    size_t cap = 0;
    *plan = (DfPlan){.chip = chip, .depth = depth, .groups = groups};
    if (chip.sram % 64) die("sram: expected a multiple of 64 bytes, found %zu", chip.sram);
    plan->stride = chip.sram / 64 + DF_GAP;
    for (size_t s0 = 0; s0 < g->stages;) {
        size_t end = s0, best = s0, least = SIZE_MAX, turn = s0 < g->forward ? g->forward : g->stages;
        for (size_t s = s0 + 1; s <= turn; s++) {
            if (!df_may_cut(g, s) && s != turn) continue;
            if (!df_fits(g, plan, s0, s, DF_RESIDENT, 1)) break;
            end = s;
        }
        bool streamed = end == s0;
        for (size_t s = s0 + 1; streamed && end == s0; s++)
            if (df_may_cut(g, s)) end = s;
        const int mode = !streamed ? DF_RESIDENT
                         : df_fits(g, plan, s0, end, DF_STREAMED, 1) ? DF_STREAMED : DF_CROWDED;
        if (mode == DF_CROWDED && !df_fits(g, plan, s0, end, mode, 1)) df_too_small(g, plan, s0, end);
        for (size_t s = end; s > s0 && !streamed && 2 * (end - s) <= end - s0; s--) {
            const size_t rows = s == turn ? 0 : df_cut_rows(g, s0, s);
            if (df_may_cut(g, s) && rows < least) least = rows, best = s;
        }
        if (streamed) best = end;
        plan->section = mem_grow(plan->section, plan->sections, &cap, sizeof *plan->section);
        DfSection *x = &plan->section[plan->sections++];
        size_t span = 1;
        while (streamed && 16 * span <= panels && df_fits(g, plan, s0, best, mode, 2 * span)) span *= 2;
        *x = df_collect(g, s0, best, mode, span);
        df_depend(g, x, depth);
        df_place(g, x, plan);
        s0 = best;
    }
    if (!real) return plan;
    plan->memory = mem_new(size_mul(chip.tiles, plan->stride), 64);
    for (size_t n = 0; n < plan->sections; n++)
        for (size_t e = 0; e < g->edges; e++) {
            DfSlot *slot = &plan->section[n].slot[e];
            slot->chip = plan->memory + slot->tile * plan->stride * DF_LINE + slot->at / 4;
        }
    return plan;
}
static inline void df_plan_free(DfPlan *plan, const DfGraph *g) {
    for (size_t k = 0; k < plan->sections; k++) df_section_free(&plan->section[k], g);
    if (plan->memory) df_guard(plan, NULL);
    free(plan->section), free(plan->memory), free(plan);
}

/* ---- slices: what a tile holds of a matrix that is cut by its columns --------------------------------- */

/* Cuts a matrix by the columns of each actor: lines first[r] .. end[r] of what the tile holds, or, if weights
 * stay off chip, of the whole. col: of every line the column as a row of dx; row: of every column. */
static inline DfSlice *df_slices(const SpMat *m, const DfSection *x, const DfPart *p, const uint32_t *row,
                                 uint32_t *col) {
    DfSlice *slice = mem_new(p->actors * (sizeof *slice + 3 * m->nb * sizeof(uint32_t)), 1);
    uint32_t *at = (uint32_t *)(slice + p->actors);
    for (size_t k = 0; k < p->actors; k++) {
        const DfActor *a = &x->actor[p->actor + k];
        const size_t i0 = a->u0 * LINE, i1 = size_min(a->u1 * LINE, m->IC);
        uint32_t *from = at, *first = at + m->nb, *end = at + 2 * m->nb, n = 0;
        slice[k].mat = *m, slice[k].from = from, at = end + m->nb;
        slice[k].mat.first = first, slice[k].mat.end = end, slice[k].mat.IC = i1 - i0;
        slice[k].mat.col = m->dense ? (uint32_t *)(uintptr_t)(row + i0)
                                    : col + (x->streamed ? 0 : p->s.lines[a->u0]);
        for (size_t r = 0; r < m->nb; r++) {
            const uint32_t *c = sp_cols(m, r);
            size_t l = m->first[r];
            while (l < m->first[r + 1] && c[l - m->first[r]] < i0) l++;
            from[r] = (uint32_t)l, first[r] = x->streamed ? (uint32_t)l : n;
            for (; l < m->first[r + 1] && c[l - m->first[r]] < i1; l++, n++)
                if (!m->dense) slice[k].mat.col[x->streamed ? l : n] = row[c[l - m->first[r]]];
            end[r] = first[r] + (uint32_t)l - from[r];
        }
    }
    return slice;
}
/* Gives a part of a section its matrix: the column list as rows of the edge that it gathers from or scatters
 * to, and, if its units are columns, each tile's slice. Freed with the plan. */
static inline void df_columns(const DfSection *x, DfPart *p, const SpMat *m, bool by_columns) {
    const uint32_t *row = x->slot[p->s.scatter ? p->s.out[0] : p->s.in[0]].row;
    if (!m->dense) p->col = mem_new(m->lines + BEYOND, sizeof *p->col);
    if (by_columns) p->cut = df_slices(m, x, p, row, p->col);
    else for (size_t l = 0; !m->dense && l < m->lines; l++) p->col[l] = row[m->col[l]];
}
/* `lines` lines on the chip, or back. */
static inline void df_carry(float *chip, float *flat, size_t lines, bool back) {
    memcpy(back ? flat : chip, back ? chip : flat, lines * LINE * sizeof(float));
}
/* The lines of a slice on the chip; flat: of the whole matrix. */
static inline void df_carry_slice(const DfSlice *s, float *chip, const float *flat) {
    for (size_t r = 0; r < s->mat.nb; r++)
        memcpy(chip + (size_t)s->mat.first[r] * LINE, flat + (size_t)s->from[r] * LINE,
               (size_t)(s->mat.end[r] - s->mat.first[r]) * LINE * sizeof(float));
}

/* ---- running a section ---------------------------------------------------------------------------------- *
 * An actor fires when every stage it reads from has done the panel (and those its lag asks for) and every
 * stage that reads from it has room. All of that is counters that only grow, so any worker may find out at
 * any time, and what is ready stays ready: a Kahn network, whose result depends neither on workers nor on
 * time. Workers look from the last stage on, which keeps panels moving to the end while they are in a
 * worker's caches. */

/* Fires an actor on panels panel x span .. of its stream. */
typedef void DfFire(void *owner, const DfSection *x, const DfActor *a, size_t panel, size_t worker);

typedef struct { double from, to; uint32_t worker, section, actor, panel; } DfEvent;

typedef struct {
    DfSection *x;
    size_t panels;
    DfFire *fire;
    void *owner;
    atomic_size_t left;             /* firings */
    atomic_int firing;              /* workers that fire now */
    DfEvent *event;                 /* [panels x actors] when given: what happened on the host */
    size_t number, workers;         /* of the section; of the pool */
} DfJob;

static inline size_t df_done(const DfSection *x, size_t part) {
    return atomic_load_explicit(&x->part[part].done, memory_order_acquire);
}
/* The stage that part p waits for before panel i, or SIZE_MAX. */
static inline size_t df_waits(const DfSection *x, const DfPart *p, size_t i, size_t panels) {
    const size_t ahead = size_min(i + 1 + p->s.lag, panels);
    for (size_t k = 0; k < p->needs; k++) if (df_done(x, p->need[k]) < ahead) return p->need[k];
    for (size_t k = 0; k < p->gives; k++) if (df_done(x, p->give[k]) + p->slots[k] <= i) return p->give[k];
    return SIZE_MAX;
}
/* After a firing of one of its tiles: how far all of them are. The number only grows, whoever writes it. */
static inline void df_advance(DfSection *x, DfPart *p) {
    size_t least = SIZE_MAX, was = atomic_load(&p->done);
    for (size_t k = 0; k < p->actors; k++) least = size_min(least, atomic_load(&x->actor[p->actor + k].done));
    while (was < least && !atomic_compare_exchange_weak(&p->done, &was, least)) {}
}
static inline bool df_try(DfJob *j, DfPart *p, DfActor *a, size_t worker) {
    int no = 0;
    atomic_fetch_add(&j->firing, 1);
    const bool mine = atomic_compare_exchange_strong(&a->busy, &no, 1);
    const size_t i = atomic_load_explicit(&a->done, memory_order_acquire);  /* another may have fired it */
    const bool go = mine && i < j->panels && df_waits(j->x, p, i, j->panels) == SIZE_MAX;
    if (go) {
        const size_t n = (size_t)(a - j->x->actor);
        const double from = j->event ? seconds() : 0;
        j->fire(j->owner, j->x, a, i, worker);
        if (j->event)
            j->event[n * j->panels + i] = (DfEvent){from, seconds(), (uint32_t)worker, (uint32_t)j->number,
                                                    (uint32_t)n, (uint32_t)i};
        atomic_store(&a->done, i + 1);      /* before the loads of df_advance: two that finish at once */
        df_advance(j->x, p);
        atomic_fetch_sub(&j->left, 1);
    }
    if (mine) atomic_store_explicit(&a->busy, 0, memory_order_release);
    atomic_fetch_sub(&j->firing, 1);
    return go;
}
/* Fires one actor that is ready, of the last stage that has one: of the worker's own panels, every
 * workers-th, or of any. A panel that stays with one worker stays in its cache, and with as many slots as
 * workers so do the slots. Panels cost more towards the end of a sequence, so the workers change places now
 * and then. */
static inline bool df_fire_one(DfJob *j, size_t worker, bool any) {
    DfSection *x = j->x;
    for (size_t s = x->parts; s-- > 0;) {
        DfPart *p = &x->part[s];
        size_t i = df_done(x, s);
        if (i == j->panels) continue;
        for (size_t last = i + 1; i <= last && i < j->panels; i++) {    /* its slowest tile's, or the next */
            const bool mine = (i + i / (2 * j->workers)) % j->workers == worker;
            if ((!any && !mine) || df_waits(x, p, i, j->panels) != SIZE_MAX) continue;
            for (size_t k = 0; k < p->actors; k++) {
                DfActor *a = &x->actor[p->actor + k];
                if (atomic_load_explicit(&a->done, memory_order_relaxed) == i &&
                    !atomic_load_explicit(&a->busy, memory_order_relaxed) && df_try(j, p, a, worker))
                    return true;
            }
        }
    }
    return false;
}
/* Nothing is ready, nobody fires and firings are left: says who waits for whom, and ends the program. */
__attribute__((noreturn)) static inline void df_stuck(const DfJob *j) {
    char text[512] = "";
    size_t a = 0, n = 0;
    while (a < j->x->actors && atomic_load(&j->x->actor[a].done) == j->panels) a++;
    for (int hop = 0; hop < 8 && a < j->x->actors; hop++) {
        const size_t i = atomic_load(&j->x->actor[a].done);
        const size_t w = df_waits(j->x, &j->x->part[j->x->actor[a].part], i, j->panels);
        n += (size_t)snprintf(text + n, n < sizeof text ? sizeof text - n : 0, "%s at panel %zu waits for ",
                              j->x->part[j->x->actor[a].part].s.name, i);
        if (w == SIZE_MAX || n >= sizeof text) break;
        a = j->x->part[w].actor;
        while (a + 1 < j->x->part[w].actor + j->x->part[w].actors &&
               atomic_load(&j->x->actor[a].done) > atomic_load(&j->x->actor[a + 1].done)) a++;
    }
    die("the machine stands still: %s...", text);
}

enum { DF_PATIENCE = 64 };          /* looks in vain for its own panels before a worker takes any */

static inline void df_section_worker(void *arg, size_t task, size_t worker) {
    DfJob *j = arg;
    (void)task;
    for (int idle = 0; atomic_load(&j->left);) {
        if (df_fire_one(j, worker, idle >= DF_PATIENCE)) idle = 0;
        else if (++idle < DF_SPINS) df_relax();
        else {
            /* Somebody fires, or has just stopped: what that made ready is found by looking again. Only looks
             * between which nobody fired count towards standing still. */
            if (atomic_load(&j->firing)) idle = DF_SPINS;
            if (idle > 100 * DF_SPINS && atomic_load(&j->left)) df_stuck(j);
            sched_yield();
        }
    }
}
/* Runs a section over so many panels on all workers of the pool. */
static inline void df_section_run(DfPool *pool, DfSection *x, size_t number, size_t panels, DfFire *fire,
                                  void *owner, DfEvent *event) {
    panels = (panels + x->span - 1) / x->span;              /* firings of an actor, from here on */
    DfJob j = {.x = x, .panels = panels, .fire = fire, .owner = owner, .event = event, .number = number,
               .workers = pool->workers};
    atomic_init(&j.left, panels * x->actors), atomic_init(&j.firing, 0);
    for (size_t a = 0; a < x->actors; a++) atomic_store(&x->actor[a].done, 0);
    for (size_t s = 0; s < x->parts; s++) atomic_store(&x->part[s].done, 0);
    df_run(pool, df_section_worker, &j, pool->workers);
}

/* ---- the clock ------------------------------------------------------------------------------------------ *
 * Simulated cycles, with no data, by events: every tile has a time, every panel the time at which a stage
 * gave it. A firing is ready when its inputs have come and its output has room; of its ready firings a tile
 * takes the earliest, of the last stage if several, as the workers do; that takes the longer of its
 * arithmetic and its traffic on chip. Nothing of the host enters, so the numbers are the same on any of them.
 * Off-chip traffic is charged to the section as a whole, at streaming or random rate: the section takes the
 * longer of that and of its pipeline. Its weights come before it, unless the chip had room for them while the
 * section before ran.
 *
 * What it cannot see: contention in the fabric, bank conflicts (a gathered line lies across all banks, so
 * there are none; see df_bank_share), refresh, and bursts of off-chip traffic. Such models are optimistic. */

typedef struct {
    double cycles, seconds, compute;        /* cycles of the pipeline; in all; cycles of the busiest tile */
    double flops, utilisation;              /* of all tiles of the chip over the section's seconds */
    double data_wait, credit_wait;          /* cycles, the mean over tiles used */
    double weights, grads, in, out, random; /* bytes off chip */
    double on_chip, gathered;               /* bytes */
    double load;                            /* seconds of weights that nothing hid */
    const char *bound;
} DfClock;

typedef struct {
    size_t panels, per;             /* panels in all, of one sequence */
    size_t groups, last;            /* groups of a panel, of a sequence's last one */
    bool forward;
} DfStream;

/* The stream that a section beginning with that stage sees of B sequences of NG groups. */
static inline DfStream df_stream(const DfGraph *g, size_t first, size_t B, size_t NG, size_t groups) {
    const size_t per = (NG + groups - 1) / groups;
    return (DfStream){B * per, per, groups, NG - (per - 1) * groups, first < g->forward};
}
/* First group and number of groups of panel i of the stream. */
static inline void df_stream_at(const DfStream *t, size_t i, size_t *g0, size_t *ng) {
    const size_t at = t->forward ? i % t->per : t->per - 1 - i % t->per;
    *g0 = at * t->groups, *ng = at + 1 == t->per ? t->last : t->groups;
}
static inline double df_stream_groups(const DfStream *t) {      /* of all panels together */
    return (double)(t->panels / t->per * ((t->per - 1) * t->groups + t->last));
}
/* Bytes on chip that a firing moves. */
static inline double df_port_bytes(const DfGraph *g, const DfPart *p, const DfActor *a, size_t ng,
                                   size_t element, double *gathered) {
    double rows = 0;
    const double lines = df_lines(&p->s, a->u0, a->u1), share = (double)(a->u1 - a->u0) / (double)p->s.units;
    for (int k = 0; k < DF_INS; k++)
        if (p->s.in[k] >= 0 && !(p->s.gather && k == 0)) rows += (double)g->edge[p->s.in[k]].rows;
    for (int k = 0; k < DF_OUTS; k++) if (p->s.out[k] >= 0) rows += (double)g->edge[p->s.out[k]].rows;
    rows *= share;
    if (p->s.scatter) rows += (1 - share) * (double)g->edge[p->s.in[0]].rows;
    *gathered = (p->s.gather + 2 * p->s.scatter) * lines * (double)ng * DF_LINE * (double)element;
    return *gathered + (rows * (double)ng + lines) * DF_LINE * (double)element;
}

/* What is told of every firing, in cycles. */
typedef void DfSeen(void *owner, const DfSection *x, size_t actor, size_t panel, double from, double to);

typedef struct {
    const DfGraph *g;
    const DfPlan *plan;
    const DfSection *x;
    const DfStream *t;
    size_t panels;                  /* firings of an actor */
    double *last;                   /* [panels][parts] when the last of a part's tiles so far gave a panel */
    uint32_t *fired;                /* [panels][parts] how many did */
    double *tile, *busy, *end;      /* [tiles] time, cycles of work; [actors] of its last firing */
    size_t *done;                   /* [actors] panels */
    bool *waits;                    /* [actors] in the heap */
    Heap ready;                     /* actors, the earliest first */
    DfClock r;
    DfSeen *seen;
    void *owner;
} DfSim;

/* An actor is ready at that time: of those at one time the last stage's is first. A time is not below 0, so
 * its bits have its order. */
static inline void df_ready_at(DfSim *m, size_t actor, double at) {
    uint64_t bits;
    memcpy(&bits, &at, 8);
    heap_push(&m->ready, bits, (uint64_t)(m->x->parts - m->x->actor[actor].part) << 32 | actor);
}
/* When a part gave panel i; INFINITY if it has not yet. */
static inline double df_given(const DfSim *m, size_t part, size_t i) {
    const size_t at = i * m->x->parts + part;
    return m->fired[at] == m->x->part[part].actors ? m->last[at] : INFINITY;
}
/* When an actor's next firing has its inputs, and when it has room; INFINITY if that is not known yet. */
static inline void df_ready(const DfSim *m, size_t actor, double *data, double *room) {
    const DfActor *a = &m->x->actor[actor];
    const DfPart *p = &m->x->part[a->part];
    const size_t i = m->done[actor], ahead = size_min(i + p->s.lag, m->panels - 1);
    *data = *room = 0;
    for (size_t k = 0; k < p->needs; k++) *data = fmax(*data, df_given(m, p->need[k], ahead));
    for (size_t k = 0; k < p->gives; k++)
        if (i >= p->slots[k]) *room = fmax(*room, df_given(m, p->give[k], i - p->slots[k]));
}
static inline void df_wake(DfSim *m, size_t actor) {
    double data, room;
    if (m->waits[actor] || m->done[actor] == m->panels) return;
    df_ready(m, actor, &data, &room);
    const double at = fmax(fmax(data, room), m->tile[m->x->actor[actor].tile]);
    if (at == INFINITY) return;
    m->waits[actor] = true, df_ready_at(m, actor, at);
}
static inline void df_wake_part(DfSim *m, size_t part) {
    for (size_t k = 0; k < m->x->part[part].actors; k++) df_wake(m, m->x->part[part].actor + k);
}
/* An actor's next firing, from that time on. */
static inline void df_sim_fire(DfSim *m, size_t actor, double from) {
    const DfActor *a = &m->x->actor[actor];
    const DfPart *p = &m->x->part[a->part];
    const DfChip *c = &m->plan->chip;
    const size_t i = m->done[actor], at = i * m->x->parts + a->part;
    double bytes = 0, flops = 0, gathered, data, room, *tile = &m->tile[a->tile];
    df_ready(m, actor, &data, &room);
    for (size_t n = i * m->x->span; n < (i + 1) * m->x->span && n < m->t->panels; n++) {
        size_t g0, ng;
        df_stream_at(m->t, n, &g0, &ng);
        bytes += df_port_bytes(m->g, p, a, ng, c->element, &gathered), m->r.gathered += gathered;
        flops += df_flops(&p->s, a->u0, a->u1, g0, ng);
    }
    const double cost = fmax(flops / c->flops, bytes / c->port);
    m->r.data_wait += fmax(0, fmin(data, from) - *tile);
    m->r.credit_wait += fmax(0, fmin(room, from) - fmax(*tile, data));
    m->end[actor] = *tile = from + cost, m->busy[a->tile] += cost;
    m->r.flops += flops, m->r.on_chip += bytes;
    m->r.cycles = fmax(m->r.cycles, *tile);
    if (m->seen) m->seen(m->owner, m->x, actor, i, from, *tile);
    m->done[actor]++, m->last[at] = fmax(m->last[at], *tile), m->fired[at]++;
    df_wake(m, actor);
    if (m->fired[at] < p->actors) return;
    for (size_t s = 0; s < m->x->parts; s++) {              /* who waited for this panel or for its slot */
        const DfPart *q = &m->x->part[s];
        bool touched = false;
        for (size_t k = 0; k < q->needs; k++) touched |= q->need[k] == a->part;
        for (size_t k = 0; k < q->gives; k++) touched |= q->give[k] == a->part;
        if (touched) df_wake_part(m, s);
    }
}
/* The pipeline of a section over a stream: its cycles, waits and traffic on chip. */
static inline DfClock df_pipeline(const DfGraph *g, const DfPlan *plan, const DfSection *x, const DfStream *t,
                                  DfSeen *seen, void *owner) {
    const size_t panels = (t->panels + x->span - 1) / x->span, all = size_mul(x->parts, panels);
    DfSim m = {.g = g, .plan = plan, .x = x, .t = t, .panels = panels, .seen = seen, .owner = owner};
    m.r.bound = "compute";
    m.last = mem_new(all, sizeof *m.last), m.fired = mem_new(all, sizeof *m.fired);
    m.tile = mem_new(x->tiles + 1, sizeof *m.tile), m.busy = mem_new(x->tiles + 1, sizeof *m.busy);
    m.end = mem_new(x->actors, sizeof *m.end), m.done = mem_new(x->actors, sizeof *m.done);
    m.waits = mem_new(x->actors, sizeof *m.waits);
    for (size_t s = 0; s < x->parts; s++) df_wake_part(&m, s);
    while (m.ready.n) {
        const HeapItem top = heap_pop(&m.ready);
        const size_t actor = (uint32_t)top.minor;
        const double busy = m.tile[x->actor[actor].tile];
        double at;
        memcpy(&at, &top.major, 8);
        if (busy > at) { df_ready_at(&m, actor, busy); continue; }      /* another was before it */
        m.waits[actor] = false, df_sim_fire(&m, actor, at);
    }
    for (size_t k = 0; k < x->tiles; k++) m.r.compute = fmax(m.r.compute, m.busy[k]);
    m.r.data_wait /= (double)(x->tiles ? x->tiles : 1), m.r.credit_wait /= (double)(x->tiles ? x->tiles : 1);
    free(m.last), free(m.fired), free(m.tile), free(m.busy);
    free(m.end), free(m.done), free(m.waits), free(m.ready.item);
    return m.r;
}
/* One section over a stream; before: the section before it, may be NULL, as may seen. */
static inline DfClock df_clock(const DfGraph *g, const DfPlan *plan, const DfSection *x,
                               const DfSection *before, const DfStream *t, DfSeen *seen, void *owner) {
    const DfChip *c = &plan->chip;
    const double line = DF_LINE * (double)c->element, groups = df_stream_groups(t);
    DfClock r = df_pipeline(g, plan, x, t, seen, owner);
    for (size_t s = 0; s < x->parts; s++) {
        const DfStage *st = &x->part[s].s;
        const double lines = df_lines(st, 0, st->units),
                     often = x->streamed ? ceil((double)t->panels / (double)x->span) : 1;
        r.in += (st->reads - st->random) * groups * line, r.random += st->random * groups * line;
        r.out += st->writes * groups * line;
        for (int k = 0; k < DF_OUTS; k++)
            if (st->out[k] >= 0 && x->slot[st->out[k]].stored)
                r.out += (double)g->edge[st->out[k]].rows * groups * line;
        const bool held = x->streamed ? st->lines && !st->grads : st->weights;
        r.weights += lines * (line + 4) * held * often;     /* 4: its column, though a dense one needs none */
        r.grads += 2 * (lines * st->grads * often + (double)(st->units * st->sums)) * line;
    }
    const double load = x->streamed ? 0 : r.weights / c->memory;
    const double memory =
        (r.in + r.out + r.grads + (x->streamed ? r.weights : 0)) / c->memory + r.random / c->random;
    r.load = before && before->tiles + x->tiles <= c->tiles ? 0 : load;
    r.seconds = fmax(r.cycles / c->clock, memory + load - r.load) + r.load;
    if (memory + load - r.load > r.cycles / c->clock) r.bound = "memory";
    else if (r.compute < 0.5 * r.cycles) r.bound = "pipeline";
    r.utilisation = r.flops / ((double)c->tiles * c->flops * c->clock * r.seconds);
    return r;
}

/* A stage by itself over a stream, as a device without dataflow runs it: all tiles, every edge off chip. */
static inline DfClock df_clock_kernel(const DfGraph *g, const DfChip *c, const DfStage *s,
                                      const DfStream *t) {
    const double line = DF_LINE * (double)c->element, lines = df_lines(s, 0, s->units);
    double in = s->reads - s->random, out = s->writes;      /* lines a group */
    for (int k = 0; k < DF_INS; k++) in += s->in[k] < 0 ? 0 : (double)g->edge[s->in[k]].rows;
    for (int k = 0; k < DF_OUTS; k++) out += s->out[k] < 0 ? 0 : (double)g->edge[s->out[k]].rows;
    const double all = df_stream_groups(t) * line;
    DfClock r = {.bound = "compute", .weights = s->lines && !s->grads ? lines * (line + 4) : 0,
                 .grads = s->grads ? 2 * lines * line : 0,
                 .in = in * all, .out = out * all, .random = s->random * all};
    r.grads += 2 * (double)(s->units * s->sums) * line;
    for (size_t i = 0; i < t->panels; i++) {
        size_t g0, ng;
        df_stream_at(t, i, &g0, &ng);
        r.flops += df_flops(s, 0, s->units, g0, ng);
    }
    r.compute = r.cycles = r.flops / ((double)c->tiles * c->flops);
    const double memory = (r.in + r.out + r.weights + r.grads) / c->memory + r.random / c->random;
    r.seconds = fmax(r.cycles / c->clock, memory) + c->launch;
    if (memory > r.cycles / c->clock) r.bound = "memory";
    r.utilisation = r.flops / ((double)c->tiles * c->flops * c->clock * r.seconds);
    return r;
}
static inline double df_off_chip(const DfClock *r) {
    return r->weights + r->grads + r->in + r->out + r->random;
}
static inline void df_clock_add(DfClock *sum, const DfClock *r) {
    sum->cycles += r->cycles, sum->seconds += r->seconds, sum->flops += r->flops, sum->load += r->load;
    sum->weights += r->weights, sum->grads += r->grads, sum->in += r->in, sum->out += r->out;
    sum->random += r->random, sum->on_chip += r->on_chip, sum->gathered += r->gathered;
    sum->data_wait += r->data_wait, sum->credit_wait += r->credit_wait;
}

/* The share of a memory's throughput that `lanes` reads at random get from so many banks, when all wait for
 * the fullest: 1 / E[most in a bank], by drawing. 16 into 16: 0.325. A whole line across all banks: 1. */
static inline double df_bank_share(size_t lanes, size_t banks, size_t draws) {
    double sum = 0;
    for (size_t d = 0; d < draws; d++) {
        size_t full[64] = {0}, most = 0;
        for (size_t k = 0; k < lanes; k++) {
            const size_t n = ++full[rng_u64(77, d * lanes + k) % (banks < 64 ? banks : 64)];
            if (n > most) most = n;
        }
        sum += (double)most;
    }
    return (double)draws / sum;
}
#endif
