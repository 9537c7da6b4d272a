/* delivery_calls.c -- calls to the main chain, uploads, and what their answers set in motion. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/delivery_state.h"
#include "spool/audit.h"

static struct delivery_call *call_new(struct delivery *delivery, enum lane_step step, uint64_t seq,
                                      const struct hash *key)
{
	for (size_t i = 0; i < DELIVERY_CALLS_MAX; i++) {
		struct delivery_call *call = &delivery->calls[i];
		if (call->token != 0)
			continue;
		*call = (struct delivery_call){ .token = ++delivery->next_token,
			                        .step = step,
			                        .seq = seq };
		if (key != NULL)
			call->key = *key;
		return call;
	}
	return NULL;
}

static struct delivery_call *call_find(struct delivery *delivery, uint64_t token)
{
	for (size_t i = 0; i < DELIVERY_CALLS_MAX; i++) {
		if (delivery->calls[i].token == token)
			return &delivery->calls[i];
	}
	return NULL;
}

bool delivery_has_calls(const struct delivery *delivery)
{
	for (size_t i = 0; i < DELIVERY_CALLS_MAX; i++) {
		if (delivery->calls[i].token != 0)
			return true;
	}
	return false;
}

/* ---- uploads ------------------------------------------------------------------------------- */

void delivery_upload_fini(struct delivery_upload *upload)
{
	uint64_t number = upload->number;
	anchor_draft_fini(&upload->draft);
	free(upload->done);
	memset(upload, 0, sizeof(*upload));
	upload->number = number + 1;
}

/* A step that failed here, not at the main chain; draft: what was read back for it, or NULL. */
static void step_failed(struct delivery *delivery, enum lane_step step, uint64_t seq,
                        const struct anchor_draft *draft, const struct err *err)
{
	int64_t now_ms = delivery_now(delivery);
	int64_t entry = -1;
	delivery_say(delivery, "%s", err->message);
	if (draft == NULL || !anchor_draft_unreadable(draft, &entry)) {
		if (err->code != ZR_FULL)
			log_error("anchor-step-failed", "seq=%" PRIu64 " why=%s detail=\"%s\"", seq,
			          err_name(err->code), err->message);
		lane_deferred(&delivery->lane, step, seq, now_ms);
		return;
	}
	(void)snprintf(delivery->unreadable, sizeof(delivery->unreadable), "%.150s", err->message);
	const char *chain = entry < 0 ? "-" : draft->entries[entry].chain.name;
	if (!lane_unreadable(&delivery->lane, step, seq, entry, now_ms)) {
		log_warn("anchor-unreadable", "seq=%" PRIu64 " chain=%s detail=\"%s\"", seq, chain,
		         err->message);
		return;
	}
	log_error("anchor-unreadable",
	          "seq=%" PRIu64 " chain=%s detail=\"%s\" then=\"it is taken back unless the main "
	          "chain has it\"",
	          seq, chain, err->message);
	delivery_op_state(delivery, lane_find(&delivery->lane, seq));
}

/* Tells the lane, unless the anchor is void by now and its number another's. */
static void upload_ended(struct delivery *delivery, bool complete)
{
	const struct delivery_upload *upload = &delivery->upload;
	const struct lane_anchor *anchor = lane_find(&delivery->lane, upload->seq);
	if (anchor == NULL || !hash_equal(&anchor->key, &upload->draft.key))
		return;
	if (!complete && upload->draft.has_culprit)
		step_failed(delivery, LANE_UPLOAD, upload->seq, &upload->draft, &upload->err);
	else
		lane_uploaded(&delivery->lane, upload->seq, complete, delivery_now(delivery));
}

/* Another anchor's turn came before all was answered: after a reorganisation, or a void one. */
static void upload_give_up(struct delivery *delivery)
{
	if (delivery->upload.under_way > 0)
		upload_ended(delivery, false);
	delivery_upload_fini(&delivery->upload);
}

static bool upload_begin(struct delivery *delivery, uint64_t seq, struct err *err)
{
	struct delivery_upload *upload = &delivery->upload;
	const struct lane_anchor *anchor = lane_find(&delivery->lane, seq);
	if (upload->seq != seq || !hash_equal(&upload->draft.key, &anchor->key)) {
		upload_give_up(delivery);
		struct spool_anchor_id id = delivery_anchor_id(delivery, seq);
		if (!anchor_draft_load(&upload->draft, delivery->options.spool, &id, err))
			return false;
		upload->done = calloc(upload->draft.upload_count + 1, sizeof(*upload->done));
		if (upload->done == NULL)
			return err_set(err, ZR_NO_MEMORY, "%zu uploads",
			               upload->draft.upload_count);
		upload->seq = seq;
	}
	upload->next = 0;
	upload->failed = false;
	upload->draft.has_culprit = false;
	return true;
}

static bool upload_payload(struct delivery *delivery, const struct upload *what, struct buffer *out,
                           struct err *err)
{
	struct spool *spool = delivery->options.spool;
	struct anchor_draft *draft = &delivery->upload.draft;
	if (what->is_dictionary)
		return spool_dictionary_get(spool, &what->content, out, err) ||
		       anchor_draft_blame(draft, &what->chain, err);
	struct spool_batch_info info;
	if (spool_batch_payload(spool, &what->chain, what->height, &info, out, err))
		return true;
	(void)anchor_draft_blame(draft, &what->chain, err);
	struct delivery_notice *notice =
		err->code == ZR_CORRUPT ? delivery_notice_new(DELIVERY_PAYLOAD_LOST) : NULL;
	if (notice != NULL && spool_batch_info(spool, &what->chain, what->height, &info, NULL)) {
		notice->chain = what->chain;
		notice->from = info.first_height;
		notice->to = spool_batch_next(&info) - 1;
		(void)snprintf(notice->reason, sizeof(notice->reason), "%.150s", err->message);
		delivery_tell(delivery, notice);
	} else {
		free(notice);
	}
	return false;
}

static bool upload_one(struct delivery *delivery, size_t index, struct err *err)
{
	const struct upload *what = &delivery->upload.draft.uploads[index];
	struct delivery_call *call =
		call_new(delivery, LANE_UPLOAD, delivery->upload.seq, &delivery->upload.draft.key);
	if (call == NULL)
		return err_set(err, ZR_FULL, "%d calls are under way", DELIVERY_CALLS_MAX);
	call->upload = index;
	call->upload_number = delivery->upload.number;
	struct buffer payload = BUFFER_EMPTY;
	FAULT_POINT(UPLOAD_SENDING);
	bool sent = upload_payload(delivery, what, &payload, err) &&
	            delivery->adapter->put(delivery->mainchain, call->token, &what->content,
	                                   buffer_bytes(&payload), err);
	buffer_fini(&payload);
	if (!sent)
		call->token = 0;
	return sent;
}

/* Keeps up to in_flight uploads going; says when all are done or some failed. */
static void upload_go_on(struct delivery *delivery)
{
	struct delivery_upload *upload = &delivery->upload;
	struct err err;
	while (!upload->failed && upload->next < upload->draft.upload_count &&
	       upload->under_way < delivery->sink->in_flight_count) {
		if (!upload->done[upload->next]) {
			if (!upload_one(delivery, upload->next, &err)) {
				delivery_say(delivery, "%s", err.message);
				upload->err = err;
				upload->failed = upload->under_way == 0 || err.code != ZR_FULL;
				break;
			}
			upload->under_way++;
		}
		upload->next++;
	}
	if (upload->under_way > 0)
		return;
	bool complete = !upload->failed && upload->next >= upload->draft.upload_count;
	upload_ended(delivery, complete);
	if (complete)
		delivery_upload_fini(upload);
}

static void on_upload_answer(struct delivery *delivery, const struct delivery_call *call,
                             const struct mainchain_answer *answer)
{
	struct delivery_upload *upload = &delivery->upload;
	if (call->upload_number != upload->number)
		return;
	upload->under_way--;
	FAULT_POINT(UPLOAD_ANSWERED);
	if (answer->outcome == MAINCHAIN_OK) {
		upload->done[call->upload] = true;
		delivery->progress_ms = delivery_now(delivery);
	} else {
		upload->failed = true;
		delivery_say(delivery, "upload: %s",
		             answer->detail == NULL ? "no answer" : answer->detail);
	}
	upload_go_on(delivery);
}

/* ---- steps --------------------------------------------------------------------------------- */

/* draft: to be read back; the caller's, also after a failure. */
static bool call_submit(struct delivery *delivery, const struct delivery_call *call,
                        struct anchor_draft *draft, struct err *err)
{
	struct spool_anchor_id id = delivery_anchor_id(delivery, call->seq);
	return anchor_draft_load(draft, delivery->options.spool, &id, err) &&
	       delivery->adapter->submit(delivery->mainchain, call->token, &draft->key,
	                                 buffer_bytes(&draft->content), delivery->lane.fence, err);
}

static bool call_begin(struct delivery *delivery, const struct delivery_call *call,
                       struct anchor_draft *draft, struct err *err)
{
	const struct mainchain_adapter *adapter = delivery->adapter;
	uint16_t lane = delivery->lane.options.lane;
	switch (call->step) {
	case LANE_ASK_HEAD:
		FAULT_POINT(HEAD_ASKING);
		return adapter->head(delivery->mainchain, call->token, lane, err);
	case LANE_TAKE_FENCE:
		FAULT_POINT(FENCE_TAKING);
		return adapter->fence(delivery->mainchain, call->token, lane,
		                      delivery->lane.fence_seen, err);
	case LANE_LOOKUP:
		FAULT_POINT(LOOKUP_SENDING);
		return adapter->lookup(delivery->mainchain, call->token, lane, &call->key, err);
	case LANE_SUBMIT:
		FAULT_POINT(SUBMIT_SENDING);
		return call_submit(delivery, call, draft, err);
	case LANE_UPLOAD:
	case LANE_VOID:
	case LANE_WAIT:
		break;
	}
	assert(false); /* Not a call. */
	return false;
}

static void note_submitted(struct delivery *delivery, const struct lane_anchor *anchor)
{
	FAULT_POINT(SUBMIT_SENT);
	delivery->submission_count++;
	delivery->retry_count += anchor->attempts > 0 ? 1 : 0;
	log_info("anchor-submitted", "seq=%" PRIu64 " attempt=%" PRIu32, anchor->seq,
	         anchor->attempts + 1);
	delivery_tell_anchor(delivery, DELIVERY_ANCHOR_SENT, anchor->seq, "");
}

/* A lane step that is a call: begun, or deferred. */
static void perform_call(struct delivery *delivery, enum lane_step step, uint64_t seq)
{
	const struct lane_anchor *anchor = seq == 0 ? NULL : lane_find(&delivery->lane, seq);
	struct delivery_call *call =
		call_new(delivery, step, seq, anchor == NULL ? NULL : &anchor->key);
	struct err err = { .code = ZR_FULL, .message = "too many calls are under way" };
	struct anchor_draft draft;
	anchor_draft_init(&draft);
	if (call != NULL && call_begin(delivery, call, &draft, &err)) {
		if (step == LANE_SUBMIT)
			note_submitted(delivery, anchor);
	} else {
		if (call != NULL)
			call->token = 0;
		step_failed(delivery, step, seq, &draft, &err);
	}
	anchor_draft_fini(&draft);
}

void delivery_perform(struct delivery *delivery, enum lane_step step, uint64_t seq)
{
	struct err err;
	switch (step) {
	case LANE_WAIT:
		return;
	case LANE_UPLOAD:
		if (upload_begin(delivery, seq, &err))
			upload_go_on(delivery);
		else
			step_failed(delivery, step, seq, &delivery->upload.draft, &err);
		return;
	case LANE_VOID:
		if (!delivery_op_void(delivery, seq, &err))
			step_failed(delivery, step, seq, NULL, &err);
		return;
	case LANE_ASK_HEAD:
	case LANE_TAKE_FENCE:
	case LANE_SUBMIT:
	case LANE_LOOKUP:
		perform_call(delivery, step, seq);
		return;
	}
}

bool delivery_ask(struct delivery *delivery, struct delivery_request *request,
                  enum mainchain_call call, uint64_t seq, const struct hash *key, struct err *err)
{
	const struct mainchain_adapter *adapter = delivery->adapter;
	uint16_t lane = delivery->lane.options.lane;
	struct delivery_call *made = call_new(delivery, LANE_WAIT, 0, key);
	if (made == NULL)
		return err_set(err, ZR_FULL, "%d calls are under way", DELIVERY_CALLS_MAX);
	made->request = request;
	bool asked = call == MAINCHAIN_HEAD
	                     ? adapter->head(delivery->mainchain, made->token, lane, err)
	             : call == MAINCHAIN_LOOKUP
	                     ? adapter->lookup(delivery->mainchain, made->token, lane, key, err)
	                     : adapter->content(delivery->mainchain, made->token, lane, seq, err);
	if (!asked)
		made->token = 0;
	return asked;
}

/* ---- answers ------------------------------------------------------------------------------- */

/* While suspects are being tried, an accepted anchor clears its chains. */
static void clear_suspects(struct delivery *delivery, uint64_t seq)
{
	const struct chain_key *suspects;
	if (plan_probe(&delivery->plan, &suspects) == 0)
		return;
	struct entry *entries = NULL;
	size_t count = 0;
	struct spool_anchor_id id = delivery_anchor_id(delivery, seq);
	struct err err;
	if (!spool_anchor_entries(delivery->options.spool, &id, &entries, &count, &err)) {
		log_warn("anchor-entries-unread", "seq=%" PRIu64 " detail=\"%s\"", seq,
		         err.message);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct chain_key key = chain_key(&entries[i].chain);
		plan_accepted(&delivery->plan, &key, 1);
	}
	free(entries);
	delivery->more_pending = true;
}

static void on_final(struct delivery *delivery, struct lane_anchor *anchor,
                     const struct mainchain_answer *answer)
{
	struct err err;
	clear_suspects(delivery, anchor->seq);
	if (delivery_op_final(delivery, anchor, answer->evidence, &err))
		return;
	/* Asked again a little later; the main chain will say the same. */
	anchor->finishing = false;
	anchor->next_try_ms = delivery_now(delivery) + delivery->lane.options.retry_max_ms;
	log_error("anchor-receipt-failed", "seq=%" PRIu64 " detail=\"%s\"", anchor->seq,
	          err.message);
}

static void on_state(struct delivery *delivery, const struct lane_anchor *anchor,
                     const struct mainchain_answer *answer)
{
	delivery->progress_ms = delivery_now(delivery);
	if (anchor->state == SPOOL_ANCHOR_INCLUDED)
		clear_suspects(delivery, anchor->seq);
	if (answer->outcome == MAINCHAIN_REJECTED) {
		delivery->reject_count++;
		log_warn("anchor-rejected", "seq=%" PRIu64 " detail=\"%s\"", anchor->seq,
		         delivery->reason);
		delivery_tell_anchor(delivery, DELIVERY_ANCHOR_REJECTED, anchor->seq,
		                     delivery->reason);
	} else if (anchor->state == SPOOL_ANCHOR_UNKNOWN) {
		delivery_tell_anchor(delivery, DELIVERY_ANCHOR_UNKNOWN, anchor->seq,
		                     delivery->reason);
	}
	log_info("anchor-state", "seq=%" PRIu64 " state=%s height=%" PRIu64, anchor->seq,
	         spool_anchor_state_name(anchor->state), answer->height);
	delivery_op_state(delivery, anchor);
}

static void on_lane_answer(struct delivery *delivery, const struct delivery_call *call,
                           const struct mainchain_answer *answer)
{
	struct lane_anchor *anchor = call->seq == 0 ? NULL : lane_find(&delivery->lane, call->seq);
	if (call->seq != 0 && (anchor == NULL || !hash_equal(&anchor->key, &call->key)))
		return; /* It was about an anchor that is void by now. */
	if (delivery->restore.request != NULL) {
		/* The lane stands still while it is adopted, which asks for itself: an answer to what
		 * the lane asked before is as good as lost, and is asked for again. */
		const struct mainchain_answer lost = { .call = answer->call,
			                               .outcome = MAINCHAIN_UNKNOWN };
		(void)lane_on_answer(&delivery->lane, delivery_now(delivery), call->seq, &lost);
		return;
	}
	if (call->step == LANE_SUBMIT)
		FAULT_POINT(SUBMIT_ANSWERED);
	if (call->step == LANE_LOOKUP)
		FAULT_POINT(LOOKUP_ANSWERED);
	enum lane_news news =
		lane_on_answer(&delivery->lane, delivery_now(delivery), call->seq, answer);
	switch (news) {
	case LANE_NEWS_FINAL:
		on_final(delivery, anchor, answer);
		return;
	case LANE_NEWS_STATE:
		on_state(delivery, anchor, answer);
		return;
	case LANE_NEWS_MISSING:
		upload_give_up(delivery); /* Put everything again. */
		return;
	case LANE_NEWS_RUNNING:
		FAULT_POINT(FENCE_TAKEN);
		log_info("lane-running", "lane=%u fence=%" PRIu64 " final=%" PRIu64,
		         (unsigned)delivery->lane.options.lane, delivery->lane.fence,
		         delivery->lane.final_seq);
		delivery->progress_ms = delivery_now(delivery);
		return;
	case LANE_NEWS_HALTED:
		log_error("lane-halted", "lane=%u why=%s detail=\"%s\"",
		          (unsigned)delivery->lane.options.lane,
		          lane_halt_name(delivery->lane.halt), lane_halt_text(delivery->lane.halt));
		return;
	case LANE_NEWS_NONE:
		return;
	}
}

static const char *call_name(enum mainchain_call call)
{
	static const char *const names[] = {
		[MAINCHAIN_PUT] = "put",       [MAINCHAIN_SUBMIT] = "submit",
		[MAINCHAIN_LOOKUP] = "lookup", [MAINCHAIN_HEAD] = "head",
		[MAINCHAIN_FENCE] = "fence",   [MAINCHAIN_CONTENT] = "content",
	};
	return names[call];
}

/* Failures in a row are told at the first, second, fourth, eighth ...: a month of them is no flood. */
static void note_outcome(struct delivery *delivery, const struct delivery_call *call,
                         const struct mainchain_answer *answer)
{
	bool positive = answer->outcome == MAINCHAIN_OK || answer->outcome == MAINCHAIN_INCLUDED ||
	                answer->outcome == MAINCHAIN_FINAL;
	if (!positive && answer->detail != NULL)
		delivery_say(delivery, "%s", answer->detail);
	if (answer->outcome != MAINCHAIN_UNKNOWN && answer->outcome != MAINCHAIN_UNSENT) {
		if (delivery->failure_count > 0)
			log_info("main-chain-back", "failures=%" PRIu64, delivery->failure_count);
		delivery->failure_count = 0;
		return;
	}
	delivery->failure_count++;
	if ((delivery->failure_count & (delivery->failure_count - 1)) == 0)
		log_warn("main-chain-unanswered",
		         "call=%s seq=%" PRIu64 " failures=%" PRIu64 " detail=\"%s\"",
		         call_name(answer->call), call->seq, delivery->failure_count,
		         delivery->reason);
}

void delivery_on_answer(const struct mainchain_answer *answer, void *arg)
{
	struct delivery *delivery = arg;
	struct delivery_call *found = call_find(delivery, answer->token);
	assert(found != NULL);
	struct delivery_call call = *found;
	found->token = 0;
	note_outcome(delivery, &call, answer);
	if (call.request != NULL)
		delivery_command_answer(delivery, call.request, answer);
	else if (call.step == LANE_UPLOAD)
		on_upload_answer(delivery, &call, answer);
	else
		on_lane_answer(delivery, &call, answer);
	delivery_wake(delivery);
}
