/* exhibit.h: what there is to see of a model, as members of a JSON object: a
 * sample of its text, its masks, and what a training step would be on a chip.
 *
 * The text of a sample must be UTF-8, which a model's need not be: a byte that
 * begins nothing valid, or is a control character, becomes U+FFFD. A mask is a
 * picture of at most 64 x 64 cells, one digit each, from 0 for a cell of which
 * nothing is kept to 9 for all of it:
 *
 *     blocks   ####..#.     cells of 2 x 2    9503     4, 2, 0 and 1 of 4
 *              ##......
 *
 * The pipeline is simulated (see simulate.h), with the chip and the panels of
 * the options; a model that does not fit on the chip with these is given
 * smaller panels, and one that fits with none, or on a chip that knows no dataflow,
 * has no pipeline. It refuses to run anything.
 *
 * Example: at width 256 and blocks of 16x4, c_attn has 48 x 64 blocks, so a
 * cell is a block; mlp.c_proj has 16 x 256, so a cell is 4 of them side by
 * side, and 5 if 2 of these are kept: 2/4 of 9, rounded up. */
#ifndef EXHIBIT_H
#define EXHIBIT_H
#include "../commands/simulate.h"

/* ---- text ---------------------------------------------------------------- */

static inline void exhibit_text(Out *out, const char *key, const char *text,
                                size_t n) {
    static const char unknown[] = "\xef\xbf\xbd";            /* U+FFFD */
    char *good = mem_new(3 * n + 1, 1);
    size_t at = 0;
    size_t len;
    for (size_t i = 0; i < n; i += len) {
        uint32_t code;
        len = utf8_get((const uint8_t *)text + i, n - i, &code);
        const bool control = code < ' ' && code != '\n' && code != '\t';
        const bool bad = code == UINT32_MAX || code == 127 || control;
        const size_t bytes = bad ? sizeof unknown - 1 : len;
        memcpy(good + at, bad ? unknown : text + i, bytes);
        at += bytes;
    }
    json_member_text(out, key, good);
    free(good);
}

/* ---- masks --------------------------------------------------------------- */

typedef struct {                    /* of a mask, in blocks */
    const uint8_t *on;              /* (down,across) 1: is kept */
    size_t down, across;
    size_t high, wide;              /* a cell's */
} ExhibitBlocks;

/* The digit of the cell whose first block is in that row and column: ninths of
 * its blocks that are kept, rounded up. */
static inline char exhibit_cell(const ExhibitBlocks *b, size_t row,
                                size_t col) {
    const size_t row_end = size_min(row + b->high, b->down);
    const size_t col_end = size_min(col + b->wide, b->across);
    const size_t all = (row_end - row) * (col_end - col);
    size_t kept = 0;
    for (size_t r = row; r < row_end; r++)
        for (size_t c = col; c < col_end; c++) kept += b->on[r * b->across + c];
    return (char)('0' + (9 * kept + all - 1) / all);
}
static inline void exhibit_mask(Out *out, const GptParam *p) {
    enum { SIDE = 64 };
    const SpMat *mat = &p->mat;
    ExhibitBlocks b = {.down = mat->nb, .across = mat->IC / mat->block};
    uint8_t *on = mem_new(b.down * b.across, 1);
    sp_map(mat, on);
    b.on = on;
    b.high = (b.down + SIDE - 1) / SIDE;
    b.wide = (b.across + SIDE - 1) / SIDE;
    const size_t rows = (b.down + b.high - 1) / b.high;
    const size_t cols = (b.across + b.wide - 1) / b.wide;
    char *cells = mem_new(rows * cols + 1, 1);              /* (rows,cols) */
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            cells[r * cols + c] = exhibit_cell(&b, r * b.high, c * b.wide);
    json_begin(out, NULL, '{');
    json_member_text(out, "name", p->name);
    json_member_put(out, "outputs", (double)mat->OC);
    json_member_put(out, "inputs", (double)mat->IC);
    json_member_put(out, "density",
                    (double)sp_elements(mat) / (double)gpt_elements(p));
    json_member_put(out, "rows", (double)rows);
    json_member_put(out, "cols", (double)cols);
    json_member_text(out, "cells", cells);
    json_close(out, '}');
    free(on);
    free(cells);
}
/* The sparse matrices of the first layer. */
static inline void exhibit_masks(Out *out, const Gpt *m) {
    json_begin(out, "masks", '[');
    for (size_t k = LAYER0; k < LAYER0 + PER_LAYER; k++) {
        const GptParam *p = &m->table[k];
        if (gpt_maskable(p) && !p->mat.dense) exhibit_mask(out, p);
    }
    json_close(out, ']');
}

/* ---- the pipeline -------------------------------------------------------- */

/* Members of a simulated step, or a part of it, of `tokens` tokens. */
static inline void exhibit_clock(Out *out, const DfClock *c, double tokens) {
    json_member_put(out, "seconds", c->seconds);
    json_member_put(out, "flops", c->flops);
    json_member_put(out, "off_chip_bytes", df_off_chip(c));
    json_member_put(out, "bytes_per_token", df_off_chip(c) / tokens);
    json_member_put(out, "intensity", c->flops / df_off_chip(c));
}
static inline void exhibit_section(Out *out, const DfSection *x,
                                   const DfClock *c, double tokens) {
    json_begin(out, NULL, '{');
    json_member_text(out, "from", x->part[x->loads].s.name);
    json_member_text(out, "to", x->part[x->parts - 1].s.name);
    json_member_text(out, "bound", c->bound);
    json_member_put(out, "tiles", (double)x->tiles);
    json_member_put(out, "utilisation", c->utilisation);
    exhibit_clock(out, c, tokens);
    json_close(out, '}');
}
/* The member `pipeline`: a step of B sequences of NG groups of tokens, in
 * panels of `groups` of them, which fit on the chip. */
static inline void exhibit_plan(Out *out, const DfGraph *g, const DfChip *chip,
                                size_t depth, size_t B, size_t NG,
                                size_t groups, double tokens) {
    const size_t panels = B * ((NG + groups - 1) / groups);
    const DfClock kernel = df_clock_kernels(g, chip, 0, g->stages, B, groups);
    DfPlan *plan = df_plan(g, *chip, depth, groups, panels, DF_TO_STREAM);
    DfClock sum = {0};
    double busy = 0;        /* seconds that all tiles would have needed */
    json_begin(out, "pipeline", '{');
    json_member_text(out, "chip", chip->name);
    json_member_put(out, "tiles", (double)chip->tiles);
    json_member_put(out, "sram", (double)chip->sram);
    json_member_put(out, "panel", (double)(groups * LINE));
    json_begin(out, "sections", '[');
    for (size_t n = 0; n < plan->sections; n++) {
        const DfSection *x = &plan->section[n];
        const DfStream t = df_stream(g, x->first, B, NG, groups);
        const DfClock c = df_clock(g, plan, n, &t, NULL, NULL);
        exhibit_section(out, x, &c, tokens);
        df_clock_add(&sum, &c);
        busy += c.utilisation * c.seconds;
    }
    json_close(out, ']');
    json_begin(out, "kernel", '{');
    exhibit_clock(out, &kernel, tokens);
    json_close(out, '}');
    json_begin(out, "dataflow", '{');
    exhibit_clock(out, &sum, tokens);
    json_member_put(out, "utilisation", busy / sum.seconds);
    json_close(out, '}');
    json_close(out, '}');
    df_plan_free(plan, g);
}
static inline void exhibit_pipeline(Out *out, const Gpt *m, const Options *o) {
    const DfChip chip = parse_chip(o);
    if (chip.kernels) return;
    const size_t B = o->batch;
    const size_t NG = gpt_groups(o->context);
    GptLines *lines = gpt_lines(m);
    size_t groups = size_min(o->panel / LINE, NG);
    DfGraph g = gpt_graph(&m->c, lines, NG, groups, train_how(o));
    while (groups && !df_holds(&g, chip, o->depth, groups)) {
        groups /= 2;
        gpt_graph_free(&g);
        g = gpt_graph(&m->c, lines, NG, size_max(groups, 1), train_how(o));
    }
    if (groups)
        exhibit_plan(out, &g, &chip, o->depth, B, NG, groups,
                     (double)(B * o->context));
    gpt_graph_free(&g);
    free(lines);
}
#endif
