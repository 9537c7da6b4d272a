/* evidence.c -- zonerelay evidence verify: does a bundle prove that a chain forked? */
#include "relay/evidence.h"

#include <inttypes.h>

#include "relay/base/file.h"
#include "relay/cli/cli.h"

#define BUNDLE_MAX ((size_t)256 << 20)
#define PINNED_MAX ((size_t)64 << 20)

/* Is the bundle's trust set the one that the operator pinned? */
static bool check_trust(const struct evidence *evidence, const char *path, struct err *err)
{
	struct buffer pinned = BUFFER_EMPTY;
	struct buffer saved = BUFFER_EMPTY;
	struct trust *trust = NULL;
	bool good = file_read(path, PINNED_MAX, &pinned, err) &&
	            evidence->format->trust_pin(buffer_bytes(&pinned), &trust, err);
	if (good) {
		evidence->format->trust_save(trust, &saved);
		evidence->format->trust_free(trust);
		good = buffer_ok(&saved, err);
	}
	if (good && !bytes_equal(buffer_bytes(&saved), evidence->trust))
		good = err_set(err, ZR_UNTRUSTED,
		               "the bundle's trust set is not the one of %s: give the "
		               "configuration block that was in force at height %" PRIu64,
		               path, evidence->height);
	buffer_fini(&pinned);
	buffer_fini(&saved);
	return good;
}

static void describe(const struct cli *cli, const struct evidence *evidence,
                     const struct block_header headers[static 2], bool pinned)
{
	char one[HASH_HEX_SIZE];
	char other[HASH_HEX_SIZE];
	(void)hash_hex(&headers[0].hash, one);
	(void)hash_hex(&headers[1].hash, other);
	cli_json(cli,
	         json_pack("{s:b,s:s,s:o,s:I,s:[s,s],s:b}", "ok", true, "chain",
	                   evidence->chain.name, "epoch", cli_json_hash(&evidence->chain.epoch),
	                   "height", (json_int_t)evidence->height, "hashes", one, other, "pinned",
	                   pinned));
	if (cli->json)
		return;
	(void)printf("chain %s has two validly signed blocks of height %" PRIu64 ":\n  %s\n  %s\n",
	             evidence->chain.name, evidence->height, one, other);
	(void)printf(pinned ? "under the trust set of the pinned block\n"
	                    : "under the trust set inside the bundle, which nothing here vouches "
	                      "for: give --trust FILE\n");
}

static int verify(struct cli *cli, struct bytes bundle)
{
	struct evidence evidence;
	struct block_header headers[2];
	struct err err;
	const char *trust = cli_option(cli, OPTION_TRUST);
	if (!evidence_decode(bundle, &evidence, &err) || !evidence_check(&evidence, headers, &err))
		return cli_violation(cli, &err);
	if (trust != NULL && !check_trust(&evidence, trust, &err))
		return err.code == ZR_UNAVAILABLE ? cli_fail(cli, &err) : cli_violation(cli, &err);
	describe(cli, &evidence, headers, trust != NULL);
	return EXIT_OK;
}

int cli_evidence_verify(struct cli *cli)
{
	struct buffer bundle = BUFFER_EMPTY;
	struct err err;
	int status = file_read(cli_argument(cli, 0), BUNDLE_MAX, &bundle, &err)
	                     ? verify(cli, buffer_bytes(&bundle))
	                     : cli_fail(cli, &err);
	buffer_fini(&bundle);
	return status;
}
