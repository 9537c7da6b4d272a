/* commands_proof.c -- proof get: one block, from its bytes to the main chain's evidence. */
#include <inttypes.h>
#include <stdlib.h>

#include "proto/proof.h"
#include "relay/commands_daemon.h"

/* What a proof is put together from. */
struct parts {
	struct spool_chain row;
	uint64_t height;
	struct spool_coverage coverage;
	struct spool_anchor anchor;
	struct entry *entries; /* Owned, like the rest. */
	size_t entry_count;
	struct spool_receipt_copy receipt;
	struct block_header *headers;
	size_t header_count;
	struct buffer raw; /* The batch, inflated. */
	struct proof proof;
};

static void parts_fini(struct parts *parts)
{
	free(parts->entries);
	free(parts->headers);
	buffer_fini(&parts->receipt.evidence);
	buffer_fini(&parts->receipt.signature);
	buffer_fini(&parts->receipt.key_id);
	buffer_fini(&parts->raw);
}

static bool read_headers(struct spool *spool, struct parts *parts, struct err *err)
{
	const struct spool_coverage *coverage = &parts->coverage;
	size_t count_max = (size_t)(coverage->to - coverage->from + 1);
	parts->headers = calloc(count_max, sizeof(*parts->headers));
	if (parts->headers == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu headers", count_max);
	const struct spool_range range = { parts->row.key, coverage->from, coverage->to };
	if (!spool_headers(spool, &range, parts->headers, count_max, &parts->header_count, err))
		return false;
	if (parts->header_count != count_max)
		return err_set(err, ZR_STATE, "headers of the anchored run are missing");
	return true;
}

static bool fill_paths(struct parts *parts, struct err *err)
{
	enum hash_alg alg = parts->anchor.alg;
	size_t count =
		parts->entry_count > parts->header_count ? parts->entry_count : parts->header_count;
	struct hash *leaves = calloc(count, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu leaves", count);
	for (size_t i = 0; i < parts->header_count; i++)
		leaves[i] = header_leaf(alg, &parts->headers[i]);
	merkle_path(alg, leaves, parts->header_count, parts->height - parts->coverage.from,
	            &parts->proof.block_path);
	for (size_t i = 0; i < parts->entry_count; i++)
		leaves[i] = entry_leaf(alg, &parts->entries[i]);
	merkle_path(alg, leaves, parts->entry_count, parts->coverage.entry_index,
	            &parts->proof.entry_path);
	free(leaves);
	return true;
}

/* The raw block, where its payload is still held; a proof without it is a proof too. */
static void find_block(struct gateway *gateway, struct parts *parts)
{
	struct spool_batch_info info;
	struct buffer payload = BUFFER_EMPTY;
	const struct dictionary *dictionary = NULL;
	struct decompressor *decompressor = NULL;
	struct err err;
	bool ok = spool_batch_payload(gateway->spool, &parts->row.key, parts->height, &info,
	                              &payload, &err) &&
	          (hash_is_zero(&info.dictionary) ||
	           dictionaries_find(&gateway->dictionaries, &info.dictionary, &dictionary, &err));
	if (ok && info.codec == CODEC_NONE)
		buffer_put(&parts->raw, buffer_bytes(&payload));
	else if (ok && decompressor_new(&decompressor, &err))
		ok = decompressor_run(decompressor, buffer_bytes(&payload), dictionary,
		                      info.raw_size, &parts->raw, &err);
	decompressor_free(decompressor);
	buffer_fini(&payload);
	if (!ok || !buffer_ok(&parts->raw, NULL))
		return;
	struct reader reader = reader_of(buffer_bytes(&parts->raw));
	struct bytes block;
	for (uint64_t height = info.first_height;
	     batch_next_block(&reader, info.raw_size, &block) == 1; height++) {
		if (height == parts->height)
			parts->proof.block = block;
	}
}

static bool collect(struct gateway *gateway, struct parts *parts, struct err *err)
{
	struct spool *spool = gateway->spool;
	const struct spool_anchor_id *id = &parts->coverage.id;
	if (!spool_anchor_entries(spool, id, &parts->entries, &parts->entry_count, err) ||
	    !spool_anchor_receipt(spool, id, &parts->receipt, err) ||
	    !read_headers(spool, parts, err) || !fill_paths(parts, err))
		return false;
	struct proof *proof = &parts->proof;
	proof->format = parts->row.format;
	proof->header = parts->headers[parts->height - parts->coverage.from];
	proof->entry = parts->entries[parts->coverage.entry_index];
	proof->alg = parts->anchor.alg;
	proof->lane = id->lane;
	proof->seq = id->seq;
	proof->root = parts->anchor.root;
	proof->key = parts->anchor.key;
	proof->sink = gateway->config->gateway.main_chain.adapter;
	proof->evidence = buffer_bytes(&parts->receipt.evidence);
	find_block(gateway, parts);
	return proof_check(proof, err);
}

static void answer_proof(struct command_call *call, struct parts *parts)
{
	struct buffer file = BUFFER_EMPTY;
	struct err err;
	const struct proof *proof = &parts->proof;
	if (!collect(call->gateway, parts, &err) || !proof_encode(proof, &file, &err)) {
		command_answer_err(call, &err);
	} else {
		json_t *object = json_pack("{s:s, s:I, s:o, s:s, s:i, s:I, s:o, s:b}", "chain",
		                           parts->row.id.name, "height", (json_int_t)parts->height,
		                           "hash", view_hash(&proof->header.hash), "sink",
		                           call->gateway->config->gateway.main_chain.name, "lane",
		                           (int)proof->lane, "seq", (json_int_t)proof->seq, "root",
		                           view_hash(&proof->root), "block", proof->block.size > 0);
		command_answer_file(call, object, buffer_bytes(&file));
	}
	buffer_fini(&file);
}

void command_proof_get(struct command_call *call)
{
	struct gateway *gateway = call->gateway;
	struct parts parts = { .height = 0 };
	struct err err;
	if (!command_chain(call, call->line.arguments[0], &parts.row))
		return;
	if (!command_number(call->line.arguments[1], "a height", HEIGHT_MAX, &parts.height, &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	const char *name = parts.row.id.name;
	if (parts.height >= parts.row.next_height) {
		command_answer_error(call, EXIT_DEGRADED,
		                     "block %" PRIu64
		                     " of %s has not arrived: the next is %" PRIu64,
		                     parts.height, name, parts.row.next_height);
	} else if (!spool_anchor_of(gateway->spool, parts.row.sink, &parts.row.key, parts.height,
	                            &parts.coverage, NULL) ||
	           parts.coverage.from > parts.height) {
		command_answer_error(call, EXIT_DEGRADED,
		                     "block %" PRIu64 " of %s is durable and in no anchor yet",
		                     parts.height, name);
	} else if (!spool_anchor(gateway->spool, &parts.coverage.id, &parts.anchor, &err)) {
		command_answer_err(call, &err);
	} else if (parts.anchor.state != SPOOL_ANCHOR_FINAL) {
		command_answer_error(call, EXIT_DEGRADED,
		                     "block %" PRIu64 " of %s is in anchor %" PRIu64
		                     ", which is %s",
		                     parts.height, name, parts.anchor.id.seq,
		                     spool_anchor_state_name(parts.anchor.state));
	} else {
		answer_proof(call, &parts);
	}
	parts_fini(&parts);
}
