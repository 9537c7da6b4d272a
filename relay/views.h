/* views.h -- what the gateway says of itself as JSON: the same for commands and for HTTP.
 *
 * docs/CONTROL.md describes the objects. All read; all give a new reference, or NULL when out of
 * memory. Threads: the loop.
 */
#ifndef ZR_RELAY_VIEWS_H
#define ZR_RELAY_VIEWS_H

#include <jansson.h>

#include "relay/gateway.h"
#include "spool/anchors.h"
#include "spool/quarantine.h"

#define VIEW_PAGE_DEFAULT 100
#define VIEW_PAGE_MAX     10000

/* A page of a list: what was asked for. */
struct view_page {
	const char *after; /* As given by --after; NULL: from the first. */
	size_t limit;
	const char *class_name; /* NULL: any. */
	const char *state;
	const char *chain;
};

json_t *view_hash(const struct hash *hash);
json_t *view_time(int64_t time_ms);

const char *view_lane_state_name(enum delivery_lane_state state);
json_t *view_status(struct gateway *gateway);
json_t *view_chain(struct gateway *gateway, const struct spool_chain *row);
json_t *view_chain_absent(const struct chain_config *chain);
json_t *view_chain_full(struct gateway *gateway, const struct spool_chain *row);
json_t *view_chains(struct gateway *gateway, const struct view_page *page);
json_t *view_pending(struct gateway *gateway, const struct view_page *page);
json_t *view_gaps(struct gateway *gateway, const struct view_page *page, bool *out_open);
json_t *view_anchor(const struct gateway *gateway, const struct spool_anchor *anchor);
json_t *view_anchors(struct gateway *gateway, const struct view_page *page);
json_t *view_suspect(struct gateway *gateway, const struct spool_suspect_info *info);
json_t *view_evidence(struct gateway *gateway, const struct spool_evidence *evidence);

/* For HTTP: one line of JSON, appended; query is "after=..&limit=..". False: no memory. */
bool view_status_json(struct gateway *gateway, struct buffer *out);
bool view_chains_json(struct gateway *gateway, const char *query, struct buffer *out);
bool view_anchors_json(struct gateway *gateway, const char *query, struct buffer *out);

#endif
