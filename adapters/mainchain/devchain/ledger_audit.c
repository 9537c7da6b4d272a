/* What is anchored of each side chain, recounted from the ranges that the anchors recorded. */
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/devchain/ledger_private.h"

/* Ranges come rising by where they begin. */
static bool add_range(struct ledger_audit_chain *chain, struct ledger_range range)
{
	struct ledger_range *last =
		chain->anchored_count == 0 ? NULL : &chain->anchored[chain->anchored_count - 1];
	if (last != NULL && range.from <= last->to) {
		uint64_t shared_to = range.to < last->to ? range.to : last->to;
		chain->duplicates += shared_to - range.from + 1;
	}
	if (last != NULL && range.from <= last->to + 1) {
		if (range.to > last->to) {
			chain->blocks += range.to - last->to;
			last->to = range.to;
		}
		return true;
	}
	struct ledger_range *ranges =
		realloc(chain->anchored, (chain->anchored_count + 1) * sizeof(*ranges));
	if (ranges == NULL)
		return false;
	ranges[chain->anchored_count++] = range;
	chain->anchored = ranges;
	chain->blocks += range.to - range.from + 1;
	return true;
}

static void audit_chain(struct txn *txn, const struct chain_key *chain_key,
                        struct ledger_audit_chain *chain)
{
	struct ledger_key at = { .size = CHAIN_KEY_SIZE };
	memcpy(at.bytes, chain_key->bytes, CHAIN_KEY_SIZE);
	struct bytes key, value;
	bool found = txn_at_or_after(txn, TABLE_RANGES, ledger_key_bytes(&at), &key, &value);
	while (found && memcmp(key.data, chain_key->bytes, CHAIN_KEY_SIZE) == 0) {
		struct ledger_range range = { get_be64(key.data + CHAIN_KEY_SIZE),
			                      get_be64(value.data) };
		at.size = key.size;
		memcpy(at.bytes, key.data, key.size);
		if (!add_range(chain, range)) {
			txn_fail(txn, ZR_NO_MEMORY, "an audit");
			return;
		}
		found = txn_after(txn, TABLE_RANGES, ledger_key_bytes(&at), &key, &value);
	}
}

static bool read_chain_id(struct bytes value, struct chain_id *out_id)
{
	struct reader reader = reader_of(value);
	memset(out_id, 0, sizeof(*out_id));
	out_id->epoch = reader_hash(&reader);
	return reader_name(&reader, out_id->name) && reader_done(&reader);
}

static void audit_row(struct txn *txn, const struct chain_key *key, const struct chain_id *id,
                      struct ledger_audit *audit)
{
	struct ledger_audit_chain chain = { .id = *id };
	audit_chain(txn, key, &chain);
	struct ledger_audit_chain *chains = NULL;
	if (chain.blocks > 0) /* None: its anchors were all reorganised away. */
		chains = realloc(audit->chains, (audit->count + 1) * sizeof(*chains));
	if (chains == NULL) {
		free(chain.anchored);
		if (chain.blocks > 0)
			txn_fail(txn, ZR_NO_MEMORY, "an audit");
		return;
	}
	chains[audit->count++] = chain;
	audit->chains = chains;
}

bool ledger_audit(struct ledger *ledger, const char *name, struct ledger_audit *audit,
                  struct err *err)
{
	struct txn txn;
	struct bytes key, value;
	txn_begin(&txn, ledger->store, TXN_READ);
	bool found = txn_first(&txn, TABLE_CHAINS, &key, &value);
	while (found) {
		struct chain_key chain;
		struct chain_id id;
		memcpy(chain.bytes, key.data, CHAIN_KEY_SIZE);
		if (!read_chain_id(value, &id))
			txn_fail(&txn, ZR_CORRUPT, "a side chain");
		else if (name == NULL || strcmp(name, id.name) == 0)
			audit_row(&txn, &chain, &id, audit);
		found = txn_after(&txn, TABLE_CHAINS, BYTES_OF(chain.bytes), &key, &value);
	}
	return txn_commit(&txn, err) || err_wrap(err, "audit");
}

void ledger_audit_fini(struct ledger_audit *audit)
{
	for (size_t i = 0; i < audit->count; i++)
		free(audit->chains[i].anchored);
	free(audit->chains);
	*audit = LEDGER_AUDIT_EMPTY;
}
