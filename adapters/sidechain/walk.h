/* walk.h -- following one chain block by block: heights, links, roots, signatures, trust changes.
 *
 * The one place where P4 is decided. Used by the gateway's verify workers, by quarantine release,
 * by "zonerelay blocks verify" and by the agent before it sends. Pure.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_WALK_H
#define ZR_ADAPTERS_SIDECHAIN_WALK_H

#include "adapters/sidechain.h"
#include "proto/record.h"

/* Where the chain stands before the next block. */
struct walk_position {
	uint64_t next_height;
	struct hash tip; /* Hash of block next_height - 1; zero where there is none. */
};

enum walk_fault {
	WALK_FINE,
	WALK_MALFORMED, /* Not decodable, not canonical, or its own hashes are wrong. */
	WALK_HEIGHT,    /* Another height than next_height. */
	WALK_LINK,      /* Parent is not the tip, or the genesis is not the pinned one. */
	WALK_UNTRUSTED, /* Signature, signer, quorum, or a set change we cannot follow. */
};
const char *walk_fault_name(enum walk_fault fault);

/* One chain being followed. Borrows format for ever. */
struct walk {
	const struct sidechain *format;
	struct walk_position position;
	const struct hash *epoch;  /* Hash of block 0; checked where block 0 is walked. */
	const struct trust *trust; /* In force for next_height. Borrowed, or trust_owned. */
	struct trust *trust_owned; /* The set that blocks walked so far brought, or NULL. */
	uint64_t trust_from;       /* First height trust is in force for. */
	struct buffer
		*replaced; /* Borrowed; NULL: not wanted. Takes each set that blocks brought and
	                            * later ones replaced: walk_next_replaced() reads it. */
};

/* Borrows trust and epoch until walk_fini(). */
void walk_init(struct walk *walk, const struct sidechain *format, const struct trust *trust,
               const struct hash *epoch, struct walk_position position);
/* Frees trust_owned unless walk_take_trust() did. */
void walk_fini(struct walk *walk);
/* Gives the newest set if blocks changed it, else NULL. */
struct trust *walk_take_trust(struct walk *walk);

/* The next of the sets in walk.replaced, in rising order. False: no more. */
bool walk_next_replaced(struct reader *replaced, uint64_t *out_from, struct bytes *out_trust);

/* One step: read, height, link, admits, and signatures if check_signatures or the block changes the
 * trust set; then position and trust move on. WALK_FINE: *out_block is filled. Otherwise walk is as
 * before, err says why, and out_block->header holds what could be read (sidechain.h, read()). Where
 * err->code is ZR_NO_MEMORY, nothing is known about the block, whatever the fault: try again. */
enum walk_fault walk_block(struct walk *walk, struct bytes raw, bool check_signatures,
                           struct block *out_block, struct err *err);

/* A whole raw batch (proto/compress.h) under policy: POLICY_TAIL checks signatures of set changes
 * and of the last block. Fills out_headers[0..*out_count). All or nothing.
 *
 * Errors: as walk_block; *out_bad_height is the height that failed, where known.
 *         ZR_INVALID  count_max exceeded, or a malformed batch (WALK_MALFORMED). */
struct walk_batch {
	struct bytes raw;
	enum policy policy;
	size_t block_max_bytes;
	size_t count_max; /* Room in out_headers. */
};
enum walk_fault walk_batch(struct walk *walk, const struct walk_batch *batch,
                           struct block_header *out_headers, size_t *out_count,
                           uint64_t *out_bad_height, struct err *err);

#endif
