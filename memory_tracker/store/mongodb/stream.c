#include "store/mongodb/stream.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"

enum {
    GUARD_TYPE = 77, /* none of the driver's own */
    BUFFER_BYTES = 1024,
};

/* Stands between the socket and the driver; owned by the driver. */
struct guard {
    mongoc_stream_t stream;
    mongoc_stream_t *base;
    const struct mongodb_store *store;
    int64_t begun_ms; /* when the request was begun whose answer is read now */
    bool is_asking;   /* a request is sent, and nothing of its answer has come */
};

/* What is left of timeout_ms; -1: nothing. 0 asks without waiting. */
static int32_t bound(const struct guard *guard, int32_t timeout_ms)
{
    int64_t now_ms = mt_clock_monotonic_ms();
    int64_t end_ms = guard->begun_ms + guard->store->timeout_ms;
    int64_t left_ms;

    if (guard->store->deadline_ms != 0 && guard->store->deadline_ms < end_ms)
        end_ms = guard->store->deadline_ms;
    left_ms = end_ms - now_ms;
    if (left_ms <= 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    return timeout_ms < 0 || timeout_ms > left_ms ? (int32_t)left_ms : timeout_ms;
}

static ssize_t guard_writev(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t count,
                            int32_t timeout_ms)
{
    struct guard *guard = (struct guard *)stream;

    if (!guard->is_asking) {
        guard->begun_ms = mt_clock_monotonic_ms();
        guard->is_asking = true;
    }
    timeout_ms = bound(guard, timeout_ms);
    return timeout_ms < 0 ? -1 : mongoc_stream_writev(guard->base, iov, count, timeout_ms);
}

static ssize_t guard_readv(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t count, size_t least,
                           int32_t timeout_ms)
{
    struct guard *guard = (struct guard *)stream;
    ssize_t result;

    timeout_ms = bound(guard, timeout_ms);
    if (timeout_ms < 0)
        return -1;
    result = mongoc_stream_readv(guard->base, iov, count, least, timeout_ms);
    if (result > 0)
        guard->is_asking = false;
    return result;
}

static void guard_destroy(mongoc_stream_t *stream)
{
    struct guard *guard = (struct guard *)stream;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    /* the kernel would go on delivering for minutes what nobody waits for any more */
    if (guard->is_asking)
        (void)mongoc_stream_setsockopt(guard->base, SOL_SOCKET, SO_LINGER, &at_once,
                                       sizeof at_once);
    mongoc_stream_destroy(guard->base);
    bson_free(guard);
}

static int guard_close(mongoc_stream_t *stream)
{
    return mongoc_stream_close(((struct guard *)stream)->base);
}

static int guard_flush(mongoc_stream_t *stream)
{
    return mongoc_stream_flush(((struct guard *)stream)->base);
}

static int guard_setsockopt(mongoc_stream_t *stream, int level, int name, void *value,
                            mongoc_socklen_t length)
{
    return mongoc_stream_setsockopt(((struct guard *)stream)->base, level, name, value, length);
}

static mongoc_stream_t *guard_get_base(mongoc_stream_t *stream)
{
    return ((struct guard *)stream)->base;
}

static bool guard_check_closed(mongoc_stream_t *stream)
{
    return mongoc_stream_check_closed(((struct guard *)stream)->base);
}

static bool guard_timed_out(mongoc_stream_t *stream)
{
    return mongoc_stream_timed_out(((struct guard *)stream)->base);
}

static bool guard_should_retry(mongoc_stream_t *stream)
{
    struct guard *guard = (struct guard *)stream;

    return bound(guard, 0) >= 0 && mongoc_stream_should_retry(guard->base);
}

static mongoc_stream_t *guard_new(mongoc_stream_t *base, const struct mongodb_store *store)
{
    struct guard *guard = bson_malloc0(sizeof *guard);

    guard->stream = (mongoc_stream_t){
        .type = GUARD_TYPE,
        .destroy = guard_destroy,
        .failed = guard_destroy,
        .close = guard_close,
        .flush = guard_flush,
        .writev = guard_writev,
        .readv = guard_readv,
        .setsockopt = guard_setsockopt,
        .get_base_stream = guard_get_base,
        .check_closed = guard_check_closed,
        .timed_out = guard_timed_out,
        .should_retry = guard_should_retry,
    };
    guard->base = base;
    guard->store = store;
    guard->begun_ms = mt_clock_monotonic_ms();
    return &guard->stream;
}

/*
 * Begins to connect to one address. wait_ms 0: the driver waits, for all members of a replica set
 * at once. NULL: it was refused, or wait_ms are over.
 */
static mongoc_socket_t *dial(const struct addrinfo *address, int wait_ms, int timeout_ms,
                             int *sys_errno)
{
    mongoc_socket_t *sock =
        mongoc_socket_new(address->ai_family, address->ai_socktype, address->ai_protocol);
    int64_t expire_us = wait_ms == 0 ? 0 : bson_get_monotonic_time() + wait_ms * INT64_C(1000);
    unsigned int user_timeout_ms = (unsigned int)timeout_ms;

    if (sock == NULL) {
        *sys_errno = errno;
        return NULL;
    }
    /* also what a killed process has sent is delivered soon or never */
    if (address->ai_family != AF_UNIX)
        (void)mongoc_socket_setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
                                       sizeof user_timeout_ms);
    if (mongoc_socket_connect(sock, address->ai_addr, address->ai_addrlen, expire_us) == 0)
        return sock;
    *sys_errno = mongoc_socket_errno(sock);
    if (wait_ms == 0 && address->ai_family != AF_UNIX &&
        (*sys_errno == EAGAIN || *sys_errno == EINPROGRESS))
        return sock;
    mongoc_socket_destroy(sock);
    return NULL;
}

static mongoc_socket_t *dial_unix(const mongoc_host_list_t *host, int timeout_ms, int *sys_errno)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct addrinfo address = {.ai_family = AF_UNIX,
                               .ai_socktype = SOCK_STREAM,
                               .ai_addr = (struct sockaddr *)&path,
                               .ai_addrlen = sizeof path};

    size_t length = strlen(host->host);

    if (length >= sizeof path.sun_path) {
        *sys_errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(path.sun_path, host->host, length);
    return dial(&address, 0, timeout_ms, sys_errno);
}

static mongoc_socket_t *dial_name(const mongoc_host_list_t *host, int connect_ms, int timeout_ms,
                                  int *sys_errno, bson_error_t *failure)
{
    struct addrinfo hints = {.ai_family = host->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    mongoc_socket_t *sock = NULL;
    char port[8];
    int count = 0;
    int result;

    (void)snprintf(port, sizeof port, "%hu", host->port);
    result = getaddrinfo(host->host, port, &hints, &addresses);
    if (result != 0) {
        bson_set_error(failure, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_NAME_RESOLUTION,
                       "cannot resolve '%s': %s", host->host, gai_strerror(result));
        return NULL;
    }
    for (const struct addrinfo *one = addresses; one != NULL; one = one->ai_next)
        count++;
    for (const struct addrinfo *one = addresses; one != NULL && sock == NULL; one = one->ai_next)
        sock = dial(one, one->ai_next == NULL ? 0 : connect_ms / count + 1, timeout_ms, sys_errno);
    freeaddrinfo(addresses);
    if (sock == NULL)
        bson_set_error(failure, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
                       "cannot connect to '%s': %s", host->host_and_port,
                       strerrordesc_np(*sys_errno));
    return sock;
}

/* What mongoc_ssl_opt_t's `internal` points to in the driver; it has no public way to set these. */
struct revocation {
    bool no_check;
    bool no_endpoint;
};

bool mongodb_wants_tls(const mongoc_uri_t *uri, mongoc_ssl_opt_t *options)
{
    static struct revocation revocations[2][2] = {{{false, false}, {false, true}},
                                                  {{true, false}, {true, true}}};
    const char *mechanism = mongoc_uri_get_auth_mechanism(uri);
    bool no_check =
        mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSDISABLECERTIFICATEREVOCATIONCHECK, false);
    bool no_endpoint =
        mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSDISABLEOCSPENDPOINTCHECK, false);
    bool is_insecure = mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSINSECURE, false);

    *options = *mongoc_ssl_opt_get_default();
    options->ca_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCAFILE, NULL);
    options->pem_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCERTIFICATEKEYFILE, NULL);
    options->pem_pwd =
        mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCERTIFICATEKEYFILEPASSWORD, NULL);
    options->weak_cert_validation =
        is_insecure ||
        mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDCERTIFICATES, false);
    options->allow_invalid_hostname =
        is_insecure ||
        mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDHOSTNAMES, false);
    options->internal = &revocations[no_check][no_endpoint];
    return mongoc_uri_get_tls(uri) || (mechanism != NULL && strcmp(mechanism, "MONGODB-X509") == 0);
}

/* The driver shakes hands later. */
static mongoc_stream_t *add_tls(mongoc_stream_t *base, mongoc_ssl_opt_t *options, const char *host,
                                bson_error_t *failure)
{
    mongoc_stream_t *stream = mongoc_stream_tls_new_with_hostname(base, host, options, 1);

    if (stream == NULL) {
        mongoc_stream_destroy(base);
        bson_set_error(failure, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET,
                       MONGODB_BAD_PEM " (tlsCAFile '%s', tlsCertificateKeyFile '%s')",
                       options->ca_file != NULL ? options->ca_file : "",
                       options->pem_file != NULL ? options->pem_file : "");
    }
    return stream;
}

static mongoc_stream_t *connect_host(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                     const struct mongodb_store *store, bson_error_t *failure)
{
    int connect_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, 0);
    mongoc_ssl_opt_t options;
    mongoc_stream_t *stream;
    mongoc_socket_t *sock;
    int sys_errno = 0;

    /* the driver waits for all of connect_ms, so it must fit in */
    if (store->deadline_ms != 0 && mt_clock_monotonic_ms() + connect_ms > store->deadline_ms) {
        bson_set_error(failure, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
                       "no time is left to connect to '%s'", host->host_and_port);
        return NULL;
    }
    if (host->family == AF_UNIX) {
        sock = dial_unix(host, store->timeout_ms, &sys_errno);
        if (sock == NULL)
            bson_set_error(failure, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
                           "cannot connect to '%s': %s", host->host, strerrordesc_np(sys_errno));
    } else {
        sock = dial_name(host, connect_ms, store->timeout_ms, &sys_errno, failure);
    }
    if (sock == NULL)
        return NULL;
    stream = guard_new(mongoc_stream_socket_new(sock), store);
    if (mongodb_wants_tls(uri, &options))
        stream = add_tls(stream, &options, host->host, failure);
    return stream == NULL ? NULL : mongoc_stream_buffered_new(stream, BUFFER_BYTES);
}

/* A connection that ends as soon as it is used. */
static mongoc_stream_t *dead_end(const struct mongodb_store *store)
{
    mongoc_socket_t *sock = mongoc_socket_new(AF_INET, SOCK_STREAM, 0);

    return sock == NULL ? NULL : guard_new(mongoc_stream_socket_new(sock), store);
}

mongoc_stream_t *mongodb_connect(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                 void *context, bson_error_t *failure)
{
    struct mongodb_store *store = context;
    mongoc_stream_t *stream = connect_host(uri, host, store, failure);

    store->refusal[0] = '\0';
    if (stream != NULL) {
        store->was_connected = true;
    } else if (store->was_connected) {
        /* where the driver looks again for a server that it knew, a NULL makes it wait for its own
         * lock without end (CDRIVER-4666, in all releases before 1.24.3) */
        stream = dead_end(store);
        (void)snprintf(store->refusal, sizeof store->refusal, "%s", failure->message);
    }
    return stream;
}
