/* Records as JSON. All functions append to a buffer and leave failure to its sticky flag. */
#ifndef MT_RECORD_JSON_H
#define MT_RECORD_JSON_H

#include "base/buf.h"
#include "record/derive.h"
#include "record/record.h"

/* mt_json_record: the whole record as one compact object: host, timestamp, boot_id (null if
 * absent), then every field by its name, null where absent. No newline. */
void mt_json_record(struct mt_buf *out, const struct mt_record *record);

/* mt_json_record_known: the same without what is absent: an answer to a choice of fields. */
void mt_json_record_known(struct mt_buf *out, const struct mt_record *record);

/* mt_json_log_entry: {"timestamp","total","free","used"} of the HTTP contract, compact, MiB. */
void mt_json_log_entry(struct mt_buf *out, const struct mt_record *record);

/* mt_json_summary: the same entry from what it shows. */
void mt_json_summary(struct mt_buf *out, int64_t timestamp, const struct mt_summary *summary);

#endif
