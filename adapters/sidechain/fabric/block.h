/* block.h -- one Fabric block cut into its parts, all borrowed from its bytes. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_BLOCK_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_BLOCK_H

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"

#define FABRIC_HEADER_DER_MAX 80 /* SEQUENCE { INTEGER of 8, OCTET STRING of 32, the same }. */

struct fabric_block {
	uint64_t number;
	struct bytes previous_hash; /* Empty at block 0, else 32 bytes. */
	struct bytes data_hash;     /* 32 bytes. */
	struct bytes data;          /* BlockData: walked with fabric_next_envelope(). */
	size_t envelope_count;
	struct bytes signatures; /* The metadata the orderers wrote and signed: entry 0. */

	uint8_t header_der[FABRIC_HEADER_DER_MAX]; /* What is hashed and signed. */
	size_t header_der_size;
};

/* Cuts; looks at no envelope, no signature and no hash. out_block->number is set as soon as it is
 * known (else HEIGHT_UNKNOWN), header_der_size > 0 as soon as the whole header is, even if a later
 * part is malformed.
 * Errors: ZR_INVALID  not the one encoding that Fabric writes. */
bool fabric_block_decode(struct bytes raw, struct fabric_block *out_block,
                         struct err *err) MUST_CHECK;
struct hash fabric_header_hash(const struct fabric_block *block);

/* Takes the first envelope off data. False: none is left. */
bool fabric_next_envelope(struct bytes *data, struct bytes *out_envelope);

/* SHA-256 over all envelopes as they are; they have no lengths in between, so whoever relies on it
 * must know that each is in canonical form (envelope.h). Errors: ZR_NO_MEMORY. */
bool fabric_data_hash(const struct fabric_block *block, struct hash *out_hash,
                      struct err *err) MUST_CHECK;

#endif
