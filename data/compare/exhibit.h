/* exhibit.h: what there is to see of a model, as members of a JSON object: a sample of its text, its masks,
 * and what a training step would be on a chip.
 *
 * The text of a sample must be UTF-8, which a model's need not be: a byte that begins nothing valid, or is a
 * control character, becomes U+FFFD. A mask is a picture of at most 64 x 64 cells, one digit each, from 0 for
 * a cell of which nothing is kept to 9 for all of it. The pipeline is simulated (see simulate.h), with the
 * chip and the panels of the options; a model that does not fit on the chip with these is given smaller
 * panels, and one that fits with none has no pipeline. It refuses to run anything.
 *
 * Example: at width 256 and blocks of 16x4, c_attn has 48 x 64 blocks, so a cell is a block; mlp.c_proj has
 * 16 x 256, so a cell is 4 of them side by side, and 5 if 2 of these are kept: 2/4 of 9, rounded up. */
#ifndef EXHIBIT_H
#define EXHIBIT_H
#include "../commands/simulate.h"

/* ---- text --------------------------------------------------------------------------------------------- */

static inline void exhibit_text(Out *out, const char *key, const char *text, size_t n) {
    char *good = mem_new(3 * n + 1, 1);
    for (size_t i = 0, at = 0, len; i < n; i += len) {
        uint32_t code;
        len = utf8_get((const uint8_t *)text + i, n - i, &code);
        const bool bad = code == UINT32_MAX || code == 127 || (code < ' ' && code != '\n' && code != '\t');
        const size_t bytes = bad ? 3 : len;
        memcpy(good + at, bad ? "\xef\xbf\xbd" : text + i, bytes), at += bytes;
    }
    json_member_text(out, key, good), free(good);
}

/* ---- masks -------------------------------------------------------------------------------------------- */

static inline void exhibit_mask(Out *out, const GptParam *p) {
    enum { SIDE = 64 };
    const SpMat *a = &p->mat;
    const size_t J = a->IC / a->w, down = (a->nb + SIDE - 1) / SIDE, across = (J + SIDE - 1) / SIDE,
                 rows = (a->nb + down - 1) / down, cols = (J + across - 1) / across;
    uint8_t *on = mem_new(a->nb * J, 1);
    char *cells = mem_new(rows * cols + 1, 1);
    sp_map(a, on);
    for (size_t c = 0; c < rows * cols; c++) {
        size_t kept = 0, all = 0;
        for (size_t r = c / cols * down; r < a->nb && r < (c / cols + 1) * down; r++)
            for (size_t j = c % cols * across; j < J && j < (c % cols + 1) * across; j++)
                all++, kept += on[r * J + j];
        cells[c] = (char)('0' + (9 * kept + all - 1) / all);
    }
    json_begin(out, NULL, '{'), json_member_text(out, "name", p->name);
    json_member_put(out, "outputs", (double)a->OC), json_member_put(out, "inputs", (double)a->IC);
    json_member_put(out, "density", (double)sp_elements(a) / (double)gpt_elements(p));
    json_member_put(out, "rows", (double)rows), json_member_put(out, "cols", (double)cols);
    json_member_text(out, "cells", cells), json_close(out, '}');
    free(on), free(cells);
}
/* The sparse matrices of the first layer. */
static inline void exhibit_masks(Out *out, const Gpt *m) {
    json_begin(out, "masks", '[');
    for (size_t k = LAYER0; k < LAYER0 + PER_LAYER; k++)
        if (gpt_maskable(&m->table[k]) && !m->table[k].mat.dense) exhibit_mask(out, &m->table[k]);
    json_close(out, ']');
}

/* ---- the pipeline ------------------------------------------------------------------------------------- */

/* Members of the simulated step, of `tokens` tokens. */
static inline void exhibit_clock(Out *out, const DfClock *c, double tokens) {
    json_member_put(out, "seconds", c->seconds), json_member_put(out, "flops", c->flops);
    json_member_put(out, "off_chip_bytes", df_off_chip(c));
    json_member_put(out, "bytes_per_token", df_off_chip(c) / tokens);
    json_member_put(out, "intensity", c->flops / df_off_chip(c));
}
static inline void exhibit_pipeline(Out *out, const Gpt *m, const Options *o) {
    const DfChip chip = parse_chip(o);
    const size_t B = o->batch, NG = gpt_groups(o->context);
    const double tokens = (double)(B * o->context);
    GptLines *lines = gpt_lines(m);
    size_t groups = o->panel / LINE < NG ? o->panel / LINE : NG;
    DfGraph g = gpt_graph(&m->c, lines, NG, groups);
    while (groups && !df_holds(&g, chip, o->depth, groups)) {
        groups /= 2;
        gpt_graph_free(&g);
        g = gpt_graph(&m->c, lines, NG, size_max(groups, 1));
    }
    if (groups) {
        DfPlan *plan = df_plan(&g, chip, o->depth, groups, B * ((NG + groups - 1) / groups), false);
        DfClock sum = {0}, kernel = df_clock_kernels(&g, &chip, B, groups);
        double busy = 0;
        json_begin(out, "pipeline", '{'), json_member_text(out, "chip", chip.name);
        json_member_put(out, "tiles", (double)chip.tiles), json_member_put(out, "sram", (double)chip.sram);
        json_member_put(out, "panel", (double)(groups * LINE)), json_begin(out, "sections", '[');
        for (size_t n = 0; n < plan->sections; n++) {
            const DfSection *x = &plan->section[n];
            const DfStream t = df_stream(&g, x->first, B, NG, groups);
            const DfClock c = df_clock(&g, plan, n, &t, NULL, NULL);
            json_begin(out, NULL, '{'), json_member_text(out, "from", x->part[x->loads].s.name);
            json_member_text(out, "to", x->part[x->parts - 1].s.name);
            json_member_text(out, "bound", c.bound), json_member_put(out, "tiles", (double)x->tiles);
            json_member_put(out, "utilisation", c.utilisation), exhibit_clock(out, &c, tokens);
            json_close(out, '}'), df_clock_add(&sum, &c), busy += c.utilisation * c.seconds;
        }
        json_close(out, ']'), json_begin(out, "kernel", '{'), exhibit_clock(out, &kernel, tokens);
        json_close(out, '}'), json_begin(out, "dataflow", '{'), exhibit_clock(out, &sum, tokens);
        json_member_put(out, "utilisation", busy / sum.seconds), json_close(out, '}'), json_close(out, '}');
        df_plan_free(plan, &g);
    }
    gpt_graph_free(&g), free(lines);
}
#endif
