#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "random_record.h"
#include "store/wire.h"
#include "unit.h"

static struct mt_slice content(const struct mt_buf *buf)
{
    assert_false(buf->failed);
    return (struct mt_slice){buf->data, buf->length};
}

/* of a line without its newline, as a reader gets it */
static struct mt_slice line_of(const struct mt_buf *buf)
{
    struct mt_slice line = content(buf);

    assert_true(line.length > 0 && line.data[line.length - 1] == '\n');
    line.length--;
    assert_null(memchr(line.data, '\n', line.length));
    return line;
}

static void outcomes_come_back_in_order(void **state)
{
    const struct mt_outcome written[] = {
        {.verdict = MT_VERDICT_NEW, .timestamp = 1647033600},
        {.verdict = MT_VERDICT_REPEAT, .timestamp = 0},
        {.verdict = MT_VERDICT_MOVED, .timestamp = MT_TIMESTAMP_MAX},
        {.verdict = MT_VERDICT_CONFLICT, .timestamp = 7, .text = "\"taken\" \\ by another"},
        {.verdict = MT_VERDICT_REJECTED, .timestamp = -1, .text = "timestamp -1"},
    };
    struct mt_outcome read[5];
    struct mt_error error = {0};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_wire_write_outcomes(&text, written, 5);
    assert_int_equal(mt_wire_read_outcomes(content(&text), read, 5, &error), MT_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(read[i].verdict, written[i].verdict);
        assert_int_equal(read[i].timestamp, written[i].timestamp);
        assert_string_equal(read[i].text, written[i].text);
    }
    assert_int_equal(mt_wire_read_outcomes(content(&text), read, 4, &error), MT_ERR_BAD_DATA);
    assert_non_null(strstr(error.text, "5 outcomes for 4 records"));
    mt_buf_clear(&text);
    mt_wire_write_outcomes(&text, written, 0);
    assert_string_equal(mt_buf_string(&text), "{\"outcomes\":[]}");
    assert_int_equal(mt_wire_read_outcomes(content(&text), read, 0, &error), MT_OK);
    mt_buf_fini(&text);
}

static void outcomes_have_the_form_that_the_document_says(void **state)
{
    struct mt_outcome outcome = {
        .verdict = MT_VERDICT_CONFLICT, .timestamp = 60, .text = "cut \xC3"};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_wire_write_outcomes(&text, &outcome, 1);
    assert_string_equal(mt_buf_string(&text), "{\"outcomes\":[{\"verdict\":\"conflict\","
                                              "\"timestamp\":60,\"text\":\"cut \xEF\xBF\xBD\"}]}");
    mt_buf_fini(&text);
}

static void places_keep_all_their_bits(void **state)
{
    const struct mt_token tokens[] = {
        {0, 0}, {UINT64_MAX, INT64_MAX}, {UINT64_C(1) << 63, INT64_MIN}, {10, 9007199254740993}};
    struct mt_error error = {0};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        struct mt_token read = {1, 1};
        bool reset = i % 2 == 0;

        mt_buf_clear(&text);
        mt_wire_write_token(&text, &tokens[i]);
        assert_int_equal(mt_wire_read_token(content(&text), &read, &error), MT_OK);
        assert_true(read.generation == tokens[i].generation);
        assert_true(read.sequence == tokens[i].sequence);
        mt_buf_clear(&text);
        mt_wire_write_changes_head(&text, i % 2 != 0, &tokens[i]);
        assert_int_equal(mt_wire_read_changes_head(line_of(&text), &reset, &read, &error), MT_OK);
        assert_int_equal(reset, i % 2 != 0);
        assert_true(read.generation == tokens[i].generation);
    }
    mt_buf_fini(&text);
}

static void changes_carry_whole_records(void **state)
{
    uint64_t seed = 20261121;
    struct mt_error error = {0};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    for (int i = 0; i < 200; i++) {
        struct mt_record record = random_record(&seed);
        const struct mt_token place = {seed, i};
        struct mt_token read_place = {0};
        struct mt_record read;

        mt_buf_clear(&text);
        mt_wire_write_change(&text, &place, &record);
        if (mt_wire_read_change(line_of(&text), &read_place, &read, &error) != MT_OK)
            fail_msg("%s: %s", error.text, mt_buf_string(&text));
        assert_true(read_place.generation == place.generation);
        assert_int_equal(read_place.sequence, place.sequence);
        assert_string_equal(read.host, record.host);
        assert_int_equal(read.timestamp, record.timestamp);
        assert_int_equal(read.has_boot_id, record.has_boot_id);
        assert_memory_equal(read.boot_id, record.boot_id, sizeof read.boot_id);
        assert_int_equal(read.present, record.present);
        assert_memory_equal(read.value, record.value, sizeof read.value);
    }
    mt_buf_fini(&text);
}

static void hosts_come_back(void **state)
{
    const struct mt_host written = {.name = "caf\xC3\xA9\"",
                                    .records = INT64_MAX,
                                    .first = 1,
                                    .last = MT_TIMESTAMP_MAX,
                                    .future = 3,
                                    .interval_s = 60};
    struct mt_host read;
    struct mt_error error = {0};
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    mt_wire_write_host(&text, &written);
    assert_int_equal(mt_wire_read_host(line_of(&text), &read, &error), MT_OK);
    assert_string_equal(read.name, written.name);
    assert_int_equal(read.records, written.records);
    assert_int_equal(read.first, written.first);
    assert_int_equal(read.last, written.last);
    assert_int_equal(read.future, written.future);
    assert_int_equal(read.interval_s, written.interval_s);
    mt_buf_fini(&text);
}

/* A mt_report that joins what it gets. */
static void join(void *context, const char *text)
{
    mt_buf_append_string(context, text);
    mt_buf_append_char(context, '|');
}

static void findings_and_numbers_come_back(void **state)
{
    struct mt_error error = {0};
    struct mt_buf text;
    struct mt_buf lines;
    int64_t number = -1;

    (void)state;
    mt_buf_init(&text, 0);
    mt_buf_init(&lines, 0);
    mt_wire_begin_findings(&text);
    mt_wire_end_findings(&text);
    assert_int_equal(mt_wire_read_findings(content(&text), join, &lines, &number, &error), MT_OK);
    assert_int_equal(number, 0);
    mt_buf_clear(&text);
    mt_wire_begin_findings(&text);
    mt_wire_add_finding(&text, 0, "host 'a'");
    mt_wire_add_finding(&text, 1, "two\nlines\x1b[2J");
    mt_wire_end_findings(&text);
    assert_int_equal(mt_wire_read_findings(content(&text), join, &lines, &number, &error), MT_OK);
    assert_int_equal(number, 2);
    assert_string_equal(mt_buf_string(&lines), "host 'a'|two lines [2J|");
    mt_buf_clear(&text);
    mt_wire_write_pruned(&text, 12345678901);
    assert_int_equal(mt_wire_read_pruned(content(&text), &number, &error), MT_OK);
    assert_int_equal(number, 12345678901);
    mt_buf_clear(&text);
    mt_wire_write_size(&text, 23456789012);
    assert_int_equal(mt_wire_read_size(content(&text), &number, &error), MT_OK);
    assert_int_equal(number, 23456789012);
    assert_int_equal(mt_wire_read_size(mt_slice_of("{\"size\":-1}"), &number, &error),
                     MT_ERR_BAD_DATA);
    mt_buf_clear(&text);
    mt_wire_write_ping(&text);
    assert_int_equal(mt_wire_read_ping(content(&text), &error), MT_OK);
    mt_buf_fini(&text);
    mt_buf_fini(&lines);
}

static void every_error_comes_back_with_its_code(void **state)
{
    struct mt_buf text;

    (void)state;
    mt_buf_init(&text, 0);
    for (int code = MT_OK + 1; code < MT_ERR_COUNT; code++) {
        struct mt_error written = {.code = (enum mt_err)code, .sys_errno = 5};
        struct mt_error read = {0};

        (void)snprintf(written.text, sizeof written.text, "store: error %d", code);
        mt_buf_clear(&text);
        mt_wire_write_error(&text, &written);
        assert_true(mt_wire_read_error(content(&text), &read));
        assert_int_equal(read.code, code);
        assert_int_equal(read.sys_errno, 0);
        assert_string_equal(read.text, written.text);
    }
    mt_buf_fini(&text);
}

static void a_refusal_names_no_code(void **state)
{
    static const char *const foreign[] = {"",       "null", "[]", "\"detail\"", "{\"detail\":[]}",
                                          "<html>", "{}"};
    struct mt_error read = {.code = MT_ERR_IO, .text = "before"};

    (void)state;
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        assert_false(mt_wire_read_error(mt_slice_of(foreign[i]), &read));
    assert_string_equal(read.text, "before");
    assert_true(mt_wire_read_error(mt_slice_of("{\"detail\":\"Not Found.\",\"error\":7}"), &read));
    assert_int_equal(read.code, MT_OK);
    assert_string_equal(read.text, "Not Found.");
    assert_true(mt_wire_read_error(mt_slice_of("{\"detail\":\"x\",\"error\":\"PIGEON\"}"), &read));
    assert_int_equal(read.code, MT_OK);
}

#define U64_TOO_MUCH "18446744073709551616"

static void what_is_not_understood_is_named(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"", "no JSON"},
        {"{\"generation\":\"1\",\"sequence\":1", "no JSON"},
        {"[]", "no JSON object"},
        {"{\"sequence\":1}", "generation"},
        {"{\"generation\":1,\"sequence\":1}", "generation"},
        {"{\"generation\":\"\",\"sequence\":1}", "generation"},
        {"{\"generation\":\"-1\",\"sequence\":1}", "generation"},
        {"{\"generation\":\"1 \",\"sequence\":1}", "generation"},
        {"{\"generation\":\"" U64_TOO_MUCH "\",\"sequence\":1}", "generation"},
        {"{\"generation\":\"1\"}", "sequence"},
        {"{\"generation\":\"1\",\"sequence\":\"1\"}", "sequence"},
        {"{\"generation\":\"1\",\"sequence\":1.0}", "sequence"},
        {"{\"generation\":\"1\",\"sequence\":1,\"sequence\":2}", "no JSON"},
    };
    const struct mt_token before = {3, 4};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_token token = before;
        struct mt_record record = {.timestamp = 5};
        struct mt_error error = {0};

        assert_int_equal(mt_wire_read_token(mt_slice_of(cases[i].text), &token, &error),
                         MT_ERR_BAD_DATA);
        if (strstr(error.text, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].text, error.text);
        assert_int_equal(mt_wire_read_change(mt_slice_of(cases[i].text), &token, &record, &error),
                         MT_ERR_BAD_DATA);
        assert_true(token.generation == before.generation && token.sequence == before.sequence);
        assert_int_equal(record.timestamp, 5);
    }
}

static void half_an_answer_changes_nothing(void **state)
{
    static const char *const bodies[] = {
        "{\"outcomes\":[{\"verdict\":\"new\",\"timestamp\":1},{\"verdict\":\"odd\"}]}",
        "{\"outcomes\":[{\"verdict\":\"new\",\"timestamp\":1},{\"verdict\":\"new\"}]}",
        "{\"outcomes\":[{\"verdict\":\"new\",\"timestamp\":1},null]}",
        "{\"outcomes\":{}}",
    };
    struct mt_error error = {0};
    struct mt_buf lines;
    int64_t findings = -1;

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct mt_outcome outcomes[2] = {{.timestamp = -7}, {.timestamp = -7}};

        assert_int_equal(mt_wire_read_outcomes(mt_slice_of(bodies[i]), outcomes, 2, &error),
                         MT_ERR_BAD_DATA);
        assert_int_equal(outcomes[0].timestamp, -7);
    }
    mt_buf_init(&lines, 0);
    assert_int_equal(mt_wire_read_findings(mt_slice_of("{\"findings\":[\"one\",2]}"), join, &lines,
                                           &findings, &error),
                     MT_ERR_BAD_DATA);
    assert_int_equal(lines.length, 0);
    assert_int_equal(findings, -1);
    mt_buf_fini(&lines);
}

static void hosts_that_cannot_be_are_refused(void **state)
{
    static const char *const rest =
        ",\"records\":1,\"first\":1,\"last\":1,\"future\":0,\"interval_s\":60}";
    static const char *const names[] = {"", "\"name\":7", "\"name\":\"\"", "\"name\":\"a b\"",
                                        "\"name\":\"a\\u0000b\""};
    struct mt_error error = {0};
    struct mt_host host = {.records = 7};
    char line[512];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(line, sizeof line, "{%s%s", names[i], rest + (i == 0));
        assert_int_equal(mt_wire_read_host(mt_slice_of(line), &host, &error), MT_ERR_BAD_DATA);
        assert_non_null(strstr(error.text, "name"));
    }
    (void)snprintf(line, sizeof line, "{\"name\":\"%0256d\"%s", 0, rest);
    assert_int_equal(mt_wire_read_host(mt_slice_of(line), &host, &error), MT_ERR_BAD_DATA);
    assert_int_equal(
        mt_wire_read_host(mt_slice_of("{\"name\":\"h\",\"records\":-1}"), &host, &error),
        MT_ERR_BAD_DATA);
    assert_int_equal(host.records, 7);
}

static void what_is_shown_is_one_printable_line(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        size_t size;
        const char *line;
    } cases[] = {
        {"", 0, 8, ""},
        {"plain", 5, 8, "plain"},
        {"too long", 8, 4, "too"},
        {"a\0b\r\n\x7f", 6, 8, "a b   "},
        {"x\xC2\x9Bm", 4, 8, "x  m"},
        {"\xC3\xA9\xC3\xA9", 4, 4, "\xC3\xA9"},
        {"\xE2\x82\xAC", 3, 3, ""},
        {"\xFF", 1, 8, "\xEF\xBF\xBD"},
        {"\xFF", 1, 3, ""},
        {"a\xF0\x9F\x98\x80", 5, 5, "a"},
        {"a\xF0\x9F\x98\x80", 5, 6, "a\xF0\x9F\x98\x80"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[16];

        memset(line, '#', sizeof line);
        mt_wire_clean(line, cases[i].size, (struct mt_slice){cases[i].text, cases[i].length});
        assert_string_equal(line, cases[i].line);
        assert_int_equal(line[cases[i].size], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes_come_back_in_order),
        cmocka_unit_test(outcomes_have_the_form_that_the_document_says),
        cmocka_unit_test(places_keep_all_their_bits),
        cmocka_unit_test(changes_carry_whole_records),
        cmocka_unit_test(hosts_come_back),
        cmocka_unit_test(findings_and_numbers_come_back),
        cmocka_unit_test(every_error_comes_back_with_its_code),
        cmocka_unit_test(a_refusal_names_no_code),
        cmocka_unit_test(what_is_not_understood_is_named),
        cmocka_unit_test(half_an_answer_changes_nothing),
        cmocka_unit_test(hosts_that_cannot_be_are_refused),
        cmocka_unit_test(what_is_shown_is_one_printable_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
