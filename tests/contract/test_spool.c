/* The outbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "contract.h"
#include "spool_fixture.h"
#include "store/ops.h"
#include "store/spool.h"

/* beside the outbox, at directory/store.db */
static struct mt_store *open_store(const struct fixture *fixture)
{
    struct mt_store_options options = {.busy_wait_ms = 0};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    char uri[400];

    (void)snprintf(uri, sizeof uri, "sqlite:%s/store.db", fixture->directory);
    assert_ok(mt_store_open(uri, &options, &store, &error));
    return store;
}

static void put(struct mt_spool *spool, const char *destination, int64_t timestamp)
{
    struct mt_record record = contract_record("h", timestamp, timestamp);
    struct mt_error error = {0};

    assert_ok(mt_spool_put(spool, destination, &record, 1000, &error));
}

static int64_t deliver(struct mt_spool *spool, const char *destination, struct mt_store *store)
{
    struct mt_spool_delivery delivery = to(destination, store);
    struct mt_error error = {0};

    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    return delivery.delivered;
}

static void an_outbox_exists_once_it_was_made(void **state)
{
    struct fixture *fixture = *state;

    assert_false(mt_spool_exists(fixture->path));
    mt_spool_close(open_spool(fixture));
    assert_true(mt_spool_exists(fixture->path));
    mt_spool_close(NULL);
}

static void what_waits_is_counted_by_destination(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_spool_status status = status_of(spool, NULL);

    assert_int_equal(status.waiting, 0);
    assert_int_equal(status.oldest, 0);
    put(spool, "here", 180);
    put(spool, "here", 120);
    put(spool, "there", 60);
    status = status_of(spool, "here");
    assert_int_equal(status.waiting, 2);
    assert_int_equal(status.elsewhere, 1);
    assert_int_equal(status.oldest, 120);
    assert_int_equal(status.dropped, 0);
    assert_int_equal(status.rejected, 0);
    status = status_of(spool, NULL);
    assert_int_equal(status.waiting, 3);
    assert_int_equal(status.elsewhere, 0);
    assert_int_equal(status.oldest, 60);
    mt_spool_close(spool);
}

static void what_was_put_is_delivered_whole_and_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_store *store = open_store(fixture);
    struct mt_query query = contract_everything();
    struct mt_token token = {0};
    struct contract_list list = {0};
    struct mt_record record = contract_record("h", 500, 1);
    struct mt_error error = {0};
    bool reset;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        mt_record_set(&record, i, (int64_t)i + 1);
    assert_ok(mt_spool_put(spool, "here", &record, 1000, &error));
    record.has_boot_id = false;
    memset(record.boot_id, 0, sizeof record.boot_id);
    record.timestamp = 400;
    record.present &= ~MT_FIELD_BIT(MT_FIELD_CACHED);
    record.value[MT_FIELD_CACHED] = 0;
    assert_ok(mt_spool_put(spool, "here", &record, 1000, &error));
    /* more than one batch */
    for (int64_t i = 0; i < 250; i++)
        put(spool, "here", 1000 + i);
    put(spool, "there", 60);
    /* another process's outbox is the same file */
    mt_spool_close(spool);
    spool = open_spool(fixture);
    assert_int_equal(deliver(spool, "here", store), 252);
    assert_int_equal(status_of(spool, "here").waiting, 0);
    assert_int_equal(status_of(spool, "here").elsewhere, 1);
    assert_int_equal(deliver(spool, "here", store), 0);
    assert_ok(mt_store_changes(store, &token, 1000, contract_collect, &list, &reset, &error));
    assert_int_equal(list.count, 252);
    assert_int_equal(list.records[0].timestamp, 500);
    assert_int_equal(list.records[0].present, MT_FIELD_ALL);
    assert_true(list.records[0].has_boot_id);
    assert_int_equal(list.records[1].timestamp, 400);
    contract_check_same(&list.records[1], &record, MT_FIELD_ALL);
    assert_int_equal(list.records[2].timestamp, 1000);
    contract_scan(store, &query, &list);
    assert_int_equal(list.count, 252);
    contract_list_free(&list);
    mt_store_close(store);
    mt_spool_close(spool);
}

static void a_full_outbox_refuses_and_counts(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_record record = contract_record("h", 60, 1);
    struct mt_error error = {0};

    assert_ok(mt_spool_put(spool, "here", &record, 2, &error));
    assert_ok(mt_spool_put(spool, "there", &record, 2, &error));
    assert_int_equal(mt_spool_put(spool, "here", &record, 2, &error), MT_ERR_OUTBOX_FULL);
    assert_non_null(strstr(error.text, "holds 2 records"));
    assert_int_equal(mt_spool_put(spool, "here", &record, 2, &error), MT_ERR_OUTBOX_FULL);
    assert_int_equal(status_of(spool, NULL).waiting, 2);
    assert_int_equal(status_of(spool, NULL).dropped, 2);
    mt_spool_close(spool);
}

static void what_is_no_record_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_record record = contract_record("h", -1, 1);
    struct mt_error error = {0};

    assert_int_equal(mt_spool_put(spool, "here", &record, 2, &error), MT_ERR_BAD_DATA);
    assert_int_equal(status_of(spool, NULL).waiting, 0);
    mt_spool_close(spool);
}

static void delivering_twice_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_store *store = open_store(fixture);
    struct mt_record other = contract_record("h", 60, 99);
    struct mt_query query = contract_everything();
    struct contract_list list = {0};

    /* its second is taken, so it moves on; the second delivery finds it there */
    (void)contract_append(store, &other, MT_CONFLICT_REPORT);
    for (int i = 0; i < 2; i++) {
        put(spool, "here", 60);
        assert_int_equal(deliver(spool, "here", store), 1);
        contract_scan(store, &query, &list);
        assert_int_equal(list.count, 2);
        assert_int_equal(list.records[1].timestamp, 61);
    }
    contract_list_free(&list);
    mt_store_close(store);
    mt_spool_close(spool);
}

/* A store that gives one answer for every record: what a delivery does with each verdict. */
struct answering_store {
    struct mt_store base;
    enum mt_err err;
    enum mt_verdict verdict;
    size_t appended;
};

static enum mt_err answer(struct mt_store *base, const struct mt_record *records, size_t count,
                          enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                          struct mt_error *error)
{
    struct answering_store *store = (struct answering_store *)base;

    (void)records;
    assert_int_equal(on_conflict, MT_CONFLICT_MOVE);
    if (store->err != MT_OK)
        return mt_error_set(error, store->err, "away for now");
    store->appended += count;
    for (size_t i = 0; i < count; i++) {
        outcomes[i] = (struct mt_outcome){.verdict = store->verdict};
        (void)snprintf(outcomes[i].text, sizeof outcomes[i].text, "because");
    }
    return MT_OK;
}

static const struct mt_store_ops answering_ops = {.scheme = "answering:", .append = answer};

static void nothing_leaves_before_the_store_has_it(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct answering_store store = {.base.ops = &answering_ops, .err = MT_ERR_UNAVAILABLE};
    struct mt_error error = {0};
    struct mt_spool_delivery delivery = to("here", &store.base);

    for (int i = 0; i < 150; i++)
        put(spool, "here", i);
    assert_int_equal(mt_spool_deliver(spool, &delivery, &error), MT_ERR_UNAVAILABLE);
    assert_string_equal(error.text, "away for now");
    assert_int_equal(delivery.delivered, 0);
    assert_int_equal(status_of(spool, "here").waiting, 150);
    store.err = MT_OK;
    /* no time left: nothing is tried */
    delivery.deadline_ms = mt_clock_monotonic_ms();
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(delivery.delivered, 0);
    assert_int_equal(store.appended, 0);
    store.verdict = MT_VERDICT_REPEAT;
    assert_int_equal(deliver(spool, "here", &store.base), 150);
    assert_int_equal(status_of(spool, "here").waiting, 0);
    mt_spool_close(spool);
}

static void what_the_store_refuses_is_set_aside_with_its_reason(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct answering_store store = {.base.ops = &answering_ops, .verdict = MT_VERDICT_REJECTED};
    sqlite3 *db;

    for (int i = 0; i < 3; i++)
        put(spool, "here", 60 + i);
    assert_int_equal(deliver(spool, "here", &store.base), 0);
    assert_int_equal(status_of(spool, "here").waiting, 0);
    assert_int_equal(status_of(spool, "here").rejected, 3);
    assert_int_equal(status_of(spool, "there").rejected, 0);
    mt_spool_close(spool);
    db = fixture_raw(fixture->path);
    assert_int_equal(fixture_number(db, "SELECT count(*) FROM rejected WHERE reason = 'because' "
                                        "AND destination = 'here' AND mem_total = 16000000"),
                     3);
    /* ten thousand stay; what goes beyond is counted */
    fixture_exec(db, "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE "
                     "i < 10006) INSERT INTO rejected(id, reason, destination, host, timestamp) "
                     "SELECT -i, 'old', 'here', 'h', 1 FROM n");
    (void)sqlite3_close(db);
    spool = open_spool(fixture);
    put(spool, "here", 90);
    assert_int_equal(deliver(spool, "here", &store.base), 0);
    assert_int_equal(status_of(spool, "here").rejected, 10000);
    assert_int_equal(status_of(spool, "here").dropped, 1);
    mt_spool_close(spool);
}

/* opening fails with that code and a text that has `words` */
static void spool_fails(const struct fixture *fixture, enum mt_err code, const char *words)
{
    struct mt_spool *spool = NULL;
    struct mt_error error = {0};
    enum mt_err err = mt_spool_open(fixture->path, 0, &spool, &error);

    if (err != code || strstr(error.text, words) == NULL)
        fail_msg("expected %s with '%s', got %s: %s", mt_err_name(code), words, mt_err_name(err),
                 error.text);
    assert_non_null(strstr(error.text, "outbox"));
    assert_null(spool);
}

static void a_file_that_is_no_outbox_is_refused(void **state)
{
    struct fixture *fixture = *state;

    fixture_overwrite(fixture->path, 0, "this is not what it should be", 29);
    spool_fails(fixture, MT_ERR_NOT_DATABASE, "is not an SQLite database");
    assert_int_equal(unlink(fixture->path), 0);
    /* not even a store of ours */
    fixture_fill(fixture, 1, 1);
    spool_fails(fixture, MT_ERR_NOT_DATABASE, "of another program");
}

static void a_locked_outbox_is_busy(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_record record = contract_record("h", 60, 1);
    struct mt_error error = {0};
    sqlite3 *db = fixture_raw(fixture->path);

    fixture_exec(db, "BEGIN IMMEDIATE");
    assert_int_equal(mt_spool_put(spool, "here", &record, 9, &error), MT_ERR_BUSY);
    fixture_exec(db, "COMMIT");
    (void)sqlite3_close(db);
    assert_ok(mt_spool_put(spool, "here", &record, 9, &error));
    assert_int_equal(status_of(spool, "here").waiting, 1);
    mt_spool_close(spool);
}

static void an_outbox_that_lacks_a_field_gets_it(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store = open_store(fixture);
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    sqlite3 *db;
    struct mt_spool *spool = open_spool(fixture);

    put(spool, "here", 60);
    mt_spool_close(spool);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "ALTER TABLE waiting DROP COLUMN mem_available;"
                     "ALTER TABLE rejected DROP COLUMN mem_available");
    (void)sqlite3_close(db);
    spool = open_spool(fixture);
    put(spool, "here", 120);
    assert_int_equal(deliver(spool, "here", store), 2);
    contract_scan(store, &query, &list);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.records[0].present & MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE), 0);
    assert_int_equal(list.records[1].value[MT_FIELD_MEM_AVAILABLE], 8000120);
    contract_list_free(&list);
    mt_store_close(store);
    mt_spool_close(spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(an_outbox_exists_once_it_was_made),
        FIXTURE_TEST(what_waits_is_counted_by_destination),
        FIXTURE_TEST(what_was_put_is_delivered_whole_and_in_order),
        FIXTURE_TEST(a_full_outbox_refuses_and_counts),
        FIXTURE_TEST(what_is_no_record_is_not_taken),
        FIXTURE_TEST(delivering_twice_changes_nothing),
        FIXTURE_TEST(nothing_leaves_before_the_store_has_it),
        FIXTURE_TEST(what_the_store_refuses_is_set_aside_with_its_reason),
        FIXTURE_TEST(a_file_that_is_no_outbox_is_refused),
        FIXTURE_TEST(a_locked_outbox_is_busy),
        FIXTURE_TEST(an_outbox_that_lacks_a_field_gets_it),
    };

    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
