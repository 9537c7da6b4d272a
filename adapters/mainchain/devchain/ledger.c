/* Opening, reading, batches and fences. Blocks are made in ledger_block.c. */
#include "adapters/mainchain/devchain/ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/devchain/ledger_private.h"
#include "relay/base/clock.h"

#define STATE_KEY BYTES_LITERAL("state")

static const char *const tables[TABLE_COUNT] = {
	[TABLE_META] = "meta",
	[TABLE_BLOCKS] = "blocks",
	[TABLE_TRANSACTIONS] = "transactions",
	[TABLE_ANCHORS] = "anchors",
	[TABLE_CONTENTS] = "contents",
	[TABLE_LANES] = "lanes",
	[TABLE_SEQUENCE] = "sequence",
	[TABLE_BATCHES] = "batches",
	[TABLE_ARRIVALS] = "arrivals",
	[TABLE_CHAINS] = "chains",
	[TABLE_RANGES] = "ranges",
	[TABLE_SNAPSHOTS] = "snapshots",
};

static const struct store_format format = { "zonerelay-devchain", 1, tables, TABLE_COUNT };

/* ---- keys ---- */

struct bytes ledger_key_bytes(const struct ledger_key *key)
{
	return (struct bytes){ key->bytes, key->size };
}

struct ledger_key height_key(uint64_t height)
{
	struct ledger_key key = { .size = 8 };
	put_be64(key.bytes, height);
	return key;
}

struct ledger_key transaction_key(uint64_t height, uint32_t index)
{
	struct ledger_key key = { .size = 12 };
	put_be64(key.bytes, height);
	put_be32(key.bytes + 8, index);
	return key;
}

struct ledger_key lane_key(uint16_t lane)
{
	struct ledger_key key = { .size = 2 };
	put_be16(key.bytes, lane);
	return key;
}

struct ledger_key sequence_key(uint16_t lane, uint64_t seq)
{
	struct ledger_key key = { .size = 10 };
	put_be16(key.bytes, lane);
	put_be64(key.bytes + 2, seq);
	return key;
}

struct ledger_key range_key(const struct chain_key *chain, uint64_t from,
                            const struct main_transaction *transaction, uint32_t index)
{
	struct ledger_key key = { .size = CHAIN_KEY_SIZE + 8 + 2 + 8 + 4 };
	uint8_t *place = key.bytes;
	memcpy(place, chain->bytes, CHAIN_KEY_SIZE);
	put_be64(place + CHAIN_KEY_SIZE, from);
	put_be16(place + CHAIN_KEY_SIZE + 8, transaction->lane);
	put_be64(place + CHAIN_KEY_SIZE + 10, transaction->seq);
	put_be32(place + CHAIN_KEY_SIZE + 18, index);
	return key;
}

/* ---- state ---- */

void state_encode(const struct ledger_state *state, struct buffer *out)
{
	buffer_put_u8(out, (uint8_t)state->alg);
	buffer_put_short(out, bytes_of_string(state->chain));
	buffer_put_u64(out, state->height);
	buffer_put_u64(out, state->final_height);
	buffer_put_u64(out, state->arrival_count);
}

bool state_read(struct reader *reader, struct ledger_state *out_state)
{
	struct ledger_state state = { .alg = (enum hash_alg)reader_u8(reader) };
	if (!reader_name(reader, state.chain))
		return false;
	state.height = reader_u64(reader);
	state.final_height = reader_u64(reader);
	state.arrival_count = reader_u64(reader);
	if (reader->failed || (state.alg != HASH_SHA256 && state.alg != HASH_SM3))
		return false;
	*out_state = state;
	return true;
}

void state_put(struct txn *txn, const struct ledger_state *state)
{
	struct buffer value = BUFFER_EMPTY;
	state_encode(state, &value);
	if (value.failed)
		txn_fail(txn, ZR_NO_MEMORY, "the ledger's state");
	txn_put(txn, TABLE_META, STATE_KEY, buffer_bytes(&value));
	buffer_fini(&value);
}

static void load_state(struct txn *txn, struct ledger_state *out_state)
{
	struct bytes value;
	if (!txn_get(txn, TABLE_META, STATE_KEY, &value)) {
		txn_fail(txn, ZR_CORRUPT, "the ledger has no state");
		return;
	}
	struct reader reader = reader_of(value);
	if (!state_read(&reader, out_state) || !reader_done(&reader))
		txn_fail(txn, ZR_CORRUPT, "the ledger's state");
}

bool ledger_commit(struct ledger *ledger, struct txn *txn, const struct ledger_state *state,
                   struct err *err)
{
	state_put(txn, state);
	if (!txn_commit(txn, err))
		return err_wrap(err, "ledger");
	ledger->state = *state;
	return true;
}

/* ---- life ---- */

bool ledger_exists(const char *dir)
{
	return store_exists(dir);
}

bool ledger_create(const struct ledger_options *options, struct err *err)
{
	assert(chain_name_valid(options->chain));
	struct store *store;
	if (!store_create(&(struct store_create_options){ .dir = options->dir,
	                                                  .format = &format,
	                                                  .size_bytes = options->size_bytes,
	                                                  .now_ms = clock_wall_ms(clock_system()) },
	                  err) ||
	    !store_open(&store,
	                &(struct store_options){
				.dir = options->dir, .format = &format, .mode = STORE_WRITE },
	                err))
		return err_wrap(err, "ledger");

	struct ledger_state state = { .alg = suite_hash(key_suite(options->key)) };
	memcpy(state.chain, options->chain, strlen(options->chain));
	struct txn txn;
	txn_begin(&txn, store, TXN_WRITE);
	state_put(&txn, &state);
	bool done = txn_commit(&txn, err);
	store_close(store);
	return done || err_wrap(err, "ledger");
}

bool ledger_open(struct ledger **out_ledger, const struct ledger_options *options, struct err *err)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));
	if (ledger == NULL)
		return err_set(err, ZR_NO_MEMORY, "ledger %s", options->dir);
	ledger->key = options->key;
	if (!store_open(
		    &ledger->store,
		    &(struct store_options){ .dir = options->dir,
	                                     .format = &format,
	                                     .mode = options->read_only ? STORE_READ : STORE_WRITE,
	                                     .size_bytes = options->size_bytes },
		    err))
		goto fail;

	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_READ);
	load_state(&txn, &ledger->state);
	if (!txn_commit(&txn, err))
		goto fail;
	if (ledger->key != NULL && suite_hash(key_suite(ledger->key)) != ledger->state.alg) {
		(void)err_set(err, ZR_INVALID, "its hash is %s, and the key is of suite %s",
		              hash_alg_name(ledger->state.alg), suite_name(key_suite(ledger->key)));
		goto fail;
	}

	*out_ledger = ledger;
	return true;

fail:
	ledger_close(ledger);
	return err_wrap(err, "ledger %s", options->dir);
}

void ledger_close(struct ledger *ledger)
{
	if (ledger == NULL)
		return;
	store_close(ledger->store);
	free(ledger);
}

const char *ledger_chain(const struct ledger *ledger)
{
	return ledger->state.chain;
}

enum hash_alg ledger_alg(const struct ledger *ledger)
{
	return ledger->state.alg;
}

uint64_t ledger_height(const struct ledger *ledger)
{
	return ledger->state.height;
}

uint64_t ledger_final_height(const struct ledger *ledger)
{
	return ledger->state.final_height;
}

/* A ledger that cannot be read is not settled: whoever makes the next block meets the failure. */
bool ledger_is_settled(struct ledger *ledger)
{
	struct txn txn;
	struct bytes key;
	txn_begin(&txn, ledger->store, TXN_READ);
	bool settled = !txn_last(&txn, TABLE_TRANSACTIONS, &key, NULL) ||
	               get_be64(key.data) <= ledger->state.final_height;
	return txn_commit(&txn, NULL) && settled;
}

/* ---- batches ---- */

bool ledger_put_batch(struct ledger *ledger, const struct hash *content, struct bytes payload,
                      bool *out_before, struct err *err)
{
	struct ledger_state state = ledger->state;
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_WRITE);
	if (txn_has(&txn, TABLE_BATCHES, BYTES_OF(content->bytes))) {
		txn_abort(&txn);
		*out_before = true;
		return true;
	}
	struct ledger_key arrival = height_key(++state.arrival_count);
	txn_insert(&txn, TABLE_BATCHES, BYTES_OF(content->bytes), payload);
	txn_insert(&txn, TABLE_ARRIVALS, ledger_key_bytes(&arrival), BYTES_OF(content->bytes));
	if (!ledger_commit(ledger, &txn, &state, err))
		return false;
	*out_before = false;
	return true;
}

/* The whole value under key, appended to out. */
static bool copy_value(struct ledger *ledger, enum ledger_table table, struct bytes key,
                       struct buffer *out, bool *out_found, struct err *err)
{
	struct txn txn;
	struct bytes value;
	txn_begin(&txn, ledger->store, TXN_READ);
	bool found = txn_get(&txn, table, key, &value);
	if (found)
		buffer_put(out, value);
	if (!txn_commit(&txn, err) || !buffer_ok(out, err))
		return err_wrap(err, "ledger");
	*out_found = found;
	return true;
}

bool ledger_get_batch(struct ledger *ledger, const struct hash *content, struct buffer *out,
                      bool *out_found, struct err *err)
{
	return copy_value(ledger, TABLE_BATCHES, BYTES_OF(content->bytes), out, out_found, err);
}

bool ledger_sequence(struct ledger *ledger, uint16_t lane, uint64_t seq, struct hash *out_key,
                     bool *out_found, struct err *err)
{
	struct ledger_key at = sequence_key(lane, seq);
	struct buffer value = BUFFER_EMPTY;
	bool done =
		copy_value(ledger, TABLE_SEQUENCE, ledger_key_bytes(&at), &value, out_found, err);
	if (done && *out_found && !hash_from_bytes(out_key, buffer_bytes(&value)))
		done = err_set(err, ZR_CORRUPT, "the key of an anchor is malformed");
	buffer_fini(&value);
	return done;
}

bool ledger_content(struct ledger *ledger, const struct hash *key, struct buffer *out,
                    bool *out_found, struct err *err)
{
	return copy_value(ledger, TABLE_CONTENTS, BYTES_OF(key->bytes), out, out_found, err);
}

/* ---- anchors and lanes ---- */

bool find_place(struct txn *txn, const struct hash *key, struct ledger_place *out_place)
{
	struct bytes value;
	if (!txn_get(txn, TABLE_ANCHORS, BYTES_OF(key->bytes), &value))
		return false;
	struct reader reader = reader_of(value);
	struct err err;
	struct ledger_place place;
	place.block = reader_u64(&reader);
	place.index = reader_u32(&reader);
	if (!main_transaction_decode(reader.rest, &place.transaction, &err)) {
		txn_fail(txn, ZR_CORRUPT, "an anchor: %s", err.message);
		return false;
	}
	*out_place = place;
	return true;
}

bool ledger_find(struct ledger *ledger, uint16_t lane, const struct hash *key, uint64_t as_of,
                 bool *out_found, struct ledger_place *out_place, struct err *err)
{
	struct txn txn;
	struct ledger_place place;
	txn_begin(&txn, ledger->store, TXN_READ);
	bool found = find_place(&txn, key, &place) && place.transaction.lane == lane &&
	             place.block <= as_of;
	if (!txn_commit(&txn, err))
		return err_wrap(err, "ledger");
	*out_found = found;
	if (found)
		*out_place = place;
	return true;
}

static uint64_t find_fence(struct txn *txn, uint16_t lane)
{
	struct ledger_key key = lane_key(lane);
	struct bytes value;
	if (!txn_get(txn, TABLE_LANES, ledger_key_bytes(&key), &value))
		return 0;
	struct reader reader = reader_of(value);
	return reader_u64(&reader);
}

void find_head(struct txn *txn, uint16_t lane, uint64_t as_of, struct ledger_head *out_head)
{
	struct ledger_head head = { .fence = find_fence(txn, lane) };
	struct ledger_key before = sequence_key(lane, UINT64_MAX);
	struct bytes key, value;
	while (txn_before(txn, TABLE_SEQUENCE, ledger_key_bytes(&before), &key, &value) &&
	       key.size == before.size && get_be16(key.data) == lane) {
		struct ledger_place place;
		struct hash anchor;
		memcpy(before.bytes, key.data, key.size);
		if (!hash_from_bytes(&anchor, value) || !find_place(txn, &anchor, &place)) {
			txn_fail(txn, ZR_CORRUPT, "a lane whose anchor is not there");
			return;
		}
		if (place.block <= as_of) {
			head.seq = place.transaction.seq;
			head.root = place.transaction.root;
			head.key = anchor;
			break;
		}
	}
	*out_head = head;
}

bool ledger_head(struct ledger *ledger, uint16_t lane, uint64_t as_of, struct ledger_head *out_head,
                 struct err *err)
{
	struct txn txn;
	struct ledger_head head = { .seq = 0 };
	txn_begin(&txn, ledger->store, TXN_READ);
	find_head(&txn, lane, as_of, &head);
	if (!txn_commit(&txn, err))
		return err_wrap(err, "ledger");
	*out_head = head;
	return true;
}

bool ledger_fence(struct ledger *ledger, uint16_t lane, uint64_t expected, bool *out_acquired,
                  uint64_t *out_fence, struct err *err)
{
	struct ledger_key key = lane_key(lane);
	uint8_t value[8];
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_WRITE);
	uint64_t fence = find_fence(&txn, lane);
	bool acquired = txn_ok(&txn) && fence == expected && fence < MAIN_NUMBER_MAX;
	if (acquired) {
		put_be64(value, ++fence);
		txn_put(&txn, TABLE_LANES, ledger_key_bytes(&key), BYTES_OF(value));
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "ledger");
	*out_acquired = acquired;
	*out_fence = fence;
	return true;
}

/* ---- blocks and evidence ---- */

void ledger_block_fini(struct ledger_block *block)
{
	buffer_fini(&block->record);
	buffer_fini(&block->transactions);
}

static void read_block_row(struct txn *txn, struct bytes value, struct ledger_block *block)
{
	struct reader reader = reader_of(value);
	buffer_put(&block->record, reader_short(&reader));
	block->final = reader.rest.size > 0;
	if (block->final) {
		block->key_id = reader_hash(&reader);
		struct bytes signature = reader_short(&reader);
		if (signature.size <= SIGNATURE_SIZE_MAX) {
			memcpy(block->signature.bytes, signature.data, signature.size);
			block->signature.size = signature.size;
		}
	}
	if (!reader_done(&reader))
		txn_fail(txn, ZR_CORRUPT, "a block");
}

static void read_transactions(struct txn *txn, uint64_t height, struct buffer *out)
{
	struct ledger_key at = transaction_key(height, 0);
	struct bytes key, value;
	bool found = txn_at_or_after(txn, TABLE_TRANSACTIONS, ledger_key_bytes(&at), &key, &value);
	while (found && get_be64(key.data) == height) {
		buffer_put(out, value);
		memcpy(at.bytes, key.data, at.size);
		found = txn_after(txn, TABLE_TRANSACTIONS, ledger_key_bytes(&at), &key, &value);
	}
}

bool ledger_block(struct ledger *ledger, uint64_t height, bool *out_found,
                  struct ledger_block *out_block, struct err *err)
{
	struct ledger_key key = height_key(height);
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_READ);
	bool found = txn_get(&txn, TABLE_BLOCKS, ledger_key_bytes(&key), &value);
	if (found) {
		read_block_row(&txn, value, out_block);
		read_transactions(&txn, height, &out_block->transactions);
	}
	if (!txn_commit(&txn, err) || !buffer_ok(&out_block->record, err) ||
	    !buffer_ok(&out_block->transactions, err))
		return err_wrap(err, "ledger, block %llu", (unsigned long long)height);
	*out_found = found;
	return true;
}

static bool block_evidence(const struct ledger_block *block, enum hash_alg alg, uint32_t index,
                           struct buffer *out, struct err *err)
{
	size_t count = block->transactions.size / MAIN_TRANSACTION_SIZE;
	struct hash *leaves = calloc(count + 1, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "evidence");
	assert(block->final && index < count);
	for (size_t i = 0; i < count; i++)
		leaves[i] = merkle_leaf(
			alg, (struct bytes){ block->transactions.data + i * MAIN_TRANSACTION_SIZE,
		                             MAIN_TRANSACTION_SIZE });
	struct main_evidence evidence = {
		.block_record = buffer_bytes(&block->record),
		.transaction_record = { block->transactions.data +
		                                (size_t)index * MAIN_TRANSACTION_SIZE,
		                        MAIN_TRANSACTION_SIZE },
		.signature_count = 1,
	};
	evidence.signatures[0].key_id = block->key_id;
	evidence.signatures[0].signature = signature_bytes(&block->signature);
	merkle_path(alg, leaves, count, index, &evidence.path);
	main_evidence_encode(&evidence, out);
	free(leaves);
	return buffer_ok(out, err);
}

bool ledger_evidence(struct ledger *ledger, const struct ledger_place *place, struct buffer *out,
                     struct err *err)
{
	struct ledger_block block = LEDGER_BLOCK_EMPTY;
	bool found = false;
	bool done = ledger_block(ledger, place->block, &found, &block, err);
	if (done && (!found || !block.final))
		done = err_set(err, ZR_STATE, "block %llu is not final",
		               (unsigned long long)place->block);
	done = done && block_evidence(&block, ledger->state.alg, place->index, out, err);
	ledger_block_fini(&block);
	return done;
}
