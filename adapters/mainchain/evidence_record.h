/* evidence_record.h -- the bytes by which a main chain behind the HTTP API proves an anchor.
 *
 * A block of that main chain is a header over a Merkle tree of transactions; each transaction
 * records one anchor. Its signers sign a header once the block is final, never before. Evidence is
 * one transaction, its path to the header's root, the header, and signatures of it:
 *
 *     "ZRm1"  block header      "ZRx1"  transaction      "ZRv1"  evidence
 *
 * Every number is big-endian, and decoding accepts exactly what encoding gives.
 * docs/MAINCHAIN-EVIDENCE.md lists each field, with test vectors.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_EVIDENCE_RECORD_H
#define ZR_ADAPTERS_MAINCHAIN_EVIDENCE_RECORD_H

#include <stdint.h>

#include "proto/merkle.h"
#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"

/* Heights, sequence numbers and fences fit into a signed number, for the sake of JSON. */
#define MAIN_NUMBER_MAX INT64_MAX

struct main_block {
	enum hash_alg alg;              /* Of previous, of root, and of the block's own hash. */
	char chain[CHAIN_NAME_MAX + 1]; /* The main chain's name; rules as for side chains. */
	uint64_t height;                /* From 1. */
	int64_t time_ms;                /* Unix time. */
	struct hash previous;           /* Hash of the block before; zero for height 1. */
	uint64_t count;                 /* Transactions. */
	struct hash root;               /* Over the transaction records, in their order. */
};

#define MAIN_BLOCK_SIZE_MAX (4 + 1 + 1 + CHAIN_NAME_MAX + 8 + 8 + 32 + 8 + 32)

void main_block_encode(const struct main_block *block, struct buffer *out);
bool main_block_decode(struct bytes record, struct main_block *out_block,
                       struct err *err) MUST_CHECK;
/* alg over the header record. */
struct hash main_block_hash(enum hash_alg alg, struct bytes record);

struct main_transaction {
	enum hash_alg alg; /* The anchor's. */
	uint16_t lane;
	uint64_t seq;
	uint64_t fence; /* In force when it was recorded. */
	struct hash root;
	struct hash key;
};

#define MAIN_TRANSACTION_SIZE (4 + 1 + 2 + 8 + 8 + 32 + 32)

void main_transaction_encode(const struct main_transaction *transaction, struct buffer *out);
bool main_transaction_decode(struct bytes record, struct main_transaction *out_transaction,
                             struct err *err) MUST_CHECK;

struct main_signature {
	struct hash key_id;     /* key_id() of who signed. */
	struct bytes signature; /* Over the block's header record. Borrowed. */
};

#define EVIDENCE_SIGNATURES_MAX 64
#define EVIDENCE_SIZE_MAX                                                  \
	(4 + 1 + MAIN_BLOCK_SIZE_MAX + 1 + MAIN_TRANSACTION_SIZE + 8 + 1 + \
	 MERKLE_PATH_MAX * HASH_SIZE + 1 +                                 \
	 EVIDENCE_SIGNATURES_MAX * (HASH_SIZE + 1 + SIGNATURE_SIZE_MAX))

struct main_evidence {
	struct bytes block_record; /* What is signed. Borrowed, as is transaction_record. */
	struct main_block block;
	struct bytes transaction_record; /* What is the leaf. */
	struct main_transaction transaction;
	struct merkle_path path; /* Its count is the block's. */
	struct main_signature
		signatures[EVIDENCE_SIGNATURES_MAX]; /* Rising by key_id, none twice. */
	size_t signature_count;                      /* At least one. */
};

/* Writes the two records, not the structs beside them. */
void main_evidence_encode(const struct main_evidence *evidence, struct buffer *out);
/* What is in out_evidence borrows from bytes, and is undefined on failure. No signature is checked.
 * Errors: ZR_INVALID. */
bool main_evidence_decode(struct bytes bytes, struct main_evidence *out_evidence,
                          struct err *err) MUST_CHECK;

#endif
