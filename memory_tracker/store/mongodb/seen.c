#include "store/mongodb/seen.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 4 };

struct mongodb_entry {
    int64_t arrival_us;
    int64_t timestamp;
    const char *host; /* in the tree of names; a fleet has few, and a burst many records */
};

struct mongodb_seen {
    struct mongodb_memory *memories[PLACES]; /* the newest first, NULL at the end */
    void *names;                             /* tsearch's tree of strings */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int compare_entries(const void *a, const void *b)
{
    const struct mongodb_entry *left = a;
    const struct mongodb_entry *right = b;

    if (left->arrival_us != right->arrival_us)
        return left->arrival_us < right->arrival_us ? -1 : 1;
    if (left->timestamp != right->timestamp)
        return left->timestamp < right->timestamp ? -1 : 1;
    return strcmp(left->host, right->host);
}

static bool is_same(const struct mt_token *a, const struct mt_token *b)
{
    return a->generation == b->generation && a->sequence == b->sequence;
}

void mongodb_memory_free(struct mongodb_memory *memory)
{
    if (memory == NULL)
        return;
    free(memory->entries);
    free(memory);
}

struct mongodb_seen *mongodb_seen_new(void)
{
    return calloc(1, sizeof(struct mongodb_seen));
}

void mongodb_seen_free(struct mongodb_seen *seen)
{
    if (seen == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++)
        mongodb_memory_free(seen->memories[i]);
    tdestroy(seen->names, free);
    free(seen);
}

static size_t find_place(const struct mongodb_seen *seen, const struct mt_token *place)
{
    size_t i = 0;

    while (i < PLACES && (seen->memories[i] == NULL || !is_same(&seen->memories[i]->place, place)))
        i++;
    return i;
}

/* the memory there, of which there is none any more */
static struct mongodb_memory *remove_at(struct mongodb_seen *seen, size_t at)
{
    struct mongodb_memory *memory = seen->memories[at];

    for (; at + 1 < PLACES; at++)
        seen->memories[at] = seen->memories[at + 1];
    seen->memories[PLACES - 1] = NULL;
    return memory;
}

bool mongodb_seen_find(const struct mongodb_seen *seen, uint64_t generation_bits,
                       struct mt_token *place)
{
    for (size_t i = 0; i < PLACES && seen->memories[i] != NULL; i++) {
        const struct mt_token *kept = &seen->memories[i]->place;

        if (kept->sequence == place->sequence &&
            ((kept->generation ^ place->generation) & generation_bits) == 0) {
            *place = *kept;
            return true;
        }
    }
    return false;
}

struct mongodb_memory *mongodb_seen_take(struct mongodb_seen *seen, const struct mt_token *place,
                                         bool *known)
{
    size_t at = find_place(seen, place);
    struct mongodb_memory *memory;

    *known = at < PLACES;
    if (*known)
        return remove_at(seen, at);
    memory = calloc(1, sizeof *memory);
    if (memory != NULL)
        memory->place = *place;
    return memory;
}

/* the last mark stays, others may share it */
static bool is_looked_at(const struct mongodb_memory *memory, int64_t arrival_us)
{
    return arrival_us > memory->floor_us || arrival_us == memory->place.sequence ||
           (arrival_us > memory->owed_from_us && arrival_us <= memory->owed_to_us);
}

void mongodb_seen_put(struct mongodb_seen *seen, struct mongodb_memory *memory)
{
    size_t at = find_place(seen, &memory->place);

    mongodb_memory_settle(memory);
    if (at < PLACES)
        mongodb_memory_free(remove_at(seen, at));
    mongodb_memory_free(seen->memories[PLACES - 1]);
    for (at = PLACES - 1; at > 0; at--)
        seen->memories[at] = seen->memories[at - 1];
    seen->memories[0] = memory;
}

static const char *intern(struct mongodb_seen *seen, const char *host)
{
    char *const *found = tfind(host, &seen->names, compare_names);
    char *name;

    if (found != NULL)
        return *found;
    name = strdup(host);
    if (name == NULL)
        return NULL;
    found = tsearch(name, &seen->names, compare_names);
    if (found == NULL)
        free(name);
    return found != NULL ? *found : NULL;
}

bool mongodb_memory_add(struct mongodb_seen *seen, struct mongodb_memory *memory,
                        int64_t arrival_us, int64_t timestamp, const char *host)
{
    const char *name = intern(seen, host);

    if (name == NULL)
        return false;
    if (memory->count == memory->capacity) {
        size_t capacity = memory->capacity == 0 ? 64 : 2 * memory->capacity;
        struct mongodb_entry *entries = reallocarray(memory->entries, capacity, sizeof *entries);

        if (entries == NULL)
            return false;
        memory->entries = entries;
        memory->capacity = capacity;
    }
    memory->entries[memory->count++] = (struct mongodb_entry){arrival_us, timestamp, name};
    return true;
}

bool mongodb_memory_has(const struct mongodb_memory *memory, int64_t arrival_us, int64_t timestamp,
                        const char *host)
{
    const struct mongodb_entry wanted = {arrival_us, timestamp, host};

    return memory->sorted > 0 && bsearch(&wanted, memory->entries, memory->sorted, sizeof wanted,
                                         compare_entries) != NULL;
}

void mongodb_memory_settle(struct mongodb_memory *memory)
{
    size_t kept = 0;

    for (size_t i = 0; i < memory->count; i++)
        if (is_looked_at(memory, memory->entries[i].arrival_us))
            memory->entries[kept++] = memory->entries[i];
    memory->count = memory->sorted = kept;
    if (kept > 0)
        qsort(memory->entries, kept, sizeof memory->entries[0], compare_entries);
}
