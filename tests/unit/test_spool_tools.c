#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "spool/tools.h"
#include "spool/upkeep.h"
#include "tests/unit/spool_fixture.h"

#define DAY_MS 86400000ll

/* ---- a spool with something of everything ---- */

enum { PLAIN, LOST, FROZEN, IDLE, OLD_EPOCH, CHAIN_COUNT };

struct world {
	struct test_chain chains[CHAIN_COUNT];
	struct test_chain renewed;
	struct spool_anchor sent, rejected;
};

static void add_refusals(struct fixture *fixture, const struct world *world)
{
	struct err err;
	enum spool_suspect_outcome outcome;
	uint64_t number, first = 0;
	for (int i = 0; i < 3; i++) {
		char payload[16];
		snprintf(payload, sizeof(payload), "bad bytes %d", i);
		struct spool_suspect suspect = { .reason = "untrusted",
			                         .detail = "",
			                         .block_count = 2,
			                         .codec = CODEC_NONE,
			                         .payload = bytes_of_string(payload),
			                         .agent = "agent-2" };
		suspect.content = sha256(suspect.payload);
		if (i < 2)
			suspect.chain = world->chains[PLAIN].key;
		MUST(spool_quarantine_put(begin(fixture, SPOOL_INTAKE), &suspect, &outcome, &number,
		                          &err));
		commit(fixture);
		first = i == 0 ? number : first;
	}
	struct spool_resolution reject = { SPOOL_VERDICT_REJECTED, "alice", "no", TEST_TIME_MS };
	MUST(spool_quarantine_resolve(begin(fixture, SPOOL_UPKEEP), first, &reject, &err));
	struct spool_evidence evidence = { .chain = world->chains[FROZEN].key,
		                           .height = 3,
		                           .ours = { { 1 } },
		                           .theirs = { { 2 } } };
	MUST(spool_evidence_put(&fixture->txn, &evidence, BYTES_LITERAL("bundle"), &number, &err));
	commit(fixture);
}

static void add_words(struct fixture *fixture)
{
	struct err err;
	struct hash hash;
	uint8_t class;
	begin(fixture, SPOOL_UPKEEP);
	for (uint8_t i = 1; i <= 3; i++) {
		struct spool_audit audit = {
			.time_ms = i, .who = "alice", .verb = "status", .reason = "", .result = "ok"
		};
		audit.request_id[0] = i;
		MUST(spool_audit_append(&fixture->txn, &audit, &err));
	}
	MUST(spool_dictionary_put(&fixture->txn, BYTES_LITERAL("dictionary"), &hash, &err));
	MUST(spool_meta_put(&fixture->txn, "fence", BYTES_LITERAL("12"), &err));
	MUST(spool_class_number(&fixture->txn, "bulk", &class, &err));
	commit(fixture);
}

static void set_state(struct fixture *fixture, const struct test_chain *chain,
                      enum spool_chain_state state, bool held)
{
	struct err err;
	struct spool_chain_state_change change = { .chain = chain->key,
		                                   .state = state,
		                                   .reason = "because",
		                                   .who = "alice",
		                                   .delivery_held = held };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &change, &err));
	commit(fixture);
}

static void prune_old(struct fixture *fixture, int64_t now_ms, int64_t history_ms)
{
	struct err err;
	struct spool_prune_result result;
	struct spool_prune_options options = {
		.now_ms = now_ms, .retention_ms = DAY_MS, .history_ms = history_ms, .batch_max = 100
	};
	MUST(spool_prune_slice(begin(fixture, SPOOL_UPKEEP), &options, &result, &err));
	commit(fixture);
}

static void lose_some(struct fixture *fixture, struct test_chain *chain)
{
	struct err err;
	struct test_batch lost;
	next_batch(chain, 5, 10, &lost);
	struct spool_adoption adoption = { .chain = chain->key,
		                           .next_height = chain->next_height,
		                           .tip = chain->tip,
		                           .anchored_next = chain->next_height - 5,
		                           .who = "bob",
		                           .why = "flood" };
	MUST(spool_chain_adopt(begin(fixture, SPOOL_UPKEEP), &adoption, &err));
	commit(fixture);
}

static void update(struct fixture *fixture, struct spool_anchor *anchor,
                   enum spool_anchor_state state)
{
	struct err err;
	MUST(spool_anchor(fixture->spool, &anchor->id, anchor, &err));
	anchor->state = state;
	MUST(spool_anchor_update(begin(fixture, SPOOL_UPKEEP), anchor, &err));
	commit(fixture);
}

static void make_world(struct fixture *fixture, struct world *world)
{
	static const char *const names[CHAIN_COUNT] = { "plain", "lost", "frozen", "idle",
		                                        "twice" };
	const struct test_chain *all[CHAIN_COUNT];
	for (int i = 0; i < CHAIN_COUNT; i++) {
		world->chains[i] = test_chain(names[i]);
		all[i] = &world->chains[i];
		add_chain(fixture, &world->chains[i]);
		put_batch(fixture, &world->chains[i], 3);
	}
	struct spool_anchor first = put_anchor(fixture, all, CHAIN_COUNT);
	finalize(fixture, &first.id, TEST_TIME_MS);
	for (int i = 0; i < IDLE; i++)
		put_batch(fixture, &world->chains[i], 2);
	struct spool_anchor second = put_anchor(fixture, all, IDLE);
	finalize(fixture, &second.id, TEST_TIME_MS + 2 * DAY_MS);
	prune_old(fixture, TEST_TIME_MS + DAY_MS, 1); /* All of the first anchor goes. */

	lose_some(fixture, &world->chains[LOST]);
	for (int i = 0; i < IDLE; i++)
		put_batch(fixture, &world->chains[i], 4);
	world->sent = put_anchor(fixture, &all[PLAIN], 1);
	update(fixture, &world->sent, SPOOL_ANCHOR_SENT);
	world->rejected = put_anchor(fixture, &all[LOST], 1);
	update(fixture, &world->rejected, SPOOL_ANCHOR_REJECTED);
	put_batch(fixture, &world->chains[PLAIN], 1);
	set_state(fixture, &world->chains[FROZEN], SPOOL_CHAIN_FROZEN, true);
	set_state(fixture, &world->chains[OLD_EPOCH], SPOOL_CHAIN_RETIRED, false);
	world->renewed = world->chains[OLD_EPOCH];
	world->renewed.id.epoch.bytes[5] ^= 1;
	world->renewed.key = chain_key(&world->renewed.id);
	add_chain(fixture, &world->renewed);
	add_refusals(fixture, world);
	add_words(fixture);
}

/* ---- helpers ---- */

struct faults {
	int count;
	char first[512];
};

static void note_fault(const char *line, void *arg)
{
	struct faults *faults = arg;
	if (faults->count++ == 0)
		snprintf(faults->first, sizeof(faults->first), "%s", line);
}

static struct faults verify(const char *dir)
{
	struct err err;
	struct faults faults = { 0, "" };
	struct spool_verify_result result;
	MUST(spool_verify(dir, note_fault, &faults, NULL, &result, &err));
	assert_int_equal(result.fault_count, faults.count);
	return faults;
}

static void check_sound(const char *dir)
{
	struct faults faults = verify(dir);
	if (faults.count > 0) {
		print_error("%d faults: %s\n", faults.count, faults.first);
		fail();
	}
}

static int temporary_file(void)
{
	char path[TEST_PATH_MAX];
	fresh_path(path);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static int backup(struct fixture *fixture, const struct chain_key *chain)
{
	struct err err;
	struct spool_stream_result result;
	int fd = temporary_file();
	MUST(spool_backup(
		&(struct spool_backup_options){ .spool = fixture->spool, .fd = fd, .chain = chain },
		&result, &err));
	assert_int_equal(result.byte_count, lseek(fd, 0, SEEK_END));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static bool restore(struct fixture *copy, int fd, struct err *err)
{
	struct spool_stream_result result;
	fresh_path(copy->dir);
	copy->spool = NULL;
	return spool_restore(&(struct spool_restore_options){ .dir = copy->dir,
	                                                      .fd = fd,
	                                                      .size_bytes = 16u << 20,
	                                                      .now_ms = TEST_TIME_MS + 9 },
	                     &result, err);
}

static void drop_copy(struct fixture *copy)
{
	spool_close(copy->spool);
	temp_folder_remove(copy->dir);
}

/* ---- verify ---- */

static void a_sound_spool_verifies_and_is_counted(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct world world;
	struct spool_verify_result result;
	make_world(fixture, &world);
	check_sound(fixture->dir);
	spool_close(fixture->spool);
	fixture->spool = NULL;
	MUST(spool_verify(fixture->dir, NULL, NULL, NULL, &result, &err));
	assert_int_equal(result.chain_count, 6);
	assert_int_equal(result.fault_count, 0);
	assert_int_equal(result.batch_count, 3 + 3 + 1); /* What history has not taken. */
	assert_true(result.row_count > 40);
	MUST_FAIL(spool_verify("/nonexistent/zr", NULL, NULL, NULL, &result, &err), ZR_UNAVAILABLE);
}

struct busy {
	struct fixture *fixture;
	struct world *world;
	int calls;
	bool forgets; /* History, faster than anybody can copy it. */
};

static void be_busy(uint64_t done, uint64_t total, void *arg);

static void verify_beside_a_busy_writer_finds_nothing_wrong(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct world world;
	struct spool_verify_result result;
	make_world(fixture, &world);
	struct busy busy = { fixture, &world, 0, true };
	struct spool_progress progress = { be_busy, &busy };
	MUST(spool_verify(fixture->dir, print_fault, NULL, &progress, &result, &err));
	assert_int_equal(result.fault_count, 0);
	assert_true(busy.calls > 15);
}

static void change_first_row(struct fixture *fixture, enum spool_table table, bool take_away)
{
	struct err err;
	struct txn txn;
	struct bytes key, value;
	uint8_t key_copy[TXN_KEY_MAX];
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_first(&txn, table, &key, &value));
	struct bytes copy = { key_copy, key.size };
	memcpy(key_copy, key.data, key.size);
	if (take_away) {
		txn_delete(&txn, table, copy);
	} else {
		/* Too long by a byte: no row of the format is. */
		uint8_t *longer = calloc(1, value.size + 1);
		memcpy(longer, value.data, value.size);
		longer[value.size] = 'x';
		txn_put(&txn, table, copy, (struct bytes){ longer, value.size + 1 });
		free(longer);
	}
	MUST(txn_commit(&txn, &err));
}

static void verify_finds_a_row_that_is_missing_or_malformed_in_any_table(void **state)
{
	struct fixture *original = *state;
	struct world world;
	make_world(original, &world);
	int fd = backup(original, NULL);
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++) {
		for (int take_away = 0; take_away < 2; take_away++) {
			struct err err;
			struct fixture copy;
			assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
			MUST(restore(&copy, fd, &err));
			open_spool(&copy);
			change_first_row(&copy, (enum spool_table)table, take_away);
			struct faults faults = verify(copy.dir);
			/* These stand alone: nothing in the spool says that they must be there; and
			 * saved trust sets and names have no form of their own here. */
			bool alone = take_away ? table == SPOOL_EVIDENCE ||
			                                 table == SPOOL_DICTIONARIES ||
			                                 table == SPOOL_META || table == SPOOL_TRUST
			                       : table == SPOOL_TRUST || table == SPOOL_META;
			if (!alone && faults.count == 0) {
				print_error("table %s: nothing was found\n",
				            spool_table_name((enum spool_table)table));
				fail();
			}
			drop_copy(&copy);
		}
	}
	close(fd);
}

static void verify_says_which_block_of_which_chain(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct world world;
	struct txn txn;
	fixture->damaged = true;
	make_world(fixture, &world);
	struct spool_batch_info info;
	MUST(spool_batch_info(fixture->spool, &world.chains[PLAIN].key, 5, &info, &err));
	struct bytes value;
	uint8_t key[8];
	put_be64(key, info.arrival);
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_delete(&txn, SPOOL_BATCHES, BYTES_OF(key)));
	uint8_t heights[24];
	memcpy(heights, world.chains[FROZEN].key.bytes, 16);
	put_be64(heights + 16, 5);
	assert_true(txn_get(&txn, SPOOL_HEIGHTS, BYTES_OF(heights), &value));
	assert_true(txn_delete(&txn, SPOOL_HEIGHTS, BYTES_OF(heights)));
	MUST(txn_commit(&txn, &err));
	struct faults faults = verify(fixture->dir);
	assert_true(faults.count >= 2);
}

/* ---- backup and restore ---- */

static void check_same_chain(struct fixture *copy, struct fixture *original,
                             const struct test_chain *chain)
{
	struct err err;
	struct spool_chain a = load(original, chain), b = load(copy, chain);
	assert_true(chain_id_equal(&a.id, &b.id));
	assert_string_equal(a.format, b.format);
	assert_int_equal(a.state, b.state);
	assert_string_equal(a.state_reason, b.state_reason);
	assert_int_equal(a.delivery_held, b.delivery_held);
	assert_int_equal(a.next_height, b.next_height);
	assert_true(hash_equal(&a.tip, &b.tip));
	assert_int_equal(a.pending_from, b.pending_from);
	assert_int_equal(a.anchored_next, b.anchored_next);
	assert_int_equal(a.received_blocks, b.received_blocks);
	assert_int_equal(a.quarantined_blocks, b.quarantined_blocks);
	assert_int_equal(a.tombstoned_blocks, b.tombstoned_blocks);
	assert_int_equal(a.anchored_blocks, b.anchored_blocks);
	assert_int_equal(a.forgotten_blocks, b.forgotten_blocks);
	assert_int_equal(a.held_bytes, b.held_bytes);
	assert_int_equal(a.held_from, b.held_from);
	assert_int_equal(a.trust_from, b.trust_from);
	for (uint64_t height = a.held_from; height < a.next_height; height++) {
		struct spool_batch_info info;
		struct buffer x = BUFFER_EMPTY, y = BUFFER_EMPTY;
		if (!spool_batch_payload(original->spool, &chain->key, height, &info, &x, &err))
			continue; /* A lost height. */
		MUST(spool_batch_payload(copy->spool, &chain->key, height, &info, &y, &err));
		assert_true(bytes_equal(buffer_bytes(&x), buffer_bytes(&y)));
		buffer_fini(&x);
		buffer_fini(&y);
	}
}

static void a_restored_spool_is_the_same_and_says_that_it_is_a_copy(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct world world;
	make_world(fixture, &world);
	int fd = backup(fixture, NULL);
	MUST(restore(&copy, fd, &err));
	close(fd);
	check_sound(copy.dir);
	open_spool(&copy);
	assert_memory_equal(spool_uuid(copy.spool), spool_uuid(fixture->spool), STORE_UUID_SIZE);
	for (int i = 0; i < CHAIN_COUNT; i++)
		check_same_chain(&copy, fixture, &world.chains[i]);
	check_same_chain(&copy, fixture, &world.renewed);
	struct spool_chain named;
	MUST(spool_chain_by_name(copy.spool, "twice", &named, &err));
	assert_true(chain_key_equal(&named.key, &world.renewed.key));

	struct spool_totals a, b;
	MUST(spool_totals(fixture->spool, &a, &err));
	MUST(spool_totals(copy.spool, &b, &err));
	assert_int_equal(b.restored_ms, TEST_TIME_MS + 9);
	assert_int_equal(b.commit_number, (uint64_t)(TEST_TIME_MS + 9) * 1000);
	b.restored_ms = a.restored_ms;
	b.commit_number = a.commit_number;
	assert_int_equal(a.received_blocks, b.received_blocks);
	assert_int_equal(a.arrival_next, b.arrival_next);
	assert_int_equal(a.final_bytes, b.final_bytes);
	assert_int_equal(a.quarantine_next, b.quarantine_next);
	assert_int_equal(a.tombstone_next, b.tombstone_next);
	assert_int_equal(a.anchor_count, b.anchor_count);
	assert_true(hash_equal(&a.audit_head, &b.audit_head));

	/* What was under way may have happened since. */
	struct spool_anchor anchor;
	MUST(spool_anchor(copy.spool, &world.sent.id, &anchor, &err));
	assert_int_equal(anchor.state, SPOOL_ANCHOR_UNKNOWN);
	MUST(spool_anchor(copy.spool, &world.rejected.id, &anchor, &err));
	assert_int_equal(anchor.state, SPOOL_ANCHOR_REJECTED);
	struct spool_coverage coverage;
	MUST(spool_anchor_of(copy.spool, 1, &world.chains[PLAIN].key, 4, &coverage, &err));
	assert_int_equal(coverage.id.seq, 2);

	/* And it goes on. */
	put_batch(&copy, &world.chains[PLAIN], 2);
	MUST(spool_adopted(begin(&copy, SPOOL_UPKEEP), &err));
	commit(&copy);
	MUST(spool_totals(copy.spool, &b, &err));
	assert_int_equal(b.restored_ms, 0);
	assert_int_equal(b.commit_number, (uint64_t)(TEST_TIME_MS + 9) * 1000 + 1);
	check_sound(copy.dir);
	drop_copy(&copy);
}

/* The writer goes on between any two slices: intake, anchors, pruning, adoption. */
static void be_busy(uint64_t done, uint64_t total, void *arg)
{
	struct busy *busy = arg;
	struct fixture *fixture = busy->fixture;
	struct world *world = busy->world;
	const struct test_chain *plain = &world->chains[PLAIN];
	busy->calls++;
	put_batch(fixture, &world->chains[PLAIN], 2);
	put_batch(fixture, &world->renewed, 1);
	if (busy->calls % 3 == 0) {
		struct spool_anchor anchor = put_anchor(fixture, &plain, 1);
		if (busy->calls == 3) {
			/* All before it in the lane becomes final first. */
			for (uint64_t seq = world->sent.id.seq; seq <= anchor.id.seq; seq++) {
				struct spool_anchor_id id = { 1, 0, seq };
				finalize(fixture, &id, TEST_TIME_MS + 3 * DAY_MS);
			}
		} else {
			finalize(fixture, &anchor.id, TEST_TIME_MS + 3 * DAY_MS);
		}
	}
	if (busy->calls % 10 == 0)
		prune_old(fixture, TEST_TIME_MS + 7 * DAY_MS / 2, DAY_MS); /* The second anchor. */
	else if (busy->calls % 5 == 0)
		prune_old(fixture, TEST_TIME_MS + 10 * DAY_MS, busy->forgets ? DAY_MS : 0);
	if (busy->calls == 7)
		lose_some(fixture, &world->chains[IDLE]);
	if (busy->calls == 8)
		add_refusals(fixture, world);
	if (busy->calls == 11)
		put_batch(fixture, &world->chains[IDLE], 2);
}

static void a_backup_beside_a_busy_writer_is_a_consistent_prefix_of_each_chain(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct world world;
	struct spool_stream_result result;
	make_world(fixture, &world);
	struct busy busy = { fixture, &world, 0, false };
	int fd = temporary_file();
	MUST(spool_backup(&(struct spool_backup_options){ .spool = fixture->spool,
	                                                  .fd = fd,
	                                                  .slice_rows = 1,
	                                                  .progress = { be_busy, &busy } },
	                  &result, &err));
	assert_true(busy.calls > 30);
	check_sound(fixture->dir);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	MUST(restore(&copy, fd, &err));
	close(fd);
	check_sound(copy.dir);
	open_spool(&copy);
	struct spool_chain mine = load(&copy, &world.chains[PLAIN]);
	struct block_header a, b;
	assert_true(mine.next_height >= 10 && mine.next_height < world.chains[PLAIN].next_height);
	MUST(spool_header(copy.spool, &mine.key, mine.next_height - 1, &a, &err));
	MUST(spool_header(fixture->spool, &mine.key, mine.next_height - 1, &b, &err));
	assert_true(hash_equal(&a.hash, &b.hash));
	drop_copy(&copy);
}

static void a_backup_that_is_overtaken_by_forgetting_says_so(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct world world;
	struct spool_stream_result result;
	make_world(fixture, &world);
	struct busy busy = { fixture, &world, 0, true };
	int fd = temporary_file();
	MUST_FAIL(spool_backup(&(struct spool_backup_options){ .spool = fixture->spool,
	                                                       .fd = fd,
	                                                       .slice_rows = 1,
	                                                       .progress = { be_busy, &busy } },
	                       &result, &err),
	          ZR_STATE);
	close(fd);
	check_sound(fixture->dir);
}

static void another_process_backs_up_what_is_open_here(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct world world;
	make_world(fixture, &world);
	int fd = temporary_file();
	pid_t child = fork();
	if (child == 0) {
		struct spool_stream_result result;
		_exit(spool_backup(&(struct spool_backup_options){ .dir = fixture->dir, .fd = fd },
		                   &result, &err)
		              ? 0
		              : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	MUST(restore(&copy, fd, &err));
	check_sound(copy.dir);
	close(fd);
	drop_copy(&copy);
}

static void one_chain_is_exported_with_its_blocks_and_waits_to_be_adopted(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct world world;
	make_world(fixture, &world);
	int fd = backup(fixture, &world.chains[LOST].key);
	MUST(restore(&copy, fd, &err));
	close(fd);
	check_sound(copy.dir);
	open_spool(&copy);
	struct spool_chain row = load(&copy, &world.chains[LOST]);
	assert_int_equal(row.state, SPOOL_CHAIN_RESTORED);
	assert_true(row.delivery_held); /* Or its blocks could be anchored twice. */
	assert_int_equal(row.next_height, world.chains[LOST].next_height);
	assert_int_equal(row.anchored_next, load(fixture, &world.chains[LOST]).anchored_next);
	struct spool_pending pending;
	size_t count;
	MUST(spool_pending_page(copy.spool, &(struct spool_pending_query){ .sink = 1, .class = 1 },
	                        &pending, 1, &count, &err));
	assert_int_equal(count, 0);
	struct spool_chain none;
	MUST_FAIL(spool_chain(copy.spool, &world.chains[PLAIN].key, &none, &err), ZR_STATE);
	drop_copy(&copy);
	struct test_chain unknown = test_chain("unknown");
	struct spool_stream_result result;
	MUST_FAIL(spool_backup(&(struct spool_backup_options){ .spool = fixture->spool,
	                                                       .fd = -1,
	                                                       .chain = &unknown.key },
	                       &result, &err),
	          ZR_STATE);
	MUST_FAIL(spool_backup(&(struct spool_backup_options){ .spool = fixture->spool, .fd = -1 },
	                       &result, &err),
	          ZR_IO);
}

static void a_cut_or_changed_stream_leaves_no_store_behind(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 2);
	int fd = backup(fixture, NULL);
	off_t size = lseek(fd, 0, SEEK_END);
	uint8_t *stream = malloc((size_t)size);
	assert_int_equal(pread(fd, stream, (size_t)size, 0), size);
	for (off_t at = 0; at < size; at += 7) {
		int bad = temporary_file();
		bool cut = at % 2 == 0;
		stream[at] ^= cut ? 0 : 0x20;
		assert_true(write(bad, stream, (size_t)(cut ? at : size)) >= 0);
		stream[at] ^= cut ? 0 : 0x20;
		assert_int_equal(lseek(bad, 0, SEEK_SET), 0);
		if (restore(&copy, bad, &err)) {
			print_error("byte %ld of %ld was changed unseen\n", (long)at, (long)size);
			fail();
		}
		assert_true(err.code == ZR_CORRUPT || err.code == ZR_INVALID);
		assert_false(spool_exists(copy.dir));
		drop_copy(&copy);
		close(bad);
	}
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	MUST(restore(&copy, fd, &err));
	MUST_FAIL(spool_restore(&(struct spool_restore_options){ .dir = copy.dir, .fd = fd },
	                        &(struct spool_stream_result){ 0 }, &err),
	          ZR_STATE);
	free(stream);
	close(fd);
	drop_copy(&copy);
}

/* Each row carries its own checksum; that none is missing and none is there twice, only the end says. */
static void a_stream_without_one_of_its_rows_is_not_restored(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 2);
	anchor_all(fixture, &chain);
	int fd = backup(fixture, NULL);
	off_t size = lseek(fd, 0, SEEK_END);
	uint8_t *stream = malloc((size_t)size);
	assert_int_equal(pread(fd, stream, (size_t)size, 0), size);
	/* Magic, kind, name, version, UUID, time, checksum. */
	off_t at = 4 + 1 + 1 + stream[5] + 4 + STORE_UUID_SIZE + 8 + 4;
	int row_count = 0;
	while (stream[at] != 0xff) {
		off_t next = at + 7 + get_be16(stream + at + 1) + (off_t)get_be32(stream + at + 3) +
		             4; /* Its checksum. */
		int without = temporary_file();
		assert_int_equal(write(without, stream, (size_t)at), at);
		assert_int_equal(write(without, stream + next, (size_t)(size - next)), size - next);
		assert_int_equal(lseek(without, 0, SEEK_SET), 0);
		MUST_FAIL(restore(&copy, without, &err), ZR_CORRUPT);
		assert_false(spool_exists(copy.dir));
		drop_copy(&copy);
		close(without);
		at = next;
		row_count++;
	}
	assert_int_equal(at, size - 1 - 12);
	assert_true(row_count > 4);
	free(stream);
	close(fd);
}

static void a_store_whose_restore_was_cut_short_is_not_opened(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txn;
	fixture->damaged = true;
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	txn_put(&txn, SPOOL_META, BYTES_LITERAL(".unfinished"), BYTES_LITERAL("restore"));
	MUST(txn_commit(&txn, &err));
	spool_close(fixture->spool);
	fixture->spool = NULL;
	struct spool_options options = { .dir = fixture->dir, .mode = STORE_WRITE };
	MUST_FAIL(spool_open(&fixture->spool, &options, &err), ZR_CORRUPT);
}

static void a_restore_into_too_little_room_fails_and_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct spool_stream_result result;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t arrival;
	char dir[TEST_PATH_MAX];
	add_chain(fixture, &chain);
	for (int i = 0; i < 200; i++) {
		next_batch(&chain, 2, 4000, &batch);
		MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
		commit(fixture);
	}
	int fd = backup(fixture, NULL);
	fresh_path(dir);
	MUST_FAIL(spool_restore(&(struct spool_restore_options){ .dir = dir,
	                                                         .fd = fd,
	                                                         .size_bytes = 1u << 20 },
	                        &result, &err),
	          ZR_FULL);
	assert_false(spool_exists(dir));
	temp_folder_remove(dir);
	close(fd);
}

/* ---- salvage ---- */

static void wipe(const char *dir, off_t from, size_t size)
{
	char path[TEST_PATH_MAX + 16];
	uint8_t *zeros = calloc(1, size);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	int fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, zeros, size, from), size);
	close(fd);
	free(zeros);
}

static void salvage_finds_the_batches_of_a_store_without_a_tree(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct test_chain chains[2] = { test_chain("tq-a"), test_chain("tq-b") };
	uint8_t uuid[STORE_UUID_SIZE];
	fixture->damaged = true;
	add_chain(fixture, &chains[0]);
	add_chain(fixture, &chains[1]);
	for (int i = 0; i < 20; i++) {
		struct test_batch batch;
		uint64_t arrival;
		next_batch(&chains[i % 2], 3, i % 4 == 0 ? 4000 : 300, &batch);
		MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
		commit(fixture);
	}
	anchor_all(fixture, &chains[0]);
	memcpy(uuid, spool_uuid(fixture->spool), sizeof(uuid));
	spool_close(fixture->spool);
	fixture->spool = NULL;
	wipe(fixture->dir, 0, 2 * 4096); /* Both meta pages. */
	struct spool_verify_result verified;
	MUST_FAIL(spool_verify(fixture->dir, NULL, NULL, NULL, &verified, &err), ZR_CORRUPT);

	struct spool_salvage_result result;
	int fd = temporary_file();
	MUST(spool_salvage(fixture->dir, fd, NULL, &result, &err));
	assert_int_equal(result.batch_count, 20);
	assert_int_equal(result.chain_count, 2);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	MUST(restore(&copy, fd, &err));
	close(fd);
	check_sound(copy.dir);
	open_spool(&copy);
	assert_memory_equal(spool_uuid(copy.spool), uuid, STORE_UUID_SIZE);
	for (int i = 0; i < 2; i++) {
		struct spool_chain row = load(&copy, &chains[i]);
		assert_int_equal(row.state, SPOOL_CHAIN_RESTORED);
		assert_true(row.delivery_held);
		assert_string_equal(row.format, "ledger");
		assert_int_equal(row.next_height, 30);
		assert_true(hash_equal(&row.tip, &chains[i].tip));
		assert_int_equal(row.anchored_next, 0);
	}
	/* An operator adopts: so far it is anchored, so much is to be anchored. */
	struct spool_adoption adoption = { .chain = chains[0].key,
		                           .next_height = 30,
		                           .tip = chains[0].tip,
		                           .anchored_next = 27,
		                           .who = "bob",
		                           .why = "salvaged" };
	begin(&copy, SPOOL_UPKEEP);
	MUST(spool_chain_set_trust(&copy.txn, &chains[0].key, BYTES_LITERAL("trust"), &err));
	MUST(spool_chain_adopt(&copy.txn, &adoption, &err));
	commit(&copy);
	put_batch(&copy, &chains[0], 1);
	check_sound(copy.dir);
	drop_copy(&copy);
}

static void salvage_declares_what_it_does_not_find(void **state)
{
	struct fixture *fixture = *state, copy;
	struct err err;
	struct test_chain chain = test_chain("tq-a");
	char path[TEST_PATH_MAX + 16];
	fixture->damaged = true;
	add_chain(fixture, &chain);
	for (int i = 0; i < 5; i++) {
		struct test_batch batch;
		uint64_t arrival;
		next_batch(&chain, 2, 4000, &batch);
		if (i == 2)
			memcpy(batch.payload, "HERE IT IS", 10);
		batch.batch.content = sha256(batch.batch.payload);
		MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
		commit(fixture);
	}
	spool_close(fixture->spool);
	fixture->spool = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	int data = open(path, O_RDWR);
	static uint8_t file[8u << 20];
	ssize_t size = pread(data, file, sizeof(file), 0);
	uint8_t *place = memmem(file, (size_t)size, "HERE IT IS", 10);
	assert_non_null(place);
	assert_int_equal(pwrite(data, "XXXX", 4, place - file), 4);
	close(data);
	struct spool_salvage_result result;
	int fd = temporary_file();
	MUST(spool_salvage(fixture->dir, fd, NULL, &result, &err));
	assert_int_equal(result.batch_count, 4);
	assert_int_equal(result.damaged_count, 1);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	MUST(restore(&copy, fd, &err));
	close(fd);
	check_sound(copy.dir);
	open_spool(&copy);
	struct spool_chain row = load(&copy, &chain);
	assert_int_equal(row.lost_heights, 2);
	assert_int_equal(row.next_height, 10);
	struct spool_tombstone tombstone;
	size_t count;
	MUST(spool_tombstones_page(copy.spool, NULL, &tombstone, 1, &count, &err));
	assert_int_equal(count, 1);
	assert_int_equal(tombstone.from, 4);
	assert_int_equal(tombstone.to, 5);
	drop_copy(&copy);
	MUST_FAIL(spool_salvage("/nonexistent/zr", 1, NULL, &result, &err), ZR_UNAVAILABLE);
}

/* ---- bit rot ---- */

/* In a child: reads everything there is of chain and compares it. Exits 0: all right; 1: a failure
 * was said; 2: a wrong byte was given. */
static void read_and_compare(const char *dir, const struct test_chain *chain)
{
	struct err err;
	struct spool *spool;
	struct spool_options options = { .dir = dir, .mode = STORE_READ };
	signal(SIGBUS, SIG_DFL); /* Not cmocka's: it would go on with the next test. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	alarm(20);
	if (!spool_open(&spool, &options, &err))
		_exit(1);
	struct test_chain at = test_chain(chain->id.name);
	bool ok = true;
	while (at.next_height < chain->next_height) {
		struct test_batch wanted;
		struct spool_batch_info info;
		struct block_header header;
		struct buffer payload = BUFFER_EMPTY;
		uint64_t height = at.next_height;
		next_batch(&at, 2, 600, &wanted);
		if (spool_batch_payload(spool, &at.key, height, &info, &payload, &err)) {
			if (!bytes_equal(buffer_bytes(&payload), wanted.batch.payload))
				_exit(2);
		} else {
			ok = false;
		}
		for (int i = 0; i < 2; i++) {
			if (!spool_header(spool, &at.key, height + (uint64_t)i, &header, &err))
				ok = false;
			else if (!hash_equal(&header.hash, &wanted.headers[i].hash) ||
			         !hash_equal(&header.data_root, &wanted.headers[i].data_root))
				_exit(2);
		}
		buffer_fini(&payload);
	}
	struct spool_chain row;
	if (!spool_chain(spool, &at.key, &row, &err))
		ok = false;
	else if (row.next_height != chain->next_height || !hash_equal(&row.tip, &chain->tip))
		_exit(2);
	_exit(ok ? 0 : 1);
}

static int outcome_of(const char *dir, const struct test_chain *chain)
{
	pid_t child = fork();
	if (child == 0)
		read_and_compare(dir, chain);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return 3;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void no_flipped_bit_anywhere_gives_a_wrong_byte(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-a");
	char path[TEST_PATH_MAX + 16];
	add_chain(fixture, &chain);
	begin(fixture, SPOOL_INTAKE);
	for (int i = 0; i < 60; i++) {
		struct test_batch batch;
		uint64_t arrival;
		next_batch(&chain, 2, 600, &batch);
		MUST(spool_batch_put(&fixture->txn, &batch.batch, &arrival, &err));
	}
	commit(fixture);
	spool_close(fixture->spool);
	fixture->spool = NULL;
	assert_int_equal(outcome_of(fixture->dir, &chain), 0);

	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	int fd = open(path, O_RDWR);
	struct stat file;
	assert_int_equal(fstat(fd, &file), 0);
	int noticed = 0;
	const char *seed = getenv("ZR_TEST_SEED");
	uint32_t random = seed != NULL ? (uint32_t)atoi(seed) : (uint32_t)getpid() | 1;
	print_message("seed %u, %ld pieces\n", random, (long)file.st_size / 512);
	for (off_t piece = 0; piece < file.st_size; piece += 512) {
		random = random * 1664525u + 1013904223u;
		off_t at = piece + (random >> 8) % 512;
		uint8_t byte, flipped;
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		flipped = (uint8_t)(byte ^ (1u << (random >> 29)));
		assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
		int outcome = outcome_of(fixture->dir, &chain);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		if (outcome == 2 || outcome == 3) {
			print_error("byte %ld: %s\n", (long)at,
			            outcome == 2 ? "a wrong byte was given" : "no end");
			fail();
		}
		noticed += outcome;
	}
	close(fd);
	assert_int_equal(outcome_of(fixture->dir, &chain), 0);
	assert_true(noticed > 40);
}

static void verify_survives_a_damaged_tree_and_says_so(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct world world;
	make_world(fixture, &world);
	spool_close(fixture->spool);
	fixture->spool = NULL;
	char path[TEST_PATH_MAX + 16];
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	struct stat file;
	assert_int_equal(stat(path, &file), 0);
	/* Each page in turn, but for the two that open needs. */
	int fd = open(path, O_RDWR);
	int found = 0;
	for (off_t page = 2 * 4096; page + 4096 <= file.st_size; page += 4096) {
		uint8_t before[4096], noise[4096];
		assert_int_equal(pread(fd, before, sizeof(before), page), sizeof(before));
		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)(before[i] ^ (i * 37 + 11));
		assert_int_equal(pwrite(fd, noise, sizeof(noise), page), sizeof(noise));
		struct spool_verify_result result;
		struct faults faults = { 0, "" };
		if (!spool_verify(fixture->dir, note_fault, &faults, NULL, &result, &err))
			found++; /* It could not even be opened. */
		else
			found += faults.count > 0;
		assert_int_equal(pwrite(fd, before, sizeof(before), page), sizeof(before));
	}
	close(fd);
	assert_true(found >= 10);
	check_sound(fixture->dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(a_sound_spool_verifies_and_is_counted),
		WITH_SPOOL(verify_beside_a_busy_writer_finds_nothing_wrong),
		WITH_SPOOL(verify_finds_a_row_that_is_missing_or_malformed_in_any_table),
		WITH_SPOOL(verify_says_which_block_of_which_chain),
		WITH_SPOOL(a_restored_spool_is_the_same_and_says_that_it_is_a_copy),
		WITH_SPOOL(a_backup_beside_a_busy_writer_is_a_consistent_prefix_of_each_chain),
		WITH_SPOOL(a_backup_that_is_overtaken_by_forgetting_says_so),
		WITH_SPOOL(another_process_backs_up_what_is_open_here),
		WITH_SPOOL(one_chain_is_exported_with_its_blocks_and_waits_to_be_adopted),
		WITH_SPOOL(a_cut_or_changed_stream_leaves_no_store_behind),
		WITH_SPOOL(a_stream_without_one_of_its_rows_is_not_restored),
		WITH_SPOOL(a_store_whose_restore_was_cut_short_is_not_opened),
		WITH_SPOOL(a_restore_into_too_little_room_fails_and_leaves_nothing),
		WITH_SPOOL(salvage_finds_the_batches_of_a_store_without_a_tree),
		WITH_SPOOL(salvage_declares_what_it_does_not_find),
		WITH_SPOOL(no_flipped_bit_anywhere_gives_a_wrong_byte),
		WITH_SPOOL(verify_survives_a_damaged_tree_and_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
