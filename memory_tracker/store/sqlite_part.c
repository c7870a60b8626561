#include <stdlib.h>
#include <string.h>

#include "store/sqlite_scan.h"

enum { FETCH_AT_ONCE = 8 << 20 }; /* bytes fetched before numbers are made of them */

void mt_sqlite_part_free(struct mt_sqlite_part *part)
{
    if (part == NULL)
        return;
    if (part->data != NULL)
        mt_sqlite_block_fini(part->data);
    free(part->data);
    free(part->fields);
    free(part->boots);
    free(part->packed);
    free(part);
}

size_t mt_sqlite_part_at(const struct mt_sqlite_part *part, int64_t second)
{
    size_t low = 0;
    size_t high = part->records;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (mt_sqlite_number(&part->timestamps, middle) < second)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Which records of a block a piece takes. */
struct cut {
    size_t first, end;
    uint8_t *late; /* 1 for each from `first` on that arrived after the snapshot; NULL: none did */
    size_t records;
};

static bool takes(const struct cut *cut, const struct mt_block_column *column, size_t index)
{
    return (cut->late == NULL || cut->late[index - cut->first] == 0) &&
           (column->present == NULL || column->present[index] != 0);
}

static void view(const struct mt_block_column *column, struct mt_sqlite_numbers *numbers)
{
    *numbers = (struct mt_sqlite_numbers){.is_there = column->values != NULL,
                                          .is_sparse = column->present != NULL,
                                          .width = sizeof(int64_t),
                                          .stride = sizeof(int64_t),
                                          .present_stride = 1,
                                          .values = (const char *)column->values,
                                          .present = column->present};
}

static uint8_t width_of(uint64_t range)
{
    if (range > UINT32_MAX)
        return 8;
    if (range > UINT16_MAX)
        return 4;
    if (range > UINT8_MAX)
        return 2;
    return range > 0 ? 1 : 0;
}

/* how few bytes a column's share of a packed record needs; they are added to *size */
static void measure(const struct mt_block_column *column, const struct cut *cut, uint16_t *size,
                    struct mt_sqlite_numbers *numbers)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    size_t there = 0;

    *numbers = (struct mt_sqlite_numbers){0};
    for (size_t i = cut->first; i < cut->end && column->values != NULL; i++) {
        if (!takes(cut, column, i))
            continue;
        min = column->values[i] < min ? column->values[i] : min;
        max = column->values[i] > max ? column->values[i] : max;
        there++;
    }
    if (there == 0)
        return;
    numbers->is_there = true;
    numbers->is_sparse = there < cut->records;
    numbers->width = width_of((uint64_t)max - (uint64_t)min);
    numbers->base = numbers->width < sizeof(int64_t) ? min : 0;
    numbers->value_at = *size;
    numbers->present_at = (uint16_t)(*size + numbers->width);
    *size = (uint16_t)(numbers->present_at + (numbers->is_sparse ? 1 : 0));
}

static void put_number(char *at, uint8_t width, uint64_t number)
{
    const uint16_t two = (uint16_t)number;
    const uint32_t four = (uint32_t)number;

    if (width == sizeof(uint8_t))
        *at = (char)number;
    else if (width == sizeof two)
        memcpy(at, &two, sizeof two);
    else if (width == sizeof four)
        memcpy(at, &four, sizeof four);
    else if (width != 0)
        memcpy(at, &number, sizeof number);
}

/* a column's share of the packed records, of `size` bytes each */
static void pack(const struct mt_block_column *column, const struct cut *cut, char *packed,
                 uint16_t size, struct mt_sqlite_numbers *numbers)
{
    char *record = packed;

    numbers->stride = size;
    numbers->present_stride = size;
    numbers->values = packed + numbers->value_at;
    numbers->present = (const uint8_t *)packed + numbers->present_at;
    for (size_t i = cut->first; i < cut->end && numbers->is_there; i++) {
        if (cut->late != NULL && cut->late[i - cut->first] != 0)
            continue;
        /* where there is none, what is put is never looked at */
        put_number(record + numbers->value_at, numbers->width,
                   (uint64_t)column->values[i] - (uint64_t)numbers->base);
        if (numbers->is_sparse)
            record[numbers->present_at] = (char)column->present[i];
        record += size;
    }
}

/* What is done with one column after the other of a piece. */
struct work {
    const struct cut *cut;
    uint16_t size; /* of a packed record */
    char *packed;  /* NULL: there is none yet */
};

static void do_column(const struct mt_block_column *column, struct work *work,
                      struct mt_sqlite_numbers *numbers)
{
    if (work->cut == NULL)
        view(column, numbers);
    else if (work->packed == NULL)
        measure(column, work->cut, &work->size, numbers);
    else
        pack(column, work->cut, work->packed, work->size, numbers);
}

static void do_columns(const struct mt_sqlite_scan *scan, struct mt_sqlite_part *part,
                       struct work *work)
{
    const struct mt_block_column timestamps = {.values = part->data->timestamps};
    uint64_t fields = scan->query->fields & MT_FIELD_ALL;
    size_t count = 0;

    do_column(&timestamps, work, &part->timestamps);
    do_column(&part->data->boots, work, &part->boot_ids);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT && part->fields != NULL; i++) {
        if ((fields & MT_FIELD_BIT(i)) == 0)
            continue;
        if ((part->data->there & MT_FIELD_BIT(i)) != 0)
            do_column(&part->data->field[i], work, &part->fields[count]);
        count++;
    }
}

static bool knows_boot(const struct mt_sqlite_part *part, int64_t id)
{
    for (size_t i = part->boot_count; i > 0; i--)
        if (part->boots[i - 1].id == id)
            return true;
    return false;
}

/* which boots the piece names; few, one after the other */
static enum mt_err list_boots(const struct mt_sqlite_scan *scan, struct mt_sqlite_part *part,
                              struct mt_error *error)
{
    const struct mt_sqlite_numbers *ids = &part->boot_ids;
    size_t count = ids->is_there ? ids->width == 0 ? 1 : part->records : 0;

    for (size_t i = 0; i < count; i++) {
        int64_t id = mt_sqlite_number(ids, i);
        struct mt_sqlite_boot *grown;

        if ((ids->width > 0 && !mt_sqlite_has_number(ids, i)) || knows_boot(part, id))
            continue;
        grown = realloc(part->boots, (part->boot_count + 1) * sizeof *grown);
        if (grown == NULL)
            return mt_sqlite_scan_no_memory(scan, error);
        part->boots = grown;
        part->boots[part->boot_count++] = (struct mt_sqlite_boot){.id = id};
    }
    return MT_OK;
}

static void drop_data(struct mt_sqlite_part *part)
{
    mt_sqlite_block_fini(part->data);
    free(part->data);
    part->data = NULL;
}

static enum mt_err cut_part(const struct mt_sqlite_scan *scan, struct mt_sqlite_part *part,
                            const struct cut *cut, struct mt_error *error)
{
    struct work work = {.cut = cut};

    do_columns(scan, part, &work);
    part->packed_size = cut->records * work.size;
    part->packed = malloc(part->packed_size + 1);
    if (part->packed == NULL)
        return mt_sqlite_scan_no_memory(scan, error);
    work.packed = part->packed;
    do_columns(scan, part, &work);
    drop_data(part);
    return MT_OK;
}

/* those of data that were not there at the snapshot; cut->late is freed by the caller */
static enum mt_err leave_out_late(const struct mt_sqlite_scan *scan,
                                  const struct mt_sqlite_block_data *data, struct cut *cut,
                                  struct mt_error *error)
{
    if (mt_sqlite_listing_is_clean(scan, &data->block))
        return MT_OK;
    cut->late = malloc(cut->records + 1);
    if (cut->late == NULL)
        return mt_sqlite_scan_no_memory(scan, error);
    cut->records = 0;
    for (size_t i = cut->first; i < cut->end; i++) {
        cut->late[i - cut->first] = data->seqs[i] > scan->snapshot;
        cut->records += cut->late[i - cut->first] == 0;
    }
    return MT_OK;
}

/* a part of decoded data, which it takes over whatever happens */
static enum mt_err make_part(const struct mt_sqlite_scan *scan, struct mt_sqlite_part *part,
                             int64_t from, int64_t to, struct mt_error *error)
{
    struct mt_sqlite_block_data *data = part->data;
    struct cut cut = {mt_sqlite_block_at(data, from), mt_sqlite_block_at(data, to), NULL, 0};
    enum mt_err err;

    cut.records = cut.end - cut.first;
    part->from = from;
    part->to = to;
    err = leave_out_late(scan, data, &cut, error);
    part->records = cut.records;
    if (err != MT_OK)
        return err;
    if (part->depth == MT_SQLITE_WHOLE) {
        part->fields = calloc((size_t)__builtin_popcountll(scan->query->fields & MT_FIELD_ALL) + 1,
                              sizeof *part->fields);
        if (part->fields == NULL)
            err = mt_sqlite_scan_no_memory(scan, error);
    }
    if (err == MT_OK && !scan->listing.is_tight && cut.late == NULL &&
        cut.records == (size_t)data->block.records)
        do_columns(scan, part, &(struct work){0});
    else if (err == MT_OK)
        err = cut_part(scan, part, &cut, error);
    free(cut.late);
    return err == MT_OK ? list_boots(scan, part, error) : err;
}

static bool is_missing(const struct mt_sqlite_listed *listed, enum mt_sqlite_depth depth,
                       int64_t from, int64_t to)
{
    return listed->part == NULL || listed->part->depth < depth || listed->part->from > from ||
           listed->part->to < to;
}

/* its only record of the span is its first or its last one: no need to look */
static bool is_known(const struct mt_sqlite_scan *scan, const struct mt_sqlite_block *block,
                     int64_t from, int64_t to, int64_t *second)
{
    *second = block->last == from ? block->last : block->first;
    return mt_sqlite_listing_is_clean(scan, block) &&
           (block->last == from || block->first == to - 1);
}

static struct mt_sqlite_part *new_part(enum mt_sqlite_depth depth, int64_t from, int64_t to)
{
    struct mt_sqlite_part *part = calloc(1, sizeof *part);

    if (part != NULL)
        *part = (struct mt_sqlite_part){.depth = depth, .from = from, .to = to};
    return part;
}

/* under the lock: the bytes of a block, or of what it was merged into; or it is gone */
static enum mt_err fetch(struct mt_sqlite_scan *scan, struct mt_sqlite_listed *listed,
                         enum mt_sqlite_depth depth, struct mt_error *error)
{
    uint64_t fields = depth == MT_SQLITE_WHOLE ? scan->query->fields & MT_FIELD_ALL : 0;
    bool found = false;
    enum mt_err err = MT_OK;

    listed->data = calloc(1, sizeof *listed->data);
    if (listed->data == NULL)
        return mt_sqlite_scan_no_memory(scan, error);
    while (err == MT_OK && !found && !listed->is_gone) {
        unsigned parts = depth == MT_SQLITE_WHOLE ? MT_SQLITE_PART_BOOT : 0;

        if (!mt_sqlite_listing_is_clean(scan, &listed->block))
            parts |= MT_SQLITE_PART_SEQ;
        err = mt_sqlite_block_fetch(scan->store, &listed->block, fields, parts, listed->data,
                                    &found, error);
        if (err != MT_OK || found)
            break;
        scan->listing.was_replaced = true;
        err = mt_sqlite_find_block(scan->store, listed->block.host_id, listed->block.day,
                                   &listed->block, &found, error);
        listed->is_gone = !found;
        found = false;
    }
    if (err == MT_OK && !listed->is_gone)
        return MT_OK;
    mt_sqlite_block_fini(listed->data);
    free(listed->data);
    listed->data = NULL;
    return err;
}

/* What is to be read. */
struct want {
    enum mt_sqlite_depth depth;
    bool wanted_only;
    int64_t from, to;
    int64_t cut_from, cut_to;
};

/* fetches as much as one lock and some memory are good for, from block number *at on */
static enum mt_err fetch_some(struct mt_sqlite_scan *scan, const struct want *want, size_t *at,
                              size_t *fetched, struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    size_t bytes = 0;
    enum mt_err err = MT_OK;

    *fetched = 0;
    for (; *at < listing->count && err == MT_OK && bytes < FETCH_AT_ONCE; ++*at) {
        struct mt_sqlite_listed *block = &listing->blocks[*at];
        int64_t second;

        if (!mt_sqlite_listing_has(block, want->from, want->to) ||
            (want->wanted_only && !block->is_wanted) ||
            !is_missing(block, want->depth, want->cut_from, want->cut_to))
            continue;
        if (want->depth == MT_SQLITE_TIMES &&
            is_known(scan, &block->block, want->cut_from, want->cut_to, &second)) {
            mt_sqlite_part_free(block->part);
            block->part = new_part(want->depth, want->cut_from, want->cut_to);
            if (block->part == NULL)
                return mt_sqlite_scan_no_memory(scan, error);
            block->part->records = 1;
            block->part->timestamps = (struct mt_sqlite_numbers){.is_there = true, .base = second};
            continue;
        }
        if (*fetched > 0 && mt_sqlite_scan_is_long(scan))
            break;
        err = *fetched == 0 ? mt_sqlite_scan_hold(scan, error) : MT_OK;
        if (err == MT_OK)
            err = fetch(scan, block, want->depth, error);
        if (block->data != NULL) {
            bytes += block->data->bytes.length;
            ++*fetched;
        }
    }
    return err;
}

/* without the lock */
static enum mt_err decode(struct mt_sqlite_scan *scan, struct mt_sqlite_listed *listed,
                          const struct want *want, struct mt_error *error)
{
    struct mt_sqlite_part *part = new_part(want->depth, want->cut_from, want->cut_to);
    enum mt_err err;

    if (part == NULL)
        return mt_sqlite_scan_no_memory(scan, error);
    part->data = listed->data;
    listed->data = NULL;
    err = mt_sqlite_block_decode(scan->store, part->data, error);
    if (err == MT_OK)
        err = make_part(scan, part, want->cut_from, want->cut_to, error);
    if (err != MT_OK) {
        mt_sqlite_part_free(part);
        return err;
    }
    mt_sqlite_part_free(listed->part);
    listed->part = part;
    return MT_OK;
}

/* what a record takes in a piece that is cut, for the choice of how much is cut next */
static void measure_records(struct mt_sqlite_listing *listing)
{
    int64_t bytes = 0;
    int64_t records = 0;

    for (size_t i = 0; i < listing->count; i++) {
        const struct mt_sqlite_part *part = listing->blocks[i].part;

        if (part == NULL || part->packed == NULL || part->depth < MT_SQLITE_WHOLE)
            continue;
        bytes += (int64_t)part->packed_size;
        records += (int64_t)part->records;
    }
    if (records > 0)
        listing->record_bytes = bytes / records + bytes / records / 4 + 1;
}

enum mt_err mt_sqlite_parts(struct mt_sqlite_scan *scan, enum mt_sqlite_depth depth,
                            bool wanted_only, int64_t from, int64_t to, int64_t cut_from,
                            int64_t cut_to, struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    const struct want want = {depth, wanted_only, from, to, cut_from, cut_to};
    size_t at = 0;
    size_t fetched = 0;

    listing->was_replaced = false;
    do {
        size_t begin = at;
        enum mt_err err = fetch_some(scan, &want, &at, &fetched, error);

        if (fetched > 0)
            mt_sqlite_scan_let_go(scan);
        for (size_t i = begin; i < at && err == MT_OK; i++)
            if (listing->blocks[i].data != NULL)
                err = decode(scan, &listing->blocks[i], &want, error);
        if (err == MT_OK && fetched > 0)
            err = mt_sqlite_scan_check(scan, error);
        if (err != MT_OK)
            return err;
    } while (at < listing->count);
    measure_records(listing);
    return MT_OK;
}

enum mt_err mt_sqlite_parts_name(struct mt_sqlite_scan *scan, struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    enum mt_err err = MT_OK;
    bool is_held = false;

    for (size_t i = 0; i < listing->count && err == MT_OK; i++) {
        struct mt_sqlite_part *part = listing->blocks[i].part;

        if (part == NULL || part->is_named)
            continue;
        err = mt_sqlite_scan_hold(scan, error);
        is_held = true;
        if (err == MT_OK)
            err = mt_sqlite_host_name(scan->store, listing->blocks[i].block.host_id, part->host,
                                      error);
        for (size_t j = 0; j < part->boot_count && err == MT_OK; j++)
            err = mt_sqlite_boot_uuid(scan->store, part->boots[j].id, part->boots[j].uuid, error);
        part->is_named = err == MT_OK;
    }
    if (is_held)
        mt_sqlite_scan_let_go(scan);
    return err;
}
