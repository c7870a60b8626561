/*
 * The store protocol's answers: whatever a server sends, a reader ends with BAD_DATA and a reason,
 * or with something that is written and read again the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool was_read(enum mt_err err, const struct mt_error *error)
{
    check(err == MT_OK || (err == MT_ERR_BAD_DATA && error->text[0] != '\0'));
    return err == MT_OK;
}

static struct mt_slice content(const struct mt_buf *text)
{
    check(!text->failed);
    return (struct mt_slice){text->data, text->length};
}

static void check_line(void *context, const char *text)
{
    ++*(int64_t *)context;
    check(mt_utf8_is_valid(text, strlen(text)));
    for (; *text != '\0'; text++)
        check((unsigned char)*text >= ' ' && *text != 0x7F);
}

static void check_places(struct mt_slice input, struct mt_buf *text)
{
    struct mt_token token = {0};
    struct mt_token again = {0};
    struct mt_record record;
    struct mt_record record_again;
    struct mt_error error = {0};
    bool reset = false;

    if (was_read(mt_wire_read_token(input, &token, &error), &error)) {
        mt_buf_clear(text);
        mt_wire_write_token(text, &token);
        check(mt_wire_read_token(content(text), &again, &error) == MT_OK);
        check(token.generation == again.generation && token.sequence == again.sequence);
    }
    if (was_read(mt_wire_read_changes_head(input, &reset, &token, &error), &error)) {
        bool reset_again = !reset;

        mt_buf_clear(text);
        mt_wire_write_changes_head(text, reset, &token);
        check(mt_wire_read_changes_head(content(text), &reset_again, &again, &error) == MT_OK);
        check(reset == reset_again && token.sequence == again.sequence);
    }
    if (was_read(mt_wire_read_change(input, &token, &record, &error), &error)) {
        check(mt_record_check(&record, &error) == MT_OK);
        mt_buf_clear(text);
        mt_wire_write_change(text, &token, &record);
        check(mt_wire_read_change(content(text), &again, &record_again, &error) == MT_OK);
        check(record.present == record_again.present && token.generation == again.generation);
        check(strcmp(record.host, record_again.host) == 0);
    }
}

static void check_lists(struct mt_slice input, struct mt_buf *text)
{
    struct mt_outcome outcomes[3];
    struct mt_outcome again[3];
    struct mt_host host;
    struct mt_host host_again;
    struct mt_error error = {0};
    int64_t counted = 0;
    int64_t findings = 0;

    for (size_t count = 0; count <= 3; count++) {
        if (!was_read(mt_wire_read_outcomes(input, outcomes, count, &error), &error))
            continue;
        mt_buf_clear(text);
        mt_wire_write_outcomes(text, outcomes, count);
        check(mt_wire_read_outcomes(content(text), again, count, &error) == MT_OK);
        for (size_t i = 0; i < count; i++)
            check(outcomes[i].verdict == again[i].verdict &&
                  outcomes[i].timestamp == again[i].timestamp &&
                  strcmp(outcomes[i].text, again[i].text) == 0);
    }
    if (was_read(mt_wire_read_host(input, &host, &error), &error)) {
        mt_buf_clear(text);
        mt_wire_write_host(text, &host);
        check(mt_wire_read_host(content(text), &host_again, &error) == MT_OK);
        check(strcmp(host.name, host_again.name) == 0 && host.last == host_again.last);
    }
    if (was_read(mt_wire_read_findings(input, check_line, &counted, &findings, &error), &error))
        check(counted == findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mt_slice input = {(const char *)data, size};
    struct mt_error failure = {0};
    struct mt_error error = {0};
    struct mt_buf text;
    int64_t number = -1;

    mt_buf_init(&text, 0);
    check_places(input, &text);
    check_lists(input, &text);
    check(!was_read(mt_wire_read_pruned(input, &number, &error), &error) || number >= 0);
    check(!was_read(mt_wire_read_size(input, &number, &error), &error) || number >= 0);
    (void)was_read(mt_wire_read_ping(input, &error), &error);
    if (mt_wire_read_error(input, &failure)) {
        int64_t lines = 0;

        check_line(&lines, failure.text);
        check((unsigned)failure.code < MT_ERR_COUNT);
    }
    mt_buf_fini(&text);
    return 0;
}
