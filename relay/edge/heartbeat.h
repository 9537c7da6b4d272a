/* heartbeat.h -- how often a silent link is pinged, and when it is given up. Pure.
 *
 * Every ping costs money on a cellular link, and a carrier forgets a link that was silent for too
 * long, after a time that nobody tells. So the interval grows while pings are answered, up to what
 * the gateway asks for, and halves when a link was lost in silence.
 */
#ifndef ZR_EDGE_HEARTBEAT_H
#define ZR_EDGE_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

struct heartbeat {
	int64_t interval_ms;     /* Kept from link to link. */
	int64_t interval_max_ms; /* The gateway's. */
	int64_t answer_max_ms;   /* A ping is answered within this, or the link is dead. */
	int64_t heard_ms;        /* When anything last came in or went out. */
	int64_t pinged_ms;       /* When the ping that waits for its answer was sent; -1: none. */
	uint64_t number;         /* Of the last ping. */
};

#define HEARTBEAT_MIN_MS   15000
#define HEARTBEAT_START_MS 60000

void heartbeat_init(struct heartbeat *heartbeat, int64_t answer_max_ms);
/* A link was welcomed. */
void heartbeat_on_link(struct heartbeat *heartbeat, int64_t interval_max_ms, int64_t now_ms);
/* A frame went out or came in. */
void heartbeat_on_traffic(struct heartbeat *heartbeat, int64_t now_ms);
/* True if it answers the ping that was sent. */
bool heartbeat_on_pong(struct heartbeat *heartbeat, uint64_t number, int64_t now_ms);
/* The link is gone. */
void heartbeat_on_lost(struct heartbeat *heartbeat);

enum heartbeat_what { HEARTBEAT_WAIT, HEARTBEAT_PING, HEARTBEAT_DEAD };
/* PING: send heartbeat->number; it counts as sent. Otherwise *out_wake_ms is when to ask again. */
enum heartbeat_what heartbeat_next(struct heartbeat *heartbeat, int64_t now_ms,
                                   int64_t *out_wake_ms);

#endif
