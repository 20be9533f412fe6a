/* train.c: the program. Commands, one table of options, checkpoints and the training loop.
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
#include "data/checkpoint.h"
#include "data/loader.h"
#include "data/report.h"
#include "data/verify.h"
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

/* ---- options ------------------------------------------------------------------------------------------ */

static const double NATS_PER_BIT = 0.69314718055994531;
enum { GPT2_VOCAB = 50257 };        /* of token shards that come without a vocabulary */
enum { RUN = 1, EVAL = 2, SAMPLE = 4, TOKENIZE = 8, BENCH = 16, VERIFY = 256, DUMP = 512, CONVERT = 1024, SIMULATE = 2048,
       ANY = 31 | VERIFY | DUMP | CONVERT | SIMULATE, FILES_MAX = 256 };
#define AUTO SIZE_MAX

typedef struct {
    struct List { const char *item[FILES_MAX]; size_t n; } text, tokens;
    const char *file, *to;                                  /* the arguments that are no options */
    struct { size_t layers, heads, width, context, vocab, batch, steps; double sparsity; const char *block;
    } dump;
    const char *format;
    double tolerance;
    bool acts;
    const char *val, *vocab, *model, *out, *resume, *init, *log, *json, *prompt, *save, *shard;
    const char *block, *mask, *spread, *update, *scale, *schedule, *chip;
    size_t layers, heads, width, context, batch, steps, warmup, corpus, seed, every, stop, panel, group,
        threads;
    size_t top_k, val_tokens, count;
    size_t mask_seed, mask_every, tiles, sram, depth, sim_vocab;
    const char *trace, *csv;
    bool show_graph;
    double lr, min_lr, decay, beta1, beta2, eps, clip, val_share, temperature, top_p;
    double sparsity, drop, mask_stop, densify, dense_first;
    bool quiet, decode, show_mask;
    bool given[128];                                        /* by place in the table below */
} Options;

/* kind: u whole number, f real number, s text, l list of texts, b flag. Each has a range and a default. */
typedef struct {
    const char *name;
    char kind;
    bool decides;                   /* the result, so it is stored in checkpoints */
    int commands;
    size_t at;
    double min, max;
    const char *preset, *help;
} Option;

static const Option options[] = {
#define AT(field) offsetof(Options, field)
    {"text", 'l', 0, RUN | EVAL | TOKENIZE, AT(text), 0, 0, "",
     "FILE... text to read; default: the built-in corpus"},
    {"tokens", 'l', 0, RUN | EVAL, AT(tokens), 0, 0, "", "SHARD... of llm.c instead of text"},
    {"tokens", 'u', 0, SAMPLE, AT(count), 0, 1e9, "200", "N, at most so many"},
    {"val", 's', 0, RUN, AT(val), 0, 0, "",
     "FILE to validate on, of the same kind; default: a held-out share"},
    {"val-share", 'f', 1, RUN, AT(val_share), 0.0001, 0.9, "0.1", "share of the documents held out"},
    {"val-tokens", 'u', 1, RUN, AT(val_tokens), 1, 1e15, "65536",
     "tokens a validation during training reads"},
    {"corpus", 'u', 1, RUN | EVAL, AT(corpus), 1e5, 1e10, "8000000", "bytes of built-in stories"},
    {"vocab", 's', 0, RUN | TOKENIZE, AT(vocab), 0, 0, "2048",
     "N to train so many tokens, or a vocabulary FILE"},
    {"model", 's', 0, RUN | SIMULATE, AT(model), 0, 0, "d4", "dN (N layers of width 64N), gpt2, gpt-13b"},
    {"layers", 'u', 1, RUN | SIMULATE, AT(layers), 1, 1000, "auto", "layers, in place of the model's"},
    {"heads", 'u', 1, RUN | SIMULATE, AT(heads), 1, 10000, "auto", "heads; must divide the width"},
    {"width", 'u', 1, RUN | SIMULATE, AT(width), 1, 100000, "auto", "channels"},
    {"context", 'u', 1, RUN | SIMULATE, AT(context), 1, 1000000, "256", "positions: tokens of a sequence"},
    {"batch", 'u', 1, RUN | SIMULATE, AT(batch), 1, 1e6, "16", "sequences per step"},
    {"steps", 'u', 1, RUN, AT(steps), 1, 1e12, "500", "steps of the whole schedule"},
    {"lr", 'f', 1, RUN | DUMP, AT(lr), 0, 100, "auto", "learning rate; default 0.002 / density^0.75"},
    {"min-lr", 'f', 1, RUN, AT(min_lr), 0, 100, "auto", "at the end of the cosine; default lr / 10"},
    {"warmup", 'u', 1, RUN, AT(warmup), 0, 1e12, "auto", "steps of linear warm-up; default 3 % of the steps"},
    {"weight-decay", 'f', 1, RUN | DUMP, AT(decay), 0, 100, "0.1", "on matrices, embeddings included"},
    {"beta1", 'f', 1, RUN | DUMP, AT(beta1), 0, 0.999999, "0.9", "of AdamW"},
    {"beta2", 'f', 1, RUN | DUMP, AT(beta2), 0, 0.999999, "0.95", "of AdamW"},
    {"eps", 'f', 1, RUN | DUMP, AT(eps), 1e-30, 1, "1e-8", "of AdamW"},
    {"grad-clip", 'f', 1, RUN | DUMP, AT(clip), 0, 1e9, "1", "largest norm of the gradient; 0: any"},
    {"sparsity", 'f', 1, RUN | SIMULATE, AT(sparsity), 0, 0.999999, "0",
     "share of zeros in the four matrices of each layer; the rest stays dense"},
    {"block", 's', 1, RUN | SIMULATE | BENCH, AT(block), 0, 0, "16x4", "16xW: outputs x inputs kept together, W 1, 2, 4, 8, 16"},
    {"mask", 's', 1, RUN, AT(mask), 0, 0, "balanced",
     "balanced, random, butterfly, magnitude (with --init or --dense-first), or a FILE of mask.NAME"},
    {"spread", 's', 1, RUN | SIMULATE, AT(spread), 0, 0, "uniform",
     "uniform, erk, or qkv=S,proj=S,fc=S,fc2=S: sparsity of each kind of matrix"},
    {"mask-seed", 'u', 1, RUN, AT(mask_seed), 0, 1e15, "1", "of the masks"},
    {"update", 's', 1, RUN, AT(update), 0, 0, "static",
     "how masks evolve: static, set, rigl, or gmp (dense at first, pruned step by step)"},
    {"drop", 'f', 1, RUN, AT(drop), 0.000001, 1, "0.3", "share of the blocks set and rigl move, at first; to 0 by a cosine"},
    {"mask-every", 'u', 1, RUN, AT(mask_every), 1, 1e12, "100", "steps between updates of the masks"},
    {"mask-stop", 'f', 1, RUN, AT(mask_stop), 0, 1, "0.75", "share of the steps after which masks stay"},
    {"densify", 'f', 1, RUN, AT(densify), 0, 1, "0", "share of the steps, at the end, that train dense"},
    {"dense-first", 'f', 1, RUN, AT(dense_first), 0, 1, "0", "share of the steps, at the start, that train dense"},
    {"scale", 's', 1, RUN, AT(scale), 0, 0, "init",
     "none, init (deviation / sqrt(density)), supar (that, and rate / density for the sparse matrices)"},
    {"show-mask", 'b', 0, RUN, AT(show_mask), 0, 0, "", "a picture of every mask"},
    {"seed", 'u', 1, RUN | SAMPLE | EVAL | DUMP, AT(seed), 0, 1e15, "1",
     "of weights, order of data, stories, samples"},
    {"out", 's', 0, RUN, AT(out), 0, 0, "model.ckpt", "checkpoint to write; the best one goes to OUT.best"},
    {"resume", 's', 0, RUN, AT(resume), 0, 0, "", "CKPT to go on from, bit for bit; --out defaults to it"},
    {"init", 's', 0, RUN | VERIFY | DUMP, AT(init), 0, 0, "",
     "CKPT whose weights and vocabulary to start from; also a model of others"},
    {"every", 'u', 0, RUN, AT(every), 1, 1e12, "100", "steps between validations and checkpoints"},
    {"stop", 'u', 0, RUN, AT(stop), 1, 1e12, "auto", "end after this step, schedule unchanged"},
    {"log", 's', 0, RUN, AT(log), 0, 0, "", "FILE.csv, a line per step"},
    {"json", 's', 0, RUN | EVAL | BENCH | VERIFY | SIMULATE, AT(json), 0, 0, "", "FILE for the results as one object"},
    {"panel", 'u', 0, RUN | SIMULATE | EVAL | BENCH, AT(panel), 16, 128, "64", "tokens per panel: 16, 32, 64 or 128"},
    {"group", 'u', 0, RUN | EVAL, AT(group), 1, 1e6, "auto",
     "sequences in memory at once; default: 512 MiB of them"},
    {"schedule", 's', 0, RUN | BENCH, AT(schedule), 0, 0, "kernel",
     "serial or kernel (a stage at a time), or dataflow (streaming over tiles); the same bits"},
    {"chip", 's', 0, RUN | SIMULATE | BENCH, AT(chip), 0, 0, "host", "host, sn10, sn30, sn40l, a100, or a FILE of key=value"},
    {"tiles", 'u', 0, RUN | SIMULATE | BENCH, AT(tiles), 1, 65536, "auto", "tiles, in place of the chip's"},
    {"sram", 'u', 0, RUN | SIMULATE | BENCH, AT(sram), 64, 1e12, "auto", "bytes of memory of each tile"},
    {"depth", 'u', 0, RUN | SIMULATE | BENCH, AT(depth), 1, 64, "2", "slots of a stream: 2 is double buffering"},
    {"vocab", 'u', 0, SIMULATE, AT(sim_vocab), 2, 1e9, "50257", "tokens"},
    {"show-graph", 'b', 0, SIMULATE, AT(show_graph), 0, 0, "", "every stage: what it holds, computes, reads and makes"},
    {"trace", 's', 0, SIMULATE, AT(trace), 0, 0, "", "FILE.json of the simulated tiles, for Perfetto or chrome://tracing"},
    {"csv", 's', 0, SIMULATE, AT(csv), 0, 0, "", "FILE of the section table"},
    {"threads", 'u', 0, ANY, AT(threads), 1, DF_WORKERS, "auto", "default: physical cores"},
    {"quiet", 'b', 0, RUN | SAMPLE, AT(quiet), 0, 0, "", "no progress"},
    {"prompt", 's', 0, SAMPLE, AT(prompt), 0, 0, "", "TEXT to continue"},
    {"temperature", 'f', 0, SAMPLE, AT(temperature), 0, 1000, "0.8", "0: always the likeliest token"},
    {"top-k", 'u', 0, SAMPLE, AT(top_k), 0, 1e9, "0", "of the k likeliest only; 0: all"},
    {"top-p", 'f', 0, SAMPLE, AT(top_p), 0, 1, "1", "of the likeliest that hold this share"},
    {"save", 's', 0, TOKENIZE, AT(save), 0, 0, "", "FILE for the vocabulary"},
    {"shard", 's', 0, TOKENIZE, AT(shard), 0, 0, "", "FILE for the tokens, in llm.c's format"},
    {"decode", 'b', 0, TOKENIZE, AT(decode), 0, 0, "", "ids to text"},
    {"tolerance", 'f', 0, VERIFY, AT(tolerance), 1e-12, 1e3, "auto",
     "relative error allowed; default: 16 times our own float32's"},
    {"layers", 'u', 0, DUMP, AT(dump.layers), 1, 1000, "2", "layers of fresh weights"},
    {"heads", 'u', 0, DUMP, AT(dump.heads), 1, 10000, "2", "heads"},
    {"width", 'u', 0, DUMP, AT(dump.width), 1, 100000, "32", "channels"},
    {"vocab", 'u', 0, DUMP, AT(dump.vocab), 2, 1u << 26, "96", "tokens"},
    {"context", 'u', 0, DUMP, AT(dump.context), 1, 1000000, "16", "positions; also the tokens of a sequence"},
    {"batch", 'u', 0, DUMP, AT(dump.batch), 1, 1e6, "2", "sequences"},
    {"steps", 'u', 0, DUMP, AT(dump.steps), 0, DUMP_STEPS, "3", "of AdamW on that batch"},
    {"sparsity", 'f', 0, DUMP, AT(dump.sparsity), 0, 1, "0", "share of the linear weights masked, at random"},
    {"block", 's', 0, DUMP, AT(dump.block), 0, 0, "1x1", "OUTPUTSxINPUTS masked together, such as 16x4"},
    {"acts", 'b', 0, DUMP, AT(acts), 0, 0, "", "activations of every stage too"},
    {"format", 's', 0, CONVERT, AT(format), 0, 0, "",
     "native, hf or llmc; default: by the name, .ckpt, a directory or .safetensors, .bin"},
#undef AT
};
enum { OPTIONS = sizeof options / sizeof *options };
_Static_assert((int)OPTIONS <= (int)(sizeof((Options *)0)->given),
               "Options.given has a place for every option");

__attribute__((format(printf, 1, 2), noreturn)) static inline void usage(const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    die("%s (see ./train help)", line);
}

/* Stores value in option k; where names the command line or a file for the error. */
static void option_set(Options *o, int k, const char *value, const char *where) {
    const Option *opt = &options[k];
    void *field = (char *)o + opt->at;
    char *end;
    o->given[k] = true;
    if (opt->kind == 's') { *(const char **)field = value; return; }
    if (opt->kind == 'b') { *(bool *)field = true; return; }
    if (opt->kind == 'l') {
        struct List *list = field;
        if (list->n == FILES_MAX) usage("%s--%s: expected at most %d files", where, opt->name, FILES_MAX);
        list->item[list->n++] = value;
        return;
    }
    errno = 0;
    const double x = strtod(value, &end);
    const bool whole = opt->kind == 'f' || !value[strspn(value, "0123456789")];
    if (!*value || *end || errno || !whole || !isfinite(x) || x < opt->min || x > opt->max)
        usage("%s--%s: expected a %s %g .. %g, found '%s'", where, opt->name,
              opt->kind == 'u' ? "whole number" : "number", opt->min, opt->max, value);
    if (opt->kind == 'u') *(size_t *)field = (size_t)strtoull(value, NULL, 10);
    else *(double *)field = x;
}
/* The option of that name that a command in `commands` takes; -1: none, -2: only others take it. */
static int option_find(const char *name, int commands) {
    int found = -1;
    for (int k = 0; k < OPTIONS; k++)
        if (!strcmp(options[k].name, name)) {
            if (options[k].commands & commands) return k;
            found = -2;
        }
    return found;
}
static bool option_given(const Options *o, const char *name) {
    return o->given[option_find(name, RUN | TOKENIZE)];
}

static int parse_schedule(const Options *o);
enum { SERIAL, KERNEL, DATAFLOW };

/* Defaults, then the command line of a command. A list takes every argument up to the next option. */
static Options *options_read(int argc, char **argv, int command, const char *takes_file) {
    Options *o = mem_new(1, sizeof *o);
    for (int k = 0; k < OPTIONS; k++) {
        if (!options[k].preset[0]) continue;
        if (!strcmp(options[k].preset, "auto")) {
            if (options[k].kind == 'u') *(size_t *)((char *)o + options[k].at) = AUTO;
            else *(double *)((char *)o + options[k].at) = NAN;
        } else option_set(o, k, options[k].preset, "");
        o->given[k] = false;
    }
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2)) {
            const char **place = o->file && command == CONVERT ? &o->to : &o->file;
            if (!takes_file || *place) usage("%s: expected an option, found '%s'", argv[0], argv[i]);
            *place = argv[i];
            continue;
        }
        const int k = option_find(argv[i] + 2, command);
        if (k == -1) usage("%s: unknown option '%s'", argv[0], argv[i]);
        if (k == -2) usage("%s does not take '%s'", argv[0], argv[i]);
        if (o->given[k] && options[k].kind != 'l') usage("%s: '%s' given twice", argv[0], argv[i]);
        if (options[k].kind == 'b') { option_set(o, k, "", ""); continue; }
        if (i + 1 >= argc || (!strncmp(argv[i + 1], "--", 2) && strcmp(options[k].name, "prompt")))
            usage("%s: '%s' needs a value", argv[0], argv[i]);
        option_set(o, k, argv[++i], "");
        while (options[k].kind == 'l' && i + 1 < argc && strncmp(argv[i + 1], "--", 2))
            option_set(o, k, argv[++i], "");
    }
    if (takes_file && (!o->file || (command == CONVERT && !o->to)))
        usage("%s: expected %s", argv[0], takes_file);
    if (o->threads == AUTO) o->threads = df_cores();
    if (command & RUN && parse_schedule(o) == SERIAL) o->threads = 1;
    if (o->panel & (o->panel - 1)) usage("--panel: expected 16, 32, 64 or 128, found %zu", o->panel);
    return o;
}

typedef struct {
    Options *o;
    Gpt *m;
    Tokenizer *tok;
    size_t step;                    /* optimizer steps done */
    uint64_t data_hash;
    double best;                    /* lowest validation loss so far; infinite before the first */
} State;

/* ---- masks: what the options say of sparse.h's rules --------------------------------------------------- */

static size_t parse_block(const Options *o) {               /* W of 16xW */
    const char *w = !strncmp(o->block, "16x", 3) ? o->block + 3 : "";
    const size_t n = *w && !w[strspn(w, "0123456789")] && strlen(w) < 3 ? (size_t)atoi(w) : 0;
    if (!n || n > LINE || (n & (n - 1)))
        usage("--block: expected 16x1, 16x2, 16x4, 16x8 or 16x16, found '%s'", o->block);
    return n;
}
static int parse_word(const char *option, const char *value, const char *const *words, int n) {
    for (int k = 0; k < n; k++) if (!strcmp(value, words[k])) return k;
    usage("--%s: unknown '%s'", option, value);
}
static int mask_rule(const Options *o) {                    /* its place in the list; -1: --mask names a file */
    static const char *const rule[4] = {"balanced", "random", "butterfly", "magnitude"};
    for (int k = 0; k < 4; k++) if (!strcmp(o->mask, rule[k])) return k;
    return -1;
}
enum { STATIC, SET, RIGL, GMP };
static int parse_update(const Options *o) {
    return parse_word("update", o->update, (const char *const[]){"static", "set", "rigl", "gmp"}, 4);
}

/* Densities of c_attn, attn.c_proj, c_fc and mlp.c_proj, which are the same in every layer. */
static void mask_densities(const Options *o, size_t C, double out[4]) {
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
        if (!end || end == p + n + 1 || (*end && *end != ',') || !(s >= 0 && s < 1))
            usage("--spread: expected uniform, erk or qkv=S,proj=S,fc=S,fc2=S with S in [0,1), found '%s'", p);
        out[k] = 1 - s;
        p = *end ? end + 1 : end;
    }
}
/* The place 0 .. 3 of a layer's matrix in the list above. */
static int mask_kind(size_t k) {
    const int j = (int)((k - LAYER0) % PER_LAYER);
    return j == QKVW ? 0 : j == PROJW ? 1 : j == FCW ? 2 : 3;
}

/* The pattern of parameter k at that density by the rule of --mask; m has the weights for magnitude. */
static SpMat mask_by_rule(const Options *o, const GptParam *p, double density, const Gpt *m, size_t k) {
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

/* Patterns for gpt_make as the options say; m has the weights that magnitude needs. */
static SpMat *masks_new(const Options *o, const GptConfig *c, const Gpt *m) {
    SpMat *mats = mem_new(gpt_count(c), sizeof *mats);
    GptParam *table = gpt_table(c);
    const bool rule = mask_rule(o) >= 0;
    Safetensors file = rule ? (Safetensors){0} : st_read(o->mask);
    double density[4];
    bool found = rule;
    mask_densities(o, c->C, density);
    for (size_t k = 0; k < gpt_count(c); k++) {
        const GptParam *p = &table[k];
        if (!gpt_maskable(p)) continue;
        if (p->rows % parse_block(o))
            usage("--block: expected one that divides the %zu inputs of %s, found '%s'", p->rows, p->name,
                  o->block);
        if (rule) mats[k] = mask_by_rule(o, p, density[mask_kind(k)], m, k);
        else found |= checkpoint_element_mask(&file, p, parse_block(o), &mats[k]);
        if (mats[k].keep && parse_update(o) != STATIC)
            die("%s: mask.%s: expected whole blocks of %s for --update %s", o->mask, p->name, o->block, o->update);
    }
    if (!found) die("%s: expected tensors mask.NAME of this model, found none", o->mask);
    if (!rule) st_free(&file);
    free(table);
    return mats;
}

static bool masks_wanted(const Options *o) {                /* whether the options ask for a sparse model */
    return o->sparsity > 0 || mask_rule(o) < 0 || strchr(o->spread, '=');
}
/* The steps at which the dense start ends and the dense end starts. */
static size_t masks_from(const Options *o) { return (size_t)(o->dense_first * (double)o->steps + 0.5); }
static size_t masks_to(const Options *o) { return o->steps - (size_t)(o->densify * (double)o->steps + 0.5); }
static size_t masks_last(const Options *o) {                /* step of the last update */
    return (size_t)(o->mask_stop * (double)o->steps) / o->mask_every * o->mask_every;
}
static bool masks_due(const Options *o, size_t step) {      /* whether masks evolve after that step */
    return parse_update(o) != STATIC && step % o->mask_every == 0 && step <= masks_last(o) &&
           step > masks_from(o) && step < masks_to(o);
}
static bool masks_at_start(const Options *o) {              /* or does the run start dense? */
    return masks_wanted(o) && !masks_from(o) && masks_to(o) && parse_update(o) != GMP;
}

static void masks_check(const Options *o) {
    static const char *const need[] = {"block", "mask-seed", "update", "densify", "dense-first"},
                      *const evolve[] = {"drop", "mask-every", "mask-stop"};
    const int update = parse_update(o);
    parse_block(o), parse_word("scale", o->scale, (const char *const[]){"none", "init", "supar"}, 3);
    for (size_t k = 0; k < sizeof need / sizeof *need; k++)
        if (option_given(o, need[k]) && !masks_wanted(o)) usage("--%s needs --sparsity", need[k]);
    for (size_t k = 0; k < sizeof evolve / sizeof *evolve; k++)
        if (option_given(o, evolve[k]) && update == STATIC) usage("--%s needs --update set, rigl or gmp", evolve[k]);
    if (mask_rule(o) < 0 && (o->sparsity > 0 || o->dense_first > 0 || update == GMP || strcmp(o->spread, "uniform")))
        usage("--mask FILE says all: no --sparsity, --spread, --dense-first or --update gmp");
    if (mask_rule(o) == 3 && !o->init && !(o->dense_first > 0))
        usage("--mask magnitude needs trained weights: --init CKPT or --dense-first");
    if (o->dense_first + o->densify > 1) usage("--dense-first and --densify are more than all steps together");
    if (update != STATIC && masks_last(o) <= masks_from(o))
        usage("--update %s: expected an update within %g of %zu steps, found --mask-every %zu", o->update,
              o->mask_stop, o->steps, o->mask_every);
}

/* Density of the four matrices of all layers together: as they are, or as the options will make them. */
static double masks_density(const Options *o, const Gpt *m, bool now) {
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
/* What follows from the masks: rates; and of dense matrices the block they will be masked by. */
static void masks_ready(const Options *o, Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        GptParam *p = &m->table[k];
        if (!gpt_maskable(p)) continue;
        if (!strcmp(o->scale, "supar")) p->rate = (float)(1 / gpt_density(p));
        if (p->mat.dense && p->rows % parse_block(o) == 0) p->mat.w = parse_block(o);
    }
}

/* One update of the masks after step s->step by --update; grow[k]: RigL's scores. Says how many blocks moved. */
static Gpt *masks_evolve(const State *s, float *const *grow, bool quiet) {
    const Options *o = s->o;
    const Gpt *m = s->m;
    SpMat *mats = mem_new(m->count, sizeof *mats);
    const double end = (double)masks_last(o), left = 1 - (double)s->step / end;
    const double share = o->drop / 2 * (1 + det_cos((double)s->step / end / 2));
    double density[4];
    mask_densities(o, m->c.C, density);
    if (!quiet) printf("step %zu: blocks moved:", s->step);
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
        sp_map(&p->mat, on, NULL);
        sp_sums(&p->mat, m->w + p->at, weight);
        const size_t fresh = sp_evolve(on, blocks, n, gmp ? 0 : n, weight, grow ? grow[k] : NULL,
                                       rng_u64(rng_key(o->mask_seed, p->name), s->step));
        mats[k] = sp_pattern(p->mat.OC, p->mat.IC, p->mat.w, on);
        if (!quiet && mask_kind(k) == 0) printf(" h.%zu", (k - LAYER0) / PER_LAYER);
        if (!quiet) printf(" %zu", gmp ? n : fresh);
        free(on), free(weight);
    }
    if (!quiet) printf("\n");
    Gpt *next = gpt_remask(m, mats, (uint32_t)s->step, true);
    free(mats);
    return next;
}

/* What becomes of the masks after step s->step: the start or end of a dense phase, an update, or nothing. */
static void masks_step(State *s, GptRun *r, float *const *grow, bool quiet) {
    const Options *o = s->o;
    SpMat *mats = NULL;
    Gpt *next;
    if (!masks_wanted(o) || s->step >= o->steps) return;
    if (s->step == masks_to(o)) next = gpt_remask(s->m, NULL, (uint32_t)s->step, true);
    else if (s->step == masks_from(o) && parse_update(o) != GMP)
        mats = masks_new(o, &s->m->c, s->m), next = gpt_remask(s->m, mats, (uint32_t)s->step, true);
    else if (masks_due(o, s->step)) next = masks_evolve(s, grow, quiet);
    else return;
    free(mats), gpt_free(s->m);
    s->m = r->m = next;
    gpt_machine_stale(r);
    masks_ready(o, s->m);
}

/* Forward and backward over the batch in groups of sequences: the mean loss. */
static double train_groups(const State *s, GptRun *r, const int32_t *inputs, const int32_t *targets) {
    const size_t B = s->o->batch, T = s->o->context, group = r->B;
    double sum = 0;
    for (size_t b = 0; b < B; b += group) {
        r->B = B - b < group ? B - b : group;
        gpt_train(r, inputs + b * T, targets + b * T, B * T, &sum);
    }
    r->B = group;
    return sum / (double)(B * T);
}

/* The gradient of a step in which every weight is there, as RigL needs it: trains a dense copy of the model, then
 * keeps the active lines' gradient. grow[k] gets the sums of |gradient| of each block of the maskable tensors. */
static double masks_dense_step(const State *s, GptRun *r, const int32_t *inputs, const int32_t *targets,
                               float **grow) {
    Gpt *m = s->m, *all = gpt_remask(m, NULL, 0, false);
    double sum;
    r->m = all;
    sum = train_groups(s, r, inputs, targets);
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
    return sum;
}

/* Pictures of all masks. */
static void masks_show(const Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        const SpMat *a = &m->table[k].mat;
        if (!gpt_maskable(&m->table[k]) || a->dense) continue;
        uint8_t *on = mem_new(sp_blocks(a), 1);
        sp_map(a, on, NULL);
        printf("%s: %zu x %zu blocks of 16x%zu, %.4g %% kept\n", m->table[k].name, a->nb, a->IC / a->w, a->w,
               100 * gpt_density(&m->table[k]));
        sp_show(stdout, on, a->nb, a->IC / a->w);
        free(on);
    }
}

/* ---- checkpoints: data/checkpoint.h, and as metadata every deciding option, the step, a hash of the tokens */

/* False, with errno set and any older file untouched, if the disk did not take it. */
static bool checkpoint_write(const State *s, const char *path) {
    StWriter w = {0};
    char text[64];
    st_meta_put(&w, "format", "sparseflow-checkpoint"), st_meta_put(&w, "version", "1");
    for (int k = 0; k < OPTIONS; k++) {
        const void *field = (const char *)s->o + options[k].at;
        const char *value = text;
        if (!options[k].decides) continue;
        if (options[k].kind == 's') value = *(const char *const *)field;
        else if (options[k].kind == 'u') snprintf(text, sizeof text, "%zu", *(const size_t *)field);
        else snprintf(text, sizeof text, "%.17g", *(const double *)field);
        st_meta_put(&w, options[k].name, value);
    }
    snprintf(text, sizeof text, "%zu", s->m->c.V), st_meta_put(&w, "vocab_size", text);
    snprintf(text, sizeof text, "%zu", s->step), st_meta_put(&w, "step", text);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->data_hash),
        st_meta_put(&w, "data_hash", text);
    snprintf(text, sizeof text, "%.17g", s->best);
    if (isfinite(s->best)) st_meta_put(&w, "best_val_loss", text);
    return checkpoint_save(&w, path, s->m, s->tok);
}

static void meta_options(const Safetensors *st, const char *path, Options *o) { /* every deciding option */
    char where[PATH_MAX + 16];
    snprintf(where, sizeof where, "%s: ", path);
    for (int k = 0; k < OPTIONS; k++)
        if (options[k].decides)
            option_set(o, k, text_copy(meta_need(st, path, options[k].name)), where), o->given[k] = false;
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
    for (size_t k = 0; k < gpt_count(&f->c) && f->kind == MODEL_HF; k++)    /* masks in the widest blocks that fit */
        for (size_t w = LINE; gpt_maskable(&table[k]) && w && !mats[k].first; w /= 2)
            if (table[k].rows % w == 0 && checkpoint_element_mask(&f->st, &table[k], w, &mats[k]) && mats[k].keep && w > 1)
                sp_free(&mats[k]);
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
    meta_options(&st, path, s.o);
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

typedef struct {
    Tokens train, val;
    double floor;                   /* bits per byte that no model can beat on val; 0: not known */
    uint32_t *bytes;                /* of each id, <|endoftext|> none; NULL without a vocabulary */
} Data;

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

/* ---- the schedule ---------------------------------------------------------------------------------------- */

static int parse_schedule(const Options *o) {
    return parse_word("schedule", o->schedule, (const char *const[]){"serial", "kernel", "dataflow"}, 3);
}
static DfChip parse_chip(const Options *o) {
    DfChip c = df_chip(o->chip);
    if (o->tiles != AUTO) c.tiles = o->tiles;
    if (o->sram != AUTO) c.sram = o->sram;
    return df_chip_check(c, o->chip);
}
/* Gives a run that trains its chip, if the schedule wants one. */
static void schedule_set(GptRun *r, const Options *o) {
    if (parse_schedule(o) == DATAFLOW) gpt_machine_plan(r, parse_chip(o), o->depth);
}

/* ---- evaluation --------------------------------------------------------------------------------------- */

typedef struct { double nats, bytes; size_t tokens; } Score;

static double score_bits(const Score *s) {
    return s->bytes > 0 ? s->nats / NATS_PER_BIT / s->bytes : 0;
}

/* The loss over windows of d->val that hold the first `most` tokens (0: all). */
static Score evaluate(GptRun *r, const Data *d, size_t most) {
    Score s = {0};
    const size_t B = r->B, T = r->T, end = most ? (most + T - 1) / T : SIZE_MAX;
    int32_t *inputs = mem_new(B * T, 4), *targets = mem_new(B * T, 4);
    for (size_t first = 0; first < end && first * T + 1 < d->val.n && !interrupted; first += B) {
        s.tokens += batch_val(&d->val, first, end, B, T, inputs, targets);
        gpt_eval(r, inputs, targets, &s.nats);
        for (size_t i = 0; d->bytes && i < B * T; i++) if (targets[i] >= 0) s.bytes += d->bytes[targets[i]];
    }
    free(inputs), free(targets);
    return s;
}
static void score_print(const char *what, const Score *s, double floor) {
    printf("%s loss %.4f, perplexity %.2f", what, s->nats / (double)s->tokens,
           exp(s->nats / (double)s->tokens));
    if (s->bytes > 0) printf(", %.4f bits/byte", score_bits(s));
    if (s->bytes > 0 && floor > 0) printf(" (floor %.4f, %.4f above)", floor, score_bits(s) - floor);
    printf(", %zu tokens\n", s->tokens);
}

/* Sequences in memory at once: all of the batch, or equal parts of at most 512 MiB of activations. */
static size_t group_size(const Options *o, const GptConfig *c, size_t B, bool train) {
    if (o->group != AUTO) return o->group < B ? o->group : B;
    const size_t one = gpt_edges(c, gpt_groups(c->ctx), 4, train, NULL), most = (512u << 20) / one;
    const size_t parts = most ? (B + most - 1) / most : B;
    return (B + parts - 1) / parts;
}

/* ---- the machine's own peak --------------------------------------------------------------------------- */

static void peak_task(void *arg, size_t task, size_t worker) { /* 12 independent chains of multiply-adds */
    float *sink = arg;
    vf a[12];
    (void)worker;
    UNROLL for (int i = 0; i < 12; i++) a[i] = vf_all((float)i);
    const vf m = vf_all(sink[0]), c = vf_all(sink[1]);
    for (int n = 0; n < 1000000; n++) { UNROLL for (int i = 0; i < 12; i++) a[i] = vf_fma(a[i], m, c); }
    UNROLL for (int i = 0; i < 12; i++) vf_store(sink + 16 + task * 256 + (size_t)i * LANES, a[i]);
}
/* Multiply-add rate of all workers of a pool in FLOP/s, the best of a few short runs. */
static double peak_flops(DfPool *pool) {
    float *sink = mem_new(16 + 256 * pool->workers, sizeof *sink);
    double best = 0;
    sink[0] = 0.9999f, sink[1] = 0.1f;
    for (int n = 0; n < 5; n++) {
        const double t = seconds();
        df_run(pool, peak_task, sink, pool->workers);
        best = fmax(best, (double)pool->workers * 12e6 * LANES * 2 / (seconds() - t));
    }
    free(sink);
    return best;
}

/* FLOPs of training on one token: 6 per kept weight of a linear layer or the head, and attention. */
static double flops_per_token(const Gpt *m, size_t T) {
    double weights = 0;
    for (size_t k = 0; k < m->count; k++)
        if (k == WTE || m->table[k].in_out) weights += (double)sp_elements(&m->table[k].mat);
    return 6 * weights + 6.0 * (double)T * (double)m->c.C * (double)m->c.L;
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
        const double linear = 12 * (double)c.L * (double)c.C * (double)c.C * (masks_at_start(o) ? 1 - o->sparsity : 1);
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
    double start, peak, loss, scoring, *took;               /* of the last step; of RigL's steps; of each step */
    size_t first, n, cap;           /* the step it began at; entries of took */
} Run;

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *x, size_t n) {                 /* sorts x; 0 if there is none */
    if (!n) return 0;
    qsort(x, n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}
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

/* One member of a JSON object; null if the number is not finite. */
static void json_member_put(Out *out, const char *key, double x) {
    fprintf(out->f, isfinite(x) ? "%s\"%s\": %.12g" : "%s\"%s\": null", ftell(out->f) > 1 ? ", " : "", key,
            x);
}
static void json_end(Out *out) {
    fputs("}\n", out->f);
    if (!out_commit(out)) die("%s: cannot write: %s", out->path, strerror(errno));
}
static void json_score(Out *out, const Score *s, double floor) {
    json_member_put(out, "val_loss", s->nats / (double)s->tokens);
    json_member_put(out, "val_tokens", (double)s->tokens);
    json_member_put(out, "bits_per_byte", s->bytes > 0 ? score_bits(s) : NAN);
    json_member_put(out, "floor", floor > 0 ? floor : NAN);
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

/* One optimizer step's gradient, complete, in r->m; the mean loss. The gradient's norm goes to *norm. */
static double train_step(const State *s, GptRun *r, const int32_t *inputs, const int32_t *targets, float **grow,
                         double *norm) {
    const double loss = grow ? masks_dense_step(s, r, inputs, targets, grow) : train_groups(s, r, inputs, targets);
    *norm = gpt_gradient_norm(s->m, r->pool);
    return loss;
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
    const Score score = evaluate(run->r, &run->d, o->val_tokens);
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
        double norm, bytes = 0;
        adam.lr = learning_rate(o, s->step);
        batch_train(&run->d.train, o->seed, s->step * B, B, T, inputs, targets);
        const bool score = parse_update(o) == RIGL && masks_due(o, s->step + 1);
        float **grow = score ? mem_new(s->m->count, sizeof *grow) : NULL;
        run->loss = train_step(s, run->r, inputs, targets, grow, &norm);
        if (!isfinite(run->loss) || !isfinite(norm)) run_not_finite(run, norm);
        gpt_adamw(s->m, run->r->pool, &adam, ++s->step, norm);
        if (score) run->scoring += seconds() - t;
        masks_step(s, run->r, grow, o->quiet);
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
    const char *output[4] = {run->out, run->best, o->log, o->json};
    const bool fresh = !o->resume || strcmp(run->out, o->resume);
    struct stat st, in;
    for (int k = 0; k < 4; k++) {
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
        printf("the four matrices of each layer %.4g %% dense now, in blocks of %s: %.2f M parameters active; masks %s, "
               "%s; learning rate %.4g\n",
               100 * masks_density(run->s.o, run->s.m, true), run->s.o->block, (double)parameters(run->s.m, true) / 1e6,
               run->s.o->mask, run->s.o->update, run->s.o->lr);
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
        val = evaluate(run->r, &run->d, 0);
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
    outputs_check(&run, o);
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    run.s = o->resume ? state_resume(o, &run.d) : state_new(o, &run.d);
    if (o->resume && !strcmp(run.out, o->resume)) run.saved = run.out;
    else run.s.best = INFINITY;
    o = run.s.o;
    const size_t group = group_size(o, &run.s.m->c, o->batch, true);
    const size_t need = run.s.m->floats * 16 + run.s.m->table[WTE].size * 4 + run.s.m->lanes * 64
                        + (run.d.train.n + run.d.val.n) * 4
                        + gpt_run_bytes(&run.s.m->c, group, o->context, o->panel / LINE, o->threads, true);
    mem_check((double)need, "the run (try --group 1, a smaller --panel or model)");
    DfPool *pool = df_begin(o->threads);
    run.peak = peak_flops(pool), run.terminal = !o->quiet && isatty(1);
    run.log = log_open(o->log, run.s.step);
    run.r = gpt_run_new(run.s.m, pool, group, o->context, o->panel, true);
    schedule_set(run.r, o);
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

static int cmd_eval(int argc, char **argv) {
    Options *o = options_read(argc, argv, EVAL, "a checkpoint");
    State s = checkpoint_read(o->file, o, false);
    if (option_given(o, "seed")) s.o->seed = o->seed;
    if (option_given(o, "corpus")) s.o->corpus = o->corpus;
    Data d = data_read(s.o, &s.tok, s.m->c.V, false);
    const size_t group = group_size(s.o, &s.m->c, 16, false);
    DfPool *pool = df_begin(s.o->threads);
    GptRun *r = gpt_run_new(s.m, pool, group, s.m->c.ctx, s.o->panel, false);
    if (d.val.n < 2) die("the text has %zu tokens; at least 2 are needed", d.val.n);
    const Score score = evaluate(r, &d, 0);
    score_print(o->file, &score, d.floor);
    if (o->json) {
        Out out = out_open(o->json);
        fputc('{', out.f);
        json_score(&out, &score, d.floor);
        json_end(&out);
    }
    const bool finite = isfinite(score.nats);
    gpt_run_free(r), gpt_free(s.m), tok_free(s.tok), data_free(&d), df_end(pool);
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
           masks && to != MODEL_HF ? " [masks, whose zeros stay]" : "",
           run || vocab || (masks && to != MODEL_HF) ? "" : " nothing");
    gpt_free(s.m), tok_free(s.tok), free(s.o), free(o);
    return 0;
}

/* ---- bench -------------------------------------------------------------------------------------------- */

/* Prints one measured figure: its rate and its share of the peak measured beside it; to *json too. */
static void bench_line(Out *json, const char *what, double flops, double share, double ms) {
    printf("%-64s %7.1f GFLOP/s  %3.0f %% of peak", what, flops / 1e9, 100 * share);
    if (ms > 0) printf("  %8.1f ms", ms);
    putchar('\n'), fflush(stdout);
    if (!json->f) return;
    fprintf(json->f, "%s\n  {\"name\": \"%s\", \"gflops\": %.6g, \"peak_share\": %.4g, \"step_ms\": ",
            ftell(json->f) > 13 ? "," : "", what, flops / 1e9, share);
    if (ms > 0) fprintf(json->f, "%.6g}", ms); else fputs("null}", json->f);
}

typedef struct { SpMat mat; float *w, *dw, *x, *y; size_t groups, panel; int product; } BenchProduct;

static void bench_product_task(void *arg, size_t task, size_t worker) {
    const BenchProduct *b = arg;
    const size_t xs = b->mat.IC * LINE, ys = b->mat.nb * LINE * LINE;
    (void)task, (void)worker;
    for (size_t g = 0; g < b->groups; g += b->panel) {
        float *x = b->x + g * xs, *y = b->y + g * ys;
        if (b->product == 0) sp_forward(&b->mat, 0, b->mat.nb, b->w, x, xs, y, ys, b->panel);
        else if (b->product == 1) sp_backward_data(&b->mat, 0, b->mat.nb, b->w, y, NULL, ys, x, xs, b->panel);
        else sp_backward_weight(&b->mat, 0, b->mat.nb, b->dw, y, NULL, ys, x, xs, b->panel);
    }
}
/* The three products of one matrix, dense (w = 0) or an eighth of it kept in blocks of 16xw. */
static void bench_products(size_t IC, size_t OC, size_t w, size_t panel, DfPool *one, Out *json) {
    static const char *const name[3] = {"forward", "backward-data", "backward-weight"};
    const size_t T = 256, nb = OC / LINE, J = w ? IC / w : 1;
    char what[96], block[16] = "dense";
    uint8_t *on = mem_new(nb * J, 1);
    if (w) sp_mask_balanced(on, nb, J, J / 8, 1), snprintf(block, sizeof block, "1/8 in 16x%zu", w);
    BenchProduct b = {.mat = sp_pattern(OC, IC, w ? w : 1, w ? on : NULL), .groups = T / LINE, .panel = panel / LINE};
    b.w = mem_new(b.mat.lines, 64), b.dw = mem_new(b.mat.lines, 64);
    b.x = mem_new(T * IC, 4), b.y = mem_new(T * OC, 4);
    for (size_t i = 0; i < b.mat.lines * LINE; i++) b.w[i] = (float)(rng_f64(1, i) - 0.5);
    for (b.product = 0; b.product < 3; b.product++) {
        double best = 0, share = 0;
        for (int n = 0; n < (w ? 25 : 9); n++) {            /* each beside a fresh measurement of the peak */
            for (size_t i = 0; i < T * IC; i++) b.x[i] = (float)(rng_f64(2, i) - 0.5);
            for (size_t i = 0; i < T * OC; i++) b.y[i] = (float)(rng_f64(3, i) - 0.5);
            const double peak = peak_flops(one);
            bench_product_task(&b, 0, 0);                   /* once to have it in the caches */
            const double t = seconds();
            bench_product_task(&b, 0, 0);
            const double rate = 2.0 * (double)(T * b.mat.lines * LINE) / (seconds() - t);
            if (rate / peak > share) share = rate / peak, best = rate;
        }
        snprintf(what, sizeof what, "%zu -> %zu, 256 tokens, %s, %s", IC, OC, block, name[b.product]);
        bench_line(json, what, best, share, 0);
    }
    sp_free(&b.mat), free(b.w), free(b.dw), free(b.x), free(b.y), free(on);
}

/* A whole training step, the four matrices of each layer that sparse; the seconds. */
static double bench_step(GptConfig c, size_t B, size_t T, double sparsity, const Options *opt, size_t threads,
                         size_t steps, Out *json) {
    DfPool *pool = df_begin(threads);
    Options o = {.batch = B, .context = T, .group = AUTO, .sparsity = sparsity, .block = opt->block,
                 .mask = "balanced", .spread = "uniform", .update = "static"};
    SpMat *mats = sparsity > 0 ? masks_new(&o, &c, NULL) : NULL;
    State s = {.o = &o, .m = gpt_make(c, mats, true, true)};
    free(mats);
    GptRun *r = gpt_run_new(s.m, pool, group_size(&o, &c, B, true), T, opt->panel, true);
    schedule_set(r, opt);
    int32_t *inputs = mem_new(B * T, 4), *targets = mem_new(B * T, 4);
    double *took = mem_new(steps, sizeof *took), *share = mem_new(steps, sizeof *share), norm;
    gpt_init(s.m, 1, true);
    for (size_t i = 0; i < B * T; i++)
        inputs[i] = (int32_t)(rng_u64(1, i) % c.V), targets[i] = (int32_t)(rng_u64(2, i) % c.V);
    for (size_t n = 0; n < steps + 1; n++) {
        const double peak = peak_flops(pool), t = seconds();
        train_step(&s, r, inputs, targets, NULL, &norm);
        gpt_adamw(s.m, pool, &(GptAdam){1e-4, 0.9, 0.95, 1e-8, 0.1, 1}, n + 1, norm);
        if (n)
            took[n - 1] = seconds() - t,
                     share[n - 1] = flops_per_token(s.m, T) * (double)(B * T) / took[n - 1] / peak;
    }
    const double step = median(took, steps);
    char what[96];
    snprintf(what, sizeof what, "step, %zu layers x %zu, T=%zu, V=%zu, B=%zu, %g %% sparse, %zu threads", c.L, c.C,
             T, c.V, B, 100 * sparsity, threads);
    bench_line(json, what, flops_per_token(s.m, T) * (double)(B * T) / step, median(share, steps),
               1000 * step);
    free(inputs), free(targets), free(took), free(share);
    gpt_run_free(r), gpt_free(s.m), df_end(pool);
    return step;
}

static int cmd_bench(int argc, char **argv) {
    const Options *o = options_read(argc, argv, BENCH, NULL);
    const GptConfig small = {6, 6, 384, 1024, 256}, middle = {12, 12, 768, 4096, 256},
                    gpt2 = {12, 12, 768, 50257, 1024};
    static const double sparsity[] = {0.5, 0.75, 0.875, 0.9, 0.95};
    DfPool *one = df_begin(1), *all = df_begin(o->threads);
    const double p1 = peak_flops(one), pn = peak_flops(all);
    Out json = {0};
    if (o->json) json = out_open(o->json), fputs("{\"results\": [", json.f);
    bench_line(&json, "multiply-adds, 1 thread", p1, 1, 0);
    char what[64];
    snprintf(what, sizeof what, "multiply-adds, %zu threads", o->threads);
    bench_line(&json, what, pn, 1, 0);
    df_end(all);
    for (size_t k = 0, w = 0; k < 6; k++, w = 32u >> k)     /* dense, then blocks of 16x16 .. 16x1 */
        bench_products(768, 3072, w, o->panel, one, &json), bench_products(3072, 768, w, o->panel, one, &json);
    df_end(one);
    bench_step(small, 8, 256, 0, o, o->threads, 5, &json);
    const double alone = bench_step(middle, 8, 256, 0, o, 1, 3, &json),
                 dense = bench_step(middle, 8, 256, 0, o, o->threads, 3, &json);
    printf("%zu threads are %.2fx one thread; the peak's own scaling is %.2fx\n", o->threads, alone / dense,
           pn / p1);
    for (size_t k = 0; k < sizeof sparsity / sizeof *sparsity; k++) {
        const double linear = 12.0 * (double)(middle.L * middle.C * middle.C), keep = 1 - sparsity[k],
                     rest = (double)(middle.V * middle.C) + 256.0 * (double)(middle.C * middle.L);
        const double ratio = dense / bench_step(middle, 8, 256, sparsity[k], o, o->threads, 5, &json);
        printf("    %.2fx the dense step; its FLOPs would allow %.2fx\n", ratio,
               (linear + rest) / (linear * keep + rest));
    }
    bench_step(gpt2, 4, 64, 0, o, o->threads, 5, &json);
    if (o->json) {
        fputs("\n]}\n", json.f);
        if (!out_commit(&json)) die("%s: cannot write: %s", o->json, strerror(errno));
    }
    return 0;
}

/* ---- simulate --------------------------------------------------------------------------------------------- */

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
        const size_t OC = p->in_out ? p->cols : p->rows, IC = p->in_out ? p->rows : p->cols, nb = gpt_rows(OC) / LINE;
        const size_t w = gpt_maskable(p) ? parse_block(o) : 1;
        if (IC % w) usage("--block: expected one that divides the %zu inputs of %s, found '%s'", IC, p->name, o->block);
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
    const double tokens = (double)(o->batch * c.ctx), sparsity[2] = {0, o->sparsity > 0 ? o->sparsity : 0.875};
    DfClock way[4];
    for (int k = 0; k < 2; k++) {
        DfGraph g = simulate_graph(o, &c, sparsity[k], NG);
        DfPlan *plan = df_plan(&g, chip, o->depth, groups, false);
        const bool shown = k == (o->sparsity > 0);
        Out csv = {0};
        if (shown && o->show_graph) report_graph(&g, NG);
        if (shown && o->csv) csv = out_open(o->csv);
        if (shown)
            printf("%zu layers x %zu, T=%zu, V=%zu, B=%zu, %g %% sparse, on chip %s: %zu tiles of %zu KiB, panels of %zu, depth %zu\n"
                   "simulated, optimizer left out:\n", c.L, c.C, c.ctx, c.V, o->batch, 100 * sparsity[k], chip.name, chip.tiles,
                   chip.sram / 1024, groups * LINE, o->depth);
        way[2 * k] = report_kernels(&g, &chip, o->batch, NG, groups);
        way[2 * k + 1] = report_sections(&g, plan, o->batch, NG, csv.f, !shown);
        if (csv.f && !out_commit(&csv)) die("%s: cannot write: %s", o->csv, strerror(errno));
        if (shown && o->trace) report_trace(o->trace, &g, plan, o->batch, NG, NULL, 0);
        df_plan_free(plan, &g), gpt_graph_free(&g);
    }
    printf("\n%-22s %9s %9s %9s %9s %9s %9s %14s %11s\n", "", "KB/token", "weights", "gradients", "activ.", "random", "FLOP/B",
           "cycles", "s a step");
    static const char *const name[4] = {"dense, kernel", "dense, dataflow", "sparse, kernel", "sparse, dataflow"};
    for (int k = 0; k < 4; k++) report_way(name[k], &way[k], tokens);
    printf("a line gathered on chip lies across all banks; 16 random lanes into 16 banks would get %.1f %% of the throughput; "
           "gathered on chip %.1f GB a step, off chip 0\n", 100 * df_bank_share(16, 16, 10000), way[3].gathered / 1e9);
    if (o->json) {
        Out out = out_open(o->json);
        static const char *const key[4] = {"dense_kernel", "dense_dataflow", "sparse_kernel", "sparse_dataflow"};
        fputc('{', out.f);
        for (int k = 0; k < 4; k++)
            fprintf(out.f, "%s\"%s\": {\"off_chip_bytes\": %.0f, \"weights\": %.0f, \"gradients\": %.0f, \"activations\": %.0f, "
                    "\"random\": %.0f, \"flops\": %.0f, \"intensity\": %.6g, \"cycles\": %.0f, \"seconds\": %.6g}", k ? ", " : "",
                    key[k], df_off_chip(&way[k]), way[k].weights, way[k].grads, way[k].in + way[k].out, way[k].random, way[k].flops,
                    way[k].flops / df_off_chip(&way[k]), way[k].cycles, way[k].seconds);
        json_end(&out);
    }
    return 0;
}

/* ---- help, the demonstration, main -------------------------------------------------------------------- */

static int cmd_help(int argc, char **argv);
static int cmd_demo(int argc, char **argv);

static const struct { const char *name; int bit; int (*run)(int, char **); const char *help; } commands[] = {
    {"run", RUN, cmd_run, "train a model"},
    {"eval", EVAL, cmd_eval, "CKPT: its loss on a text"},
    {"sample", SAMPLE, cmd_sample, "CKPT: text from a model"},
    {"tokenize", TOKENIZE, cmd_tokenize, "standard input to ids, and back"},
    {"verify", VERIFY, cmd_verify, "DUMP: another program's numbers, or an llm.c debug state, by tensor"},
    {"dump", DUMP, cmd_dump, "OUT: a model, a batch and what must come of them, for others to check"},
    {"convert", CONVERT, cmd_convert, "IN OUT: between checkpoints, Hugging Face's and llm.c's models"},
    {"simulate", SIMULATE, cmd_simulate, "a training step on a described chip: sections, traffic, cycles; no data"},
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
