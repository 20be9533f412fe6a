/* train.c: the program. Commands, checkpoints and the training loop; the options are in data/run/options.h.
 *
 *     ./train                               a demonstration: dense and sparse, no files needed
 *     ./train run --text FILE --out M       text -> vocabulary -> random weights -> trained GPT
 *     ./train run --resume M --text FILE    goes on, bit for bit
 *     ./train sample M --prompt TEXT        the model continues the text
 *     ./train help                          every command and option
 *
 * It refuses to guess: an option that a command does not take, a number out of range or a file that is not
 * what it should be ends in one line and status 2. Status 1: a check failed. Status 3: stopped early.
 *
 * An option either decides the result (model, data, optimizer, seed) and is stored in the checkpoint, or says
 * how to run (threads, files) and is not; --resume takes only the second kind. */
#include "gpt.h"
#include "data/compare/arms.h"
#include "data/commands/bench.h"
#include "data/model/checkpoint.h"
#include "data/compare/curves.h"
#include "data/compare/exhibit.h"
#include "data/compare/page.h"
#include "data/judge/measure.h"
#include "data/commands/simulate.h"
#include "data/run/masks.h"
#include "data/run/options.h"
#include "data/verify/verify.h"
#include <signal.h>
#include <sys/resource.h>

/* ---- the state of a run ------------------------------------------------------------------------------- */

enum { GPT2_VOCAB = 50257 };        /* of token shards that come without a vocabulary */

typedef struct {
    Options *o;
    Gpt *m;
    Tokenizer *tok;
    size_t step;                    /* optimizer steps done */
    uint64_t data_hash;
    double best;                    /* lowest validation loss so far; infinite before the first */
} State;

/* ---- checkpoints: a model; as metadata every deciding option, the step, a hash of the tokens ----------- */

/* False, with errno set and any older file untouched, if the disk did not take it. */
static bool checkpoint_write(const State *s, const char *path) {
    StWriter w = {0};
    char text[64];
    st_meta_put(&w, "format", "sparseflow-checkpoint"), st_meta_put(&w, "version", "1");
    options_to_meta(&w, s->o);
    snprintf(text, sizeof text, "%zu", s->m->c.V), st_meta_put(&w, "vocab_size", text);
    snprintf(text, sizeof text, "%zu", s->step), st_meta_put(&w, "step", text);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->data_hash),
        st_meta_put(&w, "data_hash", text);
    snprintf(text, sizeof text, "%.17g", s->best);
    if (isfinite(s->best)) st_meta_put(&w, "best_val_loss", text);
    return checkpoint_save(&w, path, s->m, s->tok);
}

/* The state that a model of others stands for: its weights, the vocabulary beside it, no step done. Options
 * that it does not bring are as in o or, if they would follow from a run, at their least. Takes over f. */
static State foreign_read(ModelFile *f, const Options *o, bool train) {
    State s = {.o = mem_new(1, sizeof *s.o), .best = INFINITY};
    SpMat *mats = mem_new(gpt_count(&f->c), sizeof *mats);
    GptParam *table = gpt_table(&f->c);
    for (size_t k = 0; k < gpt_count(&f->c) && f->kind == MODEL_HF; k++)
        for (size_t w = LINE; gpt_maskable(&table[k]) && w && !mats[k].first; w /= 2) {
            const bool fits = table[k].rows % w == 0 &&     /* masks come in the widest blocks that fit */
                              checkpoint_element_mask(&f->st, &table[k], w, &mats[k]);
            if (fits && mats[k].keep && w > 1) sp_free(&mats[k]);
        }
    s.m = gpt_make(f->c, mats, train, train);
    free(mats), free(table);
    *s.o = *o;
    for (int k = 0; k < OPTIONS; k++) {
        void *field = (char *)s.o + options[k].at;
        if (!options[k].decides || strcmp(options[k].preset, "auto")) continue;
        if (options[k].kind == 'u') *(size_t *)field = (size_t)options[k].min;
        else *(double *)field = options[k].min;
    }
    s.o->layers = f->c.L, s.o->heads = f->c.NH, s.o->width = f->c.C, s.o->context = f->c.ctx;
    for (size_t k = 0; k < s.m->count; k++) {
        float *values = mem_new(gpt_elements(&s.m->table[k]), sizeof *values);
        model_values(f, k, values), gpt_set(&s.m->table[k], s.m->w, values);
        free(values);
    }
    s.tok = model_vocabulary(f);
    model_close(f);
    return s;
}

/* Reads a checkpoint into a state with its own options (a copy of o, deciding options replaced by the
 * file's). */
static State checkpoint_read(const char *path, const Options *o, bool train) {
    ModelFile model = model_open(path);
    if (model.kind != MODEL_NATIVE) return foreign_read(&model, o, train);
    Safetensors st = model.st;
    State s = {.o = mem_new(1, sizeof *s.o), .best = INFINITY};
    meta_want(&st, path, "format", "sparseflow-checkpoint");
    meta_size(&st, path, "version", 1, 1);
    *s.o = *o;
    options_from_meta(&st, path, s.o);
    s.step = meta_size(&st, path, "step", 0, s.o->steps);
    s.data_hash = strtoull(meta_need(&st, path, "data_hash"), NULL, 16);
    if (st_meta(&st, "best_val_loss")) s.best = meta_positive(&st, path, "best_val_loss");
    const GptConfig c = {s.o->layers, s.o->heads, s.o->width, meta_size(&st, path, "vocab_size", 2, 1u << 26),
                         s.o->context};
    model_check(&c, path);
    s.m = checkpoint_load(&st, path, c, s.step, train);
    s.tok = checkpoint_vocabulary(&st, path, c.V);
    if (train) masks_ready(s.o, s.m);
    model_close(&model);
    return s;
}

/* ---- data --------------------------------------------------------------------------------------------- */

/* A whole number of tokens to train, or 0 if the argument is a file. */
static size_t vocab_number(const char *vocab) {
    if (vocab[strspn(vocab, "0123456789")]) return 0;
    const unsigned long long n = strtoull(vocab, NULL, 10);
    if (n < 256 || n > 1000000) usage("--vocab: expected 256 .. 1000000 tokens or a file, found '%s'", vocab);
    return (size_t)n;
}

/* Reads what the options name. V is the model's vocabulary, or 0 if it follows from the data: then *tok is
 * loaded or trained as the options say. */
static Data data_read(const Options *o, Tokenizer **tok, size_t V, bool train) {
    Data d = {0};
    Documents docs = {0};
    const bool file = !vocab_number(o->vocab), named = option_given(o, "vocab");
    if (o->text.n && o->tokens.n) usage("--text and --tokens contradict each other");
    if (o->val && !o->text.n && !o->tokens.n) usage("--val needs --text or --tokens");
    if (option_given(o, "corpus") && (o->text.n || o->tokens.n))
        usage("--corpus contradicts --text and --tokens");
    if (option_given(o, "val-share") && (o->val || !o->text.n))
        usage("--val-share needs --text and no --val");
    if (!o->text.n && !o->tokens.n) mem_check(3.0 * (double)o->corpus, "--corpus");
    if (o->tokens.n && named && !file) usage("--tokens needs a vocabulary file, not a number to train");
    if (V && !*tok && !o->tokens.n)
        die("the model has no vocabulary of its own: it needs --tokens, not text");
    if (!V && !*tok && named && file) *tok = tok_load(o->vocab);
    if (o->tokens.n) {
        if (!V) V = *tok ? (*tok)->n + 1 : GPT2_VOCAB;
        for (size_t k = 0; k < o->tokens.n; k++)
            tokens_read_shard(train ? &d.train : &d.val, o->tokens.item[k], V);
        if (train && !o->val) usage("--tokens needs --val");
        if (o->val) tokens_read_shard(&d.val, o->val, V);
    } else {
        for (size_t k = 0; k < o->text.n; k++) documents_read(&docs, o->text.item[k], !train);
        if (!o->text.n) documents_stories(&docs, o->corpus, o->seed);
        else if (o->val) documents_read(&docs, o->val, true);
        else if (train) documents_hold_out(&docs, o->val_share, o->seed);
        if (!*tok) {
            TokTrainer trainer = tok_trainer();
            for (size_t k = 0; k < docs.n; k++)
                if (!docs.doc[k].held_out) tok_trainer_add(&trainer, docs.doc[k].p, docs.doc[k].n);
            *tok = tok_trainer_finish(&trainer, vocab_number(o->vocab));
        }
        if (train) d.train = documents_tokens(&docs, *tok, false);
        d.val = documents_tokens(&docs, *tok, true);
        if (docs.bytes > 0) d.floor = docs.nats / NATS_PER_BIT / docs.bytes;
        documents_free(&docs);
    }
    d.eot = *tok ? (int32_t)(*tok)->eot : (int32_t)V - 1;
    if (*tok) {
        d.bytes = mem_new((*tok)->n + 1, sizeof *d.bytes);
        for (uint32_t id = 0; id <= (*tok)->n; id++) {
            size_t n;
            tok_bytes(*tok, id, &n);
            d.bytes[id] = id == (*tok)->eot ? 0 : (uint32_t)n;
        }
    }
    return d;
}
static uint64_t data_hash(const Data *d) {
    return rng_mix(tokens_hash(&d->train) + rng_mix(tokens_hash(&d->val)));
}
/* Dies unless there are tokens to train and validate on. */
static void data_check(const Options *o, const Data *d) {
    const char *name = o->text.n ? o->text.item[0] : o->tokens.n ? o->tokens.item[0] : "the built-in corpus";
    const size_t need = o->batch * o->context + 1;
    if (d->train.n < need)
        die("%s: the training text has %zu tokens; a batch of %zu x %zu needs %zu", name, d->train.n,
            o->batch, o->context, need);
    if (d->val.n < 2)
        die("%s: the validation text has %zu tokens; at least 2 are needed", o->val ? o->val : name,
            d->val.n);
}
static void data_free(Data *d) { tokens_free(&d->train), tokens_free(&d->val), free(d->bytes); }

/* The first signal asks for a clean end, the second ends at once. */
static volatile sig_atomic_t interrupted;
static void on_signal(int number) { interrupted = number, signal(number, SIG_DFL); }

/* ---- evaluation --------------------------------------------------------------------------------------- */

/* The loss over windows of d->val that hold the first `most` tokens (0: all); of its parts too, unless they
 * are NULL. */
static Score evaluate(GptRun *r, const Data *d, size_t most, Parts *parts) {
    Score s = {0};
    const size_t B = r->B, T = r->T, end = most ? (most + T - 1) / T : SIZE_MAX;
    int32_t *inputs = mem_new(B * T, 4), *targets = mem_new(B * T, 4);
    for (size_t first = 0; first < end && first * T + 1 < d->val.n && !interrupted; first += B) {
        s.tokens += batch_val(&d->val, first, end, B, T, inputs, targets);
        gpt_eval(r, inputs, targets, &s.nats);
        if (parts) parts_add(parts, r, d, targets, first);
        for (size_t i = 0; d->bytes && i < B * T; i++) if (targets[i] >= 0) s.bytes += d->bytes[targets[i]];
    }
    free(inputs), free(targets);
    return s;
}

/* Everything that is measured of a model on d, on d->train too if it is there; windows of items of at most T.
 */
static Measures measure(const State *s, const char *name, DfPool *pool, const Data *d, size_t T) {
    const Options *o = s->o;
    const bool stories = !o->text.n && !o->tokens.n;
    Measures x = {.name = name, .parts = parts_new(d), .floor = d->floor, .wanted = s->tok ? o->items : 0};
    GptRun *r = gpt_run_new(s->m, pool, group_size(o, &s->m->c, 16, false), s->m->c.ctx, o->panel, false);
    x.val = evaluate(r, d, 0, &x.parts);
    if (d->train.n > 1) {
        Data train = *d;
        train.val = d->train;
        x.train = evaluate(r, &train, d->val.n, NULL);
    }
    gpt_run_free(r);
    if (!x.wanted) return x;
    if (stories) x.cloze[0] = cloze_stories(s->tok, rng_key(o->seed, "stories held out"), x.wanted, T);
    x.cloze[1] = cloze_words(s->tok, &d->val, o->seed, x.wanted, T);
    x.cloze[2] = cloze_continuations(s->tok, &d->val, x.parts.of, o->seed, x.wanted, T);
    for (int k = 0; k < 3; k++) {
        const size_t B = group_size(o, &s->m->c, k < 2 ? 16 : 64, false);
        cloze_score(&x.cloze[k], s->m, s->tok, pool, B, o->panel);
    }
    return x;
}

/* ---- run: training ------------------------------------------------------------------------------------ */

static double learning_rate(const Options *o, size_t step) { /* of step 0 .. steps-1: linear, then a cosine */
    if (step < o->warmup) return o->lr * (double)(step + 1) / (double)o->warmup;
    const double part = (double)(step - o->warmup) / fmax(1, (double)(o->steps - o->warmup));
    return o->min_lr + 0.5 * (1 + det_cos(part / 2)) * (o->lr - o->min_lr);
}

/* Bytes of a model's numbers while it trains: weights, gradient, moments; the four matrices of each layer at
 * that density. */
static double model_bytes(const GptConfig *c, double density) {
    const double linear = 12 * (double)c->L * (double)c->C * (double)c->C * density;
    return 16 * (linear + (double)(c->V + c->ctx) * (double)c->C) + 4 * (double)c->V * (double)c->C;
}

/* What follows from model, masks and data; ends the making of any new state. */
static State state_ready(State s, const Data *d) {
    Options *o = s.o;
    masks_ready(o, s.m);
    const double density = masks_density(o, s.m, !masks_wanted(o) || masks_at_start(o));
    if (isnan(o->lr)) o->lr = 0.002 * 256 / (double)s.m->c.C / (sqrt(density) * sqrt(sqrt(density)));
    if (o->warmup == AUTO) o->warmup = o->steps * 3 / 100;
    if (isnan(o->min_lr)) o->min_lr = o->lr / 10;
    if (o->warmup > o->steps)
        usage("--warmup: expected at most the %zu steps, found %zu", o->steps, o->warmup);
    if (o->min_lr > o->lr) usage("--min-lr: expected at most --lr %g, found %g", o->lr, o->min_lr);
    s.data_hash = data_hash(d);
    return s;
}

/* A random model for data and a vocabulary (or NULL) that have been read. */
static State state_fresh(Options *o, const Data *d, Tokenizer *tok) {
    State s = {.o = o, .tok = tok, .best = INFINITY};
    model_shape(o), masks_check(o);
    const GptConfig c = {o->layers, o->heads, o->width, tok ? tok->n + 1 : GPT2_VOCAB, o->context};
    data_check(o, d), model_check(&c, "the model");
    mem_check(model_bytes(&c, masks_at_start(o) ? 1 - o->sparsity : 1), "the model");
    SpMat *mats = masks_at_start(o) ? masks_new(o, &c, NULL) : NULL;
    s.m = gpt_make(c, mats, true, true);
    free(mats);
    gpt_init(s.m, o->seed, strcmp(o->scale, "none"));
    return state_ready(s, d);
}

/* The model of --init with a fresh optimizer, and the data for it. */
static State state_init(Options *o, Data *d) {
    State s = {.o = mem_new(1, sizeof *o), .best = INFINITY};
    for (size_t k = 0; k < 4; k++) {
        static const char *const fixed[4] = {"model", "layers", "heads", "width"};
        if (option_given(o, fixed[k])) usage("--init and --%s contradict each other", fixed[k]);
    }
    if (option_given(o, "vocab") || option_given(o, "context"))
        usage("--init brings its own --vocab and --context");
    State from = checkpoint_read(o->init, o, true);
    s.m = from.m, s.tok = from.tok;
    *s.o = *o;
    s.o->layers = s.m->c.L, s.o->heads = s.m->c.NH, s.o->width = s.m->c.C, s.o->context = s.m->c.ctx;
    free(from.o);
    *d = data_read(s.o, &s.tok, s.m->c.V, true);
    data_check(s.o, d);
    if (masks_wanted(s.o)) {                                /* or all of it, if the run starts dense */
        SpMat *mats = masks_at_start(s.o) ? masks_new(s.o, &s.m->c, s.m) : NULL;
        Gpt *masked = gpt_remask(s.m, mats, 0, true);
        free(mats), gpt_free(s.m);
        s.m = masked;
    }
    memset(s.m->m, 0, s.m->floats * sizeof(float)), memset(s.m->v, 0, s.m->floats * sizeof(float));
    for (size_t k = 0; k < s.m->count; k++) free(s.m->table[k].born), s.m->table[k].born = NULL;
    return state_ready(s, d);
}

static State state_new(Options *o, Data *d) {
    Tokenizer *tok = NULL;
    masks_check(o);
    if (o->init) return state_init(o, d);
    model_shape(o);
    *d = data_read(o, &tok, 0, true);
    return state_fresh(o, d, tok);
}

static State state_resume(const Options *o, Data *d) {
    for (int k = 0; k < OPTIONS; k++)
        if (o->given[k] && options[k].decides)
            usage("--resume keeps what decides the result: --%s cannot change", options[k].name);
    if (o->init || option_given(o, "vocab") || option_given(o, "model"))
        usage("--resume contradicts --init, --vocab and --model");
    ModelFile model = model_open(o->resume);
    if (model.kind != MODEL_NATIVE)
        die("%s: --resume needs a checkpoint of this program; --init starts from others", o->resume);
    model_close(&model);
    State s = checkpoint_read(o->resume, o, true);
    *d = data_read(s.o, &s.tok, s.m->c.V, true);
    data_check(s.o, d);
    if (data_hash(d) != s.data_hash)
        die("%s: expected the text it was trained on (give the same --text or --tokens and --val), found "
            "another",
            o->resume);
    return s;
}

typedef struct {                    /* a run under way */
    State s;
    const Data *d;
    GptRun *r;
    const char *out, *saved;        /* the checkpoint's path; that again once it has been written */
    char best[PATH_MAX];
    FILE *log;
    bool terminal;                  /* progress on one line */
    double start, peak;             /* seconds at its start; FLOP/s at most */
    double lr, loss, norm, bytes, flops;        /* of the last step; norm: of the gradient before clipping */
    double scoring, *took;          /* seconds: of RigL's steps together; of each step */
    size_t first, n, cap;           /* the step it began at; entries of took */
} Run;

/* The training step, as the comparison, which lives below train.c, is given it. */
typedef bool RunStep(Run *run);

static size_t peak_memory(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
#ifdef __APPLE__
    return (size_t)u.ru_maxrss;
#else
    return (size_t)u.ru_maxrss * 1024;
#endif
}
static size_t parameters(const Gpt *m, bool active) {
    size_t n = 0;
    for (size_t k = 0; k < m->count; k++)
        n += active ? sp_elements(&m->table[k].mat) : gpt_elements(&m->table[k]);
    return n;
}
static double tokens_per_step(const Options *o) { return (double)(o->batch * o->context); }
static double share_of_peak(const Run *run, double step) {
    return flops_per_token(run->s.m, run->s.o->context, false) * tokens_per_step(run->s.o) / step / run->peak;
}

static void run_json(const Run *run, const Score *val, double step) {
    Out out = out_open(run->s.o->json);
    const double none = run->n ? 1 : NAN;                   /* nothing was measured if no step was taken */
    fputc('{', out.f);
    json_member_put(&out, "steps", (double)run->s.step);
    json_member_put(&out, "train_loss", none * run->loss);
    json_score(&out, val, run->d->floor);
    json_member_put(&out, "tokens_per_second", none * tokens_per_step(run->s.o) / step);
    json_member_put(&out, "step_ms", none * 1000 * step);
    json_member_put(&out, "flops_per_token", flops_per_token(run->s.m, run->s.o->context, false));
    json_member_put(&out, "peak_share", none * share_of_peak(run, step));
    json_member_put(&out, "peak_memory_bytes", (double)peak_memory());
    json_member_put(&out, "parameters", (double)parameters(run->s.m, false));
    json_member_put(&out, "active_parameters", (double)parameters(run->s.m, true));
    json_end(&out);
}

static void run_progress(const Run *run, double bits) {
    const Options *o = run->s.o;
    const double step = run->took[run->n - 1];
    const double left = (double)(o->steps - run->s.step) * (seconds() - run->start) / (double)run->n;
    printf("%sstep %zu/%zu  loss %.4f", run->terminal ? "\r\033[K" : "", run->s.step, o->steps, run->loss);
    if (bits > 0) printf("  %.3f bits/byte", bits);
    printf("  %.0f tokens/s  %.0f %% of peak  %.0f:%02.0f left%s", tokens_per_step(o) / step,
           100 * share_of_peak(run, step), floor(left / 60), floor(fmod(left, 60)),
           run->terminal ? "" : "\n");
    fflush(stdout);
}

static void run_save(Run *run, const char *path) {
    const int width = run->saved ? (int)strlen(run->saved) : 0;
    if (!checkpoint_write(&run->s, path))
        die("%s: cannot write: %s%s%.*s", path, strerror(errno), width ? "; whole is still " : "", width,
            run->saved);
    if (path == run->out) run->saved = path;
}

/* Validates on the first val_tokens, keeps the best, saves the last. Nothing is validated once interrupted.
 */
static Score run_milestone(Run *run) {
    const Options *o = run->s.o;
    const Score score = evaluate(run->r, run->d, o->val_tokens, NULL);
    const double loss = score.nats / (double)score.tokens;
    if (run->terminal) printf("\n");
    if (!interrupted && !o->quiet)
        printf("step %zu: ", run->s.step), score_print("validation", &score, run->d->floor);
    if (!interrupted && loss < run->s.best) run->s.best = loss, run_save(run, run->best);
    run_save(run, run->out);
    return score;
}

/* A loss or gradient that is not finite ends the run; the checkpoint stays that of the last milestone. */
__attribute__((noreturn)) static void run_not_finite(const Run *run) {
    char name[64];
    fflush(stdout);
    fprintf(stderr,
            "train: step %zu: loss %g, norm of the gradient %g, first seen in %s; last good checkpoint: %s\n",
            run->s.step + 1, run->loss, run->norm, gpt_first_bad(run->r, name),
            run->saved ? run->saved : "none");
    exit(3);
}

/* The first step's firings, of its first group of sequences, beside what the clock says of them. */
static void run_trace(const Run *run) {
    const GptRun *r = run->r;
    const GptMachine *a = r->machine;
    report_trace(run->s.o->trace, &a->graph, a->plan, r->B, r->groups, a->event, r->B * gpt_panels(r));
}

/* One optimizer step on the next batch. False if loss or gradient is not finite: then nothing has changed. */
static bool run_step(Run *run) {
    State *s = &run->s;
    const Options *o = s->o;
    const size_t T = o->context, B = o->batch;
    const double t = seconds();
    int32_t *inputs = mem_new(B * T, 4), *targets = mem_new(B * T, 4);
    const bool score = parse_update(o) == RIGL && masks_due(o, s->step + 1);
    float **grow = score ? mem_new(s->m->count, sizeof *grow) : NULL;
    batch_train(&run->d->train, o->seed, s->step * B, B, T, inputs, targets);
    run->lr = learning_rate(o, s->step), run->flops = flops_per_token(s->m, T, score) * tokens_per_step(o);
    run->loss = grow ? masks_dense_step(run->r, B, inputs, targets, grow)
                     : train_groups(run->r, B, inputs, targets);
    run->norm = gpt_gradient_norm(s->m, run->r->pool);
    const bool finite = isfinite(run->loss) && isfinite(run->norm);
    if (finite) {
        const GptAdam adam = {run->lr, o->beta1, o->beta2, o->eps, o->decay, o->clip};
        gpt_adamw(s->m, run->r->pool, &adam, ++s->step, run->norm);
        if (score) run->scoring += seconds() - t;
        masks_step(o, run->r, s->step, grow, o->quiet), s->m = run->r->m;
        run->took = mem_grow(run->took, run->n, &run->cap, sizeof *run->took);
        run->took[run->n++] = seconds() - t;
    }
    run->bytes = 0;
    for (size_t i = 0; run->d->bytes && i < B * T; i++) run->bytes += run->d->bytes[targets[i]];
    for (size_t k = 0; grow && k < s->m->count; k++) free(grow[k]);
    free(grow), free(inputs), free(targets);
    return finite;
}

static void run_loop(Run *run) {
    State *s = &run->s;
    const Options *o = s->o;
    const size_t end = o->stop < o->steps ? o->stop : o->steps;
    double shown = 0;
    run->first = s->step, run->start = seconds();
    if (s->step && s->step % o->every == 0 && s->step < end) run_milestone(run);    /* or stopped in it */
    while (s->step < end && !interrupted) {
        if (!run_step(run)) run_not_finite(run);
        if (o->trace && s->step == run->first + 1) run_trace(run);
        const double bits =
            run->bytes > 0 ? run->loss * tokens_per_step(o) / run->bytes / NATS_PER_BIT : 0;
        if (run->log)
            fprintf(run->log, "%zu,%.9g,%.6g,%.6g,%.6g,%.4f\n", s->step, run->loss, bits, run->lr, run->norm,
                    run->took[run->n - 1]);
        if (run->log && fflush(run->log)) {
            run_save(run, run->out);
            die("%s: cannot write: %s; the checkpoint is written", o->log, strerror(errno));
        }
        if (!o->quiet && (run->terminal ? seconds() - shown > 0.2 : s->step % 10 == 0 || s->step == end))
            run_progress(run, bits), shown = seconds();
        if (s->step % o->every == 0 && s->step < end) run_milestone(run);
    }
}

/* Opens the CSV log. A resumed run goes on after the line of its step: later ones, of a run that was killed,
 * go. */
static FILE *log_open(const char *path, size_t step) {
    static const char head[] = "step,loss,bits_per_byte,lr,grad_norm,seconds\n";
    if (!path) return NULL;
    struct stat st;
    const Bytes old = !stat(path, &st) && S_ISREG(st.st_mode) ? file_read(path) : (Bytes){0};
    size_t at = old.n >= strlen(head) && !memcmp(old.p, head, strlen(head)) ? strlen(head) : 0;
    if (old.n && !at) die("%s: line 1: expected %.*s, found another", path, (int)strlen(head) - 1, head);
    Out out = out_open(path);
    while (at < old.n && old.p[at] >= '0' && old.p[at] <= '9' && memchr(old.p + at, '\n', old.n - at) &&
           strtoull((const char *)old.p + at, NULL, 10) <= step)
        at = (size_t)((const uint8_t *)memchr(old.p + at, '\n', old.n - at) - old.p) + 1;
    if (at) out_bytes(&out, old.p, at);
    else out_bytes(&out, head, strlen(head));
    out_done(&out);
    FILE *f = fopen(path, "a");
    if (!f) die("%s: cannot write: %s", path, strerror(errno));
    return f;
}

/* Dies if a run would begin over another's files. */
static void run_check(const Run *run, const Options *o) {
    const char *output[3] = {run->out, run->best, o->log};
    struct stat st;
    for (int k = 0; k < 3; k++) {
        const bool own = o->resume && (k == 2 || !strcmp(run->out, o->resume));
        if (output[k] && !own && !stat(output[k], &st) && S_ISREG(st.st_mode))
            die("%s: exists already: --resume it, or name another file", output[k]);
    }
    output_check(run->out, o, NULL), output_check(run->best, o, o->resume);
    outputs_check(o, run->out, run->best);
}

static void run_describe(const Run *run, double need) {
    const GptConfig *c = &run->s.m->c;
    printf("%zu layers x %zu, %zu heads, vocabulary %zu, context %zu: %.2f M parameters\n", c->L, c->C, c->NH,
           c->V, c->ctx, (double)parameters(run->s.m, false) / 1e6);
    if (masks_wanted(run->s.o) || parameters(run->s.m, true) < parameters(run->s.m, false))
        printf("the four matrices of each layer %.4g %% dense now, in blocks of %s: %.2f M parameters "
               "active; masks %s, %s; learning rate %.4g\n",
               100 * masks_density(run->s.o, run->s.m, true), run->s.o->block,
               (double)parameters(run->s.m, true) / 1e6, run->s.o->mask, run->s.o->update, run->s.o->lr);
    printf("%zu training and %zu validation tokens; batch %zu x %zu, %zu sequences at a time; %.2f GiB of "
           "memory\n",
           run->d->train.n, run->d->val.n, run->s.o->batch, run->s.o->context, run->r->B, need / 0x1p30);
    if (run->r->machine) {
        const DfPlan *plan = run->r->machine->plan;
        printf("dataflow in %zu sections on %zu tiles of %zu KiB; ", plan->sections, plan->chip.tiles,
               plan->chip.sram / 1024);
    }
    printf("%zu threads, %.0f GFLOP/s at most; checkpoint %s\n", run->s.o->threads, run->peak / 1e9,
           run->out);
}

/* The end of a run: the whole validation text, the summary and the results as JSON. */
static void run_finish(Run *run) {
    const Options *o = run->s.o;
    Score val = run_milestone(run);
    if (run->s.step == o->steps && val.tokens + 1 < run->d->val.n && !interrupted) {
        val = evaluate(run->r, run->d, 0, NULL);
        if (!interrupted && !o->quiet) score_print("all of the validation text:", &val, run->d->floor);
    }
    const double step = stats_median(run->took, run->n);
    if (!o->quiet && step > 0)
        printf("%.0f tokens/s, %.1f ms a step, %.0f %% of peak, %.2f GiB of memory at most\n",
               tokens_per_step(o) / step, 1000 * step, 100 * share_of_peak(run, step),
               (double)peak_memory() / 0x1p30);
    if (!o->quiet && run->scoring > 0)
        printf("%.1f s of it in steps with dense gradients, to score the masks\n", run->scoring);
    if (o->json && !interrupted) run_json(run, &val, step);
}

/* Bytes that a run takes while it trains, the model at that density; its data come on top. */
static double run_bytes(const Options *o, const GptConfig *c, double density) {
    return model_bytes(c, density) + (double)schedule_bytes(o) +
           (double)gpt_run_bytes(c, group_size(o, c, o->batch, true), o->context, o->panel / LINE, o->threads,
                                 true);
}
static double data_bytes(const Data *d) {                   /* of tokens in memory; shards are mapped */
    return (double)(tokens_bytes(&d->train) + tokens_bytes(&d->val));
}
/* Gives a state its activations, and its chip if the schedule wants one. */
static void run_open(Run *run, DfPool *pool) {
    const Options *o = run->s.o;
    run->r = gpt_run_new(run->s.m, pool, group_size(o, &run->s.m->c, o->batch, true), o->context, o->panel,
                         true);
    schedule_set(run->r, o);
}
static void run_close(Run *run) {
    free(run->took), run->took = NULL, run->n = run->cap = 0;
    gpt_run_free(run->r), gpt_free(run->s.m);
}

static int cmd_run(int argc, char **argv) {
    Options *o = options_read(argc, argv, RUN, NULL);
    Data d = {0};
    Run run = {.out = o->resume && !option_given(o, "out") ? o->resume : o->out, .d = &d};
    if (snprintf(run.best, sizeof run.best, "%s.best", run.out) >= PATH_MAX - 32)
        die("%.60s...: expected a shorter path", run.out);
    if (o->trace && parse_schedule(o) != DATAFLOW) usage("--trace needs --schedule dataflow");
    run_check(&run, o);
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    run.s = o->resume ? state_resume(o, &d) : state_new(o, &d);
    if (o->resume && !strcmp(run.out, o->resume)) run.saved = run.out;
    else run.s.best = INFINITY;
    o = run.s.o;
    const double need = run_bytes(o, &run.s.m->c, masks_density(o, run.s.m, true)) + data_bytes(&d);
    mem_check(need, "the run (try --group 1, a smaller --panel or model)");
    DfPool *pool = df_begin(o->threads);
    run.peak = o->quiet && !o->json ? 0 : peak_flops(pool), run.terminal = !o->quiet && isatty(1);
    run.log = log_open(o->log, run.s.step);
    run_open(&run, pool);
    if (o->trace) run.r->machine->event = mem_new(run.r->machine->plan->sections, sizeof(DfEvent *));
    if (!o->quiet) run_describe(&run, need);
    if (o->show_mask) masks_show(run.s.m);
    if (!run.saved) run_save(&run, run.out);                /* now, if it cannot be done */
    run_loop(&run);
    if (interrupted) run_save(&run, run.out);
    else run_finish(&run);
    const bool early = interrupted;
    if (early)
        printf("%sinterrupted at step %zu; go on with: ./train run --resume %s%s\n", run.terminal ? "\n" : "",
               run.s.step, run.out, o->text.n || o->tokens.n ? " and the same text" : "");
    if (run.log && fclose(run.log)) die("%s: cannot write: %s", o->log, strerror(errno));
    run_close(&run), tok_free(run.s.tok), data_free(&d), df_end(pool);
    return early ? 3 : 0;
}

/* Writes to f what the model adds to the prompt, as it comes: at most n tokens, until <|endoftext|>. */
static void sample(FILE *f, const State *s, DfPool *pool, const char *prompt, size_t n,
                   const GptChoice *how, uint64_t seed) {
    const size_t ctx = s->m->c.ctx, bytes = strlen(prompt);
    GptRun *r = gpt_run_new(s->m, pool, 1, ctx, 64, false);
    int32_t *window = mem_new(ctx + bytes + 2, sizeof *window);
    size_t have = 0, done = 0;
    window[have++] = (int32_t)s->tok->eot;
    have += tok_encode(s->tok, (const uint8_t *)prompt, bytes, (uint32_t *)window + have);
    for (size_t k = 0; k < n; k++) {
        if (have > ctx) {                                   /* past the context: on from the last half */
            const size_t keep = (ctx + 1) / 2;
            memmove(window, window + have - keep, keep * sizeof *window);
            have = keep, done = 0;
        }
        const float *logits = gpt_next(r, window, have, done);
        done = have;
        const uint32_t id = gpt_choose(logits, s->m->c.V, how, rng_f64(rng_key(seed, "sample"), k));
        if (id == s->tok->eot) break;
        size_t len;
        const uint8_t *text = tok_bytes(s->tok, id, &len);
        fwrite(text, 1, len, f);
        fflush(f);
        window[have++] = (int32_t)id;
    }
    gpt_run_free(r), free(window);
}

/* ---- compare: many runs by turns ---------------------------------------------------------------------- */

enum { STILL = 8 };                 /* medians that a step counts at most: beyond, the process stood still */

typedef struct {                    /* an arm under a seed */
    char name[ARM_NAME + 16];
    Options o;
    Run run;                        /* once it is open */
    RunStep *step;
    CmpRun kept;                    /* what the folder has of it */
    CmpPoint now;                   /* what the steps so far have cost */
    bool quiet;                     /* o is quiet always: what a run says of itself would not say which */
} ArmRun;

static const char *arm_path(const ArmRun *a, const char *kind, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%s-%zu.%s", a->o.dir, a->name, a->o.seed, kind);
    return out;
}

/* What the folder has of the run already: its curve, if there is a checkpoint. Dies if that was made under
 * other options than those that are asked for. Scores without a checkpoint are of a run that is gone. */
static void arm_look(ArmRun *a, uint64_t hash) {
    char path[PATH_MAX], room[64];
    if (access(arm_path(a, "ckpt", path), F_OK)) { unlink(arm_path(a, "scores", path)); return; }
    Safetensors st = st_read(path);
    for (int k = 0; k < OPTIONS; k++) {
        if (!options[k].decides) continue;
        const char *here = meta_need(&st, path, options[k].name), *asked = option_text(&a->o, k, room);
        if (strcmp(here, asked))
            die("%s: --%s: expected %s, found %s: another comparison is in that folder", path,
                options[k].name, asked, here);
    }
    if (strtoull(meta_need(&st, path, "data_hash"), NULL, 16) != hash)
        die("%s: expected a run on this text, found one on another", path);
    const size_t step = meta_size(&st, path, "step", 0, a->o.steps);
    st_free(&st);
    a->kept.curve = cmp_curve_read(arm_path(a, "csv", path), step);
    if (!a->kept.curve.n || cmp_end(&a->kept.curve)->step != step)
        die("%s: expected a line of step %zu, at which its checkpoint is, found none", path, step);
    a->now = *cmp_end(&a->kept.curve);
}
static bool arm_done(const ArmRun *a) {
    const CmpCurve *c = &a->kept.curve;
    return c->n && !isnan(cmp_end(c)->loss) && (cmp_end(c)->step == a->o.steps || isinf(cmp_end(c)->loss));
}
static void arm_open(ArmRun *a, const Data *d, Tokenizer *tok, DfPool *pool) {
    char path[PATH_MAX];
    a->run.d = d;
    if (access(arm_path(a, "ckpt", path), F_OK)) a->run.s = state_fresh(&a->o, d, tok);
    else {
        a->run.s = checkpoint_read(path, &a->o, true);
        tok_free(a->run.s.tok), free(a->run.s.o);
        a->run.s.tok = tok, a->run.s.o = &a->o;
    }
    run_open(&a->run, pool);
}

/* Saves the run, with its validation loss unless that was interrupted; infinite if it has diverged. */
static void arm_milestone(ArmRun *a, bool diverged) {
    char path[PATH_MAX];
    Run *run = &a->run;
    CmpCurve *c = &a->kept.curve;
    const Score val = interrupted || diverged ? (Score){0} : evaluate(run->r, run->d, a->o.val_tokens, NULL);
    diverged |= !interrupted && !isfinite(val.nats);
    CmpPoint p = a->now;
    p.step = run->s.step, p.tokens = (double)p.step * tokens_per_step(&a->o);
    const double step = stats_median(run->took, run->n);
    if (run->n) p.step_ms = 1000 * step;
    for (; run->n; run->n--) p.seconds += fmin(run->took[run->n - 1], STILL * step);
    a->now = p;
    p.loss = diverged ? INFINITY : interrupted ? NAN : val.nats / (double)val.tokens;
    p.bits = diverged ? INFINITY : interrupted ? NAN : score_bits(&val);
    cmp_add(c, p);
    cmp_curve_write(c, arm_path(a, "csv", path));           /* first: a line too many is passed over */
    run_save(run, arm_path(a, "ckpt", path));
    if (arm_done(a)) cmp_join(c), cmp_curve_write(c, arm_path(a, "csv", path));
    if (!a->quiet && !interrupted)
        printf("%sseed %zu  %-8s  step %zu/%zu  loss %.4f  %.4f %s  %.1f ms a step\n",
               isatty(1) ? "\r\033[K" : "", a->o.seed, a->name, p.step, a->o.steps, p.loss, cmp_bits(&p),
               score_unit(&val), p.step_ms);
    fflush(stdout);
}

/* Trains for a hundredth of the schedule. */
static void arm_turn(ArmRun *a) {
    Run *run = &a->run;
    const size_t last = run->s.step + a->o.steps / 100 + 1, end = last < a->o.steps ? last : a->o.steps;
    while (!interrupted) {
        const CmpCurve *c = &a->kept.curve;
        const size_t step = run->s.step;
        size_t n = c->n;
        while (n && isnan(c->point[n - 1].loss)) n--;       /* where it stopped, it may have been judged */
        const size_t done = n ? c->point[n - 1].step : 0;
        if (step > done && (step % a->o.every == 0 || step == a->o.steps)) arm_milestone(a, false);
        if (step >= end || interrupted || arm_done(a)) break;
        if (!a->step(run)) { arm_milestone(a, true); break; }
        a->now.flops += run->flops, a->now.train += run->loss;
    }
}

/* Trains n runs by turns, always the one that is furthest behind, so that what else the machine does slows
 * all of them alike. */
static void arms_train(ArmRun *a, size_t n, const Data *d, Tokenizer *tok, DfPool *pool) {
    const double start = seconds();
    double from = NAN;
    for (size_t k = 0; k < n; k++) if (!arm_done(&a[k])) arm_open(&a[k], d, tok, pool);
    while (!interrupted) {
        ArmRun *next = NULL;
        double least = 1;
        for (size_t k = 0; k < n; k++) {
            if (arm_done(&a[k])) continue;
            const double share = (double)a[k].run.s.step / (double)a[k].o.steps;
            if (!next || share < least) next = &a[k], least = share;
        }
        if (!next) break;
        if (isnan(from)) from = least;
        if (!next->quiet && isatty(1) && least > from) {
            const double left = (seconds() - start) * (1 - least) / (least - from);
            printf("\r\033[Kseed %zu: %.0f %%, %.0f:%02.0f left", next->o.seed, 100 * least, floor(left / 60),
                   floor(fmod(left, 60)));
            fflush(stdout);
        }
        arm_turn(next);
    }
    for (size_t k = 0; k < n; k++) {
        if (!a[k].run.r) continue;
        if (interrupted && !arm_done(&a[k])) arm_milestone(&a[k], false);
        run_close(&a[k].run), a[k].run.r = NULL;
    }
}

/* What a finished run is worth: as in the folder, or worked out and put there. */
static void arm_scores(ArmRun *a, const Data *d, DfPool *pool) {
    char path[PATH_MAX];
    CmpRun *kept = &a->kept;
    kept->o = &a->o, cmp_join(&kept->curve);                /* it may have been killed before it did that */
    bool diverged = isinf(cmp_end(&kept->curve)->loss);
    if (!diverged && !cmp_scores_read(kept, arm_path(a, "scores", path), d->bytes ? a->o.items : 0)) {
        State s = checkpoint_read(arm_path(a, "ckpt", path), &a->o, false);
        kept->m = measure(&s, a->name, pool, d, a->o.context);
        kept->parameters = (double)parameters(s.m, false), kept->active = (double)parameters(s.m, true);
        diverged = !isfinite(kept->m.val.nats);
        if (diverged) measures_free(&kept->m);
        else if (!interrupted) {                            /* and read back: the same figures next time */
            cmp_scores_write(kept, arm_path(a, "scores", path)), measures_free(&kept->m);
            cmp_scores_read(kept, path, d->bytes ? a->o.items : 0);
        }
        gpt_free(s.m), tok_free(s.tok), free(s.o);
    }
    if (diverged) kept->m = (Measures){.val = {INFINITY, 0, 1}}, kept->parameters = kept->active = NAN;
    if (!a->quiet && !interrupted)
        printf("seed %zu  %-8s  loss %.4f, %.4f %s on all of the validation text\n", a->o.seed, a->name,
               kept->m.val.nats / (double)kept->m.val.tokens, cmp_score(&kept->m.val),
               score_unit(&kept->m.val));
}

/* What there is to see of a finished run's model. */
static void arm_exhibit(ArmRun *a, DfPool *pool) {
    char path[PATH_MAX], *members = NULL, *text = NULL;
    size_t bytes = 0, n = 0;
    State s = checkpoint_read(arm_path(a, "ckpt", path), &a->o, false);
    Out out = {.f = open_memstream(&members, &bytes), .comma = true};
    if (s.tok) {
        FILE *f = open_memstream(&text, &n);
        sample(f, &s, pool, "", 200, &(GptChoice){0.8, 1, 0}, a->o.seed), fclose(f);
        exhibit_text(&out, "sample", text, n), free(text);
    }
    exhibit_masks(&out, s.m), exhibit_pipeline(&out, s.m, &a->o);
    fclose(out.f), gpt_free(s.m), tok_free(s.tok), free(s.o);
    a->kept.exhibit = members;
}

/* Trains what the folder does not have of n runs on the same data. */
static void seed_train(ArmRun *a, size_t n, const Data *d, Tokenizer *tok, DfPool *pool) {
    const uint64_t hash = data_hash(d);
    const double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double need = data_bytes(d);
    for (size_t k = 0; k < n; k++) {
        const Options *o = &a[k].o;
        const GptConfig c = {o->layers, o->heads, o->width, tok ? tok->n + 1 : GPT2_VOCAB, o->context};
        const bool sparse = masks_at_start(o) && masks_to(o) == o->steps;
        double density[4];
        mask_densities(o, o->width, density);
        const double kept = (3 * density[0] + density[1] + 4 * density[2] + 4 * density[3]) / 12;
        arm_look(&a[k], hash);
        a[k].kept.memory = run_bytes(o, &c, sparse ? kept : 1);
        if (!arm_done(&a[k])) need += a[k].kept.memory;
    }
    const bool together = need < 0.8 * have;
    if (!together)
        printf("all arms at once need %.1f GiB of memory, the machine has %.1f: they train one after the "
               "other, and their times are not of the same minutes\n",
               need / 0x1p30, have / 0x1p30);
    for (size_t k = 0; k < n && !interrupted; k += together ? n : 1)
        arms_train(a + k, together ? n : 1, d, tok, pool);
}

/* The learning rate of each arm at which it does best under a seed that no comparison uses: half, once or
 * twice the one it has. Every arm gets the same number of runs. */
static void sweep(const Options *common, const char name[][ARM_NAME], size_t n, RunStep *step, DfPool *pool,
                  double *best) {
    enum { RATES = 3, APART = 1000 };                       /* more than --seeds can be */
    Options data = *common;
    Tokenizer *tok = NULL;
    double rate = 0;
    data.seed += APART;
    Data d = data_read(&data, &tok, 0, true);
    ArmRun *grid = mem_new(n * RATES, sizeof *grid);
    for (size_t k = 0; k < n * RATES; k++) {
        ArmRun *a = &grid[k];
        const char *arm = name[k / RATES];
        a->o = arm_options(common, arm, APART, tok ? tok->n + 1 : GPT2_VOCAB);
        if (k % RATES == 0) {                               /* the rate it has by itself */
            Options ready = a->o;
            gpt_free(state_fresh(&ready, &d, tok).m), rate = ready.lr;
        }
        a->o.lr = rate * (k % RATES == 0 ? 0.5 : (double)(k % RATES));
        gpt_free(state_fresh(&a->o, &d, tok).m);
        snprintf(a->name, sizeof a->name, "%.*s@%.3g", ARM_NAME, arm, a->o.lr);
        a->quiet = common->quiet, a->o.quiet = true;
        a->step = step;
    }
    seed_train(grid, n * RATES, &d, tok, pool);
    for (size_t k = 0; k < n && !interrupted; k++) {
        size_t least = 0;
        printf("sweep  %-8s", name[k]);
        for (size_t i = 0; i < RATES; i++) {
            const ArmRun *a = &grid[k * RATES + i], *b = &grid[k * RATES + least];
            const double loss = cmp_end(&a->kept.curve)->loss;
            printf("  %.3g: %.4f", a->o.lr, loss);
            if (loss < cmp_end(&b->kept.curve)->loss) least = i;
        }
        best[k] = grid[k * RATES + least].o.lr;
        printf("  -> %.3g%s\n", best[k], least == 1 ? "" : ", at the edge: a better one may lie beyond");
    }
    free(grid), tok_free(tok), data_free(&d);
}

/* The arms of the nth seed, trained and scored, at the learning rates that are not NAN. */
static void seed_run(const Options *o, const char name[][ARM_NAME], const double *lr, size_t nth, ArmRun *a,
                     size_t n, RunStep *step, DfPool *pool) {
    Options data = *o;
    Tokenizer *tok = NULL;
    data.seed += nth;
    Data d = data_read(&data, &tok, 0, true);
    for (size_t k = 0; k < n; k++) {
        snprintf(a[k].name, sizeof a[k].name, "%.*s", ARM_NAME, name[k]);
        a[k].o = arm_options(o, name[k], nth, tok ? tok->n + 1 : GPT2_VOCAB);
        if (!isnan(lr[k])) a[k].o.lr = lr[k];
        gpt_free(state_fresh(&a[k].o, &d, tok).m);          /* works out the options that are automatic */
        a[k].quiet = o->quiet, a[k].o.quiet = true;
        a[k].step = step;
    }
    seed_train(a, n, &d, tok, pool);
    for (size_t k = 0; k < n && !interrupted; k++) arm_scores(&a[k], &d, pool);
    tok_free(tok), data_free(&d);
}

/* "./train" and the words after it as a shell takes them: in '' where one has a letter that it minds. */
static char *words_join(int argc, char **argv) {
    char *line = NULL;
    size_t n;
    FILE *f = open_memstream(&line, &n);
    fputs("./train", f);
    for (int k = 0; k < argc; k++) {
        const char *w = argv[k];
        const bool plain = *w && !strpbrk(w, " \t\n'\"\\$`&|;<>()*?[]{}~#!");
        fputs(plain ? " " : " '", f);
        for (; *w; w++) if (*w == '\'') fputs("'\\''", f); else fputc(*w, f);
        if (!plain) fputc('\'', f);
    }
    fclose(f);
    return line;
}

/* Trains, by that step, and measures what the options ask for; false if it was interrupted. */
static bool compare(const Options *o, RunStep *step, Cmp *c) {
    char (*name)[ARM_NAME] = mem_new(ARMS_MAX, sizeof *name);
    double lr[ARMS_MAX];
    const size_t n = arm_names(o, name);
    struct stat st;
    if (mkdir(o->dir, 0777) && errno != EEXIST)
        die("%s: cannot make the folder: %s", o->dir, strerror(errno));
    if (stat(o->dir, &st) || !S_ISDIR(st.st_mode)) die("%s: expected a folder, found a file", o->dir);
    for (int k = 0; k < 2; k++) {
        const char *path = k ? o->report : o->json, *end = path ? strrchr(path, '.') : NULL;
        if (end && (!strcmp(end, ".ckpt") || !strcmp(end, ".csv") || !strcmp(end, ".scores")))
            usage("%s: expected a name that is none of a run's files", path);
    }
    outputs_check(o, NULL, NULL);
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    ArmRun *all = mem_new(n * o->seeds, sizeof *all);
    DfPool *pool = df_begin(o->threads);
    for (size_t k = 0; k < n; k++) lr[k] = NAN;
    if (o->sweep) sweep(o, name, n, step, pool, lr);
    for (size_t s = 0; s < o->seeds && !interrupted; s++)
        seed_run(o, name, lr, s, all + s * n, n, step, pool);
    for (size_t k = 0; k < n && (o->json || o->report) && !interrupted; k++) arm_exhibit(&all[k], pool);
    df_end(pool);
    c->arms = n, c->seeds = o->seeds, c->margin = o->margin;
    c->name = mem_new(n, sizeof *c->name), c->run = mem_new(n * o->seeds, sizeof *c->run);
    for (size_t k = 0; k < n; k++) c->name[k] = name[k];
    for (size_t k = 0; k < n * o->seeds; k++) c->run[k] = all[k].kept;
    c->mean = mem_new(n, sizeof *c->mean);
    for (size_t k = 0; k < n && !interrupted; k++) c->mean[k] = cmp_arm(c, k);
    if (interrupted) printf("interrupted; the same command goes on\n");
    return !interrupted;
}
/* Writes the results as JSON and the page that is made of it; returns the JSON, *n bytes. */
static char *compare_write(const Cmp *c, const Options *o, size_t *n) {
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    if (!f) die("out of memory for the results");
    cmp_json(c, f), fclose(f);
    if (o->json) {
        Out out = out_open(o->json);
        out_bytes(&out, text, *n);
        out_done(&out);
    }
    if (o->report) output_check(o->report, o, o->json), html_report(text, *n, o->report);
    return text;
}

static int cmd_compare(int argc, char **argv, RunStep *step) {
    Options *o = options_read(argc, argv, COMPARE, NULL);
    Cmp c = {.command = words_join(argc, argv)};
    size_t n;
    if (!compare(o, step, &c)) return 3;
    cmp_print_arms(&c), cmp_print_verdicts(&c);
    if (o->items) cmp_print_cloze(&c);
    free(compare_write(&c, o, &n));
    return 0;
}

/* ---- eval, sample, tokenize --------------------------------------------------------------------------- */

static int cmd_eval(int argc, char **argv) {
    Options *o = options_read(argc, argv, EVAL, "a checkpoint");
    const char *const name[2] = {o->file, o->to};
    const int models = o->to ? 2 : 1;
    State s[2];
    Data d[2];
    Measures x[2];
    bool finite = true;
    outputs_check(o, NULL, NULL);
    for (int k = 0; k < models; k++) {
        s[k] = checkpoint_read(name[k], o, false);
        s[k].o->seed = option_given(o, "seed") ? o->seed : s[0].o->seed;
        s[k].o->corpus = option_given(o, "corpus") ? o->corpus : s[0].o->corpus;
        d[k] = data_read(s[k].o, &s[k].tok, s[k].m->c.V, !o->text.n && !o->tokens.n);
        if (d[k].val.n < 2) die("the text has %zu tokens; at least 2 are needed", d[k].val.n);
        if (data_hash(&d[k]) == s[k].data_hash) continue;
        tokens_free(&d[k].train);
        if (!o->text.n && !o->tokens.n)
            printf("%s: on the built-in stories, which it was not trained on; --text reads another text\n",
                   name[k]);
    }
    for (int k = 0; k < models; k++)                        /* by the token, unless both have a vocabulary */
        if (!d[0].bytes || !d[models - 1].bytes) free(d[k].bytes), d[k].bytes = NULL;
    DfPool *pool = df_begin(o->threads);
    const size_t ctx = s[0].m->c.ctx, T = models > 1 && s[1].m->c.ctx < ctx ? s[1].m->c.ctx : ctx;
    for (int k = 0; k < models; k++)
        x[k] = measure(&s[k], name[k], pool, &d[k], T), finite &= isfinite(x[k].val.nats);
    const bool paired = models > 1 && tokens_hash(&d[0].val) == tokens_hash(&d[1].val) &&
                        x[0].wanted == x[1].wanted;
    if (models > 1 && x[0].parts.n != x[1].parts.n)
        die("%s: the text is too short to compare models of other vocabularies", name[1]);
    if (models > 1) pair_print(x, o->margin, paired);
    else measures_print(x);
    if (o->json) {
        Out out = out_open(o->json);
        fputc('{', out.f);
        if (models > 1) json_pair(&out, x, o->margin, paired);
        else json_measures(&out, x);
        json_end(&out);
    }
    for (int k = 0; k < models; k++)
        measures_free(&x[k]), gpt_free(s[k].m), tok_free(s[k].tok), free(s[k].o), data_free(&d[k]);
    df_end(pool), free(o);
    return finite ? 0 : 3;
}

static int cmd_sample(int argc, char **argv) {
    Options *o = options_read(argc, argv, SAMPLE, "a checkpoint");
    State s = checkpoint_read(o->file, o, false);
    if (!s.tok) die("%s: the model has no vocabulary of its own", o->file);
    DfPool *pool = df_begin(o->threads);
    if (!o->quiet && o->prompt) fputs(o->prompt, stdout);
    sample(stdout, &s, pool, o->prompt ? o->prompt : "", o->count,
           &(GptChoice){o->temperature, o->top_p, o->top_k}, o->seed);
    putchar('\n');
    gpt_free(s.m), tok_free(s.tok), df_end(pool);
    return 0;
}

/* ids of a line of decimal numbers, as text */
static void decode(const Tokenizer *t, Bytes in) {
    for (size_t i = 0; i < in.n;) {
        if (in.p[i] <= ' ') { i++; continue; }
        uint64_t id = 0;
        const size_t from = i;
        for (; i < in.n && in.p[i] >= '0' && in.p[i] <= '9' && id <= UINT32_MAX; i++)
            id = id * 10 + (uint64_t)(in.p[i] - '0');
        if (i == from || (i < in.n && in.p[i] > ' ') || id > t->n)
            die("%s: byte %zu: expected an id 0 .. %zu, found '%.*s'", in.name, from, t->n,
                (int)(in.n - from < 12 ? in.n - from : 12), in.p + from);
        size_t len;
        const uint8_t *p = tok_bytes(t, (uint32_t)id, &len);
        fwrite(p, 1, len, stdout);
    }
}

static void write_shard(const char *path, const uint32_t *ids, size_t n, size_t V) {
    const int width = V <= 65536 ? 2 : 4;
    if (n > INT32_MAX) die("%s: a shard holds at most 2^31 - 1 tokens, found %zu", path, n);
    uint8_t header[1024] = {0}, id[4];
    Out out = out_open(path);
    put_u32(header, width == 2 ? 20240520 : 20240801), put_u32(header + 4, width == 2 ? 1 : 7);
    put_u32(header + 8, (uint32_t)n), out_bytes(&out, header, sizeof header);
    for (size_t i = 0; i < n; i++) put_u32(id, ids[i]), out_bytes(&out, id, (size_t)width);
    out_done(&out);
}

static int cmd_tokenize(int argc, char **argv) {
    Options *o = options_read(argc, argv, TOKENIZE, NULL);
    outputs_check(o, NULL, NULL);
    const size_t size = vocab_number(o->vocab);
    if (!size && o->text.n) usage("tokenize: --text is for training a vocabulary, --vocab names a file");
    if (o->decode && (size || o->shard)) usage("tokenize: --decode needs --vocab FILE and no --shard");
    Bytes in = file_slurp(stdin, "standard input");
    Tokenizer *t;
    if (size) {
        Documents docs = {0};
        TokTrainer trainer = tok_trainer();
        for (size_t k = 0; k < o->text.n; k++) documents_read(&docs, o->text.item[k], false);
        if (!o->text.n) documents_add(&docs, in.p, in.n, false);
        for (size_t k = 0; k < docs.n; k++) tok_trainer_add(&trainer, docs.doc[k].p, docs.doc[k].n);
        t = tok_trainer_finish(&trainer, size);
        documents_free(&docs);
    } else t = tok_load(o->vocab);
    if (o->save) {
        uint8_t *bytes;
        const size_t n = tok_save(t, &bytes);
        Out out = out_open(o->save);
        out_bytes(&out, bytes, n);
        out_done(&out);
        free(bytes);
    }
    if (o->decode) decode(t, in);
    else {
        uint32_t *ids = mem_new(in.n + 1, sizeof *ids);
        const size_t n = tok_encode(t, in.p, in.n, ids);
        if (o->shard) write_shard(o->shard, ids, n, t->n + 1);
        else {
            for (size_t i = 0; i < n; i++) printf(i ? " %u" : "%u", ids[i]);
            putchar('\n');
        }
        free(ids);
    }
    tok_free(t), file_free(&in);
    return 0;
}

/* ---- verify, dump, convert ---------------------------------------------------------------------------- */

static int cmd_verify(int argc, char **argv) {
    Options *o = options_read(argc, argv, VERIFY, "a dump");
    outputs_check(o, NULL, NULL);
    State s = {0};
    if (o->init) s = checkpoint_read(o->init, o, false);
    DfPool *pool = df_begin(o->threads);
    Dump d = dump_open(o->file, s.m);
    if (s.m) gpt_free(s.m), tok_free(s.tok), free(s.o);
    const bool right = verify_print(&d, pool, isnan(o->tolerance) ? 0 : o->tolerance);
    if (o->json) verify_json(&d, o->json);
    dump_close(&d), df_end(pool), free(o);
    return right ? 0 : 1;
}

static int cmd_dump(int argc, char **argv) {
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

static int cmd_convert(int argc, char **argv) {
    Options *o = options_read(argc, argv, CONVERT, "a model and where to write it");
    const ModelKind to = model_kind_for(o->to, o->format);
    output_check(o->to, o, NULL);
    ModelFile f = model_open(o->file);
    const ModelKind from = f.kind;
    bool masks = false;
    for (size_t k = 0; f.mask && k < gpt_count(&f.c); k++) masks |= f.mask[k] != NULL;
    model_close(&f);
    State s = checkpoint_read(o->file, o, to == MODEL_NATIVE);
    for (size_t k = 0; k < s.m->count; k++) masks |= gpt_masked(&s.m->table[k]);
    if (to == MODEL_HF) hf_write(o->to, s.m, s.tok);
    else if (to == MODEL_LLMC) llmc_write(o->to, s.m);
    else write_checked(checkpoint_write(&s, o->to), o->to);
    const bool run = from == MODEL_NATIVE && to != from, vocab = s.tok && to == MODEL_LLMC;
    printf("%s (%s) -> %s (%s); dropped:%s%s%s%s\n", o->file, model_kinds[from], o->to, model_kinds[to],
           run ? " [settings of the run, AdamW's moments]" : "", vocab ? " [vocabulary]" : "",
           masks && to == MODEL_LLMC ? " [masks, whose zeros stay]" : "",
           run || vocab || (masks && to == MODEL_LLMC) ? "" : " nothing");
    gpt_free(s.m), tok_free(s.tok), free(s.o), free(o);
    return 0;
}

/* ---- help, the demonstration, main -------------------------------------------------------------------- */

static int cmd_help(int argc, char **argv);
/* Those that train get the training step, for they live on a lower floor than it. */
static int train_compare(int argc, char **argv) { return cmd_compare(argc, argv, run_step); }

static const struct { const char *name; int bit; int (*run)(int, char **); const char *help;
} commands[] = {
    {"run", RUN, cmd_run, "train a model"},
    {"compare", COMPARE, train_compare, "dense against sparse arms: quality, time, and how sure that is"},
    {"eval", EVAL, cmd_eval, "CKPT [CKPT]: all that is measured on a text; of two, which is the better one"},
    {"sample", SAMPLE, cmd_sample, "CKPT: text from a model"},
    {"tokenize", TOKENIZE, cmd_tokenize, "standard input to ids, and back"},
    {"verify", VERIFY, cmd_verify, "DUMP: another program's numbers, or an llm.c debug state, by tensor"},
    {"dump", DUMP, cmd_dump, "OUT: a model, a batch and what must come of them, for others to check"},
    {"convert", CONVERT, cmd_convert, "IN OUT: between checkpoints, Hugging Face's and llm.c's models"},
    {"simulate", SIMULATE, cmd_simulate,
     "a training step on a described chip: sections, traffic, cycles; no data"},
    {"bench", BENCH, cmd_bench, "kernels and whole steps against this machine's own peak"},
    {"help", 0, cmd_help, "[COMMAND]: this text"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int command_find(const char *name) {
    int k = 0;
    while (k < COMMANDS && strcmp(name, commands[k].name)) k++;
    if (k == COMMANDS) usage("unknown command '%s'", name);
    return k;
}
/* What there is, or only the command argv[1]. */
static int cmd_help(int argc, char **argv) {
    const int only = argc > 1 ? command_find(argv[1]) : COMMANDS;
    if (only == COMMANDS)
        printf("./train            a demonstration: a dense and a sparse GPT on stories, compared\n");
    for (int k = 0; k < COMMANDS; k++) {
        if (only != COMMANDS && only != k) continue;
        printf("./train %-10s %s\n", commands[k].name, commands[k].help);
        for (int i = 0; i < OPTIONS && commands[k].bit; i++)
            if (options[i].commands & commands[k].bit && options[i].commands != ANY)
                printf("    --%-13s %s%s%s%s\n", options[i].name, options[i].help,
                       options[i].preset[0] ? " [" : "", options[i].preset, options[i].preset[0] ? "]" : "");
    }
    printf("every command: --threads N, by default the physical cores; --help, this about it\n");
    return 0;
}

static void demo_line(const char *what, int digits, double dense, double sparse) {
    printf("%-42s %10.*f %10.*f\n", what, digits, dense, digits, sparse);
}
/* What came of it; all: the same as JSON. */
static void demo_print(const Cmp *c, Json all) {
    const CmpArm d = c->mean[0], s = c->mean[1];
    const StatsInterval diff = cmp_difference(c, 1, 0, CMP_TOKENS);
    char key[2][64], what[64];
    printf("\n%-42s %10s %10s\n", "", "dense", "sparse");
    demo_line("numbers kept, million", 2, c->run[0].active / 1e6, c->run[1].active / 1e6);
    demo_line("loss on stories never seen, bits/byte", 4, d.bits, s.bits);
    demo_line("  95 % interval, +-", 4, (d.hi - d.lo) / 2, (s.hi - s.lo) / 2);
    demo_line("  above the floor that no model can beat", 4, d.bits - d.floor, s.bits - s.floor);
    for (int kind = 0; kind < CLOZE_KINDS; kind++) {
        const CmpCloze x = cmp_cloze(c, 1, 0, kind);
        snprintf(what, sizeof what, "%s, %% right (by chance %.0f)", cloze_kinds[kind], 100 * x.chance);
        for (char *p = what; *p; p++) if (*p == '_') *p = ' ';
        if (x.items) demo_line(what, 1, 100 * x.b, 100 * x.a);
    }
    demo_line("a training step, ms", 1, d.step_ms, s.step_ms);
    demo_line("all of the training, s", 1, d.seconds, s.seconds);
    for (int k = 0; k < 2; k++) {
        for (int arm = 0; arm < 2; arm++)
            snprintf(key[arm], sizeof key[arm], "arms/%d/pipeline/%s/bytes_per_token", arm,
                     k ? "dataflow" : "kernel");
        demo_line(k ? "  streamed through the chip" : "off chip by stages, KB/token (simulated)", 1,
                  json_real(json_at(all, key[0])) / 1e3, json_real(json_at(all, key[1])) / 1e3);
    }
    printf("\nsparse less dense: %+.4f bits/byte, 95 %% interval %+.4f .. %+.4f, margin %g: %s\n"
           "a step of sparse is %.2fx as fast", diff.diff, diff.lo, diff.hi, c->margin,
           stats_verdict(diff, c->margin), d.step_ms / s.step_ms);
    if (isnan(s.to_first[CMP_TIME])) printf("\n");
    else printf("; it came to dense's loss in %.2f of the time\n", s.to_first[CMP_TIME]);
    for (int arm = 0; arm < 2; arm++) {
        snprintf(key[0], sizeof key[0], "arms/%d/sample", arm);
        char *text = html_raw(json_at(all, key[0]));
        printf("\n%s:\n\n%s\n", c->name[arm], text), free(text);
    }
}

/* Trains a dense and a sparse model on the built-in stories, through the dataflow schedule. A third wider
 * and at 5 times the learning rate, the sparse one is as good as the other with a third of its numbers. */
static int cmd_demo(int argc, char **argv, RunStep *step) {
    static const char line[] =
        "compare --arms dense,sparse --layers 3 --heads 3 --width 192 --vocab 512 --context 128 --batch 16 "
        "--corpus 4000000 --steps 450 --every 45 --val-tokens 8192 --items 1000 --arm dense:lr=0.003 "
        "sparse:width=256,heads=4,lr=0.016 --schedule dataflow --out sparseflow-demo "
        "--json sparseflow-demo/results.json --report sparseflow-demo/report.html";
    char *word[64], *words = text_copy(line);
    size_t n = 0;
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) word[n++] = w;
    Cmp c = {.command = words_join((int)n, word)};
    Options *o = options_read((int)n, word, COMPARE, NULL);
    for (int k = 0; k < 2; k++) {
        const char *file = k ? o->json : o->report;
        if (!access(file, F_OK) && access("sparseflow-demo/dense-1.ckpt", F_OK))
            die("%s: is not of the demonstration, which would write over it", file);
    }
    printf("Two GPTs learn to tell stories, by turns: a dense one, and one that is a third wider, but of\n"
           "whose weights seven in eight do not exist. Two to three minutes on two cores. All files are in\n"
           "sparseflow-demo/; if it is interrupted, the same command goes on.\n\n");
    mkdir(o->dir, 0777);                                    /* if it cannot be, compare says so */
    if (!compare(o, step, &c)) return 3;
    char *json = compare_write(&c, o, &n);
    demo_print(&c, json_open((const uint8_t *)json, n, o->json));
    printf("\nThe whole comparison as a page: %s. Next:\n\n"
           "    %s sample sparseflow-demo/sparse-1.ckpt --prompt \"One day\"\n"
           "    %s run --text input.txt --out my.ckpt --sparsity 0.875\n"
           "    %s compare --text input.txt --arms dense,sparse --out mine --report mine.html\n",
           o->report, argv[0], argv[0], argv[0]);
    (void)argc, free(json), free(o);
    return 0;
}

int main(int argc, char **argv) {
    const char *last = argc == 2 || argc == 3 ? argv[argc - 1] : "";        /* --help, or COMMAND --help */
    int status;
    signal(SIGXFSZ, SIG_IGN), signal(SIGPIPE, SIG_IGN);     /* errors of fwrite, not ends of the program */
    if (!strcmp(last, "--help") || !strcmp(last, "-h")) status = cmd_help(argc - 1, argv);
    else status = argc > 1 ? commands[command_find(argv[1])].run(argc - 1, argv + 1) : cmd_demo(argc, argv, run_step);
    if (fflush(stdout) || ferror(stdout)) die("standard output: cannot write: %s", strerror(errno));
    return status;
}
