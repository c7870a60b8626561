/*
 * The follower of a remote store: a thread that keeps the window up to date, so that the API has
 * something to say while the store is away, and that knows when it is. Workers then need not find
 * out for themselves, each waiting for a server that does not answer.
 */
#ifndef MT_API_FOLLOWER_H
#define MT_API_FOLLOWER_H

#include <stdint.h>

#include "api/threads.h"

struct mt_follower_options {
    const char *store;      /* URI; must live as long as the follower */
    int timeout_ms;         /* see mt_store_options */
    int poll_ms;            /* how often it asks what is new */
    int refused_pause_ms;   /* how long it does not ask after it was refused permission */
    int64_t stale_limit_ms; /* how long it answers after it last knew all; 0: never */
};

struct mt_follower; /* from mt_follower_start, ended by mt_follower_stop */

/* mt_follower_start: returns at once; the window is filled when the store answers. FAILED,
 * NO_MEMORY. */
enum mt_err mt_follower_start(const struct mt_follower_options *options,
                              struct mt_follower **follower, struct mt_error *error);

/*
 * mt_follower_await: waits until the store has answered for the first time, most_ms at most; no
 * longer than until a signal is pending that ends the program. For the caller of mt_follower_start.
 */
void mt_follower_await(struct mt_follower *follower, int64_t most_ms);

/* mt_follower_standby: what a pool of workers needs of it, until it is stopped. */
struct mt_standby mt_follower_standby(struct mt_follower *follower);

/* mt_follower_stop: waits for one call of the store at most. Accepts NULL. */
void mt_follower_stop(struct mt_follower *follower);

#endif
