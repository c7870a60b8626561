/* Instants as a person writes them: UTC, to the second. Total functions, any thread. */
#ifndef MT_BASE_UTC_H
#define MT_BASE_UTC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* mt_utc_format: "2026-11-21T09:00:00Z" and a NUL, for 0 <= unix_s <= 9999-12-31T23:59:59Z. */
enum { MT_UTC_SIZE = 21 };
void mt_utc_format(int64_t unix_s, char text[static MT_UTC_SIZE]);

/*
 * mt_utc_parse: the whole of text as Unix seconds (digits), a day (2026-11-21: its first second) or
 * an instant (2026-11-21T09:00, 2026-11-21T09:00:00; a Z may follow). False, and *unix_s untouched,
 * for anything else, also for days that no calendar has and for years before 1970.
 */
bool mt_utc_parse(struct mt_slice text, int64_t *unix_s);

#endif
