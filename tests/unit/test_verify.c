/* test_verify.c -- what the workers find out about a batch, and what they must not be fooled by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/verify.h"
#include "tests/lib/chain.h"

#define FOLDER "tests/data/fabric/raft-edge-1"

struct bench {
	struct chain chain;
	struct hash epoch;
	struct verify_bench *verify;
	struct buffer raw, payload;
	struct verify_job job;
};

/* A job over blocks from..to, walked from where a walk over all before them stands. */
static void ask(struct bench *bench, size_t from, size_t to, enum codec codec)
{
	struct walk walk = chain_walk_to(&bench->chain, from);
	buffer_clear(&bench->raw);
	buffer_clear(&bench->payload);
	chain_batch(&bench->chain, from, to, &bench->raw);
	if (codec == CODEC_ZSTD) {
		struct compressor *compressor;
		assert_true(compressor_new(&compressor, 3, NULL));
		assert_true(compressor_run(compressor, buffer_bytes(&bench->raw), NULL,
		                           &bench->payload, NULL));
		compressor_free(compressor);
	} else {
		buffer_put(&bench->payload, buffer_bytes(&bench->raw));
	}
	verify_job_forget(&bench->job);
	bench->job = (struct verify_job){ .kind = VERIFY_WALK,
		                          .format = bench->chain.format,
		                          .epoch = &bench->epoch,
		                          .trust = bench->chain.trust,
		                          .position = walk.position,
		                          .policy = POLICY_ALL,
		                          .payload = buffer_bytes(&bench->payload),
		                          .content = sha256(buffer_bytes(&bench->payload)),
		                          .codec = codec,
		                          .raw_size = bench->raw.size,
		                          .block_max_bytes = 1u << 20,
		                          .count_max = to - from + 1 };
	walk_fini(&walk);
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	chain_read(&bench->chain, "fabric", FOLDER);
	struct block block;
	assert_true(bench->chain.format->read(chain_raw(&bench->chain, 0), &block, NULL));
	bench->epoch = block.header.hash;
	bench->job.format = bench->chain.format;
	assert_true(verify_bench_new(&bench->verify, NULL));
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	verify_job_forget(&bench->job);
	verify_bench_free(bench->verify);
	buffer_fini(&bench->raw);
	buffer_fini(&bench->payload);
	chain_fini(&bench->chain);
	free(bench);
	return 0;
}

static void a_good_batch_is_fine_and_its_headers_are_given(void **state)
{
	struct bench *bench = *state;
	for (enum codec codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
		ask(bench, 0, bench->chain.count - 1, codec);
		verify_run(bench->verify, &bench->job);
		assert_int_equal(bench->job.fault, WALK_FINE);
		assert_int_equal(bench->job.header_count, bench->chain.count);
		assert_int_equal(bench->job.headers[3].height, 3);
	}
}

static void another_parent_is_a_wrong_link(void **state)
{
	struct bench *bench = *state;
	ask(bench, 2, 3, CODEC_NONE);
	bench->job.position.tip.bytes[0] ^= 1;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_LINK);
	assert_int_equal(bench->job.bad_height, 2);
	assert_null(bench->job.trust_next);
}

static void another_height_is_said_so(void **state)
{
	struct bench *bench = *state;
	ask(bench, 2, 3, CODEC_NONE);
	bench->job.position.next_height = 3;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_HEIGHT);
}

static void bytes_under_a_false_name_are_not_even_inflated(void **state)
{
	struct bench *bench = *state;
	ask(bench, 0, 1, CODEC_ZSTD);
	bench->job.content.bytes[5] ^= 1;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_MALFORMED);
	assert_true(bench->job.mislabelled);
}

static void a_batch_is_as_large_as_it_says(void **state)
{
	struct bench *bench = *state;
	for (enum codec codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
		ask(bench, 0, 1, codec);
		bench->job.raw_size--;
		verify_run(bench->verify, &bench->job);
		assert_int_equal(bench->job.fault, WALK_MALFORMED);
		assert_false(bench->job.mislabelled);
		ask(bench, 0, 1, codec);
		bench->job.raw_size++;
		verify_run(bench->verify, &bench->job);
		assert_int_equal(bench->job.fault, WALK_MALFORMED);
	}
}

static void more_blocks_or_larger_ones_than_allowed_are_refused(void **state)
{
	struct bench *bench = *state;
	ask(bench, 0, 3, CODEC_NONE);
	bench->job.count_max = 2;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_MALFORMED);
	ask(bench, 0, 3, CODEC_NONE);
	bench->job.block_max_bytes = 100;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_MALFORMED);
}

static void reading_needs_no_trust_and_gives_the_same_headers(void **state)
{
	struct bench *bench = *state;
	ask(bench, 2, 4, CODEC_ZSTD);
	bench->job.kind = VERIFY_READ;
	bench->job.trust = NULL;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_FINE);
	assert_int_equal(bench->job.header_count, 3);
	struct block block;
	assert_true(bench->chain.format->read(chain_raw(&bench->chain, 3), &block, NULL));
	assert_true(hash_equal(&bench->job.headers[1].hash, &block.header.hash));
}

static void reading_wants_heights_without_a_hole(void **state)
{
	struct bench *bench = *state;
	ask(bench, 2, 3, CODEC_NONE);
	buffer_clear(&bench->payload);
	batch_put_block(&bench->payload, chain_raw(&bench->chain, 2));
	batch_put_block(&bench->payload, chain_raw(&bench->chain, 4));
	bench->job.kind = VERIFY_READ;
	bench->job.payload = buffer_bytes(&bench->payload);
	bench->job.content = sha256(bench->job.payload);
	bench->job.raw_size = bench->payload.size;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_HEIGHT);
	assert_int_equal(bench->job.bad_height, 4);
}

static void one_block_is_proven_by_its_own_signatures(void **state)
{
	struct bench *bench = *state;
	ask(bench, 1, 3, CODEC_ZSTD);
	struct walk walk = chain_walk_to(&bench->chain, 2);
	bench->job.kind = VERIFY_PROVE;
	bench->job.trust = walk.trust;
	bench->job.prove_height = 2;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_FINE);
	assert_true(bytes_equal(buffer_bytes(&bench->job.block), chain_raw(&bench->chain, 2)));
	bench->job.prove_height = 9;
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_MALFORMED);
	walk_fini(&walk);
}

/* Changes a bit in the last DER signature of a batch that is not compressed: an orderer's. */
static void spoil_last_signature(struct bench *bench)
{
	uint8_t *raw = bench->payload.data;
	size_t at = bench->payload.size - 8;
	while (at > 0 && !(raw[at] == 0x30 && raw[at + 1] >= 0x44 && raw[at + 1] <= 0x46 &&
	                   raw[at + 2] == 0x02 && (raw[at + 3] == 0x20 || raw[at + 3] == 0x21)))
		at--;
	assert_true(at > 0);
	raw[at + 20] ^= 1;
	bench->job.content = sha256(buffer_bytes(&bench->payload));
}

static void a_block_that_nobody_signed_proves_nothing(void **state)
{
	struct bench *bench = *state;
	ask(bench, 1, 2, CODEC_NONE);
	struct walk walk = chain_walk_to(&bench->chain, 2);
	bench->job.kind = VERIFY_PROVE;
	bench->job.trust = walk.trust;
	bench->job.prove_height = 2;
	spoil_last_signature(bench);
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_UNTRUSTED);
	bench->job.prove_height = 1; /* The other one is as it was. */
	verify_run(bench->verify, &bench->job);
	assert_int_equal(bench->job.fault, WALK_FINE);
	walk_fini(&walk);
}

static void a_job_can_be_asked_again_and_again(void **state)
{
	struct bench *bench = *state;
	ask(bench, 0, bench->chain.count - 1, CODEC_ZSTD);
	for (unsigned i = 0; i < 3; i++) {
		verify_run(bench->verify, &bench->job);
		assert_int_equal(bench->job.fault, WALK_FINE);
	}
	bench->job.position.tip.bytes[0] ^= 1;
	bench->job.position.next_height = 1;
	verify_run(bench->verify, &bench->job);
	assert_int_not_equal(bench->job.fault, WALK_FINE);
}

static void the_pool_answers_every_job_once_and_bounds_what_waits(void **state)
{
	struct bench *bench = *state;
	struct verify_pool *pool;
	struct mailbox *replies;
	struct verify_job jobs[20];
	size_t taken = 0;
	ask(bench, 0, 3, CODEC_ZSTD);
	assert_true(mailbox_new(&replies, 100, NULL));
	assert_true(verify_pool_start(&pool, 2, 4, NULL));
	for (size_t i = 0; i < 20; i++) {
		jobs[i] = bench->job;
		jobs[i].reply = replies;
		if (verify_pool_put(pool, &jobs[i]))
			taken++;
		else
			jobs[i].reply = NULL;
	}
	assert_true(taken >= 4);
	verify_pool_stop(pool);
	assert_int_equal(mailbox_count(replies), taken);
	while (taken-- > 0)
		(void)mailbox_wait(replies);
	mailbox_free(replies);
	for (size_t i = 0; i < 20; i++) {
		if (jobs[i].reply != NULL)
			assert_int_equal(jobs[i].fault, WALK_FINE);
		verify_job_forget(&jobs[i]);
	}
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BENCH(a_good_batch_is_fine_and_its_headers_are_given),
		WITH_BENCH(another_parent_is_a_wrong_link),
		WITH_BENCH(another_height_is_said_so),
		WITH_BENCH(bytes_under_a_false_name_are_not_even_inflated),
		WITH_BENCH(a_batch_is_as_large_as_it_says),
		WITH_BENCH(more_blocks_or_larger_ones_than_allowed_are_refused),
		WITH_BENCH(reading_needs_no_trust_and_gives_the_same_headers),
		WITH_BENCH(reading_wants_heights_without_a_hole),
		WITH_BENCH(one_block_is_proven_by_its_own_signatures),
		WITH_BENCH(a_block_that_nobody_signed_proves_nothing),
		WITH_BENCH(a_job_can_be_asked_again_and_again),
		WITH_BENCH(the_pool_answers_every_job_once_and_bounds_what_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
