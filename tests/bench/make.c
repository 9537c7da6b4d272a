/* make.c -- what a benchmark needs before its clock starts: agents' certificates and signed blocks.
 *
 *     bench_make agents DIR COUNT CA.pem CA.key     agent-1.pem ... agent-COUNT.pem, agents.key
 *     bench_make ledger DIR SIZE BLOCKS LINES.csv   blocks of at most SIZE bytes, P-256
 *     bench_make fabric DIR SIZE BLOCKS             Raft-shaped blocks of about SIZE bytes
 *
 * The latter two write DIR/genesis.block and DIR/blocks.raw (a raw batch of heights 1..BLOCKS) and
 * print how many entries or transactions a block holds. Every agent has the same key, so that a
 * thousand certificates cost a thousand signatures and no more.
 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/ledger/ledger.h"
#include "proto/compress.h"
#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "tests/lib/fabric_gen.h"

#define LINES_SIZE_MAX  (256u << 20)
#define ENTRIES_MAX     1024
#define ENTRY_OVERHEAD  3   /* Tag and length of an entry's field. */
#define BLOCK_OVERHEAD  208 /* Header, seal, and their tags. */
#define AGENT_VALID_S   (7L * 24 * 3600)
#define GENESIS_TIME_MS INT64_C(1767571200000)
#define FABRIC_TXS      6

static void die(const char *what)
{
	fprintf(stderr, "bench_make: %s\n", what);
	exit(1);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		die(what);
}

/* ---- certificates ---- */

static void put_key(const char *folder, EVP_PKEY *key)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/agents.key", folder);
	FILE *file = fopen(path, "w");
	must(file != NULL, path);
	must(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1, "agents' key");
	must(fclose(file) == 0, path);
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	must(extension != NULL && X509_add_ext(cert, extension, -1) == 1, value);
	X509_EXTENSION_free(extension);
}

static X509 *agent_cert(long number, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
	char name[32], uri[64];
	(void)snprintf(name, sizeof(name), "bench-%ld", number);
	(void)snprintf(uri, sizeof(uri), "URI:zonerelay:agent/%s", name);
	X509 *cert = X509_new();
	must(cert != NULL && X509_set_version(cert, 2) == 1, "certificate");
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1000000 + number);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), AGENT_VALID_S);
	must(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
	                                (const unsigned char *)name, -1, -1, 0) == 1,
	     "subject");
	X509_set_issuer_name(cert, X509_get_subject_name(ca));
	must(X509_set_pubkey(cert, key) == 1, "public key");
	extend(cert, ca, NID_basic_constraints, "critical,CA:FALSE");
	extend(cert, ca, NID_key_usage, "critical,digitalSignature");
	extend(cert, ca, NID_ext_key_usage, "clientAuth");
	extend(cert, ca, NID_subject_key_identifier, "hash");
	extend(cert, ca, NID_authority_key_identifier, "keyid");
	extend(cert, ca, NID_subject_alt_name, uri);
	must(X509_sign(cert, ca_key, EVP_sha256()) > 0, "certificate's signature");
	return cert;
}

static void make_agents(const char *folder, long count, const char *ca_path, const char *key_path)
{
	FILE *file = fopen(ca_path, "r");
	must(file != NULL, ca_path);
	X509 *ca = PEM_read_X509(file, NULL, NULL, NULL);
	must(ca != NULL && fclose(file) == 0, ca_path);
	file = fopen(key_path, "r");
	must(file != NULL, key_path);
	EVP_PKEY *ca_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	must(ca_key != NULL && fclose(file) == 0, key_path);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	must(key != NULL, "agents' key");
	put_key(folder, key);
	for (long number = 1; number <= count; number++) {
		char path[512];
		(void)snprintf(path, sizeof(path), "%s/agent-%ld.pem", folder, number);
		X509 *cert = agent_cert(number, key, ca, ca_key);
		file = fopen(path, "w");
		must(file != NULL, path);
		must(PEM_write_X509(file, cert) == 1 && PEM_write_X509(file, ca) == 1, path);
		must(fclose(file) == 0, path);
		X509_free(cert);
	}
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	X509_free(ca);
}

/* ---- blocks ---- */

static void write_file(const char *folder, const char *name, const struct buffer *content)
{
	char path[512];
	struct err err;
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	must(buffer_ok(content, &err), "out of memory");
	if (!file_write_atomic(path, buffer_bytes(content), 0644, &err))
		die(err.message);
}

/* The next line of text, from *at on; begins again at the end. */
static struct bytes next_line(struct bytes text, size_t *at)
{
	if (*at >= text.size)
		*at = 0;
	const uint8_t *begin = text.data + *at;
	const uint8_t *end = memchr(begin, '\n', text.size - *at);
	must(end != NULL && end > begin, "the lines must be whole, and none empty");
	*at += (size_t)(end - begin) + 1;
	return (struct bytes){ begin, (size_t)(end - begin) };
}

/* As many lines as fit into a block of size bytes; at least one. */
static size_t fill(struct bytes text, size_t *at, size_t size, struct bytes *entries)
{
	size_t count = 0;
	size_t used = BLOCK_OVERHEAD;
	while (count < ENTRIES_MAX) {
		size_t before = *at;
		entries[count] = next_line(text, at);
		used += entries[count].size + ENTRY_OVERHEAD;
		if (used > size && count > 0) {
			*at = before;
			break;
		}
		count++;
	}
	return count;
}

static void make_ledger(const char *folder, size_t size, size_t blocks, const char *lines_path)
{
	struct buffer lines = BUFFER_EMPTY;
	struct buffer genesis = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	struct buffer block = BUFFER_EMPTY;
	struct bytes entries[ENTRIES_MAX];
	struct block_header tip;
	struct key *key = NULL;
	struct err err;
	size_t at = 0, entry_count = 0;

	if (!file_read(lines_path, LINES_SIZE_MAX, &lines, &err) ||
	    !key_generate(&key, SUITE_SHA256_P256, &err))
		die(err.message);
	const struct key *const keys[] = { key };
	const struct ledger_set set = { .keys = keys, .key_count = 1, .threshold = 1 };
	if (!ledger_genesis_build(&set, GENESIS_TIME_MS, &genesis, &tip, &err))
		die(err.message);
	for (size_t height = 1; height <= blocks; height++) {
		size_t count = fill(buffer_bytes(&lines), &at, size, entries);
		struct ledger_draft draft = { .height = height,
			                      .parent = tip.hash,
			                      .time_ms = GENESIS_TIME_MS + (int64_t)height * 900000,
			                      .entries = entries,
			                      .entry_count = count,
			                      .signers = keys,
			                      .signer_count = 1 };
		buffer_clear(&block);
		if (!ledger_block_build(&draft, &block, &tip, &err))
			die(err.message);
		batch_put_block(&raw, buffer_bytes(&block));
		entry_count += count;
	}
	write_file(folder, "genesis.block", &genesis);
	write_file(folder, "blocks.raw", &raw);
	printf("%.1f\n", (double)entry_count / (double)blocks);
	key_free(key);
	buffer_fini(&lines);
	buffer_fini(&genesis);
	buffer_fini(&raw);
	buffer_fini(&block);
}

static void make_fabric(const char *folder, size_t size, size_t blocks)
{
	const struct gen_options options = { .name = "bench", .kind = GEN_RAFT, .node_count = 3 };
	struct gen_channel *channel = gen_channel_new(&options);
	struct buffer genesis = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	struct buffer block = BUFFER_EMPTY;
	gen_next_config(channel, &genesis);
	for (size_t height = 1; height <= blocks; height++) {
		gen_next(channel, FABRIC_TXS, size / FABRIC_TXS, &block);
		batch_put_block(&raw, buffer_bytes(&block));
	}
	write_file(folder, "genesis.block", &genesis);
	write_file(folder, "blocks.raw", &raw);
	printf("%d\n", FABRIC_TXS);
	gen_channel_free(channel);
	buffer_fini(&genesis);
	buffer_fini(&raw);
	buffer_fini(&block);
}

static long number_of(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);
	must(*end == '\0' && number > 0, "a number above 0 is needed");
	return number;
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "agents") == 0)
		make_agents(argv[2], number_of(argv[3]), argv[4], argv[5]);
	else if (argc == 6 && strcmp(argv[1], "ledger") == 0)
		make_ledger(argv[2], (size_t)number_of(argv[3]), (size_t)number_of(argv[4]),
		            argv[5]);
	else if (argc == 5 && strcmp(argv[1], "fabric") == 0)
		make_fabric(argv[2], (size_t)number_of(argv[3]), (size_t)number_of(argv[4]));
	else
		die("agents DIR COUNT CA.pem CA.key | ledger DIR SIZE BLOCKS LINES | "
		    "fabric DIR SIZE BLOCKS");
	return 0;
}
