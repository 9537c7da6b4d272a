#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "adapters/sidechain/walk.h"
#include "relay/base/crypto.h"
#include "tests/unit/edge_fixture.h"

#define QUARTER_MS (15 * 60 * 1000)

static const char *const columns[] = { "time=1", "kwh=2" };

static void make_key(const struct edge_fixture *fixture, enum suite suite)
{
	struct key *key = NULL;
	struct buffer pem = BUFFER_EMPTY;
	struct err err;
	MUST(key_generate(&key, suite, &err));
	MUST(key_to_pem(key, true, &pem, &err));
	write_file(fixture->key, "wb", pem.data, pem.size);
	buffer_fini(&pem);
	key_free(key);
}

static void set_up(struct edge_fixture *fixture, enum edge_input input)
{
	struct err err;
	fixture_init(fixture);
	make_key(fixture, SUITE_SHA256_ED25519);
	fixture->config = (struct edge_chain_config){
		.name = "meter-1",
		.format = "ledger",
		.trust = fixture->trust,
		.source = { .type = EDGE_SOURCE_LEDGER,
		            .dir = fixture->folder,
		            .size_bytes = 16u << 20,
		            .scan_interval_ms = 1000,
		            .input = input,
		            .path = fixture->input,
		            .csv_delimiter = ",",
		            .csv_skip_header = true,
		            .entry_bytes = 1000,
		            .block_interval_ms = QUARTER_MS,
		            .block_bytes = 10000,
		            .block_entry_count = 100,
		            .suite = SUITE_SHA256_ED25519,
		            .key = fixture->key },
	};
	if (input == EDGE_INPUT_CSV)
		fixture->config.source.csv_columns = (struct config_list){ columns, 2 };
	MUST(fixture_open_source(fixture, &err));
}

static void add_lines(struct edge_fixture *fixture, const char *text)
{
	write_file(fixture->input, "ab", text, strlen(text));
}

static void later(struct edge_fixture *fixture, int64_t ms)
{
	clock_virtual_advance(&fixture->clock, ms);
	(void)fixture_turn(fixture);
}

static struct agent_chain facts_of(const struct edge_fixture *fixture)
{
	struct agent_chain facts;
	struct err err;
	MUST(agent_chain(fixture->store, &fixture->source->key, &facts, &err));
	return facts;
}

/* Follows the whole chain from the genesis file that the zone is given. */
static uint64_t walk_all(const struct edge_fixture *fixture)
{
	struct err err;
	struct trust *trust = NULL;
	struct buffer pinned = BUFFER_EMPTY;
	struct walk walk;
	const struct sidechain *format = sidechain_find("ledger");
	MUST(file_read(fixture->trust, 1u << 20, &pinned, &err));
	MUST(format->trust_pin(buffer_bytes(&pinned), &trust, &err));
	walk_init(&walk, format, trust, &fixture->source->id.epoch,
	          (struct walk_position){ .next_height = 0 });
	while (walk.position.next_height < fixture->source->view.next) {
		struct buffer raw = BUFFER_EMPTY;
		struct block block;
		MUST(source_read(fixture->source, walk.position.next_height, &raw, &err));
		assert_int_equal(walk_block(&walk, buffer_bytes(&raw), true, &block, &err),
		                 WALK_FINE);
		buffer_fini(&raw);
	}
	uint64_t count = walk.position.next_height;
	walk_fini(&walk);
	format->trust_free(trust);
	buffer_fini(&pinned);
	return count;
}

static void the_first_start_makes_a_genesis_for_the_zone(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	assert_int_equal(fixture.source->view.next, 1);
	assert_int_equal(walk_all(&fixture), 1);
	struct hash epoch = fixture.source->id.epoch;
	fixture_restart(&fixture);
	assert_true(hash_equal(&epoch, &fixture.source->id.epoch));
	assert_int_equal(fixture.source->view.next, 1);
	/* Lost between store and file: written again. */
	assert_int_equal(unlink(fixture.trust), 0);
	fixture_restart(&fixture);
	assert_int_equal(walk_all(&fixture), 1);
	fixture_fini(&fixture);
}

static void a_genesis_without_its_chain_is_not_begun_anew(void **state)
{
	struct edge_fixture fixture;
	struct err err;
	char command[EDGE_PATH_MAX + 32];
	set_up(&fixture, EDGE_INPUT_FILE);
	source_close(fixture.source);
	fixture.source = NULL;
	agent_store_close(fixture.store);
	snprintf(command, sizeof(command), "rm -r '%s/store'", fixture.folder);
	assert_int_equal(system(command), 0);
	fixture_open_store(&fixture);
	assert_false(fixture_open_source(&fixture, &err));
	assert_int_equal(err.code, ZR_STATE);
	fixture_fini(&fixture);
}

static void another_key_may_not_seal_the_chain(void **state)
{
	struct edge_fixture fixture;
	struct err err;
	set_up(&fixture, EDGE_INPUT_FILE);
	source_close(fixture.source);
	fixture.source = NULL;
	make_key(&fixture, SUITE_SHA256_ED25519);
	assert_false(fixture_open_source(&fixture, &err));
	make_key(&fixture, SUITE_SHA256_P256);
	assert_false(fixture_open_source(&fixture, &err));
	assert_int_equal(err.code, ZR_INVALID);
	fixture_fini(&fixture);
}

static void every_suite_can_seal(void **state)
{
	static const enum suite suites[] = { SUITE_SHA256_P256, SUITE_SHA256_ED25519,
		                             SUITE_SM3_SM2 };
	for (size_t i = 0; i < 3; i++) {
		struct edge_fixture fixture;
		struct err err;
		char command[2 * EDGE_PATH_MAX + 64];
		if (!suite_available(suites[i]))
			continue;
		set_up(&fixture, EDGE_INPUT_FILE);
		source_close(fixture.source);
		fixture.source = NULL;
		agent_store_close(fixture.store);
		snprintf(command, sizeof(command), "rm -r '%s/store' '%s'", fixture.folder,
		         fixture.trust);
		assert_int_equal(system(command), 0);
		fixture_open_store(&fixture);
		make_key(&fixture, suites[i]);
		fixture.config.source.suite = suites[i];
		MUST(fixture_open_source(&fixture, &err));
		add_lines(&fixture, "one\ntwo\n");
		later(&fixture, 1000);
		later(&fixture, QUARTER_MS);
		assert_int_equal(walk_all(&fixture), 2);
		fixture_fini(&fixture);
	}
}

static void lines_become_entries_and_the_quarter_hour_a_block(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	add_lines(&fixture, "one\ntwo\r\n\nthr");
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 2);
	assert_int_equal(facts_of(&fixture).entry_sealed, 0);
	add_lines(&fixture, "ee\n");
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 3);
	assert_int_equal(fixture.source->view.next, 1);
	later(&fixture, QUARTER_MS);
	assert_int_equal(fixture.source->view.next, 2);
	assert_int_equal(facts_of(&fixture).entry_sealed, 3);
	assert_int_equal(walk_all(&fixture), 2);
	fixture_fini(&fixture);
}

static void count_and_bytes_end_blocks_early(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	for (int i = 0; i < 250; i++)
		add_lines(&fixture, "entry\n");
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 250);
	assert_int_equal(fixture.source->view.next, 3);
	char line[902];
	memset(line, 'x', 900);
	memcpy(line + 900, "\n", 2);
	for (int i = 0; i < 25; i++)
		add_lines(&fixture, line);
	later(&fixture, 2000);
	/* 50 short ones and ten long ones (9250 bytes), then eleven (9900): four wait. */
	assert_int_equal(facts_of(&fixture).entry_next, 275);
	assert_int_equal(fixture.source->view.next, 5);
	assert_int_equal(facts_of(&fixture).entry_sealed, 271);
	assert_int_equal(walk_all(&fixture), 5);
	fixture_fini(&fixture);
}

static void meter_time_gives_one_block_a_quarter_hour_however_fast(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_CSV);
	add_lines(&fixture, "time,kwh\n");
	for (int minute = 0; minute < 60; minute++) {
		char line[64];
		snprintf(line, sizeof(line), "2026-01-01T00:%02d:00Z,%d\n", minute, minute);
		add_lines(&fixture, line);
	}
	later(&fixture, 2000);
	/* Genesis and three quarter hours; the fourth may still grow. */
	assert_int_equal(fixture.source->view.next, 4);
	assert_int_equal(facts_of(&fixture).entry_sealed, 45);
	assert_int_equal(facts_of(&fixture).entry_next, 60);
	/* Across a restart the open quarter hour is still the same one. */
	fixture_restart(&fixture);
	add_lines(&fixture, "2026-01-01T00:59:30Z,1\n");
	later(&fixture, 2000);
	assert_int_equal(fixture.source->view.next, 4);
	add_lines(&fixture, "2026-01-01T01:00:00Z,1\n");
	later(&fixture, 2000);
	assert_int_equal(fixture.source->view.next, 5);
	assert_int_equal(facts_of(&fixture).entry_sealed, 61);
	/* No block stays open for ever. */
	later(&fixture, QUARTER_MS);
	assert_int_equal(fixture.source->view.next, 6);
	assert_int_equal(walk_all(&fixture), 6);
	fixture_fini(&fixture);
}

static void a_bad_line_is_kept_aside_and_the_rest_goes_on(void **state)
{
	struct edge_fixture fixture;
	struct buffer kept = BUFFER_EMPTY;
	struct err err;
	char path[EDGE_PATH_MAX];
	set_up(&fixture, EDGE_INPUT_CSV);
	add_lines(&fixture, "time,kwh\n2026-01-01T00:00:00Z,1\nnonsense\n2026-01-01T00:01:00Z,2\n");
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 2);
	fixture_path(&fixture, path, "meter-1.refused");
	MUST(file_read(path, 10000, &kept, &err));
	buffer_put_u8(&kept, 0);
	assert_non_null(strstr((const char *)kept.data, "\nnonsense\n"));
	assert_non_null(strstr((const char *)kept.data, "# offset "));
	buffer_fini(&kept);
	fixture_fini(&fixture);
}

static void a_store_too_small_for_its_blocks_is_refused(void **state)
{
	struct edge_fixture fixture;
	struct err err;
	set_up(&fixture, EDGE_INPUT_FILE);
	source_close(fixture.source);
	fixture.source = NULL;
	fixture.config.source.block_bytes = 8u << 20;
	assert_false(fixture_open_source(&fixture, &err));
	assert_int_equal(err.code, ZR_INVALID);
	fixture_fini(&fixture);
}

static void a_line_that_is_too_long_is_skipped_whole(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	size_t size = 200000;
	char *line = malloc(size);
	memset(line, 'x', size);
	add_lines(&fixture, "one\n");
	write_file(fixture.input, "ab", line, size);
	later(&fixture, 2000);
	write_file(fixture.input, "ab", line, size);
	add_lines(&fixture, "\ntwo\n");
	write_file(fixture.input, "ab", line, 1500); /* Fits a line, but no entry. */
	add_lines(&fixture, "\nthree\n");
	later(&fixture, 2000);
	free(line);
	assert_int_equal(facts_of(&fixture).entry_next, 3);
	fixture_fini(&fixture);
}

static void a_restart_reads_on_without_loss_or_repetition(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	add_lines(&fixture, "one\ntwo\nhalf");
	later(&fixture, 2000);
	fixture_restart(&fixture);
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 2);
	add_lines(&fixture, " and half\nthree\n");
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 4);
	fixture_fini(&fixture);
}

/* ---- producers at the socket ---- */

static int connect_producer(const struct edge_fixture *fixture)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", fixture->input);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void put_entry(int fd, const char *text)
{
	uint8_t size[4];
	put_be32(size, (uint32_t)strlen(text));
	assert_int_equal(write(fd, size, sizeof(size)), sizeof(size));
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int fail_commits(const char *point, void *arg)
{
	int *count = arg;
	if (strcmp(point, "commit") != 0)
		return 0;
	++*count;
	return EIO;
}

static void a_producer_is_told_when_its_entry_is_on_the_disk_and_not_before(void **state)
{
	struct edge_fixture fixture;
	struct err err;
	uint8_t answer[16];
	set_up(&fixture, EDGE_INPUT_SOCKET);
	int fd = connect_producer(&fixture);
	put_entry(fd, "1 kWh");
	for (int i = 0; i < 10; i++)
		(void)fixture_turn(&fixture);
	assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), 13);
	assert_int_equal(get_be32(answer), 9);
	assert_int_equal(answer[4], 0);
	assert_int_equal(facts_of(&fixture).entry_next, 1);

	int failed_count = 0;
	int64_t wake_ms;
	bool ok = true;
	store_set_fault(agent_store_base(fixture.store), fail_commits, &failed_count);
	put_entry(fd, "2 kWh");
	for (int i = 0; ok && i < 1000; i++) {
		(void)event_base_loop(fixture.base, EVLOOP_NONBLOCK);
		ok = source_turn(fixture.source, fixture.clock.now_ms, &wake_ms, &err);
	}
	assert_false(ok);
	assert_int_equal(err.code, ZR_IO);
	assert_int_equal(failed_count, 1);
	for (int i = 0; i < 10; i++)
		(void)event_base_loop(fixture.base, EVLOOP_NONBLOCK);
	assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	close(fd);
	fixture_fini(&fixture);
}

static void a_rotated_file_is_read_out_before_the_new_one(void **state)
{
	struct edge_fixture fixture;
	char old[EDGE_PATH_MAX];
	set_up(&fixture, EDGE_INPUT_FILE);
	add_lines(&fixture, "one\n");
	later(&fixture, 2000);
	add_lines(&fixture, "two\nthree without end");
	fixture_path(&fixture, old, "input.1");
	assert_int_equal(rename(fixture.input, old), 0);
	add_lines(&fixture, "four\n");
	later(&fixture, 2000);
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 4);
	fixture_fini(&fixture);
}

static void a_file_rotated_while_we_were_away_is_found_again(void **state)
{
	struct edge_fixture fixture;
	struct err err;
	char old[EDGE_PATH_MAX];
	set_up(&fixture, EDGE_INPUT_FILE);
	add_lines(&fixture, "one\n");
	later(&fixture, 2000);
	source_close(fixture.source);
	fixture.source = NULL;
	add_lines(&fixture, "two\n");
	fixture_path(&fixture, old, "input.1");
	assert_int_equal(rename(fixture.input, old), 0);
	add_lines(&fixture, "three\n");
	MUST(fixture_open_source(&fixture, &err));
	later(&fixture, 2000);
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 3);
	fixture_fini(&fixture);
}

static void a_file_that_was_cut_is_read_from_its_beginning(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	add_lines(&fixture, "one\ntwo\nthree\n");
	later(&fixture, 2000);
	assert_int_equal(truncate(fixture.input, 0), 0);
	later(&fixture, 2000);
	add_lines(&fixture, "four\n");
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 4);
	/* Rewritten while we were away, and longer than we had read: told by what stood before. */
	write_file(fixture.input, "wb", "a\nb\nc\nd\ne\n", 10);
	fixture_restart(&fixture);
	later(&fixture, 2000);
	assert_int_equal(facts_of(&fixture).entry_next, 9);
	fixture_fini(&fixture);
}

static void a_frozen_ledger_takes_entries_but_seals_nothing(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	fixture.source->ops->freeze(fixture.source, true);
	for (int i = 0; i < 150; i++)
		add_lines(&fixture, "entry\n");
	later(&fixture, 2000);
	later(&fixture, 2 * QUARTER_MS);
	assert_int_equal(facts_of(&fixture).entry_next, 150);
	assert_int_equal(fixture.source->view.next, 1);
	assert_string_not_equal(fixture.source->view.problem, "");
	fixture.source->ops->freeze(fixture.source, false);
	later(&fixture, 2 * QUARTER_MS);
	assert_int_equal(facts_of(&fixture).entry_sealed, 150);
	assert_int_equal(fixture.source->view.next, 3);
	assert_int_equal(walk_all(&fixture), 3);
	fixture_fini(&fixture);
}

static void pruned_blocks_are_gone_and_the_genesis_stays(void **state)
{
	struct edge_fixture fixture;
	struct buffer raw = BUFFER_EMPTY;
	struct err err;
	bool more = false;
	set_up(&fixture, EDGE_INPUT_FILE);
	for (int i = 0; i < 500; i++)
		add_lines(&fixture, "entry\n");
	later(&fixture, 2000);
	assert_int_equal(fixture.source->view.next, 6);
	MUST(fixture.source->ops->prune(fixture.source, 3, &more, &err));
	assert_false(more);
	assert_int_equal(fixture.source->view.oldest, 3);
	assert_false(source_read(fixture.source, 2, &raw, &err));
	MUST(source_read(fixture.source, 0, &raw, &err));
	MUST(source_read(fixture.source, 3, &raw, &err));
	buffer_fini(&raw);
	add_lines(&fixture, "one more\n");
	later(&fixture, 2000);
	later(&fixture, QUARTER_MS);
	assert_int_equal(fixture.source->view.next, 7);
	fixture_fini(&fixture);
}

static void block_times_never_run_backwards(void **state)
{
	struct edge_fixture fixture;
	set_up(&fixture, EDGE_INPUT_FILE);
	add_lines(&fixture, "one\n");
	later(&fixture, 2000);
	later(&fixture, QUARTER_MS);
	int64_t time_ms = facts_of(&fixture).tip_time_ms;
	fixture.clock.wall_offset_ms -= 24 * 3600 * 1000;
	add_lines(&fixture, "two\n");
	later(&fixture, 2000);
	later(&fixture, 2 * QUARTER_MS);
	assert_int_equal(fixture.source->view.next, 3);
	assert_true(facts_of(&fixture).tip_time_ms >= time_ms);
	assert_int_equal(walk_all(&fixture), 3);
	fixture_fini(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_start_makes_a_genesis_for_the_zone),
		cmocka_unit_test(a_genesis_without_its_chain_is_not_begun_anew),
		cmocka_unit_test(another_key_may_not_seal_the_chain),
		cmocka_unit_test(every_suite_can_seal),
		cmocka_unit_test(lines_become_entries_and_the_quarter_hour_a_block),
		cmocka_unit_test(count_and_bytes_end_blocks_early),
		cmocka_unit_test(meter_time_gives_one_block_a_quarter_hour_however_fast),
		cmocka_unit_test(a_bad_line_is_kept_aside_and_the_rest_goes_on),
		cmocka_unit_test(a_store_too_small_for_its_blocks_is_refused),
		cmocka_unit_test(a_line_that_is_too_long_is_skipped_whole),
		cmocka_unit_test(a_restart_reads_on_without_loss_or_repetition),
		cmocka_unit_test(a_producer_is_told_when_its_entry_is_on_the_disk_and_not_before),
		cmocka_unit_test(a_rotated_file_is_read_out_before_the_new_one),
		cmocka_unit_test(a_file_rotated_while_we_were_away_is_found_again),
		cmocka_unit_test(a_file_that_was_cut_is_read_from_its_beginning),
		cmocka_unit_test(a_frozen_ledger_takes_entries_but_seals_nothing),
		cmocka_unit_test(pruned_blocks_are_gone_and_the_genesis_stays),
		cmocka_unit_test(block_times_never_run_backwards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
