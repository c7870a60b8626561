#include "unit.h"

#include "api/client_watch.h"

enum { TIMEOUT_MS = 10000 };

static void test_an_idle_client_has_its_timeout_and_no_more(void **state)
{
    struct mt_client_watch watch = {0};
    struct mt_client_look look = {.state = MT_CLIENT_IDLE};

    (void)state;
    assert_false(mt_client_is_too_slow(&watch, &look, 5000, TIMEOUT_MS));
    assert_false(mt_client_is_too_slow(&watch, &look, 14999, TIMEOUT_MS));
    assert_true(mt_client_is_too_slow(&watch, &look, 15000, TIMEOUT_MS));
    assert_true(mt_client_is_too_slow(&watch, &look, 16000, TIMEOUT_MS));
}

static void test_each_request_begins_the_time_anew(void **state)
{
    struct mt_client_watch watch = {0};
    struct mt_client_look look = {.state = MT_CLIENT_IDLE};

    (void)state;
    for (int64_t now_ms = 0; now_ms < 10 * TIMEOUT_MS; now_ms += 1000) {
        look.requests++;
        assert_false(mt_client_is_too_slow(&watch, &look, now_ms, TIMEOUT_MS));
    }
}

static void test_drops_of_a_request_do_not_extend_its_time(void **state)
{
    struct mt_client_watch watch = {0};
    struct mt_client_look look = {.state = MT_CLIENT_IDLE};

    (void)state;
    assert_false(mt_client_is_too_slow(&watch, &look, 0, TIMEOUT_MS));
    look.state = MT_CLIENT_RECEIVING;
    assert_false(mt_client_is_too_slow(&watch, &look, 9000, TIMEOUT_MS));
    for (int64_t now_ms = 10000; now_ms < 19000; now_ms += 1000) {
        look.progress++;
        assert_false(mt_client_is_too_slow(&watch, &look, now_ms, TIMEOUT_MS));
    }
    assert_true(mt_client_is_too_slow(&watch, &look, 19000, TIMEOUT_MS));
}

static void test_time_of_our_own_work_is_not_the_clients(void **state)
{
    struct mt_client_watch watch = {0};
    struct mt_client_look look = {.state = MT_CLIENT_WAITING, .requests = 1};

    (void)state;
    assert_false(mt_client_is_too_slow(&watch, &look, 0, TIMEOUT_MS));
    assert_false(mt_client_is_too_slow(&watch, &look, 1000000, TIMEOUT_MS));
    look.state = MT_CLIENT_SENDING;
    assert_false(mt_client_is_too_slow(&watch, &look, 1000001, TIMEOUT_MS));
}

static void test_a_client_that_takes_nothing_is_too_slow(void **state)
{
    struct mt_client_watch watch = {0};
    struct mt_client_look look = {
        .state = MT_CLIENT_SENDING, .requests = 1, .progress = 7, .answer_bytes = 6600000};

    (void)state;
    assert_false(mt_client_is_too_slow(&watch, &look, 0, TIMEOUT_MS));
    look.progress = 8;
    assert_false(mt_client_is_too_slow(&watch, &look, 4000, TIMEOUT_MS));
    assert_false(mt_client_is_too_slow(&watch, &look, 13999, TIMEOUT_MS));
    assert_true(mt_client_is_too_slow(&watch, &look, 14000, TIMEOUT_MS));
}

/* How long a reader at this rate is let read an answer of 6,600,000 bytes; 0: to its end. */
static int64_t cut_after_ms(int64_t bytes_per_s)
{
    const int64_t whole = 6600000;
    struct mt_client_watch watch = {0};

    for (int64_t now_ms = 0; now_ms * bytes_per_s / 1000 < whole; now_ms += 1000) {
        struct mt_client_look look = {.state = MT_CLIENT_SENDING,
                                      .requests = 1,
                                      .progress = (uint64_t)(now_ms * bytes_per_s / 1000),
                                      .answer_bytes = whole};
        if (mt_client_is_too_slow(&watch, &look, now_ms, TIMEOUT_MS))
            return now_ms;
    }
    return 0;
}

static void test_an_honest_slow_reader_is_let_finish_a_trickling_one_is_not(void **state)
{
    (void)state;
    assert_int_equal(cut_after_ms(100 * 1024), 0);
    assert_int_equal(cut_after_ms(MT_CLIENT_LEAST_BYTES_PER_S), 0);
    /* 6,600,000 bytes at 16 KiB/s are 402.8 s, the timeout comes on top, the look is each second */
    assert_int_equal(cut_after_ms(1), 413000);
    assert_int_equal(cut_after_ms(15 * 1024), 413000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_client_has_its_timeout_and_no_more),
        cmocka_unit_test(test_each_request_begins_the_time_anew),
        cmocka_unit_test(test_drops_of_a_request_do_not_extend_its_time),
        cmocka_unit_test(test_time_of_our_own_work_is_not_the_clients),
        cmocka_unit_test(test_a_client_that_takes_nothing_is_too_slow),
        cmocka_unit_test(test_an_honest_slow_reader_is_let_finish_a_trickling_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
