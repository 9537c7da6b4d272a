/* sim_gateway.c -- the gateway's intake: the real admission; workers and writer are delays, the spool
 * is what a kill leaves. */
#include <assert.h>
#include <string.h>

#include "tests/sim/sim.h"

#define CREDIT_FOR_EVER (UINT64_MAX / 2)

static void on_verified(struct sim *sim, const struct event *event);
static void on_committed(struct sim *sim, const struct event *event);

static struct walk_position durable_position(uint32_t number, const struct sim_chain *chain)
{
	struct walk_position position = { .next_height = chain->next_height };
	if (chain->next_height > 0)
		position.tip = sim_block_hash(number, chain->next_height - 1);
	return position;
}

static void reset_chain(struct sim_chain *chain, uint32_t number)
{
	chain->pipeline_count = 0;
	chain->partial_size = 0;
	admission_init(&chain->admission, durable_position(number, chain), chain->trust_from);
}

void sim_gateway_start(struct sim *sim, struct sim_gateway *gateway)
{
	bool restored = false;
	gateway->index = (uint32_t)(gateway - sim->gateways);
	gateway->up = true;
	gateway->life = ++sim->number;
	gateway->writer_clear_ms = sim->now_ms;
	for (uint32_t i = 0; i < sim_chain_count(sim); i++) {
		reset_chain(&gateway->chains[i], i);
		restored = restored || gateway->chains[i].restored;
	}
	sim_delivery_start(sim, gateway);
	if (restored)
		sim_operator_call(sim, gateway);
}

struct sim_gateway *sim_gateway_alive(struct sim *sim, uint64_t life)
{
	for (size_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
		if (sim->gateways[i].up && sim->gateways[i].life == life)
			return &sim->gateways[i];
	}
	return NULL;
}

static void on_restart(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = &sim->gateways[event->a];
	if (!gateway->retired)
		sim_gateway_start(sim, gateway);
}

void sim_gateway_kill(struct sim *sim, struct sim_gateway *gateway)
{
	struct event event = { .run = on_restart, .a = gateway->index };
	if (!gateway->up)
		return;
	gateway->up = false;
	sim_delivery_fini(gateway);
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++) {
		if (sim->edges[edge].at == gateway->index)
			sim_break_link(sim, edge);
	}
	sim_after(sim, sim_between(sim, 100, 3000), &event);
}

/* ---- answers ---- */

static void answer(struct sim *sim, const struct sim_gateway *gateway, uint32_t number,
                   struct message message)
{
	if (sim->edges[number / SIM_CHAINS_PER_EDGE].at != gateway->index)
		return; /* It is with the other one. */
	message.chain = number;
	message.credit_bytes = message.credit_batches = CREDIT_FOR_EVER;
	sim_send(sim, number / SIM_CHAINS_PER_EDGE, false, &message);
}

static void ack(struct sim *sim, const struct sim_gateway *gateway, uint32_t number)
{
	answer(sim, gateway, number,
	       (struct message){ .kind = MSG_ACK,
	                         .next_height = gateway->chains[number].next_height });
}

static void reject(struct sim *sim, const struct sim_gateway *gateway, uint32_t number,
                   enum upload_action_wanted action)
{
	const struct sim_chain *chain = &gateway->chains[number];
	answer(sim, gateway, number,
	       (struct message){ .kind = MSG_REJECT,
	                         .action = action,
	                         .next_height = chain->admission.expected.next_height });
}

static void welcome_chain(struct sim *sim, const struct sim_gateway *gateway, uint32_t number)
{
	const struct sim_chain *chain = &gateway->chains[number];
	answer(sim, gateway, number,
	       (struct message){ .kind = MSG_WELCOME,
	                         .restored = chain->restored,
	                         .next_height = chain->next_height,
	                         .partial = chain->partial,
	                         .partial_size = chain->partial_size });
	answer(sim, gateway, number,
	       (struct message){ .kind = MSG_ANCHORED, .anchored_next = chain->anchored_next });
}

void sim_gateway_chain_adopted(struct sim *sim, struct sim_gateway *gateway, uint32_t number)
{
	const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
	reset_chain(&gateway->chains[number], number);
	if (edge->greeted == edge->link)
		welcome_chain(sim, gateway, number);
}

/* The restore guard: a receipt for what is not here. */
static void look_at_custody(struct sim *sim, struct sim_gateway *gateway, uint32_t number)
{
	struct sim_chain *chain = &gateway->chains[number];
	uint64_t acked =
		sim->edges[number / SIM_CHAINS_PER_EDGE].acked[number % SIM_CHAINS_PER_EDGE];
	if (acked <= chain->next_height)
		return;
	if (!chain->restored) {
		sim->effects[EFFECT_LOSS_SHOWN]++;
		chain->restored = true;
		reset_chain(chain, number);
	}
	sim_operator_call(sim, gateway);
}

static void welcome(struct sim *sim, struct sim_gateway *gateway, uint32_t edge)
{
	sim->edges[edge].greeted = sim->edges[edge].link;
	for (uint32_t local = 0; local < SIM_CHAINS_PER_EDGE; local++) {
		look_at_custody(sim, gateway, edge * SIM_CHAINS_PER_EDGE + local);
		welcome_chain(sim, gateway, edge * SIM_CHAINS_PER_EDGE + local);
	}
}

void sim_gateway_tell_anchored(struct sim *sim, struct sim_gateway *gateway, uint64_t seq)
{
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, seq);
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		uint32_t number = anchor->entries[i].chain;
		answer(sim, gateway, number,
		       (struct message){ .kind = MSG_ANCHORED,
		                         .anchored_next = gateway->chains[number].anchored_next });
	}
}

/* ---- verifying: facts are found under what was known when the worker began ---- */

static void begin_verify(struct sim *sim, struct sim_gateway *gateway, uint32_t number,
                         struct sim_batch *batch, const struct basis *basis)
{
	struct event event = {
		.run = on_verified, .a = number, .b = ++sim->number, .c = gateway->life
	};
	struct facts *facts = &batch->facts;
	uint64_t last = claim_last(&batch->claim);
	batch->ticket = event.b;
	batch->verified = false;
	memset(facts, 0, sizeof(*facts));
	facts->basis = *basis;
	facts->header_count = batch->claim.block_count;
	facts->tip = batch->claim.tip;
	struct hash parent = { { 0 } };
	if (batch->claim.first_height > 0)
		parent = sim_block_hash(number, batch->claim.first_height - 1);
	if (batch->lie)
		facts->fault = WALK_UNTRUSTED;
	else if (basis->position.next_height != batch->claim.first_height)
		facts->fault = WALK_HEIGHT;
	else if (!hash_equal(&parent, &basis->position.tip))
		facts->fault = WALK_LINK;
	else if (basis->trust_from != sim_trust_from(batch->claim.first_height))
		facts->fault = WALK_UNTRUSTED; /* Looked at under a set that was not in force. */
	facts->trust_next_from = sim_trust_from(last + 1);
	facts->trust_changed = facts->trust_next_from != sim_trust_from(batch->claim.first_height);
	sim_after(sim, sim_between(sim, 0, 40), &event);
}

static void drop_batches(struct sim_chain *chain, size_t from)
{
	chain->pipeline_count = from;
}

static void commit_later(struct sim *sim, struct sim_gateway *gateway, uint32_t number,
                         struct sim_batch *batch)
{
	struct event event = {
		.run = on_committed, .a = number, .b = ++sim->number, .c = gateway->life
	};
	batch->ticket = event.b;
	batch->written = true;
	/* One writer: commits end in the order in which they were asked for. */
	int64_t done_ms = sim->now_ms + (int64_t)sim_between(sim, sim->profile.commit_min_ms,
	                                                     sim->profile.commit_max_ms);
	if (done_ms < gateway->writer_clear_ms)
		done_ms = gateway->writer_clear_ms;
	gateway->writer_clear_ms = done_ms;
	sim_after(sim, (uint64_t)(done_ms - sim->now_ms), &event);
}

/* Decides about the batches whose turn it is, oldest first. */
static void admit(struct sim *sim, struct sim_gateway *gateway, uint32_t number)
{
	struct sim_chain *chain = &gateway->chains[number];
	for (size_t i = 0; i < chain->pipeline_count; i++) {
		struct sim_batch *batch = &chain->pipeline[i];
		if (batch->written)
			continue;
		if (!batch->verified)
			return;
		struct basis basis = admission_basis(&chain->admission);
		switch (admission_verdict(&chain->admission, &batch->claim, &batch->facts)) {
		case VERDICT_APPEND:
			admission_append(&chain->admission, &batch->claim, &batch->facts);
			commit_later(sim, gateway, number, batch);
			break;
		case VERDICT_AGAIN:
			begin_verify(sim, gateway, number, batch, &basis);
			return;
		case VERDICT_BAD:
		case VERDICT_GAP:
			admission_cut(&chain->admission);
			drop_batches(chain, i);
			reject(sim, gateway, number, REJECTED_RESUME);
			return;
		}
	}
}

static void on_verified(struct sim *sim, const struct event *event)
{
	uint32_t number = (uint32_t)event->a;
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	if (gateway == NULL)
		return;
	struct sim_chain *chain = &gateway->chains[number];
	for (size_t i = 0; i < chain->pipeline_count; i++) {
		if (chain->pipeline[i].ticket == event->b)
			chain->pipeline[i].verified = true;
	}
	admit(sim, gateway, number);
}

/* ---- committing ---- */

static void store(const struct sim *sim, struct sim_chain *chain, uint32_t number,
                  const struct sim_batch *batch)
{
	if (batch->lie)
		sim_fail(sim, "chain %u: a batch that does not verify is durable", number);
	if (batch->claim.first_height != chain->next_height)
		sim_fail(sim, "chain %u: %llu follows %llu", number,
		         (unsigned long long)batch->claim.first_height,
		         (unsigned long long)chain->next_height);
	assert(chain->batch_count < SIM_BLOCKS_MAX);
	chain->next_height = claim_last(&batch->claim) + 1;
	chain->batch_ends[chain->batch_count++] = chain->next_height;
	chain->trust_from = sim_trust_from(chain->next_height);
}

static void on_committed(struct sim *sim, const struct event *event)
{
	uint32_t number = (uint32_t)event->a;
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	if (gateway == NULL)
		return;
	struct sim_chain *chain = &gateway->chains[number];
	if (chain->pipeline_count == 0 || chain->pipeline[0].ticket != event->b)
		return; /* Of a batch that was dropped meanwhile. */
	if (sim_happens(sim, FAULT_SPOOL_FULL, sim->profile.spool_full_permille)) {
		admission_rollback(&chain->admission, chain->trust_from);
		drop_batches(chain, 0);
		reject(sim, gateway, number, REJECTED_RETRY);
		return;
	}
	struct sim_batch batch = chain->pipeline[0];
	store(sim, chain, number, &batch);
	admission_commit(&chain->admission, &batch.claim);
	chain->pipeline_count--;
	memmove(&chain->pipeline[0], &chain->pipeline[1],
	        chain->pipeline_count * sizeof(chain->pipeline[0]));
	ack(sim, gateway, number);
	gateway->maybe_pending = true;
	sim_delivery_wake(sim, gateway, 0);
}

/* ---- arriving ---- */

static void take(struct sim *sim, struct sim_gateway *gateway, const struct message *chunk,
                 const struct claim *claim)
{
	uint32_t number = chunk->chain;
	struct sim_chain *chain = &gateway->chains[number];
	if (chain->pipeline_count == SIM_PIPELINE_MAX) {
		reject(sim, gateway, number, REJECTED_RETRY);
		return;
	}
	struct basis basis = { chain->admission.expected, chain->admission.trust_from };
	struct sim_batch *batch = &chain->pipeline[chain->pipeline_count++];
	*batch =
		(struct sim_batch){ .claim = *claim, .content = chunk->content, .lie = chunk->lie };
	admission_expect(&chain->admission, claim);
	begin_verify(sim, gateway, number, batch, &basis);
}

/* The very same bytes are under way: their commit is the answer. */
static bool is_under_way(const struct sim_chain *chain, const struct hash *content)
{
	for (size_t i = 0; i < chain->pipeline_count; i++) {
		if (hash_equal(&chain->pipeline[i].content, content))
			return true;
	}
	return false;
}

static void on_whole(struct sim *sim, struct sim_gateway *gateway, const struct message *chunk)
{
	uint32_t number = chunk->chain;
	struct sim_chain *chain = &gateway->chains[number];
	struct claim claim = { .first_height = chunk->from,
		               .block_count = (uint32_t)(chunk->to - chunk->from + 1),
		               .tip = sim_block_hash(number, chunk->to) };
	struct hash known = sim_block_hash(number, chunk->to);
	bool is_known = chunk->to < chain->next_height;
	switch (admission_arrival(&chain->admission, &claim, is_known ? &known : NULL)) {
	case ARRIVAL_EXPECTED:
		take(sim, gateway, chunk, &claim);
		return;
	case ARRIVAL_DUPLICATE:
		ack(sim, gateway, number);
		return;
	case ARRIVAL_IN_FLIGHT:
		if (!is_under_way(chain, &chunk->content))
			reject(sim, gateway, number, REJECTED_RETRY);
		return;
	case ARRIVAL_SUSPECT:
	case ARRIVAL_GAP:
	case ARRIVAL_MALFORMED:
		reject(sim, gateway, number, REJECTED_RESUME);
		return;
	}
}

static void on_chunk(struct sim *sim, struct sim_gateway *gateway, const struct message *chunk)
{
	struct sim_chain *chain = &gateway->chains[chunk->chain];
	if (chain->restored) {
		reject(sim, gateway, chunk->chain, REJECTED_HOLD);
		return;
	}
	if (chunk->offset == 0) {
		chain->partial = chunk->content;
		chain->partial_size = 0;
	}
	if (!hash_equal(&chain->partial, &chunk->content) || chain->partial_size != chunk->offset) {
		reject(sim, gateway, chunk->chain, REJECTED_RESUME);
		return;
	}
	chain->partial_size += chunk->size;
	if (chain->partial_size < chunk->total)
		return;
	chain->partial_size = 0;
	on_whole(sim, gateway, chunk);
}

void sim_gateway_on_message(struct sim *sim, uint32_t edge, const struct message *message)
{
	struct sim_gateway *gateway = &sim->gateways[sim->edges[edge].at];
	switch (message->kind) {
	case MSG_HELLO:
		welcome(sim, gateway, edge);
		return;
	case MSG_CHUNK:
		on_chunk(sim, gateway, message);
		return;
	case MSG_WELCOME:
	case MSG_ACK:
	case MSG_REJECT:
	case MSG_ANCHORED:
		sim_fail(sim, "edge %u speaks like a gateway", edge);
	}
}
