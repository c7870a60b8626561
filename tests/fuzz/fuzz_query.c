/*
 * A whole request through the router, the query parser and the validation: the first byte chooses
 * the method, what follows is a request target. Whatever comes, the answer is well-formed JSON of a
 * known status and no longer than the question warrants, and separators that separate nothing
 * change nothing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool take(struct mt_slice *rest, const char *text)
{
    size_t length = strlen(text);

    if (rest->length < length || memcmp(rest->data, text, length) != 0)
        return false;
    rest->data += length;
    rest->length -= length;
    return true;
}

static void require_string(struct mt_slice *rest)
{
    require(take(rest, "\""));
    while (!take(rest, "\"")) {
        require(rest->length > 0 && (unsigned char)rest->data[0] >= 0x20);
        if (!take(rest, "\\\\") && !take(rest, "\\\""))
            rest->data++, rest->length--;
    }
}

/* One value of compact JSON; depth is bounded by what the program sends. */
static void require_value(struct mt_slice *rest, int depth)
{
    require(depth < 6 && rest->length > 0);
    if (take(rest, "[")) {
        if (take(rest, "]"))
            return;
        do
            require_value(rest, depth + 1);
        while (take(rest, ","));
        require(take(rest, "]"));
    } else if (take(rest, "{")) {
        do {
            require_string(rest);
            require(take(rest, ":"));
            require_value(rest, depth + 1);
        } while (take(rest, ","));
        require(take(rest, "}"));
    } else if (rest->data[0] == '"') {
        require_string(rest);
    } else {
        (void)take(rest, "-");
        require(rest->length > 0 && rest->data[0] >= '0' && rest->data[0] <= '9');
        while (rest->length > 0 && rest->data[0] >= '0' && rest->data[0] <= '9')
            rest->data++, rest->length--;
    }
}

static void require_response(const struct mt_response *response, size_t size)
{
    struct mt_slice rest = {response->body.data, response->body.length};

    require(!response->body.failed);
    /* at worst each byte is a control character, which JSON writes with six */
    require(response->body.length <= 6 * size + 1024);
    require(mt_utf8_is_valid(response->body.data, response->body.length));
    require_value(&rest, 0);
    require(rest.length == 0);
    require(strcmp(response->content_type, "application/json") == 0);
    require((response->status == 405) == (response->allow != NULL));
    require((response->status == 503) == (response->retry_after_s > 0));
    require(strcmp(mt_status_reason(response->status), "Unknown") != 0);
}

static void answer(enum mt_method method, struct mt_slice path, struct mt_slice query,
                   struct mt_answer *answer)
{
    const struct mt_request request = {.method = method, .path = path, .query = query};
    const struct mt_api_state state = {.now_s = 1647039540};

    mt_api_answer(&request, &state, answer);
}

/* The same question with needless separators about it has the same answer. */
static void require_same_padded(enum mt_method method, struct mt_slice path, struct mt_slice query,
                                const struct mt_answer *expected)
{
    struct mt_answer padded;
    struct mt_buf text;

    mt_buf_init(&text, 0);
    mt_buf_append_string(&text, "&&x=1&");
    mt_buf_append(&text, query.data, query.length);
    mt_buf_append_string(&text, "&=&");
    answer(method, path, (struct mt_slice){text.data, text.length}, &padded);
    require(padded.kind == expected->kind);
    require(padded.job.logs.limit == expected->job.logs.limit);
    require(padded.job.logs.skip == expected->job.logs.skip);
    require(padded.response.status == expected->response.status);
    require(padded.response.body.length == expected->response.body.length);
    require(padded.response.body.length == 0 ||
            memcmp(padded.response.body.data, expected->response.body.data,
                   padded.response.body.length) == 0);
    mt_response_fini(&padded.response);
    mt_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mt_error away = {.code = MT_ERR_MISSING, .text = "no store"};
    struct mt_error error = {0};
    struct mt_answer got;
    struct mt_slice path, query = {NULL, 0};
    enum mt_method method;
    const char *mark;

    if (size == 0)
        return 0;
    method = (enum mt_method)(data[0] % (MT_METHOD_OTHER + 1));
    path = (struct mt_slice){(const char *)data + 1, size - 1};
    mark = memchr(path.data, '?', path.length);
    if (mark != NULL) {
        query = (struct mt_slice){mark + 1, (size_t)(path.data + path.length - mark - 1)};
        path.length = (size_t)(mark - path.data);
    }
    answer(method, path, query, &got);
    require_same_padded(method, path, query, &got);
    if (got.kind == MT_ANSWER_JOB) {
        require(method != MT_METHOD_OTHER);
        /* a job without a limit is a ping */
        require(got.job.logs.limit >= 0 && got.job.logs.limit < 100000);
        require(got.job.logs.skip >= 0);
        got.job.run(&got.job, NULL, &away, &got.response, &error);
        require(error.code == MT_ERR_MISSING && got.response.status == 503);
    } else {
        require(got.response.status == 200 || got.response.status == 404 ||
                got.response.status == 405 || got.response.status == 422);
    }
    require_response(&got.response, size);
    mt_response_fini(&got.response);
    return 0;
}
