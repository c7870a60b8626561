#include "store/sqlite_head.h"

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

enum {
    FORMAT_OFFSET = 18,
    COUNTER_OFFSET = 24,
    HEAD_SIZE = COUNTER_OFFSET + 4,
    MAP_SIZE = 4096, /* no page of memory is smaller */
};

bool mt_sqlite_head_read(sqlite3_file *file, struct mt_sqlite_head *head)
{
    unsigned char bytes[HEAD_SIZE];
    uint32_t counter;

    if (file->pMethods->xRead(file, bytes, HEAD_SIZE, 0) != SQLITE_OK)
        return false;
    memcpy(&counter, bytes + COUNTER_OFFSET, sizeof counter);
    *head = (struct mt_sqlite_head){.format = bytes[FORMAT_OFFSET], .counter = be32toh(counter)};
    return true;
}

/* The page this thread looks at in this moment. */
static _Thread_local const unsigned char *volatile looked_at;
static struct sigaction before;

/* The kernel has no page to show where the file ends before it: from now on there are zeros. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    const unsigned char *page = looked_at;
    const unsigned char *address = info->si_addr;
    int errno_before = errno;

    (void)context;
    if (info->si_code <= 0 || page == NULL || address < page || address >= page + MAP_SIZE ||
        mmap((void *)page, MAP_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
            MAP_FAILED) {
        /* none of ours: it comes again, to whoever was to have it */
        (void)sigaction(SIGBUS, &before, NULL);
        if (info->si_code <= 0)
            (void)raise(number);
    }
    errno = errno_before;
}

static void catch_bus_errors(void)
{
    sqlite3_mutex *lock = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1);
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    struct sigaction present;

    (void)sigemptyset(&ours.sa_mask);
    sqlite3_mutex_enter(lock);
    if (sigaction(SIGBUS, NULL, &present) == 0 && present.sa_sigaction != on_bus_error) {
        before = present;
        (void)sigaction(SIGBUS, &ours, NULL);
    }
    sqlite3_mutex_leave(lock);
}

const void *mt_sqlite_head_map(sqlite3_file *file)
{
    sqlite3_int64 size = MAP_SIZE;
    sqlite3_int64 none = 0;
    void *map = NULL;

    catch_bus_errors();
    /* by the library, since a descriptor of our own, once closed, would drop its locks */
    if (file->pMethods->iVersion < 3 ||
        file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &size) != SQLITE_OK ||
        file->pMethods->xFetch(file, 0, HEAD_SIZE, &map) != SQLITE_OK)
        return NULL;
    /* what it mapped and does not lend would be read, where nobody catches that it is cut off */
    if (map == NULL)
        (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_MMAP_SIZE, &none);
    return map;
}

void mt_sqlite_head_unmap(sqlite3_file *file, const void *map)
{
    if (map != NULL)
        (void)file->pMethods->xUnfetch(file, 0, (void *)map);
}

struct mt_sqlite_head mt_sqlite_head_look(const void *map)
{
    const unsigned char *page = map;
    struct mt_sqlite_head head;

    looked_at = page;
    head.format = *(const volatile unsigned char *)(page + FORMAT_OFFSET);
    head.counter = be32toh(*(const volatile uint32_t *)(page + COUNTER_OFFSET));
    looked_at = NULL;
    return head;
}
