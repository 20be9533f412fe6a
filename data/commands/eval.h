/* eval.h: all that is measured of a model on a text; of two models, which is the
 * better one; of a model, which endings of others' multiple choice it finds
 * likeliest: `train eval`. */
#ifndef EVAL_H
#define EVAL_H
#include "../judge/choices.h"

/* Multiple choice instead of a text. Takes over o. */
static inline int eval_choices(Options *o) {
    static const char *const of_text[] = {"text", "tokens", "raw16", "corpus",
                                          "seed", "items",  "margin"};
    for (size_t k = 0; k < sizeof of_text / sizeof *of_text; k++)
        if (o->given[option_find(of_text[k], EVAL)])
            usage("--%s: is of a text, and --choices measures none", of_text[k]);
    if (o->to) usage("--choices: expected one model, found two");
    outputs_check(o, NULL, 0);
    State s = checkpoint_read(o->file, o, false);
    if (!s.tok)
        die("%s: the model has no vocabulary of its own: it cannot read --choices",
            o->file);
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
    state_free(&s);
    options_free(o);
    return finite ? 0 : 3;
}

/* The text for the model in s, whose own seed and corpus are the first model's
 * unless o gives others. */
static inline Data eval_data(State *s, const State *first, const char *name,
                             const Options *o) {
    const bool stories = !o->text.n && !o->tokens.n;
    s->o->seed = option_given(o, "seed") ? o->seed : first->o->seed;
    s->o->corpus = option_given(o, "corpus") ? o->corpus : first->o->corpus;
    Data d = data_read(s->o, &s->tok, s->m->c.V, stories);
    if (d.val.n < 2)
        die("%s: the text has %zu tokens; at least 2 are needed", data_name(s->o), d.val.n);
    if (data_hash(&d) == s->data_hash) return d;
    tokens_free(&d.train);
    if (stories)
        printf("%s: on the built-in stories, not known to be what it was trained on; "
               "--text reads another text\n",
               name);
    return d;
}
/* Measures by the token, unless all n texts know how many bytes each token has:
 * that is, all models have a vocabulary. */
static inline void eval_unit(Data *d, int n) {
    if (d[0].bytes && d[n - 1].bytes) return;
    for (int k = 0; k < n; k++) {
        free(d[k].bytes);
        d[k].bytes = NULL;
    }
}
/* What was measured of n models, printed and, if asked for, in a file. d: what
 * it was measured on. */
static inline void eval_tell(const Measures *x, const Data *d, int n,
                             const Options *o) {
    const bool pair = n > 1;
    if (pair && x[0].parts.n != x[1].parts.n)
        die("%s: the text is too short to compare models of other vocabularies",
            o->to);
    const bool paired = pair && x[0].wanted == x[1].wanted &&
                        tokens_hash(&d[0].val) == tokens_hash(&d[1].val);
    if (pair) pair_print(x, o->margin, paired);
    else measures_print(x);
    if (!o->json) return;
    Out out = out_open(o->json);
    out_char(&out, '{');
    if (pair) json_pair(&out, x, o->margin, paired);
    else json_measures(&out, x);
    json_end(&out);
}

static inline int cmd_eval(int argc, char **argv) {
    Options *o = options_read(argc, argv, EVAL, "a checkpoint");
    if (o->choices) return eval_choices(o);
    if (o->csv) usage("--csv needs --choices");
    if (o->given[option_find("margin", EVAL)] && !o->to) usage("--margin needs two models");
    if (option_given(o, "corpus") && (o->text.n || o->tokens.n))
        usage("--corpus contradicts --text and --tokens");
    const char *const name[2] = {o->file, o->to};
    const int models = o->to ? 2 : 1;
    State s[2];
    Data d[2];
    Measures x[2];
    bool finite = true;
    outputs_check(o, NULL, 0);
    for (int k = 0; k < models; k++) {
        s[k] = checkpoint_read(name[k], o, false);
        d[k] = eval_data(&s[k], &s[0], name[k], o);
    }
    if (models == 2 && o->tokens.n && s[0].tok && s[1].tok && !tok_same(s[0].tok, s[1].tok))
        die("%s: expected the vocabulary of %s, whose ids --tokens are; --text compares models "
            "of any two", name[1], name[0]);
    eval_unit(d, models);
    DfPool *pool = df_begin(o->threads);
    const size_t T = size_min(s[0].m->c.ctx, s[models - 1].m->c.ctx);
    for (int k = 0; k < models; k++) {
        x[k] = measure(&s[k], name[k], pool, &d[k], T);
        finite &= isfinite(x[k].val.nats);
    }
    eval_tell(x, d, models, o);
    for (int k = 0; k < models; k++) {
        measures_free(&x[k]);
        state_free(&s[k]);
        data_free(&d[k]);
    }
    df_end(pool);
    options_free(o);
    return finite ? 0 : 3;
}
#endif
