/* memory-tracker spool flush: delivers what waits, now. */
#ifndef MT_CLI_FLUSH_H
#define MT_CLI_FLUSH_H

#include "base/buf.h"
#include "base/config.h"

/*
 * mt_flush: delivers what waits in the outbox for the store in use, as long as it takes; from, if
 * not NULL, is another destination (or a URI of it) whose records are sent there, too. A line about
 * it goes to text. MT_OK only if nothing waits any more; BUSY if a courier is at work. USAGE:
 * nothing waits for from.
 */
enum mt_err mt_flush(const struct mt_config *config, const char *from, struct mt_buf *text,
                     struct mt_error *error);

#endif
