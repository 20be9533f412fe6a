/* test.c: every test, one after another, and the count at the end. Names on the
 * command line run only those.
 *
 *     make test
 *     QUICK=1 TRAIN=./train test/test safetensors    of a program that is built
 */
#include "check.h"
#include "test_safetensors.h"
#include "test_tokenizer.h"
#include "test_corpus.h"
#include "test_stats.h"
#include "test_pool.h"
#include "test_sparse.h"
#include "test_gpt.h"
#include "test_cloze.h"
#include "test_machine.h"
#include "test_files.h"
#include "test_train.h"
#include "test_drop.h"
#include "test_rate.h"
#include "test_tune.h"
#include "test_formats.h"
#include "test_models.h"
#include "test_compare.h"
#include "test_measure.h"
#include "test_choices.h"
#include "test_report.h"

int program(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"tokenizer", test_tokenizer},
        {"corpus", test_corpus},
        {"stats", test_stats},
        {"pool", test_pool},
        {"safetensors", test_safetensors},
        {"sparse", test_sparse},
        {"gpt", test_gpt},
        {"cloze", test_cloze},
        {"machine", test_machine},
        {"drop", test_drop},
        {"train", test_train},
        {"rate", test_rate},
        {"tune", test_tune},
        {"files", test_files},
        {"formats", test_formats},
        {"models", test_models},
        {"compare", test_compare},
        {"measure", test_measure},
        {"choices", test_choices},
        {"report", test_report},
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        const long before = check_passed + check_failed;
        const double start = seconds();
        bool wanted = argc < 2;
        for (int k = 1; k < argc; k++)
            wanted |= !strcmp(argv[k], tests[i].name);
        if (!wanted) continue;
        tests[i].run();
        printf("%-12s %7.2f s %9ld checks\n", tests[i].name, seconds() - start,
               check_passed + check_failed - before);
        fflush(stdout);
    }
    printf("%ld passed, %ld failed\n", check_passed, check_failed);
    return check_failed > 0;
}
