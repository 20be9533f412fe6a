/* train.c: the program. Commands, checkpoints and the training loop; the options are in data/options.h.
 *
 *     ./train                               a demonstration, no files needed
 *     ./train run --text FILE --out M       text -> vocabulary -> random weights -> trained GPT
 *     ./train run --resume M                goes on, bit for bit
 *     ./train sample M --prompt TEXT        the model continues the text
 *     ./train help                          every command and option
 *
 * It refuses to guess: an option that a command does not take, a number out of range or a file that is not
 * what it should be ends in one line and status 2. Status 1: a check failed. Status 3: stopped early.
 *
 * An option either decides the result (model, data, optimizer, seed) and is stored in the checkpoint, or says
 * how to run (threads, files) and is not; --resume takes only the second kind. */
#include "gpt.h"
#include "data/bench.h"
#include "data/checkpoint.h"
#include "data/measure.h"
#include "data/report.h"
#include "data/masks.h"
#include "data/options.h"
#include "data/verify.h"
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

static void config_check(const GptConfig *c, const char *where) {
    if (c->C % c->NH) usage("%s--heads: expected a divisor of the width %zu, found %zu", where, c->C, c->NH);
    if (c->V > (1u << 26) || c->C * c->L > (1u << 26) || c->ctx > (1u << 26))
        usage("%sa model of %zu layers x %zu, vocabulary %zu, is beyond this program", where, c->L, c->C,
              c->V);
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
    const char *format = st_meta(&st, "format");
    if (!format || strcmp(format, "sparseflow-checkpoint"))
        die("%s: metadata 'format': expected 'sparseflow-checkpoint', found '%s'", path,
            format ? format : "none");
    meta_size(&st, path, "version", 1, 1);
    *s.o = *o;
    options_from_meta(&st, path, s.o);
    s.step = meta_size(&st, path, "step", 0, s.o->steps);
    s.data_hash = strtoull(meta_need(&st, path, "data_hash"), NULL, 16);
    if (st_meta(&st, "best_val_loss")) s.best = meta_positive(&st, path, "best_val_loss");
    const GptConfig c = {s.o->layers, s.o->heads, s.o->width, meta_size(&st, path, "vocab_size", 2, 1u << 26),
                         s.o->context};
    char where[PATH_MAX + 16];
    snprintf(where, sizeof where, "%s: ", path);
    config_check(&c, where);
    s.m = checkpoint_load(&st, path, c, s.step, train);
    s.tok = checkpoint_vocabulary(&st, path, c.V);
    if (train) masks_ready(s.o, s.m);
    model_close(&model);
    return s;
}

/* ---- data --------------------------------------------------------------------------------------------- */

/* A whole number of tokens to train, or 0 if the argument is a file. */
static size_t vocab_number(const char *vocab) {
    char *end;
    if (vocab[strspn(vocab, "0123456789")]) return 0;
    const unsigned long long n = strtoull(vocab, &end, 10);
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

/* ---- run: training ------------------------------------------------------------------------------------ */

static double learning_rate(const Options *o, size_t step) { /* of step 0 .. steps-1: linear, then a cosine */
    if (step < o->warmup) return o->lr * (double)(step + 1) / (double)o->warmup;
    const double part = (double)(step - o->warmup) / fmax(1, (double)(o->steps - o->warmup));
    return o->min_lr + 0.5 * (1 + det_cos(part / 2)) * (o->lr - o->min_lr);
}

/* dN, gpt2: layers, heads and width, where they are not given. */
static void model_shape(Options *o) {
    const char *digits = o->model + 1;
    size_t n = 0;
    if (!strcmp(o->model, "gpt2")) n = 12;
    if (!strcmp(o->model, "gpt-13b")) {                     /* 40 layers x 5120, 40 heads: GPT-3's shape */
        if (o->layers == AUTO) o->layers = 40;
        if (o->heads == AUTO && o->width == AUTO) o->heads = 40;
        if (o->width == AUTO) o->width = 5120;
        n = 40;
    }
    else if (o->model[0] == 'd' && strlen(digits) <= 3 && !digits[strspn(digits, "0123456789")])
        n = (size_t)atoi(digits);
    if (!n) usage("--model: expected dN, gpt2 or gpt-13b, found '%s'", o->model);
    if (o->layers == AUTO) o->layers = n;
    if (o->heads == AUTO) o->heads = o->width == AUTO ? n : o->width % 64 ? 1 : o->width / 64;
    if (o->width == AUTO) o->width = 64 * n;
    if (o->width % o->heads)
        usage("--heads: expected a divisor of the width %zu, found %zu", o->width, o->heads);
}

static State state_new(Options *o, Data *d) {
    State s = {.o = o, .best = INFINITY};
    masks_check(o);
    if (o->init) {
        for (size_t k = 0; k < 4; k++) {
            static const char *const fixed[4] = {"model", "layers", "heads", "width"};
            if (option_given(o, fixed[k])) usage("--init and --%s contradict each other", fixed[k]);
        }
        if (option_given(o, "vocab") || option_given(o, "context"))
            usage("--init brings its own --vocab and --context");
        Options *mine = mem_new(1, sizeof *mine);
        *mine = *o;
        State from = checkpoint_read(o->init, o, true);
        s.m = from.m, s.tok = from.tok;
        mine->layers = s.m->c.L, mine->heads = s.m->c.NH, mine->width = s.m->c.C, mine->context = s.m->c.ctx;
        free(from.o), s.o = mine;
        *d = data_read(mine, &s.tok, s.m->c.V, true);
        data_check(mine, d);
        if (masks_at_start(mine)) {
            SpMat *mats = masks_new(mine, &s.m->c, s.m);
            Gpt *masked = gpt_remask(s.m, mats, 0, true);
            free(mats), gpt_free(s.m);
            s.m = masked;
        }
        memset(s.m->m, 0, s.m->floats * sizeof(float)), memset(s.m->v, 0, s.m->floats * sizeof(float));
        for (size_t k = 0; k < s.m->count; k++) free(s.m->table[k].born), s.m->table[k].born = NULL;
    } else {
        model_shape(o);
        *d = data_read(o, &s.tok, 0, true);
        data_check(o, d);
        const size_t V = s.tok ? s.tok->n + 1 : GPT2_VOCAB;
        const GptConfig c = {o->layers, o->heads, o->width, V, o->context};
        config_check(&c, "");
        const double density = masks_at_start(o) ? 1 - o->sparsity : 1,
                     linear = 12 * (double)c.L * (double)c.C * (double)c.C * density;
        mem_check(16 * (linear + (double)(c.V + c.ctx) * (double)c.C), "the model");
        SpMat *mats = masks_at_start(o) ? masks_new(o, &c, NULL) : NULL;
        s.m = gpt_make(c, mats, true, true);
        free(mats);
        gpt_init(s.m, o->seed, strcmp(o->scale, "none"));
    }
    masks_ready(s.o, s.m);
    const double density = masks_density(s.o, s.m, !masks_wanted(s.o) || masks_at_start(s.o));
    if (isnan(s.o->lr)) s.o->lr = 0.002 / (sqrt(density) * sqrt(sqrt(density)));
    if (s.o->warmup == AUTO) s.o->warmup = s.o->steps * 3 / 100;
    if (isnan(s.o->min_lr)) s.o->min_lr = s.o->lr / 10;
    if (s.o->warmup > s.o->steps)
        usage("--warmup: expected at most the %zu steps, found %zu", s.o->steps, s.o->warmup);
    if (s.o->min_lr > s.o->lr) usage("--min-lr: expected at most --lr %g, found %g", s.o->lr, s.o->min_lr);
    s.data_hash = data_hash(d);
    return s;
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
    if (data_hash(d) != s.data_hash)
        die("%s: expected the text it was trained on (give the same --text or --tokens and --val), found "
            "another",
            o->resume);
    return s;
}

typedef struct {                    /* a run under way */
    State s;
    Data d;
    GptRun *r;
    const char *out, *saved;        /* the checkpoint's path; that again once it has been written */
    char best[PATH_MAX];
    FILE *log;
    bool terminal;                  /* progress on one line */
    double start, peak, loss;       /* seconds at its start; FLOP/s at most; of the last step */
    double scoring, *took;          /* seconds: of RigL's steps together; of each step */
    size_t first, n, cap;           /* the step it began at; entries of took */
} Run;

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
    return flops_per_token(run->s.m, run->s.o->context) * tokens_per_step(run->s.o) / step / run->peak;
}

static void run_json(const Run *run, const Score *val, double step) {
    Out out = out_open(run->s.o->json);
    const double none = run->n ? 1 : NAN;                   /* nothing was measured if no step was taken */
    fputc('{', out.f);
    json_member_put(&out, "steps", (double)run->s.step);
    json_member_put(&out, "train_loss", none * run->loss);
    json_score(&out, val, run->d.floor);
    json_member_put(&out, "tokens_per_second", none * tokens_per_step(run->s.o) / step);
    json_member_put(&out, "step_ms", none * 1000 * step);
    json_member_put(&out, "flops_per_token", flops_per_token(run->s.m, run->s.o->context));
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
    const Score score = evaluate(run->r, &run->d, o->val_tokens, NULL);
    const double loss = score.nats / (double)score.tokens;
    if (run->terminal) printf("\n");
    if (!interrupted && !o->quiet)
        printf("step %zu: ", run->s.step), score_print("validation", &score, run->d.floor);
    if (!interrupted && loss < run->s.best) run->s.best = loss, run_save(run, run->best);
    run_save(run, run->out);
    return score;
}

/* A loss or gradient that is not finite ends the run; weights and checkpoint are still those of the step
 * before. */
__attribute__((noreturn)) static void run_not_finite(const Run *run, double norm) {
    char name[64];
    fflush(stdout);
    fprintf(stderr,
            "train: step %zu: loss %g, norm of the gradient %g, first seen in %s; last good checkpoint: %s\n",
            run->s.step + 1, run->loss, norm, gpt_first_bad(run->r, name), run->saved ? run->saved : "none");
    exit(3);
}

/* The first step's firings, of its first group of sequences, beside what the clock says of them. */
static void run_trace(const Run *run) {
    const GptRun *r = run->r;
    const GptMachine *a = r->machine;
    report_trace(run->s.o->trace, &a->graph, a->plan, r->B, r->groups, a->event, r->B * gpt_panels(r));
}

static void run_loop(Run *run) {
    State *s = &run->s;
    const Options *o = s->o;
    const size_t T = o->context, B = o->batch, end = o->stop < o->steps ? o->stop : o->steps;
    int32_t *inputs = mem_new(B * T, 4), *targets = mem_new(B * T, 4);
    GptAdam adam = {0, o->beta1, o->beta2, o->eps, o->decay, o->clip};
    double shown = 0;
    run->first = s->step, run->start = seconds();
    while (s->step < end && !interrupted) {
        const double t = seconds();
        double bytes = 0;
        adam.lr = learning_rate(o, s->step);
        batch_train(&run->d.train, o->seed, s->step * B, B, T, inputs, targets);
        const bool score = parse_update(o) == RIGL && masks_due(o, s->step + 1);
        float **grow = score ? mem_new(s->m->count, sizeof *grow) : NULL;
        run->loss = grow ? masks_dense_step(run->r, B, inputs, targets, grow)
                         : train_groups(run->r, B, inputs, targets);
        const double norm = gpt_gradient_norm(s->m, run->r->pool);
        if (!isfinite(run->loss) || !isfinite(norm)) run_not_finite(run, norm);
        gpt_adamw(s->m, run->r->pool, &adam, ++s->step, norm);
        if (o->trace && s->step == run->first + 1) run_trace(run);
        if (score) run->scoring += seconds() - t;
        masks_step(o, run->r, s->step, grow, o->quiet), s->m = run->r->m;
        for (size_t k = 0; grow && k < s->m->count; k++) free(grow[k]);
        free(grow);
        run->took = mem_grow(run->took, run->n, &run->cap, sizeof *run->took);
        run->took[run->n++] = seconds() - t;
        for (size_t i = 0; run->d.bytes && i < B * T; i++) bytes += run->d.bytes[targets[i]];
        const double bits = bytes > 0 ? run->loss * (double)(B * T) / bytes / NATS_PER_BIT : 0;
        if (run->log)
            fprintf(run->log, "%zu,%.9g,%.6g,%.6g,%.6g,%.4f\n", s->step, run->loss, bits, adam.lr, norm,
                    run->took[run->n - 1]);
        if (run->log && fflush(run->log)) {
            run_save(run, run->out);
            die("%s: cannot write: %s; the checkpoint is written", o->log, strerror(errno));
        }
        if (!o->quiet && (run->terminal ? seconds() - shown > 0.2 : s->step % 10 == 0 || s->step == end))
            run_progress(run, bits), shown = seconds();
        if (s->step % o->every == 0 && s->step < end) run_milestone(run);
    }
    free(inputs), free(targets);
}

/* Opens the CSV log. A resumed run goes on after the line of its step: later ones, of a run that was killed,
 * go. */
static FILE *log_open(const char *path, size_t step) {
    static const char head[] = "step,loss,bits_per_byte,lr,grad_norm,seconds\n";
    if (!path) return NULL;
    const Bytes old = step && !access(path, F_OK) ? file_read(path) : (Bytes){0};
    Out out = out_open(path);
    size_t at = old.n > strlen(head) && !memcmp(old.p, head, strlen(head)) ? strlen(head) : 0;
    if (old.n && !at) out_drop(&out), die("%s: expected a log of this program to continue", path);
    while (at < old.n && memchr(old.p + at, '\n', old.n - at) &&
           strtoull((const char *)old.p + at, NULL, 10) <= step)
        at = (size_t)((const uint8_t *)memchr(old.p + at, '\n', old.n - at) - old.p) + 1;
    if (at) out_bytes(&out, old.p, at);
    else out_bytes(&out, head, strlen(head));
    if (!out_commit(&out)) die("%s: cannot write: %s", path, strerror(errno));
    FILE *f = fopen(path, "a");
    if (!f) die("%s: cannot write: %s", path, strerror(errno));
    return f;
}

/* Dies unless every file the run will write can be written, and none of them is there already or is read by
 * it. */
static void outputs_check(const Run *run, const Options *o) {
    const char *output[5] = {run->out, run->best, o->log, o->json, o->trace};
    const bool fresh = !o->resume || strcmp(run->out, o->resume);
    struct stat st, in;
    for (int k = 0; k < 5; k++) {
        if (!output[k]) continue;
        const bool there = !stat(output[k], &st) && S_ISREG(st.st_mode);
        if (there && ((k < 2 && fresh) || (k == 2 && !o->resume)))
            die("%s: exists already: --resume it, or name another file", output[k]);
        for (size_t i = 0; there && i < o->text.n + o->tokens.n + 4; i++) {
            const char *other[4] = {o->val, o->vocab, o->init, k < 2 ? NULL : o->resume};
            const char *input = i < o->text.n ? o->text.item[i] : i < o->text.n + o->tokens.n
                              ? o->tokens.item[i - o->text.n] : other[i - o->text.n - o->tokens.n];
            if (input && !stat(input, &in) && in.st_dev == st.st_dev && in.st_ino == st.st_ino)
                die("%s: would be written over while it is read", output[k]);
        }
        out_probe(output[k]);
    }
}

static void run_describe(const Run *run, size_t group, size_t need) {
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
           run->d.train.n, run->d.val.n, run->s.o->batch, run->s.o->context, group, (double)need / 0x1p30);
    printf("%zu threads, %.0f GFLOP/s at most; checkpoint %s\n", run->s.o->threads, run->peak / 1e9,
           run->out);
}

/* The end of a run: the whole validation text, the summary and the results as JSON. */
static void run_finish(Run *run) {
    const Options *o = run->s.o;
    Score val = run_milestone(run);
    if (run->s.step == o->steps && val.tokens + 1 < run->d.val.n && !interrupted) {
        val = evaluate(run->r, &run->d, 0, NULL);
        if (!interrupted && !o->quiet) score_print("all of the validation text:", &val, run->d.floor);
    }
    const double step = median(run->took, run->n);
    if (!o->quiet && step > 0)
        printf("%.0f tokens/s, %.1f ms a step, %.0f %% of peak, %.2f GiB of memory at most\n",
               tokens_per_step(o) / step, 1000 * step, 100 * share_of_peak(run, step),
               (double)peak_memory() / 0x1p30);
    if (!o->quiet && run->scoring > 0)
        printf("%.1f s of it in steps with dense gradients, to score the masks\n", run->scoring);
    if (o->json && !interrupted) run_json(run, &val, step);
}

static int cmd_run(int argc, char **argv) {
    Options *o = options_read(argc, argv, RUN, NULL);
    Run run = {.out = o->resume && !option_given(o, "out") ? o->resume : o->out};
    if (snprintf(run.best, sizeof run.best, "%s.best", run.out) >= PATH_MAX - 32)
        die("%.60s...: expected a shorter path", run.out);
    if (o->trace && parse_schedule(o) != DATAFLOW) usage("--trace needs --schedule dataflow");
    outputs_check(&run, o);
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    run.s = o->resume ? state_resume(o, &run.d) : state_new(o, &run.d);
    if (o->resume && !strcmp(run.out, o->resume)) run.saved = run.out;
    else run.s.best = INFINITY;
    o = run.s.o;
    const size_t group = group_size(o, &run.s.m->c, o->batch, true);
    const size_t need = run.s.m->floats * 16 + run.s.m->table[WTE].size * 4 + run.s.m->lanes * 64
                        + (run.d.train.n + run.d.val.n) * 4
                        + gpt_run_bytes(&run.s.m->c, group, o->context, o->panel / LINE, o->threads, true)
                        + schedule_bytes(o);
    mem_check((double)need, "the run (try --group 1, a smaller --panel or model)");
    DfPool *pool = df_begin(o->threads);
    run.peak = o->quiet && !o->json ? 0 : peak_flops(pool), run.terminal = !o->quiet && isatty(1);
    run.log = log_open(o->log, run.s.step);
    run.r = gpt_run_new(run.s.m, pool, group, o->context, o->panel, true);
    schedule_set(run.r, o);
    if (o->trace) run.r->machine->event = mem_new(run.r->machine->plan->sections, sizeof(DfEvent *));
    if (!o->quiet) run_describe(&run, group, need);
    if (o->show_mask) masks_show(run.s.m);
    run_loop(&run);
    if (interrupted) run_save(&run, run.out);
    else run_finish(&run);
    const bool early = interrupted;
    if (early)
        printf("%sinterrupted at step %zu; go on with: ./train run --resume %s\n", run.terminal ? "\n" : "",
               run.s.step, run.out);
    if (run.log && fclose(run.log)) die("%s: cannot write: %s", o->log, strerror(errno));
    free(run.took);
    gpt_run_free(run.r), gpt_free(run.s.m), tok_free(run.s.tok), data_free(&run.d), df_end(pool);
    return early ? 3 : 0;
}

/* ---- eval, sample, tokenize --------------------------------------------------------------------------- */

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

static int cmd_eval(int argc, char **argv) {
    Options *o = options_read(argc, argv, EVAL, "a checkpoint");
    const char *const name[2] = {o->file, o->to};
    const int models = o->to ? 2 : 1;
    State s[2];
    Data d[2];
    Measures x[2];
    bool finite = true;
    if (o->json) out_probe(o->json);
    for (int k = 0; k < models; k++) {
        s[k] = checkpoint_read(name[k], o, false);
        s[k].o->seed = option_given(o, "seed") ? o->seed : s[0].o->seed;
        s[k].o->corpus = option_given(o, "corpus") ? o->corpus : s[0].o->corpus;
        d[k] = data_read(s[k].o, &s[k].tok, s[k].m->c.V, !o->text.n && !o->tokens.n);
        if (d[k].val.n < 2) die("the text has %zu tokens; at least 2 are needed", d[k].val.n);
        if (data_hash(&d[k]) != s[k].data_hash) tokens_free(&d[k].train);
    }
    DfPool *pool = df_begin(o->threads);
    const size_t ctx = s[0].m->c.ctx, T = models > 1 && s[1].m->c.ctx < ctx ? s[1].m->c.ctx : ctx;
    for (int k = 0; k < models; k++)
        x[k] = measure(&s[k], name[k], pool, &d[k], T), finite &= isfinite(x[k].val.nats);
    const bool paired = models > 1 && tokens_hash(&d[0].val) == tokens_hash(&d[1].val);
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

/* Prints what the model adds to the prompt, as it comes: at most n tokens, until <|endoftext|>. */
static void sample(const State *s, DfPool *pool, const char *prompt, size_t n, const GptChoice *how,
                   uint64_t seed) {
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
        fwrite(text, 1, len, stdout);
        fflush(stdout);
        window[have++] = (int32_t)id;
    }
    gpt_run_free(r), free(window);
}

static int cmd_sample(int argc, char **argv) {
    Options *o = options_read(argc, argv, SAMPLE, "a checkpoint");
    State s = checkpoint_read(o->file, o, false);
    if (!s.tok) die("%s: the model has no vocabulary of its own", o->file);
    DfPool *pool = df_begin(o->threads);
    if (!o->quiet && o->prompt) fputs(o->prompt, stdout);
    sample(&s, pool, o->prompt ? o->prompt : "", o->count, &(GptChoice){o->temperature, o->top_p, o->top_k},
           o->seed);
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
    Out out = out_open(path);
    for (size_t k = 0; k < 256; k++) {
        const uint32_t head[3] = {width == 2 ? 20240520 : 20240801, width == 2 ? 1 : 7, (uint32_t)n},
                       x = k < 3 ? head[k] : 0;
        out_bytes(&out, (uint8_t[]){(uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint8_t)(x >> 24)},
                  4);
    }
    for (size_t i = 0; i < n; i++)
        out_bytes(&out,
                  (uint8_t[]){(uint8_t)ids[i], (uint8_t)(ids[i] >> 8), (uint8_t)(ids[i] >> 16),
                              (uint8_t)(ids[i] >> 24)},
                  (size_t)width);
    if (!out_commit(&out)) die("%s: cannot write: %s", path, strerror(errno));
}

static int cmd_tokenize(int argc, char **argv) {
    Options *o = options_read(argc, argv, TOKENIZE, NULL);
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
        if (!out_commit(&out)) die("%s: cannot write: %s", o->save, strerror(errno));
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
    if (isnan(o->lr)) o->lr = 0.002;
    size_t rows = 0, cols = 0;
    char end;
    if (sscanf(o->dump.block, "%4zux%4zu%c", &rows, &cols, &end) != 2 || !rows || !cols)
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
    ModelFile f = model_open(o->file);
    const ModelKind from = f.kind;
    bool masks = false;
    for (size_t k = 0; f.mask && k < gpt_count(&f.c); k++) masks |= f.mask[k] != NULL;
    model_close(&f);
    State s = checkpoint_read(o->file, o, to == MODEL_NATIVE);
    for (size_t k = 0; k < s.m->count; k++) masks |= s.m->table[k].in_out && !s.m->table[k].mat.dense;
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

/* ---- simulate ------------------------------------------------------------------------------------------ */

/* A graph without its model: what each row block of a matrix would keep at that sparsity. */
static DfGraph simulate_graph(const Options *o, const GptConfig *c, double sparsity, size_t NG) {
    Options sparse = *o;
    GptParam *table = gpt_table(c);
    uint32_t **lines = mem_new(gpt_count(c), sizeof *lines);
    double density[4];
    sparse.sparsity = sparsity;
    if (sparsity == 0) sparse.spread = "uniform";
    mask_densities(&sparse, c->C, density);
    for (size_t k = 0; k < gpt_count(c); k++) {
        const GptParam *p = &table[k];
        const size_t OC = p->in_out ? p->cols : p->rows, IC = p->in_out ? p->rows : p->cols,
                     nb = gpt_rows(OC) / LINE;
        const size_t w = gpt_maskable(p) ? parse_block(o) : 1;
        if (IC % w)
            usage("--block: expected one that divides the %zu inputs of %s, found '%s'", IC, p->name,
                  o->block);
        const size_t row = gpt_maskable(p) ? sp_per_row(density[mask_kind(k)], IC / w) * w : IC;
        lines[k] = mem_new(nb + 1, sizeof **lines);
        for (size_t r = 0; r <= nb; r++) lines[k][r] = (uint32_t)(r * row);
    }
    free(table);
    return gpt_graph(c, (const uint32_t *const *)lines, NG);
}
/* Dense and sparse, stage by stage and in sections: traffic, cycles and time of a step on a chip. */
static int cmd_simulate(int argc, char **argv) {
    Options *o = options_read(argc, argv, SIMULATE, NULL);
    model_shape(o);
    const GptConfig c = {o->layers, o->heads, o->width, o->sim_vocab, o->context};
    config_check(&c, "");
    const DfChip chip = parse_chip(o);
    const size_t NG = gpt_groups(c.ctx), groups = o->panel / LINE < NG ? o->panel / LINE : NG;
    const double tokens = (double)(o->batch * c.ctx),
                 sparsity[2] = {0, o->sparsity > 0 ? o->sparsity : 0.875};
    DfClock way[4];
    for (int k = 0; k < 2; k++) {
        DfGraph g = simulate_graph(o, &c, sparsity[k], NG);
        DfPlan *plan = df_plan(&g, chip, o->depth, groups, false);
        const bool shown = k == (o->sparsity > 0);
        Out csv = {0};
        if (shown && o->show_graph) report_graph(&g, NG);
        if (shown && o->csv) csv = out_open(o->csv);
        if (shown)
            printf("%zu layers x %zu, T=%zu, V=%zu, B=%zu, %g %% sparse, on chip %s: %zu tiles of %zu KiB, "
                   "panels of %zu, depth %zu\n"
                   "simulated, optimizer left out:\n",
                   c.L, c.C, c.ctx, c.V, o->batch, 100 * sparsity[k], chip.name, chip.tiles, chip.sram / 1024,
                   groups * LINE, o->depth);
        way[2 * k] = report_kernels(&g, &chip, o->batch, NG, groups);
        way[2 * k + 1] = report_sections(&g, plan, o->batch, NG, csv.f, !shown);
        if (csv.f && !out_commit(&csv)) die("%s: cannot write: %s", o->csv, strerror(errno));
        if (shown && o->trace) report_trace(o->trace, &g, plan, o->batch, NG, NULL, 0);
        df_plan_free(plan, &g), gpt_graph_free(&g);
    }
    printf("\n%-22s %9s %9s %9s %9s %9s %9s %14s %11s\n", "", "KB/token", "weights", "gradients", "activ.",
           "random", "FLOP/B", "cycles", "s a step");
    static const char *const name[4] = {"dense, kernel", "dense, dataflow", "sparse, kernel",
                                        "sparse, dataflow"};
    for (int k = 0; k < 4; k++) report_way(name[k], &way[k], tokens);
    printf("a line gathered on chip lies across all banks; 16 random lanes into 16 banks would get %.1f %% "
           "of the throughput; "
           "gathered on chip %.1f GB a step, off chip 0\n",
           100 * df_bank_share(16, 16, 10000), way[3].gathered / 1e9);
    if (o->json) {
        Out out = out_open(o->json);
        static const char *const key[4] = {"dense_kernel", "dense_dataflow", "sparse_kernel",
                                           "sparse_dataflow"};
        fputc('{', out.f);
        for (int k = 0; k < 4; k++)
            fprintf(out.f,
                    "%s\"%s\": {\"off_chip_bytes\": %.0f, \"weights\": %.0f, \"gradients\": %.0f, "
                    "\"activations\": %.0f, "
                    "\"random\": %.0f, \"flops\": %.0f, \"intensity\": %.6g, \"cycles\": %.0f, \"seconds\": "
                    "%.6g}",
                    k ? ", " : "", key[k], df_off_chip(&way[k]), way[k].weights, way[k].grads,
                    way[k].in + way[k].out, way[k].random, way[k].flops, way[k].flops / df_off_chip(&way[k]),
                    way[k].cycles, way[k].seconds);
        json_end(&out);
    }
    return 0;
}

/* ---- help, the demonstration, main -------------------------------------------------------------------- */

static int cmd_help(int argc, char **argv);
static int cmd_demo(int argc, char **argv);

static const struct { const char *name; int bit; int (*run)(int, char **); const char *help;
} commands[] = {
    {"run", RUN, cmd_run, "train a model"},
    {"eval", EVAL, cmd_eval, "CKPT [CKPT]: all that is measured on a text; of two, which is the better one"},
    {"sample", SAMPLE, cmd_sample, "CKPT: text from a model"},
    {"tokenize", TOKENIZE, cmd_tokenize, "standard input to ids, and back"},
    {"verify", VERIFY, cmd_verify, "DUMP: another program's numbers, or an llm.c debug state, by tensor"},
    {"dump", DUMP, cmd_dump, "OUT: a model, a batch and what must come of them, for others to check"},
    {"convert", CONVERT, cmd_convert, "IN OUT: between checkpoints, Hugging Face's and llm.c's models"},
    {"simulate", SIMULATE, cmd_simulate,
     "a training step on a described chip: sections, traffic, cycles; no data"},
    {"bench", BENCH, cmd_bench, "kernels and whole steps against this machine's own peak"},
    {"help", 0, cmd_help, "this text"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int cmd_help(int argc, char **argv) {
    (void)argc, (void)argv;
    printf("./train            a demonstration: train a GPT on built-in stories and sample from it\n");
    for (int k = 0; k < COMMANDS; k++) {
        printf("./train %-10s %s\n", commands[k].name, commands[k].help);
        for (int i = 0; i < OPTIONS && commands[k].bit; i++)
            if (options[i].commands & commands[k].bit && options[i].commands != ANY)
                printf("    --%-13s %s%s%s%s\n", options[i].name, options[i].help,
                       options[i].preset[0] ? " [" : "", options[i].preset, options[i].preset[0] ? "]" : "");
    }
    printf("every command: --threads N, by default the physical cores\n");
    return 0;
}

/* Trains a small model on the built-in corpus and samples from it. */
static int cmd_demo(int argc, char **argv) {
    (void)argc;
    static char line[] =
        "run --model d3 --vocab 512 --context 128 --batch 16 --lr 0.003 --steps 500 --corpus 4000000 "
        "--out demo.ckpt";
    char *run[32];
    int n = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) run[n++] = word;
    unlink("demo.ckpt"), unlink("demo.ckpt.best");
    char *say[] = {"sample", "demo.ckpt", "--tokens", "150"};
    const int status = cmd_run(n, run);
    if (status) return status;
    printf("\nA story by the model (%s sample demo.ckpt):\n\n", argv[0]);
    return cmd_sample(sizeof say / sizeof *say, say);
}

int main(int argc, char **argv) {
    int k = 0, status;
    signal(SIGXFSZ, SIG_IGN), signal(SIGPIPE, SIG_IGN);     /* errors of fwrite, not ends of the program */
    while (argc > 1 && k < COMMANDS && strcmp(argv[1], commands[k].name)) k++;
    if (k == COMMANDS) usage("unknown command '%s'", argv[1]);
    status = argc > 1 ? commands[k].run(argc - 1, argv + 1) : cmd_demo(argc, argv);
    if (fflush(stdout) || ferror(stdout)) die("standard output: cannot write: %s", strerror(errno));
    return status;
}
