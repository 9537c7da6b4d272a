/* Messages of the control socket: whatever is taken can be sent again. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct bytes body = { data, size };
	Zonerelay__Control__Request *request = NULL;
	Zonerelay__Control__Response *response = NULL;
	Zonerelay__Control__Event *event = NULL;
	struct buffer encoded = BUFFER_EMPTY;
	struct err err;
	bool ok = !control_request_decode(body, &request, &err) ||
	          control_request_encode(request, &encoded, &err);
	assert(ok);
	ok = !control_response_decode(body, &response, &err) ||
	     control_response_encode(response, &encoded, &err);
	assert(ok);
	ok = !control_event_decode(body, &event, &err) ||
	     control_event_encode(event, &encoded, &err);
	assert(ok);
	control_request_free(request);
	control_response_free(response);
	control_event_free(event);
	buffer_fini(&encoded);
	return 0;
}
