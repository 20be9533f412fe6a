/* hf.h: Hugging Face's GPT-2, read and written: weights in safetensors,
 * config.json and vocabulary beside.
 *
 * It refuses a config.json that asks for another model than GPT-2, and a tensor
 * that it has no place for. Names come with or without "transformer." and what
 * training tools put before them. A model in several files has an index, which
 * says which file holds which tensor.
 *
 *     DIR/config.json                       sizes; what must be as GPT-2 has it
 *         model.safetensors                 all weights, or
 *         model.safetensors.index.json      where they are:
 *         model-00001-of-00002.safetensors  some weights
 *         model-00002-of-00002.safetensors  the others
 *         tokenizer.json                    the vocabulary, or merges.txt ...
 *
 * Example: DIR with config.json, model.safetensors.index.json and two files of
 * weights is opened by DIR, or by the index; DIR with config.json and
 * model.safetensors by DIR or by the latter. */
#ifndef HF_H
#define HF_H
#include "foreign.h"

/* ---- config.json --------------------------------------------------------- */

/* A whole number of config.json. */
static inline size_t hf_size(Json config, const char *key) {
    Json v = json_need(config, key);
    const uint64_t n = json_uint(&v);
    if (n > UINT32_MAX)
        die("%s: \"%s\": expected a smaller number, found %llu", v.name, key,
            (unsigned long long)n);
    return (size_t)n;
}
/* The members of a config.json of GPT-2. */
static const JsonField hf_config_fields[] = {
    {"n_layer", JSON_READ, ""},
    {"n_head", JSON_READ, ""},
    {"n_embd", JSON_READ, ""},
    {"vocab_size", JSON_READ, ""},
    {"n_positions", JSON_READ, ""},
    {"num_hidden_layers", JSON_READ, ""},       /* four sizes by names that */
    {"num_attention_heads", JSON_READ, ""},     /* transformers takes before those */
    {"hidden_size", JSON_READ, ""},
    {"max_position_embeddings", JSON_READ, ""},
    {"n_inner", JSON_READ, ""},
    {"layer_norm_epsilon", JSON_READ, ""},
    {"tie_word_embeddings", JSON_READ, ""},
    {"model_type", JSON_NEUTRAL, "\"gpt2\"|null"},
    {"activation_function", JSON_NEUTRAL,
     "\"gelu_new\"|\"gelu_pytorch_tanh\"|null"},
    {"scale_attn_weights", JSON_NEUTRAL, "true"},
    {"scale_attn_by_inverse_layer_idx", JSON_NEUTRAL, "false|null"},
    {"add_cross_attention", JSON_NEUTRAL, "false|null"},
    {"is_encoder_decoder", JSON_NEUTRAL, "false|null"},
    {"pruned_heads", JSON_NEUTRAL, "{}|null"},
    {"quantization_config", JSON_NEUTRAL, "null"},
    {"architectures", JSON_READ, ""},
    {"_name_or_path", JSON_IGNORED, ""},
    {"transformers_version", JSON_IGNORED, ""},
    {"torch_dtype", JSON_IGNORED, ""},
    {"dtype", JSON_IGNORED, ""},
    {"n_ctx", JSON_IGNORED, ""},
    {"is_decoder", JSON_IGNORED, ""},
    {"use_cache", JSON_IGNORED, ""},
    {"attn_pdrop", JSON_IGNORED, ""},
    {"embd_pdrop", JSON_IGNORED, ""},
    {"resid_pdrop", JSON_IGNORED, ""},
    {"initializer_range", JSON_IGNORED, ""},
    {"reorder_and_upcast_attn", JSON_IGNORED, ""},
    {"gradient_checkpointing", JSON_IGNORED, ""},
    {"bos_token_id", JSON_READ, ""},
    {"eos_token_id", JSON_READ, ""},
    {"pad_token_id", JSON_IGNORED, ""},
    {"task_specific_params", JSON_IGNORED, ""},
    {"summary_activation", JSON_IGNORED, ""},
    {"summary_first_dropout", JSON_IGNORED, ""},
    {"summary_proj_to_labels", JSON_IGNORED, ""},
    {"summary_type", JSON_IGNORED, ""},
    {"summary_use_proj", JSON_IGNORED, ""},
};
enum { HF_CONFIG_FIELDS = sizeof hf_config_fields / sizeof *hf_config_fields };

/* Names the members of a config.json that are not known, as far as a line
 * goes: one of them may say that it is no plain GPT-2. */
static inline void hf_note_unknown(Json config, size_t unknown) {
    const char *const name = config.name;
    char key[JSON_KEY];
    Out names = out_memory();
    json_expect(&config, '{');
    bool first = true;
    for (; json_more(&config, '}', &first); json_skip(&config, 0)) {
        size_t k = 0;
        json_member(&config, key, sizeof key);
        while (k < HF_CONFIG_FIELDS && strcmp(key, hf_config_fields[k].key)) k++;
        if (k < HF_CONFIG_FIELDS) continue;
        out_print(&names, names.n ? ", \"%s\"" : "\"%s\"", key);
    }
    note("%s: passed over: %zu members that are not known: %.600s", name, unknown,
         out_string(&names));
    out_free(&names);
}
/* Says if the model is of another class than transformers' GPT-2: its weights
 * may have the same names and be meant for another arithmetic. */
static inline void hf_note_class(Json config) {
    static const char known[] =
        "\"GPT2LMHeadModel\"|\"GPT2Model\"|\"GPT2DoubleHeadsModel\"|"
        "\"GPT2ForSequenceClassification\"|\"GPT2ForTokenClassification\"|"
        "\"GPT2ForQuestionAnswering\"";
    Json class = json_at(config, "architectures/0");
    if (!class.p || json_among(class, known)) return;
    const size_t n = json_extent(&class);
    note("%s: \"architectures\": expected \"GPT2LMHeadModel\" or another of GPT-2, "
         "found %.*s; its weights are taken for GPT-2's",
         class.name, (int)size_min(n, 80), (const char *)class.p);
}

/* Dies if a key that may be absent or null is another number. */
static inline void hf_want_number(Json config, const char *key, double want) {
    Json v = json_at(config, key);
    if (!v.p || json_peek(&v) == 'n') return;
    const double found = json_real(v);
    if ((float)found != (float)want)        /* what went through float32 is the same */
        die("%s: \"%s\": expected %g, found %.9g", v.name, key, want, found);
}

/* The configuration in a config.json of n bytes. Dies on whatever is not GPT-2;
 * says what it does not know. */
static inline GptConfig hf_config(const uint8_t *p, size_t n,
                                  const char *name) {
    const Json j = json_open(p, n, name);
    const GptConfig c = {
        .L = hf_size(j, "n_layer"),
        .NH = hf_size(j, "n_head"),
        .C = hf_size(j, "n_embd"),
        .V = hf_size(j, "vocab_size"),
        .ctx = hf_size(j, "n_positions"),
    };
    model_check(&c, name);
    char unknown[JSON_KEY];
    const size_t strange =
        json_fields(j, hf_config_fields, HF_CONFIG_FIELDS, unknown);
    json_alone(j);
    hf_want_number(j, "num_hidden_layers", (double)c.L);
    hf_want_number(j, "num_attention_heads", (double)c.NH);
    hf_want_number(j, "hidden_size", (double)c.C);
    hf_want_number(j, "max_position_embeddings", (double)c.ctx);
    if (strange) hf_note_unknown(j, strange);
    hf_note_class(j);
    hf_want_number(j, "layer_norm_epsilon", 1e-5);
    hf_want_number(j, "n_inner", 4 * (double)c.C);
    return c;
}

/* ---- the weights, in one file or several --------------------------------- */

/* A name without what is put before it: by transformers, by torch.compile, by
 * data parallelism. */
static inline const char *hf_plain(const char *name) {
    static const char *const before[3] = {"transformer.", "_orig_mod.",
                                          "module."};
    for (int k = 0; k < 3; k++) {
        const size_t n = strlen(before[k]);
        if (!strncmp(name, before[k], n)) return hf_plain(name + n);
    }
    return name;
}

/* Whether bytes are of a file that PyTorch has saved with pickle: a zip archive
 * or, of old, a pickle. */
static inline bool hf_pickled(Bytes b) {
    if (b.n <= 4) return false;
    if (!memcmp(b.p, "PK\3\4", 4)) return true;
    return b.p[0] == 0x80 && b.p[1] >= 2 && b.p[1] <= 5 && b.p[2] == 0x8a;
}
/* Dies of such a file, which is a program and not only numbers. Its folder
 * stands in the line unless a shell, or Python, would read it otherwise. */
__attribute__((noreturn)) static inline void hf_die_pickled(const char *path) {
    const char *folder = path_beside(path, ".");
    if (folder[strcspn(folder, "'\"\\$`!")]) folder = "FOLDER";
    die("%s: expected safetensors, found a file of PyTorch's; this makes it "
        "one: python3 -c \"from transformers import GPT2LMHeadModel as M; "
        "M.from_pretrained('%s').save_pretrained('%s')\"",
        path, folder, folder);
}

/* The tensors of one file, or of all files that an index names, under their
 * plain names in f->st. */
static inline void hf_gather(ModelFile *f, const Safetensors *s) {
    for (size_t i = 0; i < s->n; i++) {
        StTensor t = s->tensors[i];
        t.name = hf_plain(t.name);
        f->st.tensors = mem_grow(f->st.tensors, f->st.n, &f->st.cap, sizeof t);
        f->st.tensors[f->st.n++] = t;
    }
}
/* The file that an index at `at` names, opened unless it is already: its place
 * among f->part. */
static inline size_t hf_part(ModelFile *f, Json *at) {
    char name[256];
    size_t k = 0;
    json_string(at, name, sizeof name);
    if (strchr(name, '/'))
        die("%s: expected a file beside the index, found '%s'", f->path, name);
    char *path = path_beside(f->path, name);
    while (k < f->parts && strcmp(f->part[k].file.name, path)) k++;
    if (k < f->parts) {
        free(path);
        return k;
    }
    file_regular(path);
    const Bytes b = file_read(path);
    if (hf_pickled(b)) hf_die_pickled(path);
    f->part = mem_grow(f->part, f->parts, &f->part_cap, sizeof *f->part);
    f->part[f->parts++] = st_parse(b);
    return k;
}
static const JsonField hf_index_fields[] = {
    {"metadata", JSON_IGNORED, ""},
    {"weight_map", JSON_READ, ""},
};

/* Reads an index and the files it names. Dies unless each tensor lies in the
 * file it is said to, and is said. */
static inline void hf_read_index(ModelFile *f, Bytes b) {
    const Json index = json_open(b.p, b.n, f->path);
    json_alone(index);
    char unknown[JSON_KEY];
    char name[JSON_KEY];
    size_t named = 0;
    size_t there = 0;
    if (json_fields(index, hf_index_fields, 2, unknown))
        note("%s: passed over: a member that is not known, \"%s\"", f->path,
             unknown);
    Json map = json_need(index, "weight_map");
    json_expect(&map, '{');
    for (bool first = true; json_more(&map, '}', &first); named++) {
        json_string(&map, name, sizeof name);
        json_expect(&map, ':');
        const size_t k = hf_part(f, &map);      /* it may move the others */
        const Safetensors *part = &f->part[k];
        if (!st_find(part, name))
            die("%s: expected tensor '%.200s', as %s says, found none",
                part->file.name, name, f->path);
    }
    for (size_t k = 0; k < f->parts; k++) {
        hf_gather(f, &f->part[k]);
        there += f->part[k].n;
    }
    if (named != there)
        die("%s: expected the %zu tensors of its files, found %zu", f->path,
            there, named);
    file_free(&b);
}

/* ---- the model ----------------------------------------------------------- */

static inline bool hf_ends(const char *name, const char *end) {
    const size_t n = strlen(name);
    const size_t m = strlen(end);
    return n > m && !strcmp(name + n - m, end);
}
/* Whether a tensor is one of the two buffers of a layer that hold its causal
 * mask. */
static inline bool hf_buffer(const char *name) {
    return hf_ends(name, ".attn.bias") || hf_ends(name, ".attn.masked_bias");
}
/* Number i of a buffer, whatever its type: a mask is often of bytes. */
static inline double hf_buffer_at(const StTensor *t, size_t i) {
    if (t->type <= ST_BF16) return (double)st_float(t, i);
    if (t->type != ST_U8 && t->type != ST_I8 && t->type != ST_BOOL)
        die("%s: tensor '%.200s': expected floating point, U8, I8 or BOOL, found %s",
            t->file, t->name, st_names[t->type]);
    return (double)t->data[i];
}
/* Dies unless a buffer is as GPT-2 has it: ones where a token looks, which is
 * at itself and all before it, zeros elsewhere; and the score of what it does
 * not look at. A window, or a bias of that name, would be another model. */
static inline void hf_check_buffer(const StTensor *t) {
    const size_t n = t->rank < 2 ? 0 : t->shape[t->rank - 1];
    const bool score = hf_ends(t->name, ".attn.masked_bias");
    char shape[ST_SHAPE];
    if (score && t->count == 1 && hf_buffer_at(t, 0) <= -1000) return;
    if (score || !n || t->count / n != n || t->shape[t->rank - 2] != n)
        die("%s: tensor '%.200s': expected %s, found %s %s", t->file, t->name,
            score ? "one number of -1000 or less" : "a causal mask (T,T)",
            st_names[t->type], st_sizes(shape, "[]", t->rank, t->shape));
    for (size_t i = 0; i < t->count; i++) {
        const double want = i % n <= i / n;
        if (hf_buffer_at(t, i) != want)
            die("%s: %.200s[%zu]: expected the %g of a causal mask, found %g", t->file,
                t->name, i, want, hf_buffer_at(t, i));
    }
}

/* The head, if there is one with numbers in it. */
static inline const StTensor *hf_head(const ModelFile *f) {
    const StTensor *head = st_find(&f->st, "lm_head.weight");
    return head && head->count ? head : NULL;
}
/* Whether a tensor is a parameter, the mask of one, or the head. */
static inline bool hf_knows(const ModelFile *f, const char *name) {
    const bool mask = !strncmp(name, "mask.", 5);
    for (size_t k = 0; k < gpt_count(&f->c); k++) {
        if (mask && !f->mask[k]) continue;
        if (!strcmp(mask ? name + 5 : name, f->table[k].name)) return true;
    }
    return !strcmp(name, "lm_head.weight");
}
/* Points f->at at the tensors of f->st for configuration f->c. Dies if one is
 * missing, of another shape, or unknown, or if a head is there that is not the
 * embedding. */
static inline void hf_place(ModelFile *f) {
    model_table(f, false);
    for (size_t k = 0; k < gpt_count(&f->c); k++) {
        const GptParam *p = &f->table[k];
        const StTensor *t = st_find(&f->st, p->name);
        const StType type = t && t->type <= ST_BF16 ? t->type : ST_F32;
        const size_t shape[2] = {p->rows, p->cols};
        f->at[k] = *st_need(&f->st, p->name, type, p->rank, shape);
        if (p->in_out) f->mask[k] = mask_find(&f->st, p);
    }
    for (size_t i = 0; i < f->st.n; i++) {
        const StTensor *t = &f->st.tensors[i];
        if (!t->count) continue;
        if (hf_buffer(t->name)) hf_check_buffer(t);
        else if (!hf_knows(f, t->name))
            die("%s: tensor '%.200s': expected one of GPT-2's, a mask or a buffer, found "
                "another",
                f->path, t->name);
    }
    model_tied(f, hf_head(f));
}

/* Says if an adapter lies beside the weights, which transformers would add to
 * them. */
static inline void hf_note_adapter(const char *weights) {
    char *path = path_beside(weights, "adapter_config.json");
    if (file_there(path))
        note("%s: the adapter is not read; the model is taken without it", path);
    free(path);
}
/* A model whose weights lie in f->part: its tensors by plain names, and the
 * config.json beside. */
static inline void hf_read(ModelFile *f) {
    char *path = path_beside(f->path, "config.json");
    if (!file_there(path))
        die("%s: expected a config.json beside it, found none", f->path);
    Bytes b = file_read(path);
    f->kind = MODEL_HF;
    f->c = hf_config(b.p, b.n, path);
    f->st.file.name = f->path;
    st_sort(f->path, f->st.tensors, f->st.n, sizeof *f->st.tensors);
    const Json tied = json_at(json_open(b.p, b.n, path), "tie_word_embeddings");
    if (tied.p && !hf_head(f))
        json_want(tied, "tie_word_embeddings", "true");
    hf_place(f);
    hf_note_adapter(f->path);
    file_free(&b);
    free(path);
}

/* ---- writing: what lies beside the weights ------------------------------- */

/* The configuration that says all that ours does not change. */
static inline void hf_write_config(const char *path, const GptConfig *c,
                                   size_t eot) {
    Out out = out_open(path);
    out_text(&out, "{\n");
    out_text(&out, "  \"architectures\": [\"GPT2LMHeadModel\"],\n");
    out_text(&out, "  \"model_type\": \"gpt2\",\n");
    out_print(&out, "  \"n_layer\": %zu,\n", c->L);
    out_print(&out, "  \"n_head\": %zu,\n", c->NH);
    out_print(&out, "  \"n_embd\": %zu,\n", c->C);
    out_print(&out, "  \"n_positions\": %zu,\n", c->ctx);
    out_print(&out, "  \"n_ctx\": %zu,\n", c->ctx);
    out_print(&out, "  \"vocab_size\": %zu,\n", c->V);
    out_text(&out, "  \"activation_function\": \"gelu_new\",\n");
    out_text(&out, "  \"layer_norm_epsilon\": 1e-05,\n");
    out_text(&out, "  \"tie_word_embeddings\": true,\n");
    out_text(&out, "  \"attn_pdrop\": 0.0,\n");
    out_text(&out, "  \"embd_pdrop\": 0.0,\n");
    out_text(&out, "  \"resid_pdrop\": 0.0,\n");
    out_text(&out, "  \"torch_dtype\": \"float32\",\n");
    out_print(&out, "  \"bos_token_id\": %zu,\n", eot);
    out_print(&out, "  \"eos_token_id\": %zu\n", eot);
    out_text(&out, "}\n");
    out_done(&out);
}

/* What transformers' generate takes for granted. */
static inline void hf_write_generation(const char *path, size_t eot) {
    Out out = out_open(path);
    out_text(&out, "{\n");
    out_print(&out, "  \"bos_token_id\": %zu,\n", eot);
    out_print(&out, "  \"eos_token_id\": %zu\n", eot);
    out_text(&out, "}\n");
    out_done(&out);
}
/* A card for those who find the model: what it is and how it is loaded. One
 * that is there stays. */
static inline void hf_write_card(const char *path, const GptConfig *c,
                                 size_t parameters, double density) {
    struct stat st;
    if (file_there(path) || !lstat(path, &st)) return;
    Out out = out_open(path);
    out_text(&out,
             "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
             "tags:\n- gpt2\n");
    if (density < 1) out_text(&out, "- sparse\n");
    out_print(&out,
              "---\n\nA GPT-2 of %zu layers, %zu heads and %zu channels: %zu "
              "tokens, %zu positions, %.2f M parameters.\n",
              c->L, c->NH, c->C, c->V, c->ctx, (double)parameters / 1e6);
    if (density < 1)
        out_print(&out,
                  "Of its numbers %.1f %% are kept; the others are zeros, and "
                  "the tensors `mask.NAME` (1: kept) say which.\n",
                  100 * density);
    out_text(&out, "\n    from transformers import AutoModelForCausalLM\n"
                   "    model = AutoModelForCausalLM.from_pretrained(\".\")\n\n"
                   "Trained, or converted, with sparseflow. Every document "
                   "began with the end-of-text token: put it before a "
                   "prompt.\n");
    out_done(&out);
}

/* ---- writing: the model -------------------------------------------------- */

/* Where the weights of a model go, on the heap: path is a directory, or a
 * .safetensors file. */
static inline char *hf_weights(const char *path) {
    const size_t n = strlen(path);
    const bool file = n > 12 && !strcmp(path + n - 12, ".safetensors");
    char *weights = mem_new(n + 32, 1);
    snprintf(weights, n + 32, file ? "%s" : "%s/model.safetensors", path);
    return weights;
}
/* The weights, dense, and after them the masks of sparse ones. */
static inline void hf_declare(StWriter *w, const Gpt *m) {
    char name[64];
    for (int masks = 0; masks < 2; masks++)
        for (size_t k = 0; k < m->count; k++) {
            const GptParam *p = &m->table[k];
            const size_t shape[2] = {p->rows, p->cols};
            if (masks && !gpt_masked(p)) continue;
            checkpoint_name(name, masks ? "mask." : "transformer.", p);
            st_declare(w, name, masks ? ST_U8 : ST_F32, p->rank, shape);
        }
}
static inline void hf_put_weights(StWriter *w, const Gpt *m) {
    for (size_t k = 0; k < m->count; k++) {
        float *values = weights_of(m, k);
        st_write(w, values, gpt_elements(&m->table[k]) * sizeof *values);
        free(values);
    }
    for (size_t k = 0; k < m->count; k++) {
        const GptParam *p = &m->table[k];
        if (!gpt_masked(p)) continue;
        uint8_t *mask = mem_new(gpt_elements(p), 1);
        mask_of(p, mask);
        st_write(w, mask, gpt_elements(p));
        free(mask);
    }
}
/* Says what lies beside a model without a vocabulary: it will be taken for its own. */
static inline void hf_note_vocabulary(const char *weights) {
    static const char *const names[] = {"tokenizer.json", "merges.txt", "vocab.bpe",
                                        "gpt2_tokenizer.bin"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char *path = path_beside(weights, names[k]);
        if (file_there(path))
            note("%s: was there before; it will be taken for this model's, which has no "
                 "vocabulary",
                 path);
        free(path);
    }
}
/* All that lies beside the weights; tok may be NULL. */
static inline void hf_write_beside(const char *weights, const Gpt *m,
                                   const Tokenizer *tok) {
    const size_t eot = tok ? tok->eot : m->c.V - 1;
    char *config = path_beside(weights, "config.json");
    char *generation = path_beside(weights, "generation_config.json");
    char *card = path_beside(weights, "README.md");
    char *vocab = path_beside(weights, "tokenizer.json");
    size_t all = 0;
    size_t kept = 0;
    for (size_t k = 0; k < m->count; k++) {
        all += gpt_elements(&m->table[k]);
        kept += sp_elements(&m->table[k].mat);
    }
    if (!tok) {
        note("%s: the model has no vocabulary; its last id, %zu, is written as the end of "
             "a text",
             config, eot);
        hf_note_vocabulary(weights);
    }
    hf_write_config(config, &m->c, eot);
    hf_write_generation(generation, eot);
    hf_write_card(card, &m->c, all, (double)kept / (double)all);
    if (tok) hf_write_tokenizer(vocab, tok);
    free(config);
    free(generation);
    free(card);
    free(vocab);
}
/* A model as transformers loads it: path is a directory, made if absent, or a
 * .safetensors file; config.json, generation_config.json, a README.md if there
 * is none and, with a vocabulary, tokenizer.json go beside it. A sparse model
 * is written dense, its zeros exact, and its masks as U8 mask.NAME. Dies if it
 * cannot be written. */
static inline void hf_write(const char *path, const Gpt *m,
                            const Tokenizer *tok) {
    char *weights = hf_weights(path);
    StWriter w = {0};
    const bool folder = strcmp(weights, path);
    if (folder && mkdir(path, 0777) && errno != EEXIST) die_of(path, "make");
    st_meta_put(&w, "format", "pt");            /* transformers asks for this */
    hf_declare(&w, m);
    st_begin(&w, weights);
    hf_put_weights(&w, m);
    write_checked(st_commit(&w), weights);
    hf_write_beside(weights, m, tok);
    free(weights);
}
#endif
