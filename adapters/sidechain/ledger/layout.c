/* layout.c -- see layout.h. */
#include "adapters/sidechain/ledger/layout.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "adapters/sidechain/wire.h"

static const struct bytes header_magic = { (const uint8_t *)"ZRb1", 4 };
static const struct bytes set_magic = { (const uint8_t *)"ZRt1", 4 };

static bool is_suite(unsigned number)
{
	return number >= SUITE_SHA256_P256 && number <= SUITE_SM3_SM2;
}

/* ---- the header ---- */

void ledger_header_encode(const struct ledger_header *header,
                          uint8_t out_bytes[static LEDGER_HEADER_SIZE])
{
	memcpy(out_bytes, header_magic.data, 4);
	out_bytes[4] = (uint8_t)header->suite;
	out_bytes[5] = (uint8_t)header->kind;
	put_be64(out_bytes + 6, header->height);
	put_be64(out_bytes + 14, (uint64_t)header->time_ms);
	memcpy(out_bytes + 22, header->parent.bytes, HASH_SIZE);
	memcpy(out_bytes + 54, header->data_root.bytes, HASH_SIZE);
	put_be32(out_bytes + 86, header->entry_count);
}

static bool header_is_sound(const struct ledger_header *header, struct err *err)
{
	if (!is_suite(header->suite))
		return err_set(err, ZR_INVALID, "unknown suite %u", (unsigned)header->suite);
	if (header->kind != LEDGER_DATA && header->kind != LEDGER_TRUST_SET)
		return err_set(err, ZR_INVALID, "unknown kind %d", (int)header->kind);
	if (header->height > INT64_MAX)
		return err_set(err, ZR_INVALID, "height %" PRIu64 " is beyond 2^63 - 1",
		               header->height);
	if ((header->height == 0) != hash_is_zero(&header->parent))
		return err_set(err, ZR_INVALID, "block 0, and only block 0, has no parent");
	if (header->height == 0 && header->kind != LEDGER_TRUST_SET)
		return err_set(err, ZR_INVALID, "block 0 brings no trust set");
	if (header->kind == LEDGER_TRUST_SET && header->entry_count != 1)
		return err_set(err, ZR_INVALID, "a trust set beside other entries");
	return true;
}

bool ledger_header_decode(struct bytes bytes, struct ledger_header *out_header, struct err *err)
{
	struct reader reader = reader_of(bytes);
	struct bytes magic = reader_bytes(&reader, 4);
	struct ledger_header header = { 0 };
	header.suite = (enum suite)reader_u8(&reader);
	header.kind = (enum ledger_kind)reader_u8(&reader);
	header.height = reader_u64(&reader);
	header.time_ms = (int64_t)reader_u64(&reader);
	header.parent = reader_hash(&reader);
	header.data_root = reader_hash(&reader);
	header.entry_count = reader_u32(&reader);
	if (!reader_done(&reader) || !bytes_equal(magic, header_magic))
		return err_set(err, ZR_INVALID, "not a ledger block header");
	if (!header_is_sound(&header, err))
		return false;
	*out_header = header;
	return true;
}

/* ---- the block ---- */

static bool decode_seal(struct ledger_parts *parts, struct bytes message)
{
	struct wire wire = wire_of(message, WIRE_CANONICAL);
	struct wire_field field;
	struct bytes key_id = BYTES_NONE;
	struct ledger_seal seal = { .signature = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &key_id);
			break;
		case 2:
			wire_bytes(&wire, &field, &seal.signature);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire) || !hash_from_bytes(&seal.key_id, key_id))
		return false;
	if (seal.signature.size == 0 || seal.signature.size > SIGNATURE_SIZE_MAX)
		return false;
	if (parts->seal_count == LEDGER_KEYS_MAX)
		return false;
	parts->seals[parts->seal_count++] = seal;
	return true;
}

static bool seals_ascend(const struct ledger_parts *parts)
{
	for (size_t i = 1; i < parts->seal_count; i++) {
		if (memcmp(parts->seals[i - 1].key_id.bytes, parts->seals[i].key_id.bytes,
		           HASH_SIZE) >= 0)
			return false;
	}
	return true;
}

static bool count_entry(struct ledger_parts *parts, struct bytes entry, size_t *total_bytes)
{
	if (entry.size == 0 || entry.size > LEDGER_ENTRY_SIZE_MAX)
		return false;
	*total_bytes += entry.size;
	parts->entry_count++;
	return parts->entry_count <= LEDGER_ENTRIES_MAX && *total_bytes <= LEDGER_BLOCK_SIZE_MAX;
}

bool ledger_parts_decode(struct bytes raw, struct ledger_parts *out_parts, struct err *err)
{
	struct wire wire = wire_of(raw, WIRE_CANONICAL);
	struct wire_field field;
	struct bytes part;
	struct ledger_parts parts = { .entries = BYTES_NONE };
	size_t total_bytes = 0;
	bool sound = true;
	const uint8_t *start = raw.data;
	while (sound && wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &parts.header);
			break;
		case 2:
			if (parts.entries.data == NULL)
				parts.entries.data = start;
			sound = wire_repeated(&wire, &field, &part) &&
			        count_entry(&parts, part, &total_bytes);
			parts.entries.size = (size_t)(wire.rest.data - parts.entries.data);
			break;
		case 3:
			sound = wire_repeated(&wire, &field, &part) && decode_seal(&parts, part);
			break;
		default:
			wire_unknown(&wire);
		}
		start = wire.rest.data;
	}
	if (!sound || !wire_ok(&wire) || !seals_ascend(&parts))
		return err_set(err, ZR_INVALID, "not the canonical encoding of a ledger block");
	if (parts.seal_count == 0)
		return err_set(err, ZR_INVALID, "a block without a seal");
	*out_parts = parts;
	return true;
}

bool ledger_next_entry(struct bytes *entries, struct bytes *out_entry)
{
	struct wire wire = wire_of(*entries, WIRE_CANONICAL);
	struct wire_field field;
	if (!wire_next(&wire, &field))
		return false;
	*out_entry = field.bytes;
	*entries = wire.rest;
	return true;
}

/* ---- the trust set ---- */

void ledger_keys_fini(struct ledger_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		key_free(keys->keys[i]);
	keys->count = 0;
}

/* The key's own encoding must be the one that stands here, or one key could have many ids. */
static bool add_key(struct ledger_keys *keys, struct bytes spki, struct err *err)
{
	struct key *key;
	if (!key_from_spki(&key, spki, err))
		return false;
	size_t at = keys->count;
	keys->keys[at] = key;
	keys->ids[at] = key_id(key);
	keys->count++;
	if (key_suite(key) != keys->suite || !bytes_equal(key_spki(key), spki))
		return err_set(err, ZR_INVALID, "key %zu is not a key of suite %s", at,
		               suite_name(keys->suite));
	if (at > 0 && memcmp(keys->ids[at - 1].bytes, keys->ids[at].bytes, HASH_SIZE) >= 0)
		return err_set(err, ZR_INVALID, "keys are not in ascending order of their ids");
	return true;
}

bool ledger_keys_decode(struct bytes entry, struct ledger_keys *out_keys, struct err *err)
{
	struct reader reader = reader_of(entry);
	struct ledger_keys keys = { .count = 0 };
	struct bytes magic = reader_bytes(&reader, 4);
	keys.suite = (enum suite)reader_u8(&reader);
	keys.threshold = reader_u8(&reader);
	size_t count = reader_u8(&reader);
	if (reader.failed || !bytes_equal(magic, set_magic))
		return err_set(err, ZR_INVALID, "not a trust set");
	if (!is_suite(keys.suite))
		return err_set(err, ZR_INVALID, "a trust set of unknown suite %u",
		               (unsigned)keys.suite);
	if (count == 0 || count > LEDGER_KEYS_MAX || keys.threshold == 0 || keys.threshold > count)
		return err_set(err, ZR_INVALID, "a trust set of %zu out of %zu keys",
		               keys.threshold, count);
	for (size_t i = 0; i < count; i++) {
		size_t size = reader_u16(&reader);
		if (!add_key(&keys, reader_bytes(&reader, size), err))
			goto fail;
	}
	if (!reader_done(&reader)) {
		(void)err_set(err, ZR_INVALID, "bytes after the trust set");
		goto fail;
	}
	*out_keys = keys;
	return true;

fail:
	ledger_keys_fini(&keys);
	return false;
}

bool ledger_sort_keys(const struct key *const *keys, size_t count,
                      const struct key *out_sorted[static LEDGER_KEYS_MAX], struct err *err)
{
	struct hash ids[LEDGER_KEYS_MAX];
	if (count == 0 || count > LEDGER_KEYS_MAX)
		return err_set(err, ZR_INVALID, "%zu keys; 1 to %d are possible", count,
		               LEDGER_KEYS_MAX);
	for (size_t i = 0; i < count; i++) {
		struct hash id = key_id(keys[i]);
		if (key_suite(keys[i]) != key_suite(keys[0]))
			return err_set(err, ZR_INVALID, "keys of different suites");
		size_t at = i;
		for (; at > 0 && memcmp(ids[at - 1].bytes, id.bytes, HASH_SIZE) > 0; at--) {
			ids[at] = ids[at - 1];
			out_sorted[at] = out_sorted[at - 1];
		}
		if (at > 0 && hash_equal(&ids[at - 1], &id))
			return err_set(err, ZR_INVALID, "one key is given twice");
		ids[at] = id;
		out_sorted[at] = keys[i];
	}
	return true;
}

bool ledger_set_encode(const struct ledger_set *set, struct buffer *out, struct err *err)
{
	const struct key *sorted[LEDGER_KEYS_MAX];
	if (!ledger_sort_keys(set->keys, set->key_count, sorted, err))
		return false;
	if (set->threshold == 0 || set->threshold > set->key_count)
		return err_set(err, ZR_INVALID, "a threshold of %zu out of %zu keys",
		               set->threshold, set->key_count);
	buffer_put(out, set_magic);
	buffer_put_u8(out, (uint8_t)key_suite(sorted[0]));
	buffer_put_u8(out, (uint8_t)set->threshold);
	buffer_put_u8(out, (uint8_t)set->key_count);
	for (size_t i = 0; i < set->key_count; i++) {
		struct bytes spki = key_spki(sorted[i]);
		assert(spki.size <= UINT16_MAX);
		buffer_put_u16(out, (uint16_t)spki.size);
		buffer_put(out, spki);
	}
	return buffer_ok(out, err);
}
