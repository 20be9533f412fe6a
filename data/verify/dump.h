/* dump.h: the reference dump, a model with a batch and what some implementation made of them, read and
 * written: `train dump`.
 *
 * It refuses to judge: verify.h does. It reads two kinds, told from their content, without trust: our own
 * (safetensors; every name in README.md beside this file) and llm.c's debug state, whose weights are those of
 * a model named beside it. Either becomes a list of checks (checks.h), where a result that the file does not
 * hold has no entry. For example a file with `logits` and `grad.wte.weight` has two checks. */
#ifndef DUMP_H
#define DUMP_H
#include "truth.h"
#include "../model/weights.h"
#include "../run/state.h"

/* ---- the list of its tensors --------------------------------------------------------------------------- */

/* Adds a check if st has a tensor of that name (of the right shape, or it dies), or if st is NULL. */
static inline void dump_expect(Dump *d, const Safetensors *st, Check c, int rank, const size_t *shape) {
    const StTensor *t = st ? st_find(st, c.name) : NULL;
    if (st && !t) return;
    if (st) c.t = *st_need(st, c.name, t->type <= ST_BF16 ? t->type : ST_F32, rank, shape);
    else c.t = (StTensor){.name = c.name, .file = "dump", .type = ST_F32, .rank = rank};
    for (int k = 0; k < rank && !st; k++) c.t.shape[k] = shape[k];
    st_measure(&c.t);
    d->check = mem_grow(d->check, d->n, &d->cap, sizeof c);
    d->check[d->n++] = c;
}
static inline Check check_named(CheckKind kind, size_t k, size_t l, const char *prefix, const char *name) {
    Check c = {.kind = kind, .k = k, .l = l};
    snprintf(c.name, sizeof c.name, "%s%s", prefix, name);
    return c;
}
/* Every result that st has; without st every one there is, activations if asked for. */
static inline void dump_list(Dump *d, const Safetensors *st, bool acts) {
    const size_t BT[3] = {d->B, d->T, d->c.V}, C = d->c.C;
    for (size_t n = 0; n < 2 + d->c.L * (STAGE_OUT + 1) && acts; n++) {     /* embed, the layers, ln_f */
        const size_t l = n ? (n - 1) / (STAGE_OUT + 1) : 0;
        const size_t k = !n ? STAGE_EMBED : l == d->c.L ? STAGE_LNF : (n - 1) % (STAGE_OUT + 1);
        char layer[32] = "act.";
        if (k <= STAGE_OUT) snprintf(layer, sizeof layer, "act.h.%zu.", l);
        dump_expect(d, st, check_named(ACT, k, l, layer, act_stage[k].name), 3,
                    (size_t[]){d->B, d->T, act_stage[k].width * C});
    }
    dump_expect(d, st, check_named(LOGITS, 0, 0, "", "logits"), 3, BT);
    dump_expect(d, st, check_named(LOSS, 0, 0, "", "loss"), 1, (size_t[]){1});
    for (size_t k = d->count; k-- > 0;)                     /* backward: the table from its end */
        dump_expect(d, st, check_named(GRAD, k, 0, "grad.", d->table[k].name), d->table[k].rank,
                    (size_t[]){d->table[k].rows, d->table[k].cols});
    if (!d->steps) return;
    dump_expect(d, st, check_named(STEP_LOSS, 0, 0, "", "step_loss"), 1, &d->steps);
    dump_expect(d, st, check_named(STEP_NORM, 0, 0, "", "step_grad_norm"), 1, &d->steps);
    for (size_t k = 0; k < d->count; k++)
        dump_expect(d, st, check_named(AFTER, k, 0, "after.", d->table[k].name), d->table[k].rank,
                    (size_t[]){d->table[k].rows, d->table[k].cols});
}

/* ---- reading a dump ----------------------------------------------------------------------------------- */

static inline int32_t *dump_ids(const Dump *d, const uint8_t *p, const char *what, const char *file) {
    int32_t *ids = mem_new(d->B * d->T, sizeof *ids);
    for (size_t i = 0; i < d->B * d->T; i++) {
        const uint32_t id = get_u32(p + 4 * i);
        if (id >= d->c.V) die("%s: %s[%zu]: expected 0 .. %zu, found %d", file, what, i, d->c.V - 1, (int)id);
        ids[i] = (int32_t)id;
    }
    return ids;
}
/* Tables for a configuration, batch and steps that are set. Dies if the machine's memory is too small. */
static inline void dump_tables(Dump *d, const char *file) {
    const double N = (double)d->B * (double)d->T, C = (double)d->c.C, L = (double)d->c.L, V = (double)d->c.V;
    const double weights = (double)llmc_count(&d->c, d->c.V), heads = (double)(d->B * d->c.NH);
    mem_check(weights * (d->steps ? 60 : 40) + (L + 1) * (heads * (double)(d->T * d->T) + 30 * N * C) * 8
              + N * V * 24, file);
    d->table = gpt_table(&d->c), d->count = gpt_count(&d->c);
    d->w = mem_new(d->count, sizeof *d->w), d->mask = mem_new(d->count, sizeof *d->mask);
    d->step_loss = mem_new(d->steps + 1, sizeof(double));
    d->step_norm = mem_new(d->steps + 1, sizeof(double));
    if (!d->steps) return;
    d->slack = mem_new(d->count, sizeof *d->slack);
    for (size_t k = 0; k < d->count; k++) d->slack[k] = mem_new(gpt_elements(&d->table[k]), sizeof(float));
}

/* Counts the tensors that are not known; dies if one would be of the model, whose results then are others. */
static inline void dump_strangers(Dump *d, const char *path) {
    for (size_t i = 0; i < d->st.n; i++) {
        const char *found = d->st.tensors[i].name;
        const bool mask = !strncmp(found, "mask.", 5), param = !strncmp(found, "param.", 6);
        bool known = !strcmp(found, "inputs") || !strcmp(found, "targets");
        for (size_t k = 0; k < d->count && param; k++) known |= !strcmp(found + 6, d->table[k].name);
        for (size_t k = 0; k < d->count && mask; k++)
            known |= d->table[k].in_out && !strcmp(found + 5, d->table[k].name);
        for (size_t k = 0; k < d->n; k++) known |= !strcmp(found, d->check[k].name);
        if (known) continue;
        if (mask || param) die("%s: '%.200s': expected a tensor of this model, found none such", path, found);
        if (!d->strange++) d->stranger = found;
    }
}
/* Says which metadata are not known. */
static inline void dump_metadata(const Safetensors *st, const char *path) {
    static const char *const known[] = {
        "format", "version", "n_layer", "n_head", "n_embd", "n_ctx", "vocab_size", "steps", "learning_rate",
        "weight_decay", "beta1", "beta2", "eps", "grad_clip", "weight_decay_on", "sparsity", "block", "source"};
    for (size_t i = 0; i < st->n_meta; i++) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(known[k], st->meta[i].key)) k++;
        if (k == sizeof known / sizeof *known)
            note("%s: metadata '%.200s' is not known and passed over", path, st->meta[i].key);
    }
}

static inline void dump_read(Dump *d, const char *path) {
    const Safetensors *st = &d->st;
    meta_want(st, path, "format", "gpt-reference-dump"), meta_want(st, path, "version", "1");
    d->c = (GptConfig){
        meta_size(st, path, "n_layer", 1, 1000), meta_size(st, path, "n_head", 1, 10000),
        meta_size(st, path, "n_embd", 1, 100000), meta_size(st, path, "vocab_size", 2, 1u << 26),
        meta_size(st, path, "n_ctx", 1, 1000000)};
    model_check(&d->c, path);
    d->steps = st_meta(st, "steps") ? meta_size(st, path, "steps", 0, DUMP_STEPS) : 0;
    if (d->steps) {
        meta_want(st, path, "weight_decay_on", "matrices");
        d->adam = (GptAdam){
            meta_number(st, path, "learning_rate", 0, 100), meta_number(st, path, "beta1", 0, 0.9999999),
            meta_number(st, path, "beta2", 0, 0.9999999), meta_number(st, path, "eps", 1e-30, 1),
            meta_number(st, path, "weight_decay", 0, 100), meta_number(st, path, "grad_clip", 0, 1e30)};
    }
    const StTensor *in = st_find(st, "inputs");
    if (!in || in->rank != 2 || !in->count || in->shape[1] > d->c.ctx)
        die("%s: tensor 'inputs': expected I32 (B,T) with T at most %zu", path, d->c.ctx);
    d->B = in->shape[0], d->T = in->shape[1];
    GptParam *table = gpt_table(&d->c);
    char name[64];
    for (size_t k = 0; k < gpt_count(&d->c); k++)           /* every shape, before memory is taken */
        st_need(st, checkpoint_name(name, "param.", &table[k]), ST_F32, table[k].rank,
                (size_t[]){table[k].rows, table[k].cols});
    free(table);
    dump_tables(d, path);
    d->inputs = dump_ids(d, st_need(st, "inputs", ST_I32, 2, in->shape)->data, "inputs", path);
    d->targets = dump_ids(d, st_need(st, "targets", ST_I32, 2, in->shape)->data, "targets", path);
    ModelFile f = {.path = (char *)(uintptr_t)path, .table = d->table, .mask = d->mask,
                   .at = mem_new(d->count, sizeof *f.at)};
    for (size_t k = 0; k < d->count; k++) {
        f.at[k] = *st_find(st, checkpoint_name(name, "param.", &d->table[k]));
        d->mask[k] = d->table[k].in_out ? mask_find(st, &d->table[k]) : NULL;
        d->w[k] = mem_new(f.at[k].count, sizeof(float));
        model_values(&f, k, d->w[k]);
    }
    free(f.at);
    dump_list(d, st, true);
    dump_strangers(d, path), dump_metadata(st, path);
    if (!d->n || phase_of(d->check[d->n - 1].kind) != OPTIMIZER) d->steps = 0;  /* nothing to check after */
}

/* The initial weights of a model in memory; masks are those of its pattern. */
static inline void dump_weights(Dump *d, const Gpt *m) {
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &m->table[k];
        d->w[k] = weights_of(m, k);
        if (!gpt_masked(p)) continue;
        uint8_t *mask = mem_new(gpt_elements(p), 1);
        mask_of(p, mask), d->mask[k] = mask;
    }
}

/* A dump, or with a model an llm.c debug state. Takes over b, whose name must outlive the result. Dies on any
 * fault of the file. */
static inline Dump dump_parse(Bytes b, const Gpt *model) {
    const char *path = b.name;
    Dump d = {.fault = -1};
    if (b.n >= 4 && get_u32(b.p) == LLMC_DEBUG) {
        if (!model) die("%s: a debug state of llm.c holds no weights: --init MODEL names them", path);
        d.c = model->c, d.out_in = true;
        d.debug = llmc_debug(b, &d.c, model->table);
        d.B = d.debug.B, d.T = d.debug.T;
        dump_tables(&d, path);
        d.inputs = dump_ids(&d, d.debug.inputs, "inputs", path);
        d.targets = dump_ids(&d, d.debug.targets, "targets", path);
        dump_weights(&d, model);
        dump_list(&d, NULL, false);
        for (size_t i = 0; i < d.n; i++)
            d.check[i].t = d.check[i].kind == LOGITS ? d.debug.logits
                         : d.check[i].kind == LOSS   ? d.debug.loss
                                                     : d.debug.grad[d.check[i].k];
    } else {
        if (model) die("%s: a dump holds its own weights: --init is for debug states of llm.c", path);
        d.st = st_parse(b);
        dump_read(&d, path);
    }
    if (!d.n) die("%s: expected results to check (logits, loss, grad.NAME ...), found none", path);
    return d;
}
static inline Dump dump_open(const char *path, const Gpt *model) {
    return dump_parse(file_read(path), model);
}
static inline void dump_close(Dump *d) {
    for (size_t k = 0; k < d->count; k++) {
        free(d->w[k]);
        if (d->slack) free(d->slack[k]);
        if (!d->st.n) free((void *)(uintptr_t)d->mask[k]);  /* else it lies in the file */
    }
    if (d->debug.file.p) file_free(&d->debug.file), free(d->debug.grad);
    if (d->st.tensors) st_free(&d->st);
    free(d->w), free(d->mask), free(d->slack), free(d->table), free(d->check), free(d->inputs);
    free(d->targets), free(d->step_loss), free(d->step_norm);
    *d = (Dump){0};
}

/* ---- making one ---------------------------------------------------------------------------------------- */

/* A random mask on every linear weight: of the groups of `in` inputs, each block of `out` outputs keeps the
 * share 1 - sparsity, at least one. Weights that are not kept become zero. */
static inline void dump_sparsify(Dump *d, double sparsity, size_t out, size_t in, uint64_t seed) {
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &d->table[k];
        if (!p->in_out) continue;
        const size_t groups = (p->rows + in - 1) / in;
        const size_t share = (size_t)((1 - sparsity) * (double)groups + 0.5);
        const uint64_t key = rng_key(seed, p->name);
        uint8_t *mask = mem_new(gpt_elements(p), 1);
        for (size_t block = 0; block * out < p->cols; block++)
            for (size_t n = 0; n < (share ? share : 1); n++) {
                const size_t from = (size_t)rng_permute(key + 4 * block, n, groups) * in;
                for (size_t i = from; i < from + in && i < p->rows; i++)
                    for (size_t o = block * out; o < (block + 1) * out && o < p->cols; o++)
                        mask[i * p->cols + o] = 1;
            }
        for (size_t i = 0; i < gpt_elements(p); i++) if (!mask[i]) d->w[k][i] = 0;
        free((void *)(uintptr_t)d->mask[k]), d->mask[k] = mask;
    }
}
/* A batch of random tokens, each the target of the one before. */
static inline void dump_batch(Dump *d, uint64_t seed) {
    const uint64_t key = rng_key(seed, "inputs");
    d->inputs = mem_new(d->B * d->T, sizeof *d->inputs);
    d->targets = mem_new(d->B * d->T, sizeof *d->targets);
    for (size_t i = 0; i < d->B * d->T; i++) {
        d->inputs[i] = (int32_t)(rng_u64(key, i) % d->c.V);
        d->targets[i] = (int32_t)(rng_u64(key, i + 1) % d->c.V);
    }
}

/* ---- writing it --------------------------------------------------------------------------------------- */

static inline void visit_write(Dump *d, Check *c, const double *truth, void *arg) {
    float *values = mem_new(c->t.count, sizeof *values);
    for (size_t i = 0; i < c->t.count; i++) values[i] = (float)truth[i];
    st_write(arg, values, c->t.bytes);
    free(values);
    (void)d;
}

/* Computes every result of d (configuration, weights, masks, batch and settings are set) in double precision
 * and writes the dump; with acts the activations too. Dies if it cannot be written. */
static inline void dump_write(Dump *d, const char *path, bool acts, double sparsity, const char *block) {
    StWriter w = {0};
    char name[64], text[40];
    const size_t BT[2] = {d->B, d->T};
    const struct { const char *key; double x; } number[] = {
        {"n_layer", (double)d->c.L}, {"n_head", (double)d->c.NH}, {"n_embd", (double)d->c.C},
        {"n_ctx", (double)d->c.ctx}, {"vocab_size", (double)d->c.V}, {"steps", (double)d->steps},
        {"learning_rate", d->adam.lr}, {"weight_decay", d->adam.decay}, {"beta1", d->adam.beta1},
        {"beta2", d->adam.beta2}, {"eps", d->adam.eps}, {"grad_clip", d->adam.clip}, {"sparsity", sparsity}};
    st_meta_put(&w, "format", "gpt-reference-dump"), st_meta_put(&w, "version", "1");
    for (size_t k = 0; k < sizeof number / sizeof *number; k++)
        snprintf(text, sizeof text, "%.17g", number[k].x), st_meta_put(&w, number[k].key, text);
    st_meta_put(&w, "weight_decay_on", "matrices"), st_meta_put(&w, "block", block);
    st_meta_put(&w, "source", "sparseflow float64");
    dump_list(d, NULL, acts);
    for (size_t k = 0; k < d->count; k++)
        st_declare(&w, checkpoint_name(name, "param.", &d->table[k]), ST_F32, d->table[k].rank,
                   (size_t[]){d->table[k].rows, d->table[k].cols});
    for (size_t i = 0; i < d->n; i++)
        st_declare(&w, d->check[i].name, ST_F32, d->check[i].t.rank, d->check[i].t.shape);
    st_declare(&w, "inputs", ST_I32, 2, BT), st_declare(&w, "targets", ST_I32, 2, BT);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k])
            st_declare(&w, checkpoint_name(name, "mask.", &d->table[k]), ST_U8, 2,
                       (size_t[]){d->table[k].rows, d->table[k].cols});
    st_begin(&w, path);
    for (size_t k = 0; k < d->count; k++) st_write(&w, d->w[k], gpt_elements(&d->table[k]) * sizeof(float));
    dump_compute(d, &no_fault, NULL, visit_write, &w);
    st_write(&w, d->inputs, d->B * d->T * 4), st_write(&w, d->targets, d->B * d->T * 4);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k]) st_write(&w, d->mask[k], gpt_elements(&d->table[k]));
    write_checked(st_commit(&w), path);
}

static inline int cmd_dump(int argc, char **argv) {
    Options *o = options_read(argc, argv, DUMP, "a file to write");
    output_check(o->file, o, NULL);
    if (isnan(o->lr)) o->lr = 0.002;
    unsigned rows = 0, cols = 0;
    char x[2], end;
    if (sscanf(o->dump.block, "%4u%1[x]%4u%c", &rows, x, &cols, &end) != 3 || !rows || !cols ||
        strpbrk(o->dump.block, "+- "))
        usage("--block: expected OUTPUTSxINPUTS, found '%s'", o->dump.block);
    GptConfig c = {o->dump.layers, o->dump.heads, o->dump.width, o->dump.vocab, o->dump.context};
    model_check(&c, "dump");
    for (int k = 0; k < 4 && o->init; k++) {
        static const char *const fixed[4] = {"layers", "heads", "width", "vocab"};
        if (o->given[option_find(fixed[k], DUMP)]) usage("--init and --%s contradict each other", fixed[k]);
    }
    Gpt *m = o->init ? checkpoint_read(o->init, o, false).m : NULL;
    Dump d = {.c = m ? m->c : c, .B = o->dump.batch, .T = c.ctx, .steps = o->dump.steps,
              .adam = {o->lr, o->beta1, o->beta2, o->eps, o->decay, o->clip}};
    if (d.T > d.c.ctx) d.T = d.c.ctx;
    dump_tables(&d, o->file);
    if (!m) m = gpt_new(c, false), gpt_init(m, o->seed, true);
    dump_weights(&d, m), dump_batch(&d, o->seed);
    if (o->dump.sparsity > 0) dump_sparsify(&d, o->dump.sparsity, rows, cols, o->seed);
    dump_write(&d, o->file, o->acts, o->dump.sparsity, o->dump.block);
    dump_close(&d), gpt_free(m), free(o);
    return 0;
}
#endif
