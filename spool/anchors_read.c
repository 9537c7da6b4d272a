/* Anchors for whoever asks: one, a lane, a page of them, receipts, and from a block to its anchor. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

bool spool_anchor(struct spool *spool, const struct spool_anchor_id *id,
                  struct spool_anchor *out_anchor, struct err *err)
{
	struct txn txn;
	struct spool_anchor anchor;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_read_anchor(&txn, id, &anchor);
	if (!spool_end_read(&txn, found, "no such anchor", err))
		return false;
	*out_anchor = anchor;
	return true;
}

bool spool_lane(struct spool *spool, uint8_t sink, uint16_t lane, struct spool_lane *out_lane,
                struct err *err)
{
	struct txn txn;
	struct spool_lane found;
	txn_begin(&txn, spool->store, TXN_READ);
	bool ok = spool_read_lane(&txn, sink, lane, &found);
	if (!spool_end_read(&txn, ok, "no such lane", err))
		return false;
	*out_lane = found;
	return true;
}

bool spool_open_in_other_lane(struct spool *spool, uint8_t sink, uint16_t lane,
                              struct spool_anchor_id *out_id, struct err *err)
{
	struct txn txn;
	struct spool_anchor_id id = { sink, UINT16_MAX, UINT64_MAX };
	struct spool_anchor_id found = { 0 };
	struct bytes key;
	txn_begin(&txn, spool->store, TXN_READ);
	/* From each lane's newest anchor to the lane below it. */
	for (struct spool_key at = spool_key_anchor(&id);
	     found.seq == 0 && txn_before(&txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, NULL);) {
		struct spool_anchor newest;
		if (!spool_key_anchor_read(key, &id)) {
			spool_damaged(&txn, SPOOL_ANCHORS, key);
			break;
		}
		if (id.sink != sink || !spool_read_anchor(&txn, &id, &newest))
			break;
		if (id.lane != lane && newest.state != SPOOL_ANCHOR_FINAL)
			found = id;
		id.seq = 0;
		at = spool_key_anchor(&id);
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_id = found;
	return true;
}

bool spool_anchors_page(struct spool *spool, const struct spool_anchor_id *from,
                        struct spool_anchor *out_anchors, size_t count_max, size_t *out_count,
                        struct err *err)
{
	struct txn txn;
	struct spool_key at = spool_key_anchor(from);
	struct bytes key, value;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	bool more = txn_at_or_after(&txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, &value);
	while (more && count < count_max) {
		struct spool_anchor_id id;
		if (!spool_key_anchor_read(key, &id) ||
		    !spool_anchor_decode(value, &out_anchors[count])) {
			spool_damaged(&txn, SPOOL_ANCHORS, key);
			break;
		}
		if (id.sink != from->sink || id.lane != from->lane)
			break;
		out_anchors[count++].id = id;
		at = spool_key_anchor(&id);
		more = txn_after(&txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, &value);
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

bool spool_anchor_entries(struct spool *spool, const struct spool_anchor_id *id,
                          struct entry **out_entries, size_t *out_count, struct err *err)
{
	struct txn txn;
	struct entry *entries = NULL;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_read_entries(&txn, id, &entries, &count);
	if (!spool_end_read(&txn, found, "no such anchor", err)) {
		free(entries);
		return false;
	}
	*out_entries = entries;
	*out_count = count;
	return true;
}

bool spool_anchor_receipt(struct spool *spool, const struct spool_anchor_id *id,
                          struct spool_receipt_copy *out_receipt, struct err *err)
{
	struct txn txn;
	struct spool_key key = spool_key_anchor(id);
	struct bytes value;
	struct spool_receipt receipt;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_get(&txn, SPOOL_RECEIPTS, &key, &value);
	if (found && !spool_receipt_decode(value, &receipt)) {
		spool_damaged(&txn, SPOOL_RECEIPTS, spool_key_bytes(&key));
		found = false;
	}
	if (found) {
		buffer_put(&out_receipt->evidence, receipt.evidence);
		buffer_put(&out_receipt->signature, receipt.signature);
		buffer_put(&out_receipt->key_id, receipt.key_id);
	}
	if (!spool_end_read(&txn, found, "that anchor has no receipt", err) ||
	    !buffer_ok(&out_receipt->evidence, err) || !buffer_ok(&out_receipt->signature, err) ||
	    !buffer_ok(&out_receipt->key_id, err))
		return false;
	out_receipt->final_ms = receipt.final_ms;
	return true;
}

bool spool_anchor_of(struct spool *spool, uint8_t sink, const struct chain_key *chain,
                     uint64_t height, struct spool_coverage *out_coverage, struct err *err)
{
	struct txn txn;
	struct spool_key at = spool_key_coverage(sink, chain, height);
	struct bytes key, value;
	uint8_t found_sink;
	struct chain_key found_chain;
	struct spool_coverage_row row;
	struct spool_coverage coverage;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = txn_at_or_after(&txn, SPOOL_COVERAGE, spool_key_bytes(&at), &key, &value);
	if (found && (!spool_key_coverage_read(key, &found_sink, &found_chain, &coverage.to) ||
	              !spool_coverage_decode(value, &row))) {
		spool_damaged(&txn, SPOOL_COVERAGE, key);
		found = false;
	}
	found = found && found_sink == sink && chain_key_equal(&found_chain, chain);
	if (!spool_end_read(&txn, found, "no anchor has that block", err))
		return false;
	coverage.id = (struct spool_anchor_id){ sink, row.lane, row.seq };
	coverage.entry_index = row.entry_index;
	coverage.from = row.from;
	*out_coverage = coverage;
	return true;
}
