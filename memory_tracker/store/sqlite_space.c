#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "store/sqlite_block.h"

enum {
    PAGES_FIRST = 32, /* pages given back in one transaction */
    PAGES_LEAST = 8,
    PAGES_MOST = 1024,
    AIM_MS = 20, /* what one transaction may take */
};

void mt_sqlite_let_others_in(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 12000000}, NULL);
}

void mt_sqlite_take_turns(int64_t *held_ms, int64_t took_ms)
{
    *held_ms += took_ms + 1;
    if (*held_ms < AIM_MS / 2)
        return;
    *held_ms = 0;
    mt_sqlite_let_others_in();
}

int64_t mt_sqlite_adapt(int64_t size, int64_t took_ms, int64_t least, int64_t most)
{
    if (took_ms > AIM_MS)
        size /= 2;
    else if (took_ms < AIM_MS / 2)
        size *= 2;
    return size < least ? least : size > most ? most : size;
}

static enum mt_err read_pragma(struct sqlite_store *store, const char *sql, int64_t *value,
                               struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    bool found;
    enum mt_err err = mt_sqlite_statement(&store->file, sql, &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(store, statement, value, &found, error) : err;
}

enum mt_err mt_sqlite_free_pages(struct sqlite_store *store, int64_t *pages, struct mt_error *error)
{
    return read_pragma(store, "PRAGMA freelist_count", pages, error);
}

enum mt_err mt_sqlite_give_back(struct sqlite_store *store, bool (*is_over)(void *context),
                                void *context, struct mt_error *error)
{
    int64_t size = PAGES_FIRST;
    int64_t pages = 0;
    int64_t before = 0;
    int64_t held_ms = 0;
    enum mt_err err = mt_sqlite_free_pages(store, &pages, error);

    while (err == MT_OK && pages > 0 && pages != before && !(is_over != NULL && is_over(context))) {
        int64_t begun_ms = mt_clock_monotonic_ms();
        int64_t took_ms;
        char sql[64];

        (void)snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%lld)", (long long)size);
        err = mt_sqlite_exec(&store->file, sql, error);
        took_ms = mt_clock_monotonic_ms() - begun_ms;
        size = mt_sqlite_adapt(size, took_ms, PAGES_LEAST, PAGES_MOST);
        before = pages;
        if (err == MT_OK)
            err = mt_sqlite_free_pages(store, &pages, error);
        mt_sqlite_take_turns(&held_ms, took_ms);
    }
    return err;
}

enum mt_err mt_sqlite_size(struct mt_store *base, int64_t *bytes, struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    int64_t all = 0;
    int64_t unused = 0;
    int64_t size = 0;
    enum mt_err err = mt_sqlite_store_look(store, error);

    if (err == MT_OK)
        err = read_pragma(store, "PRAGMA page_count", &all, error);
    if (err == MT_OK)
        err = mt_sqlite_free_pages(store, &unused, error);
    if (err == MT_OK)
        err = read_pragma(store, "PRAGMA page_size", &size, error);
    if (err == MT_OK)
        *bytes = (all > unused ? all - unused : 0) * size;
    return err;
}
