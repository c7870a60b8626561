#include "sqlite_seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "contract.h"
#include "store/sqlite_block.h"

static int64_t host_id(struct sqlite_store *store, const char *host)
{
    sqlite3_stmt *statement = NULL;
    struct mt_error error = {0};
    int64_t id = 0;
    bool found = false;

    assert_ok(mt_sqlite_statement(&store->file, "SELECT id FROM host WHERE name = ?1", &statement,
                                  &error));
    (void)sqlite3_bind_text(statement, 1, host, -1, SQLITE_STATIC);
    assert_ok(mt_sqlite_read_i64(store, statement, &id, &found, &error));
    return id;
}

static void add_loose(struct sqlite_store *store, int64_t id, int64_t day, struct sqlite_rows *rows)
{
    struct mt_buf sql = {0};
    sqlite3_stmt *statement = NULL;
    struct mt_error error = {0};
    int result;

    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(store, MT_FIELD_ALL, &sql);
    mt_buf_append_string(&sql, " FROM memory_log WHERE host_id = ?1 AND timestamp >= ?2 * 86400"
                               " AND timestamp < (?2 + 1) * 86400");
    assert_ok(mt_sqlite_statement(&store->file, mt_buf_string(&sql), &statement, &error));
    mt_buf_fini(&sql);
    (void)sqlite3_bind_int64(statement, 1, id);
    (void)sqlite3_bind_int64(statement, 2, day);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
        assert_ok(mt_sqlite_add_row(store, statement, MT_FIELD_ALL, rows, &error));
    assert_int_equal(result, SQLITE_DONE);
    (void)sqlite3_reset(statement);
}

static void add_sealed(struct sqlite_store *store, const struct mt_sqlite_block *block,
                       struct sqlite_rows *rows)
{
    struct mt_sqlite_block_data data = {0};
    struct mt_error error = {0};
    size_t more = (size_t)block->records;
    bool found = false;

    assert_ok(mt_sqlite_block_fetch(store, block, MT_FIELD_ALL,
                                    MT_SQLITE_PART_SEQ | MT_SQLITE_PART_BOOT, &data, &found,
                                    &error));
    assert_true(found);
    assert_ok(mt_sqlite_block_decode(store, &data, &error));
    rows->rows = realloc(rows->rows, (rows->count + more) * sizeof *rows->rows);
    assert_non_null(rows->rows);
    for (size_t i = 0; i < more; i++)
        assert_ok(mt_sqlite_block_row(store, &data, i, &rows->rows[rows->count + i], &error));
    rows->count += more;
    rows->capacity = rows->count;
    mt_sqlite_block_fini(&data);
}

static int compare(const void *a, const void *b)
{
    const struct sqlite_row *left = a;
    const struct sqlite_row *right = b;

    return left->record.timestamp < right->record.timestamp ? -1 : 1;
}

static void remove_loose(struct sqlite_store *store, int64_t id, int64_t day)
{
    sqlite3_stmt *statement = NULL;
    struct mt_error error = {0};

    assert_ok(mt_sqlite_statement(&store->file,
                                  "DELETE FROM memory_log WHERE host_id = ?1 AND timestamp >= ?2"
                                  " * 86400 AND timestamp < (?2 + 1) * 86400",
                                  &statement, &error));
    (void)sqlite3_bind_int64(statement, 1, id);
    (void)sqlite3_bind_int64(statement, 2, day);
    assert_ok(mt_sqlite_run(&store->file, statement, &error));
}

void sqlite_seal(struct mt_store *base, const char *host, int64_t day)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    int64_t id = host_id(store, host);
    struct mt_sqlite_block block;
    struct sqlite_rows rows = {0};
    struct mt_error error = {0};
    bool found = false;

    assert_ok(mt_sqlite_begin(&store->file, &error));
    add_loose(store, id, day, &rows);
    if (rows.count > 0) {
        assert_ok(mt_sqlite_find_block(store, id, day, &block, &found, &error));
        if (found) {
            add_sealed(store, &block, &rows);
            assert_ok(mt_sqlite_drop_block(store, block.id, &error));
        }
        remove_loose(store, id, day);
        qsort(rows.rows, rows.count, sizeof *rows.rows, compare);
        assert_ok(mt_sqlite_put_block(store, rows.rows, rows.count, &error));
    }
    assert_ok(mt_sqlite_commit(&store->file, &error));
    free(rows.rows);
}
