#include "unit.h"

#include <string.h>

#include "store/mongodb/query.h"

static const char *const one_host[] = {"h"};
static const char *const two_hosts[] = {"a", "b\u00e9"};

/* both borrow nothing; `expected` is relaxed extended JSON */
static void assert_json(bson_t *document, const char *expected)
{
    char *json = bson_as_relaxed_extended_json(document, NULL);

    assert_string_equal(json, expected);
    bson_free(json);
    bson_destroy(document);
}

static void assert_filter(const struct mt_query *query, const struct mongodb_bounds *bounds,
                          const char *expected)
{
    bson_t filter = BSON_INITIALIZER;

    mongodb_query_filter(query, bounds, &filter);
    assert_json(&filter, expected);
}

static void test_filters(void **state)
{
    static const struct {
        struct mt_query query;
        const char *expected;
    } rows[] = {
        {{.now_s = 1000}, "{ \"_id.t\" : { \"$lte\" : 1300 } }"},
        {{.now_s = INT64_MAX}, "{ }"},
        {{.to = INT64_MAX, .now_s = 1000}, "{ \"_id.t\" : { \"$lte\" : 9223372036854775806 } }"},
        {{.from = 60, .to = 120}, "{ \"_id.t\" : { \"$gte\" : 60, \"$lte\" : 119 } }"},
        {{.hosts = one_host, .host_count = 1, .now_s = 1000}, "{ \"_id.h\" : \"h\" }"},
        {{.hosts = one_host, .host_count = 1, .from = 5},
         "{ \"_id.h\" : \"h\", \"_id.t\" : { \"$gte\" : 5 } }"},
        {{.hosts = two_hosts, .host_count = 2},
         "{ \"_id.h\" : { \"$in\" : [ \"a\", \"b\u00e9\" ] } }"},
    };
    const struct mongodb_bounds none = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_filter(&rows[i].query, &none, rows[i].expected);
}

static void test_bounds_narrow_a_filter_and_never_widen_it(void **state)
{
    const struct mt_query query = {.from = 60, .to = 121};
    const struct mongodb_key within = {.timestamp = 100, .host = "h"};
    const struct mongodb_key before = {.timestamp = 10, .host = "h"};
    const struct mongodb_key after = {.timestamp = 200, .host = "h"};
    struct mongodb_bounds bounds = {.oldest = &within, .newest = &within};

    (void)state;
    assert_filter(&query, &bounds, "{ \"_id.t\" : { \"$gte\" : 100, \"$lte\" : 100 } }");
    bounds = (struct mongodb_bounds){.oldest = &before, .newest = &after};
    assert_filter(&query, &bounds, "{ \"_id.t\" : { \"$gte\" : 60, \"$lte\" : 120 } }");
    bounds = (struct mongodb_bounds){.has_arrival = true, .arrival_us = 7};
    assert_filter(&query, &bounds,
                  "{ \"_id.t\" : { \"$gte\" : 60, \"$lte\" : 120 }, "
                  "\"arrival_us\" : { \"$lte\" : 7 } }");
}

static void test_options_are_in_the_order_of_one_index(void **state)
{
    const struct mt_query all = {.now_s = 1};
    const struct mt_query one = {.hosts = one_host, .host_count = 1};
    const struct mt_query two = {.hosts = two_hosts, .host_count = 2};
    bson_t options = BSON_INITIALIZER;

    (void)state;
    mongodb_query_options(&all, MT_NEWEST_FIRST, 5, 10, 10, &options);
    assert_json(&options, "{ \"sort\" : { \"_id.t\" : -1, \"_id.h\" : -1 }, \"hint\" : "
                          "\"by_time\", \"skip\" : 5, \"limit\" : 10, \"batchSize\" : 10 }");
    bson_init(&options);
    mongodb_query_options(&one, MT_OLDEST_FIRST, 0, 0, 1000, &options);
    assert_json(&options,
                "{ \"sort\" : { \"_id.t\" : 1 }, \"hint\" : \"by_host\", \"batchSize\" : 1000 }");
    bson_init(&options);
    mongodb_query_options(&two, MT_OLDEST_FIRST, 0, 0, 1000, &options);
    assert_json(&options, "{ \"sort\" : { \"_id.t\" : 1, \"_id.h\" : 1 }, \"hint\" : "
                          "\"by_time\", \"batchSize\" : 1000 }");
}

static void test_questions_without_an_answer(void **state)
{
    (void)state;
    assert_true(mongodb_matches_nothing(&(struct mt_query){.hosts = one_host}));
    assert_true(mongodb_matches_nothing(&(struct mt_query){.from = 5, .to = 5}));
    assert_true(mongodb_matches_nothing(&(struct mt_query){.to = -1}));
    assert_false(mongodb_matches_nothing(&(struct mt_query){.from = 5, .to = 6}));
    assert_false(mongodb_matches_nothing(&(struct mt_query){.from = 5}));
    assert_false(mongodb_matches_nothing(&(struct mt_query){.hosts = one_host, .host_count = 1}));
}

static void test_keys_are_in_the_order_of_the_names_bytes(void **state)
{
    const struct mongodb_key a = {.timestamp = 60, .host = "B"};
    const struct mongodb_key b = {.timestamp = 60, .host = "a"};
    const struct mongodb_key c = {.timestamp = 60, .host = "\u00e9"};
    const struct mongodb_key d = {.timestamp = 61, .host = "A"};

    (void)state;
    assert_true(mongodb_key_compare(&a, &b) < 0);
    assert_true(mongodb_key_compare(&b, &c) < 0);
    assert_true(mongodb_key_compare(&c, &d) < 0);
    assert_true(mongodb_key_compare(&d, &a) > 0);
    assert_int_equal(mongodb_key_compare(&a, &a), 0);
}

static void test_a_key_is_read_from_a_record_only(void **state)
{
    struct mongodb_key key = {0};
    bson_t *document = BCON_NEW("_id", "{", "t", BCON_INT64(60), "h", BCON_UTF8("host-1"), "}", "x",
                                BCON_INT32(1));
    bson_t *wrong[] = {
        BCON_NEW("_id", BCON_INT32(5)),
        BCON_NEW("_id", "{", "t", BCON_INT64(60), "}"),
        BCON_NEW("_id", "{", "t", BCON_UTF8("60"), "h", BCON_UTF8("h"), "}"),
        BCON_NEW("_id", "{", "t", BCON_INT64(60), "h", BCON_INT32(1), "}"),
        BCON_NEW("x", BCON_INT32(1)),
    };

    (void)state;
    assert_true(mongodb_read_key(document, &key));
    assert_int_equal(key.timestamp, 60);
    assert_string_equal(key.host, "host-1");
    bson_destroy(document);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(mongodb_read_key(wrong[i], &key));
        bson_destroy(wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_bounds_narrow_a_filter_and_never_widen_it),
        cmocka_unit_test(test_options_are_in_the_order_of_one_index),
        cmocka_unit_test(test_questions_without_an_answer),
        cmocka_unit_test(test_keys_are_in_the_order_of_the_names_bytes),
        cmocka_unit_test(test_a_key_is_read_from_a_record_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
