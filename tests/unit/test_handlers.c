#include "api/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/view.h"
#include "api/window.h"
#include "record/record.h"
#include "store/ops.h"

/* A store that hands out the same record again and again, a minute later each time, then ends as it
 * is told to. Remembers what it was asked. */
struct fake_store {
    struct mt_store base;
    struct mt_query asked;
    struct mt_record record;
    int64_t records; /* before it ends */
    bool ignores_limit;
    enum mt_err end;
    const char *text;
};

static enum mt_err fake_end(const struct fake_store *fake, struct mt_error *error)
{
    if (fake->end == MT_OK)
        return MT_OK;
    return mt_error_set(error, fake->end, "%s", fake->text);
}

static enum mt_err fake_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                             void *context, struct mt_error *error)
{
    struct fake_store *fake = (struct fake_store *)store;
    struct mt_record record = fake->record;

    fake->asked = *query;
    for (int64_t i = 0; i < fake->records && (fake->ignores_limit || i < query->limit); i++) {
        enum mt_err code = emit(context, &record, error);
        if (code != MT_OK)
            return code;
        record.timestamp += 60;
    }
    return fake_end(fake, error);
}

static enum mt_err fake_ping(struct mt_store *store, struct mt_error *error)
{
    return fake_end((const struct fake_store *)store, error);
}

static const struct mt_store_ops fake_ops = {
    .scheme = "fake:", .scan = fake_scan, .ping = fake_ping};

static struct fake_store fake_new(int64_t records, enum mt_err end, const char *text)
{
    struct fake_store fake = {
        .base = {&fake_ops}, .records = records, .end = end, .text = text, .record = {.host = "h"}};

    fake.record.timestamp = 1647033600;
    mt_record_set(&fake.record, MT_FIELD_MEM_TOTAL, INT64_C(8192) * 1024);
    mt_record_set(&fake.record, MT_FIELD_MEM_AVAILABLE, INT64_C(4097) * 1024 + 1023);
    return fake;
}

static struct mt_answer ask(const char *path, const char *query, bool draining)
{
    struct mt_request request = {
        .method = MT_METHOD_GET, .path = mt_slice_of(path), .query = mt_slice_of(query)};
    struct mt_api_state state = {.draining = draining, .now_s = 1647039540};
    struct mt_answer answer;

    mt_api_answer(&request, &state, &answer);
    return answer;
}

/* Runs the job of an answer as a worker does. */
static struct mt_error run(struct mt_answer *answer, struct mt_store *store,
                           const struct mt_error *open_error)
{
    struct mt_error error = {0};

    assert_int_equal(answer->kind, MT_ANSWER_JOB);
    answer->job.run(&answer->job, store, open_error, &answer->response, &error);
    return error;
}

static void assert_response(struct mt_answer *answer, int status, const char *body,
                            int retry_after_s)
{
    assert_int_equal(answer->response.status, status);
    if (answer->response.has_page && !answer->response.is_gzip)
        mt_page_render(&answer->response.page, &answer->response.body);
    assert_string_equal(mt_buf_string(&answer->response.body), body);
    assert_string_equal(answer->response.content_type, "application/json");
    assert_int_equal(answer->response.retry_after_s, retry_after_s);
    assert_null(answer->response.allow);
}

static bool never_cancelled(void *context)
{
    (void)context;
    return false;
}

/* A window of three records of one host, total 1 to 3 MiB. */
static struct mt_window *small_window(void)
{
    struct mt_window_options options = {.records = 10, .future = 10};
    struct mt_window *window = mt_window_new(&options);
    struct mt_batch batch = {0};
    struct mt_record record = {.host = "h", .timestamp = 1647033600};

    mt_record_set(&record, MT_FIELD_MEM_FREE, 1024);
    for (int64_t total_mib = 1; total_mib <= 3; total_mib++, record.timestamp += 60) {
        mt_record_set(&record, MT_FIELD_MEM_TOTAL, total_mib * 1024);
        assert_int_equal(mt_batch_add(&batch, &record, NULL), MT_OK);
    }
    assert_int_equal(mt_window_merge(window, &batch, record.timestamp, NULL), MT_OK);
    mt_batch_fini(&batch);
    return window;
}

static void test_logs_can_be_answered_from_memory(void **state)
{
    struct mt_window *window = small_window();
    struct mt_view *view = mt_window_publish(window);
    struct mt_answer answer = ask("/memory-logs", "limit=1&skip=1", false);

    (void)state;
    assert_true(answer.job.from_view(&answer.job, view, NULL, &answer.response));
    assert_response(&answer, 200, "[{\"timestamp\":1647033660,\"total\":2,\"free\":1,\"used\":1}]",
                    0);
    mt_response_fini(&answer.response);

    answer = ask("/memory-logs", "skip=3", false);
    assert_true(answer.job.from_view(&answer.job, view, NULL, &answer.response));
    assert_response(&answer, 200, "[]", 0);
    mt_response_fini(&answer.response);

    mt_window_end_history(window);
    mt_view_unref(view);
    view = mt_window_publish(window);
    answer = ask("/memory-logs", "limit=4", false);
    assert_false(answer.job.from_view(&answer.job, view, NULL, &answer.response));
    assert_int_equal(answer.response.body.length, 0);
    mt_response_fini(&answer.response);
    mt_view_unref(view);
    mt_window_free(window);

    answer = ask("/readyz", "", false);
    assert_null(answer.job.from_view);
    mt_response_fini(&answer.response);
}

static struct mt_answer ask_view(struct mt_view *view, const char *query, const char *accepts,
                                 const char *none_match)
{
    static struct mt_packer packer;
    struct mt_request request = {.method = MT_METHOD_GET,
                                 .path = mt_slice_of("/memory-logs"),
                                 .query = mt_slice_of(query),
                                 .accept_encoding = mt_slice_of(accepts),
                                 .if_none_match = mt_slice_of(none_match)};
    struct mt_api_state state = {.now_s = 1647039540, .view = view, .packer = &packer};
    struct mt_answer answer;

    mt_api_answer(&request, &state, &answer);
    mt_packer_fini(&packer);
    return answer;
}

static void test_how_far_back_logs_reaches(void **state)
{
    static const struct {
        const char *query;
        const char *none_match;
        bool has_view;
        enum mt_answer_kind kind;
        int64_t reach;
    } cases[] = {
        {"limit=2", "", true, MT_ANSWER_PAGE, 2},
        {"limit=2", "*", true, MT_ANSWER_BYTES, 2},
        {"limit=1&skip=1", "", true, MT_ANSWER_PAGE, 2},
        /* it is the whole history */
        {"limit=99", "", true, MT_ANSWER_PAGE, 3},
        {"limit=1&skip=99", "*", true, MT_ANSWER_BYTES, 3},
        {"skip=999999999999999999999999999999", "", true, MT_ANSWER_PAGE, 3},
        {"limit=99", "", false, MT_ANSWER_JOB, 99},
        {"limit=99999&skip=12345", "*", false, MT_ANSWER_JOB, 99999 + 12345},
        {"skip=999999999999999999999999999999", "", false, MT_ANSWER_JOB, INT64_MAX},
        {"limit=0", "", true, MT_ANSWER_BYTES, 0},
    };
    struct mt_window *window = small_window();
    struct mt_view *view = mt_window_publish(window);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_answer answer =
            ask_view(cases[i].has_view ? view : NULL, cases[i].query, "", cases[i].none_match);

        assert_int_equal(answer.kind, cases[i].kind);
        assert_true(answer.reach == cases[i].reach);
        mt_job_fini(&answer.job);
        mt_response_fini(&answer.response);
    }
    mt_view_unref(view);
    mt_window_free(window);
}

static void test_a_page_can_do_without_its_view(void **state)
{
    static const char expected[] = "[{\"timestamp\":1647033660,\"total\":2,\"free\":1,\"used\":1},"
                                   "{\"timestamp\":1647033720,\"total\":3,\"free\":1,\"used\":2}]";
    struct mt_window *window = small_window();
    struct mt_view *view = mt_window_publish(window);
    struct mt_packer packer = {0};
    struct mt_answer answer = ask_view(view, "limit=2", "", "");
    struct mt_buf packed;

    (void)state;
    assert_true(answer.response.has_page);
    mt_response_own(&answer.response);
    assert_false(answer.response.has_page);
    assert_true(mt_response_length(&answer.response) == sizeof expected - 1);
    assert_string_equal(mt_buf_string(&answer.response.body), expected);
    assert_true(answer.response.is_validated);
    /* and what is none stays as it is */
    mt_response_own(&answer.response);
    assert_string_equal(mt_buf_string(&answer.response.body), expected);
    mt_response_fini(&answer.response);

    /* as one that a worker compressed, which holds the view itself */
    answer = ask_view(view, "limit=2", "", "");
    assert_int_equal(mt_page_pack(&answer.response.page, &packer, &answer.response.packed, NULL),
                     MT_OK);
    answer.response.is_gzip = true;
    answer.response.view = view;
    mt_buf_init(&packed, 0);
    for (size_t i = 0; i < answer.response.packed.count; i++)
        mt_buf_append(&packed, answer.response.packed.slices[i].data,
                      answer.response.packed.slices[i].length);
    mt_response_own(&answer.response);
    assert_true(answer.response.is_gzip && answer.response.view == NULL);
    assert_int_equal(answer.response.body.length, packed.length);
    assert_memory_equal(answer.response.body.data, packed.data, packed.length);
    mt_response_fini(&answer.response);
    mt_buf_fini(&packed);
    mt_packer_fini(&packer);
    mt_window_free(window);
}

static void test_logs_asks_the_store_for_what_was_asked(void **state)
{
    struct fake_store fake = fake_new(0, MT_OK, "");
    struct mt_answer answer = ask("/memory-logs", "limit=7&skip=5", false);
    int context;
    struct mt_error error;

    (void)state;
    answer.job.deadline_ms = 12345;
    answer.job.cancelled = never_cancelled;
    answer.job.cancel_context = &context;
    error = run(&answer, &fake.base, NULL);
    assert_int_equal(error.code, MT_OK);
    assert_true(fake.asked.limit == 7 && fake.asked.skip == 5);
    assert_true(fake.asked.now_s == 1647039540);
    assert_int_equal(fake.asked.order, MT_OLDEST_FIRST);
    assert_true(fake.asked.fields ==
                (MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE) |
                 MT_FIELD_BIT(MT_FIELD_MEM_FREE)));
    assert_true(fake.asked.deadline_ms == 12345);
    assert_ptr_equal(fake.asked.cancelled, never_cancelled);
    assert_ptr_equal(fake.asked.cancel_context, &context);
    assert_null(fake.asked.hosts);
    assert_true(fake.asked.from == 0 && fake.asked.to == 0);
    assert_response(&answer, 200, "[]", 0);
    mt_response_fini(&answer.response);
}

static void test_logs_renders_what_the_store_hands_out(void **state)
{
    struct fake_store fake = fake_new(2, MT_OK, "");
    struct mt_answer answer = ask("/memory-logs", "", false);

    (void)state;
    assert_int_equal(run(&answer, &fake.base, NULL).code, MT_OK);
    assert_response(&answer, 200,
                    "[{\"timestamp\":1647033600,\"total\":8192,\"free\":4097,\"used\":4095},"
                    "{\"timestamp\":1647033660,\"total\":8192,\"free\":4097,\"used\":4095}]",
                    0);
    mt_response_fini(&answer.response);
}

static void test_the_largest_answer_is_whole(void **state)
{
    struct fake_store fake = fake_new(INT64_MAX, MT_OK, "");
    struct mt_answer answer = ask("/memory-logs", "limit=99999", false);
    static const char last[] =
        "{\"timestamp\":253402300799,\"total\":9007199254740991,\"free\":9007199254740991,"
        "\"used\":0}]";
    size_t entries = 0;

    (void)state;
    /* the longest entries there can be */
    fake.record.timestamp = MT_TIMESTAMP_MAX - INT64_C(99998) * 60;
    mt_record_set(&fake.record, MT_FIELD_MEM_TOTAL, INT64_MAX);
    mt_record_set(&fake.record, MT_FIELD_MEM_AVAILABLE, INT64_MAX);
    assert_int_equal(run(&answer, &fake.base, NULL).code, MT_OK);
    assert_int_equal(answer.response.status, 200);
    for (size_t i = 0; i < answer.response.body.length; i++)
        entries += answer.response.body.data[i] == '{';
    assert_int_equal(entries, 99999);
    assert_int_equal(answer.response.body.data[0], '[');
    assert_string_equal(
        mt_buf_string(&answer.response.body) + answer.response.body.length - strlen(last), last);
    mt_response_fini(&answer.response);
}

/* The body has a bound that no store, however wrong, can make it pass. */
static void test_a_store_that_hands_out_too_much_is_stopped(void **state)
{
    struct fake_store fake = fake_new(100, MT_OK, "");
    struct mt_answer answer = ask("/memory-logs", "limit=1", false);
    struct mt_error error;

    (void)state;
    fake.ignores_limit = true;
    error = run(&answer, &fake.base, NULL);
    assert_int_equal(error.code, MT_ERR_NO_MEMORY);
    assert_response(&answer, 500, "{\"detail\":\"Internal server error.\"}", 0);
    mt_response_fini(&answer.response);
}

static void test_logs_sends_nothing_of_a_scan_that_fails(void **state)
{
    (void)state;
    for (enum mt_err code = MT_OK + 1; code < MT_ERR_COUNT; code++) {
        struct fake_store fake = fake_new(3, code, "the disk is on fire");
        struct mt_answer answer = ask("/memory-logs", "", false);
        struct mt_error error = run(&answer, &fake.base, NULL);

        assert_int_equal(error.code, code);
        assert_string_equal(error.text, "the disk is on fire");
        if (mt_err_http_status(code) == 503)
            assert_response(&answer, 503, "{\"detail\":\"Service unavailable.\"}",
                            MT_RETRY_AFTER_S);
        else
            assert_response(&answer, 500, "{\"detail\":\"Internal server error.\"}", 0);
        mt_response_fini(&answer.response);
    }
}

static void test_logs_without_a_store(void **state)
{
    struct mt_error open_error = {.code = MT_ERR_MISSING, .text = "no such file"};
    struct mt_answer answer = ask("/memory-logs", "", false);
    struct mt_error error = run(&answer, NULL, &open_error);

    (void)state;
    assert_int_equal(error.code, MT_ERR_MISSING);
    assert_string_equal(error.text, "no such file");
    assert_response(&answer, 503, "{\"detail\":\"Service unavailable.\"}", MT_RETRY_AFTER_S);
    mt_response_fini(&answer.response);
}

static void test_healthz_is_well_whatever_happens(void **state)
{
    (void)state;
    for (int draining = 0; draining <= 1; draining++) {
        struct mt_answer answer = ask("/healthz", "limit=ten", draining != 0);

        assert_int_equal(answer.kind, MT_ANSWER_BYTES);
        assert_response(&answer, 200, "{\"status\":\"ok\"}", 0);
        mt_response_fini(&answer.response);
    }
}

static void test_readyz_asks_the_store(void **state)
{
    struct fake_store fake = fake_new(0, MT_OK, "");
    struct mt_answer answer = ask("/readyz", "", false);

    (void)state;
    assert_int_equal(run(&answer, &fake.base, NULL).code, MT_OK);
    assert_response(&answer, 200, "{\"status\":\"ready\"}", 0);
    mt_response_fini(&answer.response);
}

static void test_readyz_says_why_not(void **state)
{
    (void)state;
    for (enum mt_err code = MT_OK + 1; code < MT_ERR_COUNT; code++) {
        struct fake_store fake = fake_new(0, code, "/var/lib/\"m\xFF\": a\nb");
        struct mt_answer answer = ask("/readyz", "", false);
        struct mt_error error = run(&answer, &fake.base, NULL);
        char body[256];

        (void)snprintf(body, sizeof body,
                       "{\"status\":\"unavailable\",\"reason\":\"%s: "
                       "/var/lib/\\\"m\xEF\xBF\xBD\\\": a\\nb\"}",
                       mt_err_name(code));
        assert_int_equal(error.code, code);
        assert_response(&answer, 503, body, MT_RETRY_AFTER_S);
        mt_response_fini(&answer.response);
    }
}

static void test_readyz_without_a_store(void **state)
{
    struct mt_error open_error = {.code = MT_ERR_NOT_DATABASE, .text = "memory.db is no database"};
    struct mt_answer answer = ask("/readyz/", "", false);
    struct mt_error error = run(&answer, NULL, &open_error);

    (void)state;
    assert_int_equal(error.code, MT_ERR_NOT_DATABASE);
    assert_response(&answer, 503,
                    "{\"status\":\"unavailable\",\"reason\":\"not a database: memory.db is no "
                    "database\"}",
                    MT_RETRY_AFTER_S);
    mt_response_fini(&answer.response);
}

static void test_readyz_turns_away_while_draining(void **state)
{
    struct mt_answer answer = ask("/readyz", "", true);

    (void)state;
    assert_int_equal(answer.kind, MT_ANSWER_BYTES);
    assert_response(&answer, 503,
                    "{\"status\":\"draining\",\"reason\":\"the program is stopping\"}",
                    MT_RETRY_AFTER_S);
    mt_response_fini(&answer.response);

    /* questions are answered to the end */
    answer = ask("/memory-logs", "", true);
    assert_int_equal(answer.kind, MT_ANSWER_JOB);
    mt_response_fini(&answer.response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logs_can_be_answered_from_memory),
        cmocka_unit_test(test_how_far_back_logs_reaches),
        cmocka_unit_test(test_a_page_can_do_without_its_view),
        cmocka_unit_test(test_logs_asks_the_store_for_what_was_asked),
        cmocka_unit_test(test_logs_renders_what_the_store_hands_out),
        cmocka_unit_test(test_the_largest_answer_is_whole),
        cmocka_unit_test(test_a_store_that_hands_out_too_much_is_stopped),
        cmocka_unit_test(test_logs_sends_nothing_of_a_scan_that_fails),
        cmocka_unit_test(test_logs_without_a_store),
        cmocka_unit_test(test_healthz_is_well_whatever_happens),
        cmocka_unit_test(test_readyz_asks_the_store),
        cmocka_unit_test(test_readyz_says_why_not),
        cmocka_unit_test(test_readyz_without_a_store),
        cmocka_unit_test(test_readyz_turns_away_while_draining),
    };

    return cmocka_run_group_tests_name("handlers", tests, NULL, NULL);
}
