/* sim_mainchain.c -- a main chain that records anchors in order, and everything that can go wrong on
 * the way there and back. */
#include <string.h>

#include "tests/sim/sim.h"

#define BLOCK_MS          300
#define ANSWER_TIMEOUT_MS 5000
#define LATE_MAX_MS       60000 /* A request that the gateway gave up may arrive so much later. */

static void on_block(struct sim *sim, const struct event *event)
{
	if (!sim->mainchain.up)
		return; /* sim_mainchain_back() goes on. */
	sim->mainchain.height++;
	sim_after(sim, BLOCK_MS, event);
}

static void make_blocks(struct sim *sim)
{
	struct event event = { .run = on_block };
	sim->mainchain.up = true;
	sim_after(sim, BLOCK_MS, &event);
}

void sim_mainchain_start(struct sim *sim)
{
	sim->mainchain.height = 1;
	make_blocks(sim);
}

void sim_mainchain_back(struct sim *sim)
{
	if (!sim->mainchain.up)
		make_blocks(sim);
}

uint64_t sim_mainchain_find(const struct sim *sim, const struct hash *key)
{
	const struct sim_mainchain *chain = &sim->mainchain;
	for (uint64_t seq = chain->count; seq > 0; seq--) {
		const struct sim_recorded *recorded = &chain->recorded[seq - 1];
		if (hash_equal(&sim->anchors[recorded->anchor].key, key))
			return seq;
	}
	return 0;
}

bool sim_mainchain_is_final(const struct sim *sim, uint64_t seq)
{
	return sim->mainchain.recorded[seq - 1].height + sim->profile.finality_blocks <=
	       sim->mainchain.height;
}

static void found(const struct sim *sim, uint64_t seq, struct mainchain_answer *answer)
{
	answer->outcome = sim_mainchain_is_final(sim, seq) ? MAINCHAIN_FINAL : MAINCHAIN_INCLUDED;
}

static void refuse(struct mainchain_answer *answer, enum mainchain_reject reject)
{
	answer->outcome = MAINCHAIN_REJECTED;
	answer->reject = reject;
}

static bool refuses_content(struct sim *sim, const struct sim_anchor *anchor,
                            struct mainchain_answer *answer)
{
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		if (anchor->entries[i].chain != sim->profile.refused_chain)
			continue;
		refuse(answer, MAINCHAIN_REJECT_CONTENT);
		answer->entry_index = sim->profile.says_which ? (int64_t)i : -1;
		sim->seen[sim->profile.says_which ? FAULT_REFUSED_NAMED : FAULT_REFUSED_UNNAMED]++;
		return true;
	}
	return false;
}

/* In the order that docs/mainchain-api.yaml gives. */
static void submit(struct sim *sim, uint32_t number, uint64_t seq, uint64_t fence,
                   struct mainchain_answer *answer)
{
	struct sim_mainchain *chain = &sim->mainchain;
	const struct sim_anchor *anchor = &sim->anchors[number];
	uint64_t known = sim_mainchain_find(sim, &anchor->key);
	if (known != 0) {
		found(sim, known, answer);
		return;
	}
	if (sim_happens(sim, FAULT_DENIED, sim->profile.denied_permille)) {
		refuse(answer, MAINCHAIN_REJECT_DENIED);
		return;
	}
	if (fence != chain->fence) {
		answer->outcome = MAINCHAIN_FENCED;
		answer->fence = chain->fence;
		return;
	}
	struct hash head = { { 0 } };
	if (chain->count > 0)
		head = sim->anchors[chain->recorded[chain->count - 1].anchor].root;
	if (seq != chain->count + 1 || !hash_equal(&anchor->previous, &head)) {
		refuse(answer, MAINCHAIN_REJECT_PREVIOUS);
		return;
	}
	if (refuses_content(sim, anchor, answer))
		return;
	if (sim_happens(sim, FAULT_MISSING, sim->profile.missing_permille)) {
		refuse(answer, MAINCHAIN_REJECT_MISSING);
		return;
	}
	chain->recorded[chain->count++] =
		(struct sim_recorded){ .anchor = number, .height = chain->height };
	found(sim, chain->count, answer);
}

static void lookup(struct sim *sim, const struct hash *key, struct mainchain_answer *answer)
{
	if (sim_happens(sim, FAULT_BEHIND, sim->profile.behind_permille)) {
		answer->height = answer->height > 20 ? answer->height - 20 : 0;
		answer->outcome = MAINCHAIN_ABSENT;
		return;
	}
	uint64_t known = sim_mainchain_find(sim, key);
	answer->outcome = MAINCHAIN_ABSENT;
	if (known != 0)
		found(sim, known, answer);
}

static void head(const struct sim *sim, struct mainchain_answer *answer)
{
	const struct sim_mainchain *chain = &sim->mainchain;
	answer->outcome = MAINCHAIN_OK;
	answer->fence = chain->fence;
	answer->seq = chain->count;
	if (chain->count > 0) {
		answer->root = sim->anchors[chain->recorded[chain->count - 1].anchor].root;
		answer->key = sim->anchors[chain->recorded[chain->count - 1].anchor].key;
	}
}

static void take_fence(struct sim *sim, uint64_t expected, struct mainchain_answer *answer)
{
	struct sim_mainchain *chain = &sim->mainchain;
	answer->outcome = chain->fence == expected ? MAINCHAIN_OK : MAINCHAIN_FENCED;
	chain->fence += chain->fence == expected ? 1 : 0;
	answer->fence = chain->fence;
}

/* event: a = life (0: nobody waits), b = seq, c = fence or expected fence; answer.call; message:
 * content = key, from = number of the anchor that travels with a submission, offset = how often the
 * main chain had been put back when it was sent. */

static void on_answer(struct sim *sim, const struct event *event)
{
	sim_delivery_on_answer(sim, event->a, event->b, &event->message.content, &event->answer);
}

static void answer_after(struct sim *sim, uint64_t delay_ms, const struct event *request,
                         const struct mainchain_answer *answer)
{
	struct event event = *request;
	event.run = on_answer;
	event.answer = *answer;
	if (event.a != 0)
		sim_after(sim, delay_ms, &event);
}

static void answer_later(struct sim *sim, const struct event *request,
                         const struct mainchain_answer *answer)
{
	answer_after(sim, sim_between(sim, sim->profile.delay_min_ms, sim->profile.delay_max_ms),
	             request, answer);
}

static void serve(struct sim *sim, const struct event *event, struct mainchain_answer *answer)
{
	switch (event->answer.call) {
	case MAINCHAIN_SUBMIT:
		submit(sim, (uint32_t)event->message.from, event->b, event->c, answer);
		return;
	case MAINCHAIN_LOOKUP:
		lookup(sim, &event->message.content, answer);
		return;
	case MAINCHAIN_HEAD:
		head(sim, answer);
		return;
	case MAINCHAIN_FENCE:
		take_fence(sim, event->c, answer);
		return;
	case MAINCHAIN_PUT:
	case MAINCHAIN_CONTENT:
		return;
	}
}

static void on_request(struct sim *sim, const struct event *event)
{
	const struct profile *profile = &sim->profile;
	struct mainchain_answer answer = { .call = event->answer.call, .entry_index = -1 };
	/* What was on its way to a node that was put back from a copy ended with that node. */
	bool away =
		!sim->mainchain.up || event->message.offset != sim->seen[FAULT_MAINCHAIN_RESTORED];
	sim->asked_in_vain += sim->month ? 1 : 0;
	if (away || sim_happens(sim, FAULT_REQUEST_LOST, profile->request_lost_permille)) {
		answer.outcome = away && event->a % 2 == 0 ? MAINCHAIN_UNSENT : MAINCHAIN_UNKNOWN;
		answer_later(sim, event, &answer);
		return;
	}
	if (sim_happens(sim, FAULT_BUSY, profile->busy_permille)) {
		answer.outcome = MAINCHAIN_UNSENT;
		answer.retry_after_ms = (int64_t)sim_between(sim, 100, 4000);
		answer_later(sim, event, &answer);
		return;
	}
	answer.height = sim->mainchain.height;
	serve(sim, event, &answer);
	if (sim_happens(sim, FAULT_ANSWER_LOST, profile->answer_lost_permille))
		answer = (struct mainchain_answer){ .call = answer.call,
			                            .outcome = MAINCHAIN_UNKNOWN,
			                            .entry_index = -1 };
	answer_later(sim, event, &answer);
}

/* The gateway gives it up, and it arrives all the same. */
static void be_late(struct sim *sim, const struct event *request)
{
	struct mainchain_answer unknown = { .call = request->answer.call,
		                            .outcome = MAINCHAIN_UNKNOWN,
		                            .entry_index = -1 };
	struct event late = *request;
	late.a = 0;
	answer_after(sim, ANSWER_TIMEOUT_MS, request, &unknown);
	sim_after(sim, sim_between(sim, 1, LATE_MAX_MS), &late);
}

void sim_mainchain_ask(struct sim *sim, struct sim_gateway *gateway, enum mainchain_call call,
                       uint64_t seq)
{
	struct event event = { .run = on_request, .a = gateway->life, .b = seq };
	event.c = call == MAINCHAIN_FENCE ? gateway->lane.fence_seen : gateway->lane.fence;
	event.answer.call = call;
	event.message.offset = sim->seen[FAULT_MAINCHAIN_RESTORED];
	if (seq != 0) {
		event.message.content = sim_anchor_at(sim, gateway, seq)->key;
		event.message.from = gateway->intents[seq].anchor;
	}
	if (sim_happens(sim, FAULT_ANSWER_SLOW, sim->profile.answer_slow_permille)) {
		be_late(sim, &event);
		return;
	}
	sim_after(sim, sim_between(sim, sim->profile.delay_min_ms, sim->profile.delay_max_ms),
	          &event);
}
