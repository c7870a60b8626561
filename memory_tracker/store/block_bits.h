/* Numbers of any width, packed; the first bit is the least of the first byte. Private to block*.c.
 */
#ifndef MT_STORE_BLOCK_BITS_H
#define MT_STORE_BLOCK_BITS_H

#include "base/buf.h"

/* Zero-initialise with the buffer; mt_bits_finish at the end. */
struct mt_bit_writer {
    struct mt_buf *out;
    uint64_t held;
    unsigned count; /* of held, below 8 between two calls */
};

struct mt_bit_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t held;
    unsigned count;
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
    uint64_t value = 0;

    for (unsigned got = 0; got < width;) {
        unsigned some = width - got < 32 ? width - got : 32;

        while (reader->count < some) {
            if (reader->at == reader->end) {
                reader->failed = true;
                return 0;
            }
            reader->held |= (uint64_t)*reader->at++ << reader->count;
            reader->count += 8;
        }
        value |= mt_low_bits(reader->held, some) << got;
        reader->held >>= some;
        reader->count -= some;
        got += some;
    }
    return value;
}

/* mt_bits_end: all was read, and what the last byte has more is 0. */
static inline bool mt_bits_end(const struct mt_bit_reader *reader)
{
    return !reader->failed && reader->at == reader->end && reader->count < 8 && reader->held == 0;
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
