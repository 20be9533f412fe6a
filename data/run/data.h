/* data.h: the tokens of a run: what the options name, read, encoded and
 * divided.
 *
 *     the stories   --corpus        divided story by story
 *     --text FILE   --val FILE      or a share of its documents (--val-share)
 *     --tokens      --val FILE      shards, encoded already
 *                   |
 *                   v
 *     tokens to train on, tokens to validate on; the bytes of each token
 *
 * It refuses options that contradict each other, and a text too short to train
 * or validate on. Example: --text a.txt --vocab 2048 trains a vocabulary of
 * 2,048 tokens on the documents of a.txt that are not held out. */
#ifndef DATA_H
#define DATA_H
#include "options.h"
#include "../text/loader.h"
#include "../text/vocabulary.h"

/* A whole number of tokens to train, or 0 if the argument is a file. */
static inline size_t vocab_number(const char *vocab) {
    if (vocab[strspn(vocab, "0123456789")]) return 0;
    const unsigned long long n = strtoull(vocab, NULL, 10);
    if (n < 256 || n > 1000000)
        usage("--vocab: expected 256 .. 1000000 tokens or a file, found '%s'",
              vocab);
    return (size_t)n;
}

/* Refuses options that contradict each other. V: the model's vocabulary, or 0;
 * tok: its own, or NULL. */
static inline void data_agree(const Options *o, const Tokenizer *tok, size_t V) {
    const bool named = option_given(o, "vocab");
    const bool stories = !o->text.n && !o->tokens.n;
    if (o->text.n && o->tokens.n)
        usage("--text and --tokens contradict each other");
    if (o->val && stories) usage("--val needs --text or --tokens");
    if (option_given(o, "corpus") && !stories)
        usage("--corpus contradicts --text and --tokens");
    if (option_given(o, "val-share") && (o->val || !o->text.n))
        usage("--val-share needs --text and no --val");
    if (stories) mem_check(3.0 * (double)o->corpus, "--corpus");
    if (o->tokens.n && named && vocab_number(o->vocab))
        usage("--tokens needs a vocabulary file, not a number to train");
    if (option_given(o, "pattern") && (!named || vocab_number(o->vocab)))
        usage("--pattern needs --vocab FILE");
    if (o->raw16 && !o->tokens.n) usage("--raw16 needs --tokens");
    if (option_given(o, "vocab-size") && (V || tok || named || !o->tokens.n))
        usage("--vocab-size is for --tokens where no vocabulary and no model says how "
              "many ids there are");
    if (V && !tok && !o->tokens.n)
        die("the model has no vocabulary of its own: it needs --tokens, not text");
}
/* The shards of --tokens and --val, of a vocabulary of V. */
static inline void data_tokens(Data *d, const Options *o, size_t V, bool train) {
    for (size_t k = 0; k < o->tokens.n; k++)
        tokens_read(train ? &d->train : &d->val, o->tokens.item[k], V, o->raw16);
    if (train && !o->val) usage("--tokens needs --val");
    if (o->val) tokens_read(&d->val, o->val, V, o->raw16);
}
/* The documents of --text and --val, or the stories; some of them held out to
 * validate on, all of them unless it is to train. */
static inline Documents data_documents(const Options *o, bool train) {
    Documents docs = {0};
    for (size_t k = 0; k < o->text.n; k++)
        documents_read(&docs, o->text.item[k], !train);
    if (!o->text.n) documents_stories(&docs, o->corpus, o->seed);
    else if (o->val) documents_read(&docs, o->val, true);
    else if (train) documents_hold_out(&docs, o->val_share, o->seed);
    return docs;
}
/* A vocabulary of the documents that are not held out. */
static inline Tokenizer *data_vocabulary(const Options *o,
                                         const Documents *docs) {
    TokTrainer trainer = tok_trainer();
    for (size_t k = 0; k < docs->n; k++)
        if (!docs->doc[k].held_out)
            tok_trainer_add(&trainer, docs->doc[k].p, docs->doc[k].n);
    return tok_trainer_finish(&trainer, vocab_number(o->vocab));
}
/* Encodes the documents, with *tok or, if that is NULL, with one trained for
 * them. */
static inline void data_text(Data *d, const Options *o, Tokenizer **tok,
                             bool train) {
    Documents docs = data_documents(o, train);
    if (!*tok) *tok = data_vocabulary(o, &docs);
    documents_note(&docs, *tok);
    if (train) d->train = documents_tokens(&docs, *tok, false);
    d->val = documents_tokens(&docs, *tok, true);
    if (docs.bytes > 0) d->floor = docs.nats / NATS_PER_BIT / docs.bytes;
    documents_free(&docs);
}
/* The bytes of text of each token, [V]. */
static inline uint32_t *data_token_bytes(const Tokenizer *tok) {
    uint32_t *bytes = mem_new(tok->V, sizeof *bytes);
    for (uint32_t id = 0; id < tok->V; id++) {
        size_t n;
        tok_bytes(tok, id, &n);
        bytes[id] = tok_is_text(tok, id) ? (uint32_t)n : 0;
    }
    return bytes;
}

/* Reads what the options name. V is the model's vocabulary, or 0 if it follows
 * from the data: then *tok is loaded or trained as the options say. */
static inline Data data_read(const Options *o, Tokenizer **tok, size_t V,
                             bool train) {
    Data d = {0};
    const bool file = !vocab_number(o->vocab);
    const bool named = option_given(o, "vocab");
    data_agree(o, *tok, V);
    if (!V && !*tok && named && file)
        *tok = tok_load(o->vocab, parse_pattern(o));
    if (!V && o->tokens.n) V = *tok ? (*tok)->V : o->vocab_size;
    if (o->tokens.n) data_tokens(&d, o, V, train);
    else data_text(&d, o, tok, train);
    d.eot = *tok ? (int32_t)(*tok)->eot : (int32_t)V - 1;
    if (*tok) d.bytes = data_token_bytes(*tok);
    return d;
}

static inline uint64_t data_hash(const Data *d) {
    return rng_mix(tokens_hash(&d->train) + rng_mix(tokens_hash(&d->val)));
}

/* What the tokens to train on come from. */
static inline const char *data_name(const Options *o) {
    if (o->text.n) return o->text.item[0];
    return o->tokens.n ? o->tokens.item[0] : "the built-in corpus";
}
/* Dies unless there are tokens to train and validate on. */
static inline void data_check(const Options *o, const Data *d) {
    const size_t need = o->batch * o->context + 1;
    if (d->train.n < need)
        die("%s: the training text has %zu tokens; a batch of %zu x %zu needs %zu",
            data_name(o), d->train.n, o->batch, o->context, need);
    if (d->val.n < 2)
        die("%s: the validation text has %zu tokens; at least 2 are needed",
            o->val ? o->val : data_name(o), d->val.n);
}
static inline void data_free(Data *d) {
    tokens_free(&d->train);
    tokens_free(&d->val);
    free(d->bytes);
}
/* Of tokens in memory; shards are mapped. */
static inline double data_bytes(const Data *d) {
    return (double)(tokens_bytes(&d->train) + tokens_bytes(&d->val));
}
#endif
