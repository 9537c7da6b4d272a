/* share.h -- how much each link may send: credit, shared by deficit round robin.
 *
 * Credit is a running total since Welcome. While there is room each link is topped up to its whole
 * window at once. When room is short, links that want more stand in a ring, and a turn gives each a
 * slice in proportion to its weight, so that a link of low weight still gets its part and a greedy
 * one gets no more than that. When the spool is at its mark nobody is given anything.
 *
 * Pure.
 */
#ifndef ZR_RELAY_SHARE_H
#define ZR_RELAY_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/list.h"

struct share_options {
	uint64_t window_bytes; /* Granted and not used, at most, to one link. */
	uint64_t window_batches;
	uint64_t slice_bytes; /* A turn's gift to a link of weight 1, when room is short. */
};

struct share {
	struct share_options options;
	struct list_node ring; /* Links that want more, next in turn first. */
};

/* One link's account; totals since its Welcome. */
struct share_link {
	struct list_node node; /* In ring, or linked to itself. */
	uint32_t weight;       /* From 1. */
	uint64_t deficit_bytes;
	uint64_t granted_bytes, granted_batches; /* What it may have sent. */
	uint64_t used_bytes, used_batches;       /* What it has sent. */
	uint64_t done_bytes, done_batches;       /* What of that is durable or refused. */
	uint64_t told_bytes, told_batches;       /* What of granted it was told. */
};

void share_init(struct share *share, const struct share_options *options);
void share_link_init(struct share_link *link, uint32_t weight);
void share_link_fini(struct share_link *link);

/* The link sent a piece (and, with its first, began a batch). False: more than it was granted. */
bool share_use(struct share_link *link, uint64_t bytes, unsigned batches);
/* What it sent is durable or refused: it may want more. */
void share_done(struct share *share, struct share_link *link, uint64_t bytes, unsigned batches);
/* Stands in line for its first credit, or after the window grew. */
void share_want(struct share *share, struct share_link *link);

/* Has it been granted more, and has it little left of what it was told? Then it should hear of it;
 * a message for each batch would cost more than it is worth on a metered link. */
bool share_should_tell(const struct share *share, const struct share_link *link);
/* It hears of all that is granted. */
void share_told(struct share_link *link);

/* Gives credit to those in the ring. room_bytes: what intake can hold beyond what it holds;
 * ample: everybody may be topped up whatever the room. Ends when the ring is empty or room is used
 * up; a link is looked at once per turn at most when room is short. on_granted is called for each that
 * got some; it may end the link. */
void share_turn(struct share *share, uint64_t room_bytes, bool ample,
                void (*on_granted)(struct share_link *link, void *arg), void *arg);

#endif
