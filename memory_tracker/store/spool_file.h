/* What the files of the outbox share; private to them. The contract is spool.h's. */
#ifndef MT_STORE_SPOOL_FILE_H
#define MT_STORE_SPOOL_FILE_H

#include "store/spool.h"
#include "store/sqlite_file.h"

struct mt_spool {
    struct mt_sqlite file;
};

/* Where the fields begin in the statements that write or read a record: columns count from 0,
 * parameters from 1. Before them: id or destination, host, timestamp, boot_id. */
enum { SPOOL_FIRST_FIELD = 4 };

#endif
