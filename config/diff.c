/* diff.c -- what a reload would change. See config_diff(). */
#include <stdlib.h>
#include <string.h>

#include "config/load.h"

struct changes {
	struct config_change *items;
	size_t count, capacity;
	bool failed;
};

static void add(struct changes *changes, const struct config_change *change)
{
	if (changes->count == changes->capacity) {
		size_t capacity = changes->capacity == 0 ? 16 : changes->capacity * 2;
		void *larger = realloc(changes->items, capacity * sizeof(*changes->items));
		if (larger == NULL) {
			changes->failed = true;
			return;
		}
		changes->items = larger;
		changes->capacity = capacity;
	}
	changes->items[changes->count++] = *change;
}

/* Every row of one item against the same item of the other. */
static void compare_item(struct changes *changes, const struct config *old,
                         const struct config *new, enum config_section section,
                         const size_t items[static 2])
{
	const struct config_items *rows = &old->sources->sections[section];
	for (size_t i = 0; i < rows->row_count; i++) {
		const struct config_key *key = config_key_at(rows->row_first + i);
		if ((key->programs & old->program) == 0 ||
		    value_equal(key, sources_field(old->sources, key, items[0]),
		                sources_field(new->sources, key, items[1])))
			continue;
		const char *name = section == SECTION_ROOT
		                           ? NULL
		                           : sources_item_name(new->sources, section, items[1]);
		add(changes,
		    &(struct config_change){ key->path, name, key->reloadable, CONFIG_CHANGED });
	}
}

struct indexed {
	const char *name;
	size_t item;
};

static int compare_indexed(const void *left, const void *right)
{
	return strcmp(((const struct indexed *)left)->name, ((const struct indexed *)right)->name);
}

/* The items of a section by name. NULL: no memory. */
static struct indexed *index_of(const struct config *config, enum config_section section)
{
	size_t count = config->sources->sections[section].count;
	struct indexed *index = calloc(count + 1, sizeof(*index));
	if (index == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++)
		index[i] = (struct indexed){ sources_item_name(config->sources, section, i), i };
	qsort(index, count, sizeof(*index), compare_indexed);
	return index;
}

/* Two sorted lists side by side. */
static void compare_section(struct changes *changes, const struct config *old,
                            const struct config *new, enum config_section section)
{
	const struct config_section_row *row = config_section_at(section);
	struct indexed *olds = index_of(old, section);
	struct indexed *news = index_of(new, section);
	size_t old_count = old->sources->sections[section].count;
	size_t new_count = new->sources->sections[section].count;
	changes->failed = changes->failed || olds == NULL || news == NULL;
	for (size_t i = 0, j = 0; !changes->failed && (i < old_count || j < new_count);) {
		int order = i == old_count   ? 1
		            : j == new_count ? -1
		                             : strcmp(olds[i].name, news[j].name);
		if (order == 0)
			compare_item(changes, old, new, section,
			             (const size_t[2]){ olds[i].item, news[j].item });
		else if (order < 0)
			add(changes, &(struct config_change){ row->path, olds[i].name,
			                                      row->reloadable, CONFIG_REMOVED });
		else
			add(changes, &(struct config_change){ row->path, news[j].name,
			                                      row->reloadable, CONFIG_ADDED });
		i += order <= 0 ? 1 : 0;
		j += order >= 0 ? 1 : 0;
	}
	free(olds);
	free(news);
}

bool config_diff(const struct config *old, const struct config *new,
                 struct config_change **out_changes, size_t *out_count, struct err *err)
{
	struct changes changes = { .items = NULL };
	compare_item(&changes, old, new, SECTION_ROOT, (const size_t[2]){ 0, 0 });
	for (unsigned section = SECTION_ROOT + 1; section < SECTION_COUNT; section++) {
		if (sources_has(old, section))
			compare_section(&changes, old, new, section);
	}
	if (changes.failed) {
		free(changes.items);
		return err_set(err, ZR_NO_MEMORY, "comparing configurations");
	}
	*out_changes = changes.items;
	*out_count = changes.count;
	return true;
}
