#include "unit.h"

#include <time.h>

#include "base/clock.h"

static void test_wall_clock_is_the_systems(void **state)
{
    int64_t before = time(NULL);
    int64_t seconds = mt_clock_wall_s();
    int64_t millis = mt_clock_wall_ms();
    int64_t after = time(NULL) + 1;

    (void)state;
    /* time() may lag by one tick of its coarse clock */
    assert_in_range(seconds, before - 1, after);
    assert_in_range(millis / 1000, before - 1, after);
}

static void test_monotonic_never_steps_back(void **state)
{
    int64_t last = mt_clock_monotonic_ms();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        int64_t now = mt_clock_monotonic_ms();
        assert_true(now >= last);
        last = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wall_clock_is_the_systems),
        cmocka_unit_test(test_monotonic_never_steps_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
