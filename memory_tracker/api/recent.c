#include "api/recent.h"

#include <string.h>

/* two brackets and a run of entries that may wrap from one part of the view to the next */
enum { SLICES_MOST = 8 };

void mt_recent_keep(struct mt_recent *recent, struct mt_slice target, int64_t now_s, int64_t reach,
                    const char *tag, const struct mt_page *page)
{
    struct mt_slice slices[SLICES_MOST];
    char *end = recent->body;

    if (target.length > sizeof recent->target || page->length > sizeof recent->body ||
        page->slices > SLICES_MOST)
        return;
    mt_page_slices(page, slices);
    for (size_t i = 0; i < page->slices; i++) {
        memcpy(end, slices[i].data, slices[i].length);
        end += slices[i].length;
    }
    memcpy(recent->target, target.data, target.length);
    recent->tag_length = strlen(tag);
    memcpy(recent->tag, tag, recent->tag_length + 1);
    recent->target_length = target.length;
    recent->length = page->length;
    recent->reach = reach;
    recent->now_s = now_s;
}

bool mt_recent_has(const struct mt_recent *recent, struct mt_slice target, int64_t now_s)
{
    return recent->now_s == now_s && now_s != 0 && recent->target_length == target.length &&
           memcmp(recent->target, target.data, target.length) == 0;
}
