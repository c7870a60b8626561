/* The size of a store, and RETENTION on every kind of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "contract.h"
#include "store/tend.h"

enum { DAY = 86400, DAYS = 6, PER_DAY = 48, HOSTS = 2 };

/* a day of 2100: nothing that a memory-api, which tends its store by the clock, would seal or
 * remove meanwhile */
static const int64_t FIRST = INT64_C(47482) * DAY;

/* DAYS days of HOSTS hosts, from FIRST on; fields that do not compress well */
static void fill(struct mt_store *store)
{
    static struct mt_record records[PER_DAY * HOSTS];
    static struct mt_outcome outcomes[PER_DAY * HOSTS];
    struct mt_error error = {0};
    uint64_t random = contract_seed() + 1;

    for (int day = 0; day < DAYS; day++) {
        for (int i = 0; i < PER_DAY * HOSTS; i++) {
            struct mt_record *record = &records[i];

            *record = contract_record(i % HOSTS == 0 ? "a" : "b",
                                      FIRST + day * DAY + i / HOSTS * (DAY / PER_DAY), 1);
            for (enum mt_field field = 0; field < MT_FIELD_COUNT; field++)
                if (mt_field_info(field)->kind == MT_KIND_GAUGE)
                    mt_record_set(record, field, (int64_t)(contract_random(&random) >> 34));
        }
        assert_ok(
            mt_store_append(store, records, PER_DAY * HOSTS, MT_CONFLICT_REPORT, outcomes, &error));
    }
}

static int64_t size_of(struct mt_store *store)
{
    struct mt_error error = {0};
    int64_t bytes = -1;

    assert_ok(mt_store_size(store, &bytes, &error));
    assert_true(bytes >= 0);
    return bytes;
}

/* Everything from that day on is there, and nothing before; how many records that are. */
static void check_begins(struct mt_store *store, int day)
{
    struct mt_query query = contract_everything();
    struct contract_list list = {0};

    contract_scan(store, &query, &list);
    assert_int_equal(list.count, (DAYS - day) * PER_DAY * HOSTS);
    if (list.count > 0)
        assert_int_equal(list.records[0].timestamp, FIRST + day * DAY);
    contract_list_free(&list);
}

void contract_size_follows_what_is_there(void **state)
{
    const struct contract *contract = *state;
    struct mt_store *reader;
    struct mt_error error = {0};
    int64_t empty = size_of(contract->store);
    int64_t pruned;
    int64_t full;

    fill(contract->store);
    full = size_of(contract->store);
    assert_true(full > empty);
    reader = contract_open(contract, true, 20000);
    assert_int_equal(size_of(reader), full);
    mt_store_close(reader);
    /* at once: who removes days until it is small enough must not remove too many */
    assert_ok(mt_store_prune(contract->store, FIRST + DAYS / 2 * DAY, &pruned, &error));
    assert_true(size_of(contract->store) < full - (full - empty) / 4);
}

void contract_retention_by_time(void **state)
{
    const struct contract *contract = *state;
    struct mt_tending tending = {
        .pruning = {.now_s = FIRST + DAYS * DAY - 1, .kept = 2 * INT64_C(86400)}};
    struct mt_error error = {0};

    fill(contract->store);
    assert_ok(mt_tend(contract->store, &tending, &error));
    assert_true(tending.pruning.is_done && tending.compaction.is_done);
    assert_int_equal(tending.pruning.records, (DAYS - 3) * PER_DAY * HOSTS);
    assert_int_equal(tending.pruning.first, FIRST);
    assert_int_equal(tending.pruning.end, FIRST + (DAYS - 3) * DAY);
    check_begins(contract->store, DAYS - 3);
    assert_ok(mt_tend(contract->store, &tending, &error));
    assert_int_equal(tending.pruning.records, 0);
    assert_true(tending.pruning.is_done);
}

void contract_retention_by_size(void **state)
{
    const struct contract *contract = *state;
    struct mt_pruning pruning = {.now_s = FIRST + DAYS * DAY + 7200};
    struct mt_tending tending = {.pruning = pruning};
    struct mt_pruning foretold;
    struct mt_error error = {0};
    int64_t full;

    fill(contract->store);
    /* nothing but sealing */
    assert_ok(mt_tend(contract->store, &tending, &error));
    full = size_of(contract->store);
    pruning.kept = -full;
    assert_ok(mt_prune_days(contract->store, &pruning, &error));
    assert_int_equal(pruning.records, 0);
    check_begins(contract->store, 0);

    pruning.kept = -(full - 1);
    foretold = pruning;
    assert_ok(mt_prune_foretell(contract->store, &foretold, &error));
    assert_int_equal(foretold.records, PER_DAY * HOSTS);
    assert_int_equal(foretold.first, FIRST);
    assert_int_equal(foretold.end, FIRST + DAY);
    assert_ok(mt_prune_days(contract->store, &pruning, &error));
    assert_int_equal(pruning.records, PER_DAY * HOSTS);
    assert_int_equal(pruning.size_before, full);
    assert_int_equal(pruning.size, size_of(contract->store));
    assert_true(pruning.is_done);
    check_begins(contract->store, 1);

    /* the present day stays, however small the store is to be */
    pruning.now_s = FIRST + (DAYS - 1) * DAY + 60;
    pruning.kept = -1;
    assert_ok(mt_prune_days(contract->store, &pruning, &error));
    check_begins(contract->store, DAYS - 1);
}
