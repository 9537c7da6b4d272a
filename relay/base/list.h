/* list.h -- an intrusive doubly linked list: the only container here.
 *
 * A node sits inside the object it links; an object is in one list per node at most. A list head
 * is a node linked to itself.
 */
#ifndef ZR_BASE_LIST_H
#define ZR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *next;
	struct list_node *prev;
};

#define LIST_ENTRY(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* The body may remove cursor, and nothing else. Declares cursor and the hidden follower. */
#define LIST_FOR_EACH(cursor, head)                                                  \
	for (struct list_node *cursor = (head)->next, *cursor##_next = cursor->next; \
	     cursor != (head); cursor = cursor##_next, cursor##_next = cursor->next)

static inline void list_init(struct list_node *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool list_is_empty(const struct list_node *head)
{
	return head->next == head;
}

static inline void list_add_after(struct list_node *where, struct list_node *node)
{
	node->prev = where;
	node->next = where->next;
	where->next->prev = node;
	where->next = node;
}

static inline void list_append(struct list_node *head, struct list_node *node)
{
	list_add_after(head->prev, node);
}

/* The node is linked to itself afterwards, so removing it again is harmless. */
static inline void list_remove(struct list_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Takes the first node out, or gives NULL. */
static inline struct list_node *list_pop(struct list_node *head)
{
	if (list_is_empty(head))
		return NULL;
	struct list_node *node = head->next;
	list_remove(node);
	return node;
}

#endif
