/* sinks.c -- see sinks.h. */
#include "relay/sinks.h"

#include <string.h>

static const struct mainchain_adapter *(*const rows[])(void) = {
	mainchain_http,
};

const struct mainchain_adapter *sink_at(size_t index)
{
	return index < sizeof(rows) / sizeof(rows[0]) ? rows[index]() : NULL;
}

const struct mainchain_adapter *sink_find(const char *name)
{
	const struct mainchain_adapter *adapter = NULL;
	for (size_t i = 0; (adapter = sink_at(i)) != NULL; i++) {
		if (strcmp(adapter->name, name) == 0)
			return adapter;
	}
	return NULL;
}
