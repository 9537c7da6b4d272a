/* Salvage: data.mdb as plain bytes, without LMDB. A row of table batches begins with a magic and says
 * its own size, key and chain; the checksum that ends it covers all of these. So every batch whose
 * pages are whole is found, whatever has become of the tree. Pages that were freed hold batches too:
 * pruned ones, which are as good.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spool/contain.h"
#include "spool/store_private.h"
#include "spool/stream.h"

#define WINDOW_BYTES (4u << 20)
#define BEGIN_BYTES  12 /* What spool_batch_row_size() looks at. */
#define PAGE_BYTES   4096

/* Arrival numbers seen: open addressing, grown at three quarters. 0 is no arrival number. */
struct number_set {
	uint64_t *places;
	size_t size; /* A power of two. */
	size_t count;
};

struct salvage {
	int fd; /* Of data.mdb. */
	uint64_t file_bytes;
	uint8_t *window;
	struct buffer row;
	struct stream_out out;
	struct contain_out *tell;
	struct number_set arrivals, chains;
	struct spool_salvage_result result;
};

/* ---- a set of numbers ---- */

static size_t place_of(const struct number_set *set, uint64_t number)
{
	size_t place = (size_t)(number * 0x9e3779b97f4a7c15u >> 20) & (set->size - 1);
	while (set->places[place] != 0 && set->places[place] != number)
		place = (place + 1) & (set->size - 1);
	return place;
}

static bool set_grow(struct number_set *set)
{
	struct number_set larger = { .size = set->size == 0 ? 1024 : set->size * 2 };
	larger.places = calloc(larger.size, sizeof(larger.places[0]));
	if (larger.places == NULL)
		return false;
	for (size_t i = 0; i < set->size; i++) {
		if (set->places[i] != 0)
			larger.places[place_of(&larger, set->places[i])] = set->places[i];
	}
	larger.count = set->count;
	free(set->places);
	*set = larger;
	return true;
}

/* *out_new: it was not in the set. False: no memory. */
static bool set_add(struct number_set *set, uint64_t number, bool *out_new)
{
	if (set->count * 4 >= set->size * 3 && !set_grow(set))
		return false;
	size_t place = place_of(set, number);
	*out_new = set->places[place] == 0;
	set->count += *out_new;
	set->places[place] = number;
	return true;
}

/* ---- one batch ---- */

static bool read_at(struct salvage *salvage, uint8_t *data, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t part = pread(salvage->fd, data, size, (off_t)offset);
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return false; /* A sector that cannot be read, or the end. */
		data += part;
		offset += (uint64_t)part;
		size -= (size_t)part;
	}
	return true;
}

static bool put_batch(struct salvage *salvage, const struct spool_batch_row *row,
                      struct bytes value, struct err *err)
{
	struct spool_key key = spool_key_number(row->info.arrival);
	struct spool_key height = spool_key_height(&row->info.chain, row->info.first_height);
	struct buffer heights = BUFFER_EMPTY;
	spool_heights_of_row(row, &heights);
	bool ok = buffer_ok(&heights, err) &&
	          stream_row_put(&salvage->out, SPOOL_BATCHES, spool_key_bytes(&key), value, err) &&
	          stream_row_put(&salvage->out, SPOOL_HEIGHTS, spool_key_bytes(&height),
	                         buffer_bytes(&heights), err);
	buffer_fini(&heights);
	return ok;
}

static bool count_batch(struct salvage *salvage, const struct spool_batch_row *row, bool *out_new,
                        struct err *err)
{
	bool new_chain = false;
	if (!set_add(&salvage->arrivals, row->info.arrival, out_new) ||
	    !set_add(&salvage->chains, get_be64(row->info.chain.bytes) | 1, &new_chain))
		return err_set(err, ZR_NO_MEMORY, "too many batches");
	salvage->result.batch_count += *out_new;
	salvage->result.chain_count += new_chain;
	return true;
}

/* What begins like a batch at offset: is it one? */
static bool look_at(struct salvage *salvage, uint64_t offset, size_t size, struct err *err)
{
	struct spool_batch_row row;
	buffer_clear(&salvage->row);
	uint8_t *data = buffer_reserve(&salvage->row, size + STORE_CRC_SIZE);
	if (data == NULL)
		return err_set(err, ZR_NO_MEMORY, "a row of %zu bytes", size);
	struct bytes value = { data, size };
	bool is_new = false;
	if (!read_at(salvage, data, size + STORE_CRC_SIZE, offset) ||
	    !spool_batch_row_decode(value, &row) || row.info.arrival == 0) {
		salvage->result.damaged_count++;
		return true;
	}
	struct spool_key key = spool_key_number(row.info.arrival);
	if (get_be32(data + size) != store_crc(SPOOL_BATCHES, spool_key_bytes(&key), &value, 1)) {
		salvage->result.damaged_count++;
		return true;
	}
	if (!count_batch(salvage, &row, &is_new, err))
		return false;
	return !is_new || put_batch(salvage, &row, value, err);
}

/* ---- the file ---- */

static bool scan_window(struct salvage *salvage, uint64_t offset, size_t size, struct err *err)
{
	const uint8_t *at = salvage->window, *end = at + size;
	while ((at = memmem(at, (size_t)(end - at), SPOOL_BATCH_MAGIC,
	                    sizeof(SPOOL_BATCH_MAGIC) - 1)) != NULL) {
		struct bytes begin = { at, (size_t)(end - at) };
		uint64_t here = offset + (uint64_t)(at - salvage->window);
		size_t row_size = spool_batch_row_size(begin);
		if (row_size > 0 && here + row_size + STORE_CRC_SIZE <= salvage->file_bytes &&
		    !look_at(salvage, here, row_size, err))
			return false;
		at++;
	}
	return true;
}

static bool scan_file(struct salvage *salvage, struct err *err)
{
	/* Windows overlap, so that no beginning is cut in two. */
	for (uint64_t offset = 0; offset < salvage->file_bytes;
	     offset += WINDOW_BYTES - BEGIN_BYTES) {
		uint64_t left = salvage->file_bytes - offset;
		size_t size = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
		if (!read_at(salvage, salvage->window, size, offset)) {
			/* Page by page; what cannot be read is passed over. */
			memset(salvage->window, 0, size);
			for (size_t at = 0; at < size; at += PAGE_BYTES) {
				size_t part = size - at < PAGE_BYTES ? size - at : PAGE_BYTES;
				if (!read_at(salvage, salvage->window + at, part, offset + at))
					memset(salvage->window + at, 0, part);
			}
		}
		if (!scan_window(salvage, offset, size, err))
			return false;
		contain_progress(salvage->tell, offset + size, salvage->file_bytes);
	}
	salvage->result.page_count = salvage->file_bytes / PAGE_BYTES;
	return true;
}

/* ---- in the child ---- */

struct salvage_work {
	const char *dir;
	int fd;
};

static bool open_data(struct salvage *salvage, const char *dir, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct stat file;
	if (!store_path(path, dir, STORE_DATA_NAME, err))
		return false;
	salvage->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (salvage->fd < 0)
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(errno));
	if (fstat(salvage->fd, &file) != 0)
		return err_set(err, ZR_IO, "%s: %s", path, strerror(errno));
	salvage->file_bytes = (uint64_t)file.st_size;
	return true;
}

/* The identity row is in a page like any other; where it is lost, the store gets a new UUID. */
static void find_uuid(struct salvage *salvage, uint8_t out_uuid[STORE_UUID_SIZE])
{
	static const char magic[] = "ZRs1";
	random_bytes(out_uuid, STORE_UUID_SIZE);
	size_t size =
		salvage->file_bytes < WINDOW_BYTES ? (size_t)salvage->file_bytes : WINDOW_BYTES;
	if (!read_at(salvage, salvage->window, size, 0))
		return;
	const uint8_t *at = salvage->window, *end = at + size;
	while ((at = memmem(at, (size_t)(end - at), magic, 4)) != NULL) {
		/* Magic, name, version, UUID, created, size, allocated; then the checksum. */
		size_t row = 4 + 1 + strlen(spool_format.name) + 4 + STORE_UUID_SIZE + 8 + 8 + 1;
		struct bytes value = { at, row };
		struct store_identity identity;
		struct err ignored;
		if ((size_t)(end - at) >= row + STORE_CRC_SIZE &&
		    get_be32(at + row) == store_crc(STORE_IDENTITY_ID,
		                                    BYTES_LITERAL(STORE_IDENTITY_KEY), &value, 1) &&
		    store_identity_decode(value, &identity, &ignored)) {
			memcpy(out_uuid, identity.uuid, STORE_UUID_SIZE);
			return;
		}
		at++;
	}
}

static bool salvage_all(struct salvage *salvage, const char *dir, struct err *err)
{
	struct stream_head head = { .kind = STREAM_SALVAGE };
	if (!open_data(salvage, dir, err))
		return false;
	salvage->window = malloc(WINDOW_BYTES);
	if (salvage->window == NULL)
		return err_set(err, ZR_NO_MEMORY, "a window");
	find_uuid(salvage, head.uuid);
	return stream_head_put(&salvage->out, &head, err) && scan_file(salvage, err) &&
	       stream_end_put(&salvage->out, err);
}

static bool salvage_in_child(struct contain_out *out, uint64_t numbers[CONTAIN_NUMBERS_MAX],
                             void *arg, struct err *err)
{
	const struct salvage_work *work = arg;
	struct salvage salvage = { .fd = -1,
		                   .row = BUFFER_EMPTY,
		                   .out = { .fd = work->fd, .buffer = BUFFER_EMPTY },
		                   .tell = out };
	bool ok = salvage_all(&salvage, work->dir, err);
	if (salvage.fd >= 0)
		close(salvage.fd);
	stream_out_fini(&salvage.out);
	buffer_fini(&salvage.row);
	free(salvage.window);
	free(salvage.arrivals.places);
	free(salvage.chains.places);
	numbers[0] = salvage.result.page_count;
	numbers[1] = salvage.result.batch_count;
	numbers[2] = salvage.result.damaged_count;
	numbers[3] = salvage.result.chain_count;
	return ok;
}

bool spool_salvage(const char *dir, int fd, const struct spool_progress *progress,
                   struct spool_salvage_result *out_result, struct err *err)
{
	struct contain_parent parent = { .progress = progress };
	struct salvage_work work = { dir, fd };
	uint64_t numbers[CONTAIN_NUMBERS_MAX];
	char crash[64];
	if (!contain_run(salvage_in_child, &work, &parent, numbers, crash, err))
		return err_wrap(err, "salvage");
	if (crash[0] != '\0')
		return err_set(err, ZR_CORRUPT, "salvage: the reading process was %s", crash);
	*out_result = (struct spool_salvage_result){ .page_count = numbers[0],
		                                     .batch_count = numbers[1],
		                                     .damaged_count = numbers[2],
		                                     .chain_count = numbers[3] };
	return true;
}
