/* test_admission.c -- what may be appended to a chain, and in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/admission.h"

static struct hash hash_of(unsigned number)
{
	struct hash hash = { { 0 } };
	put_be32(hash.bytes, number);
	return hash;
}

/* Blocks first..first+count-1; block h has hash_of(h) in the honest chain. */
static struct claim claim_of(uint64_t first, uint32_t count)
{
	return (struct claim){ first, count, hash_of((unsigned)(first + count - 1)) };
}

static struct admission at_height(uint64_t next)
{
	struct admission admission;
	admission_init(&admission,
	               (struct walk_position){ next, next == 0 ? (struct hash){ { 0 } }
	                                                       : hash_of((unsigned)next - 1) },
	               0);
	return admission;
}

static struct facts fine(const struct admission *admission, const struct claim *claim)
{
	return (struct facts){ .basis = admission_basis(admission),
		               .header_count = claim->block_count,
		               .tip = claim->tip };
}

static void the_next_batch_is_expected(void **state)
{
	struct admission admission = at_height(10);
	struct claim claim = claim_of(10, 5);
	assert_int_equal(admission_arrival(&admission, &claim, NULL), ARRIVAL_EXPECTED);
}

static void the_batch_after_one_under_verification_is_expected_too(void **state)
{
	struct admission admission = at_height(10);
	struct claim first = claim_of(10, 5), second = claim_of(15, 1);
	assert_int_equal(admission_arrival(&admission, &second, NULL), ARRIVAL_GAP);
	admission_expect(&admission, &first);
	assert_int_equal(admission_arrival(&admission, &second, NULL), ARRIVAL_EXPECTED);
}

static void a_batch_above_the_expected_height_is_a_gap(void **state)
{
	struct admission admission = at_height(10);
	struct claim claim = claim_of(11, 1);
	assert_int_equal(admission_arrival(&admission, &claim, NULL), ARRIVAL_GAP);
}

static void a_batch_whose_tip_is_ours_is_a_duplicate(void **state)
{
	struct admission admission = at_height(10);
	struct claim claim = claim_of(7, 3);
	struct hash ours = hash_of(9);
	assert_int_equal(admission_arrival(&admission, &claim, &ours), ARRIVAL_DUPLICATE);
}

static void a_batch_with_another_tip_at_a_durable_height_is_a_suspect(void **state)
{
	struct admission admission = at_height(10);
	struct claim claim = claim_of(7, 3);
	struct hash ours = hash_of(999);
	assert_int_equal(admission_arrival(&admission, &claim, &ours), ARRIVAL_SUSPECT);
	assert_int_equal(admission_arrival(&admission, &claim, NULL), ARRIVAL_SUSPECT);
}

static void a_batch_across_the_durable_tip_is_a_suspect(void **state)
{
	struct admission admission = at_height(10);
	struct claim claim = claim_of(8, 5);
	assert_int_equal(admission_arrival(&admission, &claim, NULL), ARRIVAL_SUSPECT);
}

static void a_batch_whose_place_is_under_way_waits_for_that_commit(void **state)
{
	struct admission admission = at_height(10);
	struct claim first = claim_of(10, 5);
	admission_expect(&admission, &first);
	assert_int_equal(admission_arrival(&admission, &first, NULL), ARRIVAL_IN_FLIGHT);
	struct facts facts = fine(&admission, &first);
	admission_append(&admission, &first, &facts);
	assert_int_equal(admission_arrival(&admission, &first, NULL), ARRIVAL_IN_FLIGHT);
}

static void heights_beyond_the_signed_range_are_malformed(void **state)
{
	struct admission admission = at_height(10);
	struct claim none = { 10, 0, hash_of(1) };
	struct claim beyond = { HEIGHT_MAX + 1, 1, hash_of(1) };
	struct claim across = { HEIGHT_MAX, 2, hash_of(1) };
	struct claim wraps = { UINT64_MAX, 2, hash_of(1) };
	struct claim last = { HEIGHT_MAX, 1, hash_of(1) };
	assert_int_equal(admission_arrival(&admission, &none, NULL), ARRIVAL_MALFORMED);
	assert_int_equal(admission_arrival(&admission, &beyond, NULL), ARRIVAL_MALFORMED);
	assert_int_equal(admission_arrival(&admission, &across, NULL), ARRIVAL_MALFORMED);
	assert_int_equal(admission_arrival(&admission, &wraps, NULL), ARRIVAL_MALFORMED);
	assert_int_equal(admission_arrival(&admission, &last, NULL), ARRIVAL_GAP);
}

static void fine_facts_in_order_are_appended_and_committed(void **state)
{
	struct admission admission = at_height(0);
	struct claim claim = claim_of(0, 5);
	admission_expect(&admission, &claim);
	struct facts facts = fine(&admission, &claim);
	assert_int_equal(admission_verdict(&admission, &claim, &facts), VERDICT_APPEND);
	admission_append(&admission, &claim, &facts);
	assert_int_equal(admission.durable.next_height, 0);
	assert_int_equal(admission.admitted.next_height, 5);
	admission_commit(&admission, &claim);
	assert_int_equal(admission.durable.next_height, 5);
	struct hash tip = hash_of(4);
	assert_memory_equal(&admission.durable.tip, &tip, sizeof(tip));
}

static void facts_found_under_a_stale_trust_set_are_found_again(void **state)
{
	struct admission admission = at_height(0);
	struct claim first = claim_of(0, 5), second = claim_of(5, 5);
	admission_expect(&admission, &first);
	admission_expect(&admission, &second);
	struct facts ahead = { .basis = { { 5, first.tip }, 0 },
		               .header_count = 5,
		               .tip = second.tip };
	struct facts facts = fine(&admission, &first);
	facts.trust_changed = true;
	facts.trust_next_from = 3;
	admission_append(&admission, &first, &facts);
	assert_int_equal(admission.trust_from, 3);
	assert_int_equal(admission_verdict(&admission, &second, &ahead), VERDICT_AGAIN);
	/* Even a fault counts only if it was found under what is in force. */
	ahead.fault = WALK_UNTRUSTED;
	assert_int_equal(admission_verdict(&admission, &second, &ahead), VERDICT_AGAIN);
	ahead.fault = WALK_FINE;
	ahead.basis = admission_basis(&admission);
	assert_int_equal(admission_verdict(&admission, &second, &ahead), VERDICT_APPEND);
}

static void facts_found_from_another_parent_are_found_again(void **state)
{
	struct admission admission = at_height(5);
	struct claim claim = claim_of(5, 1);
	admission_expect(&admission, &claim);
	struct facts facts = fine(&admission, &claim);
	facts.basis.position.tip = hash_of(777);
	facts.fault = WALK_LINK;
	assert_int_equal(admission_verdict(&admission, &claim, &facts), VERDICT_AGAIN);
}

static void a_fault_under_what_is_in_force_is_bad(void **state)
{
	struct admission admission = at_height(5);
	struct claim claim = claim_of(5, 1);
	struct facts facts = fine(&admission, &claim);
	for (enum walk_fault fault = WALK_MALFORMED; fault <= WALK_UNTRUSTED; fault++) {
		facts.fault = fault;
		assert_int_equal(admission_verdict(&admission, &claim, &facts), VERDICT_BAD);
	}
}

static void a_batch_that_is_not_what_its_header_says_is_bad(void **state)
{
	struct admission admission = at_height(5);
	struct claim claim = claim_of(5, 2);
	struct facts facts = fine(&admission, &claim);
	facts.header_count = 1;
	assert_int_equal(admission_verdict(&admission, &claim, &facts), VERDICT_BAD);
	facts = fine(&admission, &claim);
	facts.tip = hash_of(1234);
	assert_int_equal(admission_verdict(&admission, &claim, &facts), VERDICT_BAD);
}

static void a_batch_behind_one_that_was_not_admitted_hangs_in_the_air(void **state)
{
	struct admission admission = at_height(5);
	struct claim first = claim_of(5, 2), second = claim_of(7, 2);
	admission_expect(&admission, &first);
	admission_expect(&admission, &second);
	admission_cut(&admission); /* The first was bad. */
	struct facts facts = fine(&admission, &second);
	assert_int_equal(admission_verdict(&admission, &second, &facts), VERDICT_GAP);
	assert_int_equal(admission_arrival(&admission, &first, NULL), ARRIVAL_EXPECTED);
}

static void a_refused_commit_leads_back_to_what_is_durable(void **state)
{
	struct admission admission = at_height(5);
	struct claim claim = claim_of(5, 2);
	admission_expect(&admission, &claim);
	struct facts facts = fine(&admission, &claim);
	facts.trust_changed = true;
	facts.trust_next_from = 6;
	admission_append(&admission, &claim, &facts);
	admission_rollback(&admission, 0);
	assert_int_equal(admission.admitted.next_height, 5);
	assert_int_equal(admission.expected.next_height, 5);
	assert_int_equal(admission.trust_from, 0);
	assert_int_equal(admission_arrival(&admission, &claim, NULL), ARRIVAL_EXPECTED);
}

static void a_suspect_is_compared_hash_by_hash(void **state)
{
	struct block_header headers[3] = { { .height = 7, .hash = hash_of(7) },
		                           { .height = 8, .hash = hash_of(8) },
		                           { .height = 9, .hash = hash_of(9) } };
	struct hash ours[3] = { hash_of(7), hash_of(8), hash_of(9) };
	uint64_t height = 0;
	assert_int_equal(admission_compare(headers, 3, ours, 3, &height), COMPARE_SAME_WHOLE);
	assert_int_equal(admission_compare(headers, 3, ours, 2, &height), COMPARE_SAME_OVERLAP);
	assert_int_equal(admission_compare(headers, 3, ours, 0, &height), COMPARE_ABOVE);
	ours[1] = hash_of(800);
	ours[2] = hash_of(900);
	assert_int_equal(admission_compare(headers, 3, ours, 3, &height), COMPARE_DIFFERENT);
	assert_int_equal(height, 8);
	assert_int_equal(admission_compare(headers, 3, ours, 1, &height), COMPARE_SAME_OVERLAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_batch_is_expected),
		cmocka_unit_test(the_batch_after_one_under_verification_is_expected_too),
		cmocka_unit_test(a_batch_above_the_expected_height_is_a_gap),
		cmocka_unit_test(a_batch_whose_tip_is_ours_is_a_duplicate),
		cmocka_unit_test(a_batch_with_another_tip_at_a_durable_height_is_a_suspect),
		cmocka_unit_test(a_batch_across_the_durable_tip_is_a_suspect),
		cmocka_unit_test(a_batch_whose_place_is_under_way_waits_for_that_commit),
		cmocka_unit_test(heights_beyond_the_signed_range_are_malformed),
		cmocka_unit_test(fine_facts_in_order_are_appended_and_committed),
		cmocka_unit_test(facts_found_under_a_stale_trust_set_are_found_again),
		cmocka_unit_test(facts_found_from_another_parent_are_found_again),
		cmocka_unit_test(a_fault_under_what_is_in_force_is_bad),
		cmocka_unit_test(a_batch_that_is_not_what_its_header_says_is_bad),
		cmocka_unit_test(a_batch_behind_one_that_was_not_admitted_hangs_in_the_air),
		cmocka_unit_test(a_refused_commit_leads_back_to_what_is_durable),
		cmocka_unit_test(a_suspect_is_compared_hash_by_hash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
