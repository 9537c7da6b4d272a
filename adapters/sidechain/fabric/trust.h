/* trust.h -- what one config block says about who signs the blocks after it. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_TRUST_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_TRUST_H

#include "adapters/sidechain.h"
#include "adapters/sidechain/fabric/policy.h"

/* A node that orders by BFT consensus, known by number. */
struct consenter {
	uint32_t id;
	struct identity *identity; /* Owned. NULL: no member of its organisation; never counts. */
};

/* Certificates of signers met before, so that their chains need no second look. A slot is filled
 * once and never changes, so threads that share the set need no lock. */
#define SEEN_MAX 32
struct seen;

struct trust {
	struct block_header origin;
	uint8_t *raw; /* Owned: the config block. All that follows is borrowed from it. */
	size_t raw_size;
	struct bytes channel;
	struct bytes consensus; /* "etcdraft", "BFT", ... */
	uint64_t sequence;
	struct orgs orgs;
	struct signing_policy *policy; /* Owned: /Channel/Orderer/BlockValidation. */

	bool by_number; /* Signers may be named by their number (capability V3_0). */
	struct consenter *consenters;
	size_t consenter_count;
	size_t quorum; /* BFT: so many different consenters, whatever the policy says; else 0. */

	struct seen *seen; /* Owned. The one part that changes. */
};

/* Of a config block, whose bytes are copied.
 * Errors: ZR_INVALID    not a config block, or malformed.
 *         ZR_UNTRUSTED  rules that we cannot evaluate. */
bool fabric_trust_new(struct trust **out_trust, struct bytes raw, struct err *err) MUST_CHECK;
void fabric_trust_free(struct trust *trust);

/* The signer that a serialised identity names. It is kept in the set where there is room;
 * otherwise *out_own is what the caller frees when done (else NULL).
 * Errors: ZR_UNTRUSTED  not a member of an organisation that the policy names. */
bool fabric_trust_signer(const struct trust *trust, struct bytes creator,
                         const struct identity **out_identity, struct identity **out_own,
                         struct err *err) MUST_CHECK;
/* NULL: no consenter has that number, or it is one that never counts. */
const struct identity *fabric_trust_consenter(const struct trust *trust, uint64_t id);

#endif
