#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/view.h"
#include "api/window.h"
#include "record/json.h"

enum { NOW_S = 1647033600 };

static struct mt_record make(const char *host, int64_t timestamp, int64_t total_mib)
{
    struct mt_record record = {.timestamp = timestamp};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, total_mib * 1024);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 1024);
    return record;
}

/* With one record a segment its size is kept exactly. */
static struct mt_window *new_window(size_t records, size_t future)
{
    struct mt_window_options options = {.records = records, .future = future, .segment = 1};

    return mt_window_new(&options);
}

static void put(struct mt_window *window, int64_t now_s, const struct mt_record *records,
                size_t count)
{
    struct mt_batch batch = {0};

    for (size_t i = 0; i < count; i++)
        assert_int_equal(mt_batch_add(&batch, &records[i], NULL), MT_OK);
    assert_int_equal(mt_window_merge(window, &batch, now_s, NULL), MT_OK);
    assert_int_equal(batch.count, 0);
    mt_batch_fini(&batch);
}

static void put_one(struct mt_window *window, int64_t now_s, const char *host, int64_t timestamp,
                    int64_t total_mib)
{
    struct mt_record record = make(host, timestamp, total_mib);

    put(window, now_s, &record, 1);
}

/* False if the window does not know the page. */
static bool render(struct mt_window *window, int64_t limit, int64_t skip, int64_t now_s,
                   struct mt_buf *body)
{
    struct mt_view *view = mt_window_publish(window);
    struct mt_page page;
    bool found;

    assert_non_null(view);
    found = mt_view_page(view, limit, skip, now_s, &page);
    if (found)
        mt_page_render(&page, body);
    mt_view_unref(view);
    return found;
}

/* The totals of a page, oldest first: each record of these tests has its own. "?": not known. */
static const char *totals(struct mt_window *window, int64_t limit, int64_t skip, int64_t now_s)
{
    static char text[256];
    struct mt_buf body;
    size_t length = 0;
    const char *at;

    mt_buf_init(&body, 0);
    if (!render(window, limit, skip, now_s, &body))
        return "?";
    text[0] = '\0';
    for (at = mt_buf_string(&body); (at = strstr(at, "\"total\":")) != NULL; at++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%ld",
                                   length > 0 ? " " : "", strtol(at + 8, NULL, 10));
    mt_buf_fini(&body);
    return text;
}

static void test_pages_are_those_of_the_history(void **state)
{
    struct mt_window *window = new_window(10, 10);

    (void)state;
    assert_string_equal(totals(window, 10, 0, NOW_S), "");
    put_one(window, NOW_S, "b", NOW_S - 60, 3);
    put_one(window, NOW_S, "a", NOW_S - 120, 1);
    put_one(window, NOW_S, "a", NOW_S - 60, 2);
    put_one(window, NOW_S, "a", NOW_S, 4);
    assert_string_equal(totals(window, 99999, 0, NOW_S), "1 2 3 4");
    assert_string_equal(totals(window, 2, 0, NOW_S), "3 4");
    assert_string_equal(totals(window, 2, 1, NOW_S), "2 3");
    assert_string_equal(totals(window, 2, 3, NOW_S), "1");
    assert_string_equal(totals(window, 2, 4, NOW_S), "");
    assert_string_equal(totals(window, 99999, INT64_MAX, NOW_S), "");
    mt_window_free(window);
}

static void test_an_entry_reads_as_from_the_store(void **state)
{
    struct mt_window *window = new_window(10, 10);
    struct mt_record record = make("a", NOW_S, 8192);
    struct mt_buf from_window, from_record;

    (void)state;
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, INT64_C(4097) * 1024 + 1023);
    put(window, NOW_S, &record, 1);
    mt_buf_init(&from_window, 0);
    mt_buf_init(&from_record, 0);
    assert_true(render(window, 1, 0, NOW_S, &from_window));
    mt_buf_append_char(&from_record, '[');
    mt_json_log_entry(&from_record, &record);
    mt_buf_append_char(&from_record, ']');
    assert_string_equal(mt_buf_string(&from_window), mt_buf_string(&from_record));
    assert_string_equal(mt_buf_string(&from_window),
                        "[{\"timestamp\":1647033600,\"total\":8192,\"free\":4097,\"used\":4095}]");
    mt_buf_fini(&from_window);
    mt_buf_fini(&from_record);
    mt_window_free(window);
}

static void test_a_repeated_key_changes_nothing(void **state)
{
    struct mt_window *window = new_window(10, 10);
    struct mt_record twice[] = {make("a", NOW_S, 1), make("a", NOW_S, 2), make("a", NOW_S - 60, 3)};

    (void)state;
    put(window, NOW_S, twice, 3);
    assert_int_equal(strlen(totals(window, 10, 0, NOW_S)), 3);
    put_one(window, NOW_S, "a", NOW_S - 60, 4);
    assert_int_equal(strlen(totals(window, 10, 0, NOW_S)), 3);
    assert_null(strchr(totals(window, 10, 0, NOW_S), '4'));
    mt_window_free(window);
}

static void test_what_it_does_not_hold_is_not_found(void **state)
{
    struct mt_window *window = new_window(3, 10);

    (void)state;
    for (int64_t i = 1; i <= 4; i++)
        put_one(window, NOW_S, "a", NOW_S - 600 + i * 60, i);
    assert_string_equal(totals(window, 3, 0, NOW_S), "2 3 4");
    assert_string_equal(totals(window, 4, 0, NOW_S), "?");
    assert_string_equal(totals(window, 2, 2, NOW_S), "?");
    assert_string_equal(totals(window, 1, 3, NOW_S), "?");
    /* a late record within reach pushes the oldest out, one before all of it stays outside */
    put_one(window, NOW_S, "b", NOW_S - 600 + 180, 9);
    assert_string_equal(totals(window, 3, 0, NOW_S), "3 9 4");
    put_one(window, NOW_S, "b", NOW_S - 6000, 5);
    put_one(window, NOW_S, "b", NOW_S - 600 + 60, 6);
    assert_string_equal(totals(window, 3, 0, NOW_S), "3 9 4");
    assert_string_equal(totals(window, 4, 0, NOW_S), "?");
    mt_window_free(window);
}

static void test_a_fill_may_end_before_the_history_does(void **state)
{
    struct mt_window *window = new_window(3, 10);

    (void)state;
    put_one(window, NOW_S, "a", NOW_S, 1);
    mt_window_end_history(window);
    assert_string_equal(totals(window, 1, 0, NOW_S), "1");
    assert_string_equal(totals(window, 2, 0, NOW_S), "?");
    assert_string_equal(totals(window, 1, 1, NOW_S), "?");
    mt_window_free(window);
}

static void test_the_future_shows_when_it_has_come(void **state)
{
    struct mt_window *window = new_window(2, 2);
    int64_t later = NOW_S + MT_FUTURE_SLACK_S;

    (void)state;
    put_one(window, NOW_S, "a", NOW_S, 1);
    put_one(window, NOW_S, "a", later, 2);
    put_one(window, NOW_S, "a", later + 1, 3);
    assert_string_equal(totals(window, 2, 0, NOW_S), "1 2");
    assert_string_equal(totals(window, 2, 0, NOW_S + 1), "2 3");
    assert_string_equal(totals(window, 3, 0, NOW_S), "1 2");
    mt_window_free(window);
}

static void test_a_host_far_ahead_takes_nobodys_place(void **state)
{
    struct mt_window *window = new_window(2, 2);
    int64_t later = NOW_S + MT_FUTURE_SLACK_S + 1;

    (void)state;
    put_one(window, NOW_S, "a", NOW_S - 60, 1);
    put_one(window, NOW_S, "a", NOW_S, 2);
    for (int64_t i = 0; i < 5; i++)
        put_one(window, NOW_S, "z", later + 60 * i, 10 + i);
    assert_string_equal(totals(window, 2, 0, NOW_S), "1 2");
    assert_string_equal(totals(window, 2, 0, NOW_S + 1), "2 10");
    assert_string_equal(totals(window, 2, 0, NOW_S + 61), "10 11");
    assert_false(mt_window_is_outrun(window, NOW_S + 120));
    /* there was no room for 12: from its second on the window does not know */
    assert_true(mt_window_is_outrun(window, NOW_S + 121));
    assert_string_equal(totals(window, 1, 0, NOW_S + 121), "?");
    /* nor does it take what comes after it, which would hide the gap */
    put_one(window, NOW_S, "b", later + 200, 20);
    assert_string_equal(totals(window, 1, 0, NOW_S + 400), "?");
    mt_window_free(window);
}

static void test_hosts_come_and_go(void **state)
{
    struct mt_window *window = new_window(4, 4);
    char name[16];

    (void)state;
    for (int64_t i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "%" PRId64, i * 7919 % 1000);
        put_one(window, NOW_S, name, NOW_S - 2000 + i, i);
    }
    assert_string_equal(totals(window, 4, 0, NOW_S), "996 997 998 999");
    mt_window_free(window);
}

static void test_a_window_gives_room_back_and_grows_again(void **state)
{
    struct mt_window *window = new_window(5, 1);
    struct mt_record older[] = {make("a", NOW_S - 540, 1), make("a", NOW_S - 480, 2),
                                make("a", NOW_S - 420, 3)};
    struct mt_batch batch = {0};

    (void)state;
    put(window, NOW_S, older, 3);
    for (int64_t i = 4; i <= 6; i++)
        put_one(window, NOW_S, "a", NOW_S - 600 + i * 60, i);
    assert_string_equal(totals(window, 5, 0, NOW_S), "2 3 4 5 6");
    mt_window_resize(window, 2, NOW_S);
    assert_int_equal(mt_window_records(window), 2);
    assert_false(mt_window_is_whole(window));
    assert_string_equal(totals(window, 2, 0, NOW_S), "5 6");
    assert_string_equal(totals(window, 3, 0, NOW_S), "?");
    mt_window_resize(window, 9, NOW_S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(mt_batch_add(&batch, &older[i], NULL), MT_OK);
    /* what merely arrives late may have others between it and the window */
    assert_int_equal(mt_window_merge(window, &batch, NOW_S, NULL), MT_OK);
    assert_string_equal(totals(window, 3, 0, NOW_S), "?");
    for (size_t i = 1; i < 3; i++)
        assert_int_equal(mt_batch_add(&batch, &older[i], NULL), MT_OK);
    older[0] = make("a", NOW_S - 360, 4);
    assert_int_equal(mt_batch_add(&batch, &older[0], NULL), MT_OK);
    assert_int_equal(mt_window_extend(window, &batch, NOW_S, NULL), MT_OK);
    assert_string_equal(totals(window, 5, 0, NOW_S), "2 3 4 5 6");
    assert_string_equal(totals(window, 6, 0, NOW_S), "?");
    mt_batch_fini(&batch);
    mt_window_free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_are_those_of_the_history),
        cmocka_unit_test(test_an_entry_reads_as_from_the_store),
        cmocka_unit_test(test_a_repeated_key_changes_nothing),
        cmocka_unit_test(test_what_it_does_not_hold_is_not_found),
        cmocka_unit_test(test_a_fill_may_end_before_the_history_does),
        cmocka_unit_test(test_the_future_shows_when_it_has_come),
        cmocka_unit_test(test_a_host_far_ahead_takes_nobodys_place),
        cmocka_unit_test(test_hosts_come_and_go),
        cmocka_unit_test(test_a_window_gives_room_back_and_grows_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
