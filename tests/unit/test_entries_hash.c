#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/entries_hash.h"
#include "base/buf.h"
#include "random_record.h"
#include "record/json.h"

static void assert_equal(struct mt_entries_hash a, struct mt_entries_hash b)
{
    assert_int_equal(a.count, b.count);
    assert_int_equal(a.value, b.value);
}

static struct mt_entries_hash of(const char *body)
{
    return mt_entries_hash_body(mt_slice_of(body));
}

/* Clients keep tags for long, and other releases answer them: the numbers are not to change. */
static void it_is_the_same_for_ever(void **state)
{
    struct mt_entries_hash none = of("[]");
    struct mt_entries_hash two =
        of("[{\"timestamp\":1647033600,\"total\":8192,\"free\":4097,\"used\":4095},"
           "{\"timestamp\":1647033660,\"total\":8192,\"free\":4096,\"used\":4096}]");

    (void)state;
    assert_equal(none, (struct mt_entries_hash){0});
    assert_int_equal(two.count, 2);
    assert_int_equal(two.value, UINT64_C(0x366bcdd08c342ec));
}

static void every_byte_and_the_order_count(void **state)
{
    static const char *const bodies[] = {
        "[{\"a\":1},{\"a\":2}]",
        "[{\"a\":2},{\"a\":1}]",
        "[{\"a\":1}]",
        "[{\"a\":2}]",
        "[{\"a\":12}]",
        "[{\"a\":1},{\"a\":1}]",
        "[{\"a\":123}]",
        "[{\"a\":1234}]",
        "[{\"b\":1}]",
        "[{}]",
        "[{},{}]",
        "[]",
        "[{\"a\":12345678}]",
        "[{\"a\":12345679}]",
        "[{\"a\":0}]",
        "[{\"a\":00}]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        for (size_t j = 0; j < i; j++) {
            struct mt_entries_hash one = of(bodies[i]);
            struct mt_entries_hash other = of(bodies[j]);

            assert_false(one.value == other.value && one.count == other.count);
        }
}

enum { ENTRIES = 300 };

static void a_run_has_the_hash_of_what_is_in_it(void **state)
{
    struct mt_entries_hash until[ENTRIES + 1] = {{0}};
    size_t offsets[ENTRIES + 1] = {0};
    struct mt_buf body;
    uint64_t seed = 20261121;

    (void)state;
    mt_buf_init(&body, 0);
    for (size_t i = 0; i < ENTRIES; i++) {
        struct mt_record record = random_record(&seed);

        mt_json_log_entry(&body, &record);
        until[i + 1] = until[i];
        mt_entries_hash_add(&until[i + 1],
                            (struct mt_slice){body.data + offsets[i], body.length - offsets[i]});
        mt_buf_append_char(&body, ',');
        offsets[i + 1] = body.length;
    }
    for (size_t i = 0; i < 1000; i++) {
        size_t first = random_below(&seed, ENTRIES + 1);
        size_t end = first + random_below(&seed, ENTRIES + 1 - first);
        struct mt_entries_hash run = mt_entries_hash_body(
            (struct mt_slice){body.data + offsets[first], offsets[end] - offsets[first]});
        struct mt_entries_hash joined = until[first];

        assert_equal(mt_entries_hash_between(until[first], until[end]), run);
        mt_entries_hash_join(&joined, run);
        assert_equal(joined, until[end]);
    }
    mt_buf_fini(&body);
}

/* What the hash of entries becomes with that many behind it whose own hash is 0. */
static uint64_t moved(uint64_t value, uint64_t count)
{
    struct mt_entries_hash hash = {value, 0};

    mt_entries_hash_join(&hash, (struct mt_entries_hash){0, count});
    assert_int_equal(hash.count, count);
    return hash.value;
}

static void runs_of_any_length_are_joined(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 63; bit++) {
        uint64_t count = UINT64_C(1) << bit;

        assert_int_equal(moved(moved(1, count), count), moved(1, 2 * count));
        assert_int_equal(moved(moved(12345, count), 1), moved(12345, count + 1));
    }
    assert_int_equal(moved(1, 0), 1);
}

static void broken_bodies_have_some_hash(void **state)
{
    (void)state;
    assert_int_equal(of("").count, 0);
    assert_int_equal(of("{").count, 0);
    assert_int_equal(of("}{").count, 0);
    assert_int_equal(of("{}{").count, 1);
    assert_int_equal(mt_entries_hash_body((struct mt_slice){NULL, 0}).count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_same_for_ever),
        cmocka_unit_test(every_byte_and_the_order_count),
        cmocka_unit_test(a_run_has_the_hash_of_what_is_in_it),
        cmocka_unit_test(runs_of_any_length_are_joined),
        cmocka_unit_test(broken_bodies_have_some_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
