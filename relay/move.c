/* move.c -- see move.h. */
#include "relay/move.h"

#include <string.h>

#include "relay/base/crypto.h"

static const char magic[4] = { 'Z', 'R', 'm', '1' };

void move_encode(const struct move *move, struct buffer *out)
{
	size_t begin = out->size;
	buffer_put(out, BYTES_OF(magic));
	buffer_put_short(out, bytes_of_string(move->id.name));
	buffer_put_hash(out, &move->id.epoch);
	buffer_put_short(out, bytes_of_string(move->format->name));
	buffer_put_u64(out, move->next_height);
	buffer_put_hash(out, &move->tip);
	buffer_put_long(out, move->trust);
	if (out->failed)
		return;
	struct hash digest = sha256((struct bytes){ out->data + begin, out->size - begin });
	buffer_put_hash(out, &digest);
}

/* The last hash of file is that of all before it. */
static bool is_whole(struct bytes file)
{
	if (file.size < HASH_SIZE)
		return false;
	size_t size = file.size - HASH_SIZE;
	struct hash digest = sha256((struct bytes){ file.data, size });
	return memcmp(digest.bytes, file.data + size, HASH_SIZE) == 0;
}

static bool trust_loads(const struct move *move, struct err *err)
{
	struct trust *trust;
	if (!move->format->trust_load(move->trust, &trust, err))
		return err_wrap(err, "the trust set of the file");
	move->format->trust_free(trust);
	return true;
}

bool move_decode(struct bytes file, struct move *out_move, struct err *err)
{
	struct reader reader = reader_of(file);
	struct move move = { .format = NULL };
	struct bytes head = reader_bytes(&reader, sizeof(magic));
	bool named = reader_name(&reader, move.id.name);
	move.id.epoch = reader_hash(&reader);
	struct bytes format = reader_short(&reader);
	move.next_height = reader_u64(&reader);
	move.tip = reader_hash(&reader);
	move.trust = reader_long(&reader);
	(void)reader_hash(&reader);
	if (!reader_done(&reader) || !bytes_equal(head, BYTES_OF(magic)) || !is_whole(file))
		return err_set(err, ZR_INVALID, "not what \"chains move\" gives, or damaged");
	if (!named)
		return err_set(err, ZR_INVALID, "the file names no chain");
	move.format = sidechain_find_bytes(format);
	if (move.format == NULL)
		return err_set(err, ZR_INVALID, "the file's format is not known to this program");
	if (move.next_height > HEIGHT_MAX || (move.next_height == 0) != hash_is_zero(&move.tip))
		return err_set(err, ZR_INVALID, "the file's height and tip contradict each other");
	if (!trust_loads(&move, err))
		return false;
	*out_move = move;
	return true;
}
