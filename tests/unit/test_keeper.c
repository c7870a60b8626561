#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/keeper.h"
#include "api/view.h"
#include "api/window.h"
#include "base/clock.h"
#include "store/ops.h"

enum { NEVER_MS = 24 * 60 * 60 * 1000, POLL_MS = 5, MOST = 20000, TRIES = 3, REFUSED_MS = 100 };

/* A store in memory whose parts fail as the test wants it. */
static struct {
    pthread_mutex_t mu;
    struct mt_record *records; /* guarded by mu, as is all else; in order of arrival */
    size_t count;
    size_t pruned; /* of the first ones */
    uint64_t generation;
    enum mt_err open_fails, ping_fails, scan_fails, changes_fails;
    int64_t ends; /* from there on there are no changes to be had; 0: it does not */
    int64_t opened, closed, scans, pings, polls, tries;
    int64_t tried_ms[TRIES];          /* when it was first to be opened */
    const struct mt_standby *through; /* a worker gets an answer while each poll is under way */
} fake = {.mu = PTHREAD_MUTEX_INITIALIZER};

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static enum mt_err fails(enum mt_err code, struct mt_error *error)
{
    return code == MT_OK ? MT_OK : mt_error_set(error, code, "not today");
}

static void lock(void)
{
    (void)pthread_mutex_lock(&fake.mu);
}

static void unlock(void)
{
    (void)pthread_mutex_unlock(&fake.mu);
}

static const struct mt_store_ops fake_ops;

static enum mt_err fake_open(const char *uri, const struct mt_store_options *options,
                             struct mt_store **store, struct mt_error *error)
{
    enum mt_err code;

    assert_string_equal(uri, "fake://here");
    assert_true(options->read_only);
    assert_int_equal(options->timeout_ms, 77);
    lock();
    if (fake.tries < TRIES)
        fake.tried_ms[fake.tries] = mt_clock_monotonic_ms();
    fake.tries++;
    code = fails(fake.open_fails, error);
    fake.opened += code == MT_OK;
    unlock();
    if (code == MT_OK) {
        *store = calloc(1, sizeof **store);
        (*store)->ops = &fake_ops;
    }
    return code;
}

static void fake_close(struct mt_store *store)
{
    lock();
    fake.closed++;
    unlock();
    free(store);
}

static enum mt_err fake_ping(struct mt_store *store, struct mt_error *error)
{
    enum mt_err code;

    (void)store;
    lock();
    fake.pings++;
    code = fails(fake.ping_fails, error);
    unlock();
    return code;
}

static enum mt_err fake_token(struct mt_store *store, struct mt_token *token,
                              struct mt_error *error)
{
    enum mt_err code;

    (void)store;
    lock();
    code = fails(fake.scan_fails, error);
    *token = (struct mt_token){fake.generation, (int64_t)fake.count};
    unlock();
    return code;
}

static int by_time(const void *a, const void *b)
{
    const struct mt_record *one = *(const struct mt_record *const *)a;
    const struct mt_record *two = *(const struct mt_record *const *)b;

    return one->timestamp < two->timestamp ? -1 : one->timestamp > two->timestamp;
}

static enum mt_err fake_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                             void *context, struct mt_error *error)
{
    int64_t end = query->to != 0 ? query->to : query->now_s + MT_FUTURE_SLACK_S + 1;
    const struct mt_record **found;
    size_t number = 0;
    size_t first;
    enum mt_err code;

    (void)store;
    lock();
    code = fails(fake.scan_fails, error);
    fake.scans += query->from == 0;
    found = calloc(fake.count + 1, sizeof *found);
    for (size_t i = fake.pruned; i < fake.count; i++)
        if (fake.records[i].timestamp >= query->from && fake.records[i].timestamp < end)
            found[number++] = &fake.records[i];
    qsort(found, number, sizeof *found, by_time);
    first = query->limit > 0 && (size_t)query->limit < number ? number - (size_t)query->limit : 0;
    for (size_t i = first; code == MT_OK && i < number; i++)
        code = emit(context, found[query->order == MT_OLDEST_FIRST ? i : number - 1 - (i - first)],
                    error);
    free(found);
    unlock();
    return code;
}

static enum mt_err fake_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                                mt_emit *emit, void *context, bool *reset, struct mt_error *error)
{
    const struct mt_standby *through;
    enum mt_err code, failure;

    (void)store;
    lock();
    through = fake.through;
    failure = fake.changes_fails;
    unlock();
    if (through != NULL) {
        nap();
        through->tell(through->context, &(struct mt_error){0});
    }
    lock();
    fake.polls++;
    if (fake.ends != 0 && token->sequence >= fake.ends)
        failure = MT_ERR_UNAVAILABLE;
    code = fails(failure, error);
    *reset = code == MT_OK && token->generation != fake.generation;
    if (*reset)
        *token = (struct mt_token){fake.generation, (int64_t)fake.count};
    for (size_t i = (size_t)token->sequence; code == MT_OK && i < fake.count && limit > 0;
         limit--) {
        code = emit(context, &fake.records[i], error);
        token->sequence = (int64_t)++i;
    }
    unlock();
    return code;
}

static const struct mt_store_ops fake_ops = {.scheme = "fake:",
                                             .open = fake_open,
                                             .close = fake_close,
                                             .scan = fake_scan,
                                             .token = fake_token,
                                             .changes = fake_changes,
                                             .ping = fake_ping};

static enum mt_err find_fake(const char *uri, const struct mt_store_ops **ops,
                             struct mt_error *error)
{
    (void)uri;
    (void)error;
    *ops = &fake_ops;
    return MT_OK;
}

/* Each record has a total of its own, by which it is known. */
static void arrive(int64_t timestamp, int64_t total_mib)
{
    struct mt_record *record;

    lock();
    assert_true(fake.count < MOST);
    record = &fake.records[fake.count++];
    *record = (struct mt_record){.timestamp = timestamp, .host = "h"};
    mt_record_set(record, MT_FIELD_MEM_TOTAL, total_mib * 1024);
    mt_record_set(record, MT_FIELD_MEM_FREE, 0);
    unlock();
}

static bool render(const struct mt_job *job, struct mt_view *view, struct mt_packer *packer,
                   struct mt_response *response)
{
    struct mt_page page;

    (void)packer;
    if (!mt_view_page(view, job->logs.limit, job->logs.skip, job->now_s, &page))
        return false;
    mt_response_json(response, 200, "");
    mt_page_render(&page, &response->body);
    return true;
}

/* What it would say: the totals of the newest records, oldest first, or "?". */
static const char *ask(const struct mt_standby *standby, int64_t limit, int64_t *age_s)
{
    static char text[128];
    struct mt_job job = {.from_view = render, .logs = {.limit = limit}, .now_s = mt_clock_wall_s()};
    struct mt_response response;
    size_t length = 0;

    mt_response_init(&response);
    (void)snprintf(text, sizeof text, "?");
    if (standby->answer(standby->context, &job, NULL, &response)) {
        text[0] = '\0';
        for (const char *at = mt_buf_string(&response.body);
             (at = strstr(at, "\"total\":")) != NULL; at++)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%ld",
                                       length > 0 ? " " : "", strtol(at + 8, NULL, 10));
        assert_true(response.age_s >= 0);
    } else {
        assert_true(response.age_s == -1);
        assert_int_equal(response.status, 500);
    }
    if (age_s != NULL)
        *age_s = response.age_s;
    mt_response_fini(&response);
    return text;
}

static void wait_for(const struct mt_standby *standby, int64_t limit, const char *expected)
{
    int64_t until_ms = mt_clock_monotonic_ms() + 30000;

    while (strcmp(ask(standby, limit, NULL), expected) != 0) {
        if (mt_clock_monotonic_ms() > until_ms)
            fail_msg("it says %s, never %s", ask(standby, limit, NULL), expected);
        nap();
    }
}

static struct mt_error wait_away(const struct mt_standby *standby, bool is_away)
{
    int64_t until_ms = mt_clock_monotonic_ms() + 30000;
    struct mt_error why = {0};

    while (standby->is_away(standby->context, &why) != is_away) {
        if (mt_clock_monotonic_ms() > until_ms)
            fail_msg("it never finds the store %s", is_away ? "away" : "back");
        nap();
    }
    return why;
}

static void set(enum mt_err *what, enum mt_err code)
{
    lock();
    *what = code;
    unlock();
}

static int64_t count(const int64_t *what)
{
    int64_t value;

    lock();
    value = *what;
    unlock();
    return value;
}

static struct mt_keeper *start_pausing(int64_t stale_limit_ms, int poll_ms, int refused_pause_ms,
                                       struct mt_standby *standby)
{
    struct mt_keeper_options options = {.store = "fake://here",
                                        .readers = 1,
                                        .least_records = MT_WINDOW_RECORDS,
                                        .memory_bytes = 64 << 20,
                                        .timeout_ms = 77,
                                        .poll_ms = poll_ms,
                                        .refused_pause_ms = refused_pause_ms,
                                        .trusted_ms = 1000,
                                        .stale_limit_ms = stale_limit_ms,
                                        .forget_ms = NEVER_MS};
    struct mt_keeper *keeper = NULL;

    assert_int_equal(mt_keeper_start(&options, &keeper, NULL), MT_OK);
    *standby = mt_keeper_standby(keeper);
    return keeper;
}

static struct mt_keeper *start(int64_t stale_limit_ms, int poll_ms, struct mt_standby *standby)
{
    return start_pausing(stale_limit_ms, poll_ms, 0, standby);
}

static void test_it_knows_what_is_there_and_what_arrives(void **state)
{
    int64_t now_s = mt_clock_wall_s();
    struct mt_standby standby;
    struct mt_keeper *keeper;

    (void)state;
    arrive(now_s, 1);
    keeper = start(NEVER_MS, POLL_MS, &standby);
    wait_for(&standby, 10, "1");
    arrive(now_s + 60, 2);
    wait_for(&standby, 10, "1 2");
    /* late, repeated, and in the future */
    arrive(now_s - 3600, 3);
    arrive(now_s, 4);
    arrive(now_s + 86400, 5);
    arrive(now_s + 61, 6);
    wait_for(&standby, 10, "3 1 2 6");
    wait_for(&standby, 2, "2 6");
    assert_int_equal(count(&fake.scans), 1);
    assert_int_equal(count(&fake.opened), 1);
    mt_keeper_stop(keeper);
    assert_int_equal(count(&fake.closed), 1);
}

static void test_more_than_one_page_of_changes_arrives_at_once(void **state)
{
    int64_t now_s = mt_clock_wall_s() - MOST;
    struct mt_standby standby;
    struct mt_keeper *keeper = start(NEVER_MS, POLL_MS, &standby);

    (void)state;
    wait_for(&standby, 10, "");
    for (int64_t i = 0; i < 10000; i++)
        arrive(now_s + i, i);
    wait_for(&standby, 2, "9998 9999");
    mt_keeper_stop(keeper);
    /* and as many to begin with */
    keeper = start(NEVER_MS, POLL_MS, &standby);
    wait_for(&standby, 2, "9998 9999");
    mt_keeper_stop(keeper);
}

static void test_what_came_before_a_poll_failed_shows_after_it(void **state)
{
    enum { PAGE = 4096 };
    int64_t now_s = mt_clock_wall_s() - MOST;
    struct mt_standby standby;
    struct mt_keeper *keeper = start(NEVER_MS, POLL_MS, &standby);
    int64_t polls;

    (void)state;
    wait_for(&standby, 10, "");
    set(&fake.changes_fails, MT_ERR_UNAVAILABLE);
    (void)wait_away(&standby, true);
    for (int64_t i = 0; i < PAGE; i++)
        arrive(now_s + i, i);
    /* the first page comes, the next one fails each time */
    lock();
    fake.changes_fails = MT_OK;
    fake.ends = PAGE;
    polls = fake.polls;
    unlock();
    while (count(&fake.polls) < polls + 4)
        nap();
    lock();
    fake.ends = 0;
    unlock();
    wait_for(&standby, 2, "4094 4095");
    assert_int_equal(count(&fake.scans), 1);
    mt_keeper_stop(keeper);
}

static void test_a_refused_login_is_not_tried_with_each_poll(void **state)
{
    struct mt_keeper *keeper;
    struct mt_standby standby;

    (void)state;
    set(&fake.open_fails, MT_ERR_PERMISSION);
    keeper = start_pausing(NEVER_MS, POLL_MS, REFUSED_MS, &standby);
    assert_int_equal(wait_away(&standby, true).code, MT_ERR_PERMISSION);
    while (count(&fake.tries) < TRIES)
        nap();
    for (size_t i = 1; i < TRIES; i++)
        assert_true(fake.tried_ms[i] - fake.tried_ms[i - 1] >= REFUSED_MS);
    /* and when it is let in all is as ever */
    set(&fake.open_fails, MT_OK);
    (void)wait_away(&standby, false);
    mt_keeper_stop(keeper);
}

static void test_it_answers_while_the_store_is_away(void **state)
{
    int64_t now_s = mt_clock_wall_s();
    struct mt_standby standby;
    struct mt_keeper *keeper = start(NEVER_MS, POLL_MS, &standby);
    struct mt_error why;
    int64_t returns;

    (void)state;
    arrive(now_s, 1);
    wait_for(&standby, 10, "1");
    returns = standby.returns(standby.context);
    set(&fake.open_fails, MT_ERR_UNAVAILABLE);
    set(&fake.changes_fails, MT_ERR_UNAVAILABLE);
    why = wait_away(&standby, true);
    assert_int_equal(why.code, MT_ERR_UNAVAILABLE);
    assert_non_null(strstr(why.text, "not today"));
    arrive(now_s + 60, 2);
    assert_string_equal(ask(&standby, 10, NULL), "1");
    assert_true(standby.returns(standby.context) == returns);
    set(&fake.changes_fails, MT_OK);
    set(&fake.open_fails, MT_OK);
    (void)wait_away(&standby, false);
    assert_true(standby.returns(standby.context) != returns);
    wait_for(&standby, 10, "1 2");
    /* what it missed came as changes */
    assert_int_equal(count(&fake.scans), 1);
    mt_keeper_stop(keeper);
}

static void test_it_is_silent_about_what_is_too_old(void **state)
{
    struct mt_standby standby;
    struct mt_keeper *keeper = start(1100, POLL_MS, &standby);
    int64_t age_s = -1;
    int64_t oldest_s = 0;
    int64_t until_ms;

    (void)state;
    arrive(mt_clock_wall_s(), 1);
    wait_for(&standby, 10, "1");
    set(&fake.open_fails, MT_ERR_UNAVAILABLE);
    set(&fake.changes_fails, MT_ERR_UNAVAILABLE);
    (void)wait_away(&standby, true);
    until_ms = mt_clock_monotonic_ms() + 30000;
    while (strcmp(ask(&standby, 10, &age_s), "1") == 0 && mt_clock_monotonic_ms() < until_ms) {
        assert_in_range(age_s, 0, 1);
        oldest_s = age_s;
        nap();
    }
    assert_string_equal(ask(&standby, 10, NULL), "?");
    assert_int_equal(oldest_s, 1);
    mt_keeper_stop(keeper);

    /* nothing is known of a store that was away from the start */
    keeper = start(NEVER_MS, POLL_MS, &standby);
    (void)wait_away(&standby, true);
    assert_string_equal(ask(&standby, 10, NULL), "?");
    set(&fake.open_fails, MT_OK);
    set(&fake.changes_fails, MT_OK);
    wait_for(&standby, 10, "1");
    mt_keeper_stop(keeper);
}

static void test_questions_that_only_the_store_answers(void **state)
{
    struct mt_standby standby;
    struct mt_keeper *keeper = start(NEVER_MS, POLL_MS, &standby);
    struct mt_job job = {0};
    struct mt_response response;

    (void)state;
    wait_for(&standby, 10, "");
    mt_response_init(&response);
    assert_false(standby.answer(standby.context, &job, NULL, &response));
    assert_true(response.age_s == -1);
    mt_response_fini(&response);
    mt_keeper_stop(keeper);
}

static void test_a_store_that_forgot_is_read_anew(void **state)
{
    int64_t now_s = mt_clock_wall_s();
    struct mt_standby standby;
    struct mt_keeper *keeper;

    (void)state;
    arrive(now_s, 1);
    arrive(now_s + 1, 2);
    keeper = start(NEVER_MS, POLL_MS, &standby);
    wait_for(&standby, 10, "1 2");
    lock();
    fake.pruned = 1;
    fake.generation++;
    unlock();
    wait_for(&standby, 10, "2");
    assert_int_equal(count(&fake.scans), 2);
    /* a scan that fails is done again */
    lock();
    fake.pruned = 0;
    fake.generation++;
    fake.scan_fails = MT_ERR_UNAVAILABLE;
    unlock();
    (void)wait_away(&standby, true);
    assert_string_equal(ask(&standby, 10, NULL), "2");
    set(&fake.scan_fails, MT_OK);
    wait_for(&standby, 10, "1 2");
    (void)wait_away(&standby, false);
    mt_keeper_stop(keeper);
}

static void test_a_store_that_only_is_slow_is_not_away(void **state)
{
    struct mt_standby standby;
    struct mt_keeper *keeper;
    struct mt_error why;
    int64_t pings;

    (void)state;
    set(&fake.scan_fails, MT_ERR_DEADLINE);
    keeper = start(NEVER_MS, POLL_MS, &standby);
    pings = count(&fake.pings);
    while (count(&fake.pings) < pings + 2)
        nap();
    assert_false(standby.is_away(standby.context, &why));
    assert_string_equal(ask(&standby, 10, NULL), "?");
    set(&fake.ping_fails, MT_ERR_BUSY);
    why = wait_away(&standby, true);
    assert_int_equal(why.code, MT_ERR_BUSY);
    set(&fake.ping_fails, MT_OK);
    set(&fake.scan_fails, MT_OK);
    wait_for(&standby, 10, "");
    (void)wait_away(&standby, false);
    mt_keeper_stop(keeper);
}

static void test_an_error_of_a_worker_makes_it_look_at_once(void **state)
{
    struct mt_standby standby;
    struct mt_keeper *keeper = start(NEVER_MS, NEVER_MS, &standby);
    struct mt_error error = {0};
    int64_t until_ms = mt_clock_monotonic_ms() + 30000;
    struct mt_error why;

    (void)state;
    wait_for(&standby, 10, "");
    set(&fake.changes_fails, MT_ERR_UNAVAILABLE);
    (void)mt_error_set(&error, MT_ERR_UNAVAILABLE, "a worker says so");
    while (!standby.is_away(standby.context, &why) && mt_clock_monotonic_ms() < until_ms) {
        standby.tell(standby.context, &error);
        nap();
    }
    assert_true(standby.is_away(standby.context, &why));
    mt_keeper_stop(keeper);
}

static void test_a_failed_poll_does_not_outweigh_an_answer_that_came_meanwhile(void **state)
{
    struct mt_standby standby;
    struct mt_keeper *keeper = start(NEVER_MS, POLL_MS, &standby);
    struct mt_error why;
    int64_t polls;

    (void)state;
    wait_for(&standby, 10, "");
    lock();
    fake.through = &standby;
    fake.changes_fails = MT_ERR_UNAVAILABLE;
    polls = fake.polls;
    unlock();
    while (count(&fake.polls) < polls + 5) {
        assert_false(standby.is_away(standby.context, &why));
        nap();
    }
    lock();
    fake.through = NULL;
    unlock();
    why = wait_away(&standby, true);
    assert_int_equal(why.code, MT_ERR_UNAVAILABLE);
    mt_keeper_stop(keeper);
}

static void test_an_answer_that_comes_after_a_failed_poll_outweighs_it(void **state)
{
    struct mt_standby standby;
    struct mt_keeper *keeper;
    struct mt_error why;
    int64_t returns;

    (void)state;
    set(&fake.open_fails, MT_ERR_UNAVAILABLE);
    keeper = start(NEVER_MS, NEVER_MS, &standby);
    (void)wait_away(&standby, true);
    returns = standby.returns(standby.context);
    standby.tell(standby.context, &(struct mt_error){0});
    assert_false(standby.is_away(standby.context, &why));
    assert_int_equal(standby.returns(standby.context), returns + 1);
    mt_keeper_stop(keeper);
}

/* Asks again and again, for what is far back each time, too, until the reader's view is as wanted.
 */
static void wait_records_beside(struct mt_keeper *keeper, int64_t far, int64_t want, size_t least,
                                size_t most)
{
    struct mt_reader *reader = mt_keeper_reader(keeper, 0);
    int64_t until_ms = mt_clock_monotonic_ms() + 30000;
    size_t records;

    do {
        mt_reader_want(reader, far);
        mt_reader_want(reader, want);
        mt_reader_want(reader, far);
        mt_reader_settle(reader);
        (void)mt_reader_look(reader);
        records = reader->lease != NULL ? mt_view_records(reader->lease->view) : 0;
        if (mt_clock_monotonic_ms() > until_ms)
            fail_msg("%zu records, never %zu to %zu", records, least, most);
        nap();
    } while (records < least || records > most);
}

static void wait_records(struct mt_keeper *keeper, int64_t want, size_t least, size_t most)
{
    wait_records_beside(keeper, 0, want, least, most);
}

/* Of a keeper that begins with few records. */
static struct mt_keeper_options begin_small(int64_t memory_bytes, int64_t forget_ms)
{
    return (struct mt_keeper_options){.store = "fake://here",
                                      .readers = 1,
                                      .least_records = 1000,
                                      .memory_bytes = memory_bytes,
                                      .timeout_ms = 77,
                                      .poll_ms = POLL_MS,
                                      .trusted_ms = NEVER_MS,
                                      .forget_ms = forget_ms};
}

static void test_it_grows_to_what_is_asked_and_shrinks_again(void **state)
{
    struct mt_keeper_options options = begin_small(64 << 20, 50);
    int64_t now_s = mt_clock_wall_s() - MOST;
    struct mt_keeper *keeper = NULL;
    int64_t small;

    (void)state;
    for (int64_t i = 0; i < MOST; i++)
        arrive(now_s + i, i);
    assert_int_equal(mt_keeper_start(&options, &keeper, NULL), MT_OK);
    wait_records(keeper, 0, 1000, 2000);
    small = mt_keeper_memory(keeper);
    assert_true(small > 0);
    wait_records(keeper, 18000, 18000, MOST);
    assert_true(mt_keeper_memory(keeper) > 10 * small);
    assert_true(mt_keeper_memory(keeper) < options.memory_bytes);
    wait_records(keeper, 0, 1000, 2000);
    assert_true(mt_keeper_memory(keeper) < 3 * small);
    mt_keeper_stop(keeper);

    /* what there is no memory for is not begun */
    options.memory_bytes = 1 << 20;
    assert_int_equal(mt_keeper_start(&options, &keeper, NULL), MT_OK);
    wait_records(keeper, 5000, 5000, 6600);
    wait_records(keeper, 18000, 1000, 3000);
    /* and hides nothing that there is memory for */
    wait_records_beside(keeper, 18000, 5000, 5000, 6600);
    /* not only what was much is forgotten */
    wait_records(keeper, 0, 1000, 2100);
    assert_true(mt_keeper_memory(keeper) <= options.memory_bytes);
    assert_false(mt_keeper_is_short(keeper));
    mt_keeper_stop(keeper);
}

static void test_records_of_the_future_are_none_that_were_asked_for(void **state)
{
    struct mt_keeper_options options = begin_small(64 << 20, NEVER_MS);
    int64_t now_s = mt_clock_wall_s();
    struct mt_keeper *keeper = NULL;

    (void)state;
    for (int64_t i = 0; i < 6000; i++) {
        arrive(now_s - 6000 + i, i);
        arrive(now_s + 100000 + i, i);
    }
    assert_int_equal(mt_keeper_start(&options, &keeper, NULL), MT_OK);
    wait_records(keeper, 0, 7000, 8000);
    wait_records(keeper, 5000, 11000, 12000);
    mt_keeper_stop(keeper);
}

static void test_old_views_in_use_take_nothing_away_from_who_asks(void **state)
{
    enum { HELD = 4, ASKED = 5000, SEGMENTS = 10, ALL = 8000 };
    struct mt_keeper_options options = begin_small(1 << 20, NEVER_MS);
    int64_t now_s = mt_clock_wall_s() - 2 * ALL;
    struct mt_keeper *keeper = NULL;
    struct mt_lease *held[HELD];
    struct mt_reader *reader;
    int64_t polls;

    (void)state;
    for (int64_t i = 0; i < ALL; i++)
        arrive(now_s + 2 * i, i);
    assert_int_equal(mt_keeper_start(&options, &keeper, NULL), MT_OK);
    wait_records(keeper, ASKED, ASKED, 6600);
    reader = mt_keeper_reader(keeper, 0);
    for (int64_t n = 0; n < HELD; n++) {
        size_t records = mt_view_records(reader->lease->view);

        held[n] = mt_lease_take(reader->lease);
        /* one among those of each segment, so that each of them becomes another one */
        for (int64_t i = 0; i < SEGMENTS; i++)
            arrive(now_s + 2 * (ALL - 100 - 500 * i - n) + 1, 1);
        wait_records(keeper, ASKED, records + SEGMENTS / 2, 6600);
    }
    assert_true(mt_keeper_is_short(keeper));
    polls = count(&fake.polls);
    while (count(&fake.polls) < polls + 10)
        nap();
    wait_records(keeper, ASKED, 0, MOST);
    assert_true(mt_view_records(reader->lease->view) >= ASKED);
    for (size_t n = 0; n < HELD; n++)
        mt_lease_return(held[n]);
    assert_false(mt_keeper_is_short(keeper));
    mt_keeper_stop(keeper);
}

static int begin(void **state)
{
    (void)state;
    free(fake.records);
    fake.records = calloc(MOST, sizeof *fake.records);
    fake.count = fake.pruned = 0;
    fake.generation = 1;
    fake.ends = 0;
    fake.open_fails = fake.ping_fails = fake.scan_fails = fake.changes_fails = MT_OK;
    fake.opened = fake.closed = fake.scans = fake.pings = fake.polls = fake.tries = 0;
    mt_store_set_finder(find_fake);
    return fake.records == NULL ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    return fake.opened == fake.closed ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_knows_what_is_there_and_what_arrives),
        TEST(test_more_than_one_page_of_changes_arrives_at_once),
        TEST(test_what_came_before_a_poll_failed_shows_after_it),
        TEST(test_a_refused_login_is_not_tried_with_each_poll),
        TEST(test_it_answers_while_the_store_is_away),
        TEST(test_it_is_silent_about_what_is_too_old),
        TEST(test_questions_that_only_the_store_answers),
        TEST(test_a_store_that_forgot_is_read_anew),
        TEST(test_a_store_that_only_is_slow_is_not_away),
        TEST(test_an_error_of_a_worker_makes_it_look_at_once),
        TEST(test_an_answer_that_comes_after_a_failed_poll_outweighs_it),
        TEST(test_it_grows_to_what_is_asked_and_shrinks_again),
        TEST(test_records_of_the_future_are_none_that_were_asked_for),
        TEST(test_old_views_in_use_take_nothing_away_from_who_asks),
        TEST(test_a_failed_poll_does_not_outweigh_an_answer_that_came_meanwhile),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    free(fake.records);
    return failed;
}
