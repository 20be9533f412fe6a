/* test_report.h: the page of a comparison against its JSON: every figure and
 * every word that is marked is the member it names, rounded; none stands
 * outside of a mark; curves and bars lie where the numbers put them.
 *
 * The page is read as a text, from the first of something to the next:
 *
 *     <data value="1.93528" data-key="arms/1/bits">1.935</data>
 *     |            |                  |            |    |
 *     open         value              key          text end
 *
 * It refuses to know how the page is made: only what stands on it counts.
 *
 * Example: of the mark above, "1.935" is read as 1.935 with a last digit of
 * 0.001, and must be within half of that of 1.93528, which must be what the
 * object has at arms/1/bits, to the letter. */
#ifndef TEST_REPORT_H
#define TEST_REPORT_H
#include "check.h"
#include "test_compare.h"

typedef struct {
    char *text;                     /* the page, a string */
    Json json;                      /* stands before the object */
} Page;

/* The first `what` at or after p, and past it; NULL if there is none. */
static char *after(char *p, const char *what) {
    p = p ? strstr(p, what) : NULL;
    return p ? p + strlen(what) : NULL;
}

/* ---- marks --------------------------------------------------------------- */

/* Reads "−1.25 kB" and the like into a number; NAN if it is none. *unit: how
 * much one of its last digit is. */
static double page_number(const char *text, double *unit) {
    static const struct {
        const char *name;
        double scale;
    } known[] = {
        {"", 1}, {"×", 1}, {" %", 0.01},
        {" k", 1e3}, {" M", 1e6}, {" G", 1e9}, {" T", 1e12}, {" P", 1e15},
        {" B", 1}, {" kB", 1e3}, {" MB", 1e6}, {" GB", 1e9},
        {" ms", 1}, {" s", 1}, {" min", 60}, {" h", 3600},
    };
    const bool minus = !strncmp(text, "−", strlen("−"));
    char *end;
    const double x = strtod(text + (minus ? strlen("−") : 0), &end);
    const size_t n = (size_t)(end - text);
    const char *point = memchr(text, '.', n);
    const char *e = memchr(text, 'e', n);
    const int power = e ? atoi(e + 1) : 0;
    const long decimals = point ? (e ? e : end) - point - 1 : 0;
    *unit = pow(10, power - decimals);
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (strcmp(end, known[k].name)) continue;
        *unit *= known[k].scale;
        return (minus ? -x : x) * known[k].scale;
    }
    return NAN;
}
/* Puts c in the place of n characters at p, if these are `what`. */
static void page_replace(char *p, const char *what, char c) {
    const size_t n = strlen(what);
    if (strncmp(p, what, n)) return;
    *p = c;
    memmove(p + 1, p + n, strlen(p + n) + 1);
}
static void page_unescape(char *s) {
    for (char *p = s; *p; p++) {
        page_replace(p, "&lt;", '<');
        page_replace(p, "&amp;", '&');
    }
}
/* The figure in text is the value, rounded. */
static void page_figure(const char *key, const char *value, const char *text) {
    double unit;
    double shown = page_number(text, &unit);
    if (strstr(key, "step_ms") && strstr(text, " s")) {
        shown *= 1000;
        unit *= 1000;
    }
    CHECK(fabs(shown - strtod(value, NULL)) <= 0.5001 * unit,
          "%s: %s shown as '%s'", key, value, text);
}
/* One mark, from its attributes to its text; value is NULL if that is words. */
static void page_mark(const Page *page, const char *key, const char *value,
                      char *text) {
    const Json j = json_at(page->json, key);
    char *raw = html_raw(j);
    CHECK(j.p, "the page shows %s, which the JSON does not have", key);
    if (value) {
        CHECK(!strcmp(raw, value), "%s: %s in the JSON, %s on the page", key,
              raw, value);
        page_figure(key, value, text);
    } else {
        page_unescape(text);
        for (char *p = raw; *p && strstr(key, "/kind"); p++)
            if (*p == '_') *p = ' ';
        CHECK(!strcmp(raw, text), "%s: '%s' in the JSON, '%s' on the page", key,
              raw, text);
    }
    free(raw);
}
/* All marks, blanked out; how many. */
static size_t page_marks(Page *page) {
    static const char mark[] = " data-key=\"";
    size_t n = 0;
    char *p = page->text;
    for (char *at; (at = strstr(p, mark)); n++) {
        char *open = at;
        while (*open != '<') open--;
        const bool figure = !strncmp(open, "<data", 5);
        char *key = at + strlen(mark);
        char *close = strchr(key, '"');
        char *text = after(close, ">");
        char *end = strstr(text, figure ? "</data>" : "</span>");
        char *value = figure ? after(open, "value=\"") : NULL;
        *close = 0;
        *end = 0;
        if (value) *strchr(value, '"') = 0;
        page_mark(page, key, value, text);
        p = end + strlen("</data>");
        memset(open, ' ', (size_t)(p - open));
    }
    return n;
}
/* What is left must have no figures: not counting tags, drawings, names of
 * options and the level of confidence. */
static void page_rest(char *p) {
    p = after(p, "</style>");
    for (; *p; p++) {
        if (!strncmp(p, "<svg", 4)) p = strstr(p, "</svg>");
        if (!strncmp(p, "<code>", 6)) p = strstr(p, "</code>");
        char *close = *p == '<' ? strchr(p, '>') : NULL;
        if (close) {
            p = close;
            continue;
        }
        if (!strncmp(p, "95 %", 4)) p += 4;
        const bool digit = *p >= '0' && *p <= '9';
        CHECK(!digit, "a figure that is no member: '%.60s'", p);
        if (digit) return;
    }
}

/* ---- drawings ------------------------------------------------------------ */

typedef struct {                    /* two ticks of an axis */
    double at[2];                   /* where they are, in pixels */
    double value[2];                /* what they say */
} PageAxis;

/* The first and the last labelled tick of an axis of a chart. Positions are
 * rounded to a tenth of a pixel, so what lies far from two ticks cannot be told
 * from them. */
static PageAxis page_axis(char *svg, const char *class, bool x) {
    PageAxis axis = {0};
    char open[32];
    char *p = svg;
    char *stop = strstr(svg, "</svg>");
    double unit;
    snprintf(open, sizeof open, "<text class=%s x=", class);
    for (int k = 0; (p = strstr(p, open)) && p < stop;) {
        p += strlen(open);
        char *place = p;
        char *text = after(p, ">");
        char *end = strchr(text, '<');
        *end = 0;
        const double number = page_number(text, &unit);
        *end = '<';
        p = end;
        if (isnan(number)) continue;                /* the axis's name */
        axis.at[k] = x ? atof(place) : atof(after(place, "y=")) - 4;
        axis.value[k] = number;
        k = 1;
    }
    return axis;
}
/* How much of the value a pixel is. */
static double page_slope(const PageAxis *axis) {
    return (axis->value[1] - axis->value[0]) / (axis->at[1] - axis->at[0]);
}
/* A value lies at a place, as two ticks have it, when all three places are
 * rounded to a tenth. */
static bool page_lies(const PageAxis *axis, double place, double value) {
    const double slope = page_slope(axis);
    const double far =
        fabs(place - axis->at[0]) / fabs(axis->at[1] - axis->at[0]);
    const double shown = axis->value[0] + (place - axis->at[0]) * slope;
    return fabs(shown - value) < (0.101 + 0.1 * far) * fabs(slope);
}
/* The mean of a member over the seeds, at the kth point of an arm's curves. */
static double page_point(const Page *page, size_t arm, size_t seeds, size_t k,
                         const char *member) {
    double sum = 0;
    char key[96];
    for (size_t s = 0; s < seeds; s++) {
        snprintf(key, sizeof key, "arms/%zu/runs/%zu/curve/%zu/%s", arm, s, k,
                 member);
        sum += json_real(json_at(page->json, key)) / (double)seeds;
    }
    return sum;
}
/* The lines of the nth chart go through the points of the curves, by the
 * chart's own ticks; the last arm is drawn first. */
static void page_chart(const Page *page, size_t nth, const char *member,
                       size_t arms, size_t seeds, size_t points) {
    char *svg = page->text;
    for (size_t k = 0; k <= nth; k++) svg = after(svg, "role=img");
    const PageAxis x = page_axis(svg, "mid", true);
    const PageAxis y = page_axis(svg, "end", false);
    for (size_t a = arms; a-- > 0;) {
        svg = after(svg, "class=line d='");
        for (size_t k = 0; k < points; k++) {
            const double cost = page_point(page, a, seeds, k, member);
            const double bits = page_point(page, a, seeds, k, "bits");
            char *end;
            const double px = strtod(svg + 1, &end);        /* past M or L */
            const double py = strtod(end, &svg);
            CHECK(page_lies(&x, px, cost), "%s of arm %zu, point %zu: %g at %g",
                  member, a, k, cost, px);
            CHECK(page_lies(&y, py, bits),
                  "bits of arm %zu, point %zu: %g at %g", a, k, bits, py);
        }
    }
}
/* Bars are as long as their figures are large, compared with the longest of
 * their table; how many there are. */
static size_t page_bars(char *p) {
    size_t bars = 0;
    while ((p = after(p, "<table class=bars>"))) {
        char *end = strstr(p, "</table>");
        double most = 0;
        for (char *bar = p; (bar = after(bar, "width:")) && bar < end; bars++)
            most = fmax(most, atof(after(bar, "value=\"")));
        for (char *bar = p; (bar = after(bar, "width:")) && bar < end;) {
            const double wide = atof(bar);
            const double x = atof(after(bar, "value=\""));
            CHECK(fabs(wide - 100 * x / most) < 0.06, "%g of %g is %g %% long",
                  x, most, wide);
        }
    }
    return bars;
}

/* ---- whole pages --------------------------------------------------------- */

static Page page_of(const char *json, const char *html) {
    const Bytes object = file_read(json);
    return (Page){file_text(html), json_open(object.p, object.n, json)};
}
static void test_whole_page(void) {
    static const char *const foreign[] = {"<script", "http", "src=", "@import"};
    Page page = page_of(file_in("json"), file_in("html"));
    CHECK(strlen(page.text) < 200000, "the page has %zu bytes",
          strlen(page.text));
    for (size_t k = 0; k < 4; k++)
        CHECK(!strstr(page.text, foreign[k]), "the page has %s", foreign[k]);
    page_chart(&page, 0, "tokens", 3, 2, 4);
    page_chart(&page, 1, "flops", 3, 2, 4);
    page_chart(&page, 2, "seconds", 3, 2, 4);
    const size_t bars = page_bars(page.text);
    size_t never = 0;
    for (char *p = page.text; (p = after(p, ">never<"));) never++;
    CHECK(bars + never == 8 * 3 && bars > 18, "%zu bars", bars);
    const size_t n = page_marks(&page);
    CHECK(n > 250, "%zu marks", n);
    page_rest(page.text);
    free(page.text);
}
/* What is not known is not shown: one arm; a run that diverged; no vocabulary,
 * hence no samples and items. */
static void test_bare_pages(void) {
    static const char *const json[] = {
        "{\"command\": \"<&\", \"unit\": \"bits/token\", \"interval\": \"none\", "
        "\"margin\": 0.01, "
        "\"arms\": [{\"name\": \"dense\", \"bits\": null, "
        "\"options\": {\"lr\": 0.5}, \"runs\": [{\"curve\": []}]}], "
        "\"pairs\": [], \"cloze\": [], "
        "\"time_to_dense\": {\"dense\": {\"time\": null}}}",
        "{\"command\": \"x\", \"unit\": \"bits/byte\", \"interval\": \"none\", "
        "\"margin\": 0, "
        "\"arms\": [{\"name\": \"dense\", \"bits\": 1, \"options\": {}, "
        "\"runs\": [{\"curve\": [{\"tokens\": 1, \"bits\": 2}]}]}, "
        "{\"name\": \"mine\", \"bits\": null, \"options\": {}, "
        "\"runs\": [{\"curve\": [{\"tokens\": 1, \"bits\": null}]}]}], "
        "\"pairs\": [{\"a\": \"mine\", \"b\": \"dense\", \"diff\": null, "
        "\"lo\": null, \"hi\": null, \"verdict\": \"undecided\"}], "
        "\"cloze\": [], \"time_to_dense\": {\"mine\": {\"time\": null}}}",
    };
    for (size_t k = 0; k < 2; k++) {
        file_put(file_in("bare"), json[k], strlen(json[k]));
        html_report(json[k], strlen(json[k]), file_in("bare.html"));
        Page page = page_of(file_in("bare"), file_in("bare.html"));
        CHECK(!strstr(page.text, "nan") && !strstr(page.text, "inf'"),
              "a drawing of what is not known");
        CHECK(page_marks(&page) > 3, "an empty page");
        page_rest(page.text);
        free(page.text);
    }
}

/* Steps that the demonstration's two runs have saved together; 0: it was still
 * reading. */
static size_t demo_steps(void) {
    static const char *const path[2] = {"sparseflow-demo/dense-1.ckpt",
                                        "sparseflow-demo/sparse-1.ckpt"};
    size_t steps = 0;
    for (int k = 0; k < 2; k++) {
        if (access(path[k], F_OK)) continue;
        Safetensors st = st_read(path[k]);
        steps += meta_size(&st, path[k], "step", 0, SIZE_MAX);
        st_free(&st);
    }
    return steps;
}
/* Starts the demonstration and interrupts it after so many seconds; how long it
 * took to end. */
static double demo_for(double limit) {
    const double start = seconds();
    const double whole = floor(limit);
    const suseconds_t rest = (suseconds_t)(1e6 * (limit - whole));
    setitimer(ITIMER_REAL,
              &(struct itimerval){.it_value = {(time_t)whole, rest}}, NULL);
    const int status = command("");
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    CHECK(status == 3, "status %d of an interrupted demonstration: %s", status,
          check_line);
    return seconds() - start;
}
/* The demonstration: interrupted, it goes on where it was (QUICK: a step of it
 * can take a minute; once is enough); it writes over no file that is not its
 * own. */
static void test_demo(void) {
    static const char report[] = "sparseflow-demo/report.html";
    char back[PATH_MAX];
    const int breaks = QUICK ? 1 : 2;
    size_t step[3] = {0};
    if (!getcwd(back, sizeof back) || chdir(folder)) abort();
    signal(SIGALRM, on_alarm);
    double limit = 1;           /* a second more than the last time took */
    for (int k = 1, tries = 0; k <= breaks && tries < 20; tries++) {
        limit = demo_for(limit) + 1;
        step[k] = demo_steps();
        CHECK(step[k] >= step[k - 1], "step %zu after step %zu", step[k],
              step[k - 1]);
        k += step[k] > step[k - 1];
    }
    CHECK(step[breaks] > step[breaks - 1],
          "the demonstration came to step %zu only", step[breaks]);
    unlink("sparseflow-demo/dense-1.ckpt");
    file_put(report, "mine", 4);
    check_refused("is not of the demonstration", "%s", "");
    Bytes b = file_read(report);
    CHECK(b.n == 4 && !memcmp(b.p, "mine", 4),
          "the demonstration wrote over a file");
    file_free(&b);
    if (chdir(back)) abort();
}

static void test_report(void) {
    folder_begin();
    const int status = command(
        "compare --corpus 100000 --vocab 300 --layers 1 --width 32 --heads 2 "
        "--context 48 --batch 4 --steps 12 --every 3 --val-tokens 500 "
        "--items 60 --seeds 2 --quiet --arms dense,sparse,wide "
        "--arm sparse:lr=0.0761 wide:lr=0.0436 "
        "--out %s --json %s --report %s",
        file_in("runs"), file_in("json"), file_in("html"));
    CHECK(status == 0, "%s", check_line);
    if (!status) test_whole_page();
    test_bare_pages();
    test_demo();
    check_refused("/nothere/x",
                  "compare --arms dense --report /nothere/x --out %s",
                  file_in("refused"));
    folder_end();
}
#endif
