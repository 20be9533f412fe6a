/* tokenize.h: standard input to ids and back, vocabularies trained and saved:
 * `train tokenize`.
 *
 *     text   --encode-->  ids in decimal, or a shard of llm.c's (--shard)
 *     ids    --decode-->  text (--decode)
 *
 * It refuses what it cannot honour: options that another one makes useless, and
 * an id that the vocabulary lacks. Example: with a vocabulary of the 256 bytes
 * alone, "Hi" is `72 105`. */
#ifndef TOKENIZE_H
#define TOKENIZE_H
#include "../run/data.h"

/* Reads an id from byte *at on. */
static inline uint32_t decode_id(const Tokenizer *t, Bytes in, size_t *at) {
    const size_t from = *at;
    size_t i = from;
    uint64_t id = 0;
    for (; i < in.n && in.p[i] >= '0' && in.p[i] <= '9' && id <= UINT32_MAX; i++)
        id = id * 10 + (uint64_t)(in.p[i] - '0');
    if (i == from || (i < in.n && in.p[i] > ' ') || id >= t->V)
        die("%s: byte %zu: expected an id 0 .. %zu, found '%.*s'", in.name,
            from, t->V - 1, (int)size_min(in.n - from, 12), in.p + from);
    *at = i;
    return (uint32_t)id;
}
/* Writes the text of ids, decimal numbers with white space between them. */
static inline void decode(const Tokenizer *t, Bytes in) {
    Unfinished rest = {0};
    Out out = out_standard();
    size_t i = 0;
    while (i < in.n) {
        if (in.p[i] <= ' ') {
            i++;
            continue;
        }
        size_t len;
        const uint8_t *p = tok_bytes(t, decode_id(t, in, &i), &len);
        show_next(&out, &rest, p, len);
    }
    show(&out, rest.byte, rest.n);
    out_done(&out);
}

/* The ids of the documents of a text as a run would read them; returns how
 * many. */
static inline size_t documents_encode(const Tokenizer *t, Bytes in,
                                      uint32_t *ids) {
    Documents docs = {0};
    documents_split(&docs, in.p, in.n, false);
    Tokens tokens = documents_tokens(&docs, t, false);
    const size_t n = tokens.n;
    tokens_get(&tokens, 0, n, (int32_t *)ids);
    tokens_free(&tokens);
    documents_free(&docs);
    return n;
}
/* Writes the ids of a text as the options say. */
static inline void encode(const Options *o, const Tokenizer *t, Bytes in) {
    uint32_t *ids = mem_new(2 * in.n + 2, sizeof *ids);
    const size_t n = o->documents ? documents_encode(t, in, ids)
                                  : tok_encode(t, in.p, in.n, ids);
    if (o->shard) write_shard(o->shard, ids, n, t->V);
    else {
        for (size_t i = 0; i < n; i++) printf(i ? " %u" : "%u", ids[i]);
        putchar('\n');
    }
    free(ids);
}

/* A vocabulary of that size, of the files of --text or else of the input. */
static inline Tokenizer *tokenize_train(const Options *o, Bytes in, size_t size) {
    Documents docs = {0};
    TokTrainer trainer = tok_trainer();
    for (size_t k = 0; k < o->text.n; k++)
        documents_read(&docs, o->text.item[k], false);
    if (!o->text.n) documents_split(&docs, in.p, in.n, false);
    for (size_t k = 0; k < docs.n; k++)
        tok_trainer_add(&trainer, docs.doc[k].p, docs.doc[k].n);
    Tokenizer *t = tok_trainer_finish(&trainer, size);
    documents_free(&docs);
    return t;
}
static inline void tokenize_save(const Tokenizer *t, const char *path) {
    uint8_t *bytes;
    const size_t n = tok_save(t, &bytes);
    Out out = out_open(path);
    out_bytes(&out, bytes, n);
    out_done(&out);
    free(bytes);
}

static inline int cmd_tokenize(int argc, char **argv) {
    Options *o = options_read(argc, argv, TOKENIZE, NULL);
    outputs_check(o, NULL, 0);
    const size_t size = vocab_number(o->vocab);
    if (!size && o->text.n)
        usage(
            "tokenize: --text is for training a vocabulary, --vocab names a file");
    if (option_given(o, "pattern") && size)
        usage("tokenize: --pattern needs --vocab FILE");
    if (o->decode && (size || o->shard))
        usage("tokenize: --decode needs --vocab FILE and no --shard");
    if (o->decode && o->documents)
        usage("tokenize: --decode contradicts --documents");
    Bytes in = file_slurp(0, "standard input");
    file_unpacked(in);
    Tokenizer *t = size ? tokenize_train(o, in, size)
                        : tok_load(o->vocab, parse_pattern(o));
    if (o->save) tokenize_save(t, o->save);
    if (!o->decode) {
        text_note(in);
        tok_note_spelled(t, in.p, in.n, in.name);
    }
    if (o->decode) decode(t, in);
    else encode(o, t, in);
    tok_free(t);
    file_free(&in);
    options_free(o);
    return 0;
}
#endif
