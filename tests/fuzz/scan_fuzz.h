/* What holds for every parser of a file of /proc, whatever the file says. */
#ifndef MT_TESTS_SCAN_FUZZ_H
#define MT_TESTS_SCAN_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "proc/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct scan_case {
    void (*scan)(struct mt_slice text, struct mt_record *record);
    uint64_t fields; /* what the file may tell: MT_FIELD_BIT, or-ed */
    /* a good line which, after whatever came before, makes this field known as this */
    const char *line;
    enum mt_field field;
    int64_t value;
};

/* The fields that come from a source. */
static inline uint64_t fields_of(enum mt_field_source source)
{
    uint64_t fields = 0;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (mt_field_info(i)->source == source)
            fields |= MT_FIELD_BIT(i);
    return fields;
}

static inline void check_values(const struct scan_case *it, const struct mt_record *record)
{
    if ((record->present & ~it->fields) != 0)
        abort();
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        bool is_present = (record->present & MT_FIELD_BIT(i)) != 0;

        if (is_present ? record->value[i] < 0 || record->value[i] > MT_VALUE_MAX
                       : record->value[i] != 0)
            abort();
    }
}

static inline void check_scan(const struct scan_case *it, const uint8_t *data, size_t size)
{
    struct mt_record record = {0};
    struct mt_record longer = {0};
    size_t line = strlen(it->line);
    char *text = malloc(size + 1 + line);

    if (text == NULL)
        abort();
    (void)mt_log_open("fuzz", MT_LOG_CRITICAL, MT_LOG_TEXT, "-", NULL);
    it->scan((struct mt_slice){(const char *)data, size}, &record);
    check_values(it, &record);

    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\n';
    memcpy(text + size + 1, it->line, line);
    it->scan((struct mt_slice){text, size + 1 + line}, &longer);
    check_values(it, &longer);
    if ((longer.present & MT_FIELD_BIT(it->field)) == 0 || longer.value[it->field] != it->value)
        abort();
    /* nothing else changed */
    mt_record_unset(&record, it->field);
    mt_record_unset(&longer, it->field);
    if (memcmp(&record, &longer, sizeof record) != 0)
        abort();
    free(text);
}

#endif
