/* One pass over the lines; a PEM block is handed on whole. */
#include "adapters/mainchain/trusted.h"

#include <stdlib.h>
#include <string.h>

#include "proto/record.h"

struct trusted {
	struct key *keys[TRUSTED_KEYS_MAX]; /* Owned. */
	struct hash ids[TRUSTED_KEYS_MAX];
	size_t count;
	size_t threshold; /* 0: not given yet. */
	char chain[CHAIN_NAME_MAX + 1];
};

struct lines {
	struct bytes rest;
	unsigned number; /* Of the line read last. */
};

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct bytes trim(struct bytes line)
{
	while (line.size > 0 && is_blank(line.data[line.size - 1]))
		line.size--;
	while (line.size > 0 && is_blank(line.data[0])) {
		line.data++;
		line.size--;
	}
	return line;
}

/* The next line, without blanks at its ends. False at the end of the text. */
static bool next_line(struct lines *lines, struct bytes *out_line)
{
	if (lines->rest.size == 0)
		return false;
	const uint8_t *end = memchr(lines->rest.data, '\n', lines->rest.size);
	size_t size = end == NULL ? lines->rest.size : (size_t)(end - lines->rest.data);
	*out_line = trim((struct bytes){ lines->rest.data, size });
	size_t taken = end == NULL ? size : size + 1;
	lines->rest.data += taken;
	lines->rest.size -= taken;
	lines->number++;
	return true;
}

static bool begins_with(struct bytes line, const char *prefix, struct bytes *out_rest)
{
	struct bytes head = bytes_of_string(prefix);
	if (line.size < head.size || memcmp(line.data, head.data, head.size) != 0)
		return false;
	*out_rest = trim((struct bytes){ line.data + head.size, line.size - head.size });
	return true;
}

static bool add_key(struct trusted *trusted, struct bytes pem, struct err *err)
{
	if (trusted->count == TRUSTED_KEYS_MAX)
		return err_set(err, ZR_INVALID, "more than %d keys", TRUSTED_KEYS_MAX);

	struct key *key;
	if (!key_from_pem(&key, pem, err))
		return false;
	struct hash id = key_id(key);
	const char *wrong = NULL;
	if (key_is_private(key))
		wrong = "this is a private key; what is trusted is the public one";
	else if (trusted_find(trusted, &id) != NULL)
		wrong = "this key is in the file twice";
	if (wrong != NULL) {
		key_free(key);
		return err_set(err, ZR_INVALID, "%s", wrong);
	}
	trusted->keys[trusted->count] = key;
	trusted->ids[trusted->count] = id;
	trusted->count++;
	return true;
}

/* begin is the line that begins the PEM block; lines stand behind it. */
static bool read_pem(struct trusted *trusted, struct lines *lines, const uint8_t *begin,
                     struct err *err)
{
	struct bytes line, rest;
	while (next_line(lines, &line)) {
		if (begins_with(line, "-----END ", &rest)) {
			size_t size = (size_t)(lines->rest.data - begin);
			return add_key(trusted, (struct bytes){ begin, size }, err);
		}
	}
	return err_set(err, ZR_INVALID, "a PEM block that does not end");
}

static bool read_threshold(struct trusted *trusted, struct bytes value, struct err *err)
{
	size_t threshold = 0;
	bool valid = value.size > 0 && value.size <= 2 && trusted->threshold == 0;
	for (size_t i = 0; valid && i < value.size; i++) {
		valid = value.data[i] >= '0' && value.data[i] <= '9';
		threshold = threshold * 10 + (size_t)(value.data[i] - '0');
	}
	if (!valid || threshold == 0)
		return err_set(err, ZR_INVALID, "threshold: one number from 1 to 64, once");
	trusted->threshold = threshold;
	return true;
}

static bool read_chain(struct trusted *trusted, struct bytes value, struct err *err)
{
	bool valid = trusted->chain[0] == 0 && value.size > 0 && value.size <= CHAIN_NAME_MAX;
	if (valid) {
		memcpy(trusted->chain, value.data, value.size);
		valid = strlen(trusted->chain) == value.size && chain_name_valid(trusted->chain);
	}
	return valid || err_set(err, ZR_INVALID, "chain: one name, once");
}

static bool read_line(struct trusted *trusted, struct lines *lines, const uint8_t *begin,
                      struct bytes line, struct err *err)
{
	struct bytes value;
	if (line.size == 0 || line.data[0] == '#')
		return true;
	if (begins_with(line, "-----BEGIN ", &value))
		return read_pem(trusted, lines, begin, err);
	if (begins_with(line, "threshold:", &value))
		return read_threshold(trusted, value, err);
	if (begins_with(line, "chain:", &value))
		return read_chain(trusted, value, err);
	return err_set(err, ZR_INVALID,
	               "neither a PEM block, nor chain: or threshold:, nor a comment");
}

static bool finish(struct trusted *trusted, struct err *err)
{
	if (trusted->threshold == 0)
		trusted->threshold = 1;
	if (trusted->count == 0)
		return err_set(err, ZR_INVALID, "there is no key in it");
	if (trusted->threshold > trusted->count)
		return err_set(err, ZR_INVALID, "the threshold is %zu, and there are %zu keys",
		               trusted->threshold, trusted->count);
	return true;
}

bool trusted_parse(struct bytes text, struct trusted **out_trusted, struct err *err)
{
	struct trusted *trusted = calloc(1, sizeof(*trusted));
	if (trusted == NULL)
		return err_set(err, ZR_NO_MEMORY, "trusted keys of the main chain");

	struct lines lines = { text, 0 };
	const uint8_t *begin = text.data;
	struct bytes line;
	while (next_line(&lines, &line)) {
		if (!read_line(trusted, &lines, begin, line, err)) {
			(void)err_wrap(err, "line %u", lines.number);
			goto fail;
		}
		begin = lines.rest.data;
	}
	if (!finish(trusted, err))
		goto fail;

	*out_trusted = trusted;
	return true;

fail:
	trusted_free(trusted);
	return err_wrap(err, "trusted keys of the main chain");
}

void trusted_free(struct trusted *trusted)
{
	if (trusted == NULL)
		return;
	for (size_t i = 0; i < trusted->count; i++)
		key_free(trusted->keys[i]);
	free(trusted);
}

size_t trusted_key_count(const struct trusted *trusted)
{
	return trusted->count;
}

size_t trusted_threshold(const struct trusted *trusted)
{
	return trusted->threshold;
}

const char *trusted_chain(const struct trusted *trusted)
{
	return trusted->chain[0] == 0 ? NULL : trusted->chain;
}

const struct key *trusted_find(const struct trusted *trusted, const struct hash *key_id)
{
	for (size_t i = 0; i < trusted->count; i++) {
		if (hash_equal(&trusted->ids[i], key_id))
			return trusted->keys[i];
	}
	return NULL;
}
