/*
 * A sealed host-day in memory, and the form its columns have on disk. A column is one number of
 * each record, or none where the record lacks it, in order of timestamps. No database in here; any
 * thread.
 *
 * A column's bytes are a zstd frame (level 3, with checksum). Where all values are there and the
 * same there are no bytes at all. In the frame, bits least significant first:
 *
 *   a bit per record, whether it has the number, only where some have not; to the next whole byte
 *   the order, 8 bits: 0 numbers, 1 their differences, 2 the differences of these
 *   the divisor of all numbers' distances from the column's min: its length, 8 bits; itself; to the
 *     next whole byte
 *   a token, 8 bits, for each number there is
 *   the rest of each number, as many bits as its token says; to the next whole byte
 *
 * A number is the value less the column's min, divided by the divisor (of memory in pages: 4);
 * before the first one there are zeros. What is written of it in its order is made positive (0, -1,
 * 1, -2, ...): below 16 it is its token; else the token tells its length and the two bits after its
 * first, 16 + 4 * (length - 5) + bits, and the rest of its bits follows among the rests.
 *
 * Tokens are few and uneven, which zstd's entropy coder turns into what their information weighs;
 * rests are as good as random. They are two blocks of the frame, as one table of codes for both
 * would spoil the tokens'. The order is the one that costs least: a counter or a clock that goes on
 * steadily is nothing but equal tokens in the second, what jumps about anyhow is best in order 0.
 * Bytes a value, of four months of minutes of all fields of bench's calm, usual and busy machine:
 * 0.19, 0.46, 1.06; with the differences as LEB128 instead of tokens and rests 0.19, 0.52, 1.21;
 * and 0.03, 0.07, 0.09 more for the summaries of hours.
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

/* Numbers of `records` records; none is negative. */
struct mt_block_column {
    size_t records;
    int64_t *values;  /* 0 where the record lacks it */
    uint8_t *present; /* 1 or 0 for each; NULL: all have it */
};

/* mt_block_summarize: of the values [first, end). */
struct mt_block_summary mt_block_summarize(const struct mt_block_column *column, size_t first,
                                           size_t end);

/*
 * What encoding and decoding keep from one column to the next, since zstd asks the processor what
 * it can for each context that it makes, which costs more than a column where a hypervisor answers.
 * Zero-initialise; mt_block_codec_fini frees it, and it may be used again. One thread at a time.
 */
struct mt_block_codec {
    struct ZSTD_CCtx_s *compressor; /* NULL: not made yet */
    struct ZSTD_DCtx_s *decompressor;
};
void mt_block_codec_fini(struct mt_block_codec *codec);

/*
 * mt_block_encode: appends a column's bytes to out; nothing if all of its records have the same
 * value. summary is that of the whole column, whose count is not 0. NO_MEMORY.
 */
enum mt_err mt_block_encode(struct mt_block_codec *codec, const struct mt_block_column *column,
                            const struct mt_block_summary *summary, struct mt_buf *out,
                            struct mt_error *error);

/*
 * mt_block_decode: the inverse: fills column->values, and allocates column->present where summary
 * says that some are missing, else sets it to NULL (freed by the caller); column->records is given
 * and values has room for them. summary's count, min and max are those of the encoding; its sum is
 * not looked at. CORRUPT, without naming the column, for bytes that do not give just such numbers,
 * NO_MEMORY; then column->present is NULL. Never reads or writes out of bounds.
 */
enum mt_err mt_block_decode(struct mt_block_codec *codec, const void *bytes, size_t size,
                            const struct mt_block_summary *summary, struct mt_block_column *column,
                            struct mt_error *error);

/* mt_block_bytes_most: no column of so many records has more bytes. */
size_t mt_block_bytes_most(size_t records);

/*
 * mt_block_hours_encode: appends the summaries of 24 hours, packed and with a checksum; some 100
 * bytes of a day of minutes. mt_block_hours_decode: the inverse; CORRUPT for bytes that no encoding
 * gives.
 */
void mt_block_hours_encode(const struct mt_block_summary hours[MT_BLOCK_HOURS], struct mt_buf *out);
enum mt_err mt_block_hours_decode(const void *bytes, size_t size,
                                  struct mt_block_summary hours[MT_BLOCK_HOURS],
                                  struct mt_error *error);

#endif
