#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/anchor_build.h"
#include "tests/unit/spool_fixture.h"

static const uint8_t class_numbers[] = { 1 };

/* Chooses and completes the next anchor of what is pending, as the plan says. */
static bool build_by(struct fixture *fixture, struct plan *plan, struct anchor_draft *draft,
                     struct err *err)
{
	struct anchor_choice choice = { .spool = fixture->spool,
		                        .plan = plan,
		                        .class_numbers = class_numbers,
		                        .sink = SPOOL_SINK_MAIN };
	anchor_draft_init(draft);
	assert_true(plan_begin(plan));
	draft->id = (struct spool_anchor_id){ SPOOL_SINK_MAIN, 0, fixture->seq + 1 };
	draft->anchor.alg = HASH_SHA256;
	draft->anchor.previous = fixture->root;
	return anchor_draft_choose(draft, &choice, err) &&
	       (draft->anchor.entry_count == 0 || anchor_draft_seal(draft, fixture->spool, err));
}

/* The same of everything. */
static bool build(struct fixture *fixture, enum deliver deliver, struct anchor_draft *draft,
                  struct err *err)
{
	struct plan plan;
	struct plan_limits limits = { .entry_max = 8, .block_max = 1000, .byte_max = 1 << 20 };
	plan_init(&plan, &limits);
	plan_set_class(&plan, 0, 1, deliver);
	bool built = build_by(fixture, &plan, draft, err);
	plan_fini(&plan);
	return built;
}

static void put_draft(struct fixture *fixture, const struct anchor_draft *draft)
{
	struct err err;
	struct spool_anchor anchor = { .id = draft->id,
		                       .alg = draft->anchor.alg,
		                       .deliver = draft->anchor.deliver,
		                       .previous = draft->anchor.previous,
		                       .root = draft->anchor.root,
		                       .key = draft->key,
		                       .created_ms = TEST_TIME_MS };
	MUST(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), &anchor, draft->entries,
	                      draft->anchor.entry_count, &err));
	commit(fixture);
}

static void what_is_pending_of_each_chain_becomes_one_entry(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain first = test_chain("tq-1"), second = test_chain("tq-2");
	struct anchor_draft draft;
	struct err err;
	add_chain(fixture, &first);
	add_chain(fixture, &second);
	for (int i = 0; i < 3; i++)
		put_batch(fixture, &first, 5);
	put_batch(fixture, &second, 2);
	MUST(build(fixture, DELIVER_HEADERS, &draft, &err));
	assert_int_equal(draft.anchor.entry_count, 2);
	assert_int_equal(draft.anchor.header_count, 17);
	struct anchor_decoded *decoded; /* It checks roots, links and tips by itself. */
	MUST(anchor_content_decode(buffer_bytes(&draft.content), &decoded, &err));
	assert_true(hash_equal(&anchor_decoded_view(decoded)->root, &draft.anchor.root));
	anchor_decoded_free(decoded);
	put_draft(fixture, &draft);
	anchor_draft_fini(&draft);
	fixture->seq++;
	MUST(build(fixture, DELIVER_HEADERS, &draft, &err));
	assert_int_equal(draft.anchor.entry_count, 0); /* Nothing is left. */
	anchor_draft_fini(&draft);
}

static void an_intent_reads_back_as_the_same_bytes_under_the_same_key(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct err err;
	add_chain(fixture, &chain);
	for (enum deliver deliver = DELIVER_ANCHOR; deliver <= DELIVER_FULL; deliver++) {
		struct anchor_draft draft, again;
		put_batch(fixture, &chain, 4);
		put_batch(fixture, &chain, 3);
		MUST(build(fixture, deliver, &draft, &err));
		put_draft(fixture, &draft);
		anchor_draft_init(&again);
		MUST(anchor_draft_load(&again, fixture->spool, &draft.id, &err));
		assert_true(hash_equal(&again.key, &draft.key));
		assert_true(
			bytes_equal(buffer_bytes(&again.content), buffer_bytes(&draft.content)));
		assert_int_equal(again.upload_count, deliver == DELIVER_FULL ? 2 : 0);
		fixture->seq++;
		fixture->root = draft.anchor.root;
		finalize(fixture, &draft.id, TEST_TIME_MS);
		anchor_draft_fini(&draft);
		anchor_draft_fini(&again);
	}
}

/* Else a changed row would bring the same blocks to the main chain under a second key. */
static void an_intent_that_does_not_lead_to_its_key_is_not_sent(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct anchor_draft draft, again;
	struct err err;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 4);
	MUST(build(fixture, DELIVER_ANCHOR, &draft, &err));
	draft.key.bytes[0] ^= 1;
	put_draft(fixture, &draft);
	anchor_draft_init(&again);
	MUST_FAIL(anchor_draft_load(&again, fixture->spool, &draft.id, &err), ZR_CORRUPT);
	anchor_draft_fini(&draft);
	anchor_draft_fini(&again);
}

static void heights_that_were_declared_lost_end_an_entry(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct test_batch lost;
	struct anchor_draft draft;
	struct err err;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 4);
	next_batch(&chain, 3, 10, &lost); /* 4..6: nobody has them. */
	const struct spool_adoption adoption = { .chain = chain.key,
		                                 .next_height = chain.next_height,
		                                 .tip = chain.tip,
		                                 .who = "operator",
		                                 .why = "lost",
		                                 .now_ms = TEST_TIME_MS };
	MUST(spool_chain_adopt(begin(fixture, SPOOL_UPKEEP), &adoption, &err));
	commit(fixture);
	put_batch(fixture, &chain, 2);
	static const struct {
		uint64_t from, to;
	} runs[] = { { 0, 3 }, { 7, 8 } };
	for (size_t i = 0; i < 2; i++) {
		MUST(build(fixture, DELIVER_ANCHOR, &draft, &err));
		assert_int_equal(draft.anchor.entry_count, 1);
		assert_int_equal(draft.entries[0].from, runs[i].from);
		assert_int_equal(draft.entries[0].to, runs[i].to);
		put_draft(fixture, &draft);
		fixture->seq++;
		fixture->root = draft.anchor.root;
		anchor_draft_fini(&draft);
	}
}

/* Each of three chains has more than an anchor holds. */
static void every_chain_of_a_class_has_its_turn(void **state)
{
	struct fixture *fixture = *state;
	struct plan_limits limits = { .entry_max = 8, .block_max = 30, .byte_max = 1 << 20 };
	struct test_chain chains[] = { test_chain("tq-1"), test_chain("tq-2"), test_chain("tq-3") };
	struct plan plan;
	struct err err;
	uint64_t placed[3] = { 0 };
	for (size_t i = 0; i < 3; i++) {
		add_chain(fixture, &chains[i]);
		for (int k = 0; k < 20; k++)
			put_batch(fixture, &chains[i], 5);
	}
	plan_init(&plan, &limits);
	plan_set_class(&plan, 0, 1, DELIVER_ANCHOR);
	for (int i = 0; i < 6; i++) {
		struct anchor_draft draft;
		MUST(build_by(fixture, &plan, &draft, &err));
		for (size_t k = 0; k < draft.anchor.entry_count; k++) {
			const struct entry *entry = &draft.entries[k];
			for (size_t c = 0; c < 3; c++) {
				if (chain_key_equal(&draft.chains[k], &chains[c].key))
					placed[c] += entry->to - entry->from + 1;
			}
		}
		put_draft(fixture, &draft);
		fixture->seq++;
		fixture->root = draft.anchor.root;
		anchor_draft_fini(&draft);
	}
	plan_fini(&plan);
	for (size_t c = 0; c < 3; c++)
		assert_int_equal(placed[c], 60);
}

static void damage_row(struct fixture *fixture, const struct test_chain *chain)
{
	struct err err;
	struct txn txn;
	uint8_t key[CHAIN_KEY_SIZE + 8] = { 0 };
	fixture->damaged = true;
	memcpy(key, chain->key.bytes, CHAIN_KEY_SIZE);
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_has(&txn, SPOOL_HEIGHTS, BYTES_OF(key)));
	txn_put(&txn, SPOOL_HEIGHTS, BYTES_OF(key), BYTES_LITERAL("no such row"));
	MUST(txn_commit(&txn, &err));
}

static void a_chain_whose_rows_are_damaged_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain good = test_chain("tq-1"), bad = test_chain("tq-2");
	struct anchor_draft draft;
	struct err err;
	add_chain(fixture, &good);
	add_chain(fixture, &bad);
	put_batch(fixture, &good, 5);
	put_batch(fixture, &bad, 5);
	damage_row(fixture, &bad);
	assert_false(build(fixture, DELIVER_ANCHOR, &draft, &err));
	assert_int_equal(err.code, ZR_CORRUPT);
	assert_true(draft.has_culprit);
	assert_true(chain_key_equal(&draft.culprit, &bad.key));
	anchor_draft_fini(&draft);
	struct spool_chain_state_change change = { .chain = bad.key,
		                                   .state = SPOOL_CHAIN_FROZEN,
		                                   .reason = "unreadable",
		                                   .who = "gateway",
		                                   .delivery_held = true };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &change, &err));
	commit(fixture);
	MUST(build(fixture, DELIVER_ANCHOR, &draft, &err)); /* The other one goes on. */
	assert_int_equal(draft.anchor.entry_count, 1);
	assert_true(chain_key_equal(&draft.chains[0], &good.key));
	anchor_draft_fini(&draft);
}

static void an_intent_whose_rows_are_damaged_names_the_entry(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chains[2] = { test_chain("tq-1"), test_chain("tq-2") };
	struct anchor_draft draft, again;
	struct err err;
	int64_t entry = -2;
	for (int i = 0; i < 2; i++) {
		add_chain(fixture, &chains[i]);
		put_batch(fixture, &chains[i], 5);
	}
	MUST(build(fixture, DELIVER_FULL, &draft, &err));
	put_draft(fixture, &draft);
	damage_row(fixture, &chains[1]);
	anchor_draft_init(&again);
	assert_false(anchor_draft_load(&again, fixture->spool, &draft.id, &err));
	assert_true(anchor_draft_unreadable(&again, &entry));
	assert_true(entry >= 0 && chain_key_equal(&again.chains[entry], &chains[1].key));
	/* Running out of memory, or of a device, is nobody's fault. */
	err.code = ZR_NO_MEMORY;
	assert_false(anchor_draft_blame(&again, &chains[1].key, &err));
	assert_false(anchor_draft_unreadable(&again, &entry));
	anchor_draft_fini(&again);
	anchor_draft_fini(&draft);
}

static void an_intent_whose_payload_was_repaired_with_other_bytes_is_stale(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1"), before = chain;
	struct anchor_draft draft, again;
	struct test_batch batch;
	struct err err;
	int64_t entry = 0;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 5);
	MUST(build(fixture, DELIVER_FULL, &draft, &err));
	put_draft(fixture, &draft);
	next_batch(&before, 5, 300, &batch); /* The same blocks, in other bytes. */
	MUST(spool_batch_repair(begin(fixture, SPOOL_INTAKE), &batch.batch, &err));
	commit(fixture);
	anchor_draft_init(&again);
	assert_false(anchor_draft_load(&again, fixture->spool, &draft.id, &err));
	assert_true(anchor_draft_unreadable(&again, &entry));
	assert_int_equal(entry, -1);
	anchor_draft_fini(&again);
	anchor_draft_fini(&draft);
}

static void what_is_to_be_uploaded_must_be_there_before_it_is_promised(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1"), other = test_chain("tq-2");
	struct anchor_draft draft;
	struct err err;
	struct txn txn;
	struct hash dictionary;
	struct test_batch batch;
	uint64_t arrival;
	add_chain(fixture, &chain);
	add_chain(fixture, &other);
	put_batch(fixture, &other, 1);
	next_batch(&chain, 3, 200, &batch);
	MUST(spool_dictionary_put(begin(fixture, SPOOL_UPKEEP), BYTES_LITERAL("words"), &dictionary,
	                          &err));
	commit(fixture);
	batch.batch.dictionary = dictionary;
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	commit(fixture);
	fixture->damaged = true;
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	txn_delete(&txn, SPOOL_DICTIONARIES, BYTES_OF(dictionary));
	MUST(txn_commit(&txn, &err));
	assert_false(build(fixture, DELIVER_FULL, &draft, &err));
	assert_true(draft.has_culprit && chain_key_equal(&draft.culprit, &chain.key));
	anchor_draft_fini(&draft);
	MUST(build(fixture, DELIVER_ANCHOR, &draft, &err)); /* Its payload stays here. */
	assert_int_equal(draft.anchor.entry_count, 2);
	anchor_draft_fini(&draft);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(what_is_pending_of_each_chain_becomes_one_entry),
		WITH_SPOOL(an_intent_reads_back_as_the_same_bytes_under_the_same_key),
		WITH_SPOOL(an_intent_that_does_not_lead_to_its_key_is_not_sent),
		WITH_SPOOL(heights_that_were_declared_lost_end_an_entry),
		WITH_SPOOL(every_chain_of_a_class_has_its_turn),
		WITH_SPOOL(a_chain_whose_rows_are_damaged_is_named),
		WITH_SPOOL(an_intent_whose_rows_are_damaged_names_the_entry),
		WITH_SPOOL(an_intent_whose_payload_was_repaired_with_other_bytes_is_stale),
		WITH_SPOOL(what_is_to_be_uploaded_must_be_there_before_it_is_promised),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
