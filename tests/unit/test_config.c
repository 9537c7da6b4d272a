#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "config/keys.h"
#include "config/load.h"
#include "tests/lib/temp_folder.h"

/* A zone file with everything that is required and nothing else. */
#define ZONE                                                         \
	"zone: iii\n"                                                \
	"listen: [\"127.0.0.1:7443\"]\n"                             \
	"tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"        \
	"spool: {dir: spool}\n"                                      \
	"receipts: {key: r.key, certificate: r.pem}\n"               \
	"main-chain: {endpoints: [\"https://main.example:7480\"]}\n" \
	"chains: [{name: a, format: fabric, trust: a.block, agents: [e1]}]\n"

#define EDGE                                                                                 \
	"tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"                                \
	"gateway: {name: gw.example, routes: [{address: \"gw.example:7443\"}]}\n"            \
	"state: {dir: state}\n"                                                              \
	"chains:\n"                                                                          \
	"  - {name: a, format: fabric, trust: t, source: {type: fabric-dir, dir: blocks}}\n" \
	"  - name: b\n"                                                                      \
	"    format: ledger\n"                                                               \
	"    trust: b.block\n"                                                               \
	"    source: {type: ledger, dir: b, key: b.key"

#define LOAD_SECONDS_MAX 2 /* Of processor time. */

struct folder {
	char path[64];
};

static int make_folder(void **state)
{
	struct folder *folder = calloc(1, sizeof(*folder));
	assert_non_null(folder);
	temp_folder_make(folder->path, sizeof(folder->path));
	*state = folder;
	return 0;
}

static int remove_folder(void **state)
{
	struct folder *folder = *state;
	temp_folder_remove(folder->path);
	free(folder);
	return 0;
}

/* Writes a file of the folder; the path that is given is good until the next call. */
static const char *put(void **state, const char *name, const char *text, size_t size)
{
	static char path[512];
	const struct folder *folder = *state;
	(void)snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
	return path;
}

static const char *put_text(void **state, const char *name, const char *text)
{
	return put(state, name, text, strlen(text));
}

/* The errors as text, each "LINE:COLUMN: sentence". */
static char *errors_of(const char *path, enum config_program program)
{
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct buffer text = BUFFER_EMPTY;
	if (config_load(path, program, &config, &errors)) {
		config_free(config);
		return strdup("");
	}
	assert_null(config);
	for (size_t i = 0; i < errors.count; i++)
		buffer_printf(&text, "%u:%u: %s\n", errors.items[i].line, errors.items[i].column,
		              errors.items[i].text);
	buffer_put_u8(&text, '\0');
	config_errors_fini(&errors);
	return (char *)text.data;
}

/* Writes word wherever text has name. The word is the shorter one. */
static void replace(char *text, const char *name, const char *word)
{
	for (char *found = strstr(text, name); found != NULL; found = strstr(found, name)) {
		memcpy(found, word, strlen(word));
		memmove(found + strlen(word), found + strlen(name),
		        strlen(found + strlen(name)) + 1);
	}
}

/* In expected the file is called C, and its folder F. */
static void expect_errors(void **state, enum config_program program, const char *yaml,
                          const char *expected)
{
	const struct folder *folder = *state;
	const char *path = put_text(state, "c.yaml", yaml);
	char *found = errors_of(path, program);
	replace(found, path, "C");
	replace(found, folder->path, "F");
	assert_string_equal(found, expected);
	free(found);
}

/* One mistake after the required keys. */
static void expect_in_zone(void **state, const char *line, const char *expected)
{
	char yaml[4096];
	(void)snprintf(yaml, sizeof(yaml), "%s%s\n", ZONE, line);
	expect_errors(state, CONFIG_GATEWAY, yaml, expected);
}

static void expect_in_edge(void **state, const char *rest, const char *expected)
{
	char yaml[4096];
	(void)snprintf(yaml, sizeof(yaml), "%s%s\n", EDGE, rest);
	expect_errors(state, CONFIG_EDGE, yaml, expected);
}

static struct config *load(const char *path, enum config_program program)
{
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	if (!config_load(path, program, &config, &errors)) {
		struct buffer text = BUFFER_EMPTY;
		config_errors_text(&errors, &text);
		buffer_put_u8(&text, '\0');
		fail_msg("%s", (const char *)text.data);
	}
	assert_int_equal(errors.count, 0);
	return config;
}

/* ---- what is read ---- */

static void the_required_keys_are_enough(void **state)
{
	struct config *config = load(put_text(state, "c.yaml", ZONE), CONFIG_GATEWAY);
	const struct gateway_config *gateway = &config->gateway;
	const struct folder *folder = *state;
	char spool[128];
	(void)snprintf(spool, sizeof(spool), "%s/spool", folder->path);
	assert_string_equal(gateway->zone, "iii");
	assert_int_equal(gateway->listen.count, 1);
	assert_string_equal(gateway->listen.items[0].host, "127.0.0.1");
	assert_int_equal(gateway->listen.items[0].port, 7443);
	assert_string_equal(gateway->spool.dir, spool);
	assert_true(gateway->spool.size_bytes == UINT64_C(64) << 30);
	assert_int_equal(gateway->heartbeat_ms, 240000);
	assert_int_equal(gateway->chain_count, 1);
	assert_int_equal(gateway->class_count, 1);
	assert_ptr_equal(gateway->chains[0].class, &gateway->classes[0]);
	assert_string_equal(gateway->classes[0].name, "default");
	assert_int_equal(gateway->chains[0].policy, POLICY_ALL);
	assert_true(gateway->chains[0].enabled);
	assert_true(hash_is_zero(&gateway->chains[0].epoch));
	assert_null(gateway->control_group);
	config_free(config);
}

static void every_type_of_value_is_read(void **state)
{
	struct config *config = load(
		put_text(state, "c.yaml",
	                 ZONE
	                 "heartbeat: 1500ms\n"
	                 "limits: {links: 7, block: 64 KiB, batch: 65536 B, idle-timeout: 2 min}\n"
	                 "http: {listen: [\"[::1]:80\", '127.0.0.1:81']}\n"
	                 "metrics:\n  chains:\n  - a\n  - b.c\n"
	                 "log: {level: debug, style: json}\n"
	                 "classes:\n"
	                 "  default:\n"
	                 "  slow: {policy: tail, quota: 0, deliver: anchor, dictionary: ABCDEF"
	                 "0000000000000000000000000000000000000000000000000000000001}\n"),
		CONFIG_GATEWAY);
	assert_int_equal(config->gateway.heartbeat_ms, 1500);
	assert_int_equal(config->gateway.limits.link_count, 7);
	assert_int_equal(config->gateway.limits.batch_bytes, 65536);
	assert_int_equal(config->gateway.limits.idle_timeout_ms, 120000);
	assert_string_equal(config->gateway.http_listen.items[0].host, "::1");
	assert_int_equal(config->gateway.http_listen.items[1].port, 81);
	assert_string_equal(config->gateway.metrics_chains.items[1], "b.c");
	assert_int_equal(config->log.level, LOG_LEVEL_DEBUG);
	assert_int_equal(config->log.style, LOG_STYLE_JSON);
	const struct class_config *slow = config_class(config, "slow");
	assert_non_null(slow);
	assert_int_equal(slow->policy, POLICY_TAIL);
	assert_int_equal(slow->deliver, DELIVER_ANCHOR);
	assert_int_equal(slow->quota_bytes, 0);
	assert_int_equal(slow->dictionary.bytes[0], 0xab);
	assert_null(config_class(config, "fast"));
	config_free(config);
}

static void a_chain_has_its_classs_policy_unless_it_has_its_own(void **state)
{
	const struct folder *folder = *state;
	char sub[128];
	(void)snprintf(sub, sizeof(sub), "%s/chains.d", folder->path);
	assert_int_equal(mkdir(sub, 0700), 0);
	put_text(state, "chains.d/b.yaml",
	         "- {name: b, format: ledger, trust: b.block, agents: [e2, e3], class: bulk}\n"
	         "- {name: c, format: ledger, trust: /c.block, agents: [e2], class: bulk, "
	         "policy: all, enabled: no}\n");
	put_text(state, "chains.d/ignored.txt", "nothing of ours");
	put_text(state, "chains.d/.hidden.yaml", "nor this");
	struct config *config =
		load(put_text(state, "c.yaml", ZONE "classes: {bulk: {policy: tail}}\n"),
	             CONFIG_GATEWAY);
	assert_int_equal(config->gateway.chain_count, 3);
	const struct chain_config *b = config_chain(config, "b");
	const struct chain_config *c = config_chain(config, "c");
	assert_int_equal(b->policy, POLICY_TAIL);
	assert_int_equal(c->policy, POLICY_ALL);
	assert_string_equal(b->class->name, "bulk");
	/* Relative to the file that names it. */
	(void)snprintf(sub, sizeof(sub), "%s/chains.d/b.block", folder->path);
	assert_string_equal(b->trust, sub);
	assert_string_equal(c->trust, "/c.block");
	assert_true(config_chain_grants(b, "e3"));
	assert_false(config_chain_grants(b, "e1"));
	assert_false(c->enabled);
	assert_null(config_chain(config, "d"));
	config_free(config);
}

static void an_agents_file_is_read(void **state)
{
	char yaml[2048];
	(void)snprintf(yaml, sizeof(yaml),
	               "%s, input: csv, path: r.csv, csv: {columns: [time=1, kwh=12], delimiter: "
	               "\"\\t\"}, suite: sm3-sm2}\n    prune: anchored\n",
	               EDGE);
	struct config *config = load(put_text(state, "c.yaml", yaml), CONFIG_EDGE);
	const struct edge_config *edge = &config->edge;
	assert_int_equal(edge->route_count, 1);
	assert_string_equal(edge->routes[0].address.host, "gw.example");
	assert_int_equal(edge->chain_count, 2);
	const struct edge_source_config *source = &edge->chains[1].source;
	assert_int_equal(source->type, EDGE_SOURCE_LEDGER);
	assert_int_equal(source->input, EDGE_INPUT_CSV);
	assert_int_equal(source->suite, SUITE_SM3_SM2);
	assert_string_equal(source->csv_delimiter, "\t");
	assert_true(source->csv_skip_header);
	struct bytes name;
	unsigned number;
	config_csv_column(source->csv_columns.items[1], &name, &number);
	assert_true(bytes_equal(name, BYTES_LITERAL("kwh")));
	assert_int_equal(number, 12);
	assert_int_equal(edge->chains[1].prune, EDGE_PRUNE_ANCHORED);
	config_free(config);
}

static void a_small_spool_has_a_small_reserve(void **state)
{
	const char *yaml = "zone: iii\n"
			   "listen: [\"127.0.0.1:7443\"]\n"
			   "tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"
			   "spool: {dir: spool, size: 64 MiB}\n"
			   "receipts: {key: r.key, certificate: r.pem}\n"
			   "main-chain: {endpoints: [\"https://main.example:7480\"]}\n";
	struct config *config = load(put_text(state, "c.yaml", yaml), CONFIG_GATEWAY);
	assert_int_equal(config->gateway.spool.reserve_bytes, 16 << 20);
	assert_int_equal(config->gateway.spool.quarantine_size_bytes, 16 << 20);
	config_free(config);
}

/* ---- mistakes: each kind, with its place ---- */

static void unknown_keys_are_named_with_the_one_that_was_meant(void **state)
{
	expect_in_zone(state, "spol: {dir: x}", "8:1: there is no key spol; did you mean spool?\n");
	expect_in_zone(state, "limits: {link: 5}",
	               "8:10: there is no key limits.link; did you mean limits.links?\n");
	expect_in_zone(state, "retention: 5 d",
	               "8:1: there is no key retention; did you mean spool.retention?\n");
	expect_in_zone(state, "zebra-crossing: [a, {b: c}]",
	               "8:1: there is no key zebra-crossing\n");
	expect_in_zone(state, "classes: {x: {polcy: all}}",
	               "8:15: there is no key polcy in classes; did you mean "
	               "classes.NAME.policy?\n");
	expect_in_zone(state, "spool.size: 1 GiB", "8:1: a key must be one word\n");
	expect_in_zone(state, "? [a]\n: b", "8:3: a key must be one word\n");
}

static void keys_given_twice_are_named_with_the_first(void **state)
{
	expect_in_zone(state, "zone: iv", "8:1: zone is given twice; first in line 1\n");
	expect_in_zone(state, "tls: {}", "8:1: tls is given twice; first in line 3\n");
	expect_in_zone(state, "chains: []", "8:1: chains is given twice; first in line 7\n");
	expect_in_zone(state, "classes: {x: {}, x: {}}",
	               "8:18: classes: x is given twice; also in C:8\n");
}

static void values_of_the_wrong_type_are_refused(void **state)
{
	expect_in_zone(state, "heartbeat: [1 s]",
	               "8:12: heartbeat must be one value (duration), not a list or group\n");
	expect_in_zone(state, "heartbeat:", "8:11: heartbeat has no value\n");
	expect_in_zone(state, "heartbeat: ~", "8:12: heartbeat has no value\n");
	expect_in_zone(state, "log: 5", "8:1: log must be a group of keys\n");
	expect_in_zone(state, "http: {listen: \"127.0.0.1:80\"}",
	               "8:16: http.listen must be a list, for instance [a, b]\n");
	expect_in_zone(state, "http: {listen: [[a]]}",
	               "8:17: each element of http.listen must be one value\n");
	expect_in_zone(state, "classes: [a]", "8:10: classes must be a group of names\n");
	expect_in_zone(state, "classes: {x: 5}", "8:11: each of classes must be a group of keys\n");
	expect_errors(state, CONFIG_GATEWAY, "[a, b]", "1:1: must be a group of keys\n");
}

static void values_that_say_nothing_useful_are_refused(void **state)
{
	static const struct {
		const char *line, *sentence;
	} cases[] = {
		{ "heartbeat: soon",
		  "8:12: heartbeat must be a duration with its unit (ms, s, min, h "
		  "or d), for instance 30 s, not \"soon\"\n" },
		{ "heartbeat: 30",
		  "8:12: heartbeat must be a duration with its unit (ms, s, min, h or "
		  "d), for instance 30 s, not \"30\"\n" },
		{ "heartbeat: 1 h", "8:12: heartbeat must be from 1 s to 10 min, not \"1 h\"\n" },
		{ "heartbeat: 99999999999999999 d",
		  "8:12: heartbeat must be from 1 s to 10 min, not \"99999999999999999 d\"\n" },
		{ "heartbeat: 99999999999999999999999 d",
		  "8:12: heartbeat must be a duration with its unit (ms, s, min, h or d), for "
		  "instance 30 s, not \"99999999999999999999999 d\"\n" },
		{ "limits: {links: 0}",
		  "8:17: limits.links must be from 1 to 200000 links, not \"0\"\n" },
		{ "limits: {links: -1}",
		  "8:17: limits.links must be a whole number, not \"-1\"\n" },
		{ "limits: {links: 5 s}",
		  "8:17: limits.links must be a whole number, not \"5 s\"\n" },
		{ "limits: {chunk: 1 KB}",
		  "8:17: limits.chunk must be a size with its unit (B, KiB, MiB, GiB or TiB), for "
		  "instance 64 MiB, not \"1 KB\"\n" },
		{ "log: {level: loud}", "8:14: log.level must be error, warn, info or debug, not "
		                        "\"loud\"\n" },
		{ "metrics: {chains: [\"a b\"]}",
		  "8:20: metrics.chains must be a name: up to 64 letters, digits, '.', '-' and "
		  "'_', "
		  "beginning with a letter or digit, not \"a b\"\n" },
		{ "http: {listen: [localhost]}",
		  "8:17: http.listen must be an address and a port from 1 to 65535, for instance "
		  "10.1.2.3:7443 or [2001:db8::1]:7443, not \"localhost\"\n" },
		{ "http: {listen: [\"1.2.3.4:65536\"]}",
		  "8:17: http.listen must be an address and a port from 1 to 65535, for instance "
		  "10.1.2.3:7443 or [2001:db8::1]:7443, not \"1.2.3.4:65536\"\n" },
		{ "classes: {x: {dictionary: abcd}}",
		  "8:27: classes.NAME.dictionary must be a hash: 64 hexadecimal digits, not "
		  "\"abcd\"\n" },
		{ "control: {group: \"\"}",
		  "8:18: control.group must have from 1 to 64 characters, not \"\"\n" },
		{ "control: {group: \"a\\nb\"}",
		  "8:18: control.group must not hold control characters, not \"a\nb\"\n" },
		{ "control: {group: \"a\\0b\"}",
		  "8:18: control.group must not hold control characters, not \"a\"\n" },
		{ "control: {socket: \"\"}", "8:19: control.socket must be a path, not \"\"\n" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_in_zone(state, cases[i].line, cases[i].sentence);
}

static void a_list_has_limits(void **state)
{
	expect_in_zone(state, "classes: {x: {}}\nmetrics: {chains: [a, a]}",
	               "9:19: metrics.chains names a twice\n");
	struct buffer yaml = BUFFER_EMPTY;
	buffer_printf(&yaml, "%smetrics: {chains: [", ZONE);
	for (int i = 0; i < 5000; i++)
		buffer_printf(&yaml, "c%d, ", i);
	buffer_printf(&yaml, "]}\n");
	buffer_put_u8(&yaml, '\0');
	char *found = errors_of(put_text(state, "c.yaml", (const char *)yaml.data), CONFIG_GATEWAY);
	assert_non_null(strstr(found, "metrics.chains has too many elements\n"));
	free(found);
	buffer_fini(&yaml);
}

static void a_secret_is_not_repeated_in_an_error(void **state)
{
	char *found = errors_of(
		put_text(state, "c.yaml",
	                 "main-chain: {proxy: \"http://u:hush\\u0007@p\", endpoints: []}\n"),
		CONFIG_GATEWAY);
	assert_non_null(strstr(found, "main-chain.proxy must not hold control characters\n"));
	assert_null(strstr(found, "hush"));
	free(found);
}

static void missing_keys_are_named_with_what_they_are(void **state)
{
	expect_errors(state, CONFIG_DEVCHAIN, "{}\n",
	              "1:1: dir is missing: Folder of its ledger.\n");
	expect_in_zone(state, "chains-folder: x",
	               "8:16: chains-folder F/x: No such file or directory\n");
	char *found = errors_of(put_text(state, "c.yaml", "tls: {}\n"), CONFIG_EDGE);
	assert_non_null(strstr(found, "chains is missing"));
	assert_non_null(strstr(found, "gateway.routes is missing"));
	assert_non_null(strstr(found, "tls.ca is missing"));
	assert_non_null(strstr(found, "state.dir is missing"));
	free(found);
}

static void what_yaml_has_beyond_need_is_refused(void **state)
{
	expect_in_zone(state, "heartbeat: &beat 5 s", "8:12: anchors are not used here\n");
	expect_in_zone(state, "heartbeat: !!str 5 s", "8:12: tags are not used here\n");
	expect_in_zone(state, "log: &l {}", "8:6: anchors are not used here\n");
	expect_in_zone(state, "---\nzone: x", "8:1: only one document is read from a file\n");
	char *found = errors_of(put_text(state, "c.yaml", ZONE "log: &l {level: warn}\nhttp: *l\n"),
	                        CONFIG_GATEWAY);
	assert_non_null(strstr(found, "9:7: anchors are not used here"));
	free(found);
	expect_in_zone(state, "zebra: [[[[[[[[[[[[]]]]]]]]]]]]",
	               "8:1: there is no key zebra\n8:16: is nested too deeply\n");
}

static void a_file_that_is_not_yaml_says_where(void **state)
{
	expect_in_zone(state, "a: b: c",
	               "8:1: there is no key a\n"
	               "8:5: is not YAML: mapping values are not allowed in this context\n");
	expect_in_zone(state, "log: {level: info",
	               "9:1: is not YAML: did not find expected ',' or '}'\n");
	expect_in_zone(state, "log: \xff\xfe", "8:6: is not YAML: invalid leading UTF-8 octet\n");
	expect_errors(state, CONFIG_GATEWAY, "", "0:0: is empty\n");
	expect_errors(state, CONFIG_GATEWAY, "# nothing\n", "0:0: is empty\n");
}

static void a_file_that_is_not_there_is_said(void **state)
{
	char *found = errors_of("/nonexistent/zone.yaml", CONFIG_GATEWAY);
	assert_non_null(strstr(found, "No such file or directory"));
	assert_int_equal(strncmp(found, "0:0: ", 5), 0);
	free(found);
	(void)state;
}

static void values_that_do_not_fit_together_are_refused(void **state)
{
	expect_in_zone(state, "limits: {block: 32 MiB}",
	               "8:17: limits.block must be at most limits.batch\n");
	expect_in_zone(state, "limits: {partial-budget: 1 MiB}",
	               "8:26: limits.batch must be at most limits.partial-budget\n");
	expect_in_zone(state, "limits: {link-out: 1 MiB}",
	               "8:20: limits.frame must be at most limits.link-out\n");
	expect_in_zone(state, "limits: {idle-timeout: 5 min}",
	               "8:24: limits.idle-timeout must be at least 2 times heartbeat\n");
	expect_in_zone(state, "control: {events: /run/zonerelay/control.sock}",
	               "8:19: control.socket and control.events must not be the same\n");
	expect_in_zone(state, "http: {listen: [\"localhost:80\"]}",
	               "8:16: http.listen must have numeric addresses, not localhost\n");
	expect_in_zone(state, "http: {listen: [\"1.1.1.1:80\", \"1.1.1.1:80\"]}",
	               "8:16: http.listen names 1.1.1.1:80 twice\n");
	char line[300];
	(void)snprintf(line, sizeof(line), "control: {socket: /%0120d}", 0);
	expect_in_zone(state, line,
	               "8:19: control.socket must have at most 107 characters in all: it is a "
	               "socket\n");
	/* The accepted one of a pair is not blamed for the other's mistake. */
	expect_in_zone(state, "limits: {block: 32 MiB, batch: many}",
	               "8:32: limits.batch must be a size with its unit (B, KiB, MiB, GiB or TiB), "
	               "for instance 64 MiB, not \"many\"\n");
}

static void the_main_chain_is_checked(void **state)
{
	static const char before[] =
		"zone: iii\nlisten: [\"127.0.0.1:7443\"]\n"
		"tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"
		"receipts: {key: r.key, certificate: r.pem}\n"
		"spool: {dir: s, size: 64 MiB, reserve: 33 MiB, quarantine-size: 1 "
		"GiB, retention-size: 1 GiB}\n";
	char yaml[2048];
	(void)snprintf(yaml, sizeof(yaml),
	               "%smain-chain: {endpoints: [\"ftp://x\", \"https://y\", \"https://y\"], "
	               "key: k, proxy: p, retry-min: 10 s, retry-max: 5 s}\n",
	               before);
	expect_errors(state, CONFIG_GATEWAY, yaml,
	              "5:40: spool.size must be at least 2 times spool.reserve\n"
	              "5:65: spool.size must be at least 2 times spool.quarantine-size\n"
	              "5:88: spool.retention-size must be at most spool.size\n"
	              "6:25: main-chain.endpoints must be URLs that begin with https:// or "
	              "http://\n"
	              "6:25: main-chain.endpoints names https://y twice\n"
	              "6:69: main-chain.certificate and main-chain.key belong together: give both "
	              "or none\n"
	              "6:79: main-chain.proxy must be a URL that begins with http://, https:// or "
	              "socks5h://\n"
	              "6:93: main-chain.retry-min must be at most main-chain.retry-max\n");
}

static void chains_are_checked(void **state)
{
	static const char before[] = "zone: iii\nlisten: [\"127.0.0.1:7443\"]\n"
				     "tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"
				     "receipts: {key: r.key, certificate: r.pem}\n"
				     "spool: {dir: s}\n"
				     "main-chain: {endpoints: [\"https://y\"]}\n";
	char yaml[2048];
	(void)snprintf(yaml, sizeof(yaml),
	               "%schains:\n"
	               "- {name: a, format: fabric, trust: t, agents: [e, e]}\n"
	               "- {name: a, format: fabric, trust: t, agents: []}\n"
	               "- {name: b, trust: t, agents: [e], class: gold}\n"
	               "- 5\n"
	               "- {name: c, format: fabric, trust: t, agents: [e], policy: none}\n",
	               before);
	expect_errors(state, CONFIG_GATEWAY, yaml,
	              "8:47: chains[].agents names e twice\n"
	              "9:3: chains: a is given twice; also in C:8\n"
	              "9:47: chains[].agents must be a list of 1 to 64\n"
	              "10:3: chains[].format is missing: How its blocks are encoded and signed: "
	              "fabric or ledger.\n"
	              "10:43: there is no class gold\n"
	              "11:3: each of chains must be a group of keys\n"
	              "12:60: chains[].policy must be all or tail, not \"none\"\n");
}

static void the_agents_chains_are_checked(void **state)
{
	expect_in_edge(state, "}", "");
	expect_in_edge(state, ", input: file}",
	               "9:55: chains[].source.path is missing for this input\n");
	expect_in_edge(state, ", path: x}",
	               "9:54: chains[].source.path says nothing for standard input\n");
	expect_in_edge(state, ", input: csv, path: x, csv: {columns: [a=0, b, =1, c=1=2, d=1x]}}",
	               "9:84: chains[].source.csv.columns must be NAME=NUMBER, not \"a=0\"\n"
	               "9:84: chains[].source.csv.columns must be NAME=NUMBER, not \"b\"\n"
	               "9:84: chains[].source.csv.columns must be NAME=NUMBER, not \"=1\"\n"
	               "9:84: chains[].source.csv.columns must be NAME=NUMBER, not \"c=1=2\"\n"
	               "9:84: chains[].source.csv.columns must be NAME=NUMBER, not \"d=1x\"\n");
	expect_in_edge(state, ", block-bytes: 1 KiB}",
	               "9:61: chains[].source.block-bytes must be at least "
	               "chains[].source.entry-size\n");
	expect_in_edge(
		state,
		"}\n  - {name: c, format: fabric, trust: t, source: {type: fabric-dir, dir: d, "
		"size: 5 MiB}}",
		"10:82: chains[].source.size is only for sources of type ledger\n");
	expect_in_edge(state,
	               "}\n  - {name: c, format: fabric, trust: t, source: {type: ledger, dir: d, "
	               "key: k}}",
	               "10:12: only one chain can read standard input\n"
	               "10:23: a source of type ledger needs the format ledger\n");
	expect_in_edge(state,
	               "}\n  - {name: b, format: ledger, trust: t, source: {type: ledger, dir: d, "
	               "input: socket, path: s}}",
	               "10:5: chains: b is given twice; also in C:6\n"
	               "10:56: chains[].source.key is missing: a ledger's blocks are signed\n");
}

static void routes_are_checked(void **state)
{
	expect_errors(
		state, CONFIG_EDGE,
		"tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"
		"gateway:\n"
		"  name: gw.example\n"
		"  retry-min: 1 h\n"
		"  routes:\n"
		"    - {address: \"a:1\", source: apn0}\n"
		"    - {address: \"a:1\"}\n"
		"    - {source: 10.0.0.1}\n"
		"state: {dir: s}\n"
		"chains: [{name: a, format: fabric, trust: t, source: {type: fabric-dir, dir: "
		"b}}]\n",
		"4:14: gateway.retry-min must be at most gateway.retry-max\n"
		"6:32: gateway.routes[].source must be a numeric address, not apn0\n"
		"7:7: gateway.routes: a:1 is given twice; also in C:6\n"
		"8:7: gateway.routes[].address is missing: Host and port of the gateway.\n");
}

static void mistakes_of_all_files_come_out_at_once_in_order(void **state)
{
	const struct folder *folder = *state;
	char sub[128];
	(void)snprintf(sub, sizeof(sub), "%s/chains.d", folder->path);
	assert_int_equal(mkdir(sub, 0700), 0);
	put_text(state, "chains.d/2.yaml", "- {name: x}\n");
	put_text(state, "chains.d/1.yaml", "a: b\n");
	put_text(state, "chains.d/3.yaml", "- {name: a, format: f, trust: t, agents: [e]}\n");
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	const char *path = put_text(state, "c.yaml", ZONE "heartbeat: x\n");
	assert_false(config_load(path, CONFIG_GATEWAY, &config, &errors));
	assert_int_equal(errors.count, 3);
	assert_non_null(strstr(errors.items[0].file, "/c.yaml"));
	assert_int_equal(errors.items[0].line, 8);
	assert_non_null(strstr(errors.items[1].file, "/chains.d/1.yaml"));
	assert_string_equal(errors.items[1].text, "chains must be a list");
	assert_non_null(strstr(errors.items[2].text, "chains: a is given twice; also in "));
	struct buffer text = BUFFER_EMPTY;
	config_errors_text(&errors, &text);
	buffer_put_u8(&text, '\0');
	assert_non_null(strstr((const char *)text.data, "/c.yaml:8:12: heartbeat must be"));
	buffer_fini(&text);
	config_errors_fini(&errors);
}

static void the_count_of_errors_is_bounded(void **state)
{
	struct buffer yaml = BUFFER_EMPTY;
	for (int i = 0; i < 1000; i++)
		buffer_printf(&yaml, "zebra%d: 1\n", i);
	const char *path = put(state, "c.yaml", (const char *)yaml.data, yaml.size);
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	assert_false(config_load(path, CONFIG_DEVCHAIN, &config, &errors));
	assert_int_equal(errors.count, CONFIG_ERROR_MAX);
	assert_int_equal(errors.dropped, 1000 + 1 - CONFIG_ERROR_MAX);
	struct buffer text = BUFFER_EMPTY;
	config_errors_text(&errors, &text);
	buffer_put_u8(&text, '\0');
	assert_non_null(strstr((const char *)text.data, "and 901 more\n"));
	buffer_fini(&text);
	buffer_fini(&yaml);
	config_errors_fini(&errors);
}

static void fifty_thousand_chains_load_in_two_seconds(void **state)
{
	const struct folder *folder = *state;
	char sub[128];
	(void)snprintf(sub, sizeof(sub), "%s/chains.d", folder->path);
	assert_int_equal(mkdir(sub, 0700), 0);
	struct buffer yaml = BUFFER_EMPTY;
	for (int i = 0; i < 50000; i++)
		buffer_printf(&yaml,
		              "- {name: tq-%06d, format: fabric, trust: t/tq-%06d.block, agents: "
		              "[edge-%06d]}\n",
		              (i * 7919) % 50000, i, i);
	put(state, "chains.d/all.yaml", (const char *)yaml.data, yaml.size);
	buffer_fini(&yaml);
	clock_t began = clock();
	struct config *config = load(put_text(state, "c.yaml", ZONE), CONFIG_GATEWAY);
	double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
	const char *slow = getenv("ZR_SLOW"); /* How much longer a sanitizer may take. */
	if (seconds >= LOAD_SECONDS_MAX * (slow == NULL ? 1.0 : strtod(slow, NULL)))
		fail_msg("it took %f s", seconds);
	assert_int_equal(config->gateway.chain_count, 50001);
	assert_non_null(config_chain(config, "tq-049999"));
	assert_string_equal(config_chain(config, "tq-000000")->name, "tq-000000");
	assert_null(config_chain(config, "tq-050000"));
	config_free(config);
}

/* ---- what is shown and compared ---- */

/* Without the comments that say where values came from. */
static void cut_comments(char *text)
{
	char *out = text;
	for (char *in = text; *in != '\0';) {
		if (strncmp(in, " # ", 3) == 0)
			in += strcspn(in, "\n");
		else
			*out++ = *in++;
	}
	*out = '\0';
}

/* The folder of chains is shown as a comment, and is beside the file. */
static void cut_folder(char *text)
{
	char *line = strstr(text, "#chains-folder: ");
	if (line != NULL)
		memmove(line, line + strcspn(line, "\n"), strlen(line + strcspn(line, "\n")) + 1);
}

static char *shown(const struct config *config)
{
	struct buffer text = BUFFER_EMPTY;
	config_show_effective(config, &text);
	buffer_put_u8(&text, '\0');
	assert_false(text.failed);
	return (char *)text.data;
}

static void what_is_shown_can_be_loaded_and_is_the_same(void **state)
{
	static const struct {
		const char *path;
		enum config_program program;
	} samples[] = {
		{ "config/iii-zone.yaml", CONFIG_GATEWAY },
		{ "config/edge.yaml", CONFIG_EDGE },
		{ "config/iv-zone.yaml", CONFIG_DEVCHAIN },
	};
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct config *config = load(samples[i].path, samples[i].program);
		char *first = shown(config);
		config_free(config);
		config = load(put_text(state, "c.yaml", first), samples[i].program);
		char *second = shown(config);
		config_free(config);
		cut_comments(first);
		cut_comments(second);
		cut_folder(first);
		cut_folder(second);
		assert_string_equal(first, second);
		free(first);
		free(second);
	}
}

static void it_is_shown_where_each_value_came_from_and_no_secret(void **state)
{
	const char *path = put_text(state, "c.yaml",
	                            "zone: iii\nlisten: [\"127.0.0.1:7443\"]\n"
	                            "tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"
	                            "receipts: {key: r.key, certificate: r.pem}\n"
	                            "spool: {dir: s}\n"
	                            "main-chain:\n"
	                            "  endpoints: [\"https://user:hush@main.example/a@b\"]\n"
	                            "  proxy: \"http://u:hush@proxy:3128\"\n");
	struct config *config = load(path, CONFIG_GATEWAY);
	char *text = shown(config);
	assert_null(strstr(text, "hush"));
	assert_non_null(strstr(text, "endpoints: [\"https://***@main.example/a@b\"] "));
	assert_non_null(strstr(text, "proxy: \"http://***@proxy:3128\" "));
	assert_non_null(strstr(text, "/c.yaml:8\n"));
	assert_non_null(strstr(text, "heartbeat: 4 min                                        # "
	                             "default\n"));
	free(text);
	config_free(config);
}

static const struct config_change *find_change(const struct config_change *changes, size_t count,
                                               const char *key, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		bool named = name == NULL ? changes[i].name == NULL
		                          : changes[i].name != NULL &&
		                                    strcmp(changes[i].name, name) == 0;
		if (named && strcmp(changes[i].key, key) == 0)
			return &changes[i];
	}
	return NULL;
}

static void differences_are_listed_with_whether_a_reload_is_enough(void **state)
{
	struct config *old =
		load(put_text(state, "c.yaml", ZONE "classes: {bulk: {policy: tail}, gone: {}}\n"),
	             CONFIG_GATEWAY);
	const char *changed = "zone: iii\n"
			      "listen: [\"127.0.0.1:7444\"]\n"
			      "tls: {certificate: a.pem, key: a.key, ca: ca.pem}\n"
			      "spool: {dir: spool, retention: 1 d}\n"
			      "receipts: {key: r.key, certificate: r.pem}\n"
			      "main-chain: {endpoints: [\"https://main.example:7480\"]}\n"
			      "classes: {bulk: {policy: all}}\n"
			      "chains:\n"
			      "- {name: z, format: fabric, trust: z.block, agents: [e1]}\n"
			      "- {name: a, format: fabric, trust: a.block, agents: [e1, e2]}\n";
	struct config *new = load(put_text(state, "c.yaml", changed), CONFIG_GATEWAY);
	struct config_change *changes = NULL;
	size_t count = 0;
	struct err err;
	assert_true(config_diff(old, new, &changes, &count, &err));
	assert_int_equal(count, 6);
	assert_false(find_change(changes, count, "listen", NULL)->reloadable);
	assert_true(find_change(changes, count, "spool.retention", NULL)->reloadable);
	assert_int_equal(find_change(changes, count, "classes.NAME.policy", "bulk")->kind,
	                 CONFIG_CHANGED);
	assert_int_equal(find_change(changes, count, "classes", "gone")->kind, CONFIG_REMOVED);
	assert_int_equal(find_change(changes, count, "chains", "z")->kind, CONFIG_ADDED);
	assert_true(find_change(changes, count, "chains[].agents", "a")->reloadable);
	free(changes);
	assert_true(config_diff(old, old, &changes, &count, &err));
	assert_int_equal(count, 0);
	assert_null(changes);
	config_free(old);
	config_free(new);
}

static void a_check_elsewhere_can_blame_a_line(void **state)
{
	struct config *config = load(put_text(state, "c.yaml", ZONE), CONFIG_GATEWAY);
	struct config_errors errors = CONFIG_NO_ERRORS;
	const struct gateway_config *gateway = &config->gateway;
	config_error_at(&errors, config, &gateway->chains[0].trust, "cannot be %s", "read");
	config_error_at(&errors, config, &config->tls.ca, "expired");
	config_error_at(&errors, config, &gateway->heartbeat_ms, "too short");
	assert_int_equal(errors.count, 3);
	assert_int_equal(errors.items[0].line, 1); /* A default: the file as a whole. */
	assert_int_equal(errors.items[1].line, 3);
	assert_int_equal(errors.items[1].column, 43);
	assert_int_equal(errors.items[2].line, 7);
	assert_string_equal(errors.items[2].text, "cannot be read");
	config_errors_fini(&errors);
	config_free(config);
}

/* ---- the table and the samples ---- */

static void the_table_is_in_order(void **state)
{
	(void)state;
	unsigned last_section = 0;
	const struct config_key *key;
	for (size_t i = 0; (key = config_key_at(i)) != NULL; i++) {
		const struct config_section_row *section = config_section_at(key->section);
		assert_true(key->section >= last_section);
		last_section = key->section;
		assert_int_equal(strncmp(key->path, section->path, strlen(section->path)), 0);
		assert_non_null(key->text);
		size_t size = strlen(key->text);
		assert_true(size > 8);
		assert_false(key->required && key->normal != NULL);
		assert_true(key->type != CONFIG_ENUM || key->choices != NULL);
		assert_true(key->type != CONFIG_INTEGER || key->unit != NULL);
		if (key->type == CONFIG_SIZE || key->type == CONFIG_DURATION)
			assert_true(key->max > key->min);
	}
}

/* Takes the # from lines of keys ("#key: value"); those for people have a blank behind it. */
static char *uncommented(const char *path)
{
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	struct buffer text = BUFFER_EMPTY;
	char line[512];
	while (fgets(line, sizeof(line), file) != NULL) {
		char *hash = line + strspn(line, " ");
		if (hash[0] == '#' && hash[1] >= 'a' && hash[1] <= 'z')
			memmove(hash, hash + 1, strlen(hash));
		buffer_put(&text, bytes_of_string(line));
	}
	(void)fclose(file);
	buffer_put_u8(&text, '\0');
	return (char *)text.data;
}

static void expect_all_given(const struct config *config, const char *sample)
{
	const struct config_key *key;
	for (size_t i = 0; (key = config_key_at(i)) != NULL; i++) {
		const struct config_items *items = &config->sources->sections[key->section];
		bool given = (key->programs & config->program) == 0;
		for (size_t item = 0; !given && item < items->count; item++)
			given = sources_origin(config->sources, key, item)->file != NULL;
		if (!given)
			fail_msg("%s does not have %s", sample, key->path);
	}
}

/* A commented key is shown at its default, where it has one. */
static void expect_normal_values(const struct config *config, const struct config *plain,
                                 const char *sample)
{
	const struct config_key *key;
	for (size_t i = 0; (key = config_key_at(i)) != NULL; i++) {
		const struct config_items *items = &config->sources->sections[key->section];
		if ((key->programs & config->program) == 0 || key->normal == NULL)
			continue;
		for (size_t item = 0; item < items->count; item++) {
			if (!value_equal(key, sources_field(config->sources, key, item),
			                 sources_field(plain->sources, key, item)) &&
			    strcmp(key->path, "chains-folder") != 0)
				fail_msg("%s: #%s is not the default", sample, key->path);
		}
	}
}

static void each_sample_loads_and_has_every_key(void **state)
{
	static const struct {
		const char *path;
		enum config_program program;
	} samples[] = {
		{ "config/iii-zone.yaml", CONFIG_GATEWAY },
		{ "config/edge.yaml", CONFIG_EDGE },
		{ "config/iv-zone.yaml", CONFIG_DEVCHAIN },
	};
	const struct folder *folder = *state;
	char sub[128];
	(void)snprintf(sub, sizeof(sub), "%s/chains.d", folder->path);
	assert_int_equal(mkdir(sub, 0700), 0);
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct config *plain = load(samples[i].path, samples[i].program);
		char *text = uncommented(samples[i].path);
		struct config *whole = load(put_text(state, "c.yaml", text), samples[i].program);
		expect_all_given(whole, samples[i].path);
		expect_normal_values(whole, plain, samples[i].path);
		free(text);
		config_free(plain);
		config_free(whole);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_required_keys_are_enough),
		TEST(every_type_of_value_is_read),
		TEST(a_chain_has_its_classs_policy_unless_it_has_its_own),
		TEST(an_agents_file_is_read),
		TEST(a_small_spool_has_a_small_reserve),
		TEST(unknown_keys_are_named_with_the_one_that_was_meant),
		TEST(keys_given_twice_are_named_with_the_first),
		TEST(values_of_the_wrong_type_are_refused),
		TEST(values_that_say_nothing_useful_are_refused),
		TEST(a_list_has_limits),
		TEST(a_secret_is_not_repeated_in_an_error),
		TEST(missing_keys_are_named_with_what_they_are),
		TEST(what_yaml_has_beyond_need_is_refused),
		TEST(a_file_that_is_not_yaml_says_where),
		TEST(a_file_that_is_not_there_is_said),
		TEST(values_that_do_not_fit_together_are_refused),
		TEST(the_main_chain_is_checked),
		TEST(chains_are_checked),
		TEST(the_agents_chains_are_checked),
		TEST(routes_are_checked),
		TEST(mistakes_of_all_files_come_out_at_once_in_order),
		TEST(the_count_of_errors_is_bounded),
		TEST(fifty_thousand_chains_load_in_two_seconds),
		TEST(what_is_shown_can_be_loaded_and_is_the_same),
		TEST(it_is_shown_where_each_value_came_from_and_no_secret),
		TEST(differences_are_listed_with_whether_a_reload_is_enough),
		TEST(a_check_elsewhere_can_blame_a_line),
		TEST(the_table_is_in_order),
		TEST(each_sample_loads_and_has_every_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
