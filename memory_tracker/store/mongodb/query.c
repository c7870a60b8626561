#include "store/mongodb/query.h"

#include <string.h>

const struct mongodb_index mongodb_indexes[MONGODB_INDEXES] = {
    [MONGODB_BY_TIME] = {"by_time", {"_id.t", "_id.h", "arrival_us"}},
    [MONGODB_BY_HOST] = {"by_host", {"_id.h", "_id.t", "arrival_us"}},
    [MONGODB_BY_ARRIVAL] = {"by_arrival", {"arrival_us"}},
};

struct mongodb_key mongodb_key_of(const struct mt_record *record)
{
    struct mongodb_key key = {.timestamp = record->timestamp};

    memcpy(key.host, record->host, sizeof key.host);
    return key;
}

int mongodb_key_compare(const struct mongodb_key *a, const struct mongodb_key *b)
{
    if (a->timestamp != b->timestamp)
        return a->timestamp < b->timestamp ? -1 : 1;
    return strcmp(a->host, b->host);
}

void mongodb_key_projection(bson_t *projection)
{
    BSON_APPEND_INT32(projection, "_id.t", 1);
    BSON_APPEND_INT32(projection, "_id.h", 1);
}

bool mongodb_read_key(const bson_t *document, struct mongodb_key *key)
{
    bson_iter_t iter;
    bson_iter_t part;
    uint32_t length = 0;
    const char *host;

    if (!bson_iter_init(&iter, document) || !bson_iter_find_descendant(&iter, "_id.t", &part) ||
        !BSON_ITER_HOLDS_NUMBER(&part))
        return false;
    key->timestamp = bson_iter_as_int64(&part);
    if (!bson_iter_init(&iter, document) || !bson_iter_find_descendant(&iter, "_id.h", &part) ||
        !BSON_ITER_HOLDS_UTF8(&part))
        return false;
    host = bson_iter_utf8(&part, &length);
    if (length > MT_HOST_MAX)
        return false;
    memcpy(key->host, host, length);
    key->host[length] = '\0';
    return true;
}

bool mongodb_matches_nothing(const struct mt_query *query)
{
    return (query->hosts != NULL && query->host_count == 0) ||
           (query->to != 0 && query->to <= query->from);
}

/* the last second that matches */
static int64_t last_second(const struct mt_query *query)
{
    if (query->to != 0)
        return query->to - 1;
    if (query->hosts != NULL || query->now_s > MT_TIMESTAMP_MAX)
        return INT64_MAX;
    return query->now_s + MT_FUTURE_SLACK_S;
}

static void append_hosts(const struct mt_query *query, bson_t *filter)
{
    bson_t in;
    bson_t names;

    if (query->host_count == 1) {
        BSON_APPEND_UTF8(filter, "_id.h", query->hosts[0]);
        return;
    }
    BSON_APPEND_DOCUMENT_BEGIN(filter, "_id.h", &in);
    BSON_APPEND_ARRAY_BEGIN(&in, "$in", &names);
    for (size_t i = 0; i < query->host_count; i++) {
        char digits[16];
        const char *index;

        (void)bson_uint32_to_string((uint32_t)i, &index, digits, sizeof digits);
        BSON_APPEND_UTF8(&names, index, query->hosts[i]);
    }
    bson_append_array_end(&in, &names);
    bson_append_document_end(filter, &in);
}

void mongodb_query_filter(const struct mt_query *query, const struct mongodb_bounds *bounds,
                          bson_t *filter)
{
    int64_t first = query->from;
    int64_t last = last_second(query);
    bson_t range;

    if (bounds->oldest != NULL && bounds->oldest->timestamp > first)
        first = bounds->oldest->timestamp;
    if (bounds->newest != NULL && bounds->newest->timestamp < last)
        last = bounds->newest->timestamp;
    if (query->hosts != NULL)
        append_hosts(query, filter);
    if (first > 0 || last < INT64_MAX) {
        BSON_APPEND_DOCUMENT_BEGIN(filter, "_id.t", &range);
        if (first > 0)
            BSON_APPEND_INT64(&range, "$gte", first);
        if (last < INT64_MAX)
            BSON_APPEND_INT64(&range, "$lte", last);
        bson_append_document_end(filter, &range);
    }
    if (bounds->has_arrival) {
        BSON_APPEND_DOCUMENT_BEGIN(filter, "arrival_us", &range);
        BSON_APPEND_INT64(&range, "$lte", bounds->arrival_us);
        bson_append_document_end(filter, &range);
    }
}

void mongodb_query_options(const struct mt_query *query, enum mt_order order, int64_t skip,
                           int64_t limit, int64_t batch, bson_t *options)
{
    bool one_host = query->hosts != NULL && query->host_count == 1;
    int direction = order == MT_OLDEST_FIRST ? 1 : -1;
    bson_t sort;

    BSON_APPEND_DOCUMENT_BEGIN(options, "sort", &sort);
    BSON_APPEND_INT32(&sort, "_id.t", direction);
    /* with one host, servers of old see the index's order only if the host is not named */
    if (!one_host)
        BSON_APPEND_INT32(&sort, "_id.h", direction);
    bson_append_document_end(options, &sort);
    /* a plan by arrival would have to sort, and planners try it now and then */
    BSON_APPEND_UTF8(options, "hint",
                     mongodb_indexes[one_host ? MONGODB_BY_HOST : MONGODB_BY_TIME].name);
    if (skip > 0)
        BSON_APPEND_INT64(options, "skip", skip);
    if (limit > 0)
        BSON_APPEND_INT64(options, "limit", limit);
    BSON_APPEND_INT64(options, "batchSize", batch);
}
