/* delivery_ops.c -- what delivery changes in the spool. Each op is made, submitted, applied by the
 * writer's thread, and comes back to on_done on ours. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/delivery_state.h"

bool delivery_submit(struct delivery *delivery, struct delivery_op *take_op, struct err *err)
{
	take_op->delivery = delivery;
	take_op->op.work = SPOOL_UPKEEP;
	take_op->op.reply = delivery->replies;
	if (!writer_submit(delivery->options.writer, &take_op->op, err))
		return false;
	delivery->ops_under_way++;
	return true;
}

/* For ops that own nothing more than their own memory. */
static bool submit(struct delivery *delivery, struct delivery_op *take_op, struct err *err)
{
	if (delivery_submit(delivery, take_op, err))
		return true;
	free(take_op);
	return false;
}

static void ended(struct delivery *delivery, struct writer_op *op)
{
	delivery->ops_under_way--;
	free(op);
}

/* ---- class numbers ------------------------------------------------------------------------- */

#define CLASSES_RETRY_MS 1000

struct op_classes {
	struct delivery_op base;
	uint64_t asked_number;
	size_t count;
	/* Copied: the configuration may be gone before the writer comes to it. */
	char names[PLAN_CLASS_MAX][CHAIN_NAME_MAX + 1];
	uint8_t numbers[PLAN_CLASS_MAX];
};

static bool apply_classes(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_classes *classes = (struct op_classes *)op;
	for (size_t i = 0; i < classes->count; i++) {
		if (!spool_class_number(txn, classes->names[i], &classes->numbers[i], err))
			return false;
	}
	return true;
}

static void done_classes(struct writer_op *op)
{
	struct delivery *delivery = ((struct delivery_op *)op)->delivery;
	struct op_classes *classes = (struct op_classes *)op;
	bool newest = classes->asked_number == delivery->classes_asked;
	if (newest)
		delivery->classes_at_ms = delivery_now(delivery) + CLASSES_RETRY_MS;
	if (op->ok && newest) {
		memcpy(delivery->class_numbers, classes->numbers, sizeof(classes->numbers));
		delivery->classes_ready = true;
		delivery->maybe_pending = true;
	} else if (!op->ok) {
		log_warn("delivery-classes-failed", "detail=\"%s\"", op->err.message);
	}
	ended(delivery, op);
}

bool delivery_op_classes(struct delivery *delivery, struct err *err)
{
	const struct gateway_config *gateway = &delivery->options.config->gateway;
	struct op_classes *classes = calloc(1, sizeof(*classes));
	delivery->classes_ready = false;
	delivery->classes_at_ms = delivery_now(delivery) + CLASSES_RETRY_MS;
	if (classes == NULL)
		return err_set(err, ZR_NO_MEMORY, "the classes");
	classes->asked_number = ++delivery->classes_asked;
	classes->base.op.apply = apply_classes;
	classes->base.op.on_done = done_classes;
	for (size_t i = 0; i < gateway->class_count && i < PLAN_CLASS_MAX; i++)
		(void)snprintf(classes->names[classes->count++], sizeof(classes->names[0]), "%s",
		               gateway->classes[i].name);
	if (!submit(delivery, &classes->base, err))
		return false;
	delivery->classes_at_ms = INT64_MAX; /* Its answer says more. */
	return true;
}

/* ---- intent -------------------------------------------------------------------------------- */

struct op_intent {
	struct delivery_op base;
	struct anchor_draft draft;
	struct spool_anchor anchor;
	bool full; /* The plan's limits were reached: more is pending. */
};

static void free_intent(struct op_intent *intent)
{
	anchor_draft_fini(&intent->draft);
	free(intent);
}

static bool apply_intent(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_intent *intent = (struct op_intent *)op;
	bool put = spool_anchor_put(txn, &intent->anchor, intent->draft.entries,
	                            intent->draft.anchor.entry_count, err);
	FAULT_POINT(INTENT_STORING);
	return put;
}

static void done_intent(struct writer_op *op)
{
	struct delivery *delivery = ((struct delivery_op *)op)->delivery;
	struct op_intent *intent = (struct op_intent *)op;
	const struct spool_anchor *anchor = &intent->anchor;
	FAULT_POINT(INTENT_STORED);
	delivery->building = false;
	delivery->ops_under_way--;
	if (op->ok) {
		lane_intended(&delivery->lane, anchor->id.seq, &anchor->root, &anchor->key);
		delivery->more_pending = intent->full;
		delivery->progress_ms = delivery_now(delivery);
		log_info("anchor-intended", "seq=%" PRIu64 " entries=%zu deliver=%s bytes=%zu",
		         anchor->id.seq, intent->draft.anchor.entry_count,
		         deliver_name(anchor->deliver), intent->draft.content.size);
	} else {
		/* A chain was frozen or adopted between choosing and spooling: choose again. */
		log_warn("anchor-intent-refused", "seq=%" PRIu64 " detail=\"%s\"", anchor->id.seq,
		         op->err.message);
		delivery_say(delivery, "%s", op->err.message);
	}
	free_intent(intent);
}

/* Plans until some `deliver` has something, or none has. */
static bool choose(struct delivery *delivery, struct anchor_draft *draft, struct err *err)
{
	const struct chain_key *suspects;
	struct anchor_choice choice = { .spool = delivery->options.spool,
		                        .plan = &delivery->plan,
		                        .class_numbers = delivery->class_numbers,
		                        .sink = SPOOL_SINK_MAIN };
	size_t tries = plan_deliver_count(&delivery->plan);
	if (plan_probe(&delivery->plan, &suspects) > 0)
		return anchor_draft_choose(draft, &choice, err);
	while (tries-- > 0 && draft->anchor.entry_count == 0) {
		anchor_draft_fini(draft);
		if (!plan_begin(&delivery->plan) || !anchor_draft_choose(draft, &choice, err))
			return false;
	}
	return true;
}

static void describe(struct delivery *delivery, struct op_intent *intent)
{
	struct anchor_draft *draft = &intent->draft;
	uint64_t seq = 0;
	lane_tail(&delivery->lane, &seq, &draft->anchor.previous);
	draft->id = delivery_anchor_id(delivery, seq);
	draft->anchor.alg = delivery->sink->hash;
}

static void fill(struct delivery *delivery, struct op_intent *intent)
{
	const struct anchor_draft *draft = &intent->draft;
	intent->anchor = (struct spool_anchor){
		.id = draft->id,
		.alg = draft->anchor.alg,
		.deliver = draft->anchor.deliver,
		.previous = draft->anchor.previous,
		.root = draft->anchor.root,
		.key = draft->key,
		.created_ms = clock_wall_ms(delivery->options.clock),
		.sent_at_height = delivery->lane.height_seen,
	};
	intent->full = delivery->plan.entry_count >= delivery->plan.limits.entry_max ||
	               delivery->plan.block_count >= delivery->plan.limits.block_max ||
	               delivery->plan.byte_count >= delivery->plan.limits.byte_max;
}

/* Suspects that have nothing to send any more cannot be tried: let go of them. False: there were none. */
static bool forget_suspects(struct delivery *delivery)
{
	const struct chain_key *suspects;
	bool any = false;
	while (plan_probe(&delivery->plan, &suspects) > 0) {
		struct chain_key first = suspects[0];
		plan_cleared(&delivery->plan, &first);
		any = true;
	}
	return any;
}

/* ---- a chain whose rows cannot be read: it is held, the others go on (P6) ---- */

struct op_hold {
	struct delivery_op base;
	struct spool_chain_state_change change; /* Its reason is the field below. */
	char reason[DELIVERY_REASON_SIZE];
};

static bool apply_hold(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_hold *hold = (struct op_hold *)op;
	hold->change.reason = hold->reason;
	return spool_chain_set_state(txn, &hold->change, err);
}

static void tell_frozen(struct delivery *delivery, const struct chain_key *chain,
                        const char *reason)
{
	struct delivery_notice *notice = delivery_notice_new(DELIVERY_CHAIN_FROZEN);
	if (notice == NULL)
		return;
	notice->chain = *chain;
	(void)snprintf(notice->reason, sizeof(notice->reason), "%s", reason);
	delivery_tell(delivery, notice);
}

static void done_hold(struct writer_op *op)
{
	struct op_hold *hold = (struct op_hold *)op;
	struct delivery *delivery = hold->base.delivery;
	if (op->ok) {
		log_error("chain-held", "detail=\"%s\"", hold->reason);
		tell_frozen(delivery, &hold->change.chain, hold->reason);
		plan_cleared(&delivery->plan, &hold->change.chain);
		delivery->more_pending = true;
	} else {
		log_error("chain-not-held", "detail=\"%s\" why=\"%s\"", hold->reason,
		          op->err.message);
	}
	ended(delivery, op);
}

static void hold_culprit(struct delivery *delivery, const struct chain_key *chain,
                         const struct err *why)
{
	struct op_hold *hold = calloc(1, sizeof(*hold));
	struct err err;
	if (hold == NULL)
		return; /* The next attempt to build meets it again. */
	hold->base.op.apply = apply_hold;
	hold->base.op.on_done = done_hold;
	(void)snprintf(hold->reason, sizeof(hold->reason), "unreadable: %.140s", why->message);
	hold->change = (struct spool_chain_state_change){
		.chain = *chain,
		.state = SPOOL_CHAIN_FROZEN,
		.who = "gateway",
		.delivery_held = true,
		.now_ms = clock_wall_ms(delivery->options.clock),
	};
	if (!submit(delivery, &hold->base, &err))
		log_error("chain-not-held", "why=\"%s\"", err.message);
}

bool delivery_op_intent(struct delivery *delivery, bool *out_nothing, struct err *err)
{
	*out_nothing = false;
	struct op_intent *intent = calloc(1, sizeof(*intent));
	if (intent == NULL)
		return err_set(err, ZR_NO_MEMORY, "an anchor");
	intent->base.op.apply = apply_intent;
	intent->base.op.on_done = done_intent;
	anchor_draft_init(&intent->draft);
	if (!choose(delivery, &intent->draft, err))
		goto fail;
	if (intent->draft.anchor.entry_count == 0 && forget_suspects(delivery) &&
	    !choose(delivery, &intent->draft, err))
		goto fail;
	if (intent->draft.anchor.entry_count == 0) {
		*out_nothing = true;
		goto fail;
	}
	describe(delivery, intent);
	if (!anchor_draft_seal(&intent->draft, delivery->options.spool, err))
		goto fail;
	fill(delivery, intent);
	if (!delivery_submit(delivery, &intent->base, err))
		goto fail;
	delivery->building = true;
	return true;

fail:
	if (!*out_nothing && intent->draft.has_culprit)
		hold_culprit(delivery, &intent->draft.culprit, err);
	free_intent(intent);
	return false;
}

/* ---- state, for people and for `pending` ---------------------------------------------------- */

struct op_state {
	struct delivery_op base;
	struct spool_anchor anchor;
};

static bool apply_state(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	bool put = spool_anchor_update(txn, &((struct op_state *)op)->anchor, err);
	FAULT_POINT(STATE_STORING);
	return put;
}

static void done_state(struct writer_op *op)
{
	FAULT_POINT(STATE_STORED);
	ended(((struct delivery_op *)op)->delivery,
	      op); /* A lost one is harmless: after a restart everything is UNKNOWN. */
}

void delivery_op_state(struct delivery *delivery, const struct lane_anchor *anchor)
{
	struct op_state *state = calloc(1, sizeof(*state));
	if (state == NULL)
		return;
	state->base.op.apply = apply_state;
	state->base.op.on_done = done_state;
	int64_t wait_ms = anchor->next_try_ms - delivery_now(delivery);
	state->anchor = (struct spool_anchor){
		.id = delivery_anchor_id(delivery, anchor->seq),
		.state = anchor->state,
		.attempts = anchor->attempts,
		.sent_at_height = anchor->sent_height,
		.next_try_ms = clock_wall_ms(delivery->options.clock) + (wait_ms > 0 ? wait_ms : 0),
	};
	(void)snprintf(state->anchor.detail, sizeof(state->anchor.detail), "%s", delivery->reason);
	struct err err;
	if (!submit(delivery, &state->base, &err))
		log_debug("anchor-state-unsaved", "seq=%" PRIu64 " detail=\"%s\"", anchor->seq,
		          err.message);
}

/* ---- final --------------------------------------------------------------------------------- */

struct op_final {
	struct delivery_op base;
	struct spool_anchor_id id;
	struct delivery_receipt receipt;
};

static bool apply_final(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_final *final = (struct op_final *)op;
	bool put = spool_anchor_finalize(txn, &final->id, &final->receipt.receipt, err);
	FAULT_POINT(FINAL_STORING);
	return put;
}

static void done_final(struct writer_op *op)
{
	struct delivery *delivery = ((struct delivery_op *)op)->delivery;
	struct op_final *final = (struct op_final *)op;
	uint64_t seq = final->id.seq;
	FAULT_POINT(FINAL_STORED);
	if (op->ok) {
		lane_finished(&delivery->lane, seq);
		delivery->progress_ms = delivery_now(delivery);
		log_info("anchor-final", "seq=%" PRIu64, seq);
		/* Without memory for it the edges learn of it at their next hello. */
		delivery_tell_anchor(delivery, DELIVERY_ANCHOR_FINAL, seq, "");
	} else {
		/* Asked again, and written again: finalizing twice changes nothing. */
		struct lane_anchor *anchor = lane_find(&delivery->lane, seq);
		assert(anchor != NULL);
		anchor->finishing = false;
		anchor->next_try_ms = delivery_now(delivery) + delivery->lane.options.retry_max_ms;
		log_error("anchor-receipt-unsaved", "seq=%" PRIu64 " detail=\"%s\"", seq,
		          op->err.message);
	}
	buffer_fini(&final->receipt.evidence);
	if (op->ok)
		delivery_restore_go_on(delivery);
	else
		delivery_restore_stop(delivery, &op->err);
	ended(delivery, op);
}

/* The gateway's one signature per final anchor. */
bool delivery_sign_receipt(struct delivery *delivery, const struct receipt_root *root,
                           struct bytes evidence, struct delivery_receipt *out_receipt,
                           struct err *err)
{
	struct receipt_root complete = *root;
	uint8_t record[RECEIPT_ROOT_SIZE];
	*out_receipt = (struct delivery_receipt){ .receipt = { .final_ms = root->time_ms } };
	buffer_put(&out_receipt->evidence, evidence);
	complete.evidence_hash = sha256(evidence);
	memcpy(complete.store_uuid, spool_uuid(delivery->options.spool),
	       sizeof(complete.store_uuid));
	receipt_root_encode(&complete, record);
	if (!buffer_ok(&out_receipt->evidence, err) ||
	    !key_sign(delivery->receipt_key, BYTES_OF(record), &out_receipt->signature, err)) {
		buffer_fini(&out_receipt->evidence);
		return false;
	}
	FAULT_POINT(RECEIPT_SIGNED);
	out_receipt->key_id = key_id(delivery->receipt_key);
	out_receipt->receipt.evidence = buffer_bytes(&out_receipt->evidence);
	out_receipt->receipt.signature = signature_bytes(&out_receipt->signature);
	out_receipt->receipt.key_id = (struct bytes){ out_receipt->key_id.bytes, 8 };
	return true;
}

static bool sign_final(struct delivery *delivery, const struct lane_anchor *anchor,
                       struct bytes evidence, struct op_final *final, struct err *err)
{
	struct spool_anchor stored;
	if (!spool_anchor(delivery->options.spool, &final->id, &stored, err))
		return false;
	struct receipt_root root = {
		.alg = stored.alg, /* The configuration may have changed since. */
		.lane = delivery->lane.options.lane,
		.seq = anchor->seq,
		.root = anchor->root,
		.key = anchor->key,
		.time_ms = clock_wall_ms(delivery->options.clock),
	};
	return delivery_sign_receipt(delivery, &root, evidence, &final->receipt, err);
}

bool delivery_op_final(struct delivery *delivery, const struct lane_anchor *anchor,
                       struct bytes evidence, struct err *err)
{
	struct op_final *final = calloc(1, sizeof(*final));
	if (final == NULL)
		return err_set(err, ZR_NO_MEMORY, "the receipt of anchor %" PRIu64, anchor->seq);
	final->base.op.apply = apply_final;
	final->base.op.on_done = done_final;
	final->id = delivery_anchor_id(delivery, anchor->seq);
	if (!sign_final(delivery, anchor, evidence, final, err)) {
		free(final);
		return err_wrap(err, "receipt of anchor %" PRIu64, anchor->seq);
	}
	if (!delivery_submit(delivery, &final->base, err)) {
		buffer_fini(&final->receipt.evidence);
		free(final);
		return false;
	}
	return true;
}

/* ---- void ---------------------------------------------------------------------------------- */

#define VOID_ANCHORS_MAX 64 /* In one transaction. */

struct op_void {
	struct delivery_op base;
	struct spool_anchor_id id; /* The oldest that goes. */
	uint64_t cause_seq;        /* Confirmed absent: why all of them go. */
	uint64_t first_seq;        /* The oldest that went by now. */
	bool freezes;
	struct chain_key culprit;
	const char *who;
	char reason[DELIVERY_REASON_SIZE];
	int64_t now_ms;
};

bool delivery_void_anchors(struct spool_txn *txn, const struct spool_anchor_id *from,
                           uint64_t *out_first, struct err *err)
{
	struct spool_lane lane;
	if (!spool_lane_in(txn, from->sink, from->lane, &lane, err))
		return false;
	uint64_t first = from->seq;
	if (lane.newest_seq >= first + VOID_ANCHORS_MAX)
		first = lane.newest_seq - VOID_ANCHORS_MAX + 1;
	for (uint64_t seq = lane.newest_seq; seq >= first; seq--) {
		struct spool_anchor rejected = { .id = *from, .state = SPOOL_ANCHOR_REJECTED };
		rejected.id.seq = seq;
		if (!spool_anchor_update(txn, &rejected, err) ||
		    !spool_anchor_void(txn, &rejected.id, err))
			return false;
	}
	*out_first = first;
	return true;
}

static bool apply_void(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_void *voids = (struct op_void *)op;
	if (!delivery_void_anchors(txn, &voids->id, &voids->first_seq, err))
		return false;
	FAULT_POINT(VOID_STORING);
	if (!voids->freezes)
		return true;
	struct spool_chain_state_change change = {
		.chain = voids->culprit,
		.state = SPOOL_CHAIN_FROZEN,
		.reason = voids->reason,
		.who = voids->who,
		.delivery_held = true,
		.now_ms = voids->now_ms,
	};
	return spool_chain_set_state(txn, &change, err);
}

static void done_void(struct writer_op *op)
{
	struct delivery *delivery = ((struct delivery_op *)op)->delivery;
	struct op_void *voids = (struct op_void *)op;
	struct lane_anchor *cause = NULL;
	FAULT_POINT(VOID_STORED);
	if (op->ok) {
		lane_voided(&delivery->lane, voids->first_seq);
		delivery->maybe_pending = true;
		delivery->more_pending = true;
		log_warn("anchor-void", "seq=%" PRIu64 " detail=\"%s\"", voids->first_seq,
		         voids->reason);
		cause = lane_find(&delivery->lane, voids->cause_seq);
		if (cause != NULL)
			cause->asked = false; /* Only newer ones went: go on. */
	} else {
		lane_deferred(&delivery->lane, LANE_VOID, voids->cause_seq, delivery_now(delivery));
		log_error("anchor-void-unsaved", "seq=%" PRIu64 " detail=\"%s\"", voids->cause_seq,
		          op->err.message);
	}
	if (op->ok && voids->freezes)
		tell_frozen(delivery, &voids->culprit, voids->reason);
	ended(delivery, op);
}

/* An anchor that is too large is split by making the next ones smaller. One batch cannot be split. */
static bool shrink(struct delivery *delivery, const struct entry *entries, size_t count)
{
	uint64_t blocks = 0;
	for (size_t i = 0; i < count; i++)
		blocks += entries[i].to - entries[i].from + 1;
	struct plan_limits *limits = &delivery->plan.limits;
	if (count == 1 && (blocks == 1 || limits->block_max == 1))
		return false;
	limits->block_max = blocks > 1 ? blocks / 2 : 1;
	limits->byte_max = limits->byte_max > 2 ? limits->byte_max / 2 : 1;
	return true;
}

static bool find_culprit(struct delivery *delivery, const struct entry *entries, size_t count,
                         struct op_void *voids, struct err *err)
{
	struct chain_key *chains = calloc(count, sizeof(*chains));
	if (chains == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu chains under suspicion", count);
	for (size_t i = 0; i < count; i++)
		chains[i] = chain_key(&entries[i].chain);
	bool good =
		plan_refused(&delivery->plan, chains, count, &voids->freezes, &voids->culprit, err);
	free(chains);
	return good;
}

/* Who caused it? Sets voids->freezes and the culprit where that is known by now. Reads entries alone:
 * what they speak of may be what cannot be read. */
static bool judge(struct delivery *delivery, const struct lane_anchor *anchor,
                  struct op_void *voids, struct err *err)
{
	struct entry *entries = NULL;
	size_t count = 0;
	bool good = true;
	if (!spool_anchor_entries(delivery->options.spool, &voids->id, &entries, &count, err))
		return false;
	if (anchor->reject_size && shrink(delivery, entries, count)) {
		voids->freezes = false;
	} else if (anchor->reject_entry >= 0 && (size_t)anchor->reject_entry < count) {
		voids->freezes = true;
		voids->culprit = chain_key(&entries[anchor->reject_entry].chain);
		plan_cleared(&delivery->plan, &voids->culprit);
	} else if (!anchor->unreadable) {
		good = find_culprit(delivery, entries, count, voids, err);
	}
	free(entries);
	return good;
}

/* Those that the lane does not know yet go first, and cause nothing. */
static void choose_void(const struct delivery *delivery, const struct lane_anchor *cause,
                        struct op_void *voids)
{
	const struct lane *lane = &delivery->lane;
	uint64_t seq = lane->more_open ? lane->final_seq + lane->anchor_count + 1 : cause->seq;
	voids->id = delivery_anchor_id(delivery, seq);
	voids->cause_seq = cause->seq;
	if (cause->unreadable) {
		voids->who = "gateway";
		(void)snprintf(voids->reason, sizeof(voids->reason), "unreadable: %.140s",
		               delivery->unreadable);
	} else {
		voids->who = "main chain";
		(void)snprintf(voids->reason, sizeof(voids->reason),
		               "refused by the main chain: %.100s", delivery->reason);
	}
}

bool delivery_op_void(struct delivery *delivery, uint64_t seq, struct err *err)
{
	const struct lane_anchor *anchor = lane_find(&delivery->lane, seq);
	assert(anchor != NULL);
	struct op_void *voids = calloc(1, sizeof(*voids));
	if (voids == NULL)
		return err_set(err, ZR_NO_MEMORY, "taking anchor %" PRIu64 " back", seq);
	voids->base.op.apply = apply_void;
	voids->base.op.on_done = done_void;
	voids->now_ms = clock_wall_ms(delivery->options.clock);
	choose_void(delivery, anchor, voids);
	if (!delivery->lane.more_open && !judge(delivery, anchor, voids, err)) {
		free(voids);
		return false;
	}
	return submit(delivery, &voids->base, err);
}

/* ---- pruning ------------------------------------------------------------------------------- */

#define PRUNE_BATCHES_MAX 256
#define PRUNE_INTERVAL_MS 10000

struct op_prune {
	struct delivery_op base;
	struct spool_prune_options options;
	struct spool_prune_result result;
};

static bool apply_prune(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_prune *prune = (struct op_prune *)op;
	bool pruned = spool_prune_slice(txn, &prune->options, &prune->result, err);
	FAULT_POINT(PRUNING);
	return pruned;
}

static void done_prune(struct writer_op *op)
{
	struct delivery *delivery = ((struct delivery_op *)op)->delivery;
	struct op_prune *prune = (struct op_prune *)op;
	bool more = op->ok && prune->result.more;
	FAULT_POINT(PRUNED);
	delivery->pruning = false;
	delivery->prune_at_ms = delivery_now(delivery) + (more ? 0 : PRUNE_INTERVAL_MS);
	if (op->ok && prune->result.batch_count > 0)
		log_info("spool-pruned", "batches=%" PRIu32 " bytes=%" PRIu64,
		         prune->result.batch_count, prune->result.payload_bytes);
	if (!op->ok)
		log_warn("spool-prune-failed", "detail=\"%s\"", op->err.message);
	ended(delivery, op);
}

bool delivery_op_prune(struct delivery *delivery, struct err *err)
{
	const struct config_spool *spool = &delivery->options.config->gateway.spool;
	struct op_prune *prune = calloc(1, sizeof(*prune));
	if (prune == NULL)
		return err_set(err, ZR_NO_MEMORY, "pruning");
	prune->base.op.apply = apply_prune;
	prune->base.op.on_done = done_prune;
	prune->options = (struct spool_prune_options){
		.now_ms = clock_wall_ms(delivery->options.clock),
		.retention_ms = (int64_t)spool->retention_ms,
		.retention_size_bytes = spool->retention_size_bytes,
		.history_ms = (int64_t)spool->history_ms,
		.batch_max = PRUNE_BATCHES_MAX,
	};
	if (!submit(delivery, &prune->base, err))
		return false;
	delivery->pruning = true;
	return true;
}
