/* net.c -- what all connections of one loop share: their list, and the turn; see conn.h.
 *
 * Events of libevent only move a connection on; what they left to do (frames to send, reading that
 * was cut short, ends to announce) is done in net_turn(), and only there is a connection freed.
 */
#include <signal.h>
#include <stdlib.h>

#include "relay/net/conn_internal.h"

static void net_turn(evutil_socket_t fd, short what, void *arg)
{
	struct net *net = arg;
	/* What is scheduled meanwhile waits for the next turn. */
	struct list_node work;
	list_init(&work);
	while (!list_is_empty(&net->work))
		list_append(&work, list_pop(&net->work));
	struct list_node *node;
	while ((node = list_pop(&work)) != NULL)
		conn_work(LIST_ENTRY(node, struct conn, work_node));
}

bool net_new(struct net **out_net, struct event_base *base, const struct clock *clock,
             struct err *err)
{
	struct net *net = calloc(1, sizeof(*net));
	if (net == NULL)
		return err_set(err, ZR_NO_MEMORY, "net");
	(void)signal(SIGPIPE, SIG_IGN);
	net->base = base;
	net->clock = clock;
	list_init(&net->conns);
	list_init(&net->work);
	net->turn_event = event_new(base, -1, 0, net_turn, net);
	if (net->turn_event == NULL) {
		free(net);
		return err_set(err, ZR_NO_MEMORY, "net");
	}
	*out_net = net;
	return true;
}

void net_free(struct net *net)
{
	if (net == NULL)
		return;
	struct list_node *node;
	while ((node = net->conns.next) != &net->conns) {
		struct conn *conn = LIST_ENTRY(node, struct conn, node);
		conn_abort(conn);
		conn->polite = false;
		if (!conn->announced)
			conn_announce(conn);
		conn_free(conn);
	}
	event_free(net->turn_event);
	free(net);
}

const struct net_totals *net_totals(const struct net *net)
{
	return &net->totals;
}
