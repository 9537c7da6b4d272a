/* view_status.c -- how the gateway stands, on one page; see views.h. */
#include <inttypes.h>
#include <string.h>

#include "relay/views.h"

#define ATTENTION_MAX     20
#define PENDING_LOOKS_MAX 1000

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* Blocks that the counters call pending and the heights do not have, or the other way round: 0, or
 * promise P5 is broken. Heights that were declared lost or anchored elsewhere are not counted, so
 * chains with such are left to "zonerelay spool verify". */
static int64_t missing_of(const struct spool_chain *row)
{
	if (row->lost_heights > 0 || row->anchored_floor > row->first_height)
		return 0;
	return (int64_t)spool_chain_pending_blocks(row) -
	       (int64_t)(row->next_height - row->anchored_next);
}

struct chain_counts {
	uint64_t enrolled, active, frozen, restored, retired, pending;
	int64_t missing;
	int64_t oldest_pending_ms; /* 0: none. */
	unsigned looked_at;        /* Chains whose oldest pending batch was read. */
	json_t *attention;
};

/* When its oldest batch that is not final arrived; of a bounded number of chains. */
static void look_at_pending(struct gateway *gateway, const struct spool_chain *row,
                            struct chain_counts *counts)
{
	struct spool_batch_info info;
	if (row->anchored_next >= row->next_height || counts->looked_at >= PENDING_LOOKS_MAX ||
	    !spool_batch_info(gateway->spool, &row->key, row->anchored_next, &info, NULL))
		return;
	counts->looked_at++;
	if (counts->oldest_pending_ms == 0 || info.received_ms < counts->oldest_pending_ms)
		counts->oldest_pending_ms = info.received_ms;
}

/* Every chain of the spool: bounded pages, since this is asked for by people. */
static void count_chains(struct gateway *gateway, struct chain_counts *counts)
{
	static const size_t slice = 64;
	struct spool_chain rows[64];
	struct chain_key after;
	const struct chain_key *from = NULL;
	size_t count;
	while (spool_chains_page(gateway->spool, from, rows, slice, &count, NULL) && count > 0) {
		for (size_t i = 0; i < count; i++) {
			const struct spool_chain *row = &rows[i];
			counts->enrolled++;
			counts->active += row->state == SPOOL_CHAIN_ACTIVE;
			counts->frozen += row->state == SPOOL_CHAIN_FROZEN;
			counts->restored += row->state == SPOOL_CHAIN_RESTORED;
			counts->retired += row->state == SPOOL_CHAIN_RETIRED;
			counts->pending += spool_chain_pending_blocks(row);
			counts->missing += missing_of(row);
			look_at_pending(gateway, row, counts);
			bool bad = row->state == SPOOL_CHAIN_FROZEN ||
			           row->state == SPOOL_CHAIN_RESTORED;
			if (json_array_size(counts->attention) >= ATTENTION_MAX)
				continue;
			if (bad)
				json_array_append_new(
					counts->attention,
					json_sprintf("chain %s is %s: %s", row->id.name,
				                     spool_chain_state_name(row->state),
				                     row->state_reason));
			else if (row->quarantined_blocks > 0)
				json_array_append_new(counts->attention,
				                      json_sprintf("chain %s has %" PRIu64
				                                   " blocks in quarantine",
				                                   row->id.name,
				                                   row->quarantined_blocks));
		}
		after = rows[count - 1].key;
		from = &after;
	}
}

const char *view_lane_state_name(enum delivery_lane_state state)
{
	switch (state) {
	case DELIVERY_LANE_STARTING:
		return "starting";
	case DELIVERY_LANE_RUNNING:
		return "running";
	case DELIVERY_LANE_AWAY:
		return "away";
	case DELIVERY_LANE_STOPPED:
		return "stopped";
	}
	return "?";
}

/* A monotonic moment as people know it. */
static json_t *wall_of(const struct gateway *gateway, int64_t monotonic_ms)
{
	int64_t ago_ms = clock_monotonic_ms(gateway->clock) - monotonic_ms;
	return json_integer(monotonic_ms == 0 ? 0 : clock_wall_ms(gateway->clock) - ago_ms);
}

static json_t *lanes_of(const struct gateway *gateway, json_t *attention)
{
	json_t *lanes = json_array();
	for (size_t i = 0; i < gateway->lane_count; i++) {
		const struct delivery_lane_status *lane = &gateway->lanes[i];
		json_array_append_new(
			lanes,
			json_pack("{s:s, s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "sink",
		                  lane->sink, "lane", (int)lane->lane, "state",
		                  view_lane_state_name(lane->state), "reason", lane->reason,
		                  "fence", number(lane->fence), "final_seq",
		                  number(lane->final_seq), "sent_seq", number(lane->sent_seq),
		                  "unknown", number(lane->unknown_count), "last_progress_ms",
		                  wall_of(gateway, lane->progress_ms)));
		if (lane->state == DELIVERY_LANE_STOPPED)
			json_array_append_new(attention, json_sprintf("lane %u is stopped: %s",
			                                              lane->lane, lane->reason));
	}
	return lanes;
}

/* Every lane uses the same ones; the first tells. */
static json_t *endpoints_of(const struct gateway *gateway)
{
	json_t *endpoints = json_array();
	const struct delivery_lane_status *lane = &gateway->lanes[0];
	for (size_t i = 0; gateway->lane_count > 0 && i < lane->endpoint_count; i++) {
		const struct delivery_endpoint_status *endpoint = &lane->endpoints[i];
		json_array_append_new(endpoints, json_pack("{s:s, s:b, s:b, s:o, s:o, s:o}", "url",
		                                           endpoint->url, "up", endpoint->up,
		                                           "behind", endpoint->behind, "height",
		                                           number(endpoint->height), "calls",
		                                           number(endpoint->call_count), "failures",
		                                           number(endpoint->failure_count)));
	}
	return endpoints;
}

static json_t *uuid_text(const struct gateway *gateway)
{
	char hex[2 * STORE_UUID_SIZE + 1];
	struct bytes uuid = { spool_uuid(gateway->spool), STORE_UUID_SIZE };
	return json_string(hex_encode(uuid, hex));
}

json_t *view_status(struct gateway *gateway)
{
	const struct spool_stats *stats = &gateway->view.spool;
	const struct spool_totals *totals = &stats->totals;
	const char *why = "";
	bool ready = gateway_is_ready(gateway, &why);
	struct chain_counts counts = { .attention = json_array() };
	count_chains(gateway, &counts);
	json_t *lanes = lanes_of(gateway, counts.attention);
	if (totals->restored_ms != 0)
		json_array_append_new(counts.attention,
		                      json_string("this store was restored from a copy and is not "
		                                  "adopted: zonerelay adopt store"));
	if (gateway->counters.scrub_faults > 0)
		json_array_append_new(counts.attention,
		                      json_string("the spool has damaged rows: see the log"));
	if (stats->intake_full)
		json_array_append_new(counts.attention, json_string("the spool is full"));
	json_t *not_ready = json_array();
	if (!ready)
		json_array_append_new(not_ready, json_string(why));
	int64_t uptime_ms = clock_monotonic_ms(gateway->clock) - gateway->started_ms;
	double uptime_s = uptime_ms > 0 ? (double)uptime_ms / 1000 : 1;
	return json_pack(
		"{s:s, s:s, s:I, s:o, s:b, s:b, s:o, s:o, s:{s:o, s:o, s:o}, "
		"s:{s:o, s:o, s:o, s:o, s:o, s:o}, s:{s:o, s:o, s:o, s:o, s:o, s:o, s:I}, "
		"s:{s:o, s:o, s:o, s:b, s:o, s:o, s:I}, s:o, s:o, s:{s:f, s:f, s:f}}",
		"zone", gateway->config->gateway.zone, "version", ZR_VERSION, "uptime_ms",
		(json_int_t)uptime_ms, "store_uuid", uuid_text(gateway), "restored",
		totals->restored_ms != 0, "ready", ready, "not_ready", not_ready, "attention",
		counts.attention, "links", "open", number(links_open_count(gateway->links)), "max",
		number(gateway->config->gateway.limits.link_count), "agents",
		number(links_open_count(gateway->links)), "chains", "total",
		number(gateway->config->gateway.chain_count), "enrolled", number(counts.enrolled),
		"active", number(counts.active), "frozen", number(counts.frozen), "restored",
		number(counts.restored), "retired", number(counts.retired), "blocks", "received",
		number(totals->received_blocks), "duplicates", number(totals->duplicate_blocks),
		"pending", number(counts.pending), "anchored", number(totals->anchored_blocks),
		"quarantined", number(totals->quarantined_blocks), "tombstoned",
		number(totals->tombstoned_blocks), "missing", (json_int_t)counts.missing, "spool",
		"used_bytes", number(stats->used_bytes), "limit_bytes", number(stats->limit_bytes),
		"mark_bytes", number(stats->mark_bytes), "full", stats->intake_full, "held_batches",
		number(totals->held_batches), "held_bytes", number(totals->held_bytes),
		"oldest_pending_ms", (json_int_t)counts.oldest_pending_ms, "lanes", lanes,
		"endpoints", endpoints_of(gateway), "rates", "blocks_per_s",
		(double)gateway->counters.blocks_stored / uptime_s, "anchored_per_s",
		(double)totals->anchored_blocks / uptime_s, "bytes_per_s",
		(double)gateway->counters.bytes_stored / uptime_s);
}
