/* intake.c -- the line of batches of each chain, in order; see intake.h. */
#include "relay/intake.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/intake_batch.h"

bool intake_new(struct intake **out_intake, const struct intake_options *options, struct err *err)
{
	struct intake *intake = calloc(1, sizeof(*intake));
	if (intake == NULL)
		return err_set(err, ZR_NO_MEMORY, "intake");
	intake->options = *options;
	list_init(&intake->queued);
	list_init(&intake->stalled);
	list_init(&intake->leaving);
	/* Answers only: bounded by the batches that are booked. */
	if (!mailbox_new(&intake->facts, SIZE_MAX, err)) {
		free(intake);
		return false;
	}
	*out_intake = intake;
	return true;
}

void intake_free(struct intake *intake)
{
	if (intake == NULL)
		return;
	assert(intake->busy == 0);
	mailbox_free(intake->facts);
	free(intake);
}

void intake_set_limits(struct intake *intake, const struct intake_limits *limits)
{
	intake->limits = *limits;
}

void intake_set_full(struct intake *intake, bool full)
{
	intake->full = full;
}

bool intake_is_full(const struct intake *intake)
{
	return intake->full;
}

bool intake_is_behind(const struct intake *intake)
{
	return !list_is_empty(&intake->queued);
}

int intake_facts_fd(const struct intake *intake)
{
	return mailbox_fd(intake->facts);
}

size_t intake_busy(const struct intake *intake)
{
	return intake->busy;
}

struct bytes batch_payload(const struct batch *batch)
{
	return (struct bytes){ batch->payload, batch->header.size };
}

/* ---- telling ---- */

static void count_refusal(struct counters *counters, Zonerelay__Link__RejectReason reason)
{
	uint64_t *const by_reason[] = {
		[REASON(GAP)] = &counters->rejected_gap,
		[REASON(MALFORMED)] = &counters->rejected_malformed,
		[REASON(LINK)] = &counters->rejected_link,
		[REASON(UNTRUSTED)] = &counters->rejected_untrusted,
		[REASON(FORK)] = &counters->rejected_fork,
		[REASON(TOO_LARGE)] = &counters->rejected_too_large,
		[REASON(CREDIT)] = &counters->rejected_credit,
		[REASON(QUOTA)] = &counters->rejected_quota,
		[REASON(FULL)] = &counters->rejected_full,
		[REASON(FROZEN)] = &counters->rejected_frozen,
		[REASON(DICTIONARY)] = &counters->rejected_dictionary,
		[REASON(DENIED)] = &counters->rejected_denied,
		[REASON(BUSY)] = &counters->rejected_busy,
	};
	if ((size_t)reason < sizeof(by_reason) / sizeof(by_reason[0]) && by_reason[reason] != NULL)
		++*by_reason[reason];
}

static void refuse(struct intake *intake, struct chain *chain, const struct bringer *bringer,
                   struct refusal *refusal)
{
	count_refusal(intake->options.counters, refusal->reason);
	refusal->next_height = chain->admission.expected.next_height;
	if (refusal->action == ACTION(RETRY_AFTER))
		refusal->retry_after_ms = INTAKE_RETRY_MS + (uint32_t)random_below(INTAKE_RETRY_MS);
	log_info("batch-refused",
	         "chain=%s agent=%s reason=%d action=%d next=%" PRIu64 " bad=%" PRIu64
	         " detail=\"%s\"",
	         chain->id.name, bringer->agent, (int)refusal->reason, (int)refusal->action,
	         refusal->next_height, refusal->bad_height, refusal->detail);
	intake->options.events->refused(chain, bringer, refusal, intake->options.arg);
}

void batch_refuse(struct batch *batch, Zonerelay__Link__RejectReason reason,
                  Zonerelay__Link__RejectAction action, const char *detail)
{
	if (batch->dropped)
		return;
	batch->dropped = true;
	struct refusal refusal = { .reason = reason,
		                   .action = action,
		                   .content = batch->header.content,
		                   .bad_height = batch->job.bad_height,
		                   .detail = detail };
	refuse(batch->intake, batch->chain, &batch->bringer, &refusal);
}

void batch_tell_stored(struct batch *batch, const struct custody_proof *proof)
{
	const struct intake_options *options = &batch->intake->options;
	options->events->stored(batch->chain, &batch->bringer, batch->header.claim.first_height,
	                        &batch->header.content, proof, options->arg);
}

/* ---- life of a batch ---- */

static struct batch *batch_new(struct intake *intake, struct chain *chain,
                               const struct batch_header *header, const struct bringer *bringer)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	if (batch == NULL)
		return NULL;
	list_init(&batch->node);
	list_init(&batch->queue);
	batch->intake = intake;
	batch->chain = chain;
	batch->header = *header;
	batch->bringer = *bringer;
	(void)snprintf(batch->agent, sizeof(batch->agent), "%s", bringer->agent);
	batch->bringer.agent = batch->agent;
	batch->received_ms = clock_wall_ms(intake->options.clock);
	list_append(&chain->pipeline, &batch->node);
	chain->pipeline_count++;
	chain->pipeline_bytes += header->size;
	intake->busy++;
	return batch;
}

void batch_end(struct batch *batch)
{
	struct intake *intake = batch->intake;
	struct chain *chain = batch->chain;
	list_remove(&batch->node);
	list_remove(&batch->queue);
	verify_job_forget(&batch->job);
	if (batch->fork_trust != NULL)
		chain->format->trust_free(batch->fork_trust);
	buffer_fini(&batch->trust);
	buffer_fini(&batch->fork_trust_saved);
	buffer_fini(&batch->our_payload);
	buffer_fini(&batch->their_block);
	buffer_fini(&batch->bundle);
	free(batch->payload);
	partials_release(intake->options.partials, batch->header.size);
	chain->pipeline_count--;
	chain->pipeline_bytes -= batch->header.size;
	intake->busy--;
	if (list_is_empty(&chain->pipeline))
		chain_settle_trust(chain);
	intake->options.events->ended(chain, &batch->bringer, intake->options.arg);
	free(batch);
}

/* Nobody waits for it: ends now, or when worker or writer give it back. */
static void batch_drop(struct batch *batch)
{
	batch->dropped = true;
	list_remove(&batch->queue);
	if (batch->stage == BATCH_QUEUED || batch->stage == BATCH_LOOKED_AT)
		batch_end(batch);
}

/* Those that were verified ahead of a batch which was not admitted. */
static void drop_followers(struct batch *batch)
{
	struct chain *chain = batch->chain;
	LIST_FOR_EACH (node, &chain->pipeline) {
		struct batch *other = LIST_ENTRY(node, struct batch, node);
		if (other != batch && other->course == COURSE_APPEND &&
		    other->stage != BATCH_WITH_WRITER && !other->dropped)
			batch_drop(other);
	}
	admission_cut(&chain->admission);
}

/* The line is cut first: what the refusal names as next is this batch, not the one behind it. */
static void try_later(struct batch *batch, const char *detail)
{
	drop_followers(batch);
	batch_refuse(batch, REASON(BUSY), ACTION(RETRY_AFTER), detail);
	batch_end(batch);
}

/* ---- workers ---- */

static bool fill_job(struct batch *batch, struct err *err)
{
	struct intake *intake = batch->intake;
	struct verify_job *job = &batch->job;
	verify_job_forget(job);
	job->reply = intake->facts;
	job->format = batch->chain->format;
	job->epoch = &batch->chain->id.epoch;
	job->payload = batch_payload(batch);
	job->content = batch->header.content;
	job->codec = (enum codec)batch->header.codec;
	job->raw_size = batch->header.raw_size;
	job->block_max_bytes = intake->limits.block_max_bytes;
	job->count_max = batch->header.claim.block_count;
	job->dictionary = NULL;
	const struct hash *dictionary = &batch->header.dictionary;
	if (batch->course == COURSE_OURS) {
		const struct spool_batch_info *info = &batch->our_info;
		job->payload = buffer_bytes(&batch->our_payload);
		job->content = info->content;
		job->codec = info->codec;
		job->raw_size = info->raw_size;
		job->count_max = info->block_count;
		dictionary = &info->dictionary;
	}
	if (!hash_is_zero(dictionary) &&
	    !dictionaries_find(intake->options.dictionaries, dictionary, &job->dictionary, err))
		return false;
	switch (batch->course) {
	case COURSE_APPEND:
		job->kind = VERIFY_WALK;
		job->policy =
			batch->chain->config != NULL ? batch->chain->config->policy : POLICY_ALL;
		job->position = batch->basis.position;
		job->trust_from = batch->basis.trust_from;
		return chain_trust(intake->options.chains, batch->chain, &job->trust, err);
	case COURSE_COMPARE:
		job->kind = VERIFY_READ;
		return true;
	case COURSE_SAME:
		job->kind = VERIFY_WALK;
		job->policy = batch->our_info.policy;
		job->position = batch->basis.position;
		job->trust = batch->fork_trust;
		job->trust_from = batch->basis.trust_from;
		return true;
	case COURSE_THEIRS:
	case COURSE_OURS:
		job->kind = VERIFY_PROVE;
		job->trust = batch->fork_trust;
		job->prove_height = batch->fork_height;
		return true;
	case COURSE_EVIDENCE:
	case COURSE_QUARANTINE:
	case COURSE_REPAIR:
		break;
	}
	assert(false);
	return false;
}

void batch_send_to_worker(struct batch *batch)
{
	struct intake *intake = batch->intake;
	struct err err;
	batch->stage = BATCH_QUEUED;
	if (!fill_job(batch, &err)) {
		log_error("batch-unverifiable", "chain=%s detail=\"%s\"", batch->chain->id.name,
		          err.message);
		try_later(batch, err.message);
		return;
	}
	if (verify_pool_put(intake->options.verify, &batch->job))
		batch->stage = BATCH_WITH_WORKER;
	else
		list_append(&intake->queued, &batch->queue);
}

static void run_queued(struct intake *intake)
{
	struct list_node *node;
	while ((node = list_pop(&intake->queued)) != NULL) {
		struct batch *batch = LIST_ENTRY(node, struct batch, queue);
		if (!verify_pool_put(intake->options.verify, &batch->job)) {
			list_add_after(&intake->queued, node); /* First again. */
			return;
		}
		batch->stage = BATCH_WITH_WORKER;
	}
}

/* ---- the writer ---- */

bool batch_send_to_writer(struct batch *batch)
{
	struct err err;
	batch->op.reply = batch->intake->options.commits;
	if (!writer_submit(batch->intake->options.writer, &batch->op, &err)) {
		list_remove(&batch->queue);
		list_append(&batch->intake->stalled, &batch->queue);
		return false;
	}
	batch->stage = BATCH_WITH_WRITER;
	return true;
}

struct spool_batch batch_record(const struct batch *batch, enum policy policy)
{
	const struct verify_job *job = &batch->job;
	return (struct spool_batch){ .chain = batch->chain->key,
		                     .headers = job->headers,
		                     .block_count = (uint32_t)job->header_count,
		                     .policy = policy,
		                     .codec = job->codec,
		                     .dictionary = batch->header.dictionary,
		                     .content = batch->header.content,
		                     .raw_size = (uint32_t)batch->header.raw_size,
		                     .payload = job->payload,
		                     .received_ms = batch->received_ms,
		                     .agent = batch->agent };
}

bool intake_put(struct spool_txn *txn, const struct spool_batch *batch,
                const struct verify_job *job, struct err *err)
{
	uint64_t arrival;
	if (!spool_batch_put(txn, batch, &arrival, err))
		return false;
	struct reader between = reader_of(buffer_bytes(&job->trusts_between));
	uint64_t from;
	struct bytes trust;
	while (walk_next_replaced(&between, &from, &trust)) {
		if (!spool_batch_trust(txn, &batch->chain, from, trust, err))
			return false;
	}
	return true;
}

static bool apply_append(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	const struct batch *batch = LIST_ENTRY(op, struct batch, op);
	const struct verify_job *job = &batch->job;
	struct spool_batch record = batch_record(batch, job->policy);
	record.trust = buffer_bytes(&batch->trust);
	record.trust_from = job->trust_next_from;
	bool put = intake_put(txn, &record, job, err);
	FAULT_POINT(BATCH_STORING);
	return put;
}

/* Back to what is durable: nothing behind it can be stored either. */
static void roll_back(struct batch *batch, const struct err *why)
{
	struct chain *chain = batch->chain;
	bool full = why->code == ZR_FULL;
	log_warn("batch-not-stored", "chain=%s from=%" PRIu64 " detail=\"%s\"", chain->id.name,
	         batch->header.claim.first_height, why->message);
	LIST_FOR_EACH (node, &chain->pipeline) {
		struct batch *other = LIST_ENTRY(node, struct batch, node);
		if (other != batch && other->course == COURSE_APPEND && !other->dropped)
			batch_drop(other);
	}
	admission_rollback(&chain->admission, chain->durable_trust_from);
	if (full)
		batch->intake->full = true; /* Until the next look at the spool says otherwise. */
	batch_refuse(batch, full ? REASON(FULL) : REASON(BUSY), ACTION(RETRY_AFTER), why->message);
}

/* The spool may have refused a batch because an operator moved the chain on meanwhile. */
static void look_again(struct intake *intake, struct chain *chain)
{
	struct err err;
	if (!intake->abandoned && list_is_empty(&chain->pipeline) &&
	    !chain_refresh(intake->options.chains, chain, &err))
		log_error("chain-unreadable", "chain=%s detail=\"%s\"", chain->id.name,
		          err.message);
}

static void append_done(struct writer_op *op)
{
	struct batch *batch = LIST_ENTRY(op, struct batch, op);
	struct intake *intake = batch->intake;
	struct chain *chain = batch->chain;
	const struct claim *claim = &batch->header.claim;
	FAULT_POINT(BATCH_STORED);
	if (op->ok) {
		/* A batch that was dropped behind a failed one cannot have been stored: its first
		 * height did not follow. */
		assert(!batch->dropped);
		admission_commit(&chain->admission, claim);
		if (batch->trust.size > 0)
			chain->durable_trust_from = batch->job.trust_next_from;
		chain->held_bytes += batch->header.size;
		struct counters *counters = intake->options.counters;
		counters->batches_stored++;
		counters->blocks_stored += claim->block_count;
		counters->bytes_stored += batch->header.size;
		counters->raw_bytes_stored += batch->header.raw_size;
		log_info("batch-stored",
		         "chain=%s from=%" PRIu64 " to=%" PRIu64 " bytes=%zu raw=%zu agent=%s "
		         "commit=%" PRIu64,
		         chain->id.name, claim->first_height, claim_last(claim), batch->header.size,
		         batch->header.raw_size, batch->agent, op->commit_number);
		operators_publish(*intake->options.feed, "batch-stored",
		                  json_pack("{s:s, s:I, s:I, s:I}", "chain", chain->id.name, "from",
		                            (json_int_t)claim->first_height, "to",
		                            (json_int_t)claim_last(claim), "bytes",
		                            (json_int_t)batch->header.size));
		batch_tell_stored(batch, op->proof.present ? &op->proof : NULL);
	} else if (!batch->dropped) {
		roll_back(batch, &op->err);
	}
	bool stored = op->ok; /* Dies with its batch. */
	batch_end(batch);
	if (!stored)
		look_again(intake, chain);
	chain_advance(intake, chain);
}

static bool prepare_append(struct batch *batch, struct err *err)
{
	struct verify_job *job = &batch->job;
	struct chain *chain = batch->chain;
	batch->op = (struct writer_op){ .work = SPOOL_INTAKE,
		                        .apply = apply_append,
		                        .on_done = append_done,
		                        .custody = &batch->custody };
	batch->custody = (struct custody){ .chain = chain->id,
		                           .from = batch->header.claim.first_height,
		                           .to = claim_last(&batch->header.claim),
		                           .tip = batch->header.claim.tip,
		                           .content = batch->header.content };
	if (job->trust_next == NULL)
		return true; /* No change, or this is a second attempt. */
	buffer_clear(&batch->trust);
	chain->format->trust_save(job->trust_next, &batch->trust);
	if (!buffer_ok(&batch->trust, err) ||
	    !chain_add_trust(chain, job->trust_next, job->trust_next_from, err))
		return false;
	job->trust_next = NULL; /* The chain has it. */
	return true;
}

/* ---- admission, in order ---- */

static struct facts facts_of(const struct batch *batch)
{
	const struct verify_job *job = &batch->job;
	struct facts facts = { .basis = batch->basis,
		               .fault = job->fault,
		               .header_count = job->header_count,
		               .trust_changed = job->trust_next != NULL || batch->trust.size > 0,
		               .trust_next_from = job->trust_next_from };
	if (job->header_count > 0)
		facts.tip = job->headers[job->header_count - 1].hash;
	return facts;
}

static void refuse_bad(struct batch *batch)
{
	switch (batch->job.fault) {
	case WALK_FINE: /* Good blocks under a false header. */
		err_set(&batch->job.err, ZR_INVALID, "the batch is not what its header says");
		batch_quarantine(batch, "malformed", REASON(MALFORMED));
		return;
	case WALK_MALFORMED:
		batch_quarantine(batch, "malformed", REASON(MALFORMED));
		return;
	case WALK_HEIGHT:
		batch_quarantine(batch, "height", REASON(LINK));
		return;
	case WALK_LINK:
		batch_quarantine(batch, "link", REASON(LINK));
		return;
	case WALK_UNTRUSTED:
		batch_quarantine(batch, "untrusted", REASON(UNTRUSTED));
		return;
	}
	assert(false);
}

static void append(struct batch *batch, const struct facts *facts)
{
	struct err err;
	if (!prepare_append(batch, &err)) {
		try_later(batch, err.message);
		return;
	}
	if (!batch_send_to_writer(batch))
		return; /* Still LOOKED_AT: its turn comes again. */
	admission_append(&batch->chain->admission, &batch->header.claim, facts);
}

/* Goes on with a batch whose turn it is. */
static void append_step(struct batch *batch)
{
	struct chain *chain = batch->chain;
	if (batch->job.no_memory) {
		try_later(batch, "out of memory");
		return;
	}
	struct facts facts = facts_of(batch);
	switch (admission_verdict(&chain->admission, &batch->header.claim, &facts)) {
	case VERDICT_APPEND:
		append(batch, &facts);
		return;
	case VERDICT_AGAIN:
		batch->intake->options.counters->batches_again++;
		batch->basis = admission_basis(&chain->admission);
		batch_send_to_worker(batch);
		return;
	case VERDICT_BAD:
		drop_followers(batch);
		refuse_bad(batch);
		return;
	case VERDICT_GAP:
		batch_refuse(batch, REASON(GAP), ACTION(RESUME),
		             "the batch before it was not taken");
		batch_end(batch);
		return;
	}
}

/* The first batch of the line that is neither with the writer nor given up. */
static struct batch *whose_turn(struct chain *chain, bool *out_alone)
{
	*out_alone = true;
	LIST_FOR_EACH (node, &chain->pipeline) {
		struct batch *batch = LIST_ENTRY(node, struct batch, node);
		if (batch->dropped)
			continue;
		if (batch->stage != BATCH_WITH_WRITER)
			return batch;
		*out_alone = false;
	}
	return NULL;
}

void chain_advance(struct intake *intake, struct chain *chain)
{
	while (!intake->abandoned) {
		bool alone;
		struct batch *batch = whose_turn(chain, &alone);
		if (batch == NULL || batch->stage != BATCH_LOOKED_AT ||
		    batch->queue.next != &batch->queue)
			return;
		if (batch->course == COURSE_APPEND)
			append_step(batch);
		else if (alone)
			suspect_step(
				batch); /* Compared with what is durable, so all before it is. */
		else
			return;
	}
}

/* ---- duplicates ---- */

struct duplicates_op {
	struct writer_op op;
	struct intake *intake;
	struct chain *chain; /* Chains live as long as intake is busy. */
	struct chain_key key;
	uint64_t block_count;
};

static bool apply_duplicates(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	const struct duplicates_op *note = (struct duplicates_op *)op;
	FAULT_POINT(DUPLICATES_COUNTING);
	return spool_chain_add_duplicates(txn, &note->key, note->block_count, err);
}

static void duplicates_done(struct writer_op *op)
{
	struct duplicates_op *note = (struct duplicates_op *)op;
	struct chain *chain = note->chain;
	struct intake *intake = note->intake;
	FAULT_POINT(DUPLICATES_COUNTED);
	chain->duplicates_noted = false;
	intake->busy--;
	free(note);
	if (chain->duplicate_blocks > 0)
		note_duplicates(intake, chain, 0);
}

/* Counted in memory and brought to the spool by one operation at a time, however fast they come. */
void note_duplicates(struct intake *intake, struct chain *chain, uint64_t block_count)
{
	chain->duplicate_blocks += block_count;
	intake->options.counters->blocks_duplicate += block_count;
	if (chain->duplicates_noted || intake->abandoned)
		return;
	struct duplicates_op *note = calloc(1, sizeof(*note));
	if (note == NULL)
		return;
	note->op = (struct writer_op){ .work = SPOOL_UPKEEP,
		                       .apply = apply_duplicates,
		                       .on_done = duplicates_done,
		                       .reply = intake->options.commits };
	note->intake = intake;
	note->chain = chain;
	note->key = chain->key;
	note->block_count = chain->duplicate_blocks;
	struct err err;
	if (!writer_submit(intake->options.writer, &note->op, &err)) {
		free(note);
		return;
	}
	intake->busy++;
	chain->duplicate_blocks = 0;
	chain->duplicates_noted = true;
}

/* ---- arrivals ---- */

static enum arrival arrival_of(struct intake *intake, const struct chain *chain,
                               const struct claim *claim)
{
	struct block_header known;
	bool is_known =
		claim_valid(claim) && claim_last(claim) < chain->admission.durable.next_height &&
		spool_header(intake->options.spool, &chain->key, claim_last(claim), &known, NULL);
	return admission_arrival(&chain->admission, claim, is_known ? &known.hash : NULL);
}

static bool over_quota(struct intake *intake, struct chain *chain, size_t size)
{
	uint64_t quota = chain->config->class->quota_bytes;
	size_t coming = chain->pipeline_bytes + size;
	if (quota == 0 || chain_pending_bytes(chain) + coming <= quota)
		return false;
	/* What was anchored or pruned meanwhile is known to the spool only. */
	struct err err;
	if (!chain_refresh(intake->options.chains, chain, &err))
		return true;
	return chain_pending_bytes(chain) + coming > quota;
}

/* Is there a reason not to take any batch of this chain, or this one, now? */
static bool refusable(struct intake *intake, struct chain *chain, const struct batch_header *header,
                      struct refusal *out_refusal)
{
	const struct intake_limits *limits = &intake->limits;
	const struct dictionary *dictionary;
	struct refusal refusal = { .content = header->content, .action = ACTION(RETRY_AFTER) };
	if (!chain_takes(chain, &refusal.detail)) {
		refusal.reason = REASON(FROZEN);
		refusal.action = ACTION(HOLD);
	} else if (header->raw_size > limits->batch_max_bytes ||
	           header->claim.block_count > limits->batch_block_max) {
		refusal.reason = REASON(TOO_LARGE);
		refusal.action = ACTION(HOLD);
		refusal.detail = "the batch is above the limit";
	} else if (!hash_is_zero(&header->dictionary) &&
	           !dictionaries_find(intake->options.dictionaries, &header->dictionary,
	                              &dictionary, NULL)) {
		refusal.reason = REASON(DICTIONARY);
		refusal.action = ACTION(RESUME);
		refusal.detail = "the dictionary is not known here";
	} else if (intake->full) {
		refusal.reason = REASON(FULL);
		refusal.detail = "the spool is full";
	} else if (over_quota(intake, chain, header->size)) {
		refusal.reason = REASON(QUOTA);
		refusal.detail = "the chain's share of the spool is used up";
	} else if (chain->pipeline_count >= INTAKE_PIPELINE_MAX) {
		refusal.reason = REASON(BUSY);
		refusal.detail = "too many batches of the chain are under way";
	} else {
		return false;
	}
	*out_refusal = refusal;
	return true;
}

bool batch_repairs(const struct chain *chain, const struct claim *claim)
{
	return chain->repairing && claim->first_height <= chain->resend_to &&
	       claim_last(claim) >= chain->resend_from;
}

/* Answers that need no look into the batch. */
static bool answered(struct intake *intake, struct chain *chain, const struct batch_header *header,
                     const struct bringer *bringer, enum arrival arrival)
{
	struct refusal refusal = { .content = header->content };
	if (arrival == ARRIVAL_DUPLICATE && !batch_repairs(chain, &header->claim)) {
		note_duplicates(intake, chain, header->claim.block_count);
		intake->options.events->stored(chain, bringer, header->claim.first_height,
		                               &header->content, NULL, intake->options.arg);
		return true;
	}
	if (arrival == ARRIVAL_GAP) {
		refusal.reason = REASON(GAP);
		refusal.action = ACTION(RESUME);
		refusal.detail = "blocks before it are missing";
		refuse(intake, chain, bringer, &refusal);
		return true;
	}
	if (arrival == ARRIVAL_MALFORMED) {
		refusal.reason = REASON(MALFORMED);
		refusal.action = ACTION(HOLD);
		refusal.detail = "no such heights";
		refuse(intake, chain, bringer, &refusal);
		return true;
	}
	if (refusable(intake, chain, header, &refusal)) {
		refuse(intake, chain, bringer, &refusal);
		return true;
	}
	if (arrival == ARRIVAL_EXPECTED &&
	    header->claim.first_height != chain->admission.expected.next_height) {
		/* Its row was read again for its quota: an operator has moved it on. */
		refusal.reason = REASON(BUSY);
		refusal.action = ACTION(RETRY_AFTER);
		refusal.detail = "the chain has just been moved on";
		refuse(intake, chain, bringer, &refusal);
		return true;
	}
	if (arrival != ARRIVAL_IN_FLIGHT)
		return false;
	LIST_FOR_EACH (node, &chain->pipeline) {
		const struct batch *batch = LIST_ENTRY(node, struct batch, node);
		if (!batch->dropped && hash_equal(&batch->header.content, &header->content))
			return true; /* The commit of that one will be acked to whoever sends now. */
	}
	refusal.reason = REASON(BUSY);
	refusal.action = ACTION(RETRY_AFTER);
	refusal.detail = "another batch for these heights is under way";
	refuse(intake, chain, bringer, &refusal);
	return true;
}

bool intake_wants(struct intake *intake, struct chain *chain, const struct batch_header *header,
                  const struct bringer *bringer)
{
	enum arrival arrival = arrival_of(intake, chain, &header->claim);
	return !answered(intake, chain, header, bringer, arrival);
}

void intake_offer(struct intake *intake, struct chain *chain, const struct batch_header *header,
                  uint8_t *take_payload, const struct bringer *bringer)
{
	intake->options.counters->batches_received++;
	FAULT_POINT(BATCH_READ);
	enum arrival arrival = arrival_of(intake, chain, &header->claim);
	struct batch *batch = NULL;
	if (!answered(intake, chain, header, bringer, arrival)) {
		batch = batch_new(intake, chain, header, bringer);
		if (batch == NULL) {
			struct refusal refusal = { .reason = REASON(BUSY),
				                   .action = ACTION(RETRY_AFTER),
				                   .content = header->content,
				                   .detail = "out of memory" };
			refuse(intake, chain, bringer, &refusal);
		}
	}
	if (batch == NULL) {
		free(take_payload);
		partials_release(intake->options.partials, header->size);
		intake->options.events->ended(chain, bringer, intake->options.arg);
		return;
	}
	batch->payload = take_payload;
	if (arrival == ARRIVAL_EXPECTED) {
		batch->course = COURSE_APPEND;
		batch->basis =
			(struct basis){ chain->admission.expected, chain->admission.trust_from };
		admission_expect(&chain->admission, &header->claim);
	} else {
		assert(arrival == ARRIVAL_SUSPECT || arrival == ARRIVAL_DUPLICATE);
		batch->course = COURSE_COMPARE;
	}
	batch_send_to_worker(batch);
}

/* ---- the turn ---- */

static void looked_at(struct intake *intake, struct batch *batch)
{
	struct chain *chain = batch->chain;
	assert(batch->stage == BATCH_WITH_WORKER);
	FAULT_POINT(BATCH_VERIFIED);
	batch->stage = BATCH_LOOKED_AT;
	if (batch->dropped)
		batch_end(batch);
	chain_advance(intake, chain);
}

size_t intake_turn(struct intake *intake)
{
	struct list_node jobs;
	list_init(&jobs);
	size_t count = mailbox_take_all(intake->facts, &jobs);
	struct list_node *node;
	while ((node = list_pop(&jobs)) != NULL) {
		struct verify_job *job = LIST_ENTRY(node, struct verify_job, node);
		looked_at(intake, LIST_ENTRY(job, struct batch, job));
	}
	run_queued(intake);
	struct list_node stalled;
	list_init(&stalled);
	while ((node = list_pop(&intake->stalled)) != NULL)
		list_append(&stalled, node);
	while ((node = list_pop(&stalled)) != NULL) {
		struct batch *batch = LIST_ENTRY(node, struct batch, queue);
		if (batch->course >= COURSE_EVIDENCE)
			(void)batch_send_to_writer(batch);
		else
			chain_advance(intake, batch->chain);
	}
	return count;
}

void intake_abandon(struct intake *intake)
{
	intake->abandoned = true;
	struct list_node jobs;
	list_init(&jobs);
	(void)mailbox_take_all(intake->facts, &jobs);
	struct list_node *node;
	while ((node = list_pop(&jobs)) != NULL) {
		struct verify_job *job = LIST_ENTRY(node, struct verify_job, node);
		LIST_ENTRY(job, struct batch, job)->stage = BATCH_LOOKED_AT;
	}
	for (struct chain *chain = chains_next(intake->options.chains, NULL); chain != NULL;
	     chain = chains_next(intake->options.chains, chain)) {
		LIST_FOR_EACH (each, &chain->pipeline) {
			struct batch *batch = LIST_ENTRY(each, struct batch, node);
			if (batch->stage != BATCH_WITH_WRITER)
				batch_end(batch);
		}
	}
	LIST_FOR_EACH (each, &intake->leaving) {
		struct batch *batch = LIST_ENTRY(each, struct batch, node);
		if (batch->stage != BATCH_WITH_WRITER)
			batch_end(batch);
	}
}
