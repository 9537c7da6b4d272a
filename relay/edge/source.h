/* source.h -- where the blocks of one chain come from: one interface, one file per kind.
 *
 * A source keeps its facts in the agent's store: the chain itself, a header per block, how far it
 * was read. source_turn() does a bounded piece of its work; nothing else changes it. Event
 * callbacks of a source only note something and wake the agent.
 */
#ifndef ZR_EDGE_SOURCE_H
#define ZR_EDGE_SOURCE_H

#include "adapters/sidechain.h"
#include "config/config.h"
#include "relay/base/clock.h"
#include "spool/agent.h"

struct event_base;
struct source;

/* What every source is given. Kept until source_close(). */
struct source_context {
	const struct edge_chain_config *config;
	const char *state_dir;
	size_t block_max_bytes;
	struct agent_store *store; /* That the chain is in. */
	struct event_base *base;
	const struct clock *clock;
	void (*wake)(void *arg); /* There is work for source_turn(). */
	void *wake_arg;
};

#define SOURCE_PROBLEM_SIZE 256

/* What a source holds now. */
struct source_view {
	uint64_t oldest;      /* Lowest height that can be read. */
	uint64_t next;        /* Highest height + 1; oldest == next: nothing. */
	uint64_t bytes_total; /* Sizes of the blocks that were seen since start. */
	char problem
		[SOURCE_PROBLEM_SIZE]; /* What keeps it from going on, for people; "" for none. */
};

struct source_ops {
	const char *name;
	const char *text; /* One sentence for people. */
	bool own;         /* It seals the chain itself. */

	/* Finds or makes the chain in the store. Gives *out_source.
	 * Errors: ZR_INVALID, ZR_UNTRUSTED  the pinned block or the key do not fit.
	 *         ZR_STATE  the store lost the chain that the pinned block belongs to. */
	bool (*open)(struct source **out_source, const struct source_context *context,
	             struct err *err);
	void (*close)(struct source *source);
	/* *out_wake_ms: when to call again at the latest; now_ms or less: at once.
	 * Errors: only those whose fate is ERR_STOP; others are the view's problem. */
	bool (*turn)(struct source *source, int64_t now_ms, int64_t *out_wake_ms, struct err *err);
	/* Appends the raw block. Errors: ZR_UNAVAILABLE, ZR_STATE  not there (any more). */
	bool (*read)(struct source *source, uint64_t height, struct buffer *out_raw,
	             struct err *err);
	/* Blocks below may go, the policy says. *out_more: call again. */
	bool (*prune)(struct source *source, uint64_t below, bool *out_more, struct err *err);
	/* Seal nothing until released: the gateway has more of this chain than we have. NULL where
	 * own is false. */
	void (*freeze)(struct source *source, bool frozen);
};

/* First in each kind's own struct. */
struct source {
	const struct source_ops *ops;
	struct source_context context;
	struct chain_id id;
	struct chain_key key;
	struct source_view view;
};

bool source_open(struct source **out_source, const struct source_context *context,
                 struct err *err) MUST_CHECK;
void source_close(struct source *source); /* NULL is allowed. */

static inline bool source_turn(struct source *source, int64_t now_ms, int64_t *out_wake_ms,
                               struct err *err)
{
	return source->ops->turn(source, now_ms, out_wake_ms, err);
}

static inline bool source_read(struct source *source, uint64_t height, struct buffer *out_raw,
                               struct err *err)
{
	return source->ops->read(source, height, out_raw, err);
}

extern const struct source_ops source_fabric_dir;
extern const struct source_ops source_ledger;

#endif
