/* firing.h: where a stage that fires finds what it reads and makes.
 *
 * A run is a model at work on B sequences of T tokens: its program, and an array
 * for whatever flows between the stages. A firing is some units of one stage (row
 * blocks, heads, features) on one panel:
 *
 *     SpPanel x = gpt_in(f, 0);           the first edge that it reads
 *     SpPanel y = gpt_out(f, 0);          the first that it makes
 *     SpPanel s = gpt_side(f, 0);         statistics beside them
 *     const float *w = gpt_w(f->r, k);    the weights of parameter k
 *
 * Where these lie, in an array off chip or in a slot on some tiles, is no business
 * of the stage's:
 *
 *     off chip   array[group of the run][row][16]           rows 0, 1, 2 ..., groups
 *                                                           prog_stride apart
 *     on chip    slot [panel % slots][group][its rows][16]  row[i]: where row i is
 *
 * It refuses to compute anything, and to decide what fires when: that is
 * data/run/schedule.h. */
#ifndef FIRING_H
#define FIRING_H
#include "drop.h"
#include "program.h"
#include "weights.h"

static inline size_t gpt_rows(size_t n) { return size_up(n, LINE); }
static inline size_t gpt_groups(size_t T) { return (T + LINE - 1) / LINE; }

typedef struct GptMachine GptMachine;
enum { MOVED_IN, MOVED_OUT, MOVED_RANDOM, MOVED_WEIGHTS, MOVED_GRADS };
enum { MOVED_KINDS = 8 };       /* room for those, a cache line a worker */

/* Which schedule is faster here: the first steps of a run take turns. */
typedef struct {
    size_t left;                /* steps still to be tried */
    double least[2];            /* seconds a sequence, the fastest: stage by stage; on the chip */
} GptTrial;

typedef struct {
    Gpt *m;
    DfPool *pool;
    Program program;
    size_t B, T;                /* sequences, tokens of each */
    size_t stride;              /* groups from one sequence to the next */
    size_t from, groups;        /* the groups from .. groups-1 of each sequence
                                 * are computed */
    size_t panel;               /* groups a panel */
    const int32_t *inputs;      /* (B,T) */
    const int32_t *targets;     /* (B,T); one below 0 does not count */
    float **array;              /* [arrays of the program] */
    uint32_t *identity;         /* 0, 1, 2 ... the rows of an edge off chip */
    float *scratch;             /* per worker, scores of a head and a panel */
    double *loss;               /* (B, stride x 16) of each token */
    atomic_uint *done;          /* [lots of the pool][panels] tasks of a stage, off the
                                 * chip, that are done with a panel */
    float dscale;               /* 1 / targets that count in the whole step */
    Dropout dropout;            /* of its training steps; a share of what layers make
                                 * needs a program made with GPT_DROP */
    bool dropping;              /* one is under way */
    GptMachine *machine;        /* the chip that trains; NULL: stage by stage */
    GptTrial trial;             /* whether the chip stays */
    const DfSection *on;        /* what the chip runs now */
    double *moved;              /* [workers][MOVED_KINDS] lines that went on and
                                 * off the chip, as they went */
} GptRun;

typedef struct {                /* a panel of one sequence */
    size_t at;                  /* its first group, in the run's arrays */
    size_t first;               /* the same, in its sequence */
    size_t groups;
} GptPanel;

/* One firing of a stage: units unit .. end-1 of it (row blocks, outputs, heads,
 * features) on one panel. */
struct Firing {
    const GptRun *r;
    const ProgStage *stage;
    size_t unit, end;
    size_t turn;                /* its panel's place in the stream: its slot */
    size_t worker;
    GptPanel panel;
    size_t logits_at;           /* the first group whose logits exist */
    const float *w;             /* weight lines of its first unit on */
    float *dw;                  /* the same of their gradient */
    float *db;                  /* of the bias's: 16 sums, one a lane, each */
    const DfPart *keeper;       /* the part that keeps the sequence's keys and
                                 * values on chip; NULL: they lie in edges */
    const DfPlace *kept;        /* its places */
    float *scratch;             /* on chip: lines to work with */
    const uint32_t *col;        /* the matrix's columns as rows of what it
                                 * gathers from; NULL: as they are */
    const SpMat *slice;         /* backward-data on a tile: the columns it
                                 * holds; NULL: all */
    size_t block, block_end;    /* and the row blocks it goes through; w: lines
                                 * of the first on */
};

static inline const float *gpt_w(const GptRun *r, int k) {
    return r->m->w + r->m->table[k].at;
}

/* Where the firing's panel lies in an array off chip. */
static inline SpPanel gpt_off_chip(const Firing *f, size_t array) {
    const ProgArray *a = &f->r->program.array[array];
    const size_t at = f->panel.at - (a->one_panel ? f->logits_at : 0);
    const size_t stride = prog_stride(a);
    return (SpPanel){f->r->array[array] + at * stride, stride, f->r->identity};
}
/* Where the firing's panel of an edge lies, on chip or off. */
static inline SpPanel gpt_panel_of(const Firing *f, int edge) {
    const DfSlot *slot = f->r->on ? &f->r->on->slot[edge] : NULL;
    if (!slot || !slot->slots)
        return gpt_off_chip(f, f->r->program.array_of[edge]);
    float *lines = slot->chip + f->turn % slot->slots * slot->stride;
    return (SpPanel){lines, slot->gs, slot->row};
}
static inline SpPanel gpt_in(const Firing *f, int k) {
    return gpt_panel_of(f, f->stage->df.in[k]);
}
static inline SpPanel gpt_out(const Firing *f, int k) {
    return gpt_panel_of(f, f->stage->df.out[k]);
}
static inline SpPanel gpt_side(const Firing *f, int k) {
    return gpt_off_chip(f, (size_t)f->stage->side[k]);
}
/* The firing's sequence. */
static inline size_t gpt_sequence(const Firing *f) {
    return f->panel.at / f->r->stride;
}
/* The position of the first token of group g of its panel. */
static inline size_t gpt_position(const Firing *f, size_t g) {
    return (f->panel.first + g) * LINE;
}
#endif
