/* test_safetensors.h: the reader against every fault we could think of and a
 * file by Hugging Face's library; the writer against bytes that the library
 * reads; the conversions against arithmetic done another way. */
#ifndef TEST_SAFETENSORS_H
#define TEST_SAFETENSORS_H
#include "check.h"
#include "../data/model/safetensors.h"

/* A file in memory, as st_parse takes it: this header and n bytes of data. */
static Bytes st_file(const char *header, const void *data, size_t n) {
    const size_t h = strlen(header);
    uint8_t *p = mem_new(8 + h + n, 1);
    for (int k = 0; k < 8; k++) p[k] = (uint8_t)((uint64_t)h >> 8 * k);
    memcpy(p + 8, header, h);
    if (n) memcpy(p + 8 + h, data, n);
    return (Bytes){p, 8 + h + n, "x.st", false};
}

static bool st_dies(Safetensors *s, Bytes b) { return DIES(*s = st_parse(b)); }

/* Parses a copy of n bytes. If that lives, checks what a good file promises and
 * returns true. */
static bool st_lives(const uint8_t *bytes, size_t n) {
    Safetensors s;
    size_t sum = 0;
    uint8_t *p = mem_new(n, 1);
    memcpy(p, bytes, n);
    if (st_dies(&s, (Bytes){p, n, "x.st", false})) return free(p), false;
    for (size_t i = 0; i < s.n; i++) {
        const StTensor *t = &s.tensors[i];
        sum += t->bytes;
        CHECK(t->data >= p + 8 && t->data + t->bytes <= p + n,
              "tensor %zu lies outside the file", i);
        CHECK(t->bytes * 8 == t->count * st_bits(t->type), "tensor %zu", i);
        CHECK(st_find(&s, t->name) == t, "tensor %zu is not found by its name",
              i);
    }
    CHECK(sum + 8 <= n, "%zu bytes of tensors in a file of %zu", sum, n);
    for (size_t i = 0; i < s.n_meta; i++)
        CHECK(st_meta(&s, s.meta[i].key) == s.meta[i].value,
              "key %zu is not found", i);
    st_free(&s);
    return true;
}

static void test_st_fault(const char *header, size_t n, const char *expected) {
    static const uint8_t data[64];
    Safetensors s;
    const bool died = st_dies(&s, st_file(header, data, n));
    CHECK(died, "%s: expected it to be refused", header);
    CHECK(!died || strstr(check_line, expected), "%s: not \"%s\" but \"%s\"",
          header, expected, check_line);
    CHECK(!died || !strncmp(check_line, "x.st: ", 6), "found \"%s\"",
          check_line);
}

#define X(offsets) \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}}"
#define D(dtype, shape, offsets) \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define XY(x, y) \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" x "}," \
    "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" y "}}"
static void test_st_offsets(void) {
    test_st_fault("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                  "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
                  "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                  8, "expected 'x' once");
    test_st_fault(X("[0,8]"), 7, "within 7 bytes of data, found [0,8]");
    test_st_fault(X("[0,8]"), 9, "expected 8 bytes after the header, found 9");
    test_st_fault(X("[8,0]"), 8, "found [8,0]");
    test_st_fault(X("[0,4]"), 4, "offsets 8 apart within 4");
    test_st_fault(X("[1,9]"), 9,
                  "tensor 'x': expected it at offset 0, found 1");
    test_st_fault(X("[0]"), 8, "two offsets");
    test_st_fault(X("[0,4,8]"), 8, "fewer numbers");
    test_st_fault(X("[0,18446744073709551624]"), 8, "smaller number");
    test_st_fault(X("[0,-8]"), 8, "whole number");
    test_st_fault(X("[0,8.0]"), 8, "whole number");
    test_st_fault(XY("[0,4]", "[2,6]"), 6,
                  "tensor 'y': expected it at offset 4, found 2");
    test_st_fault(XY("[0,4]", "[0,4]"), 4, "expected it at offset 4, found 0");
    test_st_fault(XY("[0,4]", "[8,12]"), 12,
                  "tensor 'y': expected it at offset 4, found 8");
}
static void test_st_fields(void) {
    test_st_fault(D("F33", "[1]", "[0,4]"), 4,
                  "a type such as F32 before, found 'F33'");
    test_st_fault(D("f\\n", "[1]", "[0,4]"), 4, "found 'f\\x0a'");
    test_st_fault(D("F32", "[4294967296,4294967296]", "[0,4]"), 4, "elements");
    test_st_fault(D("F32", "[4611686018427387904,0]", "[0,0]"), 0, "elements");
    test_st_fault(D("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "fewer numbers");
    test_st_fault(D("F32", "[\"1\"]", "[0,4]"), 4, "whole number");
    test_st_fault(D("F32", "1", "[0,4]"), 4, "expected '['");
    test_st_fault(D("F4", "[3]", "[0,1]"), 1, "part of a byte");
    test_st_fault(D("F64", "[2]", "[0,8]"), 8, "offsets 16 apart");
    test_st_fault("{\"x\":{}}", 0, "dtype, shape and data_offsets before");
    test_st_fault("{\"x\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0,
                  "data_offsets before");
    test_st_fault("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0,
                  "each field once");
    test_st_fault("{\"x\":{\"kind\":\"F32\"}}", 0, "found 'kind'");
    test_st_fault("{\"x\":3}", 0, "expected '{'");
}
#undef X
#undef D
#undef XY
static void test_st_metadata(void) {
    Safetensors none = {0};
    CHECK(!st_dies(&none, st_file("{\"__metadata__\":null}", NULL, 0)) &&
              !none.n && !st_meta(&none, "x"),
          "%s", check_line);
    st_free(&none);
    test_st_fault("{\"__metadata__\":nil}", 0, "expected a value");
    test_st_fault("{\"x\\u0000\":3}", 0, "0x00");
    test_st_fault("{\"x\\n\":3}", 0, "0x0a");
    test_st_fault("{\"x\n\":3}", 0, "rest of a string");
    test_st_fault("{\"__metadata__\":{\"a\":1}}", 0, "expected '\"'");
    test_st_fault("{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, "0x00");
    test_st_fault("{\"__metadata__\":{\"a\":\"1\",\"b\":\"\",\"a\":\"2\"}}", 0,
                  "expected 'a' once");
    test_st_fault("{\"__metadata__\":{},\"__metadata__\":{}}", 0,
                  "__metadata__ only once");
    test_st_fault("{\"__metadata__\":[]}", 0, "expected '{'");
    test_st_fault("{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                  "\"\\u0078\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                  0, "'x' once");
}
static void test_st_syntax(void) {
    test_st_fault("", 0, "expected '{', found the end");
    test_st_fault("[]", 0, "JSON at byte 8: expected '{', found '['");
    test_st_fault("{} x", 0, "end of the header");
    test_st_fault("{}{}", 0, "end of the header");
    test_st_fault("{,}", 0, "expected '\"'");
    test_st_fault("{\"x\":{", 0, "found the end");
    test_st_fault("{} \xff", 0,
                  "JSON at byte 11: expected UTF-8, found byte 0xff");
    test_st_fault("{\"\xc0\x80\":1}", 0, "UTF-8");  /* overlong */
    test_st_fault("{\"\xe0\x9f\xbf\":1}", 0, "UTF-8");  /* overlong */
    test_st_fault("{\"\xf0\x8f\xbf\xbf\":1}", 0, "UTF-8");  /* overlong */
    test_st_fault("{\"\xed\xa0\x80\":1}", 0, "UTF-8");  /* a surrogate */
    /* Beyond the last code point. */
    test_st_fault("{\"\xf4\x90\x80\x80\":1}", 0, "UTF-8");
    test_st_fault("{\"\x80\":1}", 0, "UTF-8");
    test_st_fault("{\"\xe2\x82", 0, "UTF-8");  /* cut short */
}

/* A header of a length that is not true, and one nested deeper than any
 * stack. */
static void test_st_headers(void) {
    Safetensors s;
    char *deep = mem_new(1000001, 1);
    memset(deep, '[', 1000000);
    memcpy(deep, "{\"x\":", 5);
    test_st_fault(deep, 0, "expected '{', found '['");
    free(deep);
    for (int k = 0; k < 8; k++) {
        Bytes b = st_file("{}", NULL, 0);
        ((uint8_t *)(uintptr_t)b.p)[k] = 0x80;
        CHECK(st_dies(&s, b), "a header longer than its file was read, byte %d",
              k);
        CHECK(strstr(check_line, "expected safetensors"), "found \"%s\"",
              check_line);
        file_free(&b);
    }
}

/* What the writer makes of three tensors, two pairs and an awkward name, byte
 * for byte. */
static const char st_golden[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"say \\\"so\\\"\":\"\\u000a\xc3\xa9\"},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
    "\"none\":{\"dtype\":\"I32\",\"shape\":[3,0],\"data_offsets\":[8,8]},"
    "\"a\\\\\xe2\x82\xac\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}       ";
static const uint8_t st_golden_data[9] = {0, 0, 0x80, 0x3f,     /* 1 */
                                          0, 0, 0x20, 0xc1,     /* -10 */
                                          7};

static void test_st_writer(const char *path) {
    StWriter w = {0};
    float x[2];
    st_meta_put(&w, "format", "pt");
    st_meta_put(&w, "say \"so\"", "\n\xc3\xa9");
    st_declare(&w, "b", ST_F32, 2, (size_t[]){1, 2});
    st_declare(&w, "none", ST_I32, 2, (size_t[]){3, 0});
    st_declare(&w, "a\\\xe2\x82\xac", ST_U8, 0, NULL);
    st_begin(&w, path);
    st_write(&w, st_golden_data, 3);
    st_write(&w, st_golden_data, 0);
    st_write(&w, st_golden_data + 3, 6);
    CHECK(st_commit(&w), "cannot write %s", path);

    Bytes have = file_read(path);
    Bytes want = st_file(st_golden, st_golden_data, 9);
    CHECK(have.n == want.n && !memcmp(have.p, want.p, want.n),
          "the file differs from the one expected");
    file_free(&have);
    file_free(&want);
    Safetensors s = st_read(path);
    CHECK(s.n == 3 && s.n_meta == 2 && s.tensors[0].name[0] == 'a',
          "found %zu tensors", s.n);
    CHECK(!strcmp(st_meta(&s, "say \"so\""), "\n\xc3\xa9") &&
              !st_meta(&s, "say"),
          "metadata");
    st_floats(st_need(&s, "b", ST_F32, 2, (size_t[]){1, 2}), x);
    CHECK(x[0] == 1 && x[1] == -10, "found %g %g", (double)x[0], (double)x[1]);
    CHECK(*st_need(&s, "a\\\xe2\x82\xac", ST_U8, 0, NULL)->data == 7,
          "a scalar");
    CHECK(!st_find(&s, "c"), "found a tensor that is not there");
    CHECK(DIES(st_need(&s, "b", ST_F32, 2, (size_t[]){2, 1})) &&
              strstr(check_line,
                     ": tensor 'b': expected F32 [2,1], found F32 [1,2]"),
          "%s", check_line);
    CHECK(DIES(st_need(&s, "b", ST_F16, 2, (size_t[]){1, 2})),
          "the wrong type");
    CHECK(DIES(st_need(&s, "b", ST_F32, 1, (size_t[]){1})), "the wrong rank");
    CHECK(DIES(st_need(&s, "c", ST_U8, 0, NULL)) &&
              strstr(check_line, "U8 [], found none"),
          "absent");
    CHECK(DIES(st_floats(st_find(&s, "none"), x)) &&
              strstr(check_line, "found I32"),
          "%s", check_line);
    st_free(&s);
}

/* A file that Hugging Face's library wrote. */
static void test_st_foreign(void) {
    static const char header[] =
        "{\"__metadata__\":{\"k\\\"\":\"v\\n\xe2\x82\xac\"},"
        "\"e\":{\"dtype\":\"I64\",\"shape\":[0,4],\"data_offsets\":[0,0]},"
        "\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"w.b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
        "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[32,36]},"
        "\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[36,39]}}     ";
    static const uint8_t data[39] = {0, 0,    0,    0,    0, 0, 0x0a, 0x40,
                                     0, 0,    0,    0,    0, 0, 0x80, 0x3f,
                                     0, 0,    0,    0x40, 0, 0, 0x40, 0x40,
                                     0, 0,    0x80, 0x40, 0, 0, 0xa0, 0x40,
                                     0, 0x3e, 0,    0xc0, 1, 2, 3};
    float x[6];
    Safetensors s = st_parse(st_file(header, data, sizeof data));
    CHECK(s.file.n == 0x167 && s.n == 5 &&
              !strcmp(st_meta(&s, "k\""), "v\n\xe2\x82\xac"),
          "the header");
    st_floats(st_need(&s, "w.b", ST_F32, 2, (size_t[]){2, 3}), x);
    for (int k = 0; k < 6; k++)
        CHECK(x[k] == (float)k, "w.b[%d]: found %g", k, (double)x[k]);
    st_floats(st_need(&s, "s", ST_F64, 0, NULL), x);
    st_floats(st_need(&s, "h", ST_F16, 1, (size_t[]){2}), x + 1);
    CHECK(x[0] == 3.25f && x[1] == 1.5f && x[2] == -2, "s and h");
    CHECK(st_need(&s, "u", ST_U8, 1, (size_t[]){3})->data[2] == 3, "u");
    CHECK(st_need(&s, "e", ST_I64, 2, (size_t[]){0, 4})->bytes == 0, "e");
    st_free(&s);
}

/* Every way to misuse the writer dies; none leaves a file. */
static void test_st_misuse(const char *path) {
    static StWriter w;
    const size_t two = 2;
    unlink(path);
#define NEW(type) (w = (StWriter){0}, st_declare(&w, "x", type, 1, &two))
    NEW(ST_F32);
    st_begin(&w, path);
    CHECK(DIES(st_write(&w, st_golden_data, 9)) &&
              strstr(check_line, "8 more bytes"),
          "%s", check_line);
    CHECK(access(w.out.temp->path, F_OK), "a temporary file is left");
    NEW(ST_F32);
    st_begin(&w, path);
    st_write(&w, st_golden_data, 7);
    CHECK(DIES(st_commit(&w)) && strstr(check_line, "expected 1 more bytes"),
          "%s", check_line);
    CHECK(access(w.out.temp->path, F_OK), "a temporary file is left");
    NEW(ST_F32);
    CHECK(DIES(st_meta_put(&w, "k", "v")), "metadata after a tensor");
    NEW(ST_U8);
    CHECK(DIES(st_declare(&w, "y", ST_F32, 1, &two)), "an unaligned tensor");
    NEW(ST_U8);
    CHECK(DIES(st_declare(&w, "y", ST_U8, 9, (size_t[9]){1})),
          "nine dimensions");
    NEW(ST_U8);
    CHECK(DIES(st_declare(&w, "y", ST_U8, 2, (size_t[]){SIZE_MAX, 2})),
          "a size that overflows");
    NEW(ST_U8);
    st_declare(&w, "x", ST_U8, 1, &two);
    CHECK(DIES(st_begin(&w, path)) && strstr(check_line, "once"),
          "found \"%s\"", check_line);
    NEW(ST_U8);
    st_declare(&w, "a\n", ST_U8, 1, &two);
    CHECK(DIES(st_begin(&w, path)), "a control character");
    NEW(ST_U8);
    st_declare(&w, "\xff", ST_U8, 1, &two);
    CHECK(DIES(st_begin(&w, path)), "a name not UTF-8");
    w = (StWriter){0};
    st_meta_put(&w, "k", "1");
    st_meta_put(&w, "k", "2");
    CHECK(DIES(st_begin(&w, path)) && strstr(check_line, "expected 'k' once"),
          "found \"%s\"", check_line);
#undef NEW
    CHECK(access(path, F_OK), "a file is left");
    w = (StWriter){0};
    st_begin(&w, path);
    CHECK(st_commit(&w), "cannot write %s", path);
    Safetensors s = st_read(path);
    CHECK(s.n == 0 && s.n_meta == 0,
          "expected an empty file, found %zu tensors", s.n);
    st_free(&s);
}

/* Many tensors, among them empty ones, written by pieces of any size. */
static void test_st_many(const char *path) {
    const uint64_t key = rng_key(1, "test_st_many");
    const size_t n = QUICK ? 200 : 2000;
    uint8_t data[64];
    char name[32];
    StWriter w = {0};
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "t%llu",
                 (unsigned long long)rng_permute(key, i, n));
        st_declare(&w, name, ST_I16, 2, (size_t[]){i % 5, 3});
    }
    st_begin(&w, path);
    while (w.left) {
        size_t piece = 1 + (size_t)rng_u64(key, w.left) % sizeof data;
        if (piece > w.left) piece = w.left;
        for (size_t k = 0; k < piece; k++) data[k] = (uint8_t)(w.left - k);
        st_write(&w, data, piece);
    }
    CHECK(st_commit(&w), "cannot write %s", path);
    Safetensors s = st_read(path);
    const size_t total = n / 5 * 60;
    CHECK(s.n == n, "expected %zu tensors, found %zu", n, s.n);
    for (size_t i = 0, at = 0; i < n; at += i++ % 5 * 6) {
        snprintf(name, sizeof name, "t%llu",
                 (unsigned long long)rng_permute(key, i, n));
        const StTensor *t = st_need(&s, name, ST_I16, 2, (size_t[]){i % 5, 3});
        CHECK(t->offset == at, "%s: expected offset %zu, found %zu", name, at,
              t->offset);
        CHECK(!t->bytes || *t->data == (uint8_t)(total - at), "%s: wrong data",
              name);
    }
    st_free(&s);
}

/* A small file cut after every byte, and with every byte of its header changed
 * in many ways. */
static void test_st_damage(void) {
    static const char others[] = "{}[]\",:0129 x\\u\n\x80\xff";
    Bytes b = st_file(st_golden, st_golden_data, 9);
    uint8_t *p = (uint8_t *)(uintptr_t)b.p;
    CHECK(st_lives(b.p, b.n), "the whole file was refused");
    for (size_t n = 0; n < b.n; n++)
        CHECK(!st_lives(b.p, n), "a file cut after %zu bytes was read", n);
    for (size_t i = 0; i < b.n - 9; i++) {
        const uint8_t old = p[i];
        for (int bit = 0; bit < 8; bit++) {
            p[i] = old ^ (uint8_t)(1 << bit);
            st_lives(b.p, b.n);
        }
        for (size_t k = 0; !QUICK && k < sizeof others; k++) {
            p[i] = (uint8_t)others[k];
            st_lives(b.p, b.n);
        }
        p[i] = old;
    }
    CHECK(st_lives(b.p, b.n), "the whole file was refused");
    file_free(&b);
}

/* All 65,536 halves of both kinds against powers of two, and doubles against
 * the cast. */
static void test_st_floats(void) {
    static uint8_t data[131072];
    static float half[65536], brain[65536], wide[3];
    const double doubles[3] = {1.0 / 3, -0.0, 0x1.ffffffp+127};
    for (uint32_t u = 0; u < 65536; u++) {
        data[2 * u] = (uint8_t)u;
        data[2 * u + 1] = (uint8_t)(u >> 8);
    }
    StTensor t = {.name = "x",
                  .file = "x.st",
                  .type = ST_F16,
                  .count = 65536,
                  .data = data};
    st_floats(&t, half);
    t.type = ST_BF16;
    st_floats(&t, brain);
    for (uint32_t u = 0; u < 65536; u++) {
        const int e = (int)(u >> 10 & 31);
        const int m = (int)(u & 1023);
        const double finite = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        const double f = (double)half[u];
        const double size = e < 31 ? finite
                            : m    ? (double)NAN
                                   : (double)INFINITY;
        CHECK(e == 31 && m ? isnan(f) : fabs(f) == size,
              "F16 0x%04x: expected %g, found %g", u, size, f);
        CHECK(!signbit(f) == !(u >> 15), "F16 0x%04x: the sign", u);
        uint32_t bits;
        memcpy(&bits, &brain[u], 4);
        CHECK(bits == u * 65536, "BF16 0x%04x: found 0x%08x", u, bits);
    }
    t = (StTensor){.name = "x",
                   .file = "x.st",
                   .type = ST_F64,
                   .count = 3,
                   .data = (const uint8_t *)doubles};
    st_floats(&t, wide);
    CHECK(wide[0] == 1.0f / 3 && wide[1] == 0 && signbit(wide[1]) &&
              isinf(wide[2]),
          "found %g %g %g", (double)wide[0], (double)wide[1], (double)wide[2]);
}

static void test_safetensors(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/test_safetensors.%ld", (long)getpid());
    test_st_offsets();
    test_st_fields();
    test_st_metadata();
    test_st_syntax();
    test_st_headers();
    test_st_foreign();
    test_st_writer(path);
    test_st_misuse(path);
    test_st_many(path);
    test_st_damage();
    test_st_floats();
    unlink(path);
}
#endif
