#include <string.h>

#include "api/gzip.h"
#include "api/handler.h"
#include "api/parameter.h"
#include "record/json.h"

enum {
    /* an entry is 63 bytes for years to come; no number in it can make it longer than the second */
    ENTRY_TYPICAL = 64,
    ENTRY_MAX = 128,
    /* more is had by doubling: most who ask for 99,999 have fewer */
    RESERVED_ENTRIES_MAX = 1024,
    QUICK_ENTRIES_MAX = 1000,   /* about a millisecond of a worker's time */
    PACKED_AT_ONCE = 32 * 1024, /* what an event loop compresses while others wait */
};

static enum mt_err emit_entry(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct mt_buf *body = context;

    if (body->length > 1)
        mt_buf_append_char(body, ',');
    mt_json_log_entry(body, record);
    if (body->failed)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the answer: %zu bytes so far",
                            body->length);
    return MT_OK;
}

/* A body of at most limit entries, of which room for the first is made at once. */
static void begin_entries(struct mt_response *response, int64_t limit)
{
    int64_t reserved = limit < RESERVED_ENTRIES_MAX ? limit : RESERVED_ENTRIES_MAX;

    mt_response_json(response, 200, "");
    response->body.limit = 2 + (size_t)limit * ENTRY_MAX;
    mt_buf_reserve(&response->body, 2 + ENTRY_TYPICAL * (size_t)reserved);
    mt_buf_append_char(&response->body, '[');
}

/* Sets tag and status; true if that is all there is to the answer, since the client has it. */
static bool validate(struct mt_response *response, struct mt_entries_hash hash, bool is_gzip,
                     struct mt_slice none_match)
{
    bool is_known;

    mt_tag_format(hash, is_gzip, response->tag);
    is_known = none_match.length > 0 && mt_none_match_has(none_match, response->tag);
    response->is_validated = true;
    if (is_known) {
        response->status = 304;
        response->content_type = NULL;
    } else {
        response->status = 200;
    }
    return is_known;
}

/* NO_MEMORY, and a failure as the answer. */
static enum mt_err answer_page(const struct mt_page *page, bool is_gzip, struct mt_slice none_match,
                               struct mt_packer *packer, struct mt_response *response)
{
    if (validate(response, page->hash, is_gzip, none_match))
        return MT_OK;
    if (is_gzip && mt_page_pack(page, packer, &response->packed, NULL) != MT_OK) {
        mt_response_fail(response, MT_ERR_NO_MEMORY);
        return MT_ERR_NO_MEMORY;
    }
    response->is_gzip = is_gzip;
    response->page = *page;
    response->has_page = true;
    return MT_OK;
}

static bool logs_from_view(const struct mt_job *job, struct mt_view *view, struct mt_packer *packer,
                           struct mt_response *response)
{
    struct mt_slice none_match = {job->logs.none_match.data, job->logs.none_match.length};
    struct mt_page page;

    if (!mt_view_page(view, job->logs.limit, job->logs.skip, job->now_s, &page))
        return false;
    mt_response_json(response, 200, "");
    if (answer_page(&page, job->logs.may_gzip && page.length >= MT_GZIP_LEAST_BYTES, none_match,
                    packer, response) == MT_OK &&
        response->has_page)
        response->view = mt_view_ref(view);
    return true;
}

/* The rendered body in the form that was asked for. */
static enum mt_err finish_entries(const struct mt_job *job, struct mt_response *response)
{
    struct mt_slice none_match = {job->logs.none_match.data, job->logs.none_match.length};
    bool is_gzip = job->logs.may_gzip && response->body.length >= MT_GZIP_LEAST_BYTES;
    struct mt_slice plain = {response->body.data, response->body.length};
    struct mt_buf packed;
    struct mt_gzip *gzip;

    if (response->body.failed)
        return mt_response_settle(response);
    if (validate(response, mt_entries_hash_body(plain), is_gzip, none_match)) {
        mt_buf_clear(&response->body);
        return MT_OK;
    }
    if (!is_gzip)
        return MT_OK;
    mt_buf_init(&packed, 0);
    gzip = mt_gzip_new(&packed);
    if (gzip != NULL) {
        mt_gzip_write(gzip, plain);
        mt_gzip_end(gzip);
    }
    packed.failed |= gzip == NULL;
    mt_gzip_free(gzip);
    mt_buf_fini(&response->body);
    response->body = packed;
    response->is_gzip = true;
    return mt_response_settle(response);
}

static void run_logs(const struct mt_job *job, struct mt_store *store,
                     const struct mt_error *open_error, struct mt_response *response,
                     struct mt_error *error)
{
    int64_t limit = job->logs.limit;
    struct mt_query query = {
        .now_s = job->now_s,
        .skip = job->logs.skip,
        .limit = limit,
        .order = MT_OLDEST_FIRST,
        .fields = MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE) |
                  MT_FIELD_BIT(MT_FIELD_MEM_FREE),
        .deadline_ms = job->deadline_ms,
        .cancelled = job->cancelled,
        .cancel_context = job->cancel_context,
    };
    enum mt_err code;

    if (store == NULL) {
        *error = *open_error;
        mt_response_fail(response, error->code);
        return;
    }
    begin_entries(response, limit);
    code = mt_store_scan(store, &query, emit_entry, &response->body, error);
    mt_buf_append_char(&response->body, ']');
    if (code == MT_OK && finish_entries(job, response) != MT_OK)
        mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the answer to limit=%lld",
                     (long long)limit);
    else if (code != MT_OK)
        mt_response_fail(response, code);
}

/* True if the state's view has the answer and there is next to nothing to compress for it. */
static bool answer_at_once(const struct mt_request *request, const struct mt_api_state *state,
                           const struct mt_page *page, bool is_gzip, struct mt_answer *answer)
{
    if (is_gzip && mt_page_to_pack(page) > PACKED_AT_ONCE)
        return false;
    if (answer_page(page, is_gzip, request->if_none_match, state->packer, &answer->response) ==
            MT_OK &&
        answer->response.has_page)
        answer->kind = MT_ANSWER_PAGE;
    return true;
}

/* page: NULL where the view, if there is one, has not all of it. */
static int64_t measure_reach(const struct mt_logs_query *logs, const struct mt_page *page)
{
    int64_t most = page != NULL ? (int64_t)mt_view_records(page->view) : INT64_MAX;

    return logs->skip < most - logs->limit ? logs->skip + logs->limit : most;
}

void mt_handle_logs(const struct mt_request *request, const struct mt_api_state *state,
                    struct mt_answer *answer)
{
    struct mt_parameters parameters;
    struct mt_logs_query logs;
    struct mt_page page;
    bool has_page;

    if (!mt_parameters_check(request->query,
                             MT_PARAMETER_BIT(MT_PARAMETER_LIMIT) |
                                 MT_PARAMETER_BIT(MT_PARAMETER_SKIP),
                             &parameters, &answer->response.body)) {
        answer->response.status = 422;
        (void)mt_response_settle(&answer->response);
        return;
    }
    logs = (struct mt_logs_query){
        .limit = parameters.value[MT_PARAMETER_LIMIT],
        .skip = parameters.value[MT_PARAMETER_SKIP],
        .may_gzip = request->accept_encoding.length > 0 &&
                    mt_coding_choose(request->accept_encoding) == MT_CODING_GZIP,
    };
    has_page = state->view != NULL &&
               mt_view_page(state->view, logs.limit, logs.skip, state->now_s, &page);
    answer->reach = measure_reach(&logs, has_page ? &page : NULL);
    if (has_page && answer_at_once(request, state, &page,
                                   logs.may_gzip && page.length >= MT_GZIP_LEAST_BYTES, answer))
        return;
    mt_buf_init(&logs.none_match, 0);
    mt_buf_append(&logs.none_match, request->if_none_match.data, request->if_none_match.length);
    answer->kind = MT_ANSWER_JOB;
    answer->job = (struct mt_job){
        .run = run_logs,
        .from_view = logs_from_view,
        .view = has_page ? mt_view_ref(state->view) : NULL,
        .logs = logs,
        .is_large = logs.limit > QUICK_ENTRIES_MAX,
        .now_s = state->now_s,
    };
}
