/* program.h: what a model is made of for the machine: a list of stages.
 *
 * A stage maps panels to panels (sparse.h): a norm, a linear layer, attention.
 * What flows between stages is an edge: rows, a line of 16 tokens each, panel
 * by panel. Whoever builds a program appends one stage after the other, says
 * what each reads and makes, and how much work it is. Schedules, planner,
 * counters and simulator read these records and nothing else.
 *
 * Off chip an edge lies in an array, [group][row][16] for the whole run, or for a panel
 * alone; groups are prog_stride apart. Edges that are read again much later have an
 * array of their own; those that are soon used up share a few arrays, again and again:
 *
 *     edges    h.0 x --> h.0 n1 --> h.0 qkv --> h.0 att --> ... h.1 n1 --> ...
 *     arrays   own       shared     own         own             the same
 *
 * On chip an edge has a few panels' slots (dataflow.h).
 *
 *     Program p = {.shared = 1, .layers = 4};
 *     prog_array(&p, 0, "shared", 0);             array 0
 *     ProgStage *s = prog_append(&p, 0, "double", fire);
 *     prog_reads(s, x);
 *     const int y = prog_makes(s, prog_passing(&p, 0, "y", 64, 0));
 *
 * It refuses to know what any stage computes, and whose it is. */
#ifndef PROGRAM_H
#define PROGRAM_H
#include "../../dataflow.h"

typedef struct Firing Firing;   /* one firing of a stage: its owner's */

typedef struct {
    char name[64];              /* what lies in it */
    size_t rows;                /* 0: nothing lies in it */
    bool one_panel;             /* no more than one panel of it exists */
} ProgArray;

/* Floats from a group of an array to the next. A first-level cache of 64 sets, as most
 * are, puts lines that are 64 apart into the same set: with 768 rows a feature of every
 * group would come into one, with 96 rows into one of two. 16 lines more, and four groups
 * lie in four sets. */
enum { PROG_APART = 16 };
static inline size_t prog_stride(const ProgArray *a) {
    const bool apart = a->rows && a->rows % (2 * PROG_APART) == 0;
    return size_mul(a->rows + (apart ? PROG_APART : 0), LINE);
}

/* Into what tasks schedule `kernel` cuts a stage: panels; heads of a sequence;
 * row blocks or features, each over the whole run. */
typedef enum { BY_PANEL, BY_HEAD, BY_ROWS, BY_FEATURES } ProgCut;

/* A stage: what the machine must know of it, and what its mathematics needs. */
typedef struct {
    DfStage df;                 /* edges, units, FLOPs, lines: what is planned
                                 * and counted; df.kind: its place here */
    void (*fire)(const Firing *);   /* its mathematics */
    ProgCut cut;                /* into what tasks, a stage at a time */
    int param;                  /* the parameter that it reads, or whose
                                 * gradient it makes; PROG_NONE: none */
    int side[2];                /* arrays off chip that it reads or writes
                                 * besides its edges; PROG_NONE: none */
    size_t real;                /* output rows that are not padding; 0: all */
    size_t thirds;              /* 3: its units cut queries, keys and values, a
                                 * third of its outputs each; 1: the whole */
    size_t split;               /* units a head, of which the j-th has the groups
                                 * n of its sequence with n % split = j; 1: they
                                 * have all groups */
} ProgStage;

enum { PROG_NONE = DF_NONE };   /* no edge, no array, no parameter */

typedef struct {
    size_t layers;              /* stages of layer l below that are called
                                 * h.l.NAME, others NAME */
    ProgStage *stage;
    size_t stages, stages_cap;
    size_t groups;              /* of a sequence */
    size_t panel;               /* groups of a panel, at most */
    size_t forward;             /* so many stages take the panels in order, the
                                 * others in the order of the backward stream */
    size_t head;                /* from here on four stages run panel by panel
                                 * under every schedule: logits, loss, dx, dw */
    DfEdge *edge;
    size_t edges, edges_cap;
    size_t *array_of;           /* [edges] */
    size_t array_of_cap;
    ProgArray *array;           /* the shared ones first */
    size_t arrays, arrays_cap;
    size_t shared;
} Program;

/* ---- edges and their arrays ---------------------------------------------- */

/* A new edge of layer l in array `array`. */
static inline int prog_edge_in(Program *p, size_t l, const char *name,
                               size_t rows, size_t array) {
    p->edge = mem_grow(p->edge, p->edges, &p->edges_cap, sizeof *p->edge);
    p->array_of = mem_grow(p->array_of, p->edges, &p->array_of_cap,
                           sizeof *p->array_of);
    DfEdge *e = &p->edge[p->edges];
    *e = (DfEdge){.rows = rows, .base = DF_NONE, .kept = array >= p->shared};
    snprintf(e->name, sizeof e->name, "h.%zu %s", l, name);
    p->array_of[p->edges] = array;
    return (int)p->edges++;
}
/* A new array, which is layer l's; its number. */
static inline size_t prog_array(Program *p, size_t l, const char *what,
                                size_t rows) {
    p->array =
        mem_grow(p->array, p->arrays, &p->arrays_cap, sizeof *p->array);
    ProgArray *a = &p->array[p->arrays];
    *a = (ProgArray){.rows = rows};
    snprintf(a->name, sizeof a->name, "layer %zu, %s", l, what);
    return p->arrays++;
}
/* An edge that is read again much later; what: the name of its array. */
static inline int prog_kept(Program *p, size_t l, const char *name, size_t rows,
                            const char *what) {
    return prog_edge_in(p, l, name, rows, prog_array(p, l, what, rows));
}
/* An edge that is gone when its readers have read it, in a shared array or in one
 * whose contents nobody reads after its stage. */
static inline int prog_passing(Program *p, size_t l, const char *name,
                               size_t rows, size_t array) {
    p->array[array].rows = size_max(p->array[array].rows, rows);
    const int e = prog_edge_in(p, l, name, rows, array);
    p->edge[e].kept = false;
    return e;
}
/* An edge that is written in place of another. */
static inline int prog_in_place(Program *p, size_t l, const char *name,
                                int of) {
    const int e =
        prog_edge_in(p, l, name, p->edge[of].rows, p->array_of[of]);
    p->edge[e].base = of;
    return e;
}

/* An edge that exists on chip alone, or inside a kernel; array: an empty one. */
static inline int prog_inner(Program *p, size_t l, const char *name,
                             size_t rows, size_t array) {
    const int e = prog_edge_in(p, l, name, rows, array);
    p->edge[e].inner = true;
    return e;
}

/* ---- stages -------------------------------------------------------------- */

/* Appends a stage of layer l, with one unit, that fires once a panel. The
 * pointer holds until the next is appended. */
static inline ProgStage *prog_append(Program *p, size_t l, const char *name,
                                     void (*fire)(const Firing *)) {
    p->stage = mem_grow(p->stage, p->stages, &p->stages_cap, sizeof *p->stage);
    ProgStage *s = &p->stage[p->stages];
    *s = (ProgStage){
        .fire = fire,
        .param = PROG_NONE,
        .side = {PROG_NONE, PROG_NONE},
        .thirds = 1,
        .split = 1,
        .df = {.kind = (int)p->stages, .layer = l, .units = 1,
               .replicable = true},
    };
    for (int k = 0; k < DF_INS; k++) s->df.in[k] = DF_NONE;
    for (int k = 0; k < DF_OUTS; k++) s->df.out[k] = DF_NONE;
    const bool inside = l < p->layers;
    if (inside) snprintf(s->df.name, sizeof s->df.name, "h.%zu.%s", l, name);
    else snprintf(s->df.name, sizeof s->df.name, "%s", name);
    p->stages++;
    return s;
}
/* The stage reads one more edge. */
static inline void prog_reads(ProgStage *s, int edge) {
    int k = 0;
    while (s->df.in[k] != DF_NONE) k++;
    s->df.in[k] = edge;
}
/* The stage makes one more edge; returns it. */
static inline int prog_makes(ProgStage *s, int edge) {
    int k = 0;
    while (s->df.out[k] != DF_NONE) k++;
    s->df.out[k] = edge;
    return edge;
}

static inline void prog_free(Program *p) {
    free(p->stage);
    free(p->edge);
    free(p->array_of);
    free(p->array);
    *p = (Program){0};
}
#endif
