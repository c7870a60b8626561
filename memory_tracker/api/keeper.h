/*
 * The keeper of the window: a thread that owns it, fills it from the store, keeps it up to date and
 * publishes views of it to the readers (reader.h), one for each event loop.
 *
 * It starts with few records, so that it starts quickly; grows step by step to what readers were
 * asked for, as far as its memory goes; and shrinks when nobody asked for so much for some minutes,
 * to what was asked for then, but not below what it started with.
 *
 * A poll that fails leaves the window as it is, to go on from there. It is filled anew only where
 * the store does not know the place any more that it had reached, or the file is another one.
 *
 * Of a remote store it also knows when it is away: workers then need not find out for themselves,
 * each waiting for a server that does not answer, and it stands in for the store for a while.
 */
#ifndef MT_API_KEEPER_H
#define MT_API_KEEPER_H

#include <stddef.h>
#include <stdint.h>

#include "api/pool.h"
#include "api/reader.h"

struct mt_keeper_options {
    const char *store;      /* URI; must live as long as the keeper */
    size_t readers;         /* how many there are; may be 0 */
    size_t least_records;   /* how many it holds if there are so many, whatever is asked */
    int64_t memory_bytes;   /* for windows and views, old ones included, that are in use: beyond it,
                             * the window does not grow, and shrinks to what is asked for */
    int busy_wait_ms;       /* see mt_store_options */
    int timeout_ms;         /* see mt_store_options */
    int poll_ms;            /* how often it looks without being asked to */
    int refused_pause_ms;   /* how long it does not ask after it was refused permission */
    int64_t trusted_ms;     /* remote: how long after a poll what it knows is all there is */
    int64_t stale_limit_ms; /* remote: how long it stands in after it last knew all; 0: never */
    int64_t forget_ms; /* after how long it forgets, and at twice that surely, what was asked */
};

struct mt_keeper; /* from mt_keeper_start, ended by mt_keeper_stop */

/* mt_keeper_start: returns at once; the window is filled when the store answers. FAILED, NO_MEMORY.
 */
enum mt_err mt_keeper_start(const struct mt_keeper_options *options, struct mt_keeper **keeper,
                            struct mt_error *error);

/* mt_keeper_reader: the reader of that index, to be used by one thread. */
struct mt_reader *mt_keeper_reader(struct mt_keeper *keeper, size_t index);

/*
 * mt_keeper_listen: from now on, refreshed is called in the keeper's thread after each refresh,
 * good or bad; NULL: not any more, and no call is under way when it returns.
 */
void mt_keeper_listen(struct mt_keeper *keeper, void (*refreshed)(void *context), void *context);

/* mt_keeper_hurry: it begins a refresh at once, or right after the present one. Any thread. */
void mt_keeper_hurry(struct mt_keeper *keeper);

/* mt_keeper_memory: bytes that windows and views take now, old ones included that are in use. */
int64_t mt_keeper_memory(const struct mt_keeper *keeper);

/* mt_keeper_is_short: that is more than memory_bytes: nobody should take views to hold. */
bool mt_keeper_is_short(const struct mt_keeper *keeper);

/*
 * mt_keeper_await: waits until the store has answered for the first time, most_ms at most; no
 * longer than until a signal is pending that ends the program. For the caller of mt_keeper_start.
 */
void mt_keeper_await(struct mt_keeper *keeper, int64_t most_ms);

/* mt_keeper_standby: what a pool of workers needs of the keeper of a remote store, until it is
 * stopped. */
struct mt_standby mt_keeper_standby(struct mt_keeper *keeper);

/* mt_keeper_stop: waits for one call of the store at most. No reader is used any more, and every
 * view that came from it was given back. Accepts NULL. */
void mt_keeper_stop(struct mt_keeper *keeper);

#endif
