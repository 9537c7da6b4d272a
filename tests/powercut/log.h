/* log.h -- a recording, read back. */
#ifndef ZR_TESTS_POWERCUT_LOG_H
#define ZR_TESTS_POWERCUT_LOG_H

#include "tests/powercut/record.h"

struct item {
	struct record record;
	const uint8_t *bytes; /* In the log's data. */
};

struct log {
	struct item *items; /* Owned. */
	size_t count;
	uint8_t *data; /* Owned. */
};

/* Reads all of fd from its beginning. Ends the program where it is no log. */
void log_load(struct log *log, int fd);
void log_free(struct log *log);

#endif
