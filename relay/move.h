/* move.h -- the file with which a chain goes from one gateway's store to another's.
 *
 * It says where the chain stands and whom to trust from there on: all that the taking store needs to
 * enrol it as if that height had been pinned. The hash at its end is against damage on the way; who
 * may bring such a file is decided by the control socket.
 *
 *     "ZRm1" | u8 name | epoch | u8 format | u64 next height | tip | u32 trust set
 *            | SHA-256 of all before it                     (lengths in front of the three)
 *
 * Threads: any.
 */
#ifndef ZR_RELAY_MOVE_H
#define ZR_RELAY_MOVE_H

#include "adapters/sidechain.h"
#include "proto/record.h"
#include "relay/base/bytes.h"

struct move {
	struct chain_id id;
	const struct sidechain *format;
	uint64_t next_height; /* The first that the taking store gets. */
	struct hash tip;      /* Of the block before it; zero where there is none. */
	struct bytes trust;   /* As saved, in force for next_height. Borrowed. */
};

void move_encode(const struct move *move, struct buffer *out);
/* Borrows from file. Errors: ZR_INVALID  not such a file, damaged, of a format that we do not know, or
 *                            its parts contradict each other. */
bool move_decode(struct bytes file, struct move *out_move, struct err *err) MUST_CHECK;

#endif
