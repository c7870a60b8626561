/*
 * What is asked of the server for an mt_query: filters and options of `find`, each so that one
 * index answers in its own order, without a sort.
 */
#ifndef MT_STORE_MONGODB_QUERY_H
#define MT_STORE_MONGODB_QUERY_H

#include "store/mongodb/mongodb.h"

/* Where a record stands among all: (timestamp, host's bytes). */
struct mongodb_key {
    int64_t timestamp;
    char host[MT_HOST_MAX + 1];
};

/* mongodb_key_of: the key of a record; compare: below, at or above 0, as strcmp. */
struct mongodb_key mongodb_key_of(const struct mt_record *record);
int mongodb_key_compare(const struct mongodb_key *a, const struct mongodb_key *b);

/* mongodb_key_projection: into an initialised document; what by_time and by_host hold. */
void mongodb_key_projection(bson_t *projection);

/* mongodb_read_key: false for a document whose _id is none of a record. */
bool mongodb_read_key(const bson_t *document, struct mongodb_key *key);

/* What narrows a question further; zero-initialise. Keys are borrowed; what has one is within. */
struct mongodb_bounds {
    bool has_arrival;
    int64_t arrival_us; /* nothing that arrived later */
    const struct mongodb_key *oldest;
    const struct mongodb_key *newest;
};

/* mongodb_matches_nothing: whatever is stored, the answer is empty. */
bool mongodb_matches_nothing(const struct mt_query *query);

/*
 * mongodb_query_filter: into an initialised document. Of the bounding keys only the seconds are in
 * it: records of these two seconds that lie outside are for the caller to drop.
 */
void mongodb_query_filter(const struct mt_query *query, const struct mongodb_bounds *bounds,
                          bson_t *filter);

/*
 * mongodb_query_options: of one find in that order, into an initialised document; skip and limit
 * (0: none) are counted in that order, batch is how many records come at once. The projection is
 * the caller's.
 */
void mongodb_query_options(const struct mt_query *query, enum mt_order order, int64_t skip,
                           int64_t limit, int64_t batch, bson_t *options);

/* The names of the indexes that queries count on, and their fields in order, NULL at the end. */
struct mongodb_index {
    const char *name;
    const char *fields[4];
};
enum { MONGODB_BY_TIME, MONGODB_BY_HOST, MONGODB_BY_ARRIVAL, MONGODB_INDEXES };
extern const struct mongodb_index mongodb_indexes[MONGODB_INDEXES];

#endif
