/*
 * The contract over a store of which most is sealed at any time: after two of three appends all
 * days are, even those that are not over yet. A third of what comes late is loose beside its day.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract.h"
#include "store/ops.h"

#define SCHEME "sealed:"

static struct mt_store_ops sealed_ops;
static _Atomic int64_t sealed_records;

static enum mt_err open_sealed(const char *uri, const struct mt_store_options *options,
                               struct mt_store **store, struct mt_error *error)
{
    char inner[512];
    enum mt_err err;

    (void)snprintf(inner, sizeof inner, "%s%s", mt_sqlite_ops.scheme, uri + strlen(SCHEME));
    err = mt_sqlite_ops.open(inner, options, store, error);
    if (err == MT_OK)
        (*store)->ops = &sealed_ops;
    return err;
}

static enum mt_err append_and_seal(struct mt_store *store, const struct mt_record *records,
                                   size_t count, enum mt_on_conflict on_conflict,
                                   struct mt_outcome *outcomes, struct mt_error *error)
{
    static _Thread_local unsigned calls;
    /* the last day of all is never over */
    struct mt_compaction compaction = {.now_s = MT_TIMESTAMP_MAX + INT64_C(86400) * 2};
    enum mt_err err = mt_sqlite_ops.append(store, records, count, on_conflict, outcomes, error);

    if (err != MT_OK || ++calls % 3 == 0)
        return err;
    err = mt_sqlite_ops.compact(store, &compaction, error);
    sealed_records += compaction.records;
    /* another writer's turn */
    return err == MT_ERR_BUSY ? MT_OK : err;
}

static enum mt_err find_sealed(const char *uri, const struct mt_store_ops **ops,
                               struct mt_error *error)
{
    if (strncmp(uri, SCHEME, strlen(SCHEME)) != 0)
        return mt_error_set(error, MT_ERR_CONFIG, "store '%s': unknown kind of store", uri);
    *ops = &sealed_ops;
    return MT_OK;
}

static void make_place(char *uri, size_t size)
{
    const char *base = getenv("TMPDIR");
    char directory[256];

    (void)snprintf(directory, sizeof directory, "%s/mt-sealed-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(uri, size, SCHEME "%s/memory.db", directory);
}

static void remove_place(const char *uri)
{
    static const char *const suffixes[] = {"", "-journal"};
    char path[512];

    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s%s", uri + strlen(SCHEME), suffixes[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s", uri + strlen(SCHEME));
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct contract_kind kind = {.name = "sqlite_sealed",
                                       .make_place = make_place,
                                       .remove_place = remove_place,
                                       .small = contract_is_sanitized()};
    int failed;

    sealed_ops = mt_sqlite_ops;
    sealed_ops.scheme = SCHEME;
    sealed_ops.open = open_sealed;
    sealed_ops.append = append_and_seal;
    mt_store_set_finder(find_sealed);
    failed = contract_run(&kind);
    /* or it would be the test of loose records once more */
    if (sealed_records < 1000) {
        print_error("only %lld records were sealed\n", (long long)sealed_records);
        failed++;
    }
    return failed;
}
