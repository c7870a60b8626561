#include "api/health_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/setting.h"

enum { PATIENCE_MS = 3000 };

static const char request[] =
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/* Waits until fd is ready for events; 0 or what went wrong as errno. */
static int await(int fd, short events, int64_t deadline_ms)
{
    struct pollfd entry = {.fd = fd, .events = events};
    int64_t left_ms;
    int ready;

    do {
        left_ms = deadline_ms - mt_clock_monotonic_ms();
        ready = left_ms > 0 ? poll(&entry, 1, (int)left_ms) : 0;
    } while (ready < 0 && errno == EINTR);
    if (ready < 0)
        return errno;
    return ready == 0 ? ETIMEDOUT : 0;
}

static int begin_to_connect(const struct mt_address *where, int *fd)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(where->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(where->port)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    const struct sockaddr *address = (const struct sockaddr *)&v6;
    socklen_t length = sizeof v6;

    if (where->is_unix) {
        memcpy(local.sun_path, where->host, strnlen(where->host, sizeof local.sun_path - 1));
        address = (const struct sockaddr *)&local;
        length = sizeof local;
    } else if (inet_pton(AF_INET, where->host, &v4.sin_addr) == 1) {
        if (v4.sin_addr.s_addr == htonl(INADDR_ANY))
            v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address = (const struct sockaddr *)&v4;
        length = sizeof v4;
    } else {
        (void)inet_pton(AF_INET6, where->host, &v6.sin6_addr);
        if (IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr))
            v6.sin6_addr = in6addr_loopback;
    }
    *fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return errno;
    return connect(*fd, address, length) == 0 ? 0 : errno;
}

static int finish_connecting(int fd, int64_t deadline_ms)
{
    int failure = await(fd, POLLOUT, deadline_ms);
    socklen_t length = sizeof failure;

    if (failure == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0)
        failure = errno;
    return failure;
}

/* Sends the request and reads until the status line is there, or the end. */
static int ask(int fd, int64_t deadline_ms, char *answer, size_t size)
{
    size_t length = 0;
    int failure = 0;

    /* a fresh socket's buffer holds far more than this request: there is no partial send */
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof request - 1))
        return errno;
    answer[0] = '\0';
    while (failure == 0 && length + 1 < size && strchr(answer, '\n') == NULL) {
        ssize_t got = recv(fd, answer + length, size - 1 - length, 0);

        if (got == 0)
            break;
        if (got < 0) {
            failure = errno == EAGAIN ? await(fd, POLLIN, deadline_ms) : errno;
            continue;
        }
        length += (size_t)got;
        answer[length] = '\0';
    }
    return failure;
}

enum mt_err mt_health_check(const char *listen, struct mt_error *error)
{
    int64_t deadline_ms = mt_clock_monotonic_ms() + PATIENCE_MS;
    int shown = (int)strcspn(listen, ",");
    struct mt_address where;
    char answer[256] = "";
    int failure;
    int fd = -1;

    if (!mt_address_parse(listen, (size_t)shown, &where))
        return mt_error_set(error, MT_ERR_CONFIG, "'%.*s' is no address", shown, listen);
    if (!where.is_unix && where.port == 0)
        return mt_error_set(error, MT_ERR_FAILED,
                            "cannot tell which port to ask: %.*s means any free one; give "
                            "--listen the port that memory-api printed",
                            shown, listen);
    failure = begin_to_connect(&where, &fd);
    if (failure == EINPROGRESS)
        failure = finish_connecting(fd, deadline_ms);
    if (failure == 0)
        failure = ask(fd, deadline_ms, answer, sizeof answer);
    if (fd >= 0)
        (void)close(fd);
    if (failure != 0)
        return mt_error_set_errno(error, MT_ERR_FAILED, failure, "no answer from %.*s", shown,
                                  listen);
    answer[strcspn(answer, "\r\n")] = '\0';
    if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
        return mt_error_set(error, MT_ERR_FAILED, "%.*s answers '%s', not status 200", shown,
                            listen, answer);
    return MT_OK;
}
