/*
 * The first bytes of a database's file as the kernel has them in memory: what any process writes
 * there is seen at once and without a call of the system.
 */
#ifndef MT_STORE_SQLITE_HEAD_H
#define MT_STORE_SQLITE_HEAD_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* What of a file's head (https://www.sqlite.org/fileformat.html, 1.3) tells of changes. */
struct mt_sqlite_head {
    unsigned char
        format;       /* of writing: MT_SQLITE_JOURNAL, or another; 0 where the file was cut off */
    uint32_t counter; /* of changes */
};

/* With a rollback journal. With a log beside the file (2) the counter stands still. */
enum { MT_SQLITE_JOURNAL = 1 };

/* mt_sqlite_head_read: by a read of the file. False: there is no such head. */
bool mt_sqlite_head_read(sqlite3_file *file, struct mt_sqlite_head *head);

/*
 * mt_sqlite_head_map: the file's first page in memory; NULL where the system has no way to do that.
 * File is one of the library's own layer, open, and the caller's alone. From the first call on, a
 * page that is no longer there because its file was cut off reads as zeros in this process.
 */
const void *mt_sqlite_head_map(sqlite3_file *file);

/* mt_sqlite_head_unmap: to be called before the file is closed; accepts NULL. */
void mt_sqlite_head_unmap(sqlite3_file *file, const void *map);

/* mt_sqlite_head_look: what it says now. Any thread, one at a time. */
struct mt_sqlite_head mt_sqlite_head_look(const void *map);

#endif
