/* loader.h: from files to batches of tokens.
 *
 * It refuses to copy what it can map and to remember what it can compute: a
 * batch is a function of (seed, number of the sample), so the loader's whole
 * state in a checkpoint is how many samples have been drawn.
 *
 * A text is split at "<|endoftext|>" into documents; the tokens of a text are
 *
 *     EOT document EOT document ... EOT            EOT: the id of <|endoftext|>
 *
 * so that the start and the end of every document are predicted too. Some
 * documents are held out for validation (of a single one its end). Training
 * reads windows of T + 1 tokens, T apart, in an order shuffled anew each pass,
 * from an offset drawn anew each pass; validation reads windows in order.
 *
 * Example: 1001 tokens, T = 100: 9 windows a pass, starting at an offset of
 * 0 .. 99 and every 100 tokens from there; here, of a pass that drew 37:
 *
 *     training         | window 0 | window 1 | window 2 | ... | window 8 |
 *     first input      37         137        237              837
 *
 *     validation   | window 0 | window 1 | window 2 | ...        | window 9 |
 *     first input  0          100        200                     900
 *
 * Token shards are llm.c's: 1024 bytes of header, magic 20240520 (uint16
 * tokens) or 20240801 (uint32), version 1 or 7, number of tokens; then the
 * tokens, little-endian. Read are also NumPy's .npy and nanoGPT's bare uint16.
 * They are read where they are mapped. */
#ifndef LOADER_H
#define LOADER_H
#include "../base/out.h"
#include "corpus.h"
#include "tokenizer.h"

/* ---- streams of tokens --------------------------------------------------- */

/* Ids as they lie in a file, little-endian at any alignment. */
typedef struct {
    const uint8_t *p;               /* n ids of `width` bytes, 2 or 4 */
    size_t n;
    int width;
} TokenIds;

static inline uint32_t ids_at(const TokenIds *ids, size_t i) {
    return ids->width == 2 ? get_u16(ids->p + 2 * i) : get_u32(ids->p + 4 * i);
}

typedef struct {
    TokenIds ids;
    size_t from;                    /* the stream's number of its first token */
    Bytes file;                     /* where they lie; none: on the heap */
} TokenPart;

typedef struct {
    TokenPart *part;                /* (parts) one after the other */
    size_t parts, cap;
    size_t n;                       /* tokens in all */
} Tokens;

/* Adds n ids of `width` bytes at p, in a file or on the heap: then file is
 * {0}. */
static inline void tokens_add(Tokens *t, const uint8_t *p, size_t n, int width,
                              Bytes file) {
    t->part = mem_grow(t->part, t->parts, &t->cap, sizeof *t->part);
    t->part[t->parts++] = (TokenPart){{p, n, width}, t->n, file};
    t->n += n;
}
static inline void tokens_free(Tokens *t) {
    for (size_t k = 0; k < t->parts; k++)
        if (t->part[k].file.p) file_free(&t->part[k].file);
        else free((void *)(uintptr_t)t->part[k].ids.p);
    free(t->part);
    *t = (Tokens){0};
}
/* Bytes of memory that they take; what is mapped takes none. */
static inline size_t tokens_bytes(const Tokens *t) {
    size_t bytes = 0;
    for (const TokenPart *p = t->part; p < t->part + t->parts; p++)
        if (!p->file.p) bytes += p->ids.n * (size_t)p->ids.width;
    return bytes;
}
/* Tokens at .. at + n - 1 into out; the caller stays below t->n. */
static inline void tokens_get(const Tokens *t, size_t at, size_t n,
                              int32_t *out) {
    const size_t end = at + n;
    for (size_t k = 0; k < t->parts && at < end; k++) {
        const TokenPart *p = &t->part[k];
        for (; at < end && at >= p->from && at < p->from + p->ids.n; at++)
            *out++ = (int32_t)ids_at(&p->ids, at - p->from);
    }
}

/* A hash over all tokens, to notice that a run is resumed on another text. */
static inline uint64_t tokens_hash(const Tokens *t) {
    int32_t buffer[4096];
    uint64_t h = HASH_START;
    for (size_t at = 0; at < t->n; at += 4096) {
        const size_t n = size_min(t->n - at, 4096);
        tokens_get(t, at, n, buffer);
        for (size_t i = 0; i < n; i++)
            h = rng_mix(h ^ (uint64_t)(uint32_t)buffer[i]);
    }
    return h;
}

/* ---- files of ids -------------------------------------------------------- */

enum { SHARD_HEADER = 1024, SHARD_U16 = 20240520, SHARD_U32 = 20240801 };

/* llm.c's. */
static inline TokenIds ids_of_shard(Bytes b) {
    if (b.n < SHARD_HEADER)
        die("%s: expected a token shard with a header of 1024 bytes (or "
            "--raw16), found %zu bytes",
            b.name, b.n);
    const uint32_t magic = get_u32(b.p);
    const uint32_t version = get_u32(b.p + 4);
    const uint32_t n = get_u32(b.p + 8);
    if (magic != SHARD_U16 && magic != SHARD_U32)
        die("%s: byte 0: expected magic 20240520 or 20240801 (or --raw16), "
            "found %u",
            b.name, magic);
    const int width = magic == SHARD_U16 ? 2 : 4;
    const uint32_t want = magic == SHARD_U16 ? 1 : 7;
    if (version != want)
        die("%s: byte 4: expected version %u, found %u", b.name, want, version);
    const size_t bytes = SHARD_HEADER + (size_t)n * (size_t)width;
    if (b.n != bytes)
        die("%s: byte 8: %u tokens need a file of %zu bytes, found %zu", b.name,
            n, bytes, b.n);
    header_rest(b.p, 3, b.name);
    return (TokenIds){b.p + SHARD_HEADER, n, width};
}
/* What bare ids cannot be, or NULL: every number is an id, so a file of another
 * kind would be read without a word. */
static const char npy_magic[] = "\x93NUMPY";
static inline const char *ids_not_raw(Bytes b) {
    size_t shown = 0;               /* bytes of printable ASCII */
    uint32_t high = 0;              /* the largest id in an odd place */
    uint32_t low = 0;               /* and in an even one */
    if (b.n > 6 && !memcmp(b.p, npy_magic, 6)) return "NumPy's .npy";
    if (b.n >= SHARD_HEADER &&
        (get_u32(b.p) == SHARD_U16 || get_u32(b.p) == SHARD_U32))
        return "a shard of llm.c";
    for (size_t i = 0; i < b.n && shown == i; i++)
        shown += (b.p[i] >= ' ' && b.p[i] < 0x7f) || (b.p[i] >= '\t' && b.p[i] <= '\r');
    for (size_t i = 0; i + 3 < b.n && high < 16; i += 4) {
        if (get_u16(b.p + i) > low) low = get_u16(b.p + i);
        if (get_u16(b.p + i + 2) > high) high = get_u16(b.p + i + 2);
    }
    if (b.n < 64) return NULL;      /* too little to tell */
    if (shown == b.n) return "text";
    if ((!high && low) || (high < 16 && low >= 4096))
        return "every second one next to 0, as ids of 4 bytes have it";
    return NULL;
}
/* nanoGPT's: u16, and nothing else. */
static inline TokenIds ids_of_raw(Bytes b) {
    if (!b.n || b.n % 2)
        die("%s: expected ids of 2 bytes, found a file of %zu bytes", b.name,
            b.n);
    const char *other = ids_not_raw(b);
    if (other)
        die("%s: expected bare ids of 2 bytes (--raw16), found %s", b.name, other);
    return (TokenIds){b.p, b.n / 2, 2};
}
/* NumPy's: magic, version, length of the header in 2 bytes or 4, the header as
 * Python would print it, the ids. */
static inline TokenIds ids_of_npy(Bytes b) {
    size_t at = 0;                  /* where the header begins */
    size_t len = 0;                 /* its bytes */
    if (b.n >= 12 && b.p[6] == 1) {
        at = 10;
        len = get_u16(b.p + 8);
    }
    if (b.n >= 12 && (b.p[6] == 2 || b.p[6] == 3)) {
        at = 12;
        len = get_u32(b.p + 8);
    }
    if (!at || len > b.n - at)
        die("%s: expected a header of NumPy's version 1, 2 or 3, found none",
            b.name);
    char header[512] = "";
    char descr[8] = "";             /* the type */
    char order[8] = "";
    char count[20] = "";
    int end = 0;
    memcpy(header, b.p + at, size_min(len, sizeof header - 1));
    sscanf(header,
           "{ 'descr' : '%7[^']' , 'fortran_order' : %7[FTalsrue] , 'shape' : "
           "( %19[0-9] ,) , } %n",
           descr, order, count, &end);
    int width = 0;
    if (!strcmp(descr, "<u2")) width = 2;
    if (!strcmp(descr, "<u4")) width = 4;
    if (!end || (size_t)end != len || !width)
        die("%s: expected an array of one dimension of '<u2' or '<u4', found "
            "%.*s",
            b.name, (int)strcspn(header, "\n"), header);
    const unsigned long long n = strtoull(count, NULL, 10);
    const size_t rest = b.n - at - len;
    if (n != rest / (size_t)width || rest % (size_t)width)
        die("%s: expected %s ids of %d bytes after the header, found %zu bytes",
            b.name, count, width, rest);
    return (TokenIds){b.p + at + len, (size_t)n, width};
}

/* Adds a file of ids: of llm.c or NumPy, told by what it begins with, or if
 * raw16 of nanoGPT. Every id must be below V (0: not checked). */
static inline void tokens_read(Tokens *t, const char *path, size_t V,
                               bool raw16) {
    const Bytes b = file_read(path);
    const bool npy = b.n > 6 && !memcmp(b.p, npy_magic, 6);
    TokenIds ids;
    if (raw16) ids = ids_of_raw(b);
    else if (npy) ids = ids_of_npy(b);
    else ids = ids_of_shard(b);
    for (size_t i = 0; i < ids.n && V; i++) {
        const uint32_t id = ids_at(&ids, i);
        if (id >= V)
            die("%s: token %zu: expected an id below %zu, found %u", path, i, V,
                id);
    }
    if (raw16 && V > 65536)
        note("%s: ids of 2 bytes end at 65535, the vocabulary has %zu: larger ones may "
             "have been cut",
             path, V);
    tokens_add(t, ids.p, ids.n, ids.width, b);
}
/* Writes a shard of n ids below V. Dies if it cannot be written. */
static inline void write_shard(const char *path, const uint32_t *ids, size_t n,
                               size_t V) {
    const bool narrow = V <= 65536;
    uint8_t header[SHARD_HEADER] = {0};
    if (n > INT32_MAX)
        die("%s: a shard holds at most 2^31 - 1 tokens, found %zu", path, n);
    put_u32(header, narrow ? SHARD_U16 : SHARD_U32);
    put_u32(header + 4, narrow ? 1 : 7);
    put_u32(header + 8, (uint32_t)n);
    Out out = out_open(path);
    out_bytes(&out, header, sizeof header);
    for (size_t i = 0; i < n; i++) {
        uint8_t id[4];
        put_u32(id, ids[i]);
        out_bytes(&out, id, narrow ? 2 : 4);
    }
    out_done(&out);
}

/* ---- texts into documents ------------------------------------------------ */

typedef struct {
    const uint8_t *p;               /* n bytes of a text */
    size_t n;
    bool held_out;
} Document;

typedef struct {
    Document *doc;
    size_t n, cap;
    Bytes *file;                    /* the texts */
    size_t files, room;
    double nats;                    /* of held-out stories: less the logarithm
                                     * of their probability in the grammar */
    double bytes;                   /* and their size */
} Documents;

static inline void documents_add(Documents *d, const uint8_t *p, size_t n,
                                 bool held_out) {
    d->doc = mem_grow(d->doc, d->n, &d->cap, sizeof *d->doc);
    d->doc[d->n++] = (Document){p, n, held_out};
}
/* Keeps a text until documents_free. */
static inline void documents_keep(Documents *d, Bytes b) {
    d->file = mem_grow(d->file, d->files, &d->room, sizeof *d->file);
    d->file[d->files++] = b;
}
static inline void documents_free(Documents *d) {
    for (size_t k = 0; k < d->files; k++) file_free(&d->file[k]);
    free(d->file);
    free(d->doc);
    *d = (Documents){0};
}

/* Adds the documents of a text. The line break after a mark is no part of a
 * document, nor is one all blank. */
static inline void documents_split(Documents *d, const uint8_t *text, size_t n,
                                   bool held_out) {
    const size_t mark = strlen(TOK_EOT);
    const uint8_t *end = text + n;
    const uint8_t *p = text;
    while (p && p < end) {
        const uint8_t *next = memmem(p, (size_t)(end - p), TOK_EOT, mark);
        const uint8_t *stop = next ? next : end;
        if (p > text && p < stop && p[0] == '\r') p++;
        if (p > text && p < stop && p[0] == '\n') p++;
        const uint8_t *seen = p;        /* the first byte that is not blank */
        while (seen < stop && *seen <= ' ') seen++;
        if (seen < stop) documents_add(d, p, (size_t)(stop - p), held_out);
        p = next ? next + mark : NULL;
    }
}
/* Whether n bytes begin with a line that is an object of JSON, to look at. */
static inline bool text_is_json(const uint8_t *p, size_t n) {
    const uint8_t *stop = memchr(p, '\n', n);
    size_t end = stop ? (size_t)(stop - p) : n;
    while (end && p[end - 1] <= ' ') end--;
    return end > 4 && p[0] == '{' && (p[1] == '"' || p[2] == '"') && p[end - 1] == '}';
}
/* Dies of a Parquet file, in which many texts are given away. */
static inline void text_check(Bytes b) {
    if (b.n >= 12 && !memcmp(b.p, "PAR1", 4) && !memcmp(b.p + b.n - 4, "PAR1", 4))
        die("%s: expected text, found a Parquet file; take the texts out of it, with "
            TOK_EOT " between them",
            b.name);
}
/* Says if a text does not look like one. It is read byte by byte all the same,
 * but that may not be what its owner means. */
static inline void text_note(Bytes b) {
    const uint8_t *end = b.p + b.n;
    const uint8_t *nul = memchr(b.p, 0, b.n);
    const uint8_t *stray = utf8_stray(b.p, nul ? nul : end);
    const bool wide = b.n > 1 && (get_u16(b.p) == 0xfeff || get_u16(b.p) == 0xfffe);
    if (stray < end)
        note("%s: byte %td: expected UTF-8, found byte 0x%02x%s; what is no text is read "
             "byte by byte",
             b.name, stray - b.p, *stray,
             wide ? ", as UTF-16 begins (iconv -f UTF-16 -t UTF-8)" : "");
    if (b.n > 2 && !memcmp(b.p, "\xef\xbb\xbf", 3))
        note("%s: it begins with a byte order mark, which is read as text", b.name);
    if (b.n && text_is_json(b.p, b.n))
        note("%s: its lines are JSON; they are read as they stand, names and quotes too",
             b.name);
}
static inline void documents_read(Documents *d, const char *path,
                                  bool held_out) {
    const Bytes b = file_read(path);
    const size_t before = d->n;
    text_check(b);
    text_note(b);
    documents_keep(d, b);
    documents_split(d, b.p, b.n, held_out);
    if (d->n == before) die("%s: expected text, found none", path);
}

/* Divides a single document: that share, in whole characters, is held out at
 * its end. */
static inline void documents_hold_out_end(Documents *d, double share) {
    const Document one = d->doc[0];
    size_t cut = one.n - size_max(1, (size_t)(share * (double)one.n));
    for (int k = 0; k < 3 && cut > 1 && cut < one.n; k++) {
        if ((one.p[cut] & 0xc0) != 0x80) break;
        cut--;
    }
    documents_add(d, one.p + cut, one.n - cut, true);
    d->doc[0].n = cut;
}
/* Holds out about that share of the documents, at least one. */
static inline void documents_hold_out(Documents *d, double share,
                                      uint64_t seed) {
    if (d->n == 1) {
        documents_hold_out_end(d, share);
        return;
    }
    size_t held = (size_t)(share * (double)d->n + 0.5);
    if (held < 1) held = 1;
    else if (held >= d->n) held = d->n - 1;
    for (size_t k = 0; k < held; k++)
        d->doc[rng_permute(rng_key(seed, "held out"), k, d->n)].held_out = true;
}

/* Built-in stories: `bytes` of them to train on from one seed, a twentieth as
 * much held out from another. */
static inline void documents_stories(Documents *d, size_t bytes,
                                     uint64_t seed) {
    for (int held = 0; held < 2; held++) {
        const size_t want = held ? bytes / 20 : bytes;
        const uint64_t key = rng_key(seed,
                                     held ? "stories held out" : "stories");
        char *text = mem_new(want + CORPUS_MAX, 1);
        size_t at = 0;
        for (size_t k = 0; at < want; k++) {
            double nats;
            const size_t n = corpus_story(key, k, text + at, CORPUS_MAX, &nats);
            documents_add(d, (uint8_t *)text + at, n, held);
            at += n;
            if (!held) continue;
            d->nats += nats;
            d->bytes += (double)n;
        }
        documents_keep(d, (Bytes){(uint8_t *)text, want, "the built-in corpus",
                                  false});
    }
}

/* Says where the first special token is spelled out in the texts. */
static inline void documents_note(const Documents *d, const Tokenizer *t) {
    bool found = false;
    for (const Bytes *b = d->file; b < d->file + d->files && !found; b++)
        found = tok_note_spelled(t, b->p, b->n, b->name);
}
/* The tokens of the documents that are (not) held out. */
static inline Tokens documents_tokens(const Documents *d, const Tokenizer *t,
                                      bool held_out) {
    size_t room = 1;
    size_t n = 0;
    for (size_t k = 0; k < d->n; k++)
        if (d->doc[k].held_out == held_out) room += d->doc[k].n + 1;
    uint32_t *ids = mem_resize(NULL, size_mul(room, 4));
    ids[n++] = t->eot;
    for (size_t k = 0; k < d->n; k++) {
        if (d->doc[k].held_out != held_out) continue;
        n += tok_encode(t, d->doc[k].p, d->doc[k].n, ids + n);
        ids[n++] = t->eot;
    }
    uint8_t *bytes = (uint8_t *)ids;        /* little-endian on every machine */
    for (size_t i = 0; i < n; i++) put_u32(bytes + 4 * i, ids[i]);
    Tokens out = {0};
    uint8_t *fitted = realloc(bytes, n * 4);
    tokens_add(&out, fitted ? fitted : bytes, n, 4, (Bytes){0});
    return out;
}

/* ---- batches ------------------------------------------------------------- */

/* Samples first .. first + B - 1 of training: inputs and targets (B,T). A pass
 * holds W windows; t->n > T. */
static inline void batch_train(const Tokens *t, uint64_t seed, size_t first,
                               size_t B, size_t T, int32_t *inputs,
                               int32_t *targets) {
    const size_t W = t->n >= 2 * T ? (t->n - T) / T : 1;
    const size_t spare = t->n - W * T;
    int32_t *window = mem_new(T + 1, sizeof *window);       /* (T + 1) */
    for (size_t b = 0; b < B; b++) {
        const size_t pass = (first + b) / W;
        const uint64_t key = rng_u64(rng_key(seed, "order of windows"), pass);
        const size_t offset = rng_u64(key, W) % size_min(spare, T);
        const size_t place = rng_permute(key, (first + b) % W, W);
        tokens_get(t, offset + place * T, T + 1, window);
        memcpy(inputs + b * T, window, T * sizeof *window);
        memcpy(targets + b * T, window + 1, T * sizeof *window);
    }
    free(window);
}

/* Windows first .. first + B - 1 of validation: inputs and targets (B,T); past
 * the end of the tokens, and from window `end` on, targets are -1. Returns how
 * many targets count. */
static inline size_t batch_val(const Tokens *t, size_t first, size_t end,
                               size_t B, size_t T, int32_t *inputs,
                               int32_t *targets) {
    size_t count = 0;
    for (size_t i = 0; i < B * T; i++) {
        inputs[i] = 0;
        targets[i] = -1;
    }
    for (size_t b = 0; b < B && first + b < end; b++) {
        const size_t at = (first + b) * T;
        if (at + 1 >= t->n) break;
        const size_t n = size_min(t->n - 1 - at, T);
        tokens_get(t, at, n, inputs + b * T);
        tokens_get(t, at + 1, n, targets + b * T);
        count += n;
    }
    return count;
}

/* ---- what a run reads ---------------------------------------------------- */

static const double NATS_PER_BIT = 0.69314718055994531;

typedef struct {
    Tokens train, val;
    double floor;                   /* bits per byte that no model can beat on
                                     * val; 0: not known */
    uint32_t *bytes;                /* (V) of each id, <|endoftext|> none; NULL
                                     * without a vocabulary */
    int32_t eot;                    /* the id of <|endoftext|> */
} Data;
#endif
