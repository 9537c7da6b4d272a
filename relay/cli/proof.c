/* proof.c -- zonerelay proof verify: a block's proof, against only the main chain's keys. */
#include <inttypes.h>
#include <string.h>

#include "adapters/mainchain/evidence.h"
#include "adapters/sidechain.h"
#include "proto/proof.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"

/* What was checked, for people and for --json. */
struct checks {
	json_t *lines; /* Owned. */
	const struct cli *cli;
};

static void checked(struct checks *checks, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void checked(struct checks *checks, const char *format, ...)
{
	char line[ERR_MESSAGE_SIZE];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	(void)json_array_append_new(checks->lines, json_string(line));
	if (!checks->cli->json)
		(void)printf("%s\n", line);
}

/* One block that claims to be the one: by its own format. */
static bool check_one_block(const struct proof *proof, const struct sidechain *format,
                            struct bytes raw, struct err *err)
{
	struct block block;
	return format->read(raw, &block, err) && proof_check_block(proof, &block.header, err);
}

static bool check_blocks(struct checks *checks, const struct proof *proof, const char *path,
                         struct err *err)
{
	const struct sidechain *format = sidechain_find(proof->format);
	char hex[HASH_HEX_SIZE];
	(void)hash_hex(&proof->header.hash, hex);
	if (format == NULL)
		return err_set(err, ZR_INVALID, "side-chain format \"%s\" is not known here",
		               proof->format);
	if (proof->block.size > 0) {
		if (!check_one_block(proof, format, proof->block, err))
			return err_wrap(err, "the block in the proof");
		checked(checks, "block: the block in the proof has the hash %s", hex);
	}
	if (path != NULL) {
		struct buffer raw = BUFFER_EMPTY;
		bool good = file_read(path, PROOF_BLOCK_MAX, &raw, err) &&
		            check_one_block(proof, format, buffer_bytes(&raw), err);
		buffer_fini(&raw);
		if (!good)
			return err_wrap(err, "the block in %s", path);
		checked(checks, "block: the block in %s has the hash %s", path, hex);
	}
	if (proof->block.size == 0 && path == NULL)
		checked(checks, "block: none is given; what is proved is the hash %s", hex);
	return true;
}

static bool check_paths(struct checks *checks, const struct proof *proof, struct err *err)
{
	if (!proof_check(proof, err))
		return false;
	checked(checks,
	        "entry: header %" PRIu64 " is leaf %" PRIu64 " of %" PRIu64
	        " of the blocks %" PRIu64 " to %" PRIu64 " of chain %s",
	        proof->header.height, proof->block_path.index + 1, proof->block_path.count,
	        proof->entry.from, proof->entry.to, proof->entry.chain.name);
	char hex[HASH_HEX_SIZE];
	checked(checks, "anchor: that entry is leaf %" PRIu64 " of %" PRIu64 " under the root %s",
	        proof->entry_path.index + 1, proof->entry_path.count, hash_hex(&proof->root, hex));
	return true;
}

static bool check_evidence(struct checks *checks, const struct proof *proof, struct bytes trusted,
                           struct err *err)
{
	mainchain_evidence_check *check = mainchain_evidence_find(proof->sink);
	if (check == NULL)
		return err_set(err, ZR_INVALID, "evidence of %s is not known here", proof->sink);
	const struct anchor anchor = {
		.alg = proof->alg, .lane = proof->lane, .seq = proof->seq, .root = proof->root
	};
	struct buffer lines = BUFFER_EMPTY;
	bool good = check(proof->evidence, trusted, &anchor, &proof->key, &lines, err) &&
	            buffer_ok(&lines, err);
	/* One line each. */
	const char *line = (const char *)lines.data;
	for (size_t rest = lines.size; rest > 0;) {
		const char *end = memchr(line, '\n', rest);
		size_t size = end == NULL ? rest : (size_t)(end - line);
		checked(checks, "main chain: %.*s", (int)size, line);
		size += end == NULL ? 0 : 1;
		line += size;
		rest -= size;
	}
	buffer_fini(&lines);
	return good || err_wrap(err, "the main chain's evidence");
}

static int conclude(struct cli *cli, struct checks *checks, const struct proof *proof,
                    const struct err *failure)
{
	json_t *result = json_pack("{s:b,s:O,s:s,s:I,s:o,s:s,s:i,s:I}", "ok", failure == NULL,
	                           "checks", checks->lines, "chain", proof->entry.chain.name,
	                           "height", (json_int_t)proof->header.height, "hash",
	                           cli_json_hash(&proof->header.hash), "sink", proof->sink, "lane",
	                           (int)proof->lane, "seq", (json_int_t)proof->seq);
	if (failure != NULL) {
		(void)json_object_set_new(result, "error", json_string(failure->message));
		cli_say("NOT PROVED: %s", failure->message);
	} else if (!cli->json) {
		(void)printf("OK: block %" PRIu64 " of chain %s is anchored on the main chain\n",
		             proof->header.height, proof->entry.chain.name);
	}
	cli_json(cli, result);
	if (failure == NULL)
		return EXIT_OK;
	return failure->code == ZR_NO_MEMORY ? EXIT_FAILED : EXIT_INTEGRITY;
}

static int verify(struct cli *cli, const struct proof *proof, struct bytes trusted)
{
	struct checks checks = { .lines = json_array(), .cli = cli };
	struct err err;
	bool good = check_blocks(&checks, proof, cli_option(cli, OPTION_BLOCK), &err) &&
	            check_paths(&checks, proof, &err) &&
	            check_evidence(&checks, proof, trusted, &err);
	int status = conclude(cli, &checks, proof, good ? NULL : &err);
	json_decref(checks.lines);
	return status;
}

/* Of --trusted, or of the zone file. */
static bool read_trusted(struct cli *cli, struct buffer *out, struct err *err)
{
	const char *given = cli_option(cli, OPTION_TRUSTED);
	if (given != NULL)
		return mainchain_trusted_read(&given, 1, out, err);
	const struct config *config = cli_config_brief(cli);
	if (config == NULL || config->gateway.main_chain.trusted.count == 0)
		return err_set(err, ZR_INVALID,
		               "whom to trust? give --trusted FILE, the main chain's public keys");
	const struct config_list *files = &config->gateway.main_chain.trusted;
	return mainchain_trusted_read(files->items, files->count, out, err);
}

int cli_proof_verify(struct cli *cli)
{
	struct buffer file = BUFFER_EMPTY;
	struct buffer trusted = BUFFER_EMPTY;
	struct proof *proof = NULL;
	struct err err;
	int status;
	const char *path = cli_argument(cli, 0);
	if (!read_trusted(cli, &trusted, &err))
		status = err.code == ZR_INVALID ? cli_usage(cli, "%s", err.message)
		                                : cli_fail(cli, &err);
	else if (!file_read(path, PROOF_SIZE_MAX, &file, &err))
		status = cli_fail(cli, &err);
	else if (!proof_decode(buffer_bytes(&file), &proof, &err)) {
		err_wrap(&err, "%s", path);
		status = cli_violation(cli, &err);
	} else
		status = verify(cli, proof, buffer_bytes(&trusted));
	proof_free(proof);
	buffer_fini(&file);
	buffer_fini(&trusted);
	return status;
}
