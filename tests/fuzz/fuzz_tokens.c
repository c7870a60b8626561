/*
 * A file of tokens. What is refused says where and why, and repeats nothing of the file's words; of
 * what is accepted every grant is found by its token.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The third word of each line is looked for, if it is a token as it stands. */
static void find_all(const struct mt_tokens *tokens, const char *text, size_t size)
{
    char *copy = strndup(text, size);
    char *rest = copy;
    char *line;

    while (copy != NULL && (line = strsep(&rest, "\n")) != NULL) {
        char name[128];
        char scope[512];
        char header[1024] = "Bearer ";
        const struct mt_grant *grant;

        if (strspn(line, " \t\r") == strcspn(line, "#") ||
            sscanf(line, "%127[^ \t\r]%*[ \t\r]%511[^ \t\r]%*[ \t\r]%600[^ \t\r]", name, scope,
                   header + 7) != 3 ||
            strncmp(header + 7, "sha256:", 7) == 0)
            continue;
        grant = mt_tokens_find(tokens, mt_slice_of(header));
        if (grant == NULL || strcmp(grant->name, name) != 0)
            abort();
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct mt_tokens *tokens = NULL;
    struct mt_error error = {0};

    (void)mt_tokens_parse("file", (struct mt_slice){text, size}, &tokens, &error);
    if (tokens == NULL) {
        if (error.code != MT_ERR_CONFIG || strncmp(error.text, "file:", 5) != 0)
            abort();
        return 0;
    }
    if (mt_tokens_find(tokens, mt_slice_of("Bearer ")) != NULL)
        abort();
    (void)mt_tokens_find(tokens, (struct mt_slice){text, size});
    if (memchr(text, '\0', size) == NULL)
        find_all(tokens, text, size);
    mt_tokens_free(tokens);
    return 0;
}
