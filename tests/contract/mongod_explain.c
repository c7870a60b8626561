/* A mongod answers every kind of question from an index, in the index's order. */
#include "mongod_explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/mongodb/query.h"

enum { NOW_S = 1647033600, HOSTS = 5, MINUTES = 40 };

static const struct contract_kind *kind;

/* a place with some records, so that there is something to plan for */
static int make_history(void **state)
{
    static struct mt_record records[HOSTS * MINUTES];
    static struct mt_outcome outcomes[HOSTS * MINUTES];
    struct mt_store_options options = {0};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    char *uri = malloc(512);

    assert_non_null(uri);
    kind->make_place(uri, 512);
    for (int i = 0; i < HOSTS * MINUTES; i++) {
        char host[16];

        (void)snprintf(host, sizeof host, "host-%d", i % HOSTS);
        records[i] = contract_record(host, NOW_S - 60 * (i / HOSTS), 100000 - 60 * (i / HOSTS));
    }
    assert_ok(mt_store_open(uri, &options, &store, &error));
    assert_ok(
        mt_store_append(store, records, HOSTS * MINUTES, MT_CONFLICT_REPORT, outcomes, &error));
    mt_store_close(store);
    *state = uri;
    return 0;
}

static int drop_history(void **state)
{
    kind->remove_place(*state);
    free(*state);
    return 0;
}

/* every stage of the plan in force; stages counts them */
static void check_stages(const char *question, bson_iter_t *iter, int *stages)
{
    while (bson_iter_next(iter)) {
        bson_iter_t child;

        if (strcmp(bson_iter_key(iter), "rejectedPlans") == 0)
            continue;
        if (strcmp(bson_iter_key(iter), "stage") == 0 && BSON_ITER_HOLDS_UTF8(iter)) {
            const char *stage = bson_iter_utf8(iter, NULL);

            (*stages)++;
            if (strcmp(stage, "COLLSCAN") == 0 || strcmp(stage, "SORT") == 0)
                fail_msg("%s: the plan has a stage %s", question, stage);
        }
        if ((BSON_ITER_HOLDS_DOCUMENT(iter) || BSON_ITER_HOLDS_ARRAY(iter)) &&
            bson_iter_recurse(iter, &child))
            check_stages(question, &child, stages);
    }
}

static void explain(const char *uri, const char *question, const bson_t *filter,
                    const bson_t *options)
{
    mongoc_uri_t *parsed = mongoc_uri_new(uri);
    mongoc_client_t *client = mongoc_client_new_from_uri(parsed);
    bson_t command = BSON_INITIALIZER;
    bson_t find;
    bson_t reply;
    bson_error_t failure;
    bson_iter_t iter;
    int stages = 0;

    BSON_APPEND_DOCUMENT_BEGIN(&command, "explain", &find);
    BSON_APPEND_UTF8(&find, "find", "memory_log");
    BSON_APPEND_DOCUMENT(&find, "filter", filter);
    assert_true(bson_concat(&find, options));
    bson_append_document_end(&command, &find);
    BSON_APPEND_UTF8(&command, "verbosity", "queryPlanner");
    if (!mongoc_client_command_simple(client, mongoc_uri_get_database(parsed), &command, NULL,
                                      &reply, &failure))
        fail_msg("%s: %s", question, failure.message);
    assert_true(bson_iter_init_find(&iter, &reply, "queryPlanner"));
    assert_true(bson_iter_init(&iter, &reply));
    check_stages(question, &iter, &stages);
    assert_true(stages > 0);
    bson_destroy(&reply);
    bson_destroy(&command);
    mongoc_client_destroy(client);
    mongoc_uri_destroy(parsed);
}

static void questions_have_an_index(void **state)
{
    static const char *const hosts[] = {"host-1", "host-3"};
    static const struct {
        const char *name;
        size_t hosts;
        int64_t from, to, skip, limit;
        enum mt_order order;
    } questions[] = {
        {"tail", 0, 0, 0, 0, 10, MT_NEWEST_FIRST},
        {"tail, skipping", 0, 0, 0, 100, 10, MT_NEWEST_FIRST},
        {"everything", 0, 0, 0, 0, 0, MT_OLDEST_FIRST},
        {"range", 0, NOW_S - 1200, NOW_S - 600, 0, 0, MT_OLDEST_FIRST},
        {"range, skipping", 0, NOW_S - 1200, NOW_S, 20, 5, MT_NEWEST_FIRST},
        {"host", 1, 0, 0, 0, 10, MT_NEWEST_FIRST},
        {"host, skipping", 1, 0, 0, 20, 10, MT_NEWEST_FIRST},
        {"host's range", 1, NOW_S - 1200, NOW_S - 600, 0, 0, MT_OLDEST_FIRST},
        {"two hosts", 2, 0, 0, 0, 10, MT_NEWEST_FIRST},
        {"two hosts' range", 2, NOW_S - 1200, NOW_S, 3, 5, MT_NEWEST_FIRST},
    };

    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        struct mt_query query = {.hosts = questions[i].hosts == 0 ? NULL : hosts,
                                 .host_count = questions[i].hosts,
                                 .from = questions[i].from,
                                 .to = questions[i].to,
                                 .now_s = NOW_S};

        /* an end of arrival is part of every scan */
        for (int with_arrival = 0; with_arrival < 2; with_arrival++) {
            struct mongodb_bounds bounds = {.has_arrival = with_arrival == 1,
                                            .arrival_us = INT64_MAX / 2};
            bson_t filter = BSON_INITIALIZER;
            bson_t options = BSON_INITIALIZER;

            mongodb_query_filter(&query, &bounds, &filter);
            mongodb_query_options(&query, questions[i].order, questions[i].skip, questions[i].limit,
                                  100, &options);
            explain(*state, questions[i].name, &filter, &options);
            bson_destroy(&options);
            bson_destroy(&filter);
        }
    }
}

int mongod_explain_run(const struct contract_kind *of)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(questions_have_an_index, make_history, drop_history),
    };

    kind = of;
    return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
