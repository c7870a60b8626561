/* What only the MongoDB store promises of reading: late arrivals, damage, much at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <mongoc/mongoc.h>

#include "contract.h"
#include "mongodb_fixture.h"

#define SECOND_US INT64_C(1000000)

/* A place with a store, and raw access beside it. */
struct place {
    struct contract contract;
    mongoc_client_t *client;
    mongoc_collection_t *log;
    int64_t now_us;
};

static const struct contract_kind kind = {
    .name = "mongodb", .make_place = mongodb_make_place, .remove_place = mongodb_remove_place};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    mongoc_uri_t *uri;

    assert_non_null(place);
    place->contract.kind = &kind;
    mongodb_make_place(place->contract.uri, sizeof place->contract.uri);
    place->contract.store = contract_open(&place->contract, false, 0);
    uri = mongoc_uri_new(place->contract.uri);
    assert_non_null(uri);
    place->client = mongoc_client_new_from_uri(uri);
    assert_non_null(place->client);
    place->log =
        mongoc_client_get_collection(place->client, mongoc_uri_get_database(uri), "memory_log");
    mongoc_uri_destroy(uri);
    place->now_us = time(NULL) * SECOND_US;
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;

    mongoc_collection_destroy(place->log);
    mongoc_client_destroy(place->client);
    mt_store_close(place->contract.store);
    mongodb_remove_place(place->contract.uri);
    free(place);
    return 0;
}

static bson_t *make_document(const char *host, int64_t timestamp, int64_t arrival_us)
{
    return BCON_NEW("_id", "{", "h", BCON_UTF8(host), "t", BCON_INT64(timestamp), "}", "arrival_us",
                    BCON_INT64(arrival_us), "mem_total", BCON_INT64(8), "mem_free", BCON_INT64(4));
}

static void insert(const struct place *place, bson_t *document)
{
    bson_error_t failure;

    if (!mongoc_collection_insert_one(place->log, document, NULL, NULL, &failure))
        fail_msg("insert: %s", failure.message);
    bson_destroy(document);
}

/* one with a mark so many seconds from now: as if its write had taken that long */
static void insert_at(const struct place *place, const char *host, int64_t timestamp,
                      int64_t seconds)
{
    insert(place, make_document(host, timestamp, place->now_us + seconds * SECOND_US));
}

/* `count` of host h, one a second from second 1 on, marks from first_us on, 1 ms apart */
static void insert_many(const struct place *place, int count, int64_t first_us)
{
    enum { AT_ONCE = 1000 };
    bson_t *documents[AT_ONCE];
    bson_error_t failure;

    for (int done = 0; done < count; done += AT_ONCE) {
        int some = count - done < AT_ONCE ? count - done : AT_ONCE;

        for (int i = 0; i < some; i++)
            documents[i] = make_document("h", 1 + done + i, first_us + (done + i) * INT64_C(1000));
        if (!mongoc_collection_insert_many(place->log, (const bson_t **)documents, (size_t)some,
                                           NULL, NULL, &failure))
            fail_msg("insert: %s", failure.message);
        for (int i = 0; i < some; i++)
            bson_destroy(documents[i]);
    }
}

static void remove_where(const struct place *place, bson_t *filter)
{
    bson_error_t failure;

    if (!mongoc_collection_delete_many(place->log, filter, NULL, NULL, &failure))
        fail_msg("delete: %s", failure.message);
    bson_destroy(filter);
}

/* follows one step and checks the seconds that come; 0 ends them */
static void check_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                          const int64_t *seconds)
{
    struct contract_list list = {0};
    struct mt_error error = {0};
    size_t count = 0;
    bool reset = true;

    assert_ok(mt_store_changes(store, token, limit, contract_collect, &list, &reset, &error));
    assert_false(reset);
    while (seconds[count] != 0)
        count++;
    for (size_t i = 0; i < list.count && i < count; i++)
        assert_int_equal(list.records[i].timestamp, seconds[i]);
    assert_int_equal(list.count, count);
    contract_list_free(&list);
}

#define CHANGES(store, token, limit, ...)                                                          \
    check_changes(store, token, limit, (const int64_t[]){__VA_ARGS__})

static void what_took_long_to_arrive_is_handed_out_once(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct mt_token token = {0};
    struct mt_token before;
    struct mt_token other;
    struct mt_error error = {0};

    insert_at(place, "h", 100, -10);
    insert_at(place, "h", 101, -5);
    CHANGES(store, &token, 10, 100, 101, 0);
    before = token;
    insert_at(place, "late", 50, -8);
    insert_at(place, "late", 51, -20);
    CHANGES(store, &token, 10, 51, 50, 0);
    /* it did not move the place */
    assert_int_equal(token.sequence, before.sequence);
    CHANGES(store, &token, 10, 0);
    insert_at(place, "h", 102, 0);
    insert_at(place, "late", 52, -8);
    CHANGES(store, &token, 10, 102, 52, 0);
    CHANGES(store, &token, 10, 0);
    /* the place of all that arrived knows what that is */
    assert_ok(mt_store_token(store, &other, &error));
    assert_int_equal(other.sequence, token.sequence);
    CHANGES(store, &other, 10, 0);
    /* within the limit too, and what is left comes next */
    insert_at(place, "late", 53, -9);
    insert_at(place, "late", 54, -7);
    CHANGES(store, &token, 1, 53, 0);
    CHANGES(store, &token, 1, 54, 0);
    CHANGES(store, &token, 1, 0);
}

static void a_token_knows_what_was_there_when_it_was_given(void **state)
{
    struct place *place = *state;
    struct mt_store *store = contract_open(&place->contract, true, 0);
    struct mt_token token;
    struct mt_error error = {0};

    insert_at(place, "h", 100, -10);
    insert_at(place, "h", 101, -5);
    assert_ok(mt_store_token(store, &token, &error));
    CHANGES(store, &token, 10, 0);
    assert_ok(mt_store_token(store, &token, &error));
    insert_at(place, "late", 50, -8);
    CHANGES(store, &token, 10, 50, 0);
    CHANGES(store, &token, 10, 0);
    mt_store_close(store);
}

static void two_that_follow_through_one_handle_get_all(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct mt_token one = {0};
    struct mt_token two;
    struct mt_error error = {0};

    insert_at(place, "h", 100, -10);
    CHANGES(store, &one, 10, 100, 0);
    assert_ok(mt_store_token(store, &two, &error));
    insert_at(place, "h", 101, -5);
    CHANGES(store, &one, 10, 101, 0);
    insert_at(place, "late", 50, -12);
    CHANGES(store, &one, 10, 50, 0);
    /* the other one has moved on from there, and so it is looked back at */
    CHANGES(store, &two, 1, 101, 0);
    CHANGES(store, &two, 10, 50, 100, 0);
    CHANGES(store, &two, 10, 0);
    CHANGES(store, &one, 10, 0);
}

/* what its giver missed cannot be known: the last minute comes once more, after what is new */
static void a_place_of_another_handle_looks_back_over_the_time_of_a_write(void **state)
{
    struct place *place = *state;
    struct mt_store *other = contract_open(&place->contract, true, 0);
    struct mt_token token = {0};
    struct mt_token same;

    insert_at(place, "h", 100, -600);
    insert_at(place, "h", 101, -10);
    insert_at(place, "h", 102, -5);
    CHANGES(place->contract.store, &token, 10, 100, 101, 102, 0);
    same = token;
    insert_at(place, "h", 103, 0);
    /* each call gets on, whatever the limit */
    CHANGES(other, &token, 1, 103, 0);
    CHANGES(other, &token, 1, 101, 0);
    CHANGES(other, &token, 10, 102, 0);
    CHANGES(other, &token, 10, 0);
    /* the one whose place it is repeats nothing */
    CHANGES(place->contract.store, &same, 10, 103, 0);
    mt_store_close(other);
}

/* another primary, whose clock is ten minutes behind */
static void a_clock_that_went_back_hides_nothing(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct mt_token token = {0};

    insert_at(place, "h", 100, 600);
    insert_at(place, "h", 101, 601);
    CHANGES(store, &token, 10, 100, 101, 0);
    insert_at(place, "h", 102, 0);
    insert_at(place, "h", 103, 1);
    CHANGES(store, &token, 10, 102, 103, 0);
    CHANGES(store, &token, 10, 0);
}

static void records_with_one_mark_come_each_once(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct mt_token token = {0};
    struct contract_list list = {0};
    struct mt_error error = {0};
    bool reset;

    /* too old to be looked back at */
    for (int i = 0; i < 5; i++)
        insert_at(place, (const char *[]){"a", "b", "c", "d", "e"}[i], 100, -600);
    for (int i = 0; i < 5; i++)
        assert_ok(mt_store_changes(store, &token, 1, contract_collect, &list, &reset, &error));
    assert_int_equal(list.count, 5);
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(list.records[i].host, list.records[j].host);
    CHANGES(store, &token, 1, 0);
    contract_list_free(&list);
}

static void a_long_history_is_caught_up_with_in_pages(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct contract_list list = {0};
    struct mt_token token = {0};
    struct mt_error error = {0};
    bool reset;
    size_t before;

    insert_many(place, 700, place->now_us - 300 * SECOND_US);
    do {
        before = list.count;
        assert_ok(mt_store_changes(store, &token, 100, contract_collect, &list, &reset, &error));
        assert_false(reset);
        if (list.count == 300)
            insert_at(place, "late", 5000, -30);
    } while (list.count > before);
    assert_int_equal(list.count, 701);
    for (size_t i = 0; i < 700; i++)
        assert_int_equal(list.records[i].timestamp, i + 1);
    assert_int_equal(list.records[700].timestamp, 5000);
    insert_at(place, "late", 5001, -29);
    CHANGES(store, &token, 100, 5001, 0);
    contract_list_free(&list);
}

/* nobody asked for a while, or the one that is asked lags */
static void what_comes_after_a_pause_comes_once(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct mt_token token = {0};

    insert_at(place, "h", 100, -600);
    CHANGES(store, &token, 10, 100, 0);
    for (int i = 1; i <= 5; i++)
        insert_at(place, "h", 100 + i, -500 + i * INT64_C(20));
    CHANGES(store, &token, 4, 101, 102, 103, 104, 0);
    CHANGES(store, &token, 10, 105, 0);
    CHANGES(store, &token, 10, 0);
    insert_at(place, "late", 50, -401);
    CHANGES(store, &token, 10, 50, 0);
    CHANGES(store, &token, 10, 0);
    for (int i = 1; i <= 5; i++)
        insert_at(place, "h", 110 + i, -100 + i * INT64_C(20));
    CHANGES(store, &token, 10, 111, 112, 113, 114, 115, 0);
    CHANGES(store, &token, 10, 0);
}

/* One that follows, through a handle of its own, of others, or of several in turn. */
struct follower {
    struct mt_store *stores[2];
    struct mt_token token;
    int seen[200]; /* by second */
};

/* one step; how many records came */
static size_t follow(struct follower *follower, uint64_t *random, size_t limit)
{
    struct contract_list list = {0};
    struct mt_error error = {0};
    size_t count;
    bool reset = true;

    assert_ok(mt_store_changes(follower->stores[contract_random(random) % 2], &follower->token,
                               limit, contract_collect, &list, &reset, &error));
    assert_false(reset);
    assert_true(list.count <= limit);
    for (size_t i = 0; i < list.count; i++)
        follower->seen[list.records[i].timestamp]++;
    count = list.count;
    contract_list_free(&list);
    return count;
}

static void whatever_the_order_of_arrival_nobody_misses_a_record(void **state)
{
    enum { STEPS = 50, FOLLOWERS = 3 };
    struct place *place = *state;
    struct mt_store *shared = place->contract.store;
    struct mt_store *others[] = {contract_open(&place->contract, true, 0),
                                 contract_open(&place->contract, true, 0)};
    struct follower followers[FOLLOWERS] = {
        {.stores = {shared, shared}},
        {.stores = {shared, shared}},
        /* no handle can carry on what another one has left to look back at */
        {.stores = {others[0], others[1]}},
    };
    uint64_t random = contract_seed();
    int64_t count = 0;

    for (int step = 0; step < STEPS; step++) {
        for (uint64_t i = contract_random(&random) % 4; i > 0; i--)
            insert_at(place, "h", ++count,
                      step / 2 - 30 - (int64_t)(contract_random(&random) % 25));
        for (size_t i = 0; i < FOLLOWERS; i++)
            if (contract_random(&random) % 3 == 0)
                (void)follow(&followers[i], &random,
                             followers[i].stores[0] == shared ? 1 + contract_random(&random) % 8
                                                              : 50);
    }
    for (size_t i = 0; i < FOLLOWERS; i++)
        while (follow(&followers[i], &random, 200) > 0)
            ;
    for (int64_t second = 1; second <= count; second++)
        for (size_t i = 0; i < FOLLOWERS; i++)
            assert_true(followers[i].seen[second] >= 1);
    mt_store_close(others[0]);
    mt_store_close(others[1]);
}

static void whoever_follows_alone_gets_each_record_once(void **state)
{
    struct place *place = *state;
    struct follower follower = {.stores = {place->contract.store, place->contract.store}};
    uint64_t random = contract_seed();
    int64_t count = 0;

    for (int step = 0; step < 50; step++) {
        for (uint64_t i = contract_random(&random) % 4; i > 0; i--)
            insert_at(place, "h", ++count,
                      2 * step - 110 - (int64_t)(contract_random(&random) % 25));
        (void)follow(&follower, &random, 1 + contract_random(&random) % 4);
    }
    while (follow(&follower, &random, 3) > 0)
        ;
    for (int64_t second = 1; second <= count; second++)
        assert_int_equal(follower.seen[second], 1);
}

static void a_place_whose_record_is_gone_is_not_known(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct contract_list list = {0};
    struct mt_token token = {0};
    struct mt_error error = {0};
    bool reset = false;

    insert_at(place, "h", 100, -10);
    insert_at(place, "h", 101, -5);
    CHANGES(store, &token, 10, 100, 101, 0);
    remove_where(place, BCON_NEW("_id.t", BCON_INT64(101)));
    insert_at(place, "h", 102, 0);
    assert_ok(mt_store_changes(store, &token, 10, contract_collect, &list, &reset, &error));
    assert_true(reset);
    assert_int_equal(list.count, 0);
    CHANGES(store, &token, 10, 0);
    /* and where nothing is left */
    remove_where(place, bson_new());
    assert_ok(mt_store_changes(store, &token, 10, contract_collect, &list, &reset, &error));
    assert_true(reset);
    assert_int_equal(token.sequence, 0);
    insert_at(place, "h", 103, -1000);
    CHANGES(store, &token, 10, 103, 0);
}

static void pruning_goes_in_slices_and_keeps_seconds_whole(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct contract_list list = {0};
    struct mt_query query = contract_everything();
    struct mt_error error = {0};
    int64_t pruned = 0;

    insert_many(place, 2500, place->now_us - 300 * SECOND_US);
    insert_at(place, "other", 1001, 0);
    insert_at(place, "other", 2400, 0);
    insert_at(place, "other", 2401, 0);
    assert_ok(mt_store_prune(store, 2401, &pruned, &error));
    assert_int_equal(pruned, 2402);
    contract_scan(store, &query, &list);
    assert_int_equal(list.count, 101);
    assert_int_equal(list.records[0].timestamp, 2401);
    contract_list_free(&list);
}

/* What a verification reports. */
struct findings {
    char text[4096];
};

static void note(void *context, const char *text)
{
    struct findings *findings = context;
    size_t length = strlen(findings->text);

    (void)snprintf(findings->text + length, sizeof findings->text - length, "%s\n", text);
}

/* all findings hold these words, one after the other; NULL ends them */
static void check_findings(struct mt_store *store, const char *const *words)
{
    struct findings findings = {0};
    struct mt_error error = {0};
    const char *at = findings.text;
    int64_t expected = 0;
    int64_t count = -1;

    assert_ok(mt_store_verify(store, false, note, &findings, &count, &error));
    for (; words[expected] != NULL; expected++) {
        const char *found = strstr(at, words[expected]);

        if (found == NULL)
            fail_msg("'%s' is not told of in:\n%s", words[expected], findings.text);
        else
            at = strchr(found, '\n');
    }
    if (count != expected)
        print_error("%s", findings.text);
    assert_int_equal(count, expected);
}

#define FINDINGS(store, ...) check_findings(store, (const char *const[]){__VA_ARGS__})

static void damage_is_told_and_the_rest_looked_at(void **state)
{
    struct place *place = *state;
    struct mt_store *store = place->contract.store;
    struct mt_query query = contract_everything();
    struct mt_error error = {0};
    struct contract_list list = {0};
    bson_error_t failure;

    insert_many(place, 10, place->now_us - 3600 * SECOND_US);
    FINDINGS(store, NULL);
    insert(place, BCON_NEW("_id", "{", "h", BCON_UTF8("bad"), "t", BCON_INT64(20), "}",
                           "arrival_us", BCON_INT64(place->now_us), "mem_total", "much"));
    insert(place, BCON_NEW("_id", "{", "h", BCON_UTF8("bad"), "t", BCON_INT64(21), "}", "mem_total",
                           BCON_INT64(8), "mem_free", BCON_INT64(4)));
    insert_at(place, "bad", 22, INT64_C(3) * 86400);
    insert(place, BCON_NEW("_id", "{", "t", BCON_INT64(5), "h", BCON_UTF8("h"), "}", "arrival_us",
                           BCON_INT64(place->now_us), "mem_total", BCON_INT64(8), "mem_free",
                           BCON_INT64(4)));
    FINDINGS(store, "second 5: stands there twice", "mem_total", "second 21: has no arrival_us",
             "second 22: arrival_us", NULL);
    /* reading says so too, and what to do */
    assert_int_equal(mt_store_scan(store, &query, contract_collect, &list, &error), MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "bad"));
    remove_where(place, BCON_NEW("_id.h", "bad"));
    remove_where(place, BCON_NEW("_id", "{", "t", BCON_INT64(5), "h", BCON_UTF8("h"), "}"));
    FINDINGS(store, NULL);
    assert_true(mongoc_collection_drop_index(place->log, "by_arrival", &failure));
    FINDINGS(store, "index by_arrival: is missing", NULL);
    assert_true(mongoc_collection_drop_index(place->log, "by_time", &failure));
    FINDINGS(store, "index by_time: is missing", "index by_arrival: is missing", NULL);
    contract_list_free(&list);
}

static bool is_later(void *context)
{
    return --*(int *)context < 0;
}

static void a_scan_may_be_given_up_between_records(void **state)
{
    struct place *place = *state;
    struct contract_list list = {0};
    struct mt_query query = contract_everything();
    struct mt_error error = {0};
    int times = 6;

    insert_many(place, 20, place->now_us);
    query.cancelled = is_later;
    query.cancel_context = &times;
    assert_int_equal(mt_store_scan(place->contract.store, &query, contract_collect, &list, &error),
                     MT_ERR_CANCELLED);
    assert_in_range(list.count, 1, 6);
    contract_list_free(&list);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_took_long_to_arrive_is_handed_out_once),
        TEST(a_token_knows_what_was_there_when_it_was_given),
        TEST(two_that_follow_through_one_handle_get_all),
        TEST(a_place_of_another_handle_looks_back_over_the_time_of_a_write),
        TEST(a_clock_that_went_back_hides_nothing),
        TEST(records_with_one_mark_come_each_once),
        TEST(a_long_history_is_caught_up_with_in_pages),
        TEST(what_comes_after_a_pause_comes_once),
        TEST(whatever_the_order_of_arrival_nobody_misses_a_record),
        TEST(whoever_follows_alone_gets_each_record_once),
        TEST(a_place_whose_record_is_gone_is_not_known),
        TEST(pruning_goes_in_slices_and_keeps_seconds_whole),
        TEST(damage_is_told_and_the_rest_looked_at),
        TEST(a_scan_may_be_given_up_between_records),
    };
    int result = mongodb_use_ferretdb();

    if (result == 0) {
        result = cmocka_run_group_tests(tests, NULL, NULL);
        mongodb_finish();
    }
    return result;
}
