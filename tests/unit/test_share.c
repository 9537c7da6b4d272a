/* test_share.c -- credit, shared by deficit round robin; and the budget of partial batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/partials.h"
#include "relay/share.h"

static void count_granted(struct share_link *link, void *arg)
{
}

static void begin(struct share *share)
{
	share_init(share, &(struct share_options){
				  .window_bytes = 1000, .window_batches = 4, .slice_bytes = 100 });
}

static void where_there_is_room_everybody_gets_the_whole_window(void **state)
{
	struct share share;
	begin(&share);
	struct share_link a, b;
	share_link_init(&a, 1);
	share_link_init(&b, 5);
	share_want(&share, &a);
	share_want(&share, &b);
	share_turn(&share, 0, true, count_granted, NULL);
	assert_int_equal(a.granted_bytes, 1000);
	assert_int_equal(b.granted_bytes, 1000);
	assert_int_equal(a.granted_batches, 4);
	assert_true(list_is_empty(&share.ring));
}

static void where_room_is_short_slices_follow_the_weights(void **state)
{
	struct share share;
	begin(&share);
	struct share_link a, b;
	share_link_init(&a, 1);
	share_link_init(&b, 3);
	share_want(&share, &a);
	share_want(&share, &b);
	share_turn(&share, 400, false, count_granted, NULL);
	assert_int_equal(a.granted_bytes, 100);
	assert_int_equal(b.granted_bytes, 300);
}

static void no_link_starves_however_heavy_the_others_are(void **state)
{
	struct share share;
	begin(&share);
	struct share_link heavy, light;
	share_link_init(&heavy, 100);
	share_link_init(&light, 1);
	share_want(&share, &heavy);
	share_want(&share, &light);
	for (unsigned turn = 0; turn < 20; turn++) {
		share_turn(&share, 200, false, count_granted, NULL);
		if (light.granted_bytes > 0)
			break;
		(void)share_use(&heavy, heavy.granted_bytes - heavy.used_bytes, 0);
		share_done(&share, &heavy, heavy.used_bytes - heavy.done_bytes, 0);
	}
	assert_true(light.granted_bytes > 0);
}

static void what_was_given_is_not_owed_any_more(void **state)
{
	struct share share;
	begin(&share);
	struct share_link a, b;
	share_link_init(&a, 1);
	share_link_init(&b, 1);
	share_want(&share, &a);
	share_want(&share, &b);
	for (unsigned turn = 1; turn <= 5; turn++) {
		share_turn(&share, 200, false, count_granted, NULL);
		assert_int_equal(a.granted_bytes, 100 * turn);
		assert_int_equal(b.granted_bytes, 100 * turn);
	}
}

static void without_room_nobody_is_given_anything(void **state)
{
	struct share share;
	begin(&share);
	struct share_link a;
	share_link_init(&a, 1);
	share_want(&share, &a);
	share_turn(&share, 0, false, count_granted, NULL);
	assert_int_equal(a.granted_bytes, 0);
	assert_false(share_should_tell(&share, &a));
	assert_false(list_is_empty(&share.ring));
	share_link_fini(&a);
	assert_true(list_is_empty(&share.ring));
}

static void credit_comes_back_when_batches_are_done(void **state)
{
	struct share share;
	begin(&share);
	struct share_link a;
	share_link_init(&a, 1);
	share_want(&share, &a);
	share_turn(&share, 0, true, count_granted, NULL);
	assert_true(share_use(&a, 1000, 4));
	assert_false(share_use(&a, 1, 0));
	share_done(&share, &a, 600, 2);
	share_turn(&share, 0, true, count_granted, NULL);
	assert_int_equal(a.granted_bytes, 1600);
	assert_true(share_should_tell(&share, &a));
	share_told(&a);
	assert_false(share_should_tell(&share, &a));
	assert_int_equal(a.granted_batches, 6);
}

static struct batch_header header_of(unsigned number, size_t size)
{
	struct batch_header header = { .size = size, .raw_size = size };
	put_be32(header.content.bytes, number);
	return header;
}

static void pieces_make_a_whole_batch(void **state)
{
	struct partials partials;
	struct partial partial;
	partials_init(&partials, 100);
	partial_init(&partial);
	struct batch_header header = header_of(1, 6);
	assert_true(partial_begin(&partials, &partial, &header));
	assert_int_equal(partial_add(&partials, &partial, &header.content, 0, BYTES_LITERAL("abc")),
	                 PARTIAL_MORE);
	/* Said again, with more behind it: the agent was not sure what had come. */
	assert_int_equal(
		partial_add(&partials, &partial, &header.content, 1, BYTES_LITERAL("bcdef")),
		PARTIAL_WHOLE);
	uint8_t *data = partial_take(&partial);
	assert_memory_equal(data, "abcdef", 6);
	free(data);
	assert_int_equal(partials.booked_bytes, 6);
	partials_release(&partials, 6);
	assert_int_equal(partials.booked_bytes, 0);
}

static void a_piece_of_another_batch_or_from_beyond_is_unknown(void **state)
{
	struct partials partials;
	struct partial partial;
	partials_init(&partials, 100);
	partial_init(&partial);
	struct batch_header header = header_of(1, 6), other = header_of(2, 6);
	assert_int_equal(partial_add(&partials, &partial, &header.content, 0, BYTES_LITERAL("abc")),
	                 PARTIAL_UNKNOWN);
	assert_true(partial_begin(&partials, &partial, &header));
	assert_int_equal(partial_add(&partials, &partial, &other.content, 0, BYTES_LITERAL("abc")),
	                 PARTIAL_UNKNOWN);
	assert_int_equal(partial_add(&partials, &partial, &header.content, 1, BYTES_LITERAL("b")),
	                 PARTIAL_UNKNOWN);
	assert_int_equal(
		partial_add(&partials, &partial, &header.content, 0, BYTES_LITERAL("abcdefg")),
		PARTIAL_EXCESS);
	partial_drop(&partials, &partial);
}

static void the_budget_is_never_exceeded_and_only_the_unattended_are_evicted(void **state)
{
	struct partials partials;
	struct partial a, b, c;
	partials_init(&partials, 100);
	partial_init(&a);
	partial_init(&b);
	partial_init(&c);
	struct batch_header header = header_of(1, 50), large = header_of(2, 101);
	assert_true(partial_begin(&partials, &a, &header));
	assert_true(partial_begin(&partials, &b, &header));
	assert_false(partial_begin(&partials, &c, &header));
	assert_false(partial_begin(&partials, &c, &large));
	assert_int_equal(partials.booked_bytes, 100);
	b.attended = false;
	assert_true(partial_begin(&partials, &c, &header));
	assert_null(b.data);
	assert_non_null(a.data);
	assert_int_equal(partials.evicted_count, 1);
	assert_int_equal(partials.booked_bytes, 100);
	partial_drop(&partials, &a);
	partial_drop(&partials, &c);
	assert_int_equal(partials.booked_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_there_is_room_everybody_gets_the_whole_window),
		cmocka_unit_test(where_room_is_short_slices_follow_the_weights),
		cmocka_unit_test(no_link_starves_however_heavy_the_others_are),
		cmocka_unit_test(what_was_given_is_not_owed_any_more),
		cmocka_unit_test(without_room_nobody_is_given_anything),
		cmocka_unit_test(credit_comes_back_when_batches_are_done),
		cmocka_unit_test(pieces_make_a_whole_batch),
		cmocka_unit_test(a_piece_of_another_batch_or_from_beyond_is_unknown),
		cmocka_unit_test(the_budget_is_never_exceeded_and_only_the_unattended_are_evicted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
