#include "relay/edge/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "proto/link.h"
#include "proto/proof.h"
#include "proto/receipt.h"
#include "relay/base/exit.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"
#include "relay/edge/ledger_chain.h"
#include "relay/edge/status.h"

static int fail_with(const struct err *err)
{
	fprintf(stderr, "zonerelay-edge: %s\n", err->message);
	return EXIT_FAILED;
}

/* NULL: what is wrong was said; *out_status is what a daemon ends with. */
static struct config *load_or_say(const struct arguments *arguments, int *out_status)
{
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	if (config_load(arguments->config_path, CONFIG_EDGE, &config, &errors))
		return config;
	struct buffer text = BUFFER_EMPTY;
	config_errors_text(&errors, &text);
	if (buffer_ok(&text, NULL))
		fwrite(text.data, 1, text.size, stderr);
	else
		fputs("error: out of memory\n", stderr);
	*out_status = config_errors_exit_status(&errors);
	buffer_fini(&text);
	config_errors_fini(&errors);
	return NULL;
}

static struct config *load(const struct arguments *arguments)
{
	int status;
	return load_or_say(arguments, &status);
}

static int put(struct buffer *out)
{
	struct err err;
	bool ok = buffer_ok(out, &err);
	if (ok && (fwrite(out->data, 1, out->size, stdout) != out->size || fflush(stdout) != 0))
		ok = err_set(&err, ZR_IO, "standard output cannot be written");
	buffer_fini(out);
	return ok ? EXIT_OK : fail_with(&err);
}

/* ---- run ---- */

static int run(const struct arguments *arguments)
{
	int status = EXIT_CONFIG;
	struct config *config = load_or_say(arguments, &status);
	struct agent *agent = NULL;
	struct err err;
	if (config == NULL)
		return status;
	log_init("zonerelay-edge", config->log.level, config->log.style);
	if (!agent_new(&agent, config, arguments->config_path, &err)) {
		log_error("not-started", "code=%s detail=\"%s\"", err_name(err.code), err.message);
		config_free(config);
		return err.code == ZR_STATE ? EXIT_STORE_MISSING : err_exit_status(err.code);
	}
	status = agent_run(agent);
	agent_free(agent);
	return status;
}

/* ---- configuration ---- */

static int config_check(const struct arguments *arguments)
{
	struct config *config = load(arguments);
	if (config == NULL)
		return EXIT_FAILED;
	printf("%s: OK, %zu chains, %zu routes\n", arguments->config_path, config->edge.chain_count,
	       config->edge.route_count);
	config_free(config);
	return EXIT_OK;
}

static int config_show(const struct arguments *arguments)
{
	struct buffer out = BUFFER_EMPTY;
	struct config *config = load(arguments);
	if (config == NULL)
		return EXIT_FAILED;
	config_show_effective(config, &out);
	config_free(config);
	return put(&out);
}

/* ---- stores, read beside the agent ---- */

static const struct edge_chain_config *chain_named(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->edge.chain_count; i++) {
		if (strcmp(config->edge.chains[i].name, name) == 0)
			return &config->edge.chains[i];
	}
	return NULL;
}

static bool open_store(const struct config *config, const struct edge_chain_config *chain,
                       enum store_mode mode, struct agent_store **out_store,
                       struct agent_chain *out_facts, struct err *err)
{
	bool ledger = chain->source.type == EDGE_SOURCE_LEDGER;
	const char *dir = ledger ? chain->source.dir : config->edge.state_dir;
	struct agent_store *store = NULL;
	bool found = false;
	if (!agent_store_open(&store, dir, mode, 0, err))
		return err_wrap(err, "chain %s", chain->name);
	if (!agent_chain_by_name(store, chain->name, out_facts, &found, err) ||
	    (!found && !err_set(err, ZR_STATE, "chain %s is not in %s yet", chain->name, dir))) {
		agent_store_close(store);
		return false;
	}
	*out_store = store;
	return true;
}

/* One chain of the configuration and its store, for reading. */
struct place {
	struct config *config;
	const struct edge_chain_config *chain;
	struct agent_store *store;
	struct agent_chain facts;
	struct chain_key key;
};

static void leave(struct place *place)
{
	agent_store_close(place->store);
	config_free(place->config);
}

/* False: it was said why, and *out_status is the exit status. */
static bool visit(const struct arguments *arguments, struct place *place, int *out_status)
{
	struct err err;
	*place = (struct place){ .config = load(arguments) };
	*out_status = EXIT_FAILED;
	if (place->config == NULL)
		return false;
	place->chain = chain_named(place->config, arguments->words[0]);
	if (place->chain == NULL) {
		fprintf(stderr, "zonerelay-edge: no chain %s in %s\n", arguments->words[0],
		        arguments->config_path);
		*out_status = EXIT_BAD_USAGE;
	} else if (!open_store(place->config, place->chain, STORE_READ, &place->store,
	                       &place->facts, &err)) {
		*out_status = fail_with(&err);
	} else {
		place->key = chain_key(&place->facts.id);
		return true;
	}
	leave(place);
	return false;
}

/* ---- status ---- */

static int status_stored(const struct config *config, bool json)
{
	size_t count = config->edge.chain_count;
	struct status_link link = { .running = false, .chains = count };
	struct status_chain *chains = calloc(count, sizeof(chains[0]));
	struct buffer out = BUFFER_EMPTY;
	if (chains == NULL) {
		fprintf(stderr, "zonerelay-edge: out of memory\n");
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < count; i++) {
		const struct edge_chain_config *chain = &config->edge.chains[i];
		struct agent_chain facts = { .next_height = 0 };
		struct agent_store *store = NULL;
		struct err err;
		bool found = open_store(config, chain, STORE_READ, &store, &facts, &err);
		status_of_stored(chain, &facts, &chains[i]);
		if (!found)
			snprintf(chains[i].problem, sizeof(chains[i].problem), "%.383s",
			         err.message);
		agent_store_close(store);
	}
	if (json)
		status_json(&link, chains, count, &out);
	else
		status_text(&link, chains, count, &out);
	if (json)
		buffer_printf(&out, "\n");
	free(chains);
	int written = put(&out);
	return written == EXIT_OK ? EXIT_DEGRADED : written;
}

/* 0: link up and no chain held; 3: not so, or the agent is not running. */
static int status(const struct arguments *arguments)
{
	struct config *config = load(arguments);
	struct buffer json = BUFFER_EMPTY;
	struct buffer out = BUFFER_EMPTY;
	struct err err;
	int result = EXIT_DEGRADED;
	if (config == NULL)
		return EXIT_FAILED;
	const char *path = config->edge.status_socket;
	if (!status_ask(path, "status json", &json, &err) ||
	    !status_ask(path, arguments->json ? "status json" : "status", &out, &err)) {
		result = status_stored(config, arguments->json);
	} else {
		buffer_put_u8(&json, 0);
		if (arguments->json)
			buffer_printf(&out, "\n");
		bool good = buffer_ok(&json, NULL) &&
		            strstr((const char *)json.data, "\"link\":\"up\"") != NULL &&
		            strstr((const char *)json.data, "\"state\":\"held\"") == NULL;
		result = put(&out);
		if (result == EXIT_OK && !good)
			result = EXIT_DEGRADED;
	}
	buffer_fini(&json);
	buffer_fini(&out);
	config_free(config);
	return result;
}

/* ---- unpin ---- */

static int unpin(const struct arguments *arguments)
{
	struct config *config = load(arguments);
	struct buffer answer = BUFFER_EMPTY;
	struct agent_store *store = NULL;
	struct agent_chain facts;
	struct err err;
	char request[256];
	if (config == NULL)
		return EXIT_FAILED;
	const struct edge_chain_config *chain = chain_named(config, arguments->words[0]);
	int result = EXIT_FAILED;
	snprintf(request, sizeof(request), "unpin %.100s", arguments->words[0]);
	if (chain == NULL) {
		fprintf(stderr, "zonerelay-edge: no chain %s in %s\n", arguments->words[0],
		        arguments->config_path);
		result = EXIT_BAD_USAGE;
	} else if (status_ask(config->edge.status_socket, request, &answer, &err)) {
		bool ok = answer.size >= 2 && memcmp(answer.data, "ok", 2) == 0;
		fwrite(answer.data, 1, answer.size, ok ? stdout : stderr);
		result = ok ? EXIT_OK : EXIT_FAILED;
	} else if (!open_store(config, chain, STORE_WRITE, &store, &facts, &err)) {
		result = fail_with(&err);
	} else {
		struct chain_key key = chain_key(&facts.id);
		result = agent_unpin(store, &key, &err) ? EXIT_OK : fail_with(&err);
		if (result == EXIT_OK)
			printf("ok\n");
		agent_store_close(store);
	}
	buffer_fini(&answer);
	config_free(config);
	return result;
}

/* ---- receipts ---- */

static void print_custody(const struct place *place, bool json, const struct agent_custody *custody,
                          const Zonerelay__Link__CustodyReceipt *receipt)
{
	char tip[HASH_HEX_SIZE];
	char time[CLOCK_TEXT_SIZE];
	printf(json ? "{\"kind\":\"custody\",\"chain\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64
	              ",\"tip\":\"%s\",\"commit\":%" PRIu64 ",\"time\":\"%s\"}\n"
	            : "custody   %s %" PRIu64 "..%" PRIu64 " tip %.16s commit %" PRIu64 " at %s\n",
	       place->chain->name, custody->from, custody->to, hash_hex(&custody->tip, tip),
	       receipt->commit_number, clock_text(receipt->time_ms, time));
}

static void print_anchored(const struct place *place, bool json, const struct agent_anchored *run)
{
	char root[HASH_HEX_SIZE];
	printf(json ? "{\"kind\":\"anchored\",\"chain\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64
	              ",\"root\":\"%s\",\"lane\":%u,\"seq\":%" PRIu64 "}\n"
	            : "anchored  %s %" PRIu64 "..%" PRIu64 " root %.16s lane %u seq %" PRIu64 "\n",
	       place->chain->name, run->from, run->to, hash_hex(&run->root, root),
	       (unsigned)run->lane, run->seq);
}

/* All runs, a page at a time. */
static bool print_runs(const struct place *place, bool json, struct err *err)
{
	struct agent_anchored runs[64];
	uint64_t from = 0;
	size_t count = 0;
	do {
		if (!agent_anchored_page(place->store, &place->key, from, runs, 64, &count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			print_anchored(place, json, &runs[i]);
		if (count > 0)
			from = runs[count - 1].to + 1;
	} while (count > 0);
	return true;
}

static int receipts(const struct arguments *arguments)
{
	struct place place;
	struct agent_custody custody;
	struct buffer packed = BUFFER_EMPTY;
	Zonerelay__Link__CustodyReceipt *receipt = NULL;
	struct err err;
	bool found = false;
	int result = EXIT_OK;
	if (!visit(arguments, &place, &result))
		return result;
	bool ok = print_runs(&place, arguments->json, &err) &&
	          agent_custody_newest(place.store, &place.key, &custody, &packed, &found, &err);
	if (ok && found)
		ok = link_custody_decode(buffer_bytes(&packed), &receipt, &err);
	if (ok && found)
		print_custody(&place, arguments->json, &custody, receipt);
	result = ok ? EXIT_OK : fail_with(&err);
	link_custody_free(receipt);
	buffer_fini(&packed);
	leave(&place);
	return result;
}

/* ---- proof ---- */

/* Fills proof from the stored run and headers; what it points into is owned by the caller. */
static bool prove(const struct place *place, uint64_t height, Zonerelay__Link__Anchored *anchored,
                  const struct agent_anchored *run, struct proof *proof, struct err *err)
{
	uint64_t count = run->to - run->from + 1;
	struct agent_range range = { .chain = place->key, .from = run->from, .to = run->to };
	struct block_header *headers = calloc((size_t)count, sizeof(headers[0]));
	struct hash *leaves = calloc((size_t)count, sizeof(leaves[0]));
	size_t have = 0;
	if (headers == NULL || leaves == NULL) {
		free(headers);
		free(leaves);
		return err_set(err, ZR_NO_MEMORY, "headers");
	}
	bool ok = agent_headers(place->store, &range, headers, (size_t)count, &have, err);
	if (ok && have != count)
		ok = err_set(err, ZR_STATE, "headers of the run are not here any more");
	ok = ok && anchored_entry_check(anchored, anchored->entries[run->entry_index],
	                                &place->facts.id, &proof->entry, &proof->entry_path, err);
	if (ok) {
		proof->alg = (enum hash_alg)anchored->hash_alg;
		for (size_t i = 0; i < have; i++)
			leaves[i] = header_leaf(proof->alg, &headers[i]);
		merkle_path(proof->alg, leaves, count, height - run->from, &proof->block_path);
		proof->header = headers[height - run->from];
	}
	free(headers);
	free(leaves);
	return ok;
}

static bool write_proof(const struct place *place, uint64_t height, const char *path,
                        struct err *err)
{
	struct agent_anchored run;
	struct buffer message = BUFFER_EMPTY;
	struct buffer block = BUFFER_EMPTY;
	struct buffer out = BUFFER_EMPTY;
	Zonerelay__Link__Anchored *anchored = NULL;
	struct proof proof = { .format = place->chain->format };
	bool found = false;
	bool ok = agent_anchored(place->store, &place->key, height, &run, &message, &found, err);
	if (ok && !found)
		ok = err_set(err, ZR_STATE, "no anchor receipt for block %" PRIu64, height);
	ok = ok && link_anchored_decode(buffer_bytes(&message), &anchored, err);
	if (ok && run.entry_index >= anchored->n_entries)
		ok = err_set(err, ZR_CORRUPT, "the receipt lacks its entry");
	ok = ok && prove(place, height, anchored, &run, &proof, err);
	if (ok) {
		struct bytes root = { anchored->root.data, anchored->root.len };
		struct bytes key = { anchored->key.data, anchored->key.len };
		(void)hash_from_bytes(&proof.root, root);
		(void)hash_from_bytes(&proof.key, key);
		proof.lane = (uint16_t)anchored->lane;
		proof.seq = anchored->seq;
		proof.sink = anchored->sink;
		proof.evidence = (struct bytes){ anchored->evidence.data, anchored->evidence.len };
		/* The block itself goes along where it is still here. */
		if (agent_block(place->store, &place->key, height, &block, err))
			proof.block = buffer_bytes(&block);
		else
			ok = err->code == ZR_STATE;
	}
	ok = ok && proof_check(&proof, err) && proof_encode(&proof, &out, err) &&
	     file_write_atomic(path, buffer_bytes(&out), 0644, err);
	link_anchored_free(anchored);
	buffer_fini(&message);
	buffer_fini(&block);
	buffer_fini(&out);
	return ok;
}

static bool height_of(const char *text, uint64_t *out_height)
{
	char *end = NULL;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || number > INT64_MAX)
		return false;
	*out_height = number;
	return true;
}

static int proof(const struct arguments *arguments)
{
	struct place place;
	struct err err;
	uint64_t height = 0;
	int result = EXIT_OK;
	if (!height_of(arguments->words[1], &height)) {
		fprintf(stderr, "zonerelay-edge: %s is not a height\n", arguments->words[1]);
		return EXIT_BAD_USAGE;
	}
	if (!visit(arguments, &place, &result))
		return result;
	result = write_proof(&place, height, arguments->words[2], &err) ? EXIT_OK : fail_with(&err);
	if (result == EXIT_OK)
		printf("%s: proof of block %" PRIu64 " of %s\n", arguments->words[2], height,
		       place.chain->name);
	leave(&place);
	return result;
}

/* ---- ledger ---- */

/* A key of the suite, where there is none yet. */
static bool make_key(const struct edge_source_config *source, struct err *err)
{
	struct key *key = NULL;
	struct buffer pem = BUFFER_EMPTY;
	if (access(source->key, F_OK) == 0)
		return true;
	bool ok = key_generate(&key, source->suite, err) && key_to_pem(key, true, &pem, err) &&
	          file_write_atomic(source->key, buffer_bytes(&pem), 0600, err);
	secret_wipe(pem.data, pem.size);
	buffer_fini(&pem);
	key_free(key);
	return ok || err_wrap(err, "key %s", source->key);
}

static bool init_chain(const struct edge_chain_config *chain, struct err *err)
{
	struct agent_store *store = NULL;
	struct ledger_chain *ledger = NULL;
	const char *dir = chain->source.dir;
	char epoch[HASH_HEX_SIZE];
	bool ok = make_key(&chain->source, err);
	if (ok && !store_exists(dir))
		ok = agent_store_create(dir, chain->source.size_bytes,
		                        clock_wall_ms(clock_system()), err);
	ok = ok && agent_store_open(&store, dir, STORE_WRITE, 0, err) &&
	     ledger_chain_open(&ledger, chain, store, clock_system(), err);
	if (ok)
		printf("%s epoch %s genesis %s\n", chain->name,
		       hash_hex(&ledger_chain_facts(ledger)->id.epoch, epoch), chain->trust);
	ledger_chain_close(ledger);
	agent_store_close(store);
	return ok || err_wrap(err, "chain %s", chain->name);
}

static int ledger_init(const struct arguments *arguments)
{
	struct config *config = load(arguments);
	struct err err;
	int result = EXIT_OK;
	size_t count = 0;
	if (config == NULL)
		return EXIT_FAILED;
	for (size_t i = 0; result == EXIT_OK && i < config->edge.chain_count; i++) {
		const struct edge_chain_config *chain = &config->edge.chains[i];
		if (chain->source.type != EDGE_SOURCE_LEDGER ||
		    (arguments->word_count > 0 && strcmp(arguments->words[0], chain->name) != 0))
			continue;
		count++;
		if (!init_chain(chain, &err))
			result = fail_with(&err);
	}
	if (result == EXIT_OK && count == 0) {
		fprintf(stderr, "zonerelay-edge: no such ledger in %s\n", arguments->config_path);
		result = EXIT_BAD_USAGE;
	}
	config_free(config);
	return result;
}

static bool export_block(const struct place *place, const char *dir, uint64_t height,
                         struct err *err)
{
	struct buffer raw = BUFFER_EMPTY;
	char path[4096];
	int size = snprintf(path, sizeof(path), "%s/%" PRIu64 ".block", dir, height);
	bool ok = agent_block(place->store, &place->key, height, &raw, err);
	if (ok && (size < 0 || (size_t)size >= sizeof(path)))
		ok = err_set(err, ZR_INVALID, "path too long");
	ok = ok && file_write_atomic(path, buffer_bytes(&raw), 0644, err);
	buffer_fini(&raw);
	return ok;
}

/* The blocks that are held, as N.block files: what "zonerelay blocks verify" reads. */
static int ledger_export(const struct arguments *arguments)
{
	struct place place;
	struct err err;
	const char *dir = arguments->words[1];
	int result = EXIT_OK;
	if (!visit(arguments, &place, &result))
		return result;
	bool ok = place.facts.next_height > 0 && place.chain->source.type == EDGE_SOURCE_LEDGER;
	if (!ok)
		err_set(&err, ZR_STATE, "chain %s is not a ledger of this agent",
		        place.chain->name);
	if (ok && mkdir(dir, 0755) != 0 && errno != EEXIST)
		ok = err_set(&err, ZR_UNAVAILABLE, "%s: %s", dir, strerror(errno));
	ok = ok && export_block(&place, dir, 0, &err); /* The genesis is never pruned. */
	uint64_t from = place.facts.oldest_height > 0 ? place.facts.oldest_height : 1;
	for (uint64_t height = from; ok && height < place.facts.next_height; height++)
		ok = export_block(&place, dir, height, &err);
	if (ok)
		printf("%s: genesis and blocks %" PRIu64 "..%" PRIu64 " of %s\n", dir, from,
		       place.facts.next_height - 1, place.chain->name);
	result = ok ? EXIT_OK : fail_with(&err);
	leave(&place);
	return result;
}

/* ---- the table ---- */

static const struct command commands[] = {
	{ "run", "", 0, 0, run, "Run the agent. This is what happens without a command." },
	{ "status", "[--json]", 0, 0, status,
	  "Show link and chains: of the running agent, else what is stored." },
	{ "receipts", "CHAIN [--json]", 1, 1, receipts,
	  "List the anchor receipts and the newest custody receipt." },
	{ "proof", "CHAIN HEIGHT FILE", 3, 3, proof,
	  "Write the portable proof of an anchored block; see zonerelay proof verify." },
	{ "unpin", "CHAIN", 1, 1, unpin,
	  "Forget which gateway store the chain was handed to, after chains move." },
	{ "ledger init", "[CHAIN]", 0, 1, ledger_init,
	  "Make key (if missing), store and genesis of ledger chains before the first run." },
	{ "ledger export", "CHAIN DIR", 2, 2, ledger_export,
	  "Write the ledger's blocks as files; see zonerelay blocks verify." },
	{ "config check", "", 0, 0, config_check, "Check the configuration; change nothing." },
	{ "config show", "", 0, 0, config_show, "Show the configuration in force, with defaults." },
};

const struct command *command_at(int index)
{
	int count = (int)(sizeof(commands) / sizeof(commands[0]));
	return index >= 0 && index < count ? &commands[index] : NULL;
}
