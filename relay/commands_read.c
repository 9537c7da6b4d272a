/* commands_read.c -- the daemon's side of the commands that only look. */
#include "relay/commands_daemon.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/log.h"

void command_status(struct command_call *call)
{
	json_t *status = view_status(call->gateway);
	unsigned exit_status = EXIT_OK;
	if (json_array_size(json_object_get(status, "attention")) > 0)
		exit_status = EXIT_DEGRADED;
	const json_t *blocks = json_object_get(status, "blocks");
	if (json_integer_value(json_object_get(blocks, "missing")) != 0)
		exit_status = EXIT_INTEGRITY;
	command_answer(call, exit_status, status);
}

void command_chains_list(struct command_call *call)
{
	struct view_page page;
	if (command_page(call, &page))
		command_answer(call, EXIT_OK, view_chains(call->gateway, &page));
}

void command_chains_show(struct command_call *call)
{
	struct spool_chain row;
	const struct chain_config *config =
		config_chain(call->gateway->config, call->line.arguments[0]);
	if (config != NULL &&
	    !spool_chain_by_name(call->gateway->spool, config->name, &row, NULL)) {
		command_answer(call, EXIT_OK, view_chain_absent(config));
		return;
	}
	if (command_chain(call, call->line.arguments[0], &row))
		command_answer(call, EXIT_OK, view_chain_full(call->gateway, &row));
}

/* One chain by argument, or all. */
static bool chain_page(struct command_call *call, struct view_page *out_page)
{
	if (!command_page(call, out_page))
		return false;
	if (call->line.argument_count > 0) {
		out_page->chain = call->line.arguments[0];
		if (config_chain(call->gateway->config, out_page->chain) == NULL) {
			command_answer_error(call, EXIT_FAILED, "there is no chain %s",
			                     out_page->chain);
			return false;
		}
	}
	return true;
}

void command_pending(struct command_call *call)
{
	struct view_page page;
	if (chain_page(call, &page))
		command_answer(call, EXIT_OK, view_pending(call->gateway, &page));
}

void command_gaps(struct command_call *call)
{
	struct view_page page;
	bool open;
	if (!chain_page(call, &page))
		return;
	json_t *gaps = view_gaps(call->gateway, &page, &open);
	command_answer(call, open ? EXIT_DEGRADED : EXIT_OK, gaps);
}

/* ---- anchors ---- */

void command_anchors_list(struct command_call *call)
{
	struct view_page page;
	if (command_page(call, &page))
		command_answer(call, EXIT_OK, view_anchors(call->gateway, &page));
}

static json_t *entries_json(const struct entry *entries, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:s}", "name",
		                                      entries[i].chain.name, "from",
		                                      (json_int_t)entries[i].from, "to",
		                                      (json_int_t)entries[i].to, "tip",
		                                      view_hash(&entries[i].tip), "policy",
		                                      policy_name(entries[i].policy)));
	return list;
}

void command_anchors_show(struct command_call *call)
{
	struct gateway *gateway = call->gateway;
	struct spool_anchor_id id = { .sink = SPOOL_SINK_MAIN,
		                      .lane = (uint16_t)gateway->config->gateway.main_chain.lane };
	struct spool_anchor anchor;
	struct entry *entries = NULL;
	size_t count;
	struct err err;
	if (!command_number(call->line.arguments[0], "an anchor's number", INT64_MAX, &id.seq,
	                    &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	if (!spool_anchor(gateway->spool, &id, &anchor, &err) ||
	    !spool_anchor_entries(gateway->spool, &id, &entries, &count, &err)) {
		command_answer_err(call, &err);
		return;
	}
	json_t *object = view_anchor(gateway, &anchor);
	json_object_set_new(object, "previous", view_hash(&anchor.previous));
	json_object_set_new(object, "chains", entries_json(entries, count));
	free(entries);
	command_answer(call, EXIT_OK, object);
}

/* ---- quarantine and evidence ---- */

#define SLICE 32

static bool wanted_chain(struct command_call *call, const struct view_page *page,
                         struct chain_key *out_key)
{
	struct spool_chain row;
	*out_key = (struct chain_key){ { 0 } };
	if (page->chain == NULL)
		return true;
	if (!command_chain(call, page->chain, &row))
		return false;
	*out_key = row.key;
	return true;
}

/* After and limit of a list that is ordered by numbers. */
static bool number_page(struct command_call *call, struct view_page *out_page,
                        struct chain_key *out_key, uint64_t *out_after)
{
	struct err err;
	*out_after = 0;
	if (!command_page(call, out_page) || !wanted_chain(call, out_page, out_key))
		return false;
	if (out_page->after == NULL ||
	    command_number(out_page->after, "a number", INT64_MAX, out_after, &err))
		return true;
	command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
	return false;
}

static json_t *next_json(bool more, uint64_t number)
{
	return more ? json_sprintf("%" PRIu64, number) : json_null();
}

void command_quarantine_list(struct command_call *call)
{
	struct view_page page;
	struct chain_key key;
	uint64_t after;
	struct spool_suspect_info infos[SLICE];
	size_t count = 0;
	struct err err;
	if (!number_page(call, &page, &key, &after))
		return;
	json_t *items = json_array();
	bool more = false;
	do {
		if (!spool_quarantine_page(call->gateway->spool, after, infos, SLICE, &count,
		                           &err)) {
			json_decref(items);
			command_answer_err(call, &err);
			return;
		}
		for (size_t i = 0; i < count && !more; i++) {
			if (page.chain == NULL || chain_key_equal(&key, &infos[i].chain))
				json_array_append_new(items,
				                      view_suspect(call->gateway, &infos[i]));
			after = infos[i].number;
			more = json_array_size(items) >= page.limit;
		}
	} while (count == SLICE && !more);
	command_answer(call, EXIT_OK,
	               json_pack("{s:o, s:o}", "items", items, "next", next_json(more, after)));
}

static bool item_number(struct command_call *call, uint64_t *out_number)
{
	struct err err;
	if (command_number(call->line.arguments[0], "a number", INT64_MAX, out_number, &err))
		return true;
	command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
	return false;
}

void command_quarantine_show(struct command_call *call)
{
	uint64_t number;
	struct spool_suspect_info info;
	struct buffer payload = BUFFER_EMPTY;
	struct err err;
	if (!item_number(call, &number))
		return;
	if (!spool_quarantine_get(call->gateway->spool, number, &info, &payload, &err))
		command_answer_err(call, &err);
	else
		command_answer_file(call, view_suspect(call->gateway, &info),
		                    buffer_bytes(&payload));
	buffer_fini(&payload);
}

void command_evidence_list(struct command_call *call)
{
	struct view_page page;
	struct chain_key key;
	uint64_t after;
	struct spool_evidence items[SLICE];
	size_t count = 0;
	struct err err;
	if (!number_page(call, &page, &key, &after))
		return;
	json_t *list = json_array();
	bool more = false;
	do {
		if (!spool_evidence_page(call->gateway->spool, after, items, SLICE, &count, &err)) {
			json_decref(list);
			command_answer_err(call, &err);
			return;
		}
		for (size_t i = 0; i < count && !more; i++) {
			if (page.chain == NULL || chain_key_equal(&key, &items[i].chain))
				json_array_append_new(list,
				                      view_evidence(call->gateway, &items[i]));
			after = items[i].number;
			more = json_array_size(list) >= page.limit;
		}
	} while (count == SLICE && !more);
	command_answer(call, EXIT_OK,
	               json_pack("{s:o, s:o}", "evidence", list, "next", next_json(more, after)));
}

void command_evidence_export(struct command_call *call)
{
	uint64_t number;
	struct spool_evidence evidence;
	struct buffer bundle = BUFFER_EMPTY;
	struct err err;
	if (!item_number(call, &number))
		return;
	if (!spool_evidence_get(call->gateway->spool, number, &evidence, &bundle, &err))
		command_answer_err(call, &err);
	else
		command_answer_file(call, view_evidence(call->gateway, &evidence),
		                    buffer_bytes(&bundle));
	buffer_fini(&bundle);
}

/* ---- log, audit, dictionaries ---- */

void command_log_level(struct command_call *call)
{
	enum log_level before = log_get_level(), level = before;
	if (call->line.argument_count > 0) {
		if (!log_level_from_name(call->line.arguments[0], &level)) {
			command_answer_error(call, EXIT_BAD_USAGE,
			                     "%s: levels are error, warn, info, debug",
			                     call->line.arguments[0]);
			return;
		}
		log_set_level(level);
		log_info("log-level", "who=\"%s\" level=%s", call->user, log_level_name(level));
	}
	command_answer(call, EXIT_OK,
	               json_pack("{s:s, s:s}", "level", log_level_name(level), "before",
	                         log_level_name(before)));
}

void command_audit_list(struct command_call *call)
{
	struct view_page page;
	struct chain_key key;
	uint64_t after;
	struct spool_audit_copy copy = SPOOL_AUDIT_COPY_EMPTY;
	struct err err = { .code = ZR_OK };
	bool found = true, more = false;
	if (!number_page(call, &page, &key, &after))
		return;
	json_t *list = json_array();
	while (found && !more) {
		if (!spool_audit_next(call->gateway->spool, after, &copy, &found, &err))
			break;
		if (!found)
			break;
		const struct spool_audit *audit = &copy.audit;
		json_array_append_new(list, json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:o}",
		                                      "number", (json_int_t)audit->number,
		                                      "time_ms", (json_int_t)audit->time_ms, "who",
		                                      audit->who, "verb", audit->verb, "reason",
		                                      audit->reason, "result", audit->result,
		                                      "hash", view_hash(&copy.hash)));
		after = audit->number;
		more = json_array_size(list) >= page.limit;
	}
	spool_audit_copy_fini(&copy);
	if (err.code != ZR_OK) {
		json_decref(list);
		command_answer_err(call, &err);
		return;
	}
	command_answer(call, EXIT_OK,
	               json_pack("{s:o, s:o}", "audit", list, "next", next_json(more, after)));
}

void command_audit_verify(struct command_call *call)
{
	uint64_t count = 0;
	struct err err;
	struct spool_totals totals;
	bool ok = spool_audit_verify(call->gateway->spool, &count, &err);
	if (!ok && err.code != ZR_CORRUPT) {
		command_answer_err(call, &err);
		return;
	}
	if (!spool_totals(call->gateway->spool, &totals, &err)) {
		command_answer_err(call, &err);
		return;
	}
	command_answer(call, ok ? EXIT_OK : EXIT_INTEGRITY,
	               json_pack("{s:I, s:b, s:o}", "records", (json_int_t)count, "ok", ok, "head",
	                         view_hash(&totals.audit_head)));
}

static json_t *classes_with(const struct gateway *gateway, const struct hash *dictionary)
{
	const struct gateway_config *config = &gateway->config->gateway;
	json_t *list = json_array();
	for (size_t i = 0; i < config->class_count; i++) {
		if (hash_equal(&config->classes[i].dictionary, dictionary))
			json_array_append_new(list, json_string(config->classes[i].name));
	}
	return list;
}

void command_dictionary_list(struct command_call *call)
{
	struct hash hashes[SLICE], after;
	const struct hash *from = NULL;
	size_t count = 0;
	struct err err;
	json_t *list = json_array();
	do {
		if (!spool_dictionaries_page(call->gateway->spool, from, hashes, SLICE, &count,
		                             &err)) {
			json_decref(list);
			command_answer_err(call, &err);
			return;
		}
		for (size_t i = 0; i < count; i++) {
			struct buffer bytes = BUFFER_EMPTY;
			(void)!spool_dictionary_get(call->gateway->spool, &hashes[i], &bytes, NULL);
			json_array_append_new(
				list, json_pack("{s:o, s:I, s:o}", "hash", view_hash(&hashes[i]),
			                        "bytes", (json_int_t)bytes.size, "classes",
			                        classes_with(call->gateway, &hashes[i])));
			buffer_fini(&bytes);
		}
		if (count > 0) {
			after = hashes[count - 1];
			from = &after;
		}
	} while (count == SLICE);
	command_answer(call, EXIT_OK, json_pack("{s:o}", "dictionaries", list));
}
