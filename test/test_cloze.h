/* test_cloze.h: the items against the stories and texts they are of, by
 * searching these; what is right against the specification's logits, by
 * deciding as the essay of cloze.h says, option by option. */
#ifndef TEST_CLOZE_H
#define TEST_CLOZE_H
#include "check.h"
#include "test_gpt.h"
#include "../data/judge/cloze.h"
#include <ctype.h>

/* A text of n documents in which each word has two that may follow, one of them
 * rarely; its vocabulary. */
static Tokenizer *cloze_text(size_t n, Tokens *t) {
    static const char *const word[12] = {" river", " stone",   " of",     " cloud",
                                         " apple", " in",      " window", " garden",
                                         " to",    " bridges", " bridge", " night"};
    char *text = mem_new(n, 4096);
    size_t bytes = 0;
    size_t ids = 1;
    size_t *end = mem_new(n, sizeof *end);
    for (size_t k = 0, at = 0; k < n; k++) {
        for (size_t i = 0; i < 240; i++) {
            static const char *const after[16] = {
                ".", ".", ".", ",", "\u201d.", "", "", "", "", "", "", "",
            };
            at = (5 * at + (rng_u64(k, 2 * i) % 5 ? 1 : 4)) % 12;
            const char *mark = after[rng_u64(k, 2 * i + 1) % 16];
            bytes += (size_t)sprintf(text + bytes, "%s%s", word[at], mark ? mark : ".");
            if (!mark) text[bytes - strlen(word[at]) - 1] = '-';
        }
        end[k] = bytes;
    }
    Tokenizer *tok = tok_train((uint8_t *)text, bytes, 320);
    uint32_t *id = mem_new(bytes + n + 1, 4);
    id[0] = tok->eot;
    for (size_t k = 0; k < n; k++) {
        const size_t from = k ? end[k - 1] : 0;
        ids += tok_encode(tok, (uint8_t *)text + from, end[k] - from, id + ids);
        id[ids++] = tok->eot;
    }
    tokens_add(t, (uint8_t *)id, ids, 4, (Bytes){0});
    free(text);
    free(end);
    return tok;
}
/* A vocabulary of stories. */
static Tokenizer *cloze_vocabulary(size_t n) {
    static char text[40 * CORPUS_MAX];
    double nats;
    size_t bytes = 0;
    for (size_t k = 0; k < 40; k++)
        bytes += corpus_story(9, k, text + bytes, CORPUS_MAX, &nats);
    return tok_train((uint8_t *)text, bytes, n);
}
/* The text of n ids, EOT as a bar; returns its bytes. */
static size_t cloze_decode(const Tokenizer *tok, const int32_t *id, size_t n,
                           char *out) {
    size_t at = 0;
    size_t len;
    for (size_t k = 0; k < n; k++) {
        const uint8_t *p = tok_bytes(tok, (uint32_t)id[k], &len);
        if ((uint32_t)id[k] == tok->eot) {
            out[at++] = '|';
            continue;
        }
        memcpy(out + at, p, len);
        at += len;
    }
    out[at] = 0;
    return at;
}
/* Trains the pair's machine a little on the text, and copies its weights to the
 * specification. */
static void cloze_train(GptPair *p, const Tokens *t, size_t steps) {
    enum { B = 4 };
    const size_t T = p->s->c.ctx;
    GptRun *r = gpt_run_new(p->m, p->pool, B, T, 64, GPT_TRAIN);
    int32_t *inputs = mem_new(B * T, 4);
    int32_t *targets = mem_new(B * T, 4);
    double loss = 0;
    for (size_t step = 0; step < steps; step++) {
        batch_train(t, 1, step * B, B, T, inputs, targets);
        gpt_train(r, inputs, targets, B * T, &loss);
        gpt_adamw(p->m, p->pool, &(GptAdam){0.01, 0.9, 0.95, 1e-8, 0.1, 1}, step + 1,
                  gpt_gradient_norm(p->m, p->pool));
    }
    for (size_t k = 0; k < p->m->count; k++) {
        free(p->s->w[k]);
        p->s->w[k] = gpt_values(p->m, p->m->w, k);
    }
    gpt_run_free(r);
    free(inputs);
    free(targets);
}
/* The specification's logits of one row, (T,V). */
static const double *cloze_logits(GptPair *p, const Cloze *z, size_t row) {
    static int32_t targets[1024], inputs[1024];             /* of the last time */
    if (p->s->T != z->T || memcmp(inputs, z->row + row * z->T, z->T * 4)) {
        p->s->T = z->T;
        memcpy(inputs, z->row + row * z->T, z->T * 4);
        spec_forward(p->s, inputs, targets);
    }
    return p->s->logits;
}

/* The question that an item is, of a story of key 7 from *story on: its text
 * stands there, and the answer follows. */
static bool cloze_find(const Tokenizer *tok, const Cloze *z, const ClozeItem *item,
                       uint64_t *story, CorpusItem *q) {
    static char text[CORPUS_MAX], row[CORPUS_MAX * 2];
    static CorpusItem of[TALE_MARKS];
    const int32_t *id = z->row + item->row * z->T;
    const size_t skip = (uint32_t)id[0] == tok->eot;
    const size_t n = cloze_decode(tok, id + skip, item->at - skip, row);
    for (; *story < 1000; ++*story) {
        size_t bytes;
        const size_t questions = corpus_questions(7, *story, text, &bytes, of);
        text[size_min(bytes, CORPUS_MAX - 1)] = 0;
        const char *at = strstr(text, row);
        for (size_t k = 0; at && k < questions; k++)
            if (of[k].at == (size_t)(at - text) + n) {
                *q = of[k];
                return true;
            }
    }
    return false;
}
/* Picks an answer token by token, the likeliest with which one can go on; true
 * if it is the first. *chance: of a guess at each step. logits: of the answer's
 * first token on. */
static bool cloze_choose(const Tokenizer *tok, const CorpusItem *q,
                         const double *logits, size_t V, double *chance) {
    uint32_t id[4][CORPUS_WORD];
    size_t n[4];
    bool on[4] = {true, true, true, true}, right = true;
    for (int k = 0; k < 4; k++)
        n[k] = tok_encode(tok, (const uint8_t *)q->option[k], strlen(q->option[k]),
                          id[k]);
    *chance = 1;
    for (size_t i = 0; i < n[0]; i++) {
        size_t ways = 0;
        for (int k = 0; k < 4; k++) {
            bool first = on[k];
            for (int j = 0; j < k; j++) first &= !on[j] || id[j][i] != id[k][i];
            ways += first;
            if (on[k] && id[k][i] != id[0][i])
                right &= logits[i * V + id[0][i]] > logits[i * V + id[k][i]];
        }
        for (int k = 1; k < 4; k++) on[k] &= i + 1 < n[k] && id[k][i] == id[0][i];
        *chance /= (double)ways;
    }
    return right;
}
static void cloze_check_stories(Tokenizer *tok, GptPair *p, size_t B) {
    const size_t most = QUICK ? 24 : 160;
    Cloze z = cloze_stories(tok, 7, most, p->s->c.ctx);
    Cloze again = cloze_stories(tok, 7, most, p->s->c.ctx);
    size_t kinds[CORPUS_KINDS] = {0};
    size_t lost = 0;
    size_t wrong = 0;
    size_t deep = 0;
    uint64_t story = 0;
    cloze_score(&z, p->m, tok, p->pool, B, 64, NULL);
    for (size_t k = 0; k < z.items; k++) {
        const ClozeItem *item = &z.item[k];
        CorpusItem q;
        double chance;
        kinds[item->kind]++;
        if (!cloze_find(tok, &z, item, &story, &q) || q.kind != item->kind) {
            lost++;
            continue;
        }
        const double *logits = cloze_logits(p, &z, item->row) +
                               (item->at - 1) * p->s->c.V;
        lost += item->at <= z.T / 2 && (uint32_t)z.row[item->row * z.T] != tok->eot;
        wrong += cloze_choose(tok, &q, logits, p->s->c.V, &chance) != item->right;
        wrong += fabs(chance - item->chance) > 1e-12;
        deep += item->rival[0].at > item->at || item->rival[1].at > item->at;
    }
    CHECK(z.items == most && z.T <= p->s->c.ctx, "%zu questions in windows of %zu",
          z.items, z.T);
    for (int k = 0; k < CORPUS_KINDS; k++)
        CHECK(kinds[k] == most / 4, "%zu of kind %d", kinds[k], k);
    CHECK(lost == 0, "%zu of %zu questions are in no story", lost, z.items);
    CHECK(wrong == 0, "%zu of %zu questions are decided otherwise", wrong, z.items);
    CHECK(deep > most / 20, "only %zu answers part after their first token", deep);
    CHECK(z.T == again.T && !memcmp(z.row, again.row, z.rows * z.T * 4),
          "other questions the second time");
    cloze_free(&z);
    cloze_free(&again);
}

/* Whether the n letters at `at`, a whole word, stand as one before it. */
static bool cloze_before(const char *text, const char *at, size_t n) {
    for (const char *p = text; p < at; p++)
        if (!memcmp(p, at, n) && !isalpha((uint8_t)p[n]) &&
            (p == text || !isalpha((uint8_t)p[-1])))
            return true;
    return false;
}
/* Whether an item is a last word, and its chance right: text ends with the word
 * and what follows it. */
static bool cloze_is_word(const ClozeItem *item, const char *text, size_t n) {
    const char *end = strrchr(text, '|');
    const char *document = end ? end : text;
    const char *word = text + n;
    size_t letters = 0, words = 0;
    while (isalpha((uint8_t)word[1 + letters])) letters++;
    for (const char *p = document; p < word; p++) {
        size_t len = 0;
        while (isalpha((uint8_t)p[len])) len++;
        if (len && p > document && isalpha((uint8_t)p[-1])) continue;
        words += len >= 4 && !cloze_before(document, p, len);
    }
    return *word == ' ' && letters >= 4 && strchr(".,;:!?", word[1 + letters]) &&
           cloze_before(document, word + 1, letters) &&
           fabs(item->chance * (double)words - 1) < 1e-9;
}
static void cloze_check_words(Tokenizer *tok, GptPair *p, const Tokens *t, size_t B) {
    static char text[8192];
    const size_t V = p->s->c.V;
    Cloze z = cloze_words(tok, t, 3, 200, p->s->c.ctx);
    size_t bad = 0, wrong = 0, right = 0, starts = 0;
    cloze_score(&z, p->m, tok, p->pool, B, 64, NULL);
    for (size_t k = 0; k < z.items; k++) {
        const ClozeItem *item = &z.item[k];
        const int32_t *id = z.row + item->row * z.T + item->at;
        const size_t n = cloze_decode(tok, id - item->at, item->at, text);
        cloze_decode(tok, id - item->at, item->at + item->n + 1, text);
        bad += !cloze_is_word(item, text, n) || item->at < z.T / 2;
        starts += strchr(text, '|') != NULL;
        const double *logits = cloze_logits(p, &z, item->row) + (item->at - 1) * V;
        bool best = true;
        for (size_t i = 0; i < item->n; i++)
            for (size_t v = 0; v < V; v++)
                best &= logits[i * V + v] <= logits[i * V + (size_t)id[i]];
        wrong += best != item->right;
        right += best;
    }
    CHECK(z.items == 200 && starts > 4,
          "%zu last words, %zu near a document's start", z.items, starts);
    CHECK(bad == 0 && wrong == 0, "%zu are none, %zu decided otherwise; %zu right",
          bad, wrong, right);
    CHECK(right * 20 > z.items && right < z.items, "%zu of %zu last words right",
          right, z.items);
    cloze_free(&z);
}

static void cloze_check_continuations(Tokenizer *tok, GptPair *p, const Tokens *t,
                                      size_t B) {
    static char text[4096];
    const size_t V = p->s->c.V;
    uint32_t *of = mem_new(t->n, 4);
    int32_t *all = mem_new(t->n, 4);
    tokens_get(t, 0, t->n, all);
    for (size_t k = 0, part = 0; k + 1 < t->n; k++) {
        of[k] = (uint32_t)part;
        part += (uint32_t)all[k + 1] == tok->eot;
    }
    Cloze z = cloze_continuations(tok, t, of, 3, QUICK ? 24 : 160, p->s->c.ctx);
    size_t bad = 0, wrong = 0, right = 0;
    cloze_score(&z, p->m, tok, p->pool, B, 64, NULL);
    for (size_t k = 0; k < z.items; k++) {
        const ClozeItem *item = &z.item[k];
        double score[4];
        uint32_t part[4];
        for (size_t way = 0; way < 4; way++) {
            const int32_t *id = z.row + (item->row + way) * z.T;
            const int32_t *tail = id + item->at;
            const double *logits = cloze_logits(p, &z, item->row + way);
            size_t at = 0;
            while (at + 15 < t->n && memcmp(all + at, tail, 15 * 4)) at++;
            part[way] = of[at - 1];
            bad += at + 15 >= t->n || memcmp(id, z.row + item->row * z.T, item->at * 4);
            score[way] = 0;
            for (size_t i = item->at; i < z.T; i++) {
                const double *row = logits + (i - 1) * V;
                double sum = 0;
                for (size_t v = 0; v < V; v++) sum += exp(row[v]);
                score[way] += row[id[i]] - log(sum);
            }
            score[way] /= (double)cloze_decode(tok, tail, 15, text);
            bad += text[0] != ' ' || strchr(text, '|') || (way && part[way] == part[0]);
        }
        const bool best = score[0] > score[1] && score[0] > score[2] &&
                          score[0] > score[3];
        wrong += best != item->right;
        right += best;
    }
    CHECK(z.items == (QUICK ? 24 : 160) && z.T % 16 == 0,
          "%zu continuations in rows of %zu", z.items, z.T);
    CHECK(bad == 0 && wrong == 0, "%zu are none, %zu decided otherwise; %zu right",
          bad, wrong, right);
    CHECK(right * 10 > z.items && right < z.items, "%zu of %zu continuations right",
          right, z.items);
    cloze_free(&z);
    free(of);
    free(all);
}

static void test_cloze(void) {
    Tokens t = {0};
    Tokenizer *tok = cloze_text(80, &t);
    Tokenizer *stories = cloze_vocabulary(350);
    GptPair p = pair_new((GptConfig){1, 2, 24, tok->n + 1, 80}, 1, 80, 0.05, 2);
    cloze_train(&p, &t, QUICK ? 60 : 160);
    cloze_check_words(tok, &p, &t, 5);
    cloze_check_continuations(tok, &p, &t, 3);
    pair_free(&p);
    for (size_t ctx = 70; ctx <= 130; ctx += 60) {
        p = pair_new((GptConfig){2, 2, 12, stories->n + 1, ctx}, 1, ctx, 0.6, 2);
        cloze_check_stories(stories, &p, 7);
        pair_free(&p);
    }
    uint32_t *of = mem_new(t.n, 4);
    for (size_t T = 1; T < 40; T += T < 4 ? 1 : 9) {        /* too short for most or all items */
        Cloze z[3] = {cloze_stories(stories, 7, 9, T), cloze_words(tok, &t, 3, 9, T),
                      cloze_continuations(tok, &t, of, 3, 9, T)};
        for (int k = 0; k < 3; k++) {
            for (size_t i = 0; i < z[k].items; i++)
                CHECK(z[k].item[i].at > 0 && z[k].item[i].at + z[k].item[i].n <= T,
                      "place %zu of %zu", z[k].item[i].at, T);
            cloze_free(&z[k]);
        }
    }
    tokens_free(&t);
    tok_free(tok);
    tok_free(stories);
    free(of);
}
#endif
