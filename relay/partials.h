/* partials.h -- batches that arrive in pieces, put together under one budget for all chains (P8).
 *
 * The budget is what intake may hold in memory: a batch is booked with its whole size when its first
 * piece comes, and stays booked until it is durable or refused. A batch that stopped half-way is
 * kept for its agent to come back, and is the first to go when others need the room.
 *
 * Pure, apart from malloc.
 */
#ifndef ZR_RELAY_PARTIALS_H
#define ZR_RELAY_PARTIALS_H

#include "relay/admission.h"
#include "relay/base/bytes.h"
#include "relay/base/list.h"

/* As the first piece announces it. */
struct batch_header {
	struct hash content; /* SHA-256 of all pieces together. */
	struct claim claim;
	size_t size; /* Compressed. */
	size_t raw_size;
	uint32_t codec;
	struct hash dictionary; /* Zero: none. */
};

struct partials {
	size_t budget_bytes;
	size_t booked_bytes;    /* Never above the budget. */
	struct list_node kept;  /* Partials, the one that grew longest ago first. */
	uint64_t evicted_count; /* Since start. */
};

/* One chain's unfinished batch. data is NULL where there is none. */
struct partial {
	struct list_node node; /* In kept. */
	struct batch_header header;
	uint8_t *data; /* Owned, header.size long. */
	size_t received;
	bool attended;    /* Its agent is connected and goes on: it is not evicted for others. */
	int64_t piece_ms; /* When its last piece came; whoever adds it says so. */
};

void partials_init(struct partials *partials, size_t budget_bytes);
void partial_init(struct partial *partial);

/* Begins a batch; what partial held before is dropped. Others that nobody attends are evicted if
 * there is no room otherwise. False: no room (or no memory); partial is empty. */
bool partial_begin(struct partials *partials, struct partial *partial,
                   const struct batch_header *header) MUST_CHECK;

enum partial_step {
	PARTIAL_MORE,
	PARTIAL_WHOLE,   /* partial_take() it. */
	PARTIAL_UNKNOWN, /* Of another batch than this, or beyond what has come: begin again. */
	PARTIAL_EXCESS,  /* Past the announced size. */
};
/* A piece that has come already is passed over. */
enum partial_step partial_add(struct partials *partials, struct partial *partial,
                              const struct hash *content, uint64_t offset, struct bytes data);

/* Gives the whole batch, header.size bytes, to be freed with free(). It stays booked: end with
 * partials_release(). */
uint8_t *partial_take(struct partial *partial);
void partial_drop(struct partials *partials, struct partial *partial);
void partials_release(struct partials *partials, size_t size);

#endif
