/* What arrives in an SQLite store, in which order, and what is removed, while days are sealed. */
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

enum {
    DAY_S = 86400,
    FIRST_DAY = 19000,
    DAYS = 4,
    BATCH_MOST = 30,
    FOLLOWERS = 5,
    WAIT_MS = 20000,
};

#define NEVER_S (INT64_C(1) << 40)

static int64_t below(uint64_t *random, int64_t bound)
{
    return (int64_t)(contract_random(random) % (uint64_t)bound);
}

static void compact(struct mt_store *store, int64_t now_s)
{
    struct mt_compaction compaction = {.now_s = now_s};
    struct mt_error error = {0};

    assert_ok(mt_store_compact(store, &compaction, &error));
    assert_true(compaction.is_done);
}

/* seals whatever there is */
static void seal(struct mt_store *store)
{
    compact(store, NEVER_S);
}

static struct mt_token place(struct mt_store *store)
{
    struct mt_token token = {0};
    struct mt_error error = {0};

    assert_ok(mt_store_token(store, &token, &error));
    return token;
}

/* what arrived after *token, at most limit, added to list; false: the place was not known */
static bool follow(struct mt_store *store, struct mt_token *token, size_t limit,
                   struct contract_list *list)
{
    struct mt_error error = {0};
    size_t before = list->count;
    bool reset = true;

    assert_ok(mt_store_changes(store, token, limit, contract_collect, list, &reset, &error));
    assert_true(list->count - before <= limit);
    if (reset)
        assert_int_equal(list->count, before);
    return !reset;
}

static void check_run(const struct contract_list *got, const struct contract_list *expected,
                      size_t from)
{
    assert_int_equal(got->count, expected->count - from);
    for (size_t i = 0; i < got->count; i++)
        contract_check_same(&got->records[i], &expected->records[from + i], MT_FIELD_ALL);
}

/* the whole history in order of arrival, in pages of a random size up to `most` */
static void check_all(struct mt_store *store, const struct contract_list *model, int64_t most,
                      uint64_t *random)
{
    struct mt_token token = {0};
    struct contract_list got = {0};
    size_t before;

    do {
        before = got.count;
        assert_true(follow(store, &token, 1 + (size_t)below(random, most), &got));
    } while (got.count > before);
    check_run(&got, model, 0);
    contract_list_free(&got);
}

/* A reader that goes on from where it was. */
struct follower {
    struct mt_token token;
    size_t at;        /* records of the model before its place */
    int64_t prunings; /* when it began */
};

struct world {
    struct mt_store *store;
    struct contract_list model; /* in order of arrival */
    int64_t prunings;           /* that removed something */
    struct follower followers[FOLLOWERS];
    uint64_t random;
};

/* crowded seconds around midnights */
static int64_t random_second(uint64_t *random)
{
    return (FIRST_DAY + 1 + below(random, DAYS)) * INT64_C(86400) - 6 + below(random, 12);
}

static void append_both(struct world *world)
{
    static const char *const hosts[] = {"b", "a", "c"};
    struct mt_record records[BATCH_MOST];
    struct mt_outcome outcomes[BATCH_MOST];
    struct mt_error error = {0};
    uint64_t *random = &world->random;
    size_t count = 1 + (size_t)below(random, BATCH_MOST);
    enum mt_on_conflict on_conflict = below(random, 2) == 0 ? MT_CONFLICT_MOVE : MT_CONFLICT_REPORT;

    for (size_t i = 0; i < count; i++) {
        records[i] = contract_random_record(random, random_second(random));
        (void)snprintf(records[i].host, sizeof records[i].host, "%s", hosts[below(random, 3)]);
        /* one that stands there already, or where it was moved from */
        if (world->model.count > 0 && below(random, 4) == 0) {
            records[i] = world->model.records[below(random, (int64_t)world->model.count)];
            records[i].timestamp -= below(random, 3);
        }
    }
    assert_ok(mt_store_append(world->store, records, count, on_conflict, outcomes, &error));
    for (size_t i = 0; i < count; i++) {
        struct mt_outcome expected = contract_model_append(&world->model, &records[i], on_conflict);

        assert_int_equal(outcomes[i].verdict, expected.verdict);
        assert_int_equal(outcomes[i].timestamp, expected.timestamp);
    }
}

static void prune_both(struct world *world)
{
    int64_t before = random_second(&world->random);
    struct mt_error error = {0};
    int64_t pruned = -1;
    size_t kept = 0;

    assert_ok(mt_store_prune(world->store, before, &pruned, &error));
    for (size_t i = 0; i < world->model.count; i++)
        if (world->model.records[i].timestamp >= before)
            world->model.records[kept++] = world->model.records[i];
    assert_int_equal(pruned, world->model.count - kept);
    world->prunings += pruned > 0;
    world->model.count = kept;
}

static void follow_both(struct world *world, struct follower *follower)
{
    struct contract_list got = {0};
    size_t limit = 1 + (size_t)below(&world->random, 60);
    size_t left;

    /* {0, 0} never resets */
    if (follower->token.generation == 0)
        follower->prunings = world->prunings;
    if (!follow(world->store, &follower->token, limit, &got)) {
        assert_int_not_equal(follower->prunings, world->prunings);
        follower->prunings = world->prunings;
        follower->at = world->model.count;
    } else {
        assert_int_equal(follower->prunings, world->prunings);
        left = world->model.count - follower->at;
        assert_int_equal(got.count, left < limit ? left : limit);
        for (size_t i = 0; i < got.count; i++)
            contract_check_same(&got.records[i], &world->model.records[follower->at + i],
                                MT_FIELD_ALL);
        follower->at += got.count;
    }
    contract_list_free(&got);
}

/* An mt_emit_host that counts and compares. */
struct host_check {
    const struct contract_list *model;
    int64_t now_s;
    size_t records;
};

static enum mt_err check_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct host_check *check = context;

    (void)error;
    contract_check_host(host, check->model, check->now_s);
    check->records += (size_t)host->records;
    return MT_OK;
}

static void hosts_both(struct world *world)
{
    struct host_check check = {.model = &world->model,
                               .now_s = random_second(&world->random) - MT_FUTURE_SLACK_S};
    struct mt_error error = {0};

    assert_ok(mt_store_hosts(world->store, check.now_s, check_host, &check, &error));
    assert_int_equal(check.records, world->model.count);
}

/* sealed without a day's rest, or with what came late, or not at all */
static void compact_some(struct world *world)
{
    compact(world->store,
            (FIRST_DAY + 1 + below(&world->random, DAYS + 2)) * INT64_C(86400) + MT_SEAL_AFTER_S);
}

static void random_calls_agree_with_a_model(void **state)
{
    struct fixture *fixture = *state;
    struct world world = {.random = contract_seed()};

    world.store = fixture_open(fixture, false, WAIT_MS);
    for (int step = 0; step < 100 * contract_rounds(); step++) {
        append_both(&world);
        if (below(&world.random, 4) == 0)
            compact_some(&world);
        if (below(&world.random, 20) == 0)
            prune_both(&world);
        follow_both(&world, &world.followers[below(&world.random, FOLLOWERS)]);
        if (step % 4 == 0)
            hosts_both(&world);
        if (step % 10 == 0)
            check_all(world.store, &world.model, 200, &world.random);
        if (below(&world.random, 10) == 0) {
            mt_store_close(world.store);
            world.store = fixture_open(fixture, false, WAIT_MS);
        }
    }
    check_all(world.store, &world.model, 200, &world.random);
    mt_store_close(world.store);
    contract_list_free(&world.model);
}

/* 20 hosts at once: each page has marks of every one of their sealed days */
static void order_of_arrival_goes_across_sealed_days(void **state)
{
    enum { HOSTS = 20, ROUNDS = 250, STEP_S = 700 };
    static struct mt_outcome outcomes[HOSTS];
    static struct mt_record records[HOSTS];
    struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, WAIT_MS);
    struct contract_list model = {0};
    struct mt_token token = {0};
    struct contract_list got = {0};
    struct mt_error error = {0};
    uint64_t random = contract_seed();

    for (int i = 0; i < ROUNDS; i++) {
        for (int j = 0; j < HOSTS; j++) {
            char host[16];

            (void)snprintf(host, sizeof host, "host-%d", j);
            records[j] = contract_record(host, FIRST_DAY * INT64_C(86400) + i * STEP_S, i);
        }
        assert_ok(mt_store_append(store, records, HOSTS, MT_CONFLICT_REPORT, outcomes, &error));
        for (int j = 0; j < HOSTS; j++)
            contract_list_add(&model, &records[j]);
        if (i == ROUNDS / 2)
            seal(store);
    }
    compact(store, (FIRST_DAY + 2) * INT64_C(86400) + MT_SEAL_AFTER_S);
    check_all(store, &model, 3000, &random);
    assert_true(follow(store, &token, SIZE_MAX, &got));
    check_run(&got, &model, 0);
    contract_list_free(&got);
    contract_list_free(&model);
    mt_store_close(store);
}

static void a_place_outlives_the_sealing_of_its_record(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, WAIT_MS);
    struct mt_error error = {0};
    struct contract_list got = {0};
    struct mt_token middle = {0};
    struct mt_token end;
    struct mt_token sealed;

    assert_int_equal(fixture_append(store, "a", FIRST_DAY * INT64_C(86400), &error), MT_OK);
    assert_true(follow(store, &middle, 1, &got));
    assert_int_equal(fixture_append(store, "a", FIRST_DAY * INT64_C(86400) + 60, &error), MT_OK);
    end = place(store);
    seal(store);
    /* the greatest mark is sealed as well */
    sealed = place(store);
    assert_memory_equal(&sealed, &end, sizeof end);
    assert_true(follow(store, &end, 10, &got));
    assert_int_equal(got.count, 1);
    assert_true(follow(store, &middle, 10, &got));
    assert_int_equal(got.count, 2);
    assert_int_equal(got.records[1].timestamp, FIRST_DAY * INT64_C(86400) + 60);
    /* merged with what came late, which is all that is new */
    assert_int_equal(fixture_append(store, "a", FIRST_DAY * INT64_C(86400) + 30, &error), MT_OK);
    seal(store);
    assert_true(follow(store, &end, 10, &got));
    assert_int_equal(got.count, 3);
    assert_int_equal(got.records[2].timestamp, FIRST_DAY * INT64_C(86400) + 30);
    assert_true(follow(store, &end, 10, &got));
    assert_int_equal(got.count, 3);
    contract_list_free(&got);
    mt_store_close(store);
}

static void a_restored_copy_resets_a_place_among_sealed_days(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    struct contract_list got = {0};
    struct mt_token token;
    char copy[400];
    char sql[500];
    sqlite3 *db;

    fixture_fill(fixture, 1, 2);
    (void)snprintf(copy, sizeof copy, "%s.copy", fixture->path);
    (void)snprintf(sql, sizeof sql, "VACUUM INTO '%s'", copy);
    db = fixture_raw(fixture->path);
    fixture_exec(db, sql);
    (void)sqlite3_close(db);
    store = fixture_open(fixture, false, WAIT_MS);
    assert_int_equal(fixture_append(store, "a", DAY_S, &error), MT_OK);
    seal(store);
    token = place(store);
    mt_store_close(store);
    /* the copy goes on with another record, which gets the same number in a block of the same */
    assert_int_equal(rename(copy, fixture->path), 0);
    store = fixture_open(fixture, false, WAIT_MS);
    assert_int_equal(fixture_append(store, "a", DAY_S + 60, &error), MT_OK);
    seal(store);
    assert_int_equal(place(store).sequence, token.sequence);
    assert_false(follow(store, &token, 10, &got));
    assert_int_equal(got.count, 0);
    mt_store_close(store);
    contract_list_free(&got);
}

/* An mt_emit in whose midst another handle seals and appends. */
struct meddler {
    struct mt_store *other;
    struct contract_list list;
    size_t every;
    int64_t late_s;
};

static enum mt_err collect_and_meddle(void *context, const struct mt_record *record,
                                      struct mt_error *error)
{
    struct meddler *meddler = context;

    contract_list_add(&meddler->list, record);
    if (meddler->list.count % meddler->every != 0)
        return MT_OK;
    assert_int_equal(fixture_append(meddler->other, "a", meddler->late_s++, error), MT_OK);
    if (meddler->list.count % (2 * meddler->every) == 0)
        seal(meddler->other);
    return MT_OK;
}

static void what_is_sealed_meanwhile_is_handed_out_once(void **state)
{
    enum { MINUTES = 2000, LATE = 40 };
    struct fixture *fixture = *state;
    struct meddler meddler = {.every = MINUTES / LATE, .late_s = 61};
    struct mt_store *store;
    struct mt_token token = {0};
    struct mt_error error = {0};
    bool reset = true;
    size_t late = 0;

    fixture_fill(fixture, 1, MINUTES);
    store = fixture_open(fixture, false, WAIT_MS);
    meddler.other = fixture_open(fixture, false, WAIT_MS);
    assert_ok(
        mt_store_changes(store, &token, SIZE_MAX, collect_and_meddle, &meddler, &reset, &error));
    assert_false(reset);
    /* in order of arrival: what there was, then what came late, as it came */
    for (size_t i = 0; i < MINUTES; i++)
        assert_int_equal(meddler.list.records[i].timestamp, 60 * (i + 1));
    for (size_t i = MINUTES; i < meddler.list.count; i++)
        assert_int_equal(meddler.list.records[i].timestamp, 61 + late++);
    assert_true(late >= LATE);
    mt_store_close(meddler.other);
    mt_store_close(store);
    contract_list_free(&meddler.list);
}

enum { WRITTEN_ROUNDS = 25, WRITTEN_BATCH = 30 };

/* the record that arrives as number i, anywhere in three days, says so */
static struct mt_record numbered_record(int64_t i)
{
    char host[2] = {(char)('a' + i % 2), 0};

    /* 7919 is prime to the number of seconds: no second comes twice */
    return contract_record(host, FIRST_DAY * INT64_C(86400) + i * 7919 % (3 * DAY_S), i);
}

/* appends out of order and seals all the time */
static void write_and_seal(const struct fixture *fixture)
{
    struct mt_store_options options = {.busy_wait_ms = WAIT_MS};
    struct mt_compaction compaction = {.now_s = NEVER_S};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    enum mt_err err = mt_store_open(fixture->uri, &options, &store, &error);

    for (int64_t i = 0; i < WRITTEN_ROUNDS && err == MT_OK; i++) {
        struct mt_record records[WRITTEN_BATCH];
        struct mt_outcome outcomes[WRITTEN_BATCH];

        for (int64_t j = 0; j < WRITTEN_BATCH; j++)
            records[j] = numbered_record(i * WRITTEN_BATCH + j);
        err = mt_store_append(store, records, WRITTEN_BATCH, MT_CONFLICT_REPORT, outcomes, &error);
        if (err == MT_OK)
            err = mt_store_compact(store, &compaction, &error);
    }
    mt_store_close(store);
    if (err != MT_OK)
        (void)fprintf(stderr, "writer: %s\n", error.text);
    _exit(err == MT_OK ? 0 : 1);
}

/* An mt_emit that wants them as they arrived, none missing. */
static enum mt_err expect_next(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    int64_t *next = context;
    struct mt_record expected = numbered_record((*next)++);

    (void)error;
    contract_check_same(record, &expected, MT_FIELD_ALL);
    return MT_OK;
}

static void readers_miss_nothing_while_days_are_merged(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_token followed = {0};
    struct mt_error error = {0};
    int64_t next_followed = 0;
    int64_t next = 0;
    bool is_over = false;
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        write_and_seal(fixture);
    store = fixture_open(fixture, false, WAIT_MS);
    /* once more after the writer's end */
    while (!is_over || next_followed < WRITTEN_ROUNDS * WRITTEN_BATCH) {
        struct mt_token token = {0};
        bool reset = false;

        is_over = is_over || waitpid(child, &status, WNOHANG) == child;
        next = 0;
        assert_ok(mt_store_changes(store, &token, SIZE_MAX, expect_next, &next, &reset, &error));
        assert_ok(
            mt_store_changes(store, &followed, 17, expect_next, &next_followed, &reset, &error));
        assert_false(reset);
        assert_true(!is_over || (next == WRITTEN_ROUNDS * WRITTEN_BATCH && status == 0));
    }
    mt_store_close(store);
}

static enum mt_verdict append_one(struct mt_store *store, int64_t timestamp, int64_t uptime_s,
                                  enum mt_on_conflict on_conflict, int64_t *at)
{
    struct mt_record record = contract_record("a", timestamp, uptime_s);
    struct mt_outcome outcome = contract_append(store, &record, on_conflict);

    if (outcome.verdict == MT_VERDICT_CONFLICT)
        assert_non_null(strstr(outcome.text, "already holds another record"));
    *at = outcome.timestamp;
    return outcome.verdict;
}

static void seconds_are_taken_by_loose_and_sealed_records_alike(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store = fixture_open(fixture, false, WAIT_MS);
    const int64_t midnight = (FIRST_DAY + 1) * INT64_C(86400);
    int64_t at;

    /* -3 to -1 and +1 are sealed, 0 and +2 are loose: two days of one run of seconds */
    for (int64_t i = -3; i < 0; i++)
        assert_int_equal(append_one(store, midnight + i, i + 10, MT_CONFLICT_MOVE, &at),
                         MT_VERDICT_NEW);
    assert_int_equal(append_one(store, midnight + 1, 11, MT_CONFLICT_MOVE, &at), MT_VERDICT_NEW);
    seal(store);
    assert_int_equal(append_one(store, midnight, 10, MT_CONFLICT_MOVE, &at), MT_VERDICT_NEW);
    assert_int_equal(append_one(store, midnight + 2, 12, MT_CONFLICT_MOVE, &at), MT_VERDICT_NEW);

    assert_int_equal(append_one(store, midnight - 2, 8, MT_CONFLICT_MOVE, &at), MT_VERDICT_REPEAT);
    assert_int_equal(at, midnight - 2);
    assert_int_equal(append_one(store, midnight - 2, 99, MT_CONFLICT_REPORT, &at),
                     MT_VERDICT_CONFLICT);
    assert_int_equal(append_one(store, midnight - 2, 99, MT_CONFLICT_MOVE, &at), MT_VERDICT_MOVED);
    assert_int_equal(at, midnight + 3);
    seal(store);
    assert_int_equal(append_one(store, midnight - 2, 99, MT_CONFLICT_MOVE, &at), MT_VERDICT_REPEAT);
    assert_int_equal(at, midnight + 3);
    assert_int_equal(append_one(store, midnight - 3, 12, MT_CONFLICT_MOVE, &at), MT_VERDICT_REPEAT);
    assert_int_equal(at, midnight + 2);
    assert_int_equal(append_one(store, midnight - 4, 6, MT_CONFLICT_REPORT, &at), MT_VERDICT_NEW);
    assert_int_equal(at, midnight - 4);
    mt_store_close(store);
}

/* what a copy of an earlier version, restored into the file in place, comes to */
static void restore_first_version(const struct fixture *fixture)
{
    sqlite3 *db = fixture_raw(fixture->path);

    fixture_exec(db, "BEGIN; DROP TABLE block; DROP TABLE block_column; DROP TABLE block_field;"
                     "PRAGMA user_version=1; COMMIT");
    (void)sqlite3_close(db);
}

static void a_restored_copy_of_the_first_version_is_migrated_by_the_next_append(void **state)
{
    struct fixture *fixture = *state;
    struct world world = {.random = contract_seed()};

    world.store = fixture_open(fixture, false, WAIT_MS);
    restore_first_version(fixture);
    append_both(&world);
    /* the statements of the append before are of the other schema */
    restore_first_version(fixture);
    append_both(&world);
    seal(world.store);
    append_both(&world);
    check_all(world.store, &world.model, 50, &world.random);
    mt_store_close(world.store);
    contract_list_free(&world.model);
}

static void marks_are_never_given_again(void **state)
{
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    int64_t pruned;
    sqlite3 *db;

    fixture_fill(fixture, 2, 100);
    store = fixture_open(fixture, false, WAIT_MS);
    seal(store);
    db = fixture_raw(fixture->path);
    assert_int_equal(fixture_number(db, "SELECT count(*) FROM memory_log"), 0);
    assert_int_equal(fixture_number(db, "SELECT max(last_seq) FROM block"), 200);
    assert_int_equal(fixture_append(store, "a", DAY_S, &error), MT_OK);
    assert_int_equal(fixture_number(db, "SELECT max(seq) FROM memory_log"), 201);
    seal(store);
    assert_ok(mt_store_prune(store, INT64_MAX, &pruned, &error));
    assert_int_equal(pruned, 201);
    assert_int_equal(fixture_number(db, "SELECT count(*) FROM block_column"), 0);
    assert_int_equal(fixture_append(store, "a", DAY_S, &error), MT_OK);
    assert_int_equal(fixture_number(db, "SELECT seq FROM memory_log"), 202);
    (void)sqlite3_close(db);
    mt_store_close(store);
}

static void gaps_among_marks_are_stepped_over(void **state)
{
    enum { MINUTES = 10, FAR = 1000000 };
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    struct contract_list got = {0};
    struct mt_token token = {0};
    sqlite3 *db;

    fixture_fill(fixture, 1, MINUTES);
    store = fixture_open(fixture, false, WAIT_MS);
    for (int64_t i = 1; i <= 4; i++) {
        char sql[100];

        seal(store);
        db = fixture_raw(fixture->path);
        (void)snprintf(sql, sizeof sql,
                       "UPDATE sqlite_sequence SET seq = %" PRId64 " WHERE name = 'memory_log'",
                       i * FAR);
        fixture_exec(db, sql);
        (void)sqlite3_close(db);
        assert_int_equal(fixture_append(store, "a", i * DAY_S, &error), MT_OK);
    }
    /* three are sealed, the last one is loose */
    for (size_t i = 0; i < 5; i++)
        assert_true(follow(store, &token, 3, &got));
    assert_int_equal(got.count, MINUTES + 4);
    for (int64_t i = 1; i <= 4; i++)
        assert_int_equal(got.records[MINUTES + i - 1].timestamp, i * DAY_S);
    mt_store_close(store);
    contract_list_free(&got);
}

static int64_t prune(struct mt_store *store, int64_t before)
{
    struct mt_error error = {0};
    int64_t pruned = -1;

    assert_ok(mt_store_prune(store, before, &pruned, &error));
    return pruned;
}

static void whole_days_are_removed_unread_and_the_file_shrinks(void **state)
{
    enum { MINUTES = 4 * 1440 };
    struct fixture *fixture = *state;
    struct mt_store *store;
    struct mt_error error = {0};
    struct contract_list got = {0};
    struct mt_token token = {0};
    int64_t pruned;
    int64_t pages;
    sqlite3 *db;

    fixture_fill(fixture, 3, MINUTES);
    store = fixture_open(fixture, false, WAIT_MS);
    compact(store, 3 * DAY_S + MT_SEAL_AFTER_S);
    /* nobody has to read what goes as a whole */
    db = fixture_raw(fixture->path);
    fixture_exec(
        db, "UPDATE block_column SET data = randomblob(5000) WHERE data IS NOT NULL AND id / 64 IN"
            " (SELECT id FROM block WHERE day <= 1)");
    pages = fixture_number(db, "PRAGMA page_count");
    assert_int_equal(prune(store, 1 * DAY_S), 3 * 1439);
    assert_int_equal(mt_store_prune(store, DAY_S + 600, &pruned, &error), MT_ERR_CORRUPT);
    assert_int_equal(pruned, 0);
    assert_int_equal(prune(store, 2 * DAY_S), 3 * 1440);
    assert_true(fixture_number(db, "PRAGMA page_count") < pages);
    assert_int_equal(fixture_number(db, "PRAGMA freelist_count"), 0);
    /* a second inside a sealed day, of which one loose record is older and one is not */
    assert_int_equal(fixture_append(store, "b", 2 * DAY_S + 7, &error), MT_OK);
    assert_int_equal(fixture_append(store, "b", 2 * DAY_S + 607, &error), MT_OK);
    assert_int_equal(prune(store, 2 * DAY_S + 601), 3 * 11 + 1);
    assert_int_equal(prune(store, 2 * DAY_S + 601), 0);
    assert_int_equal(fixture_number(db, "SELECT count(*) FROM block WHERE day = 2 AND records ="
                                        " 1429 AND first = 2 * 86400 + 660"),
                     3);
    assert_true(follow(store, &token, SIZE_MAX, &got));
    assert_int_equal(got.count, 3 * (MINUTES - 1439 - 1440 - 11) + 1);
    (void)sqlite3_close(db);
    mt_store_close(store);
    contract_list_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(random_calls_agree_with_a_model),
        FIXTURE_TEST(order_of_arrival_goes_across_sealed_days),
        FIXTURE_TEST(a_place_outlives_the_sealing_of_its_record),
        FIXTURE_TEST(a_restored_copy_resets_a_place_among_sealed_days),
        FIXTURE_TEST(what_is_sealed_meanwhile_is_handed_out_once),
        FIXTURE_TEST(readers_miss_nothing_while_days_are_merged),
        FIXTURE_TEST(seconds_are_taken_by_loose_and_sealed_records_alike),
        FIXTURE_TEST(a_restored_copy_of_the_first_version_is_migrated_by_the_next_append),
        FIXTURE_TEST(marks_are_never_given_again),
        FIXTURE_TEST(gaps_among_marks_are_stepped_over),
        FIXTURE_TEST(whole_days_are_removed_unread_and_the_file_shrinks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
