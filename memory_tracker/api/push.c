#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/gzip.h"
#include "api/push_body.h"
#include "api/remote.h"
#include "base/log.h"
#include "store/wire.h"

enum { QUICK_BODY_BYTES = 64 * 1024 };

/* The refusal's text; NULL: unpacked. */
static const char *unpack(const struct mt_remote *remote, struct mt_buf *out, int *status)
{
    struct mt_slice packed = {remote->body.data, remote->body.length};

    switch (mt_gunzip(packed, MT_PUSH_INFLATED_MOST, out)) {
    case MT_GUNZIP_OK:
        break;
    case MT_GUNZIP_BROKEN:
        *status = 422;
        return "the body is not gzip, damaged or cut off";
    case MT_GUNZIP_TOO_LARGE:
        *status = 413;
        return "more than 16 MiB once unpacked; send fewer records at once";
    case MT_GUNZIP_NO_MEMORY:
        *status = 500;
        return "no memory to unpack the body";
    }
    return NULL;
}

/* One line for each push; louder where records did not go in as they were. */
static void tell(const struct mt_grant *grant, const struct mt_push *push)
{
    size_t count[MT_VERDICT_REJECTED + 1] = {0};
    bool all_well;

    for (size_t i = 0; i < push->count; i++)
        count[push->outcomes[i].verdict]++;
    all_well = count[MT_VERDICT_NEW] + count[MT_VERDICT_REPEAT] == push->count;
    mt_log(all_well ? MT_LOG_DEBUG : MT_LOG_INFO,
           "token %s pushed %zu records: %zu new, %zu repeated, %zu moved, %zu in conflict, %zu "
           "rejected",
           grant->name, push->count, count[MT_VERDICT_NEW], count[MT_VERDICT_REPEAT],
           count[MT_VERDICT_MOVED], count[MT_VERDICT_CONFLICT], count[MT_VERDICT_REJECTED]);
}

static void append(const struct mt_remote *remote, struct mt_store *store, struct mt_push *push,
                   struct mt_response *response, struct mt_error *error)
{
    enum mt_on_conflict on_conflict = remote->parameters.value[MT_PARAMETER_ON_CONFLICT] == 0
                                          ? MT_CONFLICT_MOVE
                                          : MT_CONFLICT_REPORT;
    struct mt_outcome *outcomes =
        calloc(push->record_count > 0 ? push->record_count : 1, sizeof *outcomes);

    if (outcomes == NULL)
        (void)mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the outcomes of a push");
    if (outcomes == NULL || mt_store_append(store, push->records, push->record_count, on_conflict,
                                            outcomes, error) != MT_OK) {
        mt_remote_fail(response, error);
        free(outcomes);
        return;
    }
    for (size_t i = 0; i < push->record_count; i++)
        push->outcomes[push->places[i]] = outcomes[i];
    free(outcomes);
    tell(&remote->grant, push);
    mt_response_json(response, 200, "");
    mt_wire_write_outcomes(&response->body, push->outcomes, push->count);
    if (mt_response_settle(response) != MT_OK)
        (void)mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the answer to a push");
}

static void run_push(const struct mt_job *job, struct mt_store *store,
                     const struct mt_error *open_error, struct mt_response *response,
                     struct mt_error *error)
{
    const struct mt_remote *remote = &job->remote;
    struct mt_slice text = {remote->body.data, remote->body.length};
    struct mt_error refusal = {0};
    struct mt_push push = {0};
    struct mt_buf unpacked;
    int status = 200;

    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_buf_init(&unpacked, 0);
    if (remote->body_is_gzip) {
        const char *wrong = unpack(remote, &unpacked, &status);

        if (wrong != NULL)
            (void)mt_error_set(&refusal, MT_ERR_BAD_DATA, "%s", wrong);
        text = (struct mt_slice){unpacked.data, unpacked.length};
    }
    if (status == 200)
        mt_push_read(text, remote->body_is_lines, remote->grant.host, &push, &status, &refusal);
    mt_buf_fini(&unpacked);
    if (status == 200)
        append(remote, store, &push, response, error);
    else if (status == 500)
        mt_response_fail(response, MT_ERR_NO_MEMORY);
    else
        mt_response_refuse(response, status, refusal.text);
    mt_push_fini(&push);
}

static bool equals_in_any_case(struct mt_slice text, const char *wanted)
{
    return text.length == strlen(wanted) && strncasecmp(text.data, wanted, text.length) == 0;
}

/* `type/subtype`, without parameters such as a charset: JSON is UTF-8 */
static bool read_type(struct mt_slice type, bool *lines)
{
    const char *end = type.length > 0 ? memchr(type.data, ';', type.length) : NULL;

    if (end != NULL)
        type.length = (size_t)(end - type.data);
    while (type.length > 0 && type.data[type.length - 1] == ' ')
        type.length--;
    *lines = equals_in_any_case(type, "application/x-ndjson");
    return *lines || equals_in_any_case(type, "application/json");
}

static bool read_encoding(struct mt_slice encoding, bool *gzip)
{
    *gzip = equals_in_any_case(encoding, "gzip") || equals_in_any_case(encoding, "x-gzip");
    return *gzip || encoding.length == 0 || equals_in_any_case(encoding, "identity");
}

void mt_handle_push(const struct mt_request *request, const struct mt_api_state *state,
                    struct mt_answer *answer)
{
    struct mt_remote *remote = &answer->job.remote;

    if (!read_type(request->content_type, &remote->body_is_lines)) {
        mt_response_refuse(&answer->response, 415,
                           "Content-Type must be application/x-ndjson or application/json");
    } else if (!read_encoding(request->content_encoding, &remote->body_is_gzip)) {
        mt_response_refuse(&answer->response, 415, "Content-Encoding must be gzip or none");
    } else if (mt_remote_begin(request, state, MT_PARAMETER_BIT(MT_PARAMETER_ON_CONFLICT), run_push,
                               answer)) {
        answer->job.writes = true;
        answer->job.is_large = request->body.length > QUICK_BODY_BYTES;
        mt_buf_append(&remote->body, request->body.data, request->body.length);
        if (remote->body.failed) {
            answer->kind = MT_ANSWER_BYTES;
            mt_response_fail(&answer->response, MT_ERR_NO_MEMORY);
        }
    }
}
