/*
 * CSV: the first line is a header, the others are records. What is accepted obeys mt_record_check,
 * and comes back the same when it is written and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "record/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const struct mt_record *record)
{
    struct mt_csv_layout layout;
    struct mt_record again;
    struct mt_error error = {0};
    struct mt_buf header;
    struct mt_buf line;

    if (mt_record_check(record, &error) != MT_OK)
        abort();
    mt_buf_init(&header, 0);
    mt_buf_init(&line, 0);
    mt_csv_write_header(&header);
    mt_csv_write_record(&line, record);
    if (mt_csv_read_header((struct mt_slice){header.data, header.length}, &layout, &error) != MT_OK)
        abort();
    if (mt_csv_read_record(&layout, (struct mt_slice){line.data, line.length}, NULL, &again,
                           &error) != MT_OK)
        abort();
    if (strcmp(record->host, again.host) != 0 || record->timestamp != again.timestamp ||
        record->has_boot_id != again.has_boot_id || record->present != again.present ||
        memcmp(record->boot_id, again.boot_id, sizeof again.boot_id) != 0 ||
        memcmp(record->value, again.value, sizeof again.value) != 0)
        abort();
    mt_buf_fini(&header);
    mt_buf_fini(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct mt_csv_layout layout;
    bool has_header = false;

    while (size > 0) {
        const char *newline = memchr(text, '\n', size);
        struct mt_slice line = {text, newline != NULL ? (size_t)(newline - text) : size};
        struct mt_record record;
        struct mt_error error = {0};

        text += line.length + (newline != NULL);
        size -= line.length + (newline != NULL);
        if (!has_header) {
            if (mt_csv_read_header(line, &layout, &error) != MT_OK) {
                if (error.code != MT_ERR_BAD_DATA || error.text[0] == '\0')
                    abort();
                return 0;
            }
            has_header = true;
        } else if (mt_csv_read_record(&layout, line, "here", &record, &error) == MT_OK) {
            check_record(&record);
        } else if (error.code != MT_ERR_BAD_DATA || error.text[0] == '\0') {
            abort();
        }
    }
    return 0;
}
