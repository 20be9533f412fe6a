/* corpus.h: the built-in text: short stories, as many as asked for, whose probability is known exactly.
 *
 * A small GPT needs a text to learn from. This one comes from a written grammar with stated weights, so that
 * its entropy, the loss no model can beat, is known, and so is the right answer to every question in it. It
 * refuses to be a language generator: one kind of story, a day in a village. Four people, three things and
 * some food are introduced; people walk about, give, leave, find and eat; in the evening somebody asks who
 * has what and who is where. To predict a word one must have followed the facts: where people went, who holds
 * a thing, whose it is, what is left of seven plums.
 *
 * The property everything rests on: *the text determines every choice that made it*. One piece of code walks
 * the grammar and never asks whether it writes or reads. The grammar is a set of templates:
 *
 *     text      stands in the story as it is; ` stands for a double quote
 *     [..|..]   a choice between alternatives, templates again. Before it one may have its weight (1 if none
 *               is written), then ?x, on condition that set x is not empty, then *rx: one such alternative
 *               for every member of set x, which gets role r: a the subject of the sentence, b and c other
 *               people, t a thing, p a place, n a number
 *     #x        a choice from word list x; word k = 1, 2 .. has weight 2 + 8/k, rounded down; names already
 *               given are left out. An alternative "#x text" stands for one with every word
 *     $x &x     text without choice: fact x, the last word chosen from list x
 *     ^x %x     change x of the facts; template x
 *
 * tale_lists, tale_rules, tale_set, tale_fact and tale_change say what the letters mean. A choice is decided
 * by tale_draw from (seed, story, number of the choice), or by tale_read, which takes the one alternative
 * whose text stands at the cursor. For that, no alternative may begin as another one does, as far as its own
 * first choice, % or ^; tale_read refuses a text that fits two, and the test compares every pair it meets.
 * Every choice adds log(total weight / weight) to one sum in one order, so writer and reader agree to the
 * last bit.
 *
 * An example. "[3One|Early one] #w day" becomes "One windy day" with probability 3/4 x 6/48 = 0.094, or 2.367
 * nats: windy is the second of fourteen words for the weather, which weigh 10, 6, 4, 4, 3, 3, 3, 3 and six
 * times 2, together 48. Reading finds One and then windy at the cursor and adds the same numbers; "One windy
 * night" fails at the n. (Drawing is exact to 2^-32 of the total weight.) A story ends with the newline after
 * its last sentence: nothing else can follow there, so to end has probability one. What stands between
 * stories is the loader's business. */
#ifndef CORPUS_H
#define CORPUS_H
#include "../base/base.h"

enum { CORPUS_MAX = 4096, CORPUS_WORD = 32 };           /* no story, no answer has more bytes */
enum { CORPUS_HOLDS, CORPUS_WHERE, CORPUS_MANY, CORPUS_WHOSE, CORPUS_KINDS };

typedef struct {            /* which option continues the story's first `at` bytes? The first of four */
    char option[4][CORPUS_WORD];                        /* each begins with a space */
    size_t at;
    int kind;
} CorpusItem;

enum { TALE_PEOPLE = 4, TALE_THINGS = 3, TALE_PLACES = 5, TALE_OPTIONS = 96, TALE_MARKS = 32 };
enum { TALE_MOST = 12, TALE_EVENTS = 18 };              /* the largest number; sentences before evening */
typedef struct {
    const char *text, *rest;        /* templates; taking the option sets *what = value and tells both */
    int *what, value;
    unsigned weight;
} TaleOption;

typedef struct Tale {
    char *out;                      /* written to, or NULL: then in is read */
    const char *in;
    size_t at, cap;                 /* the cursor; bytes that out or in has */
    uint64_t key, choices;
    double nats;
    bool failed, peek;              /* peek: tell only as far as the first choice */
    size_t (*decide)(struct Tale *);
    TaleOption option[TALE_OPTIONS];
    size_t n_options, n_taken, n_marks;
    unsigned total, told;           /* weight; the set of numbers told */
    /* The facts. A thing's holder is a person, or TALE_PEOPLE + the place where it lies. */
    const char *word[32], *name[TALE_PEOPLE], *adjective[TALE_THINGS], *noun[TALE_THINGS];
    const char *place[TALE_PLACES], *taken[16];      /* taken: all these names */
    int people, things, places, boy[TALE_PEOPLE], where[TALE_PEOPLE], count[TALE_PEOPLE], idle[TALE_PEOPLE];
    int owner[TALE_THINGS], holder[TALE_THINGS], goal, a, b, c, t, p, n, any;
    int last, moved, free, laid, fresh, thanks, events, evening, kinds;
    struct { size_t at; int kind, value, wrong[3]; } mark[TALE_MARKS];      /* the questions */
} Tale;

/* ---- the words and the grammar ------------------------------------------------------------------------ */
/* A word has fields between slashes; the first is told. */
static const char *const tale_lists[128] = {
    ['l'] = "in the garden/water/ the roses|by the pond/watch/ the ducks|at the market/look/ at the cheeses|"
        "in the barn/brush/ the donkey|at the mill/count/ the sacks|in the orchard/climb/ a tree|in the "
        "meadow/pick/ some daisies|at the harbour/paint/ a boat|in the library/listen/ to a story|on the "
        "hill/look/ at the clouds|by the river/splash/ in the water|in the bakery/sniff/ the warm bread|on "
        "the beach/collect/ shells|in the forest/follow/ a deer|on the bridge/wait/ for the swans|in the "
        "stable/comb/ the ponies|at the station/visit/ the engine driver|by the well/wash/ some socks|at the "
        "lighthouse/talk/ to the gulls|in the square/greet/ the pigeons",
    ['n'] = "kite|ball|drum|book|doll|lantern|whistle|map|scarf|basket|umbrella|flute|key|mirror|bucket|rope|"
        "trumpet|puppet|mask|blanket|box|spoon|teapot|cup|ring|compass|candle|pillow|jug|fan|paper boat",
    ['f'] = "apples/apple|plums/plum|nuts/nut|cherries/cherry|pears/pear|peaches/peach|biscuits/biscuit|buns/"
        "bun|strawberries/strawberry|carrots/carrot|figs/fig|radishes/radish|pancakes/pancake|eggs/egg",
    ['x'] = "the sea|the stars|supper|winter|a ship|the moon|a secret|summer|an old song|faraway lands|a "
        "talking cat|pirates|snow|a flying carpet|giants|school|dragons|the king|ghosts|trains|a lost city",
    ['c'] = "a red|an old|a blue|a new|a green|a tiny|a yellow|a shiny|a white|a silver|an orange|a pretty|a "
        "golden|a heavy|a painted|a purple|a strange|an ugly|a pink|an expensive|a striped|a brown",
    ['g'] = "Mia|Nora|Lily|Ella|Ruth|Zoe|Clara|Ida|Hanna|Sofia|Maya|Alice|Rosa|Daisy|Vera|Greta|Olive|Pearl|"
        "Tess|June|Wendy|Freya|Kira|Bella|Emma|Agnes|Lotte|Ines|Petra|Nell|Astrid|Carmen|Edith",
    ['h'] = "near the sea|in a small house|behind the church|at the edge of a wood|on an island|below a "
        "mountain|in a white cottage|by a busy road|above a shop|on a hill farm|in a crooked house",
    ['b'] = "Tom|Ben|Max|Leo|Finn|Oscar|Hugo|Jack|Noah|Paul|Sam|Theo|Felix|Adam|Ivan|Otto|Luke|Karl|Emil|"
        "Ravi|Dan|Peter|Nils|Walter|Simon|Erik|Jonas|Victor|Anton|Omar|Hans|Luis|Rolf",
    ['i'] = "a small|an old|a sleepy|a hungry|a shy|a white|a young|an angry|a fat|a wet|a clever|an odd|a "
        "lame|a brown|a huge|a lost|a merry|a lazy|a blind|a tame|a noisy|a quiet",
    ['y'] = "hare|fox|owl|hedgehog|squirrel|cat|otter|robin|badger|frog|heron|snail|goose|dog|eagle|beetle|"
        "mole|stork|bat|crow|goat|swan|toad|moth|newt|calf|pony|lamb|crab|wasp",
    ['u'] = "waiting|resting|singing|dancing|telling stories|playing cards|reading|laughing|dozing|whistling",
    ['m'] = "happy|tired|hungry|proud|sleepy|sad|calm|excited|thirsty|lonely|nervous|merry|brave|bored|cold",
    ['j'] = "baker|doctor|teacher|farmer|painter|tailor|gardener|sailor|miller|potter|singer|shepherd|cook",
    ['o'] = "hot soup|lemonade|cake|honey bread|roast corn|cocoa|ice cream|pie|cider|cheese|jelly|porridge",
    ['v'] = "went|walked|ran|hurried|strolled|skipped|wandered|rushed|hopped|marched|raced|trotted|tiptoed",
    ['q'] = "music|laughter|a juggler|a fiddler|a clown|storytelling|a puppet show|singing|a brass band",
    ['z'] = "hide-and-seek|cards|tag|chess|football|leapfrog|marbles|pirates|charades|dominoes|skittles",
    ['t'] = "a kind|a brave|a clever|a funny|an honest|a shy|a quick|an active|a gentle|a proud|a wise",
    ['d'] = "lovely|strange|long|beautiful|wonderful|busy|funny|terrible|perfect|peaceful|noisy|dull",
    ['p'] = "feast|dance|parade|concert|bonfire|fair|picnic|wedding|birthday party|play|magic show",
    ['w'] = "sunny|windy|cold|warm|rainy|foggy|bright|frosty|cloudy|quiet|stormy|snowy|grey|golden",
    ['a'] = "straight|over|alone|happily|down|quietly|up|proudly|away|eagerly|cheerfully|back",
    ['r'] = "traveller|stranger|merchant|soldier|pedlar|monk|hunter|juggler|widow|fiddler",
    ['s'] = "said|answered|replied|whispered|laughed|cried|muttered|smiled",
    ['e'] = "mother|grandmother|father|grandfather|aunt|uncle", ['k'] = "sister|brother|cousin",
};
static const char *const tale_rules[128] = {
    ['I'] = /* opening */ "[9Once upon a time|6Long ago|4Many years ago|4In the old days|3In a faraway land] "
        "there [3was|2lived] #t [girl [3named|2called] #g|boy [3named|2called] #b]. $H lived #h with $s #k "
        "#R. [3$S best friend was|2Next door lived|2$H often played with] #G, and the #j was [3called|"
        "2named] #G.\n\n%O %O %O [*aN$A ][3carried|3had|2found|2bought] [*n6$n]^a #f, and [*bO$B ]had "
        "[*n4$n]^b.\n\nOne #w [6morning|3day|2Saturday|2Sunday|Monday], %P, %P, %P and %P. [4In the evening|"
        "4That night|3At sunset|2Later] there would be a #p #l, and^z $A [3wanted|3hoped|2had promised] to "
        "bring [4*tTthe $t|2*tTthe $r]^g.\n\n[3At first|2Early on|2Before long|2After breakfast], [*aE$A ]%E",
    ['O'] = /* who owns what */ "[*aN$A ][6had|4owned|3loved|2kept] #c #n[5.|4 from $s #e.]",
    ['P'] = /* who is where */ "[*aU$A ][6was|4sat|3stood|3waited|2sang|2slept|2rested|danced] #l",
    ['B'] = /* the next sentence, or evening */ "[8*aV $A %E|3*aK $Z's &k %E|3*aJ The &j %E|20*aL $H %E|5 "
        "Then %N|5 Soon %N|3 Later %N|2 After that, %N|6\n\nA little later, %N|4\n\nNext, %N|16?t `Thank "
        "you, $A,`%R|9?t `Thank you very much,`%R|9?7\n\nAt last the sun went down^e|9?8\n\nSlowly it grew "
        "dark^e|25?9\n\nThe day was almost over^e]",
    ['N'] = /* about whom */ "[4*aE$A |2*aJthe &j |*aK$Z's &k ]%E",
    ['E'] = /* an event */ "^s[2?M#v %G|30?M?Hcarried %H %G|15?M?Htook %H %G|20?M?Wand [*bW$B ]#v %G|"
        "99?W?vgave %V|24?Hleft %H%L|10?Hforgot %H%L|110?Ffound %F|50?Wasked [*bW$B ]%A|10?mwas given [*nm$n "
        "more $F]^+ by a #r[3.| and now had$M.]|10?eate [*ne$n $F]^-[3.| and had$M left.]|20?I$d^i[4.|2 for "
        "a while.|2 until $h was #m.|*bW with $B.]|14thought about #x and #i #y.|16saw #i #y.|16?Wtold "
        "[*bW$B ]about #i #y and #x.|14?Wplayed #z with [*bW$B].|20drew #i #y.|12sang a #d song about #x.|"
        "16said, `[2What a #d day!|I am so #m!|Look, #i #y!|I dreamt of #i #y.|I like #x.]`]",
    ['H'] = /* her things */ "[4*tHthe $t|2*tHthe $r|2*tH$o $t]",
    ['G'] = /* to a place */ "[40to|#a to] [*pP$q]^m[7.|2 to $D.|4 to look for #i #y.|4?o, where $w #u.|2?q, "
        "but nobody was there.]",
    ['V'] = /* gives */ "[*bW$B ][4*tHthe $t%T|2*tHthe $r%T|2*th$o $t%T|2*ng$n $F^f[5.| and kept$M.]]",
    ['T'] = /* how */ "^t[7.| gladly.| for a while.|5?r and got [4*trthe $t|2*trthe $r]^h in return.]",
    ['L'] = /* leaves */ "^l [3$p|3there|under a [bench|bush|blanket] $p|behind a [wall|tree] $p].",
    ['F'] = /* finds */ "[4*tFthe $t|2*tFthe $r|2*tF$o $t] [3there|2$p]^h and [picked it up|took it].",
    ['A'] = /* asks */ "[2?Sfor [4*tSthe $t|2*tSthe $r].[?i `Here you are,`^h|?j `I think$X has it,`|?l `It "
        "is$Q,`]|2?Awhere [*cA$C was]. `$K is$W,`|2?show many &f $j had.^n `I have$M,`|2?Rabout [4*tRthe $t|"
        "2*tRthe $r]. `It is[?x mine|?y yours|?z$Y's],`|how $j was. `I am #m,`]%R",
    ['R'] = /* said */ " #s $B.^r",
    ['Q'] = /* evening */ ", and it was time for the &p. $Z's #e [3had many questions|2wanted to hear "
        "everything|came along].^z%K^z%K^z%K",
    ['K'] = /* a question, or what answers it */ "[9?0?X `Who has^0 [4*tXthe $t|2*tXthe $r]?` `[3I think$X "
        "has it|2It is with$X].`|3?0?Y By now,^0 [4*tYthe $t|2*tYthe $r] was [2with|in the hands of]$X.|9?1 "
        "`Where is^1 [4*cO$C?` `$K is$W|2*tZthe $t?` `It is$Q|*tZthe $r?` `It is$Q].`|3?1 At that moment,^1 "
        "[4*cE$C was$W|2*tTthe $t was$Q|*tTthe $r was$Q].|9?2?c `How many &f does^2 [*bc$B]^n have?` `$J "
        "has$M.`|3?2 After all this,^2 [*bd$B]^n had$M $F.|9?3 `Whose^3 [4*tT$t|2*tT$r] is it?` `It is[?y "
        "mine|?z$Y's].`|3?3 Everybody knew that^3 [4*tTthe $t|2*tTthe $r] belonged to$Y.]",
    ['C'] = /* closing */ "^G\n\n[?k$A still had the $r|?n?i$B gave $m the $r|?n?l$A picked up the $r|?f[4So|"
        "2Then|That was why] $A #v to $q[?i, where $B gave $m the $r|?l and found the $r]], and^p off they "
        "went to the &p $p. There was #o and #q. ^z[At last|Afterwards|Before bedtime] [?y$A carried $s $t "
        "home|?z$A gave the $t back to$Y]. [3From that day on|2Ever since|From then on], $h was called $T $A "
        "[3in the village|2far and wide|by all].\n",
};

/* The text after the k-th bar of s: word k of a list, field k of a word. */
static inline const char *tale_nth(const char *s, char bar, int k) {
    while (k && *s) k -= *s++ == bar;
    return s;
}

/* ---- the facts ---------------------------------------------------------------------------------------- */
/* Sets are bits: those of n whose entry is value. */
static inline unsigned tale_all(const int *entry, int n, int value) {
    unsigned set = 0;
    for (int k = 0; k < n; k++) set |= (unsigned)(entry[k] == value) << k;
    return set;
}
static inline unsigned tale_at(const Tale *t, int place) { return tale_all(t->where, TALE_PEOPLE, place); }
static inline unsigned tale_held(const Tale *t, int holder) { return tale_all(t->holder, t->things, holder); }

/* Set x of people, things, places or numbers. As a condition it holds unless it is empty. */
static inline unsigned tale_set(const Tale *t, char x) {
    const int here = t->where[t->a], has = t->count[t->a], holder = t->holder[t->t], owner = t->owner[t->t];
    const unsigned a = 1u << t->a, b = t->b == t->a ? 0 : 1u << t->b, last = t->last < 0 ? 0 : 1u << t->last;
    const unsigned everybody = (1 << TALE_PEOPLE) - 1, all = (1 << TALE_THINGS) - 1;
    const unsigned held = tale_held(t, t->a), lying = tale_held(t, TALE_PEOPLE + here);
    unsigned set = 0;
    switch (x) {
    case 'E': return everybody;                 case 'O': return everybody & ~a;
    case 'L': return last;                      case 'V': return everybody & ~last;     /* whom "she" is */
    case 'K': return 2 & ~last;                 case 'J': return 8 & ~last;             /* relative, trader */
    case 'W': return tale_at(t, here) & ~a;     case 'A': return everybody & ~tale_at(t, here);
    case 'U': return tale_at(t, -1);            case 'o': return tale_at(t, t->p) & ~a & ~b;
    case 's': return t->count[t->b] > 0;        case 'q': return !tale_set(t, 'o');
    case 'c': return tale_set(t, 'd') & ~a;     case 'd': return everybody & ~tale_all(t->count, 4, 0);
    case 'N': for (int k = 0; k < t->things; k++) set |= 1u << t->owner[k];
        return everybody & ~set;                                                        /* owns no thing */
    case 'T': return all;                       case 'Z': return all & ~held;
    case 'H': return held;                      case 'h': return held & ~tale_all(t->owner, t->things, t->b);
    case 'R': return tale_held(t, t->b);        case 'r': return tale_held(t, t->b) & ~(1u << t->t);
    case 'S': return all & ~held & ~lying;      case 'F': return lying & ~(1u << t->fresh);
    case 'Y': for (int p = 0; p < TALE_PEOPLE; p++) set |= tale_held(t, p);
        return set;
    case 'X': return tale_set(t, 'Y') & ~held;  case 'P': return 31 & ~(1u << here);
    case 'n': return t->p == here;              case 'f': return t->p != here;          /* near, far */
    case 'k': return holder == t->a;            case 'i': return b && holder == t->b;   /* who has t */
    case 'l': return holder >= TALE_PEOPLE;     case 'j': return holder < 4 && !(1u << holder & (a | b));
    case 'y': return owner == t->a;             case 'x': return b && owner == t->b;    /* whose t is */
    case 'z': return !(1u << owner & (a | b));  case 'v': return held || has > 1;
    case 'e': return ((1u << has) - 1) & 14;    case 'g': return ((1u << has) - 1) & 30;    /* to eat, give */
    case 'm': for (int p = 0; p < TALE_PEOPLE; p++) set += (unsigned)t->count[p];       /* to get */
        return has && set + 3 <= TALE_MOST ? 14 : 0;
    case 'M': return (unsigned)t->free;         case 'I': return (unsigned)t->idle[t->a];
    case 't': return (unsigned)t->thanks;       case '4': return 0x1e;                  /* 1 .. 4; 3 .. 8 */
    case '7': case '8': case '9': return t->events >= 2 * (x - '3');
    case '6': return 0x1f8;                     default: return (unsigned)t->kinds >> (x - '0') & 1;
    }
}

/* Change x of the facts. */
static inline void tale_change(Tale *t, char x) {
    const int a = t->a, b = t->b;
    switch (x) {
    case 'a': t->count[a] = t->n; break;                case 'b': t->count[b] = t->n; break;
    case '+': t->n = t->count[a] += t->n; break;        case '-': t->n = t->count[a] -= t->n; break;
    case 'n': t->n = t->count[b]; break;                case 'i': t->idle[a] = 0; break;
    case 'f': t->count[b] += t->n, t->n = t->count[a] -= t->n, t->thanks = 1; break;
    case 't': t->holder[t->t] = b, t->thanks = 1; break;    case 'z': t->a = t->b = t->c = 0; break;
    case 'h': t->holder[t->t] = a; break;               case 'g': t->goal = t->t; break;
    case 'r': t->thanks = 0; break;
    case 'l': t->holder[t->t] = TALE_PEOPLE + t->where[a], t->laid = t->t; break;
    case 'm': t->where[a] = t->where[b] = t->p, t->idle[a] = t->idle[b] = 1, t->moved = a; break;
    case 'e': t->evening = 1; break;                    case 'p': t->p = TALE_PLACES - 1; break;
    case 's': t->b = t->c = t->last = a, t->p = t->where[a], t->free = t->moved != a, t->fresh = t->laid;
        t->moved = -1, t->laid = TALE_THINGS, t->thanks = 0;     /* a sentence about a */
        break;
    case 'G': t->t = t->goal, t->a = t->b = 0, t->p = t->holder[t->t] - TALE_PEOPLE;
        if (t->p < 0) t->b = t->holder[t->t], t->p = t->where[t->b];    /* fetch it there */
        break;
    default: t->kinds &= ~(1 << (x - '0'));
    }
}

/* Writes n bytes, or reads exactly these; if there is no room or others stand there, the tale has failed. */
static inline void tale_put(Tale *t, const char *s, size_t n) {
    if (t->failed) return;
    if (n > t->cap - t->at || (!t->out && memcmp(t->in + t->at, s, n))) { t->failed = true; return; }
    if (t->out) memcpy(t->out + t->at, s, n);
    t->at += n;
}
static inline void tale_word(Tale *t, const char *s) { tale_put(t, s, strcspn(s, "|/")); }
static inline const char *tale_answer(const Tale *t, int kind, int value) {
    return kind == CORPUS_WHERE ? t->place[value] : kind != CORPUS_MANY ? t->name[value] :
        tale_nth("none|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve", '|', value);
}

/* Tells an answer that the facts force, with the space before it. Notes the question and three wrong answers:
 * people or places of the story, numbers it has told, others only if these are too few. */
static inline void tale_force(Tale *t, int kind, int value) {
    if (!t->peek && !t->failed && t->n_marks < TALE_MARKS) {
        const int many = kind == CORPUS_MANY, among = many ? 9 : kind == CORPUS_WHERE ? TALE_PLACES : 4;
        const int turn = (int)(rng_u64(~t->key, t->n_marks) % (unsigned)among);
        unsigned out = 1u << value;
        for (int k = 0, n = 0; n < 3; k++) {
            const int guess = (turn + k) % among + many;
            if (out >> guess & 1 || (many && k < among && !(t->told >> guess & 1))) continue;
            out |= 1u << guess, t->mark[t->n_marks].wrong[n++] = guess;
        }
        t->mark[t->n_marks].at = t->at, t->mark[t->n_marks].kind = kind, t->mark[t->n_marks++].value = value;
        t->told |= many ? 1u << value : 0;
    }
    tale_put(t, " ", 1), tale_word(t, tale_answer(t, kind, value));
}

/* Names person p. If that is another of the subject's gender, "she" or "he" is no longer clear. */
static inline void tale_name(Tale *t, int p) {
    if (!t->peek && p != t->a && t->boy[p] == t->boy[t->a]) t->last = -1;
    tale_word(t, t->name[p]);
}

/* Fact x. Pronouns: h H s S m are he He his His him for a; j J are he He for b, K is He for c. */
static inline void tale_fact(Tale *t, char x) {
    static const char letters[] = "hHsSmjJ....K";
    const char *const found = strchr(letters, x), *const place = t->place[t->p];
    const int holder = t->holder[t->t], form = found ? (int)(found - letters) : 0;
    const bool boy = t->boy[form < 5 ? t->a : form < 10 ? t->b : t->c], own = t->owner[t->t] == t->a;
    const unsigned there = x == 'w' ? tale_set(t, 'o') : 0;
    switch (x) {
    case 'A': tale_name(t, t->a); break;            case 'B': tale_name(t, t->b); break;
    case 'C': tale_name(t, t->c); break;            case 'Z': tale_name(t, 0); break;
    case 'r': tale_word(t, tale_nth(t->adjective[t->t], ' ', 1)), tale_put(t, " ", 1);          /* red kite */
        /* fallthrough */
    case 't': tale_word(t, t->noun[t->t]); break;                                      /* kite */
    case 'o': own ? tale_fact(t, 's') : tale_name(t, t->owner[t->t]), tale_put(t, "'s", own ? 0 : 2);
        break;                                                                         /* her, Mia's */
    case 'p': tale_word(t, place); break;           case 'q': tale_word(t, tale_nth(place, ' ', 1)); break;
    case 'D': case 'd': tale_word(t, tale_nth(place, '/', 1));                         /* watch the ducks */
        tale_put(t, "ed", x == 'd' ? 2 : 0), tale_word(t, tale_nth(place, '/', 2));
        break;
    case 'w': for (int p = 0; p < TALE_PEOPLE; p++)                                    /* Ida and Ben were */
            if (there >> p & 1) tale_name(t, p), tale_put(t, " and ", there >> p > 1 ? 5 : 0);
        tale_word(t, there & (there - 1) ? " were" : " was");
        break;
    case 'n': tale_word(t, tale_answer(t, CORPUS_MANY, t->n));                         /* two */
        if (!t->peek) t->told |= 1u << t->n;
        break;
    case 'F': tale_word(t, tale_nth(t->word['f' & 31], '/', t->n == 1)); break;        /* plums, plum */
    case 'T': tale_word(t, tale_nth(t->word['t' & 31], ' ', 1)); break;                /* brave */
    case 'X': tale_force(t, CORPUS_HOLDS, holder); break;   case 'M': tale_force(t, CORPUS_MANY, t->n); break;
    case 'Y': tale_force(t, CORPUS_WHOSE, t->owner[t->t]); break;
    case 'W': tale_force(t, CORPUS_WHERE, t->where[t->c]); break;
    case 'Q': tale_force(t, CORPUS_WHERE, holder < 4 ? t->where[holder] : holder - 4); break;
    default: tale_word(t, tale_nth(boy ? "he|He|his|His|him" : "she|She|her|Her|her", '|', form % 5));
    }
}

/* ---- telling: templates, choices, and the two ways of deciding ---------------------------------------- */
static inline const char *tale_skip(const char *s) {            /* the end of the alternative at s */
    for (int depth = 0;; s++) {
        s += strcspn(s, "[|]");
        if (!*s || (!depth && *s != '[')) return s;
        depth += (*s == '[') - (*s == ']');
    }
}
static inline void tale_offer(Tale *t, TaleOption o) {
    if (t->n_options == TALE_OPTIONS) die("corpus: a choice among more than %d", TALE_OPTIONS);
    t->option[t->n_options++] = o, t->total += o.weight;
}

/* Offers the words of list x that no person, thing or place of the story has, each followed by rest. */
static inline void tale_words(Tale *t, char x, unsigned weight, int value, const char *rest) {
    unsigned k = 1;
    for (const char *s = tale_lists[(int)x]; *s; s += *s == '|', k++) {
        bool taken = false;
        for (size_t i = 0; i < t->n_taken; i++) taken |= t->taken[i] == s;
        if (!taken) tale_offer(t, (TaleOption){s, rest, &t->any, value, weight * (2 + 8 / k)});
        s += strcspn(s, "|");
    }
}

/* Offers the alternatives at s whose conditions hold. Returns where they end. */
static inline const char *tale_may(Tale *t, const char *s) {
    for (;; s++) {
        unsigned weight = 0, set = 1;
        int *what = &t->any;
        for (; *s >= '0' && *s <= '9'; s++) weight = 10 * weight + (unsigned)(*s - '0');
        for (weight += !weight; *s == '?'; s += 2) if (!tale_set(t, s[1])) set = 0;
        if (*s == '*') {
            int *const roles[] = {&t->a, &t->b, &t->c, &t->t, &t->p, &t->n};
            what = roles[strcspn("abctpn", (char[]){s[1], 0})], set = set ? tale_set(t, s[2]) : 0, s += 3;
        }
        if (set && *s == '#') tale_words(t, s[1], weight, 0, s + 2);
        else for (int k = 0; set >> k; k++)
            if (set >> k & 1) tale_offer(t, (TaleOption){s, "", what, k, weight});
        s = tale_skip(s);
        if (*s != '|') return s;
    }
}

static inline void tale_tell(Tale *t, const char *s);
/* Closes the options offered: one is decided on and told, its logarithm added. Returns it. */
static inline TaleOption tale_choose(Tale *t) {
    if (!t->n_options) die("corpus: nothing to choose from");
    const TaleOption o = t->option[t->decide(t)];
    t->nats += det_log((double)t->total / o.weight);
    t->n_options = t->total = 0, *o.what = o.value;
    tale_tell(t, o.text), tale_tell(t, o.rest);
    return o;
}

/* A choice from list x; G is a name of either kind, R one that fits the relative. Names go into the facts. */
static inline void tale_take(Tale *t, char x) {
    const char kin = x == 'R' ? *t->word['k' & 31] : x == 'G' ? 'c' : 0;
    if (x == 'g' || kin == 's' || kin == 'c') tale_words(t, 'g', 1, 0, "");
    if (x == 'b' || kin == 'b' || kin == 'c') tale_words(t, 'b', 1, 1, "");
    if (!t->n_options) tale_words(t, x, 1, -1, "");
    const TaleOption o = tale_choose(t);
    if (o.value >= 0) t->boy[t->people] = o.value, t->name[t->people++] = o.text;
    if (x == 'c') t->adjective[t->things] = o.text;
    if (x == 'n') t->owner[t->things] = t->holder[t->things] = t->a, t->noun[t->things++] = o.text;
    if (x == 'l' && t->places < TALE_PEOPLE) t->where[t->a] = t->places;
    if (x == 'l') t->place[t->places++] = o.text;
    if (o.value >= 0 || strchr("cnl", x)) t->taken[t->n_taken++] = o.text;
    t->word[x & 31] = o.text;
}

/* Tells a template, as far as its end or, when peeking, its first choice. */
static inline void tale_tell(Tale *t, const char *s) {
    while (!strchr("|]/", *s)) {                                    /* (true at the end of s, too) */
        size_t n = strcspn(s, "[]|/#$&^%`");
        tale_put(t, s, n), s += n;
        if (strchr("|]/", *s) || (t->peek && strchr("[#%^", *s))) return;
        switch (*s++) {
        case '[': s = tale_may(t, s), tale_choose(t); break;
        case '#': tale_take(t, *s); break;
        case '$': tale_fact(t, *s); break;
        case '&': tale_word(t, t->word[*s & 31]); break;
        case '%': tale_tell(t, tale_rules[(int)*s]); break;
        case '^': tale_change(t, *s); break;
        default: tale_put(t, "\"", 1), s--;
        }
        s++;
    }
}

/* Tells option k as far as its first choice and goes back. Returns where that ended, 0 if it failed. */
static inline size_t tale_peek(Tale *t, size_t k) {
    const TaleOption o = t->option[k];
    const size_t at = t->at;
    const int before = *o.what;
    *o.what = o.value, t->peek = true;
    tale_tell(t, o.text), tale_tell(t, o.rest);
    const size_t end = t->failed ? 0 : t->at;
    *o.what = before, t->peek = t->failed = false, t->at = at;
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

/* ---- whole stories ------------------------------------------------------------------------------------ */
static inline Tale tale_new(uint64_t seed, uint64_t index, char *out, size_t cap) {
    Tale t = {.out = out, .cap = cap, .key = rng_u64(rng_key(seed, "corpus"), index), .decide = tale_draw};
    for (int p = 0; p < TALE_PEOPLE; p++) t.where[p] = -1, t.idle[p] = 1;
    t.last = t.moved = -1, t.laid = TALE_THINGS, t.kinds = (1 << CORPUS_KINDS) - 1;
    return t;
}
static inline void tale_story(Tale *t) {
    tale_tell(t, "%I");
    for (t->events = 1; !t->evening; t->events++)
        tale_tell(t, t->events < TALE_EVENTS ? "%B" : "\n\nThe day was almost over^e");
    tale_tell(t, "%Q%C");
}

/* Writes story `index` of the text that seed names; *nats is minus the natural logarithm of its probability.
 * Returns its length in bytes, at most CORPUS_MAX; dies if cap bytes do not hold it. */
static inline size_t corpus_story(uint64_t seed, uint64_t index, char *out, size_t cap, double *nats) {
    Tale t = tale_new(seed, index, out, cap);
    tale_story(&t);
    if (t.failed) die("corpus: story %llu needs more than %zu bytes", (unsigned long long)index, cap);
    *nats = t.nats;
    return t.at;
}

/* True if the n bytes are exactly one story; *nats is then what corpus_story said, to the last bit. */
static inline bool corpus_parse(const char *text, size_t n, double *nats) {
    Tale t = tale_new(0, 0, NULL, n);
    t.in = text, t.decide = tale_read;
    tale_story(&t);
    *nats = t.nats;
    return !t.failed && t.at == n;
}

/* Writes a story as corpus_story does, its *n bytes, and every question in it whose answer the facts force,
 * in order. Returns how many these are, TALE_MARKS at most. */
static inline size_t corpus_questions(uint64_t seed, uint64_t index, char *out, size_t *n, CorpusItem *item) {
    Tale t = tale_new(seed, index, out, CORPUS_MAX);
    tale_story(&t);
    *n = t.at;
    for (size_t i = 0; i < t.n_marks; i++) {
        item[i].at = t.mark[i].at, item[i].kind = t.mark[i].kind;
        for (int k = 0; k < 4; k++) {
            const char *s = tale_answer(&t, item[i].kind, k ? t.mark[i].wrong[k - 1] : t.mark[i].value);
            snprintf(item[i].option[k], CORPUS_WORD, " %.*s", (int)strcspn(s, "|/"), s);
        }
    }
    return t.n_marks;
}
#endif
