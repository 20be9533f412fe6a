/* eval.h: all that is measured of a model on a text; of two models, which is the better one; of a model, which
 * endings of others' multiple choice it finds likeliest: `train eval`. */
#ifndef EVAL_H
#define EVAL_H
#include "../judge/choices.h"

/* Multiple choice instead of a text. Takes over o. */
static inline int eval_choices(Options *o) {
    static const char *const of_text[] = {"text", "tokens", "raw16", "corpus", "seed", "items", "margin"};
    for (size_t k = 0; k < sizeof of_text / sizeof *of_text; k++)
        if (o->given[option_find(of_text[k], EVAL)])
            usage("--%s: is of a text, and --choices measures none", of_text[k]);
    if (o->to) usage("--choices: expected one model, found two");
    outputs_check(o, NULL, 0);
    State s = checkpoint_read(o->file, o, false);
    if (!s.tok) die("%s: the model has no vocabulary of its own: it cannot read --choices", o->file);
    Bytes b = file_read(o->choices);
    Choices c = choices_parse(b, s.tok, s.m->c.ctx);
    file_free(&b);
    DfPool *pool = df_begin(o->threads);
    choices_score(&c, &s, pool);
    df_end(pool);
    choices_print(&c);
    if (o->json) choices_json(&c, o->json);
    if (o->csv) choices_csv(&c, o->csv);
    bool finite = true;
    for (size_t k = 0; k < c.rows; k++) finite &= isfinite(c.row[k].nats);
    choices_free(&c);
    gpt_free(s.m);
    tok_free(s.tok);
    free(s.o);
    free(o);
    return finite ? 0 : 3;
}

static inline int cmd_eval(int argc, char **argv) {
    Options *o = options_read(argc, argv, EVAL, "a checkpoint");
    if (o->choices) return eval_choices(o);
    if (o->csv) usage("--csv needs --choices");
    const char *const name[2] = {o->file, o->to};
    const int models = o->to ? 2 : 1;
    State s[2];
    Data d[2];
    Measures x[2];
    bool finite = true;
    outputs_check(o, NULL, 0);
    for (int k = 0; k < models; k++) {
        s[k] = checkpoint_read(name[k], o, false);
        s[k].o->seed = option_given(o, "seed") ? o->seed : s[0].o->seed;
        s[k].o->corpus = option_given(o, "corpus") ? o->corpus : s[0].o->corpus;
        d[k] = data_read(s[k].o, &s[k].tok, s[k].m->c.V, !o->text.n && !o->tokens.n);
        if (d[k].val.n < 2) die("the text has %zu tokens; at least 2 are needed", d[k].val.n);
        if (data_hash(&d[k]) == s[k].data_hash) continue;
        tokens_free(&d[k].train);
        if (!o->text.n && !o->tokens.n)
            printf("%s: on the built-in stories, which it was not trained on; --text reads another text\n",
                   name[k]);
    }
    for (int k = 0; k < models; k++)                        /* by the token, unless both have a vocabulary */
        if (!d[0].bytes || !d[models - 1].bytes) {
            free(d[k].bytes);
            d[k].bytes = NULL;
        }
    DfPool *pool = df_begin(o->threads);
    const size_t ctx = s[0].m->c.ctx, T = models > 1 && s[1].m->c.ctx < ctx ? s[1].m->c.ctx : ctx;
    for (int k = 0; k < models; k++) {
        x[k] = measure(&s[k], name[k], pool, &d[k], T);
        finite &= isfinite(x[k].val.nats);
    }
    const bool paired = models > 1 && tokens_hash(&d[0].val) == tokens_hash(&d[1].val) &&
                        x[0].wanted == x[1].wanted;
    if (models > 1 && x[0].parts.n != x[1].parts.n)
        die("%s: the text is too short to compare models of other vocabularies", name[1]);
    if (models > 1) pair_print(x, o->margin, paired);
    else measures_print(x);
    if (o->json) {
        Out out = out_open(o->json);
        out_char(&out, '{');
        if (models > 1) json_pair(&out, x, o->margin, paired);
        else json_measures(&out, x);
        json_end(&out);
    }
    for (int k = 0; k < models; k++) {
        measures_free(&x[k]);
        gpt_free(s[k].m);
        tok_free(s[k].tok);
        free(s[k].o);
        data_free(&d[k]);
    }
    df_end(pool);
    free(o);
    return finite ? 0 : 3;
}
#endif
