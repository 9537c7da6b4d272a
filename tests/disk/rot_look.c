#include "tests/disk/rot.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay/base/exit.h"
#include "spool/stream.h"
#include "spool/tools.h"
#include "spool/upkeep.h"

#define SLICES_MAX 4000
#define ROUNDS     3
#define FUTURE_MS  4102444800000 /* The year 2100: whatever is final may be pruned. */

/* ---- rows ---- */

static void die(const char *what, const struct err *err)
{
	fprintf(stderr, "rot: %s: %s\n", what, err->message);
	exit(2);
}

static struct bytes keep(struct bytes bytes)
{
	uint8_t *copy = malloc(bytes.size + 1);
	if (copy == NULL)
		abort();
	memcpy(copy, bytes.data, bytes.size);
	return (struct bytes){ copy, bytes.size };
}

static void add_row(struct rot_rows *rows, enum spool_table table, struct bytes key,
                    struct bytes value)
{
	if ((rows->count & (rows->count - 1)) == 0) {
		size_t capacity = rows->count == 0 ? 1 : rows->count * 2;
		rows->items = reallocarray(rows->items, capacity, sizeof(rows->items[0]));
		if (rows->items == NULL)
			abort();
	}
	rows->items[rows->count++] = (struct rot_row){ table, keep(key), keep(value) };
}

static int compare_rows(const void *a, const void *b)
{
	const struct rot_row *x = a, *y = b;
	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return bytes_compare(x->key, y->key);
}

static const struct rot_row *find_row(const struct rot_rows *rows, enum spool_table table,
                                      struct bytes key)
{
	struct rot_row wanted = { .table = table, .key = key };
	return bsearch(&wanted, rows->items, rows->count, sizeof(wanted), compare_rows);
}

/* ---- the truth ---- */

static void read_table(struct spool *spool, enum spool_table table, struct rot_rows *rows)
{
	struct txn txn;
	struct bytes key, value;
	struct err err;
	txn_begin(&txn, spool_store(spool), TXN_READ);
	bool found = txn_first(&txn, table, &key, &value);
	while (found) {
		add_row(rows, table, key, value);
		found = txn_after(&txn, table, key, &key, &value);
	}
	if (!txn_commit(&txn, &err))
		die("read", &err);
}

/* The batches of a salvage stream. */
static bool salvage(const char *dir, struct rot_rows *rows, struct err *err)
{
	struct spool_salvage_result result;
	struct stream_head head;
	struct stream_row row;
	bool end = false;
	int fd = memfd_create("salvage", 0);
	struct stream_in in = { .fd = fd, .row = BUFFER_EMPTY };
	bool ok = fd >= 0 && spool_salvage(dir, fd, NULL, &result, err) &&
	          lseek(fd, 0, SEEK_SET) == 0 && stream_head_get(&in, &head, err);
	while (ok && !end) {
		ok = stream_row_get(&in, &row, &end, err);
		if (ok && !end && row.table == SPOOL_BATCHES)
			add_row(rows, row.table, row.key, row.value);
	}
	stream_in_fini(&in);
	close(fd);
	qsort(rows->items, rows->count, sizeof(rows->items[0]), compare_rows);
	return ok;
}

void rot_read_truth(const char *dir, struct rot_truth *truth)
{
	struct spool *spool;
	struct err err;
	struct spool_options options = { .dir = dir, .mode = STORE_READ };
	memset(truth, 0, sizeof(*truth));
	if (!spool_open(&spool, &options, &err))
		die("open", &err);
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++)
		read_table(spool, (enum spool_table)table, &truth->rows);
	spool_close(spool);
	for (size_t i = 0; i < truth->rows.count; i++) {
		if (truth->rows.items[i].table != SPOOL_BATCHES)
			continue;
		if (truth->batch_count == ROT_BATCHES_MAX)
			abort();
		truth->batches[truth->batch_count++] = i;
	}
	if (!salvage(dir, &truth->salvaged, &err))
		die("salvage", &err);
}

static struct spool_batch_row batch_at(const struct rot_truth *truth, size_t index)
{
	struct spool_batch_row row;
	if (!spool_batch_row_decode(truth->rows.items[truth->batches[index]].value, &row))
		abort();
	return row;
}

void rot_batch_name(const struct rot_truth *truth, size_t index,
                    char name[static CHAIN_NAME_MAX + 1], uint64_t *out_height)
{
	struct spool_batch_row row = batch_at(truth, index);
	strcpy(name, row.id.name);
	*out_height = row.info.first_height;
}

/* ---- reading what is left ---- */

/* Written once, and never changed. */
static bool never_changes(enum spool_table table)
{
	switch (table) {
	case SPOOL_BATCHES:
	case SPOOL_HEIGHTS:
	case SPOOL_ENTRIES:
	case SPOOL_RECEIPTS:
	case SPOOL_TRUST:
	case SPOOL_QUARANTINE:
	case SPOOL_EVIDENCE:
	case SPOOL_TOMBSTONES:
	case SPOOL_AUDIT:
	case SPOOL_REQUESTS:
	case SPOOL_DICTIONARIES:
		return true;
	case SPOOL_CHAINS:
	case SPOOL_NAMES:
	case SPOOL_PENDING:
	case SPOOL_ANCHORS:
	case SPOOL_COVERAGE:
	case SPOOL_SUSPECTS:
	case SPOOL_META:
	case SPOOL_TABLE_COUNT:
		return false;
	}
	return false;
}

static void note(struct rot_seen *seen, enum spool_table table, struct bytes key, const char *what)
{
	char hex[2 * SPOOL_KEY_MAX + 1];
	if (key.size > SPOOL_KEY_MAX)
		key.size = SPOOL_KEY_MAX;
	if (seen->what[0] == '\0')
		snprintf(seen->what, sizeof(seen->what), "table %s, key %s: %s",
		         spool_table_name(table), hex_encode(key, hex), what);
}

static void judge_row(struct rot_seen *seen, const struct rot_row *truth, enum spool_table table,
                      struct bytes key, struct bytes value)
{
	if (truth != NULL && bytes_equal(truth->value, value)) {
		seen->same++;
	} else if (truth != NULL && never_changes(table)) {
		seen->wrong++;
		note(seen, table, key, "a wrong value");
	} else {
		seen->stale++; /* An older value, or a row that was deleted. */
		note(seen, table, key, truth == NULL ? "not there before" : "an older value");
	}
}

static void look_at_row(struct spool *spool, const struct rot_row *row, struct rot_seen *seen)
{
	struct txn txn;
	struct bytes value;
	struct err err;
	txn_begin(&txn, spool_store(spool), TXN_READ);
	bool found = txn_get(&txn, row->table, row->key, &value);
	if (found)
		judge_row(seen, row, row->table, row->key, value);
	if (!txn_commit(&txn, &err))
		seen->named++;
	else if (!found)
		seen->missing++;
}

static void look_through_table(struct spool *spool, enum spool_table table,
                               const struct rot_truth *truth, struct rot_seen *seen)
{
	struct txn txn;
	struct bytes key, value;
	struct err err;
	size_t left = truth->rows.count * 2 + 100;
	txn_begin(&txn, spool_store(spool), TXN_READ);
	bool found = txn_first(&txn, table, &key, &value);
	while (found && left-- > 0) {
		judge_row(seen, find_row(&truth->rows, table, key), table, key, value);
		found = txn_after(&txn, table, key, &key, &value);
	}
	if (!txn_commit(&txn, &err))
		seen->named++;
	else if (found) {
		seen->wrong++;
		note(seen, table, key, "rows without end");
	}
}

static void look_at_batch(struct spool *spool, const struct rot_truth *truth, size_t index,
                          bool after, struct rot_seen *seen)
{
	struct spool_batch_row row = batch_at(truth, index);
	struct spool_batch_info info;
	struct buffer payload = BUFFER_EMPTY;
	struct err err;
	if (spool_batch_payload(spool, &row.info.chain, row.info.first_height, &info, &payload,
	                        &err)) {
		/* Another batch may rightly stand there where a store went on from an older state. */
		bool ours = hash_equal(&info.content, &row.info.content);
		if (bytes_equal(buffer_bytes(&payload), row.payload)) {
			seen->batches[index] = ROT_SAME;
		} else if (ours || !after) {
			seen->wrong++;
			note(seen, SPOOL_BATCHES, BYTES_NONE, "a wrong payload");
		}
	} else {
		seen->batches[index] = err.code == ZR_CORRUPT ? ROT_NAMED : ROT_GONE;
	}
	buffer_fini(&payload);
}

static struct spool *open_spool(const char *dir, enum store_mode mode)
{
	struct spool *spool;
	struct err err;
	struct spool_options options = { .dir = dir, .mode = mode };
	store_exit_on_fault();
	if (!spool_open(&spool, &options, &err))
		_exit(err.code == ZR_IO ? EXIT_STORE_IO : EXIT_FAILED);
	return spool;
}

void rot_look(const char *dir, const struct rot_truth *truth, struct rot_seen *seen)
{
	struct spool *spool = open_spool(dir, STORE_READ);
	seen->opened = true;
	for (size_t i = 0; i < truth->batch_count; i++)
		look_at_batch(spool, truth, i, false, seen);
	for (size_t i = 0; i < truth->rows.count; i++)
		look_at_row(spool, &truth->rows.items[i], seen);
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++)
		look_through_table(spool, (enum spool_table)table, truth, seen);
}

void rot_look_after(const char *dir, const struct rot_truth *truth, struct rot_seen *seen)
{
	struct spool *spool = open_spool(dir, STORE_READ);
	for (size_t i = 0; i < truth->batch_count; i++) {
		struct spool_batch_row row = batch_at(truth, i);
		struct spool_chain chain;
		struct err err;
		look_at_batch(spool, truth, i, true, seen);
		if (spool_chain(spool, &row.info.chain, &chain, &err) &&
		    chain.held_from > row.info.first_height)
			seen->batches[i] = ROT_PRUNED;
	}
}

/* ---- going on with it, as the daemon does ---- */

static void stop_unless(bool ok, const struct err *err)
{
	if (!ok && err->code == ZR_IO)
		_exit(EXIT_STORE_IO);
}

/* What the edge still has, verified again. */
static void repair(struct spool *spool, const struct rot_truth *truth,
                   const struct spool_scrub *scrub, struct rot_seen *seen)
{
	struct spool_txn txn;
	struct err err;
	for (size_t i = 0; i < truth->batch_count; i++) {
		struct spool_batch_row row = batch_at(truth, i);
		if (!chain_key_equal(&row.info.chain, &scrub->bad_chain) ||
		    row.info.first_height != scrub->bad_from)
			continue;
		struct block_header *headers = calloc(row.info.block_count, sizeof(*headers));
		if (headers == NULL)
			abort();
		for (uint32_t block = 0; block < row.info.block_count; block++)
			headers[block] = spool_block_at(row.blocks, &row.parent,
			                                row.info.first_height, block);
		const struct spool_batch batch = { .chain = row.info.chain,
			                           .headers = headers,
			                           .block_count = row.info.block_count,
			                           .policy = row.info.policy,
			                           .codec = row.info.codec,
			                           .dictionary = row.info.dictionary,
			                           .content = row.info.content,
			                           .raw_size = row.info.raw_size,
			                           .payload = row.payload,
			                           .received_ms = row.info.received_ms,
			                           .agent = row.agent };
		spool_begin(&txn, spool, SPOOL_INTAKE);
		bool ok = spool_batch_repair(&txn, &batch, &err) && spool_commit(&txn, &err);
		spool_abort(&txn);
		stop_unless(ok, &err);
		seen->repaired += ok;
		free(headers);
	}
}

static void scrub_once(struct spool *spool, const struct rot_truth *truth, struct rot_seen *seen)
{
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	const struct spool_scrub_limits limits = { 64, 1u << 20 };
	struct err err;
	for (int i = 0; i < SLICES_MAX && scrub.round == 0; i++) {
		bool ok = spool_scrub_slice(spool, &scrub, &limits, &err);
		stop_unless(ok, &err);
		if (!ok && scrub.bad_payload)
			repair(spool, truth, &scrub, seen);
	}
}

static void take_in(struct spool *spool, const struct spool_chain *chain, size_t size)
{
	static uint8_t payload[9000];
	struct spool_txn txn;
	struct err err;
	uint64_t arrival;
	struct block_header header = { .height = chain->next_height, .parent = chain->tip };
	random_bytes(payload, size);
	random_bytes(&header.hash, sizeof(header.hash));
	struct spool_batch batch = { .chain = chain->key,
		                     .headers = &header,
		                     .block_count = 1,
		                     .policy = POLICY_ALL,
		                     .codec = CODEC_NONE,
		                     .content = sha256((struct bytes){ payload, size }),
		                     .raw_size = (uint32_t)size,
		                     .payload = { payload, size },
		                     .received_ms = FUTURE_MS,
		                     .agent = "rot" };
	spool_begin(&txn, spool, SPOOL_INTAKE);
	bool ok = spool_batch_put(&txn, &batch, &arrival, &err) && spool_commit(&txn, &err);
	spool_abort(&txn);
	stop_unless(ok, &err);
}

static void anchor(struct spool *spool, const struct spool_chain *chain)
{
	struct spool_txn txn;
	struct err err;
	struct spool_run run;
	struct spool_lane lane;
	bool ok = spool_pending_run(spool, &chain->key, 100, UINT64_MAX, &run, &err) &&
	          spool_lane(spool, chain->sink, 0, &lane, &err);
	stop_unless(ok, &err);
	if (!ok)
		return;
	struct entry entry = { .chain = chain->id,
		               .from = run.from,
		               .to = run.to,
		               .tip = run.tip,
		               .policy = run.policy };
	struct spool_anchor row = { .id = { chain->sink, 0, lane.newest_seq + 1 },
		                    .alg = HASH_SHA256,
		                    .deliver = DELIVER_ANCHOR,
		                    .previous = lane.newest_root };
	random_bytes(&row.root, sizeof(row.root));
	spool_begin(&txn, spool, SPOOL_UPKEEP);
	ok = spool_anchor_put(&txn, &row, &entry, 1, &err) && spool_commit(&txn, &err);
	spool_abort(&txn);
	stop_unless(ok, &err);
}

static void finalize_and_prune(struct spool *spool)
{
	struct spool_txn txn;
	struct err err;
	struct spool_lane lane;
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("evidence"), .final_ms = 1 };
	struct spool_prune_options prune = { .now_ms = FUTURE_MS,
		                             .retention_ms = 1,
		                             .batch_max = 20 };
	struct spool_prune_result result;
	bool ok = spool_lane(spool, SPOOL_SINK_MAIN, 0, &lane, &err);
	stop_unless(ok, &err);
	if (ok && lane.final_seq < lane.newest_seq) {
		struct spool_anchor_id id = { SPOOL_SINK_MAIN, 0, lane.final_seq + 1 };
		spool_begin(&txn, spool, SPOOL_UPKEEP);
		ok = spool_anchor_finalize(&txn, &id, &receipt, &err) && spool_commit(&txn, &err);
		spool_abort(&txn);
		stop_unless(ok, &err);
	}
	spool_begin(&txn, spool, SPOOL_UPKEEP);
	ok = spool_prune_slice(&txn, &prune, &result, &err) && spool_commit(&txn, &err);
	spool_abort(&txn);
	stop_unless(ok, &err);
}

void rot_live(const char *dir, const struct rot_truth *truth, struct rot_seen *seen)
{
	struct spool_chain chains[16];
	size_t count = 0;
	struct err err;
	struct spool *spool = open_spool(dir, STORE_WRITE);
	scrub_once(spool, truth, seen);
	for (int round = 0; round < ROUNDS; round++) {
		bool ok = spool_chains_page(spool, NULL, chains, 16, &count, &err);
		stop_unless(ok, &err);
		for (size_t i = 0; ok && i < count; i++)
			take_in(spool, &chains[i], round == 0 ? 8000 : 500);
		for (size_t i = 0; ok && i < count; i++)
			anchor(spool, &chains[i]);
		finalize_and_prune(spool);
	}
	spool_close(spool);
}

/* ---- verify and salvage ---- */

static void note_fault(const char *line, void *arg)
{
	struct rot_seen *seen = arg;
	if (seen->fault_count < ROT_FAULTS_MAX)
		snprintf(seen->faults[seen->fault_count], ROT_LINE_BYTES, "%s", line);
	seen->fault_count++;
}

void rot_judge(const char *dir, const struct rot_truth *truth, struct rot_seen *seen)
{
	struct spool_verify_result result;
	struct err err;
	struct rot_rows rows = { NULL, 0 };
	seen->verified = spool_verify(dir, note_fault, seen, NULL, &result, &err);
	seen->salvage_worked = salvage(dir, &rows, &err);
	for (size_t i = 0; i < rows.count; i++) {
		const struct rot_row *known =
			find_row(&truth->salvaged, SPOOL_BATCHES, rows.items[i].key);
		if (known == NULL || !bytes_equal(known->value, rows.items[i].value))
			seen->invented++;
	}
	for (size_t i = 0; i < truth->batch_count; i++) {
		const struct rot_row *held = &truth->rows.items[truth->batches[i]];
		seen->salvaged[i] = find_row(&rows, SPOOL_BATCHES, held->key) != NULL;
	}
}
