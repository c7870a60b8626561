/* Loose rows and sealed days are read as one: held against a store that has the same, all loose. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract.h"
#include "sqlite_fixture.h"
#include "sqlite_seal.h"
#include "store/sqlite.h"

enum {
    DAY_S = 86400,
    FIRST_DAY = 19000,
    DAYS = 4,
    HOSTS = 40,
    NOW_S = (FIRST_DAY + DAYS) * DAY_S - 1800, /* some of the last day is of the future */
    BATCH = 500,
};

static int64_t below(uint64_t *random, int64_t bound)
{
    return (int64_t)(contract_random(random) % (uint64_t)bound);
}

/* they arrive in another order than that of their names */
static void host_name(int64_t host, char name[MT_HOST_MAX + 1])
{
    (void)snprintf(name, MT_HOST_MAX + 1, "%c%" PRId64, (char)('a' + host * 7 % 26), host % 5);
    (void)snprintf(name + 2, MT_HOST_MAX - 1, "%s%" PRId64, host % 3 == 0 ? "" : "-", host);
}

/* few fields, each absent now and then; every kind of width that a piece may be packed in */
static struct mt_record make_record(uint64_t *random, int64_t host, int64_t timestamp)
{
    struct mt_record record = {.timestamp = timestamp, .has_boot_id = below(random, 9) != 0};

    host_name(host, record.host);
    if (record.has_boot_id)
        record.boot_id[3] = (uint8_t)(1 + below(random, 2) * host);
    mt_record_set(&record, MT_FIELD_UPTIME_S, timestamp);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16000000);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 8000000 + below(random, 200));
    if (below(random, 3) != 0)
        mt_record_set(&record, MT_FIELD_BUFFERS, below(random, 60000));
    if (host % 2 == 0)
        mt_record_set(&record, MT_FIELD_CACHED, below(random, 3) * MT_VALUE_MAX / 2);
    if (below(random, 50) == 0)
        mt_record_set(&record, MT_FIELD_OOM_KILL, 1);
    return record;
}

/* keeps of list what was new to the store */
static void append(struct mt_store *store, struct contract_list *list)
{
    static struct mt_outcome outcomes[BATCH];
    struct mt_error error = {0};
    size_t kept = 0;

    for (size_t at = 0; at < list->count; at += BATCH) {
        size_t count = list->count - at < BATCH ? list->count - at : BATCH;

        assert_ok(mt_store_append(store, list->records + at, count, MT_CONFLICT_REPORT, outcomes,
                                  &error));
        for (size_t i = 0; i < count; i++)
            if (outcomes[i].verdict == MT_VERDICT_NEW)
                list->records[kept++] = list->records[at + i];
    }
    list->count = kept;
}

/* Two stores with the same records. */
struct twins {
    struct mt_store *loose;
    struct mt_store *sealed;
    uint64_t random;
};

static void append_both(struct twins *twins, struct contract_list *list)
{
    append(twins->loose, list);
    append(twins->sealed, list);
    list->count = 0;
}

/* hosts that tick together, hosts that tick when they like, and one that ticks twice a minute */
static void fill(struct twins *twins)
{
    struct contract_list list = {0};

    for (int64_t day = FIRST_DAY; day < FIRST_DAY + DAYS; day++)
        for (int64_t host = 0; host < HOSTS; host++) {
            int64_t step = host == 0       ? 10
                           : host % 3 == 0 ? 300
                                           : 60 * (1 + below(&twins->random, 40));
            int64_t begin = below(&twins->random, 8) == 0 ? below(&twins->random, DAY_S) : 0;

            if (day == FIRST_DAY + 1 && host > 0)
                continue;
            for (int64_t second = begin; second < DAY_S; second += step) {
                int64_t off = host % 3 == 1 ? below(&twins->random, 60) : 0;
                struct mt_record record =
                    make_record(&twins->random, host, day * DAY_S + (second + off) % DAY_S);

                contract_list_add(&list, &record);
            }
        }
    append_both(twins, &list);
    contract_list_free(&list);
}

static void come_late(struct twins *twins, int count)
{
    struct contract_list list = {0};

    for (int i = 0; i < count; i++) {
        int64_t second =
            (int64_t)FIRST_DAY * DAY_S + below(&twins->random, (int64_t)DAYS * DAY_S / 60) * 60;
        struct mt_record record = make_record(&twins->random, below(&twins->random, HOSTS), second);

        contract_list_add(&list, &record);
    }
    append_both(twins, &list);
    contract_list_free(&list);
}

/* of every so many host-days one */
static void seal_some(struct twins *twins, int64_t share)
{
    for (int64_t day = FIRST_DAY; day < FIRST_DAY + DAYS; day++)
        for (int64_t host = 0; host < HOSTS; host++) {
            char name[MT_HOST_MAX + 1];

            host_name(host, name);
            if (below(&twins->random, share) == 0)
                sqlite_seal(twins->sealed, name, day);
        }
}

static int64_t random_border(uint64_t *random)
{
    switch (below(random, 6)) {
    case 0:
        return (FIRST_DAY + below(random, DAYS + 1)) * DAY_S + below(random, 3) - 1;
    case 1:
        return (int64_t)FIRST_DAY * DAY_S + below(random, (int64_t)DAYS * DAY_S);
    case 2:
        return (int64_t)FIRST_DAY * DAY_S + below(random, DAYS * INT64_C(24)) * 3600;
    default:
        return 0;
    }
}

static int64_t random_amount(uint64_t *random)
{
    switch (below(random, 5)) {
    case 0:
        return below(random, 30000);
    case 1:
        return INT64_MAX;
    case 2:
        return below(random, 3000);
    case 3:
        return below(random, 30);
    default:
        return 0;
    }
}

static void check_query(struct twins *twins, const struct mt_query *query)
{
    struct contract_list got = {0};
    struct contract_list expected = {0};

    contract_scan(twins->sealed, query, &got);
    contract_scan(twins->loose, query, &expected);
    if (got.count != expected.count)
        print_error("from %" PRId64 " to %" PRId64 " skip %" PRId64 " limit %" PRId64
                    " hosts %zu order %d\n",
                    query->from, query->to, query->skip, query->limit, query->host_count,
                    query->order);
    assert_int_equal(got.count, expected.count);
    for (size_t i = 0; i < got.count; i++)
        contract_check_same(&got.records[i], &expected.records[i], query->fields);
    contract_list_free(&got);
    contract_list_free(&expected);
}

static void check_queries(struct twins *twins, int count)
{
    uint64_t *random = &twins->random;

    for (int i = 0; i < count; i++) {
        static char names[HOSTS][MT_HOST_MAX + 1];
        const char *wanted[HOSTS];
        struct mt_query query = {
            .from = random_border(random),
            .to = random_border(random),
            .now_s = NOW_S,
            .skip = random_amount(random),
            .limit = random_amount(random),
            .order = below(random, 2) == 0 ? MT_OLDEST_FIRST : MT_NEWEST_FIRST,
            .fields = below(random, 2) == 0 ? MT_FIELD_ALL : contract_random(random) & MT_FIELD_ALL,
        };

        if (below(random, 2) == 0) {
            query.hosts = wanted;
            query.host_count = (size_t)(below(random, 2) == 0 ? 1 : below(random, HOSTS));
            for (size_t j = 0; j < query.host_count; j++) {
                host_name(below(random, HOSTS), names[j]);
                wanted[j] = names[j];
            }
        }
        /* the records of an hour at once, of some days, or of all that there are */
        ((struct sqlite_store *)twins->sealed)->scan_memory =
            below(random, 2) == 0 ? 0 : INT64_C(100000) << below(random, 6);
        check_query(twins, &query);
    }
}

static void open_twins(const struct fixture *fixture, struct twins *twins)
{
    struct mt_store_options options = {.busy_wait_ms = 20000};
    struct mt_error error = {0};
    char uri[400];

    twins->random = contract_seed();
    twins->sealed = fixture_open(fixture, false, 20000);
    (void)snprintf(uri, sizeof uri, "sqlite:%s/loose.db", fixture->directory);
    assert_ok(mt_store_open(uri, &options, &twins->loose, &error));
}

static void close_twins(struct twins *twins)
{
    mt_store_close(twins->loose);
    mt_store_close(twins->sealed);
}

static void every_question_has_the_answer_of_a_store_without_blocks(void **state)
{
    const int questions = (contract_is_sanitized() ? 5 : 15) * contract_rounds();
    struct twins twins;

    open_twins(*state, &twins);
    fill(&twins);
    seal_some(&twins, 2);
    check_queries(&twins, questions);
    come_late(&twins, 400);
    check_queries(&twins, questions);
    seal_some(&twins, 3);
    check_queries(&twins, questions);
    seal_some(&twins, 1);
    check_queries(&twins, questions + 10);
    close_twins(&twins);
}

/* What two processes share: one writes and seals, the other reads meanwhile. */
struct meanwhile {
    struct twins twins;
    struct contract_list first; /* what is there from the beginning, in order */
    struct contract_list late;  /* what arrives meanwhile, in order of arrival */
    int64_t settled;            /* from here on nothing arrives */
    int64_t pruned;             /* before here records are pruned meanwhile */
};

/* arrives by and by, is sealed, merged with what is sealed already, and pruned now and then */
static void write_meanwhile(const struct fixture *fixture, struct meanwhile *meanwhile)
{
    struct mt_store *store = fixture_open(fixture, false, 20000);
    uint64_t *random = &meanwhile->twins.random;
    struct mt_error error = {0};

    for (size_t i = 0; i < meanwhile->late.count; i++) {
        const struct mt_record *record = &meanwhile->late.records[i];
        char name[MT_HOST_MAX + 1];
        struct mt_outcome outcome;
        int64_t removed = 0;

        assert_ok(mt_store_append(store, record, 1, MT_CONFLICT_REPORT, &outcome, &error));
        host_name(below(random, HOSTS), name);
        sqlite_seal(store, name, FIRST_DAY + below(random, DAYS));
        sqlite_seal(store, record->host, record->timestamp / DAY_S);
        if (i % 50 == 49)
            assert_ok(mt_store_prune(store, FIRST_DAY * INT64_C(86400) + (int64_t)i * 3600 / 50,
                                     &removed, &error));
    }
    mt_store_close(store);
}

static pid_t start_writer(const struct fixture *fixture, struct meanwhile *meanwhile)
{
    pid_t child = fork();

    assert_true(child >= 0);
    if (child > 0)
        return child;
    /* a failed assertion then aborts, after it has said what failed */
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    write_meanwhile(fixture, meanwhile);
    _exit(0);
}

static bool has_ended(pid_t child)
{
    int status = 0;
    pid_t ended = waitpid(child, &status, WNOHANG);

    assert_true(ended == 0 || ended == child);
    assert_true(ended == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return ended == child;
}

/* of what arrived meanwhile: all up to some place in the order of arrival, and nothing after it */
static void check_late(const struct meanwhile *meanwhile, const struct contract_list *seen)
{
    size_t left = seen->count;

    for (size_t i = 0; i < meanwhile->late.count && left > 0; i++)
        for (size_t j = 0; j < seen->count; j++)
            if (contract_compare(&seen->records[j], &meanwhile->late.records[i]) == 0) {
                assert_int_equal(i, seen->count - left);
                left--;
            }
    assert_int_equal(left, 0);
}

/* everything that is not pruned, once and in order, and what had arrived when the scan began */
static void check_meanwhile(const struct meanwhile *meanwhile, const struct contract_list *got,
                            const struct mt_query *query)
{
    struct contract_list seen = {0};
    size_t at = 0;

    for (size_t i = 0; i < got->count; i++) {
        bool is_newest_first = query->order == MT_NEWEST_FIRST;
        const struct mt_record *record = &got->records[is_newest_first ? got->count - 1 - i : i];
        const struct mt_record *expected;

        while (at < meanwhile->first.count &&
               meanwhile->first.records[at].timestamp < meanwhile->pruned &&
               contract_compare(&meanwhile->first.records[at], record) < 0)
            at++;
        expected = at < meanwhile->first.count ? &meanwhile->first.records[at] : NULL;
        if (expected != NULL && contract_compare(expected, record) == 0) {
            contract_check_same(record, expected, query->fields);
            at++;
        } else {
            contract_list_add(&seen, record);
        }
    }
    assert_int_equal(at, meanwhile->first.count);
    check_late(meanwhile, &seen);
    contract_list_free(&seen);
}

static void read_meanwhile(struct meanwhile *meanwhile, struct mt_store *reader, uint64_t *random)
{
    struct contract_list got = {0};
    struct contract_list expected = {0};
    struct mt_query query = contract_everything();

    query.order = below(random, 2) == 0 ? MT_OLDEST_FIRST : MT_NEWEST_FIRST;
    query.fields = contract_random(random) & MT_FIELD_ALL;
    ((struct sqlite_store *)reader)->scan_memory = INT64_C(100000) << below(random, 6);
    contract_scan(reader, &query, &got);
    check_meanwhile(meanwhile, &got, &query);

    query.from = meanwhile->settled;
    query.limit = 1 + below(random, 3000);
    query.skip = below(random, 3000);
    contract_scan(reader, &query, &got);
    contract_scan(meanwhile->twins.loose, &query, &expected);
    assert_int_equal(got.count, expected.count);
    for (size_t i = 0; i < got.count; i++)
        contract_check_same(&got.records[i], &expected.records[i], query.fields);
    contract_list_free(&got);
    contract_list_free(&expected);
}

static void make_late(struct meanwhile *meanwhile, size_t count)
{
    uint64_t *random = &meanwhile->twins.random;

    while (meanwhile->late.count < count) {
        int64_t hour = 4 + below(random, 60);
        /* no other record is of such a second */
        int64_t second = (int64_t)FIRST_DAY * DAY_S + hour * 3600 + 61 +
                         (int64_t)meanwhile->late.count % 50 * 60;
        struct mt_record record = make_record(random, 2 + below(random, 2), second);
        bool is_new = true;

        for (size_t i = 0; i < meanwhile->late.count; i++)
            is_new = is_new && contract_compare(&record, &meanwhile->late.records[i]) != 0;
        if (is_new)
            contract_list_add(&meanwhile->late, &record);
    }
}

static void a_scan_sees_each_record_once_while_days_are_sealed_and_pruned(void **state)
{
    enum { LATE = 150 };
    struct meanwhile meanwhile = {.settled = (FIRST_DAY + 3) * INT64_C(86400),
                                  .pruned = FIRST_DAY * INT64_C(86400) + INT64_C(4) * 3600};
    struct mt_query query = contract_everything();
    uint64_t random = contract_seed() + 5;
    struct mt_store *reader;
    pid_t writer;
    int reads = 0;

    open_twins(*state, &meanwhile.twins);
    fill(&meanwhile.twins);
    seal_some(&meanwhile.twins, 4);
    make_late(&meanwhile, LATE);
    contract_scan(meanwhile.twins.loose, &query, &meanwhile.first);
    /* no handle is open across the fork */
    close_twins(&meanwhile.twins);
    writer = start_writer(*state, &meanwhile);
    open_twins(*state, &meanwhile.twins);
    reader = fixture_open(*state, true, 20000);
    do {
        read_meanwhile(&meanwhile, reader, &random);
        reads++;
    } while (!has_ended(writer));
    read_meanwhile(&meanwhile, reader, &random);
    print_message("%d scans meanwhile\n", reads);
    mt_store_close(reader);
    contract_list_free(&meanwhile.first);
    contract_list_free(&meanwhile.late);
    close_twins(&meanwhile.twins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(every_question_has_the_answer_of_a_store_without_blocks),
        FIXTURE_TEST(a_scan_sees_each_record_once_while_days_are_sealed_and_pruned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
