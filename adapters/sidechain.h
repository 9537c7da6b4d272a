/* sidechain.h -- one interface for every side-chain format: read, verify, follow the trust set.
 *
 * All functions are pure: bytes in, facts out, no clock, no I/O, no state but what is passed in.
 * Certificates' validity periods are therefore not judged here (Fabric does not either: an old
 * block stays valid when its signer's certificate has expired).
 *
 * A trust set is what blocks of one chain must satisfy from some height on. It begins with what an
 * operator pins (a genesis or config block), and changes only through blocks that it approved. Its
 * saved form holds all that is needed to load it again; formats usually save the block it came from.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_H
#define ZR_ADAPTERS_SIDECHAIN_H

#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

/* What a block that cannot be decoded is said to have. No real height goes beyond 2^63 - 1. */
#define HEIGHT_UNKNOWN UINT64_MAX

struct trust; /* Opaque, each format has its own. Immutable: may be shared between threads. */

struct block {
	struct block_header header;
	struct bytes raw;   /* Borrowed: the block exactly as the chain encodes it. */
	bool changes_trust; /* Carries a new trust set, in force from the next height on. */
};

struct sidechain {
	const char *name; /* "fabric", "ledger": as in configuration and proofs. */
	const char *text; /* One sentence for people. */

	/* Decodes raw, recomputes hash and data root and compares whatever the block itself claims;
	 * rejects every non-canonical encoding. Where it fails, out_block->header still says what
	 * could be read: HEIGHT_UNKNOWN if not even the height, a zero hash if not that.
	 * Errors: ZR_INVALID. */
	bool (*read)(struct bytes raw, struct block *out_block, struct err *err);

	/* A trust set from what the operator pins: the first block of the chain, which names its
	 * epoch, or a later one that carries a set. Gives *out_trust.
	 * Errors: ZR_INVALID    not a block that carries a trust set.
	 *         ZR_UNTRUSTED  its rules are ones we cannot evaluate; the chain cannot be enrolled. */
	bool (*trust_pin)(struct bytes pinned, struct trust **out_trust, struct err *err);
	/* The header of the block that the set came from: height 0 for a genesis. The set is in
	 * force above that height; the block itself was vouched for by whoever pinned it, or by the
	 * set before. */
	const struct block_header *(*trust_origin)(const struct trust *trust);

	/* Appends the saved form. trust_load(trust_save(x)) is x. */
	void (*trust_save)(const struct trust *trust, struct buffer *out);
	bool (*trust_load)(struct bytes saved, struct trust **out_trust, struct err *err);
	void (*trust_free)(struct trust *trust); /* NULL is allowed. */
	/* One line for people: "raft, 3 orderer organisations, config block 7". Appends. */
	void (*trust_describe)(const struct trust *trust, struct buffer *out);

	/* The block's own signatures (and whatever else binds it) under trust. The block that trust
	 * came from needs none: its hash is compared.
	 * Errors: ZR_UNTRUSTED  with signer and reason. */
	bool (*verify)(const struct trust *trust, const struct block *block, struct err *err);

	/* What an unverified block must still satisfy under trust: chain name inside, index of the
	 * config block in force, and the like. Called for every block, whatever the policy.
	 * Errors: ZR_UNTRUSTED, ZR_INVALID. */
	bool (*admits)(const struct trust *trust, const struct block *block, struct err *err);

	/* For a block with changes_trust: the set after it. The block was verified under trust.
	 * Errors: ZR_UNTRUSTED  a change we cannot evaluate, or not derived from the set in force. */
	bool (*trust_next)(const struct trust *trust, const struct block *block,
	                   struct trust **out_trust, struct err *err);
};

/* ---- the one table (adapters/sidechain/registry.c) ---- */

/* NULL: no such format. */
const struct sidechain *sidechain_find(const char *name);
const struct sidechain *sidechain_find_bytes(struct bytes name);
const struct sidechain *sidechain_at(size_t index); /* NULL past the end. */

#endif
