/*
 * What import reads: lines of CSV, the header first, whatever the input really is. A stream that
 * cannot be read twice is kept in an unlinked temporary file; an SQLite file with the table
 * memory_log(timestamp,total,free,used) is handed out as lines of that form. Owned by one thread.
 */
#ifndef MT_CLI_SOURCE_H
#define MT_CLI_SOURCE_H

#include "base/error.h"
#include "base/text.h"

struct mt_source; /* from mt_source_open, closed by mt_source_close */

/* The longest line that can be a record; whole ones are far shorter. */
enum { MT_SOURCE_LINE_MAX = 64 * 1024 };

/*
 * mt_source_open: opens path, "-" being standard input. IO: missing, unreadable, a directory, a
 * damaged SQLite file; BAD_DATA: an SQLite file without that table. CANCELLED: see interrupt.h.
 */
enum mt_err mt_source_open(const char *path, struct mt_source **source, struct mt_error *error);
void mt_source_close(struct mt_source *source); /* accepts NULL */

/*
 * mt_source_next: the next line that is not empty, without its line end, borrowed until the next
 * call; line->data is NULL at the end. BAD_DATA for a line that is too long: it is skipped and
 * reading may go on. IO, also for damage, ends the reading.
 */
enum mt_err mt_source_next(struct mt_source *source, struct mt_slice *line, struct mt_error *error);

/* mt_source_rewind: back to the header. */
void mt_source_rewind(struct mt_source *source);

/* mt_source_name: the path, or "standard input"; the source's. */
const char *mt_source_name(const struct mt_source *source);

/* mt_source_number: where the last line stood: its number from 1, or the row's id. */
int64_t mt_source_number(const struct mt_source *source);

/* mt_source_place: that as text, "FILE:12" or "FILE: row 12"; borrowed until the next call. */
const char *mt_source_place(struct mt_source *source, int64_t number);

/* mt_source_read, mt_source_size: how far the reading is, in units of the source's own; size >= 1.
 */
int64_t mt_source_read(const struct mt_source *source);
int64_t mt_source_size(const struct mt_source *source);

#endif
