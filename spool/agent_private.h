/* agent_private.h -- what the files of the agent's store share: tables, keys, the chain's row. */
#ifndef ZR_SPOOL_AGENT_PRIVATE_H
#define ZR_SPOOL_AGENT_PRIVATE_H

#include "spool/agent.h"
#include "spool/txn.h"

/* Stored: never reorder. docs/SPOOL-FORMAT.md lists them too. */
enum agent_table {
	AGENT_CHAINS = 0,    /* chain -> identity, heights, counters */
	AGENT_NAMES = 1,     /* chain name -> chain of its newest epoch */
	AGENT_ENTRIES = 2,   /* chain, number -> entry not sealed yet */
	AGENT_BLOCKS = 3,    /* chain, height -> raw block */
	AGENT_HEADERS = 4,   /* chain, height -> header record */
	AGENT_CUSTODY = 5,   /* chain, to -> what was taken over, receipt */
	AGENT_RUNS = 6,      /* chain, from -> run and the place of its message */
	AGENT_MESSAGES = 7,  /* root of an anchor -> runs that need it, message */
	AGENT_POSITIONS = 8, /* chain -> how far its source was read */
	AGENT_META = 9,      /* name -> value */
	AGENT_TABLE_COUNT = 10,
};

struct agent_store {
	struct store *store;
};

/* Chain and a number: the key of most tables. */
struct agent_key {
	uint8_t bytes[CHAIN_KEY_SIZE + 8];
};
struct agent_key agent_key(const struct chain_key *chain, uint64_t number);
/* Is key one of chain's? Then *out_number is its number. */
bool agent_key_of(struct bytes key, const struct chain_key *chain, uint64_t *out_number);

/* What follows takes in: on a full disk it is refused before receipts, sealing and pruning are. */
void agent_take_in(struct txn *txn);

/* Reads the chain's row within txn. Fails txn with ZR_STATE where there is none. */
bool agent_chain_read(struct txn *txn, const struct chain_key *key, struct agent_chain *out_chain);
void agent_chain_write(struct txn *txn, const struct chain_key *key,
                       const struct agent_chain *chain);
void agent_header_write(struct txn *txn, const struct chain_key *key,
                        const struct block_header *header);
bool agent_header_read(struct txn *txn, const struct chain_key *key, uint64_t height,
                       struct block_header *out_header);
/* Writes a value made in buffer, and ends buffer. */
void agent_put_buffer(struct txn *txn, enum agent_table table, struct bytes key,
                      struct buffer *take_value);
/* Appends value to out, if there is one; fails txn when out of memory. */
void agent_copy(struct txn *txn, struct bytes value, struct buffer *out);

#endif
