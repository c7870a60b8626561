#include <string.h>

#include "base/utc.h"
#include "unit.h"

struct pair {
    const char *text;
    int64_t unix_s;
};

static void instants_are_read(void **state)
{
    static const struct pair pairs[] = {
        {"0", 0},
        {"1647033600", 1647033600},
        {"253402300799", INT64_C(253402300799)},
        {"1970-01-01", 0},
        {"2022-03-11T21:20Z", 1647033600},
        {"2022-03-11T21:20", 1647033600},
        {"2022-03-11T21:20:00", 1647033600},
        {"2022-03-11T21:20:00Z", 1647033600},
        {"2024-02-29", 1709164800},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        int64_t unix_s = -1;

        if (!mt_utc_parse(mt_slice_of(pairs[i].text), &unix_s))
            fail_msg("'%s' was refused", pairs[i].text);
        assert_int_equal(unix_s, pairs[i].unix_s);
    }
}

static void other_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " 1",
        "-1",
        "+1",
        "1.0",
        "253402300800",
        "99999999999999999999",
        "yesterday",
        "2022-3-11",
        "2022-13-01",
        "2022-00-01",
        "2022-01-00",
        "2023-02-29",
        "2022-02-30",
        "1969-12-31",
        "2022-03-11T24:00Z",
        "2022-03-11T21:60Z",
        "2022-03-11T21:20:60Z",
        "2022-03-11 21:20:00",
        "2022-03-11T21:20:00+01:00",
        "2022-03-11T21:20:00z",
        "2022-03-11T21:20:00ZZ",
        "2022-03-11T2l:20:00Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t unix_s = 77;

        if (mt_utc_parse(mt_slice_of(texts[i]), &unix_s))
            fail_msg("'%s' was taken for %lld", texts[i], (long long)unix_s);
        assert_int_equal(unix_s, 77);
    }
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    for (int64_t unix_s = 0; unix_s <= INT64_C(253402300799); unix_s += 86399 * 997) {
        char text[MT_UTC_SIZE];
        int64_t again = -1;

        mt_utc_format(unix_s, text);
        assert_int_equal(strlen(text), MT_UTC_SIZE - 1);
        assert_true(mt_utc_parse(mt_slice_of(text), &again));
        assert_int_equal(again, unix_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instants_are_read),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
