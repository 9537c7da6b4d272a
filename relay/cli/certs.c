/* certs.c -- zonerelay certs: the certificates of the zone file, and when they expire. */
#include <stdlib.h>

#include "relay/base/clock.h"
#include "relay/base/crypto.h"
#include "relay/cli/cli.h"
#include "relay/net/tls.h"

#define WITHIN_MS_DEFAULT (INT64_C(30) * 86400000)

/* Lists are made again much more often than certificates: "soon" is this much later for them. */
#define LIST_PART 10

struct listing {
	json_t *certificates; /* Owned. */
	int64_t now_ms;
	int64_t within_ms;
	bool soon;   /* Something expires soon or has expired. */
	bool broken; /* Something cannot be read. */
};

static const char *state_of(struct listing *listing, int64_t from_ms, int64_t until_ms,
                            int64_t within_ms)
{
	if (until_ms <= listing->now_ms) {
		listing->soon = true;
		return "expired";
	}
	if (from_ms > listing->now_ms) {
		listing->soon = true;
		return "not valid yet";
	}
	if (until_ms - listing->now_ms < within_ms) {
		listing->soon = true;
		return "expires soon";
	}
	return "valid";
}

static void add(struct listing *listing, const char *key, const char *file, json_t *take_more)
{
	(void)json_object_set_new(take_more, "key", json_string(key));
	(void)json_object_set_new(take_more, "file", json_string(file));
	(void)json_array_append_new(listing->certificates, take_more);
}

static void add_cert(struct listing *listing, const char *key, const char *file,
                     const struct cert *cert)
{
	int64_t from_ms = cert_not_before_ms(cert);
	int64_t until_ms = cert_not_after_ms(cert);
	add(listing, key, file,
	    json_pack("{s:s,s:I,s:I,s:s,s:s}", "state",
	              state_of(listing, from_ms, until_ms, listing->within_ms), "not_before_ms",
	              (json_int_t)from_ms, "not_after_ms", (json_int_t)until_ms, "subject",
	              cert_subject(cert), "serial", cert_serial(cert)));
}

static void add_file(struct listing *listing, const char *key, const char *file)
{
	struct cert **certs = NULL;
	size_t count = 0;
	struct err err;
	if (file == NULL)
		return;
	if (!cert_read_file(&certs, &count, file, &err)) {
		listing->broken = true;
		cli_say("%s: %s", key, err.message);
		add(listing, key, file, json_pack("{s:s}", "state", "unreadable"));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		add_cert(listing, key, file, certs[i]);
		cert_free(certs[i]);
	}
	free((void *)certs);
}

/* The revocation lists, as TLS reads them. */
static void add_crls(struct listing *listing, const struct config_tls *tls)
{
	for (size_t i = 0; i < tls->crl.count; i++) {
		const struct tls_options options = { .is_server = true,
			                             .certificate = tls->certificate,
			                             .key = tls->key,
			                             .ca = tls->ca,
			                             .crls = &tls->crl.items[i],
			                             .crl_count = 1,
			                             .clock = clock_system() };
		struct tls_context *context = NULL;
		struct err err;
		if (!tls_context_new(&context, &options, &err)) {
			listing->broken = true;
			cli_say("tls.crl: %s", err.message);
			add(listing, "tls.crl", tls->crl.items[i],
			    json_pack("{s:s}", "state", "not usable"));
			continue;
		}
		const struct tls_facts *facts = tls_context_facts(context);
		add(listing, "tls.crl", tls->crl.items[i],
		    json_pack("{s:s,s:I,s:I}", "state",
		              state_of(listing, INT64_MIN, facts->crl_next_update_ms,
		                       listing->within_ms / LIST_PART),
		              "not_after_ms", (json_int_t)facts->crl_next_update_ms, "revoked",
		              (json_int_t)facts->revoked_count));
		tls_context_free(context);
	}
}

static void list_all(struct listing *listing, const struct config *config)
{
	const struct gateway_config *gateway = &config->gateway;
	add_file(listing, "tls.certificate", config->tls.certificate);
	add_file(listing, "tls.ca", config->tls.ca);
	add_crls(listing, &config->tls);
	add_file(listing, "receipts.certificate", gateway->receipts.certificate);
	for (size_t i = 0; i < gateway->receipts.old_certificates.count; i++)
		add_file(listing, "receipts.old-certificates",
		         gateway->receipts.old_certificates.items[i]);
	add_file(listing, "main-chain.ca", gateway->main_chain.ca);
	add_file(listing, "main-chain.certificate", gateway->main_chain.certificate);
}

int cli_certs(struct cli *cli)
{
	const char *within = cli_option(cli, OPTION_WITHIN);
	uint64_t within_ms = (uint64_t)WITHIN_MS_DEFAULT;
	struct err err;
	if (within != NULL &&
	    (!cli_parse_duration(within, &within_ms, &err) || within_ms > (uint64_t)INT64_MAX / 2))
		return cli_usage(cli, "--within is a time, such as 30 d, not %s", within);
	const struct config *config = cli_config(cli, &err);
	if (config == NULL)
		return cli_fail(cli, &err);
	struct listing listing = { .certificates = json_array(),
		                   .now_ms = clock_wall_ms(clock_system()),
		                   .within_ms = (int64_t)within_ms };
	list_all(&listing, config);
	json_t *json = json_pack("{s:o}", "certificates", listing.certificates);
	if (!cli->json)
		cli_print(COMMAND_CERTS, json, stdout);
	cli_json(cli, json);
	return listing.broken ? EXIT_FAILED : listing.soon ? EXIT_DEGRADED : EXIT_OK;
}
