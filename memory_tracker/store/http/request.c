#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "store/http/http.h"
#include "store/wire.h"

enum {
    /* no answer is larger: 1,000 outcomes with the longest reasons; 20,000 of the longest records
     */
    SHORT_MOST_BYTES = 4 * 1024 * 1024,
    PAGE_MOST_BYTES = 96 * 1024 * 1024,
    PAGE_PATIENCE = 10,     /* times timeout_ms, while it flows at */
    SLOWEST_BYTES_S = 1024, /* or more */
    LONG_PATIENCE_MS = 3600 * 1000,
    FIRST_PAUSE_MS = 50,
    LONGEST_PAUSE_MS = 2000,
    PAUSE_STEP_MS = 100, /* how soon a cancelled pause ends */
};

/* What libcurl's callbacks work on while a request is on its way. */
struct transfer {
    const struct http_store *store;
    const struct http_request *request;
    struct mt_buf *body;
    int64_t patient_until; /* for all attempts of a short request, mt_clock_monotonic_ms */
};

enum mt_err http_check_wish(const struct http_store *store, const struct http_request *request,
                            struct mt_error *error)
{
    const struct mt_query *query = request->query;

    if (query == NULL)
        return MT_OK;
    if (query->cancelled != NULL && query->cancelled(query->cancel_context))
        return mt_error_set(error, MT_ERR_CANCELLED, "store %s: %s: cancelled", store->name,
                            request->what);
    if (query->deadline_ms != 0 && mt_clock_monotonic_ms() >= query->deadline_ms)
        return mt_error_set(error, MT_ERR_DEADLINE, "store %s: %s: not done by its deadline",
                            store->name, request->what);
    return MT_OK;
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;

    mt_buf_append(transfer->body, bytes, size * count);
    return transfer->body->failed ? 0 : size * count;
}

/* libcurl asks at least once a second */
static int is_unwanted(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    const struct transfer *transfer = context;

    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return http_check_wish(transfer->store, transfer->request, NULL) != MT_OK;
}

static long total_ms(const struct http_store *store, const struct http_request *request,
                     int64_t patient_until)
{
    int64_t total = patient_until - mt_clock_monotonic_ms();

    if (request->patience == HTTP_SHORT)
        total = total < store->timeout_ms ? total : store->timeout_ms;
    else if (request->patience == HTTP_PAGE)
        total = (int64_t)store->timeout_ms * PAGE_PATIENCE;
    else if (request->patience == HTTP_LONG)
        total = LONG_PATIENCE_MS;
    if (request->query != NULL && request->query->deadline_ms != 0) {
        int64_t left = request->query->deadline_ms - mt_clock_monotonic_ms();

        total = left < total ? left : total;
    }
    /* 0 would mean for ever */
    return total > 0 ? (long)total : 1;
}

static CURLcode prepare(const struct http_store *store, struct transfer *transfer, const char *url,
                        char *failure)
{
    const struct http_request *request = transfer->request;
    bool may_stall = request->patience == HTTP_LONG;
    CURLcode results[] = {
        curl_easy_setopt(store->curl, CURLOPT_URL, url),
        curl_easy_setopt(store->curl, CURLOPT_ERRORBUFFER, failure),
        curl_easy_setopt(store->curl, CURLOPT_WRITEFUNCTION, take_bytes),
        curl_easy_setopt(store->curl, CURLOPT_WRITEDATA, transfer),
        curl_easy_setopt(store->curl, CURLOPT_XFERINFOFUNCTION, is_unwanted),
        curl_easy_setopt(store->curl, CURLOPT_XFERINFODATA, transfer),
        curl_easy_setopt(store->curl, CURLOPT_NOPROGRESS, 0L),
        curl_easy_setopt(store->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)store->timeout_ms),
        curl_easy_setopt(store->curl, CURLOPT_TIMEOUT_MS,
                         total_ms(store, request, transfer->patient_until)),
        curl_easy_setopt(store->curl, CURLOPT_LOW_SPEED_LIMIT, may_stall ? 0L : SLOWEST_BYTES_S),
        curl_easy_setopt(store->curl, CURLOPT_LOW_SPEED_TIME,
                         may_stall ? 0L : (store->timeout_ms + 999L) / 1000),
        request->is_post ? curl_easy_setopt(store->curl, CURLOPT_POST, 1L)
                         : curl_easy_setopt(store->curl, CURLOPT_HTTPGET, 1L),
        /* NULL would let libcurl read standard input */
        request->is_post ? curl_easy_setopt(store->curl, CURLOPT_POSTFIELDS,
                                            request->body.length > 0 ? request->body.data : "")
                         : CURLE_OK,
        request->is_post ? curl_easy_setopt(store->curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                            (curl_off_t)request->body.length)
                         : CURLE_OK,
        curl_easy_setopt(store->curl, CURLOPT_HTTPHEADER,
                         request->body.length > 0 ? store->body_headers : store->headers),
    };

    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i] != CURLE_OK)
            return results[i];
    return CURLE_OK;
}

static void ask_once(struct http_store *store, const char *url, struct transfer *transfer,
                     struct http_answer *answer)
{
    struct mt_buf *body = transfer->body;
    const char *content_type = NULL;
    curl_off_t retry_after_s = 0;

    *answer = (struct http_answer){0};
    mt_buf_clear(body);
    answer->result = prepare(store, transfer, url, answer->failure);
    if (answer->result == CURLE_OK)
        answer->result = curl_easy_perform(store->curl);
    /* it lives on the stack */
    (void)curl_easy_setopt(store->curl, CURLOPT_ERRORBUFFER, NULL);
    (void)curl_easy_getinfo(store->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    (void)curl_easy_getinfo(store->curl, CURLINFO_CONTENT_TYPE, &content_type);
    (void)curl_easy_getinfo(store->curl, CURLINFO_RETRY_AFTER, &retry_after_s);
    if (content_type != NULL)
        mt_wire_clean(answer->content_type, sizeof answer->content_type, mt_slice_of(content_type));
    answer->retry_after_s = retry_after_s;
    answer->overflowed = body->failed;
    answer->body = (struct mt_slice){body->data, body->failed ? 0 : body->length};
}

/* Waits so long, in steps, and ends early when the caller wants no more. */
static enum mt_err wait_ms(const struct http_store *store, const struct http_request *request,
                           int64_t ms, struct mt_error *error)
{
    const int64_t end = mt_clock_monotonic_ms() + ms;

    for (;;) {
        int64_t left = end - mt_clock_monotonic_ms();
        enum mt_err err = http_check_wish(store, request, error);

        if (err != MT_OK || left <= 0)
            return err;
        (void)poll(NULL, 0, (int)(left < PAUSE_STEP_MS ? left : PAUSE_STEP_MS));
    }
}

enum mt_err http_ask(struct http_store *store, const struct http_request *request,
                     struct mt_buf *body, bool *too_large, struct mt_error *error)
{
    const int64_t start_ms = mt_clock_monotonic_ms();
    const int64_t busy_until_ms = start_ms + store->busy_wait_ms;
    const int longest_ms =
        store->busy_wait_ms > store->timeout_ms ? store->busy_wait_ms : store->timeout_ms;
    struct transfer transfer = {store, request, body, start_ms + longest_ms};
    int64_t pause_ms = FIRST_PAUSE_MS;
    struct mt_buf url;
    enum mt_err err;

    if (too_large != NULL)
        *too_large = false;
    mt_buf_init(&url, 0);
    mt_buf_append_string(&url, store->name);
    mt_buf_append_string(&url, request->target);
    if (mt_buf_string(&url) == NULL) {
        mt_buf_fini(&url);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    body->limit = request->patience == HTTP_SHORT ? SHORT_MOST_BYTES : PAGE_MOST_BYTES;
    for (;;) {
        struct http_answer answer;
        int64_t wanted_ms;

        err = http_check_wish(store, request, error);
        if (err != MT_OK)
            break;
        ask_once(store, url.data, &transfer, &answer);
        if (answer.result == CURLE_OK && answer.status == 200)
            break;
        err = http_fail(store, request, &answer, error);
        if (too_large != NULL)
            *too_large = answer.result == CURLE_OK && answer.status == 413;
        wanted_ms = answer.retry_after_s > 0 ? answer.retry_after_s * 1000 : pause_ms;
        if ((err != MT_ERR_BUSY && err != MT_ERR_OVERLOADED) || answer.retry_after_s > 3600 ||
            mt_clock_monotonic_ms() + wanted_ms > busy_until_ms)
            break;
        err = wait_ms(store, request, wanted_ms, error);
        if (err != MT_OK)
            break;
        pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
    }
    mt_buf_fini(&url);
    return err;
}
