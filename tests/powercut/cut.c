/* cut.c -- see cut.h. */
#include "tests/powercut/cut.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/powercut/log.h"

#define CHECK_MAX_S      120
#define CUTS_OF_RECOVERY 8

struct run {
	struct cut_options options;
	struct log log;
	struct cut_result result;
};

static void die(const char *what)
{
	fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- one image ---- */

static uint64_t chance_of(const struct run *run, uint64_t image)
{
	uint64_t chance = run->options.seed * 0x2545f4914f6cdd1du + image;
	(void)next_chance(&chance);
	return chance;
}

static void say_no(void)
{
	_exit(1);
}

/* In a child: what is broken may crash it, or fail an assertion of the test library, which comes to
 * exit(). */
static bool is_good(const struct run *run, const char *root, uint64_t chance, int log_fd)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		alarm(CHECK_MAX_S);
		(void)atexit(say_no);
		if (run->options.fault != DISK_HONEST && freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		if (log_fd >= 0)
			record_begin(log_fd, root);
		bool good = run->options.subject->check(run->options.state, root, chance);
		fflush(NULL);
		_exit(good ? 0 : 1);
	}
	int status = 0;
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (WIFSIGNALED(status) && run->options.fault == DISK_HONEST)
		fprintf(stderr, "powercut: ended by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void pass(const struct run *run, struct disk *disk, const struct item *item)
{
	disk_pass(disk, &item->record, item->bytes);
	if (item->record.kind == RECORD_MARK)
		run->options.subject->tell(run->options.state, (const char *)item->bytes);
}

/* ---- the power is cut while what the first cut left is being repaired ---- */

static uint64_t cut_recovery(const struct run *run, const struct log *log,
                             const struct image *before, const char *root, uint64_t chance)
{
	struct disk *disk = disk_of_image(before, root);
	uint64_t done = 0;
	for (size_t i = 0; i < log->count; i++) {
		pass(run, disk, &log->items[i]);
		uint64_t due = (i + 1) * CUTS_OF_RECOVERY / log->count;
		for (; done < due; done++) {
			struct image image;
			uint64_t cut_chance = chance + done;
			disk_cut(disk, &cut_chance, &image);
			image_write(&image, root);
			image_fini(&image);
			if (!is_good(run, root, cut_chance, -1)) {
				fprintf(stderr, "powercut: at record %zu of %zu of the recovery\n",
				        i, log->count);
				_exit(1);
			}
		}
	}
	disk_free(disk);
	return done;
}

/* In a child, so that what it is told is forgotten again. Gives how many images; false: broken. */
static bool second_cut(const struct run *run, const struct image *image, const char *root,
                       uint64_t chance, uint64_t *out_count)
{
	uint64_t *count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
	                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED)
		die("mmap");
	pid_t child = fork();
	if (child == 0) {
		int fd = memfd_create("powercut", 0);
		struct log log;
		image_write(image, root);
		if (fd < 0 || !is_good(run, root, chance, fd))
			_exit(1);
		log_load(&log, fd);
		*count = cut_recovery(run, &log, image, root, chance);
		_exit(0);
	}
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child)
		die("a second cut");
	*out_count = *count;
	munmap(count, sizeof(*count));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- a life ---- */

static void cut(struct run *run, const struct disk *disk, size_t at)
{
	uint64_t number = run->result.images++;
	uint64_t chance = chance_of(run, number);
	uint64_t check_chance = next_chance(&chance);
	char root[DISK_PATH_MAX];
	struct image image;
	if (run->options.only != CUT_ALL && number != run->options.only)
		return;
	snprintf(root, sizeof(root), "%.400s/image", run->options.scratch);
	disk_cut(disk, &chance, &image);
	image_write(&image, root);
	bool good = is_good(run, root, check_chance, -1);
	uint64_t every =
		run->options.second_count == 0
			? 0
			: run->options.image_count * CUTS_OF_RECOVERY / run->options.second_count +
				  1;
	if (good && every > 0 && number % every == every / 2) {
		uint64_t count = 0;
		good = second_cut(run, &image, root, check_chance, &count);
		run->result.seconds += count;
	}
	if (!good && run->options.fault == DISK_HONEST)
		fprintf(stderr,
		        "powercut: broken: seed %" PRIu64 " --only %" PRIu64 ", at record %zu\n",
		        run->options.seed, number, at);
	if (!good)
		run->result.broken++;
	image_fini(&image);
}

/* How many images a place is worth: what was just told is not there yet, more often than what was
 * just written. */
static uint64_t weight_of(const struct item *item)
{
	return item->record.kind == RECORD_MARK ? 8 : 1;
}

static void live(struct run *run)
{
	struct disk *disk = disk_new(run->options.root, run->options.fault);
	uint64_t done = 0, total = 0, passed = 0;
	for (size_t i = 0; i < run->log.count; i++)
		total += weight_of(&run->log.items[i]);
	for (size_t i = 0; i < run->log.count; i++) {
		pass(run, disk, &run->log.items[i]);
		passed += weight_of(&run->log.items[i]);
		uint64_t due = run->options.image_count * passed / total;
		for (; done < due; done++)
			cut(run, disk, i);
	}
	disk_free(disk);
}

void cut_life(int log_fd, const struct cut_options *options, struct cut_result *out_result)
{
	struct run run = { .options = *options };
	char root[DISK_PATH_MAX];
	log_load(&run.log, log_fd);
	if (run.log.count == 0)
		die("an empty log");
	snprintf(root, sizeof(root), "%.400s/image", options->scratch);
	if ((mkdir(options->scratch, 0700) != 0 && errno != EEXIST) ||
	    (mkdir(root, 0700) != 0 && errno != EEXIST))
		die(root);
	record_skip_syncs();
	live(&run);
	log_free(&run.log);
	*out_result = run.result;
}
