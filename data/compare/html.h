/* html.h: words and figures from a JSON object on a page of HTML, each marked
 * with the member that it shows.
 *
 * A figure is an element with its unrounded value, and so is every word:
 *
 *     <data value="1.93528" data-key="arms/1/bits">1.935</data>
 *     <span data-key="arms/1/name">sparse</span>
 *
 * so that a test can hold the page against the object. What is written goes
 * through html_put, a printf that knows such members in braces:
 *
 *     html_put(page, "<td>{b arms/%zu/bits}", 1);
 *                          | |
 *              how it is shown, and which member: a path of keys and places
 *
 *     d       a difference: a sign, 4 decimals     b     a loss: 4 decimals
 *     p  P    per cent, with a decimal; without    x     so many times
 *     g  r    three digits; as it stands           n     a number, 3 digits
 *     B       bytes, three digits                  s  m  seconds; milliseconds
 *     w  k    words; with spaces for _             a N   the name of arm N
 *
 * n, B, s and m get a unit that suits them. It refuses to make up what the
 * object does not have: that is a dash.
 *
 * Example: the call above writes "<td>" and the first of the elements above. */
#ifndef HTML_H
#define HTML_H
#include "../base/figures.h"

typedef struct {
    Out *out;
    Json all;                       /* stands before the object */
    size_t arms, seeds;
    size_t lead;                    /* the arm of the headline */
    char (*name)[64];               /* [arms] */
    Json *curve;                    /* [arms][seeds] */
} Html;

/* ---- the object ---------------------------------------------------------- */

__attribute__((format(printf, 2, 3)))
static inline Json html_at(const Html *page, const char *fmt, ...) {
    char key[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(key, sizeof key, fmt, ap);
    va_end(ap);
    return json_at(page->all, key);
}
/* A value as it stands in the object, of a string what it says; "" if there is
 * none. Freed with free(). */
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
static inline size_t html_colour(const Html *page, size_t arm) {
    if (!arm) return 0;
    if (arm == page->lead) return 1;
    return 2 + (arm - (arm > page->lead) - 1) % 5;
}

/* ---- figures ------------------------------------------------------------- */

/* x as text, in one of the ways above. */
static inline void html_figure(char out[64], char how, double x) {
    if (how == 'd') snprintf(out, 64, "%s%.4f", x < 0 ? "−" : "+", fabs(x));
    else if (how == 'b') snprintf(out, 64, "%.4f", x);
    else if (how == 'p') snprintf(out, 64, "%.1f %%", 100 * x);
    else if (how == 'P') snprintf(out, 64, "%.0f %%", 100 * x);
    else if (how == 'x') snprintf(out, 64, "%.2f×", x);
    else if (how == 'g') snprintf(out, 64, "%.3g", x);
    else if (how == 'B') figure_bytes(out, x);
    else if (how == 's') figure_seconds(out, x);
    else if (how == 'm') figure_milliseconds(out, x);
    else {
        const char *unit = figure_si(&x);
        figure_three(out, x, !*unit, unit);
    }
}

/* ---- marks --------------------------------------------------------------- */

/* The value at a key, marked with it; a dash if there is none. */
static inline void html_value(const Html *page, char how, const char *key) {
    Out *out = page->out;
    const Json j = json_at(page->all, key);
    char *raw = html_raw(j);
    char text[64];
    if (!j.p) out_text(out, "–");
    else if (how == 'w' || how == 'k') {
        out_print(out, "<span data-key=\"%s\">", key);
        figure_words(out, raw, how == 'k');
        out_text(out, "</span>");
    } else if (isnan(json_real(j))) out_text(out, "–");
    else {
        html_figure(text, how, json_real(j));
        out_print(out, "<data value=\"%s\" data-key=\"%s\">%s</data>", raw, key,
                  how == 'r' ? raw : text);
    }
    free(raw);
}
/* The name of an arm, in its colour. */
static inline void html_name(const Html *page, size_t arm) {
    out_print(page->out, "<span data-key=\"arms/%zu/name\" class='arm c%zu'>",
              arm, html_colour(page, arm));
    figure_words(page->out, page->name[arm], false);
    out_text(page->out, "</span>");
}
/* Prints, and for {HOW KEY} the value there. */
__attribute__((format(printf, 2, 3)))
static inline void html_put(const Html *page, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) {
        char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (!end) {
            out_char(page->out, *p);
            continue;
        }
        *end = 0;
        if (p[1] == 'a') html_name(page, strtoul(p + 3, NULL, 10));
        else html_value(page, p[1], p + 3);
        p = end;
    }
}
#endif
