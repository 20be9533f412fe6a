/* train.c: the program. The training step and its loop, `run`, and the table of
 * commands; the options are in data/run/options.h.
 *
 *     ./train                               a demonstration: dense and sparse,
 *                                           no files needed
 *     ./train run --text FILE --out M       text -> vocabulary -> random weights
 *                                           -> trained GPT
 *     ./train run --resume M --text FILE    goes on, bit for bit
 *     ./train sample M --prompt TEXT        the model continues the text
 *     ./train help                          every command and option
 *
 * It refuses to guess: an option that a command does not take, a number out of
 * range or a file that is not what it should be ends in one line and status 2.
 * Status 1: a check failed. Status 3: stopped early.
 *
 * An option either decides the result (model, data, optimizer, seed) and is
 * stored in the checkpoint, or says how to run (threads, files) and is not;
 * --resume takes only the second kind.
 *
 * What run_step does, and where each line of it is written down:
 *
 *     batch_train            B windows of T tokens           data/text/loader.h
 *     train_batch            loss and gradient, forward      data/run/schedule.h;
 *                            and backward                    gpt.h: layer_forward
 *     gpt_gradient_norm      the gradient's global norm      data/run/adamw.h
 *     gpt_adamw              the weights move                data/run/adamw.h
 *     masks_step             blocks are dropped and grown    data/run/masks.h */
#include "gpt.h"
#include "data/base/cpu.h"
#include "data/commands/bench.h"
#include "data/commands/convert.h"
#include "data/commands/eval.h"
#include "data/commands/sample.h"
#include "data/commands/simulate.h"
#include "data/commands/tokenize.h"
#include "data/compare/demo.h"
#include "data/judge/measure.h"
#include "data/run/adamw.h"
#include "data/run/help.h"
#include "data/run/lock.h"
#include "data/run/log.h"
#include "data/run/peak.h"
#include "data/run/state.h"
#include "data/verify/verify.h"
#include <float.h>
#include <sys/resource.h>

/* ---- run: training ------------------------------------------------------- */

/* The rate of step 0 .. steps-1: linear, then a cosine. */
static double learning_rate(const Options *o, size_t step) {
    if (step < o->warmup) return o->lr * (double)(step + 1) / (double)o->warmup;
    const double rest = fmax(1, (double)(o->steps - o->warmup));
    const double part = (double)(step - o->warmup) / rest;
    return o->min_lr + 0.5 * (1 + det_cos(part / 2)) * (o->lr - o->min_lr);
}

/* The most bytes that this process had in memory. */
static size_t peak_memory(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
#ifdef __APPLE__
    return (size_t)u.ru_maxrss;
#else
    return (size_t)u.ru_maxrss * 1024;
#endif
}
/* Of the processor's multiply-adds, what share a step of so many seconds did. */
static double share_of_peak(const Run *run, double step) {
    const double flops = flops_per_token(run->s.m, run->s.o->context, false);
    return flops * tokens_per_step(run->s.o) / step / run->peak;
}

static void run_json(const Run *run, const Score *val, double step) {
    Out out = out_open(run->s.o->json);
    const double none = run->n ? 1 : NAN;   /* no step was taken, none measured */
    out_char(&out, '{');
    json_member_put(&out, "steps", (double)run->s.step);
    json_member_put(&out, "train_loss", none * run->loss);
    json_score(&out, val, run->d->floor);
    json_member_put(&out, "tokens_per_second",
                    none * tokens_per_step(run->s.o) / step);
    json_member_put(&out, "step_ms", none * 1000 * step);
    json_member_put(&out, "flops_per_token",
                    flops_per_token(run->s.m, run->s.o->context, false));
    json_member_put(&out, "peak_share", none * share_of_peak(run, step));
    json_member_put(&out, "peak_memory_bytes", (double)peak_memory());
    json_member_put(&out, "parameters", (double)parameters(run->s.m, false));
    json_member_put(&out, "active_parameters",
                    (double)parameters(run->s.m, true));
    json_end(&out);
}

/* One line of progress, of the step just done. bits: its bits/byte, 0 if the
 * tokens' bytes are not known. */
static void run_progress(const Run *run, double bits) {
    const Options *o = run->s.o;
    const double step = run->took[run->n - 1];
    const double steps_left = (double)(o->steps - run->s.step);
    const double left = steps_left * (seconds() - run->start) / (double)run->n;
    char line[200];
    char known[32] = "";
    if (bits > 0) snprintf(known, sizeof known, "  %.3f bits/byte", bits);
    snprintf(line, sizeof line,
             "step %zu/%zu  loss %.4f%s  %.0f tokens/s  %.0f %% of peak  "
             "%.0f:%02.0f left",
             run->s.step, o->steps, run->loss, known, tokens_per_step(o) / step,
             100 * share_of_peak(run, step), floor(left / 60), floor(fmod(left, 60)));
    if (run->terminal) {
        progress("%s", line);
        return;
    }
    puts(line);
    fflush(stdout);
}

/* Validates on the first val_tokens, keeps the best, saves the last. Nothing is
 * validated once interrupted. */
static Score run_milestone(Run *run) {
    const Options *o = run->s.o;
    const Score score = evaluate(run->r, run->d, o->val_tokens, NULL, NULL);
    const double loss = score.nats / (double)score.tokens;
    if (run->terminal) printf("\n");
    if (!interrupted && !o->quiet) {
        printf("step %zu: ", run->s.step);
        score_print("validation", &score, run->d->floor);
    }
    if (!interrupted && loss < run->s.best) {
        run->s.best = loss;
        run_save(run, run->best);
    }
    run_save(run, run->out);
    return score;
}

/* A loss or gradient that is not finite ends the run; the checkpoint stays that
 * of the last milestone. */
__attribute__((noreturn)) static void run_not_finite(const Run *run) {
    char name[64];
    fflush(stdout);
    fprintf(stderr,
            "train: step %zu: loss %g, norm of the gradient %g, first seen in %s; "
            "last good checkpoint: %s\n",
            run->s.step + 1, run->loss, run->norm, gpt_first_bad(run->r, name),
            run->saved ? run->saved : "none");
    exit(3);
}

/* Bytes of text of a step's targets, 0 if the tokens' bytes are not known. */
static double bytes_of(const Data *d, const int32_t *targets, size_t n) {
    double bytes = 0;
    for (size_t i = 0; d->bytes && i < n; i++) bytes += d->bytes[targets[i]];
    return bytes;
}

/* One optimizer step on the next batch. False if loss or gradient is not finite:
 * then weights and moments are as they were. */
static bool run_step(Run *run) {
    State *s = &run->s;
    const Options *o = s->o;
    const size_t T = o->context;
    const size_t B = o->batch;
    const double start = seconds();
    const bool notes = (o->trace || o->why) && s->step == run->first;   /* firings */

    int32_t *inputs = mem_new(B * T, sizeof *inputs);       /* (B,T) */
    int32_t *targets = mem_new(B * T, sizeof *targets);     /* (B,T) */
    batch_train(&run->d->train, o->seed, s->step * B, B, T, inputs, targets);
    run->bytes = bytes_of(run->d, targets, B * T);
    run->lr = learning_rate(o, s->step);

    /* RigL grows where the gradient of a dense weight is largest: on the steps
     * that change its masks the model trains as a dense one, for its gradient */
    const bool score = parse_update(o) == RIGL && masks_due(o, s->step + 1);
    float **grow = score ? mem_new(s->m->count, sizeof *grow) : NULL;
    Gpt *sparse = score ? masks_dense_begin(run->r) : NULL;
    run->flops = flops_per_token(s->m, T, score) * tokens_per_step(o);

    if (notes) notes_begin(run->r, o);
    run->r->dropout.step = s->step;
    run->loss = train_batch(run->r, B, inputs, targets);   /* forward, backward */
    if (notes) notes_end(run->r, o);

    if (score) masks_dense_end(run->r, sparse, grow);
    run->norm = gpt_gradient_norm(s->m, run->r->pool);
    const bool finite = isfinite(run->loss) && isfinite(run->norm);
    if (finite) {
        const GptAdam adam = {run->lr, o->beta1, o->beta2, o->eps, o->decay, o->clip};
        s->step++;
        gpt_adamw(s->m, run->r->pool, &adam, s->step, run->norm);
        if (score) run->scoring += seconds() - start;
        masks_step(o, run->r, s->step, grow, o->quiet);
        s->m = run->r->m;       /* another one, if masks have changed */
        run->took = mem_grow(run->took, run->n, &run->cap, sizeof *run->took);
        run->took[run->n] = seconds() - start;
        run->n++;
    }
    for (size_t k = 0; grow && k < s->m->count; k++) free(grow[k]);
    free(grow);
    free(inputs);
    free(targets);
    return finite;
}

/* One line of the CSV log, if there is one. What the disk does not take ends the run, after a
 * checkpoint. */
static void run_log(Run *run, double bits) {
    out_print(&run->log, "%zu,%.9g,%.6g,%.6g,%.6g,%.4f\n", run->s.step, run->loss,
              bits, run->lr, run->norm, run->took[run->n - 1]);
    if (out_flush(&run->log)) return;
    run_save(run, run->out);
    die("%s: cannot write: %s; the checkpoint is written", run->s.o->log,
        why(run->log.error));
}

/* Whether the step just done is to be shown: on a terminal five times a second,
 * else every ten steps. */
static bool run_shows(const Run *run, double shown, size_t end) {
    if (run->s.o->quiet) return false;
    if (run->terminal) return seconds() - shown > 0.2;
    return run->s.step % 10 == 0 || run->s.step == end;
}

/* Which schedule was the faster one, when that has just been tried. */
static void run_tried(const Run *run) {
    const GptTrial *t = &run->r->trial;
    if (run->s.o->quiet) return;
    if (run->terminal) printf("\n");
    printf("step %zu: forward and backward of a sequence take %.1f ms by dataflow, %.1f ms by "
           "kernels: %s from here on\n",
           run->s.step, 1000 * t->least[1], 1000 * t->least[0],
           run->r->machine ? "dataflow" : "kernels");
}

/* Steps until the last one, --stop or an interruption. */
static void run_loop(Run *run) {
    const State *s = &run->s;
    const Options *o = s->o;
    const size_t end = size_min(o->stop, o->steps);
    double shown = 0;
    run->first = s->step;
    run->start = seconds();
    /* the milestone in which the run was stopped, if it was */
    if (s->step && s->step % o->every == 0 && s->step < end) run_milestone(run);
    while (s->step < end && !interrupted) {
        const bool tries = run->r->trial.left;
        if (!run_step(run)) run_not_finite(run);
        if (tries && !run->r->trial.left) {
            run->tried = run->n;
            run_tried(run);
        }
        const double nats = run->loss * tokens_per_step(o);
        const double bits = run->bytes > 0 ? nats / run->bytes / NATS_PER_BIT : 0;
        run_log(run, bits);
        if (run_shows(run, shown, end)) {
            run_progress(run, bits);
            shown = seconds();
        }
        if (s->step % o->every == 0 && s->step < end) run_milestone(run);
    }
}

/* ---- run: its files and words --------------------------------------------- */

/* Dies if a run would begin over another's files. */
static void run_check(const Run *run, const Options *o) {
    const char *const output[3] = {run->out, run->best, o->log};
    const char *const taken[3] = {run->out, run->best, lock_path()};
    struct stat st;
    outputs_check(o, taken, 3);         /* first: it takes away what a killed run left */
    for (int k = 0; k < 3; k++) {
        const bool log = output[k] == o->log;
        const bool own = o->resume && (log || file_same(run->out, o->resume));
        if (!output[k] || own || !file_stat(output[k], &st) || !S_ISREG(st.st_mode)) continue;
        if (!log || !log_is_new(output[k]))
            die("%s: exists already: --resume it, or name another file", output[k]);
    }
    output_check(run->out, o, NULL);
    output_check(run->best, o, o->resume);
}

/* What is about to be trained. need: bytes of memory. */
static void run_describe(const Run *run, double need) {
    const Options *o = run->s.o;
    const Gpt *m = run->s.m;
    const double all = (double)parameters(m, false);
    const double active = (double)parameters(m, true);
    char mask[LINE_BYTES];                      /* a checkpoint may have named it */
    text_show(mask, sizeof mask, o->mask, strlen(o->mask), "");
    printf("%zu layers x %zu, %zu heads, vocabulary %zu, context %zu: "
           "%.2f M parameters\n",
           m->c.L, m->c.C, m->c.NH, m->c.V, m->c.ctx, all / 1e6);
    if (masks_wanted(o) || active < all)
        printf("the four matrices of each layer %.4g %% dense now, in blocks of %s: "
               "%.2f M parameters active; masks %s, %s\n",
               100 * masks_density(m), o->block, active / 1e6, mask,
               o->update);
    rate_describe(o, &m->c, masks_rate_density(o, m));
    printf("%zu training and %zu validation tokens; batch %zu x %zu, "
           "%zu sequences at a time; %.2f GiB of memory\n",
           run->d->train.n, run->d->val.n, o->batch, o->context, run->r->B,
           need / 0x1p30);
    if (run->r->machine) {
        const DfPlan *plan = run->r->machine->plan;
        printf("dataflow in %zu sections on %zu tiles of %zu KiB%s; ", plan->sections,
               plan->chip.tiles, plan->chip.sram / 1024,
               run->r->trial.left ? ", or kernels if these are faster" : "");
    }
    printf("%zu thread%s, %.0f GFLOP/s at most; checkpoint %s\n", o->threads,
           o->threads > 1 ? "s" : "", run->peak / 1e9, run->out);
}

/* The median seconds of a step: of those after the trial, which took both schedules in
 * turns; if there are none, of all. */
static double run_step_seconds(const Run *run) {
    const size_t first = run->tried < run->n ? run->tried : 0;
    return stats_median(run->took + first, run->n - first);
}
/* The end of a run: the whole validation text, the summary and the results as
 * JSON. */
static void run_finish(Run *run) {
    const Options *o = run->s.o;
    Score val = run_milestone(run);
    const bool more = val.tokens + 1 < run->d->val.n;
    if (run->s.step == o->steps && more && !interrupted) {
        val = evaluate(run->r, run->d, 0, NULL, o->quiet ? NULL : "text held out");
        if (!interrupted && !o->quiet)
            score_print("all of the validation text:", &val, run->d->floor);
    }
    const double step = run_step_seconds(run);
    if (!o->quiet && step > 0)
        printf("%.0f tokens/s, %.1f ms a step, %.0f %% of peak, "
               "%.2f GiB of memory at most\n",
               tokens_per_step(o) / step, 1000 * step, 100 * share_of_peak(run, step),
               (double)peak_memory() / 0x1p30);
    if (!o->quiet && run->scoring > 0)
        printf("%.1f s of it in steps with dense gradients, to score the masks\n",
               run->scoring);
    if (o->json && !interrupted) run_json(run, &val, step);
}

/* A line that goes on with a run: its checkpoint and what no checkpoint names, what it reads,
 * its log, and how often it validates, which is of the steps that can be the best. On the
 * heap. */
static char *run_resume_line(const Run *run) {
    const Options *o = run->s.o;
    const char *word[2 * FILES_MAX + 12] = {"run", "--resume", run->out};
    char every[32];
    int n = 3;
    if (o->text.n) word[n++] = "--text";
    for (size_t k = 0; k < o->text.n; k++) word[n++] = o->text.item[k];
    if (o->tokens.n) word[n++] = "--tokens";
    for (size_t k = 0; k < o->tokens.n; k++) word[n++] = o->tokens.item[k];
    if (o->raw16) word[n++] = "--raw16";
    if (o->val) word[n++] = "--val";
    if (o->val) word[n++] = o->val;
    if (o->log) word[n++] = "--log";
    if (o->log) word[n++] = o->log;
    snprintf(every, sizeof every, "%zu", o->every);
    if (option_given(o, "every")) word[n++] = "--every";
    if (option_given(o, "every")) word[n++] = every;
    return words_join(n, word);
}
/* What to type next. */
static void run_next(const Run *run) {
    const Options *o = run->s.o;
    const bool stories = !o->text.n && !o->tokens.n;
    const char *kind = o->tokens.n ? "--tokens" : "--text";
    const char *prompt = stories ? "One day" : "The";
    char *resume = run_resume_line(run);
    char *sample = words_join(4, (const char *[]){"sample", run->out, "--prompt", prompt});
    char *eval = words_join(stories ? 2 : o->raw16 ? 5 : 4, (const char *[]){
        "eval", run->out, kind, o->val ? o->val : "A-TEXT-IT-HAS-NOT-SEEN", "--raw16"});
    printf("\nNext:\n\n");
    if (run->s.step < o->steps) printf("    %s\n", resume);
    if (run->s.tok) printf("    %s\n", sample);
    printf("    %s\n", eval);
    free(resume);
    free(sample);
    free(eval);
}

static int cmd_run(int argc, char **argv) {
    Options *o = options_read(argc, argv, RUN, NULL);
    Data d = {0};
    Run run = {.out = o->out, .d = &d};
    if (o->resume && !option_given(o, "out")) run.out = o->resume;
    if (snprintf(run.best, sizeof run.best, "%s.best", run.out) >= PATH_MAX - 32)
        die("%.60s...: expected a shorter path", run.out);
    if ((o->trace || o->why) && parse_schedule(o) != DATAFLOW)
        usage("--trace and --why need --schedule dataflow");
    schedule_agree(o);
    lock_take(run.out);
    run_check(&run, o);

    run.s = o->resume ? state_resume(o, &d) : state_new(o, &d);
    if (o->resume && file_same(run.out, o->resume)) run.saved = run.out;
    else run.s.best = INFINITY;
    if (o->resume) run_check(&run, o);          /* with what the checkpoint names, too */
    if (option_given(o, "stop") && o->stop <= run.s.step)
        usage("--stop: expected more than the %zu steps that are done, found %zu", run.s.step,
              o->stop);
    const double density = masks_density(run.s.m);
    const double need = run_bytes(o, &run.s.m->c, density) + data_bytes(&d);
    mem_check(need, "the run (try --group 1, a smaller --panel or model)");

    DfPool *pool = df_begin(o->threads);
    if (!o->quiet || o->json) run.peak = peak_flops(pool);
    peak_note();
    run.terminal = !o->quiet && isatty(1);
    run.log = log_open(o->log, run.s.step);
    run_open(&run, pool);
    if (!o->quiet) run_describe(&run, need);
    fflush(stdout);                             /* a pipe shows it before the first step, too */
    if (o->show_mask) masks_show(run.s.m);
    if (!run.saved) run_save(&run, run.out);    /* now, if it cannot be done */
    signals_catch();                            /* before, there is nothing to save */

    run_loop(&run);
    if (interrupted) run_save(&run, run.out);
    else run_finish(&run);
    const bool early = interrupted;
    if (early) printf("%sinterrupted at step %zu\n", run.terminal ? "\n" : "", run.s.step);
    if (early || !o->quiet) run_next(&run);
    out_done(&run.log);
    run_close(&run);
    tok_free(run.s.tok);
    data_free(&d);
    df_end(pool);
    lock_leave();
    options_free(o);
    return early ? 3 : 0;
}

/* ---- the commands, help, and where the program begins ----------------------- */

static int cmd_help(int argc, char **argv);
/* Those that train get the training step, for they live on a lower floor. */
static int train_compare(int argc, char **argv) {
    return cmd_compare(argc, argv, run_step);
}

static const struct {
    const char *name;
    int bit;
    int (*run)(int, char **);
    const char *help;
} commands[] = {
    {"run", RUN, cmd_run, "train a model"},
    {"compare", COMPARE, train_compare,
     "dense against sparse arms: quality, time, and how sure that is"},
    {"eval", EVAL, cmd_eval,
     "CKPT [CKPT]: all that is measured on a text; of two, which is the better one"},
    {"sample", SAMPLE, cmd_sample, "CKPT: text from a model"},
    {"tokenize", TOKENIZE, cmd_tokenize, "standard input to ids, and back"},
    {"verify", VERIFY, cmd_verify,
     "DUMP: another program's numbers, or an llm.c debug state, by tensor"},
    {"dump", DUMP, cmd_dump,
     "OUT: a model, a batch and what must come of them, for others to check"},
    {"convert", CONVERT, cmd_convert,
     "IN OUT: between checkpoints and models of Hugging Face, llm.c, llama.cpp"},
    {"simulate", SIMULATE, cmd_simulate,
     "a training step on a described chip: sections, traffic, cycles; no data"},
    {"bench", BENCH, cmd_bench,
     "kernels and whole steps against this machine's own peak"},
    {"help", 0, cmd_help,
     "[COMMAND] [--all]: what there is, or a command's options"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* The place of a command; dies if there is none of that name. */
static int command_find(const char *name) {
    Nearest near = nearest_to(name);
    for (int k = 0; k < COMMANDS; k++) {
        if (!strcmp(name, commands[k].name)) return k;
        nearest_offer(&near, commands[k].name);
    }
    if (!near.name) usage("unknown command '%s'", name);
    usage("unknown command '%s'; the nearest one is %s", name, near.name);
}
/* All commands, or one with its options: `help [COMMAND] [--all]`. */
static int cmd_help(int argc, char **argv) {
    const bool all = argc > 1 && !strcmp(argv[argc - 1], "--all");
    const int named = argc - 1 - all;
    const int only = named > 0 ? command_find(argv[1]) : COMMANDS;
    if (named > 1) usage("help: expected a command and --all, found '%s'", argv[2]);
    if (only == COMMANDS)
        printf("./train            a demonstration: a dense and a sparse GPT on "
               "stories, compared\n");
    for (int k = 0; k < COMMANDS; k++) {
        if (only != COMMANDS && only != k) continue;
        printf("./train %-10s %s\n", commands[k].name, commands[k].help);
        if (all || only == k) help_options(commands[k].bit, commands[k].name, all);
    }
    if (only == COMMANDS && !all)
        printf("./train help COMMAND: its options; help --all: those of every command\n");
    printf("every command: --threads N, by default the physical cores; --help, this "
           "about it\n");
    printf("this build computes with %s\n", cpu_width_name(LANES));
    return 0;
}

/* What data/base/start.c asks before it goes on to program. */
const char *const *const program_built_for = cpu_built_for;

/* Of standard input, output and errors those that are closed become /dev/null, which takes
 * no writing on input's side and no reading on the others': the next file that is opened would
 * have their number, and get what is printed. False if that cannot be. */
static bool streams_open(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            return false;
    return true;
}

int program(int argc, char **argv) {
    /* --help, or COMMAND --help */
    const char *last = argc == 2 || argc == 3 ? argv[argc - 1] : "";
    int status;
    if (!streams_open()) return 2;
    machine_ready();
    if (FLT_EVAL_METHOD)
        note("this build computes in wider registers (x87): its bits are its own");
    signal(SIGXFSZ, SIG_IGN);                   /* errors of write, not ends of ... */
    signal(SIGPIPE, SIG_IGN);                   /* ... the program */
    signals_to(passing_signal);
    if (!strcmp(last, "--help") || !strcmp(last, "-h"))
        status = cmd_help(argc - 1, argv);
    else if (argc > 1)
        status = commands[command_find(argv[1])].run(argc - 1, argv + 1);
    else
        status = cmd_demo(argv[0], run_step);
    if (fflush(stdout)) die_of("standard output", "write");
    if (ferror(stdout)) die("standard output: cannot write: a part of it was not taken");
    return status;
}
