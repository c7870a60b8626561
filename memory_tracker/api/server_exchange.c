#include "api/server_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    JOB_DEADLINE_MS = 10000,
    KEEPER_PATIENCE_MS = 1000, /* how long the keeper is waited for before a worker is asked */
    CHUNK_BYTES =
        128 * 1024, /* a body goes to its connection in such pieces, so that progress shows */
    UNSENT_BYTES = 64 * 1024 * 1024,     /* of pages, in the kernel for all clients, */
    UNSENT_MOST_BYTES = 4 * 1024 * 1024, /* and for one */
    SMALL_PAGE_BYTES = 2048,
    SMALL_PAGE_SLICES = 4,
    SMALL_BYTES = 64 * 1024, /* answers up to this are sent whatever is held */
};

static void release_held(struct server *server, int64_t *held_bytes)
{
    /* what all loops count is not touched for nothing */
    if (*held_bytes == 0)
        return;
    mt_gauge_add(&server->held_bytes, -*held_bytes);
    *held_bytes = 0;
}

/* Counts the body against the budget, or replaces it by a 503. Any thread. */
static int64_t hold_body(struct server *server, struct mt_response *response)
{
    struct mt_buf *body = &response->body;
    int64_t bytes;

    /* while old views of the window take more than its memory, no large answer holds a further one
     */
    if (response->has_page && mt_response_length(response) > SMALL_BYTES &&
        mt_keeper_is_short(server->options->keeper))
        mt_response_own(response);
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
    if (bytes == 0)
        return 0;
    if (bytes <= SMALL_BYTES) {
        mt_gauge_add(&server->held_bytes, bytes);
    } else if (!mt_gauge_try_add(&server->held_bytes, bytes,
                                 server->options->response_memory_bytes)) {
        mt_response_fail(response, MT_ERR_OVERLOADED);
        mt_gauge_add(&server->refused, 1);
        bytes = 0;
    }
    return bytes;
}

/* The slices of a page are the body: no byte is copied on the way to the kernel. */
static void send_slices(struct exchange *exchange)
{
    size_t count = 0;
    size_t bytes = 0;
    h2o_iovec_t *slices = exchange->slices;

    while (count < exchange->slice_count && bytes < exchange->most_at_once)
        bytes += slices[count++].len;
    exchange->slices += count;
    exchange->slice_count -= count;
    h2o_send(exchange->req, slices, count,
             exchange->slice_count == 0 ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void send_more_slices(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    send_slices(H2O_STRUCT_FROM_MEMBER(struct exchange, generator, generator));
}

/* Few clients may have much in the kernel, many only little. False: it does not take much. */
static bool hurry(const struct client *client)
{
    int64_t bytes = UNSENT_BYTES / (mt_gauge_get(&client->loop->server->connections) + 1);

    if (bytes > UNSENT_MOST_BYTES)
        bytes = UNSENT_MOST_BYTES;
    if (bytes < CHUNK_BYTES)
        bytes = CHUNK_BYTES;
    return mt_peer_hurry(h2o_socket_get_fd(client->sock), (int)bytes);
}

/* So little is copied sooner than it takes the kernel to look at a few pieces. */
static void send_small_page(struct exchange *exchange)
{
    const struct mt_page *page = &exchange->response.page;
    struct mt_slice slices[SMALL_PAGE_SLICES];
    h2o_iovec_t body = {h2o_mem_alloc_pool(&exchange->req->pool, page->length), 0};

    mt_page_slices(page, slices);
    for (size_t i = 0; i < page->slices; i++) {
        memcpy(body.base + body.len, slices[i].data, slices[i].length);
        body.len += slices[i].length;
    }
    h2o_send(exchange->req, &body, 1, H2O_SEND_STATE_FINAL);
}

static void send_page(struct exchange *exchange)
{
    _Static_assert(sizeof(struct mt_slice) == sizeof(h2o_iovec_t) &&
                       offsetof(struct mt_slice, length) == offsetof(h2o_iovec_t, len),
                   "a slice is an iovec");
    const struct mt_response *response = &exchange->response;
    struct mt_slice *slices = response->packed.slices;

    if (!response->is_gzip && response->page.length <= SMALL_PAGE_BYTES &&
        response->page.slices <= SMALL_PAGE_SLICES) {
        send_small_page(exchange);
        return;
    }

    exchange->slice_count = response->is_gzip ? response->packed.count : response->page.slices;
    if (!response->is_gzip) {
        slices = h2o_mem_alloc_pool(&exchange->req->pool, exchange->slice_count * sizeof *slices);
        mt_page_slices(&response->page, slices);
    }
    exchange->slices = (h2o_iovec_t *)slices;
    exchange->generator.proceed = send_more_slices;
    exchange->most_at_once = SIZE_MAX;
    if (mt_response_length(response) > CHUNK_BYTES && !hurry(exchange->client))
        exchange->most_at_once = CHUNK_BYTES;
    send_slices(exchange);
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

static void add_validators(h2o_req_t *req, const char *tag)
{
    add_header(req, H2O_TOKEN_ETAG, tag);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL,
                   H2O_STRLIT("no-cache"));
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_VARY, NULL,
                   H2O_STRLIT("Accept-Encoding"));
}

static void add_number_header(h2o_req_t *req, const h2o_token_t *name, int64_t value)
{
    char number[24];

    (void)snprintf(number, sizeof number, "%lld", (long long)value);
    add_header(req, name, h2o_strdup(&req->pool, number, SIZE_MAX).base);
}

static void answer(struct exchange *exchange)
{
    struct mt_response *response = &exchange->response;
    h2o_req_t *req = exchange->req;

    req->res.status = response->status;
    req->res.reason = mt_status_reason(response->status);
    /* without it the library would send chunks, and close after any status but 200 */
    req->res.content_length = response->status == 304 ? SIZE_MAX : mt_response_length(response);
    if (response->content_type != NULL)
        add_header(req, H2O_TOKEN_CONTENT_TYPE, response->content_type);
    if (response->allow != NULL)
        add_header(req, H2O_TOKEN_ALLOW, response->allow);
    if (response->authenticate != NULL)
        add_header(req, H2O_TOKEN_WWW_AUTHENTICATE, response->authenticate);
    if (response->is_gzip)
        add_header(req, H2O_TOKEN_CONTENT_ENCODING, "gzip");
    if (response->is_validated)
        add_validators(req, response->tag);
    else
        h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL,
                       H2O_STRLIT("no-store"));
    if (response->retry_after_s > 0)
        add_number_header(req, H2O_TOKEN_RETRY_AFTER, response->retry_after_s);
    if (response->age_s >= 0)
        add_number_header(req, H2O_TOKEN_AGE, response->age_s);
    /* not the loop's own idea of it, which is that of its last turn */
    if (mt_gauge_get(&exchange->client->loop->server->phase) != SERVING)
        req->http1_is_persistent = 0;
    h2o_start_response(req, &exchange->generator);
    if (mt_response_length(response) > 0 &&
        !h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"))) {
        if (response->has_page)
            send_page(exchange);
        else
            send_next(&exchange->generator, req);
        return;
    }
    mt_buf_fini(&response->body);
    release_held(exchange->client->loop->server, &exchange->held_bytes);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

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
    release_held(exchange->client->loop->server, &exchange->held_bytes);
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

    task->held_bytes = hold_body(task->loop->server, &work->response);
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
            answer(exchange);
        } else {
            mt_response_fini(&task->work.response);
            release_held(loop->server, &task->held_bytes);
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
    task->work.job.deadline_ms = exchange->begun_ms + JOB_DEADLINE_MS;
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

    if (is_current) {
        state.view = loop->reader->lease->view;
        state.recent = &loop->reader->lease->recent;
    }
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
    exchange->held_bytes = hold_body(loop->server, &exchange->response);
    if (exchange->response.has_page)
        exchange->lease = mt_lease_take(loop->reader->lease);
    answer(exchange);
}

void mt_exchange_resume(struct loop *loop, int64_t now_ms)
{
    while (!h2o_linklist_is_empty(&loop->waiting)) {
        struct exchange *exchange =
            H2O_STRUCT_FROM_MEMBER(struct exchange, waits, loop->waiting.next);
        enum mt_reading_end end = mt_reader_check(loop->reader, exchange->ticket);

        /* those behind came later */
        if (end == MT_READING_GOES_ON && now_ms - exchange->begun_ms < KEEPER_PATIENCE_MS)
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
    struct exchange *exchange =
        h2o_mem_alloc_shared(&req->pool, sizeof *exchange, dispose_exchange);

    (void)self;
    *exchange = (struct exchange){.generator = {.proceed = send_next},
                                  .req = req,
                                  .client = client,
                                  .begun_ms = client->loop->now_ms,
                                  .now_s = client->loop->now_s};
    client->exchange = exchange;
    client->requests++;
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

    if (client->exchange != NULL) {
        access.duration_ms = mt_clock_monotonic_ms() - client->exchange->begun_ms;
        access.token = client->exchange->token;
    }
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
