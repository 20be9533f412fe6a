/* page.h: the results of `compare` as one page, with no script and no file beside it: for a wide screen, a
 * phone or paper, light or dark.
 *
 * The page is made from the JSON object that --json writes and from nothing else. Every figure on it is an
 * element that says which member it shows, with its unrounded value, and so is every word from there:
 *
 *     <data value="1.93528" data-key="arms/1/bits">1.935</data>
 *     <span data-key="arms/1/name">sparse</span>
 *
 * so that a test can hold the page against the object. It refuses to work out results: what the object does
 * not have, the page does not say. Only where marks lie in a drawing is computed here; a curve over several
 * seeds is their mean, and its band goes from the least to the largest of them.
 *
 * Example: html_put(h, "<td>{b arms/%zu/bits}", 1) writes a cell with the first of the elements above.
 *
 * Colours are those of Okabe and Ito (2008), darker on white and lighter on black; the first arm is grey. */
#ifndef PAGE_H
#define PAGE_H
#include "../base/out.h"

typedef struct {
    Out *out;
    Json all;                       /* stands before the object */
    size_t arms, seeds, lead;       /* lead: the arm of the headline */
    char (*name)[64];               /* [arms] */
    Json *curve;                    /* [arms][seeds] */
} Html;

static const char html_style[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<meta name=color-scheme content='light dark'><style>\n"
    ":root{--bg:#fff;--ink:#1c1c1c;--soft:#666;--rule:#d9d9d9;--pale:#e9eef1;--c0:#555;--c1:#0072b2;"
    "--c2:#c65102;--c3:#00805e;--c4:#a4458a;--c5:#8a6d00;--c6:#3a6ea8}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#16181b;--ink:#e7e5e2;--soft:#a09e9b;"
    "--rule:#383c41;--pale:#262b30;--c0:#c4c4c4;--c1:#58b4ee;--c2:#f0883e;--c3:#2fc493;--c4:#e08fc4;"
    "--c5:#d9bb3c;--c6:#9ab7e0}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}"
    ".c5{--c:var(--c5)}.c6{--c:var(--c6)}\n"
    "*{box-sizing:border-box;print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    "body{margin:0 auto;padding:2rem 1rem 4rem;max-width:69.5rem;background:var(--bg);color:var(--ink);"
    "font:1rem/1.5 system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;"
    "-webkit-text-size-adjust:100%}\n"
    "h1{font:700 2.3rem/1.15 Georgia,'Times New Roman',serif;margin:.2em 0 .4em;max-width:22em}\n"
    "h2{font-size:1.25rem;line-height:1.3;margin:3rem 0 .2rem;padding-top:.8rem;"
    "border-top:1px solid var(--rule)}\n"
    "h3{font-size:.875rem;font-weight:600;margin:1rem 0 .3rem}p{margin:.3rem 0 1rem;max-width:44em}\n"
    ".lead{font-size:1.15rem}.note,figcaption{color:var(--soft);font-size:.875rem}"
    "figure{margin:0;min-width:0}.arm{color:var(--c);font-weight:600;white-space:nowrap}\n"
    ".grid{display:grid;gap:1.2rem 2rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,18.8rem),"
    "1fr))}.four{grid-template-columns:repeat(auto-fit,minmax(min(100%,14.5rem),1fr))}"
    ".masks{grid-template-columns:repeat(auto-fill,minmax(min(45%,10.6rem),1fr))}\n"
    ".wide{overflow-x:auto}svg{display:block;width:100%;height:auto}\n"
    "svg text{font:12px system-ui,'Segoe UI',Roboto,Arial,sans-serif;fill:var(--soft)}"
    ".end{text-anchor:end}.mid{text-anchor:middle}svg .name{fill:var(--c);font-weight:600;"
    "paint-order:stroke;stroke:var(--bg);stroke-width:4px}\n"
    ".rule{stroke:var(--rule);fill:none}.zero{stroke:var(--soft);fill:none}.goal{stroke:var(--c);fill:none;"
    "stroke-dasharray:2 3}.line{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}"
    ".band{fill:var(--c);opacity:.2}.dot{fill:var(--c)}.room{fill:var(--pale)}"
    ".mask{stroke:var(--c);background:var(--pale)}\n"
    "table{border-collapse:collapse;font-size:.875rem;width:100%;font-variant-numeric:tabular-nums}\n"
    "td,th{padding:.28rem .5rem;text-align:right;font-weight:400;white-space:nowrap}thead th{"
    "color:var(--soft);vertical-align:bottom;line-height:1.25;border-bottom:1px solid var(--rule)}\n"
    "td:first-child,th:first-child{text-align:left;padding-left:0}td:last-child,th:last-child{"
    "padding-right:0}tr+tr td{border-top:1px solid var(--pale)}.wide td:first-child{position:sticky;left:0;"
    "background:var(--bg)}\n"
    ".bars td{border:0;padding-top:.1rem;padding-bottom:.1rem}.bars .bar{width:99%}.bar i{display:block;"
    "height:.8rem;min-width:1px;background:var(--c)}.bars.two{font-size:.8125rem}.two th,.two td{"
    "padding-left:.3rem;padding-right:.3rem}.bars.two .bar{width:18%;min-width:2.5rem}"
    ".none{text-align:left}\n"
    ".forest td{border:0;padding-top:0;padding-bottom:0}.strip svg{width:22.5rem}.track svg{min-width:11rem}"
    ".forest th{font-weight:600;padding-top:1rem}.forest td:last-child{text-align:left;width:99%}\n"
    "blockquote{margin:.3rem 0 0;padding-left:.9rem;border-left:3px solid var(--c);white-space:pre-wrap;"
    "font:1rem/1.5 Georgia,serif;overflow-wrap:anywhere}\n"
    "pre{background:var(--pale);padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere;"
    "font-size:.8125rem}\n"
    "code{font:inherit}"
    "@media(max-width:640px){body{padding-top:1rem}h1{font-size:1.75rem}.forest tr{display:grid;"
    "grid-template-columns:1fr auto;padding:.3rem 0}.forest .strip{grid-area:2/1/3/3;padding:0}.strip "
    "svg{width:100%}.forest td:nth-child(3){grid-area:3/1;text-align:left;padding-left:0}"
    ".forest td:nth-child(4){grid-area:3/2;padding-right:0}"
    ".forest td:last-child{grid-area:1/2;text-align:right}}\n"
    "@media print{@page{margin:14mm}html{font-size:70%}body{max-width:none;padding:0}h2{margin-top:1.6rem}"
    ".wide{overflow:visible}figure,tr,pre{break-inside:avoid}h2,h3,.note{break-after:avoid}}\n"
    "</style>\n";

/* ---- words and figures from the object ---------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static inline Json html_at(const Html *h, const char *fmt, ...) {
    char key[128];
    va_list ap;
    va_start(ap, fmt), vsnprintf(key, sizeof key, fmt, ap), va_end(ap);
    return json_at(h->all, key);
}
/* The number at a key; NAN if there is none. */
__attribute__((format(printf, 2, 3))) static inline double html_real(const Html *h, const char *fmt, ...) {
    char key[128];
    va_list ap;
    va_start(ap, fmt), vsnprintf(key, sizeof key, fmt, ap), va_end(ap);
    return json_real(json_at(h->all, key));
}
/* A value as it stands in the object, of a string what it says; "" if there is none. Freed with free(). */
static inline char *html_raw(Json j) {
    Json end = j;
    if (!j.p) return text_copy("");
    json_skip(&end, 0);
    const size_t n = (size_t)(end.p - j.p);
    char *text = mem_new(n + 1, 1);
    if (*j.p == '"') json_string(&j, text, n + 1);
    else memcpy(text, j.p, n);
    return text;
}
static inline bool html_says(Json j, const char *what) {
    char *text = html_raw(j);
    const bool same = !strcmp(text, what);
    free(text);
    return same;
}
/* The colour of an arm: grey the first, blue that of the headline. */
static inline size_t html_colour(const Html *h, size_t arm) {
    return !arm ? 0 : arm == h->lead ? 1 : 2 + (arm - (arm > h->lead) - 1) % 5;
}

/* x as text. d: a difference; b, p, P, x: a loss, per cent, roughly so, times; g: three digits; n, B, s, m:
 * three digits of a number, of bytes, seconds, milliseconds with a unit that suits them. */
static inline void html_figure(char out[64], char how, double x) {
    static const char *const si[] = {"", " k", " M", " G", " T", " P", " E"},
                      *const time[] = {" ms", " s", " min", " h"};
    int k = 0;
    switch (how) {
    case 'd': snprintf(out, 64, "%s%.4f", x < 0 ? "−" : "+", fabs(x)); return;
    case 'b': snprintf(out, 64, "%.4f", x); return;
    case 'p': snprintf(out, 64, "%.1f %%", 100 * x); return;
    case 'P': snprintf(out, 64, "%.0f %%", 100 * x); return;
    case 'x': snprintf(out, 64, "%.2f×", x); return;
    case 'g': snprintf(out, 64, "%.3g", x); return;
    case 'm': if (x >= 999.5) x /= 1000, k = 1; break;
    case 's': k = x < 120 ? 1 : x < 7200 ? 2 : 3, x /= (const double[]){1, 1, 60, 3600}[k]; break;
    default: for (; x >= 999.5 && k < 6; k++) x /= 1000;
    }
    const int digits = x >= 99.95 || (x == floor(x) && !k) ? 0 : x >= 9.995 ? 1 : 2;
    const char *unit = how == 'm' || how == 's' ? time[k] : si[k];
    snprintf(out, 64, "%.*f%s%s", digits, x, unit, how != 'B' ? "" : k ? "B" : " B");
}
static inline void html_value(const Html *h, char how, const char *key) {
    const size_t arm = strtoul(key, NULL, 10);
    char at[32], text[64];
    if (how == 'a') snprintf(at, sizeof at, "arms/%zu/name", arm), key = at;
    const Json j = json_at(h->all, key);
    char *raw = html_raw(j);
    if (!j.p) out_text(h->out, "–");
    else if (strchr("akw", how)) {
        out_print(h->out, "<span data-key=\"%s\"", key);
        out_print(h->out, how == 'a' ? " class='arm c%zu'>" : ">", html_colour(h, arm));
        for (const char *s = raw; *s; s++)
            if (*s == '<' || *s == '&') out_text(h->out, *s == '<' ? "&lt;" : "&amp;");
            else out_char(h->out, *s == '_' && how == 'k' ? ' ' : *s);
        out_text(h->out, "</span>");
    } else if (isnan(json_real(j))) out_text(h->out, "–");
    else {
        html_figure(text, how, json_real(j));
        out_print(h->out, "<data value=\"%s\" data-key=\"%s\">%s</data>", raw, key, how == 'r' ? raw : text);
    }
    free(raw);
}
/* Prints, with {HOW KEY} for the figure or the words at that key: a figure as above or r, as it stands; w or
 * k, words, k with spaces for _; {a N} the name of an arm. */
__attribute__((format(printf, 2, 3))) static inline void html_put(const Html *h, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt), vsnprintf(text, sizeof text, fmt, ap), va_end(ap);
    for (char *p = text; *p; p++) {
        char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (!end) { out_char(h->out, *p); continue; }
        *end = 0, html_value(h, p[1], p + 3), p = end;
    }
}

/* ---- charts: axes, a line with its band --------------------------------------------------------------- */

enum { CHART_W = 340, CHART_H = 260, LEFT = 34, RIGHT = 54, TOP = 8, BOTTOM = 38, POINTS = 64 };
typedef struct { double x0, x1, y0, y1; } HtmlAxes;         /* what the frame of a chart spans */
typedef struct { size_t n; double x[POINTS], lo[POINTS], mid[POINTS], hi[POINTS]; } HtmlLine;

static inline double html_x(const HtmlAxes *a, double x) {
    return LEFT + (x - a->x0) / (a->x1 - a->x0) * (CHART_W - LEFT - RIGHT);
}
static inline double html_y(const HtmlAxes *a, double y) {
    return CHART_H - BOTTOM - (y - a->y0) / (a->y1 - a->y0) * (CHART_H - TOP - BOTTOM);
}
/* 1, 2 or 5 times a power of ten, about so many in a span; the decimals that it needs. */
static inline double html_step(double span, double about) {
    const double ten = pow(10, floor(log10(span / about))), m = span / about / ten;
    return ten * (m > 5 ? 10 : m > 2 ? 5 : m > 1 ? 2 : 1);
}
static inline int html_digits(double step) { return step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0; }

/* The ticks of x are in units of `scale`. */
static inline void html_axes(Out *out, const HtmlAxes *a, const char *label, double scale) {
    const double dy = html_step(a->y1 - a->y0, 5), dx = html_step((a->x1 - a->x0) / scale, 4);
    const int bottom = CHART_H - BOTTOM, right = CHART_W - RIGHT;
    for (double y = ceil(a->y0 / dy) * dy; y <= a->y1; y += dy)
        out_print(out, "<path class=rule d='M%d %.1fH%d'/><text class=end x=%d y=%.1f>%.*f</text>", LEFT,
                html_y(a, y), right, LEFT - 6, html_y(a, y) + 4, html_digits(dy), y);
    for (double x = 0; x <= a->x1 / scale; x += dx) {
        static const char *const si[] = {"", " k", " M", " G", " T", " P", " E"};
        double shown = x;
        int k = 0;
        for (; shown >= 1000 && k < 6; k++) shown /= 1000;
        out_print(out, "<path class=zero d='M%.1f %dv4'/><text class=mid x=%.1f y=%d>%.*f%s</text>",
                html_x(a, x * scale), bottom, html_x(a, x * scale), bottom + 17,
                k ? shown != floor(shown) : html_digits(dx), shown, si[k]);
    }
    out_print(out, "<path class=zero d='M%d %dH%d'/><text class=end x=%d y=%d>%s</text>\n", LEFT, bottom, right,
            right, CHART_H - 4, label);
}
static inline void html_line(Out *out, const HtmlAxes *a, const HtmlLine *l, size_t colour, bool band) {
    out_print(out, "<g class=c%zu clip-path=url(#frame)>", colour);
    if (band) out_text(out, "<path class=band d='");
    for (size_t k = 0; band && k < l->n; k++)
        out_print(out, "%c%.1f %.1f", k ? 'L' : 'M', html_x(a, l->x[k]), html_y(a, l->hi[k]));
    for (size_t k = l->n; band && k-- > 0;) out_print(out, "L%.1f %.1f", html_x(a, l->x[k]), html_y(a, l->lo[k]));
    out_print(out, "%s<path class=line d='", band ? "'/>" : "");
    for (size_t k = 0; k < l->n; k++)
        out_print(out, "%c%.1f %.1f", k ? 'L' : 'M', html_x(a, l->x[k]), html_y(a, l->mid[k]));
    out_text(out, "'/></g>\n");
}
/* Names at the ends of the lines, from the top down, moved apart where they would lie on each other. */
static inline void html_names(const Html *h, const HtmlAxes *a, const HtmlLine *l) {
    double *y = mem_new(h->arms, sizeof *y), last_x = 0, last_y = -INFINITY;
    for (size_t k = 0; k < h->arms; k++) y[k] = l[k].n ? html_y(a, l[k].mid[l[k].n - 1]) + 4 : INFINITY;
    for (size_t n = 0; n < h->arms; n++) {
        size_t top = 0;
        for (size_t k = 1; k < h->arms; k++) if (y[k] < y[top]) top = k;
        if (isinf(y[top])) break;
        const double x = html_x(a, l[top].x[l[top].n - 1]);
        if (fabs(x - last_x) < 60) y[top] = fmax(y[top], last_y + 13);
        out_print(h->out, "<text class='name c%zu' x=%.1f y=%.1f>%s</text>", html_colour(h, top), x + 5, y[top],
                h->name[top]);
        last_x = x, last_y = y[top], y[top] = INFINITY;
    }
    free(y);
}

/* The mean curve of an arm, at most POINTS of it, as far as every seed has one. */
static inline HtmlLine html_curve(const Html *h, size_t arm, const char *axis) {
    HtmlLine l = {0};
    const Json *run = h->curve + arm * h->seeds;
    size_t n = 0;
    char key[64];
    for (bool all = true; all; n += all)
        for (size_t s = 0; s < h->seeds; s++)
            snprintf(key, sizeof key, "%zu/bits", n), all &= !isnan(json_real(json_at(run[s], key)));
    for (size_t i = 0; i < n && i < POINTS; i++, l.n++) {
        const size_t k = n <= POINTS ? i : i * (n - 1) / (POINTS - 1);
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
static inline void html_chart(const Html *h, const char *axis, const char *title, const char *label,
                              double scale) {
    HtmlLine *l = mem_new(h->arms, sizeof *l);
    HtmlAxes a = {0, 0, INFINITY, -INFINITY};
    for (size_t k = 0; k < h->arms; k++) {
        l[k] = html_curve(h, k, axis);
        for (size_t i = 0; i < l[k].n; i++) a.x1 = fmax(a.x1, l[k].x[i]), a.y0 = fmin(a.y0, l[k].lo[i]);
        if (l[k].n) a.y1 = fmax(a.y1, l[k].mid[l[k].n / 3]);        /* the first fall would hide the rest */
    }
    a.y0 -= 0.05 * (a.y1 - a.y0);
    html_put(h, "<figure><h3>%s</h3><svg viewBox='0 0 %d %d' role=img aria-label='%s'>", title, CHART_W,
             CHART_H, title);
    if (a.y1 > a.y0) {
        html_axes(h->out, &a, label, scale);
        const double end = l->n ? html_y(&a, l->mid[l->n - 1]) : 0;
        if (end > TOP) html_put(h, "<path class='goal c0' d='M%d %.1fH%d'/>", LEFT, end, CHART_W - RIGHT);
        for (size_t k = h->arms; k-- > 0;) html_line(h->out, &a, &l[k], html_colour(h, k), h->seeds > 1);
        html_names(h, &a, l);
    }
    html_put(h, "</svg></figure>\n"), free(l);
}

/* ---- tables with marks: strips, bars ------------------------------------------------------------------ */

/* A strip 360 wide that spans -R .. R: the margin, zero, an interval and its middle; what lies beyond ends in
 * an arrow. */
static inline double html_strip_x(double x, double R) { return 180 + 168 * fmax(-1, fmin(1, x / R)); }
static inline void html_strip(Out *out, size_t colour, double R, double margin, double diff, double lo,
                              double hi) {
    const double a = html_strip_x(lo, R), b = html_strip_x(hi, R), m = html_strip_x(margin, R);
    out_print(out, "<svg viewBox='0 0 360 30' class=c%zu><path class=room d='M%.1f 0H%.1fV30H%.1fz'/><path "
            "class=zero d='M180 0v30'/>", colour, 360 - m, m, 360 - m);
    if (isfinite(lo) && isfinite(hi)) out_print(out, "<path class=line d='M%.1f 15H%.1f'/>", a, b);
    if (lo < -R) out_print(out, "<path class=dot d='M%.1f 15l7-5v10z'/>", a - 5);
    if (hi > R) out_print(out, "<path class=dot d='M%.1f 15l-7-5v10z'/>", b + 5);
    if (fabs(diff) <= R) out_print(out, "<circle class=dot cx=%.1f cy=15 r=5 />", html_strip_x(diff, R));
    out_text(out, "</svg>");
}
static inline void html_ruler(Out *out, double R) {
    const double step = html_step(2 * R, 5);
    out_text(out, "<tr><td><td class=strip><svg viewBox='0 0 360 24'>");
    for (double x = -floor(R / step) * step; x < 1.001 * R; x += step)
        out_print(out, "<path class=zero d='M%.1f 0v4'/><text class=mid x=%.1f y=17>%s%.*f</text>",
                html_strip_x(x, R), html_strip_x(x, R), x < -step / 2 ? "−" : x > step / 2 ? "+" : "",
                fabs(x) > step / 2 ? html_digits(step) : 0, fabs(x));
    out_text(out, "</svg><td><td><td>\n");
}
static inline void html_bar(Out *out, size_t colour, double share) {
    out_print(out, "<td class=bar><i class=c%zu style='width:%.1f%%'></i><td>", colour, 100 * share);
}
/* One member of every arm, as bars: of arms/ by the arm's place; of another list, of costs, by its name. */
static inline void html_bars(const Html *h, const char *title, char how, const char *list,
                             const char *member) {
    char (*key)[128] = mem_new(h->arms, sizeof *key);
    const bool own = !strcmp(list, "arms");
    double most = 0;
    for (size_t k = 0; k < h->arms; k++) {
        if (own) snprintf(key[k], sizeof *key, "arms/%zu/%s", k, member);
        else snprintf(key[k], sizeof *key, "%s/%s/%s", list, h->name[k], member);
        most = fmax(most, html_real(h, "%s", key[k]));
    }
    html_put(h, "<figure><h3>%s</h3><table class=bars>", title);
    for (size_t k = 0; k < h->arms; k++) {
        const double x = html_real(h, "%s", key[k]);
        html_put(h, "<tr><td>{a %zu}", k);
        if (isnan(x)) { html_put(h, "<td class=none colspan=2>%s", own ? "–" : "never"); continue; }
        html_bar(h->out, html_colour(h, k), x / most), html_put(h, "{%c %s}", how, key[k]);
    }
    html_put(h, "</table></figure>\n"), free(key);
}
/* A table's head: its first columns, then one for each arm. */
static inline void html_head(const Html *h, const char *columns) {
    html_put(h, "<div class=wide><table><thead><tr>%s", columns);
    for (size_t a = 0; a < h->arms; a++) html_put(h, "<th>{a %zu}", a);
    html_put(h, "</thead><tbody>\n");
}

/* ---- the sections of the page ------------------------------------------------------------------------- */

/* Each arm has a pair with each before it: how many come before that of an arm with the first. */
static inline size_t html_pair(size_t arm) { return arm * (arm - 1) / 2; }

static inline void html_headline(const Html *h) {
    const size_t a = h->lead, p = a ? 3 * html_pair(a) : 0;
    if (html_at(h, "sentence").p) html_put(h, "<h1>{w sentence}</h1>\n");
    if (!a || isnan(html_real(h, "pairs/%zu/diff", p))) return;
    html_put(h, "<p class=lead>On text that no arm has seen, the loss differs by {d pairs/%zu/diff} "
             "{w unit}; the 95 %% interval is {d pairs/%zu/lo} to {d pairs/%zu/hi} ({w interval}), and a "
             "difference below {g margin} does not matter, which was fixed beforehand. A training step is "
             "{x arms/%zu/speed_up} as fast: {m arms/%zu/step_ms}, where that of {a 0} takes "
             "{m arms/0/step_ms}.</p>\n", p, p, p, a, a);
}
static inline void html_arms(const Html *h) {
    static const struct { char how; const char *member, *title; } column[] = {
        {'n', "parameters", "numbers<br>in the model"}, {'n', "active_parameters", "kept"},
        {'g', "options/lr", "learning<br>rate"}, {'n', "flops", "FLOPs"}, {'s', "seconds", "time"},
        {'b', "val_loss", "loss,<br>nats/token"}, {'b', "bits", "{w unit}"}, {'b', "lo", "95 %%<br>from"},
        {'b', "hi", "to"}, {'d', "gap", "above the<br>training loss"},
        {'d', "above_floor", "above<br>the floor"}};
    const size_t columns = sizeof column / sizeof *column - isnan(html_real(h, "arms/0/above_floor"));
    html_put(h, "<h2>The arms</h2><div class=wide><table><thead><tr><th>arm");
    for (size_t k = 0; k < columns; k++) html_put(h, "<th>"), html_put(h, column[k].title, 0);
    html_put(h, "</thead><tbody>\n");
    for (size_t a = 0; a < h->arms; a++) {
        html_put(h, "<tr><td>{a %zu}", a);
        for (size_t k = 0; k < columns; k++)
            html_put(h, "<td>{%c arms/%zu/%s}\n", column[k].how, a, column[k].member);
    }
    html_put(h, "</table></div>\n");
}
static inline void html_charts(const Html *h) {
    static const char *const unit[3] = {"seconds", "minutes", "hours"};
    double most = 0;
    for (size_t k = 0; k < h->arms; k++) most = fmax(most, html_real(h, "arms/%zu/seconds", k));
    const int t = most >= 7200 ? 2 : most >= 300 ? 1 : 0;
    html_put(h, "<h2>Loss while training, {w unit}</h2><p class=note>On held-out text; lower is better. %s"
             "The dotted line is where {a 0} ends.</p>\n<div class=grid>", h->seeds == 1 ? "" :
             "Lines are means over the seeds, bands go from the best to the worst of them. ");
    html_chart(h, "tokens", "By tokens read", "tokens", 1);
    html_chart(h, "flops", "By arithmetic done", "FLOPs", 1);
    html_chart(h, "seconds", "By time taken on this machine", unit[t], (const double[]){1, 60, 3600}[t]);
    html_put(h, "</div>\n");
}
static inline void html_verdicts(const Html *h) {
    static const char *const cost[3] = {"as many tokens", "as many FLOPs", "as much time"};
    const double margin = html_real(h, "margin");
    html_put(h, "<h2>How sure is that?</h2><p class=note>Loss less that of {a 0}, {w unit}; left of the line "
             "is better. Bars are 95 %% intervals ({w interval}), the shade is the margin of {g margin}. "
             "After as many FLOPs or as much time one run has ended and the other, of dearer steps, is in "
             "the middle of its schedule.</p>\n<table class=forest>");
    for (size_t x = 0; x < 3; x++) {
        double R = 3 * margin;
        for (size_t a = 1; a < h->arms; a++)
            R = fmax(R, 1.3 * fabs(html_real(h, "pairs/%zu/diff", 3 * html_pair(a) + x)));
        html_put(h, "<tbody><tr><th colspan=5>After %s\n", cost[x]);
        for (size_t a = 1; a < h->arms; a++) {
            const size_t p = 3 * html_pair(a) + x;
            html_put(h, "<tr><td>{a %zu}<td class=strip>", a);
            html_strip(h->out, html_colour(h, a), R, margin, html_real(h, "pairs/%zu/diff", p),
                       html_real(h, "pairs/%zu/lo", p), html_real(h, "pairs/%zu/hi", p));
            html_put(h, "<td>{d pairs/%zu/diff}<td>", p);
            if (isnan(html_real(h, "pairs/%zu/lo", p))) html_put(h, "<td>no interval\n");
            else html_put(h, "{d pairs/%zu/lo} to {d pairs/%zu/hi}<td><b>{w pairs/%zu/verdict}</b>\n",
                          p, p, p);
        }
        html_ruler(h->out, R);
    }
    html_put(h, "</table>\n");
}
static inline void html_cost(const Html *h) {
    html_put(h, "<h2>What it takes</h2><p class=note>To come to the loss at which {a 0} ends, in shares of "
             "what that took; for a training step; in memory.</p><div class='grid four'>\n");
    html_bars(h, "Time to that loss", 'P', "time_to_dense", "time");
    html_bars(h, "FLOPs to that loss", 'P', "time_to_dense", "flops");
    html_bars(h, "A training step", 'm', "arms", "step_ms");
    html_bars(h, "Memory while training", 'B', "arms", "memory_bytes");
    html_put(h, "</div>\n");
}

/* What a matrix keeps: runs of cells of one of three strengths. */
static inline void html_mask(const Html *h, const char *at, size_t colour) {
    const size_t rows = (size_t)html_real(h, "%s/rows", at), cols = (size_t)html_real(h, "%s/cols", at);
    char *cells = html_raw(html_at(h, "%s/cells", at));
    html_put(h, "<figure><svg class='mask c%zu' viewBox='0 0 %zu %zu'>", colour, cols, rows);
    for (int shade = 0; shade < 3; shade++) {
        html_put(h, "<path opacity=%.2g d='", 0.35 + 0.325 * shade);
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0, n; i < cols; i += n + !n) {
                const char *c = cells + r * cols + i;
                for (n = 0; i + n < cols && c[n] > '0' && (c[n] - '1') / 3 == shade; n++) { }
                if (n) out_print(h->out, "M%zu %zu.5h%zu", i, r, n);
            }
        html_put(h, "'/>");
    }
    html_put(h, "</svg><figcaption>{w %s/name}<br>{r %s/outputs} × {r %s/inputs}<br>{p %s/density} kept"
             "</figcaption></figure>\n", at, at, at, at);
    free(cells);
}
static inline void html_masks(const Html *h) {
    bool any = false;
    char at[64];
    for (size_t a = 0; a < h->arms; a++) {
        if (!html_at(h, "arms/%zu/masks/0", a).p) continue;
        if (!any)
            html_put(h, "<h2>What is kept</h2><p class=note>The four matrices of the first layer, outputs "
                     "down, inputs across. A cell is a block, of large matrices several.</p>\n");
        html_put(h, "<h3>{a %zu}</h3><div class='grid masks'>\n", a);
        for (size_t k = 0; html_at(h, "arms/%zu/masks/%zu", a, k).p; k++)
            snprintf(at, sizeof at, "arms/%zu/masks/%zu", a, k), html_mask(h, at, html_colour(h, a));
        html_put(h, "</div>\n"), any = true;
    }
}

static inline void html_sections(const Html *h, size_t arm) {
    double most = 0;
    char at[64];
    html_put(h, "<figure><h3>{a %zu}</h3><div class=wide><table class='bars two'><thead><tr><th>section<th "
             "colspan=2>tiles at work<th colspan=2>off chip<th>bound by</thead>\n", arm);
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; html_at(h, "arms/%zu/pipeline/sections/%zu", arm, k).p; k++) {
            snprintf(at, sizeof at, "arms/%zu/pipeline/sections/%zu", arm, k);
            const double bytes = html_real(h, "%s/off_chip_bytes", at);
            if (!pass) { most = fmax(most, bytes); continue; }
            html_put(h, "<tr><td>{w %s/from} – {w %s/to}", at, at);
            html_bar(h->out, html_colour(h, arm), html_real(h, "%s/utilisation", at));
            html_put(h, "{P %s/utilisation}", at), html_bar(h->out, html_colour(h, arm), bytes / most);
            html_put(h, "{B %s/off_chip_bytes}<td>{w %s/bound}\n", at, at);
        }
    html_put(h, "</table></div></figure>\n");
}
static inline void html_pipeline(const Html *h) {
    if (!html_at(h, "arms/0/pipeline").p) return;
    html_put(h, "<h2>On the dataflow machine</h2><p class=note>Simulated: a training step on the chip "
             "“{w arms/0/pipeline/chip}”, {r arms/0/pipeline/tiles} tiles of {B arms/0/pipeline/sram}; a "
             "stage at a time, every result going off chip, or streamed through sections of stages that fit "
             "on the chip together.</p><div class='grid four'>\n");
    html_bars(h, "Off chip per token, by stages", 'B', "arms", "pipeline/kernel/bytes_per_token");
    html_bars(h, "Off chip per token, streamed", 'B', "arms", "pipeline/dataflow/bytes_per_token");
    html_bars(h, "FLOPs per byte, streamed", 'n', "arms", "pipeline/dataflow/intensity");
    html_bars(h, "Tiles at work, streamed", 'P', "arms", "pipeline/dataflow/utilisation");
    html_put(h, "</div><div class=grid>\n"), html_sections(h, 0);
    if (html_at(h, "arms/%zu/pipeline", h->lead).p && h->lead) html_sections(h, h->lead);
    html_put(h, "</div>\n");
}

/* Which of n entries compares arm a, or any if that is 0, with the first in a kind of question; n: none. */
static inline size_t html_cloze_at(const Html *h, size_t n, size_t a, const char *kind) {
    size_t i = 0;
    while (i < n && !(html_says(html_at(h, "cloze/%zu/b", i), h->name[0]) &&
                      html_says(html_at(h, "cloze/%zu/kind", i), kind) &&
                      (!a || html_says(html_at(h, "cloze/%zu/a", i), h->name[a])))) i++;
    return i;
}
/* Whether any arm is above chance in a kind of question. */
static inline bool html_cloze_above(const Html *h, size_t n, const char *kind) {
    for (size_t i = 0; i < n; i++)
        if (html_says(html_at(h, "cloze/%zu/kind", i), kind) && html_real(h, "cloze/%zu/above_chance", i) > 0)
            return true;
    return false;
}
/* Of each kind of question a strip with chance and a dot for each arm, then the figures; of a kind that no arm is
 * certain to know more of than chance, nothing. */
static inline void html_cloze(const Html *h) {
    size_t n = 0;
    while (html_at(h, "cloze/%zu", n).p) n++;
    bool any = false;
    for (size_t k = 0; k < n; k++) any |= html_real(h, "cloze/%zu/above_chance", k) > 0;
    if (!any) return;
    html_put(h, "<h2>Questions answered</h2><p class=note>On held-out text, shares right, of the kinds in "
             "which an arm is above chance. The tick is chance; bold where the 95 %% interval of the difference from {a 0} is without zero.</p>");
    html_head(h, "<th>kind<th>items<th>chance<th>");
    for (size_t k = 0; k < n; k++) {
        char *kind = html_raw(html_at(h, "cloze/%zu/kind", k));
        const bool other = html_cloze_at(h, n, 0, kind) != k;               /* not the first of its kind */
        if (other || !html_cloze_above(h, n, kind)) { free(kind); continue; }
        html_put(h, "<tr><td>{k cloze/%zu/kind}<td>{r cloze/%zu/items}<td>{p cloze/%zu/chance}"
                 "<td class=track><svg viewBox='0 0 212 20'><path class=rule d='M6 10h200'/><path class=zero "
                 "stroke-width=2 d='M%.1f 3v14'/>", k, k, k, 6 + 200 * html_real(h, "cloze/%zu/chance", k));
        for (size_t a = h->arms; a-- > 0;) {
            const size_t p = a ? html_cloze_at(h, n, a, kind) : k;
            const double right = html_real(h, a ? "cloze/%zu/right_a" : "cloze/%zu/right_b", p);
            if (p < n)
                html_put(h, "<circle class='dot c%zu' cx=%.1f cy=10 r=4.5 />", html_colour(h, a),
                         6 + 200 * right);
        }
        html_put(h, "</svg><td>{p cloze/%zu/right_b}", k);
        for (size_t a = 1; a < h->arms; a++) {
            const size_t p = html_cloze_at(h, n, a, kind);
            const bool sure = html_real(h, "cloze/%zu/lo", p) > 0 || html_real(h, "cloze/%zu/hi", p) < 0;
            if (p == n) html_put(h, "<td>–\n");
            else html_put(h, "<td>%s{p cloze/%zu/right_a}%s\n", sure ? "<b>" : "", p, sure ? "</b>" : "");
        }
        free(kind);
    }
    html_put(h, "</table></div>\n");
}
static inline void html_samples(const Html *h) {
    if (!html_at(h, "arms/0/sample").p) return;
    html_put(h, "<h2>In their own words</h2><p class=note>What each writes, given the same random numbers."
             "</p><div class=grid>\n");
    for (size_t a = 0; a < h->arms; a++)
        html_put(h, "<figure class=c%zu>{a %zu}<blockquote>{w arms/%zu/sample}</blockquote></figure>\n",
                 html_colour(h, a), a, a);
    html_put(h, "</div>\n");
}
/* The command, and every option of every arm; bold what differs from the first. */
static inline void html_configuration(const Html *h) {
    Json j = html_at(h, "arms/0/options");
    bool first = true;
    html_put(h, "<h2>How to repeat it</h2><pre>{w command}</pre>\n"), html_head(h, "<th>option");
    for (json_expect(&j, '{'); json_more(&j, '}', &first); json_skip(&j, 0)) {
        char key[64], *one;
        json_string(&j, key, sizeof key), json_expect(&j, ':'), json_peek(&j);
        html_put(h, "<tr><td><code>%s</code>", key), one = html_raw(j);
        for (size_t a = 0; a < h->arms; a++) {
            const bool same = html_says(html_at(h, "arms/%zu/options/%s", a, key), one);
            html_put(h, "<td>%s{w arms/%zu/options/%s}%s", same ? "" : "<b>", a, key, same ? "" : "</b>");
        }
        free(one);
    }
    html_put(h, "</table></div>\n");
}

/* Writes the page of that object, n bytes, to path. */
static inline void html_report(const char *json, size_t n, const char *path) {
    Out out = out_open(path);
    Html h = {.out = &out, .all = json_open((const uint8_t *)json, n, path)};
    while (html_at(&h, "arms/%zu", h.arms).p) h.arms++;
    while (html_at(&h, "arms/0/runs/%zu", h.seeds).p) h.seeds++;
    h.name = mem_new(h.arms, sizeof *h.name), h.curve = mem_new(h.arms * h.seeds, sizeof *h.curve);
    h.lead = h.arms > 1;
    for (size_t k = 0; k < h.arms; k++) {
        char *name = html_raw(html_at(&h, "arms/%zu/name", k));
        snprintf(h.name[k], sizeof *h.name, "%s", name), free(name);
        if (!strcmp(h.name[k], "sparse")) h.lead = k;
        for (size_t s = 0; s < h.seeds; s++)
            h.curve[k * h.seeds + s] = html_at(&h, "arms/%zu/runs/%zu/curve", k, s);
    }
    out_text(&out, html_style);
    html_put(&h, "<title>sparseflow: %s</title><svg width=0 height=0 style='position:absolute'><clipPath "
             "id=frame><rect x=%d y=%d width=%d height=%d /></clipPath></svg>\n", h.name[h.lead], LEFT, TOP,
             CHART_W - LEFT - RIGHT, CHART_H - TOP - BOTTOM);
    html_headline(&h), html_arms(&h), html_charts(&h);
    if (h.arms > 1) html_verdicts(&h);
    html_cost(&h), html_masks(&h), html_pipeline(&h), html_cloze(&h), html_samples(&h);
    html_configuration(&h), html_put(&h, "</html>\n"), free(h.name), free(h.curve);
    out_done(&out);
}
#endif
