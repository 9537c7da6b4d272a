/* mailbox.c -- see mailbox.h.
 *
 * One mutex, one condition, one eventfd. The eventfd holds 1 exactly while the list is not empty;
 * both change under the mutex, so a message can neither be missed nor announced for ever.
 */
#include "relay/base/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
	pthread_mutex_t mutex;
	pthread_cond_t waiting_readers;
	struct list_node messages; /* Owned until taken. */
	size_t count;
	size_t count_max;
	bool closed;
	int fd;
};

bool mailbox_new(struct mailbox **out_mailbox, size_t count_max, struct err *err)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	if (mailbox == NULL)
		return err_set(err, ZR_NO_MEMORY, "mailbox");
	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mailbox->fd < 0) {
		err_set(err, ZR_UNAVAILABLE, "mailbox: eventfd: %s", strerror(errno));
		free(mailbox);
		return false;
	}
	int failed = pthread_mutex_init(&mailbox->mutex, NULL);
	assert(failed == 0); /* glibc allocates nothing for either. */
	failed = pthread_cond_init(&mailbox->waiting_readers, NULL);
	assert(failed == 0);
	list_init(&mailbox->messages);
	mailbox->count_max = count_max;
	*out_mailbox = mailbox;
	return true;
}

void mailbox_free(struct mailbox *mailbox)
{
	if (mailbox == NULL)
		return;
	assert(list_is_empty(&mailbox->messages));
	(void)close(mailbox->fd);
	(void)pthread_cond_destroy(&mailbox->waiting_readers);
	(void)pthread_mutex_destroy(&mailbox->mutex);
	free(mailbox);
}

static void lock(struct mailbox *mailbox)
{
	int failed = pthread_mutex_lock(&mailbox->mutex);
	assert(failed == 0);
}

static void unlock(struct mailbox *mailbox)
{
	int failed = pthread_mutex_unlock(&mailbox->mutex);
	assert(failed == 0);
}

/* Makes the fd agree with the list after it became empty, or stopped being so. */
static void fd_raise(const struct mailbox *mailbox)
{
	uint64_t one = 1;
	ssize_t written = write(mailbox->fd, &one, sizeof(one));
	assert(written == (ssize_t)sizeof(one));
}

static void fd_quiet(const struct mailbox *mailbox)
{
	uint64_t value;
	ssize_t got = read(mailbox->fd, &value, sizeof(value));
	assert(got == (ssize_t)sizeof(value) && value == 1);
}

static void append_locked(struct mailbox *mailbox, struct list_node *node)
{
	list_append(&mailbox->messages, node);
	if (mailbox->count++ == 0)
		fd_raise(mailbox);
	(void)pthread_cond_signal(&mailbox->waiting_readers);
}

bool mailbox_put(struct mailbox *mailbox, struct list_node *take_node)
{
	lock(mailbox);
	bool room = !mailbox->closed && mailbox->count < mailbox->count_max;
	if (room)
		append_locked(mailbox, take_node);
	unlock(mailbox);
	return room;
}

void mailbox_answer(struct mailbox *mailbox, struct list_node *take_node)
{
	lock(mailbox);
	append_locked(mailbox, take_node);
	unlock(mailbox);
}

/* Moves the whole chain of nodes at once: the lock is held for the same time whatever the count. */
static size_t take_all_locked(struct mailbox *mailbox, struct list_node *head)
{
	size_t count = mailbox->count;
	if (count == 0)
		return 0;
	struct list_node *first = mailbox->messages.next;
	struct list_node *last = mailbox->messages.prev;
	first->prev = head->prev;
	head->prev->next = first;
	last->next = head;
	head->prev = last;
	list_init(&mailbox->messages);
	mailbox->count = 0;
	fd_quiet(mailbox);
	return count;
}

size_t mailbox_take_all(struct mailbox *mailbox, struct list_node *head)
{
	lock(mailbox);
	size_t count = take_all_locked(mailbox, head);
	unlock(mailbox);
	return count;
}

static void wait_locked(struct mailbox *mailbox)
{
	while (mailbox->count == 0 && !mailbox->closed) {
		int failed = pthread_cond_wait(&mailbox->waiting_readers, &mailbox->mutex);
		assert(failed == 0);
	}
}

struct list_node *mailbox_wait(struct mailbox *mailbox)
{
	lock(mailbox);
	wait_locked(mailbox);
	struct list_node *node = list_pop(&mailbox->messages);
	if (node != NULL && --mailbox->count == 0)
		fd_quiet(mailbox);
	unlock(mailbox);
	return node;
}

size_t mailbox_wait_all(struct mailbox *mailbox, struct list_node *head)
{
	lock(mailbox);
	wait_locked(mailbox);
	size_t count = take_all_locked(mailbox, head);
	unlock(mailbox);
	return count;
}

size_t mailbox_count(struct mailbox *mailbox)
{
	lock(mailbox);
	size_t count = mailbox->count;
	unlock(mailbox);
	return count;
}

int mailbox_fd(const struct mailbox *mailbox)
{
	return mailbox->fd;
}

void mailbox_close(struct mailbox *mailbox)
{
	lock(mailbox);
	mailbox->closed = true;
	(void)pthread_cond_broadcast(&mailbox->waiting_readers);
	unlock(mailbox);
}
