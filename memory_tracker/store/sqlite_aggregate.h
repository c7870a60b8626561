/* One aggregation on its way through an SQLite store. Private to sqlite_aggregate*.c. */
#ifndef MT_STORE_SQLITE_AGGREGATE_H
#define MT_STORE_SQLITE_AGGREGATE_H

#include "store/aggregate.h"
#include "store/sqlite_block.h"

enum { MT_SQLITE_PENDING = 16 }; /* blocks fetched before the lock is let go and they are decoded */

struct mt_sqlite_aggregation {
    struct sqlite_store *store;
    const struct mt_aggregation *wanted;
    uint64_t fields;      /* what the measure is made of */
    int64_t lower, upper; /* seconds that match: lower <= timestamp < upper */
    int64_t snapshot;     /* what arrived later is not there */
    struct mt_buf blocks; /* SQL that mt_sqlite_piece_blocks runs, "" before */
    struct mt_buf loose;  /* SQL that reads loose rows */
    sqlite3_stmt *held;   /* stands on its row, and so holds the read lock since held_ms; or NULL */
    int64_t held_ms;
    bool has_blocks; /* under the present lock */
    int64_t *host_ids;
    size_t host_count;
    struct mt_tally *tallies; /* of the span that is being read, one after the other */
    size_t tally_count;
    size_t tally_capacity;
    int64_t first_step; /* number of the first of them */
};

/* A loose row that has the measure. */
struct mt_sqlite_loose {
    int64_t timestamp;
    int64_t value;
};

/* What is read under one lock: a host's seconds from <= timestamp < to. */
struct mt_sqlite_piece {
    int64_t host_id;
    int64_t from, to;
    struct mt_sqlite_loose *loose; /* in order of time */
    size_t loose_count;
    size_t loose_capacity;
    struct {
        struct mt_sqlite_block_data data;
        uint32_t hours; /* those whose records are to be counted one by one */
    } pending[MT_SQLITE_PENDING];
    size_t pending_count;
};

/* mt_sqlite_tally: the bucket of a second of the span. */
struct mt_tally *mt_sqlite_tally(const struct mt_sqlite_aggregation *aggregation, int64_t second);

/*
 * mt_sqlite_piece_blocks: under the lock, adds to the buckets what summaries of hours say, and
 * fetches what they do not say; piece->to comes nearer if that is too much at once. piece->loose
 * was read before.
 */
enum mt_err mt_sqlite_piece_blocks(struct mt_sqlite_aggregation *aggregation,
                                   struct mt_sqlite_piece *piece, struct mt_error *error);

/* mt_sqlite_piece_decode: without a lock, adds what was fetched; takes out of piece->loose what
 * stands in a block, too. */
enum mt_err mt_sqlite_piece_decode(struct mt_sqlite_aggregation *aggregation,
                                   struct mt_sqlite_piece *piece, struct mt_error *error);

#endif
