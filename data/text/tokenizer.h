/* tokenizer.h: text to numbers and back, by byte-level byte pair encoding exactly as GPT-2 does it; trains
 * vocabularies and reads those of others.
 *
 * It refuses to be a framework: one pattern (GPT-2's), one algorithm, one special token, and encoding never
 * makes that one: "<|endoftext|>" in a text is ordinary text. Who joins documents puts its id between them.
 *
 * A text is cut into pieces (a word with the space before it, a number, signs, white space) by Unicode
 * classes. Each piece starts as bytes; then, again and again, the adjacent pair that stands earliest in the
 * list of merges becomes one token. A vocabulary therefore is its list of merges:
 *     token 0 .. 255      the bytes, in GPT-2's order (see tok_letter)
 *     token 256 + k       the result of merge k; no two tokens have the same bytes
 *     token n             <|endoftext|>
 * These numbers are the ids, unless a file gives others (its special token first, say): then id_of and
 * token_of translate at the border, and everything inside works on token numbers.
 *
 * An example: trained on "low lower lowest slow", the most frequent pair is l o (4 times; o w too, but l has
 * the smaller number), then lo w:
 *     Tokenizer *t = tok_train(text, 21, 258);
 *     tok_encode(t, " slow", 5, ids)                      returns 3: the ids of " ", "s" and "low"
 *
 * Memory: two tables of strings, the tokens and the merges (8 bytes: left and right token; the number is the
 * rank), and a byte per code point for its class. Once made it is constant: any number of threads may encode
 * with it. */
#ifndef TOKENIZER_H
#define TOKENIZER_H
#include "../base/base.h"
#include "unicode.h"

#define TOK_EOT "<|endoftext|>"
#define TOK_MAGIC "#version: sparseflow-bpe "
static const uint32_t TOK_NONE = UINT32_MAX;

/* ---- a table of distinct strings, numbered 0, 1, 2 ... ------------------------------------------------- */

typedef struct {
    uint8_t *bytes;         /* all strings, one after the other */
    size_t *start;          /* n + 1: string k is bytes[start[k]] .. bytes[start[k+1]] */
    uint64_t *slot;         /* open addressing: upper half of the hash, then number + 1; 0 is free */
    size_t n, slots, starts, room;
} Strings;

static inline uint64_t strings_hash(const void *p, size_t n) {
    const uint8_t *s = p;
    uint64_t h = n, word;
    for (; n >= 8; s += 8, n -= 8) memcpy(&word, s, 8), h = rng_mix(h ^ word);
    for (word = 0; n; n--) word = word << 8 | s[n - 1];
    return rng_mix(h ^ word);
}

/* The number of a string, TOK_NONE if it is not in the table. */
static inline uint32_t strings_find(const Strings *s, const void *p, size_t n, uint64_t hash) {
    for (size_t at = hash >> 32; s->slots; at++) {
        uint64_t entry = s->slot[at & (s->slots - 1)];
        if (!entry) break;
        uint32_t k = (uint32_t)entry - 1;
        if ((entry ^ hash) >> 32 || s->start[k + 1] - s->start[k] != n) continue;
        if (!memcmp(s->bytes + s->start[k], p, n)) return k;
    }
    return TOK_NONE;
}
static inline void strings_place(uint64_t *slot, size_t slots, uint64_t entry) {
    size_t at = entry >> 32;
    while (slot[at & (slots - 1)]) at++;
    slot[at & (slots - 1)] = entry;
}
static inline void strings_widen(Strings *s) {
    size_t slots = s->slots ? size_mul(s->slots, 2) : 1024;
    uint64_t *slot = mem_new(slots, sizeof *slot);
    for (size_t k = 0; k < s->slots; k++)
        if (s->slot[k]) strings_place(slot, slots, s->slot[k]);
    free(s->slot);
    s->slot = slot, s->slots = slots;
}

/* Adds a string that is not in the table, and does not lie in it; returns its number. */
static inline uint32_t strings_add(Strings *s, const void *p, size_t n, uint64_t hash) {
    size_t end = s->n ? s->start[s->n] : 0;
    if (s->n >= TOK_NONE - 1) die("too many different strings: %zu", s->n);
    if (2 * s->n >= s->slots) strings_widen(s);
    s->start = mem_grow(s->start, s->n + 1, &s->starts, sizeof *s->start);
    while (s->room - end < n || !s->room) {
        s->room = s->room ? size_mul(s->room, 2) : 4096;
        if (!(s->bytes = realloc(s->bytes, s->room))) die("out of memory: %zu bytes were asked for", s->room);
    }
    memcpy(s->bytes + end, p, n);
    s->start[s->n] = end, s->start[s->n + 1] = end + n;
    strings_place(s->slot, s->slots, (hash >> 32 << 32) | (s->n + 1));
    return (uint32_t)s->n++;
}
static inline void strings_free(Strings *s) { free(s->bytes), free(s->start), free(s->slot); }

/* ---- cutting a text into pieces ------------------------------------------------------------------------ */

enum { TOK_OTHER, TOK_LETTER, TOK_NUMBER, TOK_SPACE };

static inline void tok_mark(uint8_t *classes, const uint16_t *runs, size_t bytes, int class) {
    for (size_t k = 0; k < bytes / sizeof *runs; k += 2, classes += runs[k - 1])
        memset(classes += runs[k], class, runs[k + 1]);
}

static inline int tok_class(const uint8_t *classes, const uint8_t *p, size_t n, size_t *len) {
    uint32_t c;
    if (*p < 0x80) return *len = 1, classes[*p];
    *len = utf8_get(p, n, &c);
    return c < UNICODE_END ? classes[c] : TOK_OTHER;
}

/* Length of the first piece of p, n >= 1 bytes to the end of its document. The pattern (openai/gpt-2
 * encoder.py):
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * White space before something else leaves its last character to the next piece. */
static inline size_t tok_piece(const uint8_t *classes, const uint8_t *p, size_t n) {
    size_t at = 0, len = 0, last = 0;
    if (p[0] == '\'' && n > 1) {
        if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd') return 2;
        if (n > 2 && p[2] == 'e' && (p[1] == 'r' || p[1] == 'v')) return 3;
        if (n > 2 && p[2] == 'l' && p[1] == 'l') return 3;
    }
    if (p[0] == ' ' && n > 1 && tok_class(classes, p + 1, n - 1, &len) != TOK_SPACE) at = 1;
    const int class = tok_class(classes, p + at, n - at, &len);
    do last = at, at += len; while (at < n && tok_class(classes, p + at, n - at, &len) == class);
    return class == TOK_SPACE && at < n && last ? last : at;
}

/* ---- the vocabulary ------------------------------------------------------------------------------------ */

typedef struct Tokenizer {
    size_t n;               /* tokens without <|endoftext|>; ids are 0 .. n, a model's V is n + 1 */
    uint32_t eot;           /* the id of <|endoftext|>: n, unless the file said otherwise */
    Strings tokens;         /* n strings */
    Strings merges;         /* n - 256 strings of 8 bytes, see tok_pair */
    uint32_t *id_of;        /* n + 1: token to id */
    uint32_t *token_of;     /* n + 1: id to token */
    uint8_t *classes;       /* UNICODE_END: code point to class */
    uint8_t base[256];      /* byte to token */
} Tokenizer;

/* The letter that stands for byte token k in vocabulary files, and back (-1: no such letter). Printable
 * Latin-1 stands for itself; the other 68 bytes follow in order as U+0100 .. U+0143 (bytes_to_unicode in
 * encoder.py). The same order numbers the byte tokens. */
static inline uint32_t tok_letter(uint32_t k) {
    return k < 94 ? k + 0x21 : k < 106 ? k - 94 + 0xa1 : k < 188 ? k - 106 + 0xae : k - 188 + 0x100;
}
static inline int tok_unletter(uint32_t c) {
    if (c >= 0x21 && c <= 0x7e) return (int)(c - 0x21);
    if (c >= 0xa1 && c <= 0xac) return (int)(c - 0xa1 + 94);
    return c >= 0xae && c < 0x144 ? (int)(c - 0xae + 106) : -1;
}

static inline Tokenizer *tok_new(void) {                    /* the 256 bytes, no merges */
    Tokenizer *t = mem_new(1, sizeof *t);
    t->classes = mem_new(UNICODE_END, 1);
    tok_mark(t->classes, unicode_letters, sizeof unicode_letters, TOK_LETTER);
    tok_mark(t->classes, unicode_numbers, sizeof unicode_numbers, TOK_NUMBER);
    tok_mark(t->classes, unicode_space, sizeof unicode_space, TOK_SPACE);
    for (uint32_t other = 0; t->n < 256; t->n++) {
        uint32_t letter = tok_letter((uint32_t)t->n);
        if (letter > 0xff) while (tok_unletter(letter = other++) >= 0) continue;
        const uint8_t byte = (uint8_t)letter;
        t->base[byte] = (uint8_t)strings_add(&t->tokens, &byte, 1, strings_hash(&byte, 1));
    }
    return t;
}
static inline void tok_free(Tokenizer *t) {
    if (!t) return;
    strings_free(&t->tokens), strings_free(&t->merges);
    free(t->id_of), free(t->token_of), free(t->classes), free(t);
}

static inline uint64_t tok_pair(uint32_t left, uint32_t right) { return (uint64_t)left << 32 | right; }
static inline uint64_t tok_pair_at(const Strings *pairs, size_t k) {
    uint64_t pair;
    return memcpy(&pair, pairs->bytes + 8 * k, 8), pair;
}
static inline uint32_t tok_rank(const Tokenizer *t, uint32_t left, uint32_t right) {  /* TOK_NONE: no merge */
    const uint64_t pair = tok_pair(left, right);
    return strings_find(&t->merges, &pair, 8, strings_hash(&pair, 8));
}

/* Adds the next merge, of two existing tokens. False, and nothing added, if a token of these bytes exists. */
static inline bool tok_join(Tokenizer *t, uint32_t left, uint32_t right) {
    const size_t *l = t->tokens.start + left, *r = t->tokens.start + right, n = l[1] - l[0], m = r[1] - r[0];
    uint8_t *joined = mem_new(n + m, 1);
    memcpy(joined, t->tokens.bytes + l[0], n);
    memcpy(joined + n, t->tokens.bytes + r[0], m);
    const uint64_t hash = strings_hash(joined, n + m), pair = tok_pair(left, right);
    const bool fresh = strings_find(&t->tokens, joined, n + m, hash) == TOK_NONE;
    if (fresh) {
        t->n = strings_add(&t->tokens, joined, n + m, hash) + 1;
        strings_add(&t->merges, &pair, 8, strings_hash(&pair, 8));
    }
    free(joined);
    return fresh;
}

/* Completes the ids. A file that gives some has filled id_of (TOK_NONE: not given), and the one id that it
 * gives to no token is that of <|endoftext|>; without id_of, the ids are the token numbers. */
static inline Tokenizer *tok_seal(Tokenizer *t, const char *name) {
    const bool given = t->id_of;
    size_t hole = 0;
    t->token_of = mem_new(t->n + 1, sizeof *t->token_of);
    memset(t->token_of, 0xff, (t->n + 1) * sizeof *t->token_of);
    if (!given) t->id_of = mem_new(t->n + 1, sizeof *t->id_of);
    for (uint32_t k = 0; k < t->n; k++) {
        uint32_t id = given ? t->id_of[k] : k;
        if (id == TOK_NONE) die("%s: token %u: expected an id, found none", name, k);
        if (id > t->n || t->token_of[id] != TOK_NONE)
            die("%s: token %u: expected an id of its own, at most %zu, found %u", name, k, t->n, id);
        t->id_of[k] = id, t->token_of[id] = k;
    }
    while (t->token_of[hole] != TOK_NONE) hole++;
    if (given && t->id_of[t->n] != TOK_NONE && t->id_of[t->n] != hole)
        die("%s: " TOK_EOT ": expected id %zu, found %u", name, hole, t->id_of[t->n]);
    t->token_of[hole] = (uint32_t)t->n, t->id_of[t->n] = t->eot = (uint32_t)hole;
    return t;
}

/* The bytes of an id; dies if there is no such id. They belong to t and are not a C string. */
static inline const uint8_t *tok_bytes(const Tokenizer *t, uint32_t id, size_t *len) {
    if (id > t->n) die("token id %u: expected at most %zu", id, t->n);
    if (id == t->eot) return *len = strlen(TOK_EOT), (const uint8_t *)TOK_EOT;
    const size_t *start = t->tokens.start + t->token_of[id];
    return *len = start[1] - start[0], t->tokens.bytes + start[0];
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

enum { TOK_SHORT = 128 };   /* bytes up to which looking through all pairs beats a heap */

/* Merges the n tokens in place; returns how many are left. */
static inline size_t tok_merge_short(const Tokenizer *t, uint32_t *ids, size_t n) {
    uint32_t rank[TOK_SHORT] = {0};
    for (size_t k = 0; k + 1 < n; k++) rank[k] = tok_rank(t, ids[k], ids[k + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t k = 1; k + 1 < n; k++) if (rank[k] < rank[best]) best = k;
        if (rank[best] == TOK_NONE) break;
        ids[best] = 256 + rank[best];
        n--;
        for (size_t k = best + 1; k < n; k++) ids[k] = ids[k + 1], rank[k - 1] = rank[k];
        if (best + 1 < n) rank[best] = tok_rank(t, ids[best], ids[best + 1]);
        if (best) rank[best - 1] = tok_rank(t, ids[best - 1], ids[best]);
    }
    return n;
}

/* The same in O(n log n): a linked list, and a heap of (rank, place). A merge sets its right token to
 * TOK_NONE and leaves outdated entries in the heap; an entry whose pair no longer has its rank is passed
 * over. */
static inline void tok_offer(const Tokenizer *t, Heap *h, const uint32_t *ids, size_t at, size_t next) {
    uint32_t rank = tok_rank(t, ids[at], ids[next]);
    if (rank != TOK_NONE) heap_push(h, rank, at);
}
static inline size_t tok_merge_long(const Tokenizer *t, uint32_t *ids, size_t n) {
    size_t *next = mem_new(n, sizeof *next), *prev = mem_new(n, sizeof *prev), left = 0;
    Heap h = {0};
    for (size_t k = 0; k < n; k++) next[k] = k + 1, prev[k] = k - 1;
    for (size_t k = 0; k + 1 < n; k++) tok_offer(t, &h, ids, k, k + 1);
    while (h.n) {
        const HeapItem task = heap_pop(&h);
        const size_t at = task.minor, right = next[at];
        if (ids[at] == TOK_NONE || right == n || tok_rank(t, ids[at], ids[right]) != task.major) continue;
        ids[at] = 256 + (uint32_t)task.major, ids[right] = TOK_NONE;
        next[at] = next[right];
        if (next[at] < n) prev[next[at]] = at, tok_offer(t, &h, ids, at, next[at]);
        if (at) tok_offer(t, &h, ids, prev[at], at);
    }
    for (size_t k = 0; k < n; k = next[k]) ids[left++] = ids[k];
    free(next), free(prev), free(h.item);
    return left;
}

/* The tokens (not ids) of one piece of n bytes, into room for n; returns how many. */
static inline size_t tok_merge(const Tokenizer *t, const uint8_t *piece, size_t n, uint32_t *tokens) {
    for (size_t k = 0; k < n; k++) tokens[k] = t->base[piece[k]];
    return n <= TOK_SHORT ? tok_merge_short(t, tokens, n) : tok_merge_long(t, tokens, n);
}

/* Encodes n bytes of one document into ids, which has room for n; returns how many. Words repeat, so a small
 * table remembers where a piece stood last and where its ids are: most pieces are copied from the output
 * itself. */
static inline size_t tok_encode(const Tokenizer *t, const uint8_t *text, size_t n, uint32_t *ids) {
    typedef struct { size_t text, len, ids, count; } Seen;
    size_t slots = 64, out = 0;
    while (slots < n / 8 && slots < 1 << 14) slots *= 2;
    Seen *seen = mem_new(slots, sizeof *seen);
    for (size_t at = 0, len, count; at < n; at += len, out += count) {
        len = tok_piece(t->classes, text + at, n - at);
        Seen *s = &seen[strings_hash(text + at, len) & (slots - 1)];
        if (s->len == len && !memcmp(text + s->text, text + at, len)) {
            count = s->count;
            for (size_t k = 0; k < count; k++) ids[out + k] = ids[s->ids + k];
        } else {
            count = tok_merge(t, text + at, len, ids + out);
            for (size_t k = 0; k < count; k++) ids[out + k] = t->id_of[ids[out + k]];
        }
        *s = (Seen){at, len, out, count};
    }
    free(seen);
    return out;
}

/* ---- training ------------------------------------------------------------------------------------------ */

/* The pieces are counted first. Each distinct piece is then a row of units, one per token, and each distinct
 * pair of neighbours has its count and a list of its places from left to right. Merging a pair walks its list
 * and changes three neighbouring pairs per place, so that all merges together cost what they change. */
typedef struct {
    uint32_t token, piece, prev, next;      /* neighbours in the piece, TOK_NONE at its ends */
    uint32_t pair, before, after;           /* the pair that begins here, and its places before and after */
} TokUnit;
typedef struct { uint64_t count; uint32_t first, last; } TokPair;
typedef struct {
    Tokenizer *t;
    Strings pieces, pairs;                  /* pairs: 8 bytes each, see tok_pair */
    uint64_t *count;                        /* per piece */
    TokUnit *unit;                             /* per byte of the pieces */
    TokPair *pair;                             /* per pair */
    size_t count_cap, pair_cap;
} TokTrainer;

static inline TokTrainer tok_trainer(void) { return (TokTrainer){.t = tok_new()}; }

/* Counts the pieces of one document; the text is not needed afterwards. */
static inline void tok_trainer_add(TokTrainer *tr, const uint8_t *text, size_t n) {
    for (size_t at = 0, len; at < n; at += len) {
        len = tok_piece(tr->t->classes, text + at, n - at);
        const uint64_t hash = strings_hash(text + at, len);
        uint32_t k = strings_find(&tr->pieces, text + at, len, hash);
        if (k == TOK_NONE) {
            k = strings_add(&tr->pieces, text + at, len, hash);
            tr->count = mem_grow(tr->count, k, &tr->count_cap, sizeof *tr->count);
            tr->count[k] = 0;
        }
        tr->count[k]++;
    }
}

/* Enters the pair that begins at unit `at` as the last of its list; takes it out. */
static inline void units_enter(TokTrainer *tr, uint32_t at) {
    TokUnit *unit = &tr->unit[at];
    const uint64_t pair = tok_pair(unit->token, tr->unit[unit->next].token), hash = strings_hash(&pair, 8);
    uint32_t k = strings_find(&tr->pairs, &pair, 8, hash);
    if (k == TOK_NONE) {
        k = strings_add(&tr->pairs, &pair, 8, hash);
        tr->pair = mem_grow(tr->pair, k, &tr->pair_cap, sizeof *tr->pair);
        tr->pair[k] = (TokPair){0, TOK_NONE, TOK_NONE};
    }
    TokPair *p = &tr->pair[k];
    unit->pair = k, unit->before = p->last, unit->after = TOK_NONE;
    *(p->last == TOK_NONE ? &p->first : &tr->unit[p->last].after) = at;
    p->last = at;
    p->count += tr->count[unit->piece];
}
static inline void units_remove(TokTrainer *tr, uint32_t at) {
    const TokUnit *unit = &tr->unit[at];
    TokPair *p = &tr->pair[unit->pair];
    *(unit->before == TOK_NONE ? &p->first : &tr->unit[unit->before].after) = unit->after;
    *(unit->after == TOK_NONE ? &p->last : &tr->unit[unit->after].before) = unit->before;
    p->count -= tr->count[unit->piece];
}
static inline void units_fill(TokTrainer *tr) {
    const Strings *pieces = &tr->pieces;
    const size_t total = pieces->n ? pieces->start[pieces->n] : 0;
    if (total >= TOK_NONE) die("training text: expected less than 4 GB of distinct pieces, found %zu", total);
    tr->unit = mem_new(total, sizeof *tr->unit);
    for (uint32_t k = 0; k < pieces->n; k++) {
        const uint32_t from = (uint32_t)pieces->start[k], end = (uint32_t)pieces->start[k + 1];
        for (uint32_t at = from; at < end; at++)
            tr->unit[at] = (TokUnit){.token = tr->t->base[pieces->bytes[at]], .piece = k,
                                  .prev = at > from ? at - 1 : TOK_NONE,
                                  .next = at + 1 < end ? at + 1 : TOK_NONE};
        for (uint32_t at = from; at + 1 < end; at++) units_enter(tr, at);
    }
}

/* Replaces a pair by a token everywhere, left to right: "aaa" becomes "aa" "a". */
static inline void units_merge(TokTrainer *tr, uint32_t pair, uint32_t token) {
    for (uint32_t at; (at = tr->pair[pair].first) != TOK_NONE;) {
        TokUnit *unit = &tr->unit[at];
        const uint32_t gone = unit->next, next = tr->unit[gone].next;
        units_remove(tr, at);
        if (unit->prev != TOK_NONE) units_remove(tr, unit->prev);
        if (next != TOK_NONE) units_remove(tr, gone), tr->unit[next].prev = at;
        unit->token = token, unit->next = next;
        if (unit->prev != TOK_NONE) units_enter(tr, unit->prev);
        if (next != TOK_NONE) units_enter(tr, at);
    }
}

/* Makes the vocabulary of n_tokens (>= 256, <|endoftext|> not counted) and frees the trainer. The next merge
 * is the pair with the largest count, among equals the one with the smaller (left, right) token; a pair seen
 * once is never merged, so a short text gives fewer tokens. That is what Hugging Face tokenizers do with
 * min_frequency 2, save that a pair whose bytes are a token already is passed over. */
static inline Tokenizer *tok_trainer_finish(TokTrainer *tr, size_t n_tokens) {
    Tokenizer *t = tr->t;
    Heap h = {0};
    if (n_tokens < 256) die("vocabulary size: expected 256 or more, bytes being tokens, found %zu", n_tokens);
    units_fill(tr);
    for (size_t fresh = 0;;) {
        for (; fresh < tr->pairs.n; fresh++)
            if (tr->pair[fresh].count > 1)
                heap_push(&h, ~tr->pair[fresh].count, tok_pair_at(&tr->pairs, fresh));
        if (t->n >= n_tokens || !h.n) break;
        const HeapItem top = heap_pop(&h);
        const uint32_t k = strings_find(&tr->pairs, &top.minor, 8, strings_hash(&top.minor, 8));
        const uint64_t count = tr->pair[k].count;
        if (count != ~top.major && count > 1) heap_push(&h, ~count, top.minor);     /* it shrank since */
        if (count == ~top.major && tok_join(t, (uint32_t)(top.minor >> 32), (uint32_t)top.minor))
            units_merge(tr, k, (uint32_t)t->n - 1);
    }
    strings_free(&tr->pairs), strings_free(&tr->pieces);
    free(tr->unit), free(tr->pair), free(tr->count), free(h.item);
    *tr = (TokTrainer){0};
    return tok_seal(t, "training");
}
static inline Tokenizer *tok_train(const uint8_t *text, size_t n, size_t n_tokens) {
    TokTrainer tr = tok_trainer();
    tok_trainer_add(&tr, text, n);
    return tok_trainer_finish(&tr, n_tokens);
}

/* ---- files --------------------------------------------------------------------------------------------- */

typedef struct {
    Tokenizer *t;
    const uint8_t *p, *end;         /* what is still to be read */
    const char *name, *unit;        /* for messages: the file, and what `at` counts */
    size_t at, ids;                 /* ids: how many were given in order */
    uint8_t *token;                 /* a token just read; cap bytes */
    char *text;                     /* a JSON string just read; cap bytes */
    size_t cap;
} TokSource;

__attribute__((format(printf, 2, 3), noreturn))
static inline void src_die(const TokSource *s, const char *expected, ...) {
    char text[512];
    va_list ap;
    va_start(ap, expected);
    vsnprintf(text, sizeof text, expected, ap);
    va_end(ap);
    die("%s: %s %zu: expected %s", s->name, s->unit, s->at, text);
}
static inline int src_shown(size_t len) { return len < 60 ? (int)len : 60; }

static inline bool src_line(TokSource *s, const char **line, size_t *len) {            /* without its end */
    if (s->p == s->end) return false;
    const uint8_t *stop = memchr(s->p, '\n', (size_t)(s->end - s->p)), *end = stop ? stop : s->end;
    *line = (const char *)s->p, *len = (size_t)(end - s->p) - (end > s->p && end[-1] == '\r');
    s->p = stop ? stop + 1 : end;
    return ++s->at;
}
static inline size_t src_split(const TokSource *s, const char *p, size_t len) { /* the first field's length */
    const char *space = memchr(p, ' ', len);
    if (!space) src_die(s, "two fields with a space between them, found '%.*s'", src_shown(len), p);
    return (size_t)(space - p);
}
static inline uint32_t src_number(const TokSource *s, const char *p, size_t len) {
    uint64_t v = len ? 0 : TOK_NONE;
    for (size_t k = 0; k < len && v < TOK_NONE; k++)
        v = p[k] >= '0' && p[k] <= '9' ? v * 10 + (uint64_t)(p[k] - '0') : TOK_NONE;
    if (v >= TOK_NONE) src_die(s, "a number below 2^32-1, found '%.*s'", src_shown(len), p);
    return (uint32_t)v;
}

/* The token written in letters at p, TOK_NONE if there is none. */
static inline uint32_t src_token(TokSource *s, const char *letters, size_t len) {
    const uint8_t *p = (const uint8_t *)letters, *end = p + len;
    size_t n = 0;
    for (uint32_t c; p < end; n++) {
        p += utf8_get(p, (size_t)(end - p), &c);
        if (tok_unletter(c) < 0) src_die(s, "a letter that stands for a byte, found U+%04X", c);
        s->token[n] = s->t->tokens.bytes[tok_unletter(c)];
    }
    return strings_find(&s->t->tokens, s->token, n, strings_hash(s->token, n));
}
static inline void src_merge(TokSource *s, const char *text, size_t len) {             /* "left right" */
    const size_t n = src_split(s, text, len), m = len - n - 1;
    const uint32_t left = src_token(s, text, n), right = src_token(s, text + n + 1, m);
    if (left == TOK_NONE || right == TOK_NONE)
        src_die(s, "bytes or results of earlier merges, found '%.*s'", src_shown(len), text);
    if (!tok_join(s->t, left, right)) src_die(s, "a new token, found '%.*s' again", src_shown(len), text);
}
static inline void src_id(TokSource *s, size_t token, uint64_t id) {                /* checked in tok_seal */
    if (!s->t->id_of) {
        s->t->id_of = mem_new(s->cap + 257, sizeof(uint32_t));  /* a file has fewer tokens than bytes + 257 */
        memset(s->t->id_of, 0xff, (s->cap + 257) * sizeof(uint32_t));
    }
    if (s->t->id_of[token] != TOK_NONE) src_die(s, "each token once, found one again");
    s->t->id_of[token] = id < TOK_NONE ? (uint32_t)id : TOK_NONE - 1;
}

/* vocab.bpe and merges.txt: "left right" per line and merge, the first line may be "#version...". Our own
 * files are the same with TOK_MAGIC, 1 and the number of merges in the first line; if the ids are not the
 * token numbers, they follow, one per line and token, <|endoftext|> last. Returns whether it was ours. */
static inline bool src_read_merges(TokSource *s) {
    const char *line;
    size_t len, first, merges = SIZE_MAX;
    const size_t magic = strlen(TOK_MAGIC);
    while (src_line(s, &line, &len)) {
        if (s->at == 1 && len >= magic && !memcmp(line, TOK_MAGIC, magic)) {
            line += magic, len -= magic, first = src_split(s, line, len);
            if (src_number(s, line, first) != 1) src_die(s, "version 1, found %.*s", src_shown(first), line);
            merges = src_number(s, line + first + 1, len - first - 1);
        } else if (s->at == 1 && len >= 8 && !memcmp(line, "#version", 8)) continue;
        else if (s->t->n - 256 != merges) src_merge(s, line, len);
        else if (s->ids > s->t->n) src_die(s, "the end after %zu ids", s->ids);
        else src_id(s, s->ids, src_number(s, line, len)), s->ids++;
    }
    if (merges != SIZE_MAX && s->t->n - 256 != merges) src_die(s, "%zu merges, found the end", merges);
    if (s->ids && s->ids <= s->t->n) src_die(s, "%zu ids, found the end", s->t->n + 1);
    return merges != SIZE_MAX;
}

/* The next token of a file in the order of ids, as bytes. Such a file has no merges, and yet determines them:
 * the earlier ones leave two parts of a token's bytes, and these are its merge. */
static inline void src_rank(TokSource *s, const uint8_t *p, size_t len) {
    uint32_t *parts = mem_new(len, sizeof *parts);
    const size_t n = tok_merge(s->t, p, len, parts);
    if (len != 1 && (n != 2 || !tok_join(s->t, parts[0], parts[1])))
        src_die(s, "a byte or a token of two earlier ones, found one of %zu", n);
    src_id(s, len == 1 ? parts[0] : s->t->n - 1, s->ids++);
    free(parts);
}

static inline size_t src_base64(TokSource *s, const char *p, size_t len) {             /* into s->token */
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0, full = len;
    while (full && len - full < 2 && p[full - 1] == '=') full--;
    for (size_t k = 0, bits = 0; k < full; k++) {
        const char *digit = p[k] ? strchr(digits, p[k]) : NULL;
        if (!digit || len % 4) src_die(s, "base64, found '%.*s'", src_shown(len), p);
        bits = (bits << 6 | (size_t)(digit - digits)) & 0xffff;
        if (k % 4) s->token[n++] = (uint8_t)(bits >> (6 - 2 * (k % 4)));
    }
    return n;
}
static inline void src_read_tiktoken(TokSource *s) {           /* lines "base64 rank", ranks 0, 1, 2 ... */
    const char *line;
    for (size_t len; src_line(s, &line, &len);) {
        const size_t first = src_split(s, line, len), bytes = src_base64(s, line, first);
        const uint32_t rank = src_number(s, line + first + 1, len - first - 1);
        if (rank != s->ids) src_die(s, "rank %zu, found %u", s->ids, rank);
        src_rank(s, s->token, bytes);
    }
}

/* llm.c's file: 256 words of header (magic, version, number of tokens, id of <|endoftext|> from version 2
 * on), then for each token a byte of length and its bytes (llmc/tokenizer.h). */
static inline void src_read_llmc(TokSource *s) {
    const uint8_t *begin = s->p;
    s->unit = "byte";
    if (s->end - s->p < 1024) src_die(s, "a header of 1024 bytes, found %td", s->end - s->p);
    const uint32_t version = get_u32(s->p + 4), n = get_u32(s->p + 8);
    const uint32_t eot = version > 1 ? get_u32(s->p + 12) : 50256;
    if (version != 1 && version != 2) src_die(s, "version 1 or 2, found %u", version);
    if (n < 257 || eot >= n) src_die(s, "257 tokens, and " TOK_EOT "'s id %u among them, found %u", eot, n);
    for (s->p += 1024; s->ids < n; s->p += 1 + *s->p) {
        s->at = (size_t)(s->p - begin);
        const size_t left = (size_t)(s->end - s->p);
        if (!left || left <= *s->p) src_die(s, "token %zu of %u, found the end", s->ids, n);
        if (s->ids == eot) s->ids++;
        else src_rank(s, s->p + 1, *s->p);
    }
    if (s->p != s->end) src_die(s, "%u tokens, found %td bytes more", n, s->end - s->p);
}

/* {"token": id, ...}: an encoder.json, or the vocab in a tokenizer.json; <|endoftext|> may be there too. */
static inline void src_json_ids(TokSource *s, Json j) {
    s->unit = "token of id", s->name = j.name;
    json_expect(&j, '{');
    for (bool first = true; json_more(&j, '}', &first);) {
        const size_t len = json_string(&j, s->text, s->cap);
        json_expect(&j, ':');
        s->at = json_uint(&j);
        uint32_t token = src_token(s, s->text, len);
        if (token == TOK_NONE && !strcmp(s->text, TOK_EOT)) token = (uint32_t)s->t->n;
        if (token == TOK_NONE) src_die(s, "a byte, a merge's result or " TOK_EOT ", found '%.60s'", s->text);
        src_id(s, token, s->at);
    }
}

/* Hugging Face's tokenizer.json. Merges are "left right" or ["left", "right"]. Another way of cutting the
 * text than GPT-2's would give wrong ids without a word, so it is refused. Added tokens are not read: they
 * are in the vocab, or above all its ids. */
static inline void src_read_json(TokSource *s) {
    Json file = json_open(s->p, (size_t)(s->end - s->p), s->name);
    Json model = json_need(file, "model"), j = json_need(model, "merges");
    Json cut = json_need(file, "pre_tokenizer");
    json_want(file, "normalizer", "null"), json_want(model, "ignore_merges", "false");
    json_need(cut, "type"), json_want(cut, "type", "\"ByteLevel\"");
    json_need(cut, "add_prefix_space"), json_want(cut, "add_prefix_space", "false");
    json_want(cut, "use_regex", "true");
    s->unit = "merge";
    json_expect(&j, '[');
    for (bool first = true; json_more(&j, ']', &first);) {
        const bool two = json_peek(&j) == '[';
        if (two) j.p++;
        size_t len = json_string(&j, s->text, s->cap);
        if (two) {
            json_expect(&j, ','), s->text[len] = ' ';
            len += 1 + json_string(&j, s->text + len + 1, s->cap - len - 1), json_expect(&j, ']');
        }
        s->at++;
        src_merge(s, s->text, len);
    }
    src_json_ids(s, json_need(model, "vocab"));
}

/* A vocabulary of any kind, told from its content; `ids` is an encoder.json that belongs to it, or empty. The
 * first merge of a list is of two bytes, so that its first field is too short for base64. */
static inline Tokenizer *tok_read(Bytes file, Bytes ids) {
    if (!file.n) die("%s: expected a vocabulary, found an empty file", file.name);
    const uint8_t *p = file.p, *space = memchr(p, ' ', file.n);
    TokSource s = {.t = tok_new(), .p = p, .end = p + file.n, .name = file.name, .unit = "line"};
    s.cap = size_max(file.n, ids.n) + 2;
    s.token = mem_new(s.cap, 1), s.text = mem_new(s.cap, 1);
    if (file.n >= 4 && get_u32(p) == 20240328) src_read_llmc(&s);
    else if (*p == '{') src_read_json(&s);
    else if (*p != '#' && space && space - p >= 4) src_read_tiktoken(&s);
    else if (!src_read_merges(&s) && ids.name) src_json_ids(&s, json_open(ids.p, ids.n, ids.name));
    free(s.token), free(s.text);
    return tok_seal(s.t, s.name);
}
static inline Tokenizer *tok_parse(const uint8_t *p, size_t n, const char *name) {
    return tok_read((Bytes){p, n, name, false}, (Bytes){0});
}

/* The same from a file. The ids of a vocab.bpe or merges.txt may lie beside it. */
static inline Tokenizer *tok_load(const char *path) {
    char *const beside[] = {path_beside(path, "encoder.json"), path_beside(path, "vocab.json")};
    Bytes file = file_read(path), ids = {0};
    for (size_t k = 0; k < 2 && !ids.name; k++) if (!access(beside[k], R_OK)) ids = file_read(beside[k]);
    Tokenizer *t = tok_read(file, ids);
    file_free(&file), file_free(&ids), free(beside[0]), free(beside[1]);
    return t;
}

/* Our own file (see src_read_merges) in *out, to be freed; returns its size. To others it is a merges.txt. */
static inline char *tok_put(char *to, const Tokenizer *t, uint64_t token, char end) {
    for (size_t k = t->tokens.start[token]; k < t->tokens.start[token + 1]; k++)
        to += utf8_put((uint8_t *)to, tok_letter(t->base[t->tokens.bytes[k]]));
    return *to = end, to + 1;
}
static inline size_t tok_save(const Tokenizer *t, uint8_t **out) {
    const size_t letters = 2 * t->tokens.start[t->n], rest = 16 * (t->n + 4); /* of 2 bytes; spaces, ids */
    char *text = mem_new(letters + rest, 1), *to = text + sprintf(text, TOK_MAGIC "1 %zu\n", t->n - 256);
    bool moved = false;
    for (size_t k = 0; k < t->n - 256; k++) {
        const uint64_t pair = tok_pair_at(&t->merges, k);
        to = tok_put(to, t, pair >> 32, ' '), to = tok_put(to, t, (uint32_t)pair, '\n');
    }
    for (size_t k = 0; k <= t->n; k++) moved |= t->id_of[k] != k;
    for (size_t k = 0; k <= t->n && moved; k++) to += sprintf(to, "%u\n", t->id_of[k]);
    return *out = (uint8_t *)text, (size_t)(to - text);
}
#endif
