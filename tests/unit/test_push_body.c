#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "api/push_body.h"
#include "random_record.h"
#include "record/json.h"

static void read_body(struct mt_slice text, bool lines, const char *host, struct mt_push *push,
                      int *status, struct mt_error *error)
{
    *push = (struct mt_push){0};
    *error = (struct mt_error){0};
    mt_push_read(text, lines, host, push, status, error);
}

/* records with JSON's own characters in their names, in every form, among what is none */
static void records_are_found_in_every_form(void **state)
{
    uint64_t seed = 20261122;

    (void)state;
    for (int i = 0; i < 300; i++) {
        bool lines = i % 2 == 0;
        size_t count = random_below(&seed, 20);
        struct mt_record records[20];
        bool is_record[20];
        size_t good = 0;
        struct mt_buf text;
        struct mt_push push;
        struct mt_error error;
        int status = 0;

        mt_buf_init(&text, 0);
        mt_buf_append_string(&text, lines ? "\n" : " [");
        for (size_t j = 0; j < count; j++) {
            if (!lines && j > 0)
                mt_buf_append_string(&text, " , ");
            is_record[j] = random_below(&seed, 4) != 0;
            if (is_record[j]) {
                records[good] = random_record(&seed);
                mt_json_record(&text, &records[good++]);
            } else {
                mt_buf_append_string(&text, "{\"host\":\"]},[{\\\"\",\"a\":[[{}]]}");
            }
            mt_buf_append_string(&text, lines ? " \r\n" : "\n");
        }
        mt_buf_append_string(&text, lines ? "" : "] ");
        read_body((struct mt_slice){text.data, text.length}, lines, "", &push, &status, &error);
        if (status != 200)
            fail_msg("%d: %s", status, error.text);
        assert_int_equal(push.count, count);
        assert_int_equal(push.record_count, good);
        good = 0;
        for (size_t j = 0; j < count; j++) {
            assert_int_equal(push.outcomes[j].verdict, MT_VERDICT_REJECTED);
            assert_int_equal(push.outcomes[j].text[0] == '\0', is_record[j]);
            if (!is_record[j])
                continue;
            assert_int_equal(push.places[good], j);
            assert_true(records_are_equal(&push.records[good], &records[good]));
            good++;
        }
        mt_push_fini(&push);
        mt_buf_fini(&text);
    }
}

static void refusals_of_the_whole(void **state)
{
    static const struct {
        const char *text;
        bool lines;
        const char *said;
    } cases[] = {
        {"{}\n{}}\n", true, "line 2 is not JSON: "},
        {"[\n", true, "line 1 is not JSON: "},
        {"", false, "element 1 is not JSON: "},
        {"{},{}", false, "element 1 is not JSON: "},
        {"[", false, "the array has no end"},
        {"[\"]", false, "the array has no end"},
        {"[\"\\\"]", false, "the array has no end"},
        {"[{}", false, "the array has no end"},
        {"[{},]", false, "element 2 is not JSON: "},
        {"[,{}]", false, "element 1 is not JSON: "},
        {"[{}}", false, "the array is not JSON: a stray '}'"},
        {"[{]}]", false, "element 1 is not JSON: "},
        {"[] x", false, "something follows the array"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_push push;
        struct mt_error error;
        int status = 0;

        read_body(mt_slice_of(cases[i].text), cases[i].lines, "", &push, &status, &error);
        assert_int_equal(status, 422);
        if (strncmp(error.text, cases[i].said, strlen(cases[i].said)) != 0)
            fail_msg("%s: %s", cases[i].text, error.text);
        mt_push_fini(&push);
    }
}

static void other_hosts_are_rejected(void **state)
{
    static const char text[] =
        "{\"host\":\"a\",\"timestamp\":7}\n{\"host\":\"b\",\"timestamp\":8}\n"
        "{\"host\":\"ab\",\"timestamp\":9}";
    struct mt_push push;
    struct mt_error error;
    int status = 0;

    (void)state;
    read_body(mt_slice_of(text), true, "b", &push, &status, &error);
    assert_int_equal(status, 200);
    assert_int_equal(push.count, 3);
    assert_int_equal(push.record_count, 1);
    assert_int_equal(push.places[0], 1);
    assert_int_equal(push.records[0].timestamp, 8);
    assert_string_equal(push.outcomes[0].text, "host 'a': this token is for host 'b'");
    assert_int_equal(push.outcomes[2].timestamp, 9);
    mt_push_fini(&push);
}

static void there_may_be_so_many(void **state)
{
    struct mt_buf text;
    struct mt_push push;
    struct mt_error error;
    int status = 0;

    (void)state;
    mt_buf_init(&text, 0);
    for (int i = 0; i < MT_PUSH_RECORDS_MOST; i++)
        mt_buf_append_string(&text, "{\"host\":\"a\",\"timestamp\":7}\n");
    read_body((struct mt_slice){text.data, text.length}, true, "", &push, &status, &error);
    assert_int_equal(status, 200);
    assert_int_equal(push.record_count, MT_PUSH_RECORDS_MOST);
    mt_push_fini(&push);
    mt_buf_append_string(&text, "7");
    read_body((struct mt_slice){text.data, text.length}, true, "", &push, &status, &error);
    assert_int_equal(status, 413);
    assert_string_equal(error.text, "more than 10000 records; send fewer at once");
    mt_push_fini(&push);
    mt_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_found_in_every_form),
        cmocka_unit_test(refusals_of_the_whole),
        cmocka_unit_test(other_hosts_are_rejected),
        cmocka_unit_test(there_may_be_so_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
