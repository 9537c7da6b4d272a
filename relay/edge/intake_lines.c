/* intake_lines.c -- entries from lines: of standard input, of a file that grows, of a CSV file.
 *
 * A file is followed by its inode. At its end: if the path names another file now, the old one is
 * read out first, under whatever name it has, and then the new one from its beginning; if the file
 * became shorter, it is read from its beginning. The position that is stored with the entries is
 *
 *     u64 inode | u64 offset | u32 CRC-32C of the last (at most TAIL_SIZE) bytes before it
 *
 * and counts only if the bytes before it are still the same.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/crypto.h"
#include "relay/base/log.h"
#include "relay/edge/intake.h"

#define READ_STEP         65536u
#define TAIL_SIZE         256u
#define REFUSED_MAX_BYTES (1 << 20)
#define UNWATCHED_MS      1000 /* Between two looks where nobody says that there is something. */

struct lines {
	struct intake intake; /* First: lines are an intake. */
	struct csv_mapping mapping;
	int fd; /* -1: not open. */
	uint64_t inode;
	struct buffer read_ahead; /* Bytes of the file that are not in the queue yet, */
	uint64_t offset;          /* the first of which is here. */
	size_t line_max;
	bool skipping;       /* In the rest of a line that is too long. */
	bool heading;        /* The next line is the file's heading. */
	struct event *event; /* Standard input has something. NULL: it cannot say so. */
	struct buffer entry; /* Scratch. */
};

static struct lines *lines_of(struct intake *intake)
{
	return (struct lines *)(void *)intake;
}

static bool is_stdin(const struct lines *lines)
{
	return lines->intake.context.config->input == EDGE_INPUT_STDIN;
}

/* ---- opening ---- */

static void on_stdin(evutil_socket_t fd, short what, void *arg)
{
	struct lines *lines = arg;
	lines->intake.context.wake(lines->intake.context.wake_arg);
}

static void lines_close(struct intake *intake)
{
	struct lines *lines = lines_of(intake);
	if (lines->event != NULL)
		event_free(lines->event);
	if (lines->fd >= 0 && !is_stdin(lines))
		close(lines->fd);
	buffer_fini(&lines->read_ahead);
	buffer_fini(&lines->entry);
	free(lines);
}

static void begin_file(struct lines *lines, int fd, uint64_t inode, uint64_t offset)
{
	lines->fd = fd;
	lines->inode = inode;
	lines->offset = offset;
	lines->skipping = false;
	lines->heading =
		offset == 0 && lines->intake.context.config->csv_skip_header &&
		(lines->intake.context.config->input == EDGE_INPUT_CSV || lines->mapping.count > 0);
	buffer_clear(&lines->read_ahead);
}

/* Of the bytes before offset. */
static uint32_t tail_crc(int fd, uint64_t offset)
{
	uint8_t tail[TAIL_SIZE];
	size_t size = offset < TAIL_SIZE ? (size_t)offset : TAIL_SIZE;
	ssize_t got = pread(fd, tail, size, (off_t)(offset - size));
	return got < 0 ? 0 : crc32c(0, (struct bytes){ tail, (size_t)got });
}

static bool open_path(struct lines *lines, const char *path, uint64_t wanted_inode, uint64_t offset,
                      uint32_t crc)
{
	struct stat stat_of;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool ok = fstat(fd, &stat_of) == 0 && S_ISREG(stat_of.st_mode);
	if (ok && wanted_inode != 0)
		ok = stat_of.st_ino == wanted_inode && (uint64_t)stat_of.st_size >= offset &&
		     tail_crc(fd, offset) == crc;
	if (!ok) {
		close(fd);
		return false;
	}
	begin_file(lines, fd, stat_of.st_ino, offset);
	return true;
}

/* The file we were in may have another name by now: looked for in the same folder. */
static bool open_renamed(struct lines *lines, uint64_t inode, uint64_t offset, uint32_t crc)
{
	char *copy = strdup(lines->intake.context.config->path);
	DIR *directory = copy == NULL ? NULL : opendir(dirname(copy));
	bool found = false;
	if (directory != NULL) {
		for (struct dirent *entry = readdir(directory); !found && entry != NULL;
		     entry = readdir(directory)) {
			char path[4096];
			int size = snprintf(path, sizeof(path), "%s/%s", copy, entry->d_name);
			if (entry->d_ino == inode && size > 0 && (size_t)size < sizeof(path))
				found = open_path(lines, path, inode, offset, crc);
		}
		closedir(directory);
	}
	free(copy);
	return found;
}

static void open_at(struct lines *lines, struct bytes position)
{
	const struct intake_context *context = &lines->intake.context;
	struct reader reader = reader_of(position);
	uint64_t inode = reader_u64(&reader);
	uint64_t offset = reader_u64(&reader);
	uint32_t crc = reader_u32(&reader);
	if (reader_done(&reader) && inode != 0) {
		if (open_path(lines, context->config->path, inode, offset, crc) ||
		    open_renamed(lines, inode, offset, crc))
			return;
		log_warn("intake-replaced",
		         "chain=%s path=%s detail=\"the file we were in is gone or was "
		         "rewritten; reading from the beginning\"",
		         context->chain, context->config->path);
	}
	(void)open_path(lines, context->config->path, 0, 0, 0);
}

static void map_columns(struct lines *lines)
{
	const struct edge_source_config *config = lines->intake.context.config;
	lines->mapping.delimiter = config->csv_delimiter[0];
	for (size_t i = 0; i < config->csv_columns.count && i < CSV_COLUMN_MAX; i++) {
		struct csv_column *column = &lines->mapping.columns[lines->mapping.count++];
		config_csv_column(config->csv_columns.items[i], &column->name, &column->number);
	}
	lines->intake.has_time = csv_has_time(&lines->mapping);
}

static bool lines_open(struct intake **out_intake, const struct intake_context *context,
                       struct bytes position, struct err *err)
{
	struct lines *lines = calloc(1, sizeof(*lines));
	if (lines == NULL)
		return err_set(err, ZR_NO_MEMORY, "intake");
	lines->intake.ops = &intake_lines;
	lines->intake.context = *context;
	lines->fd = -1;
	lines->line_max = context->config->entry_bytes > INTAKE_LINE_MIN_BYTES
	                          ? (size_t)context->config->entry_bytes
	                          : INTAKE_LINE_MIN_BYTES;
	map_columns(lines);
	if (is_stdin(lines)) {
		begin_file(lines, STDIN_FILENO, 0, 0);
		/* Fails for files; those are looked at by time. */
		lines->event = event_new(context->base, STDIN_FILENO, EV_READ, on_stdin, lines);
		if (lines->event != NULL && event_add(lines->event, NULL) != 0) {
			event_free(lines->event);
			lines->event = NULL;
		}
	} else {
		open_at(lines, position);
	}
	*out_intake = &lines->intake;
	return true;
}

/* ---- lines that are no entries ---- */

/* Kept aside for people, the newest REFUSED_MAX_BYTES or more of them; failing to is no reason to
 * stop. A line may stand there twice after a crash. */
static void keep_aside(struct lines *lines, struct bytes line, const char *reason)
{
	const char *path = lines->intake.context.refused_path;
	struct stat stat_of;
	if (stat(path, &stat_of) == 0 && stat_of.st_size > REFUSED_MAX_BYTES) {
		char old[4096];
		if (snprintf(old, sizeof(old), "%s.1", path) < (int)sizeof(old))
			(void)rename(path, old);
	}
	FILE *file = fopen(path, "ae");
	if (file == NULL)
		return;
	fprintf(file, "# offset %" PRIu64 ": %s\n", lines->offset, reason);
	fwrite(line.data, 1, line.size, file);
	fputc('\n', file);
	fclose(file);
}

static void refuse(struct lines *lines, struct bytes line, const char *reason)
{
	lines->intake.counts.refused++;
	log_warn("entry-refused", "chain=%s offset=%" PRIu64 " reason=\"%s\" kept=%s",
	         lines->intake.context.chain, lines->offset, reason,
	         lines->intake.context.refused_path);
	keep_aside(lines, line, reason);
}

/* ---- reading ---- */

/* One whole line, without its end. */
static void take_line(struct lines *lines, struct intake_queue *queue, struct bytes line,
                      uint64_t end)
{
	struct err err;
	int64_t time_ms = 0;
	if (line.size > 0 && line.data[line.size - 1] == '\r')
		line.size--;
	if (lines->heading) {
		lines->heading = false;
		return;
	}
	if (line.size == 0)
		return;
	struct bytes entry = line;
	if (lines->mapping.count > 0) {
		buffer_clear(&lines->entry);
		if (!csv_entry(&lines->mapping, line, &lines->entry, &time_ms, &err)) {
			refuse(lines, line, err.message);
			return;
		}
		entry = buffer_bytes(&lines->entry);
	}
	if (entry.size > lines->intake.context.config->entry_bytes)
		refuse(lines, line, "larger than entry-size");
	else if (intake_queue_add(queue, entry, time_ms, end))
		lines->intake.counts.entries++;
}

/* The lines that are whole in what was read. all: what is left is a line, too. */
static void cut_lines(struct lines *lines, struct intake_queue *queue, bool all)
{
	struct bytes rest = buffer_bytes(&lines->read_ahead);
	while (rest.size > 0 && intake_queue_has_room(queue)) {
		const uint8_t *newline = memchr(rest.data, '\n', rest.size);
		if (newline == NULL && !all && rest.size <= lines->line_max)
			break;
		size_t size = newline == NULL ? rest.size : (size_t)(newline - rest.data);
		size_t used = newline == NULL ? size : size + 1;
		struct bytes line = { rest.data, size };
		bool whole = newline != NULL || all;
		if (lines->skipping) {
			lines->skipping = !whole;
		} else if (size > lines->line_max) {
			line.size = lines->line_max;
			refuse(lines, line, "line too long");
			lines->skipping = !whole;
		} else {
			take_line(lines, queue, line, lines->offset + used);
		}
		lines->offset += used;
		rest.data += used;
		rest.size -= used;
	}
	size_t used = lines->read_ahead.size - rest.size;
	if (used > 0 && rest.size > 0)
		memmove(lines->read_ahead.data, rest.data, rest.size);
	lines->read_ahead.size = rest.size;
}

enum got { GOT_SOME, GOT_NOTHING, GOT_END, GOT_FAILURE };

static enum got read_some(struct lines *lines)
{
	struct pollfd ready = { .fd = lines->fd, .events = POLLIN };
	if (is_stdin(lines) && poll(&ready, 1, 0) == 0)
		return GOT_NOTHING;
	uint8_t *place = buffer_reserve(&lines->read_ahead, READ_STEP);
	if (place == NULL)
		return GOT_FAILURE;
	ssize_t got = read(lines->fd, place, READ_STEP);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return GOT_NOTHING;
	if (got < 0) {
		snprintf(lines->intake.problem, sizeof(lines->intake.problem), "read: %s",
		         strerror(errno));
		return GOT_FAILURE;
	}
	if (got == 0)
		return GOT_END;
	buffer_grew(&lines->read_ahead, (size_t)got);
	return GOT_SOME;
}

/* At the end of a file: has another one taken its place, or was it cut? True: read on. */
static bool follow(struct lines *lines, struct intake_queue *queue)
{
	const char *path = lines->intake.context.config->path;
	struct stat named;
	struct stat ours;
	if (fstat(lines->fd, &ours) != 0)
		return false;
	bool stored = queue->count == 0; /* Marks in the queue are of this file, as it was. */
	if ((uint64_t)ours.st_size < lines->offset + lines->read_ahead.size) {
		if (!stored)
			return false;
		log_warn("intake-cut", "chain=%s path=%s offset=%" PRIu64 " size=%" PRIu64,
		         lines->intake.context.chain, path, lines->offset, (uint64_t)ours.st_size);
		int fd = lines->fd;
		if (lseek(fd, 0, SEEK_SET) < 0)
			return false;
		begin_file(lines, fd, lines->inode, 0);
		return true;
	}
	if (stat(path, &named) != 0 || named.st_ino == lines->inode)
		return false;
	cut_lines(lines, queue, true); /* Nobody will end its last line. */
	if (queue->count > 0)
		return false;
	log_info("intake-rotated", "chain=%s path=%s", lines->intake.context.chain, path);
	close(lines->fd);
	lines->fd = -1;
	return open_path(lines, path, 0, 0, 0);
}

static void lines_fill(struct intake *intake, struct intake_queue *queue, int64_t now_ms,
                       int64_t *out_wake_ms)
{
	struct lines *lines = lines_of(intake);
	*out_wake_ms = now_ms + (int64_t)intake->context.config->scan_interval_ms;
	if (lines->fd < 0 && !open_path(lines, intake->context.config->path, 0, 0, 0)) {
		snprintf(intake->problem, sizeof(intake->problem), "%s is not there",
		         intake->context.config->path);
		return;
	}
	intake->problem[0] = '\0';
	if (lines->fd > 0 &&
	    lseek(lines->fd, (off_t)(lines->offset + lines->read_ahead.size), SEEK_SET) < 0)
		return;
	cut_lines(lines, queue, false);
	while (intake_queue_has_room(queue) && !intake->ended) {
		enum got got = read_some(lines);
		if (got == GOT_SOME) {
			cut_lines(lines, queue, false);
			continue;
		}
		if (got == GOT_END && is_stdin(lines)) {
			cut_lines(lines, queue, true);
			intake->ended = lines->read_ahead.size == 0;
			continue;
		}
		if (got == GOT_END && follow(lines, queue))
			continue;
		if (got == GOT_NOTHING && lines->event != NULL) {
			bool watched = event_add(lines->event, NULL) == 0;
			*out_wake_ms = watched ? INT64_MAX : now_ms + UNWATCHED_MS;
		}
		if (queue->count > 0)
			*out_wake_ms = now_ms;
		return;
	}
	*out_wake_ms = intake->ended ? INT64_MAX : now_ms;
}

static void lines_position(struct intake *intake, const struct intake_entry *last,
                           struct buffer *out)
{
	struct lines *lines = lines_of(intake);
	if (is_stdin(lines) || lines->fd < 0)
		return;
	buffer_put_u64(out, lines->inode);
	buffer_put_u64(out, last->mark);
	buffer_put_u32(out, tail_crc(lines->fd, last->mark));
}

static void lines_stored(struct intake *intake, const struct intake_entry *entries, size_t count,
                         uint64_t first_number)
{
	/* Nobody waits for an answer. */
}

const struct intake_ops intake_lines = {
	.open = lines_open,
	.close = lines_close,
	.fill = lines_fill,
	.position = lines_position,
	.stored = lines_stored,
};
