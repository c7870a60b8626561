#include <stdio.h>
#include <string.h>

#include "random_record.h"
#include "record/derive.h"
#include "record/json.h"
#include "unit.h"

static void an_empty_record_is_nulls(void **state)
{
    struct mt_record record = {.host = "a\"b\\c\xC3\xA4", .timestamp = 1647033600};
    struct mt_buf expected;
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_buf_init(&expected, 0);
    mt_json_record(&text, &record);
    mt_buf_append_string(&expected, "{\"host\":\"a\\\"b\\\\c\xC3\xA4\",\"timestamp\":1647033600,"
                                    "\"boot_id\":null");
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        mt_buf_printf(&expected, ",\"%s\":null", mt_field_info(i)->name);
    mt_buf_append_char(&expected, '}');
    assert_string_equal(mt_buf_string(&text), mt_buf_string(&expected));
    mt_buf_fini(&text);
    mt_buf_fini(&expected);
}

static void every_value_is_in_its_place(void **state)
{
    struct mt_record record = {.host = "h", .has_boot_id = true, .boot_id = {0xAB, 1}};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        mt_record_set(&record, i, 1000 + (int64_t)i);
    mt_record_set(&record, MT_FIELD_DIRTY, 0);
    mt_record_set(&record, MT_FIELD_PSI_FULL_US, MT_VALUE_MAX);
    mt_json_record(&text, &record);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        char wanted[128];
        int64_t value = -1;

        assert_true(mt_record_get(&record, i, &value));
        (void)snprintf(wanted, sizeof wanted, ",\"%s\":%lld%c", mt_field_info(i)->name,
                       (long long)value, i + 1 == MT_FIELD_COUNT ? '}' : ',');
        if (strstr(mt_buf_string(&text), wanted) == NULL)
            fail_msg("no %s in %s", wanted, mt_buf_string(&text));
    }
    assert_non_null(
        strstr(mt_buf_string(&text), "\"boot_id\":\"ab010000-0000-0000-0000-000000000000\","));
    mt_buf_fini(&text);
}

static void log_entries_are_mib_in_fixed_order(void **state)
{
    struct mt_record record = {.host = "h", .timestamp = 7};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 2047);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 1023);
    mt_json_log_entry(&text, &record);
    assert_string_equal(mt_buf_string(&text),
                        "{\"timestamp\":7,\"total\":1,\"free\":0,\"used\":1}");
    mt_buf_fini(&text);
}

/* the numbers of a log entry, read back with nothing but sscanf, are those of mt_summarize */
static void random_log_entries_add_up(void **state)
{
    uint64_t seed = 20260311;
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    for (int i = 0; i < 5000; i++) {
        struct mt_record record = random_record(&seed);
        long long timestamp, total, free, used;
        int end = 0;

        mt_buf_clear(&text);
        mt_json_log_entry(&text, &record);
        assert_int_equal(sscanf(mt_buf_string(&text),
                                "{\"timestamp\":%lld,\"total\":%lld,\"free\":%lld,\"used\":%lld}%n",
                                &timestamp, &total, &free, &used, &end),
                         4);
        assert_int_equal(end, text.length);
        assert_int_equal(timestamp, record.timestamp);
        assert_int_equal(total, record.value[MT_FIELD_MEM_TOTAL] / 1024);
        assert_int_equal(free, mt_available_kib(&record) / 1024);
        assert_int_equal(total, free + used);
        assert_true(used >= 0);
    }
    mt_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_record_is_nulls),
        cmocka_unit_test(every_value_is_in_its_place),
        cmocka_unit_test(log_entries_are_mib_in_fixed_order),
        cmocka_unit_test(random_log_entries_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
