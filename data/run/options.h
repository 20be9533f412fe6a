/* options.h: command lines to numbers, and what of them a checkpoint keeps.
 *
 * One table says of every option its name, kind, range, default, the commands
 * that take it and what it is for. Parsing, defaults, `./train help`, the files
 * that must not be written over and the metadata of checkpoints all walk this
 * table, so that a new option is a field of Options and a line here. A name may
 * stand in it more than once, for commands that mean different things by it:
 * `--tokens` are files to `run`, and a number to `sample`.
 *
 * It refuses to guess: an option that a command does not take, one given twice, a
 * number out of its range or a word that is none of the known ones ends in one
 * line that names it, and status 2.
 *
 * Example: of `run --lr 0.003 --text a b --quiet` the list `text` gets two files,
 * `lr` a number, `quiet` true, and `given` these three places; all else is as the
 * table says. "auto" in it is AUTO or NAN: the command works it out. An option
 * that `decides` the result is stored in a checkpoint, as text. */
#ifndef OPTIONS_H
#define OPTIONS_H
#include "../model/checkpoint.h"
#include <stddef.h>

/* ---- the table ----------------------------------------------------------- */

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
#define AUTO SIZE_MAX               /* a whole number that is to be worked out;
                                     * of real numbers, NAN */

typedef struct {
    const char *item[FILES_MAX];
    size_t n;
} OptionList;

/* Texts on the heap that values of options point into: those of a command, for
 * itself and for all copies made of its options. */
typedef struct {
    char **item;
    size_t n, cap;
} OptionTexts;

/* What the options say, by heading as in the help. */
typedef struct {
    /* data */
    OptionList text;
    OptionList tokens;
    const char *val;
    const char *vocab;
    const char *pattern;
    const char *choices;
    const char *prompt;
    const char *shard;
    size_t vocab_size, sim_vocab, corpus, val_tokens, count, items;
    double val_share;
    bool raw16, documents, decode, no_eot, special;

    /* model */
    const char *model;
    const char *init;
    const char *format;
    const char *type;
    size_t layers, heads, width, context;
    bool acts;

    /* training */
    OptionList arm;
    const char *arms;
    size_t batch, steps, warmup, every, stop, seed, seeds, top_k;
    double lr, min_lr, layer_decay, dropout, attention_dropout;
    double decay, beta1, beta2, eps, clip;
    double margin, temperature, top_p, tolerance;
    bool sweep;

    /* sparsity */
    const char *block;
    const char *mask;
    const char *spread;
    const char *update;
    const char *scale;
    size_t mask_seed, mask_every;
    double sparsity, drop, mask_stop, densify, dense_first;
    double zeros;                   /* of the products of bench */
    bool show_mask;

    /* machine */
    const char *schedule;
    const char *chip;
    const char *trace;
    const char *sim_sweep;          /* of simulate, as all up to `validate`; */
    const char *why;                /* this one of run, too */
    size_t walk, section;
    double peak_share;
    bool timeline, validate;
    size_t panel, group, tiles, sram, depth, threads;
    bool show_graph, products, recompute;

    /* files */
    const char *out;
    const char *dir;
    const char *resume;
    const char *log;
    const char *json;
    const char *csv;
    const char *report;
    const char *save;
    bool quiet;

    /* of a dump: its own defaults */
    struct {
        size_t layers, heads, width, context, vocab, batch, steps;
        double sparsity;
        const char *block;
    } dump;

    const char *file;               /* the arguments that are no options */
    const char *to;
    const char *whose;              /* the arm of a comparison; NULL: a command's */
    bool given[128];                /* by place in the table below */
    OptionTexts *texts;
} Options;

/* What an option is about: its heading in the help. */
enum { DATA, MODEL, TRAINING, SPARSITY, MACHINE, FILES, HEADINGS };

/* What an option's value is, and the type of its field. */
typedef enum {
    WHOLE,                          /* a whole number: size_t */
    REAL,                           /* a number: double */
    FLAG,                           /* none; whether it was given: bool */
    TEXT,                           /* const char * */
    SOURCE,                         /* the same; if it names a file, one that is
                                     * only read */
    RESULT,                         /* the same; a file that is only written */
    LIST,                           /* texts: OptionList */
    SOURCES                         /* the same, of files that are only read */
} OptionKind;

typedef struct {
    const char *name;
    OptionKind kind;
    bool decides;                   /* the result, so it is stored in checkpoints */
    int commands, heading;
    size_t at;                      /* the place of its field in Options */
    double min, max;
    const char *preset;             /* the default, as it would be typed; "auto":
                                     * worked out; "": none */
    const char *help;
} Option;

static const Option options[] = {
#define AT(field) offsetof(Options, field)
    {"text", SOURCES, 0, TRAIN | EVAL, DATA, AT(text), 0, 0, "",
     "FILE... text to read; default: the built-in corpus"},
    {"text", SOURCES, 0, TOKENIZE, DATA, AT(text), 0, 0, "",
     "FILE... to train the vocabulary on; default: standard input"},
    {"tokens", SOURCES, 0, TRAIN | EVAL, DATA, AT(tokens), 0, 0, "",
     "SHARD... of llm.c, or .npy, instead of text"},
    {"raw16", FLAG, 0, TRAIN | EVAL, DATA, AT(raw16), 0, 0, "",
     "the files of --tokens and --val are bare uint16, as nanoGPT's"},
    {"vocab-size", WHOLE, 0, TRAIN, DATA, AT(vocab_size), 2, 1u << 26, "50257",
     "ids of --tokens that come without a vocabulary"},
    {"tokens", WHOLE, 0, SAMPLE, DATA, AT(count), 0, 1e9, "200",
     "N, at most so many"},
    {"val", SOURCE, 0, TRAIN, DATA, AT(val), 0, 0, "",
     "FILE to validate on, of the same kind; default: a held-out share"},
    {"val-share", REAL, 1, TRAIN, DATA, AT(val_share), 0.0001, 0.9, "0.1",
     "share of the documents held out"},
    {"val-tokens", WHOLE, 1, TRAIN, DATA, AT(val_tokens), 1, 1e15, "65536",
     "tokens a validation during training reads"},
    {"corpus", WHOLE, 1, TRAIN | EVAL, DATA, AT(corpus), 1e5, 1e10, "8000000",
     "bytes of built-in stories"},
    {"vocab", SOURCE, 0, TRAIN | TOKENIZE, DATA, AT(vocab), 0, 0, "2048",
     "N to train so many tokens, or a vocabulary FILE"},
    {"pattern", TEXT, 0, TRAIN | TOKENIZE, DATA, AT(pattern), 0, 0, "",
     "gpt2: the vocabulary was made for GPT-2's pattern, which its file "
     "does not say"},
    {"model", TEXT, 0, TRAIN | SIMULATE, MODEL, AT(model), 0, 0, "d4",
     "dN (N layers of width 64N), gpt2, gpt-1.3b, gpt-6.7b, gpt-13b"},
    {"layers", WHOLE, 1, TRAIN | SIMULATE, MODEL, AT(layers), 1, 1000, "auto",
     "layers, in place of the model's"},
    {"heads", WHOLE, 1, TRAIN | SIMULATE, MODEL, AT(heads), 1, 10000, "auto",
     "heads; must divide the width"},
    {"width", WHOLE, 1, TRAIN | SIMULATE, MODEL, AT(width), 1, 100000, "auto",
     "channels"},
    {"context", WHOLE, 1, TRAIN | SIMULATE, MODEL, AT(context), 1, 1000000, "256",
     "positions: tokens of a sequence"},
    {"batch", WHOLE, 1, TRAIN | SIMULATE, TRAINING, AT(batch), 1, 1e6, "16",
     "sequences per step"},
    {"steps", WHOLE, 1, TRAIN, TRAINING, AT(steps), 1, 1e12, "500",
     "steps of the whole schedule"},
    {"lr", REAL, 1, TRAIN | DUMP, TRAINING, AT(lr), 0, 100, "auto",
     "learning rate; default by width, depth and density: run says which, "
     "and why"},
    {"layer-decay", REAL, 1, TRAIN, TRAINING, AT(layer_decay), 0, 1, "1",
     "F: each layer's rate is F times that of the layer above; embeddings' "
     "F times the lowest's"},
    {"dropout", REAL, 1, TRAIN, TRAINING, AT(dropout), 0, 0.9, "0",
     "share of the embedding and of each residual branch that a step "
     "leaves out"},
    {"attention-dropout", REAL, 1, TRAIN, TRAINING, AT(attention_dropout), 0, 0.9, "0",
     "share of attention's probabilities that a step leaves out"},
    {"min-lr", REAL, 1, TRAIN, TRAINING, AT(min_lr), 0, 100, "auto",
     "at the end of the cosine; default lr / 10"},
    {"warmup", WHOLE, 1, TRAIN, TRAINING, AT(warmup), 0, 1e12, "auto",
     "steps of linear warm-up; default 3 % of the steps"},
    {"weight-decay", REAL, 1, TRAIN | DUMP, TRAINING, AT(decay), 0, 100, "0.1",
     "on matrices, embeddings included"},
    {"beta1", REAL, 1, TRAIN | DUMP, TRAINING, AT(beta1), 0, 0.999999, "0.9",
     "of AdamW"},
    {"beta2", REAL, 1, TRAIN | DUMP, TRAINING, AT(beta2), 0, 0.999999, "0.95",
     "of AdamW"},
    {"eps", REAL, 1, TRAIN | DUMP, TRAINING, AT(eps), 1e-30, 1, "1e-8",
     "of AdamW"},
    {"grad-clip", REAL, 1, TRAIN | DUMP, TRAINING, AT(clip), 0, 1e9, "1",
     "largest norm of the gradient; 0: any"},
    {"sparsity", REAL, 1, TRAIN | SIMULATE, SPARSITY, AT(sparsity), 0, 0.999999, "0",
     "share of zeros in the four matrices of each layer; the rest stays "
     "dense"},
    {"block", TEXT, 1, TRAIN | SIMULATE | BENCH, SPARSITY, AT(block), 0, 0, "16x4",
     "16xW: outputs x inputs kept together, W 1, 2, 4, 8, 16"},
    {"mask", SOURCE, 1, TRAIN, SPARSITY, AT(mask), 0, 0, "balanced",
     "balanced, random, butterfly, magnitude (with --init or "
     "--dense-first), or a FILE of mask.NAME"},
    {"spread", TEXT, 1, TRAIN | SIMULATE, SPARSITY, AT(spread), 0, 0, "uniform",
     "uniform, erk, or qkv=S/proj=S/fc=S/fc2=S: sparsity of each kind of "
     "matrix"},
    {"mask-seed", WHOLE, 1, TRAIN, SPARSITY, AT(mask_seed), 0, 1e15, "1",
     "of the masks"},
    {"update", TEXT, 1, TRAIN, SPARSITY, AT(update), 0, 0, "static",
     "how masks evolve: static, set, rigl, or gmp (dense at first, pruned "
     "step by step)"},
    {"drop", REAL, 1, TRAIN, SPARSITY, AT(drop), 0.000001, 1, "0.3",
     "share of the blocks set and rigl move, at first; to 0 by a cosine"},
    {"mask-every", WHOLE, 1, TRAIN, SPARSITY, AT(mask_every), 1, 1e12, "100",
     "steps between updates of the masks"},
    {"mask-stop", REAL, 1, TRAIN, SPARSITY, AT(mask_stop), 0, 1, "0.75",
     "share of the steps after which masks stay"},
    {"densify", REAL, 1, TRAIN, SPARSITY, AT(densify), 0, 1, "0",
     "share of the steps, at the end, that train dense; 1 also makes a "
     "sparse model of --init dense"},
    {"dense-first", REAL, 1, TRAIN, SPARSITY, AT(dense_first), 0, 1, "0",
     "share of the steps, at the start, that train dense"},
    {"scale", TEXT, 1, TRAIN, SPARSITY, AT(scale), 0, 0, "init",
     "none, init (deviation / sqrt(density)), supar (that, and rate / "
     "density for the sparse matrices)"},
    {"show-mask", FLAG, 0, RUN, SPARSITY, AT(show_mask), 0, 0, "",
     "a picture of every mask"},
    {"seed", WHOLE, 1, TRAIN | SAMPLE | EVAL | DUMP, TRAINING, AT(seed), 0, 1e15, "1",
     "of weights, order of data, stories, samples"},
    {"out", TEXT, 0, RUN, FILES, AT(out), 0, 0, "model.ckpt",
     "checkpoint to write; the best one goes to OUT.best"},
    {"resume", TEXT, 0, RUN, FILES, AT(resume), 0, 0, "",
     "CKPT to go on from, bit for bit; --out defaults to it"},
    {"init", SOURCE, 0, RUN | DUMP, MODEL, AT(init), 0, 0, "",
     "CKPT whose weights and vocabulary to start from; also a model of "
     "others"},
    {"init", SOURCE, 0, VERIFY, MODEL, AT(init), 0, 0, "",
     "CKPT, or a model of others: the weights of an llm.c debug state"},
    {"every", WHOLE, 0, TRAIN, TRAINING, AT(every), 1, 1e12, "100",
     "steps between validations and checkpoints"},
    {"stop", WHOLE, 0, RUN, TRAINING, AT(stop), 1, 1e12, "auto",
     "end after this step, schedule unchanged"},
    {"log", RESULT, 0, RUN, FILES, AT(log), 0, 0, "",
     "FILE.csv, a line per step"},
    {"json", RESULT, 0, TRAIN | EVAL | BENCH | VERIFY | SIMULATE, FILES, AT(json), 0, 0, "",
     "FILE for the results as one object"},
    {"items", WHOLE, 0, EVAL | COMPARE, DATA, AT(items), 0, 1e6, "2000",
     "cloze items of each sort: questions, last words, continuations"},
    {"choices", SOURCE, 0, EVAL, DATA, AT(choices), 0, 0, "",
     "FILE of multiple choice instead of a text: JSON lines as HellaSwag's "
     "or BLiMP's"},
    {"margin", REAL, 0, EVAL | COMPARE, TRAINING, AT(margin), 0, 100, "0.01",
     "bits/byte below which a difference does not matter"},
    {"report", RESULT, 0, COMPARE, FILES, AT(report), 0, 0, "",
     "FILE.html for the results as a page"},
    {"report", RESULT, 0, SIMULATE, FILES, AT(report), 0, 0, "",
     "FILE.html for the step as a page: tiles over time, waits, memory, traffic"},
    {"panel", WHOLE, 0, TRAIN | SIMULATE | EVAL | BENCH, MACHINE, AT(panel), 16, 128, "64",
     "tokens per panel: 16, 32, 64 or 128"},
    {"group", WHOLE, 0, TRAIN | EVAL, MACHINE, AT(group), 1, 1e6, "auto",
     "sequences in memory at once; default: 512 MiB of them, of a model of half zeros 256"},
    {"recompute", FLAG, 0, TRAIN | SIMULATE, MACHINE, AT(recompute), 0, 0, "",
     "what GELU takes is computed again by the backward pass, not kept: less "
     "memory, the same bits"},
    {"schedule", TEXT, 0, TRAIN | BENCH, MACHINE, AT(schedule), 0, 0, "fit",
     "serial or kernel (a stage at a time), dataflow (streaming over "
     "tiles); the same bits; fit: kernel if the chip has no room for the "
     "model's streams or, on host, is slower in the first steps, else dataflow"},
    {"schedule", TEXT, 0, SIMULATE, MACHINE, AT(schedule), 0, 0, "fit",
     "dataflow: all of it streams; fit: but for stages that are faster by "
     "themselves on all tiles, as kernels"},
    {"chip", SOURCE, 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(chip), 0, 0, "host",
     "host, mesh, sn10, sn30, sn40l, a100, a FILE of key=value; in simulate here, measured"},
    {"tiles", WHOLE, 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(tiles), 1, DF_TILES_MOST, "auto",
     "tiles, in place of the chip's"},
    {"sram", WHOLE, 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(sram), 64, 1e12, "auto",
     "bytes of memory of each tile"},
    {"depth", WHOLE, 0, TRAIN | SIMULATE | BENCH, MACHINE, AT(depth), 1, 64, "2",
     "slots of a stream: 2 is double buffering"},
    {"vocab", WHOLE, 0, SIMULATE, DATA, AT(sim_vocab), 2, 1e9, "auto",
     "tokens; default: 2048 for dN, 50257 for the others"},
    {"sweep", TEXT, 0, SIMULATE, MACHINE, AT(sim_sweep), 0, 0, "",
     "KEY=A..B of sparsity, batch, sram, memory or context: a CSV line "
     "each, to --csv or to be seen"},
    {"timeline", FLAG, 0, SIMULATE, MACHINE, AT(timeline), 0, 0, "",
     "who works when in section --section: a row a tile, a digit a panel"},
    {"walk", WHOLE, 0, SIMULATE, MACHINE, AT(walk), 0, 1e12, "auto",
     "N: what happens to panel N in section --section"},
    {"section", WHOLE, 0, SIMULATE, MACHINE, AT(section), 0, 1e12, "auto",
     "section of --timeline and --walk; default: the first that is a pipeline"},
    {"why", TEXT, 0, RUN | SIMULATE, MACHINE, AT(why), 0, 0, "",
     "STAGE: whom it waits for, and whom those wait for; in a run, its "
     "first step"},
    {"peak-share", REAL, 0, SIMULATE, MACHINE, AT(peak_share), 0.01, 1, "0.5957",
     "of an A100's peak that dense training reaches (published: 13B at "
     "T=2048)"},
    {"show-graph", FLAG, 0, SIMULATE, MACHINE, AT(show_graph), 0, 0, "",
     "every stage: what it holds, computes, reads and makes"},
    {"validate", FLAG, 0, SIMULATE, MACHINE, AT(validate), 0, 0, "",
     "what the clock says that training steps take on this machine, and what "
     "they take: of the model, or of six sizes"},
    {"trace", RESULT, 0, RUN | SIMULATE, MACHINE, AT(trace), 0, 0, "",
     "FILE.json for Perfetto: the simulated tiles and, of a run's first "
     "step, the host's threads"},
    {"csv", RESULT, 0, SIMULATE, FILES, AT(csv), 0, 0, "",
     "FILE of the section table"},
    {"csv", RESULT, 0, EVAL, FILES, AT(csv), 0, 0, "",
     "FILE for the endings of --choices, a line each"},
    {"products", FLAG, 0, BENCH, MACHINE, AT(products), 0, 0, "",
     "the products alone, dense and sparse in blocks of --block"},
    {"sparsity", REAL, 0, BENCH, SPARSITY, AT(zeros), 0, 0.999999, "0.875",
     "share of zeros in the sparse products"},
    {"threads", WHOLE, 0, ANY, MACHINE, AT(threads), 1, DF_WORKERS, "auto",
     "default: physical cores"},
    {"arms", TEXT, 0, COMPARE, TRAINING, AT(arms), 0, 0, "dense,small,sparse,recipe,wide",
     "which, with commas; the first is compared with"},
    {"arm", LIST, 0, COMPARE, TRAINING, AT(arm), 0, 0, "",
     "NAME:KEY=VALUE,... options of one arm, such as "
     "sparse:lr=0.01,block=16x16; a new NAME is a new arm"},
    {"seeds", WHOLE, 0, COMPARE, TRAINING, AT(seeds), 1, 1000, "1",
     "runs of each arm, from --seed and --mask-seed on"},
    {"sweep", FLAG, 0, COMPARE, TRAINING, AT(sweep), 0, 0, "",
     "first each arm at half, once and twice its learning rate, under a "
     "seed of its own; then at the best"},
    {"out", TEXT, 0, COMPARE, FILES, AT(dir), 0, 0, "compare",
     "DIR of the runs: finished ones are not repeated, others go on"},
    {"quiet", FLAG, 0, TRAIN | SAMPLE, FILES, AT(quiet), 0, 0, "",
     "no progress"},
    {"no-eot", FLAG, 0, SAMPLE, DATA, AT(no_eot), 0, 0, "",
     "no end-of-text id before the prompt; else one goes there, as in "
     "training"},
    {"special", FLAG, 0, SAMPLE, DATA, AT(special), 0, 0, "",
     "<|endoftext|> in the prompt is the id, not these letters"},
    {"prompt", TEXT, 0, SAMPLE, DATA, AT(prompt), 0, 0, "", "TEXT to continue"},
    {"temperature", REAL, 0, SAMPLE, TRAINING, AT(temperature), 0, 1000, "0.8",
     "0: always the likeliest token"},
    {"top-k", WHOLE, 0, SAMPLE, TRAINING, AT(top_k), 0, 1e9, "0",
     "of the k likeliest only; 0: all"},
    {"top-p", REAL, 0, SAMPLE, TRAINING, AT(top_p), 0, 1, "1",
     "of the likeliest that hold this share"},
    {"save", RESULT, 0, TOKENIZE, FILES, AT(save), 0, 0, "",
     "FILE for the vocabulary"},
    {"shard", RESULT, 0, TOKENIZE, DATA, AT(shard), 0, 0, "",
     "FILE for the tokens, in llm.c's format"},
    {"documents", FLAG, 0, TOKENIZE, DATA, AT(documents), 0, 0, "",
     "the text is documents, as run reads it: an end-of-text id before, "
     "between and after them"},
    {"decode", FLAG, 0, TOKENIZE, DATA, AT(decode), 0, 0, "", "ids to text"},
    {"tolerance", REAL, 0, VERIFY, TRAINING, AT(tolerance), 1e-12, 1e3, "auto",
     "relative error allowed; default: 16 times our own float32's"},
    {"layers", WHOLE, 0, DUMP, MODEL, AT(dump.layers), 1, 1000, "2",
     "layers of fresh weights"},
    {"heads", WHOLE, 0, DUMP, MODEL, AT(dump.heads), 1, 10000, "2", "heads"},
    {"width", WHOLE, 0, DUMP, MODEL, AT(dump.width), 1, 100000, "32",
     "channels"},
    {"vocab", WHOLE, 0, DUMP, DATA, AT(dump.vocab), 2, 1u << 26, "96",
     "tokens"},
    {"context", WHOLE, 0, DUMP, MODEL, AT(dump.context), 1, 1000000, "16",
     "positions; also the tokens of a sequence"},
    {"batch", WHOLE, 0, DUMP, TRAINING, AT(dump.batch), 1, 1e6, "2",
     "sequences"},
    {"steps", WHOLE, 0, DUMP, TRAINING, AT(dump.steps), 0, DUMP_STEPS, "3",
     "of AdamW on that batch"},
    {"sparsity", REAL, 0, DUMP, SPARSITY, AT(dump.sparsity), 0, 1, "0",
     "share of the linear weights masked, at random"},
    {"block", TEXT, 0, DUMP, SPARSITY, AT(dump.block), 0, 0, "1x1",
     "OUTPUTSxINPUTS masked together, such as 16x4"},
    {"acts", FLAG, 0, DUMP, MODEL, AT(acts), 0, 0, "",
     "activations of every stage too"},
    {"format", TEXT, 0, CONVERT, MODEL, AT(format), 0, 0, "",
     "native, hf, llmc or gguf; default: by the name, .ckpt, a directory "
     "or .safetensors, .bin, .gguf"},
    {"type", TEXT, 0, CONVERT, MODEL, AT(type), 0, 0, "f32",
     "f32 or f16, of the matrices in a .gguf"},
#undef AT
};
enum { OPTIONS = sizeof options / sizeof *options };
_Static_assert((int)OPTIONS <= (int)(sizeof((Options *)0)->given),
               "Options.given has a place for every option");

/* What a newcomer to a command needs, most wanted first; the help shows the rest
 * on demand. */
enum { FIRST = 10 };
static const struct {
    int command;
    const char *option[FIRST];
} first_options[] = {
    {RUN, {"text", "out", "steps", "model", "sparsity",
           "context", "batch", "lr", "vocab", "resume"}},
    {COMPARE, {"text", "out", "steps", "model", "sparsity",
               "arms", "arm", "seeds", "sweep", "report"}},
};
enum { FIRST_LISTS = sizeof first_options / sizeof *first_options };

/* Ends the program: the command line is wrong. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void usage(
    const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    die("%s (see ./train help)", line);
}

/* The same of options o, which may be an arm's: then it is named. */
__attribute__((format(printf, 2, 3), noreturn)) static inline void refuse(
    const Options *o, const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (o->whose) usage("arm %s: %s", o->whose, line);
    usage("%s", line);
}

/* ---- words for numbers --------------------------------------------------- */

/* The place of an option's value among n words. */
static inline int parse_word(const Options *o, const char *option,
                             const char *value, const char *const *words, int n) {
    for (int k = 0; k < n; k++)
        if (!strcmp(value, words[k])) return k;
    refuse(o, "--%s: unknown '%s'", option, value);
}
enum { IF_IT_FITS, SERIAL, KERNEL, DATAFLOW };
static inline int parse_schedule(const Options *o) {
    static const char *const words[] = {"fit", "serial", "kernel", "dataflow"};
    return parse_word(o, "schedule", o->schedule, words, 4);
}
/* Whether it was given. */
static inline bool parse_pattern(const Options *o) {
    static const char *const words[] = {"gpt2"};
    return o->pattern && !parse_word(o, "pattern", o->pattern, words, 1);
}
/* Whether it is half precision. */
static inline bool parse_type(const Options *o) {
    static const char *const words[] = {"f32", "f16"};
    return parse_word(o, "type", o->type, words, 2);
}
/* W of 16xW. */
static inline size_t parse_block(const Options *o) {
    const char *w = !strncmp(o->block, "16x", 3) ? o->block + 3 : "";
    const bool digits = *w && !w[strspn(w, "0123456789")] && strlen(w) < 3;
    const size_t n = digits ? (size_t)atoi(w) : 0;
    if (!n || n > LINE || (n & (n - 1)))
        refuse(o, "--block: expected 16x1, 16x2, 16x4, 16x8 or 16x16, found '%s'",
               o->block);
    return n;
}

/* ---- reading a command line ---------------------------------------------- */

static inline bool option_is_text(const Option *opt) {
    return opt->kind == TEXT || opt->kind == SOURCE || opt->kind == RESULT;
}
static inline bool option_is_list(const Option *opt) {
    return opt->kind == LIST || opt->kind == SOURCES;
}
/* Stores a number; where names the command line or a file for the error. */
static inline void option_set_number(const Option *opt, void *field,
                                     const char *value, const char *where) {
    char *end;
    errno = 0;
    const double x = strtod(value, &end);
    const bool whole = !value[strspn(value, "0123456789")];
    const bool read = *value && !*end && !errno && isfinite(x);
    const bool kind = opt->kind == REAL || whole;
    if (!read || !kind || x < opt->min || x > opt->max)
        usage("%s--%s: expected a %s %g .. %g, found '%s'", where, opt->name,
              opt->kind == WHOLE ? "whole number" : "number", opt->min, opt->max,
              value);
    if (opt->kind == REAL) *(double *)field = x;
    else *(size_t *)field = (size_t)strtoull(value, NULL, 10);
}
/* A copy of a text, for values of these options to point into. */
static inline char *option_keep(Options *o, const char *text) {
    OptionTexts *t = o->texts;
    if (!t) o->texts = t = mem_new(1, sizeof *t);
    t->item = mem_grow(t->item, t->n, &t->cap, sizeof *t->item);
    return t->item[t->n++] = text_copy(text);
}
/* Frees the options of a command; those of its copies, which are freed by themselves,
 * point nowhere then. */
static inline void options_free(Options *o) {
    for (size_t k = 0; k < o->texts->n; k++) free(o->texts->item[k]);
    free(o->texts->item);
    free(o->texts);
    free(o);
}
/* Stores value in option k, or at the end of its list. */
static inline void option_set(Options *o, int k, const char *value,
                              const char *where) {
    const Option *opt = &options[k];
    void *field = (char *)o + opt->at;
    o->given[k] = true;
    if (option_is_list(opt)) {
        OptionList *list = field;
        if (list->n == FILES_MAX)
            usage("%s--%s: expected at most %d files", where, opt->name,
                  FILES_MAX);
        list->item[list->n++] = value;
    }
    else if (option_is_text(opt)) *(const char **)field = value;
    else if (opt->kind == FLAG) *(bool *)field = true;
    else option_set_number(opt, field, value, where);
}
/* The option of that name that a command in `commands` takes; -1: none, -2: only
 * others take it. */
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
__attribute__((noreturn)) static inline void option_unknown(const char *where,
                                                            const char *dashes,
                                                            const char *name,
                                                            int command) {
    Nearest near = nearest_to(name);
    for (int k = 0; k < OPTIONS; k++)
        if (options[k].commands & command)
            nearest_offer(&near, options[k].name);
    if (!near.name) usage("%sunknown option '%s%s'", where, dashes, name);
    usage("%sunknown option '%s%s'; the nearest one is %s%s", where, dashes, name,
          dashes, near.name);
}
/* Whether an option of run or tokenize was given. */
static inline bool option_given(const Options *o, const char *name) {
    return o->given[option_find(name, RUN | TOKENIZE)];
}

/* Refuses n other options of a command, which it leaves out when `one` is given. */
static inline void options_contradict(const Options *o, int command, const char *one,
                                      const char *const *others, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (o->given[option_find(others[k], command)])
            usage("--%s and --%s contradict each other", one, others[k]);
}

/* Option k as if it were not given. */
static inline void option_preset(Options *o, int k) {
    void *field = (char *)o + options[k].at;
    if (!options[k].preset[0]) return;
    if (strcmp(options[k].preset, "auto"))
        option_set(o, k, options[k].preset, "");
    else if (options[k].kind == WHOLE) *(size_t *)field = AUTO;
    else *(double *)field = NAN;
    o->given[k] = false;
}

/* Stores an argument that is no option. */
static inline void options_take_file(Options *o, const char *word,
                                     const char *command_name, int command,
                                     const char *takes_file) {
    const bool second = o->file && command & (CONVERT | EVAL);
    const char **place = second ? &o->to : &o->file;
    if (!takes_file || *place)
        usage("%s: expected an option, found '%s'", command_name, word);
    *place = word;
}
/* Reads option k from its name, words[0], and the n - 1 words after it; returns
 * how many it took. A list takes every one up to the next option. */
static inline int options_take(Options *o, int k, int n, char **words,
                               const char *command_name) {
    const bool list = option_is_list(&options[k]);
    const bool any = !strcmp(options[k].name, "prompt");    /* dashes too */
    int took = 1;
    if (o->given[k] && !list) usage("%s: '%s' given twice", command_name, *words);
    if (options[k].kind == FLAG) {
        option_set(o, k, "", "");
        return took;
    }
    if (n < 2 || (!strncmp(words[1], "--", 2) && !any))
        usage("%s: '%s' needs a value", command_name, *words);
    option_set(o, k, words[took++], "");
    while (list && took < n && strncmp(words[took], "--", 2))
        option_set(o, k, words[took++], "");
    return took;
}
/* Defaults, then the command line of a command. takes_file: what its arguments
 * are that are no options; NULL: it takes none. Freed by
 * options_free. */
static inline Options *options_read(int argc, char **argv, int command,
                                    const char *takes_file) {
    Options *o = mem_new(1, sizeof *o);
    o->texts = mem_new(1, sizeof *o->texts);
    char where[32];
    snprintf(where, sizeof where, "%s: ", argv[0]);
    for (int k = 0; k < OPTIONS; k++) option_preset(o, k);
    for (int i = 1; i < argc;) {
        if (strncmp(argv[i], "--", 2)) {
            options_take_file(o, argv[i++], argv[0], command, takes_file);
            continue;
        }
        const int k = option_find(argv[i] + 2, command);
        if (k == -1) option_unknown(where, "--", argv[i] + 2, command);
        if (k == -2) usage("%s does not take '%s'", argv[0], argv[i]);
        i += options_take(o, k, argc - i, argv + i, argv[0]);
    }
    if (takes_file && (!o->file || (command == CONVERT && !o->to)))
        usage("%s: expected %s", argv[0], takes_file);
    if (o->threads == AUTO) o->threads = df_cores();
    if (command & (TRAIN | BENCH) && parse_schedule(o) == SERIAL) {
        if (o->given[option_find("threads", command)] && o->threads > 1)
            usage("--schedule serial has one thread, found --threads %zu", o->threads);
        o->threads = 1;
    }
    if (o->panel & (o->panel - 1))
        usage("--panel: expected 16, 32, 64 or 128, found %zu", o->panel);
    return o;
}

/* ---- files that are read, files that are written ------------------------- */

/* Whether option k names that file, to be read. */
static inline bool option_reads(const Options *o, int k, const char *path) {
    const void *field = (const char *)o + options[k].at;
    if (options[k].kind == SOURCE) {
        const char *source = *(const char *const *)field;
        return source && file_same(source, path);
    }
    if (options[k].kind != SOURCES) return false;
    const OptionList *list = field;
    for (size_t i = 0; i < list->n; i++)
        if (file_same(list->item[i], path)) return true;
    return false;
}
/* The file that option k names for results, or NULL. */
static inline const char *option_result(const Options *o, int k) {
    const void *field = (const char *)o + options[k].at;
    if (options[k].kind != RESULT || !o->given[k]) return NULL;
    return *(const char *const *)field;
}
/* Dies if a file to write cannot be written, or is one that is read: of the
 * options, or `more`. */
static inline void output_check(const char *path, const Options *o,
                                const char *more) {
    const char *const other[3] = {o->file, o->to, more};
    struct stat st;
    const bool there = file_stat(path, &st) && !S_ISCHR(st.st_mode);
    bool read = false;
    for (int k = 0; k < OPTIONS && there; k++) read |= option_reads(o, k, path);
    for (int k = 0; k < 3 && there; k++)
        read |= other[k] && other[k] != path && file_same(other[k], path);
    if (read) die("%s: would be written over while it is read", path);
    out_probe(path);
}
/* The same for every file that the options name for results; dies too if two of
 * them, or of n more of a run's own, are one file. */
static inline void outputs_check(const Options *o, const char *const *own,
                                 size_t n) {
    for (int k = 0; k < OPTIONS; k++) {
        const char *path = option_result(o, k);
        struct stat st;
        bool twice = false;
        if (!path) continue;
        output_check(path, o, o->resume);
        if (file_stat(path, &st) && !S_ISREG(st.st_mode))
            continue;                       /* a device takes any number */
        for (int i = 0; i < k; i++) {
            const char *other = option_result(o, i);
            twice |= other && file_same(other, path);
        }
        for (size_t i = 0; i < n; i++)
            twice |= own[i] && file_same(own[i], path);
        if (twice)
            usage("%s: expected as many files as outputs, found it twice", path);
    }
}

/* ---- what a checkpoint keeps: every option that decides the result ------- */

/* The value of option k as text that reads back as it, in `room` unless it is
 * text already. */
static inline const char *option_text(const Options *o, int k, char room[64]) {
    const void *field = (const char *)o + options[k].at;
    if (option_is_text(&options[k])) return *(const char *const *)field;
    if (options[k].kind == WHOLE)
        snprintf(room, 64, "%zu", *(const size_t *)field);
    if (options[k].kind != REAL) return room;
    for (int digits = 6; digits < 18; digits++) {
        snprintf(room, 64, "%.*g", digits, *(const double *)field);
        if (strtod(room, NULL) == *(const double *)field) break;
    }
    return room;
}
static inline void options_to_meta(StWriter *w, const Options *o) {
    char room[64];
    for (int k = 0; k < OPTIONS; k++)
        if (options[k].decides)
            st_meta_put(w, options[k].name, option_text(o, k, room));
}
/* Says which metadata of a checkpoint are neither such options nor of a State: a newer
 * program may have written them. */
static inline void options_meta_note(const Safetensors *st, const char *path) {
    static const char *const state[] = {"format", "version", "vocab_size", "step", "data_hash",
                                        "best_val_loss"};
    for (size_t i = 0; i < st->n_meta; i++) {
        const char *key = st->meta[i].key;
        bool known = false;
        for (size_t k = 0; k < sizeof state / sizeof *state; k++)
            known |= !strcmp(state[k], key);
        for (int k = 0; k < OPTIONS; k++)
            known |= options[k].decides && !strcmp(options[k].name, key);
        if (!known) note("%s: metadata '%.200s' is not known and passed over", path, key);
    }
}
/* Replaces them in o by those of the checkpoint at path; they count as not given.
 * An older one does not know all: what it lacks is as it was then, at its
 * default, if that is fixed. */
static inline void options_from_meta(const Safetensors *st, const char *path,
                                     Options *o) {
    char where[PATH_MAX + 16];
    snprintf(where, sizeof where, "%s: ", path);
    for (int k = 0; k < OPTIONS; k++) {
        const Option *opt = &options[k];
        if (!opt->decides) continue;
        if (st_meta(st, opt->name) || !strcmp(opt->preset, "auto"))
            option_set(o, k, option_keep(o, meta_need(st, path, opt->name)), where);
        else option_preset(o, k);
        o->given[k] = false;
    }
    options_meta_note(st, path);
}

/* ---- the model ----------------------------------------------------------- */

/* Models by name: GPT-2's smallest, and three of GPT-3's shapes with heads of 128
 * (its table prints 5140 for the width of the last, and 24 heads for the first). */
static const struct {
    const char *name;
    size_t layers, heads, width;
} model_names[] = {
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
        if (o->heads == AUTO && o->width == AUTO)
            o->heads = model_names[k].heads;
        if (o->width == AUTO) o->width = model_names[k].width;
    }
    if (!n && o->model[0] == 'd' && strlen(digits) <= 3 &&
        !digits[strspn(digits, "0123456789")])
        n = (size_t)atoi(digits);
    if (!n)
        refuse(o, "--model: expected dN, gpt2, gpt-1.3b, gpt-6.7b or gpt-13b, "
                  "found '%s'", o->model);
    if (o->layers == AUTO) o->layers = n;
    if (o->heads == AUTO && o->width == AUTO) o->heads = n;
    if (o->heads == AUTO) o->heads = o->width % 64 ? 1 : o->width / 64;
    if (o->width == AUTO) o->width = 64 * n;
    if (o->width % o->heads)
        refuse(o, "--heads: expected a divisor of the width %zu, found %zu",
               o->width, o->heads);
}

#endif
