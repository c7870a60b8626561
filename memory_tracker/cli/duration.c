#include "cli/duration.h"

#include <inttypes.h>
#include <stdio.h>

void mt_duration_format(int64_t seconds, char text[static MT_DURATION_SIZE])
{
    int64_t minutes = seconds / 60;
    int64_t hours = minutes / 60;

    if (seconds < 60)
        (void)snprintf(text, MT_DURATION_SIZE, "%" PRId64 "s", seconds);
    else if (minutes < 60)
        (void)snprintf(text, MT_DURATION_SIZE, "%" PRId64 "min", minutes);
    else if (hours < 24)
        (void)snprintf(text, MT_DURATION_SIZE, "%" PRId64 "h%02" PRId64 "min", hours, minutes % 60);
    else
        (void)snprintf(text, MT_DURATION_SIZE, "%" PRId64 "d%02" PRId64 "h", hours / 24,
                       hours % 24);
}

void mt_size_format(int64_t bytes, char text[static MT_SIZE_SIZE])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double amount = (double)bytes / 1024;
    size_t unit = 0;

    /* what would be shown as 1024.0 is one of the next unit */
    while (unit + 1 < sizeof units / sizeof units[0] && amount >= 1023.95) {
        amount /= 1024;
        unit++;
    }
    if (bytes < 1024)
        (void)snprintf(text, MT_SIZE_SIZE, "%" PRId64 " B", bytes);
    else
        (void)snprintf(text, MT_SIZE_SIZE, "%.1f %s", amount, units[unit]);
}
