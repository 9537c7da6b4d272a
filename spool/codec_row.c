/* Values of all other tables; docs/SPOOL-FORMAT.md lists their fields in this order. */
#include <stdlib.h>
#include <string.h>

#include "spool/codec.h"

void spool_text_copy(char *out, size_t size, const char *text)
{
	size_t length = text == NULL ? 0 : strnlen(text, size - 1);
	if (length > 0)
		memcpy(out, text, length);
	out[length] = '\0';
}

static void put_text(struct buffer *out, const char *text)
{
	buffer_put_short(out, bytes_of_string(text));
}

/* Fails the reader where the text is too long or has a zero inside. */
static void read_text(struct reader *reader, char *out, size_t size)
{
	struct bytes bytes = reader_short(reader);
	if (bytes.size >= size || (bytes.size > 0 && memchr(bytes.data, 0, bytes.size) != NULL)) {
		reader->failed = true;
		bytes.size = 0;
	}
	if (bytes.size > 0)
		memcpy(out, bytes.data, bytes.size);
	out[bytes.size] = '\0';
}

static void read_array(struct reader *reader, uint8_t *out, size_t size)
{
	struct bytes bytes = reader_bytes(reader, size);
	if (bytes.size == size)
		memcpy(out, bytes.data, size);
}

static bool read_flag(struct reader *reader)
{
	uint8_t flag = reader_u8(reader);
	if (flag > 1)
		reader->failed = true;
	return flag == 1;
}

/* A number from low to high, or the reader fails. */
static unsigned read_choice(struct reader *reader, unsigned low, unsigned high)
{
	uint8_t choice = reader_u8(reader);
	if (choice < low || choice > high) {
		reader->failed = true;
		return low;
	}
	return choice;
}

bool spool_u64_decode(struct bytes value, uint64_t *out_number)
{
	struct reader reader = reader_of(value);
	uint64_t number = reader_u64(&reader);
	if (!reader_done(&reader))
		return false;
	*out_number = number;
	return true;
}

/* ---- chains ---- */

void spool_chain_encode(const struct spool_chain *chain, struct buffer *out)
{
	put_text(out, chain->id.name);
	buffer_put_hash(out, &chain->id.epoch);
	put_text(out, chain->format);
	buffer_put_u8(out, (uint8_t)chain->state);
	put_text(out, chain->state_reason);
	put_text(out, chain->state_who);
	buffer_put_u64(out, (uint64_t)chain->state_since_ms);
	buffer_put_u8(out, chain->delivery_held);
	buffer_put_u8(out, chain->sink);
	buffer_put_u8(out, chain->class);
	buffer_put_u64(out, (uint64_t)chain->added_ms);
	const uint64_t numbers[] = { chain->first_height,       chain->next_height,
		                     chain->pending_from,       chain->anchored_next,
		                     chain->anchored_floor,     chain->held_from,
		                     chain->known_from,         chain->trust_from,
		                     chain->received_blocks,    chain->duplicate_blocks,
		                     chain->quarantined_blocks, chain->tombstoned_blocks,
		                     chain->anchored_blocks,    chain->forgotten_blocks,
		                     chain->lost_heights,       chain->held_batches,
		                     chain->held_bytes,         chain->quarantine_count,
		                     chain->quarantine_bytes,   chain->quarantine_dropped_blocks };
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		buffer_put_u64(out, numbers[i]);
	buffer_put_hash(out, &chain->tip);
	buffer_put_hash(out, &chain->quarantine_dropped_hash);
	buffer_put_u64(out, (uint64_t)chain->last_received_ms);
}

static void read_chain_numbers(struct reader *reader, struct spool_chain *chain)
{
	uint64_t quarantine_count;
	uint64_t *const numbers[] = {
		&chain->first_height,       &chain->next_height,
		&chain->pending_from,       &chain->anchored_next,
		&chain->anchored_floor,     &chain->held_from,
		&chain->known_from,         &chain->trust_from,
		&chain->received_blocks,    &chain->duplicate_blocks,
		&chain->quarantined_blocks, &chain->tombstoned_blocks,
		&chain->anchored_blocks,    &chain->forgotten_blocks,
		&chain->lost_heights,       &chain->held_batches,
		&chain->held_bytes,         &quarantine_count,
		&chain->quarantine_bytes,   &chain->quarantine_dropped_blocks
	};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		*numbers[i] = reader_u64(reader);
	if (quarantine_count > UINT32_MAX)
		reader->failed = true;
	chain->quarantine_count = (uint32_t)quarantine_count;
}

bool spool_chain_decode(struct bytes value, struct spool_chain *out_chain)
{
	struct spool_chain chain = { .sink = 0 };
	struct reader reader = reader_of(value);
	read_text(&reader, chain.id.name, sizeof(chain.id.name));
	chain.id.epoch = reader_hash(&reader);
	read_text(&reader, chain.format, sizeof(chain.format));
	chain.state = read_choice(&reader, SPOOL_CHAIN_ACTIVE, SPOOL_CHAIN_RESTORED);
	read_text(&reader, chain.state_reason, sizeof(chain.state_reason));
	read_text(&reader, chain.state_who, sizeof(chain.state_who));
	chain.state_since_ms = (int64_t)reader_u64(&reader);
	chain.delivery_held = read_flag(&reader);
	chain.sink = reader_u8(&reader);
	chain.class = reader_u8(&reader);
	chain.added_ms = (int64_t)reader_u64(&reader);
	read_chain_numbers(&reader, &chain);
	chain.tip = reader_hash(&reader);
	chain.quarantine_dropped_hash = reader_hash(&reader);
	chain.last_received_ms = (int64_t)reader_u64(&reader);
	if (!reader_done(&reader))
		return false;
	chain.key = chain_key(&chain.id);
	*out_chain = chain;
	return true;
}

/* ---- anchors ---- */

void spool_anchor_encode(const struct spool_anchor *anchor, struct buffer *out)
{
	buffer_put_u8(out, (uint8_t)anchor->state);
	buffer_put_u8(out, (uint8_t)anchor->alg);
	buffer_put_u8(out, (uint8_t)anchor->deliver);
	buffer_put_u8(out, anchor->ever_sent);
	buffer_put_hash(out, &anchor->previous);
	buffer_put_hash(out, &anchor->root);
	buffer_put_hash(out, &anchor->key);
	buffer_put_u32(out, anchor->entry_count);
	buffer_put_u64(out, anchor->block_count);
	buffer_put_u64(out, anchor->payload_bytes);
	buffer_put_u64(out, (uint64_t)anchor->created_ms);
	buffer_put_u32(out, anchor->attempts);
	buffer_put_u64(out, (uint64_t)anchor->next_try_ms);
	buffer_put_u64(out, anchor->sent_at_height);
	buffer_put_u64(out, (uint64_t)anchor->final_ms);
	put_text(out, anchor->detail);
}

bool spool_anchor_decode(struct bytes value, struct spool_anchor *out_anchor)
{
	struct spool_anchor anchor = { .entry_count = 0 };
	struct reader reader = reader_of(value);
	anchor.state = read_choice(&reader, SPOOL_ANCHOR_INTENT, SPOOL_ANCHOR_FINAL);
	anchor.alg = read_choice(&reader, HASH_SHA256, HASH_SM3);
	anchor.deliver = read_choice(&reader, DELIVER_ANCHOR, DELIVER_FULL);
	anchor.ever_sent = read_flag(&reader);
	anchor.previous = reader_hash(&reader);
	anchor.root = reader_hash(&reader);
	anchor.key = reader_hash(&reader);
	anchor.entry_count = reader_u32(&reader);
	anchor.block_count = reader_u64(&reader);
	anchor.payload_bytes = reader_u64(&reader);
	anchor.created_ms = (int64_t)reader_u64(&reader);
	anchor.attempts = reader_u32(&reader);
	anchor.next_try_ms = (int64_t)reader_u64(&reader);
	anchor.sent_at_height = reader_u64(&reader);
	anchor.final_ms = (int64_t)reader_u64(&reader);
	read_text(&reader, anchor.detail, sizeof(anchor.detail));
	if (!reader_done(&reader))
		return false;
	*out_anchor = anchor;
	return true;
}

void spool_entries_encode(const struct entry *entries, size_t count, struct buffer *out)
{
	struct buffer record = BUFFER_EMPTY;
	buffer_put_u32(out, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		buffer_clear(&record);
		entry_record_encode(&entries[i], &record);
		if (record.failed)
			out->failed = true;
		else
			buffer_put_short(out, buffer_bytes(&record));
	}
	buffer_fini(&record);
}

#define ENTRY_RECORD_SIZE_MIN (4 + 1 + 1 + 32 + 8 + 8 + 32 + 1 + 32)

bool spool_entries_decode(struct bytes value, struct entry **out_entries, size_t *out_count,
                          struct err *err)
{
	struct reader reader = reader_of(value);
	struct entry *entries = NULL;
	size_t count = reader_u32(&reader);
	if (reader.failed || count > value.size / ENTRY_RECORD_SIZE_MIN)
		goto fail;
	if (count > 0) {
		entries = calloc(count, sizeof(*entries));
		if (entries == NULL)
			return err_set(err, ZR_NO_MEMORY, "%zu entries", count);
	}
	for (size_t i = 0; i < count; i++) {
		struct err ignored;
		if (!entry_record_decode(reader_short(&reader), &entries[i], &ignored))
			goto fail;
	}
	if (!reader_done(&reader))
		goto fail;
	*out_entries = entries;
	*out_count = count;
	return true;

fail:
	free(entries);
	return err_set(err, ZR_CORRUPT, "not a list of entries");
}

void spool_coverage_encode(const struct spool_coverage_row *row, struct buffer *out)
{
	buffer_put_u16(out, row->lane);
	buffer_put_u64(out, row->seq);
	buffer_put_u32(out, row->entry_index);
	buffer_put_u64(out, row->from);
}

bool spool_coverage_decode(struct bytes value, struct spool_coverage_row *out_row)
{
	struct reader reader = reader_of(value);
	struct spool_coverage_row row = { .lane = reader_u16(&reader) };
	row.seq = reader_u64(&reader);
	row.entry_index = reader_u32(&reader);
	row.from = reader_u64(&reader);
	if (!reader_done(&reader))
		return false;
	*out_row = row;
	return true;
}

void spool_receipt_encode(const struct spool_receipt *receipt, struct buffer *out)
{
	buffer_put_u64(out, (uint64_t)receipt->final_ms);
	buffer_put_short(out, receipt->key_id);
	buffer_put_short(out, receipt->signature);
	buffer_put_long(out, receipt->evidence);
}

bool spool_receipt_decode(struct bytes value, struct spool_receipt *out_receipt)
{
	struct reader reader = reader_of(value);
	struct spool_receipt receipt = { .final_ms = (int64_t)reader_u64(&reader) };
	receipt.key_id = reader_short(&reader);
	receipt.signature = reader_short(&reader);
	receipt.evidence = reader_long(&reader);
	if (!reader_done(&reader))
		return false;
	*out_receipt = receipt;
	return true;
}

/* ---- quarantine, tombstones, evidence ---- */

void spool_suspect_encode(const struct spool_suspect *suspect, struct buffer *out)
{
	char reason[SPOOL_SUSPECT_REASON_MAX + 1], detail[SPOOL_REASON_MAX + 1];
	char agent[SPOOL_AGENT_MAX + 1];
	spool_text_copy(reason, sizeof(reason), suspect->reason);
	spool_text_copy(detail, sizeof(detail), suspect->detail);
	spool_text_copy(agent, sizeof(agent), suspect->agent);
	bool has_dictionary = !hash_is_zero(&suspect->dictionary);

	buffer_put(out, BYTES_OF(suspect->chain));
	put_text(out, reason);
	put_text(out, detail);
	buffer_put_u64(out, suspect->first_height);
	buffer_put_u64(out, suspect->bad_height);
	buffer_put_u32(out, suspect->block_count);
	buffer_put_u8(out, (uint8_t)suspect->codec);
	buffer_put_short(out, has_dictionary ? BYTES_OF(suspect->dictionary) : BYTES_NONE);
	buffer_put_hash(out, &suspect->content);
	buffer_put_u32(out, suspect->raw_size);
	buffer_put_u64(out, (uint64_t)suspect->received_ms);
	put_text(out, agent);
	buffer_put_long(out, suspect->payload);
}

bool spool_suspect_decode(struct bytes value, struct spool_suspect_info *out_info,
                          struct bytes *out_payload)
{
	struct spool_suspect_info info = { .number = 0 };
	struct reader reader = reader_of(value);
	read_array(&reader, info.chain.bytes, CHAIN_KEY_SIZE);
	read_text(&reader, info.reason, sizeof(info.reason));
	read_text(&reader, info.detail, sizeof(info.detail));
	info.first_height = reader_u64(&reader);
	info.bad_height = reader_u64(&reader);
	info.block_count = reader_u32(&reader);
	info.codec = read_choice(&reader, CODEC_NONE, CODEC_ZSTD);
	struct bytes dictionary = reader_short(&reader);
	if (dictionary.size > 0 &&
	    (!hash_from_bytes(&info.dictionary, dictionary) || hash_is_zero(&info.dictionary)))
		return false;
	info.content = reader_hash(&reader);
	info.raw_size = reader_u32(&reader);
	info.received_ms = (int64_t)reader_u64(&reader);
	read_text(&reader, info.agent, sizeof(info.agent));
	struct bytes payload = reader_long(&reader);
	if (!reader_done(&reader) || info.block_count == 0)
		return false;
	info.payload_size = (uint32_t)payload.size;
	*out_info = info;
	*out_payload = payload;
	return true;
}

void spool_tombstone_encode(const struct spool_tombstone *tombstone, struct buffer *out)
{
	buffer_put_u8(out, (uint8_t)tombstone->kind);
	buffer_put_u64(out, tombstone->to);
	buffer_put_u64(out, tombstone->block_count);
	buffer_put_hash(out, &tombstone->hash);
	put_text(out, tombstone->who);
	put_text(out, tombstone->why);
	buffer_put_u64(out, (uint64_t)tombstone->time_ms);
}

bool spool_tombstone_decode(struct bytes value, struct spool_tombstone *out_tombstone)
{
	struct spool_tombstone tombstone = { .number = 0 };
	struct reader reader = reader_of(value);
	tombstone.kind = read_choice(&reader, SPOOL_TOMBSTONE_REJECTED, SPOOL_TOMBSTONE_CUT);
	tombstone.to = reader_u64(&reader);
	tombstone.block_count = reader_u64(&reader);
	tombstone.hash = reader_hash(&reader);
	read_text(&reader, tombstone.who, sizeof(tombstone.who));
	read_text(&reader, tombstone.why, sizeof(tombstone.why));
	tombstone.time_ms = (int64_t)reader_u64(&reader);
	if (!reader_done(&reader))
		return false;
	*out_tombstone = tombstone;
	return true;
}

void spool_evidence_encode(const struct spool_evidence *evidence, struct bytes bundle,
                           struct buffer *out)
{
	buffer_put(out, BYTES_OF(evidence->chain));
	buffer_put_u64(out, evidence->height);
	buffer_put_hash(out, &evidence->ours);
	buffer_put_hash(out, &evidence->theirs);
	buffer_put_u64(out, (uint64_t)evidence->time_ms);
	put_text(out, evidence->agent);
	buffer_put_long(out, bundle);
}

bool spool_evidence_decode(struct bytes value, struct spool_evidence *out_evidence,
                           struct bytes *out_bundle)
{
	struct spool_evidence evidence = { .number = 0 };
	struct reader reader = reader_of(value);
	read_array(&reader, evidence.chain.bytes, CHAIN_KEY_SIZE);
	evidence.height = reader_u64(&reader);
	evidence.ours = reader_hash(&reader);
	evidence.theirs = reader_hash(&reader);
	evidence.time_ms = (int64_t)reader_u64(&reader);
	read_text(&reader, evidence.agent, sizeof(evidence.agent));
	struct bytes bundle = reader_long(&reader);
	if (!reader_done(&reader))
		return false;
	*out_evidence = evidence;
	*out_bundle = bundle;
	return true;
}

/* ---- audit ---- */

#define AUDIT_MAGIC "ZRu1"

void spool_audit_encode(const struct spool_audit *audit, const struct hash *previous,
                        struct buffer *out)
{
	buffer_put(out, BYTES_LITERAL(AUDIT_MAGIC));
	buffer_put_hash(out, previous);
	buffer_put_u64(out, audit->number);
	buffer_put_u64(out, (uint64_t)audit->time_ms);
	buffer_put(out, (struct bytes){ audit->request_id, SPOOL_REQUEST_ID_SIZE });
	buffer_put_long(out, bytes_of_string(audit->who));
	buffer_put_long(out, bytes_of_string(audit->verb));
	buffer_put_long(out, bytes_of_string(audit->reason));
	buffer_put_long(out, bytes_of_string(audit->result));
}

bool spool_audit_decode(struct bytes value, struct spool_audit_row *out_row)
{
	struct spool_audit_row row = { .number = 0 };
	struct reader reader = reader_of(value);
	struct bytes magic = reader_bytes(&reader, sizeof(AUDIT_MAGIC) - 1);
	row.previous = reader_hash(&reader);
	row.number = reader_u64(&reader);
	row.time_ms = (int64_t)reader_u64(&reader);
	read_array(&reader, row.request_id, SPOOL_REQUEST_ID_SIZE);
	struct bytes *const texts[] = { &row.who, &row.verb, &row.reason, &row.result };
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		*texts[i] = reader_long(&reader);
		if (texts[i]->size > 0 && memchr(texts[i]->data, 0, texts[i]->size) != NULL)
			return false;
	}
	if (!reader_done(&reader) || !bytes_equal(magic, BYTES_LITERAL(AUDIT_MAGIC)))
		return false;
	*out_row = row;
	return true;
}

/* ---- totals ---- */

void spool_totals_encode(const struct spool_totals *totals, struct buffer *out)
{
	const uint64_t numbers[] = {
		totals->commit_number,     totals->arrival_next,     totals->chain_count,
		totals->held_batches,      totals->held_bytes,       totals->final_bytes,
		totals->received_blocks,   totals->duplicate_blocks, totals->quarantined_blocks,
		totals->tombstoned_blocks, totals->anchored_blocks,  totals->anchor_count,
		totals->quarantine_bytes,  totals->quarantine_next,  totals->evidence_next,
		totals->tombstone_next,    totals->audit_next,       (uint64_t)totals->restored_ms
	};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		buffer_put_u64(out, numbers[i]);
	buffer_put_hash(out, &totals->audit_head);
}

bool spool_totals_decode(struct bytes value, struct spool_totals *out_totals)
{
	struct spool_totals totals = { .commit_number = 0 };
	struct reader reader = reader_of(value);
	uint64_t *const numbers[] = {
		&totals.commit_number,     &totals.arrival_next,     &totals.chain_count,
		&totals.held_batches,      &totals.held_bytes,       &totals.final_bytes,
		&totals.received_blocks,   &totals.duplicate_blocks, &totals.quarantined_blocks,
		&totals.tombstoned_blocks, &totals.anchored_blocks,  &totals.anchor_count,
		&totals.quarantine_bytes,  &totals.quarantine_next,  &totals.evidence_next,
		&totals.tombstone_next,    &totals.audit_next
	};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		*numbers[i] = reader_u64(&reader);
	totals.restored_ms = (int64_t)reader_u64(&reader);
	totals.audit_head = reader_hash(&reader);
	if (!reader_done(&reader))
		return false;
	*out_totals = totals;
	return true;
}
