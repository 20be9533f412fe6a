/* test_corpus.h: the grammar against itself (what is written is read back, to
 * the last bit), against counting (drawn options, sums of probabilities, all
 * outcomes of a template), and against a naive reader. */
#ifndef TEST_CORPUS_H
#define TEST_CORPUS_H
#include "check.h"
#include "../data/text/corpus.h"

/* What the deciders below see; a Tale has no room for it. */
static struct {
    /* Draws of option 0, as they are, as they should be. */
    double first, expected, variance;
    size_t choices, badly;
    size_t script[64];
    size_t depth, used;
    unsigned count[TALE_OPTIONS];
    unsigned weight[TALE_OPTIONS];
    const char *truth;  /* the story that the oracle predicts */
    /* Its -log p; what that is on average; its variance. */
    double nats, entropy, spread;
} corpus_seen;

/* Draws, after checking that the weights add up and that no option begins as
 * another does. */
static size_t corpus_watch(Tale *t) {
    static char text[TALE_OPTIONS][256];
    size_t length[TALE_OPTIONS];
    size_t sum = 0;
    for (size_t k = 0; k < t->n_options; k++) {
        sum += t->option[k].weight;
        length[k] = tale_peek(t, k) - t->at;
        memcpy(text[k], t->out + t->at, length[k]);
    }
    for (size_t i = 0; i < t->n_options; i++)
        for (size_t j = 0; j < t->n_options; j++)
            if (i != j && length[i] <= length[j] &&
                !memcmp(text[i], text[j], length[i]))
                corpus_seen.badly++;
    if (sum != t->total) corpus_seen.badly++;
    const double p = (double)t->option[0].weight / t->total;
    const size_t k = tale_draw(t);
    corpus_seen.choices++;
    corpus_seen.first += k == 0;
    corpus_seen.expected += p;
    corpus_seen.variance += p * (1 - p);
    return k;
}

static void corpus_check_choices(void) {
    static char out[CORPUS_MAX];
    memset(&corpus_seen, 0, sizeof corpus_seen);
    for (uint64_t index = 0; index < (QUICK ? 100 : 1000); index++) {
        Tale t = tale_new(5, index, out, sizeof out);
        t.decide = corpus_watch;
        tale_story(&t);
    }
    const double z = (corpus_seen.first - corpus_seen.expected) /
                     sqrt(corpus_seen.variance);
    CHECK(corpus_seen.badly == 0, "%zu of %zu choices", corpus_seen.badly,
          corpus_seen.choices);
    CHECK(fabs(z) < 4,
          "first options are drawn %.1f standard deviations too often", z);
}

/* An oracle of the next byte, driven by the grammar's table: of the
 * alternatives possible here, those that fit the bytes so far give, by their
 * weights, the probability of each next byte; where there is no choice it is
 * one. It follows the story corpus_seen.truth. */
static size_t corpus_oracle(Tale *t) {
    static char text[TALE_OPTIONS][256];
    size_t length[TALE_OPTIONS];
    size_t fits = t->n_options;
    size_t found = 0;
    bool fit[TALE_OPTIONS];
    double all = t->total;
    double first = 0;
    double second = 0;
    for (size_t k = 0; k < t->n_options; k++) {
        const double p = (double)t->option[k].weight / t->total;
        length[k] = tale_peek(t, k) - t->at;
        fit[k] = true;
        memcpy(text[k], t->out + t->at, length[k]);
        first -= p * log(p);
        second += p * log(p) * log(p);
    }
    for (size_t i = 0; fits > 1; i++) {
        double next[256] = {0};
        for (size_t k = 0; k < t->n_options; k++)
            if (fit[k] && i < length[k])
                next[(uint8_t)text[k][i]] += t->option[k].weight / all;
        const uint8_t byte = (uint8_t)corpus_seen.truth[t->at + i];
        double sum = 0;
        for (int b = 0; b < 256; b++) sum += next[b];
        corpus_seen.badly += fabs(sum - 1) > 1e-9 || next[byte] <= 0;
        if (next[byte] <= 0) return 0;
        corpus_seen.nats -= log(next[byte]);
        all *= next[byte];
        fits = 0;
        for (size_t k = 0; k < t->n_options; k++) {
            fit[k] = fit[k] && i < length[k] && (uint8_t)text[k][i] == byte;
            if (fit[k]) {
                found = k;
                fits++;
            }
        }
    }
    corpus_seen.entropy += first;
    corpus_seen.spread += second - first * first;
    return found;
}

/* The oracle reaches the floor that is stated for the held-out stories. And
 * the stories have no more surprise in them, and no less, than the weights
 * promise. */
static void corpus_check_floor(void) {
    static char out[CORPUS_MAX];
    const size_t n = QUICK ? 300 : 3000;
    double stated = 0;
    double nats;
    memset(&corpus_seen, 0, sizeof corpus_seen);
    for (uint64_t index = 0; index < n; index++) {
        static char truth[CORPUS_MAX];
        const size_t length = corpus_story(rng_key(1, "stories held out"),
                                           index, truth, CORPUS_MAX, &nats);
        Tale t = tale_new(0, 0, out, sizeof out);
        stated += nats;
        corpus_seen.truth = truth;
        t.decide = corpus_oracle;
        tale_story(&t);
        corpus_seen.badly += t.at != length || memcmp(out, truth, length);
    }
    const double z = (corpus_seen.nats - corpus_seen.entropy) /
                     sqrt(corpus_seen.spread);
    CHECK(corpus_seen.badly == 0, "%zu of the oracle's predictions are none",
          corpus_seen.badly);
    CHECK(fabs(corpus_seen.nats - stated) < 0.001 * stated,
          "oracle %.2f nats, floor %.2f", corpus_seen.nats, stated);
    CHECK(fabs(z) < 4, "%.2f nats, %.2f expected: %.1f deviations",
          corpus_seen.nats, corpus_seen.entropy, z);
}

static size_t corpus_tally(Tale *t) {
    const size_t k = tale_draw(t);
    for (size_t i = 0; i < t->n_options; i++)
        corpus_seen.weight[i] = t->option[i].weight;
    corpus_seen.count[k]++;
    corpus_seen.used = t->n_options;
    return k;
}

/* Chi-square of the last choice of a template, drawn often. */
static void corpus_check_weights(const char *template) {
    static char out[CORPUS_MAX];
    const size_t draws = QUICK ? 5000 : 50000;
    double total = 0;
    double chi = 0;
    memset(&corpus_seen, 0, sizeof corpus_seen);
    for (uint64_t index = 0; index < draws; index++) {
        Tale t = tale_new(11, index, out, sizeof out);
        t.decide = corpus_tally;
        tale_tell(&t, template);
    }
    for (size_t k = 0; k < corpus_seen.used; k++)
        total += corpus_seen.weight[k];
    for (size_t k = 0; k < corpus_seen.used; k++) {
        const double expected = (double)draws * corpus_seen.weight[k] / total;
        chi += (corpus_seen.count[k] - expected) *
               (corpus_seen.count[k] - expected) / expected;
    }
    const double freedom = (double)corpus_seen.used - 1;
    CHECK(chi < freedom + 5 * sqrt(2 * freedom),
          "%s: chi-square %.1f, %.0f degrees", template, chi, freedom);
}

static size_t corpus_scripted(Tale *t) {
    const size_t d = corpus_seen.depth++;
    if (d == corpus_seen.used)
        corpus_seen.script[corpus_seen.used++] = t->n_options - 1;
    return corpus_seen.script[d];
}

/* Every outcome of a template, told after the first words of some story: they
 * are all different, and their probabilities sum to one. */
static void corpus_check_outcomes(const char *before, const char *template,
                                  size_t at_least) {
    static char out[CORPUS_MAX], seen[4000][64];
    const Tale start = tale_new(3, 1, out, sizeof out);
    size_t outcomes = 0;
    size_t twice = 0;
    double sum = 0;
    memset(&corpus_seen, 0, sizeof corpus_seen);
    for (bool more = true; more && outcomes < 4000; outcomes++) {
        Tale t = start;
        tale_tell(&t, before);
        const size_t from = t.at;
        t.nats = 0;
        t.decide = corpus_scripted;
        corpus_seen.depth = 0;
        tale_tell(&t, template);
        sum += exp(-t.nats);
        snprintf(seen[outcomes], sizeof seen[0], "%.*s", (int)(t.at - from),
                 out + from);
        for (size_t i = 0; i < outcomes; i++)
            twice += !strcmp(seen[i], seen[outcomes]);
        while (corpus_seen.used &&
               corpus_seen.script[corpus_seen.used - 1] == 0)
            corpus_seen.used--;
        more = corpus_seen.used > 0;
        if (more) corpus_seen.script[corpus_seen.used - 1]--;
    }
    CHECK(outcomes >= at_least && twice == 0, "%s: %zu outcomes, %zu twice",
          template, outcomes, twice);
    CHECK(fabs(sum - 1) < 1e-9,
          "%s: probabilities of %zu outcomes sum to %.12f", template, outcomes,
          sum);
}

/* Writes and reads stories back; their mean length and entropy; and one hash of
 * them all. */
static void corpus_check_stories(void) {
    static char out[CORPUS_MAX];
    const uint64_t n = QUICK ? 1000 : 8000;
    double nats, again;
    double sum[2] = {0};
    double squares = 0;
    double bytes = 0;
    uint64_t hash = 0;
    size_t wrong = 0;
    size_t longest = 0;
    for (uint64_t index = 0; index < n; index++) {
        const size_t length = corpus_story(1, index, out, sizeof out, &nats);
        wrong += !corpus_parse(out, length, &again) ||
                 memcmp(&nats, &again, sizeof nats);
        wrong += corpus_parse(out, length - 1, &again);
        longest = length > longest ? length : longest;
        bytes += (double)length;
        sum[index % 2] += nats;
        squares += nats * nats;
        for (size_t i = 0; i < length && index < 1000; i++)
            hash = rng_mix(hash ^ (uint8_t)out[i]);
    }
    const double mean = (sum[0] + sum[1]) / (double)n;
    const double deviation = sqrt(squares / (double)n - mean * mean);
    CHECK(wrong == 0, "%zu of %zu stories are read otherwise than written",
          wrong, (size_t)n);
    CHECK(fabs(sum[0] - sum[1]) < 4 * deviation * sqrt((double)n),
          "halves of %g and %g", sum[0], sum[1]);
    CHECK(longest < CORPUS_MAX * 2 / 3, "%zu bytes", longest);
    CHECK(hash == UINT64_C(0x334eb1ad1b2f96ed), "other stories: hash %#llx",
          (unsigned long long)hash);
    const double rate = mean / 0.69314718055994531 / (bytes / (double)n);
    CHECK(rate > 0.2 && rate < 0.8, "%.3f bits per byte, %.0f bytes", rate,
          bytes / (double)n);
}

/* The longest of each choice's options: no story can be much longer. */
static size_t corpus_wordy(Tale *t) {
    size_t best = 0;
    size_t most = 0;
    for (size_t k = 0; k < t->n_options; k++) {
        size_t length = tale_peek(t, k) - t->at;
        for (const char *s = t->option[k].text; *s && *s != '|'; s++)
            length += strchr("%[#", *s) ? 9 : 0;
        if (length > most) {
            best = k;
            most = length;
        }
    }
    return best;
}

/* Changed stories are no stories, and what the facts force cannot be
 * replaced. */
static void corpus_check_changes(void) {
    static char out[CORPUS_MAX], changed[CORPUS_MAX + CORPUS_WORD];
    static CorpusItem item[TALE_MARKS];
    double nats, other;
    size_t accepted = 0;
    size_t tried = 0;
    size_t forced = 0;
    size_t asked[CORPUS_KINDS] = {0};
    for (uint64_t index = 0; index < (QUICK ? 100 : 600); index++) {
        size_t n = corpus_story(2, index, changed, CORPUS_MAX, &nats);
        const size_t items = corpus_questions(2, index, out, &n, item);
        CHECK(!memcmp(changed, out, n), "questions %zu are of another story",
              (size_t)index);
        for (uint64_t k = 0; k < 10; k++, tried++) {
            const size_t at = rng_u64(index, k) % n;
            const char old = out[at];
            out[at] = (char)('a' + rng_u64(index, 100 + k) % 26);
            accepted += out[at] != old && corpus_parse(out, n, &other);
            out[at] = old;
        }
        for (size_t i = 0; i < items; i++) {
            const size_t at = item[i].at;
            const size_t right = strlen(item[i].option[0]);
            asked[item[i].kind]++;
            CHECK(!memcmp(out + at, item[i].option[0], right),
                  "question %zu of %zu", i, (size_t)index);
            for (int k = 1; k < 4; k++) {
                const size_t wrong = strlen(item[i].option[k]);
                memcpy(changed, out, at);
                memcpy(changed + at, item[i].option[k], wrong);
                memcpy(changed + at + wrong, out + at + right, n - at - right);
                forced += corpus_parse(changed, n - right + wrong, &other);
            }
        }
    }
    for (int k = 0; k < CORPUS_KINDS; k++)
        CHECK(asked[k] > (QUICK ? 50 : 400), "%zu questions of kind %d",
              asked[k], k);
    CHECK(forced == 0, "%zu wrong answers make good stories", forced);
    CHECK(accepted * 200 < tried,
          "%zu of %zu stories with a byte changed are stories", accepted,
          tried);
}

/* A story whose hero is called "she" in its second sentence is none if "He"
 * stands there. */
static void corpus_check_pronoun(void) {
    static char out[CORPUS_MAX];
    double nats;
    for (uint64_t index = 0; index < 20; index++) {
        size_t n = corpus_story(4, index, out, sizeof out, &nats);
        char *at = strstr((out[n] = 0, out), ". She lived");
        if (!at) continue;
        memmove(at + 2, at + 3, (size_t)(out + n - at - 3));
        at[2] = 'H';
        CHECK(!corpus_parse(out, n - 1, &nats), "story %zu calls a girl He",
              (size_t)index);
    }
}

/* ---- a reader that follows things by looking for words ------------------- */

typedef struct {
    const char *names[TALE_PEOPLE];
    const char *nouns[TALE_THINGS];
    const char *job;
    int holder[TALE_THINGS];        /* -1: nobody; the next two, too */
    int subject, asked;
} CorpusReader;

static bool corpus_starts(const char *s, const char *word) {
    const size_t n = strcspn(word, "|/");
    return !strncmp(s, word, n) && !(s[n] >= 'a' && s[n] <= 'z');
}
static int corpus_person(const CorpusReader *r, const char *s) {
    for (int p = 0; p < TALE_PEOPLE; p++)
        if (corpus_starts(s, r->names[p])) return p;
    return -1;
}
/* The first thing named in s. */
static int corpus_thing(const CorpusReader *r, const char *s) {
    for (; s && *s; s++)
        for (int k = 0; k < TALE_THINGS; k++)
            if (s[0] == ' ' && corpus_starts(s + 1, r->nouns[k])) return k;
    return -1;
}

/* Whom sentence s is about: somebody named, "Ida's brother" or the trader. */
static void corpus_about(CorpusReader *r, const char *s) {
    static const char *const openers[] = {
        "Then ", "Soon ", "Later ", "After that, ", "A little later, ",
        "Next, ", "At first, ", "Early on, ", "Before long, ",
        "After breakfast, ",
    };
    for (size_t k = 0; k < sizeof openers / sizeof *openers; k++)
        if (!strncmp(s, openers[k], strlen(openers[k]))) {
            s += strlen(openers[k]);
            break;
        }
    const int person = corpus_person(r, s);
    const bool the = (s[0] == 'T' || s[0] == 't') && s[1] == 'h';
    if (person >= 0) r->subject = s[strcspn(s, " '")] == '\'' ? 1 : person;
    else if (the && corpus_starts(s + 4, r->job)) r->subject = 3;
}
/* Who has the first thing named after a verb now. */
static void corpus_has(CorpusReader *r, const char *verb, int holder) {
    const int thing = corpus_thing(r, verb);
    if (thing >= 0) r->holder[thing] = holder;
}
static void corpus_gives(CorpusReader *r, const char *s, const char *gave) {
    const char *to = strchr(gave + 1, ' ') + 1;
    const int thing = corpus_thing(r, strchr(to, ' '));
    const char *got = strstr(s, " and got ");
    if (thing < 0) return;
    r->holder[thing] = corpus_person(r, to);
    if (got) r->holder[corpus_thing(r, got)] = r->subject;
}
static void corpus_moves(CorpusReader *r, const char *s) {
    static const char *const takes[] = {" found ", " had a", " owned a",
                                        " loved a", " kept a"};
    const char *gave = strstr(s, " gave ");
    const char *left = strstr(s, " left ");
    if (!left) left = strstr(s, " forgot ");
    if (gave) corpus_gives(r, s, gave);
    else if (left) corpus_has(r, left, -1);
    if (gave || left) return;
    for (size_t k = 0; k < sizeof takes / sizeof *takes; k++) {
        const char *verb = strstr(s, takes[k]);
        if (!verb) continue;
        corpus_has(r, verb, r->subject);
        return;
    }
}
static void corpus_read(CorpusReader *r, const char *s) {
    corpus_about(r, s);
    if (!strncmp(s, "\"Here you are", 13)) {
        if (r->asked >= 0) r->holder[r->asked] = r->subject;
        return;
    }
    if (*s == '"') return;
    corpus_moves(r, s);
    const char *wanted = strstr(s, " for the ");
    r->asked = -1;
    if (wanted && strstr(s, " asked ")) r->asked = corpus_thing(r, wanted);
}

static int corpus_holder(const Tale *t, const char *text, size_t n) {
    static char sentence[512];
    CorpusReader r = {.job = t->word['j' & 31], .subject = -1, .asked = -1};
    size_t last = 0;
    for (int p = 0; p < TALE_PEOPLE; p++) r.names[p] = t->name[p];
    for (int k = 0; k < TALE_THINGS; k++) {
        r.nouns[k] = t->noun[k];
        r.holder[k] = -1;
    }
    for (size_t from = 0, at = 0; at < n; at++) {
        if (at < from || !strchr(".!?\n", text[at])) continue;
        snprintf(sentence, sizeof sentence, "%.*s", (int)(at - from),
                 text + from);
        corpus_read(&r, sentence);
        for (from = at + 1; from < n && strchr(" \n", text[from]); from++) { }
        if (text[from] == '"' && strchr(" \n", text[from + 1])) from += 2;
        last = from;
    }
    snprintf(sentence, sizeof sentence, "%.*s", (int)(n - last), text + last);
    int thing = corpus_thing(&r, sentence);
    if (thing < 0) {            /* "Who has the kite?" "I think ... */
        size_t from = last - 3;
        while (from && !strchr(".!\n", text[from - 1])) from--;
        snprintf(sentence, sizeof sentence, "%.*s", (int)(last - from),
                 text + from);
        thing = corpus_thing(&r, sentence);
    }
    return thing < 0 ? -1 : r.holder[thing];
}

/* Who holds what, as a reader of sentences finds it, is the answer given. */
static void corpus_check_reader(void) {
    static CorpusItem item[TALE_MARKS];
    static char out[CORPUS_MAX];
    size_t asked = 0;
    size_t wrong = 0;
    size_t n;
    for (uint64_t index = 0; index < (QUICK ? 200 : 2000); index++) {
        Tale t = tale_new(6, index, out, sizeof out);
        tale_story(&t);
        const size_t items = corpus_questions(6, index, out, &n, item);
        for (size_t i = 0; i < items; i++) {
            if (item[i].kind != CORPUS_HOLDS) continue;
            const int holder = corpus_holder(&t, out, item[i].at);
            asked++;
            wrong += holder < 0 ||
                     !corpus_starts(item[i].option[0] + 1, t.name[holder]);
        }
    }
    CHECK(asked > (QUICK ? 100 : 1000) && wrong == 0,
          "the reader disagrees on %zu of %zu", wrong, asked);
}

static void test_corpus(void) {
    static char out[CORPUS_MAX];
    double nats;
    Tale t = {.in = "One windy day", .cap = 13, .decide = tale_read};
    tale_tell(&t, "[3One|Early one] #w day");
    CHECK(!t.failed && t.at == 13, "the example is read as far as byte %zu",
          t.at);
    CHECK(fabs(t.nats - log(4.0 / 3 * 48 / 6)) < 1e-12,
          "the example costs %.3f", t.nats);
    t = (Tale){.in = "One windy night", .cap = 15, .decide = tale_read};
    tale_tell(&t, "[3One|Early one] #w day");
    CHECK(t.failed, "a night is no day");
    t = (Tale){.in = "Once", .cap = 4, .decide = tale_read};
    tale_tell(&t, "[On|Once]");
    CHECK(t.failed, "a text that fits two options is refused");
    t = tale_new(1, 1, out, sizeof out);
    t.decide = corpus_wordy;
    tale_story(&t);
    CHECK(!t.failed && t.at < CORPUS_MAX - 512, "a wordy story has %zu bytes",
          t.at);
    CHECK(DIES(corpus_story(1, 1, out, 100, &nats)), "100 bytes are enough");
    CHECK(strstr(check_line, "more than 100 bytes"), "said: %s", check_line);
    CHECK(!corpus_parse("", 0, &nats) && !corpus_parse("Long ago", 8, &nats),
          "no stories");
    corpus_check_weights("#w");
    corpus_check_weights("#G");
    corpus_check_weights("#f");
    corpus_check_weights("[5a|2b|c|40d]");
    corpus_check_outcomes("%I", "^z%K", 30);
    corpus_check_outcomes("%I",
                          " [*bE$B ][*pP$q|5in] [4*tTthe $t|2*tTthe $r|#w]%R",
                          1000);
    corpus_check_outcomes("", "#p [5was|#w] #e", 400);
    corpus_check_choices();
    corpus_check_floor();
    corpus_check_stories();
    corpus_check_changes();
    corpus_check_pronoun();
    corpus_check_reader();
}
#endif
