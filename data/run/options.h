/* options.h: command lines to numbers, and what of them a checkpoint keeps.
 *
 * One table says of every option its name, kind, range, default, the commands that take it and what it is
 * for. Parsing, defaults, `./train help` and the metadata of checkpoints all walk this table, so that a new
 * option is a field of Options and a line here. A name may stand in it more than once, for commands that mean
 * different things by it: `--tokens` are files to `run`, and a number to `sample`.
 *
 * It refuses to guess: an option that a command does not take, one given twice, a number out of its range or
 * a word that is none of the known ones ends in one line that names it, and status 2.
 *
 * Example: of `run --lr 0.003 --text a b --quiet` the list `text` gets two files, `lr` a number, `quiet`
 * true, and `given` these three places; all else is as the table says. "auto" in it is AUTO or NAN: the
 * command works it out. An option that `decides` the result is stored in a checkpoint, as text. */
#ifndef OPTIONS_H
#define OPTIONS_H
#include "../model/checkpoint.h"
#include <stddef.h>

/* ---- the table ---------------------------------------------------------------------------------------- */

enum {
    RUN = 1,
    EVAL = 2,
    SAMPLE = 4,
    TOKENIZE = 8,
    BENCH = 16,
    VERIFY = 32,
    DUMP = 64,
    CONVERT = 128,
    SIMULATE = 256,
    COMPARE = 512,
    TRAIN = RUN | COMPARE,
    ANY = ~0,                       /* further ones too */
    FILES_MAX = 256,
    DUMP_STEPS = 10000              /* the most */
};
#define AUTO SIZE_MAX               /* a whole number that is to be worked out; of real numbers, NAN */

typedef struct {
    struct List { const char *item[FILES_MAX]; size_t n; } text, tokens, arm;   /* names as in the table */
    const char *file, *to;                                  /* the arguments that are no options */
    const char *whose;                                      /* the arm of a comparison; NULL: a command's */
    struct { size_t layers, heads, width, context, vocab, batch, steps; double sparsity; const char *block;
    } dump;
    const char *format, *type;
    double tolerance;
    bool acts;
    const char *val, *vocab, *pattern, *model, *out, *resume, *init, *log, *json, *prompt, *save, *shard;
    const char *block, *mask, *spread, *update, *scale, *schedule, *chip;
    size_t layers, heads, width, context, batch, steps, warmup, corpus, seed, every, stop, panel, group,
        threads;
    size_t top_k, val_tokens, count;
    size_t mask_seed, mask_every, tiles, sram, depth, sim_vocab, items;
    const char *trace, *csv, *dir, *arms, *report, *choices, *sim_sweep, *why;
    size_t seeds;
    double margin, peak_share;
    bool show_graph, products, timeline;
    size_t walk, section;
    double zeros;                   /* of the products of bench */
    double lr, min_lr, layer_decay, dropout, attention_dropout, decay, beta1, beta2, eps, clip, val_share, temperature, top_p;
    double sparsity, drop, mask_stop, densify, dense_first;
    bool quiet, decode, documents, show_mask, sweep, raw16, no_eot, special;
    size_t vocab_size;
    bool given[128];                                        /* by place in the table below */
} Options;

/* What an option is about: its heading in the help. */
enum { DATA, MODEL, TRAINING, SPARSITY, MACHINE, FILES, HEADINGS };

/* kind: u whole number, f real number, s text, l list of texts, b flag. at: the field of Options. preset: the
 * default, as it would be typed; "auto": worked out; "": none. */
typedef struct {
    const char *name;
    char kind;
    bool decides;                   /* the result, so it is stored in checkpoints */
    int commands, heading;
    size_t at;
    double min, max;
    const char *preset, *help;
} Option;

static const Option options[] = {
#define AT(field) offsetof(Options, field)
    {"text", 'l', 0, TRAIN | EVAL, DATA, AT(text), 0, 0, "",
     "FILE... text to read; default: the built-in corpus"},
    {"text", 'l', 0, TOKENIZE, DATA, AT(text), 0, 0, "",
     "FILE... to train the vocabulary on; default: standard input"},
    {"tokens", 'l', 0, TRAIN | EVAL, DATA, AT(tokens), 0, 0, "",
     "SHARD... of llm.c, or .npy, instead of text"},
    {"raw16", 'b', 0, TRAIN | EVAL, DATA, AT(raw16), 0, 0, "",
     "the files of --tokens and --val are bare uint16, as nanoGPT's"},
    {"vocab-size", 'u', 0, TRAIN, DATA, AT(vocab_size), 2, 1u << 26, "50257",
     "ids of --tokens that come without a vocabulary"},
    {"tokens", 'u', 0, SAMPLE, DATA, AT(count), 0, 1e9, "200", "N, at most so many"},
    {"val", 's', 0, TRAIN, DATA, AT(val), 0, 0, "",
     "FILE to validate on, of the same kind; default: a held-out share"},
    {"val-share", 'f', 1, TRAIN, DATA, AT(val_share), 0.0001, 0.9, "0.1",
     "share of the documents held out"},
    {"val-tokens", 'u', 1, TRAIN, DATA, AT(val_tokens), 1, 1e15, "65536",
     "tokens a validation during training reads"},
    {"corpus", 'u', 1, TRAIN | EVAL, DATA, AT(corpus), 1e5, 1e10, "8000000",
     "bytes of built-in stories"},
    {"vocab", 's', 0, TRAIN | TOKENIZE, DATA, AT(vocab), 0, 0, "2048",
     "N to train so many tokens, or a vocabulary FILE"},
    {"pattern", 's', 0, TRAIN | TOKENIZE, DATA, AT(pattern), 0, 0, "",
     "gpt2: the vocabulary was made for GPT-2's pattern, which its file does not say"},
    {"model", 's', 0, TRAIN | SIMULATE, MODEL, AT(model), 0, 0, "d4",
     "dN (N layers of width 64N), gpt2, gpt-1.3b, gpt-6.7b, gpt-13b"},
    {"layers", 'u', 1, TRAIN | SIMULATE, MODEL, AT(layers), 1, 1000, "auto",
     "layers, in place of the model's"},
    {"heads", 'u', 1, TRAIN | SIMULATE, MODEL, AT(heads), 1, 10000, "auto",
     "heads; must divide the width"},
    {"width", 'u', 1, TRAIN | SIMULATE, MODEL, AT(width), 1, 100000, "auto", "channels"},
    {"context", 'u', 1, TRAIN | SIMULATE, MODEL, AT(context), 1, 1000000, "256",
     "positions: tokens of a sequence"},
    {"batch", 'u', 1, TRAIN | SIMULATE, TRAINING, AT(batch), 1, 1e6, "16", "sequences per step"},
    {"steps", 'u', 1, TRAIN, TRAINING, AT(steps), 1, 1e12, "500", "steps of the whole schedule"},
    {"lr", 'f', 1, TRAIN | DUMP, TRAINING, AT(lr), 0, 100, "auto",
     "learning rate; default by width, depth and density: run says which, and why"},
    {"layer-decay", 'f', 1, TRAIN, TRAINING, AT(layer_decay), 0, 1, "1",
     "F: each layer's rate is F times that of the layer above; embeddings' F times the lowest's"},
    {"dropout", 'f', 1, TRAIN, TRAINING, AT(dropout), 0, 0.9, "0",
     "share of the embedding and of each residual branch that a step leaves out"},
    {"attention-dropout", 'f', 1, TRAIN, TRAINING, AT(attention_dropout), 0, 0.9, "0",
     "share of attention's probabilities that a step leaves out"},
    {"min-lr", 'f', 1, TRAIN, TRAINING, AT(min_lr), 0, 100, "auto",
     "at the end of the cosine; default lr / 10"},
    {"warmup", 'u', 1, TRAIN, TRAINING, AT(warmup), 0, 1e12, "auto",
     "steps of linear warm-up; default 3 % of the steps"},
    {"weight-decay", 'f', 1, TRAIN | DUMP, TRAINING, AT(decay), 0, 100, "0.1",
     "on matrices, embeddings included"},
    {"beta1", 'f', 1, TRAIN | DUMP, TRAINING, AT(beta1), 0, 0.999999, "0.9", "of AdamW"},
    {"beta2", 'f', 1, TRAIN | DUMP, TRAINING, AT(beta2), 0, 0.999999, "0.95", "of AdamW"},
    {"eps", 'f', 1, TRAIN | DUMP, TRAINING, AT(eps), 1e-30, 1, "1e-8", "of AdamW"},
    {"grad-clip", 'f', 1, TRAIN | DUMP, TRAINING, AT(clip), 0, 1e9, "1",
     "largest norm of the gradient; 0: any"},
    {"sparsity", 'f', 1, TRAIN | SIMULATE, SPARSITY, AT(sparsity), 0, 0.999999, "0",
     "share of zeros in the four matrices of each layer; the rest stays dense"},
    {"block", 's', 1, TRAIN | SIMULATE | BENCH, SPARSITY, AT(block), 0, 0, "16x4",
     "16xW: outputs x inputs kept together, W 1, 2, 4, 8, 16"},
    {"mask", 's', 1, TRAIN, SPARSITY, AT(mask), 0, 0, "balanced",
     "balanced, random, butterfly, magnitude (with --init or --dense-first), or a FILE of "
     "mask.NAME"},
    {"spread", 's', 1, TRAIN | SIMULATE, SPARSITY, AT(spread), 0, 0, "uniform",
     "uniform, erk, or qkv=S/proj=S/fc=S/fc2=S: sparsity of each kind of matrix"},
    {"mask-seed", 'u', 1, TRAIN, SPARSITY, AT(mask_seed), 0, 1e15, "1", "of the masks"},
    {"update", 's', 1, TRAIN, SPARSITY, AT(update), 0, 0, "static",
     "how masks evolve: static, set, rigl, or gmp (dense at first, pruned step by step)"},
    {"drop", 'f', 1, TRAIN, SPARSITY, AT(drop), 0.000001, 1, "0.3",
     "share of the blocks set and rigl move, at first; to 0 by a cosine"},
    {"mask-every", 'u', 1, TRAIN, SPARSITY, AT(mask_every), 1, 1e12, "100",
     "steps between updates of the masks"},
    {"mask-stop", 'f', 1, TRAIN, SPARSITY, AT(mask_stop), 0, 1, "0.75",
     "share of the steps after which masks stay"},
    {"densify", 'f', 1, TRAIN, SPARSITY, AT(densify), 0, 1, "0",
     "share of the steps, at the end, that train dense; 1 also makes a sparse model of --init dense"},
    {"dense-first", 'f', 1, TRAIN, SPARSITY, AT(dense_first), 0, 1, "0",
     "share of the steps, at the start, that train dense"},
    {"scale", 's', 1, TRAIN, SPARSITY, AT(scale), 0, 0, "init",
     "none, init (deviation / sqrt(density)), supar (that, and rate / density for the sparse "
     "matrices)"},
    {"show-mask", 'b', 0, RUN, SPARSITY, AT(show_mask), 0, 0, "", "a picture of every mask"},
    {"seed", 'u', 1, TRAIN | SAMPLE | EVAL | DUMP, TRAINING, AT(seed), 0, 1e15, "1",
     "of weights, order of data, stories, samples"},
    {"out", 's', 0, RUN, FILES, AT(out), 0, 0, "model.ckpt",
     "checkpoint to write; the best one goes to OUT.best"},
    {"resume", 's', 0, RUN, FILES, AT(resume), 0, 0, "",
     "CKPT to go on from, bit for bit; --out defaults to it"},
    {"init", 's', 0, RUN | VERIFY | DUMP, MODEL, AT(init), 0, 0, "",
     "CKPT whose weights and vocabulary to start from; also a model of others"},
    {"every", 'u', 0, TRAIN, TRAINING, AT(every), 1, 1e12, "100",
     "steps between validations and checkpoints"},
    {"stop", 'u', 0, RUN, TRAINING, AT(stop), 1, 1e12, "auto",
     "end after this step, schedule unchanged"},
    {"log", 's', 0, RUN, FILES, AT(log), 0, 0, "", "FILE.csv, a line per step"},
    {"json", 's', 0, TRAIN | EVAL | BENCH | VERIFY | SIMULATE, FILES, AT(json), 0, 0, "",
     "FILE for the results as one object"},
    {"items", 'u', 0, EVAL | COMPARE, DATA, AT(items), 0, 1e6, "2000",
     "cloze items of each sort: questions, last words, continuations"},
    {"choices", 's', 0, EVAL, DATA, AT(choices), 0, 0, "",
     "FILE of multiple choice instead of a text: JSON lines as HellaSwag's or BLiMP's"},
    {"margin", 'f', 0, EVAL | COMPARE, TRAINING, AT(margin), 0, 100, "0.01",
     "bits/byte below which a difference does not matter"},
    {"report", 's', 0, COMPARE, FILES, AT(report), 0, 0, "", "FILE.html for the results as a page"},
    {"panel", 'u', 0, TRAIN | SIMULATE | EVAL | BENCH, MACHINE, AT(panel), 16, 128, "64",
     "tokens per panel: 16, 32, 64 or 128"},
    {"group", 'u', 0, TRAIN | EVAL, MACHINE, AT(group), 1, 1e6, "auto",
     "sequences in memory at once; default: 512 MiB of them"},
    {"schedule", 's', 0, TRAIN | BENCH, MACHINE, AT(schedule), 0, 0, "fit",
     "serial or kernel (a stage at a time), dataflow (streaming over tiles); the same bits; fit: "
     "dataflow if the chip has room for the model's streams, else kernel"},
    {"chip", 's', 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(chip), 0, 0, "host",
     "host, mesh, sn10, sn30, sn40l, a100, or a FILE of key=value"},
    {"tiles", 'u', 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(tiles), 1, 65536, "auto",
     "tiles, in place of the chip's"},
    {"sram", 'u', 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(sram), 64, 1e12, "auto",
     "bytes of memory of each tile"},
    {"depth", 'u', 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(depth), 1, 64, "2",
     "slots of a stream: 2 is double buffering"},
    {"vocab", 'u', 0, SIMULATE, DATA, AT(sim_vocab), 2, 1e9, "auto",
     "tokens; default: 2048 for dN, 50257 for the others"},
    {"sweep", 's', 0, SIMULATE, MACHINE, AT(sim_sweep), 0, 0, "",
     "KEY=A..B of sparsity, batch, sram, memory or context: a CSV line each, to --csv or to be seen"},
    {"timeline", 'b', 0, SIMULATE, MACHINE, AT(timeline), 0, 0, "",
     "who works when in section --section: a row a tile, a digit a panel"},
    {"walk", 'u', 0, SIMULATE, MACHINE, AT(walk), 0, 1e12, "auto",
     "N: what happens to panel N in section --section"},
    {"section", 'u', 0, SIMULATE, MACHINE, AT(section), 0, 1e12, "0", "section of --timeline and --walk"},
    {"why", 's', 0, RUN | SIMULATE, MACHINE, AT(why), 0, 0, "",
     "STAGE: whom it waits for, and whom those wait for; in a run, its first step"},
    {"peak-share", 'f', 0, SIMULATE, MACHINE, AT(peak_share), 0.01, 1, "0.5957",
     "of an A100's peak that dense training reaches (published: 13B at T=2048)"},
    {"show-graph", 'b', 0, SIMULATE, MACHINE, AT(show_graph), 0, 0, "",
     "every stage: what it holds, computes, reads and makes"},
    {"trace", 's', 0, RUN | SIMULATE, MACHINE, AT(trace), 0, 0, "",
     "FILE.json for Perfetto: the simulated tiles and, of a run's first step, the host's threads"},
    {"csv", 's', 0, SIMULATE, FILES, AT(csv), 0, 0, "", "FILE of the section table"},
    {"csv", 's', 0, EVAL, FILES, AT(csv), 0, 0, "", "FILE for the endings of --choices, a line each"},
    {"products", 'b', 0, BENCH, MACHINE, AT(products), 0, 0, "",
     "the products alone, dense and sparse in blocks of --block"},
    {"sparsity", 'f', 0, BENCH, SPARSITY, AT(zeros), 0, 0.999999, "0.875",
     "share of zeros in the sparse products"},
    {"threads", 'u', 0, ANY, MACHINE, AT(threads), 1, DF_WORKERS, "auto",
     "default: physical cores"},
    {"arms", 's', 0, COMPARE, TRAINING, AT(arms), 0, 0, "dense,small,sparse,recipe,wide",
     "which, with commas; the first is compared with"},
    {"arm", 'l', 0, COMPARE, TRAINING, AT(arm), 0, 0, "",
     "NAME:KEY=VALUE,... options of one arm, such as sparse:lr=0.01,block=16x16; a new NAME is a "
     "new arm"},
    {"seeds", 'u', 0, COMPARE, TRAINING, AT(seeds), 1, 1000, "1",
     "runs of each arm, from --seed and --mask-seed on"},
    {"sweep", 'b', 0, COMPARE, TRAINING, AT(sweep), 0, 0, "",
     "first each arm at half, once and twice its learning rate, under a seed of its own; then at "
     "the best"},
    {"out", 's', 0, COMPARE, FILES, AT(dir), 0, 0, "compare",
     "DIR of the runs: finished ones are not repeated, others go on"},
    {"quiet", 'b', 0, TRAIN | SAMPLE, FILES, AT(quiet), 0, 0, "", "no progress"},
    {"no-eot", 'b', 0, SAMPLE, DATA, AT(no_eot), 0, 0, "",
     "no end-of-text id before the prompt; else one goes there, as in training"},
    {"special", 'b', 0, SAMPLE, DATA, AT(special), 0, 0, "",
     "<|endoftext|> in the prompt is the id, not these letters"},
    {"prompt", 's', 0, SAMPLE, DATA, AT(prompt), 0, 0, "", "TEXT to continue"},
    {"temperature", 'f', 0, SAMPLE, TRAINING, AT(temperature), 0, 1000, "0.8",
     "0: always the likeliest token"},
    {"top-k", 'u', 0, SAMPLE, TRAINING, AT(top_k), 0, 1e9, "0", "of the k likeliest only; 0: all"},
    {"top-p", 'f', 0, SAMPLE, TRAINING, AT(top_p), 0, 1, "1",
     "of the likeliest that hold this share"},
    {"save", 's', 0, TOKENIZE, FILES, AT(save), 0, 0, "", "FILE for the vocabulary"},
    {"shard", 's', 0, TOKENIZE, DATA, AT(shard), 0, 0, "",
     "FILE for the tokens, in llm.c's format"},
    {"documents", 'b', 0, TOKENIZE, DATA, AT(documents), 0, 0, "",
     "the text is documents, as run reads it: an end-of-text id before, between and after them"},
    {"decode", 'b', 0, TOKENIZE, DATA, AT(decode), 0, 0, "", "ids to text"},
    {"tolerance", 'f', 0, VERIFY, TRAINING, AT(tolerance), 1e-12, 1e3, "auto",
     "relative error allowed; default: 16 times our own float32's"},
    {"layers", 'u', 0, DUMP, MODEL, AT(dump.layers), 1, 1000, "2", "layers of fresh weights"},
    {"heads", 'u', 0, DUMP, MODEL, AT(dump.heads), 1, 10000, "2", "heads"},
    {"width", 'u', 0, DUMP, MODEL, AT(dump.width), 1, 100000, "32", "channels"},
    {"vocab", 'u', 0, DUMP, DATA, AT(dump.vocab), 2, 1u << 26, "96", "tokens"},
    {"context", 'u', 0, DUMP, MODEL, AT(dump.context), 1, 1000000, "16",
     "positions; also the tokens of a sequence"},
    {"batch", 'u', 0, DUMP, TRAINING, AT(dump.batch), 1, 1e6, "2", "sequences"},
    {"steps", 'u', 0, DUMP, TRAINING, AT(dump.steps), 0, DUMP_STEPS, "3", "of AdamW on that batch"},
    {"sparsity", 'f', 0, DUMP, SPARSITY, AT(dump.sparsity), 0, 1, "0",
     "share of the linear weights masked, at random"},
    {"block", 's', 0, DUMP, SPARSITY, AT(dump.block), 0, 0, "1x1",
     "OUTPUTSxINPUTS masked together, such as 16x4"},
    {"acts", 'b', 0, DUMP, MODEL, AT(acts), 0, 0, "", "activations of every stage too"},
    {"format", 's', 0, CONVERT, MODEL, AT(format), 0, 0, "",
     "native, hf, llmc or gguf; default: by the name, .ckpt, a directory or .safetensors, .bin, "
     ".gguf"},
    {"type", 's', 0, CONVERT, MODEL, AT(type), 0, 0, "f32",
     "f32 or f16, of the matrices in a .gguf"},
#undef AT
};
enum { OPTIONS = sizeof options / sizeof *options };
_Static_assert((int)OPTIONS <= (int)(sizeof((Options *)0)->given),
               "Options.given has a place for every option");

/* What a newcomer to a command needs, most wanted first; the help shows the rest on demand. */
enum { FIRST = 10 };
static const struct { int command; const char *option[FIRST]; } first_options[] = {
    {RUN, {"text", "out", "steps", "model", "sparsity", "context", "batch", "lr", "vocab", "resume"}},
    {COMPARE, {"text", "out", "steps", "model", "sparsity", "arms", "arm", "seeds", "sweep", "report"}},
};
enum { FIRST_LISTS = sizeof first_options / sizeof *first_options };

/* Ends the program: the command line is wrong. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void usage(const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    die("%s (see ./train help)", line);
}

/* The same of options o, which may be an arm's: then it is named. */
__attribute__((format(printf, 2, 3), noreturn)) static inline void refuse(const Options *o, const char *fmt,
                                                                          ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (o->whose) usage("arm %s: %s", o->whose, line);
    usage("%s", line);
}

/* ---- words for numbers -------------------------------------------------------------------------------- */

/* The place of an option's value among n words. */
static inline int parse_word(const Options *o, const char *option, const char *value,
                             const char *const *words, int n) {
    for (int k = 0; k < n; k++) if (!strcmp(value, words[k])) return k;
    refuse(o, "--%s: unknown '%s'", option, value);
}
enum { IF_IT_FITS, SERIAL, KERNEL, DATAFLOW };
static inline int parse_schedule(const Options *o) {
    static const char *const words[] = {"fit", "serial", "kernel", "dataflow"};
    return parse_word(o, "schedule", o->schedule, words, 4);
}
static inline bool parse_pattern(const Options *o) {        /* whether it was given */
    return o->pattern && !parse_word(o, "pattern", o->pattern, (const char *const[]){"gpt2"}, 1);
}
static inline bool parse_type(const Options *o) {           /* whether it is half precision */
    return parse_word(o, "type", o->type, (const char *const[]){"f32", "f16"}, 2);
}
static inline size_t parse_block(const Options *o) {        /* W of 16xW */
    const char *w = !strncmp(o->block, "16x", 3) ? o->block + 3 : "";
    const size_t n = *w && !w[strspn(w, "0123456789")] && strlen(w) < 3 ? (size_t)atoi(w) : 0;
    if (!n || n > LINE || (n & (n - 1)))
        refuse(o, "--block: expected 16x1, 16x2, 16x4, 16x8 or 16x16, found '%s'", o->block);
    return n;
}

/* ---- reading a command line --------------------------------------------------------------------------- */

/* Stores value in option k; where names the command line or a file for the error. */
static inline void option_set(Options *o, int k, const char *value, const char *where) {
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
static inline int option_find(const char *name, int commands) {
    int found = -1;
    for (int k = 0; k < OPTIONS; k++)
        if (!strcmp(options[k].name, name)) {
            if (options[k].commands & commands) return k;
            found = -2;
        }
    return found;
}
/* Dies: no command takes that option, found where the words before it say. */
__attribute__((noreturn)) static inline void option_unknown(const char *where, const char *dashes,
                                                            const char *name, int command) {
    Nearest near = nearest_to(name);
    for (int k = 0; k < OPTIONS; k++)
        if (options[k].commands & command) nearest_offer(&near, options[k].name);
    if (!near.name) usage("%sunknown option '%s%s'", where, dashes, name);
    usage("%sunknown option '%s%s'; the nearest one is %s%s", where, dashes, name, dashes, near.name);
}
/* Whether an option of run or tokenize was given. */
static inline bool option_given(const Options *o, const char *name) {
    return o->given[option_find(name, RUN | TOKENIZE)];
}

/* Option k as if it were not given. */
static inline void option_preset(Options *o, int k) {
    void *field = (char *)o + options[k].at;
    if (!options[k].preset[0]) return;
    if (strcmp(options[k].preset, "auto")) option_set(o, k, options[k].preset, "");
    else if (options[k].kind == 'u') *(size_t *)field = AUTO;
    else *(double *)field = NAN;
    o->given[k] = false;
}

/* Defaults, then the command line of a command. A list takes every argument up to the next option. */
static inline Options *options_read(int argc, char **argv, int command, const char *takes_file) {
    Options *o = mem_new(1, sizeof *o);
    char where[32];
    snprintf(where, sizeof where, "%s: ", argv[0]);
    for (int k = 0; k < OPTIONS; k++) option_preset(o, k);
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2)) {
            const char **place = o->file && command & (CONVERT | EVAL) ? &o->to : &o->file;
            if (!takes_file || *place) usage("%s: expected an option, found '%s'", argv[0], argv[i]);
            *place = argv[i];
            continue;
        }
        const int k = option_find(argv[i] + 2, command);
        if (k == -1) option_unknown(where, "--", argv[i] + 2, command);
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
    if (command & TRAIN && parse_schedule(o) == SERIAL) o->threads = 1;
    if (o->panel & (o->panel - 1)) usage("--panel: expected 16, 32, 64 or 128, found %zu", o->panel);
    return o;
}

/* ---- what is written ---------------------------------------------------------------------------------- */

/* Dies if a file to write cannot be written, or is one that is read: of the options, or `more`. */
static inline void output_check(const char *path, const Options *o, const char *more) {
    const char *other[] = {o->val, o->vocab, o->init, o->file, o->to, o->mask, o->chip, o->choices, more};
    const size_t n = sizeof other / sizeof *other, lists = o->text.n + o->tokens.n;
    struct stat st;
    const bool there = file_stat(path, &st) && !S_ISCHR(st.st_mode);
    for (size_t i = 0; there && i < lists + n; i++) {
        const char *input = i < o->text.n ? o->text.item[i] : i < lists ? o->tokens.item[i - o->text.n]
                                                                        : other[i - lists];
        if (input && input != path && file_same(input, path))
            die("%s: would be written over while it is read", path);
    }
    out_probe(path);
}
/* The same for every file that the options name to be written; dies too if two of them, or of n more of a
 * run's own, are one file. */
static inline void outputs_check(const Options *o, const char *const *own, size_t n) {
    const char *const named[] = {o->log, o->json, o->report, o->trace, o->csv, o->save, o->shard};
    const size_t names = sizeof named / sizeof *named;
    for (size_t k = 0; k < names; k++) {
        struct stat st;
        if (!named[k]) continue;
        output_check(named[k], o, o->resume);
        if (file_stat(named[k], &st) && !S_ISREG(st.st_mode)) continue;        /* a device takes any number */
        for (size_t i = 0; i < k + n; i++) {
            const char *other = i < k ? named[i] : own[i - k];
            if (other && file_same(other, named[k]))
                usage("%s: expected as many files as outputs, found it twice", named[k]);
        }
    }
}

/* ---- what a checkpoint keeps: every option that decides the result ------------------------------------ */

/* The value of option k as text that reads back as it, in `room` unless it is text already. */
static inline const char *option_text(const Options *o, int k, char room[64]) {
    const void *field = (const char *)o + options[k].at;
    if (options[k].kind == 's') return *(const char *const *)field;
    if (options[k].kind == 'u') snprintf(room, 64, "%zu", *(const size_t *)field);
    for (int digits = 6; options[k].kind == 'f' && digits < 18; digits++) {
        snprintf(room, 64, "%.*g", digits, *(const double *)field);
        if (strtod(room, NULL) == *(const double *)field) break;
    }
    return room;
}
static inline bool option_auto(const Options *o, int k) {   /* still to be worked out */
    const void *field = (const char *)o + options[k].at;
    return options[k].kind == 'u' ? *(const size_t *)field == AUTO
                                  : options[k].kind == 'f' && isnan(*(const double *)field);
}
static inline void options_to_meta(StWriter *w, const Options *o) {
    char room[64];
    for (int k = 0; k < OPTIONS; k++)
        if (options[k].decides) st_meta_put(w, options[k].name, option_text(o, k, room));
}
/* Replaces them in o by those of the checkpoint at path; they count as not given. An older one does not know
 * all: what it lacks is as it was then, at its default, if that is fixed. */
static inline void options_from_meta(const Safetensors *st, const char *path, Options *o) {
    char where[PATH_MAX + 16];
    snprintf(where, sizeof where, "%s: ", path);
    for (int k = 0; k < OPTIONS; k++) {
        if (!options[k].decides) continue;
        if (st_meta(st, options[k].name) || !strcmp(options[k].preset, "auto"))
            option_set(o, k, text_copy(meta_need(st, path, options[k].name)), where);
        else option_preset(o, k);
        o->given[k] = false;
    }
}

/* ---- the model ---------------------------------------------------------------------------------------- */

/* Models by name: GPT-2's smallest, and three of GPT-3's shapes with heads of 128
 * (its table prints 5140 for the width of the last, and 24 heads for the first). */
static const struct { const char *name; size_t layers, heads, width; } model_names[] = {
    {"gpt2", 12, 12, 768},
    {"gpt-1.3b", 24, 16, 2048},
    {"gpt-6.7b", 32, 32, 4096},
    {"gpt-13b", 40, 40, 5120},
};

/* A name of these, or dN: layers, heads and width, where they are not given. */
static inline void model_shape(Options *o) {
    const char *digits = o->model + 1;
    size_t n = 0;
    for (size_t k = 0; k < sizeof model_names / sizeof *model_names; k++) {
        if (strcmp(o->model, model_names[k].name)) continue;
        n = model_names[k].layers;
        if (o->heads == AUTO && o->width == AUTO) o->heads = model_names[k].heads;
        if (o->width == AUTO) o->width = model_names[k].width;
    }
    if (!n && o->model[0] == 'd' && strlen(digits) <= 3 && !digits[strspn(digits, "0123456789")])
        n = (size_t)atoi(digits);
    if (!n) refuse(o, "--model: expected dN, gpt2, gpt-1.3b, gpt-6.7b or gpt-13b, found '%s'", o->model);
    if (o->layers == AUTO) o->layers = n;
    if (o->heads == AUTO) o->heads = o->width == AUTO ? n : o->width % 64 ? 1 : o->width / 64;
    if (o->width == AUTO) o->width = 64 * n;
    if (o->width % o->heads)
        refuse(o, "--heads: expected a divisor of the width %zu, found %zu", o->width, o->heads);
}

#endif
