/* exit.h -- exit statuses of the programs. The daemons' are sysexits(3) numbers, so that the unit
 * file can name those which a restart cannot mend; err_exit_status() maps failures onto them. */
#ifndef ZR_BASE_EXIT_H
#define ZR_BASE_EXIT_H

enum {
	EXIT_OK = 0,
	/* zonerelay (the operator's command line) */
	EXIT_FAILED = 1,
	EXIT_BAD_USAGE = 2,
	EXIT_DEGRADED = 3,
	EXIT_INTEGRITY = 4,
	/* daemons */
	EXIT_USAGE_ERROR = 64,
	EXIT_STORE_MISSING = 66,
	EXIT_INTERNAL = 70,
	EXIT_SYSTEM = 71,
	EXIT_STORE_IO = 74,
	EXIT_STORE_FULL = 75,
	EXIT_CONFIG = 78,
};

#endif
