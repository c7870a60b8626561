#include "api/server.h"

#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/client_watch.h"
#include "api/http.h"
#include "api/peer.h"
#include "api/threads.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    TURN_MS = 1000,       /* longest wait of a loop, and how often it looks at its clients */
    HURRIED_TURN_MS = 20, /* the same while the server closes */
    JOB_DEADLINE_MS = 10000,
    QUEUED_PER_WORKER = 64,
    BUSY_WAIT_MS = 2000,
    REOPEN_AFTER_MS = 1000,
    CHUNK_BYTES =
        128 * 1024, /* a body goes to its connection in such pieces, so that progress shows */
    SMALL_BYTES = 64 * 1024,  /* answers up to this are sent whatever is held */
    ENTITY_MOST = 1024,       /* a request's body: nothing takes one */
    INPUT_MOST = 1024 * 1024, /* buffered input of one connection */
    ACCEPT_AT_ONCE = 32,
    LINGER_MS = 2000, /* how long an answered client that still sends is listened to */
    HURRIED_LINGER_MS = 500,
    /* when the server closes: for connection attempts that are half-way through, */
    LATE_CONNECTION_MS = 100,
    /* for the next request of a client in the middle of several, which then is told to close, */
    IDLE_GRACE_MS = 250,
    /* for the first request of a client that has just connected, */
    FRESH_GRACE_MS = 500,
    /* and for everything, beyond the client timeout */
    DRAIN_MOST_MS = 20000,
    COMPLAIN_EVERY_MS = 60000,
};

enum phase {
    SERVING,
    LEAVING, /* a signal came: /readyz says 503, answers say `Connection: close` */
    CLOSING, /* new clients are turned away, requests that were sent are answered */
};

/* Immutable while loops run, but for the gauges and what is the first loop's. */
struct server {
    const struct mt_server_options *options;
    h2o_globalconf_t config;
    struct mt_pool *pool;
    struct mt_gauge phase;
    struct mt_gauge connections; /* of all loops, lingering ones included */
    struct mt_gauge held_bytes;  /* bodies being sent or waiting to be */
    struct mt_gauge finished;    /* loops, without the first, that have nothing left to do */
    struct loop *loops;
    h2o_socket_t *signals;  /* the first loop's, as are the next two */
    int64_t leave_until_ms; /* LEAVING: when to begin closing */
    int64_t close_until_ms; /* CLOSING: when to give up */
};

/* Owned by its thread. */
struct loop {
    h2o_context_t ctx;
    h2o_accept_ctx_t accept_ctx;
    h2o_multithread_receiver_t finished; /* where workers hand jobs back; any thread may send */
    struct server *server;
    size_t index;
    int listener_fds[MT_LISTENERS_MAX];
    h2o_socket_t *listeners[MT_LISTENERS_MAX]; /* NULL once closed */
    bool paused;                               /* the listeners are not polled: no room */
    enum phase phase;                          /* as seen by this loop */
    int64_t closing_ms;                        /* when it saw CLOSING */
    int64_t looked_ms;                         /* when it last looked at its clients */
    int64_t complained_ms;
    int64_t lost_lines; /* of the access log */
    h2o_linklist_t clients;
    h2o_linklist_t lingering;
    size_t tasks; /* with workers */
};

/* A connection; from accept to the close of its socket. */
struct client {
    h2o_linklist_t link;
    struct loop *loop;
    h2o_socket_t *sock;
    struct exchange *exchange; /* the request in progress, or NULL */
    uint64_t requests;         /* begun on this connection */
    int64_t accepted_ms;
    struct mt_client_watch watch;
    bool shut;    /* no more input is taken */
    bool cut;     /* given up */
    bool lingers; /* a struct lingering carries its place in server->connections on */
    char remote[MT_PEER_TEXT];
};

/* A request and its answer; in the request's pool, disposed with the request. */
struct exchange {
    h2o_generator_t generator;
    h2o_req_t *req;
    struct client *client;
    struct task *task; /* NULL: no worker has it */
    struct mt_response response;
    int64_t held_bytes;
    size_t sent; /* bytes of the body handed on */
    int64_t begun_ms;
};

/* A job on its way to a worker and back. Freed by its loop. */
struct task {
    struct mt_work work;
    h2o_multithread_message_t message;
    struct loop *loop;
    struct exchange *exchange; /* NULL: the request is gone. The loop's; workers leave it alone. */
    int64_t held_bytes;
};

/*
 * A connection whose answer is sent while the client still sends. Closing it at once would make the
 * kernel send a reset, which can destroy the answer on its way.
 */
struct lingering {
    h2o_linklist_t link;
    struct loop *loop;
    h2o_socket_t *sock;
    int64_t begun_ms;
};

static struct client *client_of(h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

static void complain(struct loop *loop, const char *what)
{
    int64_t now_ms = mt_clock_monotonic_ms();

    if (loop->complained_ms != 0 && now_ms - loop->complained_ms < COMPLAIN_EVERY_MS)
        return;
    loop->complained_ms = now_ms;
    mt_log(MT_LOG_WARNING, "%s", what);
}

static void release_held(struct server *server, int64_t *held_bytes)
{
    mt_gauge_add(&server->held_bytes, -*held_bytes);
    *held_bytes = 0;
}

/* Counts the body against the budget, or replaces it by a 503. Any thread. */
static int64_t hold_body(struct server *server, struct mt_response *response)
{
    struct mt_buf *body = &response->body;
    int64_t bytes;

    if (body->failed)
        mt_response_fail(response, MT_ERR_NO_MEMORY);
    if (body->capacity - body->length > SMALL_BYTES) {
        char *smaller = realloc(body->data, body->length + 1);

        if (smaller != NULL) {
            body->data = smaller;
            body->capacity = body->length + 1;
        }
    }
    bytes = (int64_t)body->capacity;
    if (bytes <= SMALL_BYTES) {
        mt_gauge_add(&server->held_bytes, bytes);
    } else if (!mt_gauge_try_add(&server->held_bytes, bytes,
                                 server->options->response_memory_bytes)) {
        mt_response_fail(response, MT_ERR_OVERLOADED);
        bytes = 0;
    }
    return bytes;
}

static void send_next(h2o_generator_t *generator, h2o_req_t *req)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, generator, generator);
    size_t rest = exchange->response.body.length - exchange->sent;
    size_t count = rest < CHUNK_BYTES ? rest : CHUNK_BYTES;
    h2o_iovec_t piece = h2o_iovec_init(exchange->response.body.data + exchange->sent, count);

    exchange->sent += count;
    h2o_send(req, &piece, 1, count == rest ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void add_header(h2o_req_t *req, const h2o_token_t *name, const char *value)
{
    h2o_add_header(&req->pool, &req->res.headers, name, NULL, value, strlen(value));
}

static void answer(struct exchange *exchange)
{
    struct mt_response *response = &exchange->response;
    h2o_req_t *req = exchange->req;
    char number[24];

    req->res.status = response->status;
    req->res.reason = mt_status_reason(response->status);
    /* without it the library would send chunks, and close after any status but 200 */
    req->res.content_length = response->body.length;
    if (response->content_type != NULL)
        add_header(req, H2O_TOKEN_CONTENT_TYPE, response->content_type);
    if (response->allow != NULL)
        add_header(req, H2O_TOKEN_ALLOW, response->allow);
    if (response->retry_after_s > 0) {
        (void)snprintf(number, sizeof number, "%d", response->retry_after_s);
        add_header(req, H2O_TOKEN_RETRY_AFTER, h2o_strdup(&req->pool, number, strlen(number)).base);
    }
    if (exchange->client->loop->phase != SERVING)
        req->http1_is_persistent = 0;
    h2o_start_response(req, &exchange->generator);
    if (response->body.length > 0 &&
        !h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"))) {
        send_next(&exchange->generator, req);
        return;
    }
    mt_buf_fini(&response->body);
    release_held(exchange->client->loop->server, &exchange->held_bytes);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

static void dispose_exchange(void *data)
{
    struct exchange *exchange = data;

    exchange->client->exchange = NULL;
    if (exchange->task != NULL) {
        exchange->task->exchange = NULL;
        mt_gauge_set(&exchange->task->work.cancelled, 1);
    }
    mt_response_fini(&exchange->response);
    release_held(exchange->client->loop->server, &exchange->held_bytes);
}

/* In a worker's thread. */
static void hand_back(struct mt_work *work)
{
    struct task *task = H2O_STRUCT_FROM_MEMBER(struct task, work, work);

    task->held_bytes = hold_body(task->loop->server, &work->response);
    h2o_multithread_send_message(&task->loop->finished, &task->message);
}

static void on_finished(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, finished, receiver);

    while (!h2o_linklist_is_empty(messages)) {
        struct task *task = H2O_STRUCT_FROM_MEMBER(struct task, message.link, messages->next);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): every task is unlinked before it is freed */
        struct exchange *exchange = task->exchange;

        h2o_linklist_unlink(&task->message.link);
        loop->tasks--;
        if (exchange != NULL) {
            exchange->task = NULL;
            exchange->response = task->work.response;
            exchange->held_bytes = task->held_bytes;
            answer(exchange);
        } else {
            mt_response_fini(&task->work.response);
            release_held(loop->server, &task->held_bytes);
        }
        free(task);
    }
}

static bool submit(struct exchange *exchange, const struct mt_job *job)
{
    struct loop *loop = exchange->client->loop;
    struct task *task = calloc(1, sizeof *task);

    if (task == NULL)
        return false;
    task->work.job = *job;
    task->work.job.deadline_ms = exchange->begun_ms + JOB_DEADLINE_MS;
    task->work.done = hand_back;
    task->loop = loop;
    task->exchange = exchange;
    if (!mt_pool_submit(loop->server->pool, &task->work)) {
        complain(loop, "more requests than the workers can do: some are answered with 503; "
                       "give more --workers or look for slow storage");
        free(task);
        return false;
    }
    exchange->task = task;
    loop->tasks++;
    return true;
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct client *client = client_of(req);
    struct loop *loop = client->loop;
    struct mt_api_state state = {.draining = loop->phase != SERVING, .now_s = mt_clock_wall_s()};
    struct exchange *exchange =
        h2o_mem_alloc_shared(&req->pool, sizeof *exchange, dispose_exchange);
    struct mt_request request = {.method = MT_METHOD_OTHER};
    struct mt_answer result;

    (void)self;
    *exchange = (struct exchange){.generator = {.proceed = send_next},
                                  .req = req,
                                  .client = client,
                                  .begun_ms = mt_clock_monotonic_ms()};
    mt_response_init(&exchange->response);
    client->exchange = exchange;
    client->requests++;
    /*
     * The library believes the first of two Content-Lengths and hides these headers from us:
     * whoever sends a body gets its answer and no second request on the same connection.
     */
    if (req->entity.base != NULL)
        req->http1_is_persistent = 0;
    if (h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET")))
        request.method = MT_METHOD_GET;
    else if (h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD")))
        request.method = MT_METHOD_HEAD;
    mt_request_set_target(&request, (struct mt_slice){req->path.base, req->path.len});
    mt_api_answer(&request, &state, &result);
    exchange->response = result.response;
    if (result.kind == MT_ANSWER_JOB) {
        if (submit(exchange, &result.job))
            return 0;
        mt_response_fail(&exchange->response, MT_ERR_OVERLOADED);
    }
    exchange->held_bytes = hold_body(loop->server, &exchange->response);
    answer(exchange);
    return 0;
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

/* Called when a request ends whose connection is about to be closed by the library. */
static void linger(struct client *client, h2o_req_t *req)
{
    struct loop *loop = client->loop;
    struct lingering *lingering;
    int fd = h2o_socket_get_fd(client->sock);

    if (client->cut || client->lingers)
        return;
    if (!mt_peer_has_more(fd) && client->exchange != NULL && req->entity.base == NULL &&
        loop->phase == SERVING)
        return;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
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

static void log_access(struct client *client, h2o_req_t *req, enum mt_access_format format)
{
    struct mt_access access = {
        .time_ms = mt_clock_wall_ms(),
        .remote = client->remote,
        .method = {req->input.method.base, req->input.method.len},
        .target = {req->input.path.base, req->input.path.len},
        .status = req->res.status,
        .bytes = (int64_t)req->bytes_sent,
    };

    if (client->exchange != NULL)
        access.duration_ms = mt_clock_monotonic_ms() - client->exchange->begun_ms;
    mt_access_write(&access, format, &client->loop->lost_lines);
}

/* The library calls its loggers at the end of each request, before it closes the connection. */
static void on_request_end(h2o_logger_t *self, h2o_req_t *req)
{
    struct client *client = client_of(req);
    enum mt_access_format format = client->loop->server->options->access_log;

    (void)self;
    if (format != MT_ACCESS_OFF)
        log_access(client, req, format);
    if (!req->http1_is_persistent)
        linger(client, req);
}

struct json_error {
    h2o_ostream_t super;
    h2o_iovec_t body;
};

static void send_json_error(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t count,
                            h2o_send_state_t state)
{
    (void)bufs;
    /* no buffers: the answer to a HEAD */
    h2o_ostream_send_next(self, req, &((struct json_error *)self)->body, count > 0 ? 1 : 0, state);
}

/* What the library answers by itself (413, 417, a broken body) gets the form of our errors. */
static void on_library_error(h2o_filter_t *self, h2o_req_t *req, h2o_ostream_t **slot)
{
    struct json_error *error = (struct json_error *)h2o_add_ostream(req, sizeof *error, slot);

    (void)self;
    error->super.do_send = send_json_error;
    error->body = h2o_concat(&req->pool, h2o_iovec_init(H2O_STRLIT("{\"detail\":\"")),
                             h2o_iovec_init(req->res.reason, strlen(req->res.reason)),
                             h2o_iovec_init(H2O_STRLIT(".\"}")));
    req->res.content_length = error->body.len;
    h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE,
                   H2O_STRLIT("application/json"), 1);
    h2o_setup_next_ostream(req, &error->super.next);
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
            complain(loop, "as many clients as --max-connections allows: others wait");
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
            complain(loop, "the system has no descriptor or memory for another client");
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
            look.answer_bytes = (int64_t)client->exchange->response.body.length;
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

static void look_at_clients(struct loop *loop, int64_t now_ms)
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

static void follow_phase(struct loop *loop, int64_t now_ms)
{
    enum phase phase = (enum phase)mt_gauge_get(&loop->server->phase);

    /* makes the library say `Connection: close` from the next request on; its own function for this
     * would start timers of HTTP/2, too */
    loop->ctx.shutdown_requested = phase != SERVING;
    if (phase == CLOSING && loop->phase != CLOSING)
        loop->closing_ms = now_ms;
    loop->phase = phase;
}

static bool is_finished(const struct loop *loop)
{
    const struct server *server = loop->server;

    if (loop->phase != CLOSING || loop->tasks > 0 || loop->clients.next != &loop->clients ||
        loop->lingering.next != &loop->lingering)
        return false;
    for (size_t i = 0; i < MT_LISTENERS_MAX; i++)
        if (loop->listeners[i] != NULL)
            return false;
    /* signals and the time limit are the first loop's: it is the last to go */
    return loop->index != 0 ||
           mt_gauge_get(&server->finished) == (int64_t)server->options->loops - 1;
}

static void enter_phase(struct server *server, enum phase phase)
{
    mt_gauge_set(&server->phase, phase);
    for (size_t i = 1; i < server->options->loops; i++)
        h2o_multithread_send_message(&server->loops[i].finished, NULL);
}

static void turn_away(const struct server *server)
{
    for (size_t i = 0; i < server->options->listeners->count; i++)
        mt_listener_turn_away(&server->options->listeners->item[i]);
}

static _Noreturn void end_at_once(struct server *server, const char *why)
{
    int64_t left = mt_gauge_get(&server->connections);

    turn_away(server);
    mt_log(MT_LOG_WARNING, "%s: ends with %lld connections open", why, (long long)left);
    _exit(mt_err_exit_status(MT_ERR_FAILED));
}

/* The first loop leads the way from one phase to the next. */
static void lead(struct server *server, int64_t now_ms)
{
    enum phase phase = (enum phase)mt_gauge_get(&server->phase);

    if (phase == LEAVING && now_ms >= server->leave_until_ms) {
        turn_away(server);
        server->close_until_ms = now_ms + server->options->client_timeout_ms + DRAIN_MOST_MS;
        enter_phase(server, CLOSING);
    } else if (phase == CLOSING && now_ms >= server->close_until_ms) {
        end_at_once(server, "clients take too long to read their answers");
    }
}

static void on_signal(h2o_socket_t *sock, const char *err)
{
    struct server *server = sock->data;
    struct signalfd_siginfo info;

    (void)err;
    while (read(h2o_socket_get_fd(sock), &info, sizeof info) == (ssize_t)sizeof info) {
        if (mt_gauge_get(&server->phase) != SERVING)
            end_at_once(server, "a second signal came");
        mt_log(MT_LOG_INFO, "signal %u: finishes what was asked, then ends", info.ssi_signo);
        server->leave_until_ms = mt_clock_monotonic_ms() + server->options->drain_delay_ms;
        enter_phase(server, LEAVING);
    }
}

static void open_signals(struct server *server)
{
    sigset_t ends;
    int fd;

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGHUP);
    (void)sigaddset(&ends, SIGQUIT);
    fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    server->signals =
        h2o_evloop_socket_create(server->loops[0].ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    server->signals->data = server;
    h2o_socket_read_start(server->signals, on_signal);
}

static void begin_loop(struct loop *loop)
{
    const struct mt_server_options *options = loop->server->options;

    /* in the thread that runs it: the library keeps free lists per thread */
    h2o_context_init(&loop->ctx, h2o_evloop_create(), &loop->server->config);
    loop->accept_ctx = (h2o_accept_ctx_t){.ctx = &loop->ctx, .hosts = loop->server->config.hosts};
    h2o_multithread_register_receiver(loop->ctx.queue, &loop->finished, on_finished);
    h2o_linklist_init_anchor(&loop->clients);
    h2o_linklist_init_anchor(&loop->lingering);
    for (size_t i = 0; i < options->listeners->count; i++) {
        loop->listeners[i] = h2o_evloop_socket_create(loop->ctx.loop, loop->listener_fds[i],
                                                      H2O_SOCKET_FLAG_DONT_READ);
        loop->listeners[i]->data = loop;
        h2o_socket_read_start(loop->listeners[i], on_accept);
    }
    if (loop->index == 0)
        open_signals(loop->server);
}

static void end_loop(struct loop *loop)
{
    h2o_evloop_t *evloop = loop->ctx.loop;

    if (loop->index == 0)
        h2o_socket_close(loop->server->signals);
    /* closed sockets are freed in the turn after */
    (void)h2o_evloop_run(evloop, 0);
    h2o_multithread_unregister_receiver(loop->ctx.queue, &loop->finished);
    h2o_context_dispose(&loop->ctx);
    h2o_evloop_destroy(evloop);
}

static void turn(struct loop *loop)
{
    bool hurried = loop->phase != SERVING;
    int64_t now_ms;

    if (h2o_evloop_run(loop->ctx.loop, hurried ? HURRIED_TURN_MS : TURN_MS) != 0 &&
        errno != EINTR) {
        mt_log(MT_LOG_CRITICAL, "event loop: %s", strerrordesc_np(errno));
        end_at_once(loop->server, "an event loop failed");
    }
    now_ms = mt_clock_monotonic_ms();
    if (loop->index == 0)
        lead(loop->server, now_ms);
    follow_phase(loop, now_ms);
    if (loop->phase == CLOSING) {
        close_listeners(loop, now_ms);
        close_idle(loop, now_ms);
    }
    if (now_ms - loop->looked_ms >= (hurried ? TURN_MS / 10 : TURN_MS)) {
        loop->looked_ms = now_ms;
        look_at_clients(loop, now_ms);
    }
}

static void run_loop(struct mt_threads *threads, size_t index, void *context)
{
    struct server *server = context;
    struct loop *loop = &server->loops[index];

    begin_loop(loop);
    mt_threads_meet(threads);
    if (index == 0)
        server->options->ready(server->options);
    while (!is_finished(loop))
        turn(loop);
    if (index != 0)
        mt_gauge_add(&server->finished, 1);
    /* the first loop wakes the others, and workers may be on their way out of hand_back */
    mt_threads_meet(threads);
    if (index == 0)
        mt_pool_stop(server->pool);
    mt_threads_meet(threads);
    end_loop(loop);
}

static void configure(struct server *server)
{
    h2o_globalconf_t *config = &server->config;
    h2o_hostconf_t *host;
    h2o_pathconf_t *all;

    h2o_config_init(config);
    config->server_name = h2o_iovec_init(H2O_STRLIT("memory-tracker"));
    config->max_request_entity_size = ENTITY_MOST;
    config->http1.upgrade_to_http2 = 0;
    /* these timeouts are on the wall clock, which may step: look_at_clients is on the other one */
    config->http1.req_timeout = (uint64_t)24 * 60 * 60 * 1000;
    /* larger input would go to a file under /tmp: without a place for one the connection is closed
     */
    h2o_socket_buffer_mmap_settings.threshold = INPUT_MOST;
    (void)snprintf(h2o_socket_buffer_mmap_settings.fn_template,
                   sizeof h2o_socket_buffer_mmap_settings.fn_template, "/dev/null/XXXXXX");
    host = h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    all = h2o_config_register_path(host, "/", 0);
    h2o_create_handler(all, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_create_logger(all, sizeof(h2o_logger_t))->log_access = on_request_end;
    h2o_create_logger(&host->fallback_path, sizeof(h2o_logger_t))->log_access = on_request_end;
    h2o_create_filter(&host->fallback_path, sizeof(h2o_filter_t))->on_setup_ostream =
        on_library_error;
}

/* All descriptors that loops need are made here, so that making a loop cannot fail. */
static enum mt_err share_listeners(struct server *server, struct mt_error *error)
{
    const struct mt_listeners *listeners = server->options->listeners;

    for (size_t l = 0; l < server->options->loops; l++) {
        struct loop *loop = &server->loops[l];

        loop->server = server;
        loop->index = l;
        for (size_t i = 0; i < listeners->count; i++) {
            loop->listener_fds[i] = fcntl(listeners->item[i].fd, F_DUPFD_CLOEXEC, 0);
            if (loop->listener_fds[i] < 0)
                return mt_error_set_errno(error, MT_ERR_FAILED, errno,
                                          "cannot share the listening sockets among %zu threads",
                                          server->options->loops);
        }
    }
    return MT_OK;
}

int64_t mt_server_descriptors(const struct mt_server_options *options)
{
    enum {
        PER_LOOP = 3 + 1, /* epoll, two ends of a pipe; one while a connection begins to linger */
        PER_WORKER = 3,   /* the store, its journal and its directory */
        OTHERS = 16,      /* standard streams, log, signals, and whatever started us left open */
    };
    int64_t listeners = (int64_t)options->listeners->count;

    return OTHERS + listeners + (int64_t)options->loops * (PER_LOOP + listeners) +
           (int64_t)options->workers * PER_WORKER;
}

enum mt_err mt_server_run(const struct mt_server_options *options, struct mt_error *error)
{
    struct server server = {.options = options};
    struct mt_pool_options pool = {.workers = options->workers,
                                   .queue_limit = options->workers * QUEUED_PER_WORKER,
                                   .store = options->store,
                                   .busy_wait_ms = BUSY_WAIT_MS,
                                   .reopen_after_ms = REOPEN_AFTER_MS};
    enum mt_err result;

    server.loops = calloc(options->loops, sizeof *server.loops);
    if (server.loops == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for %zu event loops",
                            options->loops);
    configure(&server);
    result = share_listeners(&server, error);
    if (result == MT_OK)
        result = mt_pool_start(&pool, &server.pool, error);
    if (result == MT_OK) {
        result = mt_threads_run(options->loops, run_loop, &server, error);
        if (result != MT_OK)
            mt_pool_stop(server.pool);
    }
    h2o_config_dispose(&server.config);
    free(server.loops);
    return result;
}
