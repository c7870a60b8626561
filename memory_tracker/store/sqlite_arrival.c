#include "store/sqlite_arrival.h"

#include <stdlib.h>

enum {
    BLOCKS_AT_ONCE = 32, /* looked into between two locks */
    TRIES_MOST = 8,
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/*
 * A place names the record before it as well: in a store that was restored from a copy and went on
 * from there, the same number belongs to another record, and the place is not known any more.
 */
struct mt_token mt_sqlite_token_of(int64_t generation, int64_t seq, int64_t host_id,
                                   int64_t timestamp)
{
    uint64_t mixed = mix((uint64_t)generation);

    mixed = mix(mixed ^ (uint64_t)host_id);
    mixed = mix(mixed ^ (uint64_t)timestamp);
    return (struct mt_token){.generation = mixed == 0 ? 1 : mixed, .sequence = seq};
}

enum mt_err mt_sqlite_greatest_seq(struct sqlite_store *store, sqlite3_stmt **held, int64_t *seq,
                                   struct mt_error *error)
{
    bool has_blocks = mt_sqlite_has_blocks(store);
    sqlite3_stmt *statement = NULL;
    enum mt_err err =
        mt_sqlite_statement(&store->file,
                            has_blocks ? "SELECT max(ifnull((SELECT max(seq) FROM memory_log), 0),"
                                         " ifnull((SELECT max(last_seq) FROM block), 0))"
                                       : "SELECT ifnull(max(seq), 0) FROM memory_log",
                            &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    result = sqlite3_step(statement);
    if (result != SQLITE_ROW) {
        err = mt_sqlite_fail(&store->file, result, "read", error);
        (void)sqlite3_reset(statement);
        return err;
    }
    /* migrated just before the lock was taken */
    if (mt_sqlite_has_blocks(store) != has_blocks) {
        (void)sqlite3_reset(statement);
        return mt_sqlite_greatest_seq(store, held, seq, error);
    }
    *seq = sqlite3_column_int64(statement, 0);
    *held = statement;
    return MT_OK;
}

enum mt_err mt_sqlite_next_blocks(struct sqlite_store *store, struct mt_sqlite_block_cursor *cursor,
                                  int64_t first, int64_t end, struct mt_sqlite_block *blocks,
                                  size_t most, size_t *count, bool *is_last, int64_t *later,
                                  struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_ROW;
    size_t looked = 0;
    enum mt_err err;

    *count = 0;
    *is_last = !mt_sqlite_has_blocks(store);
    if (*is_last)
        return MT_OK;
    err = mt_sqlite_statement(&store->file,
                              "SELECT " MT_SQLITE_BLOCK_COLUMNS " FROM block INDEXED BY"
                              " block_by_seq WHERE (last_seq, id) > (?1, ?2)"
                              " ORDER BY last_seq, id",
                              &statement, error);
    if (err != MT_OK)
        return err;
    if (cursor->last_seq < first - 1)
        *cursor = (struct mt_sqlite_block_cursor){first - 1, INT64_MAX};
    (void)sqlite3_bind_int64(statement, 1, cursor->last_seq);
    (void)sqlite3_bind_int64(statement, 2, cursor->id);
    while (err == MT_OK && *count < most && looked < MT_SQLITE_BATCH &&
           (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct mt_sqlite_block *block = &blocks[*count];

        err = mt_sqlite_read_block(store, statement, block, error);
        if (err != MT_OK)
            break;
        looked++;
        *cursor = (struct mt_sqlite_block_cursor){block->last_seq, block->id};
        if (block->first_seq <= end)
            ++*count;
        else if (block->first_seq < *later)
            *later = block->first_seq;
    }
    *is_last = result == SQLITE_DONE;
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* What is known of a place so far. */
struct lookup {
    struct sqlite_store *store;
    int64_t seq;
    int64_t generation;
    /* the record that has the mark */
    bool is_there;
    int64_t host_id;
    int64_t timestamp;
    int64_t block_id; /* where it is sealed, 0: it is loose */
    /* the search among blocks */
    struct mt_sqlite_block_cursor cursor;
    bool is_searched;
};

/* the record in decoded data whose mark is sought */
static bool find_in(struct lookup *lookup, const struct mt_sqlite_block_data *data)
{
    for (int64_t i = 0; i < data->block.records; i++) {
        if (data->seqs[i] != lookup->seq)
            continue;
        lookup->is_there = true;
        lookup->host_id = data->block.host_id;
        lookup->timestamp = data->timestamps[i];
        lookup->block_id = data->block.id;
        return true;
    }
    return false;
}

/* looks into the next few blocks that may have the mark; gives the lock back before it decodes */
static enum mt_err search(struct lookup *lookup, sqlite3_stmt *held, struct mt_error *error)
{
    struct mt_sqlite_block blocks[BLOCKS_AT_ONCE];
    struct mt_sqlite_block_data *data = calloc(BLOCKS_AT_ONCE, sizeof *data);
    int64_t later = INT64_MAX;
    size_t count = 0;
    bool found = true;
    enum mt_err err;

    if (data == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                            lookup->store->file.path);
    err = mt_sqlite_next_blocks(lookup->store, &lookup->cursor, lookup->seq, lookup->seq, blocks,
                                BLOCKS_AT_ONCE, &count, &lookup->is_searched, &later, error);
    for (size_t i = 0; i < count && err == MT_OK; i++)
        err = mt_sqlite_block_fetch(lookup->store, &blocks[i], 0, MT_SQLITE_PART_SEQ, &data[i],
                                    &found, error);
    (void)sqlite3_reset(held);
    for (size_t i = 0; i < count && err == MT_OK && found && !lookup->is_there; i++) {
        err = mt_sqlite_block_decode(lookup->store, &data[i], error);
        if (err == MT_OK)
            (void)find_in(lookup, &data[i]);
    }
    for (size_t i = 0; i < count; i++)
        mt_sqlite_block_fini(&data[i]);
    free(data);
    return err;
}

/* under the lock that was just taken: is the block still there in which the record was found? */
static enum mt_err check_block(struct lookup *lookup, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t id;
    enum mt_err err = mt_sqlite_statement(&lookup->store->file,
                                          "SELECT id FROM block WHERE id = ?1", &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, lookup->block_id);
    return mt_sqlite_read_i64(lookup->store, statement, &id, &lookup->is_there, error);
}

/* takes the lock; looks among loose records */
static enum mt_err look(struct lookup *lookup, sqlite3_stmt **held, struct mt_error *error)
{
    struct sqlite_store *store = lookup->store;
    enum mt_err err = mt_sqlite_statement(
        &store->file,
        "SELECT generation, seq, host_id, timestamp FROM meta LEFT JOIN memory_log ON seq = ?1",
        held, error);
    int result;

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(*held, 1, lookup->seq);
    result = sqlite3_step(*held);
    if (result == SQLITE_DONE)
        return mt_error_set(error, MT_ERR_CORRUPT,
                            "store %s: table meta is empty; restore a backup", store->file.path);
    if (result != SQLITE_ROW)
        return mt_sqlite_fail(&store->file, result, "read", error);
    lookup->generation = sqlite3_column_int64(*held, 0);
    if (sqlite3_column_type(*held, 1) != SQLITE_NULL) {
        lookup->is_there = true;
        lookup->host_id = sqlite3_column_int64(*held, 2);
        lookup->timestamp = sqlite3_column_int64(*held, 3);
        lookup->block_id = 0;
    }
    return MT_OK;
}

/* finds the record of a mark, loose or sealed; *held keeps the lock under which it is there */
static enum mt_err find(struct lookup *lookup, sqlite3_stmt **held, struct mt_error *error)
{
    enum mt_err err;

    for (;;) {
        err = look(lookup, held, error);
        if (err != MT_OK || lookup->seq <= 0)
            return err;
        if (lookup->is_there && lookup->block_id != 0) {
            err = check_block(lookup, error);
            /* merged since: what took its place comes later in the search, if it was not passed */
            if (err == MT_OK && !lookup->is_there) {
                lookup->cursor = (struct mt_sqlite_block_cursor){0};
                lookup->is_searched = false;
            }
        }
        if (err != MT_OK || lookup->is_there || lookup->is_searched)
            return err;
        err = search(lookup, *held, error);
        if (err != MT_OK)
            return err;
    }
}

enum mt_err mt_sqlite_check_place(struct sqlite_store *store, const struct mt_token *token,
                                  int64_t *generation, bool *is_known, sqlite3_stmt **held,
                                  struct mt_error *error)
{
    struct lookup lookup = {.store = store, .seq = token->sequence};
    struct mt_token there;
    enum mt_err err = find(&lookup, held, error);

    if (err != MT_OK)
        return err;
    there = mt_sqlite_token_of(lookup.generation, lookup.is_there ? lookup.seq : 0, lookup.host_id,
                               lookup.timestamp);
    *generation = lookup.generation;
    *is_known = (token->generation == 0 && token->sequence == 0) ||
                (there.generation == token->generation && there.sequence == token->sequence);
    return MT_OK;
}

enum mt_err mt_sqlite_token(struct mt_store *base, struct mt_token *token, struct mt_error *error)
{
    struct lookup lookup = {.store = (struct sqlite_store *)base};
    sqlite3_stmt *greatest = NULL;
    sqlite3_stmt *held = NULL;
    enum mt_err err = mt_sqlite_store_look(lookup.store, error);

    /* pruned between two locks: then another one is the last */
    for (int tries = 0; err == MT_OK && !lookup.is_there; tries++) {
        lookup = (struct lookup){.store = lookup.store};
        err = mt_sqlite_greatest_seq(lookup.store, &greatest, &lookup.seq, error);
        if (err == MT_OK)
            err = find(&lookup, &held, error);
        (void)sqlite3_reset(greatest);
        if (lookup.seq == 0)
            break;
        if (err == MT_OK && !lookup.is_there && tries == TRIES_MOST)
            err = mt_error_set(error, MT_ERR_CORRUPT,
                               "store %s: the last record, number %lld, is in no sealed day; "
                               "restore a backup, or save what memory-tracker export still reads",
                               lookup.store->file.path, (long long)lookup.seq);
    }
    if (err == MT_OK)
        *token =
            mt_sqlite_token_of(lookup.generation, lookup.seq, lookup.host_id, lookup.timestamp);
    (void)sqlite3_reset(held);
    return err;
}
