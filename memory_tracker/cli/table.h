/*
 * An aligned table for a terminal, written with bounded memory: widths come from the first block of
 * rows and only grow afterwards. Owned by one thread.
 */
#ifndef MT_CLI_TABLE_H
#define MT_CLI_TABLE_H

#include "cli/output.h"

struct mt_column {
    const char *title;
    bool is_number; /* stands at the right of its column */
};

enum { MT_TABLE_COLUMNS_MAX = 8 };

struct mt_table {
    const struct mt_column *columns; /* borrowed */
    size_t count;
    struct mt_output *out;              /* borrowed */
    struct mt_buf cells;                /* of the block, each ended by a NUL */
    size_t cell_count;                  /* in the block */
    size_t width[MT_TABLE_COLUMNS_MAX]; /* characters, not bytes */
    bool has_header;                    /* the titles are written */
};

/* mt_table_init: columns (at most MT_TABLE_COLUMNS_MAX) and out must outlive the table. */
void mt_table_init(struct mt_table *table, const struct mt_column *columns, size_t count,
                   struct mt_output *out);

/* mt_table_cell: the next cell, from left to right and then of the next row. Control characters
 * become `?`, so that nothing that came from elsewhere steers a terminal. */
void mt_table_cell(struct mt_table *table, const char *text);
void mt_table_number(struct mt_table *table, int64_t number);

/* mt_table_drain: writes a full block of rows, if there is one. Call it after each row. */
enum mt_err mt_table_drain(struct mt_table *table, struct mt_error *error);

/* mt_table_finish: puts all that is left, at least the titles, into out->text; frees the table. */
void mt_table_finish(struct mt_table *table);

#endif
