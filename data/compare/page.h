/* page.h: the results of `compare` as one page, with no script and no file
 * beside it: for a wide screen, a phone or paper, light or dark.
 *
 * The page is made from the JSON object that --json writes and from nothing
 * else. Every figure on it, and every word from there, is marked with its
 * member (html.h), so that a test can hold the page against the object. From
 * the top:
 *
 *     headline               what came of it, in a sentence
 *     The arms               a table: figures of each arm
 *     Loss while training    charts: by tokens, FLOPs, time
 *     How sure is that?      a strip for each arm against the first, 3 times
 *     What it takes          bars: costs of coming to the first arm's loss
 *     What is kept           masks of the first layer
 *     On the dataflow ...    bars, and the sections of two arms
 *     Questions answered     a strip for each kind of question
 *     In their own words     a sample of each
 *     How to repeat it       the command, and every option
 *
 * A section whose members are missing is left out. It refuses to work out
 * results: what the object does not have, the page does not say.
 *
 * Arm 0 is grey, the lead is blue.
 *
 * Example: of dense, small and sparse the lead is sparse; the pair of sparse
 * with dense is the second of three, and at equal tokens the entry 3 of
 * `pairs`. */
#ifndef PAGE_H
#define PAGE_H
#include "draw.h"

/* ---- the sections of the page -------------------------------------------- */

/* The entry in `pairs` of an arm with the first at equal cost on an axis. Each
 * arm has a pair with each before it, and that with the first comes first. */
static inline size_t html_pair(size_t arm, size_t axis) {
    return 3 * (arm * (arm - 1) / 2) + axis;
}
/* A member of such an entry; NAN if there is none. */
static inline double html_of_pair(const Html *page, size_t pair,
                                  const char *member) {
    return json_real(html_at(page, "pairs/%zu/%s", pair, member));
}

static inline void html_headline(const Html *page) {
    const size_t a = page->lead;
    const size_t pair = html_pair(a, 0);
    if (html_at(page, "sentence").p)
        html_put(page, "<h1>{w sentence}</h1>\n");
    if (!a || isnan(html_of_pair(page, pair, "diff"))) return;
    html_put(page, "<p class=lead>On text that no arm has seen, the loss "
                   "differs by {d pairs/%zu/diff} {w unit}; the 95 %% interval "
                   "is {d pairs/%zu/lo} to {d pairs/%zu/hi} ({w interval}), "
                   "and a difference below {g margin} does not matter, which "
                   "was fixed beforehand. ", pair, pair, pair);
    html_put(page, "A training step is {x arms/%zu/speed_up} as fast: "
                   "{m arms/%zu/step_ms}, where that of {a 0} takes "
                   "{m arms/0/step_ms}.</p>\n", a, a);
}

static inline void html_arms(const Html *page) {
    static const struct {
        char how;
        const char *member;
        const char *title;
    } column[] = {
        {'n', "parameters", "numbers<br>in the model"},
        {'n', "active_parameters", "kept"},
        {'g', "options/lr", "learning<br>rate"},
        {'n', "flops", "FLOPs"},
        {'s', "seconds", "time"},
        {'b', "val_loss", "loss,<br>nats/token"},
        {'b', "bits", "{w unit}"},
        {'b', "lo", "95 %<br>from"},
        {'b', "hi", "to"},
        {'d', "gap", "above the<br>training loss"},
        {'d', "above_floor", "above<br>the floor"},     /* last: if known */
    };
    const bool floor = !isnan(json_real(html_at(page, "arms/0/above_floor")));
    const size_t columns = sizeof column / sizeof *column - !floor;
    html_put(page, "<h2>The arms</h2><div class=wide><table><thead><tr>"
                   "<th>arm");
    for (size_t k = 0; k < columns; k++)
        html_put(page, "<th>%s", column[k].title);
    html_put(page, "</thead><tbody>\n");
    for (size_t a = 0; a < page->arms; a++) {
        html_put(page, "<tr><td>{a %zu}", a);
        for (size_t k = 0; k < columns; k++)
            html_put(page, "<td>{%c arms/%zu/%s}\n", column[k].how, a,
                     column[k].member);
    }
    html_put(page, "</table></div>\n");
}

static inline void html_charts(const Html *page) {
    const char *unit = "seconds";
    double scale = 1;
    double most = 0;
    for (size_t k = 0; k < page->arms; k++)
        most = fmax(most, json_real(html_at(page, "arms/%zu/seconds", k)));
    if (most >= 7200) {
        unit = "hours";
        scale = 3600;
    } else if (most >= 300) {
        unit = "minutes";
        scale = 60;
    }
    html_put(page, "<h2>Loss while training, {w unit}</h2><p class=note>On "
                   "held-out text; lower is better. %sThe dotted line is where "
                   "{a 0} ends.</p>\n<div class=grid>", page->seeds == 1 ? "" :
             "Lines are means over the seeds, bands go from the best to the "
             "worst of them. ");
    draw_chart(page, "tokens", "By tokens read", "tokens", 1);
    draw_chart(page, "flops", "By arithmetic done", "FLOPs", 1);
    draw_chart(page, "seconds", "By time taken on this machine", unit, scale);
    html_put(page, "</div>\n");
}

/* An arm against the first; strips span -R .. R. */
static inline void html_verdict(const Html *page, size_t arm, size_t axis,
                                double R) {
    const size_t pair = html_pair(arm, axis);
    const double margin = json_real(html_at(page, "margin"));
    const double lo = html_of_pair(page, pair, "lo");
    html_put(page, "<tr><td>{a %zu}<td class=strip>", arm);
    draw_strip(page->out, html_colour(page, arm), R, margin,
               html_of_pair(page, pair, "diff"), lo,
               html_of_pair(page, pair, "hi"));
    html_put(page, "<td>{d pairs/%zu/diff}<td>", pair);
    if (isnan(lo)) html_put(page, "<td>no interval\n");
    else
        html_put(page, "{d pairs/%zu/lo} to {d pairs/%zu/hi}<td>"
                       "<b>{w pairs/%zu/verdict}</b>\n", pair, pair, pair);
}
static inline void html_verdicts(const Html *page) {
    static const char *const cost[3] = {"as many tokens", "as many FLOPs",
                                        "as much time"};
    const double margin = json_real(html_at(page, "margin"));
    html_put(page, "<h2>How sure is that?</h2><p class=note>Loss less that of "
                   "{a 0}, {w unit}; left of the line is better. Bars are "
                   "95 %% intervals ({w interval}), the shade is the margin of "
                   "{g margin}. After as many FLOPs or as much time one run "
                   "has ended and the other, of dearer steps, is in the middle "
                   "of its schedule.</p>\n<table class=forest>");
    for (size_t axis = 0; axis < 3; axis++) {
        double R = 3 * margin;
        for (size_t a = 1; a < page->arms; a++) {
            const size_t pair = html_pair(a, axis);
            R = fmax(R, 1.3 * fabs(html_of_pair(page, pair, "diff")));
        }
        html_put(page, "<tbody><tr><th colspan=5>After %s\n", cost[axis]);
        for (size_t a = 1; a < page->arms; a++) html_verdict(page, a, axis, R);
        draw_ruler(page->out, R);
    }
    html_put(page, "</table>\n");
}

static inline void html_cost(const Html *page) {
    html_put(page, "<h2>What it takes</h2><p class=note>To come to the loss at "
                   "which {a 0} ends, in shares of what that took; for a "
                   "training step; in memory.</p><div class='grid four'>\n");
    draw_bars(page, "Time to that loss", 'P', "time_to_dense", "time");
    draw_bars(page, "FLOPs to that loss", 'P', "time_to_dense", "flops");
    draw_bars(page, "A training step", 'm', "arms", "step_ms");
    draw_bars(page, "Memory while training", 'B', "arms", "memory_bytes");
    html_put(page, "</div>\n");
}

static inline void html_masks(const Html *page) {
    bool any = false;
    char at[64];
    for (size_t a = 0; a < page->arms; a++) {
        if (!html_at(page, "arms/%zu/masks/0", a).p) continue;
        if (!any)
            html_put(page, "<h2>What is kept</h2><p class=note>The four "
                           "matrices of the first layer, outputs down, inputs "
                           "across. A cell is a block, of large matrices "
                           "several.</p>\n");
        any = true;
        html_put(page, "<h3>{a %zu}</h3><div class='grid masks'>\n", a);
        for (size_t k = 0; html_at(page, "arms/%zu/masks/%zu", a, k).p; k++) {
            snprintf(at, sizeof at, "arms/%zu/masks/%zu", a, k);
            draw_mask(page, at, html_colour(page, a));
        }
        html_put(page, "</div>\n");
    }
}

/* The sections of an arm's pipeline; bars of bytes are shares of the most. */
static inline void html_sections(const Html *page, size_t arm) {
    const size_t colour = html_colour(page, arm);
    size_t n = 0;
    double most = 0;
    char at[64];
    for (; html_at(page, "arms/%zu/pipeline/sections/%zu", arm, n).p; n++) {
        const Json bytes = html_at(page, "arms/%zu/pipeline/sections/%zu/"
                                         "off_chip_bytes", arm, n);
        most = fmax(most, json_real(bytes));
    }
    html_put(page, "<figure><h3>{a %zu}</h3><div class=wide>"
                   "<table class='bars two'><thead><tr><th>section<th "
                   "colspan=2>tiles at work<th colspan=2>off chip<th>bound by"
                   "</thead>\n", arm);
    for (size_t k = 0; k < n; k++) {
        snprintf(at, sizeof at, "arms/%zu/pipeline/sections/%zu", arm, k);
        const double busy = json_real(html_at(page, "%s/utilisation", at));
        const double bytes = json_real(html_at(page, "%s/off_chip_bytes", at));
        html_put(page, "<tr><td>{w %s/from} – {w %s/to}", at, at);
        draw_bar(page->out, colour, busy);
        html_put(page, "{P %s/utilisation}", at);
        draw_bar(page->out, colour, bytes / most);
        html_put(page, "{B %s/off_chip_bytes}<td>{w %s/bound}\n", at, at);
    }
    html_put(page, "</table></div></figure>\n");
}
static inline void html_pipeline(const Html *page) {
    if (!html_at(page, "arms/0/pipeline").p) return;
    html_put(page, "<h2>On the dataflow machine</h2><p class=note>Simulated: a "
                   "training step on the chip “{w arms/0/pipeline/chip}”, "
                   "{r arms/0/pipeline/tiles} tiles of "
                   "{B arms/0/pipeline/sram}; a stage at a time, every result "
                   "going off chip, or streamed through sections of stages "
                   "that fit on the chip together.</p><div class='grid four'>"
                   "\n");
    draw_bars(page, "Off chip per token, by stages", 'B', "arms",
              "pipeline/kernel/bytes_per_token");
    draw_bars(page, "Off chip per token, streamed", 'B', "arms",
              "pipeline/dataflow/bytes_per_token");
    draw_bars(page, "FLOPs per byte, streamed", 'n', "arms",
              "pipeline/dataflow/intensity");
    draw_bars(page, "Tiles at work, streamed", 'P', "arms",
              "pipeline/dataflow/utilisation");
    html_put(page, "</div><div class=grid>\n");
    html_sections(page, 0);
    if (page->lead && html_at(page, "arms/%zu/pipeline", page->lead).p)
        html_sections(page, page->lead);
    html_put(page, "</div>\n");
}

/* A table's head: its first columns, then one for each arm. */
static inline void html_head(const Html *page, const char *columns) {
    html_put(page, "<div class=wide><table><thead><tr>%s", columns);
    for (size_t a = 0; a < page->arms; a++) html_put(page, "<th>{a %zu}", a);
    html_put(page, "</thead><tbody>\n");
}

/* Which of the n entries of `cloze` compares arm a, or any if that is 0, with
 * the first in a kind of question; n: none. */
static inline size_t html_cloze_at(const Html *page, size_t n, size_t a,
                                   const char *kind) {
    for (size_t i = 0; i < n; i++) {
        if (!html_says(html_at(page, "cloze/%zu/b", i), page->name[0]))
            continue;
        if (!html_says(html_at(page, "cloze/%zu/kind", i), kind)) continue;
        if (!a) return i;
        if (html_says(html_at(page, "cloze/%zu/a", i), page->name[a])) return i;
    }
    return n;
}
/* A row: a strip with a dot for each arm and a tick for chance, then what they
 * have right. `first` is the first of the n entries of this kind. */
static inline void html_cloze_row(const Html *page, size_t n, size_t first,
                                  const char *kind) {
    const double chance = json_real(html_at(page, "cloze/%zu/chance", first));
    html_put(page, "<tr><td>{k cloze/%zu/kind}<td>{r cloze/%zu/items}<td>"
                   "{p cloze/%zu/chance}<td class=track>"
                   "<svg viewBox='0 0 212 20'><path class=rule d='M6 10h200'/>"
                   "<path class=zero stroke-width=2 d='M%.1f 3v14'/>", first,
             first, first, 6 + 200 * chance);
    for (size_t a = page->arms; a-- > 0;) {
        const size_t i = a ? html_cloze_at(page, n, a, kind) : first;
        const char *member = a ? "right_a" : "right_b";
        if (i == n) continue;
        html_put(page, "<circle class='dot c%zu' cx=%.1f cy=10 r=4.5 />",
                 html_colour(page, a),
                 6 + 200 * json_real(html_at(page, "cloze/%zu/%s", i, member)));
    }
    html_put(page, "</svg><td>{p cloze/%zu/right_b}", first);
    for (size_t a = 1; a < page->arms; a++) {
        const size_t i = html_cloze_at(page, n, a, kind);
        if (i == n) {
            html_put(page, "<td>–\n");
            continue;
        }
        const bool sure = json_real(html_at(page, "cloze/%zu/lo", i)) > 0 ||
                          json_real(html_at(page, "cloze/%zu/hi", i)) < 0;
        html_put(page, "<td>%s{p cloze/%zu/right_a}%s\n", sure ? "<b>" : "", i,
                 sure ? "</b>" : "");
    }
}
/* Whether any arm is above chance in a kind of question. */
static inline bool html_cloze_above(const Html *page, size_t n,
                                    const char *kind) {
    for (size_t i = 0; i < n; i++) {
        const Json above = html_at(page, "cloze/%zu/above_chance", i);
        if (!html_says(html_at(page, "cloze/%zu/kind", i), kind)) continue;
        if (json_real(above) > 0) return true;
    }
    return false;
}
/* The kinds of questions of which an arm is certain to know more than chance.
 */
static inline void html_cloze(const Html *page) {
    bool any = false;
    size_t n = 0;
    for (; html_at(page, "cloze/%zu", n).p; n++)
        any |= json_real(html_at(page, "cloze/%zu/above_chance", n)) > 0;
    if (!any) return;
    html_put(page, "<h2>Questions answered</h2><p class=note>On held-out text, "
                   "shares right, of the kinds in which an arm is above "
                   "chance. The tick is chance; bold where the 95 %% interval "
                   "of the difference from {a 0} is without zero.</p>");
    html_head(page, "<th>kind<th>items<th>chance<th>");
    for (size_t k = 0; k < n; k++) {
        char *kind = html_raw(html_at(page, "cloze/%zu/kind", k));
        const bool first = html_cloze_at(page, n, 0, kind) == k;
        if (first && html_cloze_above(page, n, kind))
            html_cloze_row(page, n, k, kind);
        free(kind);
    }
    html_put(page, "</table></div>\n");
}

static inline void html_samples(const Html *page) {
    if (!html_at(page, "arms/0/sample").p) return;
    html_put(page, "<h2>In their own words</h2><p class=note>What each writes, "
                   "given the same random numbers.</p><div class=grid>\n");
    for (size_t a = 0; a < page->arms; a++)
        html_put(page, "<figure class=c%zu>{a %zu}<blockquote>"
                       "{w arms/%zu/sample}</blockquote></figure>\n",
                 html_colour(page, a), a, a);
    html_put(page, "</div>\n");
}

/* The command, and every option of every arm; bold what differs from the first.
 */
static inline void html_configuration(const Html *page) {
    Json j = html_at(page, "arms/0/options");
    bool first = true;
    html_put(page, "<h2>How to repeat it</h2><pre>{w command}</pre>\n");
    html_head(page, "<th>option");
    json_expect(&j, '{');
    for (; json_more(&j, '}', &first); json_skip(&j, 0)) {
        char key[64];
        json_string(&j, key, sizeof key);
        json_expect(&j, ':');
        json_peek(&j);
        char *of_first = html_raw(j);
        html_put(page, "<tr><td><code>%s</code>", key);
        for (size_t a = 0; a < page->arms; a++) {
            const Json own = html_at(page, "arms/%zu/options/%s", a, key);
            const bool same = html_says(own, of_first);
            html_put(page, "<td>%s{w arms/%zu/options/%s}%s",
                     same ? "" : "<b>", a, key, same ? "" : "</b>");
        }
        free(of_first);
    }
    html_put(page, "</table></div>\n");
}

/* ---- the page ------------------------------------------------------------ */

/* A page of the object in n bytes of JSON, to be written to out. */
static inline Html html_new(Out *out, const char *json, size_t n,
                            const char *path) {
    Html page = {.out = out};
    page.all = json_open((const uint8_t *)json, n, path);
    while (html_at(&page, "arms/%zu", page.arms).p) page.arms++;
    while (html_at(&page, "arms/0/runs/%zu", page.seeds).p) page.seeds++;
    page.lead = page.arms > 1 ? 1 : 0;
    page.name = mem_new(page.arms, sizeof *page.name);
    page.curve = mem_new(page.arms * page.seeds, sizeof *page.curve);
    for (size_t k = 0; k < page.arms; k++) {
        char *name = html_raw(html_at(&page, "arms/%zu/name", k));
        snprintf(page.name[k], sizeof *page.name, "%s", name);
        free(name);
        if (!strcmp(page.name[k], "sparse")) page.lead = k;
        for (size_t s = 0; s < page.seeds; s++)
            page.curve[k * page.seeds + s] =
                html_at(&page, "arms/%zu/runs/%zu/curve", k, s);
    }
    return page;
}
/* Writes the page of that object, n bytes, to path. */
static inline void html_report(const char *json, size_t n, const char *path) {
    Out out = out_open(path);
    Html page = html_new(&out, json, n, path);
    out_text(&out, figure_style);
    html_put(&page, "<title>sparseflow: %s</title>", page.name[page.lead]);
    draw_frame(&out);
    html_headline(&page);
    html_arms(&page);
    html_charts(&page);
    if (page.arms > 1) html_verdicts(&page);
    html_cost(&page);
    html_masks(&page);
    html_pipeline(&page);
    html_cloze(&page);
    html_samples(&page);
    html_configuration(&page);
    html_put(&page, "</html>\n");
    free(page.name);
    free(page.curve);
    out_done(&out);
}
#endif
