#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/sqlite_block.h"
#include "store/sqlite_verify.h"

enum { TOLD_MOST = 100 }; /* findings of one kind */

void mt_sqlite_begin_telling(struct mt_sqlite_verify *verify, bool is_mute)
{
    verify->told = is_mute ? TOLD_MOST + 1 : 0;
}

void mt_sqlite_tell(struct mt_sqlite_verify *verify, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    if (verify->told > TOLD_MOST)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (verify->told++ == TOLD_MOST)
        (void)snprintf(text, sizeof text, "and more like these, which are not listed");
    mt_buf_append(&verify->texts, text, strlen(text) + 1);
    ++*verify->findings;
}

enum mt_err mt_sqlite_report(struct mt_sqlite_verify *verify, enum mt_err err,
                             struct mt_error *error)
{
    size_t at = 0;

    while (at < verify->texts.length) {
        verify->report(verify->context, verify->texts.data + at);
        at += strlen(verify->texts.data + at) + 1;
    }
    if (verify->texts.failed && err == MT_OK)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                           verify->store->file.path);
    mt_buf_clear(&verify->texts);
    return err;
}

enum mt_err mt_sqlite_tell_damage(struct mt_sqlite_verify *verify, enum mt_err err,
                                  struct mt_error *error, const char *where)
{
    if (err == MT_ERR_CORRUPT) {
        mt_sqlite_tell(verify, "%s cannot be read to its end: %s", where, error->text);
        err = MT_OK;
    }
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err read_number(struct mt_sqlite_verify *verify, const char *sql, int64_t *value,
                               bool *found, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&verify->store->file, sql, &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(verify->store, statement, value, found, error) : err;
}

static void check_row(struct mt_sqlite_verify *verify, const struct sqlite_row *row)
{
    struct mt_error reason = {0};

    if (mt_record_check(&row->record, &reason) != MT_OK)
        mt_sqlite_tell(verify, "record %" PRId64 " of host %s at %" PRId64 ": %s", row->seq,
                       row->record.host, row->record.timestamp, reason.text);
}

/* reads on from *seq for as long as a lock may be held */
static enum mt_err walk_table_part(struct mt_sqlite_verify *verify, const char *sql, int64_t *seq,
                                   struct mt_sqlite_sum *sum, struct mt_error *error)
{
    struct sqlite_store *store = verify->store;
    int64_t until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    sqlite3_stmt *statement = NULL;
    struct sqlite_row row = {0};
    int result = SQLITE_ROW;
    enum mt_err err = mt_sqlite_statement(&store->file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, *seq);
    (void)sqlite3_bind_int64(statement, 2, verify->snapshot);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        err = mt_sqlite_read_row(store, statement, MT_FIELD_ALL & ~store->lacking, &row, error);
        if (err == MT_OK) {
            check_row(verify, &row);
        } else if (err == MT_ERR_CORRUPT) {
            mt_sqlite_tell(verify, "record %" PRId64 ": %s", row.seq, error->text);
            err = MT_OK;
        }
        mt_sqlite_sum_add(sum, row.seq, row.host_id, row.record.timestamp);
        if (row.seq > *seq)
            *seq = row.seq;
        if (sum->entries % 32 == 0 && mt_clock_monotonic_ms() >= until_ms)
            break;
    }
    sum->is_complete = result == SQLITE_DONE;
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return mt_sqlite_report(verify, err, error);
}

enum mt_err mt_sqlite_verify_rows(struct mt_sqlite_verify *verify, bool is_mute,
                                  struct mt_sqlite_sum *sum, struct mt_error *error)
{
    struct mt_buf sql;
    int64_t seq = INT64_MIN;
    enum mt_err err = MT_OK;

    mt_sqlite_begin_telling(verify, is_mute);
    mt_buf_init(&sql, 0);
    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(verify->store, MT_FIELD_ALL & ~verify->store->lacking, &sql);
    mt_buf_append_string(&sql,
                         " FROM memory_log NOT INDEXED WHERE seq > ?1 AND seq <= ?2 ORDER BY seq");
    if (mt_buf_string(&sql) == NULL)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                           verify->store->file.path);
    while (err == MT_OK && !sum->is_complete)
        err = walk_table_part(verify, mt_buf_string(&sql), &seq, sum, error);
    mt_buf_fini(&sql);
    return mt_sqlite_tell_damage(verify, err, error, "table memory_log");
}

/* a table's last number given out against the greatest one that exists */
static enum mt_err check_sequence(struct mt_sqlite_verify *verify, const char *table,
                                  const char *greatest_sql, const char *text,
                                  struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    sqlite3_stmt *statement = NULL;
    int64_t given = 0;
    int64_t greatest = 0;
    bool found;
    enum mt_err err = read_number(verify, greatest_sql, &greatest, &found, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(file, "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1",
                                  &statement, error);
    if (err == MT_OK) {
        (void)sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
        err = mt_sqlite_read_i64(verify->store, statement, &given, &found, error);
    }
    if (err == MT_OK && given < greatest)
        mt_sqlite_tell(verify,
                       "%s: the last one given is %" PRId64 ", but %" PRId64
                       " exists; numbers may be given twice: restore a backup",
                       text, given, greatest);
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err check_sequences(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    enum mt_err err;

    mt_sqlite_begin_telling(verify, false);
    err = check_sequence(verify, "memory_log", "SELECT max(seq) FROM memory_log", "arrival marks",
                         error);
    if (err != MT_OK || !mt_sqlite_has_blocks(verify->store))
        return err;
    err = check_sequence(verify, "memory_log", "SELECT max(last_seq) FROM block",
                         "arrival marks of sealed records", error);
    if (err == MT_OK)
        err = check_sequence(verify, "block", "SELECT max(id) FROM block", "numbers of blocks",
                             error);
    return err;
}

enum mt_err mt_sqlite_verify_marks(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    int64_t generation = 0;
    bool found;
    enum mt_err err =
        read_number(verify, "SELECT generation FROM meta", &generation, &found, error);

    if (err == MT_OK)
        err = read_number(verify, "SELECT max(seq) FROM sqlite_sequence WHERE name = 'block'",
                          &verify->sealed, &found, error);
    if (err == MT_OK && generation != verify->generation)
        return mt_error_set(error, MT_ERR_BUSY,
                            "store %s: verify: records were pruned meanwhile; try again",
                            verify->store->file.path);
    return err;
}

enum mt_err mt_sqlite_sealing(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_BUSY,
                        "store %s: verify: days are being sealed one after the other; try again "
                        "when that is done",
                        verify->store->file.path);
}

static enum mt_err verify_tables(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    bool found;
    enum mt_err err =
        read_number(verify, "SELECT generation FROM meta", &verify->generation, &found, error);

    if (err == MT_OK)
        err = mt_sqlite_verify_marks(verify, error);
    if (err == MT_OK)
        err = read_number(verify, "SELECT max(seq) FROM memory_log", &verify->snapshot, &found,
                          error);
    if (err == MT_OK)
        err = check_sequences(verify, error);
    if (err == MT_OK)
        err = mt_sqlite_verify_records(verify, error);
    if (err == MT_OK && mt_sqlite_has_blocks(verify->store))
        err = mt_sqlite_verify_blocks(verify, error);
    if (err == MT_OK && mt_sqlite_has_blocks(verify->store))
        err = mt_sqlite_verify_block_indexes(verify, error);
    return err == MT_OK ? mt_sqlite_verify_counts(verify, error) : err;
}

enum mt_err mt_sqlite_verify(struct mt_store *base, bool deep, mt_report *report, void *context,
                             int64_t *findings, struct mt_error *error)
{
    struct mt_sqlite_verify verify = {.store = (struct sqlite_store *)base,
                                      .report = report,
                                      .context = context,
                                      .findings = findings};
    enum mt_err err;

    *findings = 0;
    verify.store->is_verified = true;
    mt_buf_init(&verify.texts, 0);
    err = mt_sqlite_store_look(verify.store, error);
    if (err == MT_OK)
        err = mt_sqlite_tell_damage(&verify, verify_tables(&verify, error), error, "the store");
    if (err == MT_OK && deep)
        err = mt_sqlite_verify_copy(&verify, error);
    mt_buf_fini(&verify.texts);
    verify.store->is_verified = false;
    return err;
}
