/* safetensors.h: named tensors in one file, read without trust and written as a
 * stream.
 *
 * It refuses to be a tensor library: it knows names, types, shapes and where
 * the bytes are, and turns any floating point into float32. The writer passes
 * its header through the reader before it writes a byte.
 *
 *     byte 0     N, the length of the header, u64; all numbers little-endian
 *          8     the header, N bytes: UTF-8 JSON, ended by spaces so that
 *                8 + N is a multiple of 8
 *                    {"__metadata__": {"key": "value", ...},
 *                     "name": {"dtype": "F32", "shape": [2,3],
 *                              "data_offsets": [begin,end]}, ...}
 *          8+N   the data, row-major; offsets count from here, end is one past
 *                the last byte; in the order of their offsets the tensors
 *                follow one another without hole or overlap to the end
 *
 * A file that breaks a rule ends in one line: the file, the tensor or byte,
 * what was expected and found. Refused too: a name or key given twice, a
 * control character in either, a NUL in a value, more than 8 dimensions, an
 * unknown field, a header beyond 100 MB.
 *
 *     StWriter w = {0};                   // a 2 x 3 tensor and a word about it
 *     st_meta_put(&w, "source", "an example");
 *     st_declare(&w, "x", ST_F32, 2, (size_t[]){2, 3});
 *     st_begin(&w, "x.safetensors");
 *     st_write(&w, six_floats, 24);       // in pieces, in the order declared
 *     if (!st_commit(&w)) die_of("x.safetensors", "write");
 *
 *     Safetensors s = st_read("x.safetensors");               // and back
 *     st_floats(st_need(&s, "x", ST_F32, 2, (size_t[]){2, 3}), six_floats);
 *     st_free(&s); */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H
#include "../base/out.h"

enum { ST_RANK = 8 };               /* most dimensions */
enum { ST_HEADER = 100000000 };     /* most bytes of header: Hugging Face's */

typedef enum {
    ST_F64, ST_F32, ST_F16, ST_BF16, ST_I64, ST_I32, ST_I16, ST_I8,
    ST_U64, ST_U32, ST_U16, ST_U8, ST_BOOL, ST_C64,
    ST_F8_E4M3, ST_F8_E5M2, ST_F8_E8M0, ST_F8_E4M3FNUZ, ST_F8_E5M2FNUZ,
    ST_F6_E2M3, ST_F6_E3M2, ST_F4,
    ST_TYPES
} StType;
static const char *const st_names[ST_TYPES] = {
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8",
    "U64", "U32", "U16", "U8", "BOOL", "C64",
    "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
    "F6_E2M3", "F6_E3M2", "F4",
};
/* Bits of one element: the first number in the type's name. */
static inline size_t st_bits(StType type) {
    const char *name = st_names[type];
    if (type == ST_BOOL) return 8;
    return (size_t)atoi(name + strcspn(name, "123456789"));
}

typedef struct {
    const char *name;               /* first: st_by_name */
    const char *file;
    StType type;
    int rank;                       /* 0: a single number */
    size_t shape[ST_RANK];
    size_t count;                   /* the product of the shape */
    size_t offset, bytes;           /* in the data */
    const uint8_t *data;            /* (bytes) at any alignment */
} StTensor;

typedef struct {
    const char *key;                /* first: st_by_name */
    const char *value;
} StPair;

typedef struct {
    Bytes file;
    StTensor *tensors;              /* (n) sorted by name */
    StPair *meta;                   /* (n_meta) sorted by key */
    size_t n, cap;
    size_t n_meta, cap_meta;
    char *text;                     /* names, keys, values, a NUL after each */
    size_t used;                    /* bytes of it */
    uint64_t hash;                  /* of the header, N included */
} Safetensors;

/* ---- reading ------------------------------------------------------------- */

/* An StTensor by name, an StPair by key. */
static inline int st_by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}
/* At one place the empty first. */
static inline int st_by_offset(const void *a, const void *b) {
    const StTensor *x = a;
    const StTensor *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > 0) - (y->bytes > 0);
}

static inline size_t st_byte(const Json *j) {
    return (size_t)(j->p - j->begin);
}

/* The next string, kept in s->text, as long as the header: a string takes two
 * quotes there and one NUL here. Dies on a byte below `least`: 1 keeps out NUL,
 * 32 every control character, for it would spoil a message. */
static inline const char *st_string(Safetensors *s, Json *j, int least) {
    char *at = s->text + s->used;
    const size_t n = json_string(j, at, SIZE_MAX);
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)at[i] < least)
            die("%s: JSON at byte %zu: expected no 0x%02x in the string before",
                j->name, st_byte(j), at[i]);
    s->used += n + 1;
    return at;
}

/* The metadata, an object; null: there is none. */
static inline void st_read_meta(Safetensors *s, Json *j) {
    if (s->meta) json_die(j, "__metadata__ only once");
    s->meta = mem_grow(NULL, 0, &s->cap_meta, sizeof *s->meta);
    if (json_peek(j) == 'n') {
        json_want(*j, "__metadata__", "null");
        json_skip(j, 0);
        return;
    }
    json_expect(j, '{');
    for (bool first = true; json_more(j, '}', &first);) {
        StPair pair;
        pair.key = st_string(s, j, 32);
        json_expect(j, ':');
        pair.value = st_string(s, j, 1);
        s->meta = mem_grow(s->meta, s->n_meta, &s->cap_meta, sizeof *s->meta);
        s->meta[s->n_meta++] = pair;
    }
}

/* The next string, as its place among n names. */
static inline int st_pick(Json *j, const char *const *names, int n,
                          const char *expected) {
    char found[24];
    json_string(j, found, sizeof found);
    for (int k = 0; k < n; k++)
        if (!strcmp(found, names[k])) return k;
    die("%s: JSON at byte %zu: expected %s before, found '%s'", j->name,
        st_byte(j), expected, found);
}

/* Whole numbers in brackets, at most `most`; returns how many. */
static inline int st_read_sizes(Json *j, size_t *out, int most) {
    int n = 0;
    json_expect(j, '[');
    for (bool first = true; json_more(j, ']', &first); n++) {
        if (n == most) json_die(j, "fewer numbers");
        const uint64_t v = json_uint(j);
        if (v > SIZE_MAX) json_die(j, "a smaller number");
        out[n] = (size_t)v;
    }
    return n;
}

/* Sets count and bytes from type and shape. Dies if they overflow. */
static inline void st_measure(StTensor *t) {
    t->count = 1;
    for (int k = 0; k < t->rank; k++) {
        if (t->shape[k] && t->count > SIZE_MAX / 64 / t->shape[k])
            die("%s: tensor '%.200s': expected fewer than 2^%zu elements, "
                "found more",
                t->file, t->name, sizeof(size_t) * 8 - 6);
        t->count *= t->shape[k];
    }
    t->bytes = t->count * st_bits(t->type) / 8;
}

/* Sets the place of a tensor that was measured. Dies if [begin, end] are not
 * its bytes, or lie outside the `total` bytes of data. */
static inline void st_set_offset(StTensor *t, size_t begin, size_t end,
                                 size_t total) {
    const bool whole = t->bytes * 8 == t->count * st_bits(t->type);
    if (!whole || begin > end || end > total || end - begin != t->bytes)
        die("%s: tensor '%.200s': expected offsets %zu apart within %zu bytes "
            "of data, found [%zu,%zu]%s",
            t->file, t->name, t->bytes, total, begin, end,
            whole ? "" : " and part of a byte");
    t->offset = begin;
}
/* {"dtype": .., "shape": .., "data_offsets": ..}, in any order; the file has
 * `total` bytes of data. */
static inline void st_read_tensor(Safetensors *s, Json *j, const char *name,
                                  size_t total) {
    static const char *const fields[3] = {"dtype", "shape", "data_offsets"};
    StTensor t = {.name = name, .file = s->file.name};
    size_t at[2];
    int seen = 0;                   /* bit k: field k was there */
    json_expect(j, '{');
    for (bool first = true; json_more(j, '}', &first);) {
        const int field = st_pick(j, fields, 3, "dtype, shape or data_offsets");
        if (seen & 1 << field) json_die(j, "each field once");
        seen |= 1 << field;
        json_expect(j, ':');
        if (field == 0)
            t.type = (StType)st_pick(j, st_names, ST_TYPES,
                                     "a type such as F32");
        if (field == 1) t.rank = st_read_sizes(j, t.shape, ST_RANK);
        if (field == 2 && st_read_sizes(j, at, 2) < 2)
            json_die(j, "two offsets before");
    }
    if (seen != 7) json_die(j, "dtype, shape and data_offsets before");
    st_measure(&t);
    st_set_offset(&t, at[0], at[1], total);
    s->tensors = mem_grow(s->tensors, s->n, &s->cap, sizeof t);
    s->tensors[s->n++] = t;
}

/* Dies unless the tensors cover the `total` bytes of data, each byte once. */
static inline void st_check_cover(Safetensors *s, size_t total) {
    size_t at = 0;
    qsort(s->tensors, s->n, sizeof *s->tensors, st_by_offset);
    for (const StTensor *t = s->tensors; t < s->tensors + s->n; t++) {
        if (t->offset != at)
            die("%s: tensor '%.200s': expected it at offset %zu, found %zu",
                t->file, t->name, at, t->offset);
        at += t->bytes;
    }
    if (at != total)
        die("%s: expected %zu bytes after the header, found %zu", s->file.name,
            at, total);
}

/* Sorts n elements of the given size by name, and dies if a name stands there
 * twice. */
static inline void st_sort(const char *file, void *all, size_t n, size_t size) {
    const char *p = all;
    if (n > 1) qsort(all, n, size, st_by_name);
    for (size_t k = 1; k < n; k++) {
        if (!st_by_name(p, p + size))
            die("%s: expected '%.200s' once, found it twice", file,
                *(const char *const *)p);
        p += size;
    }
}

/* Everything but the data pointers, from a header of n bytes at b.p + 8. Takes
 * over b. */
static inline Safetensors st_parse_header(Bytes b, size_t n, size_t total) {
    Safetensors s = {.file = b, .text = mem_new(n + 1, 1)};
    Json j = json_open(b.p, 8 + n, b.name);
    s.hash = hash_bytes(HASH_START, b.p, 8 + n);
    j.p = utf8_stray(b.p + 8, j.end);
    if (j.p < j.end) json_die(&j, "UTF-8");
    j.p = b.p + 8;
    s.tensors = mem_grow(NULL, 0, &s.cap, sizeof *s.tensors);
    json_expect(&j, '{');
    for (bool first = true; json_more(&j, '}', &first);) {
        const char *name = st_string(&s, &j, 32);
        json_expect(&j, ':');
        if (!strcmp(name, "__metadata__")) st_read_meta(&s, &j);
        else st_read_tensor(&s, &j, name, total);
    }
    json_peek(&j);
    if (j.p < j.end) json_die(&j, "the end of the header");
    st_sort(b.name, s.tensors, s.n, sizeof *s.tensors);     /* twice? */
    st_check_cover(&s, total);
    st_sort(b.name, s.tensors, s.n, sizeof *s.tensors);
    st_sort(b.name, s.meta, s.n_meta, sizeof *s.meta);
    return s;
}

/* Takes over b: st_free frees it; b.name must outlive the result. Dies on any
 * fault. */
static inline Safetensors st_parse(Bytes b) {
    const uint64_t n = b.n < 8 ? 0 : get_u64(b.p);
    if (b.n < 8 || n > b.n - 8 || n > ST_HEADER)
        die("%s: expected safetensors, found a header of %llu bytes in a file "
            "of %zu",
            b.name, (unsigned long long)n, b.n);
    Safetensors s = st_parse_header(b, (size_t)n, b.n - 8 - (size_t)n);
    for (size_t i = 0; i < s.n; i++)
        s.tensors[i].data = b.p + 8 + n + s.tensors[i].offset;
    return s;
}
static inline Safetensors st_read(const char *path) {
    return st_parse(file_read(path));
}

static inline void st_free(Safetensors *s) {
    free(s->tensors);
    free(s->meta);
    free(s->text);
    file_free(&s->file);
    *s = (Safetensors){0};
}

/* The tensor of that name, the value of that key; NULL if there is none. Both
 * live as long as s. */
static inline const StTensor *st_find(const Safetensors *s, const char *name) {
    if (!s->n) return NULL;
    return bsearch(&name, s->tensors, s->n, sizeof *s->tensors, st_by_name);
}
static inline const char *st_meta(const Safetensors *s, const char *key) {
    if (!s->meta) return NULL;
    const StPair *pair = bsearch(&key, s->meta, s->n_meta, sizeof *s->meta,
                                 st_by_name);
    return pair ? pair->value : NULL;
}

enum { ST_SHAPE = 192 };            /* bytes of a shape in words */

/* n[0 .. rank-1] as [2,3], between two characters of `ends`. */
static inline char *st_sizes(char out[ST_SHAPE], const char *ends, int rank,
                             const size_t *n) {
    int at = snprintf(out, ST_SHAPE, "%c", ends[0]);
    for (int k = 0; k < rank; k++)
        at += snprintf(out + at, ST_SHAPE - (size_t)at, k ? ",%zu" : "%zu",
                       n[k]);
    snprintf(out + at, ST_SHAPE - (size_t)at, "%c", ends[1]);
    return out;
}

/* The tensor of this name, type and shape; dies if it is absent or another. */
static inline const StTensor *st_need(const Safetensors *s, const char *name,
                                      StType type, int rank,
                                      const size_t *shape) {
    const StTensor *t = st_find(s, name);
    char want[ST_SHAPE];
    char have[ST_SHAPE] = "none";
    bool same = t && t->type == type && t->rank == rank;
    for (int k = 0; same && k < rank; k++) same = t->shape[k] == shape[k];
    if (same) return t;
    if (t) st_sizes(have, "[]", t->rank, t->shape);
    die("%s: tensor '%.200s': expected %s %s, found %s%s%s", s->file.name, name,
        st_names[type], st_sizes(want, "[]", rank, shape),
        t ? st_names[t->type] : "", t ? " " : "", have);
}

/* Dies unless a tensor of U8 holds nothing but 0 and 1. */
static inline void st_check_bits(const StTensor *t) {
    for (size_t i = 0; i < t->count; i++)
        if (t->data[i] > 1)
            die("%s: %s[%zu]: expected 0 or 1, found %u", t->file, t->name, i,
                t->data[i]);
}

/* ---- numbers ------------------------------------------------------------- */

/* Half precision: a bit of sign, five of exponent, ten of mantissa. */
static inline float st_from_half(uint32_t h) {
    const uint32_t sign = (h & 0x8000) << 16;
    const uint32_t exponent = h >> 10 & 31;
    const uint32_t mantissa = h & 0x3ff;
    if (!exponent) return (sign ? -0x1p-24f : 0x1p-24f) * (float)mantissa;
    const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
    return f32_of(sign | wide << 23 | mantissa << 13);
}
/* The nearest number of half precision, of two the even one; an infinity for
 * what is too large. */
static inline uint32_t st_to_half(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    const uint32_t sign = u >> 16 & 0x8000;
    const uint32_t exponent = u >> 23 & 255;
    const uint32_t mantissa = u & 0x7fffff;
    const uint32_t rest = mantissa & 0x1fff;
    if (exponent < 113)                     /* below the normal numbers */
        return sign | (uint32_t)rintf(fabsf(x) * 0x1p24f);
    if (exponent > 142) return sign | 0x7c00;
    const uint32_t h = (exponent - 112) << 10 | mantissa >> 13;
    return sign | (h + (rest > 0x1000 || (rest == 0x1000 && h & 1)));
}
static inline float st_from_double(uint64_t u) {
    double d;
    memcpy(&d, &u, 8);
    return (float)d;
}

/* Number i of a tensor of floating point, wherever it lies. */
static inline float st_float(const StTensor *t, size_t i) {
    const uint8_t *p = t->data;
    if (t->type == ST_F64) return st_from_double(get_u64(p + 8 * i));
    if (t->type == ST_F32) return get_f32(p + 4 * i);
    if (t->type == ST_F16) return st_from_half(get_u16(p + 2 * i));
    return f32_of(get_u16(p + 2 * i) << 16);
}
/* t->count numbers as float32: F32, F16 and BF16 exactly, F64 rounded to
 * nearest. Dies on another type. */
static inline void st_floats(const StTensor *t, float *out) {
    if (t->type > ST_BF16)
        die("%s: tensor '%.200s': expected floating point, found %s", t->file,
            t->name, st_names[t->type]);
    for (size_t i = 0; i < t->count; i++) out[i] = st_float(t, i);
}

/* ---- writing ------------------------------------------------------------- */

/* Starts as {0} and stays where it is. Metadata, tensors, st_begin, st_write
 * until every declared byte is there, st_commit. A caller that strays from
 * this, or from what it declared, dies and leaves no file. */
typedef struct {
    Out text;                       /* the header while it grows: N, JSON */
    bool odd;                       /* something in it is no UTF-8 */
    size_t n_meta, n;
    size_t left;                    /* bytes declared and not yet written */
    Out out;
    uint64_t hash;                  /* of the header, once it is written */
} StWriter;

/* Where the header grows. */
static inline Out *st_text(StWriter *w) {
    if (w->text.kind) return &w->text;
    w->text = out_memory();
    out_text(&w->text, "12345678{\"__metadata__\":{");    /* st_begin knows N */
    return &w->text;
}
static inline void st_put(StWriter *w, const char *text) {
    const uint8_t *p = (const uint8_t *)text;
    w->odd |= *utf8_stray(p, p + strlen(text));
    json_put(st_text(w), text);
}
static inline void st_meta_put(StWriter *w, const char *key,
                               const char *value) {
    if (w->n)
        die("safetensors: expected metadata before the tensors, found '%s' "
            "after",
            key);
    if (w->n_meta++) out_char(st_text(w), ',');
    st_put(w, key);
    out_char(&w->text, ':');
    st_put(w, value);
}

/* Some readers map the data, so a tensor must begin at a multiple of its
 * element: wide types come first. */
static inline void st_declare(StWriter *w, const char *name, StType type,
                              int rank, const size_t *shape) {
    StTensor t = {.name = name,
                  .file = "safetensors",
                  .type = type,
                  .rank = rank};
    char sizes[ST_SHAPE];
    if (rank > ST_RANK)
        die("safetensors: tensor '%s': expected at most 8 dimensions, found %d",
            name, rank);
    for (int k = 0; k < rank; k++) t.shape[k] = shape[k];
    st_measure(&t);
    if (w->left * 8 % st_bits(type))
        die("safetensors: tensor '%s': expected wide types first", name);
    out_text(st_text(w), w->n++ ? "," : "},");
    st_put(w, name);
    out_print(&w->text,
              ":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
              st_names[type], st_sizes(sizes, "[]", rank, shape), w->left,
              w->left + t.bytes);
    w->left += t.bytes;
}

/* Checks the header and writes it to a file beside `path`. */
static inline void st_begin(StWriter *w, const char *path) {
    out_text(st_text(w), w->n ? "}" : "}}");
    while (w->text.n % 8) out_char(&w->text, ' ');
    if (w->odd)
        die("%s: expected names and metadata in UTF-8, found other bytes",
            path);
    const size_t n = w->text.n - 8;
    char *header = w->text.text;
    for (int k = 0; k < 8; k++) header[k] = (char)((uint64_t)n >> 8 * k);
    const Bytes bytes = {(uint8_t *)header, n + 8, path, false};
    Safetensors s = st_parse_header(bytes, n, w->left);
    w->hash = s.hash;
    w->out = out_open(path);
    out_bytes(&w->out, header, n + 8);
    st_free(&s);
}

__attribute__((noreturn)) static inline void st_stray(const StWriter *w,
                                                      size_t found) {
    die("%s: expected %zu more bytes of tensors to write, found %zu",
        w->out.path, w->left, found);
}

/* The next bytes of data, little-endian. */
static inline void st_write(StWriter *w, const void *p, size_t bytes) {
    if (bytes > w->left) st_stray(w, bytes);
    out_bytes(&w->out, p, bytes);
    w->left -= bytes;
}

/* False, with errno set and nothing changed at the path, if the system failed
 * to write. */
static inline bool st_commit(StWriter *w) {
    if (w->left) st_stray(w, 0);
    return out_commit(&w->out);
}
#endif
