/* tokenize.h: standard input to ids and back, vocabularies trained and saved: `train tokenize`. */
#ifndef TOKENIZE_H
#define TOKENIZE_H
#include "../run/data.h"

/* ids of a line of decimal numbers, as text */
static inline void decode(const Tokenizer *t, Bytes in) {
    Unfinished rest = {0};
    Out out = out_standard();
    for (size_t i = 0; i < in.n;) {
        if (in.p[i] <= ' ') { i++; continue; }
        uint64_t id = 0;
        const size_t from = i;
        for (; i < in.n && in.p[i] >= '0' && in.p[i] <= '9' && id <= UINT32_MAX; i++)
            id = id * 10 + (uint64_t)(in.p[i] - '0');
        if (i == from || (i < in.n && in.p[i] > ' ') || id >= t->V)
            die("%s: byte %zu: expected an id 0 .. %zu, found '%.*s'", in.name, from, t->V - 1,
                (int)(in.n - from < 12 ? in.n - from : 12), in.p + from);
        size_t len;
        const uint8_t *p = tok_bytes(t, (uint32_t)id, &len);
        show_next(&out, &rest, p, len);
    }
    show(&out, rest.byte, rest.n);
    out_done(&out);
}

/* The ids of the documents of a text as a run would read them; returns how many. */
static inline size_t documents_encode(const Tokenizer *t, Bytes in, uint32_t *ids) {
    Documents docs = {0};
    documents_split(&docs, in.p, in.n, false);
    Tokens tokens = documents_tokens(&docs, t, false);
    const size_t n = tokens.n;
    tokens_get(&tokens, 0, n, (int32_t *)ids);
    tokens_free(&tokens), documents_free(&docs);
    return n;
}

static inline int cmd_tokenize(int argc, char **argv) {
    Options *o = options_read(argc, argv, TOKENIZE, NULL);
    outputs_check(o, NULL, 0);
    const size_t size = vocab_number(o->vocab);
    if (!size && o->text.n) usage("tokenize: --text is for training a vocabulary, --vocab names a file");
    if (o->decode && (size || o->shard)) usage("tokenize: --decode needs --vocab FILE and no --shard");
    if (o->decode && o->documents) usage("tokenize: --decode contradicts --documents");
    Bytes in = file_slurp(0, "standard input");
    file_unpacked(in);
    Tokenizer *t;
    if (size) {
        Documents docs = {0};
        TokTrainer trainer = tok_trainer();
        for (size_t k = 0; k < o->text.n; k++) documents_read(&docs, o->text.item[k], false);
        if (!o->text.n) documents_split(&docs, in.p, in.n, false);
        for (size_t k = 0; k < docs.n; k++) tok_trainer_add(&trainer, docs.doc[k].p, docs.doc[k].n);
        t = tok_trainer_finish(&trainer, size);
        documents_free(&docs);
    } else t = tok_load(o->vocab, parse_pattern(o));
    if (o->save) {
        uint8_t *bytes;
        const size_t n = tok_save(t, &bytes);
        Out out = out_open(o->save);
        out_bytes(&out, bytes, n);
        out_done(&out);
        free(bytes);
    }
    if (o->decode) decode(t, in);
    else {
        uint32_t *ids = mem_new(2 * in.n + 2, sizeof *ids);
        const size_t n = o->documents ? documents_encode(t, in, ids) : tok_encode(t, in.p, in.n, ids);
        if (o->shard) write_shard(o->shard, ids, n, t->V);
        else {
            for (size_t i = 0; i < n; i++) printf(i ? " %u" : "%u", ids[i]);
            putchar('\n');
        }
        free(ids);
    }
    tok_free(t), file_free(&in);
    return 0;
}
#endif
