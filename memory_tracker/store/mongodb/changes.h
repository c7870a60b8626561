/* What arrived last; shared by changes.c and the scans that end there. */
#ifndef MT_STORE_MONGODB_CHANGES_H
#define MT_STORE_MONGODB_CHANGES_H

#include "store/mongodb/mongodb.h"

/* mongodb_last_arrival: the largest arrival mark that is in the store, us since 1970; 0: none. */
enum mt_err mongodb_last_arrival(struct mongodb_store *store, int64_t *arrival_us,
                                 struct mt_error *error);

#endif
