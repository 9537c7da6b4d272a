/* spool_power.c -- the spool alone, in this process: a gateway's life as a seed has it, recorded and cut.
 * Quicker than the real daemon's (tests/system/test_power_cut.py), and the same for the same seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>

#include "tests/powercut/cut.h"
#include "tests/powercut/log.h"
#include "tests/unit/spool_life.h"

#define STORE_BYTES (4u << 20)
#define STEPS       120
#define IMAGES      500
#define SPOOL       "/spool"

/* ---- what is judged ---- */

struct subject_state {
	bool made;
	struct told told;
};

static void put_told(struct life *life)
{
	char line[256];
	int size = snprintf(line, sizeof(line), "told %" PRIu64, life->told.commit_number);
	for (int i = 0; i < LIFE_CHAINS; i++)
		size += snprintf(line + size, sizeof(line) - (size_t)size, " %" PRIu64 " %" PRIu64,
		                 life->told.next[i], life->told.anchored[i]);
	record_mark(line);
}

static void get_told(struct subject_state *state, const char *line)
{
	state->made = true; /* The first mark says that there are the chains. */
	if (strcmp(line, "made") == 0)
		return;
	char *rest = NULL;
	state->told.commit_number = strtoull(line + strlen("told "), &rest, 10);
	for (int i = 0; i < LIFE_CHAINS; i++) {
		state->told.next[i] = strtoull(rest, &rest, 10);
		state->told.anchored[i] = strtoull(rest, &rest, 10);
	}
}

static void say_fault(const char *line, void *arg)
{
	fprintf(stderr, "verify: %s\n", line);
}

static bool check(const struct subject_state *state, const char *root, uint64_t chance)
{
	char dir[TEST_PATH_MAX];
	struct spool *spool;
	struct spool_verify_result result;
	struct err err;
	struct spool_options options = { .dir = dir, .mode = STORE_WRITE };
	snprintf(dir, sizeof(dir), "%.200s" SPOOL, root);
	if (!spool_exists(dir))
		return !state->made;
	if (!spool_open(&spool, &options, &err)) {
		fprintf(stderr, "open: %s\n", err.message);
		return false;
	}
	bool good = !state->made || life_holds(spool, &state->told);
	spool_close(spool);
	return good && spool_verify(dir, say_fault, NULL, NULL, &result, &err) &&
	       result.fault_count == 0;
}

static const struct subject spool_alone = { .name = "spool", .tell = get_told, .check = check };

/* ---- a life ---- */

static void create(const char *dir)
{
	struct err err;
	MUST(spool_create(&(struct spool_create_options){ .dir = dir,
	                                                  .size_bytes = STORE_BYTES,
	                                                  .allocate = true,
	                                                  .now_ms = TEST_TIME_MS },
	                  &err));
}

struct recorded {
	char root[TEST_PATH_MAX]; /* A folder of its own. */
	char dir[TEST_PATH_MAX];
	int log_fd;
};

static void begin_recorded(struct recorded *recorded)
{
	fresh_path(recorded->root);
	assert_int_equal(mkdir(recorded->root, 0700), 0);
	snprintf(recorded->dir, sizeof(recorded->dir), "%.200s" SPOOL, recorded->root);
	recorded->log_fd = memfd_create("spool_power", 0);
	assert_true(recorded->log_fd >= 0);
	record_begin(recorded->log_fd, recorded->root);
}

static void end_recorded(struct recorded *recorded)
{
	close(recorded->log_fd);
	temp_folder_remove(recorded->dir);
	temp_folder_remove(recorded->root);
}

static void live(const struct recorded *recorded, uint64_t seed)
{
	struct fixture fixture = { .spool = NULL };
	create(recorded->dir);
	snprintf(fixture.dir, sizeof(fixture.dir), "%s", recorded->dir);
	open_spool(&fixture);
	life_add_chains(&fixture);
	record_mark("made");
	spool_close(fixture.spool);
	struct life life = { .seed = seed, .tell = put_told };
	life_open(&life, recorded->dir);
	for (int i = 0; i < STEPS; i++)
		life_step(&life);
	record_end();
	spool_close(life.fixture.spool);
}

static uint64_t given_seed(void)
{
	const char *given = getenv("ZR_SEED");
	uint64_t seed =
		given != NULL ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u + 1;
	print_message("seed %" PRIu64 "\n", seed);
	return seed != 0 ? seed : 1;
}

static uint64_t broken_of(const struct recorded *recorded, uint64_t seed, uint64_t images,
                          enum disk_fault fault)
{
	char scratch[TEST_PATH_MAX], image[TEST_PATH_MAX];
	struct subject_state state = { .made = false };
	struct cut_options options = { .root = recorded->root,
		                       .scratch = scratch,
		                       .image_count = images,
		                       .seed = seed,
		                       .only = CUT_ALL,
		                       .fault = fault,
		                       .subject = &spool_alone,
		                       .state = &state };
	struct cut_result result;
	fresh_path(scratch);
	assert_int_equal(mkdir(scratch, 0700), 0);
	cut_life(recorded->log_fd, &options, &result);
	assert_int_equal(result.images, images);
	snprintf(image, sizeof(image), "%.200s/image" SPOOL, scratch);
	temp_folder_remove(image);
	image[strlen(image) - strlen(SPOOL)] = '\0';
	temp_folder_remove(image);
	temp_folder_remove(scratch);
	return result.broken;
}

static void what_was_told_survives_a_power_cut_at_any_moment(void **state)
{
	struct recorded recorded;
	uint64_t seed = given_seed();
	begin_recorded(&recorded);
	live(&recorded, seed);
	assert_int_equal(broken_of(&recorded, seed, IMAGES, DISK_HONEST), 0);
	/* And the replay sees what it is for. */
	uint64_t without_syncs = broken_of(&recorded, seed, 60, DISK_DROPS_SYNCS);
	uint64_t without_folders = broken_of(&recorded, seed, 60, DISK_DROPS_FOLDER_SYNCS);
	print_message("of 60 broken: %" PRIu64 " without syncs, %" PRIu64 " of folders\n",
	              without_syncs, without_folders);
	assert_true(without_syncs > 15 && without_folders > 15);
	end_recorded(&recorded);
}

/* A process that was killed may have left a commit in the page cache only; LMDB would answer from
 * there, and the power may be cut after the answer. */
static void opening_syncs_before_anything_is_answered(void **state)
{
	struct fixture fixture = { .spool = NULL };
	struct recorded recorded;
	struct log log;
	size_t files = 0, folders = 0;
	begin_recorded(&recorded);
	create(recorded.dir);
	snprintf(fixture.dir, sizeof(fixture.dir), "%s", recorded.dir);
	record_mark("made");
	open_spool(&fixture);
	record_end();
	spool_close(fixture.spool);
	log_load(&log, recorded.log_fd);
	size_t at = 0;
	while (log.items[at].record.kind != RECORD_MARK)
		at++;
	for (; at < log.count; at++) {
		if (log.items[at].record.kind == RECORD_SYNC &&
		    (log.items[at].record.flags & RECORD_FOLDER) != 0)
			folders++;
		else if (log.items[at].record.kind == RECORD_SYNC)
			files++;
	}
	assert_int_equal(files, 1);
	assert_int_equal(folders, 1);
	log_free(&log);
	end_recorded(&recorded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening_syncs_before_anything_is_answered),
		cmocka_unit_test(what_was_told_survives_a_power_cut_at_any_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
