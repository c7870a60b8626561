#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "random_record.h"
#include "record/csv.h"
#include "unit.h"

static void read_header(const char *line, struct mt_csv_layout *layout)
{
    struct mt_error error = {0};

    if (mt_csv_read_header(mt_slice_of(line), layout, &error) != MT_OK)
        fail_msg("header '%s': %s", line, error.text);
}

static struct mt_record read_line(const char *header, const char *line)
{
    struct mt_csv_layout layout;
    struct mt_record record = {0};
    struct mt_error error = {0};

    read_header(header, &layout);
    if (mt_csv_read_record(&layout, mt_slice_of(line), "here", &record, &error) != MT_OK)
        fail_msg("line '%s': %s", line, error.text);
    return record;
}

static void assert_value(const struct mt_record *record, enum mt_field field, int64_t expected)
{
    int64_t value = -1;

    assert_true(mt_record_get(record, field, &value));
    assert_int_equal(value, expected);
}

/* what is written is read again as it was, also with CRLF and in another column order */
static void random_records_survive(void **state)
{
    uint64_t seed = 20260311;
    struct mt_csv_layout layout;
    struct mt_error error = {0};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_csv_write_header(&text);
    read_header(mt_buf_string(&text), &layout);
    assert_false(layout.is_summary);
    assert_true(layout.has_host);
    for (int i = 0; i < 20000; i++) {
        struct mt_record before = random_record(&seed);
        struct mt_record after = {0};

        mt_buf_clear(&text);
        mt_csv_write_record(&text, &before);
        assert_false(text.failed);
        assert_int_equal(text.data[text.length - 1], '\n');
        if (i % 3 != 0)
            text.length--;
        if (i % 3 == 2)
            mt_buf_append_char(&text, '\r');
        if (mt_csv_read_record(&layout, (struct mt_slice){text.data, text.length}, NULL, &after,
                               &error) != MT_OK)
            fail_msg("%.*s: %s", (int)text.length, text.data, error.text);
        if (!records_are_equal(&before, &after))
            fail_msg("%.*s: read as another record", (int)text.length, text.data);
    }
    mt_buf_fini(&text);
}

static void summary_form_is_mib(void **state)
{
    struct mt_record record = read_line("timestamp,total,free,used", "1647033600,16384,9000,7384");

    (void)state;
    assert_string_equal(record.host, "here");
    assert_int_equal(record.timestamp, 1647033600);
    assert_false(record.has_boot_id);
    assert_int_equal(record.present,
                     MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE));
    assert_value(&record, MT_FIELD_MEM_TOTAL, INT64_C(16384) * 1024);
    assert_value(&record, MT_FIELD_MEM_AVAILABLE, INT64_C(9000) * 1024);
}

static void headers_are_lenient_where_that_is_safe(void **state)
{
    static const char *const headers[] = {
        "\xEF\xBB\xBFused,free,total,timestamp,host\r\n",
        "used,free,total,timestamp,host\n",
        "\"used\",\"free\",\"total\",\"timestamp\",\"host\"",
    };
    struct mt_record without_used;

    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct mt_record record = read_line(headers[i], "1,\"2\",3,4,\"a,\"\"b\"\r\n");

        assert_string_equal(record.host, "a,\"b");
        assert_int_equal(record.timestamp, 4);
        assert_value(&record, MT_FIELD_MEM_TOTAL, 3 * 1024);
        assert_value(&record, MT_FIELD_MEM_AVAILABLE, 2 * 1024);
    }
    /* a conclusion that need not be there */
    without_used = read_line("timestamp,total,free", "7,2,1");
    assert_value(&without_used, MT_FIELD_MEM_TOTAL, 2048);
}

static void columns_in_any_order_and_absent_cells(void **state)
{
    struct mt_record record = read_line("oom_kill,mem_free,boot_id,timestamp,mem_total,zswap",
                                        "3,5,0F5A2C1E-9b7d-4e6f-8a3b-1c2d3e4f5a6b,9,6,");

    (void)state;
    assert_true(record.has_boot_id);
    assert_int_equal(record.boot_id[0], 0x0F);
    assert_value(&record, MT_FIELD_OOM_KILL, 3);
    assert_value(&record, MT_FIELD_MEM_FREE, 5);
    assert_int_equal(record.present & MT_FIELD_BIT(MT_FIELD_ZSWAP), 0);
}

static void bad_headers_name_the_column(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"", "unknown column ''; the first line must name"},
        {"timestamp,total,fre,used", "unknown column 'fre'; did you mean 'free'?"},
        {"timestamp,mem_total,mem_avialable", "did you mean 'mem_available'?"},
        {"Timestamp,total,free", "did you mean 'timestamp'?"},
        {"timestamp,total,free,xyzzyplugh", "unknown column 'xyzzyplugh'; the first line"},
        {"timestamp,total,free,total", "has column 'total' twice"},
        {"timestamp,total,used", "has no column 'free'"},
        {"timestamp,free", "has no column 'total'"},
        {"total,free,used", "has no column 'timestamp'"},
        {"timestamp,mem_free", "has no column 'mem_total'"},
        {"timestamp,mem_total", "has no column 'mem_available'"},
        {"timestamp,total,free,mem_total", "mixes 'mem_total' with"},
        {"timestamp,total,free,boot_id", "mixes 'boot_id' with"},
        {"timestamp,\"total,free", "a quote is not closed"},
        {"timestamp,\"total\"x,free", "text after a closing quote: x"},
        {"time\"stamp,total", "a quote inside an unquoted cell"},
        {"timestamp,total,free,", "unknown column ''"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mt_csv_layout layout = {.columns = 77};
        struct mt_error error = {0};

        assert_int_equal(mt_csv_read_header(mt_slice_of(cases[i].line), &layout, &error),
                         MT_ERR_BAD_DATA);
        if (strstr(error.text, cases[i].text) == NULL)
            fail_msg("'%s': says '%s', not '%s'", cases[i].line, error.text, cases[i].text);
        assert_int_equal(layout.columns, 77);
    }
}

static void a_header_of_too_many_columns_is_refused(void **state)
{
    struct mt_csv_layout layout;
    struct mt_error error = {0};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_buf_append_string(&text, "timestamp");
    for (int i = 0; i < 100000; i++)
        mt_buf_append_string(&text, ",mem_total");
    assert_int_equal(mt_csv_read_header((struct mt_slice){text.data, text.length}, &layout, &error),
                     MT_ERR_BAD_DATA);
    mt_buf_fini(&text);
}

static void bad_lines_name_the_cell(void **state)
{
    static const char summary[] = "timestamp,total,free,used";
    static const char whole[] = "host,timestamp,boot_id,mem_total,mem_free,oom_kill";
    static const struct {
        const char *header, *line, *text;
    } cases[] = {
        {summary, "", "timestamp ''"},
        {summary, "1,2,1", "3 cells on this line, 4 columns in the first"},
        {summary, "1,2,1,1,", "5 cells on this line, 4 columns in the first"},
        {summary, "x,2,1,1", "timestamp 'x'"},
        {summary, " 1,2,1,1", "timestamp ' 1'"},
        {summary, "1.5,2,1,1", "timestamp '1.5'"},
        {summary, "-1,2,1,1", "timestamp '-1'"},
        {summary, "253402300800,2,1,1", "timestamp 253402300800"},
        {summary, "1,,1,1", "total ''"},
        {summary, "1,0,0,0", "mem_total"},
        {summary, "1,2,3,0", "free '3': more than total 2"},
        {summary, "1,2,1,3", "used '3': more than total 2"},
        {summary, "1,9007199254740992,1,1", "total '9007199254740992': too large"},
        {summary, "1,99999999999999999999,1,1", "total '99999999999999999999'"},
        {summary, "1,\"2\"3,1,1", "text after a closing quote"},
        {summary, "1,\"2,1,1", "a quote is not closed"},
        {whole, ",1,,2,1,", "host ''"},
        {whole, "a b,1,,2,1,", "host 'a b'"},
        {whole, "a,1,nonsense,2,1,", "boot_id 'nonsense': not a boot id"},
        {whole, "a,1,,2,,", "mem_available or mem_free"},
        {whole, "a,1,,,1,", "mem_total"},
        {whole, "a,1,,2,1,+1", "oom_kill '+1'"},
        {whole, "a,1,,2,1,9007199254740993", "oom_kill '9007199254740993'"},
        {whole, "\xFF,1,,2,1,", "host '\xFF'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mt_csv_layout layout;
        struct mt_record record = {.timestamp = 77};
        struct mt_error error = {0};

        read_header(cases[i].header, &layout);
        assert_int_equal(
            mt_csv_read_record(&layout, mt_slice_of(cases[i].line), "here", &record, &error),
            MT_ERR_BAD_DATA);
        if (strstr(error.text, cases[i].text) == NULL)
            fail_msg("'%s': says '%s', not '%s'", cases[i].line, error.text, cases[i].text);
        assert_int_equal(record.timestamp, 77);
    }
}

static void long_and_binary_cells_are_refused(void **state)
{
    struct mt_csv_layout layout;
    struct mt_record record;
    struct mt_error error = {0};
    char line[4096];

    (void)state;
    read_header("host,timestamp,total,free", &layout);
    memset(line, 'x', sizeof line);
    assert_int_equal(
        mt_csv_read_record(&layout, (struct mt_slice){line, sizeof line}, NULL, &record, &error),
        MT_ERR_BAD_DATA);
    line[0] = '"';
    assert_int_equal(
        mt_csv_read_record(&layout, (struct mt_slice){line, sizeof line}, NULL, &record, &error),
        MT_ERR_BAD_DATA);
    assert_int_equal(
        mt_csv_read_record(&layout, (struct mt_slice){"a\0b,1,2,1", 9}, NULL, &record, &error),
        MT_ERR_BAD_DATA);
}

static void a_missing_host_is_refused(void **state)
{
    struct mt_csv_layout layout;
    struct mt_record record;
    struct mt_error error = {0};

    (void)state;
    read_header("timestamp,total,free", &layout);
    assert_int_equal(mt_csv_read_record(&layout, mt_slice_of("1,2,1"), NULL, &record, &error),
                     MT_ERR_BAD_DATA);
    assert_non_null(strstr(error.text, "host ''"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_records_survive),
        cmocka_unit_test(summary_form_is_mib),
        cmocka_unit_test(headers_are_lenient_where_that_is_safe),
        cmocka_unit_test(columns_in_any_order_and_absent_cells),
        cmocka_unit_test(bad_headers_name_the_column),
        cmocka_unit_test(a_header_of_too_many_columns_is_refused),
        cmocka_unit_test(bad_lines_name_the_cell),
        cmocka_unit_test(long_and_binary_cells_are_refused),
        cmocka_unit_test(a_missing_host_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
