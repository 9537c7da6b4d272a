#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/spool_fixture.h"

static void a_batch_and_its_watermark_are_stored_together_and_read_back(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t arrival;
	add_chain(fixture, &chain);
	next_batch(&chain, 3, 1000, &batch);
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	assert_int_equal(spool_commit_number(&fixture->txn), 1);
	commit(fixture);
	assert_int_equal(arrival, 1);
	open_spool(fixture);

	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.next_height, 3);
	assert_true(hash_equal(&row.tip, &chain.tip));
	assert_int_equal(row.pending_from, 0);
	assert_int_equal(row.anchored_next, 0);
	assert_int_equal(row.received_blocks, 3);
	assert_int_equal(row.held_bytes, 1000);
	assert_int_equal(row.last_received_ms, TEST_TIME_MS);
	check_conservation(&row, 3);

	struct spool_batch_info info;
	struct buffer payload = BUFFER_EMPTY;
	MUST(spool_batch_payload(fixture->spool, &chain.key, 1, &info, &payload, &err));
	assert_int_equal(info.first_height, 0);
	assert_int_equal(info.block_count, 3);
	assert_int_equal(info.arrival, 1);
	assert_true(info.held);
	assert_true(bytes_equal(buffer_bytes(&payload), batch.batch.payload));
	assert_true(hash_equal(&info.content, &batch.batch.content));
	buffer_fini(&payload);
}

static void headers_are_given_as_they_were_put_across_batches(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batches[3];
	uint64_t arrival;
	add_chain(fixture, &chain);
	begin(fixture, SPOOL_INTAKE);
	for (int i = 0; i < 3; i++) {
		next_batch(&chain, 4, 100, &batches[i]);
		MUST(spool_batch_put(&fixture->txn, &batches[i].batch, &arrival, &err));
	}
	commit(fixture);
	struct block_header headers[12];
	size_t count;
	struct spool_range range = { chain.key, 2, 9 };
	MUST(spool_headers(fixture->spool, &range, headers, 12, &count, &err));
	assert_int_equal(count, 8);
	for (size_t i = 0; i < count; i++) {
		const struct block_header *put = &batches[(i + 2) / 4].headers[(i + 2) % 4];
		assert_int_equal(headers[i].height, put->height);
		assert_true(hash_equal(&headers[i].hash, &put->hash));
		assert_true(hash_equal(&headers[i].parent, &put->parent));
		assert_true(hash_equal(&headers[i].data_root, &put->data_root));
		assert_int_equal(headers[i].time_ms, put->time_ms);
		assert_int_equal(headers[i].entry_count, put->entry_count);
	}
	MUST(spool_headers(fixture->spool, &range, headers, 5, &count, &err));
	assert_int_equal(count, 5);
	assert_int_equal(headers[4].height, 6);
	MUST_FAIL(spool_header(fixture->spool, &chain.key, 12, headers, &err), ZR_STATE);
	MUST(spool_header(fixture->spool, &chain.key, 11, headers, &err));
	assert_true(hash_equal(&headers[0].hash, &chain.tip));

	struct spool_batch_info infos[4];
	MUST(spool_batches_page(fixture->spool, &chain.key, 5, infos, 4, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(infos[0].first_height, 4);
	assert_int_equal(infos[1].first_height, 8);
	MUST_FAIL(spool_batch_info(fixture->spool, &chain.key, 12, infos, &err), ZR_STATE);
}

/* Puts batch, which must be refused with code, and checks that nothing has changed. */
static void check_refused(struct fixture *fixture, const struct test_chain *chain,
                          const struct spool_batch *batch, enum err_code code)
{
	struct err err;
	uint64_t arrival = 77;
	struct spool_chain before = load(fixture, chain), after;
	MUST_FAIL(spool_batch_put(begin(fixture, SPOOL_INTAKE), batch, &arrival, &err), code);
	assert_true(spool_txn_ok(&fixture->txn));
	assert_int_equal(arrival, 77);
	commit(fixture);
	after = load(fixture, chain);
	assert_int_equal(after.next_height, before.next_height);
	assert_int_equal(after.received_blocks, before.received_blocks);
}

static void what_does_not_follow_the_tip_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	struct hash other = { .bytes = { 1 } };
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 2);
	struct test_chain ahead = chain;
	next_batch(&ahead, 1, 100, &batch);
	next_batch(&ahead, 1, 100, &batch);
	check_refused(fixture, &chain, &batch.batch, ZR_STATE); /* A hole. */
	batch.headers[0].parent = chain.tip;
	check_refused(fixture, &chain, &batch.batch, ZR_STATE); /* However well it links. */

	struct test_chain same = chain;
	next_batch(&same, 2, 100, &batch);
	batch.headers[0].parent = other;
	check_refused(fixture, &chain, &batch.batch, ZR_STATE); /* Another parent. */

	same = chain;
	next_batch(&same, 2, 100, &batch);
	batch.headers[1].parent = other;
	check_refused(fixture, &chain, &batch.batch, ZR_INVALID); /* Broken inside. */

	same = chain;
	next_batch(&same, 2, 100, &batch);
	batch.headers[1].height++;
	check_refused(fixture, &chain, &batch.batch, ZR_INVALID);

	same = chain;
	next_batch(&same, 2, 100, &batch);
	batch.batch.dictionary = other;
	check_refused(fixture, &chain, &batch.batch, ZR_INVALID); /* Not to be decompressed. */

	same = chain;
	next_batch(&same, 2, 100, &batch);
	batch.batch.trust = BYTES_LITERAL("set");
	batch.batch.trust_from = 5;
	check_refused(fixture, &chain, &batch.batch, ZR_STATE); /* A set from beyond the batch. */

	same = chain;
	next_batch(&same, 2, 0, &batch);
	check_refused(fixture, &chain, &batch.batch, ZR_INVALID);
	batch.batch.payload.size = 10;
	batch.batch.block_count = 0;
	check_refused(fixture, &chain, &batch.batch, ZR_INVALID);
	put_batch(fixture, &chain, 2);
}

static void a_height_beyond_2_63_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("far");
	struct test_batch batch;
	uint64_t arrival;
	chain.next_height = SPOOL_HEIGHT_MAX - 2;
	chain.tip.bytes[0] = 9;
	add_chain(fixture, &chain);
	next_batch(&chain, 2, 100, &batch);
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	next_batch(&chain, 1, 100, &batch);
	MUST_FAIL(spool_batch_put(&fixture->txn, &batch.batch, &arrival, &err), ZR_INVALID);
	commit(fixture);
}

static void a_first_block_must_be_its_epochs(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-0001"), impostor = chain;
	struct test_batch batch;
	add_chain(fixture, &chain);
	strcpy(impostor.id.name, "tq-0002");
	next_batch(&impostor, 1, 100, &batch);
	batch.batch.chain = chain.key;
	check_refused(fixture, &chain, &batch.batch, ZR_STATE);
}

static void one_refused_batch_does_not_cost_the_group(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain good = test_chain("good"), bad = test_chain("bad");
	struct test_batch batch;
	uint64_t arrival;
	add_chain(fixture, &good);
	begin(fixture, SPOOL_INTAKE);
	next_batch(&good, 1, 100, &batch);
	MUST(spool_batch_put(&fixture->txn, &batch.batch, &arrival, &err));
	next_batch(&bad, 1, 100, &batch); /* Never added. */
	MUST_FAIL(spool_batch_put(&fixture->txn, &batch.batch, &arrival, &err), ZR_STATE);
	next_batch(&good, 1, 100, &batch);
	MUST(spool_batch_put(&fixture->txn, &batch.batch, &arrival, &err));
	commit(fixture);
	assert_int_equal(arrival, 2);
	assert_int_equal(load(fixture, &good).next_height, 2);
}

static void an_aborted_transaction_leaves_no_trace_in_the_numbers(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001"), before;
	struct test_batch batch;
	uint64_t arrival;
	add_chain(fixture, &chain);
	before = chain;
	next_batch(&chain, 1, 100, &batch);
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	spool_abort(&fixture->txn);
	chain = before;
	assert_int_equal(put_batch(fixture, &chain, 1), 1);
	struct spool_totals totals;
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_int_equal(totals.commit_number, 1);
	assert_int_equal(totals.arrival_next, 2);
	assert_int_equal(totals.chain_count, 1);
	assert_int_equal(totals.received_blocks, 1);
}

static void a_trust_set_is_found_by_the_height_it_rules(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t arrival, from;
	struct buffer trust = BUFFER_EMPTY;
	add_chain(fixture, &chain);
	next_batch(&chain, 6, 100, &batch);
	batch.batch.trust = BYTES_LITERAL("trust 6");
	batch.batch.trust_from = 6;
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	MUST(spool_batch_trust(&fixture->txn, &chain.key, 3, BYTES_LITERAL("trust 3"), &err));
	MUST_FAIL(spool_batch_trust(&fixture->txn, &chain.key, 7, BYTES_LITERAL("x"), &err),
	          ZR_STATE);
	MUST_FAIL(spool_batch_trust(&fixture->txn, &chain.key, 0, BYTES_LITERAL("x"), &err),
	          ZR_STATE);
	commit(fixture);
	assert_int_equal(load(fixture, &chain).trust_from, 6);
	static const struct {
		uint64_t height, from;
		const char *set;
	} rows[] = { { 0, 0, "trust 0" }, { 2, 0, "trust 0" }, { 3, 3, "trust 3" },
		     { 5, 3, "trust 3" }, { 6, 6, "trust 6" }, { 900, 6, "trust 6" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buffer_clear(&trust);
		MUST(spool_trust_at(fixture->spool, &chain.key, rows[i].height, &trust, &from,
		                    &err));
		assert_int_equal(from, rows[i].from);
		assert_true(bytes_equal(buffer_bytes(&trust), bytes_of_string(rows[i].set)));
	}
	struct test_chain other = test_chain("other");
	MUST_FAIL(spool_trust_at(fixture->spool, &other.key, 3, &trust, &from, &err), ZR_STATE);
	MUST(spool_chain_set_trust(begin(fixture, SPOOL_UPKEEP), &chain.key,
	                           BYTES_LITERAL("by hand"), &err));
	commit(fixture);
	buffer_clear(&trust);
	MUST(spool_trust_at(fixture->spool, &chain.key, 6, &trust, &from, &err));
	assert_true(bytes_equal(buffer_bytes(&trust), BYTES_LITERAL("by hand")));
	buffer_fini(&trust);
}

/* ---- chains ---- */

static void a_chain_is_added_once_and_a_name_has_one_living_epoch(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001"), renewed = chain;
	add_chain(fixture, &chain);
	struct spool_chain_new row = { .id = chain.id,
		                       .format = "ledger",
		                       .trust = BYTES_LITERAL("trust"),
		                       .sink = 1,
		                       .class = 1 };
	MUST_FAIL(spool_chain_add(begin(fixture, SPOOL_INTAKE), &row, &err), ZR_STATE);
	renewed.id.epoch.bytes[0] ^= 1;
	row.id = renewed.id;
	MUST_FAIL(spool_chain_add(&fixture->txn, &row, &err), ZR_STATE);
	struct spool_chain_state_change retire = { .chain = chain.key,
		                                   .state = SPOOL_CHAIN_RETIRED,
		                                   .reason = "new genesis",
		                                   .who = "operator alice",
		                                   .now_ms = TEST_TIME_MS + 1 };
	MUST(spool_chain_set_state(&fixture->txn, &retire, &err));
	MUST(spool_chain_add(&fixture->txn, &row, &err));
	commit(fixture);

	struct spool_chain found;
	MUST(spool_chain_by_name(fixture->spool, "tq-0001", &found, &err));
	assert_true(hash_equal(&found.id.epoch, &renewed.id.epoch));
	found = load(fixture, &chain);
	assert_int_equal(found.state, SPOOL_CHAIN_RETIRED);
	assert_string_equal(found.state_reason, "new genesis");
	assert_string_equal(found.state_who, "operator alice");
	assert_int_equal(found.state_since_ms, TEST_TIME_MS + 1);
	retire.state = SPOOL_CHAIN_ACTIVE;
	MUST_FAIL(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &retire, &err), ZR_STATE);
	commit(fixture);
	MUST_FAIL(spool_chain_by_name(fixture->spool, "tq-0009", &found, &err), ZR_STATE);
	MUST_FAIL(spool_chain_by_name(fixture->spool, "", &found, &err), ZR_STATE);
}

static void what_is_wrong_with_a_new_chain_is_said(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct spool_chain_new good = { .id = chain.id,
		                        .format = "ledger",
		                        .trust = BYTES_LITERAL("trust"),
		                        .sink = 1,
		                        .class = 1 };
	struct spool_chain_new rows[5] = { good, good, good, good, good };
	strcpy(rows[0].id.name, "no/slash");
	rows[1].format = "";
	rows[2].format = "a-format-with-a-long-name";
	rows[3].trust = BYTES_NONE;
	rows[4].first_height = 7; /* Without a tip. */
	begin(fixture, SPOOL_INTAKE);
	for (size_t i = 0; i < 5; i++)
		MUST_FAIL(spool_chain_add(&fixture->txn, &rows[i], &err), ZR_INVALID);
	MUST(spool_chain_add(&fixture->txn, &good, &err));
	commit(fixture);
}

static void a_chain_that_moved_here_goes_on_where_it_was(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch skipped;
	next_batch(&chain, 5, 10, &skipped);
	add_chain(fixture, &chain);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.first_height, 5);
	assert_int_equal(row.anchored_next, 5);
	put_batch(fixture, &chain, 2);
	row = load(fixture, &chain);
	assert_int_equal(row.next_height, 7);
	assert_int_equal(row.pending_from, 5);
	check_conservation(&row, 2);
}

static void chains_are_paged_in_the_order_of_their_keys(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	for (int i = 0; i < 25; i++) {
		char name[32];
		snprintf(name, sizeof(name), "tq-%04d", i);
		struct test_chain chain = test_chain(name);
		add_chain(fixture, &chain);
	}
	struct spool_chain page[10];
	size_t count, total = 0;
	const struct chain_key *after = NULL;
	struct chain_key last;
	do {
		MUST(spool_chains_page(fixture->spool, after, page, 10, &count, &err));
		for (size_t i = 1; i < count; i++)
			assert_true(memcmp(&page[i - 1].key, &page[i].key, CHAIN_KEY_SIZE) < 0);
		total += count;
		if (count > 0)
			last = page[count - 1].key;
		after = &last;
	} while (count > 0);
	assert_int_equal(total, 25);
}

static void a_frozen_chain_takes_nothing_and_others_go_on(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001"), other = test_chain("tq-0002");
	struct test_batch batch;
	add_chain(fixture, &chain);
	add_chain(fixture, &other);
	put_batch(fixture, &chain, 1);
	struct spool_chain_state_change change = { .chain = chain.key,
		                                   .state = SPOOL_CHAIN_FROZEN,
		                                   .reason = "two blocks at one height",
		                                   .who = "gateway" };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &change, &err));
	commit(fixture);
	struct test_chain same = chain;
	next_batch(&same, 1, 100, &batch);
	check_refused(fixture, &chain, &batch.batch, ZR_STATE);
	put_batch(fixture, &other, 1);
	change.state = SPOOL_CHAIN_ACTIVE;
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &change, &err));
	commit(fixture);
	put_batch(fixture, &chain, 1);
}

static size_t pending_count(struct fixture *fixture, uint8_t class)
{
	struct err err;
	struct spool_pending pending[8];
	size_t count;
	MUST(spool_pending_page(fixture->spool,
	                        &(struct spool_pending_query){ .sink = 1, .class = class }, pending,
	                        8, &count, &err));
	return count;
}

static void the_pending_index_follows_class_hold_and_drain(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain a = test_chain("a"), b = test_chain("b");
	add_chain(fixture, &a);
	add_chain(fixture, &b);
	assert_int_equal(pending_count(fixture, 1), 0);
	put_batch(fixture, &a, 1);
	put_batch(fixture, &b, 1);
	put_batch(fixture, &b, 1);
	assert_int_equal(pending_count(fixture, 1), 2);
	MUST(spool_chain_set_class(begin(fixture, SPOOL_UPKEEP), &b.key, 4, &err));
	commit(fixture);
	assert_int_equal(pending_count(fixture, 1), 1);
	assert_int_equal(pending_count(fixture, 4), 1);
	struct spool_chain_state_change hold = { .chain = b.key,
		                                 .state = SPOOL_CHAIN_FROZEN,
		                                 .reason = "refused",
		                                 .who = "gateway",
		                                 .delivery_held = true };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &hold, &err));
	commit(fixture);
	assert_int_equal(pending_count(fixture, 4), 0);
	struct spool_run run;
	MUST_FAIL(spool_pending_run(fixture->spool, &b.key, 10, 1000, &run, &err), ZR_STATE);
	hold.delivery_held = false;
	hold.state = SPOOL_CHAIN_ACTIVE;
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &hold, &err));
	commit(fixture);
	assert_int_equal(pending_count(fixture, 4), 1);
	anchor_all(fixture, &b);
	assert_int_equal(pending_count(fixture, 4), 0);
	put_batch(fixture, &b, 1);
	assert_int_equal(pending_count(fixture, 4), 1);
}

static void pending_chains_are_paged_after_a_key(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	for (int i = 0; i < 6; i++) {
		char name[8];
		snprintf(name, sizeof(name), "c%d", i);
		struct test_chain chain = test_chain(name);
		add_chain(fixture, &chain);
		put_batch(fixture, &chain, 1);
	}
	struct spool_pending first[4], rest[4];
	size_t count;
	struct spool_pending_query query = { .sink = 1, .class = 1 };
	MUST(spool_pending_page(fixture->spool, &query, first, 4, &count, &err));
	assert_int_equal(count, 4);
	query.after = &first[3].chain;
	MUST(spool_pending_page(fixture->spool, &query, rest, 4, &count, &err));
	assert_int_equal(count, 2);
	assert_true(memcmp(&first[3].chain, &rest[0].chain, CHAIN_KEY_SIZE) < 0);
	query.class = 2;
	query.after = NULL;
	MUST(spool_pending_page(fixture->spool, &query, rest, 4, &count, &err));
	assert_int_equal(count, 0);
}

static void a_run_stops_at_policy_size_and_count(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t arrival;
	struct spool_run run;
	add_chain(fixture, &chain);
	for (int i = 0; i < 4; i++) {
		next_batch(&chain, 2, 100, &batch);
		batch.batch.policy = i < 3 ? POLICY_ALL : POLICY_TAIL;
		MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
		commit(fixture);
	}
	MUST(spool_pending_run(fixture->spool, &chain.key, 100, 10000, &run, &err));
	assert_int_equal(run.to, 5); /* The policy changes. */
	assert_int_equal(run.batch_count, 3);
	assert_int_equal(run.payload_bytes, 300);
	MUST(spool_pending_run(fixture->spool, &chain.key, 5, 10000, &run, &err));
	assert_int_equal(run.to, 3);
	MUST(spool_pending_run(fixture->spool, &chain.key, 100, 250, &run, &err));
	assert_int_equal(run.to, 3);
	MUST(spool_pending_run(fixture->spool, &chain.key, 1, 1, &run, &err));
	assert_int_equal(run.to, 1); /* The first always fits. */
	assert_int_equal(run.block_count, 2);
	struct block_header header;
	MUST(spool_header(fixture->spool, &chain.key, 1, &header, &err));
	assert_true(hash_equal(&run.tip, &header.hash));
}

/* ---- adopting ---- */

static struct spool_adoption adoption_of(const struct test_chain *chain, uint64_t anchored_next)
{
	return (struct spool_adoption){ .chain = chain->key,
		                        .next_height = chain->next_height,
		                        .tip = chain->tip,
		                        .anchored_next = anchored_next,
		                        .who = "operator bob",
		                        .why = "disk of 3 May",
		                        .now_ms = TEST_TIME_MS };
}

static void adoption_goes_on_behind_lost_heights_and_anchors_around_them(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch lost;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 2);
	put_batch(fixture, &chain, 2);
	next_batch(&chain, 6, 10, &lost); /* 4..9: nobody has them. */
	struct spool_chain_state_change restored = { .chain = chain.key,
		                                     .state = SPOOL_CHAIN_RESTORED,
		                                     .reason = "custody above our watermark",
		                                     .who = "gateway" };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &restored, &err));
	struct spool_adoption adoption = adoption_of(&chain, 1);
	MUST_FAIL(spool_chain_adopt(&fixture->txn, &adoption, &err), ZR_STATE); /* In a batch. */
	adoption.anchored_next = 11;
	MUST_FAIL(spool_chain_adopt(&fixture->txn, &adoption, &err), ZR_STATE);
	adoption.anchored_next = 2;
	adoption.next_height = 3;
	MUST_FAIL(spool_chain_adopt(&fixture->txn, &adoption, &err), ZR_STATE);
	adoption.next_height = 4; /* Ours, but with another tip. */
	MUST_FAIL(spool_chain_adopt(&fixture->txn, &adoption, &err), ZR_STATE);
	adoption = adoption_of(&chain, 2);
	MUST(spool_chain_adopt(&fixture->txn, &adoption, &err));
	commit(fixture);

	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.state, SPOOL_CHAIN_ACTIVE);
	assert_int_equal(row.next_height, 10);
	assert_int_equal(row.anchored_next, 2);
	assert_int_equal(row.anchored_floor, 2);
	assert_int_equal(row.lost_heights, 6);
	assert_int_equal(row.anchored_blocks, 2);
	check_conservation(&row, 2);

	struct spool_tombstone tombstones[2];
	size_t count;
	MUST(spool_tombstones_page(fixture->spool, NULL, tombstones, 2, &count, &err));
	assert_int_equal(count, 1);
	assert_int_equal(tombstones[0].kind, SPOOL_TOMBSTONE_LOST);
	assert_int_equal(tombstones[0].from, 4);
	assert_int_equal(tombstones[0].to, 9);
	assert_string_equal(tombstones[0].who, "operator bob");
	assert_string_equal(tombstones[0].why, "disk of 3 May");

	put_batch(fixture, &chain, 3); /* 10..12 */
	struct entry entry = pending_entry(fixture, &chain, UINT64_MAX);
	assert_int_equal(entry.from, 2);
	assert_int_equal(entry.to, 3); /* Not across what is lost. */
	anchor_all(fixture, &chain);
	row = load(fixture, &chain);
	assert_int_equal(row.pending_from, 10);
	assert_int_equal(row.anchored_next, 10);
	entry = pending_entry(fixture, &chain, UINT64_MAX);
	assert_int_equal(entry.from, 10);
	assert_int_equal(entry.to, 12);
	anchor_all(fixture, &chain);
	row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 13);
	check_conservation(&row, 0);

	struct block_header headers[16];
	struct spool_range range = { chain.key, 0, 20 };
	MUST(spool_headers(fixture->spool, &range, headers, 16, &count, &err));
	assert_int_equal(count, 7);
	assert_int_equal(headers[3].height, 3);
	assert_int_equal(headers[4].height, 10);
}

static void adoption_of_a_chain_that_is_anchored_further_than_it_is_held(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch lost;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 4);
	next_batch(&chain, 6, 10, &lost);
	struct spool_adoption adoption = adoption_of(&chain, 7);
	MUST(spool_chain_adopt(begin(fixture, SPOOL_UPKEEP), &adoption, &err));
	commit(fixture);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 10);
	assert_int_equal(row.pending_from, 10);
	assert_int_equal(row.anchored_blocks, 4);
	check_conservation(&row, 0);
	assert_int_equal(pending_count(fixture, 1), 0);
	put_batch(fixture, &chain, 1);
	assert_int_equal(pending_count(fixture, 1), 1);
}

static void a_chain_with_open_anchors_is_not_adopted(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	const struct test_chain *chains[] = { &chain };
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 4);
	put_anchor(fixture, chains, 1);
	struct spool_adoption adoption = adoption_of(&chain, 4);
	MUST_FAIL(spool_chain_adopt(begin(fixture, SPOOL_UPKEEP), &adoption, &err), ZR_STATE);
	commit(fixture);
}

/* ---- full ---- */

static void a_full_spool_refuses_intake_keeps_anchoring_and_resumes(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	struct spool_stats stats;
	uint64_t arrival, count = 0;
	add_chain(fixture, &chain);
	struct test_chain before = chain;
	for (bool ok = true; ok; count++) {
		before = chain;
		next_batch(&chain, 4, 4096, &batch);
		ok = spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err);
		commit(fixture);
	}
	chain = before;
	assert_int_equal(err.code, ZR_FULL);
	assert_true(count > 1000);
	MUST(spool_stats(fixture->spool, &stats, &err));
	assert_true(stats.used_bytes < stats.limit_bytes);
	assert_true(stats.used_bytes + (64u << 10) > stats.mark_bytes);

	/* Receipts and deletes still go. */
	while (load(fixture, &chain).pending_from < chain.next_height) {
		struct entry entry = pending_entry(fixture, &chain, 400);
		struct spool_anchor anchor = next_anchor(fixture);
		MUST(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), &anchor, &entry, 1, &err));
		commit(fixture);
		fixture->seq++;
		fixture->root = anchor.root;
		finalize(fixture, &anchor.id, TEST_TIME_MS);
	}
	struct spool_chain row = load(fixture, &chain);
	check_conservation(&row, 0);
	assert_int_equal(row.anchored_next, chain.next_height);
}

static void what_was_refused_counts_as_full_until_it_would_fit(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain small = test_chain("small"), large = test_chain("large");
	struct test_batch batch;
	struct spool_stats stats;
	uint64_t arrival;
	static uint8_t payload[2u << 20];
	add_chain(fixture, &small);
	add_chain(fixture, &large);
	do {
		next_batch(&small, 1, 4096, &batch);
		batch.batch.payload = (struct bytes){ payload, 200000 };
		batch.batch.content = sha256(batch.batch.payload);
		MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
		commit(fixture);
		MUST(spool_stats(fixture->spool, &stats, &err));
	} while (stats.used_bytes + (1u << 20) < stats.mark_bytes);
	assert_false(stats.intake_full);
	next_batch(&large, 1, 1, &batch);
	batch.batch.payload = (struct bytes){ payload, 1300000 };
	MUST_FAIL(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err),
	          ZR_FULL);
	commit(fixture);
	MUST(spool_stats(fixture->spool, &stats, &err));
	assert_true(stats.intake_full); /* So pruning makes room for it. */
	put_batch(fixture, &small, 1);  /* Others still fit. */
	MUST(spool_set_reserve(fixture->spool, 300u << 10, &err));
	MUST_FAIL(spool_set_reserve(fixture->spool, 9u << 20, &err), ZR_INVALID);
	put_batch(fixture, &small, 1);
	MUST(spool_stats(fixture->spool, &stats, &err));
	assert_int_equal(stats.mark_bytes, stats.limit_bytes - (300u << 10));

	/* Now it would fit, and is forgotten: less room than it wanted is not full any more. */
	assert_false(stats.intake_full);
	next_batch(&small, 1, 1, &batch);
	batch.batch.payload = (struct bytes){ payload, 600000 };
	batch.batch.content = sha256(batch.batch.payload);
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	commit(fixture);
	MUST(spool_stats(fixture->spool, &stats, &err));
	assert_true(stats.used_bytes + 1300000 > stats.mark_bytes);
	assert_false(stats.intake_full);
}

/* ---- repair ---- */

static void a_damaged_payload_is_replaced_by_the_same_blocks_only(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001"), before;
	struct test_batch batch, again;
	uint64_t arrival;
	add_chain(fixture, &chain);
	before = chain;
	next_batch(&chain, 3, 500, &batch);
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	commit(fixture);
	put_batch(fixture, &chain, 1);
	struct test_chain same = before;
	next_batch(&same, 3, 700, &again);
	again.headers[2].hash.bytes[0] ^= 1;
	MUST_FAIL(spool_batch_repair(begin(fixture, SPOOL_INTAKE), &again.batch, &err), ZR_STATE);
	same = before;
	next_batch(&same, 2, 700, &again);
	MUST_FAIL(spool_batch_repair(&fixture->txn, &again.batch, &err), ZR_STATE);
	same = before;
	next_batch(&same, 3, 700, &again);
	MUST(spool_batch_repair(&fixture->txn, &again.batch, &err));
	commit(fixture);
	struct spool_batch_info info;
	struct buffer payload = BUFFER_EMPTY;
	MUST(spool_batch_payload(fixture->spool, &chain.key, 0, &info, &payload, &err));
	assert_true(bytes_equal(buffer_bytes(&payload), again.batch.payload));
	assert_int_equal(load(fixture, &chain).held_bytes, 900);
	buffer_fini(&payload);
}

/* ---- named values ---- */

static void named_values_are_kept_replaced_and_removed(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct buffer value = BUFFER_EMPTY;
	MUST(spool_meta_put(begin(fixture, SPOOL_UPKEEP), "fence", BYTES_LITERAL("7"), &err));
	MUST_FAIL(spool_meta_put(&fixture->txn, ".totals", BYTES_LITERAL("7"), &err), ZR_INVALID);
	MUST_FAIL(spool_meta_put(&fixture->txn, "", BYTES_LITERAL("7"), &err), ZR_INVALID);
	commit(fixture);
	MUST(spool_meta_get(fixture->spool, "fence", &value, &err));
	assert_true(bytes_equal(buffer_bytes(&value), BYTES_LITERAL("7")));
	MUST(spool_meta_put(begin(fixture, SPOOL_UPKEEP), "fence", BYTES_NONE, &err));
	commit(fixture);
	buffer_clear(&value);
	MUST(spool_meta_get(fixture->spool, "fence", &value, &err));
	assert_int_equal(value.size, 0);
	buffer_fini(&value);
}

static void a_class_keeps_its_number_for_ever(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	uint8_t number;
	MUST(spool_class_number(begin(fixture, SPOOL_UPKEEP), "bulk", &number, &err));
	assert_int_equal(number, 1);
	MUST(spool_class_number(&fixture->txn, "alarm", &number, &err));
	assert_int_equal(number, 2);
	commit(fixture);
	open_spool(fixture);
	MUST(spool_class_number(begin(fixture, SPOOL_UPKEEP), "bulk", &number, &err));
	assert_int_equal(number, 1);
	for (int i = 3; i <= 255; i++) {
		char name[16];
		snprintf(name, sizeof(name), "class-%d", i);
		MUST(spool_class_number(&fixture->txn, name, &number, &err));
		assert_int_equal(number, i);
	}
	MUST_FAIL(spool_class_number(&fixture->txn, "one-more", &number, &err), ZR_FULL);
	MUST_FAIL(spool_class_number(&fixture->txn, "", &number, &err), ZR_INVALID);
	commit(fixture);
}

static void a_reserve_over_half_of_the_spool_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	spool_close(fixture->spool);
	fixture->spool = NULL;
	struct spool_options options = { .dir = fixture->dir,
		                         .mode = STORE_WRITE,
		                         .reserve_bytes = 9u << 20 };
	MUST_FAIL(spool_open(&fixture->spool, &options, &err), ZR_INVALID);
	assert_null(fixture->spool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(a_batch_and_its_watermark_are_stored_together_and_read_back),
		WITH_SPOOL(headers_are_given_as_they_were_put_across_batches),
		WITH_SPOOL(what_does_not_follow_the_tip_is_refused),
		WITH_SPOOL(a_height_beyond_2_63_is_refused),
		WITH_SPOOL(a_first_block_must_be_its_epochs),
		WITH_SPOOL(one_refused_batch_does_not_cost_the_group),
		WITH_SPOOL(an_aborted_transaction_leaves_no_trace_in_the_numbers),
		WITH_SPOOL(a_trust_set_is_found_by_the_height_it_rules),
		WITH_SPOOL(a_chain_is_added_once_and_a_name_has_one_living_epoch),
		WITH_SPOOL(what_is_wrong_with_a_new_chain_is_said),
		WITH_SPOOL(a_chain_that_moved_here_goes_on_where_it_was),
		WITH_SPOOL(chains_are_paged_in_the_order_of_their_keys),
		WITH_SPOOL(a_frozen_chain_takes_nothing_and_others_go_on),
		WITH_SPOOL(the_pending_index_follows_class_hold_and_drain),
		WITH_SPOOL(pending_chains_are_paged_after_a_key),
		WITH_SPOOL(a_run_stops_at_policy_size_and_count),
		WITH_SPOOL(adoption_goes_on_behind_lost_heights_and_anchors_around_them),
		WITH_SPOOL(adoption_of_a_chain_that_is_anchored_further_than_it_is_held),
		WITH_SPOOL(a_chain_with_open_anchors_is_not_adopted),
		WITH_SPOOL(a_full_spool_refuses_intake_keeps_anchoring_and_resumes),
		WITH_SPOOL(what_was_refused_counts_as_full_until_it_would_fit),
		WITH_SPOOL(a_damaged_payload_is_replaced_by_the_same_blocks_only),
		WITH_SPOOL(named_values_are_kept_replaced_and_removed),
		WITH_SPOOL(a_class_keeps_its_number_for_ever),
		WITH_SPOOL(a_reserve_over_half_of_the_spool_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
