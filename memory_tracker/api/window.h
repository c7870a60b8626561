/*
 * The window: the newest records of the history in memory, rendered as GET /memory-logs shows them,
 * in the order of (timestamp, host). One thread owns a window and writes; it publishes views
 * (view.h), which any thread may read while the window goes on.
 *
 * A window knows what it does not know: a page that reaches beyond it is not found, rather than
 * found short. Records later than now + MT_FUTURE_SLACK_S are kept, but show only when their time
 * has come.
 *
 * Records lie in segments, which views share: a record behind all others is added to the last one,
 * any other makes a new one in the place of that it falls into.
 */
#ifndef MT_API_WINDOW_H
#define MT_API_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "record/record.h"

enum {
    /* more than the 99,999 that one question may ask for */
    MT_WINDOW_RECORDS = 128 * 1024,
    /* records of the future; those that come first */
    MT_WINDOW_FUTURE = 8 * 1024,
    /* Measured with 100,000 records of a usual machine, 63 bytes each: the gzip of them all is
     * 1/9.5 (with 256 or 1,024 a hundredth more), a record takes 88 bytes of memory and 7 more once
     * it was compressed, one that falls among others costs 8 us with its publication. Smaller ones
     * make more pieces of an answer, larger ones more to compress at its ends. */
    MT_WINDOW_SEGMENT = 512,
};

/* Records on their way into a window; zero-initialise. Owned by one thread. */
struct mt_batch {
    struct mt_window_row *rows;
    size_t count;
    size_t capacity;
    struct mt_buf names;
};

/* mt_batch_add: keeps what the window needs of a record. NO_MEMORY, and the batch as it was. */
enum mt_err mt_batch_add(struct mt_batch *batch, const struct mt_record *record,
                         struct mt_error *error);

/* mt_batch_fini: frees the memory; batch is empty again and may be used on. */
void mt_batch_fini(struct mt_batch *batch);

struct mt_window; /* from mt_window_new, freed by mt_window_free */
struct mt_gauge;
struct mt_view;

struct mt_window_options {
    size_t records; /* of now and before: so many are kept, and not a segment more; not 0 */
    size_t future;  /* of later: so many are kept, those that come first, and not a segment more */
    size_t segment; /* most records of a segment; 0: MT_WINDOW_SEGMENT */
    /* counts the bytes of the window, its views and what they compressed, until the last of them is
     * freed; NULL: nobody asks */
    struct mt_gauge *memory;
};

/* mt_window_new: an empty window that takes itself for the whole history. NULL: no memory. */
struct mt_window *mt_window_new(const struct mt_window_options *options);
void mt_window_free(struct mt_window *window); /* accepts NULL; its views live on */

/*
 * mt_window_merge: takes the records of batch, wherever they belong, and leaves it empty; then the
 * oldest beyond its size leave. A key that it has is ignored, as is what lies outside of the part
 * of history that it knows. NO_MEMORY, and the window as it was.
 */
enum mt_err mt_window_merge(struct mt_window *window, struct mt_batch *batch, int64_t now_s,
                            struct mt_error *error);

/*
 * mt_window_extend: as mt_window_merge, and what lies before the first record that it holds is
 * taken too: batch has every record of the history from its oldest one up to there. What is beyond
 * its size leaves again.
 */
enum mt_err mt_window_extend(struct mt_window *window, struct mt_batch *batch, int64_t now_s,
                             struct mt_error *error);

/* mt_window_end_history: there are, or may be, records before the first one that it holds. */
void mt_window_end_history(struct mt_window *window);

/* mt_window_begin_history: there is nothing before the first record that it holds. */
void mt_window_begin_history(struct mt_window *window);

/* mt_window_resize: another size; the oldest records beyond it leave, a segment at a time. */
void mt_window_resize(struct mt_window *window, size_t records, int64_t now_s);

/* mt_window_records: how many it holds, those of the future too; mt_window_shown: how many of them
 * show at now_s (Unix s). */
size_t mt_window_records(const struct mt_window *window);
size_t mt_window_shown(const struct mt_window *window, int64_t now_s);

/* mt_window_oldest: the second of its first record, Unix s. False, *timestamp untouched: it has
 * none. */
bool mt_window_oldest(const struct mt_window *window, int64_t *timestamp);

/* mt_window_is_whole: it holds the history from its first record on. */
bool mt_window_is_whole(const struct mt_window *window);

/*
 * mt_window_is_outrun: time has reached records of the future that there was no room for. It finds
 * nothing any more and is to be filled anew.
 */
bool mt_window_is_outrun(const struct mt_window *window, int64_t now_s);

/* mt_window_publish: a view of what the window holds now, for its caller to let go of. NULL: no
 * memory. */
struct mt_view *mt_window_publish(struct mt_window *window);

#endif
