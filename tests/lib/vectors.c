/* vectors.c -- see vectors.h. */
#include "tests/lib/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/file.h"

#define VECTORS_MAX   512
#define FILE_SIZE_MAX (1u << 20)

struct vectors {
	struct buffer text; /* Names, ended with zeros in place of the spaces. */
	size_t count;
	struct {
		const char *name;
		uint8_t *data; /* Owned. */
		size_t size;
	} rows[VECTORS_MAX];
};

static void add(struct vectors *vectors, char *line)
{
	char *space = strchr(line, ' ');
	assert_non_null(space);
	assert_true(vectors->count < VECTORS_MAX);
	*space = '\0';
	const char *hex = strcmp(space + 1, "-") == 0 ? "" : space + 1;
	size_t size = strlen(hex) / 2;
	uint8_t *data = malloc(size + 1);
	assert_non_null(data);
	assert_true(hex_decode(hex, data, size));
	vectors->rows[vectors->count].name = line;
	vectors->rows[vectors->count].data = data;
	vectors->rows[vectors->count].size = size;
	vectors->count++;
}

struct vectors *vectors_open(const char *file)
{
	char path[256];
	struct err err;
	struct vectors *vectors = calloc(1, sizeof(*vectors));
	assert_non_null(vectors);
	(void)snprintf(path, sizeof(path), "tests/data/vectors/%s", file);
	if (!file_read(path, FILE_SIZE_MAX, &vectors->text, &err))
		fail_msg("%s", err.message);
	buffer_put_u8(&vectors->text, 0);
	assert_true(buffer_ok(&vectors->text, &err));

	char *rest = NULL;
	for (char *line = strtok_r((char *)vectors->text.data, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest))
		add(vectors, line);
	return vectors;
}

void vectors_close(struct vectors *vectors)
{
	for (size_t i = 0; i < vectors->count; i++)
		free(vectors->rows[i].data);
	buffer_fini(&vectors->text);
	free(vectors);
}

struct bytes vector(const struct vectors *vectors, const char *name)
{
	for (size_t i = 0; i < vectors->count; i++) {
		if (strcmp(vectors->rows[i].name, name) == 0)
			return (struct bytes){ vectors->rows[i].data, vectors->rows[i].size };
	}
	fail_msg("no vector %s", name);
	return BYTES_NONE;
}

struct bytes vector_at(const struct vectors *vectors, const char *format, ...)
{
	char name[64];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(name, sizeof(name), format, arguments);
	va_end(arguments);
	return vector(vectors, name);
}

static void show(const char *what, struct bytes bytes)
{
	char *text = malloc(2 * bytes.size + 1);
	if (text != NULL)
		print_error("%s %s\n", what, hex_encode(bytes, text));
	free(text);
}

void vectors_assert_equal(struct bytes found, struct bytes expected, const char *file, int line)
{
	if (bytes_equal(found, expected))
		return;
	show("found   ", found);
	show("expected", expected);
	_fail(file, line);
}
