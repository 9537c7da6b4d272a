#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/edge/folder.h"
#include "tests/unit/edge_fixture.h"

#define RAFT "tests/data/fabric/raft-edge-1"

static void read_block(int height, struct buffer *out)
{
	struct err err;
	char path[EDGE_PATH_MAX];
	snprintf(path, sizeof(path), RAFT "/%d.block", height);
	MUST(file_read(path, 1u << 20, out, &err));
}

/* Copies a real block into the folder under a name. size_max: only its beginning. */
static void bring(const struct edge_fixture *fixture, int height, const char *name, size_t size_max)
{
	char path[EDGE_PATH_MAX];
	struct buffer raw = BUFFER_EMPTY;
	read_block(height, &raw);
	snprintf(path, sizeof(path), "%.400s/%s", fixture->blocks, name);
	write_file(path, "wb", raw.data, raw.size < size_max ? raw.size : size_max);
	buffer_fini(&raw);
}

static void bring_numbered(const struct edge_fixture *fixture, int from, int to)
{
	for (int height = from; height <= to; height++) {
		char name[32];
		snprintf(name, sizeof(name), "%d.block", height);
		bring(fixture, height, name, SIZE_MAX);
	}
}

static void drop(const struct edge_fixture *fixture, const char *name)
{
	char path[EDGE_PATH_MAX];
	snprintf(path, sizeof(path), "%.400s/%s", fixture->blocks, name);
	assert_int_equal(unlink(path), 0);
}

static void later(struct edge_fixture *fixture, int64_t ms)
{
	clock_virtual_advance(&fixture->clock, ms);
	(void)fixture_turn(fixture);
}

static void set_up(struct edge_fixture *fixture)
{
	struct err err;
	fixture_init(fixture);
	fixture->config = (struct edge_chain_config){
		.name = "raft-1",
		.format = "fabric",
		.trust = RAFT "/0.block",
		.source = { .type = EDGE_SOURCE_FABRIC_DIR,
		            .dir = fixture->blocks,
		            .scan_interval_ms = 1000 },
	};
	MUST(fixture_open_source(fixture, &err));
}

static void a_folder_that_grows_is_followed(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	later(&fixture, 0);
	assert_int_equal(fixture.source->view.next, 0);
	bring_numbered(&fixture, 0, 4);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 5);
	assert_int_equal(fixture.source->view.oldest, 0);
	bring_numbered(&fixture, 5, 10);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 11);
	assert_string_equal(fixture.source->view.problem, "");
	fixture_fini(&fixture);
}

static void a_restart_goes_on_where_it_was_even_if_old_files_are_gone(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	bring_numbered(&fixture, 0, 6);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 7);
	for (int height = 0; height < 5; height++) {
		char name[32];
		snprintf(name, sizeof(name), "%d.block", height);
		drop(&fixture, name);
	}
	fixture_restart(&fixture);
	bring_numbered(&fixture, 7, 10);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 11);
	assert_int_equal(fixture.source->view.oldest, 5);
	fixture_fini(&fixture);
}

static void a_missing_block_is_named_and_waited_for(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	bring_numbered(&fixture, 0, 2);
	bring_numbered(&fixture, 4, 6);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 3);
	assert_string_equal(fixture.source->view.problem, "block 3 is missing in the folder");
	bring_numbered(&fixture, 3, 3);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 7);
	assert_string_equal(fixture.source->view.problem, "");
	fixture_fini(&fixture);
}

static void a_file_that_is_still_being_written_is_waited_for(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	bring_numbered(&fixture, 0, 0);
	bring(&fixture, 1, "1.block", 1000);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 1);
	assert_string_equal(fixture.source->view.problem, "");
	bring(&fixture, 1, "1.block", SIZE_MAX);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 2);
	fixture_fini(&fixture);
}

static void a_file_that_stays_broken_is_called_bad_and_read_again_when_replaced(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	bring_numbered(&fixture, 0, 0);
	bring(&fixture, 1, "1.block", 1000);
	later(&fixture, 60000);
	later(&fixture, 2000);
	assert_string_equal(fixture.source->view.problem, "");
	later(&fixture, 2000);
	assert_memory_equal(fixture.source->view.problem, "block 1: ", 9);
	later(&fixture, 60000);
	assert_memory_equal(fixture.source->view.problem, "block 1: ", 9);
	bring(&fixture, 1, "1.block", SIZE_MAX);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 2);
	assert_string_equal(fixture.source->view.problem, "");
	fixture_fini(&fixture);
}

static void a_block_that_does_not_verify_is_never_offered(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	bring_numbered(&fixture, 0, 4);
	struct buffer raw = BUFFER_EMPTY;
	char path[EDGE_PATH_MAX];
	read_block(5, &raw);
	raw.data[raw.size - 40] ^= 1; /* In the orderer's signature. */
	snprintf(path, sizeof(path), "%.400s/5.block", fixture.blocks);
	write_file(path, "wb", raw.data, raw.size);
	buffer_fini(&raw);
	later(&fixture, 60000);
	later(&fixture, 5000);
	assert_int_equal(fixture.source->view.next, 5);
	assert_memory_equal(fixture.source->view.problem, "block 5: ", 9);
	/* A good copy beside it is enough. */
	bring(&fixture, 5, "copy_5.block", SIZE_MAX);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 6);
	fixture_fini(&fixture);
}

static void names_may_lie_or_say_nothing(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture);
	bring(&fixture, 0, "mychannel.block", SIZE_MAX);
	bring(&fixture, 1, "edge-1_1.block", SIZE_MAX);
	bring(&fixture, 2, "some", SIZE_MAX);
	bring(&fixture, 3, "4.block", SIZE_MAX);
	bring(&fixture, 4, "3.block", SIZE_MAX);
	bring(&fixture, 5, "5.block.tmp", SIZE_MAX);
	bring(&fixture, 5, ".5.block", SIZE_MAX);
	later(&fixture, 60000);
	assert_int_equal(fixture.source->view.next, 5);
	assert_string_equal(fixture.source->view.problem, "");
	fixture_fini(&fixture);
}

static void what_is_read_is_what_was_verified(void **state)
{
	struct edge_fixture fixture;
	struct buffer wanted = BUFFER_EMPTY;
	struct buffer got = BUFFER_EMPTY;
	struct err err;
	set_up(&fixture);
	bring_numbered(&fixture, 0, 6);
	later(&fixture, 60000);
	read_block(5, &wanted);
	MUST(source_read(fixture.source, 5, &got, &err));
	assert_true(bytes_equal(buffer_bytes(&wanted), buffer_bytes(&got)));
	/* Replaced by another good block: not what this height was. */
	bring(&fixture, 6, "5.block", SIZE_MAX);
	buffer_clear(&got);
	assert_false(source_read(fixture.source, 5, &got, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_int_equal(got.size, 0);
	drop(&fixture, "5.block");
	assert_false(source_read(fixture.source, 5, &got, &err));
	assert_false(source_read(fixture.source, 99, &got, &err));
	buffer_fini(&wanted);
	buffer_fini(&got);
	fixture_fini(&fixture);
}

static void what_may_go_is_said_in_a_file(void **state)
{
	struct edge_fixture fixture;
	struct buffer text = BUFFER_EMPTY;
	struct err err;
	char path[EDGE_PATH_MAX];
	bool more = true;
	set_up(&fixture);
	MUST(fixture.source->ops->prune(fixture.source, 7, &more, &err));
	assert_false(more);
	fixture_path(&fixture, path, "raft-1.prunable");
	MUST(file_read(path, 100, &text, &err));
	assert_true(bytes_equal(buffer_bytes(&text), BYTES_LITERAL("7\n")));
	buffer_fini(&text);
	fixture_fini(&fixture);
}

static void another_epoch_or_no_genesis_is_refused(void **state)
{
	struct edge_fixture fixture;
	struct err err;
	set_up(&fixture);
	source_close(fixture.source);
	fixture.source = NULL;
	fixture.config.epoch.bytes[0] = 1;
	assert_false(fixture_open_source(&fixture, &err));
	assert_int_equal(err.code, ZR_INVALID);
	fixture.config.epoch.bytes[0] = 0;
	fixture.config.trust = RAFT "/5.block";
	assert_false(fixture_open_source(&fixture, &err));
	fixture.config.trust = "/nonexistent";
	assert_false(fixture_open_source(&fixture, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	fixture_fini(&fixture);
}

static void heights_are_read_from_names(void **state)
{
	static const struct {
		const char *name;
		int64_t height; /* -1: none. */
	} rows[] = {
		{ "0.block", 0 },
		{ "0012.block", 12 },
		{ "edge-1_7.block", 7 },
		{ "edge.7.block", 7 },
		{ "channel7.block", -1 },
		{ "newest.block", -1 },
		{ ".block", -1 },
		{ "7", -1 },
		{ "7.blocks", -1 },
		{ "9223372036854775807.block", -1 },
		{ "99999999999999999999.block", -1 },
		{ "9223372036854775806.block", INT64_C(9223372036854775806) },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t height = 0;
		assert_int_equal(folder_height_of_name(rows[i].name, &height), rows[i].height >= 0);
		if (rows[i].height >= 0)
			assert_int_equal(height, rows[i].height);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_that_grows_is_followed),
		cmocka_unit_test(a_restart_goes_on_where_it_was_even_if_old_files_are_gone),
		cmocka_unit_test(a_missing_block_is_named_and_waited_for),
		cmocka_unit_test(a_file_that_is_still_being_written_is_waited_for),
		cmocka_unit_test(
			a_file_that_stays_broken_is_called_bad_and_read_again_when_replaced),
		cmocka_unit_test(a_block_that_does_not_verify_is_never_offered),
		cmocka_unit_test(names_may_lie_or_say_nothing),
		cmocka_unit_test(what_is_read_is_what_was_verified),
		cmocka_unit_test(what_may_go_is_said_in_a_file),
		cmocka_unit_test(another_epoch_or_no_genesis_is_refused),
		cmocka_unit_test(heights_are_read_from_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
