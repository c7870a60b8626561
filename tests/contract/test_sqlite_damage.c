/* Files that were damaged, replaced, restored or robbed of a table: what is told, and what goes on.
 */
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
#include "sqlite_fixture.h"

enum { WITHIN_MS = 20000 };

static enum mt_err ignore_record(void *context, const struct mt_record *record,
                                 struct mt_error *error)
{
    (void)context;
    (void)record;
    (void)error;
    return MT_OK;
}

static void expect_finding(void *context, const char *text)
{
    /* who reads this runs it just now */
    assert_null(strstr(text, "memory-tracker verify"));
    if (strstr(text, *(const char **)context) != NULL)
        *(const char **)context = "\x01 found already";
}

/* verify reports something with these words */
static void verify_finds(const struct fixture *fixture, bool deep, const char *words)
{
    struct mt_store *reader = fixture_open(fixture, true, 0);
    const char *wanted = words;
    struct mt_error error = {0};
    int64_t findings = 0;
    enum mt_err err = mt_store_verify(reader, deep, expect_finding, &wanted, &findings, &error);

    if (err != MT_OK || findings == 0 || wanted == words)
        fail_msg("%s: no finding with '%s' among %d: %s", mt_err_name(err), words, (int)findings,
                 error.text);
    mt_store_close(reader);
}

static void a_corrupt_page_is_told_and_found(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    unsigned char junk[4096];
    int64_t page;
    sqlite3 *db;

    fixture_fill(fixture, 1, 500);
    db = fixture_raw(fixture->path);
    page = fixture_number(db, "SELECT pageno FROM dbstat WHERE name = 'memory_log' AND pagetype = "
                              "'leaf' ORDER BY pageno LIMIT 1 OFFSET 3");
    (void)sqlite3_close(db);
    memset(junk, 0xA5, sizeof junk);
    fixture_overwrite(fixture->path, (page - 1) * 4096, junk, sizeof junk);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_count(store, &error), -1);
    assert_int_equal(error.code, MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "restore a backup"));
    assert_non_null(strstr(error.text, "memory-tracker export"));
    /* the newest records lie on other pages: sampling goes on */
    assert_int_equal(fixture_append(store, "a", 999960, &error), MT_OK);
    mt_store_close(store);
    verify_finds(fixture, false, "cannot be read to its end");
    verify_finds(fixture, true, "integrity");
}

static void a_truncated_file_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store_options options = {.read_only = true};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    struct stat status;
    enum mt_err err;

    fixture_fill(fixture, 1, 500);
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(truncate(fixture->path, status.st_size / 2), 0);
    err = mt_store_open(fixture->uri, &options, &store, &error);
    if (err == MT_OK)
        (void)fixture_count(store, &error);
    assert_int_equal(error.code, MT_ERR_CORRUPT);
    mt_store_close(store);
}

static void verify_finds_what_does_not_add_up(void **state)
{
    static const struct {
        const char *damage;
        const char *finding;
        bool deep;
    } cases[] = {
        {"UPDATE day SET records = records + 1", "table day says 601 records", false},
        {"UPDATE host_day SET records = 7 WHERE host_id = 2", "table host_day says 7 records",
         false},
        {"DELETE FROM day", "table day says 0 records", false},
        {"INSERT INTO day VALUES(77, 3)", "day 77", false},
        {"PRAGMA foreign_keys=OFF; DELETE FROM host WHERE name = 'b'", "row 2 of table host",
         false},
        {"PRAGMA foreign_keys=OFF; DELETE FROM host WHERE name = 'b'", "foreign keys", true},
        {"UPDATE sqlite_sequence SET seq = 5", "arrival marks", false},
        {"PRAGMA ignore_check_constraints=ON; INSERT INTO memory_log(host_id,timestamp,mem_total,"
         "mem_free) VALUES(1,7,0,0)",
         "mem_total", false},
        {"UPDATE memory_log SET mem_free = -1 WHERE seq = 7", "mem_free", false},
        {"UPDATE memory_log SET cached = 9007199254740993 WHERE seq = 7", "cached", false},
        {"UPDATE memory_log SET timestamp = timestamp + 8640000 WHERE seq = 7", "table day", false},
        {"INSERT INTO memory_log(host_id,timestamp,mem_total,mem_free) VALUES(1,7,5,-1)",
         "mem_free", false},
        /* an index that misses an entry: it is out of the schema while a record comes in */
        {"CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'memory_log_by_time';"
         "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name = 'memory_log_by_time';"
         "PRAGMA writable_schema=RESET; INSERT INTO "
         "memory_log(host_id,timestamp,mem_total,mem_free)"
         " VALUES(1,7,1,1); PRAGMA writable_schema=ON; INSERT INTO sqlite_schema SELECT * FROM "
         "kept;"
         "PRAGMA writable_schema=RESET",
         "memory_log_by_time does not match its table: 600 entries, 601 records", false},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sqlite3 *db;

        fixture_fill(fixture, 2, 300);
        db = fixture_raw(fixture->path);
        fixture_exec(db, cases[i].damage);
        (void)sqlite3_close(db);
        verify_finds(fixture, cases[i].deep, cases[i].finding);
        assert_int_equal(unlink(fixture->path), 0);
    }
}

/* Seals what is older than its clock at the first finding, which is told while no lock is held. */
struct sealer {
    struct mt_store *store;
    int64_t findings;
    int64_t sealed;
};

static void seal_meanwhile(void *context, const char *text)
{
    struct sealer *sealer = context;
    struct mt_compaction compaction = {.now_s = 400000};
    struct mt_error error = {0};

    sealer->findings++;
    if (strstr(text, "mem_free") == NULL)
        fail_msg("verify: %s", text);
    if (mt_store_compact(sealer->store, &compaction, &error) != MT_OK)
        fail_msg("compact: %s", error.text);
    sealer->sealed += compaction.records;
}

static void verify_is_not_misled_by_days_that_are_sealed_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    struct sealer sealer = {0};
    struct mt_store *reader;
    struct mt_error error = {0};
    int64_t findings = 0;
    sqlite3 *db;

    fixture_fill(fixture, 2, 3000);
    db = fixture_raw(fixture->path);
    /* the last row of the table, on a day that is not over: its walk is done when this is told */
    fixture_exec(db, "INSERT INTO memory_log(host_id,timestamp,mem_total,mem_free)"
                     " VALUES(1,500000,5,-1)");
    (void)sqlite3_close(db);
    sealer.store = fixture_open(fixture, false, 20000);
    reader = fixture_open(fixture, true, 20000);
    assert_int_equal(mt_store_verify(reader, false, seal_meanwhile, &sealer, &findings, &error),
                     MT_OK);
    assert_int_equal(sealer.sealed, 6000);
    assert_int_equal(sealer.findings, 1);
    assert_int_equal(findings, 1);
    mt_store_close(reader);
    mt_store_close(sealer.store);
}

/* polls until the number of records is as expected; the file is looked at once a second */
static void wait_for_count(struct mt_store *store, int64_t expected)
{
    int64_t until_ms = mt_clock_monotonic_ms() + WITHIN_MS;
    struct mt_error error = {0};
    int64_t count;

    while ((count = fixture_count(store, &error)) != expected)
        if (mt_clock_monotonic_ms() > until_ms)
            fail_msg("still %d records: %s", (int)count, error.text);
}

static void a_replaced_file_is_opened_anew(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *reader;
    struct mt_error error = {0};
    char other[400];

    fixture_fill(fixture, 1, 2);
    (void)snprintf(other, sizeof other, "%s.other", fixture->path);
    assert_int_equal(rename(fixture->path, other), 0);
    fixture_fill(fixture, 1, 5);
    reader = fixture_open(fixture, true, 0);
    assert_int_equal(fixture_count(reader, &error), 5);
    assert_int_equal(rename(other, fixture->path), 0);
    wait_for_count(reader, 2);
    /* deleted: missing until there is one again */
    assert_int_equal(unlink(fixture->path), 0);
    wait_for_count(reader, -1);
    assert_int_equal(mt_store_ping(reader, &error), MT_ERR_MISSING);
    fixture_fill(fixture, 1, 7);
    wait_for_count(reader, 7);
    mt_store_close(reader);
}

static void nothing_is_acknowledged_into_a_deleted_file(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *writer;
    struct mt_error error = {0};

    fixture_fill(fixture, 1, 2);
    writer = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(writer, "a", 1000, &error), MT_OK);
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(fixture_append(writer, "a", 2000, &error), MT_ERR_MISSING);
    assert_int_equal(access(fixture->path, F_OK), -1);
    fixture_fill(fixture, 1, 4);
    assert_int_equal(fixture_append(writer, "a", 3000, &error), MT_OK);
    assert_int_equal(fixture_count(writer, &error), 5);
    mt_store_close(writer);
}

static void copy_file(const char *from, const char *to)
{
    char command[1024];

    (void)snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a test's own paths
}

static void a_restored_copy_resets_places(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_token token;
    struct mt_error error = {0};
    char backup[400];
    bool reset = false;

    fixture_fill(fixture, 1, 2);
    (void)snprintf(backup, sizeof backup, "%s.backup", fixture->path);
    copy_file(fixture->path, backup);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(store, "a", 1000, &error), MT_OK);
    assert_int_equal(mt_store_token(store, &token, &error), MT_OK);
    mt_store_close(store);
    /* the restored store goes on, and gives the same number to another record */
    copy_file(backup, fixture->path);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(store, "a", 2000, &error), MT_OK);
    assert_int_equal(fixture_append(store, "a", 3000, &error), MT_OK);
    assert_int_equal(mt_store_changes(store, &token, 9, ignore_record, NULL, &reset, &error),
                     MT_OK);
    assert_true(reset);
    mt_store_close(store);
}

static void a_store_without_its_generation_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_token token = {0};
    struct mt_error error = {0};
    sqlite3 *db;

    fixture_fill(fixture, 1, 2);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "DELETE FROM meta");
    (void)sqlite3_close(db);
    store = fixture_open(fixture, true, 0);
    assert_int_equal(mt_store_token(store, &token, &error), MT_ERR_CORRUPT);
    assert_int_equal(token.sequence, 0);
    assert_int_equal(fixture_count(store, &error), 2);
    mt_store_close(store);
}

static void a_missing_table_is_told_by_the_engines_words(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    sqlite3 *db;

    fixture_fill(fixture, 1, 2);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "DROP TABLE host_day");
    (void)sqlite3_close(db);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(store, "a", 1000, &error), MT_ERR_FAILED);
    assert_non_null(strstr(error.text, "no such table"));
    assert_non_null(strstr(error.text, "host_day"));
    assert_int_equal(fixture_count(store, &error), 2);
    mt_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_corrupt_page_is_told_and_found),
        FIXTURE_TEST(a_truncated_file_is_corrupt),
        FIXTURE_TEST(verify_finds_what_does_not_add_up),
        FIXTURE_TEST(verify_is_not_misled_by_days_that_are_sealed_meanwhile),
        FIXTURE_TEST(a_replaced_file_is_opened_anew),
        FIXTURE_TEST(nothing_is_acknowledged_into_a_deleted_file),
        FIXTURE_TEST(a_restored_copy_resets_places),
        FIXTURE_TEST(a_store_without_its_generation_is_corrupt),
        FIXTURE_TEST(a_missing_table_is_told_by_the_engines_words),
    };

    return cmocka_run_group_tests_name("damaged sqlite files", tests, NULL, NULL);
}
