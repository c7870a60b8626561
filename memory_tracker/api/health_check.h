/* memory-api --health-check: asks the running API whether it lives, as a container's check does. */
#ifndef MT_API_HEALTH_CHECK_H
#define MT_API_HEALTH_CHECK_H

#include "base/error.h"

/*
 * mt_health_check: GET /healthz at the first address of a valid LISTEN value (a wildcard address is
 * asked on loopback), all within 3 s. FAILED with the address and the reason for anything but
 * status 200.
 */
enum mt_err mt_health_check(const char *listen, struct mt_error *error);

#endif
