/*
 * A sealed host-day in memory, and the form its columns have on disk. A column is one number of
 * each record, or none where the record lacks it, in order of timestamps. No database in here; any
 * thread.
 *
 * A column's bytes are a zstd frame (level 3, with checksum) of: a bit per record that says whether
 * it is there, least significant first (only where some are missing), the greatest common divisor
 * of the differences, and the differences of neighbours divided by it, zigzag, as LEB128; the first
 * one is against the column's min. Where all values are the same there are no bytes at all.
 */
#ifndef MT_STORE_BLOCK_H
#define MT_STORE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "record/record.h"

enum {
    MT_BLOCK_HOURS = 24,
    MT_BLOCK_SECONDS = 86400,
    MT_BLOCK_RECORDS_MAX = MT_BLOCK_SECONDS, /* a host has one record a second at most */
};

__extension__ typedef unsigned __int128 mt_u128;

/* What is known of some values without reading them; the sum is min * count + above. */
struct mt_block_summary {
    int64_t count;
    int64_t min, max; /* 0 where count is 0 */
    mt_u128 above;
};

/* Numbers of `records` records. */
struct mt_block_column {
    size_t records;
    int64_t *values;  /* 0 where the record lacks it */
    uint8_t *present; /* 1 or 0 for each; NULL: all have it */
};

/* mt_block_summarize: of the values [first, end). */
struct mt_block_summary mt_block_summarize(const struct mt_block_column *column, size_t first,
                                           size_t end);

/*
 * mt_block_encode: appends a column's bytes to out; nothing if all of its records have the same
 * value. summary is that of the whole column, whose count is not 0. NO_MEMORY.
 */
enum mt_err mt_block_encode(const struct mt_block_column *column,
                            const struct mt_block_summary *summary, struct mt_buf *out,
                            struct mt_error *error);

/*
 * mt_block_decode: the inverse: fills column->values, and allocates column->present where summary
 * says that some are missing (freed by the caller); column->records is given and values has room
 * for them. CORRUPT for bytes that no encoding gives; never reads or writes out of bounds.
 */
enum mt_err mt_block_decode(const void *bytes, size_t size, const struct mt_block_summary *summary,
                            struct mt_block_column *column, struct mt_error *error);

/*
 * mt_block_hours_encode: appends the summaries of 24 hours. mt_block_hours_decode: the inverse;
 * CORRUPT for bytes that no encoding gives.
 */
void mt_block_hours_encode(const struct mt_block_summary hours[MT_BLOCK_HOURS], struct mt_buf *out);
enum mt_err mt_block_hours_decode(const void *bytes, size_t size,
                                  struct mt_block_summary hours[MT_BLOCK_HOURS],
                                  struct mt_error *error);

#endif
