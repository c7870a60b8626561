#include <inttypes.h>

#include "base/clock.h"
#include "store/sqlite_verify.h"

void mt_sqlite_sum_add(struct mt_sqlite_sum *sum, int64_t id, int64_t host_id, int64_t value)
{
    uint64_t x = (uint64_t)id * UINT64_C(0x9E3779B97F4A7C15) ^
                 (uint64_t)host_id * UINT64_C(0xC2B2AE3D27D4EB4F) ^
                 (uint64_t)value * UINT64_C(0x165667B19E3779F9);

    x = (x ^ (x >> 31)) * UINT64_C(0xBF58476D1CE4E5B9);
    sum->hash += x ^ (x >> 29);
    sum->entries++;
}

/*
 * A way through a table: its SQL gives two numbers that ascend, and the id, host's id and third
 * number that are added up, of what is behind (?1, ?2) and not after ?3.
 */
struct way {
    const char *name;
    const char *sql;
};

static const struct way by_time = {
    "memory_log_by_time",
    "SELECT timestamp, host_id, seq, host_id, timestamp FROM memory_log"
    " INDEXED BY memory_log_by_time"
    " WHERE (timestamp, host_id) > (?1, ?2) AND seq <= ?3 ORDER BY timestamp, host_id"};

static const struct way by_host = {
    "memory_log_by_host",
    "SELECT host_id, timestamp, seq, host_id, timestamp FROM memory_log"
    " INDEXED BY memory_log_by_host"
    " WHERE (host_id, timestamp) > (?1, ?2) AND seq <= ?3 ORDER BY host_id, timestamp"};

static const struct way blocks = {"table block",
                                  "SELECT id, 0, id, host_id, day FROM block NOT INDEXED"
                                  " WHERE id > ?1 AND ?2 IS ?2 AND ?3 IS ?3 ORDER BY id"};

static const struct way blocks_by_host = {
    "sqlite_autoindex_block_1",
    "SELECT host_id, day, id, host_id, day FROM block INDEXED BY sqlite_autoindex_block_1"
    " WHERE (host_id, day) > (?1, ?2) AND ?3 IS ?3 ORDER BY host_id, day"};

static const struct way blocks_by_day = {
    "block_by_day", "SELECT day, host_id, id, host_id, day FROM block INDEXED BY block_by_day"
                    " WHERE (day, host_id) > (?1, ?2) AND ?3 IS ?3 ORDER BY day, host_id"};

static const struct way marks = {"table block",
                                 "SELECT id, 0, id, 0, last_seq FROM block NOT INDEXED"
                                 " WHERE id > ?1 AND ?2 IS ?2 AND ?3 IS ?3 ORDER BY id"};

static const struct way marks_by_seq = {
    "block_by_seq", "SELECT last_seq, id, id, 0, last_seq FROM block INDEXED BY block_by_seq"
                    " WHERE (last_seq, id) > (?1, ?2) AND ?3 IS ?3 ORDER BY last_seq, id"};

static enum mt_err walk_part(struct mt_sqlite_verify *verify, const struct way *way, int64_t key[2],
                             struct mt_sqlite_sum *sum, struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    int64_t until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_ROW;
    enum mt_err err = mt_sqlite_statement(file, way->sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, key[0]);
    (void)sqlite3_bind_int64(statement, 2, key[1]);
    (void)sqlite3_bind_int64(statement, 3, verify->snapshot);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t next[2] = {sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1)};
        int64_t id = sqlite3_column_int64(statement, 2);

        if (next[0] < key[0] || (next[0] == key[0] && next[1] <= key[1])) {
            mt_sqlite_tell(verify,
                           "index %s: the entry of row %" PRId64
                           " is out of order or double; rebuild it with: sqlite3 FILE REINDEX",
                           way->name, id);
        } else {
            key[0] = next[0];
            key[1] = next[1];
        }
        mt_sqlite_sum_add(sum, id, sqlite3_column_int64(statement, 3),
                          sqlite3_column_int64(statement, 4));
        if (sum->entries % 256 == 0 && mt_clock_monotonic_ms() >= until_ms)
            break;
    }
    sum->is_complete = result == SQLITE_DONE;
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err walk(struct mt_sqlite_verify *verify, const struct way *way, bool is_mute,
                        struct mt_sqlite_sum *sum, struct mt_error *error)
{
    int64_t key[2] = {INT64_MIN, INT64_MIN};
    enum mt_err err = MT_OK;

    mt_sqlite_begin_telling(verify, is_mute);
    *sum = (struct mt_sqlite_sum){0};
    while (err == MT_OK && !sum->is_complete)
        err = walk_part(verify, way, key, sum, error);
    return mt_sqlite_tell_damage(verify, err, error, way->name);
}

/* both have been walked, and nothing was moved meanwhile */
static void compare(struct mt_sqlite_verify *verify, const struct way *way,
                    const struct mt_sqlite_sum *index, const struct mt_sqlite_sum *table,
                    const char *what)
{
    mt_sqlite_begin_telling(verify, false);
    if (index->is_complete && table->is_complete &&
        (index->entries != table->entries || index->hash != table->hash))
        mt_sqlite_tell(verify,
                       "index %s does not match its table: %" PRId64 " entries, %" PRId64
                       " %s; rebuild it with: sqlite3 FILE REINDEX",
                       way->name, index->entries, table->entries, what);
}

/* walks a table and its index, which are to have the same entries, until nothing was sealed
 * meanwhile */
static enum mt_err check_index(struct mt_sqlite_verify *verify, const struct way *table,
                               const struct way *index, struct mt_error *error)
{
    for (int tries = 0; tries < MT_SQLITE_VERIFY_TRIES; tries++) {
        int64_t before = verify->sealed;
        struct mt_sqlite_sum of_table;
        struct mt_sqlite_sum of_index;
        enum mt_err err = walk(verify, table, true, &of_table, error);

        if (err == MT_OK)
            err = walk(verify, index, tries > 0, &of_index, error);
        if (err == MT_OK)
            err = mt_sqlite_verify_marks(verify, error);
        if (err != MT_OK)
            return err;
        if (verify->sealed == before) {
            compare(verify, index, &of_index, &of_table, "blocks");
            return mt_sqlite_report(verify, MT_OK, error);
        }
    }
    return mt_sqlite_sealing(verify, error);
}

enum mt_err mt_sqlite_verify_records(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    for (int tries = 0; tries < MT_SQLITE_VERIFY_TRIES; tries++) {
        int64_t before = verify->sealed;
        struct mt_sqlite_sum table = {0};
        struct mt_sqlite_sum sums[2];
        enum mt_err err = mt_sqlite_verify_rows(verify, tries > 0, &table, error);

        if (err == MT_OK)
            err = walk(verify, &by_time, tries > 0, &sums[0], error);
        if (err == MT_OK)
            err = walk(verify, &by_host, tries > 0, &sums[1], error);
        if (err == MT_OK)
            err = mt_sqlite_verify_marks(verify, error);
        if (err != MT_OK)
            return err;
        if (verify->sealed == before) {
            compare(verify, &by_time, &sums[0], &table, "records");
            compare(verify, &by_host, &sums[1], &table, "records");
            return mt_sqlite_report(verify, MT_OK, error);
        }
    }
    return mt_sqlite_sealing(verify, error);
}

enum mt_err mt_sqlite_verify_block_indexes(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    enum mt_err err = check_index(verify, &blocks, &blocks_by_host, error);

    if (err == MT_OK)
        err = check_index(verify, &blocks, &blocks_by_day, error);
    return err == MT_OK ? check_index(verify, &marks, &marks_by_seq, error) : err;
}
