/* value.c -- see value.h. */
#include "config/value.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"

#define UNIT_MAX 5

struct unit {
	const char *name;
	uint64_t factor;
};

/* Smallest first. */
static const struct unit size_units[UNIT_MAX] = {
	{ "B", 1 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "TiB", UINT64_C(1) << 40 },
};
static const struct unit time_units[UNIT_MAX] = {
	{ "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 }, { "d", 86400000 },
};

static const struct unit *units_of(enum config_type type)
{
	return type == CONFIG_SIZE ? size_units : type == CONFIG_DURATION ? time_units : NULL;
}

bool config_type_is_list(enum config_type type)
{
	return type >= CONFIG_TEXT_LIST;
}

/* ---- numbers ---- */

/* Leading digits of text; *out_used is 0 if there are none or they do not fit. */
static uint64_t digits(struct bytes text, size_t *out_used)
{
	uint64_t number = 0;
	size_t used = 0;
	*out_used = 0;
	while (used < text.size && text.data[used] >= '0' && text.data[used] <= '9') {
		uint64_t digit = (uint64_t)(text.data[used] - '0');
		if (number > (UINT64_MAX - digit) / 10)
			return 0;
		number = number * 10 + digit;
		used++;
	}
	*out_used = used;
	return number;
}

static struct bytes bytes_after(struct bytes text, size_t count)
{
	return (struct bytes){ text.data + count, text.size - count };
}

static bool is_text(struct bytes bytes, const char *text)
{
	return bytes_equal(bytes, bytes_of_string(text));
}

void value_print_number(enum config_type type, uint64_t number, struct buffer *out)
{
	const struct unit *units = units_of(type);
	if (units == NULL || number == 0) {
		buffer_printf(out, "%" PRIu64, number);
		return;
	}
	size_t best = 0;
	for (size_t i = 0; i < UNIT_MAX; i++) {
		if (number % units[i].factor == 0)
			best = i;
	}
	buffer_printf(out, "%" PRIu64 " %s", number / units[best].factor, units[best].name);
}

static bool refuse_form(enum config_type type, struct err *err)
{
	if (type == CONFIG_SIZE)
		return err_set(err, ZR_INVALID,
		               "must be a size with its unit (B, KiB, MiB, GiB or TiB), "
		               "for instance 64 MiB");
	if (type == CONFIG_DURATION)
		return err_set(err, ZR_INVALID,
		               "must be a duration with its unit (ms, s, min, h or d), "
		               "for instance 30 s");
	return err_set(err, ZR_INVALID, "must be a whole number");
}

/* The factor of the unit that follows the digits; 0: it is none. */
static uint64_t factor_of(enum config_type type, struct bytes rest, uint64_t number)
{
	const struct unit *units = units_of(type);
	if (rest.size == 0)
		return units == NULL || number == 0 ? 1 : 0;
	if (units == NULL)
		return 0;
	while (rest.size > 0 && rest.data[0] == ' ')
		rest = bytes_after(rest, 1);
	for (size_t i = 0; i < UNIT_MAX; i++) {
		if (is_text(rest, units[i].name))
			return units[i].factor;
	}
	return 0;
}

static bool refuse_range(const struct config_key *key, struct err *err)
{
	struct buffer range = BUFFER_EMPTY;
	value_print_number(key->type, key->min, &range);
	buffer_printf(&range, " to ");
	value_print_number(key->type, key->max, &range);
	if (key->unit != NULL && key->unit[0] != '\0')
		buffer_printf(&range, " %s", key->unit);
	err_set(err, ZR_INVALID, "must be from %.*s", (int)range.size,
	        range.data == NULL ? "" : (const char *)range.data);
	buffer_fini(&range);
	return false;
}

static bool parse_number(const struct config_key *key, struct bytes text, uint64_t *out_number,
                         struct err *err)
{
	size_t used;
	uint64_t number = digits(text, &used);
	if (used == 0)
		return refuse_form(key->type, err);
	uint64_t factor = factor_of(key->type, bytes_after(text, used), number);
	if (factor == 0)
		return refuse_form(key->type, err);
	uint64_t max = key->max == 0 ? UINT64_MAX : key->max;
	if (number > max / factor || number * factor < key->min)
		return refuse_range(key, err);
	*out_number = number * factor;
	return true;
}

/* ---- texts ---- */

static bool refuse_memory(struct err *err)
{
	return err_set(err, ZR_NO_MEMORY, "does not fit into memory");
}

static bool parse_text(const struct config_key *key, const struct value_place *place,
                       struct bytes text, const char **out_text, struct err *err)
{
	bool scalar = key->type == CONFIG_TEXT;
	size_t min = scalar ? (size_t)key->min : 1;
	size_t max = scalar && key->max != 0 ? (size_t)key->max : CONFIG_SCALAR_MAX;
	if (text.size < min || text.size > max)
		return err_set(err, ZR_INVALID, "must have from %zu to %zu characters", min, max);
	char *copy = arena_text(place->arena, (const char *)text.data, text.size);
	if (copy == NULL)
		return refuse_memory(err);
	*out_text = copy;
	return true;
}

static bool parse_name(const struct value_place *place, struct bytes text, const char **out_name,
                       struct err *err)
{
	char name[CHAIN_NAME_MAX + 1];
	bool good = text.size > 0 && text.size <= CHAIN_NAME_MAX;
	if (good) {
		memcpy(name, text.data, text.size);
		name[text.size] = '\0';
		good = chain_name_valid(name);
	}
	if (!good)
		return err_set(err, ZR_INVALID,
		               "must be a name: up to %d letters, digits, '.', '-' and '_', "
		               "beginning with a letter or digit",
		               CHAIN_NAME_MAX);
	char *copy = arena_text(place->arena, name, text.size);
	if (copy == NULL)
		return refuse_memory(err);
	*out_name = copy;
	return true;
}

static bool parse_path(const struct value_place *place, struct bytes text, const char **out_path,
                       struct err *err)
{
	if (text.size == 0)
		return err_set(err, ZR_INVALID, "must be a path");
	while (text.size > 2 && text.data[0] == '.' && text.data[1] == '/')
		text = bytes_after(text, 2);
	bool whole = text.data[0] == '/';
	size_t folder_size = whole ? 0 : strlen(place->folder);
	char *path = arena_alloc(place->arena, folder_size + text.size + 2);
	if (path == NULL)
		return refuse_memory(err);
	if (!whole) {
		memcpy(path, place->folder, folder_size);
		path[folder_size++] = '/';
	}
	memcpy(path + folder_size, text.data, text.size);
	*out_path = path;
	return true;
}

/* The place of the colon before the port; text.size if there is none. Brackets guard colons. */
static size_t colon_of(struct bytes text)
{
	size_t i = 0;
	if (text.size > 0 && text.data[0] == '[') {
		while (i < text.size && text.data[i] != ']')
			i++;
		i++;
	} else {
		while (i < text.size && text.data[i] != ':')
			i++;
	}
	return i < text.size && text.data[i] == ':' ? i : text.size;
}

static bool parse_address(const struct value_place *place, struct bytes text,
                          struct config_address *out_address, struct err *err)
{
	size_t colon = colon_of(text);
	size_t used = 0;
	uint64_t port = 0;
	if (colon < text.size)
		port = digits(bytes_after(text, colon + 1), &used);
	size_t brackets = text.size > 0 && text.data[0] == '[' ? 1 : 0;
	if (used == 0 || colon + 1 + used != text.size || colon <= 2 * brackets || colon > 300 ||
	    port == 0 || port > 65535)
		return err_set(err, ZR_INVALID,
		               "must be an address and a port from 1 to 65535, for instance "
		               "10.1.2.3:7443 or [2001:db8::1]:7443");
	struct config_address address = { .port = (uint16_t)port };
	address.text = arena_text(place->arena, (const char *)text.data, text.size);
	address.host =
		arena_text(place->arena, (const char *)text.data + brackets, colon - 2 * brackets);
	if (address.text == NULL || address.host == NULL)
		return refuse_memory(err);
	*out_address = address;
	return true;
}

/* ---- the rest ---- */

static bool parse_bool(struct bytes text, bool *out_value, struct err *err)
{
	bool yes = is_text(text, "true") || is_text(text, "yes") || is_text(text, "on");
	if (!yes && !is_text(text, "false") && !is_text(text, "no") && !is_text(text, "off"))
		return err_set(err, ZR_INVALID, "must be true or false");
	*out_value = yes;
	return true;
}

static bool parse_enum(const struct config_key *key, struct bytes text, unsigned *out_value,
                       struct err *err)
{
	const struct config_choice *choice;
	for (choice = key->choices; choice->name != NULL; choice++) {
		if (!is_text(text, choice->name))
			continue;
		*out_value = choice->value;
		return true;
	}
	char names[160] = "";
	size_t size = 0;
	for (choice = key->choices; choice->name != NULL; choice++) {
		const char *joint = choice == key->choices   ? ""
		                    : choice[1].name == NULL ? " or "
		                                             : ", ";
		int more =
			snprintf(names + size, sizeof(names) - size, "%s%s", joint, choice->name);
		assert(more > 0 && (size_t)more < sizeof(names) - size);
		size += (size_t)more;
	}
	return err_set(err, ZR_INVALID, "must be %s", names);
}

static bool parse_hash(struct bytes text, struct hash *out_hash, struct err *err)
{
	char hex[HASH_HEX_SIZE] = "";
	struct hash hash;
	if (text.size == HASH_HEX_SIZE - 1)
		memcpy(hex, text.data, text.size);
	if (!hash_from_hex(&hash, hex))
		return err_set(err, ZR_INVALID, "must be a hash: 64 hexadecimal digits");
	*out_hash = hash;
	return true;
}

static bool is_printable(struct bytes text)
{
	for (size_t i = 0; i < text.size; i++) {
		if (text.data[i] < 0x20 || text.data[i] == 0x7f)
			return text.size == 1 && text.data[i] == '\t';
	}
	return true;
}

/* One scalar of a key, or one element of its list. */
static bool parse_scalar(const struct config_key *key, const struct value_place *place,
                         struct bytes text, void *field, struct err *err)
{
	if (text.size > CONFIG_SCALAR_MAX)
		return err_set(err, ZR_INVALID, "must have at most %d characters",
		               CONFIG_SCALAR_MAX);
	if (!is_printable(text))
		return err_set(err, ZR_INVALID, "must not hold control characters");
	switch (key->type) {
	case CONFIG_BOOL:
		return parse_bool(text, field, err);
	case CONFIG_INTEGER:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return parse_number(key, text, field, err);
	case CONFIG_TEXT:
	case CONFIG_TEXT_LIST:
		return parse_text(key, place, text, field, err);
	case CONFIG_NAME:
	case CONFIG_NAME_LIST:
		return parse_name(place, text, field, err);
	case CONFIG_PATH:
	case CONFIG_PATH_LIST:
		return parse_path(place, text, field, err);
	case CONFIG_ADDRESS:
	case CONFIG_ADDRESS_LIST:
		return parse_address(place, text, field, err);
	case CONFIG_ENUM:
		return parse_enum(key, text, field, err);
	case CONFIG_HASH:
		return parse_hash(text, field, err);
	case CONFIG_TYPE_COUNT:
		break;
	}
	assert(false);
	return false;
}

bool value_parse(const struct config_key *key, const struct value_place *place, struct bytes text,
                 void *field, struct err *err)
{
	assert(!config_type_is_list(key->type));
	if (text.size > CONFIG_SCALAR_MAX)
		return err_set(err, ZR_INVALID, "must have at most %d characters",
		               CONFIG_SCALAR_MAX);
	return parse_scalar(key, place, text, field, err);
}

static bool refuse_count(const struct config_key *key, struct err *err)
{
	if (key->min == key->max)
		return err_set(err, ZR_INVALID, "must be a list of %" PRIu64, key->min);
	return err_set(err, ZR_INVALID, "must be a list of %" PRIu64 " to %" PRIu64, key->min,
	               key->max);
}

bool value_parse_list(const struct config_key *key, const struct value_place *place,
                      struct value_texts *texts, void *field, struct err *err)
{
	assert(config_type_is_list(key->type) && key->max > 0);
	size_t count = texts->count;
	texts->bad = count;
	if (count < key->min || count > key->max)
		return refuse_count(key, err);
	bool addresses = key->type == CONFIG_ADDRESS_LIST;
	size_t item_size = addresses ? sizeof(struct config_address) : sizeof(const char *);
	char *items = arena_alloc(place->arena, (count + 1) * item_size);
	if (items == NULL)
		return refuse_memory(err);
	for (size_t i = 0; i < count; i++) {
		texts->bad = i;
		if (!parse_scalar(key, place, texts->items[i], items + i * item_size, err))
			return false;
	}
	if (addresses)
		*(struct config_addresses *)field = (struct config_addresses){
			(const struct config_address *)(const void *)items, count
		};
	else
		*(struct config_list *)field =
			(struct config_list){ (const char *const *)(const void *)items, count };
	return true;
}

static size_t field_size(enum config_type type)
{
	switch (type) {
	case CONFIG_BOOL:
		return sizeof(bool);
	case CONFIG_INTEGER:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return sizeof(uint64_t);
	case CONFIG_TEXT:
	case CONFIG_NAME:
	case CONFIG_PATH:
		return sizeof(const char *);
	case CONFIG_ADDRESS:
		return sizeof(struct config_address);
	case CONFIG_ENUM:
		return sizeof(unsigned);
	case CONFIG_HASH:
		return sizeof(struct hash);
	case CONFIG_TEXT_LIST:
	case CONFIG_NAME_LIST:
	case CONFIG_PATH_LIST:
		return sizeof(struct config_list);
	case CONFIG_ADDRESS_LIST:
		return sizeof(struct config_addresses);
	case CONFIG_TYPE_COUNT:
		break;
	}
	assert(false);
	return 0;
}

/* Enums are stored through unsigned. */
_Static_assert(sizeof(enum policy) == sizeof(unsigned), "enums have the size of unsigned");

void value_set_normal(const struct config_key *key, const struct value_place *place, void *field)
{
	memset(field, 0, field_size(key->type));
	if (key->normal == NULL)
		return;
	struct err err;
	struct bytes text = bytes_of_string(key->normal);
	struct value_texts texts = { .items = &text, .count = 1 };
	bool good = config_type_is_list(key->type)
	                    ? value_parse_list(key, place, &texts, field, &err)
	                    : value_parse(key, place, text, field, &err);
	assert(good || place->arena->failed);
}
