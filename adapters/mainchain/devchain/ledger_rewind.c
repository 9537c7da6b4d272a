/* Going back: what a reorganisation or a restored copy does to the ledger. */
#include <inttypes.h>
#include <string.h>

#include "adapters/mainchain/devchain/ledger_private.h"

/* ---- forgetting blocks ---- */

static void forget_entries(struct txn *txn, const struct anchor *anchor,
                           const struct main_transaction *transaction)
{
	for (size_t i = 0; i < anchor->entry_count; i++) {
		struct chain_key chain = chain_key(&anchor->entries[i].chain);
		struct ledger_key range =
			range_key(&chain, anchor->entries[i].from, transaction, (uint32_t)i);
		(void)txn_delete(txn, TABLE_RANGES, ledger_key_bytes(&range));
	}
}

static void forget_anchor(struct txn *txn, const struct main_transaction *transaction)
{
	struct bytes key = BYTES_OF(transaction->key.bytes);
	struct bytes content;
	struct anchor_decoded *decoded;
	struct err err;
	if (!txn_get(txn, TABLE_CONTENTS, key, &content) ||
	    !anchor_content_decode(content, &decoded, &err)) {
		txn_fail(txn, ZR_CORRUPT, "the content of an anchor");
		return;
	}
	forget_entries(txn, anchor_decoded_view(decoded), transaction);
	anchor_decoded_free(decoded);
	struct ledger_key sequence = sequence_key(transaction->lane, transaction->seq);
	(void)txn_delete(txn, TABLE_SEQUENCE, ledger_key_bytes(&sequence));
	(void)txn_delete(txn, TABLE_CONTENTS, key);
	(void)txn_delete(txn, TABLE_ANCHORS, key);
}

/* The newest block and all it recorded. */
static void forget_block(struct txn *txn, struct ledger_state *state)
{
	struct ledger_key at = transaction_key(state->height, 0);
	struct ledger_key block = height_key(state->height);
	struct bytes key, value;
	while (txn_at_or_after(txn, TABLE_TRANSACTIONS, ledger_key_bytes(&at), &key, &value) &&
	       get_be64(key.data) == state->height) {
		struct main_transaction transaction;
		struct err err;
		memcpy(at.bytes, key.data, at.size);
		if (!main_transaction_decode(value, &transaction, &err)) {
			txn_fail(txn, ZR_CORRUPT, "%s", err.message);
			return;
		}
		forget_anchor(txn, &transaction);
		(void)txn_delete(txn, TABLE_TRANSACTIONS, ledger_key_bytes(&at));
	}
	(void)txn_delete(txn, TABLE_BLOCKS, ledger_key_bytes(&block));
	state->height--;
}

bool ledger_reorganise(struct ledger *ledger, uint64_t count, const struct ledger_rules *rules,
                       int64_t now_ms, uint64_t *out_dropped, struct err *err)
{
	struct ledger_state state = ledger->state;
	uint64_t open = state.height - state.final_height;
	uint64_t dropped = count < open ? count : open;
	if (dropped == 0) {
		*out_dropped = 0;
		return true;
	}
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_WRITE);
	for (uint64_t i = 0; txn_ok(&txn) && i < dropped; i++)
		forget_block(&txn, &state);
	for (uint64_t i = 0; txn_ok(&txn) && i < dropped + 1; i++)
		add_block(&txn, ledger, &state, NULL, 0, rules, now_ms);
	if (!ledger_commit(ledger, &txn, &state, err))
		return err_wrap(err, "reorganise");
	*out_dropped = dropped;
	return true;
}

/* ---- snapshots ---- */

static void put_fences(struct txn *txn, struct buffer *out)
{
	struct ledger_key at = lane_key(0);
	struct bytes key, value;
	bool found = txn_first(txn, TABLE_LANES, &key, &value);
	while (found) {
		buffer_put(out, key);
		buffer_put(out, value);
		memcpy(at.bytes, key.data, at.size);
		found = txn_after(txn, TABLE_LANES, ledger_key_bytes(&at), &key, &value);
	}
}

bool ledger_snapshot(struct ledger *ledger, const char *name, struct err *err)
{
	struct buffer value = BUFFER_EMPTY;
	struct bytes key = bytes_of_string(name);
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_WRITE);
	if (!txn_has(&txn, TABLE_SNAPSHOTS, key) &&
	    txn_row_count(&txn, TABLE_SNAPSHOTS) >= LEDGER_SNAPSHOTS_MAX)
		txn_fail(&txn, ZR_FULL, "%d snapshots", LEDGER_SNAPSHOTS_MAX);
	state_encode(&ledger->state, &value);
	put_fences(&txn, &value);
	if (value.failed)
		txn_fail(&txn, ZR_NO_MEMORY, "a snapshot");
	txn_put(&txn, TABLE_SNAPSHOTS, key, buffer_bytes(&value));
	buffer_fini(&value);
	return txn_commit(&txn, err) || err_wrap(err, "snapshot %s", name);
}

static void restore_fences(struct txn *txn, struct reader *reader)
{
	struct bytes key;
	while (txn_first(txn, TABLE_LANES, &key, NULL)) {
		struct ledger_key lane = lane_key(get_be16(key.data));
		(void)txn_delete(txn, TABLE_LANES, ledger_key_bytes(&lane));
	}
	while (txn_ok(txn) && reader->rest.size > 0 && !reader->failed) {
		struct ledger_key lane = lane_key(reader_u16(reader));
		txn_insert(txn, TABLE_LANES, ledger_key_bytes(&lane), reader_bytes(reader, 8));
	}
	if (reader->failed)
		txn_fail(txn, ZR_CORRUPT, "a snapshot");
}

static void forget_batches(struct txn *txn, const struct ledger_state *state, uint64_t kept_count)
{
	for (uint64_t number = state->arrival_count; txn_ok(txn) && number > kept_count; number--) {
		struct ledger_key key = height_key(number);
		struct bytes value;
		struct hash content;
		if (!txn_get(txn, TABLE_ARRIVALS, ledger_key_bytes(&key), &value) ||
		    !hash_from_bytes(&content, value)) {
			txn_fail(txn, ZR_CORRUPT, "batch %" PRIu64, number);
			return;
		}
		(void)txn_delete(txn, TABLE_BATCHES, BYTES_OF(content.bytes));
		(void)txn_delete(txn, TABLE_ARRIVALS, ledger_key_bytes(&key));
	}
}

/* What the snapshot holds, copied: its row would not survive the changes. */
static void restore(struct txn *txn, struct bytes snapshot, struct ledger_state *state)
{
	struct reader reader = reader_of(snapshot);
	struct ledger_state old;
	if (!state_read(&reader, &old)) {
		txn_fail(txn, ZR_CORRUPT, "a snapshot");
		return;
	}
	if (old.height > state->height) {
		txn_fail(txn, ZR_INVALID,
		         "the ledger is at height %" PRIu64 ", and the snapshot at %" PRIu64,
		         state->height, old.height);
		return;
	}
	while (txn_ok(txn) && state->height > old.height)
		forget_block(txn, state);
	restore_fences(txn, &reader);
	forget_batches(txn, state, old.arrival_count);
	*state = old;
}

bool ledger_restore(struct ledger *ledger, const char *name, struct err *err)
{
	struct ledger_state state = ledger->state;
	struct buffer snapshot = BUFFER_EMPTY;
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_WRITE);
	if (txn_get(&txn, TABLE_SNAPSHOTS, bytes_of_string(name), &value))
		buffer_put(&snapshot, value);
	else
		txn_fail(&txn, ZR_INVALID, "there is none");
	if (snapshot.failed)
		txn_fail(&txn, ZR_NO_MEMORY, "a snapshot");
	if (txn_ok(&txn))
		restore(&txn, buffer_bytes(&snapshot), &state);
	buffer_fini(&snapshot);
	return ledger_commit(ledger, &txn, &state, err) || err_wrap(err, "snapshot %s", name);
}
