/* fault.h -- makes the n-th allocation of the program under test fail.
 *
 *     for (size_t n = 1; ; n++) {
 *             fault_at(n);
 *             bool ok = what_is_tested(&err);
 *             if (fault_off() == 0)
 *                     break;          it needs fewer than n allocations: ok must be true
 *             assert_false(ok);       and nothing may leak
 *     }
 *
 * Link test_fault_dep: it wraps malloc, calloc and realloc of everything that is linked statically.
 */
#ifndef ZR_TESTS_LIB_FAULT_H
#define ZR_TESTS_LIB_FAULT_H

#include <stddef.h>

/* The n-th allocation from now on fails, once; n from 1. */
void fault_at(size_t n);
/* No further failure. Returns how many there were: 0 or 1. */
size_t fault_off(void);

#endif
