/* html.h: the results of `compare` as one page, with no script and no file beside it: for a wide screen, a
 * phone or paper, light or dark.
 *
 * The page is made from the JSON object that `--json` writes and from nothing else. Every figure on it is an
 * element that says which member it is, unrounded, and so is every word that comes from there:
 *
 *     <data value="1.93528" data-key="arms/1/bits">1.935</data>
 *     <span data-key="arms/1/name">sparse</span>
 *
 * so that a test can hold the page against the object, and finds none outside of them. It refuses to work a
 * result out: what the object does not have, the page does not say. Only where marks lie in a drawing is
 * computed here, and a curve over several seeds is their mean, its band from the least to the largest.
 *
 * Colours are of Okabe and Ito (2008), darker on white and lighter on black; the first arm is in grey. */
#ifndef HTML_H
#define HTML_H
#include "base.h"

typedef struct {
    FILE *f;
    Json all;                       /* stands before the object */
    size_t arms, seeds, lead;       /* lead: the arm of the headline */
    char (*name)[64];               /* [arms] */
    Json *curve;                    /* [arms][seeds] */
} Html;

static const char html_style[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<meta name=color-scheme content='light dark'><style>\n"
    ":root{--bg:#fff;--ink:#1c1c1c;--soft:#666;--rule:#d9d9d9;--pale:#eef1f3;--c0:#555;--c1:#0072b2;--c2:#c65102;"
    "--c3:#00805e;--c4:#a4458a;--c5:#8a6d00;--c6:#3a6ea8}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#16181b;--ink:#e7e5e2;--soft:#a09e9b;--rule:#383c41;"
    "--pale:#24282d;--c0:#c4c4c4;--c1:#58b4ee;--c2:#f0883e;--c3:#2fc493;--c4:#e08fc4;--c5:#d9bb3c;--c6:#9ab7e0}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}"
    ".c6{--c:var(--c6)}\n"
    "*{box-sizing:border-box;print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    "body{margin:0 auto;padding:2rem 16px 4rem;max-width:1112px;background:var(--bg);color:var(--ink);"
    "font:16px/1.5 system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;-webkit-text-size-adjust:100%}\n"
    "h1{font:700 2.3rem/1.15 Georgia,'Times New Roman',serif;margin:.2em 0 .4em;max-width:22em}\n"
    "h2{font-size:1.25rem;line-height:1.3;margin:3.2rem 0 .2rem;padding-top:.8rem;border-top:1px solid var(--rule)}\n"
    "h3{font-size:.875rem;font-weight:600;margin:1rem 0 .3rem}p{margin:.3rem 0 1rem;max-width:44em}\n"
    ".lead{font-size:1.15rem}.note,figcaption,dt{color:var(--soft);font-size:.875rem}figure{margin:0;min-width:0}\n"
    ".key{margin:0;font-size:.875rem}.key b,.arm{color:var(--c)}.arm{font-weight:600;white-space:nowrap}\n"
    ".grid{display:grid;gap:1.2rem 2rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr))}\n"
    ".four{grid-template-columns:repeat(auto-fit,minmax(min(100%,235px),1fr))}\n"
    ".wide{overflow-x:auto}svg{display:block;width:100%;height:auto}\n"
    "svg text{font:12px system-ui,'Segoe UI',Roboto,Arial,sans-serif;fill:var(--soft)}.end{text-anchor:end}"
    ".mid{text-anchor:middle}\n"
    "svg text.name{fill:var(--c);font-weight:600;paint-order:stroke;stroke:var(--bg);stroke-width:4px}\n"
    ".rule{stroke:var(--rule);fill:none}.zero{stroke:var(--soft);fill:none}.goal{stroke:var(--c);fill:none;"
    "stroke-dasharray:2 3}.line{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}"
    ".band{fill:var(--c);opacity:.2}.dot{fill:var(--c)}.room{fill:var(--pale)}\n"
    ".mask{stroke:var(--c);fill:none}.mask rect{stroke:var(--rule);stroke-width:.3}\n"
    "table{border-collapse:collapse;font-size:.875rem;width:100%;font-variant-numeric:tabular-nums lining-nums}\n"
    "td,th{padding:.28rem .5rem;text-align:right;font-weight:400;white-space:nowrap}thead th{color:var(--soft);"
    "vertical-align:bottom;line-height:1.25;border-bottom:1px solid var(--rule)}\n"
    "td:first-child,th:first-child{text-align:left;padding-left:0}td:last-child,th:last-child{padding-right:0}\n"
    "tbody tr+tr td{border-top:1px solid var(--pale)}.wide tbody td:first-child{position:sticky;left:0;"
    "background:var(--bg)}\n"
    ".bars td{border:0!important;padding-top:.12rem;padding-bottom:.12rem}.bars td:nth-child(2){width:99%}"
    ".bars i{display:block;height:.8rem;min-width:1px;background:var(--c)}.bars td.text{text-align:left}\n"
    ".forest td{border:0!important;padding-top:0;padding-bottom:0}.forest .strip{width:46%;padding:0 .5rem}"
    ".forest td:last-child{text-align:left}.forest th{text-align:left;font-weight:600;padding-top:1rem}\n"
    "blockquote{margin:.3rem 0 0;padding-left:.9rem;border-left:3px solid var(--c);white-space:pre-wrap;"
    "font:1rem/1.5 Georgia,serif;overflow-wrap:anywhere}\n"
    "pre{background:var(--pale);padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8125rem}\n"
    "dl{columns:14rem;column-gap:2rem;font-size:.875rem;margin:.5rem 0}dl div{display:flex;"
    "justify-content:space-between;gap:1rem}dd{margin:0;overflow-wrap:anywhere;text-align:right}\n"
    "@media(max-width:640px){body{padding-top:1rem}h1{font-size:1.75rem}.forest tr{display:grid;"
    "grid-template-columns:1fr auto;padding:.35rem 0}.forest .strip{grid-area:2/1/3/3;width:auto;padding:0}"
    ".forest td:nth-child(3){grid-area:3/1;text-align:left;padding-left:0}.forest td:nth-child(4){grid-area:3/2;"
    "padding-right:0}.forest td:last-child{grid-area:1/2;text-align:right}}\n"
    "@media print{body{max-width:none;padding:0;font-size:11pt}h2{margin-top:1.6rem}figure,tr,pre{break-inside:avoid}"
    "h2,h3{break-after:avoid}}\n"
    "</style>\n";

/* ---- words and figures from the object ------------------------------------------------------------------- */

static inline Json html_at(const Html *h, const char *fmt, ...) {
    char path[128];
    va_list ap;
    va_start(ap, fmt), vsnprintf(path, sizeof path, fmt, ap), va_end(ap);
    return json_at(h->all, path);
}
/* The text of a value as it stands in the file; of a string without its quotes. */
static inline char *html_raw(Json j) {
    Json end = j;
    if (!j.p) return text_copy("");
    if (*j.p != '"') json_skip(&end, 0);
    const size_t n = *j.p == '"' ? (size_t)(j.end - j.p) : (size_t)(end.p - j.p);
    char *text = mem_new(n + 1, 1);
    if (*j.p == '"') json_string(&j, text, n + 1);
    else memcpy(text, j.p, n);
    return text;
}
static inline void html_escape(FILE *f, const char *s) {
    for (; *s; s++) {
        if (*s == '<') fputs("&lt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else fputc(*s == '_' ? ' ' : *s, f);
    }
}
static inline void html_words(const Html *h, const char *fmt, ...) {
    char path[128], *text;
    va_list ap;
    va_start(ap, fmt), vsnprintf(path, sizeof path, fmt, ap), va_end(ap);
    text = html_raw(json_at(h->all, path));
    fprintf(h->f, "<span data-key=\"%s\">", path), html_escape(h->f, text), fputs("</span>", h->f);
    free(text);
}
/* x as text: b bits, d a difference with its sign, x times, p per cent, n to three digits, B bytes, t a time. */
static inline void html_figure(char out[64], char how, double x) {
    static const char *const si[] = {"", " k", " M", " G", " T", " P", " E"};
    const char *unit = "";
    int k = 0;
    if (how == 'd') snprintf(out, 64, x < 0 ? "−%.3f" : "+%.3f", fabs(x));
    else if (how == 'b') snprintf(out, 64, "%.3f", x);
    else if (how == 'x') snprintf(out, 64, "%.2f×", x);
    else if (how == 'p') snprintf(out, 64, "%.1f %%", 100 * x);
    else {
        if (how == 'm') x /= 1000, how = 't';
        if (how == 't' && x < 1) x *= 1000, unit = " ms";
        else if (how == 't') k = x >= 7200 ? 2 : x >= 120 ? 1 : 0, unit = (const char *[]){" s", " min", " h"}[k];
        for (; how == 't' && k; k--) x /= 60;
        for (; how != 't' && k < 6 && fabs(x) >= 999.5; k++) x /= 1000;
        snprintf(out, 64, "%.*f%s%s%s", x >= 99.95 || x == floor(x) ? 0 : x >= 9.995 ? 1 : 2, x, si[k], unit,
                 how == 'B' ? k ? "B" : " B" : "");
    }
}
static inline void html_number(const Html *h, char how, const char *fmt, ...) {
    char path[128], text[64], *raw;
    va_list ap;
    va_start(ap, fmt), vsnprintf(path, sizeof path, fmt, ap), va_end(ap);
    const Json j = json_at(h->all, path);
    const double x = json_real(j);
    if (isnan(x)) { fputs("–", h->f); return; }
    raw = html_raw(j), html_figure(text, how, x);
    fprintf(h->f, "<data value=\"%s\" data-key=\"%s\">%s</data>", raw, path, text);
    free(raw);
}
/* The colour of an arm: the first grey, that of the headline blue. */
static inline size_t html_colour(const Html *h, size_t arm) {
    return !arm ? 0 : arm == h->lead ? 1 : 2 + (arm - (arm > h->lead) - 1) % 5;
}
static inline void html_arm(const Html *h, const char *tag, size_t arm) {
    fprintf(h->f, "<%s class='arm c%zu'>", tag, html_colour(h, arm)), html_words(h, "arms/%zu/name", arm);
    fprintf(h->f, "</%s>", tag);
}

/* ---- drawing: axes, a line with its band, bars ----------------------------------------------------------- */

enum { CHART_W = 340, CHART_H = 260, LEFT = 34, RIGHT = 54, TOP = 8, BOTTOM = 38, HTML_POINTS = 64 };
typedef struct { double x0, x1, y0, y1; } HtmlAxes;         /* what the frame of a chart spans */
typedef struct { size_t n; double x[HTML_POINTS], lo[HTML_POINTS], mid[HTML_POINTS], hi[HTML_POINTS]; } HtmlLine;

static inline double html_x(const HtmlAxes *a, double x) {
    return LEFT + (x - a->x0) / (a->x1 - a->x0) * (CHART_W - LEFT - RIGHT);
}
static inline double html_y(const HtmlAxes *a, double y) {
    return CHART_H - BOTTOM - (y - a->y0) / (a->y1 - a->y0) * (CHART_H - TOP - BOTTOM);
}
/* 1, 2 or 5 times a power of ten, about so many in a span. */
static inline double html_step(double span, double about) {
    const double ten = pow(10, floor(log10(span / about))), m = span / about / ten;
    return ten * (m > 5 ? 10 : m > 2 ? 5 : m > 1 ? 2 : 1);
}
static inline int html_digits(double step) { return step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0; }

static inline void html_axes(FILE *f, const HtmlAxes *a, const char *label, double scale) {
    static const char *const si[] = {"", " k", " M", " G", " T", " P", " E"};
    const double dy = html_step(a->y1 - a->y0, 5), dx = html_step((a->x1 - a->x0) / scale, 4);
    for (double y = ceil(a->y0 / dy) * dy; y <= a->y1; y += dy)
        fprintf(f, "<path class=rule d='M%d %.1fH%d'/><text class=end x=%d y=%.1f>%.*f</text>", LEFT, html_y(a, y),
                CHART_W - RIGHT, LEFT - 6, html_y(a, y) + 4, html_digits(dy), y);
    for (double x = 0; x <= a->x1 / scale; x += dx) {
        int k = 0;
        double shown = x;
        for (; shown >= 1000 && k < 6; k++) shown /= 1000;
        fprintf(f, "<path class=zero d='M%.1f %dv4'/><text class=mid x=%.1f y=%d>%.*f%s</text>",
                html_x(a, x * scale), CHART_H - BOTTOM, html_x(a, x * scale), CHART_H - BOTTOM + 17,
                k ? shown != floor(shown) : html_digits(dx), shown, si[k]);
    }
    fprintf(f, "<path class=zero d='M%d %dH%d'/><text class=end x=%d y=%d>%s</text>\n", LEFT, CHART_H - BOTTOM,
            CHART_W - RIGHT, CHART_W - RIGHT, CHART_H - 4, label);
}
/* One corner of a path at (x, y), the first or a later one. */
static inline void html_corner(FILE *f, const HtmlAxes *a, double x, double y, bool first) {
    fprintf(f, "%c%.1f %.1f", first ? 'M' : 'L', html_x(a, x), html_y(a, y));
}
static inline void html_line(FILE *f, const HtmlAxes *a, const HtmlLine *l, size_t colour, bool band) {
    fprintf(f, "<g class=c%zu clip-path=url(#frame)>", colour);
    if (band) fputs("<path class=band d='", f);
    for (size_t k = 0; band && k < l->n; k++) html_corner(f, a, l->x[k], l->hi[k], !k);
    for (size_t k = l->n; band && k-- > 0;) html_corner(f, a, l->x[k], l->lo[k], false);
    fprintf(f, "%s<path class=line d='", band ? "'/>" : "");
    for (size_t k = 0; k < l->n; k++) html_corner(f, a, l->x[k], l->mid[k], !k);
    fputs("'/></g>\n", f);
}
/* Marks at x in -R .. R of a strip 300 wide: the margin, zero, an interval with its middle; what lies beyond
 * ends in an arrow. */
static inline double html_strip_x(double x, double R) { return 150 + 140 * fmax(-1, fmin(1, x / R)); }
static inline void html_strip(FILE *f, size_t colour, double R, double margin, double diff, double lo, double hi) {
    const double a = html_strip_x(lo, R), b = html_strip_x(hi, R), m = html_strip_x(margin, R);
    fprintf(f, "<svg viewBox='0 0 300 30' class=c%zu><path class=room d='M%.1f 0H%.1fV30H%.1fz'/><path class=zero "
            "d='M150 0v30'/>", colour, 300 - m, m, 300 - m);
    if (isfinite(lo) && isfinite(hi)) fprintf(f, "<path class=line d='M%.1f 15H%.1f'/>", a, b);
    if (lo < -R) fprintf(f, "<path class=dot d='M%.1f 15l7-5v10z'/>", a - 5);
    if (hi > R) fprintf(f, "<path class=dot d='M%.1f 15l-7-5v10z'/>", b + 5);
    if (fabs(diff) <= R) fprintf(f, "<circle class=dot cx=%.1f cy=15 r=5 />", html_strip_x(diff, R));
    fputs("</svg>", f);
}
/* The key of an arm's member: of arms/ by its place, of another object by its name. */
static inline void html_key(const Html *h, char out[128], const char *list, size_t arm, const char *member) {
    if (!strcmp(list, "arms")) snprintf(out, 128, "arms/%zu/%s", arm, member);
    else snprintf(out, 128, "%s/%s/%s", list, h->name[arm], member);
}
/* A table of bars: one member of every arm; `none` where it has none. */
static inline void html_bars(const Html *h, const char *title, char how, const char *list, const char *member,
                             const char *none) {
    char key[128];
    double most = 0;
    for (size_t k = 0; k < h->arms; k++)
        html_key(h, key, list, k, member), most = fmax(most, json_real(html_at(h, "%s", key)));
    fprintf(h->f, "<figure><h3>%s</h3><table class=bars>", title);
    for (size_t k = 0; k < h->arms; k++) {
        html_key(h, key, list, k, member);
        const double x = json_real(html_at(h, "%s", key));
        fputs("<tr><td>", h->f), html_arm(h, "span", k);
        if (isnan(x)) fprintf(h->f, "<td class=text>%s<td>", none);
        else fprintf(h->f, "<td><i class=c%zu style='width:%.1f%%'></i><td>", html_colour(h, k), 100 * x / most),
            html_number(h, how, "%s", key);
    }
    fputs("</table></figure>\n", h->f);
}

/* ---- the sections of the page ---------------------------------------------------------------------------- */

/* The place in pairs/ of an arm against the first; how many pairs there are, if none. */
static inline size_t html_pair(const Html *h, size_t arm, const char *axis) {
    for (size_t k = 0;; k++) {
        char *a = html_raw(html_at(h, "pairs/%zu/a", k)), *b = html_raw(html_at(h, "pairs/%zu/b", k)),
             *x = html_raw(html_at(h, "pairs/%zu/axis", k));
        const bool last = !*a, it = !strcmp(a, h->name[arm]) && !strcmp(b, h->name[0]) && !strcmp(x, axis);
        free(a), free(b), free(x);
        if (it || last) return k;
    }
}

static inline void html_headline(const Html *h) {
    static const char *const say[][2] = {{"better", "is better than"}, {"equal", "is as good as"},
        {"not worse", "is not worse than"}, {"worse", "is worse than"}, {"undecided", "may or may not be as good as"}};
    const size_t p = html_pair(h, h->lead, "tokens");
    char *verdict = html_raw(html_at(h, "pairs/%zu/verdict", p)), *unit = html_raw(html_at(h, "unit"));
    char *reached = html_raw(html_at(h, "time_to_dense/%s/reached", h->name[h->lead]));
    fputs("<h1>", h->f), html_arm(h, "span", h->lead);
    for (size_t k = 0; k < 5 && h->lead; k++)
        if (!strcmp(verdict, say[k][0]))
            fprintf(h->f, " %s ", say[k][1]), html_arm(h, "span", 0), fputs(" after as many tokens", h->f);
    if (h->lead && !strcmp(reached, "true"))
        fputs(", and gets to its loss in ", h->f), html_number(h, 'p', "time_to_dense/%s/time", h->name[h->lead]),
            fputs(" of the time", h->f);
    else if (h->lead) fputs(", and does not get to its loss", h->f);
    fputs(".</h1>\n<p class=lead>", h->f);
    if (h->lead) {
        fputs("Its loss on text that no arm has seen differs by ", h->f), html_number(h, 'd', "pairs/%zu/diff", p);
        fprintf(h->f, " %s (95 %% interval ", unit), html_number(h, 'd', "pairs/%zu/lo", p), fputs(" to ", h->f);
        html_number(h, 'd', "pairs/%zu/hi", p), fputs("; ", h->f), html_words(h, "interval");
        fputs("). Fixed beforehand: a difference below ", h->f), html_number(h, 'g', "margin");
        fputs(" does not matter. ", h->f);
        fputs("A training step takes ", h->f), html_number(h, 'm', "arms/%zu/step_ms", h->lead);
        fputs(" where that of ", h->f), html_words(h, "arms/0/name"), fputs(" takes ", h->f);
        html_number(h, 'm', "arms/0/step_ms"), fputs(".", h->f);
    }
    fputs("</p>\n", h->f);
    free(verdict), free(unit), free(reached);
}

static inline void html_arms(const Html *h) {
    static const struct { const char *member, *title; char how; } column[] = {
        {"parameters", "numbers<br>in the model", 'n'}, {"active_parameters", "kept", 'n'},
        {"options/lr", "learning<br>rate", 'g'}, {"val_loss", "loss,<br>nats/token", 'b'}, {"bits", "", 'b'},
        {"lo", "95 %<br>from", 'b'}, {"hi", "<br>to", 'b'}, {"above_floor", "above<br>the floor", 'b'},
        {"gap", "less the<br>training loss", 'd'}, {"flops", "FLOPs", 'n'}, {"seconds", "time", 't'}};
    char *unit = html_raw(html_at(h, "unit"));
    fputs("<h2>The arms</h2><div class=wide><table><thead><tr><th>arm", h->f);
    for (size_t k = 0; k < sizeof column / sizeof *column; k++)
        fprintf(h->f, "<th>%s", *column[k].title ? column[k].title : unit);
    fputs("</thead><tbody>\n", h->f);
    for (size_t a = 0; a < h->arms; a++) {
        fputs("<tr><td>", h->f), html_arm(h, "span", a);
        for (size_t k = 0; k < sizeof column / sizeof *column; k++)
            fputs("<td>", h->f), html_number(h, column[k].how, "arms/%zu/%s", a, column[k].member);
        fputs("\n", h->f);
    }
    fputs("</table></div>\n", h->f), free(unit);
}

/* The mean curve of an arm, at most HTML_POINTS of it. */
static inline HtmlLine html_curve(const Html *h, size_t arm, const char *axis) {
    HtmlLine l = {0};
    const Json *run = h->curve + arm * h->seeds;
    char key[64];
    size_t n = 0;
    for (;; n++) {                                          /* as long as every seed has a point */
        bool all = true;
        for (size_t s = 0; s < h->seeds; s++)
            snprintf(key, sizeof key, "%zu/bits", n), all &= !isnan(json_real(json_at(run[s], key)));
        if (!all) break;
    }
    for (size_t i = 0; i < n && i < HTML_POINTS; i++, l.n++) {
        const size_t k = n <= HTML_POINTS ? i : i * (n - 1) / (HTML_POINTS - 1);
        l.lo[i] = INFINITY, l.hi[i] = -INFINITY;
        for (size_t s = 0; s < h->seeds; s++) {
            snprintf(key, sizeof key, "%zu/bits", k);
            const double y = json_real(json_at(run[s], key));
            snprintf(key, sizeof key, "%zu/%s", k, axis);
            l.x[i] += json_real(json_at(run[s], key)) / (double)h->seeds, l.mid[i] += y / (double)h->seeds;
            l.lo[i] = fmin(l.lo[i], y), l.hi[i] = fmax(l.hi[i], y);
        }
    }
    return l;
}
/* Names at the ends of the lines, moved apart where they would lie on each other. */
static inline void html_names(const Html *h, const HtmlAxes *a, const HtmlLine *l) {
    double *y = mem_new(h->arms, sizeof *y), last[2] = {-INFINITY, 0};
    for (size_t k = 0; k < h->arms; k++) y[k] = l[k].n ? html_y(a, l[k].mid[l[k].n - 1]) + 4 : NAN;
    for (size_t n = 0; n < h->arms; n++) {
        size_t top = h->arms;
        for (size_t k = 0; k < h->arms; k++) if (!isnan(y[k]) && (top == h->arms || y[k] < y[top])) top = k;
        if (top == h->arms) break;
        const double x = html_x(a, l[top].x[l[top].n - 1]);
        const double at = y[top] < last[0] + 13 && fabs(x - last[1]) < 60 ? last[0] + 13 : y[top];
        fprintf(h->f, "<text class='name c%zu' x=%.1f y=%.1f>", html_colour(h, top), x + 5, at);
        html_escape(h->f, h->name[top]), fputs("</text>", h->f);
        last[0] = at, last[1] = x, y[top] = NAN;
    }
    free(y);
}
static inline void html_chart(const Html *h, const char *axis, const char *title, const char *label, double scale) {
    HtmlLine *l = mem_new(h->arms, sizeof *l);
    HtmlAxes a = {0, 0, INFINITY, -INFINITY};
    for (size_t k = 0; k < h->arms; k++) {
        l[k] = html_curve(h, k, axis);
        for (size_t i = 0; i < l[k].n; i++) a.x1 = fmax(a.x1, l[k].x[i]), a.y0 = fmin(a.y0, l[k].lo[i]);
        if (l[k].n) a.y1 = fmax(a.y1, l[k].mid[l[k].n / 5]);        /* the first fall is of no interest */
    }
    a.y0 -= 0.05 * (a.y1 - a.y0);
    fprintf(h->f, "<figure><h3>%s</h3><svg viewBox='0 0 %d %d' role=img aria-label='%s'>", title, CHART_W, CHART_H,
            title);
    if (a.y1 > a.y0) {
        html_axes(h->f, &a, label, scale);
        const double goal = l->n ? html_y(&a, l->mid[l->n - 1]) : NAN;
        if (goal > TOP) fprintf(h->f, "<path class='goal c0' d='M%d %.1fH%d'/>", LEFT, goal, CHART_W - RIGHT);
        for (size_t k = h->arms; k-- > 0;) html_line(h->f, &a, &l[k], html_colour(h, k), h->seeds > 1);
        html_names(h, &a, l);
    }
    fputs("</svg></figure>\n", h->f), free(l);
}
static inline void html_charts(const Html *h) {
    char *unit = html_raw(html_at(h, "unit"));
    double most = 0;
    for (size_t k = 0; k < h->arms; k++) most = fmax(most, json_real(html_at(h, "arms/%zu/seconds", k)));
    const int t = most >= 7200 ? 2 : most >= 300 ? 1 : 0;
    fprintf(h->f, "<h2>Loss while training, %s</h2><p class=note>On held-out text; lower is better. The line is the mean "
            "over the seeds, the band goes from the best to the worst of them. Dotted: where ", unit);
    html_words(h, "arms/0/name"), fputs(" ends.</p>\n<div class=grid>", h->f);
    html_chart(h, "tokens", "By tokens: what the text is worth", "tokens", 1);
    html_chart(h, "flops", "By FLOPs: what the arithmetic is worth", "FLOPs", 1);
    html_chart(h, "seconds", "By time: what an hour is worth", (const char *[]){"seconds", "minutes", "hours"}[t],
               (const double[]){1, 60, 3600}[t]);
    fputs("</div>\n", h->f), free(unit);
}

/* The ticks below the strips of an axis. */
static inline void html_ruler(FILE *f, double R) {
    const double step = html_step(2 * R, 4);
    fputs("<tr><td><td class=strip><svg viewBox='0 0 300 24'>", f);
    for (double x = -floor(R / step) * step; x <= R * 1.0001; x += step)
        fprintf(f, "<path class=zero d='M%.1f 0v4'/><text class=mid x=%.1f y=17>%s%.*f</text>", html_strip_x(x, R),
                html_strip_x(x, R), x < -step / 2 ? "−" : x > step / 2 ? "+" : "", html_digits(step), fabs(x));
    fputs("</svg><td><td><td>\n", f);
}
static inline void html_verdicts(const Html *h) {
    static const char *const axis[3][2] = {{"tokens", "as many tokens"}, {"flops", "as many FLOPs"},
                                           {"time", "as much time"}};
    const double margin = json_real(html_at(h, "margin"));
    fputs("<h2>How sure is that?</h2><p class=note>Differences from ", h->f), html_words(h, "arms/0/name");
    fputs(" in ", h->f), html_words(h, "unit"), fputs("; left of the line is better. Bars are 95 % intervals (", h->f);
    html_words(h, "interval"), fputs("). The shade is the margin of ", h->f), html_number(h, 'g', "margin");
    fputs(", fixed beforehand.</p>\n<table class=forest>", h->f);
    for (int x = 0; x < 3; x++) {
        double R = 3 * margin;
        for (size_t k = 1; k < h->arms; k++) {
            const double d = fabs(json_real(html_at(h, "pairs/%zu/diff", html_pair(h, k, axis[x][0]))));
            if (d == d) R = fmax(R, 1.3 * d);
        }
        fprintf(h->f, "<tbody><tr><th colspan=5>After %s\n", axis[x][1]);
        for (size_t k = 1; k < h->arms; k++) {
            const size_t p = html_pair(h, k, axis[x][0]);
            fputs("<tr><td>", h->f), html_arm(h, "span", k), fputs("<td class=strip>", h->f);
            html_strip(h->f, html_colour(h, k), R, margin, json_real(html_at(h, "pairs/%zu/diff", p)),
                       json_real(html_at(h, "pairs/%zu/lo", p)), json_real(html_at(h, "pairs/%zu/hi", p)));
            fputs("<td>", h->f), html_number(h, 'd', "pairs/%zu/diff", p), fputs("<td>", h->f);
            html_number(h, 'd', "pairs/%zu/lo", p), fputs(" to ", h->f), html_number(h, 'd', "pairs/%zu/hi", p);
            fputs("<td><b>", h->f), html_words(h, "pairs/%zu/verdict", p), fputs("</b>\n", h->f);
        }
        html_ruler(h->f, R);
    }
    fputs("</table>\n", h->f);
}

static inline void html_cost(const Html *h) {
    fputs("<h2>What it takes</h2><p class=note>Until the loss at which ", h->f), html_words(h, "arms/0/name");
    fputs(" ends is reached, in shares of what it took; then a training step, and what a run keeps in "
          "memory.</p><div class='grid four'>\n", h->f);
    html_bars(h, "Time to that loss", 'p', "time_to_dense", "time", "never");
    html_bars(h, "FLOPs to that loss", 'p', "time_to_dense", "flops", "never");
    html_bars(h, "A training step", 'm', "arms", "step_ms", "");
    html_bars(h, "Memory", 'B', "arms", "memory_bytes", "");
    fputs("</div>\n", h->f);
}

/* What a matrix keeps, cell by cell in three strengths. */
static inline void html_mask(const Html *h, size_t arm, size_t n) {
    const size_t rows = (size_t)json_real(html_at(h, "arms/%zu/masks/%zu/rows", arm, n)),
                 cols = (size_t)json_real(html_at(h, "arms/%zu/masks/%zu/cols", arm, n));
    char *cells = html_raw(html_at(h, "arms/%zu/masks/%zu/cells", arm, n));
    fprintf(h->f, "<figure><svg class='mask c%zu' viewBox='0 0 %zu %zu'><rect width=%zu height=%zu />",
            html_colour(h, arm), cols, rows, cols, rows);
    for (int shade = 0; shade < 3 && strlen(cells) == rows * cols; shade++) {
        fprintf(h->f, "<path opacity=%.2g d='", (const double[]){0.35, 0.65, 1}[shade]);
        for (size_t i = 0, run; i < rows * cols; i += run) {
            for (run = 0; i + run < rows * cols && (i + run) / cols == i / cols && cells[i + run] > '0' &&
                          (cells[i + run] - '1') / 3 == shade; run++) { }
            if (run) fprintf(h->f, "M%zu %zu.5h%zu", i % cols, i / cols, run);
            else run = 1;
        }
        fputs("'/>", h->f);
    }
    fputs("</svg><figcaption>", h->f), html_words(h, "arms/%zu/masks/%zu/name", arm, n), fputs("<br>", h->f);
    html_number(h, 'g', "arms/%zu/masks/%zu/outputs", arm, n), fputs(" × ", h->f);
    html_number(h, 'g', "arms/%zu/masks/%zu/inputs", arm, n), fputs(", ", h->f);
    html_number(h, 'p', "arms/%zu/masks/%zu/density", arm, n), fputs(" kept</figcaption></figure>\n", h->f);
    free(cells);
}
static inline void html_masks(const Html *h) {
    bool any = false;
    for (size_t a = 0; a < h->arms; a++) {
        size_t n = 0;
        while (html_at(h, "arms/%zu/masks/%zu", a, n).p) n++;
        if (n && !any)
            fputs("<h2>What is kept</h2><p class=note>The four matrices of the first layer at the end, outputs down, "
                  "inputs across; a cell is a block, or as many as make at most 64 cells a side.</p>\n", h->f);
        if (n) fputs("<h3>", h->f), html_arm(h, "span", a), fputs("</h3><div class='grid four'>\n", h->f);
        for (size_t k = 0; k < n; k++) html_mask(h, a, k);
        if (n) fputs("</div>\n", h->f), any = true;
    }
}

static inline void html_sections(const Html *h, size_t arm) {
    double most = 0;
    size_t n = 0;
    for (; html_at(h, "arms/%zu/pipeline/sections/%zu", arm, n).p; n++)
        most = fmax(most, json_real(html_at(h, "arms/%zu/pipeline/sections/%zu/off_chip_bytes", arm, n)));
    fputs("<figure><h3>", h->f), html_arm(h, "span", arm);
    fputs("</h3><div class=wide><table class=bars><thead><tr><th>stages<th colspan=2>tiles at work<th colspan=2>off chip"
          "<th>bound by</thead>\n", h->f);
    for (size_t k = 0; k < n; k++) {
        char at[64];
        snprintf(at, sizeof at, "arms/%zu/pipeline/sections/%zu", arm, k);
        fputs("<tr><td>", h->f), html_words(h, "%s/from", at), fputs(" – ", h->f), html_words(h, "%s/to", at);
        fprintf(h->f, "<td><i class=c%zu style='width:%.1f%%'></i><td>", html_colour(h, arm),
                100 * json_real(html_at(h, "%s/utilisation", at)));
        html_number(h, 'p', "%s/utilisation", at);
        fprintf(h->f, "<td><i class=c%zu style='width:%.1f%%'></i><td>", html_colour(h, arm),
                100 * json_real(html_at(h, "%s/off_chip_bytes", at)) / most);
        html_number(h, 'B', "%s/off_chip_bytes", at), fputs("<td>", h->f), html_words(h, "%s/bound", at);
    }
    fputs("</table></div></figure>\n", h->f);
}
static inline void html_pipeline(const Html *h) {
    if (!html_at(h, "arms/0/pipeline").p) return;
    fputs("<h2>On the dataflow machine</h2><p class=note>Simulated: a training step on the chip “", h->f);
    html_words(h, "arms/0/pipeline/chip"), fputs("”, ", h->f), html_number(h, 'g', "arms/0/pipeline/tiles");
    fputs(" tiles of ", h->f), html_number(h, 'B', "arms/0/pipeline/sram");
    fputs(" each; a stage at a time, every edge going off chip, or streamed through sections of fused "
          "stages.</p><div class='grid four'>\n", h->f);
    html_bars(h, "Off chip per token, a stage at a time", 'B', "arms", "pipeline/kernel/bytes_per_token", "");
    html_bars(h, "Off chip per token, streamed", 'B', "arms", "pipeline/dataflow/bytes_per_token", "");
    html_bars(h, "FLOPs per byte, streamed", 'n', "arms", "pipeline/dataflow/intensity", "");
    html_bars(h, "Tiles at work, streamed", 'p', "arms", "pipeline/dataflow/utilisation", "");
    fputs("</div><div class=grid>\n", h->f), html_sections(h, 0);
    if (h->lead) html_sections(h, h->lead);
    fputs("</div>\n", h->f);
}

static inline void html_cloze(const Html *h) {
    if (!html_at(h, "arms/0/cloze/0").p) return;
    fputs("<h2>Questions answered right</h2><p class=note>On held-out text: facts told earlier in a story, by kind; last "
          "words of clauses that occurred before; which of four continuations is the true one. The grey tick is "
          "chance.</p><div class=wide><table><thead><tr><th>kind<th>items<th>chance<th>", h->f);
    for (size_t a = 0; a < h->arms; a++) fputs("<th>", h->f), html_arm(h, "span", a);
    fputs("</thead><tbody>\n", h->f);
    for (size_t k = 0; html_at(h, "arms/0/cloze/%zu", k).p; k++) {
        fputs("<tr><td>", h->f), html_words(h, "arms/0/cloze/%zu/kind", k), fputs("<td>", h->f);
        html_number(h, 'g', "arms/0/cloze/%zu/items", k), fputs("<td>", h->f);
        html_number(h, 'p', "arms/0/cloze/%zu/chance", k);
        fprintf(h->f, "<td><svg viewBox='0 0 212 20' style='min-width:12rem'><path class=rule d='M6 10h200'/><path "
                "class=zero d='M%.1f 3v14' stroke-width=2 />",
                6 + 200 * json_real(html_at(h, "arms/0/cloze/%zu/chance", k)));
        for (size_t a = h->arms; a-- > 0;)
            fprintf(h->f, "<circle class='dot c%zu' cx=%.1f cy=10 r=4.5 />", html_colour(h, a),
                    6 + 200 * json_real(html_at(h, "arms/%zu/cloze/%zu/accuracy", a, k)));
        fputs("</svg>", h->f);
        for (size_t a = 0; a < h->arms; a++)
            fputs("<td>", h->f), html_number(h, 'p', "arms/%zu/cloze/%zu/accuracy", a, k);
    }
    fputs("</table></div>\n", h->f);
}

static inline void html_samples(const Html *h) {
    if (!html_at(h, "arms/0/sample").p) return;
    fputs("<h2>In their own words</h2><p class=note>What each makes up, with the same random numbers.</p>"
          "<div class=grid>\n", h->f);
    for (size_t a = 0; a < h->arms; a++) {
        fprintf(h->f, "<figure class=c%zu>", html_colour(h, a)), html_arm(h, "span", a);
        fputs("<blockquote>", h->f), html_words(h, "arms/%zu/sample", a), fputs("</blockquote></figure>\n", h->f);
    }
    fputs("</div>\n", h->f);
}

/* The options that all arms share, or those in which they differ. */
static inline void html_options(const Html *h, bool shared) {
    Json j = html_at(h, "arms/0/options");
    bool first = true;
    for (json_expect(&j, '{'); json_more(&j, '}', &first); json_skip(&j, 0)) {
        char key[64], *one;
        bool same = true;
        json_string(&j, key, sizeof key), json_expect(&j, ':'), one = html_raw(html_at(h, "arms/0/options/%s", key));
        for (size_t a = 1; a < h->arms; a++) {
            char *other = html_raw(html_at(h, "arms/%zu/options/%s", a, key));
            same &= !strcmp(one, other), free(other);
        }
        if (same == shared)
            fprintf(h->f, shared ? "<div><dt>%s<dd>" : "<tr><td>%s", key);
        for (size_t a = 0; a < (shared ? 1 : h->arms) && same == shared; a++)
            fputs(shared ? "" : "<td>", h->f), html_words(h, "arms/%zu/options/%s", a, key);
        if (same == shared && shared) fputs("</div>", h->f);
        free(one);
    }
}
static inline void html_configuration(const Html *h) {
    fputs("<h2>How to repeat it</h2><pre>", h->f), html_words(h, "command");
    fputs("</pre><h3>Where the arms differ</h3><div class=wide><table><thead><tr><th>option", h->f);
    for (size_t a = 0; a < h->arms; a++) fputs("<th>", h->f), html_arm(h, "span", a);
    fputs("</thead><tbody>", h->f), html_options(h, false);
    fputs("</table></div><h3>The same for all</h3><dl>\n", h->f), html_options(h, true), fputs("</dl>\n", h->f);
}

/* Writes the page for that object of n bytes to path. */
static inline void html_report(const char *json, size_t n, const char *path) {
    Out out = out_open(path);
    Html h = {.f = out.f, .all = json_open((const uint8_t *)json, n, path), .lead = 1};
    while (html_at(&h, "arms/%zu", h.arms).p) h.arms++;
    while (html_at(&h, "arms/0/runs/%zu", h.seeds).p) h.seeds++;
    h.name = mem_new(h.arms, sizeof *h.name), h.curve = mem_new(h.arms * h.seeds, sizeof *h.curve);
    for (size_t k = 0; k < h.arms; k++) {
        char *name = html_raw(html_at(&h, "arms/%zu/name", k));
        snprintf(h.name[k], sizeof h.name[k], "%s", name);
        if (!strcmp(name, "sparse")) h.lead = k;
        for (size_t s = 0; s < h.seeds; s++) h.curve[k * h.seeds + s] = html_at(&h, "arms/%zu/runs/%zu/curve", k, s);
        free(name);
    }
    if (h.arms == 1) h.lead = 0;
    fprintf(h.f, "%s<title>%s: %s</title><svg width=0 height=0 style='position:absolute'><clipPath id=frame><rect x=%d "
            "y=%d width=%d height=%d /></clipPath></svg>\n", html_style, "sparseflow", h.name[h.lead], LEFT, TOP,
            CHART_W - LEFT - RIGHT, CHART_H - TOP - BOTTOM);
    html_headline(&h), html_arms(&h), html_charts(&h);
    if (h.arms > 1) html_verdicts(&h);
    html_cost(&h), html_masks(&h), html_pipeline(&h), html_cloze(&h), html_samples(&h), html_configuration(&h);
    fputs("</html>\n", h.f), free(h.name), free(h.curve);
    if (!out_commit(&out)) die("%s: cannot write: %s", path, strerror(errno));
}
#endif
