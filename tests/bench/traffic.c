/* traffic.c -- see traffic.h. */
#include "tests/bench/traffic.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/compress.h"
#include "proto/link.h"
#include "relay/base/crypto.h"
#include "relay/base/file.h"

#define FILE_SIZE_MAX (1u << 30)
#define CHUNK_SIZE    LINK_CHUNK_MAX
#define ZSTD_LEVEL    3

/* A batch before it is cut into frames. */
struct draft {
	uint64_t first_height;
	uint32_t block_count;
	struct hash tip;
	struct buffer raw;
};

static ProtobufCBinaryData binary(struct bytes bytes)
{
	return (ProtobufCBinaryData){ bytes.size, (uint8_t *)(uintptr_t)bytes.data };
}

static bool cut(const struct draft *draft, struct bytes payload, struct traffic_batch *batch,
                struct err *err)
{
	const struct hash content = sha256(payload);
	batch->frames = calloc(payload.size / CHUNK_SIZE + 1, sizeof(batch->frames[0]));
	if (batch->frames == NULL)
		return err_set(err, ZR_NO_MEMORY, "frames");
	for (size_t at = 0; at < payload.size; at += CHUNK_SIZE) {
		size_t rest = payload.size - at;
		Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
		Zonerelay__Link__Chunk chunk = ZONERELAY__LINK__CHUNK__INIT;
		Zonerelay__Link__BatchHeader header = ZONERELAY__LINK__BATCH_HEADER__INIT;
		header.first_height = draft->first_height;
		header.block_count = draft->block_count;
		header.size = payload.size;
		header.raw_size = draft->raw.size;
		header.codec = CODEC_ZSTD;
		header.tip_hash = binary(BYTES_OF(draft->tip));
		chunk.batch = binary(BYTES_OF(content));
		chunk.offset = at;
		chunk.data = binary(
			(struct bytes){ payload.data + at, rest < CHUNK_SIZE ? rest : CHUNK_SIZE });
		chunk.header = at == 0 ? &header : NULL;
		frame.body_case = ZONERELAY__LINK__FRAME__BODY_CHUNK;
		frame.chunk = &chunk;
		if (!link_frame_encode(&frame, &batch->frames[batch->frame_count++], err))
			return false;
	}
	return true;
}

static bool finish(struct traffic *traffic, struct draft *draft, struct compressor *compressor,
                   struct err *err)
{
	struct buffer payload = BUFFER_EMPTY;
	struct traffic_batch *grown =
		realloc(traffic->batches, (traffic->batch_count + 1) * sizeof(grown[0]));
	if (grown == NULL)
		return err_set(err, ZR_NO_MEMORY, "batches");
	traffic->batches = grown;
	struct traffic_batch *batch = &grown[traffic->batch_count++];
	*batch = (struct traffic_batch){ .from = draft->first_height,
		                         .to = draft->first_height + draft->block_count - 1,
		                         .raw_size = draft->raw.size };
	bool ok = compressor_run(compressor, buffer_bytes(&draft->raw), NULL, &payload, err);
	batch->size = payload.size;
	ok = ok && cut(draft, buffer_bytes(&payload), batch, err);
	buffer_fini(&payload);
	draft->first_height += draft->block_count;
	draft->block_count = 0;
	buffer_clear(&draft->raw);
	return ok;
}

static bool add(const struct sidechain *format, struct bytes raw, struct draft *draft,
                struct traffic *traffic, struct err *err)
{
	struct block block;
	if (!format->read(raw, &block, err))
		return false;
	batch_put_block(&draft->raw, raw);
	draft->block_count++;
	draft->tip = block.header.hash;
	traffic->tip = block.header;
	return buffer_ok(&draft->raw, err);
}

static bool fill(struct traffic *traffic, const struct sidechain *format, size_t batch_blocks,
                 const struct buffer files[static 2], struct err *err)
{
	struct draft draft = { .raw = BUFFER_EMPTY };
	struct reader blocks = reader_of(buffer_bytes(&files[1]));
	struct compressor *compressor = NULL;
	struct bytes raw;
	int step = 0;
	bool ok = compressor_new(&compressor, ZSTD_LEVEL, err) &&
	          add(format, buffer_bytes(&files[0]), &draft, traffic, err);
	traffic->epoch = traffic->tip.hash;
	ok = ok && finish(traffic, &draft, compressor, err);
	while (ok && (step = batch_next_block(&blocks, FILE_SIZE_MAX, &raw)) == 1) {
		ok = add(format, raw, &draft, traffic, err);
		if (ok && draft.block_count == batch_blocks)
			ok = finish(traffic, &draft, compressor, err);
	}
	if (ok && step < 0)
		ok = err_set(err, ZR_INVALID, "blocks.raw is no raw batch");
	compressor_free(compressor);
	buffer_fini(&draft.raw);
	return ok;
}

bool traffic_read(struct traffic *out_traffic, const char *folder, const char *format_name,
                  size_t batch_blocks, struct err *err)
{
	static const char *const names[] = { "genesis.block", "blocks.raw" };
	const struct sidechain *format = sidechain_find(format_name);
	struct traffic traffic = { .batches = NULL };
	struct buffer files[2] = { BUFFER_EMPTY, BUFFER_EMPTY };
	if (format == NULL)
		return err_set(err, ZR_INVALID, "no format %s", format_name);
	bool ok = true;
	for (size_t i = 0; ok && i < 2; i++) {
		char path[512];
		(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		ok = file_read(path, FILE_SIZE_MAX, &files[i], err);
	}
	ok = ok && fill(&traffic, format, batch_blocks, files, err);
	for (size_t i = 0; i < 2; i++)
		buffer_fini(&files[i]);
	if (ok)
		*out_traffic = traffic;
	else
		traffic_free(&traffic);
	return ok;
}

void traffic_free(struct traffic *traffic)
{
	for (size_t i = 0; i < traffic->batch_count; i++) {
		for (size_t j = 0; j < traffic->batches[i].frame_count; j++)
			buffer_fini(&traffic->batches[i].frames[j]);
		free(traffic->batches[i].frames);
	}
	free(traffic->batches);
	*traffic = (struct traffic){ .batches = NULL };
}
