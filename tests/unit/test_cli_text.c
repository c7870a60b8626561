#include <string.h>

#include "cli/duration.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "unit.h"

static void durations_have_two_parts(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {
        {0, "0s"},         {59, "59s"},
        {60, "1min"},      {3599, "59min"},
        {3600, "1h00min"}, {86399, "23h59min"},
        {86400, "1d00h"},  {INT64_C(253402300799), "2932896d23h"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[MT_DURATION_SIZE];

        mt_duration_format(rows[i].seconds, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void sizes_have_their_unit(void **state)
{
    static const struct {
        int64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1048524, "1023.9 KiB"},
        {1048575, "1.0 MiB"},
        {15728640, "15.0 MiB"},
        {INT64_C(2) << 30, "2.0 GiB"},
        {INT64_MAX, "8388608.0 TiB"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[MT_SIZE_SIZE];

        mt_size_format(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void progress_tells_share_rate_and_rest(void **state)
{
    static const struct {
        int64_t done, size, records, elapsed_ms;
        const char *text;
    } rows[] = {
        {0, 100, 0, 0, "importing   0% [....................] 0 records, 0/s, ETA 0:00"},
        {25, 100, 1000, 2000,
         "importing  25% [#####...............] 1000 records, 500/s, ETA 0:06"},
        {50, 100, 600, 90000, "importing  50% [##########..........] 600 records, 7/s, ETA 1:30"},
        {100, 100, 10, 1000, "importing 100% [####################] 10 records, 10/s, ETA 0:00"},
        {5, 0, 10, 1000, "importing 100% [####################] 10 records, 10/s, ETA 0:00"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mt_buf out;

        mt_buf_init(&out, 0);
        mt_progress_render(&out, "importing", rows[i].done, rows[i].size, rows[i].records,
                           rows[i].elapsed_ms);
        assert_string_equal(mt_buf_string(&out), rows[i].text);
        mt_buf_fini(&out);
    }
}

static const struct mt_column columns[] = {{"NAME", false}, {"COUNT", true}, {"NOTE", false}};

static void columns_are_aligned_by_characters(void **state)
{
    struct mt_output out;
    struct mt_error error = {0};
    struct mt_table table;

    (void)state;
    assert_int_equal(mt_output_open(&out, NULL, &error), MT_OK);
    mt_table_init(&table, columns, 3, &out);
    mt_table_cell(&table, "b\xC3\xA4r");
    mt_table_number(&table, 7);
    mt_table_cell(&table, "x");
    mt_table_cell(&table, "longer");
    mt_table_number(&table, INT64_MIN);
    mt_table_cell(&table, "");
    assert_int_equal(mt_table_drain(&table, &error), MT_OK);
    mt_table_finish(&table);
    assert_string_equal(mt_buf_string(&out.text), "NAME                   COUNT  NOTE\n"
                                                  "b\xC3\xA4r                        7  x\n"
                                                  "longer  -9223372036854775808  \n");
    mt_output_close(&out);
}

static void a_table_without_rows_has_its_titles(void **state)
{
    struct mt_output out;
    struct mt_error error = {0};
    struct mt_table table;

    (void)state;
    assert_int_equal(mt_output_open(&out, NULL, &error), MT_OK);
    mt_table_init(&table, columns, 3, &out);
    mt_table_finish(&table);
    assert_string_equal(mt_buf_string(&out.text), "NAME  COUNT  NOTE\n");
    mt_output_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_have_two_parts),
        cmocka_unit_test(sizes_have_their_unit),
        cmocka_unit_test(progress_tells_share_rate_and_rest),
        cmocka_unit_test(columns_are_aligned_by_characters),
        cmocka_unit_test(a_table_without_rows_has_its_titles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
