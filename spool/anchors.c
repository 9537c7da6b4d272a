/* Anchors: intent, state, final, void. Each moves its chains' watermarks in the same transaction. */
#include "spool/anchors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

#define ENTRY_ROWS_BYTES (4u * 4096) /* An entry's own rows, and its chain's. */

/* ---- reading ---- */

bool spool_read_anchor(struct txn *txn, const struct spool_anchor_id *id,
                       struct spool_anchor *out_anchor)
{
	struct spool_key key = spool_key_anchor(id);
	struct bytes value;
	if (!spool_get(txn, SPOOL_ANCHORS, &key, &value))
		return false;
	if (!spool_anchor_decode(value, out_anchor)) {
		spool_damaged(txn, SPOOL_ANCHORS, spool_key_bytes(&key));
		return false;
	}
	out_anchor->id = *id;
	return true;
}

bool spool_read_entries(struct txn *txn, const struct spool_anchor_id *id,
                        struct entry **out_entries, size_t *out_count)
{
	struct spool_key key = spool_key_anchor(id);
	struct bytes value;
	struct err err;
	if (!spool_get(txn, SPOOL_ENTRIES, &key, &value))
		return false;
	if (spool_entries_decode(value, out_entries, out_count, &err))
		return true;
	if (err.code == ZR_CORRUPT)
		spool_damaged(txn, SPOOL_ENTRIES, spool_key_bytes(&key));
	else
		txn_fail(txn, err.code, "%s", err.message);
	return false;
}

/* The anchor of that lane with the highest seq below `below`. */
static bool anchor_below(struct txn *txn, const struct spool_anchor_id *below,
                         struct spool_anchor *out_anchor)
{
	struct spool_key at = spool_key_anchor(below);
	struct bytes key;
	struct spool_anchor_id id;
	if (!txn_before(txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, NULL))
		return false;
	if (!spool_key_anchor_read(key, &id)) {
		spool_damaged(txn, SPOOL_ANCHORS, key);
		return false;
	}
	return id.sink == below->sink && id.lane == below->lane &&
	       spool_read_anchor(txn, &id, out_anchor);
}

bool spool_read_lane(struct txn *txn, uint8_t sink, uint16_t lane, struct spool_lane *out_lane)
{
	struct spool_lane found = { .newest_seq = 0 };
	struct spool_anchor anchor;
	struct spool_anchor_id below = { sink, lane, UINT64_MAX };
	bool any = anchor_below(txn, &below, &anchor);
	if (any) {
		found.newest_seq = anchor.id.seq;
		found.newest_root = anchor.root;
		found.newest_key = anchor.key;
	}
	/* Only the few in flight are not FINAL. */
	while (any && anchor.state != SPOOL_ANCHOR_FINAL) {
		below.seq = anchor.id.seq;
		any = anchor_below(txn, &below, &anchor);
	}
	if (any)
		found.final_seq = anchor.id.seq;

	struct spool_anchor_id oldest = { sink, lane, 0 };
	struct spool_key at = spool_key_anchor(&oldest);
	struct bytes key;
	if (found.newest_seq > 0 &&
	    txn_at_or_after(txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, NULL) &&
	    spool_key_anchor_read(key, &oldest))
		found.oldest_seq = oldest.seq;
	*out_lane = found;
	return txn_ok(txn);
}

bool spool_lane_in(struct spool_txn *txn, uint8_t sink, uint16_t lane, struct spool_lane *out_lane,
                   struct err *err)
{
	return spool_read_lane(&txn->txn, sink, lane, out_lane) || txn_check(&txn->txn, err);
}

static bool load_anchor(struct spool_txn *txn, const struct spool_anchor_id *id,
                        struct spool_anchor *out_anchor, struct err *err)
{
	if (spool_read_anchor(&txn->txn, id, out_anchor))
		return true;
	return txn_check(&txn->txn, err) &&
	       err_set(err, ZR_STATE, "lane %u has no anchor %" PRIu64, id->lane, id->seq);
}

static void save_anchor(struct spool_txn *txn, const struct spool_anchor *anchor)
{
	struct spool_key key = spool_key_anchor(&anchor->id);
	spool_anchor_encode(anchor, spool_scratch(txn));
	spool_put(txn, SPOOL_ANCHORS, &key);
}

/* ---- intent ---- */

static bool entry_fits(struct spool_txn *txn, const struct entry *entry,
                       const struct spool_chain *chain, struct spool_anchor *sums, struct err *err)
{
	const char *name = entry->chain.name;
	if (chain->delivery_held)
		return err_set(err, ZR_STATE, "%s: its delivery is held", name);
	if (entry->from != chain->pending_from || entry->to < entry->from ||
	    entry->to >= chain->next_height)
		return err_set(err, ZR_STATE,
		               "%s: %" PRIu64 "..%" PRIu64 " is not what is pending from %" PRIu64,
		               name, entry->from, entry->to, chain->pending_from);
	struct spool_span span;
	uint64_t at = entry->from;
	while (at <= entry->to) {
		if (!spool_span_at_or_after(&txn->txn, &chain->key, at, &span) ||
		    span.row.info.first_height != at || spool_span_next(&span) > entry->to + 1 ||
		    span.row.info.policy != entry->policy)
			return txn_check(&txn->txn, err) &&
			       err_set(err, ZR_STATE,
			               "%s: no whole batch under policy %s at height %" PRIu64,
			               name, policy_name(entry->policy), at);
		sums->block_count += span.row.info.block_count;
		sums->payload_bytes += span.row.info.payload_size;
		at = spool_span_next(&span);
	}
	struct hash tip = spool_span_block(&span, span.row.info.block_count - 1).hash;
	return hash_equal(&tip, &entry->tip) ||
	       err_set(err, ZR_STATE, "%s: block %" PRIu64 " has another hash", name, entry->to);
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, CHAIN_KEY_SIZE);
}

static bool no_chain_twice(const struct entry *entries, size_t count, struct err *err)
{
	struct chain_key *keys = calloc(count, sizeof(*keys));
	if (keys == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu entries", count);
	for (size_t i = 0; i < count; i++)
		keys[i] = chain_key(&entries[i].chain);
	qsort(keys, count, sizeof(*keys), compare_keys);
	bool ok = true;
	for (size_t i = 1; ok && i < count; i++) {
		if (chain_key_equal(&keys[i - 1], &keys[i]))
			ok = err_set(err, ZR_STATE, "a chain is in the anchor twice");
	}
	free(keys);
	return ok;
}

static bool lane_fits(struct spool_txn *txn, const struct spool_anchor *anchor, struct err *err)
{
	struct spool_lane lane;
	if (!spool_read_lane(&txn->txn, anchor->id.sink, anchor->id.lane, &lane))
		return txn_check(&txn->txn, err);
	if (anchor->id.seq != lane.newest_seq + 1)
		return err_set(err, ZR_STATE,
		               "lane %u is at anchor %" PRIu64 ", not before %" PRIu64,
		               anchor->id.lane, lane.newest_seq, anchor->id.seq);
	if (!hash_equal(&anchor->previous, &lane.newest_root))
		return err_set(err, ZR_STATE, "anchor %" PRIu64 " does not name the one before",
		               anchor->id.seq);
	return true;
}

static bool entries_fit(struct spool_txn *txn, const struct entry *entries, size_t count,
                        struct spool_anchor *sums, struct err *err)
{
	if (count == 0 || count > UINT32_MAX)
		return err_set(err, ZR_STATE, "an anchor of %zu entries", count);
	if (!no_chain_twice(entries, count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct chain_key key = chain_key(&entries[i].chain);
		struct spool_chain chain;
		if (!spool_load_chain(txn, &key, &chain, err) ||
		    !entry_fits(txn, &entries[i], &chain, sums, err))
			return err_wrap(err, "entry %zu", i);
	}
	return true;
}

/* The entry's chain: pending_from moves behind it, and the way from its heights to the anchor. */
static void write_entry(struct spool_txn *txn, const struct spool_anchor_id *id,
                        const struct entry *entry, uint32_t index)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_chain chain;
	if (!spool_read_chain(&txn->txn, &key, &chain))
		return;
	chain.pending_from = spool_skip_lost(&txn->txn, &key, entry->to + 1);
	if (!txn_ok(&txn->txn))
		return;
	spool_save_chain(txn, &chain);
	spool_index_pending(txn, &chain);
	struct spool_coverage_row row = { id->lane, id->seq, index, entry->from };
	struct spool_key coverage = spool_key_coverage(id->sink, &key, entry->to);
	spool_coverage_encode(&row, spool_scratch(txn));
	spool_insert(txn, SPOOL_COVERAGE, &coverage);
}

bool spool_anchor_put(struct spool_txn *txn, const struct spool_anchor *anchor,
                      const struct entry *entries, size_t entry_count, struct err *err)
{
	struct spool_anchor row = { .id = anchor->id,
		                    .alg = anchor->alg,
		                    .deliver = anchor->deliver,
		                    .previous = anchor->previous,
		                    .root = anchor->root,
		                    .key = anchor->key,
		                    .entry_count = (uint32_t)entry_count,
		                    .created_ms = anchor->created_ms,
		                    .state = SPOOL_ANCHOR_INTENT };
	if (!lane_fits(txn, &row, err) || !entries_fit(txn, entries, entry_count, &row, err) ||
	    !spool_anchor_room(txn, (uint64_t)entry_count * ENTRY_ROWS_BYTES, err))
		return err_wrap(err, "anchor %" PRIu64, anchor->id.seq);

	save_anchor(txn, &row);
	struct spool_key key = spool_key_anchor(&row.id);
	spool_entries_encode(entries, entry_count, spool_scratch(txn));
	spool_insert(txn, SPOOL_ENTRIES, &key);
	for (size_t i = 0; i < entry_count && txn_ok(&txn->txn); i++)
		write_entry(txn, &row.id, &entries[i], (uint32_t)i);
	return txn_check(&txn->txn, err);
}

/* ---- state ---- */

bool spool_anchor_update(struct spool_txn *txn, const struct spool_anchor *anchor, struct err *err)
{
	struct spool_anchor row;
	if (!load_anchor(txn, &anchor->id, &row, err))
		return false;
	if (row.state == SPOOL_ANCHOR_FINAL || anchor->state == SPOOL_ANCHOR_FINAL)
		return err_set(err, ZR_STATE, "anchor %" PRIu64 ": final is final, and said once",
		               anchor->id.seq);
	row.state = anchor->state;
	row.ever_sent = row.ever_sent || anchor->state == SPOOL_ANCHOR_SENT;
	row.attempts = anchor->attempts;
	row.next_try_ms = anchor->next_try_ms;
	row.sent_at_height = anchor->sent_at_height;
	spool_text_copy(row.detail, sizeof(row.detail), anchor->detail);
	save_anchor(txn, &row);
	return txn_check(&txn->txn, err);
}

/* ---- final ---- */

static bool entry_may_be_final(struct spool_txn *txn, const struct entry *entry, struct err *err)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_chain chain;
	if (!spool_load_chain(txn, &key, &chain, err))
		return false;
	if (chain.anchored_next != entry->from || entry->to >= chain.pending_from)
		return err_set(err, ZR_STATE,
		               "%s: %" PRIu64 "..%" PRIu64 " does not follow %" PRIu64,
		               chain.id.name, entry->from, entry->to, chain.anchored_next);
	return true;
}

static void finalize_entry(struct spool_txn *txn, const struct entry *entry)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_chain chain;
	if (!spool_read_chain(&txn->txn, &key, &chain))
		return;
	uint64_t block_count = entry->to - entry->from + 1;
	chain.anchored_next = spool_skip_lost(&txn->txn, &key, entry->to + 1);
	chain.anchored_blocks += block_count;
	txn->totals.anchored_blocks += block_count;
	if (txn_ok(&txn->txn))
		spool_save_chain(txn, &chain);
}

static bool may_be_final(struct spool_txn *txn, const struct spool_anchor *anchor, struct err *err)
{
	struct spool_anchor before;
	if (anchor_below(&txn->txn, &anchor->id, &before) && before.state != SPOOL_ANCHOR_FINAL)
		return err_set(err, ZR_STATE, "anchor %" PRIu64 " before it is %s", before.id.seq,
		               spool_anchor_state_name(before.state));
	return txn_check(&txn->txn, err);
}

/* An anchor always has its entries: else the store is damaged. */
static bool load_entries(struct spool_txn *txn, const struct spool_anchor_id *id,
                         struct entry **out_entries, size_t *out_count, struct err *err)
{
	if (!spool_read_entries(&txn->txn, id, out_entries, out_count))
		txn_fail(&txn->txn, ZR_CORRUPT, "anchor %" PRIu64 " has no entries", id->seq);
	return txn_check(&txn->txn, err);
}

static void write_final(struct spool_txn *txn, struct spool_anchor *anchor,
                        const struct spool_receipt *receipt)
{
	anchor->state = SPOOL_ANCHOR_FINAL;
	anchor->final_ms = receipt->final_ms;
	anchor->detail[0] = '\0';
	save_anchor(txn, anchor);
	struct spool_key key = spool_key_anchor(&anchor->id);
	spool_receipt_encode(receipt, spool_scratch(txn));
	spool_insert(txn, SPOOL_RECEIPTS, &key);
	txn->totals.anchor_count++;
	txn->totals.final_bytes += anchor->payload_bytes;
}

bool spool_anchor_finalize(struct spool_txn *txn, const struct spool_anchor_id *id,
                           const struct spool_receipt *receipt, struct err *err)
{
	struct spool_anchor anchor;
	struct entry *entries = NULL;
	size_t count = 0;
	if (!load_anchor(txn, id, &anchor, err))
		return false;
	if (anchor.state == SPOOL_ANCHOR_FINAL)
		return true;
	if (receipt->signature.size > UINT8_MAX || receipt->key_id.size > UINT8_MAX)
		return err_set(err, ZR_INVALID, "a signature of %zu bytes",
		               receipt->signature.size);
	if (!may_be_final(txn, &anchor, err) || !load_entries(txn, id, &entries, &count, err))
		return false;
	bool ok = true;
	for (size_t i = 0; ok && i < count; i++)
		ok = entry_may_be_final(txn, &entries[i], err);
	if (ok) {
		for (size_t i = 0; i < count; i++)
			finalize_entry(txn, &entries[i]);
		write_final(txn, &anchor, receipt);
		ok = txn_check(&txn->txn, err);
	}
	free(entries);
	return ok;
}

/* ---- void ---- */

static bool entry_is_last_of_its_chain(struct spool_txn *txn, const struct entry *entry,
                                       struct err *err)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_chain chain;
	if (!spool_load_chain(txn, &key, &chain, err))
		return false;
	uint64_t next = spool_skip_lost(&txn->txn, &key, entry->to + 1);
	return chain.pending_from == next ||
	       err_set(err, ZR_STATE, "%s: a later anchor holds blocks after %" PRIu64,
	               chain.id.name, entry->to);
}

static void release_entry(struct spool_txn *txn, const struct spool_anchor_id *id,
                          const struct entry *entry)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_chain chain;
	if (!spool_read_chain(&txn->txn, &key, &chain))
		return;
	chain.pending_from = entry->from;
	spool_save_chain(txn, &chain);
	spool_index_pending(txn, &chain);
	struct spool_key coverage = spool_key_coverage(id->sink, &key, entry->to);
	if (!spool_delete(txn, SPOOL_COVERAGE, &coverage))
		txn_fail(&txn->txn, ZR_CORRUPT, "table coverage: %s has no row for %" PRIu64,
		         chain.id.name, entry->to);
}

static bool may_be_void(struct spool_txn *txn, const struct spool_anchor *anchor, struct err *err)
{
	struct spool_lane lane;
	if (!spool_read_lane(&txn->txn, anchor->id.sink, anchor->id.lane, &lane))
		return txn_check(&txn->txn, err);
	if (anchor->id.seq != lane.newest_seq)
		return err_set(err, ZR_STATE, "anchor %" PRIu64 " is not the newest of its lane",
		               anchor->id.seq);
	bool never_sent = anchor->state == SPOOL_ANCHOR_INTENT && !anchor->ever_sent;
	if (!never_sent && anchor->state != SPOOL_ANCHOR_REJECTED)
		return err_set(err, ZR_STATE, "anchor %" PRIu64 " is %s: it may be recorded",
		               anchor->id.seq, spool_anchor_state_name(anchor->state));
	return true;
}

bool spool_anchor_void(struct spool_txn *txn, const struct spool_anchor_id *id, struct err *err)
{
	struct spool_anchor anchor;
	struct entry *entries = NULL;
	size_t count = 0;
	if (!load_anchor(txn, id, &anchor, err) || !may_be_void(txn, &anchor, err) ||
	    !load_entries(txn, id, &entries, &count, err))
		return false;
	bool ok = true;
	for (size_t i = 0; ok && i < count; i++)
		ok = entry_is_last_of_its_chain(txn, &entries[i], err);
	if (ok) {
		struct spool_key key = spool_key_anchor(id);
		for (size_t i = 0; i < count; i++)
			release_entry(txn, id, &entries[i]);
		(void)spool_delete(txn, SPOOL_ENTRIES, &key);
		(void)spool_delete(txn, SPOOL_ANCHORS, &key);
		ok = txn_check(&txn->txn, err);
	}
	free(entries);
	return ok;
}

bool spool_lane_adopt(struct spool_txn *txn, const struct spool_anchor_id *id,
                      const struct hash *root, const struct hash *key, int64_t now_ms,
                      struct err *err)
{
	struct spool_lane lane;
	if (!spool_read_lane(&txn->txn, id->sink, id->lane, &lane))
		return txn_check(&txn->txn, err);
	if (lane.newest_seq != lane.final_seq)
		return err_set(err, ZR_STATE, "lane %u has anchors that are not final", id->lane);
	if (id->seq <= lane.newest_seq)
		return err_set(err, ZR_STATE, "lane %u is at anchor %" PRIu64 " already", id->lane,
		               lane.newest_seq);
	struct spool_anchor anchor = { .id = *id,
		                       .alg = HASH_SHA256,
		                       .deliver = DELIVER_ANCHOR,
		                       .root = *root,
		                       .key = *key,
		                       .created_ms = now_ms,
		                       .state = SPOOL_ANCHOR_FINAL,
		                       .final_ms = now_ms,
		                       .detail = "adopted: of a store that is gone" };
	save_anchor(txn, &anchor);
	struct spool_key row = spool_key_anchor(id);
	spool_entries_encode(NULL, 0, spool_scratch(txn));
	spool_insert(txn, SPOOL_ENTRIES, &row);
	return txn_check(&txn->txn, err);
}
