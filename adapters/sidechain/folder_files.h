/* folder_files.h -- the files that folder_verify() judges, and what it finds out about each. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FOLDER_FILES_H
#define ZR_ADAPTERS_SIDECHAIN_FOLDER_FILES_H

#include "adapters/sidechain/folder.h"

struct folder_file {
	char *path; /* Owned. */
	struct block_header header;
	char *reason;          /* Owned. What is wrong with it; NULL: nothing so far. */
	char *unsigned_reason; /* Owned. What is wrong with its signatures alone. */
	bool is_signed;        /* Its own signatures are good. */
};

struct folder_files {
	struct folder_file *list; /* Owned. By height, then hash, then path. */
	size_t count;
};

/* Finds the files and reads their headers. Errors: as folder_verify(). */
bool folder_files_init(struct folder_files *files, const struct folder_options *options,
                       struct err *err) MUST_CHECK;
void folder_files_fini(struct folder_files *files);

/* Notes what is wrong, unless something is already. */
bool folder_file_fail(struct folder_file *file, const char *reason, struct err *err) MUST_CHECK;

#endif
