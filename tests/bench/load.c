/* load.c -- many agents in one process, to see what a gateway can take.
 *
 *     bench_load OPTION=VALUE...
 *
 *     pki=DIR       agent-N.pem, agents.key (bench_make agents), ca.pem
 *     blocks=DIR    genesis.block, blocks.raw (bench_make ledger or fabric)
 *     host=127.0.0.1  port=N  gateway=zonerelay:gateway/ZONE  format=ledger
 *     links=64  batch=64 (blocks)  window=4 (batches in flight on each link)  seconds=3
 *     hold=0|1      with 1: only say hello, print a line, and stay until standard input ends
 *
 * Agent N carries the chain bench-N. All links are opened and their genesis is made durable; then the
 * clock starts, and each link keeps `window` batches in flight until the time is over or its blocks
 * are used up. The clock stops with the last ack: what is counted was acknowledged as durable. The
 * gateway's credit is respected. A reject, or a link that ends, is a failure.
 *
 * Prints a line when the clock starts, and one JSON object at the end. Wire bytes are those of TLS, without TCP and IP.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "proto/link.h"
#include "relay/net/conn.h"
#include "tests/bench/traffic.h"

#define WINDOW_MAX     64
#define CONNECTING_MAX 64 /* Handshakes under way. */
#define CONNECT_MAX_MS 60000
#define STALL_MAX_MS   60000 /* Without a single ack, the run has failed. */

struct settings {
	const char *pki, *blocks, *host, *port, *gateway, *format;
	size_t links, batch, window, seconds, hold;
};

enum phase { PHASE_OPENING, PHASE_RUNNING, PHASE_LAST_ACKS, PHASE_DONE };

struct flight {
	size_t batch;
	int64_t sent_ns;
};

struct load;
struct link {
	struct load *load;           /* Kept. */
	struct tls_context *context; /* Owned. */
	struct conn *conn;           /* Owned by net. */
	char chain[32];
	size_t next_batch;
	struct flight flights[WINDOW_MAX]; /* Oldest first. */
	size_t flight_count;
	uint64_t credit_bytes, credit_batches, sent_bytes, sent_batches;
	bool ready; /* Its genesis is durable. */
};

struct load {
	struct settings settings;
	struct traffic traffic;
	struct event_base *base;
	struct net *net;
	struct event *tick;
	struct link *links; /* Owned. */
	size_t connect_next, connecting, welcomed, ready, flying;
	enum phase phase;
	int64_t begin_ns, heard_ns, end_ns;
	double cpu_begin_s; /* Of this process. */
	struct net_totals wire_begin;
	uint64_t acked_batches, acked_blocks, acked_raw_bytes, acked_bytes;
	uint32_t *latencies_us; /* Owned. Of each batch. */
	size_t latency_capacity;
};

static void die(const char *what)
{
	fprintf(stderr, "bench_load: %s\n", what);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;
	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		die("no clock");
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double cpu_s(void)
{
	struct rusage usage;
	if (getrusage(RUSAGE_SELF, &usage) != 0)
		die("getrusage");
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- sending ---- */

static void send_frame(struct link *link, const Zonerelay__Link__Frame *frame)
{
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	if (!link_frame_encode(frame, &body, &err))
		die(err.message);
	if (!conn_send(link->conn, buffer_bytes(&body)))
		die("a link does not take frames any more");
	buffer_fini(&body);
}

static void send_hello(struct link *link)
{
	struct traffic *traffic = &link->load->traffic;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	Zonerelay__Link__Hello hello = ZONERELAY__LINK__HELLO__INIT;
	Zonerelay__Link__ChainHello chain = ZONERELAY__LINK__CHAIN_HELLO__INIT;
	Zonerelay__Link__ChainHello *chains[] = { &chain };
	chain.name = link->chain;
	chain.epoch = (ProtobufCBinaryData){ HASH_SIZE, traffic->epoch.bytes };
	chain.has_blocks = true;
	chain.tip_height = traffic->tip.height;
	chain.tip_hash = (ProtobufCBinaryData){ HASH_SIZE, traffic->tip.hash.bytes };
	hello.version_min = LINK_VERSION;
	hello.version_max = LINK_VERSION;
	hello.software = (char *)(uintptr_t) "bench_load";
	hello.n_chains = 1;
	hello.chains = chains;
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_HELLO;
	frame.hello = &hello;
	send_frame(link, &frame);
}

/* Keeps the window full, as far as phase, credit and blocks allow. */
static void pump(struct link *link)
{
	struct load *load = link->load;
	size_t window = link->ready ? load->settings.window : 1;
	size_t end = link->ready ? load->traffic.batch_count : 1;
	if (load->phase > PHASE_RUNNING || (link->ready && load->phase == PHASE_OPENING))
		return;
	while (link->flight_count < window && link->next_batch < end) {
		const struct traffic_batch *batch = &load->traffic.batches[link->next_batch];
		if (link->sent_batches >= link->credit_batches ||
		    link->sent_bytes + batch->size > link->credit_bytes)
			return;
		for (size_t i = 0; i < batch->frame_count; i++) {
			if (!conn_send(link->conn, buffer_bytes(&batch->frames[i])))
				die("a link's output queue is full");
		}
		link->sent_batches++;
		link->sent_bytes += batch->size;
		link->flights[link->flight_count++] =
			(struct flight){ link->next_batch++, now_ns() };
		load->flying++;
	}
}

/* ---- phases ---- */

static void start_clock(struct load *load)
{
	load->phase = PHASE_RUNNING;
	puts("{\"started\": true}");
	(void)fflush(stdout);
	load->begin_ns = load->heard_ns = now_ns();
	load->cpu_begin_s = cpu_s();
	load->wire_begin = *net_totals(load->net);
	for (size_t i = 0; i < load->settings.links; i++)
		pump(&load->links[i]);
}

static void look_at_clock(struct load *load)
{
	int64_t now = now_ns();
	if (now - load->heard_ns > (int64_t)STALL_MAX_MS * 1000000)
		die("nothing was acknowledged for a minute");
	if (load->phase == PHASE_RUNNING &&
	    now - load->begin_ns >= (int64_t)load->settings.seconds * 1000000000)
		load->phase = PHASE_LAST_ACKS;
	if (load->flying > 0 || load->phase == PHASE_OPENING)
		return;
	load->phase = PHASE_DONE;
	load->end_ns = load->heard_ns;
	event_base_loopbreak(load->base);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	look_at_clock(arg);
}

/* ---- receiving ---- */

static void note(struct load *load, const struct flight *flight)
{
	const struct traffic_batch *batch = &load->traffic.batches[flight->batch];
	if (load->acked_batches == load->latency_capacity) {
		load->latency_capacity = load->latency_capacity * 2 + 4096;
		load->latencies_us =
			realloc(load->latencies_us, load->latency_capacity * sizeof(uint32_t));
		if (load->latencies_us == NULL)
			die("out of memory");
	}
	load->latencies_us[load->acked_batches++] =
		(uint32_t)((load->heard_ns - flight->sent_ns) / 1000);
	load->acked_blocks += batch->to - batch->from + 1;
	load->acked_raw_bytes += batch->raw_size;
	load->acked_bytes += batch->size;
}

static void take_credit(struct link *link, const Zonerelay__Link__CreditGrant *credit)
{
	if (credit == NULL)
		return;
	link->credit_bytes = credit->bytes;
	link->credit_batches = credit->batches;
}

static void genesis_is_durable(struct link *link)
{
	struct load *load = link->load;
	link->ready = true;
	if (++load->ready == load->settings.links)
		start_clock(load);
}

static void on_ack(struct link *link, const Zonerelay__Link__Ack *ack)
{
	struct load *load = link->load;
	size_t done = 0;
	load->heard_ns = now_ns();
	take_credit(link, ack->credit);
	while (done < link->flight_count &&
	       load->traffic.batches[link->flights[done].batch].to < ack->durable_next) {
		if (link->ready)
			note(load, &link->flights[done]);
		done++;
	}
	link->flight_count -= done;
	load->flying -= done;
	memmove(link->flights, link->flights + done, link->flight_count * sizeof(link->flights[0]));
	if (!link->ready && link->flight_count == 0)
		genesis_is_durable(link);
	pump(link);
	if (load->flying == 0)
		look_at_clock(load);
}

static void connect_more(struct load *load);

static void on_welcome(struct link *link, const Zonerelay__Link__Welcome *welcome)
{
	struct load *load = link->load;
	load->connecting--;
	load->heard_ns = now_ns();
	connect_more(load);
	if (welcome->n_chains != 1 ||
	    welcome->chains[0]->state != ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_ACTIVE)
		die(welcome->n_chains == 1 ? welcome->chains[0]->reason : "a Welcome for others");
	take_credit(link, welcome->credit);
	if (++load->welcomed == load->settings.links && load->settings.hold > 0) {
		puts("{\"held\": true}");
		(void)fflush(stdout);
	}
	if (load->settings.hold > 0)
		return;
	while (link->next_batch < load->traffic.batch_count &&
	       load->traffic.batches[link->next_batch].to < welcome->chains[0]->next_height)
		link->next_batch++;
	if (link->next_batch > 0)
		genesis_is_durable(link);
	else
		pump(link);
}

static void on_reject(const struct link *link, const Zonerelay__Link__Reject *reject)
{
	fprintf(stderr, "bench_load: %s: rejected (reason %d, next %" PRIu64 "): %s\n", link->chain,
	        (int)reject->reason, reject->next_height, reject->detail);
	exit(1);
}

static void on_ping(struct link *link, const Zonerelay__Link__Ping *ping)
{
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	Zonerelay__Link__Pong pong = ZONERELAY__LINK__PONG__INIT;
	pong.number = ping->number;
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_PONG;
	frame.pong = &pong;
	send_frame(link, &frame);
}

static void on_frame(struct conn *conn, struct bytes body, void *arg)
{
	struct link *link = arg;
	Zonerelay__Link__Frame *frame;
	struct err err;
	if (link_frame_decode(body, &frame, &err) != LINK_FRAME)
		die(err.message);
	/* Anchor receipts and the like are part of the load, and of no interest here. */
	if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_ACK)
		on_ack(link, frame->ack);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_WELCOME)
		on_welcome(link, frame->welcome);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_REJECT)
		on_reject(link, frame->reject);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_PING)
		on_ping(link, frame->ping);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_GOODBYE)
		die(frame->goodbye->detail);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_CREDIT) {
		take_credit(link, frame->credit->credit);
		pump(link);
	}
	link_frame_free(frame);
}

/* ---- links ---- */

static void on_open(struct conn *conn, void *arg)
{
	send_hello(arg);
}

static void on_close(struct conn *conn, enum conn_reason reason, const char *text, void *arg)
{
	const struct link *link = arg;
	if (link->load->phase == PHASE_DONE)
		return;
	fprintf(stderr, "bench_load: the link of %s ended: %s %s\n", link->chain,
	        conn_reason_meaning(reason), text);
	exit(1);
}

static const struct conn_callbacks callbacks = { .on_open = on_open,
	                                         .on_frame = on_frame,
	                                         .on_close = on_close };

static void link_connect(struct link *link, size_t number)
{
	const struct settings *settings = &link->load->settings;
	char certificate[512], key[512], ca[512];
	struct err err;
	(void)snprintf(link->chain, sizeof(link->chain), "bench-%zu", number);
	(void)snprintf(certificate, sizeof(certificate), "%s/agent-%zu.pem", settings->pki, number);
	(void)snprintf(key, sizeof(key), "%s/agents.key", settings->pki);
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", settings->pki);
	const struct tls_options tls = {
		.certificate = certificate, .key = key, .ca = ca, .clock = clock_system()
	};
	if (!tls_context_new(&link->context, &tls, &err))
		die(err.message);
	struct connect_options options = { .context = link->context,
		                           .host = settings->host,
		                           .port = (uint16_t)strtoul(settings->port, NULL, 10),
		                           .peer_name = settings->gateway,
		                           .connect_max_ms = CONNECT_MAX_MS,
		                           .limits = conn_limits_default() };
	options.limits.frame_max_bytes = 2u << 20;
	options.limits.out_max_bytes = 64u << 20;
	if (!net_connect(&link->conn, link->load->net, &options, &callbacks, link, &err))
		die(err.message);
}

static void connect_more(struct load *load)
{
	while (load->connecting < CONNECTING_MAX && load->connect_next < load->settings.links) {
		struct link *link = &load->links[load->connect_next++];
		link->load = load;
		load->connecting++;
		link_connect(link, load->connect_next);
	}
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct load *load = arg;
	char byte;
	if (read(STDIN_FILENO, &byte, 1) > 0)
		return;
	load->phase = PHASE_DONE;
	event_base_loopbreak(load->base);
}

/* ---- the result ---- */

static int compare_u32(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	return (a > b) - (a < b);
}

static double percentile_ms(const struct load *load, double share)
{
	if (load->acked_batches == 0)
		return 0;
	size_t at = (size_t)((double)(load->acked_batches - 1) * share);
	return load->latencies_us[at] / 1e3;
}

static void report(const struct load *load)
{
	const struct net_totals *wire = net_totals(load->net);
	bool used_up = true;
	for (size_t i = 0; i < load->settings.links; i++)
		used_up = used_up && load->links[i].next_batch == load->traffic.batch_count;
	if (load->acked_batches > 0)
		qsort(load->latencies_us, (size_t)load->acked_batches, sizeof(uint32_t),
		      compare_u32);
	printf("{\"seconds\": %.6f, \"blocks\": %" PRIu64 ", \"batches\": %" PRIu64
	       ", \"raw_bytes\": %" PRIu64 ", \"payload_bytes\": %" PRIu64 ", \"wire_up\": %" PRIu64
	       ", \"wire_down\": %" PRIu64
	       ", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"cpu_s\": %.3f"
	       ", \"used_up\": %s}\n",
	       (double)(load->end_ns - load->begin_ns) / 1e9, load->acked_blocks,
	       load->acked_batches, load->acked_raw_bytes, load->acked_bytes,
	       wire->wire_bytes_out - load->wire_begin.wire_bytes_out,
	       wire->wire_bytes_in - load->wire_begin.wire_bytes_in, percentile_ms(load, 0.5),
	       percentile_ms(load, 0.99), percentile_ms(load, 1), cpu_s() - load->cpu_begin_s,
	       used_up ? "true" : "false");
}

static void run(struct load *load)
{
	const struct timeval tick = { .tv_usec = 10000 };
	struct event *input = NULL;
	struct err err;
	load->base = event_base_new();
	load->links = calloc(load->settings.links, sizeof(load->links[0]));
	if (load->base == NULL || load->links == NULL)
		die("out of memory");
	if (!net_new(&load->net, load->base, clock_system(), &err))
		die(err.message);
	load->heard_ns = now_ns();
	load->tick = event_new(load->base, -1, EV_PERSIST, on_tick, load);
	if (load->settings.hold > 0)
		input = event_new(load->base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, load);
	else if (load->tick != NULL)
		event_add(load->tick, &tick);
	if (input != NULL)
		event_add(input, NULL);
	connect_more(load);
	event_base_dispatch(load->base);
	if (load->settings.hold == 0)
		report(load);
	net_free(load->net);
	for (size_t i = 0; i < load->connect_next; i++)
		tls_context_free(load->links[i].context);
	if (input != NULL)
		event_free(input);
	event_free(load->tick);
	event_base_free(load->base);
	free(load->links);
	free(load->latencies_us);
}

static void read_setting(struct settings *settings, const char *text)
{
	const struct {
		const char *name;
		const char **text;
		size_t *number;
	} rows[] = {
		{ "pki", &settings->pki, NULL },         { "blocks", &settings->blocks, NULL },
		{ "host", &settings->host, NULL },       { "port", &settings->port, NULL },
		{ "gateway", &settings->gateway, NULL }, { "format", &settings->format, NULL },
		{ "links", NULL, &settings->links },     { "batch", NULL, &settings->batch },
		{ "window", NULL, &settings->window },   { "seconds", NULL, &settings->seconds },
		{ "hold", NULL, &settings->hold },
	};
	const char *value = strchr(text, '=');
	if (value == NULL)
		die(text);
	size_t size = (size_t)(value++ - text);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strlen(rows[i].name) != size || memcmp(rows[i].name, text, size) != 0)
			continue;
		if (rows[i].text != NULL)
			*rows[i].text = value;
		else
			*rows[i].number = strtoul(value, NULL, 10);
		return;
	}
	die(text);
}

int main(int argc, char **argv)
{
	struct load load = { .settings = { .host = "127.0.0.1",
		                           .format = "ledger",
		                           .links = 64,
		                           .batch = 64,
		                           .window = 4,
		                           .seconds = 3 } };
	struct settings *settings = &load.settings;
	struct err err;
	for (int i = 1; i < argc; i++)
		read_setting(settings, argv[i]);
	if (settings->pki == NULL || settings->blocks == NULL || settings->port == NULL ||
	    settings->gateway == NULL)
		die("pki=, blocks=, port= and gateway= are needed");
	if (settings->links == 0 || settings->batch == 0 || settings->window == 0 ||
	    settings->window > WINDOW_MAX)
		die("links and batch are 1 or more, window is 1 to 64");
	if (!traffic_read(&load.traffic, settings->blocks, settings->format, settings->batch, &err))
		die(err.message);
	run(&load);
	traffic_free(&load.traffic);
	return 0;
}
