/* intake.h -- where a ledger's entries come from: one interface, lines or a socket behind it.
 *
 * The ledger asks for entries when it can store some (intake_fill), stores a group of them and how
 * far the intake was read in one transaction, and says so (intake_stored). What was filled and not
 * stored yet is in the queue only, and is read again after a crash.
 */
#ifndef ZR_EDGE_INTAKE_H
#define ZR_EDGE_INTAKE_H

#include "config/config.h"
#include "relay/base/bytes.h"
#include "relay/base/clock.h"
#include "relay/edge/csv.h"

struct event_base;

#define INTAKE_QUEUE_COUNT  1024
#define INTAKE_QUEUE_BYTES  (1u << 20)
#define INTAKE_PROBLEM_SIZE 256

struct intake_entry {
	size_t offset, size; /* In the queue's data. */
	int64_t time_ms;     /* The meter's; 0: it has none. */
	uint64_t mark;       /* The intake's own: end of the line, or the client. */
};

/* Filled when it is empty, emptied from the front. */
struct intake_queue {
	struct buffer data;
	struct intake_entry entries[INTAKE_QUEUE_COUNT];
	size_t first, count; /* entries[first..count) wait. */
};

bool intake_queue_has_room(const struct intake_queue *queue);
/* Copies the entry in. False: no memory. */
bool intake_queue_add(struct intake_queue *queue, struct bytes entry, int64_t time_ms,
                      uint64_t mark);
struct bytes intake_queue_bytes(const struct intake_queue *queue, const struct intake_entry *entry);

struct intake_context {
	const char *chain; /* For logs. */
	const struct edge_source_config *config;
	const char *refused_path; /* Where lines that are no entries are kept aside. */
	struct event_base *base;
	void (*wake)(void *arg);
	void *wake_arg;
};

struct intake;
struct intake_ops {
	/* position: what intake_position() gave before the last stop; empty at first. */
	bool (*open)(struct intake **out_intake, const struct intake_context *context,
	             struct bytes position, struct err *err);
	void (*close)(struct intake *intake);
	/* Adds what is there to an empty queue. *out_wake_ms: when to ask again at the latest. */
	void (*fill)(struct intake *intake, struct intake_queue *queue, int64_t now_ms,
	             int64_t *out_wake_ms);
	/* How far it is read with last: goes into the transaction that stores last. Appends. */
	void (*position)(struct intake *intake, const struct intake_entry *last,
	                 struct buffer *out);
	/* These are on the disk; the first has this number, the others follow. */
	void (*stored)(struct intake *intake, const struct intake_entry *entries, size_t count,
	               uint64_t first_number);
};

struct intake_counts {
	uint64_t entries; /* Given to the queue, since start. */
	uint64_t refused;
};

/* First in each kind's own struct. */
struct intake {
	const struct intake_ops *ops;
	struct intake_context context; /* The strings are kept. */
	struct intake_counts counts;
	bool has_time; /* Its entries carry the meter's time. */
	bool ended;    /* Nothing will ever come again: standard input was closed. */
	char problem[INTAKE_PROBLEM_SIZE];
};

bool intake_open(struct intake **out_intake, const struct intake_context *context,
                 struct bytes position, struct err *err) MUST_CHECK;
void intake_close(struct intake *intake); /* NULL is allowed. */

extern const struct intake_ops intake_lines;
extern const struct intake_ops intake_socket;

/* The largest line that is looked at; it may be longer than the entry that is made from it. */
#define INTAKE_LINE_MIN_BYTES (64u << 10)

#endif
