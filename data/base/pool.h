/* pool.h: worker threads, which all of the arithmetic runs on.
 *
 * df_run(pool, fn, arg, n) calls fn(arg, task, worker) once for each task 0 .. n-1, on any worker in any
 * order, and returns when all are done. A task may depend on nothing but its number, so results never depend
 * on how many threads there are. The caller is worker 0 and works too. Between runs workers spin for about a
 * tenth of a millisecond, since the next run is usually near, and then sleep. One atomic counter hands out
 * the tasks. It refuses pthread_barrier (absent on macOS) and OpenMP.
 *
 *     DfPool *pool = df_begin(df_cores());
 *     df_run(pool, task, arg, 100);
 *     df_end(pool); */
#ifndef POOL_H
#define POOL_H
#include "base.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

typedef void DfTask(void *arg, size_t task, size_t worker);

enum { DF_WORKERS = 256, DF_SPINS = 4000 };

typedef struct {
    size_t workers;                         /* the caller included */
    pthread_t thread[DF_WORKERS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    DfTask *fn;
    void *arg;
    size_t n;
    _Alignas(64) atomic_size_t run;         /* number of the current run; odd while the pool is ending */
    _Alignas(64) atomic_size_t next;        /* the next task */
    _Alignas(64) atomic_size_t busy;        /* workers that have not finished the current run */
} DfPool;

typedef struct { DfPool *pool; size_t worker; } DfWorker;

static inline void df_relax(void) {         /* tells the core that this is a waiting loop */
#if defined __x86_64__ || defined __i386__
    __asm__ volatile("pause");
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

static inline void df_work(DfPool *p, size_t worker) {
    for (size_t task; (task = atomic_fetch_add(&p->next, 1)) < p->n;) p->fn(p->arg, task, worker);
}

static inline void *df_worker(void *arg) {
    DfWorker w = *(DfWorker *)arg;
    DfPool *p = w.pool;
    free(arg);
    machine_ready();
    for (size_t seen = 0;;) {
        for (int spin = 0; spin < DF_SPINS && atomic_load(&p->run) == seen; spin++) df_relax();
        if (atomic_load(&p->run) == seen) {
            pthread_mutex_lock(&p->lock);
            while (atomic_load(&p->run) == seen) pthread_cond_wait(&p->wake, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load(&p->run);
        if (seen & 1) return NULL;
        df_work(p, w.worker);
        atomic_fetch_sub(&p->busy, 1);
    }
}

static inline void df_announce(DfPool *p, size_t add) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->run, add);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* Runs tasks 0 .. n-1 and returns when the last is done. */
static inline void df_run(DfPool *p, DfTask *fn, void *arg, size_t n) {
    p->fn = fn, p->arg = arg, p->n = n;
    atomic_store(&p->next, 0);
    if (p->workers > 1 && n > 1) {
        atomic_store(&p->busy, p->workers - 1);
        df_announce(p, 2);
        df_work(p, 0);
        for (int spin = 0; atomic_load(&p->busy); spin++) spin < DF_SPINS ? df_relax() : (void)sched_yield();
    } else df_work(p, 0);
}

/* Physical cores that this process may use: CPUs of its affinity mask that are the first of their core. */
static inline size_t df_cores(void) {
    size_t n = 0;
#ifdef __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set))
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            char path[96];
            int first = cpu;
            if (!CPU_ISSET(cpu, &set)) continue;
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
            FILE *f = fopen(path, "r");
            if (f && fscanf(f, "%d", &first) != 1) first = cpu;
            if (f) fclose(f);
            n += first == cpu || !CPU_ISSET(first, &set);
        }
#endif
    if (!n) n = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    return size_max(1, size_min(n, DF_WORKERS));
}

/* A pool of that many workers, the caller included. Ended by df_end. */
static inline DfPool *df_begin(size_t workers) {
    DfPool *p = mem_new(1, sizeof *p);
    if (workers < 1 || workers > DF_WORKERS)
        die("threads: expected 1 to %d, found %zu", DF_WORKERS, workers);
    p->workers = workers;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (size_t i = 1; i < workers; i++) {
        DfWorker *w = mem_new(1, sizeof *w);
        *w = (DfWorker){p, i};
        int error = pthread_create(&p->thread[i], NULL, df_worker, w);
        if (error) die("cannot start thread %zu: %s", i, why(error));
    }
    return p;
}

static inline void df_end(DfPool *p) {
    df_announce(p, 1);
    for (size_t i = 1; i < p->workers; i++) pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->lock), pthread_cond_destroy(&p->wake);
    free(p);
}
#endif
