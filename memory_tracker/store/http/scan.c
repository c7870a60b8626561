#include <string.h>

#include "record/json_parse.h"
#include "store/http/http.h"
#include "store/uri_part.h"
#include "store/wire.h"

enum { WISH_STEP = 64 }; /* records between two looks at deadline and cancel flag */

/* What one request asks for, of the query's hosts and fields. */
struct page {
    int64_t from, to, skip, limit;
    enum mt_order order;
};

/* A place in the order of records. */
struct key {
    int64_t timestamp;
    char host[MT_HOST_MAX + 1];
};

struct scan {
    struct http_store *store;
    const struct mt_query *query;
    mt_emit *emit;
    void *context;
    struct http_request request;
    struct mt_buf target;
    struct mt_buf body;
    int64_t left;    /* how many may still be handed out */
    int64_t handed;  /* how many were */
    bool has_last;   /* one was handed out: */
    struct key last; /* this one was the last */
    bool has_end;    /* oldest first: none after this one is handed out */
    struct key end;
    int64_t first_second; /* of the first one handed out */
    int64_t in_second;    /* how many of the last one's second were handed out */
};

static int compare(const struct key *a, const struct key *b)
{
    if (a->timestamp != b->timestamp)
        return a->timestamp < b->timestamp ? -1 : 1;
    return strcmp(a->host, b->host);
}

static struct key key_of(const struct mt_record *record)
{
    struct key key = {.timestamp = record->timestamp};

    memcpy(key.host, record->host, sizeof key.host);
    return key;
}

static void append_number(struct mt_buf *out, const char *name, int64_t value)
{
    if (value == 0)
        return;
    mt_buf_append_string(out, name);
    mt_buf_append_i64(out, value);
}

/* the fields are always named, so that a newer server sends none that is unknown here */
static void append_fields(struct mt_buf *out, uint64_t fields)
{
    char divider = '=';

    mt_buf_append_string(out, "&fields");
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if ((fields & MT_FIELD_BIT(i)) == 0)
            continue;
        mt_buf_append_char(out, divider);
        mt_buf_append_string(out, mt_field_info(i)->name);
        divider = ',';
    }
    if (divider == '=')
        mt_buf_append_char(out, divider);
}

static void write_target(struct scan *scan, const struct page *page)
{
    const struct mt_query *query = scan->query;
    struct mt_buf *out = &scan->target;

    mt_buf_clear(out);
    mt_buf_append_string(out, page->order == MT_NEWEST_FIRST ? "/store/records?order=newest"
                                                             : "/store/records?order=oldest");
    append_number(out, "&from=", page->from);
    append_number(out, "&to=", page->to);
    mt_buf_append_string(out, "&now=");
    mt_buf_append_i64(out, query->now_s);
    append_number(out, "&skip=", page->skip);
    append_number(out, "&limit=", page->limit);
    if (query->hosts != NULL)
        for (size_t i = 0; i < query->host_count; i++) {
            mt_buf_append_string(out, "&host=");
            mt_uri_encode(mt_slice_of(query->hosts[i]), out);
        }
    append_fields(out, query->fields);
}

static enum mt_err fetch(struct scan *scan, const struct page *page, struct mt_error *error)
{
    write_target(scan, page);
    scan->request.target = mt_buf_string(&scan->target);
    if (scan->request.target == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    return http_ask(scan->store, &scan->request, &scan->body, NULL, error);
}

/* Each record of the page that was fetched: *more is false after the last one. */
static enum mt_err next_record(struct scan *scan, struct mt_slice *text, struct mt_record *record,
                               bool *more, struct mt_error *error)
{
    struct mt_slice line;
    bool cut = false;

    *more = http_next_line(text, &line, &cut);
    if (cut) {
        (void)mt_error_set(error, MT_ERR_BAD_DATA, "its last line has no end");
        return http_fail_foreign(scan->store, &scan->request, error);
    }
    if (!*more)
        return MT_OK;
    if (mt_json_parse_record(line, record, NULL, error) != MT_OK)
        return http_fail_foreign(scan->store, &scan->request, error);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((scan->query->fields & MT_FIELD_BIT(i)) == 0)
            mt_record_unset(record, i);
    return MT_OK;
}

static enum mt_err hand_out(struct scan *scan, const struct mt_record *record,
                            struct mt_error *error)
{
    enum mt_err err = MT_OK;

    if (scan->handed % WISH_STEP == 0)
        err = http_check_wish(scan->store, &scan->request, error);
    if (err == MT_OK)
        err = scan->emit(scan->context, record, error);
    if (err != MT_OK)
        return err;
    if (!scan->has_last)
        scan->first_second = record->timestamp;
    scan->in_second =
        scan->has_last && scan->last.timestamp == record->timestamp ? scan->in_second + 1 : 1;
    scan->last = key_of(record);
    scan->has_last = true;
    scan->handed++;
    scan->left--;
    return MT_OK;
}

/*
 * Fetches a page and hands out what comes after the last one. *full: there may be more of it;
 * *fresh counts what was handed out.
 */
static enum mt_err take_page(struct scan *scan, const struct page *page, bool *full, int64_t *fresh,
                             struct mt_error *error)
{
    const int64_t most =
        page->limit > 0 && page->limit < MT_WIRE_PAGE_RECORDS ? page->limit : MT_WIRE_PAGE_RECORDS;
    const int sign = page->order == MT_NEWEST_FIRST ? -1 : 1;
    const int64_t handed_before = scan->handed;
    struct key previous = {0};
    struct mt_slice text;
    int64_t received = 0;
    enum mt_err err = fetch(scan, page, error);

    if (err != MT_OK)
        return err;
    text = (struct mt_slice){scan->body.data, scan->body.length};
    for (;; received++) {
        struct mt_record record;
        struct key key;
        bool more = false;

        err = next_record(scan, &text, &record, &more, error);
        if (err != MT_OK || !more)
            break;
        key = key_of(&record);
        if (received == most || (received > 0 && sign * compare(&key, &previous) <= 0)) {
            (void)mt_error_set(error, MT_ERR_BAD_DATA, "records out of order or too many");
            return http_fail_foreign(scan->store, &scan->request, error);
        }
        previous = key;
        if (scan->has_last && sign * compare(&key, &scan->last) <= 0)
            continue;
        if (scan->left == 0 || (scan->has_end && compare(&key, &scan->end) > 0))
            break;
        err = hand_out(scan, &record, error);
        if (err != MT_OK)
            return err;
    }
    *full = received == most;
    *fresh = scan->handed - handed_before;
    return err;
}

static enum mt_err fail_stuck(struct scan *scan, struct mt_error *error)
{
    (void)mt_error_set(error, MT_ERR_BAD_DATA, "a page as full of records of one second as can be");
    return http_fail_foreign(scan->store, &scan->request, error);
}

static enum mt_err scan_newest(struct scan *scan, struct mt_error *error)
{
    struct page page = {.from = scan->query->from,
                        .to = scan->query->to,
                        .skip = scan->query->skip,
                        .order = MT_NEWEST_FIRST};

    for (;;) {
        bool full = false;
        int64_t fresh = 0;
        enum mt_err err;

        page.limit = scan->left < MT_WIRE_PAGE_RECORDS ? scan->left : MT_WIRE_PAGE_RECORDS;
        err = take_page(scan, &page, &full, &fresh, error);
        if (err != MT_OK || !full || scan->left == 0)
            return err;
        if (fresh == 0)
            return fail_stuck(scan, error);
        if (scan->last.timestamp != scan->first_second) {
            page.to = scan->last.timestamp + 1;
            page.skip = scan->in_second;
        } else {
            /* how many of this second were skipped is not known, so all of them again */
            page.skip = scan->query->skip + scan->handed;
        }
    }
}

/* what is appended while the pages are fetched would else shift or lengthen what is handed out */
static enum mt_err find_end(struct scan *scan, struct mt_error *error)
{
    const struct page newest = {.from = scan->query->from,
                                .to = scan->query->to,
                                .skip = scan->query->skip,
                                .limit = 1,
                                .order = MT_NEWEST_FIRST};
    struct mt_record record;
    struct mt_slice text;
    bool more = false;
    enum mt_err err = fetch(scan, &newest, error);

    if (err != MT_OK)
        return err;
    text = (struct mt_slice){scan->body.data, scan->body.length};
    err = next_record(scan, &text, &record, &more, error);
    if (err != MT_OK)
        return err;
    /* where all of it was pruned meanwhile, what was handed out is all */
    scan->end = more ? key_of(&record) : scan->last;
    scan->has_end = true;
    return MT_OK;
}

static enum mt_err scan_oldest(struct scan *scan, struct mt_error *error)
{
    struct page page = {.from = scan->query->from,
                        .to = scan->query->to,
                        .skip = scan->query->skip,
                        .limit = scan->query->limit,
                        .order = MT_OLDEST_FIRST};
    bool full = false;
    int64_t fresh = 0;
    enum mt_err err = take_page(scan, &page, &full, &fresh, error);

    /* the first page has the oldest; those that are left end where the skipped ones begin */
    if (err != MT_OK || !full || scan->left == 0)
        return err;
    err = find_end(scan, error);
    while (err == MT_OK && full && scan->left > 0 && compare(&scan->last, &scan->end) < 0) {
        page = (struct page){
            .from = scan->last.timestamp, .to = scan->end.timestamp + 1, .order = MT_OLDEST_FIRST};
        err = take_page(scan, &page, &full, &fresh, error);
        if (err == MT_OK && full && fresh == 0)
            err = fail_stuck(scan, error);
    }
    return err;
}

enum mt_err http_scan(struct mt_store *base, const struct mt_query *query, mt_emit *emit,
                      void *context, struct mt_error *error)
{
    struct scan scan = {
        .store = (struct http_store *)base,
        .query = query,
        .emit = emit,
        .context = context,
        .request = {.what = "scan", .patience = HTTP_PAGE, .query = query},
        .left = query->limit > 0 ? query->limit : INT64_MAX,
    };
    enum mt_err err = http_check_wish(scan.store, &scan.request, error);

    if (err != MT_OK || (query->hosts != NULL && query->host_count == 0))
        return err;
    mt_buf_init(&scan.target, 0);
    mt_buf_init(&scan.body, 0);
    err = query->order == MT_NEWEST_FIRST ? scan_newest(&scan, error) : scan_oldest(&scan, error);
    mt_buf_fini(&scan.target);
    mt_buf_fini(&scan.body);
    return err;
}
