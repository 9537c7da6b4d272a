/* codec.h -- the bytes of every key and value of the spool; docs/SPOOL-FORMAT.md has examples.
 *
 * All numbers are big-endian. "short" is a u8 length and bytes, "long" a u32 length and bytes. A
 * decoder accepts exactly what its encoder gives and returns false for anything else; the checksum
 * was compared before, so false means a store that another program wrote.
 */
#ifndef ZR_SPOOL_CODEC_H
#define ZR_SPOOL_CODEC_H

#include "spool/anchors.h"
#include "spool/audit.h"
#include "spool/batches.h"
#include "spool/chains.h"
#include "spool/quarantine.h"

/* ---- keys ---- */

#define SPOOL_KEY_MAX 96

struct spool_key {
	uint8_t bytes[SPOOL_KEY_MAX];
	size_t size;
};

struct bytes spool_key_bytes(const struct spool_key *key); /* Borrowed. */

/* arrival numbers, quarantine, evidence, audit */
struct spool_key spool_key_number(uint64_t number);
/* heights: chain, first height; trust: chain, from height */
struct spool_key spool_key_height(const struct chain_key *chain, uint64_t height);
struct spool_key spool_key_chain(const struct chain_key *chain);
struct spool_key spool_key_pending(uint8_t sink, uint8_t class, const struct chain_key *chain);
struct spool_key spool_key_anchor(const struct spool_anchor_id *id);
struct spool_key spool_key_coverage(uint8_t sink, const struct chain_key *chain, uint64_t to);
struct spool_key spool_key_tombstone(const struct chain_key *chain, uint64_t from, uint64_t number);
struct spool_key spool_key_suspect(const struct chain_key *chain, const struct hash *content);
struct spool_key spool_key_hash(const struct hash *hash);
struct spool_key spool_key_request(const uint8_t request_id[SPOOL_REQUEST_ID_SIZE]);
struct spool_key spool_key_name(const char *name);

bool spool_key_number_read(struct bytes key, uint64_t *out_number);
bool spool_key_height_read(struct bytes key, struct chain_key *out_chain, uint64_t *out_height);
bool spool_key_chain_read(struct bytes key, struct chain_key *out_chain);
bool spool_key_pending_read(struct bytes key, uint8_t *out_sink, uint8_t *out_class,
                            struct chain_key *out_chain);
bool spool_key_anchor_read(struct bytes key, struct spool_anchor_id *out_id);
bool spool_key_coverage_read(struct bytes key, uint8_t *out_sink, struct chain_key *out_chain,
                             uint64_t *out_to);
bool spool_key_tombstone_read(struct bytes key, struct chain_key *out_chain, uint64_t *out_from,
                              uint64_t *out_number);
bool spool_key_hash_read(struct bytes key, struct hash *out_hash);

/* ---- batches and heights ---- */

#define SPOOL_BATCH_MAGIC       "ZRq1"
#define SPOOL_BLOCK_RECORD_SIZE 76 /* hash, data root, i64 time, u32 entry count */

/* The header of a row of table batches, up to the payload. */
void spool_batch_header_encode(const struct spool_batch *batch, const struct spool_chain *chain,
                               uint64_t arrival, struct buffer *out);

/* A row of table batches, taken apart. Blocks are read with spool_blocks_at(). */
struct spool_batch_row {
	struct chain_id id;
	char format[SPOOL_FORMAT_NAME_MAX + 1];
	struct spool_batch_info info; /* chain is computed from id; held is true. */
	char agent[SPOOL_AGENT_MAX + 1];
	struct hash parent;   /* Of the first block. */
	struct bytes blocks;  /* block_count * SPOOL_BLOCK_RECORD_SIZE; borrowed. */
	struct bytes payload; /* Borrowed. */
};
bool spool_batch_row_decode(struct bytes value, struct spool_batch_row *out_row);
/* Size of the whole row that begins here, from its first bytes; 0: it is none. For salvage. */
size_t spool_batch_row_size(struct bytes begin);

/* A row of table heights: all but the payload. */
struct spool_heights_row {
	struct spool_batch_info info; /* chain, first_height and held are not set. */
	struct hash parent;
	struct bytes blocks; /* Borrowed. */
};
void spool_heights_encode(const struct spool_batch *batch, uint64_t arrival, struct buffer *out);
/* The row of heights that belongs to a row of batches. */
void spool_heights_of_row(const struct spool_batch_row *row, struct buffer *out);
bool spool_heights_decode(struct bytes value, struct spool_heights_row *out_row);

/* The index-th block of rows as above. */
struct block_header spool_block_at(struct bytes blocks, const struct hash *parent,
                                   uint64_t first_height, uint32_t index);

/* ---- chains, anchors ---- */

void spool_chain_encode(const struct spool_chain *chain, struct buffer *out);
bool spool_chain_decode(struct bytes value, struct spool_chain *out_chain);

void spool_anchor_encode(const struct spool_anchor *anchor, struct buffer *out);
bool spool_anchor_decode(struct bytes value, struct spool_anchor *out_anchor); /* All but id. */

void spool_entries_encode(const struct entry *entries, size_t count, struct buffer *out);
/* Gives *out_entries, to be freed with free(); NULL for none.
 * Errors: ZR_CORRUPT, ZR_NO_MEMORY. */
bool spool_entries_decode(struct bytes value, struct entry **out_entries, size_t *out_count,
                          struct err *err) MUST_CHECK;

struct spool_coverage_row {
	uint16_t lane;
	uint64_t seq;
	uint32_t entry_index;
	uint64_t from;
};
void spool_coverage_encode(const struct spool_coverage_row *row, struct buffer *out);
bool spool_coverage_decode(struct bytes value, struct spool_coverage_row *out_row);

void spool_receipt_encode(const struct spool_receipt *receipt, struct buffer *out);
bool spool_receipt_decode(struct bytes value, struct spool_receipt *out_receipt); /* Borrows. */

/* ---- the rest ---- */

void spool_suspect_encode(const struct spool_suspect *suspect, struct buffer *out);
/* number is not set; *out_payload is borrowed. */
bool spool_suspect_decode(struct bytes value, struct spool_suspect_info *out_info,
                          struct bytes *out_payload);

void spool_tombstone_encode(const struct spool_tombstone *tombstone, struct buffer *out);
/* chain, from and number are not set. */
bool spool_tombstone_decode(struct bytes value, struct spool_tombstone *out_tombstone);

void spool_evidence_encode(const struct spool_evidence *evidence, struct bytes bundle,
                           struct buffer *out);
bool spool_evidence_decode(struct bytes value, struct spool_evidence *out_evidence,
                           struct bytes *out_bundle);

void spool_audit_encode(const struct spool_audit *audit, const struct hash *previous,
                        struct buffer *out);
/* Texts are borrowed from value and not terminated: see the parts. */
struct spool_audit_row {
	uint64_t number;
	int64_t time_ms;
	struct hash previous;
	uint8_t request_id[SPOOL_REQUEST_ID_SIZE];
	struct bytes who, verb, reason, result;
};
bool spool_audit_decode(struct bytes value, struct spool_audit_row *out_row);

void spool_totals_encode(const struct spool_totals *totals, struct buffer *out);
bool spool_totals_decode(struct bytes value, struct spool_totals *out_totals);

bool spool_u64_decode(struct bytes value, uint64_t *out_number);

/* ---- helpers ---- */

/* Copies at most size - 1 bytes of text (NULL: none) and a zero. */
void spool_text_copy(char *out, size_t size, const char *text);

#endif
