/* folder.h -- the block files of a folder that grows, by height.
 *
 * A height comes from the name where that ends in digits before ".block" ("7.block",
 * "edge-1_7.block"), and otherwise from the content, which the caller reads once per version of the
 * file and tells folder_learn(). Hidden files and those named like unfinished ones (.tmp, .part, ~)
 * are left alone. Only names are kept, never content.
 */
#ifndef ZR_EDGE_FOLDER_H
#define ZR_EDGE_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define FOLDER_FILES_MAX (1u << 18)

struct folder;

bool folder_new(struct folder **out_folder, const char *path, struct err *err) MUST_CHECK;
void folder_free(struct folder *folder); /* NULL is allowed. */

/* Reads the whole list of names again; what was learnt about files that are still there is kept.
 * Errors: ZR_UNAVAILABLE  the folder cannot be read.
 *         ZR_FULL         more than FOLDER_FILES_MAX files. The list is as before. */
bool folder_scan(struct folder *folder, struct err *err) MUST_CHECK;

/* A file that may hold the block. Index 0, 1, ... gives further copies; NULL: no more. Borrowed
 * until the next scan or learn. */
const char *folder_find(const struct folder *folder, uint64_t height, size_t index);
/* The next file whose height only its content tells, or NULL. Each is given once per version. */
const char *folder_next_nameless(struct folder *folder);
/* A file whose name says a height above this and whose content was never looked at, or NULL: where a
 * block is missing, a name may be wrong. */
const char *folder_next_unread(const struct folder *folder, uint64_t height);
/* What the content of a file says: found: it is a block of this height. False: it is none (yet); it
 * is looked at again when it has changed. */
void folder_learn(struct folder *folder, const char *name, bool found, uint64_t height);

/* The lowest height from which every one up to next - 1 is there; next if next - 1 is not. */
uint64_t folder_oldest(const struct folder *folder, uint64_t next);
/* Is there a file for a height above? For saying that one is missing. */
bool folder_has_above(const struct folder *folder, uint64_t height);
size_t folder_count(const struct folder *folder);

/* Size and time of the last change of one file, in one number that differs between versions. 0: not
 * there, or no regular file. */
uint64_t folder_version(const struct folder *folder, const char *name);
/* Appends the whole file. Errors: ZR_UNAVAILABLE  gone.  ZR_FULL  above size_max. */
bool folder_read(const struct folder *folder, const char *name, size_t size_max, struct buffer *out,
                 struct err *err) MUST_CHECK;

/* The height in a name; false: none. */
bool folder_height_of_name(const char *name, uint64_t *out_height);

#endif
