#include <stdlib.h>
#include <string.h>

#include "store/sqlite.h"

enum {
    FEW_ROWS = 16,
    MOST_ROWS = 4096, /* of hosts, and of boots: beyond, one takes another's place */
};

static void forget(struct mt_sqlite_names *names)
{
    for (size_t i = 0; i < names->capacity; i++)
        free(names->rows[i].bytes);
    free(names->rows);
    *names = (struct mt_sqlite_names){0};
}

void mt_sqlite_forget_names(struct sqlite_store *store)
{
    forget(&store->hosts);
    forget(&store->boots);
}

/* ids are given one after the other: as many slots as there are rows have room for each */
static struct mt_sqlite_name *slot_of(const struct mt_sqlite_names *names, int64_t id)
{
    return &names->rows[(uint64_t)id & (names->capacity - 1)];
}

static const struct mt_sqlite_name *recall(const struct mt_sqlite_names *names, int64_t id)
{
    const struct mt_sqlite_name *slot = names->capacity > 0 ? slot_of(names, id) : NULL;

    return slot != NULL && slot->bytes != NULL && slot->id == id ? slot : NULL;
}

static void grow(struct mt_sqlite_names *names)
{
    struct mt_sqlite_names grown = {.capacity =
                                        names->capacity == 0 ? FEW_ROWS : names->capacity * 2};

    grown.rows = calloc(grown.capacity, sizeof *grown.rows);
    if (grown.rows == NULL)
        return;
    /* two that were apart stay apart */
    for (size_t i = 0; i < names->capacity; i++)
        if (names->rows[i].bytes != NULL)
            *slot_of(&grown, names->rows[i].id) = names->rows[i];
    free(names->rows);
    *names = grown;
}

/* without memory to spare nothing is remembered, and it is read again */
static void remember(struct mt_sqlite_names *names, int64_t id, const uint8_t *bytes, size_t size)
{
    struct mt_sqlite_name *slot;
    uint8_t *copy;

    while (names->capacity < MOST_ROWS &&
           (names->capacity == 0 || slot_of(names, id)->bytes != NULL)) {
        size_t capacity = names->capacity;

        grow(names);
        if (names->capacity == capacity)
            break;
    }
    copy = names->capacity > 0 && size > 0 ? malloc(size) : NULL;
    if (copy == NULL)
        return;
    memcpy(copy, bytes, size);
    slot = slot_of(names, id);
    free(slot->bytes);
    *slot = (struct mt_sqlite_name){id, (uint8_t)size, copy};
}

static enum mt_err dangling(const struct sqlite_store *store, const char *table, int64_t id,
                            struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_CORRUPT,
                        "store %s: a record names row %lld of table %s, which does not exist or "
                        "is damaged; "
                        "restore a backup, or save what memory-tracker export still reads",
                        store->file.path, (long long)id, table);
}

/* the row of host or boot with that id: its second column's bytes */
static enum mt_err look_up(struct sqlite_store *store, const char *table, const char *sql,
                           int64_t id, uint8_t *bytes, size_t least, size_t most, size_t *length,
                           struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&store->file, sql, &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        const void *value = sqlite3_column_blob(statement, 0);

        *length = (size_t)sqlite3_column_bytes(statement, 0);
        if (*length >= least && *length <= most && value != NULL &&
            (least == most || memchr(value, '\0', *length) == NULL))
            memcpy(bytes, value, *length);
        else
            err = dangling(store, table, id, error);
    } else if (result == SQLITE_DONE) {
        err = dangling(store, table, id, error);
    } else {
        err = mt_sqlite_fail(&store->file, result, "read", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

/* from memory, or from the file */
static enum mt_err find(struct sqlite_store *store, struct mt_sqlite_names *names,
                        const char *table, const char *sql, int64_t id, uint8_t *bytes,
                        size_t least, size_t most, struct mt_error *error)
{
    const struct mt_sqlite_name *known = recall(names, id);
    size_t size = 0;
    enum mt_err err;

    if (known != NULL) {
        memcpy(bytes, known->bytes, known->size);
        return MT_OK;
    }
    err = look_up(store, table, sql, id, bytes, least, most, &size, error);
    if (err == MT_OK)
        remember(names, id, bytes, size);
    return err;
}

enum mt_err mt_sqlite_host_name(struct sqlite_store *store, int64_t id, char name[MT_HOST_MAX + 1],
                                struct mt_error *error)
{
    memset(name, 0, MT_HOST_MAX + 1);
    return find(store, &store->hosts, "host", "SELECT name FROM host WHERE id = ?1", id,
                (uint8_t *)name, 1, MT_HOST_MAX, error);
}

enum mt_err mt_sqlite_boot_uuid(struct sqlite_store *store, int64_t id,
                                uint8_t uuid[MT_BOOT_ID_SIZE], struct mt_error *error)
{
    return find(store, &store->boots, "boot", "SELECT uuid FROM boot WHERE id = ?1", id, uuid,
                MT_BOOT_ID_SIZE, MT_BOOT_ID_SIZE, error);
}
