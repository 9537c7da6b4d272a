/* reload.c -- what SIGHUP changes: log, certificates, routes and times of the link. */
#include <stdlib.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"

bool agent_open_tls(struct agent *agent, struct err *err)
{
	struct tls_context *context = NULL;
	struct tls_options options = tls_options_of(&agent->live->tls, &agent->clock.clock);
	options.resumption = true;
	if (!tls_context_new(&context, &options, err))
		return false;
	tls_context_free(agent->tls);
	agent->tls = context;
	return true;
}

static void log_changes(const struct config *old, const struct config *new)
{
	struct config_change *changes = NULL;
	size_t count = 0;
	struct err err;
	if (!config_diff(old, new, &changes, &count, &err)) {
		log_warn("reload", "detail=\"%s\"", err.message);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct config_change *change = &changes[i];
		log_info("config-changed", "key=%s name=%s effect=%s", change->key,
		         change->name == NULL ? "-" : change->name,
		         change->reloadable ? "now" : "next-start");
	}
	free(changes);
}

void agent_reload(struct agent *agent)
{
	struct config *loaded = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct err err;
	if (!config_load(agent->config_path, CONFIG_EDGE, &loaded, &errors)) {
		for (size_t i = 0; i < errors.count; i++)
			log_error("config-error", "at=%s:%u:%u detail=\"%s\"", errors.items[i].file,
			          errors.items[i].line, errors.items[i].column,
			          errors.items[i].text);
		config_errors_fini(&errors);
		return;
	}
	log_changes(agent->live, loaded);
	FAULT_POINT(AGENT_RELOADING);
	struct config *before = agent->live;
	agent->live = loaded;
	if (!agent_open_tls(agent, &err))
		log_error("certificates-refused", "detail=\"%s\"", err.message);
	else if (agent->link.state == LINK_CONNECTING)
		link_stop(agent,
		          ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_BUSY); /* Dialled anew. */
	else if (agent->link.conn != NULL)
		(void)conn_recheck(agent->link.conn, agent->tls);
	log_set_level(loaded->log.level);
	agent->link.redial.route_count = loaded->edge.route_count;
	agent->link.redial.wait_min_ms = (int64_t)loaded->edge.retry_min_ms;
	agent->link.redial.wait_max_ms = (int64_t)loaded->edge.retry_max_ms;
	agent->link.heartbeat.answer_max_ms = (int64_t)loaded->edge.idle_timeout_ms;
	if (before != agent->config)
		config_free(before);
	log_info("reloaded", "path=%s", agent->config_path);
}
