/* plot.h: points and lines as text.
 *
 *     Plot p = plot_new((PlotAxis){0, 10, false}, (PlotAxis){1, 100, true});
 *     plot_line(&p, 0, 1, 10, 100, 'a');      a logarithmic axis bends no line
 *     plot_mark(&p, 5, 10, 'b');
 *     plot_print(&p, 0, "s");
 *
 *          100 |                              aa|
 *              |              b               aa|
 *            1 |aa                              |
 *               0                             10  s
 *
 * Where two marks meet stands a star. It refuses nothing: what is not finite, or
 * off an axis, is left out. */
#ifndef PLOT_H
#define PLOT_H
#include "base.h"

enum { PLOT_WIDE = 56, PLOT_HIGH = 16 };

typedef struct {
    double lo, hi;
    bool log;
} PlotAxis;

typedef struct {
    PlotAxis x, y;
    char at[PLOT_HIGH][PLOT_WIDE + 1];      /* the lowest row first */
} Plot;

static inline Plot plot_new(PlotAxis x, PlotAxis y) {
    Plot p = {.x = x, .y = y};
    for (int row = 0; row < PLOT_HIGH; row++) memset(p.at[row], ' ', PLOT_WIDE);
    return p;
}
/* How far along an axis a value lies, from 0 to 1. */
static inline double plot_share(const PlotAxis *a, double value) {
    if (a->log) return log(value / a->lo) / log(a->hi / a->lo);
    return (value - a->lo) / (a->hi - a->lo);
}
/* A mark at those shares of both axes. */
static inline void plot_put(Plot *p, double x, double y, char mark) {
    if (!(x >= 0 && x <= 1 && y >= 0 && y <= 1)) return;
    const int row = (int)(y * (PLOT_HIGH - 1) + 0.5);
    char *place = &p->at[row][(int)(x * (PLOT_WIDE - 1) + 0.5)];
    const bool empty = *place == ' ' || *place == '.' || *place == mark;
    if (empty) *place = mark;
    else if (mark != '.') *place = '*';
}
static inline void plot_mark(Plot *p, double x, double y, char mark) {
    plot_put(p, plot_share(&p->x, x), plot_share(&p->y, y), mark);
}
/* A straight line from one point to another. */
static inline void plot_line(Plot *p, double x0, double y0, double x1, double y1,
                             char mark) {
    const double from[2] = {plot_share(&p->x, x0), plot_share(&p->y, y0)};
    const double to[2] = {plot_share(&p->x, x1), plot_share(&p->y, y1)};
    for (int k = 0; k <= 2 * PLOT_WIDE; k++) {
        const double part = (double)k / (2 * PLOT_WIDE);
        const double x = from[0] + part * (to[0] - from[0]);
        plot_put(p, x, from[1] + part * (to[1] - from[1]), mark);
    }
}
/* With the ends of both axes, those of y with so many digits; what: the unit of x. */
static inline void plot_print(const Plot *p, int digits, const char *what) {
    for (int row = PLOT_HIGH - 1; row >= 0; row--) {
        if (row == PLOT_HIGH - 1) printf("%9.*f ", digits, p->y.hi);
        else if (row == 0) printf("%9.*f ", digits, p->y.lo);
        else printf("%10s", "");
        printf("|%s|\n", p->at[row]);
    }
    printf("%10s %-10.4g%*.4g  %s\n", "", p->x.lo, PLOT_WIDE - 10, p->x.hi, what);
}
#endif
