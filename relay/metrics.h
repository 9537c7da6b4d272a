/* metrics.h -- what /metrics says, in the text format of Prometheus.
 *
 * Every family is there from the first scrape, with every label value it can have. What is durable is
 * read from the spool's own counters, so that a restart changes nothing.
 */
#ifndef ZR_RELAY_METRICS_H
#define ZR_RELAY_METRICS_H

#include "relay/base/bytes.h"

struct gateway;

/* Appends. */
void metrics_print(struct gateway *gateway, struct buffer *out);

#endif
