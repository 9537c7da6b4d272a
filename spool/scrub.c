/* The paced recount (promise P5): chain by chain, every row again, and what is counted against what
 * the chain's record says. Rows of heights are never rewritten, so a walk over many transactions
 * sees what one transaction would have seen; only history_ms may take rows away below it. */
#include <inttypes.h>
#include <string.h>

#include "spool/check.h"

/* ---- the record ---- */

static void check_numbers(struct txn *txn, const struct spool_chain *chain)
{
	const char *name = chain->id.name;
	if (chain->first_height > chain->anchored_next ||
	    chain->anchored_floor > chain->anchored_next ||
	    chain->anchored_next > chain->pending_from ||
	    chain->pending_from > chain->next_height || chain->held_from > chain->next_height ||
	    chain->known_from > chain->next_height || chain->known_from < chain->first_height)
		txn_fail(txn, ZR_CORRUPT, "table chains, %s: watermarks cross", name);
	uint64_t stored = chain->next_height - chain->first_height - chain->lost_heights;
	if (chain->received_blocks != stored + chain->quarantined_blocks + chain->tombstoned_blocks)
		txn_fail(txn, ZR_CORRUPT,
		         "table chains, %s: received %" PRIu64 " blocks, but stored %" PRIu64
		         ", quarantined %" PRIu64 ", tombstoned %" PRIu64,
		         name, chain->received_blocks, stored, chain->quarantined_blocks,
		         chain->tombstoned_blocks);
	if (chain->anchored_blocks > stored || chain->forgotten_blocks > chain->anchored_blocks)
		txn_fail(txn, ZR_CORRUPT, "table chains, %s: anchored %" PRIu64 " of %" PRIu64,
		         name, chain->anchored_blocks, stored);
}

static void check_pending(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_key key = spool_key_pending(chain->sink, chain->class, &chain->key);
	struct bytes value;
	uint64_t from = 0;
	bool wanted = chain->pending_from < chain->next_height && !chain->delivery_held;
	bool there = spool_get(txn, SPOOL_PENDING, &key, &value);
	if (there && !spool_u64_decode(value, &from))
		spool_damaged(txn, SPOOL_PENDING, spool_key_bytes(&key));
	if (there != wanted || (there && from != chain->pending_from))
		txn_fail(txn, ZR_CORRUPT, "table pending, %s: %s, from %" PRIu64 " not %" PRIu64,
		         chain->id.name, there ? "there" : "missing", from, chain->pending_from);
}

static void check_edge(struct txn *txn, const struct spool_chain *chain, uint64_t height,
                       const char *watermark)
{
	struct spool_span span;
	if (height < chain->next_height && (!spool_span_with(txn, &chain->key, height, &span) ||
	                                    span.row.info.first_height != height))
		txn_fail(txn, ZR_CORRUPT,
		         "table heights, %s: %s is %" PRIu64 ", where no batch begins",
		         chain->id.name, watermark, height);
}

/* What is pending begins behind the chain's last entry in an anchor. */
static void check_coverage(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_key at = spool_key_coverage(chain->sink, &chain->key, UINT64_MAX);
	struct bytes key;
	uint8_t sink;
	struct chain_key owner;
	uint64_t to, wanted = chain->anchored_floor;
	if (txn_before(txn, SPOOL_COVERAGE, spool_key_bytes(&at), &key, NULL) &&
	    spool_key_coverage_read(key, &sink, &owner, &to) && sink == chain->sink &&
	    chain_key_equal(&owner, &chain->key)) {
		uint64_t behind = spool_skip_lost(txn, &chain->key, to + 1);
		wanted = behind > wanted ? behind : wanted;
	}
	if (wanted != chain->pending_from)
		txn_fail(txn, ZR_CORRUPT,
		         "table coverage, %s: anchors reach up to %" PRIu64 ", not %" PRIu64,
		         chain->id.name, wanted, chain->pending_from);
}

/* The chain's items in quarantine are few: there is a limit. */
static void check_quarantine(struct txn *txn, const struct spool_chain *chain)
{
	struct spool_quarantine_sums sums;
	if (!spool_sum_quarantine(txn, &chain->key, &sums))
		return;
	if (sums.count != chain->quarantine_count || sums.blocks != chain->quarantined_blocks ||
	    sums.bytes != chain->quarantine_bytes)
		txn_fail(txn, ZR_CORRUPT,
		         "table quarantine, %s: %" PRIu64 " blocks in %" PRIu64
		         " bytes, but the chain says %" PRIu64 " in %" PRIu64,
		         chain->id.name, sums.blocks, sums.bytes, chain->quarantined_blocks,
		         chain->quarantine_bytes);
}

void spool_check_chain(struct txn *txn, const struct spool_chain *chain)
{
	check_quarantine(txn, chain);
	if (spool_is_stranger(&chain->key))
		return;
	check_numbers(txn, chain);
	check_pending(txn, chain);
	check_edge(txn, chain, chain->anchored_next, "anchored_next");
	check_edge(txn, chain, chain->pending_from, "pending_from");
	check_coverage(txn, chain);
	struct spool_key trust = spool_key_height(&chain->key, chain->trust_from);
	struct bytes value;
	/* Salvage finds none: an operator brings it when he adopts the chain. */
	if (chain->state != SPOOL_CHAIN_RESTORED && !spool_get(txn, SPOOL_TRUST, &trust, &value))
		txn_fail(txn, ZR_CORRUPT, "table trust, %s: nothing from height %" PRIu64,
		         chain->id.name, chain->trust_from);
}

/* ---- its rows ---- */

void spool_check_begin(struct spool_scrub *scrub, const struct spool_chain *chain)
{
	scrub->in_chain = true;
	scrub->chain = chain->key;
	scrub->height = chain->known_from;
	scrub->next_height = chain->next_height;
	scrub->anchored_next = chain->anchored_next;
	scrub->stored_said =
		chain->received_blocks - chain->quarantined_blocks - chain->tombstoned_blocks;
	scrub->anchored_said = chain->anchored_blocks;
	scrub->stored = chain->forgotten_blocks;
	scrub->anchored = chain->forgotten_blocks;
	scrub->tip_said = chain->tip;
	scrub->tip_known = chain->known_from == 0;
	memset(&scrub->tip, 0, sizeof(scrub->tip)); /* The parent of block 0. */
}

static void check_end(struct txn *txn, const struct spool_chain *chain, struct spool_scrub *scrub)
{
	scrub->in_chain = false;
	scrub->chain_count++;
	if (scrub->stored != scrub->stored_said || scrub->anchored != scrub->anchored_said)
		txn_fail(txn, ZR_CORRUPT,
		         "table heights, %s: %" PRIu64 " blocks are stored and %" PRIu64
		         " anchored, but the chain says %" PRIu64 " and %" PRIu64,
		         chain->id.name, scrub->stored, scrub->anchored, scrub->stored_said,
		         scrub->anchored_said);
	if (scrub->tip_known && !hash_equal(&scrub->tip, &scrub->tip_said))
		txn_fail(txn, ZR_CORRUPT, "table chains, %s: the tip is not block %" PRIu64,
		         chain->id.name, scrub->next_height - 1);
}

static bool same_batch(const struct spool_batch_row *row, const struct spool_span *span)
{
	const struct spool_batch_info *a = &row->info, *b = &span->row.info;
	return chain_key_equal(&a->chain, &b->chain) && a->first_height == b->first_height &&
	       a->arrival == b->arrival && a->policy == b->policy && a->codec == b->codec &&
	       a->raw_size == b->raw_size && a->payload_size == b->payload_size &&
	       a->received_ms == b->received_ms && hash_equal(&a->content, &b->content) &&
	       hash_equal(&a->dictionary, &b->dictionary) &&
	       hash_equal(&row->parent, &span->row.parent) &&
	       bytes_equal(row->blocks, span->row.blocks);
}

static void check_payload(struct txn *txn, const struct spool_chain *chain,
                          const struct spool_span *span, struct spool_scrub *scrub)
{
	const struct spool_batch_info *info = &span->row.info;
	struct spool_key key = spool_key_number(info->arrival);
	struct bytes value;
	struct spool_batch_row row;
	if (!spool_get(txn, SPOOL_BATCHES, &key, &value)) {
		if (info->first_height >= chain->held_from)
			txn_fail(txn, ZR_CORRUPT, "table batches: the payload is missing");
	} else if (!spool_batch_row_decode(value, &row) || !same_batch(&row, span)) {
		spool_damaged(txn, SPOOL_BATCHES, spool_key_bytes(&key));
	} else {
		struct hash content = sha256(row.payload);
		if (info->first_height < chain->held_from)
			txn_fail(txn, ZR_CORRUPT, "table batches: a payload below %" PRIu64,
			         chain->held_from);
		if (!hash_equal(&content, &info->content))
			txn_fail(txn, ZR_CORRUPT, "table batches: the content hash is wrong");
		scrub->byte_count += row.payload.size;
	}
	if (txn_ok(txn))
		return;
	txn_wrap(txn, "%s, height %" PRIu64, chain->id.name, info->first_height);
	scrub->bad_payload = true;
	scrub->bad_chain = chain->key;
	scrub->bad_from = info->first_height;
	scrub->bad_to = spool_span_next(span) - 1;
}

bool spool_check_row(struct txn *txn, const struct spool_chain *chain, struct spool_scrub *scrub)
{
	struct spool_span span;
	uint64_t height = spool_skip_lost(txn, &chain->key, scrub->height);
	if (height != scrub->height)
		scrub->tip_known = false; /* What is lost has no hash here. */
	scrub->height = height;
	if (height >= scrub->next_height) {
		check_end(txn, chain, scrub);
		return false;
	}
	if (!spool_span_at_or_after(txn, &chain->key, height, &span) ||
	    span.row.info.first_height != height || spool_span_next(&span) > scrub->next_height) {
		scrub->in_chain = false;
		txn_wrap(txn, "%s, height %" PRIu64, chain->id.name, height);
		txn_fail(txn, ZR_CORRUPT, "table heights, %s: a hole at height %" PRIu64,
		         chain->id.name, height);
		return false;
	}
	uint32_t count = span.row.info.block_count;
	if (scrub->tip_known && !hash_equal(&span.row.parent, &scrub->tip))
		txn_fail(txn, ZR_CORRUPT, "table heights, %s: block %" PRIu64 " has another parent",
		         chain->id.name, height);
	scrub->tip = spool_span_block(&span, count - 1).hash;
	scrub->tip_known = true;
	scrub->stored += count;
	if (height < scrub->anchored_next)
		scrub->anchored += count;
	scrub->height = spool_span_next(&span);
	scrub->batch_count++;
	check_payload(txn, chain, &span, scrub);
	return txn_ok(txn);
}

/* ---- paced ---- */

static bool enter_next_chain(struct txn *txn, struct spool_scrub *scrub,
                             struct spool_chain *out_chain)
{
	struct spool_key at = spool_key_chain(&scrub->chain);
	struct bytes key, value;
	if (!txn_after(txn, SPOOL_CHAINS, spool_key_bytes(&at), &key, NULL))
		return false;
	/* Behind it before it is judged: a bad record is not met for ever. */
	if (!spool_key_chain_read(key, &scrub->chain) || !txn_get(txn, SPOOL_CHAINS, key, &value) ||
	    !spool_chain_decode(value, out_chain)) {
		spool_damaged(txn, SPOOL_CHAINS, key);
		return false;
	}
	spool_check_chain(txn, out_chain);
	spool_check_begin(scrub, out_chain);
	return txn_ok(txn);
}

/* The chain as it is now; from its beginning again if rows below were pruned meanwhile. */
static bool enter_again(struct txn *txn, struct spool_scrub *scrub, struct spool_chain *out_chain)
{
	if (!spool_read_chain(txn, &scrub->chain, out_chain)) {
		txn_fail(txn, ZR_CORRUPT, "table chains: a chain has gone");
		scrub->in_chain = false;
		return false;
	}
	if (out_chain->known_from > scrub->height)
		spool_check_begin(scrub, out_chain);
	return true;
}

static void begin_round(struct spool_scrub *scrub)
{
	uint64_t round = scrub->round + 1;
	*scrub = SPOOL_SCRUB_BEGIN;
	scrub->round = round;
}

bool spool_scrub_slice(struct spool *spool, struct spool_scrub *scrub,
                       const struct spool_scrub_limits *limits, struct err *err)
{
	struct txn txn;
	struct spool_chain chain;
	uint64_t byte_end = scrub->byte_count + limits->byte_max;
	txn_begin(&txn, spool->store, TXN_READ);
	scrub->bad_payload = false;
	bool more = txn_ok(&txn) && (!scrub->in_chain || enter_again(&txn, scrub, &chain));
	for (uint32_t row = 0; more && row < limits->row_max && scrub->byte_count < byte_end;
	     row++) {
		if (scrub->in_chain)
			(void)spool_check_row(&txn, &chain, scrub);
		else
			more = enter_next_chain(&txn, scrub, &chain);
		more = more && txn_ok(&txn);
	}
	bool at_end = !more && txn_ok(&txn) && !scrub->in_chain;
	if (!txn_commit(&txn, err))
		return err_wrap(err, "spool");
	if (at_end)
		begin_round(scrub);
	return true;
}
