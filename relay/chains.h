/* chains.h -- the chains as the loop knows them: a cache over the spool, filled on first use (P9).
 *
 * A chain of the zone file costs nothing until an agent names it. Its trust set is loaded with its
 * first batch and kept while it is among the TRUST_CACHE_CHAINS that were used last. While batches
 * are under verification the sets they are looked at under stay, whatever became of them.
 *
 * Threads: the loop.
 */
#ifndef ZR_RELAY_CHAINS_H
#define ZR_RELAY_CHAINS_H

#include "adapters/sidechain.h"
#include "config/config.h"
#include "relay/admission.h"
#include "relay/base/list.h"
#include "relay/partials.h"
#include "spool/batches.h"
#include "spool/chains.h"

#define TRUST_CACHE_CHAINS 1024

struct session_chain;

/* A trust set in memory. */
struct held_trust {
	struct list_node node; /* In its chain's trusts, by rising `from`. */
	struct trust *trust;   /* Owned. */
	uint64_t from;
};

struct chain {
	struct list_node node; /* In its bucket, by name. */
	struct chain_id id;
	struct chain_key key;
	const struct chain_config *config; /* NULL: no longer in the zone file. */
	const struct sidechain *format;

	/* As the spool had it at the last commit that we know of. */
	enum spool_chain_state state;
	char state_reason[SPOOL_REASON_MAX + 1];
	bool loss_unsaved; /* RESTORED, and the spool does not say so yet. */
	uint64_t anchored_next;
	uint64_t held_bytes; /* Of payloads, */
	uint64_t held_from;  /* from this height on; for the quota. */
	uint64_t durable_trust_from;

	struct admission admission;
	struct list_node trusts; /* Of struct held_trust; empty: not loaded. */
	struct list_node recent; /* In the table's list of those with loaded sets. */

	/* relay/intake.c */
	struct list_node pipeline; /* Of struct batch, in order of arrival. */
	size_t pipeline_count;
	size_t pipeline_bytes;
	struct partial partial;
	char partial_agent[SPOOL_AGENT_MAX + 1]; /* Who began it. */
	uint64_t duplicate_blocks;               /* Counted, not yet in the spool. */
	bool duplicates_noted;                   /* An operation that adds them is under way. */

	/* relay/session*.c */
	struct list_node carriers;       /* Of struct session_chain: who may bring it, connected. */
	struct session_chain *active;    /* The one of them that may send, or NULL. */
	int64_t progress_ms;             /* Monotonic: when `active` last brought something. */
	uint64_t resend_from, resend_to; /* An operator's resync, for when an agent connects. */
	bool resend_wanted;              /* Not asked yet. */
	bool repairing;                  /* What comes for that range replaces what is stored. */
};

struct chains;

bool chains_new(struct chains **out_chains, struct spool *spool, const struct config *config,
                struct err *err) MUST_CHECK;
/* Nothing may be under way. NULL is allowed. */
void chains_free(struct chains *chains, struct partials *partials);

/* By name and epoch. Looks into the spool if need be.
 * Errors: ZR_STATE    not in the zone file; not enrolled; or enrolled with another epoch.
 *         ZR_INVALID  the format is not known to this program. */
bool chains_find(struct chains *chains, const char *name, const struct hash *epoch,
                 struct chain **out_chain, struct err *err) MUST_CHECK;
/* Among those in memory. NULL: none. */
struct chain *chains_by_key(struct chains *chains, const struct chain_key *key);
struct chain *chains_by_name(struct chains *chains, const char *name);
struct chain *chains_by_id(struct chains *chains, const struct chain_id *id);
/* Each in memory, in no order; `after` NULL: the first. NULL at the end. */
struct chain *chains_next(struct chains *chains, const struct chain *after);
size_t chains_count(const struct chains *chains);
size_t chains_trust_count(const struct chains *chains);

/* Reads the row again, after somebody else changed it. With batches under way only the state is
 * taken over. */
bool chain_refresh(struct chains *chains, struct chain *chain, struct err *err) MUST_CHECK;
/* The zone file was read again: config is used from now on, the former one no more. */
void chains_set_config(struct chains *chains, const struct config *config);

/* ---- trust ---- */

/* The set in force at admission.admitted. Borrowed while the chain has batches under way, else until
 * the next call for any chain.
 * Errors: ZR_CORRUPT, ZR_INVALID  what is stored cannot be loaded. */
bool chain_trust(struct chains *chains, struct chain *chain, const struct trust **out_trust,
                 struct err *err) MUST_CHECK;
/* A batch brought a new one; takes it. */
bool chain_add_trust(struct chain *chain, struct trust *take_trust, uint64_t from,
                     struct err *err) MUST_CHECK;
/* No batch is under way: drops all sets but the one in force. */
void chain_settle_trust(struct chain *chain);
/* Drops all of them, to be loaded again: an operator replaced the set. Only with no batch under way. */
void chain_forget_trust(struct chains *chains, struct chain *chain);
/* The set for another height, for evidence. Gives *out_trust. */
bool chain_trust_at(struct chains *chains, const struct chain *chain, uint64_t height,
                    struct trust **out_trust, struct err *err) MUST_CHECK;

/* About how many payload bytes are not final yet: blocks of one chain are about the same size. */
uint64_t chain_pending_bytes(const struct chain *chain);
/* May batches be taken? False: *out_why is a sentence. */
bool chain_takes(const struct chain *chain, const char **out_why);

#endif
