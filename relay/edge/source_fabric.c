/* source_fabric.c -- source "fabric-dir": a folder that somebody else fills with block files.
 *
 * Every block is followed from the pinned one (walk.h) with all its signatures before it counts as
 * there. What was verified is a header in the store, so a restart goes on where it was.
 *
 *     scan the names -> read nameless ones -> walk the next blocks -> headers into the store
 *
 * A file that cannot be decoded may still be being written: it is read again when it has changed,
 * and called bad when it has been still for SETTLE_MS.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "adapters/sidechain/walk.h"
#include "relay/base/fault_point.h"
#include "relay/base/file.h"
#include "relay/edge/folder.h"
#include "relay/edge/source.h"
#include "relay/edge/trust_slots.h"

#define SETTLE_MS         3000
#define SETTLE_LOOK_MS    500
#define SCAN_QUIET_MS     30000 /* Between scans where the system tells us about changes. */
#define SCAN_APART_MS     50    /* At least, however often it does. */
#define TURN_BLOCKS_MAX   32
#define TURN_NAMELESS_MAX 8
#define COPIES_MAX        16
#define TRUST_FILE_MAX    (16u << 20)

struct fabric_dir {
	struct source source; /* First: a fabric_dir is a source. */
	const struct sidechain *format;
	struct trust *pinned;
	struct trust *stored; /* The newest stored set, if any; walk borrows it. */
	struct walk walk;
	bool walking; /* walk is initialised. */
	struct folder *folder;
	struct buffer raw;

	int inotify_fd; /* -1: none; scan by time. */
	struct event *inotify_event;
	bool changed; /* The system said so. */
	int64_t scan_at_ms, scan_again_ms;

	/* The next block, while no file of it is good. */
	uint64_t bad_height;
	uint64_t bad_version; /* Of its files together; 0: none. */
	int64_t bad_since_ms;
	/* Both "" for none; the view shows the first that is not. */
	char folder_problem[SOURCE_PROBLEM_SIZE];
	char block_problem[SOURCE_PROBLEM_SIZE];
};

static struct fabric_dir *dir_of(struct source *source)
{
	return (struct fabric_dir *)(void *)source;
}

/* ---- opening ---- */

static bool pin(struct fabric_dir *dir, struct err *err)
{
	const struct edge_chain_config *config = dir->source.context.config;
	dir->format = sidechain_find(config->format);
	if (dir->format == NULL)
		return err_set(err, ZR_INVALID, "no format %s", config->format);

	struct buffer pinned = BUFFER_EMPTY;
	bool ok = file_read(config->trust, TRUST_FILE_MAX, &pinned, err) &&
	          dir->format->trust_pin(buffer_bytes(&pinned), &dir->pinned, err);
	buffer_fini(&pinned);
	if (!ok)
		return err_wrap(err, "pinned block %s", config->trust);

	const struct block_header *origin = dir->format->trust_origin(dir->pinned);
	snprintf(dir->source.id.name, sizeof(dir->source.id.name), "%s", config->name);
	dir->source.id.epoch = origin->height == 0 ? origin->hash : config->epoch;
	if (hash_is_zero(&dir->source.id.epoch))
		return err_set(err, ZR_INVALID,
		               "%s is block %" PRIu64 ", not a genesis: chains[].epoch must say "
		               "the genesis' hash",
		               config->trust, origin->height);
	if (!hash_is_zero(&config->epoch) && !hash_equal(&config->epoch, &dir->source.id.epoch))
		return err_set(err, ZR_INVALID, "%s is not the genesis that chains[].epoch names",
		               config->trust);
	dir->source.key = chain_key(&dir->source.id);
	return true;
}

static bool enrol(struct fabric_dir *dir, struct agent_chain *out_chain, struct err *err)
{
	struct source *source = &dir->source;
	struct err missing;
	if (agent_chain(source->context.store, &source->key, out_chain, &missing))
		return true;
	if (missing.code != ZR_STATE) {
		*err = missing;
		return false;
	}
	struct agent_chain_new chain = {
		.id = source->id,
		.format = dir->format->name,
		.now_ms = clock_wall_ms(source->context.clock),
	};
	return agent_chain_add(source->context.store, &chain, err) &&
	       agent_chain(source->context.store, &source->key, out_chain, err);
}

/* Begins, or begins again, where the store is. */
static bool begin_walk(struct fabric_dir *dir, struct err *err)
{
	struct source *source = &dir->source;
	const struct block_header *origin = dir->format->trust_origin(dir->pinned);
	struct agent_chain chain;
	struct trust *stored = NULL;
	uint64_t from = 0;
	if (!enrol(dir, &chain, err) ||
	    !trust_slots_load(source->context.store, &source->key, dir->format, chain.next_height,
	                      &stored, &from, err))
		return false;

	struct walk_position position = { .next_height = chain.next_height, .tip = chain.tip };
	if (chain.next_height == 0 && origin->height > 0)
		position = (struct walk_position){ .next_height = origin->height + 1,
			                           .tip = origin->hash };
	if (dir->walking)
		walk_fini(&dir->walk);
	dir->format->trust_free(dir->stored);
	dir->stored = stored;
	walk_init(&dir->walk, dir->format, stored != NULL ? stored : dir->pinned, &source->id.epoch,
	          position);
	dir->walking = true;
	source->view.next = position.next_height;
	source->view.oldest = position.next_height;
	return true;
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	struct fabric_dir *dir = arg;
	char events[4096];
	while (read(fd, events, sizeof(events)) > 0)
		; /* That something changed is all we want to know. */
	dir->changed = true;
	dir->source.context.wake(dir->source.context.wake_arg);
}

/* Without it the folder is scanned by time only. */
static void watch(struct fabric_dir *dir)
{
	dir->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (dir->inotify_fd < 0)
		return;
	uint32_t changes = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
	if (inotify_add_watch(dir->inotify_fd, dir->source.context.config->source.dir, changes) >=
	    0)
		dir->inotify_event = event_new(dir->source.context.base, dir->inotify_fd,
		                               EV_READ | EV_PERSIST, on_inotify, dir);
	if (dir->inotify_event == NULL || event_add(dir->inotify_event, NULL) != 0) {
		close(dir->inotify_fd);
		dir->inotify_fd = -1;
	}
}

static void fabric_dir_close(struct source *source)
{
	struct fabric_dir *dir = dir_of(source);
	if (dir->inotify_event != NULL)
		event_free(dir->inotify_event);
	if (dir->inotify_fd >= 0)
		close(dir->inotify_fd);
	if (dir->walking)
		walk_fini(&dir->walk);
	if (dir->format != NULL) {
		dir->format->trust_free(dir->stored);
		dir->format->trust_free(dir->pinned);
	}
	folder_free(dir->folder);
	buffer_fini(&dir->raw);
	free(dir);
}

static bool fabric_dir_open(struct source **out_source, const struct source_context *context,
                            struct err *err)
{
	struct fabric_dir *dir = calloc(1, sizeof(*dir));
	if (dir == NULL)
		return err_set(err, ZR_NO_MEMORY, "source");
	dir->source.ops = &source_fabric_dir;
	dir->source.context = *context;
	dir->inotify_fd = -1;
	dir->raw = BUFFER_EMPTY;
	if (!pin(dir, err) || !folder_new(&dir->folder, context->config->source.dir, err) ||
	    !begin_walk(dir, err))
		goto fail;
	watch(dir);
	*out_source = &dir->source;
	return true;

fail:
	fabric_dir_close(&dir->source);
	return false;
}

/* ---- problems ---- */

static void say(char text[static SOURCE_PROBLEM_SIZE], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(char text[static SOURCE_PROBLEM_SIZE], const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, SOURCE_PROBLEM_SIZE, format, arguments);
	va_end(arguments);
}

/* True if err is one that the agent can go on with. */
static bool is_passing(const struct err *err)
{
	return err_fate(err->code) != ERR_STOP;
}

/* ---- scanning ---- */

static void scan(struct fabric_dir *dir, int64_t now_ms)
{
	struct err err;
	int64_t interval_ms = (int64_t)dir->source.context.config->source.scan_interval_ms;
	dir->changed = false;
	if (!folder_scan(dir->folder, &err))
		say(dir->folder_problem, "%.255s", err.message);
	else
		dir->folder_problem[0] = '\0';
	dir->scan_at_ms =
		now_ms +
		(dir->inotify_fd < 0 || interval_ms > SCAN_QUIET_MS ? interval_ms : SCAN_QUIET_MS);
	dir->scan_again_ms = now_ms + SCAN_APART_MS;
}

static void look_into(struct fabric_dir *dir, const char *name)
{
	struct block block;
	buffer_clear(&dir->raw);
	bool found = folder_read(dir->folder, name, dir->source.context.block_max_bytes, &dir->raw,
	                         NULL) &&
	             dir->format->read(buffer_bytes(&dir->raw), &block, NULL);
	folder_learn(dir->folder, name, found, found ? block.header.height : 0);
}

/* Finds out the heights of files whose names do not tell. True: there may be more. */
static bool read_nameless(struct fabric_dir *dir)
{
	for (int i = 0; i < TURN_NAMELESS_MAX; i++) {
		const char *name = folder_next_nameless(dir->folder);
		if (name == NULL)
			return false;
		look_into(dir, name);
	}
	return true;
}

/* The next block is missing by name: it may have another one's. True: there may be more. */
static bool read_misnamed(struct fabric_dir *dir)
{
	uint64_t next = dir->walk.position.next_height;
	for (int i = 0; i < TURN_NAMELESS_MAX; i++) {
		if (folder_find(dir->folder, next, 0) != NULL)
			return true;
		const char *name = folder_next_unread(dir->folder, next);
		if (name == NULL)
			return false;
		look_into(dir, name);
	}
	return true;
}

/* ---- walking ---- */

/* Of all files for one height. 0: there is none. */
static uint64_t versions(const struct fabric_dir *dir, uint64_t height)
{
	uint64_t version = 0;
	for (size_t i = 0; i < COPIES_MAX; i++) {
		const char *name = folder_find(dir->folder, height, i);
		if (name == NULL)
			break;
		version = version * 31 + folder_version(dir->folder, name);
	}
	return version;
}

/* Tries one file for the next block. WALK_HEIGHT: its name lies, and that was learnt. */
static enum walk_fault try_file(struct fabric_dir *dir, const char *name,
                                struct block_header *out_header, bool *out_changes_trust,
                                struct err *err)
{
	struct block block = { .header = { .height = dir->walk.position.next_height } };
	uint64_t wanted = dir->walk.position.next_height;
	buffer_clear(&dir->raw);
	if (!folder_read(dir->folder, name, dir->source.context.block_max_bytes, &dir->raw, err))
		return WALK_MALFORMED;
	enum walk_fault fault = walk_block(&dir->walk, buffer_bytes(&dir->raw), true, &block, err);
	if (fault == WALK_HEIGHT && block.header.height != wanted)
		folder_learn(dir->folder, name, true, block.header.height);
	if (fault == WALK_FINE) {
		*out_header = block.header;
		*out_changes_trust = block.changes_trust;
	}
	return fault;
}

enum step { STEP_FINE, STEP_NONE, STEP_WAIT };

/* The next block, from whichever of its files is good. */
static enum step walk_next(struct fabric_dir *dir, int64_t now_ms, struct block_header *out_header,
                           bool *out_changes_trust)
{
	uint64_t height = dir->walk.position.next_height;
	uint64_t version = versions(dir, height);
	bool same = version != 0 && version == dir->bad_version && height == dir->bad_height;
	if (same && dir->block_problem[0] != '\0')
		return STEP_NONE; /* Said already, and nothing has changed. */
	dir->block_problem[0] = '\0';

	struct err err = { .code = ZR_OK };
	size_t index = 0;
	for (size_t tries = 0; tries < COPIES_MAX; tries++) {
		const char *name = folder_find(dir->folder, height, index);
		if (name == NULL)
			break;
		enum walk_fault fault = try_file(dir, name, out_header, out_changes_trust, &err);
		if (fault == WALK_FINE)
			return STEP_FINE;
		if (fault != WALK_HEIGHT)
			index++;
	}
	if (err.code == ZR_OK || versions(dir, height) == 0) {
		if (folder_has_above(dir->folder, height))
			say(dir->block_problem, "block %" PRIu64 " is missing in the folder",
			    height);
		return STEP_NONE;
	}
	if (!same) {
		dir->bad_height = height;
		dir->bad_version = version;
		dir->bad_since_ms = now_ms;
	}
	if (now_ms - dir->bad_since_ms < SETTLE_MS)
		return STEP_WAIT;
	say(dir->block_problem, "block %" PRIu64 ": %.200s", height, err.message);
	return STEP_NONE;
}

/* Stores what was walked. A failure that passes begins again at what is stored. */
static bool store_headers(struct fabric_dir *dir, const struct block_header *headers, size_t count,
                          bool changes_trust, struct err *err)
{
	struct source *source = &dir->source;
	bool ok = count == 0 || !changes_trust ||
	          trust_slots_store(source->context.store, &source->key, dir->format,
	                            dir->walk.trust, headers[count - 1].height + 1, err);
	FAULT_POINT(HEADERS_KEEPING);
	ok = ok && (count == 0 ||
	            agent_headers_put(source->context.store, &source->key, headers, count, err));
	FAULT_POINT(HEADERS_KEPT);
	if (ok) {
		source->view.next = dir->walk.position.next_height;
		return true;
	}
	if (!is_passing(err))
		return false;
	say(dir->block_problem, "%.255s", err->message);
	return begin_walk(dir, err);
}

static bool walk_some(struct fabric_dir *dir, int64_t now_ms, enum step *out_step, struct err *err)
{
	struct block_header headers[TURN_BLOCKS_MAX];
	size_t count = 0;
	bool changes_trust = false;
	uint64_t bytes = 0;
	*out_step = STEP_FINE;
	while (count < TURN_BLOCKS_MAX && !changes_trust) {
		*out_step = walk_next(dir, now_ms, &headers[count], &changes_trust);
		if (*out_step != STEP_FINE)
			break;
		bytes += dir->raw.size;
		count++;
	}
	if (!store_headers(dir, headers, count, changes_trust, err))
		return false;
	dir->source.view.bytes_total += bytes;
	return true;
}

static bool fabric_dir_turn(struct source *source, int64_t now_ms, int64_t *out_wake_ms,
                            struct err *err)
{
	struct fabric_dir *dir = dir_of(source);
	if (now_ms >= dir->scan_at_ms || (dir->changed && now_ms >= dir->scan_again_ms))
		scan(dir, now_ms);
	bool more = read_nameless(dir);
	enum step step = STEP_NONE;
	if (!walk_some(dir, now_ms, &step, err))
		return false;
	source->view.oldest = folder_oldest(dir->folder, source->view.next);
	say(source->view.problem, "%s",
	    dir->folder_problem[0] != '\0' ? dir->folder_problem : dir->block_problem);

	*out_wake_ms = dir->changed ? dir->scan_again_ms : dir->scan_at_ms;
	if (step == STEP_WAIT && now_ms + SETTLE_LOOK_MS < *out_wake_ms)
		*out_wake_ms = now_ms + SETTLE_LOOK_MS;
	if (step == STEP_NONE && folder_find(dir->folder, source->view.next, 0) == NULL)
		more = read_misnamed(dir) || more;
	if (more || step == STEP_FINE)
		*out_wake_ms = now_ms;
	return true;
}

/* ---- reading and pruning ---- */

static bool fabric_dir_read(struct source *source, uint64_t height, struct buffer *out_raw,
                            struct err *err)
{
	struct fabric_dir *dir = dir_of(source);
	struct agent_range range = { .chain = source->key, .from = height, .to = height };
	struct block_header known;
	size_t count = 0;
	if (!agent_headers(source->context.store, &range, &known, 1, &count, err))
		return false;
	for (size_t i = 0; count == 1 && i < COPIES_MAX; i++) {
		const char *name = folder_find(dir->folder, height, i);
		if (name == NULL)
			break;
		size_t before = out_raw->size;
		struct block block;
		if (folder_read(dir->folder, name, source->context.block_max_bytes, out_raw, err)) {
			struct bytes raw = { out_raw->data + before, out_raw->size - before };
			if (dir->format->read(raw, &block, err) &&
			    hash_equal(&block.header.hash, &known.hash))
				return true;
		}
		out_raw->size = before;
	}
	return err_set(err, ZR_UNAVAILABLE,
	               "block %" PRIu64 " is gone, or another than was verified", height);
}

/* We delete nothing that is not ours: a file says what may go. */
static bool fabric_dir_prune(struct source *source, uint64_t below, bool *out_more, struct err *err)
{
	struct buffer path = BUFFER_EMPTY;
	struct buffer text = BUFFER_EMPTY;
	buffer_printf(&path, "%s/%s.prunable", source->context.state_dir, source->id.name);
	buffer_put_u8(&path, 0);
	buffer_printf(&text, "%" PRIu64 "\n", below);
	bool ok = buffer_ok(&path, err) && buffer_ok(&text, err) &&
	          file_write_atomic((const char *)path.data, buffer_bytes(&text), 0644, err);
	buffer_fini(&path);
	buffer_fini(&text);
	*out_more = false;
	return ok;
}

const struct source_ops source_fabric_dir = {
	.name = "fabric-dir",
	.text = "a folder that somebody else fills with block files",
	.own = false,
	.open = fabric_dir_open,
	.close = fabric_dir_close,
	.turn = fabric_dir_turn,
	.read = fabric_dir_read,
	.prune = fabric_dir_prune,
};
