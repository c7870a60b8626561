/*
 * A view: what a window showed at one publication; never changes, and lives until the last who
 * refers to it lets go. Any thread may read one without a lock, refer to it and let go.
 *
 * A page of a view is a run of its records as GET /memory-logs shows them. Its body, and its
 * compressed body, are pieces of memory that the view has already: nothing is rendered or copied.
 */
#ifndef MT_API_VIEW_H
#define MT_API_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/entries_hash.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/text.h"

struct mt_view; /* from mt_window_publish */

/* mt_view_ref: refers to it once more; returns view. Whoever calls it refers to view already. */
struct mt_view *mt_view_ref(struct mt_view *view);
void mt_view_unref(struct mt_view *view); /* accepts NULL */

/* mt_view_records: how many records it holds, those of the future too. */
size_t mt_view_records(const struct mt_view *view);

/* A page; a value. Lives as long as the reference to its view that its maker has. */
struct mt_page {
    struct mt_view *view;
    size_t first; /* its records: those from index first up to end, oldest first */
    size_t end;
    size_t first_part; /* the parts of the view they lie in; nothing for others */
    size_t last_part;
    size_t length; /* bytes of the body, brackets included */
    size_t slices; /* pieces of memory that the body is made of */
    struct mt_entries_hash hash;
};

/*
 * mt_view_page: the page of limit records before the newest skip ones, as a scan of the history at
 * now_s (Unix s) would give it. Records later than now_s + MT_FUTURE_SLACK_S do not show. False,
 * *page untouched, if the view does not know all of it. limit > 0; skip >= 0.
 */
bool mt_view_page(struct mt_view *view, int64_t limit, int64_t skip, int64_t now_s,
                  struct mt_page *page);

/*
 * mt_page_slices: fills page->slices slices with the body: `[`, entries joined by commas, `]`. They
 * live as long as the view.
 */
void mt_page_slices(const struct mt_page *page, struct mt_slice *slices);

/* mt_page_render: appends the body to out, for who wants it in one piece. */
void mt_page_render(const struct mt_page *page, struct mt_buf *out);

/* What one thread needs to compress; zero-initialise. Holds some 300 KiB from its first use on. */
struct mt_packer {
    void *state;
};

/* mt_packer_fini: frees the memory; packer may be used on. */
void mt_packer_fini(struct mt_packer *packer);

/* The body of a page as one member of gzip (RFC 1952); freed by mt_packed_fini. */
struct mt_packed {
    struct mt_slice *slices; /* live as long as this and the view */
    size_t count;
    size_t length; /* bytes of all slices */
    void *owned;   /* nothing for others */
};

/*
 * mt_page_to_pack: how many bytes mt_page_pack would have to compress now, since nobody did before:
 * some 15 ms for each MiB.
 */
size_t mt_page_to_pack(const struct mt_page *page);

/*
 * mt_page_pack: the page compressed. What was compressed for one page is kept in the view for the
 * next. NO_MEMORY, *packed untouched.
 */
enum mt_err mt_page_pack(const struct mt_page *page, struct mt_packer *packer,
                         struct mt_packed *packed, struct mt_error *error);

/* mt_packed_fini: to be called before the reference to the page's view is given up. Accepts a
 * zeroed one. */
void mt_packed_fini(struct mt_packed *packed);

#endif
