/* compress.h -- batches: blocks in one piece, compressed; and the dictionaries that help.
 *
 * A raw batch is the blocks one after the other, each as u32 length and bytes. It travels and is
 * stored compressed by zstd in one frame with content size and checksum; the dictionary, if any, is
 * named beside it by its SHA-256, never inside. The only user of zstd.
 *
 * Threads: a compressor or decompressor belongs to one thread; a dictionary may be shared.
 */
#ifndef ZR_PROTO_COMPRESS_H
#define ZR_PROTO_COMPRESS_H

#include "relay/base/bytes.h"
#include "relay/base/err.h"

/* Stored and sent: never renumber. */
enum codec { CODEC_NONE = 1, CODEC_ZSTD = 2 };

#define DICTIONARY_SIZE_MAX (512u << 10) /* So that one fits into a frame. */
#define TRAIN_SAMPLES_MAX   (1u << 20)

struct dictionary;
/* Digests it for both directions.
 * Errors: ZR_INVALID  empty, above DICTIONARY_SIZE_MAX, or damaged. */
bool dictionary_new(struct dictionary **out_dictionary, struct bytes bytes, int level,
                    struct err *err) MUST_CHECK;
void dictionary_free(struct dictionary *dictionary);
const struct hash *dictionary_hash(const struct dictionary *dictionary); /* SHA-256 of its bytes. */
struct bytes dictionary_bytes(const struct dictionary *dictionary);
/* From samples, with zstd's trainer; appended to out.
 * Errors: ZR_INVALID  too few samples, or too many. */
bool dictionary_train(const struct bytes *samples, size_t count, size_t size_max,
                      struct buffer *out, struct err *err) MUST_CHECK;

struct compressor;
bool compressor_new(struct compressor **out_compressor, int level, struct err *err) MUST_CHECK;
void compressor_free(struct compressor *compressor);
/* dictionary may be NULL. Appends one frame to out. */
bool compressor_run(struct compressor *compressor, struct bytes raw,
                    const struct dictionary *dictionary, struct buffer *out,
                    struct err *err) MUST_CHECK;

struct decompressor;
bool decompressor_new(struct decompressor **out_decompressor, struct err *err) MUST_CHECK;
void decompressor_free(struct decompressor *decompressor);
/* Appends to out. Nothing is allocated beyond size_max, whatever the frame asks for.
 * Errors: ZR_INVALID  not one whole frame, wrong checksum, wrong or missing dictionary, trailing
 *                     bytes, or more than size_max. */
bool decompressor_run(struct decompressor *decompressor, struct bytes compressed,
                      const struct dictionary *dictionary, size_t size_max, struct buffer *out,
                      struct err *err) MUST_CHECK;

/* ---- the raw batch ---- */

void batch_put_block(struct buffer *raw, struct bytes block);
/* Walks: 1 a block was given, 0 the end, -1 malformed (a length of 0, past the end, or above
 * block_max_bytes). */
int batch_next_block(struct reader *raw, size_t block_max_bytes, struct bytes *out_block);

#endif
