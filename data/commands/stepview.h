/* stepview.h: a simulated step as a page: which tile works when, what it waits for,
 * what it holds.
 *
 * One file with no script and nothing beside it, for a wide screen, a phone or
 * paper. From the top:
 *
 *     headline        the step's seconds, and what no schedule goes below
 *     Sections        a table: time, tiles, traffic; a bar of each one's time
 *     a section       to be opened, one of those that are alike:
 *         time        a row a stage, as its first tile works; a shade a panel
 *         waits       of each stage: for data, for room, for its turn, and whom
 *         memory      what each tile holds
 *         off chip    bytes by what they are
 *
 * It shows what clock.h and why.h tell, works out nothing else, and refuses to draw
 * a firing that is narrower than a column: of several in one the last is seen.
 *
 * Example: `simulate --chip mesh --report step.html`. */
#ifndef STEPVIEW_H
#define STEPVIEW_H
#include "../base/figures.h"
#include "why.h"

enum { VIEW_COLUMNS = 800, VIEW_ROW = 15, VIEW_LEFT = 150, VIEW_SRAM = 70 };

/* A plan and what the clock says of its sections. */
typedef struct {
    Out *out;
    const DfGraph *graph;
    const DfPlan *plan;
    const DfClock *clock;           /* [sections] */
    size_t sequences;
} View;

/* ---- time ---------------------------------------------------------------- */

/* The bars of one digit of a row, which is their shade, as a path. */
static inline void view_bars(const View *v, const char *row, char digit, size_t y) {
    bool any = false;
    size_t end;
    for (size_t c = 0; c < VIEW_COLUMNS; c = end) {
        end = c + 1;
        while (end < VIEW_COLUMNS && row[end] == row[c]) end++;
        if (row[c] != digit) continue;
        if (!any)
            out_print(v->out, "<path class=dot opacity=%.2f d='",
                      0.3 + 0.07 * (digit - '0'));
        any = true;
        out_print(v->out, "M%zu %zuh%zuv%dh-%zuz", VIEW_LEFT + c, y + 2, end - c,
                  VIEW_ROW - 3, end - c);
    }
    if (any) out_text(v->out, "'/>");
}
/* A stage's row. */
static inline void view_row(const View *v, const char *name, const char *row,
                            size_t y) {
    out_print(v->out, "<text class=end x=%d y=%zu>", VIEW_LEFT - 6, y + 11);
    figure_words(v->out, name, false);
    out_text(v->out, "</text>");
    for (char digit = '0'; digit <= '9'; digit++) view_bars(v, row, digit, y);
    out_char(v->out, '\n');
}
static inline void view_time(const View *v, const Why *why) {
    const DfSection *section = why->section;
    char *row = mem_new(VIEW_COLUMNS, 1);
    out_print(v->out, "<h3>Over time: a row a stage, a shade a panel</h3>"
                      "<svg class=c1 viewBox='0 0 %d %zu'>\n",
              VIEW_LEFT + VIEW_COLUMNS, section->parts * VIEW_ROW);
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        memset(row, ' ', VIEW_COLUMNS);
        why_draw(why, part->actor, row, VIEW_COLUMNS);
        view_row(v, part->s.name, row, s * VIEW_ROW);
    }
    out_text(v->out, "</svg>\n");
    free(row);
}

/* ---- waits --------------------------------------------------------------- */

/* What a part waited for of one kind, as a share of the section, and whom most. */
static inline void view_wait(const View *v, const Why *why, const WhySum *sum,
                             int kind) {
    const size_t parts = why->section->parts;
    const double *cycles = sum->cycles + (size_t)kind * parts;
    double all = 0;
    size_t most = 0;
    for (size_t k = 0; k < parts; k++) {
        all += cycles[k];
        if (cycles[k] > cycles[most]) most = k;
    }
    const double percent = 100 * all / why->cycles;
    if (percent < 0.5) {
        out_text(v->out, "<td>");
        return;
    }
    out_print(v->out, "<td>%.0f %%", percent);
    if (kind == WHY_TURN) return;
    out_text(v->out, " <span class=note>");
    figure_words(v->out, why->section->part[most].s.name, false);
    out_text(v->out, "</span>");
}
static inline void view_waits(const View *v, const Why *why) {
    out_text(v->out, "<h3>What each stage waits for, in shares of the section, and "
                     "whom most</h3><div class=wide><table><thead><tr><th>stage"
                     "<th>tiles<th>works<th>for data of<th>for room of<th>for its "
                     "turn</thead>\n");
    for (size_t s = 0; s < why->section->parts; s++) {
        const DfPart *part = &why->section->part[s];
        WhySum sum = why_sum(why, s);
        out_text(v->out, "<tr><td>");
        figure_words(v->out, part->s.name, false);
        out_print(v->out, "<td>%zu<td>%.0f %%", part->actors,
                  100 * sum.works / why->cycles);
        for (int kind = 0; kind < WHY_KINDS; kind++) view_wait(v, why, &sum, kind);
        out_char(v->out, '\n');
        free(sum.cycles);
    }
    out_text(v->out, "</table></div>\n");
}

/* ---- memory and traffic -------------------------------------------------- */

/* What each tile holds, a bar a tile; the line is its memory's end. */
static inline void view_memory(const View *v, const DfSection *section) {
    const DfChip *chip = &v->plan->chip;
    const double wide = (double)VIEW_COLUMNS / (double)chip->tiles;
    size_t *used = mem_new(chip->tiles, sizeof *used);
    for (size_t s = 0; s < section->parts; s++) {
        const DfPart *part = &section->part[s];
        for (size_t k = 0; k < part->places; k++)
            used[section->place[part->place + k].tile] += part->bytes;
    }
    char each[64];
    figure_bytes(each, (double)chip->sram);
    out_print(v->out, "<h3>Memory of %zu tiles, %s each</h3><svg class=c3 "
                      "viewBox='0 0 %d %d'><path class=rule d='M%d 1H%d'/>\n"
                      "<path class=dot d='", chip->tiles, each,
              VIEW_LEFT + VIEW_COLUMNS, VIEW_SRAM, VIEW_LEFT,
              VIEW_LEFT + VIEW_COLUMNS);
    for (size_t k = 0; k < chip->tiles; k++) {
        const double share = (double)used[k] / (double)chip->sram;
        if (used[k])
            out_print(v->out, "M%.2f %dv-%.1fh%.2fV%dz", VIEW_LEFT + wide * (double)k,
                      VIEW_SRAM, share * (VIEW_SRAM - 1), 0.9 * wide, VIEW_SRAM);
    }
    out_text(v->out, "'/>");
    out_text(v->out, "</svg>\n");
    free(used);
}
static inline void view_traffic(const View *v, const DfClock *clock) {
    const struct {
        const char *name;
        double bytes;
    } kind[] = {
        {"weights", clock->weights},
        {"gradients", clock->grads},
        {"activations in", clock->in},
        {"activations out", clock->out},
        {"at random places", clock->random},
    };
    const double all = fmax(df_off_chip(clock), 1);
    char text[64];
    out_text(v->out, "<h3>Off chip</h3><table class=bars>\n");
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        figure_bytes(text, kind[k].bytes);
        out_print(v->out, "<tr><td>%s<td class=bar><i class=c2 style='width:%.1f%%'>"
                          "</i><td>%s\n", kind[k].name,
                  100 * kind[k].bytes / all, text);
    }
    out_text(v->out, "</table>\n");
}

/* ---- the page ------------------------------------------------------------ */

static inline void view_name(const View *v, size_t n) {
    const DfSection *section = &v->plan->section[n];
    const char *from = section->part[section->loads].s.name;
    const char *to = section->part[section->parts - 1].s.name;
    out_print(v->out, "%zu: ", n);
    figure_words(v->out, from, false);
    if (!strcmp(from, to)) return;
    out_text(v->out, " – ");
    figure_words(v->out, to, false);
}
/* The first section that takes the same time as the n-th, being like it. */
static inline size_t view_like(const View *v, size_t n) {
    size_t like = 0;
    while (v->plan->section[like].sign != v->plan->section[n].sign) like++;
    return like;
}
static inline void view_table(const View *v, double seconds) {
    out_text(v->out, "<h2>Sections</h2><p class=note>Stages that are on the chip "
                     "together; bound by kernel: each by itself, on all tiles. "
                     "The bar is a section's share of the step.</p><div "
                     "class=wide><table class=bars><thead><tr><th>section<th "
                     "colspan=2>time<th>tiles<th>at work<th>off chip<th>bound by"
                     "<th>like</thead>\n");
    for (size_t n = 0; n < v->plan->sections; n++) {
        const DfClock *clock = &v->clock[n];
        const size_t like = view_like(v, n);
        char time[64];
        char bytes[64];
        figure_milliseconds(time, 1000 * clock->seconds);
        figure_bytes(bytes, df_off_chip(clock));
        out_text(v->out, "<tr><td>");
        view_name(v, n);
        out_print(v->out, "<td class=bar><i class=c1 style='width:%.1f%%'></i><td>%s"
                          "<td>%zu<td>%.0f %%<td>%s<td>%s<td>",
                  100 * clock->seconds / seconds, time, v->plan->section[n].tiles,
                  100 * clock->utilisation, bytes, clock->bound);
        if (like < n) out_print(v->out, "%zu", like);
        out_char(v->out, '\n');
    }
    out_text(v->out, "</table></div>\n");
}
static inline void view_section(const View *v, size_t n) {
    Why why = why_new(v->graph, v->plan, n, v->sequences);
    const bool first = n == why_first(v->plan);
    out_print(v->out, "<details%s><summary>section ", first ? " open" : "");
    view_name(v, n);
    out_text(v->out, "</summary>\n");
    view_time(v, &why);
    view_waits(v, &why);
    view_memory(v, &v->plan->section[n]);
    view_traffic(v, &v->clock[n]);
    out_text(v->out, "</details>\n");
    why_free(&why);
}
/* The page of a plan over so many sequences. title: the model and the chip, in a
 * line. */
static inline void view_page(Out *out, const char *title, const DfGraph *graph,
                             const DfPlan *plan, size_t sequences) {
    DfClock *clock = mem_new(plan->sections, sizeof *clock);
    const View view = {out, graph, plan, clock, sequences};
    DfClock sum = {0};
    char time[64];
    char least[64];
    df_clock_plan(graph, plan, sequences, clock);
    for (size_t n = 0; n < plan->sections; n++) df_clock_add(&sum, &clock[n]);
    figure_milliseconds(time, 1000 * sum.seconds);
    figure_milliseconds(least, 1000 * df_bound(&plan->chip, &sum));
    out_text(out, figure_style);
    out_print(out, "<title>A simulated training step</title><h1>A training step "
                    "takes %s; with this traffic no schedule takes less than %s"
                    "</h1>\n<p class=lead>Simulated, without the optimizer: ",
              time, least);
    figure_words(out, title, false);
    out_text(out, "</p>\n");
    view_table(&view, sum.seconds);
    if (plan->section[why_first(plan)].mode != DF_ALONE)
        out_text(out, "<h2>Inside a section</h2><p class=note>Of sections that are "
                       "alike the first.</p>\n");
    for (size_t n = 0; n < plan->sections; n++)
        if (view_like(&view, n) == n && plan->section[n].mode != DF_ALONE)
            view_section(&view, n);
    free(clock);
}
#endif
