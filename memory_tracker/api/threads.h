/*
 * Threads, and what they share: a group of threads, one that ticks, counters, letterboxes, guards.
 * Besides the pool (pool.h) and the server's loops this is the only place of the API with locks and
 * atomics.
 */
#ifndef MT_API_THREADS_H
#define MT_API_THREADS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * mt_threads_block_signals: blocks every signal but those that report a fault of the program itself
 * and SIGTSTP, in this thread and all that it starts. To be called before any thread exists.
 */
void mt_threads_block_signals(void);

struct mt_threads; /* lives as long as mt_threads_run runs */

/*
 * mt_threads_run: runs run(threads, index, context) in count threads at once, index 0 in the
 * caller's own, and returns when all have returned. FAILED, and run was called nowhere, if the
 * system does not give that many threads.
 */
enum mt_err mt_threads_run(size_t count,
                           void (*run)(struct mt_threads *threads, size_t index, void *context),
                           void *context, struct mt_error *error);

/* mt_threads_meet: returns when every thread of the group has called it. */
void mt_threads_meet(struct mt_threads *threads);

/* A number that any thread may read and change; zero-initialised it is 0. */
struct mt_gauge {
    _Atomic int64_t value;
};

int64_t mt_gauge_get(const struct mt_gauge *gauge);
void mt_gauge_set(struct mt_gauge *gauge, int64_t value);
void mt_gauge_add(struct mt_gauge *gauge, int64_t amount);
/* mt_gauge_try_add: adds unless the sum would be above limit. */
bool mt_gauge_try_add(struct mt_gauge *gauge, int64_t amount, int64_t limit);

/* mt_gauge_drop: subtracts 1. True for the one whose call makes it 0; it then sees all that others
 * wrote before they did the same. */
bool mt_gauge_drop(struct mt_gauge *gauge);

/* A pointer that is NULL until somebody puts one there, and then stays; zero-initialise. */
struct mt_slot {
    _Atomic(void *) value;
};

/* mt_slot_get: what is there, and all that was written to it before it was put there. */
void *mt_slot_get(const struct mt_slot *slot);
/* mt_slot_fill: puts value there unless there is one already; returns what is there then. */
void *mt_slot_fill(struct mt_slot *slot, void *value);

/* mt_gauge_raise: to value, unless it is that much already. */
void mt_gauge_raise(struct mt_gauge *gauge, int64_t value);

/* mt_gauge_take: its value; 0 from then on. */
int64_t mt_gauge_take(struct mt_gauge *gauge);

/* Where a thread leaves one thing for another; zero-initialised it is empty. */
struct mt_letterbox {
    void *_Atomic thing;
};

bool mt_letterbox_is_full(const struct mt_letterbox *box);
/* mt_letterbox_swap: puts thing (NULL: nothing) there; returns what was there, for the caller. */
void *mt_letterbox_swap(struct mt_letterbox *box, void *thing);

struct mt_guard; /* a lock that one writer holds, or any number of readers */

struct mt_guard *mt_guard_new(void);         /* NULL: no memory */
void mt_guard_free(struct mt_guard *guard);  /* accepts NULL */
void mt_guard_read(struct mt_guard *guard);  /* waits for a writer, also for one that waits */
void mt_guard_write(struct mt_guard *guard); /* waits for everybody */
void mt_guard_leave(struct mt_guard *guard);

struct mt_ticker; /* a thread that does something again and again; stopped by mt_ticker_stop */

/*
 * mt_ticker_start: a thread calls tick at once, then every_ms after it returned. *ticker is set
 * before that, and NULL on failure: FAILED if there is no thread to be had, NO_MEMORY.
 */
enum mt_err mt_ticker_start(int every_ms, void (*tick)(void *context), void *context,
                            struct mt_ticker **ticker, struct mt_error *error);

/* mt_ticker_hurry: the next tick begins at once, or right after the present one. Any thread. */
void mt_ticker_hurry(struct mt_ticker *ticker);

/* mt_ticker_is_stopping: a tick that takes long is to come to its end. Any thread. */
bool mt_ticker_is_stopping(const struct mt_ticker *ticker);

/* mt_ticker_rest: called in a tick: returns after that time, or as soon as the tick is to come to
 * its end; true then. */
bool mt_ticker_rest(struct mt_ticker *ticker, int64_t rest_ms);

/* mt_ticker_stop: waits for the present tick, ends the thread and frees it. Accepts NULL. */
void mt_ticker_stop(struct mt_ticker *ticker);

#endif
