#include <stdio.h>
#include <string.h>

#include "random_record.h"
#include "record/json.h"
#include "record/json_parse.h"
#include "unit.h"

static enum mt_err parse(const char *text, struct mt_record *record, bool *is_json,
                         struct mt_error *error)
{
    *error = (struct mt_error){0};
    return mt_json_parse_record(mt_slice_of(text), record, is_json, error);
}

static void what_is_written_is_read_back(void **state)
{
    uint64_t seed = 20261121;
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    for (int i = 0; i < 3000; i++) {
        struct mt_record record = random_record(&seed);
        struct mt_record again = {0};
        struct mt_error error;

        mt_buf_clear(&text);
        mt_json_record(&text, &record);
        if (parse(mt_buf_string(&text), &again, NULL, &error) != MT_OK)
            fail_msg("%s: %s", text.data, error.text);
        assert_true(records_are_equal(&record, &again));
    }
    mt_buf_fini(&text);
}

static void absent_is_left_out_or_null(void **state)
{
    struct mt_record sparse = {0};
    struct mt_record nulls = {0};
    struct mt_error error;
    bool is_json = false;

    (void)state;
    assert_int_equal(parse(" {\"timestamp\": 60, \"mem_total\":7, \"host\":\"a\\u00e4\"}\r",
                           &sparse, &is_json, &error),
                     MT_OK);
    assert_true(is_json);
    assert_string_equal(sparse.host, "a\xC3\xA4");
    assert_int_equal(sparse.timestamp, 60);
    assert_false(sparse.has_boot_id);
    assert_true(sparse.present == MT_FIELD_BIT(MT_FIELD_MEM_TOTAL));
    assert_int_equal(sparse.value[MT_FIELD_MEM_TOTAL], 7);
    assert_int_equal(parse("{\"host\":\"a\xC3\xA4\",\"timestamp\":60,\"boot_id\":null,"
                           "\"dirty\":null,\"mem_total\":7}",
                           &nulls, NULL, &error),
                     MT_OK);
    assert_true(records_are_equal(&sparse, &nulls));
}

/* each names the member and its value */
static void improper_records_are_refused(void **state)
{
    static const struct {
        const char *text;
        const char *said;
    } cases[] = {
        {"7", "record 7: must be an object"},
        {"[]", "record []: must be an object"},
        {"{}", "host: must be given"},
        {"{\"host\":null,\"timestamp\":1}", "host: must be given"},
        {"{\"host\":\"a\"}", "timestamp: must be given"},
        {"{\"host\":\"a\",\"timestamp\":null}",
         "timestamp null: must be an integer (Unix seconds)"},
        {"{\"host\":\"a\",\"timestamp\":\"1\"}",
         "timestamp \"1\": must be an integer (Unix seconds)"},
        {"{\"host\":\"a\",\"timestamp\":-1}",
         "timestamp -1: must be from 0 to 253402300799 (Unix seconds)"},
        {"{\"host\":\"a\",\"timestamp\":253402300800}",
         "timestamp 253402300800: must be from 0 to 253402300799 (Unix seconds)"},
        {"{\"host\":\"\",\"timestamp\":1}", "host \"\": must be a string of 1 to 255 bytes"},
        {"{\"host\":5,\"timestamp\":1}", "host 5: must be a string of 1 to 255 bytes"},
        {"{\"host\":\"a b\",\"timestamp\":1}",
         "host 'a b': must be 1 to 255 bytes of UTF-8 without spaces and control characters"},
        {"{\"host\":\"a\",\"timestamp\":1,\"dirty\":1.0}", "dirty 1.0: must be an integer or null"},
        {"{\"host\":\"a\",\"timestamp\":1,\"dirty\":true}",
         "dirty true: must be an integer or null"},
        {"{\"host\":\"a\",\"timestamp\":1,\"dirty\":-5}", "dirty -5: must be from 0 to 2^53"},
        {"{\"host\":\"a\",\"timestamp\":1,\"dirty\":9007199254740993}",
         "dirty 9007199254740993: must be from 0 to 2^53"},
        {"{\"host\":\"a\",\"timestamp\":1,\"boot_id\":\"x\"}",
         "boot_id \"x\": must be a UUID such as 01234567-89ab-cdef-0123-456789abcdef"},
        {"{\"host\":\"a\",\"timestamp\":1,\"mem_totl\":5}",
         "member 'mem_totl': a record has none of that name; did you mean mem_total?"},
        {"{\"host\":\"a\",\"timestamp\":1,\"unheard_of\":5}",
         "member 'unheard_of': a record has none of that name"},
        {"{\"host\":\"a\",\"timestamp\":1,\"dirty\":1,\"dirty\":1}",
         "byte 43: duplicate object key near '\"dirty\"'"},
        {"{\"host\":\"a\",\"timestamp\":1,\"dirty\":99999999999999999999}",
         "byte 54: too big integer near '99999999999999999999'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_record record = {.timestamp = 77};
        struct mt_error error;
        bool is_json = false;

        assert_int_equal(parse(cases[i].text, &record, &is_json, &error), MT_ERR_BAD_DATA);
        assert_string_equal(error.text, cases[i].said);
        if (!is_json)
            fail_msg("%s is JSON", cases[i].text);
        assert_int_equal(record.timestamp, 77);
    }
}

static void what_is_no_json_is_told_apart(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "{}{}",
        "{\"host\":\"a\",}",
        "nonsense",
        "{'host':'a'}",
        "\xFF",
        "[1,]",
        "{\"host\":\"\xC3\x28\",\"timestamp\":1}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct mt_record record = {0};
        struct mt_error error;
        bool is_json = true;

        assert_int_equal(parse(texts[i], &record, &is_json, &error), MT_ERR_BAD_DATA);
        if (is_json)
            fail_msg("%s is no JSON", texts[i]);
    }
}

static void long_and_deep_texts_are_refused(void **state)
{
    static char text[MT_JSON_RECORD_MOST + 2];
    struct mt_record record = {0};
    struct mt_error error;
    bool is_json = false;

    (void)state;
    memset(text, ' ', MT_JSON_RECORD_MOST + 1);
    assert_int_equal(parse(text, &record, &is_json, &error), MT_ERR_BAD_DATA);
    assert_string_equal(error.text, "a record of 65537 bytes: at most 65536 are read");
    memset(text, '[', MT_JSON_RECORD_MOST);
    text[MT_JSON_RECORD_MOST] = '\0';
    assert_int_equal(parse(text, &record, &is_json, &error), MT_ERR_BAD_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(absent_is_left_out_or_null),
        cmocka_unit_test(improper_records_are_refused),
        cmocka_unit_test(what_is_no_json_is_told_apart),
        cmocka_unit_test(long_and_deep_texts_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
