/* pinned.c -- see pinned.h. */
#include "relay/pinned.h"

#include <inttypes.h>
#include <stdio.h>

#include "adapters/sidechain.h"
#include "relay/base/file.h"

#define PINNED_SIZE_MAX (16u << 20)

void pinned_fini(struct pinned *pinned)
{
	buffer_fini(&pinned->trust);
}

/* The pinned block says where the chain begins; the genesis itself is block 0. */
static bool set_origin(struct pinned *pinned, const struct chain_config *chain,
                       const struct block_header *origin, struct err *err)
{
	if (origin->height == 0) {
		if (!hash_is_zero(&chain->epoch) && !hash_equal(&chain->epoch, &origin->hash))
			return err_set(
				err, ZR_INVALID,
				"the pinned genesis is not the one of the zone file's epoch");
		pinned->id.epoch = origin->hash;
		return true;
	}
	if (hash_is_zero(&chain->epoch))
		return err_set(err, ZR_INVALID,
		               "block %" PRIu64 " is pinned, so the zone file must give the epoch, "
		               "the hash of block 0",
		               origin->height);
	pinned->id.epoch = chain->epoch;
	pinned->first_height = origin->height + 1;
	pinned->tip = origin->hash;
	return true;
}

bool pinned_from_bytes(struct pinned *out_pinned, const struct chain_config *chain,
                       struct bytes bytes, struct err *err)
{
	const struct sidechain *format = sidechain_find(chain->format);
	if (format == NULL)
		return err_set(err, ZR_INVALID, "format %s is not known to this program",
		               chain->format);
	struct trust *trust;
	if (!format->trust_pin(bytes, &trust, err))
		return false;
	struct pinned pinned = { .trust = BUFFER_EMPTY };
	(void)snprintf(pinned.id.name, sizeof(pinned.id.name), "%s", chain->name);
	format->trust_save(trust, &pinned.trust);
	bool ok = buffer_ok(&pinned.trust, err) &&
	          set_origin(&pinned, chain, format->trust_origin(trust), err);
	format->trust_free(trust);
	if (!ok) {
		pinned_fini(&pinned);
		return false;
	}
	*out_pinned = pinned;
	return true;
}

bool pinned_read(struct pinned *out_pinned, const struct chain_config *chain, struct err *err)
{
	struct buffer bytes = BUFFER_EMPTY;
	bool ok = file_read(chain->trust, PINNED_SIZE_MAX, &bytes, err) &&
	          (pinned_from_bytes(out_pinned, chain, buffer_bytes(&bytes), err) ||
	           err_wrap(err, "%s", chain->trust));
	buffer_fini(&bytes);
	return ok;
}
