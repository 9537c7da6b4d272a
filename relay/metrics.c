/* metrics.c -- see metrics.h. */
#include "relay/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/log.h"
#include "relay/gateway.h"

#define PREFIX "zonerelay_"

/* ---- one sample ---- */

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
	buffer_printf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name,
	              type);
}

static void sample(struct buffer *out, const char *name, const char *labels, double value)
{
	buffer_printf(out, PREFIX "%s%s%s%s %.17g\n", name, labels[0] != '\0' ? "{" : "", labels,
	              labels[0] != '\0' ? "}" : "", value);
}

static void gauge(struct buffer *out, const char *name, double value, const char *help)
{
	head(out, name, "gauge", help);
	sample(out, name, "", value);
}

static void counter(struct buffer *out, const char *name, double value, const char *help)
{
	head(out, name, "counter", help);
	sample(out, name, "", value);
}

/* ---- the table of what the loop counts ---- */

static void print_counters(const struct counters *counters, struct buffer *out)
{
	static const struct {
		const char *name, *labels, *help;
		size_t offset;
	} rows[] = {
#define COUNTERS_ROW(field, metric, labels, help) \
	{ metric, labels, help, offsetof(struct counters, field) },
		COUNTERS_TABLE(COUNTERS_ROW)
#undef COUNTERS_ROW
	};
	const char *family = "";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(family, rows[i].name) != 0)
			head(out, rows[i].name, "counter", rows[i].help);
		family = rows[i].name;
		uint64_t value;
		memcpy(&value, (const uint8_t *)counters + rows[i].offset, sizeof(value));
		sample(out, rows[i].name, rows[i].labels, (double)value);
	}
}

/* ---- what is durable ---- */

static void print_spool(const struct gateway *gateway, struct buffer *out)
{
	const struct spool_stats *stats = &gateway->view.spool;
	const struct spool_totals *totals = &stats->totals;
	uint64_t known =
		totals->anchored_blocks + totals->quarantined_blocks + totals->tombstoned_blocks;
	counter(out, "blocks_received_total", (double)totals->received_blocks,
	        "Blocks that arrived, duplicates apart, since the spool was made.");
	counter(out, "blocks_repeated_total", (double)totals->duplicate_blocks,
	        "Blocks that arrived again, since the spool was made.");
	counter(out, "blocks_anchored_total", (double)totals->anchored_blocks,
	        "Blocks that are final on the main chain.");
	gauge(out, "blocks_in_quarantine", (double)totals->quarantined_blocks,
	      "Blocks that were refused and are kept.");
	gauge(out, "blocks_tombstoned", (double)totals->tombstoned_blocks,
	      "Blocks that an operator removed.");
	gauge(out, "blocks_pending",
	      totals->received_blocks > known ? (double)(totals->received_blocks - known) : 0,
	      "Blocks that are durable here and not final on the main chain yet.");
	gauge(out, "chains_enrolled", (double)totals->chain_count, "Chains in the spool.");
	counter(out, "anchors_final_total", (double)totals->anchor_count,
	        "Anchors that became final.");
	gauge(out, "spool_used_bytes", (double)stats->used_bytes, "Pages of the spool in use.");
	gauge(out, "spool_limit_bytes", (double)stats->limit_bytes, "Size of the spool.");
	gauge(out, "spool_mark_bytes", (double)stats->mark_bytes, "Where intake stops.");
	gauge(out, "spool_full", stats->intake_full, "1 while intake is stopped by the mark.");
	gauge(out, "spool_held_batches", (double)totals->held_batches, "Payloads in the spool.");
	gauge(out, "spool_held_bytes", (double)totals->held_bytes, "Their bytes.");
	gauge(out, "spool_oldest_reader_seconds", (double)stats->store.reader_oldest_ms / 1000,
	      "How long the oldest read transaction has been open.");
	gauge(out, "spool_reader_lag_commits", (double)stats->store.reader_lag_commits,
	      "Commits since the oldest read transaction began.");
	gauge(out, "spool_restored_timestamp_seconds", (double)totals->restored_ms / 1000,
	      "When this spool was restored from a copy and not adopted yet; 0: never.");
}

static void print_writer(const struct gateway *gateway, struct buffer *out)
{
	struct writer_stats stats = writer_stats(gateway->writer);
	counter(out, "commits_total", (double)stats.commit_count, "Commits to the disk.");
	counter(out, "commit_operations_total", (double)stats.op_count,
	        "Changes that these commits carried.");
	counter(out, "commit_seconds_total", (double)stats.commit_ms_sum / 1000,
	        "Time spent in commits.");
	counter(out, "commits_failed_total", (double)stats.failed_commit_count,
	        "Commits that stored nothing.");
	counter(out, "changes_refused_total", (double)stats.refused_count,
	        "Changes that the spool refused.");
	gauge(out, "writer_waiting", (double)writer_waiting(gateway->writer),
	      "Changes that wait for the writer.");
}

/* ---- links ---- */

static void print_listeners(const struct gateway *gateway, struct buffer *out)
{
	uint64_t accepted = 0, opened = 0, resumed = 0, refused[CONN_REASON_COUNT] = { 0 };
	size_t handshaking = 0;
	for (size_t i = 0; i < gateway->listener_count; i++) {
		const struct listener_stats *stats = listener_stats(gateway->listeners[i]);
		accepted += stats->accepted;
		opened += stats->opened;
		resumed += stats->resumed;
		handshaking += stats->silent_count + stats->waiting_count + stats->handshake_count;
		for (size_t reason = 0; reason < CONN_REASON_COUNT; reason++)
			refused[reason] += stats->refused[reason];
	}
	counter(out, "connections_accepted_total", (double)accepted, "TCP connections accepted.");
	counter(out, "handshakes_total", (double)opened, "TLS handshakes that succeeded.");
	counter(out, "handshakes_resumed_total", (double)resumed,
	        "Of these, resumed with a session ticket.");
	gauge(out, "connections_handshaking", (double)handshaking,
	      "Connections that are not open yet.");
	head(out, "connections_refused_total", "counter",
	     "Connections turned away before they were open, by reason.");
	for (size_t reason = 0; reason < CONN_REASON_COUNT; reason++)
		buffer_printf(out, PREFIX "connections_refused_total{reason=\"%s\"} %" PRIu64 "\n",
		              conn_reason_name((enum conn_reason)reason), refused[reason]);
}

static void print_links(const struct gateway *gateway, struct buffer *out)
{
	const struct net_totals *totals = net_totals(gateway->net);
	print_listeners(gateway, out);
	head(out, "connections_ended_total", "counter",
	     "Connections that were open, by why they ended.");
	for (size_t reason = 0; reason < CONN_REASON_COUNT; reason++)
		buffer_printf(out, PREFIX "connections_ended_total{reason=\"%s\"} %" PRIu64 "\n",
		              conn_reason_name((enum conn_reason)reason),
		              links_ended_count(gateway->links, (enum conn_reason)reason));
	gauge(out, "links_open", (double)links_open_count(gateway->links), "Agents connected.");
	head(out, "link_bytes_total", "counter", "Bytes on links of agents, TLS included.");
	sample(out, "link_bytes_total", "direction=\"in\"", (double)totals->wire_bytes_in);
	sample(out, "link_bytes_total", "direction=\"out\"", (double)totals->wire_bytes_out);
	head(out, "link_frames_total", "counter", "Frames on links of agents.");
	sample(out, "link_frames_total", "direction=\"in\"", (double)totals->frames_in);
	sample(out, "link_frames_total", "direction=\"out\"", (double)totals->frames_out);
	gauge(out, "link_out_queued_bytes", (double)totals->out_queued_bytes,
	      "Bytes that wait to be sent to agents.");
	gauge(out, "intake_batches", (double)intake_busy(gateway->intake),
	      "Batches between arrival and commit.");
	gauge(out, "intake_booked_bytes", (double)gateway->partials.booked_bytes,
	      "Memory booked for batches on their way.");
	gauge(out, "intake_budget_bytes", (double)gateway->partials.budget_bytes,
	      "The most that may be booked.");
	counter(out, "partials_evicted_total", (double)gateway->partials.evicted_count,
	        "Unfinished batches dropped to make room.");
	gauge(out, "verify_waiting", (double)verify_pool_waiting(gateway->verify),
	      "Batches that wait for a verify worker.");
	gauge(out, "chains_in_memory", (double)chains_count(gateway->chains),
	      "Chains that agents have named since the start.");
	gauge(out, "trust_sets_in_memory", (double)chains_trust_count(gateway->chains),
	      "Chains whose trust set is loaded.");
}

/* ---- lanes ---- */

static void lane_family(const struct gateway *gateway, struct buffer *out, const char *name,
                        const char *type, const char *help,
                        double (*value)(const struct delivery_lane_status *lane))
{
	head(out, name, type, help);
	for (size_t i = 0; i < gateway->lane_count; i++)
		buffer_printf(out, PREFIX "%s{sink=\"%s\",lane=\"%u\"} %.17g\n", name,
		              gateway->lanes[i].sink, gateway->lanes[i].lane,
		              value(&gateway->lanes[i]));
}

static double lane_running(const struct delivery_lane_status *lane)
{
	return lane->state == DELIVERY_LANE_RUNNING;
}

static double lane_stopped(const struct delivery_lane_status *lane)
{
	return lane->state == DELIVERY_LANE_STOPPED;
}

static double lane_final(const struct delivery_lane_status *lane)
{
	return (double)lane->final_seq;
}

static double lane_sent(const struct delivery_lane_status *lane)
{
	return (double)lane->sent_seq;
}

static double lane_unknown(const struct delivery_lane_status *lane)
{
	return (double)lane->unknown_count;
}

static double lane_submissions(const struct delivery_lane_status *lane)
{
	return (double)lane->submission_count;
}

static double lane_rejects(const struct delivery_lane_status *lane)
{
	return (double)lane->reject_count;
}

static double lane_retries(const struct delivery_lane_status *lane)
{
	return (double)lane->retry_count;
}

static void print_lanes(const struct gateway *gateway, struct buffer *out)
{
	lane_family(gateway, out, "lane_running", "gauge", "1 while the lane delivers.",
	            lane_running);
	lane_family(gateway, out, "lane_stopped", "gauge",
	            "1 while the lane is stopped and an operator is needed.", lane_stopped);
	lane_family(gateway, out, "lane_final_seq", "gauge", "Newest anchor that is final.",
	            lane_final);
	lane_family(gateway, out, "lane_sent_seq", "gauge", "Newest anchor that was sent.",
	            lane_sent);
	lane_family(gateway, out, "lane_unknown_anchors", "gauge",
	            "Anchors whose outcome is in doubt.", lane_unknown);
	lane_family(gateway, out, "submissions_total", "counter", "Anchors sent.",
	            lane_submissions);
	lane_family(gateway, out, "submission_retries_total", "counter", "Anchors sent again.",
	            lane_retries);
	lane_family(gateway, out, "submission_rejects_total", "counter",
	            "Anchors that the main chain refused.", lane_rejects);
}

/* ---- the main chain's endpoints ---- */

static double endpoint_up(const struct delivery_endpoint_status *endpoint)
{
	return endpoint->up;
}

static double endpoint_behind(const struct delivery_endpoint_status *endpoint)
{
	return endpoint->behind;
}

static double endpoint_height(const struct delivery_endpoint_status *endpoint)
{
	return (double)endpoint->height;
}

static double endpoint_calls(const struct delivery_endpoint_status *endpoint)
{
	return (double)endpoint->call_count;
}

static double endpoint_failures(const struct delivery_endpoint_status *endpoint)
{
	return (double)endpoint->failure_count;
}

/* A label's value: quote, backslash and line end are escaped. */
static void put_label(struct buffer *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			buffer_put_u8(out, '\\');
		if (*text == '\n')
			buffer_put(out, BYTES_LITERAL("\\n"));
		else
			buffer_put_u8(out, (uint8_t)*text);
	}
}

static void print_endpoints(const struct gateway *gateway, struct buffer *out)
{
	static const struct {
		const char *name, *type, *help;
		double (*value)(const struct delivery_endpoint_status *endpoint);
	} rows[] = {
		{ "mainchain_endpoint_up", "gauge", "1 if its last call had an answer.",
		  endpoint_up },
		{ "mainchain_endpoint_behind", "gauge",
		  "1 if its last answer was made below a height that is known.", endpoint_behind },
		{ "mainchain_endpoint_height", "gauge", "Height of the main chain that it told.",
		  endpoint_height },
		{ "mainchain_endpoint_calls_total", "counter", "Calls made to it.",
		  endpoint_calls },
		{ "mainchain_endpoint_failures_total", "counter", "Of these, without an answer.",
		  endpoint_failures },
	};
	const struct delivery_lane_status *lane = &gateway->lanes[0];
	if (gateway->lane_count == 0)
		return;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		head(out, rows[row].name, rows[row].type, rows[row].help);
		for (size_t i = 0; i < lane->endpoint_count; i++) {
			buffer_printf(out, PREFIX "%s{endpoint=\"", rows[row].name);
			put_label(out, lane->endpoints[i].url);
			buffer_printf(out, "\"} %.17g\n", rows[row].value(&lane->endpoints[i]));
		}
	}
}

/* ---- the process ---- */

static double resident_bytes(void)
{
	unsigned long long size, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file != NULL) {
		if (fscanf(file, "%llu %llu", &size, &resident) != 2)
			resident = 0;
		(void)fclose(file);
	}
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void print_process(struct gateway *gateway, struct buffer *out)
{
	const struct tls_facts *tls = tls_context_facts(gateway->tls);
	const char *why = "";
	int64_t now_ms = clock_monotonic_ms(gateway->clock);
	head(out, "build_info", "gauge", "Always 1; the version is in the label.");
	sample(out, "build_info", "version=\"" ZR_VERSION "\"", 1);
	gauge(out, "ready", gateway_is_ready(gateway, &why), "1 while /readyz says yes.");
	gauge(out, "uptime_seconds", (double)(now_ms - gateway->started_ms) / 1000,
	      "Since the start.");
	gauge(out, "config_loaded_timestamp_seconds", (double)gateway->reloaded_ms / 1000,
	      "When the configuration in force was read.");
	gauge(out, "config_reload_ok", gateway->reload_ok, "1 if the last reload was good.");
	gauge(out, "certificate_expiry_timestamp_seconds",
	      (double)tls->certificate_not_after_ms / 1000, "When our TLS certificate expires.");
	gauge(out, "ca_expiry_timestamp_seconds", (double)tls->ca_not_after_ms / 1000,
	      "When the first of the CA certificates expires.");
	gauge(out, "crl_next_update_timestamp_seconds",
	      tls->crl_next_update_ms == INT64_MAX ? 0 : (double)tls->crl_next_update_ms / 1000,
	      "When the first of the revocation lists is due; 0: there is none.");
	gauge(out, "resident_memory_bytes", resident_bytes(), "Memory of the process.");
	head(out, "log_lines_total", "counter", "Lines written to the log, by level.");
	for (enum log_level level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
		buffer_printf(out, PREFIX "log_lines_total{level=\"%s\"} %" PRIu64 "\n",
		              log_level_name(level), log_count(level));
}

/* ---- chosen chains ---- */

static void print_chains(const struct gateway *gateway, struct buffer *out)
{
	const struct config_list *names = &gateway->config->gateway.metrics_chains;
	if (names->count == 0)
		return;
	static const char *const families[] = { "chain_next_height", "chain_anchored_next",
		                                "chain_held_bytes", "chain_active" };
	static const char *const helps[] = { "First height that is not durable here.",
		                             "First height that is not final.",
		                             "Payload bytes of the chain in the spool.",
		                             "1 while the chain takes batches." };
	for (size_t family = 0; family < 4; family++) {
		head(out, families[family], "gauge", helps[family]);
		for (size_t i = 0; i < names->count; i++) {
			struct spool_chain row;
			if (!spool_chain_by_name(gateway->spool, names->items[i], &row, NULL))
				continue;
			const double values[] = { (double)row.next_height,
				                  (double)row.anchored_next, (double)row.held_bytes,
				                  row.state == SPOOL_CHAIN_ACTIVE };
			buffer_printf(out, PREFIX "%s{chain=\"%s\"} %.17g\n", families[family],
			              names->items[i], values[family]);
		}
	}
}

void metrics_print(struct gateway *gateway, struct buffer *out)
{
	print_process(gateway, out);
	print_counters(&gateway->counters, out);
	print_spool(gateway, out);
	print_writer(gateway, out);
	print_links(gateway, out);
	print_lanes(gateway, out);
	print_endpoints(gateway, out);
	print_chains(gateway, out);
}
