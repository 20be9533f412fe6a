/* masks.h: which weights a run keeps, and when that changes: the options of a sparse run put to work.
 *
 * Only the four matrices of each layer can be sparse (gpt_maskable); embeddings, norms and biases stay dense.
 * How a pattern is drawn and how one evolves is sparse.h's; here is who asks for it, at which density and at
 * which step. The life of a run of n steps:
 *
 *     0 .. dense-first n          all dense
 *     then                        a mask by the rule of --mask (gmp: none, it begins with all blocks)
 *     every mask-every steps,     the masks evolve: set and rigl move a share `drop` of the blocks, less each
 *     up to mask-stop n           time by a cosine; gmp prunes, and the density falls as d +
 *                                 (1 - d)(1 - t)^3, t from 0 to 1
 *     n - densify n .. n          all dense again, the dropped weights beginning at zero
 *
 * A change of masks makes a new model of the old one's lines: what is kept keeps its weight and moments, what
 * is new starts at zero. It is a function of the step and the model, so a resumed run goes the same way.
 *
 * Example: --sparsity 0.875 --block 16x4 at width 256: c_attn has 48 row blocks of 64 groups of 4 inputs, and
 * keeps 8 groups of each. */
#ifndef MASKS_H
#define MASKS_H
#include "rate.h"
#include "schedule.h"
#include "../model/weights.h"

/* ---- what the options ask for ------------------------------------------------------------------------- */

/* The place of --mask in the list; -1: it names a file. */
static inline int mask_rule(const Options *o) {
    static const char *const rule[4] = {"balanced", "random", "butterfly", "magnitude"};
    for (int k = 0; k < 4; k++) if (!strcmp(o->mask, rule[k])) return k;
    return -1;
}
enum { STATIC, SET, RIGL, GMP };
static inline int parse_update(const Options *o) {
    return parse_word(o, "update", o->update, (const char *const[]){"static", "set", "rigl", "gmp"}, 4);
}

/* Densities of c_attn, attn.c_proj, c_fc and mlp.c_proj, which are the same in every layer. */
static inline void mask_densities(const Options *o, size_t C, double out[4]) {
    static const char *const kind[4] = {"qkv", "proj", "fc", "fc2"};
    for (int k = 0; k < 4; k++) out[k] = 1 - o->sparsity;
    if (!strcmp(o->spread, "uniform")) return;
    if (!strcmp(o->spread, "erk")) {
        sp_erdos_renyi(4, (size_t[]){3 * C, C, 4 * C, C}, (size_t[]){C, C, C, 4 * C}, 1 - o->sparsity, out);
        return;
    }
    for (const char *p = o->spread; *p;) {
        const size_t n = strcspn(p, "=");
        char *end = NULL;
        int k = 0;
        while (k < 4 && (strlen(kind[k]) != n || strncmp(p, kind[k], n))) k++;
        const double s = k < 4 && p[n] ? strtod(p + n + 1, &end) : -1;
        if (!end || end == p + n + 1 || (*end && *end != '/') || !(s >= 0 && s < 1))
            refuse(o, "--spread: expected uniform, erk or qkv=S/proj=S/fc=S/fc2=S with S in [0,1), found '%s'",
                  p);
        out[k] = 1 - s;
        p = *end ? end + 1 : end;
    }
}
/* The place 0 .. 3 of a layer's matrix in the list above. */
static inline int mask_kind(size_t k) {
    const int j = (int)((k - LAYER0) % PER_LAYER);
    return j == QKVW ? 0 : j == PROJW ? 1 : j == FCW ? 2 : 3;
}

/* ---- patterns ----------------------------------------------------------------------------------------- */

/* The pattern of parameter k at that density by the rule of --mask; m has the weights for magnitude. */
static inline SpMat mask_by_rule(const Options *o, const GptParam *p, double density, const Gpt *m,
                                 size_t k) {
    const size_t w = parse_block(o), OC = p->cols, IC = p->rows, J = IC / w, nb = (OC + LINE - 1) / LINE;
    const size_t keep = sp_per_row(density, J);
    const uint64_t key = rng_key(o->mask_seed, p->name);
    const int rule = mask_rule(o);
    uint8_t *on = mem_new(nb * J, 1);
    if (rule == 0) sp_mask_balanced(on, nb, J, keep, key);
    if (rule == 1) sp_mask_random(on, nb, J, keep, key);
    if (rule == 2) sp_mask_butterfly(on, nb, J, keep);
    if (rule == 3) {
        SpMat all = sp_pattern(OC, IC, w, NULL);
        float *values = mem_new(all.lines, LINE * sizeof(float)), *sum = mem_new(nb * J, sizeof *sum);
        sp_carry(&m->table[k].mat, &all, m->w + m->table[k].at, values, LINE * sizeof(float));
        sp_sums(&all, values, sum);
        sp_mask_magnitude(on, nb, J, keep, sum);
        sp_free(&all), free(values), free(sum);
    }
    SpMat mat = sp_pattern(OC, IC, w, on);
    free(on);
    return mat;
}

/* Checks the names in a file of masks for the model of that table: every mask.NAME is of a matrix that can be
 * sparse, and no other tensor is there, unless the file holds a model too. Says which matrices have none. */
static inline void masks_names(const Safetensors *file, const char *path, const GptParam *table, size_t count) {
    const bool model = st_find(file, "wte.weight") || st_find(file, "transformer.wte.weight") ||
                       st_find(file, "param.wte.weight");
    const char *bare = NULL;
    size_t without = 0;
    char name[64];
    for (size_t i = 0; i < file->n; i++) {
        const char *found = file->tensors[i].name;
        const bool mask = !strncmp(found, "mask.", 5);
        size_t k = 0;
        while (k < count && !(gpt_maskable(&table[k]) && !strcmp(found + 5 * mask, table[k].name))) k++;
        if (mask ? k == count : !model)
            die("%s: expected mask.NAME of a layer's four matrices, found '%.200s'", path, found);
    }
    for (size_t k = 0; k < count; k++) {
        if (!gpt_maskable(&table[k]) || st_find(file, checkpoint_name(name, "mask.", &table[k]))) continue;
        if (!without++) bare = table[k].name;
    }
    if (without) note("%s: no mask for %zu matrices, %s first: they stay dense", path, without, bare);
}

/* Patterns for gpt_make as the options say; m has the weights that magnitude needs. */
static inline SpMat *masks_new(const Options *o, const GptConfig *c, const Gpt *m) {
    SpMat *mats = mem_new(gpt_count(c), sizeof *mats);
    GptParam *table = gpt_table(c);
    const bool rule = mask_rule(o) >= 0;
    if (!rule) file_regular(o->mask);                       /* a checkpoint may have named it */
    Safetensors file = rule ? (Safetensors){0} : st_read(o->mask);
    double density[4];
    bool found = rule, kept = rule;
    mask_densities(o, c->C, density);
    if (!rule) masks_names(&file, o->mask, table, gpt_count(c));
    for (size_t k = 0; k < gpt_count(c); k++) {
        const GptParam *p = &table[k];
        if (!gpt_maskable(p)) continue;
        if (p->rows % parse_block(o))
            refuse(o, "--block: expected one that divides the %zu inputs of %s, found '%s'", p->rows, p->name,
                  o->block);
        if (rule) mats[k] = mask_by_rule(o, p, density[mask_kind(k)], m, k);
        else found |= checkpoint_element_mask(&file, p, parse_block(o), &mats[k]);
        kept |= mats[k].lines || !mats[k].first;
        if (mats[k].keep && parse_update(o) != STATIC)
            die("%s: mask.%s: expected whole blocks of %s for --update %s", o->mask, p->name, o->block,
                o->update);
    }
    if (!found) die("%s: expected tensors mask.NAME of this model, found none", o->mask);
    if (!kept) die("%s: expected masks that keep something, found only zeros", o->mask);
    if (!rule) st_free(&file);
    free(table);
    return mats;
}

/* ---- when --------------------------------------------------------------------------------------------- */

static inline bool masks_wanted(const Options *o) {         /* whether the options ask for a sparse model */
    return o->sparsity > 0 || mask_rule(o) < 0 || strchr(o->spread, '=');
}
/* The steps at which the dense start ends and the dense end starts. */
static inline size_t masks_from(const Options *o) {
    return (size_t)(o->dense_first * (double)o->steps + 0.5);
}
static inline size_t masks_to(const Options *o) {
    return o->steps - (size_t)(o->densify * (double)o->steps + 0.5);
}
static inline size_t masks_last(const Options *o) {         /* step of the last update */
    return (size_t)(o->mask_stop * (double)o->steps) / o->mask_every * o->mask_every;
}
static inline bool masks_due(const Options *o, size_t step) { /* whether masks evolve after that step */
    return parse_update(o) != STATIC && step % o->mask_every == 0 && step <= masks_last(o) &&
           step > masks_from(o) && step < masks_to(o);
}
static inline bool masks_lifted(const Options *o) {         /* whether those of --init are taken off at once */
    return o->init && o->densify == 1;
}
static inline bool masks_at_start(const Options *o) {       /* or does the run start dense? */
    return masks_wanted(o) && !masks_from(o) && masks_to(o) && parse_update(o) != GMP;
}

/* Refuses options, of a command line or a checkpoint, that contradict each other or would do nothing. */
static inline void masks_agree(const Options *o) {
    const int update = parse_update(o);
    const bool more = o->sparsity > 0 || o->dense_first > 0 || update == GMP || strcmp(o->spread, "uniform");
    double density[4];
    parse_block(o), parse_word(o, "scale", o->scale, (const char *const[]){"none", "init", "supar"}, 3);
    mask_densities(o, 64, density);                         /* whether --spread can be read, at any width */
    if (mask_rule(o) < 0 && more)
        refuse(o, "--mask FILE says all: no --sparsity, --spread, --dense-first or --update gmp");
    if (o->dense_first + o->densify > 1)
        refuse(o, "--dense-first and --densify are more than all steps together");
    if (update != STATIC && masks_last(o) <= masks_from(o))
        refuse(o, "--update %s: expected an update within %g of %zu steps, found --mask-every %zu", o->update,
              o->mask_stop, o->steps, o->mask_every);
}
/* The same, of what was given for a new run. */
static inline void masks_check(const Options *o) {
    static const char *const need[] = {"block", "mask", "spread", "mask-seed", "update", "dense-first"},
                      *const evolve[] = {"drop", "mask-every", "mask-stop"};
    for (size_t k = 0; k < sizeof need / sizeof *need; k++)
        if (option_given(o, need[k]) && !masks_wanted(o)) refuse(o, "--%s needs --sparsity", need[k]);
    if (o->densify > 0 && !masks_wanted(o) && !masks_lifted(o)) refuse(o, "--densify needs --sparsity");
    for (size_t k = 0; k < sizeof evolve / sizeof *evolve; k++)
        if (option_given(o, evolve[k]) && parse_update(o) == STATIC)
            refuse(o, "--%s needs --update set, rigl or gmp", evolve[k]);
    masks_agree(o);
    if (mask_rule(o) == 3 && !o->init && !(o->dense_first > 0))
        refuse(o, "--mask magnitude needs trained weights: --init CKPT or --dense-first");
}

/* Density of the four matrices of all layers together: as they are, or as the options will make them. */
static inline double masks_density(const Options *o, const Gpt *m, bool now) {
    double want[4], kept = 0, all = 0;
    mask_densities(o, m->c.C, want);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!gpt_maskable(p)) continue;
        all += (double)gpt_elements(p);
        kept += now ? (double)sp_elements(&p->mat) : want[mask_kind(k)] * (double)gpt_elements(p);
    }
    return kept / all;
}
/* The density that the learning rate is chosen by: as it is or, if masks are to come, as they will make it. */
static inline double masks_rate_density(const Options *o, const Gpt *m) {
    return masks_density(o, m, !masks_wanted(o) || masks_at_start(o));
}
/* What follows from options and masks: each tensor's own rate; and of dense matrices the block they will be
 * masked by. */
static inline void masks_ready(const Options *o, Gpt *m) {
    const bool supar = !strcmp(o->scale, "supar");
    for (size_t k = 0; k < m->count; k++) {
        GptParam *p = &m->table[k];
        const double rate = rate_of_layer(m->c.L, o->layer_decay, k);
        p->rate = (float)(supar && gpt_maskable(p) ? rate / gpt_density(p) : rate);
        if (!gpt_maskable(p)) continue;
        if (p->mat.dense && p->rows % parse_block(o) == 0) p->mat.w = parse_block(o);
    }
}

/* ---- change ------------------------------------------------------------------------------------------- */

/* The same model with other patterns (as for gpt_make), ready to train. The weights, and with moments also
 * Adam's moments, of lines that stay are carried over; a new line is zero, born at step `step`. */
static inline Gpt *gpt_remask(const Gpt *m, const SpMat *mats, uint32_t step, bool moments) {
    Gpt *n = gpt_make(m->c, mats, true, moments);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *a = &m->table[k];
        GptParam *b = &n->table[k];
        b->rate = a->rate;
        sp_carry(&a->mat, &b->mat, m->w + a->at, n->w + b->at, LINE * sizeof(float));
        if (!moments) continue;
        sp_carry(&a->mat, &b->mat, m->moment1 + a->at, n->moment1 + b->at, LINE * sizeof(float));
        sp_carry(&a->mat, &b->mat, m->moment2 + a->at, n->moment2 + b->at, LINE * sizeof(float));
        if (!gpt_maskable(b)) continue;
        uint32_t *old = a->born ? a->born : mem_new(a->mat.lines, sizeof *old);
        b->born = mem_new(b->mat.lines, sizeof *b->born);
        for (size_t l = 0; l < b->mat.lines; l++) b->born[l] = step;
        sp_carry(&a->mat, &b->mat, old, b->born, sizeof *old);
        if (old != a->born) free(old);
    }
    return n;
}

/* One update of the masks after that step by --update, in a new model; grow[k]: RigL's scores. Says how many
 * blocks moved. */
static inline Gpt *masks_evolve(const Options *o, const Gpt *m, size_t step, float *const *grow, bool quiet) {
    SpMat *mats = mem_new(m->count, sizeof *mats);
    const double end = (double)masks_last(o), left = 1 - (double)step / end;
    const double share = o->drop / 2 * (1 + det_cos((double)step / end / 2));
    double density[4];
    mask_densities(o, m->c.C, density);
    if (!quiet) printf("step %zu: blocks moved:", step);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!gpt_maskable(p)) continue;
        const size_t blocks = sp_blocks(&p->mat), J = p->mat.IC / p->mat.w, have = p->mat.lines / p->mat.w;
        const double d = density[mask_kind(k)];
        const size_t want = sp_per_row(d + (1 - d) * left * left * left, J) * p->mat.nb;
        const bool gmp = parse_update(o) == GMP;
        const size_t n = !gmp ? (size_t)(share * (double)have + 0.5) : have > want ? have - want : 0;
        uint8_t *on = mem_new(blocks, 1);
        float *weight = mem_new(blocks, sizeof *weight);
        sp_map(&p->mat, on);
        sp_sums(&p->mat, m->w + p->at, weight);
        const size_t fresh = sp_evolve(on, blocks, n, gmp ? 0 : n, weight, grow ? grow[k] : NULL,
                                       rng_u64(rng_key(o->mask_seed, p->name), step));
        mats[k] = sp_pattern(p->mat.OC, p->mat.IC, p->mat.w, on);
        if (!quiet && mask_kind(k) == 0) printf(" h.%zu", (k - LAYER0) / PER_LAYER);
        if (!quiet) printf(" %zu", gmp ? n : fresh);
        free(on), free(weight);
    }
    if (!quiet) printf("\n");
    Gpt *next = gpt_remask(m, mats, (uint32_t)step, true);
    free(mats);
    return next;
}

/* What becomes of the masks after that step: the start or end of a dense phase, an update, or nothing. Unless
 * nothing, r->m is then another model. */
static inline void masks_step(const Options *o, GptRun *r, size_t step, float *const *grow, bool quiet) {
    SpMat *mats = NULL;
    Gpt *next;
    if (!masks_wanted(o) || step >= o->steps) return;
    if (step == masks_to(o)) next = gpt_remask(r->m, NULL, (uint32_t)step, true);
    else if (step == masks_from(o) && parse_update(o) != GMP)
        mats = masks_new(o, &r->m->c, r->m), next = gpt_remask(r->m, mats, (uint32_t)step, true);
    else if (masks_due(o, step)) next = masks_evolve(o, r->m, step, grow, quiet);
    else return;
    free(mats), gpt_free(r->m);
    r->m = next;
    gpt_machine_stale(r);
    masks_ready(o, r->m);
}

/* A step in which every weight has a gradient, as RigL needs it, begins: r->m is a dense copy of the model
 * until it ends. Returns the model. */
static inline Gpt *masks_dense_begin(GptRun *r) {
    Gpt *m = r->m;
    r->m = gpt_remask(m, NULL, 0, false);
    return m;
}
/* It ends: m keeps the active lines' gradient, and grow[k] gets the sums of |gradient| of each block of the
 * maskable tensors. */
static inline void masks_dense_end(GptRun *r, Gpt *m, float **grow) {
    Gpt *all = r->m;
    r->m = m;
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        sp_carry(&all->table[k].mat, &p->mat, all->g + all->table[k].at, m->g + p->at, LINE * sizeof(float));
        if (!gpt_maskable(p)) continue;
        all->table[k].mat.w = p->mat.w;
        grow[k] = mem_new(sp_blocks(&p->mat), sizeof **grow);
        sp_sums(&all->table[k].mat, all->g + all->table[k].at, grow[k]);
    }
    gpt_machine_stale(r);
    memcpy(m->lane_g, all->lane_g, m->lanes * LINE * sizeof(float));
    memcpy(m->lookup_g, all->lookup_g, m->table[WTE].size * sizeof(float));
    gpt_free(all);
}

/* Pictures of all masks. */
static inline void masks_show(const Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        const SpMat *a = &m->table[k].mat;
        if (!gpt_maskable(&m->table[k]) || a->dense) continue;
        uint8_t *on = mem_new(sp_blocks(a), 1);
        sp_map(a, on);
        printf("%s: %zu x %zu blocks of 16x%zu, %.4g %% kept\n", m->table[k].name, a->nb, a->IC / a->w, a->w,
               100 * gpt_density(&m->table[k]));
        sp_show(on, a->nb, a->IC / a->w);
        free(on);
    }
}

#endif
