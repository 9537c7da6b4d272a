/* partials.c -- see partials.h. */
#include "relay/partials.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void partials_init(struct partials *partials, size_t budget_bytes)
{
	*partials = (struct partials){ .budget_bytes = budget_bytes };
	list_init(&partials->kept);
}

void partial_init(struct partial *partial)
{
	*partial = (struct partial){ .data = NULL };
	list_init(&partial->node);
}

void partials_release(struct partials *partials, size_t size)
{
	assert(size <= partials->booked_bytes);
	partials->booked_bytes -= size;
}

void partial_drop(struct partials *partials, struct partial *partial)
{
	if (partial->data == NULL)
		return;
	partials_release(partials, partial->header.size);
	free(partial->data);
	partial->data = NULL;
	partial->received = 0;
	list_remove(&partial->node);
}

/* The oldest that nobody attends go until size more bytes fit. */
static bool make_room(struct partials *partials, size_t size)
{
	if (size > partials->budget_bytes)
		return false;
	LIST_FOR_EACH (node, &partials->kept) {
		if (partials->budget_bytes - partials->booked_bytes >= size)
			break;
		struct partial *partial = LIST_ENTRY(node, struct partial, node);
		if (partial->attended)
			continue;
		partial_drop(partials, partial);
		partials->evicted_count++;
	}
	return partials->budget_bytes - partials->booked_bytes >= size;
}

bool partial_begin(struct partials *partials, struct partial *partial,
                   const struct batch_header *header)
{
	assert(header->size > 0);
	partial_drop(partials, partial);
	if (!make_room(partials, header->size))
		return false;
	/* Pages that no piece has reached cost nothing yet, but they are booked. */
	partial->data = malloc(header->size);
	if (partial->data == NULL)
		return false;
	partials->booked_bytes += header->size;
	partial->header = *header;
	partial->received = 0;
	partial->attended = true;
	list_append(&partials->kept, &partial->node);
	return true;
}

enum partial_step partial_add(struct partials *partials, struct partial *partial,
                              const struct hash *content, uint64_t offset, struct bytes data)
{
	if (partial->data == NULL || !hash_equal(content, &partial->header.content) ||
	    offset > partial->received)
		return PARTIAL_UNKNOWN;
	if (data.size > partial->header.size - offset)
		return PARTIAL_EXCESS;
	size_t known = partial->received - (size_t)offset;
	if (data.size > known) {
		memcpy(partial->data + partial->received, data.data + known, data.size - known);
		partial->received += data.size - known;
	}
	partial->attended = true;
	list_remove(&partial->node);
	list_append(&partials->kept, &partial->node);
	return partial->received == partial->header.size ? PARTIAL_WHOLE : PARTIAL_MORE;
}

uint8_t *partial_take(struct partial *partial)
{
	assert(partial->data != NULL && partial->received == partial->header.size);
	uint8_t *data = partial->data;
	partial->data = NULL;
	partial->received = 0;
	list_remove(&partial->node);
	return data;
}
