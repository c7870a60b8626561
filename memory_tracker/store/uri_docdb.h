/* The mongodb URI that the DOCDB_ settings mean. For uri.c. */
#ifndef MT_STORE_URI_DOCDB_H
#define MT_STORE_URI_DOCDB_H

#include "base/buf.h"
#include "base/config.h"

/*
 * mt_uri_from_docdb: appends the URI; nothing is checked here but what could not be seen in it any
 * more: CONFIG for a password without a user. DOCDB_HOST is given.
 */
enum mt_err mt_uri_from_docdb(const struct mt_config *config, struct mt_buf *uri,
                              struct mt_error *error);

/* mt_docdb_given: the first DOCDB_ setting that is given and not empty, or MT_SETTING_COUNT. */
enum mt_setting mt_docdb_given(const struct mt_config *config);

#endif
