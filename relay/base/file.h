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

#endif
