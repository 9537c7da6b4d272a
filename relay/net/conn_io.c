/* conn_io.c -- bytes in, cut into frames; frames out, joined into TLS records.
 *
 * Reading decrypts into the net's scratch buffer, and whole frames are given away from there; only
 * the beginning of a frame is kept. Writing copies up to one TLS record's worth of queued frames
 * together, so that small frames do not pay for a record each.
 */
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <openssl/err.h>
#include <string.h>

#include "proto/frame.h"
#include "relay/base/fault_point.h"
#include "relay/net/conn_internal.h"

#define RECORD_SIZE 16384 /* The largest TLS record. */

/* ---- reading ---- */

static void end_because(struct conn *conn, enum conn_reason reason, const char *text)
{
	struct failure failure;
	failure_set(&failure, reason, "%s", text);
	conn_end(conn, &failure, reason == CONN_FRAME_EMPTY || reason == CONN_FRAME_LARGE);
}

static bool may_deliver(const struct conn *conn)
{
	return conn->state == STATE_OPEN && !conn->ended && !conn->paused;
}

/* Gives away the whole frames at the front of bytes. Returns how many bytes are done with. */
static size_t deliver(struct conn *conn, struct bytes bytes)
{
	size_t done = 0;
	while (may_deliver(conn)) {
		struct bytes frame;
		size_t used = 0;
		struct bytes rest = { bytes.data + done, bytes.size - done };
		enum frame_cut cut = frame_cut(rest, conn->limits.frame_max_bytes, &frame, &used);
		if (cut == FRAME_MORE)
			break;
		if (cut == FRAME_EMPTY) {
			end_because(conn, CONN_FRAME_EMPTY, "");
			break;
		}
		if (cut == FRAME_LARGE) {
			end_because(conn, CONN_FRAME_LARGE, "");
			break;
		}
		done += used;
		conn->frame_deadline_ms = 0;
		conn->counts.frames_in++;
		conn->counts.frame_bytes_in += frame.size;
		conn->net->totals.frames_in++;
		conn->net->totals.frame_bytes_in += frame.size;
		conn->callbacks->on_frame(conn, frame, conn->arg);
	}
	return done;
}

/* Drops the first bytes of conn->in; an empty one is freed, because most links are idle. */
static void forget_read(struct conn *conn, size_t done)
{
	struct buffer *in = &conn->in;
	if (done == in->size) {
		buffer_fini(in);
		return;
	}
	memmove(in->data, in->data + done, in->size - done);
	in->size -= done;
}

static void take_bytes(struct conn *conn, struct bytes bytes)
{
	conn->heard_ms = clock_monotonic_ms(conn->net->clock);
	if (conn->in.size == 0) {
		size_t done = deliver(conn, bytes);
		bytes.data += done;
		bytes.size -= done;
		buffer_put(&conn->in, bytes);
	} else {
		buffer_put(&conn->in, bytes);
		if (!conn->in.failed)
			forget_read(conn, deliver(conn, buffer_bytes(&conn->in)));
	}
	if (conn->in.failed)
		end_because(conn, CONN_NO_MEMORY, "input");
}

/* A frame that is begun has a time to be completed; so has a TLS record, which could otherwise
 * dribble in for ever below the frames. */
static void watch_frame(struct conn *conn)
{
	bool begun = conn->in.size > 0 || SSL_has_pending(conn->ssl) == 1;
	if (!begun || conn->paused)
		conn->frame_deadline_ms = 0;
	else if (conn->frame_deadline_ms == 0)
		conn->frame_deadline_ms =
			clock_monotonic_ms(conn->net->clock) + conn->limits.frame_max_ms;
}

/* Reads once. False: there is nothing more to read now, or ever. */
static bool read_some(struct conn *conn, size_t *budget)
{
	size_t got = 0;
	ERR_clear_error();
	errno = 0;
	int result = SSL_read_ex(conn->ssl, conn->net->scratch, SCRATCH_SIZE, &got);
	if (result == 1) {
		FAULT_POINT(LINK_READ);
		*budget -= got < *budget ? got : *budget;
		take_bytes(conn, (struct bytes){ conn->net->scratch, got });
		return true;
	}
	int kind = SSL_get_error(conn->ssl, result);
	conn->read_wants_write = kind == SSL_ERROR_WANT_WRITE;
	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		return false;
	struct failure failure;
	tls_explain(conn->ssl, result, &failure);
	if (conn->in.size > 0 && failure.text[0] == '\0')
		failure_set(&failure, failure.reason, "in the middle of a frame");
	conn_end(conn, &failure, failure.reason == CONN_PEER_CLOSED);
	return false;
}

void conn_read(struct conn *conn)
{
	size_t budget = conn->limits.turn_max_bytes;
	size_t buffered = conn->in.capacity;
	conn->read_again = false;
	if (conn->in.size > 0 && may_deliver(conn))
		forget_read(conn, deliver(conn, buffer_bytes(&conn->in)));
	while (may_deliver(conn)) {
		if (budget == 0) {
			conn->read_again = true;
			conn_schedule(conn);
			break;
		}
		if (!read_some(conn, &budget))
			break;
	}
	conn->net->totals.in_buffered_bytes += conn->in.capacity;
	conn->net->totals.in_buffered_bytes -= buffered;
	conn_count_wire(conn);
	if (conn->state == STATE_OPEN && !conn->ended)
		watch_frame(conn);
}

/* ---- writing ---- */

static void count_queued(struct conn *conn, size_t before)
{
	size_t after = conn->out == NULL ? 0 : evbuffer_get_length(conn->out);
	conn->net->totals.out_queued_bytes += after;
	conn->net->totals.out_queued_bytes -= before;
}

size_t conn_out_queued(const struct conn *conn)
{
	return conn->out == NULL ? 0 : evbuffer_get_length(conn->out);
}

bool conn_send(struct conn *conn, struct bytes frame)
{
	assert(frame.size > 0 && frame.size <= FRAME_MAX_BYTES_LIMIT);
	if (conn->state != STATE_OPEN || conn->ended)
		return false;
	if (conn->out == NULL)
		conn->out = evbuffer_new();
	size_t before = conn_out_queued(conn);
	if (before + FRAME_HEADER_SIZE + frame.size > conn->limits.out_max_bytes) {
		end_because(conn, CONN_SLOW_READER, "its queue is full");
		return false;
	}
	uint8_t header[FRAME_HEADER_SIZE];
	put_be32(header, (uint32_t)frame.size);
	if (conn->out == NULL || evbuffer_add(conn->out, header, sizeof(header)) != 0 ||
	    evbuffer_add(conn->out, frame.data, frame.size) != 0) {
		end_because(conn, CONN_NO_MEMORY, "output");
		return false;
	}
	count_queued(conn, before);
	conn->counts.frames_out++;
	conn->counts.frame_bytes_out += frame.size;
	conn->net->totals.frames_out++;
	conn->net->totals.frame_bytes_out += frame.size;
	if (conn_out_queued(conn) > conn->limits.out_max_bytes / 2)
		conn->above_half = true;
	if (!conn->write_blocked)
		conn_schedule(conn);
	return true;
}

/* Writes once. False: TCP takes no more now, or ever. */
static bool write_some(struct conn *conn, size_t *budget)
{
	size_t put = 0;
	size_t before = conn_out_queued(conn);
	ev_ssize_t size = evbuffer_copyout(conn->out, conn->net->scratch, RECORD_SIZE);
	assert(size > 0);
	ERR_clear_error();
	errno = 0;
	FAULT_POINT(LINK_WRITING);
	int result = SSL_write_ex(conn->ssl, conn->net->scratch, (size_t)size, &put);
	if (result == 1) {
		FAULT_POINT(LINK_WRITTEN);
		(void)evbuffer_drain(conn->out, put);
		count_queued(conn, before);
		*budget -= put < *budget ? put : *budget;
		conn->out_deadline_ms = 0; /* Progress. */
		return true;
	}
	int kind = SSL_get_error(conn->ssl, result);
	if (kind == SSL_ERROR_WANT_WRITE || kind == SSL_ERROR_WANT_READ) {
		conn->write_blocked = true;
		return false;
	}
	struct failure failure;
	tls_explain(conn->ssl, result, &failure);
	if (failure.reason == CONN_LOST)
		conn_read(conn); /* Its last words may say why it went. */
	conn_end(conn, &failure, false);
	return false;
}

static void watch_queue(struct conn *conn)
{
	if (conn_out_queued(conn) == 0)
		conn->out_deadline_ms = 0;
	else if (conn->out_deadline_ms == 0)
		conn->out_deadline_ms =
			clock_monotonic_ms(conn->net->clock) + conn->limits.out_stall_max_ms;
}

void conn_write(struct conn *conn)
{
	size_t budget = conn->limits.turn_max_bytes;
	conn->write_blocked = false;
	while (!conn->ended && conn_out_queued(conn) > 0) {
		if (budget == 0) {
			conn_schedule(conn);
			break;
		}
		if (!write_some(conn, &budget))
			break;
	}
	conn_count_wire(conn);
	if (conn->ended)
		return;
	watch_queue(conn);
	if (conn->above_half && conn_out_queued(conn) < conn->limits.out_max_bytes / 4) {
		conn->above_half = false;
		if (conn->state == STATE_OPEN && conn->callbacks->on_room != NULL)
			conn->callbacks->on_room(conn, conn->arg);
	}
}

void conn_count_wire(struct conn *conn)
{
	if (conn->ssl == NULL)
		return;
	uint64_t in = BIO_number_read(SSL_get_rbio(conn->ssl));
	uint64_t out = BIO_number_written(SSL_get_wbio(conn->ssl));
	conn->net->totals.wire_bytes_in += in - conn->counts.wire_bytes_in;
	conn->net->totals.wire_bytes_out += out - conn->counts.wire_bytes_out;
	conn->counts.wire_bytes_in = in;
	conn->counts.wire_bytes_out = out;
}
