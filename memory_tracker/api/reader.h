/*
 * A reader of the window: an event loop's own way to the newest view. It learns without a lock
 * whether that view is all there is; if not, it has the keeper (keeper.h) look.
 *
 * What is asked first after a record was appended has to wait for the keeper, or for a worker; all
 * that is asked then until the next append is answered from the view.
 */
#ifndef MT_API_READER_H
#define MT_API_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/recent.h"
#include "api/threads.h"
#include "api/view.h"
#include "store/stamp.h"

/*
 * What the keeper lets its readers know. Set by the keeper's thread, but for `wanted`; any thread
 * may read. Views are in the readers' hands before the numbers say what they know.
 */
struct mt_news {
    struct mt_gauge begun;      /* refreshes that have begun; */
    struct mt_gauge ended;      /* the last of them that has ended, well or not */
    struct mt_gauge ails;       /* 1: it did not end well: only the store can answer */
    struct mt_gauge stamp;      /* of the store as the view knows it; 0: unknown */
    struct mt_gauge current_ms; /* when the last poll began whose result the view knows; 0: never */
    struct mt_gauge wanted;     /* how far back from the newest record somebody asked */
    int64_t most; /* as far as there is memory for, never changes: more is not worth a part of it */
};

/* A view that a loop uses for several answers at once, with a count that only its thread touches:
 * the view's own would be contended. */
struct mt_lease {
    struct mt_view *view;
    size_t users;
    struct mt_recent recent; /* the page of view that was answered last */
};

/* mt_lease_take: one user more; returns lease. mt_lease_return: one less; the last one frees it. */
struct mt_lease *mt_lease_take(struct mt_lease *lease);
void mt_lease_return(struct mt_lease *lease); /* accepts NULL */

/* Owned by one thread, but for `incoming`. Made by mt_reader_init, ended by mt_reader_fini. */
struct mt_reader {
    struct mt_news *news;
    struct mt_letterbox incoming; /* a view that the keeper put there for this reader, or NULL */
    struct mt_stamp_watch *watch; /* NULL: the store has no stamps; age decides */
    int64_t trusted_ms;           /* how long after its poll a view is all there is */
    struct mt_lease *lease;       /* of the newest view; NULL: there is none yet */
    int64_t wanted;               /* since the last mt_reader_settle */
};

/* mt_reader_init: a reader of a store (URI). NO_MEMORY. */
enum mt_err mt_reader_init(struct mt_reader *reader, struct mt_news *news, const char *store,
                           int64_t trusted_ms, struct mt_error *error);

/* mt_reader_fini: the keeper must have ended. Accepts a zeroed reader. */
void mt_reader_fini(struct mt_reader *reader);

enum mt_reading {
    MT_READING_CURRENT, /* the newest view is all there is */
    MT_READING_STALE,   /* the keeper would know, if it looked: mt_reader_ticket */
    MT_READING_UNKNOWN, /* only the store can answer */
};

/*
 * mt_reader_look: whether reader->lease->view is all there is, as of this instant, and takes the
 * newest view. A record whose append returned before is in it, or the reading is not CURRENT.
 */
enum mt_reading mt_reader_look(struct mt_reader *reader);

/* mt_reader_ticket: stands for a request that came before this call. */
int64_t mt_reader_ticket(const struct mt_reader *reader);

enum mt_reading_end {
    MT_READING_GOES_ON, /* nobody has looked since */
    MT_READING_DONE,    /* reader->lease->view, just taken, is good for that request */
    MT_READING_FAILED,  /* only the store can answer */
};

/* mt_reader_check: what became of a request with that ticket. Takes the newest view. */
enum mt_reading_end mt_reader_check(struct mt_reader *reader, int64_t ticket);

/* mt_reader_want: somebody asked for records that far back from the newest. What there is no memory
 * for counts for nothing, so that it does not hide what others ask for. */
static inline void mt_reader_want(struct mt_reader *reader, int64_t records)
{
    if (records > reader->wanted && records <= reader->news->most)
        reader->wanted = records;
}

/* mt_reader_settle: the keeper gets to know what was wanted; the old view goes when a newer one is
 * there. Once a second is enough, and after what was not in the view. */
void mt_reader_settle(struct mt_reader *reader);

#endif
