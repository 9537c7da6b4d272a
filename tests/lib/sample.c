/* sample.c -- see sample.h; tests/data/vectors/generate.py says the same in Python. */
#include "tests/lib/sample.h"

#include <string.h>

const uint8_t sample_uuid[STORE_UUID_SIZE] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
};

struct hash sample_hash(uint8_t byte)
{
	struct hash hash;
	memset(hash.bytes, byte, HASH_SIZE);
	return hash;
}

struct chain_id sample_chain(void)
{
	return (struct chain_id){ "tq-0001", sample_hash(0xe0) };
}

struct block_header sample_header(int index)
{
	return (struct block_header){
		.height = 7 + (uint64_t)index,
		.hash = sample_hash((uint8_t)(0x17 + index)),
		.parent = sample_hash((uint8_t)(0x16 + index)),
		.data_root = sample_hash((uint8_t)(0xd7 + index)),
		.time_ms = SAMPLE_TIME_MS + INT64_C(900000) * index,
		.entry_count = 15,
	};
}

struct entry sample_entry(enum hash_alg alg)
{
	struct merkle_builder builder;
	merkle_builder_init(&builder, alg);
	for (int i = 0; i < SAMPLE_HEADERS; i++) {
		struct block_header header = sample_header(i);
		struct hash leaf = header_leaf(alg, &header);
		merkle_builder_add(&builder, &leaf);
	}
	return (struct entry){
		.chain = sample_chain(),
		.from = 7,
		.to = 9,
		.tip = sample_hash(0x19),
		.policy = POLICY_ALL,
		.subtree = merkle_builder_root(&builder),
	};
}

struct entry sample_other_entry(void)
{
	return (struct entry){
		.chain = { "tq-0002", sample_hash(0xe1) },
		.tip = sample_hash(0x20),
		.policy = POLICY_TAIL,
		.subtree = sample_hash(0x5b),
	};
}

struct custody sample_custody(int index)
{
	const struct custody samples[SAMPLE_CUSTODIES] = {
		{ sample_chain(), 7, 9, sample_hash(0x19), sample_hash(0xc0) },
		{ { "tq-0002", sample_hash(0xe1) }, 0, 0, sample_hash(0x20), sample_hash(0xc1) },
		{ { "a", sample_hash(0xe2) },
		  HEIGHT_MAX - 1,
		  HEIGHT_MAX,
		  sample_hash(0x21),
		  sample_hash(0xc2) },
	};
	return samples[index];
}

struct anchor sample_anchor(struct entry entries[static 2])
{
	entries[0] = sample_entry(HASH_SHA256);
	entries[1] = sample_other_entry();
	return (struct anchor){
		.alg = HASH_SHA256,
		.deliver = DELIVER_ANCHOR,
		.lane = 3,
		.seq = 1,
		.root = anchor_entries_root(HASH_SHA256, entries, 2),
		.entries = entries,
		.entry_count = 2,
	};
}

struct receipt_root sample_receipt_root(void)
{
	struct entry entries[2];
	struct anchor anchor = sample_anchor(entries);
	struct buffer content = BUFFER_EMPTY;
	anchor_content_encode(&anchor, &content);
	struct receipt_root root = {
		.alg = anchor.alg,
		.lane = anchor.lane,
		.seq = anchor.seq,
		.root = anchor.root,
		.key = anchor_key(anchor.alg, buffer_bytes(&content)),
		.time_ms = SAMPLE_TIME_MS + 5000,
		.evidence_hash = sha256(BYTES_LITERAL(SAMPLE_EVIDENCE)),
	};
	memcpy(root.store_uuid, sample_uuid, STORE_UUID_SIZE);
	buffer_fini(&content);
	return root;
}
