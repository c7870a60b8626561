/* A column comes back from its bytes as it went in, and damaged bytes give no numbers. */
#include <stdlib.h>
#include <string.h>

#include "random_record.h"
#include "store/block.h"
#include "unit.h"

static struct mt_block_codec codec;

static struct mt_block_column new_column(size_t records, bool with_gaps)
{
    struct mt_block_column column = {.records = records};

    column.values = calloc(records, sizeof *column.values);
    assert_non_null(column.values);
    if (with_gaps) {
        column.present = calloc(records, 1);
        assert_non_null(column.present);
    }
    return column;
}

static void free_column(struct mt_block_column *column)
{
    free(column->values);
    free(column->present);
}

/* encodes, decodes and compares; the size of the bytes */
static size_t check_column(const struct mt_block_column *column)
{
    struct mt_block_summary summary = mt_block_summarize(column, 0, column->records);
    struct mt_block_column got = new_column(column->records, false);
    struct mt_error error = {0};
    struct mt_buf bytes = {0};
    size_t size;

    assert_int_equal(mt_block_encode(&codec, column, &summary, &bytes, &error), MT_OK);
    size = bytes.length;
    if (mt_block_decode(&codec, bytes.data, bytes.length, &summary, &got, &error) != MT_OK)
        fail_msg("decode: %s", error.text);
    assert_memory_equal(got.values, column->values, column->records * sizeof *got.values);
    if (summary.count == (int64_t)column->records)
        assert_null(got.present);
    else
        assert_memory_equal(got.present, column->present, column->records);
    mt_buf_fini(&bytes);
    free_column(&got);
    return size;
}

static void nothing_is_kept_of_a_constant(void **state)
{
    struct mt_block_column column = new_column(1440, false);

    (void)state;
    for (size_t i = 0; i < column.records; i++)
        column.values[i] = 16000000;
    assert_int_equal(check_column(&column), 0);
    column.values[1439]++;
    assert_true(check_column(&column) > 0);
    free_column(&column);
}

static void a_steady_clock_is_next_to_nothing(void **state)
{
    struct mt_block_column column = new_column(1440, false);

    (void)state;
    for (size_t i = 0; i < column.records; i++)
        column.values[i] = INT64_C(1700000000) + 60 * (int64_t)i;
    assert_true(check_column(&column) < 48);
    free_column(&column);
}

static void fill_randomly(uint64_t *seed, struct mt_block_column *column)
{
    int64_t step = INT64_C(1) << random_below(seed, 40);
    int64_t value = random_value(seed);
    unsigned kind = (unsigned)random_below(seed, 4);

    for (size_t i = 0; i < column->records; i++) {
        if (column->present != NULL)
            column->present[i] = random_below(seed, 8) != 0 || i == 0;
        if (kind == 0)
            value = random_value(seed);
        else if (kind == 1)
            value = random_below(seed, 2) == 0 ? 0 : MT_VALUE_MAX;
        else
            value += (int64_t)random_below(seed, (uint64_t)step) * (kind == 2 ? 4 : 1) - step / 2;
        if (value < 0 || value > MT_VALUE_MAX)
            value = MT_VALUE_MAX / 2;
        column->values[i] = column->present == NULL || column->present[i] != 0 ? value : 0;
    }
}

static void any_column_comes_back(void **state)
{
    static const size_t sizes[] = {1, 2, 7, 8, 9, 60, 1440, 4000};
    uint64_t seed = 20240101;

    (void)state;
    for (int round = 0; round < 400; round++) {
        size_t records = sizes[random_below(&seed, sizeof sizes / sizeof sizes[0])];
        struct mt_block_column column = new_column(records, random_below(&seed, 2) == 0);

        fill_randomly(&seed, &column);
        (void)check_column(&column);
        free_column(&column);
    }
}

static void a_day_of_seconds_comes_back(void **state)
{
    uint64_t seed = 7;
    struct mt_block_column column = new_column(MT_BLOCK_RECORDS_MAX, true);

    (void)state;
    fill_randomly(&seed, &column);
    (void)check_column(&column);
    free_column(&column);
}

static void the_widest_numbers_come_back(void **state)
{
    static int64_t values[] = {INT64_MAX, 0, INT64_MAX, INT64_MAX, 0, 1, 0, INT64_MAX - 1};
    const struct mt_block_column column = {.records = 8, .values = values};

    (void)state;
    (void)check_column(&column);
}

static void a_column_of_a_single_record_among_many(void **state)
{
    struct mt_block_column column = new_column(1440, true);

    (void)state;
    column.present[777] = 1;
    column.values[777] = 5;
    assert_true(check_column(&column) < 64);
    free_column(&column);
}

static void a_changed_byte_gives_no_numbers(void **state)
{
    uint64_t seed = 99;
    struct mt_block_column column = new_column(300, true);
    struct mt_block_column got = new_column(300, false);
    struct mt_block_summary summary;
    struct mt_buf bytes = {0};
    struct mt_error error = {0};

    (void)state;
    fill_randomly(&seed, &column);
    summary = mt_block_summarize(&column, 0, column.records);
    assert_int_equal(mt_block_encode(&codec, &column, &summary, &bytes, &error), MT_OK);
    for (size_t i = 0; i < bytes.length; i++) {
        bytes.data[i] ^= 0x10;
        if (mt_block_decode(&codec, bytes.data, bytes.length, &summary, &got, &error) == MT_OK) {
            /* a bit of the frame's header that nothing reads */
            assert_memory_equal(got.values, column.values, 300 * sizeof *got.values);
            free(got.present);
        }
        assert_int_equal(mt_block_decode(&codec, bytes.data, i, &summary, &got, &error),
                         MT_ERR_CORRUPT);
        bytes.data[i] ^= 0x10;
    }
    mt_buf_append_char(&bytes, '\0');
    assert_int_equal(mt_block_decode(&codec, bytes.data, bytes.length, &summary, &got, &error),
                     MT_ERR_CORRUPT);
    mt_buf_fini(&bytes);
    got.present = NULL;
    free_column(&got);
    free_column(&column);
}

static void other_bounds_than_the_numbers_are_noticed(void **state)
{
    static int64_t values[] = {10, 20, 40};
    const struct mt_block_column column = {.records = 3, .values = values};
    const struct mt_block_summary right = mt_block_summarize(&column, 0, 3);
    const struct mt_block_summary wrong[] = {
        {2, 10, 40, 0}, {4, 10, 40, 0}, {3, 9, 40, 0},   {3, 10, 39, 0},
        {3, 40, 10, 0}, {0, 10, 40, 0}, {3, -10, 40, 0},
    };
    int64_t got_values[3];
    struct mt_block_column got = {.records = 3, .values = got_values};
    struct mt_buf bytes = {0};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_block_encode(&codec, &column, &right, &bytes, &error), MT_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(mt_block_decode(&codec, bytes.data, bytes.length, &wrong[i], &got, &error),
                         MT_ERR_CORRUPT);
        assert_null(got.present);
    }
    assert_int_equal(mt_block_decode(&codec, NULL, 0, &right, &got, &error), MT_ERR_CORRUPT);
    mt_buf_fini(&bytes);
}

static void check_hours(const struct mt_block_summary hours[MT_BLOCK_HOURS])
{
    struct mt_block_summary got[MT_BLOCK_HOURS];
    struct mt_error error = {0};
    struct mt_buf bytes = {0};

    mt_block_hours_encode(hours, &bytes);
    assert_int_equal(mt_block_hours_decode(bytes.data, bytes.length, got, &error), MT_OK);
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        assert_int_equal(got[i].count, hours[i].count);
        assert_int_equal(got[i].min, hours[i].min);
        assert_int_equal(got[i].max, hours[i].max);
        assert_true(got[i].above == hours[i].above);
    }
    for (size_t i = 0; i < bytes.length; i++) {
        assert_int_equal(mt_block_hours_decode(bytes.data, i, got, &error), MT_ERR_CORRUPT);
        bytes.data[i] ^= 0x04;
        assert_int_equal(mt_block_hours_decode(bytes.data, bytes.length, got, &error),
                         MT_ERR_CORRUPT);
        bytes.data[i] ^= 0x04;
    }
    mt_buf_fini(&bytes);
}

static void hours_come_back(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct mt_block_column column =
            new_column(1 + random_below(&seed, 2000), random_below(&seed, 2) == 0);
        struct mt_block_summary hours[MT_BLOCK_HOURS] = {0};
        size_t first = 0;

        fill_randomly(&seed, &column);
        for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
            size_t end = first + random_below(&seed, column.records - first + 1);

            hours[i] = mt_block_summarize(&column, first, end);
            first = end;
        }
        check_hours(hours);
        free_column(&column);
    }
}

static void hours_at_their_limits_come_back(void **state)
{
    const mt_u128 widest = (mt_u128)INT64_MAX * 3599;
    const struct mt_block_summary hours[MT_BLOCK_HOURS] = {{3600, 0, INT64_MAX, widest},
                                                           {0, 0, 0, 0},
                                                           {3600, 0, INT64_MAX, INT64_MAX},
                                                           {1, INT64_MAX, INT64_MAX, 0}};
    const struct mt_block_summary nothing[MT_BLOCK_HOURS] = {0};

    (void)state;
    check_hours(hours);
    check_hours(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_kept_of_a_constant),
        cmocka_unit_test(a_steady_clock_is_next_to_nothing),
        cmocka_unit_test(any_column_comes_back),
        cmocka_unit_test(a_day_of_seconds_comes_back),
        cmocka_unit_test(the_widest_numbers_come_back),
        cmocka_unit_test(a_column_of_a_single_record_among_many),
        cmocka_unit_test(a_changed_byte_gives_no_numbers),
        cmocka_unit_test(other_bounds_than_the_numbers_are_noticed),
        cmocka_unit_test(hours_come_back),
        cmocka_unit_test(hours_at_their_limits_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
