/* Aggregation: what all kinds of stores share; contract in store.h. Private to store/. */
#ifndef MT_STORE_AGGREGATE_H
#define MT_STORE_AGGREGATE_H

#include "store/store.h"

__extension__ typedef __int128 mt_i128;

/* A bucket that is being filled; exact, in whatever order its values come. */
struct mt_tally {
    int64_t start_s;
    int64_t count; /* 0: nothing yet, min and max mean nothing */
    int64_t min, max;
    mt_i128 sum;
};

/* mt_tally_add: `count` values with that least, greatest and sum; count is not 0. */
static inline void mt_tally_add(struct mt_tally *tally, int64_t count, int64_t min, int64_t max,
                                mt_i128 sum)
{
    if (tally->count == 0 || min < tally->min)
        tally->min = min;
    if (tally->count == 0 || max > tally->max)
        tally->max = max;
    tally->count += count;
    tally->sum += sum;
}

/* mt_tally_emit: hands out the bucket if anything is in it. */
enum mt_err mt_tally_emit(const struct mt_tally *tally, mt_emit_bucket *emit, void *context,
                          struct mt_error *error);

/* mt_aggregate_by_scan: mt_store_aggregate by mt_store_scan. */
enum mt_err mt_aggregate_by_scan(struct mt_store *store, const struct mt_aggregation *aggregation,
                                 mt_emit_bucket *emit, void *context, struct mt_error *error);

/* mt_measure_fields: MT_FIELD_BIT of what a measure is made of. */
uint64_t mt_measure_fields(int measure);

/* mt_measure: the value of a record; false if it has none. Reads nothing of the record but
 * `present` and the values of mt_measure_fields. */
bool mt_measure(const struct mt_record *record, int measure, int64_t *value);

#endif
