/* stream.h -- the portable record stream: what backup and salvage write and restore reads.
 *
 *     head   "ZRX1", u8 kind, short format name, u32 format version, 16 bytes UUID, i64 time (ms),
 *            u32 CRC-32C of the head
 *     row    u8 table id (below 0xff), u16 size of the key, u32 size of the value, key, value, u32
 *            CRC-32C(u8 table id || key || value): the same as in the store
 *     end    0xff, u64 number of rows, u32 CRC-32C over the checksums of all rows in order
 *
 * Nobody outside spool/ includes it.
 */
#ifndef ZR_SPOOL_STREAM_H
#define ZR_SPOOL_STREAM_H

#include "spool/spool_private.h"

/* Written: never renumber. */
enum stream_kind {
	STREAM_FULL = 1,    /* All tables. */
	STREAM_CHAIN = 2,   /* One chain, without anchors. */
	STREAM_SALVAGE = 3, /* Batches only. */
};

struct stream_head {
	enum stream_kind kind;
	uint8_t uuid[STORE_UUID_SIZE];
	int64_t time_ms;
};

/* ---- writing ---- */

struct stream_out {
	int fd;
	struct buffer buffer; /* What was not written yet. */
	uint64_t row_count;
	uint64_t byte_count;
	uint32_t crc; /* Over the rows' checksums. */
};

/* Buffers; flushes by itself when there is much. Errors: ZR_IO, ZR_NO_MEMORY. */
bool stream_head_put(struct stream_out *out, const struct stream_head *head,
                     struct err *err) MUST_CHECK;
bool stream_row_put(struct stream_out *out, enum spool_table table, struct bytes key,
                    struct bytes value, struct err *err) MUST_CHECK;
/* The end, and everything that waits. */
bool stream_end_put(struct stream_out *out, struct err *err) MUST_CHECK;
void stream_out_fini(struct stream_out *out);

/* ---- reading ---- */

struct stream_in {
	int fd;
	struct buffer row; /* Of the last row read. */
	uint64_t row_count;
	uint64_t byte_count;
	uint32_t crc;
};

struct stream_row {
	enum spool_table table;
	struct bytes key, value; /* Borrowed until the next read. */
};

/* Errors of all: ZR_CORRUPT  not such a stream, damaged, or cut.  ZR_INVALID  of another version.
 *                ZR_IO  fd. */
bool stream_head_get(struct stream_in *in, struct stream_head *out_head,
                     struct err *err) MUST_CHECK;
/* *out_end: the end was read, and it is right; there is no row. */
bool stream_row_get(struct stream_in *in, struct stream_row *out_row, bool *out_end,
                    struct err *err) MUST_CHECK;
void stream_in_fini(struct stream_in *in);

#endif
