#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "spool/agent.h"
#include "tests/lib/temp_folder.h"

struct fixture {
	char dir[64];
	struct agent_store *store;
	struct chain_key ledger, fabric;
};

static struct hash hash_of(uint64_t number)
{
	uint8_t bytes[8];
	put_be64(bytes, number);
	return sha256(BYTES_OF(bytes));
}

static struct block_header header_of(uint64_t height)
{
	return (struct block_header){ .height = height,
		                      .hash = hash_of(height + 1),
		                      .parent = height == 0 ? (struct hash){ { 0 } }
		                                            : hash_of(height),
		                      .data_root = hash_of(1000 + height),
		                      .time_ms = (int64_t)(height * 900000),
		                      .entry_count = 15 };
}

static struct chain_key add_chain(struct agent_store *store, const char *name, bool is_ledger)
{
	struct block_header genesis = header_of(0);
	struct agent_chain_new chain = { .format = is_ledger ? "ledger" : "fabric",
		                         .is_ledger = is_ledger,
		                         .genesis = is_ledger ? &genesis : NULL,
		                         .genesis_raw = BYTES_LITERAL("genesis"),
		                         .now_ms = 1 };
	(void)snprintf(chain.id.name, sizeof(chain.id.name), "%s", name);
	chain.id.epoch = hash_of(7);
	assert_true(agent_chain_add(store, &chain, NULL));
	return chain_key(&chain.id);
}

static int open_store(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	temp_folder_make(fixture->dir, sizeof(fixture->dir));
	if (rmdir(fixture->dir) != 0)
		return -1;
	struct err err;
	if (!agent_store_create(fixture->dir, 4 << 20, 1, &err) ||
	    !agent_store_open(&fixture->store, fixture->dir, STORE_WRITE, 0, &err)) {
		print_message("%s\n", err.message);
		return -1;
	}
	fixture->ledger = add_chain(fixture->store, "tq-0001", true);
	fixture->fabric = add_chain(fixture->store, "edge-1", false);
	*state = fixture;
	return 0;
}

static int close_store(void **state)
{
	struct fixture *fixture = *state;
	agent_store_close(fixture->store);
	temp_folder_remove(fixture->dir);
	free(fixture);
	return 0;
}

static void reopen(struct fixture *fixture)
{
	agent_store_close(fixture->store);
	assert_true(agent_store_open(&fixture->store, fixture->dir, STORE_WRITE, 0, NULL));
}

static struct agent_chain chain_of(struct fixture *fixture, const struct chain_key *key)
{
	struct agent_chain chain;
	assert_true(agent_chain(fixture->store, key, &chain, NULL));
	return chain;
}

static uint64_t append(struct fixture *fixture, const char *text, size_t count)
{
	struct bytes entries[32];
	uint64_t first = 0;
	for (size_t i = 0; i < count; i++)
		entries[i] = bytes_of_string(text);
	struct agent_append append = { .chain = fixture->ledger,
		                       .entries = entries,
		                       .entry_count = count,
		                       .position = BYTES_LITERAL("at 7"),
		                       .now_ms = 55 };
	assert_true(agent_ledger_append(fixture->store, &append, &first, NULL));
	return first;
}

static void seal(struct fixture *fixture, uint64_t height, size_t entries)
{
	struct block_header header = header_of(height);
	assert_true(agent_ledger_seal(fixture->store, &fixture->ledger, &header,
	                              BYTES_LITERAL("raw block"), entries, NULL));
}

static void entries_outlive_the_process_until_a_block_holds_them(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(append(fixture, "1.5 kWh", 3), 0);
	assert_int_equal(append(fixture, "2 kWh", 2), 3);
	reopen(fixture);
	struct agent_chain chain = chain_of(fixture, &fixture->ledger);
	assert_int_equal(chain.entry_next, 5);
	assert_int_equal(chain.open_bytes, 3 * 7 + 2 * 5);
	assert_int_equal(chain.open_since_ms, 55);
	struct agent_entries entries = AGENT_ENTRIES_EMPTY;
	assert_true(agent_ledger_open_entries(fixture->store, &fixture->ledger, 4, 1000, &entries,
	                                      NULL));
	assert_int_equal(entries.count, 4);
	assert_int_equal(entries.sizes[3], 5);
	assert_memory_equal(entries.data.data, "1.5 kWh1.5 kWh1.5 kWh2 kWh", entries.data.size);
	assert_true(
		agent_ledger_open_entries(fixture->store, &fixture->ledger, 4, 8, &entries, NULL));
	assert_int_equal(entries.count, 1);
	agent_entries_fini(&entries);
	seal(fixture, 1, 5);
	reopen(fixture);
	chain = chain_of(fixture, &fixture->ledger);
	assert_int_equal(chain.next_height, 2);
	assert_int_equal(chain.entry_sealed, 5);
	assert_int_equal(chain.open_bytes, 0);
	assert_int_equal(chain.open_since_ms, 0);
	/* No other block may hold them again. */
	assert_true(agent_ledger_open_entries(fixture->store, &fixture->ledger, 9, 1000, &entries,
	                                      NULL));
	assert_int_equal(entries.count, 0);
	agent_entries_fini(&entries);
	struct buffer position = BUFFER_EMPTY;
	assert_true(agent_position_get(fixture->store, &fixture->ledger, &position, NULL));
	assert_memory_equal(position.data, "at 7", 4);
	buffer_fini(&position);
}

static void a_block_that_does_not_follow_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	append(fixture, "x", 2);
	struct block_header far = header_of(2), foreign = header_of(1), next = header_of(1);
	foreign.parent = hash_of(99);
	assert_false(agent_ledger_seal(fixture->store, &fixture->ledger, &far, BYTES_LITERAL("r"),
	                               1, &err));
	assert_int_equal(err.code, ZR_STATE);
	assert_false(agent_ledger_seal(fixture->store, &fixture->ledger, &foreign,
	                               BYTES_LITERAL("r"), 1, &err));
	assert_false(agent_ledger_seal(fixture->store, &fixture->ledger, &next, BYTES_LITERAL("r"),
	                               3, &err));
	assert_false(agent_ledger_seal(fixture->store, &fixture->fabric, &next, BYTES_LITERAL("r"),
	                               0, &err));
	struct agent_chain chain = chain_of(fixture, &fixture->ledger);
	assert_int_equal(chain.next_height, 1);
	assert_int_equal(chain.entry_sealed, 0);
}

static void a_full_store_takes_no_entry_and_keeps_the_others(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t large[200000];
	struct bytes entry = { large, sizeof(large) };
	struct agent_append append_one = { .chain = fixture->ledger,
		                           .entries = &entry,
		                           .entry_count = 1 };
	struct err err = { .code = ZR_OK };
	uint64_t first = 0, taken = 0;
	while (agent_ledger_append(fixture->store, &append_one, &first, &err))
		taken++;
	assert_int_equal(err.code, ZR_FULL);
	assert_true(taken > 5);
	assert_int_equal(chain_of(fixture, &fixture->ledger).entry_next, taken);
	entry.size = 0;
	assert_false(agent_ledger_append(fixture->store, &append_one, &first, &err));
	assert_int_equal(err.code, ZR_INVALID);
}

static void pruning_keeps_the_genesis_and_every_header(void **state)
{
	struct fixture *fixture = *state;
	bool more = true;
	struct buffer raw = BUFFER_EMPTY;
	struct err err;
	for (uint64_t height = 1; height <= 10; height++)
		seal(fixture, height, 0);
	assert_true(agent_prune(fixture->store, &fixture->ledger, 6, 3, &more, NULL));
	assert_true(more);
	assert_true(agent_prune(fixture->store, &fixture->ledger, 6, 100, &more, NULL));
	assert_false(more);
	assert_int_equal(chain_of(fixture, &fixture->ledger).oldest_height, 6);
	assert_true(agent_block(fixture->store, &fixture->ledger, 0, &raw, NULL));
	assert_true(agent_block(fixture->store, &fixture->ledger, 6, &raw, NULL));
	assert_false(agent_block(fixture->store, &fixture->ledger, 5, &raw, &err));
	assert_int_equal(err.code, ZR_STATE);
	buffer_fini(&raw);
	struct block_header headers[20];
	struct agent_range range = { .chain = fixture->ledger, .from = 2, .to = 9 };
	size_t count = 0;
	assert_true(agent_headers(fixture->store, &range, headers, 20, &count, NULL));
	assert_int_equal(count, 8);
	assert_int_equal(headers[0].height, 2);
}

static void headers_of_a_foreign_chain_follow_each_other_or_are_a_fork(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct block_header headers[3] = { header_of(5), header_of(6), header_of(7) };
	assert_true(agent_headers_put(fixture->store, &fixture->fabric, headers, 2, NULL));
	assert_true(agent_headers_put(fixture->store, &fixture->fabric, headers, 3, NULL));
	assert_int_equal(chain_of(fixture, &fixture->fabric).next_height, 8);
	assert_int_equal(chain_of(fixture, &fixture->fabric).oldest_height, 5);
	struct block_header hole = header_of(9), other = header_of(6);
	assert_false(agent_headers_put(fixture->store, &fixture->fabric, &hole, 1, &err));
	other.hash = hash_of(77);
	assert_false(agent_headers_put(fixture->store, &fixture->fabric, &other, 1, &err));
	assert_non_null(strstr(err.message, "fork"));
}

static void only_the_newest_custody_receipts_are_kept(void **state)
{
	struct fixture *fixture = *state;
	struct buffer receipt = BUFFER_EMPTY;
	bool found = true;
	struct agent_custody custody;
	assert_true(agent_custody_newest(fixture->store, &fixture->ledger, &custody, &receipt,
	                                 &found, NULL));
	assert_false(found);
	for (uint64_t to = 3; to < 30; to += 3) {
		struct agent_custody next = { .from = to - 2, .to = to, .tip = hash_of(to) };
		assert_true(agent_custody_put(fixture->store, &fixture->ledger, &next,
		                              BYTES_LITERAL("signed"), NULL));
	}
	assert_true(agent_custody_newest(fixture->store, &fixture->ledger, &custody, &receipt,
	                                 &found, NULL));
	assert_true(found);
	assert_int_equal(custody.to, 27);
	assert_int_equal(custody.from, 25);
	assert_memory_equal(receipt.data, "signed", 6);
	buffer_fini(&receipt);
	assert_int_equal(chain_of(fixture, &fixture->ledger).durable_next, 28);
	struct agent_custody older = { .from = 1, .to = 1 };
	assert_true(agent_custody_put(fixture->store, &fixture->ledger, &older,
	                              BYTES_LITERAL("old"), NULL));
	assert_int_equal(chain_of(fixture, &fixture->ledger).durable_next, 28);
	struct store_stats stats;
	assert_true(store_stats(agent_store_base(fixture->store), &stats, NULL));
	assert_int_equal(stats.row_counts[5], AGENT_CUSTODY_KEPT);
}

static struct agent_anchored_run run_of(const struct chain_key *chain, uint64_t from, uint64_t to,
                                        uint64_t seq)
{
	return (struct agent_anchored_run){
		.chain = *chain,
		.anchored = { .from = from, .to = to, .root = hash_of(seq), .lane = 1, .seq = seq },
	};
}

static void the_anchored_watermark_waits_for_the_run_that_is_missing(void **state)
{
	struct fixture *fixture = *state;
	struct agent_anchored_run third = run_of(&fixture->ledger, 9, 12, 3);
	struct agent_anchored_run first = run_of(&fixture->ledger, 0, 4, 1);
	struct agent_anchored_run second = run_of(&fixture->ledger, 5, 8, 2);
	assert_true(agent_anchored_put(fixture->store, BYTES_LITERAL("m3"), &third, 1, NULL));
	assert_int_equal(chain_of(fixture, &fixture->ledger).anchored_next, 0);
	assert_true(agent_anchored_put(fixture->store, BYTES_LITERAL("m1"), &first, 1, NULL));
	assert_int_equal(chain_of(fixture, &fixture->ledger).anchored_next, 5);
	assert_true(agent_anchored_put(fixture->store, BYTES_LITERAL("m2"), &second, 1, NULL));
	assert_int_equal(chain_of(fixture, &fixture->ledger).anchored_next, 13);
	assert_true(agent_anchored_put(fixture->store, BYTES_LITERAL("m2"), &second, 1, NULL));
	struct agent_anchored runs[5], run;
	size_t count = 0;
	bool found = false;
	struct buffer message = BUFFER_EMPTY;
	assert_true(
		agent_anchored_page(fixture->store, &fixture->ledger, 6, runs, 5, &count, NULL));
	assert_int_equal(count, 2);
	assert_int_equal(runs[0].from, 5);
	assert_true(
		agent_anchored(fixture->store, &fixture->ledger, 10, &run, &message, &found, NULL));
	assert_true(found);
	assert_memory_equal(message.data, "m3", 2);
	assert_true(agent_anchored(fixture->store, &fixture->ledger, 13, &run, NULL, &found, NULL));
	assert_false(found);
	buffer_fini(&message);
}

static void a_receipt_of_two_chains_goes_when_neither_needs_it(void **state)
{
	struct fixture *fixture = *state;
	struct block_header headers[] = { header_of(0), header_of(1), header_of(2) };
	bool more = false, found = false;
	struct agent_anchored run;
	struct buffer message = BUFFER_EMPTY;
	assert_true(agent_headers_put(fixture->store, &fixture->fabric, headers, 3, NULL));
	struct agent_anchored_run runs[2] = { run_of(&fixture->ledger, 0, 0, 1),
		                              run_of(&fixture->fabric, 0, 2, 1) };
	assert_true(agent_anchored_put(fixture->store, BYTES_LITERAL("both"), runs, 2, NULL));
	assert_true(agent_prune_receipts(fixture->store, &fixture->ledger, 1, 100, &more, NULL));
	assert_true(
		agent_anchored(fixture->store, &fixture->fabric, 2, &run, &message, &found, NULL));
	assert_true(found);
	do {
		assert_true(
			agent_prune_receipts(fixture->store, &fixture->fabric, 3, 1, &more, NULL));
	} while (more);
	assert_true(agent_anchored(fixture->store, &fixture->fabric, 2, &run, NULL, &found, NULL));
	assert_false(found);
	struct store_stats stats;
	assert_true(store_stats(agent_store_base(fixture->store), &stats, NULL));
	assert_int_equal(stats.row_counts[7], 0);
	buffer_fini(&message);
}

static void a_chain_is_handed_to_one_gateway_store_only(void **state)
{
	struct fixture *fixture = *state;
	const uint8_t first[STORE_UUID_SIZE] = { 1 }, second[STORE_UUID_SIZE] = { 2 };
	struct err err;
	assert_true(agent_pin(fixture->store, &fixture->ledger, first, NULL));
	assert_true(agent_pin(fixture->store, &fixture->ledger, first, NULL));
	assert_false(agent_pin(fixture->store, &fixture->ledger, second, &err));
	assert_int_equal(err.code, ZR_STATE);
	reopen(fixture);
	assert_true(chain_of(fixture, &fixture->ledger).pinned);
	assert_true(agent_unpin(fixture->store, &fixture->ledger, NULL));
	assert_true(agent_pin(fixture->store, &fixture->ledger, second, NULL));
}

static void the_gateways_time_never_runs_backwards(void **state)
{
	struct fixture *fixture = *state;
	int64_t time_ms = -1;
	assert_true(agent_gateway_time(fixture->store, &time_ms, NULL));
	assert_int_equal(time_ms, 0);
	assert_true(agent_gateway_time_put(fixture->store, 1000, NULL));
	assert_true(agent_gateway_time_put(fixture->store, 500, NULL));
	reopen(fixture);
	assert_true(agent_gateway_time(fixture->store, &time_ms, NULL));
	assert_int_equal(time_ms, 1000);
}

static void chains_are_found_by_name_and_in_pages(void **state)
{
	struct fixture *fixture = *state;
	struct agent_chain chain, chains[5];
	bool found = true;
	size_t count = 0;
	assert_true(agent_chain_by_name(fixture->store, "tq-0001", &chain, &found, NULL));
	assert_true(found);
	assert_string_equal(chain.format, "ledger");
	assert_true(agent_chain_by_name(fixture->store, "nobody", &chain, &found, NULL));
	assert_false(found);
	assert_true(agent_chains_page(fixture->store, NULL, chains, 1, &count, NULL));
	assert_int_equal(count, 1);
	struct chain_key after = chain_key(&chains[0].id);
	assert_true(agent_chains_page(fixture->store, &after, chains, 5, &count, NULL));
	assert_int_equal(count, 1);
	struct err err;
	struct chain_key unknown = { { 9 } };
	assert_false(agent_chain(fixture->store, &unknown, &chain, &err));
	assert_int_equal(err.code, ZR_STATE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(entries_outlive_the_process_until_a_block_holds_them),
		TEST(a_block_that_does_not_follow_changes_nothing),
		TEST(a_full_store_takes_no_entry_and_keeps_the_others),
		TEST(pruning_keeps_the_genesis_and_every_header),
		TEST(headers_of_a_foreign_chain_follow_each_other_or_are_a_fork),
		TEST(only_the_newest_custody_receipts_are_kept),
		TEST(the_anchored_watermark_waits_for_the_run_that_is_missing),
		TEST(a_receipt_of_two_chains_goes_when_neither_needs_it),
		TEST(a_chain_is_handed_to_one_gateway_store_only),
		TEST(the_gateways_time_never_runs_backwards),
		TEST(chains_are_found_by_name_and_in_pages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
