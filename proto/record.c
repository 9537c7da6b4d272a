/* The small records; anchor content, the large one, is in anchor_record.c. */
#include "proto/record.h"

#include <assert.h>
#include <string.h>

#define MAGIC_SIZE 4

static const char header_magic[] = "ZRh1";
static const char entry_magic[] = "ZRe1";
static const char custody_magic[] = "ZRc1";
static const char custody_root_magic[] = "ZRC1";
static const char receipt_root_magic[] = "ZRR1";
static const char chain_key_magic[] = "ZRk1";

/* Writes a record of a fixed size into its place, from left to right. */
struct pen {
	uint8_t *next;
};

static struct pen pen_at(uint8_t *place)
{
	return (struct pen){ place };
}

static void pen_put(struct pen *pen, const void *data, size_t size)
{
	memcpy(pen->next, data, size);
	pen->next += size;
}

static void pen_put_u64(struct pen *pen, uint64_t value)
{
	put_be64(pen->next, value);
	pen->next += 8;
}

static void pen_put_hash(struct pen *pen, const struct hash *hash)
{
	pen_put(pen, hash->bytes, HASH_SIZE);
}

static bool reader_magic(struct reader *reader, const char *magic)
{
	struct bytes found = reader_bytes(reader, MAGIC_SIZE);
	return found.size == MAGIC_SIZE && memcmp(found.data, magic, MAGIC_SIZE) == 0;
}

/* ---- names ---- */

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool name_valid(const char *name, size_t size)
{
	if (size == 0 || size > CHAIN_NAME_MAX || !is_letter_or_digit(name[0]))
		return false;
	for (size_t i = 1; i < size; i++) {
		if (!is_letter_or_digit(name[i]) && name[i] != '.' && name[i] != '-' &&
		    name[i] != '_')
			return false;
	}
	return true;
}

bool chain_name_valid(const char *name)
{
	return name_valid(name, strnlen(name, CHAIN_NAME_MAX + 1));
}

bool reader_name(struct reader *reader, char out_name[static CHAIN_NAME_MAX + 1])
{
	struct bytes name = reader_short(reader);
	if (!name_valid((const char *)name.data, name.size))
		return false;
	memcpy(out_name, name.data, name.size);
	out_name[name.size] = '\0';
	return true;
}

bool chain_id_equal(const struct chain_id *a, const struct chain_id *b)
{
	return strcmp(a->name, b->name) == 0 && hash_equal(&a->epoch, &b->epoch);
}

struct chain_key chain_key(const struct chain_id *id)
{
	uint8_t name_size = (uint8_t)strlen(id->name);
	const struct bytes parts[] = {
		{ (const uint8_t *)chain_key_magic, MAGIC_SIZE },
		BYTES_OF(name_size),
		{ (const uint8_t *)id->name, name_size },
		BYTES_OF(id->epoch.bytes),
	};
	struct hash hash = hash_parts(HASH_SHA256, parts, sizeof(parts) / sizeof(parts[0]));
	struct chain_key key;
	memcpy(key.bytes, hash.bytes, CHAIN_KEY_SIZE);
	return key;
}

bool chain_key_equal(const struct chain_key *a, const struct chain_key *b)
{
	return memcmp(a->bytes, b->bytes, CHAIN_KEY_SIZE) == 0;
}

const char *policy_name(enum policy policy)
{
	switch (policy) {
	case POLICY_ALL:
		return "all";
	case POLICY_TAIL:
		return "tail";
	}
	return "unknown";
}

bool policy_from_name(const char *name, enum policy *out_policy)
{
	for (enum policy policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		if (strcmp(name, policy_name(policy)) == 0) {
			*out_policy = policy;
			return true;
		}
	}
	return false;
}

const char *deliver_name(enum deliver deliver)
{
	switch (deliver) {
	case DELIVER_ANCHOR:
		return "anchor";
	case DELIVER_HEADERS:
		return "headers";
	case DELIVER_FULL:
		return "full";
	}
	return "unknown";
}

bool deliver_from_name(const char *name, enum deliver *out_deliver)
{
	for (enum deliver deliver = DELIVER_ANCHOR; deliver <= DELIVER_FULL; deliver++) {
		if (strcmp(name, deliver_name(deliver)) == 0) {
			*out_deliver = deliver;
			return true;
		}
	}
	return false;
}

/* ---- header record ---- */

void header_record_encode(const struct block_header *header,
                          uint8_t out_record[static HEADER_RECORD_SIZE])
{
	struct pen pen = pen_at(out_record);
	pen_put(&pen, header_magic, MAGIC_SIZE);
	pen_put_u64(&pen, header->height);
	pen_put_hash(&pen, &header->hash);
	pen_put_hash(&pen, &header->parent);
	pen_put_hash(&pen, &header->data_root);
	pen_put_u64(&pen, (uint64_t)header->time_ms);
	put_be32(pen.next, header->entry_count);
	assert(pen.next + 4 == out_record + HEADER_RECORD_SIZE);
}

bool header_record_decode(struct bytes record, struct block_header *out_header, struct err *err)
{
	struct reader reader = reader_of(record);
	if (!reader_magic(&reader, header_magic))
		return err_set(err, ZR_INVALID, "not a header record");

	struct block_header header;
	header.height = reader_u64(&reader);
	header.hash = reader_hash(&reader);
	header.parent = reader_hash(&reader);
	header.data_root = reader_hash(&reader);
	header.time_ms = (int64_t)reader_u64(&reader);
	header.entry_count = reader_u32(&reader);
	if (!reader_done(&reader))
		return err_set(err, ZR_INVALID, "header record of %zu bytes", record.size);
	if (header.height > HEIGHT_MAX)
		return err_set(err, ZR_INVALID, "header record: height is above 2^63 - 1");

	*out_header = header;
	return true;
}

struct hash header_leaf(enum hash_alg alg, const struct block_header *header)
{
	uint8_t record[HEADER_RECORD_SIZE];
	header_record_encode(header, record);
	return merkle_leaf(alg, BYTES_OF(record));
}

/* ---- entry and custody records: they begin alike ---- */

static void pen_put_run(struct pen *pen, const struct chain_id *chain, uint64_t from, uint64_t to)
{
	size_t name_size = strlen(chain->name);
	assert(name_valid(chain->name, name_size));
	uint8_t length = (uint8_t)name_size;
	pen_put(pen, &length, 1);
	pen_put(pen, chain->name, name_size);
	pen_put_hash(pen, &chain->epoch);
	pen_put_u64(pen, from);
	pen_put_u64(pen, to);
}

static size_t entry_write(const struct entry *entry,
                          uint8_t out_record[static ENTRY_RECORD_SIZE_MAX])
{
	uint8_t policy = (uint8_t)entry->policy;
	struct pen pen = pen_at(out_record);
	pen_put(&pen, entry_magic, MAGIC_SIZE);
	pen_put_run(&pen, &entry->chain, entry->from, entry->to);
	pen_put_hash(&pen, &entry->tip);
	pen_put(&pen, &policy, 1);
	pen_put_hash(&pen, &entry->subtree);
	return (size_t)(pen.next - out_record);
}

void entry_record_encode(const struct entry *entry, struct buffer *out)
{
	uint8_t record[ENTRY_RECORD_SIZE_MAX];
	size_t size = entry_write(entry, record);
	buffer_put(out, (struct bytes){ record, size });
}

bool entry_record_decode(struct bytes record, struct entry *out_entry, struct err *err)
{
	struct reader reader = reader_of(record);
	if (!reader_magic(&reader, entry_magic))
		return err_set(err, ZR_INVALID, "not an entry record");

	struct entry entry = { .from = 0 };
	if (!reader_name(&reader, entry.chain.name))
		return err_set(err, ZR_INVALID, "entry record: not a chain name");
	entry.chain.epoch = reader_hash(&reader);
	entry.from = reader_u64(&reader);
	entry.to = reader_u64(&reader);
	entry.tip = reader_hash(&reader);
	uint8_t policy = reader_u8(&reader);
	entry.subtree = reader_hash(&reader);
	if (!reader_done(&reader))
		return err_set(err, ZR_INVALID, "entry record of %zu bytes", record.size);
	if (entry.from > entry.to || entry.to > HEIGHT_MAX)
		return err_set(err, ZR_INVALID, "entry record: not a range of heights");
	if (policy < POLICY_ALL || policy > POLICY_TAIL)
		return err_set(err, ZR_INVALID, "entry record: policy %u", policy);

	entry.policy = (enum policy)policy;
	*out_entry = entry;
	return true;
}

struct hash entry_leaf(enum hash_alg alg, const struct entry *entry)
{
	uint8_t record[ENTRY_RECORD_SIZE_MAX];
	size_t size = entry_write(entry, record);
	return merkle_leaf(alg, (struct bytes){ record, size });
}

bool entry_check_headers(enum hash_alg alg, const struct entry *entry,
                         const struct block_header *headers, size_t count, struct err *err)
{
	if (count == 0 || count - 1 != entry->to - entry->from)
		return err_set(err, ZR_INVALID, "%zu headers are not as many as the entry's blocks",
		               count);
	struct merkle_builder builder;
	merkle_builder_init(&builder, alg);
	for (size_t i = 0; i < count; i++) {
		if (headers[i].height != entry->from + i)
			return err_set(err, ZR_INVALID, "header %zu is not of the next height", i);
		if (i > 0 && !hash_equal(&headers[i].parent, &headers[i - 1].hash))
			return err_set(err, ZR_INVALID, "header %zu has another parent", i);
		struct hash leaf = header_leaf(alg, &headers[i]);
		merkle_builder_add(&builder, &leaf);
	}
	struct hash subtree = merkle_builder_root(&builder);
	if (!hash_equal(&headers[count - 1].hash, &entry->tip))
		return err_set(err, ZR_INVALID, "the last header is not the entry's tip");
	return hash_equal(&subtree, &entry->subtree) ||
	       err_set(err, ZR_INVALID, "the headers do not lead to the entry's subtree");
}

#define CUSTODY_RECORD_SIZE_MAX \
	(MAGIC_SIZE + 1 + CHAIN_NAME_MAX + HASH_SIZE + 8 + 8 + 2 * HASH_SIZE)

static size_t custody_write(const struct custody *custody,
                            uint8_t out_record[static CUSTODY_RECORD_SIZE_MAX])
{
	struct pen pen = pen_at(out_record);
	pen_put(&pen, custody_magic, MAGIC_SIZE);
	pen_put_run(&pen, &custody->chain, custody->from, custody->to);
	pen_put_hash(&pen, &custody->tip);
	pen_put_hash(&pen, &custody->content);
	return (size_t)(pen.next - out_record);
}

void custody_record_encode(const struct custody *custody, struct buffer *out)
{
	uint8_t record[CUSTODY_RECORD_SIZE_MAX];
	size_t size = custody_write(custody, record);
	buffer_put(out, (struct bytes){ record, size });
}

struct hash custody_leaf(const struct custody *custody)
{
	uint8_t record[CUSTODY_RECORD_SIZE_MAX];
	size_t size = custody_write(custody, record);
	return merkle_leaf(HASH_SHA256, (struct bytes){ record, size });
}

/* ---- the two records that are signed ---- */

void custody_root_encode(const struct custody_root *root,
                         uint8_t out_record[static CUSTODY_ROOT_SIZE])
{
	struct pen pen = pen_at(out_record);
	pen_put(&pen, custody_root_magic, MAGIC_SIZE);
	pen_put(&pen, root->store_uuid, STORE_UUID_SIZE);
	pen_put_u64(&pen, root->commit_number);
	pen_put_u64(&pen, (uint64_t)root->time_ms);
	pen_put_u64(&pen, root->count);
	pen_put_hash(&pen, &root->root);
	assert(pen.next == out_record + CUSTODY_ROOT_SIZE);
}

void receipt_root_encode(const struct receipt_root *root,
                         uint8_t out_record[static RECEIPT_ROOT_SIZE])
{
	uint8_t alg_and_lane[3] = { (uint8_t)root->alg };
	put_be16(alg_and_lane + 1, root->lane);

	struct pen pen = pen_at(out_record);
	pen_put(&pen, receipt_root_magic, MAGIC_SIZE);
	pen_put(&pen, root->store_uuid, STORE_UUID_SIZE);
	pen_put(&pen, alg_and_lane, sizeof(alg_and_lane));
	pen_put_u64(&pen, root->seq);
	pen_put_hash(&pen, &root->root);
	pen_put_hash(&pen, &root->key);
	pen_put_u64(&pen, (uint64_t)root->time_ms);
	pen_put_hash(&pen, &root->evidence_hash);
	assert(pen.next == out_record + RECEIPT_ROOT_SIZE);
}
