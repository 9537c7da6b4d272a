/* file.h -- whole files, read with a limit and written so that a crash leaves the old or the new. */
#ifndef ZR_BASE_FILE_H
#define ZR_BASE_FILE_H

#include "relay/base/bytes.h"
#include "relay/base/err.h"

/* Reads a whole file of at most size_max bytes, appended to out.
 * Errors: ZR_UNAVAILABLE  cannot be opened or read.  ZR_FULL  is larger than size_max. */
bool file_read(const char *path, size_t size_max, struct buffer *out, struct err *err) MUST_CHECK;
/* Writes path.tmp, syncs it, renames it over path and syncs the directory. Mode as given. */
bool file_write_atomic(const char *path, struct bytes bytes, unsigned mode,
                       struct err *err) MUST_CHECK;

/* A new file that is written piece by piece: it has its name once it is whole and on the disk, and
 * what is cut short is left as path.tmp, which the next attempt replaces. */
struct file_out {
	const char *path; /* Borrowed until it is finished or abandoned. */
	int fd;           /* Write here. */
};

/* Errors: ZR_STATE  path is there already.  ZR_UNAVAILABLE  path.tmp cannot be created. */
bool file_begin(struct file_out *out, const char *path, unsigned mode, struct err *err) MUST_CHECK;
/* Ends it, whatever comes of it. */
bool file_finish(struct file_out *out, struct err *err) MUST_CHECK;
void file_abandon(struct file_out *out);

#endif
