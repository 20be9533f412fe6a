/* chip.h: chips by name and from files, and what a run's options make of one.
 *
 * Presets, and files of key=value lines; README.md beside this file says what
 * the keys mean. Where sources conflict the choice is said beside the number.
 * It refuses a file that lacks a key or says one twice.
 *
 *     preset or file   df_chip
 *     --tiles --sram   parse_chip     the chip that a run has
 *     --schedule       schedule_set   whether it runs on it
 *
 * Example: `--chip sn10 --tiles 64` is a tenth of the chip. */
#ifndef CHIP_H
#define CHIP_H
#include "options.h"
#include "schedule.h"

/* ---- chips --------------------------------------------------------------- */

static const DfChip df_chips[] = {
    /* tiles, sram, element, flops, clock, port, memory, random, launch, kernels: DfChip */
    /* two cores, 205 GFLOP/s and 20 GB/s: host, to train on, as 8 tiles of 2 MiB,
     * whose pieces of a matrix are large enough for a core; mesh as 64 of 512 KiB,
     * whose slices of ten inputs cost a core a tenth */
    {"host", 8, 2097152, 4, 16, 1.6e9, 512, 20e9, 2e9, 1e-6, false},
    {"mesh", 64, 524288, 4, 2, 1.6e9, 64, 20e9, 2e9, 1e-6, false},
    /* 640 compute units of 32 x 6 multiply-adds (DFModel; others say 16 x 6),
     * 1.32 GHz for 325 TFLOP/s; 150 TB/s on chip; DDR4 at 100 GB/s streamed and 12 at
     * random (Peng et al. 2024) */
    {"sn10", 640, 524288, 2, 384, 1.32e9, 178, 100e9, 12e9, 1e-5, false},
    /* two SN10 dies: 1280 units at 1.25 GHz, 614 TFLOP/s (DFModel; 688 elsewhere);
     * 300 GB/s */
    {"sn30", 1280, 524288, 2, 384, 1.25e9, 188, 300e9, 36e9, 1e-5, false},
    /* 1040 units, 638 TFLOP/s, 520 MiB; HBM at 1.8 TB/s (1.6 to 2 are printed) */
    {"sn40l", 1040, 524288, 2, 384, 1.6e9, 188, 1.8e12, 216e9, 1e-5, false},
    /* 108 multiprocessors, 312 TFLOP/s, 192 KiB of their own each and 40 MB of shared
     * cache counted to them; 2.039 TB/s (the 80 GB model) */
    {"a100", 108, 566976, 2, 2048, 1.41e9, 512, 2.039e12, 250e9, 5e-6, true},
};

enum { DF_WHOLE = 3, DF_KEYS = 9 };     /* of the keys, so many are whole numbers */

static const char *const df_keys[DF_KEYS] = {
    "tiles", "sram",   "element", "flops",  "clock",
    "port",  "memory", "random",  "launch",
};

/* Dies if a number of the chip cannot be; of them only the launch may be 0. */
static inline DfChip df_chip_check(DfChip c, const char *where) {
    static const double most[DF_KEYS] = {
        DF_TILES_MOST, 0x1p40, 8, 1e9, 1e12, 1e9, 1e18, 1e18, 1,
    };
    const double value[DF_KEYS] = {
        (double)c.tiles, (double)c.sram, (double)c.element,
        c.flops, c.clock, c.port, c.memory, c.random, c.launch,
    };
    for (size_t k = 0; k < DF_KEYS; k++) {
        const bool may_be_0 = k + 1 == DF_KEYS;
        const bool enough = value[k] > 0 || (may_be_0 && value[k] == 0);
        if (!enough || value[k] > most[k])
            die("%s: %s: expected a number above 0, at most %g, found %g",
                where, df_keys[k], most[k], value[k]);
    }
    return c;
}

/* What a file says of a chip. */
typedef struct {
    const char *name;                   /* the file's */
    double value[DF_KEYS];
    bool seen[DF_KEYS];
} ChipFile;

/* Cuts the comment and white space at the end off a line. */
static inline void chip_trim(char *text) {
    text[strcspn(text, "#\r")] = 0;
    size_t end = strlen(text);
    while (end && strchr(" \t", text[end - 1])) end--;
    text[end] = 0;
}
/* Reads key=value. */
static inline void chip_line(ChipFile *f, char *text, size_t line) {
    char *equals = strchr(text, '=');
    char *stop;
    size_t k = 0;
    if (equals) *equals = 0;
    while (k < DF_KEYS && (!equals || strcmp(text, df_keys[k]))) k++;
    if (k == DF_KEYS)
        die("%s:%zu: expected key=value with a key of tiles, sram, element, flops, "
            "clock, port, memory, random, launch, found '%s'",
            f->name, line, text);
    if (f->seen[k])
        die("%s:%zu: expected %s once, found it again", f->name, line,
            df_keys[k]);
    f->value[k] = strtod(equals + 1, &stop);
    if (stop == equals + 1 || *stop)
        die("%s:%zu: %s: expected a number, found '%s'", f->name, line,
            df_keys[k], equals + 1);
    f->seen[k] = true;
}
/* Reads all lines. */
static inline void chip_lines(ChipFile *f, Bytes b) {
    size_t line = 1;
    size_t n;
    for (size_t at = 0; at < b.n; at += n + 1) {
        char text[128];
        n = 0;
        while (at + n < b.n && b.p[at + n] != '\n') n++;
        if (n >= sizeof text)
            die("%s:%zu: expected a shorter line", f->name, line);
        memcpy(text, b.p + at, n);
        text[n] = 0;
        if (strlen(text) < n) die("%s:%zu: expected text, found a NUL", f->name, line);
        chip_trim(text);
        if (text[strspn(text, " \t")]) chip_line(f, text, line);
        line++;
    }
}
/* Dies unless all keys are there, the first few as whole numbers. */
static inline void chip_complete(const ChipFile *f) {
    for (size_t k = 0; k < DF_KEYS; k++) {
        const double value = f->value[k];
        if (!f->seen[k])
            die("%s: expected %s=, found none", f->name, df_keys[k]);
        if (k >= DF_WHOLE) continue;
        if (!(value >= 0 && value < 0x1p53) || value != floor(value))
            die("%s: %s: expected a whole number, found %g", f->name,
                df_keys[k], value);
    }
}
/* A preset's name, or a file of key=value lines, one key a line, all keys; #
 * begins a comment. */
static inline DfChip df_chip(const char *name) {
    for (size_t k = 0; k < sizeof df_chips / sizeof *df_chips; k++)
        if (!strcmp(name, df_chips[k].name)) return df_chips[k];
    if (!strcmp(name, "here"))
        die("--chip: expected one to run on, as host or a file, found here, which "
            "simulate alone measures");
    if (access(name, F_OK) && !strchr(name, '/'))
        die("--chip: expected host, mesh, sn10, sn30, sn40l, a100, here or a file, "
            "found '%s'", name);
    ChipFile f = {.name = name};
    Bytes b = file_read(name);
    chip_lines(&f, b);
    file_free(&b);
    chip_complete(&f);
    DfChip c = {
        .tiles = (size_t)f.value[0],
        .sram = (size_t)f.value[1],
        .element = (size_t)f.value[2],
        .flops = f.value[3],
        .clock = f.value[4],
        .port = f.value[5],
        .memory = f.value[6],
        .random = f.value[7],
        .launch = f.value[8],
    };
    snprintf(c.name, sizeof c.name, "%.31s", name);
    return df_chip_check(c, name);
}

/* ---- how to run on one --------------------------------------------------- */

/* A chip with the tiles and the memory of each that the options name. */
static inline DfChip chip_with(DfChip c, const Options *o) {
    if (o->tiles != AUTO) c.tiles = o->tiles;
    if (o->sram != AUTO) c.sram = o->sram;
    return df_chip_check(c, o->chip);
}
static inline DfChip parse_chip(const Options *o) { return chip_with(df_chip(o->chip), o); }

/* Bytes of the chip's memory that a run will take. */
static inline size_t schedule_bytes(const Options *o) {
    const DfChip c = parse_chip(o);
    const int schedule = parse_schedule(o);
    const bool machine = schedule == DATAFLOW || schedule == IF_IT_FITS;
    return machine ? c.tiles * (c.sram + DF_GAP * DF_LINE_BYTES) : 0;
}

/* Refuses what is said of a chip that the schedule does not run on. */
static inline void schedule_agree(const Options *o) {
    static const char *const of_chip[] = {"chip", "tiles", "sram", "depth"};
    const int schedule = parse_schedule(o);
    for (size_t k = 0; k < sizeof of_chip / sizeof *of_chip; k++)
        if (option_given(o, of_chip[k]) && schedule != DATAFLOW && schedule != IF_IT_FITS)
            usage("--%s needs --schedule dataflow or fit", of_chip[k]);
}
/* Gives a run that trains its chip, if the schedule wants one: host's on trial. */
static inline void schedule_set(GptRun *r, const Options *o) {
    const DfChip chip = parse_chip(o);
    const bool fit = parse_schedule(o) == IF_IT_FITS;
    if (!fit && parse_schedule(o) != DATAFLOW) return;
    if (fit && !gpt_machine_fits(r, chip, o->depth)) return;
    gpt_machine_plan(r, chip, o->depth);
    if (fit && !strcmp(chip.name, "host"))
        r->trial = (GptTrial){TRIAL_STEPS, {INFINITY, INFINITY}};
}

/* How the program of a run that trains is made. */
static inline int train_how(const Options *o) {
    return GPT_TRAIN | (o->recompute ? GPT_RECOMPUTE : 0) | (o->dropout > 0 ? GPT_DROP : 0);
}

/* Sequences in memory at once: all of the batch, or equal parts of at most 512 MiB of
 * activations. Every part goes through weights and gradients again, which costs less the
 * fewer are kept, and a smaller one stays nearer: half of that if half are zeros. */
static inline size_t group_size(const Options *o, const GptConfig *c, size_t B,
                                int how) {
    if (o->group != AUTO) return o->group < B ? o->group : B;
    const size_t one = gpt_arrays_bytes(c, 1, c->ctx, 64 / LINE, how);  /* panels of 64 tokens */
    const size_t most = ((o->sparsity < 0.5 ? 512u : 256u) << 20) / one;
    const size_t parts = most ? (B + most - 1) / most : B;
    return (B + parts - 1) / parts;
}
#endif
