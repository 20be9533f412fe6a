/* start.c: where the program begins, compiled for the plainest processor of the
 * family.
 *
 * The rest is compiled for the machine at hand, and there even main may hold an
 * instruction that an older processor does not know: then the program would end
 * in "Illegal instruction" before it could say why. This file has none of them.
 * It compares what the rest was compiled for with what the processor has, and
 * goes on to the program, or refuses in one line with status 2. Both program
 * and tests begin here.
 *
 * With PORTABLE the rest is in the binary three times, each compiled for
 * another processor and under another name, and the first that this processor
 * has all of runs. A loader that chooses (ifunc) would do the same function by
 * function, but musl has none. */
#include <stdio.h>
#include <string.h>
#if defined __linux__ && defined __aarch64__
#include <sys/auxv.h>
#endif

/* A program, which is the main of train.c or of test.c, and the names of the
 * instruction sets that it was compiled for, the last one NULL. */
#ifdef PORTABLE
int program_avx512(int argc, char **argv);
int program_avx2(int argc, char **argv);
int program_plain(int argc, char **argv);
extern const char *const *const program_avx512_built_for;
extern const char *const *const program_avx2_built_for;
extern const char *const *const program_plain_built_for;
#else
int program(int argc, char **argv);
extern const char *const *const program_built_for;
#endif
static const struct {
    int (*run)(int argc, char **argv);
    const char *const *const *built_for;
} programs[] = {                                /* the widest first */
#ifdef PORTABLE
    {program_avx512, &program_avx512_built_for},
    {program_avx2, &program_avx2_built_for},
    {program_plain, &program_plain_built_for},
#else
    {program, &program_built_for},
#endif
};
enum { PROGRAMS = sizeof programs / sizeof *programs };

/* Whether this processor, and the operating system on it, has the instruction
 * set of that name. */
static int has(const char *name) {
#if defined __x86_64__ || defined __i386__
    __builtin_cpu_init();
#define HAS(set) if (!strcmp(name, set)) return __builtin_cpu_supports(set) != 0
    HAS("sse4.2");
    HAS("popcnt");
    HAS("avx");
    HAS("avx2");
    HAS("fma");
    HAS("bmi");
    HAS("bmi2");
    HAS("avx512f");
    HAS("avx512cd");
    HAS("avx512dq");
    HAS("avx512bw");
    HAS("avx512vl");
    HAS("avx512ifma");
    HAS("avx512vbmi");
    HAS("avx512vbmi2");
    HAS("avx512vnni");
    HAS("avx512bitalg");
    HAS("avx512vpopcntdq");
#elif defined __linux__ && defined __aarch64__
    const unsigned long sets = getauxval(AT_HWCAP);     /* bits of asm/hwcap.h */
    if (!strcmp(name, "atomics")) return (sets >> 8 & 1) != 0;
    if (!strcmp(name, "sve")) return (sets >> 22 & 1) != 0;
#endif
    return 1;                                   /* nobody to ask: let it try */
}

/* The first instruction set of a program that this processor lacks, from `set`
 * on, or NULL. */
static const char *const *lacking(const char *const *set) {
    while (*set && has(*set)) set++;
    return *set ? set : NULL;
}

int main(int argc, char **argv) {
    for (int k = 0; k < PROGRAMS; k++)
        if (!lacking(*programs[k].built_for))
            return programs[k].run(argc, argv);
    const char *const *set = lacking(*programs[PROGRAMS - 1].built_for);
    fprintf(stderr, "train: built for a processor with %s", *set);
    while ((set = lacking(set + 1))) fprintf(stderr, ", %s", *set);
    fprintf(stderr, ", which this one lacks; make builds for the machine it runs on, "
                    "make PORTABLE=1 for every x86\n");
    return 2;
}
