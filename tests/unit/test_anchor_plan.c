#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/anchor_plan.h"

static const struct plan_limits limits = { 1000, 1000000, 1 << 30 };

static struct chain_key key_of(uint8_t number)
{
	struct chain_key key = { { number } };
	return key;
}

/* Plans one anchor over classes that always have more to give, in batches of batch_blocks. */
static void plan_busy_anchor(struct plan *plan, uint64_t batch_blocks,
                             uint64_t placed[PLAN_CLASS_MAX])
{
	size_t class = 0;
	uint64_t block_max = 0;
	assert_true(plan_begin(plan));
	while (plan_next(plan, &class, &block_max)) {
		uint64_t blocks = 0;
		while (blocks + batch_blocks <= block_max || blocks == 0)
			blocks += batch_blocks;
		struct plan_run run = { key_of((uint8_t)(class + 1)), true, blocks, blocks * 100 };
		plan_took(plan, class, &run);
		placed[class] += blocks;
	}
}

static void classes_share_by_their_weights(void **state)
{
	struct plan plan;
	struct plan_limits small = limits;
	small.block_max = PLAN_QUANTUM_BLOCKS * 100;
	plan_init(&plan, &small);
	plan_set_class(&plan, 0, 1, DELIVER_ANCHOR);
	plan_set_class(&plan, 1, 3, DELIVER_ANCHOR);
	uint64_t placed[PLAN_CLASS_MAX] = { 0 };
	for (int i = 0; i < 10; i++)
		plan_busy_anchor(&plan, 1, placed);
	assert_true(placed[1] > placed[0] * 29 / 10 && placed[1] < placed[0] * 31 / 10);
	plan_fini(&plan);
}

static void whole_batches_that_overdraw_are_owed_in_the_next_round(void **state)
{
	struct plan plan;
	struct plan_limits small = limits;
	small.block_max = PLAN_QUANTUM_BLOCKS * 1000;
	plan_init(&plan, &small);
	plan_set_class(&plan, 0, 1, DELIVER_ANCHOR);
	plan_set_class(&plan, 1, 1, DELIVER_ANCHOR);
	uint64_t placed[PLAN_CLASS_MAX] = { 0 };
	size_t class = 0;
	uint64_t block_max = 0;
	assert_true(plan_begin(&plan));
	while (plan_next(&plan, &class, &block_max)) {
		uint64_t blocks = class == 0 ? 500 : 64; /* Class 0 has huge batches. */
		struct plan_run run = { key_of(1), true, blocks, 1 };
		plan_took(&plan, class, &run);
		placed[class] += blocks;
	}
	assert_true(placed[0] < placed[1] + 1000 && placed[1] < placed[0] + 1000);
	plan_fini(&plan);
}

static void an_anchor_ends_at_each_of_its_limits(void **state)
{
	struct plan plan;
	struct plan_limits tight = { 3, 1000, 1000 };
	size_t class = 0;
	uint64_t block_max = 0;
	struct plan_run small = { key_of(1), true, 1, 1 };
	struct plan_run many_blocks = { key_of(1), true, 1000, 1 };
	struct plan_run many_bytes = { key_of(1), true, 1, 1000 };
	plan_init(&plan, &tight);
	plan_set_class(&plan, 0, 1, DELIVER_FULL);

	assert_true(plan_begin(&plan));
	for (int i = 0; i < 3; i++) {
		assert_true(plan_next(&plan, &class, &block_max));
		plan_took(&plan, class, &small);
	}
	assert_false(plan_next(&plan, &class, &block_max));

	assert_true(plan_begin(&plan));
	assert_true(plan_next(&plan, &class, &block_max));
	plan_took(&plan, class, &many_blocks);
	assert_false(plan_next(&plan, &class, &block_max));

	assert_true(plan_begin(&plan));
	assert_true(plan_next(&plan, &class, &block_max));
	plan_took(&plan, class, &many_bytes);
	assert_false(plan_next(&plan, &class, &block_max));
	plan_fini(&plan);
}

static void a_class_without_pending_blocks_saves_nothing_up(void **state)
{
	struct plan plan;
	size_t class = 0;
	uint64_t block_max = 0;
	plan_init(&plan, &limits);
	plan_set_class(&plan, 0, 5, DELIVER_ANCHOR);
	for (int i = 0; i < 5; i++) {
		assert_true(plan_begin(&plan));
		assert_true(plan_next(&plan, &class, &block_max));
		plan_wrapped(&plan, 0);
		assert_false(plan_next(&plan, &class, &block_max));
		assert_int_equal(plan.classes[0].deficit_blocks, 0);
	}
	plan_fini(&plan);
}

static void a_class_is_exhausted_after_one_turn_over_all_its_chains(void **state)
{
	struct plan plan;
	size_t class = 0;
	uint64_t block_max = 0;
	plan_init(&plan, &limits);
	plan_set_class(&plan, 0, 1, DELIVER_ANCHOR);
	plan.classes[0].cursor = key_of(5); /* The last anchor ended there. */
	assert_true(plan_begin(&plan));
	assert_true(plan_next(&plan, &class, &block_max));
	plan_wrapped(&plan, 0); /* Nothing from there to the end: begin at the first. */
	struct plan_run run = { key_of(3), true, 10, 10 };
	assert_true(plan_next(&plan, &class, &block_max));
	plan_took(&plan, 0, &run);
	assert_true(plan_next(&plan, &class, &block_max));
	plan_wrapped(&plan, 0); /* Something was taken: another turn. */
	assert_true(plan_next(&plan, &class, &block_max));
	plan_skipped(&plan, 0, &run.chain);
	assert_true(plan_next(&plan, &class, &block_max));
	plan_wrapped(&plan, 0);
	assert_false(plan_next(&plan, &class, &block_max));
	plan_fini(&plan);
}

static void delivers_take_turns_by_anchor(void **state)
{
	struct plan plan;
	plan_init(&plan, &limits);
	plan_set_class(&plan, 0, 1, DELIVER_ANCHOR);
	plan_set_class(&plan, 1, 1, DELIVER_FULL);
	assert_int_equal(plan_deliver_count(&plan), 2);
	assert_true(plan_begin(&plan));
	enum deliver first = plan.deliver;
	assert_true(plan_begin(&plan));
	assert_int_not_equal(first, plan.deliver);
	assert_true(plan_begin(&plan));
	assert_int_equal(first, plan.deliver);
	plan_fini(&plan);
}

static void without_classes_there_is_nothing_to_plan(void **state)
{
	struct plan plan;
	plan_init(&plan, &limits);
	assert_false(plan_begin(&plan));
	plan_fini(&plan);
}

/* Which of count chains does the main chain refuse? Counts the anchors it takes to find out. */
static unsigned find_culprit(size_t count, size_t guilty)
{
	struct plan plan;
	struct chain_key chains[64];
	plan_init(&plan, &limits);
	for (size_t i = 0; i < count; i++)
		chains[i] = key_of((uint8_t)(i + 1));
	bool found = false;
	struct chain_key culprit;
	unsigned anchors = 1;
	assert_true(plan_refused(&plan, chains, count, &found, &culprit, NULL));
	while (!found) {
		const struct chain_key *probe;
		struct chain_key copy[64];
		size_t probe_count = plan_probe(&plan, &probe);
		assert_true(probe_count > 0 && probe_count < count);
		memcpy(copy, probe, probe_count * sizeof(copy[0]));
		bool refused = false;
		for (size_t i = 0; i < probe_count; i++)
			refused = refused || chain_key_equal(&copy[i], &chains[guilty]);
		anchors++;
		if (refused)
			assert_true(plan_refused(&plan, copy, probe_count, &found, &culprit, NULL));
		else
			plan_accepted(&plan, copy, probe_count);
	}
	assert_true(chain_key_equal(&culprit, &chains[guilty]));
	plan_accepted(&plan, chains, count); /* Whoever was still to be tried is free as well. */
	const struct chain_key *probe;
	assert_int_equal(plan_probe(&plan, &probe), 0);
	plan_fini(&plan);
	return anchors;
}

static void the_chain_that_is_refused_is_found_half_by_half(void **state)
{
	for (size_t count = 1; count <= 33; count++) {
		for (size_t guilty = 0; guilty < count; guilty++)
			assert_true(find_culprit(count, guilty) <= 8);
	}
}

static void chains_that_can_not_be_tried_any_more_leave_the_suspects(void **state)
{
	struct plan plan;
	struct chain_key chains[3] = { key_of(1), key_of(2), key_of(3) };
	bool found = true;
	struct chain_key culprit;
	const struct chain_key *probe;
	plan_init(&plan, &limits);
	assert_true(plan_refused(&plan, chains, 3, &found, &culprit, NULL));
	assert_false(found);
	assert_int_equal(plan_probe(&plan, &probe), 2);
	plan_cleared(&plan, &chains[0]);
	assert_int_equal(plan_probe(&plan, &probe), 1);
	assert_true(chain_key_equal(&probe[0], &chains[1]));
	plan_cleared(&plan, &chains[1]);
	plan_cleared(&plan, &chains[2]);
	assert_int_equal(plan_probe(&plan, &probe), 0);
	plan_fini(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_share_by_their_weights),
		cmocka_unit_test(whole_batches_that_overdraw_are_owed_in_the_next_round),
		cmocka_unit_test(an_anchor_ends_at_each_of_its_limits),
		cmocka_unit_test(a_class_without_pending_blocks_saves_nothing_up),
		cmocka_unit_test(a_class_is_exhausted_after_one_turn_over_all_its_chains),
		cmocka_unit_test(delivers_take_turns_by_anchor),
		cmocka_unit_test(without_classes_there_is_nothing_to_plan),
		cmocka_unit_test(the_chain_that_is_refused_is_found_half_by_half),
		cmocka_unit_test(chains_that_can_not_be_tried_any_more_leave_the_suspects),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
