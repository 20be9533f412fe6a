/* test_models.h: models of others. What transformers and the gguf package wrote
 * gives the logits that transformers has for it; GGUF goes out and comes back
 * without losing a bit, a mask or an id; what is not GPT-2, not whole or not
 * said is refused in one line. */
#ifndef TEST_MODELS_H
#define TEST_MODELS_H
#include "test_formats.h"

static void state_end(const State *s) {
    gpt_free(s->m);
    tok_free(s->tok);
    free(s->o);
}

/* ---- files that other programs wrote ------------------------------------- */

/* The logits of a model for the inputs of models.safetensors are
 * transformers'. */
static void check_logits(const char *path) {
    Options o = {0};
    Safetensors golden = st_read("test/golden/models.safetensors");
    const StTensor *x = st_find(&golden, "inputs");
    const StTensor *want = st_find(&golden, "logits");
    State s = checkpoint_read(path, &o, false);
    Spec *spec = spec_new(s.m->c, x->shape[0], x->shape[1]);
    int32_t *inputs = mem_new(x->count, sizeof *inputs);
    double worst = 0;
    double largest = 0;
    for (size_t i = 0; i < x->count; i++)
        inputs[i] = (int32_t)get_u32(x->data + 4 * i);
    for (size_t k = 0; k < s.m->count; k++) {
        double *w = gpt_values(s.m, s.m->w, k);
        memcpy(spec->w[k], w, gpt_elements(&s.m->table[k]) * sizeof *w);
        free(w);
    }
    spec_forward(spec, inputs, inputs);
    for (size_t i = 0; i < want->count; i++) {
        worst = larger(worst,
                       fabs(spec->logits[i] - (double)tensor_get(want, i)));
        largest = larger(largest, fabs((double)tensor_get(want, i)));
    }
    CHECK(worst < 1e-5 * largest, "%s: logits are off by %g of %g", path, worst,
          largest);
    CHECK(s.tok && s.tok->V == 263 && s.tok->eot == 259, "%s: the vocabulary",
          path);
    uint32_t ids[8];
    CHECK(s.tok && tok_encode(s.tok, (const uint8_t *)" lowlo", 6, ids) == 2 &&
              ids[0] == 258 && ids[1] == 256,
          "%s: merges", path);
    spec_free(spec);
    state_end(&s);
    free(inputs);
    st_free(&golden);
}
static void test_theirs(void) {
    check_logits("test/golden/sharded");
    check_logits("test/golden/sharded/model.safetensors.index.json");
    NOTED("");
    check_logits("test/golden/theirs.gguf");
    CHECK(NOTED("not known: 'a.list'"), "a value that is not known is named");
    check_same("test/golden/sharded", "test/golden/theirs.gguf", true);
}

/* ---- a model in several files -------------------------------------------- */

static void test_index(void) {
    static const Spoiled bad[] = {
        {"h.0.ln_1.bias\"", "h.0.ln_1.bios\"", "h.0.ln_1.bios"},
        {"model-00001-of-00002", "model-00003-of-00002", "model-00003"},
        {": \"model-00001-of", ": \"mo/el-00001-of", "beside the index"},
        {"\"weight_map\"", "\"weight_mob\"", "weight_map"},
        {"{", "[", "expected"},
    };
    outside("cp -r test/golden/sharded %s/shards", folder);
    char path[128];
    snprintf(path, sizeof path, "%s/shards/model.safetensors.index.json",
             folder);
    Bytes good = file_copy(path);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        Bytes b = {memcpy(mem_new(good.n, 1), good.p, good.n), good.n, path,
                   false};
        uint8_t *at = memmem(b.p, b.n, bad[k].from, strlen(bad[k].from));
        memcpy(at, bad[k].to, strlen(bad[k].to));
        file_put(path, b.p, b.n);
        file_free(&b);
        check_refused(bad[k].expected,
                      "convert %s/shards /dev/null --format llmc", folder);
    }
    file_put(path, "{\"weight_map\": {}}", 18);
    check_refused("wte.weight", "convert %s /dev/null --format llmc", path);
    const char *line = strstr((const char *)good.p,
                              "\"_orig_mod.transformer.h.0");
    const size_t before = (size_t)(line - (const char *)good.p);
    const size_t len = strcspn(line, "\n") + 1;
    /* A tensor that the index does not name. */
    char *less = mem_new(good.n, 1);
    memcpy(less, good.p, before);
    memcpy(less + before, line + len, good.n - before - len);
    file_put(path, less, good.n - len);
    free(less);
    check_refused("the 28 tensors of its files, found 27",
                  "convert %s /dev/null --format llmc", path);
    file_put(path, good.p, good.n);
    file_free(&good);
    outside("rm %s/shards/model-00002-of-00002.safetensors", folder);
    check_refused("model-00002", "convert %s /dev/null --format llmc", path);
    outside("rm %s/shards/model*", folder);
    check_refused("found a directory without",
                  "convert %s/shards /dev/null --format llmc", folder);
}
/* What PyTorch has pickled, in the folder that test_index has emptied: alone,
 * an old one, and in several files. */
static void test_pickled(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/shards/pytorch_model.bin", folder);
    file_put(path, "PK\3\4\0\0\10\10", 8);
    check_refused("save_pretrained",
                  "convert %s/shards /dev/null --format llmc", folder);
    file_put(path, "\x80\2\x8a\nl\xfc\x9c\x46", 8);
    check_refused("save_pretrained", "convert %s /dev/null --format llmc",
                  path);
    static const char pickled[] =
        "{\"weight_map\": "
        "{\"wte.weight\": \"pytorch_model-00001-of-00002.bin\"}}";
    outside("mv %s %s/shards/pytorch_model-00001-of-00002.bin", path, folder);
    file_put(file_in("shards/pytorch_model.bin.index.json"), pickled,
             sizeof pickled - 1);
    check_refused("save_pretrained", "convert %s/shards /dev/null --format llmc",
                  folder);
    CHECK(!rename(file_in("shards"), file_in("shar$s")), "%s", folder);
    check_refused("from_pretrained('FOLDER')",
                  "convert %s/shar$s /dev/null --format llmc", folder);
}

/* What lies in the folder of an export: whoever loads it finds all, and a
 * README.md of one's own stays. */
static void test_export(void) {
    char card[128];
    snprintf(card, sizeof card, "%s/export/README.md", folder);
    CHECK(command("convert test/golden/sharded %s/export", folder) == 0, "%s",
          check_line);
    CHECK(file_has(card, "2 layers, 2 heads and 8 channels: 263 tokens") &&
              !file_has(card, "sparse\n"),
          "a card");
    CHECK(file_has(file_in("export/generation_config.json"),
                   "\"eos_token_id\": 259"),
          "generation_config.json");
    file_put(card, "mine", 4);
    CHECK(command("convert test/golden/sharded %s/export", folder) == 0 &&
              file_has(card, "mine"),
          "a card stays");
    check_same("test/golden/sharded", file_in("export"), true);
}

/* ---- GGUF ---------------------------------------------------------------- */

/* The nearest half of every number that is one, lies between two, or is too
 * large. */
static void test_half(void) {
    size_t wrong = 0;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        const float x = st_from_half(h);
        const float next = h == 0x7bff ? 0x1p16f : st_from_half(h + 1);
        const float mid = (x + next) / 2;
        const uint32_t even = h + (h & 1);
        wrong += st_to_half(x) != h || st_to_half(-x) != (h | 0x8000) ||
                 st_to_half(mid) != even;
        wrong += st_to_half(nextafterf(mid, 0)) != h ||
                 st_to_half(nextafterf(mid, INFINITY)) != h + 1;
    }
    CHECK(!wrong, "%zu halves are wrong", wrong);
    CHECK(st_to_half(1e9f) == 0x7c00 && st_to_half(-1e9f) == 0xfc00 &&
              !st_to_half(1e-30f),
          "beyond the ends");
}

/* The masks of two checkpoints are equal. */
static void check_masks(const char *a, const char *b) {
    Options o = {0};
    State x = checkpoint_read(a, &o, false);
    State y = checkpoint_read(b, &o, false);
    for (size_t k = 0; k < x.m->count; k++) {
        const GptParam *p = &x.m->table[k];
        const GptParam *q = &y.m->table[k];
        uint8_t *mask = mem_new(gpt_elements(p), 1);
        uint8_t *other = mem_new(gpt_elements(p), 1);
        mask_of(p, mask);
        mask_of(q, other);
        CHECK(gpt_masked(p) == gpt_masked(q) &&
                  !memcmp(mask, other, gpt_elements(p)),
              "%s: another mask", p->name);
        free(mask);
        free(other);
    }
    state_end(&x);
    state_end(&y);
}
/* Dense, masks in blocks, masks of elements: to GGUF and back, and to Hugging
 * Face's form from there. */
static void test_gguf_round_trips(void) {
    static const char *const kind[3] = {"", "--sparsity 0.75 --block 16x4",
                                        "--block 16x1 --mask %s"};
    static const char *const name[3] = {"dense.ckpt", "blocks.ckpt",
                                        "elements.ckpt"};
    char gguf[128], back[128], mask[256];
    snprintf(gguf, sizeof gguf, "%s", file_in("m.gguf"));
    snprintf(back, sizeof back, "%s", file_in("g.ckpt"));
    make_text(file_in("text"), 20000);
    CHECK(command("dump %s --layers 2 --heads 2 --width 32 --sparsity 0.5 "
                  "--steps 0",
                  file_in("masks")) == 0,
          "%s", check_line);
    for (int k = 0; k < 3; k++) {
        const char *native = file_in(name[k]);
        snprintf(mask, sizeof mask, kind[k], file_in("masks"));
        CHECK(command("run --text %s --out %s " SMALL " --stop 2 %s",
                      file_in("text"), native, mask) == 0,
              "%s", check_line);
        CHECK(command("convert %s %s", native, gguf) == 0, "%s", check_line);
        CHECK(command("convert %s %s", gguf, back) == 0, "%s", check_line);
        check_same(native, back, true);
        check_masks(native, back);
        CHECK(command("convert %s %s", gguf, file_in("hf_of")) == 0, "%s",
              check_line);
        check_masks(native, file_in("hf_of"));
        CHECK(command("convert %s %s", file_in("hf_of"),
                      file_in("again.gguf")) == 0,
              "%s", check_line);
        CHECK(file_bits(file_in("again.gguf")) == file_bits(gguf) || k == 1,
              "GGUF by way of Hugging Face's");
    }
}
/* Half precision: every number is the nearest one there is, or it is refused.
 * After test_gguf_round_trips, whose model it takes. */
static void test_gguf_half(void) {
    char gguf[128];
    snprintf(gguf, sizeof gguf, "%s", file_in("m.gguf"));
    CHECK(command("convert %s %s --type f16", file_in("dense.ckpt"), gguf) == 0,
          "%s", check_line);
    Options o = {0};
    State x = checkpoint_read(file_in("dense.ckpt"), &o, false);
    State y = checkpoint_read(gguf, &o, false);
    size_t wrong = 0;
    for (size_t k = 0; k < x.m->count; k++) {
        float *a = weights_of(x.m, k);
        float *b = weights_of(y.m, k);
        for (size_t i = 0; i < gpt_elements(&x.m->table[k]); i++) {
            const bool half = x.m->table[k].rank == 2 && k != WPE;
            wrong += b[i] != (half ? st_from_half(st_to_half(a[i])) : a[i]);
        }
        free(a);
        free(b);
    }
    CHECK(!wrong, "%zu numbers are not the nearest halves", wrong);
    x.m->w[x.m->table[WTE].at] = 1e6f;
    CHECK(DIES(gguf_write(file_in("large.gguf"), x.m, NULL, true)) &&
              strstr(check_line, "wte.weight: 1e+06"),
          "%s", check_line);
    outside("! ls %s | grep large", folder);  /* nothing is left of it */
    gguf_write(gguf, x.m, NULL, false);  /* without a vocabulary */
    CHECK(command("sample %s", gguf) == 2 &&
              strstr(check_line, "no vocabulary"),
          "%s", check_line);
    state_end(&x);
    state_end(&y);
    check_refused("GGUF", "convert %s %s --type f16", gguf, file_in("h.ckpt"));
    check_refused("--type", "convert %s %s --type q4", gguf, file_in("h.gguf"));
}

/* A copy of theirs.gguf in which 4 bytes after a key and its type, or n bytes
 * of text, are others. */
static const char *gguf_changed(const char *text, const void *to, size_t skip,
                                size_t n) {
    Bytes b = file_copy("test/golden/theirs.gguf");
    uint8_t *at = memmem(b.p, b.n, text, strlen(text));
    if (!at) abort();
    memcpy(at + skip, to, n);
    file_put(file_in("changed.gguf"), b.p, b.n);
    file_free(&b);
    return file_in("changed.gguf");
}
static void check_gguf_refused(const char *key, size_t skip, uint32_t value,
                               const char *expected) {
    const char *path = gguf_changed(key, &value, strlen(key) + skip, 4);
    check_refused(expected, "convert %s /dev/null --format llmc", path);
}
static void test_gguf_header(void) {
    static const BadWord word[] = {
        {4, 1, 4, "version"},       {4, 4, 4, "version"},
        {8, 28, 4, ""},             {8, 30, 4, ""},
        {12, 1u << 30, 4, "smaller"},
        {16, 16, 4, ""},            {20, 1u << 31, 4, "smaller"},
        {24, 1u << 31, 4, "a key"}, {SIZE_MAX, 0, 0, "after the"},
        {SIZE_MAX, 0, 40, ""},
    };
    check_words("test/golden/theirs.gguf", "convert %s /dev/null --format llmc",
                word, sizeof word / sizeof *word);
}
static void test_gguf_values(void) {
    static const struct {
        const char *key;
        uint32_t value;
        const char *expected;
    } number[] = {
        {"gpt2.block_count", 0, "layers"},
        {"gpt2.block_count", 3, "blk.2"},
        {"gpt2.block_count", 1, "others"},
        {"gpt2.attention.head_count", 3, "divisor"},
        {"gpt2.embedding_length", 16, "expected 64"},
        {"gpt2.context_length", 13, "position_embd"},
        {"gpt2.feed_forward_length", 31, "expected 32"},
        {"gpt2.attention.layer_norm_epsilon", 0x3727c600, "1e-05"},
    };
    for (size_t k = 0; k < sizeof number / sizeof *number; k++)
        check_gguf_refused(number[k].key, 4, number[k].value,
                           number[k].expected);
}
static void test_gguf_names(void) {
    static const Spoiled text[] = {
        {"gpt2.block_count", "gpt2.block_coont", "gpt2.block_count"},
        {"gpt2.block_count", "split.count_more", "gpt2.block_count"},
        {"gpt2.attention.layer_norm_epsilon", "gpt2.attention.layer_norm_epsilom",
         "layer_norm_epsilon"},
        {"general.architecture", "general.architecturo", "general.architecture"},
        {"general.name", "general.\0ame", "NUL"},
        {"blk.0.attn_norm.weight", "blk.0.attn_norm.height",
         "blk.0.attn_norm.weight"},
        {"blk.0.attn_norm.bias", "blk.1.attn_norm.bias", "found it twice"},
    };
    for (size_t k = 0; k < sizeof text / sizeof *text; k++) {
        const size_t n = strlen(text[k].from);
        const char *path = gguf_changed(text[k].from, text[k].to, 0, n);
        check_refused(text[k].expected, "convert %s /dev/null --format llmc",
                      path);
    }
}
static void test_gguf_tensors(void) {
    static const struct {
        size_t at;                      /* of what follows the name */
        uint32_t value;
        const char *expected;
    } tensor[] = {
        {0, 5, "dimensions"},    {0, 0, "dimensions"},     {4, 9, "attn_qkv"},
        {8, 1u << 30, "smaller"}, {8, 1u << 26, "elements"},
        {20, 8, "quantised"},    {24, 1, "an offset"},
    };
    for (size_t k = 0; k < sizeof tensor / sizeof *tensor; k++)
        check_gguf_refused("blk.0.attn_qkv.weight", tensor[k].at,
                           tensor[k].value, tensor[k].expected);
}
/* A vocabulary that cannot be used is left out, with a note. */
static void test_gguf_vocabulary(void) {
    NOTED("");
    for (int k = 0; k < 2; k++) {
        const char *path = k ? gguf_changed("lo w", "l ow", 0, 4)
                             : gguf_changed("gpt-2", "llama", 0, 5);
        CHECK(command("convert %s %s", path, file_in("lost.ckpt")) == 0, "%s",
              check_line);
        CHECK(NOTED(k ? "earlier merges" : "expected gpt-2"), "a note of it");
    }
}
/* A value that must be neutral is refused by name if it is not; others are
 * taken. */
static void check_gguf_field(const JsonField *field) {
    GgufValue v[2] = {{(char *)(uintptr_t)field->key, GGUF_U32, GGUF_U32, 1,
                       (const uint8_t *)"\7\7\0"},
                      {(char[]){"zzz"}, GGUF_U32, GGUF_U32, 1,
                       (const uint8_t *)"\7\7\0"}};
    Gguf g = {.value = v, .n = 2};
    ModelFile f = {.path = (char[]){"gguf"}, .gguf = &g};
    NOTED("");
    const bool died = DIES(gguf_check_fields(&f));
    CHECK(died == (field->use == JSON_NEUTRAL), "%s: %s", field->key,
          died ? check_line : "taken");
    CHECK(died ? strstr(check_line, field->key) != NULL
               : NOTED("1 values that are not known: 'zzz'"),
          "%s: %s", field->key, check_line);
}
static void test_gguf_fields(void) {
    for (size_t k = 0; k < sizeof gguf_fields / sizeof *gguf_fields; k++)
        check_gguf_field(&gguf_fields[k]);
}
/* What is said of the architecture and not known is refused, unless it is
 * off. */
static void test_gguf_architecture(void) {
    static const struct {
        const char *key;
        GgufType type;
        const char *number;
        bool dies;
    } value[] = {
        {"gpt2.attention.scale", GGUF_F32, "\0\0\0\x3f", true},
        {"gpt2.attention.sliding_window", GGUF_U32, "\4\0\0\0", true},
        {"gpt2.attention.sliding_window", GGUF_U32, "\0\0\0\0", false},
        {"gpt2.use_parallel_residual", GGUF_BOOL, "\1", true},
        {"gpt2.use_parallel_residual", GGUF_BOOL, "\0", false},
        {"gpt2.attention.head_count", GGUF_U32, "\2\0\0\0", false},
        {"llama.rope.freq_base", GGUF_F32, "\0\0\0\x3f", false},
    };
    for (size_t k = 0; k < sizeof value / sizeof *value; k++) {
        GgufValue v = {(char *)(uintptr_t)value[k].key, value[k].type, value[k].type, 1,
                       (const uint8_t *)value[k].number};
        Gguf g = {.value = &v, .n = 1};
        ModelFile f = {.path = (char[]){"gguf"}, .gguf = &g};
        CHECK(DIES(gguf_check_architecture(&f)) == value[k].dies, "%s: %s", v.key,
              check_line);
        CHECK(!value[k].dies || strstr(check_line, v.key), "%s", check_line);
    }
}
/* A file that separates texts by another token says so. */
static void test_gguf_edges(void) {
    const char *key = "tokenizer.ggml.eos_token_id";
    const uint32_t id = 7;
    NOTED("");
    CHECK(command("convert %s /dev/null --format llmc",
                  gguf_changed(key, &id, strlen(key) + 4, 4)) == 0 &&
              NOTED("texts end with id 7"),
          "%s", check_line);
}
/* Cut anywhere, it is refused. */
static void test_gguf_cut(void) {
    Bytes b = file_read("test/golden/theirs.gguf");
    for (size_t n = 4; n < b.n - 31; n += QUICK ? 101 : 7) {
        file_put(file_in("cut.gguf"), b.p, n);
        CHECK(DIES(model_open(file_in("cut.gguf"))), "cut at %zu of %zu", n,
              b.n);
    }
    file_free(&b);
}

/* ---- tokens of others ---------------------------------------------------- */

/* Writes ids as bare u16, as .npy of u2 or u4, as NumPy does, or as an llm.c
 * shard. */
static const char *ids_put(const char *name, int kind, const uint32_t *ids,
                           size_t n) {
    const char *path = file_in(name);
    char header[80] = "";
    if (kind == 3) {
        write_shard(path, ids, n, 70000);
        return path;
    }
    FILE *f = fopen(path, "wb");
    const int len =
        snprintf(header, 80,
                 "{'descr': '<u%d', 'fortran_order': False, 'shape': (%zu,), }",
                 kind == 2 ? 4 : 2, n);
    if (kind) fprintf(f, "\x93NUMPY%c%c%c%c%-117s\n", 1, 0, 118, 0, header);
    if (len > 117 || (kind == 1 && ftell(f) != 128)) abort();
    for (size_t i = 0; i < n; i++) fwrite(&ids[i], kind == 2 ? 4 : 2, 1, f);
    fclose(f);
    return path;
}
static bool ids_die(const char *path, bool raw16) {
    Tokens t = {0};
    return DIES(tokens_read(&t, path, 0, raw16));
}
/* The same ids in any form make the same model, of as many ids as --vocab-size
 * says. */
static void test_ids(void) {
    static const char *const kinds[4] = {"raw", "npy2", "npy4", "shard"};
    uint32_t ids[500];
    for (size_t i = 0; i < 500; i++) ids[i] = rng_u64(9, i / 3) % 65;
    for (int k = 0; k < 4; k++) {
        const char *train = ids_put(kinds[k], k, ids, 500);
        const char *val = ids_put("val", k, ids, 90);
        const char *raw16 = k ? "" : " --raw16";
        char out[128];
        snprintf(out, sizeof out, "%s.ckpt", train);
        CHECK(command("run --tokens %s --val %s --vocab-size 65 --out %s "
                      "--layers 1 --heads 2 --width 32 --context 16 --batch 2 "
                      "--steps 3 --quiet%s",
                      train, val, out, raw16) == 0,
              "%s", check_line);
        CHECK(command("eval %s --tokens %s%s", out, val, raw16) == 0, "%s",
              check_line);
        Options o = {0};
        State s = checkpoint_read(out, &o, false);
        CHECK(s.m->c.V == 65, "%zu ids", s.m->c.V);
        state_end(&s);
        if (k)
            CHECK(file_bits(out) == file_bits(file_in("raw.ckpt")),
                  "%s: another model", kinds[k]);
    }
}
static void test_ids_refused(void) {
    uint32_t ids[90];
    for (size_t i = 0; i < 90; i++) ids[i] = rng_u64(9, i / 3) % 65;
    const char *raw = file_in("raw");
    const char *npy = file_in("npy2");
    const char *val = file_in("val2");
    ids_put("val2", 1, ids, 90);
    check_refused("below 64, found 64",
                  "run --tokens %s --val %s --vocab-size 64 --out %s", npy, val,
                  file_in("n"));
    check_refused("(or --raw16)", "run --tokens %s --val %s --out %s", raw, val,
                  file_in("n"));
    check_refused("--vocab-size", "run --text %s --vocab-size 65 --out %s",
                  file_in("text"), file_in("n"));
    check_refused("--vocab-size",
                  "run --tokens %s --val %s --vocab-size 65 --vocab "
                  "test/cases/my-merges.txt --out %s",
                  npy, val, file_in("n"));
    check_refused("--raw16", "run --text %s --raw16 --out %s", file_in("text"),
                  file_in("n"));
    check_refused("model says",
                  "run --init %s.ckpt --tokens %s --val %s --vocab-size 9 --out %s", raw,
                  npy, val, file_in("n"));
    file_put(file_in("odd"), "123", 3);
    CHECK(ids_die(file_in("odd"), true) && strstr(check_line, "3 bytes"), "%s",
          check_line);
    file_put(file_in("odd"), "", 0);
    CHECK(ids_die(file_in("odd"), true), "an empty file");
}
/* Whether raw ids look as if they had 4 bytes each, and are refused for that. */
static void check_wide(const uint16_t ids[64], bool wide) {
    file_put(file_in("odd"), ids, 64 * sizeof *ids);
    CHECK(ids_die(file_in("odd"), true) == wide, "wide %d: %s", wide, check_line);
    CHECK(!wide || strstr(check_line, "ids of 4 bytes"), "%s", check_line);
}
/* Bare ids are whatever stands in a file; what is plainly another kind of file
 * is refused. */
static void test_ids_not_raw(void) {
    static const char *const kinds[4] = {"raw", "npy2", "npy4", "shard"};
    static const char *const found[4] = {NULL, "NumPy's", "NumPy's", "a shard"};
    uint16_t ids[64] = {0};
    char text[64];
    for (size_t k = 0; k < 4; k++) {
        const bool died = ids_die(file_in(kinds[k]), true);
        CHECK(died == (k > 0) && (!died || strstr(check_line, found[k])), "%s: %s",
              kinds[k], check_line);
    }
    memset(text, 'a', sizeof text);
    file_put(file_in("odd"), text, sizeof text);
    CHECK(ids_die(file_in("odd"), true) && strstr(check_line, "found text"), "%s",
          check_line);
    file_put(file_in("odd"), text, 62);
    CHECK(!ids_die(file_in("odd"), true), "too little to tell: %s", check_line);
    file_put(file_in("odd"), ids, sizeof ids);
    CHECK(!ids_die(file_in("odd"), true), "all of one id: %s", check_line);
    for (size_t k = 0; k < 64; k += 2) ids[k] = (uint16_t)(k % 5);
    check_wide(ids, true);
    ids[33] = 1;
    check_wide(ids, false);
    ids[32] = 50000;                /* 115,536 in 4 bytes */
    check_wide(ids, true);
    ids[61] = 16;
    check_wide(ids, false);
    Tokens t = {0};
    NOTED("");
    tokens_read(&t, file_in("odd"), 65537, true);
    CHECK(NOTED("larger ones may have been cut"), "ids that 2 bytes do not hold");
    tokens_free(&t);
}
/* NumPy's files: bytes of the header changed, the file cut. */
static void test_npy(void) {
    const char *npy = file_in("npy2");
    static const struct {
        size_t at;
        const char *to;
        const char *expected;
    } bad[] = {
        {6, "\4", "version 1, 2 or 3"},
        {8, "\xff\xff", "version 1, 2 or 3"},
        {21, ">", "one dimension"},
        {21, "<i2", "one dimension"},
        {21, "<f4", "one dimension"},
        {21, "<u4", "expected 500 ids"},
        {61, "501", "expected 501"},
        {61, "5,1", "one dimension"},
        {8, "\x75", "expected 500 ids"},
        {41, "_orden", "one dimension"},
        {61, "499", "expected 499"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        Bytes b = file_copy(npy);
        memcpy((uint8_t *)(uintptr_t)b.p + bad[k].at, bad[k].to,
               strlen(bad[k].to));
        file_put(file_in("bad.npy"), b.p, b.n);
        file_free(&b);
        CHECK(ids_die(file_in("bad.npy"), false) &&
                  strstr(check_line, bad[k].expected),
              "%zu: %s", k, check_line);
    }
    Bytes whole = file_copy(npy);
    for (size_t n = 6; n < size_min(whole.n, 200); n++) {
        file_put(file_in("cut.npy"), whole.p, n);
        CHECK(ids_die(file_in("cut.npy"), false), "cut at %zu", n);
    }
    file_free(&whole);
}
static void test_packed(void) {
    const char *val = file_in("val2");
    static const char gzip[] = "\x1f\x8b\10\0\0\0\0\0\0\3";
    file_put(file_in("packed"), gzip, sizeof gzip);
    check_refused("gzip", "run --text %s --out %s", file_in("packed"),
                  file_in("n"));
    check_refused("gzip", "run --tokens %s --val %s --raw16 --out %s",
                  file_in("packed"), val, file_in("n"));
    check_refused("gzip", "eval %s", file_in("packed"));
    static const Refused other[] = {
        {"\xfd" "7zXZ\0", "xz -dc"},
        {"\x28\xb5\x2f\xfd", "zstd -dc"},
        {"BZh91AY&SY", "bzip2 -dc"},
    };
    for (size_t k = 0; k < 3; k++) {
        char bytes[40] = "";
        memcpy(bytes, other[k].given, k ? strlen(other[k].given) : 6);
        file_put(file_in("packed"), bytes, sizeof bytes);
        check_refused(other[k].expected, "run --text %s --out %s", file_in("packed"),
                      file_in("n"));
    }
}
/* What is no plain text is read byte by byte, and said. */
static void test_texts(void) {
    static const struct {
        const char *text;
        size_t n;
        const char *said;               /* NULL: nothing */
    } text[] = {
        {"caf\xc3\xa9 {\"a\": 1}\n", 15, NULL},
        {"{a}\n", 4, NULL},
        {"caf\xe9\n", 5, "byte 3: expected UTF-8, found byte 0xe9"},
        {"low\0er", 6, "byte 3: expected UTF-8, found byte 0x00"},
        {"\xff\xfel\0o\0w\0", 8, "iconv -f UTF-16"},
        {"\xfe\xff\0l\0o\0w", 8, "iconv -f UTF-16"},
        {"\xef\xbb\xbflow", 6, "begins with a byte order mark"},
        {"{\"text\": \"low\"}\r\n{}", 20, "lines are JSON"},
    };
    for (size_t k = 0; k < sizeof text / sizeof *text; k++) {
        Documents d = {0};
        file_put(file_in("strange"), text[k].text, text[k].n);
        NOTED("");
        documents_read(&d, file_in("strange"), false);
        const char *said = text[k].said ? text[k].said : "strange";
        CHECK(NOTED(said) == (text[k].said != NULL), "text %zu: %s", k, said);
        CHECK(d.n == 1 && d.doc[0].n == text[k].n, "text %zu is read whole", k);
        documents_free(&d);
    }
    file_put(file_in("strange"), "PAR1low\0PAR1", 12);
    check_refused("found a Parquet file", "run --text %s --out %s", file_in("strange"),
                  file_in("n"));
    file_put(file_in("strange"), "low [PAD]\n", 10);
    NOTED("");
    CHECK(command("eval test/golden/sharded --text %s", file_in("strange")) == 0 &&
              NOTED("byte 4: '[PAD]' is a special token"),
          "%s", check_line);
}

/* A text becomes the same tokens and the same vocabulary by any way. */
static void test_documents(void) {
    static const char text[] =
        "one day\n<|endoftext|>\nanother day, one more day\n<|endoftext|>\n "
        "\n<|endoftext|>last";
    const char *train = train_path();
    char a[128], b[128], shard[128];
    snprintf(a, sizeof a, "%s", file_in("a.ckpt"));
    snprintf(b, sizeof b, "%s", file_in("b.ckpt"));
    snprintf(shard, sizeof shard, "%s", file_in("docs.bin"));
    file_put(file_in("docs"), text, sizeof text - 1);
    outside("%s tokenize --vocab 260 --save %s/v1 < %s/docs > /dev/null", train,
            folder, folder);
    outside("%s tokenize --vocab 260 --save %s/v2 --text %s/docs < /dev/null > "
            "/dev/null",
            train, folder, folder);
    CHECK(file_bits(file_in("v1")) == file_bits(file_in("v2")),
          "another vocabulary from standard input");
    outside("%s tokenize --vocab %s/v1 --documents --shard %s < %s/docs", train,
            folder, shard, folder);
    const char *const how =
        "--layers 1 --heads 2 --width 32 --context 8 --batch 2 --steps 3 "
        "--quiet";
    CHECK(command("run --text %s --val %s --vocab %s --out %s %s",
                  file_in("docs"), file_in("docs"), file_in("v1"), a, how) == 0,
          "%s", check_line);
    CHECK(command("run --tokens %s --val %s --vocab %s --out %s %s", shard,
                  shard, file_in("v1"), b, how) == 0,
          "%s", check_line);
    CHECK(file_bits(a) == file_bits(b), "a text and its shard make two models");
}

/* ---- sampling ------------------------------------------------------------ */

/* The ids of a prompt; those that are drawn. */
static void test_prompts(void) {
    Options o = {0};
    State s = checkpoint_read("test/golden/sharded", &o, false);
    uint32_t ids[64];
    const char *const text = "low" TOK_EOT TOK_EOT "l";
    CHECK(prompt_encode(s.tok, &(GptPrompt){text, false, true}, ids) == 5 &&
              ids[0] == 259 && ids[1] == 257 && ids[2] == 259 &&
              ids[3] == 259 && ids[4] == 75,
          "--special");
    CHECK(prompt_encode(s.tok, &(GptPrompt){text, true, true}, ids) == 4 &&
              ids[0] == 257,
          "--no-eot");
    CHECK(prompt_encode(s.tok, &(GptPrompt){"<|", true, false}, ids) == 2,
          "letters");
    CHECK(prompt_encode(s.tok, &(GptPrompt){text, false, false}, ids) > 20,
          "no --special");
    float *logits = mem_new(263 * LINE, sizeof *logits);
    GptCandidate c[263];
    for (size_t v = 0; v < 263; v++) logits[v * LINE] = (float)v;
    const size_t n = gpt_candidates(c, logits, s.tok);
    CHECK(n == 260 && gpt_choose(c, n, &(GptChoice){0, 1, 0}, 0.5) == 259,
          "ids of no text are not drawn");
    state_end(&s);
    free(logits);
    check_refused("--no-eot", "sample test/golden/sharded --no-eot");
    NOTED("");
    CHECK(command("sample test/golden/sharded --tokens 1 --quiet --prompt low[PAD]") == 0 &&
              NOTED("--prompt: byte 3: '[PAD]' is a special token"),
          "%s", check_line);
}

static void test_models(void) {
    folder_begin();
    const int keep = out_to_null();
    test_theirs();
    test_index();
    test_pickled();
    test_export();
    test_half();
    test_gguf_round_trips();
    test_gguf_half();
    test_gguf_header();
    test_gguf_values();
    test_gguf_names();
    test_gguf_tensors();
    test_gguf_vocabulary();
    test_gguf_fields();
    test_gguf_architecture();
    test_gguf_edges();
    test_gguf_cut();
    test_ids();
    test_ids_refused();
    test_ids_not_raw();
    test_npy();
    test_packed();
    test_texts();
    test_documents();
    test_prompts();
    out_restore(keep);
    folder_end();
}
#endif
