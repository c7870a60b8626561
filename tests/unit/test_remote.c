#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "api/gzip.h"
#include "api/http.h"
#include "record/record.h"
#include "store/ops.h"

#define HOST_TOKEN   "Bearer host-0123456789abcdef"
#define APPEND_TOKEN "Bearer append-0123456789abcdef"
#define READ_TOKEN   "Bearer read-0123456789abcdef"
#define ADMIN_TOKEN  "Bearer admin-0123456789abcdef"

/* A store that does what `fails` says, and remembers what it was asked. */
struct fake_store {
    struct mt_store base;
    enum mt_err fails;
    size_t appended;
    enum mt_on_conflict on_conflict;
    struct mt_query asked;
    char hosts[64]; /* of asked, divided by commas */
    int64_t records;
    struct mt_token token;
    bool resets;
    int64_t before;
};

static enum mt_err end(const struct fake_store *fake, struct mt_error *error)
{
    return fake->fails == MT_OK ? MT_OK : mt_error_set(error, fake->fails, "as it is\xC3");
}

static enum mt_err fake_append(struct mt_store *store, const struct mt_record *records,
                               size_t count, enum mt_on_conflict on_conflict,
                               struct mt_outcome *outcomes, struct mt_error *error)
{
    struct fake_store *fake = (struct fake_store *)store;

    fake->appended = count;
    fake->on_conflict = on_conflict;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = (struct mt_outcome){.timestamp = records[i].timestamp};
    return end(fake, error);
}

static enum mt_err hand_out(const struct fake_store *fake, mt_emit *emit, void *context,
                            struct mt_error *error)
{
    for (int64_t i = 0; i < fake->records; i++) {
        struct mt_record record = {.host = "h", .timestamp = i};
        enum mt_err code;

        mt_record_set(&record, MT_FIELD_DIRTY, i);
        code = emit(context, &record, error);
        if (code != MT_OK)
            return code;
    }
    return end(fake, error);
}

static enum mt_err fake_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                             void *context, struct mt_error *error)
{
    struct fake_store *fake = (struct fake_store *)store;

    fake->asked = *query;
    for (size_t i = 0; i < query->host_count; i++) {
        (void)strcat(fake->hosts, query->hosts[i]);
        (void)strcat(fake->hosts, ",");
    }
    return hand_out(fake, emit, context, error);
}

static enum mt_err fake_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                                mt_emit *emit, void *context, bool *reset, struct mt_error *error)
{
    struct fake_store *fake = (struct fake_store *)store;

    fake->token = *token;
    fake->asked.limit = (int64_t)limit;
    *reset = fake->resets;
    *token = (struct mt_token){UINT64_MAX, 7};
    return hand_out(fake, emit, context, error);
}

static enum mt_err fake_prune(struct mt_store *store, int64_t before, int64_t *pruned,
                              struct mt_error *error)
{
    struct fake_store *fake = (struct fake_store *)store;

    fake->before = before;
    *pruned = 3;
    return end(fake, error);
}

static enum mt_err fake_size(struct mt_store *store, int64_t *bytes, struct mt_error *error)
{
    *bytes = 12345678901;
    return end((struct fake_store *)store, error);
}

static const struct mt_store_ops fake_ops = {.scheme = "fake:",
                                             .append = fake_append,
                                             .scan = fake_scan,
                                             .changes = fake_changes,
                                             .prune = fake_prune,
                                             .size = fake_size};

static struct mt_tokens *tokens;

static int set_up(void **state)
{
    (void)state;
    return mt_tokens_parse("t",
                           mt_slice_of("host host:web1 host-0123456789abcdef\n"
                                       "append append append-0123456789abcdef\n"
                                       "read read read-0123456789abcdef\n"
                                       "admin admin admin-0123456789abcdef\n"),
                           &tokens, NULL) == MT_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mt_tokens_free(tokens);
    return 0;
}

static struct mt_request request_of(enum mt_method method, const char *path, const char *query,
                                    const char *authorization)
{
    return (struct mt_request){.method = method,
                               .path = mt_slice_of(path),
                               .query = mt_slice_of(query),
                               .authorization = mt_slice_of(authorization)};
}

static struct mt_answer answer_to(const struct mt_request *request)
{
    const struct mt_api_state state = {.now_s = 1647039540, .tokens = tokens};
    struct mt_answer answer;

    mt_api_answer(request, &state, &answer);
    return answer;
}

static void fini(struct mt_answer *answer)
{
    mt_response_fini(&answer->response);
    mt_job_fini(&answer->job);
}

/* The body, after the job has run on the store. */
static const char *work(struct mt_answer *answer, struct fake_store *fake, int status,
                        enum mt_err code)
{
    struct mt_error error = {0};

    assert_int_equal(answer->kind, MT_ANSWER_JOB);
    answer->job.run(&answer->job, &fake->base, NULL, &answer->response, &error);
    assert_int_equal(answer->response.status, status);
    assert_int_equal(error.code, code);
    assert_int_equal(answer->response.retry_after_s > 0, status == 503);
    return mt_buf_string(&answer->response.body);
}

static struct mt_answer ask(const char *path, const char *query)
{
    struct mt_request request = request_of(MT_METHOD_GET, path, query, READ_TOKEN);

    return answer_to(&request);
}

static struct mt_answer push(const char *query, const char *authorization, const char *body)
{
    struct mt_request request = request_of(MT_METHOD_POST, "/memory-logs", query, authorization);

    request.content_type = mt_slice_of("application/x-ndjson");
    request.body = mt_slice_of(body);
    return answer_to(&request);
}

static void who_may_what(void **state)
{
    static const struct {
        enum mt_method method;
        const char *path;
        const char *query;
        int status[5]; /* nobody, host, append, read, admin; 200: a job */
    } cases[] = {
        {MT_METHOD_GET, "/memory-logs", "", {200, 200, 200, 200, 200}},
        {MT_METHOD_POST, "/memory-logs/", "", {401, 200, 200, 403, 200}},
        {MT_METHOD_POST, "/store/prune", "before=7", {401, 403, 403, 403, 200}},
        {MT_METHOD_GET, "/store/records", "", {401, 403, 403, 200, 200}},
        {MT_METHOD_HEAD, "/store/changes", "", {401, 403, 403, 200, 200}},
        {MT_METHOD_GET, "/store/hosts/", "", {401, 403, 403, 200, 200}},
        {MT_METHOD_GET, "/store/token", "", {401, 403, 403, 200, 200}},
        {MT_METHOD_GET, "/store/size", "", {401, 403, 403, 200, 200}},
        {MT_METHOD_POST, "/store/size", "", {405, 405, 405, 405, 405}},
        {MT_METHOD_GET, "/store/verify", "", {401, 403, 403, 200, 200}},
        {MT_METHOD_GET, "/store/ping", "", {401, 200, 200, 200, 200}},
        {MT_METHOD_GET, "/store/prune", "before=7", {405, 405, 405, 405, 405}},
        {MT_METHOD_POST, "/store/records", "", {405, 405, 405, 405, 405}},
        {MT_METHOD_OTHER, "/store/ping", "", {405, 405, 405, 405, 405}},
        {MT_METHOD_GET, "/store", "", {404, 404, 404, 404, 404}},
        {MT_METHOD_POST, "/store/append", "", {404, 404, 404, 404, 404}},
    };
    static const char *const bearers[] = {"", HOST_TOKEN, APPEND_TOKEN, READ_TOKEN, ADMIN_TOKEN};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t j = 0; j < 5; j++) {
            struct mt_request request =
                request_of(cases[i].method, cases[i].path, cases[i].query, bearers[j]);
            struct mt_answer answer;
            int status;

            request.content_type = mt_slice_of("application/json");
            answer = answer_to(&request);
            status = answer.kind == MT_ANSWER_JOB ? 200 : answer.response.status;
            if (status != cases[i].status[j])
                fail_msg("%s as %s: %d", cases[i].path, bearers[j], status);
            assert_int_equal(answer.response.authenticate != NULL, status == 401);
            assert_int_equal(answer.response.allow != NULL, status == 405);
            assert_int_equal(answer.job.writes, status == 200 && cases[i].method == MT_METHOD_POST);
            fini(&answer);
        }
    }
}

static void a_push_goes_to_the_store_at_once(void **state)
{
    struct fake_store fake = {.base = {&fake_ops}};
    struct mt_answer answer = push("on_conflict=report", HOST_TOKEN,
                                   "{\"host\":\"web1\",\"timestamp\":5}\n7\n"
                                   "{\"host\":\"web2\",\"timestamp\":6}\n"
                                   "{\"host\":\"web1\",\"timestamp\":7}\n");

    (void)state;
    assert_string_equal(
        work(&answer, &fake, 200, MT_OK),
        "{\"outcomes\":[{\"verdict\":\"new\",\"timestamp\":5,\"text\":\"\"},"
        "{\"verdict\":\"rejected\",\"timestamp\":0,\"text\":\"record 7: must be an "
        "object\"},{\"verdict\":\"rejected\",\"timestamp\":6,\"text\":\"host 'web2': "
        "this token is for host 'web1'\"},"
        "{\"verdict\":\"new\",\"timestamp\":7,\"text\":\"\"}]}");
    assert_int_equal(fake.appended, 2);
    assert_int_equal(fake.on_conflict, MT_CONFLICT_REPORT);
    fini(&answer);
    answer = push("", APPEND_TOKEN, "");
    assert_string_equal(work(&answer, &fake, 200, MT_OK), "{\"outcomes\":[]}");
    assert_int_equal(fake.appended, 0);
    assert_int_equal(fake.on_conflict, MT_CONFLICT_MOVE);
    fini(&answer);
}

static void a_store_that_fails_is_named(void **state)
{
    struct fake_store fake = {.base = {&fake_ops}};

    (void)state;
    for (enum mt_err code = MT_OK + 1; code < MT_ERR_COUNT; code++) {
        static const char *const paths[] = {"/store/records", "/store/changes"};
        int status = mt_err_http_status(code);
        struct mt_answer answer = push("", APPEND_TOKEN, "");

        fake.fails = code;
        fake.records = 3;
        assert_non_null(strstr(work(&answer, &fake, status, code), "{\"detail\":\"as it is"));
        assert_non_null(strstr(mt_buf_string(&answer.response.body), "\",\"error\":\""));
        fini(&answer);
        for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
            answer = ask(paths[i], "");
            answer.job.remote.may_gzip = i == 0;
            assert_non_null(strstr(work(&answer, &fake, status, code), "{\"detail\":\"as it is"));
            assert_false(answer.response.is_gzip);
            assert_string_equal(answer.response.content_type, "application/json");
            fini(&answer);
        }
    }
}

static void no_store_is_told_by_its_error(void **state)
{
    static const char *const paths[] = {"/store/records", "/store/changes", "/store/token",
                                        "/store/hosts",   "/store/verify",  "/store/ping"};
    const struct mt_error missing = {.code = MT_ERR_MISSING, .text = "nowhere"};

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct mt_answer answer = ask(paths[i], "");
        struct mt_error error = {0};

        answer.job.run(&answer.job, NULL, &missing, &answer.response, &error);
        assert_int_equal(answer.response.status, 503);
        assert_string_equal(mt_buf_string(&answer.response.body),
                            "{\"detail\":\"nowhere\",\"error\":\"MISSING\"}");
        assert_int_equal(error.code, MT_ERR_MISSING);
        fini(&answer);
    }
}

static void a_question_reaches_the_store_as_it_is(void **state)
{
    struct fake_store fake = {.base = {&fake_ops}, .records = 2};
    struct mt_answer answer =
        ask("/store/records", "host=a&host=b%2Fc+d&host=&host=x%00y&from=-5&to=9223372036854775807&"
                              "now=12&skip=3&limit=4&order=newest&fields=dirty,mem_total");

    (void)state;
    assert_false(answer.job.is_large);
    assert_string_equal(work(&answer, &fake, 200, MT_OK),
                        "{\"host\":\"h\",\"timestamp\":0,\"dirty\":0}\n"
                        "{\"host\":\"h\",\"timestamp\":1,\"dirty\":1}\n");
    assert_string_equal(fake.hosts, "a,b/c d,,,");
    assert_int_equal(fake.asked.from, -5);
    assert_int_equal(fake.asked.to, INT64_MAX);
    assert_int_equal(fake.asked.now_s, 12);
    assert_int_equal(fake.asked.skip, 3);
    assert_int_equal(fake.asked.limit, 4);
    assert_int_equal(fake.asked.order, MT_NEWEST_FIRST);
    assert_true(fake.asked.fields ==
                (MT_FIELD_BIT(MT_FIELD_DIRTY) | MT_FIELD_BIT(MT_FIELD_MEM_TOTAL)));
    fini(&answer);

    answer = ask("/store/records", "");
    assert_true(answer.job.is_large);
    (void)work(&answer, &fake, 200, MT_OK);
    assert_null(fake.asked.hosts);
    assert_int_equal(fake.asked.now_s, 1647039540);
    assert_int_equal(fake.asked.limit, 0);
    assert_int_equal(fake.asked.order, MT_OLDEST_FIRST);
    assert_true(fake.asked.fields == MT_FIELD_ALL);
    fini(&answer);

    answer = ask("/store/records", "hosts=none&host=a");
    (void)work(&answer, &fake, 200, MT_OK);
    assert_non_null(fake.asked.hosts);
    assert_int_equal(fake.asked.host_count, 0);
    fini(&answer);
}

static void an_answer_has_so_many_records(void **state)
{
    struct fake_store fake = {.base = {&fake_ops}, .records = 20001};
    struct mt_answer plain = ask("/store/records", "");
    struct mt_answer packed = ask("/store/records", "");
    struct mt_buf unpacked;

    (void)state;
    assert_non_null(
        strstr(work(&plain, &fake, 200, MT_OK), "\"timestamp\":19999,\"dirty\":19999}\n"));
    assert_null(strstr(mt_buf_string(&plain.response.body), "20000"));
    packed.job.remote.may_gzip = true;
    (void)work(&packed, &fake, 200, MT_OK);
    assert_true(packed.response.is_gzip);
    mt_buf_init(&unpacked, 0);
    assert_int_equal(
        mt_gunzip((struct mt_slice){packed.response.body.data, packed.response.body.length},
                  plain.response.body.length, &unpacked),
        MT_GUNZIP_OK);
    assert_int_equal(unpacked.length, plain.response.body.length);
    assert_memory_equal(unpacked.data, plain.response.body.data, unpacked.length);
    mt_buf_fini(&unpacked);
    fini(&plain);
    fini(&packed);
}

static void changes_have_their_places(void **state)
{
    struct fake_store fake = {.base = {&fake_ops}, .resets = true};
    struct mt_answer answer =
        ask("/store/changes", "generation=18446744073709551614&sequence=-1&limit=30000");

    (void)state;
    assert_string_equal(
        work(&answer, &fake, 200, MT_OK),
        "{\"reset\":true,\"generation\":\"18446744073709551615\",\"sequence\":7}\n");
    assert_true(fake.token.generation == UINT64_MAX - 1);
    assert_int_equal(fake.token.sequence, -1);
    assert_int_equal(fake.asked.limit, 20000);
    fini(&answer);
}

static void the_size_is_told(void **state)
{
    struct fake_store fake = {.base = {&fake_ops}};
    struct mt_answer answer = ask("/store/size", "");

    (void)state;
    assert_string_equal(work(&answer, &fake, 200, MT_OK), "{\"size\":12345678901}");
    fini(&answer);
}

static void bad_parameters(void **state)
{
    struct mt_answer answer = ask("/store/changes", "generation=18446744073709551616&limit=-1");
    struct mt_request prune = request_of(MT_METHOD_POST, "/store/prune", "", ADMIN_TOKEN);

    (void)state;
    assert_int_equal(answer.kind, MT_ANSWER_BYTES);
    assert_int_equal(answer.response.status, 422);
    assert_string_equal(
        mt_buf_string(&answer.response.body),
        "{\"detail\":[{\"type\":\"greater_than\",\"loc\":[\"query\",\"limit\"],\"msg\":\"Input "
        "should "
        "be greater than "
        "-1\",\"input\":\"-1\",\"ctx\":{\"gt\":-1},\"url\":\"https://errors.pydantic."
        "dev/2.6/v/greater_than\"},{\"type\":\"int_parsing\",\"loc\":[\"query\",\"generation\"],"
        "\"msg\":\"Input should be a valid integer, unable to parse string as an "
        "integer\",\"input\":"
        "\"18446744073709551616\",\"url\":\"https://errors.pydantic.dev/2.6/v/int_parsing\"}]}");
    fini(&answer);
    answer = answer_to(&prune);
    assert_string_equal(
        mt_buf_string(&answer.response.body),
        "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"query\",\"before\"],\"msg\":"
        "\"Field required\",\"input\":null,\"url\":\"https://errors.pydantic.dev/2.6/v/"
        "missing\"}]}");
    fini(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_what),
        cmocka_unit_test(a_push_goes_to_the_store_at_once),
        cmocka_unit_test(a_store_that_fails_is_named),
        cmocka_unit_test(no_store_is_told_by_its_error),
        cmocka_unit_test(a_question_reaches_the_store_as_it_is),
        cmocka_unit_test(an_answer_has_so_many_records),
        cmocka_unit_test(changes_have_their_places),
        cmocka_unit_test(the_size_is_told),
        cmocka_unit_test(bad_parameters),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
