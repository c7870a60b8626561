#include "unit.h"

#include <stdio.h>

#include "store/mongodb/seen.h"

static struct mongodb_memory *at(struct mongodb_seen *seen, uint64_t generation, int64_t sequence)
{
    struct mt_token place = {generation, sequence};
    bool known = true;
    struct mongodb_memory *memory = mongodb_seen_take(seen, &place, &known);

    assert_non_null(memory);
    assert_false(known);
    return memory;
}

static void add(struct mongodb_seen *seen, struct mongodb_memory *memory, int64_t arrival_us,
                int64_t timestamp, const char *host)
{
    assert_true(mongodb_memory_add(seen, memory, arrival_us, timestamp, host));
}

static bool knows(const struct mongodb_seen *seen, uint64_t generation, int64_t sequence)
{
    struct mt_token place = {generation, sequence};

    return mongodb_seen_find(seen, UINT64_MAX, &place);
}

static void test_a_record_is_known_by_all_of_its_key(void **state)
{
    struct mongodb_seen *seen = mongodb_seen_new();
    struct mongodb_memory *memory = at(seen, 1, 100);

    (void)state;
    add(seen, memory, 100, 60, "b");
    add(seen, memory, 90, 60, "a");
    add(seen, memory, 90, 60, "b");
    assert_false(mongodb_memory_has(memory, 100, 60, "b"));
    mongodb_memory_settle(memory);
    assert_true(mongodb_memory_has(memory, 100, 60, "b"));
    assert_true(mongodb_memory_has(memory, 90, 60, "a"));
    assert_true(mongodb_memory_has(memory, 90, 60, "b"));
    assert_false(mongodb_memory_has(memory, 100, 60, "a"));
    assert_false(mongodb_memory_has(memory, 91, 60, "a"));
    assert_false(mongodb_memory_has(memory, 90, 61, "a"));
    mongodb_memory_free(memory);
    mongodb_seen_free(seen);
}

static void test_what_is_not_looked_at_again_is_forgotten(void **state)
{
    struct mongodb_seen *seen = mongodb_seen_new();
    struct mongodb_memory *memory = at(seen, 1, 30);

    (void)state;
    for (int64_t i = 10; i <= 100; i += 10)
        add(seen, memory, i, 60, "h");
    memory->floor_us = 70;
    memory->owed_from_us = 40;
    memory->owed_to_us = 50;
    mongodb_memory_settle(memory);
    for (int64_t i = 10; i <= 100; i += 10)
        assert_int_equal(mongodb_memory_has(memory, i, 60, "h"), i == 30 || i == 50 || i > 70);
    assert_int_equal(memory->count, 5);
    mongodb_memory_free(memory);
    mongodb_seen_free(seen);
}

static void test_a_place_has_its_own_memory(void **state)
{
    struct mongodb_seen *seen = mongodb_seen_new();
    struct mongodb_memory *memory = at(seen, 1, 100);
    struct mt_token place = {1, 100};
    bool known = false;

    (void)state;
    add(seen, memory, 100, 60, "h");
    mongodb_seen_put(seen, memory);
    assert_true(knows(seen, 1, 100));
    assert_false(knows(seen, 2, 100));
    assert_false(knows(seen, 1, 99));
    memory = mongodb_seen_take(seen, &place, &known);
    assert_true(known);
    assert_true(mongodb_memory_has(memory, 100, 60, "h"));
    /* whoever takes it moves on with it */
    assert_false(knows(seen, 1, 100));
    mongodb_memory_free(memory);
    mongodb_seen_free(seen);
}

static void test_the_last_places_are_kept(void **state)
{
    struct mongodb_seen *seen = mongodb_seen_new();

    (void)state;
    for (int64_t i = 1; i <= 6; i++)
        mongodb_seen_put(seen, at(seen, 1, i));
    for (int64_t i = 1; i <= 6; i++)
        assert_int_equal(knows(seen, 1, i), i > 2);
    mongodb_seen_free(seen);
}

static void test_a_place_is_found_by_part_of_its_generation(void **state)
{
    struct mongodb_seen *seen = mongodb_seen_new();
    struct mt_token place = {0x7100, 5};

    (void)state;
    mongodb_seen_put(seen, at(seen, 0x7122, 5));
    mongodb_seen_put(seen, at(seen, 0x7133, 5));
    mongodb_seen_put(seen, at(seen, 0x7144, 6));
    mongodb_seen_put(seen, at(seen, 0x8155, 5));
    assert_true(mongodb_seen_find(seen, 0xff00, &place));
    assert_int_equal(place.generation, 0x7133);
    assert_int_equal(place.sequence, 5);
    place = (struct mt_token){0x7200, 5};
    assert_false(mongodb_seen_find(seen, 0xff00, &place));
    assert_int_equal(place.generation, 0x7200);
    mongodb_seen_free(seen);
}

static void test_many_records_of_many_hosts(void **state)
{
    struct mongodb_seen *seen = mongodb_seen_new();
    struct mongodb_memory *memory = at(seen, 1, 1);

    (void)state;
    for (int i = 0; i < 5000; i++) {
        char host[16];

        (void)snprintf(host, sizeof host, "host-%d", i * 7919 % 500);
        add(seen, memory, 1 + i * 7919 % 5000, i % 3, host);
    }
    mongodb_memory_settle(memory);
    assert_int_equal(memory->count, 5000);
    for (int i = 0; i < 5000; i++) {
        char host[16];

        (void)snprintf(host, sizeof host, "host-%d", i * 7919 % 500);
        assert_true(mongodb_memory_has(memory, 1 + i * 7919 % 5000, i % 3, host));
        assert_false(mongodb_memory_has(memory, 1 + i * 7919 % 5000, 3, host));
    }
    mongodb_memory_free(memory);
    mongodb_seen_free(seen);
    mongodb_seen_free(NULL);
    mongodb_memory_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_is_known_by_all_of_its_key),
        cmocka_unit_test(test_what_is_not_looked_at_again_is_forgotten),
        cmocka_unit_test(test_a_place_has_its_own_memory),
        cmocka_unit_test(test_the_last_places_are_kept),
        cmocka_unit_test(test_a_place_is_found_by_part_of_its_generation),
        cmocka_unit_test(test_many_records_of_many_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
