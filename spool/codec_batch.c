/* Rows of tables batches and heights.
 *
 *     batches   "ZRq1", u32 size of the header, u32 size of the payload, u64 arrival number,
 *               short chain name, epoch, short format, u64 first height, <facts>, short agent, <blocks>; payload
 *     heights   u64 arrival number, <facts>, u32 size of the payload, <blocks>
 *
 *     <facts>   u8 policy, u8 codec, short dictionary hash (empty: none), content hash, u32 raw
 *               size, i64 received (ms)
 *     <blocks>  u32 count, parent of the first, then per block: hash, data root, i64 time (ms), u32
 *               entry count. The parent of every other block is the hash before it.
 *
 * The header is whole in the row of table batches too, so that a page found by salvage speaks for
 * itself.
 */
#include <assert.h>
#include <string.h>

#include "spool/codec.h"

#define MAGIC_SIZE (sizeof(SPOOL_BATCH_MAGIC) - 1)
/* Magic and both sizes: what spool_batch_row_size() needs. */
#define BEGIN_SIZE (MAGIC_SIZE + 4 + 4)
/* The longest header there can be: bounds what salvage believes. */
#define HEADER_SIZE_MAX                                                                            \
	(BEGIN_SIZE + 8 + 1 + CHAIN_NAME_MAX + HASH_SIZE + 1 + SPOOL_FORMAT_NAME_MAX + 8 + 2 + 1 + \
	 HASH_SIZE + HASH_SIZE + 4 + 8 + 1 + SPOOL_AGENT_MAX + 4 + HASH_SIZE +                     \
	 (size_t)SPOOL_BATCH_BLOCKS_MAX * SPOOL_BLOCK_RECORD_SIZE)

static void put_facts(const struct spool_batch_info *info, struct buffer *out)
{
	buffer_put_u8(out, (uint8_t)info->policy);
	buffer_put_u8(out, (uint8_t)info->codec);
	bool has_dictionary = !hash_is_zero(&info->dictionary);
	buffer_put_short(out, has_dictionary ? BYTES_OF(info->dictionary) : BYTES_NONE);
	buffer_put_hash(out, &info->content);
	buffer_put_u32(out, info->raw_size);
	buffer_put_u64(out, (uint64_t)info->received_ms);
}

static struct spool_batch_info info_of(const struct spool_batch *batch)
{
	return (struct spool_batch_info){ .policy = batch->policy,
		                          .codec = batch->codec,
		                          .dictionary = batch->dictionary,
		                          .content = batch->content,
		                          .raw_size = batch->raw_size,
		                          .received_ms = batch->received_ms };
}

static bool read_facts(struct reader *reader, struct spool_batch_info *info)
{
	uint8_t policy = reader_u8(reader);
	uint8_t codec = reader_u8(reader);
	struct bytes dictionary = reader_short(reader);
	info->content = reader_hash(reader);
	info->raw_size = reader_u32(reader);
	info->received_ms = (int64_t)reader_u64(reader);
	if (reader->failed || policy < POLICY_ALL || policy > POLICY_TAIL || codec < CODEC_NONE ||
	    codec > CODEC_ZSTD)
		return false;
	info->policy = policy;
	info->codec = codec;
	if (dictionary.size == 0) {
		memset(&info->dictionary, 0, sizeof(info->dictionary));
		return true;
	}
	return hash_from_bytes(&info->dictionary, dictionary) && !hash_is_zero(&info->dictionary);
}

static void put_blocks(const struct spool_batch *batch, struct buffer *out)
{
	buffer_put_u32(out, batch->block_count);
	buffer_put_hash(out, &batch->headers[0].parent);
	for (uint32_t i = 0; i < batch->block_count; i++) {
		const struct block_header *header = &batch->headers[i];
		buffer_put_hash(out, &header->hash);
		buffer_put_hash(out, &header->data_root);
		buffer_put_u64(out, (uint64_t)header->time_ms);
		buffer_put_u32(out, header->entry_count);
	}
}

static bool read_blocks(struct reader *reader, uint32_t *out_count, struct hash *out_parent,
                        struct bytes *out_blocks)
{
	*out_count = reader_u32(reader);
	*out_parent = reader_hash(reader);
	if (reader->failed || *out_count == 0 || *out_count > SPOOL_BATCH_BLOCKS_MAX)
		return false;
	*out_blocks = reader_bytes(reader, (size_t)*out_count * SPOOL_BLOCK_RECORD_SIZE);
	return !reader->failed;
}

struct block_header spool_block_at(struct bytes blocks, const struct hash *parent,
                                   uint64_t first_height, uint32_t index)
{
	assert((size_t)(index + 1) * SPOOL_BLOCK_RECORD_SIZE <= blocks.size);
	const uint8_t *record = blocks.data + (size_t)index * SPOOL_BLOCK_RECORD_SIZE;
	struct reader reader = reader_of((struct bytes){ record, SPOOL_BLOCK_RECORD_SIZE });
	struct block_header header = { .height = first_height + index, .parent = *parent };
	if (index > 0)
		memcpy(header.parent.bytes, record - SPOOL_BLOCK_RECORD_SIZE, HASH_SIZE);
	header.hash = reader_hash(&reader);
	header.data_root = reader_hash(&reader);
	header.time_ms = (int64_t)reader_u64(&reader);
	header.entry_count = reader_u32(&reader);
	return header;
}

/* ---- batches ---- */

void spool_batch_header_encode(const struct spool_batch *batch, const struct spool_chain *chain,
                               uint64_t arrival, struct buffer *out)
{
	size_t begin = out->size;
	struct spool_batch_info info = info_of(batch);
	buffer_put(out, BYTES_LITERAL(SPOOL_BATCH_MAGIC));
	buffer_put_u32(out, 0); /* Size of the header: below. */
	buffer_put_u32(out, (uint32_t)batch->payload.size);
	buffer_put_u64(out, arrival);
	buffer_put_short(out, bytes_of_string(chain->id.name));
	buffer_put_hash(out, &chain->id.epoch);
	buffer_put_short(out, bytes_of_string(chain->format));
	buffer_put_u64(out, batch->headers[0].height);
	put_facts(&info, out);
	buffer_put_short(out, bytes_of_string(batch->agent));
	put_blocks(batch, out);
	if (!out->failed)
		put_be32(out->data + begin + MAGIC_SIZE, (uint32_t)(out->size - begin));
}

size_t spool_batch_row_size(struct bytes begin)
{
	if (begin.size < BEGIN_SIZE || memcmp(begin.data, SPOOL_BATCH_MAGIC, MAGIC_SIZE) != 0)
		return 0;
	uint32_t header_size = get_be32(begin.data + MAGIC_SIZE);
	uint32_t payload_size = get_be32(begin.data + MAGIC_SIZE + 4);
	if (header_size < BEGIN_SIZE || header_size > HEADER_SIZE_MAX || payload_size == 0 ||
	    payload_size > SPOOL_PAYLOAD_MAX_BYTES)
		return 0;
	return (size_t)header_size + payload_size;
}

static bool read_text(struct bytes bytes, char *out, size_t size)
{
	if (bytes.size >= size || (bytes.size > 0 && memchr(bytes.data, 0, bytes.size) != NULL))
		return false;
	if (bytes.size > 0)
		memcpy(out, bytes.data, bytes.size);
	out[bytes.size] = '\0';
	return true;
}

bool spool_batch_row_decode(struct bytes value, struct spool_batch_row *out_row)
{
	struct spool_batch_row row = { .info.held = true };
	size_t row_size = spool_batch_row_size(value);
	if (row_size == 0 || row_size != value.size)
		return false;
	size_t header_size = get_be32(value.data + MAGIC_SIZE);
	row.payload = (struct bytes){ value.data + header_size, value.size - header_size };
	row.info.payload_size = (uint32_t)row.payload.size;

	struct reader reader = reader_of((struct bytes){ value.data, header_size });
	(void)reader_bytes(&reader, BEGIN_SIZE);
	row.info.arrival = reader_u64(&reader);
	struct bytes name = reader_short(&reader);
	row.id.epoch = reader_hash(&reader);
	struct bytes format = reader_short(&reader);
	row.info.first_height = reader_u64(&reader);
	if (!read_facts(&reader, &row.info))
		return false;
	struct bytes agent = reader_short(&reader);
	if (!read_blocks(&reader, &row.info.block_count, &row.parent, &row.blocks) ||
	    !reader_done(&reader))
		return false;
	if (!read_text(name, row.id.name, sizeof(row.id.name)) ||
	    !read_text(format, row.format, sizeof(row.format)) ||
	    !read_text(agent, row.agent, sizeof(row.agent)) || !chain_name_valid(row.id.name))
		return false;
	row.info.chain = chain_key(&row.id);
	*out_row = row;
	return true;
}

/* ---- heights ---- */

void spool_heights_encode(const struct spool_batch *batch, uint64_t arrival, struct buffer *out)
{
	struct spool_batch_info info = info_of(batch);
	buffer_put_u64(out, arrival);
	put_facts(&info, out);
	buffer_put_u32(out, (uint32_t)batch->payload.size);
	put_blocks(batch, out);
}

void spool_heights_of_row(const struct spool_batch_row *row, struct buffer *out)
{
	buffer_put_u64(out, row->info.arrival);
	put_facts(&row->info, out);
	buffer_put_u32(out, row->info.payload_size);
	buffer_put_u32(out, row->info.block_count);
	buffer_put_hash(out, &row->parent);
	buffer_put(out, row->blocks);
}

bool spool_heights_decode(struct bytes value, struct spool_heights_row *out_row)
{
	struct spool_heights_row row = { .info.held = false };
	struct reader reader = reader_of(value);
	row.info.arrival = reader_u64(&reader);
	if (!read_facts(&reader, &row.info))
		return false;
	row.info.payload_size = reader_u32(&reader);
	if (!read_blocks(&reader, &row.info.block_count, &row.parent, &row.blocks) ||
	    !reader_done(&reader))
		return false;
	*out_row = row;
	return true;
}
