#include "store/tend.h"

#include <stdio.h>
#include <string.h>

#include "store/ops.h"
#include "unit.h"

#define DAY INT64_C(86400)

enum { DAYS = 40, NOW = 30 * DAY + 5000, MIB = 1 << 20 };

/* A store that is nothing but numbers of records by day; a record takes `bytes` of it. */
struct fake {
    struct mt_store base;
    int64_t records[DAYS];
    int64_t bytes, sealed_bytes;
    int64_t sealed_until; /* day */
    int prunes, compactions;
    enum mt_err prune_result, compact_result;
    bool never_done, removes_nothing;
    bool has_rival; /* who removes the oldest day just before it is looked for */
    char order[64];
};

static int64_t size_of(const struct fake *fake)
{
    int64_t size = 0;

    for (int64_t day = 0; day < DAYS; day++)
        size += fake->records[day] * (day < fake->sealed_until ? fake->sealed_bytes : fake->bytes);
    return size;
}

static void remove_oldest(struct fake *fake)
{
    int64_t day = 0;

    while (fake->records[day] == 0)
        day++;
    fake->records[day] = 0;
    fake->has_rival = false;
}

static enum mt_err scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                        void *context, struct mt_error *error)
{
    struct fake *fake = (struct fake *)store;
    enum mt_err result = MT_OK;

    assert_int_equal(query->order, MT_OLDEST_FIRST);
    assert_true(query->to > 0);
    if (fake->has_rival)
        remove_oldest(fake);
    for (int64_t day = 0; day < DAYS; day++)
        for (int64_t i = 0; i < fake->records[day]; i++) {
            struct mt_record record = {.host = "a", .timestamp = day * DAY + 60 * i};

            if (record.timestamp >= query->from && record.timestamp < query->to)
                result = emit(context, &record, error);
            if (result != MT_OK)
                return result;
        }
    return MT_OK;
}

static enum mt_err hosts(struct mt_store *store, int64_t now_s, mt_emit_host *emit, void *context,
                         struct mt_error *error)
{
    struct mt_host host = {.name = "a"};

    (void)now_s;
    for (int64_t day = 0; day < DAYS; day++)
        host.records += ((const struct fake *)store)->records[day];
    return emit(context, &host, error);
}

static enum mt_err prune(struct mt_store *store, int64_t before, int64_t *pruned,
                         struct mt_error *error)
{
    struct fake *fake = (struct fake *)store;

    *pruned = 0;
    (void)strncat(fake->order, "p", sizeof fake->order - strlen(fake->order) - 1);
    fake->prunes++;
    assert_int_equal(before % DAY, 0);
    if (fake->prune_result != MT_OK)
        return mt_error_set(error, fake->prune_result, "no prune today");
    for (int64_t day = 0; day < before / DAY && !fake->removes_nothing; day++) {
        *pruned += fake->records[day];
        fake->records[day] = 0;
    }
    return MT_OK;
}

static enum mt_err compact(struct mt_store *store, struct mt_compaction *compaction,
                           struct mt_error *error)
{
    struct fake *fake = (struct fake *)store;

    (void)strncat(fake->order, "c", sizeof fake->order - strlen(fake->order) - 1);
    fake->compactions++;
    if (fake->compact_result != MT_OK)
        return mt_error_set(error, fake->compact_result, "no sealing today");
    for (int64_t day = fake->sealed_until; day < compaction->now_s / DAY; day++) {
        compaction->days += fake->records[day] > 0;
        compaction->records += fake->records[day];
    }
    fake->sealed_until = compaction->now_s / DAY;
    compaction->is_done = !fake->never_done;
    return MT_OK;
}

static enum mt_err size(struct mt_store *store, int64_t *bytes, struct mt_error *error)
{
    (void)error;
    *bytes = size_of((const struct fake *)store);
    return MT_OK;
}

static const struct mt_store_ops ops = {
    .scheme = "fake:",
    .scan = scan,
    .hosts = hosts,
    .prune = prune,
    .compact = compact,
    .size = size,
};

/* ten records on each day from `first` to today and tomorrow */
static struct fake make_fake(int64_t first)
{
    struct fake fake = {.base = {&ops}, .bytes = 1000 << 10, .sealed_bytes = 100 << 10};

    for (int64_t day = first; day <= NOW / DAY + 1; day++)
        fake.records[day] = 10;
    return fake;
}

static int64_t oldest_of(const struct fake *fake)
{
    int64_t day = 0;

    while (day < DAYS && fake->records[day] == 0)
        day++;
    return day;
}

static const char *describe(const struct mt_tending *tending)
{
    static char text[256];
    struct mt_buf out;

    mt_buf_init(&out, 0);
    mt_buf_append_string(&out, "");
    mt_tend_describe(tending, &out);
    (void)snprintf(text, sizeof text, "%s", mt_buf_string(&out));
    mt_buf_fini(&out);
    return text;
}

static void test_by_time(void **state)
{
    struct fake fake = make_fake(3);
    struct mt_tending tending = {.pruning = {.now_s = NOW, .kept = 20 * DAY}};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    /* the day in which 20 days ago lies is kept as a whole */
    assert_int_equal(oldest_of(&fake), 10);
    assert_int_equal(tending.pruning.records, 70);
    assert_int_equal(tending.pruning.first, 3 * DAY);
    assert_int_equal(tending.pruning.end, 10 * DAY);
    assert_true(tending.pruning.is_done);
    assert_int_equal(tending.pruning.size, -1);
    /* what goes is not sealed before */
    assert_int_equal(strspn(fake.order, "p"), fake.prunes);
    assert_string_equal(fake.order + fake.prunes, "c");
    assert_string_equal(describe(&tending),
                        "20 days of hosts sealed (200 records), 70 records of 1970-01-04 to "
                        "1970-01-10 removed by RETENTION");

    fake.prunes = 0;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(fake.prunes, 0);
    assert_int_equal(tending.pruning.records, 0);
    assert_true(tending.pruning.is_done);
    assert_string_equal(describe(&tending), "");
}

/* A clock that jumps ahead by years, and whose own records come next, costs no day. */
static void test_a_clock_that_jumps_ahead(void **state)
{
    struct fake fake = make_fake(3);
    struct mt_tending tending = {.pruning = {.now_s = 39 * DAY + 5000, .kept = 5 * DAY}};
    struct mt_error error = {0};

    (void)state;
    fake.records[39] = 1;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(fake.prunes, 0);
    assert_int_equal(oldest_of(&fake), 3);
    assert_int_equal(tending.pruning.records, 0);
    assert_true(tending.compaction.is_done);

    /* it goes right after all: a day later there is a record that is a day old */
    fake.records[38] = 1;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), 38);

    /* a person who asks for it is taken at their word */
    fake = make_fake(3);
    assert_int_equal(mt_prune_days(&fake.base, &tending.pruning, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), DAYS);
}

static void test_all_is_kept(void **state)
{
    struct fake fake = make_fake(0);
    struct mt_tending tending = {.pruning = {.now_s = NOW}};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_string_equal(fake.order, "c");
    assert_true(tending.pruning.is_done && tending.compaction.is_done);
}

static void test_before(void **state)
{
    struct fake fake = make_fake(3);
    struct mt_pruning pruning = {.now_s = NOW, .before = 5 * DAY + 86399};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_prune_days(&fake.base, &pruning, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), 5);
    assert_int_equal(pruning.records, 20);

    /* the present day and what comes after stay whatever is asked for */
    pruning.before = INT64_MAX;
    assert_int_equal(mt_prune_days(&fake.base, &pruning, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), 30);
    assert_int_equal(pruning.records, 250);
    assert_int_equal(fake.records[30] + fake.records[31], 20);
}

static void test_by_size(void **state)
{
    struct fake fake = make_fake(3);
    int64_t cap = INT64_C(21) * 1000 << 10;
    struct mt_tending tending = {.pruning = {.now_s = NOW, .kept = -cap}};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    /* sealed first, 27 days of 1000 KiB; today and tomorrow take 20000 */
    assert_int_equal(tending.pruning.size_before, (INT64_C(20000) + 27000) << 10);
    assert_int_equal(tending.pruning.size, cap);
    assert_int_equal(oldest_of(&fake), 29);
    assert_int_equal(tending.pruning.records, 260);
    assert_int_equal(fake.prunes, 26);
    assert_true(tending.pruning.is_done);

    /* whatever the present day takes, it stays */
    tending.pruning.kept = -MIB;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), 30);
    assert_true(tending.pruning.size > MIB);
    assert_true(tending.pruning.is_done);
}

static void test_two_at_once_remove_no_more_than_one(void **state)
{
    struct fake fake = make_fake(3);
    /* 27 sealed days, of which one has three times the records: a day too much */
    int64_t cap = (INT64_C(20000) + 28000) << 10;
    struct mt_tending tending = {.pruning = {.now_s = NOW, .kept = -cap}};
    struct mt_error error = {0};

    (void)state;
    fake.records[28] = 30;
    fake.has_rival = true;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), 4);
    assert_int_equal(fake.prunes, 0);
    assert_int_equal(tending.pruning.records, 0);
    assert_int_equal(tending.pruning.size, cap);
}

static bool has_compacted(void *context)
{
    return ((struct fake *)context)->compactions > 0;
}

/* What is due to be sealed, but was not in time, may fit once it is: no day goes before. */
static void test_size_waits_for_sealing(void **state)
{
    struct fake fake = make_fake(3);
    struct mt_tending tending = {
        .pruning = {
            .now_s = NOW, .kept = -MIB, .cancelled = has_compacted, .cancel_context = &fake}};
    struct mt_error error = {0};

    (void)state;
    fake.never_done = true;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(fake.prunes, 0);
    assert_false(tending.pruning.is_done);
    /* but not for somebody who goes on writing into a day */
    tending.pruning.cancelled = NULL;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(oldest_of(&fake), 30);
    assert_true(tending.pruning.is_done);
}

static void test_size_where_nothing_can_be_sealed(void **state)
{
    static const struct {
        enum mt_err result;
        bool prunes;
    } rows[] = {{MT_ERR_CORRUPT, true}, {MT_ERR_FULL, true}, {MT_ERR_BUSY, false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fake fake = make_fake(28);
        struct mt_tending tending = {.pruning = {.now_s = NOW, .kept = -MIB}};
        struct mt_error error = {0};

        fake.compact_result = rows[i].result;
        assert_int_equal(mt_tend(&fake.base, &tending, &error), rows[i].result);
        assert_string_equal(error.text, "no sealing today");
        assert_int_equal(fake.prunes > 0, rows[i].prunes);
        assert_int_equal(oldest_of(&fake), rows[i].prunes ? 30 : 28);
    }
}

static void test_prune_fails(void **state)
{
    struct fake fake = make_fake(3);
    struct mt_tending tending = {.pruning = {.now_s = NOW, .kept = DAY}};
    struct mt_error error = {0};

    (void)state;
    fake.prune_result = MT_ERR_READ_ONLY;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_ERR_READ_ONLY);
    assert_string_equal(error.text, "no prune today");
    assert_false(tending.pruning.is_done);
    assert_int_equal(fake.compactions, 0);
}

static void test_what_is_not_removed_is_not_removed_for_ever(void **state)
{
    (void)state;
    for (int by_size = 0; by_size < 2; by_size++) {
        struct fake fake = make_fake(3);
        struct mt_tending tending = {.pruning = {.now_s = NOW, .kept = by_size ? -MIB : DAY}};
        struct mt_error error = {0};

        fake.removes_nothing = true;
        assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_ERR_FAILED);
        assert_string_equal(error.text,
                            "the store has records of 1970-01-04, but removes none of them");
        assert_int_equal(fake.prunes, 3);
        assert_false(tending.pruning.is_done);
    }
}

static bool after_two(void *context)
{
    return ++*(int *)context > 2;
}

static void test_stops(void **state)
{
    struct fake fake = make_fake(3);
    int asked = 0;
    struct mt_tending tending = {
        .pruning = {
            .now_s = NOW, .kept = 5 * DAY, .cancelled = after_two, .cancel_context = &asked}};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(fake.prunes, 2);
    assert_int_equal(fake.compactions, 0);
    assert_false(tending.pruning.is_done || tending.compaction.is_done);

    tending.pruning.cancelled = NULL;
    tending.pruning.deadline_ms = 1;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(fake.prunes, 2);

    tending.pruning.kept = -MIB;
    assert_int_equal(mt_tend(&fake.base, &tending, &error), MT_OK);
    assert_int_equal(fake.prunes, 2);
    assert_int_equal(tending.pruning.records, 0);
    assert_false(tending.pruning.is_done);
}

static void check_foretold(int64_t before, int64_t kept, bool is_exact)
{
    struct fake fake = make_fake(3);
    struct mt_pruning foretold = {.now_s = NOW, .before = before, .kept = kept};
    struct mt_pruning real = foretold;
    struct mt_error error = {0};

    fake.sealed_until = 28;
    assert_int_equal(mt_prune_foretell(&fake.base, &foretold, &error), MT_OK);
    assert_int_equal(fake.prunes, 0);
    assert_int_equal(mt_prune_days(&fake.base, &real, &error), MT_OK);
    assert_int_equal(foretold.size_before, real.size_before);
    if (!is_exact)
        return;
    assert_int_equal(foretold.records, real.records);
    assert_int_equal(foretold.first, real.first);
    assert_int_equal(foretold.end, real.end);
}

static void test_foretold(void **state)
{
    (void)state;
    check_foretold(7 * DAY + 1, 0, true);
    check_foretold(0, 9 * DAY, true);
    check_foretold(0, DAY, true);
    check_foretold(1, 0, true);
    check_foretold(0, 1000 * INT64_C(365) * DAY, true);
    check_foretold(0, -(INT64_C(1) << 50), true);
    check_foretold(0, -MIB, true);
    check_foretold(0, -(INT64_C(40) * 1000 << 10), false);
}

static void test_hours(void **state)
{
    int looks = 0;
    int different = 0;

    (void)state;
    for (int64_t second = NOW; second < NOW + 24 * 3600; second += 60)
        looks += mt_tend_is_hour("web-1", second, 60);
    assert_int_equal(looks, 24);
    for (int64_t second = NOW; second < NOW + 3600; second += 60)
        different += mt_tend_is_hour("web-1", second, 60) != mt_tend_is_hour("web-2", second, 60);
    assert_int_equal(different, 2);
    assert_true(mt_tend_is_hour("web-1", NOW, 7200));
    assert_true(mt_tend_is_hour("web-1", NOW, 3600));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_time),
        cmocka_unit_test(test_a_clock_that_jumps_ahead),
        cmocka_unit_test(test_all_is_kept),
        cmocka_unit_test(test_before),
        cmocka_unit_test(test_by_size),
        cmocka_unit_test(test_two_at_once_remove_no_more_than_one),
        cmocka_unit_test(test_size_waits_for_sealing),
        cmocka_unit_test(test_size_where_nothing_can_be_sealed),
        cmocka_unit_test(test_prune_fails),
        cmocka_unit_test(test_what_is_not_removed_is_not_removed_for_ever),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_foretold),
        cmocka_unit_test(test_hours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
