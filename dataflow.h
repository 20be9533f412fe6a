/* dataflow.h: the machine. A chip of tiles with memory, a graph of stages laid
 * on it, and workers that run it for real. In data/run, plan.h and cuts.h lay the
 * graph on the chip; kernel.h and clock.h say how long such a chip would take.
 *
 * It knows nothing of GPT: a stage is units, weights, edges and FLOPs, and its
 * owner fires it. It refuses hidden state, more memory than a tile has, and any
 * mixing of the host's seconds with the chip's cycles.
 *
 *     chip      tiles, bytes of memory of each, rates     DfChip
 *     graph     stages and the edges between them         DfGraph, the owner's
 *     section   the stages on the chip together           DfSection
 *     part      a stage in a section                      DfPart
 *     place     what a part has of one tile's memory      DfPlace
 *     actor     a part on one tile; fires once a panel    DfActor
 *     replica   one of several sets of a part's actors:   DfPart
 *               each set has all units, and its turn of the panels
 *     slot      room for a panel of an edge, in the       DfSlot
 *               places of the part that writes it
 *     credit    a free slot; a writer without one waits   df_waits
 *     span      panels a firing, where weights pass       df_widest_span
 *               through the tile
 *
 *     Letters   e  an edge          s  a stage of the graph, or a part
 *               i  a panel          k  the k-th of a list; an actor of its part
 *
 * Memory of a tile while a section runs; all tiles' follow one another:
 *
 *     0      +--------------+
 *            | weights      |  of the units that this tile works on
 *            | accumulators |  the gradients of those weights
 *            | sums         |  other gradients: of biases, say
 *            | state        |  what is remembered of a sequence: keys, say
 *            | scratch      |  what a firing works in: scores, say
 *            | slot 0       |  of the first edge that the part makes: its rows
 *            | slot 1       |  that fall to this tile, for a panel each
 *            | ...          |
 *            +--------------+
 *            | ...          |  the place of another part, for parts take turns
 *            +--------------+  on a tile
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
 * What all of it stands on is df_run(pool, fn, arg, n) of data/base/pool.h: fn
 * as tasks 0 .. n-1, each on any worker. A worker is a thread of the host. */
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
enum { DF_TILES_MOST = 65536 };     /* of a chip */
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
    bool inner;             /* passes inside a kernel, and never off chip */
} DfEdge;

/* A stage fires once a panel on each tile of a replica, which share out its
 * units: whatever its owner cuts it into. */
typedef struct {
    char name[48];
    int kind;               /* the owner's, or DF_LOAD */
    size_t layer;           /* the owner's */
    int in[DF_INS];         /* edges that it reads, or DF_NONE */
    int out[DF_OUTS];       /* edges that it makes, or DF_NONE */
    size_t together;        /* stages back to the one that must be in the same
                             * section; 0: none must */
    size_t lag;             /* panels it must see ahead of its own; no stage of
                             * gpt.h must, some of the tests' do */
    bool replicable;        /* may have replicas, where it keeps nothing */
    size_t units;
    size_t whole;           /* so many units read the same rows (the 16 outputs of
                             * a row block, the units of a head): a firing of a
                             * gradient is charged these rows whole, and where workers
                             * run the plan a place has a multiple of that; 0: none */
    const uint32_t *lines;  /* [units + 1] unit u has weights lines[u] ..
                             * lines[u+1]; NULL: none */
    bool weights, grads;    /* what it needs on chip: these; their gradients */
    size_t sums;            /* lines a unit of other accumulators */
    size_t state;           /* lines a unit of what a sequence leaves behind */
    size_t recalls;         /* stages back to the one whose state it reads; that
                             * one begins a sequence only when this one has
                             * ended the one before; 0: none */
    size_t scratch;         /* lines a place that it needs while it fires */
    double per_line;        /* FLOPs of a weight line and lane */
    double per_unit;        /* FLOPs of a unit and lane */
    double per_pair;        /* FLOPs of a unit, lane and earlier lane of the
                             * sequence */
    double recalled;        /* lines of state of a unit, group and earlier group
                             * of the sequence */
    bool copies;            /* copies its inputs into its state, no more */
    bool joins;             /* runs in the task of the stage before it, on the
                             * same panel */
    bool gather;            /* reads, for each weight line and group, the line
                             * of in[0] that a column list names */
    bool scatter;           /* reads all of in[0], and adds to the line of its
                             * own rows of out[0] that the list names */
    double reads, writes;   /* lines a group from and to off chip, not edges */
    double random;          /* of those read, at random places */
} DfStage;

typedef struct {
    DfStage *stage;
    DfEdge *edge;
    size_t stages, edges;
    size_t groups;          /* of a sequence */
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

/* ---- what a firing costs ------------------------------------------------- */

/* Of two times, none of which is NaN; fmax and fmin are calls. */
static inline double df_later(double a, double b) { return a > b ? a : b; }
static inline double df_sooner(double a, double b) { return a < b ? a : b; }

typedef struct {
    double flops;
    double gathered;        /* lines that it gathers or scatters one by one */
    double moved;           /* lines that it moves on chip besides: its share of
                             * the rows, and its weights */
} DfWork;

/* Rows of n edges together, those that are none left out. */
static inline double df_rows(const DfGraph *graph, const int *edge, int n) {
    double rows = 0;
    for (int k = 0; k < n; k++)
        if (edge[k] != DF_NONE) rows += (double)graph->edge[edge[k]].rows;
    return rows;
}
/* Rows that a stage reads and makes. */
static inline double df_rows_in(const DfGraph *graph, const DfStage *stage) {
    return df_rows(graph, stage->in, DF_INS);
}
static inline double df_rows_out(const DfGraph *graph, const DfStage *stage) {
    return df_rows(graph, stage->out, DF_OUTS);
}
/* Of units u0 .. u1-1 of a stage on groups first .. first+groups-1 of a
 * sequence. */
static inline DfWork df_firing(const DfGraph *graph, const DfStage *stage,
                             size_t u0, size_t u1, size_t first,
                             size_t groups) {
    /* of units that share rows every firing wants these rows whole */
    const size_t wanted = stage->grads && stage->whole ? size_up(u1 - u0, stage->whole)
                                                       : u1 - u0;
    const double share = (double)wanted / (double)stage->units;
    const double all = stage->gather || stage->scatter
                       ? (double)graph->edge[stage->in[0]].rows : 0;
    const double lines = df_lines(stage, u0, u1);
    const double times = stage->gather + 2 * stage->scatter;
    const double earlier = (double)first + (double)(groups + 1) / 2;
    double rows = df_rows_in(graph, stage) + df_rows_out(graph, stage);
    if (stage->gather) rows -= all;             /* counted line by line */
    rows *= share;
    if (stage->scatter) rows += (1 - share) * all;
    rows += (double)(u1 - u0) * stage->recalled * earlier;
    return (DfWork){.flops = df_flops(stage, u0, u1, first, groups),
                    .gathered = times * lines * (double)groups,
                    .moved = rows * (double)groups + lines};
}
/* The longer of its arithmetic and its traffic on chip. */
static inline double df_cycles(const DfChip *chip, const DfWork *work) {
    const double line = LINE * (double)chip->element;
    const double bytes = (work->gathered + work->moved) * line;
    return df_later(work->flops / chip->flops, bytes / chip->port);
}

/* ---- sections: what is on the chip together ------------------------------ *
 * An edge's rows are dealt out over the places of its part, equally many to
 * each. Loads, which bring edges of earlier sections on the chip, are parts like
 * others. */

typedef struct {            /* what a part has of a tile's memory */
    size_t tile;
    size_t at;              /* bytes from the tile's start */
    float *chip;            /* the same, if the plan is to be run */
} DfPlace;

typedef struct {            /* where an edge lies in a section */
    size_t slots;           /* 0: it is not on chip; for a firing's panels each
                             * until df_place_edges, then for one panel each */
    size_t per;             /* rows a place, of the part that writes it first */
    size_t at;              /* bytes from each place's start */
    bool stored;            /* goes off chip as well */
    float *chip;            /* group 0 of slot 0, from which `row` counts */
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
    size_t place, places;   /* the first; how many, each on a tile of its own */
    size_t per;             /* units an actor */
    size_t bytes;           /* of each place */
    size_t w, dw;           /* bytes from the start of each place: weights and
                             * accumulators, */
    size_t sums, state;     /* sums, state, */
    size_t scratch;         /* scratch */
    size_t needs, need[DF_DEPS];    /* parts that make what it reads */
    size_t gives, give[DF_DEPS];    /* parts that read what it makes */
    size_t ahead[DF_DEPS];  /* firings it may be ahead of each of these: slots */
    bool reads_state[DF_DEPS];      /* that one reads its state */
    size_t replicas;        /* so many tiles have the same units, and each of
                             * them fires every replicas-th time */
    size_t actor, actors;   /* the first; how many, replica by replica: fewer
                             * than places if there are fewer units */
    uint32_t *col;          /* the matrix's columns as rows of the edge it
                             * gathers from or scatters to */
    DfSlice *cut;           /* [actors] what tiles hold, if units are columns */
    _Alignas(64) atomic_size_t done;    /* firings 0 .. done-1 are done by all
                                         * tiles that have them */
} DfPart;

typedef struct {            /* a part on one tile */
    size_t part, k;         /* it is the k-th of this part */
    size_t u0, u1;          /* its units are u0 .. u1-1 */
    size_t replica;         /* of the part's; its first firing too */
    size_t place;           /* of the section's */
    size_t tile;            /* of that place */
    _Alignas(64) atomic_size_t next;        /* its next firing: replica, then
                                             * every replicas-th */
    atomic_int busy;                        /* 1: a worker has it */
} DfActor;

/* How a section uses the chip: its weights resident, or streamed through; or its
 * stages one after the other, each alone on all tiles, as kernels: then it has
 * neither loads nor places nor actors. */
enum { DF_RESIDENT, DF_STREAMED, DF_ALONE, DF_MODES };

typedef struct {
    DfPart *part;           /* the loads come first, then the graph's stages */
    size_t parts, loads;
    size_t first;           /* the first of the graph's stages */
    DfActor *actor;
    size_t actors;
    DfPlace *place;
    size_t places;
    DfSlot *slot;           /* [edges of the graph] */
    size_t tiles;           /* used */
    size_t peak;            /* most bytes of a tile */
    double all;             /* cycles a panel of all parts, on one tile */
    double work;            /* the same of the busiest tile */
    uint64_t sign;          /* sections of one sign take the same time, but for
                             * what hides the coming of their weights */
    int mode;               /* of the three above */
    bool replicate;         /* parts may have replicas; */
    bool replicated;        /* some have, and their edges the slots for that */
    bool streamed;          /* its weights stay off chip, and pass through it */
    size_t span;            /* panels a firing: the more, the less often
                             * streamed weights pass */
    size_t per_sequence;    /* firings of a part */
} DfSection;

typedef struct {            /* the first and the last stage that read an edge */
    bool any;
    size_t first, last;
} DfReads;

typedef struct {
    DfChip chip;
    size_t room;            /* bytes of each tile's memory that it may use */
    size_t depth;           /* slots of an edge, at least */
    size_t groups;          /* of a panel */
    DfSection *section;
    size_t sections;
    float *memory;          /* of the tiles; NULL: a plan only, not to be run */
    size_t stride;          /* lines from a tile's memory to the next one's */
    DfReads *reads;         /* [edges of the graph] */
    int purpose;            /* of the four below */
} DfPlan;

/* What a plan is for: to be simulated, with kernels where they are faster or with
 * streams alone; to be run fast by a few workers; to be run as it would be
 * simulated, which tests do. To be run it needs memory of the host for that of
 * the chip. */
enum { DF_TO_SIMULATE, DF_TO_STREAM, DF_TO_RUN, DF_TO_TRY };

static inline bool df_for_workers(const DfPlan *plan) {
    return plan->purpose == DF_TO_RUN;
}
static inline bool df_has_kernels(const DfPlan *plan) {
    return plan->purpose == DF_TO_SIMULATE || plan->purpose == DF_TO_TRY;
}

enum { DF_LINE_BYTES = LINE * sizeof(float) };

/* Lines between the memories of two tiles that belong to none. Without them the
 * same place of every tile would fall into the same set of the host's caches,
 * for a tile's size is a power of two: that cost a tenth of the speed. */
enum { DF_GAP = 321 };

static const size_t DF_NOBODY = SIZE_MAX;       /* no part */

/* The stage of the graph after a section's last. */
static inline size_t df_section_end(const DfSection *section) {
    return section->first + section->parts - section->loads;
}
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
    if (graph->edge[e].base == DF_NONE) return e;
    const size_t writer = df_writer(section, e);
    if (writer == DF_NOBODY) return e;
    return section->part[writer].s.kind == DF_LOAD ? e : graph->edge[e].base;
}
static inline void df_section_free(DfSection *section, const DfGraph *graph) {
    for (size_t e = 0; e < graph->edges; e++) {
        const int base = graph->edge[e].base;
        const DfSlot *slot = &section->slot[e];
        if (base == DF_NONE || slot->row != section->slot[base].row)
            free(slot->row);            /* else it is the base's */
    }
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        for (size_t k = 0; part->cut && k < part->actors; k++) {
            free(part->cut[k].mat.four);
            free(part->cut[k].mat.begin);
        }
        free(part->cut);
        free(part->col);
    }
    free(section->slot);
    free(section->part);
    free(section->actor);
    free(section->place);
}

/* ---- guarding memory ----------------------------------------------------- */

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
        for (size_t k = 0; k < part->places && part->bytes; k++)
            __asan_unpoison_memory_region(section->place[part->place + k].chip,
                                          part->bytes);
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

/* ---- slices: what a tile holds of a matrix that is cut by its columns ---- */

/* Lists the fours of a slice whose first column is `left`: those of the whole, of its
 * columns, at its own lines. */
static inline void df_slice_fours(const SpMat *mat, DfSlice *slice, size_t left) {
    SpMat *m = &slice->mat;
    const size_t fours = m->IC / 4;
    size_t lines = 0;
    for (size_t r = 0; r < m->nb; r++) lines += m->end[r] - m->first[r];
    m->four = mem_new(lines / 4 + BEYOND, sizeof *m->four);
    m->begin = mem_new(sp_bands(m) * fours + 1, sizeof *m->begin);
    uint32_t n = 0;
    for (size_t at = 0; at < sp_bands(m) * fours; at++) {
        const uint32_t *of =
            mat->begin + at / fours * (mat->IC / 4) + left / 4 + at % fours;
        for (const SpFour *f = mat->four + of[0]; f < mat->four + of[1]; f++) {
            const uint32_t line = m->first[f->block] + f->line - slice->from[f->block];
            m->four[n++] = (SpFour){f->block, line - m->first[0]};
        }
        m->begin[at + 1] = n;
    }
}
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
        if (mat->four) df_slice_fours(mat, &slice[k], left);
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
/* Copies `lines` lines onto the chip or, if back, from it. */
static inline void df_carry(float *chip, float *flat, size_t lines, bool back) {
    memcpy(back ? flat : chip, back ? chip : flat, lines * DF_LINE_BYTES);
}
/* Copies the lines of a slice onto the chip; flat: the whole matrix, of whose row
 * block r the slice begins at line from[r]. */
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
 * the end while they are in a worker's caches.
 *
 * Firing i is of panels i x span .. of the stream. Where weights stay on the tile
 * span is 1 and a firing a panel, so comments from here on say panel i for both. */

/* Computes firing i of an actor. */
typedef void DfFire(void *owner, const DfSection *section, const DfActor *actor,
                    size_t i, size_t worker);

typedef struct {                    /* a firing, as it happened on the host */
    double from, to;                /* seconds */
    uint32_t worker, section, actor;
    uint32_t panel;                 /* the firing's number */
} DfEvent;

typedef struct {
    DfSection *section;
    size_t number;                  /* of the section */
    size_t firings;                 /* of a part; its replicas share them out */
    DfPool *pool;
    DfFire *fire;
    void *owner;
    DfEvent *event;                 /* [actors][firings], untouched where another
                                     * replica fires; NULL: not wanted */
    pthread_mutex_t lock;
    pthread_cond_t wake;            /* an actor has fired */
    size_t awake;                   /* workers that are in it and do not sleep */
    atomic_size_t asleep;           /* and those who do; both under the lock */
    atomic_size_t left;             /* firings */
} DfJob;

static inline size_t df_done(const DfSection *section, size_t s) {
    return atomic_load_explicit(&section->part[s].done, memory_order_acquire);
}
/* Panels that the k-th who reads what a part makes must have done before the
 * part may begin panel i: so many that a slot is free; but all before i, if that
 * one reads the part's state and panel i begins a sequence, with which the state
 * begins anew. */
static inline size_t df_room_for(const DfSection *section, const DfPart *part,
                                 size_t k, size_t i) {
    if (part->reads_state[k] && i % section->per_sequence == 0) return i;
    return i < part->ahead[k] ? 0 : i + 1 - part->ahead[k];
}
/* The part that a part waits for before firing i, for its panel or for a slot
 * to be given back; or DF_NOBODY. */
static inline size_t df_waits(const DfSection *section, const DfPart *part,
                              size_t i, size_t firings) {
    const size_t wanted = size_min(i + 1 + part->s.lag, firings);
    for (size_t k = 0; k < part->needs; k++)
        if (df_done(section, part->need[k]) < wanted) return part->need[k];
    for (size_t k = 0; k < part->gives; k++)
        if (df_done(section, part->give[k]) < df_room_for(section, part, k, i))
            return part->give[k];
    return DF_NOBODY;
}
/* So many panels, from the first on, are done by all of a part, counted anew:
 * as many as the least next of its actors, for whoever has a panel below that
 * has gone past it. */
static inline size_t df_count(const DfSection *section, const DfPart *part) {
    size_t least = SIZE_MAX;
    for (size_t k = 0; k < part->actors; k++) {
        DfActor *actor = &section->actor[part->actor + k];
        least = size_min(least, atomic_load(&actor->next));
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
/* Firing i of an actor, which is ready and this worker's alone. */
static inline void df_fire(DfJob *job, DfPart *part, DfActor *actor, size_t i,
                           size_t worker) {
    const size_t number = (size_t)(actor - job->section->actor);
    const double from = job->event ? seconds() : 0;
    job->fire(job->owner, job->section, actor, i, worker);
    if (job->event)
        job->event[number * job->firings + i] = (DfEvent){
            .from = from, .to = seconds(), .worker = (uint32_t)worker,
            .section = (uint32_t)job->number, .actor = (uint32_t)number,
            .panel = (uint32_t)i};
    atomic_store(&actor->next, i + part->replicas);     /* sequentially consistent:
                                         * of two that finish at once one sees both */
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
/* Fires an actor if nobody else does and its next panel is ready; true if so.
 * All is asked again: another worker may have fired it since the last look. */
static inline bool df_try(DfJob *job, DfPart *part, DfActor *actor,
                          size_t worker) {
    int idle = 0;
    bool ready = false;
    if (atomic_compare_exchange_strong(&actor->busy, &idle, 1)) {
        const size_t i =
            atomic_load_explicit(&actor->next, memory_order_acquire);
        ready = i < job->firings &&
                df_waits(job->section, part, i, job->firings) == DF_NOBODY;
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
    if (df_waits(section, part, i, job->firings) != DF_NOBODY) return false;
    for (size_t k = 0; k < part->actors; k++) {
        DfActor *actor = &section->actor[part->actor + k];
        if (atomic_load_explicit(&actor->next, memory_order_relaxed) != i)
            continue;
        if (atomic_load_explicit(&actor->busy, memory_order_relaxed)) continue;
        if (df_try(job, part, actor, worker)) return true;
    }
    return false;
}
/* Fires one actor that is ready, of the last part that has one. Only on panels
 * of the worker's seat, which are every seats-th; if any, on all. A panel that
 * stays with one worker stays in its cache, and with as many slots as workers
 * so do the slots. Panels cost more towards the end of a sequence, so one seat
 * has more to do than another; who has nothing of his own takes any. */
static inline bool df_fire_one(DfJob *job, size_t seat, size_t worker, bool any) {
    const size_t seats = df_seats(job->pool);
    for (size_t s = job->section->parts; s-- > 0;) {
        DfPart *part = &job->section->part[s];
        const size_t slowest = df_done(job->section, s);
        const size_t end = size_min(slowest + 1 + part->replicas, job->firings);
        /* the panel of its slowest tile, then those that others may be at */
        for (size_t i = slowest; i < end; i++) {
            if (!any && i % seats != seat % seats) continue;
            if (df_fire_part(job, part, i, worker)) return true;
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
    while (s + 1 < section->parts && df_done(section, s) == job->firings) s++;
    for (int hop = 0; hop < 8 && s != DF_NOBODY && used < sizeof text; hop++) {
        const DfPart *part = &section->part[s];
        const size_t i = df_count(section, part);
        const int more =
            snprintf(text + used, sizeof text - used,
                     "%s at panel %zu waits for ", part->s.name, i);
        used += (size_t)more;
        s = df_waits(section, part, i, job->firings);
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
 * firing is left. It looks first for the panels of its seat, which may still be
 * in its cache; after DF_PATIENCE looks in vain it takes any. */
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
/* Actors of one replica of a part: so many fire on each panel. */
static inline size_t df_replica_actors(const DfPart *part) {
    return part->actors / part->replicas;
}
/* Firings of each part of a section for so many panels. */
static inline size_t df_firings(const DfSection *section, size_t panels) {
    return (panels + section->span - 1) / section->span;
}
/* The same of all actors together. */
static inline size_t df_all_firings(const DfSection *section, size_t panels) {
    size_t actors = 0;
    for (size_t s = 0; s < section->parts; s++)
        actors += df_replica_actors(&section->part[s]);
    return actors * df_firings(section, panels);
}
/* Before a run: nothing of a section is done. */
static inline void df_rewind(DfSection *section) {
    for (size_t k = 0; k < section->actors; k++)
        atomic_store(&section->actor[k].next, section->actor[k].replica);
    for (size_t s = 0; s < section->parts; s++)
        atomic_store(&section->part[s].done, 0);
}
/* Runs a section, the number-th of its plan, over a stream of so many panels:
 * all workers fire whatever is ready, until no firing is left. fire computes
 * one. event: [actors][firings], all 0, gets what happened; or NULL. */
static inline void df_section_run(DfPool *pool, DfSection *section,
                                  size_t number, size_t panels, DfFire *fire,
                                  void *owner, DfEvent *event) {
    DfJob job = {.section = section, .number = number, .pool = pool,
                 .fire = fire, .owner = owner, .event = event};
    job.firings = df_firings(section, panels);
    atomic_init(&job.left, df_all_firings(section, panels));
    atomic_init(&job.asleep, 0);
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.wake, NULL);
    df_rewind(section);
    df_run(pool, df_section_worker, &job, pool->workers);
    pthread_mutex_destroy(&job.lock);
    pthread_cond_destroy(&job.wake);
}
#endif
