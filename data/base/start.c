/* start.c: where the program begins, compiled for the plainest processor of the family.
 *
 * The rest is compiled for the machine at hand, and there even main may hold an instruction that an older
 * processor does not know: then the program would end in "Illegal instruction" before it could say why. This
 * file has none of them. It compares what the rest was compiled for with what the processor has, and goes on
 * to the program, or refuses in one line with status 2. Both program and tests begin here. */
#include <stdio.h>
#include <string.h>
#if defined __linux__ && defined __aarch64__
#include <sys/auxv.h>
#endif

int program(int argc, char **argv);             /* the main of train.c, or of test.c */
extern const char *const *const program_built_for;  /* names of instruction sets, the last one NULL */

/* Whether this processor, and the operating system on it, has the instruction set of that name. */
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
    if (!strcmp(name, "atomics")) return (getauxval(AT_HWCAP) >> 8 & 1) != 0;   /* bits of asm/hwcap.h */
    if (!strcmp(name, "sve")) return (getauxval(AT_HWCAP) >> 22 & 1) != 0;
#endif
    return 1;                                   /* nobody to ask: let it try */
}

int main(int argc, char **argv) {
    int lacking = 0;
    for (const char *const *set = program_built_for; *set; set++) {
        if (has(*set)) continue;
        fprintf(stderr, lacking ? ", %s" : "train: built for a processor with %s", *set);
        lacking = 1;
    }
    if (!lacking) return program(argc, argv);
    fprintf(stderr, ", which this one lacks; make builds for the machine it runs on, make "
                    "ARCH=-march=x86-64-v3 for most\n");
    return 2;
}
