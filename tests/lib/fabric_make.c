/* fabric_make.c -- writes a made-up Fabric channel as block files: for system tests, benchmarks and
 * fuzzing. DIR/0.block is the genesis.
 *
 *     fabric_make DIR [OPTION=VALUE]...
 *
 *     name=edge-gen  kind=raft|bft  capability=V2_0  orgs=1  nodes=4  units=0|1  intermediate=0|1
 *     blocks=10      txs=6          size=11000 (of each transaction)
 *     config-every=0 (so many blocks between config blocks; 0: none; each admits an organisation)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/file.h"
#include "tests/lib/fabric_gen.h"

struct settings {
	struct gen_options channel;
	size_t blocks, txs, size, config_every;
};

static void die(const char *what)
{
	fprintf(stderr, "fabric_make: %s\n", what);
	exit(1);
}

static void read_setting(struct settings *settings, const char *text)
{
	const char *value = strchr(text, '=');
	if (value == NULL)
		die(text);
	size_t size = (size_t)(value++ - text);
	unsigned long number = strtoul(value, NULL, 10);
#define IS(name) (size == sizeof(name) - 1 && memcmp(text, (name), size) == 0)
	if (IS("name"))
		settings->channel.name = value;
	else if (IS("kind"))
		settings->channel.kind = strcmp(value, "bft") == 0 ? GEN_BFT : GEN_RAFT;
	else if (IS("capability"))
		settings->channel.capability = value;
	else if (IS("orgs"))
		settings->channel.org_count = number;
	else if (IS("nodes"))
		settings->channel.node_count = number;
	else if (IS("units"))
		settings->channel.org_flags |= number > 0 ? GEN_NODE_OUS : 0;
	else if (IS("intermediate"))
		settings->channel.org_flags |= number > 0 ? GEN_INTERMEDIATE : 0;
	else if (IS("blocks"))
		settings->blocks = number;
	else if (IS("txs"))
		settings->txs = number;
	else if (IS("size"))
		settings->size = number;
	else if (IS("config-every"))
		settings->config_every = number;
	else
		die(text);
#undef IS
}

/* The next config block brings one organisation more, until there are as many as may be. */
static void admit_org(struct gen_channel *channel)
{
	char name[16];
	if (channel->org_count == GEN_ORGS_MAX || channel->node_count == GEN_NODES_MAX)
		return;
	(void)snprintf(name, sizeof(name), "Org%zu", channel->org_count);
	struct gen_org *org = gen_org_new(name, channel->options.org_flags);
	struct gen_node *node = gen_node_new(org, "orderer", channel->options.suite);
	channel->orgs[channel->org_count++] = org;
	node->id = (uint32_t)channel->node_count + 1;
	channel->nodes[channel->node_count++] = node;
}

static void write_block(const char *folder, uint64_t height, struct bytes raw)
{
	char path[512];
	struct err err;
	(void)snprintf(path, sizeof(path), "%s/%llu.block", folder, (unsigned long long)height);
	if (!file_write_atomic(path, raw, 0644, &err))
		die(err.message);
}

static void make(const struct settings *settings, const char *folder)
{
	struct gen_channel *channel = gen_channel_new(&settings->channel);
	struct buffer raw = BUFFER_EMPTY;
	for (size_t height = 0; height <= settings->blocks; height++) {
		struct gen_draft draft = gen_draft(channel);
		bool is_config = settings->config_every > 0 && height % settings->config_every == 0;
		if (is_config && height > 0)
			admit_org(channel);
		if (is_config || height == 0) {
			/* Signed by those who are in force, not by those whom it brings. */
			struct gen_draft config = gen_config_draft(channel);
			memcpy(config.signers, draft.signers, sizeof(draft.signers));
			config.signer_count = draft.signer_count;
			draft = config;
		}
		draft.tx_count = settings->txs;
		draft.tx_size = settings->size;
		gen_seal(channel, &draft, &raw);
		write_block(folder, height, buffer_bytes(&raw));
		gen_commit(channel, &draft, buffer_bytes(&raw));
	}
	buffer_fini(&raw);
	gen_channel_free(channel);
}

int main(int argc, char **argv)
{
	struct settings settings = { .channel = { .name = "edge-gen", .node_count = 4 },
		                     .blocks = 10,
		                     .txs = 6,
		                     .size = 11000 };
	if (argc < 2)
		die("a folder is needed");
	for (int i = 2; i < argc; i++)
		read_setting(&settings, argv[i]);
	make(&settings, argv[1]);
	return 0;
}
