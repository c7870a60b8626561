/*
 * Sealed host-days in an SQLite store. Private to store/.
 *
 * Table block has a row for each, table block_column one for each number of its records that any of
 * them has: id is the block's * MT_SQLITE_COLUMNS + the column. Columns 0 to 2 are timestamp, seq
 * and boot_id (the row in table boot), a field's number is its row in table block_field. Blocks are
 * never changed: merging makes a new one, with an id that no block had before. A record is loose, a
 * row of memory_log, or in one block, never both; the counts in day and host_day are of both.
 *
 * A column is a row of its own, so that who wants one field of a year reads 365 rows of a kilobyte
 * and not the year. SQLite lays rows whole into its pages of 4 KiB: of a usual machine's day, a
 * year of which is 13 MB, a sixth of them is left over.
 *
 * Blocks are read in two steps: the bytes while a read lock is held, the numbers after it.
 */
#ifndef MT_STORE_SQLITE_BLOCK_H
#define MT_STORE_SQLITE_BLOCK_H

#include "store/block.h"
#include "store/sqlite.h"

enum {
    MT_SQLITE_COLUMNS = 64,
    MT_SQLITE_COLUMN_TIMESTAMP = 0,
    MT_SQLITE_COLUMN_SEQ = 1,
    MT_SQLITE_COLUMN_BOOT = 2,
    MT_SQLITE_COLUMN_FIELDS = 3, /* the first field's, at least */
};

_Static_assert(MT_SQLITE_COLUMN_FIELDS + MT_FIELD_COUNT <= MT_SQLITE_COLUMNS, "a column each");

/* A row of table block. */
struct mt_sqlite_block {
    int64_t id;
    int64_t host_id;
    int64_t day; /* since 1970-01-01 UTC */
    int64_t records;
    int64_t first, last;            /* timestamps */
    int64_t first_seq, last_seq;    /* the least and the greatest arrival mark */
    uint32_t hours[MT_BLOCK_HOURS]; /* how many of its records are of each hour */
};

/* The columns of "SELECT " MT_SQLITE_BLOCK_COLUMNS " FROM block". */
#define MT_SQLITE_BLOCK_COLUMNS "id,host_id,day,records,first,last,first_seq,last_seq,hours"

/* What else than fields is wanted of a block. */
enum mt_sqlite_block_part {
    MT_SQLITE_PART_SEQ = 1 << 0,
    MT_SQLITE_PART_BOOT = 1 << 1,
};

/* A block's records as columns, in order of timestamps. Zero-initialise; freed by
 * mt_sqlite_block_fini. Not given by fields and parts: NULL. */
struct mt_sqlite_block_data {
    struct mt_sqlite_block block;
    uint64_t fields; /* what was asked for */
    unsigned parts;
    uint64_t there;      /* those of them that any record has */
    int64_t *timestamps; /* always */
    int64_t *seqs;       /* or NULL */
    struct mt_block_column
        boots; /* row ids of table boot; values NULL: no record has one, or not asked for */
    struct mt_block_column field[MT_FIELD_COUNT]; /* those of `there` */
    struct mt_buf bytes;                          /* as read, until mt_sqlite_block_decode */
    struct mt_sqlite_block_piece *pieces;
    size_t piece_count;
};

/*
 * mt_sqlite_has_blocks: the open file has the tables; false for one of an earlier version that was
 * opened read_only, until a writer has migrated it. To be asked under the lock under which loose
 * rows are read: a day may be sealed as soon as it is let go.
 */
bool mt_sqlite_has_blocks(struct sqlite_store *store);

/* mt_sqlite_block_columns: the same, but for hours, as it stands there: unchecked. */
struct mt_sqlite_block mt_sqlite_block_columns(sqlite3_stmt *statement);

/* mt_sqlite_read_block: the row of table block that statement stands on. CORRUPT. */
enum mt_err mt_sqlite_read_block(struct sqlite_store *store, sqlite3_stmt *statement,
                                 struct mt_sqlite_block *block, struct mt_error *error);

/* mt_sqlite_find_block: of a host and a day. *found false, *block untouched: it is not sealed. */
enum mt_err mt_sqlite_find_block(struct sqlite_store *store, int64_t host_id, int64_t day,
                                 struct mt_sqlite_block *block, bool *found,
                                 struct mt_error *error);

/*
 * mt_sqlite_block_fetch: frees what data holds and copies the bytes of the wanted columns; to be
 * called while the caller holds the lock, or by itself. *found false: the block is not there any
 * more (merged, pruned); see mt_sqlite_find_block for what took its place. On failure data is
 * empty.
 */
enum mt_err mt_sqlite_block_fetch(struct sqlite_store *store, const struct mt_sqlite_block *block,
                                  uint64_t fields, unsigned parts,
                                  struct mt_sqlite_block_data *data, bool *found,
                                  struct mt_error *error);

/* mt_sqlite_block_decode: makes numbers of what was fetched; no database (but for the host's name
 * in an error). CORRUPT, which names host, day and column; NO_MEMORY. */
enum mt_err mt_sqlite_block_decode(struct sqlite_store *store, struct mt_sqlite_block_data *data,
                                   struct mt_error *error);

/* mt_sqlite_block_row: record number `index` of decoded data, as mt_sqlite_read_row gives rows (seq
 * is 0 and boot_id absent where they were not asked for). May read tables host and boot. */
enum mt_err mt_sqlite_block_row(struct sqlite_store *store, const struct mt_sqlite_block_data *data,
                                size_t index, struct sqlite_row *row, struct mt_error *error);

/* mt_sqlite_block_at: index of the first record with timestamp >= second; records if there is none.
 */
size_t mt_sqlite_block_at(const struct mt_sqlite_block_data *data, int64_t second);

void mt_sqlite_block_fini(struct mt_sqlite_block_data *data);

/* mt_sqlite_block_corrupt: CORRUPT: names store, host, day and column (NULL: the block itself), of
 * which it says what: "lacks its numbers"; and the remedy. */
enum mt_err mt_sqlite_block_corrupt(struct sqlite_store *store, int64_t host_id, int64_t day,
                                    const char *column, const char *what, struct mt_error *error);

/* mt_sqlite_know_columns: the numbers of those of fields that the block or one before it has are
 * known from now on. */
enum mt_err mt_sqlite_know_columns(struct sqlite_store *store, int64_t block_id, uint64_t fields,
                                   struct mt_error *error);

/* mt_sqlite_field_column: the number of a field's column; 0: no block known to
 * mt_sqlite_know_columns has the field. */
int mt_sqlite_field_column(const struct sqlite_store *store, enum mt_field field);

/* mt_sqlite_column_name: "timestamp", "seq", "boot_id", a field's name, or "?" for a column that
 * this program, or mt_sqlite_know_columns, does not know. */
const char *mt_sqlite_column_name(const struct sqlite_store *store, int column);

/* A checksum over all that tables block (but id and the checksum) and block_column have of a block,
 * columns in order of their numbers, and the names that table block_field gives them. */
struct mt_sqlite_check {
    uint64_t sum;
};
void mt_sqlite_check_block(struct mt_sqlite_check *check, const struct mt_sqlite_block *block,
                           const void *hours, size_t hours_size);
/* name: of a field's column, NULL of others */
void mt_sqlite_check_column(struct mt_sqlite_check *check, int column, const char *name,
                            const struct mt_block_summary *summary, const void *hours,
                            size_t hours_size, const void *data, size_t data_size);

/* mt_sqlite_block_checksum: *found: there is such a block; *is_right: its checksum is what its row
 * says. Two statements; a lock of the caller keeps them together. */
enum mt_err mt_sqlite_block_checksum(struct sqlite_store *store, int64_t id, bool *found,
                                     bool *is_right, struct mt_error *error);

/*
 * Rows made ready to be stored as a block, without a lock; freed by mt_sqlite_sealed_free, which
 * accepts NULL.
 */
struct mt_sqlite_sealed;

/*
 * mt_sqlite_seal: encodes rows, all of one host and day, in order of timestamps, with all fields
 * and seq; and makes sure that they come back out of it. NO_MEMORY; FAILED if they do not come
 * back.
 */
enum mt_err mt_sqlite_seal(struct sqlite_store *store, const struct sqlite_row *rows, size_t count,
                           struct mt_sqlite_sealed **sealed, struct mt_error *error);
void mt_sqlite_sealed_free(struct mt_sqlite_sealed *sealed);

/*
 * mt_sqlite_put_sealed: inside the caller's transaction, stores them as a new block of their
 * host-day, which has none now. The counts follow. Reads it back and compares: CORRUPT, and the
 * caller rolls back, if it is not the same. NEWER_SCHEMA if the file has fields that this program
 * does not know, which would be lost.
 */
enum mt_err mt_sqlite_put_sealed(struct sqlite_store *store, const struct mt_sqlite_sealed *sealed,
                                 struct mt_error *error);

/* mt_sqlite_put_block: mt_sqlite_seal and mt_sqlite_put_sealed in one, inside the caller's
 * transaction. */
enum mt_err mt_sqlite_put_block(struct sqlite_store *store, const struct sqlite_row *rows,
                                size_t count, struct mt_error *error);

/* mt_sqlite_drop_block: inside the caller's transaction, removes a block and its columns. The
 * counts follow. */
enum mt_err mt_sqlite_drop_block(struct sqlite_store *store, int64_t id, struct mt_error *error);

/* mt_sqlite_count_less: inside the caller's transaction, that many records of a host-day are not
 * counted any more, as the trigger on memory_log does for each. */
enum mt_err mt_sqlite_count_less(struct sqlite_store *store, int64_t host_id, int64_t day,
                                 int64_t records, struct mt_error *error);

enum mt_err mt_sqlite_compact(struct mt_store *base, struct mt_compaction *compaction,
                              struct mt_error *error);
enum mt_err mt_sqlite_size(struct mt_store *base, int64_t *bytes, struct mt_error *error);
enum mt_err mt_sqlite_aggregate(struct mt_store *base, const struct mt_aggregation *aggregation,
                                mt_emit_bucket *emit, void *context, struct mt_error *error);

#endif
