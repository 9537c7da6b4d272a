/* operators.h -- the operator's commands, in the daemon: control socket, audit, handlers, events.
 *
 * Threads: the loop.
 */
#ifndef ZR_RELAY_OPERATORS_H
#define ZR_RELAY_OPERATORS_H

#include <jansson.h>

#include "relay/base/err.h"

struct gateway;
struct operators;

/* Errors: ZR_UNAVAILABLE  a socket cannot be made. */
bool operators_start(struct operators **out_operators, struct gateway *gateway,
                     struct err *err) MUST_CHECK;
/* No further requests; those whose change is with the writer get no answer. NULL is allowed. */
void operators_close(struct operators *operators);
/* After the writer has stopped and its answers were taken. NULL is allowed. */
void operators_stop(struct operators *operators);
/* Answers what waits. */
void operators_turn(struct operators *operators);
/* Tells whoever watches; docs/CONTROL.md lists the events. Takes object. operators may be NULL. */
void operators_publish(struct operators *operators, const char *name, json_t *take_object);

#endif
