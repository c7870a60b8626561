/* The store protocol: what another program asks of the store through HTTP. */
#include <stdlib.h>
#include <string.h>

#include "api/gzip.h"
#include "api/query.h"
#include "api/remote.h"
#include "record/json.h"
#include "store/wire.h"

enum {
    QUICK_RECORDS_MOST = 1000,
    PENDING_BYTES = 64 * 1024, /* compressed at once */
    HOSTS_MOST = 10000,        /* in one question */
};

static const char lines_type[] = "application/x-ndjson";

/* An answer of lines, compressed on the way if it may be. */
struct lines {
    struct mt_buf *body;
    struct mt_gzip *gzip; /* NULL: as they are */
    struct mt_buf pending;
};

static void lines_begin(struct lines *lines, const struct mt_job *job, struct mt_response *response)
{
    mt_response_json(response, 200, "");
    response->content_type = lines_type;
    *lines = (struct lines){.body = &response->body};
    mt_buf_init(&lines->pending, 0);
    if (job->remote.may_gzip)
        lines->gzip = mt_gzip_new(&response->body);
    response->is_gzip = lines->gzip != NULL;
}

/* Where the next line is to be written. */
static struct mt_buf *lines_out(struct lines *lines)
{
    return lines->gzip != NULL ? &lines->pending : lines->body;
}

static enum mt_err lines_flush(struct lines *lines, size_t at_least, struct mt_error *error)
{
    struct mt_buf *pending = &lines->pending;

    if (lines->gzip != NULL && pending->length >= at_least) {
        mt_gzip_write(lines->gzip, (struct mt_slice){pending->data, pending->length});
        lines->body->failed |= pending->failed;
        mt_buf_clear(pending);
    }
    if (lines->body->failed)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the answer: %zu bytes so far",
                            lines->body->length);
    return MT_OK;
}

/* Ends the answer; code is what the store said. */
static void lines_end(struct lines *lines, enum mt_err code, struct mt_response *response,
                      struct mt_error *error)
{
    if (code == MT_OK)
        code = lines_flush(lines, 0, error);
    if (code == MT_OK && lines->gzip != NULL) {
        mt_gzip_end(lines->gzip);
        code = lines_flush(lines, 0, error);
    }
    mt_gzip_free(lines->gzip);
    mt_buf_fini(&lines->pending);
    if (code != MT_OK)
        mt_remote_fail(response, error);
}

struct page {
    struct lines lines;
    size_t count;
    bool full; /* and the scan was stopped for that */
};

static enum mt_err emit_record(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    struct page *page = context;
    struct mt_buf *out = lines_out(&page->lines);

    if (page->count == MT_WIRE_PAGE_RECORDS) {
        page->full = true;
        return MT_ERR_CANCELLED;
    }
    page->count++;
    mt_json_record_known(out, record);
    mt_buf_append_char(out, '\n');
    return lines_flush(&page->lines, PENDING_BYTES, error);
}

/* The values of every `host`, in one piece of memory: the pointers, then the names. */
static const char **read_hosts(struct mt_slice query, size_t *count, struct mt_buf *names,
                               struct mt_error *error)
{
    struct mt_query_pair pair;
    const char **hosts;
    size_t at = 0;

    *count = 0;
    while (mt_query_next(&query, &pair) && !names->failed && *count < HOSTS_MOST) {
        size_t begun = names->length;

        if (!mt_query_equal(pair.name, "host"))
            continue;
        mt_query_decode(names, pair.value);
        /* no host has such a name, and none is called "" */
        if (names->length > begun &&
            memchr(names->data + begun, '\0', names->length - begun) != NULL)
            names->length = begun;
        mt_buf_append_char(names, '\0');
        ++*count;
    }
    hosts = names->failed ? NULL : calloc(*count + 1, sizeof *hosts);
    if (hosts == NULL) {
        (void)mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for the hosts of a question");
        return NULL;
    }
    for (size_t i = 0; i < *count; i++) {
        hosts[i] = names->data + at;
        at += strlen(hosts[i]) + 1;
    }
    return hosts;
}

static void scan(const struct mt_job *job, struct mt_store *store, const char *const *hosts,
                 size_t host_count, struct mt_response *response, struct mt_error *error)
{
    const struct mt_parameters *parameters = &job->remote.parameters;
    bool none = (parameters->given & MT_PARAMETER_BIT(MT_PARAMETER_HOSTS)) != 0;
    struct mt_query query = {
        .hosts = host_count > 0 || none ? hosts : NULL,
        .host_count = none ? 0 : host_count,
        .from = parameters->value[MT_PARAMETER_FROM],
        .to = parameters->value[MT_PARAMETER_TO],
        .now_s = parameters->value[MT_PARAMETER_NOW],
        .skip = parameters->value[MT_PARAMETER_STORE_SKIP],
        .limit = parameters->value[MT_PARAMETER_STORE_LIMIT],
        .order = parameters->value[MT_PARAMETER_ORDER] == 0 ? MT_OLDEST_FIRST : MT_NEWEST_FIRST,
        .fields = (uint64_t)parameters->value[MT_PARAMETER_FIELDS],
        .deadline_ms = job->deadline_ms,
        .cancelled = job->cancelled,
        .cancel_context = job->cancel_context,
    };
    struct page page = {0};
    enum mt_err code;

    lines_begin(&page.lines, job, response);
    code = mt_store_scan(store, &query, emit_record, &page, error);
    if (page.full) {
        *error = (struct mt_error){0};
        code = MT_OK;
    }
    lines_end(&page.lines, code, response, error);
}

static void run_records(const struct mt_job *job, struct mt_store *store,
                        const struct mt_error *open_error, struct mt_response *response,
                        struct mt_error *error)
{
    struct mt_slice query = {job->remote.query.data, job->remote.query.length};
    struct mt_buf names;
    const char **hosts;
    size_t count;

    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_buf_init(&names, 0);
    hosts = read_hosts(query, &count, &names, error);
    if (hosts != NULL)
        scan(job, store, hosts, count, response, error);
    else
        mt_remote_fail(response, error);
    free(hosts);
    mt_buf_fini(&names);
}

/* Parameters with the request's clock where it gives none. */
static void settle_now(const struct mt_api_state *state, struct mt_parameters *parameters)
{
    if ((parameters->given & MT_PARAMETER_BIT(MT_PARAMETER_NOW)) == 0)
        parameters->value[MT_PARAMETER_NOW] = state->now_s;
}

void mt_handle_store_records(const struct mt_request *request, const struct mt_api_state *state,
                             struct mt_answer *answer)
{
    const uint32_t choice =
        MT_PARAMETER_BIT(MT_PARAMETER_HOSTS) | MT_PARAMETER_BIT(MT_PARAMETER_FROM) |
        MT_PARAMETER_BIT(MT_PARAMETER_TO) | MT_PARAMETER_BIT(MT_PARAMETER_NOW) |
        MT_PARAMETER_BIT(MT_PARAMETER_STORE_SKIP) | MT_PARAMETER_BIT(MT_PARAMETER_STORE_LIMIT) |
        MT_PARAMETER_BIT(MT_PARAMETER_ORDER) | MT_PARAMETER_BIT(MT_PARAMETER_FIELDS);
    struct mt_parameters *parameters = &answer->job.remote.parameters;
    int64_t limit;

    if (!mt_remote_begin(request, state, choice, run_records, answer))
        return;
    settle_now(state, parameters);
    limit = parameters->value[MT_PARAMETER_STORE_LIMIT];
    answer->job.is_large = limit == 0 || limit > QUICK_RECORDS_MOST;
}

struct feed {
    struct lines lines;
    struct mt_token place; /* the store moves it on, behind what it hands out */
    struct mt_record last; /* its place is not known yet */
    bool has_begun;
};

static void write_last(struct feed *feed)
{
    if (feed->has_begun)
        mt_wire_write_change(lines_out(&feed->lines), &feed->place, &feed->last);
}

static enum mt_err emit_change(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    struct feed *feed = context;

    if (feed->has_begun)
        write_last(feed);
    else
        mt_wire_write_changes_head(lines_out(&feed->lines), false, &feed->place);
    feed->has_begun = true;
    feed->last = *record;
    return lines_flush(&feed->lines, PENDING_BYTES, error);
}

static void run_changes(const struct mt_job *job, struct mt_store *store,
                        const struct mt_error *open_error, struct mt_response *response,
                        struct mt_error *error)
{
    const int64_t *value = job->remote.parameters.value;
    int64_t limit = value[MT_PARAMETER_STORE_LIMIT];
    struct feed feed = {.place = {.generation = (uint64_t)value[MT_PARAMETER_GENERATION],
                                  .sequence = value[MT_PARAMETER_SEQUENCE]}};
    bool reset = false;
    enum mt_err code;

    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    if (limit == 0 || limit > MT_WIRE_PAGE_RECORDS)
        limit = MT_WIRE_PAGE_RECORDS;
    lines_begin(&feed.lines, job, response);
    code = mt_store_changes(store, &feed.place, (size_t)limit, emit_change, &feed, &reset, error);
    if (code == MT_OK && feed.has_begun)
        write_last(&feed);
    else if (code == MT_OK)
        mt_wire_write_changes_head(lines_out(&feed.lines), reset, &feed.place);
    lines_end(&feed.lines, code, response, error);
}

void mt_handle_store_changes(const struct mt_request *request, const struct mt_api_state *state,
                             struct mt_answer *answer)
{
    const uint32_t choice = MT_PARAMETER_BIT(MT_PARAMETER_GENERATION) |
                            MT_PARAMETER_BIT(MT_PARAMETER_SEQUENCE) |
                            MT_PARAMETER_BIT(MT_PARAMETER_STORE_LIMIT);

    if (mt_remote_begin(request, state, choice, run_changes, answer))
        answer->job.is_large = true;
}

/* Ends an answer that is one JSON object. */
static void settle(enum mt_err code, struct mt_response *response, struct mt_error *error)
{
    if (code != MT_OK)
        mt_remote_fail(response, error);
    else if (mt_response_settle(response) != MT_OK)
        (void)mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for an answer");
}

static void run_token(const struct mt_job *job, struct mt_store *store,
                      const struct mt_error *open_error, struct mt_response *response,
                      struct mt_error *error)
{
    struct mt_token token = {0};
    enum mt_err code;

    (void)job;
    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_response_json(response, 200, "");
    code = mt_store_token(store, &token, error);
    mt_wire_write_token(&response->body, &token);
    settle(code, response, error);
}

void mt_handle_store_token(const struct mt_request *request, const struct mt_api_state *state,
                           struct mt_answer *answer)
{
    (void)mt_remote_begin(request, state, 0, run_token, answer);
}

static enum mt_err emit_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct lines *lines = context;

    mt_wire_write_host(lines_out(lines), host);
    return lines_flush(lines, PENDING_BYTES, error);
}

static void run_hosts(const struct mt_job *job, struct mt_store *store,
                      const struct mt_error *open_error, struct mt_response *response,
                      struct mt_error *error)
{
    struct lines lines;
    enum mt_err code;

    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    lines_begin(&lines, job, response);
    code = mt_store_hosts(store, job->remote.parameters.value[MT_PARAMETER_NOW], emit_host, &lines,
                          error);
    lines_end(&lines, code, response, error);
}

void mt_handle_store_hosts(const struct mt_request *request, const struct mt_api_state *state,
                           struct mt_answer *answer)
{
    if (!mt_remote_begin(request, state, MT_PARAMETER_BIT(MT_PARAMETER_NOW), run_hosts, answer))
        return;
    settle_now(state, &answer->job.remote.parameters);
    answer->job.is_large = true;
}

static void run_prune(const struct mt_job *job, struct mt_store *store,
                      const struct mt_error *open_error, struct mt_response *response,
                      struct mt_error *error)
{
    int64_t pruned = 0;
    enum mt_err code;

    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_response_json(response, 200, "");
    code = mt_store_prune(store, job->remote.parameters.value[MT_PARAMETER_BEFORE], &pruned, error);
    mt_wire_write_pruned(&response->body, pruned);
    settle(code, response, error);
}

void mt_handle_store_prune(const struct mt_request *request, const struct mt_api_state *state,
                           struct mt_answer *answer)
{
    if (!mt_remote_begin(request, state, MT_PARAMETER_BIT(MT_PARAMETER_BEFORE), run_prune, answer))
        return;
    answer->job.writes = true;
    answer->job.is_large = true;
}

static void run_size(const struct mt_job *job, struct mt_store *store,
                     const struct mt_error *open_error, struct mt_response *response,
                     struct mt_error *error)
{
    int64_t bytes = 0;
    enum mt_err code;

    (void)job;
    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_response_json(response, 200, "");
    code = mt_store_size(store, &bytes, error);
    mt_wire_write_size(&response->body, bytes);
    settle(code, response, error);
}

void mt_handle_store_size(const struct mt_request *request, const struct mt_api_state *state,
                          struct mt_answer *answer)
{
    (void)mt_remote_begin(request, state, 0, run_size, answer);
}

struct findings {
    struct mt_buf *body;
    int64_t count;
};

static void report_finding(void *context, const char *text)
{
    struct findings *findings = context;

    mt_wire_add_finding(findings->body, findings->count++, text);
}

static void run_verify(const struct mt_job *job, struct mt_store *store,
                       const struct mt_error *open_error, struct mt_response *response,
                       struct mt_error *error)
{
    struct findings findings = {.body = &response->body};
    int64_t count;
    enum mt_err code;

    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_response_json(response, 200, "");
    mt_wire_begin_findings(&response->body);
    code = mt_store_verify(store, job->remote.parameters.value[MT_PARAMETER_DEEP] != 0,
                           report_finding, &findings, &count, error);
    mt_wire_end_findings(&response->body);
    settle(code, response, error);
}

void mt_handle_store_verify(const struct mt_request *request, const struct mt_api_state *state,
                            struct mt_answer *answer)
{
    if (mt_remote_begin(request, state, MT_PARAMETER_BIT(MT_PARAMETER_DEEP), run_verify, answer))
        answer->job.is_large = true;
}

static void run_store_ping(const struct mt_job *job, struct mt_store *store,
                           const struct mt_error *open_error, struct mt_response *response,
                           struct mt_error *error)
{
    enum mt_err code;

    (void)job;
    if (!mt_remote_has_store(store, open_error, response, error))
        return;
    mt_response_json(response, 200, "");
    code = mt_store_ping(store, error);
    mt_wire_write_ping(&response->body);
    settle(code, response, error);
}

void mt_handle_store_ping(const struct mt_request *request, const struct mt_api_state *state,
                          struct mt_answer *answer)
{
    (void)mt_remote_begin(request, state, 0, run_store_ping, answer);
}
