/* folder.h -- block files on disk, one block a file, verified in height order from a pinned block.
 *
 * What "zonerelay blocks verify" does. A file may be a copy of another (the same block as another
 * node signed it), may be of a branch, may be damaged, may be missing: each height is judged on
 * what is there, and one bad block spoils the verdict on others only as far as it must.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_FOLDER_H
#define ZR_ADAPTERS_SIDECHAIN_FOLDER_H

#include "adapters/sidechain.h"
#include "proto/record.h"

enum folder_verdict {
	FOLDER_OK,
	FOLDER_BAD,
	FOLDER_MISSING, /* No file has it, and files on both sides of it are here. */
};

/* One block: all copies of it together. */
struct folder_block {
	enum folder_verdict verdict;
	uint64_t height;      /* HEIGHT_UNKNOWN: not even that could be read. */
	uint64_t last_height; /* Missing blocks are reported as a range; otherwise as height. */
	struct hash hash;     /* Zero where it could not be read. */
	size_t copy_count;
	const char *path;   /* Of the first copy, or of the first bad one. NULL: missing. */
	const char *reason; /* NULL: it is fine. */
};

struct folder_totals {
	size_t height_count; /* Different heights that are here. */
	size_t ok_count;     /* Blocks; two branches at one height are two. */
	size_t bad_count;
	uint64_t missing_count; /* Heights. */
};

/* All borrowed. */
struct folder_options {
	const struct sidechain *format;
	struct bytes pinned; /* As for trust_pin(). */
	enum policy policy;
	size_t block_max_bytes;
	const char *const *paths; /* Files, and folders of which every *.block is taken. */
	size_t path_count;
};

/* Called once a block, in height order; those without a height come last. */
typedef void folder_report(const struct folder_block *block, void *arg);

/* POLICY_ALL: every block's own signatures must be good. POLICY_TAIL: or those of a block above
 * that links to it. Blocks below the pinned one are bad: nothing here can verify them.
 *
 * Errors: ZR_INVALID, ZR_UNTRUSTED  the pinned block itself.
 *         ZR_UNAVAILABLE            a path that cannot be read, or no block at all. */
bool folder_verify(const struct folder_options *options, folder_report *report, void *arg,
                   struct folder_totals *out_totals, struct err *err) MUST_CHECK;

#endif
