/* command_call.h -- one operator's request inside the daemon, and the handlers' common tools.
 *
 * A handler answers its call exactly once: at once, or when the change it started is on the disk.
 */
#ifndef ZR_RELAY_COMMAND_CALL_H
#define ZR_RELAY_COMMAND_CALL_H

#include <jansson.h>

#include "relay/base/exit.h"
#include "relay/commands.h"
#include "relay/control.h"
#include "relay/gateway.h"
#include "relay/views.h"
#include "spool/audit.h"

struct command_call {
	struct list_node node; /* In operators' calls. */
	struct operators *operators;
	struct gateway *gateway;
	struct control_call *call; /* Owned until answered. */
	struct command_line line;  /* Borrows from call. */
	const char *reason;
	const char *user;
	bool dry_run;
	struct bytes attachment;
	uint8_t request_id[SPOOL_REQUEST_ID_SIZE];
};

typedef void command_handler(struct command_call *take_call);
/* NULL where the command line does it alone. */
command_handler *command_handler_of(enum command command);

/* ---- answering: each ends the call ---- */

void command_answer(struct command_call *take_call, unsigned exit_status, json_t *take_object);
void command_answer_file(struct command_call *take_call, json_t *take_object, struct bytes file);
void command_answer_error(struct command_call *take_call, unsigned exit_status, const char *format,
                          ...) __attribute__((format(printf, 3, 4)));
/* From an err: exit status 1, or 4 where the spool is damaged. */
void command_answer_err(struct command_call *take_call, const struct err *err);

/* ---- arguments ---- */

/* The chain's row, newest epoch. False: answered. */
bool command_chain(struct command_call *call, const char *name, struct spool_chain *out_row);
/* --after, --limit, --class, --state, --chain. False: answered. */
bool command_page(struct command_call *call, struct view_page *out_page);

/* ---- changes: applied by the writer together with their audit record ---- */

struct change {
	struct writer_op op;
	struct command_call *call; /* Owned. */
	/* As writer_op's apply. */
	bool (*apply)(struct spool_txn *txn, struct change *change, struct err *err);
	/* On the loop, after the commit. May be NULL. */
	void (*after)(struct change *change);
	/* Frees what the larger struct owns. May be NULL. */
	void (*fini)(struct change *change);
	json_t *what;            /* Owned: an array of lines for people. */
	json_t *extra;           /* Owned: further members of the answer; may be NULL. */
	struct bytes attachment; /* Goes with the answer. Borrowed from the larger struct. */
	unsigned exit_status;
	bool is_intake; /* It brings blocks or dictionaries: stops at the spool's mark. */
	char *result;   /* Owned: the answer, as it is in the audit record. */
};

/* A larger struct that begins with a change; takes call. NULL: no memory, and it was answered. */
void *change_new(size_t size, struct command_call *take_call);
void change_say(struct change *change, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Gives up before it was run; its call was answered or taken out of it. */
void change_drop(struct change *take_change);
/* Does it, or, with --dry-run, only says it. Takes change. */
void change_run(struct change *take_change);

#endif
