/* test_tokenizer.h: the scanner against a backtracking matcher of the pattern,
 * encoding against the quadratic definition, training against a trainer that
 * recounts everything, merges and ids against what Hugging Face tokenizers
 * gave; every file format against every other; and files that are wrong.
 *
 * Ids of OpenAI's own vocabulary are checked where its vocab.bpe lies in
 * $GPT2_DIR or ../shared/data/gpt2. */
#ifndef TEST_TOKENIZER_H
#define TEST_TOKENIZER_H
#include "check.h"
#include "../data/text/vocabulary.h"

/* ---- the definitions, written another way -------------------------------- */

static uint32_t tokt_random(size_t below) {
    static uint64_t index;
    return (uint32_t)(rng_u64(rng_key(1, "test_tokenizer"), index++) % below);
}

static bool tokt_in(const uint16_t *runs, size_t n, uint32_t c) {
    uint32_t at = 0;
    for (size_t k = 0; k < n; k += 2) {
        if (c >= at + runs[k] && c < at + runs[k] + runs[k + 1]) return true;
        at += runs[k] + runs[k + 1];
    }
    return false;
}
static char tokt_class(uint32_t c) {
    static char known[0x110000];  /* going through the tables is slow */
    if (c > 0x10ffff) return 'O';
    if (!known[c])
        known[c] = tokt_in(unicode_letters, sizeof unicode_letters / 2, c) ? 'L'
                   : tokt_in(unicode_numbers, sizeof unicode_numbers / 2, c)
                       ? 'N'
                   : tokt_in(unicode_space, sizeof unicode_space / 2, c) ? 'S'
                                                                         : 'O';
    return known[c];
}

/* The code point at p: the one whose encoding, made by utf8_put, is what stands
 * there. */
static size_t tokt_decode(const uint8_t *p, size_t n, uint32_t *code) {
    static const uint8_t first[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    for (size_t len = 1; len <= 4 && len <= n; len++) {
        uint8_t again[4];
        uint32_t c = p[0] & first[len];
        for (size_t k = 1; k < len; k++) c = c << 6 | (p[k] & 63);
        if (c > 0x10ffff || (c >> 11) == 27 || utf8_put(again, c) != len ||
            memcmp(again, p, len))
            continue;
        *code = c;
        return len;
    }
    *code = UINT32_MAX;
    return 1;
}

/* The pattern, alternative by alternative as it is written, over an array of
 * code points. */
static size_t tokt_match(const uint32_t *c, const char *class, size_t n) {
    static const char *const words[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t w = 0; w < 7 && c[0] == '\''; w++) {
        size_t k = 0;
        while (words[w][k] && k + 1 < n && c[k + 1] == (uint32_t)words[w][k])
            k++;
        if (!words[w][k]) return 1 + k;
    }
    for (const char *want = "LNO"; *want; want++)
        /* The optional space: taken, then not. */
        for (size_t skip = c[0] == ' ' ? 2 : 1; skip--;) {
            size_t k = skip;
            while (k < n && class[k] == *want) k++;
            if (k > skip) return k;
        }
    size_t run = 0;
    while (run < n && class[run] == 'S') run++;
    for (size_t k = run; k > 0; k--)  /* \s+(?!\S), giving back one at a time */
        if (k == n || class[k] == 'S') return k;
    return run;
}

static void tokt_check_scanner(const Tokenizer *t, const uint8_t *text,
                               size_t n) {
    uint32_t code[64];
    char class[64];
    size_t start[65];
    size_t count = 0;
    for (size_t at = 0; at < n; count++) {
        start[count] = at;
        at += tokt_decode(text + at, n - at, &code[count]);
        class[count] = tokt_class(code[count]);
    }
    start[count] = n;
    for (size_t k = 0; k < count;) {
        size_t want = start[k + tokt_match(code + k, class + k, count - k)] -
                      start[k];
        size_t got = tok_piece(t->classes, text + start[k], n - start[k]);
        if (got != want) {
            CHECK(false, "piece of %zu bytes, not %zu, at %zu of '%.*s'", got,
                  want, start[k], (int)n, text);
            return;
        }
        while (start[k] < n && want) {
            want -= start[k + 1] - start[k];
            k++;
        }
    }
    CHECK(true, " ");
}

static void tokt_scanner(void) {
    static const char *const critical[] = {
        " ", "  ", "\n", "\t", "\r", "'", "s", "t", "r", "e", "l", "l", "v",
        "m", "d", "S", "a", "0", "9", "!", ".", "'ll", "\xc2\xa0", "\xc2\x85",
        "\xe2\x80\x8b", "\xe2\x80\xa8", "\xe3\x80\x80", "\xcc\x81", "\x1c",
        "\xef\xbb\xbf", "\xe2\x80\x99", "\xc3\xa9", "\xc2\xb2", "\xc2\xbd",
        "\xe6\x97\xa5", "\xf0\x9f\x98\x80", "\xd9\xa3", "\xf0\xb1\x8d\x8a",
        "\xe1\xa0\x8e", "\x80", "\xff", "\xc3", "\xe2\x80", "\xf0\x9f",
        "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80",
    };
    Tokenizer *t = tok_new();
    const size_t rounds = QUICK ? 40000 : 400000;
    const size_t kinds = sizeof critical / sizeof *critical;
    for (size_t r = 0; r < rounds; r++) {
        char text[64];
        size_t n = 0;
        for (uint32_t k = tokt_random(14); k; k--) {
            const char *s = critical[tokt_random(kinds)];
            memcpy(text + n, s, strlen(s));
            n += strlen(s);
        }
        if (tokt_random(8) == 0 && n) text[tokt_random(n)] = 0;
        tokt_check_scanner(t, (uint8_t *)text, n);
    }
    /* Code points after a letter; pairs of bytes. */
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t text[5] = "a";
        if ((c >> 11) == 27) continue;
        const size_t n = 1 + utf8_put(text + 1, c);
        if (c < UNICODE_END + 100 ? !(QUICK && c % 7) : c % 997 == 0)
            tokt_check_scanner(t, text, n);
        if (c < 65536)
            tokt_check_scanner(t, (uint8_t[]){(uint8_t)(c >> 8), (uint8_t)c},
                               2);
    }
    tok_free(t);
}

/* The definition of encoding a piece: the first pair of lowest rank, again;
 * rank[left * n + right] */
static size_t tokt_bpe(const Tokenizer *t, const uint32_t *rank,
                       const uint8_t *p, size_t n, uint32_t *ids) {
    for (size_t k = 0; k < n; k++) ids[k] = t->base[p[k]];
    for (;;) {
        size_t best = n;
        uint32_t lowest = TOK_NONE;
        for (size_t k = 0; k + 1 < n; k++) {
            const uint32_t r = rank[ids[k] * t->n + ids[k + 1]];
            if (r < lowest) {
                lowest = r;
                best = k;
            }
        }
        if (best == n) return n;
        ids[best] = 256 + lowest;
        for (size_t k = best + 1; k + 1 < n; k++) ids[k] = ids[k + 1];
        n--;
    }
}

/* The definition of training: the tokens of all pieces, TOK_NONE between
 * pieces, everything recounted. */
static bool tokt_next(const uint32_t *token, size_t n, size_t v, uint32_t *left,
                      uint32_t *right) {
    uint32_t *count = mem_new(v * v, sizeof *count);
    uint32_t most = 1;
    for (size_t k = 0; k + 1 < n; k++)
        if (token[k] != TOK_NONE && token[k + 1] != TOK_NONE)
            count[token[k] * v + token[k + 1]]++;
    for (size_t k = 0; k < v * v; k++)
        if (count[k] > most) {
            most = count[k];
            *left = (uint32_t)(k / v);
            *right = (uint32_t)(k % v);
        }
    free(count);
    return most > 1;
}
static void tokt_check_training(const uint8_t *text, size_t n,
                                size_t n_tokens) {
    Tokenizer *t = tok_train(text, n, n_tokens);
    uint32_t *token = mem_new(2 * n + 1, sizeof *token);
    uint32_t left = 0;
    uint32_t right = 0;
    size_t used = 0;
    size_t made = 256;
    for (size_t at = 0; at < n;) {
        const size_t len = tok_piece(t->classes, text + at, n - at);
        for (size_t k = 0; k < len; k++) token[used++] = t->base[text[at + k]];
        token[used++] = TOK_NONE;
        at += len;
    }
    while (made < n_tokens && tokt_next(token, used, made, &left, &right)) {
        size_t out = 0;
        for (size_t k = 0; k < used; k++) {
            const bool here = token[k] == left && k + 1 < used &&
                              token[k + 1] == right;
            token[out++] = here ? (uint32_t)made : token[k];
            k += here;
        }
        used = out;
        if (made >= t->n ||
            tok_pair_at(&t->merges, made - 256) != tok_pair(left, right))
            break;
        made++;
    }
    CHECK(made == t->n,
          "training on %zu bytes to %zu tokens differs from token %zu on", n,
          t->n, made);
    tok_free(t);
    free(token);
}

/* ---- texts, and what holds for a vocabulary ------------------------------ */

/* Words of few letters, each word drawn as the larger of two random ones: some
 * are frequent, many rare. */
static size_t tokt_text(uint8_t *out, size_t n, size_t letters, bool spaces) {
    static const char *const marks[] = {" ",   " ",        " ",
                                        " ",   ", ",       ".\n",
                                        "'s ", "\n\n",     " 12 ",
                                        "  ",  "\xc3\xa9", "\xe6\x97\xa5"};
    size_t used = 0;
    while (used + 24 < n) {
        const uint64_t word = rng_u64(2, tokt_random(200) * tokt_random(200) /
                                             200);
        for (size_t k = 0; k < 2 + word % 7; k++)
            out[used++] = (uint8_t)('a' + (word >> (8 + 5 * k)) % letters);
        const char *mark = marks[tokt_random(sizeof marks / sizeof *marks)];
        if (spaces) {
            memcpy(out + used, mark, strlen(mark));
            used += strlen(mark);
        }
    }
    return used;
}

static void tokt_training(void) {
    enum { N = 6000 };
    uint8_t *text = mem_new(N, 1);
    for (size_t r = 0; r < (QUICK ? 4u : 12u); r++) {
        const size_t n = tokt_text(text, N >> r % 4, 2 + 3 * (r % 4),
                                   r % 3 != 2);
        tokt_check_training(text, n, 256 + 20 * (1 + r % 4));
        tokt_check_training(text, tokt_text(text, 200, 2 + r % 3, r % 2), 400);
        for (size_t k = 0; k < 300; k++)
            text[k] = (uint8_t)(tokt_random(3) ? 'a' : tokt_random(256));
        tokt_check_training(text, 300, 300);
    }
    tokt_check_training(text, 0, 256);
    tokt_check_training(text, 0, 300);
    tokt_check_training(text, 1, 300);
    free(text);
}

/* Merges and ids that Hugging Face tokenizers 0.23 gave for this text
 * (ByteLevel, min_frequency 2). */
static void tokt_golden(void) {
    static const char text[] =
        "It's low, lower, the lowest. We'll widen the wider river; it's 1999 "
        "or 2999. Aaaaaaaa! na\xc3\xafve na\xc3\xafvet\xc3\xa9  aaa "
        "aaaa\n\n\tIt'll do";
    static const char merges[] =
        "a a|9 9|e r|l o|\xc4\xa0 lo|aa aa|\xc4\xa0lo w|' l|' s|I t|a \xc3\x83|"
        "h e|i d|n a\xc3\x83|t he|v e|w id|\xc2\xaf ve|\xc4\xa0 na\xc3\x83|"
        "\xc4\xa0 the|\xc4\xa0 wid|aa a|99 9|'l l|\xc4\xa0na\xc3\x83 "
        "\xc2\xafve|";
    static const uint32_t ids[] = {270, 280, 220, 81,  72,  85, 258,
                                   264, 220, 278, 220, 261, 64, 198};
    static const char sentence[] = "the na\xc3\xafve river's 999 aaaaa\n";
    Tokenizer *t = tok_train((const uint8_t *)text, sizeof text - 1, 999);
    uint8_t *file;
    uint32_t got[64];
    const size_t n = tok_save(t, &file);
    const size_t skip = (size_t)((uint8_t *)memchr(file, '\n', n) - file) + 1;
    for (size_t k = skip; k < n; k++) if (file[k] == '\n') file[k] = '|';
    CHECK(n - skip == sizeof merges - 1 &&
              !memcmp(file + skip, merges, n - skip),
          "%.*s", (int)n, file);
    const size_t count = tok_encode(t, (const uint8_t *)sentence,
                                    sizeof sentence - 1, got);
    CHECK(count == 14 && !memcmp(got, ids, sizeof ids), "%zu ids", count);
    CHECK(t->n == 281 && t->eot == 281, "%zu tokens", t->n);
    tok_free(t);
    free(file);
}

static void tokt_check_round(const Tokenizer *t, const uint8_t *text,
                             size_t n) {
    uint32_t *ids = mem_new(n, sizeof *ids);
    const size_t count = tok_encode(t, text, n, ids);
    size_t at = 0;
    for (size_t k = 0; k < count; k++) {
        size_t len;
        const uint8_t *p = tok_bytes(t, ids[k], &len);
        if (ids[k] == t->eot || !len || len > n - at ||
            memcmp(p, text + at, len))
            break;
        at += len;
    }
    CHECK(at == n, "%zu of %zu bytes come back", at, n);
    free(ids);
}

/* Every piece of the text by itself against the definition, and the whole text
 * against its pieces. */
static void tokt_check_encoding(const Tokenizer *t, const uint32_t *rank,
                                const uint8_t *text, size_t n) {
    uint32_t *ids = mem_new(n, sizeof *ids);
    uint32_t *want = mem_new(n, sizeof *want);
    size_t count = 0;
    for (size_t at = 0, len; at < n; at += len) {
        len = tok_piece(t->classes, text + at, n - at);
        count += tokt_bpe(t, rank, text + at, len, want + count);
    }
    const size_t got = tok_encode(t, text, n, ids);
    CHECK(got == count && !memcmp(ids, want, got * sizeof *ids),
          "%zu bytes: %zu ids", n, got);
    free(ids);
    free(want);
}
static void tokt_encoding(void) {
    enum { N = 40000 };
    uint8_t *text = mem_new(N, 1);
    Tokenizer *t = tok_train(text, tokt_text(text, N, 6, true), 600);
    uint32_t *rank = mem_new(t->n * t->n, sizeof *rank);
    memset(rank, 0xff, t->n * t->n * sizeof *rank);
    for (size_t k = 0; k < t->merges.n; k++) {
        const uint64_t pair = tok_pair_at(&t->merges, k);
        rank[(pair >> 32) * t->n + (uint32_t)pair] = (uint32_t)k;
    }
    CHECK(t->n == 600, "%zu tokens", t->n);
    for (size_t r = 0; r < (QUICK ? 100u : 1000u); r++) {
        tokt_check_encoding(t, rank, text,
                            tokt_text(text, 30 + tokt_random(600), 6, r % 2));
        for (size_t k = 0; k < 300; k++)
            text[k] = (uint8_t)(r % 3 ? 'a' + tokt_random(1 + r % 6)
                                      : tokt_random(256));
        tokt_check_encoding(t, rank, text, 1 + tokt_random(300));
    }
    /* One piece, through the heap. */
    tokt_check_encoding(t, rank, text, tokt_text(text, 6000, 6, false));
    for (uint32_t c = 0; c < 65536; c++)
        if (c < 256 || !(QUICK && c % 16))
            tokt_check_round(t, (uint8_t[]){(uint8_t)(c >> 8), (uint8_t)c}, 2);
    for (size_t k = 0; k < N; k++) text[k] = (uint8_t)tokt_random(256);
    tokt_check_round(t, text, N);
    tokt_check_round(t, text, 0);
    tokt_check_round(t, (const uint8_t *)TOK_EOT, strlen(TOK_EOT));
    memset(text, 'a', N);
    tokt_check_round(t, text, N);
    tok_free(t);
    free(text);
    free(rank);
}

/* ---- files --------------------------------------------------------------- */

typedef enum {
    AS_OWN,
    AS_MERGES,
    AS_JSON,
    AS_JSON_PAIRS,
    AS_TIKTOKEN,
    AS_LLMC,
    AS_ENCODER
} TokFile;

/* As inside a JSON string. */
static void tokt_letters(FILE *f, const Tokenizer *t, size_t token) {
    const size_t end = t->tokens.start[token + 1];
    for (size_t k = t->tokens.start[token]; k < end; k++) {
        uint8_t letter[4];
        const size_t n = utf8_put(letter,
                                  tok_letter(t->base[t->tokens.bytes[k]]));
        if (*letter == '"' || *letter == '\\') fputc('\\', f);
        fwrite(letter, 1, n, f);
    }
}
static void tokt_base64(FILE *f, const uint8_t *p, size_t n) {
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t k = 0; k < n; k += 3) {
        const uint32_t second = k + 1 < n ? p[k + 1] : 0;
        const uint32_t third = k + 2 < n ? p[k + 2] : 0;
        const uint32_t w = (uint32_t)p[k] << 16 | second << 8 | third;
        fprintf(f, "%c%c%c%c", digits[w >> 18], digits[w >> 12 & 63],
                k + 1 < n ? digits[w >> 6 & 63] : '=',
                k + 2 < n ? digits[w & 63] : '=');
    }
}
static void tokt_write_vocab(FILE *f, const Tokenizer *t) {
    fprintf(f, "{\"%s\": %u", TOK_EOT, t->eot);
    for (size_t k = 0; k < t->n; k++) {
        fputs(", \"", f);
        tokt_letters(f, t, k);
        fprintf(f, "\": %u", t->id_of[k]);
    }
    fputc('}', f);
}
static void tokt_write_json(FILE *f, const Tokenizer *t, bool pairs) {
    fputs("{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, "
          "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": "
          "false, \"use_regex\": true},\n\"model\": {\"vocab\": ",
          f);
    tokt_write_vocab(f, t);
    fputs(", \"merges\": [", f);
    for (size_t k = 0; k < t->merges.n; k++) {
        const uint64_t pair = tok_pair_at(&t->merges, k);
        fputs(k ? ", " : "", f);
        fputs(pairs ? "[\"" : "\"", f);
        tokt_letters(f, t, pair >> 32);
        fputs(pairs ? "\", \"" : " ", f);
        tokt_letters(f, t, (uint32_t)pair);
        fputs(pairs ? "\"]" : "\"", f);
    }
    fputs("]}}", f);
}
static void tokt_write_tokens(FILE *f, const Tokenizer *t, TokFile kind) {
    uint32_t header[256] = {20240328, 2, (uint32_t)t->n + 1, t->eot};
    if (kind == AS_LLMC) fwrite(header, 4, 256, f);
    for (uint32_t id = 0; id <= t->n; id++) {
        size_t len;
        const uint8_t *p = tok_bytes(t, id, &len);
        if (kind == AS_LLMC) {
            fputc((int)len, f);
            fwrite(p, 1, len, f);
        }
        else if (id != t->eot) {
            tokt_base64(f, p, len);
            fprintf(f, " %u\n", id);
        }
    }
}

/* The vocabulary in a format, in memory. */
static Bytes tokt_write(const Tokenizer *t, TokFile kind) {
    char *p = NULL;
    size_t n = 0;
    uint8_t *own;
    if (kind <= AS_MERGES) {
        n = tok_save(t, &own);
        const size_t skip = kind == AS_OWN
                                ? 0
                                : (size_t)((uint8_t *)memchr(own, '\n', n) -
                                           own) +
                                      1;
        return (Bytes){memmove(own, own + skip, n - skip), n - skip, "x",
                       false};
    }
    FILE *f = open_memstream(&p, &n);
    if (kind == AS_ENCODER) tokt_write_vocab(f, t);
    else if (kind == AS_JSON || kind == AS_JSON_PAIRS)
        tokt_write_json(f, t, kind == AS_JSON_PAIRS);
    else tokt_write_tokens(f, t, kind);
    fclose(f);
    return (Bytes){(uint8_t *)p, n, "x", false};
}

static bool tokt_same(const Tokenizer *a, const Tokenizer *b) {
    if (a->n != b->n || a->eot != b->eot || a->merges.n != b->merges.n ||
        a->V != b->V)
        return false;
    for (size_t k = 0; k < a->merges.n; k++)
        if (tok_pair_at(&a->merges, k) != tok_pair_at(&b->merges, k))
            return false;
    return !memcmp(a->id_of, b->id_of, tok_count(a) * 4) &&
           !memcmp(a->token_of, b->token_of, a->V * 4);
}
static bool tokt_parse_dies(Tokenizer **t, const uint8_t *p, size_t n) {
    return DIES(*t = tok_parse(p, n, "x"));
}

static void tokt_check_file(const Tokenizer *t, TokFile kind) {
    const Bytes file = tokt_write(t, kind);
    Tokenizer *back = NULL;
    const bool died = tokt_parse_dies(&back, file.p, file.n);
    CHECK(!died && tokt_same(t, back), "format %d: %s", (int)kind, check_line);
    if (!died) tok_free(back);
    free((void *)(uintptr_t)file.p);
}

/* The same tokens under ids that a file gave: <|endoftext|> first, bytes by
 * value, merges after them. */
static Tokenizer *tokt_moved(const Tokenizer *t) {
    Bytes own = tokt_write(t, AS_OWN);
    char *p = NULL;
    size_t n;
    FILE *f = open_memstream(&p, &n);
    fwrite(own.p, 1, own.n, f);
    for (size_t k = 0; k < t->n; k++)
        fprintf(f, "%zu\n", 1 + (k < 256 ? t->tokens.bytes[k] : k));
    fprintf(f, "0\n");
    fclose(f);
    Tokenizer *moved = tok_parse((uint8_t *)p, n, "x");
    free(p);
    free((void *)(uintptr_t)own.p);
    return moved;
}

static void tokt_put_file(const char *folder, const char *name, Bytes file) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    Out out = out_open(path);
    out_bytes(&out, file.p, file.n);
    CHECK(out_commit(&out), "%s: %s", path, strerror(errno));
    free((void *)(uintptr_t)file.p);
}
static bool tokt_load_dies(Tokenizer **t, const char *path) {
    return DIES(*t = tok_load(path, false));
}
/* Ids from a file beside the merges. */
static void tokt_folder(const Tokenizer *t, const Tokenizer *moved) {
    char folder[] = "/tmp/test_tokenizer.XXXXXX";
    char vocab[64], json[64];
    CHECK(mkdtemp(folder), "%s", strerror(errno));
    snprintf(vocab, sizeof vocab, "%s/anything", folder);
    snprintf(json, sizeof json, "%s/vocab.json", folder);
    tokt_put_file(folder, "anything", tokt_write(t, AS_MERGES));
    Tokenizer *plain = tok_load(vocab, false);
    Tokenizer *given = NULL;
    CHECK(tokt_same(plain, t), "without a vocab.json");
    tokt_put_file(folder, "vocab.json", tokt_write(moved, AS_ENCODER));
    CHECK(!tokt_load_dies(&given, vocab) && tokt_same(given, moved),
          "with a vocab.json: %s", check_line);
    tok_free(given);
    tokt_put_file(folder, "vocab.json",
                  (Bytes){(uint8_t *)strdup("{\"a\": 1, \"qzq\": 2}"), 18, "",
                          false});
    CHECK(tokt_load_dies(&given, vocab) &&
              strstr(check_line, "vocab.json: token 0: expected an id"),
          "%s", check_line);
    tokt_put_file(folder, "vocab.json",
                  (Bytes){(uint8_t *)strdup(""), 0, "", false});
    CHECK(tokt_load_dies(&given, vocab) && strstr(check_line, "vocab.json"),
          "%s", check_line);
    tokt_put_file(folder, "anything", tokt_write(t, AS_OWN));
    CHECK(!tokt_load_dies(&given, vocab) && tokt_same(given, t),
          "our own file needs none: %s", check_line);
    tok_free(given);
    unlink(json);
    unlink(vocab);
    rmdir(folder);
    CHECK(tokt_load_dies(&given, vocab) && strstr(check_line, "cannot open"),
          "%s", check_line);
    tok_free(plain);
}

/* What lies beside a tokenizer.json or a merges.txt of Hugging Face's and
 * overrules it; beside other files it does not. */
static void tokt_config(void) {
    static const struct {
        const char *config;
        const char *expected;           /* NULL: taken */
    } config[] = {
        {"{\"add_prefix_space\": false, \"model_max_length\": 1024}", NULL},
        {"{\"add_prefix_space\": true}", "\"add_prefix_space\": expected false|null"},
        {"{\"added_tokens_decoder\": {\"257\": {\"content\": \"x\", \"special\": true}}}",
         NULL},
        {"{\"added_tokens_decoder\": {\"258\": {\"content\": \"" TOK_EOT
         "\", \"special\": false}}}",
         NULL},
        {"{\"added_tokens_decoder\": {\"3\": {\"content\": \"x\", \"special\": false}}}",
         "expected special ones, found id 3"},
        {"{", "JSON"},
    };
    static const char *const names[3] = {"tokenizer.json", "merges.txt", "mine.txt"};
    static const char *const from[3] = {"test/cases/pad_eot.json", "test/cases/my-merges.txt",
                                        "test/cases/my-merges.txt"};
    char folder[] = "/tmp/test_tokenizer.XXXXXX";
    char path[64];
    CHECK(mkdtemp(folder), "%s", strerror(errno));
    for (int n = 0; n < 3; n++) {
        char *file = file_text(from[n]);
        tokt_put_file(folder, names[n], (Bytes){(uint8_t *)file, strlen(file), "", false});
        snprintf(path, sizeof path, "%s/%s", folder, names[n]);
        for (size_t k = 0; k < sizeof config / sizeof *config; k++) {
            Tokenizer *t = NULL;
            char *text = strdup(config[k].config);
            tokt_put_file(folder, "tokenizer_config.json",
                          (Bytes){(uint8_t *)text, strlen(text), "", false});
            const bool died = tokt_load_dies(&t, path);
            CHECK(died == (n < 2 && config[k].expected), "%s, %s: %s", names[n],
                  config[k].config, died ? check_line : "taken");
            CHECK(!died || !config[k].expected ||
                      (strstr(check_line, "tokenizer_config.json") &&
                       strstr(check_line, config[k].expected)),
                  "%s", check_line);
            if (!died) tok_free(t);
        }
        snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
        unlink(path);
    }
    tokt_put_file(folder, "added_tokens.json", (Bytes){(uint8_t *)strdup("{}"), 2, "", false});
    for (int n = 0; n < 3; n++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[n]);
        NOTED("");
        tok_free(tok_load(path, true));
        CHECK(NOTED("added_tokens.json: not read") == (n == 1), "%s", names[n]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/added_tokens.json", folder);
    unlink(path);
    rmdir(folder);
}

static void tokt_formats(void) {
    enum { N = 20000 };
    uint8_t *text = mem_new(N, 1);
    const size_t n = tokt_text(text, N, 5, true);
    for (size_t k = 0; k < 200; k++)
        text[n - 1 - k] = (uint8_t)(k % 5 ? "\"\\#{ "[k % 5]
                                          : (int)tokt_random(256));
    Tokenizer *t = tok_train(text, n, 400);
    Tokenizer *moved = tokt_moved(t);
    Tokenizer *bytes = tok_train(text, 0, 256);
    for (TokFile kind = AS_OWN; kind <= AS_LLMC; kind++) {
        tokt_check_file(t, kind);
        /* Without merges that is an empty file. */
        if (kind != AS_MERGES) tokt_check_file(bytes, kind);
    }
    CHECK(moved->eot == 0 && moved->id_of[t->base['b']] == 'b' + 1,
          "ids that a file gives");
    /* The others cannot hold such ids. */
    for (TokFile kind = AS_OWN; kind <= AS_LLMC; kind++)
        if (kind != AS_MERGES && kind != AS_TIKTOKEN)
            tokt_check_file(moved, kind);
    uint32_t *a = mem_new(n, 4);
    uint32_t *b = mem_new(n, 4);
    const size_t m = tok_encode(t, text, n, a);
    CHECK(tok_encode(moved, text, n, b) == m, "other ids, other pieces");
    for (size_t k = 0; k < m; k++) a[k] = moved->id_of[a[k]];
    CHECK(!memcmp(a, b, m * 4), "ids that a file gives");
    tokt_check_round(moved, text, n);
    tokt_folder(t, moved);
    free(a);
    free(b);
    free(text);
    tok_free(t);
    tok_free(moved);
    tok_free(bytes);
}

static void tokt_check_bad(const char *file, size_t n, const char *expected) {
    /* Of exactly this size, for the address sanitizer. */
    uint8_t *p = mem_new(n, 1);
    Tokenizer *t = NULL;
    memcpy(p, file, n);
    const bool died = tokt_parse_dies(&t, p, n);
    CHECK(died && strstr(check_line, expected) && strstr(check_line, "x"),
          "'%.*s': wanted '%s', found '%s'", (int)(n < 60 ? n : 60), file,
          expected, died ? check_line : "no error");
    if (!died) tok_free(t);
    free(p);
}
static bool tokt_bytes_dies(const Tokenizer *t, uint32_t id) {
    size_t len;
    return DIES(tok_bytes(t, id, &len));
}
/* Files that are wrong, and what the error says. */
#define HEAD \
    "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\"," \
    "\"add_prefix_space\":false},\"model\":{"
static const Refused tokt_bad_file[] = {
    {"", "empty"},
    {"a", "line 1: expected two fields"},
    {"\n", "line 1"},
    {"#version: 0.2\na\n", "line 2"},
    {"a b\nab c d\n", "letter"},
    {"a b\n\na c\n", "line 2"},
    {"a \n", "earlier merges"},
    {" a\n", "earlier merges"},
    {"a b\nab cd\n",
     "line 2: expected bytes or results of earlier merges, found 'ab cd'"},
    {"ab a\n", "earlier merges"},
    {"a b\na b\n", "again"},
    {"a b\nb c\na bc\nab c\n", "line 4: expected a new token"},
    {"a \x01\n", "U+0001"},
    {"\xff\xfe\n", "two fields"},
    {"\xff \xfe\n", "letter"},
    {"a b\nc\td\n", "two fields"},
    {"\xc5\x84 a\n", "U+0144"},
    {"\xc2\xad a\n", "U+00AD"},
    {TOK_MAGIC "2 0\n", "version 1"},
    {TOK_MAGIC "1 2\na b\n", "2 merges"},
    {TOK_MAGIC "1\n", "two fields"},
    {TOK_MAGIC "1 99999999999\n", "a number"},
    {TOK_MAGIC "1 4294967294\na b\n", "merges, found the end"},
    {TOK_MAGIC "1 x\n", "a number"},
    {TOK_MAGIC "1 1\na b\nb c\n", "line 3: expected a number"},
    {TOK_MAGIC "1 1\na b\n5\n", "258 ids"},
    {"IQ== 7\nIg== 7\n", "line 2: expected each rank once, found 7"},
    {"IQ== 0\nIQ== 1\n", "once"},
    {"IQ== x\n", "a number"},
    {"IQ== 0\nIQ=\n", "two fields"},
    {"IQ== 0\nI!== 1\n", "base64"},
    {"IQ== 0\n 1\n", "one of 0"},
    {"IQ== 0\n", "an id"},
    {"IQ== 0\n==== 1\n", "base64"},
    {"IQ== 0\nISEhIQ== 1\n", "earlier ones, found one of 4"},
    {"{", "JSON"},
    {"{}", "expected \"model\""},
    {"{\"model\":{}}", "\"merges\""},
    {"{\"model\":{\"merges\":[]}}", "pre_token"},
    {"{\"model\":[]}", "JSON"},
    {"{\"normalizer\":{},\"pre_tokenizer\":{},\"model\":{\"merges\":[]}}",
     "null"},
    {HEAD "\"ignore_merges\":true,\"merges\":[]}}", "false"},
    {HEAD "\"merges\":[\"a b\",\"ab cd\"],\"vocab\":{}}}", "merge 2"},
    {HEAD "\"merges\":[]}}", "vocab"},
    {HEAD "\"merges\":[\"ab\"],\"vocab\":{}}}", "merge 1: expected two"},
    {HEAD "\"merges\":[[\"a\"]]}}", "JSON"},
    {HEAD "\"merges\":[[\"a\",\"b\",\"c\"]]}}", "JSON"},
    {HEAD "\"merges\":[3]}}", "JSON"},
    {HEAD "\"merges\":[],\"vocab\":{}}}", "token 0: expected an id, found none"},
    {HEAD "\"merges\":[],\"vocab\":{\"a\":1}}}",
     "token 0: expected an id, found none"},
    {HEAD "\"merges\":[],\"vocab\":{\"a\":1,\"a\":2}}}", "once"},
    {HEAD "\"merges\":[],\"vocab\":{\"ab\":1}}}", "'ab'"},
    {HEAD "\"merges\":[],\"vocab\":{\"a\":-1}}}", "JSON"},
    {HEAD "\"merges\":[],\"vocab\":{\"a\":1e9}}}", "JSON"},
    {HEAD "\"merges\":[],\"vocab\":{\"!\":99999999999999}}}", "token 0"},
    {"{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Split\"},\"model\":{\"merges\":[]}}",
     "Byte"},
};
#undef HEAD

static void tokt_bad(void) {
    Tokenizer *t = NULL;
    for (size_t k = 0; k < sizeof tokt_bad_file / sizeof *tokt_bad_file; k++) {
        const char *file = tokt_bad_file[k].given;
        tokt_check_bad(file, strlen(file), tokt_bad_file[k].expected);
    }
    tokt_check_bad("a b\nab \0\n", 9, "U+0000");
    tokt_check_bad("\0", 1, "line 1");
    /* Of lines as on Windows. */
    const uint8_t *ends = (const uint8_t *)"#version: 0.2\r\na b\r\nab c";
    CHECK(!tokt_parse_dies(&t, ends, 24) && t->n == 258, "%s", check_line);
    tok_free(t);
    Tokenizer *bytes = tok_train(NULL, 0, 256);
    CHECK(tokt_bytes_dies(bytes, 257) && strstr(check_line, "257"), "%s",
          check_line);
    CHECK(DIES(tok_train(NULL, 0, 255)) && strstr(check_line, "255"), "%s",
          check_line);
    CHECK(!tokt_bytes_dies(bytes, 256), "%s", check_line);
    tok_free(bytes);
}

/* ---- what a file asks for: honoured, refused or noted -------------------- */

static void tokt_check_text(const char *file, const char *expected) {
    Tokenizer *t = NULL;
    const bool died = tokt_parse_dies(&t, (const uint8_t *)file, strlen(file));
    CHECK(died && strstr(check_line, expected), "wanted '%s', found '%s'",
          expected, died ? check_line : "none");
    if (!died) tok_free(t);
}

/* Ids as Hugging Face tokenizers 0.23 gives them. */
static void tokt_special(void) {
    NOTED("");  /* of the tests before */
    char *pad = file_text("test/cases/pad_eot.json");
    char *word = file_text("test/cases/word.json");
    uint32_t ids[16];
    size_t len;
    uint8_t *own;
    Tokenizer *t = tok_parse((uint8_t *)pad, strlen(pad), "x");
    Tokenizer *again;
    CHECK(t->V == 259 && t->eot == 258 && !NOTED("x"),
          "V %zu, <|endoftext|> %u", t->V, t->eot);
    CHECK(tok_bytes(t, 257, &len) && len == 7 && !tok_is_text(t, 257),
          "%zu bytes", len);
    CHECK(tok_encode(t, (const uint8_t *)"<|pad|>", 7, ids) > 1,
          "no text makes a special token");
    tok_widen(t, 262);
    const size_t n = tok_save(t, &own);
    again = tok_parse(own, n, "x");
    CHECK(tokt_same(t, again) && again->V == 262, "it comes back: %.*s", (int)n,
          own);
    CHECK(tok_bytes(again, 257, &len) && len == 7, "<|pad|> has %zu bytes",
          len);
    CHECK(tok_bytes(again, 260, &len) && len == 0 &&
              tokt_bytes_dies(again, 262),
          "ids that no token has");
    tok_free(again);
    free(own);
    tok_free(t);

    tokt_check_text(word,
                    "added token 1: expected a special one, found 'ROMEO'");
    static const struct {
        const char *path;
        const char *value;
        const char *expected;           /* NULL: taken, with a note */
    } added[] = {
        {"added_tokens/1/id", "300", "expected id 258 for '<|endoftext|>', found 300"},
        {"added_tokens/0/content", "\"a\"", "expected one that no text makes, found 'a'"},
        {"added_tokens/0/content", "\"ab\"", "expected one that no text makes, found 'ab'"},
        {"added_tokens/0/special", "false", "expected a special one, found '<|pad|>'"},
        {"post_processor", "{\"type\": \"RobertaProcessing\"}", NULL},
        {"decoder", "{\"type\": \"BPEDecoder\"}", "\"decoder\": expected \"ByteLevel\""},
        {"added_tokens", "[]", NULL},
    };
    for (size_t k = 0; k < sizeof added / sizeof *added; k++) {
        char *changed = check_json(pad, added[k].path, added[k].value, NULL);
        if (added[k].expected) tokt_check_text(changed, added[k].expected);
        else {
            t = tok_parse((uint8_t *)changed, strlen(changed), "x");
            CHECK(NOTED(k == 4 ? "post_processor" : "taken for it is id 257"),
                  "case %zu", k);
            tok_free(t);
        }
        free(changed);
    }
    free(pad);
    free(word);
}

/* A special token that is spelled out in a text is found wherever it stands. */
static void tokt_spelled(void) {
    Tokenizer *t = tok_load("test/cases/pad_eot.json", true);
    static const char text[] = "<<|<|pa<|pad|<|pad|>";
    const uint8_t *p = (const uint8_t *)text;
    size_t which = 9;
    const uint8_t *found = tok_spelled(t, p, sizeof text - 1, &which);
    CHECK(found && found - p == 13 && which == 0, "token %zu", which);
    for (size_t n = 0; n < sizeof text - 1; n++)
        CHECK(!tok_spelled(t, p, n, &which), "of %zu bytes", n);
    NOTED("");
    CHECK(tok_note_spelled(t, p, sizeof text - 1, "x") &&
              NOTED("x: byte 13: '<|pad|>' is a special token"),
          "a note");
    CHECK(!tok_note_spelled(t, (const uint8_t *)TOK_EOT, strlen(TOK_EOT), "x"),
          TOK_EOT " is no other token");
    strings_add(&t->special, " ", 1, strings_hash(" ", 1));
    CHECK(!tok_spelled(t, p, 5, &which), "no space");
    for (size_t n = 1; n < 4; n++)
        CHECK(!tok_spelled(t, (const uint8_t *)"a b", n, &which) == (n < 2),
              "a token of one byte, in %zu", n);
    tok_free(t);
}
/* Every field of a tokenizer.json: one that must be neutral and is not is
 * refused by its name, one that is passed over changes nothing, one that is not
 * known is refused. */
static void tokt_fields(void) {
    static const struct {
        const char *object;
        const JsonField *fields;
        size_t n;
    } part[] = {
#define PART(object, fields) {object, fields, sizeof(fields) / sizeof *(fields)}
        PART("", tok_json_file), PART("pre_tokenizer", tok_json_cut),
        PART("model", tok_json_model), PART("added_tokens/0", tok_json_added)};
#undef PART
    char *good = file_text("test/cases/pad_eot.json");
    char path[64];
    Tokenizer *want = tok_parse((uint8_t *)good, strlen(good), "x");
    Tokenizer *t = NULL;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        for (size_t k = 0; k < part[i].n; k++) {
            const JsonField *f = &part[i].fields[k];
            snprintf(path, sizeof path, "%s%s%s", part[i].object,
                     *part[i].object ? "/" : "", f->key);
            if (f->use == JSON_READ) continue;
            char *changed = check_json(good, path, "\"another\"", NULL);
            const bool died = tokt_parse_dies(&t, (uint8_t *)changed,
                                              strlen(changed));
            CHECK(died == (f->use == JSON_NEUTRAL), "%s: %s", path,
                  died ? check_line : "taken");
            CHECK(died ? strstr(check_line, f->key) != NULL
                       : tokt_same(t, want),
                  "%s: %s", path, check_line);
            if (!died) tok_free(t);
            free(changed);
        }
        char *more = check_json(good, part[i].object, NULL,
                                "\"unheard\": null");
        tokt_check_text(more, "unheard");
        free(more);
    }
    char *twice = check_json(good, "model", NULL, "\"dropout\": null");
    tokt_check_text(twice, "\"dropout\" once");
    free(twice);
    char *more = mem_new(strlen(good) + 3, 1);
    sprintf(more, "%s{}", good);
    tokt_check_text(more, "expected the end of the file");
    free(more);
    tok_free(want);
    free(good);
}

/* A vocabulary of n ranks without those of special tokens, whose token 256 is
 * two spaces: all pairs of bytes, then triples. */
static char *tokt_ranks(size_t n) {
    char *text = NULL;
    size_t bytes;
    size_t made = 0;
    FILE *f = open_memstream(&text, &bytes);
    for (uint32_t k = 0; k < 256; k++) {
        tokt_base64(f, &(uint8_t){(uint8_t)k}, 1);
        fprintf(f, " %zu\n", made++);
    }
    for (uint32_t k = 0; k < 1 << 24 && made < n; k++) {
        const uint8_t p[3] = {(uint8_t)(k >> 16) ^ ' ', (uint8_t)(k >> 8) ^ ' ',
                              (uint8_t)k ^ ' '};
        const size_t skip = k < 65536 ? 1 : 0;  /* k < 65536: pairs */
        tokt_base64(f, p + skip, 3 - skip);
        fprintf(f, " %zu\n", made++);
    }
    fclose(f);
    return text;
}
static void tokt_patterns(void) {
    static const struct {
        size_t n;
        const char *name;
    } known[] = {{100256, "cl100k_base"}, {199998, "o200k_base"}};
    for (size_t k = 0; k < (QUICK ? 1 : 2); k++) {
        char *ranks = tokt_ranks(known[k].n);
        tokt_check_text(ranks, known[k].name);
        free(ranks);
    }
    char *ranks = tokt_ranks(300);
    Bytes b = {(uint8_t *)ranks, strlen(ranks), "x", false};
    Tokenizer *t = tok_read(b, (Bytes){0}, false);
    CHECK(t->eot == 300 && NOTED("--pattern gpt2"), "an unknown one is noted");
    tok_free(t);
    t = tok_read(b, (Bytes){0}, true);
    CHECK(!NOTED("x"), "what was said is no assumption");
    tok_free(t);
    char *more = mem_new(strlen(ranks) + 16, 1);
    sprintf(more, "%sIChh 300\n", ranks);           /* " (a", of " (" and "a" */
    tokt_check_text(more, "never makes its token ' (a'");
    free(more);
    /* The last rank is 301 now, before the others. */
    char *gap = strstr(ranks, " 299\n");
    memcpy(gap, " 301\n", 5);
    char *turned = mem_new(strlen(ranks) + 40, 1);
    char *last = gap;
    while (last > ranks && last[-1] != '\n') last--;
    sprintf(turned, "\xef\xbb\xbf%s\r\n%.*s\n", last, (int)(last - ranks),
            ranks);
    NOTED("");
    t = tok_read((Bytes){(uint8_t *)turned, strlen(turned), "x", false},
                 (Bytes){0}, true);
    CHECK(t->eot == 299 && t->V == 302 && t->n == 300,
          "<|endoftext|> %u, V %zu", t->eot, t->V);
    CHECK(NOTED("2 ids have no rank; taken for <|endoftext|> is the first, 299"),
          "which gap is taken is no matter of course");
    tok_free(t);
    free(turned);
    free(ranks);
}
static void tokt_named(void) {
    uint32_t ids[2] = {0};
    Tokenizer *t = tok_load("test/cases/my-merges.txt", true);
    CHECK(tok_encode(t, (const uint8_t *)"ab", 2, ids) == 1 && ids[0] == 257 &&
              t->eot == 0,
          "id %u", ids[0]);
    CHECK(!NOTED("my"), "nothing was assumed");
    tok_free(t);
    t = tok_parse((const uint8_t *)"\xef\xbb\xbf#version: 0.2\na b\n", 21, "x");
    CHECK(t->n == 257 && NOTED("no ids beside it"), "%zu tokens", t->n);
    tok_free(t);
    CHECK(!tok_try("test/cases/none") && NOTED("not used"),
          "a file that can be done without");
    CHECK(DIES(die("x")), "an attempt is over when it is");
}

/* Every prefix of good files, and every byte of them changed: an error, or a
 * vocabulary that works. */
static void tokt_damage(void) {
    static const char text[] =
        "a rose is a rose is a rose, and the rose is arisen";
    Tokenizer *t = tok_train((const uint8_t *)text, sizeof text - 1, 270);
    Tokenizer *bad = NULL;
    for (TokFile kind = AS_OWN; kind <= AS_LLMC; kind++) {
        const Bytes file = tokt_write(t, kind);
        const size_t step = QUICK ? 100 : 30;
        for (size_t k = 0; k < 2 * file.n; k += 1 + tokt_random(step)) {
            const size_t n = k < file.n ? k : file.n;
            uint8_t *p = mem_new(n, 1);
            memcpy(p, file.p, n);
            if (k >= file.n) p[k - file.n] ^= (uint8_t)(1 + tokt_random(255));
            const bool died = tokt_parse_dies(&bad, p, n);
            CHECK(!died || strlen(check_line) > 10, "format %d, byte %zu",
                  (int)kind, k);
            if (!died) {
                tokt_check_round(bad, (const uint8_t *)text, sizeof text - 1);
                tok_free(bad);
            }
            free(p);
        }
        free((void *)(uintptr_t)file.p);
    }
    tok_free(t);
}

/* ---- OpenAI's vocabulary ------------------------------------------------- */

static void tokt_gpt2(void) {
    static const struct {
        const char *text;
        uint32_t ids[9];
    } golden[] = {
        {"Hello world", {15496, 995}},
        {"hello  world", {31373, 220, 995}},
        {"  \n\n a", {220, 220, 628, 257}},
        {"I'll don't 'S 's", {40, 1183, 836, 470, 705, 50, 705, 82}},
        {"1234 5", {1065, 2682, 642}},
        {"The quick brown fox", {464, 2068, 7586, 21831}},
        {" ", {220}},
        {"na\xc3\xafve caf\xc3\xa9", {2616, 38776, 40304}},
        {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
         {33768, 98, 17312, 105, 45739, 252}},
        {"\xf0\x9f\x98\x80", {47249, 222}},
        {"x\xc2\xb2\xc2\xbd", {87, 31185, 23141}},
        {"don\xe2\x80\x99t", {9099, 447, 247, 83}},
        {"don't", {9099, 470}},
        {"a\xc2\xa0" "b", {64, 1849, 65}},
        {"a\r\nb", {64, 201, 198, 65}},
        {"\xe2\x80\x8bz", {9525, 89}},
        {"e\xcc\x81", {68, 136, 223}},
        {"\x1c a", {216, 257}},
        {"!'s", {13679, 82}},
        {"'LL", {6, 3069}},
    };
    const char *folder = getenv("GPT2_DIR") ? getenv("GPT2_DIR")
                                            : "../shared/data/gpt2";
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/vocab.bpe", folder);
    if (access(path, R_OK)) return;
    Tokenizer *t = tok_load(path, false);
    CHECK(t->n == 50256 && t->eot == 50256, "%zu tokens", t->n);
    for (size_t k = 0; k < sizeof golden / sizeof *golden; k++) {
        uint32_t ids[64];
        size_t want = 0;
        while (want < 9 && golden[k].ids[want]) want++;
        const size_t n = tok_encode(t, (const uint8_t *)golden[k].text,
                                    strlen(golden[k].text), ids);
        CHECK(n == want && !memcmp(ids, golden[k].ids, 4 * n),
              "'%s': %zu ids, first %u", golden[k].text, n, ids[0]);
    }
    for (TokFile kind = AS_OWN; kind <= AS_LLMC; kind++)
        tokt_check_file(t, kind);
    Bytes file = tokt_write(t, AS_LLMC);
    CHECK(file.n == 372108, "llm.c's file has 372108 bytes, not %zu", file.n);
    /* Version 1 implies <|endoftext|>'s id. */
    memcpy((void *)(uintptr_t)(file.p + 4), "\1\0\0\0", 4);
    Tokenizer *old = tok_parse(file.p, file.n, "x");
    CHECK(tokt_same(old, t), "llm.c's version 1");
    free((void *)(uintptr_t)file.p);
    tok_free(old);
    tok_free(t);
}

static void test_tokenizer(void) {
    tokt_golden();
    tokt_scanner();
    tokt_training();
    tokt_encoding();
    tokt_formats();
    tokt_bad();
    tokt_config();
    tokt_special();
    tokt_spelled();
    tokt_fields();
    tokt_patterns();
    tokt_named();
    tokt_damage();
    tokt_gpt2();
}
#endif
