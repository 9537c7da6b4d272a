/* proof.h -- a portable proof: that one block is in an anchor, for whoever trusts the main chain.
 *
 * What is checked here is everything but the two ends: the header record, through both Merkle
 * paths, to the anchor's root. That the raw block has this header is for its side-chain format to
 * say (proof_check_block), and that the main chain has this anchor for the main-chain adapter,
 * whose evidence is carried along. Pure; file format: docs/PROTOCOL.md section 8.
 */
#ifndef ZR_PROTO_PROOF_H
#define ZR_PROTO_PROOF_H

#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define PROOF_VERSION      1
#define PROOF_BLOCK_MAX    (64u << 20)
#define PROOF_EVIDENCE_MAX (256u << 10)
#define PROOF_NAME_MAX     32
#define PROOF_SIZE_MAX     (PROOF_BLOCK_MAX + (1u << 20))

struct proof {
	struct bytes block; /* Raw; empty where it is no longer held. */
	const char *format; /* Side-chain format of block: "fabric". Borrowed. */
	struct block_header header;
	struct merkle_path block_path; /* From the header's leaf to entry.subtree. */
	struct entry entry;
	struct merkle_path entry_path; /* From the entry's leaf to root. */
	enum hash_alg alg;
	uint16_t lane;
	uint64_t seq;
	struct hash root;
	struct hash key;
	const char *sink; /* Format of evidence: "http". Borrowed. */
	struct bytes evidence;
};

/* Appends.
 * Errors: ZR_INVALID  a size above its limit. */
bool proof_encode(const struct proof *proof, struct buffer *out, struct err *err) MUST_CHECK;
/* Well-formed only: proof_check() says whether it proves anything. End with proof_free().
 * Errors: ZR_INVALID. */
bool proof_decode(struct bytes bytes, struct proof **out_proof, struct err *err) MUST_CHECK;
void proof_free(struct proof *proof); /* Only for what proof_decode() gave. NULL is allowed. */

/* The root that header and entry lead to, through both paths.
 * Errors: ZR_UNTRUSTED  a path is not canonical, the header is not where its height belongs, is not
 *                       the tip that the entry names, or does not lead to the entry's subtree. */
bool proof_root(const struct proof *proof, struct hash *out_root, struct err *err) MUST_CHECK;
/* And is it the root that the proof speaks of?
 * Errors: ZR_UNTRUSTED. */
bool proof_check(const struct proof *proof, struct err *err) MUST_CHECK;
/* Is header, read from the raw block by its format, the one that is proved?
 * Errors: ZR_UNTRUSTED. */
bool proof_check_block(const struct proof *proof, const struct block_header *header,
                       struct err *err) MUST_CHECK;

#endif
