/* gateway_upkeep.c -- once a second: how is the spool, is every row what it was, is everything moving?
 * Pruning is delivery's: it knows what is final. */
#include <inttypes.h>
#include <stdlib.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/base/notify.h"
#include "relay/gateway.h"

#define SCRUB_ROWS  128
#define SCRUB_BYTES (512u << 10)
#define STALLED_MS  30000 /* Work is there and nothing moved for so long. */

/* ---- the spool ---- */

static void look(struct gateway *gateway)
{
	struct err err;
	struct gateway_view *view = &gateway->view;
	bool was_full = gateway->full_told;
	if (!spool_stats(gateway->spool, &view->spool, &err)) {
		log_error("spool-unreadable", "detail=\"%s\"", err.message);
		return;
	}
	view->looked_ms = clock_monotonic_ms(gateway->clock);
	view->valid = true;
	bool full = view->spool.intake_full;
	if (full && !was_full)
		log_error("spool-full",
		          "used=%" PRIu64 " mark=%" PRIu64
		          " why=\"%sintake pauses; delivery goes on\"",
		          view->spool.used_bytes, view->spool.mark_bytes,
		          view->spool.disk_full ? "the disk is full; " : "");
	if (!full && was_full)
		log_info("spool-has-room", "used=%" PRIu64 " mark=%" PRIu64, view->spool.used_bytes,
		         view->spool.mark_bytes);
	if (full != was_full)
		operators_publish(gateway->operators, full ? "spool-full" : "spool-room",
		                  json_pack("{s:I, s:I}", "used_bytes",
		                            (json_int_t)view->spool.used_bytes, "mark_bytes",
		                            (json_int_t)view->spool.mark_bytes));
	gateway->full_told = full;
	intake_set_full(gateway->intake, full);
}

/* A payload that is damaged here may still be whole at the edge. */
static void ask_again(struct gateway *gateway)
{
	const struct spool_scrub *bad = &gateway->scrub;
	struct spool_chain row;
	struct chain *chain;
	struct err err;
	if (bad->bad_payload && spool_chain(gateway->spool, &bad->bad_chain, &row, &err) &&
	    chains_find(gateway->chains, row.id.name, &row.id.epoch, &chain, &err))
		links_resend(gateway->links, chain, bad->bad_from, bad->bad_to,
		             "a payload is damaged in the spool");
}

static void scrub(struct gateway *gateway)
{
	struct err err;
	const struct spool_scrub_limits limits = { SCRUB_ROWS, SCRUB_BYTES };
	uint64_t round = gateway->scrub.round;
	if (!spool_scrub_slice(gateway->spool, &gateway->scrub, &limits, &err)) {
		gateway->counters.scrub_faults++;
		log_error("spool-damaged", "detail=\"%s\"", err.message);
		ask_again(gateway);
	}
	FAULT_POINT(SCRUBBED);
	gateway->counters.scrub_rounds += gateway->scrub.round - round;
}

/* ---- is it moving? ---- */

bool gateway_progresses(const struct gateway *gateway, const char **out_why)
{
	int64_t now_ms = clock_monotonic_ms(gateway->clock);
	struct writer_stats stats = writer_stats(gateway->writer);
	if (writer_waiting(gateway->writer) > 0 && now_ms - stats.last_commit_ms > STALLED_MS &&
	    now_ms - gateway->started_ms > STALLED_MS) {
		*out_why = "the writer has work and commits nothing";
		return false;
	}
	for (size_t i = 0; i < gateway->lane_count; i++) {
		const struct delivery_lane_status *lane = &gateway->lanes[i];
		int64_t moved_ms = lane->progress_ms > lane->idle_proven_ms ? lane->progress_ms
		                                                            : lane->idle_proven_ms;
		if (now_ms - moved_ms > STALLED_MS) {
			*out_why = "delivery neither moves nor says why not";
			return false;
		}
	}
	return true;
}

bool gateway_is_ready(struct gateway *gateway, const char **out_why)
{
	if (gateway->stopping)
		*out_why = "stopping";
	else if (gateway->listener_count == 0)
		*out_why = "not listening";
	else if (!gateway->view.valid)
		*out_why = "the spool was not looked at yet";
	else if (spool_is_poisoned(gateway->spool))
		*out_why = "the disk failed";
	else if (intake_is_full(gateway->intake))
		*out_why = "the spool is full";
	else
		return gateway_progresses(gateway, out_why);
	return false;
}

/* ---- the service manager ---- */

static void tell_manager(struct gateway *gateway)
{
	const char *why = "";
	const struct spool_totals *totals = &gateway->view.spool.totals;
	if (gateway_progresses(gateway, &why)) {
		if (notify_watchdog_interval_ms() > 0)
			notify_watchdog();
	} else {
		log_error("stalled", "why=\"%s\"", why);
	}
	uint64_t stored =
		totals->received_blocks - totals->quarantined_blocks - totals->tombstoned_blocks;
	notify_status("%zu links; %" PRIu64 " blocks stored, %" PRIu64 " anchored%s%s",
	              links_open_count(gateway->links), stored, totals->anchored_blocks,
	              intake_is_full(gateway->intake) ? "; spool full" : "", why);
}

void gateway_upkeep(struct gateway *gateway)
{
	look(gateway);
	scrub(gateway);
	tell_manager(gateway);
}

void gateway_dump_state(struct gateway *gateway)
{
	const struct spool_totals *totals = &gateway->view.spool.totals;
	const struct counters *counters = &gateway->counters;
	const char *why = "";
	bool ready = gateway_is_ready(gateway, &why);
	log_info("state",
	         "ready=%d why=\"%s\" links=%zu greeting=%zu chains=%zu trust=%zu batches=%zu "
	         "booked=%zu",
	         ready, why, links_open_count(gateway->links), links_greeting_count(gateway->links),
	         chains_count(gateway->chains), chains_trust_count(gateway->chains),
	         intake_busy(gateway->intake), gateway->partials.booked_bytes);
	log_info("state-spool",
	         "used=%" PRIu64 " mark=%" PRIu64 " limit=%" PRIu64 " received=%" PRIu64
	         " duplicates=%" PRIu64 " quarantined=%" PRIu64 " anchored=%" PRIu64 " full=%d",
	         gateway->view.spool.used_bytes, gateway->view.spool.mark_bytes,
	         gateway->view.spool.limit_bytes, totals->received_blocks, totals->duplicate_blocks,
	         totals->quarantined_blocks, totals->anchored_blocks,
	         intake_is_full(gateway->intake));
	log_info("state-counters",
	         "batches_stored=%" PRIu64 " blocks_stored=%" PRIu64 " again=%" PRIu64
	         " takeovers=%" PRIu64 " protocol_errors=%" PRIu64,
	         counters->batches_stored, counters->blocks_stored, counters->batches_again,
	         counters->takeovers, counters->protocol_errors);
	for (size_t i = 0; i < gateway->lane_count; i++) {
		const struct delivery_lane_status *lane = &gateway->lanes[i];
		log_info("state-lane",
		         "sink=%s lane=%u state=%d final=%" PRIu64 " sent=%" PRIu64
		         " unknown=%" PRIu64 " reason=\"%s\"",
		         lane->sink, lane->lane, (int)lane->state, lane->final_seq, lane->sent_seq,
		         lane->unknown_count, lane->reason);
	}
}
