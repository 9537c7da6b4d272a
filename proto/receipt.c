#include "proto/receipt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct bytes message_bytes(const ProtobufCBinaryData *data)
{
	return (struct bytes){ data->data, data->len };
}

/* protobuf-c has no constant bytes; encoding does not write to them. */
static ProtobufCBinaryData to_message(const uint8_t *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)data };
}

struct receipt_key_id receipt_key_id(const struct key *key)
{
	struct hash hash = key_id(key);
	struct receipt_key_id id;
	memcpy(id.bytes, hash.bytes, sizeof(id.bytes));
	return id;
}

bool receipt_key_matches(const struct key *key, struct bytes id)
{
	struct receipt_key_id own = receipt_key_id(key);
	return bytes_equal(BYTES_OF(own.bytes), id);
}

/* ---- paths in messages ---- */

void path_to_message(const struct merkle_path *path,
                     ProtobufCBinaryData nodes[static MERKLE_PATH_MAX])
{
	for (size_t i = 0; i < path->node_count; i++)
		nodes[i] = to_message(path->nodes[i].bytes, HASH_SIZE);
}

bool path_from_message(uint64_t index, uint64_t count, const ProtobufCBinaryData *nodes,
                       size_t node_count, struct merkle_path *out_path, struct err *err)
{
	if (node_count > MERKLE_PATH_MAX)
		return err_set(err, ZR_INVALID, "a path of %zu nodes", node_count);
	for (size_t i = 0; i < node_count; i++) {
		if (!hash_from_bytes(&out_path->nodes[i], message_bytes(&nodes[i])))
			return err_set(err, ZR_INVALID, "a path's node of %zu bytes", nodes[i].len);
	}
	out_path->index = index;
	out_path->count = count;
	out_path->node_count = node_count;
	return true;
}

/* ---- custody ---- */

struct custody_commit {
	struct custody_root root;
	struct merkle_tree *tree;
	struct signature signature;
	struct receipt_key_id key_id;
};

static bool build_tree(struct merkle_tree **out_tree, const struct custody *custodies, size_t count,
                       struct err *err)
{
	struct hash *leaves = calloc(count, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu leaves", count);
	for (size_t i = 0; i < count; i++)
		leaves[i] = custody_leaf(&custodies[i]);
	bool ok = merkle_tree_new(out_tree, HASH_SHA256, leaves, count, err);
	free(leaves);
	return ok;
}

bool custody_commit_new(struct custody_commit **out_commit, const struct custody_stamp *stamp,
                        const struct custody *custodies, size_t count, const struct key *key,
                        struct err *err)
{
	assert(count > 0);

	struct custody_commit *commit = calloc(1, sizeof(*commit));
	if (commit == NULL)
		return err_set(err, ZR_NO_MEMORY, "receipts of a commit");
	if (!build_tree(&commit->tree, custodies, count, err))
		goto fail;

	memcpy(commit->root.store_uuid, stamp->store_uuid, STORE_UUID_SIZE);
	commit->root.commit_number = stamp->commit_number;
	commit->root.time_ms = stamp->time_ms;
	commit->root.count = count;
	commit->root.root = merkle_tree_root(commit->tree);
	commit->key_id = receipt_key_id(key);

	uint8_t record[CUSTODY_ROOT_SIZE];
	custody_root_encode(&commit->root, record);
	if (!key_sign(key, BYTES_OF(record), &commit->signature, err))
		goto fail;
	*out_commit = commit;
	return true;

fail:
	custody_commit_free(commit);
	return err_wrap(err, "receipts of commit %llu", (unsigned long long)stamp->commit_number);
}

void custody_commit_free(struct custody_commit *commit)
{
	if (commit == NULL)
		return;
	merkle_tree_free(commit->tree);
	free(commit);
}

const struct custody_root *custody_commit_root(const struct custody_commit *commit)
{
	return &commit->root;
}

void custody_commit_receipt(const struct custody_commit *commit, size_t index,
                            struct custody_receipt *out_receipt)
{
	merkle_tree_path(commit->tree, index, &out_receipt->path);
	path_to_message(&out_receipt->path, out_receipt->nodes);

	Zonerelay__Link__CustodyReceipt *message = &out_receipt->message;
	zonerelay__link__custody_receipt__init(message);
	message->commit_number = commit->root.commit_number;
	message->time_ms = commit->root.time_ms;
	message->index = index;
	message->count = commit->root.count;
	message->n_path = out_receipt->path.node_count;
	message->path = out_receipt->nodes;
	message->signature = to_message(commit->signature.bytes, commit->signature.size);
	message->key_id = to_message(commit->key_id.bytes, LINK_KEY_ID_SIZE);
}

bool custody_receipt_check(const Zonerelay__Link__CustodyReceipt *receipt,
                           const uint8_t store_uuid[static STORE_UUID_SIZE],
                           const struct custody *custody, const struct key *key, struct err *err)
{
	if (!receipt_key_matches(key, message_bytes(&receipt->key_id)))
		return err_set(err, ZR_UNTRUSTED, "custody receipt: signed by another key");
	struct merkle_path path;
	if (!path_from_message(receipt->index, receipt->count, receipt->path, receipt->n_path,
	                       &path, err))
		return err_wrap(err, "custody receipt");

	struct custody_root root = {
		.commit_number = receipt->commit_number,
		.time_ms = receipt->time_ms,
		.count = receipt->count,
	};
	memcpy(root.store_uuid, store_uuid, STORE_UUID_SIZE);
	struct hash leaf = custody_leaf(custody);
	if (!merkle_path_root(HASH_SHA256, &leaf, &path, &root.root))
		return err_set(err, ZR_INVALID, "custody receipt: its path is not canonical");

	uint8_t record[CUSTODY_ROOT_SIZE];
	custody_root_encode(&root, record);
	return key_verify(key, BYTES_OF(record), message_bytes(&receipt->signature), VERIFY_ANY_S,
	                  err) ||
	       err_wrap(err, "custody receipt");
}

/* ---- anchored ---- */

bool receipt_root_sign(const struct receipt_root *root, const struct key *key,
                       struct signature *out_signature, struct err *err)
{
	uint8_t record[RECEIPT_ROOT_SIZE];
	receipt_root_encode(root, record);
	return key_sign(key, BYTES_OF(record), out_signature, err);
}

void anchored_entry_fill(const struct entry *entry, const struct merkle_path *path,
                         ProtobufCBinaryData nodes[static MERKLE_PATH_MAX],
                         Zonerelay__Link__AnchoredEntry *out_message)
{
	path_to_message(path, nodes);
	zonerelay__link__anchored_entry__init(out_message);
	out_message->from = entry->from;
	out_message->to = entry->to;
	out_message->tip = to_message(entry->tip.bytes, HASH_SIZE);
	out_message->policy = (uint32_t)entry->policy;
	out_message->subtree = to_message(entry->subtree.bytes, HASH_SIZE);
	out_message->index = path->index;
	out_message->count = path->count;
	out_message->n_path = path->node_count;
	out_message->path = nodes;
}

bool anchored_receipt_root(const Zonerelay__Link__Anchored *anchored,
                           const uint8_t store_uuid[static STORE_UUID_SIZE],
                           struct receipt_root *out_root, struct err *err)
{
	struct receipt_root root = {
		.alg = (enum hash_alg)anchored->hash_alg,
		.lane = (uint16_t)anchored->lane,
		.seq = anchored->seq,
		.time_ms = anchored->time_ms,
		.evidence_hash = sha256(message_bytes(&anchored->evidence)),
	};
	if (anchored->hash_alg < HASH_SHA256 || anchored->hash_alg > HASH_SM3 ||
	    anchored->lane > UINT16_MAX)
		return err_set(err, ZR_INVALID, "anchored: hash algorithm or lane");
	if (!hash_from_bytes(&root.root, message_bytes(&anchored->root)) ||
	    !hash_from_bytes(&root.key, message_bytes(&anchored->key)))
		return err_set(err, ZR_INVALID, "anchored: root or key is no hash");
	memcpy(root.store_uuid, store_uuid, STORE_UUID_SIZE);
	*out_root = root;
	return true;
}

bool anchored_check(const Zonerelay__Link__Anchored *anchored,
                    const uint8_t store_uuid[static STORE_UUID_SIZE], const struct key *key,
                    struct err *err)
{
	if (!receipt_key_matches(key, message_bytes(&anchored->key_id)))
		return err_set(err, ZR_UNTRUSTED, "anchored: signed by another key");
	struct receipt_root root;
	if (!anchored_receipt_root(anchored, store_uuid, &root, err))
		return false;
	uint8_t record[RECEIPT_ROOT_SIZE];
	receipt_root_encode(&root, record);
	return key_verify(key, BYTES_OF(record), message_bytes(&anchored->signature), VERIFY_ANY_S,
	                  err) ||
	       err_wrap(err, "anchored");
}

bool anchored_entry_check(const Zonerelay__Link__Anchored *anchored,
                          const Zonerelay__Link__AnchoredEntry *message,
                          const struct chain_id *chain, struct entry *out_entry,
                          struct merkle_path *out_path, struct err *err)
{
	struct entry entry = {
		.chain = *chain,
		.from = message->from,
		.to = message->to,
		.policy = (enum policy)message->policy,
	};
	struct hash anchor_root;
	if (!hash_from_bytes(&entry.tip, message_bytes(&message->tip)) ||
	    !hash_from_bytes(&entry.subtree, message_bytes(&message->subtree)) ||
	    !hash_from_bytes(&anchor_root, message_bytes(&anchored->root)))
		return err_set(err, ZR_INVALID, "anchored entry: tip, subtree or root is no hash");
	if (anchored->hash_alg < HASH_SHA256 || anchored->hash_alg > HASH_SM3)
		return err_set(err, ZR_INVALID, "anchored entry: hash algorithm");
	enum hash_alg alg = (enum hash_alg)anchored->hash_alg;

	struct merkle_path path;
	if (!path_from_message(message->index, message->count, message->path, message->n_path,
	                       &path, err))
		return err_wrap(err, "anchored entry");
	struct hash leaf = entry_leaf(alg, &entry);
	struct hash root;
	if (!merkle_path_root(alg, &leaf, &path, &root))
		return err_set(err, ZR_INVALID, "anchored entry: its path is not canonical");
	if (!hash_equal(&root, &anchor_root))
		return err_set(err, ZR_UNTRUSTED,
		               "anchored entry: its path does not lead to the anchor's root");
	*out_entry = entry;
	*out_path = path;
	return true;
}
