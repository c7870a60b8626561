/* Spans of time and sizes as a person reads them. */
#ifndef MT_CLI_DURATION_H
#define MT_CLI_DURATION_H

#include <stdint.h>

/* mt_duration_format: "0s", "45s", "12min", "3h05min", "2d04h"; rounded down. seconds >= 0. */
enum { MT_DURATION_SIZE = 32 };
void mt_duration_format(int64_t seconds, char text[static MT_DURATION_SIZE]);

/* mt_size_format: "512 B", "15.4 MiB", "2.0 GiB"; bytes >= 0. */
enum { MT_SIZE_SIZE = 32 };
void mt_size_format(int64_t bytes, char text[static MT_SIZE_SIZE]);

#endif
