#include "api/remote.h"

#include "api/conditional.h"
#include "store/wire.h"

bool mt_remote_begin(const struct mt_request *request, const struct mt_api_state *state,
                     uint32_t choice, mt_run *run, struct mt_answer *answer)
{
    struct mt_remote *remote = &answer->job.remote;

    mt_response_json(&answer->response, 422, "");
    if (!mt_parameters_check(request->query, choice, &remote->parameters, &answer->response.body)) {
        (void)mt_response_settle(&answer->response);
        return false;
    }
    mt_buf_append(&remote->query, request->query.data, request->query.length);
    if (remote->query.failed) {
        mt_response_fail(&answer->response, MT_ERR_NO_MEMORY);
        return false;
    }
    remote->may_gzip = mt_coding_choose(request->accept_encoding) == MT_CODING_GZIP;
    answer->kind = MT_ANSWER_JOB;
    answer->job.run = run;
    answer->job.now_s = state->now_s;
    return true;
}

void mt_remote_fail(struct mt_response *response, const struct mt_error *error)
{
    mt_response_fail(response, error->code);
    mt_buf_clear(&response->body);
    response->status = mt_err_http_status(error->code);
    mt_wire_write_error(&response->body, error);
    (void)mt_response_settle(response);
}

bool mt_remote_has_store(const struct mt_store *store, const struct mt_error *open_error,
                         struct mt_response *response, struct mt_error *error)
{
    if (store != NULL)
        return true;
    *error = *open_error;
    mt_remote_fail(response, error);
    return false;
}
