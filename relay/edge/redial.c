#include "relay/edge/redial.h"

#include <assert.h>

#define RETRY_AFTER_MAX_MS (24 * 60 * 60 * 1000)
#define ROUNDS_MAX         30 /* Doublings beyond this do not fit, and change nothing. */

void redial_init(struct redial *redial, size_t route_count, int64_t wait_min_ms,
                 int64_t wait_max_ms, uint64_t (*random_below)(uint64_t bound))
{
	assert(route_count > 0 && wait_min_ms > 0 && wait_max_ms >= wait_min_ms);
	*redial = (struct redial){
		.route_count = route_count,
		.wait_min_ms = wait_min_ms,
		.wait_max_ms = wait_max_ms,
		.random_below = random_below,
		.at_ms = INT64_MIN,
	};
}

static int64_t wait_ms(const struct redial *redial)
{
	int64_t bound = redial->wait_min_ms;
	for (unsigned i = 0; i < redial->rounds && bound < redial->wait_max_ms; i++)
		bound *= 2;
	if (bound > redial->wait_max_ms)
		bound = redial->wait_max_ms;
	return (int64_t)redial->random_below((uint64_t)bound + 1);
}

void redial_on_failed(struct redial *redial, int64_t now_ms)
{
	redial->route++;
	if (redial->route < redial->route_count) {
		redial->at_ms = now_ms;
		return;
	}
	redial->route = 0;
	redial->at_ms = now_ms + wait_ms(redial);
	if (redial->rounds < ROUNDS_MAX)
		redial->rounds++;
}

void redial_on_answer(struct redial *redial)
{
	redial->rounds = 0;
	redial->answered = true;
}

static void begin_again(struct redial *redial, int64_t now_ms)
{
	redial->answered = false;
	redial->route = 0;
	redial->at_ms = now_ms + wait_ms(redial);
}

void redial_on_lost(struct redial *redial, int64_t now_ms)
{
	if (redial->answered)
		begin_again(redial, now_ms);
	else
		redial_on_failed(redial, now_ms);
}

void redial_on_goodbye(struct redial *redial, int64_t now_ms, uint32_t retry_after_ms)
{
	begin_again(redial, now_ms);
	int64_t asked_ms =
		retry_after_ms < RETRY_AFTER_MAX_MS ? retry_after_ms : RETRY_AFTER_MAX_MS;
	if (redial->at_ms < now_ms + asked_ms)
		redial->at_ms = now_ms + asked_ms;
}
