/* operators.h -- the operator's commands, in the daemon: control socket, audit, handlers.
 *
 * Threads: the loop.
 */
#ifndef ZR_RELAY_OPERATORS_H
#define ZR_RELAY_OPERATORS_H

#include "relay/base/err.h"

struct gateway;
struct operators;

/* Errors: ZR_UNAVAILABLE  a socket cannot be made. */
bool operators_start(struct operators **out_operators, struct gateway *gateway,
                     struct err *err) MUST_CHECK;
void operators_stop(struct operators *operators); /* NULL is allowed. */
/* Answers what waits. */
void operators_turn(struct operators *operators);

#endif
