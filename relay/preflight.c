/* preflight.c -- see preflight.h. */
#include "relay/preflight.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/mainchain/evidence.h"
#include "adapters/sidechain.h"
#include "proto/compress.h"
#include "relay/base/file.h"
#include "relay/net/tls.h"
#include "relay/pinned.h"
#include "relay/receipts.h"
#include "relay/sinks.h"

#define TOKEN_SIZE_MAX 8192
#define FILE_SIZE_ANY  ((size_t)64 << 20)

struct check {
	const struct config *config;
	const struct clock *clock;
	struct config_errors *errors;
};

#define FAIL(check, field, ...) \
	config_error_at((check)->errors, (check)->config, (field), __VA_ARGS__)

/* ---- files ---- */

static bool check_file(struct check *check, const char *const *path, size_t size_max)
{
	struct buffer content = BUFFER_EMPTY;
	struct err err;
	bool good = *path == NULL || file_read(*path, size_max, &content, &err);
	if (!good)
		FAIL(check, path, "%s", err.message);
	buffer_fini(&content);
	return good;
}

static void check_folder(struct check *check, const char *const *path)
{
	struct stat found;
	if (stat(*path, &found) != 0 || (S_ISDIR(found.st_mode) && access(*path, R_OK | X_OK) != 0))
		FAIL(check, path, "%s: %s", *path, strerror(errno));
	else if (!S_ISDIR(found.st_mode))
		FAIL(check, path, "%s is no folder", *path);
}

/* A private key that this program can use. Gives *out_key, or NULL. */
static void read_key(struct check *check, const char *const *path, struct key **out_key)
{
	struct err err;
	*out_key = NULL;
	if (*path == NULL)
		return;
	if (!key_read_file(out_key, *path, &err))
		FAIL(check, path, "%s", err.message);
	else if (!key_is_private(*out_key))
		FAIL(check, path, "%s has no private key", *path);
}

static void free_certs(struct cert **certs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		cert_free(certs[i]);
	free((void *)certs);
}

/* ---- what every program has ---- */

static void check_tls(struct check *check, bool is_server)
{
	const struct config_tls *tls = &check->config->tls;
	struct tls_options options = tls_options_of(tls, check->clock);
	struct tls_context *context = NULL;
	struct err err;
	options.is_server = is_server;
	if (tls->certificate == NULL || tls->key == NULL || tls->ca == NULL)
		return; /* The developer's main chain without TLS. */
	if (!tls_context_new(&context, &options, &err))
		FAIL(check, &tls->certificate, "tls: %s", err.message);
	tls_context_free(context);
}

static const struct sidechain *check_format(struct check *check, const char *const *format)
{
	const struct sidechain *found = sidechain_find(*format);
	if (found != NULL)
		return found;
	char known[128] = "";
	for (size_t i = 0; sidechain_at(i) != NULL; i++) {
		size_t size = strlen(known);
		(void)snprintf(known + size, sizeof(known) - size, "%s%s", i == 0 ? "" : ", ",
		               sidechain_at(i)->name);
	}
	FAIL(check, format, "format %s is not known to this program; it has: %s", *format, known);
	return NULL;
}

/* ---- the gateway ---- */

/* Does the certificate lead to the zone's CA now? */
static void check_receipt_chain(struct check *check, const struct cert *certificate)
{
	struct cert **roots = NULL;
	size_t count = 0;
	struct err err;
	const struct config_tls *tls = &check->config->tls;
	if (!cert_read_file(&roots, &count, tls->ca, &err))
		return; /* Already said. */
	const struct cert_trust trust = { .roots = (const struct cert *const *)roots,
		                          .root_count = count };
	if (!cert_check(certificate, &trust, clock_wall_ms(check->clock), &err))
		FAIL(check, &check->config->gateway.receipts.certificate,
		     "receipts: the certificate is not one of tls.ca: %s", err.message);
	free_certs(roots, count);
}

static void check_receipts(struct check *check)
{
	const struct config_receipts *config = &check->config->gateway.receipts;
	struct receipts receipts;
	struct key *key = NULL;
	struct err err;
	if (!receipts_read(&receipts, &key, config, &err)) {
		FAIL(check, &config->certificate, "%s", err.message);
		return;
	}
	check_receipt_chain(check, receipts.certificate);
	key_free(key);
	receipts_fini(&receipts);
}

static void check_main_chain_files(struct check *check)
{
	const struct config_main_chain *chain = &check->config->gateway.main_chain;
	struct key *key;
	struct cert **certs = NULL;
	size_t count = 0;
	struct err err;
	(void)check_file(check, &chain->ca, FILE_SIZE_ANY);
	(void)check_file(check, &chain->token_file, TOKEN_SIZE_MAX);
	read_key(check, &chain->key, &key);
	if (chain->certificate != NULL && !cert_read_file(&certs, &count, chain->certificate, &err))
		FAIL(check, &chain->certificate, "%s", err.message);
	if (count > 0 && key != NULL) {
		const struct key *certified = cert_key(certs[0]);
		struct hash ours = key_id(key);
		struct hash theirs = certified == NULL ? (struct hash){ { 0 } } : key_id(certified);
		if (!hash_equal(&ours, &theirs))
			FAIL(check, &chain->key,
			     "main-chain.key is not the key of main-chain.certificate");
	}
	free_certs(certs, count);
	key_free(key);
}

static void check_trusted(struct check *check, const void *field, const char *const *paths,
                          size_t count)
{
	struct buffer text = BUFFER_EMPTY;
	struct trusted *trusted = NULL;
	struct err err;
	if (count > 0 && (!mainchain_trusted_read(paths, count, &text, &err) ||
	                  !trusted_parse(buffer_bytes(&text), &trusted, &err)))
		FAIL(check, field, "%s", err.message);
	trusted_free(trusted);
	buffer_fini(&text);
}

static void check_main_chain(struct check *check)
{
	const struct gateway_config *gateway = &check->config->gateway;
	const struct config_main_chain *chain = &gateway->main_chain;
	const struct mainchain_adapter *adapter = sink_find(chain->adapter);
	if (adapter == NULL)
		FAIL(check, &chain->adapter, "main-chain.adapter %s is not known to this program",
		     chain->adapter);
	for (size_t i = 0; adapter != NULL && i < gateway->class_count; i++) {
		const struct class_config *class = &gateway->classes[i];
		if ((adapter->deliver_mask & (1u << class->deliver)) == 0)
			FAIL(check, &class->deliver,
			     "class %s: the adapter %s cannot deliver \"%s\"", class->name,
			     adapter->name, deliver_name(class->deliver));
	}
	if (chain->hash == HASH_SM3 && !suite_available(SUITE_SM3_SM2))
		FAIL(check, &chain->hash,
		     "main-chain.hash sm3 is not in the OpenSSL that this program runs with");
	check_main_chain_files(check);
	check_trusted(check, &chain->trusted, chain->trusted.items, chain->trusted.count);
}

static void check_chain(struct check *check, const struct chain_config *chain)
{
	struct pinned pinned;
	struct err err;
	if (check_format(check, &chain->format) == NULL)
		return;
	if (pinned_read(&pinned, chain, &err))
		pinned_fini(&pinned);
	else
		FAIL(check, &chain->trust, "chain %s: %s", chain->name, err.message);
}

static void check_gateway(struct check *check)
{
	check_tls(check, true);
	check_receipts(check);
	check_main_chain(check);
	for (size_t i = 0; i < check->config->gateway.chain_count; i++)
		check_chain(check, &check->config->gateway.chains[i]);
}

/* ---- the agent ---- */

static void check_ledger(struct check *check, const struct edge_chain_config *chain)
{
	const struct edge_source_config *source = &chain->source;
	struct key *key;
	if (!suite_available(source->suite)) {
		FAIL(check, &source->suite,
		     "suite %s is not in the OpenSSL that this program runs with",
		     suite_name(source->suite));
		return;
	}
	read_key(check, &source->key, &key);
	if (key != NULL && key_suite(key) != source->suite)
		FAIL(check, &source->key, "%s is a key of suite %s, not %s", source->key,
		     suite_name(key_suite(key)), suite_name(source->suite));
	key_free(key);
}

/* What is pinned; a ledger's is written at its first start. */
static void check_edge_trust(struct check *check, const struct edge_chain_config *chain,
                             const struct sidechain *format)
{
	struct buffer pinned = BUFFER_EMPTY;
	struct trust *trust = NULL;
	struct err err;
	if (chain->source.type == EDGE_SOURCE_LEDGER && access(chain->trust, F_OK) != 0)
		return;
	if (check_file(check, &chain->trust, FILE_SIZE_ANY) &&
	    file_read(chain->trust, FILE_SIZE_ANY, &pinned, &err)) {
		if (format->trust_pin(buffer_bytes(&pinned), &trust, &err))
			format->trust_free(trust);
		else
			FAIL(check, &chain->trust, "chain %s: %s: %s", chain->name, chain->trust,
			     err.message);
	}
	buffer_fini(&pinned);
}

static void check_edge_chain(struct check *check, const struct edge_chain_config *chain)
{
	const struct sidechain *format = check_format(check, &chain->format);
	if (format != NULL)
		check_edge_trust(check, chain, format);
	if (chain->source.type == EDGE_SOURCE_LEDGER)
		check_ledger(check, chain);
	else
		check_folder(check, &chain->source.dir);
	for (size_t i = 0; i < chain->dictionaries.count; i++) {
		struct buffer content = BUFFER_EMPTY;
		struct err err;
		if (!file_read(chain->dictionaries.items[i], DICTIONARY_SIZE_MAX, &content, &err))
			FAIL(check, &chain->dictionaries, "%s", err.message);
		buffer_fini(&content);
	}
	if (mainchain_evidence_find(chain->main_chain_adapter) == NULL)
		FAIL(check, &chain->main_chain_adapter,
		     "evidence of main-chain adapter %s is not known to this program",
		     chain->main_chain_adapter);
	check_trusted(check, &chain->main_chain_trusted, &chain->main_chain_trusted,
	              chain->main_chain_trusted == NULL ? 0 : 1);
}

static void check_edge(struct check *check)
{
	check_tls(check, false);
	for (size_t i = 0; i < check->config->edge.chain_count; i++)
		check_edge_chain(check, &check->config->edge.chains[i]);
}

/* ---- the developer's main chain ---- */

static void check_devchain(struct check *check)
{
	const struct devchain_config *devchain = &check->config->devchain;
	struct key *key;
	check_tls(check, true);
	(void)check_file(check, &devchain->token_file, TOKEN_SIZE_MAX);
	read_key(check, &devchain->key, &key);
	key_free(key);
}

void preflight_check(const struct config *config, const struct clock *clock,
                     struct config_errors *errors)
{
	struct check check = { config, clock, errors };
	switch (config->program) {
	case CONFIG_GATEWAY:
		check_gateway(&check);
		return;
	case CONFIG_EDGE:
		check_edge(&check);
		return;
	case CONFIG_DEVCHAIN:
		check_devchain(&check);
		return;
	}
}
