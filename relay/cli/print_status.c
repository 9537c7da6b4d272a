/* print_status.c -- "zonerelay status" as a page for people: what needs attention first. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "relay/cli/print.h"

#define TEXT_SIZE 512

/* A member as text; "-" where there is none. */
struct text {
	char text[TEXT_SIZE];
};

static struct text text_of(const json_t *object, const char *key)
{
	struct text found;
	(void)print_value(key, json_object_get(object, key), found.text, sizeof(found.text));
	return found;
}

#define TEXT(object, key) (text_of(object, key).text)

static bool is_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

/* Its sentences under a heading; nothing where there are none. */
static void put_sentences(FILE *out, const char *heading, const json_t *list)
{
	size_t index;
	const json_t *item;
	char text[TEXT_SIZE];
	if (json_array_size(list) == 0)
		return;
	(void)fprintf(out, "%s\n", heading);
	json_array_foreach(list, index, item)(void)
		fprintf(out, "  - %s\n", print_value("", item, text, sizeof(text)));
}

static void put_head(FILE *out, const json_t *status)
{
	(void)fprintf(out, "zone %s: zonerelayd %s, up %s, %s\n", TEXT(status, "zone"),
	              TEXT(status, "version"), TEXT(status, "uptime_ms"),
	              is_true(status, "ready") ? "ready" : "NOT READY");
	put_sentences(out, "not ready because", json_object_get(status, "not_ready"));
	put_sentences(out, "needs attention", json_object_get(status, "attention"));
	(void)fprintf(out, "\n");
}

/* "3 active, 1 frozen": the members that are not 0, in their order, but the first. */
static void put_counts(FILE *out, const json_t *counts, const char *first)
{
	const char *key;
	json_t *value;
	const char *joint = ": ";
	json_object_foreach((json_t *)counts, key, value)
	{
		if (strcmp(key, first) == 0 || json_integer_value(value) == 0)
			continue;
		(void)fprintf(out, "%s%s %s", joint, TEXT(counts, key), key);
		joint = ", ";
	}
	(void)fprintf(out, "\n");
}

static void put_spool(FILE *out, const json_t *spool)
{
	(void)fprintf(out, "spool      %s of %s%s, %s in %s batches\n", TEXT(spool, "used_bytes"),
	              TEXT(spool, "limit_bytes"),
	              is_true(spool, "full") ? ", FULL: intake is paused" : "",
	              TEXT(spool, "held_bytes"), TEXT(spool, "held_batches"));
	const json_t *oldest = json_object_get(spool, "oldest_pending_ms");
	if (json_integer_value(oldest) != 0)
		(void)fprintf(out, "           oldest pending block of %s\n",
		              TEXT(spool, "oldest_pending_ms"));
}

static void put_lane(FILE *out, const json_t *lane)
{
	const json_t *reason = json_object_get(lane, "reason");
	(void)fprintf(out, "lane       %s/%s %s", TEXT(lane, "sink"), TEXT(lane, "lane"),
	              TEXT(lane, "state"));
	if (json_string_length(reason) > 0)
		(void)fprintf(out, " (%s)", TEXT(lane, "reason"));
	(void)fprintf(out, ": final %s, sent %s, in doubt %s; last progress %s\n",
	              TEXT(lane, "final_seq"), TEXT(lane, "sent_seq"), TEXT(lane, "unknown"),
	              TEXT(lane, "last_progress_ms"));
}

static void put_endpoint(FILE *out, const json_t *endpoint)
{
	(void)fprintf(out, "endpoint   %s %s%s, height %s; %s calls, %s failed\n",
	              TEXT(endpoint, "url"), is_true(endpoint, "up") ? "up" : "DOWN",
	              is_true(endpoint, "behind") ? ", BEHIND" : "", TEXT(endpoint, "height"),
	              TEXT(endpoint, "calls"), TEXT(endpoint, "failures"));
}

void print_status(const json_t *status, FILE *out)
{
	const json_t *links = json_object_get(status, "links");
	const json_t *chains = json_object_get(status, "chains");
	const json_t *blocks = json_object_get(status, "blocks");
	const json_t *rates = json_object_get(status, "rates");
	size_t index;
	const json_t *item;
	put_head(out, status);
	(void)fprintf(out, "links      %s of %s, %s agents\n", TEXT(links, "open"),
	              TEXT(links, "max"), TEXT(links, "agents"));
	(void)fprintf(out, "chains     %s", TEXT(chains, "total"));
	put_counts(out, chains, "total");
	(void)fprintf(out, "blocks     %s received", TEXT(blocks, "received"));
	put_counts(out, blocks, "received");
	put_spool(out, json_object_get(status, "spool"));
	json_array_foreach(json_object_get(status, "lanes"), index, item) put_lane(out, item);
	json_array_foreach(json_object_get(status, "endpoints"), index, item)
		put_endpoint(out, item);
	if (json_is_object(rates))
		(void)fprintf(out, "rates      %s blocks/s in, %s blocks/s anchored, %s B/s\n",
		              TEXT(rates, "blocks_per_s"), TEXT(rates, "anchored_per_s"),
		              TEXT(rates, "bytes_per_s"));
	(void)fprintf(out, "store      %s%s\n", TEXT(status, "store_uuid"),
	              is_true(status, "restored") ? ", RESTORED from a copy: see \"adopt\"" : "");
}
