/* Ctrl-C and SIGTERM as something to look at between two steps of work. */
#ifndef MT_BASE_INTERRUPT_H
#define MT_BASE_INTERRUPT_H

#include <stdbool.h>

/* mt_interrupt_catch: from now on SIGINT, SIGTERM and SIGHUP only set a mark. Call once. */
void mt_interrupt_catch(void);

/* mt_interrupt_seen: such a signal has come. The argument (mt_query's cancel_context) is unused. */
bool mt_interrupt_seen(void *context);

#endif
