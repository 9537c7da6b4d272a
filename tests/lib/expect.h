/* expect.h -- assertions on walks that say what was found instead. Include after cmocka.h. */
#ifndef ZR_TESTS_LIB_EXPECT_H
#define ZR_TESTS_LIB_EXPECT_H

#include <string.h>

#include "adapters/sidechain/walk.h"

/* What walk says to raw, with the reason containing text ("" where it is fine). The walk moves on
 * only where it is fine. */
#define EXPECT_WALK(walk, raw, fault, text)                                                \
	do {                                                                               \
		struct err expect_err = { .code = ZR_OK };                                 \
		struct block expect_block;                                                 \
		enum walk_fault expect_found =                                             \
			walk_block((walk), (raw), true, &expect_block, &expect_err);       \
		if (expect_found != (fault) || strstr(expect_err.message, (text)) == NULL) \
			fail_msg("%s: \"%s\", not %s: \"...%s...\"",                       \
			         walk_fault_name(expect_found), expect_err.message,        \
			         walk_fault_name(fault), (text));                          \
	} while (0)

/* A call that fills err, and must fail with code wanted, for a reason that contains text. */
#define EXPECT_FAILURE(call, err, wanted, text)                                            \
	do {                                                                               \
		if (call)                                                                  \
			fail_msg("no failure, but expected \"...%s...\"", (text));         \
		if ((err).code != (wanted) || strstr((err).message, (text)) == NULL)       \
			fail_msg("%s: \"%s\", not %s: \"...%s...\"", err_name((err).code), \
			         (err).message, err_name(wanted), (text));                 \
	} while (0)

#endif
