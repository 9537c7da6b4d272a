/* sim.h -- many edges, gateways and a main chain in one process, in virtual time, from one seed.
 *
 * What decides is the real code: the agent's upload, the gateway's admission, the anchor plan, the
 * lane. Around it everything is a model with faults: links that delay, stall and break; a gateway
 * that is killed and keeps what it had committed; a main chain that loses answers, refuses, falls
 * behind, is away for a month, and reorganises what is not final; edges that are killed, and some that
 * lie. In some runs one side is restored from an older copy, or a second gateway starts on a copy
 * of the first one's spool; an operator then does what the manual says.
 *
 * A run has two phases. Safety: faults as the profile drawn from the seed says; after every event
 * nothing acked may be missing and nothing may be anchored twice. Liveness: faults end; everything
 * that honest edges made must be anchored, once, in order, and the edges must know it.
 *
 *     sim.c            chance, events, links, a run
 *     sim_main.c       many runs: seeds, figures, what every fault was seen to do
 *     sim_faults.c     the profile of a seed, and what happens by itself
 *     sim_weather.c    what a cellular network does to links
 *     sim_oracle.c     what must hold
 *     sim_edge.c       agents
 *     sim_gateway.c    intake          \ of each gateway
 *     sim_delivery.c   delivery        /
 *     sim_operator.c   copies, restores, and the operator who mends them
 *     sim_mainchain.c  the main chain
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
#define SIM_TRUST_EVERY     37    /* Every so many blocks, one changes the trust set. */
#define SIM_LONG_AFTER_MS   10000 /* After so much the month or the night begins. */

/* What can go wrong. A run of many seeds in which one of them never happened has failed. */
enum fault {
	FAULT_BREAK,
	FAULT_STALL,
	FAULT_SILENCE,
	FAULT_OUTAGE,
	FAULT_SWIZZLE,
	FAULT_KILL_GATEWAY,
	FAULT_KILL_EDGE,
	FAULT_AWAY,
	FAULT_REORG,
	FAULT_TIMED_COUNT, /* Those above come again and again by themselves. */
	FAULT_LIE = FAULT_TIMED_COUNT,
	FAULT_SPOOL_FULL,
	FAULT_INTENT_LOST,
	FAULT_MONTH,
	FAULT_NIGHT,
	FAULT_REQUEST_LOST,
	FAULT_ANSWER_LOST,
	FAULT_ANSWER_SLOW,
	FAULT_BEHIND,
	FAULT_BUSY,
	FAULT_DENIED,
	FAULT_MISSING,
	FAULT_UPLOAD_CUT,
	FAULT_ROT,
	FAULT_REFUSED_NAMED,
	FAULT_REFUSED_UNNAMED,
	FAULT_MAINCHAIN_RESTORED,
	FAULT_SPOOL_RESTORED,
	FAULT_SECOND_GATEWAY,
	FAULT_ADOPTION_CUT,
	FAULT_COUNT
};
const char *sim_fault_name(enum fault fault);

/* What must have been seen to come of it. */
enum effect {
	EFFECT_FENCED,            /* A lane halted: another gateway has the fence. */
	EFFECT_SPOOL_NOTICED,     /* ... its spool is a copy. */
	EFFECT_MAINCHAIN_NOTICED, /* ... the main chain is a copy. */
	EFFECT_LOSS_SHOWN,        /* An edge's receipt gave a restored spool away. */
	EFFECT_IMPORTED,          /* An anchor taken over from the main chain. */
	EFFECT_REWOUND,           /* A final anchor submitted again. */
	EFFECT_VOID,              /* An anchor taken back. */
	EFFECT_UNREADABLE,        /* ... because what it needs cannot be read any more. */
	EFFECT_COUNT
};
const char *sim_effect_name(enum effect effect);

enum disaster {
	DISASTER_NONE,
	DISASTER_MAINCHAIN_RESTORED,
	DISASTER_SPOOL_RESTORED,
	DISASTER_SECOND_GATEWAY, /* On a copy of the first one's spool. */
};

/* Probabilities are in thousandths, times in milliseconds. Drawn once per seed; a kind of fault may
 * be absent altogether, so that others get their turn. */
struct profile {
	uint32_t edge_count;
	uint32_t block_every_ms;
	uint32_t delay_min_ms, delay_max_ms;
	uint32_t link_bytes_per_s;            /* 0: without a limit. */
	uint32_t every_ms[FAULT_TIMED_COUNT]; /* 0: never. */
	uint32_t lie_permille;                /* A batch that does not verify. */
	uint32_t request_lost_permille;
	uint32_t answer_lost_permille;
	uint32_t answer_slow_permille;
	uint32_t behind_permille; /* The answer comes from a node that is behind. */
	uint32_t busy_permille;
	uint32_t denied_permille;
	uint32_t missing_permille; /* A batch that was put is not there any more. */
	uint32_t upload_cut_permille;
	uint32_t finality_blocks;
	uint32_t refused_chain; /* The main chain refuses it; SIM_CHAINS_MAX: none. */
	bool says_which;        /* ... and says which entry it was. */
	uint32_t rotten_chain;  /* Its payloads rot one day; SIM_CHAINS_MAX: none. */
	uint32_t commit_min_ms, commit_max_ms;
	uint32_t spool_full_permille;  /* A commit that finds the spool full. */
	uint32_t intent_lost_permille; /* The gateway is killed while one is committed. */
	uint64_t month_ms;             /* The main chain is away for so long, once; 0: never. */
	uint64_t night_ms;             /* Some edges have no network for hours, once; 0: never. */
	enum disaster disaster;
	uint64_t copy_at_ms, disaster_at_ms;
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
	bool restored; /* Welcome: nothing is taken until an operator adopts. */
	struct hash tip;
	enum upload_action_wanted action;
	struct hash partial;
	uint64_t partial_size;
	uint64_t credit_bytes, credit_batches;
};

/* ---- edges ---- */

struct sim_edge {
	struct upload *upload;
	uint32_t at;                            /* The gateway that it is linked to, or was last. */
	uint64_t made[SIM_CHAINS_PER_EDGE];     /* Blocks the chain has. */
	uint64_t oldest[SIM_CHAINS_PER_EDGE];   /* Pruned below. */
	uint64_t acked[SIM_CHAINS_PER_EDGE];    /* Durable there, by its word. An obligation. */
	uint64_t anchored[SIM_CHAINS_PER_EDGE]; /* By its word. */
	uint64_t link;                          /* Number of the connection; 0: none. */
	uint64_t dial;    /* Number of the last attempt: older wake-ups are void. */
	uint64_t greeted; /* The connection whose hello the gateway has. */
	bool welcomed;
	int64_t clear_ms[2]; /* When the last message of each direction arrives: order is kept. */
	uint64_t dark;       /* This connection leads nowhere, and nobody has been told. */
	int64_t offline_until_ms; /* There is no network before. */
	bool batch_lies;          /* The outbox. */
	bool liar;
	uint64_t outbox_total;
	struct hash outbox_content;
	uint64_t outbox_from, outbox_to;
	uint32_t outbox_chain;
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
	bool restored; /* An edge has our receipt for what is not here: nothing is taken, nothing sent. */
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
#define SIM_ANCHORS_MAX 20480 /* Every block alone, and some again. */

/* An anchor's content. Kept for the whole run: submissions under way, spools and the main chain name
 * it by its number. */
struct sim_anchor {
	struct sim_entry entries[SIM_ENTRIES_MAX];
	uint32_t entry_count;
	struct hash previous, root, key;
};

struct sim_intent { /* In the spool. */
	uint32_t anchor;
	uint64_t sent_height;
};

#define SIM_GATEWAYS_MAX 2

struct sim_gateway {
	uint32_t index;
	bool up;
	bool retired;  /* Stopped for good, its spool thrown away. */
	uint64_t life; /* Number of this process: answers to a former one are void. */
	/* The spool: survives a kill, and is what a copy holds. */
	struct sim_chain chains[SIM_CHAINS_MAX];
	struct sim_intent intents[SIM_ANCHORS_MAX]; /* Seq 1 is at [1]. */
	uint64_t newest_seq, final_seq;
	/* Memory: does not. */
	struct lane lane;
	struct plan plan;
	int64_t writer_clear_ms;
	bool building;
	bool maybe_pending;
	uint64_t wake;
	int64_t build_at_ms;
	bool operator_comes;
};

/* ---- the main chain ---- */

struct sim_recorded {
	uint32_t anchor;
	uint64_t height;
};

struct sim_mainchain {
	bool up;
	uint64_t height;
	uint64_t fence;
	struct sim_recorded recorded[SIM_ANCHORS_MAX]; /* [0] is seq 1. */
	uint64_t count;
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
	bool month;  /* The main chain is away for a month: all else is as rare as that is long. */
	bool night;  /* Likewise, while some edges are without a network for hours. */
	int64_t now_ms;
	struct event *events; /* A heap. Owned. */
	size_t event_count, event_capacity;
	uint64_t order;
	uint64_t number; /* For links, wakes, tickets. */
	uint64_t block_target;
	struct sim_anchor *anchors; /* All that were ever built. Owned. */
	size_t anchor_count, anchor_capacity;
	struct sim_edge edges[SIM_EDGES_MAX];
	struct sim_gateway gateways[SIM_GATEWAYS_MAX];
	struct sim_mainchain mainchain;
	struct sim_gateway *spool_copy; /* Owned; NULL: none was made. */
	struct sim_mainchain *mainchain_copy;
	bool rotten;            /* The day has come. */
	uint64_t asked_in_vain; /* Requests while the main chain was away for a month. */
	uint64_t processed;     /* Events. */
	uint64_t seen[FAULT_COUNT];
	uint64_t effects[EFFECT_COUNT];
};

/* One run, from seed to the end of liveness. What was seen is added to the two counts. */
struct sim_counts {
	uint64_t events;
	uint64_t seen[FAULT_COUNT];
	uint64_t effects[EFFECT_COUNT];
	uint64_t virtual_ms;
};
void sim_run(uint64_t seed, bool talk, struct sim_counts *counts);

uint32_t sim_chain_count(const struct sim *sim);
static inline bool sim_has_second(const struct sim *sim)
{
	return sim->gateways[1].life != 0;
}

/* Uniform in [min, max]. */
uint64_t sim_between(struct sim *sim, uint64_t min, uint64_t max);
/* Only while faults last; what happens is counted. */
bool sim_happens(struct sim *sim, enum fault fault, uint32_t permille);
/* Puts a copy of event (run, a, b, c, message, answer) delay_ms from now. */
void sim_after(struct sim *sim, uint64_t delay_ms, const struct event *event);
/* Ends the process and names the seed. */
void sim_fail(const struct sim *sim, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* ---- sim_faults.c ---- */

void sim_profile_draw(struct sim *sim);
/* How long the safety phase is. */
uint64_t sim_safety_ms(const struct sim *sim);
void sim_faults_start(struct sim *sim);
/* A while of the model: longer while the month or the night lasts. */
uint64_t sim_while(struct sim *sim, uint64_t max_ms);

/* ---- sim_weather.c ---- */

void sim_weather_start(struct sim *sim);
/* One of the faults that come again and again. */
void sim_weather_cause(struct sim *sim, enum fault fault, uint32_t edge);
/* Every link is as it should be. */
void sim_weather_clears(struct sim *sim);

/* ---- sim_edge.c ---- */

void sim_edge_start(struct sim *sim, uint32_t edge);
void sim_edge_on_message(struct sim *sim, uint32_t edge, const struct message *message);
void sim_edge_link_lost(struct sim *sim, uint32_t edge);
/* Some time from now, and not before there is a network. */
void sim_edge_dial(struct sim *sim, uint32_t edge);
/* Every chain goes on by one block: what a restore took away is noticed when there is work. */
void sim_edges_go_on(struct sim *sim);
void sim_edge_kill(struct sim *sim, uint32_t edge);
void sim_edge_free(struct sim *sim, uint32_t edge);

/* Over the edge's link, in order, if it still stands when it arrives. */
void sim_send(struct sim *sim, uint32_t edge, bool up, const struct message *message);
void sim_break_link(struct sim *sim, uint32_t edge);

/* ---- sim_gateway.c ---- */

void sim_gateway_start(struct sim *sim, struct sim_gateway *gateway);
/* It is up again after a while unless it is retired meanwhile. */
void sim_gateway_kill(struct sim *sim, struct sim_gateway *gateway);
/* The process of that number; NULL: it is gone. */
struct sim_gateway *sim_gateway_alive(struct sim *sim, uint64_t life);
void sim_gateway_on_message(struct sim *sim, uint32_t edge, const struct message *message);
void sim_gateway_tell_anchored(struct sim *sim, struct sim_gateway *gateway, uint64_t seq);
/* An operator said where the chain goes on: memory follows the spool, the edge is told. */
void sim_gateway_chain_adopted(struct sim *sim, struct sim_gateway *gateway, uint32_t chain);

/* ---- sim_delivery.c ---- */

void sim_delivery_start(struct sim *sim, struct sim_gateway *gateway);
/* Lane and open anchors as the spool has them; used again after a rewind. */
void sim_delivery_load(struct sim *sim, struct sim_gateway *gateway);
void sim_delivery_wake(struct sim *sim, struct sim_gateway *gateway, uint64_t delay_ms);
void sim_delivery_fini(struct sim_gateway *gateway);
void sim_delivery_on_answer(struct sim *sim, uint64_t life, uint64_t seq, const struct hash *key,
                            const struct mainchain_answer *answer);
/* Anchors from seq on are taken back: their blocks are pending again. */
void sim_delivery_void(struct sim *sim, struct sim_gateway *gateway, uint64_t seq);
/* Watermarks of the chains of anchor seq, which is the oldest that is not final. */
void sim_delivery_finalize(struct sim *sim, struct sim_gateway *gateway, uint64_t seq);
const struct sim_anchor *sim_anchor_at(const struct sim *sim, const struct sim_gateway *gateway,
                                       uint64_t seq);

/* ---- sim_operator.c ---- */

void sim_operator_start(struct sim *sim);
/* A lane stands still, or a chain is not taken: somebody comes and looks, some time later. */
void sim_operator_call(struct sim *sim, struct sim_gateway *gateway);

/* ---- sim_mainchain.c ---- */

void sim_mainchain_start(struct sim *sim);
void sim_mainchain_back(struct sim *sim);
/* Asks; the answer comes to sim_delivery_on_answer() of the same life, or not at all. */
void sim_mainchain_ask(struct sim *sim, struct sim_gateway *gateway, enum mainchain_call call,
                       uint64_t seq);
bool sim_mainchain_is_final(const struct sim *sim, uint64_t seq);
/* Seq of the recorded anchor with that key; 0: none. */
uint64_t sim_mainchain_find(const struct sim *sim, const struct hash *key);

/* ---- sim_oracle.c: every invariant, looked at after an event that could have broken it ---- */

void sim_check(const struct sim *sim);
void sim_check_recorded(const struct sim *sim);
bool sim_is_done(const struct sim *sim);
void sim_say_where_it_hangs(const struct sim *sim);

#endif
