/* sample.h -- the chains, blocks and batches that the vectors of tests/data/vectors/ speak of. */
#ifndef ZR_TESTS_LIB_SAMPLE_H
#define ZR_TESTS_LIB_SAMPLE_H

#include "proto/record.h"

#define SAMPLE_TIME_MS   INT64_C(1700000000000)
#define SAMPLE_HEADERS   3
#define SAMPLE_CUSTODIES 3
#define SAMPLE_EVIDENCE  "{\"height\":12}"

extern const uint8_t sample_uuid[STORE_UUID_SIZE];

struct hash sample_hash(uint8_t byte);        /* All 32 bytes the same. */
struct chain_id sample_chain(void);           /* "tq-0001" */
struct block_header sample_header(int index); /* Height 7 + index; linked. */
struct entry sample_entry(enum hash_alg alg); /* Of heights 7 to 9. */
struct entry sample_other_entry(void);        /* Height 0 of "tq-0002". */
struct custody sample_custody(int index);
/* Of the anchor with both entries, lane 3, seq 1. */
struct receipt_root sample_receipt_root(void);
/* That anchor; entries has room for two and is filled. */
struct anchor sample_anchor(struct entry entries[static 2]);

#endif
