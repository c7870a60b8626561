/*
 * Records as CSV (RFC 4180; lines may end in LF or CRLF, a UTF-8 byte order mark is skipped).
 *
 * Two forms are read, told apart by the header: whole records, whose columns are `host`,
 * `timestamp`, `boot_id` and field names in any order; and the summary form
 * `timestamp,total,free,used` (in any order, `host` may be there too) in MiB, which becomes
 * mem_total and mem_available. `used` may be missing: it is a conclusion, so it is checked against
 * total and not kept. A quoted cell ends on its line.
 */
#ifndef MT_RECORD_CSV_H
#define MT_RECORD_CSV_H

#include "base/buf.h"
#include "base/text.h"
#include "record/record.h"

/* mt_csv_append_cell: text as a cell, in quotes if it needs them. */
void mt_csv_append_cell(struct mt_buf *out, const char *text);

/* mt_csv_write_header, mt_csv_write_record: the whole-record form, one line each with its LF.
 * An absent value is an empty cell. */
void mt_csv_write_header(struct mt_buf *out);
void mt_csv_write_record(struct mt_buf *out, const struct mt_record *record);

enum { MT_CSV_COLUMNS_MAX = MT_FIELD_COUNT + 8 };

/* What a header said; a value without pointers. Made by mt_csv_read_header. */
struct mt_csv_layout {
    size_t columns;
    int column[MT_CSV_COLUMNS_MAX]; /* what each column holds; private to csv.c */
    bool is_summary;
    bool has_host;
};

/*
 * mt_csv_read_header: learns the columns from the first line. BAD_DATA names the column that is
 * unknown (with the nearest known name), given twice or missing.
 */
enum mt_err mt_csv_read_header(struct mt_slice line, struct mt_csv_layout *layout,
                               struct mt_error *error);

/*
 * mt_csv_read_record: one line after the header, without its line end. default_host is used where
 * the layout has no host column. BAD_DATA names the column and the cell's text; the record is
 * checked with mt_record_check. The caller puts the line's number before the text.
 */
enum mt_err mt_csv_read_record(const struct mt_csv_layout *layout, struct mt_slice line,
                               const char *default_host, struct mt_record *record,
                               struct mt_error *error);

#endif
