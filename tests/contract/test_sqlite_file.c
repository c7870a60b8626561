/* What is SQLite's own: the file, its schema, locks, and every way in which a file can be wrong. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sqlite_fixture.h"
#include "store/sqlite.h"

enum { WITHIN_MS = 20000 };

static sqlite3 *handle_of(struct mt_store *store)
{
    return ((struct sqlite_store *)store)->file.db;
}

static void new_files_are_for_their_group_and_well_set_up(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    struct stat status;
    mode_t mask = umask(022);
    sqlite3 *db;

    (void)snprintf(fixture->path, sizeof fixture->path, "%s/new/memory.db", fixture->directory);
    (void)snprintf(fixture->uri, sizeof fixture->uri, "sqlite:%s", fixture->path);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(store, "h", 60, &error), MT_OK);
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    *strrchr(fixture->path, '/') = '\0';
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0750);
    (void)umask(mask);
    db = handle_of(store);
    assert_int_equal(fixture_number(db, "PRAGMA auto_vacuum"), 2);
    assert_int_equal(fixture_number(db, "PRAGMA synchronous"), 2);
    assert_int_equal(fixture_number(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(fixture_number(db, "PRAGMA journal_mode = 'truncate'"), 0);
    assert_int_equal(fixture_number(db, "PRAGMA application_id"), 0x4D544C47);
    assert_int_equal(fixture_number(db, "PRAGMA user_version"), 2);
    mt_store_close(store);
}

static void a_directory_is_made_only_where_its_parent_is(void **state)
{
    struct fixture *fixture = *state;

    (void)snprintf(fixture->path, sizeof fixture->path, "%s/a/b/memory.db", fixture->directory);
    (void)snprintf(fixture->uri, sizeof fixture->uri, "sqlite:%s", fixture->path);
    fixture_fails(fixture, false, MT_ERR_MISSING, "does not exist, nor does");
    fixture_fails(fixture, true, MT_ERR_MISSING, "memory-sampler makes it");
}

static void a_directory_in_another_users_is_not_made(const struct fixture *fixture)
{
    fixture_fails(fixture, false, MT_ERR_MISSING, "belongs to another user");
}

static void another_users_directory_is_left_alone(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(chmod(fixture->directory, 0777), 0);
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/new/memory.db", fixture->directory);
    (void)snprintf(fixture->uri, sizeof fixture->uri, "sqlite:%s", fixture->path);
    fixture_as_nobody(fixture, a_directory_in_another_users_is_not_made);
}

static void an_empty_file_is_a_new_store(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};

    fixture_overwrite(fixture->path, 0, "", 0);
    fixture_fails(fixture, true, MT_ERR_MISSING, "still empty");
    store = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(store, "h", 60, &error), MT_OK);
    assert_int_equal(fixture_count(store, &error), 1);
    mt_store_close(store);
}

static void names_are_paths_and_nothing_else(void **state)
{
    static const char *const names[] = {":memory:", "file:memory.db?mode=memory", "a b%20c"};
    struct fixture *fixture = *state;
    char *before = getcwd(NULL, 0);
    struct mt_error error = {0};

    assert_int_equal(chdir(fixture->directory), 0);
    for (size_t i = 0; i < 3; i++) {
        struct mt_store *store;

        (void)snprintf(fixture->uri, sizeof fixture->uri, "sqlite:%s", names[i]);
        store = fixture_open(fixture, false, 0);
        assert_int_equal(fixture_append(store, "h", 60, &error), MT_OK);
        mt_store_close(store);
        assert_int_equal(access(names[i], F_OK), 0);
    }
    assert_int_equal(chdir(before), 0);
    free(before);
}

static void what_is_no_database_is_left_as_it_is(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;
    char text[8192];
    FILE *file;

    memset(text, 'x', sizeof text);
    fixture_overwrite(fixture->path, 0, text, sizeof text);
    fixture_fails(fixture, false, MT_ERR_NOT_DATABASE, "is not an SQLite database");
    fixture_fails(fixture, true, MT_ERR_NOT_DATABASE, "is not an SQLite database");
    file = fopen(fixture->path, "r");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof text, file), sizeof text);
    assert_int_equal(fclose(file), 0);
    for (size_t i = 0; i < sizeof text; i++)
        assert_int_equal(text[i], 'x');
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_size, sizeof text);
}

static void a_few_bytes_are_no_database_either(void **state)
{
    struct fixture *fixture = *state;

    fixture_overwrite(fixture->path, 0, "hello\n", 6);
    fixture_fails(fixture, false, MT_ERR_NOT_DATABASE, "is not an SQLite database");
    fixture_fails(fixture, true, MT_ERR_NOT_DATABASE, "is not an SQLite database");
}

static void a_directory_is_no_database(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(mkdir(fixture->path, 0700), 0);
    fixture_fails(fixture, false, MT_ERR_NOT_DATABASE, "is a directory");
    fixture_fails(fixture, true, MT_ERR_NOT_DATABASE, "is a directory");
}

static void another_programs_database_is_left_as_it_is(void **state)
{
    struct fixture *fixture = *state;
    sqlite3 *db = fixture_raw(fixture->path);
    int64_t version;

    fixture_exec(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    version = fixture_number(db, "PRAGMA data_version");
    fixture_fails(fixture, false, MT_ERR_NOT_DATABASE, "of another program");
    fixture_fails(fixture, true, MT_ERR_NOT_DATABASE, "of another program");
    assert_int_equal(fixture_number(db, "PRAGMA data_version"), version);
    fixture_exec(db, "CREATE TABLE memory_log(timestamp, total, free, used)");
    fixture_fails(fixture, false, MT_ERR_NOT_DATABASE, "memory-tracker import");
    assert_int_equal(fixture_number(db, "SELECT count(*) FROM sqlite_schema"), 2);
    assert_int_equal(fixture_number(db, "SELECT count(*) FROM t"), 1);
    (void)sqlite3_close(db);
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *fixture = *state;
    sqlite3 *db;

    fixture_fill(fixture, 1, 1);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "PRAGMA user_version=3");
    (void)sqlite3_close(db);
    fixture_fails(fixture, false, MT_ERR_NEWER_SCHEMA, "schema version 3, this program knows 2");
    fixture_fails(fixture, true, MT_ERR_NEWER_SCHEMA, "schema version 3, this program knows 2");
}

/* the value of PSWPIN in each record, -1 where it is absent */
static enum mt_err collect_pswpin(void *context, const struct mt_record *record,
                                  struct mt_error *error)
{
    int64_t *values = context;
    int64_t value = -1;

    (void)error;
    (void)mt_record_get(record, MT_FIELD_PSWPIN, &value);
    values[record->timestamp / 60 - 1] = value;
    return MT_OK;
}

static void a_database_that_lacks_a_field_gets_it(void **state)
{
    struct fixture *fixture = *state;
    struct mt_query query = {.to = INT64_MAX, .fields = MT_FIELD_ALL};
    struct mt_store *reader;
    struct mt_store *writer;
    struct mt_error error = {0};
    int64_t values[3] = {0, 0, 0};
    int64_t findings = -1;
    sqlite3 *db;

    fixture_fill(fixture, 1, 2);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "ALTER TABLE memory_log DROP COLUMN pswpin");
    fixture_exec(db, "ALTER TABLE memory_log DROP COLUMN interval_s");
    (void)sqlite3_close(db);
    /* a reader makes do */
    reader = fixture_open(fixture, true, 0);
    assert_int_equal(mt_store_scan(reader, &query, collect_pswpin, values, &error), MT_OK);
    assert_int_equal(values[1], -1);
    assert_int_equal(mt_store_verify(reader, false, NULL, NULL, &findings, &error), MT_OK);
    assert_int_equal(findings, 0);
    /* a writer adds it, and the reader sees it without being opened anew */
    writer = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(writer, "a", 180, &error), MT_OK);
    assert_int_equal(mt_store_scan(reader, &query, collect_pswpin, values, &error), MT_OK);
    assert_int_equal(values[0], -1);
    assert_int_equal(values[2], 5);
    assert_int_equal(fixture_number(handle_of(writer), "SELECT interval_s IS NULL FROM memory_log"),
                     1);
    mt_store_close(reader);
    mt_store_close(writer);
}

static void the_engine_itself_refuses_what_is_wrong(void **state)
{
    static const struct {
        const char *columns; /* of a row of memory_log, and its values */
        const char *values;
    } rows[] = {
        {"host_id,timestamp,mem_total,mem_free", "1,60,1,1"},
        {"host_id,timestamp,mem_total,mem_free", "99,61,1,1"},
        {"host_id,timestamp,mem_total,mem_free", "1,-1,1,1"},
        {"host_id,timestamp,mem_total,mem_free", "1,253402300800,1,1"},
        {"host_id,timestamp,mem_total,mem_free", "1,61,0,1"},
        {"host_id,timestamp,mem_free", "1,61,1"},
        {"host_id,timestamp,mem_total", "1,61,1"},
        {"host_id,timestamp,mem_total,mem_free", "1,61,1,'x'"},
        {"host_id,timestamp,boot_id,mem_total,mem_free", "1,61,99,1,1"},
    };
    static const char *const wrong[] = {
        "INSERT INTO host(name) VALUES('a')",
        "INSERT INTO host(name) VALUES('')",
        "INSERT INTO boot(uuid) VALUES(x'00')",
        "DELETE FROM host",
        "DELETE FROM boot",
        "INSERT INTO meta VALUES(2, 2)",
    };
    struct fixture *fixture = *state;
    sqlite3 *db;

    fixture_fill(fixture, 1, 1);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "PRAGMA foreign_keys=ON");
    fixture_exec(db, "INSERT INTO memory_log(host_id,timestamp,mem_total,mem_free,cached)"
                     " VALUES(1,61,1,1,9007199254740992)");
    fixture_exec(db, "DELETE FROM memory_log WHERE timestamp = 61");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char sql[256];

        (void)snprintf(sql, sizeof sql, "INSERT INTO memory_log(%s) VALUES(%s)", rows[i].columns,
                       rows[i].values);
        if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_CONSTRAINT)
            fail_msg("not refused: %s", sql);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (sqlite3_exec(db, wrong[i], NULL, NULL, NULL) != SQLITE_CONSTRAINT)
            fail_msg("not refused: %s", wrong[i]);
    (void)sqlite3_close(db);
}

static void a_locked_store_is_busy_and_unchanged(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *writer;
    struct mt_store *reader;
    struct mt_error error = {0};
    int64_t pruned;
    sqlite3 *db;

    fixture_fill(fixture, 1, 1);
    writer = fixture_open(fixture, false, 0);
    reader = fixture_open(fixture, true, 0);
    db = fixture_raw(fixture->path);
    /* somebody writes, but has not begun to commit: readers go on */
    fixture_exec(db, "BEGIN IMMEDIATE");
    assert_int_equal(fixture_append(writer, "a", 120, &error), MT_ERR_BUSY);
    assert_non_null(strstr(error.text, "locked by another process"));
    assert_int_equal(mt_store_prune(writer, 1000, &pruned, &error), MT_ERR_BUSY);
    assert_int_equal(pruned, 0);
    assert_int_equal(fixture_count(reader, &error), 1);
    fixture_exec(db, "COMMIT; BEGIN EXCLUSIVE");
    assert_int_equal(fixture_count(reader, &error), -1);
    assert_int_equal(error.code, MT_ERR_BUSY);
    assert_int_equal(mt_store_ping(reader, &error), MT_ERR_BUSY);
    fixture_exec(db, "COMMIT");
    assert_int_equal(fixture_count(reader, &error), 1);
    assert_int_equal(fixture_append(writer, "a", 120, &error), MT_OK);
    (void)sqlite3_close(db);
    mt_store_close(writer);
    mt_store_close(reader);
}

/* Asked while a scan waits for a lock. */
struct waiter {
    sqlite3 *holder;
    int asked;
    int release_at; /* which time it gives the lock back */
    int cancel_at;
};

static bool ask_waiter(void *context)
{
    struct waiter *waiter = context;

    waiter->asked++;
    if (waiter->asked == waiter->release_at)
        fixture_exec(waiter->holder, "COMMIT");
    return waiter->asked == waiter->cancel_at;
}

static enum mt_err ignore_record(void *context, const struct mt_record *record,
                                 struct mt_error *error)
{
    (void)context;
    (void)record;
    (void)error;
    return MT_OK;
}

static void a_wait_for_a_lock_ends_with_the_lock_or_the_wish(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *reader;
    struct waiter waiter = {.release_at = 4};
    struct mt_query query = {.to = INT64_MAX, .cancelled = ask_waiter, .cancel_context = &waiter};
    struct mt_error error = {0};

    fixture_fill(fixture, 1, 1);
    reader = fixture_open(fixture, true, WITHIN_MS);
    waiter.holder = fixture_raw(fixture->path);
    fixture_exec(waiter.holder, "BEGIN EXCLUSIVE");
    assert_int_equal(mt_store_scan(reader, &query, ignore_record, NULL, &error), MT_OK);
    assert_true(waiter.asked >= 4);
    fixture_exec(waiter.holder, "BEGIN EXCLUSIVE");
    waiter = (struct waiter){.holder = waiter.holder, .cancel_at = 3};
    assert_int_equal(mt_store_scan(reader, &query, ignore_record, NULL, &error), MT_ERR_CANCELLED);
    query.cancelled = NULL;
    query.deadline_ms = mt_clock_monotonic_ms() + 20;
    assert_int_equal(mt_store_scan(reader, &query, ignore_record, NULL, &error), MT_ERR_DEADLINE);
    fixture_exec(waiter.holder, "COMMIT");
    (void)sqlite3_close(waiter.holder);
    mt_store_close(reader);
}

/* leaves a journal that has to be rolled back, as a writer does that is killed while it writes */
static void leave_hot_journal(const char *path)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        sqlite3 *db = fixture_raw(path);

        fixture_exec(db, "PRAGMA journal_mode=TRUNCATE; PRAGMA cache_size=5; BEGIN IMMEDIATE;"
                         "CREATE TABLE junk(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
                         "i + 1 FROM n WHERE i < 500) INSERT INTO junk SELECT randomblob(900) FROM "
                         "n; DELETE FROM memory_log");
        (void)raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void an_interrupted_writer_is_repaired_by_the_next_one(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *reader;
    struct mt_store *writer;
    struct mt_error error = {0};

    fixture_fill(fixture, 2, 50);
    leave_hot_journal(fixture->path);
    reader = fixture_open(fixture, true, 0);
    assert_int_equal(fixture_count(reader, &error), -1);
    assert_int_equal(error.code, MT_ERR_UNAVAILABLE);
    assert_non_null(strstr(error.text, "the next memory-sampler"));
    writer = fixture_open(fixture, false, 0);
    assert_int_equal(fixture_append(writer, "z", 60, &error), MT_OK);
    assert_int_equal(fixture_count(reader, &error), 101);
    mt_store_close(reader);
    mt_store_close(writer);
}

static void read_on_a_read_only_mount(const struct fixture *fixture)
{
    struct mt_store *reader;
    struct mt_error error = {0};

    assert_int_equal(mount(fixture->directory, fixture->directory, NULL, MS_BIND, NULL), 0);
    assert_int_equal(
        mount("none", fixture->directory, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
    reader = fixture_open(fixture, true, 0);
    assert_int_equal(fixture_count(reader, &error), 3);
    mt_store_close(reader);
    fixture_fails(fixture, false, MT_ERR_READ_ONLY, "cannot be written");
    assert_int_equal(umount(fixture->directory), 0);
}

static void a_read_only_mount_serves_readers(void **state)
{
    fixture_fill(*state, 1, 3);
    fixture_in_namespace(*state, read_on_a_read_only_mount);
}

static void make_on_a_read_only_mount(const struct fixture *fixture)
{
    assert_int_equal(mount("none", fixture->directory, "tmpfs", MS_RDONLY, NULL), 0);
    fixture_fails(fixture, false, MT_ERR_READ_ONLY, "cannot be made");
    fixture_fails(fixture, true, MT_ERR_MISSING, "does not exist");
    assert_int_equal(umount(fixture->directory), 0);
}

static void nothing_is_made_on_a_read_only_mount(void **state)
{
    fixture_in_namespace(*state, make_on_a_read_only_mount);
}

static void fill_the_disk(const struct fixture *fixture)
{
    struct mt_store *store;
    struct mt_error error = {0};
    char filler[512];
    int64_t acknowledged = 0;
    int64_t findings = -1;
    static char block[65536];
    FILE *file;

    assert_int_equal(mount("none", fixture->directory, "tmpfs", 0, "size=1m"), 0);
    store = fixture_open(fixture, false, 0);
    (void)snprintf(filler, sizeof filler, "%s/filler", fixture->directory);
    file = fopen(filler, "w");
    assert_non_null(file);
    while (fwrite(block, 1, sizeof block, file) == sizeof block && fflush(file) == 0)
        ;
    (void)fclose(file);
    while (fixture_append(store, "h", acknowledged * 60, &error) == MT_OK)
        acknowledged++;
    assert_int_equal(error.code, MT_ERR_FULL);
    assert_non_null(strstr(error.text, "free some space"));
    /* nothing is damaged, nothing acknowledged is lost, and with room it goes on */
    assert_int_equal(fixture_count(store, &error), acknowledged);
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(fixture_append(store, "h", acknowledged * 60, &error), MT_OK);
    assert_int_equal(fixture_count(store, &error), acknowledged + 1);
    assert_int_equal(mt_store_verify(store, true, NULL, NULL, &findings, &error), MT_OK);
    assert_int_equal(findings, 0);
    mt_store_close(store);
    assert_int_equal(umount(fixture->directory), 0);
}

static void a_full_disk_loses_nothing(void **state)
{
    fixture_in_namespace(*state, fill_the_disk);
}

static void make_on_a_full_disk(const struct fixture *fixture)
{
    assert_int_equal(mount("none", fixture->directory, "tmpfs", 0, "size=8k"), 0);
    fixture_fails(fixture, false, MT_ERR_FULL, "free some space");
    assert_int_equal(umount(fixture->directory), 0);
}

static void a_full_disk_refuses_a_new_store(void **state)
{
    fixture_in_namespace(*state, make_on_a_full_disk);
}

static void open_what_is_not_mine(const struct fixture *fixture)
{
    fixture_fails(fixture, false, MT_ERR_PERMISSION, "may not open it");
    fixture_fails(fixture, true, MT_ERR_PERMISSION, "may not open it");
}

static void somebody_elses_file_is_named_as_such(void **state)
{
    struct fixture *fixture = *state;

    fixture_fill(fixture, 1, 1);
    assert_int_equal(chmod(fixture->directory, 0755), 0);
    assert_int_equal(chmod(fixture->path, 0600), 0);
    fixture_as_nobody(fixture, open_what_is_not_mine);
}

static void open_what_somebody_left_beside(const struct fixture *fixture)
{
    struct mt_store *reader = fixture_open(fixture, true, 0);
    struct mt_error error = {0};

    assert_int_equal(fixture_count(reader, &error), -1);
    assert_int_equal(error.code, MT_ERR_PERMISSION);
    assert_non_null(strstr(error.text, "memory.db-wal, which SQLite keeps beside it"));
    mt_store_close(reader);
    fixture_fails(fixture, false, MT_ERR_PERMISSION, "belongs to uid 0");
    fixture_fails(fixture, false, MT_ERR_PERMISSION, "run memory-tracker compact as uid 0");
}

static void what_another_user_left_beside_is_named(void **state)
{
    struct fixture *fixture = *state;
    char path[400];
    sqlite3 *raw;

    fixture_fill(fixture, 1, 1);
    raw = fixture_raw(fixture->path);
    fixture_exec(raw, "PRAGMA journal_mode=WAL; UPDATE meta SET generation = 1");
    assert_int_equal(chmod(fixture->directory, 0777), 0);
    assert_int_equal(chmod(fixture->path, 0666), 0);
    (void)snprintf(path, sizeof path, "%s-wal", fixture->path);
    assert_int_equal(chmod(path, 0600), 0);
    (void)snprintf(path, sizeof path, "%s-shm", fixture->path);
    assert_int_equal(chmod(path, 0600), 0);
    fixture_as_nobody(fixture, open_what_somebody_left_beside);
    (void)sqlite3_close(raw);
}

static void write_what_i_may_only_read(const struct fixture *fixture)
{
    struct mt_store *reader = fixture_open(fixture, true, 0);
    struct mt_error error = {0};

    assert_int_equal(fixture_count(reader, &error), 1);
    mt_store_close(reader);
    fixture_fails(fixture, false, MT_ERR_PERMISSION, "may not write it");
}

static void a_file_that_may_only_be_read_is_not_written(void **state)
{
    struct fixture *fixture = *state;

    fixture_fill(fixture, 1, 1);
    assert_int_equal(chmod(fixture->directory, 0777), 0);
    assert_int_equal(chmod(fixture->path, 0644), 0);
    fixture_as_nobody(fixture, write_what_i_may_only_read);
}

static void write_where_no_journal_can_be(const struct fixture *fixture)
{
    struct mt_store *store = fixture_open(fixture, false, 0);
    struct mt_error error = {0};

    assert_int_equal(fixture_append(store, "a", 120, &error), MT_ERR_PERMISSION);
    assert_non_null(strstr(error.text, "director"));
    assert_int_equal(fixture_count(store, &error), 1);
    mt_store_close(store);
}

static void a_directory_that_may_not_be_written_is_named(void **state)
{
    struct fixture *fixture = *state;
    char journal[400];

    fixture_fill(fixture, 1, 1);
    (void)snprintf(journal, sizeof journal, "%s-journal", fixture->path);
    assert_int_equal(unlink(journal), 0);
    assert_int_equal(chmod(fixture->directory, 0755), 0);
    assert_int_equal(chmod(fixture->path, 0666), 0);
    fixture_as_nobody(fixture, write_where_no_journal_can_be);
}

static void make_in_somebody_elses_directory(const struct fixture *fixture)
{
    fixture_fails(fixture, false, MT_ERR_PERMISSION, "cannot be made");
}

static void a_directory_of_another_user_is_named(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(chmod(fixture->directory, 0755), 0);
    fixture_as_nobody(fixture, make_in_somebody_elses_directory);
}

static void make_directory_on_a_read_only_mount(const struct fixture *fixture)
{
    struct fixture below = *fixture;

    assert_int_equal(mount("none", fixture->directory, "tmpfs", MS_RDONLY, NULL), 0);
    (void)snprintf(below.path, sizeof below.path, "%s/new/memory.db", fixture->directory);
    (void)snprintf(below.uri, sizeof below.uri, "sqlite:%s", below.path);
    fixture_fails(&below, false, MT_ERR_READ_ONLY, "cannot make directory");
    assert_int_equal(umount(fixture->directory), 0);
}

static void no_directory_is_made_on_a_read_only_mount(void **state)
{
    fixture_in_namespace(*state, make_directory_on_a_read_only_mount);
}

static void pruning_gives_the_space_back(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    struct stat before;
    struct stat after;
    int64_t pruned = 0;

    fixture_fill(fixture, 2, 5000);
    assert_int_equal(stat(fixture->path, &before), 0);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(mt_store_prune(store, 60 * INT64_C(4901), &pruned, &error), MT_OK);
    assert_int_equal(pruned, 2 * 4900);
    assert_int_equal(fixture_count(store, &error), 200);
    assert_int_equal(stat(fixture->path, &after), 0);
    assert_true(after.st_size < before.st_size / 4);
    mt_store_close(store);
}

/* SQLite's own count of work since the last time: opcodes of all statements */
static int64_t work_done(struct mt_store *store)
{
    int64_t steps = 0;
    sqlite3_stmt *statement = NULL;

    while ((statement = sqlite3_next_stmt(handle_of(store), statement)) != NULL)
        steps += sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    return steps;
}

static int64_t work_of(struct mt_store *store, int64_t skip, int64_t limit, size_t hosts)
{
    static const char *const names[] = {"a", "c", "e"};
    struct mt_query query = {.now_s = INT32_MAX,
                             .skip = skip,
                             .limit = limit,
                             .hosts = hosts == 0 ? NULL : names,
                             .host_count = hosts,
                             .fields = MT_FIELD_BIT(MT_FIELD_MEM_TOTAL)};
    struct mt_error error = {0};

    (void)work_done(store);
    assert_int_equal(mt_store_scan(store, &query, ignore_record, NULL, &error), MT_OK);
    return work_done(store);
}

/* A scan that is held up lets its lock go and then counts more: on a busy machine one of some tries
 * has to do. */
static bool costs_less(struct mt_store *store, int64_t skip, int64_t limit, size_t hosts,
                       int64_t most)
{
    enum { TRIES = 20 };

    for (int i = 0; i < TRIES; i++)
        if (work_of(store, skip, limit, hosts) < most)
            return true;
    return false;
}

/* measured in SQLite's opcodes, of which a plain OFFSET takes two or more for each record */
static void the_cost_of_a_scan_is_what_it_hands_out(void **state)
{
    enum { HOSTS = 5, DAYS = 20, RECORDS = HOSTS * DAYS * 1440 };
    struct fixture *fixture = *state;
    struct mt_store *store;

    fixture_fill(fixture, HOSTS, DAYS * 1440);
    store = fixture_open(fixture, true, 0);
    assert_true(costs_less(store, 0, 10, 0, 1000));
    assert_true(costs_less(store, 0, 1, 1, 500));
    assert_true(costs_less(store, 0, 1000, 0, 20000));
    assert_true(costs_less(store, RECORDS / 2, 10, 0, 30000));
    assert_true(costs_less(store, RECORDS - 20, 10, 0, 30000));
    assert_true(costs_less(store, RECORDS / HOSTS - 20, 10, 1, 8000));
    assert_true(costs_less(store, RECORDS / HOSTS * 3 - 20, 10, 3, 30000));
    assert_true(costs_less(store, INT64_MAX, 10, 0, 1000));
    mt_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(new_files_are_for_their_group_and_well_set_up),
        FIXTURE_TEST(a_directory_is_made_only_where_its_parent_is),
        FIXTURE_TEST(another_users_directory_is_left_alone),
        FIXTURE_TEST(an_empty_file_is_a_new_store),
        FIXTURE_TEST(names_are_paths_and_nothing_else),
        FIXTURE_TEST(what_is_no_database_is_left_as_it_is),
        FIXTURE_TEST(a_few_bytes_are_no_database_either),
        FIXTURE_TEST(a_directory_is_no_database),
        FIXTURE_TEST(another_programs_database_is_left_as_it_is),
        FIXTURE_TEST(a_newer_schema_is_refused),
        FIXTURE_TEST(a_database_that_lacks_a_field_gets_it),
        FIXTURE_TEST(the_engine_itself_refuses_what_is_wrong),
        FIXTURE_TEST(a_locked_store_is_busy_and_unchanged),
        FIXTURE_TEST(a_wait_for_a_lock_ends_with_the_lock_or_the_wish),
        FIXTURE_TEST(an_interrupted_writer_is_repaired_by_the_next_one),
        FIXTURE_TEST(a_read_only_mount_serves_readers),
        FIXTURE_TEST(nothing_is_made_on_a_read_only_mount),
        FIXTURE_TEST(a_full_disk_loses_nothing),
        FIXTURE_TEST(a_full_disk_refuses_a_new_store),
        FIXTURE_TEST(somebody_elses_file_is_named_as_such),
        FIXTURE_TEST(what_another_user_left_beside_is_named),
        FIXTURE_TEST(a_file_that_may_only_be_read_is_not_written),
        FIXTURE_TEST(a_directory_that_may_not_be_written_is_named),
        FIXTURE_TEST(a_directory_of_another_user_is_named),
        FIXTURE_TEST(no_directory_is_made_on_a_read_only_mount),
        FIXTURE_TEST(pruning_gives_the_space_back),
        FIXTURE_TEST(the_cost_of_a_scan_is_what_it_hands_out),
    };

    return cmocka_run_group_tests_name("sqlite files", tests, NULL, NULL);
}
