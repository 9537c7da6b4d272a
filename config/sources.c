/* sources.c -- the items of a configuration, and which file and line each value came from. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/load.h"

static void find_rows(struct config_sources *sources)
{
	const struct config_key *key;
	for (size_t i = 0; (key = config_key_at(i)) != NULL; i++) {
		struct config_items *items = &sources->sections[key->section];
		if (items->row_count == 0)
			items->row_first = i;
		items->row_count = i + 1 - items->row_first;
	}
}

bool sources_new(struct config *config, struct err *err)
{
	struct config_sources *sources = calloc(1, sizeof(*sources));
	if (sources == NULL)
		return err_set(err, ZR_NO_MEMORY, "configuration");
	config->sources = sources;
	find_rows(sources);
	/* The root is one item that is there already. */
	struct config_items *root = &sources->sections[SECTION_ROOT];
	assert(root->row_count > 0);
	root->items = (char *)config;
	root->count = root->capacity = 1;
	root->places = calloc(1, sizeof(*root->places));
	root->origins = calloc(root->row_first + root->row_count, sizeof(*root->origins));
	if (root->places == NULL || root->origins == NULL)
		return err_set(err, ZR_NO_MEMORY, "configuration");
	return true;
}

void sources_free(struct config *config)
{
	struct config_sources *sources = config->sources;
	if (sources == NULL)
		return;
	for (size_t i = 0; i < SECTION_COUNT; i++) {
		struct config_items *items = &sources->sections[i];
		if (i != SECTION_ROOT)
			free(items->items);
		free(items->places);
		free(items->origins);
	}
	free(sources->chains_by_name);
	arena_fini(&sources->arena);
	free(sources);
	config->sources = NULL;
}

bool sources_has(const struct config *config, enum config_section section)
{
	return (config_section_at(section)->programs & config->program) != 0;
}

static bool grow(void **array, size_t count, size_t size)
{
	void *larger = realloc(*array, count * size);
	if (larger == NULL)
		return false;
	*array = larger;
	return true;
}

static bool make_room(struct config_items *items, size_t item_size)
{
	if (items->count < items->capacity)
		return true;
	size_t capacity = items->capacity == 0 ? 16 : items->capacity * 2;
	void *data = items->items;
	void *places = items->places;
	void *origins = items->origins;
	bool grown = grow(&data, capacity, item_size) &&
	             grow(&places, capacity, sizeof(*items->places)) &&
	             grow(&origins, capacity * items->row_count, sizeof(*items->origins));
	items->items = data;
	items->places = places;
	items->origins = origins;
	if (grown)
		items->capacity = capacity;
	return grown;
}

size_t sources_add_item(struct config *config, enum config_section section,
                        const struct config_origin *place)
{
	assert(section != SECTION_ROOT);
	struct config_sources *sources = config->sources;
	struct config_items *items = &sources->sections[section];
	size_t item_size = config_section_at(section)->item_size;
	if (!make_room(items, item_size)) {
		sources->arena.failed = true;
		return SIZE_MAX;
	}
	size_t item = items->count++;
	items->places[item] = *place;
	memset(items->items + item * item_size, 0, item_size);
	memset(items->origins + item * items->row_count, 0,
	       items->row_count * sizeof(*items->origins));
	/* No default inside an item is a path, so that the folder does not matter. */
	const struct value_place nowhere = { &sources->arena, "" };
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		value_set_normal(key, &nowhere, sources_field(sources, key, item));
	}
	return item;
}

void *sources_item(const struct config_sources *sources, enum config_section section, size_t item)
{
	const struct config_items *items = &sources->sections[section];
	assert(item < items->count);
	return items->items + item * config_section_at(section)->item_size;
}

void *sources_field(const struct config_sources *sources, const struct config_key *key, size_t item)
{
	return (char *)sources_item(sources, key->section, item) + key->offset;
}

static size_t index_of(const struct config_key *key)
{
	return (size_t)(key - config_key_at(0));
}

struct config_origin *sources_origin(const struct config_sources *sources,
                                     const struct config_key *key, size_t item)
{
	const struct config_items *items = &sources->sections[key->section];
	assert(item < items->count);
	return &items->origins[item * items->row_count + index_of(key) - items->row_first];
}

const struct config_key *sources_find_key(const struct config *config, enum config_section section,
                                          const char *inner)
{
	const struct config_items *items = &config->sources->sections[section];
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		if ((key->programs & config->program) != 0 &&
		    strcmp(config_key_inner(key), inner) == 0)
			return key;
	}
	return NULL;
}

bool sources_applies(const struct config *config, const struct config_key *key, size_t item)
{
	if ((key->programs & config->program) == 0)
		return false;
	if (!key->ledger_only)
		return true;
	const struct edge_chain_config *chain = sources_item(config->sources, key->section, item);
	return chain->source.type != EDGE_SOURCE_FABRIC_DIR;
}

const char *sources_item_name(const struct config_sources *sources, enum config_section section,
                              size_t item)
{
	assert(section != SECTION_ROOT);
	const char *data = sources_item(sources, section, item);
	return *(const char *const *)(const void *)(data + config_section_at(section)->name_offset);
}

/* field is a part of this item: the origin of the row it belongs to. */
static const struct config_origin *
whence_in(const struct config *config, enum config_section section, size_t item, size_t offset)
{
	const struct config_items *items = &config->sources->sections[section];
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		if ((key->programs & config->program) == 0 || key->offset != offset)
			continue;
		const struct config_origin *origin = sources_origin(config->sources, key, item);
		if (origin->file != NULL)
			return origin;
	}
	return &items->places[item];
}

const struct config_origin *sources_whence(const struct config *config, const void *field)
{
	uintptr_t address = (uintptr_t)field;
	for (unsigned section = 0; section < SECTION_COUNT; section++) {
		const struct config_items *items = &config->sources->sections[section];
		size_t size = section == SECTION_ROOT ? sizeof(*config)
		                                      : config_section_at(section)->item_size;
		uintptr_t begin = (uintptr_t)items->items;
		if (items->count == 0 || address < begin || address >= begin + items->count * size)
			continue;
		size_t item = (address - begin) / size;
		return whence_in(config, section, item, address - begin - item * size);
	}
	return NULL;
}
