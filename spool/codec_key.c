/* Keys. Every key sorts by what it names first; that order is what the tables are walked in. */
#include <assert.h>
#include <string.h>

#include "spool/codec.h"

struct bytes spool_key_bytes(const struct spool_key *key)
{
	return (struct bytes){ key->bytes, key->size };
}

static void add(struct spool_key *key, const void *data, size_t size)
{
	assert(key->size + size <= SPOOL_KEY_MAX);
	memcpy(key->bytes + key->size, data, size);
	key->size += size;
}

static void add_u64(struct spool_key *key, uint64_t number)
{
	uint8_t bytes[8];
	put_be64(bytes, number);
	add(key, bytes, sizeof(bytes));
}

struct spool_key spool_key_number(uint64_t number)
{
	struct spool_key key = { .size = 0 };
	add_u64(&key, number);
	return key;
}

struct spool_key spool_key_height(const struct chain_key *chain, uint64_t height)
{
	struct spool_key key = { .size = 0 };
	add(&key, chain->bytes, CHAIN_KEY_SIZE);
	add_u64(&key, height);
	return key;
}

struct spool_key spool_key_chain(const struct chain_key *chain)
{
	struct spool_key key = { .size = 0 };
	add(&key, chain->bytes, CHAIN_KEY_SIZE);
	return key;
}

struct spool_key spool_key_pending(uint8_t sink, uint8_t class, const struct chain_key *chain)
{
	struct spool_key key = { .size = 0 };
	add(&key, &sink, 1);
	add(&key, &class, 1);
	add(&key, chain->bytes, CHAIN_KEY_SIZE);
	return key;
}

struct spool_key spool_key_anchor(const struct spool_anchor_id *id)
{
	struct spool_key key = { .size = 0 };
	uint8_t lane[2];
	put_be16(lane, id->lane);
	add(&key, &id->sink, 1);
	add(&key, lane, sizeof(lane));
	add_u64(&key, id->seq);
	return key;
}

struct spool_key spool_key_coverage(uint8_t sink, const struct chain_key *chain, uint64_t to)
{
	struct spool_key key = { .size = 0 };
	add(&key, &sink, 1);
	add(&key, chain->bytes, CHAIN_KEY_SIZE);
	add_u64(&key, to);
	return key;
}

struct spool_key spool_key_tombstone(const struct chain_key *chain, uint64_t from, uint64_t number)
{
	struct spool_key key = { .size = 0 };
	add(&key, chain->bytes, CHAIN_KEY_SIZE);
	add_u64(&key, from);
	add_u64(&key, number);
	return key;
}

struct spool_key spool_key_suspect(const struct chain_key *chain, const struct hash *content)
{
	struct spool_key key = { .size = 0 };
	add(&key, chain->bytes, CHAIN_KEY_SIZE);
	add(&key, content->bytes, HASH_SIZE);
	return key;
}

struct spool_key spool_key_hash(const struct hash *hash)
{
	struct spool_key key = { .size = 0 };
	add(&key, hash->bytes, HASH_SIZE);
	return key;
}

struct spool_key spool_key_request(const uint8_t request_id[SPOOL_REQUEST_ID_SIZE])
{
	struct spool_key key = { .size = 0 };
	add(&key, request_id, SPOOL_REQUEST_ID_SIZE);
	return key;
}

struct spool_key spool_key_name(const char *name)
{
	struct spool_key key = { .size = 0 };
	add(&key, name, strlen(name));
	return key;
}

/* ---- reading ---- */

static struct chain_key read_chain(struct reader *reader)
{
	struct chain_key chain = { .bytes = { 0 } };
	struct bytes bytes = reader_bytes(reader, CHAIN_KEY_SIZE);
	if (bytes.size == CHAIN_KEY_SIZE)
		memcpy(chain.bytes, bytes.data, CHAIN_KEY_SIZE);
	return chain;
}

bool spool_key_number_read(struct bytes key, uint64_t *out_number)
{
	struct reader reader = reader_of(key);
	*out_number = reader_u64(&reader);
	return reader_done(&reader);
}

bool spool_key_height_read(struct bytes key, struct chain_key *out_chain, uint64_t *out_height)
{
	struct reader reader = reader_of(key);
	*out_chain = read_chain(&reader);
	*out_height = reader_u64(&reader);
	return reader_done(&reader);
}

bool spool_key_chain_read(struct bytes key, struct chain_key *out_chain)
{
	struct reader reader = reader_of(key);
	*out_chain = read_chain(&reader);
	return reader_done(&reader);
}

bool spool_key_pending_read(struct bytes key, uint8_t *out_sink, uint8_t *out_class,
                            struct chain_key *out_chain)
{
	struct reader reader = reader_of(key);
	*out_sink = reader_u8(&reader);
	*out_class = reader_u8(&reader);
	*out_chain = read_chain(&reader);
	return reader_done(&reader);
}

bool spool_key_anchor_read(struct bytes key, struct spool_anchor_id *out_id)
{
	struct reader reader = reader_of(key);
	out_id->sink = reader_u8(&reader);
	out_id->lane = reader_u16(&reader);
	out_id->seq = reader_u64(&reader);
	return reader_done(&reader);
}

bool spool_key_coverage_read(struct bytes key, uint8_t *out_sink, struct chain_key *out_chain,
                             uint64_t *out_to)
{
	struct reader reader = reader_of(key);
	*out_sink = reader_u8(&reader);
	*out_chain = read_chain(&reader);
	*out_to = reader_u64(&reader);
	return reader_done(&reader);
}

bool spool_key_tombstone_read(struct bytes key, struct chain_key *out_chain, uint64_t *out_from,
                              uint64_t *out_number)
{
	struct reader reader = reader_of(key);
	*out_chain = read_chain(&reader);
	*out_from = reader_u64(&reader);
	*out_number = reader_u64(&reader);
	return reader_done(&reader);
}

bool spool_key_hash_read(struct bytes key, struct hash *out_hash)
{
	return hash_from_bytes(out_hash, key);
}
