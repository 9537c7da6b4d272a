/* commands_change.c -- the daemon's side of the commands that change a chain, the store, or what is
 * in force. Each change and its audit record are one transaction. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands_daemon.h"
#include "relay/move.h"
#include "relay/operators.h"

/* ---- one chain's state ---- */

struct state_change {
	struct change change; /* First. */
	struct chain_key chain;
	char name[CHAIN_NAME_MAX + 1];
	enum spool_chain_state state;
	bool delivery_held;
	const char *event;
};

static bool apply_state(struct spool_txn *txn, struct change *change, struct err *err)
{
	const struct state_change *state = (struct state_change *)change;
	const struct command_call *call = change->call;
	const struct spool_chain_state_change row = {
		.chain = state->chain,
		.state = state->state,
		.reason = call->reason,
		.who = call->user,
		.delivery_held = state->delivery_held,
		.now_ms = clock_wall_ms(call->gateway->clock),
	};
	return spool_chain_set_state(txn, &row, err);
}

/* Tells the chain's agents, delivery and whoever watches. */
static void tell(struct gateway *gateway, const struct chain_key *key, const char *name,
                 const char *event, const char *reason)
{
	struct chain *chain = chains_by_key(gateway->chains, key);
	if (chain != NULL)
		links_chain_changed(gateway->links, chain);
	delivery_nudge(gateway->delivery);
	operators_publish(gateway->operators, event,
	                  json_pack("{s:s, s:s}", "chain", name, "reason", reason));
}

static void after_state(struct change *change)
{
	const struct state_change *state = (struct state_change *)change;
	tell(change->call->gateway, &state->chain, state->name, state->event, change->call->reason);
}

static void set_state(struct command_call *call, enum spool_chain_state from,
                      enum spool_chain_state to, bool delivery_held, const char *event)
{
	struct spool_chain row;
	if (!command_chain(call, call->line.arguments[0], &row))
		return;
	if (row.state != from && row.state != to) {
		command_answer_error(call, EXIT_FAILED, "%s is %s, not %s", row.id.name,
		                     spool_chain_state_name(row.state),
		                     spool_chain_state_name(from));
		return;
	}
	struct state_change *state = change_new(sizeof(*state), call);
	if (state == NULL)
		return;
	state->change.apply = apply_state;
	state->change.after = after_state;
	state->chain = row.key;
	memcpy(state->name, row.id.name, sizeof(state->name));
	state->state = to;
	state->delivery_held = delivery_held;
	state->event = event;
	if (row.state != to || row.delivery_held != delivery_held)
		change_say(&state->change, "%s %s%s", row.id.name, spool_chain_state_name(to),
		           delivery_held ? ", delivery held" : "");
	change_run(&state->change);
}

void command_chains_freeze(struct command_call *call)
{
	set_state(call, SPOOL_CHAIN_ACTIVE, SPOOL_CHAIN_FROZEN,
	          call->line.options[OPTION_HOLD_DELIVERY] != NULL, "chain-frozen");
}

void command_chains_unfreeze(struct command_call *call)
{
	set_state(call, SPOOL_CHAIN_FROZEN, SPOOL_CHAIN_ACTIVE, false, "chain-unfrozen");
}

/* ---- a new epoch, or a chain from another store ---- */

struct add_change {
	struct change change; /* First. */
	bool retire_former;
	struct chain_key former;
	struct pinned pinned; /* Owned. */
	char format[SPOOL_FORMAT_NAME_MAX + 1];
	char class_name[SPOOL_META_NAME_MAX + 1];
};

static bool apply_add(struct spool_txn *txn, struct change *change, struct err *err)
{
	const struct add_change *add = (struct add_change *)change;
	const struct command_call *call = change->call;
	int64_t now_ms = clock_wall_ms(call->gateway->clock);
	const struct spool_chain_state_change retire = { .chain = add->former,
		                                         .state = SPOOL_CHAIN_RETIRED,
		                                         .reason = call->reason,
		                                         .who = call->user,
		                                         .now_ms = now_ms };
	struct spool_chain_new chain = { .id = add->pinned.id,
		                         .format = add->format,
		                         .trust = buffer_bytes(&add->pinned.trust),
		                         .first_height = add->pinned.first_height,
		                         .tip = add->pinned.tip,
		                         .sink = SPOOL_SINK_MAIN,
		                         .now_ms = now_ms };
	if (!spool_class_number(txn, add->class_name, &chain.class, err) ||
	    (add->retire_former && !spool_chain_set_state(txn, &retire, err)))
		return false;
	if (spool_chain_add(txn, &chain, err))
		return true;
	if (add->retire_former) /* Not the one without the other. */
		txn_fail(&txn->txn, err->code, "%s", err->message);
	return false;
}

static void after_add(struct change *change)
{
	const struct add_change *add = (struct add_change *)change;
	struct gateway *gateway = change->call->gateway;
	if (add->retire_former)
		tell(gateway, &add->former, add->pinned.id.name, "chain-retired",
		     change->call->reason);
	operators_publish(gateway->operators, "chain-added",
	                  json_pack("{s:s, s:s}", "chain", add->pinned.id.name, "reason",
	                            change->call->reason));
	links_chain_enrolled(gateway->links, add->pinned.id.name);
}

static void fini_add(struct change *change)
{
	pinned_fini(&((struct add_change *)change)->pinned);
}

static const struct chain_config *configured(struct command_call *call, const char *name)
{
	const struct chain_config *config = config_chain(call->gateway->config, name);
	if (config == NULL)
		command_answer_error(call, EXIT_FAILED, "there is no chain %s in the zone file",
		                     name);
	return config;
}

static void run_add(struct command_call *call, const struct chain_config *config,
                    const struct spool_chain *former, struct pinned *take_pinned)
{
	struct add_change *add = change_new(sizeof(*add), call);
	if (add == NULL) {
		pinned_fini(take_pinned);
		return;
	}
	char hex[HASH_HEX_SIZE];
	add->change.apply = apply_add;
	add->change.after = after_add;
	add->change.fini = fini_add;
	add->pinned = *take_pinned;
	(void)snprintf(add->format, sizeof(add->format), "%s", config->format);
	(void)snprintf(add->class_name, sizeof(add->class_name), "%s", config->class->name);
	if (former != NULL) {
		add->retire_former = true;
		add->former = former->key;
		change_say(&add->change, "%s epoch %.16s retired at height %" PRIu64,
		           former->id.name, hash_hex(&former->id.epoch, hex), former->next_height);
	}
	change_say(&add->change, "%s epoch %.16s enrolled from height %" PRIu64,
	           add->pinned.id.name, hash_hex(&add->pinned.id.epoch, hex),
	           add->pinned.first_height);
	change_run(&add->change);
}

void command_chains_renew(struct command_call *call)
{
	const struct chain_config *config = configured(call, call->line.arguments[0]);
	struct spool_chain former;
	struct pinned pinned;
	struct err err;
	if (config == NULL || !command_chain(call, config->name, &former))
		return;
	if (!pinned_from_bytes(&pinned, config, call->attachment, &err)) {
		command_answer_error(call, EXIT_FAILED, "the trust file: %s", err.message);
		return;
	}
	if (hash_equal(&pinned.id.epoch, &former.id.epoch)) {
		pinned_fini(&pinned);
		command_answer_error(call, EXIT_FAILED, "%s has this genesis already",
		                     former.id.name);
		return;
	}
	run_add(call, config, former.state == SPOOL_CHAIN_RETIRED ? NULL : &former, &pinned);
}

/* ---- from store to store ---- */

static bool give_file(struct gateway *gateway, const struct spool_chain *row, struct buffer *out,
                      struct err *err)
{
	struct buffer trust = BUFFER_EMPTY;
	uint64_t from;
	const struct sidechain *format = sidechain_find(row->format);
	if (format == NULL)
		return err_set(err, ZR_INVALID, "format %s is not known to this program",
		               row->format);
	bool ok = spool_trust_at(gateway->spool, &row->key, row->next_height, &trust, &from, err);
	if (ok) {
		const struct move move = { .id = row->id,
			                   .format = format,
			                   .next_height = row->next_height,
			                   .tip = row->tip,
			                   .trust = buffer_bytes(&trust) };
		move_encode(&move, out);
		ok = buffer_ok(out, err);
	}
	buffer_fini(&trust);
	return ok;
}

/* What the file pins, if it is of the chain that the zone file grants. */
static bool take_file(struct bytes file, const struct chain_config *config,
                      struct pinned *out_pinned, struct err *err)
{
	struct move move;
	if (!move_decode(file, &move, err))
		return false;
	if (strcmp(move.id.name, config->name) != 0 ||
	    strcmp(move.format->name, config->format) != 0)
		return err_set(err, ZR_INVALID, "the file is of chain %s, format %s", move.id.name,
		               move.format->name);
	if (!hash_is_zero(&config->epoch) && !hash_equal(&config->epoch, &move.id.epoch))
		return err_set(err, ZR_INVALID,
		               "the file is of another genesis than the zone file");
	struct pinned pinned = { .id = move.id,
		                 .trust = BUFFER_EMPTY,
		                 .first_height = move.next_height,
		                 .tip = move.tip };
	buffer_put(&pinned.trust, move.trust);
	if (!buffer_ok(&pinned.trust, err))
		return false;
	*out_pinned = pinned;
	return true;
}

struct move_change {
	struct state_change state; /* First: the chain is retired here. */
	uint64_t next_height;      /* What the bundle says. */
	struct buffer bundle;      /* Owned. */
};

/* P3: a block that was acked here after the bundle was made would be asked for, and anchored, there
 * once more. */
static bool apply_give(struct spool_txn *txn, struct change *change, struct err *err)
{
	const struct move_change *move = (struct move_change *)change;
	struct spool_chain row;
	if (!spool_chain_in(txn, &move->state.chain, &row, err))
		return false;
	if (row.next_height != move->next_height)
		return err_set(err, ZR_STATE,
		               "%s has just taken blocks: try again, or freeze it first",
		               row.id.name);
	return apply_state(txn, change, err);
}

static void fini_move(struct change *change)
{
	buffer_fini(&((struct move_change *)change)->bundle);
}

/* The giving end: the chain takes no more here, drains, and may be taken there from its tip on. */
static void give(struct command_call *call)
{
	struct spool_chain row;
	struct err err;
	if (!command_chain(call, call->line.arguments[0], &row))
		return;
	struct move_change *move = change_new(sizeof(*move), call);
	if (move == NULL)
		return;
	struct change *change = &move->state.change;
	change->apply = apply_give;
	change->after = after_state;
	change->fini = fini_move;
	move->next_height = row.next_height;
	move->state.chain = row.key;
	memcpy(move->state.name, row.id.name, sizeof(move->state.name));
	move->state.state = SPOOL_CHAIN_RETIRED;
	move->state.event = "chain-retired";
	if (!give_file(call->gateway, &row, &move->bundle, &err)) {
		change->call = NULL;
		command_answer_err(call, &err);
		change_drop(change);
		return;
	}
	change->attachment = buffer_bytes(&move->bundle);
	change_say(change, "%s given away from height %" PRIu64, row.id.name, row.next_height);
	change_run(change);
}

void command_chains_move(struct command_call *call)
{
	if (call->attachment.size == 0) {
		give(call);
		return;
	}
	const struct chain_config *config = configured(call, call->line.arguments[0]);
	struct pinned pinned;
	struct err err;
	if (config == NULL)
		return;
	if (take_file(call->attachment, config, &pinned, &err))
		run_add(call, config, NULL, &pinned);
	else
		command_answer_err(call, &err);
}

/* ---- after a restore ---- */

struct adopt_change {
	struct change change; /* First. */
	struct spool_adoption adoption;
	char name[CHAIN_NAME_MAX + 1];
};

static bool apply_adopt(struct spool_txn *txn, struct change *change, struct err *err)
{
	struct adopt_change *adopt = (struct adopt_change *)change;
	adopt->adoption.who = change->call->user;
	adopt->adoption.why = change->call->reason;
	return spool_chain_adopt(txn, &adopt->adoption, err);
}

static void after_adopt(struct change *change)
{
	const struct adopt_change *adopt = (struct adopt_change *)change;
	struct chain *chain = chains_by_key(change->call->gateway->chains, &adopt->adoption.chain);
	if (chain != NULL)
		chain->loss_unsaved = false;
	tell(change->call->gateway, &adopt->adoption.chain, adopt->name, "chain-unfrozen",
	     change->call->reason);
}

/* An option that is a height; what it is if it is not given. */
static bool height_option(struct command_call *call, enum command_option option, uint64_t otherwise,
                          uint64_t *out_height)
{
	struct err err;
	const char *text = call->line.options[option];
	*out_height = otherwise;
	if (text == NULL || command_number(text, "a height", HEIGHT_MAX, out_height, &err))
		return true;
	command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
	return false;
}

void command_adopt_chain(struct command_call *call)
{
	struct spool_chain row;
	uint64_t next, anchored;
	struct hash tip;
	if (!command_chain(call, call->line.arguments[0], &row) ||
	    !height_option(call, OPTION_NEXT, row.next_height, &next) ||
	    !height_option(call, OPTION_ANCHORED, row.anchored_next, &anchored))
		return;
	tip = row.tip;
	const char *tip_text = call->line.options[OPTION_TIP];
	if (tip_text != NULL && !hash_from_hex(&tip, tip_text)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s: not a hash", tip_text);
		return;
	}
	if (next != row.next_height && tip_text == NULL) {
		command_answer_error(call, EXIT_BAD_USAGE,
		                     "--next needs --tip, the hash of block %" PRIu64, next - 1);
		return;
	}
	struct adopt_change *adopt = change_new(sizeof(*adopt), call);
	if (adopt == NULL)
		return;
	adopt->change.apply = apply_adopt;
	adopt->change.after = after_adopt;
	memcpy(adopt->name, row.id.name, sizeof(adopt->name));
	adopt->adoption = (struct spool_adoption){ .chain = row.key,
		                                   .next_height = next,
		                                   .tip = tip,
		                                   .anchored_next = anchored,
		                                   .now_ms = clock_wall_ms(call->gateway->clock) };
	change_say(&adopt->change, "%s goes on at height %" PRIu64, row.id.name, next);
	if (next > row.next_height)
		change_say(&adopt->change, "heights %" PRIu64 "..%" PRIu64 " declared lost",
		           row.next_height, next - 1);
	change_run(&adopt->change);
}

static bool apply_adopt_store(struct spool_txn *txn, struct change *change, struct err *err)
{
	return spool_adopted(txn, err);
}

static void after_adopt_store(struct change *change)
{
	delivery_nudge(change->call->gateway->delivery);
}

void command_adopt_store(struct command_call *call)
{
	struct change *change = change_new(sizeof(*change), call);
	if (change == NULL)
		return;
	change->apply = apply_adopt_store;
	change->after = after_adopt_store;
	change_say(change, "the store is adopted");
	change_run(change);
}

/* ---- resync ---- */

static bool apply_nothing(struct spool_txn *txn, struct change *change, struct err *err)
{
	return true; /* The audit record is all. */
}

struct resync_change {
	struct change change; /* First. */
	struct chain_id id;
	struct ranges ranges;
};

static void after_resync(struct change *change)
{
	const struct resync_change *resync = (struct resync_change *)change;
	struct gateway *gateway = change->call->gateway;
	struct chain *chain;
	struct err err;
	if (!chains_find(gateway->chains, resync->id.name, &resync->id.epoch, &chain, &err))
		return;
	for (size_t i = 0; i < resync->ranges.count; i++)
		links_resend(gateway->links, chain, resync->ranges.items[i].from,
		             resync->ranges.items[i].to, change->call->reason);
}

void command_resync(struct command_call *call)
{
	struct spool_chain row;
	struct ranges ranges;
	struct err err;
	if (!command_chain(call, call->line.arguments[0], &row))
		return;
	if (!ranges_parse(call->line.arguments[1], &ranges, &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	struct resync_change *resync = change_new(sizeof(*resync), call);
	if (resync == NULL)
		return;
	resync->change.apply = apply_nothing;
	resync->change.after = after_resync;
	resync->id = row.id;
	json_t *list = json_array();
	for (size_t i = 0; i < ranges.count; i++) {
		uint64_t to = ranges.items[i].to < HEIGHT_MAX ? ranges.items[i].to : HEIGHT_MAX;
		ranges.items[i].to = to;
		json_array_append_new(list, json_pack("[I, I]", (json_int_t)ranges.items[i].from,
		                                      (json_int_t)to));
		change_say(&resync->change, "%s %" PRIu64 "..%" PRIu64 " asked of the agent",
		           row.id.name, ranges.items[i].from, to);
	}
	resync->ranges = ranges;
	resync->change.extra = json_pack("{s:o}", "ranges", list);
	change_run(&resync->change);
}

/* ---- quarantine reject ---- */

struct reject_change {
	struct change change; /* First. */
	struct ranges numbers;
};

static bool apply_reject(struct spool_txn *txn, struct change *change, struct err *err)
{
	const struct reject_change *reject = (struct reject_change *)change;
	const struct command_call *call = change->call;
	const struct spool_resolution resolution = {
		.verdict = SPOOL_VERDICT_REJECTED,
		.who = call->user,
		.why = call->reason,
		.now_ms = clock_wall_ms(call->gateway->clock),
	};
	bool changed = false;
	for (size_t i = 0; i < reject->numbers.count; i++) {
		for (uint64_t number = reject->numbers.items[i].from;
		     number <= reject->numbers.items[i].to; number++) {
			if (spool_quarantine_resolve(txn, number, &resolution, err)) {
				changed = true;
				continue;
			}
			if (changed) /* All or nothing. */
				txn_fail(&txn->txn, err->code, "%s", err->message);
			return false;
		}
	}
	return true;
}

#define NUMBERS_MAX 1000

void command_quarantine_reject(struct command_call *call)
{
	struct ranges numbers;
	struct err err;
	uint64_t count = 0;
	if (!ranges_parse(call->line.arguments[0], &numbers, &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	for (size_t i = 0; i < numbers.count && count <= NUMBERS_MAX; i++) {
		uint64_t more = numbers.items[i].to - numbers.items[i].from;
		count += more < NUMBERS_MAX ? more + 1 : NUMBERS_MAX + 1;
	}
	if (count > NUMBERS_MAX) {
		command_answer_error(call, EXIT_BAD_USAGE, "at most %d items at once", NUMBERS_MAX);
		return;
	}
	struct reject_change *reject = change_new(sizeof(*reject), call);
	if (reject == NULL)
		return;
	reject->change.apply = apply_reject;
	reject->numbers = numbers;
	for (size_t i = 0; i < numbers.count; i++) {
		for (uint64_t number = numbers.items[i].from; number <= numbers.items[i].to;
		     number++)
			change_say(&reject->change, "item %" PRIu64 " rejected", number);
	}
	change_run(&reject->change);
}

/* ---- dictionaries ---- */

static bool apply_dictionary(struct spool_txn *txn, struct change *change, struct err *err)
{
	struct hash hash;
	return spool_dictionary_put(txn, change->call->attachment, &hash, err);
}

void command_dictionary_add(struct command_call *call)
{
	struct dictionary *dictionary;
	struct err err;
	char hex[HASH_HEX_SIZE];
	if (!dictionary_new(&dictionary, call->attachment, 3, &err)) {
		command_answer_err(call, &err);
		return;
	}
	struct hash hash = *dictionary_hash(dictionary);
	dictionary_free(dictionary);
	struct change *change = change_new(sizeof(*change), call);
	if (change == NULL)
		return;
	change->apply = apply_dictionary;
	change_say(change, "dictionary %s added", hash_hex(&hash, hex));
	change_run(change);
}

/* ---- configuration ---- */

/* What a reload would change, counted as docs/CONTROL.md says. */
static json_t *differences(const struct config_change *changes, size_t count, bool dry_run)
{
	json_t *now = json_array(), *later = json_array();
	uint64_t added = 0, removed = 0, changed = 0;
	for (size_t i = 0; i < count; i++) {
		bool is_chain = strncmp(changes[i].key, "chains", 6) == 0;
		added += is_chain && changes[i].kind == CONFIG_ADDED;
		removed += is_chain && changes[i].kind == CONFIG_REMOVED;
		changed += is_chain && changes[i].kind == CONFIG_CHANGED;
		if (!is_chain)
			json_array_append_new(changes[i].reloadable ? now : later,
			                      json_string(changes[i].key));
	}
	return json_pack("{s:o, s:I, s:I, s:I, s:o, s:b}", "changed", now, "chains_added",
	                 (json_int_t)added, "chains_removed", (json_int_t)removed, "chains_changed",
	                 (json_int_t)changed, "needs_restart", later, "dry_run", dry_run);
}

static void answer_mistakes(struct command_call *call, struct config_errors *errors)
{
	json_t *list = json_array();
	for (size_t i = 0; i < errors->count; i++)
		json_array_append_new(list,
		                      json_sprintf("%s:%u:%u: %s", errors->items[i].file,
		                                   errors->items[i].line, errors->items[i].column,
		                                   errors->items[i].text));
	config_errors_fini(errors);
	command_answer(call, EXIT_FAILED, json_pack("{s:o}", "errors", list));
}

void command_config_reload(struct command_call *call)
{
	struct gateway *gateway = call->gateway;
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct config *config;
	struct config_change *changes;
	size_t count;
	struct err err;
	if (!config_load(gateway->config_path, CONFIG_GATEWAY, &config, &errors)) {
		answer_mistakes(call, &errors);
		return;
	}
	config_errors_fini(&errors);
	bool ok = config_diff(gateway->config, config, &changes, &count, &err);
	json_t *object = ok ? differences(changes, count, call->dry_run) : NULL;
	if (ok)
		free(changes);
	config_free(config);
	if (!ok || (!call->dry_run && !gateway_reload(gateway, &err))) {
		json_decref(object);
		command_answer_err(call, &err);
		return;
	}
	struct change *change = change_new(sizeof(*change), call);
	if (change == NULL) {
		json_decref(object);
		return;
	}
	change->apply = apply_nothing;
	change->extra = object;
	change_run(change);
}
