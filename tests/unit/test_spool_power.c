/* The power is cut at any moment. Everything that LMDB writes and syncs during a gateway's life is
 * recorded here (the program's own pwrite(), writev() and fdatasync() come before the C library's);
 * then disks are made as they could have been left: what was synced, and of what was not any part,
 * sector by sector. Each is opened by the real code. What was told must be there, every invariant
 * must hold, and the same replay with the syncs left out must be found broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/unit/spool_life.h"

#define STORE_BYTES (4u << 20)
#define EVENTS_MAX  4096
#define STEPS       120
#define SECTOR      512

enum event_kind {
	EVENT_WRITE,
	EVENT_SYNC,
	EVENT_TOLD,
};

struct event {
	enum event_kind kind;
	off_t offset;
	size_t size;
	uint8_t *bytes;
	bool durable; /* On a descriptor with O_DSYNC: when it returns, it is on the disk. */
	struct told told;
};

static struct recording {
	bool on;
	ino_t inode; /* Of data.mdb. */
	struct event events[EVENTS_MAX];
	size_t count;
	size_t write_count, sync_count;
} recording;

/* ---- recording ---- */

static bool is_recorded(int fd)
{
	struct stat file;
	return recording.on && fstat(fd, &file) == 0 && file.st_ino == recording.inode;
}

static struct event *add_event(enum event_kind kind)
{
	if (recording.count == EVENTS_MAX)
		abort();
	struct event *event = &recording.events[recording.count++];
	*event = (struct event){ .kind = kind };
	return event;
}

static void record_write(int fd, const void *bytes, size_t size, off_t offset)
{
	struct event *event = add_event(EVENT_WRITE);
	event->bytes = malloc(size);
	if (event->bytes == NULL)
		abort();
	memcpy(event->bytes, bytes, size);
	event->size = size;
	event->offset = offset;
	event->durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
	recording.write_count++;
}

/* By their names in the library that LMDB is linked with; <unistd.h> may rename ours. */
ssize_t our_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite");
ssize_t our_pwrite64(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");
ssize_t our_writev(int fd, const struct iovec *parts, int count) __asm__("writev");
int our_fdatasync(int fd) __asm__("fdatasync");

ssize_t our_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	if (is_recorded(fd))
		record_write(fd, bytes, size, offset);
	return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t our_pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
	return our_pwrite(fd, bytes, size, offset);
}

ssize_t our_writev(int fd, const struct iovec *parts, int count)
{
	if (is_recorded(fd)) {
		off_t offset = lseek(fd, 0, SEEK_CUR);
		for (int i = 0; i < count; i++) {
			record_write(fd, parts[i].iov_base, parts[i].iov_len, offset);
			offset += (off_t)parts[i].iov_len;
		}
	}
	return syscall(SYS_writev, fd, parts, count);
}

int our_fdatasync(int fd)
{
	if (is_recorded(fd)) {
		add_event(EVENT_SYNC);
		recording.sync_count++;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void record_told(struct life *life)
{
	add_event(EVENT_TOLD)->told = life->told;
}

/* ---- a life, recorded ---- */

static uint8_t *read_disk(const char *dir)
{
	char path[TEST_PATH_MAX + 16];
	uint8_t *disk = calloc(1, STORE_BYTES);
	struct stat file;
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	int fd = open(path, O_RDONLY);
	assert_non_null(disk);
	assert_int_equal(fstat(fd, &file), 0);
	assert_int_equal(file.st_size, STORE_BYTES);
	assert_int_equal(read(fd, disk, STORE_BYTES), STORE_BYTES);
	close(fd);
	recording.inode = file.st_ino;
	return disk;
}

/* Gives the disk as it was before. */
static uint8_t *record_life(uint64_t seed)
{
	struct fixture fixture = { .spool = NULL };
	struct err err;
	fresh_path(fixture.dir);
	MUST(spool_create(&(struct spool_create_options){ .dir = fixture.dir,
	                                                  .size_bytes = STORE_BYTES,
	                                                  .allocate = true,
	                                                  .now_ms = TEST_TIME_MS },
	                  &err));
	open_spool(&fixture);
	life_add_chains(&fixture);
	spool_close(fixture.spool);
	uint8_t *disk = read_disk(fixture.dir);
	struct life life = { .seed = seed, .tell = record_told };
	recording.count = 0;
	recording.on = true;
	life_open(&life, fixture.dir);
	for (int i = 0; i < STEPS; i++)
		life_step(&life);
	recording.on = false;
	spool_close(life.fixture.spool);
	remove_folder(fixture.dir);
	return disk;
}

/* ---- replaying ---- */

struct replay {
	uint64_t seed;
	bool without_syncs; /* As if nothing was ever synced. */
	uint8_t *disk;      /* What is certainly there. */
	uint8_t *image;
	size_t pending[EVENTS_MAX];
	size_t pending_count;
	struct told told;
	char dir[TEST_PATH_MAX];
	int image_count, broken_count;
};

static void apply(uint8_t *disk, const struct event *event)
{
	assert_true(event->offset + (off_t)event->size <= (off_t)STORE_BYTES);
	memcpy(disk + event->offset, event->bytes, event->size);
}

/* Some of its sectors, each as a whole or not at all. */
static void apply_torn(uint8_t *disk, const struct event *event, uint64_t *seed)
{
	off_t end = event->offset + (off_t)event->size;
	for (off_t at = event->offset; at < end;) {
		off_t next = (at / SECTOR + 1) * SECTOR;
		if (next > end)
			next = end;
		if (life_random(seed) % 2 == 0)
			memcpy(disk + at, event->bytes + (at - event->offset), (size_t)(next - at));
		at = next;
	}
}

static void apply_maybe(struct replay *replay, const struct event *event)
{
	switch (life_random(&replay->seed) % 3) {
	case 0:
		apply(replay->image, event);
		break;
	case 1:
		apply_torn(replay->image, event, &replay->seed);
		break;
	default:
		break;
	}
}

static void write_image(const struct replay *replay)
{
	char path[TEST_PATH_MAX + 16];
	snprintf(path, sizeof(path), "%s/data.mdb", replay->dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, replay->image, STORE_BYTES), STORE_BYTES);
	close(fd);
}

/* In a child: a broken tree may crash LMDB. */
static bool image_is_good(const struct replay *replay, bool quiet)
{
	pid_t child = fork();
	if (child == 0) {
		struct err err;
		struct spool *spool;
		struct spool_verify_result result;
		struct spool_options options = { .dir = replay->dir, .mode = STORE_WRITE };
		signal(SIGBUS, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		alarm(20);
		if (quiet)
			(void)!freopen("/dev/null", "w", stderr);
		if (!spool_open(&spool, &options, &err)) {
			fprintf(stderr, "open: %s\n", err.message);
			_exit(1);
		}
		bool good = life_holds(spool, &replay->told);
		spool_close(spool);
		good = good &&
		       spool_verify(replay->dir, quiet ? NULL : print_fault, NULL, NULL, &result,
		                    &err) &&
		       result.fault_count == 0;
		_exit(good ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The power is cut now; in_flight, if any, is being written. */
static void cut(struct replay *replay, const struct event *in_flight)
{
	memcpy(replay->image, replay->disk, STORE_BYTES);
	for (size_t i = 0; i < replay->pending_count; i++)
		apply_maybe(replay, &recording.events[replay->pending[i]]);
	if (in_flight != NULL)
		apply_maybe(replay, in_flight);
	write_image(replay);
	replay->image_count++;
	replay->broken_count += !image_is_good(replay, replay->without_syncs);
}

static void pass(struct replay *replay, size_t index)
{
	const struct event *event = &recording.events[index];
	switch (event->kind) {
	case EVENT_TOLD:
		replay->told = event->told;
		break;
	case EVENT_SYNC:
		for (size_t i = 0; !replay->without_syncs && i < replay->pending_count; i++)
			apply(replay->disk, &recording.events[replay->pending[i]]);
		replay->pending_count = replay->without_syncs ? replay->pending_count : 0;
		break;
	case EVENT_WRITE:
		if (event->durable && !replay->without_syncs)
			apply(replay->disk, event);
		else
			replay->pending[replay->pending_count++] = index;
		break;
	}
}

static void replay_all(struct replay *replay, const uint8_t *before, int image_max)
{
	fresh_path(replay->dir);
	assert_int_equal(mkdir(replay->dir, 0700), 0);
	replay->disk = malloc(STORE_BYTES);
	replay->image = malloc(STORE_BYTES);
	assert_true(replay->disk != NULL && replay->image != NULL);
	memcpy(replay->disk, before, STORE_BYTES);
	for (size_t i = 0; i < recording.count && replay->image_count < image_max; i++) {
		const struct event *event = &recording.events[i];
		/* At each sync and each durable write, before what is told, and now and then. */
		if (event->kind != EVENT_WRITE || event->durable ||
		    life_random(&replay->seed) % 8 == 0)
			cut(replay, event->kind == EVENT_WRITE ? event : NULL);
		pass(replay, i);
	}
	cut(replay, NULL);
	free(replay->disk);
	free(replay->image);
	remove_folder(replay->dir);
}

static uint64_t given_seed(void)
{
	const char *given = getenv("ZR_TEST_SEED");
	uint64_t seed =
		given != NULL ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u + 1;
	print_message("seed %" PRIu64 "\n", seed);
	return seed;
}

static void forget_recording(uint8_t *before)
{
	for (size_t i = 0; i < recording.count; i++)
		free(recording.events[i].bytes);
	recording.count = 0;
	free(before);
}

static void what_was_told_survives_a_power_cut_at_any_moment(void **state)
{
	static struct replay replay;
	uint64_t seed = given_seed();
	uint8_t *before = record_life(seed);
	print_message("%zu writes, %zu syncs\n", recording.write_count, recording.sync_count);
	assert_true(recording.write_count > 200);
	assert_true(recording.sync_count > STEPS / 2);
	replay = (struct replay){ .seed = seed };
	replay_all(&replay, before, INT_MAX);
	print_message("%d disks\n", replay.image_count);
	assert_true(replay.image_count > 200);
	assert_int_equal(replay.broken_count, 0);

	/* And the replay sees what it is for. */
	replay = (struct replay){ .seed = seed, .without_syncs = true };
	replay_all(&replay, before, 80);
	print_message("%d of %d broken without syncs\n", replay.broken_count, replay.image_count);
	assert_true(replay.broken_count > replay.image_count / 4);
	forget_recording(before);
}

/* A process that was killed may have left a commit in the page cache only; LMDB would answer from
 * there, and the power may be cut after the answer. */
static void opening_syncs_before_anything_is_answered(void **state)
{
	struct fixture fixture = { .spool = NULL };
	struct err err;
	fresh_path(fixture.dir);
	MUST(spool_create(&(struct spool_create_options){ .dir = fixture.dir,
	                                                  .size_bytes = STORE_BYTES,
	                                                  .allocate = true,
	                                                  .now_ms = TEST_TIME_MS },
	                  &err));
	free(read_disk(fixture.dir));
	size_t before = recording.sync_count;
	recording.on = true;
	open_spool(&fixture);
	recording.on = false;
	assert_int_equal(recording.sync_count, before + 1);
	recording.count = 0;
	spool_close(fixture.spool);
	remove_folder(fixture.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening_syncs_before_anything_is_answered),
		cmocka_unit_test(what_was_told_survives_a_power_cut_at_any_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
