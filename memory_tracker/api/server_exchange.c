#include "api/server_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    JOB_DEADLINE_MS = 10000,
    KEEPER_PATIENCE_MS = 1000, /* how long the keeper is waited for before a worker is asked */
};

static void stop_waiting(struct exchange *exchange)
{
    struct loop *loop = exchange->client->loop;

    if (!h2o_linklist_is_linked(&exchange->waits))
        return;
    h2o_linklist_unlink(&exchange->waits);
    if (h2o_linklist_is_empty(&loop->waiting))
        mt_gauge_set(&loop->has_waiting, 0);
}

static void dispose_exchange(void *data)
{
    struct exchange *exchange = data;

    exchange->client->exchange = NULL;
    if (exchange->task != NULL) {
        exchange->task->exchange = NULL;
        mt_gauge_set(&exchange->task->work.cancelled, 1);
    }
    stop_waiting(exchange);
    mt_response_fini(&exchange->response);
    mt_lease_return(exchange->lease);
    mt_answer_release(exchange->client->loop->server, &exchange->held_bytes);
}

static void free_task(struct task *task)
{
    mt_gauge_add(&task->loop->server->body_bytes, -task->body_bytes);
    mt_job_fini(&task->work.job);
    free(task);
}

/* In a worker's thread. */
static void hand_back(struct mt_work *work)
{
    struct task *task = H2O_STRUCT_FROM_MEMBER(struct task, work, work);

    task->held_bytes = mt_answer_hold(task->loop->server, &work->response);
    h2o_multithread_send_message(&task->loop->finished, &task->message);
}

void mt_exchange_on_finished(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
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
            mt_answer_send(exchange);
        } else {
            mt_response_fini(&task->work.response);
            mt_answer_release(loop->server, &task->held_bytes);
        }
        free_task(task);
    }
}

/* Takes the job over, also where it fails. */
static bool submit(struct exchange *exchange, struct mt_job *job)
{
    struct loop *loop = exchange->client->loop;
    struct task *task = calloc(1, sizeof *task);
    int64_t body_bytes = (int64_t)job->remote.body.capacity;

    if (task == NULL ||
        !mt_gauge_try_add(&loop->server->body_bytes, body_bytes, BODY_MEMORY_BYTES)) {
        mt_job_fini(job);
        free(task);
        return false;
    }
    task->body_bytes = body_bytes;
    task->work.job = *job;
    task->work.job.deadline_ms = exchange->client->begun_ms + JOB_DEADLINE_MS;
    task->work.done = hand_back;
    task->loop = loop;
    task->exchange = exchange;
    if (!mt_pool_submit(loop->server->pool, &task->work)) {
        mt_loop_complain(loop, "more requests than the workers can do: some are answered with 503; "
                               "give more --workers or look for slow storage");
        free_task(task);
        return false;
    }
    exchange->task = task;
    loop->tasks++;
    return true;
}

/* A list that was sent in several lines is all of them (RFC 9110, 5.3). */
static struct mt_slice join_lines(h2o_req_t *req, const h2o_token_t *name)
{
    size_t length = 0;
    char *text;
    char *at;

    for (size_t i = 0; i < req->headers.size; i++)
        if (req->headers.entries[i].name == &name->buf)
            length += req->headers.entries[i].value.len + 1;
    text = at = h2o_mem_alloc_pool(&req->pool, length);
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *header = &req->headers.entries[i];

        if (header->name != &name->buf)
            continue;
        memcpy(at, header->value.base, header->value.len);
        at += header->value.len;
        *at++ = ',';
    }
    return (struct mt_slice){text, length};
}

/* Headers that handlers may see. One that is sent twice counts for nothing where it is no list: who
 * knows which one somebody before us looked at. */
static void read_headers(h2o_req_t *req, struct mt_request *request)
{
    const struct {
        const h2o_token_t *name;
        struct mt_slice *value;
        bool is_list;
    } wanted[] = {{H2O_TOKEN_ACCEPT_ENCODING, &request->accept_encoding, true},
                  {H2O_TOKEN_IF_NONE_MATCH, &request->if_none_match, true},
                  {H2O_TOKEN_AUTHORIZATION, &request->authorization, false},
                  {H2O_TOKEN_CONTENT_TYPE, &request->content_type, false},
                  {H2O_TOKEN_CONTENT_ENCODING, &request->content_encoding, false}};
    bool again[sizeof wanted / sizeof wanted[0]] = {false};
    bool seen[sizeof wanted / sizeof wanted[0]] = {false};

    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *header = &req->headers.entries[i];

        for (size_t j = 0; j < sizeof wanted / sizeof wanted[0]; j++) {
            if (header->name != &wanted[j].name->buf)
                continue;
            *wanted[j].value = seen[j] ? (struct mt_slice){NULL, 0}
                                       : (struct mt_slice){header->value.base, header->value.len};
            again[j] = seen[j];
            seen[j] = true;
        }
    }
    for (size_t j = 0; j < sizeof wanted / sizeof wanted[0]; j++)
        if (again[j] && wanted[j].is_list)
            *wanted[j].value = join_lines(req, wanted[j].name);
}

static void read_request(h2o_req_t *req, struct mt_request *request)
{
    static const struct {
        struct mt_slice name;
        enum mt_method method;
    } methods[] = {
        {{"GET", 3}, MT_METHOD_GET}, {{"HEAD", 4}, MT_METHOD_HEAD}, {{"POST", 4}, MT_METHOD_POST}};

    *request = (struct mt_request){.method = MT_METHOD_OTHER};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (!h2o_memis(req->method.base, req->method.len, methods[i].name.data,
                       methods[i].name.length))
            continue;
        request->method = methods[i].method;
        break;
    }
    mt_request_set_target(request, (struct mt_slice){req->path.base, req->path.len});
    read_headers(req, request);
    if (req->entity.base != NULL)
        request->body = (struct mt_slice){req->entity.base, req->entity.len};
}

/* Until the keeper has looked at the store again. */
static void wait_for_keeper(struct exchange *exchange)
{
    struct loop *loop = exchange->client->loop;

    exchange->ticket = mt_reader_ticket(loop->reader);
    h2o_linklist_insert(&loop->waiting, &exchange->waits);
    mt_gauge_set(&loop->has_waiting, 1);
    if (exchange->ticket == loop->hurried)
        return;
    loop->hurried = exchange->ticket;
    mt_keeper_hurry(loop->server->options->keeper);
}

/* What was asked keeps that much history in the window, or has it grow. */
static void want(struct loop *loop, const struct mt_answer *result, enum mt_reading reading)
{
    mt_reader_want(loop->reader, result->reach);
    if (result->kind != MT_ANSWER_JOB || result->job.view != NULL)
        return;
    mt_reader_settle(loop->reader);
    if (reading == MT_READING_CURRENT)
        mt_keeper_hurry(loop->server->options->keeper);
}

static void answer_request(struct exchange *exchange, enum mt_reading reading)
{
    struct loop *loop = exchange->client->loop;
    /* a lease may be lost for want of memory within a turn */
    bool is_current = reading == MT_READING_CURRENT && loop->reader->lease != NULL;
    struct mt_api_state state = {.draining = loop->phase != SERVING,
                                 .now_s = exchange->now_s,
                                 .tokens = loop->tokens.tokens,
                                 .packer = &loop->packer};
    struct mt_request request;
    struct mt_answer result;

    if (is_current)
        state.view = loop->reader->lease->view;
    read_request(exchange->req, &request);
    mt_api_answer(&request, &state, &result);
    if (result.kind == MT_ANSWER_JOB && result.job.from_view != NULL &&
        reading == MT_READING_STALE) {
        mt_response_fini(&result.response);
        mt_job_fini(&result.job);
        wait_for_keeper(exchange);
        return;
    }
    if (result.kind != MT_ANSWER_JOB || result.job.from_view != NULL)
        want(loop, &result, reading);
    exchange->response = result.response;
    memcpy(exchange->token, result.job.remote.grant.name, sizeof exchange->token);
    if (result.kind == MT_ANSWER_JOB) {
        if (submit(exchange, &result.job))
            return;
        mt_response_fail(&exchange->response, MT_ERR_OVERLOADED);
    } else if (result.kind == MT_ANSWER_BYTES) {
        mt_job_fini(&result.job);
    }
    exchange->held_bytes = mt_answer_hold(loop->server, &exchange->response);
    if (exchange->response.has_page) {
        exchange->lease = mt_lease_take(loop->reader->lease);
        mt_answer_remember(exchange, result.reach);
    }
    mt_answer_send(exchange);
}

void mt_exchange_resume(struct loop *loop, int64_t now_ms)
{
    while (!h2o_linklist_is_empty(&loop->waiting)) {
        struct exchange *exchange =
            H2O_STRUCT_FROM_MEMBER(struct exchange, waits, loop->waiting.next);
        enum mt_reading_end end = mt_reader_check(loop->reader, exchange->ticket);

        /* those behind came later */
        if (end == MT_READING_GOES_ON && now_ms - exchange->client->begun_ms < KEEPER_PATIENCE_MS)
            return;
        stop_waiting(exchange);
        loop->has_resumed = true;
        answer_request(exchange, end == MT_READING_DONE ? MT_READING_CURRENT : MT_READING_UNKNOWN);
    }
}

/*
 * Once in a turn is enough for all whose requests had come when it began. Of a client that sends
 * several at once the next may have come later.
 */
static enum mt_reading look(struct client *client)
{
    struct loop *loop = client->loop;

    if (loop->read_turn != loop->turn || client->turn == loop->turn) {
        loop->reading = mt_reader_look(loop->reader);
        loop->read_turn = loop->turn;
        loop->now_ms = mt_clock_monotonic_ms();
        loop->now_s = mt_clock_wall_s();
    }
    client->turn = loop->turn;
    return loop->reading;
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct client *client = mt_client_of(req);
    enum mt_reading reading = look(client);
    struct exchange *exchange;

    (void)self;
    client->requests++;
    client->begun_ms = client->loop->now_ms;
    if (reading == MT_READING_CURRENT && mt_answer_again(client, req))
        return 0;
    exchange = h2o_mem_alloc_shared(&req->pool, sizeof *exchange, dispose_exchange);
    *exchange = (struct exchange){.generator = {.proceed = mt_answer_proceed},
                                  .req = req,
                                  .client = client,
                                  .now_s = client->loop->now_s};
    client->exchange = exchange;
    /*
     * The library believes the first of two Content-Lengths and hides these headers from us:
     * whoever sends a body gets its answer and no second request on the same connection.
     */
    if (req->entity.base != NULL)
        req->http1_is_persistent = 0;
    answer_request(exchange, reading);
    return 0;
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
        .token = "",
    };

    if (client->begun_ms != 0)
        access.duration_ms = mt_clock_monotonic_ms() - client->begun_ms;
    if (client->exchange != NULL)
        access.token = client->exchange->token;
    mt_access_write(&access, format, &client->loop->lost_lines);
}

/* The library calls its loggers at the end of each request, before it closes the connection. */
static void on_request_end(h2o_logger_t *self, h2o_req_t *req)
{
    struct client *client = mt_client_of(req);
    enum mt_access_format format = client->loop->server->options->access_log;

    (void)self;
    if (format != MT_ACCESS_OFF)
        log_access(client, req, format);
    client->begun_ms = 0;
    if (!req->http1_is_persistent)
        mt_client_linger(client, req);
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

void mt_exchange_register(h2o_hostconf_t *host)
{
    h2o_pathconf_t *all = h2o_config_register_path(host, "/", 0);

    h2o_create_handler(all, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_create_logger(all, sizeof(h2o_logger_t))->log_access = on_request_end;
    h2o_create_logger(&host->fallback_path, sizeof(h2o_logger_t))->log_access = on_request_end;
    h2o_create_filter(&host->fallback_path, sizeof(h2o_filter_t))->on_setup_ostream =
        on_library_error;
}
