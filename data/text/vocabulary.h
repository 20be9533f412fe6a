/* vocabulary.h: vocabularies in files: our own and those of others are read,
 * told apart by their content; written are our own and Hugging Face's
 * tokenizer.json.
 *
 * It refuses what would make other ids than GPT-2's way does. A file that asks
 * for more (words of its own, a prefix, another pattern) is refused by the name
 * of what it asks for; what a file does not say and is assumed, is said in a
 * note.
 *
 *     read          told by              gives
 *     our own       its first line       merges; ids if they are not 0, 1, 2 ..
 *     merges.txt    none of the others   merges; ids: a vocab.json beside it
 *     .json         {                    merges, ids, special tokens
 *     .tiktoken     base64, rank         tokens by their ids, hence merges
 *     llm.c's       its magic            the same
 *
 * Every reader hands what it finds to one of three functions: src_merge,
 * src_rank (a token whose merge follows from the tokens before it) and
 * src_named (an id for a token that is spelled out). To be spelled in a file,
 * bytes stand as letters: tok_letter in tokenizer.h says which.
 *
 * Our own file is a line of TOK_MAGIC, 1 and the number of merges, and a merge
 * a line; to others it is a merges.txt. If the ids are not the token numbers,
 * there follow a line with its id for each token, <|endoftext|> last, and a
 * line "id letters" for each other special token; without letters, the last id,
 * which no token has.
 *
 * Example: three letters, two merges, "<|pad|>" with id 0 and all else after
 * it:
 *
 *     #version: sparseflow-bpe 1 2
 *     l o
 *     lo w
 *     1               the byte "!"; 254 more lines, of the other bytes
 *     256             the last byte
 *     257             lo
 *     258             low
 *     259             <|endoftext|>
 *     0 <|pad|> */
#ifndef VOCABULARY_H
#define VOCABULARY_H
#include "../base/out.h"
#include "tokenizer.h"

#define TOK_MAGIC "#version: sparseflow-bpe "

/* ---- what all readers do ------------------------------------------------- */

typedef struct {
    Tokenizer *t;
    const uint8_t *p;               /* what is still to be read */
    const uint8_t *end;
    const char *name;               /* the file, for messages */
    const char *unit;               /* what `at` counts, for messages */
    size_t at;
    size_t ids;                     /* how many were given in order */
    size_t V;                       /* ids that an own file speaks of, or 0 */
    bool assumed;                   /* the id of <|endoftext|> */
    uint8_t *token;                 /* (cap) a token just read */
    char *text;                     /* (cap) a JSON string just read */
    size_t cap;
} TokSource;

/* A source without tokens but the bytes; cap: more bytes than a token of it
 * has. */
static inline TokSource src_open(const char *name, const char *unit,
                                 size_t cap) {
    TokSource s = {.t = tok_new(), .name = name, .unit = unit, .cap = cap};
    s.token = mem_new(cap, 1);
    s.text = mem_new(cap, 1);
    return s;
}
/* Completes the vocabulary. named: the file says which special tokens it
 * has. */
static inline void src_close(TokSource *s, bool named) {
    Tokenizer *t = s->t;
    free(s->token);
    free(s->text);
    s->assumed = named && t->id_of && t->id_of[t->n] == TOK_NONE;
    tok_seal(t, s->name);
}
static inline void src_note_assumed(const TokSource *s) {
    if (s->assumed)
        note("%s: no " TOK_EOT " in it; taken for it is id %u", s->name,
             s->t->eot);
}

__attribute__((format(printf, 2, 3), noreturn))
static inline void src_die(const TokSource *s, const char *expected, ...) {
    char text[512];
    va_list ap;
    va_start(ap, expected);
    vsnprintf(text, sizeof text, expected, ap);
    va_end(ap);
    die("%s: %s %zu: expected %s", s->name, s->unit, s->at, text);
}
/* How many of so many bytes a message shows. */
static inline int src_shown(size_t len) { return len < 60 ? (int)len : 60; }

/* The next line, without its end, as (*line, *len). False at the end of the
 * file. */
static inline bool src_line(TokSource *s, const char **line, size_t *len) {
    if (s->p == s->end) return false;
    const uint8_t *stop = memchr(s->p, '\n', (size_t)(s->end - s->p));
    const uint8_t *end = stop ? stop : s->end;
    const bool cr = end > s->p && end[-1] == '\r';
    *line = (const char *)s->p;
    *len = (size_t)(end - s->p) - cr;
    s->p = stop ? stop + 1 : end;
    s->at++;
    return true;
}
/* The length of the first of two fields. */
static inline size_t src_split(const TokSource *s, const char *p, size_t len) {
    const char *space = memchr(p, ' ', len);
    if (!space)
        src_die(s, "two fields with a space between them, found '%.*s'",
                src_shown(len), p);
    return (size_t)(space - p);
}
static inline uint32_t src_number(const TokSource *s, const char *p,
                                  size_t len) {
    uint64_t v = len ? 0 : TOK_NONE;
    for (size_t k = 0; k < len && v < TOK_NONE; k++) {
        const bool digit = p[k] >= '0' && p[k] <= '9';
        v = digit ? v * 10 + (uint64_t)(p[k] - '0') : TOK_NONE;
    }
    if (v >= TOK_NONE)
        src_die(s, "a number below 2^32-1, found '%.*s'", src_shown(len), p);
    return (uint32_t)v;
}

/* Whether all letters stand for bytes; dies at one that does not, if it
 * must. */
static inline bool src_spelled(const TokSource *s, const char *letters,
                               size_t len, bool must) {
    const uint8_t *p = (const uint8_t *)letters;
    const uint8_t *end = p + len;
    while (p < end) {
        uint32_t c;
        p += utf8_get(p, (size_t)(end - p), &c);
        if (tok_unletter(c) >= 0) continue;
        if (must)
            src_die(s, "a letter that stands for a byte, found U+%04X", c);
        return false;
    }
    return true;
}
/* The bytes written in letters, into s->token; returns how many. */
static inline size_t src_spell(TokSource *s, const char *letters, size_t len) {
    const uint8_t *p = (const uint8_t *)letters;
    const uint8_t *end = p + len;
    size_t n = 0;
    src_spelled(s, letters, len, true);
    while (p < end) {
        uint32_t c;
        p += utf8_get(p, (size_t)(end - p), &c);
        s->token[n++] = s->t->tokens.bytes[tok_unletter(c)];
    }
    return n;
}
/* The token written in letters, TOK_NONE if there is none. */
static inline uint32_t src_token(TokSource *s, const char *letters,
                                 size_t len) {
    const size_t n = src_spell(s, letters, len);
    return strings_find(&s->t->tokens, s->token, n, strings_hash(s->token, n));
}

/* The next merge, "left right" in letters. */
static inline void src_merge(TokSource *s, const char *text, size_t len) {
    const size_t n = src_split(s, text, len);
    const uint32_t left = src_token(s, text, n);
    const uint32_t right = src_token(s, text + n + 1, len - n - 1);
    if (left == TOK_NONE || right == TOK_NONE)
        src_die(s, "bytes or results of earlier merges, found '%.*s'",
                src_shown(len), text);
    if (!tok_join(s->t, left, right))
        src_die(s, "a new token, found '%.*s' again", src_shown(len), text);
}
/* Tokens have ids of their own, which tok_seal checks; none yet. A file has fewer
 * tokens than bytes + 257. */
static inline void src_ids(TokSource *s) {
    if (!s->t->id_of) s->t->id_of = tok_none(s->cap + 257);
}
/* Gives a token that id. */
static inline void src_id(TokSource *s, size_t token, uint64_t id) {
    src_ids(s);
    if (s->t->id_of[token] != TOK_NONE)
        src_die(s, "each token once, found one again");
    s->t->id_of[token] = id < TOK_NONE ? (uint32_t)id : TOK_NONE - 1;
}
/* A special token other than <|endoftext|>: its number among the tokens. The
 * last token of text must be there. */
static inline uint32_t src_special(TokSource *s, const void *p, size_t len) {
    const uint64_t hash = strings_hash(p, len);
    uint32_t k = strings_find(&s->t->special, p, len, hash);
    if (k == TOK_NONE) k = strings_add(&s->t->special, p, len, hash);
    return (uint32_t)s->t->n + 1 + k;
}
/* The token that s->text, len bytes, names has this id. What is neither a byte,
 * nor a merge's result, nor <|endoftext|> no text makes: a special token. */
static inline void src_named(TokSource *s, size_t len, uint64_t id) {
    uint32_t token = TOK_NONE;
    if (src_spelled(s, s->text, len, false)) token = src_token(s, s->text, len);
    if (token == TOK_NONE && !strcmp(s->text, TOK_EOT))
        token = (uint32_t)s->t->n;
    if (token == TOK_NONE) token = src_special(s, s->text, len);
    src_id(s, token, id);
}
/* The next token of a file in the order of ids, as bytes. Such a file has no
 * merges, and yet determines them: the earlier ones leave two parts of a
 * token's bytes, and these are its merge. */
static inline void src_rank(TokSource *s, const uint8_t *p, size_t len,
                            uint32_t id) {
    uint32_t *parts = mem_new(len, sizeof *parts);
    const size_t n = tok_merge(s->t, p, len, parts);
    if (len != 1 && (n != 2 || !tok_join(s->t, parts[0], parts[1])))
        src_die(s, "a byte or a token of two earlier ones, found one of %zu",
                n);
    src_id(s, len == 1 ? parts[0] : s->t->n - 1, id);
    free(parts);
}

/* ---- our own, and merges.txt or vocab.bpe -------------------------------- */

/* The number of merges in an own file's first line, after the magic. */
static inline size_t src_own_merges(const TokSource *s, const char *line,
                                    size_t len) {
    const size_t first = src_split(s, line, len);
    if (src_number(s, line, first) != 1)
        src_die(s, "version 1, found %.*s", src_shown(first), line);
    return src_number(s, line + first + 1, len - first - 1);
}
/* "id letters" of an own file. */
static inline void src_more(TokSource *s, const char *line, size_t len) {
    const size_t first = src_split(s, line, len);
    const uint32_t id = src_number(s, line, first);
    if (id >= tok_count(s->t) + TOK_UNUSED)
        src_die(s, "an id in its range, found %u", id);
    if (len == first + 1) {
        s->V = size_max(s->V, id + 1);
        return;
    }
    const size_t n = src_spell(s, line + first + 1, len - first - 1);
    src_id(s, src_special(s, s->token, n), id);
}
/* A merge a line; the first line may be "#version...". Returns whether it was
 * an own file, which has more: see above. */
static inline bool src_read_merges(TokSource *s) {
    const size_t magic = strlen(TOK_MAGIC);
    size_t merges = SIZE_MAX;       /* as an own file says; or another's */
    const char *line;
    size_t len;
    while (src_line(s, &line, &len)) {
        if (s->at == 1 && len >= magic && !memcmp(line, TOK_MAGIC, magic))
            merges = src_own_merges(s, line + magic, len - magic);
        else if (s->at == 1 && len >= 8 && !memcmp(line, "#version", 8))
            continue;
        else if (s->t->n - 256 != merges) src_merge(s, line, len);
        else if (s->ids > s->t->n) src_more(s, line, len);
        else {
            src_id(s, s->ids, src_number(s, line, len));
            s->ids++;
        }
    }
    const bool own = merges != SIZE_MAX;
    if (own && s->t->n - 256 != merges)
        src_die(s, "%zu merges, found the end", merges);
    if (s->ids && s->ids <= s->t->n)
        src_die(s, "%zu ids, found the end", s->t->n + 1);
    return own;
}

/* ---- .tiktoken ----------------------------------------------------------- */

/* The bytes that len digits stand for, into s->token; returns how many. */
static inline size_t src_base64(TokSource *s, const char *p, size_t len) {
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    size_t full = len;
    size_t bits = 0;                /* the last 16 */
    while (full && len - full < 2 && p[full - 1] == '=') full--;
    for (size_t k = 0; k < full; k++) {
        const char *digit = p[k] ? strchr(digits, p[k]) : NULL;
        if (!digit || len % 4)
            src_die(s, "base64, found '%.*s'", src_shown(len), p);
        bits = (bits << 6 | (size_t)(digit - digits)) & 0xffff;
        if (k % 4) s->token[n++] = (uint8_t)(bits >> (6 - 2 * (k % 4)));
    }
    return n;
}

typedef struct {
    uint32_t rank;
    const char *line;
    size_t digits;                  /* of the line, in base64 */
    size_t at;                      /* the line's number */
} TokRank;

static inline int tok_by_rank(const void *a, const void *b) {
    const TokRank *x = a;
    const TokRank *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}
/* Lines "base64 rank" in any order; an empty one is passed over. No rank stands
 * there twice; those that are left out are of special tokens, which the file
 * does not name. */
static inline void src_read_tiktoken(TokSource *s) {
    const char *line;
    TokRank *rank = NULL;
    size_t n = 0;
    size_t cap = 0;
    size_t len;
    while (src_line(s, &line, &len)) {
        if (!len) continue;
        const size_t first = src_split(s, line, len);
        const uint32_t number = src_number(s, line + first + 1,
                                           len - first - 1);
        rank = mem_grow(rank, n, &cap, sizeof *rank);
        rank[n++] = (TokRank){number, line, first, s->at};
    }
    qsort(rank, n, sizeof *rank, tok_by_rank);
    for (size_t k = 0; k < n; k++) {
        s->at = rank[k].at;
        if (k && rank[k].rank == rank[k - 1].rank)
            src_die(s, "each rank once, found %u again", rank[k].rank);
        const size_t bytes = src_base64(s, rank[k].line, rank[k].digits);
        src_rank(s, s->token, bytes, rank[k].rank);
    }
    free(rank);
}

/* ---- llm.c's ------------------------------------------------------------- */

enum { TOK_LLMC = 20240328 };       /* its magic */

/* 256 words of header (magic, version, number of tokens, id of <|endoftext|>
 * from version 2 on), then for each token a byte of length and its bytes
 * (llmc/tokenizer.h). */
static inline void src_read_llmc(TokSource *s) {
    const uint8_t *begin = s->p;
    s->unit = "byte";
    if (s->end - s->p < 1024)
        src_die(s, "a header of 1024 bytes, found %td", s->end - s->p);
    const uint32_t version = get_u32(s->p + 4);
    const uint32_t n = get_u32(s->p + 8);
    const uint32_t eot = version > 1 ? get_u32(s->p + 12) : 50256;
    if (version != 1 && version != 2)
        src_die(s, "version 1 or 2, found %u", version);
    if (n < 257 || eot >= n)
        src_die(s, "257 tokens, and " TOK_EOT "'s id %u among them, found %u",
                eot, n);
    header_rest(begin, version > 1 ? 4 : 3, s->name);
    s->p += 1024;
    for (; s->ids < n; s->ids++) {
        const size_t left = (size_t)(s->end - s->p);
        s->at = (size_t)(s->p - begin);
        if (!left || left <= *s->p)
            src_die(s, "token %zu of %u, found the end", s->ids, n);
        if (s->ids != eot) src_rank(s, s->p + 1, *s->p, (uint32_t)s->ids);
        s->p += 1 + *s->p;
    }
    if (s->p != s->end)
        src_die(s, "%u tokens, found %td bytes more", n, s->end - s->p);
}

/* ---- tokenizer.json, and the ids of merges ------------------------------- */

/* {"token": id, ...}: an encoder.json, or the vocab in a tokenizer.json. */
static inline void src_json_ids(TokSource *s, Json j) {
    s->unit = "token of id";
    s->name = j.name;
    src_ids(s);
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
    {"version", JSON_NEUTRAL, "\"1.0\"|null"},
    {"truncation", JSON_READ, ""},
    {"padding", JSON_READ, ""},
    {"added_tokens", JSON_READ, ""},
    {"normalizer", JSON_NEUTRAL, "null"},
    {"pre_tokenizer", JSON_READ, ""},
    {"post_processor", JSON_READ, ""},
    {"decoder", JSON_READ, ""},
    {"model", JSON_READ, ""},
};
static const JsonField tok_json_cut[] = {
    {"type", JSON_READ, ""},
    {"add_prefix_space", JSON_NEUTRAL, "false"},
    {"trim_offsets", JSON_IGNORED, ""},
    {"use_regex", JSON_NEUTRAL, "true"},
};
static const JsonField tok_json_model[] = {
    {"type", JSON_NEUTRAL, "\"BPE\""},
    {"dropout", JSON_NEUTRAL, "null|0.0|0"},
    {"unk_token", JSON_IGNORED, ""},
    {"continuing_subword_prefix", JSON_NEUTRAL, "null|\"\""},
    {"end_of_word_suffix", JSON_NEUTRAL, "null|\"\""},
    {"fuse_unk", JSON_IGNORED, ""},
    {"byte_fallback", JSON_NEUTRAL, "false"},
    {"ignore_merges", JSON_NEUTRAL, "false"},
    {"vocab", JSON_READ, ""},
    {"merges", JSON_READ, ""},
};
static const JsonField tok_json_added[] = {
    {"id", JSON_READ, ""},
    {"content", JSON_READ, ""},
    {"special", JSON_READ, ""},
    {"single_word", JSON_IGNORED, ""},
    {"lstrip", JSON_IGNORED, ""},
    {"rstrip", JSON_IGNORED, ""},
    {"normalized", JSON_IGNORED, ""},
};
#define JSON_FIELDS_ONLY(object, fields) \
    json_fields_only(object, fields, sizeof(fields) / sizeof *(fields))

/* One added token, the object at j: its number among the tokens. A special one
 * may be in the vocab already, or gets its id here: `next`, the next after the
 * vocab's, as its own program counts. One that is not special would be looked
 * for in every text before all else, which is not done here. */
static inline uint32_t src_json_one(TokSource *s, Json j, size_t *next) {
    Json id = json_need(j, "id");
    Json content = json_need(j, "content");
    const Json special = json_need(j, "special");
    JSON_FIELDS_ONLY(j, tok_json_added);
    const size_t len = json_string(&content, s->text, s->cap);
    const bool eot = !strcmp(s->text, TOK_EOT);
    const uint64_t number = json_uint(&id);
    if (!eot && *special.p != 't')
        src_die(s,
                "a special one, found '%.60s', to be looked for in every text",
                s->text);
    if (src_spelled(s, s->text, len, false) &&
        src_token(s, s->text, len) != TOK_NONE)
        src_die(s, "one that no text makes, found '%.60s'", s->text);
    const uint32_t token = eot ? (uint32_t)s->t->n
                               : src_special(s, s->text, len);
    const bool known = s->t->id_of[token] != TOK_NONE;
    const size_t want = known ? s->t->id_of[token] : *next;
    if (number != want)
        src_die(s, "id %zu for '%.60s', found %llu", want, s->text,
                (unsigned long long)number);
    if (!known) {
        src_id(s, token, number);
        (*next)++;
    }
    return token;
}
/* The added tokens, after the vocab. Each of the vocab's special tokens must be
 * among them. */
static inline void src_json_added(TokSource *s, Json j) {
    const Strings *special = &s->t->special;
    const size_t before = special->n;
    const size_t first_special = s->t->n + 1;
    size_t named = 0;
    size_t next = 0;
    for (size_t k = 0; k < tok_count(s->t); k++)
        next += s->t->id_of[k] != TOK_NONE;
    s->unit = "added token";
    s->at = 0;
    if (j.p) json_expect(&j, '[');
    for (bool first = true; j.p && json_more(&j, ']', &first); s->at++) {
        const uint32_t token = src_json_one(s, j, &next);
        named += token >= first_special && token < first_special + before;
        json_skip(&j, 0);
    }
    if (named < before)
        src_die(s,
                "every token of the vocab that is neither a byte nor a merge's "
                "result, found %zu of %zu; the vocab's first is '%.*s'",
                named, before, src_shown(special->start[1]), special->bytes);
}
/* A merge, "left right" or ["left", "right"]. */
static inline void src_json_merge(TokSource *s, Json *j) {
    const bool two = json_peek(j) == '[';
    if (two) j->p++;
    size_t len = json_string(j, s->text, s->cap);
    if (two) {
        json_expect(j, ',');
        s->text[len++] = ' ';
        len += json_string(j, s->text + len, s->cap - len);
        json_expect(j, ']');
    }
    s->at++;
    src_merge(s, s->text, len);
}
/* Says what a tokenizer.json asks for besides ids. transformers sets truncation and
 * padding anew with every call, so these are whatever they were when it was saved. */
static inline void src_json_notes(const TokSource *s, Json file) {
    const Json after = json_at(file, "post_processor/type");
    const Json cuts = json_at(file, "truncation");
    const Json pads = json_at(file, "padding");
    if (after.p && !json_among(after, "\"ByteLevel\""))
        note("%s: the tokens that its post_processor puts around a text are "
             "not put there",
             s->name);
    if ((cuts.p && *cuts.p != 'n') || (pads.p && *pads.p != 'n'))
        note("%s: it asks for truncation or padding; a text is encoded whole, as it is",
             s->name);
}
/* Hugging Face's tokenizer.json. Whatever would make other ids than GPT-2's way
 * does is refused. */
static inline void src_read_json(TokSource *s) {
    const Json file = json_open(s->p, (size_t)(s->end - s->p), s->name);
    const Json model = json_need(file, "model");
    Json merges = json_need(model, "merges");
    const Json cut = json_need(file, "pre_tokenizer");
    const Json decoder = json_at(file, "decoder/type");
    JSON_FIELDS_ONLY(file, tok_json_file);
    json_alone(file);
    JSON_FIELDS_ONLY(model, tok_json_model);
    json_want(json_need(cut, "type"), "pre_tokenizer", "\"ByteLevel\"");
    json_need(cut, "add_prefix_space");
    JSON_FIELDS_ONLY(cut, tok_json_cut);
    if (decoder.p) json_want(decoder, "decoder", "\"ByteLevel\"");
    s->unit = "merge";
    json_expect(&merges, '[');
    for (bool first = true; json_more(&merges, ']', &first);)
        src_json_merge(s, &merges);
    src_json_ids(s, json_need(model, "vocab"));
    src_json_added(s, json_at(file, "added_tokens"));
    src_json_notes(s, file);
}

/* ---- any of them --------------------------------------------------------- */

/* OpenAI's vocabularies as their program names them: how many tokens there are
 * without special ones, and the first after the bytes. Two are for GPT-2's
 * pattern. */
static const struct {
    const char *name;
    size_t n;
    const char *first;
    bool gpt2;
} tok_known[] = {
    {"r50k_base", 50256, " t", true},
    {"p50k_base", 50280, " t", true},
    {"cl100k_base", 100256, "  ", false},
    {"o200k_base", 199998, "  ", false},
};

/* A token of whole characters that GPT-2's pattern cuts, so that no text makes it;
 * TOK_NONE if there is none. One of two bytes may begin a contraction. */
static inline uint32_t src_cut(const Tokenizer *t) {
    for (uint32_t k = 256; k < t->n; k++) {
        const uint8_t *p = strings_at(&t->tokens, k);
        const size_t len = strings_length(&t->tokens, k);
        if (len < 3 || utf8_stray(p, p + len) < p + len) continue;
        if (tok_piece(t->classes, p, len) < len) return k;
    }
    return TOK_NONE;
}
/* Says what is assumed of a list of merges or ranks, which does not name its
 * pattern, unless it is a known one or the user has said it. Dies if it is
 * for another: a known one, or one with a token that this one never makes. */
static inline void src_pattern(const Tokenizer *t, const char *name,
                               bool said) {
    const size_t known = t->n > 256 ? sizeof tok_known / sizeof *tok_known : 0;
    for (size_t k = 0; k < known; k++) {
        const size_t len = strings_length(&t->tokens, 256);
        if (t->n != tok_known[k].n || len != strlen(tok_known[k].first))
            continue;
        if (memcmp(strings_at(&t->tokens, 256), tok_known[k].first, len))
            continue;
        if (tok_known[k].gpt2) return;
        die("%s: expected a vocabulary for GPT-2's pattern, found %s, which is "
            "for another",
            name, tok_known[k].name);
    }
    if (said) return;
    const uint32_t cut = src_cut(t);
    if (cut != TOK_NONE)
        die("%s: expected a vocabulary for GPT-2's pattern, which never makes its token "
            "'%.*s' (--pattern gpt2: it is one)",
            name, src_shown(strings_length(&t->tokens, cut)),
            (const char *)strings_at(&t->tokens, cut));
    note("%s: it does not say for which pattern it was made; taken is "
         "GPT-2's (--pattern gpt2: it is)",
         name);
}

typedef enum {
    TOK_FILE_LLMC, TOK_FILE_JSON, TOK_FILE_RANKS, TOK_FILE_MERGES, TOK_FILE_OWN
} TokFileKind;

/* What kind of vocabulary p is, at least a byte; src_read_merges tells an own
 * one from other merges. The first merge of a list is of two bytes, so that its
 * first field is too short for base64. */
static inline TokFileKind tok_file_kind(const uint8_t *p, size_t n,
                                        const char *name) {
    Json start = json_open(p, n, name);
    const uint8_t *space = memchr(p, ' ', n);
    if (n >= 4 && get_u32(p) == TOK_LLMC) return TOK_FILE_LLMC;
    if (json_peek(&start) == '{') return TOK_FILE_JSON;
    return *p != '#' && space && space - p >= 4 ? TOK_FILE_RANKS
                                                : TOK_FILE_MERGES;
}

/* Says what a file left open; ids: the file that its ids are from, or NULL. */
static inline void src_notes(const TokSource *s, TokFileKind kind,
                             const char *file, const char *ids, bool said) {
    const Strings *special = &s->t->special;
    const bool merges = kind == TOK_FILE_MERGES;
    if (merges || kind == TOK_FILE_RANKS) src_pattern(s->t, file, said);
    if (kind == TOK_FILE_RANKS && s->t->V > s->t->n + 1)
        note("%s: %zu ids have no rank; taken for " TOK_EOT " is the first, %u", file,
             s->t->V - s->t->n, s->t->eot);
    if (merges && !ids)
        note("%s: no ids beside it (vocab.json, encoder.json); taken are "
             "bytes, merges, " TOK_EOT,
             file);
    if (merges && special->n)
        note("%s: %zu tokens that no text makes, '%.*s' first", ids, special->n,
             src_shown(special->start[1]), special->bytes);
    src_note_assumed(s);
}

/* A vocabulary of any kind, told from its content; `ids` is an encoder.json
 * that belongs to it, or empty; said: it is for GPT-2's pattern. A byte order
 * mark and, of JSON, white space may come first. Dies of what is none. */
static inline Tokenizer *tok_read(Bytes file, Bytes ids, bool said) {
    if (!file.n)
        die("%s: expected a vocabulary, found an empty file", file.name);
    const bool marked = file.n > 3 && !memcmp(file.p, "\xef\xbb\xbf", 3);
    const size_t mark = marked ? 3 : 0;
    TokSource s = src_open(file.name, "line", size_max(file.n, ids.n) + 2);
    s.p = file.p + mark;
    s.end = file.p + file.n;
    TokFileKind kind = tok_file_kind(s.p, file.n - mark, file.name);
    if (kind == TOK_FILE_LLMC) src_read_llmc(&s);
    if (kind == TOK_FILE_JSON) src_read_json(&s);
    if (kind == TOK_FILE_RANKS) src_read_tiktoken(&s);
    if (kind == TOK_FILE_MERGES && src_read_merges(&s)) kind = TOK_FILE_OWN;
    if (kind == TOK_FILE_MERGES && ids.name) {
        const Json named = json_open(ids.p, ids.n, ids.name);
        src_json_ids(&s, named);
        json_alone(named);
    }
    src_close(&s, kind == TOK_FILE_JSON || (kind == TOK_FILE_MERGES && ids.name));
    if (s.V > s.t->V) tok_widen(s.t, s.V);
    src_notes(&s, kind, file.name, ids.name, said);
    return s.t;
}
static inline Tokenizer *tok_parse(const uint8_t *p, size_t n,
                                   const char *name) {
    return tok_read((Bytes){p, n, name, false}, (Bytes){0}, false);
}

/* The path with its end replaced, on the heap; NULL if it ends in another
 * way. */
static inline char *path_end(const char *path, const char *end,
                             const char *other) {
    const size_t n = strlen(path);
    const size_t m = strlen(end);
    if (n < m || strcmp(path + n - m, end)) return NULL;
    char *out = mem_new(n - m + strlen(other) + 1, 1);
    memcpy(out, path, n - m);
    strcpy(out + n - m, other);
    return out;
}
/* Dies unless a tokenizer_config.json leaves the ids as they are: what stands in
 * it overrules the files beside it. */
static inline void tok_config(Bytes b) {
    static const char eot[] = "\"" TOK_EOT "\"";
    const Json config = json_open(b.p, b.n, b.name);
    const Json space = json_at(config, "add_prefix_space");
    Json added = json_at(config, "added_tokens_decoder");
    char id[JSON_KEY];
    if (space.p) json_want(space, "add_prefix_space", "false|null");
    if (!added.p || json_peek(&added) != '{') return;
    added.p++;
    for (bool first = true; json_more(&added, '}', &first); json_skip(&added, 0)) {
        json_member(&added, id, sizeof id);
        Json content = json_at(added, "content");
        const Json special = json_at(added, "special");
        const size_t n = content.p ? json_extent(&content) : 0;
        const bool end = n == sizeof eot - 1 && !memcmp(content.p, eot, n);
        if (!end && special.p && json_among(special, "false"))
            die("%s: \"added_tokens_decoder\": expected special ones, found id %s, to "
                "be looked for in every text",
                b.name, id);
    }
}
/* Looks at what Hugging Face's programs read beside a tokenizer.json or a
 * merges.txt, and only beside these. */
static inline void tok_beside(const char *path) {
    const bool merges = !strcmp(path_name(path), "merges.txt");
    if (!merges && strcmp(path_name(path), "tokenizer.json")) return;
    char *config = path_beside(path, "tokenizer_config.json");
    char *added = path_beside(path, "added_tokens.json");
    if (file_there(config)) {
        Bytes b = file_read(config);
        tok_config(b);
        file_free(&b);
    }
    if (merges && file_there(added))
        note("%s: not read; no text makes the tokens that it adds", added);
    free(config);
    free(added);
}
/* The same from a file. The ids of merges may lie beside them: NAME-vocab.json
 * of NAME-merges.txt, say. */
static inline Tokenizer *tok_load(const char *path, bool said) {
    char *const beside[] = {
        path_end(path, "merges.txt", "vocab.json"),
        path_end(path, "vocab.bpe", "encoder.json"),
        path_beside(path, "encoder.json"),
        path_beside(path, "vocab.json"),
    };
    Bytes file = file_read(path);
    Bytes ids = {0};
    for (size_t k = 0; k < 4 && !ids.name; k++)
        if (beside[k] && file_there(beside[k])) ids = file_read(beside[k]);
    Tokenizer *t = tok_read(file, ids, said);
    tok_beside(path);
    file_free(&file);
    file_free(&ids);
    for (size_t k = 0; k < 4; k++) free(beside[k]);
    return t;
}
/* The same of a file that could be done without: NULL, and a note, if it cannot
 * be read. */
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

/* ---- writing ------------------------------------------------------------- */

/* String k of the tokens or the special ones, in letters. */
static inline void letters_put(Out *out, const Tokenizer *t, const Strings *s,
                               size_t k) {
    for (size_t at = s->start[k]; at < s->start[k + 1]; at++) {
        uint8_t letter[4];
        const size_t n = utf8_put(letter, tok_letter(t->base[s->bytes[at]]));
        out_bytes(out, letter, n);
    }
}
/* Merge k, "left right" in letters. */
static inline void letters_merge(Out *out, const Tokenizer *t, size_t k) {
    const uint64_t pair = tok_pair_at(&t->merges, k);
    letters_put(out, t, &t->tokens, pair >> 32);
    out_char(out, ' ');
    letters_put(out, t, &t->tokens, (uint32_t)pair);
}

/* Our own file in *out, to be freed; returns its size. */
static inline size_t tok_save(const Tokenizer *t, uint8_t **out) {
    const size_t count = tok_count(t);
    Out text = out_memory();
    bool moved = t->V != t->n + 1;  /* the ids are not the token numbers */
    uint32_t last = 0;              /* the highest id of a token */
    out_print(&text, TOK_MAGIC "1 %zu\n", t->n - 256);
    for (size_t k = 0; k < t->n - 256; k++) {
        letters_merge(&text, t, k);
        out_char(&text, '\n');
    }
    for (size_t k = 0; k < count; k++) {
        moved |= t->id_of[k] != k;
        if (t->id_of[k] > last) last = t->id_of[k];
    }
    for (size_t k = 0; k <= t->n && moved; k++)
        out_print(&text, "%u\n", t->id_of[k]);
    for (size_t k = 0; k < t->special.n; k++) {
        out_print(&text, "%u ", t->id_of[t->n + 1 + k]);
        letters_put(&text, t, &t->special, k);
        out_char(&text, '\n');
    }
    if (last + 1 < t->V) out_print(&text, "%zu \n", t->V - 1);
    *out = (uint8_t *)text.text;
    return text.n;
}

/* What has grown in memory as a JSON string; the memory is empty again. */
static inline void hf_quote(Out *out, Out *text) {
    json_put(out, out_string(text));
    text->n = 0;
}
/* The special token of an id as a JSON string; text: room, empty again. */
static inline void hf_special(Out *out, Out *text, const Tokenizer *t,
                              uint32_t id) {
    size_t n;
    const uint8_t *p = tok_bytes(t, id, &n);
    out_bytes(text, p, n);
    hf_quote(out, text);
}
/* All special tokens, in the order of their ids. */
static inline void hf_put_added(Out *out, Out *text, const Tokenizer *t) {
    const char *between = "\n";
    for (uint32_t id = 0; id < t->V; id++) {
        if (t->token_of[id] == TOK_NONE || tok_is_text(t, id)) continue;
        out_print(out, "%s{\"id\": %u, \"content\": ", between, id);
        hf_special(out, text, t, id);
        out_text(out,
                 ", \"single_word\": false, \"lstrip\": false, \"rstrip\": "
                 "false, \"normalized\": false, \"special\": true}");
        between = ",\n";
    }
}
/* All tokens and their ids. */
static inline void hf_put_vocab(Out *out, Out *text, const Tokenizer *t) {
    for (size_t k = 0; k < tok_count(t); k++) {
        out_text(out, k ? ",\n" : "\n");
        if (k < t->n) {
            letters_put(text, t, &t->tokens, k);
            hf_quote(out, text);
        } else hf_special(out, text, t, t->id_of[k]);
        out_print(out, ": %u", t->id_of[k]);
    }
}
static inline void hf_put_merges(Out *out, Out *text, const Tokenizer *t) {
    for (size_t k = 0; k < t->n - 256; k++) {
        out_text(out, k ? ",\n" : "\n");
        letters_merge(text, t, k);
        hf_quote(out, text);
    }
}
/* A tokenizer.json that cuts and merges as this program does. Dies if it cannot
 * be written. */
static inline void hf_write_tokenizer(const char *path, const Tokenizer *t) {
    Out out = out_open(path);
    Out text = out_memory();
    out_text(&out,
             "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n"
             "\"added_tokens\": [");
    hf_put_added(&out, &text, t);
    out_text(&out, "],\n\"normalizer\": null,\n"
                   "\"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                   "\"add_prefix_space\": false, \"trim_offsets\": true, "
                   "\"use_regex\": true},\n"
                   "\"post_processor\": null,\n"
                   "\"decoder\": {\"type\": \"ByteLevel\", "
                   "\"add_prefix_space\": true, \"trim_offsets\": true, "
                   "\"use_regex\": true},\n"
                   "\"model\": {\"type\": \"BPE\", \"dropout\": null, "
                   "\"unk_token\": null, \"continuing_subword_prefix\": \"\", "
                   "\"end_of_word_suffix\": \"\", \"fuse_unk\": false, "
                   "\"byte_fallback\": false,\n\"vocab\": {");
    hf_put_vocab(&out, &text, t);
    out_text(&out, "},\n\"merges\": [");
    hf_put_merges(&out, &text, t);
    out_text(&out, "]}}\n");
    out_done(&out);
    out_free(&text);
}
#endif
