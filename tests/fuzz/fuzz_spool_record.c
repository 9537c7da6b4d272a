/* Every value of the spool: what is accepted is exactly what encoding gives. The first byte is the
 * table, as in the checksum of a row. Rows of table batches also come from raw pages (salvage). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct buffer *again, struct bytes value)
{
	assert(!again->failed);
	assert(bytes_equal(buffer_bytes(again), value));
}

static void try_batch(struct bytes value, struct buffer *again)
{
	struct spool_batch_row row;
	size_t row_size = spool_batch_row_size(value);
	if (!spool_batch_row_decode(value, &row))
		return;
	assert(row_size == value.size);
	struct block_header *headers = calloc(row.info.block_count, sizeof(*headers));
	if (headers == NULL)
		return;
	for (uint32_t i = 0; i < row.info.block_count; i++)
		headers[i] = spool_block_at(row.blocks, &row.parent, row.info.first_height, i);
	struct spool_batch batch = { .headers = headers,
		                     .block_count = row.info.block_count,
		                     .policy = row.info.policy,
		                     .codec = row.info.codec,
		                     .dictionary = row.info.dictionary,
		                     .content = row.info.content,
		                     .raw_size = row.info.raw_size,
		                     .payload = row.payload,
		                     .received_ms = row.info.received_ms,
		                     .agent = row.agent };
	struct spool_chain chain = { .id = row.id };
	memcpy(chain.format, row.format, sizeof(chain.format));
	spool_batch_header_encode(&batch, &chain, row.info.arrival, again);
	buffer_put(again, row.payload);
	same(again, value);

	/* And the row of heights that belongs to it. */
	struct spool_heights_row heights;
	buffer_clear(again);
	spool_heights_of_row(&row, again);
	assert(spool_heights_decode(buffer_bytes(again), &heights));
	assert(heights.info.block_count == row.info.block_count);
	free(headers);
}

static void try_heights(struct bytes value, struct buffer *again)
{
	struct spool_heights_row row;
	if (!spool_heights_decode(value, &row))
		return;
	struct spool_batch_row batch = { .info = row.info,
		                         .parent = row.parent,
		                         .blocks = row.blocks };
	spool_heights_of_row(&batch, again);
	same(again, value);
}

static void try_anchor(struct bytes value, struct buffer *again)
{
	struct spool_anchor anchor;
	if (spool_anchor_decode(value, &anchor)) {
		spool_anchor_encode(&anchor, again);
		same(again, value);
	}
}

static void try_entries(struct bytes value, struct buffer *again)
{
	struct entry *entries;
	size_t count;
	struct err err;
	if (spool_entries_decode(value, &entries, &count, &err)) {
		spool_entries_encode(entries, count, again);
		same(again, value);
		free(entries);
	}
}

static void try_chain(struct bytes value, struct buffer *again)
{
	struct spool_chain chain;
	if (spool_chain_decode(value, &chain)) {
		spool_chain_encode(&chain, again);
		same(again, value);
	}
}

static void try_coverage(struct bytes value, struct buffer *again)
{
	struct spool_coverage_row row;
	if (spool_coverage_decode(value, &row)) {
		spool_coverage_encode(&row, again);
		same(again, value);
	}
}

static void try_receipt(struct bytes value, struct buffer *again)
{
	struct spool_receipt receipt;
	if (spool_receipt_decode(value, &receipt)) {
		spool_receipt_encode(&receipt, again);
		same(again, value);
	}
}

static void try_suspect(struct bytes value, struct buffer *again)
{
	struct spool_suspect_info info;
	struct bytes payload;
	if (!spool_suspect_decode(value, &info, &payload))
		return;
	struct spool_suspect suspect = { .chain = info.chain,
		                         .reason = info.reason,
		                         .detail = info.detail,
		                         .first_height = info.first_height,
		                         .bad_height = info.bad_height,
		                         .block_count = info.block_count,
		                         .codec = info.codec,
		                         .dictionary = info.dictionary,
		                         .content = info.content,
		                         .payload = payload,
		                         .raw_size = info.raw_size,
		                         .received_ms = info.received_ms,
		                         .agent = info.agent };
	spool_suspect_encode(&suspect, again);
	same(again, value);
}

static void try_evidence(struct bytes value, struct buffer *again)
{
	struct spool_evidence evidence;
	struct bytes bundle;
	if (spool_evidence_decode(value, &evidence, &bundle)) {
		spool_evidence_encode(&evidence, bundle, again);
		same(again, value);
	}
}

static void try_tombstone(struct bytes value, struct buffer *again)
{
	struct spool_tombstone tombstone;
	if (spool_tombstone_decode(value, &tombstone)) {
		spool_tombstone_encode(&tombstone, again);
		same(again, value);
	}
}

static char *text_of(struct bytes bytes)
{
	char *text = calloc(1, bytes.size + 1);
	if (text == NULL)
		abort();
	if (bytes.size > 0)
		memcpy(text, bytes.data, bytes.size);
	return text;
}

static void try_audit(struct bytes value, struct buffer *again)
{
	struct spool_audit_row row;
	if (!spool_audit_decode(value, &row))
		return;
	char *who = text_of(row.who), *verb = text_of(row.verb);
	char *reason = text_of(row.reason), *result = text_of(row.result);
	struct spool_audit audit = { row.number, row.time_ms, who, verb, reason, result, { 0 } };
	memcpy(audit.request_id, row.request_id, SPOOL_REQUEST_ID_SIZE);
	spool_audit_encode(&audit, &row.previous, again);
	same(again, value);
	free(who);
	free(verb);
	free(reason);
	free(result);
}

static void try_totals(struct bytes value, struct buffer *again)
{
	struct spool_totals totals;
	if (spool_totals_decode(value, &totals)) {
		spool_totals_encode(&totals, again);
		same(again, value);
	}
}

static void (*const tries[SPOOL_TABLE_COUNT])(struct bytes value, struct buffer *again) = {
	[SPOOL_BATCHES] = try_batch,     [SPOOL_HEIGHTS] = try_heights,
	[SPOOL_CHAINS] = try_chain,      [SPOOL_ANCHORS] = try_anchor,
	[SPOOL_ENTRIES] = try_entries,   [SPOOL_COVERAGE] = try_coverage,
	[SPOOL_RECEIPTS] = try_receipt,  [SPOOL_QUARANTINE] = try_suspect,
	[SPOOL_EVIDENCE] = try_evidence, [SPOOL_TOMBSTONES] = try_tombstone,
	[SPOOL_AUDIT] = try_audit,       [SPOOL_META] = try_totals,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	const struct bytes value = { data + 1, size - 1 };
	unsigned table = data[0] % SPOOL_TABLE_COUNT;
	struct buffer again = BUFFER_EMPTY;
	if (tries[table] != NULL)
		tries[table](value, &again);
	buffer_fini(&again);
	return 0;
}
