/* One table of options; a row says where its value goes and what --help says of it. */
#include "adapters/mainchain/devchain/options.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/devchain/misbehave.h"
#include "proto/record.h"

enum option_type { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER };

struct option_row {
	const char *name;
	const char *value; /* What --help calls it. */
	enum option_type type;
	size_t offset;
	uint64_t min, max;
	const char *text;
};

#define AT(member) offsetof(struct devchain_options, member)

static const struct option_row rows[] = {
	{ "--config", "FILE", OPTION_TEXT, AT(config), 0, 0,
	  "Configuration file; options here go over it." },
	{ "--dir", "DIR", OPTION_TEXT, AT(dir), 0, 0, "Folder of ledger, key and trusted.pem." },
	{ "--key", "FILE", OPTION_TEXT, AT(key), 0, 0,
	  "Private key that signs block headers; DIR/key.pem, made if there is none." },
	{ "--suite", "SUITE", OPTION_TEXT, AT(suite_name), 0, 0,
	  "Of a key that is made: sha256-p256, sha256-ed25519 or sm3-sm2." },
	{ "--chain", "NAME", OPTION_TEXT, AT(chain), 0, 0, "Name of a main chain that is made." },
	{ "--size", "BYTES", OPTION_NUMBER, AT(size_bytes), 1 << 20, INT64_MAX,
	  "Limit of the ledger's file." },
	{ "--listen", "ADDRESS:PORT", OPTION_TEXT, AT(listen), 0, 0,
	  "Where; port 0 is any that is free. Without TLS a loopback address." },
	{ "--port-file", "FILE", OPTION_TEXT, AT(port_file), 0, 0,
	  "Write the port there once it listens." },
	{ "--token-file", "FILE", OPTION_TEXT, AT(token_file), 0, 0,
	  "Bearer token that requests must carry." },
	{ "--tls-certificate", "FILE", OPTION_TEXT, AT(tls_certificate), 0, 0,
	  "With --tls-key and --tls-ca: HTTPS, and a client certificate from everybody." },
	{ "--tls-key", "FILE", OPTION_TEXT, AT(tls_key), 0, 0, "Key of that certificate." },
	{ "--tls-ca", "FILE", OPTION_TEXT, AT(tls_ca), 0, 0, "Who signs client certificates." },
	{ "--tls-crl", "FILE", OPTION_TEXT, AT(tls_crl), 0, 0, "Which of them are revoked." },
	{ "--block-interval-ms", "N", OPTION_NUMBER, AT(block_interval_ms), 0, 3600000,
	  "Time between blocks; 0: a block at once for whatever comes." },
	{ "--finality-blocks", "N", OPTION_NUMBER, AT(finality_blocks), 0, 1000,
	  "How many blocks must follow before one is final." },
	{ "--batch-max-bytes", "N", OPTION_NUMBER, AT(batch_max_bytes), 1, 1 << 30,
	  "Largest batch that is taken." },
	{ "--anchor-max-bytes", "N", OPTION_NUMBER, AT(anchor_max_bytes), 1, 1 << 30,
	  "Largest anchor that is taken." },
	{ "--misbehave", "JSON|@FILE", OPTION_TEXT, AT(misbehave), 0, 0,
	  "Rules of misbehaviour from the start on." },
	{ "--log-level", "LEVEL", OPTION_TEXT, AT(log_level_name), 0, 0,
	  "error, warn, info or debug." },
	{ "--json", NULL, OPTION_FLAG, AT(json), 0, 0, "One line of JSON on standard output." },
	{ "--help", NULL, OPTION_FLAG, AT(help), 0, 0, "This text." },
	{ "--version", NULL, OPTION_FLAG, AT(version), 0, 0, "The version." },
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static const struct {
	const char *name;
	const char *text;
} verbs[] = {
	[DEVCHAIN_RUN] = { "run", "Serve the API; makes what is missing first. The default." },
	[DEVCHAIN_INIT] = { "init", "Make ledger and key; print trusted.pem." },
	[DEVCHAIN_STATUS] = { "status", "Say how far the ledger in DIR is; also while it runs." },
	[DEVCHAIN_ROUTES] = { "routes", "List what the API offers." },
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

bool devchain_verb_at(size_t index, struct devchain_word *out_word)
{
	if (index >= VERB_COUNT)
		return false;
	*out_word = (struct devchain_word){ verbs[index].name, NULL, verbs[index].text };
	return true;
}

bool devchain_option_at(size_t index, struct devchain_word *out_word)
{
	if (index >= ROW_COUNT)
		return false;
	*out_word = (struct devchain_word){ rows[index].name, rows[index].value, rows[index].text };
	return true;
}

void devchain_options_help(void)
{
	printf("usage: zonerelay-devchain [VERB] [OPTION...]\n\n"
	       "A small honest main chain with the API of docs/mainchain-api.yaml, for "
	       "developers.\n\n");
	for (size_t i = 0; i < VERB_COUNT; i++)
		printf("  %-8s %s\n", verbs[i].name, verbs[i].text);
	printf("\n");
	for (size_t i = 0; i < ROW_COUNT; i++) {
		char head[40];
		(void)snprintf(head, sizeof(head), "%s %s", rows[i].name,
		               rows[i].value == NULL ? "" : rows[i].value);
		printf("  %-28s %s\n", head, rows[i].text);
	}
	printf("\nKinds of misbehaviour (\"do\" in a rule, with \"on\", \"count\", "
	       "\"probability\"):\n\n");
	for (enum misbehaviour kind = 0; misbehave_name(kind) != NULL; kind++)
		printf("  %-16s %s\n", misbehave_name(kind), misbehave_text(kind));
	printf("\nzonerelay-devchain(8) says more.\n");
}

static bool read_number(const struct option_row *row, const char *text, uint64_t *out_number,
                        struct err *err)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != 0 || strlen(text) > 19 || number < row->min ||
	    number > row->max)
		return err_set(err, ZR_INVALID, "%s %s: a number from %" PRIu64 " to %" PRIu64,
		               row->name, text, row->min, row->max);
	*out_number = number;
	return true;
}

static bool read_option(struct devchain_options *options, int *at, int argc, char **argv,
                        struct err *err)
{
	const char *name = argv[*at];
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (strcmp(rows[i].name, name) != 0)
			continue;
		char *place = (char *)options + rows[i].offset;
		options->given |= 1u << i;
		if (rows[i].type == OPTION_FLAG) {
			*(bool *)(void *)place = true;
			return true;
		}
		if (++*at == argc)
			return err_set(err, ZR_INVALID, "%s needs %s", name, rows[i].value);
		if (rows[i].type == OPTION_NUMBER)
			return read_number(&rows[i], argv[*at], (uint64_t *)(void *)place, err);
		*(const char **)(void *)place = argv[*at];
		return true;
	}
	return err_set(err, ZR_INVALID, "%s is no option of zonerelay-devchain", name);
}

static bool read_verb(struct devchain_options *options, const char *name, struct err *err)
{
	for (size_t i = 0; i < VERB_COUNT; i++) {
		if (strcmp(verbs[i].name, name) == 0) {
			options->verb = (enum devchain_verb)i;
			return true;
		}
	}
	return err_set(err, ZR_INVALID, "%s is no verb of zonerelay-devchain", name);
}

static bool check(struct devchain_options *options, struct err *err)
{
	if (options->suite_name != NULL && !suite_from_name(options->suite_name, &options->suite))
		return err_set(err, ZR_INVALID, "--suite %s is unknown", options->suite_name);
	if (!chain_name_valid(options->chain))
		return err_set(err, ZR_INVALID, "--chain %s is no name of a chain", options->chain);
	if (options->log_level_name != NULL &&
	    !log_level_from_name(options->log_level_name, &options->log_level))
		return err_set(err, ZR_INVALID, "--log-level %s is unknown",
		               options->log_level_name);
	if (options->dir == NULL && options->config == NULL && !options->help &&
	    !options->version && options->verb != DEVCHAIN_ROUTES)
		return err_set(err, ZR_INVALID, "--dir or --config is needed");
	return true;
}

bool devchain_options_read(struct devchain_options *out_options, int argc, char **argv,
                           struct err *err)
{
	struct devchain_options options = {
		.verb = DEVCHAIN_RUN,
		.suite = SUITE_SHA256_P256,
		.chain = "devchain",
		.listen = "127.0.0.1:7480",
		.log_level = LOG_LEVEL_INFO,
		.log_style = LOG_STYLE_TEXT,
		.size_bytes = UINT64_C(1) << 30,
		.block_interval_ms = 1000,
		.finality_blocks = 1,
		.batch_max_bytes = 64 << 20,
		.anchor_max_bytes = 64 << 20,
	};
	_Static_assert(ROW_COUNT <= sizeof(options.given) * 8, "one bit per row");
	int at = 1;
	if (argc > 1 && argv[1][0] != '-' && !read_verb(&options, argv[at++], err))
		return false;
	for (; at < argc; at++) {
		if (!read_option(&options, &at, argc, argv, err))
			return false;
	}
	if (!check(&options, err))
		return false;
	*out_options = options;
	return true;
}

bool devchain_options_given(const struct devchain_options *options, const char *name)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (strcmp(rows[i].name, name) == 0)
			return (options->given & (1u << i)) != 0;
	}
	assert(false);
	return false;
}

bool devchain_options_listen(struct devchain_options *options, struct err *err)
{
	const char *text = options->listen;
	const char *colon = strrchr(text, ':');
	size_t size = colon == NULL ? 0 : (size_t)(colon - text);
	if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
		text++;
		size -= 2;
	}
	char *end;
	unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);
	if (size == 0 || size >= sizeof(options->address) || colon[1] < '0' || colon[1] > '9' ||
	    *end != 0 || port > UINT16_MAX)
		return err_set(err, ZR_INVALID, "--listen %s: ADDRESS:PORT", options->listen);
	memcpy(options->address, text, size);
	options->address[size] = 0;
	options->port = (uint16_t)port;
	return true;
}
