/* rot.c -- bit rot: each 512-byte piece of a spool is flipped, emptied, overwritten or cut off, and what is
 * left is opened, read, lived with, verified and salvaged by the real code.
 *
 *     rot STORE WORK [IMAGES [PIECE]]     STORE is read only; WORK is made, and removed; IMAGES 0: all
 *
 * Per image, each in a child, as a daemon would have it (a crash that is not the store's own exit
 * status is a violation):
 *
 *     look     every row and payload is what it was, or missing, or refused by name; never another
 *     judge    what look could not read, verify speaks of; a damaged payload by chain and height;
 *              salvage gives whole batches only, and every one that can be read through the tree
 *     live     scrub, repair from the edge, intake, anchor, receipt, prune; then look once more
 *
 * The last lines are figures; violations are on standard error, and the exit status is 1 with any.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/exit.h"
#include "tests/disk/rot.h"

#define PIECE       512
#define SECONDS_MAX 30 /* Of one child; longer is without end. */
#define TELL_MAX    40

enum damage { FLIP, ZERO, NOISE, CUT, DAMAGE_COUNT };
static const char *const damage_names[DAMAGE_COUNT] = { "flipped", "emptied", "overwritten",
	                                                "cut" };

/* No checksum is over these, so each of their bits is tried: the head of a page, and where the two first
 * pages say which commit is the newest. */
#define PAGE_HEAD 16
#define META_HEAD 152
#define HEAD_RATE 6 /* Of the bits in the heads of other pages one in so many. */

struct sweep {
	struct rot_truth truth;
	struct rot_seen *seen; /* Shared with children. */
	uint8_t *image;
	size_t size;     /* Of the file. */
	size_t used;     /* Of what was ever written. */
	char work[3000]; /* The folder. */
	int fd;          /* Of its data.mdb. */
	uint64_t random;
	const char *only; /* This piece alone; NULL: all. */
	enum damage damage;
	size_t piece;
	size_t bit; /* Of a piece that is flipped. */
	uint64_t images, damaged, refused, contained, rows_named, payloads_named, repaired, spread,
		violations;
};

static uint64_t next_random(struct sweep *sweep)
{
	sweep->random ^= sweep->random << 13;
	sweep->random ^= sweep->random >> 7;
	sweep->random ^= sweep->random << 17;
	return sweep->random;
}

static void violation(struct sweep *sweep, const char *what, const char *detail)
{
	if (sweep->violations++ < TELL_MAX)
		fprintf(stderr, "violation: piece %zu, bit %zu, %s: %s %s\n", sweep->piece,
		        sweep->bit, damage_names[sweep->damage], what, detail);
}

/* ---- images ---- */

static bool write_all(int fd, const uint8_t *data, size_t size, off_t offset)
{
	while (size > 0) {
		ssize_t part = pwrite(fd, data, size, offset);
		if (part <= 0)
			return false;
		data += part;
		offset += part;
		size -= (size_t)part;
	}
	return true;
}

static void restore(struct sweep *sweep)
{
	if (!write_all(sweep->fd, sweep->image, sweep->used, 0) ||
	    ftruncate(sweep->fd, (off_t)sweep->used) != 0 ||
	    ftruncate(sweep->fd, (off_t)sweep->size) != 0)
		abort();
}

static void do_damage(struct sweep *sweep)
{
	uint8_t bytes[PIECE];
	size_t at = sweep->piece * PIECE;
	restore(sweep);
	if (sweep->damage == CUT) {
		if (ftruncate(sweep->fd, (off_t)at) != 0)
			abort();
		return;
	}
	memcpy(bytes, sweep->image + at, PIECE);
	for (size_t i = 0; i < PIECE; i++) {
		if (sweep->damage == NOISE)
			bytes[i] = (uint8_t)next_random(sweep);
		else if (sweep->damage == ZERO)
			bytes[i] = 0;
		else if (i == sweep->bit / 8)
			bytes[i] ^= (uint8_t)(1u << sweep->bit % 8);
	}
	if (!write_all(sweep->fd, bytes, PIECE, (off_t)at))
		abort();
}

/* ---- children ---- */

typedef void child_fn(const char *dir, const struct rot_truth *truth, struct rot_seen *seen);

static void run(struct sweep *sweep, child_fn *work, const char *name)
{
	char detail[64];
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		alarm(SECONDS_MAX);
		/* What the store says at its end is expected here. */
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(EXIT_SYSTEM);
		work(sweep->work, &sweep->truth, sweep->seen);
		_exit(EXIT_OK);
	}
	int status;
	if (child < 0 || waitpid(child, &status, 0) != child)
		abort();
	if (WIFEXITED(status)) {
		int code = WEXITSTATUS(status);
		sweep->refused += code == EXIT_FAILED;
		sweep->contained += code == EXIT_STORE_IO;
		if (code == EXIT_OK || code == EXIT_FAILED || code == EXIT_STORE_IO)
			return;
		snprintf(detail, sizeof(detail), "ended with %d", code);
	} else if (WTERMSIG(status) == SIGALRM) {
		snprintf(detail, sizeof(detail), "did not end");
	} else {
		snprintf(detail, sizeof(detail), "died of SIG%s", sigabbrev_np(WTERMSIG(status)));
	}
	violation(sweep, name, detail);
}

/* ---- judging ---- */

static bool fault_names(const struct rot_seen *seen, const char *name, uint64_t height)
{
	char text[32];
	size_t count = seen->fault_count < ROT_FAULTS_MAX ? seen->fault_count : ROT_FAULTS_MAX;
	snprintf(text, sizeof(text), "height %" PRIu64, height);
	for (size_t i = 0; i < count; i++) {
		const char *at = strstr(seen->faults[i], text);
		if (at != NULL && (at[strlen(text)] < '0' || at[strlen(text)] > '9') &&
		    strstr(seen->faults[i], name) != NULL)
			return true;
	}
	return seen->fault_count > ROT_FAULTS_MAX;
}

static void judge_batches(struct sweep *sweep, bool clean)
{
	const struct rot_seen *seen = sweep->seen;
	for (size_t i = 0; i < sweep->truth.batch_count; i++) {
		char name[CHAIN_NAME_MAX + 1], text[ROT_LINE_BYTES];
		uint64_t height;
		rot_batch_name(&sweep->truth, i, name, &height);
		snprintf(text, sizeof(text), "%s, height %" PRIu64, name, height);
		if (seen->batches[i] == ROT_SAME && !seen->salvaged[i])
			violation(sweep, "can be read and is not salvaged:", text);
		if (clean && !seen->salvaged[i])
			violation(sweep, "verify finds nothing, but not salvaged is", text);
		if (seen->batches[i] != ROT_NAMED)
			continue;
		sweep->payloads_named++;
		/* Where the tree is damaged, too, not every row behind it can be reached. */
		if (seen->fault_count == 1 && strstr(seen->faults[0], "tree") == NULL &&
		    !fault_names(seen, name, height))
			violation(sweep, "not named:", text);
	}
}

static void judge(struct sweep *sweep)
{
	const struct rot_seen *seen = sweep->seen;
	bool clean = seen->verified && seen->fault_count == 0;
	bool noticed = !seen->opened || seen->named + seen->missing + seen->stale > 0;
	sweep->damaged += noticed;
	sweep->rows_named += seen->named;
	if (seen->wrong > 0)
		violation(sweep, "a wrong byte was given:", seen->what);
	if (noticed && clean)
		violation(sweep, "verify finds nothing, but",
		          seen->what[0] != '\0' ? seen->what : "rows are gone");
	if (!seen->salvage_worked)
		violation(sweep, "salvage failed", "");
	if (seen->invented > 0)
		violation(sweep, "salvage gave what was never stored", "");
	judge_batches(sweep, clean);
}

/* What could be read before the daemon went on, and was not pruned since, can be read now. */
static void judge_after(struct sweep *sweep, const uint8_t before[ROT_BATCHES_MAX])
{
	const struct rot_seen *seen = sweep->seen;
	if (seen->wrong > 0)
		violation(sweep, "a wrong byte was given afterwards:", seen->what);
	for (size_t i = 0; i < sweep->truth.batch_count; i++) {
		char name[CHAIN_NAME_MAX + 1], text[ROT_LINE_BYTES];
		uint64_t height;
		if (before[i] != ROT_SAME ||
		    (seen->batches[i] != ROT_NAMED && seen->batches[i] != ROT_GONE))
			continue;
		rot_batch_name(&sweep->truth, i, name, &height);
		snprintf(text, sizeof(text), "%s, height %" PRIu64, name, height);
		/* Not by a wrong byte, but through pages that LMDB believed to be free. */
		sweep->spread++;
		if (sweep->spread < TELL_MAX)
			fprintf(stderr,
			        "note: piece %zu, bit %zu, %s: the damage has spread to %s\n",
			        sweep->piece, sweep->bit, damage_names[sweep->damage], text);
		return;
	}
}

static void try_image(struct sweep *sweep)
{
	static uint8_t before[ROT_BATCHES_MAX];
	sweep->images++;
	memset(sweep->seen, 0, sizeof(*sweep->seen));
	do_damage(sweep);
	run(sweep, rot_look, "look");
	run(sweep, rot_judge, "judge");
	judge(sweep);
	memcpy(before, sweep->seen->batches, sizeof(before));
	memset(sweep->seen, 0, sizeof(*sweep->seen));
	run(sweep, rot_live, "live");
	sweep->repaired += sweep->seen->repaired;
	run(sweep, rot_look_after, "look after");
	judge_after(sweep, before);
}

/* ---- the sweep ---- */

static void read_image(struct sweep *sweep, const char *store)
{
	char path[4096];
	struct stat file;
	snprintf(path, sizeof(path), "%s/data.mdb", store);
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &file) != 0) {
		fprintf(stderr, "rot: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	sweep->size = (size_t)file.st_size;
	sweep->image = malloc(sweep->size);
	if (sweep->image == NULL || read(fd, sweep->image, sweep->size) != file.st_size)
		abort();
	close(fd);
	sweep->used = sweep->size;
	while (sweep->used > 0 && sweep->image[sweep->used - 1] == 0)
		sweep->used--;
	sweep->used = (sweep->used / 4096 + 1) * 4096;
	if (sweep->used > sweep->size)
		sweep->used = sweep->size;
}

static void make_work(struct sweep *sweep)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/data.mdb", sweep->work);
	if (mkdir(sweep->work, 0700) != 0 ||
	    (sweep->fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600)) < 0) {
		fprintf(stderr, "rot: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	restore(sweep);
}

static void remove_work(struct sweep *sweep)
{
	static const char *const names[] = { "data.mdb", "lock.mdb", "owner.lock" };
	char path[4096];
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", sweep->work, names[i]);
		unlink(path);
	}
	rmdir(sweep->work);
}

/* One bit makes the newest commit, n, the one before the last, n - 2: then nothing in the file tells that
 * there was another. The edges' receipts do. */
static bool hides_a_commit(const struct sweep *sweep, size_t page)
{
	uint64_t commits[2];
	memcpy(&commits[0], sweep->image + META_HEAD - sizeof(commits[0]), sizeof(commits[0]));
	memcpy(&commits[1], sweep->image + 4096 + META_HEAD - sizeof(commits[1]),
	       sizeof(commits[1]));
	return page < 2 && sweep->bit == (META_HEAD - sizeof(commits[0])) * 8 + 1 &&
	       (commits[page] & 2) != 0 && commits[page] > commits[1 - page];
}

static void sweep_heads(struct sweep *sweep, uint64_t wanted)
{
	size_t pages = sweep->used / 4096;
	uint64_t all = (pages * PAGE_HEAD / HEAD_RATE + (size_t)2 * META_HEAD) * 8;
	sweep->damage = FLIP;
	for (size_t page = 0; page < pages && sweep->only == NULL; page++) {
		size_t bits = (page < 2 ? META_HEAD : PAGE_HEAD) * 8;
		sweep->piece = page * 4096 / PIECE;
		for (sweep->bit = 0; sweep->bit < bits; sweep->bit++) {
			if (hides_a_commit(sweep, page))
				continue;
			if ((page < 2 || next_random(sweep) % HEAD_RATE == 0) &&
			    (wanted == 0 || next_random(sweep) % all < wanted))
				try_image(sweep);
		}
	}
}

static void sweep_all(struct sweep *sweep, uint64_t wanted)
{
	size_t pieces = sweep->used / PIECE;
	uint64_t all = (uint64_t)pieces * DAMAGE_COUNT;
	size_t from = sweep->only != NULL ? strtoull(sweep->only, NULL, 10) : 0;
	size_t to = sweep->only != NULL ? from + 1 : pieces;
	for (sweep->piece = from; sweep->piece < to; sweep->piece++) {
		for (int damage = 0; damage < DAMAGE_COUNT; damage++) {
			sweep->damage = (enum damage)damage;
			sweep->bit = next_random(sweep) % (PIECE * 8);
			if (wanted == 0 || next_random(sweep) % all < wanted)
				try_image(sweep);
		}
	}
	printf("figure: bit rot: pieces of 512 bytes in the store: %zu\n", pieces);
}

int main(int argument_count, char **arguments)
{
	static struct sweep sweep;
	if (argument_count < 3) {
		fprintf(stderr, "usage: rot STORE WORK [IMAGES [PIECE]]\n");
		return EXIT_BAD_USAGE;
	}
	const char *seed = getenv("ZR_SEED");
	sweep.random = (uint64_t)getpid();
	if (seed != NULL)
		sweep.random = strtoull(seed, NULL, 10);
	printf("seed %" PRIu64 "\n", sweep.random);
	sweep.random = sweep.random * 2654435761u + 88172645463325252u;
	sweep.seen = mmap(NULL, sizeof(*sweep.seen), PROT_READ | PROT_WRITE,
	                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sweep.seen == MAP_FAILED)
		abort();
	snprintf(sweep.work, sizeof(sweep.work), "%s", arguments[2]);
	sweep.only = argument_count > 4 ? arguments[4] : NULL;
	read_image(&sweep, arguments[1]);
	make_work(&sweep);
	rot_read_truth(sweep.work, &sweep.truth);
	uint64_t wanted = argument_count > 3 ? strtoull(arguments[3], NULL, 10) : 0;
	sweep_all(&sweep, wanted);
	if (wanted == 0)
		sweep_heads(&sweep, 0);
	remove_work(&sweep);
	printf("figure: bit rot: rows and batches in the store: %zu and %zu\n",
	       sweep.truth.rows.count, sweep.truth.batch_count);
	printf("figure: bit rot: images: %" PRIu64 "\n", sweep.images);
	printf("figure: bit rot: images in which something could not be read: %" PRIu64 "\n",
	       sweep.damaged);
	printf("figure: bit rot: opens refused: %" PRIu64 "\n", sweep.refused);
	printf("figure: bit rot: crashes of the tree contained: %" PRIu64 "\n", sweep.contained);
	printf("figure: bit rot: rows refused by name: %" PRIu64 "\n", sweep.rows_named);
	printf("figure: bit rot: payloads refused by name: %" PRIu64 "\n", sweep.payloads_named);
	printf("figure: bit rot: payloads repaired from the edge: %" PRIu64 "\n", sweep.repaired);
	printf("figure: bit rot: images after which another batch could not be read: %" PRIu64 "\n",
	       sweep.spread);
	printf("figure: bit rot: violations: %" PRIu64 "\n", sweep.violations);
	return sweep.violations > 0 ? EXIT_FAILED : EXIT_OK;
}
