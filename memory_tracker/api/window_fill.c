#include "api/window_fill.h"

enum { MERGED_AT_ONCE = 4096 };

/* One scan on its way into a window. */
struct filling {
    const struct mt_filler *filler;
    struct mt_window *window; /* NULL: the batch takes it all */
    int64_t now_s;
    size_t count; /* records so far */
    size_t most;  /* at which to stop */
};

static enum mt_err fill_one(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct filling *filling = context;
    struct mt_batch *batch = filling->filler->batch;
    enum mt_err code = mt_batch_add(batch, record, error);

    filling->count++;
    if (code == MT_OK && filling->window != NULL && batch->count >= MERGED_AT_ONCE)
        code = mt_window_merge(filling->window, batch, filling->now_s, error);
    if (code == MT_OK && filling->count >= filling->most)
        code = mt_error_set(error, MT_ERR_CANCELLED, "enough");
    return code;
}

static enum mt_err scan(struct filling *filling, const struct mt_query *query,
                        struct mt_error *error)
{
    enum mt_err code = mt_store_scan(filling->filler->store, query, fill_one, filling, error);

    if (code == MT_ERR_CANCELLED && filling->count >= filling->most)
        code = MT_OK;
    if (code == MT_OK && filling->window != NULL)
        code = mt_window_merge(filling->window, filling->filler->batch, filling->now_s, error);
    return code;
}

static struct mt_query begin_query(const struct mt_filler *filler, size_t limit, int64_t now_s)
{
    return (struct mt_query){
        .now_s = now_s,
        .limit = (int64_t)limit,
        .order = MT_NEWEST_FIRST,
        .fields = MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE) |
                  MT_FIELD_BIT(MT_FIELD_MEM_FREE),
        .cancelled = filler->cancelled,
        .cancel_context = filler->cancel_context,
    };
}

enum mt_err mt_window_fill(struct mt_window *window, const struct mt_filler *filler, size_t records,
                           int64_t now_s, struct mt_error *error)
{
    struct filling filling = {
        .filler = filler, .window = window, .now_s = now_s, .most = records + 1};
    struct mt_query query = begin_query(filler, records, now_s);
    enum mt_err code = scan(&filling, &query, error);

    if (code != MT_OK)
        return code;
    if (filling.count >= records)
        mt_window_end_history(window);
    query.from = now_s + MT_FUTURE_SLACK_S + 1;
    query.now_s = MT_TIMESTAMP_MAX;
    query.limit = 0;
    query.order = MT_OLDEST_FIRST;
    filling.count = 0;
    /* one more than there is room for, so that the window knows there are more */
    filling.most = MT_WINDOW_FUTURE + 1;
    return scan(&filling, &query, error);
}

enum mt_err mt_window_fill_back(struct mt_window *window, const struct mt_filler *filler,
                                size_t records, int64_t now_s, struct mt_error *error)
{
    struct filling filling = {.filler = filler, .now_s = now_s};
    size_t before = mt_window_records(window);
    size_t shown = mt_window_shown(window, now_s);
    size_t limit = records > shown ? records - shown : 0;
    struct mt_query query;
    int64_t oldest = now_s;
    enum mt_err code = MT_OK;

    if (limit > MT_FILL_STEP)
        limit = MT_FILL_STEP;
    (void)mt_window_oldest(window, &oldest);
    /* those of the oldest second come again: more of them than a step takes would come for ever */
    for (; code == MT_OK && limit > 0 && mt_window_records(window) == before &&
           !mt_window_is_whole(window);
         limit *= 2) {
        query = begin_query(filler, limit, now_s);
        query.to = oldest + 1;
        filling.count = 0;
        filling.most = limit + 1;
        code = scan(&filling, &query, error);
        if (code == MT_OK) {
            mt_window_resize(window, shown + limit, now_s);
            code = mt_window_extend(window, filler->batch, now_s, error);
        }
        if (code == MT_OK && filling.count < limit)
            mt_window_begin_history(window);
        if (code != MT_OK)
            mt_batch_fini(filler->batch);
    }
    return code;
}
