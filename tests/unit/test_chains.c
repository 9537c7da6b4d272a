/* test_chains.c -- the chains that the loop knows: nothing is loaded before its first use, and what is
 * loaded is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapters/sidechain/ledger/ledger.h"
#include "relay/chains.h"
#include "tests/unit/spool_fixture.h"

#define CHAIN_COUNT (TRUST_CACHE_CHAINS + 50)

#define ZONE                                                         \
	"zone: iii\n"                                                \
	"listen: [\"127.0.0.1:7443\"]\n"                             \
	"tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"        \
	"spool: {dir: spool}\n"                                      \
	"receipts: {key: r.key, certificate: r.pem}\n"               \
	"main-chain: {endpoints: [\"https://main.example:7480\"]}\n" \
	"chains:\n"

struct scene {
	struct fixture *fixture;
	char folder[TEST_PATH_MAX];
	struct config *config;
	struct chains *chains;
	struct hash epoch; /* Of all of them: their genesis is the same block. */
};

static void name_of(size_t number, char out_name[static 32])
{
	(void)snprintf(out_name, 32, "tq-%05zu", number);
}

static struct config *load_config(const char *folder)
{
	char path[TEST_PATH_MAX + 8];
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	assert_int_equal(mkdir(folder, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/c.yaml", folder);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs(ZONE, file);
	for (size_t i = 0; i < CHAIN_COUNT; i++) {
		char name[32];
		name_of(i, name);
		(void)fprintf(file, "- {name: %s, format: ledger, trust: t, agents: [e]}\n", name);
	}
	assert_int_equal(fclose(file), 0);
	assert_true(config_load(path, CONFIG_GATEWAY, &config, &errors));
	return config;
}

static void enrol(struct scene *scene)
{
	struct err err;
	struct key *key;
	struct block_header header;
	struct buffer genesis = BUFFER_EMPTY;
	MUST(key_generate(&key, SUITE_SHA256_ED25519, &err));
	const struct key *keys[] = { key };
	const struct ledger_set set = { .keys = keys, .key_count = 1, .threshold = 1 };
	MUST(ledger_genesis_build(&set, TEST_TIME_MS, &genesis, &header, &err));
	scene->epoch = header.hash;
	struct spool_txn *txn = begin(scene->fixture, SPOOL_INTAKE);
	for (size_t i = 0; i < CHAIN_COUNT; i++) {
		struct spool_chain_new row = { .id.epoch = header.hash,
			                       .format = "ledger",
			                       .trust = buffer_bytes(&genesis),
			                       .sink = SPOOL_SINK_MAIN,
			                       .class = 1,
			                       .now_ms = TEST_TIME_MS };
		name_of(i, row.id.name);
		MUST(spool_chain_add(txn, &row, &err));
	}
	commit(scene->fixture);
	buffer_fini(&genesis);
	key_free(key);
}

static int set_up(void **state)
{
	struct err err;
	struct scene *scene = calloc(1, sizeof(*scene));
	assert_int_equal(set_up_spool((void **)&scene->fixture), 0);
	fresh_path(scene->folder);
	scene->config = load_config(scene->folder);
	enrol(scene);
	MUST(chains_new(&scene->chains, scene->fixture->spool, scene->config, &err));
	*state = scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	struct partials partials;
	partials_init(&partials, 1);
	chains_free(scene->chains, &partials);
	config_free(scene->config);
	temp_folder_remove(scene->folder);
	int failed = tear_down_spool((void **)&scene->fixture);
	free(scene);
	return failed;
}

static struct chain *find(struct scene *scene, size_t number)
{
	struct err err;
	struct chain *chain;
	char name[32];
	name_of(number, name);
	MUST(chains_find(scene->chains, name, &scene->epoch, &chain, &err));
	assert_string_equal(chain->id.name, name);
	return chain;
}

static const struct trust *trust_of(struct scene *scene, struct chain *chain)
{
	struct err err;
	const struct trust *trust;
	MUST(chain_trust(scene->chains, chain, &trust, &err));
	return trust;
}

static void nothing_is_loaded_before_it_is_used(void **state)
{
	struct scene *scene = *state;
	assert_int_equal(chains_count(scene->chains), 0);
	struct chain *chain = find(scene, 7);
	assert_ptr_equal(find(scene, 7), chain);
	assert_int_equal(chains_count(scene->chains), 1);
	assert_int_equal(chains_trust_count(scene->chains), 0);
	const struct trust *trust = trust_of(scene, chain);
	assert_ptr_equal(trust_of(scene, chain), trust);
	assert_int_equal(chains_trust_count(scene->chains), 1);
}

static void only_so_many_chains_keep_their_trust_sets(void **state)
{
	struct scene *scene = *state;
	for (size_t i = 0; i < CHAIN_COUNT; i++) {
		(void)trust_of(scene, find(scene, i));
		(void)trust_of(scene, find(scene, 0)); /* Used all the time, so never the oldest. */
		assert_true(chains_trust_count(scene->chains) <= TRUST_CACHE_CHAINS);
	}
	assert_int_equal(chains_trust_count(scene->chains), TRUST_CACHE_CHAINS);
	assert_false(list_is_empty(&find(scene, 0)->trusts));
	assert_false(list_is_empty(&find(scene, CHAIN_COUNT - 1)->trusts));
	assert_true(list_is_empty(&find(scene, 1)->trusts));
	/* What was dropped is loaded again. */
	(void)trust_of(scene, find(scene, 1));
	assert_int_equal(chains_trust_count(scene->chains), TRUST_CACHE_CHAINS);
}

static void a_chain_that_is_not_in_the_zone_or_has_another_genesis_is_not_found(void **state)
{
	struct scene *scene = *state;
	struct err err;
	struct chain *chain;
	MUST_FAIL(chains_find(scene->chains, "tq-99999", &scene->epoch, &chain, &err), ZR_STATE);
	struct hash other = test_hash("another", 0, &scene->epoch);
	MUST_FAIL(chains_find(scene->chains, "tq-00003", &other, &chain, &err), ZR_STATE);
	assert_non_null(strstr(err.message, "another genesis"));
	assert_int_equal(chains_count(scene->chains), 0);
}

static void a_chain_that_is_disabled_frozen_or_gone_from_the_zone_takes_nothing(void **state)
{
	struct scene *scene = *state;
	struct chain *chain = find(scene, 3);
	const struct chain_config *config = chain->config;
	const char *why = "";
	assert_true(chain_takes(chain, &why));
	struct chain_config disabled = *config;
	disabled.enabled = false;
	chain->config = &disabled;
	assert_false(chain_takes(chain, &why));
	assert_non_null(strstr(why, "disabled"));
	chain->config = NULL;
	assert_false(chain_takes(chain, &why));
	assert_non_null(strstr(why, "not in the zone file"));
	chain->config = config;
	static const enum spool_chain_state states[] = { SPOOL_CHAIN_FROZEN, SPOOL_CHAIN_RETIRED,
		                                         SPOOL_CHAIN_RESTORED };
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		chain->state = states[i];
		assert_false(chain_takes(chain, &why));
	}
	chain->state = SPOOL_CHAIN_ACTIVE;
	assert_true(chain_takes(chain, &why));
}

#define WITH_CHAINS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CHAINS(nothing_is_loaded_before_it_is_used),
		WITH_CHAINS(only_so_many_chains_keep_their_trust_sets),
		WITH_CHAINS(a_chain_that_is_not_in_the_zone_or_has_another_genesis_is_not_found),
		WITH_CHAINS(a_chain_that_is_disabled_frozen_or_gone_from_the_zone_takes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
