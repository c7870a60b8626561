#include "record/csv.h"

#include <string.h>

/* what a column holds: one of these, or COLUMN_FIELD + a field */
enum column {
    COLUMN_HOST,
    COLUMN_TIMESTAMP,
    COLUMN_BOOT_ID,
    COLUMN_TOTAL,
    COLUMN_FREE,
    COLUMN_USED,
    COLUMN_FIELD,
    COLUMN_COUNT = COLUMN_FIELD + (int)MT_FIELD_COUNT
};

_Static_assert((int)COLUMN_COUNT <= (int)MT_CSV_COLUMNS_MAX, "every column fits a layout");
_Static_assert((int)COLUMN_COUNT <= 64, "columns fit a bit mask");

#define COLUMN_BIT(column) (UINT64_C(1) << (column))
#define SUMMARY_COLUMNS                                                                            \
    (COLUMN_BIT(COLUMN_TOTAL) | COLUMN_BIT(COLUMN_FREE) | COLUMN_BIT(COLUMN_USED))
/* the columns that either form may have */
#define COMMON_COLUMNS (COLUMN_BIT(COLUMN_HOST) | COLUMN_BIT(COLUMN_TIMESTAMP))

enum {
    CELL_MAX = 2 * MT_HOST_MAX + 2, /* a host of nothing but quotes */
    SHOWN_MAX = 60,                 /* bytes of a bad cell that a message shows */
};

/* A cell without its quotes; data lies in the line or in text. */
struct cell {
    struct mt_slice value;
    char text[CELL_MAX];
};

static const char *column_name(int column)
{
    static const char *const names[COLUMN_FIELD] = {
        [COLUMN_HOST] = "host",   [COLUMN_TIMESTAMP] = "timestamp", [COLUMN_BOOT_ID] = "boot_id",
        [COLUMN_TOTAL] = "total", [COLUMN_FREE] = "free",           [COLUMN_USED] = "used",
    };

    return column < COLUMN_FIELD ? names[column]
                                 : mt_field_info((enum mt_field)(column - COLUMN_FIELD))->name;
}

void mt_csv_append_cell(struct mt_buf *out, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        mt_buf_append_string(out, text);
        return;
    }
    mt_buf_append_char(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"')
            mt_buf_append_char(out, '"');
        mt_buf_append_char(out, *text);
    }
    mt_buf_append_char(out, '"');
}

void mt_csv_write_header(struct mt_buf *out)
{
    mt_buf_append_string(out, "host,timestamp,boot_id");
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        mt_buf_append_char(out, ',');
        mt_buf_append_string(out, mt_field_info(i)->name);
    }
    mt_buf_append_char(out, '\n');
}

void mt_csv_write_record(struct mt_buf *out, const struct mt_record *record)
{
    mt_csv_append_cell(out, record->host);
    mt_buf_append_char(out, ',');
    mt_buf_append_i64(out, record->timestamp);
    mt_buf_append_char(out, ',');
    if (record->has_boot_id) {
        char text[MT_BOOT_ID_TEXT_SIZE];

        mt_boot_id_format(record->boot_id, text);
        mt_buf_append(out, text, sizeof text - 1);
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        int64_t value;

        mt_buf_append_char(out, ',');
        if (mt_record_get(record, i, &value))
            mt_buf_append_i64(out, value);
    }
    mt_buf_append_char(out, '\n');
}

static int shown(size_t length)
{
    return (int)(length < SHOWN_MAX ? length : SHOWN_MAX);
}

static struct mt_slice without_line_end(struct mt_slice line)
{
    if (line.length > 0 && line.data[line.length - 1] == '\n')
        line.length--;
    if (line.length > 0 && line.data[line.length - 1] == '\r')
        line.length--;
    return line;
}

/* The value of a quoted cell at the head of *rest, which moves on to behind its closing quote. */
static enum mt_err take_quoted(struct mt_slice *rest, struct cell *cell, struct mt_error *error)
{
    struct mt_slice from = *rest;
    size_t used = 0;

    for (size_t i = 1; i < from.length; i++) {
        if (from.data[i] == '"' && (i + 1 == from.length || from.data[i + 1] != '"')) {
            cell->value = (struct mt_slice){cell->text, used};
            *rest = (struct mt_slice){from.data + i + 1, from.length - i - 1};
            return MT_OK;
        }
        if (from.data[i] == '"')
            i++;
        if (used == sizeof cell->text)
            return mt_error_set(error, MT_ERR_BAD_DATA,
                                "a quoted cell of more than %d bytes: \"%.*s...", CELL_MAX,
                                SHOWN_MAX, cell->text);
        cell->text[used++] = from.data[i];
    }
    return mt_error_set(error, MT_ERR_BAD_DATA, "a quote is not closed on its line: %.*s",
                        shown(from.length), from.data);
}

/* The next cell of *rest, which moves on to behind its comma; *last: no comma followed. */
static enum mt_err take_cell(struct mt_slice *rest, struct cell *cell, bool *last,
                             struct mt_error *error)
{
    const char *comma;

    cell->value = (struct mt_slice){"", 0};
    if (rest->length == 0) {
        *last = true;
        return MT_OK;
    }
    if (rest->data[0] == '"') {
        enum mt_err result = take_quoted(rest, cell, error);

        if (result != MT_OK)
            return result;
        if (rest->length > 0 && rest->data[0] != ',')
            return mt_error_set(error, MT_ERR_BAD_DATA, "text after a closing quote: %.*s",
                                shown(rest->length), rest->data);
    } else {
        comma = memchr(rest->data, ',', rest->length);
        cell->value = *rest;
        if (comma != NULL)
            cell->value.length = (size_t)(comma - rest->data);
        if (cell->value.length > 0 && memchr(cell->value.data, '"', cell->value.length) != NULL)
            return mt_error_set(error, MT_ERR_BAD_DATA, "a quote inside an unquoted cell: %.*s",
                                shown(cell->value.length), cell->value.data);
        rest->length -= cell->value.length;
        rest->data += cell->value.length;
    }
    *last = rest->length == 0;
    if (!*last) {
        rest->data++;
        rest->length--;
    }
    return MT_OK;
}

static enum mt_err find_column(struct mt_slice name, int *column, struct mt_error *error)
{
    const char *names[COLUMN_COUNT];
    const char *nearest = NULL;
    char copy[CELL_MAX + 1];

    for (int i = 0; i < COLUMN_COUNT; i++) {
        names[i] = column_name(i);
        if (mt_slice_equal(name, names[i])) {
            *column = i;
            return MT_OK;
        }
    }
    if (name.length > 0 && name.length < sizeof copy) {
        memcpy(copy, name.data, name.length);
        copy[name.length] = '\0';
        nearest = mt_text_nearest(copy, names, COLUMN_COUNT);
    }
    if (nearest != NULL)
        return mt_error_set(error, MT_ERR_BAD_DATA, "unknown column '%.*s'; did you mean '%s'?",
                            shown(name.length), name.data, nearest);
    return mt_error_set(error, MT_ERR_BAD_DATA,
                        "unknown column '%.*s'; the first line must name timestamp,total,free,used "
                        "or the fields that memory-tracker export writes",
                        shown(name.length), name.length > 0 ? name.data : "");
}

static enum mt_err missing_column(const char *name, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_BAD_DATA, "the first line has no column '%s'", name);
}

/* seen: COLUMN_BIT of every column the header has */
static enum mt_err check_columns(uint64_t seen, struct mt_error *error)
{
    static const enum column summary[] = {COLUMN_TIMESTAMP, COLUMN_TOTAL, COLUMN_FREE};
    static const enum column whole[] = {COLUMN_TIMESTAMP,
                                        (enum column)(COLUMN_FIELD + (int)MT_FIELD_MEM_TOTAL)};
    bool is_summary = (seen & SUMMARY_COLUMNS) != 0;
    const enum column *needed = is_summary ? summary : whole;
    size_t count = is_summary ? sizeof summary / sizeof *summary : sizeof whole / sizeof *whole;

    if (is_summary && (seen & ~(SUMMARY_COLUMNS | COMMON_COLUMNS)) != 0)
        return mt_error_set(
            error, MT_ERR_BAD_DATA, "the first line mixes '%s' with the columns total,free,used",
            column_name(__builtin_ctzll(seen & ~(SUMMARY_COLUMNS | COMMON_COLUMNS))));
    for (size_t i = 0; i < count; i++)
        if ((seen & COLUMN_BIT(needed[i])) == 0)
            return missing_column(column_name((int)needed[i]), error);
    if (!is_summary && (seen & (COLUMN_BIT(COLUMN_FIELD + MT_FIELD_MEM_AVAILABLE) |
                                COLUMN_BIT(COLUMN_FIELD + MT_FIELD_MEM_FREE))) == 0)
        return missing_column("mem_available", error);
    return MT_OK;
}

enum mt_err mt_csv_read_header(struct mt_slice line, struct mt_csv_layout *layout,
                               struct mt_error *error)
{
    struct mt_csv_layout found = {0};
    struct mt_slice rest = without_line_end(line);
    uint64_t seen = 0;
    enum mt_err result = MT_OK;
    bool last = false;

    if (rest.length >= 3 && memcmp(rest.data, "\xEF\xBB\xBF", 3) == 0)
        rest = (struct mt_slice){rest.data + 3, rest.length - 3};
    while (!last) {
        struct cell cell;
        int column = 0;

        result = take_cell(&rest, &cell, &last, error);
        if (result == MT_OK)
            result = find_column(cell.value, &column, error);
        if (result != MT_OK)
            return result;
        if ((seen & COLUMN_BIT(column)) != 0)
            return mt_error_set(error, MT_ERR_BAD_DATA, "the first line has column '%s' twice",
                                column_name(column));
        seen |= COLUMN_BIT(column);
        found.column[found.columns++] = column;
    }
    result = check_columns(seen, error);
    if (result != MT_OK)
        return result;
    found.is_summary = (seen & SUMMARY_COLUMNS) != 0;
    found.has_host = (seen & COLUMN_BIT(COLUMN_HOST)) != 0;
    *layout = found;
    return MT_OK;
}

static enum mt_err bad_cell(int column, struct mt_slice cell, const char *rule,
                            struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_BAD_DATA, "%s '%.*s': %s", column_name(column),
                        shown(cell.length), cell.length > 0 ? cell.data : "", rule);
}

/* What a line said in the summary form, MiB. */
struct summary_cells {
    int64_t total, free, used;
};

static enum mt_err read_text_cell(int column, struct mt_slice cell, struct mt_record *record,
                                  struct mt_error *error)
{
    if (column == COLUMN_BOOT_ID) {
        record->has_boot_id = cell.length > 0;
        if (cell.length > 0 && !mt_boot_id_parse(cell.data, cell.length, record->boot_id))
            return bad_cell(column, cell,
                            "not a boot id such as "
                            "0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b",
                            error);
        return MT_OK;
    }
    /* what else is wrong with a host's name is for mt_record_check to say */
    if (cell.length > MT_HOST_MAX || memchr(cell.data, '\0', cell.length) != NULL)
        return bad_cell(column, cell, "not a host's name of 1 to 255 bytes", error);
    memcpy(record->host, cell.data, cell.length);
    record->host[cell.length] = '\0';
    return MT_OK;
}

static enum mt_err read_number_cell(int column, struct mt_slice cell, struct mt_record *record,
                                    struct summary_cells *summary, struct mt_error *error)
{
    int64_t *const mib[COLUMN_FIELD] = {[COLUMN_TOTAL] = &summary->total,
                                        [COLUMN_FREE] = &summary->free,
                                        [COLUMN_USED] = &summary->used};
    int64_t value;

    /* used may be unknown, after a formula whose parts are absent */
    if ((column >= COLUMN_FIELD || column == COLUMN_USED) && cell.length == 0)
        return MT_OK;
    if (!mt_parse_i64_range(cell, 0, MT_VALUE_MAX, &value))
        return bad_cell(column, cell, "not a whole number from 0 to 2^53", error);
    if (column >= COLUMN_FIELD)
        mt_record_set(record, (enum mt_field)(column - COLUMN_FIELD), value);
    else if (column == COLUMN_TIMESTAMP)
        record->timestamp = value;
    else if (value > MT_VALUE_MAX / 1024)
        return bad_cell(column, cell, "too large for MiB", error);
    else
        *mib[column] = value;
    return MT_OK;
}

static enum mt_err take_summary(const struct summary_cells *summary, struct mt_record *record,
                                struct mt_error *error)
{
    if (summary->free > summary->total)
        return mt_error_set(error, MT_ERR_BAD_DATA, "free '%lld': more than total %lld",
                            (long long)summary->free, (long long)summary->total);
    if (summary->used > summary->total)
        return mt_error_set(error, MT_ERR_BAD_DATA, "used '%lld': more than total %lld",
                            (long long)summary->used, (long long)summary->total);
    mt_record_set(record, MT_FIELD_MEM_TOTAL, summary->total * 1024);
    mt_record_set(record, MT_FIELD_MEM_AVAILABLE, summary->free * 1024);
    return MT_OK;
}

enum mt_err mt_csv_read_record(const struct mt_csv_layout *layout, struct mt_slice line,
                               const char *default_host, struct mt_record *record,
                               struct mt_error *error)
{
    struct mt_record found = {0};
    struct summary_cells summary = {0};
    struct mt_slice rest = without_line_end(line);
    enum mt_err result = MT_OK;
    bool last = false;
    size_t cells = 0;

    if (!layout->has_host && default_host != NULL)
        memcpy(found.host, default_host, strnlen(default_host, sizeof found.host - 1));
    for (; !last; cells++) {
        struct cell cell;
        int column;

        result = take_cell(&rest, &cell, &last, error);
        if (result != MT_OK)
            return result;
        if (cells >= layout->columns)
            continue;
        column = layout->column[cells];
        result = column == COLUMN_HOST || column == COLUMN_BOOT_ID
                     ? read_text_cell(column, cell.value, &found, error)
                     : read_number_cell(column, cell.value, &found, &summary, error);
        if (result != MT_OK)
            return result;
    }
    if (cells != layout->columns)
        return mt_error_set(error, MT_ERR_BAD_DATA,
                            "%zu cells on this line, %zu columns in the first", cells,
                            layout->columns);
    if (layout->is_summary)
        result = take_summary(&summary, &found, error);
    if (result == MT_OK)
        result = mt_record_check(&found, error);
    if (result == MT_OK)
        *record = found;
    return result;
}
