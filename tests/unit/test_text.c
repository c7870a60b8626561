#include "unit.h"

#include <string.h>

#include "base/buf.h"
#include "base/text.h"

static void test_hex_digits_and_nothing_else(void **state)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    (void)state;
    for (int c = 0; c < 256; c++) {
        const char *at = c == 0 ? NULL : strchr(digits, c);

        assert_int_equal(mt_hex_digit((char)c), at == NULL ? -1 : (at - digits) % 16);
    }
}

static void test_slices(void **state)
{
    (void)state;
    assert_true(mt_slice_equal(mt_slice_of("abc"), "abc"));
    assert_false(mt_slice_equal(mt_slice_of("abc"), "ab"));
    assert_false(mt_slice_equal(mt_slice_of("abc"), "abd"));
    assert_true(mt_slice_equal((struct mt_slice){NULL, 0}, ""));
    assert_true(mt_slice_equal((struct mt_slice){"abcdef", 3}, "abc"));
    assert_false(mt_slice_equal((struct mt_slice){"a\0b", 3}, "a"));
}

static void test_integers_that_are(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        {"0", 0},
        {"-0", 0},
        {"007", 7},
        {"-1", -1},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"00000000000000000000000000000000001", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t value = 42;
        assert_true(mt_parse_i64(mt_slice_of(rows[i].text), &value));
        assert_true(value == rows[i].value);
    }
}

static void test_integers_that_are_not(void **state)
{
    static const char *const texts[] = {
        "",
        "-",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "--1",
        "1-",
        "a",
        "\xD9\xA1",
        "1_0",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int64_t value = 42;
        assert_false(mt_parse_i64(mt_slice_of(texts[i]), &value));
        assert_true(value == 42);
    }
    int64_t value = 42;
    assert_false(mt_parse_i64((struct mt_slice){"1\0", 2}, &value));
    assert_false(mt_parse_i64((struct mt_slice){NULL, 0}, &value));
}

static void test_integer_reads_only_its_slice(void **state)
{
    int64_t value = 0;

    (void)state;
    assert_true(mt_parse_i64((struct mt_slice){"123456", 3}, &value));
    assert_int_equal(value, 123);
}

static void test_integer_ranges_hold_their_ends(void **state)
{
    int64_t value = 42;

    (void)state;
    assert_true(mt_parse_i64_range(mt_slice_of("1"), 1, 3, &value));
    assert_true(mt_parse_i64_range(mt_slice_of("3"), 1, 3, &value));
    assert_int_equal(value, 3);
    assert_false(mt_parse_i64_range(mt_slice_of("0"), 1, 3, &value));
    assert_false(mt_parse_i64_range(mt_slice_of("4"), 1, 3, &value));
    assert_false(mt_parse_i64_range(mt_slice_of("x"), 1, 3, &value));
    assert_int_equal(value, 3);
}

#define U "\xEF\xBF\xBD"

/* what Python 3.11 gives for bytes.decode("utf-8", "replace") */
static void test_ill_formed_utf8_is_replaced_as_python_does(void **state)
{
    static const struct {
        const char *bytes, *expected;
    } rows[] = {
        {"plain", "plain"},
        {"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x98", "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x98"},
        {"\x80", U},
        {"\xBF\x80", U U},
        {"\xC0\x80", U U},
        {"\xC1\xBF", U U},
        {"\xC2", U},
        {"\xC2"
         "A",
         U "A"},
        {"\xE0\x80\x80", U U U},
        {"\xE0\x9F\xBF", U U U},
        {"\xE0\xA0", U},
        {"\xE2\x82", U},
        {"\xE2\x82"
         "A",
         U "A"},
        {"\xED\xA0\x80", U U U},
        {"\xED\x9F\xBF", "\xED\x9F\xBF"},
        {"\xEE\x80\x80", "\xEE\x80\x80"},
        {"\xF0\x80\x80\x80", U U U U},
        {"\xF0\x8F\xBF\xBF", U U U U},
        {"\xF0\x90\x80", U},
        {"\xF0\x90", U},
        {"\xF0", U},
        {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
        {"\xF4\x90\x80\x80", U U U U},
        {"\xF5\x80\x80\x80", U U U U},
        {"\xFE\xFF", U U},
        {"\xF0\x9F\x90\xF0\x9F\x90\x98", U "\xF0\x9F\x90\x98"},
    };
    struct mt_buf out;

    (void)state;
    mt_buf_init(&out, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mt_buf_clear(&out);
        mt_utf8_append_valid(&out, rows[i].bytes, strlen(rows[i].bytes));
        assert_string_equal(mt_buf_string(&out), rows[i].expected);
        assert_int_equal(mt_utf8_is_valid(rows[i].bytes, strlen(rows[i].bytes)),
                         strcmp(rows[i].bytes, rows[i].expected) == 0);
    }
    mt_buf_fini(&out);
    assert_true(mt_utf8_is_valid(NULL, 0));
    assert_true(mt_utf8_is_valid("\0", 1));
}

/* every code point's encoding is valid, and so is no surrogate's */
static void test_every_code_point(void **state)
{
    (void)state;
    for (unsigned point = 0x80; point <= 0x110000; point++) {
        char bytes[4];
        size_t length;

        if (point < 0x800) {
            bytes[0] = (char)(0xC0 | point >> 6);
            length = 2;
        } else if (point < 0x10000) {
            bytes[0] = (char)(0xE0 | point >> 12);
            length = 3;
        } else {
            bytes[0] = (char)(0xF0 | point >> 18);
            length = 4;
        }
        for (size_t i = 1; i < length; i++)
            bytes[i] = (char)(0x80 | (point >> (6 * (length - 1 - i)) & 0x3F));
        bool expected = (point < 0xD800 || point > 0xDFFF) && point <= 0x10FFFF;
        if (mt_utf8_is_valid(bytes, length) != expected)
            fail_msg("U+%04X", point);
        if (mt_utf8_is_valid(bytes, length - 1))
            fail_msg("U+%04X cut", point);
    }
}

static void test_nearest_name(void **state)
{
    static const char *const names[] = {"store", "listen", "host", "log-level", "threads"};
    size_t count = sizeof names / sizeof names[0];
    char endless[1000];

    (void)state;
    assert_string_equal(mt_text_nearest("stroe", names, count), "store");
    assert_string_equal(mt_text_nearest("log_level", names, count), "log-level");
    assert_string_equal(mt_text_nearest("LISTEN", names, count), "listen");
    assert_string_equal(mt_text_nearest("thread", names, count), "threads");
    assert_null(mt_text_nearest("colour", names, count));
    assert_null(mt_text_nearest("", names, count));
    assert_null(mt_text_nearest("store", names, 0));
    memset(endless, 's', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(mt_text_nearest(endless, names, count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex_digits_and_nothing_else),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_integers_that_are),
        cmocka_unit_test(test_integers_that_are_not),
        cmocka_unit_test(test_integer_reads_only_its_slice),
        cmocka_unit_test(test_integer_ranges_hold_their_ends),
        cmocka_unit_test(test_ill_formed_utf8_is_replaced_as_python_does),
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_nearest_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
