#include "api/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    /* requests are small: what a hostile client may park in the kernel should be, too */
    RECEIVE_BUFFER = 64 * 1024,
    /* unsent bytes kept in the kernel per connection; the rest waits in the one shared body */
    UNSENT_MOST = 128 * 1024,
};

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

static socklen_t fill_address(const struct mt_address *where, union any_address *address)
{
    memset(address, 0, sizeof *address);
    if (where->is_unix) {
        address->local.sun_family = AF_UNIX;
        memcpy(address->local.sun_path, where->host,
               strnlen(where->host, sizeof address->local.sun_path - 1));
        return sizeof address->local;
    }
    if (inet_pton(AF_INET, where->host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(where->port);
        return sizeof address->v4;
    }
    (void)inet_pton(AF_INET6, where->host, &address->v6.sin6_addr);
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons(where->port);
    return sizeof address->v6;
}

void mt_listener_print(const struct mt_listener *listener, char text[static MT_LISTENER_TEXT])
{
    const struct mt_address *where = &listener->where;

    if (where->is_unix)
        (void)snprintf(text, MT_LISTENER_TEXT, "unix:%s", where->host);
    else if (strchr(where->host, ':') != NULL)
        (void)snprintf(text, MT_LISTENER_TEXT, "http://[%s]:%u", where->host, where->port);
    else
        (void)snprintf(text, MT_LISTENER_TEXT, "http://%s:%u", where->host, where->port);
}

static enum mt_err cannot_listen(const struct mt_listener *listener, int why, const char *remedy,
                                 struct mt_error *error)
{
    char text[MT_LISTENER_TEXT];

    mt_listener_print(listener, text);
    return mt_error_set(error, MT_ERR_FAILED, "cannot listen on %s: %s%s%s", text,
                        strerrordesc_np(why), remedy[0] != '\0' ? "; " : "", remedy);
}

static const char *remedy_for(const struct mt_listener *listener, int why)
{
    switch (why) {
    case EADDRINUSE:
        return "another program uses it: stop that or give another --listen";
    case EADDRNOTAVAIL:
        return "no interface of this machine has that address: give one that it has, or 0.0.0.0";
    case EACCES:
        return listener->where.is_unix
                   ? "this user may not make files in that directory: give another path"
                   : "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): give a larger one";
    case ENOENT:
        return "the directory does not exist: make it or give another path";
    case EAFNOSUPPORT:
        return "this system has no such addresses: give one of another kind";
    default:
        return "";
    }
}

/* Whether a program answers on the socket file; a full queue means that one does. */
static bool is_answered(const union any_address *address, socklen_t length)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answered;

    if (fd < 0)
        return true;
    answered = connect(fd, &address->any, length) == 0 || errno != ECONNREFUSED;
    (void)close(fd);
    return answered;
}

/* Binds to a path that is taken: by a socket left behind, which is replaced, or by anything else.
 */
static enum mt_err replace_socket(const struct mt_listener *listener,
                                  const union any_address *address, socklen_t length,
                                  struct mt_error *error)
{
    const char *path = listener->where.host;
    struct stat status;

    if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
        return cannot_listen(listener, EADDRINUSE,
                             "that file is not a socket: remove it or give another path", error);
    if (is_answered(address, length))
        return cannot_listen(listener, EADDRINUSE, remedy_for(listener, EADDRINUSE), error);
    if (unlink(path) != 0 && errno != ENOENT)
        return mt_error_set_errno(error, MT_ERR_FAILED, errno,
                                  "cannot remove the socket %s that nobody answers on", path);
    if (bind(listener->fd, &address->any, length) != 0)
        return cannot_listen(listener, errno, remedy_for(listener, errno), error);
    return MT_OK;
}

static enum mt_err bind_unix(struct mt_listener *listener, struct mt_error *error)
{
    union any_address address;
    socklen_t length = fill_address(&listener->where, &address);
    struct stat status;
    enum mt_err result = MT_OK;
    /* the file has its mode from the first moment: a chmod afterwards would leave a gap */
    mode_t before = umask(0117);

    if (bind(listener->fd, &address.any, length) != 0) {
        if (errno == EADDRINUSE)
            result = replace_socket(listener, &address, length, error);
        else
            result = cannot_listen(listener, errno, remedy_for(listener, errno), error);
    }
    (void)umask(before);
    if (result == MT_OK && lstat(listener->where.host, &status) == 0) {
        listener->device = status.st_dev;
        listener->inode = status.st_ino;
    }
    return result;
}

static void set_option(int fd, int level, int name, int value)
{
    /* each of them only makes a good socket better: a kernel without one serves as well */
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

static enum mt_err bind_tcp(struct mt_listener *listener, struct mt_error *error)
{
    union any_address address;
    socklen_t length = fill_address(&listener->where, &address);

    set_option(listener->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.any.sa_family == AF_INET6)
        set_option(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    /* accepted sockets inherit these */
    set_option(listener->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(listener->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MOST);
    set_option(listener->fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    if (bind(listener->fd, &address.any, length) != 0)
        return cannot_listen(listener, errno, remedy_for(listener, errno), error);
    length = sizeof address;
    if (getsockname(listener->fd, &address.any, &length) == 0)
        listener->where.port =
            ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    return MT_OK;
}

static enum mt_err open_one(struct mt_listener *listener, struct mt_error *error)
{
    union any_address address;
    enum mt_err result;

    (void)fill_address(&listener->where, &address);
    listener->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0)
        return cannot_listen(listener, errno, remedy_for(listener, errno), error);
    result = listener->where.is_unix ? bind_unix(listener, error) : bind_tcp(listener, error);
    if (result == MT_OK && listen(listener->fd, BACKLOG) != 0)
        result = cannot_listen(listener, errno, remedy_for(listener, errno), error);
    if (result != MT_OK)
        (void)close(listener->fd);
    return result;
}

enum mt_err mt_listeners_open(const char *listen, struct mt_listeners *listeners,
                              struct mt_error *error)
{
    enum mt_err result = MT_OK;

    listeners->count = 0;
    while (result == MT_OK && *listen != '\0') {
        struct mt_listener *listener = &listeners->item[listeners->count];
        size_t length = strcspn(listen, ",");

        if (listeners->count == MT_LISTENERS_MAX) {
            result = mt_error_set(error, MT_ERR_CONFIG, "more than %d listening addresses",
                                  MT_LISTENERS_MAX);
            break;
        }
        *listener = (struct mt_listener){.fd = -1};
        if (!mt_address_parse(listen, length, &listener->where))
            result = mt_error_set(error, MT_ERR_CONFIG, "'%.*s' is no address to listen on",
                                  (int)length, listen);
        else
            result = open_one(listener, error);
        if (result == MT_OK)
            listeners->count++;
        listen += length + (listen[length] == ',');
    }
    if (result != MT_OK)
        mt_listeners_close(listeners);
    return result;
}

static void remove_file(const struct mt_listener *listener)
{
    struct stat status;

    if (listener->where.is_unix && lstat(listener->where.host, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode)
        (void)unlink(listener->where.host);
}

void mt_listener_turn_away(const struct mt_listener *listener)
{
    /* byte 13 of a TCP header holds the flags: SYN without ACK begins a connection */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),          BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};

    if (listener->where.is_unix)
        remove_file(listener);
    else
        /* without it a client that connects at the last moment is reset instead of refused */
        (void)setsockopt(listener->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

void mt_listeners_close(struct mt_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        remove_file(&listeners->item[i]);
        (void)close(listeners->item[i].fd);
    }
    listeners->count = 0;
}
