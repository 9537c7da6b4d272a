#include "proto/proof.h"

#include <stdlib.h>
#include <string.h>

#include "proto/anchor.pb-c.h"
#include "proto/message.h"
#include "proto/receipt.h"

static const struct field_rule proof_rules[] = {
	RULE_NUMBER("version", PROOF_VERSION, PROOF_VERSION),
	RULE_BYTES("block", 0, PROOF_BLOCK_MAX),
	RULE_BYTES("header_record", HEADER_RECORD_SIZE, HEADER_RECORD_SIZE),
	RULE_MESSAGE("block_path"),
	RULE_BYTES("entry_record", 1, ENTRY_RECORD_SIZE_MAX),
	RULE_MESSAGE("entry_path"),
	RULE_NUMBER("hash_alg", HASH_SHA256, HASH_SM3),
	RULE_NUMBER("lane", 0, UINT16_MAX),
	RULE_NUMBER("seq", 1, UINT64_MAX),
	RULE_HASH("root"),
	RULE_HASH("key"),
	RULE_TEXT("sink", 1, PROOF_NAME_MAX, TEXT_NAME),
	RULE_BYTES("evidence", 0, PROOF_EVIDENCE_MAX),
	RULE_TEXT("format", 1, PROOF_NAME_MAX, TEXT_NAME),
};

static const struct field_rule path_rules[] = {
	RULE_NUMBER("index", 0, MERKLE_COUNT_MAX - 1),
	RULE_NUMBER("count", 1, MERKLE_COUNT_MAX),
	RULE_MANY_BYTES("nodes", HASH_SIZE, HASH_SIZE, MERKLE_PATH_MAX),
};

static const struct message_rules messages[] = {
	MESSAGE_RULES(zonerelay__anchor__proof__descriptor, proof_rules),
	MESSAGE_RULES(zonerelay__anchor__path__descriptor, path_rules),
};

static const struct rule_table table = { messages, sizeof(messages) / sizeof(messages[0]) };

/* protobuf-c has no constant bytes and texts; encoding does not write to them. */
static ProtobufCBinaryData to_message(const uint8_t *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)data };
}

struct path_message {
	Zonerelay__Anchor__Path path;
	ProtobufCBinaryData nodes[MERKLE_PATH_MAX];
};

static void fill_path(const struct merkle_path *path, struct path_message *out_message)
{
	zonerelay__anchor__path__init(&out_message->path);
	path_to_message(path, out_message->nodes);
	out_message->path.index = path->index;
	out_message->path.count = path->count;
	out_message->path.n_nodes = path->node_count;
	out_message->path.nodes = out_message->nodes;
}

bool proof_encode(const struct proof *proof, struct buffer *out, struct err *err)
{
	uint8_t header_record[HEADER_RECORD_SIZE];
	header_record_encode(&proof->header, header_record);
	struct buffer entry_record = BUFFER_EMPTY;
	entry_record_encode(&proof->entry, &entry_record);
	struct path_message block_path;
	fill_path(&proof->block_path, &block_path);
	struct path_message entry_path;
	fill_path(&proof->entry_path, &entry_path);

	Zonerelay__Anchor__Proof message = ZONERELAY__ANCHOR__PROOF__INIT;
	message.version = PROOF_VERSION;
	message.block = to_message(proof->block.data, proof->block.size);
	message.header_record = to_message(header_record, sizeof(header_record));
	message.block_path = &block_path.path;
	message.entry_record = to_message(entry_record.data, entry_record.size);
	message.entry_path = &entry_path.path;
	message.hash_alg = (uint32_t)proof->alg;
	message.lane = proof->lane;
	message.seq = proof->seq;
	message.root = to_message(proof->root.bytes, HASH_SIZE);
	message.key = to_message(proof->key.bytes, HASH_SIZE);
	message.sink = (char *)proof->sink;
	message.evidence = to_message(proof->evidence.data, proof->evidence.size);
	message.format = (char *)proof->format;

	bool ok = buffer_ok(&entry_record, err) && message_check(&message.base, &table, err) &&
	          message_put(&message.base, out, err);
	buffer_fini(&entry_record);
	return ok;
}

/* What proof_decode() gives: the proof, and the message that its pointers lead into. */
struct decoded {
	struct proof proof; /* First, so that a pointer to it is one to this. */
	Zonerelay__Anchor__Proof *message;
};

static bool read_message(const Zonerelay__Anchor__Proof *message, struct proof *proof,
                         struct err *err)
{
	const struct bytes header_record = { message->header_record.data,
		                             message->header_record.len };
	const struct bytes entry_record = { message->entry_record.data, message->entry_record.len };
	const Zonerelay__Anchor__Path *block_path = message->block_path;
	const Zonerelay__Anchor__Path *entry_path = message->entry_path;
	if (!header_record_decode(header_record, &proof->header, err) ||
	    !entry_record_decode(entry_record, &proof->entry, err) ||
	    !path_from_message(block_path->index, block_path->count, block_path->nodes,
	                       block_path->n_nodes, &proof->block_path, err) ||
	    !path_from_message(entry_path->index, entry_path->count, entry_path->nodes,
	                       entry_path->n_nodes, &proof->entry_path, err))
		return false;

	proof->block = (struct bytes){ message->block.data, message->block.len };
	proof->format = message->format;
	proof->alg = (enum hash_alg)message->hash_alg;
	proof->lane = (uint16_t)message->lane;
	proof->seq = message->seq;
	memcpy(proof->root.bytes, message->root.data, HASH_SIZE);
	memcpy(proof->key.bytes, message->key.data, HASH_SIZE);
	proof->sink = message->sink;
	proof->evidence = (struct bytes){ message->evidence.data, message->evidence.len };
	return true;
}

bool proof_decode(struct bytes bytes, struct proof **out_proof, struct err *err)
{
	if (bytes.size > PROOF_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a proof of %zu bytes", bytes.size);
	struct decoded *decoded = calloc(1, sizeof(*decoded));
	if (decoded == NULL)
		return err_set(err, ZR_NO_MEMORY, "proof");

	ProtobufCMessage *message = NULL;
	if (!message_decode(bytes, &zonerelay__anchor__proof__descriptor, &table, &message, err))
		goto fail;
	decoded->message = (Zonerelay__Anchor__Proof *)message;
	if (!read_message(decoded->message, &decoded->proof, err))
		goto fail;
	*out_proof = &decoded->proof;
	return true;

fail:
	proof_free(&decoded->proof);
	return err_wrap(err, "proof");
}

void proof_free(struct proof *proof)
{
	struct decoded *decoded = (struct decoded *)proof;
	if (decoded == NULL)
		return;
	message_free((ProtobufCMessage *)decoded->message);
	free(decoded);
}

/* ---- what it proves ---- */

bool proof_root(const struct proof *proof, struct hash *out_root, struct err *err)
{
	const struct entry *entry = &proof->entry;
	const struct block_header *header = &proof->header;
	const struct merkle_path *path = &proof->block_path;
	if (header->height < entry->from || header->height > entry->to)
		return err_set(err, ZR_UNTRUSTED, "the block's height is not in the entry");
	if (path->index != header->height - entry->from ||
	    path->count != entry->to - entry->from + 1)
		return err_set(err, ZR_UNTRUSTED, "the block's path is not that of its height");
	if (header->height == entry->to && !hash_equal(&header->hash, &entry->tip))
		return err_set(err, ZR_UNTRUSTED, "the block is not the entry's tip");

	struct hash leaf = header_leaf(proof->alg, header);
	struct hash subtree;
	if (!merkle_path_root(proof->alg, &leaf, path, &subtree))
		return err_set(err, ZR_UNTRUSTED, "the block's path is not canonical");
	if (!hash_equal(&subtree, &entry->subtree))
		return err_set(err, ZR_UNTRUSTED, "the block does not lead to the entry's subtree");
	leaf = entry_leaf(proof->alg, entry);
	if (!merkle_path_root(proof->alg, &leaf, &proof->entry_path, out_root))
		return err_set(err, ZR_UNTRUSTED, "the entry's path is not canonical");
	return true;
}

bool proof_check(const struct proof *proof, struct err *err)
{
	struct hash root;
	if (!proof_root(proof, &root, err))
		return false;
	return hash_equal(&root, &proof->root) ||
	       err_set(err, ZR_UNTRUSTED, "the entry does not lead to the anchor's root");
}

bool proof_check_block(const struct proof *proof, const struct block_header *header,
                       struct err *err)
{
	uint8_t claimed[HEADER_RECORD_SIZE];
	uint8_t found[HEADER_RECORD_SIZE];
	header_record_encode(&proof->header, claimed);
	header_record_encode(header, found);
	return bytes_equal(BYTES_OF(claimed), BYTES_OF(found)) ||
	       err_set(err, ZR_UNTRUSTED, "the block is not the one that is proved");
}
