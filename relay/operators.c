/* operators.c -- see operators.h and command_call.h. */
#include "relay/operators.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/command_call.h"

struct operators {
	struct gateway *gateway; /* Kept. */
	struct control_server *server;
	struct event *event;
	struct list_node calls; /* Under way. */
};

/* ---- answering ---- */

static void call_free(struct command_call *call)
{
	list_remove(&call->node);
	free(call);
}

static void answer(struct command_call *take_call, const struct control_answer *answer)
{
	if (take_call->call != NULL)
		control_call_answer(take_call->call, answer);
	call_free(take_call);
}

void command_answer_file(struct command_call *take_call, json_t *take_object, struct bytes file)
{
	char *text = take_object != NULL ? json_dumps(take_object, JSON_COMPACT) : NULL;
	json_decref(take_object);
	if (text == NULL) {
		command_answer_error(take_call, EXIT_FAILED, "out of memory");
		return;
	}
	answer(take_call, &(struct control_answer){ .exit_status = EXIT_OK,
	                                            .json = bytes_of_string(text),
	                                            .attachment = file });
	free(text);
}

void command_answer(struct command_call *take_call, unsigned exit_status, json_t *take_object)
{
	char *text = take_object != NULL ? json_dumps(take_object, JSON_COMPACT) : NULL;
	json_decref(take_object);
	if (text == NULL) {
		command_answer_error(take_call, EXIT_FAILED, "out of memory");
		return;
	}
	answer(take_call, &(struct control_answer){ .exit_status = exit_status,
	                                            .json = bytes_of_string(text) });
	free(text);
}

void command_answer_error(struct command_call *take_call, unsigned exit_status, const char *format,
                          ...)
{
	char text[ERR_MESSAGE_SIZE];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	answer(take_call, &(struct control_answer){ .exit_status = exit_status, .error = text });
}

void command_answer_err(struct command_call *take_call, const struct err *err)
{
	command_answer_error(take_call, err->code == ZR_CORRUPT ? EXIT_INTEGRITY : EXIT_FAILED,
	                     "%s", err->message);
}

/* ---- arguments ---- */

bool command_chain(struct command_call *call, const char *name, struct spool_chain *out_row)
{
	struct err err;
	if (spool_chain_by_name(call->gateway->spool, name, out_row, &err))
		return true;
	if (err.code == ZR_STATE && config_chain(call->gateway->config, name) != NULL)
		command_answer_error(call, EXIT_FAILED,
		                     "%s is in the zone file and not enrolled yet: see the log",
		                     name);
	else if (err.code == ZR_STATE)
		command_answer_error(call, EXIT_FAILED, "there is no chain %s", name);
	else
		command_answer_err(call, &err);
	return false;
}

bool command_page(struct command_call *call, struct view_page *out_page)
{
	const char *const *options = call->line.options;
	struct view_page page = { .after = options[OPTION_AFTER],
		                  .limit = VIEW_PAGE_DEFAULT,
		                  .class_name = options[OPTION_CLASS],
		                  .state = options[OPTION_STATE],
		                  .chain = options[OPTION_CHAIN] };
	if (options[OPTION_LIMIT] != NULL) {
		uint64_t limit;
		struct err err;
		if (!command_number(options[OPTION_LIMIT], "a limit", VIEW_PAGE_MAX, &limit,
		                    &err)) {
			command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
			return false;
		}
		page.limit = limit > 0 ? (size_t)limit : 1;
	}
	*out_page = page;
	return true;
}

/* ---- changes ---- */

void change_drop(struct change *take_change)
{
	if (take_change->fini != NULL)
		take_change->fini(take_change);
	json_decref(take_change->what);
	json_decref(take_change->extra);
	free(take_change->result);
	free(take_change);
}

void *change_new(size_t size, struct command_call *take_call)
{
	struct change *change = calloc(1, size);
	json_t *what = json_array();
	if (change == NULL || what == NULL) {
		free(change);
		json_decref(what);
		command_answer_error(take_call, EXIT_FAILED, "out of memory");
		return NULL;
	}
	change->call = take_call;
	change->what = what;
	return change;
}

void change_say(struct change *change, const char *format, ...)
{
	char text[ERR_MESSAGE_SIZE];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	(void)json_array_append_new(change->what, json_string(text));
}

/* The answer; audit_number 0: a dry run. */
static json_t *change_json(const struct change *change, uint64_t audit_number)
{
	json_t *object = json_pack(
		"{s:I, s:b, s:O, s:o}", "changed", (json_int_t)json_array_size(change->what),
		"dry_run", audit_number == 0, "what", change->what, "audit",
		audit_number == 0 ? json_null() : json_integer((json_int_t)audit_number));
	if (object != NULL && change->extra != NULL)
		(void)json_object_update(object, change->extra);
	return object;
}

/* The words as they were given, for the audit record. */
static void verb_text(const struct command_call *call, char *text, size_t size)
{
	const Zonerelay__Control__Request *request = call->call->request;
	size_t used = 0;
	text[0] = '\0';
	for (size_t i = 0; i < request->n_words && used + 1 < size; i++) {
		if (strcmp(request->words[i], "--") == 0)
			continue;
		int written = snprintf(text + used, size - used, "%s%s", i > 0 ? " " : "",
		                       request->words[i]);
		used += written > 0 ? (size_t)written : 0;
	}
}

static bool append_audit(struct spool_txn *txn, struct change *change, struct err *err)
{
	const struct command_call *call = change->call;
	char verb[1024];
	verb_text(call, verb, sizeof(verb));
	json_t *object = change_json(change, txn->totals.audit_next);
	free(change->result);
	change->result = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	if (change->result == NULL)
		return err_set(err, ZR_NO_MEMORY, "the answer");
	struct spool_audit audit = { .time_ms = clock_wall_ms(call->gateway->clock),
		                     .who = call->user,
		                     .verb = verb,
		                     .reason = call->reason,
		                     .result = change->result };
	memcpy(audit.request_id, call->request_id, sizeof(audit.request_id));
	return spool_audit_append(txn, &audit, err);
}

static bool apply_change(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct change *change = (struct change *)op;
	if (!change->apply(txn, change, err))
		return false;
	bool recorded = append_audit(txn, change, err);
	FAULT_POINT(OPERATOR_CHANGING);
	if (recorded)
		return true;
	/* What was changed without a record must not be committed: the group is done again without
	 * us. */
	txn_fail(&txn->txn, err->code, "%s", err->message);
	return false;
}

static void change_done(struct writer_op *op)
{
	struct change *change = (struct change *)op;
	struct command_call *call = change->call;
	FAULT_POINT(OPERATOR_CHANGED);
	if (op->ok) {
		log_info("operator", "who=\"%s\" verb=\"%s\" reason=\"%s\"", call->user,
		         call->line.row->words, call->reason);
		if (change->after != NULL)
			change->after(change);
		answer(call, &(struct control_answer){ .exit_status = change->exit_status,
		                                       .json = bytes_of_string(change->result),
		                                       .attachment = change->attachment });
	} else {
		command_answer_err(call, &op->err);
	}
	change_drop(change);
}

void change_run(struct change *take_change)
{
	struct command_call *call = take_change->call;
	struct err err;
	if (call->dry_run) {
		command_answer(call, take_change->exit_status, change_json(take_change, 0));
		change_drop(take_change);
		return;
	}
	take_change->op.work = take_change->is_intake ? SPOOL_INTAKE : SPOOL_UPKEEP;
	take_change->op.apply = apply_change;
	take_change->op.on_done = change_done;
	take_change->op.reply = call->gateway->commits;
	if (writer_submit(call->gateway->writer, &take_change->op, &err))
		return;
	command_answer_err(call, &err);
	change_drop(take_change);
}

/* ---- requests ---- */

/* True: it was answered, as the first time. */
static bool repeat(struct command_call *call)
{
	struct spool_audit_copy copy = SPOOL_AUDIT_COPY_EMPTY;
	struct err err;
	bool found = false;
	LIST_FOR_EACH (node, &call->operators->calls) {
		const struct command_call *other = LIST_ENTRY(node, struct command_call, node);
		if (other != call &&
		    memcmp(other->request_id, call->request_id, sizeof(call->request_id)) == 0) {
			command_answer_error(call, EXIT_FAILED,
			                     "the same request is under way: ask again");
			return true;
		}
	}
	if (!spool_audit_by_request(call->gateway->spool, call->request_id, &copy, &found, &err)) {
		command_answer_err(call, &err);
		found = true;
	} else if (found) {
		answer(call,
		       &(struct control_answer){ .exit_status = EXIT_OK,
		                                 .json = bytes_of_string(copy.audit.result) });
	}
	spool_audit_copy_fini(&copy);
	return found;
}

static void run(struct command_call *call)
{
	const struct command_row *row = call->line.row;
	command_handler *handler = command_handler_of(call->line.command);
	if (handler == NULL) {
		command_answer_error(call, EXIT_BAD_USAGE,
		                     "\"%s\" is done by the command line, not by the daemon",
		                     row->words);
		return;
	}
	if ((row->flags & COMMAND_CHANGES) != 0 && !call->dry_run) {
		if (call->reason[0] == '\0') {
			command_answer_error(call, EXIT_BAD_USAGE,
			                     "\"%s\" changes something: say why with --reason",
			                     row->words);
			return;
		}
		if (repeat(call))
			return;
	}
	handler(call);
}

static void on_call(struct operators *operators, struct control_call *control)
{
	const Zonerelay__Control__Request *request = control->request;
	struct err err;
	struct command_call *call = calloc(1, sizeof(*call));
	if (call == NULL) {
		control_call_answer(control, &(struct control_answer){ .exit_status = EXIT_FAILED,
		                                                       .error = "out of memory" });
		return;
	}
	call->operators = operators;
	call->gateway = operators->gateway;
	call->call = control;
	call->user = control->user;
	call->reason = request->reason;
	call->dry_run = request->dry_run;
	call->attachment = (struct bytes){ request->attachment.data, request->attachment.len };
	if (request->request_id.len == sizeof(call->request_id))
		memcpy(call->request_id, request->request_id.data, sizeof(call->request_id));
	list_append(&operators->calls, &call->node);
	if (!command_parse((const char *const *)request->words, request->n_words, &call->line,
	                   &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	run(call);
}

void operators_turn(struct operators *operators)
{
	struct control_call *call;
	if (operators->server == NULL)
		return;
	while ((call = control_server_next(operators->server)) != NULL)
		on_call(operators, call);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	operators_turn(arg);
}

/* ---- life ---- */

bool operators_start(struct operators **out_operators, struct gateway *gateway, struct err *err)
{
	const struct gateway_config *config = &gateway->config->gateway;
	struct operators *operators = calloc(1, sizeof(*operators));
	if (operators == NULL)
		return err_set(err, ZR_NO_MEMORY, "operators");
	operators->gateway = gateway;
	list_init(&operators->calls);
	const struct control_server_options options = { .socket = config->control_socket,
		                                        .events = config->control_events,
		                                        .group = config->control_group };
	if (!control_server_start(&operators->server, &options, err)) {
		operators_stop(operators);
		return false;
	}
	operators->event = event_new(gateway->base, control_server_fd(operators->server),
	                             EV_READ | EV_PERSIST, on_readable, operators);
	if (operators->event == NULL || event_add(operators->event, NULL) != 0) {
		operators_stop(operators);
		return err_set(err, ZR_NO_MEMORY, "operators");
	}
	*out_operators = operators;
	return true;
}

void operators_close(struct operators *operators)
{
	if (operators == NULL || operators->server == NULL)
		return;
	if (operators->event != NULL)
		event_free(operators->event);
	operators->event = NULL;
	control_server_stop(operators->server);
	operators->server = NULL;
	/* What is still with the writer comes back, and has nobody to be told to. */
	LIST_FOR_EACH (node, &operators->calls)
		LIST_ENTRY(node, struct command_call, node)->call = NULL;
}

void operators_stop(struct operators *operators)
{
	if (operators == NULL)
		return;
	operators_close(operators);
	while (!list_is_empty(&operators->calls))
		call_free(LIST_ENTRY(operators->calls.next, struct command_call, node));
	free(operators);
}

void operators_publish(struct operators *operators, const char *name, json_t *take_object)
{
	char *text = take_object != NULL ? json_dumps(take_object, JSON_COMPACT) : NULL;
	json_decref(take_object);
	if (text != NULL && operators != NULL && operators->server != NULL)
		control_server_publish(operators->server, name, text,
		                       clock_wall_ms(operators->gateway->clock));
	free(text);
}
