/* How many connections the system lets this process have. */
#ifndef MT_API_LIMITS_H
#define MT_API_LIMITS_H

#include <stdint.h>

#include "base/error.h"

/*
 * mt_limits_connections: raises the soft limit of open files to the hard one, and sets *connections
 * to wanted, or, with a warning that names the remedy, to what fits beside `reserve` other
 * descriptors. FAILED if not even one fits. Called by main before any thread starts.
 */
enum mt_err mt_limits_connections(int64_t wanted, int64_t reserve, int64_t *connections,
                                  struct mt_error *error);

#endif
