/* verify.h: is another implementation right, and if not, where does it first go
 * wrong, and why? `train verify`
 *
 * A dump (dump.h) holds a model, a batch and what another program made of them.
 * All of it is computed again twice (truth.h): in double precision, which is
 * taken for the truth, and in this program's own float32, whose distance from
 * the truth is the yardstick of what float32 can reach on that very batch. A
 * tensor passes if its distance is at most VERIFY_MULTIPLE yardsticks; of
 * logits and gradients each row has a yardstick of its own, too, of which
 * VERIFY_ROWS are allowed.
 *
 * It refuses a fixed tolerance: one that suits logits lets a gradient pass that
 * is a hundred times too wrong. It refuses to judge where float32 reaches
 * nothing: a yardstick above VERIFY_CAP (of `worst` below: VERIFY_CAP_WORST)
 * measures no one. But a NaN or infinity that the truth does not have is always
 * wrong.
 *
 * Two distances, both free of units, must hold:
 *
 *     error   ||dump - truth|| / ||truth||
 *             the norm of a gradient's truth counts as 1e-6 of the global norm, at
 *             least
 *     worst   max |dump[i] - truth[i]| / (|truth[i]| + rms)
 *             finds a single wrong element in millions
 *
 * The tensors are visited in the order in which they are computed: activations,
 * logits, loss, gradients from the last layer to the first, then what the
 * optimizer makes of them. The first wrong one is the place to look. Then each
 * known fault (faults.h) is tried: everything is computed once more with it,
 * and one that gives the dump's numbers where they are wrong is named.
 *
 * Example: our float32's gradient of a bias has error 2.5e-7. A yardstick
 * counts as 1e-6 at least, so 16 of them allow 1.6e-5. A program that never
 * computes it writes zeroes, whose error is 1: wrong, and
 * `bias-gradient-missing` gives the same numbers.
 *
 *     DfPool *pool = df_begin(2);
 *     Dump d = dump_open("theirs.safetensors", NULL);
 *     const bool right = verify_print(&d, pool, 0);   // a line a tensor, what is wrong
 *     dump_close(&d);
 *     df_end(pool); */
#ifndef VERIFY_H
#define VERIFY_H
#include "dump.h"

static const double VERIFY_MULTIPLE = 16;           /* yardsticks a tensor is allowed */
static const double VERIFY_ROWS = 64;               /* and a row */
static const double VERIFY_FLOOR = 1e-6;            /* what a yardstick is at least */
static const double VERIFY_CAP = 1e-3;              /* above which it measures no one */
static const double VERIFY_CAP_WORST = 1e-2;
enum { VERIFY_ELEMENTS = 8 };                       /* --tolerance allows `worst` so
                                                     * much more */

/* ---- distances ----------------------------------------------------------- */

/* The place of a float32 number among all of them in ascending order; of 0 it
 * is 0. */
static inline int64_t verify_place(double number) {
    const float x = (float)number;
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) : bits;
}
/* Units in the last place of float32 between two numbers, both as float32. */
static inline double verify_ulps(double a, double b) {
    const int64_t p = verify_place(a);
    const int64_t q = verify_place(b);
    if (!isfinite(a) || !isfinite(b)) return INFINITY;
    return (double)(p > q ? p - q : q - p);
}

/* The largest error, and the largest `worst`, that a check allows. */
static inline double check_limit_error(const Dump *d, const Check *c) {
    if (d->tolerance > 0) return d->tolerance;
    return VERIFY_MULTIPLE * fmax(c->own.error, VERIFY_FLOOR);
}
static inline double check_limit_worst(const Dump *d, const Check *c) {
    if (d->tolerance > 0) return d->tolerance * VERIFY_ELEMENTS;
    return VERIFY_MULTIPLE * fmax(c->own.elem, VERIFY_FLOOR);
}
static inline bool check_holds(const Dump *d, const Check *c, const Distance *x) {
    return x->error <= check_limit_error(d, c) &&
           x->elem <= check_limit_worst(d, c);
}
/* Of a check's values from its truth. */
static inline Distance check_distance(const Dump *d, const Check *c,
                                      const float *values, const double *truth) {
    const double floor = c->kind == GRAD ? VERIFY_FLOOR * d->norm : 0;
    const float *slack = c->kind == AFTER ? d->slack[c->k] : NULL;
    return truth_distance(values, truth, c->t.count, floor, slack);
}
/* The dump's values, on the heap. */
static inline float *check_values(const Dump *d, const Check *c) {
    float *values = mem_new(c->t.count, sizeof *values);
    if (c->kind == GRAD)
        model_unpack(&c->t, &d->table[c->k], d->out_in, values);
    else st_floats(&c->t, values);
    return values;
}

/* ---- measuring a check --------------------------------------------------- */

/* The elements of a row of a check, 0 if its rows are not measured. */
static inline size_t check_row(const Dump *d, const Check *c) {
    if (c->kind == LOGITS) return d->c.V;
    return c->kind == GRAD && c->t.rank == 2 ? d->table[c->k].cols : 0;
}
static inline double check_square(const Check *c, const double *truth) {
    double square = 0;
    for (size_t i = 0; i < c->t.count; i++) square += truth[i] * truth[i];
    return square;
}
/* Whether every row is as near to the truth as our own says it can be; the
 * first that is not goes into the check. A row's norm counts as 1e-6 of what it
 * would be if all were alike, at least. */
static inline bool check_rows(const Dump *d, Check *c, const float *theirs,
                              const float *ours, const double *truth) {
    const size_t n = check_row(d, c);
    const size_t rows = c->t.count / n;
    const double global = c->kind == GRAD ? d->norm : 0;
    const double norm = fmax(sqrt(check_square(c, truth)), global);
    const double least = norm * VERIFY_FLOOR / sqrt((double)rows);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = r * n;
        Distance x = truth_distance(theirs + at, truth + at, n, least, NULL);
        const Distance own =
            truth_distance(ours + at, truth + at, n, least, NULL);
        if (x.error <= VERIFY_ROWS * fmax(own.error, VERIFY_FLOOR) &&
            x.elem <= VERIFY_ROWS * fmax(own.elem, VERIFY_FLOOR))
            continue;
        x.worst += at;
        c->dump = x;
        c->own = own;
        c->row = r;
        return false;
    }
    return true;
}

/* Whether what AdamW may make of rounding (the slack) is more than any
 * yardstick allows in nine of ten weights: then nothing of the tensor can be
 * told. */
static inline bool check_hidden(const Dump *d, const Check *c,
                                const double *truth) {
    const double rms = sqrt(check_square(c, truth) / (double)c->t.count);
    const double allowed = VERIFY_MULTIPLE * VERIFY_CAP_WORST;
    size_t hidden = 0;
    for (size_t i = 0; i < c->t.count; i++)
        hidden += (double)d->slack[c->k][i] > allowed * (fabs(truth[i]) + rms);
    return 10 * hidden > 9 * c->t.count;
}
/* Whether nothing can be said of a check. */
static inline bool check_blind(const Dump *d, const Check *c,
                               const double *truth) {
    const Distance *own = &c->own;
    if (d->tolerance > 0) return false;
    if (!(own->error <= VERIFY_CAP && own->elem <= VERIFY_CAP_WORST))
        return true;
    return c->kind == AFTER && check_hidden(d, c, truth);
}

/* Visits a check: the dump's and our distance from the truth, and the
 * verdict. */
static inline void verify_measure(Dump *d, Check *c, const double *truth,
                                  void *arg) {
    const Own *own = arg;
    float *theirs = check_values(d, c);
    float *ours = own_values(own, c);               /* NULL for activations */
    c->dump = check_distance(d, c, theirs, truth);
    c->own = ours ? check_distance(d, c, ours, truth) : own->far;
    c->row = ROW_NONE;
    c->blind = check_blind(d, c, truth);
    c->pass = !c->dump.stray && (c->blind || check_holds(d, c, &c->dump));
    if (c->pass && !c->blind && d->tolerance <= 0 && check_row(d, c))
        c->pass = check_rows(d, c, theirs, ours, truth);
    free(theirs);
    free(ours);
}
/* Visits a check: is it as the fault that this is the truth of would have
 * it? */
static inline void verify_same(Dump *d, Check *c, const double *truth,
                               void *arg) {
    float *theirs = check_values(d, c);
    const Distance x = check_distance(d, c, theirs, truth);
    c->same = check_holds(d, c, &x);
    free(theirs);
    (void)arg;
}

/* ---- the verdict --------------------------------------------------------- */

/* NULL: all is right. */
static inline const Check *verify_wrong(const Dump *d) {
    for (size_t i = 0; i < d->n; i++)
        if (!d->check[i].pass) return &d->check[i];
    return NULL;
}
/* The first that cannot be judged; NULL: all can. */
static inline const Check *verify_blind(const Dump *d) {
    for (size_t i = 0; i < d->n; i++)
        if (d->check[i].blind && d->check[i].pass) return &d->check[i];
    return NULL;
}

/* How well a fault explains what is wrong: 0 not; else the number of checks
 * that are as it would have them, and d->n more if those are all that are
 * wrong, not only those of the phase where the first one is. */
static inline size_t verify_score(const Dump *d, Phase first) {
    bool phase = true;
    bool all = true;
    size_t same = 0;
    for (size_t i = 0; i < d->n; i++) {
        const Check *c = &d->check[i];
        const bool explained = c->pass || c->same;
        same += c->same;
        all &= explained;
        if (check_phase(c->kind) == first) phase &= explained;
    }
    if (!phase) return 0;
    return all ? same + d->n : same;
}
/* After verify found something wrong: the known fault that explains it best
 * goes to d->fault; NULL: none does. */
static inline void verify_fault(Dump *d) {
    const Phase first = check_phase(verify_wrong(d)->kind);
    size_t best = 0;
    for (size_t k = 0; k < FAULTS; k++) {
        if ((faults[k].phase == OPTIMIZER) != (first == OPTIMIZER)) continue;
        truth_compute(d, &faults[k], NULL, verify_same, NULL);
        const size_t score = verify_score(d, first);
        if (score <= best) continue;
        best = score;
        d->fault = &faults[k];
    }
}

/* Measures every result of the dump; whether all are right, and none cannot be
 * judged. tolerance: of the error, in the place of the yardstick; 0: none. */
static inline bool verify(Dump *d, DfPool *pool, double tolerance) {
    Own own = own_new(d, pool);
    d->tolerance = tolerance;
    d->fault = NULL;
    truth_compute(d, &no_fault, &own, verify_measure, &own);
    own_free(&own);
    return !verify_wrong(d) && !verify_blind(d);
}

/* ---- in words ------------------------------------------------------------ */

/* Where the worst element is, "[2,0,5]"; of a weight in its own shape
 * (in,out). */
static inline char *check_index(const Dump *d, const Check *c, char out[192]) {
    const int rank = c->t.rank;
    const bool turned = c->kind == GRAD && d->out_in && d->table[c->k].in_out;
    size_t at[ST_RANK];
    size_t rest = c->dump.worst;
    for (int k = rank; k-- > 0;) {
        const size_t size = c->t.shape[turned ? rank - 1 - k : k];
        at[k] = rest % size;
        rest /= size;
    }
    return st_sizes(out, "[]", rank, at);
}
static inline void check_print(const Dump *d, const Check *c) {
    char shape[192];
    char at[192];
    char row[40] = "";
    const char *verdict = c->blind ? "?" : "ok";
    if (!c->pass) verdict = "WRONG";
    if (c->row != ROW_NONE)
        snprintf(row, sizeof row, "; of row %zu alone", c->row);
    printf("%-5s %-32s %-13s %8.1e %8.1e  %8.1e %8.1e  %s %.9g for %.9g, %.3g ulp%s\n",
           verdict, c->name, st_sizes(shape, "()", c->t.rank, c->t.shape),
           c->dump.error, c->own.error, c->dump.elem, c->own.elem,
           check_index(d, c, at), c->dump.got, c->dump.want,
           verify_ulps(c->dump.got, c->dump.want), row);
}
static inline void verify_table(const Dump *d) {
    printf("%zu layers x %zu, %zu heads, vocabulary %zu; B=%zu T=%zu; %zu steps. "
           "Distances from double precision:\n",
           d->c.L, d->c.C, d->c.NH, d->c.V, d->B, d->T, d->steps);
    printf("%-5s %-32s %-13s %8s %8s  %8s %8s\n", "", "tensor", "shape",
           "error", "ours", "worst", "ours");
    for (size_t i = 0; i < d->n; i++) check_print(d, &d->check[i]);
    if (d->strange)
        note("not compared: %zu tensors that are not known, '%.200s' first",
             d->strange, d->stranger);
}

/* verify, in words on standard output: a line a tensor, the first wrong one,
 * the fault that explains it. */
static inline bool verify_print(Dump *d, DfPool *pool, double tolerance) {
    const double start = seconds();
    const bool right = verify(d, pool, tolerance);
    const double took = seconds() - start;
    verify_table(d);
    if (right) {
        printf("all %zu tensors are right\n", d->n);
        return true;
    }
    const Check *blind = verify_blind(d);
    const Check *wrong = verify_wrong(d);
    if (blind)
        printf("cannot judge: %s: float32 tells too little of it; the error of our own "
               "is %.1e (at most %g), of an element %.1e (%g)\n",
               blind->name, blind->own.error, VERIFY_CAP, blind->own.elem,
               VERIFY_CAP_WORST);
    if (!wrong) return false;
    printf("first wrong: %s\n", wrong->name);
    if (took > 5) printf("trying the known faults, %.0f s each\n", took);
    fflush(stdout);
    verify_fault(d);
    if (d->fault) printf("fault: %s: %s\n", d->fault->name, d->fault->means);
    else
        printf("fault: none of the %d known ones gives these numbers\n", FAULTS);
    return false;
}

/* ---- as JSON ------------------------------------------------------------- */

static inline void verify_json_tensor(Out *out, const Dump *d, const Check *c) {
    char at[192];
    json_begin(out, NULL, '{');
    json_member_text(out, "name", c->name);
    if (c->blind && c->pass) json_member_text(out, "pass", NULL);
    else json_member_bool(out, "pass", c->pass);
    json_member_put(out, "error", c->dump.error);
    json_member_put(out, "own_error", c->own.error);
    json_member_put(out, "worst", c->dump.elem);
    json_member_put(out, "own_worst", c->own.elem);
    json_key(out, "at");
    out_text(out, check_index(d, c, at));
    json_member_put(out, "found", c->dump.got);
    json_member_put(out, "expected", c->dump.want);
    json_member_put(out, "ulp", verify_ulps(c->dump.got, c->dump.want));
    json_close(out, '}');
}
/* The verdict as one object. Dies if it cannot be written. */
static inline void verify_json(const Dump *d, const char *path) {
    const Check *wrong = verify_wrong(d);
    const Check *blind = verify_blind(d);
    Out out = out_open(path);
    out_char(&out, '{');
    if (wrong || !blind) json_member_bool(&out, "pass", !wrong);
    else json_member_text(&out, "pass", NULL);
    json_member_text(&out, "first_wrong", wrong ? wrong->name : NULL);
    json_member_text(&out, "fault", d->fault ? d->fault->name : NULL);
    json_member_text(&out, "cannot_judge", blind ? blind->name : NULL);
    json_begin(&out, "tensors", '[');
    for (size_t i = 0; i < d->n; i++) verify_json_tensor(&out, d, &d->check[i]);
    json_close(&out, ']');
    json_end(&out);
}

static inline int cmd_verify(int argc, char **argv) {
    Options *o = options_read(argc, argv, VERIFY, "a dump");
    outputs_check(o, NULL, 0);
    State s = {0};
    if (o->init) s = checkpoint_read(o->init, o, false);
    DfPool *pool = df_begin(o->threads);
    Dump d = dump_open(o->file, s.m);
    if (s.m) state_free(&s);
    const bool right =
        verify_print(&d, pool, isnan(o->tolerance) ? 0 : o->tolerance);
    if (o->json) verify_json(&d, o->json);
    dump_close(&d);
    df_end(pool);
    options_free(o);
    return right ? 0 : 1;
}
#endif
