/* convert.h: between checkpoints and the models of Hugging Face, llm.c and
 * llama.cpp: `train convert`.
 *
 * It refuses to drop anything without a word: its one line of output names what
 * the new file cannot hold. Example: a sparse checkpoint to llm.c's format
 * drops
 *
 *     [settings of the run, AdamW's moments] [vocabulary] [masks, whose zeros stay] */
#ifndef CONVERT_H
#define CONVERT_H
#include "../run/state.h"

/* Dies if what is written would take the place of what is read, or of part of
 * another model. A model of Hugging Face's is a whole folder: configuration and
 * vocabulary lie beside the weights. */
static inline void convert_check(const Options *o, ModelKind to,
                                 const ModelFile *from) {
    char *weights = hf_weights(o->to);
    char *there = path_beside(weights, ".");
    char *here = path_beside(from->path, ".");
    char *config = path_beside(weights, "config.json");
    if (to == MODEL_HF && from->kind == MODEL_HF && file_same(here, there))
        die("%s: would be written over while it is read", o->to);
    const char *path = strcmp(weights, o->to) ? weights : o->to;    /* not "another" file */
    if (to != MODEL_HF) output_check(o->to, o, from->path);
    else if (file_there(there)) output_check(path, o, from->path);
    if (to == MODEL_HF && file_there(config) && !file_there(weights))
        die("%s: expected a folder of its own, found %s, another model's, which would be "
            "written over",
            o->to, config);
    free(weights);
    free(there);
    free(here);
    free(config);
}
static inline void convert_write(const Options *o, ModelKind to, const State *s,
                                 bool half) {
    if (to == MODEL_HF) hf_write(o->to, s->m, s->tok);
    else if (to == MODEL_LLMC) llmc_write(o->to, s->m);
    else if (to == MODEL_GGUF) gguf_write(o->to, s->m, s->tok, half);
    else write_checked(checkpoint_write(s, o->to), o->to);
}
/* Whether the file or, once it is read, the model has a mask. */
static inline bool convert_file_masked(const ModelFile *f) {
    bool masks = false;
    for (size_t k = 0; f->mask && k < gpt_count(&f->c); k++)
        masks |= f->mask[k] != NULL;
    return masks;
}
static inline bool convert_masked(const Gpt *m) {
    bool masks = false;
    for (size_t k = 0; k < m->count; k++) masks |= gpt_masked(&m->table[k]);
    return masks;
}

static inline int cmd_convert(int argc, char **argv) {
    Options *o =
        options_read(argc, argv, CONVERT, "a model and where to write it");
    const ModelKind to = model_kind_for(o->to, o->format);
    const bool half = parse_type(o);
    if (half && to != MODEL_GGUF) usage("--type f16 is for GGUF files");
    ModelFile f = model_open(o->file);
    const ModelKind from = f.kind;
    convert_check(o, to, &f);
    bool masks = convert_file_masked(&f);
    State s = state_read(f, o->file, o, to == MODEL_NATIVE);
    masks |= convert_masked(s.m);
    convert_write(o, to, &s, half);

    const bool run = from == MODEL_NATIVE && to != MODEL_NATIVE;
    const bool vocabulary = s.tok_lost || (s.tok && to == MODEL_LLMC);
    masks &= to == MODEL_LLMC;
    printf("%s (%s) -> %s (%s); dropped:", o->file, model_kinds[from], o->to,
           model_kinds[to]);
    if (run) printf(" [settings of the run, AdamW's moments]");
    if (vocabulary) printf(" [vocabulary]");
    if (masks) printf(" [masks, whose zeros stay]");
    if (half) printf(" [bits beyond half precision]");
    printf(run || vocabulary || masks || half ? "\n" : " nothing\n");
    state_free(&s);
    options_free(o);
    return 0;
}
#endif
