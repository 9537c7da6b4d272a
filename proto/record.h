/* record.h -- the fixed byte layouts that are hashed, signed or stored for ever.
 *
 * Protobuf is never hashed. Every record begins with four bytes that name it and its version, all
 * numbers are big-endian, and decoding accepts exactly what encoding gives. docs/PROTOCOL.md
 * section 5 lists each field with test vectors (tests/data/vectors/).
 *
 *     "ZRh1"  header record   one block, a leaf of its entry's subtree
 *     "ZRe1"  entry record    one chain's contiguous run, a leaf of the anchor's tree
 *     "ZRa1"  anchor content  what the main chain is given, and what its key is the hash of
 *     "ZRc1"  custody record  one batch that is durable here, a leaf of the commit's tree
 *     "ZRC1"  custody root    what the gateway signs once per commit
 *     "ZRR1"  receipt root    what the gateway signs once per anchor that is final
 */
#ifndef ZR_PROTO_RECORD_H
#define ZR_PROTO_RECORD_H

#include <stdint.h>

#include "proto/merkle.h"
#include "relay/base/bytes.h"
#include "relay/base/crypto.h"

#define HEIGHT_MAX ((uint64_t)INT64_MAX) /* Every height; decoding refuses what is above. */

#define CHAIN_NAME_MAX 64 /* Letters, digits, '.', '-', '_'; begins with a letter or digit. */

/* The zone's name for a chain and the hash of its genesis block (its epoch). */
struct chain_id {
	char name[CHAIN_NAME_MAX + 1];
	struct hash epoch;
};

bool chain_name_valid(const char *name);
/* Reads a name that reader_short() would give. False: it is none; a zero inside, which would end it
 * early, is refused like any other. */
bool reader_name(struct reader *reader, char out_name[static CHAIN_NAME_MAX + 1]);
bool chain_id_equal(const struct chain_id *a, const struct chain_id *b);

/* Sixteen bytes that stand for a chain_id in keys: the first of
 * SHA-256("ZRk1" || u8 length of name || name || epoch). Enrolment refuses a collision. */
#define CHAIN_KEY_SIZE 16
struct chain_key {
	uint8_t bytes[CHAIN_KEY_SIZE];
};
struct chain_key chain_key(const struct chain_id *id);
bool chain_key_equal(const struct chain_key *a, const struct chain_key *b);

/* Stored and anchored: never renumber. */
enum policy {
	POLICY_ALL = 1,  /* Every block's own signatures were verified. */
	POLICY_TAIL = 2, /* Links and roots of every block; signatures of each set change and of the
	                    last block of each batch. */
};
const char *policy_name(enum policy policy); /* "all", "tail" */
bool policy_from_name(const char *name, enum policy *out_policy);

/* Stored and anchored: never renumber. How much of a block the main chain is given. */
enum deliver { DELIVER_ANCHOR = 1, DELIVER_HEADERS = 2, DELIVER_FULL = 3 };
const char *deliver_name(enum deliver deliver); /* "anchor", "headers", "full" */
bool deliver_from_name(const char *name, enum deliver *out_deliver);

/* What every format finds out about one block from its bytes alone. */
struct block_header {
	uint64_t height;
	struct hash hash;
	struct hash parent; /* Zero for the first block of a chain. */
	struct hash data_root;
	int64_t time_ms;      /* Unix time as the block claims; 0 where the format has none. */
	uint32_t entry_count; /* Transactions or entries. */
};

#define HEADER_RECORD_SIZE 120 /* 4 + 8 + 32 + 32 + 32 + 8 + 4 */
void header_record_encode(const struct block_header *header,
                          uint8_t out_record[static HEADER_RECORD_SIZE]);
bool header_record_decode(struct bytes record, struct block_header *out_header,
                          struct err *err) MUST_CHECK;
struct hash header_leaf(enum hash_alg alg, const struct block_header *header);

struct entry {
	struct chain_id chain;
	uint64_t from, to; /* Heights, both within. */
	struct hash tip;   /* Hash of block `to`. */
	enum policy policy;
	struct hash subtree; /* Root over the header records from..to. */
};

#define ENTRY_RECORD_SIZE_MAX (4 + 1 + CHAIN_NAME_MAX + 32 + 8 + 8 + 32 + 1 + 32)
/* Appends; the record's size follows from the name. */
void entry_record_encode(const struct entry *entry, struct buffer *out);
bool entry_record_decode(struct bytes record, struct entry *out_entry, struct err *err) MUST_CHECK;
struct hash entry_leaf(enum hash_alg alg, const struct entry *entry);
/* Are these the headers of the entry's blocks, in order: heights from..to, linked by parents, the
 * last one the tip, and the root over them the subtree?
 * Errors: ZR_INVALID  with the place. */
bool entry_check_headers(enum hash_alg alg, const struct entry *entry,
                         const struct block_header *headers, size_t count,
                         struct err *err) MUST_CHECK;

/* A compressed batch that the main chain holds under its content hash (deliver: full). */
struct batch_ref {
	struct hash content; /* SHA-256 of the compressed payload. */
	uint64_t size_bytes;
	struct hash dictionary; /* SHA-256 of the dictionary it needs; zero for none. */
};

#define ANCHOR_ENTRIES_MAX      65536u
#define ANCHOR_HEADERS_MAX      1000000u
#define ANCHOR_BATCHES_MAX      262144u
#define ANCHOR_CONTENT_SIZE_MAX (64u << 20)

/* One anchor, complete, within the limits above. Arrays are borrowed from whoever filled it. */
struct anchor {
	enum hash_alg alg;
	enum deliver deliver;
	uint16_t lane;
	uint64_t seq;                /* From 1, without holes. */
	struct hash previous;        /* Root of seq - 1; zero for the first. */
	struct hash root;            /* Over the entry records, in their order. */
	const struct entry *entries; /* At least one. */
	size_t entry_count;
	/* DELIVER_HEADERS: of all blocks of all entries, in order; else none. */
	const struct block_header *headers;
	size_t header_count;
	/* DELIVER_FULL: of all entries, in order, at least one each; else none. */
	const struct batch_ref *batches;
	size_t batch_count;
};

/* The tree over the entries: what anchor.root must be. Needs no memory. */
struct hash anchor_entries_root(enum hash_alg alg, const struct entry *entries, size_t count);
/* How many bytes anchor_content_encode() appends. */
uint64_t anchor_content_size(const struct anchor *anchor);
/* Fails only for memory (buffer_ok). */
void anchor_content_encode(const struct anchor *anchor, struct buffer *out);
/* H(content): the idempotency key. The fence is no part of it. */
struct hash anchor_key(enum hash_alg alg, struct bytes content);

/* Decodes and checks all that the content itself can prove: the root is the tree over the entries,
 * no two entries of one chain overlap, and, where headers are given, each entry's run from..to is
 * whole, linked by parents, ends in tip and has the subtree root. Allocates no more than about four
 * times content.size. Owns its arrays; end with anchor_decoded_free().
 *
 * Errors: ZR_INVALID  with the place. */
struct anchor_decoded;
bool anchor_content_decode(struct bytes content, struct anchor_decoded **out_anchor,
                           struct err *err) MUST_CHECK;
const struct anchor *anchor_decoded_view(const struct anchor_decoded *anchor);
void anchor_decoded_free(struct anchor_decoded *anchor);

#define STORE_UUID_SIZE 16

/* One batch that is ours now. */
struct custody {
	struct chain_id chain;
	uint64_t from, to;
	struct hash tip;     /* Hash of block `to`. */
	struct hash content; /* SHA-256 of the batch as it arrived compressed. */
};
void custody_record_encode(const struct custody *custody, struct buffer *out);
struct hash custody_leaf(const struct custody *custody); /* SHA-256. */

/* What is signed once per commit. */
struct custody_root {
	uint8_t store_uuid[STORE_UUID_SIZE];
	uint64_t commit_number; /* Of this store, rising. */
	int64_t time_ms;        /* Gateway wall clock. */
	uint64_t count;         /* Leaves of the commit's tree. */
	struct hash root;       /* Over custody records, SHA-256. */
};
#define CUSTODY_ROOT_SIZE (4 + STORE_UUID_SIZE + 8 + 8 + 8 + 32)
void custody_root_encode(const struct custody_root *root,
                         uint8_t out_record[static CUSTODY_ROOT_SIZE]);

/* What is signed once per final anchor: "the main chain has this anchor, here is its evidence". */
struct receipt_root {
	uint8_t store_uuid[STORE_UUID_SIZE];
	enum hash_alg alg;
	uint16_t lane;
	uint64_t seq;
	struct hash root;          /* The anchor's. */
	struct hash key;           /* The anchor's. */
	int64_t time_ms;           /* Gateway wall clock when it became final. */
	struct hash evidence_hash; /* SHA-256 of the main chain's evidence. */
};
#define RECEIPT_ROOT_SIZE (4 + STORE_UUID_SIZE + 1 + 2 + 8 + 32 + 32 + 8 + 32)
void receipt_root_encode(const struct receipt_root *root,
                         uint8_t out_record[static RECEIPT_ROOT_SIZE]);

#endif
