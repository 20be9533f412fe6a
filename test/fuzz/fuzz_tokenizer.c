/* fuzz_tokenizer.c: libFuzzer on every vocabulary reader, on encoding and on
 * training.
 *
 * The first byte picks what stands before the rest: nothing, or a beginning that
 * chance would not find (the 256 bytes as lines of .tiktoken, as an llm.c file,
 * as a tokenizer.json up to its merges; a list of merges, the input then being
 * the encoder.json beside it). A vocabulary that is accepted must encode any
 * bytes so that they come back, and be the same after saving and reading. die()
 * is a longjmp here, so all memory is kept on a list and freed after each run. */
#include "held.h"
#include "../../data/text/vocabulary.h"

static void fuzz_round(const Tokenizer *t, const uint8_t *text, size_t n) {
    uint32_t *ids = mem_new(n, sizeof *ids);
    const size_t count = tok_encode(t, text, n, ids);
    size_t at = 0;
    for (size_t k = 0; k < count; k++) {
        size_t len;
        const uint8_t *p = tok_bytes(t, ids[k], &len);
        if (ids[k] == t->eot || len > n - at) abort();
        if (memcmp(p, text + at, len)) abort();
        at += len;
    }
    if (at != n) abort();
    free(ids);
}
static void fuzz_vocabulary(Tokenizer *t, const uint8_t *text, size_t n) {
    uint8_t *saved;
    const size_t size = tok_save(t, &saved);
    Tokenizer *again = tok_parse(saved, size, "saved");
    if (t->n != again->n || t->eot != again->eot) abort();
    if (memcmp(t->id_of, again->id_of, tok_count(t) * 4)) abort();
    if (t->merges.n &&
        memcmp(t->merges.bytes, again->merges.bytes, 8 * t->merges.n))
        abort();
    fuzz_round(again, text, n);
    tok_free(again);
    tok_free(t);
    free(saved);
}

/* What the first byte of an input picks. */
enum { PLAIN, TIKTOKEN, LLMC, TOKENIZER_JSON, ENCODER_JSON, TRAINING, KINDS };

/* Each kind's 256 bytes, written at out; returns how much that is. */
static size_t fuzz_ranks(char *out, const Tokenizer *t) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = out;
    for (unsigned k = 0; k < 256; k++) {
        const unsigned byte = t->tokens.bytes[k];
        to += sprintf(to, "%c%c== %u\n", digits[byte >> 2],
                      digits[byte << 4 & 63], k);
    }
    return (size_t)(to - out);
}
static size_t fuzz_llmc(char *out, const Tokenizer *t) {
    const uint32_t header[256] = {20240328, 2, 260, 259};
    memcpy(out, header, 1024);
    for (unsigned k = 0; k < 256; k++) {
        out[1024 + 2 * k] = 1;
        out[1024 + 2 * k + 1] = (char)t->tokens.bytes[k];
    }
    return 1024 + 512;
}
static size_t fuzz_json(char *out) {
    char *to = out;
    to += sprintf(to, "{\"normalizer\":null,\"pre_tokenizer\":"
                      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                      "\"model\":{\"vocab\":{\"ab\":256");
    for (unsigned k = 0; k < 256; k++) {
        uint8_t letter[5] = {0};
        utf8_put(letter, tok_letter(k));
        to += sprintf(to, ",\"%s%s\":%u",
                      strchr("\"\\", *letter) ? "\\" : "", letter, k);
    }
    to += sprintf(to, "},\"merges\":[\"a b\"");
    return (size_t)(to - out);
}
/* A file's beginning of the given kind, at out, which has room for 8192 bytes. */
static size_t fuzz_begin(int kind, char *out, const Tokenizer *t) {
    if (kind == TIKTOKEN) return fuzz_ranks(out, t);
    if (kind == LLMC) return fuzz_llmc(out, t);
    if (kind == TOKENIZER_JSON) return fuzz_json(out);
    return 0;
}

/* The vocabulary that an input of that kind makes: n bytes behind a beginning. */
static Tokenizer *fuzz_read(int kind, const uint8_t *data, size_t n) {
    static const uint8_t merges[] = "#version: 0.2\na b\nab c\n";
    char *file = mem_new(8192, 1);
    const size_t begin = fuzz_begin(kind, file, tok_new());
    uint8_t *exact = mem_new(begin + n, 1);
    memcpy(exact, file, begin);
    memcpy(exact + begin, data, n);
    if (kind == TRAINING) return tok_train(data, n, 256 + n / 4);
    if (kind == ENCODER_JSON)
        return tok_read((Bytes){merges, sizeof merges - 1, "merges", false},
                        (Bytes){exact, n, "ids", false}, true);
    return tok_parse(exact, begin + n, "fuzz");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n && !setjmp(fuzz_jump)) {
        fuzz_memory(data, n);
        Tokenizer *t = fuzz_read(data[0] % KINDS, data + 1, n - 1);
        fuzz_vocabulary(t, data + 1, n - 1);
    }
    fuzz_end();
    return 0;
}
