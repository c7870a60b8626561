/* Aggregation of any store's records by reading them; contract in store.h. Private to store/. */
#ifndef MT_STORE_AGGREGATE_H
#define MT_STORE_AGGREGATE_H

#include "store/store.h"

/* mt_aggregate_by_scan: mt_store_aggregate by mt_store_scan. */
enum mt_err mt_aggregate_by_scan(struct mt_store *store, const struct mt_aggregation *aggregation,
                                 mt_emit_bucket *emit, void *context, struct mt_error *error);

/* mt_measure_fields: MT_FIELD_BIT of what a measure is made of. */
uint64_t mt_measure_fields(int measure);

/* mt_measure: the value of a record; false if it has none. */
bool mt_measure(const struct mt_record *record, int measure, int64_t *value);

#endif
