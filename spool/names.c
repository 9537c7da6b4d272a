/* Names of what is stored as a number: one table each. */
#include "spool/spool_private.h"

#include <assert.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const table_names[SPOOL_TABLE_COUNT] = {
	[SPOOL_BATCHES] = "batches",
	[SPOOL_HEIGHTS] = "heights",
	[SPOOL_CHAINS] = "chains",
	[SPOOL_NAMES] = "names",
	[SPOOL_PENDING] = "pending",
	[SPOOL_ANCHORS] = "anchors",
	[SPOOL_ENTRIES] = "entries",
	[SPOOL_COVERAGE] = "coverage",
	[SPOOL_RECEIPTS] = "receipts",
	[SPOOL_TRUST] = "trust",
	[SPOOL_QUARANTINE] = "quarantine",
	[SPOOL_SUSPECTS] = "suspects",
	[SPOOL_EVIDENCE] = "evidence",
	[SPOOL_TOMBSTONES] = "tombstones",
	[SPOOL_AUDIT] = "audit",
	[SPOOL_REQUESTS] = "requests",
	[SPOOL_DICTIONARIES] = "dictionaries",
	[SPOOL_META] = "meta",
};

const struct store_format spool_format = {
	.name = "zonerelay-spool",
	.version = 1,
	.tables = table_names,
	.table_count = SPOOL_TABLE_COUNT,
};

static const char *const chain_states[] = {
	[SPOOL_CHAIN_ACTIVE] = "active",
	[SPOOL_CHAIN_FROZEN] = "frozen",
	[SPOOL_CHAIN_RETIRED] = "retired",
	[SPOOL_CHAIN_RESTORED] = "restored",
};

static const char *const anchor_states[] = {
	[SPOOL_ANCHOR_INTENT] = "intent",     [SPOOL_ANCHOR_SENT] = "sent",
	[SPOOL_ANCHOR_UNKNOWN] = "unknown",   [SPOOL_ANCHOR_INCLUDED] = "included",
	[SPOOL_ANCHOR_REJECTED] = "rejected", [SPOOL_ANCHOR_FINAL] = "final",
};

const char *spool_table_name(enum spool_table table)
{
	assert(table < SPOOL_TABLE_COUNT);
	return table_names[table];
}

const char *spool_chain_state_name(enum spool_chain_state state)
{
	assert(state >= SPOOL_CHAIN_ACTIVE && state < COUNT(chain_states));
	return chain_states[state];
}

const char *spool_anchor_state_name(enum spool_anchor_state state)
{
	assert(state >= SPOOL_ANCHOR_INTENT && state < COUNT(anchor_states));
	return anchor_states[state];
}
