/* test_pool.h: worker threads, and how many cores there are for them. */
#ifndef TEST_POOL_H
#define TEST_POOL_H
#include "check.h"
#include "../data/base/pool.h"

/* ---- every task once ----------------------------------------------------- */

static void pool_count(void *arg, size_t task, size_t worker) {
    (void)worker;
    atomic_fetch_add((atomic_size_t *)arg + task, 1);
}
/* Many short runs, for these are what a worker that comes late could mix up. */
static void pool_check_runs(size_t workers, size_t cpus) {
    static atomic_size_t count[100];
    static const size_t tasks[] = {0, 1, 2, 3, 8, 100};
    const size_t sizes = sizeof tasks / sizeof *tasks;
    const size_t runs = QUICK ? 300 : 3000;
    DfPool *pool = df_begin_on(workers, cpus);
    for (size_t run = 0; run < runs; run++)
        for (size_t k = 0; k < sizes; k++)
            df_run(pool, pool_count, count, tasks[k]);
    df_end(pool);
    for (size_t task = 0; task < 100; task++) {
        size_t want = 0;
        for (size_t k = 0; k < sizes; k++) want += task < tasks[k] ? runs : 0;
        const size_t found = atomic_exchange(&count[task], 0);
        CHECK(found == want,
              "%zu workers, %zu CPUs: task %zu ran %zu times, not %zu", workers,
              cpus, task, found, want);
    }
}

/* ---- several lots -------------------------------------------------------- */

static void pool_meets(void *arg, size_t task, size_t worker) {
    (void)task;
    (void)worker;
    df_meet(arg);
}
/* Every task of every lot once; and who finds nothing left of one goes on to the next: a
 * task of one lot waits here for one of another. */
static void pool_check_lots(size_t workers) {
    static atomic_size_t count[4][100];
    static const size_t tasks[] = {3, 0, 100, 1};
    const int runs = QUICK ? 100 : 1000;
    DfPool *pool = df_begin_on(workers, workers);
    DfLot lot[4];
    for (int k = 0; k < 4; k++) lot[k] = (DfLot){pool_count, count[k], tasks[k]};
    for (int run = 0; run < runs; run++) df_run_lots(pool, lot, 4);
    for (int k = 0; k < 4; k++)
        for (size_t task = 0; task < 100; task++) {
            const size_t found = atomic_exchange(&count[k][task], 0);
            CHECK(found == (task < tasks[k] ? (size_t)runs : 0),
                  "%zu workers: task %zu of lot %d ran %zu times", workers, task, k, found);
        }
    DfMeeting meeting;
    df_meeting(&meeting, pool);
    for (int k = 0; k < 4; k++) lot[k] = (DfLot){pool_meets, &meeting, 1};
    df_run_lots(pool, lot, workers);
    CHECK(meeting.there == workers, "%zu of %zu met", (size_t)meeting.there, workers);
    df_end(pool);
}

/* A lot of tasks, each of which waits for all tasks of the lot before. */
enum { POOL_CHAIN = 8, POOL_TASKS = 20 };

typedef struct {
    atomic_uint done[POOL_CHAIN + 1];           /* [lots] and what the first waits for */
    atomic_uint early;                          /* tasks that did not wait */
} PoolChain;
typedef struct {
    PoolChain *chain;
    size_t lot;
} PoolLink;

static void pool_follows(void *arg, size_t task, size_t worker) {
    const PoolLink *l = arg;
    (void)task;
    (void)worker;
    df_await(&l->chain->done[l->lot], POOL_TASKS);
    if (l->chain->done[l->lot] < POOL_TASKS) atomic_fetch_add(&l->chain->early, 1);
    atomic_fetch_add(&l->chain->done[l->lot + 1], 1);
}
/* Tasks wait for tasks of lots before, with as many workers as there are CPUs or more. */
static void pool_check_chain(size_t workers, size_t cpus) {
    DfPool *pool = df_begin_on(workers, cpus);
    PoolLink link[POOL_CHAIN];
    DfLot lot[POOL_CHAIN];
    PoolChain chain = {.early = 0};
    for (size_t k = 0; k < POOL_CHAIN; k++) {
        link[k] = (PoolLink){&chain, k};
        lot[k] = (DfLot){pool_follows, &link[k], POOL_TASKS};
    }
    for (int run = 0; run < (QUICK ? 30 : 300); run++) {
        chain.done[0] = POOL_TASKS;
        for (size_t k = 1; k <= POOL_CHAIN; k++) chain.done[k] = 0;
        df_run_lots(pool, lot, POOL_CHAIN);
        CHECK(chain.done[POOL_CHAIN] == POOL_TASKS && !chain.early,
              "%zu workers, %zu CPUs: %u of %d tasks of the last lot, %u early", workers, cpus,
              chain.done[POOL_CHAIN], POOL_TASKS, chain.early);
    }
    df_end(pool);
}

/* ---- who does what ------------------------------------------------------- */

enum { POOL_SHARES = 4, POOL_SHARE = 3 };       /* shares; tasks of each */

typedef struct {
    DfMeeting meeting;
    size_t by[POOL_SHARES * POOL_SHARE];        /* [tasks] the worker */
} PoolShares;

/* Nobody goes past the first task of a share before all shares have begun. */
static void pool_share(void *arg, size_t task, size_t worker) {
    PoolShares *s = arg;
    s->by[task] = worker;
    if (task % POOL_SHARE == 0) df_meet(&s->meeting);
}
/* A worker begins with the same tasks in every run. */
static void pool_check_shares(void) {
    DfPool *pool = df_begin_on(POOL_SHARES, POOL_SHARES);
    for (int run = 0; run < 50; run++) {
        PoolShares s;
        df_meeting(&s.meeting, pool);
        df_run(pool, pool_share, &s, POOL_SHARES * POOL_SHARE);
        for (size_t k = 0; k < POOL_SHARES; k++)
            CHECK(s.by[k * POOL_SHARE] == k, "share %zu was begun by worker %zu", k,
                  s.by[k * POOL_SHARE]);
    }
    df_end(pool);
}

/* ---- who waits ----------------------------------------------------------- */

static void pool_nap(void *arg, size_t task, size_t worker) {
    const struct timespec nap = {0, 20000000};
    (void)arg;
    (void)worker;
    if (task == 0) nanosleep(&nap, NULL);
}
/* Whoever waits for one long task sleeps: ten runs use little of the CPU. */
static void pool_check_waiting(size_t cpus) {
    DfPool *pool = df_begin_on(8, cpus);
    const double start = seconds();
    const clock_t used = clock();
    for (int run = 0; run < 10; run++) df_run(pool, pool_nap, NULL, 8);
    const double share = (double)(clock() - used) / CLOCKS_PER_SEC / (seconds() - start);
    CHECK(share < IDLE_SHARE(0.5), "8 workers on %zu CPUs wait at %g CPUs", cpus, share);
    df_end(pool);
}

/* ---- signals ------------------------------------------------------------- */

/* How many of the signals that end the program a task's thread takes. */
static void pool_ends(void *arg, size_t task, size_t worker) {
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    for (int k = 0; k < 3; k++)
        if (!sigismember(&blocked, end_signal[k]))
            atomic_fetch_add((atomic_int *)arg + (worker > 0), 1);
    pool_nap(NULL, task, worker);
}
/* Only the caller takes them. */
static void pool_check_signals(void) {
    atomic_int taken[2] = {0};              /* by the caller, by the others */
    DfPool *pool = df_begin_on(4, 4);
    df_run(pool, pool_ends, taken, 1);      /* one task is the caller's */
    for (int run = 0; run < 5; run++) df_run(pool, pool_ends, taken, 8);
    df_end(pool);
    CHECK(taken[0] >= 3 && taken[0] % 3 == 0 && taken[1] == 0,
          "taken by the caller %d times, by others %d", taken[0], taken[1]);
}

/* ---- quotas -------------------------------------------------------------- */

static void quota_file(const char *root, const char *path, const char *text) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", root, path);
    for (char *slash = name + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(name, 0777);
        *slash = '/';
    }
    FILE *f = fopen(name, "w");
    if (!f) abort();
    fputs(text, f);
    fclose(f);
}
/* What a tree of a group file and up to four others grants. */
typedef struct {
    const char *name;
    const char *groups;             /* what /proc/self/cgroup says; NULL: none */
    const char *file[8];            /* path, text, path, text ... */
    double cpus;
} Quota;

static const Quota quotas[] = {
    {"no control groups", NULL, {NULL}, INFINITY},
    {"v2, no limit", "0::/a\n", {"sys/fs/cgroup/a/cpu.max", "max 100000\n"}, INFINITY},
    {"v2", "0::/a\n", {"sys/fs/cgroup/a/cpu.max", "150000 100000\n"}, 1.5},
    {"v2, a group around it is narrower", "0::/a/b c/d\n",
     {"sys/fs/cgroup/a/b c/d/cpu.max", "400000 100000\n",
      "sys/fs/cgroup/a/cpu.max", "200000 100000\n"}, 2},
    {"v2, in a container, whose tree begins at its group", "0::/\n",
     {"sys/fs/cgroup/cpu.max", "50000 100000\n"}, 0.5},
    {"v2, the group as those outside know it", "0::/docker/1\n",
     {"sys/fs/cgroup/cpu.max", "300000 100000\n"}, 3},
    {"v2, not a name that begins alike", "0::/ab\n",
     {"sys/fs/cgroup/a/cpu.max", "100000 100000\n"}, INFINITY},
    {"v1", "5:memory:/m\n4:cpu,cpuacct:/a\n",
     {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "120000\n",
      "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "50000\n"}, 2.4},
    {"v1, no limit", "4:cpu:/\n",
     {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n",
      "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}, INFINITY},
    {"v1 beside v2, in a container",
     "2:cpuset:/\n3:cpuacct,cpu:/docker/1\n0::/docker/1\n",
     {"sys/fs/cgroup/cpuacct,cpu/cpu.cfs_quota_us", "100000\n",
      "sys/fs/cgroup/cpuacct,cpu/cpu.cfs_period_us", "100000\n"}, 1},
    {"v1, cpuset is not cpu", "2:cpuset:/\n",
     {"sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n",
      "sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n"}, INFINITY},
    {"what is no group file", "nothing\n:\n",
     {"sys/fs/cgroup/cpu.max", "x y\n"}, INFINITY},
    {"what is no limit", "0::/\n",
     {"sys/fs/cgroup/cpu.max", "100000\n"}, INFINITY},
};

static void pool_check_quotas(void) {
    for (size_t k = 0; k < sizeof quotas / sizeof *quotas; k++) {
        const Quota *q = &quotas[k];
        char root[] = "/tmp/sparseflow-quota-XXXXXX";
        char rm[64];
        if (!mkdtemp(root)) abort();
        if (q->groups) quota_file(root, "proc/self/cgroup", q->groups);
        for (int n = 0; n < 8 && q->file[n]; n += 2)
            quota_file(root, q->file[n], q->file[n + 1]);
        const double found = cores_quota(root);
        CHECK(found == q->cpus, "%s: %g CPUs, not %g", q->name, found, q->cpus);
        snprintf(rm, sizeof rm, "rm -rf %s", root);
        CHECK(system(rm) == 0, "%s", rm);
    }
    CHECK(cores_granted(4, INFINITY) == 4, "no quota");
    CHECK(cores_granted(4, 2.9) == 2, "whole cores only");
    CHECK(cores_granted(4, 0.5) == 1, "one at least");
    CHECK(cores_granted(2, 8) == 2, "no more than there are");
}

static void test_pool(void) {
    static const size_t workers[] = {1, 2, 3, 8};
    for (size_t k = 0; k < 4; k++) {
        pool_check_runs(workers[k], 1);
        pool_check_runs(workers[k], 2);
        pool_check_runs(workers[k], workers[k]);
    }
    for (size_t k = 1; k <= 4; k++) pool_check_lots(k);
    for (size_t k = 1; k <= 4; k++) pool_check_chain(k, k);
    pool_check_chain(8, 2);
    pool_check_chain(8, 1);
    pool_check_shares();
    pool_check_waiting(1);
    pool_check_waiting(8);
    pool_check_signals();
    pool_check_quotas();
}
#endif
