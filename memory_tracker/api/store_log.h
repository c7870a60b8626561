/*
 * What is said about the store: one line when it goes and one when it comes back, not one per
 * thread, second and request.
 */
#ifndef MT_API_STORE_LOG_H
#define MT_API_STORE_LOG_H

#include "base/error.h"

struct mt_store_log; /* any thread may tell */

/* mt_store_log_new: nothing was said yet. `again` (static) is said when all is well again. NULL: no
 * memory. */
struct mt_store_log *mt_store_log_new(const char *again);
void mt_store_log_free(struct mt_store_log *log); /* accepts NULL */

/*
 * mt_store_log_tell: how it went this time; code MT_OK: well. A change is logged, one a second at
 * most; what stays wrong, once a minute.
 */
void mt_store_log_tell(struct mt_store_log *log, const struct mt_error *error);

#endif
