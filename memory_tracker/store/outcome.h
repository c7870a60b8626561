/* What every kind of store says alike of a record that it leaves out. Any thread. */
#ifndef MT_STORE_OUTCOME_H
#define MT_STORE_OUTCOME_H

#include "store/store.h"

/* mt_outcome_conflict: CONFLICT with the record that stands at its second. */
void mt_outcome_conflict(const struct mt_record *there, struct mt_outcome *outcome);

/* mt_outcome_reject: REJECTED; reason is cut to what fits. */
void mt_outcome_reject(const char *reason, struct mt_outcome *outcome);

#endif
