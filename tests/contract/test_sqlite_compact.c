/* Compaction of the SQLite store: what is sealed, when, and what is left as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "contract.h"
#include "sqlite_fixture.h"
#include "store/sqlite_block.h"

#define MINUTES INT64_C(1440)

#define DAY INT64_C(86400)

static struct mt_compaction compact(struct mt_store *store, int64_t now_s)
{
    struct mt_compaction compaction = {.now_s = now_s};
    struct mt_error error = {0};

    assert_ok(mt_store_compact(store, &compaction, &error));
    return compaction;
}

static int64_t file_size(const struct fixture *fixture)
{
    struct stat status;

    assert_int_equal(stat(fixture->path, &status), 0);
    return status.st_size;
}

static void check_counts(const struct fixture *fixture, int64_t loose, int64_t blocks,
                         int64_t records)
{
    sqlite3 *raw = fixture_raw(fixture->path);

    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM memory_log"), loose);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM block"), blocks);
    assert_int_equal(fixture_number(raw, "SELECT coalesce(sum(records), 0) FROM day"), records);
    assert_int_equal(fixture_number(raw, "SELECT coalesce(sum(records), 0) FROM host_day"),
                     records);
    (void)sqlite3_close(raw);
}

static void days_are_sealed_some_time_after_their_end(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_compaction done;

    fixture_fill(fixture, 2, 2 * MINUTES);
    store = fixture_open(fixture, false, 1000);
    done = compact(store, DAY + MT_SEAL_AFTER_S - 1);
    assert_int_equal(done.days, 0);
    assert_int_equal(done.records, 0);
    assert_true(done.is_done);
    check_counts(fixture, 4 * MINUTES, 0, 4 * MINUTES);

    /* the first record is of the day's second minute */
    done = compact(store, DAY + MT_SEAL_AFTER_S);
    assert_int_equal(done.days, 2);
    assert_int_equal(done.records, 2 * (MINUTES - 1));
    assert_true(done.is_done);
    check_counts(fixture, 2 * (MINUTES + 1), 2, 4 * MINUTES);

    done = compact(store, DAY + MT_SEAL_AFTER_S);
    assert_int_equal(done.days, 0);
    assert_true(done.is_done);
    done = compact(store, 1000 * DAY);
    assert_int_equal(done.days, 4);
    check_counts(fixture, 0, 6, 4 * MINUTES);
    mt_store_close(store);
}

static void the_file_of_long_loose_years_shrinks(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    int64_t before = 0;
    int64_t after = 0;
    int64_t size;

    fixture_fill(fixture, 3, 5 * MINUTES);
    size = file_size(fixture);
    store = fixture_open(fixture, false, 1000);
    assert_ok(mt_store_size(store, &before, &error));
    assert_true(before <= size && before > size / 2);
    (void)compact(store, 1000 * DAY);
    assert_ok(mt_store_size(store, &after, &error));
    assert_int_equal(after, file_size(fixture));
    assert_true(after < before / 8);
    mt_store_close(store);
}

static void late_records_are_merged_into_their_day(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_compaction done;
    struct mt_error error = {0};
    struct sqlite_store *sqlite;
    struct mt_sqlite_block block;
    struct mt_sqlite_block_data data = {0};
    bool found = false;
    size_t at;

    fixture_fill(fixture, 1, MINUTES - 1);
    store = fixture_open(fixture, false, 1000);
    sqlite = (struct sqlite_store *)store;
    (void)compact(store, 1000 * DAY);
    assert_ok(fixture_append(store, "a", 90, &error));
    assert_ok(fixture_append(store, "a", DAY - 1, &error));
    check_counts(fixture, 2, 1, MINUTES + 1);
    done = compact(store, 1000 * DAY);
    assert_int_equal(done.days, 1);
    assert_int_equal(done.records, 2);
    check_counts(fixture, 0, 1, MINUTES + 1);

    assert_ok(mt_sqlite_find_block(sqlite, 1, 0, &block, &found, &error));
    assert_true(found);
    assert_int_equal(block.id, 2);
    assert_int_equal(block.last_seq, MINUTES + 1);
    assert_int_equal(block.last, DAY - 1);
    assert_ok(mt_sqlite_block_fetch(sqlite, &block, MT_FIELD_ALL, MT_SQLITE_PART_SEQ, &data, &found,
                                    &error));
    assert_ok(mt_sqlite_block_decode(sqlite, &data, &error));
    at = mt_sqlite_block_at(&data, 90);
    assert_int_equal(at, 1);
    assert_int_equal(data.timestamps[at], 90);
    assert_int_equal(data.seqs[at], MINUTES);
    assert_int_equal(data.field[MT_FIELD_PSWPIN].present[at], 1);
    assert_int_equal(data.field[MT_FIELD_PSWPIN].present[at + 1], 0);
    mt_sqlite_block_fini(&data);
    mt_store_close(store);
}

static void a_day_that_cannot_be_read_is_left(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_compaction compaction = {.now_s = 1000 * DAY};
    struct mt_error error = {0};
    sqlite3 *raw;

    fixture_fill(fixture, 2, MINUTES + 10);
    store = fixture_open(fixture, false, 1000);
    (void)compact(store, DAY + MT_SEAL_AFTER_S);
    assert_ok(fixture_append(store, "a", 90, &error));
    assert_ok(fixture_append(store, "b", 90, &error));
    raw = fixture_raw(fixture->path);
    fixture_exec(raw, "UPDATE block_column SET data = x'00' WHERE id = 1 * 64");
    /* what comes late is kept beside it */
    assert_ok(fixture_append(store, "a", 150, &error));
    assert_int_equal(mt_store_compact(store, &compaction, &error), MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "1970-01-01 of host a "));
    assert_false(compaction.is_done);
    /* host b's first day and both second days */
    assert_int_equal(compaction.days, 3);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM memory_log"), 2);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM block"), 4);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

static void a_second_record_without_a_free_second_is_damage(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, 1000);
    struct mt_compaction compaction = {.now_s = 1000 * DAY};
    struct mt_error error = {0};
    sqlite3 *raw = fixture_raw(fixture->path);

    assert_ok(fixture_append(store, "a", DAY - 1, &error));
    (void)compact(store, 1000 * DAY);
    fixture_exec(raw, "INSERT INTO memory_log(host_id, timestamp, mem_total, mem_free)"
                      " VALUES(1, 86399, 5, 5)");
    assert_int_equal(mt_store_compact(store, &compaction, &error), MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "no free one after it"));
    (void)sqlite3_close(raw);
    check_counts(fixture, 1, 1, 2);
    mt_store_close(store);
}

static void a_day_of_seconds_is_a_block(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, 1000);
    struct mt_compaction done;
    struct mt_error error = {0};
    sqlite3 *raw = fixture_raw(fixture->path);
    struct mt_query query = {.to = DAY, .limit = 3, .fields = MT_FIELD_ALL};
    struct contract_list list = {0};

    assert_ok(fixture_append(store, "a", 0, &error));
    fixture_exec(raw,
                 "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s WHERE x < 86399)"
                 " INSERT INTO memory_log(host_id, timestamp, mem_total, mem_free, cached)"
                 " SELECT 1, x, 9007199254740992, x * x % 7919, nullif(x % 3, 0) FROM s");
    done = compact(store, 1000 * DAY);
    assert_int_equal(done.days, 1);
    assert_int_equal(done.records, DAY);
    check_counts(fixture, 0, 1, DAY);
    contract_scan(store, &query, &list);
    assert_int_equal(list.count, 3);
    for (int64_t i = 0; i < 3; i++) {
        int64_t second = DAY - 3 + i;
        int64_t cached = 0;

        assert_int_equal(list.records[i].timestamp, second);
        assert_int_equal(list.records[i].value[MT_FIELD_MEM_TOTAL], MT_VALUE_MAX);
        assert_int_equal(list.records[i].value[MT_FIELD_MEM_FREE], second * second % 7919);
        assert_int_equal(mt_record_get(&list.records[i], MT_FIELD_CACHED, &cached),
                         second % 3 != 0);
        assert_int_equal(cached, second % 3);
    }
    contract_list_free(&list);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

static bool yes(void *context)
{
    (void)context;
    return true;
}

static void it_stops_between_days(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_compaction late = {.now_s = 1000 * DAY, .deadline_ms = 1};
    struct mt_compaction cancelled = {.now_s = 1000 * DAY, .cancelled = yes};
    struct mt_error error = {0};

    fixture_fill(fixture, 1, 2 * MINUTES);
    store = fixture_open(fixture, false, 1000);
    assert_ok(mt_store_compact(store, &late, &error));
    assert_false(late.is_done);
    assert_int_equal(late.days, 0);
    assert_ok(mt_store_compact(store, &cancelled, &error));
    assert_false(cancelled.is_done);
    check_counts(fixture, 2 * MINUTES, 0, 2 * MINUTES);
    mt_store_close(store);
}

static void a_reader_does_not_compact(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_compaction compaction = {.now_s = 1000 * DAY};
    struct mt_error error = {0};
    struct mt_store *store;

    fixture_fill(fixture, 1, 2);
    store = fixture_open(fixture, true, 1000);
    assert_int_equal(mt_store_compact(store, &compaction, &error), MT_ERR_READ_ONLY);
    mt_store_close(store);
}

/* Changes the day each time when all is ready to be stored, a few times. */
struct meddler {
    sqlite3 *raw;
    int times;
};

static int meddle(unsigned type, void *context, void *statement, void *text)
{
    struct meddler *meddler = context;

    (void)type;
    (void)statement;
    if (strcmp(text, "BEGIN IMMEDIATE") != 0 || meddler->times == 0)
        return 0;
    meddler->times--;
    fixture_exec(meddler->raw,
                 "DELETE FROM memory_log WHERE seq = (SELECT min(seq) FROM memory_log)");
    return 0;
}

static void what_changes_meanwhile_is_read_again(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_compaction done = {.now_s = 1000 * DAY};
    struct mt_error error = {0};
    struct meddler meddler = {.times = 2};

    fixture_fill(fixture, 1, 100);
    store = fixture_open(fixture, false, 1000);
    meddler.raw = fixture_raw(fixture->path);
    assert_int_equal(sqlite3_trace_v2(((struct sqlite_store *)store)->file.db, SQLITE_TRACE_STMT,
                                      meddle, &meddler),
                     SQLITE_OK);
    done = compact(store, 1000 * DAY);
    assert_int_equal(meddler.times, 0);
    assert_int_equal(done.records, 98);
    assert_true(done.is_done);
    check_counts(fixture, 0, 1, 98);

    /* somebody who never stops is kept out for a moment */
    assert_ok(fixture_append(store, "b", 60, &error));
    for (int i = 0; i < 20; i++)
        assert_ok(fixture_append(store, "a", 7000 + i, &error));
    meddler.times = 15;
    done = compact(store, 1000 * DAY);
    assert_true(done.is_done);
    /* but of a day that takes long he has his way */
    fixture_exec(meddler.raw,
                 "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s WHERE x < 4200)"
                 " INSERT INTO memory_log(host_id, timestamp, mem_total, mem_free)"
                 " SELECT 1, 86400 + x, 5, 5 FROM s");
    meddler.times = 15;
    done = compact(store, 1000 * DAY);
    assert_false(done.is_done);
    assert_int_equal(meddler.times, 10);
    assert_int_equal(fixture_number(meddler.raw, "SELECT sum(records) FROM day"),
                     fixture_number(meddler.raw, "SELECT (SELECT count(*) FROM memory_log) +"
                                                 " (SELECT sum(records) FROM block)"));
    (void)sqlite3_close(meddler.raw);
    mt_store_close(store);
}

/* Prunes the first record, and appends two late ones, between two locks under which a day is read:
 * where it was read already, and where it is read next. */
struct pruner {
    struct mt_store *store;
    int locks; /* until then */
};

static int prune_and_append(unsigned type, void *context, void *statement, void *text)
{
    struct pruner *pruner = context;
    struct mt_error error = {0};
    int64_t pruned;

    (void)type;
    (void)statement;
    if (strstr(text, " ORDER BY timestamp LIMIT ?4") == NULL || pruner->locks-- != 0)
        return 0;
    assert_ok(mt_store_prune(pruner->store, 11, &pruned, &error));
    assert_int_equal(pruned, 1);
    assert_ok(fixture_append(pruner->store, "a", 15, &error));
    assert_ok(fixture_append(pruner->store, "a", 25005, &error));
    return 0;
}

static void what_is_pruned_and_comes_between_two_locks_is_read_again(void **state)
{
    enum { RECORDS = 3000, EVERY_S = 10 };
    static struct mt_record records[RECORDS];
    static struct mt_outcome outcomes[RECORDS];
    const struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, 1000);
    struct pruner pruner = {.store = fixture_open(fixture, false, 1000), .locks = 1};
    const struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_error error = {0};

    for (int i = 0; i < RECORDS; i++)
        records[i] = contract_record("a", (int64_t)EVERY_S * (i + 1), i);
    assert_ok(mt_store_append(store, records, RECORDS, MT_CONFLICT_REPORT, outcomes, &error));
    assert_int_equal(sqlite3_trace_v2(((struct sqlite_store *)store)->file.db, SQLITE_TRACE_STMT,
                                      prune_and_append, &pruner),
                     SQLITE_OK);
    assert_int_equal(compact(store, 1000 * DAY).records, RECORDS + 1);
    check_counts(fixture, 0, 1, RECORDS + 1);
    contract_scan(store, &query, &list);
    assert_int_equal(list.count, RECORDS + 1);
    assert_int_equal(list.records[0].timestamp, 15);
    contract_list_free(&list);
    mt_store_close(pruner.store);
    mt_store_close(store);
}

/* Another one compacts before each statement that begins so, once. */
struct rival {
    struct mt_store *store;
    const char *before;
    int64_t records;
};

static int compact_first(unsigned type, void *context, void *statement, void *text)
{
    struct rival *rival = context;

    (void)type;
    (void)statement;
    if (rival->before == NULL || strncmp(text, rival->before, strlen(rival->before)) != 0)
        return 0;
    rival->before = NULL;
    rival->records = compact(rival->store, 1000 * DAY).records;
    return 0;
}

static void two_may_compact_at_once(void **state)
{
    static const char *const steps[] = {"SELECT id,host_id,day,", "SELECT seq,host_id,",
                                        "SELECT uuid", "BEGIN IMMEDIATE"};
    const struct fixture *fixture = *state;
    struct mt_error error = {0};
    int64_t second = 60;

    fixture_fill(fixture, 1, 1);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct mt_store *store = fixture_open(fixture, false, 1000);
        struct rival rival = {fixture_open(fixture, false, 1000), steps[i], 0};
        struct mt_compaction done;

        for (int j = 0; j < 10; j++)
            assert_ok(fixture_append(store, "a", ++second, &error));
        assert_int_equal(sqlite3_trace_v2(((struct sqlite_store *)store)->file.db,
                                          SQLITE_TRACE_STMT, compact_first, &rival),
                         SQLITE_OK);
        done = compact(store, 1000 * DAY);
        assert_null(rival.before);
        assert_true(done.is_done);
        assert_int_equal(done.records + rival.records, i == 0 ? 11 : 10);
        check_counts(fixture, 0, 1, 11 + (int64_t)i * 10);
        mt_store_close(store);
        mt_store_close(rival.store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(days_are_sealed_some_time_after_their_end),
        FIXTURE_TEST(the_file_of_long_loose_years_shrinks),
        FIXTURE_TEST(late_records_are_merged_into_their_day),
        FIXTURE_TEST(a_day_that_cannot_be_read_is_left),
        FIXTURE_TEST(a_second_record_without_a_free_second_is_damage),
        FIXTURE_TEST(a_day_of_seconds_is_a_block),
        FIXTURE_TEST(it_stops_between_days),
        FIXTURE_TEST(a_reader_does_not_compact),
        FIXTURE_TEST(what_changes_meanwhile_is_read_again),
        FIXTURE_TEST(what_is_pruned_and_comes_between_two_locks_is_read_again),
        FIXTURE_TEST(two_may_compact_at_once),
    };

    return cmocka_run_group_tests_name("sqlite_compact", tests, NULL, NULL);
}
