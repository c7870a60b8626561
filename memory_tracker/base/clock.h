/*
 * The program's only clocks. Tests link another clock.c that reads its time from a file, so that a
 * clock that stands still or steps back can be shown to the real programs.
 */
#ifndef MT_BASE_CLOCK_H
#define MT_BASE_CLOCK_H

#include <stdint.h>

/* mt_clock_wall_s: Unix time in whole seconds, rounded down. Any thread; cannot fail. */
int64_t mt_clock_wall_s(void);

/* mt_clock_wall_ms: Unix time in milliseconds, for the stamps of log lines. Any thread. */
int64_t mt_clock_wall_ms(void);

/* mt_clock_monotonic_ms: milliseconds since some fixed point; never steps back. Any thread. */
int64_t mt_clock_monotonic_ms(void);

#endif
