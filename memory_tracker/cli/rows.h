/*
 * An SQLite file with the table memory_log(timestamp,total,free,used), as earlier programs of this
 * name wrote it, read as lines of the CSV summary form. Opened read-only. Owned by one thread.
 */
#ifndef MT_CLI_ROWS_H
#define MT_CLI_ROWS_H

#include "base/error.h"
#include "base/text.h"

struct mt_rows; /* from mt_rows_open, closed by mt_rows_close */

/* mt_rows_open: *count gets the number of rows. BAD_DATA: no such table; BUSY; IO, also for damage.
 */
enum mt_err mt_rows_open(const char *path, struct mt_rows **rows, int64_t *count,
                         struct mt_error *error);
void mt_rows_close(struct mt_rows *rows); /* accepts NULL */

/*
 * mt_rows_next: a line and its rowid (0 for the header, which comes first); line->data is NULL at
 * the end. A whole number stands as such, whatever its type in the file; other values stand as
 * their text, for the reader of the line to judge.
 */
enum mt_err mt_rows_next(struct mt_rows *rows, struct mt_slice *line, int64_t *rowid,
                         struct mt_error *error);

/* mt_rows_rewind: back to the header. A writer may have changed the rows since. */
void mt_rows_rewind(struct mt_rows *rows);

/* mt_rows_read: how many rows were handed out since the header. */
int64_t mt_rows_read(const struct mt_rows *rows);

#endif
