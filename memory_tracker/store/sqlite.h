/* The SQLite store: what its files share. Private to store/. */
#ifndef MT_STORE_SQLITE_H
#define MT_STORE_SQLITE_H

#include "store/block.h"
#include "store/ops.h"
#include "store/sqlite_file.h"

enum {
    MT_SQLITE_BATCH = 512,  /* rows read before the lock is let go and they are handed out */
    MT_SQLITE_LOCK_MS = 40, /* a read lock held so long is let go; the promise is 50 */
};

/* Rows of table host or boot that were read. */
struct mt_sqlite_names {
    struct mt_sqlite_name {
        int64_t id;
        uint8_t size;
        uint8_t *bytes; /* NULL: none */
    } * rows;
    size_t capacity; /* 0, or a power of two */
};

struct sqlite_store {
    struct mt_store base;
    struct mt_sqlite file;
    uint64_t epoch;   /* of file, for what follows */
    uint64_t lacking; /* bits of fields for which the table has no column (read_only) */
    /* rows of host and boot are never changed or removed, so that what was read stays true */
    struct mt_sqlite_names hosts;
    struct mt_sqlite_names boots;
    /* see sqlite_block.h */
    bool has_blocks;
    uint8_t column_field[64]; /* the field of a column of blocks + 1; 0: none that is known */
    int64_t columns_known_to; /* id of the latest block that this is certain of */
    struct mt_block_codec codec;
    /* the last damaged day that was logged, for which a record came; 0: none */
    int64_t damaged_host_id;
    int64_t damaged_day;
    bool is_verified;    /* errors do not advise what is just being done */
    int64_t scan_memory; /* about how many bytes of blocks a scan has at once; 0: the usual */
};

/* A row of memory_log as read. */
struct sqlite_row {
    int64_t seq;
    int64_t host_id;
    struct mt_record record;
};

/* Rows read under one lock, in the order of the statement. Zero-initialise; free rows. */
struct sqlite_rows {
    struct sqlite_row *rows;
    size_t count;
    size_t capacity;
};

/* mt_sqlite_store_look: mt_sqlite_look, and what the store remembers of the file. */
enum mt_err mt_sqlite_store_look(struct sqlite_store *store, struct mt_error *error);

/*
 * mt_sqlite_columns: appends "seq,host_id,timestamp,boot_id" and a column for each of fields, as
 * mt_sqlite_read_row reads them, to a SELECT.
 */
struct mt_buf;
void mt_sqlite_columns(const struct sqlite_store *store, uint64_t fields, struct mt_buf *sql);

/* mt_sqlite_host_name, mt_sqlite_boot_uuid: what the rows of tables host and boot with that id
 * hold; remembered. CORRUPT if there is no such row. */
enum mt_err mt_sqlite_host_name(struct sqlite_store *store, int64_t id, char name[MT_HOST_MAX + 1],
                                struct mt_error *error);
enum mt_err mt_sqlite_boot_uuid(struct sqlite_store *store, int64_t id,
                                uint8_t uuid[MT_BOOT_ID_SIZE], struct mt_error *error);

/* The host after that with id ?1, INT64_MIN before the first, in order of names, whatever bytes a
 * damaged file has for them. */
#define MT_SQLITE_AFTER_HOST "(name, id) > (ifnull((SELECT name FROM host WHERE id = ?1), ''), ?1)"
#define MT_SQLITE_NEXT_HOST                                                                        \
    "SELECT id FROM host WHERE " MT_SQLITE_AFTER_HOST " ORDER BY name, id LIMIT 1"

/* mt_sqlite_forget_names: frees what is remembered of them. */
void mt_sqlite_forget_names(struct sqlite_store *store);

/* mt_sqlite_read_row: the row that statement stands on. */
enum mt_err mt_sqlite_read_row(struct sqlite_store *store, sqlite3_stmt *statement, uint64_t fields,
                               struct sqlite_row *row, struct mt_error *error);

/* mt_sqlite_add_row: one more row at the end of rows, as mt_sqlite_read_row. */
enum mt_err mt_sqlite_add_row(struct sqlite_store *store, sqlite3_stmt *statement, uint64_t fields,
                              struct sqlite_rows *rows, struct mt_error *error);

/* mt_sqlite_read_i64: first column of the first row of a bound statement; reset. *found false: none
 */
enum mt_err mt_sqlite_read_i64(struct sqlite_store *store, sqlite3_stmt *statement, int64_t *value,
                               bool *found, struct mt_error *error);

/* mt_sqlite_let_others_in: sleeps longer than anybody naps who waits for the lock. */
void mt_sqlite_let_others_in(void);

/* mt_sqlite_take_turns: after a transaction that took so long: lets others in when those since the
 * last time, *held_ms together, held them off long enough. */
void mt_sqlite_take_turns(int64_t *held_ms, int64_t took_ms);

/* mt_sqlite_adapt: the size of the next transaction, after one of `size` took so long; doubled or
 * halved towards 10 to 20 ms. */
int64_t mt_sqlite_adapt(int64_t size, int64_t took_ms, int64_t least, int64_t most);

/* mt_sqlite_free_pages: how many pages of the file are free. */
enum mt_err mt_sqlite_free_pages(struct sqlite_store *store, int64_t *pages,
                                 struct mt_error *error);

/* mt_sqlite_give_back: shortens the file by what is free, in short transactions; is_over (may be
 * NULL) is asked between two of them, true stops. */
enum mt_err mt_sqlite_give_back(struct sqlite_store *store, bool (*is_over)(void *context),
                                void *context, struct mt_error *error);

/* The operations; contracts in store.h. */
enum mt_err mt_sqlite_append(struct mt_store *base, const struct mt_record *records, size_t count,
                             enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                             struct mt_error *error);
enum mt_err mt_sqlite_scan(struct mt_store *base, const struct mt_query *query, mt_emit *emit,
                           void *context, struct mt_error *error);
enum mt_err mt_sqlite_token(struct mt_store *base, struct mt_token *token, struct mt_error *error);
enum mt_err mt_sqlite_changes(struct mt_store *base, struct mt_token *token, size_t limit,
                              mt_emit *emit, void *context, bool *reset, struct mt_error *error);
enum mt_err mt_sqlite_hosts(struct mt_store *base, int64_t now_s, mt_emit_host *emit, void *context,
                            struct mt_error *error);
enum mt_err mt_sqlite_prune(struct mt_store *base, int64_t before, int64_t *pruned,
                            struct mt_error *error);
enum mt_err mt_sqlite_stamp(struct mt_store *base, uint64_t *stamp, struct mt_error *error);
enum mt_err mt_sqlite_verify(struct mt_store *base, bool deep, mt_report *report, void *context,
                             int64_t *findings, struct mt_error *error);

#endif
