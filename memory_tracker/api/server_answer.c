#include "api/server_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES =
        128 * 1024, /* a body goes to its connection in such pieces, so that progress shows */
    UNSENT_BYTES = 64 * 1024 * 1024,     /* of pages, in the kernel for all clients, */
    UNSENT_MOST_BYTES = 4 * 1024 * 1024, /* and for one */
    SMALL_PAGE_BYTES = 2048,
    SMALL_PAGE_SLICES = 4,
    SMALL_BYTES = 64 * 1024, /* answers up to this are sent whatever is held */
};

void mt_answer_release(struct server *server, int64_t *held_bytes)
{
    /* what all loops count is not touched for nothing */
    if (*held_bytes == 0)
        return;
    mt_gauge_add(&server->held_bytes, -*held_bytes);
    *held_bytes = 0;
}

int64_t mt_answer_hold(struct server *server, struct mt_response *response)
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

void mt_answer_proceed(h2o_generator_t *generator, h2o_req_t *req)
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

static void add_validators(h2o_req_t *req, const char *tag, size_t length)
{
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_ETAG, NULL, tag, length);
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

void mt_answer_send(struct exchange *exchange)
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
        add_validators(req, response->tag, strlen(response->tag));
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
            mt_answer_proceed(&exchange->generator, req);
        return;
    }
    mt_buf_fini(&response->body);
    mt_answer_release(exchange->client->loop->server, &exchange->held_bytes);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* As sent. */
static struct mt_slice target_of(const h2o_req_t *req)
{
    return (struct mt_slice){req->path.base, req->path.len};
}

void mt_answer_remember(struct exchange *exchange, int64_t reach)
{
    const struct mt_response *response = &exchange->response;

    if (!response->is_gzip)
        mt_recent_keep(&exchange->lease->recent, target_of(exchange->req), exchange->now_s, reach,
                       response->tag, &response->page);
}

bool mt_answer_again(struct client *client, h2o_req_t *req)
{
    /* all of it is sent at once: there is nothing to go on with */
    static h2o_generator_t generator;
    struct loop *loop = client->loop;
    const struct mt_lease *lease = loop->reader->lease;
    const struct mt_recent *recent;
    h2o_iovec_t body;
    h2o_iovec_t tag;

    if (lease == NULL || !mt_recent_has(&lease->recent, target_of(req), loop->now_s) ||
        !h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET")) ||
        h2o_find_header(&req->headers, H2O_TOKEN_IF_NONE_MATCH, -1) != -1 ||
        !req->http1_is_persistent || req->entity.base != NULL ||
        mt_gauge_get(&loop->server->phase) != SERVING)
        return false;
    recent = &lease->recent;
    mt_reader_want(loop->reader, recent->reach);
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = recent->length;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, mt_json_type,
                   sizeof mt_json_type - 1);
    /* what is asked next may take its place before this is sent */
    tag = h2o_strdup(&req->pool, recent->tag, recent->tag_length);
    body = h2o_strdup(&req->pool, recent->body, recent->length);
    add_validators(req, tag.base, tag.len);
    h2o_start_response(req, &generator);
    h2o_send(req, &body, 1, H2O_SEND_STATE_FINAL);
    return true;
}
