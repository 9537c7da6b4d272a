/* sim.h -- many edges, one gateway and one main chain in one process, in virtual time, from one seed.
 *
 * What decides is the real code: the agent's upload, the gateway's admission, the anchor plan, the
 * lane. Around it everything is a model with faults: links that delay, stall and break; a gateway
 * that is killed and keeps what it had committed; a main chain that loses answers, refuses, falls
 * behind and reorganises what is not final; edges that are killed, and some that lie.
 *
 * A run has two phases. Safety: faults as the profile drawn from the seed says; after every event
 * nothing acked may be missing and nothing may be anchored twice. Liveness: faults end; everything
 * that honest edges made must be anchored, once, in order, and the edges must know it.
 */
#ifndef ZR_TESTS_SIM_H
#define ZR_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/record.h"
#include "relay/admission.h"
#include "relay/anchor_plan.h"
#include "relay/edge/upload.h"
#include "relay/lane.h"

#define SIM_EDGES_MAX       16
#define SIM_CHAINS_PER_EDGE 2
#define SIM_CHAINS_MAX      (SIM_EDGES_MAX * SIM_CHAINS_PER_EDGE)
#define SIM_BLOCKS_MAX      512 /* Of one chain. */
#define SIM_PIPELINE_MAX    8
#define SIM_BLOCK_BYTES     700
#define SIM_TRUST_EVERY     37 /* Every so many blocks, one changes the trust set. */

/* Probabilities are in thousandths, times in milliseconds. Drawn once per seed; a kind of fault may
 * be absent altogether, so that others get their turn. */
struct profile {
	uint32_t edge_count;
	uint32_t block_every_ms;
	uint32_t delay_min_ms, delay_max_ms;
	uint32_t link_break_every_ms;     /* 0: never. */
	uint32_t stall_every_ms;          /* 0: never. */
	uint32_t gateway_kill_every_ms;   /* 0: never. */
	uint32_t edge_kill_every_ms;      /* 0: never. */
	uint32_t lie_permille;            /* A batch that does not verify. */
	uint32_t mainchain_away_every_ms; /* 0: never. */
	uint32_t answer_lost_permille;
	uint32_t submit_lost_permille;
	uint32_t stale_permille; /* The answer comes from a node that is behind. */
	uint32_t reorg_every_ms; /* 0: never. */
	uint32_t finality_blocks;
	uint32_t refused_chain; /* The main chain refuses it; SIM_CHAINS_MAX: none. */
	bool says_which;        /* ... and says which entry it was. */
	uint32_t commit_min_ms, commit_max_ms;
	uint32_t spool_fails_permille; /* A commit that finds the spool full. */
};

/* One block of one chain is its name and height: everything else follows. */
struct hash sim_block_hash(uint32_t chain, uint64_t height);
static inline bool sim_changes_trust(uint64_t height)
{
	return height > 0 && height % SIM_TRUST_EVERY == 0;
}
/* First height that the trust set in force at height is in force for. */
uint64_t sim_trust_from(uint64_t height);

/* ---- what travels ---- */

enum message_kind { MSG_HELLO, MSG_WELCOME, MSG_CHUNK, MSG_ACK, MSG_REJECT, MSG_ANCHORED };

struct message {
	enum message_kind kind;
	uint32_t chain; /* Global number. */
	uint64_t from, to;
	uint64_t offset, size, total;
	struct hash content;
	bool lie;
	uint64_t next_height; /* Welcome, ack, reject. */
	uint64_t anchored_next;
	struct hash tip;
	enum upload_action_wanted action;
	struct hash partial;
	uint64_t partial_size;
	uint64_t credit_bytes, credit_batches;
};

/* ---- edges ---- */

struct sim_edge {
	struct upload *upload;
	uint64_t made[SIM_CHAINS_PER_EDGE];     /* Blocks the chain has. */
	uint64_t oldest[SIM_CHAINS_PER_EDGE];   /* Pruned below. */
	uint64_t acked[SIM_CHAINS_PER_EDGE];    /* Durable there, by its word. An obligation. */
	uint64_t anchored[SIM_CHAINS_PER_EDGE]; /* By its word. */
	uint64_t link;                          /* Number of the connection; 0: none. */
	uint64_t dial; /* Number of the last attempt: older wake-ups are void. */
	bool welcomed;
	int64_t clear_ms[2]; /* When the last message of each direction arrives: order is kept. */
	bool batch_lies;     /* The outbox. */
	bool liar;
	uint64_t outbox_total;
	struct hash outbox_content;
	uint64_t outbox_from, outbox_to;
	uint32_t outbox_chain;
	uint32_t salt; /* So that the same blocks may be compressed into other bytes. */
	uint64_t wake; /* Number of the last wake-up asked for. */
};

/* ---- the gateway ---- */

struct sim_batch {
	struct claim claim;
	struct hash content;
	bool lie;
	bool verified, written;
	struct facts facts;
	uint64_t ticket; /* Of the verification or commit under way. */
};

struct sim_chain { /* Of the gateway. */
	/* The spool: survives a kill. */
	uint64_t next_height;
	uint64_t pending_from;
	uint64_t anchored_next;
	bool frozen;
	bool delivery_held;
	uint64_t batch_ends[SIM_BLOCKS_MAX]; /* Of each batch's last height plus one, by count. */
	uint32_t batch_count;
	uint64_t trust_from;
	/* Memory: does not. */
	struct admission admission;
	struct sim_batch pipeline[SIM_PIPELINE_MAX];
	size_t pipeline_count;
	struct hash partial;
	uint64_t partial_size;
};

struct sim_entry {
	uint32_t chain;
	uint64_t from, to;
};

#define SIM_ENTRIES_MAX SIM_CHAINS_MAX
#define SIM_ANCHORS_MAX 4096

struct sim_anchor { /* In the spool. */
	struct sim_entry entries[SIM_ENTRIES_MAX];
	uint32_t entry_count;
	struct hash root, key;
	uint64_t sent_height;
	bool final;
};

struct sim_gateway {
	bool up;
	uint64_t life; /* Number of this process: answers to a former one are void. */
	struct sim_chain chains[SIM_CHAINS_MAX];
	struct sim_anchor anchors[SIM_ANCHORS_MAX]; /* Seq 1 is at [1]. */
	uint64_t newest_seq, final_seq;
	struct lane lane;
	struct plan plan;
	int64_t writer_clear_ms;
	bool building;
	uint64_t wake;
	int64_t build_at_ms;
};

/* ---- the main chain ---- */

struct sim_recorded {
	uint64_t seq;
	struct hash root, key;
	uint64_t height;
	struct sim_anchor anchor;
};

struct sim_mainchain {
	bool up;
	uint64_t height;
	uint64_t fence;
	struct sim_recorded recorded[SIM_ANCHORS_MAX];
	uint64_t count; /* Recorded, in order of seq: [0] is seq 1. */
};

/* ---- the run ---- */

struct sim;

struct event {
	int64_t at_ms;
	uint64_t order;
	void (*run)(struct sim *sim, const struct event *event);
	uint64_t a, b, c;
	struct message message;
	struct mainchain_answer answer;
};

struct sim {
	uint64_t seed;
	uint64_t chance;
	struct profile profile;
	bool faults; /* The safety phase. */
	int64_t now_ms;
	struct event *events; /* A heap. Owned. */
	size_t event_count, event_capacity;
	uint64_t order;
	uint64_t number; /* For links, wakes, tickets. */
	uint64_t block_target;
	struct sim_edge edges[SIM_EDGES_MAX];
	struct sim_gateway gateway;
	struct sim_mainchain mainchain;
	uint64_t processed; /* Events. */
	uint64_t kills, breaks, lost_answers, reorgs, lies, voids;
};

uint32_t sim_chain_count(const struct sim *sim);
struct sim_edge *sim_edge_of(struct sim *sim, uint32_t chain, size_t *out_local);

/* Uniform in [min, max]. */
uint64_t sim_between(struct sim *sim, uint64_t min, uint64_t max);
bool sim_chance(struct sim *sim, uint32_t permille); /* Only while faults last. */
/* Puts a copy of event (run, a, b, c, message, answer) delay_ms from now. */
void sim_after(struct sim *sim, uint64_t delay_ms, const struct event *event);
/* Ends the process and names the seed. */
void sim_fail(const struct sim *sim, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

void sim_edge_start(struct sim *sim, uint32_t edge);
void sim_edge_on_message(struct sim *sim, uint32_t edge, const struct message *message);
void sim_edge_link_lost(struct sim *sim, uint32_t edge);
void sim_edge_kill(struct sim *sim, uint32_t edge);
void sim_edge_free(struct sim *sim, uint32_t edge);

/* Over the edge's link, in order, if it still stands when it arrives. */
void sim_send(struct sim *sim, uint32_t edge, bool up, const struct message *message);
void sim_break_link(struct sim *sim, uint32_t edge);

void sim_gateway_start(struct sim *sim);
void sim_gateway_kill(struct sim *sim);
void sim_gateway_on_message(struct sim *sim, uint32_t edge, const struct message *message);
void sim_gateway_tell_anchored(struct sim *sim, uint64_t seq);

void sim_delivery_start(struct sim *sim);
void sim_delivery_wake(struct sim *sim, uint64_t delay_ms);
void sim_delivery_fini(struct sim *sim);

void sim_mainchain_start(struct sim *sim);
/* Asks; the answer comes to sim_delivery_on_answer() of the same life, or not at all. */
void sim_mainchain_ask(struct sim *sim, enum mainchain_call call, uint64_t seq);
void sim_delivery_on_answer(struct sim *sim, uint64_t life, uint64_t seq, const struct hash *key,
                            const struct mainchain_answer *answer);

/* The oracle: every invariant, looked at after an event that could have broken it. */
void sim_check(const struct sim *sim);
bool sim_is_done(const struct sim *sim);

#endif
