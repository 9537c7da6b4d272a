#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/notify.h"
#include "tests/lib/temp_folder.h"

/* What a service manager is to its services: a datagram socket. */
static int manager = -1;
static char folder[96];
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static int open_manager(void **state)
{
	temp_folder_make(folder, sizeof(folder));
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", folder);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return bind(manager, (struct sockaddr *)&address, sizeof(address));
}

static int close_manager(void **state)
{
	(void)close(manager);
	(void)unlink(address.sun_path);
	return rmdir(folder);
}

static const char *heard(void)
{
	static char text[1024];
	ssize_t size = recv(manager, text, sizeof(text) - 1, 0);
	if (size < 0)
		return NULL;
	text[size] = '\0';
	return text;
}

static void without_a_service_manager_nothing_happens(void **state)
{
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	notify_ready();
	notify_reloading();
	notify_status("%d links", 3);
	notify_watchdog();
	notify_stopping();
	assert_null(heard());
	assert_int_equal(notify_watchdog_interval_ms(), 0);
}

static void the_service_manager_hears_how_we_are(void **state)
{
	assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
	notify_ready();
	const char *text = heard();
	if (text == NULL)
		skip(); /* Built without libsystemd. */
	assert_string_equal(text, "READY=1");
	notify_reloading();
	assert_memory_equal(heard(), "RELOADING=1\nMONOTONIC_USEC=", 27);
	notify_status("%d links\nREADY=0", 3);
	assert_string_equal(heard(), "STATUS=3 links READY=0");
	notify_watchdog();
	assert_string_equal(heard(), "WATCHDOG=1");
	notify_stopping();
	assert_string_equal(heard(), "STOPPING=1");
	assert_null(heard());

	char pid[16];
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(setenv("WATCHDOG_USEC", "30000000", 1), 0);
	assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
	assert_int_equal(notify_watchdog_interval_ms(), 15000);
	assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* Meant for another process. */
	assert_int_equal(notify_watchdog_interval_ms(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_service_manager_nothing_happens),
		cmocka_unit_test(the_service_manager_hears_how_we_are),
	};
	return cmocka_run_group_tests(tests, open_manager, close_manager);
}
