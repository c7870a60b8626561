/* The records in the body of a push. Pure; any thread. */
#ifndef MT_API_PUSH_BODY_H
#define MT_API_PUSH_BODY_H

#include "base/buf.h"
#include "base/text.h"
#include "store/store.h"

enum {
    MT_PUSH_RECORDS_MOST = 10000,
    MT_PUSH_INFLATED_MOST = 16 * 1024 * 1024, /* bytes, once unpacked */
};

/*
 * What a body holds: `count` texts, of which some are records. outcome[i] of one that is none is
 * REJECTED and says why; of the others it is left to mt_store_append.
 */
struct mt_push {
    struct mt_record *records; /* record_count of them, in order */
    size_t record_count;
    size_t *places; /* of each record among the outcomes */
    struct mt_outcome *outcomes;
    size_t count;
    size_t capacity;
};

/*
 * mt_push_read: reads x-ndjson (lines; else one JSON object or an array of them). only_host, unless
 * "", is the host whose records are taken; others are REJECTED. push is zeroed by the caller, and
 * freed by mt_push_fini whatever comes back.
 *
 * *status is 200, or, with a text in *error, that of the refusal of the whole: 422 what is no JSON,
 * 413 too many records, 500 no memory.
 */
void mt_push_read(struct mt_slice text, bool lines, const char *only_host, struct mt_push *push,
                  int *status, struct mt_error *error);
void mt_push_fini(struct mt_push *push);

#endif
