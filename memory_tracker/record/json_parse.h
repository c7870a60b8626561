/*
 * Records from JSON, as mt_json_record writes them. Strict: what is not understood is an error that
 * names it, never left out in silence. Total on any bytes; any thread.
 */
#ifndef MT_RECORD_JSON_PARSE_H
#define MT_RECORD_JSON_PARSE_H

#include <stdbool.h>

#include "base/text.h"
#include "record/record.h"

struct json_t; /* of jansson */

/* Longer texts are refused unread: the longest record has a tenth of it. */
enum { MT_JSON_RECORD_MOST = 64 * 1024 };

/*
 * mt_json_parse_record: the whole of text as one record: an object with `host` and `timestamp`, and
 * perhaps `boot_id` and fields. null is the same as not there. Each member obeys its bounds
 * (mt_record_check_values); that the record is whole is mt_record_check's to say, since answers to
 * a choice of fields are not.
 *
 * BAD_DATA, *record untouched, names member and value: unknown, given twice, of a wrong type, out
 * of bounds. *is_json (may be NULL) tells whether the text is JSON at all.
 */
enum mt_err mt_json_parse_record(struct mt_slice text, struct mt_record *record, bool *is_json,
                                 struct mt_error *error);

/* mt_json_read_record: the same of a value that was parsed, as a part of a larger text. */
enum mt_err mt_json_read_record(struct json_t *value, struct mt_record *record,
                                struct mt_error *error);

#endif
