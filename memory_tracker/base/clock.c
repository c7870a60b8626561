#include "base/clock.h"

#include <time.h>

static struct timespec read_clock(clockid_t id)
{
    struct timespec now;

    /* cannot fail: both clocks exist on every Linux, and the pointer is valid */
    (void)clock_gettime(id, &now);
    return now;
}

static int64_t read_ms(clockid_t id)
{
    struct timespec now = read_clock(id);

    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t mt_clock_wall_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

int64_t mt_clock_wall_s(void)
{
    /* not from milliseconds: before 1970 their division rounds up */
    return read_clock(CLOCK_REALTIME).tv_sec;
}

int64_t mt_clock_monotonic_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}
