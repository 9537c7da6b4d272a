#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "relay/base/exit.h"
#include "tests/lib/fault.h"

/* Loads it with the n-th allocation failing, for every n: what fails is said. */
static void load_with_faults(const char *path, enum config_program program, bool is_good)
{
	for (size_t n = 1;; n++) {
		struct config *config = NULL;
		struct config_errors errors = CONFIG_NO_ERRORS;
		fault_at(n);
		bool loaded = config_load(path, program, &config, &errors);
		bool failed = fault_off() > 0;
		if (failed && is_good) {
			/* libyaml and the folder may do without what they asked for. */
			assert_true(loaded || errors.no_memory);
			assert_true(loaded || config_errors_exit_status(&errors) == EXIT_SYSTEM);
		}
		if (!failed)
			assert_int_equal(loaded, is_good);
		assert_int_equal(config != NULL, loaded);
		config_errors_fini(&errors);
		config_free(config);
		if (!failed)
			return;
	}
}

static void each_allocation_of_a_load_may_fail(void **state)
{
	(void)state;
	load_with_faults("config/iii-zone.yaml", CONFIG_GATEWAY, true);
	load_with_faults("config/edge.yaml", CONFIG_EDGE, true);
	load_with_faults("config/iv-zone.yaml", CONFIG_DEVCHAIN, true);
}

static void each_allocation_of_a_refusal_may_fail(void **state)
{
	char path[] = "/tmp/zr-config-XXXXXX";
	int fd = mkstemp(path);
	static const char yaml[] = "zone: a b\nlimits: {links: 0, lonks: 5}\nhttp: {listen: [x]}\n"
				   "chains: [{name: a}, {name: a}]\nlog: {level: loud}\n";
	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, yaml, sizeof(yaml) - 1), (ssize_t)sizeof(yaml) - 1);
	(void)close(fd);
	load_with_faults(path, CONFIG_GATEWAY, false);
	(void)unlink(path);
}

static void each_allocation_of_a_brief_look_may_fail(void **state)
{
	(void)state;
	for (size_t n = 1;; n++) {
		fault_at(n);
		struct config *config = config_load_brief("config/iii-zone.yaml", CONFIG_GATEWAY);
		bool failed = fault_off() > 0;
		if (config != NULL)
			assert_string_equal(config->gateway.zone, "iii-north");
		else
			assert_true(failed);
		config_free(config);
		if (!failed)
			return;
	}
}

static void each_allocation_of_showing_and_comparing_may_fail(void **state)
{
	struct config *config = NULL;
	struct config *other = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	(void)state;
	assert_true(config_load("config/iii-zone.yaml", CONFIG_GATEWAY, &config, &errors));
	assert_true(config_load("config/iii-zone.yaml", CONFIG_GATEWAY, &other, &errors));
	for (size_t n = 1;; n++) {
		struct buffer shown = BUFFER_EMPTY;
		struct config_change *changes = NULL;
		size_t count = 0;
		struct err err;
		fault_at(n);
		config_show_effective(config, &shown);
		bool compared = config_diff(config, other, &changes, &count, &err);
		bool failed = fault_off() > 0;
		assert_int_equal(shown.failed || !compared, failed);
		if (!compared)
			assert_int_equal(err.code, ZR_NO_MEMORY);
		free(changes);
		buffer_fini(&shown);
		if (!failed)
			break;
	}
	config_free(config);
	config_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_of_a_load_may_fail),
		cmocka_unit_test(each_allocation_of_a_refusal_may_fail),
		cmocka_unit_test(each_allocation_of_a_brief_look_may_fail),
		cmocka_unit_test(each_allocation_of_showing_and_comparing_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
