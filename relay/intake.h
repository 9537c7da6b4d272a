/* intake.h -- batches on their way from "whole in memory" to "durable here", chain by chain.
 *
 *     offer -> QUEUED -> WITH_WORKER -> LOOKED_AT -> WITH_WRITER -> stored
 *                ^                         |
 *                +---- again --------------+----> refused (and quarantined), or a duplicate
 *
 * relay/admission.h decides; this carries it out: it keeps the chain's line of batches in order,
 * borrows them to the workers and to the writer, and tells the sessions how each ended. A batch is
 * answered exactly once.
 *
 * Threads: the loop.
 */
#ifndef ZR_RELAY_INTAKE_H
#define ZR_RELAY_INTAKE_H

#include "proto/link.h"
#include "relay/chains.h"
#include "relay/counters.h"
#include "relay/dictionaries.h"
#include "relay/operators.h"
#include "relay/verify.h"
#include "relay/writer.h"
#include "spool/batches.h"

#define INTAKE_PIPELINE_MAX 8    /* Batches of one chain under way. */
#define INTAKE_RETRY_MS     2000 /* Asked of an agent whose batch had no room just now. */

/* Who brought a batch. */
struct bringer {
	uint64_t link;         /* Number of the session. */
	uint64_t link_bytes;   /* What of the batch came over it: credit to be given back; */
	unsigned link_batches; /* and whether its beginning did. */
	const char *agent;
};

struct refusal {
	Zonerelay__Link__RejectReason reason;
	Zonerelay__Link__RejectAction action;
	struct hash content;
	uint64_t next_height;
	uint64_t bad_height;
	uint32_t retry_after_ms;
	const char *detail; /* Borrowed until the callback returns. */
};

/* How a batch ended. Called from intake_turn(), intake_offer(). */
struct intake_events {
	/* Durable: everything below next_height. proof is NULL for a duplicate. */
	void (*stored)(struct chain *chain, const struct bringer *bringer, uint64_t from,
	               const struct hash *content, const struct custody_proof *proof, void *arg);
	void (*refused)(struct chain *chain, const struct bringer *bringer,
	                const struct refusal *refusal, void *arg);
	/* Its memory is free again, whatever became of it. */
	void (*ended)(struct chain *chain, const struct bringer *bringer, void *arg);
	/* The chain's state changed: its carriers should hear of it. */
	void (*changed)(struct chain *chain, void *arg);
};

struct intake_options {
	struct spool *spool; /* All kept. */
	struct writer *writer;
	struct mailbox *commits; /* Where the writer answers; the loop calls each op's on_done. */
	struct verify_pool *verify;
	struct chains *chains;
	struct dictionaries *dictionaries;
	struct partials *partials;
	struct counters *counters;
	/* Where events go. What it points at is set later, and may be NULL. */
	struct operators *const *feed;
	const struct clock *clock;
	const struct intake_events *events;
	void *arg;
};

struct intake;

bool intake_new(struct intake **out_intake, const struct intake_options *options,
                struct err *err) MUST_CHECK;
/* With nothing under way (intake_busy() is 0). NULL is allowed. */
void intake_free(struct intake *intake);

/* Limits as the zone file has them now. */
struct intake_limits {
	size_t batch_max_bytes; /* Raw. */
	size_t block_max_bytes;
	size_t batch_block_max;
};
void intake_set_limits(struct intake *intake, const struct intake_limits *limits);
/* The spool is at its mark: refuse until it is not. */
void intake_set_full(struct intake *intake, bool full);
bool intake_is_full(const struct intake *intake);

/* More batches wait for a worker than may. */
bool intake_is_behind(const struct intake *intake);

/* Before the bytes of a batch are taken: would it be refused, or is it ours already? True: take it.
 * False: it was answered (stored or refused), and its bytes need not be looked at. */
bool intake_wants(struct intake *intake, struct chain *chain, const struct batch_header *header,
                  const struct bringer *bringer);
/* A whole batch. Takes payload, which stays booked in partials until `ended`. */
void intake_offer(struct intake *intake, struct chain *chain, const struct batch_header *header,
                  uint8_t *take_payload, const struct bringer *bringer);

/* Stores a batch that a job has verified, with every trust set that its blocks brought. On the writer's
 * thread. Errors: as spool_batch_put(). */
bool intake_put(struct spool_txn *txn, const struct spool_batch *batch,
                const struct verify_job *job, struct err *err) MUST_CHECK;

/* For the loop to watch: answers of the workers wait. */
int intake_facts_fd(const struct intake *intake);
/* Goes on with everything that came back, and with what found no room before. Returns how many
 * answers there were. */
size_t intake_turn(struct intake *intake);
/* The process ends: workers have stopped, the writer has not. Drops what is not with it. */
void intake_abandon(struct intake *intake);

/* Batches under way. */
size_t intake_busy(const struct intake *intake);

#endif
