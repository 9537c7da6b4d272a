/* orgs.c -- see orgs.h. */
#include "adapters/sidechain/fabric/orgs.h"

#include <stdlib.h>

#include "adapters/sidechain/fabric/config.h"
#include "adapters/sidechain/fabric/shown.h"

#define ORGS_MAX 1024

static struct org *find(const struct orgs *orgs, struct bytes name)
{
	for (size_t i = 0; i < orgs->count; i++) {
		if (bytes_equal(orgs->list[i].name, name))
			return &orgs->list[i];
	}
	return NULL;
}

/* An organisation that orders and transacts stands in both groups, with one definition. */
static bool add(struct orgs *orgs, struct bytes name, struct bytes value, struct err *err)
{
	char text[SHOWN_SIZE];
	const struct org *there = find(orgs, name);
	if (there != NULL)
		return bytes_equal(there->value, value) ||
		       err_set(err, ZR_UNTRUSTED, "organisation %s is defined in two ways",
		               shown(name, text));
	if (orgs->count == ORGS_MAX)
		return err_set(err, ZR_UNTRUSTED, "more than %d organisations", ORGS_MAX);
	struct org *list = realloc(orgs->list, (orgs->count + 1) * sizeof(*list));
	if (list == NULL)
		return err_set(err, ZR_NO_MEMORY, "organisations");
	list[orgs->count++] = (struct org){ .name = name, .value = value };
	orgs->list = list;
	return true;
}

static bool add_all(struct orgs *orgs, struct bytes group, struct err *err)
{
	struct bytes key;
	struct bytes org;
	struct bytes value;
	struct bytes name;
	while (config_next(&group, CONFIG_GROUP, &key, &org)) {
		if (config_find(org, CONFIG_VALUE, BYTES_LITERAL("MSP"), &value) &&
		    msp_peek(value, &name) && !add(orgs, name, value, err))
			return false;
	}
	return true;
}

bool orgs_init(struct orgs *orgs, struct bytes channel_group, enum msp_level level, struct err *err)
{
	struct bytes group;
	*orgs = (struct orgs){ .level = level };
	if ((config_find(channel_group, CONFIG_GROUP, BYTES_LITERAL("Orderer"), &group) &&
	     !add_all(orgs, group, err)) ||
	    (config_find(channel_group, CONFIG_GROUP, BYTES_LITERAL("Application"), &group) &&
	     !add_all(orgs, group, err))) {
		orgs_fini(orgs);
		return false;
	}
	return true;
}

void orgs_fini(struct orgs *orgs)
{
	for (size_t i = 0; i < orgs->count; i++)
		msp_free(orgs->list[i].msp);
	free(orgs->list);
	*orgs = (struct orgs){ .list = NULL };
}

bool orgs_load(struct orgs *orgs, struct bytes name, const struct msp **out_msp, struct err *err)
{
	struct org *org = find(orgs, name);
	if (org != NULL && org->msp == NULL && !msp_new(&org->msp, org->value, orgs->level, err))
		return false;
	*out_msp = org == NULL ? NULL : org->msp;
	return true;
}

const struct msp *orgs_find(const struct orgs *orgs, struct bytes name)
{
	const struct org *org = find(orgs, name);
	return org == NULL ? NULL : org->msp;
}
