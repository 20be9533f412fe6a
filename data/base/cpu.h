/* cpu.h: what the processor can do, told at run time, beside what this binary
 * was compiled for.
 *
 * The compiler decides once how wide the kernels are; the processor that runs
 * them may be wider, and then time is lost, or narrower, and then the first
 * wide instruction ends the program. So both are asked here: start.c refuses
 * what cannot run, a note names what is left unused, and bench holds the
 * kernels against the widest multiply-add that processor and operating system
 * have, whatever the compiler made of them.
 *
 *                     floats a multiply-add   told by
 *     x86 AVX-512               16            cpuid, and the registers that the system
 *                                             saves
 *     x86 AVX2 and FMA           8            the same
 *     64-bit ARM                 4            always there; SVE of more than 128 bits is
 *                                             not looked for
 *     any other                  4            a guess: what compilers make of 16 bytes
 *
 * It refuses to choose: one binary has one width. Example: on a processor of
 * Zen 4 cpu_lanes is 16, and a binary made for AVX2 has LANES 8: half of it is
 * left unused. */
#ifndef CPU_H
#define CPU_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Floats of the widest multiply-add that this processor has. */
static inline size_t cpu_lanes(void) {
#if defined __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return 16;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 8;
#endif
    return 4;
}

/* A line such as "AVX-512, 16 floats a multiply-add". */
static inline const char *cpu_width_name(size_t lanes) {
    if (lanes == 16) return "AVX-512, 16 floats a multiply-add";
    if (lanes == 8) return "AVX2, 8 floats a multiply-add";
    return "4 floats a multiply-add";
}

/* The first line of a file of the system, without its end; "" if it cannot be
 * read. */
static inline void cpu_line(const char *path, char *line, int size) {
    FILE *f = fopen(path, "r");
    line[0] = 0;
    if (!f) return;
    if (!fgets(line, size, f)) line[0] = 0;
    line[strcspn(line, "\n")] = 0;
    fclose(f);
}

/* What the processor calls itself, as Linux lists it; "a processor without a
 * name" elsewhere. */
static inline void cpu_name(char name[128]) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(name, 128, "a processor without a name");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        const bool model = !strncmp(line, "model name", 10);
        const bool part = !strncmp(line, "CPU part", 8);
        if (!colon || !(model || part)) continue;
        snprintf(name, 128, "%s%.100s", part ? "ARM part " : "", colon + 2);
        name[strcspn(name, "\n")] = 0;
        break;
    }
    if (f) fclose(f);
}

/* A line that Linux has of cache k of core 0: its type, level or size. */
static inline void cpu_cache(int k, const char *what, char line[32]) {
    char path[80];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s",
             k, what);
    cpu_line(path, line, 32);
}
/* Sizes of the caches of core 0, such as "L1 32K, L2 1024K, L3 32768K", as
 * Linux lists them; "" elsewhere. */
static inline void cpu_caches(char text[128]) {
    size_t at = 0;
    text[0] = 0;
    for (int k = 0; k < 8 && at < 128; k++) {
        char type[32];
        char level[32];
        char size[32];
        cpu_cache(k, "type", type);
        if (!type[0] || !strcmp(type, "Instruction")) continue;
        cpu_cache(k, "level", level);
        cpu_cache(k, "size", size);
        at += (size_t)snprintf(text + at, 128 - at, "%sL%.7s %s",
                               at ? ", " : "", level, size);
    }
}

/* ---- the widest multiply-add, in chains that no compiler can take apart ------- *
 *
 * A multiply-add takes 4 turns of the clock (5 on some), and two can begin in each (four
 * on some ARM): so 12 independent chains, 16 on ARM, keep every unit busy. a = a m + c,
 * which tends to c / (1 - m): no number grows, none becomes denormal. */

#define CPU_CHAIN(r, n) "vfmadd213ps %%" r "13, %%" r "12, %%" r #n "\n\t"
#define CPU_CHAINS(r)                                                          \
    "vbroadcastss (%1), %%" r "12\n\t"                                         \
    "vbroadcastss 4(%1), %%" r "13\n\t"                                        \
    "1:\n\t"                                                                   \
    CPU_CHAIN(r, 0) CPU_CHAIN(r, 1) CPU_CHAIN(r, 2) CPU_CHAIN(r, 3)            \
    CPU_CHAIN(r, 4) CPU_CHAIN(r, 5) CPU_CHAIN(r, 6) CPU_CHAIN(r, 7)            \
    CPU_CHAIN(r, 8) CPU_CHAIN(r, 9) CPU_CHAIN(r, 10) CPU_CHAIN(r, 11)          \
    "dec %0\n\t"                                                               \
    "jnz 1b\n\t"                                                               \
    "vzeroupper\n\t"
#define CPU_CLOBBERED                                                          \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",    \
    "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc",        \
    "memory"

#define CPU_CHAIN_ARM(n) "fmla v" #n ".4s, v30.4s, v31.4s\n\t"
#define CPU_CHAINS_ARM                                                         \
    "ld1r {v30.4s}, [%1]\n\t"                                                  \
    "ld1r {v31.4s}, [%1]\n\t"                                                  \
    "1:\n\t"                                                                   \
    CPU_CHAIN_ARM(0) CPU_CHAIN_ARM(1) CPU_CHAIN_ARM(2) CPU_CHAIN_ARM(3)        \
    CPU_CHAIN_ARM(4) CPU_CHAIN_ARM(5) CPU_CHAIN_ARM(6) CPU_CHAIN_ARM(7)        \
    CPU_CHAIN_ARM(16) CPU_CHAIN_ARM(17) CPU_CHAIN_ARM(18) CPU_CHAIN_ARM(19)    \
    CPU_CHAIN_ARM(20) CPU_CHAIN_ARM(21) CPU_CHAIN_ARM(22) CPU_CHAIN_ARM(23)    \
    "subs %0, %0, #1\n\t"                                                      \
    "b.ne 1b\n\t"
#define CPU_CLOBBERED_ARM                                                      \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18",       \
    "v19", "v20", "v21", "v22", "v23", "v30", "v31", "cc", "memory"

/* Runs `steps` steps of all chains on the widest multiply-add; returns how many
 * FLOPs that was. */
static inline double cpu_multiply_add(size_t steps) {
    static const float mc[2] = {0.9999f, 0.1f};
    const size_t lanes = cpu_lanes();
    const double done = (double)steps * (double)lanes * 2;
    size_t n = steps;
#if defined __x86_64__
    if (lanes == 16) {
        __asm__ volatile(CPU_CHAINS("zmm") : "+r"(n) : "r"(mc) : CPU_CLOBBERED);
        return done * 12;
    }
    if (lanes == 8) {
        __asm__ volatile(CPU_CHAINS("ymm") : "+r"(n) : "r"(mc) : CPU_CLOBBERED);
        return done * 12;
    }
#elif defined __aarch64__
    __asm__ volatile(CPU_CHAINS_ARM : "+r"(n) : "r"(mc) : CPU_CLOBBERED_ARM);
    return done * 16;
#endif
    /* no fused multiply-add known: twelve chains of a multiplication and an addition, as
     * the compiler likes */
    typedef float four __attribute__((vector_size(16)));
    four a[12] = {{0}};
    for (; n; n--)
        for (int k = 0; k < 12; k++) a[k] = a[k] * mc[0] + mc[1];
    for (int k = 0; k < 12; k++) __asm__ volatile("" : : "m"(a[k]));
    return done * 12;
}

/* ---- what this translation unit was compiled for ------------------------- */

/* The instruction sets beyond the family's plainest processor that the compiler
 * was allowed to use. */
static const char *const cpu_built_for[] = {
#ifdef __SSE4_2__
    "sse4.2",
#endif
#ifdef __POPCNT__
    "popcnt",
#endif
#ifdef __AVX__
    "avx",
#endif
#ifdef __AVX2__
    "avx2",
#endif
#ifdef __FMA__
    "fma",
#endif
#ifdef __BMI__
    "bmi",
#endif
#ifdef __BMI2__
    "bmi2",
#endif
#ifdef __AVX512F__
    "avx512f",
#endif
#ifdef __AVX512CD__
    "avx512cd",
#endif
#ifdef __AVX512DQ__
    "avx512dq",
#endif
#ifdef __AVX512BW__
    "avx512bw",
#endif
#ifdef __AVX512VL__
    "avx512vl",
#endif
#ifdef __AVX512IFMA__
    "avx512ifma",
#endif
#ifdef __AVX512VBMI__
    "avx512vbmi",
#endif
#ifdef __AVX512VBMI2__
    "avx512vbmi2",
#endif
#ifdef __AVX512VNNI__
    "avx512vnni",
#endif
#ifdef __AVX512BITALG__
    "avx512bitalg",
#endif
#ifdef __AVX512VPOPCNTDQ__
    "avx512vpopcntdq",
#endif
#ifdef __ARM_FEATURE_ATOMICS
    "atomics",
#endif
#ifdef __ARM_FEATURE_SVE
    "sve",
#endif
    NULL};
#endif
