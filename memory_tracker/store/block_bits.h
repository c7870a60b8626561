/* Numbers of any width, packed; the first bit is the least of the first byte. Private to block*.c.
 */
#ifndef MT_STORE_BLOCK_BITS_H
#define MT_STORE_BLOCK_BITS_H

#include <endian.h>
#include <string.h>

#include "base/buf.h"

/* Zero-initialise with the buffer; mt_bits_finish at the end. */
struct mt_bit_writer {
    struct mt_buf *out;
    uint64_t held;
    unsigned count; /* of held, below 8 between two calls */
};

/* Zero-initialise with bytes and size. */
struct mt_bit_reader {
    const uint8_t *bytes;
    size_t size;
    size_t bit;  /* the next one */
    bool failed; /* more was asked for than there is */
};

static inline unsigned mt_bit_length(uint64_t value)
{
    return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
}

static inline uint64_t mt_low_bits(uint64_t value, unsigned width)
{
    return width >= 64 ? value : value & ((UINT64_C(1) << width) - 1);
}

/* The low `width` bits of value, 0 to 64. */
static inline void mt_bits_put(struct mt_bit_writer *writer, uint64_t value, unsigned width)
{
    while (width > 0) {
        unsigned some = width < 32 ? width : 32;

        writer->held |= mt_low_bits(value, some) << writer->count;
        writer->count += some;
        value >>= some;
        width -= some;
        while (writer->count >= 8) {
            mt_buf_append_char(writer->out, (char)(writer->held & 0xFF));
            writer->held >>= 8;
            writer->count -= 8;
        }
    }
}

/* mt_bits_finish: the rest of the last byte is 0. */
static inline void mt_bits_finish(struct mt_bit_writer *writer)
{
    if (writer->count > 0)
        mt_buf_append_char(writer->out, (char)(writer->held & 0xFF));
    writer->held = 0;
    writer->count = 0;
}

/* 0 to 64 bits; 0 once it has failed. */
static inline uint64_t mt_bits_get(struct mt_bit_reader *reader, unsigned width)
{
    size_t byte = reader->bit / 8;
    unsigned skip = reader->bit % 8;
    uint64_t word = 0;

    if (reader->failed || width > reader->size * 8 - reader->bit) {
        reader->failed = true;
        return 0;
    }
    if (reader->size - byte > sizeof word) {
        memcpy(&word, reader->bytes + byte, sizeof word);
        word = le64toh(word) >> skip;
        if (skip > 0)
            word |= (uint64_t)reader->bytes[byte + sizeof word] << (64 - skip);
    } else {
        for (unsigned i = 0; byte + i < reader->size; i++)
            word |= (uint64_t)reader->bytes[byte + i] << 8 * i;
        word >>= skip;
    }
    reader->bit += width;
    return mt_low_bits(word, width);
}

/* mt_bits_align: to the next whole byte; false: what is left out is not 0. */
static inline bool mt_bits_align(struct mt_bit_reader *reader)
{
    return mt_bits_get(reader, (unsigned)(-reader->bit % 8)) == 0 && !reader->failed;
}

/* mt_bits_end: all was read, and what the last byte has more is 0. */
static inline bool mt_bits_end(struct mt_bit_reader *reader)
{
    return mt_bits_align(reader) && reader->bit == reader->size * 8;
}

static inline uint64_t mt_gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

#endif
