/* dump.h: the reference dump, a model with a batch and what some implementation
 * made of them, read and written: `train dump`.
 *
 *     found in a file             becomes
 *     param.NAME  mask.NAME       w[k]  mask[k]
 *     inputs  targets             inputs  targets
 *     metadata                    c, steps, adam
 *     logits, grad.NAME ...       a check each (checks.h)
 *
 * It reads two kinds, told from their content, without trust: our own
 * (safetensors; every name in README.md beside this file) and llm.c's debug
 * state, whose weights are those of a model named beside it. A result that the
 * file does not hold has no check. It refuses to judge: verify.h does.
 *
 * Example: a file with `logits` and `grad.wte.weight` has two checks. */
#ifndef DUMP_H
#define DUMP_H
#include "truth.h"
#include "../run/state.h"

/* ---- the list of its tensors --------------------------------------------- */

/* Adds a check of that shape: if st has a tensor of that name (of the right
 * shape, or it dies), or if st is NULL. */
static inline void dump_expect(Dump *d, const Safetensors *st, Check c,
                               int rank, const size_t *shape) {
    if (st) {
        const StTensor *t = st_find(st, c.name);
        if (!t) return;
        const StType type = t->type <= ST_BF16 ? t->type : ST_F32;
        c.t = *st_need(st, c.name, type, rank, shape);
    } else {
        c.t = (StTensor){.name = c.name,
                         .file = "dump",
                         .type = ST_F32,
                         .rank = rank};
        for (int k = 0; k < rank; k++) c.t.shape[k] = shape[k];
    }
    st_measure(&c.t);
    d->check = mem_grow(d->check, d->n, &d->cap, sizeof *d->check);
    d->check[d->n++] = c;
}
/* A result that is no parameter's. */
static inline void dump_expect_result(Dump *d, const Safetensors *st,
                                      CheckKind kind, const char *name,
                                      int rank, const size_t *shape) {
    Check c = {.kind = kind};
    snprintf(c.name, sizeof c.name, "%s", name);
    dump_expect(d, st, c, rank, shape);
}
/* A result in the shape of parameter k. */
static inline void dump_expect_param(Dump *d, const Safetensors *st,
                                     CheckKind kind, const char *prefix,
                                     size_t k) {
    const GptParam *p = &d->table[k];
    Check c = {.kind = kind, .k = k};
    snprintf(c.name, sizeof c.name, "%s%s", prefix, p->name);
    dump_expect(d, st, c, p->rank, (size_t[]){p->rows, p->cols});
}
/* The activation of a stage; of layer l unless the stage is embed or ln_f. */
static inline void dump_expect_stage(Dump *d, const Safetensors *st,
                                     size_t stage, size_t l) {
    const size_t width = check_stages[stage].width * d->c.C;
    Check c = {.kind = ACT, .k = stage, .l = l};
    char layer[32] = "";
    if (stage <= STAGE_OUT) snprintf(layer, sizeof layer, "h.%zu.", l);
    snprintf(c.name, sizeof c.name, "act.%s%s", layer, check_stages[stage].name);
    dump_expect(d, st, c, 3, (size_t[]){d->B, d->T, width});
}
/* Those of all stages, first to last. */
static inline void dump_expect_stages(Dump *d, const Safetensors *st) {
    dump_expect_stage(d, st, STAGE_EMBED, 0);
    for (size_t l = 0; l < d->c.L; l++)
        for (size_t stage = 0; stage <= STAGE_OUT; stage++)
            dump_expect_stage(d, st, stage, l);
    dump_expect_stage(d, st, STAGE_LNF, d->c.L);
}
/* Every result that st has; without st every one there is, activations if asked
 * for. */
static inline void dump_list(Dump *d, const Safetensors *st, bool acts) {
    if (acts) dump_expect_stages(d, st);
    dump_expect_result(d, st, LOGITS, "logits", 3,
                       (size_t[]){d->B, d->T, d->c.V});
    dump_expect_result(d, st, LOSS, "loss", 1, (size_t[]){1});
    for (size_t k = d->count; k-- > 0;)     /* backward: the table from its end */
        dump_expect_param(d, st, GRAD, "grad.", k);
    if (!d->steps) return;
    dump_expect_result(d, st, STEP_LOSS, "step_loss", 1, &d->steps);
    dump_expect_result(d, st, STEP_NORM, "step_grad_norm", 1, &d->steps);
    for (size_t k = 0; k < d->count; k++)
        dump_expect_param(d, st, AFTER, "after.", k);
}

/* ---- reading a dump ------------------------------------------------------ */

/* The ids (B,T) that lie at p, on the heap. Dies of one that the model
 * lacks. */
static inline int32_t *dump_ids(const Dump *d, const uint8_t *p,
                                const char *what, const char *file) {
    const size_t N = d->B * d->T;
    int32_t *ids = mem_new(N, sizeof *ids);         /* (B,T) */
    for (size_t i = 0; i < N; i++) {
        const uint32_t id = get_u32(p + 4 * i);
        if (id >= d->c.V)
            die("%s: %s[%zu]: expected 0 .. %zu, found %d", file, what, i,
                d->c.V - 1, (int)id);
        ids[i] = (int32_t)id;
    }
    return ids;
}
/* Dies if the machine's memory is too small for what will be computed. */
static inline void dump_fits(const Dump *d, const char *file) {
    const double N = (double)d->B * (double)d->T;
    const double C = (double)d->c.C;
    const double L = (double)d->c.L;
    const double V = (double)d->c.V;
    const double heads = (double)(d->B * d->c.NH);
    const double weights = (double)llmc_count(&d->c, d->c.V) *
                           (d->steps ? 60 : 40);
    const double layer = (heads * (double)(d->T * d->T) + 30 * N * C) * 8;
    mem_check(weights + (L + 1) * layer + N * V * 24, file);
}
/* Tables for a configuration, batch and steps that are set. Dies if they do not
 * fit. */
static inline void dump_tables(Dump *d, const char *file) {
    dump_fits(d, file);
    d->table = gpt_table(&d->c);
    d->count = gpt_count(&d->c);
    d->w = mem_new(d->count, sizeof *d->w);
    d->mask = mem_new(d->count, sizeof *d->mask);
    d->step_loss = mem_new(d->steps + 1, sizeof *d->step_loss);
    d->step_norm = mem_new(d->steps + 1, sizeof *d->step_norm);
    if (!d->steps) return;
    d->slack = mem_new(d->count, sizeof *d->slack);
    for (size_t k = 0; k < d->count; k++)
        d->slack[k] = mem_new(gpt_elements(&d->table[k]), sizeof *d->slack[k]);
}

/* Whether a parameter, or only a linear weight, has that name. */
static inline bool dump_names(const Dump *d, const char *name, bool linear) {
    for (size_t k = 0; k < d->count; k++) {
        if (linear && !d->table[k].in_out) continue;
        if (!strcmp(name, d->table[k].name)) return true;
    }
    return false;
}
static inline bool dump_knows(const Dump *d, const char *name) {
    if (!strncmp(name, "param.", 6)) return dump_names(d, name + 6, false);
    if (!strncmp(name, "mask.", 5)) return dump_names(d, name + 5, true);
    for (size_t k = 0; k < d->n; k++)
        if (!strcmp(name, d->check[k].name)) return true;
    return !strcmp(name, "inputs") || !strcmp(name, "targets");
}
/* Counts the tensors that are not known; dies if one would be of the model,
 * whose results then are others. */
static inline void dump_strangers(Dump *d, const char *path) {
    for (size_t i = 0; i < d->st.n; i++) {
        const char *name = d->st.tensors[i].name;
        if (dump_knows(d, name)) continue;
        if (!strncmp(name, "param.", 6) || !strncmp(name, "mask.", 5))
            die("%s: '%.200s': expected a tensor of this model, found none such",
                path, name);
        if (!d->strange) d->stranger = name;
        d->strange++;
    }
}
/* Says which metadata are not known. */
static inline void dump_metadata(const Safetensors *st, const char *path) {
    static const char *const known[] = {
        "format",     "version",       "n_layer",         "n_head",   "n_embd",
        "n_ctx",      "vocab_size",    "steps",           "beta1",    "beta2",
        "eps",        "learning_rate", "weight_decay",    "sparsity", "block",
        "grad_clip",  "source",        "weight_decay_on",
    };
    const size_t n = sizeof known / sizeof *known;
    for (size_t i = 0; i < st->n_meta; i++) {
        size_t k = 0;
        while (k < n && strcmp(known[k], st->meta[i].key)) k++;
        if (k == n)
            note("%s: metadata '%.200s' is not known and passed over", path,
                 st->meta[i].key);
    }
}

/* The configuration, steps and AdamW's settings, from the metadata. */
static inline void dump_settings(Dump *d, const char *path) {
    const Safetensors *st = &d->st;
    meta_want(st, path, "format", "gpt-reference-dump");
    meta_want(st, path, "version", "1");
    d->c.L = meta_size(st, path, "n_layer", 1, 1000);
    d->c.NH = meta_size(st, path, "n_head", 1, 10000);
    d->c.C = meta_size(st, path, "n_embd", 1, 100000);
    d->c.V = meta_size(st, path, "vocab_size", 2, 1u << 26);
    d->c.ctx = meta_size(st, path, "n_ctx", 1, 1000000);
    model_check(&d->c, path);
    d->steps =
        st_meta(st, "steps") ? meta_size(st, path, "steps", 0, DUMP_STEPS) : 0;
    if (!d->steps) return;
    meta_want(st, path, "weight_decay_on", "matrices");
    d->adam.lr = meta_number(st, path, "learning_rate", 0, 100);
    d->adam.beta1 = meta_number(st, path, "beta1", 0, 0.9999999);
    d->adam.beta2 = meta_number(st, path, "beta2", 0, 0.9999999);
    d->adam.eps = meta_number(st, path, "eps", 1e-30, 1);
    d->adam.decay = meta_number(st, path, "weight_decay", 0, 100);
    d->adam.clip = meta_number(st, path, "grad_clip", 0, 1e30);
}
/* B and T, from the shape of the inputs. */
static inline void dump_shape(Dump *d, const char *path) {
    const StTensor *in = st_find(&d->st, "inputs");
    if (!in || in->rank != 2 || !in->count || in->shape[1] > d->c.ctx)
        die("%s: tensor 'inputs': expected I32 (B,T) with T at most %zu", path,
            d->c.ctx);
    d->B = in->shape[0];
    d->T = in->shape[1];
}
/* Dies of a parameter that lacks or has another shape. */
static inline void dump_check_params(const Dump *d) {
    GptParam *table = gpt_table(&d->c);
    char name[64];
    for (size_t k = 0; k < gpt_count(&d->c); k++)
        st_need(&d->st, checkpoint_name(name, "param.", &table[k]), ST_F32,
                table[k].rank, (size_t[]){table[k].rows, table[k].cols});
    free(table);
}
static inline void dump_batch_read(Dump *d, const char *path) {
    const size_t shape[2] = {d->B, d->T};
    const StTensor *in = st_need(&d->st, "inputs", ST_I32, 2, shape);
    d->inputs = dump_ids(d, in->data, "inputs", path);
    const StTensor *out = st_need(&d->st, "targets", ST_I32, 2, shape);
    d->targets = dump_ids(d, out->data, "targets", path);
}
static inline void dump_params_read(Dump *d, const char *path) {
    const Safetensors *st = &d->st;
    char name[64];
    ModelFile f = {
        .path = (char *)(uintptr_t)path,
        .table = d->table,
        .mask = d->mask,
        .at = mem_new(d->count, sizeof *f.at),
    };
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &d->table[k];
        f.at[k] = *st_find(st, checkpoint_name(name, "param.", p));
        d->mask[k] = p->in_out ? mask_find(st, p) : NULL;
        d->w[k] = mem_new(f.at[k].count, sizeof *d->w[k]);
        model_values(&f, k, d->w[k]);
    }
    free(f.at);
}
/* Everything, from d->st. Every shape is checked before memory is taken. */
static inline void dump_read(Dump *d, const char *path) {
    dump_settings(d, path);
    dump_shape(d, path);
    dump_check_params(d);
    dump_tables(d, path);
    dump_batch_read(d, path);
    dump_params_read(d, path);
    dump_list(d, &d->st, true);
    dump_strangers(d, path);
    dump_metadata(&d->st, path);
    if (!d->n || check_phase(d->check[d->n - 1].kind) != OPTIMIZER)
        d->steps = 0;                               /* nothing to check after */
}

/* The initial weights of a model in memory; masks are those of its pattern. */
static inline void dump_weights(Dump *d, const Gpt *m) {
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &m->table[k];
        d->w[k] = weights_of(m, k);
        if (!gpt_masked(p)) continue;
        uint8_t *mask = mem_new(gpt_elements(p), 1);        /* (rows,cols) */
        mask_of(p, mask);
        d->mask[k] = mask;
    }
}
/* Everything, from a debug state of llm.c made with that model. */
static inline void dump_read_llmc(Dump *d, Bytes b, const Gpt *model) {
    d->c = model->c;
    d->out_in = true;
    d->debug = llmc_debug(b, &d->c, model->table);
    d->B = d->debug.B;
    d->T = d->debug.T;
    dump_tables(d, b.name);
    d->inputs = dump_ids(d, d->debug.inputs, "inputs", b.name);
    d->targets = dump_ids(d, d->debug.targets, "targets", b.name);
    dump_weights(d, model);
    dump_list(d, NULL, false);
    for (size_t i = 0; i < d->n; i++) {
        Check *c = &d->check[i];
        if (c->kind == LOGITS) c->t = d->debug.logits;
        else if (c->kind == LOSS) c->t = d->debug.loss;
        else c->t = d->debug.grad[c->k];
    }
}

/* A dump, or with a model an llm.c debug state. Takes over b, whose name must
 * outlive the result. Dies on any fault of the file. */
static inline Dump dump_parse(Bytes b, const Gpt *model) {
    const char *path = b.name;
    Dump d = {0};
    if (b.n >= 4 && get_u32(b.p) == LLMC_DEBUG) {
        if (!model)
            die("%s: a debug state of llm.c holds no weights: --init MODEL names them",
                path);
        dump_read_llmc(&d, b, model);
    } else {
        if (model)
            die("%s: a dump holds its own weights: --init is for debug states of llm.c",
                path);
        d.st = st_parse(b);
        dump_read(&d, path);
    }
    if (!d.n)
        die("%s: expected results to check (logits, loss, grad.NAME ...), found none",
            path);
    return d;
}
static inline Dump dump_open(const char *path, const Gpt *model) {
    return dump_parse(file_read(path), model);
}
static inline void dump_close(Dump *d) {
    for (size_t k = 0; k < d->count; k++) {
        free(d->w[k]);
        if (d->slack) free(d->slack[k]);
        if (!d->st.n) free((void *)(uintptr_t)d->mask[k]);  /* else in the file */
    }
    if (d->debug.file.p) {
        file_free(&d->debug.file);
        free(d->debug.grad);
    }
    if (d->st.tensors) st_free(&d->st);
    free(d->w);
    free(d->mask);
    free(d->slack);
    free(d->table);
    free(d->check);
    free(d->inputs);
    free(d->targets);
    free(d->step_loss);
    free(d->step_norm);
    *d = (Dump){0};
}

/* ---- making one ---------------------------------------------------------- */

/* A share of weights to leave out, whole blocks of outputs x inputs. */
typedef struct {
    double sparsity;
    size_t out, in;
    const char *name;           /* "16x4" */
} DumpBlocks;

/* Marks the elements of a mask (rows,cols) that lie in block `block` of outputs
 * and group `group` of inputs. */
static inline void dump_keep(uint8_t *mask, const GptParam *p,
                             const DumpBlocks *blocks, size_t block,
                             size_t group) {
    const size_t i_end = size_min((group + 1) * blocks->in, p->rows);
    const size_t o_end = size_min((block + 1) * blocks->out, p->cols);
    for (size_t i = group * blocks->in; i < i_end; i++)
        for (size_t o = block * blocks->out; o < o_end; o++)
            mask[i * p->cols + o] = 1;
}
/* A random mask on every linear weight: of the groups of inputs, each block of
 * outputs keeps the share 1 - sparsity, at least one. Weights that are not kept
 * become zero. */
static inline void dump_sparsify(Dump *d, const DumpBlocks *blocks,
                                 uint64_t seed) {
    for (size_t k = 0; k < d->count; k++) {
        const GptParam *p = &d->table[k];
        if (!p->in_out) continue;
        const size_t groups = (p->rows + blocks->in - 1) / blocks->in;
        const double share = (1 - blocks->sparsity) * (double)groups;
        const size_t kept = size_max((size_t)(share + 0.5), 1);
        const uint64_t key = rng_key(seed, p->name);
        uint8_t *mask = mem_new(gpt_elements(p), 1);        /* (rows,cols) */
        for (size_t block = 0; block * blocks->out < p->cols; block++)
            for (size_t n = 0; n < kept; n++)
                dump_keep(mask, p, blocks, block,
                          (size_t)rng_permute(key + 4 * block, n, groups));
        for (size_t i = 0; i < gpt_elements(p); i++)
            if (!mask[i]) d->w[k][i] = 0;
        free((void *)(uintptr_t)d->mask[k]);
        d->mask[k] = mask;
    }
}
/* A batch of random tokens, each the target of the one before. */
static inline void dump_batch(Dump *d, uint64_t seed) {
    const uint64_t key = rng_key(seed, "inputs");
    const size_t N = d->B * d->T;
    d->inputs = mem_new(N, sizeof *d->inputs);
    d->targets = mem_new(N, sizeof *d->targets);
    for (size_t i = 0; i < N; i++) {
        d->inputs[i] = (int32_t)(rng_u64(key, i) % d->c.V);
        d->targets[i] = (int32_t)(rng_u64(key, i + 1) % d->c.V);
    }
}

/* ---- writing it ---------------------------------------------------------- */

static inline void dump_put(Dump *d, Check *c, const double *truth,
                            void *writer) {
    float *values = mem_new(c->t.count, sizeof *values);
    for (size_t i = 0; i < c->t.count; i++) values[i] = (float)truth[i];
    st_write(writer, values, c->t.bytes);
    free(values);
    (void)d;
}
static inline void dump_put_metadata(const Dump *d, StWriter *w,
                                     const DumpBlocks *blocks) {
    const struct {
        const char *key;
        double value;
    } number[] = {
        {"n_layer", (double)d->c.L},
        {"n_head", (double)d->c.NH},
        {"n_embd", (double)d->c.C},
        {"n_ctx", (double)d->c.ctx},
        {"vocab_size", (double)d->c.V},
        {"steps", (double)d->steps},
        {"learning_rate", d->adam.lr},
        {"weight_decay", d->adam.decay},
        {"beta1", d->adam.beta1},
        {"beta2", d->adam.beta2},
        {"eps", d->adam.eps},
        {"grad_clip", d->adam.clip},
        {"sparsity", blocks->sparsity},
    };
    char text[40];
    st_meta_put(w, "format", "gpt-reference-dump");
    st_meta_put(w, "version", "1");
    for (size_t k = 0; k < sizeof number / sizeof *number; k++) {
        snprintf(text, sizeof text, "%.17g", number[k].value);
        st_meta_put(w, number[k].key, text);
    }
    st_meta_put(w, "weight_decay_on", "matrices");
    st_meta_put(w, "block", blocks->name);
    st_meta_put(w, "source", "sparseflow float64");
}
/* Declares KIND.NAME in the shape of parameter k. */
static inline void dump_declare(const Dump *d, StWriter *w, const char *kind,
                                StType type, size_t k) {
    const GptParam *p = &d->table[k];
    char name[64];
    st_declare(w, checkpoint_name(name, kind, p), type, p->rank,
               (size_t[]){p->rows, p->cols});
}

/* Computes every result of d (configuration, weights, masks, batch and settings
 * are set) in double precision and writes the dump; with acts the activations
 * too. Dies if it cannot be written. */
static inline void dump_write(Dump *d, const char *path, bool acts,
                              const DumpBlocks *blocks) {
    const size_t BT[2] = {d->B, d->T};
    const size_t ids = d->B * d->T * sizeof *d->inputs;
    StWriter w = {0};
    dump_put_metadata(d, &w, blocks);
    dump_list(d, NULL, acts);

    for (size_t k = 0; k < d->count; k++)
        dump_declare(d, &w, "param.", ST_F32, k);
    for (size_t i = 0; i < d->n; i++) {
        const Check *c = &d->check[i];
        st_declare(&w, c->name, ST_F32, c->t.rank, c->t.shape);
    }
    st_declare(&w, "inputs", ST_I32, 2, BT);
    st_declare(&w, "targets", ST_I32, 2, BT);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k]) dump_declare(d, &w, "mask.", ST_U8, k);

    st_begin(&w, path);                             /* in the order declared */
    for (size_t k = 0; k < d->count; k++)
        st_write(&w, d->w[k], gpt_elements(&d->table[k]) * sizeof *d->w[k]);
    truth_compute(d, &no_fault, NULL, dump_put, &w);
    st_write(&w, d->inputs, ids);
    st_write(&w, d->targets, ids);
    for (size_t k = 0; k < d->count; k++)
        if (d->mask[k]) st_write(&w, d->mask[k], gpt_elements(&d->table[k]));
    write_checked(st_commit(&w), path);
}

static inline DumpBlocks dump_blocks(const Options *o) {
    unsigned out = 0;
    unsigned in = 0;
    char x[2];
    char end;
    const char *text = o->dump.block;
    if (sscanf(text, "%4u%1[x]%4u%c", &out, x, &in, &end) != 3 || !out || !in ||
        strpbrk(text, "+- "))
        usage("--block: expected OUTPUTSxINPUTS, found '%s'", text);
    return (DumpBlocks){o->dump.sparsity, out, in, text};
}
/* Dies if a dump would take the place of another file, a checkpoint say. */
static inline void dump_check(const char *path) {
    enum { HEAD = 1 << 16 };        /* its metadata come first */
    struct stat st;
    if (!file_stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size == 0) return;
    Bytes b = file_read(path);
    if (!memmem(b.p, size_min(b.n, HEAD), "gpt-reference-dump", 18))
        die("%s: expected no file, or an earlier dump, found another", path);
    file_free(&b);
}
/* Dies of options that the model of --init decides. */
static inline void dump_init_check(const Options *o) {
    static const char *const fixed[4] = {"layers", "heads", "width", "vocab"};
    for (int k = 0; k < 4; k++)
        if (o->given[option_find(fixed[k], DUMP)])
            usage("--init and --%s contradict each other", fixed[k]);
}
static inline int cmd_dump(int argc, char **argv) {
    Options *o = options_read(argc, argv, DUMP, "a file to write");
    output_check(o->file, o, NULL);
    dump_check(o->file);
    if (isnan(o->lr)) o->lr = 0.002;
    const DumpBlocks blocks = dump_blocks(o);
    const GptConfig c = {
        .L = o->dump.layers,
        .NH = o->dump.heads,
        .C = o->dump.width,
        .V = o->dump.vocab,
        .ctx = o->dump.context,
    };
    model_check(&c, "dump");
    if (o->init) dump_init_check(o);
    Gpt *m = o->init ? checkpoint_read(o->init, o, false).m : NULL;
    Dump d = {
        .c = m ? m->c : c,
        .B = o->dump.batch,
        .steps = o->dump.steps,
        .adam = {o->lr, o->beta1, o->beta2, o->eps, o->decay, o->clip},
    };
    d.T = size_min(c.ctx, d.c.ctx);
    dump_tables(&d, o->file);
    if (!m) {
        m = gpt_new(c, false);
        gpt_init(m, o->seed, true);
    }
    dump_weights(&d, m);
    dump_batch(&d, o->seed);
    if (blocks.sparsity > 0) dump_sparsify(&d, &blocks, o->seed);
    dump_write(&d, o->file, o->acts, &blocks);
    dump_close(&d);
    gpt_free(m);
    options_free(o);
    return 0;
}
#endif
