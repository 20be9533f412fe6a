/* test_machine.h: the machine. The same bits as the serial pass for any chip,
 * schedule, worker and depth; what went off the chip against what the clock says;
 * the clock on pipelines simple enough to work out; what must be refused. */
#ifndef TEST_MACHINE_H
#define TEST_MACHINE_H
#include "test_gpt.h"
#include "../data/run/chip.h"
#include "../data/run/clock.h"
#include "../data/commands/simulate.h"

typedef struct {
    GptConfig c;
    int mask;                       /* of some_masks; -1: dense */
    size_t B, T, P, group, workers;
    int how;                        /* its program is made */
    int purpose;                    /* of its plan */
} MachineCase;

static GptPair machine_pair(const MachineCase *k) {
    SpMat *mats = k->mask < 0 ? NULL : some_masks(&k->c, (size_t)k->mask, 0.3);
    return pair_masked(k->c, mats, k->B, k->T, 0.2, k->workers);
}
/* A hash of losses, gradients and weights of two steps on a chip, or with NULL
 * stage by stage. */
static uint64_t machine_bits(const MachineCase *k, const DfChip *chip,
                             size_t depth) {
    GptPair p = machine_pair(k);
    GptRun *r = gpt_run_new(p.m, p.pool, k->group, k->T, k->P, k->how);
    if (chip) gpt_machine_plan_for(r, *chip, depth, k->purpose);
    const uint64_t h = bits_of_run(&p, r, k->B, k->T, k->group);
    gpt_run_free(r);
    pair_free(&p);
    return h;
}

/* Place k of part s shares no byte of a tile with a later place of the section,
 * and no tile with one of its own part. */
static void check_place(const DfSection *x, size_t s, size_t k, size_t n) {
    const DfPart *part = &x->part[s];
    const DfPlace *a = &x->place[part->place + k];
    for (size_t t = s; t < x->parts; t++)
        for (size_t j = t == s ? k + 1 : 0; j < x->part[t].places; j++) {
            const DfPart *other = &x->part[t];
            const DfPlace *b = &x->place[other->place + j];
            if (a->tile != b->tile) continue;
            CHECK(s != t, "case %zu: %s is twice on tile %zu", n, part->s.name,
                  a->tile);
            CHECK(a->at + part->bytes <= b->at || b->at + other->bytes <= a->at,
                  "case %zu: %s and %s share bytes of tile %zu", n, part->s.name,
                  other->s.name, a->tile);
        }
}
/* The same of all places; none leaves its tile, and no tile holds more than the
 * peak. */
static void check_places(const DfPlan *plan, const DfSection *x, size_t n) {
    size_t *used = mem_new(plan->chip.tiles, sizeof *used);
    for (size_t s = 0; s < x->parts; s++)
        for (size_t k = 0; k < x->part[s].places; k++) {
            const DfPlace *a = &x->place[x->part[s].place + k];
            used[a->tile] += x->part[s].bytes;
            CHECK(a->at + x->part[s].bytes <= plan->chip.sram,
                  "case %zu: a place leaves its tile", n);
            check_place(x, s, k, n);
        }
    for (size_t k = 0; k < plan->chip.tiles; k++)
        CHECK(used[k] <= x->peak,
              "case %zu: tile %zu holds %zu bytes, the peak is %zu", n, k, used[k],
              x->peak);
    free(used);
}
/* What kernels move that is no edge and no weight; of those the host, which has them
 * where they are, moves none. */
static void kernels_moved(const DfSection *x, const DfStream *t, DfClock *all) {
    const double bytes = 64 * df_stream_groups(t);
    for (size_t s = x->loads; s < x->parts; s++) {
        const DfStage *stage = &x->part[s].s;
        if (stage->copies) continue;
        all->in += (stage->reads - stage->random) * bytes;
        all->out += stage->writes * bytes;
        all->random += stage->random * bytes;
    }
}
/* A firing as it was told, and when all that it waits for was there. */
typedef struct {
    size_t tile;
    double from, to, ready;
} Told;

static int told_order(const void *one, const void *other) {
    const Told *a = one;
    const Told *b = other;
    if (a->tile != b->tile) return a->tile < b->tile ? -1 : 1;
    return a->from < b->from ? -1 : a->from > b->from;
}
/* Cycles of firing i of an actor. */
static double told_cost(const DfPlan *plan, const DfGraph *g, const DfActor *actor,
                        const DfStream *t, const DfSection *x, size_t i) {
    DfWork sum = {0};
    const size_t end = size_min((i + 1) * x->span, t->panels);
    for (size_t n = i * x->span; n < end; n++) {
        const DfPanel panel = df_panel(t, n);
        const DfWork work = df_firing(g, &x->part[actor->part].s, actor->u0, actor->u1,
                                      panel.first, panel.groups);
        sum.flops += work.flops;
        sum.gathered += work.gathered;
        sum.moved += work.moved;
    }
    return df_cycles(&plan->chip, &sum);
}
/* The clock of section s of a run's plan, every firing of which it tells: each takes as
 * long as its own work does, whatever tile it was simulated on; begins when all is there
 * and its tile is free; and not later. */
static DfClock check_told(const GptRun *r, size_t s, const DfStream *t, size_t n) {
    const DfGraph *g = &r->machine->graph;
    const DfPlan *plan = r->machine->plan;
    const DfSection *x = &plan->section[s];
    Why why = why_of(g, plan, s, t->panels);
    const DfClock clock = df_clock(g, plan, s, t, why_seen, &why);
    Told *told = mem_new(df_all_firings(x, t->panels), sizeof *told);
    size_t all = 0;
    size_t wrong = 0;
    for (size_t k = 0; k < x->actors; k++) {
        const DfPart *part = &x->part[x->actor[k].part];
        for (size_t i = x->actor[k].replica; i < why.firings; i += part->replicas) {
            const WhyFiring at = why.at[k * why.firings + i];
            const double ready = fmax(why_data(&why, part, i).until,
                                      why_room(&why, part, i).until);
            const double cost = told_cost(plan, g, &x->actor[k], t, x, i);
            wrong += fabs(at.to - at.from - cost) > 1e-9 * at.to || at.from < ready;
            told[all] = (Told){x->actor[k].tile, at.from, at.to, ready};
            all++;
        }
    }
    CHECK(all == df_all_firings(x, t->panels), "case %zu: %zu firings", n, all);
    qsort(told, all, sizeof *told, told_order);
    for (size_t k = 0; k < all; k++) {
        const bool next = k && told[k].tile == told[k - 1].tile;
        const double free_at = next ? told[k - 1].to : 0;
        wrong += told[k].from != fmax(free_at, told[k].ready);
    }
    CHECK(!wrong, "case %zu: %zu of %zu firings too early, too late or too long", n, wrong, all);
    free(told);
    why_free(&why);
    return clock;
}
typedef struct {
    size_t replicas;                /* parts that there are once more */
    size_t kernels;                 /* sections that are stages by themselves */
} Planned;

/* What goes on and off the chip in one pass, counted as it goes, is what the clock
 * says of the plan; and one that is not for workers is as fast as kernels at least. */
static Planned check_moved(const MachineCase *k, const DfChip *chip, size_t depth,
                           size_t n) {
    GptPair p = machine_pair(k);
    GptRun *r = gpt_run_new(p.m, p.pool, k->group, k->T, k->P, k->how);
    double sum = 0;
    double moved[MOVED_KINDS] = {0};
    DfClock all = {0};
    double seconds = 0;
    Planned planned = {0};
    gpt_machine_plan_for(r, *chip, depth, k->purpose);
    gpt_train(r, p.inputs, p.targets, k->B * k->T, &sum);
    const DfPlan *plan = r->machine->plan;
    for (size_t s = 0; s < plan->sections; s++) {
        const DfSection *x = &plan->section[s];
        const DfStream t = df_stream(&r->machine->graph, x->first, r->B, r->groups,
                                     r->panel);
        const DfClock one = check_told(r, s, &t, n);
        seconds += one.seconds;
        check_places(plan, x, n);
        if (x->mode == DF_ALONE) {
            kernels_moved(x, &t, &all);
            planned.kernels++;
            continue;
        }
        df_clock_add(&all, &one);
        for (size_t part = 0; part < x->parts; part++)
            planned.replicas += x->part[part].replicas - 1;
        CHECK(x->peak <= chip->sram, "case %zu: a tile of %zu bytes holds %zu", n,
              chip->sram, x->peak);
    }
    const double kernels = df_clock_kernels(&r->machine->graph, chip, 0, r->program.stages,
                                            r->B, r->panel).seconds;
    CHECK(df_for_workers(plan) || seconds < kernels * (1 + 1e-9),
          "case %zu: %g s, as kernels %g", n, seconds, kernels);
    for (size_t w = 0; w < k->workers * MOVED_KINDS; w++)
        moved[w % MOVED_KINDS] += r->moved[w];
    const double lines[5] = {all.in / 64, all.out / 64, all.random / 64,
                             all.weights / 68, all.grads / 64};
    for (int i = 0; i < 5; i++)
        CHECK(fabs(lines[i] - moved[i]) < 0.5,
              "case %zu: kind %d: %.0f lines moved, the plan said %.0f", n, i,
              moved[i], lines[i]);
    gpt_run_free(r);
    pair_free(&p);
    return planned;
}

/* Whether a plan of the case has memory enough; if not it must say how much would
 * be. */
static bool machine_fits(const MachineCase *k, const DfChip *chip, size_t depth) {
    SpMat *mats = k->mask < 0 ? NULL : some_masks(&k->c, (size_t)k->mask, 0.3);
    Gpt *m = gpt_make(k->c, mats, false, false);
    GptLines *lines = gpt_lines(m);
    const size_t NG = gpt_groups(k->T);
    DfGraph g = gpt_graph(&k->c, lines, NG, size_min(k->P / LINE, NG), k->how);
    DfPlan *plan = NULL;
    const bool died =
        DIES(plan = df_plan(&g, *chip, depth, k->P / LINE, 64, DF_TO_RUN));
    CHECK(!died || strstr(check_line, "sram="), "too small a chip: %s", check_line);
    if (!died) df_plan_free(plan, &g);
    gpt_graph_free(&g);
    gpt_free(m);
    free(mats);
    free(lines);
    return !died;
}

/* A random model, mask and run, by one worker. */
static MachineCase random_case(const size_t pick[14]) {
    const size_t hs = 1 + pick[0] % 20;
    const size_t NH = 1 + pick[1] % 3;
    const size_t T = 1 + pick[2] % 70;
    const size_t B = 1 + pick[3] % 4;
    const int mask = (int)(pick[7] % 3) - 1;
    return (MachineCase){
        .c = {
            .L = 1 + pick[4] % 2,
            .NH = NH,
            .C = NH * hs,
            .V = 17 + pick[5] % 60,
            .ctx = T + pick[6] % 3,
        },
        .mask = mask == 1 ? 4 : mask,
        .B = B,
        .T = T,
        .P = (size_t)16 << pick[8] % 4,
        .group = 1 + pick[9] % B,
        .workers = 1,
        .how = GPT_TRAIN,
        .purpose = DF_TO_RUN,
    };
}
/* On a random chip, of the least memory that does or more. */
static Planned check_case(size_t n) {
    const uint64_t key = rng_key(8, "machine") + n * 1000;
    size_t pick[14];
    for (size_t i = 0; i < 14; i++) pick[i] = rng_u64(key, i) >> 20;
    const MachineCase one = random_case(pick);
    MachineCase k = one;
    DfChip chip = df_chip("host");
    k.workers = 1 + pick[10] % 8;
    if (n % 2) k.how |= GPT_RECOMPUTE;
    if (n % 4 > 1) k.purpose = DF_TO_TRY;
    chip.tiles = 1 + pick[11] % 64;
    chip.sram = n % 3 ? (size_t)4096 << pick[12] % 8 : 4096;
    const size_t depth = 1 + pick[13] % 4;
    const uint64_t want = machine_bits(&one, NULL, 0);
    while (!machine_fits(&k, &chip, depth)) chip.sram += chip.sram / 256 * 64;
    CHECK(machine_bits(&k, &chip, depth) == want,
          "case %zu: L %zu C %zu NH %zu V %zu B %zu T %zu, mask %d, panels of %zu, "
          "groups of %zu, %zu workers, %zu tiles of %zu, depth %zu: other bits than "
          "the serial pass",
          n, k.c.L, k.c.C, k.c.NH, k.c.V, k.B, k.T, k.mask, k.P, k.group, k.workers,
          chip.tiles, chip.sram, depth);
    return check_moved(&k, &chip, depth, n);
}

/* Random models, masks, runs and chips, from the smallest memory that does to
 * plenty. */
static void test_machine_random(void) {
    Planned all = {0};
    for (size_t n = 0; n < (QUICK ? 16 : 200); n++) {
        const Planned planned = check_case(n);
        all.replicas += planned.replicas;
        all.kernels += planned.kernels;
    }
    CHECK(all.replicas > 0 && all.kernels > 0, "%zu replicas, %zu kernels", all.replicas,
          all.kernels);
}

/* A chain of n stages of one unit and one row block between each two. */
static DfGraph line_graph(const double *work, size_t n, size_t lag) {
    DfGraph g = {mem_new(n, sizeof(DfStage)), mem_new(n, sizeof(DfEdge)), n, n, 1, n};
    for (size_t s = 0; s < n; s++) {
        g.stage[s] = (DfStage){
            .kind = (int)s,
            .in = {s ? (int)s - 1 : -1, -1, -1, -1, -1},
            .out = {(int)s, -1},
            .units = 1,
            .per_unit = work[s] / 16,
            .lag = s == 1 ? lag : 0,
        };
        g.edge[s] = (DfEdge){.rows = 16, .base = -1};
        snprintf(g.stage[s].name, sizeof g.stage[s].name, "stage %zu", s);
        snprintf(g.edge[s].name, sizeof g.edge[s].name, "edge %zu", s);
    }
    return g;
}
static void line_free(DfGraph *g) {
    free(g->stage);
    free(g->edge);
}
static double line_cycles(DfGraph *g, DfChip chip, size_t depth, size_t panels,
                          double *seconds) {
    DfPlan *plan = df_plan(g, chip, depth, 1, panels, DF_TO_SIMULATE);
    const DfStream t = {panels, panels, 1, 1, true};
    const DfClock c = df_clock(g, plan, 0, &t, NULL, NULL);
    CHECK(plan->sections == 1, "%zu sections", plan->sections);
    df_plan_free(plan, g);
    if (seconds) *seconds = c.seconds;
    return c.cycles;
}
/* The picture at the head of dataflow.h: who works on which panel in which
 * cycle. */
static void draw_firing(void *picture, const DfSection *x, size_t actor,
                        size_t panel, double from, double to) {
    char (*row)[48] = picture;
    const size_t part = x->actor[actor].part;
    const size_t end = size_min((size_t)to, sizeof *row);
    for (size_t t = (size_t)from; t < end; t++) row[part][t] = (char)('0' + panel);
}
static void test_picture(void) {
    static const char *const want[3] = {
        "A   tile 0   |001122   33  44  55  66  77             |",
        "B   tile 1   |  00001111222233334444555566667777      |",
        "C   tile 2   |      000 111 222 333 444 555 666 777   |"};
    const DfChip chip = {"test", 3, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    const DfStream stream = {8, 8, 1, 1, true};
    DfGraph g = line_graph((const double[3]){2, 4, 3}, 3, 0);
    g.stage[2].in[1] = 0;               /* C reads what A makes, too */
    char row[3][48];
    memset(row, ' ', sizeof row);
    DfPlan *plan = df_plan(&g, chip, 2, 1, 8, DF_TO_SIMULATE);
    df_clock(&g, plan, 0, &stream, draw_firing, row);
    for (size_t s = 0; s < 3; s++) {
        char line[80];
        snprintf(line, sizeof line, "%c   tile %zu   |%.40s|", "ABC"[s], s, row[s]);
        CHECK(!strcmp(line, want[s]), "%s", line);
    }
    df_plan_free(plan, &g);
    line_free(&g);
}
/* So often in a text. */
static size_t times_in(const char *text, const char *what) {
    size_t n = 0;
    while ((text = strstr(text, what))) {
        text += strlen(what);
        n++;
    }
    return n;
}
/* The same three stages, to be asked about: their graph and plan. */
static DfPlan *picture_plan(DfGraph *g) {
    const DfChip chip = {"test", 3, 65536, 4, 1, 1e3, 1e9, 1e18, 1e18, 1, false};
    *g = line_graph((const double[3]){2, 4, 3}, 3, 0);
    g->stage[2].in[1] = 0;
    g->groups = 8;
    return df_plan(g, chip, 2, 1, 8, DF_TO_SIMULATE);
}
/* As a page they take 37 cycles: A works 16 of them, B 32 and C 24, which three tiles
 * could do in 24. A waits for room of C 11 cycles, B for data of A 2, and C for data of
 * B 13: 6 for the first panel, and then 1 each. */
static void test_page(void) {
    static const char *const want[] = {
        "takes 37 ms;", "less than 24 ms<", "a &lt;model>", "<td>0: stage 0 – stage 2<td",
        "<tr><td>stage 0<td>1<td>43 %<td><td>30 % <span class=note>stage 2</span><td>",
        "<tr><td>stage 1<td>1<td>86 %<td>5 % <span class=note>stage 0</span><td><td>\n",
        "<tr><td>stage 2<td>1<td>65 %<td>35 % <span class=note>stage 1</span><td><td>\n",
        "Memory of 3 tiles, 65.5 kB each", "like</thead>"};
    DfGraph g;
    DfPlan *plan = picture_plan(&g);
    Out out = out_memory();
    view_page(&out, "a <model>", &g, plan, 1);
    out_char(&out, 0);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        CHECK(strstr(out.text, want[k]), "%s: not in: %s", want[k], strstr(out.text, "<h1>"));
    const size_t bars = times_in(strstr(out.text, "<svg"), "h-");
    CHECK(bars == 3 * 8, "%zu bars for 3 stages x 8 panels", bars);
    CHECK(times_in(out.text, "V70z") == 3, "%zu tiles hold something", times_in(out.text, "V70z"));
    CHECK(times_in(out.text, "width:0.0%'></i><td>0 B") == 5, "nothing goes off chip");
    CHECK(times_in(out.text, "<details") == 1, "one section");
    out_drop(&out);
    df_plan_free(plan, &g);
    line_free(&g);
}
/* And what --why says of the first of them: the example at the head of why.h. */
static void test_picture_why(void) {
    DfGraph g;
    DfPlan *plan = picture_plan(&g);
    Why why = why_new(&g, plan, 0, 1);
    Out out = out_memory();
    why_follow(&out, &why, 0);
    out_char(&out, 0);
    CHECK(!strcmp(out.text, "stage 0 waits 30 % of the section for room: stage 2 has not "
                            "taken an earlier panel\n"
                            "stage 2 waits 35 % of the section for data: stage 1 has not "
                            "made its panel\n"
                            "stage 1 computes 86 % of the section: those around it go at "
                            "its pace\n"),
          "%s", out.text);
    why_free(&why);
    out_drop(&out);
    df_plan_free(plan, &g);
    line_free(&g);
}
static void no_fire(void *owner, const DfSection *x, const DfActor *a,
                    size_t panel, size_t worker) {
    (void)owner;
    (void)x;
    (void)a;
    (void)panel;
    (void)worker;
}
/* While one actor works for long the other workers sleep: they use no CPU. Eight
 * of them, of which all may be awake or, as on a machine of one core, one. */
static void slow_fire(void *owner, const DfSection *x, const DfActor *a,
                      size_t panel, size_t worker) {
    const struct timespec while_it_works = {0, 50000000};
    (void)owner;
    (void)x;
    (void)panel;
    (void)worker;
    if (a->part == 2) nanosleep(&while_it_works, NULL);
}
static void test_idle_workers(void) {
    const double work[5] = {1, 1, 1, 1, 1};
    const DfChip chip = {"test", 5, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    DfGraph g = line_graph(work, 5, 0);
    DfPlan *plan = df_plan(&g, chip, 3, 1, 10, DF_TO_SIMULATE);
    for (size_t cpus = 1; cpus <= 8; cpus += 7) {
        DfPool *pool = df_begin_on(8, cpus);
        const double start = seconds();
        const clock_t used = clock();
        df_section_run(pool, &plan->section[0], 0, 10, slow_fire, NULL, NULL);
        const double share = (double)(clock() - used) / CLOCKS_PER_SEC / (seconds() - start);
        CHECK(share < IDLE_SHARE(0.7), "8 workers on %zu CPUs wait at %g CPUs",
              cpus, share);
        df_end(pool);
        for (size_t s = 0; s < 5; s++)
            CHECK(df_done(&plan->section[0], s) == 10, "stage %zu", s);
    }
    df_plan_free(plan, &g);
    line_free(&g);
}
static const double clock_work[5] = {100, 300, 700, 200, 50};

static void test_clock(void) {
    DfGraph g = line_graph(clock_work, 5, 0);
    DfChip chip = {"test", 5, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    const double two = line_cycles(&g, chip, 2, 40, NULL);
    const double one = line_cycles(&g, chip, 1, 40, NULL);
    CHECK(fabs(two - (40 * 700 + 650)) < 1e-6,
          "panels x the slowest + fill and drain: %g cycles", two);
    CHECK(one > 1.3 * two,
          "one slot lets no two neighbours work at once: %g cycles, with two slots "
          "%g",
          one, two);
    double before = 0;
    for (chip.memory = 1e12; chip.memory > 1e3; chip.memory /= 2) {
        double now;
        g.stage[0].reads = 50;
        line_cycles(&g, chip, 2, 40, &now);
        CHECK(now >= before, "half the bandwidth makes it faster: %g after %g s",
              now, before);
        before = now;
    }
    line_free(&g);
    const double share = df_bank_share(16, 16, 20000);
    CHECK(fabs(share - 0.325) < 0.004,
          "16 random lanes into 16 banks get %g of the throughput", share);
}
/* A lag that the slots do not hold is refused; where nobody refused it, the
 * watchdog says who waits for whom. */
static void test_lag(void) {
    const DfChip chip = {"test", 5, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    DfGraph g = line_graph(clock_work, 5, 2);
    CHECK(DIES(line_cycles(&g, chip, 2, 40, NULL)) && strstr(check_line, "edge 0") &&
              strstr(check_line, "it needs 3"),
          "a lag of 2 and 2 slots: %s", check_line);
    CHECK(line_cycles(&g, chip, 3, 40, NULL) > 0, "three slots do");
    DfPlan *plan = df_plan(&g, chip, 3, 1, 9, DF_TO_SIMULATE);
    DfPool *pool = df_begin(1);
    df_section_run(pool, &plan->section[0], 0, 9, no_fire, NULL, NULL);
    plan->section[0].part[0].ahead[0] = 2;      /* as if nobody had checked */
    const bool died =
        DIES(df_section_run(pool, &plan->section[0], 0, 9, no_fire, NULL, NULL));
    CHECK(died && strstr(check_line, "stands still") &&
              strstr(check_line, "stage 1 at panel 0 waits for stage 0 at panel 2 "
                                 "waits for stage 1"),
          "the watchdog says: %s", check_line);
    df_end(pool);
    df_plan_free(plan, &g);
    line_free(&g);
}

static void test_chip_files(void) {
    static const Refused bad[] = {
        {"tiles=4\n", "expected sram="},
        {"tiles=4\ntiles=4\n", "once"},
        {"tile=4\n", "key=value"},
        {"tiles=x\n", "a number"},
        {"tiles=0\nsram=64\nelement=4\nflops=2\nclock=1\nport=1\nmemory=1\n"
         "random=1\nlaunch=0\n",
         "tiles: expected a number above 0"},
        {"tiles=1\nsram=64\nelement=4\nflops=2\nclock=1\nport=1\nmemory=-5\n"
         "random=1\nlaunch=0\n",
         "memory: expected a number above 0"},
        {"tiles=1\nsram=64\nelement=4\nflops=2\nclock=1e99\nport=1\nmemory=5\n"
         "random=1\nlaunch=0\n",
         "clock"},
        {"tiles=1\nsram=64\nelement=4\nflops=2\nclock=1\nport=1\nmemory=5\n"
         "random=1\nlaunch=9\n",
         "launch"},
        {"tiles=1.5\nsram=64\nelement=4\nflops=2\nclock=1\nport=1\nmemory=5\n"
         "random=1\nlaunch=0\n",
         "whole number"},
        {"", "expected tiles="},
    };
    char path[] = "/tmp/train-chip-XXXXXX";
    const int fd = mkstemp(path);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        const char *text = bad[k].given;
        CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, text, strlen(text), 0) >= 0,
              "cannot write");
        CHECK(DIES(df_chip(path)) && strstr(check_line, bad[k].expected),
              "'%s': %s", text, check_line);
    }
    close(fd);
    unlink(path);
}
static void test_chips(void) {
    MachineCase k = {{1, 1, 16, 32, 16}, -1, 1, 16, 16, 1, 1, GPT_TRAIN, DF_TO_RUN};
    DfChip chip = df_chip("host");
    chip.tiles = 1;
    chip.sram = 64;
    CHECK(DIES(machine_bits(&k, &chip, 2)) && strstr(check_line, "sram="),
          "a tile of 64 bytes: %s", check_line);
    chip.sram = 100;
    CHECK(DIES(machine_bits(&k, &chip, 2)) && strstr(check_line, "multiple of 64"),
          "100 bytes: %s", check_line);
    CHECK(DIES(machine_bits(&k, &(DfChip){0}, 2)), "no chip at all");
    chip = df_chip("sn30");
    CHECK(DIES(machine_bits(&k, &chip, 2)) && strstr(check_line, "simulated, not run"),
          "bfloat16: %s", check_line);
}
/* Panels of WIDE groups, of matrices in fours: each tile has a list of those of its slice. */
static void test_slices(void) {
    const MachineCase k = {{1, 2, 64, 64, 64}, 4, 4, 64, 64, 4, 2, GPT_TRAIN, DF_TO_RUN};
    const uint64_t want = machine_bits(&k, NULL, 2);
    const char *const chip[] = {"host", "mesh"};
    for (size_t n = 0; n < 2; n++) {
        const DfChip c = df_chip(chip[n]);
        CHECK(machine_bits(&k, &c, 2) == want, "%s: other bits than stage by stage", chip[n]);
    }
}

/* Kernels are charged whole waves: 5 tiles do 40 items of 700 cycles in 8 waves,
 * 4 tiles in 10, 30 in 2. */
static void test_waves(void) {
    DfGraph g = line_graph((const double[1]){700}, 1, 0);
    const DfStream t = {40, 40, 1, 1, true};
    DfChip chip = {"test", 5, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    const size_t tiles[4] = {5, 4, 30, 41};
    const double waves[4] = {8, 10, 2, 1};
    for (size_t k = 0; k < 4; k++) {
        chip.tiles = tiles[k];
        const double cycles = df_clock_kernel(&g, &chip, &g.stage[0], &t).cycles;
        CHECK(fabs(cycles - 700 * waves[k]) < 1e-6,
              "%zu tiles: %g cycles, expected %g waves of 700", tiles[k], cycles,
              waves[k]);
    }
    line_free(&g);
}
/* Three stages that work 1, 2 and 1 cycles share two tiles: each tile has 2 cycles
 * a panel to do. */
static void test_share(void) {
    DfGraph g = line_graph((const double[3]){100, 200, 100}, 3, 0);
    const DfChip chip = {"test", 2, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    const double cycles = line_cycles(&g, chip, 2, 40, NULL);
    CHECK(cycles >= 40 * 200 && cycles <= 43 * 200, "%g cycles, at best %d", cycles,
          40 * 200);
    line_free(&g);
}

/* Of a long stream only the beginning is simulated before a section is chosen. Here
 * twelve replicas of a stage end at once, so that sequences come to an end in bursts;
 * then what was chosen by the beginning is slower to the end than two kernels are. */
static void test_look(void) {
    DfChip chip = {"test", 12, 65536, 4, 1, 1e9, 1e9, 1e18, 1e18, 1, false};
    DfGraph one = line_graph((const double[1]){100}, 1, 0);
    one.stage[0].replicable = true;
    DfPlan *plan = df_plan(&one, chip, 2, 1, 1000, DF_TO_STREAM);
    DfSearch search = {.graph = &one, .plan = plan};
    const DfStream stream = df_stream(&one, 0, 1000, 1, 1);
    const double looked = df_look(&search, &plan->section[0], &stream).cycles;
    const double whole = df_clock(&one, plan, 0, &stream, NULL, NULL).cycles;
    CHECK(plan->section[0].part[0].replicas == 12 && fabs(looked / whole - 1) < 0.05,
          "%zu replicas: %g cycles by the beginning, %g in all",
          plan->section[0].part[0].replicas, looked, whole);
    df_plan_free(plan, &one);
    line_free(&one);

    /* random chains, found among some ten thousand */
    static const size_t found[3] = {10, 3510, 8523};
    for (size_t k = 0; k < 3; k++) {
        const uint64_t key = 99 + 1000 * found[k];
        double work[3];
        for (size_t s = 0; s < 3; s++) work[s] = 1 + (double)(rng_u64(key, s) % 6);
        DfGraph three = line_graph(work, 3, 0);
        three.groups = 1 + rng_u64(key, 3) % 4;
        for (size_t s = 0; s < 3; s++) three.stage[s].replicable = rng_u64(key, 10 + s) % 2;
        three.stage[2].out[0] = DF_NONE;
        chip.tiles = 2 + rng_u64(key, 4) % 10;
        chip.memory = 1e10 * (double)(1 + rng_u64(key, 5) % 2000);
        chip.launch = 0;
        const size_t sequences = 300 + rng_u64(key, 7) % 10;
        plan = df_plan(&three, chip, 1 + rng_u64(key, 6) % 2, 1, sequences * three.groups,
                       DF_TO_SIMULATE);
        const double seconds = df_seconds(&three, plan, sequences);
        const double kernels = df_clock_kernels(&three, &chip, 0, 3, sequences, 1).seconds;
        CHECK(seconds <= kernels, "case %zu: %g s, as kernels %g", found[k], seconds, kernels);
        df_plan_free(plan, &three);
        line_free(&three);
    }
}

/* Seconds that a plan for the chip takes for B sequences; INFINITY: it holds none. */
static double planned_seconds(const DfGraph *g, DfChip chip, size_t groups, size_t B) {
    const size_t panels = B * ((g->groups + groups - 1) / groups);
    if (!df_holds(g, chip, 2, groups)) return INFINITY;
    DfPlan *plan = df_plan(g, chip, 2, groups, panels, DF_TO_SIMULATE);
    const double seconds = df_seconds(g, plan, B);
    df_plan_free(plan, g);
    return seconds;
}
/* A chip drawn by a key, from 2 to 256 tiles of 32 KiB to 1 MiB, with little or much
 * arithmetic, memory, fabric and launch. */
static DfChip some_chip(uint64_t key) {
    DfChip chip = {.name = "test", .element = 4};
    chip.tiles = (size_t)(2 * pow(2, 7 * rng_f64(key, 4)));
    chip.sram = size_up((size_t)(32768 * pow(2, 5 * rng_f64(key, 5))), DF_LINE_BYTES);
    chip.flops = pow(2, 7 * rng_f64(key, 6));
    chip.memory = 1e9 * pow(10, 3 * rng_f64(key, 7));
    chip.random = chip.memory / 4;
    chip.clock = 1e9 * (1 + rng_f64(key, 11));
    chip.port = 16 << rng_u64(key, 12) % 4;
    chip.launch = rng_u64(key, 13) % 2 ? 1e-6 : 0;
    return chip;
}
/* With twice the tiles, the memory of each, the clock or the bandwidth no step takes
 * longer. Of the first four chips the second fails if fewer tiles are not tried, the first
 * if less memory is not, the others if what is simulated is chosen by worse guesses. */
static void test_more_chip(void) {
    static const size_t cases[10] = {338, 100, 164, 376, 123, 389, 233, 285, 177, 109};
    size_t planned = 0;
    for (size_t k = 0; k < (QUICK ? 4 : 10); k++) {
        const uint64_t key = 90000 + 100 * cases[k];
        const size_t NH = 1 + rng_u64(key, 0) % 4;
        const size_t L = 1 + rng_u64(key, 1) % 3;
        const GptConfig c = {L, NH, 16 * NH * (1 + rng_u64(key, 9) % 2), 256, 64};
        const size_t groups = 1 + rng_u64(key, 2) % 4;
        const size_t B = 1 + rng_u64(key, 3) % 4;
        SpMat *mats = NULL;
        if (rng_u64(key, 10) % 2) mats = some_masks(&c, 1 + rng_u64(key, 8) % 2, 0.3);
        Gpt *m = gpt_make(c, mats, false, false);
        GptLines *lines = gpt_lines(m);
        DfGraph g = gpt_graph(&c, lines, 4, groups, GPT_TRAIN);
        const DfChip chip = some_chip(key);
        const double before = planned_seconds(&g, chip, groups, B);
        for (int what = 0; what < 4; what++) {
            static const char *const name[4] = {"tiles", "sram", "clock", "memory"};
            DfChip more = chip;
            if (what == 0) more.tiles *= 2;
            if (what == 1) more.sram *= 2;
            if (what == 2) more.clock *= 2;
            if (what == 3) more.memory *= 2;
            if (what == 3) more.random *= 2;
            const double seconds = planned_seconds(&g, more, groups, B);
            CHECK(seconds <= before, "chip %zu: %g s, of twice the %s %g", cases[k],
                  before, name[what], seconds);
            planned += seconds < INFINITY;
        }
        gpt_graph_free(&g);
        gpt_free(m);
        free(mats);
        free(lines);
    }
    CHECK(planned == (QUICK ? 16 : 40), "%zu plans", planned);
}

/* ---- planted faults: --why names the stage and the cause ----------------- */

enum { CHAIN = 6, CHAIN_PANELS = 40 };

/* A chain of stages of about equal work; edge s goes from stage s to the next. */
static DfGraph chain_graph(uint64_t key) {
    double work[CHAIN];
    for (size_t s = 0; s < CHAIN; s++) work[s] = 100 + (double)(rng_u64(key, s) % 40);
    DfGraph g = line_graph(work, CHAIN, 0);
    g.groups = CHAIN_PANELS;
    return g;
}
static DfPlan *chain_plan(const DfGraph *g) {
    const DfChip chip = {"test", CHAIN, 1 << 20, 4, 1, 1e9, 64, 1e18, 1e18, 1, false};
    DfPlan *plan = df_plan(g, chip, 2, 1, CHAIN_PANELS, DF_TO_SIMULATE);
    CHECK(plan->sections == 1, "%zu sections", plan->sections);
    return plan;
}
/* Of stage `asked` --why says that line among others, and ends at stage `end`.
 * Frees graph and plan. */
static void check_why(DfGraph *g, DfPlan *plan, size_t asked, size_t end,
                      const char *line) {
    Why why = why_new(g, plan, 0, 1);
    Out out = out_memory();
    const size_t found = why_follow(&out, &why, asked);
    out_char(&out, 0);
    CHECK(found == end, "of stage %zu: ends at %zu, not at %zu: %s", asked, found,
          end, out.text);
    CHECK(strstr(out.text, line), "of stage %zu: %s: not in: %s", asked, line,
          out.text);
    why_free(&why);
    out_drop(&out);
    df_plan_free(plan, g);
    line_free(g);
}
/* One stage is ten times as slow. */
static void plant_slow(uint64_t key, size_t asked) {
    char line[100];
    DfGraph g = chain_graph(key);
    const size_t slow = rng_u64(key, 10) % CHAIN;
    g.stage[slow].per_unit *= 10;
    snprintf(line, sizeof line, "stage %zu computes ", slow);
    check_why(&g, chain_plan(&g), asked, slow, line);
}
/* What the last stage makes is so much that the way there takes ten times as long
 * as the work. */
static void plant_link(uint64_t key, size_t asked) {
    DfGraph g = chain_graph(key);
    g.edge[CHAIN - 1].rows = 1000;
    check_why(&g, chain_plan(&g), asked, CHAIN - 1, "stage 5 carries lines ");
}
/* An edge past three others has one slot: who makes it goes round with who reads
 * it, and those between. */
static void plant_slot(uint64_t key) {
    char line[100];
    DfGraph g = chain_graph(key);
    const size_t from = rng_u64(key, 10) % (CHAIN - 3);
    g.stage[from + 3].in[1] = (int)from;
    DfPlan *plan = chain_plan(&g);
    DfPart *part = &plan->section[0].part[from];
    for (size_t k = 0; k < part->gives; k++)
        if (part->give[k] == from + 3) part->ahead[k] = 1;
    snprintf(line, sizeof line,
             "section for room: stage %zu has not taken an earlier panel", from + 3);
    check_why(&g, plan, from, from + 1, line);
}
/* Two stages have one tile, and the smaller, which is first, waits for the larger
 * one's turn. */
static void plant_tile(uint64_t key) {
    char line[100];
    DfGraph g = chain_graph(key);
    const size_t small = rng_u64(key, 10) % (CHAIN - 1);
    const size_t large = small + 1 + rng_u64(key, 11) % (CHAIN - 1 - small);
    DfPlan *plan = chain_plan(&g);
    DfSection *section = &plan->section[0];
    g.stage[large].per_unit *= 3;
    section->part[large].s.per_unit *= 3;
    section->actor[section->part[small].actor].tile =
        section->actor[section->part[large].actor].tile;
    snprintf(line, sizeof line,
             "section for its turn: stage %zu has most of its tile", large);
    check_why(&g, plan, small, large, line);
}
/* A stage looks further ahead than its input has slots: no plan, and the edge is
 * named. */
static void plant_lag(uint64_t key) {
    char line[100];
    DfGraph g = chain_graph(key);
    const size_t late = 1 + rng_u64(key, 10) % (CHAIN - 1);
    const size_t lag = 2 + rng_u64(key, 11) % 5;
    g.stage[late].lag = lag;
    CHECK(DIES(chain_plan(&g)), "stage %zu looks %zu panels ahead of 2 slots", late,
          lag);
    snprintf(line, sizeof line, "edge %zu: 2 slots would stand still", late - 1);
    CHECK(strstr(check_line, line), "%s: not in: %s", line, check_line);
    line_free(&g);
}
/* A chain's firings as workers would note them, from a time on. */
typedef struct {
    DfEvent event[CHAIN * CHAIN_PANELS];
    size_t n;
} Noted;

static void note_firing(void *owner, const DfSection *section, size_t actor,
                        size_t i, double from, double to) {
    Noted *noted = owner;
    (void)section;
    noted->event[noted->n] = (DfEvent){
        .from = 1e6 + from,
        .to = 1e6 + to,
        .actor = (uint32_t)actor,
        .panel = (uint32_t)i,
    };
    noted->n++;
}
/* Of what workers note --why says the same as of what the clock tells. */
static void test_why_noted(uint64_t key) {
    DfGraph g = chain_graph(key);
    g.stage[rng_u64(key, 10) % CHAIN].per_unit *= 2;
    DfPlan *plan = chain_plan(&g);
    Noted *noted = mem_new(1, sizeof *noted);
    const DfStream stream = df_stream(&g, 0, 1, g.groups, plan->groups);
    df_clock(&g, plan, 0, &stream, note_firing, noted);
    Why told = why_new(&g, plan, 0, 1);
    Why found = why_noted(&g, plan, 0, CHAIN_PANELS, noted->event);
    for (size_t s = 0; s < CHAIN; s++) {
        Out one = out_memory();
        Out other = out_memory();
        why_follow(&one, &told, s);
        why_follow(&other, &found, s);
        CHECK(one.n == other.n && !memcmp(one.text, other.text, one.n),
              "stage %zu: %.*s, not %.*s", s, (int)other.n, other.text, (int)one.n,
              one.text);
        out_drop(&one);
        out_drop(&other);
    }
    why_free(&told);
    why_free(&found);
    free(noted);
    df_plan_free(plan, &g);
    line_free(&g);
}
static void test_why(void) {
    for (size_t n = 0; n < 20; n++) {
        const uint64_t key = rng_key(3, "why") + n * 100;
        const size_t asked = rng_u64(key, 7) % CHAIN;
        plant_slow(key, asked);
        plant_link(key, asked);
        plant_slot(key);
        plant_tile(key);
        plant_lag(key);
        test_why_noted(key);
    }
}
/* What the FLOPs of GPT-13B at T=2048 allow, attention counted in full. */
static void test_ceiling(void) {
    const GptConfig c = {40, 40, 5120, 50257, 2048};
    const double sparsity[5] = {0.5, 0.75, 0.875, 0.9, 0.95};
    const double most[5] = {1.85, 3.22, 5.13, 5.81, 7.93};
    for (size_t k = 0; k < 5; k++) {
        const double times = simulate_flops(&c, 1) / simulate_flops(&c, 1 - sparsity[k]);
        CHECK(fabs(times - most[k]) < 0.006, "%g sparse: %g times, expected %g",
              sparsity[k], times, most[k]);
    }
}

/* What the clock says of the machine at hand, for known costs of the pieces: by one
 * worker a section takes as long as all its firings together, and by more no more
 * than that, nor less than an equal share. */
static void test_dealing(void) {
    const BenchStep b = {.c = {2, 2, 32, 40, 48}, .B = 2, .T = 48, .sparsity = 0.5, .threads = 1};
    Options o = {.group = AUTO, .sparsity = 0.5, .block = "16x4", .mask = "balanced",
                 .spread = "uniform", .update = "static", .panel = 16, .depth = 2};
    double alone = 0;
    for (size_t workers = 1; workers <= 3; workers++) {
        DfPool *pool = df_begin(workers);
        Gpt *m = bench_model(&b, &o);
        GptRun *r = gpt_run_new(m, pool, b.B, b.T, o.panel, GPT_TRAIN);
        gpt_machine_plan(r, df_chip("mesh"), o.depth);
        double *rate = mem_new(r->program.stages, sizeof *rate);
        for (size_t s = 0; s < r->program.stages; s++) rate[s] = 1 + (double)s;
        const HostCosts costs = {.load = 0.25};
        HostDeal d = {.job = {.pool = pool}, .costs = &costs, .r = r, .rate = rate, .fire = 7};
        double took = 0;
        double all = 0;
        for (size_t n = 0; n < r->machine->plan->sections; n++) {
            DfSection *section = &r->machine->plan->section[n];
            took += host_deal(&d, section, gpt_panels(r));
            for (size_t k = 0; k < section->actors; k++) {
                const DfActor *actor = &section->actor[k];
                const size_t step = section->part[actor->part].replicas;
                CHECK(atomic_load(&section->actor[k].next) >= d.job.firings,
                      "actor %zu has not done all panels", k);
                for (size_t i = actor->replica; i < d.job.firings; i += step)
                    all += host_firing(&d, actor, i);
            }
        }
        if (workers == 1) alone = took;
        CHECK(workers > 1 || fabs(took / all - 1) < 1e-9, "one worker: %g, of %g", took, all);
        CHECK(took <= alone * (1 + 1e-9) && took >= all / (double)workers,
              "%zu workers: %g, one: %g", workers, took, alone);
        free(rate);
        gpt_run_free(r);
        gpt_free(m);
        df_end(pool);
    }
}
/* The whole of it for one small step, by as many threads as may be awake and by one
 * more: both figures are there. How near they are is no test's business on a machine
 * that others use. */
static void test_validate(void) {
    const size_t cpus = size_min(cores_count(false), DF_WORKERS - 1);
    Options o = {.block = "16x4", .panel = 64, .depth = 2, .chip = "host",
                 .tiles = AUTO, .sram = AUTO};
    for (size_t threads = cpus; threads <= cpus + 1; threads++) {
        HostCase way[2] = {
            {.step = {.c = {1, 1, 16, 40, 32}, .B = 2, .T = 32, .threads = threads}},
        };
        host_case(way, &o);
        for (int k = 0; k < 2; k++)
            CHECK(way[k].predicted > 0 && way[k].measured > 0,
                  "%zu threads, %d: %g s predicted, %g measured", threads, k,
                  way[k].predicted, way[k].measured);
        free(way[0].piece);
    }
    const HostCase pair[3] = {{.predicted = 1, .measured = 2}, {.predicted = 2, .measured = 4},
                              {.predicted = 4, .measured = 8}};
    CHECK(fabs(host_correlation(pair, 3) - 1) < 1e-12, "the logarithms lie on a line");
}

/* The first steps of a run take turns, on the chip and stage by stage, and the faster way
 * stays; the loss is the same. */
static void test_trial(void) {
    const BenchStep b = {.c = {2, 2, 32, 40, 48}, .B = 2, .T = 48, .sparsity = 0.5};
    const Options o = {.group = AUTO, .sparsity = 0.5, .block = "16x4", .mask = "balanced",
                       .spread = "uniform", .update = "static", .panel = 16, .depth = 2,
                       .schedule = "fit", .chip = "host", .tiles = AUTO, .sram = AUTO};
    DfPool *pool = df_begin(2);
    int32_t *inputs = bench_ids(1, b.B * b.T, b.c.V);       /* (B,T) */
    int32_t *targets = bench_ids(2, b.B * b.T, b.c.V);      /* (B,T) */
    for (int slower = 0; slower < 2; slower++) {            /* 1: the chip */
        Gpt *m = bench_model(&b, &o);
        GptRun *r = gpt_run_new(m, pool, b.B, b.T, o.panel, GPT_TRAIN);
        schedule_set(r, &o);
        GptMachine *chip = r->machine;
        double loss[2];
        for (int k = 0; k < 2; k++) loss[k] = train_batch(r, b.B, inputs, targets);
        CHECK(r->trial.left == TRIAL_STEPS - 2 && r->machine == chip, "two turns");
        for (int k = 0; k < 2; k++)
            CHECK(isfinite(r->trial.least[k]), "%s had its turn", k ? "the chip" : "no chip");
        CHECK(loss[0] == loss[1], "losses %.17g and %.17g", loss[0], loss[1]);
        while (r->trial.left) {
            const int on = r->trial.left % 2 == 0;
            r->machine = on ? chip : NULL;
            gpt_trial_note(r, chip, on == slower ? 0 : -1);
        }
        CHECK(!r->trial.left && (r->machine != NULL) == !slower, "the faster one stays");
        gpt_run_free(r);
        gpt_free(m);
    }
    free(inputs);
    free(targets);
    df_end(pool);
}

/* Off the chip, what comes next goes before gradients, for it need not wait for them, unless
 * it writes where they read: n computed again for the layer before goes into the array of n. */
static void test_kernels(void) {
    const GptConfig c = {2, 2, 32, 40, 48};
    DfPool *pool = df_begin(1);
    Gpt *m = gpt_new(c, true);
    for (int again = 0; again < 2; again++) {
        const int how = again ? GPT_TRAIN | GPT_RECOMPUTE : GPT_TRAIN;
        GptRun *r = gpt_run_new(m, pool, 1, c.ctx, 16, how);
        const Program *g = &r->program;
        GptKernel kernel[4];
        size_t s = 0;
        while (s < g->stages && strcmp(g->stage[s].df.name, "h.1.attn.c_attn dw")) s++;
        for (size_t k = 0; k < 4; k++) {        /* gradients of q, k, v; and of the norm */
            const size_t end = gpt_kernel_end(r, s, g->stages);
            kernel[k] = gpt_kernel_of(r, s, end);
            s = end;
        }
        CHECK(!strcmp(kernel[2].stage->df.name, "h.1.ln_1 dx"), "stages");
        CHECK(!gpt_kernel_follows(&kernel[1], &kernel[0]), "two gradients");
        CHECK(gpt_kernel_follows(&kernel[2], &kernel[0]) == again, "again %d", again);
        CHECK(gpt_kernel_follows(&kernel[3], &kernel[2]), "its output is read");

        GptKernel order[4];
        for (size_t k = 0; k < 4; k++) gpt_kernel_append(order, k, kernel[k]);
        CHECK(order[again].stage == kernel[2].stage, "again %d: before gradients", again);
        gpt_run_free(r);
    }
    gpt_free(m);
    df_end(pool);
}

static void test_machine(void) {
    test_trial();
    test_kernels();
    test_dealing();
    test_validate();
    test_clock();
    test_lag();
    test_idle_workers();
    test_picture();
    test_page();
    test_picture_why();
    test_waves();
    test_look();
    test_more_chip();
    test_share();
    test_ceiling();
    test_why();
    test_chip_files();
    test_chips();
    test_slices();
    test_machine_random();
}
#endif
