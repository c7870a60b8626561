/*
 * Who tends the store that others push to: a thread that seals finished days and applies RETENTION,
 * a day at a time with rests in between, since answers come first.
 */
#ifndef MT_API_CARETAKER_H
#define MT_API_CARETAKER_H

#include <stdint.h>

#include "base/error.h"

struct mt_caretaker_options {
    const char *store; /* URI; must live as long as the caretaker */
    int64_t kept;      /* RETENTION, as mt_retention_parse gives it */
    int first_ms;      /* how long after the start it looks for the first time */
    int every_ms;      /* and then again, after each time */
    int timeout_ms;    /* see mt_store_options; also how long it waits for a lock */
};

struct mt_caretaker; /* from mt_caretaker_start, ended by mt_caretaker_stop */

/*
 * mt_caretaker_start: returns at once. Each time it did something it logs one line; a failure is
 * logged when it is another one than the last time. A store that nobody made yet is none. FAILED,
 * NO_MEMORY.
 */
enum mt_err mt_caretaker_start(const struct mt_caretaker_options *options,
                               struct mt_caretaker **caretaker, struct mt_error *error);

/* mt_caretaker_stop: waits for the day in hand at most. Accepts NULL. */
void mt_caretaker_stop(struct mt_caretaker *caretaker);

#endif
