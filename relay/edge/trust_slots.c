#include "relay/edge/trust_slots.h"

#include <stdio.h>

#define SLOT_COUNT     2
#define SLOT_NAME_SIZE (16 + 2 * CHAIN_KEY_SIZE)

/* u64 height it is in force from, then the saved set. */
static void slot_name(const struct chain_key *chain, size_t slot, char name[SLOT_NAME_SIZE])
{
	char hex[2 * CHAIN_KEY_SIZE + 1];
	hex_encode(BYTES_OF(*chain), hex);
	snprintf(name, SLOT_NAME_SIZE, "trust-%zu.%s", slot, hex);
}

/* *out_from is UINT64_MAX for an empty slot. */
static bool read_slot(struct agent_store *store, const struct chain_key *chain, size_t slot,
                      struct buffer *value, uint64_t *out_from, struct err *err)
{
	char name[SLOT_NAME_SIZE];
	slot_name(chain, slot, name);
	buffer_clear(value);
	if (!agent_meta_get(store, name, value, err))
		return false;
	struct reader reader = reader_of(buffer_bytes(value));
	*out_from = value->size == 0 ? UINT64_MAX : reader_u64(&reader);
	if (value->size > 0 && reader.failed)
		return err_set(err, ZR_CORRUPT, "%s is cut", name);
	return true;
}

bool trust_slots_load(struct agent_store *store, const struct chain_key *chain,
                      const struct sidechain *format, uint64_t next_height,
                      struct trust **out_trust, uint64_t *out_from, struct err *err)
{
	struct buffer values[SLOT_COUNT] = { BUFFER_EMPTY, BUFFER_EMPTY };
	size_t best = SLOT_COUNT;
	uint64_t best_from = 0;
	bool ok = true;
	for (size_t slot = 0; ok && slot < SLOT_COUNT; slot++) {
		uint64_t from = 0;
		ok = read_slot(store, chain, slot, &values[slot], &from, err);
		if (ok && from <= next_height && (best == SLOT_COUNT || from > best_from)) {
			best = slot;
			best_from = from;
		}
	}
	if (ok && best == SLOT_COUNT) {
		*out_trust = NULL;
	} else if (ok) {
		struct bytes saved = buffer_bytes(&values[best]);
		saved = (struct bytes){ saved.data + 8, saved.size - 8 };
		ok = format->trust_load(saved, out_trust, err) || err_wrap(err, "stored trust set");
		if (ok)
			*out_from = best_from;
	}
	for (size_t slot = 0; slot < SLOT_COUNT; slot++)
		buffer_fini(&values[slot]);
	return ok;
}

bool trust_slots_store(struct agent_store *store, const struct chain_key *chain,
                       const struct sidechain *format, const struct trust *trust, uint64_t from,
                       struct err *err)
{
	struct buffer value = BUFFER_EMPTY;
	uint64_t froms[SLOT_COUNT] = { 0 };
	bool ok = true;
	for (size_t slot = 0; ok && slot < SLOT_COUNT; slot++)
		ok = read_slot(store, chain, slot, &value, &froms[slot], err);
	if (!ok) {
		buffer_fini(&value);
		return false;
	}
	/* In force now is the newest below `from`; the other slot may go. A slot at or above `from`
	 * is left from a crash before its header was stored: nothing is lost with it. */
	size_t target = 0;
	if (froms[0] < from && (froms[1] >= from || froms[1] < froms[0]))
		target = 1;

	char name[SLOT_NAME_SIZE];
	slot_name(chain, target, name);
	buffer_clear(&value);
	buffer_put_u64(&value, from);
	format->trust_save(trust, &value);
	ok = buffer_ok(&value, err) && agent_meta_put(store, name, buffer_bytes(&value), err);
	buffer_fini(&value);
	return ok;
}
