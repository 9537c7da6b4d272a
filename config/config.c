/* config.c -- loading a configuration, and finding things in it. See config.h. */
#include "config/config.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/load.h"

#define FOLDER_FILES_MAX 200000

/* ---- the folder of chains ---- */

static int is_chains_file(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	return entry->d_name[0] != '.' && dot != NULL && strcmp(dot, ".yaml") == 0;
}

static int compare_files(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static const struct config_origin *folder_origin(const struct load *load)
{
	return sources_whence(load->config, &load->config->gateway.chains_folder);
}

static void read_file_of_folder(struct load *load, const char *folder, const char *name)
{
	struct buffer path = BUFFER_EMPTY;
	struct err err;
	buffer_printf(&path, "%s/%s", folder, name);
	buffer_put_u8(&path, '\0');
	if (buffer_ok(&path, &err))
		reader_read_chains(load, (const char *)path.data);
	else
		load->sources->arena.failed = true;
	buffer_fini(&path);
}

static void read_folder(struct load *load)
{
	const char *folder = load->config->gateway.chains_folder;
	struct dirent **files;
	int count = scandir(folder, &files, is_chains_file, compare_files);
	if (count < 0) {
		const struct config_key *key =
			sources_find_key(load->config, SECTION_ROOT, "chains-folder");
		bool given = sources_origin(load->sources, key, 0)->file != NULL;
		if (errno == ENOMEM)
			load->sources->arena.failed = true;
		else if (given || errno != ENOENT)
			errors_add(load->errors, folder_origin(load), "chains-folder %s: %s",
			           folder, strerror(errno));
		return;
	}
	if (count > FOLDER_FILES_MAX)
		errors_add(load->errors, folder_origin(load),
		           "chains-folder %s has more than %d files", folder, FOLDER_FILES_MAX);
	for (int i = 0; i < count; i++) {
		if (count <= FOLDER_FILES_MAX && !load->sources->arena.failed)
			read_file_of_folder(load, folder, files[i]->d_name);
		free(files[i]);
	}
	free((void *)files);
}

/* ---- loading ---- */

/* The class that is always there, unless the file says what is in it. */
static void add_default_class(struct load *load)
{
	const struct config_items *items = &load->sources->sections[SECTION_CLASSES];
	for (size_t i = 0; i < items->count; i++) {
		const char *name = sources_item_name(load->sources, SECTION_CLASSES, i);
		if (name != NULL && strcmp(name, "default") == 0)
			return;
	}
	const struct config_origin built_in = { .file = NULL };
	size_t item = sources_add_item(load->config, SECTION_CLASSES, &built_in);
	if (item == SIZE_MAX)
		return;
	struct class_config *class = sources_item(load->sources, SECTION_CLASSES, item);
	class->name = "default";
}

/* Points struct config at the items, which no longer move. */
static void publish(struct load *load)
{
	char *base = (char *)load->config;
	for (unsigned section = SECTION_ROOT + 1; section < SECTION_COUNT; section++) {
		const struct config_section_row *row = config_section_at(section);
		const struct config_items *items = &load->sources->sections[section];
		*(const void **)(void *)(base + row->items_offset) = items->items;
		*(size_t *)(void *)(base + row->count_offset) = items->count;
	}
}

static bool load_all(struct load *load, const char *path)
{
	reader_read_zone(load, path);
	if (load->config->program == CONFIG_GATEWAY && !load->sources->arena.failed) {
		if (load->config->gateway.chains_folder != NULL)
			read_folder(load);
		add_default_class(load);
	}
	publish(load);
	check_all(load);
	if (load->sources->arena.failed)
		errors_no_memory(load->errors);
	errors_sort(load->errors);
	return load->errors->count == 0 && load->errors->dropped == 0;
}

bool config_load(const char *path, enum config_program program, struct config **out_config,
                 struct config_errors *errors)
{
	assert(errors->count == 0 && errors->dropped == 0);
	struct config *config = calloc(1, sizeof(*config));
	struct err err;
	if (config == NULL) {
		errors_no_memory(errors);
		return false;
	}
	config->program = program;
	if (!sources_new(config, &err)) {
		errors_no_memory(errors);
		config_free(config);
		return false;
	}
	struct load load = { .config = config, .sources = config->sources, .errors = errors };
	if (!load_all(&load, path)) {
		config_free(config);
		return false;
	}
	*out_config = config;
	return true;
}

struct config *config_load_brief(const char *path, enum config_program program)
{
	struct config *config = calloc(1, sizeof(*config));
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct err err;
	if (config == NULL)
		return NULL;
	config->program = program;
	struct load load = { .config = config, .errors = &errors, .torn = true };
	if (sources_new(config, &err)) {
		load.torn = false;
		load.sources = config->sources;
		reader_read_zone(&load, path);
		publish(&load);
	}
	config_errors_fini(&errors);
	if (load.torn || config->sources->arena.failed) {
		config_free(config);
		return NULL;
	}
	return config;
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	sources_free(config);
	free(config);
}

/* ---- finding ---- */

static int compare_name(const void *name, const void *element)
{
	const struct config_chain_name *named = element;
	return strcmp(name, named->chain->name);
}

const struct chain_config *config_chain(const struct config *config, const char *name)
{
	const struct config_sources *sources = config->sources;
	if (sources->chains_by_name == NULL)
		return NULL;
	const struct config_chain_name *found =
		bsearch(name, sources->chains_by_name, config->gateway.chain_count,
	                sizeof(*sources->chains_by_name), compare_name);
	return found == NULL ? NULL : found->chain;
}

const struct class_config *config_class(const struct config *config, const char *name)
{
	const struct gateway_config *gateway = &config->gateway;
	for (size_t i = 0; i < gateway->class_count; i++) {
		if (strcmp(gateway->classes[i].name, name) == 0)
			return &gateway->classes[i];
	}
	return NULL;
}

bool config_chain_grants(const struct chain_config *chain, const char *agent)
{
	for (size_t i = 0; i < chain->agents.count; i++) {
		if (strcmp(chain->agents.items[i], agent) == 0)
			return true;
	}
	return false;
}

void config_csv_column(const char *text, struct bytes *out_name, unsigned *out_number)
{
	const char *equals = strchr(text, '=');
	assert(equals != NULL);
	*out_name = (struct bytes){ (const uint8_t *)text, (size_t)(equals - text) };
	*out_number = (unsigned)strtoul(equals + 1, NULL, 10);
}
