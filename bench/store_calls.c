/*
 * store_calls CALL ROUNDS URI...: makes one call of the store contract on each store in turn, over
 * and over, and prints a line for each: the store's number and the microseconds it took, and how
 * many records or buckets it gave. One turn before is not printed.
 *
 * CALL: open, tail (limit=10), skip (limit=10, before the newest nine tenths), host=NAME (limit=10
 * of it), full (limit=99999), append (one record of a host of its own), year=FIELD (its hourly
 * minimum, sum and maximum over all time), year=used.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "store/store.h"

enum { STORES_MOST = 32 };

struct call {
    const char *name;
    const char *value; /* behind `=` */
    int64_t records;   /* in the store that is asked */
    int64_t given;
    int64_t appended;
};

static int64_t records[STORES_MOST];

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static enum mt_err count_record(void *context, const struct mt_record *record,
                                struct mt_error *error)
{
    (void)record;
    (void)error;
    ++*(int64_t *)context;
    return MT_OK;
}

static enum mt_err count_bucket(void *context, const struct mt_bucket *bucket,
                                struct mt_error *error)
{
    (void)bucket;
    (void)error;
    ++*(int64_t *)context;
    return MT_OK;
}

static enum mt_err count_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    (void)error;
    *(int64_t *)context += host->records;
    return MT_OK;
}

static enum mt_err scan(struct mt_store *store, struct call *call, struct mt_error *error)
{
    struct mt_query query = {.now_s = mt_clock_wall_s(),
                             .limit = 10,
                             .fields = MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) |
                                       MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE)};

    if (strcmp(call->name, "full") == 0)
        query.limit = 99999;
    if (strcmp(call->name, "skip") == 0)
        query.skip = call->records / 10 * 9;
    if (strcmp(call->name, "host") == 0) {
        query.hosts = &call->value;
        query.host_count = 1;
    }
    return mt_store_scan(store, &query, count_record, &call->given, error);
}

static enum mt_err append(struct mt_store *store, struct call *call, struct mt_error *error)
{
    struct mt_record record = {.host = "bench", .timestamp = mt_clock_wall_s() + call->appended++};
    struct mt_outcome outcome;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        mt_record_set(&record, i, record.timestamp + (int64_t)i);
    call->given = 1;
    return mt_store_append(store, &record, 1, MT_CONFLICT_MOVE, &outcome, error);
}

static enum mt_err aggregate(struct mt_store *store, struct call *call, struct mt_error *error)
{
    struct mt_aggregation aggregation = {
        .measure = MT_MEASURE_USED, .now_s = mt_clock_wall_s(), .step_s = 3600};
    enum mt_field field;

    if (strcmp(call->value, "used") != 0) {
        if (!mt_field_find(call->value, strlen(call->value), &field))
            return mt_error_set(error, MT_ERR_USAGE, "no field is called %s", call->value);
        aggregation.measure = (int)field;
    }
    return mt_store_aggregate(store, &aggregation, count_bucket, &call->given, error);
}

static enum mt_err open_store(const char *uri, const struct call *call, struct mt_store **store,
                              struct mt_error *error)
{
    struct mt_store_options options = {.read_only = strcmp(call->name, "append") != 0,
                                       .busy_wait_ms = 20000};

    return mt_store_open(uri, &options, store, error);
}

static enum mt_err make(struct call *call, const char *uri, struct mt_store *store,
                        struct mt_error *error)
{
    static const struct {
        const char *name;
        enum mt_err (*run)(struct mt_store *store, struct call *call, struct mt_error *error);
    } calls[] = {{"tail", scan}, {"skip", scan},     {"host", scan},
                 {"full", scan}, {"append", append}, {"year", aggregate}};

    call->given = 0;
    if (strcmp(call->name, "open") == 0) {
        struct mt_store *fresh = NULL;
        enum mt_err err = open_store(uri, call, &fresh, error);

        mt_store_close(fresh);
        return err;
    }
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(calls[i].name, call->name) == 0)
            return calls[i].run(store, call, error);
    return mt_error_set(error, MT_ERR_USAGE, "no call is called %s", call->name);
}

int main(int argc, char **argv)
{
    static struct mt_store *stores[STORES_MOST];
    struct call call = {.value = ""};
    struct mt_error error = {0};
    int count = argc - 3;
    enum mt_err err = MT_OK;

    if (count < 1 || count > STORES_MOST) {
        (void)fprintf(stderr, "usage: store_calls CALL ROUNDS URI...\n");
        return 2;
    }
    call.name = argv[1];
    if (strchr(argv[1], '=')) {
        call.value = strchr(argv[1], '=') + 1;
        *strchr(argv[1], '=') = '\0';
    }
    for (int i = 0; i < count && err == MT_OK; i++) {
        err = open_store(argv[3 + i], &call, &stores[i], &error);
        if (err == MT_OK)
            err = mt_store_hosts(stores[i], mt_clock_wall_s(), count_host, &records[i], &error);
    }
    for (long round = strtol(argv[2], NULL, 10); round >= 0 && err == MT_OK; round--)
        for (int i = 0; i < count && err == MT_OK; i++) {
            int64_t begin = now_us();

            call.records = records[i];
            err = make(&call, argv[3 + i], stores[i], &error);
            if (err == MT_OK && round < strtol(argv[2], NULL, 10))
                (void)printf("%d %" PRId64 " %" PRId64 "\n", i, now_us() - begin, call.given);
        }
    for (int i = 0; i < count; i++)
        mt_store_close(stores[i]);
    if (err != MT_OK)
        (void)fprintf(stderr, "store_calls: %s: %s\n", mt_err_name(err), error.text);
    return mt_err_exit_status(err);
}
