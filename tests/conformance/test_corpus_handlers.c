/* The corpus through the handlers and a real store, with no server about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/http.h"
#include "record/csv.h"

enum { CORPUS_LINES = 846, HISTORY_RECORDS = 100 };

static unsigned hex4(const char *digits)
{
    char text[5] = {digits[0], digits[1], digits[2], digits[3]};

    return (unsigned)strtoul(text, NULL, 16);
}

static void append_utf8(struct mt_buf *out, unsigned c)
{
    if (c < 0x80) {
        mt_buf_append_char(out, (char)c);
        return;
    }
    if (c < 0x800) {
        mt_buf_append_char(out, (char)(0xC0 | c >> 6));
    } else {
        if (c < 0x10000) {
            mt_buf_append_char(out, (char)(0xE0 | c >> 12));
        } else {
            mt_buf_append_char(out, (char)(0xF0 | c >> 18));
            mt_buf_append_char(out, (char)(0x80 | (c >> 12 & 0x3F)));
        }
        mt_buf_append_char(out, (char)(0x80 | (c >> 6 & 0x3F)));
    }
    mt_buf_append_char(out, (char)(0x80 | (c & 0x3F)));
}

/* Reads the JSON string whose first quote *text points at, and moves on past its last. */
static void read_json_string(const char **text, struct mt_buf *out)
{
    static const char escapes[] = "b\bf\fn\nr\rt\t\"\"\\\\//";
    const char *at = *text;

    assert_int_equal(*at++, '"');
    while (*at != '"') {
        assert_int_not_equal(*at, '\0');
        if (*at != '\\') {
            mt_buf_append_char(out, *at++);
        } else if (at[1] == 'u') {
            unsigned c = hex4(at + 2);
            at += 6;
            if (c >= 0xD800 && c < 0xDC00) {
                c = 0x10000 + ((c - 0xD800) << 10) + (hex4(at + 2) - 0xDC00);
                at += 6;
            }
            append_utf8(out, c);
        } else {
            const char *known = strchr(escapes, at[1]);
            assert_non_null(known);
            mt_buf_append_char(out, known[1]);
            at += 2;
        }
    }
    *text = at + 1;
}

/* The characters of UTF-8 text as Latin-1 bytes, in place. */
static void to_latin1(struct mt_buf *text)
{
    size_t length = 0;

    for (size_t i = 0; i < text->length; i++) {
        unsigned char c = (unsigned char)text->data[i];
        if (c >= 0x80) {
            assert_in_range(c, 0xC2, 0xC3);
            c = (unsigned char)(c << 6 | ((unsigned char)text->data[++i] & 0x3F));
        }
        text->data[length++] = (char)c;
    }
    text->length = length;
}

static void expect(const char **text, const char *words)
{
    assert_memory_equal(*text, words, strlen(words));
    *text += strlen(words);
}

static FILE *open_file(const char *name)
{
    char path[4096];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/conformance/%s", MT_TESTS_DIR, name);
    file = fopen(path, "re");
    assert_non_null(file);
    return file;
}

struct fixture {
    char directory[64];
    char path[96];
    struct mt_store *store;
};

static int open_store(void **state)
{
    static struct fixture fixture;
    static struct mt_record records[HISTORY_RECORDS];
    static struct mt_outcome outcomes[HISTORY_RECORDS];
    const struct mt_store_options options = {.busy_wait_ms = 1000};
    struct mt_error error = {0};
    struct mt_csv_layout layout;
    char uri[128];
    char *line = NULL;
    size_t size = 0;
    size_t count = 0;
    FILE *file = open_file("rows.csv");

    *state = &fixture;
    assert_true(getline(&line, &size, file) > 0);
    line[strcspn(line, "\r\n")] = '\0';
    assert_int_equal(mt_csv_read_header(mt_slice_of(line), &layout, &error), MT_OK);
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        assert_true(count < HISTORY_RECORDS);
        assert_int_equal(
            mt_csv_read_record(&layout, mt_slice_of(line), "corpus", &records[count++], &error),
            MT_OK);
    }
    assert_int_equal(count, HISTORY_RECORDS);
    free(line);
    (void)fclose(file);

    (void)snprintf(fixture.directory, sizeof fixture.directory, "/tmp/mt-corpus-XXXXXX");
    assert_non_null(mkdtemp(fixture.directory));
    (void)snprintf(fixture.path, sizeof fixture.path, "%s/memory.db", fixture.directory);
    (void)snprintf(uri, sizeof uri, "sqlite:%s", fixture.path);
    assert_int_equal(mt_store_open(uri, &options, &fixture.store, &error), MT_OK);
    assert_int_equal(
        mt_store_append(fixture.store, records, count, MT_CONFLICT_REPORT, outcomes, &error),
        MT_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(outcomes[i].verdict, MT_VERDICT_NEW);
    return 0;
}

static int close_store(void **state)
{
    struct fixture *fixture = *state;
    char journal[128];

    mt_store_close(fixture->store);
    (void)snprintf(journal, sizeof journal, "%s-journal", fixture->path);
    (void)unlink(journal);
    assert_int_equal(unlink(fixture->path), 0);
    return rmdir(fixture->directory);
}

/* Asks as a server does, for the query on one path. */
static void ask(struct mt_store *store, const char *path, const struct mt_buf *query,
                struct mt_response *response)
{
    const struct mt_request request = {
        .method = MT_METHOD_GET,
        .path = mt_slice_of(path),
        .query = {query->data, query->length},
    };
    const struct mt_api_state state = {.now_s = 1647039540};
    struct mt_error error = {0};
    struct mt_answer answer;

    mt_api_answer(&request, &state, &answer);
    if (answer.kind == MT_ANSWER_JOB)
        answer.job.run(&answer.job, store, NULL, &answer.response, &error);
    assert_int_equal(error.code, MT_OK);
    *response = answer.response;
}

static void test_every_answer_is_the_corpus_answer(void **state)
{
    static const char *const paths[] = {"/memory-logs", "/memory-logs/"};
    struct fixture *fixture = *state;
    FILE *file = open_file("memory-logs.jsonl");
    struct mt_buf query, body;
    char *line = NULL;
    size_t size = 0;
    int lines = 0;

    mt_buf_init(&query, 0);
    mt_buf_init(&body, 0);
    for (; getline(&line, &size, file) > 0; lines++) {
        const char *text = line;
        char *end;
        long status;

        mt_buf_clear(&query);
        mt_buf_clear(&body);
        expect(&text, "{\"query\": ");
        read_json_string(&text, &query);
        to_latin1(&query);
        expect(&text, ", \"status\": ");
        status = strtol(text, &end, 10);
        text = end;
        expect(&text, ", \"body\": ");
        read_json_string(&text, &body);
        expect(&text, "}\n");
        for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
            struct mt_response response;

            ask(fixture->store, paths[i], &query, &response);
            if (response.status != status || response.body.length != body.length ||
                memcmp(response.body.data, body.data, body.length) != 0)
                fail_msg("line %d: %s gives %d\n%.*s", lines + 1, line, response.status,
                         (int)response.body.length, response.body.data);
            mt_response_fini(&response);
        }
    }
    assert_int_equal(lines, CORPUS_LINES);
    mt_buf_fini(&query);
    mt_buf_fini(&body);
    free(line);
    (void)fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_answer_is_the_corpus_answer, open_store,
                                        close_store),
    };

    return cmocka_run_group_tests_name("corpus_handlers", tests, NULL, NULL);
}
