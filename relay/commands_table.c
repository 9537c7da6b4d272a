/* commands_table.c -- which handler does which command; a unit test finds a missing one. */
#include "relay/commands_daemon.h"

static command_handler *const handlers[COMMAND_COUNT] = {
	[COMMAND_STATUS] = command_status,
	[COMMAND_CHAINS_LIST] = command_chains_list,
	[COMMAND_CHAINS_SHOW] = command_chains_show,
	[COMMAND_PENDING] = command_pending,
	[COMMAND_GAPS] = command_gaps,
	[COMMAND_ANCHORS_LIST] = command_anchors_list,
	[COMMAND_ANCHORS_SHOW] = command_anchors_show,
	[COMMAND_QUARANTINE_LIST] = command_quarantine_list,
	[COMMAND_QUARANTINE_SHOW] = command_quarantine_show,
	[COMMAND_EVIDENCE_LIST] = command_evidence_list,
	[COMMAND_EVIDENCE_EXPORT] = command_evidence_export,
	[COMMAND_LOG_LEVEL] = command_log_level,
	[COMMAND_AUDIT_LIST] = command_audit_list,
	[COMMAND_AUDIT_VERIFY] = command_audit_verify,
	[COMMAND_DICTIONARY_LIST] = command_dictionary_list,
	[COMMAND_CHAINS_RENEW] = command_chains_renew,
	[COMMAND_CHAINS_MOVE] = command_chains_move,
	[COMMAND_CHAINS_FREEZE] = command_chains_freeze,
	[COMMAND_CHAINS_UNFREEZE] = command_chains_unfreeze,
	[COMMAND_ADOPT_CHAIN] = command_adopt_chain,
	[COMMAND_ADOPT_STORE] = command_adopt_store,
	[COMMAND_RESYNC] = command_resync,
	[COMMAND_QUARANTINE_REJECT] = command_quarantine_reject,
	[COMMAND_DICTIONARY_ADD] = command_dictionary_add,
	[COMMAND_CONFIG_RELOAD] = command_config_reload,
	[COMMAND_QUARANTINE_RELEASE] = command_quarantine_release,
	[COMMAND_ADOPT_LANE] = command_adopt_lane,
	[COMMAND_REPLAY] = command_replay,
	[COMMAND_ANCHORS_RETRY] = command_anchors_retry,
	[COMMAND_RECONCILE] = command_reconcile,
	[COMMAND_PROOF_GET] = command_proof_get,
};

command_handler *command_handler_of(enum command command)
{
	return handlers[command];
}
