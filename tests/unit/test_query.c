#include "api/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A literal that may hold NULs. */
#define BYTES(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define TEXT(literal) ((struct mt_slice)BYTES(literal))

static void assert_slice(struct mt_slice slice, const char *text)
{
    assert_int_equal(slice.length, strlen(text));
    if (slice.length > 0)
        assert_memory_equal(slice.data, text, slice.length);
}

static void test_pairs_are_split_as_parse_qsl_splits_them(void **state)
{
    static const struct {
        const char *query;
        size_t count;
        const char *pairs[3][2];
    } cases[] = {
        {"", 0, {{0}}},
        {"&", 0, {{0}}},
        {"&&&", 0, {{0}}},
        {"a=1", 1, {{"a", "1"}}},
        {"a=1&b=2", 2, {{"a", "1"}, {"b", "2"}}},
        {"&a=1&&b=2&", 2, {{"a", "1"}, {"b", "2"}}},
        {"a", 1, {{"a", ""}}},
        {"a=", 1, {{"a", ""}}},
        {"=a", 1, {{"", "a"}}},
        {"=", 1, {{"", ""}}},
        {"a==b=", 1, {{"a", "=b="}}},
        {"a=1;b=2", 1, {{"a", "1;b=2"}}},
        {"a=%26b%3D1", 1, {{"a", "%26b%3D1"}}},
        {"a=1&a=2&a", 3, {{"a", "1"}, {"a", "2"}, {"a", ""}}},
        {"a?=?#", 1, {{"a?", "?#"}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_slice rest = mt_slice_of(cases[i].query);
        struct mt_query_pair pair;

        for (size_t j = 0; j < cases[i].count; j++) {
            assert_true(mt_query_next(&rest, &pair));
            assert_slice(pair.name, cases[i].pairs[j][0]);
            assert_slice(pair.value, cases[i].pairs[j][1]);
        }
        pair.name = TEXT("untouched");
        assert_false(mt_query_next(&rest, &pair));
        assert_slice(pair.name, "untouched");
    }
}

static void test_texts_are_decoded_as_unquote_decodes_them(void **state)
{
#define FFFD "\xEF\xBF\xBD"
    static const struct {
        struct mt_slice encoded;
        struct mt_slice text;
    } cases[] = {
        {BYTES(""), BYTES("")},
        {BYTES("limit"), BYTES("limit")},
        {BYTES("+1+2+"), BYTES(" 1 2 ")},
        {BYTES("%2B%2b%20"), BYTES("++ ")},
        {BYTES("%61%5a%5A"), BYTES("aZZ")},
        {BYTES("%00b"), BYTES("\0b")},
        {BYTES("%26%3D"), BYTES("&=")},
        /* escapes that are none */
        {BYTES("%"), BYTES("%")},
        {BYTES("%4"), BYTES("%4")},
        {BYTES("%zz"), BYTES("%zz")},
        {BYTES("%4g"), BYTES("%4g")},
        {BYTES("%%41"), BYTES("%A")},
        {BYTES("%4%41"), BYTES("%4A")},
        {BYTES("%2%30"), BYTES("%20")},
        {BYTES("%+1"), BYTES("% 1")},
        {BYTES("%2541"), BYTES("%41")},
        /* UTF-8, whole and broken */
        {BYTES("%C3%A9"), BYTES("\xC3\xA9")},
        {BYTES("%e2%82%ac"), BYTES("\xE2\x82\xAC")},
        {BYTES("%F0%9F%98%80"), BYTES("\xF0\x9F\x98\x80")},
        {BYTES("%FF"), BYTES(FFFD)},
        {BYTES("%E2%82"), BYTES(FFFD)},
        {BYTES("%E2%28%A1"), BYTES(FFFD "(" FFFD)},
        {BYTES("%C0%80"), BYTES(FFFD FFFD)},
        {BYTES("%ED%A0%80"), BYTES(FFFD FFFD FFFD)},
        {BYTES("%F0%9F%98x"), BYTES(FFFD "x")},
        {BYTES("%F4%90%80%80"), BYTES(FFFD FFFD FFFD FFFD)},
        /* raw bytes are Latin-1 and end the run of escapes about them */
        {BYTES("\xE9"), BYTES("\xC3\xA9")},
        {BYTES("\x80\xFF"), BYTES("\xC2\x80\xC3\xBF")},
        {BYTES("\xE2\x82\xAC"), BYTES("\xC3\xA2\xC2\x82\xC2\xAC")},
        {BYTES("%C3\xA9"), BYTES(FFFD "\xC2\xA9")},
        {BYTES("%E2\x82%AC"), BYTES(FFFD "\xC2\x82" FFFD)},
        {BYTES("%3\3511"), BYTES("%3\303\2511")},
        {BYTES("\351%31"), BYTES("\303\2511")},
        {BYTES("%\xE9"), BYTES("%\xC3\xA9")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_buf out;

        mt_buf_init(&out, 0);
        mt_buf_append_char(&out, '>');
        mt_query_decode(&out, cases[i].encoded);
        assert_false(out.failed);
        assert_int_equal(out.length, 1 + cases[i].text.length);
        assert_memory_equal(out.data + 1, cases[i].text.data, cases[i].text.length);
        mt_buf_fini(&out);
    }
}

static void test_a_full_buffer_fails_and_ends(void **state)
{
    struct mt_buf out;

    (void)state;
    mt_buf_init(&out, 4);
    mt_query_decode(&out, TEXT("123\xE9%FF456"));
    assert_true(out.failed);
    assert_true(out.length <= 4);
    mt_buf_fini(&out);
}

static void test_names_are_compared_decoded(void **state)
{
    (void)state;
    assert_true(mt_query_equal(TEXT("limit"), "limit"));
    assert_true(mt_query_equal(TEXT("lim%69t"), "limit"));
    assert_true(mt_query_equal(TEXT("%6C%69%6d%69%74"), "limit"));
    assert_true(mt_query_equal(TEXT("a+b%20c"), "a b c"));
    assert_true(mt_query_equal(TEXT(""), ""));
    assert_false(mt_query_equal(TEXT(""), "limit"));
    assert_false(mt_query_equal(TEXT("limi"), "limit"));
    assert_false(mt_query_equal(TEXT("limits"), "limit"));
    assert_false(mt_query_equal(TEXT("limit\0"), "limit"));
    assert_false(mt_query_equal(TEXT("limit%00"), "limit"));
    assert_false(mt_query_equal(TEXT("Limit"), "limit"));
    assert_false(mt_query_equal(TEXT("limi%7"), "limit"));
    assert_false(mt_query_equal(TEXT("lim%2569t"), "limit"));
    assert_false(mt_query_equal(TEXT("lim\xE9t"), "limit"));
    assert_false(mt_query_equal(TEXT("lim%E9t"), "limit"));
}

static void test_percent_next_reads_each_byte_once(void **state)
{
    struct mt_slice rest = TEXT("a%41%4+%\0\xE9%ff");
    static const int expected[] = {'a', 0x41, '%', '4', '+', '%', 0, 0xE9, 0xFF, -1, -1};

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(mt_percent_next(&rest), expected[i]);
}

/* Any text, written with any of its bytes escaped, comes back. */
static void test_escaping_any_bytes_changes_nothing(void **state)
{
    static const char text[] = "limit 10&=%+\xC3\xA9\xE2\x82\xAC;\x7F\x01";
    size_t length = sizeof text - 1;

    (void)state;
    srandom(1);
    for (int round = 0; round < 2000; round++) {
        struct mt_buf encoded;
        struct mt_buf out;

        mt_buf_init(&encoded, 0);
        mt_buf_init(&out, 0);
        for (size_t i = 0; i < length; i++) {
            unsigned char c = (unsigned char)text[i];
            /* these mean something else when they are not escaped */
            if (c == '%' || c == '+' || c >= 0x80 || random() % 2 == 0)
                mt_buf_printf(&encoded, random() % 2 ? "%%%02x" : "%%%02X", c);
            else
                mt_buf_append_char(&encoded, (char)(c == ' ' ? '+' : c));
        }
        mt_query_decode(&out, (struct mt_slice){encoded.data, encoded.length});
        assert_int_equal(out.length, length);
        assert_memory_equal(out.data, text, length);
        mt_buf_fini(&encoded);
        mt_buf_fini(&out);
    }
}

static void test_a_plain_text_decodes_to_itself(void **state)
{
    static const char *const plain[] = {"", "10", "a b", "-1.0_0", "&=;~", "\x01\x7F"};
    static const char *const others[] = {"+", "a+b", "%31", "100%", "\x80", "a\xFF"};

    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        struct mt_buf text;

        assert_true(mt_query_is_plain(mt_slice_of(plain[i])));
        mt_buf_init(&text, 0);
        mt_query_decode(&text, mt_slice_of(plain[i]));
        assert_string_equal(mt_buf_string(&text), plain[i]);
        mt_buf_fini(&text);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(mt_query_is_plain(mt_slice_of(others[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_are_split_as_parse_qsl_splits_them),
        cmocka_unit_test(test_texts_are_decoded_as_unquote_decodes_them),
        cmocka_unit_test(test_a_full_buffer_fails_and_ends),
        cmocka_unit_test(test_names_are_compared_decoded),
        cmocka_unit_test(test_percent_next_reads_each_byte_once),
        cmocka_unit_test(test_a_plain_text_decodes_to_itself),
        cmocka_unit_test(test_escaping_any_bytes_changes_nothing),
    };

    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
