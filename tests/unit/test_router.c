#include "api/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static struct mt_answer ask(enum mt_method method, struct mt_slice path, const char *query)
{
    struct mt_request request = {.method = method, .path = path, .query = mt_slice_of(query)};
    struct mt_api_state state = {.now_s = 1647039540};
    struct mt_answer answer;

    mt_api_answer(&request, &state, &answer);
    return answer;
}

static void assert_body(struct mt_answer *answer, int status, const char *body)
{
    assert_int_equal(answer->kind, MT_ANSWER_BYTES);
    assert_int_equal(answer->response.status, status);
    assert_string_equal(answer->response.content_type, "application/json");
    assert_string_equal(mt_buf_string(&answer->response.body), body);
}

static void test_paths_that_lead_somewhere(void **state)
{
    static const struct mt_slice jobs[] = {
        BYTES("/memory-logs"),
        BYTES("/memory-logs/"),
        BYTES("/memory%2Dlogs"),
        BYTES("/memory%2dlogs"),
        BYTES("/memory-logs%2F"),
        BYTES("%2Fmemory-logs/"),
        BYTES("/%6D%65%6D%6F%72%79%2D%6C%6F%67%73%2F"),
        BYTES("/readyz"),
        BYTES("/readyz/"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        for (enum mt_method method = MT_METHOD_GET; method <= MT_METHOD_HEAD; method++) {
            struct mt_answer answer = ask(method, jobs[i], "");

            assert_int_equal(answer.kind, MT_ANSWER_JOB);
            assert_non_null(answer.job.run);
            assert_true(answer.job.now_s == 1647039540);
            assert_true(answer.job.deadline_ms == 0);
            assert_null(answer.job.cancelled);
            mt_response_fini(&answer.response);
        }
    }
}

static void test_paths_that_lead_nowhere(void **state)
{
    static const struct mt_slice paths[] = {
        BYTES(""),
        BYTES("/"),
        BYTES("*"),
        BYTES("memory-logs"),
        BYTES("/memory-log"),
        BYTES("/memory-logss"),
        BYTES("/memory-logs//"),
        BYTES("//memory-logs"),
        BYTES("/memory-logs/x"),
        BYTES("/x/memory-logs"),
        BYTES("/memory-logs\0"),
        BYTES("/memory-logs%00"),
        BYTES("/memory-logs/%00"),
        BYTES("/memory-logs\0/"),
        BYTES("/Memory-logs"),
        BYTES("/memory_logs"),
        BYTES("/memory+logs"),
        BYTES("/memory%252Dlogs"),
        BYTES("/memory%2logs"),
        BYTES("/memory-logs%"),
        BYTES("/memory-logs%2"),
        BYTES("/memory-logs%3Flimit=1"),
        BYTES("/./memory-logs"),
        BYTES("/memory-logs/."),
        BYTES("/x/../memory-logs"),
        BYTES("/memory-logs\xE9"),
        BYTES("/memory-logs%E9"),
        BYTES("/healthz/ready"),
        BYTES("/health"),
        BYTES("/readyz.."),
    };

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        for (enum mt_method method = MT_METHOD_GET; method <= MT_METHOD_OTHER; method++) {
            struct mt_answer answer = ask(method, paths[i], "limit=ten");

            assert_body(&answer, 404, "{\"detail\":\"Not Found.\"}");
            assert_null(answer.response.allow);
            assert_int_equal(answer.response.retry_after_s, 0);
            mt_response_fini(&answer.response);
        }
    }
}

static void test_other_methods_are_told_which_are_allowed(void **state)
{
    static const struct mt_slice paths[] = {
        BYTES("/memory-logs"), BYTES("/memory-logs/"), BYTES("/healthz"),
        BYTES("/healthz/"),    BYTES("/readyz"),       BYTES("/readyz/"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        /* the method is judged before the parameters */
        struct mt_answer answer = ask(MT_METHOD_OTHER, paths[i], "limit=ten");

        assert_body(&answer, 405, "{\"detail\":\"Method Not Allowed.\"}");
        assert_string_equal(answer.response.allow, "GET, HEAD");
        mt_response_fini(&answer.response);
    }
}

static void test_parameters_reach_the_job(void **state)
{
    struct mt_answer answer = ask(MT_METHOD_GET, mt_slice_of("/memory-logs/"),
                                  "limit=7&skip=123456789012345678901234567890");

    (void)state;
    assert_int_equal(answer.kind, MT_ANSWER_JOB);
    assert_true(answer.job.logs.limit == 7);
    assert_true(answer.job.logs.skip == INT64_MAX);
    mt_response_fini(&answer.response);

    answer = ask(MT_METHOD_HEAD, mt_slice_of("/memory-logs"), "");
    assert_int_equal(answer.kind, MT_ANSWER_JOB);
    assert_true(answer.job.logs.limit == 10);
    assert_true(answer.job.logs.skip == 0);
    mt_response_fini(&answer.response);
}

static void test_bad_parameters_are_refused_without_a_job(void **state)
{
    struct mt_answer answer = ask(MT_METHOD_GET, mt_slice_of("/memory-logs"), "skip=0");

    (void)state;
    assert_body(&answer, 422,
                "{\"detail\":[{\"type\":\"greater_than\",\"loc\":[\"query\",\"skip\"],\"msg\":"
                "\"Input should be greater than 0\",\"input\":\"0\",\"ctx\":{\"gt\":0},\"url\":"
                "\"https://errors.pydantic.dev/2.6/v/greater_than\"}]}");
    mt_response_fini(&answer.response);
}

static void test_each_status_has_its_reason(void **state)
{
    static const struct {
        int status;
        const char *reason;
    } cases[] = {
        {200, "OK"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {422, "Unprocessable Entity"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(mt_status_reason(cases[i].status), cases[i].reason);
    assert_string_equal(mt_status_reason(299), "Unknown");
}

static void test_failures_after_the_table_of_errors(void **state)
{
    (void)state;
    for (enum mt_err code = MT_OK + 1; code < MT_ERR_COUNT; code++) {
        bool away = mt_err_http_status(code) == 503;
        struct mt_response response;

        mt_response_init(&response);
        mt_response_json(&response, 200, "[{\"half\":");
        response.allow = "GET";
        response.body.limit = 10;
        mt_response_fail(&response, code);
        assert_int_equal(response.status, away ? 503 : 500);
        assert_int_equal(response.retry_after_s, away ? MT_RETRY_AFTER_S : 0);
        assert_string_equal(mt_buf_string(&response.body),
                            away ? "{\"detail\":\"Service unavailable.\"}"
                                 : "{\"detail\":\"Internal server error.\"}");
        assert_string_equal(response.content_type, "application/json");
        assert_null(response.allow);
        mt_response_fini(&response);
    }
}

static void test_a_body_that_found_no_memory_is_not_sent(void **state)
{
    struct mt_response response;

    (void)state;
    mt_response_init(&response);
    mt_response_json(&response, 200, "[]");
    assert_int_equal(mt_response_settle(&response), MT_OK);
    assert_int_equal(response.status, 200);
    response.body.failed = true;
    assert_int_equal(mt_response_settle(&response), MT_ERR_NO_MEMORY);
    assert_int_equal(response.status, 500);
    assert_false(response.body.failed);
    assert_string_equal(mt_buf_string(&response.body), "{\"detail\":\"Internal server error.\"}");
    mt_response_fini(&response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_that_lead_somewhere),
        cmocka_unit_test(test_paths_that_lead_nowhere),
        cmocka_unit_test(test_other_methods_are_told_which_are_allowed),
        cmocka_unit_test(test_parameters_reach_the_job),
        cmocka_unit_test(test_bad_parameters_are_refused_without_a_job),
        cmocka_unit_test(test_each_status_has_its_reason),
        cmocka_unit_test(test_failures_after_the_table_of_errors),
        cmocka_unit_test(test_a_body_that_found_no_memory_is_not_sent),
    };

    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
