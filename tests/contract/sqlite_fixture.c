#include "sqlite_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "remove_tree.h"

enum { NOBODY = 65534, NOT_ALLOWED = 42 };

int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *base = getenv("TMPDIR");

    assert_non_null(fixture);
    (void)snprintf(fixture->directory, sizeof fixture->directory, "%s/mt-sqlite-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->directory));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/memory.db", fixture->directory);
    (void)snprintf(fixture->uri, sizeof fixture->uri, "sqlite:%s", fixture->path);
    *state = fixture;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    int result = remove_tree(fixture->directory);

    free(fixture);
    return result;
}

struct mt_store *fixture_open(const struct fixture *fixture, bool read_only, int busy_wait_ms)
{
    struct mt_store_options options = {.read_only = read_only, .busy_wait_ms = busy_wait_ms};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    if (mt_store_open(fixture->uri, &options, &store, &error) != MT_OK)
        fail_msg("open: %s", error.text);
    return store;
}

void fixture_fails(const struct fixture *fixture, bool read_only, enum mt_err code,
                   const char *words)
{
    struct mt_store_options options = {.read_only = read_only};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    enum mt_err err = mt_store_open(fixture->uri, &options, &store, &error);

    if (err != code || error.code != code || strstr(error.text, words) == NULL)
        fail_msg("expected %s with '%s', got %s: %s", mt_err_name(code), words, mt_err_name(err),
                 error.text);
    /* what failed names the file, so that a person knows which */
    assert_non_null(strstr(error.text, fixture->path));
    assert_null(store);
}

enum mt_err fixture_append(struct mt_store *store, const char *host, int64_t timestamp,
                           struct mt_error *error)
{
    struct mt_record record = {.timestamp = timestamp, .has_boot_id = true, .boot_id = {1}};
    struct mt_outcome outcome;
    enum mt_err err;

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_UPTIME_S, timestamp);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16000000);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 8000000);
    mt_record_set(&record, MT_FIELD_PSWPIN, 5);
    err = mt_store_append(store, &record, 1, MT_CONFLICT_REPORT, &outcome, error);
    if (err == MT_OK && outcome.verdict != MT_VERDICT_NEW)
        fail_msg("append: verdict %d %s", outcome.verdict, outcome.text);
    return err;
}

void fixture_fill(const struct fixture *fixture, int hosts, int minutes)
{
    enum { BATCH = 1000 };
    static struct mt_record records[BATCH];
    static struct mt_outcome outcomes[BATCH];
    struct mt_store *store = fixture_open(fixture, false, 20000);
    struct mt_error error = {0};
    size_t count = 0;

    for (int i = 0; i < hosts * minutes; i++) {
        struct mt_record *record = &records[count++];

        *record = (struct mt_record){.host = {(char)('a' + i % hosts)},
                                     .timestamp = 60 + i / hosts * INT64_C(60),
                                     .has_boot_id = true};
        mt_record_set(record, MT_FIELD_UPTIME_S, record->timestamp);
        mt_record_set(record, MT_FIELD_MEM_TOTAL, 16000000);
        mt_record_set(record, MT_FIELD_MEM_AVAILABLE, 8000000);
        if (count < BATCH && i + 1 < hosts * minutes)
            continue;
        if (mt_store_append(store, records, count, MT_CONFLICT_REPORT, outcomes, &error) != MT_OK)
            fail_msg("append: %s", error.text);
        count = 0;
    }
    mt_store_close(store);
}

static enum mt_err count_one(void *context, const struct mt_record *record, struct mt_error *error)
{
    (void)record;
    (void)error;
    ++*(int64_t *)context;
    return MT_OK;
}

int64_t fixture_count(struct mt_store *store, struct mt_error *error)
{
    struct mt_query query = {.to = INT64_MAX, .fields = MT_FIELD_ALL};
    int64_t count = 0;

    return mt_store_scan(store, &query, count_one, &count, error) == MT_OK ? count : -1;
}

sqlite3 *fixture_raw(const char *path)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

void fixture_exec(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

int64_t fixture_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t value;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return value;
}

void fixture_overwrite(const char *path, int64_t offset, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, offset), size);
    assert_int_equal(close(fd), 0);
}

/* there in a coverage build only; a child that leaves by _exit has to ask for it */
extern void __gcov_dump(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)

static void run_child(const struct fixture *fixture, void (*prepare)(void),
                      void (*body)(const struct fixture *))
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        /* a failed assertion then aborts, after it has said what failed */
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
        prepare();
        body(fixture);
        if (__gcov_dump != NULL && geteuid() == 0)
            __gcov_dump();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED) {
        print_message("skipped: needs root and the right to unshare(2) mounts\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void enter_namespace(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        _exit(NOT_ALLOWED);
}

static void become_nobody(void)
{
    if (geteuid() != 0)
        _exit(NOT_ALLOWED);
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(setresgid(NOBODY, NOBODY, NOBODY), 0);
    assert_int_equal(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

void fixture_in_namespace(const struct fixture *fixture, void (*body)(const struct fixture *))
{
    run_child(fixture, enter_namespace, body);
}

void fixture_as_nobody(const struct fixture *fixture, void (*body)(const struct fixture *))
{
    run_child(fixture, become_nobody, body);
}
