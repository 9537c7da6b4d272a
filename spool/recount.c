/* After a restore: rows are the truth, and every counter, watermark and index is made from them. */
#include "spool/recount.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing, without a spool that is open ---- */

static void put_buffer(struct txn *txn, enum spool_table table, const struct spool_key *key,
                       struct buffer *take_value)
{
	struct err err;
	if (buffer_ok(take_value, &err))
		txn_put(txn, table, spool_key_bytes(key), buffer_bytes(take_value));
	else
		txn_fail(txn, err.code, "%s", err.message);
	buffer_fini(take_value);
}

static void put_number(struct txn *txn, enum spool_table table, const struct spool_key *key,
                       uint64_t number)
{
	uint8_t value[8];
	put_be64(value, number);
	txn_put(txn, table, spool_key_bytes(key), BYTES_OF(value));
}

static void put_chain(struct txn *txn, const struct spool_chain *chain)
{
	struct buffer value = BUFFER_EMPTY;
	struct spool_key key = spool_is_stranger(&chain->key) ? spool_key_name(SPOOL_META_STRANGER)
	                                                      : spool_key_chain(&chain->key);
	spool_chain_encode(chain, &value);
	put_buffer(txn, spool_is_stranger(&chain->key) ? SPOOL_META : SPOOL_CHAINS, &key, &value);
}

static void raise_next(uint64_t *next, uint64_t number)
{
	if (*next <= number)
		*next = number + 1;
}

/* ---- one row's indexes ---- */

/* Watermarks are raised entry by entry, and settled by recount_chain(). */
static void cover_entry(struct txn *txn, const struct spool_anchor *anchor,
                        const struct entry *entry, uint32_t index)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_key at = spool_key_coverage(anchor->id.sink, &key, entry->to);
	struct spool_coverage_row row = { anchor->id.lane, anchor->id.seq, index, entry->from };
	struct spool_chain chain;
	struct buffer value = BUFFER_EMPTY;
	spool_coverage_encode(&row, &value);
	put_buffer(txn, SPOOL_COVERAGE, &at, &value);
	if (!spool_read_chain(txn, &key, &chain)) {
		/* An imported anchor may speak of chains that were never ours. */
		if (anchor->state != SPOOL_ANCHOR_FINAL)
			txn_fail(txn, ZR_CORRUPT, "anchor %" PRIu64 " has an unknown chain",
			         anchor->id.seq);
		return;
	}
	if (chain.pending_from <= entry->to)
		chain.pending_from = entry->to + 1;
	if (anchor->state == SPOOL_ANCHOR_FINAL && chain.anchored_next <= entry->to)
		chain.anchored_next = entry->to + 1;
	put_chain(txn, &chain);
}

static void recount_anchor(struct txn *txn, struct bytes key, struct bytes value)
{
	struct spool_anchor anchor;
	struct entry *entries = NULL;
	size_t count = 0;
	struct spool_anchor_id id;
	if (!spool_key_anchor_read(key, &id) || !spool_anchor_decode(value, &anchor)) {
		spool_damaged(txn, SPOOL_ANCHORS, key);
		return;
	}
	anchor.id = id;
	if (!spool_read_entries(txn, &id, &entries, &count)) {
		txn_fail(txn, ZR_CORRUPT, "anchor %" PRIu64 " has no entries", id.seq);
		return;
	}
	if (anchor.state != SPOOL_ANCHOR_FINAL && anchor.state != SPOOL_ANCHOR_REJECTED) {
		/* The store this is a copy of may have sent it since. */
		struct spool_key at = spool_key_anchor(&id);
		struct buffer row = BUFFER_EMPTY;
		anchor.state = SPOOL_ANCHOR_UNKNOWN;
		anchor.ever_sent = true;
		anchor.next_try_ms = 0;
		spool_anchor_encode(&anchor, &row);
		put_buffer(txn, SPOOL_ANCHORS, &at, &row);
	}
	for (size_t i = 0; i < count; i++)
		cover_entry(txn, &anchor, &entries[i], (uint32_t)i);
	free(entries);
}

static void recount_suspect(struct txn *txn, struct bytes key, struct bytes value,
                            struct recount *recount)
{
	uint64_t number;
	struct spool_suspect_info info;
	struct bytes payload;
	if (!spool_key_number_read(key, &number) || !spool_suspect_decode(value, &info, &payload)) {
		spool_damaged(txn, SPOOL_QUARANTINE, key);
		return;
	}
	struct spool_key index = spool_key_suspect(&info.chain, &info.content);
	put_number(txn, SPOOL_SUSPECTS, &index, number);
	raise_next(&recount->totals.quarantine_next, number);
}

static void recount_evidence(struct txn *txn, struct bytes key, struct bytes value,
                             struct recount *recount)
{
	uint64_t number;
	struct spool_evidence evidence;
	struct bytes bundle;
	if (!spool_key_number_read(key, &number) ||
	    !spool_evidence_decode(value, &evidence, &bundle)) {
		spool_damaged(txn, SPOOL_EVIDENCE, key);
		return;
	}
	struct spool_key index = spool_evidence_index(&evidence);
	put_number(txn, SPOOL_META, &index, number);
	raise_next(&recount->totals.evidence_next, number);
}

static void recount_audit(struct txn *txn, struct bytes key, struct bytes value,
                          struct recount *recount)
{
	uint64_t number;
	struct spool_audit_row row;
	static const uint8_t none[SPOOL_REQUEST_ID_SIZE];
	if (!spool_key_number_read(key, &number) || !spool_audit_decode(value, &row)) {
		spool_damaged(txn, SPOOL_AUDIT, key);
		return;
	}
	recount->totals.audit_head = sha256(value); /* Of the last one, in the end. */
	raise_next(&recount->totals.audit_next, number);
	struct spool_key request = spool_key_request(row.request_id);
	if (memcmp(row.request_id, none, sizeof(none)) != 0)
		put_number(txn, SPOOL_REQUESTS, &request, number);
}

static void recount_tombstone(struct txn *txn, struct bytes key, struct recount *recount)
{
	struct chain_key chain;
	uint64_t from, number;
	if (spool_key_tombstone_read(key, &chain, &from, &number))
		raise_next(&recount->totals.tombstone_next, number);
	else
		spool_damaged(txn, SPOOL_TOMBSTONES, key);
}

void recount_row(struct txn *txn, enum spool_table table, struct bytes key, struct bytes value,
                 struct recount *recount)
{
	uint64_t number;
	switch (table) {
	case SPOOL_ANCHORS:
		recount_anchor(txn, key, value);
		break;
	case SPOOL_QUARANTINE:
		recount_suspect(txn, key, value, recount);
		break;
	case SPOOL_EVIDENCE:
		recount_evidence(txn, key, value, recount);
		break;
	case SPOOL_AUDIT:
		recount_audit(txn, key, value, recount);
		break;
	case SPOOL_TOMBSTONES:
		recount_tombstone(txn, key, recount);
		break;
	case SPOOL_BATCHES:
		if (spool_key_number_read(key, &number))
			raise_next(&recount->totals.arrival_next, number);
		break;
	case SPOOL_HEIGHTS:
	case SPOOL_CHAINS:
	case SPOOL_NAMES:
	case SPOOL_PENDING:
	case SPOOL_ENTRIES:
	case SPOOL_COVERAGE:
	case SPOOL_RECEIPTS:
	case SPOOL_TRUST:
	case SPOOL_SUSPECTS:
	case SPOOL_REQUESTS:
	case SPOOL_DICTIONARIES:
	case SPOOL_META:
	case SPOOL_TABLE_COUNT:
		break; /* No index of its own, or one itself. */
	}
}

/* ---- a chain's tombstones and quarantine ---- */

/* Sums what counts; takes away what was declared lost beyond next_height. */
static void recount_tombstones(struct txn *txn, struct spool_chain *chain)
{
	struct spool_key at = spool_key_chain(&chain->key);
	struct bytes key, value;
	struct chain_key owner;
	uint64_t from, number;
	chain->tombstoned_blocks = chain->quarantine_dropped_blocks;
	while (txn_after(txn, SPOOL_TOMBSTONES, spool_key_bytes(&at), &key, &value)) {
		struct spool_tombstone tombstone;
		if (!spool_key_tombstone_read(key, &owner, &from, &number) ||
		    !spool_tombstone_decode(value, &tombstone)) {
			spool_damaged(txn, SPOOL_TOMBSTONES, key);
			return;
		}
		if (!chain_key_equal(&owner, &chain->key))
			return;
		at = spool_key_tombstone(&owner, from, number);
		chain->tombstoned_blocks += tombstone.block_count;
		if (tombstone.kind == SPOOL_TOMBSTONE_LOST && from >= chain->next_height)
			(void)txn_delete(txn, SPOOL_TOMBSTONES, spool_key_bytes(&at));
	}
}

static void recount_quarantine(struct txn *txn, struct spool_chain *chain)
{
	struct spool_quarantine_sums sums = { .count = 0 };
	(void)!spool_sum_quarantine(txn, &chain->key, &sums);
	chain->quarantine_count = sums.count;
	chain->quarantine_bytes = sums.bytes;
	chain->quarantined_blocks = sums.blocks;
}

/* ---- a chain's batches ---- */

static bool is_held(struct txn *txn, const struct spool_span *span)
{
	struct spool_key key = spool_key_number(span->row.info.arrival);
	return txn_has(txn, SPOOL_BATCHES, spool_key_bytes(&key));
}

/* Rows that were still there when the stream was written, but forgotten before it was complete. */
static void drop_forgotten(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_span span;
	while (spool_span_at_or_after(txn, &chain->key, 0, &span) &&
	       span.row.info.first_height < chain->known_from) {
		struct spool_key batch = spool_key_number(span.row.info.arrival);
		struct spool_key row = spool_key_height(&chain->key, span.row.info.first_height);
		(void)txn_delete(txn, SPOOL_BATCHES, spool_key_bytes(&batch));
		(void)txn_delete(txn, SPOOL_HEIGHTS, spool_key_bytes(&row));
	}
}

/* From where on payloads are held without a hole. False: there is a hole in the rows. */
static bool find_held(struct txn *txn, struct spool_chain *chain)
{
	struct spool_span span;
	uint64_t at = spool_skip_lost(txn, &chain->key, chain->known_from);
	chain->held_from = at;
	while (at < chain->next_height) {
		if (!spool_span_at_or_after(txn, &chain->key, at, &span) ||
		    span.row.info.first_height != at || spool_span_next(&span) > chain->next_height)
			return false;
		bool held = is_held(txn, &span);
		at = spool_skip_lost(txn, &chain->key, spool_span_next(&span));
		if (!held)
			chain->held_from = at;
	}
	return at == chain->next_height && txn_ok(txn);
}

/* Payloads that are held above one that is not there any more: what pruning was about to take. */
static void drop_stray_payloads(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_span span;
	uint64_t at = chain->known_from;
	while (spool_span_at_or_after(txn, &chain->key, at, &span) &&
	       span.row.info.first_height < chain->held_from) {
		struct spool_key key = spool_key_number(span.row.info.arrival);
		at = spool_span_next(&span);
		(void)txn_delete(txn, SPOOL_BATCHES, spool_key_bytes(&key));
	}
}

static void count_rows(struct txn *txn, struct spool_chain *chain, struct recount *recount)
{
	struct spool_span span;
	uint64_t stored = chain->next_height - chain->first_height - chain->lost_heights;
	uint64_t known = 0, anchored = 0, at = chain->known_from;
	chain->held_batches = 0;
	chain->held_bytes = 0;
	while (at < chain->next_height && spool_span_at_or_after(txn, &chain->key, at, &span)) {
		const struct spool_batch_info *info = &span.row.info;
		bool is_final = info->first_height < chain->anchored_next;
		known += info->block_count;
		anchored += is_final ? info->block_count : 0;
		if (info->first_height >= chain->held_from) {
			chain->held_batches++;
			chain->held_bytes += info->payload_size;
			recount->totals.final_bytes += is_final ? info->payload_size : 0;
		}
		at = spool_span_next(&span);
	}
	if (known > stored) {
		txn_fail(txn, ZR_CORRUPT, "%s has more blocks than heights", chain->id.name);
		return;
	}
	chain->forgotten_blocks = stored - known;
	chain->anchored_blocks = chain->forgotten_blocks + anchored;
	chain->received_blocks = stored + chain->quarantined_blocks + chain->tombstoned_blocks;
}

static void settle_watermarks(struct txn *txn, struct spool_chain *chain)
{
	if (chain->anchored_floor > chain->anchored_next)
		chain->anchored_next = chain->anchored_floor;
	if (chain->known_from > chain->anchored_next)
		chain->anchored_next = chain->known_from; /* Forgotten, so it was final. */
	chain->anchored_next = spool_skip_lost(txn, &chain->key, chain->anchored_next);
	if (chain->anchored_next > chain->pending_from)
		chain->pending_from = chain->anchored_next;
	chain->pending_from = spool_skip_lost(txn, &chain->key, chain->pending_from);
	if (chain->anchored_floor < chain->known_from)
		chain->anchored_floor = chain->known_from;
	if (chain->pending_from > chain->next_height)
		txn_fail(txn, ZR_CORRUPT, "%s: anchors reach beyond height %" PRIu64,
		         chain->id.name, chain->next_height);
}

static void find_trust(struct txn *txn, struct spool_chain *chain)
{
	struct spool_key above = spool_key_height(&chain->key, chain->next_height + 1);
	struct bytes key;
	struct chain_key owner;
	uint64_t from;
	if (txn_before(txn, SPOOL_TRUST, spool_key_bytes(&above), &key, NULL) &&
	    spool_key_height_read(key, &owner, &from) && chain_key_equal(&owner, &chain->key))
		chain->trust_from = from;
}

/* ---- indexes of a chain ---- */

static void index_name(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_key name = spool_key_name(chain->id.name);
	struct bytes value;
	struct chain_key key;
	struct spool_chain other;
	/* A living epoch before a retired one, the newer before the older. */
	if (spool_get(txn, SPOOL_NAMES, &name, &value) && spool_key_chain_read(value, &key) &&
	    spool_read_chain(txn, &key, &other)) {
		bool retired = chain->state == SPOOL_CHAIN_RETIRED;
		bool other_retired = other.state == SPOOL_CHAIN_RETIRED;
		if (retired != other_retired ? retired : chain->added_ms < other.added_ms)
			return;
	}
	txn_put(txn, SPOOL_NAMES, spool_key_bytes(&name), BYTES_OF(chain->key));
}

static void index_pending(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_key key = spool_key_pending(chain->sink, chain->class, &chain->key);
	if (chain->pending_from < chain->next_height && !chain->delivery_held)
		put_number(txn, SPOOL_PENDING, &key, chain->pending_from);
}

static void add_to_totals(const struct spool_chain *chain, struct recount *recount)
{
	struct spool_totals *totals = &recount->totals;
	totals->received_blocks += chain->received_blocks;
	totals->duplicate_blocks += chain->duplicate_blocks;
	totals->quarantined_blocks += chain->quarantined_blocks;
	totals->tombstoned_blocks += chain->tombstoned_blocks;
	totals->anchored_blocks += chain->anchored_blocks;
	totals->quarantine_bytes += chain->quarantine_bytes;
	totals->held_batches += chain->held_batches;
	totals->held_bytes += chain->held_bytes;
}

void recount_chain(struct txn *txn, const struct chain_key *key, struct recount *recount)
{
	struct spool_chain chain;
	if (!spool_read_chain(txn, key, &chain)) {
		txn_fail(txn, ZR_CORRUPT, "a chain has no record");
		return;
	}
	recount_tombstones(txn, &chain);
	recount_quarantine(txn, &chain);
	if (spool_is_stranger(key)) {
		chain.received_blocks = chain.quarantined_blocks + chain.tombstoned_blocks;
	} else {
		drop_forgotten(txn, &chain);
		if (!find_held(txn, &chain))
			txn_fail(txn, ZR_CORRUPT, "%s: a hole below height %" PRIu64, chain.id.name,
			         chain.next_height);
		settle_watermarks(txn, &chain);
		drop_stray_payloads(txn, &chain);
		count_rows(txn, &chain, recount);
		find_trust(txn, &chain);
		index_name(txn, &chain);
		index_pending(txn, &chain);
		recount->totals.chain_count++;
	}
	if (!txn_ok(txn))
		return;
	put_chain(txn, &chain);
	add_to_totals(&chain, recount);
}

/* ---- a chain found by salvage ---- */

static void declare_hole(struct txn *txn, const struct spool_chain *chain, uint64_t to,
                         int64_t now_ms, struct recount *recount)
{
	struct spool_tombstone tombstone = { .kind = SPOOL_TOMBSTONE_LOST,
		                             .to = to,
		                             .hash = chain->tip,
		                             .who = "spool salvage",
		                             .why = "not found on the damaged disk",
		                             .time_ms = now_ms };
	struct spool_key key = spool_key_tombstone(&chain->key, chain->next_height,
	                                           recount->totals.tombstone_next++);
	struct buffer value = BUFFER_EMPTY;
	spool_tombstone_encode(&tombstone, &value);
	put_buffer(txn, SPOOL_TOMBSTONES, &key, &value);
}

static bool read_batch_of(struct txn *txn, const struct spool_span *span,
                          struct spool_batch_row *out_row)
{
	struct spool_key key = spool_key_number(span->row.info.arrival);
	struct bytes value;
	return spool_get(txn, SPOOL_BATCHES, &key, &value) &&
	       spool_batch_row_decode(value, out_row);
}

static void drop_span(struct txn *txn, const struct spool_span *span)
{
	struct spool_key batch = spool_key_number(span->row.info.arrival);
	struct spool_key row = spool_key_height(&span->row.info.chain, span->row.info.first_height);
	(void)txn_delete(txn, SPOOL_BATCHES, spool_key_bytes(&batch));
	(void)txn_delete(txn, SPOOL_HEIGHTS, spool_key_bytes(&row));
}

/* Walks what was found; false: nothing of the chain can be used. */
static bool follow_found(struct txn *txn, struct spool_chain *chain, int64_t now_ms,
                         struct recount *recount)
{
	struct spool_span span;
	bool any = false;
	for (uint64_t at = 0; spool_span_at_or_after(txn, &chain->key, at, &span);) {
		uint64_t first = span.row.info.first_height, next = spool_span_next(&span);
		struct hash tip = spool_span_block(&span, span.row.info.block_count - 1).hash;
		struct spool_batch_row batch;
		at = first + 1;
		if ((any && first < chain->next_height) || !read_batch_of(txn, &span, &batch)) {
			drop_span(txn, &span); /* Overlaps: of an older life of these pages. */
			continue;
		}
		if (!any) {
			chain->id = batch.id;
			chain->first_height = first;
			memcpy(chain->format, batch.format, sizeof(chain->format));
		} else if (first > chain->next_height) {
			declare_hole(txn, chain, first - 1, now_ms, recount);
			chain->lost_heights += first - chain->next_height;
		}
		any = true;
		chain->next_height = next;
		chain->tip = tip;
		at = next;
	}
	return any;
}

void recount_found_chain(struct txn *txn, const struct chain_key *key, int64_t now_ms,
                         struct recount *recount)
{
	struct spool_chain chain = { .key = *key,
		                     .state = SPOOL_CHAIN_RESTORED,
		                     .state_reason = "salvaged: adopt it",
		                     .state_who = "spool restore",
		                     .state_since_ms = now_ms,
		                     .delivery_held = true,
		                     .sink = SPOOL_SINK_MAIN,
		                     .class = 1,
		                     .added_ms = now_ms };
	if (!follow_found(txn, &chain, now_ms, recount))
		return;
	chain.pending_from = chain.first_height;
	chain.anchored_next = chain.first_height;
	chain.anchored_floor = chain.first_height;
	chain.known_from = chain.first_height;
	chain.trust_from = chain.first_height;
	put_chain(txn, &chain);
}
