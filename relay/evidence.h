/* evidence.h -- the portable proof that a chain forked: two blocks, one height, both validly signed.
 *
 * A bundle holds all that a third party needs: format, chain, the trust set of that height, and the
 * two blocks as the chain encodes them. Whoever trusts the pinned genesis follows the set from there.
 *
 *     "ZRv1" | u8 format name | u8 chain name | epoch | u64 height | u32 trust set
 *            | u32 one block | u32 the other block            (lengths in front of each)
 */
#ifndef ZR_RELAY_EVIDENCE_H
#define ZR_RELAY_EVIDENCE_H

#include "adapters/sidechain.h"
#include "proto/record.h"
#include "relay/base/bytes.h"

struct evidence {
	const struct sidechain *format;
	struct chain_id chain;
	uint64_t height;
	struct bytes trust; /* Saved. Borrowed, like the blocks. */
	struct bytes ours, theirs;
};

void evidence_encode(const struct evidence *evidence, struct buffer *out);
/* Borrows from bundle. Errors: ZR_INVALID  malformed, or a format we do not know. */
bool evidence_decode(struct bytes bundle, struct evidence *out_evidence,
                     struct err *err) MUST_CHECK;
/* Are these two different blocks of that height, both signed as the trust set asks?
 * Errors: ZR_INVALID, ZR_UNTRUSTED  it proves nothing. */
bool evidence_check(const struct evidence *evidence, struct block_header out_headers[static 2],
                    struct err *err) MUST_CHECK;

#endif
