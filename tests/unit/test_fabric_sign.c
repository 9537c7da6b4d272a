/* Who signed a Fabric block, and whether that is enough; on made-up channels. */
#include <pthread.h>
#include <setjmp.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/fabric_scene.h"

static const struct gen_options raft = {
	.name = "raft", .kind = GEN_RAFT, .org_count = 3, .node_count = 3
};
static const struct gen_options bft = {
	.name = "bft", .kind = GEN_BFT, .org_count = 4, .node_count = 4
};

static void any_orderer_signs_for_a_raft_channel(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	for (size_t i = 0; i < 3; i++) {
		struct gen_draft draft = gen_draft(scene.channel);
		draft.signers[0] = scene.channel->nodes[i];
		EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
		gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));
	}
	scene_fini(&scene);
}

static void nobody_else_signs_for_it(void **state)
{
	struct scene scene;
	struct gen_org *stranger = gen_org_new("Stranger", 0);
	struct gen_node *node = gen_node_new(stranger, "orderer", SUITE_SHA256_P256);
	scene_init(&scene, &raft);
	struct gen_draft draft = gen_draft(scene.channel);

	draft.signers[0] = node;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "StrangerMSP is not to sign blocks");
	/* A member of the channel, but of an organisation that does not order. */
	draft.signers[0] = scene.channel->client;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "ClientsMSP is not to sign blocks");
	/* A certificate of somebody else's authority under a good name. */
	(void)snprintf(stranger->msp, sizeof(stranger->msp), "Org0MSP");
	draft.signers[0] = node;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "is no member of Org0MSP");
	draft.signer_count = 0;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED,
	             "0 valid signatures do not satisfy ANY Writers");

	expect_honest_next(&scene);
	scene_fini(&scene);
	gen_node_free(node);
	gen_org_free(stranger);
}

static void a_signature_with_a_high_s_does_not_count(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.is_high_s = true;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "0 valid signatures");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_quorum_is_as_large_as_the_consenters_ask_for(void **state)
{
	static const struct {
		size_t consenters, quorum;
	} rows[] = { { 1, 1 }, { 2, 2 }, { 3, 2 }, { 4, 3 }, { 5, 4 }, { 7, 5 }, { 10, 7 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gen_options options = bft;
		struct scene scene;
		options.node_count = rows[i].consenters;
		scene_init(&scene, &options);
		struct gen_draft draft = gen_draft(scene.channel);
		assert_int_equal(draft.signer_count, rows[i].quorum);
		draft.signer_count--;
		EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "consenters signed");
		expect_honest_next(&scene);
		scene_fini(&scene);
	}
}

static void a_consenter_who_signs_twice_counts_once(void **state)
{
	struct scene scene;
	scene_init(&scene, &bft);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signers[2] = draft.signers[0];
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "2 consenters signed, 3 must");
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "signed twice");
	/* Beside a quorum it does no harm, as in Fabric. */
	draft.signers[3] = scene.channel->nodes[2];
	draft.signer_count = 4;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

/* The same block, the same header hash; other nodes signed the copy. */
static void copies_signed_by_other_nodes_are_the_same_block(void **state)
{
	struct scene scene;
	struct block first;
	struct block second;
	struct buffer copy = BUFFER_EMPTY;
	scene_init(&scene, &bft);
	struct gen_draft draft = gen_draft(scene.channel);
	gen_seal(scene.channel, &draft, &scene.raw);
	draft.signers[0] = scene.channel->nodes[3];
	gen_seal(scene.channel, &draft, &copy);
	assert_true(fabric_format()->read(buffer_bytes(&scene.raw), &first, NULL));
	assert_true(fabric_format()->read(buffer_bytes(&copy), &second, NULL));
	assert_memory_equal(&first.header, &second.header, sizeof(first.header));
	assert_true(fabric_format()->verify(scene.trust, &first, NULL));
	assert_true(fabric_format()->verify(scene.trust, &second, NULL));
	buffer_fini(&copy);
	scene_fini(&scene);
}

static void a_node_that_is_no_consenter_adds_nothing_to_a_quorum(void **state)
{
	struct scene scene;
	scene_init(&scene, &bft);
	struct gen_node *other = gen_node_new(scene.channel->orgs[0], "orderer", SUITE_SHA256_P256);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signers[2] = other;
	other->id = 9;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "signer 9 is no consenter that counts");
	other->id = 4; /* Another's number: another's key is asked. */
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "2 consenters signed, 3 must");
	draft.by_identity = true; /* A member, by its certificate. */
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "2 consenters signed, 3 must");
	expect_honest_next(&scene);
	gen_node_free(other);
	scene_fini(&scene);
}

static void a_consenter_may_be_named_by_its_certificate(void **state)
{
	struct scene scene;
	scene_init(&scene, &bft);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.has_both = true;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "a malformed signature");
	draft.has_both = false;
	draft.by_identity = true;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

static void a_raft_channel_has_no_numbers(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	scene.channel->options.kind = GEN_BFT; /* It signs as if. */
	struct gen_draft draft = gen_draft(scene.channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "named by number");
	scene_fini(&scene);
}

static void two_certificates_of_one_key_are_one_signer(void **state)
{
	struct scene scene;
	struct gen_options options = raft;
	struct buffer members[2] = { BUFFER_EMPTY, BUFFER_EMPTY };
	options.org_count = 1;
	scene.channel = gen_channel_new(&options);
	gen_principal_role(&members[0], "Org0MSP", 0);
	gen_principal_role(&members[1], "Org0MSP", 0);
	struct trust *trust;
	struct err err;
	gen_policy_signatures(&scene.channel->block_validation, 2, members, 2);
	scene.raw = BUFFER_EMPTY;
	gen_next_config(scene.channel, &scene.raw);
	if (!fabric_format()->trust_pin(buffer_bytes(&scene.raw), &trust, &err))
		fail_msg("%s", err.message);

	struct gen_node *again = gen_node_again(scene.channel->nodes[0], "orderer");
	struct gen_draft draft = gen_draft(scene.channel);
	struct block block;
	draft.signer_count = 2;
	draft.signers[1] = again;
	gen_seal(scene.channel, &draft, &scene.raw);
	assert_true(fabric_format()->read(buffer_bytes(&scene.raw), &block, NULL));
	EXPECT_FAILURE(fabric_format()->verify(trust, &block, &err), err, ZR_UNTRUSTED,
	               "signed twice");
	draft.signers[1] = scene.channel->nodes[1];
	gen_seal(scene.channel, &draft, &scene.raw);
	assert_true(fabric_format()->read(buffer_bytes(&scene.raw), &block, NULL));
	assert_true(fabric_format()->verify(trust, &block, NULL));

	fabric_format()->trust_free(trust);
	gen_node_free(again);
	gen_channel_free(scene.channel);
	buffer_fini(&members[0]);
	buffer_fini(&members[1]);
	buffer_fini(&scene.raw);
}

static void ed25519_counts_from_version_3_on(void **state)
{
	struct scene scene;
	struct gen_options options = raft;
	options.suite = SUITE_SHA256_ED25519;
	options.capability = "V3_0";
	scene_init(&scene, &options);
	expect_honest_next(&scene);
	scene_fini(&scene);

	options.capability = "V2_0";
	scene_init(&scene, &options);
	struct gen_draft draft = gen_draft(scene.channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "a kind of key that is not accepted");
	scene_fini(&scene);

	options = bft;
	options.suite = SUITE_SHA256_ED25519;
	scene_init(&scene, &options);
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_block_says_which_configuration_it_was_made_under(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	expect_honest_next(&scene);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.last_config = 1;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "made under config block 1, in force is 0");
	draft.last_config = UINT64_MAX;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "made under config block");
	draft.has_no_value = true;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "from 1.4.1 on");
	draft = gen_config_draft(scene.channel);
	draft.last_config = 0;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "made under config block 0, in force is 2");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_block_of_another_channel_is_refused(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.channel = "raft2";
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "of channel \"raft2\", not \"raft\"");
	draft.channel = "";
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "of channel \"\"");
	scene_fini(&scene);
}

static void a_block_out_of_place_is_refused(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.height = 2;
	EXPECT_DRAFT(&scene, &draft, WALK_HEIGHT, "block 2 where 1 is next");
	draft.height = UINT64_C(1) << 63;
	EXPECT_DRAFT(&scene, &draft, WALK_MALFORMED, "beyond 2^63 - 1");
	draft.height = (UINT64_C(1) << 63) - 1;
	EXPECT_DRAFT(&scene, &draft, WALK_HEIGHT, "where 1 is next");
	draft = gen_draft(scene.channel);
	draft.parent.bytes[31] ^= 1;
	EXPECT_DRAFT(&scene, &draft, WALK_LINK, "does not link");
	draft = gen_config_draft(scene.channel);
	draft.height = 0;
	EXPECT_DRAFT(&scene, &draft, WALK_HEIGHT, "block 0 where 1 is next");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_heap_of_signatures_is_not_searched_for_a_good_one(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	struct gen_draft draft = gen_draft(scene.channel);
	for (size_t i = 0; i < 17; i++)
		draft.signers[i] = scene.channel->client;
	draft.signers[17] = scene.channel->nodes[0];
	draft.signer_count = 18;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "0 valid signatures");
	draft.signers[16] = scene.channel->nodes[0];
	draft.signer_count = 17;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

static void signatures_beside_those_that_count_do_no_harm(void **state)
{
	struct scene scene;
	scene_init(&scene, &raft);
	struct gen_draft draft = gen_draft(scene.channel);
	/* All of one node: the first counts, the rest is passed over. */
	draft.signer_count = GEN_SIGNERS_MAX;
	for (size_t i = 0; i < GEN_SIGNERS_MAX; i++)
		draft.signers[i] = scene.channel->nodes[0];
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

/* ---- threads ---- */

#define THREADS 4
#define SIGNERS 40 /* More than a set remembers. */

struct shared {
	const struct trust *trust;
	struct buffer blocks[SIGNERS];
	_Atomic size_t good_count;
};

static void *verify_all(void *arg)
{
	struct shared *shared = arg;
	for (size_t i = 0; i < 2 * SIGNERS; i++) {
		struct block block;
		struct err err;
		if (fabric_format()->read(buffer_bytes(&shared->blocks[i % SIGNERS]), &block,
		                          &err) &&
		    fabric_format()->verify(shared->trust, &block, &err))
			shared->good_count++;
	}
	return NULL;
}

static void a_set_may_be_shared_between_threads(void **state)
{
	struct scene scene;
	struct shared shared = { .good_count = 0 };
	pthread_t threads[THREADS];
	scene_init(&scene, &raft);
	shared.trust = scene.trust;
	for (size_t i = 0; i < SIGNERS; i++) {
		struct gen_node *node =
			gen_node_new(scene.channel->orgs[i % 3], "orderer", SUITE_SHA256_P256);
		struct gen_draft draft = gen_draft(scene.channel);
		draft.signers[0] = node;
		gen_seal(scene.channel, &draft, &shared.blocks[i]);
		gen_node_free(node);
	}
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, verify_all, &shared), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(shared.good_count, THREADS * 2 * SIGNERS);
	for (size_t i = 0; i < SIGNERS; i++)
		buffer_fini(&shared.blocks[i]);
	scene_fini(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_orderer_signs_for_a_raft_channel),
		cmocka_unit_test(nobody_else_signs_for_it),
		cmocka_unit_test(a_signature_with_a_high_s_does_not_count),
		cmocka_unit_test(a_quorum_is_as_large_as_the_consenters_ask_for),
		cmocka_unit_test(a_consenter_who_signs_twice_counts_once),
		cmocka_unit_test(copies_signed_by_other_nodes_are_the_same_block),
		cmocka_unit_test(a_node_that_is_no_consenter_adds_nothing_to_a_quorum),
		cmocka_unit_test(a_consenter_may_be_named_by_its_certificate),
		cmocka_unit_test(a_raft_channel_has_no_numbers),
		cmocka_unit_test(two_certificates_of_one_key_are_one_signer),
		cmocka_unit_test(ed25519_counts_from_version_3_on),
		cmocka_unit_test(a_block_says_which_configuration_it_was_made_under),
		cmocka_unit_test(a_block_of_another_channel_is_refused),
		cmocka_unit_test(a_block_out_of_place_is_refused),
		cmocka_unit_test(a_heap_of_signatures_is_not_searched_for_a_good_one),
		cmocka_unit_test(signatures_beside_those_that_count_do_no_harm),
		cmocka_unit_test(a_set_may_be_shared_between_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
