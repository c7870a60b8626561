/*
 * The right to deliver an outbox: one process at a time has it. It is a lock on a file of its own
 * beside the outbox, PATH.courier, which the kernel lifts when its process ends. Any thread.
 */
#ifndef MT_STORE_SPOOL_LOCK_H
#define MT_STORE_SPOOL_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/*
 * mt_spool_lock: takes the lock of the outbox at path; *fd holds it until it is closed. BUSY:
 * another process has it; never waits. Other errors as store.h.
 */
enum mt_err mt_spool_lock(const char *path, int *fd, struct mt_error *error);

/* mt_spool_is_locked: somebody has the lock now; false also where that cannot be seen. */
bool mt_spool_is_locked(const char *path);

#endif
