/* test_choices.h: multiple choice. What transformers and plain Python make of a
 * file of items is what `eval --choices` makes of it, ending by ending, however
 * it is run; a file that is not such is refused by its line. */
#ifndef TEST_CHOICES_H
#define TEST_CHOICES_H
#include "test_measure.h"

#define CHOICES_OF "eval test/golden/sharded --choices "
#define CHOICES_GOLDEN CHOICES_OF "test/golden/choices.jsonl "

/* The numbers of the next line of a CSV; returns how many, and moves *at past
 * them. */
static size_t choices_line(const uint8_t **at, const uint8_t *end,
                           double out[8]) {
    char line[256] = "";
    char *p = line;
    size_t n = 0;
    while (*at < end && **at != '\n' && p < line + 255) *p++ = (char)*(*at)++;
    if (*at < end) ++*at;
    for (p = line; *p && n < 8; p += *p == ',') out[n++] = strtod(p, &p);
    return n;
}
/* An ending, from our CSV and from theirs, which has one column less. */
static void choices_check_ending(size_t line, const double ours[8],
                                 const double theirs[8]) {
    CHECK(ours[0] == theirs[0] && ours[1] == theirs[0] + 1, "line %zu: item %g",
          line, ours[0]);
    for (int k = 1; k < 4; k++)
        CHECK(ours[k + 1] == theirs[k], "line %zu: column %d is %g, not %g",
              line, k, ours[k + 1], theirs[k]);
    CHECK(fabs(ours[5] / theirs[4] - 1) < 1e-6, "line %zu: %.9g, not %.9g",
          line, ours[5], theirs[4]);
    for (int k = 0; k < 2; k++)
        CHECK(ours[6 + k] == theirs[5 + k], "line %zu: picked %g, not %g", line,
              ours[6 + k], theirs[5 + k]);
}
/* What the JSON sums up: right[0] and right[1] of 8 items, by the plain and by
 * the normalized score. */
static void choices_check_json(const char *json, const double right[2]) {
    const double chance = (2. / 3 + 1. / 4 + 4. / 2 + 1. / 5) / 8;
    CHECK(measure_number(json, "", "items") == 8 &&
              measure_number(json, "", "endings") == 23,
          "8 items, 23 endings");
    CHECK(fabs(measure_number(json, "", "chance") - chance) < 1e-11, "chance");
    for (int k = 0; k < 2; k++) {
        const char *key = k ? "\"acc_norm\"" : "\"acc\"";
        const StatsInterval s = stats_share((size_t)right[k], 8);
        CHECK(measure_number(json, key, "accuracy") == s.diff, "%s is not %g",
              key, s.diff);
        CHECK(fabs(measure_number(json, key, "lo") - s.lo) < 1e-11,
              "%s: lo is not %g", key, s.lo);
        CHECK(fabs(measure_number(json, key, "hi") - s.hi) < 1e-11,
              "%s: hi is not %g", key, s.hi);
    }
}
static void choices_check_golden(void) {
    const char *csv = file_in("csv");
    const char *json = file_in("json");
    CHECK(command(CHOICES_GOLDEN "--csv %s --json %s", csv, json) == 0, "%s",
          check_line);
    CHECK(NOTED("of 4 of 23 endings the context is longer"), "a cut is said");
    const Bytes got = file_read(csv);
    const Bytes want = file_read("test/golden/choices.csv");
    const uint8_t *a = got.p;
    const uint8_t *b = want.p;
    double ours[8];
    double theirs[8];
    double right[2] = {0};
    size_t lines = 0;
    choices_line(&a, got.p + got.n, ours);                  /* their names */
    for (; choices_line(&b, want.p + want.n, theirs); lines++) {
        CHECK(choices_line(&a, got.p + got.n, ours) == 8, "line %zu is short",
              lines);
        choices_check_ending(lines, ours, theirs);
        for (int k = 0; k < 2; k++) right[k] += theirs[2] * theirs[5 + k];
    }
    CHECK(lines == 23 && a == got.p + got.n, "%zu endings", lines);
    choices_check_json(json, right);
}
/* Threads, panels and groups change no bit. */
static void choices_check_runs(void) {
    static const char *const how[] = {
        "--threads 3",
        "--panel 16 --group 1",
        "--panel 128 --group 2",
    };
    const char *csv = file_in("csv");
    const char *other = file_in("other");
    CHECK(command(CHOICES_GOLDEN "--csv %s", csv) == 0, "%s", check_line);
    for (size_t k = 0; k < sizeof how / sizeof *how; k++) {
        CHECK(command(CHOICES_GOLDEN "--csv %s %s", other, how[k]) == 0, "%s",
              check_line);
        CHECK(file_bits(csv) == file_bits(other), "%s changes scores", how[k]);
    }
}

#define ITEM(endings, label) \
    "{\"ctx\": \"a\", \"endings\": [" endings "], \"label\": " label "}"

/* Lines that are taken: an ending as long as fits, one that is a special token. */
static void choices_check_taken(const char *file) {
    static const char good[] = ITEM("\"b\", \"c\"", "0") "\n \t\r\n";
    char text[512];
    snprintf(text, sizeof text, "%s%s", good,
             ITEM("\"b\", \"1234567890a\"", "0"));
    file_put(file, text, strlen(text));
    CHECK(command(CHOICES_OF "%s", file) == 0, "12 tokens fit: %s", check_line);
    snprintf(text, sizeof text, "%s", ITEM("\"b\", \"[PAD]\"", "0"));
    file_put(file, text, strlen(text));
    NOTED("");
    CHECK(command(CHOICES_OF "%s", file) == 0 && NOTED("byte 31: '[PAD]' is a special token"),
          "%s", check_line);
}
/* Lines after two good ones; what is said of each. The context of the model has
 * 12 tokens. */
static void choices_check_lines(const char *file) {
    static const char good[] = ITEM("\"b\", \"c\"", "0") "\n \t\r\n";
    static const Refused bad[] = {
        {"[]", "line 3: JSON at byte 0: expected '{', found '['"},
        {"{\"ctx\": \"a\"}",
         "expected either \"endings\" or \"sentence_good\" in the object, found "
         "none"},
        {"{\"endings\": [\"b\", \"c\"], \"sentence_good\": \"d\"}",
         "line 3: expected either"},
        {"{\"endings\": [\"b\", \"c\"], \"label\": 0}",
         "line 3: JSON at byte 0: expected \"ctx\""},
        {"{\"ctx\": \"a\", \"endings\": [\"b\", \"c\"]}",
         "line 3: JSON at byte 0: expected \"label\""},
        {"{\"sentence_good\": \"b\"}",
         "expected \"sentence_bad\" in the object, found none"},
        {"{\"sentence_good\": \"b\", \"sentence_good\": \"c\"}",
         "line 3: expected \"sentence_good\" once"},
        {ITEM("\"b\", \"c\"", "2"),
         "line 3: \"label\": expected 0 .. 1, found 2"},
        {ITEM("\"b\", \"c\"", "\"\""),
         "line 3: JSON at byte 46: expected a whole number, found '\"'"},
        {ITEM("\"b\", \"c\"", "\"1x\""),
         "line 3: JSON at byte 47: expected '\"', found 'x'"},
        {ITEM("\"b\", \"c\"", "-1"), "expected a whole number, found '-'"},
        {ITEM("\"b\", \"c\"", "0.5"), "expected a whole number, found '.'"},
        {ITEM("\"b\"", "0"),
         "line 3: \"endings\": expected two or more, found 1"},
        {ITEM("", "0"), "\"endings\": expected two or more, found 0"},
        {ITEM("\"b\", \"\"", "0"),
         "line 3: JSON at byte 30: expected a text that is not empty"},
        {ITEM("\"b\", 7", "0"),
         "line 3: JSON at byte 30: expected '\"', found '7'"},
        {ITEM("\"b\", \"1234567890ab\"", "0"),
         "line 3: expected endings of at most 12 tokens, the model's"},
        {ITEM("\"b\", \"c\"", "0") " x",
         "line 3: JSON at byte 48: expected the end of the line, found 'x'"},
        {"{\"ctx\": \"a",
         "line 3: JSON at byte 10: expected the rest of a string, found the end"},
        {"{\"ctx\": 1, \"endings\": [\"b\", \"c\"], \"label\": 0}",
         "expected '\"', found '1'"},
        {ITEM("\"b\", \"\\ud800\"", "0"), "expected a surrogate pair"},
        {ITEM("\"b\", \"caf\xe9\"", "0"),
         "line 3: JSON at byte 34: expected UTF-8, found byte 0xe9"},
    };
    char text[512];
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        snprintf(text, sizeof text, "%s%s", good, bad[k].given);
        file_put(file, text, strlen(text));
        check_refused(bad[k].expected, CHOICES_OF "%s", file);
        CHECK(strstr(check_line, "bad.jsonl: line 3: ") != NULL, "no line: %s",
              check_line);
    }
    choices_check_taken(file);
}
#undef ITEM

static void choices_check_refused(const char *file) {
    const char *plain = file_in("plain.bin");
    file_put(file, "\n \n", 3);
    check_refused("expected an item a line, found none", CHOICES_OF "%s", file);
    file_put(file, "\0", 1);
    check_refused("line 1: JSON at byte 0: expected '{', found byte 0x00",
                  CHOICES_OF "%s", file);
    check_refused("cannot open", CHOICES_OF "%s", file_in("nothere"));
    check_refused("while it is read", CHOICES_OF "%s --csv %s", file, file);
    check_refused("--csv needs --choices", "eval test/golden/sharded --csv %s",
                  file_in("csv"));
    check_refused("expected one model", "eval a b --choices %s", file);
    check_refused("--items: is of a text", CHOICES_GOLDEN "--items 3");
    check_refused("--text: is of a text", CHOICES_GOLDEN "--text a");
    CHECK(command("convert test/golden/sharded %s", plain) == 0, "%s",
          check_line);
    check_refused("has no vocabulary",
                  "eval %s --choices test/golden/choices.jsonl", plain);
}

static void test_choices(void) {
    folder_begin();
    choices_check_golden();
    choices_check_runs();
    choices_check_lines(file_in("bad.jsonl"));
    choices_check_refused(file_in("bad.jsonl"));
    folder_end();
}
#endif
