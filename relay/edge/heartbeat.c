#include "relay/edge/heartbeat.h"

static int64_t within(int64_t value, int64_t low, int64_t high)
{
	value = value > high ? high : value;
	return value < low ? low : value;
}

void heartbeat_init(struct heartbeat *heartbeat, int64_t answer_max_ms)
{
	*heartbeat = (struct heartbeat){
		.interval_ms = HEARTBEAT_START_MS,
		.answer_max_ms = answer_max_ms,
		.pinged_ms = -1,
	};
}

void heartbeat_on_link(struct heartbeat *heartbeat, int64_t interval_max_ms, int64_t now_ms)
{
	/* A gateway may ask for less than our least, and then gets it. */
	heartbeat->interval_max_ms = interval_max_ms < 1000 ? 1000 : interval_max_ms;
	heartbeat->interval_ms = within(heartbeat->interval_ms, HEARTBEAT_MIN_MS, INT64_MAX);
	heartbeat->heard_ms = now_ms;
	heartbeat->pinged_ms = -1;
}

void heartbeat_on_traffic(struct heartbeat *heartbeat, int64_t now_ms)
{
	heartbeat->heard_ms = now_ms;
}

bool heartbeat_on_pong(struct heartbeat *heartbeat, uint64_t number, int64_t now_ms)
{
	heartbeat->heard_ms = now_ms;
	if (heartbeat->pinged_ms < 0 || number != heartbeat->number)
		return false;
	heartbeat->pinged_ms = -1;
	heartbeat->interval_ms = within(heartbeat->interval_ms + heartbeat->interval_ms / 2,
	                                HEARTBEAT_MIN_MS, heartbeat->interval_max_ms);
	return true;
}

void heartbeat_on_lost(struct heartbeat *heartbeat)
{
	if (heartbeat->pinged_ms >= 0)
		heartbeat->interval_ms =
			within(heartbeat->interval_ms / 2, HEARTBEAT_MIN_MS, INT64_MAX);
	heartbeat->pinged_ms = -1;
}

enum heartbeat_what heartbeat_next(struct heartbeat *heartbeat, int64_t now_ms,
                                   int64_t *out_wake_ms)
{
	if (heartbeat->pinged_ms >= 0) {
		*out_wake_ms = heartbeat->pinged_ms + heartbeat->answer_max_ms;
		return now_ms < *out_wake_ms ? HEARTBEAT_WAIT : HEARTBEAT_DEAD;
	}
	int64_t interval_ms = heartbeat->interval_ms < heartbeat->interval_max_ms
	                              ? heartbeat->interval_ms
	                              : heartbeat->interval_max_ms;
	*out_wake_ms = heartbeat->heard_ms + interval_ms;
	if (now_ms < *out_wake_ms)
		return HEARTBEAT_WAIT;
	heartbeat->pinged_ms = now_ms;
	heartbeat->number++;
	*out_wake_ms = now_ms + heartbeat->answer_max_ms;
	return HEARTBEAT_PING;
}
