/* The walk itself: positions, batches, policies, and what is left when something fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/compress.h"
#include "tests/lib/chain.h"
#include "tests/lib/expect.h"
#include "tests/lib/fault.h"

#define RAFT "tests/data/fabric/raft-edge-1"
#define BFT  "tests/data/fabric/bft-edge"

static struct block_header headers[CHAIN_BLOCKS_MAX];

struct outcome {
	enum walk_fault fault;
	size_t count;
	uint64_t bad_height;
	struct err err;
};

static struct outcome run(struct walk *walk, const struct buffer *raw, enum policy policy,
                          size_t count_max)
{
	struct outcome outcome = { .err.code = ZR_OK };
	struct walk_batch batch = { .raw = buffer_bytes(raw),
		                    .policy = policy,
		                    .block_max_bytes = 80000,
		                    .count_max = count_max };
	outcome.fault = walk_batch(walk, &batch, headers, &outcome.count, &outcome.bad_height,
	                           &outcome.err);
	return outcome;
}

static void expect_outcome(struct outcome outcome, enum walk_fault fault, uint64_t bad_height,
                           const char *why)
{
	if (outcome.fault != fault || strstr(outcome.err.message, why) == NULL)
		fail_msg("%s: %s", walk_fault_name(outcome.fault), outcome.err.message);
	assert_int_equal(outcome.bad_height, bad_height);
}

static void faults_have_names(void **state)
{
	assert_string_equal(walk_fault_name(WALK_FINE), "fine");
	assert_string_equal(walk_fault_name(WALK_MALFORMED), "malformed");
	assert_string_equal(walk_fault_name(WALK_HEIGHT), "height");
	assert_string_equal(walk_fault_name(WALK_LINK), "link");
	assert_string_equal(walk_fault_name(WALK_UNTRUSTED), "untrusted");
}

static void formats_are_found_by_name_and_by_number(void **state)
{
	assert_string_equal(sidechain_find("fabric")->name, "fabric");
	assert_string_equal(sidechain_find("ledger")->name, "ledger");
	assert_null(sidechain_find("Fabric"));
	assert_null(sidechain_find(""));
	size_t count = 0;
	for (; sidechain_at(count) != NULL; count++)
		assert_ptr_equal(sidechain_find(sidechain_at(count)->name), sidechain_at(count));
	assert_int_equal(count, 2);
	assert_null(sidechain_at(SIZE_MAX));
}

/* A signature whose last byte is changed; all links stay as they are. */
static void spoil_signature(struct chain *chain, size_t height)
{
	struct buffer *raw = &chain->blocks[height];
	raw->data[raw->size - 9] ^= 1; /* Behind it stand four empty entries, two bytes each. */
}

static void tail_checks_the_last_signature_and_all_checks_every_one(void **state)
{
	for (size_t spoilt = 1; spoilt <= 6; spoilt++) {
		struct chain chain;
		struct buffer raw = BUFFER_EMPTY;
		chain_read(&chain, "fabric", BFT);
		spoil_signature(&chain, spoilt);
		chain_batch(&chain, 0, 6, &raw);
		struct walk walk = chain_walk(&chain);
		struct outcome outcome = run(&walk, &raw, POLICY_ALL, 7);
		expect_outcome(outcome, WALK_UNTRUSTED, spoilt, "2 consenters signed, 3 must");
		assert_int_equal(walk.position.next_height, 0);
		outcome = run(&walk, &raw, POLICY_TAIL, 7);
		if (spoilt == 6)
			expect_outcome(outcome, WALK_UNTRUSTED, 6, "2 consenters signed");
		else
			assert_int_equal(outcome.fault, WALK_FINE);
		walk_fini(&walk);
		buffer_fini(&raw);
		chain_fini(&chain);
	}
}

static void batches_follow_each_other(void **state)
{
	struct chain chain;
	struct buffer raw = BUFFER_EMPTY;
	chain_read(&chain, "fabric", BFT);
	struct walk walk = chain_walk(&chain);
	chain_batch(&chain, 0, 2, &raw);
	assert_int_equal(run(&walk, &raw, POLICY_ALL, 3).fault, WALK_FINE);
	expect_outcome(run(&walk, &raw, POLICY_ALL, 3), WALK_HEIGHT, 3, "block 0 where 3 is next");
	buffer_clear(&raw);
	chain_batch(&chain, 4, 6, &raw);
	expect_outcome(run(&walk, &raw, POLICY_ALL, 3), WALK_HEIGHT, 3, "block 4 where 3 is next");
	buffer_clear(&raw);
	chain_batch(&chain, 3, 6, &raw);
	expect_outcome(run(&walk, &raw, POLICY_ALL, 3), WALK_MALFORMED, 6, "more than 3 blocks");
	assert_int_equal(walk.position.next_height, 3);
	struct outcome outcome = run(&walk, &raw, POLICY_ALL, 4);
	assert_int_equal(outcome.fault, WALK_FINE);
	assert_int_equal(outcome.count, 4);
	assert_int_equal(headers[3].height, 6);
	assert_true(hash_equal(&walk.position.tip, &headers[3].hash));
	assert_int_equal(walk.position.next_height, 7);
	assert_null(walk_take_trust(&walk));
	walk_fini(&walk);
	buffer_fini(&raw);
	chain_fini(&chain);
}

static void a_malformed_batch_is_refused_whole(void **state)
{
	struct chain chain;
	struct buffer raw = BUFFER_EMPTY;
	chain_read(&chain, "fabric", RAFT);
	struct walk walk = chain_walk(&chain);
	expect_outcome(run(&walk, &raw, POLICY_ALL, 9), WALK_MALFORMED, 0, "not a batch of blocks");
	chain_batch(&chain, 0, 3, &raw);
	raw.size--;
	expect_outcome(run(&walk, &raw, POLICY_ALL, 9), WALK_MALFORMED, 3, "not a batch of blocks");
	raw.size = 3;
	expect_outcome(run(&walk, &raw, POLICY_ALL, 9), WALK_MALFORMED, 0, "not a batch of blocks");
	/* Block 8 alone is larger than may be. */
	buffer_clear(&raw);
	chain_batch(&chain, 0, 8, &raw);
	expect_outcome(run(&walk, &raw, POLICY_ALL, 9), WALK_MALFORMED, 8, "not a batch of blocks");
	assert_int_equal(walk.position.next_height, 0);
	walk_fini(&walk);
	buffer_fini(&raw);
	chain_fini(&chain);
}

static void block_0_is_the_one_that_names_the_chain(void **state)
{
	struct chain raft;
	struct chain bft;
	chain_read(&raft, "fabric", RAFT);
	chain_read(&bft, "fabric", BFT);
	struct walk walk = chain_walk(&raft);
	EXPECT_WALK(&walk, chain_raw(&bft, 0), WALK_LINK, "block 0 is not the pinned one");
	struct hash other = { { 7 } };
	walk.epoch = &other;
	EXPECT_WALK(&walk, chain_raw(&raft, 0), WALK_LINK, "block 0 is of another chain");
	walk_fini(&walk);
	/* Behind block 0: another channel's block 1, with its own link. */
	walk = chain_walk_to(&raft, 1);
	EXPECT_WALK(&walk, chain_raw(&bft, 1), WALK_LINK, "does not link");
	struct walk other_walk = chain_walk_to(&bft, 1);
	walk.position.tip = other_walk.position.tip;
	walk_fini(&other_walk);
	EXPECT_WALK(&walk, chain_raw(&bft, 1), WALK_UNTRUSTED,
	            "of channel \"edge-bft\", not \"edge-1\"");
	/* Without a tip nothing but the pinned block can be next. */
	walk.position.tip = (struct hash){ { 0 } };
	EXPECT_WALK(&walk, chain_raw(&raft, 1), WALK_LINK, "does not link");
	walk_fini(&walk);
	chain_fini(&raft);
	chain_fini(&bft);
}

/* A failure for want of memory says nothing about the block, and leaks nothing. */
static void any_allocation_may_fail(void **state)
{
	static const char *const folders[] = { RAFT, BFT };
	for (size_t i = 0; i < 2; i++) {
		struct chain chain;
		struct buffer raw = BUFFER_EMPTY;
		bool done = false;
		chain_read(&chain, "fabric", folders[i]);
		chain_batch(&chain, 0, 3, &raw);
		for (size_t n = 1; !done; n++) {
			struct trust *trust = NULL;
			struct err err = { .code = ZR_OK };
			fault_at(n);
			bool ok = chain.format->trust_pin(chain_raw(&chain, 0), &trust, &err);
			done = fault_off() == 0;
			if (!ok) {
				assert_null(trust);
				assert_int_equal(err.code, ZR_NO_MEMORY);
			}
			assert_true(ok || !done);
			chain.format->trust_free(trust);
		}
		done = false;
		for (size_t n = 1; !done; n++) {
			/* A fresh set each time: what it has seen once it would not look at. */
			chain.format->trust_free(chain.trust);
			assert_true(
				chain.format->trust_pin(chain_raw(&chain, 0), &chain.trust, NULL));
			struct walk walk = chain_walk(&chain);
			fault_at(n);
			struct outcome outcome = run(&walk, &raw, POLICY_ALL, 4);
			done = fault_off() == 0;
			assert_true(outcome.fault == WALK_FINE || !done);
			if (outcome.fault != WALK_FINE && outcome.err.code != ZR_NO_MEMORY)
				fail_msg("allocation %zu: %s", n, outcome.err.message);
			assert_int_equal(walk.position.next_height,
			                 outcome.fault == WALK_FINE ? 4 : 0);
			walk_fini(&walk);
		}
		buffer_fini(&raw);
		chain_fini(&chain);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_have_names),
		cmocka_unit_test(formats_are_found_by_name_and_by_number),
		cmocka_unit_test(tail_checks_the_last_signature_and_all_checks_every_one),
		cmocka_unit_test(batches_follow_each_other),
		cmocka_unit_test(a_malformed_batch_is_refused_whole),
		cmocka_unit_test(block_0_is_the_one_that_names_the_chain),
		cmocka_unit_test(any_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
