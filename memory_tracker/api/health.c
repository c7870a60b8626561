#include "api/handler.h"

#include <stdio.h>
#include <string.h>

void mt_handle_healthz(const struct mt_request *request, const struct mt_api_state *state,
                       struct mt_answer *answer)
{
    (void)request;
    (void)state;
    mt_response_json(&answer->response, 200, "{\"status\":\"ok\"}");
}

/* Whatever ails the store, a balancer is to look again soon: 503, never 500. */
static void answer_unready(struct mt_response *response, const char *status, const char *text)
{
    struct mt_buf reason;

    /* paths in the text may be any bytes */
    mt_buf_init(&reason, 0);
    mt_utf8_append_valid(&reason, text, strlen(text));
    mt_response_json(response, 503, "{\"status\":");
    mt_buf_append_json_string(&response->body, status, strlen(status));
    mt_buf_append_string(&response->body, ",\"reason\":");
    mt_buf_append_json_string(&response->body, reason.data, reason.length);
    mt_buf_append_char(&response->body, '}');
    response->body.failed |= reason.failed;
    response->retry_after_s = MT_RETRY_AFTER_S;
    mt_buf_fini(&reason);
    (void)mt_response_settle(response);
}

static void run_ping(const struct mt_job *job, struct mt_store *store,
                     const struct mt_error *open_error, struct mt_response *response,
                     struct mt_error *error)
{
    char text[sizeof error->text + 32];

    (void)job;
    if (store == NULL)
        *error = *open_error;
    else if (mt_store_ping(store, error) == MT_OK) {
        mt_response_json(response, 200, "{\"status\":\"ready\"}");
        return;
    }
    (void)snprintf(text, sizeof text, "%s: %s", mt_err_name(error->code), error->text);
    answer_unready(response, "unavailable", text);
}

void mt_handle_readyz(const struct mt_request *request, const struct mt_api_state *state,
                      struct mt_answer *answer)
{
    (void)request;
    if (state->draining) {
        answer_unready(&answer->response, "draining", "the program is stopping");
        return;
    }
    answer->kind = MT_ANSWER_JOB;
    answer->job = (struct mt_job){.run = run_ping, .now_s = state->now_s};
}
