/* After a restore: anchors taken over from the main chain, and anchors that are final no more. */
#include "spool/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

/* ---- the main chain has more than we know ---- */

static bool lane_follows(struct spool_txn *txn, const struct spool_import *import, struct err *err)
{
	struct spool_lane lane;
	if (!spool_read_lane(&txn->txn, import->id.sink, import->id.lane, &lane))
		return txn_check(&txn->txn, err);
	if (lane.newest_seq != lane.final_seq)
		return err_set(err, ZR_STATE, "lane %u has anchors that are not final",
		               import->id.lane);
	if (import->id.seq != lane.newest_seq + 1 ||
	    !hash_equal(&import->anchor->previous, &lane.newest_root))
		return err_set(err, ZR_STATE,
		               "anchor %" PRIu64 " does not follow our anchor %" PRIu64,
		               import->id.seq, lane.newest_seq);
	return true;
}

static void cover(struct spool_txn *txn, const struct spool_import *import,
                  const struct entry *entry, uint32_t index)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_coverage_row row = { import->id.lane, import->id.seq, index, entry->from };
	struct spool_key coverage = spool_key_coverage(import->id.sink, &key, entry->to);
	spool_coverage_encode(&row, spool_scratch(txn));
	spool_put(txn, SPOOL_COVERAGE, &coverage);
}

/* Adopting makes a chain ACTIVE; one that is frozen or retired has its own reasons and stays so. */
static bool adopt_keeping_state(struct spool_txn *txn, const struct spool_adoption *adoption,
                                struct spool_chain *chain, struct err *err)
{
	struct spool_chain before = *chain;
	bool stays = before.state == SPOOL_CHAIN_FROZEN || before.state == SPOOL_CHAIN_RETIRED;
	if (stays) {
		chain->state = SPOOL_CHAIN_ACTIVE;
		spool_save_chain(txn, chain);
	}
	if (!spool_chain_adopt(txn, adoption, err) ||
	    !spool_load_chain(txn, &adoption->chain, chain, err))
		return false;
	if (!stays)
		return true;
	chain->state = before.state;
	chain->state_since_ms = before.state_since_ms;
	memcpy(chain->state_reason, before.state_reason, sizeof(chain->state_reason));
	memcpy(chain->state_who, before.state_who, sizeof(chain->state_who));
	spool_save_chain(txn, chain);
	return txn_check(&txn->txn, err);
}

/* ---- a batch that the main chain has only a part of ---- */

static void forget_span(struct spool_txn *txn, struct spool_chain *chain,
                        const struct spool_batch_info *info)
{
	struct spool_key batch = spool_key_number(info->arrival);
	struct spool_key row = spool_key_height(&chain->key, info->first_height);
	(void)spool_delete(txn, SPOOL_BATCHES, &batch);
	(void)spool_delete(txn, SPOOL_HEIGHTS, &row);
	chain->held_batches--;
	chain->held_bytes -= info->payload_size;
	txn->totals.held_batches--;
	txn->totals.held_bytes -= info->payload_size;
}

/* Sets that blocks from `next` on have brought go with them. */
static void forget_trust_above(struct spool_txn *txn, struct spool_chain *chain, uint64_t next)
{
	struct spool_key above = spool_key_height(&chain->key, SPOOL_HEIGHT_MAX + 1);
	struct bytes key;
	struct chain_key owner;
	uint64_t from;
	while (txn_before(&txn->txn, SPOOL_TRUST, spool_key_bytes(&above), &key, NULL) &&
	       spool_key_height_read(key, &owner, &from) && chain_key_equal(&owner, &chain->key)) {
		if (from <= next) {
			chain->trust_from = from;
			return;
		}
		struct spool_key row = spool_key_height(&chain->key, from);
		(void)spool_delete(txn, SPOOL_TRUST, &row);
	}
}

static void bury(struct spool_txn *txn, const struct spool_import *import,
                 struct spool_chain *chain, uint64_t from, uint64_t block_count)
{
	struct spool_tombstone tombstone = { .kind = SPOOL_TOMBSTONE_CUT,
		                             .chain = chain->key,
		                             .from = from,
		                             .to = chain->next_height - 1,
		                             .block_count = block_count,
		                             .hash = chain->tip,
		                             .time_ms = import->now_ms };
	spool_text_copy(tombstone.who, sizeof(tombstone.who), import->who);
	spool_text_copy(tombstone.why, sizeof(tombstone.why), import->why);
	spool_put_tombstone(txn, &tombstone);
	chain->tombstoned_blocks += block_count;
	txn->totals.tombstoned_blocks += block_count;
}

/* Only whole batches are anchored, so one of which the main chain has a part cannot stay, and nothing
 * that follows it: the chain ends before it. What the main chain has of it is lost here; the rest is
 * with its edge, which keeps what is not anchored, and is asked for it again. */
static bool cut_batch(struct spool_txn *txn, const struct spool_import *import,
                      const struct entry *entry, struct spool_chain *chain, struct err *err)
{
	struct spool_span span;
	uint64_t next = entry->to + 1, block_count = 0;
	if (next >= chain->next_height || chain->pending_from != chain->anchored_next ||
	    !spool_span_with(&txn->txn, &chain->key, next, &span) ||
	    span.row.info.first_height == next)
		return txn_check(&txn->txn, err);
	uint64_t first = span.row.info.first_height;
	struct block_header ours = spool_span_block(&span, (uint32_t)(entry->to - first));
	if (!hash_equal(&ours.hash, &entry->tip))
		return err_set(err, ZR_STATE,
		               "block %" PRIu64 " of %s is another one on the main chain",
		               entry->to, chain->id.name);
	struct hash parent = spool_span_block(&span, 0).parent;
	while (spool_span_at_or_after(&txn->txn, &chain->key, first, &span)) {
		struct spool_batch_info info = span.row.info; /* span dies with the delete. */
		block_count += info.block_count;
		forget_span(txn, chain, &info);
	}
	forget_trust_above(txn, chain, next);
	bury(txn, import, chain, first, block_count);
	chain->next_height = first;
	chain->tip = parent;
	if (!txn_check(&txn->txn, err))
		return false;
	spool_save_chain(txn, chain);
	spool_index_pending(txn, chain);
	return txn_check(&txn->txn, err);
}

/* One chain's part of it. */
static bool import_entry(struct spool_txn *txn, const struct spool_import *import,
                         const struct entry *entry, struct spool_import_result *result,
                         struct err *err)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_chain chain;
	uint64_t next = entry->to + 1;
	if (!spool_read_chain(&txn->txn, &key, &chain)) {
		result->unknown_chains++;
		return txn_check(&txn->txn, err);
	}
	result->known_chains++;
	if (next <= chain.anchored_next)
		return true; /* Adopted by hand before. */
	if (!cut_batch(txn, import, entry, &chain, err))
		return false;
	struct spool_adoption adoption = {
		.chain = key,
		.next_height = next > chain.next_height ? next : chain.next_height,
		.tip = next > chain.next_height ? entry->tip : chain.tip,
		.anchored_next = next,
		.who = import->who,
		.why = import->why,
		.now_ms = import->now_ms,
	};
	struct spool_chain before = chain;
	if (!adopt_keeping_state(txn, &adoption, &chain, err))
		return false;
	result->blocks_here += chain.anchored_blocks - before.anchored_blocks;
	result->heights_lost += chain.lost_heights - before.lost_heights;
	return true;
}

static void write_imported(struct spool_txn *txn, const struct spool_import *import)
{
	const struct anchor *anchor = import->anchor;
	struct spool_anchor row = { .id = import->id,
		                    .alg = anchor->alg,
		                    .deliver = anchor->deliver,
		                    .previous = anchor->previous,
		                    .root = anchor->root,
		                    .key = import->key,
		                    .entry_count = (uint32_t)anchor->entry_count,
		                    .created_ms = import->now_ms,
		                    .state = SPOOL_ANCHOR_FINAL,
		                    .ever_sent = true,
		                    .final_ms = import->receipt.final_ms,
		                    .detail = "imported after a restore" };
	for (size_t i = 0; i < anchor->entry_count; i++)
		row.block_count += anchor->entries[i].to - anchor->entries[i].from + 1;
	struct spool_key key = spool_key_anchor(&import->id);
	spool_anchor_encode(&row, spool_scratch(txn));
	spool_insert(txn, SPOOL_ANCHORS, &key);
	spool_entries_encode(anchor->entries, anchor->entry_count, spool_scratch(txn));
	spool_insert(txn, SPOOL_ENTRIES, &key);
	spool_receipt_encode(&import->receipt, spool_scratch(txn));
	spool_insert(txn, SPOOL_RECEIPTS, &key);
	txn->totals.anchor_count++;
	for (size_t i = 0; i < anchor->entry_count && txn_ok(&txn->txn); i++)
		cover(txn, import, &anchor->entries[i], (uint32_t)i);
}

bool spool_anchor_import(struct spool_txn *txn, const struct spool_import *import,
                         struct spool_import_result *out_result, struct err *err)
{
	struct spool_import_result result = { .known_chains = 0 };
	if (import->receipt.signature.size > UINT8_MAX || import->receipt.key_id.size > UINT8_MAX)
		return err_set(err, ZR_INVALID, "a signature of %zu bytes",
		               import->receipt.signature.size);
	if (!lane_follows(txn, import, err))
		return false;
	for (size_t i = 0; i < import->anchor->entry_count; i++) {
		if (!import_entry(txn, import, &import->anchor->entries[i], &result, err)) {
			/* Chains before it were changed: the whole transaction has to go. */
			txn_fail(&txn->txn, ZR_STATE, "anchor %" PRIu64 ", entry %zu: %s",
			         import->id.seq, i, err == NULL ? "" : err->message);
			return err_wrap(err, "anchor %" PRIu64 ", entry %zu", import->id.seq, i);
		}
	}
	write_imported(txn, import);
	*out_result = result;
	return txn_check(&txn->txn, err);
}

/* ---- the main chain has less than it had ---- */

/* Payloads of the entry that are still held: they are not final any more. */
static uint64_t held_payload(struct spool_txn *txn, const struct chain_key *chain,
                             const struct entry *entry, uint64_t held_from)
{
	struct spool_span span;
	uint64_t bytes = 0;
	uint64_t at = entry->from > held_from ? entry->from : held_from;
	while (at <= entry->to && spool_span_at_or_after(&txn->txn, chain, at, &span) &&
	       span.row.info.first_height <= entry->to) {
		bytes += span.row.info.payload_size;
		at = spool_span_next(&span);
	}
	return bytes;
}

static bool entry_is_newest_final(struct spool_txn *txn, const struct entry *entry,
                                  struct spool_chain *out_chain, struct err *err)
{
	struct chain_key key = chain_key(&entry->chain);
	if (!spool_load_chain(txn, &key, out_chain, err))
		return false;
	if (out_chain->anchored_next != spool_skip_lost(&txn->txn, &key, entry->to + 1))
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_STATE, "%s: anchored up to %" PRIu64 ", not %" PRIu64,
		               entry->chain.name, out_chain->anchored_next, entry->to + 1);
	if (entry->from < out_chain->anchored_floor)
		return err_set(err, ZR_STATE,
		               "%s: heights below %" PRIu64 " were anchored by another store",
		               entry->chain.name, out_chain->anchored_floor);
	return true;
}

static uint64_t rewind_entry(struct spool_txn *txn, const struct entry *entry,
                             struct spool_chain *chain)
{
	uint64_t block_count = entry->to - entry->from + 1;
	uint64_t bytes = held_payload(txn, &chain->key, entry, chain->held_from);
	chain->anchored_next = entry->from;
	chain->anchored_blocks -= block_count;
	txn->totals.anchored_blocks -= block_count;
	txn->totals.final_bytes -= bytes;
	spool_save_chain(txn, chain);
	return bytes;
}

static bool rewind_entries(struct spool_txn *txn, struct spool_anchor *anchor, struct err *err)
{
	struct entry *entries = NULL;
	size_t count = 0;
	bool ok = spool_read_entries(&txn->txn, &anchor->id, &entries, &count);
	if (!ok || count == 0) {
		free(entries);
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_STATE, "anchor %" PRIu64 " is of a store that is gone",
		               anchor->id.seq);
	}
	anchor->payload_bytes = 0;
	for (size_t i = 0; ok && i < count; i++) {
		struct spool_chain chain;
		ok = entry_is_newest_final(txn, &entries[i], &chain, err);
		if (ok)
			anchor->payload_bytes += rewind_entry(txn, &entries[i], &chain);
	}
	free(entries);
	return ok && txn_check(&txn->txn, err);
}

static bool rewind_anchor(struct spool_txn *txn, struct spool_anchor *anchor, struct err *err)
{
	if (!rewind_entries(txn, anchor, err))
		return false;
	struct spool_key key = spool_key_anchor(&anchor->id);
	anchor->state = SPOOL_ANCHOR_UNKNOWN;
	anchor->final_ms = 0;
	anchor->sent_at_height = 0; /* Heights begin lower there now. */
	spool_anchor_encode(anchor, spool_scratch(txn));
	spool_put(txn, SPOOL_ANCHORS, &key);
	(void)spool_delete(txn, SPOOL_RECEIPTS, &key);
	txn->totals.anchor_count--;
	return txn_check(&txn->txn, err);
}

bool spool_lane_rewind(struct spool_txn *txn, const struct spool_anchor_id *last,
                       uint32_t count_max, bool *out_more, struct err *err)
{
	struct spool_lane lane;
	if (!spool_read_lane(&txn->txn, last->sink, last->lane, &lane))
		return txn_check(&txn->txn, err);
	struct spool_anchor_id id = *last;
	id.seq = lane.final_seq;
	for (uint32_t i = 0; i < count_max && id.seq > last->seq; i++, id.seq--) {
		struct spool_anchor anchor;
		if (!spool_read_anchor(&txn->txn, &id, &anchor))
			return txn_check(&txn->txn, err) &&
			       err_set(err, ZR_STATE, "anchor %" PRIu64 " is not known any more",
			               id.seq);
		if (!rewind_anchor(txn, &anchor, err)) {
			txn_fail(&txn->txn, ZR_STATE, "%s", err == NULL ? "" : err->message);
			return false;
		}
	}
	*out_more = id.seq > last->seq;
	return true;
}
