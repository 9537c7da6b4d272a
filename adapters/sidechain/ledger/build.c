/* build.c -- making blocks of format `ledger`; the agent is the only one who does. */
#include "adapters/sidechain/ledger/layout.h"

#include <stdlib.h>

#include "adapters/sidechain/wire.h"
#include "proto/merkle.h"

static bool entries_fit(const struct ledger_draft *draft, struct err *err)
{
	size_t total_bytes = 0;
	if (draft->entry_count > LEDGER_ENTRIES_MAX)
		return err_set(err, ZR_INVALID, "%zu entries; a block has at most %d",
		               draft->entry_count, LEDGER_ENTRIES_MAX);
	for (size_t i = 0; i < draft->entry_count; i++) {
		size_t size = draft->entries[i].size;
		if (size == 0 || size > LEDGER_ENTRY_SIZE_MAX)
			return err_set(err, ZR_INVALID,
			               "entry %zu has %zu bytes; 1 to %u are possible", i, size,
			               LEDGER_ENTRY_SIZE_MAX);
		total_bytes += size;
		if (total_bytes > LEDGER_BLOCK_SIZE_MAX)
			return err_set(err, ZR_INVALID, "more than %u bytes of entries",
			               LEDGER_BLOCK_SIZE_MAX);
	}
	return true;
}

static bool root_of(enum hash_alg alg, const struct ledger_draft *draft, struct hash *out_root,
                    struct err *err)
{
	struct hash *leaves = calloc(draft->entry_count + 1, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "the leaves of %zu entries", draft->entry_count);
	for (size_t i = 0; i < draft->entry_count; i++)
		leaves[i] = merkle_leaf(alg, draft->entries[i]);
	*out_root = merkle_root(alg, leaves, draft->entry_count);
	free(leaves);
	return true;
}

static bool put_seal(struct buffer *out, const struct key *key, struct bytes header,
                     struct err *err)
{
	struct signature signature;
	struct buffer seal = BUFFER_EMPTY;
	if (!key_sign(key, header, &signature, err))
		return false;
	struct hash id = key_id(key);
	wire_put_bytes(&seal, 1, BYTES_OF(id));
	wire_put_bytes(&seal, 2, signature_bytes(&signature));
	bool ok = buffer_ok(&seal, err);
	if (ok)
		wire_put_message(out, 3, buffer_bytes(&seal));
	buffer_fini(&seal);
	return ok;
}

/* All but the set: entries are what the block holds. */
static bool build(const struct ledger_draft *draft, enum ledger_kind kind, struct buffer *out,
                  struct block_header *out_header, struct err *err)
{
	const struct key *signers[LEDGER_KEYS_MAX];
	if (!ledger_sort_keys(draft->signers, draft->signer_count, signers, err) ||
	    !entries_fit(draft, err))
		return false;

	struct ledger_header header = { .suite = key_suite(signers[0]),
		                        .kind = kind,
		                        .height = draft->height,
		                        .time_ms = draft->time_ms,
		                        .parent = draft->parent,
		                        .entry_count = (uint32_t)draft->entry_count };
	enum hash_alg alg = suite_hash(header.suite);
	if (!root_of(alg, draft, &header.data_root, err))
		return false;
	uint8_t encoded[LEDGER_HEADER_SIZE];
	struct bytes bytes = { encoded, sizeof(encoded) };
	ledger_header_encode(&header, encoded);
	/* What nobody would accept is not signed either. */
	if (!ledger_header_decode(bytes, &header, err))
		return false;

	wire_put_bytes(out, 1, bytes);
	for (size_t i = 0; i < draft->entry_count; i++)
		wire_put_message(out, 2, draft->entries[i]);
	for (size_t i = 0; i < draft->signer_count; i++) {
		if (!put_seal(out, signers[i], bytes, err))
			return false;
	}
	if (!buffer_ok(out, err))
		return false;
	*out_header = (struct block_header){ .height = header.height,
		                             .hash = hash_one(alg, bytes),
		                             .parent = header.parent,
		                             .data_root = header.data_root,
		                             .time_ms = header.time_ms,
		                             .entry_count = header.entry_count };
	return true;
}

bool ledger_block_build(const struct ledger_draft *draft, struct buffer *out,
                        struct block_header *out_header, struct err *err)
{
	if (draft->set == NULL)
		return build(draft, LEDGER_DATA, out, out_header, err) ||
		       err_wrap(err, "ledger block %llu", (unsigned long long)draft->height);

	if (draft->entry_count > 0)
		return err_set(err, ZR_INVALID, "a trust set beside other entries");
	if (draft->set->key_count > 0 && draft->signer_count > 0 &&
	    key_suite(draft->set->keys[0]) != key_suite(draft->signers[0]))
		return err_set(err, ZR_INVALID, "a chain keeps its suite");
	struct buffer set = BUFFER_EMPTY;
	bool built = ledger_set_encode(draft->set, &set, err);
	if (built) {
		struct bytes entry = buffer_bytes(&set);
		struct ledger_draft whole = *draft;
		whole.entries = &entry;
		whole.entry_count = 1;
		built = build(&whole, LEDGER_TRUST_SET, out, out_header, err);
	}
	buffer_fini(&set);
	return built || err_wrap(err, "ledger trust set %llu", (unsigned long long)draft->height);
}

bool ledger_genesis_build(const struct ledger_set *set, int64_t time_ms, struct buffer *out,
                          struct block_header *out_header, struct err *err)
{
	struct ledger_draft draft = { .height = 0,
		                      .time_ms = time_ms,
		                      .set = set,
		                      .signers = set->keys,
		                      .signer_count = set->key_count };
	return ledger_block_build(&draft, out, out_header, err);
}
