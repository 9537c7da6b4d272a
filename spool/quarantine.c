/* Quarantine, tombstones and evidence. What is over a limit is counted and hashed, not kept: the edge
 * still has it, since it was never acknowledged. */
#include "spool/quarantine.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "spool/spool_private.h"

#define ROWS_BYTES (5u * 4096)

/* ---- quarantine ---- */

bool spool_sum_quarantine(struct txn *txn, const struct chain_key *chain,
                          struct spool_quarantine_sums *out_sums)
{
	struct spool_key at = spool_key_chain(chain); /* Before all that begin with it. */
	struct spool_quarantine_sums sums = { .count = 0 };
	struct bytes key, value, payload;
	while (txn_after(txn, SPOOL_SUSPECTS, spool_key_bytes(&at), &key, &value) &&
	       key.size == CHAIN_KEY_SIZE + HASH_SIZE &&
	       memcmp(key.data, chain->bytes, CHAIN_KEY_SIZE) == 0) {
		struct spool_suspect_info info;
		struct spool_key row = { .size = 0 };
		uint64_t number;
		memcpy(at.bytes, key.data, key.size);
		at.size = key.size;
		if (spool_u64_decode(value, &number))
			row = spool_key_number(number);
		if (row.size == 0 || !spool_get(txn, SPOOL_QUARANTINE, &row, &value) ||
		    !spool_suspect_decode(value, &info, &payload)) {
			spool_damaged(txn, SPOOL_SUSPECTS, spool_key_bytes(&at));
			return false;
		}
		sums.count++;
		sums.blocks += info.block_count;
		sums.bytes += info.payload_size;
	}
	*out_sums = sums;
	return txn_ok(txn);
}

static bool already_there(struct spool_txn *txn, const struct spool_suspect *suspect,
                          uint64_t *out_number)
{
	struct spool_key key = spool_key_suspect(&suspect->chain, &suspect->content);
	struct bytes value;
	if (!spool_get(&txn->txn, SPOOL_SUSPECTS, &key, &value))
		return false;
	if (spool_u64_decode(value, out_number))
		return true;
	spool_damaged(&txn->txn, SPOOL_SUSPECTS, spool_key_bytes(&key));
	return false;
}

static bool has_place(const struct spool_txn *txn, const struct spool_chain *chain, size_t size)
{
	const struct spool *spool = txn->spool;
	uint64_t bytes_max = atomic_load(&spool->quarantine_bytes_max);
	return chain->quarantine_count < spool->quarantine_count_max &&
	       chain->quarantine_bytes + size <= bytes_max / 4 &&
	       txn->totals.quarantine_bytes + size <= bytes_max;
}

/* Over the limit: received and gone, with a running hash over what it was. */
static void drop(struct spool_txn *txn, const struct spool_suspect *suspect,
                 struct spool_chain *chain)
{
	const struct bytes parts[] = { BYTES_OF(chain->quarantine_dropped_hash),
		                       BYTES_OF(suspect->content) };
	struct hash running = hash_parts(HASH_SHA256, parts, 2);
	chain->quarantine_dropped_blocks += suspect->block_count;
	chain->quarantine_dropped_hash = running;
	chain->tombstoned_blocks += suspect->block_count;
	txn->totals.tombstoned_blocks += suspect->block_count;
}

static uint64_t keep(struct spool_txn *txn, const struct spool_suspect *suspect,
                     struct spool_chain *chain)
{
	uint64_t number = txn->totals.quarantine_next++;
	struct spool_key key = spool_key_number(number);
	struct spool_key index = spool_key_suspect(&suspect->chain, &suspect->content);
	spool_suspect_encode(suspect, spool_scratch(txn));
	spool_insert(txn, SPOOL_QUARANTINE, &key);
	spool_put_u64(txn, SPOOL_SUSPECTS, &index, number);
	chain->quarantine_count++;
	chain->quarantine_bytes += suspect->payload.size;
	chain->quarantined_blocks += suspect->block_count;
	txn->totals.quarantine_bytes += suspect->payload.size;
	txn->totals.quarantined_blocks += suspect->block_count;
	return number;
}

bool spool_quarantine_put(struct spool_txn *txn, const struct spool_suspect *suspect,
                          enum spool_suspect_outcome *out_outcome, uint64_t *out_number,
                          struct err *err)
{
	struct spool_chain chain;
	assert(suspect->codec == CODEC_NONE || suspect->codec == CODEC_ZSTD);
	if (suspect->block_count == 0 || suspect->payload.size > SPOOL_PAYLOAD_MAX_BYTES)
		return err_set(err, ZR_INVALID, "%" PRIu32 " blocks in %zu bytes",
		               suspect->block_count, suspect->payload.size);
	if (!spool_load_chain(txn, &suspect->chain, &chain, err))
		return false;
	uint64_t number = 0;
	enum spool_suspect_outcome outcome;
	if (already_there(txn, suspect, &number)) {
		outcome = SPOOL_SUSPECT_KNOWN;
		chain.duplicate_blocks += suspect->block_count;
		txn->totals.duplicate_blocks += suspect->block_count;
	} else {
		bool place = has_place(txn, &chain, suspect->payload.size);
		outcome = place ? SPOOL_SUSPECT_KEPT : SPOOL_SUSPECT_DROPPED;
		if (!spool_take_room(txn, ROWS_BYTES + (place ? suspect->payload.size : 0), err))
			return false;
		chain.received_blocks += suspect->block_count;
		txn->totals.received_blocks += suspect->block_count;
		if (place)
			number = keep(txn, suspect, &chain);
		else
			drop(txn, suspect, &chain);
	}
	spool_save_chain(txn, &chain);
	if (!txn_check(&txn->txn, err))
		return false;
	*out_outcome = outcome;
	*out_number = number;
	return true;
}

static bool read_suspect(struct txn *txn, uint64_t number, struct spool_suspect_info *out_info,
                         struct bytes *out_payload)
{
	struct spool_key key = spool_key_number(number);
	struct bytes value;
	if (!spool_get(txn, SPOOL_QUARANTINE, &key, &value))
		return false;
	if (!spool_suspect_decode(value, out_info, out_payload)) {
		spool_damaged(txn, SPOOL_QUARANTINE, spool_key_bytes(&key));
		return false;
	}
	out_info->number = number;
	return true;
}

static void settle_counts(struct spool_txn *txn, const struct spool_suspect_info *info,
                          enum spool_verdict verdict, struct spool_chain *chain)
{
	struct spool_totals *totals = &txn->totals;
	uint32_t count = info->block_count;
	chain->quarantine_count--;
	chain->quarantine_bytes -= info->payload_size;
	chain->quarantined_blocks -= count;
	totals->quarantine_bytes -= info->payload_size;
	totals->quarantined_blocks -= count;
	switch (verdict) {
	case SPOOL_VERDICT_REJECTED:
		chain->tombstoned_blocks += count;
		totals->tombstoned_blocks += count;
		return;
	case SPOOL_VERDICT_DUPLICATE:
		chain->duplicate_blocks += count;
		totals->duplicate_blocks += count;
		__attribute__((fallthrough));
	case SPOOL_VERDICT_RELEASED: /* Its batch is counted as received when it is put. */
		chain->received_blocks -= count;
		totals->received_blocks -= count;
		return;
	}
	assert(false);
}

bool spool_quarantine_resolve(struct spool_txn *txn, uint64_t number,
                              const struct spool_resolution *resolution, struct err *err)
{
	struct spool_suspect_info info;
	struct bytes payload;
	struct spool_chain chain;
	if (!read_suspect(&txn->txn, number, &info, &payload))
		return txn_check(&txn->txn, err) &&
		       err_set(err, ZR_STATE, "there is nothing under number %" PRIu64, number);
	if (!spool_load_chain(txn, &info.chain, &chain, err))
		return false;
	bool rejected = resolution->verdict == SPOOL_VERDICT_REJECTED;
	struct spool_tombstone tombstone = { .kind = rejected ? SPOOL_TOMBSTONE_REJECTED
		                                              : SPOOL_TOMBSTONE_RELEASED,
		                             .chain = info.chain,
		                             .from = info.first_height,
		                             .to = info.first_height + info.block_count - 1,
		                             .block_count = rejected ? info.block_count : 0,
		                             .hash = info.content,
		                             .time_ms = resolution->now_ms };
	if (tombstone.to < tombstone.from) /* What it claimed was beyond all heights. */
		tombstone.to = tombstone.from;
	spool_text_copy(tombstone.who, sizeof(tombstone.who), resolution->who);
	spool_text_copy(tombstone.why, sizeof(tombstone.why), resolution->why);

	struct spool_key key = spool_key_number(number);
	struct spool_key index = spool_key_suspect(&info.chain, &info.content);
	settle_counts(txn, &info, resolution->verdict, &chain);
	(void)spool_delete(txn, SPOOL_QUARANTINE, &key);
	(void)spool_delete(txn, SPOOL_SUSPECTS, &index);
	spool_put_tombstone(txn, &tombstone);
	spool_save_chain(txn, &chain);
	return txn_check(&txn->txn, err);
}

bool spool_quarantine_page(struct spool *spool, uint64_t after,
                           struct spool_suspect_info *out_infos, size_t count_max,
                           size_t *out_count, struct err *err)
{
	struct txn txn;
	struct spool_key at = spool_key_number(after);
	struct bytes key, value, payload;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	while (count < count_max &&
	       txn_after(&txn, SPOOL_QUARANTINE, spool_key_bytes(&at), &key, &value)) {
		uint64_t number;
		if (!spool_key_number_read(key, &number) ||
		    !spool_suspect_decode(value, &out_infos[count], &payload)) {
			spool_damaged(&txn, SPOOL_QUARANTINE, key);
			break;
		}
		out_infos[count++].number = number;
		at = spool_key_number(number);
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

bool spool_quarantine_get(struct spool *spool, uint64_t number, struct spool_suspect_info *out_info,
                          struct buffer *out_payload, struct err *err)
{
	struct txn txn;
	struct spool_suspect_info info;
	struct bytes payload;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = read_suspect(&txn, number, &info, &payload);
	if (found && out_payload != NULL)
		buffer_put(out_payload, payload);
	if (!spool_end_read(&txn, found, "there is nothing under that number", err) ||
	    (out_payload != NULL && !buffer_ok(out_payload, err)))
		return false;
	*out_info = info;
	return true;
}

/* ---- tombstones ---- */

void spool_put_tombstone(struct spool_txn *txn, const struct spool_tombstone *tombstone)
{
	struct spool_key key = spool_key_tombstone(&tombstone->chain, tombstone->from,
	                                           txn->totals.tombstone_next++);
	spool_tombstone_encode(tombstone, spool_scratch(txn));
	spool_insert(txn, SPOOL_TOMBSTONES, &key);
}

bool spool_tombstones_page(struct spool *spool, const struct spool_tombstone *after,
                           struct spool_tombstone *out_tombstones, size_t count_max,
                           size_t *out_count, struct err *err)
{
	static const struct chain_key none;
	struct txn txn;
	struct spool_key at =
		after != NULL ? spool_key_tombstone(&after->chain, after->from, after->number)
			      : spool_key_tombstone(&none, 0, 0);
	struct bytes key, value;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	while (count < count_max &&
	       txn_after(&txn, SPOOL_TOMBSTONES, spool_key_bytes(&at), &key, &value)) {
		struct spool_tombstone *row = &out_tombstones[count];
		if (!spool_tombstone_decode(value, row) ||
		    !spool_key_tombstone_read(key, &row->chain, &row->from, &row->number)) {
			spool_damaged(&txn, SPOOL_TOMBSTONES, key);
			break;
		}
		at = spool_key_tombstone(&row->chain, row->from, row->number);
		count++;
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

/* ---- evidence ---- */

struct spool_key spool_evidence_index(const struct spool_evidence *evidence)
{
	uint8_t height[8];
	put_be64(height, evidence->height);
	const struct bytes parts[] = { BYTES_OF(evidence->chain), BYTES_OF(height),
		                       BYTES_OF(evidence->ours), BYTES_OF(evidence->theirs) };
	struct hash hash = hash_parts(HASH_SHA256, parts, 4);
	char name[sizeof(SPOOL_META_EVIDENCE) + HASH_HEX_SIZE] = SPOOL_META_EVIDENCE;
	hash_hex(&hash, name + strlen(name));
	return spool_key_name(name);
}

bool spool_evidence_put(struct spool_txn *txn, const struct spool_evidence *evidence,
                        struct bytes bundle, uint64_t *out_number, struct err *err)
{
	struct spool_chain chain;
	struct spool_key index = spool_evidence_index(evidence);
	struct bytes value;
	if (!spool_load_chain(txn, &evidence->chain, &chain, err))
		return false;
	if (spool_get(&txn->txn, SPOOL_META, &index, &value)) {
		if (!spool_u64_decode(value, out_number))
			spool_damaged(&txn->txn, SPOOL_META, spool_key_bytes(&index));
		return txn_check(&txn->txn, err);
	}
	uint64_t number = txn->totals.evidence_next++;
	struct spool_key key = spool_key_number(number);
	spool_evidence_encode(evidence, bundle, spool_scratch(txn));
	spool_insert(txn, SPOOL_EVIDENCE, &key);
	spool_put_u64(txn, SPOOL_META, &index, number);
	if (!txn_check(&txn->txn, err))
		return false;
	*out_number = number;
	return true;
}

bool spool_evidence_page(struct spool *spool, uint64_t after, struct spool_evidence *out_evidence,
                         size_t count_max, size_t *out_count, struct err *err)
{
	struct txn txn;
	struct spool_key at = spool_key_number(after);
	struct bytes key, value, bundle;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	while (count < count_max &&
	       txn_after(&txn, SPOOL_EVIDENCE, spool_key_bytes(&at), &key, &value)) {
		uint64_t number;
		if (!spool_key_number_read(key, &number) ||
		    !spool_evidence_decode(value, &out_evidence[count], &bundle)) {
			spool_damaged(&txn, SPOOL_EVIDENCE, key);
			break;
		}
		out_evidence[count++].number = number;
		at = spool_key_number(number);
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

bool spool_evidence_get(struct spool *spool, uint64_t number, struct spool_evidence *out_evidence,
                        struct buffer *out_bundle, struct err *err)
{
	struct txn txn;
	struct spool_key key = spool_key_number(number);
	struct bytes value, bundle;
	struct spool_evidence evidence;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_get(&txn, SPOOL_EVIDENCE, &key, &value);
	if (found && !spool_evidence_decode(value, &evidence, &bundle)) {
		spool_damaged(&txn, SPOOL_EVIDENCE, spool_key_bytes(&key));
		found = false;
	}
	if (found)
		buffer_put(out_bundle, bundle);
	if (!spool_end_read(&txn, found, "there is no evidence under that number", err) ||
	    !buffer_ok(out_bundle, err))
		return false;
	evidence.number = number;
	*out_evidence = evidence;
	return true;
}
