/* walk.c -- see walk.h. */
#include "adapters/sidechain/walk.h"

#include <assert.h>
#include <inttypes.h>

#include "proto/compress.h"

static const char *const names[] = {
	[WALK_FINE] = "fine", [WALK_MALFORMED] = "malformed", [WALK_HEIGHT] = "height",
	[WALK_LINK] = "link", [WALK_UNTRUSTED] = "untrusted",
};

const char *walk_fault_name(enum walk_fault fault)
{
	assert((size_t)fault < sizeof(names) / sizeof(names[0]));
	return names[fault];
}

void walk_init(struct walk *walk, const struct sidechain *format, const struct trust *trust,
               const struct hash *epoch, struct walk_position position)
{
	*walk = (struct walk){
		.format = format,
		.position = position,
		.epoch = epoch,
		.trust = trust,
		.trust_from = format->trust_origin(trust)->height + 1,
	};
}

void walk_fini(struct walk *walk)
{
	walk->format->trust_free(walk->trust_owned);
	walk->trust_owned = NULL;
}

struct trust *walk_take_trust(struct walk *walk)
{
	struct trust *taken = walk->trust_owned;
	walk->trust_owned = NULL;
	return taken;
}

/* from, 8 bytes; the set as its format saves it, with its length. */
static bool keep_replaced(const struct walk *walk, struct err *err)
{
	struct buffer *replaced = walk->replaced;
	if (replaced == NULL || walk->trust_owned == NULL)
		return true;
	struct buffer saved = BUFFER_EMPTY;
	walk->format->trust_save(walk->trust_owned, &saved);
	bool good = buffer_ok(&saved, err);
	if (good) {
		buffer_put_u64(replaced, walk->trust_from);
		buffer_put_long(replaced, buffer_bytes(&saved));
		good = buffer_ok(replaced, err);
	}
	buffer_fini(&saved);
	return good;
}

bool walk_next_replaced(struct reader *replaced, uint64_t *out_from, struct bytes *out_trust)
{
	*out_from = reader_u64(replaced);
	*out_trust = reader_long(replaced);
	return !replaced->failed;
}

/* The block that the set in force came from was vouched for when it was pinned: it has to be that
 * very block, and needs nothing more. */
static bool is_pinned(const struct walk *walk, const struct block_header *header)
{
	const struct block_header *origin = walk->format->trust_origin(walk->trust);
	return header->height == origin->height && hash_equal(&header->hash, &origin->hash);
}

static bool links(const struct walk *walk, const struct block_header *header, struct err *err)
{
	const struct block_header *origin = walk->format->trust_origin(walk->trust);
	if (header->height == origin->height && !hash_equal(&header->hash, &origin->hash))
		return err_set(err, ZR_UNTRUSTED, "block %" PRIu64 " is not the pinned one",
		               header->height);
	if (header->height == 0)
		return hash_equal(&header->hash, walk->epoch) ||
		       err_set(err, ZR_UNTRUSTED, "block 0 is of another chain");
	/* Where a chain is followed from a pinned block on, that block comes without a parent. */
	if (hash_is_zero(&walk->position.tip) && header->height == origin->height)
		return true;
	return hash_equal(&header->parent, &walk->position.tip) ||
	       err_set(err, ZR_UNTRUSTED, "block %" PRIu64 " does not link to the block before it",
	               header->height);
}

static enum walk_fault fault_of(const struct err *err)
{
	return err->code == ZR_UNTRUSTED ? WALK_UNTRUSTED : WALK_MALFORMED;
}

/* What the block must satisfy under the set in force, and the set after it. */
static enum walk_fault judge(struct walk *walk, const struct block *block, bool check_signatures,
                             struct trust **out_next, struct err *err)
{
	const struct sidechain *format = walk->format;
	if (!format->admits(walk->trust, block, err))
		return fault_of(err);
	if ((check_signatures || block->changes_trust) && !format->verify(walk->trust, block, err))
		return fault_of(err);
	if (block->changes_trust && !format->trust_next(walk->trust, block, out_next, err))
		return fault_of(err);
	return WALK_FINE;
}

static enum walk_fault step(struct walk *walk, struct bytes raw, bool check_signatures,
                            struct block *out_block, struct err *err)
{
	if (!walk->format->read(raw, out_block, err))
		return WALK_MALFORMED;
	const struct block_header *header = &out_block->header;
	if (header->height != walk->position.next_height) {
		(void)err_set(err, ZR_INVALID, "block %" PRIu64 " where %" PRIu64 " is next",
		              header->height, walk->position.next_height);
		return WALK_HEIGHT;
	}
	if (!links(walk, header, err))
		return WALK_LINK;

	struct trust *next = NULL;
	if (!is_pinned(walk, header)) {
		enum walk_fault fault = judge(walk, out_block, check_signatures, &next, err);
		if (fault != WALK_FINE)
			return fault;
	}
	if (next != NULL) {
		if (!keep_replaced(walk, err)) {
			walk->format->trust_free(next);
			return WALK_MALFORMED; /* err says that it is a shortage. */
		}
		walk->format->trust_free(walk->trust_owned);
		walk->trust_owned = next;
		walk->trust = next;
		walk->trust_from = header->height + 1;
	}
	walk->position.next_height = header->height + 1;
	walk->position.tip = header->hash;
	return WALK_FINE;
}

enum walk_fault walk_block(struct walk *walk, struct bytes raw, bool check_signatures,
                           struct block *out_block, struct err *err)
{
	struct err ignored;
	return step(walk, raw, check_signatures, out_block, err == NULL ? &ignored : err);
}

/* Blocks of the batch one after the other, on a walk that may be thrown away. */
static enum walk_fault walk_all(struct walk *walk, const struct walk_batch *batch,
                                struct block_header *out_headers, size_t *out_count,
                                uint64_t *out_bad_height, struct err *err)
{
	struct reader reader = reader_of(batch->raw);
	struct bytes raw;
	size_t count = 0;
	int more = batch_next_block(&reader, batch->block_max_bytes, &raw);
	while (more == 1) {
		struct bytes current = raw;
		struct block block;
		more = batch_next_block(&reader, batch->block_max_bytes, &raw);
		*out_bad_height = walk->position.next_height;
		if (count == batch->count_max) {
			(void)err_set(err, ZR_INVALID, "a batch of more than %zu blocks",
			              batch->count_max);
			return WALK_MALFORMED;
		}
		/* Links make the last signature vouch for every block before it. */
		bool last = more != 1;
		enum walk_fault fault =
			step(walk, current, last || batch->policy == POLICY_ALL, &block, err);
		if (fault != WALK_FINE)
			return fault;
		out_headers[count++] = block.header;
	}
	if (more < 0 || count == 0) {
		*out_bad_height = walk->position.next_height;
		(void)err_set(err, ZR_INVALID, "not a batch of blocks");
		return WALK_MALFORMED;
	}
	*out_count = count;
	return WALK_FINE;
}

enum walk_fault walk_batch(struct walk *walk, const struct walk_batch *batch,
                           struct block_header *out_headers, size_t *out_count,
                           uint64_t *out_bad_height, struct err *err)
{
	struct err ignored;
	struct walk trial = *walk;
	trial.trust_owned = NULL;
	enum walk_fault fault = walk_all(&trial, batch, out_headers, out_count, out_bad_height,
	                                 err == NULL ? &ignored : err);
	if (fault != WALK_FINE) {
		walk_fini(&trial);
		return fault;
	}
	if (trial.trust_owned != NULL)
		walk_fini(walk);
	else
		trial.trust_owned = walk->trust_owned;
	*walk = trial;
	return WALK_FINE;
}
