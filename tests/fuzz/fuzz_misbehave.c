/* fuzz_misbehave.c -- any bytes as the rules of a development main chain: refused, or shown as rules
 * that are accepted again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/devchain/misbehave.h"

static void act(struct misbehave *misbehave)
{
	uint64_t parameter;
	for (int kind = 0; kind < MISBEHAVE_COUNT; kind++)
		for (int call = MISBEHAVE_NO_CALL; call <= MAINCHAIN_CONTENT; call++)
			(void)misbehave_acts(misbehave, (enum misbehaviour)kind, call, &parameter);
	(void)misbehave_refuses(misbehave, "raft-1");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct misbehave *misbehave = NULL;
	struct err err;
	if (!misbehave_new(&misbehave, (struct bytes){ data, size }, &err))
		return 0;
	act(misbehave);
	json_t *shown = misbehave_show(misbehave);
	if (shown == NULL || !json_is_object(shown))
		abort();
	json_decref(shown);
	misbehave_free(misbehave);
	return 0;
}
