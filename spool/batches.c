/* Batches on their way in: checked against their chain, stored, and counted, in one transaction. */
#include "spool/batches.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "spool/spool_private.h"

/* What a batch takes beside its payload: rows, the chain's record, the indexes. */
#define ROWS_BYTES (6u * 4096)

/* ---- checks that need nothing but the batch ---- */

static bool headers_follow(const struct spool_batch *batch, struct err *err)
{
	const struct block_header *headers = batch->headers;
	if (headers[0].height > SPOOL_HEIGHT_MAX - batch->block_count)
		return err_set(err, ZR_INVALID, "height %" PRIu64 " is too high",
		               headers[0].height);
	for (uint32_t i = 0; i < batch->block_count; i++) {
		uint64_t height = headers[0].height + i;
		if (headers[i].height != height)
			return err_set(err, ZR_INVALID,
			               "height %" PRIu64 " stands where %" PRIu64 " belongs",
			               headers[i].height, height);
		if (i > 0 && !hash_equal(&headers[i].parent, &headers[i - 1].hash))
			return err_set(err, ZR_INVALID,
			               "block %" PRIu64 " does not name the one before as parent",
			               height);
	}
	return true;
}

static bool batch_is_whole(struct spool_txn *txn, const struct spool_batch *batch, struct err *err)
{
	if (batch->block_count == 0 || batch->block_count > SPOOL_BATCH_BLOCKS_MAX)
		return err_set(err, ZR_INVALID, "%" PRIu32 " blocks in a batch",
		               batch->block_count);
	if (batch->payload.size == 0 || batch->payload.size > SPOOL_PAYLOAD_MAX_BYTES)
		return err_set(err, ZR_INVALID, "a payload of %zu bytes", batch->payload.size);
	if (batch->agent == NULL || strlen(batch->agent) > SPOOL_AGENT_MAX)
		return err_set(err, ZR_INVALID, "the agent's name is missing or too long");
	assert(batch->policy == POLICY_ALL || batch->policy == POLICY_TAIL);
	assert(batch->codec == CODEC_NONE || batch->codec == CODEC_ZSTD);
	if (!headers_follow(batch, err))
		return false;
	struct spool_key dictionary = spool_key_hash(&batch->dictionary);
	if (!hash_is_zero(&batch->dictionary) &&
	    !txn_has(&txn->txn, SPOOL_DICTIONARIES, spool_key_bytes(&dictionary)))
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_INVALID, "it needs a dictionary that is not here");
	return true;
}

static uint64_t next_of(const struct spool_batch *batch)
{
	return batch->headers[0].height + batch->block_count;
}

static const struct hash *tip_of(const struct spool_batch *batch)
{
	return &batch->headers[batch->block_count - 1].hash;
}

/* ---- put ---- */

static bool fits_its_chain(const struct spool_batch *batch, const struct spool_chain *chain,
                           struct err *err)
{
	const struct block_header *first = &batch->headers[0];
	if (spool_is_stranger(&chain->key))
		return err_set(err, ZR_STATE, "no such chain");
	if (chain->state != SPOOL_CHAIN_ACTIVE)
		return err_set(err, ZR_STATE, "%s is %s", chain->id.name,
		               spool_chain_state_name(chain->state));
	if (first->height != chain->next_height)
		return err_set(err, ZR_STATE, "%s wants height %" PRIu64 ", not %" PRIu64,
		               chain->id.name, chain->next_height, first->height);
	if (!hash_equal(&first->parent, &chain->tip))
		return err_set(err, ZR_STATE, "%s: the parent of block %" PRIu64 " is not our tip",
		               chain->id.name, first->height);
	if (first->height == 0 && !hash_equal(&first->hash, &chain->id.epoch))
		return err_set(err, ZR_STATE, "%s: its first block is not its epoch's",
		               chain->id.name);
	if (batch->trust.size > 0 &&
	    (batch->trust_from <= first->height || batch->trust_from > next_of(batch)))
		return err_set(err, ZR_STATE, "%s: a trust set from %" PRIu64 " on does not fit",
		               chain->id.name, batch->trust_from);
	return true;
}

static void write_batch(struct spool_txn *txn, const struct spool_batch *batch,
                        const struct spool_chain *chain, uint64_t arrival, bool again)
{
	struct spool_key key = spool_key_number(arrival);
	struct buffer *header = spool_scratch(txn);
	spool_batch_header_encode(batch, chain, arrival, header);
	if (header->failed) {
		txn_fail(&txn->txn, ZR_NO_MEMORY, "encode a batch");
		return;
	}
	const struct bytes parts[] = { buffer_bytes(header), batch->payload };
	if (again)
		(void)spool_delete(txn, SPOOL_BATCHES, &key);
	if (again)
		txn_insert_parts(&txn->txn, SPOOL_BATCHES, spool_key_bytes(&key), parts, 2);
	else
		txn_append(&txn->txn, SPOOL_BATCHES, spool_key_bytes(&key), parts, 2);
}

static void write_heights(struct spool_txn *txn, const struct spool_batch *batch, uint64_t arrival)
{
	struct spool_key key = spool_key_height(&batch->chain, batch->headers[0].height);
	spool_heights_encode(batch, arrival, spool_scratch(txn));
	spool_put(txn, SPOOL_HEIGHTS, &key);
}

static void count_in(struct spool_txn *txn, const struct spool_batch *batch,
                     struct spool_chain *chain)
{
	chain->next_height = next_of(batch);
	chain->tip = *tip_of(batch);
	chain->received_blocks += batch->block_count;
	chain->held_batches++;
	chain->held_bytes += batch->payload.size;
	chain->last_received_ms = batch->received_ms;
	if (batch->trust.size > 0)
		chain->trust_from = batch->trust_from;
	txn->totals.received_blocks += batch->block_count;
	txn->totals.held_batches++;
	txn->totals.held_bytes += batch->payload.size;
}

static void write_trust(struct spool_txn *txn, const struct chain_key *chain, uint64_t from,
                        struct bytes trust)
{
	struct spool_key key = spool_key_height(chain, from);
	txn_put(&txn->txn, SPOOL_TRUST, spool_key_bytes(&key), trust);
}

bool spool_batch_put(struct spool_txn *txn, const struct spool_batch *batch, uint64_t *out_arrival,
                     struct err *err)
{
	struct spool_chain chain;
	if (!batch_is_whole(txn, batch, err) ||
	    !spool_load_chain(txn, &batch->chain, &chain, err) ||
	    !fits_its_chain(batch, &chain, err))
		return false;
	uint64_t bytes = batch->payload.size + batch->trust.size + ROWS_BYTES +
	                 2ull * batch->block_count * SPOOL_BLOCK_RECORD_SIZE;
	if (!spool_take_room(txn, bytes, err))
		return false;

	uint64_t arrival = txn->totals.arrival_next++;
	bool was_drained = chain.pending_from == chain.next_height;
	write_batch(txn, batch, &chain, arrival, false);
	write_heights(txn, batch, arrival);
	if (batch->trust.size > 0)
		write_trust(txn, &chain.key, batch->trust_from, batch->trust);
	count_in(txn, batch, &chain);
	spool_save_chain(txn, &chain);
	if (was_drained)
		spool_index_pending(txn, &chain);
	if (!txn_check(&txn->txn, err))
		return false;
	*out_arrival = arrival;
	return true;
}

bool spool_batch_trust(struct spool_txn *txn, const struct chain_key *key, uint64_t from,
                       struct bytes trust, struct err *err)
{
	struct spool_chain chain;
	struct spool_span last;
	if (trust.size == 0)
		return err_set(err, ZR_INVALID, "the trust set is empty");
	if (!spool_load_chain(txn, key, &chain, err))
		return false;
	if (!spool_span_before(&txn->txn, key, chain.next_height, &last) ||
	    from <= last.row.info.first_height || from > chain.next_height)
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_STATE, "%s: height %" PRIu64 " is not in its last batch",
		               chain.id.name, from);
	if (!spool_take_room(txn, trust.size + ROWS_BYTES, err))
		return false;
	write_trust(txn, key, from, trust);
	if (from > chain.trust_from) {
		chain.trust_from = from;
		spool_save_chain(txn, &chain);
	}
	return txn_check(&txn->txn, err);
}

/* ---- repair ---- */

static bool same_blocks(const struct spool_batch *batch, const struct spool_span *span)
{
	if (span->row.info.first_height != batch->headers[0].height ||
	    span->row.info.block_count != batch->block_count)
		return false;
	for (uint32_t i = 0; i < batch->block_count; i++) {
		struct block_header known = spool_span_block(span, i);
		if (!hash_equal(&known.hash, &batch->headers[i].hash) ||
		    !hash_equal(&known.data_root, &batch->headers[i].data_root))
			return false;
	}
	return true;
}

bool spool_batch_repair(struct spool_txn *txn, const struct spool_batch *batch, struct err *err)
{
	struct spool_chain chain;
	struct spool_span span;
	if (!batch_is_whole(txn, batch, err) || !spool_load_chain(txn, &batch->chain, &chain, err))
		return false;
	if (!spool_span_with(&txn->txn, &batch->chain, batch->headers[0].height, &span) ||
	    !same_blocks(batch, &span))
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_STATE, "%s has no batch of just these blocks",
		               chain.id.name);
	struct spool_key key = spool_key_number(span.row.info.arrival);
	if (!txn_has(&txn->txn, SPOOL_BATCHES, spool_key_bytes(&key)))
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_STATE, "%s: that batch was pruned", chain.id.name);
	if (!spool_take_room(txn, batch->payload.size + ROWS_BYTES, err))
		return false;

	uint64_t arrival = span.row.info.arrival; /* span dies with the next change. */
	uint64_t old_size = span.row.info.payload_size;
	chain.held_bytes += batch->payload.size - old_size;
	txn->totals.held_bytes += batch->payload.size - old_size;
	if (batch->headers[0].height < chain.anchored_next)
		txn->totals.final_bytes += batch->payload.size - old_size;
	write_batch(txn, batch, &chain, arrival, true);
	write_heights(txn, batch, arrival);
	spool_save_chain(txn, &chain);
	return txn_check(&txn->txn, err);
}
