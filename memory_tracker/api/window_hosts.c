#include "api/window_hosts.h"

#include <stdlib.h>
#include <string.h>

#include "api/counted.h"

struct mt_window_host {
    char *name; /* NULL: this number is free */
    size_t records;
};

enum { FIRST_CAPACITY = 16 };

void mt_window_hosts_fini(struct mt_window_hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++) {
        char *name = hosts->hosts[hosts->by_name[i]].name;

        mt_counted_free(hosts->memory, name, strlen(name) + 1);
    }
    mt_counted_free(hosts->memory, hosts->by_name,
                    hosts->by_name_capacity * sizeof *hosts->by_name);
    mt_counted_free(hosts->memory, hosts->hosts, hosts->capacity * sizeof *hosts->hosts);
    *hosts = (struct mt_window_hosts){.memory = hosts->memory};
}

/* Where name stands in by_name, or would stand. */
static size_t find(const struct mt_window_hosts *hosts, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = hosts->count;

    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(hosts->hosts[hosts->by_name[middle]].name, name);

        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The array with room for one element more, which it holds `used` of. NULL: no memory. */
static void *grown(struct mt_gauge *memory, void *array, size_t *capacity, size_t used, size_t size)
{
    size_t most = *capacity == 0 ? FIRST_CAPACITY : 2 * *capacity;
    char *larger;

    if (used < *capacity)
        return array;
    larger = mt_counted_alloc(memory, most * size);
    if (larger == NULL)
        return NULL;
    if (used > 0)
        memcpy(larger, array, used * size);
    memset(larger + used * size, 0, (most - used) * size);
    mt_counted_free(memory, array, *capacity * size);
    *capacity = most;
    return larger;
}

static bool make_room(struct mt_window_hosts *hosts)
{
    uint32_t *by_name = grown(hosts->memory, hosts->by_name, &hosts->by_name_capacity, hosts->count,
                              sizeof *by_name);
    struct mt_window_host *larger;

    if (by_name == NULL)
        return false;
    hosts->by_name = by_name;
    if (hosts->count < hosts->capacity)
        return true;
    larger = grown(hosts->memory, hosts->hosts, &hosts->capacity, hosts->capacity, sizeof *larger);
    if (larger == NULL)
        return false;
    hosts->hosts = larger;
    return true;
}

static bool make(struct mt_window_hosts *hosts, const char *name, size_t place, uint32_t *host)
{
    size_t id = hosts->perhaps_free;
    size_t size = strlen(name) + 1;
    char *copy;

    if (!make_room(hosts))
        return false;
    copy = mt_counted_alloc(hosts->memory, size);
    if (copy == NULL)
        return false;
    memcpy(copy, name, size);
    while (hosts->hosts[id].name != NULL)
        id++;
    hosts->perhaps_free = id + 1;
    hosts->hosts[id] = (struct mt_window_host){.name = copy};
    memmove(hosts->by_name + place + 1, hosts->by_name + place,
            (hosts->count - place) * sizeof *hosts->by_name);
    hosts->by_name[place] = (uint32_t)id;
    hosts->count++;
    *host = (uint32_t)id;
    return true;
}

bool mt_window_hosts_take(struct mt_window_hosts *hosts, const char *name, uint32_t *host)
{
    bool found;
    size_t place = find(hosts, name, &found);

    if (found)
        *host = hosts->by_name[place];
    else if (!make(hosts, name, place, host))
        return false;
    hosts->hosts[*host].records++;
    return true;
}

void mt_window_hosts_leave(struct mt_window_hosts *hosts, uint32_t id)
{
    struct mt_window_host *host = &hosts->hosts[id];
    bool found;
    size_t place;

    if (--host->records > 0)
        return;
    place = find(hosts, host->name, &found);
    hosts->count--;
    memmove(hosts->by_name + place, hosts->by_name + place + 1,
            (hosts->count - place) * sizeof *hosts->by_name);
    mt_counted_free(hosts->memory, host->name, strlen(host->name) + 1);
    host->name = NULL;
    if (id < hosts->perhaps_free)
        hosts->perhaps_free = id;
}

const char *mt_window_hosts_name(const struct mt_window_hosts *hosts, uint32_t host)
{
    return hosts->hosts[host].name;
}
