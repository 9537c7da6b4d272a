/* bytes.h -- borrowed bytes, owned buffers, and the only readers and writers of big-endian records.
 *
 * struct bytes never owns. struct buffer owns and grows; its first failed allocation sticks, so a
 * record is written with many calls and checked once. struct reader walks over borrowed bytes; its
 * first short read sticks in the same way.
 */
#ifndef ZR_BASE_BYTES_H
#define ZR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"

struct bytes {
	const uint8_t *data; /* Borrowed. NULL only where size is 0. */
	size_t size;
};

#define BYTES_NONE          ((struct bytes){ NULL, 0 })
#define BYTES_OF(object)    ((struct bytes){ (const uint8_t *)&(object), sizeof(object) })
#define BYTES_LITERAL(text) ((struct bytes){ (const uint8_t *)(text), sizeof(text) - 1 })

struct bytes bytes_of_string(const char *text);
bool bytes_equal(struct bytes a, struct bytes b);
/* memcmp order; a prefix comes before what it begins. */
int bytes_compare(struct bytes a, struct bytes b);

/* A 32-byte digest. All zero means "none" (the parent of a first block, an unset root). */
#define HASH_SIZE     32
#define HASH_HEX_SIZE 65 /* With its terminating zero. */

struct hash {
	uint8_t bytes[HASH_SIZE];
};

bool hash_equal(const struct hash *a, const struct hash *b);
bool hash_is_zero(const struct hash *hash);
/* Fails (false) unless bytes is 32 long. */
bool hash_from_bytes(struct hash *out_hash, struct bytes bytes);
/* Writes 64 lower-case digits and a zero into hex; returns hex, so that it fits into a log call. */
const char *hash_hex(const struct hash *hash, char hex[static HASH_HEX_SIZE]);
bool hash_from_hex(struct hash *out_hash, const char *hex);

/* Writes 2 * bytes.size digits and a zero; text has room for them. Returns text. */
const char *hex_encode(struct bytes bytes, char *text);
/* Decodes exactly size bytes from exactly 2 * size digits of either case. */
bool hex_decode(const char *text, uint8_t *out_data, size_t size);

/* ------------------------------------------------------------------------------------------ */

struct buffer {
	uint8_t *data; /* Owned. */
	size_t size;
	size_t capacity;
	bool failed; /* An allocation failed; contents are incomplete and must not be used. */
};

#define BUFFER_EMPTY ((struct buffer){ NULL, 0, 0, false })

void buffer_fini(struct buffer *buffer);  /* Frees; leaves it empty and usable again. */
void buffer_clear(struct buffer *buffer); /* Keeps the capacity; forgets a failure. */
/* Makes room for size more bytes and returns where they go, or NULL. Call buffer_grew() after. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_grew(struct buffer *buffer, size_t size);
void buffer_put(struct buffer *buffer, struct bytes bytes);
void buffer_put_u8(struct buffer *buffer, uint8_t value);
void buffer_put_u16(struct buffer *buffer, uint16_t value);
void buffer_put_u32(struct buffer *buffer, uint32_t value);
void buffer_put_u64(struct buffer *buffer, uint64_t value);
void buffer_put_hash(struct buffer *buffer, const struct hash *hash);
/* u8 (u32) length, then the bytes; the length must fit. */
void buffer_put_short(struct buffer *buffer, struct bytes bytes);
void buffer_put_long(struct buffer *buffer, struct bytes bytes);
void buffer_printf(struct buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Borrowed until the next change of buffer. */
struct bytes buffer_bytes(const struct buffer *buffer);
/* False, with ZR_NO_MEMORY, if any allocation failed. */
bool buffer_ok(const struct buffer *buffer, struct err *err) MUST_CHECK;
/* A copy the caller frees with free(); NULL only when out of memory (one byte for an empty one). */
uint8_t *bytes_dup(struct bytes bytes);

/* ------------------------------------------------------------------------------------------ */

struct reader {
	struct bytes rest; /* Not read yet. */
	bool failed;       /* More was asked for than there was; every later read gives zeros. */
};

struct reader reader_of(struct bytes bytes);
uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
struct hash reader_hash(struct reader *reader);
/* Exactly size bytes, borrowed from what is read; BYTES_NONE on failure. */
struct bytes reader_bytes(struct reader *reader, size_t size);
struct bytes reader_short(struct reader *reader); /* u8 length, then the bytes. */
struct bytes reader_long(struct reader *reader);  /* u32 length, then the bytes. */
/* Nothing failed and nothing is left. */
bool reader_done(const struct reader *reader);

/* Fixed places, where a reader would be too much. */
void put_be16(uint8_t *data, uint16_t value);
void put_be32(uint8_t *data, uint32_t value);
void put_be64(uint8_t *data, uint64_t value);
uint16_t get_be16(const uint8_t *data);
uint32_t get_be32(const uint8_t *data);
uint64_t get_be64(const uint8_t *data);

#endif
