#include "api/handler.h"
#include "api/parameter.h"
#include "api/view.h"
#include "record/json.h"

enum {
    /* an entry is 63 bytes for years to come; no number in it can make it longer than the second */
    ENTRY_TYPICAL = 64,
    ENTRY_MAX = 128,
    /* more is had by doubling: most who ask for 99,999 have fewer */
    RESERVED_ENTRIES_MAX = 1024,
    QUICK_ENTRIES_MAX = 1000, /* about a millisecond of a worker's time */
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

static bool logs_from_window(const struct mt_job *job, struct mt_view *view,
                             struct mt_response *response)
{
    struct mt_page page;

    if (!mt_view_page(view, job->logs.limit, job->logs.skip, job->now_s, &page))
        return false;
    mt_response_json(response, 200, "");
    mt_page_render(&page, &response->body);
    (void)mt_response_settle(response);
    return true;
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
    if (code == MT_OK && mt_response_settle(response) != MT_OK)
        mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the answer to limit=%lld",
                     (long long)limit);
    else if (code != MT_OK)
        mt_response_fail(response, code);
}

void mt_handle_logs(const struct mt_request *request, const struct mt_api_state *state,
                    struct mt_answer *answer)
{
    struct mt_parameters parameters;

    mt_response_json(&answer->response, 422, "");
    if (!mt_parameters_check(request->query,
                             MT_PARAMETER_BIT(MT_PARAMETER_LIMIT) |
                                 MT_PARAMETER_BIT(MT_PARAMETER_SKIP),
                             &parameters, &answer->response.body)) {
        (void)mt_response_settle(&answer->response);
        return;
    }
    answer->kind = MT_ANSWER_JOB;
    answer->job = (struct mt_job){
        .run = run_logs,
        .from_window = logs_from_window,
        .logs = {.limit = parameters.value[MT_PARAMETER_LIMIT],
                 .skip = parameters.value[MT_PARAMETER_SKIP]},
        .is_large = parameters.value[MT_PARAMETER_LIMIT] > QUICK_ENTRIES_MAX,
        .now_s = state->now_s,
    };
}
