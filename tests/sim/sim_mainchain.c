/* sim_mainchain.c -- a main chain that records anchors in order, and everything that can go wrong on
 * the way there and back. */
#include <string.h>

#include "tests/sim/sim.h"

#define BLOCK_MS 300

static void on_block(struct sim *sim, const struct event *event)
{
	if (sim->mainchain.up)
		sim->mainchain.height++;
	sim_after(sim, BLOCK_MS, event);
}

void sim_mainchain_start(struct sim *sim)
{
	struct event event = { .run = on_block };
	sim->mainchain.up = true;
	sim->mainchain.height = 1;
	sim_after(sim, BLOCK_MS, &event);
}

static const struct sim_recorded *find(const struct sim_mainchain *chain, const struct hash *key)
{
	for (uint64_t i = chain->count; i > 0; i--) {
		if (hash_equal(&chain->recorded[i - 1].key, key))
			return &chain->recorded[i - 1];
	}
	return NULL;
}

static bool is_final(const struct sim *sim, const struct sim_recorded *recorded)
{
	return recorded->height + sim->profile.finality_blocks <= sim->mainchain.height;
}

static void found(const struct sim *sim, const struct sim_recorded *recorded,
                  struct mainchain_answer *answer)
{
	answer->outcome = is_final(sim, recorded) ? MAINCHAIN_FINAL : MAINCHAIN_INCLUDED;
}

static void refuse(struct mainchain_answer *answer, enum mainchain_reject reject)
{
	answer->outcome = MAINCHAIN_REJECTED;
	answer->reject = reject;
}

/* What the request carried, as it was when it was sent. */
static void submit(struct sim *sim, const struct sim_anchor *anchor, uint64_t seq, uint64_t fence,
                   struct mainchain_answer *answer)
{
	struct sim_mainchain *chain = &sim->mainchain;
	const struct sim_recorded *known = find(chain, &anchor->key);
	if (known != NULL) {
		found(sim, known, answer);
		return;
	}
	if (fence != chain->fence) {
		answer->outcome = MAINCHAIN_FENCED;
		answer->fence = chain->fence;
		return;
	}
	if (seq != chain->count + 1) {
		refuse(answer, MAINCHAIN_REJECT_PREVIOUS);
		return;
	}
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		if (anchor->entries[i].chain == sim->profile.refused_chain) {
			refuse(answer, MAINCHAIN_REJECT_CONTENT);
			answer->entry_index = sim->profile.says_which ? (int64_t)i : -1;
			return;
		}
	}
	struct sim_recorded *recorded = &chain->recorded[chain->count++];
	*recorded = (struct sim_recorded){ .seq = seq,
		                           .root = anchor->root,
		                           .key = anchor->key,
		                           .height = chain->height,
		                           .anchor = *anchor };
	found(sim, recorded, answer);
}

static void lookup(struct sim *sim, const struct hash *key, struct mainchain_answer *answer)
{
	if (sim_chance(sim, sim->profile.stale_permille)) { /* A node that is far behind. */
		answer->height = answer->height > 20 ? answer->height - 20 : 0;
		answer->outcome = MAINCHAIN_ABSENT;
		return;
	}
	const struct sim_recorded *known = find(&sim->mainchain, key);
	answer->outcome = MAINCHAIN_ABSENT;
	if (known != NULL)
		found(sim, known, answer);
}

static void head(const struct sim *sim, struct mainchain_answer *answer)
{
	const struct sim_mainchain *chain = &sim->mainchain;
	answer->outcome = MAINCHAIN_OK;
	answer->fence = chain->fence;
	answer->seq = chain->count;
	if (chain->count > 0) {
		answer->root = chain->recorded[chain->count - 1].root;
		answer->key = chain->recorded[chain->count - 1].key;
	}
}

static void take_fence(struct sim *sim, uint64_t expected, struct mainchain_answer *answer)
{
	struct sim_mainchain *chain = &sim->mainchain;
	answer->outcome = chain->fence == expected ? MAINCHAIN_OK : MAINCHAIN_FENCED;
	chain->fence += chain->fence == expected ? 1 : 0;
	answer->fence = chain->fence;
}

/* event: a = life, b = seq, c = fence or expected fence; message: key in content; answer.call. */

static void on_answer(struct sim *sim, const struct event *event)
{
	sim_delivery_on_answer(sim, event->a, event->b, &event->message.content, &event->answer);
}

static void answer_later(struct sim *sim, const struct event *request,
                         const struct mainchain_answer *answer)
{
	struct event event = *request;
	event.run = on_answer;
	event.answer = *answer;
	sim_after(sim, sim_between(sim, sim->profile.delay_min_ms, sim->profile.delay_max_ms),
	          &event);
}

static void on_request(struct sim *sim, const struct event *event)
{
	struct mainchain_answer answer = { .call = event->answer.call,
		                           .entry_index = -1,
		                           .height = sim->mainchain.height };
	bool away = !sim->mainchain.up;
	if (away || sim_chance(sim, sim->profile.submit_lost_permille)) {
		answer.outcome = away && event->a % 2 == 0 ? MAINCHAIN_UNSENT : MAINCHAIN_UNKNOWN;
		answer.height = 0;
		answer_later(sim, event, &answer);
		return;
	}
	switch (event->answer.call) {
	case MAINCHAIN_SUBMIT:
		/* What travels is the content under that key; the spool may have moved on. */
		if (hash_equal(&sim->gateway.anchors[event->b].key, &event->message.content))
			submit(sim, &sim->gateway.anchors[event->b], event->b, event->c, &answer);
		else
			answer.outcome = MAINCHAIN_UNKNOWN;
		break;
	case MAINCHAIN_LOOKUP:
		lookup(sim, &event->message.content, &answer);
		break;
	case MAINCHAIN_HEAD:
		head(sim, &answer);
		break;
	case MAINCHAIN_FENCE:
		take_fence(sim, event->c, &answer);
		break;
	case MAINCHAIN_PUT:
	case MAINCHAIN_CONTENT:
		break;
	}
	if (sim_chance(sim, sim->profile.answer_lost_permille)) {
		sim->lost_answers++;
		answer = (struct mainchain_answer){ .call = answer.call,
			                            .outcome = MAINCHAIN_UNKNOWN,
			                            .entry_index = -1 };
	}
	answer_later(sim, event, &answer);
}

void sim_mainchain_ask(struct sim *sim, enum mainchain_call call, uint64_t seq)
{
	const struct sim_gateway *gateway = &sim->gateway;
	struct event event = { .run = on_request, .a = gateway->life, .b = seq };
	event.c = call == MAINCHAIN_FENCE ? gateway->lane.fence_seen : gateway->lane.fence;
	event.answer.call = call;
	if (seq != 0)
		event.message.content = gateway->anchors[seq].key;
	sim_after(sim, sim_between(sim, sim->profile.delay_min_ms, sim->profile.delay_max_ms),
	          &event);
}
