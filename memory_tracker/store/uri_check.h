/* The check of a remote store's whole URI. For uri.c. */
#ifndef MT_STORE_URI_CHECK_H
#define MT_STORE_URI_CHECK_H

#include <stdbool.h>

#include "base/error.h"

/*
 * mt_uri_check: every part of a mongodb, mongodb+srv, http or https URI is right, and none
 * contradicts another; what the driver would only warn of is an error here. *error (code `code`, or
 * NO_MEMORY) says which part and what would be right, but nothing that may be a secret.
 */
enum mt_err mt_uri_check(const char *uri, bool allow_insecure, enum mt_err code,
                         struct mt_error *error);

#endif
