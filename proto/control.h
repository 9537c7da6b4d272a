/* control.h -- requests, responses and events of the control socket, within their limits.
 *
 * The names begin with control_; who speaks them is relay/control.h.
 */
#ifndef ZR_PROTO_CONTROL_H
#define ZR_PROTO_CONTROL_H

#include "proto/control.pb-c.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define CONTROL_VERSION         1
#define CONTROL_REQUEST_ID_SIZE 16
#define CONTROL_WORDS_MAX       256u
#define CONTROL_WORD_SIZE_MAX   4096u
#define CONTROL_TEXT_MAX        1024u
#define CONTROL_JSON_SIZE_MAX   (64u << 20)
#define CONTROL_ATTACHMENT_MAX  (64u << 20)
/* What one message may take on the socket, whichever it is. */
#define CONTROL_MESSAGE_SIZE_MAX (CONTROL_JSON_SIZE_MAX + CONTROL_ATTACHMENT_MAX + (2u << 20))

/* Each _decode() gives a message that ends with its _free() (NULL is allowed); each _encode()
 * appends.
 * Errors: ZR_INVALID  a field outside its limits. */
bool control_request_decode(struct bytes body, Zonerelay__Control__Request **out_request,
                            struct err *err) MUST_CHECK;
void control_request_free(Zonerelay__Control__Request *request);
bool control_request_encode(const Zonerelay__Control__Request *request, struct buffer *out,
                            struct err *err) MUST_CHECK;

bool control_response_decode(struct bytes body, Zonerelay__Control__Response **out_response,
                             struct err *err) MUST_CHECK;
void control_response_free(Zonerelay__Control__Response *response);
bool control_response_encode(const Zonerelay__Control__Response *response, struct buffer *out,
                             struct err *err) MUST_CHECK;

bool control_event_decode(struct bytes body, Zonerelay__Control__Event **out_event,
                          struct err *err) MUST_CHECK;
void control_event_free(Zonerelay__Control__Event *event);
bool control_event_encode(const Zonerelay__Control__Event *event, struct buffer *out,
                          struct err *err) MUST_CHECK;

/* The limits of every field, for message.h; a unit test looks whether a field lacks one. */
struct rule_table;
const struct rule_table *control_rules(void);

#endif
