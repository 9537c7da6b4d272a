/* envelope.h -- an envelope, and what it says about itself. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_ENVELOPE_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_ENVELOPE_H

#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define FABRIC_TYPE_CONFIG 1

struct fabric_envelope {
	struct bytes payload;   /* Never empty. */
	struct bytes signature; /* Empty where the first block of a channel is. */

	/* The rest is what the payload says, where it can be read. */
	bool readable;
	int32_t type; /* FABRIC_TYPE_CONFIG and others. */
	struct bytes channel;
	int64_t time_ms; /* 0: none, or not one that a clock can show. */
	struct bytes content;
};

/* Only the canonical form is accepted: all envelopes of a block are hashed as one piece, so in any
 * looser form the same hash fits several ways to cut it into transactions (CVE-2023-46132).
 * Errors: ZR_INVALID. */
bool fabric_envelope_decode(struct bytes bytes, struct fabric_envelope *out_envelope,
                            struct err *err) MUST_CHECK;

#endif
