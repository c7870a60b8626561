#include "api/peer.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

void mt_peer_print(int fd, char text[static MT_PEER_TEXT])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage storage;
    } address = {0};
    socklen_t length = sizeof address;
    char host[INET6_ADDRSTRLEN] = "";

    (void)getpeername(fd, &address.any, &length);
    if (address.any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof host);
        (void)snprintf(text, MT_PEER_TEXT, "%s:%u", host, ntohs(address.v4.sin_port));
    } else if (address.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof host);
        (void)snprintf(text, MT_PEER_TEXT, "[%s]:%u", host, ntohs(address.v6.sin6_port));
    } else {
        (void)snprintf(text, MT_PEER_TEXT, "unix");
    }
}

uint64_t mt_peer_progress(int fd, uint64_t given)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int queued = 0;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
        return info.tcpi_bytes_acked;
    (void)ioctl(fd, SIOCOUTQ, &queued);
    return given - (uint64_t)queued;
}

bool mt_peer_hurry(int fd, int bytes)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes) == 0;
}

bool mt_peer_is_gone(int fd)
{
    struct pollfd state = {.fd = fd};

    return poll(&state, 1, 0) == 1;
}

bool mt_peer_has_more(int fd)
{
    int unread = 0;

    (void)ioctl(fd, FIONREAD, &unread);
    return unread > 0;
}

void mt_peer_cut(int fd)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    /*
     * TCP_USER_TIMEOUT would be no substitute: it also ends readers that take their bytes steadily,
     * but with a small receive buffer.
     */
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    (void)shutdown(fd, SHUT_RDWR);
}
