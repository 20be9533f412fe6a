/* pool.h: worker threads, which all of the arithmetic runs on.
 *
 * df_run(pool, fn, arg, n) calls fn(arg, task, worker) once for each task 0 ..
 * n-1, on any worker in any order, and returns when all are done. What a task
 * does may depend on nothing but its number, so results never depend on how many
 * threads there are. The caller is worker 0 and works too; it waits only for
 * workers that have joined the run, so one that sleeps is not missed. Who waits
 * spins for about a tenth of a millisecond, since what he waits for is usually
 * near, and then sleeps. No more workers are awake than there are CPUs: who spins
 * would hold one that somebody with a task needs. It refuses pthread_barrier
 * (absent on macOS) and OpenMP.
 *
 * Whoever is awake does a share of the numbers, the same in every run, and then
 * what is left of the others' shares; an atomic counter a share hands them out:
 *
 *     worker 0   | 0 1 2 3 | 6
 *     worker 1   | 4  5    | 7       5 took long, so worker 0 has helped
 *
 * So panel 3 of one stage mostly finds what the stage before made of panel 3 in
 * the caches of its worker, which matters where CPUs do not share all of them.
 * Of several lots (df_run_lots) who finds nothing left of one goes on to the
 * next, and waits once at the end. So when a task begins, all tasks of the lots
 * before its own have begun, and it may wait for those of them that it needs
 * (df_await), and for nobody else.
 *
 *     DfPool *pool = df_begin(df_cores());
 *     df_run(pool, task, arg, 100);
 *     df_end(pool); */
#ifndef POOL_H
#define POOL_H
#include "base.h"
#include "cores.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

typedef void DfTask(void *arg, size_t task, size_t worker);

enum { DF_WORKERS = 256, DF_SPINS = 4000, DF_LOTS = 32 };

/* The state of a pool is one number, so that joining and closing a run cannot
 * miss each other: the run's number times DF_RUN, DF_OPEN while it may be
 * joined, and how many workers have joined and not left. */
enum { DF_OPEN = 512, DF_RUN = 1024 };

/* A share of the tasks of a lot. */
typedef struct {
    _Alignas(64) atomic_size_t next;        /* the next one of it */
} DfShare;

/* Tasks 0 .. n-1 of one kind: fn(arg, task, worker) for each. */
typedef struct {
    DfTask *fn;
    void *arg;
    size_t n;
} DfLot;

typedef struct {
    size_t workers;                         /* the caller included */
    size_t cpus;                            /* so many of them may be awake */
    pthread_t thread[DF_WORKERS];
    pthread_mutex_t lock;
    pthread_cond_t wake;                    /* a run begins */
    pthread_cond_t done;                    /* the last worker has left a closed one */
    DfLot lot[DF_LOTS];                     /* [lots] */
    size_t lots;
    atomic_bool ending;                     /* set before the last run number */
    _Alignas(64) atomic_size_t state;
    DfShare *share;                         /* [lots][df_seats] */
    _Alignas(64) atomic_size_t awake;       /* workers that do not sleep, the caller included */
} DfPool;

typedef struct {
    DfPool *pool;
    size_t worker;
} DfWorker;

/* Tells the core that this is a waiting loop. */
static inline void df_relax(void) {
#if defined __x86_64__ || defined __i386__
    __asm__ volatile("pause");
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}
/* Whether who waits may look once more, which he has done so often, before he
 * sleeps. */
static inline bool df_may_spin(DfPool *p, int spins) {
    return spins < DF_SPINS && atomic_load(&p->awake) <= p->cpus;
}
/* Sleeps under a lock until `cond` is signalled. */
static inline void df_sleep(DfPool *p, pthread_cond_t *cond,
                            pthread_mutex_t *lock) {
    atomic_fetch_sub(&p->awake, 1);
    pthread_cond_wait(cond, lock);
    atomic_fetch_add(&p->awake, 1);
}
/* Wakes who sleeps on `cond`, if there are CPUs for more; if not for everybody,
 * then one, who wakes the next. */
static inline void df_rouse(DfPool *p, pthread_cond_t *cond) {
    if (atomic_load(&p->awake) >= p->cpus) return;
    if (p->workers > p->cpus) pthread_cond_signal(cond);
    else pthread_cond_broadcast(cond);
}

/* Workers that may be awake at once; each has a share of a lot's tasks. */
static inline size_t df_seats(const DfPool *p) {
    return size_min(p->workers, p->cpus);
}
/* Where share k of lot i's tasks begins, and share k - 1 ends. */
static inline size_t df_share(const DfPool *p, size_t i, size_t k) {
    return k * p->lot[i].n / df_seats(p);
}
/* Of it, the next task that nobody has begun. */
static inline atomic_size_t *df_next(DfPool *p, size_t i, size_t k) {
    return &p->share[i * df_seats(p) + k].next;
}
/* Whether there is a task that nobody has begun. */
static inline bool df_any_left(DfPool *p) {
    for (size_t i = 0; i < p->lots; i++)
        for (size_t k = 0; k < df_seats(p); k++)
            if (atomic_load(df_next(p, i, k)) < df_share(p, i, k + 1)) return true;
    return false;
}
/* A worker does its share of a lot, then what is left of the others', from the next
 * one's on. It looks before it takes: who only looks does not take the counter's line
 * away from who counts. */
static inline void df_work_lot(DfPool *p, size_t i, size_t worker) {
    const DfLot *lot = &p->lot[i];
    const size_t seats = df_seats(p);
    for (size_t k = 0; k < seats; k++) {
        const size_t share = (worker + k) % seats;
        const size_t end = df_share(p, i, share + 1);
        atomic_size_t *next = df_next(p, i, share);
        while (atomic_load(next) < end) {
            const size_t task = atomic_fetch_add(next, 1);
            if (task < end) lot->fn(lot->arg, task, worker);
        }
    }
}
static inline void df_work(DfPool *p, size_t worker) {
    for (size_t i = 0; i < p->lots; i++) df_work_lot(p, i, worker);
}

static inline size_t df_number(DfPool *p) {
    return atomic_load(&p->state) / DF_RUN;
}
static inline size_t df_joined(DfPool *p) {
    return atomic_load(&p->state) % DF_OPEN;
}

/* Waits for a run after number *seen and joins it; *seen becomes its number.
 * One that is closed already is left out. False: the pool ends. */
static inline bool df_join(DfPool *p, size_t *seen) {
    for (;;) {
        int spins = 0;
        while (df_number(p) == *seen && df_may_spin(p, spins)) {
            df_relax();
            spins++;
        }
        if (df_number(p) == *seen) {
            pthread_mutex_lock(&p->lock);
            while (df_number(p) == *seen) df_sleep(p, &p->wake, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
        size_t state = atomic_load(&p->state);
        *seen = state / DF_RUN;
        while (state & DF_OPEN && state / DF_RUN == *seen)
            if (atomic_compare_exchange_weak(&p->state, &state, state + 1))
                return true;
        if (atomic_load(&p->ending)) return false;
    }
}
/* A worker leaves a run, and tells the caller if it was the last one that he
 * waits for. */
static inline void df_leave(DfPool *p) {
    if (atomic_fetch_sub(&p->state, 1) % DF_RUN != 1) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}
static inline void *df_worker(void *arg) {
    DfWorker w = *(DfWorker *)arg;
    DfPool *p = w.pool;
    size_t seen = 0;
    free(arg);
    machine_ready();
    while (df_join(p, &seen)) {
        if (p->workers > p->cpus && df_any_left(p))
            df_rouse(p, &p->wake);
        df_work(p, w.worker);
        df_leave(p);
    }
    return NULL;
}

/* Runs the tasks of so many lots, DF_LOTS at most, and returns when the last is done.
 * A task may wait for tasks of lots before its own, and for no others. */
static inline void df_run_lots(DfPool *p, const DfLot *lot, size_t lots) {
    if (p->workers == 1 || (lots == 1 && lot->n <= 1)) {
        for (size_t i = 0; i < lots; i++)
            for (size_t task = 0; task < lot[i].n; task++) lot[i].fn(lot[i].arg, task, 0);
        return;
    }
    p->lots = lots;
    for (size_t i = 0; i < lots; i++) {
        p->lot[i] = lot[i];
        for (size_t k = 0; k < df_seats(p); k++)
            atomic_store(df_next(p, i, k), df_share(p, i, k));
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->state, DF_RUN + DF_OPEN);
    df_rouse(p, &p->wake);
    pthread_mutex_unlock(&p->lock);
    df_work(p, 0);
    atomic_fetch_sub(&p->state, DF_OPEN);
    for (int spins = 0; df_joined(p) && df_may_spin(p, spins); spins++)
        df_relax();
    if (!df_joined(p)) return;
    pthread_mutex_lock(&p->lock);
    while (df_joined(p)) df_sleep(p, &p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
/* Runs tasks 0 .. n-1 and returns when the last is done. */
static inline void df_run(DfPool *p, DfTask *fn, void *arg, size_t n) {
    df_run_lots(p, &(DfLot){fn, arg, n}, 1);
}

/* Physical cores that this process may use. */
static inline size_t df_cores(void) {
    return size_max(1, size_min(cores_count(true), DF_WORKERS));
}

/* Starts workers 1 .. workers - 1. The signals that end the program are left to
 * the caller: taken by a worker, one would remove the temporary files (base.h)
 * while the caller makes another. */
static inline void df_start(DfPool *p) {
    sigset_t ends;
    sigset_t before;
    sigemptyset(&ends);
    for (int k = 0; k < 3; k++) sigaddset(&ends, end_signal[k]);
    pthread_sigmask(SIG_BLOCK, &ends, &before);     /* a thread begins with its maker's */
    for (size_t i = 1; i < p->workers; i++) {
        DfWorker *w = mem_new(1, sizeof *w);
        *w = (DfWorker){p, i};
        int error = pthread_create(&p->thread[i], NULL, df_worker, w);
        if (error) die("cannot start thread %zu: %s", i, why(error));
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A pool of that many workers, the caller included, of which so many may be
 * awake. Ended by df_end. */
static inline DfPool *df_begin_on(size_t workers, size_t cpus) {
    DfPool *p = mem_new(1, sizeof *p);
    if (workers < 1 || workers > DF_WORKERS)
        die("threads: expected 1 to %d, found %zu", DF_WORKERS, workers);
    p->workers = workers;
    p->cpus = cpus;
    p->share = mem_new(DF_LOTS * df_seats(p), sizeof *p->share);
    atomic_store(&p->awake, workers);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    df_start(p);
    return p;
}

/* The same on this machine. */
static inline DfPool *df_begin(size_t workers) {
    return df_begin_on(workers, cores_count(false));
}

/* A task waits until *count, which tasks of lots before its own add to, has come to n. */
static inline void df_await(atomic_uint *count, unsigned n) {
    for (int spins = 0; atomic_load(count) < n; spins++)
        if (spins < DF_SPINS) df_relax();
        else sched_yield();
}

/* Where the workers of a run wait for one another, as far as there are CPUs for
 * them: each that a task comes to calls df_meet once. */
typedef struct {
    size_t all;
    atomic_size_t there;
} DfMeeting;

/* Before the run. */
static inline void df_meeting(DfMeeting *m, const DfPool *p) {
    m->all = df_seats(p);
    atomic_store(&m->there, 0);
}
static inline void df_meet(DfMeeting *m) {
    atomic_fetch_add(&m->there, 1);
    while (atomic_load(&m->there) < m->all) df_relax();
}

static inline void df_end(DfPool *p) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->ending, true);
    atomic_fetch_add(&p->state, DF_RUN);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 1; i < p->workers; i++) pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    free(p->share);
    free(p);
}
#endif
