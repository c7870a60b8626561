#include "api/server_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    ACCEPT_AT_ONCE = 32,
    SMALL_INPUT_BYTES = 64 * 1024, /* of one connection; those are bounded by their number */
    LINGER_MS = 2000,              /* how long an answered client that still sends is listened to */
    HURRIED_LINGER_MS = 500,
    /* when the server closes: for connection attempts that are half-way through, */
    LATE_CONNECTION_MS = 100,
    /* for the next request of a client in the middle of several, which then is told to close, */
    IDLE_GRACE_MS = 250,
    /* and for the first request of a client that has just connected */
    FRESH_GRACE_MS = 500,
};

struct client *mt_client_of(h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

static void on_lingering_read(h2o_socket_t *sock, const char *err)
{
    if (err != NULL)
        h2o_socket_close(sock);
    else
        h2o_buffer_consume(&sock->input, sock->input->size);
}

static void resume_listeners(struct loop *loop);

static void on_lingering_closed(void *data)
{
    struct lingering *lingering = data;
    struct loop *loop = lingering->loop;

    h2o_linklist_unlink(&lingering->link);
    free(lingering);
    mt_gauge_add(&loop->server->connections, -1);
    resume_listeners(loop);
}

static void begin_lingering(struct client *client)
{
    struct loop *loop = client->loop;
    struct lingering *lingering;
    int fd = fcntl(h2o_socket_get_fd(client->sock), F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return;
    lingering = h2o_mem_alloc(sizeof *lingering);
    *lingering = (struct lingering){
        .loop = loop,
        .sock = h2o_evloop_socket_create(loop->ctx.loop, fd, 0),
        .begun_ms = mt_clock_monotonic_ms(),
    };
    client->lingers = true;
    h2o_linklist_insert(&loop->lingering, &lingering->link);
    lingering->sock->on_close.cb = on_lingering_closed;
    lingering->sock->on_close.data = lingering;
    (void)shutdown(fd, SHUT_WR);
    h2o_socket_read_start(lingering->sock, on_lingering_read);
}

void mt_client_linger(struct client *client, h2o_req_t *req)
{
    if (client->cut || client->lingers)
        return;
    if (!mt_peer_has_more(h2o_socket_get_fd(client->sock)) && client->exchange != NULL &&
        req->entity.base == NULL && client->loop->phase == SERVING)
        return;
    begin_lingering(client);
}

static void on_client_closed(void *data)
{
    struct client *client = data;
    struct loop *loop = client->loop;

    h2o_linklist_unlink(&client->link);
    if (!client->lingers)
        mt_gauge_add(&loop->server->connections, -1);
    free(client);
    resume_listeners(loop);
}

static void take_client(struct loop *loop, h2o_socket_t *sock)
{
    const struct mt_server_options *options = loop->server->options;
    struct client *client = h2o_mem_alloc(sizeof *client);

    *client = (struct client){.loop = loop, .sock = sock, .accepted_ms = mt_clock_monotonic_ms()};
    if (options->access_log != MT_ACCESS_OFF)
        mt_peer_print(h2o_socket_get_fd(sock), client->remote);
    h2o_linklist_insert(&loop->clients, &client->link);
    sock->on_close.cb = on_client_closed;
    sock->on_close.data = client;
    h2o_accept(&loop->accept_ctx, sock);
}

static void pause_listeners(struct loop *loop)
{
    for (size_t i = 0; i < MT_LISTENERS_MAX; i++)
        if (loop->listeners[i] != NULL)
            h2o_socket_read_stop(loop->listeners[i]);
    loop->paused = true;
}

enum accepted { NONE_LEFT, PERHAPS_MORE, NO_ROOM };

static enum accepted accept_some(struct loop *loop, h2o_socket_t *listener)
{
    struct server *server = loop->server;

    for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
        h2o_socket_t *sock;

        if (!mt_gauge_try_add(&server->connections, 1, server->options->most_connections)) {
            mt_loop_complain(loop, "as many clients as --max-connections allows: others wait");
            pause_listeners(loop);
            return NO_ROOM;
        }
        sock = h2o_evloop_socket_accept(listener);
        if (sock != NULL) {
            take_client(loop, sock);
            continue;
        }
        mt_gauge_add(&server->connections, -1);
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            mt_loop_complain(loop, "the system has no descriptor or memory for another client");
            pause_listeners(loop);
            return NO_ROOM;
        }
        return NONE_LEFT;
    }
    return PERHAPS_MORE;
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
    if (err == NULL)
        (void)accept_some(listener->data, listener);
}

static void resume_listeners(struct loop *loop)
{
    if (!loop->paused)
        return;
    loop->paused = false;
    for (size_t i = 0; i < MT_LISTENERS_MAX; i++)
        if (loop->listeners[i] != NULL)
            h2o_socket_read_start(loop->listeners[i], on_accept);
}

static struct mt_client_look look_at(const struct client *client)
{
    struct mt_client_look look = {.state = MT_CLIENT_IDLE, .requests = client->requests};

    if (h2o_socket_is_writing(client->sock)) {
        look.state = MT_CLIENT_SENDING;
        look.progress =
            mt_peer_progress(h2o_socket_get_fd(client->sock), client->sock->bytes_written);
        if (client->exchange != NULL)
            look.answer_bytes = (int64_t)mt_response_length(&client->exchange->response);
    } else if (client->exchange != NULL) {
        look.state = MT_CLIENT_WAITING;
    } else if (client->sock->input->size > 0) {
        look.state = MT_CLIENT_RECEIVING;
    }
    return look;
}

/* Lets the library find the end of input, after whatever has already arrived. */
static void shut_input(struct client *client)
{
    client->shut = true;
    (void)shutdown(h2o_socket_get_fd(client->sock), SHUT_RD);
}

/* While a request is worked on nothing is read, so that the library does not notice a reset. */
static void cancel_if_gone(const struct client *client)
{
    struct task *task = client->exchange->task;

    if (task == NULL || mt_gauge_get(&task->work.cancelled) != 0 ||
        !mt_peer_is_gone(h2o_socket_get_fd(client->sock)))
        return;
    mt_log(MT_LOG_DEBUG, "a client did not wait for its answer");
    mt_gauge_set(&task->work.cancelled, 1);
}

void mt_clients_look(struct loop *loop, int64_t now_ms)
{
    int64_t timeout_ms = loop->server->options->client_timeout_ms;
    int64_t linger_ms = loop->phase == CLOSING ? HURRIED_LINGER_MS : LINGER_MS;
    h2o_linklist_t *node;
    h2o_linklist_t *next;

    for (node = loop->clients.next; node != &loop->clients; node = node->next) {
        struct client *client = H2O_STRUCT_FROM_MEMBER(struct client, link, node);
        struct mt_client_look look = look_at(client);

        if (look.state == MT_CLIENT_WAITING)
            cancel_if_gone(client);
        if (client->cut || !mt_client_is_too_slow(&client->watch, &look, now_ms, timeout_ms))
            continue;
        if (look.state == MT_CLIENT_SENDING || client->shut) {
            client->cut = true;
            mt_log(MT_LOG_DEBUG, "a client is too slow: cut off");
            mt_peer_cut(h2o_socket_get_fd(client->sock));
        } else {
            shut_input(client);
        }
    }
    for (node = loop->lingering.next; node != &loop->lingering; node = next) {
        struct lingering *lingering = H2O_STRUCT_FROM_MEMBER(struct lingering, link, node);

        next = node->next;
        if (now_ms - lingering->begun_ms >= linger_ms)
            h2o_socket_close(lingering->sock);
    }
    /* another loop's client may have made room */
    resume_listeners(loop);
}

/* What the library holds of a client's input, if that is more than any head of a request. */
static int64_t input_of(const struct client *client)
{
    int64_t bytes = (int64_t)client->sock->input->capacity;

    return bytes > SMALL_INPUT_BYTES ? bytes : 0;
}

/* The library has no answer before the whole body is there: this one goes past it. */
static void turn_away(struct client *client)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                                 "Content-Type: application/json\r\nContent-Length: 33\r\n"
                                 "Retry-After: 5\r\n\r\n{\"detail\":\"Service unavailable.\"}";
    h2o_socket_cb on_read = client->sock->_cb.read;

    (void)send(h2o_socket_get_fd(client->sock), answer, sizeof answer - 1,
               MSG_DONTWAIT | MSG_NOSIGNAL);
    begin_lingering(client);
    on_read(client->sock, "no memory for the request");
}

/* Counts the input of all clients anew; the one to turn away first, if any can be. */
static struct client *count_input(struct loop *loop)
{
    struct client *largest = NULL;
    int64_t bytes = 0;

    for (h2o_linklist_t *node = loop->clients.next; node != &loop->clients; node = node->next) {
        struct client *client = H2O_STRUCT_FROM_MEMBER(struct client, link, node);
        int64_t input = input_of(client);

        bytes += input;
        /* one whose request is complete frees its input soon */
        if (input > 0 && client->exchange == NULL && client->sock->_cb.read != NULL &&
            (largest == NULL || input > input_of(largest)))
            largest = client;
    }
    mt_gauge_add(&loop->server->body_bytes, bytes - loop->input_bytes);
    loop->input_bytes = bytes;
    return largest;
}

void mt_clients_bound_input(struct loop *loop)
{
    struct client *largest = count_input(loop);

    while (largest != NULL && mt_gauge_get(&loop->server->body_bytes) > BODY_MEMORY_BYTES) {
        mt_loop_complain(loop, "more pushed records at once than there is memory for: some are "
                               "answered with 503");
        turn_away(largest);
        largest = count_input(loop);
    }
}

static void close_listeners(struct loop *loop, int64_t now_ms)
{
    bool late = now_ms - loop->closing_ms >= LATE_CONNECTION_MS;

    for (size_t i = 0; i < MT_LISTENERS_MAX; i++) {
        enum accepted accepted = PERHAPS_MORE;

        while (loop->listeners[i] != NULL && accepted == PERHAPS_MORE)
            accepted = accept_some(loop, loop->listeners[i]);
        if (loop->listeners[i] != NULL && late && accepted == NONE_LEFT) {
            h2o_socket_close(loop->listeners[i]);
            loop->listeners[i] = NULL;
        }
    }
}

static void close_idle(struct loop *loop, int64_t now_ms)
{
    for (h2o_linklist_t *node = loop->clients.next; node != &loop->clients; node = node->next) {
        struct client *client = H2O_STRUCT_FROM_MEMBER(struct client, link, node);
        bool fresh = client->requests == 0 && now_ms - client->accepted_ms < FRESH_GRACE_MS;

        if (!fresh && !client->shut && look_at(client).state == MT_CLIENT_IDLE &&
            now_ms - loop->closing_ms >= IDLE_GRACE_MS)
            shut_input(client);
    }
}

void mt_clients_close(struct loop *loop, int64_t now_ms)
{
    close_listeners(loop, now_ms);
    close_idle(loop, now_ms);
}

bool mt_clients_are_gone(const struct loop *loop)
{
    if (loop->clients.next != &loop->clients || loop->lingering.next != &loop->lingering)
        return false;
    for (size_t i = 0; i < MT_LISTENERS_MAX; i++)
        if (loop->listeners[i] != NULL)
            return false;
    return true;
}

void mt_clients_begin(struct loop *loop)
{
    h2o_linklist_init_anchor(&loop->clients);
    h2o_linklist_init_anchor(&loop->lingering);
    for (size_t i = 0; i < loop->server->options->listeners->count; i++) {
        loop->listeners[i] = h2o_evloop_socket_create(loop->ctx.loop, loop->listener_fds[i],
                                                      H2O_SOCKET_FLAG_DONT_READ);
        loop->listeners[i]->data = loop;
        h2o_socket_read_start(loop->listeners[i], on_accept);
    }
}
