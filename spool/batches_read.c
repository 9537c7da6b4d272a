/* Batches on their way out: spans of heights, payloads, headers, and what is pending. */
#include <inttypes.h>
#include <string.h>

#include "spool/spool_private.h"

/* ---- spans: rows of table heights ---- */

static bool take_span(struct txn *txn, const struct chain_key *chain, struct bytes key,
                      struct bytes value, struct spool_span *out_span)
{
	struct chain_key owner;
	uint64_t first_height;
	if (!spool_key_height_read(key, &owner, &first_height)) {
		spool_damaged(txn, SPOOL_HEIGHTS, key);
		return false;
	}
	if (!chain_key_equal(&owner, chain))
		return false;
	if (!spool_heights_decode(value, &out_span->row) || first_height > SPOOL_HEIGHT_MAX) {
		spool_damaged(txn, SPOOL_HEIGHTS, key);
		return false;
	}
	out_span->row.info.chain = *chain;
	out_span->row.info.first_height = first_height;
	return true;
}

bool spool_span_at_or_after(struct txn *txn, const struct chain_key *chain, uint64_t from,
                            struct spool_span *out_span)
{
	struct spool_key at = spool_key_height(chain, from);
	struct bytes key, value;
	return txn_at_or_after(txn, SPOOL_HEIGHTS, spool_key_bytes(&at), &key, &value) &&
	       take_span(txn, chain, key, value, out_span);
}

bool spool_span_before(struct txn *txn, const struct chain_key *chain, uint64_t height,
                       struct spool_span *out_span)
{
	struct spool_key at = spool_key_height(chain, height);
	struct bytes key, value;
	return txn_before(txn, SPOOL_HEIGHTS, spool_key_bytes(&at), &key, &value) &&
	       take_span(txn, chain, key, value, out_span);
}

bool spool_span_with(struct txn *txn, const struct chain_key *chain, uint64_t height,
                     struct spool_span *out_span)
{
	return height <= SPOOL_HEIGHT_MAX && spool_span_before(txn, chain, height + 1, out_span) &&
	       spool_span_next(out_span) > height;
}

uint64_t spool_span_next(const struct spool_span *span)
{
	return spool_batch_next(&span->row.info);
}

struct block_header spool_span_block(const struct spool_span *span, uint32_t index)
{
	return spool_block_at(span->row.blocks, &span->row.parent, span->row.info.first_height,
	                      index);
}

static struct spool_batch_info info_of(struct txn *txn, const struct spool_span *span)
{
	struct spool_batch_info info = span->row.info;
	struct spool_key key = spool_key_number(info.arrival);
	info.held = txn_has(txn, SPOOL_BATCHES, spool_key_bytes(&key));
	return info;
}

/* ---- one batch ---- */

bool spool_batch_info(struct spool *spool, const struct chain_key *chain, uint64_t height,
                      struct spool_batch_info *out_info, struct err *err)
{
	struct txn txn;
	struct spool_span span;
	struct spool_batch_info info;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_span_with(&txn, chain, height, &span);
	if (found)
		info = info_of(&txn, &span);
	if (!spool_end_read(&txn, found, "no batch is known for that height", err))
		return false;
	*out_info = info;
	return true;
}

bool spool_batches_page(struct spool *spool, const struct chain_key *chain, uint64_t from,
                        struct spool_batch_info *out_infos, size_t count_max, size_t *out_count,
                        struct err *err)
{
	struct txn txn;
	struct spool_span span;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	bool more = spool_span_with(&txn, chain, from, &span) ||
	            spool_span_at_or_after(&txn, chain, from, &span);
	while (more && count < count_max) {
		out_infos[count++] = info_of(&txn, &span);
		more = spool_span_at_or_after(&txn, chain, spool_span_next(&span), &span);
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

static bool read_payload(struct txn *txn, const struct spool_batch_info *info,
                         struct buffer *out_payload)
{
	struct spool_key key = spool_key_number(info->arrival);
	struct bytes value;
	struct spool_batch_row row;
	if (!spool_get(txn, SPOOL_BATCHES, &key, &value))
		return false;
	if (!spool_batch_row_decode(value, &row) ||
	    !chain_key_equal(&row.info.chain, &info->chain) ||
	    row.info.first_height != info->first_height || row.info.arrival != info->arrival ||
	    !hash_equal(&row.info.content, &info->content)) {
		spool_damaged(txn, SPOOL_BATCHES, spool_key_bytes(&key));
		return false;
	}
	buffer_put(out_payload, row.payload);
	return true;
}

bool spool_batch_payload(struct spool *spool, const struct chain_key *chain, uint64_t height,
                         struct spool_batch_info *out_info, struct buffer *out_payload,
                         struct err *err)
{
	struct txn txn;
	struct spool_span span;
	struct spool_batch_info info = { .arrival = 0 };
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_span_with(&txn, chain, height, &span);
	if (found) {
		info = info_of(&txn, &span);
		found = info.held && read_payload(&txn, &info, out_payload);
	}
	if (!spool_end_read(&txn, found,
	                    info.arrival == 0 ? "no batch is known for that height"
	                                      : "that batch was pruned",
	                    err))
		return err_wrap(err, "height %" PRIu64, height);
	if (!buffer_ok(out_payload, err))
		return false;
	*out_info = info;
	return true;
}

/* ---- headers ---- */

bool spool_headers(struct spool *spool, const struct spool_range *range,
                   struct block_header *out_headers, size_t count_max, size_t *out_count,
                   struct err *err)
{
	struct txn txn;
	struct spool_span span;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	bool more = spool_span_with(&txn, &range->chain, range->from, &span) ||
	            spool_span_at_or_after(&txn, &range->chain, range->from, &span);
	while (more && count < count_max && span.row.info.first_height <= range->to) {
		uint64_t first = span.row.info.first_height;
		uint32_t index = range->from > first ? (uint32_t)(range->from - first) : 0;
		for (; index < span.row.info.block_count && first + index <= range->to &&
		       count < count_max;
		     index++)
			out_headers[count++] = spool_span_block(&span, index);
		more = spool_span_at_or_after(&txn, &range->chain, spool_span_next(&span), &span);
	}
	if (!spool_end_read(&txn, count > 0, "no headers are known there", err))
		return false;
	*out_count = count;
	return true;
}

bool spool_header(struct spool *spool, const struct chain_key *chain, uint64_t height,
                  struct block_header *out_header, struct err *err)
{
	struct spool_range range = { *chain, height, height };
	size_t count;
	return spool_headers(spool, &range, out_header, 1, &count, err);
}

/* ---- what is pending ---- */

bool spool_pending_page(struct spool *spool, const struct spool_pending_query *query,
                        struct spool_pending *out_pending, size_t count_max, size_t *out_count,
                        struct err *err)
{
	static const struct chain_key none;
	struct spool_key at = spool_key_pending(query->sink, query->class,
	                                        query->after != NULL ? query->after : &none);
	struct txn txn;
	struct bytes key, value;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	while (count < count_max &&
	       txn_after(&txn, SPOOL_PENDING, spool_key_bytes(&at), &key, &value)) {
		uint8_t sink, class;
		struct spool_pending *pending = &out_pending[count];
		if (!spool_key_pending_read(key, &sink, &class, &pending->chain) ||
		    !spool_u64_decode(value, &pending->from)) {
			spool_damaged(&txn, SPOOL_PENDING, key);
			break;
		}
		if (sink != query->sink || class != query->class)
			break;
		memcpy(at.bytes, key.data, key.size);
		count++;
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

static void extend_run(struct spool_run *run, const struct spool_span *span)
{
	run->to = spool_span_next(span) - 1;
	run->tip = spool_span_block(span, span->row.info.block_count - 1).hash;
	run->batch_count++;
	run->block_count += span->row.info.block_count;
	run->payload_bytes += span->row.info.payload_size;
}

bool spool_pending_run(struct spool *spool, const struct chain_key *chain, uint64_t block_max,
                       uint64_t payload_max_bytes, struct spool_run *out_run, struct err *err)
{
	struct txn txn;
	struct spool_chain row;
	struct spool_span span;
	struct spool_run run = { .batch_count = 0 };
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_read_chain(&txn, chain, &row) && !row.delivery_held &&
	             row.pending_from < row.next_height &&
	             spool_span_at_or_after(&txn, chain, row.pending_from, &span);
	if (found) {
		run.from = span.row.info.first_height;
		run.policy = span.row.info.policy;
		extend_run(&run, &span);
	}
	while (found && spool_span_at_or_after(&txn, chain, run.to + 1, &span) &&
	       span.row.info.first_height == run.to + 1 && span.row.info.policy == run.policy &&
	       run.block_count + span.row.info.block_count <= block_max &&
	       run.payload_bytes + span.row.info.payload_size <= payload_max_bytes)
		extend_run(&run, &span);
	if (found && run.from != row.pending_from)
		txn_fail(&txn, ZR_CORRUPT, "%s: no batch begins at height %" PRIu64, row.id.name,
		         row.pending_from);
	if (!spool_end_read(&txn, found, "nothing is pending", err))
		return false;
	*out_run = run;
	return true;
}
