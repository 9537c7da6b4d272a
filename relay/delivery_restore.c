/* delivery_restore.c -- one side was restored from an older copy, and an operator said "adopt lane".
 *
 *     our spool is the copy: what is open is settled first (it may have arrived), then each anchor that
 *     we forgot is read from the main chain, checked against its evidence, and taken over, until we
 *     stand where the main chain stands. Nothing of them is submitted again (P3).
 *
 *     the main chain is the copy: anchors above its head are final no more; they are submitted again,
 *     in their order, under their old keys.
 *
 * The lane stands still meanwhile. Stopped half-way, by a crash or a main chain that does not answer,
 * it is still halted, and the next "adopt lane" goes on from there.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/log.h"
#include "relay/delivery_state.h"
#include "spool/restore.h"

#define REWIND_ANCHORS_MAX 64 /* In one transaction. */

/* What is open in the lane of a former configuration would never be sent again, and would hold up its
 * chains in this one for ever. */
static bool check_other_lanes(const struct delivery *delivery, uint16_t lane, struct err *err)
{
	struct spool_anchor_id open;
	if (!spool_open_in_other_lane(delivery->options.spool, SPOOL_SINK_MAIN, lane, &open, err))
		return false;
	return open.seq == 0 ||
	       err_set(err, ZR_STATE,
	               "main-chain.lane is %u, and anchor %" PRIu64
	               " of lane %u is not final: start with that lane until it is",
	               (unsigned)lane, open.seq, (unsigned)open.lane);
}

bool delivery_load_lane(struct delivery *delivery, struct err *err)
{
	struct lane_options options = delivery_lane_options(delivery->options.config);
	struct spool *spool = delivery->options.spool;
	struct spool_lane stored;
	struct hash final_root = { { 0 } };
	uint64_t chance = 0;
	random_bytes(&chance, sizeof(chance));
	struct spool_totals totals;
	if (!spool_lane(spool, SPOOL_SINK_MAIN, options.lane, &stored, err) ||
	    !spool_totals(spool, &totals, err))
		return false;
	/* Where both are open, one of the two has to end first. */
	if (stored.newest_seq == stored.final_seq &&
	    !check_other_lanes(delivery, options.lane, err))
		return false;
	delivery->lane.options = options;
	struct spool_anchor_id id = delivery_anchor_id(delivery, stored.final_seq);
	struct spool_anchor anchor;
	if (stored.final_seq > 0) {
		if (!spool_anchor(spool, &id, &anchor, err))
			return false;
		final_root = anchor.root;
	}
	lane_init(&delivery->lane, &options, stored.final_seq, &final_root, chance);
	for (id.seq++; id.seq <= stored.newest_seq; id.seq++) {
		if (delivery->lane.anchor_count == LANE_OPEN_MAX) {
			delivery->lane.more_open = true;
			break;
		}
		if (!spool_anchor(spool, &id, &anchor, err))
			return false;
		lane_add_open(&delivery->lane, id.seq, &anchor.root, &anchor.key,
		              anchor.sent_at_height);
	}
	if (totals.restored_ms != 0)
		lane_stop(&delivery->lane, LANE_HALT_STORE_RESTORED);
	return true;
}

/* ---- ends ---------------------------------------------------------------------------------- */

/* The loop keeps heights of its own, and its sessions told them to agents. Only at the end: a chain that
 * was told half-way takes blocks that the next anchor may have, too. */
static void tell_chains(struct delivery *delivery)
{
	struct delivery_notice *notice = delivery_notice_new(DELIVERY_CHAINS_CHANGED);
	if (notice != NULL) /* Otherwise they find out at the first batch that does not fit. */
		delivery_tell(delivery, notice);
}

static struct delivery_request *leave(struct delivery *delivery)
{
	struct delivery_request *request = delivery->restore.request;
	if (delivery->restore.imported > 0)
		tell_chains(delivery);
	buffer_fini(&delivery->restore.content);
	delivery->restore.request = NULL;
	return request;
}

/* request->err says why. The lane is halted as before. */
static void give_up(struct delivery *delivery)
{
	struct delivery_request *request = leave(delivery);
	log_warn("lane-adoption-stopped", "final=%" PRIu64 " head=%" PRIu64 " detail=\"%s\"",
	         delivery->lane.final_seq, delivery->restore.head_seq, request->err.message);
	delivery_answer_error(request);
}

static void succeed(struct delivery *delivery)
{
	const struct delivery_restore restore = delivery->restore;
	struct delivery_request *request = leave(delivery);
	log_warn("lane-adopted",
	         "head=%" PRIu64 " settled=%" PRIu32 " imported=%" PRIu32 " void=%" PRIu32
	         " again=%" PRIu32 " blocks=%" PRIu64 " lost=%" PRIu64 " who=%s reason=\"%s\"",
	         restore.head_seq, restore.settled, restore.imported, restore.voided,
	         restore.rewound, restore.blocks_here, restore.heights_lost, request->user,
	         request->reason);
	lane_restart(&delivery->lane, delivery_now(delivery));
	delivery->maybe_pending = true;
	delivery_show_lane(delivery, request);
	delivery_wake(delivery);
}

static struct err *why(struct delivery *delivery)
{
	return &delivery->restore.request->err;
}

/* ---- what was open when the copy was made ---------------------------------------------------- */

struct op_unsend {
	struct delivery_op base;
	struct spool_anchor_id id;
	uint64_t first_seq, newest_seq; /* As they were taken back. */
};

static bool apply_unsend(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_unsend *unsend = (struct op_unsend *)op;
	struct spool_lane lane;
	if (!spool_lane_in(txn, unsend->id.sink, unsend->id.lane, &lane, err) ||
	    !delivery_void_anchors(txn, &unsend->id, &unsend->first_seq, err))
		return false;
	unsend->newest_seq = lane.newest_seq;
	return true;
}

static void done_unsend(struct writer_op *op)
{
	struct op_unsend *unsend = (struct op_unsend *)op;
	struct delivery *delivery = unsend->base.delivery;
	delivery->ops_under_way--;
	if (op->ok) {
		delivery->restore.voided += (uint32_t)(unsend->newest_seq + 1 - unsend->first_seq);
		lane_voided(&delivery->lane, unsend->first_seq);
		delivery_restore_go_on(delivery);
	} else {
		*why(delivery) = op->err;
		give_up(delivery);
	}
	free(unsend);
}

/* The main chain has another anchor at that place: ours never arrived, and never will. */
static bool unsend(struct delivery *delivery, uint64_t seq, struct err *err)
{
	struct op_unsend *unsend = calloc(1, sizeof(*unsend));
	if (unsend == NULL)
		return err_set(err, ZR_NO_MEMORY, "taking anchor %" PRIu64 " back", seq);
	unsend->base.op.apply = apply_unsend;
	unsend->base.op.on_done = done_unsend;
	unsend->id = delivery_anchor_id(delivery, seq);
	if (delivery_submit(delivery, &unsend->base, err))
		return true;
	free(unsend);
	return false;
}

static bool settle_open(struct delivery *delivery, const struct mainchain_answer *answer,
                        struct err *err)
{
	struct lane_anchor *anchor = &delivery->lane.anchors[0];
	if (answer->outcome == MAINCHAIN_ABSENT)
		return unsend(delivery, anchor->seq, err);
	if (answer->outcome != MAINCHAIN_FINAL)
		return err_set(err, ZR_UNAVAILABLE,
		               "anchor %" PRIu64
		               " is not final yet, or not answered for: try again",
		               anchor->seq);
	anchor->finishing = delivery_op_final(delivery, anchor, answer->evidence, err);
	delivery->restore.settled += anchor->finishing ? 1 : 0;
	return anchor->finishing;
}

/* ---- what we forgot -------------------------------------------------------------------------- */

struct op_import {
	struct delivery_op base;
	struct spool_import import;
	struct spool_import_result result;
	struct delivery_receipt receipt;
	struct anchor_decoded *decoded; /* Owned. */
	char who[SPOOL_WHO_MAX + 1], why[SPOOL_REASON_MAX + 1];
};

static void free_import(struct op_import *import)
{
	buffer_fini(&import->receipt.evidence);
	anchor_decoded_free(import->decoded);
	free(import);
}

static bool apply_import(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_import *import = (struct op_import *)op;
	return spool_anchor_import(txn, &import->import, &import->result, err);
}

static void done_import(struct writer_op *op)
{
	struct op_import *import = (struct op_import *)op;
	struct delivery *delivery = import->base.delivery;
	struct delivery_restore *restore = &delivery->restore;
	delivery->ops_under_way--;
	if (op->ok) {
		struct lane *lane = &delivery->lane;
		enum lane_halt halt = lane->halt;
		struct lane_options options = lane->options;
		lane_init(lane, &options, import->import.id.seq, &import->import.anchor->root,
		          lane->chance);
		lane_stop(lane, halt);
		restore->imported++;
		restore->blocks_here += import->result.blocks_here;
		restore->heights_lost += import->result.heights_lost;
		log_warn("anchor-imported",
		         "seq=%" PRIu64 " chains=%" PRIu32 " blocks=%" PRIu64 " lost=%" PRIu64,
		         import->import.id.seq, import->result.known_chains,
		         import->result.blocks_here, import->result.heights_lost);
		delivery_restore_go_on(delivery);
	} else {
		*why(delivery) = op->err;
		give_up(delivery);
	}
	free_import(import);
}

static void describe(struct delivery *delivery, struct op_import *import)
{
	const struct delivery_request *request = delivery->restore.request;
	(void)snprintf(import->who, sizeof(import->who), "operator %.50s", request->user);
	(void)snprintf(import->why, sizeof(import->why), "restored: %.170s", request->reason);
	import->import.anchor = anchor_decoded_view(import->decoded);
	import->import.id = delivery_anchor_id(delivery, import->import.anchor->seq);
	import->import.key =
		anchor_key(import->import.anchor->alg, buffer_bytes(&delivery->restore.content));
	import->import.who = import->who;
	import->import.why = import->why;
	import->import.now_ms = clock_wall_ms(delivery->options.clock);
}

static bool import_anchor(struct delivery *delivery, struct bytes evidence, struct err *err)
{
	struct op_import *import = calloc(1, sizeof(*import));
	if (import == NULL)
		return err_set(err, ZR_NO_MEMORY, "an anchor");
	import->base.op.apply = apply_import;
	import->base.op.on_done = done_import;
	if (!anchor_content_decode(buffer_bytes(&delivery->restore.content), &import->decoded, err))
		goto fail;
	describe(delivery, import);
	const struct anchor *anchor = import->import.anchor;
	struct receipt_root root = { .alg = anchor->alg,
		                     .lane = anchor->lane,
		                     .seq = anchor->seq,
		                     .root = anchor->root,
		                     .key = import->import.key,
		                     .time_ms = import->import.now_ms };
	if (!delivery_sign_receipt(delivery, &root, evidence, &import->receipt, err))
		goto fail;
	import->import.receipt = import->receipt.receipt;
	if (delivery_submit(delivery, &import->base, err))
		return true;

fail:
	free_import(import);
	return false;
}

/* The content came: now its evidence. */
static bool ask_evidence(struct delivery *delivery, struct bytes content, struct err *err)
{
	struct delivery_restore *restore = &delivery->restore;
	struct anchor_decoded *decoded;
	buffer_clear(&restore->content);
	buffer_put(&restore->content, content);
	if (!buffer_ok(&restore->content, err) ||
	    !anchor_content_decode(buffer_bytes(&restore->content), &decoded, err))
		return false;
	struct hash key =
		anchor_key(anchor_decoded_view(decoded)->alg, buffer_bytes(&restore->content));
	anchor_decoded_free(decoded);
	return delivery_ask(delivery, restore->request, MAINCHAIN_LOOKUP, 0, &key, err);
}

static bool take_over(struct delivery *delivery, const struct mainchain_answer *answer,
                      struct err *err)
{
	if (answer->call == MAINCHAIN_CONTENT && answer->outcome == MAINCHAIN_OK)
		return ask_evidence(delivery, answer->content_bytes, err);
	if (answer->call == MAINCHAIN_LOOKUP && answer->outcome == MAINCHAIN_FINAL)
		return import_anchor(delivery, answer->evidence, err);
	return err_set(err, ZR_UNAVAILABLE,
	               "anchor %" PRIu64 " is not final yet, or the main chain does not give it: "
	               "try again",
	               delivery->lane.final_seq + 1);
}

/* ---- what the main chain lost ---------------------------------------------------------------- */

struct op_rewind {
	struct delivery_op base;
	struct spool_anchor_id last;
	bool more;
};

static bool rewind_lane(struct delivery *delivery, struct err *err);

static bool apply_rewind(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct op_rewind *rewind = (struct op_rewind *)op;
	return spool_lane_rewind(txn, &rewind->last, REWIND_ANCHORS_MAX, &rewind->more, err);
}

static void done_rewind(struct writer_op *op)
{
	struct op_rewind *rewind = (struct op_rewind *)op;
	struct delivery *delivery = rewind->base.delivery;
	uint64_t final_before = delivery->lane.final_seq;
	enum lane_halt halt = delivery->lane.halt;
	bool more = rewind->more;
	delivery->ops_under_way--;
	struct err *err = why(delivery);
	bool good = op->ok || (*err = op->err, false);
	free(rewind);
	good = good && delivery_load_lane(delivery, err);
	if (good) {
		lane_stop(&delivery->lane, halt);
		for (size_t i = 0; i < delivery->lane.anchor_count; i++)
			delivery->lane.anchors[i].sent_height = 0;
		delivery->restore.rewound += (uint32_t)(final_before - delivery->lane.final_seq);
	}
	if (good && !more) /* What the adapter knows of heights is of the chain that is gone. */
		good = delivery_open_mainchain(delivery, err);
	if (!good || (more && !rewind_lane(delivery, err)))
		give_up(delivery);
	else if (!more)
		succeed(delivery);
}

static bool rewind_lane(struct delivery *delivery, struct err *err)
{
	struct op_rewind *rewind = calloc(1, sizeof(*rewind));
	if (rewind == NULL)
		return err_set(err, ZR_NO_MEMORY, "rewinding the lane");
	rewind->base.op.apply = apply_rewind;
	rewind->base.op.on_done = done_rewind;
	rewind->last = delivery_anchor_id(delivery, delivery->restore.head_seq);
	if (delivery_submit(delivery, &rewind->base, err))
		return true;
	free(rewind);
	return false;
}

/* "adopt store": the operator takes the spool as it is. */
void delivery_store_adopted(struct delivery *delivery)
{
	struct spool_totals totals;
	if (delivery->lane.halt != LANE_HALT_STORE_RESTORED || delivery->restore.request != NULL ||
	    !spool_totals(delivery->options.spool, &totals, NULL) || totals.restored_ms != 0)
		return;
	log_warn("lane-store-adopted", "lane=%u final=%" PRIu64,
	         (unsigned)delivery->lane.options.lane, delivery->lane.final_seq);
	lane_restart(&delivery->lane, delivery_now(delivery));
}

/* ---- step by step ---------------------------------------------------------------------------- */

void delivery_restore_go_on(struct delivery *delivery)
{
	struct delivery_restore *restore = &delivery->restore;
	struct lane *lane = &delivery->lane;
	if (restore->request == NULL)
		return;
	struct err *err = why(delivery);
	bool good = true;
	if (lane->anchor_count > 0) {
		struct hash key = lane->anchors[0].key;
		good = delivery_ask(delivery, restore->request, MAINCHAIN_LOOKUP, 0, &key, err);
	} else if (lane->final_seq < restore->head_seq) {
		good = delivery_ask(delivery, restore->request, MAINCHAIN_CONTENT,
		                    lane->final_seq + 1, NULL, err);
	} else if (lane->final_seq > restore->head_seq ||
	           !hash_equal(&lane->final_root, &restore->head_root)) {
		good = err_set(err, ZR_CORRUPT, "the main chain's anchors do not lead to its head");
	} else {
		succeed(delivery);
	}
	if (!good)
		give_up(delivery);
}

void delivery_restore_stop(struct delivery *delivery, const struct err *err)
{
	if (delivery->restore.request == NULL)
		return;
	*why(delivery) = *err;
	give_up(delivery);
}

void delivery_restore_on_answer(struct delivery *delivery, const struct mainchain_answer *answer)
{
	struct err *err = why(delivery);
	bool good = delivery->lane.anchor_count > 0 ? settle_open(delivery, answer, err)
	                                            : take_over(delivery, answer, err);
	if (!good)
		give_up(delivery);
}

void delivery_restore_begin(struct delivery *delivery, struct delivery_request *request,
                            const struct mainchain_answer *head)
{
	assert(delivery->restore.request == NULL);
	if (delivery->building || lane_is_being_written(&delivery->lane)) {
		(void)err_set(&request->err, ZR_FULL,
		              "a change of the lane is being written; try again");
		delivery_answer_error(request);
		return;
	}
	delivery->restore = (struct delivery_restore){ .request = request,
		                                       .head_seq = head->seq,
		                                       .head_root = head->root,
		                                       .content = BUFFER_EMPTY };
	if (delivery->lane.halt == LANE_HALT_SPOOL_RESTORED ||
	    delivery->lane.halt == LANE_HALT_STORE_RESTORED) {
		delivery_restore_go_on(delivery);
		return;
	}
	bool good = delivery->lane.halt == LANE_HALT_MAINCHAIN_RESTORED &&
	            head->seq < delivery->lane.final_seq;
	if (!good)
		(void)err_set(&request->err, ZR_STATE, "the lane did not stop for a restore (%s)",
		              lane_halt_name(delivery->lane.halt));
	if (!good || !rewind_lane(delivery, &request->err))
		give_up(delivery);
}
