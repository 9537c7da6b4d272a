/* value_print.c -- values as YAML, and comparing two of them. See value.h. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "config/config.h"
#include "config/value.h"

bool value_is_none(const struct config_key *key, const void *field)
{
	switch (key->type) {
	case CONFIG_TEXT:
	case CONFIG_NAME:
	case CONFIG_PATH:
		return *(const char *const *)field == NULL;
	case CONFIG_ADDRESS:
		return ((const struct config_address *)field)->text == NULL;
	case CONFIG_ENUM:
		return key->normal == NULL && *(const unsigned *)field == 0;
	case CONFIG_HASH:
		return hash_is_zero(field);
	case CONFIG_TEXT_LIST:
	case CONFIG_NAME_LIST:
	case CONFIG_PATH_LIST:
		return ((const struct config_list *)field)->count == 0;
	case CONFIG_ADDRESS_LIST:
		return ((const struct config_addresses *)field)->count == 0;
	case CONFIG_BOOL:
	case CONFIG_INTEGER:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
	case CONFIG_TYPE_COUNT:
		break;
	}
	return false;
}

/* ---- comparing ---- */

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool list_equal(const struct config_list *a, const struct config_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	}
	return true;
}

static bool addresses_equal(const struct config_addresses *a, const struct config_addresses *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->items[i].text, b->items[i].text) != 0)
			return false;
	}
	return true;
}

bool value_equal(const struct config_key *key, const void *a, const void *b)
{
	switch (key->type) {
	case CONFIG_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONFIG_INTEGER:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return *(const uint64_t *)a == *(const uint64_t *)b;
	case CONFIG_TEXT:
	case CONFIG_NAME:
	case CONFIG_PATH:
		return text_equal(*(const char *const *)a, *(const char *const *)b);
	case CONFIG_ADDRESS:
		return text_equal(((const struct config_address *)a)->text,
		                  ((const struct config_address *)b)->text);
	case CONFIG_ENUM:
		return *(const unsigned *)a == *(const unsigned *)b;
	case CONFIG_HASH:
		return hash_equal(a, b);
	case CONFIG_TEXT_LIST:
	case CONFIG_NAME_LIST:
	case CONFIG_PATH_LIST:
		return list_equal(a, b);
	case CONFIG_ADDRESS_LIST:
		return addresses_equal(a, b);
	case CONFIG_TYPE_COUNT:
		break;
	}
	assert(false);
	return false;
}

/* ---- printing ---- */

static bool is_plain(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "._-/+=";
	size_t size = strlen(text);
	return size > 0 && strspn(text, plain) == size && strchr("-+=", text[0]) == NULL;
}

static void print_quoted(const char *text, size_t size, struct buffer *out)
{
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '"' || text[i] == '\\')
			buffer_put_u8(out, '\\');
		if (text[i] == '\t')
			buffer_put(out, BYTES_LITERAL("\\t"));
		else
			buffer_put_u8(out, (uint8_t)text[i]);
	}
}

/* The part of a URL that may hold a password: between "://" and the last '@' before the path. */
static void find_secret(const char *url, size_t *out_from, size_t *out_to)
{
	const char *begin = strstr(url, "://");
	begin = begin == NULL ? url : begin + 3;
	size_t host_size = strcspn(begin, "/?#");
	const char *at = memrchr(begin, '@', host_size);
	*out_from = (size_t)(begin - url);
	*out_to = at == NULL ? *out_from : (size_t)(at - url);
}

static void print_text(const struct config_key *key, const char *text, struct buffer *out)
{
	if (is_plain(text)) {
		buffer_put(out, bytes_of_string(text));
		return;
	}
	size_t from = 0;
	size_t to = 0;
	if (key->secret)
		find_secret(text, &from, &to);
	buffer_put_u8(out, '"');
	print_quoted(text, from, out);
	if (to > from)
		buffer_put(out, BYTES_LITERAL("***"));
	print_quoted(text + to, strlen(text + to), out);
	buffer_put_u8(out, '"');
}

static void print_texts(const struct config_key *key, const struct config_list *list,
                        struct buffer *out)
{
	buffer_put_u8(out, '[');
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0)
			buffer_put(out, BYTES_LITERAL(", "));
		print_text(key, list->items[i], out);
	}
	buffer_put_u8(out, ']');
}

static void print_addresses(const struct config_key *key, const struct config_addresses *list,
                            struct buffer *out)
{
	buffer_put_u8(out, '[');
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0)
			buffer_put(out, BYTES_LITERAL(", "));
		print_text(key, list->items[i].text, out);
	}
	buffer_put_u8(out, ']');
}

static void print_enum(const struct config_key *key, unsigned value, struct buffer *out)
{
	const struct config_choice *choice = key->choices;
	while (choice->name != NULL && choice->value != value)
		choice++;
	assert(choice->name != NULL);
	buffer_put(out, bytes_of_string(choice->name));
}

void value_print(const struct config_key *key, const void *field, struct buffer *out)
{
	char hex[HASH_HEX_SIZE];
	switch (key->type) {
	case CONFIG_BOOL:
		buffer_put(out, bytes_of_string(*(const bool *)field ? "true" : "false"));
		return;
	case CONFIG_INTEGER:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		value_print_number(key->type, *(const uint64_t *)field, out);
		return;
	case CONFIG_TEXT:
	case CONFIG_NAME:
	case CONFIG_PATH:
		print_text(key, *(const char *const *)field, out);
		return;
	case CONFIG_ADDRESS:
		print_text(key, ((const struct config_address *)field)->text, out);
		return;
	case CONFIG_ENUM:
		print_enum(key, *(const unsigned *)field, out);
		return;
	case CONFIG_HASH:
		buffer_put(out, bytes_of_string(hash_hex(field, hex)));
		return;
	case CONFIG_TEXT_LIST:
	case CONFIG_NAME_LIST:
	case CONFIG_PATH_LIST:
		print_texts(key, field, out);
		return;
	case CONFIG_ADDRESS_LIST:
		print_addresses(key, field, out);
		return;
	case CONFIG_TYPE_COUNT:
		break;
	}
	assert(false);
}
