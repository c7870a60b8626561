#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/http/http.h"
#include "store/wire.h"

enum { TARGET_MOST = 160 };

/* A mt_wire_read_ function with its results behind a pointer. */
typedef enum mt_err reader(struct mt_slice body, void *results, struct mt_error *error);

/* Asks for one object and reads it. */
static enum mt_err ask_for(struct http_store *store, const struct http_request *request,
                           reader *read, void *results, struct mt_error *error)
{
    struct mt_buf body;
    enum mt_err err;

    mt_buf_init(&body, 0);
    err = http_ask(store, request, &body, NULL, error);
    if (err == MT_OK)
        err = read((struct mt_slice){body.data, body.length}, results, error);
    if (err == MT_ERR_BAD_DATA)
        err = http_fail_foreign(store, request, error);
    mt_buf_fini(&body);
    return err;
}

static enum mt_err read_token(struct mt_slice body, void *results, struct mt_error *error)
{
    return mt_wire_read_token(body, results, error);
}

enum mt_err http_token(struct mt_store *base, struct mt_token *token, struct mt_error *error)
{
    const struct http_request request = {.what = "token", .target = "/store/token"};

    return ask_for((struct http_store *)base, &request, read_token, token, error);
}

static enum mt_err read_pruned(struct mt_slice body, void *results, struct mt_error *error)
{
    return mt_wire_read_pruned(body, results, error);
}

enum mt_err http_prune(struct mt_store *base, int64_t before, int64_t *pruned,
                       struct mt_error *error)
{
    struct http_store *store = (struct http_store *)base;
    char target[TARGET_MOST];
    const struct http_request request = {
        .what = "prune", .target = target, .patience = HTTP_LONG, .is_post = true};

    *pruned = 0;
    if (store->read_only)
        return http_fail_read_only(store, request.what, error);
    (void)snprintf(target, sizeof target, "/store/prune?before=%" PRId64, before);
    return ask_for(store, &request, read_pruned, pruned, error);
}

static enum mt_err read_size(struct mt_slice body, void *results, struct mt_error *error)
{
    return mt_wire_read_size(body, results, error);
}

enum mt_err http_size(struct mt_store *base, int64_t *bytes, struct mt_error *error)
{
    const struct http_request request = {.what = "size", .target = "/store/size"};

    return ask_for((struct http_store *)base, &request, read_size, bytes, error);
}

/* Where the findings of an answer go. */
struct verification {
    mt_report *report;
    void *context;
    int64_t *findings;
};

static enum mt_err read_findings(struct mt_slice body, void *results, struct mt_error *error)
{
    const struct verification *verification = results;

    return mt_wire_read_findings(body, verification->report, verification->context,
                                 verification->findings, error);
}

enum mt_err http_verify(struct mt_store *base, bool deep, mt_report *report, void *context,
                        int64_t *findings, struct mt_error *error)
{
    const struct http_request request = {
        .what = "verify",
        .target = deep ? "/store/verify?deep=1" : "/store/verify?deep=0",
        .patience = HTTP_LONG,
    };
    struct verification verification = {report, context, findings};

    *findings = 0;
    return ask_for((struct http_store *)base, &request, read_findings, &verification, error);
}

static enum mt_err fail_cut(const struct http_store *store, const struct http_request *request,
                            struct mt_error *error)
{
    (void)mt_error_set(error, MT_ERR_BAD_DATA, "its last line has no end");
    return http_fail_foreign(store, request, error);
}

enum mt_err http_hosts(struct mt_store *base, int64_t now_s, mt_emit_host *emit, void *context,
                       struct mt_error *error)
{
    struct http_store *store = (struct http_store *)base;
    char target[TARGET_MOST];
    const struct http_request request = {.what = "hosts", .target = target, .patience = HTTP_PAGE};
    struct mt_slice text;
    struct mt_slice line;
    struct mt_host host;
    struct mt_buf body;
    bool cut = false;
    enum mt_err err;

    (void)snprintf(target, sizeof target, "/store/hosts?now=%" PRId64, now_s);
    mt_buf_init(&body, 0);
    err = http_ask(store, &request, &body, NULL, error);
    text = (struct mt_slice){body.data, err == MT_OK ? body.length : 0};
    while (err == MT_OK && http_next_line(&text, &line, &cut)) {
        if (mt_wire_read_host(line, &host, error) == MT_OK)
            err = emit(context, &host, error);
        else
            err = http_fail_foreign(store, &request, error);
    }
    if (cut)
        err = fail_cut(store, &request, error);
    mt_buf_fini(&body);
    return err;
}

/* What one request for changes brought. */
struct arrivals {
    bool reset;
    size_t count;
};

/* Hands out what arrived; the place moves with each record that was taken. */
static enum mt_err take_changes(const struct http_store *store, const struct http_request *request,
                                struct mt_slice text, struct mt_token *token, mt_emit *emit,
                                void *context, struct arrivals *arrivals, struct mt_error *error)
{
    struct mt_token place;
    struct mt_record record;
    struct mt_slice line;
    bool cut = false;

    if (!http_next_line(&text, &line, &cut))
        return fail_cut(store, request, error);
    if (mt_wire_read_changes_head(line, &arrivals->reset, &place, error) != MT_OK ||
        (arrivals->reset && text.length > 0 &&
         mt_error_set(error, MT_ERR_BAD_DATA, "records after a reset") != MT_OK))
        return http_fail_foreign(store, request, error);
    *token = place;
    while (http_next_line(&text, &line, &cut)) {
        enum mt_err err;

        if (mt_wire_read_change(line, &place, &record, error) != MT_OK)
            return http_fail_foreign(store, request, error);
        err = emit(context, &record, error);
        if (err != MT_OK)
            return err;
        *token = place;
        arrivals->count++;
    }
    return cut ? fail_cut(store, request, error) : MT_OK;
}

enum mt_err http_changes(struct mt_store *base, struct mt_token *token, size_t limit, mt_emit *emit,
                         void *context, bool *reset, struct mt_error *error)
{
    struct http_store *store = (struct http_store *)base;
    char target[TARGET_MOST];
    const struct http_request request = {
        .what = "changes", .target = target, .patience = HTTP_PAGE};
    struct mt_buf body;
    size_t handed = 0;
    size_t asked;
    enum mt_err err;

    *reset = false;
    mt_buf_init(&body, 0);
    do {
        const struct mt_token before = *token;
        struct arrivals arrivals = {0};

        asked = limit - handed < MT_WIRE_PAGE_RECORDS ? limit - handed : MT_WIRE_PAGE_RECORDS;
        (void)snprintf(target, sizeof target,
                       "/store/changes?generation=%" PRIu64 "&sequence=%" PRId64 "&limit=%zu",
                       token->generation, token->sequence, asked);
        err = http_ask(store, &request, &body, NULL, error);
        if (err != MT_OK)
            break;
        err = take_changes(store, &request, (struct mt_slice){body.data, body.length}, token, emit,
                           context, &arrivals, error);
        /* told by the next call, since a reset comes with no record */
        if (arrivals.reset && handed > 0) {
            *token = before;
            break;
        }
        *reset = arrivals.reset;
        handed += arrivals.count;
        if (arrivals.count < asked)
            break;
    } while (err == MT_OK && handed < limit);
    mt_buf_fini(&body);
    return err;
}
