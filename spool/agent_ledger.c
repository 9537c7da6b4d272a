/* agent_ledger.c -- the agent's own ledger: entries, blocks, headers, source positions. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/agent_private.h"

/* ---- headers ------------------------------------------------------------------------------- */

void agent_header_write(struct txn *txn, const struct chain_key *key,
                        const struct block_header *header)
{
	uint8_t record[HEADER_RECORD_SIZE];
	struct agent_key at = agent_key(key, header->height);
	header_record_encode(header, record);
	txn_insert(txn, AGENT_HEADERS, BYTES_OF(at), BYTES_OF(record));
}

static bool header_decode(struct txn *txn, struct bytes value, struct block_header *out_header)
{
	struct err err;
	if (header_record_decode(value, out_header, &err))
		return true;
	txn_fail(txn, ZR_CORRUPT, "a header: %s", err.message);
	return false;
}

bool agent_header_read(struct txn *txn, const struct chain_key *key, uint64_t height,
                       struct block_header *out_header)
{
	struct bytes value;
	struct agent_key at = agent_key(key, height);
	return txn_get(txn, AGENT_HEADERS, BYTES_OF(at), &value) &&
	       header_decode(txn, value, out_header);
}

/* One header after the other; those below next_height must be the ones we know. */
static void follow(struct txn *txn, const struct chain_key *key, struct agent_chain *chain,
                   const struct block_header *header)
{
	struct block_header known;
	bool first = chain->next_height == 0;
	if (header->height < chain->next_height) {
		if (agent_header_read(txn, key, header->height, &known) &&
		    !hash_equal(&known.hash, &header->hash))
			txn_fail(txn, ZR_STATE,
			         "block %" PRIu64
			         " is another one than before: a fork at the source",
			         header->height);
		return;
	}
	if (!first && header->height != chain->next_height) {
		txn_fail(txn, ZR_STATE, "block %" PRIu64 " comes, %" PRIu64 " is next",
		         header->height, chain->next_height);
		return;
	}
	if (!first && !hash_equal(&header->parent, &chain->tip)) {
		txn_fail(txn, ZR_STATE,
		         "block %" PRIu64 " does not follow the one before: a fork at the source",
		         header->height);
		return;
	}
	if (first)
		chain->oldest_height = header->height;
	agent_header_write(txn, key, header);
	chain->next_height = header->height + 1;
	chain->tip = header->hash;
	chain->tip_time_ms = header->time_ms;
}

bool agent_headers_put(struct agent_store *store, const struct chain_key *chain,
                       const struct block_header *headers, size_t count, struct err *err)
{
	struct agent_chain row;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	agent_take_in(&txn);
	if (agent_chain_read(&txn, chain, &row)) {
		for (size_t i = 0; i < count && txn_ok(&txn); i++)
			follow(&txn, chain, &row, &headers[i]);
		agent_chain_write(&txn, chain, &row);
	}
	return txn_commit(&txn, err) || err_wrap(err, "keep %zu headers", count);
}

bool agent_headers(struct agent_store *store, const struct agent_range *range,
                   struct block_header *out_headers, size_t count_max, size_t *out_count,
                   struct err *err)
{
	struct bytes key, value;
	uint64_t height = 0;
	size_t count = 0;
	struct txn txn;
	struct agent_key from = agent_key(&range->chain, range->from);
	txn_begin(&txn, store->store, TXN_READ);
	bool found = txn_at_or_after(&txn, AGENT_HEADERS, BYTES_OF(from), &key, &value);
	while (found && count < count_max && agent_key_of(key, &range->chain, &height) &&
	       height <= range->to && header_decode(&txn, value, &out_headers[count])) {
		count++;
		found = txn_after(&txn, AGENT_HEADERS, key, &key, &value);
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "headers from %" PRIu64 " on", range->from);
	*out_count = count;
	return true;
}

/* ---- entries ------------------------------------------------------------------------------- */

static void append_entries(struct txn *txn, const struct agent_append *append,
                           struct agent_chain *chain)
{
	if (!chain->is_ledger) {
		txn_fail(txn, ZR_STATE, "chain %s is not kept here", chain->id.name);
		return;
	}
	if (chain->entry_next == chain->entry_sealed && append->entry_count > 0)
		chain->open_since_ms = append->now_ms;
	for (size_t i = 0; i < append->entry_count; i++) {
		struct bytes entry = append->entries[i];
		if (entry.size == 0 || entry.size > AGENT_ENTRY_MAX_BYTES) {
			txn_fail(txn, ZR_INVALID, "an entry of %zu bytes: 1 to %u are allowed",
			         entry.size, AGENT_ENTRY_MAX_BYTES);
			return;
		}
		struct agent_key at = agent_key(&append->chain, chain->entry_next++);
		txn_insert(txn, AGENT_ENTRIES, BYTES_OF(at), entry);
		chain->open_bytes += entry.size;
	}
}

bool agent_ledger_append(struct agent_store *store, const struct agent_append *append,
                         uint64_t *out_first, struct err *err)
{
	struct agent_chain chain;
	uint64_t first = 0;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	agent_take_in(&txn);
	if (agent_chain_read(&txn, &append->chain, &chain)) {
		first = chain.entry_next;
		append_entries(&txn, append, &chain);
		agent_chain_write(&txn, &append->chain, &chain);
		if (append->position.size > 0)
			txn_put(&txn, AGENT_POSITIONS, BYTES_OF(append->chain), append->position);
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "append %zu entries", append->entry_count);
	*out_first = first;
	return true;
}

void agent_entries_fini(struct agent_entries *entries)
{
	buffer_fini(&entries->data);
	free(entries->sizes);
	*entries = AGENT_ENTRIES_EMPTY;
}

static bool add_size(struct agent_entries *entries, size_t size)
{
	if (entries->count == entries->capacity) {
		size_t capacity = entries->capacity == 0 ? 64 : entries->capacity * 2;
		size_t *sizes = reallocarray(entries->sizes, capacity, sizeof(*sizes));
		if (sizes == NULL)
			return false;
		entries->sizes = sizes;
		entries->capacity = capacity;
	}
	entries->sizes[entries->count++] = size;
	return true;
}

bool agent_ledger_open_entries(struct agent_store *store, const struct chain_key *chain,
                               size_t count_max, size_t bytes_max, struct agent_entries *entries,
                               struct err *err)
{
	struct bytes key, value;
	uint64_t number = 0;
	struct txn txn;
	struct agent_key first = agent_key(chain, 0);
	buffer_clear(&entries->data);
	entries->count = 0;
	txn_begin(&txn, store->store, TXN_READ);
	bool found = txn_at_or_after(&txn, AGENT_ENTRIES, BYTES_OF(first), &key, &value);
	while (found && entries->count < count_max && agent_key_of(key, chain, &number)) {
		if (entries->count > 0 && entries->data.size + value.size > bytes_max)
			break;
		agent_copy(&txn, value, &entries->data);
		if (!add_size(entries, value.size))
			txn_fail(&txn, ZR_NO_MEMORY, "%zu entries", entries->count);
		found = txn_after(&txn, AGENT_ENTRIES, key, &key, &value);
	}
	return txn_commit(&txn, err) || err_wrap(err, "read open entries");
}

/* ---- blocks -------------------------------------------------------------------------------- */

/* Takes the oldest count entries away, and their bytes from the sum. */
static void remove_entries(struct txn *txn, const struct chain_key *key, struct agent_chain *chain,
                           size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct agent_key at = agent_key(key, chain->entry_sealed);
		struct bytes entry;
		if (!txn_get(txn, AGENT_ENTRIES, BYTES_OF(at), &entry)) {
			txn_fail(txn, ZR_STATE, "entry %" PRIu64 " is not open",
			         chain->entry_sealed);
			return;
		}
		chain->open_bytes -= entry.size;
		(void)txn_delete(txn, AGENT_ENTRIES, BYTES_OF(at));
		chain->entry_sealed++;
	}
}

static void seal(struct txn *txn, const struct chain_key *key, struct agent_chain *chain,
                 const struct block_header *header, struct bytes raw)
{
	struct agent_key at = agent_key(key, header->height);
	if (!chain->is_ledger)
		txn_fail(txn, ZR_STATE, "chain %s is not kept here", chain->id.name);
	if (header->height != chain->next_height || !hash_equal(&header->parent, &chain->tip))
		txn_fail(txn, ZR_STATE, "block %" PRIu64 " does not follow block %" PRIu64,
		         header->height, chain->next_height - 1);
	txn_insert(txn, AGENT_BLOCKS, BYTES_OF(at), raw);
	agent_header_write(txn, key, header);
	chain->next_height = header->height + 1;
	chain->tip = header->hash;
	chain->tip_time_ms = header->time_ms;
}

bool agent_ledger_seal(struct agent_store *store, const struct chain_key *chain,
                       const struct block_header *header, struct bytes raw, size_t entry_count,
                       struct err *err)
{
	struct agent_chain row;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	if (agent_chain_read(&txn, chain, &row)) {
		seal(&txn, chain, &row, header, raw);
		remove_entries(&txn, chain, &row, entry_count);
		if (row.entry_sealed == row.entry_next)
			row.open_since_ms = 0;
		agent_chain_write(&txn, chain, &row);
	}
	return txn_commit(&txn, err) || err_wrap(err, "seal block %" PRIu64, header->height);
}

bool agent_block(struct agent_store *store, const struct chain_key *chain, uint64_t height,
                 struct buffer *out_raw, struct err *err)
{
	struct bytes value;
	struct txn txn;
	struct agent_key at = agent_key(chain, height);
	txn_begin(&txn, store->store, TXN_READ);
	if (txn_get(&txn, AGENT_BLOCKS, BYTES_OF(at), &value))
		agent_copy(&txn, value, out_raw);
	else
		txn_fail(&txn, ZR_STATE, "it is pruned, or was never sealed");
	return txn_commit(&txn, err) || err_wrap(err, "block %" PRIu64, height);
}

/* ---- positions ----------------------------------------------------------------------------- */

bool agent_position_put(struct agent_store *store, const struct chain_key *chain,
                        struct bytes position, struct err *err)
{
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	txn_put(&txn, AGENT_POSITIONS, BYTES_OF(*chain), position);
	return txn_commit(&txn, err) || err_wrap(err, "keep the source's position");
}

bool agent_position_get(struct agent_store *store, const struct chain_key *chain,
                        struct buffer *out_position, struct err *err)
{
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	if (txn_get(&txn, AGENT_POSITIONS, BYTES_OF(*chain), &value))
		agent_copy(&txn, value, out_position);
	return txn_commit(&txn, err) || err_wrap(err, "the source's position");
}

/* ---- pruning ------------------------------------------------------------------------------- */

/* The first block at or above height 1: the genesis stays. */
static bool oldest_block(struct txn *txn, const struct chain_key *chain, uint64_t *out_height)
{
	struct bytes key;
	struct agent_key from = agent_key(chain, 1);
	return txn_at_or_after(txn, AGENT_BLOCKS, BYTES_OF(from), &key, NULL) &&
	       agent_key_of(key, chain, out_height);
}

bool agent_prune(struct agent_store *store, const struct chain_key *chain, uint64_t below,
                 size_t count_max, bool *out_more, struct err *err)
{
	struct agent_chain row;
	uint64_t height = 0;
	bool more = false;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	if (agent_chain_read(&txn, chain, &row) && row.is_ledger) {
		uint64_t limit = below < row.next_height ? below : row.next_height;
		size_t count = 0;
		while ((more = oldest_block(&txn, chain, &height) && height < limit) &&
		       count < count_max) {
			struct agent_key at = agent_key(chain, height);
			(void)txn_delete(&txn, AGENT_BLOCKS, BYTES_OF(at));
			count++;
		}
		if (count > 0) {
			row.oldest_height =
				oldest_block(&txn, chain, &height) ? height : row.next_height;
			agent_chain_write(&txn, chain, &row);
		}
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "prune below %" PRIu64, below);
	*out_more = more;
	return true;
}
