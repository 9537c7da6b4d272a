/* powercut.c -- cuts the power at any moment of a recorded life, and looks at what is left.
 *
 *     powercut --log FILE --root FOLDER --facts FOLDER --scratch FOLDER --images N --seed S
 *              [--second N] [--fault syncs|folders] [--only IMAGE] gateway|agent
 *
 * --second: so many of the images' recoveries are recorded, and cut again. --fault: the disk lies; the
 * images must be found broken. --only: that image of the same run, and nothing else. The last line is
 * "images N second N broken N". */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/powercut/disk.h"
#include "tests/powercut/subject.h"

#define CHECK_MAX_S      120
#define CUTS_OF_RECOVERY 8

struct item {
	struct record record;
	const uint8_t *bytes;
};

struct log {
	struct item *items; /* Owned. */
	size_t count;
	uint8_t *data; /* Owned. */
};

struct run {
	const char *log_path, *root, *facts, *scratch;
	uint64_t image_count, second_count, seed, only;
	enum disk_fault fault;
	const struct subject *subject;
	struct subject_state *state;
	struct log log;
	uint64_t images, seconds, broken;
};

static void die(const char *what)
{
	fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- the log ---- */

static uint8_t *read_all(int fd, size_t *out_size)
{
	struct stat file;
	if (fstat(fd, &file) != 0)
		die("the log");
	uint8_t *data = malloc((size_t)file.st_size + 1);
	if (data == NULL || pread(fd, data, (size_t)file.st_size, 0) != file.st_size)
		die("the log cannot be read");
	*out_size = (size_t)file.st_size;
	return data;
}

/* A process that was killed may have been in the middle of a record: the last one only. */
static void log_load(struct log *log, int fd)
{
	size_t size;
	size_t capacity = 0;
	*log = (struct log){ .data = read_all(fd, &size) };
	for (size_t at = 0; at + sizeof(struct record) <= size;) {
		struct item item;
		memcpy(&item.record, log->data + at, sizeof(item.record));
		if (item.record.magic != RECORD_MAGIC)
			die("not a log");
		at += sizeof(item.record);
		if (item.record.size > size - at)
			break;
		item.bytes = log->data + at;
		at += item.record.size;
		if (log->count == capacity) {
			capacity = capacity * 2 + 1024;
			log->items = reallocarray(log->items, capacity, sizeof(item));
			if (log->items == NULL)
				die("memory");
		}
		log->items[log->count++] = item;
	}
}

static void log_free(struct log *log)
{
	free(log->items);
	free(log->data);
}

/* ---- one image ---- */

static uint64_t chance_of(const struct run *run, uint64_t image)
{
	uint64_t chance = run->seed * 0x2545f4914f6cdd1du + image;
	(void)next_chance(&chance);
	return chance;
}

/* In a child: what is broken may crash it. */
static bool is_good(const struct run *run, const char *root, uint64_t chance, int log_fd)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		alarm(CHECK_MAX_S);
		if (run->fault != DISK_HONEST && freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		if (log_fd >= 0)
			record_begin(log_fd, root);
		bool good = run->subject->check(run->state, root, chance);
		fflush(NULL);
		_exit(good ? 0 : 1);
	}
	int status = 0;
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (WIFSIGNALED(status) && run->fault == DISK_HONEST)
		fprintf(stderr, "powercut: ended by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void pass(const struct run *run, struct disk *disk, const struct item *item)
{
	disk_pass(disk, &item->record, item->bytes);
	if (item->record.kind == RECORD_MARK)
		run->subject->tell(run->state, (const char *)item->bytes);
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
	uint64_t number = run->images++;
	uint64_t chance = chance_of(run, number);
	uint64_t check_chance = next_chance(&chance);
	char root[DISK_PATH_MAX];
	struct image image;
	if (run->only != UINT64_MAX && number != run->only)
		return;
	snprintf(root, sizeof(root), "%.400s/image", run->scratch);
	disk_cut(disk, &chance, &image);
	image_write(&image, root);
	bool good = is_good(run, root, check_chance, -1);
	uint64_t every = run->second_count == 0
	                         ? 0
	                         : run->image_count * CUTS_OF_RECOVERY / run->second_count + 1;
	if (good && every > 0 && number % every == every / 2) {
		uint64_t count = 0;
		good = second_cut(run, &image, root, check_chance, &count);
		run->seconds += count;
	}
	if (!good && run->fault == DISK_HONEST)
		fprintf(stderr,
		        "powercut: broken: seed %" PRIu64 " --only %" PRIu64 ", at record %zu\n",
		        run->seed, number, at);
	if (!good)
		run->broken++;
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
	struct disk *disk = disk_new(run->root, run->fault);
	uint64_t done = 0, total = 0, passed = 0;
	for (size_t i = 0; i < run->log.count; i++)
		total += weight_of(&run->log.items[i]);
	for (size_t i = 0; i < run->log.count; i++) {
		pass(run, disk, &run->log.items[i]);
		passed += weight_of(&run->log.items[i]);
		uint64_t due = run->image_count * passed / total;
		for (; done < due; done++)
			cut(run, disk, i);
	}
	disk_free(disk);
}

/* ---- options ---- */

static const struct option options[] = {
	{ "log", required_argument, NULL, 'l' },    { "root", required_argument, NULL, 'r' },
	{ "facts", required_argument, NULL, 'f' },  { "scratch", required_argument, NULL, 's' },
	{ "images", required_argument, NULL, 'n' }, { "seed", required_argument, NULL, 'S' },
	{ "second", required_argument, NULL, '2' }, { "fault", required_argument, NULL, 'x' },
	{ "only", required_argument, NULL, 'o' },   { NULL, 0, NULL, 0 },
};

static void take_option(struct run *run, int option, const char *value)
{
	switch (option) {
	case 'l':
		run->log_path = value;
		return;
	case 'r':
		run->root = value;
		return;
	case 'f':
		run->facts = value;
		return;
	case 's':
		run->scratch = value;
		return;
	case 'n':
		run->image_count = strtoull(value, NULL, 10);
		return;
	case 'S':
		run->seed = strtoull(value, NULL, 10);
		return;
	case '2':
		run->second_count = strtoull(value, NULL, 10);
		return;
	case 'o':
		run->only = strtoull(value, NULL, 10);
		return;
	case 'x':
		run->fault =
			strcmp(value, "syncs") == 0 ? DISK_DROPS_SYNCS : DISK_DROPS_FOLDER_SYNCS;
		return;
	default:
		exit(2);
	}
}

static const struct subject *const subjects[] = { &subject_gateway, &subject_agent, NULL };

static void usage(void)
{
	fprintf(stderr, "powercut: see the head of tests/powercut/powercut.c\n");
	exit(2);
}

static void parse(struct run *run, int argc, char **argv)
{
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
		take_option(run, option, optarg);
	if (optind + 1 != argc || run->log_path == NULL || run->root == NULL ||
	    run->facts == NULL || run->scratch == NULL || run->image_count == 0)
		usage();
	for (size_t i = 0; subjects[i] != NULL; i++) {
		if (strcmp(argv[optind], subjects[i]->name) == 0)
			run->subject = subjects[i];
	}
	if (run->subject == NULL)
		usage();
}

int main(int argc, char **argv)
{
	struct run run = { .only = UINT64_MAX };
	char root[DISK_PATH_MAX];
	parse(&run, argc, argv);
	int fd = open(run.log_path, O_RDONLY);
	if (fd < 0)
		die(run.log_path);
	log_load(&run.log, fd);
	close(fd);
	if (run.log.count == 0)
		die("an empty log");
	snprintf(root, sizeof(root), "%.400s/image", run.scratch);
	if (mkdir(root, 0700) != 0 && errno != EEXIST)
		die(root);
	record_skip_syncs();
	run.state = run.subject->open(run.facts);
	live(&run);
	run.subject->close(run.state);
	log_free(&run.log);
	printf("images %" PRIu64 " second %" PRIu64 " broken %" PRIu64 "\n", run.images,
	       run.seconds, run.broken);
	return run.broken > 0 ? 1 : 0;
}
