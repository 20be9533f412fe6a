/* convert.h: between checkpoints and the models of Hugging Face, llm.c and llama.cpp: `train convert`. It
 * refuses to drop anything without a word. */
#ifndef CONVERT_H
#define CONVERT_H
#include "../run/state.h"

/* Dies if what is written would take the place of what is read. A model of Hugging Face's is a whole folder:
 * configuration and vocabulary lie beside the weights. */
static inline void convert_check(const Options *o, ModelKind to, const ModelFile *from) {
    char *const weights = hf_weights(o->to), *const there = path_beside(weights, "."),
         *const here = path_beside(from->path, ".");
    struct stat st;
    if (to == MODEL_HF && from->kind == MODEL_HF && file_same(here, there))
        die("%s: would be written over while it is read", o->to);
    if (to != MODEL_HF) output_check(o->to, o, from->path);
    else if (!stat(there, &st)) output_check(weights, o, from->path);
    free(weights), free(there), free(here);
}

static inline int cmd_convert(int argc, char **argv) {
    Options *o = options_read(argc, argv, CONVERT, "a model and where to write it");
    const ModelKind to = model_kind_for(o->to, o->format);
    const bool half = parse_type(o);
    if (half && to != MODEL_GGUF) usage("--type f16 is for GGUF files");
    ModelFile f = model_open(o->file);
    const ModelKind from = f.kind;
    convert_check(o, to, &f);
    bool masks = false;
    for (size_t k = 0; f.mask && k < gpt_count(&f.c); k++) masks |= f.mask[k] != NULL;
    State s = state_read(f, o->file, o, to == MODEL_NATIVE);
    for (size_t k = 0; k < s.m->count; k++) masks |= gpt_masked(&s.m->table[k]);
    if (to == MODEL_HF) hf_write(o->to, s.m, s.tok);
    else if (to == MODEL_LLMC) llmc_write(o->to, s.m);
    else if (to == MODEL_GGUF) gguf_write(o->to, s.m, s.tok, half);
    else write_checked(checkpoint_write(&s, o->to), o->to);
    const bool run = from == MODEL_NATIVE && to != from, vocab = s.tok_lost || (s.tok && to == MODEL_LLMC);
    printf("%s (%s) -> %s (%s); dropped:%s%s%s%s%s\n", o->file, model_kinds[from], o->to, model_kinds[to],
           run ? " [settings of the run, AdamW's moments]" : "", vocab ? " [vocabulary]" : "",
           masks && to == MODEL_LLMC ? " [masks, whose zeros stay]" : "",
           half ? " [bits beyond half precision]" : "",
           run || vocab || half || (masks && to == MODEL_LLMC) ? "" : " nothing");
    gpt_free(s.m), tok_free(s.tok), free(s.o), free(o);
    return 0;
}
#endif
