#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/file.h"
#include "tests/lib/temp_folder.h"

static char folder[96];

static int make_folder(void **state)
{
	temp_folder_make(folder, sizeof(folder));
	return 0;
}

static int remove_folder(void **state)
{
	return rmdir(folder); /* Fails where a test, or what it tests, left something. */
}

static const char *in_folder(const char *name)
{
	static char path[128];
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void a_file_is_read_as_it_was_written(void **state)
{
	static const size_t sizes[] = { 0, 1, 4096, 65535, 65536, 65537, 200000 };
	uint8_t *data = malloc(200000);
	for (size_t i = 0; i < 200000; i++)
		data[i] = (uint8_t)(i * 7 / 3);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct buffer read = BUFFER_EMPTY;
		struct err err;
		const char *path = in_folder("data");
		struct bytes bytes = { data, sizes[i] };
		assert_true(file_write_atomic(path, bytes, 0640, &err));
		assert_true(
			file_read(path, sizes[i], &read, &err)); /* Exactly as large as allowed. */
		assert_true(bytes_equal(buffer_bytes(&read), bytes));
		if (sizes[i] > 0) {
			buffer_clear(&read);
			assert_false(file_read(path, sizes[i] - 1, &read, &err));
			assert_int_equal(err.code, ZR_FULL);
			assert_non_null(strstr(err.message, path));
		}
		buffer_fini(&read);
		assert_int_equal(unlink(path), 0);
	}
	free(data);
}

static void what_was_read_is_appended(void **state)
{
	struct buffer read = BUFFER_EMPTY;
	struct err err;
	const char *path = in_folder("data");
	assert_true(file_write_atomic(path, BYTES_LITERAL("tail"), 0600, &err));
	buffer_put(&read, BYTES_LITERAL("head "));
	assert_true(file_read(path, 100, &read, &err));
	assert_true(bytes_equal(buffer_bytes(&read), BYTES_LITERAL("head tail")));
	buffer_fini(&read);
	assert_int_equal(unlink(path), 0);
}

static void a_file_has_the_mode_that_was_asked_for(void **state)
{
	struct stat info;
	struct err err;
	const char *path = in_folder("secret");
	mode_t old = umask(077);
	assert_true(file_write_atomic(path, BYTES_LITERAL("a"), 0644, &err));
	(void)umask(0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0644);
	assert_true(file_write_atomic(path, BYTES_LITERAL("b"), 0600, &err));
	(void)umask(old);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	assert_int_equal(unlink(path), 0);
}

static void a_new_content_replaces_the_old_and_leaves_nothing_behind(void **state)
{
	struct buffer read = BUFFER_EMPTY;
	struct err err;
	const char *path = in_folder("data");
	assert_true(file_write_atomic(path, BYTES_LITERAL("a long old content"), 0600, &err));
	/* What a crash left: longer than the new content. */
	FILE *left = fopen(in_folder("data.tmp"), "w");
	(void)fputs("the remains of a write that was cut off in its middle", left);
	(void)fclose(left);
	path = in_folder("data");
	assert_true(file_write_atomic(path, BYTES_LITERAL("new"), 0600, &err));
	assert_true(file_read(path, 100, &read, &err));
	assert_true(bytes_equal(buffer_bytes(&read), BYTES_LITERAL("new")));
	buffer_fini(&read);
	assert_int_equal(unlink(path), 0);
	assert_int_not_equal(access(in_folder("data.tmp"), F_OK), 0);
}

static void a_link_in_place_of_the_temporary_file_is_not_followed(void **state)
{
	struct err err;
	assert_int_equal(symlink("/tmp/zr-test-file-elsewhere", in_folder("data.tmp")), 0);
	assert_false(file_write_atomic(in_folder("data"), BYTES_LITERAL("x"), 0600, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_int_not_equal(access("/tmp/zr-test-file-elsewhere", F_OK), 0);
}

static void a_failure_says_which_file_and_why(void **state)
{
	struct buffer read = BUFFER_EMPTY;
	struct err err;
	assert_false(file_read("/nonexistent/file", 10, &read, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_string_equal(err.message, "/nonexistent/file: open: No such file or directory");
	assert_false(file_read(folder, 10, &read, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_non_null(strstr(err.message, "read: Is a directory"));
	assert_false(file_write_atomic("/nonexistent/file", BYTES_LITERAL("x"), 0600, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	/* A folder cannot be replaced; and what was written beside it is taken back. */
	const char *path = in_folder("child");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(file_write_atomic(path, BYTES_LITERAL("x"), 0600, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_non_null(strstr(err.message, "rename: "));
	assert_int_equal(rmdir(in_folder("child")), 0);
	assert_int_not_equal(access(in_folder("child.tmp"), F_OK), 0);
	buffer_fini(&read);
}

static void a_write_that_fails_in_its_middle_is_taken_back(void **state)
{
	struct rlimit saved;
	struct buffer read = BUFFER_EMPTY;
	struct err err;
	uint8_t *data = calloc(1, 100000);
	const char *path = in_folder("data");
	assert_true(file_write_atomic(path, BYTES_LITERAL("old"), 0600, &err));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
	struct rlimit low = { .rlim_cur = 50000, .rlim_max = saved.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	bool ok = file_write_atomic(path, (struct bytes){ data, 100000 }, 0600, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
	assert_false(ok);
	assert_int_equal(err.code, ZR_IO);
	assert_true(file_read(path, 100, &read, &err));
	assert_true(bytes_equal(buffer_bytes(&read), BYTES_LITERAL("old")));
	buffer_fini(&read);
	free(data);
	assert_int_equal(unlink(path), 0);
	assert_int_not_equal(access(in_folder("data.tmp"), F_OK), 0);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
	struct err err;
	char path[5000];
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_false(file_write_atomic(path, BYTES_LITERAL("x"), 0600, &err));
	assert_int_equal(err.code, ZR_INVALID);
}

static void a_file_written_piece_by_piece_has_its_name_when_it_is_whole(void **state)
{
	struct err err;
	struct file_out out;
	struct buffer read = BUFFER_EMPTY;
	char path[128];
	(void)snprintf(path, sizeof(path), "%s", in_folder("data"));
	/* Of an attempt that was cut short: longer than what comes now. */
	assert_true(file_write_atomic(in_folder("data.tmp"), BYTES_LITERAL("0123456"), 0600, &err));
	assert_true(file_begin(&out, path, 0640, &err));
	assert_int_equal(write(out.fd, "one ", 4), 4);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(write(out.fd, "two", 3), 3);
	assert_true(file_finish(&out, &err));
	assert_true(file_read(path, 100, &read, &err));
	assert_true(bytes_equal(buffer_bytes(&read), BYTES_LITERAL("one two")));
	buffer_fini(&read);
	assert_int_not_equal(access(in_folder("data.tmp"), F_OK), 0);

	assert_false(file_begin(&out, path, 0640, &err));
	assert_int_equal(err.code, ZR_STATE);
	assert_int_equal(unlink(path), 0);
	assert_true(file_begin(&out, path, 0640, &err));
	file_abandon(&out);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_not_equal(access(in_folder("data.tmp"), F_OK), 0);
	assert_false(file_begin(&out, "/nowhere/data", 0640, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_read_as_it_was_written),
		cmocka_unit_test(what_was_read_is_appended),
		cmocka_unit_test(a_file_has_the_mode_that_was_asked_for),
		cmocka_unit_test(a_new_content_replaces_the_old_and_leaves_nothing_behind),
		cmocka_unit_test(a_link_in_place_of_the_temporary_file_is_not_followed),
		cmocka_unit_test(a_failure_says_which_file_and_why),
		cmocka_unit_test(a_write_that_fails_in_its_middle_is_taken_back),
		cmocka_unit_test(a_path_that_is_too_long_is_refused),
		cmocka_unit_test(a_file_written_piece_by_piece_has_its_name_when_it_is_whole),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
