/* sim_edge.c -- an agent: the real upload, a source that grows, a link that it dials. */
#include <assert.h>
#include <string.h>

#include "tests/sim/sim.h"

#define REDIAL_MIN_MS 200
#define REDIAL_MAX_MS 5000
#define BATCH_BYTES   20000
#define CHUNK_BYTES   4000

static void on_wake(struct sim *sim, const struct event *event);
static void on_dial(struct sim *sim, const struct event *event);
static void on_block(struct sim *sim, const struct event *event);

static void wake_at(struct sim *sim, uint32_t edge, int64_t at_ms)
{
	struct event event = { .run = on_wake, .a = edge, .b = ++sim->number };
	sim->edges[edge].wake = event.b;
	if (at_ms != INT64_MAX)
		sim_after(sim, at_ms > sim->now_ms ? (uint64_t)(at_ms - sim->now_ms) : 0, &event);
}

void sim_edge_dial(struct sim *sim, uint32_t edge)
{
	struct event event = { .run = on_dial, .a = edge, .b = ++sim->number };
	sim->edges[edge].dial = event.b;
	/* Dialling without a network changes nothing: the tries of hours are left out. */
	int64_t offline_ms = sim->edges[edge].offline_until_ms - sim->now_ms;
	sim_after(sim,
	          sim_between(sim, REDIAL_MIN_MS, REDIAL_MAX_MS) +
	                  (offline_ms > 0 ? (uint64_t)offline_ms : 0),
	          &event);
}

static void tell_source(struct sim *sim, uint32_t edge, size_t local)
{
	struct sim_edge *is = &sim->edges[edge];
	struct upload_source source = {
		.own = local == 0,
		.oldest = is->oldest[local],
		.next = is->made[local],
		.bytes_total = is->made[local] * SIM_BLOCK_BYTES,
	};
	upload_on_source(is->upload, local, &source, sim->now_ms);
}

static void open_upload(struct sim *sim, uint32_t edge)
{
	struct upload_options options = { .chain_count = SIM_CHAINS_PER_EDGE,
		                          .batch_max_bytes = BATCH_BYTES,
		                          .batch_max_blocks = 32,
		                          .batch_wait_ms = 300 };
	struct sim_edge *is = &sim->edges[edge];
	if (!upload_new(&is->upload, &options, NULL))
		sim_fail(sim, "out of memory");
	for (size_t local = 0; local < SIM_CHAINS_PER_EDGE; local++)
		tell_source(sim, edge, local);
}

void sim_edge_start(struct sim *sim, uint32_t edge)
{
	struct sim_edge *is = &sim->edges[edge];
	memset(is, 0, sizeof(*is));
	is->liar = sim->profile.lie_permille > 0 && edge % 4 == 3;
	for (size_t local = 0; local < SIM_CHAINS_PER_EDGE; local++) {
		struct event event = { .run = on_block, .a = edge, .b = local };
		is->made[local] = 1; /* The genesis. */
		sim_after(sim, sim_between(sim, 1, sim->profile.block_every_ms), &event);
	}
	open_upload(sim, edge);
	sim_edge_dial(sim, edge);
}

void sim_edge_free(struct sim *sim, uint32_t edge)
{
	upload_free(sim->edges[edge].upload);
	sim->edges[edge].upload = NULL;
}

/* A power cut: the ledger and the receipts stay, the upload's memory does not. */
void sim_edge_kill(struct sim *sim, uint32_t edge)
{
	sim_break_link(sim, edge);
	sim_edge_free(sim, edge);
	open_upload(sim, edge);
	sim_edge_dial(sim, edge);
}

static void on_block(struct sim *sim, const struct event *event)
{
	uint32_t edge = (uint32_t)event->a;
	size_t local = (size_t)event->b;
	struct sim_edge *is = &sim->edges[edge];
	if (is->made[local] >= sim->block_target)
		return;
	is->made[local]++;
	tell_source(sim, edge, local);
	wake_at(sim, edge, sim->now_ms);
	sim_after(sim, sim_while(sim, 2 * (uint64_t)sim->profile.block_every_ms), event);
}

void sim_edges_go_on(struct sim *sim)
{
	sim->block_target++;
	for (uint32_t chain = 0; chain < sim_chain_count(sim); chain++) {
		struct event event = { .run = on_block,
			               .a = chain / SIM_CHAINS_PER_EDGE,
			               .b = chain % SIM_CHAINS_PER_EDGE };
		sim_after(sim, sim_between(sim, 1, 60000), &event);
	}
}

/* ---- the link ---- */

static void on_dial(struct sim *sim, const struct event *event)
{
	uint32_t edge = (uint32_t)event->a;
	struct sim_edge *is = &sim->edges[edge];
	if (event->b != is->dial || is->link != 0)
		return;
	if (sim->now_ms < is->offline_until_ms) {
		sim_edge_dial(sim, edge);
		return;
	}
	is->at = sim_has_second(sim) ? (uint32_t)sim_between(sim, 0, 1) : 0;
	if (!sim->gateways[is->at].up) {
		sim_edge_dial(sim, edge);
		return;
	}
	is->link = ++sim->number;
	is->welcomed = false;
	is->clear_ms[0] = is->clear_ms[1] = sim->now_ms;
	struct message hello = { .kind = MSG_HELLO };
	sim_send(sim, edge, true, &hello);
}

void sim_edge_link_lost(struct sim *sim, uint32_t edge)
{
	struct sim_edge *is = &sim->edges[edge];
	is->welcomed = false;
	if (is->upload != NULL)
		upload_on_lost(is->upload);
	sim_edge_dial(sim, edge);
}

/* ---- sending ---- */

static void build(struct sim *sim, uint32_t edge, const struct upload_action *action)
{
	struct sim_edge *is = &sim->edges[edge];
	uint64_t count = action->bytes_max / SIM_BLOCK_BYTES;
	uint64_t left = is->made[action->chain] - action->from;
	count = count < 1 ? 1 : count;
	count = count > action->count_max ? action->count_max : count;
	count = count > left ? left : count;
	assert(count > 0 && action->from >= is->oldest[action->chain]);
	uint32_t chain = edge * SIM_CHAINS_PER_EDGE + (uint32_t)action->chain;
	is->batch_lies = is->liar && sim_happens(sim, FAULT_LIE, sim->profile.lie_permille);
	is->outbox_chain = (uint32_t)action->chain;
	is->outbox_from = action->from;
	is->outbox_to = action->from + count - 1;
	is->outbox_total = count * SIM_BLOCK_BYTES / 3;
	uint8_t name[32];
	put_be64(name, chain);
	put_be64(name + 8, is->outbox_from);
	put_be64(name + 16, is->outbox_to);
	put_be64(name + 24, is->batch_lies ? ++sim->number : 0);
	is->outbox_content = sha256(BYTES_OF(name));
	struct upload_batch batch = {
		.from = is->outbox_from,
		.to = is->outbox_to,
		.content = is->outbox_content,
		.tip = sim_block_hash(chain, is->outbox_to),
		.size = is->outbox_total,
		.raw_size = count * SIM_BLOCK_BYTES,
	};
	upload_built(is->upload, &batch);
}

static void send_piece(struct sim *sim, uint32_t edge, const struct upload_action *action)
{
	struct sim_edge *is = &sim->edges[edge];
	struct message chunk = {
		.kind = MSG_CHUNK,
		.chain = edge * SIM_CHAINS_PER_EDGE + is->outbox_chain,
		.from = is->outbox_from,
		.to = is->outbox_to,
		.offset = action->offset,
		.size = action->size,
		.total = is->outbox_total,
		.content = is->outbox_content,
		.lie = is->batch_lies,
	};
	sim_send(sim, edge, true, &chunk);
}

static void on_wake(struct sim *sim, const struct event *event)
{
	uint32_t edge = (uint32_t)event->a;
	struct sim_edge *is = &sim->edges[edge];
	if (event->b != is->wake)
		return;
	for (int i = 0; i < 200; i++) {
		struct upload_action action;
		upload_next(is->upload, sim->now_ms, &action);
		if (action.what == UPLOAD_NOTHING) {
			wake_at(sim, edge, action.wake_ms);
			return;
		}
		if (action.what == UPLOAD_BUILD)
			build(sim, edge, &action);
		else
			send_piece(sim, edge, &action);
	}
	wake_at(sim, edge, sim->now_ms + 1);
}

/* ---- receiving ---- */

static void on_welcome(struct sim *sim, uint32_t edge, const struct message *message)
{
	struct sim_edge *is = &sim->edges[edge];
	size_t local = message->chain % SIM_CHAINS_PER_EDGE;
	if (!is->welcomed) {
		struct upload_limits limits = { CHUNK_BYTES, BATCH_BYTES, 32, BATCH_BYTES };
		upload_on_link(is->upload, &limits);
		is->welcomed = true;
	}
	upload_on_credit(is->upload, message->credit_bytes, message->credit_batches);
	if (message->next_height < is->acked[local] && sim->profile.disaster == DISASTER_NONE)
		sim_fail(sim, "edge %u chain %zu: acked up to %llu, the gateway asks for %llu",
		         edge, local, (unsigned long long)is->acked[local],
		         (unsigned long long)message->next_height);
	if (message->next_height > is->acked[local])
		is->acked[local] = message->next_height; /* A welcome is an ack too. */
	struct upload_welcome welcome = {
		.grant = message->restored ? GRANT_RESTORED : GRANT_ACTIVE,
		.next_height = message->next_height,
		.tip = TIP_SAME,
		.partial_batch = message->partial,
		.partial_size = message->partial_size,
	};
	upload_on_welcome(is->upload, local, &welcome, sim->now_ms);
}

static void on_anchored(struct sim *sim, uint32_t edge, const struct message *message)
{
	struct sim_edge *is = &sim->edges[edge];
	size_t local = message->chain % SIM_CHAINS_PER_EDGE;
	if (message->anchored_next <= is->anchored[local])
		return;
	is->anchored[local] = message->anchored_next;
	if (message->anchored_next > 8 && message->anchored_next - 8 > is->oldest[local]) {
		is->oldest[local] = message->anchored_next - 8;
		tell_source(sim, edge, local);
	}
}

void sim_edge_on_message(struct sim *sim, uint32_t edge, const struct message *message)
{
	struct sim_edge *is = &sim->edges[edge];
	size_t local = message->chain % SIM_CHAINS_PER_EDGE;
	switch (message->kind) {
	case MSG_WELCOME:
		on_welcome(sim, edge, message);
		break;
	case MSG_ACK:
		upload_on_credit(is->upload, message->credit_bytes, message->credit_batches);
		if (!upload_on_ack(is->upload, local, message->next_height, sim->now_ms))
			sim_fail(sim, "edge %u does not believe an ack", edge);
		if (message->next_height > is->acked[local])
			is->acked[local] = message->next_height;
		break;
	case MSG_REJECT: {
		struct upload_reject reject = { .action = message->action,
			                        .next_height = message->next_height,
			                        .retry_after_ms = 500 };
		upload_on_credit(is->upload, message->credit_bytes, message->credit_batches);
		upload_on_reject(is->upload, local, &reject, sim->now_ms);
		break;
	}
	case MSG_ANCHORED:
		on_anchored(sim, edge, message);
		break;
	case MSG_HELLO:
	case MSG_CHUNK:
		sim_fail(sim, "the gateway speaks like an edge");
	}
	wake_at(sim, edge, sim->now_ms);
}
