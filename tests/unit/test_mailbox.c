#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <poll.h>
#include <pthread.h>
#include <time.h>

#include <cmocka.h>

#include "relay/base/mailbox.h"

struct letter {
	struct list_node node;
	unsigned sender;
	unsigned number;
};

static bool is_readable(struct mailbox *mailbox)
{
	struct pollfd poll_fd = { .fd = mailbox_fd(mailbox), .events = POLLIN };
	return poll(&poll_fd, 1, 0) == 1;
}

static struct mailbox *new_mailbox(size_t count_max)
{
	struct mailbox *mailbox = NULL;
	struct err err;
	assert_true(mailbox_new(&mailbox, count_max, &err));
	return mailbox;
}

static unsigned pop_number(struct list_node *head)
{
	struct list_node *node = list_pop(head);
	assert_non_null(node);
	return LIST_ENTRY(node, struct letter, node)->number;
}

static void letters_come_out_in_the_order_they_went_in(void **state)
{
	struct letter letters[3] = { { .number = 1 }, { .number = 2 }, { .number = 3 } };
	struct letter mine = { .number = 9 };
	struct list_node head;
	struct mailbox *mailbox = new_mailbox(10);
	list_init(&head);
	list_append(&head, &mine.node);
	for (int i = 0; i < 3; i++)
		assert_true(mailbox_put(mailbox, &letters[i].node));
	assert_int_equal(mailbox_count(mailbox), 3);
	assert_int_equal(mailbox_take_all(mailbox, &head), 3);
	assert_int_equal(mailbox_count(mailbox), 0);
	assert_int_equal(pop_number(&head), 9); /* They are added to the end. */
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(pop_number(&head), i);
	assert_true(list_is_empty(&head));
	assert_int_equal(mailbox_take_all(mailbox, &head), 0);
	mailbox_free(mailbox);
}

static void the_fd_is_readable_exactly_while_letters_wait(void **state)
{
	struct letter letters[2];
	struct list_node head;
	struct mailbox *mailbox = new_mailbox(10);
	list_init(&head);
	assert_false(is_readable(mailbox));
	assert_true(mailbox_put(mailbox, &letters[0].node));
	assert_true(is_readable(mailbox));
	assert_true(is_readable(mailbox));
	assert_true(mailbox_put(mailbox, &letters[1].node));
	assert_ptr_equal(mailbox_wait(mailbox), &letters[0].node);
	assert_true(is_readable(mailbox));
	assert_ptr_equal(mailbox_wait(mailbox), &letters[1].node);
	assert_false(is_readable(mailbox));
	mailbox_answer(mailbox, &letters[0].node);
	assert_true(is_readable(mailbox));
	assert_int_equal(mailbox_take_all(mailbox, &head), 1);
	assert_false(is_readable(mailbox));
	mailbox_free(mailbox);
}

static void a_full_mailbox_takes_answers_but_no_requests(void **state)
{
	struct letter letters[4];
	struct list_node head;
	struct mailbox *mailbox = new_mailbox(2);
	list_init(&head);
	assert_true(mailbox_put(mailbox, &letters[0].node));
	assert_true(mailbox_put(mailbox, &letters[1].node));
	assert_false(mailbox_put(mailbox, &letters[2].node));
	mailbox_answer(mailbox, &letters[3].node);
	assert_int_equal(mailbox_count(mailbox), 3);
	assert_false(mailbox_put(mailbox, &letters[2].node));
	assert_int_equal(mailbox_take_all(mailbox, &head), 3);
	assert_true(mailbox_put(mailbox, &letters[2].node));
	assert_int_equal(mailbox_take_all(mailbox, &head), 1);
	mailbox_free(mailbox);
}

static void a_closed_mailbox_gives_what_is_left_and_then_the_end(void **state)
{
	struct letter letters[3];
	struct list_node head;
	struct mailbox *mailbox = new_mailbox(10);
	list_init(&head);
	assert_true(mailbox_put(mailbox, &letters[0].node));
	mailbox_close(mailbox);
	assert_false(mailbox_put(mailbox, &letters[1].node));
	mailbox_answer(mailbox, &letters[1].node);
	assert_ptr_equal(mailbox_wait(mailbox), &letters[0].node);
	assert_int_equal(mailbox_wait_all(mailbox, &head), 1);
	assert_int_equal(mailbox_wait_all(mailbox, &head), 0);
	assert_null(mailbox_wait(mailbox));
	assert_false(is_readable(mailbox));
	mailbox_free(mailbox);
	mailbox_free(NULL);
}

/* ---- threads ---- */

enum { SENDERS = 4, LETTERS = 20000 };

struct sender {
	pthread_t thread;
	struct mailbox *mailbox;
	unsigned number;
	struct letter *letters;
};

static void pause_a_little(void)
{
	(void)nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
}

static void *send_letters(void *arg)
{
	struct sender *sender = arg;
	for (unsigned i = 0; i < LETTERS; i++) {
		sender->letters[i].sender = sender->number;
		sender->letters[i].number = i;
		while (!mailbox_put(sender->mailbox, &sender->letters[i].node))
			pause_a_little();
	}
	return NULL;
}

static void start_senders(struct sender *senders, struct mailbox *mailbox)
{
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ .mailbox = mailbox, .number = i };
		senders[i].letters = calloc(LETTERS, sizeof(struct letter));
		assert_non_null(senders[i].letters);
		assert_int_equal(
			pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
	}
}

static void end_senders(struct sender *senders)
{
	for (unsigned i = 0; i < SENDERS; i++) {
		assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
		free(senders[i].letters);
	}
}

static void an_event_loop_misses_nothing_of_many_writers(void **state)
{
	struct sender senders[SENDERS];
	unsigned next[SENDERS] = { 0 };
	size_t total = 0;
	struct list_node head;
	struct mailbox *mailbox = new_mailbox(64);
	list_init(&head);
	start_senders(senders, mailbox);
	while (total < (size_t)SENDERS * LETTERS) {
		struct pollfd poll_fd = { .fd = mailbox_fd(mailbox), .events = POLLIN };
		assert_int_equal(poll(&poll_fd, 1, 10000), 1); /* Or a wake-up was lost. */
		size_t taken = mailbox_take_all(mailbox, &head);
		assert_true(taken >= 1 && taken <= 64);
		total += taken;
		struct list_node *node;
		while ((node = list_pop(&head)) != NULL) {
			struct letter *letter = LIST_ENTRY(node, struct letter, node);
			assert_int_equal(letter->number, next[letter->sender]++);
		}
	}
	end_senders(senders);
	assert_false(is_readable(mailbox));
	mailbox_free(mailbox);
}

struct reader {
	pthread_t thread;
	struct mailbox *mailbox;
	size_t count;
};

static void *read_letters(void *arg)
{
	struct reader *reader = arg;
	while (mailbox_wait(reader->mailbox) != NULL)
		reader->count++;
	return NULL;
}

static void many_readers_share_the_letters_of_many_writers(void **state)
{
	enum { READERS = 3 };
	struct sender senders[SENDERS];
	struct reader readers[READERS];
	struct mailbox *mailbox = new_mailbox(16);
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .mailbox = mailbox };
		assert_int_equal(
			pthread_create(&readers[i].thread, NULL, read_letters, &readers[i]), 0);
	}
	start_senders(senders, mailbox);
	for (unsigned i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
	mailbox_close(mailbox);
	size_t total = 0;
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		total += readers[i].count;
	}
	assert_int_equal(total, SENDERS * LETTERS);
	for (unsigned i = 0; i < SENDERS; i++)
		free(senders[i].letters);
	mailbox_free(mailbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters_come_out_in_the_order_they_went_in),
		cmocka_unit_test(the_fd_is_readable_exactly_while_letters_wait),
		cmocka_unit_test(a_full_mailbox_takes_answers_but_no_requests),
		cmocka_unit_test(a_closed_mailbox_gives_what_is_left_and_then_the_end),
		cmocka_unit_test(an_event_loop_misses_nothing_of_many_writers),
		cmocka_unit_test(many_readers_share_the_letters_of_many_writers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
