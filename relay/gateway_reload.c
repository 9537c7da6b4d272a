/* gateway_reload.c -- SIGHUP: parse, validate, compare, swap or keep.
 *
 * Everything new is made before anything old is touched; what fails leaves the old in force. Links
 * of agents who are still good are not dropped; revoked ones are cut at once.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/base/notify.h"
#include "relay/commands_daemon.h"
#include "relay/gateway.h"
#include "relay/operators.h"

bool gateway_read_tls(struct gateway *gateway, const struct config *config,
                      struct tls_context **out_context, struct err *err)
{
	struct tls_options options = tls_options_of(&config->tls, gateway->clock);
	options.is_server = true;
	options.resumption = true;
	return tls_context_new(out_context, &options, err) || err_wrap(err, "tls");
}

void gateway_apply_limits(struct gateway *gateway)
{
	const struct config_limits *limits = &gateway->config->gateway.limits;
	size_t raw_max = limits->batch_bytes > limits->block_bytes ? limits->batch_bytes
	                                                           : limits->block_bytes;
	intake_set_limits(gateway->intake,
	                  &(struct intake_limits){ .batch_max_bytes = raw_max,
	                                           .block_max_bytes = limits->block_bytes,
	                                           .batch_block_max = limits->batch_block_count });
	/* What is booked beyond a smaller budget is let run out. */
	size_t budget = limits->partial_budget_bytes;
	if (budget < gateway->partials.booked_bytes)
		budget = gateway->partials.booked_bytes;
	gateway->partials.budget_bytes = budget;
}

static void log_errors(const struct config_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++) {
		const struct config_error *error = &errors->items[i];
		log_error("config-error", "at=%s:%u:%u detail=\"%s\"", error->file, error->line,
		          error->column, error->text);
	}
}

/* To the log, and to whoever watches. */
static void tell_changes(struct gateway *gateway, const struct config *new)
{
	struct config_change *changes;
	size_t count;
	struct err err;
	json_int_t added = 0, removed = 0;
	if (!config_diff(gateway->config, new, &changes, &count, &err))
		return;
	json_t *keys = json_array();
	for (size_t i = 0; i < count; i++) {
		bool is_chain = strncmp(changes[i].key, "chains", 6) == 0;
		added += is_chain && changes[i].kind == CONFIG_ADDED;
		removed += is_chain && changes[i].kind == CONFIG_REMOVED;
		if (!is_chain && changes[i].reloadable)
			json_array_append_new(keys, json_string(changes[i].key));
		log_info("config-changed", "key=%s name=%s effect=%s", changes[i].key,
		         changes[i].name != NULL ? changes[i].name : "-",
		         changes[i].reloadable ? "now" : "next-start");
	}
	free(changes);
	operators_publish(gateway->operators, "config-reloaded",
	                  json_pack("{s:o, s:I, s:I}", "changed", keys, "chains_added", added,
	                            "chains_removed", removed));
}

/* Delivery keeps using the former configuration until it says otherwise. */
static void tell_delivery(struct gateway *gateway, struct delivery_request *take_request)
{
	struct err err;
	take_request->kind = DELIVERY_RELOAD;
	take_request->reply = gateway->requests;
	take_request->config = gateway->config;
	gateway->delivery_reloading = delivery_request(gateway->delivery, take_request, &err);
	if (gateway->delivery_reloading)
		return;
	log_error("reload-delivery-failed", "detail=\"%s\"", err.message);
	free(take_request);
}

void gateway_on_delivery_answer(struct gateway *gateway, struct delivery_request *take_request)
{
	if (take_request->kind == DELIVERY_COMMAND) {
		command_on_delivery(take_request);
		return;
	}
	gateway->delivery_reloading = false;
	if (take_request->ok) {
		config_free(gateway->former);
		gateway->former = NULL;
	} else {
		log_error("reload-delivery-failed", "detail=\"%s\"", take_request->err.message);
	}
	buffer_fini(&take_request->json);
	free(take_request);
}

/* spool.size changes with the next start only: the reserve may be too large for the present one. */
static void set_spool_limits(struct gateway *gateway, const struct config_spool *spool)
{
	struct err err;
	spool_set_quarantine_max(gateway->spool, spool->quarantine_size_bytes);
	if (!spool_set_reserve(gateway->spool, spool->reserve_bytes, &err))
		log_warn("reserve-kept", "detail=\"%s\"", err.message);
}

static void swap(struct gateway *gateway, struct config *config, struct tls_context *tls,
                 const struct receipts *receipts, struct key *signer)
{
	/* Delivery may still be at an older one, which it could not leave: then nobody else uses the
	 * one that is replaced now. */
	struct config *unused = gateway->former != NULL ? gateway->config : NULL;
	if (gateway->former == NULL)
		gateway->former = gateway->config;
	gateway->config = config;
	log_init("zonerelayd", config->log.level, config->log.style);
	links_set_config(gateway->links, config);
	chains_set_config(gateway->chains, config);
	set_spool_limits(gateway, &config->gateway.spool);
	gateway_apply_limits(gateway);
	gateway_apply_link_limits(gateway);
	receipts_fini(&gateway->receipts);
	gateway->receipts = *receipts;
	writer_set_signer(gateway->writer, signer);
	struct tls_context *former_tls = gateway->tls;
	gateway->tls = tls;
	for (size_t i = 0; i < gateway->listener_count; i++)
		listener_set_context(gateway->listeners[i], tls);
	links_recheck(gateway->links, tls);
	tls_context_free(former_tls);
	links_reconfigure(gateway->links);
	gateway->enrol_next = 0;
	config_free(unused);
}

void gateway_renew_tls(struct gateway *gateway)
{
	struct tls_context *tls;
	struct err err;
	if (!gateway_read_tls(gateway, gateway->config, &tls, &err)) {
		log_error("tls-not-renewed", "detail=\"%s\"", err.message);
		return;
	}
	for (size_t i = 0; i < gateway->listener_count; i++)
		listener_set_context(gateway->listeners[i], tls);
	tls_context_free(gateway->tls);
	gateway->tls = tls;
}

static bool reload(struct gateway *gateway, struct err *err)
{
	if (gateway->delivery_reloading)
		return err_set(err, ZR_UNAVAILABLE, "the last reload is still under way");
	struct config *config = NULL;
	struct tls_context *tls = NULL;
	struct receipts receipts;
	struct key *signer;
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct delivery_request *request = calloc(1, sizeof(*request));
	if (request == NULL)
		return err_set(err, ZR_NO_MEMORY, "reload");
	if (!config_load(gateway->config_path, CONFIG_GATEWAY, &config, &errors)) {
		log_errors(&errors);
		err_set(err, ZR_INVALID, "%s: %zu mistakes; the first: %s", gateway->config_path,
		        errors.count + errors.dropped,
		        errors.count > 0 ? errors.items[0].text : "?");
		config_errors_fini(&errors);
		goto fail;
	}
	config_errors_fini(&errors);
	if (!gateway_read_tls(gateway, config, &tls, err) ||
	    !receipts_read(&receipts, &signer, &config->gateway.receipts, err))
		goto fail;
	FAULT_POINT(GATEWAY_RELOADING);
	tell_changes(gateway, config);
	swap(gateway, config, tls, &receipts, signer);
	FAULT_POINT(GATEWAY_RELOADED);
	tell_delivery(gateway, request);
	return true;

fail:
	free(request);
	tls_context_free(tls);
	config_free(config);
	return false;
}

bool gateway_reload(struct gateway *gateway, struct err *err)
{
	notify_reloading();
	gateway->reload_ok = reload(gateway, err);
	notify_ready();
	if (!gateway->reload_ok) {
		gateway->counters.reloads_failed++;
		return false;
	}
	gateway->counters.reloads++;
	gateway->reloaded_ms = clock_wall_ms(gateway->clock);
	log_info("reloaded", "chains=%zu", gateway->config->gateway.chain_count);
	return true;
}
