#include <string.h>

#include "store/http/http.h"

bool http_next_line(struct mt_slice *text, struct mt_slice *line, bool *cut)
{
    const char *newline;

    *cut = false;
    if (text->length == 0)
        return false;
    newline = memchr(text->data, '\n', text->length);
    if (newline == NULL) {
        *cut = true;
        return false;
    }
    *line = (struct mt_slice){text->data, (size_t)(newline - text->data)};
    text->data += line->length + 1;
    text->length -= line->length + 1;
    return true;
}
