/* store_fixture.h -- temporary folders, and contents of stores, for the tests of spool/. */
#ifndef ZR_TESTS_STORE_FIXTURE_H
#define ZR_TESTS_STORE_FIXTURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/err.h"

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

/* Removes a folder of plain files. */
static inline void remove_folder(const char *path)
{
	DIR *dir = opendir(path);
	if (dir == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char file[TEST_PATH_MAX * 2];
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		unlink(file);
	}
	closedir(dir);
	rmdir(path);
}

/* A fresh path under $TMPDIR, or in memory: these tests commit thousands of times, and a disk that
 * is shared makes them slow. Nothing is there yet. */
static inline void fresh_path(char path[static TEST_PATH_MAX])
{
	const char *base = getenv("TMPDIR");
	if (base == NULL)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(path, TEST_PATH_MAX, "%s/zr-test-XXXXXX", base);
	if (mkdtemp(path) == NULL)
		abort();
	rmdir(path);
}

#endif
