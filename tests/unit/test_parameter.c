#include "api/parameter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BOTH (MT_PARAMETER_BIT(MT_PARAMETER_LIMIT) | MT_PARAMETER_BIT(MT_PARAMETER_SKIP))

#define ZEROS_14 "00000000000000"
#define ZEROS_16 ZEROS_14 "00"

static void test_integers_as_pydantic_reads_them(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"+0", 0},
        {"10", 10},
        {"+10", 10},
        {"-10", -10},
        {"007", 7},
        {"1_0", 10},
        {"1_0_0", 100},
        {"+_1", 1},
        {"-_1", -1},
        {"10.", 10},
        {"10.0", 10},
        {"-10.000", -10},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"-9223372036854775809", INT64_MIN},
        {"99999999999999999999999999999999999999", INT64_MAX},
        {"-99999999999999999999999999999999999999", INT64_MIN},
        {"00000000000000000000000000000000000012", 12},
        {"-0000000000000000000000000000000000000", 0},
        {"99999999999999999999999999.000", INT64_MAX},
        /* from 19 bytes on, anything goes after the first digit */
        {"1" ZEROS_16 "__", 10000000000000000},
        {"1__" ZEROS_16, 10000000000000000},
        {"1_0." ZEROS_14 "0", 10},
        {"1__0." ZEROS_14, 10},
        {"1_____________________", 1},
        {"1____________________.", 1},
        {"+_1" ZEROS_16, 10000000000000000},
    };
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        value = -77;
        assert_int_equal(mt_integer_parse(mt_slice_of(cases[i].text), &value), MT_INTEGER_OK);
        assert_true(value == cases[i].value);
    }
}

static void test_texts_that_are_no_integers(void **state)
{
    static const char *const cases[] = {
        "",
        "+",
        "-",
        ".",
        "+.",
        "_",
        "__",
        "ten",
        "0x10",
        "1e3",
        "1.5",
        "1.0.0",
        ".0",
        "-.0",
        "1..",
        "1,0",
        "--1",
        "+-1",
        "-+1",
        "++1",
        "_1",
        "1_",
        "1__0",
        "-1__0",
        "1_+",
        "1_0.0",
        "1_.0",
        "1.0_0",
        " 1",
        "1 ",
        "1\n",
        "1\t",
        "- 1",
        "\xC2\xA0"
        "1",
        "\xD9\xA1",
        "\xEF\xBC\x91",
        "1_0." ZEROS_14, /* 18 bytes */
        "_1" ZEROS_16 "00",
        "+_" ZEROS_16 "_1_",
        "--1" ZEROS_16,
        "++1" ZEROS_16,
        "-+1" ZEROS_16,
        "+-1" ZEROS_16,
        "." ZEROS_16 "000",
        "+." ZEROS_16 "00",
        "_1." ZEROS_16 "0",
        "1" ZEROS_16 "x00",
        "___________________",
    };
    int64_t value = -77;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(mt_integer_parse(mt_slice_of(cases[i]), &value), MT_INTEGER_UNPARSABLE);
    assert_int_equal(mt_integer_parse((struct mt_slice){"1\0", 2}, &value), MT_INTEGER_UNPARSABLE);
    assert_int_equal(mt_integer_parse((struct mt_slice){NULL, 0}, &value), MT_INTEGER_UNPARSABLE);
    assert_true(value == -77);
}

static void test_length_is_judged_before_content(void **state)
{
    static char text[4301];
    int64_t value = -77;

    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(mt_integer_parse((struct mt_slice){text, 4300}, &value),
                     MT_INTEGER_UNPARSABLE);
    assert_int_equal(mt_integer_parse((struct mt_slice){text, 4301}, &value), MT_INTEGER_TOO_LONG);
    memset(text, '0', sizeof text);
    assert_int_equal(mt_integer_parse((struct mt_slice){text, 4301}, &value), MT_INTEGER_TOO_LONG);
    assert_true(value == -77);
    text[4299] = '8';
    assert_int_equal(mt_integer_parse((struct mt_slice){text, 4300}, &value), MT_INTEGER_OK);
    assert_true(value == 8);
    memset(text, '9', sizeof text);
    assert_int_equal(mt_integer_parse((struct mt_slice){text, 4300}, &value), MT_INTEGER_OK);
    assert_true(value == INT64_MAX);
    for (size_t i = 1; i < 4300; i += 2)
        text[i] = '_';
    assert_int_equal(mt_integer_parse((struct mt_slice){text, 4299}, &value), MT_INTEGER_OK);
}

/* Every int64 survives its own digits, with any zeros before and single underscores among them. */
static void test_any_number_comes_back(void **state)
{
    (void)state;
    srandom(2);
    for (int round = 0; round < 5000; round++) {
        int64_t number =
            (int64_t)((uint64_t)random() << 33 ^ (uint64_t)random() << 11 ^ (uint64_t)random()) >>
            random() % 63;
        int64_t value = 0;
        struct mt_buf digits;
        struct mt_buf text;

        mt_buf_init(&digits, 0);
        mt_buf_init(&text, 0);
        mt_buf_append_i64(&digits, number);
        for (size_t i = 0; i < digits.length; i++) {
            mt_buf_append_char(&text, digits.data[i]);
            if (digits.data[i] != '-' && i + 1 < digits.length && random() % 4 == 0)
                mt_buf_append_char(&text, '_');
        }
        assert_int_equal(mt_integer_parse((struct mt_slice){text.data, text.length}, &value),
                         MT_INTEGER_OK);
        assert_true(value == number);
        mt_buf_append_string(&digits, ".000");
        assert_int_equal(mt_integer_parse((struct mt_slice){digits.data, digits.length}, &value),
                         MT_INTEGER_OK);
        assert_true(value == number);
        mt_buf_fini(&digits);
        mt_buf_fini(&text);
    }
}

static void test_proper_parameters_and_defaults(void **state)
{
    static const struct {
        const char *query;
        int64_t limit;
        int64_t skip;
    } cases[] = {
        {"", 10, 0},
        {"limit=3", 3, 0},
        {"limit=99999&skip=1", 99999, 1},
        {"skip=2&limit=1", 1, 2},
        {"lim%69t=4", 4, 0},
        {"limit=1&limit=2&limit=3", 3, 0},
        {"limit=ten&limit=2", 2, 0},
        {"Limit=ten&LIMIT=0&SKIP=-1&limits=x&=7", 10, 0},
        {"limit=%2B5", 5, 0},
        {"skip=9223372036854775806", 10, INT64_MAX - 1},
        {"skip=123456789012345678901234567890", 10, INT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_parameters parameters;
        struct mt_buf errors;

        mt_buf_init(&errors, 0);
        assert_true(mt_parameters_check(mt_slice_of(cases[i].query), BOTH, &parameters, &errors));
        assert_true(parameters.value[MT_PARAMETER_LIMIT] == cases[i].limit);
        assert_true(parameters.value[MT_PARAMETER_SKIP] == cases[i].skip);
        assert_int_equal(errors.length, 0);
        assert_false(errors.failed);
        mt_buf_fini(&errors);
    }
}

#define PARSING(name, input)                                                                       \
    "{\"type\":\"int_parsing\",\"loc\":[\"query\",\"" name "\"],\"msg\":\"Input should be a "      \
    "valid integer, unable to parse string as an integer\",\"input\":\"" input                     \
    "\",\"url\":\"https://errors.pydantic.dev/2.6/v/int_parsing\"}"
#define GREATER(name, input)                                                                       \
    "{\"type\":\"greater_than\",\"loc\":[\"query\",\"" name "\"],\"msg\":\"Input should be "       \
    "greater than 0\",\"input\":\"" input                                                          \
    "\",\"ctx\":{\"gt\":0},\"url\":\"https://errors.pydantic.dev/2.6/v/greater_than\"}"
#define LESS(name, input)                                                                          \
    "{\"type\":\"less_than\",\"loc\":[\"query\",\"" name "\"],\"msg\":\"Input should be less "     \
    "than 100000\",\"input\":\"" input                                                             \
    "\",\"ctx\":{\"lt\":100000},\"url\":\"https://errors.pydantic.dev/2.6/v/less_than\"}"
#define DETAIL(errors) "{\"detail\":[" errors "]}"

static void test_refusals_in_order_and_in_full(void **state)
{
    static const struct {
        const char *query;
        const char *body;
    } cases[] = {
        {"limit=ten", DETAIL(PARSING("limit", "ten"))},
        {"limit", DETAIL(PARSING("limit", ""))},
        {"limit=4&limit=", DETAIL(PARSING("limit", ""))},
        {"limit=0", DETAIL(GREATER("limit", "0"))},
        {"limit=-0.0", DETAIL(GREATER("limit", "-0.0"))},
        {"limit=100000", DETAIL(LESS("limit", "100000"))},
        {"limit=99999999999999999999", DETAIL(LESS("limit", "99999999999999999999"))},
        {"limit=-99999999999999999999", DETAIL(GREATER("limit", "-99999999999999999999"))},
        {"skip=0", DETAIL(GREATER("skip", "0"))},
        {"skip=x&limit=100000", DETAIL(LESS("limit", "100000") "," PARSING("skip", "x"))},
        {"skip=-1&limit=0", DETAIL(GREATER("limit", "0") "," GREATER("skip", "-1"))},
        {"limit=%22%5C%00%1f%7F\xE9%FF%0A/",
         DETAIL(PARSING("limit", "\\\"\\\\\\u0000\\u001f\x7F\xC3\xA9\xEF\xBF\xBD\\n/"))},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_parameters parameters;
        struct mt_buf errors;

        mt_buf_init(&errors, 0);
        assert_false(mt_parameters_check(mt_slice_of(cases[i].query), BOTH, &parameters, &errors));
        assert_string_equal(mt_buf_string(&errors), cases[i].body);
        mt_buf_fini(&errors);
    }
}

static void test_too_long_is_told_with_the_whole_input(void **state)
{
    struct mt_parameters parameters;
    struct mt_buf query;
    struct mt_buf errors;

    (void)state;
    mt_buf_init(&query, 0);
    mt_buf_init(&errors, 0);
    mt_buf_append_string(&query, "limit=");
    for (int i = 0; i < 4301; i++)
        mt_buf_append_char(&query, '7');
    assert_false(mt_parameters_check((struct mt_slice){query.data, query.length}, BOTH, &parameters,
                                     &errors));
    assert_non_null(strstr(mt_buf_string(&errors),
                           "{\"detail\":[{\"type\":\"int_parsing_size\",\"loc\":[\"query\","
                           "\"limit\"],\"msg\":\"Unable to parse input string as an integer, "
                           "exceeded maximum size\",\"input\":\"7777"));
    assert_non_null(strstr(mt_buf_string(&errors), "7\",\"url\":\"https://errors.pydantic.dev/2.6/"
                                                   "v/int_parsing_size\"}]}"));
    assert_true(errors.length > 4301 + 200);
    mt_buf_fini(&query);
    mt_buf_fini(&errors);
}

static void test_what_is_not_chosen_is_ignored(void **state)
{
    struct mt_parameters parameters;
    struct mt_buf errors;

    (void)state;
    mt_buf_init(&errors, 0);
    assert_true(mt_parameters_check(mt_slice_of("limit=ten&skip=3"),
                                    MT_PARAMETER_BIT(MT_PARAMETER_SKIP), &parameters, &errors));
    assert_int_equal(parameters.value[MT_PARAMETER_SKIP], 3);
    assert_int_equal(parameters.value[MT_PARAMETER_LIMIT], 10);
    assert_int_equal(errors.length, 0);
    mt_buf_fini(&errors);
}

static void test_want_of_memory_is_no_proper_answer(void **state)
{
    struct mt_parameters parameters;
    struct mt_buf errors;

    (void)state;
    mt_buf_init(&errors, 100);
    assert_false(mt_parameters_check(mt_slice_of("limit=ten"), BOTH, &parameters, &errors));
    assert_true(errors.failed);
    mt_buf_fini(&errors);
}

static void test_the_table_describes_itself(void **state)
{
    (void)state;
    for (enum mt_parameter i = 0; i < MT_PARAMETER_COUNT; i++) {
        const struct mt_parameter_info *info = mt_parameter_info(i);

        assert_true(strlen(info->name) > 0 && strlen(info->help) > 0);
        assert_true(info->type != MT_PARAMETER_TYPE_INTEGER || info->gt < info->lt);
        assert_int_equal(info->type == MT_PARAMETER_TYPE_CHOICE, info->choices[0] != '\0');
        /* those of the store protocol may have a name that another endpoint has */
        for (enum mt_parameter j = 0; j < i && i < MT_PARAMETER_ON_CONFLICT; j++)
            assert_string_not_equal(info->name, mt_parameter_info(j)->name);
    }
    assert_string_equal(mt_parameter_info(MT_PARAMETER_LIMIT)->name, "limit");
    assert_string_equal(mt_parameter_info(MT_PARAMETER_SKIP)->name, "skip");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_as_pydantic_reads_them),
        cmocka_unit_test(test_texts_that_are_no_integers),
        cmocka_unit_test(test_length_is_judged_before_content),
        cmocka_unit_test(test_any_number_comes_back),
        cmocka_unit_test(test_proper_parameters_and_defaults),
        cmocka_unit_test(test_refusals_in_order_and_in_full),
        cmocka_unit_test(test_too_long_is_told_with_the_whole_input),
        cmocka_unit_test(test_what_is_not_chosen_is_ignored),
        cmocka_unit_test(test_want_of_memory_is_no_proper_answer),
        cmocka_unit_test(test_the_table_describes_itself),
    };

    return cmocka_run_group_tests_name("parameter", tests, NULL, NULL);
}
