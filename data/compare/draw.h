/* draw.h: the drawings of a page: curves in a chart, intervals on strips, bars
 * in a table, masks.
 *
 * Where marks lie is computed here, and nothing else is: the figures beside
 * them are members of the object (html.h). A curve over several seeds is their
 * mean, and its band goes from the least to the largest of them. A chart:
 *
 *                 | CHART_LEFT |           FRAME_W          | CHART_RIGHT |
 *     CHART_TOP   |            |                            |             |
 *                 |          5 |. . . . . . . . . . . . . . |             |
 *     FRAME_H     |            | \__                        |             |
 *                 |          4 |. . \________ . . . . . . . | small       |
 *                 |            |             \______________| dense       |
 *                 |            +------|------|------|------|+             |
 *     CHART_BOTTOM|                  1 M    2 M    3 M    4 M             |
 *                 |                                   tokens              |
 *
 * It refuses to draw what lies outside: the frame cuts lines, strips end in an
 * arrow.
 *
 * Example: of losses from 3.8 to 5.1, ticks are to be about 1.3 / 5 = 0.26
 * apart: of 1, 2, 5 and 10 times a tenth, the first that is no less is 0.5. */
#ifndef DRAW_H
#define DRAW_H
#include "html.h"

/* ---- charts: axes, a line with its band ---------------------------------- */

enum { CHART_W = 340, CHART_H = 260 };
enum { CHART_LEFT = 34, CHART_RIGHT = 54, CHART_TOP = 8, CHART_BOTTOM = 38 };
enum {
    FRAME_W = CHART_W - CHART_LEFT - CHART_RIGHT,
    FRAME_H = CHART_H - CHART_TOP - CHART_BOTTOM,
    FRAME_RIGHT = CHART_W - CHART_RIGHT,
    FRAME_END = CHART_H - CHART_BOTTOM,
};
enum { DRAW_POINTS = 64 };

typedef struct {                    /* what the frame of a chart spans */
    double x1;                      /* from 0 to that */
    double y0, y1;
} DrawAxes;

typedef struct {
    size_t n;
    double x[DRAW_POINTS];
    double lo[DRAW_POINTS];         /* of its band */
    double mid[DRAW_POINTS];
    double hi[DRAW_POINTS];
} DrawLine;

static inline double draw_x(const DrawAxes *a, double x) {
    return CHART_LEFT + x / a->x1 * FRAME_W;
}
static inline double draw_y(const DrawAxes *a, double y) {
    return FRAME_END - (y - a->y0) / (a->y1 - a->y0) * FRAME_H;
}
/* 1, 2 or 5 times a power of ten, about so many in a span. */
static inline double draw_step(double span, double about) {
    const double ten = pow(10, floor(log10(span / about)));
    const double least = span / about / ten;
    return ten * (least > 5 ? 10 : least > 2 ? 5 : least > 1 ? 2 : 1);
}
static inline int draw_decimals(double step) {      /* that ticks need */
    return step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
}

/* What no line leaves, of all charts of the page. */
static inline void draw_frame(Out *out) {
    out_print(out, "<svg width=0 height=0 style='position:absolute'><clipPath "
                   "id=frame><rect x=%d y=%d width=%d height=%d /></clipPath>"
                   "</svg>\n", CHART_LEFT, CHART_TOP, FRAME_W, FRAME_H);
}
/* The ticks of x are in units of `scale`. */
static inline void draw_axes(Out *out, const DrawAxes *a, const char *label,
                             double scale) {
    const double dy = draw_step(a->y1 - a->y0, 5);
    const double dx = draw_step(a->x1 / scale, 4);
    for (double y = ceil(a->y0 / dy) * dy; y <= a->y1; y += dy) {
        const double at = draw_y(a, y);
        out_print(out, "<path class=rule d='M%d %.1fH%d'/><text class=end x=%d "
                       "y=%.1f>%.*f</text>", CHART_LEFT, at, FRAME_RIGHT,
                  CHART_LEFT - 6, at + 4, draw_decimals(dy), y);
    }
    for (double x = 0; x <= a->x1 / scale; x += dx) {
        const double at = draw_x(a, x * scale);
        double shown = x;
        const char *unit = figure_si(&shown);
        const int digits = *unit ? shown != floor(shown) : draw_decimals(dx);
        out_print(out, "<path class=zero d='M%.1f %dv4'/><text class=mid "
                       "x=%.1f y=%d>%.*f%s</text>", at, FRAME_END, at,
                  FRAME_END + 17, digits, shown, unit);
    }
    out_print(out, "<path class=zero d='M%d %dH%d'/><text class=end x=%d y=%d>"
                   "%s</text>\n", CHART_LEFT, FRAME_END, FRAME_RIGHT,
              FRAME_RIGHT, CHART_H - 4, label);
}
/* A path through n points. */
static inline void draw_path(Out *out, const DrawAxes *a, const double *x,
                             const double *y, size_t n) {
    for (size_t k = 0; k < n; k++)
        out_print(out, "%c%.1f %.1f", k ? 'L' : 'M', draw_x(a, x[k]),
                  draw_y(a, y[k]));
}
static inline void draw_line(Out *out, const DrawAxes *a, const DrawLine *l,
                             size_t colour, bool band) {
    out_print(out, "<g class=c%zu clip-path=url(#frame)>", colour);
    if (band) {
        out_text(out, "<path class=band d='");
        draw_path(out, a, l->x, l->hi, l->n);
        for (size_t k = l->n; k-- > 0;)
            out_print(out, "L%.1f %.1f", draw_x(a, l->x[k]),
                      draw_y(a, l->lo[k]));
        out_text(out, "'/>");
    }
    out_text(out, "<path class=line d='");
    draw_path(out, a, l->x, l->mid, l->n);
    out_text(out, "'/></g>\n");
}
/* Names at the ends of the arms' lines, from the top down, moved apart where
 * they would lie on each other. */
static inline void draw_names(const Html *page, const DrawAxes *a,
                              const DrawLine *l) {
    double *y = mem_new(page->arms, sizeof *y);         /* INFINITY: is done */
    double last_x = 0;
    double last_y = -INFINITY;
    for (size_t k = 0; k < page->arms; k++)
        y[k] = l[k].n ? draw_y(a, l[k].mid[l[k].n - 1]) + 4 : INFINITY;
    for (size_t n = 0; n < page->arms; n++) {
        size_t top = 0;
        for (size_t k = 1; k < page->arms; k++)
            if (y[k] < y[top]) top = k;
        if (isinf(y[top])) break;
        const double x = draw_x(a, l[top].x[l[top].n - 1]);
        if (fabs(x - last_x) < 60) y[top] = fmax(y[top], last_y + 13);
        out_print(page->out, "<text class='name c%zu' x=%.1f y=%.1f>%s</text>",
                  html_colour(page, top), x + 5, y[top], page->name[top]);
        last_x = x;
        last_y = y[top];
        y[top] = INFINITY;
    }
    free(y);
}

/* A member of the kth point of a curve; NAN if it has no such point. */
static inline double draw_point(Json curve, size_t k, const char *member) {
    char key[64];
    snprintf(key, sizeof key, "%zu/%s", k, member);
    return json_real(json_at(curve, key));
}
/* How many points of an arm's curve every seed has. */
static inline size_t draw_common(const Html *page, size_t arm) {
    const Json *curve = page->curve + arm * page->seeds;        /* [seeds] */
    for (size_t n = 0;; n++)
        for (size_t s = 0; s < page->seeds; s++)
            if (isnan(draw_point(curve[s], n, "bits"))) return n;
}
/* The mean curve of an arm, at most DRAW_POINTS of it, as far as every seed has
 * one. */
static inline DrawLine draw_curve(const Html *page, size_t arm,
                                  const char *axis) {
    const Json *curve = page->curve + arm * page->seeds;        /* [seeds] */
    const double seeds = (double)page->seeds;
    const size_t n = draw_common(page, arm);
    DrawLine l = {.n = size_min(n, DRAW_POINTS)};
    for (size_t i = 0; i < l.n; i++) {
        const size_t k = n <= DRAW_POINTS ? i : i * (n - 1) / (DRAW_POINTS - 1);
        l.lo[i] = INFINITY;
        l.hi[i] = -INFINITY;
        for (size_t s = 0; s < page->seeds; s++) {
            const double y = draw_point(curve[s], k, "bits");
            l.x[i] += draw_point(curve[s], k, axis) / seeds;
            l.mid[i] += y / seeds;
            l.lo[i] = fmin(l.lo[i], y);
            l.hi[i] = fmax(l.hi[i], y);
        }
    }
    return l;
}
/* What holds all lines, but for the first third of each: that fall would hide
 * the rest. */
static inline DrawAxes draw_span(const DrawLine *l, size_t arms) {
    DrawAxes a = {0, INFINITY, -INFINITY};
    for (size_t k = 0; k < arms; k++) {
        for (size_t i = 0; i < l[k].n; i++) {
            a.x1 = fmax(a.x1, l[k].x[i]);
            a.y0 = fmin(a.y0, l[k].lo[i]);
        }
        if (l[k].n) a.y1 = fmax(a.y1, l[k].mid[l[k].n / 3]);
    }
    a.y0 -= 0.05 * (a.y1 - a.y0);
    return a;
}
/* The curves of all arms along an axis, which is a member of their points. */
static inline void draw_chart(const Html *page, const char *axis,
                              const char *title, const char *label,
                              double scale) {
    DrawLine *l = mem_new(page->arms, sizeof *l);
    for (size_t k = 0; k < page->arms; k++) l[k] = draw_curve(page, k, axis);
    const DrawAxes a = draw_span(l, page->arms);
    html_put(page, "<figure><h3>%s</h3><svg viewBox='0 0 %d %d' role=img "
                   "aria-label='%s'>", title, CHART_W, CHART_H, title);
    if (a.y1 > a.y0) {
        draw_axes(page->out, &a, label, scale);
        const double end = l->n ? draw_y(&a, l->mid[l->n - 1]) : 0;
        if (end > CHART_TOP)
            html_put(page, "<path class='goal c0' d='M%d %.1fH%d'/>",
                     CHART_LEFT, end, FRAME_RIGHT);
        for (size_t k = page->arms; k-- > 0;)           /* the first on top */
            draw_line(page->out, &a, &l[k], html_colour(page, k),
                      page->seeds > 1);
        draw_names(page, &a, l);
    }
    html_put(page, "</svg></figure>\n");
    free(l);
}

/* ---- strips -------------------------------------------------------------- */

/* A strip 360 wide spans -R .. R. */
static inline double draw_strip_x(double x, double R) {
    return 180 + 168 * fmax(-1, fmin(1, x / R));
}
/* The margin, zero, an interval and its middle; what lies beyond ends in an
 * arrow. */
static inline void draw_strip(Out *out, size_t colour, double R, double margin,
                              double diff, double lo, double hi) {
    const double left = draw_strip_x(lo, R);
    const double right = draw_strip_x(hi, R);
    const double edge = draw_strip_x(margin, R);
    out_print(out, "<svg viewBox='0 0 360 30' class=c%zu><path class=room "
                   "d='M%.1f 0H%.1fV30H%.1fz'/><path class=zero "
                   "d='M180 0v30'/>", colour, 360 - edge, edge, 360 - edge);
    if (isfinite(lo) && isfinite(hi))
        out_print(out, "<path class=line d='M%.1f 15H%.1f'/>", left, right);
    if (lo < -R)
        out_print(out, "<path class=dot d='M%.1f 15l7-5v10z'/>", left - 5);
    if (hi > R)
        out_print(out, "<path class=dot d='M%.1f 15l-7-5v10z'/>", right + 5);
    if (fabs(diff) <= R)
        out_print(out, "<circle class=dot cx=%.1f cy=15 r=5 />",
                  draw_strip_x(diff, R));
    out_text(out, "</svg>");
}
/* A table's row with ticks below its strips. */
static inline void draw_ruler(Out *out, double R) {
    const double step = draw_step(2 * R, 5);
    out_text(out, "<tr><td><td class=strip><svg viewBox='0 0 360 24'>");
    for (double x = -floor(R / step) * step; x < 1.001 * R; x += step) {
        const double at = draw_strip_x(x, R);
        const bool zero = !(fabs(x) > step / 2);
        const char *sign = zero ? "" : x < 0 ? "−" : "+";
        out_print(out, "<path class=zero d='M%.1f 0v4'/><text class=mid x=%.1f "
                       "y=17>%s%.*f</text>", at, at, sign,
                  zero ? 0 : draw_decimals(step), fabs(x));
    }
    out_text(out, "</svg><td><td><td>\n");
}

/* ---- bars ---------------------------------------------------------------- */

/* Two cells: a bar, and the beginning of that for its figure. */
static inline void draw_bar(Out *out, size_t colour, double share) {
    out_print(out, "<td class=bar><i class=c%zu style='width:%.1f%%'></i><td>",
              colour, 100 * share);
}
/* One member of every arm, as bars: of arms/ by the arm's place; of another
 * list, of costs, by its name. */
static inline void draw_bars(const Html *page, const char *title, char how,
                             const char *list, const char *member) {
    char (*key)[128] = mem_new(page->arms, sizeof *key);
    const bool own = !strcmp(list, "arms");
    double most = 0;
    for (size_t k = 0; k < page->arms; k++) {
        if (own) snprintf(key[k], sizeof *key, "arms/%zu/%s", k, member);
        else
            snprintf(key[k], sizeof *key, "%s/%s/%s", list, page->name[k],
                     member);
        most = fmax(most, json_real(json_at(page->all, key[k])));
    }
    html_put(page, "<figure><h3>%s</h3><table class=bars>", title);
    for (size_t k = 0; k < page->arms; k++) {
        const double x = json_real(json_at(page->all, key[k]));
        html_put(page, "<tr><td>{a %zu}", k);
        if (isnan(x)) {
            html_put(page, "<td class=none colspan=2>%s",
                     own ? "–" : "never");
            continue;
        }
        draw_bar(page->out, html_colour(page, k), x / most);
        html_put(page, "{%c %s}", how, key[k]);
    }
    html_put(page, "</table></figure>\n");
    free(key);
}

/* ---- masks --------------------------------------------------------------- */

/* Runs of cells of one of three strengths in a row of a mask, n digits. */
static inline void draw_cells(Out *out, const char *cell, size_t n, size_t row,
                              int shade) {
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && cell[end] > '0' && (cell[end] - '1') / 3 == shade)
            end++;
        if (end > i) out_print(out, "M%zu %zu.5h%zu", i, row, end - i);
        i = end > i ? end : i + 1;
    }
}
/* What a matrix keeps; the matrix is at that key. */
static inline void draw_mask(const Html *page, const char *at, size_t colour) {
    const size_t rows = (size_t)json_real(html_at(page, "%s/rows", at));
    const size_t cols = (size_t)json_real(html_at(page, "%s/cols", at));
    char *cells = html_raw(html_at(page, "%s/cells", at));  /* (rows,cols) */
    html_put(page, "<figure><svg class='mask c%zu' viewBox='0 0 %zu %zu'>",
             colour, cols, rows);
    for (int shade = 0; shade < 3; shade++) {
        html_put(page, "<path opacity=%.2g d='", 0.35 + 0.325 * shade);
        for (size_t r = 0; r < rows; r++)
            draw_cells(page->out, cells + r * cols, cols, r, shade);
        html_put(page, "'/>");
    }
    html_put(page, "</svg><figcaption>{w %s/name}<br>{r %s/outputs} × "
                   "{r %s/inputs}<br>{p %s/density} kept</figcaption>"
                   "</figure>\n", at, at, at, at);
    free(cells);
}
#endif
