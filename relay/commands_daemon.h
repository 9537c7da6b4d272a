/* commands_daemon.h -- the daemon's handlers of the commands, one per row that is not offline. */
#ifndef ZR_RELAY_COMMANDS_DAEMON_H
#define ZR_RELAY_COMMANDS_DAEMON_H

#include "relay/command_call.h"

/* ---- commands_read.c ---- */

command_handler command_status;
command_handler command_chains_list;
command_handler command_chains_show;
command_handler command_pending;
command_handler command_gaps;
command_handler command_anchors_list;
command_handler command_anchors_show;
command_handler command_quarantine_list;
command_handler command_quarantine_show;
command_handler command_evidence_list;
command_handler command_evidence_export;
command_handler command_log_level;
command_handler command_audit_list;
command_handler command_audit_verify;
command_handler command_dictionary_list;

/* ---- commands_change.c ---- */

command_handler command_chains_renew;
command_handler command_chains_move;
command_handler command_chains_freeze;
command_handler command_chains_unfreeze;
command_handler command_adopt_chain;
command_handler command_adopt_store;
command_handler command_resync;
command_handler command_quarantine_reject;
command_handler command_dictionary_add;
command_handler command_config_reload;

/* ---- commands_release.c ---- */

command_handler command_quarantine_release;

/* ---- commands_lane.c ---- */

command_handler command_adopt_lane;
command_handler command_replay;
command_handler command_anchors_retry;
command_handler command_reconcile;

/* ---- commands_proof.c ---- */

command_handler command_proof_get;

/* For commands_lane.c: delivery answered a DELIVERY_COMMAND. Takes request. */
void command_on_delivery(struct delivery_request *take_request);

#endif
