#include "cli/rows.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

/* Rows come in short statements, since an open one keeps the file's writer waiting. */
enum { WAIT_MS = 5000, COLUMNS = 4, ROWS_AT_ONCE = 200 };

struct mt_rows {
    sqlite3 *db;
    sqlite3_stmt *select;
    struct mt_buf line;
    int64_t read;
    int64_t next_rowid; /* where the next statement begins */
    int at_once;        /* rows of this statement so far */
    bool has_header;    /* it is handed out */
};

/* Damage is of the file, not of a row: another row is not tried. */
static enum mt_err fail(sqlite3 *db, const char *path, struct mt_error *error)
{
    int code = sqlite3_errcode(db);
    enum mt_err result = code == SQLITE_BUSY || code == SQLITE_LOCKED ? MT_ERR_BUSY : MT_ERR_IO;
    const char *remedy = result == MT_ERR_BUSY ? "; try again when its writer is done"
                         : code == SQLITE_CORRUPT || code == SQLITE_NOTADB
                             ? "; the file is damaged, sqlite3 FILE .dump may save what is left"
                             : "";

    return mt_error_set(error, result, "cannot read %s: %s%s", path, sqlite3_errmsg(db), remedy);
}

/* A file name as a URI may carry it. */
static enum mt_err file_uri(const char *path, struct mt_buf *uri, struct mt_error *error)
{
    mt_buf_append_string(uri, "file:");
    for (; *path != '\0'; path++)
        mt_buf_printf(uri, strchr("%?#", *path) != NULL ? "%%%02x" : "%c", (unsigned char)*path);
    mt_buf_append_string(uri, "?mode=ro");
    if (mt_buf_string(uri) == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    return MT_OK;
}

static enum mt_err open_database(const char *path, sqlite3 **db, struct mt_error *error)
{
    enum mt_err result;
    struct mt_buf uri;
    int code;

    mt_buf_init(&uri, 0);
    result = file_uri(path, &uri, error);
    if (result == MT_OK) {
        code = sqlite3_open_v2(uri.data, db,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
        /* whose file it is we do not know: its pages are checked before they are believed */
        if (code == SQLITE_OK)
            code = sqlite3_exec(*db, "PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF", NULL,
                                NULL, NULL);
        if (code != SQLITE_OK)
            result = *db == NULL ? mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory")
                                 : fail(*db, path, error);
    }
    mt_buf_fini(&uri);
    return result;
}

static enum mt_err count_rows(sqlite3 *db, const char *path, int64_t *count, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err result = MT_OK;

    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM memory_log", -1, &statement, NULL) !=
            SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        result = fail(db, path, error);
    else
        *count = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return result;
}

static enum mt_err prepare(struct mt_rows *rows, const char *path, int64_t *count,
                           struct mt_error *error)
{
    sqlite3 *db = rows->db;

    (void)sqlite3_busy_timeout(db, WAIT_MS);
    rows->next_rowid = INT64_MIN;
    if (sqlite3_prepare_v2(db,
                           "SELECT rowid, timestamp, total, free, used FROM memory_log"
                           " WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2",
                           -1, &rows->select, NULL) == SQLITE_OK)
        return count_rows(db, path, count, error);
    if (sqlite3_errcode(db) != SQLITE_ERROR)
        return fail(db, path, error);
    return mt_error_set(error, MT_ERR_BAD_DATA,
                        "%s: an SQLite file without a table memory_log(timestamp,total,free,used): "
                        "%s; a store of this program moves by export and import",
                        path, sqlite3_errmsg(db));
}

enum mt_err mt_rows_open(const char *path, struct mt_rows **rows, int64_t *count,
                         struct mt_error *error)
{
    struct mt_rows *opened = calloc(1, sizeof *opened);
    enum mt_err result;

    if (opened == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    mt_buf_init(&opened->line, 0);
    result = open_database(path, &opened->db, error);
    if (result == MT_OK)
        result = prepare(opened, path, count, error);
    if (result == MT_OK)
        *rows = opened;
    else
        mt_rows_close(opened);
    return result;
}

void mt_rows_close(struct mt_rows *rows)
{
    if (rows == NULL)
        return;
    (void)sqlite3_finalize(rows->select);
    (void)sqlite3_close(rows->db);
    mt_buf_fini(&rows->line);
    free(rows);
}

static void append_value(struct mt_buf *line, sqlite3_stmt *select, int column)
{
    /* what a double holds exactly */
    const double most = 9007199254740992.0;
    double real = sqlite3_column_double(select, column);
    const char *text;

    if (sqlite3_column_type(select, column) == SQLITE_FLOAT && real >= -most && real <= most &&
        real == (double)(int64_t)real) {
        mt_buf_append_i64(line, (int64_t)real);
        return;
    }
    text = (const char *)sqlite3_column_text(select, column);
    mt_buf_append(line, text, text != NULL ? (size_t)sqlite3_column_bytes(select, column) : 0);
}

/* Moves on to the next row; *found false at the end of the table. */
static enum mt_err step(struct mt_rows *rows, bool *found, struct mt_error *error)
{
    int code = SQLITE_OK;

    if (rows->at_once == ROWS_AT_ONCE) {
        (void)sqlite3_reset(rows->select);
        rows->at_once = 0;
    }
    if (rows->at_once == 0) {
        code = sqlite3_bind_int64(rows->select, 1, rows->next_rowid);
        if (code == SQLITE_OK)
            code = sqlite3_bind_int(rows->select, 2, ROWS_AT_ONCE);
    }
    if (code == SQLITE_OK)
        code = sqlite3_step(rows->select);
    *found = code == SQLITE_ROW;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return fail(rows->db, sqlite3_db_filename(rows->db, "main"), error);
    if (*found) {
        int64_t rowid = sqlite3_column_int64(rows->select, 0);

        rows->next_rowid = rowid < INT64_MAX ? rowid + 1 : rowid;
        rows->at_once++;
        rows->read++;
    }
    return MT_OK;
}

enum mt_err mt_rows_next(struct mt_rows *rows, struct mt_slice *line, int64_t *rowid,
                         struct mt_error *error)
{
    enum mt_err result;
    bool found;

    if (!rows->has_header) {
        rows->has_header = true;
        *rowid = 0;
        *line = mt_slice_of("timestamp,total,free,used");
        return MT_OK;
    }
    result = step(rows, &found, error);
    if (result != MT_OK || !found) {
        *line = (struct mt_slice){0};
        return result;
    }
    *rowid = sqlite3_column_int64(rows->select, 0);
    mt_buf_clear(&rows->line);
    for (int column = 1; column <= COLUMNS; column++) {
        append_value(&rows->line, rows->select, column);
        if (column < COLUMNS)
            mt_buf_append_char(&rows->line, ',');
    }
    if (rows->line.failed)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    *line = (struct mt_slice){rows->line.data, rows->line.length};
    return MT_OK;
}

void mt_rows_rewind(struct mt_rows *rows)
{
    (void)sqlite3_reset(rows->select);
    rows->has_header = false;
    rows->read = 0;
    rows->at_once = 0;
    rows->next_rowid = INT64_MIN;
}

int64_t mt_rows_read(const struct mt_rows *rows)
{
    return rows->read;
}
