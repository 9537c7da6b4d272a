/* libcurl reads certificates by path at each new connection; what is checked here is that they can
 * be read and belong together. */
#include "adapters/mainchain/http_settings.h"

#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/evidence.h"
#include "relay/base/file.h"

/* ---- copies ---- */

static bool copy_text(char **out_copy, const char *text, struct err *err)
{
	*out_copy = text == NULL ? NULL : strdup(text);
	return text == NULL || *out_copy != NULL ||
	       err_set(err, ZR_NO_MEMORY, "settings of the main chain");
}

static bool is_loopback(const char *host)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t size = strlen(names[i]);
		if (strncmp(host, names[i], size) == 0 && strchr(":/", host[size]) != NULL)
			return true; /* strchr() finds the end of the text, too. */
	}
	return false;
}

static bool is_url_char(char c)
{
	return c > ' ' && c < 0x7f && strchr("@?#\"<>\\^`{|}", c) == NULL;
}

/* A base address without credentials, query or fragment. */
static bool check_url(const char *url, bool has_token, struct err *err)
{
	const char *host = NULL;
	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		host = url + 7;
	if (host == NULL || host[0] == 0 || host[0] == '/' || strlen(url) > HTTP_URL_MAX)
		return err_set(err, ZR_INVALID, "endpoint \"%.80s\": not an http or https address",
		               url);
	for (const char *c = url; *c != 0; c++) {
		if (!is_url_char(*c))
			return err_set(
				err, ZR_INVALID,
				"endpoint \"%.80s\": credentials, query and fragment have no "
				"place in it",
				url);
	}
	if (has_token && host == url + 7 && !is_loopback(host))
		return err_set(err, ZR_INVALID,
		               "endpoint %s: a bearer token would travel in the open; use https",
		               url);
	return true;
}

static bool copy_urls(struct http_settings *settings, const struct mainchain_options *options,
                      struct err *err)
{
	if (options->endpoint_count == 0 || options->endpoint_count > ENDPOINTS_MAX)
		return err_set(err, ZR_INVALID, "%zu endpoints: from 1 to %d are possible",
		               options->endpoint_count, ENDPOINTS_MAX);
	for (size_t i = 0; i < options->endpoint_count; i++) {
		if (!check_url(options->endpoints[i], options->token_file != NULL, err) ||
		    !copy_text(&settings->urls[i], options->endpoints[i], err))
			return false;
		settings->url_count = i + 1;
		char *url = settings->urls[i];
		for (size_t size = strlen(url); size > 0 && url[size - 1] == '/'; size--)
			url[size - 1] = 0;
	}
	return true;
}

static bool copy_options(struct http_settings *settings, const struct mainchain_options *options,
                         struct err *err)
{
	if (options->in_flight_max == 0 || options->in_flight_max > HTTP_IN_FLIGHT_MAX)
		return err_set(err, ZR_INVALID, "calls at once: from 1 to %d are possible",
		               HTTP_IN_FLIGHT_MAX);
	if (options->connect_timeout_ms == 0 || options->answer_timeout_ms == 0)
		return err_set(err, ZR_INVALID, "a time-out of 0 is not possible");
	if ((options->certificate_file == NULL) != (options->key_file == NULL))
		return err_set(err, ZR_INVALID, "certificate and key come together");
	settings->connect_timeout_ms = options->connect_timeout_ms;
	settings->answer_timeout_ms = options->answer_timeout_ms;
	settings->in_flight_max = options->in_flight_max;
	return copy_urls(settings, options, err) &&
	       copy_text(&settings->ca_file, options->ca_file, err) &&
	       copy_text(&settings->certificate_file, options->certificate_file, err) &&
	       copy_text(&settings->key_file, options->key_file, err) &&
	       copy_text(&settings->token_file, options->token_file, err) &&
	       copy_text(&settings->proxy, options->proxy, err);
}

/* ---- files ---- */

static void free_certs(struct cert **certs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		cert_free(certs[i]);
	free(certs);
}

/* A key of a kind that we do not use ourselves (RSA) is left to libcurl to judge. */
static bool check_own_key(const struct cert *cert, const char *path, struct err *err)
{
	if (cert_key(cert) == NULL) {
		struct buffer content = BUFFER_EMPTY;
		bool read = file_read(path, TRUSTED_SIZE_MAX, &content, err);
		if (content.data != NULL)
			secret_wipe(content.data, content.size);
		buffer_fini(&content);
		return read;
	}
	struct key *key;
	if (!key_read_file(&key, path, err))
		return false;
	bool good = key_is_private(key) && bytes_equal(key_spki(key), key_spki(cert_key(cert)));
	key_free(key);
	return good || err_set(err, ZR_INVALID, "%s is not the key of the certificate", path);
}

static bool check_certificates(const struct http_settings *settings, struct err *err)
{
	struct cert **certs;
	size_t count;
	if (settings->ca_file != NULL) {
		if (!cert_read_file(&certs, &count, settings->ca_file, err))
			return false;
		free_certs(certs, count);
	}
	if (settings->certificate_file == NULL)
		return true;
	if (!cert_read_file(&certs, &count, settings->certificate_file, err))
		return false;
	bool good = check_own_key(certs[0], settings->key_file, err);
	free_certs(certs, count);
	return good;
}

static bool read_trusted(struct http_settings *settings, const struct mainchain_options *options,
                         struct err *err)
{
	if (options->trusted_file_count == 0)
		return true;
	struct buffer text = BUFFER_EMPTY;
	bool good = mainchain_trusted_read(options->trusted_files, options->trusted_file_count,
	                                   &text, err) &&
	            trusted_parse(buffer_bytes(&text), &settings->trusted, err);
	buffer_fini(&text);
	return good;
}

/* ---- token ---- */

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One line of visible characters; a stray line end could otherwise begin another header. */
static bool token_from(struct bytes text, char **out_token, struct err *err)
{
	while (text.size > 0 && is_blank(text.data[text.size - 1]))
		text.size--;
	if (text.size == 0)
		return err_set(err, ZR_INVALID, "there is no token in it");
	for (size_t i = 0; i < text.size; i++) {
		if (text.data[i] <= ' ' || text.data[i] >= 0x7f)
			return err_set(err, ZR_INVALID, "not a token: byte %zu", i + 1);
	}
	char *token = malloc(text.size + 1);
	if (token == NULL)
		return err_set(err, ZR_NO_MEMORY, "a token");
	memcpy(token, text.data, text.size);
	token[text.size] = 0;
	*out_token = token;
	return true;
}

static void drop_token(struct http_settings *settings)
{
	if (settings->token != NULL)
		secret_wipe(settings->token, strlen(settings->token));
	free(settings->token);
	settings->token = NULL;
}

static bool read_token(struct http_settings *settings, struct err *err)
{
	struct stat info;
	struct buffer text = BUFFER_EMPTY;
	char *token = NULL;
	if (stat(settings->token_file, &info) != 0)
		return err_set(err, ZR_UNAVAILABLE, "%s cannot be read", settings->token_file);
	bool good = file_read(settings->token_file, HTTP_TOKEN_MAX, &text, err) &&
	            (token_from(buffer_bytes(&text), &token, err) ||
	             err_wrap(err, "%s", settings->token_file));
	if (text.data != NULL)
		secret_wipe(text.data, text.size);
	buffer_fini(&text);
	if (!good)
		return false;
	drop_token(settings);
	settings->token = token;
	settings->token_stat = info;
	return true;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

const char *http_settings_token(struct http_settings *settings)
{
	struct stat info;
	if (settings->token_file == NULL)
		return NULL;
	if (stat(settings->token_file, &info) == 0 && !same_file(&info, &settings->token_stat))
		(void)read_token(settings, NULL); /* Half-written, perhaps: it changes once more. */
	return settings->token;
}

/* ---- all of it ---- */

bool http_settings_new(struct http_settings **out_settings, const struct mainchain_options *options,
                       struct err *err)
{
	struct http_settings *settings = calloc(1, sizeof(*settings));
	if (settings == NULL)
		return err_set(err, ZR_NO_MEMORY, "settings of the main chain");

	if (!copy_options(settings, options, err) || !check_certificates(settings, err) ||
	    !read_trusted(settings, options, err))
		goto fail;
	if (settings->token_file != NULL && !read_token(settings, err))
		goto fail;

	*out_settings = settings;
	return true;

fail:
	http_settings_free(settings);
	return err_wrap(err, "main chain %s", options->name);
}

void http_settings_free(struct http_settings *settings)
{
	if (settings == NULL)
		return;
	for (size_t i = 0; i < settings->url_count; i++)
		free(settings->urls[i]);
	free(settings->ca_file);
	free(settings->certificate_file);
	free(settings->key_file);
	free(settings->token_file);
	free(settings->proxy);
	drop_token(settings);
	trusted_free(settings->trusted);
	free(settings);
}

bool http_settings_same_urls(const struct http_settings *a, const struct http_settings *b)
{
	bool same = a->url_count == b->url_count;
	for (size_t i = 0; same && i < a->url_count; i++)
		same = strcmp(a->urls[i], b->urls[i]) == 0;
	return same;
}
