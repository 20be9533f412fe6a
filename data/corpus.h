/* corpus.h: the built-in text: short stories, as many as asked for, whose probability is known exactly.
 *
 * A small GPT needs a text to learn from. This one comes from a written grammar with stated weights, not from a
 * download, so the entropy of the text, the loss that no model can beat, is known, and so is the right answer to
 * every question a story asks. It refuses to be a natural language generator: one kind of story, a day in a
 * village, in plain English. Four people, three things and some food are introduced; people walk about, give,
 * leave, find and eat; in the evening somebody asks who has what and where everybody is. To predict a word one
 * must have followed the facts: who went where, who holds a thing, whose it is, what is left of seven plums.
 *
 * The property everything rests on: *the text determines every choice that made it*. One piece of code walks the
 * grammar and never asks whether it writes or reads. The grammar is a set of templates:
 *
 *     text      stands in the story as it is; ` stands for a double quote
 *     [..|..]   a choice between alternatives, each again a template. In front of it an alternative may have its
 *               weight (1 if none is written), then ?x, on condition that set x is not empty, then *rx: there is
 *               one such alternative for every member of set x, and taking it gives that member the role r:
 *               a the sentence's subject, b and c other people, t a thing, p a place, n a number
 *     #x        a choice from word list x, of what the story has not yet used; word k has weight 60/(k + 3)
 *     $x &x     text without choice: fact x, the last word chosen from list x
 *     !x %x     change x of the facts; template x
 *
 * tale_list, tale_set, tale_fact, tale_change and tale_rule say what the letters mean. A choice is decided by
 * tale_draw from (seed, story, number of the choice), or by tale_read, which takes the one alternative whose text
 * stands at the cursor. For that, no alternative may begin as another one does, as far as its own first choice or
 * %; tale_read refuses a text that fits two, and the test compares every pair it meets. Every choice adds
 * log(total weight / weight) to one sum in one order, so that writer and reader agree to the last bit.
 *
 * An example. "[3One|Early one] #w day" becomes "One windy day" with probability 3/4 x 15/102 = 0.110, or 2.205
 * nats: windy is the second of twelve words for the weather, which weigh 20, 15, 12, 10, 8, 7, 6, 6, 5, 5, 4 and 4,
 * together 102. Reading it finds One and then windy at the cursor and adds the same two numbers; "One windy night"
 * fails at the n. (Drawing is exact to 2^-32 of the total weight.)
 *
 * A story ends with the newline after its last sentence; nothing else can follow there, so that to end has
 * probability one. What stands between stories is the loader's business. */
#ifndef CORPUS_H
#define CORPUS_H
#include "base.h"

enum { CORPUS_MAX = 4096, CORPUS_WORD = 32 };           /* no story and no answer has more bytes */
enum { CORPUS_HOLDS, CORPUS_WHERE, CORPUS_MANY, CORPUS_WHOSE, CORPUS_KINDS };

/* A question: which of four continues text[0 .. n)? */
typedef struct {
    char text[CORPUS_MAX], option[4][CORPUS_WORD];      /* option[0] is right; all begin with a space */
    size_t n;
    int kind;
} CorpusItem;

enum { TALE_PEOPLE = 4, TALE_THINGS = 3, TALE_PLACES = 5, TALE_OPTIONS = 80, TALE_MARKS = 32 };
enum { TALE_MOST = 12, TALE_EVENTS = 12 };              /* the largest number; sentences between morning and evening */

typedef struct {
    const char *text;               /* the template; taking it sets *what = value first */
    unsigned weight;
    int *what, value;
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
    size_t n_options;
    unsigned total;
    /* The facts. A thing's holder is a person, or TALE_PEOPLE + the place where it lies; where < 0 is nowhere. */
    const char *word[26], *name[TALE_PEOPLE], *adjective[TALE_THINGS], *noun[TALE_THINGS], *place[TALE_PLACES];
    int people, things, places, boy[TALE_PEOPLE], where[TALE_PEOPLE], count[TALE_PEOPLE], idle[TALE_PEOPLE];
    int owner[TALE_THINGS], holder[TALE_THINGS], goal;
    int a, b, c, t, p, n, any;      /* the roles */
    int last, moved, given, thanks, sound, events, kinds;
    struct { size_t at; int kind, value, wrong[3]; } mark[TALE_MARKS];
    size_t n_marks;
} Tale;

/* ---- the words ---------------------------------------------------------------------------------------- */

/* List x: words between bars, the frequent ones first; fields of a word between slashes, of which the first is told. */
static inline const char *tale_list(char x) {
    switch (x) {
    case 'g': return "Mia|Nora|Lily|Ella|Ruth|Zoe|Clara|Ida|Hanna|Sofia|Maya|Alice|Rosa|Daisy|Vera|Greta|Olive|Pearl|"
        "Tess|June|Wendy|Freya|Kira|Bella|Emma|Agnes|Lotte|Ines";
    case 'b': return "Tom|Ben|Max|Leo|Finn|Oscar|Hugo|Jack|Noah|Paul|Sam|Theo|Felix|Adam|Ivan|Otto|Luke|Karl|Emil|"
        "Ravi|Dan|Peter|Nils|Walter|Simon|Erik|Jonas|Victor";
    case 't': return "a kind/kindest|a brave/bravest|a clever/cleverest|a cheerful/most cheerful|a funny/funniest|an "
        "honest/most honest|a patient/most patient|a gentle/gentlest|a curious/most curious|a proud/proudest|an "
        "unusual/most unusual|a quick/quickest|a polite/politest|an active/most active|a wise/wisest";
    case 'k': return "sister|brother|cousin";
    case 'j': return "baker|doctor|teacher|farmer|painter|tailor|gardener|sailor|miller|potter|singer|shepherd|cook";
    case 'c': return "a red|an old|a blue|a new|a green|a tiny|a yellow|a shiny|a white|a silver|an orange|a pretty|a "
        "golden|a heavy|a painted|a purple|a strange|an ugly|a pink|an expensive|a striped|a brown";
    case 'n': return "kite|ball|drum|book|doll|lantern|whistle|map|scarf|basket|umbrella|flute|key|mirror|bucket|rope|"
        "trumpet|puppet|mask|blanket|box|spoon|teapot|cup|ring|compass|candle|pillow|jug|fan|paper boat|toy horse";
    case 'f': return "apples/apple|plums/plum|nuts/nut|cherries/cherry|pears/pear|peaches/peach|biscuits/biscuit|buns/"
        "bun|strawberries/strawberry|carrots/carrot|figs/fig|radishes/radish|pancakes/pancake|eggs/egg";
    case 'l': return "in the garden/water/ the roses|by the pond/watch/ the ducks|at the market/look/ at the cheeses|in "
        "the barn/brush/ the donkey|at the mill/count/ the sacks|in the orchard/climb/ a tree|in the meadow/pick/ some "
        "daisies|at the harbour/paint/ a boat|in the library/listen/ to a story|on the hill/look/ at the clouds|by the "
        "river/splash/ in the water|in the bakery/sniff/ the warm bread|on the beach/collect/ shells|at the school/"
        "clean/ the windows|in the forest/follow/ a deer|on the bridge/wait/ for the swans|in the stable/comb/ the "
        "ponies|in the tower/polish/ the floor|at the station/visit/ the engine driver|by the well/wash/ some socks|in "
        "the workshop/mend/ a chair|at the lighthouse/talk/ to the gulls|in the square/play/ with the pigeons";
    case 'p': return "feast|dance|parade|concert|bonfire|fair|picnic|wedding|birthday party|play|magic show|fancy ball";
    case 'e': return "mother|grandmother|father|grandfather|aunt|uncle";
    case 'w': return "sunny|windy|cold|warm|rainy|foggy|bright|frosty|cloudy|quiet|stormy|snowy";
    case 'm': return "happy|tired|hungry|proud|sleepy|lucky|sad|calm|excited|thirsty|lonely|nervous|silly|grateful|merry";
    case 'd': return "lovely|strange|long|beautiful|wonderful|busy|funny|terrible|perfect|peaceful|noisy|dull";
    case 'x': return "the sea|the stars|a warm supper|last winter|a funny dream|the moon|a secret|the summer|an old song|"
        "faraway lands|a talking cat|pirates|the first snow|a flying carpet|giants|tomorrow|dragons|the king's horses";
    case 'o': return "hot soup|lemonade|cake|music|honey bread|laughter|roast corn|cocoa|a juggler|a fiddler|dancing|ice "
        "cream|pie|cider|a big drum|storytelling|a puppet show|fresh cheese";
    default: return "a hare|a fox|an owl|a hedgehog|a squirrel|a butterfly|a stray cat|an otter|a robin|a badger|a frog|a "
        "heron|a snail|a rainbow|a falling leaf|a goose|a black dog|an eagle";
    }
}

/* The text after the k-th bar of s: word k of a list, field k of a word. */
static inline const char *tale_nth(const char *s, char bar, int k) {
    while (k && *s) k -= *s++ == bar;
    return s;
}
static inline bool tale_ends(char c) { return !c || c == '|' || c == ']' || c == '/'; }

/* ---- the grammar -------------------------------------------------------------------------------------- */

static inline const char *tale_rule(char x) {
    switch (x) {
    case 'I': return     /* who they are */
        "[8Once upon a time|5Long ago|3Not so long ago|2Many years ago|2In a faraway land], there [3was|2lived] #t [girl "
        "[3named|2called] #g|boy [3named|2called] #b]. $H lived in a [4small|3white|2wooden|2crooked|cosy|draughty] "
        "[3house|2cottage|cabin] [near the sea|at the edge of a wood|below a mountain|behind the church|by a busy road] "
        "with $s #k #i. [3$S best friend was|2Next door lived|2Every day $h played with|At school $h sat beside] #h, and "
        "the #j of the village was [3called|2named] #h.\n\n%O%O%O[*aN$A ][3carried|2had|found|bought] [*ns$n]!a #f in a "
        "[3basket|2bag|bowl|box], and [*bO$B ]had [*nf$n]!b.\n\n";
    case 'O': return     /* what somebody owns */
        "[*aN$A ][6had|3owned|2was proud of|2took good care of|never went anywhere without] #c #n[6. |2, a present from "
        "$s #e. |2 that $h had [found|won|bought|made] [2long ago|in the spring|last year]. ]";
    case 'S': return     /* where they are, and what the day is about */
        "One #w [6morning|3day|2Saturday|Sunday], %P, %P, %P and %P. [4In the evening|4That night|2At sunset|Later] there "
        "[3was going to|2would] be a #p #l, and!0 $A [3wanted|3hoped|2had promised] to bring [4*tTthe $t|2*tTthe $r]!g."
        "\n\n[3At first|2Early in the day|2Before long|2After breakfast], [*aE$A ]%E";
    case 'P': return "[*aU$A ][6was|3sat|2stood|2waited|sang|slept] #l";
    case 'B': return     /* the next sentence */
        "[3*aV $A %E|*aK $Z's &k %E|*aJ The &j %E|7*aL $H %E|3 Then %N|2 Soon %N|2 After that, %N|3\n\nA little later, %N|2"
        "\n\nNext, %N|6?h `Thank you, $A,`%R|4?h `Thank you very much,`%R|?u Somewhere [near|far away] a [4bell rang|3dog "
        "barked|2cock crowed|cart rolled by|door slammed|baby cried].!u|4?e\n\nAt last the sun went down!e|4?v\n\nSlowly it "
        "grew dark!e|9?w\n\nThe day was almost over!e]";
    case 'N': return "[4*aE$A |*aJthe &j ]%E";
    case 'E': return     /* an event */
        "!s[8?Mwent %G|6?Mwalked %G|5?Mran %G|4?Mhurried %G|2?Mstrolled %G|2?Mskipped %G|6?M?Hcarried %H %G|4?M?Htook %H %G|4"
        "?M?Wand [*bW$B ][4went|2walked|ran] %G|14?W?ggave %V|4?W?ghanded %V|5?Hleft %H%L|2?Hforgot %H%L|16?Ffound %F|8?F"
        "noticed %F|9?Wasked [*bW$B ]%A|2?Cwas given [*nC$n more $F]!+ by a [traveller|friendly stranger|merchant|soldier|"
        "kind old lady][3.| and now had$M.]|2?Date [*nD$n $F]!-[3.| and had$M left.]|5?I$d!i[4.|2 for a while.| until $h was "
        "#m.|*bW with $B.]|3thought about #x.|2felt #m.|2saw #y.|hummed a [sad|merry|quiet|silly] tune.|3said, `[2What a #d "
        "day!|I am so #m!|Look, there is #y!|I dreamt of #x last night.]`]";
    case 'H': return "[4*tHthe $t|2*tHthe $r|2*tH$o $t]";
    case 'G': return "[20to|2straight to|2quickly to|slowly to|happily to|quietly to] [2*pP$q|*pQ$q]!m[6.|3 to $D.|5?o, where $w "
        "[4waiting|2resting|2singing|dancing|telling stories|playing cards|looking at #y].|2?q, but nobody was there.]";
    case 'V': return "[*bW$B ][4*tHthe $t%T|2*tHthe $r%T|2*ti$o $t%T|2*nG$n $F!f[5.| and kept$M.| with a smile.]]";
    case 'T': return "!t[7.| with a smile.| for a while.| as a surprise.|4?r and got [4*trthe $t|2*trthe $r]!h in return.]";
    case 'L': return "!l [3$p|3there|under a [bench|bush|blanket] $p|behind a [wall|tree|barrel] $p].";
    case 'F': return "[4*tFthe $t|2*tFthe $r|2*tF$o $t] [3there|2$p]!h and [3picked it up|2took it along|kept it safe].";
    case 'A': return
        "[2?Sfor [4*tSthe $t|2*tSthe $r].%W|2?Awhere [*cA$C was]. `$K is$W,`%R|2?xhow many &f $j had.!n `I have$M,`%R|2?Rabout "
        "[4*tRthe $t|2*tRthe $r]. `It is [?1mine|?2yours|?3for]";
    default: return NULL;
    }
}
