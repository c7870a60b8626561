/* Sealing and RETENTION of an SQLite store where the disk is full or read-only, and while others
 * write and read. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sqlite_fixture.h"
#include "store/tend.h"

enum { DAY = 86400, MINUTES = 1440, LITTLE = 128 << 10 };

static void check_sound(struct mt_store *store, int64_t records)
{
    struct mt_error error = {0};
    int64_t findings = -1;

    assert_int_equal(fixture_count(store, &error), records);
    assert_int_equal(mt_store_verify(store, true, NULL, NULL, &findings, &error), MT_OK);
    assert_int_equal(findings, 0);
}

static void fill_disk(const char *path)
{
    static char block[4096];
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    (void)setvbuf(file, NULL, _IONBF, 0);
    while (fwrite(block, 1, sizeof block, file) == sizeof block)
        ;
    while (fwrite(block, 1, 1, file) == 1)
        ;
    (void)fclose(file);
}

static void tend_on_a_full_disk(const struct fixture *fixture)
{
    struct mt_tending tending = {.pruning = {.now_s = 5 * DAY}};
    struct mt_error error = {0};
    struct mt_store *store;
    struct stat full;
    char filler[512];

    assert_int_equal(mount("none", fixture->directory, "tmpfs", 0, "size=4m"), 0);
    (void)snprintf(filler, sizeof filler, "%s/filler", fixture->directory);
    fixture_fill(fixture, 2, 2 * MINUTES);
    store = fixture_open(fixture, false, 0);
    fill_disk(filler);
    assert_int_equal(mt_tend(store, &tending, &error), MT_ERR_FULL);
    assert_non_null(strstr(error.text, "free some space"));
    assert_false(tending.compaction.is_done);
    check_sound(store, 4 * MINUTES);
    /* with room it goes on, also with the handle that met the full disk */
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(mt_tend(store, &tending, &error), MT_OK);
    assert_true(tending.compaction.is_done && tending.compaction.records > 0);
    check_sound(store, 4 * MINUTES);
    /* sealed days go where there is little room */
    fill_disk(filler);
    assert_int_equal(stat(filler, &full), 0);
    assert_int_equal(truncate(filler, full.st_size - LITTLE), 0);
    tending.pruning.kept = 3 * DAY;
    assert_int_equal(mt_tend(store, &tending, &error), MT_OK);
    assert_true(tending.pruning.is_done);
    assert_int_equal(tending.pruning.records, 2 * (MINUTES - 1) + 2 * MINUTES);
    check_sound(store, 2);
    mt_store_close(store);
    assert_int_equal(umount(fixture->directory), 0);
}

static void a_full_disk_leaves_days_as_they_are(void **state)
{
    fixture_in_namespace(*state, tend_on_a_full_disk);
}

static void tend_on_a_read_only_mount(const struct fixture *fixture)
{
    const struct mt_store_options options = {0};
    struct mt_compaction compaction = {.now_s = 5 * DAY};
    struct mt_tending tending = {.pruning = {.now_s = 5 * DAY, .kept = DAY}};
    struct mt_error error = {0};
    struct mt_store *store = NULL;

    assert_int_equal(mount(fixture->directory, fixture->directory, NULL, MS_BIND, NULL), 0);
    assert_int_equal(
        mount("none", fixture->directory, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(mt_tend_open(fixture->uri, &options, &store, &error), MT_ERR_READ_ONLY);
    assert_null(store);
    store = fixture_open(fixture, true, 0);
    assert_int_equal(mt_store_compact(store, &compaction, &error), MT_ERR_READ_ONLY);
    assert_int_equal(mt_tend(store, &tending, &error), MT_ERR_READ_ONLY);
    assert_int_equal(tending.pruning.records, 0);
    check_sound(store, MINUTES);
    mt_store_close(store);
    assert_int_equal(umount(fixture->directory), 0);
}

static void a_read_only_mount_leaves_days_as_they_are(void **state)
{
    fixture_fill(*state, 1, MINUTES);
    fixture_in_namespace(*state, tend_on_a_read_only_mount);
}

static void a_store_that_is_not_there_is_not_made(void **state)
{
    const struct fixture *fixture = *state;
    const struct mt_store_options options = {0};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    assert_int_equal(mt_tend_open(fixture->uri, &options, &store, &error), MT_ERR_MISSING);
    assert_null(store);
    assert_int_not_equal(access(fixture->path, F_OK), 0);
}

/* Whose time is over learns whether there is anything to do, and nothing is done. */
static void a_look_changes_nothing(void **state)
{
    const struct fixture *fixture = *state;
    struct mt_compaction look = {.now_s = DAY + MT_SEAL_AFTER_S - 1, .deadline_ms = 1};
    struct mt_error error = {0};
    struct mt_store *store;

    fixture_fill(fixture, 2, MINUTES);
    store = fixture_open(fixture, false, 0);
    assert_int_equal(mt_store_compact(store, &look, &error), MT_OK);
    assert_true(look.is_done);
    look.now_s++;
    assert_int_equal(mt_store_compact(store, &look, &error), MT_OK);
    assert_false(look.is_done);
    assert_int_equal(look.days, 0);
    look.deadline_ms = 0;
    assert_int_equal(mt_store_compact(store, &look, &error), MT_OK);
    assert_true(look.is_done);
    assert_int_equal(look.days, 2);
    look.deadline_ms = 1;
    assert_int_equal(mt_store_compact(store, &look, &error), MT_OK);
    assert_true(look.is_done);
    mt_store_close(store);
}

/* Appends one record after the other, each with a nap, until it is killed; says how many over
 * the pipe. */
static void append_until_killed(const struct fixture *fixture, int said)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    struct mt_store *store = fixture_open(fixture, false, 20000);
    struct mt_error error = {0};

    for (int64_t i = 0;; i++) {
        /* now into days that are being sealed, now into the present one */
        int64_t second = i % 2 == 0 ? 61 + i * 120 : 5 * DAY + i;

        if (fixture_append(store, "a", second, &error) != MT_OK)
            fail_msg("append: %s", error.text);
        if (write(said, "+", 1) != 1)
            _exit(0);
        (void)nanosleep(&nap, NULL);
    }
}

static enum mt_err check_order(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    int64_t *seen = context; /* the last second of each host, and how many records */
    int64_t *last = &seen[record->host[0] - 'a'];

    if (record->timestamp <= *last)
        return mt_error_set(error, MT_ERR_FAILED, "second %lld of %s is there twice",
                            (long long)record->timestamp, record->host);
    *last = record->timestamp;
    seen[2]++;
    return MT_OK;
}

static int64_t count_once(struct mt_store *store)
{
    const struct mt_query query = {.to = INT64_MAX, .fields = MT_FIELD_ALL};
    int64_t seen[3] = {-1, -1, 0};
    struct mt_error error = {0};

    if (mt_store_scan(store, &query, check_order, seen, &error) != MT_OK)
        fail_msg("scan: %s", error.text);
    return seen[2];
}

static void while_others_append_nobody_sees_a_record_twice_or_not_at_all(void **state)
{
    enum { HOSTS = 2, DAYS = 3 };
    const struct fixture *fixture = *state;
    int64_t acknowledged = 0;
    int64_t sealed = 0;
    struct mt_error error = {0};
    struct mt_store *sealer;
    struct mt_store *reader;
    char said[256];
    int ends[2];
    pid_t child;

    fixture_fill(fixture, HOSTS, DAYS * MINUTES);
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(ends[0]);
        append_until_killed(fixture, ends[1]);
    }
    (void)close(ends[1]);
    sealer = fixture_open(fixture, false, 20000);
    reader = fixture_open(fixture, true, 20000);
    while (acknowledged < 100 || sealed < HOSTS * DAYS + 2) {
        struct mt_compaction compaction = {.now_s = 4 * DAY + MT_SEAL_AFTER_S};
        ssize_t got = read(ends[0], said, sizeof said);
        int64_t there;

        assert_true(got > 0);
        acknowledged += got;
        there = count_once(reader);
        assert_true(there >= HOSTS * DAYS * MINUTES + acknowledged);
        if (mt_store_compact(sealer, &compaction, &error) != MT_OK)
            fail_msg("compact: %s", error.text);
        sealed += compaction.days;
        assert_true(count_once(reader) >= there);
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (ssize_t got; (got = read(ends[0], said, sizeof said)) > 0;)
        acknowledged += got;
    (void)close(ends[0]);
    /* a writer looks first, which repairs what was interrupted; one may be there that was not said
     * any more */
    assert_in_range(count_once(sealer) - HOSTS * DAYS * MINUTES, acknowledged, acknowledged + 1);
    assert_int_equal(count_once(reader), count_once(sealer));
    mt_store_close(reader);
    check_sound(sealer, count_once(sealer));
    mt_store_close(sealer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_full_disk_leaves_days_as_they_are),
        FIXTURE_TEST(a_read_only_mount_leaves_days_as_they_are),
        FIXTURE_TEST(a_store_that_is_not_there_is_not_made),
        FIXTURE_TEST(a_look_changes_nothing),
        FIXTURE_TEST(while_others_append_nobody_sees_a_record_twice_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
