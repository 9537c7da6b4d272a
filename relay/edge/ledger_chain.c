#include "relay/edge/ledger_chain.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapters/sidechain/ledger/ledger.h"
#include "relay/base/fault_point.h"
#include "relay/base/file.h"
#include "spool/store.h"

#define GENESIS_MAX       (1u << 20)
#define ROOM_LOOK_APPENDS 32 /* The store's free room is looked up once in so many appends. */
#define ROOM_SHARE        16 /* This part of the store is kept for receipts, */
#define ROOM_BLOCKS       2  /* and room for so many blocks at least, */
#define ROOM_BYTES        (96u << 10) /* and for the pages that any change copies. */

struct ledger_chain {
	struct agent_store *store;
	const struct clock *clock;
	struct key *key;
	struct trust *trust; /* Of the genesis: what the blocks we seal must satisfy. */
	struct agent_chain facts;
	bool behind; /* The store has more than facts: it could not be read after a commit. */
	struct agent_entries entries; /* Scratch. */
	struct buffer raw;
	uint64_t kept_bytes; /* Of the store, for sealing and receipts. */
	uint64_t room_bytes; /* May be appended before the room is looked up again. */
	unsigned appends;
};

void ledger_chain_close(struct ledger_chain *chain)
{
	if (chain == NULL)
		return;
	agent_entries_fini(&chain->entries);
	buffer_fini(&chain->raw);
	ledger_format()->trust_free(chain->trust);
	key_free(chain->key);
	free(chain);
}

const struct agent_chain *ledger_chain_facts(const struct ledger_chain *chain)
{
	return &chain->facts;
}

bool ledger_chain_refresh(struct ledger_chain *chain, struct err *err)
{
	struct chain_key key = chain_key(&chain->facts.id);
	return agent_chain(chain->store, &key, &chain->facts, err);
}

/* After a commit. What was done must not be done again by one who does not know of it. */
static bool catch_up(struct ledger_chain *chain, struct err *err)
{
	chain->behind = !ledger_chain_refresh(chain, err);
	return !chain->behind;
}

bool ledger_chain_is_behind(const struct ledger_chain *chain)
{
	return chain->behind;
}

/* ---- opening ---- */

static bool read_key(struct ledger_chain *chain, const struct edge_source_config *config,
                     struct err *err)
{
	if (!suite_available(config->suite))
		return err_set(err, ZR_INVALID, "this OpenSSL has no %s",
		               suite_name(config->suite));
	if (!key_read_file(&chain->key, config->key, err))
		return err_wrap(err, "key %s", config->key);
	if (key_suite(chain->key) != config->suite || !key_is_private(chain->key))
		return err_set(err, ZR_INVALID, "key %s is not a private key of %s", config->key,
		               suite_name(config->suite));
	return true;
}

/* The first start: a chain of its own, of which the genesis is block 0. */
static bool make_genesis(struct ledger_chain *chain, const struct edge_chain_config *config,
                         struct err *err)
{
	if (access(config->trust, F_OK) == 0)
		return err_set(err, ZR_STATE,
		               "%s is the genesis of a chain that is not in %s: the store was "
		               "lost. Bring it back, or move the file away to begin a new chain "
		               "that the zone must admit",
		               config->trust, config->source.dir);
	const struct key *keys[] = { chain->key };
	struct ledger_set set = { .keys = keys, .key_count = 1, .threshold = 1 };
	struct block_header header;
	int64_t now_ms = clock_wall_ms(chain->clock);
	buffer_clear(&chain->raw);
	if (!ledger_genesis_build(&set, now_ms, &chain->raw, &header, err))
		return err_wrap(err, "genesis");

	struct agent_chain_new new = {
		.format = ledger_format()->name,
		.is_ledger = true,
		.genesis = &header,
		.genesis_raw = buffer_bytes(&chain->raw),
		.now_ms = now_ms,
	};
	strncpy(new.id.name, config->name, sizeof(new.id.name) - 1);
	new.id.epoch = header.hash;
	struct chain_key key = chain_key(&new.id);
	FAULT_POINT(GENESIS_KEEPING);
	if (!agent_chain_add(chain->store, &new, err))
		return false;
	FAULT_POINT(GENESIS_KEPT);
	return agent_chain(chain->store, &key, &chain->facts, err);
}

/* The genesis in the store and the pinned file are the same, and the key may seal. */
static bool check_genesis(struct ledger_chain *chain, const struct edge_chain_config *config,
                          struct err *err)
{
	struct chain_key key = chain_key(&chain->facts.id);
	struct buffer pinned = BUFFER_EMPTY;
	buffer_clear(&chain->raw);
	if (!agent_block(chain->store, &key, 0, &chain->raw, err))
		return err_wrap(err, "genesis");
	struct bytes genesis = buffer_bytes(&chain->raw);
	bool ok = true;
	if (access(config->trust, F_OK) != 0) {
		ok = file_write_atomic(config->trust, genesis, 0644, err);
	} else {
		ok = file_read(config->trust, GENESIS_MAX, &pinned, err);
		if (ok && !bytes_equal(buffer_bytes(&pinned), genesis))
			ok = err_set(err, ZR_STATE, "%s is not the genesis of the chain in %s",
			             config->trust, config->source.dir);
	}
	buffer_fini(&pinned);
	return ok && ledger_format()->trust_pin(genesis, &chain->trust, err);
}

/* Builds the next block of the given entries; it must satisfy the trust set that others pin. */
static bool build(struct ledger_chain *chain, const struct bytes *entries, size_t count,
                  struct block_header *out_header, struct err *err)
{
	int64_t now_ms = clock_wall_ms(chain->clock);
	const struct key *signers[] = { chain->key };
	struct ledger_draft draft = {
		.height = chain->facts.next_height,
		.parent = chain->facts.tip,
		.time_ms = now_ms > chain->facts.tip_time_ms ? now_ms : chain->facts.tip_time_ms,
		.entries = entries,
		.entry_count = count,
		.signers = signers,
		.signer_count = 1,
	};
	struct block block;
	buffer_clear(&chain->raw);
	return ledger_block_build(&draft, &chain->raw, out_header, err) &&
	       ledger_format()->read(buffer_bytes(&chain->raw), &block, err) &&
	       ledger_format()->verify(chain->trust, &block, err);
}

/* Found out now rather than at the first block. */
static bool check_key(struct ledger_chain *chain, const struct edge_chain_config *config,
                      struct err *err)
{
	struct bytes nothing = BYTES_LITERAL("-");
	struct block_header header;
	if (build(chain, &nothing, 1, &header, err))
		return true;
	return err_wrap(err, "key %s may not seal this chain", config->source.key);
}

/* Sealing needs room while its entries are still there: it is never given away to entries. */
static bool keep_room(struct ledger_chain *chain, const struct edge_source_config *config,
                      struct err *err)
{
	uint64_t blocks = ROOM_BLOCKS * config->block_bytes + ROOM_BYTES;
	uint64_t share = config->size_bytes / ROOM_SHARE;
	chain->kept_bytes = blocks > share ? blocks : share;
	if (chain->kept_bytes > config->size_bytes / 2)
		return err_set(err, ZR_INVALID,
		               "source.size is too small for blocks of source.block-bytes: it must "
		               "be %llu bytes at least",
		               (unsigned long long)blocks * 2);
	return true;
}

bool ledger_chain_open(struct ledger_chain **out_chain, const struct edge_chain_config *config,
                       struct agent_store *store, const struct clock *clock, struct err *err)
{
	struct ledger_chain *chain = calloc(1, sizeof(*chain));
	if (chain == NULL)
		return err_set(err, ZR_NO_MEMORY, "ledger chain");
	chain->store = store;
	chain->clock = clock;
	chain->entries = AGENT_ENTRIES_EMPTY;
	chain->raw = BUFFER_EMPTY;

	bool found = false;
	if (!keep_room(chain, &config->source, err) || !read_key(chain, &config->source, err) ||
	    !agent_chain_by_name(store, config->name, &chain->facts, &found, err))
		goto fail;
	if (!found && !make_genesis(chain, config, err))
		goto fail;
	if (!check_genesis(chain, config, err) || !check_key(chain, config, err))
		goto fail;
	*out_chain = chain;
	return true;

fail:
	ledger_chain_close(chain);
	return false;
}

/* ---- entries ---- */

/* Room for entries runs out before the room for sealing them and for receipts does. */
static bool has_room(struct ledger_chain *chain, uint64_t bytes, struct err *err)
{
	if (chain->appends++ % ROOM_LOOK_APPENDS == 0 || bytes > chain->room_bytes) {
		struct store_stats stats;
		if (!store_stats(agent_store_base(chain->store), &stats, err))
			return false;
		uint64_t kept = chain->kept_bytes / stats.page_size;
		uint64_t used = stats.pages_file - stats.pages_free;
		uint64_t free_pages =
			stats.pages_limit > used + kept ? stats.pages_limit - used - kept : 0;
		/* An entry may take about twice its size in pages. */
		chain->room_bytes = free_pages * stats.page_size / 2;
	}
	if (bytes > chain->room_bytes)
		return err_set(err, ZR_FULL, "the ledger's store is full");
	chain->room_bytes -= bytes;
	return true;
}

bool ledger_chain_append(struct ledger_chain *chain, const struct bytes *entries, size_t count,
                         struct bytes position, uint64_t *out_first, struct err *err)
{
	struct agent_append append = {
		.chain = chain_key(&chain->facts.id),
		.entries = entries,
		.entry_count = count,
		.position = position,
		.now_ms = clock_wall_ms(chain->clock),
	};
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++)
		bytes += entries[i].size;
	return has_room(chain, bytes, err) &&
	       agent_ledger_append(chain->store, &append, out_first, err) && catch_up(chain, err);
}

bool ledger_chain_seal(struct ledger_chain *chain, size_t count_max, size_t bytes_max,
                       size_t *out_entries, size_t *out_bytes, struct err *err)
{
	struct chain_key key = chain_key(&chain->facts.id);
	size_t most = count_max < LEDGER_ENTRIES_MAX ? count_max : LEDGER_ENTRIES_MAX;
	if (!agent_ledger_open_entries(chain->store, &key, most, bytes_max, &chain->entries, err))
		return false;
	size_t count = chain->entries.count;
	assert(count > 0);
	struct bytes *entries = calloc(count, sizeof(entries[0]));
	if (entries == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu entries", count);
	size_t offset = 0;
	for (size_t i = 0; i < count; i++) {
		entries[i] = (struct bytes){ chain->entries.data.data + offset,
			                     chain->entries.sizes[i] };
		offset += chain->entries.sizes[i];
	}
	struct block_header header;
	bool ok = build(chain, entries, count, &header, err);
	FAULT_POINT(BLOCK_SEALING);
	ok = ok &&
	     agent_ledger_seal(chain->store, &key, &header, buffer_bytes(&chain->raw), count, err);
	FAULT_POINT(BLOCK_SEALED);
	free(entries);
	if (!ok)
		return err_wrap(err, "seal block %llu",
		                (unsigned long long)chain->facts.next_height);
	*out_entries = count;
	*out_bytes = chain->raw.size;
	return catch_up(chain, err);
}
