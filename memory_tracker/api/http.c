#include "api/http.h"

#include <string.h>

const char mt_json_type[] = "application/json";

static const struct {
    int status;
    const char *reason;
} statuses[] = {
    {200, "OK"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {413, "Request Entity Too Large"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Entity"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
};

const char *mt_status_reason(int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].status == status)
            return statuses[i].reason;
    }
    return "Unknown";
}

void mt_response_init(struct mt_response *response)
{
    *response = (struct mt_response){.status = 500, .content_type = mt_json_type, .age_s = -1};
    mt_buf_init(&response->body, 0);
}

/* What of the body is not in its buffer. */
static void drop_page(struct mt_response *response)
{
    if (response->packed.slices != NULL)
        mt_packed_fini(&response->packed);
    response->packed = (struct mt_packed){0};
    mt_view_unref(response->view);
    response->view = NULL;
    response->has_page = false;
}

void mt_response_fini(struct mt_response *response)
{
    mt_buf_fini(&response->body);
    drop_page(response);
}

size_t mt_response_length(const struct mt_response *response)
{
    if (!response->has_page)
        return response->body.length;
    return response->is_gzip ? response->packed.length : response->page.length;
}

void mt_response_own(struct mt_response *response)
{
    if (!response->has_page)
        return;
    mt_buf_clear(&response->body);
    mt_buf_reserve(&response->body, mt_response_length(response));
    if (!response->is_gzip)
        mt_page_render(&response->page, &response->body);
    for (size_t i = 0; response->is_gzip && i < response->packed.count; i++)
        mt_buf_append(&response->body, response->packed.slices[i].data,
                      response->packed.slices[i].length);
    drop_page(response);
}

void mt_response_json(struct mt_response *response, int status, const char *body)
{
    response->status = status;
    response->content_type = mt_json_type;
    response->is_gzip = false;
    response->allow = NULL;
    response->authenticate = NULL;
    response->retry_after_s = 0;
    response->age_s = -1;
    response->is_validated = false;
    drop_page(response);
    mt_buf_clear(&response->body);
    mt_buf_append_string(&response->body, body);
}

void mt_response_refuse(struct mt_response *response, int status, const char *text)
{
    struct mt_buf valid;

    mt_buf_init(&valid, 0);
    mt_utf8_append_valid(&valid, text, strlen(text));
    mt_response_json(response, status, "{\"detail\":");
    mt_buf_append_json_string(&response->body, valid.data, valid.length);
    mt_buf_append_char(&response->body, '}');
    response->body.failed |= valid.failed;
    mt_buf_fini(&valid);
}

void mt_job_fini(struct mt_job *job)
{
    mt_buf_fini(&job->remote.query);
    mt_buf_fini(&job->remote.body);
    mt_buf_fini(&job->logs.none_match);
    mt_view_unref(job->view);
    job->view = NULL;
}

void mt_response_fail(struct mt_response *response, enum mt_err code)
{
    /* a half-rendered answer may hold megabytes that an error does not need */
    mt_buf_fini(&response->body);
    mt_buf_init(&response->body, 0);
    if (mt_err_http_status(code) == 503) {
        mt_response_json(response, 503, "{\"detail\":\"Service unavailable.\"}");
        response->retry_after_s = MT_RETRY_AFTER_S;
    } else {
        mt_response_json(response, 500, "{\"detail\":\"Internal server error.\"}");
    }
}

enum mt_err mt_response_settle(struct mt_response *response)
{
    if (!response->body.failed)
        return MT_OK;
    mt_response_fail(response, MT_ERR_NO_MEMORY);
    return MT_ERR_NO_MEMORY;
}

void mt_request_set_target(struct mt_request *request, struct mt_slice target)
{
    const char *fragment = memchr(target.data, '#', target.length);
    const char *end = fragment != NULL ? fragment : target.data + target.length;
    const char *path = target.data;
    const char *query;

    if (path < end && *path != '/') {
        const char *colon = memmem(path, (size_t)(end - path), "://", 3);

        if (colon != NULL && (colon - path == 4 || colon - path == 5) &&
            strncasecmp(path, "https", (size_t)(colon - path)) == 0) {
            path = colon + 3;
            while (path < end && *path != '/' && *path != '?')
                path++;
        }
    }
    query = path == end ? NULL : memchr(path, '?', (size_t)(end - path));
    request->path = (struct mt_slice){path, (size_t)((query != NULL ? query : end) - path)};
    request->query = query == NULL ? (struct mt_slice){end, 0}
                                   : (struct mt_slice){query + 1, (size_t)(end - query - 1)};
    if (request->path.length == 0)
        request->path = mt_slice_of("/");
}
