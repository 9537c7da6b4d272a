/* main_chain.h -- a main chain in memory that lets nothing pass: what is anchored twice, out of order,
 * with a hole, or is not what the edge has, is said on standard error. */
#ifndef ZR_TESTS_POWERCUT_MAIN_CHAIN_H
#define ZR_TESTS_POWERCUT_MAIN_CHAIN_H

#include "adapters/mainchain.h"
#include "proto/record.h"

#define EDGE_CHAINS_MAX 8

/* A side chain, whole, as its edge has it. */
struct edge_chain {
	struct chain_id id;
	struct chain_key key;
	uint64_t count;
	struct block_header *headers; /* Owned; */
	struct bytes *raws;           /* owned; they are in: */
	struct buffer file;
};

struct edge_chains {
	struct edge_chain items[EDGE_CHAINS_MAX];
	size_t count;
};
/* From the files NAME.blocks of a folder: raw batches. Aborts where they are no chains. */
void edge_chains_load(struct edge_chains *chains, const char *folder);
void edge_chains_free(struct edge_chains *chains);
const struct edge_chain *edge_chain_find(const struct edge_chains *chains, const char *name);

#define MAIN_CHAIN_ANCHORS_MAX 4096

struct main_anchor {
	struct hash root, key;
};

struct main_chain {
	const struct edge_chains *edges; /* Kept. */
	uint64_t height, fence;
	struct main_anchor anchors[MAIN_CHAIN_ANCHORS_MAX]; /* Of the lane, from seq 1 on. */
	uint64_t count;
	uint64_t covered[EDGE_CHAINS_MAX]; /* First height of each chain that no anchor has. */
	bool violated;
};

void main_chain_init(struct main_chain *chain, const struct edge_chains *edges);
/* Records it, if it follows. */
void main_chain_submit(struct main_chain *chain, uint64_t fence, struct bytes content,
                       struct mainchain_answer *answer);
void main_chain_lookup(struct main_chain *chain, const struct hash *key,
                       struct mainchain_answer *answer);
void main_chain_head(struct main_chain *chain, struct mainchain_answer *answer);
void main_chain_fence(struct main_chain *chain, uint64_t expected, struct mainchain_answer *answer);

#endif
