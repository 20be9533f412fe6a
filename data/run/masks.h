/* masks.h: which weights a run keeps, and when that changes: the options of a
 * sparse run put to work.
 *
 * Only the four matrices of each layer can be sparse (gpt_maskable);
 * embeddings, norms and biases stay dense. The life of a run of n steps:
 *
 *     0 .. dense-first n        all dense
 *     then                      a mask by the rule of --mask (gmp: none, it begins with
 *                               all blocks)
 *     every mask-every steps,   the masks evolve: set and rigl move a share `drop` of the
 *     up to mask-stop n         blocks, less each time by a cosine; gmp prunes, and the
 *                               density falls as d + (1 - d)(1 - t)^3, t from 0 to 1
 *     n - densify n .. n        all dense again, the dropped weights beginning at zero
 *
 * A change of masks makes a new model of the old one's lines: what is kept
 * keeps its weight and moments, what is new starts at zero. It is a function of
 * the step and the model, so a resumed run goes the same way.
 *
 * It refuses to draw a pattern or to evolve one: sparse.h does. Here is who
 * asks for it, at which density and at which step.
 *
 * Example: --sparsity 0.875 --block 16x4 at width 256: c_attn has 48 row blocks
 * of 64 groups of 4 inputs, and keeps 8 groups of each. */
#ifndef MASKS_H
#define MASKS_H
#include "rate.h"
#include "schedule.h"

/* ---- what the options ask for -------------------------------------------- */

enum {
    MASK_FILE = -1,
    MASK_BALANCED,
    MASK_RANDOM,
    MASK_BUTTERFLY,
    MASK_MAGNITUDE
};
/* What --mask says; MASK_FILE: it names a file. */
static inline int mask_rule(const Options *o) {
    static const char *const rule[4] = {"balanced", "random", "butterfly",
                                        "magnitude"};
    for (int k = 0; k < 4; k++)
        if (!strcmp(o->mask, rule[k])) return k;
    return MASK_FILE;
}
enum { STATIC, SET, RIGL, GMP };
static inline int parse_update(const Options *o) {
    static const char *const words[4] = {"static", "set", "rigl", "gmp"};
    return parse_word(o, "update", o->update, words, 4);
}

/* Densities by kind=S, with a slash between them; out has those that are not
 * named. */
static inline void mask_spread(const Options *o, double out[4]) {
    static const char *const kind[4] = {"qkv", "proj", "fc", "fc2"};
    const char *p = o->spread;
    bool seen[4] = {false};
    char *end;
    do {
        const size_t n = strcspn(p, "=");
        int k = 0;
        end = NULL;
        while (k < 4 && (strlen(kind[k]) != n || strncmp(p, kind[k], n))) k++;
        const double s = k < 4 && p[n] ? strtod(p + n + 1, &end) : -1;
        const bool number = end && end != p + n + 1 && (!*end || *end == '/');
        if (!number || !(s >= 0 && s < 1) || seen[k])
            refuse(o,
                   "--spread: expected uniform, erk or qkv=S/proj=S/fc=S/fc2=S with S "
                   "in [0,1), each at most once, found '%s'",
                   p);
        seen[k] = true;
        out[k] = 1 - s;
        p = end + 1;
    } while (*end);
}
/* Densities of c_attn, attn.c_proj, c_fc and mlp.c_proj, which are the same in
 * every layer. */
static inline void mask_densities(const Options *o, size_t C, double out[4]) {
    const size_t outputs[4] = {3 * C, C, 4 * C, C};
    const size_t inputs[4] = {C, C, C, 4 * C};
    for (int k = 0; k < 4; k++) out[k] = 1 - o->sparsity;
    if (!strcmp(o->spread, "uniform")) return;
    if (strcmp(o->spread, "erk")) mask_spread(o, out);
    else sp_erdos_renyi(4, outputs, inputs, 1 - o->sparsity, out);
}
/* The place 0 .. 3 of a layer's matrix in the list above. */
static inline int mask_kind(size_t k) {
    switch ((k - LAYER0) % PER_LAYER) {
    case QKVW: return 0;
    case PROJW: return 1;
    case FCW: return 2;
    default: return 3;
    }
}

/* ---- patterns ------------------------------------------------------------ */

/* The sums of |weight| of all blocks of parameter k, 16 x w, on the heap. */
static inline float *mask_sums(const Gpt *m, size_t k, size_t w) {
    const GptParam *p = &m->table[k];
    const size_t line = LINE * sizeof(float);
    SpMat all = sp_pattern(p->cols, p->rows, w, NULL);
    float *values = mem_new(all.lines, line);               /* (lines,16) */
    float *sum = mem_new(sp_blocks(&all), sizeof *sum);     /* [blocks] */
    sp_carry(&p->mat, &all, m->w + p->at, values, line);
    sp_sums(&all, values, sum);
    sp_free(&all);
    free(values);
    return sum;
}
/* The pattern of parameter k at that density by the rule of --mask; m has the
 * weights for magnitude. */
static inline SpMat mask_by_rule(const Options *o, const GptParam *p,
                                 double density, const Gpt *m, size_t k) {
    const size_t w = parse_block(o);
    const size_t OC = p->cols;
    const size_t IC = p->rows;
    const size_t J = IC / w;                        /* blocks in a row */
    const size_t nb = (OC + LINE - 1) / LINE;       /* rows of blocks */
    const size_t keep = sp_per_row(density, J);
    const uint64_t key = rng_key(o->mask_seed, p->name);
    const int rule = mask_rule(o);
    uint8_t *on = mem_new(nb * J, 1);               /* (nb,J) */
    if (rule == MASK_BALANCED) sp_mask_balanced(on, nb, J, keep, key);
    if (rule == MASK_RANDOM) sp_mask_random(on, nb, J, keep, key);
    if (rule == MASK_BUTTERFLY) sp_mask_butterfly(on, nb, J, keep);
    if (rule == MASK_MAGNITUDE) {
        float *sum = mask_sums(m, k, w);            /* (nb,J) */
        sp_mask_magnitude(on, nb, J, keep, sum);
        free(sum);
    }
    SpMat mat = sp_pattern(OC, IC, w, on);
    free(on);
    return mat;
}

/* Whether a matrix of the table that can be sparse has that name. */
static inline bool masks_has(const GptParam *table, size_t count,
                             const char *name) {
    for (size_t k = 0; k < count; k++)
        if (gpt_maskable(&table[k]) && !strcmp(name, table[k].name))
            return true;
    return false;
}
/* Dies unless every mask.NAME of a file is of a matrix that can be sparse, and
 * no other tensor is there, unless the file holds a model too. */
static inline void masks_known(const Safetensors *file, const char *path,
                               const GptParam *table, size_t count) {
    const bool model = st_find(file, "wte.weight") ||
                       st_find(file, "transformer.wte.weight") ||
                       st_find(file, "param.wte.weight");
    for (size_t i = 0; i < file->n; i++) {
        const char *name = file->tensors[i].name;
        const bool mask = !strncmp(name, "mask.", 5);
        if (mask ? masks_has(table, count, name + 5) : model) continue;
        die("%s: expected mask.NAME of a layer's four matrices, found '%.200s'",
            path, name);
    }
}
/* Says which matrices have no mask in a file. */
static inline void masks_missing(const Safetensors *file, const char *path,
                                 const GptParam *table, size_t count) {
    const char *first = NULL;
    size_t missing = 0;
    char name[64];
    for (size_t k = 0; k < count; k++) {
        if (!gpt_maskable(&table[k])) continue;
        if (st_find(file, checkpoint_name(name, "mask.", &table[k]))) continue;
        if (!missing) first = table[k].name;
        missing++;
    }
    if (missing)
        note("%s: no mask for %zu matrices, %s first: they stay dense", path,
             missing, first);
}

/* Refuses a --block that the inputs of p cannot be divided into. */
static inline void mask_block_check(const Options *o, const GptParam *p) {
    if (p->rows % parse_block(o))
        refuse(o,
               "--block: expected one that divides the %zu inputs of %s, found "
               "'%s'",
               p->rows, p->name, o->block);
}
/* Patterns by the rule of --mask. */
static inline void masks_by_rule(const Options *o, const GptConfig *c,
                                 const GptParam *table, const Gpt *m,
                                 SpMat *mats) {
    double density[4];
    mask_densities(o, c->C, density);
    for (size_t k = 0; k < gpt_count(c); k++) {
        if (!gpt_maskable(&table[k])) continue;
        mask_block_check(o, &table[k]);
        mats[k] = mask_by_rule(o, &table[k], density[mask_kind(k)], m, k);
    }
}
/* Patterns from the file that --mask names. */
static inline void masks_from_file(const Options *o, const GptConfig *c,
                                   const GptParam *table, SpMat *mats) {
    bool found = false;
    bool kept = false;
    file_regular(o->mask);                          /* a checkpoint may have named it */
    Safetensors file = st_read(o->mask);
    masks_known(&file, o->mask, table, gpt_count(c));
    masks_missing(&file, o->mask, table, gpt_count(c));
    for (size_t k = 0; k < gpt_count(c); k++) {
        const GptParam *p = &table[k];
        if (!gpt_maskable(p)) continue;
        mask_block_check(o, p);
        found |= checkpoint_element_mask(&file, p, parse_block(o), &mats[k]);
        kept |= mats[k].lines || !mats[k].first;
        if (mats[k].keep && parse_update(o) != STATIC)
            die("%s: mask.%s: expected whole blocks of %s for --update %s",
                o->mask, p->name, o->block, o->update);
    }
    if (!found)
        die("%s: expected tensors mask.NAME of this model, found none", o->mask);
    if (!kept)
        die("%s: expected masks that keep something, found only zeros", o->mask);
    st_free(&file);
}
/* Patterns for gpt_make as the options say; m has the weights that magnitude
 * needs. */
static inline SpMat *masks_new(const Options *o, const GptConfig *c,
                               const Gpt *m) {
    SpMat *mats = mem_new(gpt_count(c), sizeof *mats);
    GptParam *table = gpt_table(c);
    if (mask_rule(o) == MASK_FILE) masks_from_file(o, c, table, mats);
    else masks_by_rule(o, c, table, m, mats);
    free(table);
    return mats;
}

/* ---- when ---------------------------------------------------------------- */

/* Whether the options ask for a sparse model. */
static inline bool masks_wanted(const Options *o) {
    return o->sparsity > 0 || mask_rule(o) == MASK_FILE ||
           strchr(o->spread, '=');
}
/* The steps at which the dense start ends and the dense end starts. */
static inline size_t masks_from(const Options *o) {
    return (size_t)(o->dense_first * (double)o->steps + 0.5);
}
static inline size_t masks_to(const Options *o) {
    return o->steps - (size_t)(o->densify * (double)o->steps + 0.5);
}
/* The step of the last update. */
static inline size_t masks_last(const Options *o) {
    return (size_t)(o->mask_stop * (double)o->steps) / o->mask_every *
           o->mask_every;
}
/* Whether masks evolve after that step. */
static inline bool masks_due(const Options *o, size_t step) {
    if (parse_update(o) == STATIC || step % o->mask_every) return false;
    return step <= masks_last(o) && step > masks_from(o) && step < masks_to(o);
}
/* Whether those of --init are taken off at once. */
static inline bool masks_lifted(const Options *o) {
    return o->init && o->densify == 1;
}
/* Whether there are masks at the first step, or does the run start dense? */
static inline bool masks_at_start(const Options *o) {
    const bool begin = !masks_from(o) && masks_to(o);
    return masks_wanted(o) && begin && parse_update(o) != GMP;
}

/* Refuses options, of a command line or a checkpoint, that contradict each
 * other or would do nothing. */
static inline void masks_agree(const Options *o) {
    static const char *const scale[3] = {"none", "init", "supar"};
    const int update = parse_update(o);
    const bool more = o->sparsity > 0 || o->dense_first > 0 || update == GMP ||
                      strcmp(o->spread, "uniform");
    double density[4];
    parse_block(o);
    parse_word(o, "scale", o->scale, scale, 3);
    mask_densities(o, 64, density);     /* whether --spread can be read, at any width */
    if (mask_rule(o) == MASK_FILE && more)
        refuse(o,
               "--mask FILE says all: no --sparsity, --spread, --dense-first or "
               "--update gmp");
    if (masks_wanted(o) && masks_from(o) >= masks_to(o) && !masks_lifted(o))
        refuse(o,
               "--dense-first and --densify leave none of %zu steps sparse", o->steps);
    if (update != STATIC && masks_last(o) <= masks_from(o))
        refuse(o,
               "--update %s: expected an update within %g of %zu steps, found "
               "--mask-every %zu",
               o->update, o->mask_stop, o->steps, o->mask_every);
}
/* The same, of what was given for a new run. */
static inline void masks_check(const Options *o) {
    static const char *const need[] = {
        "block", "mask", "spread", "mask-seed", "update", "dense-first",
    };
    static const char *const evolve[] = {"drop", "mask-every", "mask-stop"};
    static const char *const chosen[] = {"mask", "mask-seed", "drop"};
    const bool trained = o->init || o->dense_first > 0;
    for (size_t k = 0; k < sizeof need / sizeof *need; k++)
        if (option_given(o, need[k]) && !masks_wanted(o))
            refuse(o, "--%s needs --sparsity", need[k]);
    if (o->densify > 0 && !masks_wanted(o) && !masks_lifted(o))
        refuse(o, "--densify needs --sparsity");
    if (option_given(o, "scale") && !masks_wanted(o) && !o->init)
        refuse(o, "--scale needs --sparsity");
    for (size_t k = 0; k < sizeof evolve / sizeof *evolve; k++)
        if (option_given(o, evolve[k]) && parse_update(o) == STATIC)
            refuse(o, "--%s needs --update set, rigl or gmp", evolve[k]);
    for (size_t k = 0; k < sizeof chosen / sizeof *chosen; k++)
        if (option_given(o, chosen[k]) && parse_update(o) == GMP)
            refuse(o, "--update gmp begins dense and keeps the largest weights: no --%s",
                   chosen[k]);
    if (mask_rule(o) == MASK_FILE && !file_there(o->mask))
        refuse(o, "--mask: expected balanced, random, butterfly, magnitude or a file, found '%s'",
               o->mask);
    masks_agree(o);
    if (mask_rule(o) == MASK_MAGNITUDE && !trained)
        refuse(o,
               "--mask magnitude needs trained weights: --init CKPT or --dense-first");
}

/* Density of the four matrices of all layers together, as they are. */
static inline double masks_density(const Gpt *m) {
    double kept = 0;
    double all = 0;
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!gpt_maskable(p)) continue;
        all += (double)gpt_elements(p);
        kept += (double)sp_elements(&p->mat);
    }
    return kept / all;
}
/* As the options will make them. */
static inline double masks_density_to_come(const Options *o, const Gpt *m) {
    double density[4];
    double kept = 0;
    double all = 0;
    mask_densities(o, m->c.C, density);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!gpt_maskable(p)) continue;
        all += (double)gpt_elements(p);
        kept += density[mask_kind(k)] * (double)gpt_elements(p);
    }
    return kept / all;
}
/* The one that the learning rate is chosen by. */
static inline double masks_rate_density(const Options *o, const Gpt *m) {
    const bool to_come = masks_wanted(o) && !masks_at_start(o);
    return to_come ? masks_density_to_come(o, m) : masks_density(m);
}
/* What follows from options and masks: each tensor's own rate; and of dense
 * matrices the block they will be masked by. */
static inline void masks_ready(const Options *o, Gpt *m) {
    const bool supar = !strcmp(o->scale, "supar");
    for (size_t k = 0; k < m->count; k++) {
        GptParam *p = &m->table[k];
        const double rate = rate_of_layer(m->c.L, o->layer_decay, k);
        p->rate =
            (float)(supar && gpt_maskable(p) ? rate / gpt_density(p) : rate);
        if (!gpt_maskable(p)) continue;
        if (p->mat.dense && p->rows % parse_block(o) == 0)
            p->mat.block = parse_block(o);
    }
}

/* ---- change -------------------------------------------------------------- */

/* For each line of b the step at which it came, on the heap: as a has it or, if
 * it is new, `step`. */
static inline uint32_t *masks_born(const GptParam *a, const GptParam *b,
                                   uint32_t step) {
    const size_t line = sizeof *b->born;
    uint32_t *born = mem_new(b->mat.lines, line);                       /* [lines] */
    uint32_t *old = a->born ? a->born : mem_new(a->mat.lines, line);    /* [lines] */
    for (size_t l = 0; l < b->mat.lines; l++) born[l] = step;
    sp_carry(&a->mat, &b->mat, old, born, line);
    if (old != a->born) free(old);
    return born;
}
/* The same model with other patterns (as for gpt_make), ready to train. The
 * weights, and with moments also Adam's moments, of lines that stay are carried
 * over; a new line is zero, born at step `step`. */
static inline Gpt *gpt_remask(const Gpt *m, const SpMat *mats, uint32_t step,
                              bool moments) {
    const size_t line = LINE * sizeof(float);
    Gpt *n = gpt_make(m->c, mats, true, moments);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *a = &m->table[k];
        GptParam *b = &n->table[k];
        b->rate = a->rate;
        sp_carry(&a->mat, &b->mat, m->w + a->at, n->w + b->at, line);
        if (!moments) continue;
        sp_carry(&a->mat, &b->mat, m->moment1 + a->at, n->moment1 + b->at, line);
        sp_carry(&a->mat, &b->mat, m->moment2 + a->at, n->moment2 + b->at, line);
        if (gpt_maskable(b)) b->born = masks_born(a, b, step);
    }
    return n;
}

/* What an update does to one matrix. */
typedef struct {
    size_t dropped, grown;              /* blocks, as asked for */
    size_t fresh;                       /* that have come and were not there before */
} MasksMove;

/* How many blocks of parameter k an update after that step drops and grows. */
static inline MasksMove masks_move(const Options *o, const GptParam *p,
                                   double density, size_t step) {
    const double t = (double)step / (double)masks_last(o);
    const size_t have = p->mat.lines / p->mat.block;
    if (parse_update(o) == GMP) {
        const double from = (double)masks_from(o);
        const double left = 1 - ((double)step - from) / ((double)masks_last(o) - from);
        const double d = density + (1 - density) * left * left * left;
        const size_t want = sp_per_row(d, p->mat.IC / p->mat.block) * p->mat.nb;
        return (MasksMove){.dropped = have > want ? have - want : 0};
    }
    const double share = o->drop / 2 * (1 + det_cos(t / 2));
    const size_t n = (size_t)(share * (double)have + 0.5);
    return (MasksMove){.dropped = n, .grown = n};
}
/* The pattern that the update leaves of parameter k; grow: RigL's scores of its
 * blocks, or NULL. */
static inline SpMat masks_moved(const Options *o, const Gpt *m, size_t k,
                                size_t step, const float *grow, MasksMove *move) {
    const GptParam *p = &m->table[k];
    const size_t blocks = sp_blocks(&p->mat);
    const uint64_t key = rng_u64(rng_key(o->mask_seed, p->name), step);
    uint8_t *on = mem_new(blocks, 1);                       /* [blocks] */
    float *weight = mem_new(blocks, sizeof *weight);        /* [blocks] */
    sp_map(&p->mat, on);
    sp_sums(&p->mat, m->w + p->at, weight);
    move->fresh =
        sp_evolve(on, blocks, move->dropped, move->grown, weight, grow, key);
    SpMat mat = sp_pattern(p->mat.OC, p->mat.IC, p->mat.block, on);
    free(on);
    free(weight);
    return mat;
}
/* One update of the masks after that step by --update, in a new model; grow[k]:
 * RigL's scores. Says how many blocks moved. */
static inline Gpt *masks_evolve(const Options *o, const Gpt *m, size_t step,
                                float *const *grow, bool quiet) {
    SpMat *mats = mem_new(m->count, sizeof *mats);
    const bool gmp = parse_update(o) == GMP;
    double density[4];
    mask_densities(o, m->c.C, density);
    if (!quiet) printf("step %zu: blocks moved:", step);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!gpt_maskable(p)) continue;
        MasksMove move = masks_move(o, p, density[mask_kind(k)], step);
        mats[k] = masks_moved(o, m, k, step, grow ? grow[k] : NULL, &move);
        if (quiet) continue;
        if (mask_kind(k) == 0) printf(" h.%zu", (k - LAYER0) / PER_LAYER);
        printf(" %zu", gmp ? move.dropped : move.fresh);
    }
    if (!quiet) printf("\n");
    Gpt *next = gpt_remask(m, mats, (uint32_t)step, true);
    free(mats);
    return next;
}

/* The model after that step: another at the start or end of a dense phase, or
 * at an update; else m itself. */
static inline Gpt *masks_after(const Options *o, Gpt *m, size_t step,
                               float *const *grow, bool quiet) {
    const uint32_t born = (uint32_t)step;
    if (!masks_wanted(o) || step >= o->steps) return m;
    if (step == masks_to(o)) return gpt_remask(m, NULL, born, true);
    if (step == masks_from(o) && parse_update(o) != GMP) {
        SpMat *mats = masks_new(o, &m->c, m);
        Gpt *next = gpt_remask(m, mats, born, true);
        free(mats);
        return next;
    }
    return masks_due(o, step) ? masks_evolve(o, m, step, grow, quiet) : m;
}
/* What becomes of the masks after that step; r->m may then be another model. */
static inline void masks_step(const Options *o, GptRun *r, size_t step,
                              float *const *grow, bool quiet) {
    Gpt *next = masks_after(o, r->m, step, grow, quiet);
    if (next == r->m) return;
    gpt_free(r->m);
    r->m = next;
    gpt_machine_stale(r);
    masks_ready(o, r->m);
}

/* A step in which every weight has a gradient, as RigL needs it, begins: r->m
 * is a dense copy of the model until it ends. Returns the model. */
static inline Gpt *masks_dense_begin(GptRun *r) {
    Gpt *m = r->m;
    r->m = gpt_remask(m, NULL, 0, false);
    return m;
}
/* It ends: m keeps the active lines' gradient, and grow[k] gets the sums of
 * |gradient| of each block of the maskable tensors. */
static inline void masks_dense_end(GptRun *r, Gpt *m, float **grow) {
    const size_t line = LINE * sizeof(float);
    Gpt *all = r->m;
    r->m = m;
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        GptParam *dense = &all->table[k];
        sp_carry(&dense->mat, &p->mat, all->g + dense->at, m->g + p->at, line);
        if (!gpt_maskable(p)) continue;
        dense->mat.block = p->mat.block;
        grow[k] = mem_new(sp_blocks(&p->mat), sizeof **grow);
        sp_sums(&dense->mat, all->g + dense->at, grow[k]);
    }
    gpt_machine_stale(r);
    memcpy(m->lane_g, all->lane_g, m->lanes * line);
    memcpy(m->lookup_g, all->lookup_g, m->table[WTE].size * sizeof *m->lookup_g);
    gpt_free(all);
}

/* Pictures of all masks. */
static inline void masks_show(const Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        const SpMat *a = &m->table[k].mat;
        if (!gpt_maskable(&m->table[k]) || a->dense) continue;
        uint8_t *on = mem_new(sp_blocks(a), 1);
        sp_map(a, on);
        printf("%s: %zu x %zu blocks of 16x%zu, %.4g %% kept\n",
               m->table[k].name, a->nb, a->IC / a->block, a->block,
               100 * gpt_density(&m->table[k]));
        sp_show(on, a->nb, a->IC / a->block);
        free(on);
    }
}
#endif
