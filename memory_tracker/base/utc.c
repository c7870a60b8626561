#include "base/utc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void mt_utc_format(int64_t unix_s, char text[static MT_UTC_SIZE])
{
    time_t seconds = (time_t)unix_s;
    struct tm utc;

    if (gmtime_r(&seconds, &utc) == NULL || strftime(text, MT_UTC_SIZE, "%FT%TZ", &utc) == 0)
        (void)snprintf(text, MT_UTC_SIZE, "?");
}

/* A part of a pattern such as "YYYY-MM-DD": each letter is a digit of its number, else itself. */
static bool match(struct mt_slice text, const char *pattern, int numbers[static 128])
{
    if (text.length != strlen(pattern))
        return false;
    for (size_t i = 0; i < text.length; i++) {
        unsigned char want = (unsigned char)pattern[i];
        int digit = text.data[i] - '0';

        if (want < 'A' || want == 'T' || want == 'Z') {
            if (text.data[i] != pattern[i])
                return false;
            continue;
        }
        if (digit < 0 || digit > 9)
            return false;
        numbers[want] = numbers[want] * 10 + digit;
    }
    return true;
}

bool mt_utc_parse(struct mt_slice text, int64_t *unix_s)
{
    static const char *const patterns[] = {"YYYY-MM-DD", "YYYY-MM-DDThh:mm", "YYYY-MM-DDThh:mmZ",
                                           "YYYY-MM-DDThh:mm:ss", "YYYY-MM-DDThh:mm:ssZ"};

    if (mt_parse_i64_range(text, 0, INT64_C(253402300799), unix_s))
        return true;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        int numbers[128] = {0};
        struct tm utc = {0};
        time_t seconds;

        if (!match(text, patterns[i], numbers))
            continue;
        utc.tm_year = numbers['Y'] - 1900;
        utc.tm_mon = numbers['M'] - 1;
        utc.tm_mday = numbers['D'];
        utc.tm_hour = numbers['h'];
        utc.tm_min = numbers['m'];
        utc.tm_sec = numbers['s'];
        seconds = timegm(&utc);
        /* timegm carries 30 February over into March: then the parts have changed */
        if (seconds < 0 || utc.tm_year != numbers['Y'] - 1900 || utc.tm_mon != numbers['M'] - 1 ||
            utc.tm_mday != numbers['D'] || utc.tm_hour != numbers['h'] ||
            utc.tm_min != numbers['m'] || utc.tm_sec != numbers['s'])
            return false;
        *unix_s = (int64_t)seconds;
        return true;
    }
    return false;
}
