/* The outbox: batches, what a store refuses, lists, and the lock of the one who delivers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "contract.h"
#include "spool_fixture.h"
#include "store/ops.h"
#include "store/spool.h"
#include "store/spool_lock.h"

enum { CALLS_MOST = 64 };

/* A store that takes everything but what `bad` names, and does that as its `manner` says. */
struct picky_store {
    struct mt_store base;
    bool (*bad)(const struct mt_record *record);
    bool refuses_whole; /* the batch that holds a bad one, not the record */
    int64_t takes_ms;   /* for each call, at least */
    size_t calls, sizes[CALLS_MOST];
    size_t taken;
    int64_t timestamps[4096];
};

static enum mt_err pick(struct mt_store *base, const struct mt_record *records, size_t count,
                        enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                        struct mt_error *error)
{
    struct picky_store *store = (struct picky_store *)base;
    int64_t begin_ms = mt_clock_monotonic_ms();

    (void)on_conflict;
    if (store->calls < CALLS_MOST)
        store->sizes[store->calls] = count;
    while (mt_clock_monotonic_ms() < begin_ms + store->takes_ms)
        ;
    store->calls++;
    for (size_t i = 0; i < count; i++) {
        bool is_bad = store->bad != NULL && store->bad(&records[i]);

        if (is_bad && store->refuses_whole)
            return mt_error_set(error, MT_ERR_REJECTED, "cannot read a word of it");
        outcomes[i] = (struct mt_outcome){
            .verdict = is_bad ? MT_VERDICT_REJECTED : MT_VERDICT_NEW,
            .timestamp = records[i].timestamp,
        };
        (void)snprintf(outcomes[i].text, sizeof outcomes[i].text, is_bad ? "not that one" : "");
    }
    for (size_t i = 0; i < count; i++)
        if (outcomes[i].verdict == MT_VERDICT_NEW)
            store->timestamps[store->taken++] = records[i].timestamp;
    return MT_OK;
}

static const struct mt_store_ops picky_ops = {.scheme = "picky:", .append = pick};

static bool is_77(const struct mt_record *record)
{
    return record->timestamp == 77;
}

static bool is_every_fifth(const struct mt_record *record)
{
    return record->timestamp % 5 == 0;
}

static bool is_any(const struct mt_record *record)
{
    (void)record;
    return true;
}

static void put(struct mt_spool *spool, const char *destination, int64_t timestamp)
{
    struct mt_record record = contract_record("h", timestamp, timestamp);
    struct mt_error error = {0};

    assert_ok(mt_spool_put(spool, destination, &record, 100000, &error));
}

/* many at once: count records with timestamps from 0 on */
static void fill(const struct fixture *fixture, int count)
{
    char sql[256];
    sqlite3 *db = fixture_raw(fixture->path);

    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
                   "INSERT INTO waiting(destination, host, timestamp) SELECT 'here', 'h', i FROM n",
                   count - 1);
    fixture_exec(db, sql);
    (void)sqlite3_close(db);
}

static void batches_grow_to_the_largest(void **state)
{
    static const size_t expected[] = {50, 100, 200, 400, 500, 500, 250};
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};

    fill(fixture, 2000);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(delivery.delivered, 2000);
    assert_int_equal(store.calls, sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < store.calls; i++)
        assert_int_equal(store.sizes[i], expected[i]);
    for (size_t i = 0; i < store.taken; i++)
        assert_int_equal(store.timestamps[i], i);
    mt_spool_close(spool);
}

/* a `cancelled` that never cancels */
static bool slow_is_slow_after_two_batches(void *context)
{
    struct mt_spool_delivery *delivery = context;
    const struct picky_store *store = (const struct picky_store *)delivery->store;

    if (store->calls == 2)
        delivery->slow_ms = 3;
    return false;
}

static void a_slow_store_gets_smaller_batches_but_never_tiny_ones(void **state)
{
    static const size_t expected[] = {50, 100, 200, 100, 50, 50, 50};
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops, .takes_ms = 4};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};

    delivery.cancelled = slow_is_slow_after_two_batches;
    delivery.context = &delivery;
    fill(fixture, 600);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(delivery.delivered, 600);
    assert_int_equal(store.calls, sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < store.calls; i++)
        assert_int_equal(store.sizes[i], expected[i]);
    mt_spool_close(spool);
}

struct noticed {
    int64_t count;
    int64_t last;
    char text[192];
};

static void notice(void *context, const struct mt_record *record, const struct mt_outcome *outcome)
{
    struct noticed *noticed = context;

    noticed->count++;
    noticed->last = record->timestamp;
    (void)snprintf(noticed->text, sizeof noticed->text, "%s", outcome->text);
}

static void one_bad_record_blocks_no_other(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        bool refuses_whole;
        const char *reason;
    } manners[] = {{false, "not that one"}, {true, "cannot read a word of it"}};

    for (size_t i = 0; i < 2; i++) {
        struct mt_spool *spool = open_spool(fixture);
        struct picky_store store = {
            .base.ops = &picky_ops, .bad = is_77, .refuses_whole = manners[i].refuses_whole};
        struct mt_spool_delivery delivery = to("here", &store.base);
        struct noticed noticed = {0};
        struct mt_error error = {0};

        delivery.notice = notice;
        delivery.context = &noticed;
        fill(fixture, 300);
        assert_ok(mt_spool_deliver(spool, &delivery, &error));
        assert_int_equal(delivery.delivered, 299);
        assert_int_equal(delivery.set_aside, 1);
        assert_int_equal(store.taken, 299);
        for (size_t j = 0; j < store.taken; j++)
            assert_int_equal(store.timestamps[j], j < 77 ? j : j + 1);
        assert_int_equal(noticed.count, 1);
        assert_int_equal(noticed.last, 77);
        assert_string_equal(noticed.text, manners[i].reason);
        assert_int_equal(status_of(spool, "here").waiting, 0);
        assert_int_equal(status_of(spool, "here").rejected, (int64_t)i + 1);
        mt_spool_close(spool);
    }
}

static void many_bad_records_block_no_other(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {
        .base.ops = &picky_ops, .bad = is_every_fifth, .refuses_whole = true};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};

    fill(fixture, 200);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(delivery.delivered, 160);
    assert_int_equal(delivery.set_aside, 40);
    assert_int_equal(status_of(spool, NULL).waiting, 0);
    mt_spool_close(spool);
}

static void a_store_that_takes_nothing_at_all_empties_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops, .bad = is_any, .refuses_whole = true};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};

    fill(fixture, 3);
    assert_int_equal(mt_spool_deliver(spool, &delivery, &error), MT_ERR_REJECTED);
    assert_string_equal(error.text, "cannot read a word of it");
    fill(fixture, 1000);
    assert_int_equal(mt_spool_deliver(spool, &delivery, &error), MT_ERR_REJECTED);
    assert_int_equal(delivery.delivered + delivery.set_aside, 0);
    assert_int_equal(status_of(spool, "here").waiting, 1003);
    assert_int_equal(status_of(spool, "here").rejected, 0);
    assert_true(store.calls < 200);
    /* it comes to its senses: all is there */
    store.bad = NULL;
    store.taken = 0;
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(store.taken, 1003);
    mt_spool_close(spool);
}

static bool after_two_batches(void *context)
{
    const struct picky_store *store = context;

    return store->calls == 2;
}

static void an_interrupted_delivery_ends_between_two_batches(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};

    delivery.cancelled = after_two_batches;
    delivery.context = &store;
    fill(fixture, 1000);
    assert_int_equal(mt_spool_deliver(spool, &delivery, &error), MT_ERR_CANCELLED);
    assert_int_equal(delivery.delivered, 150);
    assert_int_equal(status_of(spool, "here").waiting, 850);
    mt_spool_close(spool);
}

struct listed {
    size_t count;
    struct mt_spool_place places[4];
    char names[4][64];
    struct mt_spool_reject rejects[4];
};

static enum mt_err list_place(void *context, const struct mt_spool_place *place,
                              struct mt_error *error)
{
    struct listed *listed = context;

    (void)error;
    assert_true(listed->count < 4);
    (void)snprintf(listed->names[listed->count], sizeof listed->names[0], "%s", place->destination);
    listed->places[listed->count++] = *place;
    return MT_OK;
}

static enum mt_err list_reject(void *context, const struct mt_spool_reject *reject,
                               struct mt_error *error)
{
    struct listed *listed = context;

    (void)error;
    assert_true(listed->count < 4);
    assert_string_equal(reject->destination, "here");
    assert_string_equal(reject->host, "h");
    assert_string_equal(reject->reason, "not that one");
    listed->rejects[listed->count++] = *reject;
    return MT_OK;
}

static enum mt_err stop(void *context, const struct mt_spool_place *place, struct mt_error *error)
{
    (void)place;
    ++*(int *)context;
    return mt_error_set(error, MT_ERR_IO, "enough");
}

static void what_waits_is_listed_by_destination(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops, .bad = is_77};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};
    struct listed listed = {0};
    char text[300];
    int stopped = 0;

    assert_ok(mt_spool_places(spool, list_place, &listed, &error));
    assert_int_equal(listed.count, 0);
    assert_ok(mt_spool_tell_others(spool, "here", text, sizeof text, &error));
    assert_string_equal(text, "");
    put(spool, "there", 300);
    put(spool, "there", 200);
    put(spool, "here", 77);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    put(spool, "elsewhere", 0);
    assert_ok(mt_spool_places(spool, list_place, &listed, &error));
    assert_int_equal(listed.count, 3);
    assert_string_equal(listed.names[0], "elsewhere");
    assert_string_equal(listed.names[1], "here");
    assert_string_equal(listed.names[2], "there");
    assert_int_equal(listed.places[0].waiting, 1);
    assert_int_equal(listed.places[1].waiting, 0);
    assert_int_equal(listed.places[1].set_aside, 1);
    assert_int_equal(listed.places[1].oldest, 0);
    assert_int_equal(listed.places[2].waiting, 2);
    assert_int_equal(listed.places[2].set_aside, 0);
    assert_int_equal(listed.places[2].oldest, 200);
    assert_int_equal(listed.places[2].newest, 300);
    assert_ok(mt_spool_tell_others(spool, "here", text, sizeof text, &error));
    assert_string_equal(text,
                        "1 waiting for elsewhere, 2 waiting for there, not for the store in use; "
                        "`memory-tracker spool flush --from 'elsewhere'` sends them to it");
    assert_ok(mt_spool_tell_others(spool, "here", text, 30, &error));
    assert_string_equal(text, "1 waiting for elsewhere, 2 wa");
    assert_int_equal(mt_spool_places(spool, stop, &stopped, &error), MT_ERR_IO);
    assert_string_equal(error.text, "enough");
    assert_int_equal(stopped, 1);
    mt_spool_close(spool);
}

static void what_was_set_aside_is_tried_again_at_its_old_place(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops, .bad = is_any};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct listed listed = {0};
    struct mt_error error = {0};
    int64_t count = -1;

    assert_ok(mt_spool_retry(spool, &count, &error));
    assert_int_equal(count, 0);
    put(spool, "here", 60);
    put(spool, "here", 120);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(delivery.set_aside, 2);
    put(spool, "here", 180);
    assert_ok(mt_spool_rejects(spool, list_reject, &listed, &error));
    assert_int_equal(listed.count, 2);
    assert_int_equal(listed.rejects[0].timestamp, 60);
    assert_int_equal(listed.rejects[1].timestamp, 120);
    assert_true(listed.rejects[0].id < listed.rejects[1].id);
    assert_ok(mt_spool_retry(spool, &count, &error));
    assert_int_equal(count, 2);
    assert_int_equal(status_of(spool, "here").waiting, 3);
    assert_int_equal(status_of(spool, "here").rejected, 0);
    store.bad = NULL;
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    assert_int_equal(store.taken, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(store.timestamps[i], 60 * (i + 1));
    mt_spool_close(spool);
}

static void what_was_set_aside_can_be_discarded(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops, .bad = is_77};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};
    int64_t count = -1;

    put(spool, "here", 77);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    put(spool, "here", 120);
    assert_ok(mt_spool_discard(spool, &count, &error));
    assert_int_equal(count, 1);
    assert_int_equal(status_of(spool, "here").rejected, 0);
    assert_int_equal(status_of(spool, "here").waiting, 1);
    /* on purpose, so not for want of room */
    assert_int_equal(status_of(spool, "here").dropped, 0);
    assert_ok(mt_spool_discard(spool, &count, &error));
    assert_int_equal(count, 0);
    mt_spool_close(spool);
}

static void what_waits_can_get_another_destination(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct mt_error error = {0};
    int64_t count = -1;

    put(spool, "there", 60);
    put(spool, "here", 120);
    put(spool, "there", 180);
    assert_ok(mt_spool_readdress(spool, "there", "here", &count, &error));
    assert_int_equal(count, 2);
    assert_int_equal(status_of(spool, "here").waiting, 3);
    assert_int_equal(status_of(spool, "here").elsewhere, 0);
    assert_ok(mt_spool_readdress(spool, "there", "here", &count, &error));
    assert_int_equal(count, 0);
    assert_ok(mt_spool_count(spool, &count, &error));
    assert_int_equal(count, 3);
    mt_spool_close(spool);
}

static void an_old_outbox_lacks_fields_also_where_it_is_tended(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = open_spool(fixture);
    struct picky_store store = {.base.ops = &picky_ops, .bad = is_any};
    struct mt_spool_delivery delivery = to("here", &store.base);
    struct mt_error error = {0};
    int64_t count = 0;
    sqlite3 *db;

    put(spool, "here", 60);
    assert_ok(mt_spool_deliver(spool, &delivery, &error));
    mt_spool_close(spool);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "ALTER TABLE waiting DROP COLUMN mem_available;"
                     "ALTER TABLE rejected DROP COLUMN mem_available");
    (void)sqlite3_close(db);
    spool = open_spool(fixture);
    assert_ok(mt_spool_retry(spool, &count, &error));
    assert_int_equal(count, 1);
    mt_spool_close(spool);
}

static void a_reader_makes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct mt_spool *spool = NULL;
    struct mt_error error = {0};
    int64_t count = 0;

    assert_true(mt_spool_is_missing(fixture->path));
    assert_int_equal(mt_spool_open_reader(fixture->path, 0, &spool, &error), MT_ERR_MISSING);
    assert_true(mt_spool_is_missing(fixture->path));
    spool = open_spool(fixture);
    put(spool, "here", 60);
    mt_spool_close(spool);
    assert_false(mt_spool_is_missing(fixture->path));
    assert_ok(mt_spool_open_reader(fixture->path, 0, &spool, &error));
    assert_int_equal(status_of(spool, "here").waiting, 1);
    assert_int_equal(mt_spool_discard(spool, &count, &error), MT_ERR_READ_ONLY);
    mt_spool_close(spool);
}

static void one_at_a_time_delivers(void **state)
{
    struct fixture *fixture = *state;
    struct mt_error error = {0};
    struct stat outbox, lock_file;
    char link_path[400];
    char lock_path[400];
    int first = -1;
    int second = -1;

    assert_false(mt_spool_is_locked(fixture->path));
    mt_spool_close(open_spool(fixture));
    assert_int_equal(chmod(fixture->path, 0660), 0);
    assert_ok(mt_spool_lock(fixture->path, &first, &error));
    assert_true(mt_spool_is_locked(fixture->path));
    assert_int_equal(mt_spool_lock(fixture->path, &second, &error), MT_ERR_BUSY);
    assert_non_null(strstr(error.text, "another process delivers it now"));
    assert_int_equal(second, -1);
    /* another name of the same outbox */
    (void)snprintf(link_path, sizeof link_path, "%s/link.db", fixture->directory);
    assert_int_equal(symlink(fixture->path, link_path), 0);
    assert_int_equal(mt_spool_lock(link_path, &second, &error), MT_ERR_BUSY);
    (void)close(first);
    assert_false(mt_spool_is_locked(fixture->path));
    assert_ok(mt_spool_lock(link_path, &second, &error));
    (void)close(second);
    (void)snprintf(lock_path, sizeof lock_path, "%s.courier", fixture->path);
    assert_int_equal(stat(fixture->path, &outbox), 0);
    assert_int_equal(stat(lock_path, &lock_file), 0);
    assert_int_equal(lock_file.st_uid, outbox.st_uid);
    assert_int_equal(lock_file.st_size, 0);
    /* what root makes is the outbox owner's, or nobody else could deliver any more */
    if (geteuid() == 0) {
        assert_int_equal(chown(fixture->path, 65534, 65534), 0);
        assert_ok(mt_spool_lock(fixture->path, &first, &error));
        (void)close(first);
        assert_int_equal(stat(lock_path, &lock_file), 0);
        assert_int_equal(lock_file.st_uid, 65534);
    }
    /* nobody is led astray by a link */
    assert_int_equal(unlink(lock_path), 0);
    assert_int_equal(symlink(fixture->path, lock_path), 0);
    assert_int_equal(mt_spool_lock(fixture->path, &first, &error), MT_ERR_IO);
    assert_non_null(strstr(error.text, lock_path));
    (void)unlink(lock_path);
    (void)unlink(link_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(batches_grow_to_the_largest),
        FIXTURE_TEST(a_slow_store_gets_smaller_batches_but_never_tiny_ones),
        FIXTURE_TEST(one_bad_record_blocks_no_other),
        FIXTURE_TEST(many_bad_records_block_no_other),
        FIXTURE_TEST(a_store_that_takes_nothing_at_all_empties_nothing),
        FIXTURE_TEST(an_interrupted_delivery_ends_between_two_batches),
        FIXTURE_TEST(what_waits_is_listed_by_destination),
        FIXTURE_TEST(what_was_set_aside_is_tried_again_at_its_old_place),
        FIXTURE_TEST(what_was_set_aside_can_be_discarded),
        FIXTURE_TEST(what_waits_can_get_another_destination),
        FIXTURE_TEST(an_old_outbox_lacks_fields_also_where_it_is_tended),
        FIXTURE_TEST(a_reader_makes_nothing),
        FIXTURE_TEST(one_at_a_time_delivers),
    };

    return cmocka_run_group_tests_name("outbox tended", tests, NULL, NULL);
}
