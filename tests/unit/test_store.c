#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "spool/txn.h"
#include "tests/unit/store_fixture.h"

enum { TABLE_ANIMALS, TABLE_PLANTS, TABLE_COUNT };
static const char *const tables[TABLE_COUNT] = { "animals", "plants" };
static const struct store_format format = { "test", 3, tables, TABLE_COUNT };

struct fixture {
	char dir[TEST_PATH_MAX];
	struct store *store;
};

static void create(struct fixture *fixture, uint64_t size_bytes, bool allocate)
{
	struct err err;
	MUST(store_create(&(struct store_create_options){ .dir = fixture->dir,
	                                                  .format = &format,
	                                                  .size_bytes = size_bytes,
	                                                  .allocate = allocate,
	                                                  .now_ms = 1700000000123 },
	                  &err));
}

static void open_again(struct fixture *fixture, uint64_t size_bytes)
{
	struct err err;
	store_close(fixture->store);
	fixture->store = NULL;
	MUST(store_open(&fixture->store,
	                &(struct store_options){ .dir = fixture->dir,
	                                         .format = &format,
	                                         .mode = STORE_WRITE,
	                                         .size_bytes = size_bytes },
	                &err));
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fresh_path(fixture->dir);
	create(fixture, 1u << 20, true);
	open_again(fixture, 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	store_close(fixture->store);
	temp_folder_remove(fixture->dir);
	free(fixture);
	return 0;
}

static struct bytes text(const char *string)
{
	return bytes_of_string(string);
}

static void put(struct store *store, unsigned table, const char *key, const char *value)
{
	struct err err;
	struct txn txn;
	txn_begin(&txn, store, TXN_WRITE);
	txn_put(&txn, table, text(key), text(value));
	MUST(txn_commit(&txn, &err));
}

static bool has(struct store *store, unsigned table, const char *key, const char *value)
{
	struct txn txn;
	struct bytes found = BYTES_NONE;
	txn_begin(&txn, store, TXN_READ);
	bool there = txn_get(&txn, table, text(key), &found) && bytes_equal(found, text(value));
	assert_true(txn_ok(&txn));
	txn_abort(&txn);
	return there;
}

static void what_was_committed_is_there_after_opening_again(void **state)
{
	struct fixture *fixture = *state;
	uint8_t uuid[STORE_UUID_SIZE];
	memcpy(uuid, store_uuid(fixture->store), sizeof(uuid));
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	put(fixture->store, TABLE_PLANTS, "cat", "mint");
	open_again(fixture, 0);
	assert_true(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
	assert_true(has(fixture->store, TABLE_PLANTS, "cat", "mint"));
	assert_false(has(fixture->store, TABLE_PLANTS, "dog", "rose"));
	assert_memory_equal(uuid, store_uuid(fixture->store), sizeof(uuid));
	assert_int_equal(store_created_ms(fixture->store), 1700000000123);
}

static void an_allocated_store_has_its_disk_space_from_the_beginning(void **state)
{
	struct fixture *fixture = *state;
	char path[TEST_PATH_MAX + 16];
	struct stat file;
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_size, 1u << 20);
	assert_true(file.st_blocks * 512 >= 1 << 20);
}

static void a_second_store_is_not_created_over_the_first(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct store_create_options options = { .dir = fixture->dir,
		                                .format = &format,
		                                .size_bytes = 1u << 20 };
	MUST_FAIL(store_create(&options, &err), ZR_STATE);
	store_close(fixture->store);
	fixture->store = NULL;
	MUST_FAIL(store_create(&options, &err), ZR_STATE);
}

static void a_creation_that_was_cut_short_is_no_store_and_is_done_over(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	char from[TEST_PATH_MAX + 16], to[TEST_PATH_MAX + 16];
	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(from, sizeof(from), "%s/data.mdb", fixture->dir);
	snprintf(to, sizeof(to), "%s/data.mdb.new", fixture->dir);
	assert_int_equal(rename(from, to), 0);
	assert_false(store_exists(fixture->dir));
	struct store_options options = { .dir = fixture->dir,
		                         .format = &format,
		                         .mode = STORE_WRITE };
	MUST_FAIL(store_open(&fixture->store, &options, &err), ZR_UNAVAILABLE);
	create(fixture, 1u << 20, true);
	open_again(fixture, 0);
}

static void a_missing_store_is_refused_and_told_apart(void **state)
{
	struct err err;
	struct store *store = NULL;
	struct store_options options = { .dir = "/nonexistent/zr",
		                         .format = &format,
		                         .mode = STORE_WRITE };
	assert_false(store_exists(options.dir));
	MUST_FAIL(store_open(&store, &options, &err), ZR_UNAVAILABLE);
	assert_null(store);
}

static void a_second_opener_is_refused_and_told_who_has_it(void **state)
{
	struct fixture *fixture = *state;
	pid_t child = fork();
	if (child == 0) {
		struct err err;
		struct store *store;
		struct store_options options = { .dir = fixture->dir,
			                         .format = &format,
			                         .mode = STORE_WRITE };
		bool opened = store_open(&store, &options, &err);
		char pid[32];
		snprintf(pid, sizeof(pid), "process %ld", (long)getppid());
		_exit(!opened && err.code == ZR_UNAVAILABLE && strstr(err.message, pid) ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void another_process_reads_beside_the_owner(void **state)
{
	struct fixture *fixture = *state;
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	pid_t child = fork();
	if (child == 0) {
		struct err err;
		struct store *store;
		struct store_options options = { .dir = fixture->dir,
			                         .format = &format,
			                         .mode = STORE_READ };
		_exit(store_open(&store, &options, &err) && has(store, TABLE_ANIMALS, "cat", "grey")
		              ? 0
		              : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	put(fixture->store, TABLE_ANIMALS, "cat", "black");
}

static void another_version_or_format_is_refused_naming_both(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct store *store = NULL;
	store_close(fixture->store);
	fixture->store = NULL;
	struct store_format newer = format, other = format;
	newer.version = 4;
	other.name = "recipes";
	struct store_options options = { .dir = fixture->dir,
		                         .format = &newer,
		                         .mode = STORE_WRITE };
	MUST_FAIL(store_open(&store, &options, &err), ZR_INVALID);
	assert_non_null(strstr(err.message, "version 3"));
	assert_non_null(strstr(err.message, "version 4"));
	options.format = &other;
	MUST_FAIL(store_open(&store, &options, &err), ZR_INVALID);
	assert_non_null(strstr(err.message, "test"));
	assert_non_null(strstr(err.message, "recipes"));
}

static void an_emptied_or_cut_or_foreign_file_is_damage_not_a_new_store(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct store *store = NULL;
	char path[TEST_PATH_MAX + 16];
	struct store_options options = { .dir = fixture->dir,
		                         .format = &format,
		                         .mode = STORE_WRITE };
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	assert_int_equal(truncate(path, 3 * 4096), 0);
	MUST_FAIL(store_open(&store, &options, &err), ZR_CORRUPT);
	assert_int_equal(truncate(path, 0), 0);
	MUST_FAIL(store_open(&store, &options, &err), ZR_CORRUPT);
	/* Nor has looking made one of it, which the next start would find sound. */
	struct stat file;
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_size, 0);
	int fd = open(path, O_WRONLY);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(write(fd, "not a store\n", 12), 12);
	close(fd);
	MUST_FAIL(store_open(&store, &options, &err), ZR_CORRUPT);
}

/* LMDB takes the head with the higher number of a commit; one wrong bit in the older one, and the newest
 * commit would be gone without a word. */
static void an_old_commit_is_not_taken_for_the_newest(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct store *store = NULL;
	char path[TEST_PATH_MAX + 16];
	struct store_options options = { .dir = fixture->dir,
		                         .format = &format,
		                         .mode = STORE_WRITE };
	off_t number_at = sizeof(size_t) == 8 ? 144 : 88;
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	put(fixture->store, TABLE_ANIMALS, "dog", "brown");
	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	int fd = open(path, O_RDWR);
	for (int page = 0; page < 2; page++) {
		for (unsigned bit = 0; bit < 20; bit++) {
			size_t number, wrong;
			off_t at = page * 4096 + number_at;
			assert_int_equal(pread(fd, &number, sizeof(number), at), sizeof(number));
			wrong = number ^ (size_t)1 << bit;
			/* All but one: the newest less two, which its file cannot know. */
			if (wrong + 2 == number)
				continue;
			assert_int_equal(pwrite(fd, &wrong, sizeof(wrong), at), sizeof(wrong));
			MUST_FAIL(store_open(&store, &options, &err), ZR_CORRUPT);
			assert_int_equal(pwrite(fd, &number, sizeof(number), at), sizeof(number));
		}
	}
	close(fd);
	open_again(fixture, 0);
	assert_true(has(fixture->store, TABLE_ANIMALS, "dog", "brown"));
}

static void nothing_of_an_aborted_or_failed_transaction_is_stored(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txn;
	txn_begin(&txn, fixture->store, TXN_WRITE);
	txn_put(&txn, TABLE_ANIMALS, text("cat"), text("grey"));
	txn_abort(&txn);
	txn_abort(&txn);
	txn_begin(&txn, fixture->store, TXN_WRITE);
	txn_put(&txn, TABLE_ANIMALS, text("cat"), text("grey"));
	txn_fail(&txn, ZR_INVALID, "no %s here", "cats");
	txn_fail(&txn, ZR_IO, "the first failure counts");
	txn_put(&txn, TABLE_ANIMALS, text("dog"), text("brown"));
	MUST_FAIL(txn_commit(&txn, &err), ZR_INVALID);
	assert_string_equal(err.message, "no cats here");
	assert_false(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
	assert_false(has(fixture->store, TABLE_ANIMALS, "dog", "brown"));
}

static void insert_refuses_to_overwrite_and_append_to_go_back(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txn;
	struct bytes parts[2] = { text("gr"), text("ey") };
	txn_begin(&txn, fixture->store, TXN_WRITE);
	txn_append(&txn, TABLE_ANIMALS, text("cat"), parts, 2);
	MUST(txn_commit(&txn, &err));
	assert_true(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
	txn_begin(&txn, fixture->store, TXN_WRITE);
	txn_insert(&txn, TABLE_ANIMALS, text("cat"), text("black"));
	MUST_FAIL(txn_commit(&txn, &err), ZR_STATE);
	assert_non_null(strstr(err.message, "table animals, key 636174"));
	txn_begin(&txn, fixture->store, TXN_WRITE);
	txn_append(&txn, TABLE_ANIMALS, text("ape"), parts, 2);
	MUST_FAIL(txn_commit(&txn, &err), ZR_STATE);
	assert_true(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
}

static void neighbours_are_found_in_the_order_of_keys(void **state)
{
	struct fixture *fixture = *state;
	struct txn txn;
	struct bytes key, value;
	put(fixture->store, TABLE_ANIMALS, "b", "2");
	put(fixture->store, TABLE_ANIMALS, "d", "4");
	put(fixture->store, TABLE_ANIMALS, "f", "6");
	txn_begin(&txn, fixture->store, TXN_READ);
	assert_true(txn_first(&txn, TABLE_ANIMALS, &key, &value) && bytes_equal(value, text("2")));
	assert_true(txn_last(&txn, TABLE_ANIMALS, &key, &value) && bytes_equal(value, text("6")));
	assert_true(txn_at_or_after(&txn, TABLE_ANIMALS, text("d"), &key, &value));
	assert_true(bytes_equal(key, text("d")));
	assert_true(txn_at_or_after(&txn, TABLE_ANIMALS, text("c"), &key, NULL));
	assert_true(bytes_equal(key, text("d")));
	assert_false(txn_at_or_after(&txn, TABLE_ANIMALS, text("g"), &key, &value));
	assert_true(txn_after(&txn, TABLE_ANIMALS, text("d"), &key, &value));
	assert_true(bytes_equal(key, text("f")));
	assert_true(txn_after(&txn, TABLE_ANIMALS, text("e"), &key, &value));
	assert_true(bytes_equal(key, text("f")));
	assert_false(txn_after(&txn, TABLE_ANIMALS, text("f"), &key, &value));
	assert_true(txn_before(&txn, TABLE_ANIMALS, text("d"), &key, &value));
	assert_true(bytes_equal(key, text("b")));
	assert_true(txn_before(&txn, TABLE_ANIMALS, text("z"), &key, &value));
	assert_true(bytes_equal(key, text("f")));
	assert_false(txn_before(&txn, TABLE_ANIMALS, text("b"), &key, &value));
	assert_false(txn_first(&txn, TABLE_PLANTS, &key, &value));
	assert_false(txn_before(&txn, TABLE_PLANTS, text("b"), &key, &value));
	assert_int_equal(txn_row_count(&txn, TABLE_ANIMALS), 3);
	assert_true(txn_has(&txn, TABLE_ANIMALS, text("f")));
	assert_false(txn_has(&txn, TABLE_ANIMALS, text("e")));
	assert_true(txn_ok(&txn));
	txn_abort(&txn);
}

static void delete_says_whether_there_was_one(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txn;
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	txn_begin(&txn, fixture->store, TXN_WRITE);
	assert_true(txn_delete(&txn, TABLE_ANIMALS, text("cat")));
	assert_false(txn_delete(&txn, TABLE_ANIMALS, text("cat")));
	MUST(txn_commit(&txn, &err));
	assert_false(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
}

/* Changes the first `from` in the data file to `to`, of the same size. */
static void patch(const char *dir, const char *from, const char *to)
{
	char path[TEST_PATH_MAX + 16];
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	int fd = open(path, O_RDWR);
	static uint8_t file[1u << 20];
	ssize_t size = pread(fd, file, sizeof(file), 0);
	uint8_t *place = NULL;
	int count = 0;
	for (uint8_t *p = file; (p = memmem(p, (size_t)(file + size - p), from, strlen(from)));
	     p++) {
		assert_int_equal(pwrite(fd, to, strlen(to), p - file), strlen(to));
		place = p;
		count++;
	}
	assert_non_null(place);
	assert_true(count >= 1);
	close(fd);
}

static void a_changed_value_or_key_is_found_by_its_checksum(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txn;
	struct bytes value, key;
	put(fixture->store, TABLE_ANIMALS, "elephant", "a grey animal");
	store_close(fixture->store);
	fixture->store = NULL;
	patch(fixture->dir, "a grey animal", "a pink animal");
	open_again(fixture, 0);
	txn_begin(&txn, fixture->store, TXN_READ);
	assert_false(txn_get(&txn, TABLE_ANIMALS, text("elephant"), &value));
	MUST_FAIL(txn_commit(&txn, &err), ZR_CORRUPT);
	assert_non_null(strstr(err.message, "table animals, key 656c657068616e74"));
	store_close(fixture->store);
	fixture->store = NULL;
	patch(fixture->dir, "a pink animal", "a grey animal");
	patch(fixture->dir, "elephant", "elephanT");
	open_again(fixture, 0);
	txn_begin(&txn, fixture->store, TXN_READ);
	assert_false(txn_first(&txn, TABLE_ANIMALS, &key, &value));
	MUST_FAIL(txn_commit(&txn, &err), ZR_CORRUPT);
	assert_false(store_is_poisoned(fixture->store)); /* Damage is not a failing disk. */
}

/* The page of a long value, and the leaf of a short one, say in a few bytes which pages they are; LMDB frees
 * what they say. at: of the byte in the page's head; what: stands in the value, or the key. */
static void check_page_head_is_not_believed(struct fixture *fixture, const char *what, size_t at)
{
	struct err err;
	struct txn txn;
	char path[TEST_PATH_MAX + 16];
	static uint8_t file[1u << 20];
	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	int fd = open(path, O_RDWR);
	ssize_t size = pread(fd, file, sizeof(file), 0);
	assert_true(size > 0);
	uint8_t *place = NULL; /* The newest: older copies are on pages that are free. */
	for (uint8_t *found = file; found != NULL;) {
		found = memmem(found, (size_t)(file + size - found), what, strlen(what));
		if (found != NULL)
			place = found++;
	}
	assert_non_null(place);
	off_t head = (place - file) / 4096 * 4096;
	uint8_t before = file[(size_t)head + at], after = before ^ 4;
	assert_int_equal(pwrite(fd, &after, 1, head + (off_t)at), 1);
	open_again(fixture, 0);
	txn_begin(&txn, fixture->store, TXN_WRITE);
	(void)txn_delete(&txn, TABLE_ANIMALS, text("elephant"));
	MUST_FAIL(txn_commit(&txn, &err), ZR_CORRUPT);
	assert_true(
		store_is_poisoned(fixture->store)); /* Nothing more is changed in such a tree. */
	txn_begin(&txn, fixture->store, TXN_WRITE);
	MUST_FAIL(txn_commit(&txn, &err), ZR_IO);
	assert_int_equal(pwrite(fd, &before, 1, head + (off_t)at), 1);
	close(fd);
	open_again(fixture, 0);
	txn_begin(&txn, fixture->store, TXN_WRITE);
	assert_true(txn_delete(&txn, TABLE_ANIMALS, text("elephant")));
	MUST(txn_commit(&txn, &err));
}

static void pages_that_are_not_a_rows_own_are_not_freed_with_it(void **state)
{
	struct fixture *fixture = *state;
	char value[9001];
	memset(value, 'x', sizeof(value) - 1);
	memcpy(value, "a long and grey animal", 22);
	value[sizeof(value) - 1] = '\0';
	put(fixture->store, TABLE_ANIMALS, "elephant", value);
	check_page_head_is_not_believed(fixture, "a long and grey animal", sizeof(size_t) + 4);
	put(fixture->store, TABLE_ANIMALS, "elephant", value);
	check_page_head_is_not_believed(fixture, "a long and grey animal", 0);
	put(fixture->store, TABLE_ANIMALS, "elephant", value);
	check_page_head_is_not_believed(fixture, "elephant", 0);
}

static void a_full_store_takes_nothing_more_but_deletes_and_goes_on(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	static uint8_t value[8000];
	uint64_t count = 0;
	for (bool ok = true; ok;) {
		struct txn txn;
		uint8_t key[8];
		put_be64(key, count);
		txn_begin(&txn, fixture->store, TXN_WRITE);
		txn_insert(&txn, TABLE_ANIMALS, BYTES_OF(key), BYTES_OF(value));
		ok = txn_commit(&txn, &err);
		count += ok;
	}
	assert_int_equal(err.code, ZR_FULL);
	assert_false(store_is_poisoned(fixture->store));
	assert_true(count > 60);

	struct store_stats stats;
	MUST(store_stats(fixture->store, &stats, &err));
	assert_int_equal(stats.row_counts[TABLE_ANIMALS], count);
	assert_true(stats.pages_file <= stats.pages_limit);
	for (uint64_t i = 0; i < 10; i++) {
		struct txn txn;
		uint8_t key[8];
		put_be64(key, i);
		txn_begin(&txn, fixture->store, TXN_WRITE);
		assert_true(txn_delete(&txn, TABLE_ANIMALS, BYTES_OF(key)));
		MUST(txn_commit(&txn, &err));
	}
	struct store_stats after;
	MUST(store_stats(fixture->store, &after, &err));
	assert_true(after.pages_free >= stats.pages_free + 10);
	put(fixture->store, TABLE_PLANTS, "rose", "red");
}

static void a_store_may_be_opened_with_a_larger_or_a_smaller_limit(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct store_stats stats;
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	open_again(fixture, 2u << 20);
	put(fixture->store, TABLE_ANIMALS, "dog", "brown");
	MUST(store_stats(fixture->store, &stats, &err));
	assert_int_equal(stats.pages_limit, (2u << 20) / stats.page_size);
	open_again(fixture, 0); /* It stays so large. */
	MUST(store_stats(fixture->store, &stats, &err));
	assert_int_equal(stats.pages_limit, (2u << 20) / stats.page_size);
	char path[TEST_PATH_MAX + 16];
	struct stat file;
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->dir);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_size, 2u << 20);
	assert_true(file.st_blocks * 512 >= 2 << 20);
	open_again(fixture, 512u << 10);
	MUST(store_stats(fixture->store, &stats, &err));
	assert_int_equal(stats.pages_limit, (512u << 10) / stats.page_size);
	assert_true(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
	assert_true(has(fixture->store, TABLE_ANIMALS, "dog", "brown"));
}

struct fault {
	const char *point;
	unsigned skip; /* So many calls pass first. */
	int rc;
};

static int inject(const char *point, void *arg)
{
	struct fault *fault = arg;
	if (strcmp(point, fault->point) != 0)
		return 0;
	if (fault->skip > 0) {
		fault->skip--;
		return 0;
	}
	return fault->rc;
}

static void after_a_failed_commit_nothing_is_tried_again(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txn;
	struct fault fault = { "commit", 0, EIO };
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	store_set_fault(fixture->store, inject, &fault);
	txn_begin(&txn, fixture->store, TXN_WRITE);
	txn_put(&txn, TABLE_ANIMALS, text("dog"), text("brown"));
	MUST_FAIL(txn_commit(&txn, &err), ZR_IO);
	assert_true(store_is_poisoned(fixture->store));
	store_set_fault(fixture->store, NULL, NULL);

	struct bytes value;
	struct store_stats stats;
	txn_begin(&txn, fixture->store, TXN_READ);
	assert_false(txn_get(&txn, TABLE_ANIMALS, text("cat"), &value));
	MUST_FAIL(txn_commit(&txn, &err), ZR_IO);
	txn_begin(&txn, fixture->store, TXN_WRITE);
	MUST_FAIL(txn_commit(&txn, &err), ZR_IO);
	MUST_FAIL(store_stats(fixture->store, &stats, &err), ZR_IO);

	open_again(fixture, 0); /* As a new process would. */
	assert_true(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
	assert_false(has(fixture->store, TABLE_ANIMALS, "dog", "brown"));
}

static void a_failure_of_any_step_fails_the_transaction_and_stores_nothing(void **state)
{
	struct fixture *fixture = *state;
	static const struct fault faults[] = {
		{ "begin", 0, ENOMEM }, { "get", 0, ENOMEM },    { "put", 0, ENOMEM },
		{ "put", 1, ENOMEM },   { "delete", 0, ENOMEM }, { "commit", 0, ENOMEM },
	};
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct err err;
		struct txn txn;
		struct bytes value;
		struct fault fault = faults[i];
		store_set_fault(fixture->store, inject, &fault);
		txn_begin(&txn, fixture->store, TXN_WRITE);
		(void)txn_get(&txn, TABLE_ANIMALS, text("cat"), &value);
		txn_put(&txn, TABLE_ANIMALS, text("dog"), text("brown"));
		txn_put(&txn, TABLE_ANIMALS, text("cat"), text("black"));
		txn_delete(&txn, TABLE_ANIMALS, text("cat"));
		MUST_FAIL(txn_commit(&txn, &err), ZR_NO_MEMORY);
		store_set_fault(fixture->store, NULL, NULL);
		assert_false(store_is_poisoned(fixture->store));
		assert_true(has(fixture->store, TABLE_ANIMALS, "cat", "grey"));
		assert_false(has(fixture->store, TABLE_ANIMALS, "dog", "brown"));
	}
}

static void too_many_readers_are_refused_and_the_oldest_is_told(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct txn txns[STORE_READERS_MAX], one_more;
	struct store_stats stats;
	for (size_t i = 0; i < STORE_READERS_MAX; i++) {
		txn_begin(&txns[i], fixture->store, TXN_READ);
		assert_true(txn_ok(&txns[i]));
	}
	txn_begin(&one_more, fixture->store, TXN_READ);
	MUST_FAIL(txn_commit(&one_more, &err), ZR_FULL);
	usleep(20000);
	put(fixture->store, TABLE_ANIMALS, "cat", "grey");
	put(fixture->store, TABLE_ANIMALS, "cat", "black");
	MUST(store_stats(fixture->store, &stats, &err));
	assert_int_equal(stats.reader_count, STORE_READERS_MAX);
	assert_true(stats.reader_oldest_ms >= 20);
	assert_int_equal(stats.reader_lag_commits, 2);
	for (size_t i = 0; i < STORE_READERS_MAX; i++)
		txn_abort(&txns[i]);
	MUST(store_stats(fixture->store, &stats, &err));
	assert_int_equal(stats.reader_count, 0);
	assert_int_equal(stats.reader_lag_commits, 0);
	assert_int_equal(stats.reader_oldest_ms, 0);
}

static void readers_whose_process_died_are_cleared(void **state)
{
	struct fixture *fixture = *state;
	pid_t child = fork();
	if (child == 0) {
		struct err err;
		struct store *store;
		struct txn txn;
		struct store_options options = { .dir = fixture->dir,
			                         .format = &format,
			                         .mode = STORE_READ };
		if (!store_open(&store, &options, &err))
			_exit(1);
		txn_begin(&txn, store, TXN_READ);
		_exit(txn_ok(&txn) ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(store_clear_dead_readers(fixture->store), 1);
	assert_int_equal(store_clear_dead_readers(fixture->store), 0);
}

static void check_owner(const char *dir, const char *name, uid_t owner)
{
	char path[TEST_PATH_MAX + 16];
	struct stat file;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_uid, owner);
	assert_int_equal(file.st_gid, owner);
}

static void what_root_makes_belongs_to_whom_the_folder_belongs(void **state)
{
	if (geteuid() != 0) {
		print_message("skipped: only root can give files away\n");
		skip();
	}
	struct fixture fixture = { .store = NULL };
	char parent[TEST_PATH_MAX];
	fresh_path(parent);
	assert_int_equal(mkdir(parent, 0700), 0);
	assert_int_equal(chown(parent, 12345, 12345), 0);
	snprintf(fixture.dir, sizeof(fixture.dir), "%.200s/spool", parent);
	create(&fixture, 1u << 20, true);
	open_again(&fixture, 0);
	check_owner(parent, "spool", 12345);
	check_owner(fixture.dir, "data.mdb", 12345);
	check_owner(fixture.dir, "lock.mdb", 12345);
	check_owner(fixture.dir, "owner.lock", 12345);
	store_close(fixture.store);
	temp_folder_remove(fixture.dir);
	rmdir(parent);
}

/* A folder on a small tmpfs, or false where this process may not mount one. */
static bool mount_small(char path[static TEST_PATH_MAX], const char *size)
{
	fresh_path(path);
	if (mkdir(path, 0700) != 0)
		abort();
	if (mount("tmpfs", path, "tmpfs", 0, size) == 0)
		return true;
	rmdir(path);
	return false;
}

static void fill_disk(const char *dir, const char *name, size_t leave_bytes)
{
	char path[TEST_PATH_MAX + 32];
	static uint8_t zeros[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	off_t size = 0;
	for (ssize_t part; (part = write(fd, zeros, sizeof(zeros))) > 0;)
		size += part;
	assert_int_equal(ftruncate(fd, size - (off_t)leave_bytes), 0);
	close(fd);
}

static void a_full_disk_stops_a_growing_store_without_harm_and_it_resumes(void **state)
{
	char mounted[TEST_PATH_MAX], filler[TEST_PATH_MAX + 32];
	if (!mount_small(mounted, "size=4m")) {
		print_message("skipped: no right to mount a tmpfs here\n");
		skip();
	}
	struct fixture on_disk = { .store = NULL };
	snprintf(on_disk.dir, sizeof(on_disk.dir), "%.200s/store", mounted);
	create(&on_disk, 64u << 20, false);
	open_again(&on_disk, 0);
	put(on_disk.store, TABLE_ANIMALS, "cat", "grey");
	fill_disk(mounted, "filler", 0);

	/* Allocated ahead a little; then the disk says no before anything is written. */
	struct err err = { .code = ZR_OK };
	uint32_t count = 0;
	for (bool ok = true; ok && count < 10000; count += ok) {
		struct txn txn;
		uint8_t key[4], value[3000] = { 1 };
		put_be32(key, count);
		txn_begin(&txn, on_disk.store, TXN_WRITE);
		txn_insert(&txn, TABLE_PLANTS, BYTES_OF(key), BYTES_OF(value));
		ok = txn_commit(&txn, &err);
	}
	assert_int_equal(err.code, ZR_FULL);
	assert_true(count < 10000);
	assert_false(store_is_poisoned(on_disk.store));
	assert_true(has(on_disk.store, TABLE_ANIMALS, "cat", "grey"));

	snprintf(filler, sizeof(filler), "%s/filler", mounted);
	assert_int_equal(unlink(filler), 0);
	put(on_disk.store, TABLE_ANIMALS, "dog", "brown");
	open_again(&on_disk, 0);
	assert_true(has(on_disk.store, TABLE_ANIMALS, "dog", "brown"));
	struct store_stats stats;
	MUST(store_stats(on_disk.store, &stats, &err));
	assert_int_equal(stats.row_counts[TABLE_PLANTS], count);
	store_close(on_disk.store);
	assert_int_equal(umount(mounted), 0);
	rmdir(mounted);
}

static void creation_on_a_disk_without_room_is_refused_and_leaves_nothing(void **state)
{
	char mounted[TEST_PATH_MAX], dir[TEST_PATH_MAX];
	if (!mount_small(mounted, "size=2m")) {
		print_message("skipped: no right to mount a tmpfs here\n");
		skip();
	}
	struct err err;
	snprintf(dir, sizeof(dir), "%.200s/store", mounted);
	MUST_FAIL(store_create(&(struct store_create_options){ .dir = dir,
	                                                       .format = &format,
	                                                       .size_bytes = 16u << 20,
	                                                       .allocate = true },
	                       &err),
	          ZR_FULL);
	assert_false(store_exists(dir));
	temp_folder_remove(dir);
	assert_int_equal(umount(mounted), 0);
	rmdir(mounted);
}

static void impossible_sizes_are_refused(void **state)
{
	char dir[TEST_PATH_MAX];
	struct err err;
	fresh_path(dir);
	struct store_create_options options = { .dir = dir, .format = &format, .size_bytes = 4096 };
	MUST_FAIL(store_create(&options, &err), ZR_INVALID);
	options.size_bytes = UINT64_MAX;
	MUST_FAIL(store_create(&options, &err), ZR_INVALID);
	assert_false(store_exists(dir));
}

/* ---- kill -9 at any moment ---- */

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Appends numbered rows and tells each through fd, once it is committed. */
static void append_for_ever(const char *dir, uint64_t seed, int fd)
{
	struct err err;
	struct store *store;
	struct store_options options = { .dir = dir, .format = &format, .mode = STORE_WRITE };
	if (!store_open(&store, &options, &err))
		_exit(2);
	struct txn txn;
	txn_begin(&txn, store, TXN_READ);
	uint64_t count = txn_row_count(&txn, TABLE_ANIMALS);
	txn_abort(&txn);
	for (;;) {
		if (count > 40000)
			pause(); /* Enough for this store; wait to be killed. */
		uint64_t group = 1 + next_random(&seed) % 5;
		txn_begin(&txn, store, TXN_WRITE);
		for (uint64_t i = 0; i < group; i++, count++) {
			uint8_t key[8], value[900];
			put_be64(key, count);
			memset(value, (int)count, sizeof(value));
			struct bytes part = BYTES_OF(value);
			txn_append(&txn, TABLE_ANIMALS, BYTES_OF(key), &part, 1);
		}
		if (!txn_commit(&txn, &err))
			_exit(3);
		if (write(fd, &count, sizeof(count)) != sizeof(count))
			_exit(4);
	}
}

static uint64_t check_prefix(struct store *store, uint64_t acked)
{
	struct txn txn;
	struct bytes value;
	txn_begin(&txn, store, TXN_READ);
	uint64_t count = txn_row_count(&txn, TABLE_ANIMALS);
	assert_true(count >= acked);
	for (uint64_t i = 0; i < count; i++) {
		uint8_t key[8];
		put_be64(key, i);
		assert_true(txn_get(&txn, TABLE_ANIMALS, BYTES_OF(key), &value));
		assert_int_equal(value.size, 900);
		assert_int_equal(value.data[899], (uint8_t)i);
	}
	txn_abort(&txn);
	return count;
}

static void every_commit_that_was_told_survives_sigkill(void **state)
{
	struct fixture *fixture = *state;
	uint64_t seed = (uint64_t)getpid() * 2654435761u + 1;
	print_message("seed %llu\n", (unsigned long long)seed);
	store_close(fixture->store);
	fixture->store = NULL;
	uint64_t acked = 0;
	temp_folder_remove(fixture->dir);
	create(fixture, 64u << 20, true);
	for (int round = 0; round < 30; round++) {
		int fds[2];
		assert_int_equal(pipe(fds), 0);
		uint64_t child_seed = next_random(&seed) | 1;
		pid_t child = fork();
		if (child == 0)
			append_for_ever(fixture->dir, child_seed, fds[1]);
		close(fds[1]);
		usleep((useconds_t)(next_random(&seed) % 25000));
		assert_int_equal(kill(child, SIGKILL), 0);
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		for (uint64_t count; read(fds[0], &count, sizeof(count)) == sizeof(count);)
			acked = count;
		close(fds[0]);
		open_again(fixture, 0);
		acked = check_prefix(fixture->store, acked);
		store_close(fixture->store);
		fixture->store = NULL;
	}
	assert_true(acked > 0);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(what_was_committed_is_there_after_opening_again),
		WITH_STORE(an_allocated_store_has_its_disk_space_from_the_beginning),
		WITH_STORE(a_second_store_is_not_created_over_the_first),
		WITH_STORE(a_creation_that_was_cut_short_is_no_store_and_is_done_over),
		cmocka_unit_test(a_missing_store_is_refused_and_told_apart),
		WITH_STORE(a_second_opener_is_refused_and_told_who_has_it),
		WITH_STORE(another_process_reads_beside_the_owner),
		WITH_STORE(another_version_or_format_is_refused_naming_both),
		WITH_STORE(an_emptied_or_cut_or_foreign_file_is_damage_not_a_new_store),
		WITH_STORE(an_old_commit_is_not_taken_for_the_newest),
		WITH_STORE(nothing_of_an_aborted_or_failed_transaction_is_stored),
		WITH_STORE(insert_refuses_to_overwrite_and_append_to_go_back),
		WITH_STORE(neighbours_are_found_in_the_order_of_keys),
		WITH_STORE(delete_says_whether_there_was_one),
		WITH_STORE(a_changed_value_or_key_is_found_by_its_checksum),
		WITH_STORE(pages_that_are_not_a_rows_own_are_not_freed_with_it),
		WITH_STORE(a_full_store_takes_nothing_more_but_deletes_and_goes_on),
		WITH_STORE(a_store_may_be_opened_with_a_larger_or_a_smaller_limit),
		WITH_STORE(after_a_failed_commit_nothing_is_tried_again),
		WITH_STORE(a_failure_of_any_step_fails_the_transaction_and_stores_nothing),
		WITH_STORE(too_many_readers_are_refused_and_the_oldest_is_told),
		WITH_STORE(readers_whose_process_died_are_cleared),
		cmocka_unit_test(what_root_makes_belongs_to_whom_the_folder_belongs),
		cmocka_unit_test(a_full_disk_stops_a_growing_store_without_harm_and_it_resumes),
		cmocka_unit_test(creation_on_a_disk_without_room_is_refused_and_leaves_nothing),
		cmocka_unit_test(impossible_sizes_are_refused),
		WITH_STORE(every_commit_that_was_told_survives_sigkill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
