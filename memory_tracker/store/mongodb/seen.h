/*
 * What changes() of one handle handed out lately, so that looking back over the arrivals hands out
 * only what was not there before. Pure memory, no server. Owned by one thread.
 *
 * A memory belongs to a place, the value of a token. Of places that a handle gave, the last few are
 * kept; older ones, and those of other handles, are unknown.
 */
#ifndef MT_STORE_MONGODB_SEEN_H
#define MT_STORE_MONGODB_SEEN_H

#include "store/store.h"

struct mongodb_seen;
struct mongodb_memory;

/* mongodb_seen_new: knows no place; NULL: out of memory. free accepts NULL. */
struct mongodb_seen *mongodb_seen_new(void);
void mongodb_seen_free(struct mongodb_seen *seen);

/*
 * Of one place. Nothing that arrived in (floor_us, place] was handed out but what is remembered;
 * what arrived before is not looked at again, but for (owed_from_us, owed_to_us], which is if it is
 * not empty, and in which likewise what is not remembered counts as not handed out.
 */
struct mongodb_memory {
    struct mt_token place;
    int64_t floor_us;
    int64_t rise_us; /* as reading goes on, the floor may rise up to here */
    int64_t owed_from_us;
    int64_t owed_to_us;
    struct mongodb_entry *entries; /* sorted but for those added since the last settling */
    size_t count;
    size_t sorted;
    size_t capacity;
};

/*
 * mongodb_seen_find: the newest memory's place that is equal to *place in its sequence and in these
 * bits of its generation. False, *place untouched, if there is none.
 */
bool mongodb_seen_find(const struct mongodb_seen *seen, uint64_t generation_bits,
                       struct mt_token *place);

/*
 * mongodb_seen_take: the memory of that place, the caller's from now on; one without entries and
 * *known false if there is none. NULL: out of memory.
 */
struct mongodb_memory *mongodb_seen_take(struct mongodb_seen *seen, const struct mt_token *place,
                                         bool *known);

/* mongodb_seen_put: memory, which is owned from now on, is that of its place. May forget another.
 */
void mongodb_seen_put(struct mongodb_seen *seen, struct mongodb_memory *memory);

/* mongodb_memory_free: of one that was taken and is not put back; accepts NULL. */
void mongodb_memory_free(struct mongodb_memory *memory);

/* mongodb_memory_add: this record was handed out. False: out of memory. */
bool mongodb_memory_add(struct mongodb_seen *seen, struct mongodb_memory *memory,
                        int64_t arrival_us, int64_t timestamp, const char *host);

/* mongodb_memory_has: it was handed out, as of the last settling. */
bool mongodb_memory_has(const struct mongodb_memory *memory, int64_t arrival_us, int64_t timestamp,
                        const char *host);

/* mongodb_memory_settle: sorts, and forgets what is not looked at again. */
void mongodb_memory_settle(struct mongodb_memory *memory);

#endif
