/* ledger_private.h -- the tables of the ledger, and what its files share. */
#ifndef ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_LEDGER_PRIVATE_H
#define ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_LEDGER_PRIVATE_H

#include "adapters/mainchain/devchain/ledger.h"
#include "spool/txn.h"

/* All numbers big-endian. Indexes are stored: never reorder. */
enum ledger_table {
	TABLE_META, /* "state" -> struct ledger_state */
	TABLE_BLOCKS, /* height u64 -> header (u8 size), and if final: key id 32, signature (u8 size) */
	TABLE_TRANSACTIONS, /* height u64, index u32 -> transaction record */
	TABLE_ANCHORS,      /* key 32 -> block u64, index u32, transaction record */
	TABLE_CONTENTS,     /* key 32 -> anchor content */
	TABLE_LANES,        /* lane u16 -> fence u64 */
	TABLE_SEQUENCE,     /* lane u16, seq u64 -> key 32 */
	TABLE_BATCHES,      /* content 32 -> the bytes */
	TABLE_ARRIVALS,     /* arrival number u64 -> content 32 */
	TABLE_CHAINS,       /* chain key 16 -> epoch 32, name (u8 size) */
	TABLE_RANGES,       /* chain key 16, from u64, lane u16, seq u64, index u32 -> to u64 */
	TABLE_SNAPSHOTS, /* name -> struct ledger_state, then lane u16, fence u64 for each lane */
	TABLE_COUNT,
};

struct ledger_state {
	enum hash_alg alg;
	char chain[CHAIN_NAME_MAX + 1];
	uint64_t height;
	uint64_t final_height;
	uint64_t arrival_count; /* Batches that ever arrived. */
};

struct ledger {
	struct store *store;       /* Owned. */
	const struct key *key;     /* Kept. */
	struct ledger_state state; /* As in TABLE_META; changes after a commit only. */
};

void state_encode(const struct ledger_state *state, struct buffer *out);
/* Reads from the front of reader. */
bool state_read(struct reader *reader, struct ledger_state *out_state);
void state_put(struct txn *txn, const struct ledger_state *state);

/* Commits, and then makes state the ledger's. */
bool ledger_commit(struct ledger *ledger, struct txn *txn, const struct ledger_state *state,
                   struct err *err) MUST_CHECK;

struct ledger_key {
	uint8_t bytes[64];
	size_t size;
};
struct bytes ledger_key_bytes(const struct ledger_key *key);
struct ledger_key height_key(uint64_t height);
struct ledger_key transaction_key(uint64_t height, uint32_t index);
struct ledger_key lane_key(uint16_t lane);
struct ledger_key sequence_key(uint16_t lane, uint64_t seq);
struct ledger_key range_key(const struct chain_key *chain, uint64_t from,
                            const struct main_transaction *transaction, uint32_t index);

/* False: there is none. */
bool find_place(struct txn *txn, const struct hash *key, struct ledger_place *out_place);
/* The newest anchor of lane in blocks up to as_of, and the fence. */
void find_head(struct txn *txn, uint16_t lane, uint64_t as_of, struct ledger_head *out_head);

/* Adds one block of transactions to state and txn, signs what becomes final. The transactions' rows
 * in TABLE_ANCHORS and the rest are the caller's. */
void add_block(struct txn *txn, struct ledger *ledger, struct ledger_state *state,
               const struct main_transaction *transactions, size_t count,
               const struct ledger_rules *rules, int64_t now_ms);

#endif
