#include "store/aggregate.h"

#include "record/derive.h"

uint64_t mt_measure_fields(int measure)
{
    if (measure != MT_MEASURE_USED)
        return MT_FIELD_BIT(measure);
    return MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE) |
           MT_FIELD_BIT(MT_FIELD_MEM_FREE);
}

bool mt_measure(const struct mt_record *record, int measure, int64_t *value)
{
    if (measure != MT_MEASURE_USED)
        return mt_record_get(record, (enum mt_field)measure, value);
    *value = record->value[MT_FIELD_MEM_TOTAL] - mt_available_kib(record);
    return true;
}

enum mt_err mt_tally_emit(const struct mt_tally *tally, mt_emit_bucket *emit, void *context,
                          struct mt_error *error)
{
    const struct mt_bucket bucket = {
        .start_s = tally->start_s,
        .count = tally->count,
        .min = tally->min,
        .max = tally->max,
        .sum = (double)tally->sum,
    };

    return tally->count == 0 ? MT_OK : emit(context, &bucket, error);
}

/* The bucket that records go into, oldest first. */
struct filling {
    const struct mt_aggregation *aggregation;
    struct mt_tally tally;
    mt_emit_bucket *emit;
    void *context;
};

static enum mt_err flush(struct filling *filling, struct mt_error *error)
{
    return mt_tally_emit(&filling->tally, filling->emit, filling->context, error);
}

static enum mt_err take(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct filling *filling = context;
    int64_t start_s = record->timestamp - record->timestamp % filling->aggregation->step_s;
    int64_t value = 0;
    enum mt_err err = MT_OK;

    if (!mt_measure(record, filling->aggregation->measure, &value))
        return MT_OK;
    if (filling->tally.start_s != start_s) {
        err = flush(filling, error);
        filling->tally = (struct mt_tally){.start_s = start_s};
    }
    mt_tally_add(&filling->tally, 1, value, value, value);
    return err;
}

enum mt_err mt_aggregate_by_scan(struct mt_store *store, const struct mt_aggregation *aggregation,
                                 mt_emit_bucket *emit, void *context, struct mt_error *error)
{
    const struct mt_query query = {
        .hosts = aggregation->host == NULL ? NULL : &aggregation->host,
        .host_count = aggregation->host == NULL ? 0 : 1,
        .from = aggregation->from,
        .to = aggregation->to,
        .now_s = aggregation->now_s,
        .order = MT_OLDEST_FIRST,
        .fields = mt_measure_fields(aggregation->measure),
        .deadline_ms = aggregation->deadline_ms,
        .cancelled = aggregation->cancelled,
        .cancel_context = aggregation->cancel_context,
    };
    struct filling filling = {.aggregation = aggregation, .emit = emit, .context = context};
    enum mt_err err = mt_store_scan(store, &query, take, &filling, error);

    return err == MT_OK ? flush(&filling, error) : err;
}
