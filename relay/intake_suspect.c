/* intake_suspect.c -- batches that are not what ours is at their heights, and what is refused.
 *
 *     COMPARE ---- same ----> a duplicate, or sent again from where ours ends
 *        |            `-------> SAME ----> REPAIR: our payload was damaged; what takes its place is
 *        |                                 verified as it was (P4): no hash speaks of signatures
 *        | differs at h
 *     THEIRS ---- not signed ----> quarantine: anybody can make up a block
 *        | validly signed
 *     OURS -----> EVIDENCE: both kept in a bundle, the chain frozen (P6)
 *
 * Only signatures that were checked here and now serve as evidence; what a policy left unchecked when
 * our block was admitted is checked at last.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/evidence.h"
#include "relay/intake_batch.h"

/* ---- quarantine ---- */

static bool apply_quarantine(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct batch *batch = LIST_ENTRY(op, struct batch, op);
	bool put = spool_quarantine_put(txn, &batch->suspect, &batch->suspect_outcome,
	                                &batch->suspect_number, err);
	FAULT_POINT(QUARANTINING);
	return put;
}

static void quarantine_done(struct writer_op *op)
{
	struct batch *batch = LIST_ENTRY(op, struct batch, op);
	FAULT_POINT(QUARANTINED);
	if (!op->ok) {
		log_error("quarantine-failed", "chain=%s detail=\"%s\"", batch->chain->id.name,
		          op->err.message);
	} else {
		static const char *const outcomes[] = { [SPOOL_SUSPECT_KEPT] = "kept",
			                                [SPOOL_SUSPECT_KNOWN] = "known",
			                                [SPOOL_SUSPECT_DROPPED] = "counted" };
		if (batch->suspect_outcome != SPOOL_SUSPECT_KNOWN)
			batch->intake->options.counters->blocks_quarantined +=
				batch->suspect.block_count;
		log_warn("batch-quarantined",
		         "chain=%s number=%" PRIu64 " outcome=%s reason=%s bad=%" PRIu64
		         " agent=%s detail=\"%s\"",
		         batch->chain->id.name, batch->suspect_number,
		         outcomes[batch->suspect_outcome], batch->suspect.reason,
		         batch->suspect.bad_height, batch->agent, batch->suspect.detail);
		operators_publish(*batch->intake->options.feed, "quarantined",
		                  json_pack("{s:s, s:I, s:I, s:s}", "chain", batch->chain->id.name,
		                            "number", (json_int_t)batch->suspect_number, "from",
		                            (json_int_t)batch->suspect.first_height, "reason",
		                            batch->suspect.reason));
	}
	batch_end(batch);
}

static void fill_suspect(struct batch *batch, const char *reason)
{
	const struct claim *claim = &batch->header.claim;
	batch->suspect = (struct spool_suspect){
		.chain = batch->chain->key,
		.reason = reason,
		.detail = batch->job.err.message,
		.first_height = claim->first_height,
		.bad_height = batch->job.bad_height,
		.block_count = claim->block_count,
		.codec = (enum codec)batch->header.codec,
		.dictionary = batch->header.dictionary,
		.content = batch->header.content,
		.payload = batch_payload(batch),
		.raw_size = (uint32_t)batch->header.raw_size,
		.received_ms = batch->received_ms,
		.agent = batch->agent,
	};
}

static void to_quarantine(struct batch *batch, const char *reason)
{
	batch->course = COURSE_QUARANTINE;
	batch->op = (struct writer_op){ .work = SPOOL_INTAKE,
		                        .apply = apply_quarantine,
		                        .on_done = quarantine_done };
	fill_suspect(batch, reason);
	list_remove(&batch->node);
	list_append(&batch->intake->leaving, &batch->node);
	(void)batch_send_to_writer(batch);
}

void batch_quarantine(struct batch *batch, const char *reason, Zonerelay__Link__RejectReason reject)
{
	batch_refuse(batch, reject, ACTION(HOLD), batch->job.err.message);
	/* What came under a false name is a mistake of the sender's, not something its chain said. */
	if (batch->job.mislabelled) {
		batch_end(batch);
		return;
	}
	to_quarantine(batch, reason);
}

/* ---- compare ---- */

static void duplicate(struct batch *batch)
{
	note_duplicates(batch->intake, batch->chain, batch->header.claim.block_count);
	batch_tell_stored(batch, NULL);
	batch->dropped = true;
	batch_end(batch);
}

/* ---- repair: the same blocks, for a payload that was found damaged ---- */

static bool apply_repair(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	const struct batch *batch = LIST_ENTRY(op, struct batch, op);
	const struct spool_batch record = batch_record(batch, batch->our_info.policy);
	bool repaired = spool_batch_repair(txn, &record, err);
	FAULT_POINT(REPAIRING);
	return repaired;
}

static void repair_done(struct writer_op *op)
{
	struct batch *batch = LIST_ENTRY(op, struct batch, op);
	struct chain *chain = batch->chain;
	const struct claim *claim = &batch->header.claim;
	FAULT_POINT(REPAIRED);
	if (op->ok) {
		batch->intake->options.counters->payloads_repaired++;
		log_info("batch-repaired", "chain=%s from=%" PRIu64 " to=%" PRIu64 " agent=%s",
		         chain->id.name, claim->first_height, claim_last(claim), batch->agent);
		if (claim_last(claim) >= chain->resend_to)
			chain->repairing = false;
	} else {
		log_warn("batch-not-repaired", "chain=%s from=%" PRIu64 " detail=\"%s\"",
		         chain->id.name, claim->first_height, op->err.message);
	}
	batch_tell_stored(batch, NULL);
	batch_end(batch);
}

static void ask_same(struct batch *batch)
{
	const struct intake_options *options = &batch->intake->options;
	const struct block_header *first = &batch->job.headers[0];
	const struct chain *chain = batch->chain;
	struct spool_batch_info *info = &batch->our_info;
	struct err err;
	if (!spool_batch_info(options->spool, &chain->key, first->height, info, NULL) ||
	    info->first_height != first->height || info->block_count != batch->job.header_count) {
		duplicate(batch);
		return;
	}
	if (!chain_trust_at(options->chains, chain, first->height, &batch->fork_trust, &err)) {
		log_error("batch-not-repaired", "chain=%s from=%" PRIu64 " detail=\"%s\"",
		          chain->id.name, first->height, err.message);
		duplicate(batch);
		return;
	}
	batch->basis = (struct basis){ { first->height, first->parent }, first->height };
	batch->course = COURSE_SAME;
	batch_send_to_worker(batch);
}

static void repair(struct batch *batch)
{
	struct intake *intake = batch->intake;
	batch->course = COURSE_REPAIR;
	batch->op = (struct writer_op){ .work = SPOOL_INTAKE,
		                        .apply = apply_repair,
		                        .on_done = repair_done };
	list_remove(&batch->node);
	list_append(&intake->leaving, &batch->node);
	(void)batch_send_to_writer(batch);
}

static void send_again(struct batch *batch)
{
	batch_refuse(batch, REASON(GAP), ACTION(RESUME), "only part of it is new");
	batch_end(batch);
}

static void ask_theirs(struct batch *batch)
{
	struct err err;
	struct buffer *saved = &batch->fork_trust_saved;
	uint64_t from;
	struct chain *chain = batch->chain;
	log_warn("chain-differs", "chain=%s height=%" PRIu64 " agent=%s", chain->id.name,
	         batch->fork_height, batch->agent);
	if (!spool_trust_at(batch->intake->options.spool, &chain->key, batch->fork_height, saved,
	                    &from, &err) ||
	    !chain->format->trust_load(buffer_bytes(saved), &batch->fork_trust, &err)) {
		batch->job.err = err;
		batch_quarantine(batch, "fork", REASON(FORK));
		return;
	}
	batch->course = COURSE_THEIRS;
	batch_send_to_worker(batch);
}

static void compare(struct batch *batch)
{
	const struct verify_job *job = &batch->job;
	struct intake *intake = batch->intake;
	const struct chain *chain = batch->chain;
	uint64_t next = chain->admission.durable.next_height;
	uint64_t first = job->headers[0].height;
	if (first >= next) {
		send_again(batch);
		return;
	}
	uint64_t last = first + job->header_count - 1;
	struct spool_range range = { chain->key, first, last < next ? last : next - 1 };
	size_t count_max = (size_t)(range.to - range.from + 1), count = 0;
	struct block_header *ours = calloc(count_max, sizeof(*ours));
	struct hash *hashes = calloc(count_max, sizeof(*hashes));
	enum comparison comparison = COMPARE_ABOVE;
	if (ours != NULL && hashes != NULL &&
	    spool_headers(intake->options.spool, &range, ours, count_max, &count, NULL)) {
		/* Heights that were declared lost cut the comparison short. */
		size_t run = 0;
		while (run < count && ours[run].height == first + run) {
			hashes[run] = ours[run].hash;
			run++;
		}
		comparison = admission_compare(job->headers, job->header_count, hashes, run,
		                               &batch->fork_height);
	}
	if (comparison == COMPARE_DIFFERENT) {
		size_t index = (size_t)(batch->fork_height - first);
		batch->our_hash = hashes[index];
		batch->their_hash = job->headers[index].hash;
	}
	free(ours);
	free(hashes);
	switch (comparison) {
	case COMPARE_SAME_WHOLE:
		if (batch_repairs(chain, &batch->header.claim))
			ask_same(batch);
		else
			duplicate(batch);
		return;
	case COMPARE_SAME_OVERLAP:
	case COMPARE_ABOVE:
		send_again(batch);
		return;
	case COMPARE_DIFFERENT:
		ask_theirs(batch);
		return;
	}
}

/* ---- evidence ---- */

static bool apply_evidence(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct batch *batch = LIST_ENTRY(op, struct batch, op);
	struct spool_evidence evidence = { .chain = batch->chain->key,
		                           .height = batch->fork_height,
		                           .ours = batch->our_hash,
		                           .theirs = batch->their_hash,
		                           .time_ms = batch->received_ms };
	(void)snprintf(evidence.agent, sizeof(evidence.agent), "%s", batch->agent);
	struct spool_chain row;
	if (!spool_chain_in(txn, &batch->chain->key, &row, err) ||
	    !spool_evidence_put(txn, &evidence, buffer_bytes(&batch->bundle),
	                        &batch->evidence_number, err))
		return false;
	char reason[SPOOL_REASON_MAX + 1];
	(void)snprintf(reason, sizeof(reason), "forked at height %" PRIu64 ", evidence %" PRIu64,
	               batch->fork_height, batch->evidence_number);
	const struct spool_chain_state_change change = { .chain = batch->chain->key,
		                                         .state = SPOOL_CHAIN_FROZEN,
		                                         .reason = reason,
		                                         .who = "gateway",
		                                         .delivery_held = row.delivery_held,
		                                         .now_ms = batch->received_ms };
	FAULT_POINT(EVIDENCE_KEEPING);
	return row.state == SPOOL_CHAIN_RETIRED || spool_chain_set_state(txn, &change, err);
}

static void evidence_done(struct writer_op *op)
{
	struct batch *batch = LIST_ENTRY(op, struct batch, op);
	struct intake *intake = batch->intake;
	struct chain *chain = batch->chain;
	struct err err;
	FAULT_POINT(EVIDENCE_KEPT);
	if (op->ok) {
		intake->options.counters->evidence_found++;
		intake->options.counters->chains_frozen++;
		log_error("chain-frozen",
		          "chain=%s height=%" PRIu64 " evidence=%" PRIu64
		          " agent=%s why=\"two validly signed blocks at one height\"",
		          chain->id.name, batch->fork_height, batch->evidence_number, batch->agent);
		operators_publish(*intake->options.feed, "evidence",
		                  json_pack("{s:s, s:I, s:I}", "chain", chain->id.name, "number",
		                            (json_int_t)batch->evidence_number, "height",
		                            (json_int_t)batch->fork_height));
		operators_publish(*intake->options.feed, "chain-frozen",
		                  json_pack("{s:s, s:s}", "chain", chain->id.name, "reason",
		                            "two validly signed blocks at one height"));
		if (!chain_refresh(intake->options.chains, chain, &err))
			log_error("chain-unreadable", "chain=%s detail=\"%s\"", chain->id.name,
			          err.message);
	} else {
		log_error("evidence-failed", "chain=%s detail=\"%s\"", chain->id.name,
		          op->err.message);
	}
	batch_refuse(batch, REASON(FORK), ACTION(HOLD), "another block is ours at that height");
	intake->options.events->changed(chain, intake->options.arg);
	if (intake->abandoned)
		batch_end(batch); /* The writer takes no more; the evidence is kept. */
	else
		to_quarantine(batch, "fork");
}

static void keep_evidence(struct batch *batch)
{
	struct intake *intake = batch->intake;
	const struct evidence evidence = { .format = batch->chain->format,
		                           .chain = batch->chain->id,
		                           .height = batch->fork_height,
		                           .trust = buffer_bytes(&batch->fork_trust_saved),
		                           .ours = buffer_bytes(&batch->job.block),
		                           .theirs = buffer_bytes(&batch->their_block) };
	evidence_encode(&evidence, &batch->bundle);
	if (!buffer_ok(&batch->bundle, &batch->job.err)) {
		batch_quarantine(batch, "fork", REASON(FORK));
		return;
	}
	batch->course = COURSE_EVIDENCE;
	batch->op = (struct writer_op){ .work = SPOOL_UPKEEP,
		                        .apply = apply_evidence,
		                        .on_done = evidence_done };
	err_set(&batch->job.err, ZR_STATE, "a second signed block at height %" PRIu64,
	        batch->fork_height);
	batch->job.bad_height = batch->fork_height;
	list_remove(&batch->node);
	list_append(&intake->leaving, &batch->node);
	(void)batch_send_to_writer(batch);
}

static void ask_ours(struct batch *batch)
{
	batch->their_block = batch->job.block;
	batch->job.block = BUFFER_EMPTY;
	struct err err;
	if (!spool_batch_payload(batch->intake->options.spool, &batch->chain->key,
	                         batch->fork_height, &batch->our_info, &batch->our_payload, &err)) {
		/* Both were signed, but ours cannot be shown any more. */
		log_error("fork-unprovable", "chain=%s height=%" PRIu64 " detail=\"%s\"",
		          batch->chain->id.name, batch->fork_height, err.message);
		batch->job.err = err;
		batch_quarantine(batch, "fork", REASON(FORK));
		return;
	}
	batch->course = COURSE_OURS;
	batch_send_to_worker(batch);
}

void suspect_step(struct batch *batch)
{
	struct verify_job *job = &batch->job;
	if (job->no_memory) {
		batch_refuse(batch, REASON(BUSY), ACTION(RETRY_AFTER), "out of memory");
		batch_end(batch);
		return;
	}
	bool fine = job->fault == WALK_FINE;
	switch (batch->course) {
	case COURSE_COMPARE:
		if (fine)
			compare(batch);
		else
			batch_quarantine(batch, "malformed", REASON(MALFORMED));
		return;
	case COURSE_SAME:
		if (fine)
			repair(batch);
		else
			batch_quarantine(batch, "untrusted", REASON(UNTRUSTED));
		return;
	case COURSE_THEIRS:
		if (fine)
			ask_ours(batch);
		else
			batch_quarantine(batch, "fork-unsigned", REASON(UNTRUSTED));
		return;
	case COURSE_OURS:
		if (!fine) {
			/* Admitted under a policy that left its signatures to later blocks. */
			log_error("fork-unprovable",
			          "chain=%s height=%" PRIu64 " detail=\"ours: %s\"",
			          batch->chain->id.name, batch->fork_height, job->err.message);
			batch_quarantine(batch, "fork", REASON(FORK));
			return;
		}
		keep_evidence(batch);
		return;
	case COURSE_APPEND:
	case COURSE_EVIDENCE:
	case COURSE_QUARANTINE:
	case COURSE_REPAIR:
		abort();
	}
}
