/* log.c -- see log.h.
 *
 *     text      2026-11-23T02:15:00.123Z info zonerelayd[812] batch-stored chain=7 from=100
 *     journal   <6>batch-stored chain=7 from=100
 *     json      {"time":"...","level":"info","program":"...","event":"...","chain":"7",...}
 *
 * A line is built on the stack and written with one write(), so lines of several threads never mix.
 */
#include "relay/base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/clock.h"

#define DETAIL_SIZE   2048
#define LINE_SIZE     (3 * DETAIL_SIZE + 512) /* Escapes and quotes at most triple it in JSON. */
#define EVENT_SIZE    48
#define EVENT_COUNT   256 /* A power of two, and more than the programs have events. */
#define PROBE_COUNT   16
#define LEVEL_COUNT   4
#define BURST_SPAN_MS 1000

static const struct {
	const char *name;
	const char *journal_prefix; /* See sd-daemon(3). */
} levels[LEVEL_COUNT] = {
	[LOG_LEVEL_ERROR] = { "error", "<3>" },
	[LOG_LEVEL_WARN] = { "warn", "<4>" },
	[LOG_LEVEL_INFO] = { "info", "<6>" },
	[LOG_LEVEL_DEBUG] = { "debug", "<7>" },
};

/* How often one event was written in the second that began at since_ms. */
struct burst {
	char event[EVENT_SIZE]; /* Empty: a free slot. */
	int64_t since_ms;
	unsigned written;
	unsigned suppressed;
};

/* The log belongs to the process, like standard error itself. */
static struct {
	atomic_int level;
	atomic_int style;
	atomic_bool to_journal;
	_Atomic(const char *) program;
	pthread_mutex_t mutex; /* Guards what follows. */
	uint64_t counts[LEVEL_COUNT];
	struct burst bursts[EVENT_COUNT];
} shared = {
	.level = LOG_LEVEL_INFO,
	.style = LOG_STYLE_TEXT,
	.mutex = PTHREAD_MUTEX_INITIALIZER,
};

/* systemd names the device and inode of the stream it gave us: standard error may since have been
 * sent elsewhere. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat info;
	if (stream == NULL || fstat(STDERR_FILENO, &info) != 0)
		return false;
	char own[64];
	(void)snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)info.st_dev,
	               (unsigned long long)info.st_ino);
	return strcmp(own, stream) == 0;
}

void log_init(const char *program, enum log_level level, enum log_style style)
{
	shared.program = program;
	shared.style = (int)style;
	shared.to_journal = stderr_is_journal();
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	shared.level = (int)level;
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&shared.level, memory_order_relaxed);
}

bool log_level_from_name(const char *name, enum log_level *out_level)
{
	for (int i = 0; i < LEVEL_COUNT; i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*out_level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

const char *log_level_name(enum log_level level)
{
	assert((unsigned)level < LEVEL_COUNT);
	return levels[level].name;
}

uint64_t log_count(enum log_level level)
{
	assert((unsigned)level < LEVEL_COUNT);
	(void)pthread_mutex_lock(&shared.mutex);
	uint64_t count = shared.counts[level];
	(void)pthread_mutex_unlock(&shared.mutex);
	return count;
}

/* ---- text from outside ---- */

/* How many bytes the UTF-8 character at text has; 0 where it is not one, or is a control. */
static size_t character_size(const unsigned char *text)
{
	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
	size_t size = text[0] >= 0xc2 && text[0] < 0xe0   ? 2
	              : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
	              : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
	                                                  : 0;
	for (size_t i = 1; i < size; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0; /* Also the end of the text. */
	}
	bool control = text[0] == 0xc2 && text[1] < 0xa0;
	bool overlong = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
	bool surrogate = text[0] == 0xed && text[1] >= 0xa0;
	bool too_high = text[0] == 0xf4 && text[1] >= 0x90;
	return control || overlong || surrogate || too_high ? 0 : size;
}

/* A peer's text may be in the line: it must not forge lines, colour a terminal or break JSON. */
static void replace_controls(char *text)
{
	for (unsigned char *at = (unsigned char *)text; *at != '\0';) {
		size_t size = character_size(at);
		if (size == 0)
			*at = '?';
		at += size == 0 ? 1 : size;
	}
}

/* ---- lines ---- */

struct line {
	char text[LINE_SIZE];
	size_t size;
};

/* Cuts what does not fit; room for the end of the line is kept. */
static void line_add(struct line *line, const char *text, size_t size)
{
	size_t room = LINE_SIZE - 4 - line->size;
	size_t fits = size < room ? size : room;
	memcpy(line->text + line->size, text, fits);
	line->size += fits;
}

static void line_add_text(struct line *line, const char *text)
{
	line_add(line, text, strlen(text));
}

static void line_add_quoted(struct line *line, const char *text, size_t size)
{
	line_add(line, "\"", 1);
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '"' || text[i] == '\\')
			line_add(line, "\\", 1);
		line_add(line, text + i, 1);
	}
	line_add(line, "\"", 1);
}

static void line_add_field(struct line *line, const char *name, const char *value)
{
	line_add_quoted(line, name, strlen(name));
	line_add(line, ":", 1);
	line_add_quoted(line, value, strlen(value));
}

/* Splits key=value and key="some words" into members; a word without '=' is left in "text". */
static void line_add_pairs(struct line *line, const char *detail)
{
	const char *at = detail;
	while (*at != '\0') {
		at += strspn(at, " ");
		size_t name_size = strcspn(at, " =");
		if (name_size == 0 || at[name_size] != '=')
			break;
		const char *value = at + name_size + 1;
		bool quoted = value[0] == '"';
		value += quoted ? 1 : 0;
		size_t value_size = strcspn(value, quoted ? "\"" : " ");
		line_add(line, ",", 1);
		line_add_quoted(line, at, name_size);
		line_add(line, ":", 1);
		line_add_quoted(line, value, value_size);
		at = value + value_size;
		at += quoted && *at == '"' ? 1 : 0;
	}
	if (*at != '\0') {
		line_add(line, ",", 1);
		line_add_field(line, "text", at);
	}
}

static void line_build(struct line *line, enum log_level level, const char *event,
                       const char *detail)
{
	char time[CLOCK_TEXT_SIZE];
	const char *program = shared.program != NULL ? shared.program : "zonerelay";
	clock_text(clock_wall_ms(clock_system()), time);
	line->size = 0;
	if (shared.style == LOG_STYLE_JSON) {
		line_add(line, "{", 1);
		line_add_field(line, "time", time);
		line_add(line, ",", 1);
		line_add_field(line, "level", levels[level].name);
		line_add(line, ",", 1);
		line_add_field(line, "program", program);
		line_add(line, ",", 1);
		line_add_field(line, "event", event);
		line_add_pairs(line, detail);
		line_add(line, "}", 1);
	} else {
		if (shared.to_journal) {
			line_add_text(line, levels[level].journal_prefix);
		} else {
			line_add_text(line, time);
			line_add(line, " ", 1);
			line_add_text(line, levels[level].name);
			line_add(line, " ", 1);
			line_add_text(line, program);
			line_add(line, " ", 1);
		}
		line_add_text(line, event);
		line_add(line, " ", detail[0] == '\0' ? 0 : 1);
		line_add_text(line, detail);
	}
	line->text[line->size++] = '\n';
}

static void write_line(enum log_level level, const char *event, const char *detail)
{
	struct line line;
	line_build(&line, level, event, detail);
	for (size_t done = 0; done < line.size;) {
		ssize_t put = write(STDERR_FILENO, line.text + done, line.size - done);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			break; /* Nobody reads us; there is nowhere to say so. */
		done += (size_t)put;
	}
	(void)pthread_mutex_lock(&shared.mutex);
	shared.counts[level]++;
	(void)pthread_mutex_unlock(&shared.mutex);
}

/* ---- bursts ---- */

/* The event's slot; where the table is full of other events, one of them is forgotten. */
static struct burst *burst_of(const char *event)
{
	unsigned hash = 5381;
	for (const char *at = event; *at != '\0'; at++)
		hash = hash * 33 + (unsigned char)*at;
	for (unsigned i = 0; i < PROBE_COUNT; i++) {
		struct burst *burst = &shared.bursts[(hash + i) % EVENT_COUNT];
		if (strncmp(burst->event, event, EVENT_SIZE - 1) == 0)
			return burst;
		if (burst->event[0] == '\0') {
			(void)snprintf(burst->event, sizeof(burst->event), "%s", event);
			return burst;
		}
	}
	struct burst *burst = &shared.bursts[hash % EVENT_COUNT];
	memset(burst, 0, sizeof(*burst));
	(void)snprintf(burst->event, sizeof(burst->event), "%s", event);
	return burst;
}

/* May the event be written now? *out_suppressed: how many were not, since it last was. */
static bool burst_allows(const char *event, unsigned *out_suppressed)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());
	bool allowed = true;
	*out_suppressed = 0;
	(void)pthread_mutex_lock(&shared.mutex);
	struct burst *burst = burst_of(event);
	if (burst->written == 0 || now_ms - burst->since_ms >= BURST_SPAN_MS) {
		*out_suppressed = burst->suppressed;
		burst->suppressed = 0;
		burst->written = 0;
		burst->since_ms = now_ms;
	}
	if (burst->written < LOG_BURST_MAX) {
		burst->written++;
	} else {
		burst->suppressed++;
		allowed = false;
	}
	(void)pthread_mutex_unlock(&shared.mutex);
	return allowed;
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
	assert((unsigned)level < LEVEL_COUNT);
	unsigned suppressed;
	if (level > log_get_level() || !burst_allows(event, &suppressed))
		return;

	char detail[DETAIL_SIZE];
	int saved_errno = errno;
	if (suppressed > 0) {
		(void)snprintf(detail, sizeof(detail), "event=%s count=%u", event, suppressed);
		write_line(level, "log-suppressed", detail);
	}
	va_list args;
	va_start(args, format);
	int needed = vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	if (needed >= DETAIL_SIZE)
		memcpy(detail + DETAIL_SIZE - 4, "...", 4);
	replace_controls(detail);
	write_line(level, event, detail);
	errno = saved_errno;
}
