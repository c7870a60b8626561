/*
 * The store's URI: what the settings make of it, what may be shown and kept of it. No function here
 * talks to a store. Any thread.
 *
 *   sqlite:PATH
 *   mongodb://[USER[:PASSWORD]@]HOST[:PORT][,HOST...]/[DATABASE][?OPTIONS]   and mongodb+srv://
 *   http[s]://[TOKEN@]HOST[:PORT][/PREFIX][?OPTIONS]
 *
 * Besides the driver's options a mongodb URI takes two of ours: `collection` (default memory_log)
 * and `maxData` (largest document or batch in bytes). DATABASE is memory_tracker if it is missing.
 */
#ifndef MT_STORE_URI_H
#define MT_STORE_URI_H

#include <stdbool.h>

#include "base/config.h"

/*
 * mt_store_uri: the URI in force: STORE, or what the DOCDB_ settings make, with STORE_TOKEN where
 * it is http. Each part is checked, so that a typo shows at the start and not when a minute is to
 * be stored: CONFIG names the option or value (never a secret) and the remedy. *uri is freed by the
 * caller and untouched on failure; it may hold secrets.
 */
enum mt_err mt_store_uri(const struct mt_config *config, char **uri, struct mt_error *error);

/* mt_store_is_remote: the store is a server's; its records go through the outbox. */
bool mt_store_is_remote(const char *uri);

/*
 * mt_store_destination: the name of the place that a URI means, for people and for the outbox:
 * without credentials and without the options that do not change where records go. A relative
 * sqlite path becomes absolute. Freed by the caller; NULL: no memory, or the directory is gone.
 */
char *mt_store_destination(const char *uri);

#endif
