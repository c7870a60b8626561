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
 * mt_store_uri: the URI in force: STORE, or where that is not given and DOCDB_HOST is, what the
 * DOCDB_ settings make; with STORE_TOKEN where it is http. Each part is checked, so that a typo
 * shows at the start and not when a minute is to be stored: CONFIG, or USAGE where it came as an
 * option, names the part (never a secret) and the remedy. Logs a warning where a setting has no
 * effect, so it is called once at the start. *uri is freed by the caller and untouched on failure;
 * it may hold secrets.
 */
enum mt_err mt_store_uri(const struct mt_config *config, char **uri, struct mt_error *error);

/* mt_store_uri_untold: the same without that warning, for a program whose caller gave it already.
 */
enum mt_err mt_store_uri_untold(const struct mt_config *config, char **uri, struct mt_error *error);

/* mt_store_is_remote: the store is a server's; its records go through the outbox. */
bool mt_store_is_remote(const char *uri);

/*
 * mt_store_uri_option: the value of an option of a remote store's URI, percent-decoded; the case of
 * the letters of name does not count. *value is freed by the caller, and NULL where the option is
 * not given. CONFIG for a broken percent-code.
 */
enum mt_err mt_store_uri_option(const char *uri, const char *name, char **value,
                                struct mt_error *error);

/*
 * mt_store_uri_without_ours: a mongodb URI as the driver gets it: without our two options, and with
 * the slash before the others that it wants. Holds the secrets of uri; freed by the caller.
 */
enum mt_err mt_store_uri_without_ours(const char *uri, char **out, struct mt_error *error);

/*
 * mt_store_uri_database: the database of a mongodb URI, percent-decoded, or the default one.
 * mt_store_uri_token: the token of an http URI, percent-decoded; NULL where there is none. Both are
 * freed by the caller. CONFIG for a broken percent-code.
 */
enum mt_err mt_store_uri_database(const char *uri, char **database, struct mt_error *error);
enum mt_err mt_store_uri_token(const char *uri, char **token, struct mt_error *error);

/*
 * mt_store_destination: the name of the place that a URI means, for people and for the outbox:
 * without credentials and without the options that do not change where records go. A relative
 * sqlite path becomes absolute; hosts are in lower case without the usual port; a mongodb one has
 * its database always and its collection if that is not memory_log; an http one, a base for paths,
 * ends without a slash. Freed by the caller; NULL: no memory, or the directory is gone.
 */
char *mt_store_destination(const char *uri);

#endif
