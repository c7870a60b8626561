/* Records that come late to sealed days, also to damaged ones, and what else a damaged file must
 * not stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "contract.h"
#include "sqlite_fixture.h"
#include "store/sqlite_block.h"

#define DAY_S  INT64_C(86400)
#define LATER  (1000 * DAY_S)
#define EVENTS 5

enum { MINUTES = 100, HOSTS = 4, SMALL_MIB = 8 };

static void seal(struct mt_store *store)
{
    struct mt_compaction compaction = {.now_s = LATER};
    struct mt_error error = {0};

    assert_ok(mt_store_compact(store, &compaction, &error));
    assert_true(compaction.is_done);
}

/* Hosts a, b, ... with a sealed first day; the store stays open. */
static struct mt_store *make_sealed(const struct fixture *fixture, int hosts)
{
    struct mt_store *store;

    fixture_fill(fixture, hosts, MINUTES);
    store = fixture_open(fixture, false, 1000);
    seal(store);
    return store;
}

/* what fixture_fill stored, if uptime_s is the timestamp */
static struct mt_record make_record(const char *host, int64_t timestamp, int64_t uptime_s)
{
    struct mt_record record = {.timestamp = timestamp, .has_boot_id = true};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_UPTIME_S, uptime_s);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16000000);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 8000000);
    return record;
}

static void append_all(struct mt_store *store, const struct mt_record *records, size_t count,
                       const enum mt_verdict *verdicts)
{
    struct mt_outcome outcomes[EVENTS];
    struct mt_error error = {0};

    assert_ok(mt_store_append(store, records, count, MT_CONFLICT_MOVE, outcomes, &error));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(outcomes[i].verdict, verdicts[i]);
        assert_int_equal(outcomes[i].timestamp, records[i].timestamp);
    }
}

static int64_t count_of(struct mt_store *store, const char *host, enum mt_err expected)
{
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_error error = {0};
    int64_t count;

    query.hosts = host == NULL ? NULL : &host;
    query.host_count = host != NULL;
    assert_int_equal(mt_store_scan(store, &query, contract_collect, &list, &error), expected);
    count = (int64_t)list.count;
    contract_list_free(&list);
    return count;
}

/* how often the words are in the log */
static int logged(const char *path, const char *words)
{
    char line[2048];
    int count = 0;
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, words) != NULL;
    (void)fclose(file);
    return count;
}

/* each record once in the order of arrival; the uptime of host a's at the second */
static int64_t follow(struct mt_store *store, size_t limit, int64_t second, size_t expected)
{
    struct contract_list list = {0};
    struct mt_token token = {0};
    struct mt_error error = {0};
    int64_t uptime_s = -1;
    size_t before;
    bool reset = false;

    do {
        before = list.count;
        assert_ok(mt_store_changes(store, &token, limit, contract_collect, &list, &reset, &error));
    } while (list.count > before);
    assert_int_equal(list.count, expected);
    for (size_t i = 0; i < list.count; i++) {
        if (strcmp(list.records[i].host, "a") != 0 || list.records[i].timestamp != second)
            continue;
        assert_int_equal(uptime_s, -1);
        assert_true(mt_record_get(&list.records[i], MT_FIELD_UPTIME_S, &uptime_s));
    }
    contract_list_free(&list);
    return uptime_s;
}

static void ignore_finding(void *context, const char *text)
{
    (void)context;
    print_message("finding: %s\n", text);
}

static void what_comes_late_to_a_damaged_day_is_kept(void **state)
{
    static const enum mt_verdict first[] = {MT_VERDICT_NEW, MT_VERDICT_NEW, MT_VERDICT_NEW,
                                            MT_VERDICT_REPEAT, MT_VERDICT_NEW};
    static const enum mt_verdict again[] = {MT_VERDICT_REPEAT, MT_VERDICT_REPEAT, MT_VERDICT_REPEAT,
                                            MT_VERDICT_REPEAT, MT_VERDICT_REPEAT};
    const struct fixture *fixture = *state;
    struct mt_store *store = make_sealed(fixture, 2);
    sqlite3 *raw = fixture_raw(fixture->path);
    struct mt_compaction compaction = {.now_s = LATER};
    struct mt_error error = {0};
    char path[400];
    int64_t findings = 0;
    /* a free second, a repeat, another record than the sealed one, a sound day, a new one */
    const struct mt_record records[EVENTS] = {make_record("a", 90, 90), make_record("a", 120, 120),
                                              make_record("a", 180, 7), make_record("b", 120, 120),
                                              make_record("c", LATER, 1)};

    const struct mt_record sealed_one = make_record("a", 180, 180);

    (void)snprintf(path, sizeof path, "%s/log", fixture->directory);
    assert_ok(mt_log_open("test", MT_LOG_WARNING, MT_LOG_TEXT, path, &error));
    fixture_exec(raw, "CREATE TEMP TABLE kept AS SELECT * FROM block_column WHERE id = 64;"
                      "UPDATE block_column SET data = x'00' WHERE id = 64");
    append_all(store, records, EVENTS, first);
    append_all(store, records, EVENTS, again);
    assert_int_equal(logged(path, "1970-01-01 of host a is damaged"), 1);
    assert_int_equal(logged(path, "kept beside it"), 1);
    assert_int_equal(logged(path, "memory-tracker verify"), 1);
    (void)count_of(store, NULL, MT_ERR_CORRUPT);
    assert_int_equal(count_of(store, "b", MT_OK), MINUTES);
    assert_int_equal(mt_store_compact(store, &compaction, &error), MT_ERR_CORRUPT);

    /* it can be read again: two records have their second twice, one of them is another */
    fixture_exec(raw, "UPDATE block_column SET data = (SELECT data FROM kept) WHERE id = 64");
    append_all(store, records, EVENTS, again);
    append_all(store, &sealed_one, 1, again);
    assert_int_equal(count_of(store, NULL, MT_OK), 2 * MINUTES + 2);
    assert_int_equal(follow(store, 1000, 180, 2 * MINUTES + 2), 180);
    assert_int_equal(follow(store, 1, 120, 2 * MINUTES + 2), 120);
    seal(store);
    assert_int_equal(logged(path, "is kept at 181"), 1);
    mt_log_close();
    assert_int_equal(count_of(store, "a", MT_OK), MINUTES + 2);
    assert_int_equal(follow(store, 1000, 181, 2 * MINUTES + 3), 7);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM memory_log"), 1);
    assert_int_equal(fixture_number(raw, "SELECT sum(records) FROM day"), 2 * MINUTES + 3);
    assert_ok(mt_store_verify(store, false, ignore_finding, NULL, &findings, &error));
    assert_int_equal(findings, 0);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

/* A record that was moved, came again while its day was damaged, and is there twice since. */
static void what_was_moved_and_comes_again_is_kept_once(void **state)
{
    static const enum mt_verdict kept[] = {MT_VERDICT_NEW};
    const struct fixture *fixture = *state;
    const struct mt_record other = make_record("a", 180, 7);
    struct mt_store *store;
    struct mt_outcome outcome;
    sqlite3 *raw;

    fixture_fill(fixture, 1, MINUTES);
    store = fixture_open(fixture, false, 1000);
    outcome = contract_append(store, &other, MT_CONFLICT_MOVE);
    assert_int_equal(outcome.timestamp, 181);
    seal(store);
    raw = fixture_raw(fixture->path);
    fixture_exec(raw, "CREATE TEMP TABLE kept AS SELECT * FROM block_column WHERE id = 64;"
                      "UPDATE block_column SET data = x'00' WHERE id = 64");
    append_all(store, &other, 1, kept);
    fixture_exec(raw, "UPDATE block_column SET data = (SELECT data FROM kept) WHERE id = 64");
    seal(store);
    assert_int_equal(count_of(store, "a", MT_OK), MINUTES + 1);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

static void a_loose_record_that_cannot_be_read_stands_in_nobodys_way(void **state)
{
    static const enum mt_verdict again[] = {MT_VERDICT_REPEAT};
    const struct fixture *fixture = *state;
    struct mt_record late = make_record("a", 120, 120);
    struct mt_store *store;
    struct mt_outcome outcome;
    sqlite3 *raw;

    fixture_fill(fixture, 1, MINUTES);
    store = fixture_open(fixture, false, 1000);
    raw = fixture_raw(fixture->path);
    fixture_exec(raw, "UPDATE memory_log SET boot_id = 99 WHERE timestamp = 120");
    outcome = contract_append(store, &late, MT_CONFLICT_REPORT);
    assert_int_equal(outcome.verdict, MT_VERDICT_CONFLICT);
    outcome = contract_append(store, &late, MT_CONFLICT_MOVE);
    assert_int_equal(outcome.verdict, MT_VERDICT_MOVED);
    assert_int_equal(outcome.timestamp, 121);
    outcome = contract_append(store, &late, MT_CONFLICT_MOVE);
    assert_int_equal(outcome.verdict, MT_VERDICT_REPEAT);
    late.timestamp = 121;
    append_all(store, &late, 1, again);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

static int count_fetches(unsigned type, void *context, void *statement, void *text)
{
    int *fetches = context;

    (void)type;
    (void)statement;
    *fetches += strncmp(text, "SELECT id,count,min,max,data FROM block_column", 46) == 0;
    return 0;
}

static void a_day_is_read_once_for_a_batch_that_goes_round_the_hosts(void **state)
{
    static struct mt_record records[MINUTES * HOSTS];
    static struct mt_outcome outcomes[MINUTES * HOSTS];
    const struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, 1000);
    struct mt_error error = {0};
    int fetches = 0;

    for (int i = 0; i < MINUTES * HOSTS; i++) {
        records[i] = contract_record((const char[]){(char)('a' + i % HOSTS), '\0'},
                                     60 + i / HOSTS * INT64_C(60), i);
        /* the last one's can only be told by all of their values */
        records[i].has_boot_id = i % HOSTS < HOSTS - 1;
    }
    assert_ok(mt_store_append(store, records, (size_t)MINUTES * HOSTS, MT_CONFLICT_REPORT, outcomes,
                              &error));
    seal(store);
    assert_int_equal(sqlite3_trace_v2(((struct sqlite_store *)store)->file.db, SQLITE_TRACE_STMT,
                                      count_fetches, &fetches),
                     SQLITE_OK);
    assert_ok(mt_store_append(store, records, (size_t)MINUTES * HOSTS, MT_CONFLICT_REPORT, outcomes,
                              &error));
    for (int i = 0; i < MINUTES * HOSTS; i++)
        assert_int_equal(outcomes[i].verdict, MT_VERDICT_REPEAT);
    assert_int_equal(fetches, HOSTS + 1);
    mt_store_close(store);
}

static void what_is_too_large_is_not_read(void **state)
{
    static const char *const sizes[] = {"1500000", "30000000"};
    const struct fixture *fixture = *state;
    struct mt_store *store = make_sealed(fixture, 1);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct mt_query query = contract_everything();
        struct contract_list list = {0};
        struct mt_error error = {0};
        sqlite3 *raw = fixture_raw(fixture->path);
        char sql[128];
        int64_t before;

        (void)snprintf(sql, sizeof sql, "UPDATE block_column SET data = zeroblob(%s) WHERE id = 64",
                       sizes[i]);
        fixture_exec(raw, sql);
        (void)sqlite3_close(raw);
        before = sqlite3_memory_used();
        (void)sqlite3_memory_highwater(1);
        assert_int_equal(mt_store_scan(store, &query, contract_collect, &list, &error),
                         MT_ERR_CORRUPT);
        assert_true(sqlite3_memory_highwater(0) - before < SMALL_MIB << 20);
        assert_non_null(strstr(error.text, "more bytes than its records can have"));
        contract_list_free(&list);
    }
    mt_store_close(store);
}

static enum mt_err count_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    int *hosts = context;

    (void)error;
    assert_string_equal(host->name, "a");
    ++*hosts;
    return MT_OK;
}

static void a_host_with_an_impossible_name_does_not_stop_the_rest(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store = make_sealed(fixture, 3);
    sqlite3 *raw = fixture_raw(fixture->path);
    struct mt_error error = {0};
    int64_t pruned = 0;
    int hosts = 0;

    fixture_exec(raw, "PRAGMA ignore_check_constraints=ON;"
                      "UPDATE host SET name = CAST(x'610062' AS TEXT) WHERE name = 'b';"
                      "UPDATE host SET name = hex(zeroblob(300)) WHERE name = 'c'");
    mt_store_close(store);
    store = fixture_open(fixture, false, 1000);
    assert_int_equal(mt_store_hosts(store, LATER, count_host, &hosts, &error), MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "restore a backup"));
    assert_int_equal(hosts, 1);

    /* a part of the day: of whom nobody knows, nothing goes */
    assert_ok(fixture_append(store, "d", 60, &error));
    assert_int_equal(mt_store_prune(store, 61 * INT64_C(60), &pruned, &error), MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "restore a backup"));
    assert_int_equal(pruned, 60 + 1);
    assert_int_equal(fixture_number(raw, "SELECT sum(records) FROM day"), 3 * MINUTES - 60);
    /* the whole day: nothing of it has to be read */
    assert_ok(mt_store_prune(store, DAY_S, &pruned, &error));
    assert_int_equal(pruned, 3 * MINUTES - 60);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM block"), 0);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

static void what_belongs_to_no_host_is_pruned(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_store *store = make_sealed(fixture, 2);
    sqlite3 *raw = fixture_raw(fixture->path);
    struct mt_error error = {0};
    int64_t pruned = 0;

    fixture_exec(raw, "UPDATE block SET host_id = 98, hours = x'' WHERE id = 1");
    assert_ok(mt_store_prune(store, DAY_S, &pruned, &error));
    assert_int_equal(pruned, 2 * MINUTES);
    assert_int_equal(fixture_number(raw, "SELECT count(*) FROM block"), 0);
    (void)sqlite3_close(raw);
    mt_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(what_comes_late_to_a_damaged_day_is_kept),
        FIXTURE_TEST(what_was_moved_and_comes_again_is_kept_once),
        FIXTURE_TEST(a_loose_record_that_cannot_be_read_stands_in_nobodys_way),
        FIXTURE_TEST(a_day_is_read_once_for_a_batch_that_goes_round_the_hosts),
        FIXTURE_TEST(what_is_too_large_is_not_read),
        FIXTURE_TEST(a_host_with_an_impossible_name_does_not_stop_the_rest),
        FIXTURE_TEST(what_belongs_to_no_host_is_pruned),
    };

    return cmocka_run_group_tests_name("sqlite_late", tests, NULL, NULL);
}
