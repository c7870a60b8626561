/* Statistics of an SQLite store that others write, seal and prune meanwhile. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract.h"
#include "sqlite_fixture.h"
#include "store/aggregate.h"

#define DAY_S   INT64_C(86400)
#define EVERY_S INT64_C(3600)
#define APART   INT64_C(10) /* the days, so that hours, too, are not all handed out at once */

enum { DAYS = 20, PER_DAY = 24, RECORDS = DAYS * PER_DAY };

#define NOW_S ((DAYS * APART + 30) * DAY_S)

/* Adds up buckets; at the first one the store is changed by another handle. */
struct watcher {
    struct mt_store *other; /* NULL: nobody */
    void (*change)(struct mt_store *other);
    int64_t count;
    int64_t next_s; /* no bucket begins before */
    mt_i128 sum;
};

static enum mt_err watch(void *context, const struct mt_bucket *bucket, struct mt_error *error)
{
    struct watcher *watcher = context;

    (void)error;
    assert_true(bucket->start_s >= watcher->next_s);
    watcher->next_s = bucket->start_s + 1;
    watcher->count += bucket->count;
    watcher->sum += (mt_i128)bucket->sum;
    if (watcher->change != NULL)
        watcher->change(watcher->other);
    watcher->change = NULL;
    return MT_OK;
}

static void append_days(struct mt_store *store, const char *host, int64_t offset_s)
{
    static struct mt_record records[RECORDS];
    static struct mt_outcome outcomes[RECORDS];
    struct mt_error error = {0};

    for (int i = 0; i < RECORDS; i++) {
        int64_t second = i / PER_DAY * APART * DAY_S + i % PER_DAY * EVERY_S + offset_s;

        records[i] = contract_record(host, second, i);
        mt_record_set(&records[i], MT_FIELD_CACHED, i % 1000);
    }
    assert_ok(mt_store_append(store, records, RECORDS, MT_CONFLICT_REPORT, outcomes, &error));
    for (int i = 0; i < RECORDS; i++)
        assert_int_equal(outcomes[i].verdict, MT_VERDICT_NEW);
}

static void seal(struct mt_store *store)
{
    struct mt_compaction compaction = {.now_s = NOW_S};
    struct mt_error error = {0};

    assert_ok(mt_store_compact(store, &compaction, &error));
    assert_true(compaction.is_done);
}

static void more_come(struct mt_store *other)
{
    append_days(other, "a", 7);
    append_days(other, "c", 7);
}

static void more_come_and_are_sealed(struct mt_store *other)
{
    more_come(other);
    seal(other);
}

static struct watcher ask(struct mt_store *store, const struct mt_aggregation *wanted,
                          struct mt_store *other, void (*change)(struct mt_store *))
{
    struct watcher watcher = {.other = other, .change = change};
    struct mt_error error = {0};

    assert_ok(mt_store_aggregate(store, wanted, watch, &watcher, &error));
    return watcher;
}

/* what is handed out first is of the same instant as what is handed out last */
static void buckets_are_of_one_instant(void **state)
{
    static const struct {
        bool is_sealed;
        const char *host;
        int64_t step_s; /* so small that a few days are handed out at once */
        void (*change)(struct mt_store *other);
    } cases[] = {
        {false, NULL, 60, seal},
        {false, "a", 1, more_come_and_are_sealed},
        {true, "a", 3600, more_come},
        {true, "a", 60, more_come_and_are_sealed},
        {true, NULL, 3600, more_come_and_are_sealed},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_aggregation wanted = {.measure = MT_FIELD_CACHED,
                                        .now_s = NOW_S,
                                        .step_s = cases[i].step_s,
                                        .host = cases[i].host};
        struct mt_store *writer = fixture_open(fixture, false, 20000);
        struct mt_store *reader;
        struct watcher before;
        struct watcher meanwhile;

        append_days(writer, "a", 60);
        append_days(writer, "b", 60);
        if (cases[i].is_sealed)
            seal(writer);
        reader = fixture_open(fixture, true, 20000);
        before = ask(reader, &wanted, NULL, NULL);
        assert_int_equal(before.count, RECORDS * (cases[i].host != NULL ? 1 : 2));
        meanwhile = ask(reader, &wanted, writer, cases[i].change);
        assert_int_equal(meanwhile.count, before.count);
        assert_true(meanwhile.sum == before.sum);
        mt_store_close(reader);
        mt_store_close(writer);
        assert_int_equal(remove(fixture->path), 0);
    }
}

/* more days are to be counted record by record than are decoded at once, and some rows are loose */
static void hours_that_lie_in_two_buckets_are_counted(void **state)
{
    static const int64_t steps[] = {5400, 7 * DAY_S + 1, 100};
    struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, 20000);
    struct mt_error error = {0};

    append_days(store, "a", 60);
    append_days(store, "b", 1799);
    seal(store);
    append_days(store, "a", 3599);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct mt_aggregation wanted = {.measure = MT_MEASURE_USED,
                                        .from = 2 * DAY_S + 1800,
                                        .to = (DAYS - 1) * APART * DAY_S + 5000,
                                        .now_s = NOW_S,
                                        .step_s = steps[i]};
        struct watcher scanned = {0};
        struct watcher got = ask(store, &wanted, NULL, NULL);

        assert_ok(mt_aggregate_by_scan(store, &wanted, watch, &scanned, &error));
        assert_int_equal(got.count, scanned.count);
        assert_int_equal(got.next_s, scanned.next_s);
        assert_true(got.sum == scanned.sum);
    }
    mt_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(buckets_are_of_one_instant),
        FIXTURE_TEST(hours_that_lie_in_two_buckets_are_counted),
    };

    return cmocka_run_group_tests_name("statistics of sqlite", tests, NULL, NULL);
}
