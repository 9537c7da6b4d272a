/* chains_add.c -- zonerelay chains add: one chain into the folder of chains, then a reload.
 *
 * The zone file stays the only place that says which chains there are: what is added is a file of
 * that folder like any other, checked together with all the rest before the daemon sees it. The
 * pinned block is written first, the list that names it last and all at once, so that a daemon that
 * reloads in between finds the chain whole or not at all.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"
#include "relay/control.h"
#include "relay/pinned.h"

#define PINNED_MAX ((size_t)64 << 20)
#define PATH_SIZE  4096
#define RELOAD_MS  30000

struct addition {
	const char *name;
	char list_path[PATH_SIZE]; /* NAME.yaml */
	char pinned_path[PATH_SIZE];
	struct buffer pinned;
	struct buffer list;
	bool list_written, pinned_written;
};

static bool join(char path[static PATH_SIZE], const char *folder, const char *name,
                 const char *ending, struct err *err)
{
	int size = snprintf(path, PATH_SIZE, "%s/%s%s", folder, name, ending);
	return (size > 0 && size < PATH_SIZE) ||
	       err_set(err, ZR_INVALID, "%s: the path is too long", folder);
}

/* Only what cannot end a YAML scalar. */
static bool is_word(const char *text)
{
	size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	                           "._-");
	return size > 0 && text[size] == '\0';
}

static bool put_agents(struct buffer *list, const char *agents, struct err *err)
{
	char id[CHAIN_NAME_MAX + 1];
	buffer_printf(list, "  agents: [");
	for (const char *rest = agents; *rest != '\0';) {
		size_t size = strcspn(rest, ",");
		if (size > CHAIN_NAME_MAX)
			return err_set(err, ZR_INVALID, "--agents: %s is too long", rest);
		memcpy(id, rest, size);
		id[size] = '\0';
		if (!chain_name_valid(id))
			return err_set(err, ZR_INVALID, "--agents: \"%s\" is no name", id);
		buffer_printf(list, "%s%s", rest == agents ? "" : ", ", id);
		rest += size + (rest[size] == ',' ? 1 : 0);
	}
	buffer_printf(list, "]\n");
	return true;
}

/* The list of one chain, in YAML. */
static bool put_list(const struct cli *cli, struct addition *addition, struct err *err)
{
	static const struct {
		enum command_option option;
		const char *key;
	} optional[] = {
		{ OPTION_CLASS, "class" },
		{ OPTION_POLICY, "policy" },
		{ OPTION_EPOCH, "epoch" },
	};
	const char *format = cli_option(cli, OPTION_FORMAT);
	if (!is_word(format))
		return err_set(err, ZR_INVALID, "--format: \"%s\" is no name", format);
	buffer_printf(&addition->list, "- name: %s\n  format: %s\n  trust: %s.block\n",
	              addition->name, format, addition->name);
	if (!put_agents(&addition->list, cli_option(cli, OPTION_AGENTS), err))
		return false;
	for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++) {
		const char *value = cli_option(cli, optional[i].option);
		if (value != NULL && !is_word(value))
			return err_set(err, ZR_INVALID, "--%s: \"%s\" is no word", optional[i].key,
			               value);
		if (value != NULL)
			buffer_printf(&addition->list, "  %s: %s\n", optional[i].key, value);
	}
	return buffer_ok(&addition->list, err);
}

/* Left by a command that was killed before it came to the list, or brought there by hand. */
static bool is_pinned_already(const struct addition *addition)
{
	struct buffer there = BUFFER_EMPTY;
	struct err ignored;
	bool same = file_read(addition->pinned_path, PINNED_MAX, &there, &ignored) &&
	            bytes_equal(buffer_bytes(&there), buffer_bytes(&addition->pinned));
	buffer_fini(&there);
	return same;
}

static bool write_files(struct addition *addition, const char *folder, struct err *err)
{
	struct stat found;
	if (mkdir(folder, 0755) != 0 && errno != EEXIST)
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", folder, strerror(errno));
	bool pinned = is_pinned_already(addition);
	if (lstat(addition->list_path, &found) == 0 ||
	    (!pinned && lstat(addition->pinned_path, &found) == 0))
		return err_set(err, ZR_STATE, "%s or %s is there already", addition->list_path,
		               addition->pinned_path);
	if (!pinned)
		addition->pinned_written = file_write_atomic(
			addition->pinned_path, buffer_bytes(&addition->pinned), 0644, err);
	if (!pinned && !addition->pinned_written)
		return false;
	addition->list_written =
		file_write_atomic(addition->list_path, buffer_bytes(&addition->list), 0644, err);
	return addition->list_written;
}

static void remove_files(const struct addition *addition)
{
	if (addition->list_written)
		(void)unlink(addition->list_path);
	if (addition->pinned_written)
		(void)unlink(addition->pinned_path);
}

/* The whole configuration with the new chain in it, and the chain's pinned block. */
static bool check_files(struct cli *cli, const struct addition *addition, struct err *err)
{
	struct pinned pinned;
	const struct config *config = cli_config(cli, err);
	if (config == NULL)
		return err_wrap(err, "with the new chain");
	const struct chain_config *chain = config_chain(config, addition->name);
	if (chain == NULL || strcmp(chain->trust, addition->pinned_path) != 0)
		return err_set(err, ZR_STATE, "%s is not in the folder of chains that is read",
		               addition->list_path);
	if (!pinned_read(&pinned, chain, err))
		return false;
	pinned_fini(&pinned);
	return true;
}

/* Asks the daemon to reload. *out_running: it answered. False: it refused. */
static bool reload(struct cli *cli, bool *out_running, struct err *err)
{
	static const char *const words[] = { "config", "reload" };
	const struct control_request request = { .words = words,
		                                 .word_count = 2,
		                                 .reason = cli_option(cli, OPTION_REASON) };
	const char *given = cli_option(cli, OPTION_SOCKET);
	const char *socket = given != NULL ? given : cli->config->gateway.control_socket;
	Zonerelay__Control__Response *response = NULL;
	*out_running = control_ask(socket, &request, RELOAD_MS, &response, err);
	if (!*out_running)
		return true;
	bool taken = response->exit_status == EXIT_OK;
	if (!taken)
		err_set(err, ZR_STATE, "the daemon refused to reload: %s",
		        response->error[0] != '\0' ? response->error : response->json);
	control_response_free(response);
	return taken;
}

static int conclude(struct cli *cli, const struct addition *addition, bool running, bool dry_run)
{
	cli_json(cli, json_pack("{s:s,s:s,s:b,s:b}", "chain", addition->name, "file",
	                        addition->list_path, "reloaded", running, "dry_run", dry_run));
	if (cli->json)
		return EXIT_OK;
	if (dry_run)
		(void)printf("%s would be written:\n%.*s", addition->list_path,
		             (int)addition->list.size, (const char *)addition->list.data);
	else
		(void)printf("%s is in %s\n%s\n", addition->name, addition->list_path,
		             running ? "the daemon has read it"
		                     : "no daemon runs; it is read at the next start");
	return EXIT_OK;
}

static int add(struct cli *cli, struct addition *addition)
{
	bool dry_run = cli_option(cli, OPTION_DRY_RUN) != NULL;
	bool running = false;
	struct err err;
	const struct config *config = cli_config(cli, &err);
	if (config == NULL)
		return cli_fail(cli, &err);
	if (config_chain(config, addition->name) != NULL) {
		err_set(&err, ZR_STATE, "chain %s is in the zone file already", addition->name);
		return cli_fail(cli, &err);
	}
	const char *folder = config->gateway.chains_folder;
	if (!join(addition->list_path, folder, addition->name, ".yaml", &err) ||
	    !join(addition->pinned_path, folder, addition->name, ".block", &err) ||
	    !file_read(cli_option(cli, OPTION_TRUST), PINNED_MAX, &addition->pinned, &err) ||
	    !put_list(cli, addition, &err) || !write_files(addition, folder, &err) ||
	    !check_files(cli, addition, &err) || (!dry_run && !reload(cli, &running, &err))) {
		remove_files(addition);
		return cli_fail(cli, &err);
	}
	if (dry_run)
		remove_files(addition);
	return conclude(cli, addition, running, dry_run);
}

int cli_chains_add(struct cli *cli)
{
	struct addition addition = { .name = cli_argument(cli, 0) };
	if (!chain_name_valid(addition.name))
		return cli_usage(cli, "%s is no name of a chain", addition.name);
	int status = add(cli, &addition);
	buffer_fini(&addition.pinned);
	buffer_fini(&addition.list);
	return status;
}
