/* test_measure.h: what `eval` measures: the parts of a text and their losses,
 * one model and two. */
#ifndef TEST_MEASURE_H
#define TEST_MEASURE_H
#include "check.h"
#include "test_train.h"

/* A text of n documents of 3, 4, 5 .. tokens, ids below V - 1, EOT = V - 1;
 * token id has id + 1 bytes. */
static Data measure_text(size_t n, size_t V) {
    Data d = {.bytes = mem_new(V, sizeof *d.bytes), .eot = (int32_t)V - 1};
    const size_t room = 1 + n * (3 + n);
    uint8_t *id = mem_new(room, 2);
    size_t at = 1;
    for (uint32_t k = 0; k + 1 < V; k++) d.bytes[k] = k + 1;
    id[0] = (uint8_t)d.eot;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < 3 + k; i++)
            id[2 * at++] = (uint8_t)(rng_u64(k, i) % (V - 1));
        id[2 * at++] = (uint8_t)d.eot;
    }
    tokens_add(&d.val, id, at, 2, (Bytes){0});
    return d;
}
/* Every token but the first is in one part: a document's, or one of equal
 * blocks. The parts' losses add up to that of the text, and are those of their
 * tokens in the windows that a run validates on. */
static void measure_check_parts(size_t documents) {
    const size_t V = 23, T = 10;
    Data d = measure_text(documents, V);
    Parts p = parts_new(&d);
    GptPair pair = pair_new((GptConfig){1, 2, 8, V, T}, 3, T, 0.3, 2);
    GptRun *r = gpt_run_new(pair.m, pair.pool, 3, T, 64, GPT_FORWARD);
    const Score s = evaluate(r, &d, 0, &p, NULL);
    Score sum = {0};
    double bytes[2] = {INFINITY, 0};
    for (size_t k = 0; k < p.n; k++) {
        sum.nats += p.part[k].nats;
        sum.bytes += p.part[k].bytes;
        sum.tokens += p.part[k].tokens;
        bytes[0] = fmin(bytes[0], p.part[k].bytes);
        bytes[1] = fmax(bytes[1], p.part[k].bytes);
        CHECK(p.blocks || p.part[k].tokens == k + 4, "document %zu has %zu tokens",
              k, p.part[k].tokens);
    }
    CHECK(p.blocks == (documents < 20), "%zu documents, blocks %d", documents,
          p.blocks);
    CHECK(p.blocks || p.n == documents, "%zu parts of %zu documents", p.n, documents);
    CHECK(!p.blocks || bytes[1] - bytes[0] <= 2 * (double)V,
          "blocks of %g .. %g bytes", bytes[0], bytes[1]);
    CHECK(sum.tokens == s.tokens && s.tokens == d.val.n - 1 && sum.bytes == s.bytes,
          "%zu of %zu tokens", sum.tokens, s.tokens);
    CHECK(fabs(sum.nats - s.nats) < 1e-9 * s.nats,
          "%.12g nats in parts, %.12g in all", sum.nats, s.nats);
    double nats = 0;                        /* the first part again, window by window */
    for (size_t first = 0; first * T < p.part[0].tokens; first++) {
        GptRun *one = gpt_run_new(pair.m, pair.pool, 1, T, 64, GPT_FORWARD);
        int32_t in[10], out[10];
        batch_val(&d.val, first, SIZE_MAX, 1, T, in, out);
        for (size_t t = 0; t < T; t++)
            if (first * T + t >= p.part[0].tokens) out[t] = -1;
        gpt_eval(one, in, out, &nats);
        gpt_run_free(one);
    }
    CHECK(fabs(p.part[0].nats - nats) < 1e-12 * nats, "part 0: %.12g, alone %.12g",
          p.part[0].nats, nats);
    const StatsInterval i = parts_interval(&p, NULL, true);
    const StatsInterval none = parts_interval(&p, &p, true);
    CHECK(fabs(i.diff - score_bits(&s)) < 1e-12 * i.diff, "%g and %g bits/byte",
          i.diff, score_bits(&s));
    CHECK(p.n < 2 || (i.lo < i.diff && i.diff < i.hi), "%g .. %g", i.lo, i.hi);
    CHECK(p.n < 2 || (none.lo == 0 && none.hi == 0),
          "a model against itself: %g .. %g", none.lo, none.hi);
    gpt_run_free(r);
    pair_free(&pair);
    parts_free(&p);
    data_free(&d);
}

/* The number at `key` in a JSON file, the first after the text `after`; NAN if
 * it is null or not there. */
static double measure_number(const char *path, const char *after, const char *key) {
    char *text = file_text(path);
    char name[64];
    snprintf(name, sizeof name, "\"%s\": ", key);
    const char *from = strstr(text, after);
    const char *at = from ? strstr(from, name) : NULL;
    const double x = at && strncmp(at + strlen(name), "null", 4)
                         ? strtod(at + strlen(name), NULL)
                         : NAN;
    free(text);
    return x;
}
static bool measure_says(const char *path, const char *words) {
    Bytes b = file_read(path);
    const bool found = memmem(b.p, b.n, words, strlen(words)) != NULL;
    Json j = {b.p, b.p + b.n, b.p, path};
    json_skip(&j, 0);
    CHECK(json_peek(&j) == 0 && j.p == j.end, "%s: more than one JSON value", path);
    file_free(&b);
    return found;
}

/* 40 documents of made-up words, and four models of them. */
static void measure_models(const char *text) {
    static const char *const name[4] = {"one", "two", "other", "short"};
    static const char *const how[4] = {
        "--steps 40 --vocab 300 --context 48", "--steps 20 --vocab 300 --context 48",
        "--steps 10 --vocab 280 --context 48", "--steps 40 --vocab 300 --context 32"};
    static char words[40000], out[40 * 800];
    make_text(text, sizeof words);
    const Bytes b = file_read(text);
    memcpy(words, b.p, sizeof words);
    file_free((Bytes *)(uintptr_t)&b);
    size_t n = 0;
    for (size_t k = 0; k < 40; k++)
        n += (size_t)sprintf(out + n, "%.*s" TOK_EOT,
                             (int)(300 + rng_u64(3, k) % 400), words + 1000 * k);
    file_put(text, out, n);
    for (int k = 0; k < 4; k += QUICK ? 2 : 1)
        CHECK(command("run --text %s --out %s --layers 1 --heads 2 --width 16 "
                      "--batch 5 --lr 0.01 --every 99 --quiet %s",
                      text, file_in(name[k]), how[k]) == 0,
              "%s: %s", name[k], check_line);
}

/* Two models on one text: a model and its copy in Hugging Face's form are equal
 * to the last bit; two others differ by what each is measured to be; those of
 * other vocabularies are compared by the byte. */
static void measure_check_pairs(void) {
    char text[128], json[128], one[128];
    snprintf(text, sizeof text, "%s/text", folder);
    snprintf(json, sizeof json, "%s/json", folder);
    snprintf(one, sizeof one, "%s/one", folder);
    measure_models(text);
    CHECK(command("convert %s %s --format hf", one, file_in("hf")) == 0, "%s",
          check_line);
    CHECK(command("eval %s %s --text %s --json %s --items 100", one, file_in("hf"),
                  text, json) == 0,
          "%s", check_line);
    CHECK(measure_says(json, "\"verdict\": \"equal\", \"over\": \"documents\""),
          "a model and its copy");
    static const char *const zero[] = {"diff", "lo", "hi", "detectable"};
    for (int k = 0; k < 4; k++) {
        const double x = measure_number(json, "]}, \"diff\"", zero[k]);
        CHECK(x == 0, "a model and its copy: %s %g", zero[k], x);
    }
    const double items = measure_number(json, "\"last_word\"", "items");
    CHECK(items > 50, "%g last words", items);
    CHECK(measure_number(json, "\"verdict\"", "p") == 1 &&
              measure_number(json, "\"verdict\"", "only_a") == 0,
          "a model and its copy answer otherwise");
    static const char *const with[] = {"two", "other", "short"};
    for (int k = QUICK; k < (QUICK ? 2 : 3); k++) {
        double bits[2];
        for (int i = 0; i < 2; i++) {
            const char *model = i ? file_in(with[k]) : one;
            CHECK(command("eval %s --text %s --items 0 --json %s", model, text,
                          json) == 0,
                  "%s", check_line);
            bits[i] = measure_number(json, "", "bits_per_byte");
            const double lo = measure_number(json, "\"over\"", "lo");
            const double hi = measure_number(json, "\"over\"", "hi");
            CHECK(lo < bits[i] && bits[i] < hi, "%g .. %g", lo, hi);
        }
        CHECK(command("eval %s %s --text %s --margin 0 --items 100 --json %s", one,
                      file_in(with[k]), text, json) == 0,
              "%s", check_line);
        const double diff = measure_number(json, "]}, \"diff\"", "diff");
        CHECK(fabs(diff - (bits[0] - bits[1])) < 1e-9,
              "%s: differ by %g, %g and %g", with[k], diff, bits[0], bits[1]);
        CHECK(measure_says(json, "only_a") == (k != 1),
              "%s: items are paired, or not", with[k]);
        CHECK(k || measure_says(json, "\"verdict\": \"better\""),
              "twice the steps are no better");
    }
}

/* On the built-in corpus: what `run` says at its end, to the last digit; above
 * the floor; all kinds of items. */
static void measure_check_stories(void) {
    const char *model = file_in("stories");
    const char *json = file_in("json");
    const char *run = file_in("run");
    CHECK(command("run --corpus 200000 --vocab 300 --layers 1 --heads 2 --width 16 "
                  "--context 128 --batch 8 --lr 0.01 --steps %d --quiet --out %s "
                  "--json %s",
                  QUICK ? 5 : 150, model, run) == 0,
          "%s", check_line);
    CHECK(command("eval %s --json %s --items 48", model, json) == 0, "%s", check_line);
    static const char *const same[] = {"val_loss", "val_tokens", "bits_per_byte",
                                       "floor"};
    for (int k = 0; k < 4; k++) {
        const double x = measure_number(json, "", same[k]);
        const double y = measure_number(run, "", same[k]);
        CHECK(x == y, "%s: eval says %.17g, run %.17g", same[k], x, y);
    }
    const double bits = measure_number(json, "", "bits_per_byte");
    const double floor = measure_number(json, "", "floor");
    const double train = measure_number(json, "", "train_bits_per_byte");
    CHECK(floor > 0.2 && bits > floor, "%g bits/byte, floor %g", bits, floor);
    CHECK(train > floor && fabs(train - bits) < 0.1 * bits,
          "%g bits/byte in training, %g held out", train, bits);
    for (int k = 0; k < CLOZE_KINDS; k++) {
        const double items = measure_number(json, cloze_kinds[k], "items");
        const double right = measure_number(json, cloze_kinds[k], "accuracy");
        const double chance = measure_number(json, cloze_kinds[k], "chance");
        CHECK(k < CORPUS_KINDS ? items == 12 : items > 20, "%s: %g items",
              cloze_kinds[k], items);
        CHECK(right >= 0 && right <= 1 && chance > 0 && chance < 0.5,
              "%s: %g, chance %g", cloze_kinds[k], right, chance);
    }
    CHECK(command("eval %s --corpus 100000 --json %s --items 0", model, json) == 0,
          "%s", check_line);
    CHECK(isnan(measure_number(json, "", "train_bits_per_byte")) &&
              measure_says(json, "\"cloze\": []"),
          "on another corpus there is no training text");
}
static void measure_check_refused(void) {
    static const Refused bad[] = {
        {"eval %s/one %s/two %s/short", "expected an option"},
        {"eval %s/one %s/nothere", "nothere"},
        {"eval %s/one --margin -1", "--margin"},
        {"eval %s/one --items many", "--items"},
        {"eval %s/one --text %s/empty", "found none"},
        {"eval %s/one --json /nothere/x", "/nothere/x"},
        {"eval %s/one test/golden/sharded --raw16 --tokens %s/shard", "expected the vocabulary of"},
    };
    file_put(file_in("empty"), "", 0);
    file_put(file_in("shard"), "\x07\x00\x08\x00\x09\x00\x07\x00", 8);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        check_refused(bad[k].expected, bad[k].given, folder, folder, folder);
}

static void test_measure(void) {
    static const size_t documents[] = {1, 2, 19, 20, 60};
    folder_begin();
    for (size_t k = 0; k < sizeof documents / sizeof *documents; k++)
        measure_check_parts(documents[k]);
    measure_check_pairs();
    measure_check_stories();
    measure_check_refused();
    folder_end();
}
#endif
