/* registry.c -- the one table of side-chain formats. A new format is one more row. */
#include "adapters/sidechain.h"

#include "adapters/sidechain/fabric/fabric.h"
#include "adapters/sidechain/ledger/ledger.h"

static const struct sidechain *(*const formats[])(void) = {
	ledger_format,
	fabric_format,
};

#define FORMAT_COUNT (sizeof(formats) / sizeof(formats[0]))

const struct sidechain *sidechain_at(size_t index)
{
	return index < FORMAT_COUNT ? formats[index]() : NULL;
}

const struct sidechain *sidechain_find_bytes(struct bytes name)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++) {
		if (bytes_equal(name, bytes_of_string(formats[i]()->name)))
			return formats[i]();
	}
	return NULL;
}

const struct sidechain *sidechain_find(const char *name)
{
	return sidechain_find_bytes(bytes_of_string(name));
}
