/* plain.h: the kernels as they stand, for a fuzzer that includes them. Optimised, they alone take clang minutes, for
 * each of their unrolled operations is checked. Few inputs reach them; all else is optimised. To be included after
 * what replaces functions of the system, and before the code under test. */
#ifndef PLAIN_H
#define PLAIN_H
#include "../../data/base/base.h"
#pragma clang optimize off
#include "../../sparse.h"
#pragma clang optimize on
#endif
