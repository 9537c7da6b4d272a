/* Following a channel's configuration: who signs from when on. Made-up channels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/compress.h"
#include "tests/lib/fabric_scene.h"

static const struct gen_options raft = {
	.name = "raft", .kind = GEN_RAFT, .org_count = 2, .node_count = 2
};
static const struct gen_options bft = {
	.name = "bft", .kind = GEN_BFT, .org_count = 4, .node_count = 4
};

/* Adds an organisation with one orderer to what the next config block will bring. */
static struct gen_node *admit_org(struct gen_channel *channel)
{
	char name[16];
	(void)snprintf(name, sizeof(name), "Org%zu", channel->org_count);
	struct gen_org *org = gen_org_new(name, 0);
	struct gen_node *node = gen_node_new(org, "orderer", channel->options.suite);
	channel->orgs[channel->org_count++] = org;
	node->id = (uint32_t)channel->node_count + 1;
	channel->nodes[channel->node_count++] = node;
	return node;
}

static void an_organisation_counts_from_the_block_after_the_one_that_admits_it(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	struct gen_node *node = admit_org(scene.channel);

	struct gen_draft draft = gen_config_draft(scene.channel);
	draft.signers[0] = node;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "Org2MSP is not to sign blocks");
	expect_honest_config(&scene);
	draft = gen_draft(scene.channel);
	draft.signers[0] = node;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

static void an_organisation_that_left_counts_no_more(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	/* The second organisation's node signs the block that removes it, the last it may sign. */
	struct gen_node *leaver = scene.channel->nodes[--scene.channel->node_count];
	struct gen_org *org = scene.channel->orgs[--scene.channel->org_count];
	struct gen_draft draft = gen_config_draft(scene.channel);
	draft.signers[0] = leaver;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));

	draft = gen_draft(scene.channel);
	draft.signers[0] = leaver;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "Org1MSP is not to sign blocks");
	expect_honest_next(&scene);
	gen_node_free(leaver);
	gen_org_free(org);
	scene_fini(&scene);
}

static void a_revoked_certificate_counts_until_the_list_is_in_force(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	gen_revoke(scene.channel->nodes[1]);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signers[0] = scene.channel->nodes[1];
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));

	expect_honest_config(&scene);
	draft = gen_draft(scene.channel);
	draft.signers[0] = scene.channel->nodes[1];
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "revoked");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_revoked_consenter_is_counted_on_but_does_not_count(void **state)
{
	struct scene scene;
	scene_init(&scene, &bft);
	gen_revoke(scene.channel->nodes[0]);
	expect_honest_config(&scene);
	/* Three of the four must still sign, and the first cannot be among them. */
	struct gen_draft draft = gen_draft(scene.channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "2 consenters signed, 3 must");
	draft.signers[0] = scene.channel->nodes[3];
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

static void a_larger_set_needs_a_larger_quorum_from_the_next_block_on(void **state)
{
	struct scene scene;
	scene_init(&scene, &bft);
	(void)admit_org(scene.channel);
	(void)admit_org(scene.channel);
	(void)admit_org(scene.channel);
	/* Seven are in the new configuration; the old one asks for three, and knows only four. */
	struct gen_draft draft = gen_config_draft(scene.channel);
	draft.signer_count = 3;
	draft.signers[0] = scene.channel->nodes[6];
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "2 consenters signed, 3 must");
	draft.signers[0] = scene.channel->nodes[0];
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));

	draft = gen_draft(scene.channel);
	assert_int_equal(draft.signer_count, 5);
	draft.signer_count = 4;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "4 consenters signed, 5 must");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_raft_channel_may_become_a_bft_channel(void **state)
{
	struct scene scene;
	struct gen_options options = raft;
	options.org_count = 4;
	options.node_count = 4;
	options.capability = "V3_0";
	scene_init(&scene, &options);
	expect_honest_next(&scene);
	/* One Raft orderer writes the block that brings BFT: one signature, the last of its kind. */
	scene.channel->options.kind = GEN_BFT;
	struct gen_draft draft = gen_config_draft(scene.channel);
	draft.signer_count = 1;
	draft.by_identity = true;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));
	draft = gen_draft(scene.channel);
	draft.signer_count = 1;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "1 consenters signed, 3 must");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void configurations_follow_each_other_without_a_hole(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	scene.channel->sequence = 2;
	struct gen_draft draft = gen_config_draft(scene.channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "it is configuration 2, after 0");
	scene.channel->sequence = 0;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "it is configuration 0, after 0");
	scene.channel->sequence = 1;
	draft.channel = "another";
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "of channel \"another\"");
	expect_honest_config(&scene);
	assert_int_equal(scene.walk.trust_from, 2);

	/* Even where nobody asked whether the block is admitted. */
	struct block block;
	struct trust *next;
	struct err err = { .code = ZR_OK };
	draft = gen_config_draft(scene.channel);
	draft.channel = "another";
	gen_seal(scene.channel, &draft, &scene.raw);
	assert_true(fabric_format()->read(buffer_bytes(&scene.raw), &block, &err));
	EXPECT_FAILURE(fabric_format()->trust_next(scene.walk.trust, &block, &next, &err), err,
	               ZR_UNTRUSTED, "it configures another channel");
	scene_fini(&scene);
}

static void a_change_that_cannot_be_evaluated_is_refused_and_the_set_stays(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	const struct trust *before = scene.walk.trust;
	gen_policy_meta(&scene.channel->block_validation, 7, "Writers");
	struct gen_draft draft = gen_config_draft(scene.channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "a rule over sub-policies that is new");
	assert_ptr_equal(scene.walk.trust, before);
	assert_int_equal(scene.walk.position.next_height, 1);
	buffer_clear(&scene.channel->block_validation);
	expect_honest_next(&scene);
	scene_fini(&scene);
}

/* Config block 3 pinned: the walk begins with that block, or with the one after it. */
static void a_later_config_block_may_be_pinned(void **state)
{
	struct scene scene;
	struct gen_channel *channel = gen_channel_new(&raft);
	struct buffer raw = BUFFER_EMPTY;
	gen_next_config(channel, &raw);
	gen_next(channel, 1, 10, &raw);
	gen_next(channel, 1, 10, &raw);
	scene_start(&scene, channel);
	assert_int_equal(fabric_format()->trust_origin(scene.trust)->height, 3);
	expect_honest_next(&scene);

	/* Another block 3, as good as the pinned one, is not the pinned one. */
	struct walk walk;
	struct walk_position position = { .next_height = 3 };
	struct hash epoch = { { 1 } };
	struct gen_draft draft = gen_config_draft(channel);
	draft.height = 3;
	gen_seal(channel, &draft, &raw);
	walk_init(&walk, fabric_format(), scene.trust, &epoch, position);
	EXPECT_WALK(&walk, buffer_bytes(&raw), WALK_LINK, "block 3 is not the pinned one");
	walk_fini(&walk);
	buffer_fini(&raw);
	scene_fini(&scene);
}

static void a_batch_may_change_the_set_in_its_middle(void **state)
{
	struct scene scene;
	struct buffer batch = BUFFER_EMPTY;
	struct block_header headers[8];
	size_t count;
	uint64_t bad_height;
	struct err err;
	scene_init(&scene, &raft);
	gen_next(scene.channel, 1, 10, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));
	struct gen_node *node = admit_org(scene.channel);
	gen_next_config(scene.channel, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signers[0] = node;
	gen_seal(scene.channel, &draft, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));

	struct walk_batch whole = { .raw = buffer_bytes(&batch),
		                    .policy = POLICY_TAIL,
		                    .block_max_bytes = 1u << 20,
		                    .count_max = 8 };
	assert_int_equal(walk_batch(&scene.walk, &whole, headers, &count, &bad_height, &err),
	                 WALK_FINE);
	assert_int_equal(count, 3);
	assert_int_equal(scene.walk.trust_from, 3);
	struct trust *taken = walk_take_trust(&scene.walk);
	assert_non_null(taken);
	assert_int_equal(fabric_format()->trust_origin(taken)->height, 2);
	assert_null(walk_take_trust(&scene.walk));
	fabric_format()->trust_free(taken);
	buffer_fini(&batch);
	scene_fini(&scene);
}

/* Or anybody could bring a set of his own, and sign what comes after. */
static void a_set_change_needs_its_own_signatures_under_every_policy(void **state)
{
	struct scene scene;
	struct buffer batch = BUFFER_EMPTY;
	struct block_header headers[8];
	size_t count;
	uint64_t bad_height;
	struct err err;
	scene_init(&scene, &raft);
	struct gen_node *node = admit_org(scene.channel);
	struct gen_draft draft = gen_config_draft(scene.channel);
	draft.signers[0] = node;
	gen_seal(scene.channel, &draft, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));
	gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));
	draft = gen_draft(scene.channel);
	draft.signers[0] = node;
	gen_seal(scene.channel, &draft, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));
	struct walk_batch whole = { .raw = buffer_bytes(&batch),
		                    .policy = POLICY_TAIL,
		                    .block_max_bytes = 1u << 20,
		                    .count_max = 8 };
	assert_int_equal(walk_batch(&scene.walk, &whole, headers, &count, &bad_height, &err),
	                 WALK_UNTRUSTED);
	assert_int_equal(bad_height, 1);
	struct block block;
	struct reader reader = reader_of(buffer_bytes(&batch));
	struct bytes raw;
	assert_int_equal(batch_next_block(&reader, 1u << 20, &raw), 1);
	assert_int_equal(walk_block(&scene.walk, raw, false, &block, &err), WALK_UNTRUSTED);
	buffer_fini(&batch);
	scene_fini(&scene);
}

/* A walk that owns the set in force keeps it where a batch fails, and frees it where the batch
 * brings another. */
static void a_walk_that_owns_its_set_goes_on_with_batches(void **state)
{
	struct scene scene;
	struct buffer batch = BUFFER_EMPTY;
	struct block_header headers[8];
	size_t count;
	uint64_t bad_height;
	struct err err;
	scene_init(&scene, &raft);
	expect_honest_config(&scene);
	assert_non_null(scene.walk.trust_owned);
	for (int round = 0; round < 2; round++) {
		struct gen_draft draft = gen_config_draft(scene.channel);
		gen_seal(scene.channel, &draft, &scene.raw);
		buffer_clear(&batch);
		batch_put_block(&batch, buffer_bytes(&scene.raw));
		if (round == 0)
			batch_put_block(&batch, buffer_bytes(&scene.raw));
		struct walk_batch whole = { .raw = buffer_bytes(&batch),
			                    .policy = POLICY_ALL,
			                    .block_max_bytes = 1u << 20,
			                    .count_max = 8 };
		const struct trust *before = scene.walk.trust_owned;
		enum walk_fault fault =
			walk_batch(&scene.walk, &whole, headers, &count, &bad_height, &err);
		assert_int_equal(fault, round == 0 ? WALK_HEIGHT : WALK_FINE);
		assert_ptr_equal(scene.walk.trust, scene.walk.trust_owned);
		assert_true((scene.walk.trust_owned == before) == (round == 0));
		if (round == 1)
			gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));
	}
	expect_honest_next(&scene);
	buffer_fini(&batch);
	scene_fini(&scene);
}

static void a_batch_that_fails_leaves_the_walk_as_it_was(void **state)
{
	struct scene scene;
	struct buffer batch = BUFFER_EMPTY;
	struct block_header headers[8];
	size_t count = 99;
	uint64_t bad_height;
	struct err err;
	scene_init(&scene, &raft);
	struct walk before = scene.walk;
	gen_next_config(scene.channel, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signer_count = 0;
	gen_seal(scene.channel, &draft, &scene.raw);
	batch_put_block(&batch, buffer_bytes(&scene.raw));
	struct walk_batch whole = { .raw = buffer_bytes(&batch),
		                    .policy = POLICY_TAIL,
		                    .block_max_bytes = 1u << 20,
		                    .count_max = 8 };
	assert_int_equal(walk_batch(&scene.walk, &whole, headers, &count, &bad_height, &err),
	                 WALK_UNTRUSTED);
	assert_int_equal(bad_height, 2);
	assert_int_equal(count, 99);
	assert_memory_equal(&scene.walk, &before, sizeof(before));
	buffer_fini(&batch);
	scene_fini(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_organisation_counts_from_the_block_after_the_one_that_admits_it),
		cmocka_unit_test(an_organisation_that_left_counts_no_more),
		cmocka_unit_test(a_revoked_certificate_counts_until_the_list_is_in_force),
		cmocka_unit_test(a_revoked_consenter_is_counted_on_but_does_not_count),
		cmocka_unit_test(a_larger_set_needs_a_larger_quorum_from_the_next_block_on),
		cmocka_unit_test(a_raft_channel_may_become_a_bft_channel),
		cmocka_unit_test(configurations_follow_each_other_without_a_hole),
		cmocka_unit_test(a_change_that_cannot_be_evaluated_is_refused_and_the_set_stays),
		cmocka_unit_test(a_later_config_block_may_be_pinned),
		cmocka_unit_test(a_batch_may_change_the_set_in_its_middle),
		cmocka_unit_test(a_set_change_needs_its_own_signatures_under_every_policy),
		cmocka_unit_test(a_walk_that_owns_its_set_goes_on_with_batches),
		cmocka_unit_test(a_batch_that_fails_leaves_the_walk_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
