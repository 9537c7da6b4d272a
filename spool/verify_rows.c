/* One function per table: is this a row of ours, and is there what it points to? */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/verify.h"

struct row {
	struct txn *txn;
	enum spool_table table;
	struct bytes key, value;
	struct verify_sums *sums;
};

static void bad(const struct row *row)
{
	spool_damaged(row->txn, row->table, row->key);
}

static void dangling(const struct row *row, const char *what)
{
	char text[2 * SPOOL_KEY_MAX + 1];
	struct bytes key = row->key;
	if (key.size > SPOOL_KEY_MAX)
		key.size = SPOOL_KEY_MAX;
	txn_fail(row->txn, ZR_CORRUPT, "table %s, key %s: %s", spool_table_name(row->table),
	         hex_encode(key, text), what);
}

static bool has(const struct row *row, enum spool_table table, const struct spool_key *key)
{
	return txn_has(row->txn, table, spool_key_bytes(key));
}

static bool knows_chain(const struct row *row, const struct chain_key *chain)
{
	struct spool_key key = spool_key_chain(chain);
	return has(row, SPOOL_CHAINS, &key);
}

/* ---- batches, heights, chains ---- */

static void verify_batch(const struct row *row)
{
	struct spool_batch_row batch;
	uint64_t arrival;
	struct spool_span span;
	if (!spool_key_number_read(row->key, &arrival) ||
	    !spool_batch_row_decode(row->value, &batch) || batch.info.arrival != arrival)
		bad(row);
	else if (!spool_span_with(row->txn, &batch.info.chain, batch.info.first_height, &span) ||
	         span.row.info.arrival != arrival)
		dangling(row, "no row of heights has it");
}

static void verify_heights(const struct row *row)
{
	struct spool_heights_row heights;
	struct chain_key chain;
	uint64_t first_height;
	if (!spool_key_height_read(row->key, &chain, &first_height) ||
	    !spool_heights_decode(row->value, &heights))
		bad(row);
	else if (!knows_chain(row, &chain))
		dangling(row, "its chain is not known");
}

static void verify_chain(const struct row *row)
{
	struct spool_chain chain;
	struct chain_key key;
	struct bytes value;
	if (!spool_key_chain_read(row->key, &key) || !spool_chain_decode(row->value, &chain) ||
	    !chain_key_equal(&chain.key, &key) || !chain_name_valid(chain.id.name)) {
		bad(row);
		return;
	}
	struct spool_key name = spool_key_name(chain.id.name);
	struct spool_chain named;
	if (!spool_get(row->txn, SPOOL_NAMES, &name, &value) ||
	    !spool_key_chain_read(value, &key) || !spool_read_chain(row->txn, &key, &named))
		dangling(row, "its name is not in table names");
	else if (chain.state != SPOOL_CHAIN_RETIRED && !chain_key_equal(&key, &chain.key))
		dangling(row, "its name has another epoch too");
}

static void verify_name(const struct row *row)
{
	struct chain_key key;
	struct spool_chain chain;
	if (!spool_key_chain_read(row->value, &key)) {
		bad(row);
		return;
	}
	if (!spool_read_chain(row->txn, &key, &chain) ||
	    !bytes_equal(row->key, bytes_of_string(chain.id.name)))
		dangling(row, "no chain of that name");
}

static void verify_pending(const struct row *row)
{
	uint8_t sink, class;
	struct chain_key key;
	struct spool_chain chain;
	uint64_t from;
	if (!spool_key_pending_read(row->key, &sink, &class, &key) ||
	    !spool_u64_decode(row->value, &from))
		bad(row);
	else if (!spool_read_chain(row->txn, &key, &chain) || chain.sink != sink ||
	         chain.class != class || chain.delivery_held || chain.pending_from != from)
		dangling(row, "its chain does not say so");
}

/* ---- anchors ---- */

static void verify_entry(const struct row *row, const struct spool_anchor *anchor,
                         const struct entry *entry, uint32_t index)
{
	struct chain_key key = chain_key(&entry->chain);
	struct spool_key at = spool_key_coverage(anchor->id.sink, &key, entry->to);
	struct bytes value;
	struct spool_coverage_row coverage;
	struct spool_chain chain;
	if (!spool_get(row->txn, SPOOL_COVERAGE, &at, &value) ||
	    !spool_coverage_decode(value, &coverage) || coverage.lane != anchor->id.lane ||
	    coverage.seq != anchor->id.seq || coverage.entry_index != index ||
	    coverage.from != entry->from)
		dangling(row, "table coverage does not lead to one of its entries");
	bool is_final = anchor->state == SPOOL_ANCHOR_FINAL;
	if (!spool_read_chain(row->txn, &key, &chain)) {
		if (!is_final) /* An imported one may speak of chains that were never ours. */
			dangling(row, "a chain in it is not known");
		return;
	}
	if (entry->to >= chain.pending_from ||
	    (is_final ? entry->to >= chain.anchored_next : entry->from < chain.anchored_next))
		dangling(row, "a chain's watermarks do not agree with its state");
}

static void verify_entries_of(const struct row *row, const struct spool_anchor *anchor)
{
	struct entry *entries = NULL;
	size_t count = 0;
	uint64_t blocks = 0;
	if (!spool_read_entries(row->txn, &anchor->id, &entries, &count)) {
		dangling(row, "it has no entries");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		verify_entry(row, anchor, &entries[i], (uint32_t)i);
		blocks += entries[i].to - entries[i].from + 1;
	}
	if (count != anchor->entry_count || blocks != anchor->block_count)
		dangling(row, "entries or blocks are not as many as it says");
	row->sums->entry_count += count;
	free(entries);
}

static void verify_anchor(const struct row *row)
{
	struct spool_anchor anchor, before;
	struct spool_anchor_id id;
	if (!spool_key_anchor_read(row->key, &id) || !spool_anchor_decode(row->value, &anchor) ||
	    id.seq == 0) {
		bad(row);
		return;
	}
	anchor.id = id;
	verify_entries_of(row, &anchor);
	struct spool_key key = spool_key_anchor(&id);
	bool wants_receipt = anchor.state == SPOOL_ANCHOR_FINAL && anchor.entry_count > 0;
	if (has(row, SPOOL_RECEIPTS, &key) != wants_receipt)
		dangling(row, wants_receipt ? "its receipt is missing" : "it has a receipt");

	/* An adopted anchor stands alone, and so does the oldest that is still known. */
	struct spool_anchor_id before_id = id;
	before_id.seq--;
	bool has_before = spool_read_anchor(row->txn, &before_id, &before);
	if (!has_before || anchor.entry_count == 0)
		return;
	if (!hash_equal(&anchor.previous, &before.root))
		dangling(row, "it does not name the root before it");
	if (anchor.state == SPOOL_ANCHOR_FINAL && before.state != SPOOL_ANCHOR_FINAL)
		dangling(row, "it is final before its predecessor");
}

static void verify_of_anchor(const struct row *row)
{
	struct spool_anchor_id id;
	struct spool_receipt receipt;
	struct spool_key key = { .size = 0 };
	if (spool_key_anchor_read(row->key, &id))
		key = spool_key_anchor(&id);
	if (key.size == 0 ||
	    (row->table == SPOOL_RECEIPTS && !spool_receipt_decode(row->value, &receipt)))
		bad(row);
	else if (!has(row, SPOOL_ANCHORS, &key))
		dangling(row, "its anchor is not there");
}

static void verify_coverage(const struct row *row)
{
	struct spool_coverage_row coverage;
	struct chain_key chain;
	uint8_t sink;
	uint64_t to;
	if (!spool_key_coverage_read(row->key, &sink, &chain, &to) ||
	    !spool_coverage_decode(row->value, &coverage) || coverage.from > to) {
		bad(row);
		return;
	}
	struct spool_anchor_id id = { sink, coverage.lane, coverage.seq };
	struct spool_key key = spool_key_anchor(&id);
	if (!has(row, SPOOL_ANCHORS, &key))
		dangling(row, "its anchor is not there");
}

/* ---- the rest ---- */

static void verify_trust(const struct row *row)
{
	struct chain_key chain;
	uint64_t from;
	if (!spool_key_height_read(row->key, &chain, &from) || row->value.size == 0)
		bad(row);
	else if (!knows_chain(row, &chain))
		dangling(row, "its chain is not known");
}

static void verify_suspect(const struct row *row)
{
	uint64_t number;
	struct spool_suspect_info info;
	struct bytes payload, value;
	if (!spool_key_number_read(row->key, &number) ||
	    !spool_suspect_decode(row->value, &info, &payload)) {
		bad(row);
		return;
	}
	uint64_t indexed = 0;
	struct spool_key key = spool_key_suspect(&info.chain, &info.content);
	if (!spool_get(row->txn, SPOOL_SUSPECTS, &key, &value) ||
	    !spool_u64_decode(value, &indexed) || indexed != number)
		dangling(row, "table suspects does not lead to it");
	row->sums->quarantine_bytes += info.payload_size;
}

static void verify_suspect_index(const struct row *row)
{
	uint64_t number;
	struct spool_key key = { .size = 0 };
	if (spool_u64_decode(row->value, &number))
		key = spool_key_number(number);
	if (key.size == 0 || row->key.size != CHAIN_KEY_SIZE + HASH_SIZE)
		bad(row);
	else if (!has(row, SPOOL_QUARANTINE, &key))
		dangling(row, "what it leads to is not there");
}

static void verify_evidence(const struct row *row)
{
	uint64_t number;
	struct spool_evidence evidence;
	struct bytes bundle;
	if (!spool_key_number_read(row->key, &number) ||
	    !spool_evidence_decode(row->value, &evidence, &bundle))
		bad(row);
	else if (!knows_chain(row, &evidence.chain))
		dangling(row, "its chain is not known");
}

static void verify_tombstone(const struct row *row)
{
	struct chain_key chain;
	uint64_t from, number;
	struct spool_tombstone tombstone;
	if (!spool_key_tombstone_read(row->key, &chain, &from, &number) ||
	    !spool_tombstone_decode(row->value, &tombstone) || tombstone.to < from) {
		bad(row);
		return;
	}
	if (!spool_is_stranger(&chain) && !knows_chain(row, &chain))
		dangling(row, "its chain is not known");
	row->sums->tombstoned_by_row += tombstone.block_count;
}

static void verify_audit(const struct row *row)
{
	uint64_t number;
	struct spool_audit_row audit;
	static const uint8_t none[SPOOL_REQUEST_ID_SIZE];
	if (!spool_key_number_read(row->key, &number) || !spool_audit_decode(row->value, &audit) ||
	    audit.number != number) {
		bad(row);
		return;
	}
	struct spool_key key = spool_key_request(audit.request_id);
	if (memcmp(audit.request_id, none, sizeof(none)) != 0 && !has(row, SPOOL_REQUESTS, &key))
		dangling(row, "table requests does not lead to it");
}

static void verify_request(const struct row *row)
{
	uint64_t number;
	struct spool_key key = { .size = 0 };
	if (row->key.size == SPOOL_REQUEST_ID_SIZE && spool_u64_decode(row->value, &number))
		key = spool_key_number(number);
	if (key.size == 0)
		bad(row);
	else if (!has(row, SPOOL_AUDIT, &key))
		dangling(row, "what it leads to is not there");
}

static void verify_dictionary(const struct row *row)
{
	struct hash name, hash = sha256(row->value);
	if (!spool_key_hash_read(row->key, &name) || !hash_equal(&name, &hash))
		dangling(row, "it has another hash");
}

static void verify_meta(const struct row *row)
{
	struct spool_totals totals;
	if (bytes_equal(row->key, BYTES_LITERAL(SPOOL_META_TOTALS)) &&
	    !spool_totals_decode(row->value, &totals))
		bad(row);
}

/* ---- the one table ---- */

static void (*const verifiers[SPOOL_TABLE_COUNT])(const struct row *row) = {
	[SPOOL_BATCHES] = verify_batch,
	[SPOOL_HEIGHTS] = verify_heights,
	[SPOOL_CHAINS] = verify_chain,
	[SPOOL_NAMES] = verify_name,
	[SPOOL_PENDING] = verify_pending,
	[SPOOL_ANCHORS] = verify_anchor,
	[SPOOL_ENTRIES] = verify_of_anchor,
	[SPOOL_COVERAGE] = verify_coverage,
	[SPOOL_RECEIPTS] = verify_of_anchor,
	[SPOOL_TRUST] = verify_trust,
	[SPOOL_QUARANTINE] = verify_suspect,
	[SPOOL_SUSPECTS] = verify_suspect_index,
	[SPOOL_EVIDENCE] = verify_evidence,
	[SPOOL_TOMBSTONES] = verify_tombstone,
	[SPOOL_AUDIT] = verify_audit,
	[SPOOL_REQUESTS] = verify_request,
	[SPOOL_DICTIONARIES] = verify_dictionary,
	[SPOOL_META] = verify_meta,
};

void verify_row(struct txn *txn, enum spool_table table, struct bytes key, struct bytes value,
                struct verify_sums *sums)
{
	verifiers[table](&(struct row){ txn, table, key, value, sums });
}
