/* tokenizer.h: text to numbers and back, by byte-level byte pair encoding exactly as GPT-2 does it; trains
 * vocabularies and reads those of others.
 *
 * It refuses to be a framework: one pattern (GPT-2's), one algorithm, and encoding never makes a special
 * token: "<|endoftext|>" in a text is ordinary text. Who joins documents puts its id between them. A file that
 * asks for more (words of its own, a prefix, another pattern) is refused by the name of what it asks for; what
 * a file does not say and is assumed, is said in a note.
 *
 * A text is cut into pieces (a word with the space before it, a number, signs, white space) by Unicode
 * classes. Each piece starts as bytes; then, again and again, the adjacent pair that stands earliest in the
 * list of merges becomes one token. A vocabulary therefore is its list of merges:
 *     token 0 .. 255      the bytes, in GPT-2's order (see tok_letter)
 *     token 256 + k       the result of merge k; no two tokens have the same bytes
 *     token n             <|endoftext|>
 *     token n + 1 + k     special token k of a file that has more of them ("<|pad|>"), which no text makes
 * These numbers are the ids, unless a file gives others (its special tokens first, say, or ids that no token
 * has): then id_of and token_of translate at the border, and everything inside works on token numbers.
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
#include "../base/out.h"
#include "unicode.h"

#define TOK_EOT "<|endoftext|>"
#define TOK_MAGIC "#version: sparseflow-bpe "
static const uint32_t TOK_NONE = UINT32_MAX;
enum { TOK_UNUSED = 65536 };        /* the most ids of a file that no token has */

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
        s->bytes = mem_resize(s->bytes, s->room);
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
    size_t n;               /* tokens that text is made of */
    size_t V;               /* ids: 0 .. V - 1; n + 1 with no other special tokens and an id for every one */
    uint32_t eot;           /* the id of <|endoftext|>: n, unless the file said otherwise */
    Strings tokens;         /* n strings */
    Strings merges;         /* n - 256 strings of 8 bytes, see tok_pair */
    Strings special;        /* the special tokens other than <|endoftext|> */
    uint32_t *id_of;        /* n + 1 + special.n: token to id */
    uint32_t *token_of;     /* V: id to token; TOK_NONE: no token has it */
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
    strings_free(&t->tokens), strings_free(&t->merges), strings_free(&t->special);
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

static inline size_t tok_count(const Tokenizer *t) { return t->n + 1 + t->special.n; }

/* Completes the ids. A file that gives some has filled id_of (TOK_NONE: not given); without id_of the ids are
 * the token numbers. <|endoftext|>, if it was given none, takes the first that no token has. */
static inline Tokenizer *tok_seal(Tokenizer *t, const char *name) {
    const size_t count = tok_count(t), most = count + TOK_UNUSED;
    if (!t->id_of) {
        t->id_of = mem_new(count, sizeof *t->id_of);
        for (uint32_t k = 0; k < count; k++) t->id_of[k] = k;
    }
    t->token_of = mem_new(most, sizeof *t->token_of);
    memset(t->token_of, 0xff, most * sizeof *t->token_of);
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t id = t->id_of[k];
        if (k == t->n && id == TOK_NONE) continue;
        if (id == TOK_NONE) die("%s: token %u: expected an id, found none", name, k);
        if (id >= most || t->token_of[id] != TOK_NONE)
            die("%s: token %u: expected an id of its own, at most %zu, found %u", name, k, most - 1, id);
        t->token_of[id] = k, t->V = size_max(t->V, id + 1);
    }
    if (t->id_of[t->n] == TOK_NONE) {
        uint32_t hole = 0;
        while (t->token_of[hole] != TOK_NONE) hole++;
        t->token_of[hole] = (uint32_t)t->n, t->id_of[t->n] = hole, t->V = size_max(t->V, hole + 1);
    }
    t->eot = t->id_of[t->n];
    return t;
}
/* Gives t ids up to V - 1 that no token has. */
static inline void tok_widen(Tokenizer *t, size_t V) {
    uint32_t *token_of = mem_new(V, sizeof *token_of);
    memset(token_of, 0xff, V * sizeof *token_of);
    memcpy(token_of, t->token_of, t->V * sizeof *token_of);
    free(t->token_of), t->token_of = token_of, t->V = V;
}

/* The bytes of an id, none if no token has it; dies beyond V. They belong to t and are not a C string. */
static inline const uint8_t *tok_bytes(const Tokenizer *t, uint32_t id, size_t *len) {
    if (id >= t->V) die("token id %u: expected at most %zu", id, t->V - 1);
    const uint32_t token = t->token_of[id];
    const Strings *s = token < t->n ? &t->tokens : &t->special;
    if (token == TOK_NONE) return *len = 0, t->tokens.bytes;
    if (id == t->eot) return *len = strlen(TOK_EOT), (const uint8_t *)TOK_EOT;
    const size_t *start = s->start + (token < t->n ? token : token - t->n - 1);
    return *len = start[1] - start[0], s->bytes + start[0];
}
static inline bool tok_is_text(const Tokenizer *t, uint32_t id) {   /* and not a special token, or none */
    return t->token_of[id] < t->n;
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
    size_t V;                       /* ids that an own file speaks of, 0 if of none */
    bool assumed;                   /* the id of <|endoftext|> */
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

/* Whether all letters stand for bytes; dies at one that does not, if it must. */
static inline bool src_spelled(const TokSource *s, const char *letters, size_t len, bool must) {
    const uint8_t *p = (const uint8_t *)letters, *end = p + len;
    for (uint32_t c; p < end;) {
        p += utf8_get(p, (size_t)(end - p), &c);
        if (tok_unletter(c) >= 0) continue;
        if (must) src_die(s, "a letter that stands for a byte, found U+%04X", c);
        return false;
    }
    return true;
}
/* The bytes written in letters, into s->token; returns how many. */
static inline size_t src_spell(TokSource *s, const char *letters, size_t len) {
    const uint8_t *p = (const uint8_t *)letters, *end = p + len;
    size_t n = 0;
    src_spelled(s, letters, len, true);
    for (uint32_t c; p < end; n++) {
        p += utf8_get(p, (size_t)(end - p), &c);
        s->token[n] = s->t->tokens.bytes[tok_unletter(c)];
    }
    return n;
}
/* The token written in letters, TOK_NONE if there is none. */
static inline uint32_t src_token(TokSource *s, const char *letters, size_t len) {
    const size_t n = src_spell(s, letters, len);
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

/* A special token other than <|endoftext|>: its number among the tokens. The last of text must be there. */
static inline uint32_t src_special(TokSource *s, const void *p, size_t len) {
    const uint64_t hash = strings_hash(p, len);
    uint32_t k = strings_find(&s->t->special, p, len, hash);
    if (k == TOK_NONE) k = strings_add(&s->t->special, p, len, hash);
    return (uint32_t)s->t->n + 1 + k;
}

/* "id letters" of an own file */
static inline void src_more(TokSource *s, const char *line, size_t len) {
    const size_t first = src_split(s, line, len);
    const uint32_t id = src_number(s, line, first);
    if (id >= tok_count(s->t) + TOK_UNUSED) src_die(s, "an id in its range, found %u", id);
    if (len == first + 1) s->V = size_max(s->V, id + 1);
    else src_id(s, src_special(s, s->token, src_spell(s, line + first + 1, len - first - 1)), id);
}

/* vocab.bpe and merges.txt: "left right" per line and merge, the first line may be "#version...". Our own
 * files are the same with TOK_MAGIC, 1 and the number of merges in the first line; if the ids are not the
 * token numbers, they follow, one per line and token, <|endoftext|> last, then "id letters" of other special
 * tokens; without letters, of an id that no token has. Returns whether it was ours. */
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
        else if (s->ids > s->t->n) src_more(s, line, len);
        else src_id(s, s->ids, src_number(s, line, len)), s->ids++;
    }
    if (merges != SIZE_MAX && s->t->n - 256 != merges) src_die(s, "%zu merges, found the end", merges);
    if (s->ids && s->ids <= s->t->n) src_die(s, "%zu ids, found the end", s->t->n + 1);
    return merges != SIZE_MAX;
}

/* The next token of a file in the order of ids, as bytes. Such a file has no merges, and yet determines them:
 * the earlier ones leave two parts of a token's bytes, and these are its merge. */
static inline void src_rank(TokSource *s, const uint8_t *p, size_t len, uint32_t id) {
    uint32_t *parts = mem_new(len, sizeof *parts);
    const size_t n = tok_merge(s->t, p, len, parts);
    if (len != 1 && (n != 2 || !tok_join(s->t, parts[0], parts[1])))
        src_die(s, "a byte or a token of two earlier ones, found one of %zu", n);
    src_id(s, len == 1 ? parts[0] : s->t->n - 1, id);
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
typedef struct { uint32_t rank; const char *line; size_t digits, at; } TokRank;

static inline int tok_by_rank(const void *a, const void *b) {
    const TokRank *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}
/* Lines "base64 rank" in any order; an empty one is passed over. No rank stands there twice; those that are
 * left out are of special tokens, which the file does not name. */
static inline void src_read_tiktoken(TokSource *s) {
    const char *line;
    TokRank *rank = NULL;
    size_t n = 0, cap = 0;
    for (size_t len; src_line(s, &line, &len);) {
        if (!len) continue;
        const size_t first = src_split(s, line, len);
        rank = mem_grow(rank, n, &cap, sizeof *rank);
        rank[n++] = (TokRank){src_number(s, line + first + 1, len - first - 1), line, first, s->at};
    }
    qsort(rank, n, sizeof *rank, tok_by_rank);
    for (size_t k = 0; k < n; k++) {
        s->at = rank[k].at;
        if (k && rank[k].rank == rank[k - 1].rank) src_die(s, "each rank once, found %u again", rank[k].rank);
        src_rank(s, s->token, src_base64(s, rank[k].line, rank[k].digits), rank[k].rank);
    }
    free(rank);
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
    header_rest(begin, version > 1 ? 4 : 3, s->name);
    for (s->p += 1024; s->ids < n; s->p += 1 + *s->p) {
        s->at = (size_t)(s->p - begin);
        const size_t left = (size_t)(s->end - s->p);
        if (!left || left <= *s->p) src_die(s, "token %zu of %u, found the end", s->ids, n);
        if (s->ids != eot) src_rank(s, s->p + 1, *s->p, (uint32_t)s->ids);
        s->ids++;
    }
    if (s->p != s->end) src_die(s, "%u tokens, found %td bytes more", n, s->end - s->p);
}

/* The token that s->text, len bytes, names has this id. What is neither a byte, nor a merge's result, nor
 * <|endoftext|> no text makes: a special token. */
static inline void src_named(TokSource *s, size_t len, uint64_t id) {
    uint32_t token = src_spelled(s, s->text, len, false) ? src_token(s, s->text, len) : TOK_NONE;
    if (token == TOK_NONE && !strcmp(s->text, TOK_EOT)) token = (uint32_t)s->t->n;
    if (token == TOK_NONE) token = src_special(s, s->text, len);
    src_id(s, token, id);
}

/* {"token": id, ...}: an encoder.json, or the vocab in a tokenizer.json. */
static inline void src_json_ids(TokSource *s, Json j) {
    s->unit = "token of id", s->name = j.name;
    json_expect(&j, '{');
    for (bool first = true; json_more(&j, '}', &first);) {
        const size_t len = json_string(&j, s->text, s->cap);
        json_expect(&j, ':');
        s->at = json_uint(&j);
        src_named(s, len, s->at);
    }
}

/* The members of a tokenizer.json. */
static const JsonField tok_json_file[] = {
    {"version", JSON_NEUTRAL, "\"1.0\"|null"}, {"truncation", JSON_NEUTRAL, "null"},
    {"padding", JSON_NEUTRAL, "null"}, {"added_tokens", JSON_READ, ""}, {"normalizer", JSON_NEUTRAL, "null"},
    {"pre_tokenizer", JSON_READ, ""}, {"post_processor", JSON_READ, ""}, {"decoder", JSON_READ, ""},
    {"model", JSON_READ, ""}};
static const JsonField tok_json_cut[] = {
    {"type", JSON_READ, ""}, {"add_prefix_space", JSON_NEUTRAL, "false"},
    {"trim_offsets", JSON_IGNORED, ""}, {"use_regex", JSON_NEUTRAL, "true"}};
static const JsonField tok_json_model[] = {
    {"type", JSON_NEUTRAL, "\"BPE\""}, {"dropout", JSON_NEUTRAL, "null|0.0|0"},
    {"unk_token", JSON_IGNORED, ""}, {"continuing_subword_prefix", JSON_NEUTRAL, "null|\"\""},
    {"end_of_word_suffix", JSON_NEUTRAL, "null|\"\""}, {"fuse_unk", JSON_IGNORED, ""},
    {"byte_fallback", JSON_NEUTRAL, "false"}, {"ignore_merges", JSON_NEUTRAL, "false"},
    {"vocab", JSON_READ, ""}, {"merges", JSON_READ, ""}};
static const JsonField tok_json_added[] = {
    {"id", JSON_READ, ""}, {"content", JSON_READ, ""}, {"special", JSON_READ, ""},
    {"single_word", JSON_IGNORED, ""}, {"lstrip", JSON_IGNORED, ""}, {"rstrip", JSON_IGNORED, ""},
    {"normalized", JSON_IGNORED, ""}};
#define JSON_FIELDS_ONLY(object, fields) json_fields_only(object, fields, sizeof(fields) / sizeof *(fields))

/* The added tokens, after the vocab. A special one may be there already, or gets its id here: the next after
 * the vocab's, as its own program counts. One that is not special would be looked for in every text before
 * all else, which is not done here. */
static inline void src_json_added(TokSource *s, Json j) {
    const size_t before = s->t->special.n;
    size_t named = 0, next = 0;
    for (size_t k = 0; k < tok_count(s->t); k++) next += s->t->id_of[k] != TOK_NONE;
    s->unit = "added token", s->at = 0;
    if (j.p) json_expect(&j, '[');
    for (bool first = true; j.p && json_more(&j, ']', &first); s->at++) {
        Json id = json_need(j, "id"), content = json_need(j, "content"), special = json_need(j, "special");
        JSON_FIELDS_ONLY(j, tok_json_added);
        const size_t len = json_string(&content, s->text, s->cap);
        const bool eot = !strcmp(s->text, TOK_EOT);
        const uint64_t number = json_uint(&id);
        if (!eot && *special.p != 't')
            src_die(s, "a special one, found '%.60s', to be looked for in every text", s->text);
        if (src_spelled(s, s->text, len, false) && src_token(s, s->text, len) != TOK_NONE)
            src_die(s, "one that no text makes, found '%.60s'", s->text);
        const uint32_t token = eot ? (uint32_t)s->t->n : src_special(s, s->text, len);
        const bool known = s->t->id_of[token] != TOK_NONE;
        named += !eot && token - s->t->n - 1 < before;
        if (number != (known ? s->t->id_of[token] : next))
            src_die(s, "id %zu for '%.60s', found %llu", known ? s->t->id_of[token] : next, s->text,
                    (unsigned long long)number);
        if (!known) src_id(s, token, number), next++;
        json_skip(&j, 0);
    }
    if (named < before) src_die(s, "every token of the vocab that is neither a byte nor a merge's result, "
                                   "found %zu of %zu; the vocab's first is '%.*s'", named, before,
                                src_shown(s->t->special.start[1]), s->t->special.bytes);
}

/* Hugging Face's tokenizer.json. Merges are "left right" or ["left", "right"]. Whatever would make other ids
 * than GPT-2's way does is refused. */
static inline void src_read_json(TokSource *s) {
    Json file = json_open(s->p, (size_t)(s->end - s->p), s->name);
    Json model = json_need(file, "model"), j = json_need(model, "merges");
    const Json cut = json_need(file, "pre_tokenizer"), after = json_at(file, "post_processor/type");
    const Json decoder = json_at(file, "decoder/type");
    JSON_FIELDS_ONLY(file, tok_json_file), JSON_FIELDS_ONLY(model, tok_json_model);
    json_want(json_need(cut, "type"), "pre_tokenizer", "\"ByteLevel\""), json_need(cut, "add_prefix_space");
    JSON_FIELDS_ONLY(cut, tok_json_cut);
    if (decoder.p) json_want(decoder, "decoder", "\"ByteLevel\"");
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
    src_json_added(s, json_at(file, "added_tokens"));
    if (after.p && memcmp(after.p, "\"ByteLevel\"", 11))
        note("%s: the tokens that its post_processor puts around a text are not put there", s->name);
}

/* OpenAI's vocabularies as their program names them: how many tokens there are without special ones, and the
 * first after the bytes. Two are for GPT-2's pattern. */
static const struct { const char *name; size_t n; const char *first; bool gpt2; } tok_known[] = {
    {"r50k_base", 50256, " t", true}, {"p50k_base", 50280, " t", true},
    {"cl100k_base", 100256, "  ", false}, {"o200k_base", 199998, "  ", false}};

/* Says what is assumed of a list of merges or ranks, which does not name its pattern, unless it is a known
 * one or the user has said it. Dies if it is known to be for another. */
static inline void src_pattern(const Tokenizer *t, const char *name, bool said) {
    const size_t *start = t->tokens.start + 256;
    for (size_t k = 0; k < sizeof tok_known / sizeof *tok_known && t->n > 256; k++) {
        if (t->n != tok_known[k].n || start[1] - start[0] != strlen(tok_known[k].first) ||
            memcmp(t->tokens.bytes + start[0], tok_known[k].first, start[1] - start[0])) continue;
        if (tok_known[k].gpt2) return;
        die("%s: expected a vocabulary for GPT-2's pattern, found %s, which is for another", name,
            tok_known[k].name);
    }
    if (!said)
        note("%s: it does not say for which pattern it was made; taken is GPT-2's (--pattern gpt2: it is)",
             name);
}

typedef enum { TOK_FILE_LLMC, TOK_FILE_JSON, TOK_FILE_RANKS, TOK_FILE_MERGES, TOK_FILE_OWN } TokFileKind;

/* What kind of vocabulary p is, at least a byte. The first merge of a list is of two bytes, so that its first
 * field is too short for base64. */
static inline TokFileKind tok_file_kind(const uint8_t *p, size_t n, const char *name) {
    Json start = json_open(p, n, name);
    const uint8_t *space = memchr(p, ' ', n);
    if (n >= 4 && get_u32(p) == 20240328) return TOK_FILE_LLMC;
    if (json_peek(&start) == '{') return TOK_FILE_JSON;
    return *p != '#' && space && space - p >= 4 ? TOK_FILE_RANKS : TOK_FILE_MERGES;
}

/* Says what a file left open; ids: the file that its ids are from, or NULL. */
static inline void src_notes(const TokSource *s, TokFileKind kind, const char *file, const char *ids,
                             bool said) {
    const Tokenizer *t = s->t;
    const bool merges = kind == TOK_FILE_MERGES;
    if (merges || kind == TOK_FILE_RANKS) src_pattern(t, file, said);
    if (merges && !ids)
        note("%s: no ids beside it (vocab.json, encoder.json); taken are bytes, merges, " TOK_EOT, file);
    if (merges && t->special.n)
        note("%s: %zu tokens that no text makes, '%.*s' first", ids, t->special.n,
             src_shown(t->special.start[1]), t->special.bytes);
    if (s->assumed) note("%s: no " TOK_EOT " in it; taken for it is id %u", s->name, t->eot);
}

/* A vocabulary of any kind, told from its content; `ids` is an encoder.json that belongs to it, or empty; said:
 * it is for GPT-2's pattern. A byte order mark and, of JSON, white space may come first. */
static inline Tokenizer *tok_read(Bytes file, Bytes ids, bool said) {
    if (!file.n) die("%s: expected a vocabulary, found an empty file", file.name);
    const size_t mark = file.n > 3 && !memcmp(file.p, "\xef\xbb\xbf", 3) ? 3 : 0;
    TokSource s = {.t = tok_new(), .p = file.p + mark, .end = file.p + file.n, .name = file.name,
                   .unit = "line"};
    TokFileKind kind = tok_file_kind(s.p, file.n - mark, file.name);
    s.cap = size_max(file.n, ids.n) + 2;
    s.token = mem_new(s.cap, 1), s.text = mem_new(s.cap, 1);
    if (kind == TOK_FILE_LLMC) src_read_llmc(&s);
    if (kind == TOK_FILE_JSON) src_read_json(&s);
    if (kind == TOK_FILE_RANKS) src_read_tiktoken(&s);
    if (kind == TOK_FILE_MERGES && src_read_merges(&s)) kind = TOK_FILE_OWN;
    if (kind == TOK_FILE_MERGES && ids.name) src_json_ids(&s, json_open(ids.p, ids.n, ids.name));
    free(s.token), free(s.text);
    s.assumed = (kind == TOK_FILE_JSON || ids.name) && s.t->id_of && s.t->id_of[s.t->n] == TOK_NONE;
    tok_seal(s.t, s.name);
    if (s.V > s.t->V) tok_widen(s.t, s.V);
    src_notes(&s, kind, file.name, ids.name, said);
    return s.t;
}
static inline Tokenizer *tok_parse(const uint8_t *p, size_t n, const char *name) {
    return tok_read((Bytes){p, n, name, false}, (Bytes){0}, false);
}

/* The path with its end replaced, on the heap; NULL if it ends in another way. */
static inline char *path_end(const char *path, const char *end, const char *other) {
    const size_t n = strlen(path), m = strlen(end);
    if (n < m || strcmp(path + n - m, end)) return NULL;
    char *out = mem_new(n - m + strlen(other) + 1, 1);
    memcpy(out, path, n - m), strcpy(out + n - m, other);
    return out;
}
/* The same from a file. The ids of merges may lie beside them: NAME-vocab.json of NAME-merges.txt, say. */
static inline Tokenizer *tok_load(const char *path, bool said) {
    char *const beside[] = {path_end(path, "merges.txt", "vocab.json"),
                            path_end(path, "vocab.bpe", "encoder.json"), path_beside(path, "encoder.json"),
                            path_beside(path, "vocab.json")};
    Bytes file = file_read(path), ids = {0};
    for (size_t k = 0; k < 4 && !ids.name; k++)
        if (beside[k] && !access(beside[k], R_OK)) ids = file_read(beside[k]);
    Tokenizer *t = tok_read(file, ids, said);
    file_free(&file), file_free(&ids);
    for (size_t k = 0; k < 4; k++) free(beside[k]);
    return t;
}
/* The same of a file that could be done without: NULL, and a note, if it cannot be read. */
static inline Tokenizer *tok_try(const char *path) {
    Attempt attempt;
    die_attempt = &attempt;
    if (setjmp(attempt.back)) {
        note("%s: not used: %s", path, attempt.line);
        return NULL;
    }
    Tokenizer *t = tok_load(path, false);
    die_attempt = NULL;
    return t;
}

/* Our own file (see src_read_merges) in *out, to be freed; returns its size. To others it is a merges.txt. */
static inline char *tok_put(char *to, const Tokenizer *t, const Strings *s, uint64_t k, char end) {
    for (size_t at = s->start[k]; at < s->start[k + 1]; at++)
        to += utf8_put((uint8_t *)to, tok_letter(t->base[s->bytes[at]]));
    return *to = end, to + 1;
}
static inline size_t tok_save(const Tokenizer *t, uint8_t **out) {
    const size_t special = t->special.n ? t->special.start[t->special.n] : 0, count = tok_count(t);
    const size_t letters = 2 * (t->tokens.start[t->n] + special), rest = 16 * (count + 5); /* spaces, ids */
    char *text = mem_new(letters + rest, 1), *to = text + sprintf(text, TOK_MAGIC "1 %zu\n", t->n - 256);
    bool moved = t->V != t->n + 1;
    uint32_t last = 0;
    for (size_t k = 0; k < t->n - 256; k++) {
        const uint64_t pair = tok_pair_at(&t->merges, k);
        to = tok_put(to, t, &t->tokens, pair >> 32, ' '), to = tok_put(to, t, &t->tokens, (uint32_t)pair, '\n');
    }
    for (size_t k = 0; k < count; k++) moved |= t->id_of[k] != k, last = t->id_of[k] > last ? t->id_of[k] : last;
    for (size_t k = 0; k <= t->n && moved; k++) to += sprintf(to, "%u\n", t->id_of[k]);
    for (size_t k = 0; k < t->special.n; k++) {
        to += sprintf(to, "%u ", t->id_of[t->n + 1 + k]);
        to = tok_put(to, t, &t->special, k, '\n');
    }
    if (last + 1 < t->V) to += sprintf(to, "%zu \n", t->V - 1);
    return *out = (uint8_t *)text, (size_t)(to - text);
}

/* token's bytes as the letters of a JSON string, without the quotes */
static inline void hf_letters(Out *out, const Tokenizer *t, uint64_t token) {
    for (size_t k = t->tokens.start[token]; k < t->tokens.start[token + 1]; k++) {
        uint8_t letter[5] = {0};
        utf8_put(letter, tok_letter(t->base[t->tokens.bytes[k]]));
        if (*letter == '"' || *letter == '\\') out_char(out, '\\');
        out_text(out, (char *)letter);
    }
}
/* The special token of an id as a JSON string. */
static inline void hf_special(Out *out, const Tokenizer *t, uint32_t id) {
    size_t n;
    const uint8_t *p = tok_bytes(t, id, &n);
    char *text = mem_new(n + 1, 1);
    memcpy(text, p, n), json_put(out, text), free(text);
}
/* A tokenizer.json that cuts and merges as this program does. */
static inline void hf_write_tokenizer(const char *path, const Tokenizer *t) {
    Out out = out_open(path);
    const char *between = "\n";
    out_text(&out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n\"added_tokens\": [");
    for (uint32_t id = 0; id < t->V; id++) {                /* in the order of ids */
        if (t->token_of[id] == TOK_NONE || tok_is_text(t, id)) continue;
        out_print(&out, "%s{\"id\": %u, \"content\": ", between, id), hf_special(&out, t, id);
        out_text(&out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
              "\"special\": true}");
        between = ",\n";
    }
    out_text(&out, "],\n\"normalizer\": null,\n\"pre_tokenizer\": {\"type\": \"ByteLevel\", "
          "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},\n"
          "\"post_processor\": null,\n\"decoder\": {\"type\": \"ByteLevel\", "
          "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n"
          "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
          "\"continuing_subword_prefix\": \"\", \"end_of_word_suffix\": \"\", \"fuse_unk\": false, "
          "\"byte_fallback\": false,\n\"vocab\": {");
    for (size_t k = 0; k < t->n; k++)
        out_text(&out, k ? ",\n\"" : "\n\""), hf_letters(&out, t, k), out_print(&out, "\": %u", t->id_of[k]);
    for (size_t k = t->n; k < tok_count(t); k++)
        out_text(&out, ",\n"), hf_special(&out, t, t->id_of[k]), out_print(&out, ": %u", t->id_of[k]);
    out_text(&out, "},\n\"merges\": [");
    for (size_t k = 0; k < t->n - 256; k++) {
        const uint64_t pair = tok_pair_at(&t->merges, k);
        out_text(&out, k ? ",\n\"" : "\n\""), hf_letters(&out, t, pair >> 32), out_char(&out, ' ');
        hf_letters(&out, t, (uint32_t)pair), out_char(&out, '"');
    }
    out_text(&out, "]}}\n");
    out_done(&out);
}
#endif
