#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static void assert_content(struct mt_buf *buf, const char *expected)
{
    assert_false(buf->failed);
    assert_int_equal(buf->length, strlen(expected));
    assert_string_equal(mt_buf_string(buf), expected);
}

static void test_starts_empty_and_allocates_nothing(void **state)
{
    struct mt_buf buf;

    (void)state;
    mt_buf_init(&buf, 0);
    assert_null(buf.data);
    mt_buf_append(&buf, NULL, 0);
    assert_null(buf.data);
    assert_string_equal(mt_buf_string(&buf), "");
    mt_buf_fini(&buf);
    assert_null(buf.data);
    mt_buf_append_string(&buf, "on");
    assert_content(&buf, "on");
    mt_buf_fini(&buf);
}

static void test_grows_and_keeps_what_is_there(void **state)
{
    struct mt_buf buf;

    (void)state;
    mt_buf_init(&buf, 0);
    for (int i = 0; i < 100000; i++)
        mt_buf_append_char(&buf, (char)('a' + i % 26));
    assert_false(buf.failed);
    assert_int_equal(buf.length, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    mt_buf_clear(&buf);
    assert_int_equal(buf.length, 0);
    assert_true(buf.capacity >= 100000);
    mt_buf_fini(&buf);
}

static void test_takes_exactly_its_cap(void **state)
{
    struct mt_buf buf;

    (void)state;
    mt_buf_init(&buf, 5);
    mt_buf_append_string(&buf, "12345");
    assert_content(&buf, "12345");
    mt_buf_append_char(&buf, '6');
    assert_true(buf.failed);
    assert_int_equal(buf.length, 5);
    mt_buf_clear(&buf);
    mt_buf_printf(&buf, "%d", 54321);
    assert_content(&buf, "54321");
    mt_buf_clear(&buf);
    mt_buf_printf(&buf, "%d", 654321);
    assert_true(buf.failed);
    assert_int_equal(buf.length, 0);
    mt_buf_fini(&buf);
}

static void test_failure_sticks_until_cleared(void **state)
{
    struct mt_buf buf;

    (void)state;
    mt_buf_init(&buf, 4);
    mt_buf_append_string(&buf, "12345");
    assert_true(buf.failed);
    mt_buf_append_char(&buf, '1');
    mt_buf_append_i64(&buf, 1);
    mt_buf_printf(&buf, "1");
    assert_int_equal(buf.length, 0);
    assert_false(mt_buf_reserve(&buf, 1));
    assert_null(mt_buf_string(&buf));
    mt_buf_clear(&buf);
    mt_buf_append_char(&buf, '1');
    assert_content(&buf, "1");
    mt_buf_fini(&buf);
}

static void test_refuses_sizes_that_overflow(void **state)
{
    struct mt_buf buf;

    (void)state;
    mt_buf_init(&buf, 0);
    mt_buf_append_string(&buf, "abc");
    assert_false(mt_buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    mt_buf_clear(&buf);
    assert_false(mt_buf_reserve(&buf, SIZE_MAX / 2));
    mt_buf_fini(&buf);
}

static void test_reserve_promises_room(void **state)
{
    struct mt_buf buf;
    const char *before;

    (void)state;
    mt_buf_init(&buf, 1000);
    assert_true(mt_buf_reserve(&buf, 1000));
    before = buf.data;
    for (int i = 0; i < 1000; i++)
        mt_buf_append_char(&buf, 'x');
    assert_false(buf.failed);
    assert_ptr_equal(buf.data, before);
    assert_false(mt_buf_reserve(&buf, 1));
    mt_buf_fini(&buf);
}

static void test_integers_at_their_ends(void **state)
{
    static const struct {
        int64_t value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-1, "-1"},
        {10, "10"},
        {INT64_MAX, "9223372036854775807"},
        {INT64_MIN, "-9223372036854775808"},
    };
    struct mt_buf buf;

    (void)state;
    mt_buf_init(&buf, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mt_buf_clear(&buf);
        mt_buf_append_i64(&buf, rows[i].value);
        assert_content(&buf, rows[i].text);
    }
    mt_buf_fini(&buf);
}

static void test_printf_longer_than_what_is_allocated(void **state)
{
    struct mt_buf buf;
    char expected[1002];

    (void)state;
    mt_buf_init(&buf, 0);
    (void)snprintf(expected, sizeof expected, "a%01000d", 7);
    mt_buf_append_char(&buf, 'a');
    mt_buf_printf(&buf, "%01000d", 7);
    assert_content(&buf, expected);
    mt_buf_fini(&buf);
}

static void assert_json(const char *bytes, size_t count, const char *expected)
{
    struct mt_buf buf;

    mt_buf_init(&buf, 0);
    mt_buf_append_json_string(&buf, bytes, count);
    assert_content(&buf, expected);
    mt_buf_fini(&buf);
}

static void test_json_escapes_as_python_does(void **state)
{
    (void)state;
    assert_json("", 0, "\"\"");
    assert_json("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
    assert_json("\b\t\n\f\r", 5, "\"\\b\\t\\n\\f\\r\"");
    assert_json("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\"");
    assert_json("bfnrt", 5, "\"bfnrt\"");
    assert_json("\xC3\xA9\xF0\x9F\x90\x98", 6, "\"\xC3\xA9\xF0\x9F\x90\x98\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_empty_and_allocates_nothing),
        cmocka_unit_test(test_grows_and_keeps_what_is_there),
        cmocka_unit_test(test_takes_exactly_its_cap),
        cmocka_unit_test(test_failure_sticks_until_cleared),
        cmocka_unit_test(test_refuses_sizes_that_overflow),
        cmocka_unit_test(test_reserve_promises_room),
        cmocka_unit_test(test_integers_at_their_ends),
        cmocka_unit_test(test_printf_longer_than_what_is_allocated),
        cmocka_unit_test(test_json_escapes_as_python_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
