/* session_chunk.c -- pieces of batches, as they come in. */
#include <inttypes.h>
#include <stdio.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/session.h"

/* zstd can grow what it cannot shrink, by little. */
#define COMPRESSED_SLACK (64u << 10)

/* Answers a batch of which we take no more; its further pieces are passed over. */
static void refuse(struct session_chain *place, Zonerelay__Link__RejectReason reason,
                   Zonerelay__Link__RejectAction action, const struct hash *content,
                   const char *detail)
{
	const struct chain *chain = place->chain;
	struct refusal refusal = {
		.reason = reason, .action = action, .content = *content, .detail = detail
	};
	if (chain != NULL)
		refusal.next_height = chain->admission.expected.next_height;
	if (action == ACTION(RETRY_AFTER))
		refusal.retry_after_ms = jittered_ms(INTAKE_RETRY_MS);
	place->skipped = *content;
	log_info("piece-refused", "chain=%s agent=%s reason=%d detail=\"%s\"",
	         chain != NULL ? chain->id.name : "?", place->session->agent, (int)reason, detail);
	session_send_reject(place, &refusal);
	if (action == ACTION(HOLD))
		session_chain_hold(place);
}

/* What the first piece announces, within limits that memory depends on; the rest is intake's. */
static bool read_header(const struct links *links, const Zonerelay__Link__BatchHeader *message,
                        const struct hash *content, struct batch_header *out_header)
{
	const struct config_limits *limits = &links->options.config->gateway.limits;
	uint64_t raw_max = limits->batch_bytes > limits->block_bytes ? limits->batch_bytes
	                                                             : limits->block_bytes;
	struct batch_header header = {
		.content = *content,
		.claim = { .first_height = message->first_height,
		           .block_count = message->block_count },
		.size = (size_t)message->size,
		.raw_size = (size_t)message->raw_size,
		.codec = message->codec,
	};
	struct bytes dictionary = { message->dictionary.data, message->dictionary.len };
	if (!hash_from_bytes(&header.claim.tip,
	                     (struct bytes){ message->tip_hash.data, message->tip_hash.len }) ||
	    (dictionary.size > 0 && !hash_from_bytes(&header.dictionary, dictionary)))
		return false;
	if (message->size == 0 || message->raw_size == 0 || message->block_count == 0 ||
	    message->raw_size > raw_max || message->size > raw_max + COMPRESSED_SLACK ||
	    message->block_count > limits->batch_block_count)
		return false;
	if (header.codec != CODEC_NONE && header.codec != CODEC_ZSTD)
		return false;
	*out_header = header;
	return true;
}

/* A batch is booked whole with its first piece. Of those, one link may have begun as many at once as
 * its credit is large, or a single larger one: else one agent with many chains, or with pieces that never
 * come, would take the memory that all others need. */
static bool begun_enough(const struct session_chain *place, size_t size)
{
	const struct session *session = place->session;
	uint64_t begun = 0;
	for (size_t i = 0; i < session->chain_count; i++) {
		const struct session_chain *other = &session->chains[i];
		const struct chain *chain = other->chain;
		if (other != place && chain != NULL && chain->active == other &&
		    chain->partial.data != NULL)
			begun += chain->partial.header.size;
	}
	return begun > 0 &&
	       begun + size > session->links->options.config->gateway.limits.credit_bytes;
}

/* The first piece of a batch. False: the batch is answered. */
static bool begin(struct session_chain *place, const Zonerelay__Link__Chunk *chunk,
                  const struct hash *content)
{
	struct links *links = place->session->links;
	struct chain *chain = place->chain;
	struct batch_header header;
	if (!read_header(links, chunk->header, content, &header)) {
		log_error("batch-too-large",
		          "chain=%s agent=%s first=%" PRIu64 " blocks=%u raw=%" PRIu64,
		          chain->id.name, place->session->agent, chunk->header->first_height,
		          chunk->header->block_count, chunk->header->raw_size);
		links->options.counters->rejected_too_large++;
		refuse(place, REASON(TOO_LARGE), ACTION(HOLD), content,
		       "block or batch above the limit, or no batch at all");
		return false;
	}
	const struct bringer bringer = { .link = place->session->number,
		                         .agent = place->session->agent };
	if (!intake_wants(links->intake, chain, &header, &bringer)) {
		place->skipped = *content;
		return false;
	}
	session_chain_give_back(place); /* What was begun before is given up. */
	if (begun_enough(place, header.size)) {
		links->options.counters->rejected_busy++;
		refuse(place, REASON(BUSY), ACTION(RETRY_AFTER), content,
		       "this link has begun enough batches");
		return false;
	}
	if (!partial_begin(links->options.partials, &chain->partial, &header)) {
		links->options.counters->rejected_busy++;
		refuse(place, REASON(BUSY), ACTION(RETRY_AFTER), content,
		       "no memory for another batch now");
		return false;
	}
	(void)snprintf(chain->partial_agent, sizeof(chain->partial_agent), "%s",
	               place->session->agent);
	/* Refused before, perhaps; now all of its pieces are wanted. */
	place->skipped = (struct hash){ { 0 } };
	return true;
}

static void whole(struct session_chain *place)
{
	struct links *links = place->session->links;
	struct chain *chain = place->chain;
	struct batch_header header = chain->partial.header;
	const struct bringer bringer = { .link = place->session->number,
		                         .link_bytes = place->partial_bytes,
		                         .link_batches = place->partial_batches,
		                         .agent = place->session->agent };
	place->partial_bytes = 0;
	place->partial_batches = 0;
	chain->progress_ms = clock_monotonic_ms(links->options.clock);
	uint8_t *payload = partial_take(&chain->partial);
	intake_offer(links->intake, chain, &header, payload, &bringer);
}

/* Takes the piece. False: nobody wants it, and its credit comes back at once. */
static bool take(struct session_chain *place, const Zonerelay__Link__Chunk *chunk,
                 const struct hash *content)
{
	struct links *links = place->session->links;
	struct chain *chain = place->chain;
	if (hash_equal(content, &place->skipped) && chunk->offset != 0)
		return false;
	if (chain == NULL || chain->active != place || place->held) {
		links->options.counters->rejected_denied++;
		refuse(place, REASON(DENIED), ACTION(HOLD), content, "not the active agent");
		return false;
	}
	bool known =
		chain->partial.data != NULL && hash_equal(&chain->partial.header.content, content);
	if (chunk->offset == 0 && !known &&
	    (chunk->header == NULL || !begin(place, chunk, content)))
		return false;
	struct bytes data = { chunk->data.data, chunk->data.len };
	enum partial_step step =
		partial_add(links->options.partials, &chain->partial, content, chunk->offset, data);
	if (step == PARTIAL_UNKNOWN) {
		links->options.counters->rejected_busy++;
		refuse(place, REASON(BUSY), ACTION(RETRY_AFTER), content,
		       "the beginning of this batch is not here (any more)");
		return false;
	}
	if (step == PARTIAL_EXCESS) {
		links->options.counters->rejected_malformed++;
		session_chain_give_back(place);
		partial_drop(links->options.partials, &chain->partial);
		refuse(place, REASON(MALFORMED), ACTION(HOLD), content,
		       "longer than its header says");
		return false;
	}
	chain->partial.piece_ms = clock_monotonic_ms(links->options.clock);
	place->partial_bytes += data.size;
	place->partial_batches += chunk->offset == 0 ? 1 : 0;
	if (step == PARTIAL_WHOLE)
		whole(place);
	return true;
}

void session_on_chunk(struct session *session, const Zonerelay__Link__Chunk *chunk)
{
	struct links *links = session->links;
	struct hash content;
	FAULT_POINT(CHUNK_READ);
	if (chunk->chain >= session->chain_count ||
	    !hash_from_bytes(&content, (struct bytes){ chunk->batch.data, chunk->batch.len })) {
		links->options.counters->protocol_errors++;
		session_goodbye(session, GOODBYE(PROTOCOL), jittered_ms(60000),
		                "a piece for no chain");
		return;
	}
	struct session_chain *place = &session->chains[chunk->chain];
	unsigned batches = chunk->offset == 0 ? 1 : 0;
	uint64_t size = chunk->data.len;
	if (!share_use(&session->share, size, batches)) {
		links->options.counters->rejected_credit++;
		if (!hash_equal(&content, &place->skipped) || batches > 0)
			refuse(place, REASON(CREDIT), ACTION(RESUME), &content,
			       "more than was granted");
		share_done(&links->share, &session->share, size, batches);
		return;
	}
	/* A batch's credit comes back when the batch is done; that of a piece nobody wants, now. */
	if (!take(place, chunk, &content))
		share_done(&links->share, &session->share, size, batches);
	if (share_should_tell(&links->share, &session->share))
		session_tell_credit(session);
}
