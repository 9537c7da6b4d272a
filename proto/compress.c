/* One piece in, one zstd frame out, and back.
 *
 * Both ways go in one pass between whole buffers. Decompressing that way uses the output itself as
 * its window, so however large a window a frame asks for, nothing is allocated for it: the content
 * size, read from the frame's header and compared with size_max, is all that a frame can cost.
 */
#include "proto/compress.h"

#include <assert.h>
#include <stdlib.h>
#include <zdict.h>
#include <zstd.h>

#include "relay/base/crypto.h"

/* RFC 8878 section 3.1.1. */
#define FRAME_MAGIC_SIZE      4
#define FRAME_FLAGS_AT        4
#define FRAME_FLAG_CHECKSUM   0x04
#define FRAME_HEADER_SIZE_MIN 6

static const uint8_t frame_magic[FRAME_MAGIC_SIZE] = { 0x28, 0xb5, 0x2f, 0xfd };

/* ---- dictionaries ---- */

struct dictionary {
	struct hash hash;
	uint8_t *data;
	size_t size;
	ZSTD_CDict *cdict;
	ZSTD_DDict *ddict;
};

bool dictionary_new(struct dictionary **out_dictionary, struct bytes bytes, int level,
                    struct err *err)
{
	assert(level >= ZSTD_minCLevel() && level <= ZSTD_maxCLevel());

	if (bytes.size == 0 || bytes.size > DICTIONARY_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a dictionary of %zu bytes", bytes.size);
	struct dictionary *dictionary = calloc(1, sizeof(*dictionary));
	if (dictionary == NULL)
		return err_set(err, ZR_NO_MEMORY, "dictionary");

	dictionary->hash = sha256(bytes);
	dictionary->data = bytes_dup(bytes);
	dictionary->size = bytes.size;
	dictionary->cdict = ZSTD_createCDict(bytes.data, bytes.size, level);
	dictionary->ddict = ZSTD_createDDict(bytes.data, bytes.size);
	if (dictionary->data == NULL || dictionary->cdict == NULL || dictionary->ddict == NULL) {
		/* zstd does not say whether memory or the dictionary is to blame; bytes that are
		 * not in the trainer's format are taken as they are, and cannot be damaged. */
		bool trained = ZSTD_getDictID_fromDict(bytes.data, bytes.size) != 0;
		bool damaged = dictionary->data != NULL && trained;
		dictionary_free(dictionary);
		return err_set(err, damaged ? ZR_INVALID : ZR_NO_MEMORY,
		               "zstd does not take the dictionary of %zu bytes", bytes.size);
	}
	*out_dictionary = dictionary;
	return true;
}

void dictionary_free(struct dictionary *dictionary)
{
	if (dictionary == NULL)
		return;
	(void)ZSTD_freeCDict(dictionary->cdict);
	(void)ZSTD_freeDDict(dictionary->ddict);
	free(dictionary->data);
	free(dictionary);
}

const struct hash *dictionary_hash(const struct dictionary *dictionary)
{
	return &dictionary->hash;
}

struct bytes dictionary_bytes(const struct dictionary *dictionary)
{
	return (struct bytes){ dictionary->data, dictionary->size };
}

bool dictionary_train(const struct bytes *samples, size_t count, size_t size_max,
                      struct buffer *out, struct err *err)
{
	assert(size_max > 0 && size_max <= DICTIONARY_SIZE_MAX);

	if (count == 0 || count > TRAIN_SAMPLES_MAX)
		return err_set(err, ZR_INVALID, "%zu samples to train on", count);
	size_t *sizes = calloc(count, sizeof(*sizes));
	struct buffer joined = BUFFER_EMPTY;
	for (size_t i = 0; i < count && sizes != NULL; i++) {
		sizes[i] = samples[i].size;
		buffer_put(&joined, samples[i]);
	}

	uint8_t *place = buffer_reserve(out, size_max);
	bool ready = sizes != NULL && place != NULL && buffer_ok(&joined, NULL);
	size_t size = 0;
	if (ready)
		size = ZDICT_trainFromBuffer(place, size_max, joined.data, sizes, (unsigned)count);
	buffer_fini(&joined);
	free(sizes);
	if (!ready)
		return err_set(err, ZR_NO_MEMORY, "train on %zu samples", count);
	if (ZDICT_isError(size))
		return err_set(err, ZR_INVALID, "train: %s", ZDICT_getErrorName(size));
	buffer_grew(out, size);
	return true;
}

/* ---- compressing ---- */

struct compressor {
	ZSTD_CCtx *context;
};

bool compressor_new(struct compressor **out_compressor, int level, struct err *err)
{
	assert(level >= ZSTD_minCLevel() && level <= ZSTD_maxCLevel());

	struct compressor *compressor = calloc(1, sizeof(*compressor));
	if (compressor == NULL)
		return err_set(err, ZR_NO_MEMORY, "compressor");
	compressor->context = ZSTD_createCCtx();
	if (compressor->context == NULL) {
		free(compressor);
		return err_set(err, ZR_NO_MEMORY, "compressor");
	}

	/* Parameters stay for all frames; these values are within zstd's bounds, so none can fail. */
	const struct {
		ZSTD_cParameter parameter;
		int value;
	} parameters[] = {
		{ ZSTD_c_compressionLevel, level },
		{ ZSTD_c_contentSizeFlag, 1 },
		{ ZSTD_c_checksumFlag, 1 },
		{ ZSTD_c_dictIDFlag, 0 },
	};
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		size_t result = ZSTD_CCtx_setParameter(compressor->context, parameters[i].parameter,
		                                       parameters[i].value);
		assert(!ZSTD_isError(result));
	}
	*out_compressor = compressor;
	return true;
}

void compressor_free(struct compressor *compressor)
{
	if (compressor == NULL)
		return;
	(void)ZSTD_freeCCtx(compressor->context);
	free(compressor);
}

bool compressor_run(struct compressor *compressor, struct bytes raw,
                    const struct dictionary *dictionary, struct buffer *out, struct err *err)
{
	size_t bound = ZSTD_compressBound(raw.size);
	if (bound == 0 || ZSTD_isError(bound))
		return err_set(err, ZR_INVALID, "%zu bytes are too many for one frame", raw.size);
	uint8_t *place = buffer_reserve(out, bound);
	if (place == NULL)
		return err_set(err, ZR_NO_MEMORY, "compress %zu bytes", raw.size);

	size_t size = ZSTD_CCtx_refCDict(compressor->context,
	                                 dictionary == NULL ? NULL : dictionary->cdict);
	if (!ZSTD_isError(size))
		size = ZSTD_compress2(compressor->context, place, bound, raw.data, raw.size);
	if (ZSTD_isError(size)) {
		/* The room is enough and the parameters are right: only memory is left to fail. */
		(void)ZSTD_CCtx_reset(compressor->context, ZSTD_reset_session_only);
		return err_set(err, ZR_NO_MEMORY, "compress: %s", ZSTD_getErrorName(size));
	}
	buffer_grew(out, size);
	return true;
}

/* ---- decompressing ---- */

struct decompressor {
	ZSTD_DCtx *context;
};

bool decompressor_new(struct decompressor **out_decompressor, struct err *err)
{
	struct decompressor *decompressor = calloc(1, sizeof(*decompressor));
	if (decompressor == NULL)
		return err_set(err, ZR_NO_MEMORY, "decompressor");
	decompressor->context = ZSTD_createDCtx();
	if (decompressor->context == NULL) {
		free(decompressor);
		return err_set(err, ZR_NO_MEMORY, "decompressor");
	}
	*out_decompressor = decompressor;
	return true;
}

void decompressor_free(struct decompressor *decompressor)
{
	if (decompressor == NULL)
		return;
	(void)ZSTD_freeDCtx(decompressor->context);
	free(decompressor);
}

/* Is compressed exactly one frame of the kind that compressor_run() makes? */
static bool frame_check(struct bytes compressed, size_t size_max, size_t *out_content_size,
                        struct err *err)
{
	struct bytes magic = { frame_magic, FRAME_MAGIC_SIZE };
	if (compressed.size < FRAME_HEADER_SIZE_MIN ||
	    !bytes_equal((struct bytes){ compressed.data, FRAME_MAGIC_SIZE }, magic))
		return err_set(err, ZR_INVALID, "not a zstd frame");
	if ((compressed.data[FRAME_FLAGS_AT] & FRAME_FLAG_CHECKSUM) == 0)
		return err_set(err, ZR_INVALID, "zstd frame without a checksum");

	unsigned long long size = ZSTD_getFrameContentSize(compressed.data, compressed.size);
	if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR)
		return err_set(err, ZR_INVALID, "zstd frame without a content size");
	if (size > size_max)
		return err_set(err, ZR_INVALID, "zstd frame of %llu bytes, at most %zu are allowed",
		               size, size_max);
	size_t frame_size = ZSTD_findFrameCompressedSize(compressed.data, compressed.size);
	if (ZSTD_isError(frame_size))
		return err_set(err, ZR_INVALID, "zstd: %s", ZSTD_getErrorName(frame_size));
	if (frame_size != compressed.size)
		return err_set(err, ZR_INVALID, "%zu bytes after the zstd frame",
		               compressed.size - frame_size);
	*out_content_size = (size_t)size;
	return true;
}

bool decompressor_run(struct decompressor *decompressor, struct bytes compressed,
                      const struct dictionary *dictionary, size_t size_max, struct buffer *out,
                      struct err *err)
{
	size_t content_size = 0;
	if (!frame_check(compressed, size_max, &content_size, err))
		return false;
	uint8_t *place = buffer_reserve(out, content_size);
	if (place == NULL)
		return err_set(err, ZR_NO_MEMORY, "decompress %zu bytes", content_size);

	const ZSTD_DDict *ddict = dictionary == NULL ? NULL : dictionary->ddict;
	size_t size = ZSTD_decompress_usingDDict(decompressor->context, place, content_size,
	                                         compressed.data, compressed.size, ddict);
	if (ZSTD_isError(size))
		return err_set(err, ZR_INVALID, "zstd: %s", ZSTD_getErrorName(size));
	if (size != content_size)
		return err_set(err, ZR_INVALID, "zstd frame of %zu bytes claims %zu", size,
		               content_size);
	buffer_grew(out, size);
	return true;
}

/* ---- the raw batch ---- */

void batch_put_block(struct buffer *raw, struct bytes block)
{
	assert(block.size > 0);
	buffer_put_long(raw, block);
}

int batch_next_block(struct reader *raw, size_t block_max_bytes, struct bytes *out_block)
{
	if (reader_done(raw))
		return 0;
	uint32_t size = reader_u32(raw);
	if (raw->failed || size == 0 || size > block_max_bytes)
		return -1;
	struct bytes block = reader_bytes(raw, size);
	if (raw->failed)
		return -1;
	*out_block = block;
	return 1;
}
