/* Block files on disk: copies, branches, gaps, damage. Made-up channels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/sidechain/folder.h"
#include "relay/base/file.h"
#include "tests/lib/fabric_scene.h"
#include "tests/lib/temp_folder.h"

#define LINES_MAX 32

/* A folder of block files, and what the last verification said about them. */
struct folder {
	char path[64];
	struct gen_channel *channel;
	struct buffer pinned;
	struct buffer raw;
	enum policy policy;
	struct folder_totals totals;
	char lines[LINES_MAX][256]; /* "HEIGHT VERDICT COPIES reason" */
	size_t line_count;
};

static void put_file(const struct folder *folder, const char *name, struct bytes bytes)
{
	char path[128];
	struct err err;
	(void)snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	if (!file_write_atomic(path, bytes, 0600, &err))
		fail_msg("%s", err.message);
}

static void remove_file(const struct folder *folder, const char *name)
{
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	assert_int_equal(unlink(path), 0);
}

static void seal_file(struct folder *folder, const struct gen_draft *draft, const char *name)
{
	gen_seal(folder->channel, draft, &folder->raw);
	put_file(folder, name, buffer_bytes(&folder->raw));
}

/* Seals and keeps the next block as "N.block". */
static void keep_next(struct folder *folder, const struct gen_draft *draft)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "%llu.block", (unsigned long long)draft->height);
	seal_file(folder, draft, name);
	gen_commit(folder->channel, draft, buffer_bytes(&folder->raw));
}

/* A Raft channel of two orderers: block 0, which is pinned, and count more. */
static void folder_init(struct folder *folder, size_t count)
{
	static const struct gen_options options = {
		.name = "raft", .kind = GEN_RAFT, .org_count = 2, .node_count = 2
	};
	*folder = (struct folder){ .policy = POLICY_ALL };
	temp_folder_make(folder->path, sizeof(folder->path));
	folder->channel = gen_channel_new(&options);
	struct gen_draft draft = gen_config_draft(folder->channel);
	keep_next(folder, &draft);
	buffer_put(&folder->pinned, buffer_bytes(&folder->raw));
	for (size_t i = 0; i < count; i++) {
		draft = gen_draft(folder->channel);
		keep_next(folder, &draft);
	}
}

static void folder_fini(struct folder *folder)
{
	temp_folder_remove(folder->path);
	gen_channel_free(folder->channel);
	buffer_fini(&folder->pinned);
	buffer_fini(&folder->raw);
}

static void note(const struct folder_block *block, void *arg)
{
	static const char *const verdicts[] = { "OK", "BAD", "MISSING" };
	struct folder *folder = arg;
	assert_true(folder->line_count < LINES_MAX);
	char range[32] = "";
	if (block->last_height != block->height)
		(void)snprintf(range, sizeof(range), "..%llu",
		               (unsigned long long)block->last_height);
	(void)snprintf(folder->lines[folder->line_count++], sizeof(folder->lines[0]),
	               "%lld%s %s %zu %s", (long long)block->height, range,
	               verdicts[block->verdict], block->copy_count,
	               block->reason == NULL ? "" : block->reason);
}

static bool run(struct folder *folder, const char *const *paths, size_t count, struct err *err)
{
	struct folder_options options = { .format = sidechain_find("fabric"),
		                          .pinned = buffer_bytes(&folder->pinned),
		                          .policy = folder->policy,
		                          .block_max_bytes = 1u << 20,
		                          .paths = paths,
		                          .path_count = count };
	folder->line_count = 0;
	return folder_verify(&options, note, folder, &folder->totals, err);
}

/* Each line begins with what is expected, in order. */
static void expect_lines(struct folder *folder, const char *const *lines)
{
	struct err err;
	const char *paths[] = { folder->path };
	if (!run(folder, paths, 1, &err))
		fail_msg("%s", err.message);
	size_t count = 0;
	for (; lines[count] != NULL; count++) {
		if (count >= folder->line_count)
			fail_msg("no line \"%s\"", lines[count]);
		const char *found = folder->lines[count];
		if (strncmp(found, lines[count], strlen(lines[count])) != 0)
			fail_msg("line %zu: \"%s\", not \"%s\"", count, found, lines[count]);
	}
	if (folder->line_count != count)
		fail_msg("one line more: \"%s\"", folder->lines[count]);
}

#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void a_whole_chain_is_ok_in_height_order(void **state)
{
	struct folder folder;
	folder_init(&folder, 11);
	expect_lines(&folder, LINES("0 OK 1", "1 OK", "2 OK", "3 OK", "4 OK", "5 OK", "6 OK",
	                            "7 OK", "8 OK", "9 OK", "10 OK", "11 OK"));
	assert_int_equal(folder.totals.height_count, 12);
	assert_int_equal(folder.totals.ok_count, 12);
	assert_int_equal(folder.totals.bad_count, 0);
	assert_int_equal(folder.totals.missing_count, 0);
	folder.policy = POLICY_TAIL;
	expect_lines(&folder, LINES("0 OK", "1 OK", "2 OK", "3 OK", "4 OK", "5 OK", "6 OK", "7 OK",
	                            "8 OK", "9 OK", "10 OK", "11 OK"));
	folder_fini(&folder);
}

static void copies_are_each_checked_and_counted_as_one_height(void **state)
{
	struct folder folder;
	folder_init(&folder, 1);
	struct gen_draft draft = gen_draft(folder.channel);
	draft.signers[0] = folder.channel->nodes[1];
	seal_file(&folder, &draft, "2-of-another-orderer.block");
	draft.signers[0] = folder.channel->nodes[0];
	keep_next(&folder, &draft);
	draft = gen_draft(folder.channel);
	keep_next(&folder, &draft);
	expect_lines(&folder, LINES("0 OK 1", "1 OK 1", "2 OK 2", "3 OK 1"));
	assert_int_equal(folder.totals.height_count, 4);
	assert_int_equal(folder.totals.ok_count, 4);

	draft.signers[0] = folder.channel->client;
	seal_file(&folder, &draft, "a-bad-copy-of-3.block");
	expect_lines(&folder, LINES("0 OK 1", "1 OK 1", "2 OK 2", "3 BAD 2 block 3: 0 valid"));
	folder_fini(&folder);
}

static void two_valid_blocks_at_one_height_are_a_fork(void **state)
{
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		struct folder folder;
		folder_init(&folder, 2);
		struct gen_draft draft = gen_draft(folder.channel);
		draft.tx_count = 5;
		seal_file(&folder, &draft, "branch.block");
		draft.tx_count = 2;
		keep_next(&folder, &draft);
		draft = gen_draft(folder.channel);
		keep_next(&folder, &draft);
		folder.policy = (enum policy)policy;
		expect_lines(&folder,
		             LINES("0 OK", "1 OK", "2 OK", "3 BAD 1 fork", "3 BAD 1 fork", "4 OK"));
		assert_int_equal(folder.totals.height_count, 5);
		assert_int_equal(folder.totals.bad_count, 2);

		/* A branch that nobody may sign is no fork. */
		draft = gen_draft(folder.channel);
		draft.height = 3;
		draft.tx_count = 5;
		draft.signers[0] = folder.channel->client;
		seal_file(&folder, &draft, "branch.block");
		struct err err;
		const char *paths[] = { folder.path };
		assert_true(run(&folder, paths, 1, &err));
		assert_int_equal(folder.totals.ok_count, 5);
		assert_int_equal(folder.totals.bad_count, 1);
		folder_fini(&folder);
	}
}

static void missing_heights_are_reported_as_a_range(void **state)
{
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		struct folder folder;
		folder_init(&folder, 7);
		folder.policy = (enum policy)policy;
		remove_file(&folder, "2.block");
		remove_file(&folder, "3.block");
		remove_file(&folder, "6.block");
		expect_lines(&folder, LINES("0 OK", "1 OK", "2..3 MISSING", "4 OK", "5 OK",
		                            "6 MISSING", "7 OK"));
		assert_int_equal(folder.totals.missing_count, 3);
		/* The pinned block needs no file: it is known. */
		remove_file(&folder, "0.block");
		remove_file(&folder, "1.block");
		expect_lines(&folder, LINES("1..3 MISSING", "4 OK", "5 OK", "6 MISSING", "7 OK"));
		folder_fini(&folder);
	}
}

static void one_damaged_block_does_not_spoil_the_others(void **state)
{
	struct folder folder;
	folder_init(&folder, 5);
	struct buffer raw = BUFFER_EMPTY;
	struct err err;
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/3.block", folder.path);
	assert_true(file_read(path, 1u << 20, &raw, &err));
	raw.data[raw.size / 3] ^= 1; /* Inside the data: the header still says which block. */
	put_file(&folder, "3.block", buffer_bytes(&raw));
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		folder.policy = (enum policy)policy;
		expect_lines(&folder, LINES("0 OK", "1 OK", "2 OK", "3 BAD", "4 OK", "5 OK"));
	}
	put_file(&folder, "3.block", BYTES_LITERAL("rubbish"));
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		folder.policy = (enum policy)policy;
		expect_lines(&folder, LINES("0 OK", "1 OK", "2 OK", "3 MISSING", "4 OK", "5 OK",
		                            "-1 BAD 1 not a Fabric block"));
	}
	buffer_fini(&raw);
	folder_fini(&folder);
}

static void a_block_that_links_elsewhere_is_bad(void **state)
{
	struct folder folder;
	folder_init(&folder, 2);
	struct gen_draft draft = gen_draft(folder.channel);
	draft.parent.bytes[0] ^= 1;
	keep_next(&folder, &draft);
	draft = gen_draft(folder.channel);
	keep_next(&folder, &draft);
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		folder.policy = (enum policy)policy;
		expect_lines(&folder,
		             LINES("0 OK", "1 OK", "2 OK", "3 BAD 1 it does not link", "4 OK"));
	}
	folder_fini(&folder);
}

/* Nobody has block 0's file, but everybody knows its hash. */
static void the_block_after_the_pinned_one_links_to_it(void **state)
{
	struct folder folder;
	folder_init(&folder, 0);
	struct gen_draft draft = gen_draft(folder.channel);
	draft.parent.bytes[0] ^= 1;
	keep_next(&folder, &draft);
	remove_file(&folder, "0.block");
	expect_lines(&folder, LINES("1 BAD 1 it does not link"));
	folder_fini(&folder);
}

/* A stranger's block 2 says nothing about what block 3's parent should be. */
static void a_bad_block_does_not_speak_for_its_height(void **state)
{
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		struct folder folder;
		folder_init(&folder, 3);
		struct gen_draft draft = gen_draft(folder.channel);
		draft.height = 2;
		draft.signers[0] = folder.channel->client;
		struct block block;
		gen_seal(folder.channel, &draft, &folder.raw);
		assert_true(fabric_format()->read(buffer_bytes(&folder.raw), &block, NULL));
		put_file(&folder, "2.block", buffer_bytes(&folder.raw));
		folder.policy = (enum policy)policy;
		expect_lines(&folder, LINES("0 OK", "1 OK", "2 BAD", "3 OK"));
		folder_fini(&folder);
	}
}

/* Under POLICY_TAIL one signature speaks for all that it links to. */
static void unsigned_blocks_need_somebody_who_vouches_for_them(void **state)
{
	struct folder folder;
	folder_init(&folder, 1);
	struct gen_draft draft = gen_draft(folder.channel);
	draft.signer_count = 0;
	keep_next(&folder, &draft);
	draft = gen_draft(folder.channel);
	draft.signer_count = 0;
	keep_next(&folder, &draft);
	draft = gen_draft(folder.channel);
	keep_next(&folder, &draft);
	folder.policy = POLICY_TAIL;
	expect_lines(&folder, LINES("0 OK", "1 OK", "2 OK", "3 OK", "4 OK"));
	folder.policy = POLICY_ALL;
	expect_lines(&folder, LINES("0 OK", "1 OK", "2 BAD", "3 BAD", "4 OK"));
	remove_file(&folder, "4.block");
	folder.policy = POLICY_TAIL;
	expect_lines(&folder, LINES("0 OK", "1 OK", "2 BAD 1 block 2: 0 valid signatures",
	                            "3 BAD 1 block 3: 0 valid signatures"));
	folder_fini(&folder);
}

static void the_set_is_followed_through_config_blocks(void **state)
{
	struct folder folder;
	folder_init(&folder, 1);
	struct gen_node *leaver = folder.channel->nodes[--folder.channel->node_count];
	struct gen_org *org = folder.channel->orgs[--folder.channel->org_count];
	struct gen_draft draft = gen_config_draft(folder.channel);
	keep_next(&folder, &draft);
	draft = gen_draft(folder.channel);
	draft.signers[0] = leaver;
	keep_next(&folder, &draft);
	draft = gen_draft(folder.channel);
	keep_next(&folder, &draft);
	expect_lines(&folder, LINES("0 OK", "1 OK", "2 OK", "3 BAD 1 block 3: 0 valid", "4 OK"));
	/* Without the config block, nothing says who signs from there on. */
	remove_file(&folder, "2.block");
	expect_lines(&folder,
	             LINES("0 OK", "1 OK", "2 MISSING", "3 BAD 1 block 3: it was made under config",
	                   "4 BAD 1 block 4: it was made under config"));
	gen_node_free(leaver);
	gen_org_free(org);
	folder_fini(&folder);
}

static void blocks_below_the_pinned_one_are_said_to_be(void **state)
{
	struct folder folder;
	folder_init(&folder, 2);
	struct gen_draft draft = gen_config_draft(folder.channel);
	keep_next(&folder, &draft);
	buffer_clear(&folder.pinned);
	buffer_put(&folder.pinned, buffer_bytes(&folder.raw));
	draft = gen_draft(folder.channel);
	keep_next(&folder, &draft);
	remove_file(&folder, "1.block");
	for (int policy = POLICY_ALL; policy <= POLICY_TAIL; policy++) {
		folder.policy = (enum policy)policy;
		expect_lines(&folder, LINES("0 BAD 1 below the pinned block 3", "1 MISSING",
		                            "2 BAD 1 below the pinned block 3", "3 OK", "4 OK"));
	}
	folder_fini(&folder);
}

static void files_may_be_named_one_by_one(void **state)
{
	struct folder folder;
	struct err err = { .code = ZR_OK };
	char first[128];
	char second[128];
	folder_init(&folder, 2);
	(void)snprintf(first, sizeof(first), "%s/2.block", folder.path);
	(void)snprintf(second, sizeof(second), "%s/1.block", folder.path);
	const char *paths[] = { first, second };
	assert_true(run(&folder, paths, 2, &err));
	assert_int_equal(folder.totals.ok_count, 2);
	assert_int_equal(strncmp(folder.lines[0], "1 OK", 4), 0);
	/* The same file twice is two copies. */
	paths[1] = first;
	assert_true(run(&folder, paths, 2, &err));
	assert_int_equal(strncmp(folder.lines[1], "2 OK 2", 6), 0);
	folder_fini(&folder);
}

static void what_cannot_be_read_at_all_is_a_failure(void **state)
{
	struct folder folder;
	struct err err = { .code = ZR_OK };
	char empty[128];
	folder_init(&folder, 0);
	const char *paths[] = { "/nowhere/at/all" };
	EXPECT_FAILURE(run(&folder, paths, 1, &err), err, ZR_UNAVAILABLE, "/nowhere/at/all");
	temp_folder_make(empty, sizeof(empty));
	paths[0] = empty;
	EXPECT_FAILURE(run(&folder, paths, 1, &err), err, ZR_UNAVAILABLE, "no block file");
	assert_int_equal(rmdir(empty), 0);
	buffer_clear(&folder.pinned);
	EXPECT_FAILURE(run(&folder, paths, 1, &err), err, ZR_INVALID, "pinned Fabric block");
	folder_fini(&folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_chain_is_ok_in_height_order),
		cmocka_unit_test(copies_are_each_checked_and_counted_as_one_height),
		cmocka_unit_test(two_valid_blocks_at_one_height_are_a_fork),
		cmocka_unit_test(missing_heights_are_reported_as_a_range),
		cmocka_unit_test(one_damaged_block_does_not_spoil_the_others),
		cmocka_unit_test(a_block_that_links_elsewhere_is_bad),
		cmocka_unit_test(the_block_after_the_pinned_one_links_to_it),
		cmocka_unit_test(a_bad_block_does_not_speak_for_its_height),
		cmocka_unit_test(unsigned_blocks_need_somebody_who_vouches_for_them),
		cmocka_unit_test(the_set_is_followed_through_config_blocks),
		cmocka_unit_test(blocks_below_the_pinned_one_are_said_to_be),
		cmocka_unit_test(files_may_be_named_one_by_one),
		cmocka_unit_test(what_cannot_be_read_at_all_is_a_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
