/* Sealed days: what goes into a block comes out of it, and the file's second version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract.h"
#include "random_record.h"
#include "sqlite_fixture.h"
#include "store/sqlite_block.h"

enum { RECORDS = 300 };

#define DAY INT64_C(86400)

static const char *const v1_sql[] = {
    "DROP TABLE block; DROP TABLE block_column; DROP TABLE block_field; PRAGMA user_version=1;"
    "PRAGMA writable_schema=ON",
#define MT_FIELD(symbol, name, ...)                                                                \
    "UPDATE sqlite_schema SET sql = replace(sql, ' " #name " INTEGER', ' " #name                   \
    " INTEGER CHECK(" #name " BETWEEN 0 AND 9007199254740992)') WHERE name = 'memory_log'",
#include "record/field.def"
#undef MT_FIELD
    "PRAGMA writable_schema=RESET;"
    "CREATE TRIGGER memory_log_update BEFORE UPDATE ON memory_log BEGIN"
    " SELECT RAISE(ABORT, 'records are never changed');"
    "END",
};

static void fill_day(struct mt_store *store, uint64_t *seed, int64_t day, const char *host)
{
    static struct mt_record records[RECORDS];
    static struct mt_outcome outcomes[RECORDS];
    struct mt_error error = {0};

    for (int i = 0; i < RECORDS; i++) {
        records[i] = random_record(seed);
        (void)snprintf(records[i].host, sizeof records[i].host, "%s", host);
        /* late ones now and then */
        records[i].timestamp =
            day * DAY + i * INT64_C(7) % RECORDS * 280 + (int64_t)random_below(seed, 280);
        if (records[i].has_boot_id)
            memset(records[i].boot_id, (int)random_below(seed, 3), MT_BOOT_ID_SIZE);
        records[i].present &= ~MT_FIELD_BIT(MT_FIELD_ZFS_ARC_MIN);
        records[i].value[MT_FIELD_ZFS_ARC_MIN] = 0;
    }
    assert_ok(mt_store_append(store, records, RECORDS, MT_CONFLICT_REPORT, outcomes, &error));
}

/* the loose rows of a day, oldest first */
static struct sqlite_rows read_loose(struct sqlite_store *store, int64_t day)
{
    struct sqlite_rows rows = {0};
    struct mt_buf sql = {0};
    sqlite3_stmt *statement = NULL;
    struct mt_error error = {0};

    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(store, MT_FIELD_ALL, &sql);
    mt_buf_append_string(&sql, " FROM memory_log WHERE timestamp / 86400 = ?1 ORDER BY timestamp");
    assert_ok(mt_sqlite_statement(&store->file, mt_buf_string(&sql), &statement, &error));
    (void)sqlite3_bind_int64(statement, 1, day);
    while (sqlite3_step(statement) == SQLITE_ROW)
        assert_ok(mt_sqlite_add_row(store, statement, MT_FIELD_ALL, &rows, &error));
    (void)sqlite3_reset(statement);
    mt_buf_fini(&sql);
    return rows;
}

static void seal_day(struct sqlite_store *store, int64_t day, const struct sqlite_rows *rows)
{
    struct mt_error error = {0};
    char sql[128];

    assert_ok(mt_sqlite_begin(&store->file, &error));
    assert_ok(mt_sqlite_put_block(store, rows->rows, rows->count, &error));
    (void)snprintf(sql, sizeof sql, "DELETE FROM memory_log WHERE timestamp / 86400 = %lld",
                   (long long)day);
    assert_ok(mt_sqlite_exec(&store->file, sql, &error));
    assert_ok(mt_sqlite_commit(&store->file, &error));
}

static void check_rows(struct sqlite_store *store, const struct mt_sqlite_block_data *data,
                       const struct sqlite_rows *rows, uint64_t fields, unsigned parts)
{
    struct mt_error error = {0};

    assert_int_equal(data->block.records, rows->count);
    for (size_t i = 0; i < rows->count; i++) {
        struct mt_record expected = rows->rows[i].record;
        struct sqlite_row got;

        assert_ok(mt_sqlite_block_row(store, data, i, &got, &error));
        for (enum mt_field field = 0; field < MT_FIELD_COUNT; field++)
            if ((fields & MT_FIELD_BIT(field)) == 0)
                mt_record_unset(&expected, field);
        if ((parts & MT_SQLITE_PART_BOOT) == 0)
            expected.has_boot_id = false;
        assert_true(records_are_equal(&got.record, &expected));
        assert_int_equal(got.host_id, rows->rows[i].host_id);
        assert_int_equal(got.seq, (parts & MT_SQLITE_PART_SEQ) != 0 ? rows->rows[i].seq : 0);
        assert_int_equal(mt_sqlite_block_at(data, expected.timestamp), i);
    }
    assert_int_equal(mt_sqlite_block_at(data, INT64_MAX), rows->count);
}

static void a_sealed_day_gives_the_rows_that_went_in(void **state)
{
    static const uint64_t fields[] = {MT_FIELD_ALL, 0, MT_FIELD_BIT(MT_FIELD_MEM_TOTAL),
                                      MT_FIELD_BIT(MT_FIELD_ZFS_ARC_MIN), UINT64_C(0x3FFFFF)};
    const struct fixture *fixture = *state;
    struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, false, 1000);
    struct mt_sqlite_block_data data = {0};
    struct mt_sqlite_block block = {0};
    struct mt_error error = {0};
    uint64_t seed = 17;
    struct sqlite_rows rows;
    bool found = true;
    sqlite3 *raw;

    fill_day(&store->base, &seed, 19000, "a");
    rows = read_loose(store, 19000);
    assert_int_equal(rows.count, RECORDS);
    assert_ok(mt_sqlite_find_block(store, rows.rows[0].host_id, 19000, &block, &found, &error));
    assert_false(found);
    seal_day(store, 19000, &rows);

    assert_ok(mt_sqlite_find_block(store, rows.rows[0].host_id, 19000, &block, &found, &error));
    assert_true(found);
    assert_int_equal(block.first, rows.rows[0].record.timestamp);
    assert_int_equal(block.first_seq, 1);
    assert_int_equal(block.last_seq, RECORDS);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        for (unsigned parts = 0; parts < 4; parts++) {
            assert_ok(
                mt_sqlite_block_fetch(store, &block, fields[i], parts, &data, &found, &error));
            assert_true(found);
            assert_ok(mt_sqlite_block_decode(store, &data, &error));
            check_rows(store, &data, &rows, fields[i], parts);
        }

    raw = fixture_raw(fixture->path);
    assert_int_equal(fixture_number(raw, "SELECT sum(records) FROM day"), RECORDS);
    assert_int_equal(fixture_number(raw, "SELECT sum(records) FROM host_day"), RECORDS);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM memory_log"), 0);
    assert_ok(mt_sqlite_begin(&store->file, &error));
    assert_ok(mt_sqlite_drop_block(store, block.id, &error));
    assert_ok(mt_sqlite_commit(&store->file, &error));
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM day"), 0);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM host_day"), 0);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM block_column"), 0);
    (void)sqlite3_close(raw);
    assert_ok(mt_sqlite_block_fetch(store, &block, MT_FIELD_ALL, 3, &data, &found, &error));
    assert_false(found);

    mt_sqlite_block_fini(&data);
    free(rows.rows);
    mt_store_close(&store->base);
}

static void numbers_of_fields_do_not_outlive_a_rollback(void **state)
{
    const struct fixture *fixture = *state;
    struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, false, 1000);
    struct mt_sqlite_block_data data = {0};
    struct mt_sqlite_block block;
    struct mt_error error = {0};
    uint64_t seed = 3;
    struct sqlite_rows rows;
    bool found = false;

    fill_day(&store->base, &seed, 100, "a");
    rows = read_loose(store, 100);
    assert_ok(mt_sqlite_begin(&store->file, &error));
    assert_ok(mt_sqlite_put_block(store, rows.rows, rows.count, &error));
    mt_sqlite_rollback(&store->file);
    /* now others get the numbers */
    assert_ok(mt_sqlite_exec(&store->file,
                             "INSERT INTO block_field VALUES(3,'pswpout'),(4,'uptime_s')", &error));
    seal_day(store, 100, &rows);
    assert_ok(mt_sqlite_find_block(store, rows.rows[0].host_id, 100, &block, &found, &error));
    assert_ok(mt_sqlite_block_fetch(store, &block, MT_FIELD_ALL, 3, &data, &found, &error));
    assert_true(found);
    assert_ok(mt_sqlite_block_decode(store, &data, &error));
    check_rows(store, &data, &rows, MT_FIELD_ALL, 3);
    mt_sqlite_block_fini(&data);
    free(rows.rows);
    mt_store_close(&store->base);
}

static void a_reader_learns_of_fields_that_came_later(void **state)
{
    const struct fixture *fixture = *state;
    struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, false, 1000);
    struct sqlite_store *reader = (struct sqlite_store *)fixture_open(fixture, true, 1000);
    struct mt_sqlite_block_data data = {0};
    struct mt_sqlite_block block;
    struct mt_error error = {0};
    uint64_t seed = 3;
    bool found = false;

    for (int64_t day = 1; day <= 2; day++) {
        struct sqlite_rows rows;

        fill_day(&store->base, &seed, day, "a");
        rows = read_loose(store, day);
        for (size_t i = 0; i < rows.count && day == 1; i++)
            mt_record_unset(&rows.rows[i].record, MT_FIELD_PSWPIN);
        seal_day(store, day, &rows);
        assert_ok(mt_sqlite_find_block(reader, rows.rows[0].host_id, day, &block, &found, &error));
        assert_ok(mt_sqlite_block_fetch(reader, &block, MT_FIELD_ALL, 3, &data, &found, &error));
        assert_ok(mt_sqlite_block_decode(reader, &data, &error));
        assert_int_equal((data.there & MT_FIELD_BIT(MT_FIELD_PSWPIN)) != 0, day == 2);
        check_rows(reader, &data, &rows, MT_FIELD_ALL, 3);
        free(rows.rows);
    }
    mt_sqlite_block_fini(&data);
    mt_store_close(&reader->base);
    mt_store_close(&store->base);
}

static void a_field_of_a_newer_program_is_not_sealed_away(void **state)
{
    const struct fixture *fixture = *state;
    struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, false, 1000);
    struct mt_error error = {0};
    uint64_t seed = 3;
    struct sqlite_rows rows;

    fill_day(&store->base, &seed, 1, "a");
    assert_ok(mt_sqlite_exec(&store->file, "ALTER TABLE memory_log ADD COLUMN new_field INTEGER",
                             &error));
    rows = read_loose(store, 1);
    assert_ok(mt_sqlite_begin(&store->file, &error));
    assert_int_equal(mt_sqlite_put_block(store, rows.rows, rows.count, &error),
                     MT_ERR_NEWER_SCHEMA);
    assert_non_null(strstr(error.text, "new_field"));
    mt_sqlite_rollback(&store->file);
    free(rows.rows);
    mt_store_close(&store->base);
}

static void rows_of_two_days_are_no_block(void **state)
{
    const struct fixture *fixture = *state;
    struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, false, 1000);
    struct mt_sqlite_sealed *sealed = NULL;
    struct mt_error error = {0};
    uint64_t seed = 3;
    struct sqlite_rows rows;

    fill_day(&store->base, &seed, 1, "a");
    rows = read_loose(store, 1);
    rows.rows[RECORDS - 1].record.timestamp = 2 * DAY;
    assert_int_equal(mt_sqlite_seal(store, rows.rows, rows.count, &sealed, &error), MT_ERR_FAILED);
    rows.rows[RECORDS - 1].record.timestamp = rows.rows[RECORDS - 2].record.timestamp;
    assert_int_equal(mt_sqlite_seal(store, rows.rows, rows.count, &sealed, &error), MT_ERR_FAILED);
    assert_int_equal(mt_sqlite_seal(store, rows.rows, 0, &sealed, &error), MT_ERR_FAILED);
    assert_null(sealed);
    free(rows.rows);
    mt_store_close(&store->base);
}

/* seals a day, damages it by SQL, and expects words of the decoding or finding */
static void expect_damage(const struct fixture *fixture, const char *sql, const char *words)
{
    struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, true, 1000);
    struct mt_sqlite_block_data data = {0};
    struct mt_sqlite_block block;
    struct mt_error error = {0};
    sqlite3 *raw = fixture_raw(fixture->path);
    bool found = false;
    bool is_right = true;
    enum mt_err err;

    fixture_exec(raw, "DROP TRIGGER IF EXISTS block_update");
    fixture_exec(raw, sql);
    (void)sqlite3_close(raw);
    err = mt_sqlite_find_block(store, 1, 19000, &block, &found, &error);
    if (err == MT_OK)
        err = mt_sqlite_block_fetch(store, &block, MT_FIELD_ALL, 3, &data, &found, &error);
    if (err == MT_OK)
        err = mt_sqlite_block_decode(store, &data, &error);
    if (err != MT_ERR_CORRUPT || strstr(error.text, words) == NULL ||
        strstr(error.text, "2022-01-08 of host a ") == NULL ||
        strstr(error.text, fixture->path) == NULL)
        fail_msg("%s: %s: %s", sql, mt_err_name(err), error.text);
    error = (struct mt_error){0};
    assert_ok(mt_sqlite_block_checksum(store, 1, &found, &is_right, &error));
    assert_true(found);
    assert_false(is_right);
    mt_sqlite_block_fini(&data);
    mt_store_close(&store->base);
}

static void damage_names_store_host_day_and_column(void **state)
{
    static const struct {
        const char *sql, *words;
    } cases[] = {
        {"UPDATE block_column SET data = zeroblob(length(data)) WHERE id = 64 +"
         " (SELECT id FROM block_field WHERE name = 'mem_free')",
         "column mem_free is no compressed column"},
        {"UPDATE block_column SET count = 7 WHERE id = 65", "column seq "},
        {"UPDATE block_column SET data = NULL WHERE id = 64", "column timestamp lacks its numbers"},
        {"DELETE FROM block_column WHERE id = 65", "it has no marks of arrival"},
        {"UPDATE block_column SET data = substr(data, 1, length(data) - 1) WHERE id = 66",
         "column boot_id cannot be decompressed"},
        {"UPDATE block SET hours = x'00'", "it has an impossible row in table block"},
        {"UPDATE block SET first = first + 1", "it begins or ends at another second"},
        {"UPDATE block SET last_seq = last_seq - 1", "it has other marks of arrival"},
    };
    const struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sqlite_store *store = (struct sqlite_store *)fixture_open(fixture, false, 1000);
        uint64_t seed = 17;
        struct sqlite_rows rows;

        fill_day(&store->base, &seed, 19000, "a");
        rows = read_loose(store, 19000);
        seal_day(store, 19000, &rows);
        free(rows.rows);
        mt_store_close(&store->base);
        expect_damage(fixture, cases[i].sql, cases[i].words);
        assert_int_equal(remove(fixture->path), 0);
    }
}

/* how many fields of memory_log have a condition */
static const char conditions_sql[] =
    "SELECT (length(sql) - length(replace(sql, ' BETWEEN 0 AND 9007199254740992)', ''))) / 32"
    " FROM sqlite_schema WHERE name = 'memory_log'";

static void the_first_version_is_migrated_by_a_writer(void **state)
{
    const struct fixture *fixture = *state;
    struct sqlite_store *reader;
    struct mt_store *writer;
    struct mt_error error = {0};
    sqlite3 *raw;

    fixture_fill(fixture, 2, 10);
    raw = fixture_raw(fixture->path);
    for (size_t i = 0; i < sizeof v1_sql / sizeof v1_sql[0]; i++)
        fixture_exec(raw, v1_sql[i]);
    assert_int_equal(fixture_number(raw, conditions_sql), MT_FIELD_COUNT);
    reader = (struct sqlite_store *)fixture_open(fixture, true, 0);
    assert_false(mt_sqlite_has_blocks(reader));
    assert_int_equal(fixture_count(&reader->base, &error), 20);
    assert_int_equal(fixture_number(raw, "PRAGMA user_version"), 1);

    writer = fixture_open(fixture, false, 1000);
    assert_int_equal(fixture_number(raw, "PRAGMA user_version"), 2);
    assert_int_equal(fixture_number(raw, conditions_sql), 0);
    assert_int_equal(
        fixture_number(raw, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"), 2);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM pragma_integrity_check"
                                         " WHERE integrity_check = 'ok'"),
                     1);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM block"), 0);
    assert_true(mt_sqlite_has_blocks(reader));
    assert_int_equal(fixture_count(&reader->base, &error), 20);
    assert_int_equal(fixture_count(writer, &error), 20);
    (void)sqlite3_close(raw);
    mt_store_close(writer);
    mt_store_close(&reader->base);
}

static int deny_schema(void *context, int action, const char *table, const char *column,
                       const char *database, const char *trigger)
{
    (void)context;
    (void)column;
    (void)database;
    (void)trigger;
    return action == SQLITE_UPDATE && strncmp(table, "sqlite_", 7) == 0 ? SQLITE_DENY : SQLITE_OK;
}

static void a_migration_that_fails_leaves_the_schema_closed(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    sqlite3 *db;
    sqlite3 *raw;

    fixture_fill(fixture, 1, 10);
    store = fixture_open(fixture, false, 1000);
    db = ((struct sqlite_store *)store)->file.db;
    raw = fixture_raw(fixture->path);
    for (size_t i = 0; i < sizeof v1_sql / sizeof v1_sql[0]; i++)
        fixture_exec(raw, v1_sql[i]);
    assert_int_equal(sqlite3_set_authorizer(db, deny_schema, NULL), SQLITE_OK);
    assert_int_not_equal(mt_sqlite_upgrade(&((struct sqlite_store *)store)->file, &error), MT_OK);
    assert_int_equal(sqlite3_set_authorizer(db, NULL, NULL), SQLITE_OK);
    assert_int_equal(fixture_number(db, "PRAGMA writable_schema"), 0);
    assert_int_equal(fixture_number(raw, "PRAGMA user_version"), 1);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_sealed_day_gives_the_rows_that_went_in),
        FIXTURE_TEST(numbers_of_fields_do_not_outlive_a_rollback),
        FIXTURE_TEST(a_reader_learns_of_fields_that_came_later),
        FIXTURE_TEST(a_field_of_a_newer_program_is_not_sealed_away),
        FIXTURE_TEST(rows_of_two_days_are_no_block),
        FIXTURE_TEST(damage_names_store_host_day_and_column),
        FIXTURE_TEST(the_first_version_is_migrated_by_a_writer),
        FIXTURE_TEST(a_migration_that_fails_leaves_the_schema_closed),
    };

    return cmocka_run_group_tests_name("sqlite_block", tests, NULL, NULL);
}
