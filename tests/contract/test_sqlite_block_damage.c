/* Sealed days that were damaged: verify finds it, and no reader gives a wrong number or crashes. */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract.h"
#include "sqlite_fixture.h"

#define DAY_S   INT64_C(86400)
#define EVERY_S INT64_C(600)

enum { DAYS = 2, FLIPS = 75, PAGE_FLIPS = 40 };

#define BEGIN_S INT64_C(1646956800)
#define NOW_S   (BEGIN_S + 10 * DAY_S)

static const struct {
    int measure;
    int64_t step_s;
} questions[] = {{MT_MEASURE_USED, 3600},      {MT_MEASURE_USED, 1800},
                 {MT_FIELD_MEM_TOTAL, DAY_S},  {MT_FIELD_MEM_AVAILABLE, 3600},
                 {MT_FIELD_CACHED, 3600},      {MT_FIELD_CACHED, 900},
                 {MT_FIELD_PSWPIN, 2 * DAY_S}, {MT_FIELD_INTERVAL_S, 600}};
enum { QUESTIONS = sizeof questions / sizeof questions[0] };

struct buckets {
    struct mt_bucket list[DAYS * 86400 / 600 + 1];
    size_t count;
};

/* What a sound store says, and its file; the file is put back before each damage. */
static struct {
    uint8_t *file;
    size_t size;
    struct contract_list records;
    struct contract_list arrivals;
    struct buckets buckets[QUESTIONS];
} sound;

/* random tests' own */
static uint64_t dice;

static int64_t below(int64_t bound)
{
    return bound <= 0 ? 0 : (int64_t)(contract_random(&dice) % (uint64_t)bound);
}

static enum mt_err collect_bucket(void *context, const struct mt_bucket *bucket,
                                  struct mt_error *error)
{
    struct buckets *buckets = context;

    (void)error;
    assert_true(buckets->count < sizeof buckets->list / sizeof buckets->list[0]);
    buckets->list[buckets->count++] = *bucket;
    return MT_OK;
}

static enum mt_err ask(struct mt_store *store, size_t question, struct buckets *buckets,
                       struct mt_error *error)
{
    const struct mt_aggregation wanted = {.measure = questions[question].measure,
                                          .to = INT64_MAX,
                                          .now_s = NOW_S,
                                          .step_s = questions[question].step_s};

    buckets->count = 0;
    return mt_store_aggregate(store, &wanted, collect_bucket, buckets, error);
}

/* columns of every form: constant, with gaps, seldom, rising, random */
static struct mt_record make_record(const char *host, int64_t timestamp)
{
    struct mt_record record = contract_record(host, timestamp, timestamp - BEGIN_S);

    record.boot_id[2] = (uint8_t)(timestamp / DAY_S % 2);
    record.has_boot_id = below(20) != 0;
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, below(16000000));
    if (host[0] == 'b')
        mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16000000 + below(2));
    if (below(3) == 0)
        mt_record_unset(&record, MT_FIELD_MEM_FREE);
    if (below(5) != 0)
        mt_record_set(&record, MT_FIELD_CACHED, below(1000) * 4);
    mt_record_set(&record, MT_FIELD_PSWPIN, timestamp / 7);
    return record;
}

static void seal(struct mt_store *store)
{
    struct mt_compaction compaction = {.now_s = NOW_S};
    struct mt_error error = {0};

    assert_ok(mt_store_compact(store, &compaction, &error));
    assert_true(compaction.is_done);
    assert_int_equal(compaction.days, 2 * DAYS);
}

static void append(struct mt_store *store, int64_t from, int64_t to)
{
    struct mt_error error = {0};

    for (int64_t second = from; second < to; second += EVERY_S) {
        struct mt_record records[2] = {make_record("a", second), make_record("b", second)};
        struct mt_outcome outcomes[2];

        assert_ok(mt_store_append(store, records, 2, MT_CONFLICT_REPORT, outcomes, &error));
        assert_int_equal(outcomes[1].verdict, MT_VERDICT_NEW);
    }
}

/* everything, in the order of arrival */
static enum mt_err follow(struct mt_store *store, struct contract_list *list,
                          struct mt_error *error)
{
    struct mt_token token = {0};
    size_t before;
    bool reset = false;
    enum mt_err err;

    do {
        before = list->count;
        err = mt_store_changes(store, &token, 100, contract_collect, list, &reset, error);
    } while (err == MT_OK && list->count > before && list->count <= 2 * sound.records.count);
    assert_false(reset);
    return err;
}

static void keep_file(const struct fixture *fixture)
{
    struct stat status;
    int fd = open(fixture->path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &status), 0);
    sound.size = (size_t)status.st_size;
    sound.file = malloc(sound.size);
    assert_non_null(sound.file);
    assert_int_equal(read(fd, sound.file, sound.size), sound.size);
    assert_int_equal(close(fd), 0);
}

/* once for all tests: each damages a copy */
static void make_sound(const struct fixture *fixture)
{
    struct mt_query query = contract_everything();
    struct mt_error error = {0};
    struct mt_store *store;

    if (sound.file != NULL)
        return;
    dice = contract_seed();
    store = fixture_open(fixture, false, 20000);
    append(store, BEGIN_S, BEGIN_S + DAYS * DAY_S);
    seal(store);
    /* a late record, which is loose */
    append(store, BEGIN_S + 7261, BEGIN_S + 7262);
    contract_scan(store, &query, &sound.records);
    assert_int_equal(sound.records.count, INT64_C(2) * DAYS * DAY_S / EVERY_S + 2);
    for (size_t i = 0; i < QUESTIONS; i++)
        assert_ok(ask(store, i, &sound.buckets[i], &error));
    assert_ok(follow(store, &sound.arrivals, &error));
    assert_int_equal(sound.arrivals.count, sound.records.count);
    mt_store_close(store);
    keep_file(fixture);
}

static void put_back(const struct fixture *fixture)
{
    make_sound(fixture);
    (void)unlink(fixture->path);
    fixture_overwrite(fixture->path, 0, sound.file, sound.size);
}

/* damage is told as it is, with what to do; other words would be of no use */
static void check_told(const struct fixture *fixture, const struct mt_error *error)
{
    if (error->code != MT_ERR_CORRUPT || strstr(error->text, fixture->path) == NULL ||
        strstr(error->text, "restore a backup") == NULL)
        fail_msg("%s: %s", mt_err_name(error->code), error->text);
}

static bool is_same(const struct mt_record *a, const struct mt_record *b)
{
    return strcmp(a->host, b->host) == 0 && a->timestamp == b->timestamp &&
           a->has_boot_id == b->has_boot_id &&
           memcmp(a->boot_id, b->boot_id, sizeof a->boot_id) == 0 && a->present == b->present &&
           memcmp(a->value, b->value, sizeof a->value) == 0;
}

static bool is_same_list(const struct contract_list *got, size_t count,
                         const struct contract_list *expected)
{
    bool is_well = got->count == count;

    for (size_t i = 0; i < got->count && is_well; i++)
        is_well = i < expected->count && is_same(&got->records[i], &expected->records[i]);
    return is_well;
}

/* everything, or what comes before the damage, and that is told */
static bool scans_well(const struct fixture *fixture, struct mt_store *store)
{
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_error error = {0};
    enum mt_err err = mt_store_scan(store, &query, contract_collect, &list, &error);
    bool is_well =
        is_same_list(&list, err == MT_OK ? sound.records.count : list.count, &sound.records);

    if (err != MT_OK)
        check_told(fixture, &error);
    contract_list_free(&list);
    return is_well;
}

/* everything in the order of arrival; or, where that order is what is damaged, that is told */
static bool follows_well(const struct fixture *fixture, struct mt_store *store)
{
    struct contract_list list = {0};
    struct mt_error error = {0};
    bool is_well = true;

    if (follow(store, &list, &error) != MT_OK)
        check_told(fixture, &error);
    else
        is_well = is_same_list(&list, sound.arrivals.count, &sound.arrivals);
    contract_list_free(&list);
    return is_well;
}

static bool is_same_bucket(const struct mt_bucket *a, const struct mt_bucket *b)
{
    return a->start_s == b->start_s && a->count == b->count && a->min == b->min &&
           a->max == b->max && a->sum <= b->sum && a->sum >= b->sum;
}

static bool aggregates_well(const struct fixture *fixture, struct mt_store *store)
{
    static struct buckets got;
    bool is_well = true;

    for (size_t i = 0; i < QUESTIONS && is_well; i++) {
        const struct buckets *expected = &sound.buckets[i];
        struct mt_error error = {0};

        if (ask(store, i, &got, &error) != MT_OK)
            check_told(fixture, &error);
        else
            is_well = got.count == expected->count;
        for (size_t j = 0; j < got.count && is_well; j++)
            is_well = is_same_bucket(&got.list[j], &expected->list[j]);
    }
    return is_well;
}

static bool reads_well(const struct fixture *fixture)
{
    struct mt_store *reader = fixture_open(fixture, true, 0);
    bool is_well = scans_well(fixture, reader) && aggregates_well(fixture, reader) &&
                   follows_well(fixture, reader);

    mt_store_close(reader);
    return is_well;
}

/* What verify told, and the words that are looked for. */
struct findings {
    const char *words;
    bool found;
    char last[512];
};

static void take_finding(void *context, const char *text)
{
    struct findings *findings = context;

    /* who reads this runs it just now */
    assert_null(strstr(text, "memory-tracker verify"));
    findings->found = findings->found || strstr(text, findings->words) != NULL;
    (void)snprintf(findings->last, sizeof findings->last, "%s", text);
}

static int64_t verify(const struct fixture *fixture, bool deep, struct findings *findings)
{
    struct mt_store *reader = fixture_open(fixture, true, 0);
    struct mt_error error = {0};
    int64_t count = 0;

    assert_ok(mt_store_verify(reader, deep, take_finding, findings, &count, &error));
    mt_store_close(reader);
    return count;
}

/* Damage by SQL, words of a finding, and whether readers have no way to notice it: a row that is
 * gone is not missed, but by verify. */
struct damage {
    const char *sql;
    const char *finding;
    bool is_silent;
};

#define COLUMN_OF(name) "id % 64 = (SELECT id FROM block_field WHERE name = '" name "')"
#define WITHOUT_INDEX(name, sql)                                                                   \
    "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = '" name "';"                    \
    "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name = '" name "';"                \
    "PRAGMA writable_schema=RESET;" sql                                                            \
    ";PRAGMA writable_schema=ON; INSERT INTO sqlite_schema SELECT * FROM kept;"                    \
    "DROP TABLE kept; PRAGMA writable_schema=RESET"

static const struct damage damages[] = {
    {"UPDATE block SET records = records + 1 WHERE id = 2", "impossible row in table block", false},
    {"UPDATE block SET first = first + 1 WHERE id = 2", "begins or ends at another second", false},
    {"UPDATE block SET last = last - 1 WHERE id = 2", "begins or ends at another second", false},
    {"UPDATE block SET first_seq = first_seq + 1 WHERE id = 2", "marks of arrival", false},
    {"UPDATE block SET first_seq = first_seq - 1 WHERE id = 2",
     "column seq begins or ends otherwise", false},
    {"UPDATE block SET last_seq = last_seq + 1 WHERE id = 2", "column seq begins or ends otherwise",
     false},
    {"UPDATE block SET last_seq = 0 WHERE id = 2", "impossible row in table block", false},
    {"UPDATE block SET day = day + 1 WHERE id IN (SELECT max(id) FROM block)",
     "impossible row in table block", false},
    {"UPDATE block SET hours = x'' WHERE id = 2", "impossible row in table block", false},
    {"UPDATE block SET hours = zeroblob(9) WHERE id = 2", "impossible row in table block", false},
    {"UPDATE block SET checksum = checksum + 1 WHERE id = 2", "checksum", false},
    {"UPDATE block_column SET id = id - 4 * 64 WHERE id / 64 = 2;"
     "UPDATE block SET id = -2 WHERE id = 2",
     "impossible row in table block", false},
    {"UPDATE block SET id = 1 << 58 WHERE id = 2", "impossible row in table block", false},
    {"UPDATE block SET id = -1 << 62 WHERE id = 2", "impossible row in table block", false},
    {"INSERT INTO host VALUES(99, 'other'); UPDATE block SET host_id = 99 WHERE id = 2", "checksum",
     true},
    {"UPDATE block SET host_id = 98 WHERE id = 2", "row 98 of table host", true},
    {"DROP TRIGGER IF EXISTS block_delete; DELETE FROM block WHERE id = 2", "belongs to block 2",
     true},
    {"DROP TRIGGER IF EXISTS block_delete; DELETE FROM block WHERE id = 2", "table day says", true},
    {"DELETE FROM block_column WHERE id / 64 = 2", "has no columns", true},
    {"DELETE FROM block_column WHERE id = 2 * 64", "has no timestamps", false},
    {"DELETE FROM block_column WHERE id = 2 * 64 + 1", "has no marks of arrival", false},
    {"DELETE FROM block_column WHERE id / 64 = 2 AND " COLUMN_OF("mem_total"), "mem_total", false},
    {"DELETE FROM block_column WHERE id / 64 = 2 AND " COLUMN_OF("cached"), "checksum", true},
    {"INSERT INTO block_column SELECT 64 * 77, count, min, max, hours, data FROM block_column "
     "LIMIT "
     "1",
     "belongs to block 77", false},
    {"INSERT INTO block_column SELECT 9223372036854775807, count, min, max, hours, data"
     " FROM block_column LIMIT 1",
     "belongs to block 144115188075855871", true},
    {"INSERT INTO block_column SELECT 2 * 64 + 63, count, min, max, hours, data FROM block_column"
     " WHERE id = 2 * 64",
     "that table block_field does not name", false},
    {"DELETE FROM block_field WHERE name = 'cached'", "that table block_field does not name", true},
    {"UPDATE block_field SET name = 'buffers' WHERE name = 'cached'", "checksum", true},
    {"UPDATE block_column SET count = count - 1 WHERE id / 64 = 2 AND " COLUMN_OF("cached"),
     "column cached", false},
    {"UPDATE block_column SET count = count - 1 WHERE id / 64 = 2 AND " COLUMN_OF("interval_s"),
     "column interval_s", false},
    {"UPDATE block_column SET min = min - 1 WHERE id / 64 = 2 AND " COLUMN_OF("cached"),
     "column cached", false},
    {"UPDATE block_column SET max = max + 1 WHERE id / 64 = 2 AND " COLUMN_OF("mem_available"),
     "column mem_available", false},
    {"UPDATE block_column SET min = 61 WHERE " COLUMN_OF("interval_s"), "column interval_s", false},
    {"UPDATE block_column SET min = 61, max = 61 WHERE " COLUMN_OF("interval_s"), "checksum", true},
    {"UPDATE block_column SET hours = NULL WHERE " COLUMN_OF("cached"), "column cached", false},
    {"UPDATE block_column SET data = NULL WHERE " COLUMN_OF("cached"), "column cached", false},
    {"UPDATE block_column SET hours = NULL, data = NULL WHERE " COLUMN_OF("cached"),
     "column cached", false},
    {"UPDATE block_column SET hours = (SELECT hours FROM block_column WHERE " COLUMN_OF(
         "pswpin") ") WHERE " COLUMN_OF("cached"),
     "column cached", false},
    {"UPDATE block_column SET data = (SELECT data FROM block_column WHERE " COLUMN_OF(
         "pswpin") ") WHERE " COLUMN_OF("cached"),
     "column cached", false},
    {"UPDATE block_column SET data = zeroblob(100000) WHERE id = 2 * 64", "column timestamp",
     false},
    {"INSERT INTO memory_log(host_id, timestamp, mem_total, mem_free) SELECT host_id, first, 1, 1"
     " FROM block WHERE id = 2",
     "is there twice, loose and sealed", true},
    {"UPDATE sqlite_sequence SET seq = 1 WHERE name = 'block'", "numbers of blocks", false},
    {"DELETE FROM memory_log; UPDATE sqlite_sequence SET seq = 9 WHERE name = 'memory_log'",
     "arrival marks of sealed records", true},
    {"DROP TRIGGER IF EXISTS boot_delete; DELETE FROM boot WHERE id = 1", "row 1 of table boot",
     false},
    {"DROP TRIGGER IF EXISTS host_delete; DELETE FROM host WHERE name = 'b'", "of table host",
     true},
    {"UPDATE host_day SET records = records - 1", "table host_day says", false},
    {WITHOUT_INDEX("block_by_day", "DELETE FROM block WHERE id = 2"),
     "block_by_day does not match its table: 4 entries, 3 blocks", true},
    {WITHOUT_INDEX("block_by_seq", "DELETE FROM block WHERE id = 2"),
     "block_by_seq does not match its table: 4 entries, 3 blocks", true},
};

static void every_damage_is_found_and_gives_no_wrong_number(void **state)
{
    struct fixture *fixture = *state;
    struct findings none = {.words = "none"};

    put_back(fixture);
    assert_int_equal(verify(fixture, true, &none), 0);
    assert_true(reads_well(fixture));
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct findings findings = {.words = damages[i].finding};
        sqlite3 *db;

        put_back(fixture);
        db = fixture_raw(fixture->path);
        fixture_exec(db, "DROP TRIGGER IF EXISTS block_update; PRAGMA ignore_check_constraints=ON");
        fixture_exec(db, damages[i].sql);
        (void)sqlite3_close(db);
        if (verify(fixture, false, &findings) == 0 || !findings.found)
            fail_msg("%s: no finding with '%s'; the last one was: %s", damages[i].sql,
                     damages[i].finding, findings.last);
        if (!reads_well(fixture) && !damages[i].is_silent)
            fail_msg("%s: was read without an error", damages[i].sql);
    }
}

static void flip(uint8_t *bytes, size_t size, int64_t bit)
{
    assert_true(bit / 8 < (int64_t)size);
    bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1U << bit % 8);
}

/* one bit of a blob, somewhere in a random row */
static void flip_blob(sqlite3 *db, const char *table, const char *column)
{
    char sql[256];
    sqlite3_stmt *statement = NULL;
    int64_t id;
    uint8_t *bytes;
    int size;

    (void)snprintf(sql, sizeof sql,
                   "SELECT id, %s FROM %s WHERE length(%s) > 0 ORDER BY id LIMIT 1 OFFSET %" PRId64
                   " %% (SELECT count(*) FROM %s WHERE length(%s) > 0)",
                   column, table, column, below(1000), table, column);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    id = sqlite3_column_int64(statement, 0);
    size = sqlite3_column_bytes(statement, 1);
    bytes = malloc((size_t)size);
    assert_non_null(bytes);
    memcpy(bytes, sqlite3_column_blob(statement, 1), (size_t)size);
    (void)sqlite3_finalize(statement);
    flip(bytes, (size_t)size, below((int64_t)size * 8));
    (void)snprintf(sql, sizeof sql, "UPDATE %s SET %s = ?1 WHERE id = %" PRId64, table, column, id);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_bind_blob(statement, 1, bytes, size, SQLITE_STATIC), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    (void)sqlite3_finalize(statement);
    free(bytes);
}

static void flip_number(sqlite3 *db, const char *table, const char *column)
{
    int64_t bit = INT64_C(1) << below(62);
    char sql[512];

    /* x ^ bit */
    (void)snprintf(sql, sizeof sql,
                   "UPDATE %s SET %s = (%s | %" PRId64 ") - (%s & %" PRId64 ") WHERE id IN"
                   " (SELECT id FROM %s ORDER BY id LIMIT 1 OFFSET %" PRId64
                   " %% (SELECT count(*) FROM %s))",
                   table, column, column, bit, column, bit, table, below(1000), table);
    fixture_exec(db, sql);
}

static void a_flipped_bit_is_found_wherever_it_is(void **state)
{
    static const struct {
        const char *table;
        const char *column;
        bool is_blob;
    } places[] = {
        {"block", "hours", true},        {"block_column", "hours", true},
        {"block_column", "data", true},  {"block", "records", false},
        {"block", "first", false},       {"block", "last", false},
        {"block", "first_seq", false},   {"block", "last_seq", false},
        {"block", "checksum", false},    {"block_column", "count", false},
        {"block_column", "min", false},  {"block_column", "max", false},
        {"block_column", "hours", true}, {"block_column", "data", true},
        {"block_column", "data", true},
    };
    enum { PLACES = sizeof places / sizeof places[0] };
    struct fixture *fixture = *state;

    for (int i = 0; i < FLIPS * contract_rounds(); i++) {
        struct findings findings = {.words = "block"};
        size_t place = (size_t)i % PLACES;
        sqlite3 *db;

        put_back(fixture);
        db = fixture_raw(fixture->path);
        fixture_exec(db, "DROP TRIGGER IF EXISTS block_update; PRAGMA ignore_check_constraints=ON");
        if (places[place].is_blob)
            flip_blob(db, places[place].table, places[place].column);
        else
            flip_number(db, places[place].table, places[place].column);
        (void)sqlite3_close(db);
        if (verify(fixture, false, &findings) == 0)
            fail_msg("%s.%s: a flipped bit was not found", places[place].table,
                     places[place].column);
        if (!reads_well(fixture))
            fail_msg("%s.%s: wrong numbers; verify says: %s", places[place].table,
                     places[place].column, findings.last);
    }
}

/* bits of pages of the blocks' tables, below SQLite: told by a reader, or found, or of no meaning
 */
static void a_flipped_bit_of_a_page_is_told_or_found(void **state)
{
    struct fixture *fixture = *state;
    int64_t pages[256] = {0};
    size_t count = 0;
    sqlite3_stmt *statement = NULL;
    sqlite3 *db;

    put_back(fixture);
    db = fixture_raw(fixture->path);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT pageno FROM dbstat WHERE name IN ('block',"
                                        "'block_column','block_by_day','sqlite_autoindex_block_1')",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW && count < 256)
        pages[count++] = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    assert_true(count > 4);
    for (int i = 0; i < PAGE_FLIPS * contract_rounds(); i++) {
        struct findings findings = {.words = "block"};
        int64_t at = (pages[below((int64_t)count)] - 1) * 4096 + below(4096);
        uint8_t byte = (uint8_t)(sound.file[at] ^ 1U << below(8));

        put_back(fixture);
        fixture_overwrite(fixture->path, at, &byte, 1);
        if (!reads_well(fixture) && verify(fixture, false, &findings) == 0)
            fail_msg("byte %" PRId64 ": wrong numbers, and verify finds nothing", at);
    }
}

static int forget(void **state)
{
    (void)state;
    free(sound.file);
    contract_list_free(&sound.records);
    contract_list_free(&sound.arrivals);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(every_damage_is_found_and_gives_no_wrong_number),
        FIXTURE_TEST(a_flipped_bit_is_found_wherever_it_is),
        FIXTURE_TEST(a_flipped_bit_of_a_page_is_told_or_found),
    };

    return cmocka_run_group_tests_name("damaged blocks", tests, NULL, forget);
}
