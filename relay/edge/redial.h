/* redial.h -- which route is tried next, and when. Pure: time and chance come from outside.
 *
 * Routes are tried in their order of preference. When all have failed, the agent waits a random time
 * between nothing and a bound that doubles with each round, so that thousands of agents that lost
 * one gateway together do not come back together.
 *
 * A welcome does not make a route good: where large packets vanish, or a middlebox cuts what runs long,
 * every link is welcomed and none carries a batch. Only an answer to what was sent does.
 */
#ifndef ZR_EDGE_REDIAL_H
#define ZR_EDGE_REDIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redial {
	size_t route_count;
	int64_t wait_min_ms; /* The bound of the first round; doubles up to wait_max_ms. */
	int64_t wait_max_ms;
	uint64_t (*random_below)(uint64_t bound);
	size_t route;    /* The one to try. */
	int64_t at_ms;   /* When; monotonic. */
	unsigned rounds; /* That all routes have failed in. */
	bool answered;   /* The link that stands has carried something. */
};

/* The first try is at once. */
void redial_init(struct redial *redial, size_t route_count, int64_t wait_min_ms,
                 int64_t wait_max_ms, uint64_t (*random_below)(uint64_t bound));
/* The try ended before a welcome: the next route, or a wait behind the last of them. */
void redial_on_failed(struct redial *redial, int64_t now_ms);
/* The gateway has answered what we sent behind the welcome, or has kept part of it: the next loss
 * begins with the first route and a short wait. */
void redial_on_answer(struct redial *redial);
/* A link that was welcomed is gone. Without an answer it counts as failed. */
void redial_on_lost(struct redial *redial, int64_t now_ms);
/* The gateway said when to come back; its jitter is in it. At most a day is believed. */
void redial_on_goodbye(struct redial *redial, int64_t now_ms, uint32_t retry_after_ms);

#endif
