/* One handler per route, and the table of routes. */
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/devchain/server_private.h"
#include "adapters/mainchain/trusted.h"
#include "relay/base/clock.h"

static struct ledger *ledger_of(const struct exchange *exchange)
{
	return exchange->server->options.ledger;
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *hash_text(const struct hash *hash)
{
	char hex[HASH_HEX_SIZE];
	return json_string(hash_hex(hash, hex));
}

static json_t *base64_text(struct bytes bytes)
{
	struct buffer text = BUFFER_EMPTY;
	base64_encode(bytes, &text);
	json_t *value = text.failed ? NULL : json_stringn((const char *)text.data, text.size);
	buffer_fini(&text);
	return value;
}

/* ---- batches ---- */

static void put_batch(struct exchange *exchange)
{
	struct bytes payload = buffer_bytes(&exchange->body);
	struct hash content = sha256(payload);
	struct err err;
	bool before;
	if (payload.size > exchange->server->options.batch_max_bytes) {
		reply_reason(exchange, API_TOO_LARGE, 413, "the batch");
	} else if (payload.size == 0 || !hash_equal(&content, &exchange->hash)) {
		reply_reason(exchange, API_CONTENT, 422, "the bytes are not what the path says");
	} else if (!ledger_put_batch(ledger_of(exchange), &content, payload, &before, &err)) {
		reply_failure(exchange, &err);
	} else {
		reply_json(exchange, before ? 200 : 201,
		           json_pack("{s:o, s:o, s:o}", "content", hash_text(&content), "size",
		                     number(payload.size), "height",
		                     number(ledger_height(ledger_of(exchange)))));
	}
}

/* What a reading function gave, or that there is nothing. Ends bytes. */
static void reply_found(struct exchange *exchange, bool done, bool found, struct buffer *bytes,
                        const struct err *err)
{
	if (!done) {
		reply_failure(exchange, err);
	} else if (!found) {
		reply_absent(exchange, ledger_height(ledger_of(exchange)));
	} else {
		reply_bytes(exchange, buffer_bytes(bytes));
	}
	buffer_fini(bytes);
}

static void get_batch(struct exchange *exchange)
{
	struct buffer bytes = BUFFER_EMPTY;
	struct err err;
	bool found = false;
	bool done = ledger_get_batch(ledger_of(exchange), &exchange->hash, &bytes, &found, &err);
	reply_found(exchange, done, found, &bytes, &err);
}

/* ---- anchors ---- */

static bool is_final(const struct exchange *exchange, const struct ledger_place *place,
                     uint64_t as_of)
{
	uint64_t depth = exchange->server->options.finality_blocks;
	return place->block <= ledger_final_height(ledger_of(exchange)) &&
	       place->block + depth <= as_of;
}

/* Base64 of the evidence; NULL if it cannot be had. */
static json_t *evidence_text(struct exchange *exchange, const struct ledger_place *place,
                             struct err *err)
{
	struct buffer evidence = BUFFER_EMPTY;
	json_t *text = NULL;
	if (ledger_evidence(ledger_of(exchange), place, &evidence, err)) {
		if (exchange_acts(exchange, MISBEHAVE_BAD_EVIDENCE, NULL))
			evidence.data[evidence.size - 1] ^= 1;
		text = base64_text(buffer_bytes(&evidence));
	}
	buffer_fini(&evidence);
	return text;
}

static void reply_place(struct exchange *exchange, int status, const struct ledger_place *place,
                        uint64_t as_of)
{
	const struct main_transaction *transaction = &place->transaction;
	bool final = is_final(exchange, place, as_of);
	struct err err;
	json_t *object = json_pack(
		"{s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "status", final ? "final" : "included",
		"lane", (int)transaction->lane, "seq", number(transaction->seq), "root",
		hash_text(&transaction->root), "key", hash_text(&transaction->key), "block",
		number(place->block), "height", number(as_of));
	if (final) {
		json_t *evidence = evidence_text(exchange, place, &err);
		if (evidence == NULL) {
			json_decref(object);
			reply_failure(exchange, &err);
			return;
		}
		json_object_set_new(object, "evidence", evidence);
	}
	reply_json(exchange, status, object);
}

void reply_judged(struct exchange *exchange)
{
	const struct ledger_verdict *verdict = &exchange->submission.verdict;
	if (!verdict->accepted)
		reply_verdict(exchange);
	else
		reply_place(exchange, verdict->before ? 200 : 201, &verdict->place,
		            ledger_height(ledger_of(exchange)));
}

static bool read_fence(struct exchange *exchange, uint64_t *out_fence)
{
	const char *text = evhttp_find_header(evhttp_request_get_input_headers(exchange->request),
	                                      API_FENCE_HEADER);
	return text != NULL && route_number(bytes_of_string(text), MAIN_NUMBER_MAX, out_fence) &&
	       *out_fence > 0;
}

static void submit(struct exchange *exchange)
{
	struct server *server = exchange->server;
	struct ledger_submission *submission = &exchange->submission;
	struct ledger_rules rules;
	struct err err;
	submission->lane = exchange->lane;
	submission->key = exchange->hash;
	submission->content = buffer_bytes(&exchange->body);
	server_rules(server, false, &rules);
	if (submission->content.size > server->options.anchor_max_bytes) {
		reply_reason(exchange, API_TOO_LARGE, 413, "the anchor");
	} else if (!read_fence(exchange, &submission->fence)) {
		reply_reason(exchange, API_CONTENT, 400, API_FENCE_HEADER);
	} else if (!ledger_judge(ledger_of(exchange), submission, &rules, &err)) {
		reply_failure(exchange, &err);
	} else if (!submission->verdict.accepted || submission->verdict.before) {
		reply_judged(exchange);
	} else {
		list_append(&server->pending, &exchange->pending);
		server->pending_count++;
		server_schedule(server);
	}
}

/* Finds the anchor that the path names; answers itself, and gives false, where there is none. */
static bool find_anchor(struct exchange *exchange, uint64_t as_of, struct ledger_place *out_place)
{
	struct err err;
	bool found = false;
	if (!ledger_find(ledger_of(exchange), exchange->lane, &exchange->hash, as_of, &found,
	                 out_place, &err)) {
		reply_failure(exchange, &err);
	} else if (!found) {
		reply_absent(exchange, as_of);
	}
	return found;
}

static void lookup(struct exchange *exchange)
{
	struct ledger_place place;
	uint64_t as_of = server_as_of(exchange);
	if (find_anchor(exchange, as_of, &place))
		reply_place(exchange, 200, &place, as_of);
}

static void get_proof(struct exchange *exchange)
{
	struct ledger_place place;
	struct buffer evidence = BUFFER_EMPTY;
	struct err err;
	uint64_t height = ledger_height(ledger_of(exchange));
	if (!find_anchor(exchange, height, &place))
		return;
	if (!is_final(exchange, &place, height)) {
		reply_json(exchange, 404,
		           json_pack("{s:s, s:o}", "status", "included", "height", number(height)));
		return;
	}
	bool done = ledger_evidence(ledger_of(exchange), &place, &evidence, &err);
	reply_found(exchange, done, true, &evidence, &err);
}

static void get_content(struct exchange *exchange)
{
	struct ledger_place place;
	struct buffer content = BUFFER_EMPTY;
	struct err err;
	bool found = false;
	if (!find_anchor(exchange, ledger_height(ledger_of(exchange)), &place))
		return;
	bool done = ledger_content(ledger_of(exchange), &exchange->hash, &content, &found, &err);
	reply_found(exchange, done, found, &content, &err);
}

/* As a gateway asks that lost its memory of them. */
static void get_sequence(struct exchange *exchange)
{
	struct buffer content = BUFFER_EMPTY;
	struct err err;
	bool found = false;
	bool done = ledger_sequence(ledger_of(exchange), exchange->lane, exchange->height,
	                            &exchange->hash, &found, &err) &&
	            (!found ||
	             ledger_content(ledger_of(exchange), &exchange->hash, &content, &found, &err));
	reply_found(exchange, done, found, &content, &err);
}

/* ---- lanes ---- */

static void head(struct exchange *exchange)
{
	struct ledger_head head;
	struct err err;
	uint64_t as_of = server_as_of(exchange);
	if (!ledger_head(ledger_of(exchange), exchange->lane, as_of, &head, &err)) {
		reply_failure(exchange, &err);
		return;
	}
	reply_json(exchange, 200,
	           json_pack("{s:i, s:o, s:o, s:o, s:o, s:o}", "lane", (int)exchange->lane, "seq",
	                     number(head.seq), "root", hash_text(&head.root), "key",
	                     hash_text(&head.key), "fence", number(head.fence), "height",
	                     number(as_of)));
}

/* The request's body as a JSON object; NULL if it is none. A new reference. */
static json_t *read_object(struct exchange *exchange)
{
	struct bytes body = buffer_bytes(&exchange->body);
	if (body.size > SERVER_DEV_BODY_MAX)
		return NULL;
	json_t *object =
		json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static bool read_member(struct exchange *exchange, const char *name, uint64_t max,
                        uint64_t *out_number)
{
	json_t *object = read_object(exchange);
	const json_t *value = json_object_get(object, name);
	bool good = json_is_integer(value) && json_integer_value(value) >= 0 &&
	            (uint64_t)json_integer_value(value) <= max;
	if (good)
		*out_number = (uint64_t)json_integer_value(value);
	json_decref(object);
	return good;
}

static void fence(struct exchange *exchange)
{
	uint64_t expected, in_force;
	bool acquired;
	struct err err;
	if (!read_member(exchange, "expected", MAIN_NUMBER_MAX - 1, &expected)) {
		reply_reason(exchange, API_CONTENT, 400, "\"expected\"");
	} else if (!ledger_fence(ledger_of(exchange), exchange->lane, expected, &acquired,
	                         &in_force, &err)) {
		reply_failure(exchange, &err);
	} else if (acquired) {
		reply_json(exchange, 200,
		           json_pack("{s:i, s:o, s:o}", "lane", (int)exchange->lane, "fence",
		                     number(in_force), "height",
		                     number(ledger_height(ledger_of(exchange)))));
	} else {
		struct ledger_verdict *verdict = &exchange->submission.verdict;
		*verdict = (struct ledger_verdict){ .reason = API_FENCED,
			                            .entry_index = -1,
			                            .fence = in_force };
		reply_verdict(exchange);
	}
}

/* ---- blocks, status, audit ---- */

static json_t *transactions_json(struct bytes records)
{
	json_t *list = json_array();
	for (size_t at = 0; at < records.size; at += MAIN_TRANSACTION_SIZE)
		json_array_append_new(list, base64_text((struct bytes){ records.data + at,
		                                                        MAIN_TRANSACTION_SIZE }));
	return list;
}

static void get_block(struct exchange *exchange)
{
	struct ledger_block block = LEDGER_BLOCK_EMPTY;
	struct err err;
	bool found = false;
	if (!ledger_block(ledger_of(exchange), exchange->height, &found, &block, &err)) {
		reply_failure(exchange, &err);
	} else if (!found) {
		reply_absent(exchange, ledger_height(ledger_of(exchange)));
	} else {
		struct hash hash = main_block_hash(ledger_alg(ledger_of(exchange)),
		                                   buffer_bytes(&block.record));
		json_t *object =
			json_pack("{s:o, s:o, s:b, s:o, s:o}", "height", number(exchange->height),
		                  "hash", hash_text(&hash), "final", block.final, "header",
		                  base64_text(buffer_bytes(&block.record)), "transactions",
		                  transactions_json(buffer_bytes(&block.transactions)));
		if (block.final)
			json_object_set_new(
				object, "signatures",
				json_pack("[{s:o, s:o}]", "key", hash_text(&block.key_id),
			                  "signature",
			                  base64_text(signature_bytes(&block.signature))));
		reply_json(exchange, 200, object);
	}
	ledger_block_fini(&block);
}

static void get_status(struct exchange *exchange)
{
	const struct ledger *ledger = ledger_of(exchange);
	const struct server_options *options = &exchange->server->options;
	reply_json(exchange, 200,
	           json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o}", "api", 1, "chain",
	                     ledger_chain(ledger), "hash", hash_alg_name(ledger_alg(ledger)),
	                     "height", number(ledger_height(ledger)), "final_height",
	                     number(ledger_final_height(ledger)), "batch_max_bytes",
	                     number(options->batch_max_bytes), "anchor_max_bytes",
	                     number(options->anchor_max_bytes)));
}

static json_t *range_json(uint64_t from, uint64_t to)
{
	return json_pack("[o, o]", number(from), number(to));
}

static json_t *audit_json(const struct ledger_audit_chain *chain)
{
	json_t *anchored = json_array(), *gaps = json_array();
	for (size_t i = 0; i < chain->anchored_count; i++) {
		const struct ledger_range *range = &chain->anchored[i];
		json_array_append_new(anchored, range_json(range->from, range->to));
		if (i > 0)
			json_array_append_new(gaps, range_json(range[-1].to + 1, range->from - 1));
	}
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "name", chain->id.name, "epoch",
	                 hash_text(&chain->id.epoch), "anchored", anchored, "blocks",
	                 number(chain->blocks), "duplicates", number(chain->duplicates), "gaps",
	                 gaps);
}

static void get_audit(struct exchange *exchange)
{
	struct ledger_audit audit = LEDGER_AUDIT_EMPTY;
	struct evkeyvalq query = { NULL, NULL };
	struct err err;
	const char *uri = evhttp_request_get_uri(exchange->request);
	const char *question = strchr(uri, '?');
	const char *name = NULL;
	if (question != NULL && evhttp_parse_query_str(question + 1, &query) == 0)
		name = evhttp_find_header(&query, "chain");
	if (!ledger_audit(ledger_of(exchange), name, &audit, &err)) {
		reply_failure(exchange, &err);
	} else {
		json_t *chains = json_array();
		for (size_t i = 0; i < audit.count; i++)
			json_array_append_new(chains, audit_json(&audit.chains[i]));
		reply_json(exchange, 200,
		           json_pack("{s:o, s:o}", "height",
		                     number(ledger_height(ledger_of(exchange))), "chains", chains));
	}
	evhttp_clear_headers(&query);
	ledger_audit_fini(&audit);
}

/* ---- for developers only ---- */

static void reply_heights(struct exchange *exchange)
{
	reply_json(exchange, 200,
	           json_pack("{s:o, s:o}", "height", number(ledger_height(ledger_of(exchange))),
	                     "final_height", number(ledger_final_height(ledger_of(exchange)))));
}

static void dev_misbehave(struct exchange *exchange)
{
	struct misbehave *misbehave;
	struct err err;
	if (!misbehave_new(&misbehave, buffer_bytes(&exchange->body), &err)) {
		reply_reason(exchange, API_CONTENT, 400, err.message);
		return;
	}
	misbehave_free(exchange->server->misbehave);
	exchange->server->misbehave = misbehave;
	reply_json(exchange, 200, misbehave_show(misbehave));
}

static void dev_show(struct exchange *exchange)
{
	reply_json(exchange, 200, misbehave_show(exchange->server->misbehave));
}

static void dev_blocks(struct exchange *exchange)
{
	uint64_t count;
	if (!read_member(exchange, "count", LEDGER_BLOCKS_AT_ONCE, &count)) {
		reply_reason(exchange, API_CONTENT, 400, "\"count\"");
		return;
	}
	while (count > 0 && server_make_block(exchange->server))
		count--;
	if (count > 0)
		reply_text(exchange, 500, "the ledger failed");
	else
		reply_heights(exchange);
}

/* The body's "name", and what to do with it. */
static void dev_named(struct exchange *exchange,
                      bool (*act)(struct ledger *ledger, const char *name, struct err *err))
{
	struct err err;
	json_t *object = read_object(exchange);
	const char *name = json_string_value(json_object_get(object, "name"));
	if (name == NULL || !chain_name_valid(name)) {
		reply_reason(exchange, API_CONTENT, 400, "\"name\"");
	} else if (act(ledger_of(exchange), name, &err)) {
		server_schedule(exchange->server);
		reply_heights(exchange);
	} else {
		if (err_fate(err.code) == ERR_REJECT)
			reply_reason(exchange, API_CONTENT, 422, err.message);
		else
			reply_failure(exchange, &err);
	}
	json_decref(object);
}

static void dev_snapshot(struct exchange *exchange)
{
	dev_named(exchange, ledger_snapshot);
}

static void dev_restore(struct exchange *exchange)
{
	dev_named(exchange, ledger_restore);
}

/* ---- the table ---- */

static const struct route routes[] = {
	{ EVHTTP_REQ_PUT, "/v1/batches/{content}", MAINCHAIN_PUT, put_batch },
	{ EVHTTP_REQ_GET, "/v1/batches/{content}", MISBEHAVE_NO_CALL, get_batch },
	{ EVHTTP_REQ_PUT, "/v1/lanes/{lane}/anchors/{key}", MAINCHAIN_SUBMIT, submit },
	{ EVHTTP_REQ_GET, "/v1/lanes/{lane}/anchors/{key}", MAINCHAIN_LOOKUP, lookup },
	{ EVHTTP_REQ_GET, "/v1/lanes/{lane}/anchors/{key}/proof", MISBEHAVE_NO_CALL, get_proof },
	{ EVHTTP_REQ_GET, "/v1/lanes/{lane}/anchors/{key}/content", MISBEHAVE_NO_CALL,
	  get_content },
	{ EVHTTP_REQ_GET, "/v1/lanes/{lane}/sequence/{seq}", MAINCHAIN_CONTENT, get_sequence },
	{ EVHTTP_REQ_GET, "/v1/lanes/{lane}/head", MAINCHAIN_HEAD, head },
	{ EVHTTP_REQ_POST, "/v1/lanes/{lane}/fence", MAINCHAIN_FENCE, fence },
	{ EVHTTP_REQ_GET, "/v1/blocks/{height}", MISBEHAVE_NO_CALL, get_block },
	{ EVHTTP_REQ_GET, "/v1/status", MISBEHAVE_NO_CALL, get_status },
	{ EVHTTP_REQ_GET, "/v1/audit", MISBEHAVE_NO_CALL, get_audit },
	{ EVHTTP_REQ_GET, "/dev/misbehave", MISBEHAVE_NO_CALL, dev_show },
	{ EVHTTP_REQ_POST, "/dev/misbehave", MISBEHAVE_NO_CALL, dev_misbehave },
	{ EVHTTP_REQ_POST, "/dev/blocks", MISBEHAVE_NO_CALL, dev_blocks },
	{ EVHTTP_REQ_POST, "/dev/snapshot", MISBEHAVE_NO_CALL, dev_snapshot },
	{ EVHTTP_REQ_POST, "/dev/restore", MISBEHAVE_NO_CALL, dev_restore },
};

const struct route *server_route_at(size_t index)
{
	return index < sizeof(routes) / sizeof(routes[0]) ? &routes[index] : NULL;
}
