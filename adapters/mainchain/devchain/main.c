/* main.c -- zonerelay-devchain: a small honest main chain for developers, demonstrations and tests. */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/mainchain/devchain/options.h"
#include "adapters/mainchain/devchain/server.h"
#include "config/config.h"
#include "relay/base/clock.h"
#include "relay/base/exit.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/base/notify.h"
#include "relay/net/tls.h"
#include "spool/store.h"

#define PATH_SIZE      4096
#define TOKEN_SIZE_MAX 8192
#define SIGNAL_COUNT   3

/* Everything the program holds; what is not there yet is NULL. */
struct devchain {
	struct devchain_options options;
	struct config *config;
	char key_path[PATH_SIZE], ledger_dir[PATH_SIZE], trusted_path[PATH_SIZE];
	struct key *key;
	struct ledger *ledger;
	struct tls_context *tls;
	struct buffer token; /* Ends with a zero; empty: none. */
	struct misbehave *misbehave;
	struct event_base *base;
	struct event *signals[SIGNAL_COUNT];
	struct server *server;
};

static void devchain_fini(struct devchain *devchain)
{
	server_free(devchain->server);
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		if (devchain->signals[i] != NULL)
			event_free(devchain->signals[i]);
	}
	if (devchain->base != NULL)
		event_base_free(devchain->base);
	misbehave_free(devchain->misbehave);
	tls_context_free(devchain->tls);
	ledger_close(devchain->ledger);
	key_free(devchain->key);
	config_free(devchain->config);
	if (devchain->token.data != NULL)
		secret_wipe(devchain->token.data, devchain->token.size);
	buffer_fini(&devchain->token);
}

/* ---- what is to be used ---- */

/* What the command line does not say, the file does. */
static void use_config(struct devchain_options *options, const struct config *config)
{
	const struct devchain_config *from = &config->devchain;
	if (!devchain_options_given(options, "--dir"))
		options->dir = from->dir;
	if (!devchain_options_given(options, "--key"))
		options->key = from->key;
	if (!devchain_options_given(options, "--suite"))
		options->suite = from->suite;
	if (!devchain_options_given(options, "--chain"))
		options->chain = from->chain;
	if (!devchain_options_given(options, "--listen"))
		options->listen = from->listen.text;
	if (!devchain_options_given(options, "--suite"))
		options->suite = from->suite;
	if (!devchain_options_given(options, "--chain"))
		options->chain = from->chain;
	if (!devchain_options_given(options, "--size"))
		options->size_bytes = from->size_bytes;
	if (!devchain_options_given(options, "--token-file"))
		options->token_file = from->token_file;
	if (!devchain_options_given(options, "--block-interval-ms"))
		options->block_interval_ms = from->block_interval_ms;
	if (!devchain_options_given(options, "--finality-blocks"))
		options->finality_blocks = from->finality_blocks;
	if (!devchain_options_given(options, "--log-level"))
		options->log_level = config->log.level;
	options->log_style = config->log.style;
}

/* Tells every mistake on standard error. */
static bool read_config(const char *path, struct config **out_config, struct err *err)
{
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct buffer text = BUFFER_EMPTY;
	if (config_load(path, CONFIG_DEVCHAIN, out_config, &errors))
		return true;
	config_errors_text(&errors, &text);
	(void)fwrite(text.data, 1, text.size, stderr);
	buffer_fini(&text);
	config_errors_fini(&errors);
	return err_set(err, ZR_INVALID, "%s has mistakes", path);
}

static bool load_config(struct devchain *devchain, struct err *err)
{
	if (devchain->options.config == NULL)
		return true;
	if (!read_config(devchain->options.config, &devchain->config, err))
		return false;
	use_config(&devchain->options, devchain->config);
	return true;
}

static bool join(char out_path[static PATH_SIZE], const char *dir, const char *name,
                 struct err *err)
{
	int size = snprintf(out_path, PATH_SIZE, "%s/%s", dir, name);
	return (size > 0 && size < PATH_SIZE) || err_set(err, ZR_INVALID, "%s is too long", dir);
}

static bool name_files(struct devchain *devchain, struct err *err)
{
	const struct devchain_options *options = &devchain->options;
	if (!join(devchain->ledger_dir, options->dir, "ledger", err) ||
	    !join(devchain->trusted_path, options->dir, "trusted.pem", err) ||
	    !join(devchain->key_path, options->dir, "key.pem", err))
		return false;
	if (options->key == NULL)
		return true;
	int size = snprintf(devchain->key_path, PATH_SIZE, "%s", options->key);
	return size < PATH_SIZE || err_set(err, ZR_INVALID, "%s is too long", options->key);
}

/* ---- key, trusted.pem, ledger ---- */

static bool write_key(const struct devchain *devchain, struct err *err)
{
	struct buffer pem = BUFFER_EMPTY;
	bool done = key_to_pem(devchain->key, true, &pem, err) &&
	            file_write_atomic(devchain->key_path, buffer_bytes(&pem), 0600, err);
	if (pem.data != NULL)
		secret_wipe(pem.data, pem.size);
	buffer_fini(&pem);
	return done;
}

static bool trusted_text(const struct devchain *devchain, const char *chain, struct buffer *out,
                         struct err *err)
{
	buffer_printf(out,
	              "# What to trust of this main chain: \"trusted\" in the gateway's file.\n"
	              "chain: %s\nthreshold: 1\n",
	              chain);
	return key_to_pem(devchain->key, false, out, err) && buffer_ok(out, err);
}

static bool write_trusted(const struct devchain *devchain, struct err *err)
{
	struct buffer text = BUFFER_EMPTY;
	bool done = trusted_text(devchain, ledger_chain(devchain->ledger), &text, err) &&
	            file_write_atomic(devchain->trusted_path, buffer_bytes(&text), 0644, err);
	buffer_fini(&text);
	return done;
}

static bool have_key(struct devchain *devchain, struct err *err)
{
	if (access(devchain->key_path, F_OK) == 0)
		return key_read_file(&devchain->key, devchain->key_path, err) &&
		       (key_is_private(devchain->key) ||
		        err_set(err, ZR_INVALID, "%s is no private key", devchain->key_path));
	/* Another key would sign the same chain, and nobody trusts that one. */
	if (ledger_exists(devchain->ledger_dir))
		return err_set(err, ZR_UNAVAILABLE, "%s is missing, and there is a ledger",
		               devchain->key_path);
	return key_generate(&devchain->key, devchain->options.suite, err) &&
	       write_key(devchain, err);
}

static bool open_ledger(struct devchain *devchain, struct err *err)
{
	const struct devchain_options *options = &devchain->options;
	struct ledger_options ledger = { .dir = devchain->ledger_dir,
		                         .key = devchain->key,
		                         .chain = options->chain,
		                         .size_bytes = options->size_bytes };
	if (!ledger_exists(devchain->ledger_dir) && !ledger_create(&ledger, err))
		return false;
	if (!devchain_options_given(options, "--size") && options->config == NULL)
		ledger.size_bytes = 0;
	return ledger_open(&devchain->ledger, &ledger, err);
}

/* Makes what is missing. */
static bool prepare(struct devchain *devchain, struct err *err)
{
	if (!name_files(devchain, err))
		return false;
	if (mkdir(devchain->options.dir, 0700) != 0 && errno != EEXIST)
		return err_set(err, ZR_UNAVAILABLE, "make %s: %s", devchain->options.dir,
		               strerror(errno));
	return have_key(devchain, err) && open_ledger(devchain, err) &&
	       write_trusted(devchain, err);
}

/* ---- run ---- */

static bool read_token(struct devchain *devchain, struct err *err)
{
	struct buffer *token = &devchain->token;
	if (devchain->options.token_file == NULL)
		return true;
	if (!file_read(devchain->options.token_file, TOKEN_SIZE_MAX, token, err))
		return false;
	while (token->size > 0 &&
	       (token->data[token->size - 1] == '\n' || token->data[token->size - 1] == '\r'))
		token->size--;
	if (token->size == 0)
		return err_set(err, ZR_INVALID, "%s holds no token", devchain->options.token_file);
	buffer_put_u8(token, 0);
	return buffer_ok(token, err);
}

static bool read_misbehave(struct devchain *devchain, struct err *err)
{
	const char *text = devchain->options.misbehave;
	struct buffer file = BUFFER_EMPTY;
	if (text == NULL)
		text = "{\"rules\":[]}";
	if (text[0] != '@')
		return misbehave_new(&devchain->misbehave, bytes_of_string(text), err);
	bool done = file_read(text + 1, MISBEHAVE_TEXT_MAX, &file, err) &&
	            misbehave_new(&devchain->misbehave, buffer_bytes(&file), err);
	buffer_fini(&file);
	return done;
}

/* NULL, where neither command line nor file (config, or NULL) asks for TLS. */
static bool make_tls(const struct devchain *devchain, const struct config *config,
                     struct tls_context **out_tls, struct err *err)
{
	const struct devchain_options *options = &devchain->options;
	struct tls_options tls = { .is_server = true,
		                   .certificate = options->tls_certificate,
		                   .key = options->tls_key,
		                   .ca = options->tls_ca,
		                   .crls = &options->tls_crl,
		                   .crl_count = options->tls_crl == NULL ? 0 : 1,
		                   .clock = clock_system() };
	if (tls.certificate == NULL && config != NULL && config->tls.certificate != NULL) {
		tls.certificate = config->tls.certificate;
		tls.key = config->tls.key;
		tls.ca = config->tls.ca;
		tls.crls = config->tls.crl.items;
		tls.crl_count = config->tls.crl.count;
		tls.groups = config->tls.groups;
		tls.ciphers = config->tls.ciphers;
		tls.signature_algorithms = config->tls.signature_algorithms;
	}
	*out_tls = NULL;
	if (tls.certificate == NULL)
		return true;
	if (tls.key == NULL || tls.ca == NULL)
		return err_set(err, ZR_INVALID, "TLS needs certificate, key and CA");
	return tls_context_new(out_tls, &tls, err);
}

/* SIGHUP: certificates again, and the log level of the file. What is wrong keeps what is in force. */
static bool reload(struct devchain *devchain, struct err *err)
{
	struct config *config = NULL;
	struct tls_context *tls = NULL;
	if (devchain->options.config != NULL &&
	    !read_config(devchain->options.config, &config, err))
		return false;
	if (!make_tls(devchain, config, &tls, err)) {
		config_free(config);
		return false;
	}
	if (tls != NULL && devchain->tls != NULL) {
		server_use_tls(devchain->server, tls);
		tls_context_free(devchain->tls);
		devchain->tls = tls;
	} else {
		tls_context_free(tls); /* With TLS or without it: decided at the start. */
	}
	if (config != NULL && !devchain_options_given(&devchain->options, "--log-level"))
		log_set_level(config->log.level);
	config_free(config);
	return true;
}

static void on_reload(evutil_socket_t number, short what, void *arg)
{
	struct err err;
	notify_reloading();
	if (reload(arg, &err))
		log_info("reloaded", "signal=%d", (int)number);
	else
		log_error("reload-failed", "detail=\"%s\"", err.message);
	notify_ready();
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct devchain *devchain = arg;
	log_info("stopping", "signal=%d", (int)number);
	notify_stopping();
	event_base_loopexit(devchain->base, NULL);
}

static bool make_base(struct devchain *devchain, struct err *err)
{
	static const struct {
		int number;
		event_callback_fn act;
	} signals[SIGNAL_COUNT] = { { SIGTERM, on_signal },
		                    { SIGINT, on_signal },
		                    { SIGHUP, on_reload } };
	devchain->base = event_base_new();
	bool done = devchain->base != NULL;
	for (size_t i = 0; done && i < SIGNAL_COUNT; i++) {
		devchain->signals[i] =
			evsignal_new(devchain->base, signals[i].number, signals[i].act, devchain);
		done = devchain->signals[i] != NULL &&
		       evsignal_add(devchain->signals[i], NULL) == 0;
	}
	return done || err_set(err, ZR_NO_MEMORY, "event loop");
}

static bool make_server(struct devchain *devchain, struct err *err)
{
	const struct devchain_options *options = &devchain->options;
	struct server_options server = {
		.ledger = devchain->ledger,
		.address = options->address,
		.port = options->port,
		.tls = devchain->tls,
		.token = devchain->token.size == 0 ? NULL : (const char *)devchain->token.data,
		.block_interval_ms = options->block_interval_ms,
		.finality_blocks = options->finality_blocks,
		.batch_max_bytes = (size_t)options->batch_max_bytes,
		.anchor_max_bytes = (size_t)options->anchor_max_bytes,
		.take_misbehave = devchain->misbehave,
	};
	if (!server_new(&devchain->server, &server, devchain->base, err))
		return false;
	devchain->misbehave = NULL;
	return true;
}

static bool tell_port(const struct devchain *devchain, struct err *err)
{
	char text[16];
	(void)snprintf(text, sizeof(text), "%u\n", server_port(devchain->server));
	return devchain->options.port_file == NULL ||
	       file_write_atomic(devchain->options.port_file, bytes_of_string(text), 0644, err);
}

static bool run(struct devchain *devchain, struct err *err)
{
	(void)signal(SIGPIPE, SIG_IGN);
	store_exit_on_fault();
	if (!devchain_options_listen(&devchain->options, err) || !prepare(devchain, err) ||
	    !read_token(devchain, err) || !read_misbehave(devchain, err) ||
	    !make_tls(devchain, devchain->config, &devchain->tls, err) ||
	    !make_base(devchain, err) || !make_server(devchain, err) || !tell_port(devchain, err))
		return false;

	log_info("listening", "address=%s port=%u tls=%s chain=%s height=%" PRIu64,
	         devchain->options.address, server_port(devchain->server),
	         devchain->tls == NULL ? "no" : "yes", ledger_chain(devchain->ledger),
	         ledger_height(devchain->ledger));
	notify_ready();
	(void)event_base_dispatch(devchain->base);
	return !server_failed(devchain->server, err);
}

/* ---- the other verbs ---- */

static bool init(struct devchain *devchain, struct err *err)
{
	struct buffer text = BUFFER_EMPTY;
	bool done = prepare(devchain, err) &&
	            trusted_text(devchain, ledger_chain(devchain->ledger), &text, err);
	if (done)
		(void)fwrite(text.data, 1, text.size, stdout);
	buffer_fini(&text);
	return done;
}

static bool status(struct devchain *devchain, struct err *err)
{
	if (!name_files(devchain, err) ||
	    !ledger_open(&devchain->ledger,
	                 &(struct ledger_options){ .dir = devchain->ledger_dir, .read_only = true },
	                 err))
		return false;
	const struct ledger *ledger = devchain->ledger;
	printf(devchain->options.json ? "{\"chain\":\"%s\",\"hash\":\"%s\",\"height\":%" PRIu64
	                                ",\"final_height\":%" PRIu64 "}\n"
	                              : "main chain %s, hash %s, height %" PRIu64 ", final %" PRIu64
	                                "\n",
	       ledger_chain(ledger), hash_alg_name(ledger_alg(ledger)), ledger_height(ledger),
	       ledger_final_height(ledger));
	return true;
}

static bool list_routes(struct err *err)
{
	json_t *routes = server_routes();
	char *text = json_dumps(routes, JSON_COMPACT);
	if (text != NULL)
		printf("%s\n", text);
	bool done = text != NULL;
	free(text);
	json_decref(routes);
	return done || err_set(err, ZR_NO_MEMORY, "routes");
}

static bool act(struct devchain *devchain, struct err *err)
{
	switch (devchain->options.verb) {
	case DEVCHAIN_RUN:
		return run(devchain, err);
	case DEVCHAIN_INIT:
		return init(devchain, err);
	case DEVCHAIN_STATUS:
		return status(devchain, err);
	case DEVCHAIN_ROUTES:
		return list_routes(err);
	}
	return false;
}

int main(int argc, char **argv)
{
	struct devchain devchain = { .token = BUFFER_EMPTY };
	struct err err = { .code = ZR_OK };
	int result = EXIT_OK;
	if (!devchain_options_read(&devchain.options, argc, argv, &err)) {
		(void)fprintf(stderr, "zonerelay-devchain: %s (--help lists options)\n",
		              err.message);
		return EXIT_USAGE_ERROR;
	}
	if (devchain.options.help) {
		devchain_options_help();
		return EXIT_OK;
	}
	if (devchain.options.version) {
		printf("zonerelay-devchain %s\n", ZR_VERSION);
		return EXIT_OK;
	}
	if (!load_config(&devchain, &err)) {
		result = EXIT_CONFIG;
	} else {
		log_init("zonerelay-devchain", devchain.options.log_level,
		         devchain.options.log_style);
		if (!act(&devchain, &err))
			result = err_exit_status(err.code);
	}
	if (result != EXIT_OK)
		(void)fprintf(stderr, "zonerelay-devchain: %s\n", err.message);
	devchain_fini(&devchain);
	return result;
}
