/*
 * The store protocol's JSON over HTTP, all but the records themselves: memory-api writes it, the
 * http store reads it. What one writes the other reads back the same. Any thread.
 *
 * Writers append one compact object to a buffer (failure is its sticky flag); text that is not
 * UTF-8 is made so. Readers take any bytes: BAD_DATA, results untouched, says what is wrong;
 * members they do not know are passed over; texts come out as one printable line.
 */
#ifndef MT_STORE_WIRE_H
#define MT_STORE_WIRE_H

#include "base/buf.h"
#include "base/text.h"
#include "store/store.h"

/*
 * Most records of one answer of /store/records and /store/changes: where there are more, the answer
 * is the first so many in the order asked for. Clients of every version count on it.
 */
enum { MT_WIRE_PAGE_RECORDS = 20000 };

/* {"outcomes":[{"verdict":"new","timestamp":N,"text":""},...]} */
void mt_wire_write_outcomes(struct mt_buf *out, const struct mt_outcome *outcomes, size_t count);

/* mt_wire_read_outcomes: there must be `count` of them. */
enum mt_err mt_wire_read_outcomes(struct mt_slice body, struct mt_outcome *outcomes, size_t count,
                                  struct mt_error *error);

/* {"generation":"U64","sequence":N} */
void mt_wire_write_token(struct mt_buf *out, const struct mt_token *token);
enum mt_err mt_wire_read_token(struct mt_slice body, struct mt_token *token,
                               struct mt_error *error);

/*
 * The first line of an answer about changes, with its newline, and a line for each record with the
 * place after it.
 */
void mt_wire_write_changes_head(struct mt_buf *out, bool reset, const struct mt_token *place);
enum mt_err mt_wire_read_changes_head(struct mt_slice line, bool *reset, struct mt_token *place,
                                      struct mt_error *error);
void mt_wire_write_change(struct mt_buf *out, const struct mt_token *place,
                          const struct mt_record *record);
enum mt_err mt_wire_read_change(struct mt_slice line, struct mt_token *place,
                                struct mt_record *record, struct mt_error *error);

/* One host, a line with its newline. */
void mt_wire_write_host(struct mt_buf *out, const struct mt_host *host);
enum mt_err mt_wire_read_host(struct mt_slice line, struct mt_host *host, struct mt_error *error);

/* {"pruned":N} */
void mt_wire_write_pruned(struct mt_buf *out, int64_t pruned);
enum mt_err mt_wire_read_pruned(struct mt_slice body, int64_t *pruned, struct mt_error *error);

/* {"size":N} */
void mt_wire_write_size(struct mt_buf *out, int64_t bytes);
enum mt_err mt_wire_read_size(struct mt_slice body, int64_t *bytes, struct mt_error *error);

/* {"findings":["...",...]}: between begin and end, each is added; number counts from 0. */
void mt_wire_begin_findings(struct mt_buf *out);
void mt_wire_add_finding(struct mt_buf *out, int64_t number, const char *text);
void mt_wire_end_findings(struct mt_buf *out);
enum mt_err mt_wire_read_findings(struct mt_slice body, mt_report *report, void *context,
                                  int64_t *findings, struct mt_error *error);

/* {"status":"ok"} */
void mt_wire_write_ping(struct mt_buf *out);
enum mt_err mt_wire_read_ping(struct mt_slice body, struct mt_error *error);

/* {"detail":"text for a person","error":"BUSY"}: the symbol of error.def */
void mt_wire_write_error(struct mt_buf *out, const struct mt_error *failure);

/*
 * mt_wire_read_error: code and text of *failure; the code is MT_OK where the answer names none (a
 * refusal before the store was asked). False, *failure untouched, if body is no such object.
 */
bool mt_wire_read_error(struct mt_slice body, struct mt_error *failure);

/* mt_wire_clean: text's bytes as one printable line of valid UTF-8, cut to what fits. */
void mt_wire_clean(char *line, size_t size, struct mt_slice text);

#endif
