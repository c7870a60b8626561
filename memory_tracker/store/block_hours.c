#include <string.h>

#include "store/block.h"
#include "store/block_bits.h"

/*
 * The counts, then of the hours that have any: the least values, the ranges, and of the sums above
 * the least how often the range goes into it, and the rest; each list in the width of its largest
 * number, all but the third divided by what divides them all.
 */
enum {
    COUNT_BITS = 12,
    COUNT_MOST = MT_BLOCK_SECONDS / MT_BLOCK_HOURS,
    WIDTH_BITS = 6,
    CHECK_BYTES = 4,
    LISTS = 4,
};

struct lists {
    uint64_t number[LISTS][MT_BLOCK_HOURS];
    size_t hours; /* that have values */
};

static uint32_t check_of(const uint8_t *bytes, size_t size)
{
    uint32_t check = UINT32_C(2166136261);

    for (size_t i = 0; i < size; i++)
        check = (check ^ bytes[i]) * UINT32_C(16777619);
    return check;
}

static void put_list(struct mt_bit_writer *writer, const uint64_t *numbers, size_t count)
{
    unsigned width = 0;

    for (size_t i = 0; i < count; i++)
        if (mt_bit_length(numbers[i]) > width)
            width = mt_bit_length(numbers[i]);
    mt_bits_put(writer, width, WIDTH_BITS);
    for (size_t i = 0; i < count; i++)
        mt_bits_put(writer, numbers[i], width);
}

static void get_list(struct mt_bit_reader *reader, uint64_t *numbers, size_t count)
{
    unsigned width = (unsigned)mt_bits_get(reader, WIDTH_BITS);

    for (size_t i = 0; i < count; i++)
        numbers[i] = mt_bits_get(reader, width);
}

static void fill_lists(const struct mt_block_summary hours[MT_BLOCK_HOURS], int64_t base,
                       uint64_t divisor, struct lists *lists)
{
    lists->hours = 0;
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        uint64_t range = (uint64_t)(hours[i].max - hours[i].min);
        size_t at = lists->hours;

        if (hours[i].count == 0)
            continue;
        lists->number[0][at] = (uint64_t)(hours[i].min - base) / divisor;
        lists->number[1][at] = range / divisor;
        lists->number[2][at] = range == 0 ? 0 : (uint64_t)(hours[i].above / range);
        lists->number[3][at] = range == 0 ? 0 : (uint64_t)(hours[i].above % range) / divisor;
        lists->hours++;
    }
}

static void put_counts(struct mt_bit_writer *writer,
                       const struct mt_block_summary hours[MT_BLOCK_HOURS])
{
    uint64_t below[MT_BLOCK_HOURS];
    int64_t most = 0;

    for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
        if (hours[i].count > most)
            most = hours[i].count;
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
        below[i] = (uint64_t)(most - hours[i].count);
    mt_bits_put(writer, (uint64_t)most, COUNT_BITS);
    put_list(writer, below, MT_BLOCK_HOURS);
}

void mt_block_hours_encode(const struct mt_block_summary hours[MT_BLOCK_HOURS], struct mt_buf *out)
{
    struct mt_bit_writer writer = {.out = out};
    size_t start = out->length;
    struct lists lists;
    int64_t base = INT64_MAX;
    uint64_t divisor = 0;
    uint32_t check;

    for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
        if (hours[i].count > 0 && hours[i].min < base)
            base = hours[i].min;
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        uint64_t range = (uint64_t)(hours[i].max - hours[i].min);

        if (hours[i].count == 0)
            continue;
        divisor = mt_gcd(divisor, (uint64_t)(hours[i].min - base));
        divisor = mt_gcd(divisor, range);
        divisor = range == 0 ? divisor : mt_gcd(divisor, (uint64_t)(hours[i].above % range));
    }
    if (divisor == 0)
        divisor = 1;
    fill_lists(hours, base, divisor, &lists);
    put_counts(&writer, hours);
    put_list(&writer, (const uint64_t[]){(uint64_t)(lists.hours == 0 ? 0 : base)}, 1);
    put_list(&writer, &divisor, 1);
    for (size_t i = 0; i < LISTS; i++)
        put_list(&writer, lists.number[i], lists.hours);
    mt_bits_finish(&writer);
    if (out->failed)
        return;
    check = check_of((const uint8_t *)out->data + start, out->length - start);
    for (size_t i = 0; i < CHECK_BYTES; i++)
        mt_buf_append_char(out, (char)(check >> 8 * i & 0xFF));
}

static bool get_counts(struct mt_bit_reader *reader, struct mt_block_summary hours[MT_BLOCK_HOURS])
{
    uint64_t below[MT_BLOCK_HOURS];
    uint64_t most = mt_bits_get(reader, COUNT_BITS);

    get_list(reader, below, MT_BLOCK_HOURS);
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        if (most > COUNT_MOST || below[i] > most)
            return false;
        hours[i].count = (int64_t)(most - below[i]);
    }
    return !reader->failed;
}

/* a * b of two numbers of 63 bits; false: more than limit */
static bool multiply(uint64_t a, uint64_t b, uint64_t limit, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product) && *product <= limit;
}

static bool get_summary(const struct lists *lists, size_t at, uint64_t base, uint64_t divisor,
                        struct mt_block_summary *hour)
{
    uint64_t offset;
    uint64_t range;
    uint64_t rest;
    mt_u128 most;

    if (!multiply(lists->number[0][at], divisor, INT64_MAX - base, &offset) ||
        !multiply(lists->number[1][at], divisor, INT64_MAX - base - offset, &range) ||
        !multiply(lists->number[3][at], divisor, range, &rest))
        return false;
    hour->min = (int64_t)(base + offset);
    hour->max = (int64_t)(base + offset + range);
    hour->above = (mt_u128)range * lists->number[2][at] + rest;
    /* the least value and the greatest one are there */
    most = (mt_u128)range * (uint64_t)(hour->count - 1);
    return hour->above >= range && hour->above <= most && (range == 0 || rest < range);
}

static bool decode(struct mt_bit_reader *reader, struct mt_block_summary hours[MT_BLOCK_HOURS])
{
    struct lists lists = {0};
    uint64_t base;
    uint64_t divisor;
    size_t at = 0;

    memset(hours, 0, MT_BLOCK_HOURS * sizeof *hours);
    if (!get_counts(reader, hours))
        return false;
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
        lists.hours += hours[i].count > 0;
    get_list(reader, &base, 1);
    get_list(reader, &divisor, 1);
    for (size_t i = 0; i < LISTS; i++)
        get_list(reader, lists.number[i], lists.hours);
    if (!mt_bits_end(reader) || base > INT64_MAX || divisor == 0)
        return false;
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
        if (hours[i].count > 0 && !get_summary(&lists, at++, base, divisor, &hours[i]))
            return false;
    return true;
}

enum mt_err mt_block_hours_decode(const void *bytes, size_t size,
                                  struct mt_block_summary hours[MT_BLOCK_HOURS],
                                  struct mt_error *error)
{
    const uint8_t *at = bytes;
    struct mt_bit_reader reader = {0};
    uint32_t check = 0;

    for (size_t i = 0; i < CHECK_BYTES && size > CHECK_BYTES; i++)
        check |= (uint32_t)at[size - CHECK_BYTES + i] << 8 * i;
    if (size > CHECK_BYTES) {
        reader = (struct mt_bit_reader){.bytes = at, .size = size - CHECK_BYTES};
        if (check == check_of(at, size - CHECK_BYTES) && decode(&reader, hours))
            return MT_OK;
    }
    memset(hours, 0, MT_BLOCK_HOURS * sizeof *hours);
    return mt_error_set(error, MT_ERR_CORRUPT, "has damaged summaries of its hours");
}
