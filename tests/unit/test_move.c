/* test_move.c -- the file that takes a chain to another store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/crypto.h"
#include "relay/move.h"
#include "tests/lib/chain.h"

#define RAFT "tests/data/fabric/raft-edge-1"

struct scene {
	struct chain chain;
	struct walk walk;
	struct buffer trust;
	struct move move;
	struct buffer file;
};

static int set_up(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	chain_read(&scene->chain, "fabric", RAFT);
	scene->walk = chain_walk_to(&scene->chain, 4);
	scene->chain.format->trust_save(scene->walk.trust, &scene->trust);
	scene->move = (struct move){ .id.epoch = { { 1, 2, 3 } },
		                     .format = scene->chain.format,
		                     .next_height = 4,
		                     .tip = scene->walk.position.tip,
		                     .trust = buffer_bytes(&scene->trust) };
	(void)snprintf(scene->move.id.name, sizeof(scene->move.id.name), "tq-0001");
	move_encode(&scene->move, &scene->file);
	assert_true(buffer_ok(&scene->file, NULL));
	*state = scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	buffer_fini(&scene->file);
	buffer_fini(&scene->trust);
	walk_fini(&scene->walk);
	chain_fini(&scene->chain);
	free(scene);
	return 0;
}

static void the_file_says_where_the_chain_stands(void **state)
{
	struct scene *scene = *state;
	struct move move;
	assert_true(move_decode(buffer_bytes(&scene->file), &move, NULL));
	assert_string_equal(move.id.name, "tq-0001");
	assert_true(hash_equal(&move.id.epoch, &scene->move.id.epoch));
	assert_ptr_equal(move.format, scene->chain.format);
	assert_int_equal(move.next_height, 4);
	assert_true(hash_equal(&move.tip, &scene->move.tip));
	assert_true(bytes_equal(move.trust, scene->move.trust));
}

static void a_file_that_is_cut_anywhere_is_refused(void **state)
{
	struct scene *scene = *state;
	struct move move;
	struct err err;
	for (size_t size = 0; size < scene->file.size; size++) {
		assert_false(move_decode((struct bytes){ scene->file.data, size }, &move, &err));
		assert_int_equal(err.code, ZR_INVALID);
	}
	buffer_put_u8(&scene->file, 0); /* Nor with more behind it. */
	assert_false(move_decode(buffer_bytes(&scene->file), &move, &err));
}

static void no_bit_of_it_can_be_changed_unseen(void **state)
{
	struct scene *scene = *state;
	struct move move;
	struct err err;
	for (size_t bit = 0; bit < 8 * scene->file.size; bit++) {
		uint8_t *byte = &scene->file.data[bit / 8];
		uint8_t mask = (uint8_t)(1u << bit % 8);
		*byte ^= mask;
		assert_false(move_decode(buffer_bytes(&scene->file), &move, &err));
		assert_int_equal(err.code, ZR_INVALID);
		*byte ^= mask;
	}
	assert_true(move_decode(buffer_bytes(&scene->file), &move, NULL));
}

/* With a good hash at its end: what the parts say is looked at too. */
static void expect_refused(const struct move *move, const char *why)
{
	struct buffer file = BUFFER_EMPTY;
	struct move decoded;
	struct err err;
	move_encode(move, &file);
	assert_true(buffer_ok(&file, NULL));
	assert_false(move_decode(buffer_bytes(&file), &decoded, &err));
	if (strstr(err.message, why) == NULL)
		fail_msg("%s", err.message);
	buffer_fini(&file);
}

static void what_contradicts_itself_is_refused(void **state)
{
	struct scene *scene = *state;
	struct move move = scene->move;
	move.next_height = 0;
	expect_refused(&move, "height and tip");
	move.next_height = HEIGHT_MAX + 1;
	expect_refused(&move, "height and tip");
	move = scene->move;
	move.tip = (struct hash){ { 0 } };
	expect_refused(&move, "height and tip");
	move = scene->move;
	move.trust.size--;
	expect_refused(&move, "trust set");
	move = scene->move;
	move.format = sidechain_find("ledger"); /* The set is of another format. */
	expect_refused(&move, "trust set");
	struct sidechain stranger = { .name = "stranger" };
	move.format = &stranger;
	expect_refused(&move, "not known");
	move = scene->move;
	move.id.name[0] = '\0';
	expect_refused(&move, "names no chain");
	(void)snprintf(move.id.name, sizeof(move.id.name), "../tq");
	expect_refused(&move, "names no chain");
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	struct buffer file = BUFFER_EMPTY;
	struct move move;
	struct err err;
	char name[CHAIN_NAME_MAX + 2];
	memset(name, 'a', sizeof(name));
	struct hash none = { { 0 } };
	buffer_put(&file, BYTES_LITERAL("ZRm1"));
	buffer_put_short(&file, (struct bytes){ (const uint8_t *)name, CHAIN_NAME_MAX + 1 });
	buffer_put_hash(&file, &none);
	buffer_put_short(&file, BYTES_LITERAL("fabric"));
	buffer_put_u64(&file, 0);
	buffer_put_hash(&file, &none);
	buffer_put_long(&file, BYTES_NONE);
	struct hash digest = sha256(buffer_bytes(&file));
	buffer_put_hash(&file, &digest);
	assert_false(move_decode(buffer_bytes(&file), &move, &err));
	assert_non_null(strstr(err.message, "names no chain"));
	buffer_fini(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_file_says_where_the_chain_stands, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(a_file_that_is_cut_anywhere_is_refused, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(no_bit_of_it_can_be_changed_unseen, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(what_contradicts_itself_is_refused, set_up,
		                                tear_down),
		cmocka_unit_test(a_name_that_is_too_long_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
