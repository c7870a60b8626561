#include "store/mongodb/places.h"

#include <stdlib.h>
#include <string.h>

void mongodb_places_clear(struct mongodb_places *places)
{
    for (size_t i = 0; i < places->count; i++)
        free(places->place[i]);
    free(places->place);
    free(places->runs);
    *places = (struct mongodb_places){0};
}

/* Where it is or belongs; true if it is there. */
static bool locate(const struct mongodb_places *places, const char *host, int64_t second,
                   size_t *index)
{
    size_t low = 0;
    size_t high = places->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mt_record *there = &places->place[middle]->there;
        int order = strcmp(there->host, host);

        if (order == 0 && there->timestamp == second) {
            *index = middle;
            return true;
        }
        if (order < 0 || (order == 0 && there->timestamp < second))
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return false;
}

const struct mongodb_place *mongodb_places_find(const struct mongodb_places *places,
                                                const char *host, int64_t second)
{
    size_t index;

    return locate(places, host, second, &index) ? places->place[index] : NULL;
}

static enum mt_err add(struct mongodb_places *places, const struct mt_record *record,
                       bool is_planned, struct mt_error *error)
{
    struct mongodb_place *place;
    size_t index;

    if (locate(places, record->host, record->timestamp, &index))
        return MT_OK;
    if (places->count == places->capacity) {
        size_t capacity = places->capacity == 0 ? 64 : places->capacity * 2;
        struct mongodb_place **grown = realloc(places->place, capacity * sizeof(*grown));

        if (grown == NULL)
            return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
        places->place = grown;
        places->capacity = capacity;
    }
    place = malloc(sizeof *place);
    if (place == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    *place = (struct mongodb_place){.there = *record, .is_planned = is_planned};
    memmove(places->place + index + 1, places->place + index,
            (places->count - index) * sizeof(struct mongodb_place *));
    places->place[index] = place;
    places->count++;
    return MT_OK;
}

enum mt_err mongodb_places_plan(struct mongodb_places *places, const struct mt_record *record,
                                int64_t second, struct mt_error *error)
{
    struct mt_record planned = *record;

    planned.timestamp = second;
    return add(places, &planned, true, error);
}

void mongodb_places_confirm(struct mongodb_places *places)
{
    for (size_t i = 0; i < places->count; i++)
        places->place[i]->is_planned = false;
}

bool mongodb_places_is_read(const struct mongodb_places *places, const char *host, int64_t second)
{
    for (size_t i = 0; i < places->run_count; i++) {
        const struct mongodb_run *run = &places->runs[i];

        if (second >= run->from && second < run->end && strcmp(run->host, host) == 0)
            return true;
    }
    return false;
}

enum mt_err mongodb_places_note_run(struct mongodb_places *places, const char *host, int64_t from,
                                    int64_t end, struct mt_error *error)
{
    struct mongodb_run *grown =
        realloc(places->runs, (places->run_count + 1) * sizeof *places->runs);

    if (grown == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    places->runs = grown;
    places->runs[places->run_count++] = (struct mongodb_run){host, from, end};
    return MT_OK;
}

enum mt_err mongodb_places_read(struct mongodb_places *places, struct mongodb_store *store,
                                const bson_t *filter, int timeout_ms, struct mt_error *error)
{
    bson_t options = BSON_INITIALIZER;
    mongoc_cursor_t *cursor;
    const bson_t *document = NULL;
    const bson_t *reply = NULL;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    BSON_APPEND_INT64(&options, "maxTimeMS", timeout_ms);
    cursor = mongoc_collection_find_with_opts(store->log, filter, &options, NULL);
    while (err == MT_OK && mongoc_cursor_next(cursor, &document)) {
        struct mt_record record;

        err = mongodb_read_record(store, document, MT_FIELD_ALL, &record, NULL, error);
        if (err == MT_OK)
            err = add(places, &record, false, error);
    }
    if (err == MT_OK && mongoc_cursor_error_document(cursor, &failure, &reply))
        err = mongodb_fail(store, "append", &failure, reply, error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(&options);
    return err;
}
