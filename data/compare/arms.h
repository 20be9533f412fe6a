/* arms.h: what a comparison compares: arms, each a name for some options.
 *
 *     dense     the common options, without those that make a model sparse
 *     small     dense and narrower: as many parameters as `sparse` has,
 *               whatever --arm made of that
 *     sparse    the common options; 87.5 % sparse if they do not say
 *     recipe    the same with masks that evolve and a dense end
 *     wide      sparse and wider: as many FLOPs a token as `dense`
 *     NAME      the common options and those of --arm NAME:KEY=VALUE,...
 *
 * The options of an arm, later ones over earlier ones:
 *
 *     common -> no masks, if dense -> its row of the table -> --arm NAME:...
 *     -> 87.5 % sparse, if it says nothing -> a width that fits, likewise
 *
 * Under one seed all arms have the same text, the same batches and, where they
 * have the same shape, the same first weights: of a sparse matrix those that it
 * keeps, larger by 1 / sqrt(density). Masks have a seed of their own. It
 * refuses options that would give arms different questions: text, context,
 * seed.
 *
 * Example: at --model d4, V = 2049, `sparse` has 0.997 M parameters; dense
 * models 112 and 128 wide have 0.87 and 1.09 M, so `small` is 128 wide, with 2
 * heads, since those of `sparse` are 64 wide. */
#ifndef ARMS_H
#define ARMS_H
#include "../run/masks.h"

enum { ARM_NAME = 32, ARMS_MAX = 26 };          /* each has a letter in the curves */
enum { AS_IT_IS, FIT_PARAMETERS, FIT_FLOPS };   /* which width, unless given */

static const struct {
    const char *name;
    bool sparse;
    int fit;
    const char *more;               /* its options: KEY=VALUE,... */
} arms[] = {
    {"dense", false, AS_IT_IS, ""},
    {"small", false, FIT_PARAMETERS, ""},
    {"sparse", true, AS_IT_IS, ""},
    {"recipe", true, AS_IT_IS, "update=set,mask-every=50,densify=0.04"},
    {"wide", true, FIT_FLOPS, ""},
};
enum { ARMS = sizeof arms / sizeof *arms };

/* ---- names --------------------------------------------------------------- */

/* The place in the table above; ARMS: an arm of the user's own. */
static inline int arm_place(const char *name) {
    int k = 0;
    while (k < ARMS && strcmp(name, arms[k].name)) k++;
    return k;
}
/* What the ith --arm says of the arm `name`: KEY=VALUE,... or NULL if it is of
 * another. */
static inline const char *arm_own(const Options *o, size_t i,
                                  const char *name) {
    const char *text = o->arm.item[i];
    const size_t n = strlen(name);
    return !strncmp(text, name, n) && text[n] == ':' ? text + n + 1 : NULL;
}
/* Whether any --arm is of the arm `name`. */
static inline bool arm_has_own(const Options *o, const char *name) {
    for (size_t i = 0; i < o->arm.n; i++)
        if (arm_own(o, i, name)) return true;
    return false;
}

/* Dies if the n letters at p are no name; p goes on to the end of --arms. */
static inline void arm_check_letters(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const bool letter = (p[i] | 32) >= 'a' && (p[i] | 32) <= 'z';
        if (!letter && !strchr("_.0123456789", p[i]))
            usage("--arms: expected letters and digits, found '%.*s'", (int)n,
                  p);
    }
    if (!n || n >= ARM_NAME)
        usage("--arms: expected names of 1 .. %d letters, found '%s'",
              ARM_NAME - 1, p);
}
/* Dies if nothing says what the last of n names is, or if it was there before.
 */
static inline void arm_check_name(const Options *o, char name[][ARM_NAME],
                                  size_t n) {
    const char *last = name[n - 1];
    if (!arm_has_own(o, last) && arm_place(last) == ARMS)
        usage("--arms: no '%s' among dense, small, sparse, recipe, wide and "
              "those of "
              "--arm",
              last);
    for (size_t k = 0; k + 1 < n; k++)
        if (!strcmp(name[k], last)) usage("--arms: '%s' twice", last);
}
/* The names of --arms; returns how many. */
static inline size_t arm_names(const Options *o,
                               char name[ARMS_MAX][ARM_NAME]) {
    size_t n = 0;
    for (const char *p = o->arms; *p;) {
        const size_t len = strcspn(p, ",");
        if (n == ARMS_MAX) usage("--arms: expected at most %d", ARMS_MAX);
        arm_check_letters(p, len);
        snprintf(name[n++], ARM_NAME, "%.*s", (int)len, p);
        arm_check_name(o, name, n);
        p += len + (p[len] == ',');
    }
    if (!n) usage("--arms: expected names with commas between, found none");
    for (size_t i = 0; i < o->arm.n; i++) {
        bool used = false;
        for (size_t k = 0; k < n; k++) used |= arm_own(o, i, name[k]) != NULL;
        if (!used)
            usage("--arm: expected NAME:KEY=VALUE,... with a NAME of --arms "
                  "%s, found "
                  "'%s'",
                  o->arms, o->arm.item[i]);
    }
    return n;
}

/* ---- widths -------------------------------------------------------------- */

/* Parameters of a model or, with flops, FLOPs a token, if its four matrices
 * have these densities. */
static inline double model_size(const GptConfig *c, const double density[4],
                                bool flops) {
    const double each = flops ? 6 : 1;
    double n = flops ? 6.0 * (double)(c->ctx * c->C * c->L) : 0;
    GptParam *table = gpt_table(c);
    for (size_t k = 0; k < gpt_count(c); k++) {
        const double size = (double)gpt_elements(&table[k]);
        if (gpt_maskable(&table[k])) n += each * density[mask_kind(k)] * size;
        else if (!flops || k == WTE) n += each * size;
    }
    free(table);
    return n;
}
/* The width, a multiple of `step`, at which a model of c's shape and these
 * densities comes nearest to a size. */
static inline size_t width_nearest(GptConfig c, const double density[4],
                                   bool flops, size_t step, double size) {
    double below = 0;                   /* the size one step narrower */
    for (c.C = step;; c.C += step) {
        const double now = model_size(&c, density, flops);
        if (now < size) {
            below = now;
            continue;
        }
        const bool under = c.C > step && size - below < now - size;
        return under ? c.C - step : c.C;
    }
}
/* How many heads of a width come nearest to `head` wide: one of its divisors.
 */
static inline size_t heads_nearest(size_t width, double head) {
    const double wide = (double)width;
    size_t best = 1;
    for (size_t h = 1; h <= width; h++) {
        const double off = fabs(wide / (double)h - head);
        if (width % h == 0 && off < fabs(wide / (double)best - head)) best = h;
    }
    return best;
}
/* Gives o, of V tokens, the width, a multiple of 16, at which it comes nearest
 * to `like`: to the parameters that has, or to its FLOPs. Heads that are not
 * given are as near to the size of its heads as divides. */
static inline void arm_fit(Options *o, const Options *like, int fit, size_t V) {
    const bool flops = fit == FIT_FLOPS;
    const bool heads_given = option_given(o, "heads");
    const GptConfig other = {like->layers, like->heads, like->width, V,
                             like->context};
    GptConfig c = {like->layers, 1, LINE, V, o->context};
    double has[4];
    double density[4];
    size_t step = LINE;
    if (option_given(o, "layers")) c.L = o->layers;
    while (heads_given && step % o->heads) step += LINE;
    mask_densities(like, like->width, has);
    mask_densities(o, like->width, density);
    o->layers = c.L;
    o->width =
        width_nearest(c, density, flops, step, model_size(&other, has, flops));
    if (!heads_given)
        o->heads =
            heads_nearest(o->width, (double)like->width / (double)like->heads);
}

/* ---- options ------------------------------------------------------------- */

/* Sets "KEY=VALUE,..." in the options of the arm of that name. */
static inline void arm_set(Options *o, const char *name, const char *text) {
    static const char *const shared[] = {"context", "corpus", "seed",
                                         "val-share", "val-tokens"};
    char where[64];
    char *rest;
    snprintf(where, sizeof where, "arm %s: ", name);
    char *copy = option_keep(o, text);
    char *word = strtok_r(copy, ",", &rest);
    for (; word; word = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(word, '=');
        if (!value) refuse(o, "expected KEY=VALUE, found '%s'", word);
        *value++ = 0;
        const int k = option_find(word, COMPARE);
        if (k == -1) option_unknown(where, "", word, COMPARE);
        if (k < 0 || !options[k].decides)
            refuse(o, "expected an option of training, found '%s'", word);
        for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
            if (!strcmp(word, shared[i]))
                refuse(o, "--%s is the same for all arms", word);
        option_set(o, k, value, where);
    }
}

/* Takes out what would make a model sparse. */
static inline void arm_unmask(Options *o) {
    static const char *const masks[] = {
        "sparsity",   "block",     "mask",    "spread",     "update", "drop",
        "mask-every", "mask-stop", "densify", "dense-first"};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        option_preset(o, option_find(masks[i], COMPARE));
}
/* The options of an arm under the nth seed, for a text of V tokens. */
static inline Options arm_options(const Options *common, const char *name,
                                  size_t nth, size_t V) {
    const int place = arm_place(name);
    const bool known = place < ARMS;
    const bool sparse = known && arms[place].sparse;
    const int fit = known ? arms[place].fit : AS_IT_IS;
    Options o = *common;
    if (known && !sparse) arm_unmask(&o);
    memset(o.given, 0, sizeof o.given);     /* from here on: to this arm */
    o.whose = name;
    if (known) arm_set(&o, name, arms[place].more);
    if (known && arms[place].more[0])       /* in a short run too */
        o.mask_every = size_min(o.mask_every, o.steps / 10 + 1);
    for (size_t i = 0; i < common->arm.n; i++) {
        const char *own = arm_own(common, i, name);
        if (own) arm_set(&o, name, own);
    }
    if (sparse && !masks_wanted(&o) && !option_given(&o, "sparsity")) {
        if (option_given(common, "sparsity"))
            usage("--sparsity: expected more than 0 for the arm '%s', found 0", name);
        o.sparsity = 0.875;
    }
    if (fit != AS_IT_IS && !option_given(&o, "width")) {
        const char *other = fit == FIT_FLOPS ? "dense" : "sparse";
        const Options like = arm_options(common, other, nth, V);
        arm_fit(&o, &like, fit, V);
    }
    o.seed += nth;
    o.mask_seed += nth;
    model_shape(&o);
    return o;
}
/* Dies if an arm's options contradict each other, before anything is read: at a
 * width that is still to be found for the real vocabulary. */
static inline void arm_check(const Options *common, const char *name) {
    const Options o = arm_options(common, name, 0, common->vocab_size);
    masks_check(&o);
    rate_check(&o);
}
#endif
