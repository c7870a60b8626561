#include <string.h>

#include "cli/audit.h"
#include "unit.h"

enum { NOW_S = 1000000 };

static struct mt_audit audit;

/* boot 0: a record without boot_id; a negative number: that field is absent */
static void take(int64_t timestamp, uint8_t boot, int64_t uptime_s, int64_t oom_kill)
{
    struct mt_record record = {.host = "a", .timestamp = timestamp, .has_boot_id = boot != 0};

    memset(record.boot_id, boot, sizeof record.boot_id);
    if (uptime_s >= 0)
        mt_record_set(&record, MT_FIELD_UPTIME_S, uptime_s);
    if (oom_kill >= 0)
        mt_record_set(&record, MT_FIELD_OOM_KILL, oom_kill);
    assert_true(mt_audit_take(&audit, &record));
}

static int set_up(void **state)
{
    (void)state;
    mt_audit_init(&audit, NOW_S);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mt_audit_fini(&audit);
    return 0;
}

static void a_steady_history_has_no_findings(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 100; i++) {
        /* a reboot at the fiftieth, and seconds of cron's lateness */
        int64_t uptime_s = i < 50 ? 1000 + i * 60 : (i - 50) * 60;
        take(i * 60 + i % 3, i < 50 ? 1 : 2, uptime_s, i % 50);
    }
    assert_int_equal(audit.records, 100);
    assert_int_equal(audit.first, 0);
    assert_int_equal(audit.last, 5940);
    assert_int_equal(audit.boots, 2);
    assert_int_equal(mt_audit_problems(&audit), 0);
    assert_int_equal(mt_audit_warnings(&audit), 0);
}

static void gaps_are_counted_in_records_and_time(void **state)
{
    (void)state;
    take(0, 0, -1, -1);
    take(60, 0, -1, -1);
    take(180, 0, -1, -1); /* one is missing */
    take(270, 0, -1, -1); /* a minute and a half: the nearest number of minutes is two */
    take(870, 0, -1, -1); /* nine are missing */
    assert_int_equal(audit.gaps.count, 3);
    assert_int_equal(audit.gaps.first, 60);
    assert_int_equal(audit.missing, 1 + 1 + 9);
    assert_int_equal(audit.missing_s, 11 * 60);
    assert_int_equal(audit.longest_s, 600);
    assert_int_equal(audit.longest_from, 270);
    assert_int_equal(mt_audit_warnings(&audit), 1);
    assert_int_equal(mt_audit_problems(&audit), 0);
}

static void a_record_tells_its_own_interval(void **state)
{
    struct mt_record record = {.host = "a"};

    (void)state;
    mt_record_set(&record, MT_FIELD_INTERVAL_S, 300);
    for (int i = 0; i < 3; i++) {
        record.timestamp = (int64_t)i * 300;
        assert_true(mt_audit_take(&audit, &record));
    }
    assert_int_equal(audit.gaps.count, 0);
    record.timestamp = 1200;
    assert_true(mt_audit_take(&audit, &record));
    assert_int_equal(audit.missing, 1);
    assert_int_equal(audit.missing_s, 300);
}

static void moved_records_stand_too_close(void **state)
{
    (void)state;
    take(60, 1, 100, 0);
    take(61, 1, 160, 0);
    take(120, 1, 220, 0);
    assert_int_equal(audit.close.count, 1);
    assert_int_equal(audit.close.first, 61);
    assert_int_equal(mt_audit_warnings(&audit), 1);
}

static void a_boot_that_comes_back_is_a_problem(void **state)
{
    (void)state;
    take(60, 1, 60, 0);
    take(120, 2, 10, 0);
    take(180, 1, 180, 0);
    take(240, 2, 130, 0);
    assert_int_equal(audit.interleaved.count, 2);
    assert_int_equal(audit.interleaved.first, 180);
    assert_int_equal(mt_audit_problems(&audit), 1);
}

static void records_without_a_boot_interrupt_none(void **state)
{
    (void)state;
    take(60, 1, 60, 0);
    take(120, 0, -1, -1);
    take(180, 1, 180, 0);
    assert_int_equal(audit.boots, 1);
    assert_int_equal(mt_audit_problems(&audit), 0);
}

static void a_counter_that_falls_is_a_problem(void **state)
{
    (void)state;
    take(60, 1, 60, 5);
    take(120, 1, 120, 4);
    take(180, 1, 180, 3);
    assert_int_equal(audit.falling.count, 2);
    assert_int_equal(audit.falling.first, 120);
    assert_int_equal(audit.falling_field, MT_FIELD_OOM_KILL);
    assert_int_equal(mt_audit_problems(&audit), 1);
}

static void a_clock_set_back_explains_falling_counters(void **state)
{
    (void)state;
    take(60, 1, 4000, 5);
    take(90, 1, 400, 4);
    take(120, 1, 4060, 5);
    assert_int_equal(audit.steps.count, 1);
    assert_int_equal(audit.steps.first, 90);
    assert_int_equal(mt_audit_problems(&audit), 0);
}

static void another_boot_starts_its_counters_anew(void **state)
{
    (void)state;
    take(60, 1, 60, 5);
    take(120, 2, 1, 0);
    take(180, 0, -1, 9);
    take(240, 0, -1, 1);
    assert_int_equal(mt_audit_problems(&audit), 0);
}

static void the_future_is_counted_and_is_no_gap(void **state)
{
    (void)state;
    take(NOW_S, 0, -1, -1);
    take(NOW_S + MT_FUTURE_SLACK_S, 0, -1, -1);
    take(NOW_S + MT_FUTURE_SLACK_S + 1000000, 0, -1, -1);
    assert_int_equal(audit.future, 1);
    assert_int_equal(audit.gaps.count, 1);
    assert_int_equal(audit.longest_s, MT_FUTURE_SLACK_S);
}

static void order_is_a_problem(void **state)
{
    (void)state;
    take(120, 0, -1, -1);
    take(120, 0, -1, -1);
    take(60, 0, -1, -1);
    assert_int_equal(audit.order.count, 2);
    assert_int_equal(mt_audit_problems(&audit), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_steady_history_has_no_findings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gaps_are_counted_in_records_and_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_tells_its_own_interval, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moved_records_stand_too_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_boot_that_comes_back_is_a_problem, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_without_a_boot_interrupt_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_counter_that_falls_is_a_problem, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clock_set_back_explains_falling_counters, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_boot_starts_its_counters_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_future_is_counted_and_is_no_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(order_is_a_problem, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
