/* Real channels, as the unmodified releases of Fabric wrote them (tests/data/fabric/). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/chain.h"

#define RAFT "tests/data/fabric/raft-edge-1"
#define BFT  "tests/data/fabric/bft-edge"
/* Not ours to copy: stands beside the project where somebody put it. */
#define OLD "../shared/inputs/fabric/sample_prod"

static void walk_whole(const char *folder, enum policy policy, size_t count_expected)
{
	struct chain chain;
	struct buffer raw = BUFFER_EMPTY;
	struct block_header headers[CHAIN_BLOCKS_MAX];
	size_t count = 0;
	uint64_t bad_height;
	struct err err = { .code = ZR_OK };
	chain_read(&chain, "fabric", folder);
	chain_batch(&chain, 0, chain.count - 1, &raw);

	struct walk walk = chain_walk(&chain);
	struct walk_batch batch = { .raw = buffer_bytes(&raw),
		                    .policy = policy,
		                    .block_max_bytes = 1u << 20,
		                    .count_max = CHAIN_BLOCKS_MAX };
	if (walk_batch(&walk, &batch, headers, &count, &bad_height, &err) != WALK_FINE)
		fail_msg("block %d: %s", (int)bad_height, err.message);
	assert_int_equal(count, count_expected);
	assert_int_equal(walk.position.next_height, count_expected);
	for (size_t i = 1; i < count; i++)
		assert_true(hash_equal(&headers[i].parent, &headers[i - 1].hash));
	walk_fini(&walk);
	buffer_fini(&raw);
	chain_fini(&chain);
}

static void a_real_raft_channel_verifies_under_both_policies(void **state)
{
	walk_whole(RAFT, POLICY_ALL, 11);
	walk_whole(RAFT, POLICY_TAIL, 11);
}

static void a_real_bft_channel_verifies_under_both_policies(void **state)
{
	walk_whole(BFT, POLICY_ALL, 7);
	walk_whole(BFT, POLICY_TAIL, 7);
}

static void blocks_outlive_the_certificates_that_signed_them(void **state)
{
	if (access(OLD "/0.block", R_OK) != 0) {
		print_message("skipped: no " OLD "\n");
		skip();
	}
	walk_whole(OLD, POLICY_ALL, 8);
	walk_whole(OLD, POLICY_TAIL, 8);
}

static void expect_header(const char *folder, size_t height, const char *hash, uint32_t entries,
                          int64_t time_ms)
{
	struct chain chain;
	struct block block;
	char hex[HASH_HEX_SIZE];
	chain_read(&chain, "fabric", folder);
	assert_true(chain.format->read(chain_raw(&chain, height), &block, NULL));
	assert_string_equal(hash_hex(&block.header.hash, hex), hash);
	assert_int_equal(block.header.height, height);
	assert_int_equal(block.header.entry_count, entries);
	assert_int_equal(block.header.time_ms, time_ms);
	assert_int_equal(block.changes_trust, height == 0);
	chain_fini(&chain);
}

/* The hash of a block is what the next one names: it needs no other witness. */
static void a_header_says_what_the_block_is(void **state)
{
	expect_header(RAFT, 0, "c40a4af120f7a12f3b540ed3fcb6c7f871369ce6788f45df4b8599d53196569f",
	              1, 1795377130000);
	expect_header(RAFT, 4, "b4c60307dc8b1916b113d52337a629a1a14b917cba4d4397109902e4859ac660",
	              6, 1795377185613);
	expect_header(BFT, 0, "fd16bd409240e620a58988be09384d3905ce1fce55ac4954298bd8ba4a7d151d", 1,
	              1795377579000);
}

static void expect_description(const char *folder, const char *text)
{
	struct chain chain;
	struct buffer out = BUFFER_EMPTY;
	chain_read(&chain, "fabric", folder);
	chain.format->trust_describe(chain.trust, &out);
	assert_int_equal(out.size, strlen(text));
	assert_memory_equal(out.data, text, out.size);
	buffer_fini(&out);
	chain_fini(&chain);
}

static void a_trust_set_describes_itself(void **state)
{
	expect_description(RAFT, "fabric channel edge-1, etcdraft, config block 0, block "
	                         "validation ANY Writers");
	expect_description(BFT, "fabric channel edge-bft, BFT, config block 0, block validation 3 "
	                        "of 4 signatures, 3 of 4 consenters");
}

static void a_saved_trust_set_is_the_same_when_loaded(void **state)
{
	struct chain chain;
	struct buffer saved = BUFFER_EMPTY;
	struct buffer again = BUFFER_EMPTY;
	struct trust *loaded;
	chain_read(&chain, "fabric", BFT);
	chain.format->trust_save(chain.trust, &saved);
	assert_true(chain.format->trust_load(buffer_bytes(&saved), &loaded, NULL));
	chain.format->trust_save(loaded, &again);
	assert_true(bytes_equal(buffer_bytes(&saved), buffer_bytes(&again)));

	struct block block;
	assert_true(chain.format->read(chain_raw(&chain, 6), &block, NULL));
	assert_true(chain.format->verify(loaded, &block, NULL));
	chain.format->trust_free(loaded);
	buffer_fini(&saved);
	buffer_fini(&again);
	chain_fini(&chain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_real_raft_channel_verifies_under_both_policies),
		cmocka_unit_test(a_real_bft_channel_verifies_under_both_policies),
		cmocka_unit_test(blocks_outlive_the_certificates_that_signed_them),
		cmocka_unit_test(a_header_says_what_the_block_is),
		cmocka_unit_test(a_trust_set_describes_itself),
		cmocka_unit_test(a_saved_trust_set_is_the_same_when_loaded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
