#include "unit.h"

#include <string.h>

#include "api/http.h"

static void assert_split(const char *target, const char *path, const char *query)
{
    struct mt_request request = {0};

    mt_request_set_target(&request, mt_slice_of(target));
    if (!mt_slice_equal(request.path, path) || !mt_slice_equal(request.query, query))
        fail_msg("%s: path '%.*s', query '%.*s'", target, (int)request.path.length,
                 request.path.data, (int)request.query.length, request.query.data);
}

static void test_origin_form(void **state)
{
    (void)state;
    assert_split("/memory-logs", "/memory-logs", "");
    assert_split("/memory-logs?", "/memory-logs", "");
    assert_split("/memory-logs?limit=1?2&skip=3", "/memory-logs", "limit=1?2&skip=3");
    assert_split("/?", "/", "");
    assert_split("/a://b?c", "/a://b", "c");
    assert_split("/memory-logs?limit=1#f?g", "/memory-logs", "limit=1");
    assert_split("/memory-logs#f?limit=1", "/memory-logs", "");
}

static void test_absolute_form(void **state)
{
    (void)state;
    assert_split("http://host/memory-logs?limit=1", "/memory-logs", "limit=1");
    assert_split("HTTPS://[::1]:80/memory-logs", "/memory-logs", "");
    assert_split("http://host", "/", "");
    assert_split("http://", "/", "");
    assert_split("http://host?limit=1", "/", "limit=1");
}

static void test_anything_else_stays_as_it_is(void **state)
{
    (void)state;
    assert_split("*", "*", "");
    assert_split("localhost:443", "localhost:443", "");
    assert_split("ftp://host/memory-logs", "ftp://host/memory-logs", "");
    assert_split("htt://host/memory-logs", "htt://host/memory-logs", "");
    assert_split("httpx://host/a", "httpx://host/a", "");
    assert_split("?limit=1", "/", "limit=1");
    assert_split("", "/", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origin_form),
        cmocka_unit_test(test_absolute_form),
        cmocka_unit_test(test_anything_else_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
