/* corpus.h: the built-in text: short stories, as many as asked for, whose probability is known exactly.
 *
 * A small GPT needs a text to learn from. This one comes from a written grammar with stated weights instead of a
 * download, so the entropy of the text, the loss that no model can beat, is known, and so is the right answer to
 * every question a story asks. It refuses to be a natural language generator: one kind of story, a day in a village,
 * in plain English. Four people, three things and some food are introduced; people walk about, give, leave, find and
 * eat; in the evening somebody asks who has what and where everybody is. To predict a word one must have followed
 * the facts: where a person went, who holds a thing, whose it is, what is left of seven plums less two.
 *
 * The property everything rests on: *the text determines every choice that made it*. The story is walked by one
 * piece of code, which never asks whether it writes or reads. It tells templates:
 *
 *     text        stands in the story as it is; ` stands for a double quote
 *     $x          a fact (tale_fact has the list): text without choice, probability one
 *     [5a|2b|c]   a choice between a, b and c with weights 5, 2 and 1; an alternative is again a template
 *     #x          a choice from word list x (tale_list), in which word k has weight 60/(k + 3), rounded down
 *
 * and offers choices that depend on the facts with tale_may, closed by tale_choose. A choice is decided by
 * tale_draw, from (seed, story, number of the choice), which writes; or by tale_read, which takes the one alternative
 * whose text stands at the cursor. For that, no alternative may begin as another one does, as far as its own first
 * inner choice; tale_read refuses a text that fits two, and the test compares every pair it meets. Every choice adds
 * log(total weight / weight) to the same sum in the same order, so writer and reader agree to the last bit.
 *
 * An example. tale_tell(t, "[3One|Early one] #w morning") writes "One sunny morning" with probability 3/4 x 20/82:
 * sunny is first of the twelve words for weather, and 60/3 + 60/4 + ... + 60/14 is 20 + 15 + ... + 4 = 96; so
 * 3/4 x 20/96 = 0.156, or 1.856 nats. Reading "One sunny morning" finds One at the cursor, then sunny, adds the same
 * two numbers, and "One sunny evening" fails at the e. (Drawing is exact to 2^-32 of the total weight.)
 *
 * A story ends where its last sentence does, with a newline: the grammar never offers to go on, so ending has
 * probability one there. Between stories a loader puts its own separator. */
#ifndef CORPUS_H
#define CORPUS_H
#include "base.h"

enum { CORPUS_MAX = 4096, CORPUS_WORD = 32 };      /* bytes of the longest story, of the longest answer; with NUL */
enum { CORPUS_HOLDS, CORPUS_WHERE, CORPUS_MANY, CORPUS_WHOSE, CORPUS_KINDS };

/* A question: which of four continues text[0 .. n)? */
typedef struct {
    char text[CORPUS_MAX];
    size_t n;
    int kind;
    char option[4][CORPUS_WORD];    /* option[0] is right; all with the space before them */
} CorpusItem;

enum { TALE_PEOPLE = 4, TALE_THINGS = 3, TALE_PLACES = 5, TALE_OPTIONS = 72, TALE_MARKS = 24, TALE_MOST = 12 };

typedef struct {
    const char *text;               /* a template */
    unsigned weight;
    int *what, value;               /* taking the option sets *what = value; so does rendering it, for its facts */
} TaleOption;

typedef struct Tale {
    char *out;                      /* written to, or NULL: then in is read */
    const char *in;
    size_t at, cap;                 /* the cursor; bytes that out or in has */
    uint64_t key, choices;
    double nats;
    bool failed, peek;              /* peek: tell as far as the first choice */
    size_t (*decide)(struct Tale *);        /* which option to take */
    TaleOption option[TALE_OPTIONS];
    unsigned n_options, total;
    const char *picked, *taken[24]; /* the template last chosen; words that this story may not take again */
    size_t n_taken;
    /* What the sentence is about: subject, other, third person, thing, place, number; kind of sentence. */
    int a, b, c, thing, place, n, how, verb, any;
    /* The facts. A thing's holder is a person, or TALE_PEOPLE + the place where it lies. */
    const char *name[TALE_PEOPLE], *adjective[TALE_THINGS], *noun[TALE_THINGS], *places[TALE_PLACES];
    const char *trait, *kin, *job, *food, *party, *elder;
    int boy[TALE_PEOPLE], where[TALE_PEOPLE], count[TALE_PEOPLE], owner[TALE_THINGS], holder[TALE_THINGS];
    int goal, last, moved, gave, played[TALE_PEOPLE];
    struct { size_t at; int kind, value, distractor[TALE_PEOPLE]; } mark[TALE_MARKS];
    size_t n_marks;
} Tale;

/* ---- the words ---------------------------------------------------------------------------------------- */

/* List x: words between bars, the frequent ones first, fields of a word between slashes. */
static inline const char *tale_list(char x) {
    switch (x) {
    case 'g': return "Mia|Nora|Lily|Ella|Ruth|Zoe|Clara|Ida|Hanna|Sofia|Maya|Alice|Rosa|Daisy|Vera|Greta|Olive|"
        "Pearl|Tess|June|Wendy|Freya|Kira|Bella|Emma|Agnes|Lotte|Ines";
    case 'b': return "Tom|Ben|Max|Leo|Finn|Oscar|Hugo|Jack|Noah|Paul|Sam|Theo|Felix|Adam|Ivan|Otto|Luke|Karl|Emil|"
        "Ravi|Dan|Peter|Nils|Walter|Simon|Erik|Jonas|Victor";
    case 't': return "a kind/kindest|a brave/bravest|a clever/cleverest|a cheerful/most cheerful|a funny/funniest|"
        "an honest/most honest|a patient/most patient|a gentle/gentlest|a curious/most curious|a proud/proudest|"
        "an unusual/most unusual|a quick/quickest|a polite/most polite|an active/most active|a wise/wisest";
    case 'j': return "baker|doctor|teacher|farmer|painter|tailor|gardener|sailor|miller|potter|singer|shepherd|cook";
    case 'c': return "a red|an old|a blue|a new|a green|a tiny|a yellow|a shiny|a white|a silver|an orange|a pretty|"
        "a golden|a heavy|a painted|a purple|a strange|an ugly|a pink|an expensive|a striped|a brown";
    case 'n': return "kite|ball|drum|book|doll|lantern|whistle|map|scarf|basket|umbrella|flute|key|mirror|bucket|"
        "rope|trumpet|puppet|mask|blanket|box|spoon|teapot|cup|ring|compass|candle|pillow|jug|fan|paper boat";
    case 'f': return "apple/apples|plum/plums|nut/nuts|cherry/cherries|pear/pears|peach/peaches|biscuit/biscuits|"
        "strawberry/strawberries|bun/buns|carrot/carrots|fig/figs|radish/radishes|pancake/pancakes|egg/eggs";
    case 'l': return "in the garden/water/ the roses|by the pond/watch/ the ducks|at the market/look/ at the cheeses|"
        "in the barn/brush/ the donkey|at the mill/count/ the sacks|in the orchard/climb/ a tree|in the meadow/pick/"
        " some daisies|at the harbour/paint/ a boat|in the library/listen/ to a story|on the hill/look/ at the clouds|"
        "by the river/splash/ in the water|in the bakery/sniff/ the warm bread|on the beach/collect/ shells|"
        "at the school/clean/ the windows|in the forest/follow/ a deer|on the bridge/wait/ for the swans|"
        "in the stable/comb/ the ponies|in the tower/polish/ the floor|at the station/visit/ the engine driver|"
        "by the well/wash/ the dishes|in the workshop/mend/ a chair|at the lighthouse/talk/ to the gulls|"
        "in the square/play/ with the pigeons|by the fountain/rest/ in the shade";
    case 'p': return "feast|dance|parade|concert|bonfire|fair|picnic|wedding|birthday party|play|magic show|fancy ball";
    case 'e': return "mother|grandmother|father|grandfather|aunt|uncle";
    case 'w': return "sunny|windy|cold|warm|rainy|foggy|bright|frosty|cloudy|quiet|stormy|snowy";
    case 'm': return "happy|tired|hungry|proud|sleepy|lucky|sad|calm|excited|thirsty|lonely|nervous|silly|grateful|"
        "bored|merry";
    case 'd': return "lovely|strange|long|beautiful|wonderful|busy|funny|terrible|perfect|peaceful|noisy|dull";
    case 'x': return "the sea|the stars|a warm supper|last winter|a funny dream|the moon|a secret|the summer|an old song|"
        "faraway lands|a talking cat|pirates|the first snow|a flying carpet|giants|tomorrow|dragons|the king's horses";
    default: return "a hare|a fox|an owl|a hedgehog|a squirrel|a butterfly|a stray cat|an otter|a robin|a badger|a frog|"
        "a heron|a snail|a rainbow|a falling leaf|a goose|a black dog|an eagle";
    }
}

/* Word k of a list with bars; field k of a word with slashes; the rest of a text after its first space. */
static inline const char *tale_nth(const char *s, char bar, int k) {
    while (k && *s) k -= *s++ == bar;
    return s;
}
static inline bool tale_ends(char c) { return !c || c == '|' || c == ']' || c == '/'; }

/* ---- telling: templates, choices, and the two ways of deciding ---------------------------------------- */

/* Writes n bytes, or reads exactly these; without room, or if others stand there, the tale has failed. */
static inline void tale_put(Tale *t, const char *s, size_t n) {
    if (t->failed) return;
    if (n > t->cap - t->at || (!t->out && memcmp(t->in + t->at, s, n))) { t->failed = true; return; }
    if (t->out) memcpy(t->out + t->at, s, n);
    t->at += n;
}

/* A word of a list, or one field of it: as far as the next bar, slash, bracket or end. */
static inline void tale_word(Tale *t, const char *s) {
    size_t n = 0;
    while (!tale_ends(s[n])) n++;
    tale_put(t, s, n);
}

static inline void tale_offer(Tale *t, unsigned weight, int *what, int value, const char *text) {
    if (t->n_options == TALE_OPTIONS) die("corpus: a choice of more than %d", TALE_OPTIONS);
    t->option[t->n_options++] = (TaleOption){text, weight, what, value};
    t->total += weight;
}

/* The end of the alternative at s: its bar, bracket or end of text. */
static inline const char *tale_skip(const char *s) {
    for (int depth = 0; *s && (depth || (*s != '|' && *s != ']')); s++) depth += (*s == '[') - (*s == ']');
    return s;
}

/* Offers every alternative of a list such as "3Once|Long ago", each to set *what = value, with its weight (1 if
 * none is written) times `times`. */
static inline void tale_may(Tale *t, unsigned times, int *what, int value, const char *list) {
    for (;; list++) {
        unsigned weight = 0;
        for (; *list >= '0' && *list <= '9'; list++) weight = 10 * weight + (unsigned)(*list - '0');
        tale_offer(t, (weight ? weight : 1) * times, what, value, list);
        list = tale_skip(list);
        if (*list != '|') return;
    }
}

/* Offers the words of list x that the story has not taken yet. */
static inline void tale_words(Tale *t, char x, int *what, int value) {
    unsigned k = 3;
    for (const char *s = tale_list(x);; s++, k++) {
        bool taken = false;
        for (size_t i = 0; i < t->n_taken; i++) taken |= t->taken[i] == s;
        if (!taken) tale_offer(t, 60 / k, what, value, s);
        s = tale_skip(s);
        if (!*s) return;
    }
}

static inline void tale_fact(Tale *t, char x);
static inline void tale_tell(Tale *t, const char *s);

/* Closes the options offered: one is decided on, told, and its logarithm added. Returns its value. */
static inline int tale_choose(Tale *t) {
    const TaleOption o = t->option[t->decide(t)];
    t->nats += det_log((double)t->total / o.weight);
    t->n_options = t->total = 0;
    *o.what = o.value;
    tale_tell(t, o.text);
    t->picked = o.text;
    return o.value;
}

/* Tells a template, as far as its end or, when peeking, its first choice. */
static inline void tale_tell(Tale *t, const char *s) {
    while (!tale_ends(*s)) {
        if (t->peek && (*s == '[' || *s == '#')) return;
        if (*s == '[') {
            tale_may(t, 1, &t->any, 0, s + 1);
            while (*(s = tale_skip(s + 1)) == '|') { }
            tale_choose(t), s++;
        } else if (*s == '#') tale_words(t, s[1], &t->any, 0), tale_choose(t), s += 2;
        else if (*s == '$') tale_fact(t, s[1]), s += 2;
        else if (*s == '`') tale_put(t, "\"", 1), s++;
        else {
            size_t n = 1;
            while (!tale_ends(s[n]) && s[n] != '[' && s[n] != '#' && s[n] != '$' && s[n] != '`') n++;
            tale_put(t, s, n), s += n;
        }
    }
}

/* Tells option k as far as its first choice and goes back to the cursor. Returns where that ended, 0 if it failed. */
static inline size_t tale_peek(Tale *t, size_t k) {
    const TaleOption o = t->option[k];
    const size_t at = t->at;
    const int old = *o.what;
    *o.what = o.value, t->peek = true;
    tale_tell(t, o.text);
    const size_t end = t->failed ? 0 : t->at;
    *o.what = old, t->peek = t->failed = false, t->at = at;
    return end;
}

static inline size_t tale_draw(Tale *t) {
    uint64_t r = (rng_u64(t->key, t->choices++) >> 32) * t->total >> 32;
    size_t k = 0;
    while (r >= t->option[k].weight) r -= t->option[k++].weight;
    return k;
}

static inline size_t tale_read(Tale *t) {
    size_t found = 0, fits = 0;
    for (size_t k = 0; k < t->n_options && !t->failed; k++) if (tale_peek(t, k)) found = k, fits++;
    if (fits != 1) t->failed = true;
    return found;
}

/* ---- facts -------------------------------------------------------------------------------------------- */

static inline unsigned tale_people_at(const Tale *t, int place) {       /* sets of people or things, as bits */
    unsigned set = 0;
    for (int p = 0; p < TALE_PEOPLE; p++) set |= (unsigned)(t->where[p] == place) << p;
    return set;
}
static inline unsigned tale_held(const Tale *t, int holder) {
    unsigned set = 0;
    for (int k = 0; k < TALE_THINGS; k++) set |= (unsigned)(t->holder[k] == holder) << k;
    return set;
}

/* Notes a question at the cursor: its right answer (person, place or number), and three wrong ones. A wrong number
 * is what another person has, or one nearby. */
static inline void tale_mark(Tale *t, int kind, int value) {
    if (t->failed || t->n_marks == TALE_MARKS) return;
    int *wrong = t->mark[t->n_marks].distractor, n = 0;
    const int turn = (int)(rng_u64(t->key, ~(uint64_t)t->n_marks) >> 33);
    const int among = kind == CORPUS_WHERE ? TALE_PLACES : TALE_PEOPLE;
    for (int k = 0; kind != CORPUS_MANY && n < 3; k++)
        if ((turn + k) % among != value) wrong[n++] = (turn + k) % among;
    for (int k = 0; n < 3; k++) {
        const int other = k < TALE_PEOPLE ? t->count[k] : value + (k & 1 ? -k : k) / 2 + 0;
        bool good = other > 0 && other <= TALE_MOST && other != value;
        for (int i = 0; i < n; i++) good &= wrong[i] != other;
        if (good) wrong[n++] = other;
    }
    t->mark[t->n_marks].at = t->at, t->mark[t->n_marks].kind = kind, t->mark[t->n_marks++].value = value;
}
