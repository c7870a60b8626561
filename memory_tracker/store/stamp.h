/*
 * The change stamp of a store whose file is here: says, without a lock or a call of the system,
 * whether anything was written since. SQLite's file change counter, with the file's identity.
 */
#ifndef MT_STORE_STAMP_H
#define MT_STORE_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* Equal stamps: the same history. 0: none to be had, and never equal to anything. */

/* mt_stamp_same_file: what one says may follow from what the other says by changes alone. */
bool mt_stamp_same_file(uint64_t a, uint64_t b);

/*
 * mt_store_stamp: the stamp of what has been committed, as of one instant during the call. It is
 * the caller's before a read of the same handle: that read then knows all that the stamp stands
 * for. A file that was replaced is opened anew first. 0 for kinds of store that have none,
 * and while others keep a log beside the file (WAL), which no counter tells of.
 */
enum mt_err mt_store_stamp(struct mt_store *store, uint64_t *stamp, struct mt_error *error);

struct mt_stamp_watch; /* from mt_stamp_watch_new; used by one thread at a time */

/*
 * mt_stamp_watch_new: watches the store that uri names, which need not be there yet. NULL, and
 * MT_OK: this kind has no stamps. NO_MEMORY.
 */
enum mt_err mt_stamp_watch_new(const char *uri, struct mt_stamp_watch **watch,
                               struct mt_error *error);
void mt_stamp_watch_free(struct mt_stamp_watch *watch); /* accepts NULL */

/*
 * mt_stamp_watch_read: the stamp now. Once an append has returned, in whatever process, it differs
 * from every stamp of before; while one is under way it may. Of a file that was replaced it goes on
 * to tell of the old one until mt_stamp_watch_look. Opens the file where it is not open.
 */
uint64_t mt_stamp_watch_read(struct mt_stamp_watch *watch);

/* mt_stamp_watch_look: opens the file anew if another one stands in its place. */
void mt_stamp_watch_look(struct mt_stamp_watch *watch);

#endif
