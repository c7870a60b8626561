#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "api/recent.h"
#include "api/window.h"

enum { NOW_S = 1647040000, RECORDS = 40 };

static struct mt_window *some_window(void)
{
    struct mt_window_options options = {.records = RECORDS, .future = 10};
    struct mt_window *window = mt_window_new(&options);
    struct mt_batch batch = {0};
    struct mt_record record = {.host = "h", .timestamp = NOW_S - RECORDS * 60};

    for (int64_t i = 1; i <= RECORDS; i++, record.timestamp += 60) {
        mt_record_set(&record, MT_FIELD_MEM_TOTAL, i * 1024);
        assert_int_equal(mt_batch_add(&batch, &record, NULL), MT_OK);
    }
    assert_int_equal(mt_window_merge(window, &batch, record.timestamp, NULL), MT_OK);
    mt_batch_fini(&batch);
    return window;
}

static void test_what_was_kept_last_is_there_as_it_was_sent(void **state)
{
    struct mt_window *window = some_window();
    struct mt_view *view = mt_window_publish(window);
    struct mt_recent recent = {0};
    char kept[128] = "";
    int64_t kept_s = 0;
    int64_t kept_limit = 0;
    int kept_pages = 0;
    int large_pages = 0;

    (void)state;
    assert_false(mt_recent_has(&recent, mt_slice_of(""), 0));
    for (int i = 0; i < 2000; i++) {
        /* each question twice */
        int64_t limit = 1 + i / 2 * 7 % 30;
        int64_t skip = i / 2 % 3;
        int64_t now_s = NOW_S + i / 5;
        char target[128];
        char tag[MT_TAG_SIZE];
        struct mt_page page;
        struct mt_buf body;

        /* some are longer than what is remembered */
        (void)snprintf(target, sizeof target, "/memory-logs?limit=%0*d&skip=%d",
                       i % 9 == 0 ? 60 : 1, (int)limit, (int)skip);
        assert_true(mt_recent_has(&recent, mt_slice_of(target), now_s) ==
                    (strcmp(kept, target) == 0 && kept_s == now_s));
        assert_true(mt_view_page(view, limit, skip, now_s, &page));
        mt_tag_format(page.hash, false, tag);
        mt_recent_keep(&recent, mt_slice_of(target), now_s, limit, tag, &page);
        if (strlen(target) > MT_RECENT_TARGET_MOST || page.length > MT_RECENT_BODY_MOST) {
            large_pages += page.length > MT_RECENT_BODY_MOST;
            assert_true(kept[0] == '\0' || mt_recent_has(&recent, mt_slice_of(kept), kept_s));
            assert_true(recent.reach == kept_limit);
            continue;
        }
        (void)snprintf(kept, sizeof kept, "%s", target);
        kept_s = now_s;
        kept_limit = limit;
        kept_pages++;
        assert_true(mt_recent_has(&recent, mt_slice_of(target), now_s));
        assert_false(mt_recent_has(&recent, mt_slice_of(target), now_s + 1));
        assert_false(mt_recent_has(&recent, (struct mt_slice){target, strlen(target) - 1}, now_s));
        assert_string_equal(recent.tag, tag);
        mt_buf_init(&body, 0);
        mt_page_render(&page, &body);
        assert_int_equal(recent.length, body.length);
        assert_memory_equal(recent.body, body.data, body.length);
        mt_buf_fini(&body);
    }
    assert_true(kept_pages > 500 && large_pages > 500);
    mt_view_unref(view);
    mt_window_free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_kept_last_is_there_as_it_was_sent),
    };

    return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
