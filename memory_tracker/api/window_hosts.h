/*
 * The names of the hosts that a window holds records of, each once, with a number that is its own
 * as long as there are records of it. Owned by the window's thread.
 */
#ifndef MT_API_WINDOW_HOSTS_H
#define MT_API_WINDOW_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mt_gauge;
struct mt_window_host;

/* Set memory, which may be NULL and counts the bytes, and zero the rest. */
struct mt_window_hosts {
    struct mt_gauge *memory;
    struct mt_window_host *hosts;
    size_t capacity;
    size_t perhaps_free; /* numbers before it are used */
    uint32_t *by_name;   /* the used numbers, in the order of the names' bytes */
    size_t by_name_capacity;
    size_t count;
};

void mt_window_hosts_fini(struct mt_window_hosts *hosts);

/* mt_window_hosts_take: the number of this host, which has one record more. False: no memory. */
bool mt_window_hosts_take(struct mt_window_hosts *hosts, const char *name, uint32_t *host);

/* mt_window_hosts_leave: it has one record less. */
void mt_window_hosts_leave(struct mt_window_hosts *hosts, uint32_t host);

/* mt_window_hosts_name: borrowed until its last record left. */
const char *mt_window_hosts_name(const struct mt_window_hosts *hosts, uint32_t host);

#endif
