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

/*
 * mt_courier_tend: seals finished days of the store and applies RETENTION, in the same time, and
 * logs what was done and what failed. MT_OK also then; an error: the settings are wrong.
 */
enum mt_err mt_courier_tend(const struct mt_config *config, int64_t start_ms,
                            struct mt_error *error);

/* mt_courier_tend_uri: the same, of a store whose URI mt_store_uri gave, until deadline_ms. */
void mt_courier_tend_uri(const struct mt_config *config, const char *uri, int64_t deadline_ms);

/* mt_courier_budget_ms: how long a run may take. */
int64_t mt_courier_budget_ms(const struct mt_config *config);

#endif
