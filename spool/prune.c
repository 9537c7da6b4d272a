/* Pruning, one slice at a time. FINAL anchors are walked in the order of each lane; where one is past
 * its retention, the payloads of its chains are deleted up to the end of its entries. That all of
 * these are final follows from promise P2: what is anchored is contiguous.
 *
 * A second walk behind the first forgets headers, entries and receipts past history_ms. How far both
 * are is kept in table meta, per lane.
 */
#include "spool/upkeep.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

/* How far a lane is. Both begin at 0, which is before the first anchor. */
struct lane_position {
	uint64_t payload_seq;   /* Anchor to look at next, */
	uint32_t payload_entry; /* and its entry. */
	uint64_t history_seq;
	uint32_t history_entry;
};

struct prune {
	struct spool_txn *txn;
	const struct spool_prune_options *options;
	struct spool_prune_result result;
	uint32_t left; /* Rows that may still be deleted. */
	bool is_full;  /* Intake waits: payloads that are final make way whatever their age. */
};

/* ---- where it stands ---- */

static struct spool_key position_key(uint8_t sink, uint16_t lane)
{
	struct spool_key key = spool_key_name(SPOOL_META_PRUNED);
	key.bytes[key.size++] = sink;
	put_be16(key.bytes + key.size, lane);
	key.size += 2;
	return key;
}

static struct lane_position load_position(struct spool_txn *txn, uint8_t sink, uint16_t lane)
{
	struct lane_position position = { .payload_seq = 0 };
	struct spool_key key = position_key(sink, lane);
	struct bytes value;
	if (!spool_get(&txn->txn, SPOOL_META, &key, &value))
		return position;
	struct reader reader = reader_of(value);
	position.payload_seq = reader_u64(&reader);
	position.payload_entry = reader_u32(&reader);
	position.history_seq = reader_u64(&reader);
	position.history_entry = reader_u32(&reader);
	if (!reader_done(&reader))
		spool_damaged(&txn->txn, SPOOL_META, spool_key_bytes(&key));
	return position;
}

static void save_position(struct spool_txn *txn, uint8_t sink, uint16_t lane,
                          const struct lane_position *position)
{
	struct spool_key key = position_key(sink, lane);
	struct buffer *value = spool_scratch(txn);
	buffer_put_u64(value, position->payload_seq);
	buffer_put_u32(value, position->payload_entry);
	buffer_put_u64(value, position->history_seq);
	buffer_put_u32(value, position->history_entry);
	spool_put(txn, SPOOL_META, &key);
}

/* ---- one chain ---- */

static void delete_payload(struct prune *prune, struct spool_chain *chain,
                           const struct spool_batch_info *info)
{
	struct spool_totals *totals = &prune->txn->totals;
	struct spool_key key = spool_key_number(info->arrival);
	prune->left--;
	if (!spool_delete(prune->txn, SPOOL_BATCHES, &key))
		return; /* Not here since a restore. */
	chain->held_batches--;
	chain->held_bytes -= info->payload_size;
	totals->held_batches--;
	totals->held_bytes -= info->payload_size;
	totals->final_bytes -= info->payload_size;
	prune->result.batch_count++;
	prune->result.payload_bytes += info->payload_size;
}

static void delete_header(struct prune *prune, struct spool_chain *chain,
                          const struct spool_batch_info *info)
{
	struct spool_key row = spool_key_height(&chain->key, info->first_height);
	prune->left--;
	(void)spool_delete(prune->txn, SPOOL_HEIGHTS, &row);
	prune->result.history_count++;
	chain->forgotten_blocks += info->block_count;
}

typedef void delete_fn(struct prune *prune, struct spool_chain *chain,
                       const struct spool_batch_info *info);

/* Deletes something of each batch of chain from *from on and below `next`, and moves *from, which is
 * one of the chain's, behind it. True: nothing is left below `next`. */
static bool prune_batches(struct prune *prune, struct spool_chain *chain, uint64_t *from,
                          uint64_t next, delete_fn *each)
{
	struct txn *txn = &prune->txn->txn;
	struct spool_span span;
	while (*from < next && prune->left > 0) {
		if (!spool_span_at_or_after(txn, &chain->key, *from, &span) ||
		    span.row.info.first_height >= next)
			return true;
		struct spool_batch_info info = span.row.info; /* span dies with the delete. */
		each(prune, chain, &info);
		*from = spool_skip_lost(txn, &chain->key, spool_batch_next(&info));
	}
	return *from >= next;
}

/* Payloads of chain below `next`. True: all of them are gone now. */
static bool prune_payloads(struct prune *prune, const struct chain_key *key, uint64_t next)
{
	struct txn *txn = &prune->txn->txn;
	struct spool_chain chain;
	if (!spool_read_chain(txn, key, &chain))
		return txn_ok(txn); /* Of an imported anchor: the chain was never ours. */
	assert(next <= chain.anchored_next);
	if (chain.held_from >= next)
		return true;
	bool done = prune_batches(prune, &chain, &chain.held_from, next, delete_payload);
	if (txn_ok(txn))
		spool_save_chain(prune->txn, &chain);
	return done && txn_ok(txn);
}

/* Headers of chain below `next`. */
static bool prune_headers(struct prune *prune, const struct chain_key *key, uint64_t next)
{
	struct txn *txn = &prune->txn->txn;
	struct spool_chain chain;
	if (!spool_read_chain(txn, key, &chain))
		return txn_ok(txn); /* Of an imported anchor: the chain was never ours. */
	assert(next <= chain.anchored_next);
	if (chain.known_from >= next)
		return true;
	bool done = prune_batches(prune, &chain, &chain.known_from, next, delete_header);
	if (chain.anchored_floor < chain.known_from)
		chain.anchored_floor = chain.known_from;
	if (txn_ok(txn))
		spool_save_chain(prune->txn, &chain);
	return done && txn_ok(txn);
}

/* ---- one anchor ---- */

typedef bool prune_chain_fn(struct prune *prune, const struct chain_key *key, uint64_t next);

/* Entries from *entry_index on. True: all done. */
static bool walk_entries(struct prune *prune, const struct spool_anchor_id *id,
                         uint32_t *entry_index, prune_chain_fn *prune_chain)
{
	struct entry *entries = NULL;
	size_t count = 0;
	if (!spool_read_entries(&prune->txn->txn, id, &entries, &count)) {
		txn_fail(&prune->txn->txn, ZR_CORRUPT, "anchor %" PRIu64 " has no entries",
		         id->seq);
		return false;
	}
	while (*entry_index < count && prune->left > 0) {
		const struct entry *entry = &entries[*entry_index];
		struct chain_key key = chain_key(&entry->chain);
		if (!prune_chain(prune, &key, entry->to + 1))
			break;
		(*entry_index)++;
	}
	bool done = *entry_index == count;
	free(entries);
	return done;
}

static void forget_anchor(struct prune *prune, const struct spool_anchor_id *id)
{
	struct entry *entries = NULL;
	size_t count = 0;
	if (spool_read_entries(&prune->txn->txn, id, &entries, &count)) {
		for (size_t i = 0; i < count; i++) {
			struct chain_key key = chain_key(&entries[i].chain);
			struct spool_key coverage =
				spool_key_coverage(id->sink, &key, entries[i].to);
			(void)spool_delete(prune->txn, SPOOL_COVERAGE, &coverage);
		}
		free(entries);
	}
	struct spool_key key = spool_key_anchor(id);
	(void)spool_delete(prune->txn, SPOOL_RECEIPTS, &key);
	(void)spool_delete(prune->txn, SPOOL_ENTRIES, &key);
	(void)spool_delete(prune->txn, SPOOL_ANCHORS, &key);
	prune->result.history_count++;
	prune->left -= prune->left > 0;
}

/* ---- one lane ---- */

/* The first anchor of the lane from seq on, if it is FINAL. */
static bool next_final(struct spool_txn *txn, const struct spool_anchor_id *from,
                       struct spool_anchor *out_anchor)
{
	struct spool_key at = spool_key_anchor(from);
	struct bytes key;
	struct spool_anchor_id id;
	return txn_at_or_after(&txn->txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, NULL) &&
	       spool_key_anchor_read(key, &id) && id.sink == from->sink && id.lane == from->lane &&
	       spool_read_anchor(&txn->txn, &id, out_anchor) &&
	       out_anchor->state == SPOOL_ANCHOR_FINAL;
}

static bool payloads_are_due(const struct prune *prune, const struct spool_anchor *anchor)
{
	const struct spool_prune_options *options = prune->options;
	if (prune->is_full || options->now_ms - anchor->final_ms >= options->retention_ms)
		return true;
	return options->retention_size_bytes > 0 &&
	       prune->txn->totals.final_bytes > options->retention_size_bytes;
}

static void prune_lane_payloads(struct prune *prune, struct spool_anchor_id lane,
                                struct lane_position *position)
{
	struct spool_anchor anchor;
	while (prune->left > 0) {
		lane.seq = position->payload_seq;
		if (!next_final(prune->txn, &lane, &anchor) || !payloads_are_due(prune, &anchor))
			return;
		if (anchor.id.seq != position->payload_seq)
			position->payload_entry = 0;
		position->payload_seq = anchor.id.seq;
		if (!walk_entries(prune, &anchor.id, &position->payload_entry, prune_payloads))
			return;
		position->payload_seq = anchor.id.seq + 1;
		position->payload_entry = 0;
	}
}

/* Behind the payloads, and never the newest final anchor: the next one names it, and it is how far
 * the lane is known to be final. */
static void prune_lane_history(struct prune *prune, struct spool_anchor_id lane,
                               struct lane_position *position)
{
	struct spool_anchor anchor;
	struct spool_lane state;
	if (prune->options->history_ms == 0 ||
	    !spool_read_lane(&prune->txn->txn, lane.sink, lane.lane, &state))
		return;
	while (prune->left > 0) {
		lane.seq = position->history_seq;
		if (!next_final(prune->txn, &lane, &anchor) ||
		    anchor.id.seq >= position->payload_seq || anchor.id.seq >= state.final_seq ||
		    prune->options->now_ms - anchor.final_ms < prune->options->history_ms)
			return;
		if (anchor.id.seq != position->history_seq)
			position->history_entry = 0;
		position->history_seq = anchor.id.seq;
		if (!walk_entries(prune, &anchor.id, &position->history_entry, prune_headers))
			return;
		forget_anchor(prune, &anchor.id);
		position->history_seq = anchor.id.seq + 1;
		position->history_entry = 0;
	}
}

static void prune_lane(struct prune *prune, const struct spool_anchor_id *lane)
{
	struct lane_position before = load_position(prune->txn, lane->sink, lane->lane);
	struct lane_position position = before;
	prune_lane_payloads(prune, *lane, &position);
	prune_lane_history(prune, *lane, &position);
	if (position.payload_seq != before.payload_seq ||
	    position.payload_entry != before.payload_entry ||
	    position.history_seq != before.history_seq ||
	    position.history_entry != before.history_entry)
		save_position(prune->txn, lane->sink, lane->lane, &position);
}

/* The first lane from `from` on; there are few. */
static bool next_lane(struct spool_txn *txn, struct spool_anchor_id *from)
{
	struct spool_key at = spool_key_anchor(from);
	struct bytes key;
	if (!txn_at_or_after(&txn->txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, NULL) ||
	    !spool_key_anchor_read(key, from))
		return false;
	from->seq = 0;
	return true;
}

/* Past the last possible anchor of that lane; false: past all. */
static bool after_lane(struct spool_anchor_id *lane)
{
	if (lane->lane < UINT16_MAX) {
		lane->lane++;
		return true;
	}
	lane->lane = 0;
	return lane->sink++ < UINT8_MAX;
}

bool spool_prune_slice(struct spool_txn *txn, const struct spool_prune_options *options,
                       struct spool_prune_result *out_result, struct err *err)
{
	struct prune prune = { .txn = txn, .options = options, .left = options->batch_max };
	prune.is_full = spool_intake_is_full(txn);
	struct spool_anchor_id lane = { .sink = 0 };
	bool more_lanes = true;
	while (more_lanes && prune.left > 0 && next_lane(txn, &lane)) {
		prune_lane(&prune, &lane);
		more_lanes = after_lane(&lane);
	}
	prune.result.more = prune.left == 0;
	if (!txn_check(&txn->txn, err))
		return false;
	*out_result = prune.result;
	return true;
}
