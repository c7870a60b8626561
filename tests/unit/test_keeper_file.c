/* The keeper of a history in a file: what fails, or is replaced, beneath it. */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/keeper.h"
#include "api/view.h"
#include "base/clock.h"
#include "remove_tree.h"
#include "store/store.h"

enum { RECORDS = 4000, WANTED = 3000, PATIENCE_MS = 30000 };

static char root[] = "/tmp/mt-test-keeper-XXXXXX";

/* What the keeper's calls of the store come to. */
static struct {
    pthread_mutex_t mu;
    int64_t scans; /* guarded by mu, as is all else */
    int64_t failures;
    enum mt_err changes_fail;
} spy = {.mu = PTHREAD_MUTEX_INITIALIZER};

enum mt_err __real_mt_store_scan(struct mt_store *store, const struct mt_query *query,
                                 mt_emit *emit, void *context, struct mt_error *error);
enum mt_err __wrap_mt_store_scan(struct mt_store *store, const struct mt_query *query,
                                 mt_emit *emit, void *context, struct mt_error *error);
enum mt_err __real_mt_store_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                                    mt_emit *emit, void *context, bool *reset,
                                    struct mt_error *error);
enum mt_err __wrap_mt_store_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                                    mt_emit *emit, void *context, bool *reset,
                                    struct mt_error *error);

static void fail_with(enum mt_err code)
{
    (void)pthread_mutex_lock(&spy.mu);
    spy.changes_fail = code;
    spy.failures = 0;
    (void)pthread_mutex_unlock(&spy.mu);
}

static int64_t count(const int64_t *what)
{
    int64_t value;

    (void)pthread_mutex_lock(&spy.mu);
    value = *what;
    (void)pthread_mutex_unlock(&spy.mu);
    return value;
}

enum mt_err __wrap_mt_store_scan(struct mt_store *store, const struct mt_query *query,
                                 mt_emit *emit, void *context, struct mt_error *error)
{
    (void)pthread_mutex_lock(&spy.mu);
    spy.scans++;
    (void)pthread_mutex_unlock(&spy.mu);
    return __real_mt_store_scan(store, query, emit, context, error);
}

enum mt_err __wrap_mt_store_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                                    mt_emit *emit, void *context, bool *reset,
                                    struct mt_error *error)
{
    enum mt_err code;

    (void)pthread_mutex_lock(&spy.mu);
    code = spy.changes_fail;
    spy.failures += code != MT_OK;
    (void)pthread_mutex_unlock(&spy.mu);
    if (code != MT_OK)
        return mt_error_set(error, code, "not today");
    return __real_mt_store_changes(store, token, limit, emit, context, reset, error);
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static const char *path_of(const char *name)
{
    static char path[64];

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static struct mt_store *open_file(const char *name)
{
    char uri[80];
    struct mt_store_options options = {.busy_wait_ms = PATIENCE_MS, .timeout_ms = PATIENCE_MS};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    (void)snprintf(uri, sizeof uri, "sqlite:%s", path_of(name));
    if (mt_store_open(uri, &options, &store, &error) != MT_OK)
        fail_msg("%s", error.text);
    return store;
}

static void append(struct mt_store *store, int64_t timestamp, size_t number)
{
    struct mt_record *records = calloc(number, sizeof *records);
    struct mt_outcome *outcomes = calloc(number, sizeof *outcomes);
    struct mt_error error = {0};

    assert_true(records != NULL && outcomes != NULL);
    for (size_t i = 0; i < number; i++) {
        records[i] = (struct mt_record){.timestamp = timestamp + (int64_t)i, .host = "h"};
        mt_record_set(&records[i], MT_FIELD_MEM_TOTAL, 2048);
        mt_record_set(&records[i], MT_FIELD_MEM_AVAILABLE, 1024);
    }
    if (mt_store_append(store, records, number, MT_CONFLICT_REPORT, outcomes, &error) != MT_OK)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < number; i++)
        assert_int_equal(outcomes[i].verdict, MT_VERDICT_NEW);
    free(outcomes);
    free(records);
}

/* Until a reader that goes on asking has all there is, as one view of so many records. */
static void wait_current(struct mt_keeper *keeper, size_t least, size_t most)
{
    struct mt_reader *reader = mt_keeper_reader(keeper, 0);
    int64_t until_ms = mt_clock_monotonic_ms() + PATIENCE_MS;
    size_t records = 0;

    do {
        nap();
        mt_reader_want(reader, WANTED);
        mt_reader_settle(reader);
        if (mt_reader_look(reader) == MT_READING_CURRENT)
            records = mt_view_records(reader->lease->view);
        if (mt_clock_monotonic_ms() > until_ms)
            fail_msg("%zu records, never %zu to %zu", records, least, most);
    } while (records < least || records > most);
}

static struct mt_keeper *start(void)
{
    static char uri[80];
    struct mt_keeper_options options = {.store = uri,
                                        .readers = 1,
                                        .least_records = 1000,
                                        .memory_bytes = 64 << 20,
                                        .busy_wait_ms = 1000,
                                        .timeout_ms = 1000,
                                        .poll_ms = 5,
                                        .forget_ms = PATIENCE_MS};
    struct mt_keeper *keeper = NULL;

    (void)snprintf(uri, sizeof uri, "sqlite:%s", path_of("memory.db"));
    assert_int_equal(mt_keeper_start(&options, &keeper, NULL), MT_OK);
    return keeper;
}

static void a_poll_that_fails_costs_nothing_that_was_known(void **state)
{
    static const enum mt_err failures[] = {MT_ERR_BUSY,      MT_ERR_DEADLINE, MT_ERR_UNAVAILABLE,
                                           MT_ERR_NO_MEMORY, MT_ERR_IO,       MT_ERR_CORRUPT};
    int64_t next_s = mt_clock_wall_s() - 100000;
    struct mt_store *store = open_file("memory.db");
    struct mt_keeper *keeper;
    int64_t scans;

    (void)state;
    append(store, next_s, RECORDS);
    next_s += RECORDS;
    keeper = start();
    wait_current(keeper, WANTED, RECORDS);
    scans = count(&spy.scans);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        fail_with(failures[i]);
        append(store, next_s++, 1);
        while (count(&spy.failures) < 2)
            nap();
        /* what arrived is not taken for not there */
        assert_int_not_equal(mt_reader_look(mt_keeper_reader(keeper, 0)), MT_READING_CURRENT);
        fail_with(MT_OK);
        wait_current(keeper, WANTED, RECORDS + 10);
        assert_int_equal(count(&spy.scans), scans);
    }
    mt_store_close(store);

    mt_keeper_stop(keeper);
}

static void another_file_is_another_history_whatever_failed(void **state)
{
    static const enum mt_err failures[] = {MT_ERR_BUSY, MT_ERR_IO};
    int64_t next_s = mt_clock_wall_s() - 50000;

    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        struct mt_store *store = open_file("memory.db");
        struct mt_store *other = open_file("other.db");
        struct mt_keeper *keeper = start();
        char from[64];

        append(store, next_s++, 1);
        append(other, next_s, 7);
        next_s += 7;
        mt_store_close(other);
        wait_current(keeper, 1, RECORDS + 20);
        mt_store_close(store);
        fail_with(failures[i]);
        (void)snprintf(from, sizeof from, "%s", path_of("other.db"));
        assert_int_equal(rename(from, path_of("memory.db")), 0);
        while (count(&spy.failures) < 2)
            nap();
        /* the old one is not gone on with meanwhile */
        assert_int_equal(mt_reader_look(mt_keeper_reader(keeper, 0)), MT_READING_UNKNOWN);
        fail_with(MT_OK);
        wait_current(keeper, 7, 7);
        mt_keeper_stop(keeper);
    }
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return remove_tree(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_poll_that_fails_costs_nothing_that_was_known),
        cmocka_unit_test(another_file_is_another_history_whatever_failed),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
