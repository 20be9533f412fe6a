/* test_formats.h: verify, dump, convert and the files of others. Dumps that
 * PyTorch and transformers wrote pass; those with a fault are told by its name;
 * one element that is off by 3e-3 is found, in every kind of tensor; models go
 * to Hugging Face's and llm.c's files and back without losing a bit; bad files
 * end in one line. */
#ifndef TEST_FORMATS_H
#define TEST_FORMATS_H
#include "test_train.h"

static const char *const golden_good[] = {"tiny_dense", "tiny_sparse", "odd",
                                          "mask_1x1",   "mask_16x16",  "long",
                                          "hf"};
enum { GOLDEN_GOOD = sizeof golden_good / sizeof *golden_good };

/* A file in memory that may be changed. */
static Bytes file_copy(const char *path) {
    Bytes b = file_read(path);
    const Bytes copy = {memcpy(mem_new(b.n, 1), b.p, b.n), b.n, path, false};
    file_free(&b);
    return copy;
}
static Bytes golden_copy(const char *name) {
    static char path[8][96];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], 96, "test/golden/%s.safetensors", name);
    return file_copy(path[turn]);
}
static float tensor_get(const StTensor *t, size_t i) {
    return get_f32(t->data + 4 * i);
}
static void tensor_put(const StTensor *t, size_t i, double x) {
    const float f = (float)x;
    memcpy((uint8_t *)(uintptr_t)t->data + 4 * i, &f, 4);
}

/* ---- right dumps, known faults ------------------------------------------- */

static void test_dumps(DfPool *pool) {
    for (size_t k = 0; k < GOLDEN_GOOD; k++) {
        Dump d = dump_parse(golden_copy(golden_good[k]), NULL);
        const bool right = verify(&d, pool, 0);
        CHECK(right, "%s: %s is wrong", golden_good[k],
              verify_wrong(&d) ? verify_wrong(&d)->name : "none");
        for (size_t i = 0; i < d.n; i++)
            CHECK(d.check[i].own.error < 1e-4, "%s: our own %s is off by %.3g",
                  golden_good[k], d.check[i].name, d.check[i].own.error);
        dump_close(&d);
    }
    for (int k = 0; k < FAULTS; k++) {      /* as PyTorch computes with each */
        char name[64];
        snprintf(name, sizeof name, "fault_%s", faults[k].name);
        Dump d = dump_parse(golden_copy(name), NULL);
        const bool right = verify(&d, pool, 0);
        CHECK(!right, "%s passes", name);
        if (!right) {
            verify_fault(&d);
            CHECK(d.fault == &faults[k], "%s is called %s", name,
                  d.fault ? d.fault->name : "unknown");
            CHECK(check_phase(verify_wrong(&d)->kind) <= faults[k].phase || k < 4,
                  "%s: first wrong is %s", name, verify_wrong(&d)->name);
        }
        dump_close(&d);
    }
}

/* A fault in one tensor of a dump that is right otherwise: it alone is wrong,
 * and the fault is named. */
static void test_single_faults(DfPool *pool) {
    static const struct {
        const char *tensor;
        const char *fault;
        bool transpose;
        double by;
    } bad[] = {{"grad.h.1.mlp.c_fc.bias", "bias-gradient-missing", 0, 0},
               {"grad.h.0.attn.c_attn.bias", "bias-gradient-missing", 0, 0},
               {"grad.h.0.ln_2.weight", "norm-gradient-missing", 0, 0},
               {"grad.wpe.weight", "wpe-gradient-missing", 0, 0},
               {"loss", "loss-summed", 0, 57},
               {"grad.h.1.mlp.c_proj.weight", "gradient-summed", 0, 57},
               {"grad.wte.weight", "gradient-doubled", 0, 2},
               {"grad.h.0.attn.c_proj.weight", "gradient-transposed", 1, 0},
               {"grad.h.1.attn.c_proj.weight", NULL, 0, 1.5}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k += QUICK ? 2 : 1) {
        Dump d = dump_parse(golden_copy("odd"), NULL);      /* B=3 T=19 */
        const StTensor *t = st_find(&d.st, bad[k].tensor);
        for (size_t i = 0; i < t->count && !bad[k].transpose; i++)
            tensor_put(t, i, bad[k].by * (double)tensor_get(t, i));
        for (size_t i = 0; i < t->count && bad[k].transpose; i++) {
            const size_t r = i / t->shape[1];
            const size_t c = i % t->shape[1];
            const size_t j = c * t->shape[1] + r;
            const float a = tensor_get(t, i);
            const float b = tensor_get(t, j);
            if (c <= r) continue;
            tensor_put(t, i, (double)b);
            tensor_put(t, j, (double)a);
        }
        CHECK(!verify(&d, pool, 0) && !strcmp(verify_wrong(&d)->name, bad[k].tensor),
              "%s was changed", bad[k].tensor);
        verify_fault(&d);
        const char *found = d.fault ? d.fault->name : NULL;
        CHECK(bad[k].fault ? found && !strcmp(found, bad[k].fault) : !found,
              "%s: expected %s, found %s", bad[k].tensor,
              bad[k].fault ? bad[k].fault : "none", found ? found : "none");
        dump_close(&d);
    }
}

/* ---- what a file says that is not known ---------------------------------- */

/* A dump with one name in its header turned into another of the same length. */
static Dump dump_renamed(const char *golden, const char *from, const char *to) {
    Bytes b = golden_copy(golden);
    uint8_t *at = memmem(b.p, b.n, from, strlen(from));
    if (!at || strlen(from) != strlen(to)) abort();
    memcpy(at, to, strlen(to));
    return dump_parse(b, NULL);
}
static bool dump_renamed_dies(const char *golden, const char *from, const char *to) {
    return DIES(dump_renamed(golden, from, to));
}
static void test_dump_names(DfPool *pool) {
    Dump d = dump_renamed("odd", "grad.wpe.weight", "grad.wpe.wieght");
    NOTED("");
    const int keep = out_to_null();
    CHECK(verify_print(&d, pool, 0) && NOTED("'grad.wpe.wieght'"),
          "a result that is not known is named");
    out_restore(keep);
    dump_close(&d);
    d = dump_renamed("odd", "\"source\"", "\"sauces\"");
    CHECK(NOTED("'sauces'"), "metadata that are not known are named");
    dump_close(&d);
    CHECK(dump_renamed_dies("mask_1x1", "mask.h.0.attn.c_attn",
                            "mask.h.9.attn.c_attn") &&
              strstr(check_line, "mask.h.9"),
          "%s", check_line);
    CHECK(dump_renamed_dies("mask_1x1", "mask.h.0.mlp.c_fc.weight",
                            "mask.h.0.mlp.c_fc.biases") &&
              strstr(check_line, "biases"),
          "%s", check_line);
}

/* ---- where float32 reaches nothing --------------------------------------- */

/* A dump of a fresh model whose weights are all times `scale`, and what comes
 * of it in double precision. */
static void scaled_put(const char *path, double scale) {
    Dump d = {.c = {2, 2, 32, 60, 12},
              .B = 2,
              .T = 12,
              .steps = 1,
              .adam = {0.002, 0.9, 0.95, 1e-8, 0.1, 1}};
    dump_tables(&d, path);
    Gpt *m = gpt_new(d.c, false);
    gpt_init(m, 1, true);
    dump_weights(&d, m);
    dump_batch(&d, 1);
    for (size_t k = 0; k < d.count; k++)
        for (size_t i = 0; i < gpt_elements(&d.table[k]); i++)
            d.w[k][i] = (float)(d.w[k][i] * scale);
    dump_write(&d, path, false, &(DumpBlocks){.name = "1x1"});
    dump_close(&d);
    gpt_free(m);
}
/* Plants fault n of the 40 in a dump; returns how far that moves the tensor, as
 * a share of its norm. */
enum { PLANTED = 40 };
static const char *plant(Dump *d, int n, double *moved) {
    static const char *const tensor[8] = {"logits",
                                          "loss",
                                          "grad.wte.weight",
                                          "grad.h.0.attn.c_attn.weight",
                                          "grad.h.1.mlp.c_proj.bias",
                                          "grad.ln_f.weight",
                                          "after.wte.weight",
                                          "after.h.0.mlp.c_fc.weight"};
    const StTensor *t = st_find(&d->st, tensor[n % 8]);
    double sum = 0, off = 0;
    size_t largest = 0;
    for (size_t i = 0; i < t->count; i++)
        if (fabs((double)tensor_get(t, i)) > fabs((double)tensor_get(t, largest)))
            largest = i;
    for (size_t i = 0; i < t->count; i++) {
        const double x = (double)tensor_get(t, i);
        const double y[5] = {0, 3 * x, i == largest ? NAN : x, -x,
                             i == largest ? 1.05 * x : x};
        tensor_put(t, i, y[n / 8]);
        sum += x * x;
        off += pow((double)tensor_get(t, i) - x, 2);
    }
    *moved = sqrt(off / fmax(sum, 1e-300));
    return tensor[n % 8];
}
static void test_planted(DfPool *pool) {
    static const double scale[] = {1, 1e4, 1e10, 1e18, 1e-10};
    for (int k = 0; k < 5; k++) {
        const char *path = file_in("scaled");
        size_t found = 0, blind = 0, planted = 0;
        scaled_put(path, scale[k]);
        for (int n = -1; n < PLANTED; n += QUICK ? 5 : 1) {
            Dump d = dump_parse(file_copy(path), NULL);
            double moved = 0;
            const char *name = n < 0 ? "nothing" : plant(&d, n, &moved);
            const bool right = verify(&d, pool, 0);
            const Check *wrong = verify_wrong(&d);
            CHECK(n >= 0 || !wrong, "times %g: %s is right", scale[k],
                  wrong ? wrong->name : "");
            CHECK(n >= 0 || k || right, "a model of the usual size can be judged: %s",
                  verify_blind(&d) ? verify_blind(&d)->name : "");
            if (wrong && n >= 0)
                CHECK(!strcmp(wrong->name, name),
                      "times %g: %s was changed, %s found", scale[k], name,
                      wrong->name);
            /* a fault that passes is one that cannot be seen */
            for (size_t i = 0; i < d.n && right && n >= 0; i++)
                if (!strcmp(d.check[i].name, name))
                    CHECK(moved <= VERIFY_MULTIPLE * 1.01 *
                                       fmax(d.check[i].own.error, VERIFY_FLOOR),
                          "times %g: %s moved by %g passes", scale[k], name, moved);
            CHECK(n < 0 || n / 8 != 2 || wrong || k > 1,
                  "times %g: a NaN in %s passes", scale[k], name);
            found += n >= 0 && wrong;
            blind += n >= 0 && !wrong && !right;
            planted += n >= 0;
            dump_close(&d);
        }
        CHECK(k || found == planted, "%zu of %zu faults found in weights times 1",
              found, planted);
        CHECK(found + blind == planted, "times %g: %zu found, %zu not judged",
              scale[k], found, blind);
    }
    unlink(file_in("scaled"));
}
/* Small random models: all of their dumps are right, and none cannot be
 * judged. */
static void test_random_dumps(DfPool *pool) {
    const char *path = file_in("random");
    for (size_t n = 0; n < (QUICK ? 10 : 500); n++) {
        const uint64_t key = rng_key(n, "dump");
        const size_t heads = 1 + rng_u64(key, 0) % 4;
        const size_t width = heads * (4 + 4 * (rng_u64(key, 1) % 4));
        CHECK(command("dump %s --seed %zu --layers %zu --heads %zu --width %zu "
                      "--vocab %zu --context %zu --batch %zu --steps %zu "
                      "--sparsity %s",
                      path, n, 1 + (size_t)(rng_u64(key, 2) % 3), heads, width,
                      7 + (size_t)(rng_u64(key, 3) % 250),
                      1 + (size_t)(rng_u64(key, 4) % 33),
                      1 + (size_t)(rng_u64(key, 5) % 4),
                      (size_t)(rng_u64(key, 6) % 6),
                      rng_u64(key, 7) % 2 ? "0" : "0.75") == 0,
              "%s", check_line);
        Dump d = dump_open(path, NULL);
        CHECK(verify(&d, pool, 0), "random dump %zu: %s", n,
              verify_wrong(&d)   ? verify_wrong(&d)->name
              : verify_blind(&d) ? verify_blind(&d)->name
                                 : "");
        dump_close(&d);
    }
    unlink(path);
}
/* In a row of small numbers an error hides below what the worst row of the
 * tensor allows. */
static void test_rows(DfPool *pool) {
    const char *path = file_in("rows");
    CHECK(command("dump %s --layers 1 --width 32 --vocab 20000 --context 6 --batch 1 --steps 0",
                  path) == 0,
          "%s", check_line);
    Dump d = dump_parse(file_copy(path), NULL);
    CHECK(verify(&d, pool, 0), "right before");
    const StTensor *t = st_find(&d.st, "grad.wte.weight");
    const size_t row = 1234;
    size_t i = row * 32;
    for (size_t k = row * 32; k < row * 32 + 32; k++)
        if (fabsf(tensor_get(t, k)) > fabsf(tensor_get(t, i))) i = k;
    tensor_put(t, i, 1.0005 * (double)tensor_get(t, i));
    const bool right = verify(&d, pool, 0);
    const Check *wrong = verify_wrong(&d);
    CHECK(!right && wrong && wrong->row == row && wrong->dump.worst == i,
          "an error of 5e-4 in row %zu: %s, %zu", row,
          wrong ? wrong->name : "not found", wrong ? wrong->row : 0);
    dump_close(&d);
    unlink(path);
}

/* ---- unknown corruptions ------------------------------------------------- */

/* The first element from `from` on, counted round, that is no smaller than the
 * tensor's root mean square and, of weights after a step, whose gradient was
 * not all rounding: what AdamW makes of that nobody can check. */
static size_t large_element(const Dump *d, const Check *c, size_t from) {
    const StTensor *t = &c->t;
    double sum = 0;
    for (size_t i = 0; i < t->count; i++) sum += pow((double)tensor_get(t, i), 2);
    for (size_t n = 0; n < t->count; n++) {
        const size_t i = (from + n) % t->count;
        const double x = fabs((double)tensor_get(t, i));
        const double slack = c->kind == AFTER ? d->slack[c->k][i] : 0;
        if (x * x * (double)t->count >= sum && slack < 1e-3 * x) return i;
    }
    return 0;
}

/* One element of each tensor in turn is changed by 3e-3 of itself: it is found,
 * nothing else is. */
static void check_corruptions(DfPool *pool, Bytes good, size_t each) {
    Dump d = dump_parse(good, NULL);
    CHECK(verify(&d, pool, 0), "%s is right", good.name);
    for (size_t k = 0; k < d.n; k++)
        for (size_t n = 0; n < each; n++) {
            const Check *c = &d.check[k];
            const size_t i =
                large_element(&d, c,
                              (size_t)rng_u64(rng_key(n, c->name), k) % c->t.count);
            const float x = tensor_get(&c->t, i);
            double sum = 0;
            for (size_t j = 0; j < c->t.count; j++)
                sum += pow((double)tensor_get(&c->t, j), 2);
            if (c->kind == GRAD && sqrt(sum) < 1e-6 * d.norm) continue;     /* below the floor */
            tensor_put(&c->t, i, (double)x * (n % 2 ? 1.003 : 0.997));
            verify(&d, pool, 0);
            const Check *wrong = verify_wrong(&d);
            CHECK(wrong == c && wrong->dump.worst == i,
                  "%s: %s[%zu] = %g was changed, found %s[%zu]", good.name, c->name,
                  i, (double)x, wrong ? wrong->name : "nothing",
                  wrong ? wrong->dump.worst : 0);
            tensor_put(&c->t, i, (double)x);
        }
    CHECK(verify(&d, pool, 0), "%s is right again", good.name);
    dump_close(&d);
}
static void test_corruptions(DfPool *pool) {
    const char *path = file_in("acts.safetensors");
    CHECK(command("dump %s --layers 1 --heads 3 --width 12 --vocab 37 --context 9 "
                  "--acts --sparsity 0.5 --block 4x2 --batch 2",
                  path) == 0,
          "%s", check_line);
    check_corruptions(pool, file_copy(path), QUICK ? 1 : 3);
    check_corruptions(pool, golden_copy("odd"), QUICK ? 1 : 3);
    if (!QUICK) check_corruptions(pool, golden_copy("hf"), 1);
    if (!QUICK) check_corruptions(pool, golden_copy("mask_1x1"), 2);
    if (!QUICK) check_corruptions(pool, golden_copy("long"), 2);
}

/* ---- the commands -------------------------------------------------------- */

static bool file_has(const char *path, const char *text) {
    Bytes b = file_read(path);
    const bool has = memmem(b.p, b.n, text, strlen(text)) != NULL;
    file_free(&b);
    return has;
}

static void test_dump_command(void) {
    const char *path = file_in("dump.safetensors");
    const char *json = file_in("verdict.json");
    struct stat st;
    CHECK(command("dump %s", path) == 0 && !stat(path, &st) && st.st_size < 1000000,
          "a dump of %zu bytes", (size_t)st.st_size);
    CHECK(command("verify %s --json %s", path, json) == 0, "%s", check_line);
    CHECK(file_has(json, "{\"pass\": true, \"first_wrong\": null, \"fault\": null"),
          "%s", json);
    /* chaos: g / |g| */
    CHECK(command("dump %s --beta2 0", file_in("none")) == 0, "%s", check_line);
    CHECK(command("verify %s --json %s", file_in("none"), json) == 1 &&
              file_has(json,
                       "{\"pass\": null, \"first_wrong\": null, \"fault\": null, \"cannot_judge\": "
                       "\"step_grad_norm\""),
          "no second moment: %s", check_line);
    CHECK(command("dump %s --acts --sparsity 0.875 --block 16x4 --heads 4 --steps 2 --batch 3",
                  path) == 0,
          "%s", check_line);
    CHECK(command("verify %s", path) == 0, "%s", check_line);
    Safetensors s = st_read(path);
    const StTensor *mask = st_find(&s, "mask.h.0.attn.c_attn.weight");
    const StTensor *gelu = st_find(&s, "act.h.1.mlp.gelu");
    size_t kept = 0;
    for (size_t i = 0; i < mask->count; i++) kept += mask->data[i];
    CHECK(kept * 8 == mask->count, "%zu of %zu kept", kept, mask->count);
    CHECK(gelu && gelu->count == 3 * 16 * 128, "activations of a stage");
    Bytes b = file_copy(path);
    ((uint8_t *)(uintptr_t)b.p)[gelu->data - s.file.p + 3] ^= 0x80;         /* a sign */
    file_put(file_in("changed"), b.p, b.n);
    CHECK(command("verify %s --json %s", file_in("changed"), json) == 1,
          "a sign was changed");
    CHECK(file_has(json, "{\"pass\": false, \"first_wrong\": \"act.h.1.mlp.gelu\""),
          "%s", json);
    CHECK(command("verify %s --tolerance 100", file_in("changed")) == 0,
          "anything goes: %s", check_line);
    st_free(&s);
    file_free(&b);
}

/* ---- models of others ---------------------------------------------------- */

static void check_same(const char *a, const char *b, bool vocabulary) {
    Options o = {0};
    State x = checkpoint_read(a, &o, false);
    State y = checkpoint_read(b, &o, false);
    CHECK(x.m->floats == y.m->floats && !memcmp(x.m->w, y.m->w, x.m->floats * 4),
          "%s and %s differ", a, b);
    CHECK(!vocabulary ||
              (x.tok && y.tok && x.tok->n == y.tok->n && x.tok->eot == y.tok->eot &&
               !memcmp(x.tok->merges.bytes, y.tok->merges.bytes,
                       8 * x.tok->merges.n)),
          "the vocabularies of %s and %s differ", a, b);
    state_free(&x);
    state_free(&y);
}
static void test_round_trips(void) {
    char native[128], hf[128], bin[128], back[128];
    snprintf(native, 128, "%s", file_in("m.ckpt"));
    snprintf(hf, 128, "%s", file_in("hf"));
    snprintf(bin, 128, "%s", file_in("m.bin"));
    snprintf(back, 128, "%s", file_in("back.ckpt"));
    make_text(file_in("text"), 20000);
    CHECK(command("run --text %s --out %s " SMALL " --stop 2", file_in("text"),
                  native) == 0,
          "%s", check_line);
    CHECK(command("convert %s %s", native, hf) == 0, "%s", check_line);
    CHECK(command("convert %s %s", hf, back) == 0, "%s", check_line);
    check_same(native, back, true);
    CHECK(command("convert %s %s", native, bin) == 0, "%s", check_line);
    CHECK(command("convert %s %s", bin, back) == 0, "%s", check_line);
    check_same(native, back, false);
    CHECK(command("convert %s %s --format llmc", hf, file_in("again")) == 0, "%s",
          check_line);
    CHECK(file_bits(file_in("again")) == file_bits(bin),
          "llm.c's file by way of Hugging Face's");
    CHECK(command("eval %s --text %s", hf, file_in("text")) == 0, "%s", check_line);
    CHECK(command("sample %s/model.safetensors --tokens 2 --quiet", hf) == 0, "%s",
          check_line);
    CHECK(command("run --text %s --init %s --out %s --steps 2 --batch 3 --quiet",
                  file_in("text"), hf, file_in("further")) == 0,
          "%s", check_line);
    CHECK(command("run --text %s --resume %s --quiet", file_in("text"), back) == 2,
          "no text is known");
    check_refused("--init", "run --resume %s", bin);
    check_refused("--format", "convert %s x.y", bin);
    check_refused("onnx", "convert %s x --format onnx", bin);
    check_refused("where to write", "convert %s", bin);
    check_refused("no vocabulary", "sample %s", bin);
}

/* A Hugging Face model of the given type with a buffer, a head and, if masked, a
 * mask; weights are k / 64, so that every type holds them. change: 1 the head
 * differs, 2 a tensor more, 3 a weight where the mask is 0, 4 a tensor of no
 * element more, 5 a buffer that is no causal mask but a window. */
static void hf_put(const char *path, StType type, bool prefix, bool masked,
                   int change) {
    const GptConfig c = {1, 2, 4, 5, 3};
    GptParam *table = gpt_table(&c);
    const char *const more[3] = {"lm_head.weight", "h.0.attn.bias", "score.weight"};
    StWriter w = {0};
    char name[64];
    for (size_t k = 0; k < gpt_count(&c); k++) {
        snprintf(name, sizeof name, "%s%s", prefix ? "transformer." : "",
                 table[k].name);
        st_declare(&w, name, type, table[k].rank,
                   (size_t[]){table[k].rows, table[k].cols});
    }
    for (int k = 0; k < (change == 2 ? 3 : 2); k++) {
        snprintf(name, sizeof name, "%s%s", k == 1 && prefix ? "transformer." : "",
                 more[k]);
        st_declare(&w, name, type, 2, (size_t[]){k == 1 ? 4 : 5, 4});
    }
    if (change == 4) st_declare(&w, "nothing", type, 1, (size_t[]){0});
    if (masked)
        st_declare(&w, "mask.h.0.attn.c_proj.weight", ST_U8, 2, (size_t[]){4, 4});
    st_begin(&w, path);
    for (size_t k = 0; k < gpt_count(&c) + (change == 2 ? 3 : 2); k++) {
        const bool buffer = k == gpt_count(&c) + 1;
        const size_t n = k < gpt_count(&c) ? gpt_elements(&table[k]) : 20;
        for (size_t i = 0; i < (buffer ? 16 : n); i++) {
            const bool other = k == gpt_count(&c) && change == 1 && i == 7;
            const bool gone = masked && k == gpt_layer(0, PROJW) && i == 5 &&
                              change != 3;
            const bool seen = i % 4 <= i / 4 && !(change == 5 && i == 8);
            const float weight = (float)((k % gpt_count(&c) * 7 + i) % 100) / 64;
            const float f = buffer ? (float)seen : gone ? 0 : weight + (float)other;
            const double d = (double)f;
            uint32_t u;
            memcpy(&u, &f, 4);
            const uint16_t bf = (uint16_t)(u >> 16);
            const uint16_t half =
                (uint16_t)(u ? ((u >> 23) - 112) << 10 | (u >> 13 & 0x3ff) : 0);
            if (type == ST_F64) st_write(&w, &d, 8);
            else if (type == ST_F32) st_write(&w, &f, 4);
            else st_write(&w, type == ST_F16 ? &half : &bf, 2);
        }
    }
    for (size_t i = 0; i < 16 && masked; i++) st_write(&w, &(uint8_t){i != 5}, 1);
    if (!st_commit(&w)) abort();
    free(table);
}
#define HF_SIZES(L, NH, V) \
    "\"n_layer\": " L ", \"n_head\": " NH ", \"n_embd\": 4, \"vocab_size\": " V
#define HF_CONFIG(more) \
    "{" HF_SIZES("1", "2", "5") ", " more \
    "\"model_type\": \"gpt2\", \"n_positions\": 3}"
#define HF_SIZED(L, NH, V) "{" HF_SIZES(L, NH, V) ", \"n_positions\": 3}"

static bool hf_dies(const char *json) {
    return DIES(hf_config((const uint8_t *)json, strlen(json), "json"));
}
/* Every field of a config.json that must be neutral is refused by name if it is
 * not; one that changes nothing is passed over in silence, one that is not
 * known with a note. */
static void test_hf_fields(const char *good) {
    for (size_t k = 0; k < sizeof hf_config_fields / sizeof *hf_config_fields; k++) {
        const JsonField *f = &hf_config_fields[k];
        char member[96];
        char *more;
        char *twice;
        snprintf(member, sizeof member, "\"%s\": \"another\"", f->key);
        const bool there =
            json_at(json_open((const uint8_t *)good, strlen(good), ""), f->key).p;
        if (f->use == JSON_READ) continue;
        more = there ? check_json(good, f->key, "\"another\"", NULL)
                     : check_json(good, "", NULL, member);
        twice = check_json(more, "", NULL, member);
        NOTED("");
        const bool died = hf_dies(more);
        CHECK(died == (f->use == JSON_NEUTRAL), "%s: %s", f->key,
              died ? check_line : "taken");
        CHECK(died ? strstr(check_line, f->key) != NULL : NOTED("not known: \"x\""),
              "%s: %s", f->key, check_line);
        CHECK(hf_dies(twice) && strstr(check_line, f->key), "%s twice: %s", f->key,
              check_line);
        free(more);
        free(twice);
    }
}

/* What may make another model of a config.json that is taken is said: every
 * member that is not known, and a class of another name. */
static void test_hf_notes(void) {
    NOTED("");
    CHECK(!hf_dies(HF_CONFIG("\"x\": 1, \"rotary\": {\"y\": 2}, ")) &&
              NOTED("2 members that are not known: \"x\", \"rotary\""),
          "%s", check_line);
    CHECK(!hf_dies(HF_CONFIG("\"architectures\": [\"GPT2Rotary\"], ")) &&
              NOTED("found \"GPT2Rotary\"; its weights are taken for GPT-2's"),
          "%s", check_line);
    CHECK(!hf_dies(HF_CONFIG("\"architectures\": [ \"GPT2Model\" ], ")) && !NOTED("json"),
          "%s", check_line);
    CHECK(hf_dies(HF_CONFIG("") "{}") && strstr(check_line, "the end of the file"),
          "%s", check_line);
}
/* The two buffers of a layer, in the types and shapes that they come in. */
static bool hf_buffer_dies(const char *name, StType type, int rank, size_t T,
                           const void *data) {
    StTensor t = {.name = name, .file = "buffer", .type = type, .rank = rank, .data = data};
    for (int k = 0; k < rank; k++) t.shape[k] = k < rank - 2 ? 1 : T;
    st_measure(&t);
    return DIES(hf_check_buffer(&t));
}
static void test_hf_buffers(void) {
    static const uint8_t causal[9] = {1, 0, 0, 1, 1, 0, 1, 1, 1};
    static const uint8_t all[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const float low = -1e4f;
    const float none = 0;
    const char *bias = "h.0.attn.bias";
    const char *score = "h.0.attn.masked_bias";
    CHECK(!hf_buffer_dies(bias, ST_U8, 4, 3, causal), "%s", check_line);
    CHECK(!hf_buffer_dies(bias, ST_BOOL, 2, 3, causal), "%s", check_line);
    CHECK(!hf_buffer_dies(score, ST_F32, 0, 0, &low), "%s", check_line);
    CHECK(hf_buffer_dies(bias, ST_U8, 4, 3, all) && strstr(check_line, "bias[1]"), "%s",
          check_line);
    CHECK(hf_buffer_dies(bias, ST_U8, 1, 9, causal) && strstr(check_line, "(T,T)"), "%s",
          check_line);
    CHECK(hf_buffer_dies(bias, ST_I64, 2, 1, causal) && strstr(check_line, "I64"), "%s",
          check_line);
    CHECK(hf_buffer_dies(score, ST_F32, 0, 0, &none) && strstr(check_line, "-1000"), "%s",
          check_line);
}
/* Whether converting the model in `beside`, whose configuration is `good` but for the
 * end of its texts, notes `says`. */
static bool hf_end_noted(const char *good, const char *end, const char *says) {
    char *other = check_json(good, "eos_token_id", end, NULL);
    file_put(file_in("beside/config.json"), other, strlen(other));
    free(other);
    NOTED("");
    CHECK(command("convert %s /dev/null --format llmc", file_in("beside")) == 0, "%s",
          check_line);
    return NOTED(says);
}
/* What lies beside a model and would make another of it, or of its texts. */
static void test_hf_beside(void) {
    outside("cp -r test/golden/sharded %s/beside", folder);
    const char *model = file_in("beside");
    const char *tokens = file_in("beside/tokenizer_config.json");
    file_put(file_in("beside/adapter_config.json"), "{}", 2);
    NOTED("");
    CHECK(command("convert %s /dev/null --format llmc", model) == 0 &&
              NOTED("adapter_config.json: the adapter is not read"),
          "%s", check_line);
    char *good = file_text(file_in("beside/config.json"));
    const char *says = "it says that texts end with id 7; between documents stands id 259";
    CHECK(hf_end_noted(good, "7", says), "%s", check_line);
    CHECK(hf_end_noted(good, "[7, 9]", says), "%s", check_line);
    CHECK(!hf_end_noted(good, "50256", "texts end"), "%s", check_line);   /* beyond its ids */
    free(good);
    file_put(tokens, "{\"add_prefix_space\": true}", 26);
    NOTED("");
    CHECK(command("convert %s /dev/null --format llmc", model) == 0 &&
              NOTED("not used: "),
          "%s", check_line);

    /* a vocabulary that is refused is not sought in the file beside it */
    const char *json = file_in("beside/tokenizer.json");
    char *vocab = file_text(json);
    char *lower = check_json(vocab, "normalizer", "{\"type\": \"Lowercase\"}", NULL);
    unlink(tokens);
    check_works("tokenize --vocab %s --save %s --text %s", "259",
                file_in("beside/merges.txt"), json);
    file_put(json, lower, strlen(lower));
    check_refused("no vocabulary of its own", "sample %s", model);
    unlink(json);
    check_works("sample %s --tokens 1", model);
    free(vocab);
    free(lower);
    CHECK(outside("rm -r %s", model) == 0, "%s", model);
}

/* A vocabulary beside a model of V = 5 that cannot be read, or does not fit,
 * stops nothing that needs none, and its loss is said; one with fewer tokens
 * than the model has rows is used, and an export carries it. */
static void test_hf_vocabulary(const char *path) {
    char *vocab = path_beside(path, "tokenizer.json");
    static const char *const bad[2] = {"{\"model\": 1}", NULL};
    for (int k = 0; k < 2; k++) {
        Bytes b = k ? file_copy("test/cases/pad_eot.json")
                    : (Bytes){(const uint8_t *)bad[0], strlen(bad[0]), "", false};
        file_put(vocab, b.p, b.n);
        NOTED("");
        fflush(stdout);
        const int keep = dup(1);
        const int f = open(file_in("said"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(f, 1);
        close(f);
        char *word[] = {(char[]){"convert"}, (char *)(uintptr_t)path,
                        (char *)(uintptr_t)file_in("no.ckpt")};
        const int status = DIES(cmd_convert(3, word));
        out_restore(keep);
        CHECK(!status && NOTED("not used"), "%s", check_line);
        CHECK(file_has(file_in("said"), "dropped: [vocabulary]"),
              "convert says what it drops");
        CHECK(command("dump %s --init %s --steps 0 --context 3", file_in("init"),
                      path) == 0,
              "%s", check_line);
        check_refused("no vocabulary of its own", "sample %s", path);
        check_refused("a model that was converted", "run --resume %s", file_in("no.ckpt"));
    }
    unlink(vocab);
    free(vocab);

    Tokenizer *t = tok_load("test/cases/pad_eot.json", true);
    Tokenizer *back;
    tok_widen(t, 262);
    hf_write_tokenizer(file_in("tokenizer.json"), t);
    back = tok_load(file_in("tokenizer.json"), true);
    CHECK(back->V == 259 && back->eot == 258 && back->special.n == 1 &&
              back->id_of[back->n + 1] == 257,
          "V %zu, <|endoftext|> %u", back->V, back->eot);
    GptConfig c = {1, 1, 16, 262, 8};
    Gpt *m = gpt_new(c, false);
    gpt_init(m, 1, true);
    hf_write(file_in("padded"), m, t);
    Options o = {0};
    NOTED("");
    State s = checkpoint_read(file_in("padded"), &o, false);
    CHECK(s.tok && s.tok->V == 262 && NOTED("3 ids more"),
          "a model with rows more than its vocabulary");
    state_free(&s);
    check_refused("written over while it is read", "convert %s %s/model.safetensors",
                  file_in("padded"), file_in("padded"));
    check_refused("written over while it is read", "convert %s/model.safetensors %s",
                  file_in("padded"), file_in("padded"));
    check_refused("a folder of its own", "convert %s %s/other.safetensors", path,
                  file_in("padded"));
    outside("mkdir %s/twice", folder);
    for (int k = 0; k < 2; k++)     /* what was written before may be written again */
        check_works("convert %s %s", path, file_in("twice/a.safetensors"));
    NOTED("");
    hf_write(file_in("padded"), m, NULL);
    CHECK(NOTED("tokenizer.json: was there before"), "%s", check_line);
    gpt_free(m);
    tok_free(t);
    tok_free(back);
}

/* Configurations that are refused, of the model at path. */
static void test_hf_config(const char *path, const char *config) {
    static const Refused bad[] = {
        {"", "expected '{'"},
        {"{}", "n_layer"},
        {"{\"n_layer\": 1}", "n_head"},
        {"[1]", "expected '{'"},
        {HF_CONFIG("\"activation_function\": \"gelu\", "), "gelu_new"},
        {HF_CONFIG("\"layer_norm_epsilon\": 1e-6, "), "1e-05"},
        {HF_CONFIG("\"n_inner\": 17, "), "n_inner"},
        {HF_CONFIG("\"scale_attn_weights\": false, "), "scale_attn_weights"},
        {HF_CONFIG("\"scale_attn_weights\": null, "), "expected true, found null"},
        {HF_CONFIG("\"num_attention_heads\": 4, "), "num_attention_heads"},
        {HF_CONFIG("\"hidden_size\": 40, "), "hidden_size"},
        {HF_CONFIG("\"x\": 01, "), "a value"},
        {HF_CONFIG("\"x\": 1., "), "a value"},
        {HF_CONFIG("\"x\": +1, "), "a value"},
        {HF_CONFIG("\"x\": 1e, "), "a value"},
        {HF_CONFIG("\"x\": 1-3, "), "a value"},
        {HF_CONFIG("\"x\": -, "), "a value"},
        {HF_CONFIG("\"x\": nul, "), "a value"},
        {HF_CONFIG("\"x\": 2false, "), "a value"},
        {HF_CONFIG("\"layer_norm_epsilon\": 0.00000000000000000000000000000000"
                   "0000000000000000000000000000000000001e+62, "), "62 characters"},
        {HF_SIZED("1", "3", "5"), "divisor"},
        {HF_SIZED("0", "2", "5"), "layers"},
        {HF_SIZED("2", "2", "5"), "h.1.ln_1"},
        {HF_SIZED("1", "2", "6"), "wte.weight"},
        {HF_SIZED("1", "2", "99999999999"), "smaller"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        file_put(config, bad[k].given, strlen(bad[k].given));
        check_refused(bad[k].expected, "eval %s", path);
    }
    static const char single[] = HF_CONFIG("\"layer_norm_epsilon\": 9.999999747378752e-06, ");
    file_put(config, single, strlen(single));       /* 1e-5 in float32 */
    ModelFile f = model_open(path);
    CHECK(f.c.L == 1, "%zu layers", f.c.L);
    model_close(&f);
}
static void test_hf(void) {
    char path[128];
    outside("mkdir -p %s/model", folder);
    snprintf(path, sizeof path, "%s/model/model.safetensors", folder);
    char *config = path_beside(path, "config.json");
    file_put(config, HF_CONFIG(""), strlen(HF_CONFIG("")));
    for (StType type = ST_F64; type <= ST_BF16; type++)
        for (int prefix = 0; prefix < 2; prefix++) {
            hf_put(path, type, prefix, prefix, 0);
            ModelFile f = model_open(path);
            size_t wrong = 0;
            for (size_t k = 0; k < gpt_count(&f.c); k++) {
                float values[128];
                model_values(&f, k, values);
                for (size_t i = 0; i < gpt_elements(&f.table[k]); i++)
                    wrong += values[i] != (float)((k * 7 + i) % 100) / 64 &&
                             !(prefix && k == gpt_layer(0, PROJW) && i == 5);
            }
            CHECK(!wrong, "%s: %zu numbers differ", st_names[type], wrong);
            CHECK(!f.mask[gpt_layer(0, PROJW)] == !prefix, "a mask is found");
            model_close(&f);
        }
    hf_put(path, ST_F32, true, true, 4);                    /* a tensor of no element more */
    ModelFile nothing = model_open(path);
    CHECK(st_find(&nothing.st, "nothing"), "a tensor of no element is passed over");
    model_close(&nothing);
    static const char *const bad_file[6] = {
        "",
        "what wte.weight holds",
        "found another",
        "where the mask is 0",
        "",
        "h.0.attn.bias[8]: expected the 1 of a causal mask, found 0",
    };
    for (int change = 1; change < 6; change++) {
        if (change == 4) continue;
        hf_put(path, ST_F32, true, true, change);
        check_refused(bad_file[change], "eval %s", path);
    }
    hf_put(path, ST_F32, true, false, 0);
    test_hf_vocabulary(path);
    test_hf_config(path, config);
    test_hf_fields(HF_CONFIG("\"x\": 1, "));
    test_hf_notes();
    test_hf_buffers();
    test_hf_beside();
    static const char other[] = "A\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
                                "\"data_offsets\":[0,4]}}           \0\0\0\0";
    file_put(file_in("other.safetensors"), other, sizeof other - 1);
    check_refused("found safetensors with neither", "eval %s", file_in("other.safetensors"));
    unlink(config);
    check_refused("config.json", "eval %s", path);
    unlink(path);
    check_refused("model.safetensors", "eval %s/model", folder);
    free(config);
}

/* A file of little-endian words with one of them changed, or cut, is refused
 * with a word about it. */
typedef struct {
    size_t at;
    uint32_t value;
    size_t cut;
    const char *expected;
} BadWord;
static void check_words(const char *good, const char *format, const BadWord *bad,
                        size_t n) {
    Bytes b = file_read(good);
    uint8_t *copy = mem_new(b.n + 4, 1);
    const char *path = file_in("bad");
    for (size_t k = 0; k < n; k++) {
        memcpy(copy, b.p, b.n);
        if (bad[k].at < b.n) memcpy(copy + bad[k].at, &bad[k].value, 4);
        file_put(path, copy, b.n + 4 - bad[k].cut);
        check_refused(bad[k].expected, format, path);
    }
    file_free(&b);
    free(copy);
}
/* Of every file with a header of 256 numbers: one that is not 0 where nothing
 * is known is named in a note. */
static void header_put(const char *path, const uint32_t *head, size_t n,
                       const void *more, size_t bytes) {
    uint32_t all[256] = {0};
    FILE *f = fopen(path, "wb");
    memcpy(all, head, n * sizeof *head);
    all[200] = 7;
    fwrite(all, 4, 256, f);
    fwrite(more, 1, bytes, f);
    fclose(f);
}
static void check_header_notes(const char *bin) {
    Bytes b = file_copy(bin);
    ((uint8_t *)(uintptr_t)b.p)[800] = 7;
    file_put(file_in("strange.bin"), b.p, b.n);
    NOTED("");
    CHECK(command("convert %s /dev/null --format llmc", file_in("strange.bin")) == 0 &&
              NOTED("byte 800"),
          "%s", check_line);
    header_put(file_in("strange.shard"), (uint32_t[]){20240520, 1, 2}, 3,
               "\1\0\2\0", 4);
    Tokens t = {0};
    tokens_read(&t, file_in("strange.shard"), 50257, false);
    CHECK(t.n == 2 && NOTED("byte 800"), "%zu tokens", t.n);
    tokens_free(&t);
    uint8_t byte[512 + 14];
    Tokenizer *tok = tok_new();
    for (size_t k = 0; k < 256; k++) {
        byte[2 * k] = 1;
        byte[2 * k + 1] = tok->tokens.bytes[k];
    }
    memcpy(byte + 512, "\15<|endoftext|>", 14);
    tok_free(tok);
    header_put(file_in("strange.vocab"), (uint32_t[]){20240328, 2, 257, 256}, 4,
               byte, sizeof byte);
    tok = tok_load(file_in("strange.vocab"), false);
    CHECK(tok->eot == 256 && NOTED("byte 800"), "%zu tokens", tok->n);
    tok_free(tok);
}

/* A debug state as llm.c writes it, of what the specification computes; 2
 * sequences of 7 tokens, a vocabulary of 45 that is padded to 128, width 12. */
static void debug_put(const char *path, GptPair *p) {
    FILE *f = fopen(path, "wb");
    const uint32_t head[256] = {LLMC_DEBUG, 2, 2, 7};
    spec_forward(p->s, p->inputs, p->targets);
    spec_backward(p->s, p->inputs);
    fwrite(head, 4, 256, f);
    fwrite(p->inputs, 4, 14, f);
    fwrite(p->targets, 4, 14, f);
    for (size_t i = 0; i < 14 * 45; i++)
        fwrite(&(float){(float)p->s->logits[i]}, 4, 1, f);
    fwrite(&(float){(float)p->s->loss}, 4, 1, f);
    for (size_t n = 0; n < p->m->count; n++) {
        const size_t k = llmc_order(&p->s->c, n);
        const GptParam *t = &p->m->table[k];
        for (size_t i = 0; i < (k == WTE ? 128 * 12 : gpt_elements(t)); i++) {
            const size_t from = t->in_out ? i % t->rows * t->cols + i / t->rows : i;
            const bool there = i < gpt_elements(t);
            fwrite(&(float){there ? (float)p->s->dw[k][from] : 0}, 4, 1, f);
        }
    }
    fclose(f);
}
static void test_llmc(DfPool *pool) {
    GptPair p = pair_new((GptConfig){2, 3, 12, 45, 10}, 2, 7, 0.2, 1);
    const char *bin = file_in("pair.bin");
    const char *debug = file_in("debug.bin");
    llmc_write(bin, p.m);
    const BadWord model[] = {{4, 4, 4, "version"},
                             {8, 0, 4, "positions"},
                             {8, 11, 4, "bytes, found"},
                             {12, 1, 4, "vocabulary"},
                             {12, 129, 4, "padded"},
                             {16, 0, 4, "layers"},
                             {16, 1u << 31, 4, "layers"},
                             {20, 5, 4, "divisor"},
                             {24, 0, 4, "channels"},
                             {28, 1u << 31, 4, "padded"},
                             {SIZE_MAX, 0, 0, "bytes, found"},
                             {SIZE_MAX, 0, 5, "bytes, found"},
                             {1024, 0x7fc00000, 4, "finite"},
                             {4, 5, 4, "bytes, found"}};
    check_words(bin, "convert %s /dev/null --format llmc", model,
                sizeof model / sizeof *model);
    check_header_notes(bin);

    debug_put(debug, &p);
    CHECK(command("verify %s --init %s", debug, bin) == 0, "%s", check_line);
    Dump d = dump_parse(file_copy(debug), p.m);
    const Check *c = NULL;
    for (size_t i = 0; i < d.n; i++)
        if (!strcmp(d.check[i].name, "grad.h.1.attn.c_attn.weight")) c = &d.check[i];
    tensor_put(&c->t, 5 * 12 + 3, 1);                       /* (out 5, in 3): ours is [3,5] */
    CHECK(!verify(&d, pool, 0) && verify_wrong(&d) == c &&
              c->dump.worst == 3 * 36 + 5,
          "element %zu", c->dump.worst);
    dump_close(&d);
    const BadWord state[] = {{4, 1, 4, "version"},
                             {8, 0, 4, "sequences"},
                             {12, 11, 4, "tokens"},
                             {12, 6, 4, "rows"},
                             {8, 1u << 31, 4, "sequences"},
                             {1024, 45, 4, "expected 0 .. 44"},
                             {SIZE_MAX, 0, 0, "padding"},
                             {SIZE_MAX, 0, 5, "padding"}};
    char format[256];
    snprintf(format, sizeof format, "verify %%s --init %s", bin);
    check_words(debug, format, state, sizeof state / sizeof *state);
    check_refused("--init", "verify %s", debug);
    check_refused("debug state", "eval %s", debug);
    check_refused("safetensors", "verify %s", bin);
    check_refused("own weights", "verify test/golden/odd.safetensors --init %s", bin);
    pair_free(&p);
}

/* Dumps with one thing of the header changed in place by as many bytes. */
static void test_bad_dump_headers(void) {
    static const Spoiled bad[] = {
        {"gpt-reference-dump", "gpt-reference-dumb", "gpt-reference-dump"},
        {"\"n_head\":\"5\"", "\"n_head\":\"4\"", "divisor"},
        {"\"n_head\":\"5\"", "\"n_head\":\"x\"", "n_head"},
        {"\"n_layer\":\"2\"", "\"n_layer\":\"3\"", "h.2.ln_1"},
        {"\"n_embd\":\"15\"", "\"n_embd\":\"20\"", "wte.weight"},
        {"\"vocab_size\":\"53\"", "\"vocab_size\":\"-3\"", "vocab_size"},
        {"\"n_ctx\":\"21\"", "\"n_ctx\":\"18\"", "inputs"},
        {"\"steps\":\"3\"", "\"steps\":\"4\"", "step_loss"},
        {"\"beta1\":\"0.9\"", "\"beta1\":\"1.0\"", "beta1"},
        {"\"beta1\":\"0.9\"", "\"beta1\":\"nan\"", "beta1"},
        {"\"version\":\"1\"", "\"version\":\"2\"", "version"},
        {"\"matrices\"", "\"nothings\"", "matrices"},
        {"\"targets\"", "\"tarGets\"", "targets"},
        {"\"param.wpe.weight\"", "\"param.wpe.weighT\"", "wpe.weight"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        Bytes b = golden_copy("odd");
        uint8_t *at = memmem(b.p, b.n, bad[k].from, strlen(bad[k].from));
        CHECK(at, "%s stands in the header", bad[k].from);
        if (at) memcpy(at, bad[k].to, strlen(bad[k].to));
        file_put(file_in("bad"), b.p, b.n);
        file_free(&b);
        check_refused(bad[k].expected, "verify %s", file_in("bad"));
    }
}
/* Dumps with one number changed. */
static void test_bad_dump_numbers(void) {
    static const struct {
        const char *tensor;
        size_t at;
        uint32_t value;
        const char *expected;
    } word[] = {
        {"inputs", 3, 53, "inputs[3]"},
        {"targets", 0, UINT32_MAX, "targets[0]"},
        {"param.wte.weight", 2, 0x7f800000, "finite"},
        {"mask.h.0.attn.c_proj.weight", 0, 2, "0 or 1"},
    };
    for (size_t k = 0; k < 4; k++) {
        Bytes b = golden_copy(k < 3 ? "odd" : "mask_1x1");
        Safetensors s = st_parse(b);
        const StTensor *t = st_find(&s, word[k].tensor);
        uint8_t *data = (uint8_t *)(uintptr_t)t->data;
        memcpy(data + 4 * word[k].at, &word[k].value, 4);
        file_put(file_in("bad"), b.p, b.n);
        st_free(&s);
        check_refused(word[k].expected, "verify %s", file_in("bad"));
    }
}
static void test_bad_lines(void) {
    static const Refused usage[] = {
        {"verify", "expected a dump"},
        {"verify nothere", "nothere"},
        {"verify .", "directory"},
        {"verify x --tolerance -1", "--tolerance"},
        {"verify x --acts", "does not take"},
        {"dump", "a file to write"},
        {"dump x --block 4", "--block"},
        {"dump x --block 0x4", "--block"},
        {"dump x --heads 3", "divisor"},
        {"dump /nothere/x", "/nothere/x"},
        {"dump x --lr fast", "fast"},
        {"dump x --context 1000000 --width 4096 --layers 1000", "GiB"},
    };
    for (size_t k = 0; k < sizeof usage / sizeof *usage; k++)
        check_refused(usage[k].expected, "%s", usage[k].given);
}

static void test_formats(void) {
    folder_begin();
    DfPool *pool = df_begin(1);     /* a second worker would spin while the
                                     * specification runs */
    const int keep = out_to_null();
    test_dumps(pool);
    test_single_faults(pool);
    test_dump_names(pool);
    test_planted(pool);
    test_random_dumps(pool);
    test_rows(pool);
    test_corruptions(pool);
    test_dump_command();
    test_round_trips();
    test_hf();
    test_llmc(pool);
    test_bad_dump_headers();
    test_bad_dump_numbers();
    test_bad_lines();
    out_restore(keep);
    df_end(pool);
    folder_end();
}
#endif
