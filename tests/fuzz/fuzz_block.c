/*
 * The form of sealed days: whatever the bytes, decoding ends with CORRUPT and a reason or with
 * numbers that are what was said of them, and which come back when they are encoded anew.
 *
 * The first byte chooses: a column's bytes; a column's content, which is compressed first, since no
 * chance meets a checksum; a column's numbers; bytes of hours; these with the right checksum.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "store/block.h"

static struct mt_block_codec codec;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS_MOST = 2048, CHECK_BYTES = 4 };

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* what is left of the input */
struct input {
    const uint8_t *data;
    size_t size;
};

static uint64_t take(struct input *input, size_t bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i < bytes && input->size > 0; i++) {
        number = number << 8 | *input->data++;
        input->size--;
    }
    return number;
}

static bool was_read(enum mt_err err, const struct mt_error *error)
{
    check(err == MT_OK || (err == MT_ERR_CORRUPT && error->text[0] != '\0'));
    return err == MT_OK;
}

static void check_round_trip(const struct mt_block_column *column)
{
    struct mt_block_summary summary = mt_block_summarize(column, 0, column->records);
    struct mt_block_column got = {.records = column->records};
    struct mt_buf bytes = {0};
    struct mt_error error = {0};

    got.values = calloc(got.records, sizeof *got.values);
    check(got.values != NULL);
    check(mt_block_encode(&codec, column, &summary, &bytes, &error) == MT_OK && !bytes.failed);
    check(mt_block_decode(&codec, bytes.data, bytes.length, &summary, &got, &error) == MT_OK);
    check(memcmp(got.values, column->values, got.records * sizeof *got.values) == 0);
    check((got.present != NULL) == (summary.count != (int64_t)column->records));
    check(got.present == NULL || memcmp(got.present, column->present, got.records) == 0);
    mt_buf_fini(&bytes);
    free(got.values);
    free(got.present);
}

static void check_column(struct input input, bool is_content)
{
    struct mt_block_column column = {.records = 1 + take(&input, 2) % RECORDS_MOST};
    struct mt_block_summary summary = {.count = (int64_t)take(&input, 2),
                                       .min = (int64_t)take(&input, 8)};
    struct mt_error error = {0};
    uint8_t *frame = NULL;

    if (__builtin_add_overflow(summary.min, (int64_t)(take(&input, 8) >> 2), &summary.max))
        summary.max = INT64_MAX;
    if (is_content) {
        size_t most = ZSTD_compressBound(input.size);

        frame = malloc(most);
        check(frame != NULL);
        input.size = ZSTD_compress(frame, most, input.data, input.size, 1);
        check(ZSTD_isError(input.size) == 0);
        input.data = frame;
    }
    column.values = calloc(column.records, sizeof *column.values);
    check(column.values != NULL);
    if (was_read(mt_block_decode(&codec, input.data, input.size, &summary, &column, &error),
                 &error)) {
        struct mt_block_summary got = mt_block_summarize(&column, 0, column.records);

        check(got.count == summary.count && got.min == summary.min && got.max == summary.max);
        check_round_trip(&column);
    } else {
        check(column.present == NULL);
    }
    free(column.values);
    free(column.present);
    free(frame);
}

/* each number in as many bytes as the input says */
static void check_numbers(struct input input)
{
    struct mt_block_column column = {.records = 1 + take(&input, 2) % RECORDS_MOST};
    size_t width = 1 + take(&input, 1) % 8;
    bool has_gaps = take(&input, 1) % 2 != 0;

    column.values = calloc(column.records, sizeof *column.values);
    column.present = calloc(column.records, 1);
    check(column.values != NULL && column.present != NULL);
    for (size_t i = 0; i < column.records; i++) {
        uint64_t number = take(&input, width);

        column.present[i] = !has_gaps || i == 0 || number % 5 != 0;
        column.values[i] = column.present[i] != 0 ? (int64_t)(number & INT64_MAX) : 0;
    }
    check_round_trip(&column);
    free(column.values);
    free(column.present);
}

static void check_summaries(const struct mt_block_summary *hours)
{
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        mt_u128 range = (uint64_t)(hours[i].max - hours[i].min);

        check(hours[i].count >= 0 && hours[i].min >= 0 && hours[i].max >= hours[i].min);
        check(hours[i].count > 0 ? hours[i].above >= range &&
                                       hours[i].above <= range * (uint64_t)(hours[i].count - 1)
                                 : range == 0 && hours[i].above == 0);
    }
}

static void check_hours(struct input input, bool is_content)
{
    struct mt_block_summary hours[MT_BLOCK_HOURS];
    struct mt_block_summary again[MT_BLOCK_HOURS];
    struct mt_buf bytes = {0};
    struct mt_error error = {0};

    mt_buf_append(&bytes, input.data, input.size);
    if (is_content) {
        uint32_t sum = UINT32_C(2166136261);

        for (size_t i = 0; i < input.size; i++)
            sum = (sum ^ input.data[i]) * UINT32_C(16777619);
        for (size_t i = 0; i < CHECK_BYTES; i++)
            mt_buf_append_char(&bytes, (char)(sum >> 8 * i & 0xFF));
    }
    if (was_read(mt_block_hours_decode(bytes.data, bytes.length, hours, &error), &error)) {
        check_summaries(hours);
        mt_buf_clear(&bytes);
        mt_block_hours_encode(hours, &bytes);
        check(mt_block_hours_decode(bytes.data, bytes.length, again, &error) == MT_OK);
        for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
            check(again[i].count == hours[i].count && again[i].min == hours[i].min &&
                  again[i].max == hours[i].max && again[i].above == hours[i].above);
    }
    mt_buf_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    switch (take(&input, 1) % 5) {
    case 0:
        check_column(input, false);
        break;
    case 1:
        check_column(input, true);
        break;
    case 2:
        check_numbers(input);
        break;
    case 3:
        check_hours(input, false);
        break;
    default:
        check_hours(input, true);
        break;
    }
    return 0;
}
