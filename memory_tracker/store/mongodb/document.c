#include <inttypes.h>
#include <string.h>

#include "store/mongodb/mongodb.h"

enum { SHOWN_MAX = 400 }; /* of a document's _id, in messages */

void mongodb_write_record(const struct mt_record *record, int64_t timestamp, int64_t arrival_us,
                          bson_t *document)
{
    bson_t id;

    bson_init(document);
    BSON_APPEND_DOCUMENT_BEGIN(document, "_id", &id);
    BSON_APPEND_UTF8(&id, "h", record->host);
    BSON_APPEND_INT64(&id, "t", timestamp);
    bson_append_document_end(document, &id);
    BSON_APPEND_INT64(document, "arrival_us", arrival_us);
    if (record->has_boot_id)
        BSON_APPEND_BINARY(document, "boot_id", BSON_SUBTYPE_UUID, record->boot_id,
                           MT_BOOT_ID_SIZE);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((record->present & MT_FIELD_BIT(i)) != 0)
            BSON_APPEND_INT64(document, mt_field_info(i)->name, record->value[i]);
}

void mongodb_projection(uint64_t fields, bool with_arrival, bson_t *projection)
{
    BSON_APPEND_INT32(projection, "_id", 1);
    BSON_APPEND_INT32(projection, "boot_id", 1);
    if (with_arrival)
        BSON_APPEND_INT32(projection, "arrival_us", 1);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((fields & MT_FIELD_BIT(i)) != 0)
            BSON_APPEND_INT32(projection, mt_field_info(i)->name, 1);
}

/* Other tools write whole numbers as int32 or double. */
static bool read_integer(const bson_iter_t *iter, int64_t *value)
{
    const double most = 9007199254740992.0; /* 2^53: a double is exact up to here */
    double number;

    switch (bson_iter_type(iter)) {
    case BSON_TYPE_INT64:
        *value = bson_iter_int64(iter);
        return true;
    case BSON_TYPE_INT32:
        *value = bson_iter_int32(iter);
        return true;
    case BSON_TYPE_DOUBLE:
        number = bson_iter_double(iter);
        if (!(number >= -most && number <= most) || (double)(int64_t)number != number)
            return false;
        *value = (int64_t)number;
        return true;
    default:
        return false;
    }
}

static bool read_host(const bson_iter_t *iter, struct mt_record *record)
{
    uint32_t length = 0;
    const char *host;

    if (!BSON_ITER_HOLDS_UTF8(iter))
        return false;
    host = bson_iter_utf8(iter, &length);
    if (length > MT_HOST_MAX || memchr(host, '\0', length) != NULL)
        return false;
    memcpy(record->host, host, length);
    record->host[length] = '\0';
    return true;
}

static bool read_id(const bson_iter_t *iter, struct mt_record *record)
{
    bson_iter_t part;
    bool has_host = false;
    bool has_timestamp = false;

    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &part))
        return false;
    while (bson_iter_next(&part)) {
        if (strcmp(bson_iter_key(&part), "h") == 0)
            has_host = read_host(&part, record);
        else if (strcmp(bson_iter_key(&part), "t") == 0)
            has_timestamp = read_integer(&part, &record->timestamp);
    }
    return has_host && has_timestamp;
}

static bool read_boot_id(const bson_iter_t *iter, struct mt_record *record)
{
    bson_subtype_t subtype;
    const uint8_t *bytes = NULL;
    uint32_t length = 0;

    if (!BSON_ITER_HOLDS_BINARY(iter))
        return false;
    bson_iter_binary(iter, &subtype, &length, &bytes);
    if (length != MT_BOOT_ID_SIZE)
        return false;
    record->has_boot_id = true;
    memcpy(record->boot_id, bytes, MT_BOOT_ID_SIZE);
    return true;
}

/* The field of that name, looked for first behind the one before, where it mostly is. */
static bool find_field(const char *name, enum mt_field *field)
{
    for (enum mt_field i = 1; i <= MT_FIELD_COUNT; i++) {
        enum mt_field at = (*field + i) % MT_FIELD_COUNT;

        if (strcmp(mt_field_info(at)->name, name) == 0) {
            *field = at;
            return true;
        }
    }
    return false;
}

/* NULL, or the key of what is wrong. What this program does not know is left to newer ones. */
static const char *read_all(const bson_t *document, uint64_t fields, struct mt_record *record,
                            int64_t *arrival_us)
{
    enum mt_field field = MT_FIELD_COUNT - 1;
    bool has_id = false;
    bson_iter_t iter;

    if (!bson_iter_init(&iter, document))
        return "document";
    while (bson_iter_next(&iter)) {
        const char *key = bson_iter_key(&iter);
        int64_t value = 0;
        bool is_fine = true;

        if (strcmp(key, "_id") == 0)
            has_id = is_fine = read_id(&iter, record);
        else if (strcmp(key, "boot_id") == 0)
            is_fine = read_boot_id(&iter, record);
        else if (strcmp(key, "arrival_us") == 0)
            is_fine = read_integer(&iter, arrival_us) && *arrival_us > 0;
        else if (find_field(key, &field)) {
            is_fine = read_integer(&iter, &value);
            if ((fields & MT_FIELD_BIT(field)) != 0)
                mt_record_set(record, field, value);
        }
        if (!is_fine)
            return key;
    }
    return has_id ? NULL : "_id";
}

static enum mt_err fail_corrupt(const struct mongodb_store *store, const bson_t *document,
                                const char *what, struct mt_error *error)
{
    bson_t id = BSON_INITIALIZER;
    bson_iter_t iter;
    char *text;
    enum mt_err err;

    if (bson_iter_init_find(&iter, document, "_id"))
        (void)bson_append_iter(&id, "_id", -1, &iter);
    text = bson_as_relaxed_extended_json(&id, NULL);
    err = mt_error_set(error, MT_ERR_CORRUPT,
                       "store %s: the document %.*s is no record of memory-tracker's: %s; correct "
                       "or delete it",
                       store->name, SHOWN_MAX, text != NULL ? text : "without a proper _id", what);
    bson_free(text);
    bson_destroy(&id);
    return err;
}

enum mt_err mongodb_read_record(const struct mongodb_store *store, const bson_t *document,
                                uint64_t fields, struct mt_record *record, int64_t *arrival_us,
                                struct mt_error *error)
{
    struct mt_record got = {0};
    struct mt_record whole;
    struct mt_error reason = {0};
    int64_t arrival = 0;
    const char *wrong = read_all(document, fields, &got, &arrival);

    if (wrong != NULL) {
        (void)mt_error_set(&reason, MT_ERR_CORRUPT, "%.64s has a value of the wrong kind", wrong);
        return fail_corrupt(store, document, reason.text, error);
    }
    /* what was not asked for may be absent */
    whole = got;
    if ((fields & MT_FIELD_BIT(MT_FIELD_MEM_TOTAL)) == 0)
        mt_record_set(&whole, MT_FIELD_MEM_TOTAL, 1);
    if ((fields & MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE)) == 0)
        mt_record_set(&whole, MT_FIELD_MEM_AVAILABLE, 0);
    if ((fields & MT_FIELD_BIT(MT_FIELD_MEM_FREE)) == 0)
        mt_record_set(&whole, MT_FIELD_MEM_FREE, 0);
    if (mt_record_check(&whole, &reason) != MT_OK)
        return fail_corrupt(store, document, reason.text, error);
    *record = got;
    if (arrival_us != NULL)
        *arrival_us = arrival;
    return MT_OK;
}
