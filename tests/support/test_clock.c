/*
 * Stands in for base/clock.c in the test variants of the programs: the wall clock is what the file
 * named by MT_TEST_CLOCK_FILE says (Unix seconds), read anew each time, so that a test can hold,
 * move and step it back under a running program. Without that variable it is the real clock.
 */
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t read_ms(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t mt_clock_wall_ms(void)
{
    const char *path = getenv("MT_TEST_CLOCK_FILE");
    char line[64] = "";
    char *end = line;
    long long seconds;
    FILE *file;

    if (path == NULL)
        return read_ms(CLOCK_REALTIME);
    file = fopen(path, "re");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL)
            line[0] = '\0';
        (void)fclose(file);
    }
    seconds = strtoll(line, &end, 10);
    if (end == line) {
        (void)fprintf(stderr, "test clock: no time in %s\n", path);
        abort();
    }
    return (int64_t)seconds * 1000;
}

int64_t mt_clock_wall_s(void)
{
    return mt_clock_wall_ms() / 1000;
}

int64_t mt_clock_monotonic_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
}
