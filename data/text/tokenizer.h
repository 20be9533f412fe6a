/* tokenizer.h: text to numbers and back, by byte-level byte pair encoding
 * exactly as GPT-2 does it; and the training of vocabularies.
 *
 * It refuses to be a framework: one pattern (GPT-2's), one algorithm, and
 * encoding never makes a special token: "<|endoftext|>" in a text is ordinary
 * text. Who joins documents puts its id between them.
 *
 * A text is cut into pieces (a word with the space before it, a number, signs,
 * white space) by Unicode classes. Each piece starts as bytes; then, again and
 * again, the adjacent pair that stands earliest in the list of merges becomes
 * one token. A vocabulary therefore is its list of merges:
 *
 *     token 0 .. 255     the bytes, in GPT-2's order (see tok_letter)
 *     token 256 + k      the result of merge k; no two have the same bytes
 *     token n            <|endoftext|>
 *     token n + 1 + k    special token k of a file that has more of them
 *                        ("<|pad|>"), which no text makes
 *
 * These numbers are the ids, unless a file gives others (its special tokens
 * first, say, or ids that no token has): then id_of and token_of translate at
 * the border, and everything inside works on token numbers.
 *
 * An example: trained on "low lower lowest slow", the most frequent pair is l o
 * (4 times; o w too, but l has the smaller number), then lo w:
 *
 *     Tokenizer *t = tok_train(text, 21, 258);
 *     tok_encode(t, " slow", 5, ids)     returns 3: the ids of " ", "s", "low"
 *
 *     " slow"    | ' ' | s | l | o | w |     bytes
 *                | ' ' | s |  lo   | w |     merge 0: l o
 *                | ' ' | s |    low    |     merge 1: lo w
 *
 * Memory: two tables of strings, the tokens and the merges (8 bytes: left and
 * right token; the number is the rank), and a byte per code point for its
 * class. Once made it is constant: any number of threads may encode with it. */
#ifndef TOKENIZER_H
#define TOKENIZER_H
#include "../base/base.h"
#include "unicode.h"

#define TOK_EOT "<|endoftext|>"
static const uint32_t TOK_NONE = UINT32_MAX;
enum { TOK_UNUSED = 65536 };    /* the most ids of a file that no token has */

/* ---- a table of distinct strings, numbered 0, 1, 2 ... ------------------- */

typedef struct {
    uint8_t *bytes;         /* all strings, one after the other */
    size_t *start;          /* (n + 1) string k: start[k] .. start[k+1] - 1 */
    uint64_t *slot;         /* (slots) open addressing: upper half of the hash,
                             * then number + 1; 0 is free */
    size_t n;
    size_t slots;           /* a power of two, more than twice n */
    size_t starts, room;    /* of start and of bytes */
} Strings;

/* A hash of n bytes at p, whose upper half is kept and whose lower half is
 * not. */
static inline uint64_t strings_hash(const void *p, size_t n) {
    const uint8_t *s = p;
    uint64_t h = n;
    uint64_t word;
    for (; n >= 8; n -= 8) {
        memcpy(&word, s, 8);
        h = rng_mix(h ^ word);
        s += 8;
    }
    word = 0;
    for (; n; n--) word = word << 8 | s[n - 1];
    return rng_mix(h ^ word);
}

static inline size_t strings_length(const Strings *s, size_t k) {
    return s->start[k + 1] - s->start[k];
}
static inline const uint8_t *strings_at(const Strings *s, size_t k) {
    return s->bytes + s->start[k];
}
/* Bytes of all strings together. */
static inline size_t strings_bytes(const Strings *s) {
    return s->n ? s->start[s->n] : 0;
}

/* The number of a string of n bytes, TOK_NONE if it is not in the table. */
static inline uint32_t strings_find(const Strings *s, const void *p, size_t n,
                                    uint64_t hash) {
    for (size_t at = hash >> 32; s->slots; at++) {
        const uint64_t entry = s->slot[at & (s->slots - 1)];
        if (!entry) break;
        const uint32_t k = (uint32_t)entry - 1;
        if ((entry ^ hash) >> 32 || strings_length(s, k) != n) continue;
        if (!memcmp(strings_at(s, k), p, n)) return k;
    }
    return TOK_NONE;
}
static inline void strings_place(uint64_t *slot, size_t slots, uint64_t entry) {
    size_t at = entry >> 32;
    while (slot[at & (slots - 1)]) at++;
    slot[at & (slots - 1)] = entry;
}
static inline void strings_widen(Strings *s) {
    const size_t slots = s->slots ? size_mul(s->slots, 2) : 1024;
    uint64_t *slot = mem_new(slots, sizeof *slot);
    for (size_t k = 0; k < s->slots; k++)
        if (s->slot[k]) strings_place(slot, slots, s->slot[k]);
    free(s->slot);
    s->slot = slot;
    s->slots = slots;
}

/* Adds a string that is not in the table, and does not lie in it; returns its
 * number. Dies if there are 2^32 - 2 already. */
static inline uint32_t strings_add(Strings *s, const void *p, size_t n,
                                   uint64_t hash) {
    const size_t end = strings_bytes(s);
    if (s->n >= TOK_NONE - 1) die("too many different strings: %zu", s->n);
    if (2 * s->n >= s->slots) strings_widen(s);
    s->start = mem_grow(s->start, s->n + 1, &s->starts, sizeof *s->start);
    while (s->room - end < n || !s->room) {
        s->room = s->room ? size_mul(s->room, 2) : 4096;
        s->bytes = mem_resize(s->bytes, s->room);
    }
    memcpy(s->bytes + end, p, n);
    s->start[s->n] = end;
    s->start[s->n + 1] = end + n;
    strings_place(s->slot, s->slots, (hash >> 32 << 32) | (s->n + 1));
    return (uint32_t)s->n++;
}
static inline void strings_free(Strings *s) {
    free(s->bytes);
    free(s->start);
    free(s->slot);
}

/* ---- cutting a text into pieces ------------------------------------------ */

enum { TOK_OTHER, TOK_LETTER, TOK_NUMBER, TOK_SPACE };

/* Gives a class to the code points of a table of unicode.h, n pairs of how many
 * to step over and how many belong to it. */
static inline void tok_mark(uint8_t *classes, const uint16_t *runs, size_t n,
                            int class) {
    size_t code = 0;
    for (size_t k = 0; k < n; k++) {
        code += runs[2 * k];
        memset(classes + code, class, runs[2 * k + 1]);
        code += runs[2 * k + 1];
    }
}

/* The class of the code point at p, n >= 1 bytes to the end; *len: its
 * bytes. */
static inline int tok_class(const uint8_t *classes, const uint8_t *p, size_t n,
                            size_t *len) {
    uint32_t c;
    if (*p < 0x80) {
        *len = 1;
        return classes[*p];
    }
    *len = utf8_get(p, n, &c);
    return c < UNICODE_END ? classes[c] : TOK_OTHER;
}

/* Bytes of the piece of p that is the end of a contraction, 0 if none begins
 * there. */
static inline size_t tok_contraction(const uint8_t *p, size_t n) {
    if (p[0] != '\'' || n < 2) return 0;
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd') return 2;
    if (n < 3) return 0;
    if (p[2] == 'e' && (p[1] == 'r' || p[1] == 'v')) return 3;
    if (p[2] == 'l' && p[1] == 'l') return 3;
    return 0;
}
/* Length of the first piece of p, n >= 1 bytes to the end of its document. The
 * pattern (openai/gpt-2 encoder.py):
 *
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * White space before something else leaves its last character to the next
 * piece. */
static inline size_t tok_piece(const uint8_t *classes, const uint8_t *p,
                               size_t n) {
    size_t at = 0;
    size_t len = 0;
    size_t last = 0;                /* where its last character begins */
    const size_t contraction = tok_contraction(p, n);
    if (contraction) return contraction;
    if (p[0] == ' ' && n > 1 &&
        tok_class(classes, p + 1, n - 1, &len) != TOK_SPACE)
        at = 1;
    const int class = tok_class(classes, p + at, n - at, &len);
    do {
        last = at;
        at += len;
    } while (at < n && tok_class(classes, p + at, n - at, &len) == class);
    return class == TOK_SPACE && at < n && last ? last : at;
}

/* ---- the vocabulary ------------------------------------------------------ */

typedef struct Tokenizer {
    size_t n;               /* tokens that text is made of */
    size_t V;               /* ids: 0 .. V - 1; n + 1 with no other special
                             * tokens and an id for every one */
    uint32_t eot;           /* the id of <|endoftext|>: n, unless the file said
                             * otherwise */
    Strings tokens;         /* n strings */
    Strings merges;         /* n - 256 strings of 8 bytes, see tok_pair */
    Strings special;        /* the special tokens other than <|endoftext|> */
    uint32_t *id_of;        /* (n + 1 + special.n) token to id */
    uint32_t *token_of;     /* (V) id to token; TOK_NONE: no token has it */
    uint8_t *classes;       /* (UNICODE_END) code point to class */
    uint8_t base[256];      /* byte to token */
} Tokenizer;

/* The letter that stands for byte token k in vocabulary files, and back (-1: no
 * such letter). Printable Latin-1 stands for itself; the other 68 bytes follow
 * in order as U+0100 .. U+0143 (bytes_to_unicode in encoder.py). The same order
 * numbers the byte tokens. */
static inline uint32_t tok_letter(uint32_t k) {
    if (k < 94) return k + 0x21;
    if (k < 106) return k - 94 + 0xa1;
    if (k < 188) return k - 106 + 0xae;
    return k - 188 + 0x100;
}
static inline int tok_unletter(uint32_t c) {
    if (c >= 0x21 && c <= 0x7e) return (int)(c - 0x21);
    if (c >= 0xa1 && c <= 0xac) return (int)(c - 0xa1 + 94);
    return c >= 0xae && c < 0x144 ? (int)(c - 0xae + 106) : -1;
}

/* The 256 bytes, and no merges. */
static inline Tokenizer *tok_new(void) {
    Tokenizer *t = mem_new(1, sizeof *t);
    uint32_t other = 0;     /* the next byte to ask for a letter of its own */
    t->classes = mem_new(UNICODE_END, 1);
    tok_mark(t->classes, unicode_letters, sizeof unicode_letters / 4,
             TOK_LETTER);
    tok_mark(t->classes, unicode_numbers, sizeof unicode_numbers / 4,
             TOK_NUMBER);
    tok_mark(t->classes, unicode_space, sizeof unicode_space / 4, TOK_SPACE);
    for (; t->n < 256; t->n++) {
        uint32_t letter = tok_letter((uint32_t)t->n);
        if (letter > 0xff) {
            while (tok_unletter(other) >= 0) other++;
            letter = other++;
        }
        const uint8_t byte = (uint8_t)letter;
        const uint64_t hash = strings_hash(&byte, 1);
        t->base[byte] = (uint8_t)strings_add(&t->tokens, &byte, 1, hash);
    }
    return t;
}
static inline void tok_free(Tokenizer *t) {
    if (!t) return;
    strings_free(&t->tokens);
    strings_free(&t->merges);
    strings_free(&t->special);
    free(t->id_of);
    free(t->token_of);
    free(t->classes);
    free(t);
}

/* A pair of tokens as a number; as a string of a table it is these 8 bytes. */
static inline uint64_t tok_pair(uint32_t left, uint32_t right) {
    return (uint64_t)left << 32 | right;
}
static inline uint64_t tok_pair_at(const Strings *pairs, size_t k) {
    uint64_t pair;
    memcpy(&pair, pairs->bytes + 8 * k, 8);
    return pair;
}
/* The number of a pair in a table of them, TOK_NONE if it is not there. */
static inline uint32_t tok_pair_find(const Strings *pairs, uint64_t pair) {
    return strings_find(pairs, &pair, 8, strings_hash(&pair, 8));
}
static inline uint32_t tok_pair_add(Strings *pairs, uint64_t pair) {
    return strings_add(pairs, &pair, 8, strings_hash(&pair, 8));
}
/* The number of the merge of two tokens, TOK_NONE if there is none. */
static inline uint32_t tok_rank(const Tokenizer *t, uint32_t left,
                                uint32_t right) {
    return tok_pair_find(&t->merges, tok_pair(left, right));
}

/* Adds the next merge, of two existing tokens. False, and nothing added, if a
 * token of these bytes exists. */
static inline bool tok_join(Tokenizer *t, uint32_t left, uint32_t right) {
    const size_t n = strings_length(&t->tokens, left);
    const size_t m = strings_length(&t->tokens, right);
    uint8_t *joined = mem_new(n + m, 1);
    memcpy(joined, strings_at(&t->tokens, left), n);
    memcpy(joined + n, strings_at(&t->tokens, right), m);
    const uint64_t hash = strings_hash(joined, n + m);
    const bool fresh = strings_find(&t->tokens, joined, n + m, hash) ==
                       TOK_NONE;
    if (fresh) {
        t->n = strings_add(&t->tokens, joined, n + m, hash) + 1;
        tok_pair_add(&t->merges, tok_pair(left, right));
    }
    free(joined);
    return fresh;
}

/* Tokens of all kinds. */
static inline size_t tok_count(const Tokenizer *t) {
    return t->n + 1 + t->special.n;
}

/* n ids or tokens, all TOK_NONE. */
static inline uint32_t *tok_none(size_t n) {
    uint32_t *none = mem_new(n, sizeof *none);
    memset(none, 0xff, n * sizeof *none);
    return none;
}
/* Gives token k that id, which no other has. */
static inline void tok_give(Tokenizer *t, size_t k, uint32_t id) {
    t->token_of[id] = (uint32_t)k;
    t->id_of[k] = id;
    t->V = size_max(t->V, id + 1);
}
/* Completes the ids. A file that gives some has filled id_of (TOK_NONE: not
 * given); without id_of the ids are the token numbers. <|endoftext|>, if it was
 * given none, takes the first that no token has. Dies if two tokens have one
 * id, or if one has none or one that is too large; name: the file, for
 * messages. */
static inline Tokenizer *tok_seal(Tokenizer *t, const char *name) {
    const size_t count = tok_count(t);
    const size_t most = count + TOK_UNUSED;
    if (!t->id_of) {
        t->id_of = mem_new(count, sizeof *t->id_of);
        for (uint32_t k = 0; k < count; k++) t->id_of[k] = k;
    }
    t->token_of = tok_none(most);
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t id = t->id_of[k];
        if (k == t->n && id == TOK_NONE) continue;
        if (id == TOK_NONE)
            die("%s: token %u: expected an id, found none", name, k);
        if (id >= most || t->token_of[id] != TOK_NONE)
            die("%s: token %u: expected an id of its own, at most %zu, found "
                "%u",
                name, k, most - 1, id);
        tok_give(t, k, id);
    }
    if (t->id_of[t->n] == TOK_NONE) {
        uint32_t hole = 0;
        while (t->token_of[hole] != TOK_NONE) hole++;
        tok_give(t, t->n, hole);
    }
    t->eot = t->id_of[t->n];
    return t;
}
/* Gives t ids up to V - 1 that no token has. */
static inline void tok_widen(Tokenizer *t, size_t V) {
    uint32_t *token_of = tok_none(V);
    memcpy(token_of, t->token_of, t->V * sizeof *token_of);
    free(t->token_of);
    t->token_of = token_of;
    t->V = V;
}

/* The bytes of an id, none if no token has it; dies beyond V. They belong to t
 * and are not a C string. */
static inline const uint8_t *tok_bytes(const Tokenizer *t, uint32_t id,
                                       size_t *len) {
    if (id >= t->V) die("token id %u: expected at most %zu", id, t->V - 1);
    const uint32_t token = t->token_of[id];
    if (token == TOK_NONE) {
        *len = 0;
        return t->tokens.bytes;
    }
    if (id == t->eot) {
        *len = strlen(TOK_EOT);
        return (const uint8_t *)TOK_EOT;
    }
    const Strings *s = token < t->n ? &t->tokens : &t->special;
    const size_t k = token < t->n ? token : token - t->n - 1;
    *len = strings_length(s, k);
    return strings_at(s, k);
}
/* Whether text makes it: it is no special token, and a token has it. */
static inline bool tok_is_text(const Tokenizer *t, uint32_t id) {
    return t->token_of[id] < t->n;
}

/* Whether every id has the same bytes in both. */
static inline bool tok_same(const Tokenizer *a, const Tokenizer *b) {
    bool same = a->V == b->V && a->eot == b->eot;
    for (uint32_t id = 0; same && id < a->V; id++) {
        size_t n[2];
        const uint8_t *of_a = tok_bytes(a, id, &n[0]);
        const uint8_t *of_b = tok_bytes(b, id, &n[1]);
        same = n[0] == n[1] && !memcmp(of_a, of_b, n[0]) &&
               tok_is_text(a, id) == tok_is_text(b, id);
    }
    return same;
}

/* The first place in n bytes of text where a special token other than
 * <|endoftext|> is spelled out, its number in *which; NULL if there is none. A
 * table of first two bytes passes over nearly all of the text; a token of one
 * byte may have any second. */
static inline const uint8_t *tok_spelled(const Tokenizer *t, const uint8_t *text,
                                         size_t n, size_t *which) {
    if (!t->special.n) return NULL;
    bool *begins = mem_new(65536, sizeof *begins);
    const uint8_t *found = NULL;
    for (size_t k = 0; k < t->special.n; k++) {
        const uint8_t *p = strings_at(&t->special, k);
        const size_t len = strings_length(&t->special, k);
        if (len > 1) begins[get_u16(p)] = true;
        for (size_t next = 0; next < 256 && len == 1; next++)
            begins[p[0] | next << 8] = true;
    }
    for (size_t at = 0; at < n && !found; at++) {
        const size_t next = at + 1 < n ? text[at + 1] : 0;
        if (!begins[text[at] | next << 8]) continue;
        for (size_t k = 0; k < t->special.n && !found; k++) {
            const size_t len = strings_length(&t->special, k);
            if (!len || len > n - at) continue;
            if (memcmp(text + at, strings_at(&t->special, k), len)) continue;
            found = text + at;
            *which = k;
        }
    }
    free(begins);
    return found;
}
/* Says if a text has such a token: to the programs of others it is one, here it
 * is its letters. Whether it has. */
static inline bool tok_note_spelled(const Tokenizer *t, const uint8_t *text, size_t n,
                                    const char *name) {
    size_t k = 0;
    const uint8_t *found = tok_spelled(t, text, n, &k);
    if (found)
        note("%s: byte %td: '%.*s' is a special token of the vocabulary; it is encoded as "
             "any other text",
             name, found - text, (int)size_min(strings_length(&t->special, k), 60),
             (const char *)strings_at(&t->special, k));
    return found;
}

/* ---- encoding ------------------------------------------------------------ */

/* Up to so many bytes, looking through all pairs beats a heap. */
enum { TOK_SHORT = 128 };

/* Merges the n tokens of a piece in place; returns how many are left. */
static inline size_t tok_merge_short(const Tokenizer *t, uint32_t *tokens,
                                     size_t n) {
    uint32_t rank[TOK_SHORT] = {0};         /* [k] of tokens k and k + 1 */
    for (size_t k = 0; k + 1 < n; k++)
        rank[k] = tok_rank(t, tokens[k], tokens[k + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t k = 1; k + 1 < n; k++)
            if (rank[k] < rank[best]) best = k;
        if (rank[best] == TOK_NONE) break;
        tokens[best] = 256 + rank[best];
        n--;
        for (size_t k = best + 1; k < n; k++) {
            tokens[k] = tokens[k + 1];
            rank[k - 1] = rank[k];
        }
        if (best + 1 < n)
            rank[best] = tok_rank(t, tokens[best], tokens[best + 1]);
        if (best) rank[best - 1] = tok_rank(t, tokens[best - 1], tokens[best]);
    }
    return n;
}

/* Enters in the heap the pair of the tokens at two places, if a merge makes it
 * one. */
static inline void tok_offer(const Tokenizer *t, Heap *h,
                             const uint32_t *tokens, size_t at, size_t next) {
    const uint32_t rank = tok_rank(t, tokens[at], tokens[next]);
    if (rank != TOK_NONE) heap_push(h, rank, at);
}
/* The same as tok_merge_short in O(n log n): a linked list, and a heap of
 * (rank, place). A merge sets its right token to TOK_NONE and leaves outdated
 * entries in the heap; an entry whose pair no longer has its rank is passed
 * over. */
static inline size_t tok_merge_long(const Tokenizer *t, uint32_t *tokens,
                                    size_t n) {
    size_t *next = mem_new(n, sizeof *next);        /* (n) n: there is none */
    size_t *prev = mem_new(n, sizeof *prev);        /* (n) */
    size_t left = 0;
    Heap h = {0};
    for (size_t k = 0; k < n; k++) {
        next[k] = k + 1;
        prev[k] = k - 1;
    }
    for (size_t k = 0; k + 1 < n; k++) tok_offer(t, &h, tokens, k, k + 1);
    while (h.n) {
        const HeapItem task = heap_pop(&h);
        const size_t at = task.minor;
        const size_t right = next[at];
        if (tokens[at] == TOK_NONE || right == n) continue;
        if (tok_rank(t, tokens[at], tokens[right]) != task.major) continue;
        tokens[at] = 256 + (uint32_t)task.major;
        tokens[right] = TOK_NONE;
        next[at] = next[right];
        if (next[at] < n) {
            prev[next[at]] = at;
            tok_offer(t, &h, tokens, at, next[at]);
        }
        if (at) tok_offer(t, &h, tokens, prev[at], at);
    }
    for (size_t k = 0; k < n; k = next[k]) tokens[left++] = tokens[k];
    free(next);
    free(prev);
    free(h.item);
    return left;
}

/* The tokens (not ids) of one piece of n bytes, into room for n; returns how
 * many. */
static inline size_t tok_merge(const Tokenizer *t, const uint8_t *piece,
                               size_t n, uint32_t *tokens) {
    for (size_t k = 0; k < n; k++) tokens[k] = t->base[piece[k]];
    return n <= TOK_SHORT ? tok_merge_short(t, tokens, n)
                          : tok_merge_long(t, tokens, n);
}

/* Encodes n bytes of one document into ids, which has room for n; returns how
 * many. Words repeat, so a small table remembers where a piece stood last and
 * where its ids are: most pieces are copied from the output itself. */
static inline size_t tok_encode(const Tokenizer *t, const uint8_t *text,
                                size_t n, uint32_t *ids) {
    typedef struct {
        size_t text, len;           /* the piece: where it stood, its bytes */
        size_t ids, count;          /* where its ids stand, how many */
    } Seen;
    size_t slots = 64;
    while (slots < n / 8 && slots < 1 << 14) slots *= 2;
    Seen *seen = mem_new(slots, sizeof *seen);      /* (slots) by the hash */
    size_t out = 0;
    for (size_t at = 0; at < n;) {
        const size_t len = tok_piece(t->classes, text + at, n - at);
        Seen *s = &seen[strings_hash(text + at, len) & (slots - 1)];
        size_t count = s->count;
        if (s->len == len && !memcmp(text + s->text, text + at, len)) {
            for (size_t k = 0; k < count; k++) ids[out + k] = ids[s->ids + k];
        } else {
            count = tok_merge(t, text + at, len, ids + out);
            for (size_t k = 0; k < count; k++)
                ids[out + k] = t->id_of[ids[out + k]];
        }
        *s = (Seen){at, len, out, count};
        at += len;
        out += count;
    }
    free(seen);
    return out;
}

/* ---- training ------------------------------------------------------------ */

/* The pieces are counted first. Each distinct piece is then a row of units, one
 * per token, and each distinct pair of neighbours has its count and a list of
 * its places from left to right. Merging a pair walks its list and changes
 * three neighbouring pairs per place, so that all merges together cost what
 * they change.
 *
 *     piece 0 " low"  x 2     | ' ' | l | o | w |       a unit a byte
 *     piece 1 "low"   x 1     | l | o | w |
 *     pair l o, count 3             ^ ^ its two places, one in each piece */
typedef struct {
    uint32_t token, piece;
    uint32_t prev, next;        /* neighbours in the piece, or TOK_NONE */
    uint32_t pair;              /* the one that begins here */
    uint32_t before, after;     /* its places before and after this */
} TokUnit;
typedef struct {
    uint64_t count;
    uint32_t first, last;       /* its places */
} TokPair;
typedef struct {
    Tokenizer *t;
    Strings pieces;
    Strings pairs;              /* 8 bytes each, see tok_pair */
    uint64_t *count;            /* (pieces.n) */
    TokUnit *unit;              /* (bytes of the pieces) */
    TokPair *pair;              /* (pairs.n) */
    size_t count_cap, pair_cap;
} TokTrainer;

static inline TokTrainer tok_trainer(void) {
    return (TokTrainer){.t = tok_new()};
}

/* Counts the pieces of one document; the text is not needed afterwards. */
static inline void tok_trainer_add(TokTrainer *tr, const uint8_t *text,
                                   size_t n) {
    size_t len;
    for (size_t at = 0; at < n; at += len) {
        len = tok_piece(tr->t->classes, text + at, n - at);
        const uint64_t hash = strings_hash(text + at, len);
        uint32_t k = strings_find(&tr->pieces, text + at, len, hash);
        if (k == TOK_NONE) {
            k = strings_add(&tr->pieces, text + at, len, hash);
            tr->count = mem_grow(tr->count, k, &tr->count_cap,
                                 sizeof *tr->count);
            tr->count[k] = 0;
        }
        tr->count[k]++;
    }
}

/* The number of a pair, which is entered if it is new. */
static inline uint32_t units_pair(TokTrainer *tr, uint64_t pair) {
    uint32_t k = tok_pair_find(&tr->pairs, pair);
    if (k != TOK_NONE) return k;
    k = tok_pair_add(&tr->pairs, pair);
    tr->pair = mem_grow(tr->pair, k, &tr->pair_cap, sizeof *tr->pair);
    tr->pair[k] = (TokPair){0, TOK_NONE, TOK_NONE};
    return k;
}
/* Enters the pair that begins at unit `at` as the last of its list. */
static inline void units_enter(TokTrainer *tr, uint32_t at) {
    TokUnit *unit = &tr->unit[at];
    unit->pair = units_pair(tr,
                            tok_pair(unit->token, tr->unit[unit->next].token));
    TokPair *p = &tr->pair[unit->pair];
    unit->before = p->last;
    unit->after = TOK_NONE;
    if (p->last == TOK_NONE) p->first = at;
    else tr->unit[p->last].after = at;
    p->last = at;
    p->count += tr->count[unit->piece];
}
/* Takes it out. */
static inline void units_remove(TokTrainer *tr, uint32_t at) {
    const TokUnit *unit = &tr->unit[at];
    TokPair *p = &tr->pair[unit->pair];
    if (unit->before == TOK_NONE) p->first = unit->after;
    else tr->unit[unit->before].after = unit->after;
    if (unit->after == TOK_NONE) p->last = unit->before;
    else tr->unit[unit->after].before = unit->before;
    p->count -= tr->count[unit->piece];
}
/* Lays out the pieces as units and enters all their pairs. */
static inline void units_fill(TokTrainer *tr) {
    const Strings *pieces = &tr->pieces;
    const size_t total = strings_bytes(pieces);
    if (total >= TOK_NONE)
        die("training text: expected less than 4 GB of distinct pieces, found "
            "%zu",
            total);
    tr->unit = mem_new(total, sizeof *tr->unit);
    for (uint32_t k = 0; k < pieces->n; k++) {
        const uint32_t from = (uint32_t)pieces->start[k];
        const uint32_t end = (uint32_t)pieces->start[k + 1];
        for (uint32_t at = from; at < end; at++)
            tr->unit[at] = (TokUnit){.token = tr->t->base[pieces->bytes[at]],
                                     .piece = k,
                                     .prev = at > from ? at - 1 : TOK_NONE,
                                     .next = at + 1 < end ? at + 1 : TOK_NONE};
        for (uint32_t at = from; at + 1 < end; at++) units_enter(tr, at);
    }
}

/* Replaces a pair by a token everywhere, left to right: "aaa" becomes "aa"
 * "a". */
static inline void units_merge(TokTrainer *tr, uint32_t pair, uint32_t token) {
    while (tr->pair[pair].first != TOK_NONE) {
        const uint32_t at = tr->pair[pair].first;
        TokUnit *unit = &tr->unit[at];
        const uint32_t gone = unit->next;
        const uint32_t next = tr->unit[gone].next;
        units_remove(tr, at);
        if (unit->prev != TOK_NONE) units_remove(tr, unit->prev);
        if (next != TOK_NONE) {
            units_remove(tr, gone);
            tr->unit[next].prev = at;
        }
        unit->token = token;
        unit->next = next;
        if (unit->prev != TOK_NONE) units_enter(tr, unit->prev);
        if (next != TOK_NONE) units_enter(tr, at);
    }
}

/* Enters in the heap the pairs from number `from` on that were seen twice or
 * more. A heap gives the smallest, so it holds counts that are turned round. */
static inline void units_offer(const TokTrainer *tr, Heap *h, size_t from) {
    for (size_t k = from; k < tr->pairs.n; k++)
        if (tr->pair[k].count > 1)
            heap_push(h, ~tr->pair[k].count, tok_pair_at(&tr->pairs, k));
}
/* Makes the vocabulary of n_tokens (>= 256, <|endoftext|> not counted) and
 * frees the trainer. The next merge is the pair with the largest count, among
 * equals the one with the smaller (left, right) token; a pair seen once is
 * never merged, so a short text gives fewer tokens. That is what Hugging Face
 * tokenizers do with min_frequency 2, save that a pair whose bytes are a token
 * already is passed over. */
static inline Tokenizer *tok_trainer_finish(TokTrainer *tr, size_t n_tokens) {
    Tokenizer *t = tr->t;
    Heap h = {0};
    size_t offered = 0;             /* pairs that the heap knows of */
    if (n_tokens < 256)
        die("vocabulary size: expected 256 or more, bytes being tokens, found "
            "%zu",
            n_tokens);
    units_fill(tr);
    for (;;) {
        units_offer(tr, &h, offered);
        offered = tr->pairs.n;
        if (t->n >= n_tokens || !h.n) break;
        const HeapItem top = heap_pop(&h);
        const uint32_t k = tok_pair_find(&tr->pairs, top.minor);
        const uint64_t count = tr->pair[k].count;
        if (count != ~top.major) {      /* it shrank since */
            if (count > 1) heap_push(&h, ~count, top.minor);
            continue;
        }
        if (tok_join(t, (uint32_t)(top.minor >> 32), (uint32_t)top.minor))
            units_merge(tr, k, (uint32_t)t->n - 1);
    }
    strings_free(&tr->pairs);
    strings_free(&tr->pieces);
    free(tr->unit);
    free(tr->pair);
    free(tr->count);
    free(h.item);
    *tr = (TokTrainer){0};
    return tok_seal(t, "training");
}
static inline Tokenizer *tok_train(const uint8_t *text, size_t n,
                                   size_t n_tokens) {
    TokTrainer tr = tok_trainer();
    tok_trainer_add(&tr, text, n);
    return tok_trainer_finish(&tr, n_tokens);
}
#endif
