/* fault_point.h -- named places at which a test ends a process, as a power cut might.
 *
 *     FAULT_POINT(CUSTODY_SIGNING);
 *
 * The environment arms one of them: ZR_FAULT=CUSTODY_SIGNING:3 ends the process with SIGKILL when it
 * comes to that place for the third time. With ":stop" behind the number it stops there (SIGSTOP)
 * until it is told to go on, with ":exit" it leaves as if it had done all it had to.
 *
 * Only builds that are tested have them (meson option fault-points): elsewhere a fault point is
 * nothing at all, and ZR_FAULT is not read. tests/system/test_kill.py kills at each row of the table
 * and fails for a row that is never come to; tests/lint/fault_points.py looks for both ends of it.
 */
#ifndef ZR_BASE_FAULT_POINT_H
#define ZR_BASE_FAULT_POINT_H

/* X(name, process, what has and has not happened there); in the order of a block's journey.
 * process: every, gateway, agent (or fabric, ledger: what its chain is), tool. */
#define FAULT_POINTS(X)                                                                         \
	/* Every program with a store, and those that make one. */                              \
	X(STORE_MAKING, tool, "a new store's file is written under another name, not synced")   \
	X(STORE_NAMING, tool, "a new store's file is whole, not yet under its name")            \
	X(STORE_NAMED, tool, "a new store has its name, the folder is not synced")              \
	X(STORE_OPENING, every, "the store is mapped, not yet synced")                          \
	X(STORE_OPENED, every, "the store is synced and nothing was asked of it")               \
	X(STORE_GROWING, gateway, "the file has its new size, the store does not say so yet")   \
	X(STORE_COMMITTING, every, "all changes are made, none is on the disk")                 \
	X(STORE_COMMITTED, every, "the changes are on the disk, and nobody knows")              \
	X(FILE_RENAMING, fabric, "a file is whole beside the one that it will replace")         \
	X(FILE_RENAMED, fabric, "a file is replaced, the folder is not synced")                 \
	/* Every program on the link. */                                                        \
	X(LINK_READ, every, "bytes came from the peer, nothing was made of them")               \
	X(LINK_WRITING, every, "bytes are to go to the peer, none has gone")                    \
	X(LINK_WRITTEN, every, "some bytes of a frame, or all, are with the kernel")            \
	/* The agent. */                                                                        \
	X(GENESIS_KEEPING, tool, "a ledger's genesis is sealed, neither stored nor pinned")     \
	X(GENESIS_KEPT, tool, "a ledger's genesis is stored, not yet in the file to be pinned") \
	X(AGENT_STARTED, agent, "everything is open, nothing has been done")                    \
	X(AGENT_RELOADING, agent, "a new configuration is read, the old one holds")             \
	X(ENTRIES_KEEPING, ledger, "entries were taken from the source, not stored")            \
	X(ENTRIES_KEPT, ledger, "entries and the source's position are stored, nobody knows")   \
	X(BLOCK_SEALING, ledger, "a block is signed, not stored")                               \
	X(BLOCK_SEALED, ledger, "a block is stored, its entries are gone")                      \
	X(HEADERS_KEEPING, fabric, "blocks of a source are verified, their headers not stored") \
	X(HEADERS_KEPT, fabric, "the headers of a source's blocks are stored")                  \
	X(HELLO_SENDING, agent, "the link is open, nothing was said")                           \
	X(WELCOME_READ, agent, "the gateway has said where to go on")                           \
	X(GATEWAY_PINNING, agent, "a chain is about to be handed to the gateway's store")       \
	X(GATEWAY_PINNED, agent, "a chain is handed to the gateway's store")                    \
	X(CLOCK_KEEPING, agent, "the gateway's time is taken over, not stored")                 \
	X(CLOCK_KEPT, agent, "the gateway's time is stored")                                    \
	X(BATCH_BUILT, agent, "a batch is compressed, nothing of it sent")                      \
	X(CHUNK_SENDING, agent, "a piece of a batch is to be sent")                             \
	X(CHUNK_SENT, agent, "a piece of a batch is on its way")                                \
	X(ACK_READ, agent, "an ack has come, nothing was made of it")                           \
	X(CUSTODY_KEEPING, agent, "a custody receipt is good, not stored")                      \
	X(CUSTODY_KEPT, agent, "a custody receipt is stored")                                   \
	X(ANCHORED_READ, agent, "an anchor receipt has come, unchecked")                        \
	X(ANCHORED_KEEPING, agent, "an anchor receipt is good, not stored")                     \
	X(ANCHORED_KEPT, agent, "an anchor receipt is stored")                                  \
	X(SOURCE_PRUNING, fabric, "blocks may go, none has gone")                               \
	X(SOURCE_PRUNED, fabric, "blocks have gone, or whoever may delete them was told")       \
	/* The gateway: the way in. */                                                          \
	X(GATEWAY_OPENING, gateway, "all threads run, nobody can connect")                      \
	X(GATEWAY_STARTED, gateway, "everything is open, nothing has been done")                \
	X(CHAIN_ENROLLING, gateway, "a pinned chain is about to be stored")                     \
	X(CHAIN_ENROLLED, gateway, "a pinned chain is stored")                                  \
	X(HELLO_READ, gateway, "an agent has said what it has")                                 \
	X(WELCOME_SENT, gateway, "an agent was told where to go on")                            \
	X(CHUNK_READ, gateway, "a piece of a batch has come")                                   \
	X(BATCH_READ, gateway, "a batch has come whole")                                        \
	X(BATCH_VERIFIED, gateway, "a worker has verified a batch, nobody knows")               \
	X(BATCH_STORING, gateway, "a batch is put, not committed")                              \
	X(BATCH_STORED, gateway, "a batch is durable, its receipt signed, not acked")           \
	X(CUSTODY_SIGNING, gateway, "a commit of batches is durable, its receipt not signed")   \
	X(CUSTODY_SIGNED, gateway, "a commit's receipt is signed, nobody knows")                \
	X(ACK_SENDING, gateway, "an ack is to be sent")                                         \
	X(ACK_SENT, gateway, "an ack is on its way")                                            \
	X(DUPLICATES_COUNTING, gateway, "blocks that came again are put, not committed")        \
	X(DUPLICATES_COUNTED, gateway, "blocks that came again are counted")                    \
	X(REJECT_SENT, gateway, "a reject is on its way")                                       \
	X(QUARANTINING, gateway, "a bad batch is put, not committed")                           \
	X(QUARANTINED, gateway, "a bad batch is in quarantine")                                 \
	X(EVIDENCE_KEEPING, gateway, "evidence is put and its chain frozen, not committed")     \
	X(EVIDENCE_KEPT, gateway, "evidence is kept, its agent not told")                       \
	X(RESEND_SENT, gateway, "an agent is asked for blocks again")                           \
	X(REPAIRING, gateway, "a damaged payload is replaced, not committed")                   \
	X(REPAIRED, gateway, "a damaged payload is replaced")                                   \
	/* The gateway: the way out. */                                                         \
	X(HEAD_ASKING, gateway, "the main chain is to be asked for the lane's head")            \
	X(FENCE_TAKING, gateway, "the lane's head is good, its fence not taken")                \
	X(FENCE_TAKEN, gateway, "the main chain gave the fence, the lane runs")                 \
	X(INTENT_STORING, gateway, "an anchor is built, its intent not committed")              \
	X(INTENT_STORED, gateway, "an anchor's intent is durable, nothing was sent")            \
	X(UPLOAD_SENDING, gateway, "a batch is to be uploaded")                                 \
	X(UPLOAD_ANSWERED, gateway, "the main chain has a batch")                               \
	X(SUBMIT_SENDING, gateway, "an anchor is to be submitted")                              \
	X(SUBMIT_SENT, gateway, "an anchor is on its way to the main chain")                    \
	X(SUBMIT_ANSWERED, gateway, "the main chain has answered a submission")                 \
	X(LOOKUP_SENDING, gateway, "the main chain is to be asked for an anchor")               \
	X(LOOKUP_ANSWERED, gateway, "the main chain has said how an anchor stands")             \
	X(STATE_STORING, gateway, "an anchor's new state is put, not committed")                \
	X(STATE_STORED, gateway, "an anchor's new state is durable")                            \
	X(RECEIPT_SIGNED, gateway, "an anchor receipt is signed, not stored")                   \
	X(FINAL_STORING, gateway, "an anchor is made final, not committed")                     \
	X(FINAL_STORED, gateway, "an anchor is final, no edge was told")                        \
	X(VOID_STORING, gateway, "a refused anchor is taken back, not committed")               \
	X(VOID_STORED, gateway, "a refused anchor is taken back")                               \
	X(ANCHORED_SENT, gateway, "an anchor receipt is on its way to an edge")                 \
	/* The gateway: upkeep. */                                                              \
	X(PRUNING, gateway, "old batches are deleted, not committed")                           \
	X(PRUNED, gateway, "old batches are gone")                                              \
	X(SCRUBBED, gateway, "a slice of rows was recounted")                                   \
	X(GATEWAY_RELOADING, gateway, "a new configuration is read, the old one holds")         \
	X(GATEWAY_RELOADED, gateway, "the new configuration holds, delivery was not told")      \
	X(OPERATOR_CHANGING, gateway, "an operator's change is put, not committed")             \
	X(OPERATOR_CHANGED, gateway, "an operator's change is durable, nobody was answered")    \
	/* The operator's tools. */                                                             \
	X(BACKUP_SLICE, tool, "a slice of a backup is written")                                 \
	X(RESTORE_GROUP, tool, "a group of a backup's rows is stored")                          \
	X(RESTORE_ENDING, tool, "all of a backup is stored, the store not yet said to be whole")

#define FAULT_POINT_OF(name, process, text) FAULT_##name,
enum fault_point { FAULT_POINTS(FAULT_POINT_OF) FAULT_POINT_COUNT };
#undef FAULT_POINT_OF

#ifdef ZR_FAULT_POINTS
#define FAULT_POINT(name) fault_point(FAULT_##name)

void fault_point(enum fault_point point);
#else
#define FAULT_POINT(name) ((void)FAULT_##name)
#endif

#endif
