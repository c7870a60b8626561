#include "record/derive.h"

#include <string.h>

#include "random_record.h"
#include "unit.h"

/* total 1000, and distinct powers of two for what is subtracted from it */
static struct mt_record typical(void)
{
    struct mt_record record = {.host = "h"};

    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 1000);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 512);
    mt_record_set(&record, MT_FIELD_MEM_FREE, 256);
    mt_record_set(&record, MT_FIELD_CACHED, 64);
    mt_record_set(&record, MT_FIELD_BUFFERS, 32);
    mt_record_set(&record, MT_FIELD_S_RECLAIMABLE, 16);
    mt_record_set(&record, MT_FIELD_S_UNRECLAIM, 8);
    mt_record_set(&record, MT_FIELD_SHMEM, 4);
    return record;
}

static const struct {
    const char *name;
    int64_t used;
    uint64_t needed;
} formulas[MT_USED_COUNT] = {
    [MT_USED_AVAILABLE] = {"available", 488, MT_FIELD_BIT(MT_FIELD_MEM_TOTAL)},
    [MT_USED_FREE] = {"free", 744,
                      MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_FREE)},
    [MT_USED_PROCPS3] = {"procps3", 632,
                         MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_FREE) |
                             MT_FIELD_BIT(MT_FIELD_BUFFERS) | MT_FIELD_BIT(MT_FIELD_CACHED) |
                             MT_FIELD_BIT(MT_FIELD_S_RECLAIMABLE)},
    [MT_USED_HTOP] = {"htop", 636,
                      MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_FREE) |
                          MT_FIELD_BIT(MT_FIELD_BUFFERS) | MT_FIELD_BIT(MT_FIELD_CACHED) |
                          MT_FIELD_BIT(MT_FIELD_S_RECLAIMABLE) | MT_FIELD_BIT(MT_FIELD_SHMEM)},
    [MT_USED_SAR] = {"sar", 624,
                     MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_FREE) |
                         MT_FIELD_BIT(MT_FIELD_BUFFERS) | MT_FIELD_BIT(MT_FIELD_CACHED) |
                         MT_FIELD_BIT(MT_FIELD_S_RECLAIMABLE) | MT_FIELD_BIT(MT_FIELD_S_UNRECLAIM)},
};

static void every_formula_by_hand(void **state)
{
    struct mt_record record = typical();

    (void)state;
    for (enum mt_used_formula i = 0; i < MT_USED_COUNT; i++) {
        int64_t used = -1;

        assert_string_equal(mt_used_formula_name(i), formulas[i].name);
        assert_true(mt_used_kib(&record, i, &used));
        assert_int_equal(used, formulas[i].used);
    }
}

static void a_formula_without_a_part_has_no_result(void **state)
{
    (void)state;
    for (enum mt_used_formula i = 0; i < MT_USED_COUNT; i++) {
        for (enum mt_field field = 0; field < MT_FIELD_COUNT; field++) {
            struct mt_record record = typical();
            int64_t used = 77;

            mt_record_unset(&record, field);
            if ((formulas[i].needed & MT_FIELD_BIT(field)) != 0) {
                assert_false(mt_used_kib(&record, i, &used));
                assert_int_equal(used, 77);
            } else {
                assert_true(mt_used_kib(&record, i, &used));
            }
        }
    }
}

static void available_falls_back_as_procps_does(void **state)
{
    struct mt_record record = typical();

    (void)state;
    assert_int_equal(mt_available_kib(&record), 512);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 1000);
    assert_int_equal(mt_available_kib(&record), 1000);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 1001);
    assert_int_equal(mt_available_kib(&record), 256);
    mt_record_unset(&record, MT_FIELD_MEM_AVAILABLE);
    assert_int_equal(mt_available_kib(&record), 256);
    mt_record_set(&record, MT_FIELD_MEM_FREE, 1001);
    assert_int_equal(mt_available_kib(&record), 1000);
}

static void parts_larger_than_the_whole_are_no_negative_use(void **state)
{
    struct mt_record record = typical();
    int64_t used = -1;

    (void)state;
    mt_record_set(&record, MT_FIELD_CACHED, 5000);
    assert_true(mt_used_kib(&record, MT_USED_SAR, &used));
    assert_int_equal(used, 0);
}

static void random_summaries_hold_together(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct mt_record record = random_record(&seed);
        struct mt_summary summary = mt_summarize(&record);

        assert_int_equal(summary.total_mib, record.value[MT_FIELD_MEM_TOTAL] / 1024);
        assert_int_equal(summary.total_mib, summary.free_mib + summary.used_mib);
        assert_true(summary.free_mib >= 0 && summary.used_mib >= 0);
        for (enum mt_used_formula k = 0; k < MT_USED_COUNT; k++) {
            int64_t used = 0;

            if (mt_used_kib(&record, k, &used))
                assert_true(used >= 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_formula_by_hand),
        cmocka_unit_test(a_formula_without_a_part_has_no_result),
        cmocka_unit_test(available_falls_back_as_procps_does),
        cmocka_unit_test(parts_larger_than_the_whole_are_no_negative_use),
        cmocka_unit_test(random_summaries_hold_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
