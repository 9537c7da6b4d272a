/* preflight.h -- what can be found out about a configuration before it is used: files are there and
 * can be read, keys belong to certificates, certificates lead to their CA and have not expired,
 * formats, suites and adapters are known to this program. What "config check" and "--check" do
 * beyond the file itself.
 *
 * Threads: any. Reads every file that the configuration names: some 1,000 Fabric chains a second.
 */
#ifndef ZR_RELAY_PREFLIGHT_H
#define ZR_RELAY_PREFLIGHT_H

#include "config/config.h"
#include "relay/base/clock.h"

/* For any program's configuration. Adds what is wrong to errors, at the lines that say it. */
void preflight_check(const struct config *config, const struct clock *clock,
                     struct config_errors *errors);

#endif
