#include "relay/edge/source.h"

#include <assert.h>

static const struct source_ops *const kinds[] = {
	[EDGE_SOURCE_FABRIC_DIR] = &source_fabric_dir,
	[EDGE_SOURCE_LEDGER] = &source_ledger,
};

bool source_open(struct source **out_source, const struct source_context *context, struct err *err)
{
	size_t kind = (size_t)context->config->source.type;
	assert(kind < sizeof(kinds) / sizeof(kinds[0]) && kinds[kind] != NULL);
	if (!kinds[kind]->open(out_source, context, err))
		return err_wrap(err, "chain %s: source %s", context->config->name,
		                kinds[kind]->name);
	return true;
}

void source_close(struct source *source)
{
	if (source != NULL)
		source->ops->close(source);
}
