#include "unit.h"

#include <string.h>

#include "api/access_log.h"

static struct mt_access sample(const char *target)
{
    return (struct mt_access){
        .time_ms = INT64_C(1647033600123),
        .remote = "[::1]:41234",
        .method = mt_slice_of("GET"),
        .target = mt_slice_of(target),
        .status = 200,
        .bytes = 63,
        .duration_ms = 2,
        .token = "",
    };
}

static void assert_line(const struct mt_access *access, enum mt_access_format format,
                        const char *expected)
{
    struct mt_buf out;

    mt_buf_init(&out, 0);
    mt_access_print(&out, access, format);
    assert_string_equal(mt_buf_string(&out), expected);
    mt_buf_fini(&out);
}

static void test_text(void **state)
{
    struct mt_access access = sample("/memory-logs?limit=1");

    (void)state;
    assert_line(&access, MT_ACCESS_TEXT,
                "2022-03-11T21:20:00.123Z access [::1]:41234 \"GET /memory-logs?limit=1\" 200 63 "
                "2ms\n");
}

static void test_json(void **state)
{
    struct mt_access access = sample("/memory-logs?limit=1");

    (void)state;
    assert_line(&access, MT_ACCESS_JSON,
                "{\"time\":\"2022-03-11T21:20:00.123Z\",\"level\":\"access\",\"remote\":\"[::1]:"
                "41234\",\"method\":\"GET\",\"target\":\"/memory-logs?limit=1\",\"status\":200,"
                "\"bytes\":63,\"duration_ms\":2}\n");
}

static void test_a_token_is_named(void **state)
{
    struct mt_access access = sample("/store/ping");

    (void)state;
    access.token = "web1";
    assert_line(&access, MT_ACCESS_TEXT,
                "2022-03-11T21:20:00.123Z access [::1]:41234 \"GET /store/ping\" 200 63 2ms "
                "token=web1\n");
    assert_line(&access, MT_ACCESS_JSON,
                "{\"time\":\"2022-03-11T21:20:00.123Z\",\"level\":\"access\",\"remote\":\"[::1]:"
                "41234\",\"method\":\"GET\",\"target\":\"/store/ping\",\"status\":200,"
                "\"bytes\":63,\"duration_ms\":2,\"token\":\"web1\"}\n");
}

static void test_no_client_can_forge_a_line(void **state)
{
    struct mt_access access = sample("/a\n2022 \"\\\x1b[2J\xff\xc3\xa4");

    (void)state;
    assert_line(&access, MT_ACCESS_TEXT,
                "2022-03-11T21:20:00.123Z access [::1]:41234 \"GET /a\\x0a2022 "
                "\\x22\\x5c\\x1b[2J\\xff\\xc3\\xa4\" 200 63 2ms\n");
    assert_line(&access, MT_ACCESS_JSON,
                "{\"time\":\"2022-03-11T21:20:00.123Z\",\"level\":\"access\",\"remote\":\"[::1]:"
                "41234\",\"method\":\"GET\",\"target\":\"/a\\n2022 "
                "\\\"\\\\\\u001b[2J\xef\xbf\xbd\xc3\xa4\",\"status\":200,"
                "\"bytes\":63,\"duration_ms\":2}\n");
}

static void test_an_endless_target_is_cut(void **state)
{
    static char target[400000];
    struct mt_access access;
    struct mt_buf out;

    (void)state;
    memset(target, '\x01', sizeof target - 1);
    access = sample(target);
    for (enum mt_access_format format = MT_ACCESS_TEXT; format <= MT_ACCESS_JSON; format++) {
        mt_buf_init(&out, 0);
        mt_access_print(&out, &access, format);
        assert_non_null(strstr(mt_buf_string(&out), "\\u0001...\"") != NULL
                            ? out.data
                            : strstr(mt_buf_string(&out), "\\x01...\""));
        assert_in_range(out.length, 1024, 8 * 1024);
        mt_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_a_token_is_named),
        cmocka_unit_test(test_no_client_can_forge_a_line),
        cmocka_unit_test(test_an_endless_target_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
