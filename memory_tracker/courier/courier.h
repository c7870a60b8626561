/* What a run of memory-courier does. One thread. */
#ifndef MT_COURIER_COURIER_H
#define MT_COURIER_COURIER_H

#include "base/config.h"

/*
 * mt_courier_run: delivers what waits in the outbox for the store in use, oldest first, within
 * three quarters of INTERVAL (2 to 45 s) from start_ms (monotonic), and logs what became of it.
 * MT_OK also if the store is away, records go on waiting, another courier is at work, or
 * mt_interrupt_seen. An error: the settings are wrong, or the outbox cannot be used.
 */
enum mt_err mt_courier_run(const struct mt_config *config, int64_t start_ms,
                           struct mt_error *error);

#endif
