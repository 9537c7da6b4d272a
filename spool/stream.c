/* The record stream, byte by byte. Rows are checked one by one, so that a stream that was cut still
 * tells how far it is good; it is complete only with its end. */
#include "spool/stream.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "spool/store_private.h"

#define MAGIC           "ZRX1"
#define END_MARK        0xff
#define FLUSH_BYTES     (256u << 10)
#define ROW_HEAD_SIZE   (1 + 2 + 4)
#define VALUE_MAX_BYTES (SPOOL_PAYLOAD_MAX_BYTES + (16u << 20))
#define HEAD_MAX_BYTES  128

/* ---- writing ---- */

static bool write_all(int fd, struct bytes bytes, struct err *err)
{
	while (bytes.size > 0) {
		ssize_t size = write(fd, bytes.data, bytes.size);
		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return err_set(err, ZR_IO, "write: %s", strerror(errno));
		bytes.data += size;
		bytes.size -= (size_t)size;
	}
	return true;
}

static bool flush(struct stream_out *out, struct err *err)
{
	if (!buffer_ok(&out->buffer, err) || !write_all(out->fd, buffer_bytes(&out->buffer), err))
		return false;
	out->byte_count += out->buffer.size;
	buffer_clear(&out->buffer);
	return true;
}

bool stream_head_put(struct stream_out *out, const struct stream_head *head, struct err *err)
{
	struct buffer *buffer = &out->buffer;
	buffer_clear(buffer);
	buffer_put(buffer, BYTES_LITERAL(MAGIC));
	buffer_put_u8(buffer, (uint8_t)head->kind);
	buffer_put_short(buffer, bytes_of_string(spool_format.name));
	buffer_put_u32(buffer, spool_format.version);
	buffer_put(buffer, (struct bytes){ head->uuid, STORE_UUID_SIZE });
	buffer_put_u64(buffer, (uint64_t)head->time_ms);
	buffer_put_u32(buffer, crc32c(0, buffer_bytes(buffer)));
	return buffer_ok(buffer, err);
}

static uint32_t add_crc(uint32_t sum, uint32_t crc)
{
	uint8_t bytes[4];
	put_be32(bytes, crc);
	return crc32c(sum, BYTES_OF(bytes));
}

bool stream_row_put(struct stream_out *out, enum spool_table table, struct bytes key,
                    struct bytes value, struct err *err)
{
	assert(key.size <= TXN_KEY_MAX && value.size <= VALUE_MAX_BYTES);
	struct buffer *buffer = &out->buffer;
	uint32_t crc = store_crc(table, key, &value, 1);
	buffer_put_u8(buffer, (uint8_t)table);
	buffer_put_u16(buffer, (uint16_t)key.size);
	buffer_put_u32(buffer, (uint32_t)value.size);
	buffer_put(buffer, key);
	buffer_put(buffer, value);
	buffer_put_u32(buffer, crc);
	out->crc = add_crc(out->crc, crc);
	out->row_count++;
	return buffer->size < FLUSH_BYTES ? buffer_ok(buffer, err) : flush(out, err);
}

bool stream_end_put(struct stream_out *out, struct err *err)
{
	buffer_put_u8(&out->buffer, END_MARK);
	buffer_put_u64(&out->buffer, out->row_count);
	buffer_put_u32(&out->buffer, out->crc);
	return flush(out, err);
}

void stream_out_fini(struct stream_out *out)
{
	buffer_fini(&out->buffer);
}

/* ---- reading ---- */

static bool read_all(struct stream_in *in, uint8_t *data, size_t size, struct err *err)
{
	while (size > 0) {
		ssize_t part = read(in->fd, data, size);
		if (part < 0 && errno == EINTR)
			continue;
		if (part < 0)
			return err_set(err, ZR_IO, "read: %s", strerror(errno));
		if (part == 0)
			return err_set(err, ZR_CORRUPT, "the stream was cut after %" PRIu64 " rows",
			               in->row_count);
		data += part;
		size -= (size_t)part;
		in->byte_count += (uint64_t)part;
	}
	return true;
}

/* Reads size bytes to the end of in->row. */
static bool read_more(struct stream_in *in, size_t size, struct err *err)
{
	uint8_t *place = buffer_reserve(&in->row, size);
	if (place == NULL)
		return err_set(err, ZR_NO_MEMORY, "a row of %zu bytes", size);
	if (!read_all(in, place, size, err))
		return false;
	buffer_grew(&in->row, size);
	return true;
}

static bool decode_head(struct bytes bytes, struct stream_head *out_head, struct err *err)
{
	struct stream_head head;
	struct reader reader = reader_of(bytes);
	struct bytes magic = reader_bytes(&reader, sizeof(MAGIC) - 1);
	uint8_t kind = reader_u8(&reader);
	struct bytes format = reader_short(&reader);
	uint32_t version = reader_u32(&reader);
	struct bytes uuid = reader_bytes(&reader, STORE_UUID_SIZE);
	head.time_ms = (int64_t)reader_u64(&reader);
	size_t crc_at = bytes.size - reader.rest.size;
	uint32_t crc = reader_u32(&reader);
	if (!reader_done(&reader) || !bytes_equal(magic, BYTES_LITERAL(MAGIC)) ||
	    crc != crc32c(0, (struct bytes){ bytes.data, crc_at }) || kind < STREAM_FULL ||
	    kind > STREAM_SALVAGE)
		return err_set(err, ZR_CORRUPT, "not a record stream of a spool");
	if (!bytes_equal(format, bytes_of_string(spool_format.name)) ||
	    version != spool_format.version)
		return err_set(err, ZR_INVALID,
		               "the stream has version %" PRIu32
		               " of format %.*s, this program knows "
		               "version %" PRIu32 " of %s",
		               version, (int)format.size, (const char *)format.data,
		               spool_format.version, spool_format.name);
	head.kind = kind;
	memcpy(head.uuid, uuid.data, STORE_UUID_SIZE);
	*out_head = head;
	return true;
}

bool stream_head_get(struct stream_in *in, struct stream_head *out_head, struct err *err)
{
	/* Magic, kind, and the size of the format's name; then the rest. */
	const size_t begin = sizeof(MAGIC) - 1 + 1 + 1;
	buffer_clear(&in->row);
	if (!read_more(in, begin, err))
		return err_wrap(err, "head");
	size_t rest = (size_t)in->row.data[begin - 1] + 4 + STORE_UUID_SIZE + 8 + 4;
	if (memcmp(in->row.data, MAGIC, sizeof(MAGIC) - 1) != 0 || begin + rest > HEAD_MAX_BYTES)
		return err_set(err, ZR_CORRUPT, "not a record stream of a spool");
	return read_more(in, rest, err) && decode_head(buffer_bytes(&in->row), out_head, err);
}

static bool read_end(struct stream_in *in, struct err *err)
{
	uint8_t end[8 + 4];
	if (!read_all(in, end, sizeof(end), err))
		return false;
	if (get_be64(end) != in->row_count || get_be32(end + 8) != in->crc)
		return err_set(err, ZR_CORRUPT, "the end of the stream does not fit its rows");
	return true;
}

bool stream_row_get(struct stream_in *in, struct stream_row *out_row, bool *out_end,
                    struct err *err)
{
	uint8_t head[ROW_HEAD_SIZE];
	if (!read_all(in, head, 1, err))
		return false;
	if (head[0] == END_MARK) {
		*out_end = true;
		return read_end(in, err);
	}
	if (!read_all(in, head + 1, ROW_HEAD_SIZE - 1, err))
		return false;
	size_t key_size = get_be16(head + 1), value_size = get_be32(head + 3);
	if (head[0] >= SPOOL_TABLE_COUNT || key_size == 0 || key_size > TXN_KEY_MAX ||
	    value_size > VALUE_MAX_BYTES)
		return err_set(err, ZR_CORRUPT, "row %" PRIu64 " is none of ours", in->row_count);
	buffer_clear(&in->row);
	if (!read_more(in, key_size + value_size + STORE_CRC_SIZE, err))
		return false;
	struct stream_row row = { .table = head[0] };
	row.key = (struct bytes){ in->row.data, key_size };
	row.value = (struct bytes){ in->row.data + key_size, value_size };
	uint32_t crc = get_be32(in->row.data + key_size + value_size);
	if (crc != store_crc(row.table, row.key, &row.value, 1))
		return err_set(err, ZR_CORRUPT, "row %" PRIu64 ", of table %s, is damaged",
		               in->row_count, spool_table_name(row.table));
	in->crc = add_crc(in->crc, crc);
	in->row_count++;
	*out_row = row;
	*out_end = false;
	return true;
}

void stream_in_fini(struct stream_in *in)
{
	buffer_fini(&in->row);
}
