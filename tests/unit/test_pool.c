#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "api/pool.h"
#include "base/clock.h"
#include "store/store.h"

/* Stand in for the store: opening works as `opening` says, and is counted. */
struct mt_store {
    int64_t number;
    bool read_only;
};
static struct mt_gauge opening; /* an enum mt_err */
static struct mt_gauge opened;
static struct mt_gauge closed;

enum mt_err mt_store_open(const char *uri, const struct mt_store_options *options,
                          struct mt_store **store, struct mt_error *error)
{
    assert_string_equal(uri, "sqlite:here");
    assert_int_equal(options->busy_wait_ms, 7);
    assert_int_equal(options->timeout_ms, 9);
    mt_gauge_add(&opened, 1);
    if (mt_gauge_get(&opening) != MT_OK)
        return mt_error_set(error, (enum mt_err)mt_gauge_get(&opening), "not today");
    *store = calloc(1, sizeof **store);
    (*store)->number = mt_gauge_get(&opened);
    (*store)->read_only = options->read_only;
    return MT_OK;
}

void mt_store_close(struct mt_store *store)
{
    if (store != NULL)
        mt_gauge_add(&closed, 1);
    free(store);
}

/* A work that can be waited for. */
struct errand {
    struct mt_work work;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool may_go; /* guarded by mu, as is the next */
    bool is_done;
    struct mt_gauge runs;
    struct mt_gauge store_number; /* of the handle it ran with; 0: none */
    struct mt_gauge read_only;    /* whether that one is */
    enum mt_err fail_with;        /* what run reports */
    int64_t order;                /* the how manieth it was to run */
};

static struct errand *errand_of(const struct mt_job *job)
{
    /* the errand that the test itself made holds this job */
    return (struct errand *)((const char *)job - offsetof(struct errand, work.job));
}

static void run(const struct mt_job *job, struct mt_store *store, const struct mt_error *open_error,
                struct mt_response *response, struct mt_error *error)
{
    struct errand *errand = errand_of(job);

    mt_gauge_add(&errand->runs, 1);
    mt_gauge_set(&errand->store_number, store != NULL ? store->number : 0);
    mt_gauge_set(&errand->read_only, store != NULL && store->read_only);
    (void)pthread_mutex_lock(&errand->mu);
    while (!errand->may_go)
        (void)pthread_cond_wait(&errand->changed, &errand->mu);
    (void)pthread_mutex_unlock(&errand->mu);
    if (store == NULL)
        *error = *open_error;
    else if (errand->fail_with != MT_OK)
        (void)mt_error_set(error, errand->fail_with, "as the test wants it");
    mt_response_json(response, error->code == MT_OK ? 200 : mt_err_http_status(error->code), "{}");
}

static void let_go(struct errand *errand)
{
    (void)pthread_mutex_lock(&errand->mu);
    errand->may_go = true;
    (void)pthread_cond_broadcast(&errand->changed);
    (void)pthread_mutex_unlock(&errand->mu);
}

static void done(struct mt_work *work)
{
    struct errand *errand = errand_of(&work->job);

    (void)pthread_mutex_lock(&errand->mu);
    errand->is_done = true;
    (void)pthread_cond_broadcast(&errand->changed);
    (void)pthread_mutex_unlock(&errand->mu);
}

static void errand_init(struct errand *errand)
{
    *errand = (struct errand){.work = {.job = {.run = run, .deadline_ms = INT64_MAX}, .done = done},
                              .may_go = true};
    (void)pthread_mutex_init(&errand->mu, NULL);
    (void)pthread_cond_init(&errand->changed, NULL);
}

static int finish(struct errand *errand)
{
    int status;

    (void)pthread_mutex_lock(&errand->mu);
    while (!errand->is_done)
        (void)pthread_cond_wait(&errand->changed, &errand->mu);
    (void)pthread_mutex_unlock(&errand->mu);
    status = errand->work.response.status;
    mt_response_fini(&errand->work.response);
    (void)pthread_cond_destroy(&errand->changed);
    (void)pthread_mutex_destroy(&errand->mu);
    return status;
}

static int do_one(struct mt_pool *pool, struct errand *errand, enum mt_err fail_with)
{
    errand_init(errand);
    errand->fail_with = fail_with;
    assert_true(mt_pool_submit(pool, &errand->work));
    return finish(errand);
}

static struct mt_standby standby;

static struct mt_pool *start(size_t workers, size_t queue_limit, int reopen_after_ms)
{
    struct mt_pool_options options = {.workers = workers,
                                      .queue_limit = queue_limit,
                                      .store = "sqlite:here",
                                      .busy_wait_ms = 7,
                                      .timeout_ms = 9,
                                      .reopen_after_ms = reopen_after_ms,
                                      .standby = standby};
    struct mt_pool *pool = NULL;

    mt_gauge_set(&opening, MT_OK);
    mt_gauge_set(&opened, 0);
    mt_gauge_set(&closed, 0);
    assert_int_equal(mt_pool_start(&options, &pool, NULL), MT_OK);
    return pool;
}

static void test_a_full_queue_refuses(void **state)
{
    struct mt_pool *pool = start(1, 2, 1000);
    struct errand errands[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        errand_init(&errands[i]);
    errands[0].may_go = false;
    assert_true(mt_pool_submit(pool, &errands[0].work));
    while (mt_gauge_get(&errands[0].runs) == 0)
        (void)sched_yield();
    assert_true(mt_pool_submit(pool, &errands[1].work));
    assert_true(mt_pool_submit(pool, &errands[2].work));
    assert_false(mt_pool_submit(pool, &errands[3].work));
    let_go(&errands[0]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(finish(&errands[i]), 200);
    assert_true(mt_pool_submit(pool, &errands[3].work));
    assert_int_equal(finish(&errands[3]), 200);
    mt_pool_stop(pool);
    assert_int_equal(mt_gauge_get(&opened), 1);
    assert_int_equal(mt_gauge_get(&closed), 1);
}

static int64_t run_number;

static void run_and_note(const struct mt_job *job, struct mt_store *store,
                         const struct mt_error *open_error, struct mt_response *response,
                         struct mt_error *error)
{
    /* one worker: no two run at once */
    errand_of(job)->order = ++run_number;
    run(job, store, open_error, response, error);
}

static void test_quick_work_passes_large_work_which_still_gets_its_turn(void **state)
{
    enum { COUNT = 40, LARGE = 2 };
    struct mt_pool *pool = start(1, COUNT, 1000);
    struct errand errands[COUNT];

    (void)state;
    run_number = 0;
    for (size_t i = 0; i < COUNT; i++) {
        errand_init(&errands[i]);
        errands[i].work.job.run = run_and_note;
        /* the first keeps the only worker busy until all are queued */
        errands[i].work.job.is_large = i >= 1 && i <= LARGE;
    }
    errands[0].may_go = false;
    assert_true(mt_pool_submit(pool, &errands[0].work));
    while (mt_gauge_get(&errands[0].runs) == 0)
        (void)sched_yield();
    for (size_t i = 1; i < COUNT; i++)
        assert_true(mt_pool_submit(pool, &errands[i].work));
    let_go(&errands[0]);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(finish(&errands[i]), 200);
    mt_pool_stop(pool);
    assert_true(errands[LARGE + 1].order < errands[1].order);
    assert_true(errands[1].order < errands[COUNT - 1].order);
    assert_true(errands[1].order < errands[2].order);
    assert_true(errands[2].order < errands[COUNT - 1].order);
    for (size_t i = LARGE + 2; i < COUNT; i++)
        assert_true(errands[i - 1].order < errands[i].order);
}

static void test_what_is_cancelled_or_late_in_the_queue_does_not_run(void **state)
{
    struct mt_pool *pool = start(1, 8, 1000);
    struct errand first;
    struct errand cancelled;
    struct errand late;

    (void)state;
    errand_init(&first);
    errand_init(&cancelled);
    errand_init(&late);
    first.may_go = false;
    late.work.job.deadline_ms = mt_clock_monotonic_ms();
    assert_true(mt_pool_submit(pool, &first.work));
    assert_true(mt_pool_submit(pool, &cancelled.work));
    assert_true(mt_pool_submit(pool, &late.work));
    mt_gauge_set(&cancelled.work.cancelled, 1);
    let_go(&first);
    assert_int_equal(finish(&first), 200);
    assert_int_equal(finish(&cancelled), 503);
    assert_int_equal(finish(&late), 503);
    assert_int_equal(mt_gauge_get(&cancelled.runs), 0);
    assert_int_equal(mt_gauge_get(&late.runs), 0);
    mt_pool_stop(pool);
}

static void test_a_running_job_can_ask_whether_it_is_cancelled(void **state)
{
    struct mt_pool *pool = start(1, 8, 1000);
    struct errand errand;

    (void)state;
    errand_init(&errand);
    errand.may_go = false;
    assert_true(mt_pool_submit(pool, &errand.work));
    while (mt_gauge_get(&errand.runs) == 0)
        (void)sched_yield();
    assert_false(errand.work.job.cancelled(errand.work.job.cancel_context));
    mt_gauge_set(&errand.work.cancelled, 1);
    assert_true(errand.work.job.cancelled(errand.work.job.cancel_context));
    let_go(&errand);
    assert_int_equal(finish(&errand), 200);
    mt_pool_stop(pool);
}

static void test_a_handle_that_failed_is_opened_anew(void **state)
{
    struct mt_pool *pool = start(1, 8, 0);
    struct errand errand;

    (void)state;
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 1);
    assert_int_equal(do_one(pool, &errand, MT_ERR_CORRUPT), 500);
    assert_int_equal(mt_gauge_get(&errand.store_number), 1);
    assert_int_equal(do_one(pool, &errand, MT_ERR_CANCELLED), 503);
    assert_int_equal(mt_gauge_get(&errand.store_number), 2);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 2);
    mt_pool_stop(pool);
    assert_int_equal(mt_gauge_get(&opened), mt_gauge_get(&closed));
}

static void test_a_store_that_cannot_be_opened_is_tried_again_but_not_at_once(void **state)
{
    struct mt_pool *pool = start(1, 8, 60000);
    struct errand errand;

    (void)state;
    mt_gauge_set(&opening, MT_ERR_MISSING);
    for (int i = 0; i < 5; i++)
        assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    assert_int_equal(mt_gauge_get(&errand.store_number), 0);
    assert_int_equal(mt_gauge_get(&opened), 1);
    mt_pool_stop(pool);

    pool = start(1, 8, 0);
    mt_gauge_set(&opening, MT_ERR_NEWER_SCHEMA);
    assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    mt_gauge_set(&opening, MT_OK);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    mt_pool_stop(pool);
}

static int write_one(struct mt_pool *pool, struct errand *errand, enum mt_err fail_with)
{
    errand_init(errand);
    errand->fail_with = fail_with;
    errand->work.job.writes = true;
    assert_true(mt_pool_submit(pool, &errand->work));
    return finish(errand);
}

static void test_what_writes_has_a_handle_of_its_own(void **state)
{
    struct mt_pool *pool = start(1, 8, 0);
    struct errand errand;

    (void)state;
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.read_only), 1);
    /* not opened before it is needed */
    assert_int_equal(mt_gauge_get(&opened), 1);
    assert_int_equal(write_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 2);
    assert_int_equal(mt_gauge_get(&errand.read_only), 0);
    /* what becomes of one does not touch the other */
    assert_int_equal(write_one(pool, &errand, MT_ERR_FULL), 503);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 1);
    assert_int_equal(write_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 3);
    mt_pool_stop(pool);
    assert_int_equal(mt_gauge_get(&opened), mt_gauge_get(&closed));
}

static void test_who_reads_sees_the_store_that_a_write_made(void **state)
{
    struct mt_pool *pool = start(1, 8, 60000);
    struct errand errand;

    (void)state;
    mt_gauge_set(&opening, MT_ERR_MISSING);
    assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    mt_gauge_set(&opening, MT_OK);
    assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    assert_int_equal(write_one(pool, &errand, MT_OK), 200);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    mt_pool_stop(pool);
}

/* A stand-in that is told what to do, and counts what is asked of it. */
static struct {
    struct mt_gauge away, answers, returns;
    struct mt_gauge asked, told, told_of_failures;
} stand_in;

static bool stand_in_is_away(void *context, struct mt_error *why)
{
    assert_ptr_equal(context, &stand_in);
    if (mt_gauge_get(&stand_in.away) == 0)
        return false;
    (void)mt_error_set(why, MT_ERR_UNAVAILABLE, "gone fishing");
    return true;
}

static bool stand_in_answer(void *context, const struct mt_job *job, struct mt_packer *packer,
                            struct mt_response *response)
{
    (void)packer;
    assert_ptr_equal(context, &stand_in);
    assert_non_null(job->run);
    mt_gauge_add(&stand_in.asked, 1);
    if (mt_gauge_get(&stand_in.answers) == 0)
        return false;
    mt_response_json(response, 200, "from memory");
    return true;
}

static void stand_in_tell(void *context, const struct mt_error *outcome)
{
    assert_ptr_equal(context, &stand_in);
    mt_gauge_add(&stand_in.told, 1);
    mt_gauge_add(&stand_in.told_of_failures, outcome->code != MT_OK);
}

static int64_t stand_in_returns(void *context)
{
    assert_ptr_equal(context, &stand_in);
    return mt_gauge_get(&stand_in.returns);
}

static int use_stand_in(void **state)
{
    (void)state;
    memset(&stand_in, 0, sizeof stand_in);
    standby = (struct mt_standby){.context = &stand_in,
                                  .is_away = stand_in_is_away,
                                  .answer = stand_in_answer,
                                  .tell = stand_in_tell,
                                  .returns = stand_in_returns};
    return 0;
}

static int leave_stand_in(void **state)
{
    (void)state;
    standby = (struct mt_standby){0};
    return 0;
}

static void test_nobody_waits_for_a_store_that_is_known_to_be_away(void **state)
{
    struct mt_pool *pool = start(1, 8, 0);
    struct errand errand;

    (void)state;
    mt_gauge_set(&stand_in.away, 1);
    mt_gauge_set(&stand_in.answers, 1);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.runs), 0);
    /* what only the store can answer is told why it cannot */
    mt_gauge_set(&stand_in.answers, 0);
    assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    assert_int_equal(mt_gauge_get(&errand.runs), 1);
    assert_int_equal(mt_gauge_get(&errand.store_number), 0);
    assert_int_equal(mt_gauge_get(&stand_in.asked), 2);
    assert_int_equal(mt_gauge_get(&stand_in.told), 0);
    assert_int_equal(mt_gauge_get(&opened), 0);
    /* and when it is back it is asked again */
    mt_gauge_set(&stand_in.away, 0);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 1);
    assert_int_equal(mt_gauge_get(&stand_in.told), 1);
    assert_int_equal(mt_gauge_get(&stand_in.told_of_failures), 0);
    /* that it takes no records does not make it away */
    assert_int_equal(write_one(pool, &errand, MT_ERR_READ_ONLY), 503);
    assert_int_equal(mt_gauge_get(&stand_in.told), 1);
    mt_pool_stop(pool);
}

static void test_memory_answers_for_a_store_that_just_went(void **state)
{
    static const struct {
        enum mt_err code;
        int answers;
        int status;
    } cases[] = {
        {MT_ERR_UNAVAILABLE, 1, 200}, {MT_ERR_BUSY, 1, 200},    {MT_ERR_DEADLINE, 1, 200},
        {MT_ERR_UNAVAILABLE, 0, 503}, {MT_ERR_CORRUPT, 1, 500}, {MT_ERR_CANCELLED, 1, 503},
    };
    struct mt_pool *pool = start(1, 8, 60000);
    struct errand errand;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mt_gauge_set(&stand_in.answers, cases[i].answers);
        assert_int_equal(do_one(pool, &errand, cases[i].code), cases[i].status);
        assert_int_equal(mt_gauge_get(&errand.runs), 1);
    }
    assert_int_equal(mt_gauge_get(&stand_in.told_of_failures), 5);
    /* also for what waited too long for a worker */
    errand_init(&errand);
    errand.work.job.deadline_ms = 0;
    mt_gauge_set(&stand_in.answers, 1);
    assert_true(mt_pool_submit(pool, &errand.work));
    assert_int_equal(finish(&errand), 200);
    assert_int_equal(mt_gauge_get(&errand.runs), 0);
    mt_pool_stop(pool);
}

static void test_handles_from_before_the_store_went_are_replaced(void **state)
{
    struct mt_pool *pool = start(1, 8, 60000);
    struct errand errand;

    (void)state;
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 1);
    mt_gauge_set(&stand_in.returns, 1);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    assert_int_equal(mt_gauge_get(&errand.store_number), 2);
    assert_int_equal(mt_gauge_get(&closed), 1);
    /* nor does one that could not open it wait for its next turn */
    mt_gauge_set(&opening, MT_ERR_UNAVAILABLE);
    mt_gauge_set(&stand_in.returns, 2);
    assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    mt_gauge_set(&opening, MT_OK);
    assert_int_equal(do_one(pool, &errand, MT_OK), 503);
    mt_gauge_set(&stand_in.returns, 3);
    assert_int_equal(do_one(pool, &errand, MT_OK), 200);
    mt_pool_stop(pool);
    assert_int_equal(mt_gauge_get(&opened), mt_gauge_get(&closed) + 1);
}

static void test_stopping_does_what_is_queued_first(void **state)
{
    enum { COUNT = 50 };
    struct mt_pool *pool = start(3, COUNT, 1000);
    struct errand errands[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        errand_init(&errands[i]);
        assert_true(mt_pool_submit(pool, &errands[i].work));
    }
    mt_pool_stop(pool);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(errands[i].is_done);
        assert_int_equal(finish(&errands[i]), 200);
    }
    mt_pool_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_queue_refuses),
        cmocka_unit_test(test_quick_work_passes_large_work_which_still_gets_its_turn),
        cmocka_unit_test(test_what_is_cancelled_or_late_in_the_queue_does_not_run),
        cmocka_unit_test(test_a_running_job_can_ask_whether_it_is_cancelled),
        cmocka_unit_test(test_a_handle_that_failed_is_opened_anew),
        cmocka_unit_test(test_a_store_that_cannot_be_opened_is_tried_again_but_not_at_once),
        cmocka_unit_test(test_what_writes_has_a_handle_of_its_own),
        cmocka_unit_test(test_who_reads_sees_the_store_that_a_write_made),
        cmocka_unit_test_setup_teardown(test_nobody_waits_for_a_store_that_is_known_to_be_away,
                                        use_stand_in, leave_stand_in),
        cmocka_unit_test_setup_teardown(test_memory_answers_for_a_store_that_just_went,
                                        use_stand_in, leave_stand_in),
        cmocka_unit_test_setup_teardown(test_handles_from_before_the_store_went_are_replaced,
                                        use_stand_in, leave_stand_in),
        cmocka_unit_test(test_stopping_does_what_is_queued_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
