"""nth_plan.py -- which calls fail and how, and which of them a run tries.

A row of the plan is a function, who calls it or what it is called for, and the errors it is given. Where a program makes
count such calls, its trials are: call n fails, n = 1, 2, 3 ... beyond the last; of a flow with thousands
of calls as many as are asked for, dense at its beginning and spread over all of it.
"""
import collections

Trial = collections.namedtuple("Trial", "function kind error first last")

DISK = ["EIO", "ENOSPC"]
# Without nng's own: where it has no memory it panics by design, or waits for ever in nng_close() of a socket half made,
# and where it gets no thread it uses what it has not made.
# And without what the kernel does not do: getrandom() for few bytes is not interrupted once it has ever given any.
MEMORY = [("malloc", kind) for kind in ("own", "lmdb", "event", "curl", "jansson", "yaml", "zstd", "protobuf", "ssl", "crypto",
                                        "systemd", "c")]
MEMORY += [("calloc", kind) for kind in ("own", "lmdb", "event", "curl", "zstd", "protobuf")]
MEMORY += [("realloc", kind) for kind in ("own", "event", "curl", "yaml", "ssl", "crypto")]
MEMORY += [("strdup", kind) for kind in ("own", "lmdb", "event", "curl", "yaml")] + [("strndup", "own")]

PLAN = [
    *((function, kind, ["ENOMEM"]) for function, kind in MEMORY),
    # The store, by the system's calls and by LMDB's.
    ("pwrite", "store", [*DISK, "EINTR", "SHORT"]), ("writev", "store", [*DISK, "EINTR", "SHORT"]),
    ("pwrite64", "store", DISK), ("fdatasync", "store", DISK), ("fsync", "store", ["EIO"]), ("fsync", "file", ["EIO"]),
    ("ftruncate", "store", DISK), ("ftruncate64", "store", DISK), ("fallocate64", "store", DISK),
    ("pread", "store", ["EIO"]), ("mmap", "store", ["ENOMEM"]), ("flock", "store", ["EINTR", "ENOLCK"]),
    ("fcntl", "store", ["EINTR", "ENOLCK"]), ("open", "store", ["EMFILE", "EIO", "ENOSPC"]),
    ("open64", "store", ["EMFILE", "EIO"]), ("fstat64", "store", ["EIO"]), ("stat64", "store", ["EIO"]),
    ("mdb_txn_begin", "own", ["ENOMEM", "READERS_FULL", "EIO"]), ("mdb_get", "own", ["EIO"]),
    ("mdb_put", "own", ["ENOMEM", "MAP_FULL", "EIO"]), ("mdb_del", "own", ["ENOMEM", "EIO"]),
    ("mdb_cursor_open", "own", ["ENOMEM"]), ("mdb_cursor_get", "own", ["EIO"]),
    ("mdb_dbi_open", "own", ["ENOMEM"]), ("mdb_stat", "own", ["EIO"]), ("mdb_env_create", "own", ["ENOMEM"]),
    ("mdb_env_open", "own", ["ENOMEM", "EIO"]), ("mdb_env_sync", "own", ["EIO"]),
    ("mdb_txn_commit", "own", ["EIO", "ENOSPC", "ENOMEM", "PANIC"]),
    # Other files and folders.
    ("open64", "file", ["EMFILE", "EIO", "EINTR"]), ("read", "file", ["EIO", "EINTR", "SHORT"]),
    ("write", "file", [*DISK, "EINTR", "SHORT"]), ("fopen64", "own", ["EMFILE"]), ("opendir", "own", ["EMFILE"]),
    ("rename", "file", ["EIO"]), ("unlink", "file", ["EIO"]), ("mkdir", "file", ["ENOSPC"]), ("stat64", "file", ["EIO"]),
    # Sockets, and what a loop and its threads are made of.
    ("accept4", "own", ["EMFILE", "ECONNABORTED", "ENOMEM"]), ("accept4", "event", ["EMFILE"]),
    ("accept", "nng", ["EMFILE", "ECONNABORTED"]), ("socket", "any", ["EMFILE"]), ("bind", "any", ["ENOMEM"]),
    ("listen", "any", ["ENOMEM"]), ("connect", "any", ["EAGAIN", "ENETUNREACH"]), ("setsockopt", "own", ["ENOMEM"]),
    ("recv", "any", ["EINTR", "ECONNRESET", "ENOMEM", "SHORT"]), ("send", "any", ["EINTR", "EPIPE", "ENOMEM", "SHORT"]),
    ("read", "socket", ["EINTR", "ECONNRESET", "EAGAIN", "SHORT"]),
    ("write", "socket", ["EINTR", "EPIPE", "EAGAIN", "SHORT"]), ("readv", "socket", ["EINTR", "ECONNRESET", "SHORT"]),
    ("writev", "socket", ["EINTR", "EPIPE", "SHORT"]), ("recvmsg", "any", ["EINTR"]), ("sendmsg", "any", ["EINTR"]),
    ("epoll_create1", "any", ["EMFILE"]), ("epoll_ctl", "socket", ["ENOSPC", "ENOMEM"]), ("epoll_wait", "any", ["EINTR"]),
    ("eventfd", "any", ["EMFILE"]), ("pipe", "any", ["EMFILE"]), ("pthread_create", "own", ["EAGAIN"]),
    ("getrandom", "crypto", ["EINTR", "ENOSYS"]), ("getaddrinfo", "own", ["EAI_MEMORY", "EAI_AGAIN"]), ("fork", "own", ["EAGAIN"]),
    # TLS and what is computed.
    *((function, "own", ["ENOMEM"]) for function in (
        "SSL_new", "SSL_CTX_new", "SSL_do_handshake", "SSL_read_ex", "SSL_write_ex", "SSL_shutdown", "SSL_set_fd", "RAND_bytes",
        "EVP_MD_CTX_new", "EVP_DigestInit_ex2", "EVP_DigestUpdate", "EVP_DigestFinal_ex", "EVP_DigestSign",
        "EVP_DigestVerifyInit_ex", "EVP_DigestVerify", "EVP_PKEY_verify", "ZSTD_createCCtx", "ZSTD_createDCtx")),
    ("X509_verify_cert", "any", ["ENOMEM"]),
    # The libraries around it.
    *((function, "own", ["CURLM_NO_MEMORY"]) for function in (
        "curl_multi_add_handle", "curl_multi_socket_action", "curl_multi_assign")),
    ("curl_global_init", "own", ["CURL_NO_MEMORY"]),
    *((function, "own", ["ENOMEM"]) for function in (
        "curl_easy_init", "curl_multi_init", "curl_slist_append", "event_base_new", "event_new", "event_add", "evbuffer_new",
        "evbuffer_add", "bufferevent_socket_new", "bufferevent_write", "evhttp_new")),
    *((function, "own", ["NNG_NO_MEMORY"]) for function in (
        "nng_rep0_open", "nng_pub0_open", "nng_aio_alloc", "nng_msg_alloc", "nng_msg_append")),
]


# What has found something once is tried first, in every run.
FIRST = {
    "gateway starts": [Trial("realloc", "curl", "ENOMEM", 7, 7),    # libcurl's connection that was left behind.
                       Trial("calloc", "own", "ENOMEM", 4, 4),      # A configuration that did not fit.
                       Trial("mdb_stat", "own", "EIO", 20, 20)],    # A store that only a reader found failing.
    "gateway works": [Trial("EVP_DigestVerifyInit_ex", "own", "ENOMEM", 1, 1),  # Refused with the wrong next height.
                      Trial("EVP_DigestVerify", "own", "ENOMEM", 1, 1),         # A good seal called a bad one.
                      Trial("fdatasync", "store", "EIO", 1, 1), Trial("fdatasync", "store", "ENOSPC", 2, 2),
                      Trial("send", "any", "EPIPE", 1, 4)],                     # Transfers that libcurl forgot.
    "agent works": [Trial("calloc", "lmdb", "ENOMEM", n, n) for n in range(1, 6)]  # Sealed, and not known to be.
                   + [Trial("fdatasync", "store", "EIO", 1, 1)],
}


def numbers(chance, count, most):
    """1 .. count + 1 if they are that few; else the first ones and some of each stretch up to the end."""
    if count < most:
        return list(range(1, count + 2))
    dense = most // 3
    chosen = set(range(1, dense + 1))
    while len(chosen) < most:
        chosen.add(min(count, int(dense * (count / dense) ** chance.random()) + 1))
    return sorted(chosen)


def trials(chance, counts, most, bursts=True):
    """Of all rows, in turn: the first of each, then the second of each, ...

    In one of eight the failure lasts: for 2 or 4 calls, one after another.
    """
    rows = []
    for function, kind, errors in PLAN:
        count = counts.get((function, kind), 0)
        if not count:
            continue
        row = [Trial(function, kind, error, n, n + (chance.choice([1, 3]) if bursts and chance.random() < 1 / 8 else 0))
               for error in errors for n in numbers(chance, count, most)]
        chance.shuffle(row)
        rows.append(row)
    chance.shuffle(rows)
    for at in range(max(map(len, rows), default=0)):
        for row in rows:
            if at < len(row):
                yield row[at]
