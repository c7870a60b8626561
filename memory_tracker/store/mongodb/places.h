/*
 * What stands at some seconds of some hosts, as far as an append has looked; and what it is about
 * to put there.
 */
#ifndef MT_STORE_MONGODB_PLACES_H
#define MT_STORE_MONGODB_PLACES_H

#include "store/mongodb/mongodb.h"

struct mongodb_place {
    struct mt_record there; /* its timestamp is the place's */
    bool is_planned;        /* about to be put there; not known to be */
};

/* Seconds of a host that were read, from one to before another. */
struct mongodb_run {
    const char *host; /* borrowed from whoever asked */
    int64_t from;
    int64_t end;
};

/* Zero-initialise; mongodb_places_clear frees. */
struct mongodb_places {
    struct mongodb_place **place; /* in order of (host, second) */
    size_t count;
    size_t capacity;
    struct mongodb_run *runs;
    size_t run_count;
};

void mongodb_places_clear(struct mongodb_places *places);

/* What stands there; NULL: nothing that was seen. */
const struct mongodb_place *mongodb_places_find(const struct mongodb_places *places,
                                                const char *host, int64_t second);

/* mongodb_places_plan: record is about to be put at second, where nothing stands. */
enum mt_err mongodb_places_plan(struct mongodb_places *places, const struct mt_record *record,
                                int64_t second, struct mt_error *error);

/* mongodb_places_confirm: all that was planned is there now. */
void mongodb_places_confirm(struct mongodb_places *places);

/* mongodb_places_is_read: the second lies in a run that was noted; where nothing is, it is free. */
bool mongodb_places_is_read(const struct mongodb_places *places, const char *host, int64_t second);
enum mt_err mongodb_places_note_run(struct mongodb_places *places, const char *host, int64_t from,
                                    int64_t end, struct mt_error *error);

/* mongodb_places_read: reads every document that filter matches. */
enum mt_err mongodb_places_read(struct mongodb_places *places, struct mongodb_store *store,
                                const bson_t *filter, int timeout_ms, struct mt_error *error);

#endif
