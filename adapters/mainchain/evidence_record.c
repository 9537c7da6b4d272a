/* The three records, each written and read from left to right. */
#include "adapters/mainchain/evidence_record.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define BLOCK_MAGIC       BYTES_LITERAL("ZRm1")
#define TRANSACTION_MAGIC BYTES_LITERAL("ZRx1")
#define EVIDENCE_MAGIC    BYTES_LITERAL("ZRv1")

static bool read_magic(struct reader *reader, struct bytes magic)
{
	return bytes_equal(reader_bytes(reader, magic.size), magic);
}

static bool alg_known(uint8_t alg)
{
	return alg == HASH_SHA256 || alg == HASH_SM3;
}

/* ---- block header ---- */

void main_block_encode(const struct main_block *block, struct buffer *out)
{
	assert(block->height > 0 && block->height <= MAIN_NUMBER_MAX);
	buffer_put(out, BLOCK_MAGIC);
	buffer_put_u8(out, (uint8_t)block->alg);
	buffer_put_short(out, bytes_of_string(block->chain));
	buffer_put_u64(out, block->height);
	buffer_put_u64(out, (uint64_t)block->time_ms);
	buffer_put_hash(out, &block->previous);
	buffer_put_u64(out, block->count);
	buffer_put_hash(out, &block->root);
}

bool main_block_decode(struct bytes record, struct main_block *out_block, struct err *err)
{
	struct reader reader = reader_of(record);
	if (!read_magic(&reader, BLOCK_MAGIC))
		return err_set(err, ZR_INVALID, "not a block header of the main chain");

	struct main_block block;
	uint8_t alg = reader_u8(&reader);
	if (!alg_known(alg))
		return err_set(err, ZR_INVALID, "main-chain block: hash %u is unknown", alg);
	block.alg = (enum hash_alg)alg;
	if (!reader_name(&reader, block.chain))
		return err_set(err, ZR_INVALID, "main-chain block: not a chain name");
	block.height = reader_u64(&reader);
	block.time_ms = (int64_t)reader_u64(&reader);
	block.previous = reader_hash(&reader);
	block.count = reader_u64(&reader);
	block.root = reader_hash(&reader);
	if (!reader_done(&reader))
		return err_set(err, ZR_INVALID, "main-chain block header of %zu bytes",
		               record.size);
	if (block.height == 0 || block.height > MAIN_NUMBER_MAX)
		return err_set(err, ZR_INVALID, "main-chain block: height %" PRIu64, block.height);
	if (block.count > MERKLE_COUNT_MAX)
		return err_set(err, ZR_INVALID, "main-chain block of %" PRIu64 " transactions",
		               block.count);
	if (hash_is_zero(&block.previous) != (block.height == 1))
		return err_set(err, ZR_INVALID,
		               "main-chain block %" PRIu64 ": hash of the one before",
		               block.height);

	*out_block = block;
	return true;
}

struct hash main_block_hash(enum hash_alg alg, struct bytes record)
{
	return hash_one(alg, record);
}

/* ---- transaction ---- */

void main_transaction_encode(const struct main_transaction *transaction, struct buffer *out)
{
	buffer_put(out, TRANSACTION_MAGIC);
	buffer_put_u8(out, (uint8_t)transaction->alg);
	buffer_put_u16(out, transaction->lane);
	buffer_put_u64(out, transaction->seq);
	buffer_put_u64(out, transaction->fence);
	buffer_put_hash(out, &transaction->root);
	buffer_put_hash(out, &transaction->key);
}

bool main_transaction_decode(struct bytes record, struct main_transaction *out_transaction,
                             struct err *err)
{
	struct reader reader = reader_of(record);
	if (!read_magic(&reader, TRANSACTION_MAGIC))
		return err_set(err, ZR_INVALID, "not a transaction of the main chain");

	struct main_transaction transaction;
	uint8_t alg = reader_u8(&reader);
	transaction.lane = reader_u16(&reader);
	transaction.seq = reader_u64(&reader);
	transaction.fence = reader_u64(&reader);
	transaction.root = reader_hash(&reader);
	transaction.key = reader_hash(&reader);
	if (!reader_done(&reader))
		return err_set(err, ZR_INVALID, "main-chain transaction of %zu bytes", record.size);
	if (!alg_known(alg))
		return err_set(err, ZR_INVALID, "main-chain transaction: hash %u is unknown", alg);
	if (transaction.seq == 0 || transaction.seq > MAIN_NUMBER_MAX ||
	    transaction.fence > MAIN_NUMBER_MAX)
		return err_set(err, ZR_INVALID, "main-chain transaction: a number is out of range");

	transaction.alg = (enum hash_alg)alg;
	*out_transaction = transaction;
	return true;
}

/* ---- evidence ---- */

void main_evidence_encode(const struct main_evidence *evidence, struct buffer *out)
{
	assert(evidence->signature_count > 0 &&
	       evidence->signature_count <= EVIDENCE_SIGNATURES_MAX);
	assert(evidence->path.node_count <= MERKLE_PATH_MAX);

	buffer_put(out, EVIDENCE_MAGIC);
	buffer_put_short(out, evidence->block_record);
	buffer_put_short(out, evidence->transaction_record);
	buffer_put_u64(out, evidence->path.index);
	buffer_put_u8(out, (uint8_t)evidence->path.node_count);
	for (size_t i = 0; i < evidence->path.node_count; i++)
		buffer_put_hash(out, &evidence->path.nodes[i]);
	buffer_put_u8(out, (uint8_t)evidence->signature_count);
	for (size_t i = 0; i < evidence->signature_count; i++) {
		buffer_put_hash(out, &evidence->signatures[i].key_id);
		buffer_put_short(out, evidence->signatures[i].signature);
	}
}

static bool read_path(struct reader *reader, struct main_evidence *evidence, struct err *err)
{
	struct merkle_path *path = &evidence->path;
	path->index = reader_u64(reader);
	path->count = evidence->block.count;
	path->node_count = reader_u8(reader);
	if (path->index >= path->count ||
	    path->node_count != merkle_path_length(path->index, path->count))
		return err_set(err, ZR_INVALID,
		               "evidence: a path that does not fit %" PRIu64 " transactions",
		               path->count);
	for (size_t i = 0; i < path->node_count; i++)
		path->nodes[i] = reader_hash(reader);
	return true;
}

static bool read_signatures(struct reader *reader, struct main_evidence *evidence, struct err *err)
{
	evidence->signature_count = reader_u8(reader);
	if (evidence->signature_count == 0 || evidence->signature_count > EVIDENCE_SIGNATURES_MAX)
		return err_set(err, ZR_INVALID, "evidence: %zu signatures",
		               evidence->signature_count);

	for (size_t i = 0; i < evidence->signature_count; i++) {
		struct main_signature *signature = &evidence->signatures[i];
		signature->key_id = reader_hash(reader);
		signature->signature = reader_short(reader);
		if (signature->signature.size > SIGNATURE_SIZE_MAX)
			return err_set(err, ZR_INVALID, "evidence: a signature of %zu bytes",
			               signature->signature.size);
		if (i > 0 &&
		    bytes_compare(BYTES_OF(signature[-1].key_id), BYTES_OF(signature->key_id)) >= 0)
			return err_set(err, ZR_INVALID,
			               "evidence: signatures are not in the order of their keys");
	}
	return true;
}

bool main_evidence_decode(struct bytes bytes, struct main_evidence *out_evidence, struct err *err)
{
	struct reader reader = reader_of(bytes);
	if (!read_magic(&reader, EVIDENCE_MAGIC))
		return err_set(err, ZR_INVALID, "not evidence of the http adapter");

	struct main_evidence *evidence = out_evidence;
	evidence->block_record = reader_short(&reader);
	evidence->transaction_record = reader_short(&reader);
	if (!main_block_decode(evidence->block_record, &evidence->block, err) ||
	    !main_transaction_decode(evidence->transaction_record, &evidence->transaction, err))
		return err_wrap(err, "evidence");
	if (!read_path(&reader, evidence, err) || !read_signatures(&reader, evidence, err))
		return false;
	if (!reader_done(&reader))
		return err_set(err, ZR_INVALID, "evidence of %zu bytes is cut short or too long",
		               bytes.size);
	return true;
}
