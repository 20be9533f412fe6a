/* cores.h: how many cores this process may use.
 *
 *     affinity     CPUs that it may run on at all          sched_getaffinity
 *     cores        of these, one a physical core           Linux: /sys/devices/system/cpu
 *     quota        seconds of CPU a second that its        cgroup v1 and v2
 *                  control groups grant it
 *
 * A container of "one and a half CPUs" sees all of the machine's: only its
 * quota tells. A quota is rounded down to whole cores, for a thread that is
 * stopped when it is used up stops all that wait for it.
 *
 * The quota's reader takes the folder at which the system's tree begins, "" for
 * the real one. */
#ifndef CORES_H
#define CORES_H
#include "base.h"
#include <sched.h>

/* Two numbers of a file: how many could be read. "max" is infinity. */
static inline int quota_numbers(const char *path, double number[2]) {
    FILE *f = fopen(path, "r");
    char word[2][32];
    if (!f) return 0;
    const int n = fscanf(f, "%31s %31s", word[0], word[1]);
    fclose(f);
    for (int k = 0; k < n; k++)
        number[k] = strcmp(word[k], "max") ? strtod(word[k], NULL) : INFINITY;
    return n;
}
/* CPUs that the group with this folder grants; infinity if it says nothing. A
 * quota below 0 is none. */
static inline double quota_of_group(const char *folder) {
    char path[PATH_MAX + 32];
    double quota[2];
    double period[2];
    snprintf(path, sizeof path, "%s/cpu.max", folder);              /* v2: both in one file */
    if (quota_numbers(path, quota) == 2 && quota[1] > 0)
        return quota[0] / quota[1];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (quota_numbers(path, quota) != 1 || quota[0] <= 0) return INFINITY;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return quota_numbers(path, period) == 1 && period[0] > 0
               ? quota[0] / period[0]
               : INFINITY;
}
/* The least that a group and those around it grant, up to the folder at which
 * the tree is mounted. In a container the tree may begin at the group itself:
 * then only the last of these folders is there. */
static inline double quota_of_groups(const char *mount, const char *group) {
    char folder[PATH_MAX];
    double least = INFINITY;
    const size_t top = strlen(mount);
    if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= PATH_MAX)
        return least;
    for (size_t end = strlen(folder); end >= top; end--) {
        if (end > top && folder[end] != '/' && folder[end]) continue;
        folder[end] = 0;
        least = fmin(least, quota_of_group(folder));
    }
    return least;
}
/* Whether a list such as "cpu,cpuacct" names the controller of CPU time. */
static inline bool quota_controls(const char *list) {
    for (const char *name = list; name; name = strchr(name, ',')) {
        name += *name == ',';
        if (!strncmp(name, "cpu", 3) && (!name[3] || name[3] == ','))
            return true;
    }
    return false;
}
/* CPUs that the control groups of this process grant; infinity if there is no
 * limit or nobody who knows. */
static inline double cores_quota(const char *root) {
    char line[PATH_MAX + 64];
    char mount[PATH_MAX];
    double least = INFINITY;
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "r");
    while (f && fgets(line, sizeof line, f)) {                      /* number:controllers:group */
        char *list = strchr(line, ':');
        char *group = list ? strchr(list + 1, ':') : NULL;
        if (!group) continue;
        list++;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        if (*list && !quota_controls(list)) continue;
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s%.100s", root,
                 *list ? "/" : "", list);
        least = fmin(least, quota_of_groups(mount, group));
    }
    if (f) fclose(f);
    return least;
}
/* The whole cores of a quota, at least 1 and at most n. */
static inline size_t cores_granted(size_t n, double quota) {
    return quota < (double)n ? size_max(1, (size_t)quota) : n;
}

#ifdef __linux__
/* The first CPU of the core that a CPU belongs to; itself if the system does
 * not say. */
static inline int cores_first(int cpu) {
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path,
             "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &first) != 1) first = cpu;
    if (f) fclose(f);
    return first;
}
#endif
/* CPUs that this process may run on, or, of several that share a physical core,
 * one. */
static inline size_t cores_count(bool physical) {
    size_t n = 0;
#ifdef __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set))
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (!CPU_ISSET(cpu, &set)) continue;
            const int first = physical ? cores_first(cpu) : cpu;
            n += first == cpu || !CPU_ISSET(first, &set);
        }
#endif
    if (!n) n = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    return cores_granted(n, cores_quota(""));
}
#endif
