/* store_fixture.h -- temporary folders, and contents of stores, for the tests of spool/. */
#ifndef ZR_TESTS_STORE_FIXTURE_H
#define ZR_TESTS_STORE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/err.h"
#include "tests/lib/temp_folder.h"

#define TEST_PATH_MAX 256

/* Prints why before the assertion stops the test. */
#define MUST(call)                                                                           \
	do {                                                                                 \
		if (!(call)) {                                                               \
			print_error("%s: %s: %s\n", #call, err_name(err.code), err.message); \
			fail();                                                              \
		}                                                                            \
	} while (0)

#define MUST_FAIL(call, wanted)                                                              \
	do {                                                                                 \
		if (call) {                                                                  \
			print_error("%s did not fail\n", #call);                             \
			fail();                                                              \
		}                                                                            \
		if (err.code != (wanted)) {                                                  \
			print_error("%s: %s: %s\n", #call, err_name(err.code), err.message); \
			fail();                                                              \
		}                                                                            \
	} while (0)

/* A fresh path: nothing is there yet. temp_folder_remove() at the end. */
static inline void fresh_path(char path[static TEST_PATH_MAX])
{
	temp_folder_make(path, TEST_PATH_MAX);
	rmdir(path);
}

#endif
