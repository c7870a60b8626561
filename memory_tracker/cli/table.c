#include "cli/table.h"

#include <string.h>

enum { BLOCK_ROWS = 1000 };

/* UTF-8: every byte but the continuation bytes begins a character */
static size_t characters(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

static void widen(struct mt_table *table, size_t column, const char *text)
{
    size_t width = characters(text);

    if (width > table->width[column])
        table->width[column] = width;
}

void mt_table_init(struct mt_table *table, const struct mt_column *columns, size_t count,
                   struct mt_output *out)
{
    *table = (struct mt_table){.columns = columns, .count = count, .out = out};
    mt_buf_init(&table->cells, 0);
    for (size_t i = 0; i < count; i++)
        widen(table, i, columns[i].title);
}

/* the length of the control character that text begins with, also of U+0080 to U+009F; or 0 */
static size_t control(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    unsigned char second = first == '\0' ? 0 : (unsigned char)text[1];

    if (first == 0xC2 && second >= 0x80 && second < 0xA0)
        return 2;
    return first < ' ' || first == 0x7F ? 1 : 0;
}

void mt_table_cell(struct mt_table *table, const char *text)
{
    widen(table, table->cell_count % table->count, text);
    while (*text != '\0') {
        size_t length = control(text);

        if (length > 0) {
            mt_buf_append_char(&table->cells, '?');
            text += length;
        } else {
            mt_buf_append_char(&table->cells, *text++);
        }
    }
    mt_buf_append_char(&table->cells, '\0');
    table->cell_count++;
}

void mt_table_number(struct mt_table *table, int64_t number)
{
    struct mt_buf text;

    mt_buf_init(&text, 0);
    mt_buf_append_i64(&text, number);
    if (mt_buf_string(&text) != NULL)
        mt_table_cell(table, text.data);
    else
        table->cells.failed = true;
    mt_buf_fini(&text);
}

static void put_cell(struct mt_table *table, size_t column, const char *text)
{
    struct mt_buf *out = &table->out->text;
    bool is_number = table->columns[column].is_number;
    bool is_last = column + 1 == table->count;
    size_t padding = table->width[column] - characters(text);

    for (size_t i = 0; is_number && i < padding; i++)
        mt_buf_append_char(out, ' ');
    mt_buf_append_string(out, text);
    for (size_t i = 0; !is_number && !is_last && i < padding; i++)
        mt_buf_append_char(out, ' ');
    mt_buf_append_string(out, is_last ? "\n" : "  ");
}

static void put_block(struct mt_table *table)
{
    const char *cell = table->cells.data;

    for (size_t i = 0; !table->has_header && i < table->count; i++)
        put_cell(table, i, table->columns[i].title);
    table->has_header = true;
    if (table->cells.failed)
        table->out->text.failed = true;
    for (size_t i = 0, column = 0; !table->cells.failed && i < table->cell_count; i++) {
        put_cell(table, column, cell);
        cell += strlen(cell) + 1;
        column = column + 1 < table->count ? column + 1 : 0;
    }
    mt_buf_clear(&table->cells);
    table->cell_count = 0;
}

enum mt_err mt_table_drain(struct mt_table *table, struct mt_error *error)
{
    if (table->cell_count < BLOCK_ROWS * table->count)
        return MT_OK;
    put_block(table);
    return mt_output_drain(table->out, error);
}

void mt_table_finish(struct mt_table *table)
{
    put_block(table);
    mt_buf_fini(&table->cells);
}
