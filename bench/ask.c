/*
 * ask PORT CONNECTIONS RATE SECONDS STATUS TARGET [HEADER]: asks 127.0.0.1:PORT on kept connections
 * and expects answers of that status. Prints one JSON object.
 *
 * RATE 0: each connection asks again as soon as it was answered. It sleeps while there is nothing
 * to read, and has the kernel drop the bodies: the time it takes is to leave the server the limit.
 *
 * RATE requests a second, whether the answers come in time or not: the time of an answer counts
 * from when its request was due, so one that waits because the server was late is as late as it is
 * for who waits. It looks for answers all the time and keeps a core busy. The distribution is in
 * microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MOST = 4096, EVENTS = 64, GRACE_S = 20, PAUSE_MS = 100 };

struct connection {
    int fd;
    bool is_busy;
    int64_t due_ns;    /* of the request that it waits for */
    int64_t body;      /* bytes of the answer's, */
    int64_t body_left; /* and what is to come of them; -1: still in the head */
    size_t head_length;
    char head[HEAD_MOST];
};

struct load {
    struct connection *connections;
    int count;
    int port;
    int epoll;
    char request[2048];
    size_t request_length;
    int64_t begin_ns;
    double interval_ns;
    int64_t total; /* requests that are to be made */
    int64_t sent;
    int64_t answered;
    int64_t refused;  /* answers of another status */
    int64_t *took_ns; /* of each answer, in the order in which they came; NULL: as fast as it can */
    char status[16];  /* how the first line of an answer begins */
};

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void connect_one(struct load *load, struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)load->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    int one = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        fcntl(connection->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        fail("connect");
}

static bool is_closed(ssize_t result)
{
    return result < 0 && (errno == EPIPE || errno == ECONNRESET);
}

/* servers keep no connection for ever: then it goes on another one */
static void send_request(struct load *load, struct connection *connection)
{
    ssize_t sent = -1;

    if (connection->fd >= 0) {
        sent = send(connection->fd, load->request, load->request_length, MSG_NOSIGNAL);
        if (is_closed(sent)) {
            (void)close(connection->fd);
            connection->fd = -1;
        }
    }
    if (connection->fd < 0) {
        connect_one(load, connection);
        sent = send(connection->fd, load->request, load->request_length, MSG_NOSIGNAL);
    }
    if (sent != (ssize_t)load->request_length)
        fail("send");
    connection->is_busy = true;
    connection->body_left = -1;
    connection->head_length = 0;
}

/* a request that is due goes out on any connection that waits for nothing */
static void send_what_is_due(struct load *load, int64_t now)
{
    for (int i = 0; i < load->count && load->sent < load->total; i++) {
        struct connection *connection = &load->connections[i];
        int64_t due = load->begin_ns + (int64_t)((double)load->sent * load->interval_ns);

        if (due > now)
            return;
        if (connection->is_busy)
            continue;
        send_request(load, connection);
        connection->due_ns = due;
        load->sent++;
    }
}

/* the head is whole: how much body follows it, and how much of that is there already */
static void end_head(struct load *load, struct connection *connection, const char *end)
{
    static const char name[] = "\r\ncontent-length:";
    const char *length;
    int64_t body = 0;

    connection->head[connection->head_length] = '\0';
    load->refused += strncmp(connection->head, load->status, strlen(load->status)) != 0;
    if (strncmp(connection->head, "HTTP/1.1 304", 12) != 0) {
        length = strcasestr(connection->head, name);
        if (!length || length > end) {
            (void)fprintf(stderr, "an answer without a length\n");
            exit(1);
        }
        body = strtoll(length + sizeof name - 1, NULL, 10);
    }
    connection->body = body;
    connection->body_left = body - (connection->head + connection->head_length - (end + 4));
}

static void answered(struct load *load, struct connection *connection)
{
    connection->is_busy = false;
    if (load->took_ns)
        load->took_ns[load->answered] = now_ns() - connection->due_ns;
    else
        send_request(load, connection);
    load->answered++;
}

static void on_closed(struct load *load, struct connection *connection)
{
    (void)close(connection->fd);
    connection->fd = -1;
    if (!connection->is_busy)
        return;
    if (connection->head_length > 0) {
        (void)fprintf(stderr, "the server closed within an answer\n");
        exit(1);
    }
    /* it closed while the request was on its way */
    send_request(load, connection);
}

static void receive(struct load *load, struct connection *connection)
{
    for (;;) {
        bool in_head = connection->body_left < 0;
        ssize_t got = in_head
                          ? recv(connection->fd, connection->head + connection->head_length,
                                 HEAD_MOST - 1 - connection->head_length, 0)
                          : recv(connection->fd, NULL, (size_t)connection->body_left, MSG_TRUNC);

        if (got < 0 && errno == EAGAIN)
            return;
        if (got == 0 || is_closed(got)) {
            on_closed(load, connection);
            return;
        }
        if (got < 0)
            fail("recv");
        if (in_head) {
            const char *end;

            connection->head_length += (size_t)got;
            end = memmem(connection->head, connection->head_length, "\r\n\r\n", 4);
            if (end)
                end_head(load, connection, end);
        } else {
            connection->body_left -= got;
        }
        if (connection->body_left == 0) {
            answered(load, connection);
            return;
        }
    }
}

static void receive_all(struct load *load, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load->epoll, events, EVENTS, wait_ms);

    for (int i = 0; i < count; i++)
        receive(load, events[i].data.ptr);
}

static void run_at_rate(struct load *load, double seconds)
{
    int64_t end = load->begin_ns + (int64_t)((seconds + GRACE_S) * 1e9);

    while (load->answered < load->total) {
        int64_t now = now_ns();

        if (now > end)
            return;
        send_what_is_due(load, now);
        receive_all(load, 0);
    }
}

static void run_freely(struct load *load, double seconds)
{
    int64_t end = load->begin_ns + (int64_t)(seconds * 1e9);

    for (int i = 0; i < load->count; i++)
        send_request(load, &load->connections[i]);
    while (now_ns() < end)
        receive_all(load, PAUSE_MS);
}

/* Of large answers those that are half here count by half: a short run would miss most of them. */
static double shares_of_open_answers(const struct load *load)
{
    double shares = 0;

    for (int i = 0; i < load->count; i++) {
        const struct connection *connection = &load->connections[i];

        if (connection->is_busy && connection->body_left >= 0 && connection->body > 0)
            shares += 1 - (double)connection->body_left / (double)connection->body;
    }
    return shares;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print(struct load *load)
{
    static const double percentiles[] = {50, 90, 99, 99.9, 99.99, 100};

    (void)printf("{\"asked\": %" PRId64 ", \"answered\": %.3f, \"refused\": %" PRId64
                 ", \"seconds\": %.6f, \"took_us\": {",
                 load->total, (double)load->answered + shares_of_open_answers(load), load->refused,
                 (double)(now_ns() - load->begin_ns) / 1e9);
    if (load->took_ns)
        qsort(load->took_ns, (size_t)load->answered, sizeof *load->took_ns, compare);
    for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0] && load->answered > 0; i++) {
        int64_t place = (int64_t)((double)load->answered * percentiles[i] / 100);

        if (!load->took_ns)
            break;
        if (place >= load->answered)
            place = load->answered - 1;
        (void)printf("%s\"%g\": %.1f", i == 0 ? "" : ", ", percentiles[i],
                     (double)load->took_ns[place] / 1000);
    }
    (void)printf("}}\n");
}

int main(int argc, char **argv)
{
    struct load load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    double rate;
    double seconds;

    if (argc < 7) {
        (void)fprintf(stderr, "usage: ask PORT CONNECTIONS RATE SECONDS STATUS TARGET [HEADER]\n");
        return 2;
    }
    rate = strtod(argv[3], NULL);
    seconds = strtod(argv[4], NULL);
    load.count = (int)strtol(argv[2], NULL, 10);
    if (rate > 0) {
        load.interval_ns = 1e9 / rate;
        load.total = (int64_t)(rate * seconds);
        load.took_ns = calloc((size_t)load.total + 1, sizeof *load.took_ns);
    }
    if (load.count < 1 || (rate > 0 && load.total < 1))
        return 2;
    (void)snprintf(load.status, sizeof load.status, "HTTP/1.1 %s", argv[5]);
    load.request_length = (size_t)snprintf(
        load.request, sizeof load.request, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n",
        argv[6], argc > 7 ? argv[7] : "", argc > 7 ? "\r\n" : "");
    load.connections = calloc((size_t)load.count, sizeof *load.connections);
    if (!load.connections || (rate > 0 && !load.took_ns) || load.epoll < 0)
        fail("ask");
    load.port = (int)strtol(argv[1], NULL, 10);
    for (int i = 0; i < load.count; i++)
        connect_one(&load, &load.connections[i]);
    load.begin_ns = now_ns();
    if (rate > 0)
        run_at_rate(&load, seconds);
    else
        run_freely(&load, seconds);
    print(&load);
    return 0;
}
