#include "store/sqlite_merge.h"

#include <stdlib.h>
#include <string.h>

void mt_sqlite_merge_fini(struct mt_sqlite_merge *merge)
{
    free(merge->heads);
    free(merge->loose);
    free(merge->second);
}

static bool is_newest_first(const struct mt_sqlite_merge *merge)
{
    return merge->scan->query->order == MT_NEWEST_FIRST;
}

/* room for one more element than `count` */
static enum mt_err grow(const struct mt_sqlite_merge *merge, void *array, size_t size, size_t count,
                        size_t *capacity, struct mt_error *error)
{
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown;

    if (count < *capacity)
        return MT_OK;
    grown = realloc(*(void **)array, wanted * size);
    if (grown == NULL)
        return mt_sqlite_scan_no_memory(merge->scan, error);
    *(void **)array = grown;
    *capacity = wanted;
    return MT_OK;
}

static bool is_before(const struct mt_sqlite_merge_head *a, const struct mt_sqlite_merge_head *b)
{
    return a->key != b->key ? a->key < b->key : a->rank < b->rank;
}

static void sift_down(struct mt_sqlite_merge *merge, size_t at)
{
    struct mt_sqlite_merge_head *heads = merge->heads;

    for (;;) {
        size_t least = at;
        struct mt_sqlite_merge_head swapped = heads[at];

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < merge->head_count; child++)
            if (is_before(&heads[child], &heads[least]))
                least = child;
        if (least == at)
            return;
        heads[at] = heads[least];
        heads[least] = swapped;
        at = least;
    }
}

static int64_t key_of(const struct mt_sqlite_merge *merge, const struct mt_sqlite_part *part,
                      size_t index)
{
    int64_t second = mt_sqlite_number(&part->timestamps, index);

    return is_newest_first(merge) ? -second : second;
}

/* goes on to the next record of the piece that is at the top */
static void advance(struct mt_sqlite_merge *merge)
{
    struct mt_sqlite_merge_head *top = &merge->heads[0];

    if (--top->left == 0) {
        *top = merge->heads[--merge->head_count];
    } else {
        top->index = is_newest_first(merge) ? top->index - 1 : top->index + 1;
        top->key = key_of(merge, top->listed->part, top->index);
    }
    if (merge->head_count > 1)
        sift_down(merge, 0);
}

static int compare_heads(const void *a, const void *b)
{
    const struct mt_sqlite_merge_head *left = a;
    const struct mt_sqlite_merge_head *right = b;

    return strcmp(left->listed->part->host, right->listed->part->host);
}

static enum mt_err add_head(struct mt_sqlite_merge *merge, struct mt_sqlite_listed *listed,
                            int64_t from, int64_t to, struct mt_error *error)
{
    const struct mt_sqlite_part *part = listed->part;
    size_t first = mt_sqlite_part_at(part, from);
    size_t end = mt_sqlite_part_at(part, to);
    size_t index = is_newest_first(merge) ? end - 1 : first;
    enum mt_err err;

    if (first == end)
        return MT_OK;
    err = grow(merge, &merge->heads, sizeof *merge->heads, merge->head_count, &merge->head_capacity,
               error);
    if (err == MT_OK)
        merge->heads[merge->head_count++] = (struct mt_sqlite_merge_head){
            key_of(merge, part, index), 0, listed, index, end - first};
    return err;
}

static enum mt_err make_heads(struct mt_sqlite_merge *merge, int64_t from, int64_t to,
                              struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &merge->scan->listing;
    enum mt_err err = MT_OK;

    merge->head_count = 0;
    for (size_t i = 0; i < listing->count && err == MT_OK; i++)
        if (mt_sqlite_listing_has(&listing->blocks[i], from, to) && listing->blocks[i].part != NULL)
            err = add_head(merge, &listing->blocks[i], from, to, error);
    if (merge->head_count > 1)
        qsort(merge->heads, merge->head_count, sizeof *merge->heads, compare_heads);
    for (size_t i = 0; i < merge->head_count; i++)
        merge->heads[i].rank = is_newest_first(merge) ? merge->head_count - i : i;
    for (size_t i = merge->head_count / 2; i > 0; i--)
        sift_down(merge, i - 1);
    return err;
}

/* the values that a piece has of a record, put in the place of those of the record before */
static void set_values(struct mt_record *record, const struct mt_sqlite_part *part, size_t index,
                       uint64_t fields)
{
    const struct mt_sqlite_numbers *numbers = part->fields;
    uint64_t present = 0;

    for (; fields != 0 && numbers != NULL; fields &= fields - 1, numbers++) {
        int field = __builtin_ctzll(fields);
        bool is_there = mt_sqlite_has_number(numbers, index);

        record->value[field] = is_there ? mt_sqlite_number(numbers, index) : 0;
        present |= (uint64_t)is_there << field;
    }
    record->present = present;
}

static void set_boot(struct mt_record *record, const struct mt_sqlite_part *part, size_t index)
{
    const struct mt_sqlite_numbers *ids = &part->boot_ids;
    int64_t id;

    record->has_boot_id = mt_sqlite_has_number(ids, index);
    memset(record->boot_id, 0, sizeof record->boot_id);
    if (!record->has_boot_id)
        return;
    id = mt_sqlite_number(ids, index);
    for (size_t i = 0; i < part->boot_count; i++)
        if (part->boots[i].id == id)
            memcpy(record->boot_id, part->boots[i].uuid, sizeof record->boot_id);
}

static enum mt_err hand_out(struct mt_sqlite_merge *merge, const struct mt_sqlite_found *found,
                            mt_emit *emit, void *context, struct mt_error *error)
{
    struct mt_record *record = &merge->record;
    const struct mt_sqlite_part *part;

    if (emit == NULL) {
        if (found->row == NULL)
            found->listed->is_wanted = true;
        return MT_OK;
    }
    if (found->row != NULL)
        return emit(context, &found->row->record, error);
    part = found->listed->part;
    if (merge->record_of == NULL || merge->record_of != part)
        memcpy(record->host, part->host, sizeof record->host);
    merge->record_of = part;
    record->timestamp = mt_sqlite_number(&part->timestamps, found->index);
    set_boot(record, part, found->index);
    set_values(record, part, found->index, merge->scan->query->fields & MT_FIELD_ALL);
    return emit(context, record, error);
}

static int compare_names(const void *a, const void *b)
{
    const struct sqlite_row *const *left = a;
    const struct sqlite_row *const *right = b;

    return strcmp((*left)->record.host, (*right)->record.host);
}

static int compare_names_backwards(const void *a, const void *b)
{
    return compare_names(b, a);
}

/* the loose rows of a second in the order of output; *count of them */
static enum mt_err take_loose(struct mt_sqlite_merge *merge, int64_t second, size_t *count,
                              struct mt_error *error)
{
    enum mt_err err = MT_OK;

    *count = 0;
    while (err == MT_OK && merge->next_row < merge->rows->count &&
           merge->rows->rows[merge->next_row].record.timestamp == second) {
        err =
            grow(merge, &merge->loose, sizeof *merge->loose, *count, &merge->loose_capacity, error);
        if (err == MT_OK)
            merge->loose[(*count)++] = &merge->rows->rows[merge->next_row++];
    }
    if (*count > 1)
        qsort(merge->loose, *count, sizeof *merge->loose,
              is_newest_first(merge) ? compare_names_backwards : compare_names);
    return err;
}

static enum mt_err add_found(struct mt_sqlite_merge *merge, struct mt_sqlite_found found,
                             struct mt_error *error)
{
    enum mt_err err = grow(merge, &merge->second, sizeof *merge->second, merge->second_count,
                           &merge->second_capacity, error);

    if (err == MT_OK)
        merge->second[merge->second_count++] = found;
    return err;
}

/* all of the records of a second, in the order of output */
static enum mt_err take_second(struct mt_sqlite_merge *merge, int64_t second,
                               struct mt_error *error)
{
    int64_t key = is_newest_first(merge) ? -second : second;
    size_t loose_count = 0;
    size_t at = 0;
    enum mt_err err = take_loose(merge, second, &loose_count, error);

    merge->second_count = 0;
    while (err == MT_OK && merge->head_count > 0 && merge->heads[0].key == key) {
        const struct mt_sqlite_merge_head head = merge->heads[0];
        int order = -1;

        while (err == MT_OK && at < loose_count && order < 0) {
            order = strcmp(merge->loose[at]->record.host, head.listed->part->host);
            order = is_newest_first(merge) ? -order : order;
            if (order < 0)
                err =
                    add_found(merge, (struct mt_sqlite_found){merge->loose[at++], NULL, 0}, error);
        }
        /* it was sealed between the two looks */
        if (err == MT_OK && order == 0)
            at++;
        if (err == MT_OK)
            err = add_found(merge, (struct mt_sqlite_found){NULL, head.listed, head.index}, error);
        advance(merge);
    }
    for (; err == MT_OK && at < loose_count; at++)
        err = add_found(merge, (struct mt_sqlite_found){merge->loose[at], NULL, 0}, error);
    return err;
}

/* how many of a second's records, the last by name, lie beyond a place */
static size_t ties_at(const struct mt_sqlite_place *place, int64_t second, size_t count)
{
    if (place->ties <= 0 || second != place->below - 1)
        return 0;
    return place->ties < (int64_t)count ? (size_t)place->ties : count;
}

/* those of a second's records that lie between the two places */
static enum mt_err hand_out_second(struct mt_sqlite_merge *merge, int64_t second, mt_emit *emit,
                                   void *context, struct mt_error *error)
{
    size_t count = merge->second_count;
    size_t newer = ties_at(&merge->newest, second, count);
    size_t kept = ties_at(&merge->oldest, second, count);
    size_t older = kept > 0 ? count - kept : 0;
    size_t from = is_newest_first(merge) ? newer : older;
    size_t to = count - (is_newest_first(merge) ? older : newer);
    enum mt_err err = MT_OK;

    for (size_t i = from; i < to && err == MT_OK; i++)
        err = hand_out(merge, &merge->second[i], emit, context, error);
    return err;
}

/* the next second in the order of output; false at the end */
static bool next_second(const struct mt_sqlite_merge *merge, int64_t *second)
{
    bool has_row = merge->next_row < merge->rows->count;
    bool has_head = merge->head_count > 0;
    int64_t loose = has_row ? merge->rows->rows[merge->next_row].record.timestamp : 0;
    int64_t sealed = has_head ? merge->heads[0].key : 0;

    sealed = is_newest_first(merge) ? -sealed : sealed;
    if (!has_row || !has_head)
        *second = has_row ? loose : sealed;
    else if (is_newest_first(merge))
        *second = loose > sealed ? loose : sealed;
    else
        *second = loose < sealed ? loose : sealed;
    return has_row || has_head;
}

/* does the slice begin or end within this second? */
static bool is_cut(const struct mt_sqlite_merge *merge, int64_t second)
{
    return (merge->newest.ties > 0 && second == merge->newest.below - 1) ||
           (merge->oldest.ties > 0 && second == merge->oldest.below - 1);
}

/* the records of the first piece that come before anything else; none if its second is shared */
static enum mt_err hand_out_run(struct mt_sqlite_merge *merge, mt_emit *emit, void *context,
                                struct mt_error *error)
{
    int64_t end = INT64_MAX;
    enum mt_err err = MT_OK;

    for (size_t child = 1; child <= 2 && child < merge->head_count; child++)
        if (merge->heads[child].key < end)
            end = merge->heads[child].key;
    if (merge->next_row < merge->rows->count) {
        int64_t second = merge->rows->rows[merge->next_row].record.timestamp;
        int64_t key = is_newest_first(merge) ? -second : second;

        end = key < end ? key : end;
    }
    while (err == MT_OK && merge->head_count > 0) {
        const struct mt_sqlite_merge_head *top = &merge->heads[0];
        const struct mt_sqlite_found found = {NULL, top->listed, top->index};
        bool is_last = top->left == 1;

        if (top->key >= end || is_cut(merge, is_newest_first(merge) ? -top->key : top->key))
            return MT_OK;
        err = hand_out(merge, &found, emit, context, error);
        advance(merge);
        if (is_last)
            return err;
    }
    return err;
}

enum mt_err mt_sqlite_merge(struct mt_sqlite_merge *merge, const struct sqlite_rows *rows,
                            int64_t from, int64_t to, mt_emit *emit, void *context,
                            struct mt_error *error)
{
    int64_t second = 0;
    enum mt_err err;

    merge->rows = rows;
    merge->next_row = 0;
    merge->record_of = NULL;
    err = make_heads(merge, from, to, error);
    while (err == MT_OK) {
        err = hand_out_run(merge, emit, context, error);
        if (err != MT_OK || !next_second(merge, &second))
            break;
        err = take_second(merge, second, error);
        if (err == MT_OK)
            err = hand_out_second(merge, second, emit, context, error);
    }
    return err;
}
