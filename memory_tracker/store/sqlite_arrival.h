/*
 * The order of arrival in an SQLite store: every record's mark, its seq, whether it is loose or
 * sealed by now. Private to store/.
 */
#ifndef MT_STORE_SQLITE_ARRIVAL_H
#define MT_STORE_SQLITE_ARRIVAL_H

#include "store/sqlite_block.h"

/* The next place among blocks in the order of (last_seq, id), which merging only moves forward. */
struct mt_sqlite_block_cursor {
    int64_t last_seq;
    int64_t id;
};

/*
 * mt_sqlite_greatest_seq: the greatest arrival mark of all records, 0 if there are none. *held
 * stands on its row and so keeps the read lock until the caller resets it.
 */
enum mt_err mt_sqlite_greatest_seq(struct sqlite_store *store, sqlite3_stmt **held, int64_t *seq,
                                   struct mt_error *error);

/* mt_sqlite_token_of: the place after a record. */
struct mt_token mt_sqlite_token_of(int64_t generation, int64_t seq, int64_t host_id,
                                   int64_t timestamp);

/*
 * mt_sqlite_check_place: is the record before the place still the one it was, in the same
 * generation? *held keeps the read lock under which that is so until the caller resets it, also on
 * failure; NULL: it was never taken.
 */
enum mt_err mt_sqlite_check_place(struct sqlite_store *store, const struct mt_token *token,
                                  int64_t *generation, bool *is_known, sqlite3_stmt **held,
                                  struct mt_error *error);

/*
 * mt_sqlite_next_blocks: up to `most` blocks from cursor on that have a mark of [first, end], of at
 * most MT_SQLITE_BATCH that it looks at; cursor moves past those. *is_last: there are no more. The
 * least mark that a block begins with after end goes to *later, if it is less than that.
 */
enum mt_err mt_sqlite_next_blocks(struct sqlite_store *store, struct mt_sqlite_block_cursor *cursor,
                                  int64_t first, int64_t end, struct mt_sqlite_block *blocks,
                                  size_t most, size_t *count, bool *is_last, int64_t *later,
                                  struct mt_error *error);

#endif
