#include "record/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "random_record.h"
#include "unit.h"

static struct mt_record proper(void)
{
    struct mt_record record = {.host = "h", .timestamp = 1647033600};

    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 4096);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 1024);
    return record;
}

static void fields_are_found_by_their_names(void **state)
{
    (void)state;
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        const struct mt_field_info *info = mt_field_info(i);
        enum mt_field found = MT_FIELD_COUNT;

        assert_true(mt_field_find(info->name, strlen(info->name), &found));
        assert_int_equal(found, i);
        assert_false(mt_field_find(info->name, strlen(info->name) - 1, &found));
        assert_true(info->help[0] != '\0' && info->unit[0] != '\0');
        for (const char *c = info->name; *c != '\0'; c++)
            assert_non_null(strchr("abcdefghijklmnopqrstuvwxyz_", *c));
    }
    assert_false(mt_field_find("", 0, &(enum mt_field){0}));
    assert_false(mt_field_find("mem_totals", 10, &(enum mt_field){0}));
}

static void absent_is_not_zero(void **state)
{
    struct mt_record record = {0};
    int64_t value = 77;

    (void)state;
    assert_false(mt_record_get(&record, MT_FIELD_ZSWAP, &value));
    assert_int_equal(value, 77);
    mt_record_set(&record, MT_FIELD_ZSWAP, 0);
    assert_true(mt_record_get(&record, MT_FIELD_ZSWAP, &value));
    assert_int_equal(value, 0);
    mt_record_set(&record, MT_FIELD_ZSWAP, 5);
    mt_record_unset(&record, MT_FIELD_ZSWAP);
    assert_memory_equal(&record, &(struct mt_record){0}, sizeof record);
}

static void hosts(void **state)
{
    static const struct {
        const char *host;
        bool proper;
    } cases[] = {
        {"a", true},
        {"web-1.example.org", true},
        {"\xC3\xA4\xE2\x82\xAC", true},
        {"", false},
        {"a b", false},
        {"a\tb", false},
        {"a\x7F", false},
        {"\x01", false},
        {"a\n", false},
        {"\xC3", false},
        {"\xED\xA0\x80", false},
        {"\xC0\xAF", false},
        {"a,\"'b", true},
    };
    struct mt_record record = proper();
    struct mt_error error = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(record.host, sizeof record.host, "%s", cases[i].host);
        if ((mt_record_check(&record, &error) == MT_OK) != cases[i].proper)
            fail_msg("host '%s' is not judged right", cases[i].host);
    }
    memset(record.host, 'x', MT_HOST_MAX);
    record.host[MT_HOST_MAX] = '\0';
    assert_int_equal(mt_record_check(&record, &error), MT_OK);
    record.host[MT_HOST_MAX] = 'x';
    assert_int_equal(mt_record_check(&record, &error), MT_ERR_BAD_DATA);
}

static void bounds(void **state)
{
    struct mt_error error = {0};

    (void)state;
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        struct mt_record record = proper();

        mt_record_set(&record, i, MT_VALUE_MAX);
        assert_int_equal(mt_record_check(&record, &error), MT_OK);
        mt_record_set(&record, i, MT_VALUE_MAX + 1);
        assert_int_equal(mt_record_check(&record, &error), MT_ERR_BAD_DATA);
        assert_memory_equal(error.text, mt_field_info(i)->name, strlen(mt_field_info(i)->name));
        mt_record_set(&record, i, -1);
        assert_int_equal(mt_record_check(&record, &error), MT_ERR_BAD_DATA);
        assert_non_null(strstr(error.text, " -1: "));
        mt_record_set(&record, i, 0);
        assert_int_equal(mt_record_check(&record, &error),
                         i == MT_FIELD_MEM_TOTAL ? MT_ERR_BAD_DATA : MT_OK);
    }
}

static void timestamps(void **state)
{
    static const int64_t good[] = {0, 1647033600, MT_TIMESTAMP_MAX};
    static const int64_t bad[] = {-1, INT64_MIN, MT_TIMESTAMP_MAX + 1, INT64_MAX};
    struct mt_record record = proper();
    struct mt_error error = {0};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        record.timestamp = good[i];
        assert_int_equal(mt_record_check(&record, &error), MT_OK);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        record.timestamp = bad[i];
        assert_int_equal(mt_record_check(&record, &error), MT_ERR_BAD_DATA);
    }
}

static void what_every_record_has(void **state)
{
    struct mt_record record = proper();
    struct mt_error error = {0};

    (void)state;
    mt_record_unset(&record, MT_FIELD_MEM_AVAILABLE);
    assert_int_equal(mt_record_check(&record, &error), MT_ERR_BAD_DATA);
    mt_record_set(&record, MT_FIELD_MEM_FREE, 0);
    assert_int_equal(mt_record_check(&record, &error), MT_OK);
    mt_record_unset(&record, MT_FIELD_MEM_TOTAL);
    assert_int_equal(mt_record_check(&record, &error), MT_ERR_BAD_DATA);
}

static struct mt_record sampled(void)
{
    struct mt_record record = proper();

    record.has_boot_id = true;
    record.boot_id[0] = 1;
    mt_record_set(&record, MT_FIELD_UPTIME_S, 100);
    return record;
}

static void repeats(void **state)
{
    struct mt_record a = sampled();
    struct mt_record b = sampled();

    (void)state;
    /* the same sample, whatever else differs */
    mt_record_set(&b, MT_FIELD_DIRTY, 9);
    assert_true(mt_record_is_repeat(&a, &b));
    mt_record_set(&b, MT_FIELD_UPTIME_S, 101);
    assert_false(mt_record_is_repeat(&a, &b));
    b = sampled();
    b.boot_id[15] = 1;
    assert_false(mt_record_is_repeat(&a, &b));
    /* where uptime or boot id lack, the content decides */
    b = sampled();
    mt_record_unset(&b, MT_FIELD_UPTIME_S);
    assert_false(mt_record_is_repeat(&a, &b));
    mt_record_unset(&a, MT_FIELD_UPTIME_S);
    assert_true(mt_record_is_repeat(&a, &b));
    mt_record_set(&b, MT_FIELD_MEM_AVAILABLE, 1023);
    assert_false(mt_record_is_repeat(&a, &b));
    a = proper();
    b = proper();
    assert_true(mt_record_is_repeat(&a, &b));
    b = sampled();
    mt_record_unset(&b, MT_FIELD_UPTIME_S);
    assert_false(mt_record_is_repeat(&a, &b));
    b = proper();
    mt_record_set(&b, MT_FIELD_ZSWAP, 0);
    assert_false(mt_record_is_repeat(&a, &b));
}

static void random_records_repeat_themselves_only(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct mt_record a = random_record(&seed);
        struct mt_record b = random_record(&seed);
        struct mt_error error = {0};

        if (mt_record_check(&a, &error) != MT_OK)
            fail_msg("%s", error.text);
        assert_true(mt_record_is_repeat(&a, &a));
        assert_int_equal(mt_record_is_repeat(&a, &b), mt_record_is_repeat(&b, &a));
    }
}

static void boot_ids(void **state)
{
    static const char *const bad[] = {
        "",
        "0f5a2c1e9b7d4e6f8a3b1c2d3e4f5a6b",
        "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6",
        "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6bb",
        "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6g",
        "{f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6}",
        "0f5a2c1-e9b7d-4e6f-8a3b-1c2d3e4f5a6b",
    };
    uint64_t seed = 5;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint8_t before[MT_BOOT_ID_SIZE];
        uint8_t after[MT_BOOT_ID_SIZE];
        char text[MT_BOOT_ID_TEXT_SIZE];

        for (size_t k = 0; k < sizeof before; k++)
            before[k] = (uint8_t)random_u64(&seed);
        mt_boot_id_format(before, text);
        assert_true(mt_boot_id_parse(text, strlen(text), after));
        assert_memory_equal(before, after, sizeof before);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t kept[MT_BOOT_ID_SIZE] = {7};

        assert_false(mt_boot_id_parse(bad[i], strlen(bad[i]), kept));
        assert_int_equal(kept[0], 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_by_their_names),
        cmocka_unit_test(absent_is_not_zero),
        cmocka_unit_test(hosts),
        cmocka_unit_test(bounds),
        cmocka_unit_test(timestamps),
        cmocka_unit_test(what_every_record_has),
        cmocka_unit_test(repeats),
        cmocka_unit_test(random_records_repeat_themselves_only),
        cmocka_unit_test(boot_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
