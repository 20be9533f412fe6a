/* state.h: the state of a run: its options, model, vocabulary and place in the
 * schedule; how one begins, goes to a checkpoint and comes back, and what it
 * takes to be under way.
 *
 *     random weights        state_fresh  --+
 *     --init MODEL          state_init   --+--> State --> run_open --> Run: also its
 *     --resume CHECKPOINT   state_resume --+      ^                    activations, log,
 *                                                 |                    last figures
 *     checkpoint_write <--> checkpoint_read ------+
 *
 * It refuses to go on with another text, or with options that decide the
 * result. Example: a run of --steps 500, ended at step 200 and resumed, has the
 * step 200 and the 500 from its checkpoint, and ends with the same bits. */
#ifndef STATE_H
#define STATE_H
#include "chip.h"
#include "data.h"
#include "masks.h"
#include "../model/formats.h"
#include <signal.h>

typedef struct {
    Options *o;
    Gpt *m;
    Tokenizer *tok;
    bool tok_lost;                  /* there is a vocabulary, and it cannot be used */
    size_t step;                    /* optimizer steps done */
    uint64_t data_hash;
    double best;                    /* lowest validation loss so far; infinite
                                     * before the first */
} State;

static inline void state_free(State *s) {
    gpt_free(s->m);
    tok_free(s->tok);
    free(s->o);
    *s = (State){0};
}

/* ---- checkpoints --------------------------------------------------------- */

/* What stands beside the model: every deciding option, the step, a hash of the
 * tokens. */
static inline void checkpoint_meta(const State *s, StWriter *w) {
    char text[64];
    st_meta_put(w, "format", "sparseflow-checkpoint");
    st_meta_put(w, "version", "1");
    options_to_meta(w, s->o);
    snprintf(text, sizeof text, "%zu", s->m->c.V);
    st_meta_put(w, "vocab_size", text);
    snprintf(text, sizeof text, "%zu", s->step);
    st_meta_put(w, "step", text);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->data_hash);
    st_meta_put(w, "data_hash", text);
    snprintf(text, sizeof text, "%.17g", s->best);
    if (isfinite(s->best)) st_meta_put(w, "best_val_loss", text);
}
/* False, with errno set and any older file untouched, if the disk did not take
 * it. */
static inline bool checkpoint_write(const State *s, const char *path) {
    StWriter w = {0};
    checkpoint_meta(s, &w);
    return checkpoint_save(&w, path, s->m, s->tok);
}

/* A pattern by the mask of parameter k of a file, in the widest blocks that
 * fit; dense if it has none. */
static inline SpMat foreign_mask(const ModelFile *f, size_t k) {
    const GptParam *p = &f->table[k];
    SpMat mat = {0};
    for (size_t w = LINE; f->mask[k] && w && !mat.first; w /= 2) {
        if (p->rows % w) continue;
        mat = sp_elements_pattern(p->cols, p->rows, w, f->mask[k]);
        if (mat.keep && w > 1) sp_free(&mat);
    }
    return mat;
}
static inline Gpt *foreign_model(ModelFile *f, bool train) {
    SpMat *mats = mem_new(gpt_count(&f->c), sizeof *mats);
    for (size_t k = 0; k < gpt_count(&f->c); k++) mats[k] = foreign_mask(f, k);
    Gpt *m = gpt_make(f->c, mats, train, train);
    free(mats);
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        float *values = mem_new(gpt_elements(p), sizeof *values);
        model_values(f, k, values);
        gpt_set(p, m->w, values);
        free(values);
    }
    return m;
}
/* The options of a model that no run made: as in o or, if they would follow
 * from a run, at their least. */
static inline Options *foreign_options(const Options *o, const GptConfig *c) {
    Options *own = mem_new(1, sizeof *own);
    *own = *o;
    for (int k = 0; k < OPTIONS; k++) {
        void *field = (char *)own + options[k].at;
        if (!options[k].decides || strcmp(options[k].preset, "auto")) continue;
        if (options[k].kind == WHOLE) *(size_t *)field = (size_t)options[k].min;
        else *(double *)field = options[k].min;
    }
    own->layers = c->L;
    own->heads = c->NH;
    own->width = c->C;
    own->context = c->ctx;
    return own;
}
/* The state that a model of others stands for: its weights, the vocabulary
 * beside it, no step done. Takes over f. */
static inline State foreign_read(ModelFile *f, const Options *o, bool train) {
    State s = {.best = INFINITY};
    s.m = foreign_model(f, train);
    s.o = foreign_options(o, &f->c);
    s.tok = model_vocabulary(f, &s.tok_lost);
    model_close(f);
    return s;
}

/* The state in an open model, with its own options: a copy of o, deciding
 * options replaced by the file's. Takes over the model. */
static inline State state_read(ModelFile model, const char *path,
                               const Options *o, bool train) {
    if (model.kind != MODEL_NATIVE) return foreign_read(&model, o, train);
    Safetensors st = model.st;
    State s = {.o = mem_new(1, sizeof *s.o), .best = INFINITY};
    meta_want(&st, path, "format", "sparseflow-checkpoint");
    meta_size(&st, path, "version", 1, 1);
    *s.o = *o;
    options_from_meta(&st, path, s.o);
    s.step = meta_size(&st, path, "step", 0, s.o->steps);
    s.data_hash = strtoull(meta_need(&st, path, "data_hash"), NULL, 16);
    if (st_meta(&st, "best_val_loss"))
        s.best = meta_positive(&st, path, "best_val_loss");
    const GptConfig c = {
        .L = s.o->layers,
        .NH = s.o->heads,
        .C = s.o->width,
        .V = meta_size(&st, path, "vocab_size", 2, 1u << 26),
        .ctx = s.o->context,
    };
    model_check(&c, path);
    s.m = checkpoint_load(&st, path, c, s.step, train);
    s.tok = checkpoint_vocabulary(&st, path, c.V);
    if (train) masks_ready(s.o, s.m);
    model_close(&model);
    return s;
}
static inline State checkpoint_read(const char *path, const Options *o,
                                    bool train) {
    return state_read(model_open(path), path, o, train);
}

/* ---- how a run begins ---------------------------------------------------- */

/* Bytes of a model's numbers while it trains: weights, gradient, moments; the
 * four matrices of each layer at that density. */
static inline double model_bytes(const GptConfig *c, double density) {
    const double C = (double)c->C;
    const double linear = 12 * (double)c->L * C * C * density;
    const double rest = (double)(c->V + c->ctx) * C;
    return 16 * (linear + rest) + 4 * (double)c->V * C;
}

/* What follows from model, masks and data; ends the making of any new state. */
static inline State state_ready(State s, const Data *d) {
    Options *o = s.o;
    masks_ready(o, s.m);
    if (isnan(o->lr))
        o->lr = rate_product(
            rate_rule(s.m->c.L, s.m->c.C, masks_rate_density(o, s.m)));
    if (o->warmup == AUTO) o->warmup = o->steps * 3 / 100;
    if (isnan(o->min_lr)) o->min_lr = o->lr / 10;
    rate_check(o);
    s.data_hash = data_hash(d);
    return s;
}

/* Refuses what can be known to be wrong of a new run's options before anything
 * is read. */
static inline void state_check(const Options *o) {
    masks_check(o);
    rate_check(o);
}

/* A random model for data and a vocabulary (or NULL) that have been read. */
static inline State state_fresh(Options *o, const Data *d, Tokenizer *tok) {
    State s = {.o = o, .tok = tok, .best = INFINITY};
    char what[64] = "the model";
    if (o->whose) snprintf(what, sizeof what, "the model of arm %s", o->whose);
    model_shape(o);
    state_check(o);
    const GptConfig c = {
        .L = o->layers,
        .NH = o->heads,
        .C = o->width,
        .V = tok ? tok->V : o->vocab_size,
        .ctx = o->context,
    };
    data_check(o, d);
    model_check(&c, what);
    mem_check(model_bytes(&c, masks_at_start(o) ? 1 - o->sparsity : 1), what);
    SpMat *mats = masks_at_start(o) ? masks_new(o, &c, NULL) : NULL;
    s.m = gpt_make(c, mats, true, true);
    free(mats);
    gpt_init(s.m, o->seed, strcmp(o->scale, "none"));
    return state_ready(s, d);
}

/* The same weights in a model of fewer positions, without moments; frees m. */
static inline Gpt *state_crop(Gpt *m, size_t positions) {
    GptConfig c = m->c;
    SpMat *mats = mem_new(m->count, sizeof *mats);
    c.ctx = positions;
    for (size_t k = 0; k < m->count; k++)
        if (gpt_masked(&m->table[k])) mats[k] = sp_copy(&m->table[k].mat);
    Gpt *n = gpt_make(c, mats, true, true);
    for (size_t k = 0; k < m->count; k++) {
        float *values = mem_new(gpt_elements(&m->table[k]), sizeof *values);
        gpt_get(&m->table[k], m->w, values);       /* of wpe the first rows stay */
        gpt_set(&n->table[k], n->w, values);
        free(values);
    }
    free(mats);
    gpt_free(m);
    return n;
}

/* Refuses what the model of --init decides. */
static inline void state_init_check(const Options *o) {
    static const char *const fixed[4] = {"model", "layers", "heads", "width"};
    for (size_t k = 0; k < 4; k++)
        if (option_given(o, fixed[k]))
            usage("--init and --%s contradict each other", fixed[k]);
    if (option_given(o, "vocab")) usage("--init brings its own --vocab");
}
/* Gives a model the masks that the run starts with: none, if it starts
 * dense. */
static inline Gpt *state_mask(const Options *o, Gpt *m) {
    SpMat *mats = masks_at_start(o) ? masks_new(o, &m->c, m) : NULL;
    Gpt *masked = gpt_remask(m, mats, 0, true);
    free(mats);
    gpt_free(m);
    return masked;
}
/* An optimizer that has done no step: no moments, and no line younger than
 * another. */
static inline void state_no_moments(Gpt *m) {
    memset(m->moment1, 0, m->floats * sizeof *m->moment1);
    memset(m->moment2, 0, m->floats * sizeof *m->moment2);
    for (size_t k = 0; k < m->count; k++) {
        free(m->table[k].born);
        m->table[k].born = NULL;
    }
}
/* The model of --init with a fresh optimizer, and the data for it. */
static inline State state_init(Options *o, Data *d) {
    State s = {.o = o, .best = INFINITY};
    state_init_check(o);
    State from = checkpoint_read(o->init, o, true);
    s.m = from.m;
    s.tok = from.tok;
    free(from.o);
    s.o->layers = s.m->c.L;
    s.o->heads = s.m->c.NH;
    s.o->width = s.m->c.C;
    if (!option_given(o, "context")) s.o->context = s.m->c.ctx;
    if (s.o->context > s.m->c.ctx)
        usage("--context: expected at most the %zu positions of %s, found %zu",
              s.m->c.ctx, o->init, s.o->context);
    if (s.o->context < s.m->c.ctx) s.m = state_crop(s.m, s.o->context);
    *d = data_read(s.o, &s.tok, s.m->c.V, true);
    data_check(s.o, d);
    if (masks_wanted(s.o) || masks_lifted(s.o)) s.m = state_mask(s.o, s.m);
    state_no_moments(s.m);
    return state_ready(s, d);
}

static inline State state_new(Options *o, Data *d) {
    Tokenizer *tok = NULL;
    state_check(o);
    if (o->init) return state_init(o, d);
    model_shape(o);
    *d = data_read(o, &tok, 0, true);
    return state_fresh(o, d, tok);
}

/* What was saved, and its data; o becomes what decides that run, and how it goes on
 * stays. */
static inline State state_resume(Options *o, Data *d) {
    for (int k = 0; k < OPTIONS; k++)
        if (o->given[k] && options[k].decides)
            usage("--resume keeps what decides the result: --%s cannot change",
                  options[k].name);
    if (o->init || option_given(o, "vocab") || option_given(o, "model"))
        usage("--resume contradicts --init, --vocab and --model");
    ModelFile model = model_open(o->resume);
    if (model.kind != MODEL_NATIVE)
        die("%s: --resume needs a checkpoint of this program; --init starts from others",
            o->resume);
    model_close(&model);
    State s = checkpoint_read(o->resume, o, true);
    if (!s.data_hash)
        die("%s: expected a run that can go on, found a model that was converted; --init starts "
            "from it", o->resume);
    *o = *s.o;
    free(s.o);
    s.o = o;
    masks_agree(o);
    *d = data_read(o, &s.tok, s.m->c.V, true);
    data_check(o, d);
    if (data_hash(d) != s.data_hash)
        die("%s: expected the text it was trained on (give the same --text or --tokens "
            "and --val), found another",
            o->resume);
    return s;
}

/* ---- a run under way ----------------------------------------------------- */

/* The first signal asks for a clean end, and says so, for a step may be long; the second
 * ends at once. */
static volatile sig_atomic_t interrupted;

static inline void on_signal(int number) {
    static const char text[] = "\nends after this step; a second signal ends at once\n";
    interrupted = number;
    signal(number, passing_signal);
    if (write(2, text, sizeof text - 1) < 0) return;    /* nobody to tell it */
}
static inline void signals_catch(void) { signals_to(on_signal); }

/* A run under way. */
typedef struct {
    State s;
    const Data *d;
    GptRun *r;
    const char *out;                /* the checkpoint's path */
    const char *saved;              /* that again once it has been written */
    char best[PATH_MAX];
    Out log;                        /* takes everything, if none is wanted */
    bool terminal;                  /* progress on one line */
    double start;                   /* seconds at its start */
    double peak;                    /* FLOP/s at most */

    /* of the last step */
    double lr, loss, bytes, flops;
    double norm;                    /* of the gradient before clipping */

    double scoring;                 /* seconds of RigL's steps together */
    double *took;                   /* [n] seconds of each step */
    size_t n, cap;
    size_t tried;                   /* of them, those of the trial, when that is over */
    size_t first;                   /* the step it began at */
} Run;

/* The training step, as the comparison, which lives below train.c, is given
 * it. */
typedef bool RunStep(Run *run);

/* The parameters of a model; active: only those that its masks keep. */
static inline size_t parameters(const Gpt *m, bool active) {
    size_t n = 0;
    for (size_t k = 0; k < m->count; k++)
        n += active ? sp_elements(&m->table[k].mat) : gpt_elements(&m->table[k]);
    return n;
}
static inline double tokens_per_step(const Options *o) {
    return (double)(o->batch * o->context);
}

/* Writes the run's checkpoint to path, or dies and says what is still whole. */
static inline void run_save(Run *run, const char *path) {
    const char *whole = run->saved ? run->saved : "";
    if (!checkpoint_write(&run->s, path))
        die("%s: cannot write: %s%s%s", path, why(errno),
            *whole ? "; whole is still " : "", whole);
    if (path == run->out) run->saved = path;
}

/* Sequences of a batch that are in memory at once while a run trains. */
static inline size_t run_group(const Options *o, const GptConfig *c) {
    return group_size(o, c, o->batch, train_how(o));
}
/* Bytes that a run takes while it trains, the model at that density; its data
 * come on top. */
static inline double run_bytes(const Options *o, const GptConfig *c,
                               double density) {
    const size_t arrays = gpt_run_bytes(c, run_group(o, c), o->context,
                                        o->panel / LINE, o->threads, train_how(o));
    return model_bytes(c, density) + (double)schedule_bytes(o) + (double)arrays;
}

/* Gives a state its activations, and its chip if the schedule wants one. */
static inline void run_open(Run *run, DfPool *pool) {
    const Options *o = run->s.o;
    Gpt *m = run->s.m;
    run->r = gpt_run_new(m, pool, run_group(o, &m->c), o->context, o->panel,
                         train_how(o));
    run->r->dropout = (Dropout){
        .share = o->dropout,
        .attention = o->attention_dropout,
        .seed = o->seed,
    };
    schedule_set(run->r, o);
}

static inline void run_close(Run *run) {
    free(run->took);
    run->took = NULL;
    run->n = 0;
    run->cap = 0;
    gpt_run_free(run->r);
    gpt_free(run->s.m);
}
#endif
