#include "proc/scan.h"

#include <string.h>

#include "base/log.h"

enum { SHOWN_MAX = 60 }; /* bytes of a bad line that a warning shows */

/* Cuts the first line, without its newline, off *rest. */
static bool next_line(struct mt_slice *rest, struct mt_slice *line)
{
    const char *newline;

    if (rest->length == 0)
        return false;
    newline = memchr(rest->data, '\n', rest->length);
    *line = *rest;
    if (newline == NULL) {
        rest->length = 0;
        return true;
    }
    line->length = (size_t)(newline - rest->data);
    rest->data += line->length + 1;
    rest->length -= line->length + 1;
    return true;
}

static bool parse_amount(struct mt_slice word, int64_t *value)
{
    return mt_parse_i64_range(word, 0, MT_VALUE_MAX, value);
}

static void warn(const char *path, struct mt_slice line)
{
    int length = (int)(line.length < SHOWN_MAX ? line.length : SHOWN_MAX);

    mt_log(MT_LOG_WARNING, "%s: the line '%.*s' makes no sense; what it says is left out", path,
           length, line.data);
}

/* Where each field comes from, next to each other: every line of vmstat's two hundred is held
 * against all of them. */
static const struct {
    enum mt_field_source source;
    const char *key;
} origins[MT_FIELD_COUNT] = {
#define MT_FIELD(symbol, name, kind, unit, source, key, help) {MT_SOURCE_##source, key},
#include "record/field.def"
#undef MT_FIELD
};

/* The field that a line of `source` with this key belongs to. The first letter decides for most. */
static bool find_field(enum mt_field_source source, struct mt_slice key, enum mt_field *field)
{
    if (key.length == 0)
        return false;
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if (origins[i].key[0] == key.data[0] && origins[i].source == source &&
            mt_slice_equal(key, origins[i].key)) {
            *field = i;
            return true;
        }
    }
    return false;
}

/* What follows the colon of a meminfo line: a number and its unit, kB or none. */
static bool parse_meminfo_value(struct mt_slice rest, bool has_unit, int64_t *value)
{
    struct mt_slice number = mt_next_word(&rest);
    struct mt_slice unit = mt_next_word(&rest);

    return mt_slice_equal(unit, has_unit ? "kB" : "") && mt_next_word(&rest).length == 0 &&
           parse_amount(number, value);
}

void mt_scan_meminfo(struct mt_slice text, struct mt_record *record)
{
    static const char path[] = "/proc/meminfo";
    struct mt_slice line;
    struct mt_slice pages_line = {0};
    int64_t huge_pages = 0;
    int64_t huge_page_kib = 0;

    while (next_line(&text, &line)) {
        const char *colon = line.length > 0 ? memchr(line.data, ':', line.length) : NULL;
        struct mt_slice key;
        struct mt_slice rest;
        enum mt_field field;
        int64_t value;

        if (colon == NULL)
            continue;
        key = (struct mt_slice){line.data, (size_t)(colon - line.data)};
        rest = (struct mt_slice){colon + 1, line.length - key.length - 1};
        if (mt_slice_equal(key, "Hugepagesize")) {
            if (!parse_meminfo_value(rest, true, &huge_page_kib))
                warn(path, line);
            continue;
        }
        if (!find_field(MT_SOURCE_MEMINFO, key, &field))
            continue;
        if (!parse_meminfo_value(rest, field != MT_FIELD_HUGETLB_FREE, &value)) {
            warn(path, line);
        } else if (field == MT_FIELD_HUGETLB_FREE) {
            pages_line = line;
            huge_pages = value;
        } else {
            mt_record_set(record, field, value);
        }
    }
    if (pages_line.length == 0 || huge_page_kib == 0)
        return;
    if (huge_pages > MT_VALUE_MAX / huge_page_kib)
        warn(path, pages_line);
    else
        mt_record_set(record, MT_FIELD_HUGETLB_FREE, huge_pages * huge_page_kib);
}

/* The field that sums up all lines that begin like this one. */
static bool find_sum(struct mt_slice key, enum mt_field *field)
{
    if (key.length == 0)
        return false;
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if (origins[i].source == MT_SOURCE_VMSTAT_SUM && origins[i].key[0] == key.data[0] &&
            mt_slice_starts_with(key, origins[i].key)) {
            *field = i;
            return true;
        }
    }
    return false;
}

void mt_scan_vmstat(struct mt_slice text, struct mt_record *record)
{
    struct mt_slice line;
    uint64_t spoilt = 0; /* sums with a part that makes no sense */
    int64_t sums[MT_FIELD_COUNT] = {0};

    while (next_line(&text, &line)) {
        struct mt_slice rest = line;
        struct mt_slice key = mt_next_word(&rest);
        struct mt_slice number;
        enum mt_field field;
        int64_t value;
        bool is_sum = find_sum(key, &field);

        if (!is_sum && !find_field(MT_SOURCE_VMSTAT, key, &field))
            continue;
        number = mt_next_word(&rest);
        if (mt_next_word(&rest).length != 0 || !parse_amount(number, &value) ||
            (is_sum && value > MT_VALUE_MAX - sums[field])) {
            warn("/proc/vmstat", line);
            spoilt |= is_sum ? MT_FIELD_BIT(field) : 0;
        } else if (is_sum) {
            sums[field] += value;
            mt_record_set(record, field, sums[field]);
        } else {
            mt_record_set(record, field, value);
        }
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((spoilt & MT_FIELD_BIT(i)) != 0)
            mt_record_unset(record, i);
}

void mt_scan_pressure(struct mt_slice text, struct mt_record *record)
{
    struct mt_slice line;

    while (next_line(&text, &line)) {
        struct mt_slice rest = line;
        enum mt_field field;
        bool is_known = false;

        if (!find_field(MT_SOURCE_PSI, mt_next_word(&rest), &field))
            continue;
        for (struct mt_slice word = mt_next_word(&rest); word.length > 0;
             word = mt_next_word(&rest)) {
            int64_t value;

            if (!mt_slice_starts_with(word, "total="))
                continue;
            word.data += strlen("total=");
            word.length -= strlen("total=");
            is_known = parse_amount(word, &value);
            if (is_known)
                mt_record_set(record, field, value);
        }
        if (!is_known)
            warn("/proc/pressure/memory", line);
    }
}

void mt_scan_arcstats(struct mt_slice text, struct mt_record *record)
{
    struct mt_slice line;

    while (next_line(&text, &line)) {
        struct mt_slice rest = line;
        struct mt_slice key = mt_next_word(&rest);
        struct mt_slice type = mt_next_word(&rest);
        struct mt_slice number = mt_next_word(&rest);
        enum mt_field field;
        int64_t bytes;

        if (!find_field(MT_SOURCE_ARC, key, &field))
            continue;
        /* 4 is kstat's name for an unsigned number of 64 bits */
        if (!mt_slice_equal(type, "4") || mt_next_word(&rest).length != 0 ||
            !mt_parse_i64_range(number, 0, INT64_MAX, &bytes))
            warn("/proc/spl/kstat/zfs/arcstats", line);
        else
            mt_record_set(record, field, bytes / 1024);
    }
}

void mt_scan_uptime(struct mt_slice text, struct mt_record *record)
{
    struct mt_slice line = {0};
    struct mt_slice rest;
    struct mt_slice seconds;
    const char *dot;
    int64_t value;
    int64_t fraction = 0;

    if (!next_line(&text, &line))
        return;
    rest = line;
    seconds = mt_next_word(&rest);
    dot = seconds.length > 0 ? memchr(seconds.data, '.', seconds.length) : NULL;
    if (dot != NULL) {
        struct mt_slice digits = {dot + 1, seconds.length - (size_t)(dot - seconds.data) - 1};

        if (!parse_amount(digits, &fraction))
            fraction = -1;
        seconds.length = (size_t)(dot - seconds.data);
    }
    if (fraction < 0 || !parse_amount(seconds, &value))
        warn("/proc/uptime", line);
    else
        mt_record_set(record, MT_FIELD_UPTIME_S, value);
}

void mt_scan_boot_id(struct mt_slice text, struct mt_record *record)
{
    struct mt_slice line = {0};

    if (!next_line(&text, &line))
        return;
    if (mt_boot_id_parse(line.data, line.length, record->boot_id))
        record->has_boot_id = true;
    else
        warn("/proc/sys/kernel/random/boot_id", line);
}
