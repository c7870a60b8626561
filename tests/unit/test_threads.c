#include "unit.h"

#include <sched.h>

#include "api/threads.h"

static void count_tick(void *context)
{
    mt_gauge_add(context, 1);
}

enum { NEVER_MS = 24 * 60 * 60 * 1000 };

struct rester {
    struct mt_ticker *ticker;
    struct mt_gauge begun; /* 1: a short rest is over, which was none of an end */
    struct mt_gauge stopped;
};

static void rest_for_long(void *context)
{
    struct rester *rester = context;

    mt_gauge_set(&rester->begun, mt_ticker_rest(rester->ticker, 1) ? 2 : 1);
    mt_gauge_set(&rester->stopped, mt_ticker_rest(rester->ticker, NEVER_MS));
}

static void test_a_tick_that_rests_ends_when_it_is_stopped(void **state)
{
    struct rester rester = {0};

    (void)state;
    assert_int_equal(mt_ticker_start(1, rest_for_long, &rester, &rester.ticker, NULL), MT_OK);
    while (mt_gauge_get(&rester.begun) == 0)
        (void)sched_yield();
    mt_ticker_stop(rester.ticker);
    assert_int_equal(mt_gauge_get(&rester.begun), 1);
    assert_int_equal(mt_gauge_get(&rester.stopped), 1);
}

static void test_a_ticker_ticks_until_it_is_stopped(void **state)
{
    struct mt_gauge ticks = {0};
    struct mt_ticker *ticker = NULL;
    int64_t before;

    (void)state;
    assert_int_equal(mt_ticker_start(1, count_tick, &ticks, &ticker, NULL), MT_OK);
    while (mt_gauge_get(&ticks) < 5)
        (void)sched_yield();
    assert_false(mt_ticker_is_stopping(ticker));
    mt_ticker_stop(ticker);
    mt_gauge_set(&ticks, 0);
    assert_int_equal(mt_ticker_start(NEVER_MS, count_tick, &ticks, &ticker, NULL), MT_OK);
    while (mt_gauge_get(&ticks) < 1)
        (void)sched_yield();
    mt_ticker_hurry(ticker);
    while (mt_gauge_get(&ticks) < 2)
        (void)sched_yield();
    before = mt_gauge_get(&ticks);
    mt_ticker_stop(ticker);
    assert_int_equal(mt_gauge_get(&ticks), before);
    mt_ticker_stop(NULL);
}

enum { GUARDED = 4, TURNS = 2000 };

struct guarded {
    struct mt_guard *guard;
    int64_t one, two; /* always alike where nobody writes */
    struct mt_gauge torn;
};

static void read_and_write(struct mt_threads *threads, size_t index, void *context)
{
    struct guarded *guarded = context;

    (void)threads;
    for (int i = 0; i < TURNS; i++) {
        if (index == 0) {
            mt_guard_write(guarded->guard);
            guarded->one++;
            guarded->two++;
        } else {
            mt_guard_read(guarded->guard);
            mt_gauge_add(&guarded->torn, guarded->one != guarded->two);
        }
        mt_guard_leave(guarded->guard);
    }
}

static void test_a_guard_keeps_writers_and_readers_apart(void **state)
{
    struct guarded guarded = {.guard = mt_guard_new()};

    (void)state;
    assert_non_null(guarded.guard);
    assert_int_equal(mt_threads_run(GUARDED, read_and_write, &guarded, NULL), MT_OK);
    assert_int_equal(guarded.one, TURNS);
    assert_int_equal(mt_gauge_get(&guarded.torn), 0);
    mt_guard_free(guarded.guard);
    mt_guard_free(NULL);
}

static void test_a_gauge_stops_at_its_limit(void **state)
{
    struct mt_gauge gauge = {0};

    (void)state;
    assert_true(mt_gauge_try_add(&gauge, 3, 5));
    assert_false(mt_gauge_try_add(&gauge, 3, 5));
    assert_true(mt_gauge_try_add(&gauge, 2, 5));
    mt_gauge_add(&gauge, 4);
    assert_false(mt_gauge_try_add(&gauge, 1, 5));
    mt_gauge_add(&gauge, -5);
    assert_true(mt_gauge_try_add(&gauge, 1, 5));
    assert_false(mt_gauge_try_add(&gauge, INT64_MAX, 5));
    assert_int_equal(mt_gauge_get(&gauge), 5);
}

enum { MEMBERS = 4, MEETINGS = 200 };

struct meetings {
    struct mt_gauge arrived;
    struct mt_gauge too_early;
    struct mt_gauge seen[MEMBERS];
};

static void attend(struct mt_threads *threads, size_t index, void *context)
{
    struct meetings *meetings = context;

    mt_gauge_add(&meetings->seen[index], 1);
    for (int64_t i = 1; i <= MEETINGS; i++) {
        mt_gauge_add(&meetings->arrived, 1);
        mt_threads_meet(threads);
        if (mt_gauge_get(&meetings->arrived) < i * MEMBERS)
            mt_gauge_add(&meetings->too_early, 1);
    }
}

static void test_threads_meet(void **state)
{
    struct meetings meetings = {0};

    (void)state;
    assert_int_equal(mt_threads_run(MEMBERS, attend, &meetings, NULL), MT_OK);
    assert_int_equal(mt_gauge_get(&meetings.arrived), MEMBERS * MEETINGS);
    assert_int_equal(mt_gauge_get(&meetings.too_early), 0);
    for (size_t i = 0; i < MEMBERS; i++)
        assert_int_equal(mt_gauge_get(&meetings.seen[i]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ticker_ticks_until_it_is_stopped),
        cmocka_unit_test(test_a_tick_that_rests_ends_when_it_is_stopped),
        cmocka_unit_test(test_a_guard_keeps_writers_and_readers_apart),
        cmocka_unit_test(test_a_gauge_stops_at_its_limit),
        cmocka_unit_test(test_threads_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
