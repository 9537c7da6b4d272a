/* ledger.c -- reading and judging blocks of format `ledger`; see ledger.h. */
#include "adapters/sidechain/ledger/ledger.h"

#include <inttypes.h>
#include <stdlib.h>

#include "adapters/sidechain/ledger/layout.h"
#include "proto/merkle.h"

struct trust {
	struct block_header origin;
	struct ledger_keys keys;
	struct buffer saved; /* The block that brought it. */
};

/* ---- read ---- */

static bool root_of(enum hash_alg alg, const struct ledger_parts *parts, struct hash *out_root,
                    struct err *err)
{
	struct hash *leaves = calloc(parts->entry_count + 1, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "the leaves of %zu entries", parts->entry_count);
	struct bytes entries = parts->entries;
	struct bytes entry;
	for (size_t i = 0; ledger_next_entry(&entries, &entry); i++)
		leaves[i] = merkle_leaf(alg, entry);
	*out_root = merkle_root(alg, leaves, parts->entry_count);
	free(leaves);
	return true;
}

static bool read_parts(struct bytes raw, struct block *block, struct ledger_parts *out_parts,
                       struct ledger_header *out_header, struct err *err)
{
	*block = (struct block){ .raw = raw, .header.height = HEIGHT_UNKNOWN };
	if (!ledger_parts_decode(raw, out_parts, err) ||
	    !ledger_header_decode(out_parts->header, out_header, err))
		return false;
	block->header = (struct block_header){
		.height = out_header->height,
		.hash = hash_one(suite_hash(out_header->suite), out_parts->header),
		.parent = out_header->parent,
		.data_root = out_header->data_root,
		.time_ms = out_header->time_ms,
		.entry_count = out_header->entry_count,
	};
	block->changes_trust = out_header->kind == LEDGER_TRUST_SET;
	return true;
}

static bool ledger_read(struct bytes raw, struct block *out_block, struct err *err)
{
	struct ledger_parts parts;
	struct ledger_header header;
	struct hash root;
	if (!read_parts(raw, out_block, &parts, &header, err))
		return false;
	if (parts.entry_count != header.entry_count)
		return err_set(err, ZR_INVALID, "block %" PRIu64 " says %u entries and has %zu",
		               header.height, (unsigned)header.entry_count, parts.entry_count);
	if (!root_of(suite_hash(header.suite), &parts, &root, err))
		return false;
	if (!hash_equal(&root, &header.data_root))
		return err_set(err, ZR_INVALID, "block %" PRIu64 ": the data root is another",
		               header.height);
	return true;
}

/* ---- trust ---- */

static void ledger_trust_free(struct trust *trust)
{
	if (trust == NULL)
		return;
	ledger_keys_fini(&trust->keys);
	buffer_fini(&trust->saved);
	free(trust);
}

static const struct key *find_key(const struct ledger_keys *keys, const struct hash *id)
{
	for (size_t i = 0; i < keys->count; i++) {
		if (hash_equal(&keys->ids[i], id))
			return keys->keys[i];
	}
	return NULL;
}

/* Every seal counts: one that is not ours, or not valid, is no seal of an honest node. Decoding
 * has made sure that no key seals twice. */
static bool check_seals(const struct ledger_keys *keys, const struct ledger_parts *parts,
                        struct err *err)
{
	char hex[HASH_HEX_SIZE];
	for (size_t i = 0; i < parts->seal_count; i++) {
		const struct ledger_seal *seal = &parts->seals[i];
		const struct key *key = find_key(keys, &seal->key_id);
		if (key == NULL)
			return err_set(err, ZR_UNTRUSTED, "sealed by key %s, which is not trusted",
			               hash_hex(&seal->key_id, hex));
		if (!key_verify(key, parts->header, seal->signature, VERIFY_ANY_S, err))
			return err_wrap(err, "seal of key %s", hash_hex(&seal->key_id, hex));
	}
	if (parts->seal_count < keys->threshold)
		return err_set(err, ZR_UNTRUSTED, "%zu seals, of which %zu are needed",
		               parts->seal_count, keys->threshold);
	return true;
}

/* Of a block that ledger_read() accepted. */
static bool trust_of(const struct block *block, struct trust **out_trust, struct err *err)
{
	struct ledger_parts parts;
	struct ledger_header header;
	struct bytes entry;
	if (!ledger_parts_decode(block->raw, &parts, err) ||
	    !ledger_header_decode(parts.header, &header, err))
		return false;
	struct bytes entries = parts.entries;
	if (header.kind != LEDGER_TRUST_SET || !ledger_next_entry(&entries, &entry))
		return err_set(err, ZR_INVALID, "block %" PRIu64 " brings no trust set",
		               header.height);

	struct trust *trust = calloc(1, sizeof(*trust));
	if (trust == NULL)
		return err_set(err, ZR_NO_MEMORY, "a trust set");
	trust->origin = block->header;
	buffer_put(&trust->saved, block->raw);
	if (!buffer_ok(&trust->saved, err) || !ledger_keys_decode(entry, &trust->keys, err))
		goto fail;
	if (trust->keys.suite != header.suite) {
		(void)err_set(err, ZR_INVALID, "a trust set of suite %s in a block of suite %s",
		              suite_name(trust->keys.suite), suite_name(header.suite));
		goto fail;
	}
	/* The first block's keys prove that somebody holds them. */
	if (header.height == 0 && !check_seals(&trust->keys, &parts, err))
		goto fail;
	*out_trust = trust;
	return true;

fail:
	ledger_trust_free(trust);
	return false;
}

static bool ledger_trust_pin(struct bytes pinned, struct trust **out_trust, struct err *err)
{
	struct block block;
	if (!ledger_read(pinned, &block, err) || !trust_of(&block, out_trust, err))
		return err_wrap(err, "pinned ledger block");
	return true;
}

static const struct block_header *ledger_trust_origin(const struct trust *trust)
{
	return &trust->origin;
}

static void ledger_trust_save(const struct trust *trust, struct buffer *out)
{
	buffer_put(out, buffer_bytes(&trust->saved));
}

static void ledger_trust_describe(const struct trust *trust, struct buffer *out)
{
	buffer_printf(out, "ledger, %zu of %zu keys of suite %s, since block %" PRIu64,
	              trust->keys.threshold, trust->keys.count, suite_name(trust->keys.suite),
	              trust->origin.height);
}

/* ---- judging ---- */

static bool is_origin(const struct trust *trust, const struct block *block)
{
	return block->header.height == trust->origin.height &&
	       hash_equal(&block->header.hash, &trust->origin.hash);
}

static bool ledger_verify(const struct trust *trust, const struct block *block, struct err *err)
{
	struct ledger_parts parts;
	if (is_origin(trust, block))
		return true;
	if (!ledger_parts_decode(block->raw, &parts, err))
		return false;
	return check_seals(&trust->keys, &parts, err) ||
	       err_wrap(err, "block %" PRIu64, block->header.height);
}

static bool ledger_admits(const struct trust *trust, const struct block *block, struct err *err)
{
	struct ledger_parts parts;
	struct ledger_header header;
	if (!ledger_parts_decode(block->raw, &parts, err) ||
	    !ledger_header_decode(parts.header, &header, err))
		return false;
	if (header.suite != trust->keys.suite)
		return err_set(err, ZR_UNTRUSTED,
		               "block %" PRIu64 " is of suite %s in a chain of suite %s",
		               header.height, suite_name(header.suite),
		               suite_name(trust->keys.suite));
	return true;
}

static bool ledger_trust_next(const struct trust *trust, const struct block *block,
                              struct trust **out_trust, struct err *err)
{
	struct trust *next;
	if (!trust_of(block, &next, err))
		return err_wrap(err, "block %" PRIu64, block->header.height);
	if (next->keys.suite != trust->keys.suite) {
		ledger_trust_free(next);
		return err_set(err, ZR_UNTRUSTED, "block %" PRIu64 " changes the chain's suite",
		               block->header.height);
	}
	*out_trust = next;
	return true;
}

const struct sidechain *ledger_format(void)
{
	static const struct sidechain format = {
		.name = "ledger",
		.text = "Our own one-node chain: entries, a Merkle root, sealed headers.",
		.read = ledger_read,
		.trust_pin = ledger_trust_pin,
		.trust_origin = ledger_trust_origin,
		.trust_save = ledger_trust_save,
		.trust_load = ledger_trust_pin,
		.trust_free = ledger_trust_free,
		.trust_describe = ledger_trust_describe,
		.verify = ledger_verify,
		.admits = ledger_admits,
		.trust_next = ledger_trust_next,
	};
	return &format;
}
