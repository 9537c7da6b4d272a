/* layout.h -- the two byte layouts of format `ledger`, and a block cut into its parts. */
#ifndef ZR_ADAPTERS_SIDECHAIN_LEDGER_LAYOUT_H
#define ZR_ADAPTERS_SIDECHAIN_LEDGER_LAYOUT_H

#include "adapters/sidechain/ledger/ledger.h"

struct ledger_header {
	enum suite suite;
	enum ledger_kind kind;
	uint64_t height;
	int64_t time_ms;
	struct hash parent;
	struct hash data_root;
	uint32_t entry_count;
};

void ledger_header_encode(const struct ledger_header *header,
                          uint8_t out_bytes[static LEDGER_HEADER_SIZE]);
/* Errors: ZR_INVALID. */
bool ledger_header_decode(struct bytes bytes, struct ledger_header *out_header,
                          struct err *err) MUST_CHECK;

struct ledger_seal {
	struct hash key_id;
	struct bytes signature;
};

/* A block cut into its parts, all borrowed. Entries are walked with reader-like calls because there
 * may be many; there are never more seals than keys. */
struct ledger_parts {
	struct bytes header;
	struct bytes entries; /* The run of entry fields, still encoded: ledger_next_entry(). */
	size_t entry_count;
	struct ledger_seal seals[LEDGER_KEYS_MAX];
	size_t seal_count;
};

/* Accepts the one canonical encoding, and nothing beyond the limits of ledger.h.
 * Errors: ZR_INVALID. */
bool ledger_parts_decode(struct bytes raw, struct ledger_parts *out_parts,
                         struct err *err) MUST_CHECK;
/* Takes the first entry off parts->entries. False: none is left. */
bool ledger_next_entry(struct bytes *entries, struct bytes *out_entry);

/* A decoded trust set: keys are owned, ascending by id. */
struct ledger_keys {
	enum suite suite;
	size_t threshold;
	struct key *keys[LEDGER_KEYS_MAX];
	struct hash ids[LEDGER_KEYS_MAX];
	size_t count;
};

void ledger_keys_fini(struct ledger_keys *keys);
/* Gives the keys in *out_keys. Errors: ZR_INVALID  not the one encoding of a set we can use. */
bool ledger_keys_decode(struct bytes entry, struct ledger_keys *out_keys,
                        struct err *err) MUST_CHECK;
/* Appends. Errors: ZR_INVALID  see ledger_block_build(). */
bool ledger_set_encode(const struct ledger_set *set, struct buffer *out,
                       struct err *err) MUST_CHECK;

/* Puts count keys of one suite into ascending order of their ids.
 * Errors: ZR_INVALID  several suites, one key twice, none, or more than LEDGER_KEYS_MAX. */
bool ledger_sort_keys(const struct key *const *keys, size_t count,
                      const struct key *out_sorted[static LEDGER_KEYS_MAX],
                      struct err *err) MUST_CHECK;

#endif
