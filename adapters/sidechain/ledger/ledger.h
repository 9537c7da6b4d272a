/* ledger.h -- format `ledger`: our own one-node chain for a site that has no chain of its own.
 *
 * A block is proto/ledger.proto's Block: a header of fixed layout, the entries, the seals. Only the
 * header is hashed and signed; it commits to the entries by their Merkle root (proto/merkle.h).
 * docs/LEDGER-FORMAT.md has every byte.
 *
 *     header   "ZRb1" | suite u8 | kind u8 | height u64 | time_ms i64 | parent 32 | data root 32
 *              | entry_count u32                                            (90 bytes)
 *     kind 1   one entry, a trust set, in force from the next height on:
 *              "ZRt1" | suite u8 | threshold u8 | key_count u8 | key_count times { size u16, SPKI }
 *
 * Block 0 is of kind 1, is sealed by its own keys and is pinned by its hash. A later block of kind
 * 1 is sealed by the keys it replaces. The suite never changes within one chain.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_LEDGER_LEDGER_H
#define ZR_ADAPTERS_SIDECHAIN_LEDGER_LEDGER_H

#include "adapters/sidechain.h"
#include "relay/base/crypto.h"

#define LEDGER_HEADER_SIZE    90
#define LEDGER_KEYS_MAX       16
#define LEDGER_ENTRIES_MAX    65536
#define LEDGER_ENTRY_SIZE_MAX (1u << 20)
#define LEDGER_BLOCK_SIZE_MAX (16u << 20) /* Of all entries of one block together. */

/* Stored and signed: never renumber. */
enum ledger_kind { LEDGER_DATA = 0, LEDGER_TRUST_SET = 1 };

const struct sidechain *ledger_format(void);

/* Who may seal: keys are borrowed, of one suite, different from each other, in any order. */
struct ledger_set {
	const struct key *const *keys;
	size_t key_count;
	size_t threshold; /* How many of them must seal a block; 1..key_count. */
};

/* What the next block is made of. Borrowed. */
struct ledger_draft {
	uint64_t height;
	struct hash parent; /* Zero at height 0 and nowhere else. */
	int64_t time_ms;
	const struct bytes *entries; /* None where set is given. */
	size_t entry_count;
	const struct ledger_set *set; /* The set this block brings, or NULL. */
	const struct key *const *signers;
	size_t signer_count;
};

/* Appends the sealed block to out. Signers have private halves.
 *
 * Errors: ZR_INVALID  a limit above is exceeded, an entry is empty, keys are of several suites, or
 *                     one is given twice. */
bool ledger_block_build(const struct ledger_draft *draft, struct buffer *out,
                        struct block_header *out_header, struct err *err) MUST_CHECK;

/* The first block of a chain: brings set, sealed by all of its keys. */
bool ledger_genesis_build(const struct ledger_set *set, int64_t time_ms, struct buffer *out,
                          struct block_header *out_header, struct err *err) MUST_CHECK;

#endif
