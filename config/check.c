/* check.c -- what concerns more than one value: missing ones, names, and sizes that must fit. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/load.h"

/* Was field accepted, or left at its default? Otherwise its mistake was reported already. */
static bool is_usable(const struct load *load, const void *field)
{
	const struct config_origin *origin = sources_whence(load->config, field);
	return !origin->bad;
}

static bool is_given(const struct load *load, const void *field)
{
	const struct config_origin *origin = sources_whence(load->config, field);
	/* Without a value of its own, a field comes from where its item is. */
	for (size_t i = 0; i < SECTION_COUNT; i++) {
		const struct config_items *items = &load->sources->sections[i];
		if (items->places != NULL && origin >= items->places &&
		    origin < items->places + items->count)
			return false;
	}
	return true;
}

#define FAIL(load, field, ...) \
	errors_add((load)->errors, sources_whence((load)->config, (field)), __VA_ARGS__)

/* ---- required keys ---- */

static void check_required_rows(struct load *load, enum config_section section, size_t item)
{
	const struct config_items *items = &load->sources->sections[section];
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		if (!key->required || (key->programs & load->config->program) == 0 ||
		    sources_origin(load->sources, key, item)->file != NULL)
			continue;
		errors_add(load->errors, &items->places[item], "%s is missing: %s", key->path,
		           key->text);
	}
}

static void check_required(struct load *load)
{
	for (unsigned section = 0; section < SECTION_COUNT; section++) {
		const struct config_items *items = &load->sources->sections[section];
		const struct config_section_row *row = config_section_at(section);
		if (!sources_has(load->config, section))
			continue;
		for (size_t item = 0; item < items->count; item++)
			check_required_rows(load, section, item);
		if (row->required && items->count == 0)
			errors_add(load->errors, &load->sources->sections[SECTION_ROOT].places[0],
			           "%s is missing: %s", row->path, row->text);
	}
}

/* ---- names ---- */

struct named {
	const char *name;
	const struct config_origin *place;
};

static int compare_named(const void *left, const void *right)
{
	const struct named *a = left;
	const struct named *b = right;
	int names = strcmp(a->name, b->name);
	if (names != 0)
		return names;
	return (a->place > b->place) - (a->place < b->place); /* As they were read. */
}

static void check_unique(struct load *load, enum config_section section)
{
	const struct config_items *items = &load->sources->sections[section];
	struct named *named = calloc(items->count + 1, sizeof(*named));
	if (named == NULL) {
		load->sources->arena.failed = true;
		return;
	}
	size_t count = 0;
	for (size_t item = 0; item < items->count; item++) {
		const char *name = sources_item_name(load->sources, section, item);
		if (name != NULL)
			named[count++] = (struct named){ name, &items->places[item] };
	}
	qsort(named, count, sizeof(*named), compare_named);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(named[i].name, named[i - 1].name) == 0)
			errors_add(load->errors, named[i].place,
			           "%s: %s is given twice; also in %s:%u",
			           config_section_at(section)->path, named[i].name,
			           named[i - 1].place->file, named[i - 1].place->line);
	}
	free(named);
}

static void check_list_unique(struct load *load, const char *path, const struct config_list *list)
{
	for (size_t i = 1; i < list->count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(list->items[i], list->items[j]) == 0)
				FAIL(load, list, "%s names %s twice", path, list->items[i]);
		}
	}
}

/* ---- pairs ---- */

struct pair {
	const char *low_path, *high_path;
	uint64_t *low;
	const uint64_t *high;
	uint64_t factor; /* low * factor must be at most high. */
	bool adapts;     /* A low that was not given becomes half of what it may be. */
};

static void check_pair(struct load *load, const struct pair *pair)
{
	if (!is_usable(load, pair->low) || !is_usable(load, pair->high))
		return;
	if (*pair->low <= *pair->high / pair->factor)
		return;
	if (pair->adapts && !is_given(load, pair->low)) {
		*pair->low = *pair->high / pair->factor / 2;
		return;
	}
	const void *blamed = is_given(load, pair->low) ? pair->low : pair->high;
	if (pair->factor == 1)
		FAIL(load, blamed, "%s must be at most %s", pair->low_path, pair->high_path);
	else
		FAIL(load, blamed, "%s must be at least %u times %s", pair->high_path,
		     (unsigned)pair->factor, pair->low_path);
}

static void check_pairs(struct load *load, const struct pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_pair(load, &pairs[i]);
}

/* A key and its certificate are given both or not at all. */
static void check_together(struct load *load, const char *const *certificate,
                           const char *const *key, const char *group)
{
	if ((*certificate == NULL) != (*key == NULL) && is_usable(load, certificate) &&
	    is_usable(load, key))
		FAIL(load, *key == NULL ? (const void *)certificate : key,
		     "%s.certificate and %s.key belong together: give both or none", group, group);
}

/* ---- addresses ---- */

static bool is_numeric(const char *host)
{
	struct in6_addr address;
	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static void check_numeric(struct load *load, const char *path, const struct config_addresses *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!is_numeric(list->items[i].host))
			FAIL(load, list, "%s must have numeric addresses, not %s", path,
			     list->items[i].host);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(list->items[i].text, list->items[j].text) == 0)
				FAIL(load, list, "%s names %s twice", path, list->items[i].text);
		}
	}
}

static void check_socket(struct load *load, const char *path, const char *const *socket)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	if (*socket != NULL && strlen(*socket) > most)
		FAIL(load, socket, "%s must have at most %zu characters in all: it is a socket",
		     path, most);
}

static bool is_url(const char *text)
{
	const char *rest = strncmp(text, "https://", 8) == 0  ? text + 8
	                   : strncmp(text, "http://", 7) == 0 ? text + 7
	                                                      : "";
	return rest[0] != '\0' && rest[0] != '/' && strpbrk(rest, " \"<>\\") == NULL;
}

/* ---- the gateway ---- */

/* TLS is not asked of the developer's main chain. */
static void check_tls(struct load *load)
{
	const struct config_tls *tls = &load->config->tls;
	const struct {
		const char *path;
		const char *const *field;
	} needed[] = {
		{ "tls.certificate", &tls->certificate },
		{ "tls.key", &tls->key },
		{ "tls.ca", &tls->ca },
	};
	const struct config_origin *place = &load->sources->sections[SECTION_ROOT].places[0];
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (*needed[i].field == NULL && is_usable(load, needed[i].field))
			errors_add(load->errors, place,
			           "%s is missing: links are authenticated on both sides",
			           needed[i].path);
	}
}

static void check_main_chain(struct load *load)
{
	const struct config_main_chain *chain = &load->config->gateway.main_chain;
	for (size_t i = 0; i < chain->endpoints.count; i++) {
		if (!is_url(chain->endpoints.items[i]))
			FAIL(load, &chain->endpoints,
			     "main-chain.endpoints must be URLs that begin with https:// or "
			     "http://");
	}
	check_list_unique(load, "main-chain.endpoints", &chain->endpoints);
	check_together(load, &chain->certificate, &chain->key, "main-chain");
	if (chain->proxy != NULL && !is_url(chain->proxy) &&
	    strncmp(chain->proxy, "socks5h://", 10) != 0)
		FAIL(load, &chain->proxy,
		     "main-chain.proxy must be a URL that begins with http://, https:// or "
		     "socks5h://");
}

static void check_gateway_sizes(struct load *load)
{
	struct gateway_config *gateway = &load->config->gateway;
	struct config_limits *limits = &gateway->limits;
	struct config_spool *spool = &gateway->spool;
	struct config_main_chain *chain = &gateway->main_chain;
	const struct pair pairs[] = {
		{ "limits.block", "limits.batch", &limits->block_bytes, &limits->batch_bytes, 1,
		  false },
		{ "limits.batch", "limits.partial-budget", &limits->batch_bytes,
		  &limits->partial_budget_bytes, 1, false },
		{ "limits.frame", "limits.link-out", &limits->frame_bytes, &limits->link_out_bytes,
		  1, false },
		{ "heartbeat", "limits.idle-timeout", &gateway->heartbeat_ms,
		  &limits->idle_timeout_ms, 2, false },
		{ "spool.reserve", "spool.size", &spool->reserve_bytes, &spool->size_bytes, 2,
		  true },
		{ "spool.quarantine-size", "spool.size", &spool->quarantine_size_bytes,
		  &spool->size_bytes, 2, true },
		{ "spool.retention-size", "spool.size", &spool->retention_size_bytes,
		  &spool->size_bytes, 1, false },
		{ "main-chain.retry-min", "main-chain.retry-max", &chain->retry_min_ms,
		  &chain->retry_max_ms, 1, false },
	};
	check_pairs(load, pairs, sizeof(pairs) / sizeof(pairs[0]));
}

static void check_gateway(struct load *load)
{
	const struct gateway_config *gateway = &load->config->gateway;
	check_tls(load);
	check_main_chain(load);
	check_gateway_sizes(load);
	check_numeric(load, "listen", &gateway->listen);
	check_numeric(load, "http.listen", &gateway->http_listen);
	check_socket(load, "control.socket", &gateway->control_socket);
	check_socket(load, "control.events", &gateway->control_events);
	if (strcmp(gateway->control_socket, gateway->control_events) == 0)
		FAIL(load, &gateway->control_events,
		     "control.socket and control.events must not be the same");
	check_list_unique(load, "metrics.chains", &gateway->metrics_chains);
}

/* ---- chains and classes ---- */

static void bind_chain(struct load *load, struct chain_config *chain)
{
	chain->class = config_class(load->config, chain->class_name);
	if (chain->class == NULL) {
		if (is_usable(load, &chain->class_name))
			FAIL(load, &chain->class_name, "there is no class %s", chain->class_name);
		return;
	}
	if (chain->policy == 0)
		chain->policy = chain->class->policy;
}

static int compare_chains(const void *left, const void *right)
{
	const struct config_chain_name *a = left;
	const struct config_chain_name *b = right;
	return strcmp(a->chain->name, b->chain->name);
}

static void sort_chains(struct load *load)
{
	const struct gateway_config *gateway = &load->config->gateway;
	struct config_sources *sources = load->sources;
	sources->chains_by_name =
		calloc(gateway->chain_count + 1, sizeof(*sources->chains_by_name));
	if (sources->chains_by_name == NULL) {
		sources->arena.failed = true;
		return;
	}
	for (size_t i = 0; i < gateway->chain_count; i++)
		sources->chains_by_name[i].chain = &gateway->chains[i];
	qsort(sources->chains_by_name, gateway->chain_count, sizeof(*sources->chains_by_name),
	      compare_chains);
}

static void check_chains(struct load *load)
{
	struct config_items *items = &load->sources->sections[SECTION_CHAINS];
	for (size_t item = 0; item < items->count; item++) {
		struct chain_config *chain = sources_item(load->sources, SECTION_CHAINS, item);
		bind_chain(load, chain);
		check_list_unique(load, "chains[].agents", &chain->agents);
	}
}

/* ---- the agent ---- */

static bool is_column(const char *text)
{
	const char *equals = strchr(text, '=');
	if (equals == NULL || equals == text || strchr(equals + 1, '=') != NULL)
		return false;
	size_t size = strlen(equals + 1);
	return size > 0 && size <= 4 && strspn(equals + 1, "0123456789") == size &&
	       equals[1] != '0';
}

static void check_ledger(struct load *load, const struct edge_chain_config *chain)
{
	const struct edge_source_config *source = &chain->source;
	if (strcmp(chain->format, "ledger") != 0)
		FAIL(load, &chain->format, "a source of type ledger needs the format ledger");
	if (source->key == NULL && is_usable(load, &source->key))
		FAIL(load, &source->type,
		     "chains[].source.key is missing: a ledger's blocks are signed");
	if (source->input != EDGE_INPUT_STDIN && source->path == NULL &&
	    is_usable(load, &source->path))
		FAIL(load, &source->input, "chains[].source.path is missing for this input");
	if (source->input == EDGE_INPUT_STDIN && source->path != NULL)
		FAIL(load, &source->path, "chains[].source.path says nothing for standard input");
	if (source->input == EDGE_INPUT_SOCKET)
		check_socket(load, "chains[].source.path", &source->path);
	for (size_t i = 0; i < source->csv_columns.count; i++) {
		if (!is_column(source->csv_columns.items[i]))
			FAIL(load, &source->csv_columns,
			     "chains[].source.csv.columns must be NAME=NUMBER, not \"%s\"",
			     source->csv_columns.items[i]);
	}
	if (source->entry_bytes > source->block_bytes && is_usable(load, &source->entry_bytes) &&
	    is_usable(load, &source->block_bytes))
		FAIL(load, &source->block_bytes,
		     "chains[].source.block-bytes must be at least chains[].source.entry-size");
}

/* Keys that only a ledger reads were given for a folder of blocks. */
static void check_applies(struct load *load, size_t item)
{
	const struct config_items *items = &load->sources->sections[SECTION_EDGE_CHAINS];
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		const struct config_origin *origin = sources_origin(load->sources, key, item);
		if (origin->file != NULL && !sources_applies(load->config, key, item))
			errors_add(load->errors, origin, "%s is only for sources of type ledger",
			           key->path);
	}
}

static void check_edge_chains(struct load *load)
{
	const struct edge_config *edge = &load->config->edge;
	const struct edge_chain_config *reads_stdin = NULL;
	for (size_t i = 0; i < edge->chain_count; i++) {
		const struct edge_chain_config *chain = &edge->chains[i];
		check_applies(load, i);
		if (chain->source.type != EDGE_SOURCE_LEDGER || chain->format == NULL)
			continue;
		check_ledger(load, chain);
		if (chain->source.input != EDGE_INPUT_STDIN)
			continue;
		if (reads_stdin != NULL)
			FAIL(load, chain, "only one chain can read standard input");
		reads_stdin = chain;
	}
}

static void check_edge(struct load *load)
{
	struct edge_config *edge = &load->config->edge;
	check_tls(load);
	const struct pair pairs[] = {
		{ "gateway.retry-min", "gateway.retry-max", &edge->retry_min_ms,
		  &edge->retry_max_ms, 1, false },
	};
	check_pairs(load, pairs, sizeof(pairs) / sizeof(pairs[0]));
	check_socket(load, "status.socket", &edge->status_socket);
	for (size_t i = 0; i < edge->route_count; i++) {
		const char *const *source = &edge->routes[i].source;
		if (*source != NULL && !is_numeric(*source))
			FAIL(load, source,
			     "gateway.routes[].source must be a numeric address, not %s", *source);
	}
	check_edge_chains(load);
}

static void check_devchain(struct load *load)
{
	const struct devchain_config *devchain = &load->config->devchain;
	if (!is_numeric(devchain->listen.host))
		FAIL(load, &devchain->listen, "listen must have a numeric address, not %s",
		     devchain->listen.host);
	check_together(load, &load->config->tls.certificate, &load->config->tls.key, "tls");
}

void check_all(struct load *load)
{
	if (load->sources->arena.failed)
		return;
	for (unsigned section = SECTION_ROOT + 1; section < SECTION_COUNT; section++)
		check_unique(load, section);
	/* In a file that could not be read to its end, what is missing may only be unread. */
	if (load->torn || load->sources->arena.failed)
		return;
	check_required(load);
	switch (load->config->program) {
	case CONFIG_GATEWAY:
		check_gateway(load);
		check_chains(load);
		if (load->errors->count == 0)
			sort_chains(load);
		return;
	case CONFIG_EDGE:
		check_edge(load);
		return;
	case CONFIG_DEVCHAIN:
		check_devchain(load);
		return;
	}
}
