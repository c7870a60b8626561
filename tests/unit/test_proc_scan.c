#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "proc/scan.h"
#include "unit.h"

typedef void scan_function(struct mt_slice text, struct mt_record *record);

static struct mt_record scan(scan_function *function, const char *text)
{
    struct mt_record record = {0};

    function(mt_slice_of(text), &record);
    return record;
}

static void assert_only(const struct mt_record *record, enum mt_field field, int64_t expected)
{
    assert_int_equal(record->present, MT_FIELD_BIT(field));
    assert_int_equal(record->value[field], expected);
}

static void assert_nothing(const struct mt_record *record)
{
    static const struct mt_record nothing;

    assert_memory_equal(record, &nothing, sizeof nothing);
}

/* A text with a line for every field of a source, as `format` writes it. */
static void every_key(enum mt_field_source source, const char *format, char *text, size_t size)
{
    size_t used = 0;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        const struct mt_field_info *info = mt_field_info(i);

        if (info->source != source || i == MT_FIELD_HUGETLB_FREE)
            continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        used += (size_t)snprintf(text + used, size - used, format, info->key, 1000 + (int)i);
#pragma GCC diagnostic pop
        assert_true(used < size);
    }
}

static void assert_every_key(enum mt_field_source source, const struct mt_record *record)
{
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        bool expected = mt_field_info(i)->source == source && i != MT_FIELD_HUGETLB_FREE;
        int64_t value = -1;

        if (mt_record_get(record, i, &value) != expected)
            fail_msg("%s is %s", mt_field_info(i)->name, expected ? "absent" : "present");
        if (expected)
            assert_int_equal(value, 1000 + (int)i);
    }
}

static void every_field_is_found_by_its_key(void **state)
{
    char text[4096];
    struct mt_record record;

    (void)state;
    every_key(MT_SOURCE_MEMINFO, "%s:  %d kB\n", text, sizeof text);
    record = scan(mt_scan_meminfo, text);
    assert_every_key(MT_SOURCE_MEMINFO, &record);
    every_key(MT_SOURCE_VMSTAT, "%s %d\n", text, sizeof text);
    record = scan(mt_scan_vmstat, text);
    assert_every_key(MT_SOURCE_VMSTAT, &record);
    every_key(MT_SOURCE_PSI, "%s avg10=1.00 avg60=2.00 avg300=3.00 total=%d\n", text, sizeof text);
    record = scan(mt_scan_pressure, text);
    assert_every_key(MT_SOURCE_PSI, &record);
}

static void meminfo_lines(void **state)
{
    static const struct {
        const char *text;
        int64_t mem_free; /* -1: absent */
    } cases[] = {
        {"MemFree:        5 kB\n", 5},
        {"MemFree:5 kB", 5},
        {"MemFree:\t5\tkB\n", 5},
        {"MemFree: 0 kB\n", 0},
        {"MemFree: 9007199254740992 kB\n", MT_VALUE_MAX},
        {"MemFree: 9007199254740993 kB\n", -1},
        {"MemFree: 99999999999999999999 kB\n", -1},
        {"MemFree: 5 kB\nMemFree: 6 kB\n", 6},
        {"MemFree: 5\n", -1},
        {"MemFree: 5 MB\n", -1},
        {"MemFree: 5 kB more\n", -1},
        {"MemFree: 5kB\n", -1},
        {"MemFree: -5 kB\n", -1},
        {"MemFree: +5 kB\n", -1},
        {"MemFree: 0x5 kB\n", -1},
        {"MemFree: 5.0 kB\n", -1},
        {"MemFree: kB\n", -1},
        {"MemFree:\n", -1},
        {"MemFree 5 kB\n", -1},
        {"memfree: 5 kB\n", -1},
        {" MemFree: 5 kB\n", -1},
        {"MemFreeX: 5 kB\n", -1},
        {"XMemFree: 5 kB\n", -1},
        {"MemFre: 5 kB\n", -1},
        {"MemFree: 5 kB\r\n", -1},
        {"\n\n:\n: 5 kB\n", -1},
        {"", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mt_record record = scan(mt_scan_meminfo, cases[i].text);
        int64_t value = -1;

        (void)mt_record_get(&record, MT_FIELD_MEM_FREE, &value);
        if (value != cases[i].mem_free)
            fail_msg("'%s' gives %" PRId64, cases[i].text, value);
        assert_int_equal(record.present & ~MT_FIELD_BIT(MT_FIELD_MEM_FREE), 0);
    }
}

static void huge_pages_become_kib(void **state)
{
    struct mt_record record;

    (void)state;
    record = scan(mt_scan_meminfo, "HugePages_Free: 3\nHugepagesize: 2048 kB\n");
    assert_only(&record, MT_FIELD_HUGETLB_FREE, 6144);
    record = scan(mt_scan_meminfo, "Hugepagesize: 1048576 kB\nHugePages_Free: 0\n");
    assert_only(&record, MT_FIELD_HUGETLB_FREE, 0);
    record = scan(mt_scan_meminfo, "HugePages_Free: 3\n");
    assert_nothing(&record);
    record = scan(mt_scan_meminfo, "Hugepagesize: 2048 kB\n");
    assert_nothing(&record);
    record = scan(mt_scan_meminfo, "HugePages_Free: 3 kB\nHugepagesize: 2048 kB\n");
    assert_nothing(&record);
    record = scan(mt_scan_meminfo, "HugePages_Free: 3\nHugepagesize: 2048\n");
    assert_nothing(&record);
    record = scan(mt_scan_meminfo, "HugePages_Free: 9007199254740992\nHugepagesize: 2048 kB\n");
    assert_nothing(&record);
}

static void vmstat_sums_all_zones(void **state)
{
    struct mt_record record;

    (void)state;
    record = scan(mt_scan_vmstat, "allocstall_dma 1\npgsteal 5\nallocstall_normal 20\n"
                                  "allocstall_zone_of_2040 300\n");
    assert_only(&record, MT_FIELD_ALLOCSTALL, 321);
    record = scan(mt_scan_vmstat, "allocstall 7\n"); /* kernels before 4.10 */
    assert_only(&record, MT_FIELD_ALLOCSTALL, 7);
    record = scan(mt_scan_vmstat, "allocstall_dma 1\nallocstall_normal x\nallocstall_movable 2\n");
    assert_nothing(&record);
    record = scan(mt_scan_vmstat, "allocstall_dma 9007199254740992\nallocstall_normal 1\n");
    assert_nothing(&record);
}

static void vmstat_lines(void **state)
{
    static const char *const nonsense[] = {"pswpin",
                                           "pswpin ",
                                           "pswpin -1",
                                           "pswpin 1 2",
                                           "pswpin 1.0",
                                           "pswpin 0x1",
                                           "pswpinx 1",
                                           "xpswpin 1",
                                           "pswpin: 1\n",
                                           "PSWPIN 1\n\n",
                                           "pswpin 9007199254740993"};
    struct mt_record record;

    (void)state;
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        record = scan(mt_scan_vmstat, nonsense[i]);
        assert_nothing(&record);
    }
    record = scan(mt_scan_vmstat, "pgscan_direct_throttle 9\npgscan_direct 4");
    assert_only(&record, MT_FIELD_PGSCAN_DIRECT, 4);
}

static void pressure_lines(void **state)
{
    static const char *const nonsense[] = {
        "some avg10=0.00 avg60=0.00 avg300=0.00\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=-1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1us\n",
        "some\n",
        "some total = 1\n",
        "somewhat avg10=0.00 total=1\n",
        "Some total=1\n",
    };
    struct mt_record record;

    (void)state;
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        record = scan(mt_scan_pressure, nonsense[i]);
        assert_nothing(&record);
    }
    record = scan(mt_scan_pressure, "full avg10=12.34 avg60=0.00 avg300=0.00 total=987654321");
    assert_only(&record, MT_FIELD_PSI_FULL_US, 987654321);
}

static void arcstats_rows(void **state)
{
    static const char head[] = "13 1 0x01 147 39984 8013573370 2070650000000\n"
                               "name                            type data\n";
    static const char *const nonsense[] = {"size 4\n",      "size 4 -1\n",
                                           "size 4 1 1\n",  "size 3 1\n",
                                           "size data 1\n", "size 4 1B\n",
                                           "sizes 4 1\n",   "c_mi 4 1\n",
                                           "size\n",        "size 4 99999999999999999999\n"};
    char text[512];
    struct mt_record record;

    (void)state;
    (void)snprintf(text, sizeof text,
                   "%shits                            4    123\n"
                   "c                               4    4294967296\n"
                   "c_min                           4    789710847\n"
                   "size                            4    2047\n"
                   "compressed_size                 4    9\n",
                   head);
    record = scan(mt_scan_arcstats, text);
    assert_int_equal(record.present,
                     MT_FIELD_BIT(MT_FIELD_ZFS_ARC_SIZE) | MT_FIELD_BIT(MT_FIELD_ZFS_ARC_MIN));
    assert_int_equal(record.value[MT_FIELD_ZFS_ARC_SIZE], 1);
    assert_int_equal(record.value[MT_FIELD_ZFS_ARC_MIN], 771201);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        (void)snprintf(text, sizeof text, "%s%s", head, nonsense[i]);
        record = scan(mt_scan_arcstats, text);
        assert_nothing(&record);
    }
}

static void uptime(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds; /* -1: absent */
    } cases[] = {
        {"2070.65 3994.55\n", 2070},
        {"0.99 0.00\n", 0},
        {"7.00", 7},
        {"7 1\n", 7},
        {"2070.65", 2070},
        {"-1.00 0.00\n", -1},
        {".5 0.00\n", -1},
        {"5. 0.00\n", -1},
        {"5.x 0.00\n", -1},
        {"5.-1 0\n", -1},
        {"five\n", -1},
        {"\n", -1},
        {"", -1},
        {"1e3 0\n", -1},
        {"99999999999999999999.00 0\n", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mt_record record = scan(mt_scan_uptime, cases[i].text);
        int64_t value = -1;

        (void)mt_record_get(&record, MT_FIELD_UPTIME_S, &value);
        if (value != cases[i].seconds)
            fail_msg("'%s' gives %" PRId64, cases[i].text, value);
    }
}

static void boot_id(void **state)
{
    static const char *const nonsense[] = {
        "",
        "\n",
        "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6\n",
        "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6bc\n",
        "0f5a2c1e 9b7d-4e6f-8a3b-1c2d3e4f5a6b\n",
        "0g5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b\n",
    };
    struct mt_record record = scan(mt_scan_boot_id, "0f5A2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b\n");
    char text[MT_BOOT_ID_TEXT_SIZE];

    (void)state;
    assert_true(record.has_boot_id);
    mt_boot_id_format(record.boot_id, text);
    assert_string_equal(text, "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b");
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        record = scan(mt_scan_boot_id, nonsense[i]);
        assert_nothing(&record);
    }
}

/* a file cut anywhere, or with any byte changed, is read without harm and never gives a negative */
static void damaged_files_do_no_harm(void **state)
{
    static scan_function *const functions[] = {mt_scan_meminfo,  mt_scan_vmstat, mt_scan_pressure,
                                               mt_scan_arcstats, mt_scan_uptime, mt_scan_boot_id};
    static const char text[] = "MemTotal: 5 kB\nHugePages_Free: 1\nHugepagesize: 4 kB\n"
                               "pswpin 1\nallocstall_dma 5\nsome avg10=0.00 total=5\n"
                               "size 4 123\n12.50 1.00\n0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b\n";
    char copy[sizeof text];

    (void)state;
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        for (size_t at = 0; at < sizeof text; at++) {
            for (int byte = -1; byte < 256; byte += 5) {
                struct mt_record record = {0};
                size_t length = byte < 0 ? at : sizeof text - 1;

                memcpy(copy, text, sizeof text);
                if (byte >= 0)
                    copy[at] = (char)byte;
                functions[f]((struct mt_slice){copy, length}, &record);
                for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
                    bool present = (record.present & MT_FIELD_BIT(i)) != 0;

                    assert_true(present ? record.value[i] >= 0 && record.value[i] <= MT_VALUE_MAX
                                        : record.value[i] == 0);
                }
            }
        }
    }
}

static int quietly(void **state)
{
    (void)state;
    return mt_log_open("test", MT_LOG_CRITICAL, MT_LOG_TEXT, "-", NULL) == MT_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_found_by_its_key),
        cmocka_unit_test(meminfo_lines),
        cmocka_unit_test(huge_pages_become_kib),
        cmocka_unit_test(vmstat_sums_all_zones),
        cmocka_unit_test(vmstat_lines),
        cmocka_unit_test(pressure_lines),
        cmocka_unit_test(arcstats_rows),
        cmocka_unit_test(uptime),
        cmocka_unit_test(boot_id),
        cmocka_unit_test(damaged_files_do_no_harm),
    };

    return cmocka_run_group_tests(tests, quietly, NULL);
}
