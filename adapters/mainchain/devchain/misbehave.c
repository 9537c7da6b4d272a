/* One table of kinds; a rule is a row of it with numbers. */
#include "adapters/mainchain/devchain/misbehave.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct kind_row {
	const char *name;
	const char *parameter; /* NULL: none. "chain" is a text, the others are numbers. */
	uint64_t parameter_default, parameter_max;
	const char *text;
};

static const struct kind_row kinds[MISBEHAVE_COUNT] = {
	[MISBEHAVE_DROP_BEFORE] = { "drop-before", NULL, 0, 0,
	                            "Close the connection; nothing was done." },
	[MISBEHAVE_DROP_AFTER] = { "drop-after", NULL, 0, 0,
	                           "Do it, then close the connection without an answer." },
	[MISBEHAVE_ERROR_BEFORE] = { "error-before", "status", 500, 599,
	                             "Answer status (500) in words of its own; nothing was done." },
	[MISBEHAVE_ERROR_AFTER] = { "error-after", "status", 500, 599,
	                            "Do it, then answer status (500) in words of its own." },
	[MISBEHAVE_SLOW] = { "slow", "ms", 1000, 3600000, "Answer ms (1000) milliseconds later." },
	[MISBEHAVE_RESET] = { "reset", "bytes", 0, 1u << 20,
	                      "Do it, and reset the connection after bytes (0) of the answer." },
	[MISBEHAVE_BUSY] = { "busy", "retry_after_s", 1, 3600,
	                     "Answer 503 with reason busy; nothing was done." },
	[MISBEHAVE_DENY] = { "deny", NULL, 0, 0, "Answer 403 with reason denied." },
	[MISBEHAVE_GARBLE] = { "garble", NULL, 0, 0,
	                       "Do it, and answer 200 with what is no JSON." },
	[MISBEHAVE_BAD_EVIDENCE] = { "bad-evidence", NULL, 0, 0,
	                             "Flip one bit of the signature in evidence." },
	[MISBEHAVE_STALE] = { "stale", "blocks", 1, 1u << 20,
	                      "Answer lookup and head as a node that is blocks (1) behind." },
	[MISBEHAVE_REFUSE_CHAIN] = { "refuse-chain", "chain", 0, 0,
	                             "Refuse anchors with an entry of this side chain." },
	[MISBEHAVE_HOLD_BLOCKS] = { "hold-blocks", NULL, 0, 0,
	                            "Make no block; submissions wait. Counts block intervals." },
	[MISBEHAVE_HOLD_FINALITY] = { "hold-finality", NULL, 0, 0,
	                              "Let nothing become final. Counts blocks." },
	[MISBEHAVE_REORGANISE] = { "reorganise", "blocks", 1, 1000,
	                           "Before the next block, drop the last blocks (1) that are not "
	                           "final." },
};

static const char *const call_names[] = {
	[MAINCHAIN_PUT] = "put",   [MAINCHAIN_SUBMIT] = "submit", [MAINCHAIN_LOOKUP] = "lookup",
	[MAINCHAIN_HEAD] = "head", [MAINCHAIN_FENCE] = "fence",   [MAINCHAIN_CONTENT] = "content",
};
#define CALL_COUNT (sizeof(call_names) / sizeof(call_names[0]))

struct rule {
	enum misbehaviour kind;
	unsigned calls; /* One bit per call; all where the rule names none. */
	bool is_counted;
	uint64_t left; /* is_counted: how often it still acts. */
	uint64_t acted;
	double probability;
	uint64_t parameter;
	char chain[CHAIN_NAME_MAX + 1];
};

struct misbehave {
	uint64_t random; /* Never 0. */
	size_t count;
	struct rule rules[MISBEHAVE_RULES_MAX];
};

const char *misbehave_name(enum misbehaviour kind)
{
	return kind < MISBEHAVE_COUNT ? kinds[kind].name : NULL;
}

const char *misbehave_text(enum misbehaviour kind)
{
	return kind < MISBEHAVE_COUNT ? kinds[kind].text : NULL;
}

/* ---- reading ---- */

static bool read_kind(const json_t *object, struct rule *rule, struct err *err)
{
	const char *name = json_string_value(json_object_get(object, "do"));
	for (enum misbehaviour kind = 0; name != NULL && kind < MISBEHAVE_COUNT; kind++) {
		if (strcmp(name, kinds[kind].name) == 0) {
			rule->kind = kind;
			rule->parameter = kinds[kind].parameter_default;
			return true;
		}
	}
	return err_set(err, ZR_INVALID, "\"do\" names no kind of misbehaviour: %.40s",
	               name == NULL ? "it is missing" : name);
}

static bool read_call(const json_t *value, unsigned *calls, struct err *err)
{
	const char *name = json_string_value(value);
	for (size_t i = 0; name != NULL && i < CALL_COUNT; i++) {
		if (strcmp(name, call_names[i]) == 0) {
			*calls |= 1u << i;
			return true;
		}
	}
	return err_set(err, ZR_INVALID, "\"on\": put, submit, lookup, head, fence or content");
}

static bool read_calls(const json_t *value, struct rule *rule, struct err *err)
{
	size_t index;
	const json_t *item;
	if (!json_is_array(value))
		return read_call(value, &rule->calls, err);
	json_array_foreach(value, index, item)
	{
		if (!read_call(item, &rule->calls, err))
			return false;
	}
	return true;
}

static bool read_parameter(const json_t *value, struct rule *rule, struct err *err)
{
	const struct kind_row *row = &kinds[rule->kind];
	if (rule->kind == MISBEHAVE_REFUSE_CHAIN) {
		const char *name = json_string_value(value);
		if (name == NULL || !chain_name_valid(name))
			return err_set(err, ZR_INVALID, "\"chain\" is no name of a chain");
		memcpy(rule->chain, name, strlen(name));
		return true;
	}
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > row->parameter_max)
		return err_set(err, ZR_INVALID, "\"%s\": a number from 0 to %" PRIu64,
		               row->parameter, row->parameter_max);
	rule->parameter = (uint64_t)json_integer_value(value);
	return true;
}

static bool read_member(const char *name, const json_t *value, struct rule *rule, struct err *err)
{
	const struct kind_row *row = &kinds[rule->kind];
	if (strcmp(name, "do") == 0)
		return true;
	if (strcmp(name, "on") == 0)
		return read_calls(value, rule, err);
	if (row->parameter != NULL && strcmp(name, row->parameter) == 0)
		return read_parameter(value, rule, err);
	if (strcmp(name, "count") == 0) {
		rule->is_counted = true;
		rule->left = (uint64_t)json_integer_value(value);
		return (json_is_integer(value) && json_integer_value(value) >= 0) ||
		       err_set(err, ZR_INVALID, "\"count\": a number");
	}
	if (strcmp(name, "probability") == 0) {
		rule->probability = json_number_value(value);
		return (json_is_number(value) && rule->probability >= 0 &&
		        rule->probability <= 1) ||
		       err_set(err, ZR_INVALID, "\"probability\": from 0 to 1");
	}
	return err_set(err, ZR_INVALID, "\"%.40s\" has no place in a rule of kind %s", name,
	               row->name);
}

static bool read_rule(json_t *object, struct rule *rule, struct err *err)
{
	const char *name;
	json_t *value;
	*rule = (struct rule){ .probability = 1 };
	if (!read_kind(object, rule, err))
		return false;
	json_object_foreach(object, name, value)
	{
		if (!read_member(name, value, rule, err))
			return false;
	}
	if (rule->kind == MISBEHAVE_REFUSE_CHAIN && rule->chain[0] == 0)
		return err_set(err, ZR_INVALID, "\"chain\" is missing");
	if (rule->calls == 0)
		rule->calls = ~0u;
	return true;
}

static bool read_all(const json_t *object, struct misbehave *misbehave, struct err *err)
{
	const json_t *rules = json_object_get(object, "rules");
	const json_t *seed = json_object_get(object, "seed");
	if (!json_is_array(rules) || json_array_size(rules) > MISBEHAVE_RULES_MAX)
		return err_set(err, ZR_INVALID, "\"rules\": a list of at most %d",
		               MISBEHAVE_RULES_MAX);
	if (seed != NULL && !json_is_integer(seed))
		return err_set(err, ZR_INVALID, "\"seed\": a number");
	misbehave->random = (uint64_t)json_integer_value(seed) * 2 + 1;
	for (size_t i = 0; i < json_array_size(rules); i++) {
		if (!read_rule(json_array_get(rules, i), &misbehave->rules[i], err))
			return err_wrap(err, "rule %zu", i + 1);
	}
	misbehave->count = json_array_size(rules);
	return true;
}

bool misbehave_new(struct misbehave **out_misbehave, struct bytes text, struct err *err)
{
	struct misbehave *misbehave = calloc(1, sizeof(*misbehave));
	if (misbehave == NULL)
		return err_set(err, ZR_NO_MEMORY, "rules of misbehaviour");
	json_error_t where;
	json_t *object =
		json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &where);
	bool good = object != NULL ? read_all(object, misbehave, err)
	                           : err_set(err, ZR_INVALID, "%s", where.text);
	json_decref(object);
	if (!good) {
		free(misbehave);
		return err_wrap(err, "misbehaviour");
	}
	*out_misbehave = misbehave;
	return true;
}

void misbehave_free(struct misbehave *misbehave)
{
	free(misbehave);
}

/* ---- acting ---- */

/* xorshift64*: the same seed misbehaves in the same order. */
static double draw(struct misbehave *misbehave)
{
	uint64_t x = misbehave->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	misbehave->random = x;
	return (double)((x * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

static bool has_run_out(const struct rule *rule)
{
	return rule->is_counted && rule->left == 0;
}

static bool applies(const struct rule *rule, enum misbehaviour kind, int call)
{
	return rule->kind == kind && !has_run_out(rule) &&
	       (call == MISBEHAVE_NO_CALL || (rule->calls & (1u << call)) != 0);
}

bool misbehave_acts(struct misbehave *misbehave, enum misbehaviour kind, int call,
                    uint64_t *out_parameter)
{
	for (size_t i = 0; i < misbehave->count; i++) {
		struct rule *rule = &misbehave->rules[i];
		if (!applies(rule, kind, call) ||
		    (rule->probability < 1 && draw(misbehave) >= rule->probability))
			continue;
		if (rule->is_counted)
			rule->left--;
		rule->acted++;
		*out_parameter = rule->parameter;
		return true;
	}
	return false;
}

bool misbehave_refuses(const struct misbehave *misbehave, const char *chain)
{
	for (size_t i = 0; i < misbehave->count; i++) {
		const struct rule *rule = &misbehave->rules[i];
		if (applies(rule, MISBEHAVE_REFUSE_CHAIN, MISBEHAVE_NO_CALL) &&
		    strcmp(rule->chain, chain) == 0)
			return true;
	}
	return false;
}

json_t *misbehave_show(const struct misbehave *misbehave)
{
	json_t *rules = json_array();
	for (size_t i = 0; i < misbehave->count; i++) {
		const struct rule *rule = &misbehave->rules[i];
		json_t *row = json_pack("{s:s, s:I}", "do", kinds[rule->kind].name, "acted",
		                        (json_int_t)rule->acted);
		if (rule->is_counted)
			json_object_set_new(row, "left", json_integer((json_int_t)rule->left));
		json_array_append_new(rules, row);
	}
	return json_pack("{s:o}", "rules", rules);
}
