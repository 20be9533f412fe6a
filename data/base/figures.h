/* figures.h: what pages share: their style, figures in units that suit them, words
 * that are no marks.
 *
 * The style sheet is one string, dense on purpose. Colours are those of Okabe
 * and Ito (2008), darker on white and lighter on black, as variables --c0 ..
 * --c6; an element of class cN has colour N as --c. A page begins with it:
 *
 *     out_text(out, figure_style);
 *     figure_bytes(text, 12500);                  "12.5 kB"
 *     figure_words(out, "a < b", false);          a &lt; b
 *
 * It refuses to know what any page shows. */
#ifndef FIGURES_H
#define FIGURES_H
#include "out.h"

static const char figure_style[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
    "content='width=device-width'><meta name=color-scheme content='light "
    "dark'><style>\n"
    ":root{--bg:#fff;--ink:#1c1c1c;--soft:#666;--rule:#d9d9d9;--pale:#e9eef1;"
    "--c0:#555;--c1:#0072b2;--c2:#c65102;--c3:#00805e;--c4:#a4458a;"
    "--c5:#8a6d00;--c6:#3a6ea8}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#16181b;"
    "--ink:#e7e5e2;--soft:#a09e9b;--rule:#383c41;--pale:#262b30;--c0:#c4c4c4;"
    "--c1:#58b4ee;--c2:#f0883e;--c3:#2fc493;--c4:#e08fc4;--c5:#d9bb3c;"
    "--c6:#9ab7e0}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}"
    ".c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}\n"
    "*{box-sizing:border-box;print-color-adjust:exact;"
    "-webkit-print-color-adjust:exact}\n"
    "body{margin:0 auto;padding:2rem 1rem 4rem;max-width:69.5rem;"
    "background:var(--bg);color:var(--ink);font:1rem/1.5 system-ui,'Segoe UI',"
    "Roboto,'Helvetica Neue',Arial,sans-serif;-webkit-text-size-adjust:100%}\n"
    "h1{font:700 2.3rem/1.15 Georgia,'Times New Roman',serif;"
    "margin:.2em 0 .4em;max-width:22em}\n"
    "h2{font-size:1.25rem;line-height:1.3;margin:3rem 0 .2rem;"
    "padding-top:.8rem;border-top:1px solid var(--rule)}\n"
    "h3{font-size:.875rem;font-weight:600;margin:1rem 0 .3rem}p{"
    "margin:.3rem 0 1rem;max-width:44em}\n"
    ".lead{font-size:1.15rem}.note,figcaption{color:var(--soft);"
    "font-size:.875rem}figure{margin:0;min-width:0}.arm{color:var(--c);"
    "font-weight:600;white-space:nowrap}\n"
    ".grid{display:grid;gap:1.2rem 2rem;grid-template-columns:repeat(auto-fit,"
    "minmax(min(100%,18.8rem),"
    "1fr))}.four{grid-template-columns:repeat(auto-fit,minmax(min(100%,"
    "14.5rem),1fr))}.masks{grid-template-columns:repeat(auto-fill,"
    "minmax(min(45%,10.6rem),1fr))}\n"
    ".wide{overflow-x:auto}svg{display:block;width:100%;height:auto}\n"
    "svg text{font:12px system-ui,'Segoe UI',Roboto,Arial,sans-serif;"
    "fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}svg .name{"
    "fill:var(--c);font-weight:600;paint-order:stroke;stroke:var(--bg);"
    "stroke-width:4px}\n"
    ".rule{stroke:var(--rule);fill:none}.zero{stroke:var(--soft);fill:none}"
    ".goal{stroke:var(--c);fill:none;stroke-dasharray:2 3}.line{"
    "stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}.band{"
    "fill:var(--c);opacity:.2}.dot{fill:var(--c)}.room{fill:var(--pale)}.mask{"
    "stroke:var(--c);background:var(--pale)}\n"
    "table{border-collapse:collapse;font-size:.875rem;width:100%;"
    "font-variant-numeric:tabular-nums}\n"
    "td,th{padding:.28rem .5rem;text-align:right;font-weight:400;"
    "white-space:nowrap}thead th{color:var(--soft);vertical-align:bottom;"
    "line-height:1.25;border-bottom:1px solid var(--rule)}\n"
    "td:first-child,th:first-child{text-align:left;padding-left:0}"
    "td:last-child,th:last-child{padding-right:0}tr+tr td{"
    "border-top:1px solid var(--pale)}.wide td:first-child{position:sticky;"
    "left:0;background:var(--bg)}\n"
    ".bars td{border:0;padding-top:.1rem;padding-bottom:.1rem}.bars .bar{"
    "width:99%}.bar i{display:block;height:.8rem;min-width:1px;"
    "background:var(--c)}.bars.two{font-size:.8125rem}.two th,.two td{"
    "padding-left:.3rem;padding-right:.3rem}.bars.two .bar{width:18%;"
    "min-width:2.5rem}.none{text-align:left}\n"
    ".forest td{border:0;padding-top:0;padding-bottom:0}.strip svg{"
    "width:22.5rem}.track svg{min-width:11rem}.forest th{font-weight:600;"
    "padding-top:1rem}.forest td:last-child{text-align:left;width:99%}\n"
    "blockquote{margin:.3rem 0 0;padding-left:.9rem;"
    "border-left:3px solid var(--c);white-space:pre-wrap;"
    "font:1rem/1.5 Georgia,serif;overflow-wrap:anywhere}\n"
    "pre{background:var(--pale);padding:.8rem;white-space:pre-wrap;"
    "overflow-wrap:anywhere;font-size:.8125rem}\n"
    "code{font:inherit}@media(max-width:640px){body{padding-top:1rem}h1{"
    "font-size:1.75rem}.forest tr{display:grid;grid-template-columns:1fr auto;"
    "padding:.3rem 0}.forest .strip{grid-area:2/1/3/3;padding:0}.strip svg{"
    "width:100%}.forest td:nth-child(3){grid-area:3/1;text-align:left;"
    "padding-left:0}.forest td:nth-child(4){grid-area:3/2;padding-right:0}"
    ".forest td:last-child{grid-area:1/2;text-align:right}}\n"
    "@media print{@page{margin:14mm}html{font-size:70%}body{max-width:none;"
    "padding:0}h2{margin-top:1.6rem}.wide{overflow:visible}figure,tr,pre{"
    "break-inside:avoid}h2,h3,.note{break-after:avoid}}\n</style>\n";

/* ---- figures ------------------------------------------------------------- */

/* Takes x to the unit that suits it, and returns that: "", " k", " M" ... */
static inline const char *figure_si(double *x) {
    static const char *const si[] = {"", " k", " M", " G", " T", " P", " E"};
    int k = 0;
    for (; *x >= 999.5 && k < 6; k++) *x /= 1000;
    return si[k];
}
/* Three digits of x; if `whole`, a whole number has no decimals. */
static inline void figure_three(char out[64], double x, bool whole,
                                const char *unit) {
    int digits = x >= 9.995 ? 1 : 2;
    if (x >= 99.95 || (whole && x == floor(x))) digits = 0;
    snprintf(out, 64, "%.*f%s", digits, x, unit);
}
static inline void figure_seconds(char out[64], double x) {
    if (x < 120) figure_three(out, x, false, " s");
    else if (x < 7200) figure_three(out, x / 60, false, " min");
    else figure_three(out, x / 3600, false, " h");
}
static inline void figure_milliseconds(char out[64], double x) {
    if (x < 999.5) figure_three(out, x, true, " ms");
    else figure_three(out, x / 1000, false, " s");
}
static inline void figure_bytes(char out[64], double x) {
    const char *si = figure_si(&x);
    char unit[8];
    snprintf(unit, sizeof unit, "%sB", *si ? si : " ");
    figure_three(out, x, !*si, unit);
}

/* ---- words --------------------------------------------------------------- */

/* Text in which nothing is a mark; spaces: for each _ one. */
static inline void figure_words(Out *out, const char *text, bool spaces) {
    for (const char *p = text; *p; p++) {
        if (*p == '<') out_text(out, "&lt;");
        else if (*p == '&') out_text(out, "&amp;");
        else out_char(out, *p == '_' && spaces ? ' ' : *p);
    }
}
#endif
