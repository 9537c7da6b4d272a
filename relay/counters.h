/* counters.h -- what the loop counts: one row per metric, printed by relay/metrics.c.
 *
 * Only what happened since start; how much there is comes out of the spool. A row with a label is one
 * counter of a family: rows of one family stand together.
 */
#ifndef ZR_RELAY_COUNTERS_H
#define ZR_RELAY_COUNTERS_H

#include <stdint.h>

/* X(field, metric without prefix, labels or "", help) */
#define COUNTERS_TABLE(X)                                                                          \
	X(links_opened, "links_opened_total", "", "Agents that said hello and were welcomed.")     \
	X(links_closed, "links_closed_total", "", "Links of agents that ended.")                   \
	X(links_replaced, "links_replaced_total", "",                                              \
	  "Links ended because the same agent connected again.")                                   \
	X(hello_refused, "hello_refused_total", "", "Agents turned away at their hello.")          \
	X(protocol_errors, "protocol_errors_total", "", "Links ended because of a bad frame.")     \
	X(frames_unknown, "frames_unknown_total", "", "Frames of a kind we do not know, ignored.") \
	X(takeovers, "takeovers_total", "", "Chains whose sending agent was replaced by another.") \
	X(batches_received, "batches_received_total", "", "Batches that arrived whole.")           \
	X(batches_stored, "batches_stored_total", "", "Batches made durable.")                     \
	X(blocks_stored, "blocks_stored_total", "", "Blocks made durable.")                        \
	X(bytes_stored, "stored_bytes_total", "", "Payload bytes made durable, compressed.")       \
	X(raw_bytes_stored, "stored_raw_bytes_total", "", "The same, inflated.")                   \
	X(blocks_duplicate, "blocks_duplicate_total", "", "Blocks that came again.")               \
	X(batches_again, "batches_verified_again_total", "",                                       \
	  "Batches verified twice, because a predecessor changed the trust set.")                  \
	X(blocks_quarantined, "blocks_quarantined_total", "", "Blocks put into quarantine.")       \
	X(evidence_found, "evidence_total", "", "Forks proven: two signed blocks of one height.")  \
	X(chains_frozen, "chains_frozen_total", "", "Chains frozen by the gateway itself.")        \
	X(chains_restored, "chains_restored_total", "",                                            \
	  "Chains stopped because an agent held a receipt for what we do not have.")               \
	X(rejected_gap, "batches_rejected_total", "reason=\"gap\"", "Batches refused, by reason.") \
	X(rejected_malformed, "batches_rejected_total", "reason=\"malformed\"", "")                \
	X(rejected_link, "batches_rejected_total", "reason=\"link\"", "")                          \
	X(rejected_untrusted, "batches_rejected_total", "reason=\"untrusted\"", "")                \
	X(rejected_fork, "batches_rejected_total", "reason=\"fork\"", "")                          \
	X(rejected_too_large, "batches_rejected_total", "reason=\"too-large\"", "")                \
	X(rejected_credit, "batches_rejected_total", "reason=\"credit\"", "")                      \
	X(rejected_quota, "batches_rejected_total", "reason=\"quota\"", "")                        \
	X(rejected_full, "batches_rejected_total", "reason=\"full\"", "")                          \
	X(rejected_frozen, "batches_rejected_total", "reason=\"frozen\"", "")                      \
	X(rejected_dictionary, "batches_rejected_total", "reason=\"dictionary\"", "")              \
	X(rejected_denied, "batches_rejected_total", "reason=\"denied\"", "")                      \
	X(rejected_busy, "batches_rejected_total", "reason=\"busy\"", "")                          \
	X(anchored_sent, "anchored_sent_total", "", "Anchor receipts sent to agents.")             \
	X(resends_asked, "resends_total", "", "Ranges asked of agents again.")                     \
	X(dictionaries_sent, "dictionaries_sent_total", "", "Dictionaries sent to agents.")        \
	X(payloads_repaired, "batches_repaired_total", "",                                         \
	  "Damaged payloads replaced by the same blocks, brought again.")                          \
	X(scrub_rounds, "scrub_rounds_total", "", "Complete recounts of the spool.")               \
	X(scrub_faults, "scrub_faults_total", "", "Damaged rows that the recount met.")            \
	X(reloads, "config_reloads_total", "result=\"ok\"",                                        \
	  "Configurations read again, by result.")                                                 \
	X(reloads_failed, "config_reloads_total", "result=\"failed\"", "")

struct counters {
#define COUNTERS_FIELD(field, metric, labels, help) uint64_t field;
	COUNTERS_TABLE(COUNTERS_FIELD)
#undef COUNTERS_FIELD
};

#endif
