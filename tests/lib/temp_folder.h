/* temp_folder.h -- a folder of its own for a test, removed with all that is in it. */
#ifndef ZR_TESTS_LIB_TEMP_FOLDER_H
#define ZR_TESTS_LIB_TEMP_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Under $TMPDIR, or in memory: some tests commit thousands of times, and a disk that is shared makes
 * them slow. A path that does not fit ends the test program. */
static inline void temp_folder_make(char *path, size_t size)
{
	const char *base = getenv("TMPDIR");
	if (base == NULL)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	int length = snprintf(path, size, "%s/zr-test-XXXXXX", base);
	if (length < 0 || (size_t)length >= size || mkdtemp(path) == NULL) {
		perror(path);
		abort();
	}
}

static inline int temp_folder_remove_one(const char *path, const struct stat *status, int kind,
                                         struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

/* Whatever is not there is not missed. */
static inline void temp_folder_remove(const char *path)
{
	(void)nftw(path, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
