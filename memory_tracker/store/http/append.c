#include <stdlib.h>
#include <string.h>

/* zlib then promises not to write to what it compresses */
#define ZLIB_CONST
#include <zlib.h>

#include "record/json.h"
#include "store/http/http.h"
#include "store/wire.h"

enum { BATCH_MOST_BYTES = 1024 * 1024 };

/* The records of one request and what it takes to match the answer with them. */
struct batch {
    struct mt_buf lines;
    size_t *places; /* of each record, in the call's records */
    struct mt_outcome *outcomes;
    size_t count;
};

/* One gzip stream of all of text, appended to out. */
static bool compress_text(struct mt_slice text, struct mt_buf *out)
{
    enum { GZIP_WINDOW = 15 + 16, MEMORY_LEVEL = 8 };
    z_stream stream = {0};
    uLong most;
    bool done = false;

    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    most = deflateBound(&stream, (uLong)text.length);
    if (mt_buf_reserve(out, most)) {
        stream.next_in = (const Bytef *)text.data;
        stream.avail_in = (uInt)text.length;
        stream.next_out = (Bytef *)out->data + out->length;
        stream.avail_out = (uInt)most;
        done = deflate(&stream, Z_FINISH) == Z_STREAM_END;
        out->length += stream.total_out;
    }
    (void)deflateEnd(&stream);
    return done;
}

/* Posts lines and reads so many outcomes of it. */
static enum mt_err post(struct http_store *store, const char *what, struct mt_slice lines,
                        enum mt_on_conflict on_conflict, struct mt_outcome *outcomes, size_t count,
                        bool *too_large, struct mt_error *error)
{
    struct http_request request = {
        .what = what,
        .target = on_conflict == MT_CONFLICT_MOVE ? "/memory-logs?on_conflict=move"
                                                  : "/memory-logs?on_conflict=report",
        .is_post = true,
    };
    struct mt_buf compressed;
    struct mt_buf body;
    enum mt_err err;

    mt_buf_init(&compressed, 0);
    mt_buf_init(&body, 0);
    if (!compress_text(lines, &compressed)) {
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    } else {
        request.body = (struct mt_slice){compressed.data, compressed.length};
        err = http_ask(store, &request, &body, too_large, error);
    }
    if (err == MT_OK && mt_wire_read_outcomes((struct mt_slice){body.data, body.length}, outcomes,
                                              count, error) != MT_OK)
        err = http_fail_foreign(store, &request, error);
    mt_buf_fini(&compressed);
    mt_buf_fini(&body);
    return err;
}

enum mt_err http_make(struct http_store *store, struct mt_error *error)
{
    bool too_large;

    return post(store, "open", (struct mt_slice){"", 0}, MT_CONFLICT_MOVE, NULL, 0, &too_large,
                error);
}

/* Fills the batch with records from *at on; those that are no proper ones have their outcome at
 * once. *at is then the first one that found no room. */
static void fill(struct http_store *store, struct batch *batch, const struct mt_record *records,
                 size_t count, size_t *at, struct mt_outcome *outcomes)
{
    mt_buf_clear(&batch->lines);
    batch->count = 0;
    for (; *at < count && batch->count < store->batch_records; ++*at) {
        struct mt_error reason = {0};
        size_t before = batch->lines.length;

        if (mt_record_check(&records[*at], &reason) != MT_OK) {
            outcomes[*at] = (struct mt_outcome){.verdict = MT_VERDICT_REJECTED,
                                                .timestamp = records[*at].timestamp};
            mt_wire_clean(outcomes[*at].text, sizeof outcomes[*at].text, mt_slice_of(reason.text));
            continue;
        }
        mt_json_record(&batch->lines, &records[*at]);
        mt_buf_append_char(&batch->lines, '\n');
        if (batch->lines.length > BATCH_MOST_BYTES && batch->count > 0) {
            batch->lines.length = before;
            return;
        }
        batch->places[batch->count++] = *at;
    }
}

/* what no store answers about this record is an answer about another one */
static bool has_sense(const struct mt_outcome *outcome, const struct mt_record *record,
                      enum mt_on_conflict on_conflict)
{
    switch (outcome->verdict) {
    case MT_VERDICT_NEW:
        return outcome->timestamp == record->timestamp;
    case MT_VERDICT_REPEAT:
        return outcome->timestamp >= record->timestamp && outcome->timestamp <= MT_TIMESTAMP_MAX;
    case MT_VERDICT_MOVED:
        return on_conflict == MT_CONFLICT_MOVE && outcome->timestamp > record->timestamp &&
               outcome->timestamp <= MT_TIMESTAMP_MAX;
    case MT_VERDICT_CONFLICT:
    case MT_VERDICT_REJECTED:
        break;
    }
    return outcome->text[0] != '\0';
}

static enum mt_err send_batch(struct http_store *store, struct batch *batch,
                              const struct mt_record *records, enum mt_on_conflict on_conflict,
                              struct mt_outcome *outcomes, bool *too_large, struct mt_error *error)
{
    const struct http_request request = {.what = "append"};
    enum mt_err err;

    if (batch->lines.failed)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    err = post(store, "append", (struct mt_slice){batch->lines.data, batch->lines.length},
               on_conflict, batch->outcomes, batch->count, too_large, error);
    for (size_t i = 0; err == MT_OK && i < batch->count; i++) {
        if (!has_sense(&batch->outcomes[i], &records[batch->places[i]], on_conflict)) {
            (void)mt_error_set(error, MT_ERR_BAD_DATA, "outcome %zu is of another record", i);
            return http_fail_foreign(store, &request, error);
        }
        outcomes[batch->places[i]] = batch->outcomes[i];
    }
    return err;
}

enum mt_err http_append(struct mt_store *base, const struct mt_record *records, size_t count,
                        enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                        struct mt_error *error)
{
    struct http_store *store = (struct http_store *)base;
    struct batch batch = {0};
    enum mt_err err = MT_OK;
    size_t at = 0;

    if (store->read_only)
        return http_fail_read_only(store, "append", error);
    mt_buf_init(&batch.lines, 0);
    batch.places = calloc(store->batch_records, sizeof *batch.places);
    batch.outcomes = calloc(store->batch_records, sizeof *batch.outcomes);
    if (batch.places == NULL || batch.outcomes == NULL)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    while (err == MT_OK && at < count) {
        size_t first = at;
        bool too_large = false;

        fill(store, &batch, records, count, &at, outcomes);
        if (batch.count > 0 || batch.lines.failed)
            err = send_batch(store, &batch, records, on_conflict, outcomes, &too_large, error);
        if (too_large && batch.count > 1) {
            /* remembered, so that the next call starts with what fits */
            store->batch_records = batch.count / 2;
            at = first;
            err = MT_OK;
        }
    }
    mt_buf_fini(&batch.lines);
    free(batch.places);
    free(batch.outcomes);
    return err;
}
