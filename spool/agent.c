/* agent.c -- the agent's store as a whole, its chains, small values. See agent.h.
 *
 * A chain's row, all numbers big-endian:
 *
 *     u8 name length, name; epoch 32; u8 format length, format; u8 flags (1 ledger, 2 pinned);
 *     next_height 8; tip 32; tip_time_ms 8; oldest_height 8; durable_next 8; anchored_next 8;
 *     entry_next 8; entry_sealed 8; open_bytes 8; open_since_ms 8; store UUID 16; added_ms 8
 */
#include "spool/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool/agent_private.h"

#define META_GATEWAY_TIME "gateway-time"
#define SPARE_SHARE       16 /* This part of the store is left to what does not take in. */

enum { FLAG_LEDGER = 1, FLAG_PINNED = 2 };

static const char *const table_names[AGENT_TABLE_COUNT] = {
	[AGENT_CHAINS] = "chains", [AGENT_NAMES] = "names",       [AGENT_ENTRIES] = "entries",
	[AGENT_BLOCKS] = "blocks", [AGENT_HEADERS] = "headers",   [AGENT_CUSTODY] = "custody",
	[AGENT_RUNS] = "runs",     [AGENT_MESSAGES] = "messages", [AGENT_POSITIONS] = "positions",
	[AGENT_META] = "meta",
};

static const struct store_format format = {
	.name = "zonerelay-agent",
	.version = 1,
	.tables = table_names,
	.table_count = AGENT_TABLE_COUNT,
};

/* ---- life ---------------------------------------------------------------------------------- */

bool agent_store_create(const char *dir, uint64_t size_bytes, int64_t now_ms, struct err *err)
{
	struct store_create_options options = {
		.dir = dir,
		.format = &format,
		.size_bytes = size_bytes,
		.allocate = false,
		.now_ms = now_ms,
	};
	return store_create(&options, err);
}

bool agent_store_open(struct agent_store **out_store, const char *dir, enum store_mode mode,
                      uint64_t size_bytes, struct err *err)
{
	struct agent_store *store = calloc(1, sizeof(*store));
	if (store == NULL)
		return err_set(err, ZR_NO_MEMORY, "store %s", dir);
	struct store_options options = {
		.dir = dir, .format = &format, .mode = mode, .size_bytes = size_bytes
	};
	if (!store_open(&store->store, &options, err)) {
		free(store);
		return false;
	}
	*out_store = store;
	return true;
}

void agent_store_close(struct agent_store *store)
{
	if (store == NULL)
		return;
	store_close(store->store);
	free(store);
}

struct store *agent_store_base(struct agent_store *store)
{
	return store->store;
}

/* ---- keys and rows ------------------------------------------------------------------------- */

struct agent_key agent_key(const struct chain_key *chain, uint64_t number)
{
	struct agent_key key;
	memcpy(key.bytes, chain->bytes, CHAIN_KEY_SIZE);
	put_be64(key.bytes + CHAIN_KEY_SIZE, number);
	return key;
}

bool agent_key_of(struct bytes key, const struct chain_key *chain, uint64_t *out_number)
{
	if (key.size != sizeof(struct agent_key) ||
	    memcmp(key.data, chain->bytes, CHAIN_KEY_SIZE) != 0)
		return false;
	*out_number = get_be64(key.data + CHAIN_KEY_SIZE);
	return true;
}

void agent_put_buffer(struct txn *txn, enum agent_table table, struct bytes key,
                      struct buffer *take_value)
{
	struct err err;
	if (buffer_ok(take_value, &err))
		txn_put(txn, table, key, buffer_bytes(take_value));
	else
		txn_fail(txn, err.code, "%s", err.message);
	buffer_fini(take_value);
}

void agent_copy(struct txn *txn, struct bytes value, struct buffer *out)
{
	struct err err;
	buffer_put(out, value);
	if (!buffer_ok(out, &err))
		txn_fail(txn, err.code, "%s", err.message);
}

static void chain_encode(const struct agent_chain *chain, struct buffer *out)
{
	buffer_put_short(out, bytes_of_string(chain->id.name));
	buffer_put_hash(out, &chain->id.epoch);
	buffer_put_short(out, bytes_of_string(chain->format));
	buffer_put_u8(out, (uint8_t)((chain->is_ledger ? FLAG_LEDGER : 0) |
	                             (chain->pinned ? FLAG_PINNED : 0)));
	buffer_put_u64(out, chain->next_height);
	buffer_put_hash(out, &chain->tip);
	buffer_put_u64(out, (uint64_t)chain->tip_time_ms);
	buffer_put_u64(out, chain->oldest_height);
	buffer_put_u64(out, chain->durable_next);
	buffer_put_u64(out, chain->anchored_next);
	buffer_put_u64(out, chain->entry_next);
	buffer_put_u64(out, chain->entry_sealed);
	buffer_put_u64(out, chain->open_bytes);
	buffer_put_u64(out, (uint64_t)chain->open_since_ms);
	buffer_put(out, BYTES_OF(chain->store_uuid));
	buffer_put_u64(out, (uint64_t)chain->added_ms);
}

static void read_text(struct reader *reader, char *out_text, size_t size)
{
	struct bytes text = reader_short(reader);
	if (text.size >= size) {
		reader->failed = true;
		return;
	}
	if (text.size > 0)
		memcpy(out_text, text.data, text.size);
	out_text[text.size] = '\0';
}

static bool chain_decode(struct bytes value, struct agent_chain *out_chain)
{
	struct reader reader = reader_of(value);
	memset(out_chain, 0, sizeof(*out_chain));
	read_text(&reader, out_chain->id.name, sizeof(out_chain->id.name));
	out_chain->id.epoch = reader_hash(&reader);
	read_text(&reader, out_chain->format, sizeof(out_chain->format));
	uint8_t flags = reader_u8(&reader);
	out_chain->is_ledger = (flags & FLAG_LEDGER) != 0;
	out_chain->pinned = (flags & FLAG_PINNED) != 0;
	out_chain->next_height = reader_u64(&reader);
	out_chain->tip = reader_hash(&reader);
	out_chain->tip_time_ms = (int64_t)reader_u64(&reader);
	out_chain->oldest_height = reader_u64(&reader);
	out_chain->durable_next = reader_u64(&reader);
	out_chain->anchored_next = reader_u64(&reader);
	out_chain->entry_next = reader_u64(&reader);
	out_chain->entry_sealed = reader_u64(&reader);
	out_chain->open_bytes = reader_u64(&reader);
	out_chain->open_since_ms = (int64_t)reader_u64(&reader);
	struct bytes uuid = reader_bytes(&reader, STORE_UUID_SIZE);
	if (uuid.size == STORE_UUID_SIZE)
		memcpy(out_chain->store_uuid, uuid.data, STORE_UUID_SIZE);
	out_chain->added_ms = (int64_t)reader_u64(&reader);
	return reader_done(&reader);
}

void agent_take_in(struct txn *txn)
{
	txn_leave_room(txn, store_limit_bytes(txn->store) / SPARE_SHARE);
}

bool agent_chain_read(struct txn *txn, const struct chain_key *key, struct agent_chain *out_chain)
{
	struct bytes value;
	if (!txn_get(txn, AGENT_CHAINS, BYTES_OF(*key), &value)) {
		txn_fail(txn, ZR_STATE, "no such chain in this store");
		return false;
	}
	if (!chain_decode(value, out_chain)) {
		txn_fail(txn, ZR_CORRUPT, "a chain's row is malformed");
		return false;
	}
	return true;
}

void agent_chain_write(struct txn *txn, const struct chain_key *key,
                       const struct agent_chain *chain)
{
	struct buffer value = BUFFER_EMPTY;
	chain_encode(chain, &value);
	agent_put_buffer(txn, AGENT_CHAINS, BYTES_OF(*key), &value);
}

/* ---- chains -------------------------------------------------------------------------------- */

bool agent_chain_add(struct agent_store *store, const struct agent_chain_new *chain,
                     struct err *err)
{
	struct chain_key key = chain_key(&chain->id);
	struct agent_chain row = { .id = chain->id,
		                   .is_ledger = chain->is_ledger,
		                   .added_ms = chain->now_ms };
	if (strlen(chain->format) > AGENT_FORMAT_NAME_MAX || !chain_name_valid(chain->id.name))
		return err_set(err, ZR_INVALID,
		               "chain %s, format %s: a name is too long or malformed",
		               chain->id.name, chain->format);
	(void)snprintf(row.format, sizeof(row.format), "%s", chain->format);
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	if (txn_has(&txn, AGENT_CHAINS, BYTES_OF(key)))
		txn_fail(&txn, ZR_STATE, "chain %s is known already", chain->id.name);
	if (chain->genesis != NULL) {
		row.next_height = chain->genesis->height + 1;
		row.tip = chain->genesis->hash;
		row.tip_time_ms = chain->genesis->time_ms;
		struct agent_key block = agent_key(&key, chain->genesis->height);
		txn_insert(&txn, AGENT_BLOCKS, BYTES_OF(block), chain->genesis_raw);
		agent_header_write(&txn, &key, chain->genesis);
	}
	agent_chain_write(&txn, &key, &row);
	txn_put(&txn, AGENT_NAMES, bytes_of_string(chain->id.name), BYTES_OF(key));
	return txn_commit(&txn, err) || err_wrap(err, "add chain %s", chain->id.name);
}

bool agent_chain(struct agent_store *store, const struct chain_key *chain,
                 struct agent_chain *out_chain, struct err *err)
{
	struct agent_chain row;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	(void)agent_chain_read(&txn, chain, &row);
	if (!txn_commit(&txn, err))
		return false;
	*out_chain = row;
	return true;
}

bool agent_chain_by_name(struct agent_store *store, const char *name, struct agent_chain *out_chain,
                         bool *out_found, struct err *err)
{
	struct agent_chain row;
	struct chain_key key;
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	bool found = txn_get(&txn, AGENT_NAMES, bytes_of_string(name), &value);
	if (found && value.size == sizeof(key)) {
		memcpy(&key, value.data, sizeof(key));
		(void)agent_chain_read(&txn, &key, &row);
	} else if (found) {
		txn_fail(&txn, ZR_CORRUPT, "the row of the name %s is malformed", name);
	}
	if (!txn_commit(&txn, err))
		return false;
	*out_found = found;
	if (found)
		*out_chain = row;
	return true;
}

bool agent_chains_page(struct agent_store *store, const struct chain_key *after,
                       struct agent_chain *out_chains, size_t count_max, size_t *out_count,
                       struct err *err)
{
	struct bytes key, value;
	size_t count = 0;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	bool found = after == NULL ? txn_first(&txn, AGENT_CHAINS, &key, &value)
	                           : txn_after(&txn, AGENT_CHAINS, BYTES_OF(*after), &key, &value);
	while (found && count < count_max) {
		if (!chain_decode(value, &out_chains[count]))
			txn_fail(&txn, ZR_CORRUPT, "a chain's row is malformed");
		count++;
		found = txn_after(&txn, AGENT_CHAINS, key, &key, &value);
	}
	if (!txn_commit(&txn, err))
		return false;
	*out_count = count;
	return true;
}

bool agent_pin(struct agent_store *store, const struct chain_key *chain,
               const uint8_t uuid[STORE_UUID_SIZE], struct err *err)
{
	struct agent_chain row;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	if (agent_chain_read(&txn, chain, &row)) {
		if (row.pinned && memcmp(row.store_uuid, uuid, STORE_UUID_SIZE) != 0)
			txn_fail(&txn, ZR_STATE, "chain %s is handed to another gateway store",
			         row.id.name);
		row.pinned = true;
		memcpy(row.store_uuid, uuid, STORE_UUID_SIZE);
		agent_chain_write(&txn, chain, &row);
	}
	return txn_commit(&txn, err) || err_wrap(err, "pin the gateway's store");
}

bool agent_unpin(struct agent_store *store, const struct chain_key *chain, struct err *err)
{
	struct agent_chain row;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	if (agent_chain_read(&txn, chain, &row)) {
		row.pinned = false;
		memset(row.store_uuid, 0, sizeof(row.store_uuid));
		agent_chain_write(&txn, chain, &row);
	}
	return txn_commit(&txn, err) || err_wrap(err, "unpin the gateway's store");
}

/* ---- small values -------------------------------------------------------------------------- */

bool agent_meta_put(struct agent_store *store, const char *name, struct bytes value,
                    struct err *err)
{
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	txn_put(&txn, AGENT_META, bytes_of_string(name), value);
	return txn_commit(&txn, err) || err_wrap(err, "write %s", name);
}

bool agent_meta_get(struct agent_store *store, const char *name, struct buffer *out,
                    struct err *err)
{
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	if (txn_get(&txn, AGENT_META, bytes_of_string(name), &value))
		agent_copy(&txn, value, out);
	return txn_commit(&txn, err) || err_wrap(err, "read %s", name);
}

static int64_t gateway_time_in(struct txn *txn)
{
	struct bytes value;
	if (!txn_get(txn, AGENT_META, BYTES_LITERAL(META_GATEWAY_TIME), &value))
		return 0;
	if (value.size != 8) {
		txn_fail(txn, ZR_CORRUPT, "the gateway's time is malformed");
		return 0;
	}
	return (int64_t)get_be64(value.data);
}

bool agent_gateway_time_put(struct agent_store *store, int64_t time_ms, struct err *err)
{
	uint8_t value[8];
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	put_be64(value, (uint64_t)time_ms);
	if (time_ms > gateway_time_in(&txn))
		txn_put(&txn, AGENT_META, BYTES_LITERAL(META_GATEWAY_TIME), BYTES_OF(value));
	return txn_commit(&txn, err) || err_wrap(err, "write the gateway's time");
}

bool agent_gateway_time(struct agent_store *store, int64_t *out_time_ms, struct err *err)
{
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	int64_t time_ms = gateway_time_in(&txn);
	if (!txn_commit(&txn, err))
		return false;
	*out_time_ms = time_ms;
	return true;
}
