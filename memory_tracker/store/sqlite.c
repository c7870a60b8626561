#include "store/sqlite_block.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/sqlite_block.h"

/* the second version: days that are sealed */
#define BLOCKS_SQL                                                                                 \
    "CREATE TABLE block("                                                                          \
    " id INTEGER PRIMARY KEY AUTOINCREMENT CHECK(id > 0),"                                         \
    " host_id INTEGER NOT NULL REFERENCES host,"                                                   \
    " day INTEGER NOT NULL CHECK(day >= 0),"                                                       \
    " records INTEGER NOT NULL CHECK(records BETWEEN 1 AND 86400),"                                \
    " first INTEGER NOT NULL,"                                                                     \
    " last INTEGER NOT NULL,"                                                                      \
    " first_seq INTEGER NOT NULL,"                                                                 \
    " last_seq INTEGER NOT NULL,"                                                                  \
    " hours BLOB NOT NULL,"                                                                        \
    " checksum INTEGER NOT NULL,"                                                                  \
    " UNIQUE(host_id, day)) STRICT;"                                                               \
    "CREATE INDEX block_by_day ON block(day, host_id);"                                            \
    "CREATE INDEX block_by_seq ON block(last_seq);"                                                \
    "CREATE TABLE block_column("                                                                   \
    " id INTEGER PRIMARY KEY,"                                                                     \
    " count INTEGER NOT NULL CHECK(count > 0),"                                                    \
    " min INTEGER NOT NULL,"                                                                       \
    " max INTEGER NOT NULL,"                                                                       \
    " hours BLOB,"                                                                                 \
    " data BLOB) STRICT;"                                                                          \
    "CREATE TABLE block_field("                                                                    \
    " id INTEGER PRIMARY KEY CHECK(id BETWEEN 3 AND 63),"                                          \
    " name TEXT NOT NULL UNIQUE) STRICT;"

static const char *const create_sql[] = {
    "CREATE TABLE meta("
    " one INTEGER PRIMARY KEY CHECK(one = 1),"
    " generation INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta VALUES(1, random());"

    "CREATE TABLE host("
    " id INTEGER PRIMARY KEY CHECK(id > 0),"
    " name TEXT NOT NULL UNIQUE CHECK(length(CAST(name AS BLOB)) BETWEEN 1 AND 255)) STRICT;"

    "CREATE TABLE boot("
    " id INTEGER PRIMARY KEY CHECK(id > 0),"
    " uuid BLOB NOT NULL UNIQUE CHECK(length(uuid) = 16)) STRICT;"

    "CREATE TABLE memory_log("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT CHECK(seq > 0),"
    " host_id INTEGER NOT NULL REFERENCES host,"
    " timestamp INTEGER NOT NULL CHECK(timestamp BETWEEN 0 AND 253402300799),"
    " boot_id INTEGER REFERENCES boot,",
/* within what bounds is checked as records come, and by verify: SQLite would parse forty conditions
 * at each start of the sampler, and compile them for each record */
#define MT_FIELD(symbol, name, ...) " " #name " INTEGER,",
#include "record/field.def"
#undef MT_FIELD
    " CHECK(mem_total IS NOT NULL AND mem_total > 0),"
    " CHECK(mem_available IS NOT NULL OR mem_free IS NOT NULL)) STRICT;"
    "CREATE UNIQUE INDEX memory_log_by_host ON memory_log(host_id, timestamp);"
    "CREATE INDEX memory_log_by_time ON memory_log(timestamp, host_id);",

    "CREATE TABLE day("
    " day INTEGER PRIMARY KEY CHECK(day >= 0),"
    " records INTEGER NOT NULL CHECK(records > 0)) STRICT;"
    "CREATE TABLE host_day("
    " host_id INTEGER NOT NULL REFERENCES host,"
    " day INTEGER NOT NULL CHECK(day >= 0),"
    " records INTEGER NOT NULL CHECK(records > 0),"
    " PRIMARY KEY(host_id, day)) STRICT, WITHOUT ROWID;",

    /* whoever writes, the counts follow */
    "CREATE TRIGGER memory_log_insert AFTER INSERT ON memory_log BEGIN"
    " INSERT INTO day VALUES(new.timestamp / 86400, 1)"
    "  ON CONFLICT DO UPDATE SET records = records + 1;"
    " INSERT INTO host_day VALUES(new.host_id, new.timestamp / 86400, 1)"
    "  ON CONFLICT DO UPDATE SET records = records + 1;"
    "END;"
    "CREATE TRIGGER memory_log_delete AFTER DELETE ON memory_log BEGIN"
    " DELETE FROM day WHERE day = old.timestamp / 86400 AND records = 1;"
    " UPDATE day SET records = records - 1 WHERE day = old.timestamp / 86400 AND records > 1;"
    " DELETE FROM host_day"
    "  WHERE host_id = old.host_id AND day = old.timestamp / 86400 AND records = 1;"
    " UPDATE host_day SET records = records - 1"
    "  WHERE host_id = old.host_id AND day = old.timestamp / 86400 AND records > 1;"
    "END;",
    BLOCKS_SQL,
    NULL,
};

/* the first version had a condition for each field: SQLite's documentation has this way to drop one
 * that leaves the table's rows as they are */
static const char *const second_version_sql[] = {
    "PRAGMA writable_schema=ON",
#define MT_FIELD(symbol, name, ...)                                                                \
    "UPDATE sqlite_schema SET sql = replace(sql, ' CHECK(" #name                                   \
    " BETWEEN 0 AND 9007199254740992)', '') WHERE type = 'table' AND name = 'memory_log'",
#include "record/field.def"
#undef MT_FIELD
    "PRAGMA writable_schema=RESET",
    /* which forbade changes that nobody makes, and were parsed at each start */
    "DROP TRIGGER IF EXISTS memory_log_update; DROP TRIGGER IF EXISTS host_update;"
    "DROP TRIGGER IF EXISTS host_delete; DROP TRIGGER IF EXISTS boot_update;"
    "DROP TRIGGER IF EXISTS boot_delete",
    BLOCKS_SQL,
    NULL,
};

static const char *const *const migrate_sql[] = {second_version_sql};

static const char *const field_tables[] = {"memory_log", NULL};

static const struct mt_sqlite_kind kind = {
    .what = "store",
    .maker = "memory-sampler",
    .application_id = 0x4D544C47, /* "MTLG" */
    .version = 2,
    .create = create_sql,
    .migrate = migrate_sql,
    .field_tables = field_tables,
};

static enum mt_err open_store(const char *uri, const struct mt_store_options *options,
                              struct mt_store **store, struct mt_error *error)
{
    const char *path = uri + strlen(mt_sqlite_ops.scheme);
    struct sqlite_store *made;
    enum mt_err err;

    if (path[0] == '\0')
        return mt_error_set(error, MT_ERR_CONFIG, "store '%s': no path after the colon", uri);
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: out of memory", path);
    made->base.ops = &mt_sqlite_ops;
    err =
        mt_sqlite_open(&made->file, &kind, path, options->read_only, options->busy_wait_ms, error);
    if (err != MT_OK) {
        free(made);
        return err;
    }
    *store = &made->base;
    return MT_OK;
}

static void close_store(struct mt_store *base)
{
    struct sqlite_store *store = (struct sqlite_store *)base;

    mt_sqlite_close(&store->file);
    mt_block_codec_fini(&store->codec);
    mt_sqlite_forget_names(store);
    free(store);
}

enum mt_err mt_sqlite_store_look(struct sqlite_store *store, struct mt_error *error)
{
    enum mt_err err = mt_sqlite_look(&store->file, error);

    if (err != MT_OK || (store->epoch == store->file.epoch && store->lacking == 0))
        return err;
    /* a writer's statements add what is missing as they are prepared */
    if (store->file.read_only)
        err = mt_sqlite_missing_fields(&store->file, "memory_log", &store->lacking, error);
    if (err != MT_OK || store->epoch == store->file.epoch)
        return err;
    store->epoch = store->file.epoch;
    mt_sqlite_forget_names(store);
    store->has_blocks = false;
    memset(store->column_field, 0, sizeof store->column_field);
    store->columns_known_to = 0;
    store->damaged_host_id = 0;
    return MT_OK;
}

static enum mt_err ping(struct mt_store *base, struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *statement = NULL;
    int64_t generation;
    bool found;
    enum mt_err err = mt_sqlite_store_look(store, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(&store->file, "SELECT generation FROM meta", &statement, error);
    if (err == MT_OK)
        err = mt_sqlite_read_i64(store, statement, &generation, &found, error);
    return err;
}

const struct mt_store_ops mt_sqlite_ops = {
    .scheme = "sqlite:",
    .open = open_store,
    .close = close_store,
    .append = mt_sqlite_append,
    .scan = mt_sqlite_scan,
    .token = mt_sqlite_token,
    .changes = mt_sqlite_changes,
    .hosts = mt_sqlite_hosts,
    .prune = mt_sqlite_prune,
    .compact = mt_sqlite_compact,
    .size = mt_sqlite_size,
    .aggregate = mt_sqlite_aggregate,
    .stamp = mt_sqlite_stamp,
    .ping = ping,
    .verify = mt_sqlite_verify,
};
