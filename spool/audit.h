/* audit.h -- what operators did, each record bound to the one before; and dictionaries. */
#ifndef ZR_SPOOL_AUDIT_H
#define ZR_SPOOL_AUDIT_H

#include "spool/spool.h"

#define SPOOL_REQUEST_ID_SIZE 16
#define SPOOL_AUDIT_TEXT_MAX  (64u << 10) /* Verb, reason and result together. */

struct spool_audit {
	uint64_t number; /* Assigned, from 1. */
	int64_t time_ms;
	const char *who;
	const char *verb;   /* The command line. */
	const char *reason; /* As given by --reason. */
	const char *result; /* What was answered, so that a repeated request is answered alike. */
	uint8_t request_id[SPOOL_REQUEST_ID_SIZE]; /* All zero: none. */
};

/* In the transaction of what it speaks of: then a request acts once, whatever happens.
 * Errors: ZR_STATE    request_id is there already: find it and repeat its result.
 *         ZR_INVALID  too long. */
bool spool_audit_append(struct spool_txn *txn, const struct spool_audit *audit,
                        struct err *err) MUST_CHECK;

/* A record with its texts; strings point into `text`. Begin with SPOOL_AUDIT_COPY_EMPTY. */
struct spool_audit_copy {
	struct spool_audit audit;
	struct hash previous; /* Hash of the record before; zero for the first. */
	struct hash hash;     /* SHA-256 of this one. */
	struct buffer text;
};
#define SPOOL_AUDIT_COPY_EMPTY ((struct spool_audit_copy){ .text = BUFFER_EMPTY })
void spool_audit_copy_fini(struct spool_audit_copy *copy);

/* The first record after number `after`. *out_found is false at the end. */
bool spool_audit_next(struct spool *spool, uint64_t after, struct spool_audit_copy *copy,
                      bool *out_found, struct err *err) MUST_CHECK;
bool spool_audit_by_request(struct spool *spool, const uint8_t request_id[SPOOL_REQUEST_ID_SIZE],
                            struct spool_audit_copy *copy, bool *out_found,
                            struct err *err) MUST_CHECK;
/* Walks all of them. Errors: ZR_CORRUPT  names the first that does not follow. */
bool spool_audit_verify(struct spool *spool, uint64_t *out_count, struct err *err) MUST_CHECK;

/* ---- dictionaries: kept as long as the store, since batches may need them ---- */

/* Putting one again changes nothing. Errors: ZR_INVALID  empty, or over DICTIONARY_SIZE_MAX. */
bool spool_dictionary_put(struct spool_txn *txn, struct bytes dictionary, struct hash *out_hash,
                          struct err *err) MUST_CHECK;
/* Appends it. Errors: ZR_STATE  not known. */
bool spool_dictionary_get(struct spool *spool, const struct hash *hash, struct buffer *out,
                          struct err *err) MUST_CHECK;
bool spool_dictionaries_page(struct spool *spool, const struct hash *after, struct hash *out_hashes,
                             size_t count_max, size_t *out_count, struct err *err) MUST_CHECK;

#endif
