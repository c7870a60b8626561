#include "api/library_output.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* One line of the library, as far as it has come; guarded by the stream's own lock. */
static struct {
    char text[512];
    size_t length;
} line;

static void log_line(void)
{
    static const char at_will[] = "failed to normalize path";
    bool harmless = strncmp(line.text, at_will, sizeof at_will - 1) == 0;

    line.text[line.length] = '\0';
    mt_log(harmless ? MT_LOG_DEBUG : MT_LOG_WARNING, "HTTP library: %s", line.text);
    line.length = 0;
}

static ssize_t take(void *cookie, const char *bytes, size_t count)
{
    (void)cookie;
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n')
            log_line();
        else if (line.length + 1 < sizeof line.text) /* a client's endless line is cut */
            line.text[line.length++] = bytes[i];
    }
    return (ssize_t)count;
}

void mt_library_output_to_log(void)
{
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = take});

    if (stream == NULL)
        return;
    /* unbuffered: a failed assertion ends the program right after its line */
    (void)setvbuf(stream, NULL, _IONBF, 0);
    stderr = stream;
}
