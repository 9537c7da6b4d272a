#include "relay/edge/intake.h"

#include <assert.h>

static const struct intake_ops *const kinds[] = {
	[EDGE_INPUT_STDIN] = &intake_lines,
	[EDGE_INPUT_FILE] = &intake_lines,
	[EDGE_INPUT_CSV] = &intake_lines,
	[EDGE_INPUT_SOCKET] = &intake_socket,
};

bool intake_open(struct intake **out_intake, const struct intake_context *context,
                 struct bytes position, struct err *err)
{
	size_t kind = (size_t)context->config->input;
	assert(kind < sizeof(kinds) / sizeof(kinds[0]) && kinds[kind] != NULL);
	return kinds[kind]->open(out_intake, context, position, err);
}

void intake_close(struct intake *intake)
{
	if (intake != NULL)
		intake->ops->close(intake);
}

bool intake_queue_has_room(const struct intake_queue *queue)
{
	return queue->count < INTAKE_QUEUE_COUNT && queue->data.size < INTAKE_QUEUE_BYTES;
}

bool intake_queue_add(struct intake_queue *queue, struct bytes entry, int64_t time_ms,
                      uint64_t mark)
{
	assert(queue->count < INTAKE_QUEUE_COUNT && entry.size > 0);
	size_t offset = queue->data.size;
	buffer_put(&queue->data, entry);
	if (!buffer_ok(&queue->data, NULL))
		return false;
	queue->entries[queue->count++] = (struct intake_entry){
		.offset = offset, .size = entry.size, .time_ms = time_ms, .mark = mark
	};
	return true;
}

struct bytes intake_queue_bytes(const struct intake_queue *queue, const struct intake_entry *entry)
{
	return (struct bytes){ queue->data.data + entry->offset, entry->size };
}
