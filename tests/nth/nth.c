/* nth.c -- makes call n of a function fail, in any program that is linked dynamically.
 *
 *     LD_PRELOAD=libnth.so ZR_NTH=board ZR_NTH_TRACE=file zonerelayd ...
 *
 * The board is a small file that is mapped by the program and by whoever drives it (tests/system/nth.py):
 * it counts every call, by function and class, and holds the one rule: which function, of which class,
 * from which call to which, with what error. The rule may be written before the program starts or while it
 * runs; "seen" counts the calls it matched, so that the driver knows when n was beyond the last.
 *
 * Classes: who called (the program itself, or a library), and what it was called for (a file of a
 * store, another file, a socket). Each call counts under any, under its caller and under its object.
 *
 * Of the C library and x86-64 only: the ways past our own names are theirs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT (-1) /* Instead of an error: half of it is done, and said so. */

/* What a call is for: where its class comes from, and what it gives when it fails. */
#define NOTHING       CLASS_ANY
#define OF_FD         class_of_fd(fd)
#define OF_PATH       class_of_path(path)
#define GIVE_MINUS    (errno = error, -1)
#define GIVE_NULL     (errno = error, NULL)
#define GIVE_CODE     error
#define GIVE_ZERO     0
#define GIVE_TLS_FAIL (tls_failed(), 0)
#define GIVE_TLS_LOST (tls_failed(), -1)

/* X(type, name, parameters, arguments, class, what it gives) of functions that fail whole. */
#define PLAIN_TABLE(X)                                                                             \
	X(int, fsync, (int fd), (fd), OF_FD, GIVE_MINUS)                                           \
	X(int, fdatasync, (int fd), (fd), OF_FD, GIVE_MINUS)                                       \
	X(int, ftruncate, (int fd, int64_t size), (fd, size), OF_FD, GIVE_MINUS)                   \
	X(int, ftruncate64, (int fd, int64_t size), (fd, size), OF_FD, GIVE_MINUS)                 \
	X(int, fallocate64, (int fd, int mode, int64_t at, int64_t size), (fd, mode, at, size),    \
	  OF_FD, GIVE_MINUS)                                                                       \
	X(int, flock, (int fd, int operation), (fd, operation), OF_FD, GIVE_MINUS)                 \
	X(int, fstat64, (int fd, void *out), (fd, out), OF_FD, GIVE_MINUS)                         \
	X(int, fstatvfs64, (int fd, void *out), (fd, out), OF_FD, GIVE_MINUS)                      \
	X(int, stat64, (const char *path, void *out), (path, out), OF_PATH, GIVE_MINUS)            \
	X(int, rename, (const char *path, const char *to), (path, to), OF_PATH, GIVE_MINUS)        \
	X(int, unlink, (const char *path), (path), OF_PATH, GIVE_MINUS)                            \
	X(int, mkdir, (const char *path, mode_t mode), (path, mode), OF_PATH, GIVE_MINUS)          \
	X(void *, opendir, (const char *path), (path), OF_PATH, GIVE_NULL)                         \
	X(void *, fopen64, (const char *path, const char *mode), (path, mode), OF_PATH, GIVE_NULL) \
	X(int, socket, (int domain, int type, int protocol), (domain, type, protocol), NOTHING,    \
	  GIVE_MINUS)                                                                              \
	X(int, bind, (int fd, const void *address, uint32_t size), (fd, address, size), OF_FD,     \
	  GIVE_MINUS)                                                                              \
	X(int, listen, (int fd, int backlog), (fd, backlog), OF_FD, GIVE_MINUS)                    \
	X(int, connect, (int fd, const void *address, uint32_t size), (fd, address, size), OF_FD,  \
	  GIVE_MINUS)                                                                              \
	X(int, accept, (int fd, void *address, void *size), (fd, address, size), OF_FD,            \
	  GIVE_MINUS)                                                                              \
	X(int, accept4, (int fd, void *address, void *size, int flags),                            \
	  (fd, address, size, flags), OF_FD, GIVE_MINUS)                                           \
	X(int, setsockopt, (int fd, int level, int name, const void *value, uint32_t size),        \
	  (fd, level, name, value, size), OF_FD, GIVE_MINUS)                                       \
	X(int, eventfd, (unsigned value, int flags), (value, flags), NOTHING, GIVE_MINUS)          \
	X(int, pipe, (int *fds), (fds), NOTHING, GIVE_MINUS)                                       \
	X(int, epoll_create1, (int flags), (flags), NOTHING, GIVE_MINUS)                           \
	X(int, epoll_ctl, (int epoll, int operation, int fd, void *event),                         \
	  (epoll, operation, fd, event), (operation == EPOLL_CTL_DEL ? CLASS_ANY : OF_FD),         \
	  GIVE_MINUS)                                                                              \
	X(int, epoll_wait, (int epoll, void *events, int count, int timeout),                      \
	  (epoll, events, count, timeout), NOTHING, GIVE_MINUS)                                    \
	X(int, pthread_create,                                                                     \
	  (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg), \
	  (thread, attributes, run, arg), NOTHING, GIVE_CODE)                                      \
	X(int, fork, (void), (), NOTHING, GIVE_MINUS)                                              \
	X(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, int64_t from),  \
	  (at, size, protection, flags, fd, from), class_of_fd(fd), (errno = error, MAP_FAILED))   \
	X(int, SSL_do_handshake, (void *ssl), (ssl), NOTHING, GIVE_TLS_LOST)                       \
	X(int, SSL_read_ex, (void *ssl, void *to, size_t size, size_t *out_count),                 \
	  (ssl, to, size, out_count), NOTHING, GIVE_TLS_FAIL)                                      \
	X(int, SSL_write_ex, (void *ssl, const void *from, size_t size, size_t *out_count),        \
	  (ssl, from, size, out_count), NOTHING, GIVE_TLS_FAIL)                                    \
	X(int, SSL_shutdown, (void *ssl), (ssl), NOTHING, GIVE_TLS_LOST)                           \
	X(int, SSL_set_fd, (void *ssl, int fd), (ssl, fd), NOTHING, GIVE_TLS_FAIL)                 \
	X(void *, SSL_new, (void *context), (context), NOTHING, GIVE_NULL)                         \
	X(void *, SSL_CTX_new, (const void *method), (method), NOTHING, GIVE_NULL)                 \
	X(int, RAND_bytes, (void *to, int size), (to, size), NOTHING, GIVE_TLS_FAIL)               \
	X(void *, EVP_MD_CTX_new, (void), (), NOTHING, GIVE_NULL)                                  \
	X(int, EVP_DigestInit_ex2, (void *context, const void *kind, const void *parameters),      \
	  (context, kind, parameters), NOTHING, GIVE_TLS_FAIL)                                     \
	X(int, EVP_DigestUpdate, (void *context, const void *data, size_t size),                   \
	  (context, data, size), NOTHING, GIVE_TLS_FAIL)                                           \
	X(int, EVP_DigestFinal_ex, (void *context, void *out, unsigned *out_size),                 \
	  (context, out, out_size), NOTHING, GIVE_TLS_FAIL)                                        \
	X(int, EVP_DigestSign,                                                                     \
	  (void *context, void *out, size_t *out_size, const void *data, size_t size),             \
	  (context, out, out_size, data, size), NOTHING, GIVE_TLS_FAIL)                            \
	X(int, EVP_DigestVerifyInit_ex,                                                            \
	  (void *context, void **out, const char *kind, void *library, const char *properties,     \
	   void *key, const void *parameters),                                                     \
	  (context, out, kind, library, properties, key, parameters), NOTHING, GIVE_TLS_FAIL)      \
	X(int, EVP_DigestVerify,                                                                   \
	  (void *context, const void *signature, size_t signature_size, const void *data,          \
	   size_t size),                                                                           \
	  (context, signature, signature_size, data, size), NOTHING, GIVE_TLS_LOST)                \
	X(int, EVP_PKEY_verify,                                                                    \
	  (void *context, const void *signature, size_t signature_size, const void *data,          \
	   size_t size),                                                                           \
	  (context, signature, signature_size, data, size), NOTHING, GIVE_TLS_LOST)                \
	X(int, X509_verify_cert, (void *context), (context), NOTHING, GIVE_TLS_LOST)               \
	X(void *, ZSTD_createCCtx, (void), (), NOTHING, GIVE_NULL)                                 \
	X(void *, ZSTD_createDCtx, (void), (), NOTHING, GIVE_NULL)                                 \
	X(int, mdb_txn_begin, (void *env, void *parent, unsigned flags, void **out),               \
	  (env, parent, flags, out), NOTHING, GIVE_CODE)                                           \
	X(int, mdb_get, (void *txn, unsigned dbi, void *key, void *data), (txn, dbi, key, data),   \
	  NOTHING, GIVE_CODE)                                                                      \
	X(int, mdb_put, (void *txn, unsigned dbi, void *key, void *data, unsigned flags),          \
	  (txn, dbi, key, data, flags), NOTHING, GIVE_CODE)                                        \
	X(int, mdb_del, (void *txn, unsigned dbi, void *key, void *data), (txn, dbi, key, data),   \
	  NOTHING, GIVE_CODE)                                                                      \
	X(int, mdb_cursor_open, (void *txn, unsigned dbi, void **out), (txn, dbi, out), NOTHING,   \
	  GIVE_CODE)                                                                               \
	X(int, mdb_cursor_get, (void *cursor, void *key, void *data, int operation),               \
	  (cursor, key, data, operation), NOTHING, GIVE_CODE)                                      \
	X(int, mdb_dbi_open, (void *txn, const char *name, unsigned flags, unsigned *out),         \
	  (txn, name, flags, out), NOTHING, GIVE_CODE)                                             \
	X(int, mdb_stat, (void *txn, unsigned dbi, void *out), (txn, dbi, out), NOTHING,           \
	  GIVE_CODE)                                                                               \
	X(int, mdb_env_create, (void **out), (out), NOTHING, GIVE_CODE)                            \
	X(int, mdb_env_open, (void *env, const char *path, unsigned flags, mode_t mode),           \
	  (env, path, flags, mode), NOTHING, GIVE_CODE)                                            \
	X(int, mdb_env_sync, (void *env, int force), (env, force), NOTHING, GIVE_CODE)             \
	X(int, mdb_env_set_mapsize, (void *env, size_t size), (env, size), NOTHING, GIVE_CODE)     \
	X(int, mdb_reader_check, (void *env, int *out), (env, out), NOTHING, GIVE_CODE)            \
	X(void *, curl_easy_init, (void), (), NOTHING, GIVE_NULL)                                  \
	X(void *, curl_multi_init, (void), (), NOTHING, GIVE_NULL)                                 \
	X(int, curl_global_init, (long flags), (flags), NOTHING, GIVE_CODE)                        \
	X(int, curl_multi_add_handle, (void *multi, void *easy), (multi, easy), NOTHING,           \
	  GIVE_CODE)                                                                               \
	X(int, curl_multi_socket_action, (void *multi, int fd, int what, int *out_running),        \
	  (multi, fd, what, out_running), NOTHING, GIVE_CODE)                                      \
	X(int, curl_multi_assign, (void *multi, int fd, void *arg), (multi, fd, arg), NOTHING,     \
	  GIVE_CODE)                                                                               \
	X(void *, curl_slist_append, (void *list, const char *text), (list, text), NOTHING,        \
	  GIVE_NULL)                                                                               \
	X(void *, event_base_new, (void), (), NOTHING, GIVE_NULL)                                  \
	X(void *, event_new,                                                                       \
	  (void *base, int fd, short what, void (*run)(int, short, void *), void *arg),            \
	  (base, fd, what, run, arg), NOTHING, GIVE_NULL)                                          \
	X(int, event_add, (void *event, const void *timeout), (event, timeout), NOTHING,           \
	  GIVE_MINUS)                                                                              \
	X(void *, evbuffer_new, (void), (), NOTHING, GIVE_NULL)                                    \
	X(int, evbuffer_add, (void *buffer, const void *data, size_t size), (buffer, data, size),  \
	  NOTHING, GIVE_MINUS)                                                                     \
	X(void *, bufferevent_socket_new, (void *base, int fd, int options), (base, fd, options),  \
	  NOTHING, GIVE_NULL)                                                                      \
	X(int, bufferevent_write, (void *event, const void *data, size_t size),                    \
	  (event, data, size), NOTHING, GIVE_MINUS)                                                \
	X(void *, evhttp_new, (void *base), (base), NOTHING, GIVE_NULL)                            \
	X(int, nng_rep0_open, (void *out), (out), NOTHING, GIVE_CODE)                              \
	X(int, nng_pub0_open, (void *out), (out), NOTHING, GIVE_CODE)                              \
	X(int, nng_aio_alloc, (void **out, void (*run)(void *), void *arg), (out, run, arg),       \
	  NOTHING, GIVE_CODE)                                                                      \
	X(int, nng_msg_alloc, (void **out, size_t size), (out, size), NOTHING, GIVE_CODE)          \
	X(int, nng_msg_append, (void *message, const void *data, size_t size),                     \
	  (message, data, size), NOTHING, GIVE_CODE)                                               \
	X(void *, json_object, (void), (), NOTHING, GIVE_NULL)                                     \
	X(void *, json_array, (void), (), NOTHING, GIVE_NULL)                                      \
	X(char *, json_dumps, (const void *json, size_t flags), (json, flags), NOTHING, GIVE_NULL) \
	X(void *, json_loadb, (const char *data, size_t size, size_t flags, void *error_at),       \
	  (data, size, flags, error_at), NOTHING, GIVE_NULL)

/* X(name, parameters, arguments, arguments for half of it) of functions that give a count. */
#define COUNT_TABLE(X)                                                                         \
	X(read, (int fd, void *to, size_t size), (fd, to, size), (fd, to, half(size)))         \
	X(pread, (int fd, void *to, size_t size, int64_t at), (fd, to, size, at),              \
	  (fd, to, half(size), at))                                                            \
	X(pread64, (int fd, void *to, size_t size, int64_t at), (fd, to, size, at),            \
	  (fd, to, half(size), at))                                                            \
	X(write, (int fd, const void *from, size_t size), (fd, from, size),                    \
	  (fd, from, half(size)))                                                              \
	X(pwrite, (int fd, const void *from, size_t size, int64_t at), (fd, from, size, at),   \
	  (fd, from, half(size), at))                                                          \
	X(pwrite64, (int fd, const void *from, size_t size, int64_t at), (fd, from, size, at), \
	  (fd, from, half(size), at))                                                          \
	X(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count),          \
	  (fd, halves(parts, &count), count))                                                  \
	X(pwritev, (int fd, const struct iovec *parts, int count, int64_t at),                 \
	  (fd, parts, count, at), (fd, halves(parts, &count), count, at))                      \
	X(readv, (int fd, const struct iovec *parts, int count), (fd, parts, count),           \
	  (fd, halves(parts, &count), count))                                                  \
	X(recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags),             \
	  (fd, to, half(size), flags))                                                         \
	X(send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags),   \
	  (fd, from, half(size), flags))                                                       \
	X(sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),    \
	  (fd, message, flags))                                                                \
	X(recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags),          \
	  (fd, message, flags))

/* Those that need a hand of their own, below. */
#define OTHER_NAMES(X)    \
	X(malloc)         \
	X(calloc)         \
	X(realloc)        \
	X(posix_memalign) \
	X(strdup)         \
	X(strndup)        \
	X(open)           \
	X(open64)         \
	X(fcntl)          \
	X(getrandom)      \
	X(getaddrinfo)    \
	X(mdb_txn_commit)

enum function {
#define PLAIN_ENUM(type, name, parameters, arguments, class, failed) FUNCTION_##name,
#define COUNT_ENUM(name, parameters, arguments, less)                FUNCTION_##name,
#define OTHER_ENUM(name)                                             FUNCTION_##name,
	PLAIN_TABLE(PLAIN_ENUM) COUNT_TABLE(COUNT_ENUM) OTHER_NAMES(OTHER_ENUM) FUNCTION_COUNT
};

static const char *const function_names[] = {
#define PLAIN_NAME(type, name, parameters, arguments, class, failed) #name,
#define COUNT_NAME(name, parameters, arguments, less)                #name,
#define OTHER_NAME(name)                                             #name,
	PLAIN_TABLE(PLAIN_NAME) COUNT_TABLE(COUNT_NAME) OTHER_NAMES(OTHER_NAME)
};

enum class {
	CLASS_ANY,
	CLASS_STORE, /* A file of a store: data.mdb, lock.mdb, owner.lock. */
	CLASS_SOCKET,
	CLASS_FILE, /* Any other file or folder. */
	CLASS_OWN,  /* Called by the program itself. */
	CLASS_LIBRARY,
};

static const char *const class_names[] = {
	"any",   "store", "socket", "file",    "own",  "other", "lmdb",     "ssl", "crypto",
	"event", "nng",   "curl",   "jansson", "yaml", "zstd",  "protobuf", "c",   "systemd",
};

#define CLASS_COUNT (sizeof(class_names) / sizeof(class_names[0]))
#define NAME_SIZE   24
#define BOARD_MAGIC 0x7a726e74u

/* As tests/system/nth.py reads and writes it. */
struct rule {
	_Atomic int32_t armed;
	int32_t function; /* Index; -1: none. */
	int32_t class;
	int32_t error; /* errno, or what the function gives; SHORT. */
	uint64_t first, last;
	_Atomic uint64_t seen, failed;
};

struct board {
	uint32_t magic;
	uint32_t function_count, class_count, name_size;
	struct rule rule;
	char class_names[CLASS_COUNT][NAME_SIZE];
	struct {
		char name[NAME_SIZE];
		_Atomic uint64_t counts[CLASS_COUNT];
	} functions[FUNCTION_COUNT];
};

#define MODULES_MAX 128

static struct board *board; /* NULL: nothing counts yet, or nobody asked. */
static void *real[FUNCTION_COUNT];
static int trace_fd = -1;
static struct module {
	uintptr_t from, to;
	unsigned class;
} modules[MODULES_MAX];
static size_t module_count;
/* What we ourselves call inside is neither counted nor failed. */
static __thread bool inside __attribute__((tls_model("initial-exec")));

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

/* ---- what a call belongs to ---- */

static unsigned class_of_path(const char *path)
{
	size_t size = strlen(path);
	bool store = (size > 4 && strcmp(path + size - 4, ".mdb") == 0) ||
	             (size > 10 && strcmp(path + size - 10, "owner.lock") == 0);
	return store ? CLASS_STORE : CLASS_FILE;
}

static unsigned class_of_fd(int fd)
{
	char link[32], path[512];
	struct stat what;
	if (fd < 0 || fstat(fd, &what) != 0)
		return CLASS_ANY;
	if (S_ISSOCK(what.st_mode))
		return CLASS_SOCKET;
	if (!S_ISREG(what.st_mode))
		return S_ISDIR(what.st_mode) ? CLASS_FILE : CLASS_ANY;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof(path) - 1);
	if (size < 0)
		return CLASS_FILE;
	path[size] = '\0';
	return class_of_path(path);
}

static unsigned class_of_caller(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	for (size_t i = 0; i < module_count; i++) {
		if (at >= modules[i].from && at < modules[i].to)
			return modules[i].class;
	}
	return CLASS_LIBRARY;
}

static int note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	unsigned class = info->dlpi_name[0] == '\0' ? CLASS_OWN : CLASS_LIBRARY;
	const char *base = strrchr(info->dlpi_name, '/');
	base = base == NULL ? info->dlpi_name : base + 1;
	for (unsigned i = CLASS_LIBRARY + 1; i < CLASS_COUNT; i++) {
		size_t length = strlen(class_names[i]);
		if (strncmp(base, "lib", 3) == 0 &&
		    strncmp(base + 3, class_names[i], length) == 0 &&
		    strchr(".-_", base[3 + length]) != NULL)
			class = i;
	}
	for (int i = 0; i < info->dlpi_phnum && module_count < MODULES_MAX; i++) {
		if (info->dlpi_phdr[i].p_type != PT_LOAD || !(info->dlpi_phdr[i].p_flags & PF_X))
			continue;
		uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		modules[module_count++] =
			(struct module){ from, from + info->dlpi_phdr[i].p_memsz, class };
	}
	return 0;
}

/* ---- the rule ---- */

static void trace(enum function function, uint64_t n)
{
	void *frames[40];
	char line[128];
	if (trace_fd < 0)
		return;
	int size = snprintf(line, sizeof(line), "-- %s %llu error %d\n", function_names[function],
	                    (unsigned long long)n, board->rule.error);
	(void)!syscall(SYS_write, trace_fd, line, size);
	backtrace_symbols_fd(frames, backtrace(frames, 40), trace_fd);
}

/* Counts the call. True, with the error, where it is the one that fails. */
static bool fails(enum function function, unsigned object, const void *caller, int *out_error)
{
	unsigned from = class_of_caller(caller);
	_Atomic uint64_t *counts = board->functions[function].counts;
	atomic_fetch_add(&counts[CLASS_ANY], 1);
	atomic_fetch_add(&counts[from], 1);
	if (object != CLASS_ANY)
		atomic_fetch_add(&counts[object], 1);
	struct rule *rule = &board->rule;
	if (!atomic_load(&rule->armed) || rule->function != (int32_t)function)
		return false;
	unsigned wanted = (unsigned)rule->class;
	if (wanted != CLASS_ANY && wanted != from && wanted != object)
		return false;
	uint64_t n = atomic_fetch_add(&rule->seen, 1) + 1;
	if (n < rule->first || n > rule->last)
		return false;
	atomic_fetch_add(&rule->failed, 1);
	*out_error = rule->error;
	trace(function, n);
	return true;
}

static void *find(enum function function)
{
	if (real[function] == NULL) {
		bool before = inside;
		inside = true;
		real[function] = dlsym(RTLD_NEXT, function_names[function]);
		inside = before;
		if (real[function] == NULL)
			abort();
	}
	return real[function];
}

/* Asking leaves errno as it was, and what it calls itself goes straight through. */
static __thread int errno_before __attribute__((tls_model("initial-exec")));

static bool asking(void)
{
	if (board == NULL || inside)
		return false;
	errno_before = errno;
	inside = true;
	return true;
}

static bool asked(bool failed)
{
	inside = false;
	errno = errno_before;
	return failed;
}

#define FAILS(name, class) \
	(asking() && asked(fails(FUNCTION_##name, class, __builtin_return_address(0), &error)))

/* ---- half of a call ---- */

static size_t half(size_t size)
{
	return size > 1 ? size / 2 : size;
}

/* The first half of the parts; of a single one the first half of its bytes. */
static const struct iovec *halves(const struct iovec *parts, int *count)
{
	static __thread struct iovec part;
	if (*count > 1) {
		*count /= 2;
		return parts;
	}
	if (*count == 1) {
		part = (struct iovec){ parts[0].iov_base, half(parts[0].iov_len) };
		return &part;
	}
	return parts;
}

/* What SSL_get_error() and those who print the reason find. */
static void tls_failed(void)
{
	void (*begin)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "ERR_new");
	void (*set)(int, int, const char *, ...) =
		(void (*)(int, int, const char *, ...))dlsym(RTLD_DEFAULT, "ERR_set_error");
	if (begin == NULL || set == NULL)
		abort();
	begin();
	set(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE, NULL);
}

/* ---- the functions ---- */

#define DECLARE(type, name, parameters) type our_##name parameters __asm__(#name);

#define PLAIN_DECLARE(type, name, parameters, arguments, class, failed) \
	DECLARE(type, name, parameters)
#define COUNT_DECLARE(name, parameters, arguments, less) DECLARE(ssize_t, name, parameters)
PLAIN_TABLE(PLAIN_DECLARE)
COUNT_TABLE(COUNT_DECLARE)

#define PLAIN_FUNCTION(type, name, parameters, arguments, class, failed)     \
	type our_##name parameters                                           \
	{                                                                    \
		int error = 0;                                               \
		if (FAILS(name, class))                                      \
			return failed;                                       \
		return ((type(*) parameters)find(FUNCTION_##name))arguments; \
	}
PLAIN_TABLE(PLAIN_FUNCTION)

#define COUNT_FUNCTION(name, parameters, arguments, less)                                 \
	ssize_t our_##name parameters                                                     \
	{                                                                                 \
		int error = 0;                                                            \
		ssize_t(*call) parameters = (ssize_t(*) parameters)find(FUNCTION_##name); \
		if (!FAILS(name, OF_FD))                                                  \
			return call arguments;                                            \
		return error == SHORT ? call less : GIVE_MINUS;                           \
	}
COUNT_TABLE(COUNT_FUNCTION)

DECLARE(void *, malloc, (size_t size))
DECLARE(void *, calloc, (size_t count, size_t size))
DECLARE(void *, realloc, (void *pointer, size_t size))
DECLARE(int, posix_memalign, (void **out, size_t alignment, size_t size))
DECLARE(char *, strdup, (const char *text))
DECLARE(char *, strndup, (const char *text, size_t size))
DECLARE(int, open, (const char *path, int flags, ...))
DECLARE(int, open64, (const char *path, int flags, ...))
DECLARE(int, fcntl, (int fd, int command, void *arg))
DECLARE(ssize_t, getrandom, (void *to, size_t size, unsigned flags))
DECLARE(int, getaddrinfo, (const char *host, const char *service, const void *hints, void **out))
DECLARE(int, mdb_txn_commit, (void *txn))

/* Not by way of find(): dlsym() may allocate. */
void *our_malloc(size_t size)
{
	int error = 0;
	return FAILS(malloc, NOTHING) ? GIVE_NULL : __libc_malloc(size);
}

void *our_calloc(size_t count, size_t size)
{
	int error = 0;
	return FAILS(calloc, NOTHING) ? GIVE_NULL : __libc_calloc(count, size);
}

void *our_realloc(void *pointer, size_t size)
{
	int error = 0;
	return FAILS(realloc, NOTHING) ? GIVE_NULL : __libc_realloc(pointer, size);
}

int our_posix_memalign(void **out, size_t alignment, size_t size)
{
	int error = 0;
	if (FAILS(posix_memalign, NOTHING))
		return error;
	void *pointer = __libc_memalign(alignment, size);
	if (pointer == NULL)
		return ENOMEM;
	*out = pointer;
	return 0;
}

/* Here because the allocation inside the C library would count as that library's. */
char *our_strndup(const char *text, size_t size)
{
	int error = 0;
	if (FAILS(strndup, NOTHING))
		return GIVE_NULL;
	size = strnlen(text, size);
	char *copy = __libc_malloc(size + 1);
	if (copy == NULL)
		return NULL;
	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

char *our_strdup(const char *text)
{
	int error = 0;
	if (FAILS(strdup, NOTHING))
		return GIVE_NULL;
	size_t size = strlen(text) + 1;
	char *copy = __libc_malloc(size);
	return copy == NULL ? NULL : memcpy(copy, text, size);
}

static int open_at(const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int our_open(const char *path, int flags, ...)
{
	int error = 0;
	va_list args;
	va_start(args, flags);
	mode_t mode = va_arg(args, mode_t);
	va_end(args);
	return FAILS(open, OF_PATH) ? GIVE_MINUS : open_at(path, flags, mode);
}

int our_open64(const char *path, int flags, ...)
{
	int error = 0;
	va_list args;
	va_start(args, flags);
	mode_t mode = va_arg(args, mode_t);
	va_end(args);
	return FAILS(open64, OF_PATH) ? GIVE_MINUS : open_at(path, flags, mode);
}

int our_fcntl(int fd, int command, void *arg)
{
	int error = 0;
	if (FAILS(fcntl, OF_FD))
		return GIVE_MINUS;
	return ((int (*)(int, int, void *))find(FUNCTION_fcntl))(fd, command, arg);
}

ssize_t our_getrandom(void *to, size_t size, unsigned flags)
{
	int error = 0;
	if (!FAILS(getrandom, NOTHING))
		return syscall(SYS_getrandom, to, size, flags);
	return error == SHORT ? syscall(SYS_getrandom, to, half(size), flags) : GIVE_MINUS;
}

int our_getaddrinfo(const char *host, const char *service, const void *hints, void **out)
{
	int error = 0;
	if (FAILS(getaddrinfo, NOTHING))
		return error;
	return ((int (*)(const char *, const char *, const void *, void **))find(
		FUNCTION_getaddrinfo))(host, service, hints, out);
}

/* A commit that fails has ended its transaction. */
int our_mdb_txn_commit(void *txn)
{
	int error = 0;
	if (!FAILS(mdb_txn_commit, NOTHING))
		return ((int (*)(void *))find(FUNCTION_mdb_txn_commit))(txn);
	((void (*)(void *))dlsym(RTLD_DEFAULT, "mdb_txn_abort"))(txn);
	return error;
}

/* ---- beginning ---- */

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("ZR_NTH"), *trace_path = getenv("ZR_NTH_TRACE");
	void *frame[1];
	if (path == NULL)
		return;
	inside = true;
	(void)backtrace(frame, 1); /* Loads what it needs now. */
	if (trace_path != NULL)
		trace_fd = open_at(trace_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	(void)dl_iterate_phdr(note_module, NULL);
	int fd = open_at(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, sizeof(struct board)) != 0)
		abort();
	struct board *map =
		mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	(void)close(fd);
	for (size_t i = 0; i < CLASS_COUNT; i++)
		strcpy(map->class_names[i], class_names[i]);
	for (size_t i = 0; i < FUNCTION_COUNT; i++)
		strcpy(map->functions[i].name, function_names[i]);
	map->function_count = FUNCTION_COUNT;
	map->class_count = CLASS_COUNT;
	map->name_size = NAME_SIZE;
	map->magic = BOARD_MAGIC;
	inside = false;
	board = map;
}
