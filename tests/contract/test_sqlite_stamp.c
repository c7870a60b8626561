#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sqlite_fixture.h"
#include "store/stamp.h"

static struct mt_stamp_watch *watch_it(const struct fixture *fixture)
{
    struct mt_stamp_watch *watch = NULL;

    assert_int_equal(mt_stamp_watch_new(fixture->uri, &watch, NULL), MT_OK);
    assert_non_null(watch);
    return watch;
}

static uint64_t stamp_of(struct mt_store *store)
{
    uint64_t stamp = 0;

    assert_int_equal(mt_store_stamp(store, &stamp, NULL), MT_OK);
    assert_true(stamp != 0);
    return stamp;
}

static void test_each_append_and_prune_changes_the_stamp_of_all_who_watch(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, 1000);
    struct mt_store *reader = fixture_open(fixture, true, 1000);
    struct mt_stamp_watch *watch = watch_it(fixture);
    uint64_t before = mt_stamp_watch_read(watch);
    int64_t pruned = 0;

    assert_true(before == stamp_of(reader));
    for (int64_t i = 1; i < 300; i++) {
        assert_int_equal(fixture_append(store, "a", i * 60, NULL), MT_OK);
        assert_true(mt_stamp_watch_read(watch) != before);
        before = mt_stamp_watch_read(watch);
        assert_true(before == stamp_of(reader));
        assert_true(before == stamp_of(store));
    }
    assert_int_equal(mt_store_prune(store, 120, &pruned, NULL), MT_OK);
    assert_true(mt_stamp_watch_read(watch) != before);
    assert_true(mt_stamp_watch_read(watch) == stamp_of(reader));
    assert_true(mt_stamp_same_file(before, mt_stamp_watch_read(watch)));
    /* who reads changes nothing */
    before = mt_stamp_watch_read(watch);
    assert_int_equal(fixture_count(reader, NULL), 298);
    assert_true(mt_stamp_watch_read(watch) == before);
    mt_stamp_watch_free(watch);
    mt_store_close(reader);
    mt_store_close(store);
}

static void test_a_file_that_is_not_there_yet_has_no_stamp(void **state)
{
    struct fixture *fixture = *state;
    struct mt_stamp_watch *watch = watch_it(fixture);
    struct mt_store *store;

    assert_true(mt_stamp_watch_read(watch) == 0);
    mt_stamp_watch_look(watch);
    assert_true(mt_stamp_watch_read(watch) == 0);
    store = fixture_open(fixture, false, 1000);
    assert_true(mt_stamp_watch_read(watch) == stamp_of(store));
    mt_store_close(store);
    mt_stamp_watch_free(watch);
}

static void test_a_replaced_file_is_noticed_by_a_look(void **state)
{
    struct fixture *fixture = *state;
    struct mt_stamp_watch *watch = watch_it(fixture);
    struct mt_store *reader;
    char other[400];
    uint64_t before;

    fixture_fill(fixture, 1, 3);
    reader = fixture_open(fixture, true, 1000);
    before = mt_stamp_watch_read(watch);
    assert_true(before == stamp_of(reader));
    (void)snprintf(other, sizeof other, "%s.old", fixture->path);
    assert_int_equal(rename(fixture->path, other), 0);
    mt_stamp_watch_look(watch);
    assert_true(mt_stamp_watch_read(watch) == 0);
    /* the same again, byte for byte or not, is another file */
    fixture_fill(fixture, 1, 3);
    assert_true(mt_stamp_watch_read(watch) != before);
    assert_false(mt_stamp_same_file(mt_stamp_watch_read(watch), before));
    assert_true(mt_stamp_watch_read(watch) == stamp_of(reader));
    assert_int_equal(fixture_count(reader, NULL), 3);
    mt_store_close(reader);
    mt_stamp_watch_free(watch);
}

static void test_a_file_with_a_log_beside_it_has_no_stamp(void **state)
{
    struct fixture *fixture = *state;
    struct mt_stamp_watch *watch;
    struct mt_store *reader;
    sqlite3 *db;
    uint64_t stamp = 1;

    fixture_fill(fixture, 1, 3);
    reader = fixture_open(fixture, true, 1000);
    watch = watch_it(fixture);
    assert_true(mt_stamp_watch_read(watch) == stamp_of(reader));
    db = fixture_raw(fixture->path);
    fixture_exec(db, "PRAGMA journal_mode=WAL");
    assert_true(mt_stamp_watch_read(watch) == 0);
    assert_int_equal(mt_store_stamp(reader, &stamp, NULL), MT_OK);
    assert_true(stamp == 0);
    /* who reads a log holds on to it */
    mt_store_close(reader);
    fixture_exec(db, "PRAGMA journal_mode=TRUNCATE");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_true(mt_stamp_watch_read(watch) != 0);
    mt_stamp_watch_free(watch);
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(close(fd), 0);
}

static void test_a_file_that_is_cut_off_has_no_stamp_until_it_is_back(void **state)
{
    static char bytes[256 * 1024];
    struct fixture *fixture = *state;
    struct mt_stamp_watch *watch;
    struct mt_store *store;
    uint64_t before;
    size_t size;
    FILE *file;

    fixture_fill(fixture, 1, 3);
    watch = watch_it(fixture);
    before = mt_stamp_watch_read(watch);
    assert_true(before != 0);
    file = fopen(fixture->path, "re");
    assert_non_null(file);
    size = fread(bytes, 1, sizeof bytes, file);
    assert_true(size > 0 && size < sizeof bytes && feof(file));
    assert_int_equal(fclose(file), 0);
    for (int i = 0; i < 3; i++) {
        write_file(fixture->path, bytes, 0);
        assert_true(mt_stamp_watch_read(watch) == 0);
        assert_true(mt_stamp_watch_read(watch) == 0);
        write_file(fixture->path, bytes, size);
        assert_true(mt_stamp_watch_read(watch) == before);
        assert_true(mt_stamp_watch_read(watch) == before);
        /* whoever copied it did not ask whether anybody looked meanwhile */
        write_file(fixture->path, bytes, 0);
        write_file(fixture->path, bytes, size);
        assert_true(mt_stamp_watch_read(watch) == before);
    }
    store = fixture_open(fixture, false, 1000);
    assert_int_equal(fixture_append(store, "a", 6000, NULL), MT_OK);
    assert_true(mt_stamp_watch_read(watch) != before);
    assert_true(mt_stamp_watch_read(watch) == stamp_of(store));
    mt_store_close(store);
    mt_stamp_watch_free(watch);
}

/* In another process: may this one lock the file for writing? */
static bool others_may_write(const struct fixture *fixture)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(fixture->path, O_RDWR | O_CLOEXEC);

        _exit(fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK ? 1 : 0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status) == 1;
}

static void test_locks_outlive_whoever_stops_watching(void **state)
{
    struct fixture *fixture = *state;
    struct mt_stamp_watch *watch;
    char other[400];
    sqlite3 *db;

    fixture_fill(fixture, 1, 3);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "BEGIN IMMEDIATE");
    assert_false(others_may_write(fixture));
    watch = watch_it(fixture);
    assert_true(mt_stamp_watch_read(watch) != 0);
    mt_stamp_watch_free(watch);
    assert_false(others_may_write(fixture));
    /* nor does it matter that the file is replaced meanwhile */
    watch = watch_it(fixture);
    assert_true(mt_stamp_watch_read(watch) != 0);
    (void)snprintf(other, sizeof other, "%s.old", fixture->path);
    assert_int_equal(rename(fixture->path, other), 0);
    mt_stamp_watch_look(watch);
    assert_int_equal(rename(other, fixture->path), 0);
    assert_false(others_may_write(fixture));
    fixture_exec(db, "COMMIT");
    assert_true(others_may_write(fixture));
    mt_stamp_watch_free(watch);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Whoever sends the signal means the process: it is not for the watch to swallow. */
static void test_a_bus_error_that_is_sent_ends_the_process(void **state)
{
    struct fixture *fixture = *state;
    struct mt_stamp_watch *watch;
    int status = 0;
    pid_t child;

    fixture_fill(fixture, 1, 3);
    child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        (void)signal(SIGBUS, SIG_DFL);
        watch = watch_it(fixture);
        if (mt_stamp_watch_read(watch) != 0)
            (void)raise(SIGBUS);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void test_what_is_under_way_is_no_stamp_of_the_store(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *reader;
    struct mt_error error = {0};
    uint64_t before;
    uint64_t stamp = 7;
    sqlite3 *db;

    fixture_fill(fixture, 1, 3);
    reader = fixture_open(fixture, true, 0);
    before = stamp_of(reader);
    db = fixture_raw(fixture->path);
    fixture_exec(db, "BEGIN EXCLUSIVE");
    assert_int_equal(mt_store_stamp(reader, &stamp, &error), MT_ERR_BUSY);
    assert_true(stamp == 7);
    fixture_exec(db, "ROLLBACK");
    assert_true(stamp_of(reader) == before);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    mt_store_close(reader);
}

static void test_other_kinds_have_none(void **state)
{
    struct mt_stamp_watch *watch = NULL;

    (void)state;
    assert_int_equal(mt_stamp_watch_new("mongodb://127.0.0.1/x", &watch, NULL), MT_OK);
    assert_null(watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_each_append_and_prune_changes_the_stamp_of_all_who_watch),
        FIXTURE_TEST(test_a_file_that_is_not_there_yet_has_no_stamp),
        FIXTURE_TEST(test_a_replaced_file_is_noticed_by_a_look),
        FIXTURE_TEST(test_a_file_with_a_log_beside_it_has_no_stamp),
        FIXTURE_TEST(test_a_file_that_is_cut_off_has_no_stamp_until_it_is_back),
        FIXTURE_TEST(test_locks_outlive_whoever_stops_watching),
        FIXTURE_TEST(test_a_bus_error_that_is_sent_ends_the_process),
        FIXTURE_TEST(test_what_is_under_way_is_no_stamp_of_the_store),
        FIXTURE_TEST(test_other_kinds_have_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
