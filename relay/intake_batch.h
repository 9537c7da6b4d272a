/* intake_batch.h -- one batch under way: what intake.c and intake_suspect.c share. */
#ifndef ZR_RELAY_INTAKE_BATCH_H
#define ZR_RELAY_INTAKE_BATCH_H

#include "relay/intake.h"
#include "spool/quarantine.h"

enum batch_stage {
	BATCH_QUEUED,      /* Waits for a worker. */
	BATCH_WITH_WORKER, /* Its job is. */
	BATCH_LOOKED_AT,   /* Facts are there; its turn has not come. */
	BATCH_WITH_WRITER, /* Its op is. */
};

enum batch_course {
	COURSE_APPEND,     /* The next one of its chain. */
	COURSE_COMPARE,    /* A suspect: what are its hashes? */
	COURSE_THEIRS,     /* It differs at fork_height: is that block validly signed? */
	COURSE_OURS,       /* It is: and ours? */
	COURSE_SAME,       /* Ours, whose payload is damaged: are its signatures good, too? */
	COURSE_EVIDENCE,   /* Both are. To be stored, and the chain frozen. */
	COURSE_QUARANTINE, /* To be kept whole, refused. */
	COURSE_REPAIR,     /* They are: to be stored in its place. */
};

struct batch {
	struct list_node node;  /* In its chain's pipeline, or in intake's leaving. */
	struct list_node queue; /* In intake's queued or stalled, or linked to itself. */
	struct intake *intake;
	struct chain *chain;
	enum batch_stage stage;
	enum batch_course course;
	bool dropped; /* Nobody waits for it any more: ends when it comes back. */

	struct batch_header header;
	uint8_t *payload; /* Owned. */
	struct bringer bringer;
	char agent[SPOOL_AGENT_MAX + 1];
	int64_t received_ms;

	struct basis basis;
	struct verify_job job;

	/* To the writer. */
	struct writer_op op;
	struct custody custody;
	struct buffer trust; /* Saved form of a set that the batch brought. */
	struct spool_suspect suspect;
	enum spool_suspect_outcome suspect_outcome;
	uint64_t suspect_number;

	/* Suspects. */
	uint64_t fork_height;
	struct hash our_hash, their_hash;
	struct trust *fork_trust; /* Owned. */
	struct buffer fork_trust_saved;
	struct buffer our_payload;
	struct spool_batch_info our_info;
	struct buffer their_block, bundle;
	uint64_t evidence_number;
};

struct intake {
	struct intake_options options;
	struct intake_limits limits;
	bool full;
	bool abandoned; /* The process ends: nothing new goes anywhere. */
	struct mailbox *facts;
	struct list_node queued;  /* Batches that the pool had no room for, oldest first. */
	struct list_node stalled; /* Batches that the writer had no room for. */
	struct list_node leaving; /* Out of their line, on the way to quarantine. */
	size_t busy;
};

/* ---- intake.c ---- */

struct bytes batch_payload(const struct batch *batch);
/* As it goes into the spool, once verified under policy: without a trust set. Borrows from batch. */
struct spool_batch batch_record(const struct batch *batch, enum policy policy);
void batch_send_to_worker(struct batch *batch);
/* False: the writer has no room now; intake_turn() tries again. */
bool batch_send_to_writer(struct batch *batch);
/* Takes it out of its line, gives its memory back, frees it. */
void batch_end(struct batch *batch);
void batch_refuse(struct batch *batch, Zonerelay__Link__RejectReason reason,
                  Zonerelay__Link__RejectAction action, const char *detail);
void batch_tell_stored(struct batch *batch, const struct custody_proof *proof);
void chain_advance(struct intake *intake, struct chain *chain);
void note_duplicates(struct intake *intake, struct chain *chain, uint64_t block_count);

/* Is it what a resync asked for? */
bool batch_repairs(const struct chain *chain, const struct claim *claim);

/* ---- intake_suspect.c ---- */

/* The batch is first in its line, and its facts are there. */
void suspect_step(struct batch *batch);
/* Refuses it and keeps it whole. reason: a stable word. */
void batch_quarantine(struct batch *batch, const char *reason,
                      Zonerelay__Link__RejectReason reject);

#define REASON(name) ZONERELAY__LINK__REJECT_REASON__REJECT_REASON_##name
#define ACTION(name) ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_##name

#endif
