/* share.c -- see share.h. */
#include "relay/share.h"

#include <assert.h>

void share_init(struct share *share, const struct share_options *options)
{
	share->options = *options;
	list_init(&share->ring);
}

void share_link_init(struct share_link *link, uint32_t weight)
{
	*link = (struct share_link){ .weight = weight > 0 ? weight : 1 };
	list_init(&link->node);
}

void share_link_fini(struct share_link *link)
{
	list_remove(&link->node);
}

bool share_use(struct share_link *link, uint64_t bytes, unsigned batches)
{
	link->used_bytes += bytes;
	link->used_batches += batches;
	return link->used_bytes <= link->granted_bytes &&
	       link->used_batches <= link->granted_batches;
}

void share_want(struct share *share, struct share_link *link)
{
	if (link->node.next == &link->node)
		list_append(&share->ring, &link->node);
}

void share_done(struct share *share, struct share_link *link, uint64_t bytes, unsigned batches)
{
	link->done_bytes += bytes;
	link->done_batches += batches;
	assert(link->done_bytes <= link->used_bytes && link->done_batches <= link->used_batches);
	share_want(share, link);
}

bool share_should_tell(const struct share *share, const struct share_link *link)
{
	if (link->granted_bytes == link->told_bytes && link->granted_batches == link->told_batches)
		return false;
	return link->used_bytes + share->options.window_bytes / 2 >= link->told_bytes ||
	       link->used_batches + share->options.window_batches / 2 >= link->told_batches;
}

void share_told(struct share_link *link)
{
	link->told_bytes = link->granted_bytes;
	link->told_batches = link->granted_batches;
}

/* How far below its window the link stands. */
static uint64_t wanted(uint64_t done, uint64_t window, uint64_t granted)
{
	return done + window > granted ? done + window - granted : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Returns what was given. */
static uint64_t give(const struct share *share, struct share_link *link, uint64_t bytes_max)
{
	uint64_t bytes =
		smaller(wanted(link->done_bytes, share->options.window_bytes, link->granted_bytes),
	                bytes_max);
	uint64_t batches =
		wanted(link->done_batches, share->options.window_batches, link->granted_batches);
	link->granted_bytes += bytes;
	link->granted_batches += batches;
	return bytes;
}

static bool satisfied(const struct share *share, const struct share_link *link)
{
	return wanted(link->done_bytes, share->options.window_bytes, link->granted_bytes) == 0;
}

void share_turn(struct share *share, uint64_t room_bytes, bool ample,
                void (*on_granted)(struct share_link *link, void *arg), void *arg)
{
	struct list_node again;
	list_init(&again);
	while (!list_is_empty(&share->ring) && (ample || room_bytes > 0)) {
		struct list_node *node = list_pop(&share->ring);
		struct share_link *link = LIST_ENTRY(node, struct share_link, node);
		if (ample) {
			link->deficit_bytes = 0;
			(void)give(share, link, UINT64_MAX);
			on_granted(link, arg);
			continue;
		}
		link->deficit_bytes += share->options.slice_bytes * link->weight;
		uint64_t given = give(share, link, smaller(link->deficit_bytes, room_bytes));
		link->deficit_bytes -= given;
		room_bytes -= given;
		if (satisfied(share, link))
			link->deficit_bytes = 0;
		else
			list_append(&again, node);
		on_granted(link, arg);
	}
	/* Those who got their slice stand behind those whose turn did not come. */
	struct list_node *node;
	while ((node = list_pop(&again)) != NULL)
		list_append(&share->ring, node);
}
