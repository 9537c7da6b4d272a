/* gateway_enrol.c -- chains that are new in the zone file come into the spool.
 *
 * After a start and after each reload the chains of the zone file are walked, some per tick: those
 * that the spool does not know are pinned and added. It never delays intake (P9).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/gateway.h"

#define CHAINS_PER_TICK 2000 /* Looked up; */
#define ENROL_PER_TICK  64   /* pinned and added. */

/* ---- the operation ---- */

static void op_begun(struct gateway *gateway)
{
	gateway->ops_under_way++;
	gateway->enrols_under_way++;
}

/* The last of a group brings on the next. */
static void op_ended(struct gateway *gateway)
{
	gateway->ops_under_way--;
	if (--gateway->enrols_under_way == 0)
		gateway_enrol_some(gateway);
}

struct enrol_op {
	struct writer_op op;
	struct gateway *gateway;
	struct pinned pinned;
	char format[SPOOL_FORMAT_NAME_MAX + 1];
	char class_name[SPOOL_META_NAME_MAX + 1];
	int64_t now_ms;
};

static bool apply_enrol(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	const struct enrol_op *enrol = (struct enrol_op *)op;
	struct spool_chain_new chain = { .id = enrol->pinned.id,
		                         .format = enrol->format,
		                         .trust = buffer_bytes(&enrol->pinned.trust),
		                         .first_height = enrol->pinned.first_height,
		                         .tip = enrol->pinned.tip,
		                         .sink = SPOOL_SINK_MAIN,
		                         .now_ms = enrol->now_ms };
	FAULT_POINT(CHAIN_ENROLLING);
	return spool_class_number(txn, enrol->class_name, &chain.class, err) &&
	       spool_chain_add(txn, &chain, err);
}

static void enrol_done(struct writer_op *op)
{
	struct enrol_op *enrol = (struct enrol_op *)op;
	struct gateway *gateway = enrol->gateway;
	char hex[HASH_HEX_SIZE];
	FAULT_POINT(CHAIN_ENROLLED);
	if (op->ok) {
		log_info("chain-enrolled", "chain=%s epoch=%.16s format=%s", enrol->pinned.id.name,
		         hash_hex(&enrol->pinned.id.epoch, hex), enrol->format);
		links_chain_enrolled(gateway->links, enrol->pinned.id.name);
	} else {
		log_error("chain-not-enrolled", "chain=%s detail=\"%s\"", enrol->pinned.id.name,
		          op->err.message);
	}
	pinned_fini(&enrol->pinned);
	free(enrol);
	op_ended(gateway);
}

/* True: a pinned file was read. */
static bool enrol(struct gateway *gateway, const struct chain_config *chain)
{
	struct err err;
	struct enrol_op *enrol = calloc(1, sizeof(*enrol));
	if (enrol == NULL)
		return true;
	if (!pinned_read(&enrol->pinned, chain, &err)) {
		log_error("chain-not-enrolled", "chain=%s detail=\"%s\"", chain->name, err.message);
		free(enrol);
		return true;
	}
	enrol->op = (struct writer_op){ .work = SPOOL_INTAKE,
		                        .apply = apply_enrol,
		                        .on_done = enrol_done,
		                        .reply = gateway->commits };
	enrol->gateway = gateway;
	enrol->now_ms = clock_wall_ms(gateway->clock);
	(void)snprintf(enrol->format, sizeof(enrol->format), "%s", chain->format);
	(void)snprintf(enrol->class_name, sizeof(enrol->class_name), "%s", chain->class->name);
	if (!writer_submit(gateway->writer, &enrol->op, &err)) {
		log_error("chain-not-enrolled", "chain=%s detail=\"%s\"", chain->name, err.message);
		pinned_fini(&enrol->pinned);
		free(enrol);
		return true;
	}
	op_begun(gateway);
	return true;
}

/* ---- chains that are known: does the zone file still say the same of them? ---- */

struct class_op {
	struct writer_op op;
	struct gateway *gateway;
	struct chain_key chain;
	char class_name[SPOOL_META_NAME_MAX + 1];
};

static bool apply_class(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	const struct class_op *change = (struct class_op *)op;
	uint8_t class;
	return spool_class_number(txn, change->class_name, &class, err) &&
	       spool_chain_set_class(txn, &change->chain, class, err);
}

static void class_done(struct writer_op *op)
{
	struct class_op *change = (struct class_op *)op;
	if (!op->ok)
		log_error("chain-class-unchanged", "detail=\"%s\"", op->err.message);
	struct gateway *gateway = change->gateway;
	free(change);
	op_ended(gateway);
}

static void set_class(struct gateway *gateway, const struct chain_key *key, const char *class_name)
{
	struct err err;
	struct class_op *change = calloc(1, sizeof(*change));
	if (change == NULL)
		return;
	change->op = (struct writer_op){ .work = SPOOL_UPKEEP,
		                         .apply = apply_class,
		                         .on_done = class_done,
		                         .reply = gateway->commits };
	change->gateway = gateway;
	change->chain = *key;
	(void)snprintf(change->class_name, sizeof(change->class_name), "%s", class_name);
	if (writer_submit(gateway->writer, &change->op, &err))
		op_begun(gateway);
	else
		free(change);
}

/* The class that the spool's number stands for is not readable from here, so a chain whose class may
 * have changed is simply set again: after each reload once, and only where there are several. */
static void compare(struct gateway *gateway, const struct chain_config *chain,
                    const struct spool_chain *row)
{
	if (!hash_is_zero(&chain->epoch) && !hash_equal(&chain->epoch, &row->id.epoch))
		log_error("chain-epoch",
		          "chain=%s why=\"the zone file gives another genesis than the one that is "
		          "enrolled: zonerelay chains renew %s\"",
		          chain->name, chain->name);
	if (gateway->config->gateway.class_count > 1 && row->state != SPOOL_CHAIN_RETIRED)
		set_class(gateway, &row->key, chain->class->name);
}

void gateway_enrol_some(struct gateway *gateway)
{
	const struct gateway_config *config = &gateway->config->gateway;
	size_t looked = 0, pinned = 0;
	if (gateway->stopping || gateway->enrols_under_way > 0)
		return; /* One group at a time. */
	while (gateway->enrol_next < config->chain_count && looked++ < CHAINS_PER_TICK &&
	       pinned < ENROL_PER_TICK) {
		const struct chain_config *chain = &config->chains[gateway->enrol_next++];
		struct spool_chain row;
		struct err err;
		if (spool_chain_by_name(gateway->spool, chain->name, &row, &err))
			compare(gateway, chain, &row);
		else if (err.code != ZR_STATE)
			log_error("chain-unreadable", "chain=%s detail=\"%s\"", chain->name,
			          err.message);
		else if (chain->enabled && enrol(gateway, chain))
			pinned++;
	}
}
