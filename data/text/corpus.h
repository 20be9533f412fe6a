/* corpus.h: the built-in text: short stories, as many as asked for, whose
 * probability is known exactly.
 *
 * A small GPT needs a text to learn from. This one comes from a written grammar
 * with stated weights, so that its entropy, the loss no model can beat, is
 * known, and so is the right answer to every question in it. It refuses to be a
 * language generator: one kind of story, a day in a village. Four people, three
 * things and some food are introduced; people walk about, give, leave, find and
 * eat; in the evening somebody asks who has what and who is where. To predict a
 * word one must have followed the facts: where people went, who holds a thing,
 * whose it is, what is left of seven plums.
 *
 * The property everything rests on: *the text determines every choice that made
 * it*. One piece of code walks the grammar and never asks whether it writes or
 * reads. The grammar is a set of templates:
 *
 *     text     stands in the story as it is; ` stands for a double quote
 *     [..|..]  a choice between alternatives, templates again. Before it one
 *              may have its weight (1 if none is written), then ?x, on
 *              condition that set x is not empty, then *rx: one such
 *              alternative for every member of set x, which gets role r: a the
 *              subject of the sentence, b and c other people, t a thing,
 *              p a place, n a number
 *     #x       a choice from word list x; word k = 1, 2 .. has weight 2 + 8/k,
 *              rounded down; names already given are left out. An alternative
 *              "#x text" stands for one with every word
 *     $x &x    text without choice: fact x, the last word chosen from list x
 *     ^x %x    change x of the facts; template x
 *
 * tale_lists, tale_rules, tale_set, tale_fact and tale_change say what the
 * letters mean. A choice is decided by tale_draw from (seed, story, number of
 * the choice), or by tale_read, which takes the one alternative whose text
 * stands at the cursor. For that, no alternative may begin as another one does,
 * as far as its own first choice, % or ^; tale_read refuses a text that fits
 * two, and the test compares every pair it meets. Every choice adds log(total
 * weight / weight) to one sum in one order, so writer and reader agree to the
 * last bit.
 *
 * An example. "[3One|Early one] #w day" becomes "One windy day" with
 * probability 3/4 x 6/48 = 0.094, or 2.367 nats: windy is the second of
 * fourteen words for the weather, which weigh 10, 6, 4, 4, 3, 3, 3, 3 and six
 * times 2, together 48. Reading finds One and then windy at the cursor and adds
 * the same numbers; "One windy night" fails at the n. (Drawing is exact to
 * 2^-32 of the total weight.) A story ends with the newline after its last
 * sentence: nothing else can follow there, so to end has probability one. What
 * stands between stories is the loader's business. */
#ifndef CORPUS_H
#define CORPUS_H
#include "../base/base.h"

enum { CORPUS_MAX = 4096, CORPUS_WORD = 32 };   /* bytes: no story, no answer
                                                 * has more */
enum { CORPUS_HOLDS, CORPUS_WHERE, CORPUS_MANY, CORPUS_WHOSE, CORPUS_KINDS };

/* A question: which option continues the story's first `at` bytes? The
 * first. */
typedef struct {
    char option[4][CORPUS_WORD];    /* each begins with a space */
    size_t at;
    int kind;
} CorpusItem;

enum {
    TALE_PEOPLE = 4,
    TALE_THINGS = 3,
    TALE_PLACES = 5,
    TALE_OPTIONS = 96,
    TALE_MARKS = 32,
    TALE_MOST = 12,                 /* the largest number */
    TALE_EVENTS = 18,               /* sentences before evening */
};

/* One alternative of a choice: to take it sets *what = value and tells both. */
typedef struct {
    const char *text;               /* templates */
    const char *rest;
    int *what;
    int value;
    unsigned weight;
} TaleOption;

/* A question in the story, and what is wrong there. */
typedef struct {
    size_t at;
    int kind, value;
    int wrong[3];
} TaleMark;

typedef struct Tale {
    char *out;                      /* (cap) written to, or NULL: in is read */
    const char *in;                 /* (cap) */
    size_t at;                      /* the cursor */
    size_t cap;
    uint64_t key;
    uint64_t choices;               /* made so far */
    double nats;
    bool failed;
    bool peek;                      /* tell only as far as the first choice */
    size_t (*decide)(struct Tale *);    /* which option to take */
    TaleOption option[TALE_OPTIONS];
    size_t n_options, n_taken, n_marks;
    unsigned total;                 /* weight of the options */
    unsigned told;                  /* the set of numbers told */
    TaleMark mark[TALE_MARKS];

    /* The names: person k is name[k], and so on. */
    const char *word[32];           /* the last one of each list */
    const char *name[TALE_PEOPLE];
    const char *adjective[TALE_THINGS];
    const char *noun[TALE_THINGS];
    const char *place[TALE_PLACES];
    const char *taken[16];          /* all these */
    int people, things, places;     /* introduced so far */

    /* The facts. A thing's holder is a person, or TALE_PEOPLE + the place where
     * it lies. */
    int boy[TALE_PEOPLE];
    int where[TALE_PEOPLE];
    int count[TALE_PEOPLE];         /* of food */
    int idle[TALE_PEOPLE];
    int owner[TALE_THINGS];
    int holder[TALE_THINGS];
    int a, b, c, t, p, n;           /* the roles of this sentence */
    int any;                        /* what a choice without a role sets */
    int last;                       /* whom "she" or "he" means, or -1 */
    int moved;                      /* who has just moved, or -1 */
    int free;                       /* whether the subject may move */
    int laid, fresh;                /* the thing left now, a sentence ago */
    int thanks;                     /* whether there is a reason to thank */
    int goal;                       /* the thing for the evening */
    int events, evening;
    int kinds;                      /* the set of questions not asked yet */
} Tale;

/* ---- the words and the grammar ------------------------------------------- */

/* A word has fields between slashes; the first is told. */
static const char *const tale_lists[128] = {
    ['l'] =
        "in the garden/water/ the roses|by the pond/watch/ the ducks|at the "
        "market/look/ at the cheeses|in the barn/brush/ the donkey|at the "
        "mill/count/ the sacks|in the orchard/climb/ a tree|in the "
        "meadow/pick/ some daisies|at the harbour/paint/ a boat|in the "
        "library/listen/ to a story|on the hill/look/ at the clouds|by the "
        "river/splash/ in the water|in the bakery/sniff/ the warm bread|on the "
        "beach/collect/ shells|in the forest/follow/ a deer|on the "
        "bridge/wait/ for the swans|in the stable/comb/ the ponies|at the "
        "station/visit/ the engine driver|by the well/wash/ some socks|at the "
        "lighthouse/talk/ to the gulls|in the square/greet/ the pigeons",
    ['n'] =
        "kite|ball|drum|book|doll|lantern|whistle|map|scarf|basket|umbrella|"
        "flute|key|mirror|bucket|rope|trumpet|puppet|mask|blanket|box|spoon|"
        "teapot|cup|ring|compass|candle|pillow|jug|fan|paper boat",
    ['f'] =
        "apples/apple|plums/plum|nuts/nut|cherries/cherry|pears/pear|"
        "peaches/peach|biscuits/biscuit|buns/bun|strawberries/strawberry|"
        "carrots/carrot|figs/fig|radishes/radish|pancakes/pancake|eggs/egg",
    ['x'] =
        "the sea|the stars|supper|winter|a ship|the moon|a secret|summer|an "
        "old song|faraway lands|a talking cat|pirates|snow|a flying carpet|"
        "giants|school|dragons|the king|ghosts|trains|a lost city",
    ['c'] =
        "a red|an old|a blue|a new|a green|a tiny|a yellow|a shiny|a white|a "
        "silver|an orange|a pretty|a golden|a heavy|a painted|a purple|a "
        "strange|an ugly|a pink|an expensive|a striped|a brown",
    ['g'] =
        "Mia|Nora|Lily|Ella|Ruth|Zoe|Clara|Ida|Hanna|Sofia|Maya|Alice|Rosa|"
        "Daisy|Vera|Greta|Olive|Pearl|Tess|June|Wendy|Freya|Kira|Bella|Emma|"
        "Agnes|Lotte|Ines|Petra|Nell|Astrid|Carmen|Edith",
    ['h'] = "near the sea|in a small house|behind the church|at the edge of a "
            "wood|on an island|below a mountain|in a white cottage|by a busy "
            "road|above a shop|on a hill farm|in a crooked house",
    ['b'] =
        "Tom|Ben|Max|Leo|Finn|Oscar|Hugo|Jack|Noah|Paul|Sam|Theo|Felix|Adam|"
        "Ivan|Otto|Luke|Karl|Emil|Ravi|Dan|Peter|Nils|Walter|Simon|Erik|Jonas|"
        "Victor|Anton|Omar|Hans|Luis|Rolf",
    ['i'] = "a small|an old|a sleepy|a hungry|a shy|a white|a young|an angry|a "
            "fat|a wet|a clever|an odd|a lame|a brown|a huge|a lost|a merry|a "
            "lazy|a blind|a tame|a noisy|a quiet",
    ['y'] =
        "hare|fox|owl|hedgehog|squirrel|cat|otter|robin|badger|frog|heron|"
        "snail|goose|dog|eagle|beetle|mole|stork|bat|crow|goat|swan|toad|moth|"
        "newt|calf|pony|lamb|crab|wasp",
    ['u'] = "waiting|resting|singing|dancing|telling stories|playing cards|"
            "reading|laughing|dozing|whistling",
    ['m'] =
        "happy|tired|hungry|proud|sleepy|sad|calm|excited|thirsty|lonely|"
        "nervous|merry|brave|bored|cold",
    ['j'] =
        "baker|doctor|teacher|farmer|painter|tailor|gardener|sailor|miller|"
        "potter|singer|shepherd|cook",
    ['o'] = "hot soup|lemonade|cake|honey bread|roast corn|cocoa|ice cream|pie|"
            "cider|cheese|jelly|porridge",
    ['v'] =
        "went|walked|ran|hurried|strolled|skipped|wandered|rushed|hopped|"
        "marched|raced|trotted|tiptoed",
    ['q'] = "music|laughter|a juggler|a fiddler|a clown|storytelling|a puppet "
            "show|singing|a brass band",
    ['z'] =
        "hide-and-seek|cards|tag|chess|football|leapfrog|marbles|pirates|"
        "charades|dominoes|skittles",
    ['t'] =
        "a kind|a brave|a clever|a funny|an honest|a shy|a quick|an active|a "
        "gentle|a proud|a wise",
    ['d'] =
        "lovely|strange|long|beautiful|wonderful|busy|funny|terrible|perfect|"
        "peaceful|noisy|dull",
    ['p'] = "feast|dance|parade|concert|bonfire|fair|picnic|wedding|birthday "
            "party|play|magic show",
    ['w'] =
        "sunny|windy|cold|warm|rainy|foggy|bright|frosty|cloudy|quiet|stormy|"
        "snowy|grey|golden",
    ['a'] =
        "straight|over|alone|happily|down|quietly|up|proudly|away|eagerly|"
        "cheerfully|back",
    ['r'] =
        "traveller|stranger|merchant|soldier|pedlar|monk|hunter|juggler|widow|"
        "fiddler",
    ['s'] = "said|answered|replied|whispered|laughed|cried|muttered|smiled",
    ['e'] = "mother|grandmother|father|grandfather|aunt|uncle",
    ['k'] = "sister|brother|cousin",
};
static const char *const tale_rules[128] = {
    ['I'] = /* opening */
        "[9Once upon a time|6Long ago|4Many years ago|4In the old days|3In a "
        "faraway land] there [3was|2lived] #t [girl [3named|2called] #g|boy "
        "[3named|2called] #b]. $H lived #h with $s #k #R. [3$S best friend was|"
        "2Next door lived|2$H often played with] #G, and the #j was [3called|"
        "2named] #G.\n\n%O %O %O [*aN$A ][3carried|3had|2found|2bought] "
        "[*n6$n]^a #f, and [*bO$B ]had [*n4$n]^b.\n\nOne #w [6morning|3day|"
        "2Saturday|2Sunday|Monday], %P, %P, %P and %P. [4In the evening|4That "
        "night|3At sunset|2Later] there would be a #p #l, and^z $A [3wanted|"
        "3hoped|2had promised] to bring [4*tTthe $t|2*tTthe $r]^g.\n\n[3At "
        "first|2Early on|2Before long|2After breakfast], [*aE$A ]%E",
    ['O'] = /* who owns what */
        "[*aN$A ][6had|4owned|3loved|2kept] #c #n[5.|4 from $s #e.]",
    ['P'] = /* who is where */
        "[*aU$A ][6was|4sat|3stood|3waited|2sang|2slept|2rested|danced] #l",
    ['B'] = /* the next sentence, or evening */
        "[8*aV $A %E|3*aK $Z's &k %E|3*aJ The &j %E|20*aL $H %E|5 Then %N|5 "
        "Soon %N|3 Later %N|2 After that, %N|6\n\nA little later, %N|"
        "4\n\nNext, %N|16?t `Thank you, $A,`%R|9?t `Thank you very "
        "much,`%R|9?7\n\nAt last the sun went down^e|9?8\n\nSlowly it grew "
        "dark^e|25?9\n\nThe day was almost over^e]",
    ['N'] = /* about whom */
        "[4*aE$A |2*aJthe &j |*aK$Z's &k ]%E",
    ['E'] = /* an event */
        "^s[2?M#v %G|30?M?Hcarried %H %G|15?M?Htook %H %G|20?M?Wand [*bW$B ]#v "
        "%G|99?W?vgave %V|24?Hleft %H%L|10?Hforgot %H%L|110?Ffound %F|"
        "50?Wasked [*bW$B ]%A|10?mwas given [*nm$n more $F]^+ by a #r[3.| and "
        "now had$M.]|10?eate [*ne$n $F]^-[3.| and had$M left.]|20?I$d^i[4.|2 "
        "for a while.|2 until $h was #m.|*bW with $B.]|14thought about #x and "
        "#i #y.|16saw #i #y.|16?Wtold [*bW$B ]about #i #y and #x.|14?Wplayed "
        "#z with [*bW$B].|20drew #i #y.|12sang a #d song about #x.|16said, "
        "`[2What a #d day!|I am so #m!|Look, #i #y!|I dreamt of #i #y.|I like "
        "#x.]`]",
    ['H'] = /* her things */
        "[4*tHthe $t|2*tHthe $r|2*tH$o $t]",
    ['G'] = /* to a place */
        "[40to|#a to] [*pP$q]^m[7.|2 to $D.|4 to look for #i #y.|4?o, where $w "
        "#u.|2?q, but nobody was there.]",
    ['V'] = /* gives */
        "[*bW$B ][4*tHthe $t%T|2*tHthe $r%T|2*th$o $t%T|2*ng$n $F^f[5.| and "
        "kept$M.]]",
    ['T'] = /* how */
        "^t[7.| gladly.| for a while.|5?r and got [4*trthe $t|2*trthe $r]^h in "
        "return.]",
    ['L'] = /* leaves */
        "^l [3$p|3there|under a [bench|bush|blanket] $p|behind a [wall|tree] "
        "$p].",
    ['F'] = /* finds */
        "[4*tFthe $t|2*tFthe $r|2*tF$o $t] [3there|2$p]^h and [picked it "
        "up|took it].",
    ['A'] = /* asks */
        "[2?Sfor [4*tSthe $t|2*tSthe $r].[?i `Here you are,`^h|?j `I think$X "
        "has it,`|?l `It is$Q,`]|2?Awhere [*cA$C was]. `$K is$W,`|2?show many "
        "&f $j had.^n `I have$M,`|2?Rabout [4*tRthe $t|2*tRthe $r]. `It is[?x "
        "mine|?y yours|?z$Y's],`|how $j was. `I am #m,`]%R",
    ['R'] = /* said */
        " #s $B.^r",
    ['Q'] = /* evening */
        ", and it was time for the &p. $Z's #e [3had many questions|2wanted to "
        "hear everything|came along].^z%K^z%K^z%K",
    ['K'] = /* a question, or what answers it */
        "[9?0?X `Who has^0 [4*tXthe $t|2*tXthe $r]?` `[3I think$X has it|2It "
        "is with$X].`|3?0?Y By now,^0 [4*tYthe $t|2*tYthe $r] was [2with|in "
        "the hands of]$X.|9?1 `Where is^1 [4*cO$C?` `$K is$W|2*tZthe $t?` `It "
        "is$Q|*tZthe $r?` `It is$Q].`|3?1 At that moment,^1 [4*cE$C was$W|"
        "2*tTthe $t was$Q|*tTthe $r was$Q].|9?2?c `How many &f does^2 "
        "[*bc$B]^n have?` `$J has$M.`|3?2 After all this,^2 [*bd$B]^n had$M "
        "$F.|9?3 `Whose^3 [4*tT$t|2*tT$r] is it?` `It is[?y mine|?z$Y's].`|3?3 "
        "Everybody knew that^3 [4*tTthe $t|2*tTthe $r] belonged to$Y.]",
    ['C'] = /* closing */
        "^G\n\n[?k$A still had the $r|?n?i$B gave $m the $r|?n?l$A picked up "
        "the $r|?f[4So|2Then|That was why] $A #v to $q[?i, where $B gave $m "
        "the $r|?l and found the $r]], and^p off they went to the &p $p. There "
        "was #o and #q. ^z[At last|Afterwards|Before bedtime] [?y$A carried $s "
        "$t home|?z$A gave the $t back to$Y]. [3From that day on|2Ever "
        "since|From then on], $h was called $T $A [3in the village|2far and "
        "wide|by all].\n",
};

/* The text after the k-th bar of s: word k of a list, field k of a word. */
static inline const char *tale_nth(const char *s, char bar, int k) {
    while (k && *s) k -= *s++ == bar;
    return s;
}

/* ---- the facts ----------------------------------------------------------- */

/* A set is a number whose bit k says whether k is in it. That of those of n
 * whose entry is value. */
static inline unsigned tale_all(const int *entry, int n, int value) {
    unsigned set = 0;
    for (int k = 0; k < n; k++) set |= (unsigned)(entry[k] == value) << k;
    return set;
}
static inline unsigned tale_at(const Tale *t, int place) {
    return tale_all(t->where, TALE_PEOPLE, place);
}
static inline unsigned tale_held(const Tale *t, int holder) {
    return tale_all(t->holder, t->things, holder);
}
static inline unsigned tale_one(int member) { return 1u << member; }

/* The things that some person holds. */
static inline unsigned tale_carried(const Tale *t) {
    unsigned set = 0;
    for (int p = 0; p < TALE_PEOPLE; p++) set |= tale_held(t, p);
    return set;
}
static inline unsigned tale_owners(const Tale *t) {
    unsigned set = 0;
    for (int k = 0; k < t->things; k++) set |= tale_one(t->owner[k]);
    return set;
}
static inline unsigned tale_food(const Tale *t) {           /* all there is */
    unsigned sum = 0;
    for (int p = 0; p < TALE_PEOPLE; p++) sum += (unsigned)t->count[p];
    return sum;
}

/* Condition x, 1 or 0. */
static inline unsigned tale_condition(const Tale *t, char x) {
    const int here = t->where[t->a];
    const int holder = t->holder[t->t];
    const int owner = t->owner[t->t];
    const unsigned a = tale_one(t->a);
    const unsigned b = t->b == t->a ? 0 : tale_one(t->b);
    switch (x) {
    /* person b, place p, what a has */
    case 's': return t->count[t->b] > 0;
    case 'q': return !(tale_at(t, t->p) & ~a & ~b);         /* alone there */
    case 'n': return t->p == here;                          /* near */
    case 'f': return t->p != here;                          /* far */
    case 'v': return tale_held(t, t->a) || t->count[t->a] > 1;
    /* who has t */
    case 'k': return holder == t->a;
    case 'i': return b && holder == t->b;
    case 'l': return holder >= TALE_PEOPLE;
    case 'j': return holder < TALE_PEOPLE && !(tale_one(holder) & (a | b));
    /* whose t is */
    case 'y': return owner == t->a;
    case 'x': return b && owner == t->b;
    case 'z': return !(tale_one(owner) & (a | b));
    /* the story */
    case 'M': return (unsigned)t->free;
    case 'I': return (unsigned)t->idle[t->a];
    case 't': return (unsigned)t->thanks;
    case '7':
    case '8':
    case '9': return t->events >= 2 * (x - '3');
    default: return (unsigned)t->kinds >> (x - '0') & 1;
    }
}

/* Set x of people, things, places or numbers; or condition x. */
static inline unsigned tale_set(const Tale *t, char x) {
    const int here = t->where[t->a];
    const unsigned a = tale_one(t->a);
    const unsigned b = t->b == t->a ? 0 : tale_one(t->b);
    const unsigned last = t->last < 0 ? 0 : tale_one(t->last);
    const unsigned everybody = (1 << TALE_PEOPLE) - 1;
    const unsigned all = (1 << TALE_THINGS) - 1;
    const unsigned held = tale_held(t, t->a);
    const unsigned lying = tale_held(t, TALE_PEOPLE + here);
    const unsigned below = (1u << t->count[t->a]) - 1;  /* less than a has */
    switch (x) {
    /* people */
    case 'E': return everybody;
    case 'O': return everybody & ~a;
    case 'L': return last;                                  /* whom "she" is */
    case 'V': return everybody & ~last;
    case 'K': return 2 & ~last;                             /* the relative */
    case 'J': return 8 & ~last;                             /* the trader */
    case 'W': return tale_at(t, here) & ~a;
    case 'A': return everybody & ~tale_at(t, here);
    case 'U': return tale_at(t, -1);
    case 'o': return tale_at(t, t->p) & ~a & ~b;
    case 'd': return everybody & ~tale_all(t->count, TALE_PEOPLE, 0);
    case 'c': return tale_set(t, 'd') & ~a;
    case 'N': return everybody & ~tale_owners(t);
    /* things */
    case 'T': return all;
    case 'Z': return all & ~held;
    case 'H': return held;
    case 'h': return held & ~tale_all(t->owner, t->things, t->b);
    case 'R': return tale_held(t, t->b);
    case 'r': return tale_held(t, t->b) & ~tale_one(t->t);
    case 'S': return all & ~held & ~lying;
    case 'F': return lying & ~tale_one(t->fresh);
    case 'Y': return tale_carried(t);
    case 'X': return tale_carried(t) & ~held;
    /* places */
    case 'P': return 31 & ~tale_one(here);
    /* numbers: to eat, to give, to get; 1 .. 4, 3 .. 8 */
    case 'e': return below & 14;
    case 'g': return below & 30;
    case 'm': return t->count[t->a] && tale_food(t) + 3 <= TALE_MOST ? 14 : 0;
    case '4': return 0x1e;
    case '6': return 0x1f8;
    default: return tale_condition(t, x);
    }
}

/* Person a moves to place p, and b, who may be the same, goes along. */
static inline void tale_move(Tale *t) {
    t->where[t->a] = t->p;
    t->where[t->b] = t->p;
    t->idle[t->a] = 1;
    t->idle[t->b] = 1;
    t->moved = t->a;
}
/* A sentence about person a begins. */
static inline void tale_sentence(Tale *t) {
    t->b = t->a;
    t->c = t->a;
    t->last = t->a;
    t->p = t->where[t->a];
    t->free = t->moved != t->a;
    t->fresh = t->laid;
    t->moved = -1;
    t->laid = TALE_THINGS;
    t->thanks = 0;
}
/* The goal is to be fetched from where it lies, or from who has it. */
static inline void tale_fetch(Tale *t) {
    t->t = t->goal;
    t->a = 0;
    t->b = 0;
    t->p = t->holder[t->t] - TALE_PEOPLE;
    if (t->p >= 0) return;
    t->b = t->holder[t->t];
    t->p = t->where[t->b];
}
/* Person a has x of the food more, or less. */
static inline void tale_count(Tale *t, int x) {
    t->count[t->a] += x;
    t->n = t->count[t->a];
}
static inline void tale_forget(Tale *t) {               /* who is who */
    t->a = 0;
    t->b = 0;
    t->c = 0;
}

/* Change x of the facts. */
static inline void tale_change(Tale *t, char x) {
    if (x == 's') tale_sentence(t);
    if (x == 'z') tale_forget(t);
    if (x == 'm') tale_move(t);
    if (x == 'i') t->idle[t->a] = 0;
    if (x == 'p') t->p = TALE_PLACES - 1;
    if (x == 'e') t->evening = 1;
    /* food */
    if (x == 'a') t->count[t->a] = t->n;
    if (x == 'b') t->count[t->b] = t->n;
    if (x == 'n') t->n = t->count[t->b];
    if (x == 'f') t->count[t->b] += t->n;               /* a gives to b */
    if (x == '+') tale_count(t, t->n);
    if (x == '-' || x == 'f') tale_count(t, -t->n);
    /* things */
    if (x == 'h') t->holder[t->t] = t->a;
    if (x == 't') t->holder[t->t] = t->b;
    if (x == 'l') t->holder[t->t] = TALE_PEOPLE + t->where[t->a];
    if (x == 'l') t->laid = t->t;
    if (x == 'f' || x == 't') t->thanks = 1;
    if (x == 'r') t->thanks = 0;
    if (x == 'g') t->goal = t->t;
    if (x == 'G') tale_fetch(t);
    /* a kind of question was asked */
    if (x >= '0' && x <= '9') t->kinds &= ~(1 << (x - '0'));
}

/* ---- telling facts ------------------------------------------------------- */

/* Writes n bytes, or reads exactly these; if there is no room or others stand
 * there, the tale has failed. */
static inline void tale_put(Tale *t, const char *s, size_t n) {
    if (t->failed) return;
    t->failed = n > t->cap - t->at || (!t->out && memcmp(t->in + t->at, s, n));
    if (t->failed) return;
    if (t->out) memcpy(t->out + t->at, s, n);
    t->at += n;
}
static inline void tale_word(Tale *t, const char *s) {
    tale_put(t, s, strcspn(s, "|/"));
}

/* The answer to a question of that kind: a place, a number or a person. */
static inline const char *tale_answer(const Tale *t, int kind, int value) {
    static const char numbers[] =
        "none|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve";
    if (kind == CORPUS_WHERE) return t->place[value];
    return kind == CORPUS_MANY ? tale_nth(numbers, '|', value) : t->name[value];
}

/* Notes a question and three wrong answers: people or places of the story,
 * numbers it has told, others only if these are too few. */
static inline void tale_note(Tale *t, int kind, int value) {
    const int many = kind == CORPUS_MANY;
    int among = TALE_PEOPLE;
    if (kind == CORPUS_WHERE) among = TALE_PLACES;
    if (many) among = 9;
    const int turn = (int)(rng_u64(~t->key, t->n_marks) % (unsigned)among);
    TaleMark *mark = &t->mark[t->n_marks++];
    unsigned out = tale_one(value);     /* what can be no wrong answer */
    int n = 0;
    for (int k = 0; n < 3; k++) {
        const int guess = (turn + k) % among + many;
        if (out >> guess & 1) continue;
        if (many && k < among && !(t->told >> guess & 1)) continue;
        out |= tale_one(guess);
        mark->wrong[n++] = guess;
    }
    mark->at = t->at;
    mark->kind = kind;
    mark->value = value;
    if (many) t->told |= tale_one(value);
}
/* Tells an answer that the facts force, with the space before it. */
static inline void tale_force(Tale *t, int kind, int value) {
    if (!t->peek && !t->failed && t->n_marks < TALE_MARKS)
        tale_note(t, kind, value);
    tale_put(t, " ", 1);
    tale_word(t, tale_answer(t, kind, value));
}

/* Names person p. If that is another of the subject's gender, "she" or "he" is
 * no longer clear. */
static inline void tale_name(Tale *t, int p) {
    if (!t->peek && p != t->a && t->boy[p] == t->boy[t->a]) t->last = -1;
    tale_word(t, t->name[p]);
}

/* Pronoun x: h H s S m are he He his His him for a; j J are he He for b, K is
 * He for c. */
static inline void tale_pronoun(Tale *t, char x) {
    static const char letters[] = "hHsSmjJ....K";
    static const char *const forms[2] = {"she|She|her|Her|her",
                                         "he|He|his|His|him"};
    const char *found = strchr(letters, x);
    const int form = found ? (int)(found - letters) : 0;
    const int person = form < 5 ? t->a : form < 10 ? t->b : t->c;
    tale_word(t, tale_nth(forms[t->boy[person]], '|', form % 5));
}
/* What one does at place p: "watch the ducks", or in the past. */
static inline void tale_sight(Tale *t, bool past) {
    const char *place = t->place[t->p];
    tale_word(t, tale_nth(place, '/', 1));
    if (past) tale_put(t, "ed", 2);
    tale_word(t, tale_nth(place, '/', 2));
}
/* Whose thing t is: "her" or "Mia's". */
static inline void tale_owned(Tale *t) {
    if (t->owner[t->t] == t->a) {
        tale_pronoun(t, 's');
        return;
    }
    tale_name(t, t->owner[t->t]);
    tale_put(t, "'s", 2);
}
/* Who else is at place p: "Ida and Ben were". */
static inline void tale_others(Tale *t) {
    const unsigned there = tale_set(t, 'o');
    for (int p = 0; p < TALE_PEOPLE; p++) {
        if (!(there >> p & 1)) continue;
        tale_name(t, p);
        if (there >> p > 1) tale_put(t, " and ", 5);
    }
    tale_word(t, there & (there - 1) ? " were" : " was");
}

static inline void tale_adjective(Tale *t) {           /* "red " */
    tale_word(t, tale_nth(t->adjective[t->t], ' ', 1));
    tale_put(t, " ", 1);
}
static inline void tale_number(Tale *t) {               /* "two" */
    tale_word(t, tale_answer(t, CORPUS_MANY, t->n));
    if (!t->peek) t->told |= tale_one(t->n);
}

/* Fact x. */
static inline void tale_fact(Tale *t, char x) {
    const int holder = t->holder[t->t];
    const int lies = holder - TALE_PEOPLE;  /* there, if not below 0 */
    if (strchr("hHsSmjJK", x)) tale_pronoun(t, x);
    /* people */
    if (x == 'A') tale_name(t, t->a);
    if (x == 'B') tale_name(t, t->b);
    if (x == 'C') tale_name(t, t->c);
    if (x == 'Z') tale_name(t, 0);
    if (x == 'T') tale_word(t, tale_nth(t->word['t' & 31], ' ', 1)); /* brave */
    if (x == 'w') tale_others(t);
    /* things and food: her; red kite; two plums */
    if (x == 'o') tale_owned(t);
    if (x == 'r') tale_adjective(t);
    if (x == 'r' || x == 't') tale_word(t, t->noun[t->t]);
    if (x == 'n') tale_number(t);
    if (x == 'F') tale_word(t, tale_nth(t->word['f' & 31], '/', t->n == 1));
    /* places: at the mill; the mill; watch the ducks, watched the ducks */
    if (x == 'p') tale_word(t, t->place[t->p]);
    if (x == 'q') tale_word(t, tale_nth(t->place[t->p], ' ', 1));
    if (x == 'D' || x == 'd') tale_sight(t, x == 'd');
    /* answers */
    if (x == 'X') tale_force(t, CORPUS_HOLDS, holder);
    if (x == 'M') tale_force(t, CORPUS_MANY, t->n);
    if (x == 'Y') tale_force(t, CORPUS_WHOSE, t->owner[t->t]);
    if (x == 'W') tale_force(t, CORPUS_WHERE, t->where[t->c]);
    if (x == 'Q')
        tale_force(t, CORPUS_WHERE, lies < 0 ? t->where[holder] : lies);
}

/* ---- telling: templates, choices, and the two ways of deciding ----------- */

/* The end of the alternative at s. */
static inline const char *tale_skip(const char *s) {
    for (int depth = 0;; s++) {
        s += strcspn(s, "[|]");
        if (!*s || (!depth && *s != '[')) return s;
        depth += (*s == '[') - (*s == ']');
    }
}
static inline void tale_offer(Tale *t, TaleOption o) {
    if (t->n_options == TALE_OPTIONS)
        die("corpus: a choice among more than %d", TALE_OPTIONS);
    t->option[t->n_options++] = o;
    t->total += o.weight;
}

/* Offers the words of list x that no person, thing or place of the story has,
 * each followed by rest. */
static inline void tale_words(Tale *t, char x, unsigned weight, int value,
                              const char *rest) {
    unsigned k = 1;
    for (const char *s = tale_lists[(int)x]; *s; s += *s == '|') {
        bool taken = false;
        for (size_t i = 0; i < t->n_taken; i++) taken |= t->taken[i] == s;
        const TaleOption o = {s, rest, &t->any, value, weight * (2 + 8 / k)};
        if (!taken) tale_offer(t, o);
        s += strcspn(s, "|");
        k++;
    }
}

/* The role that a letter names. */
static inline int *tale_role(Tale *t, char x) {
    switch (x) {
    case 'a': return &t->a;
    case 'b': return &t->b;
    case 'c': return &t->c;
    case 't': return &t->t;
    case 'p': return &t->p;
    default: return &t->n;
    }
}
/* Offers the alternatives at s whose conditions hold. Returns where they
 * end. */
static inline const char *tale_may(Tale *t, const char *s) {
    for (;; s++) {
        unsigned weight = 0;
        unsigned set = 1;           /* an alternative for each member */
        int *what = &t->any;
        for (; *s >= '0' && *s <= '9'; s++)
            weight = 10 * weight + (unsigned)(*s - '0');
        if (!weight) weight = 1;
        for (; *s == '?'; s += 2)
            if (!tale_set(t, s[1])) set = 0;
        if (*s == '*') {
            what = tale_role(t, s[1]);
            if (set) set = tale_set(t, s[2]);
            s += 3;
        }
        if (set && *s == '#') tale_words(t, s[1], weight, 0, s + 2);
        else
            for (int k = 0; set >> k; k++)
                if (set >> k & 1)
                    tale_offer(t, (TaleOption){s, "", what, k, weight});
        s = tale_skip(s);
        if (*s != '|') return s;
    }
}

static inline void tale_tell(Tale *t, const char *s);

/* Closes the options offered: one is decided on and told, its logarithm added.
 * Returns it. */
static inline TaleOption tale_choose(Tale *t) {
    if (!t->n_options) die("corpus: nothing to choose from");
    const TaleOption o = t->option[t->decide(t)];
    t->nats += det_log((double)t->total / o.weight);
    t->n_options = 0;
    t->total = 0;
    *o.what = o.value;
    tale_tell(t, o.text);
    tale_tell(t, o.rest);
    return o;
}

/* A choice from list x; G is a name of either kind, R one that fits the
 * relative. Names go into the facts. */
static inline void tale_take(Tale *t, char x) {
    char kin = 0;           /* sister, brother or cousin, who is either */
    if (x == 'R') kin = *t->word['k' & 31];
    if (x == 'G') kin = 'c';
    if (x == 'g' || kin == 's' || kin == 'c') tale_words(t, 'g', 1, 0, "");
    if (x == 'b' || kin == 'b' || kin == 'c') tale_words(t, 'b', 1, 1, "");
    if (!t->n_options) tale_words(t, x, 1, -1, "");
    const TaleOption o = tale_choose(t);
    const bool person = o.value >= 0;
    if (person) {
        t->boy[t->people] = o.value;
        t->name[t->people++] = o.text;
    }
    if (x == 'c') t->adjective[t->things] = o.text;
    if (x == 'n') {
        t->owner[t->things] = t->a;
        t->holder[t->things] = t->a;
        t->noun[t->things++] = o.text;
    }
    if (x == 'l') {
        if (t->places < TALE_PEOPLE) t->where[t->a] = t->places;
        t->place[t->places++] = o.text;
    }
    if (person || strchr("cnl", x)) t->taken[t->n_taken++] = o.text;
    t->word[x & 31] = o.text;
}

/* Tells a template, as far as its end or, when peeking, its first choice. */
static inline void tale_tell(Tale *t, const char *s) {
    while (!strchr("|]/", *s)) {                /* true at the end of s, too */
        const size_t n = strcspn(s, "[]|/#$&^%`");
        tale_put(t, s, n);
        s += n;
        if (strchr("|]/", *s) || (t->peek && strchr("[#%^", *s))) return;
        const char sign = *s;
        const char letter = s[1];
        if (sign == '`') tale_put(t, "\"", 1);
        if (sign == '#') tale_take(t, letter);
        if (sign == '$') tale_fact(t, letter);
        if (sign == '&') tale_word(t, t->word[letter & 31]);
        if (sign == '%') tale_tell(t, tale_rules[(int)letter]);
        if (sign == '^') tale_change(t, letter);
        if (sign == '[') {
            s = tale_may(t, s + 1);
            tale_choose(t);
            s++;
        } else s += sign == '`' ? 1 : 2;
    }
}

/* Tells option k as far as its first choice and goes back. Returns where that
 * ended, 0 if it failed. */
static inline size_t tale_peek(Tale *t, size_t k) {
    const TaleOption o = t->option[k];
    const size_t at = t->at;
    const int before = *o.what;
    *o.what = o.value;
    t->peek = true;
    tale_tell(t, o.text);
    tale_tell(t, o.rest);
    const size_t end = t->failed ? 0 : t->at;
    *o.what = before;
    t->peek = false;
    t->failed = false;
    t->at = at;
    return end;
}
/* The two ways to decide on an option: by the seed, and by the text. */
static inline size_t tale_draw(Tale *t) {
    uint64_t r = (rng_u64(t->key, t->choices++) >> 32) * t->total >> 32;
    size_t k = 0;
    while (r >= t->option[k].weight) r -= t->option[k++].weight;
    return k;
}
static inline size_t tale_read(Tale *t) {
    size_t found = 0;
    size_t fits = 0;
    for (size_t k = 0; k < t->n_options && !t->failed; k++) {
        if (!tale_peek(t, k)) continue;
        found = k;
        fits++;
    }
    if (fits != 1) t->failed = true;
    return found;
}

/* ---- whole stories ------------------------------------------------------- */

static inline Tale tale_new(uint64_t seed, uint64_t index, char *out,
                            size_t cap) {
    Tale t = {.out = out, .cap = cap, .decide = tale_draw};
    t.key = rng_u64(rng_key(seed, "corpus"), index);
    for (int p = 0; p < TALE_PEOPLE; p++) {
        t.where[p] = -1;
        t.idle[p] = 1;
    }
    t.last = -1;
    t.moved = -1;
    t.laid = TALE_THINGS;
    t.kinds = (1 << CORPUS_KINDS) - 1;
    return t;
}
static inline void tale_story(Tale *t) {
    tale_tell(t, "%I");
    for (t->events = 1; !t->evening; t->events++) {
        const bool goes_on = t->events < TALE_EVENTS;
        tale_tell(t, goes_on ? "%B" : "\n\nThe day was almost over^e");
    }
    tale_tell(t, "%Q%C");
}

/* Writes story `index` of the text that seed names; *nats is minus the natural
 * logarithm of its probability. Returns its length in bytes, at most
 * CORPUS_MAX; dies if cap bytes do not hold it. */
static inline size_t corpus_story(uint64_t seed, uint64_t index, char *out,
                                  size_t cap, double *nats) {
    Tale t = tale_new(seed, index, out, cap);
    tale_story(&t);
    if (t.failed)
        die("corpus: story %llu needs more than %zu bytes",
            (unsigned long long)index, cap);
    *nats = t.nats;
    return t.at;
}

/* True if the n bytes are exactly one story; *nats is then what corpus_story
 * said, to the last bit. */
static inline bool corpus_parse(const char *text, size_t n, double *nats) {
    Tale t = tale_new(0, 0, NULL, n);
    t.in = text;
    t.decide = tale_read;
    tale_story(&t);
    *nats = t.nats;
    return !t.failed && t.at == n;
}

/* Writes a story as corpus_story does, its *n bytes, and every question in it
 * whose answer the facts force, in order. Returns how many these are,
 * TALE_MARKS at most. */
static inline size_t corpus_questions(uint64_t seed, uint64_t index, char *out,
                                      size_t *n, CorpusItem *item) {
    Tale t = tale_new(seed, index, out, CORPUS_MAX);
    tale_story(&t);
    *n = t.at;
    for (size_t i = 0; i < t.n_marks; i++) {
        const TaleMark *mark = &t.mark[i];
        item[i].at = mark->at;
        item[i].kind = mark->kind;
        for (int k = 0; k < 4; k++) {
            const int value = k ? mark->wrong[k - 1] : mark->value;
            const char *s = tale_answer(&t, mark->kind, value);
            const int bytes = (int)strcspn(s, "|/");
            snprintf(item[i].option[k], CORPUS_WORD, " %.*s", bytes, s);
        }
    }
    return t.n_marks;
}
#endif
