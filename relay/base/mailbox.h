/* mailbox.h -- the one primitive between threads: a bounded queue that wakes its reader.
 *
 * Messages are objects with a struct list_node inside; putting one gives it away. The reader is
 * either an event loop (which watches mailbox_fd() for reading) or a thread that waits.
 *
 * Threads: any number of writers, one reader for the fd; any number of waiting readers without it.
 */
#ifndef ZR_BASE_MAILBOX_H
#define ZR_BASE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/err.h"
#include "relay/base/list.h"

struct mailbox;

bool mailbox_new(struct mailbox **out_mailbox, size_t count_max, struct err *err) MUST_CHECK;
/* NULL is allowed. The mailbox must be empty: its messages belong to the caller. */
void mailbox_free(struct mailbox *mailbox);

/* Takes node on success. False if count_max messages wait or the mailbox is closed; never blocks. */
bool mailbox_put(struct mailbox *mailbox, struct list_node *take_node) MUST_CHECK;
/* As mailbox_put(), but over the limit: for answers, whose requests were counted. Takes always;
 * works on a closed mailbox too. */
void mailbox_answer(struct mailbox *mailbox, struct list_node *take_node);

/* Moves every waiting message, in order, to the end of head (an initialised list). Returns how
 * many. Never blocks; quiets the fd. */
size_t mailbox_take_all(struct mailbox *mailbox, struct list_node *head);
/* The oldest message, or NULL. Blocks until there is one or the mailbox is closed and empty. */
struct list_node *mailbox_wait(struct mailbox *mailbox);
/* Everything waiting, like mailbox_take_all(), but blocks until there is something. 0: closed. */
size_t mailbox_wait_all(struct mailbox *mailbox, struct list_node *head);

size_t mailbox_count(struct mailbox *mailbox);
/* Readable while messages wait. Owned by the mailbox. */
int mailbox_fd(const struct mailbox *mailbox);
/* No further mailbox_put() succeeds; readers get what is left and then the end. */
void mailbox_close(struct mailbox *mailbox);

#endif
