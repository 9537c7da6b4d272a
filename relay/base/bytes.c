/* bytes.c -- see bytes.h. */
#include "relay/base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64u

struct bytes bytes_of_string(const char *text)
{
	return (struct bytes){ (const uint8_t *)text, strlen(text) };
}

bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int bytes_compare(struct bytes a, struct bytes b)
{
	size_t common = a.size < b.size ? a.size : b.size;
	int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
	if (order != 0 || a.size == b.size)
		return order;
	return a.size < b.size ? -1 : 1;
}

uint8_t *bytes_dup(struct bytes bytes)
{
	uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
	if (copy != NULL && bytes.size > 0)
		memcpy(copy, bytes.data, bytes.size);
	return copy;
}

/* ---- hashes and hexadecimal ---- */

bool hash_equal(const struct hash *a, const struct hash *b)
{
	return memcmp(a->bytes, b->bytes, HASH_SIZE) == 0;
}

bool hash_is_zero(const struct hash *hash)
{
	static const struct hash zero;
	return hash_equal(hash, &zero);
}

bool hash_from_bytes(struct hash *out_hash, struct bytes bytes)
{
	if (bytes.size != HASH_SIZE)
		return false;
	memcpy(out_hash->bytes, bytes.data, HASH_SIZE);
	return true;
}

const char *hash_hex(const struct hash *hash, char hex[static HASH_HEX_SIZE])
{
	return hex_encode((struct bytes){ hash->bytes, HASH_SIZE }, hex);
}

bool hash_from_hex(struct hash *out_hash, const char *hex)
{
	struct hash hash;
	if (!hex_decode(hex, hash.bytes, HASH_SIZE))
		return false;
	*out_hash = hash;
	return true;
}

const char *hex_encode(struct bytes bytes, char *text)
{
	static const char digits[] = "0123456789abcdef";
	char *at = text;
	for (size_t i = 0; i < bytes.size; i++) {
		*at++ = digits[bytes.data[i] >> 4];
		*at++ = digits[bytes.data[i] & 15];
	}
	*at = '\0';
	return text;
}

static int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

bool hex_decode(const char *text, uint8_t *out_data, size_t size)
{
	if (strnlen(text, 2 * size + 1) != 2 * size)
		return false;
	for (size_t i = 0; i < 2 * size; i++) {
		if (hex_value(text[i]) < 0)
			return false;
	}
	for (size_t i = 0; i < size; i++)
		out_data[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
	return true;
}

/* ---- buffer ---- */

void buffer_fini(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = BUFFER_EMPTY;
}

void buffer_clear(struct buffer *buffer)
{
	buffer->size = 0;
	buffer->failed = false;
}

/* At least doubles, so that a record written byte by byte costs linear time. */
static bool grow(struct buffer *buffer, size_t needed)
{
	size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
	while (capacity < needed)
		capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
	uint8_t *data = realloc(buffer->data, capacity);
	if (data == NULL)
		return false;
	buffer->data = data;
	buffer->capacity = capacity;
	return true;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
	if (buffer->failed)
		return NULL;
	size_t room = buffer->capacity - buffer->size;
	/* Nobody but an attacker asks for half of the address space. */
	bool absurd = size > SIZE_MAX / 2 || buffer->size > SIZE_MAX / 2 - size;
	bool present = buffer->data != NULL && size <= room;
	if (absurd || (!present && !grow(buffer, buffer->size + size))) {
		buffer->failed = true;
		return NULL;
	}
	return buffer->data + buffer->size;
}

void buffer_grew(struct buffer *buffer, size_t size)
{
	assert(size <= buffer->capacity - buffer->size);
	buffer->size += size;
}

void buffer_put(struct buffer *buffer, struct bytes bytes)
{
	if (bytes.size == 0)
		return;
	uint8_t *place = buffer_reserve(buffer, bytes.size);
	if (place == NULL)
		return;
	memcpy(place, bytes.data, bytes.size);
	buffer->size += bytes.size;
}

void buffer_put_u8(struct buffer *buffer, uint8_t value)
{
	buffer_put(buffer, BYTES_OF(value));
}

void buffer_put_u16(struct buffer *buffer, uint16_t value)
{
	uint8_t *place = buffer_reserve(buffer, sizeof(value));
	if (place == NULL)
		return;
	put_be16(place, value);
	buffer->size += sizeof(value);
}

void buffer_put_u32(struct buffer *buffer, uint32_t value)
{
	uint8_t *place = buffer_reserve(buffer, sizeof(value));
	if (place == NULL)
		return;
	put_be32(place, value);
	buffer->size += sizeof(value);
}

void buffer_put_u64(struct buffer *buffer, uint64_t value)
{
	uint8_t *place = buffer_reserve(buffer, sizeof(value));
	if (place == NULL)
		return;
	put_be64(place, value);
	buffer->size += sizeof(value);
}

void buffer_put_hash(struct buffer *buffer, const struct hash *hash)
{
	buffer_put(buffer, (struct bytes){ hash->bytes, HASH_SIZE });
}

void buffer_put_short(struct buffer *buffer, struct bytes bytes)
{
	assert(bytes.size <= UINT8_MAX);
	buffer_put_u8(buffer, (uint8_t)bytes.size);
	buffer_put(buffer, bytes);
}

void buffer_put_long(struct buffer *buffer, struct bytes bytes)
{
	assert(bytes.size <= UINT32_MAX);
	buffer_put_u32(buffer, (uint32_t)bytes.size);
	buffer_put(buffer, bytes);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int needed = vsnprintf(NULL, 0, format, args);
	va_end(args);
	assert(needed >= 0);
	size_t size = (size_t)needed;
	/* vsnprintf() wants room for its zero, which is not part of the contents. */
	uint8_t *place = buffer_reserve(buffer, size + 1);
	if (place == NULL)
		return;
	va_start(args, format);
	(void)vsnprintf((char *)place, size + 1, format, args);
	va_end(args);
	buffer->size += size;
}

struct bytes buffer_bytes(const struct buffer *buffer)
{
	return (struct bytes){ buffer->data, buffer->size };
}

bool buffer_ok(const struct buffer *buffer, struct err *err)
{
	if (buffer->failed)
		return err_set(err, ZR_NO_MEMORY, "a buffer of more than %zu bytes", buffer->size);
	return true;
}

/* ---- reader ---- */

struct reader reader_of(struct bytes bytes)
{
	return (struct reader){ bytes, false };
}

struct bytes reader_bytes(struct reader *reader, size_t size)
{
	if (reader->failed || size > reader->rest.size) {
		reader->failed = true;
		return BYTES_NONE;
	}
	struct bytes read = { reader->rest.data, size };
	if (size > 0)
		reader->rest.data += size;
	reader->rest.size -= size;
	return read;
}

uint8_t reader_u8(struct reader *reader)
{
	struct bytes read = reader_bytes(reader, 1);
	return read.size == 0 ? 0 : read.data[0];
}

uint16_t reader_u16(struct reader *reader)
{
	struct bytes read = reader_bytes(reader, 2);
	return read.size == 0 ? 0 : get_be16(read.data);
}

uint32_t reader_u32(struct reader *reader)
{
	struct bytes read = reader_bytes(reader, 4);
	return read.size == 0 ? 0 : get_be32(read.data);
}

uint64_t reader_u64(struct reader *reader)
{
	struct bytes read = reader_bytes(reader, 8);
	return read.size == 0 ? 0 : get_be64(read.data);
}

struct hash reader_hash(struct reader *reader)
{
	struct hash hash = { { 0 } };
	struct bytes read = reader_bytes(reader, HASH_SIZE);
	if (read.size > 0)
		memcpy(hash.bytes, read.data, HASH_SIZE);
	return hash;
}

struct bytes reader_short(struct reader *reader)
{
	return reader_bytes(reader, reader_u8(reader));
}

struct bytes reader_long(struct reader *reader)
{
	return reader_bytes(reader, reader_u32(reader));
}

bool reader_done(const struct reader *reader)
{
	return !reader->failed && reader->rest.size == 0;
}

/* ---- fixed places ---- */

void put_be16(uint8_t *data, uint16_t value)
{
	data[0] = (uint8_t)(value >> 8);
	data[1] = (uint8_t)value;
}

void put_be32(uint8_t *data, uint32_t value)
{
	put_be16(data, (uint16_t)(value >> 16));
	put_be16(data + 2, (uint16_t)value);
}

void put_be64(uint8_t *data, uint64_t value)
{
	put_be32(data, (uint32_t)(value >> 32));
	put_be32(data + 4, (uint32_t)value);
}

uint16_t get_be16(const uint8_t *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

uint32_t get_be32(const uint8_t *data)
{
	return (uint32_t)get_be16(data) << 16 | get_be16(data + 2);
}

uint64_t get_be64(const uint8_t *data)
{
	return (uint64_t)get_be32(data) << 32 | get_be32(data + 4);
}
