/* verify.h: is another implementation right, and if not, where does it first go wrong, and why?
 *
 * A dump (dump.h) holds a model, a batch and what another program made of them. All of it is computed again
 * twice: by the specification of gpt.h in double precision, which is taken for the truth, and in this
 * program's own float32, whose distance from the truth is the yardstick of what float32 can reach on that
 * very batch. A tensor passes if its distance is at most VERIFY_MULTIPLE yardsticks; of logits and gradients
 * each row has a yardstick of its own, too, of which VERIFY_ROWS are allowed.
 * It refuses a fixed tolerance: one that suits logits lets a gradient pass that is a hundred times too wrong.
 * It refuses to judge where float32 reaches nothing: a yardstick above VERIFY_CAP (of `worst` below:
 * VERIFY_CAP_WORST) measures no one. But a NaN or infinity that the truth does not have is always wrong.
 *
 * Two distances, both free of units, must hold:
 *     error   ||dump - truth|| / ||truth||             of a gradient at least 1e-6 of the global norm below
 *     worst   max |dump[i] - truth[i]| / (|truth[i]| + rms)      finds a single wrong element in millions
 *
 * The tensors are visited in the order in which they are computed: activations, logits, loss, gradients from
 * the last layer to the first, then what the optimizer makes of them. The first wrong one is the place to
 * look. Then each known fault (faults.h) is tried: everything is computed once more with it, and one that
 * gives the dump's numbers where they are wrong is named.
 *
 *     DfPool *pool = df_begin(2);
 *     Dump d = dump_open("theirs.safetensors", NULL);
 *     const bool right = verify_print(&d, pool, 0);   // a line a tensor, and what is wrong
 *     dump_close(&d), df_end(pool); */
#ifndef VERIFY_H
#define VERIFY_H
#include "dump.h"

static const double VERIFY_MULTIPLE = 16, VERIFY_ROWS = 64;
static const double VERIFY_FLOOR = 1e-6, VERIFY_CAP = 1e-3, VERIFY_CAP_WORST = 1e-2;    /* of yardsticks */
enum { VERIFY_ELEMENTS = 8 };                       /* --tolerance allows `worst` so much more */

/* ---- distances ---------------------------------------------------------------------------------------- */

/* Units in the last place of float32 between two numbers, both as float32. */
static inline double ulps(double a, double b) {
    const float x = (float)a, y = (float)b;
    int32_t i, j;
    memcpy(&i, &x, 4), memcpy(&j, &y, 4);
    const int64_t p = i < 0 ? -(int64_t)(i & INT32_MAX) : i, q = j < 0 ? -(int64_t)(j & INT32_MAX) : j;
    return isfinite(a) && isfinite(b) ? (double)(p > q ? p - q : q - p) : INFINITY;
}
static inline double check_limit(const Dump *d, const Check *c, bool elem) {
    if (d->tolerance > 0) return d->tolerance * (elem ? VERIFY_ELEMENTS : 1);
    return VERIFY_MULTIPLE * fmax(elem ? c->own.elem : c->own.error, VERIFY_FLOOR);
}
static inline bool check_holds(const Dump *d, const Check *c, const Distance *x) {
    return x->error <= check_limit(d, c, false) && x->elem <= check_limit(d, c, true);
}
static inline Distance check_distance(const Dump *d, const Check *c, const float *values,
                                      const double *truth) {
    return distance(values, truth, c->t.count, c->kind == GRAD ? VERIFY_FLOOR * d->norm : 0,
                    c->kind == AFTER ? d->slack[c->k] : NULL);
}
static inline float *check_values(const Dump *d, const Check *c) {      /* the dump's, on the heap */
    float *values = mem_new(c->t.count, sizeof *values);
    if (c->kind == GRAD) model_unpack(&c->t, &d->table[c->k], d->out_in, values);
    else st_floats(&c->t, values);
    return values;
}

/* ---- computing everything ----------------------------------------------------------------------------- */

/* Whether every row, of the given number of elements, is as near to the truth as our own says it can be; the
 * first that is not goes into the check. A row's norm counts as 1e-6 of what it would be if all were alike, at
 * least. */
static inline bool check_rows(const Dump *d, Check *c, const float *theirs, const float *ours,
                              const double *truth, size_t row) {
    const size_t rows = c->t.count / row;
    double norm = 0;
    for (size_t i = 0; i < c->t.count; i++) norm += truth[i] * truth[i];
    const double least = fmax(sqrt(norm), c->kind == GRAD ? d->norm : 0) * VERIFY_FLOOR / sqrt((double)rows);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = r * row;
        Distance x = distance(theirs + at, truth + at, row, least, NULL);
        const Distance own = distance(ours + at, truth + at, row, least, NULL);
        if (x.error <= VERIFY_ROWS * fmax(own.error, VERIFY_FLOOR) &&
            x.elem <= VERIFY_ROWS * fmax(own.elem, VERIFY_FLOOR)) continue;
        x.worst += at, c->dump = x, c->own = own, c->row = r;
        return false;
    }
    return true;
}

/* Whether what AdamW may make of rounding (the slack) is more than any yardstick allows in nine of ten weights:
 * then nothing of the tensor can be told. */
static inline bool check_slack(const Dump *d, const Check *c, const double *truth) {
    double norm = 0;
    size_t hidden = 0;
    for (size_t i = 0; i < c->t.count; i++) norm += truth[i] * truth[i];
    const double rms = sqrt(norm / (double)c->t.count);
    for (size_t i = 0; i < c->t.count; i++)
        hidden += (double)d->slack[c->k][i] > VERIFY_MULTIPLE * VERIFY_CAP_WORST * (fabs(truth[i]) + rms);
    return 10 * hidden > 9 * c->t.count;
}

/* The dump's and our distance from the truth, and the verdict. */
static inline void visit_measure(Dump *d, Check *c, const double *truth, void *arg) {
    const Own *own = arg;
    const bool rows = c->kind == LOGITS || (c->kind == GRAD && c->t.rank == 2);
    float *theirs = check_values(d, c), *ours = own_values(own, c);
    c->dump = check_distance(d, c, theirs, truth);
    c->own = ours ? check_distance(d, c, ours, truth) : own->far;
    c->row = ROW_NONE;
    c->blind = d->tolerance <= 0 &&
               (!(c->own.error <= VERIFY_CAP && c->own.elem <= VERIFY_CAP_WORST) ||
                (c->kind == AFTER && check_slack(d, c, truth)));
    c->pass = !c->dump.stray && (c->blind || check_holds(d, c, &c->dump));
    if (c->pass && !c->blind && rows && d->tolerance <= 0)
        c->pass = check_rows(d, c, theirs, ours, truth,
                             c->kind == LOGITS ? d->c.V : d->table[c->k].cols);
    free(theirs), free(ours);
}
static inline void visit_fault(Dump *d, Check *c, const double *truth, void *arg) {
    float *theirs = check_values(d, c);
    const Distance x = check_distance(d, c, theirs, truth);
    c->same = check_holds(d, c, &x);
    free(theirs);
    (void)arg;
}

/* ---- the verdict -------------------------------------------------------------------------------------- */

static inline const Check *first_wrong(const Dump *d) {           /* NULL: all is right */
    for (size_t i = 0; i < d->n; i++) if (!d->check[i].pass) return &d->check[i];
    return NULL;
}
static inline const Check *first_blind(const Dump *d) {           /* NULL: all can be judged */
    for (size_t i = 0; i < d->n; i++) if (d->check[i].blind && d->check[i].pass) return &d->check[i];
    return NULL;
}
static inline char *check_index(const Dump *d, const Check *c, char out[192]) { /* of the worst: [2,0,5] */
    size_t shape[ST_RANK], rest = c->dump.worst, at[ST_RANK];
    const bool turned = c->kind == GRAD && d->out_in && d->table[c->k].in_out;
    for (int k = 0; k < c->t.rank; k++) shape[k] = c->t.shape[turned ? c->t.rank - 1 - k : k];
    for (int k = c->t.rank; k-- > 0; rest /= shape[k]) at[k] = rest % shape[k];
    return st_sizes(out, "[]", c->t.rank, at);
}
static inline void check_print(const Dump *d, const Check *c) {
    char shape[192], at[192], row[40] = "";
    if (c->row != ROW_NONE) snprintf(row, sizeof row, "; of row %zu alone", c->row);
    printf("%-5s %-32s %-13s %8.1e %8.1e  %8.1e %8.1e  %s %.9g for %.9g, %.3g ulp%s\n",
           !c->pass ? "WRONG" : c->blind ? "?" : "ok", c->name, st_sizes(shape, "()", c->t.rank, c->t.shape), c->dump.error,
           c->own.error, c->dump.elem, c->own.elem, check_index(d, c, at), c->dump.got, c->dump.want,
           ulps(c->dump.got, c->dump.want), row);
}

/* How well a fault explains what is wrong: 0 not; else the number of checks that are as it would have them,
 * and d->n more if those are all that are wrong, not only those of the phase where the first one is. */
static inline size_t fault_score(const Dump *d, Phase first) {
    bool phase = true, all = true;
    size_t same = 0;
    for (size_t i = 0; i < d->n; i++) {
        const Check *c = &d->check[i];
        const bool explained = c->pass || c->same;
        same += c->same, all &= explained, phase &= explained || phase_of(c->kind) != first;
    }
    return phase ? same + (all ? d->n : 0) : 0;
}

/* After verify found something wrong: the known fault that explains it best goes to d->fault, -1: none. */
static inline void verify_fault(Dump *d) {
    const Phase first = phase_of(first_wrong(d)->kind);
    size_t best = 0;
    for (int k = 0; k < FAULTS; k++) {
        if ((faults[k].phase == OPTIMIZER) != (first == OPTIMIZER)) continue;
        dump_compute(d, &faults[k], NULL, visit_fault, NULL);
        const size_t score = fault_score(d, first);
        if (score > best) best = score, d->fault = k;
    }
}

/* Measures every result of the dump; whether all are right, and none cannot be judged. tolerance: of the error, in the place of the
 * yardstick; 0: none. */
static inline bool verify(Dump *d, DfPool *pool, double tolerance) {
    Own own = own_new(d, pool);
    d->tolerance = tolerance, d->fault = -1;
    dump_compute(d, &no_fault, &own, visit_measure, &own);
    own_free(&own);
    return !first_wrong(d) && !first_blind(d);
}

/* verify, in words on standard output: a line a tensor, the first wrong one, the fault that explains it. */
static inline bool verify_print(Dump *d, DfPool *pool, double tolerance) {
    const double start = seconds();
    const bool right = verify(d, pool, tolerance);
    const double took = seconds() - start;
    printf("%zu layers x %zu, %zu heads, vocabulary %zu; B=%zu T=%zu; %zu steps. Distances from double "
           "precision:\n%-5s %-32s %-13s %8s %8s  %8s %8s\n", d->c.L, d->c.C, d->c.NH, d->c.V, d->B, d->T,
           d->steps, "", "tensor", "shape", "error", "ours", "worst", "ours");
    for (size_t i = 0; i < d->n; i++) check_print(d, &d->check[i]);
    if (d->strange) note("not compared: %zu tensors that are not known, '%.200s' first", d->strange, d->stranger);
    if (right) { printf("all %zu tensors are right\n", d->n); return true; }
    const Check *blind = first_blind(d);
    if (blind)
        printf("cannot judge: %s: float32 tells too little of it; the error of our own is %.1e (at most %g), of an "
               "element %.1e (%g)\n", blind->name, blind->own.error, VERIFY_CAP, blind->own.elem,
               VERIFY_CAP_WORST);
    if (!first_wrong(d)) return false;
    printf("first wrong: %s\n", first_wrong(d)->name);
    if (took > 5) printf("trying the known faults, %.0f s each\n", took);
    fflush(stdout);
    verify_fault(d);
    if (d->fault >= 0) printf("fault: %s: %s\n", faults[d->fault].name, faults[d->fault].means);
    else printf("fault: none of the %d known ones gives these numbers\n", FAULTS);
    return false;
}

/* The verdict as one JSON object. Dies if it cannot be written. */
static inline void verify_json(const Dump *d, const char *path) {
    const Check *wrong = first_wrong(d), *blind = first_blind(d);
    char at[192];
    Out out = out_open(path);
    out_char(&out, '{');
    if (wrong || !blind) json_member_bool(&out, "pass", !wrong);
    else json_member_text(&out, "pass", NULL);
    json_member_text(&out, "first_wrong", wrong ? wrong->name : NULL);
    json_member_text(&out, "fault", d->fault < 0 ? NULL : faults[d->fault].name);
    json_member_text(&out, "cannot_judge", blind ? blind->name : NULL);
    json_begin(&out, "tensors", '[');
    for (size_t i = 0; i < d->n; i++) {
        const Check *c = &d->check[i];
        json_begin(&out, NULL, '{'), json_member_text(&out, "name", c->name);
        if (c->blind && c->pass) json_member_text(&out, "pass", NULL);
        else json_member_bool(&out, "pass", c->pass);
        json_member_put(&out, "error", c->dump.error), json_member_put(&out, "own_error", c->own.error);
        json_member_put(&out, "worst", c->dump.elem), json_member_put(&out, "own_worst", c->own.elem);
        json_key(&out, "at"), out_text(&out, check_index(d, c, at));
        json_member_put(&out, "found", c->dump.got), json_member_put(&out, "expected", c->dump.want);
        json_member_put(&out, "ulp", ulps(c->dump.got, c->dump.want)), json_close(&out, '}');
    }
    json_close(&out, ']'), json_end(&out);
}

static inline int cmd_verify(int argc, char **argv) {
    Options *o = options_read(argc, argv, VERIFY, "a dump");
    outputs_check(o, NULL, 0);
    State s = {0};
    if (o->init) s = checkpoint_read(o->init, o, false);
    DfPool *pool = df_begin(o->threads);
    Dump d = dump_open(o->file, s.m);
    if (s.m) gpt_free(s.m), tok_free(s.tok), free(s.o);
    const bool right = verify_print(&d, pool, isnan(o->tolerance) ? 0 : o->tolerance);
    if (o->json) verify_json(&d, o->json);
    dump_close(&d), df_end(pool), free(o);
    return right ? 0 : 1;
}
#endif
