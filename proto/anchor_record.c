/* Anchor content, "ZRa1": everything the main chain is given for one anchor, in one piece.
 *
 *     magic 4, alg u8, deliver u8, lane u16, seq u64, previous 32, root 32
 *     u32 count, then each entry: u16 size, entry record
 *     u32 count, then each header record: 120
 *     u32 count, then each batch: content 32, size u64, dictionary 32
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/record.h"

#define FIXED_SIZE         (4 + 1 + 1 + 2 + 8 + 2 * HASH_SIZE)
#define COUNTS_SIZE        (3 * 4)
#define ENTRY_SIZE_NO_NAME (ENTRY_RECORD_SIZE_MAX - CHAIN_NAME_MAX)
#define BATCH_SIZE         (HASH_SIZE + 8 + HASH_SIZE)

static const char magic_bytes[] = "ZRa1";

struct hash anchor_entries_root(enum hash_alg alg, const struct entry *entries, size_t count)
{
	struct merkle_builder builder;
	merkle_builder_init(&builder, alg);
	for (size_t i = 0; i < count; i++) {
		struct hash leaf = entry_leaf(alg, &entries[i]);
		merkle_builder_add(&builder, &leaf);
	}
	return merkle_builder_root(&builder);
}

uint64_t anchor_content_size(const struct anchor *anchor)
{
	uint64_t size = FIXED_SIZE + COUNTS_SIZE;
	for (size_t i = 0; i < anchor->entry_count; i++)
		size += 2 + ENTRY_SIZE_NO_NAME + strlen(anchor->entries[i].chain.name);
	size += (uint64_t)anchor->header_count * HEADER_RECORD_SIZE;
	size += (uint64_t)anchor->batch_count * BATCH_SIZE;
	return size;
}

static void put_entry(struct buffer *out, const struct entry *entry)
{
	buffer_put_u16(out, (uint16_t)(ENTRY_SIZE_NO_NAME + strlen(entry->chain.name)));
	entry_record_encode(entry, out);
}

void anchor_content_encode(const struct anchor *anchor, struct buffer *out)
{
	assert(anchor->entry_count > 0 && anchor->entry_count <= ANCHOR_ENTRIES_MAX);
	assert(anchor->header_count <= ANCHOR_HEADERS_MAX);
	assert(anchor->batch_count <= ANCHOR_BATCHES_MAX);

	buffer_put(out, (struct bytes){ (const uint8_t *)magic_bytes, 4 });
	buffer_put_u8(out, (uint8_t)anchor->alg);
	buffer_put_u8(out, (uint8_t)anchor->deliver);
	buffer_put_u16(out, anchor->lane);
	buffer_put_u64(out, anchor->seq);
	buffer_put_hash(out, &anchor->previous);
	buffer_put_hash(out, &anchor->root);

	buffer_put_u32(out, (uint32_t)anchor->entry_count);
	for (size_t i = 0; i < anchor->entry_count; i++)
		put_entry(out, &anchor->entries[i]);

	buffer_put_u32(out, (uint32_t)anchor->header_count);
	for (size_t i = 0; i < anchor->header_count; i++) {
		uint8_t record[HEADER_RECORD_SIZE];
		header_record_encode(&anchor->headers[i], record);
		buffer_put(out, BYTES_OF(record));
	}

	buffer_put_u32(out, (uint32_t)anchor->batch_count);
	for (size_t i = 0; i < anchor->batch_count; i++) {
		buffer_put_hash(out, &anchor->batches[i].content);
		buffer_put_u64(out, anchor->batches[i].size_bytes);
		buffer_put_hash(out, &anchor->batches[i].dictionary);
	}
}

struct hash anchor_key(enum hash_alg alg, struct bytes content)
{
	return hash_one(alg, content);
}

/* ---- decoding ---- */

struct anchor_decoded {
	struct anchor view; /* Points into the three arrays below. */
	struct entry *entries;
	struct block_header *headers;
	struct batch_ref *batches;
};

/* The count of elements that come next. Each takes at least size_min bytes of what is left, so what
 * is allocated for them stays in proportion to what was sent. */
static bool read_count(struct reader *reader, size_t count_max, size_t size_min, size_t *out_count,
                       struct err *err)
{
	uint32_t count = reader_u32(reader);
	if (reader->failed || count > count_max || count > reader->rest.size / size_min)
		return err_set(err, ZR_INVALID, "%u of them in %zu bytes", count,
		               reader->rest.size);
	*out_count = count;
	return true;
}

static bool read_fixed(struct anchor *anchor, struct reader *reader, struct err *err)
{
	struct bytes magic = reader_bytes(reader, 4);
	if (!bytes_equal(magic, (struct bytes){ (const uint8_t *)magic_bytes, 4 }))
		return err_set(err, ZR_INVALID, "not anchor content");
	uint8_t alg = reader_u8(reader);
	uint8_t deliver = reader_u8(reader);
	anchor->lane = reader_u16(reader);
	anchor->seq = reader_u64(reader);
	anchor->previous = reader_hash(reader);
	anchor->root = reader_hash(reader);
	if (reader->failed)
		return err_set(err, ZR_INVALID, "cut short");
	if (alg != HASH_SHA256 && alg != HASH_SM3)
		return err_set(err, ZR_INVALID, "hash algorithm %u", alg);
	if (deliver < DELIVER_ANCHOR || deliver > DELIVER_FULL)
		return err_set(err, ZR_INVALID, "deliver %u", deliver);
	if (anchor->seq == 0 || (anchor->seq == 1) != hash_is_zero(&anchor->previous))
		return err_set(err, ZR_INVALID, "only sequence 1 has no previous root");

	anchor->alg = (enum hash_alg)alg;
	anchor->deliver = (enum deliver)deliver;
	return true;
}

static bool read_entries(struct anchor_decoded *decoded, struct reader *reader, struct err *err)
{
	struct anchor *view = &decoded->view;
	if (!read_count(reader, ANCHOR_ENTRIES_MAX, 2 + ENTRY_SIZE_NO_NAME + 1, &view->entry_count,
	                err))
		return err_wrap(err, "entries");
	if (view->entry_count == 0)
		return err_set(err, ZR_INVALID, "no entries");
	decoded->entries = calloc(view->entry_count, sizeof(*decoded->entries));
	if (decoded->entries == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu entries", view->entry_count);

	for (size_t i = 0; i < view->entry_count; i++) {
		struct bytes record = reader_bytes(reader, reader_u16(reader));
		if (!entry_record_decode(record, &decoded->entries[i], err))
			return err_wrap(err, "entry %zu", i);
	}
	view->entries = decoded->entries;
	return true;
}

static bool read_headers(struct anchor_decoded *decoded, struct reader *reader, struct err *err)
{
	struct anchor *view = &decoded->view;
	if (!read_count(reader, ANCHOR_HEADERS_MAX, HEADER_RECORD_SIZE, &view->header_count, err))
		return err_wrap(err, "headers");
	if ((view->deliver == DELIVER_HEADERS) != (view->header_count > 0))
		return err_set(err, ZR_INVALID, "%zu headers where deliver is %s",
		               view->header_count, deliver_name(view->deliver));
	if (view->header_count == 0)
		return true;
	decoded->headers = calloc(view->header_count, sizeof(*decoded->headers));
	if (decoded->headers == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu headers", view->header_count);

	for (size_t i = 0; i < view->header_count; i++) {
		struct bytes record = reader_bytes(reader, HEADER_RECORD_SIZE);
		if (!header_record_decode(record, &decoded->headers[i], err))
			return err_wrap(err, "header %zu", i);
	}
	view->headers = decoded->headers;
	return true;
}

static bool read_batches(struct anchor_decoded *decoded, struct reader *reader, struct err *err)
{
	struct anchor *view = &decoded->view;
	if (!read_count(reader, ANCHOR_BATCHES_MAX, BATCH_SIZE, &view->batch_count, err))
		return err_wrap(err, "batches");
	size_t count_min = view->deliver == DELIVER_FULL ? view->entry_count : 0;
	if (view->batch_count < count_min || (count_min == 0 && view->batch_count > 0))
		return err_set(err, ZR_INVALID, "%zu batches of %zu entries where deliver is %s",
		               view->batch_count, view->entry_count, deliver_name(view->deliver));
	if (view->batch_count == 0)
		return true;
	decoded->batches = calloc(view->batch_count, sizeof(*decoded->batches));
	if (decoded->batches == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu batches", view->batch_count);

	for (size_t i = 0; i < view->batch_count; i++) {
		decoded->batches[i].content = reader_hash(reader);
		decoded->batches[i].size_bytes = reader_u64(reader);
		decoded->batches[i].dictionary = reader_hash(reader);
		if (decoded->batches[i].size_bytes == 0)
			return err_set(err, ZR_INVALID, "batch %zu is empty", i);
	}
	view->batches = decoded->batches;
	return true;
}

static int compare_runs(const void *left, const void *right)
{
	const struct entry *a = *(const struct entry *const *)left;
	const struct entry *b = *(const struct entry *const *)right;
	int order = strcmp(a->chain.name, b->chain.name);
	if (order == 0)
		order = memcmp(a->chain.epoch.bytes, b->chain.epoch.bytes, HASH_SIZE);
	if (order == 0)
		order = (a->from > b->from) - (a->from < b->from);
	return order;
}

/* Anchored once (P3) starts here: no block may be in two entries. */
static bool check_no_overlap(const struct anchor *anchor, struct err *err)
{
	const struct entry **sorted = malloc(anchor->entry_count * sizeof(struct entry *));
	if (sorted == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu entries", anchor->entry_count);
	for (size_t i = 0; i < anchor->entry_count; i++)
		sorted[i] = &anchor->entries[i];
	qsort(sorted, anchor->entry_count, sizeof(struct entry *), compare_runs);

	const struct entry *bad = NULL;
	for (size_t i = 1; i < anchor->entry_count && bad == NULL; i++) {
		if (chain_id_equal(&sorted[i - 1]->chain, &sorted[i]->chain) &&
		    sorted[i]->from <= sorted[i - 1]->to)
			bad = sorted[i];
	}
	free(sorted);
	return bad == NULL ||
	       err_set(err, ZR_INVALID, "two entries of %s overlap", bad->chain.name);
}

static bool check_headers(const struct anchor *anchor, struct err *err)
{
	size_t done = 0;
	for (size_t i = 0; i < anchor->entry_count; i++) {
		const struct entry *entry = &anchor->entries[i];
		if (entry->to - entry->from >= anchor->header_count - done)
			return err_set(err, ZR_INVALID, "headers of entry %zu are missing", i);
		size_t count = (size_t)(entry->to - entry->from) + 1;
		if (!entry_check_headers(anchor->alg, entry, anchor->headers + done, count, err))
			return err_wrap(err, "headers of entry %zu", i);
		done += count;
	}
	return done == anchor->header_count ||
	       err_set(err, ZR_INVALID, "more headers than the entries name");
}

static bool check_decoded(const struct anchor *anchor, struct err *err)
{
	struct hash root = anchor_entries_root(anchor->alg, anchor->entries, anchor->entry_count);
	if (!hash_equal(&root, &anchor->root))
		return err_set(err, ZR_INVALID, "root is not the tree over the entries");
	if (!check_no_overlap(anchor, err))
		return false;
	return anchor->deliver != DELIVER_HEADERS || check_headers(anchor, err);
}

bool anchor_content_decode(struct bytes content, struct anchor_decoded **out_anchor,
                           struct err *err)
{
	if (content.size > ANCHOR_CONTENT_SIZE_MAX)
		return err_set(err, ZR_INVALID, "anchor content of %zu bytes", content.size);
	struct anchor_decoded *decoded = calloc(1, sizeof(*decoded));
	if (decoded == NULL)
		return err_set(err, ZR_NO_MEMORY, "anchor content");

	struct reader reader = reader_of(content);
	if (!read_fixed(&decoded->view, &reader, err) || !read_entries(decoded, &reader, err) ||
	    !read_headers(decoded, &reader, err) || !read_batches(decoded, &reader, err))
		goto fail;
	if (!reader_done(&reader)) {
		(void)err_set(err, ZR_INVALID, "%zu bytes too many", reader.rest.size);
		goto fail;
	}
	if (!check_decoded(&decoded->view, err))
		goto fail;

	*out_anchor = decoded;
	return true;

fail:
	anchor_decoded_free(decoded);
	return err_wrap(err, "anchor content");
}

const struct anchor *anchor_decoded_view(const struct anchor_decoded *anchor)
{
	return &anchor->view;
}

void anchor_decoded_free(struct anchor_decoded *anchor)
{
	if (anchor == NULL)
		return;
	free(anchor->entries);
	free(anchor->headers);
	free(anchor->batches);
	free(anchor);
}
