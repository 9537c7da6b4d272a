/* log.c -- see log.h. */
#include "tests/powercut/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
	exit(2);
}

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
void log_load(struct log *log, int fd)
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

void log_free(struct log *log)
{
	free(log->items);
	free(log->data);
}
