/* What of a store is in its folders, not in its file: the entry under its name, and the folder's own
 * in its parent. A power cut takes both back unless the folder was synced, whatever was synced of the
 * file. The program's own fsync() and rename() come before the C library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/syscall.h>

#include "spool/store.h"
#include "tests/unit/store_fixture.h"

#define EVENTS_MAX 32

enum event { EVENT_SYNC_FILE, EVENT_SYNC_FOLDER, EVENT_SYNC_PARENT, EVENT_RENAME };

static struct recording {
	bool on;
	char dir[TEST_PATH_MAX], parent[TEST_PATH_MAX];
	enum event fails; /* This one fails, if fails_with is set. */
	int fails_with;
	enum event events[EVENTS_MAX];
	size_t count;
} recording;

static bool is_folder(const struct stat *file, const char *path)
{
	struct stat folder;
	return stat(path, &folder) == 0 && folder.st_ino == file->st_ino &&
	       folder.st_dev == file->st_dev;
}

/* The result of the call, or -1 where it is to fail. */
static long record(enum event event, long number, long a, long b)
{
	if (recording.on) {
		assert_true(recording.count < EVENTS_MAX);
		recording.events[recording.count++] = event;
		if (recording.fails_with != 0 && recording.fails == event) {
			errno = recording.fails_with;
			return -1;
		}
	}
	return syscall(number, a, b);
}

int our_fsync(int fd) __asm__("fsync");
int our_rename(const char *from, const char *to) __asm__("rename");

int our_fsync(int fd)
{
	struct stat file;
	enum event event = EVENT_SYNC_FILE;
	assert_int_equal(fstat(fd, &file), 0);
	if (recording.on && is_folder(&file, recording.dir))
		event = EVENT_SYNC_FOLDER;
	else if (recording.on && is_folder(&file, recording.parent))
		event = EVENT_SYNC_PARENT;
	return (int)record(event, SYS_fsync, fd, 0);
}

int our_rename(const char *from, const char *to)
{
	assert_string_not_equal(from, to);
	return (int)record(EVENT_RENAME, SYS_rename, (long)(uintptr_t)from, (long)(uintptr_t)to);
}

/* ---- a store in a folder of its own, in a folder of its own ---- */

static const char *const tables[] = { "one" };
static const struct store_format format = {
	.name = "test", .version = 1, .tables = tables, .table_count = 1
};

static void begin(void)
{
	memset(&recording, 0, sizeof(recording));
	fresh_path(recording.parent);
	assert_int_equal(mkdir(recording.parent, 0700), 0);
	(void)snprintf(recording.dir, sizeof(recording.dir), "%.200s/store", recording.parent);
	recording.on = true;
}

static void end(void)
{
	recording.on = false;
	temp_folder_remove(recording.dir);
	temp_folder_remove(recording.parent);
}

static bool create(struct err *err)
{
	const struct store_create_options options = { .dir = recording.dir,
		                                      .format = &format,
		                                      .size_bytes = 1 << 20 };
	return store_create(&options, err);
}

static bool open_it(struct err *err)
{
	const struct store_options options = { .dir = recording.dir,
		                               .format = &format,
		                               .mode = STORE_WRITE };
	struct store *store;
	if (!store_open(&store, &options, err))
		return false;
	store_close(store);
	return true;
}

/* Where the event is for the first time from `from` on. */
static size_t place_of(enum event event, size_t from)
{
	for (size_t i = from; i < recording.count; i++) {
		if (recording.events[i] == event)
			return i;
	}
	fail_msg("event %d did not happen after %zu others", (int)event, from);
	return 0;
}

static void a_new_store_is_in_its_folders_before_it_is_told(void **state)
{
	struct err err;
	begin();
	assert_true(create(&err));
	size_t renamed = place_of(EVENT_RENAME, 0);
	assert_true(place_of(EVENT_SYNC_FILE, 0) < renamed);
	(void)place_of(EVENT_SYNC_FOLDER, renamed);
	/* Before: killed in between, it is found by its name, and nobody syncs the parent again. */
	assert_true(place_of(EVENT_SYNC_PARENT, 0) < renamed);
	end();
}

/* Whoever made it may have died between the rename and the sync of the folder. */
static void opening_syncs_the_folder_too(void **state)
{
	struct err err;
	begin();
	assert_true(create(&err));
	recording.count = 0;
	assert_true(open_it(&err));
	(void)place_of(EVENT_SYNC_FOLDER, 0);
	end();
}

static void a_folder_that_cannot_be_synced_is_a_failure(void **state)
{
	static const enum event events[] = { EVENT_SYNC_FOLDER, EVENT_SYNC_PARENT };
	for (size_t i = 0; i < 2; i++) {
		struct err err;
		begin();
		recording.fails = events[i];
		recording.fails_with = EIO;
		assert_false(create(&err));
		assert_int_equal(err.code, ZR_IO);
		end();
	}
	struct err err;
	begin();
	assert_true(create(&err));
	recording.fails = EVENT_SYNC_FOLDER;
	recording.fails_with = EIO;
	assert_false(open_it(&err));
	assert_int_equal(err.code, ZR_IO);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_store_is_in_its_folders_before_it_is_told),
		cmocka_unit_test(opening_syncs_the_folder_too),
		cmocka_unit_test(a_folder_that_cannot_be_synced_is_a_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
