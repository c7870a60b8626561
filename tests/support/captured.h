/*
 * What a piece of code writes to a file descriptor: captured_begin before it, captured_end after it
 * gives the text (owned by the caller). For one descriptor at a time.
 */
#ifndef MT_TESTS_CAPTURED_H
#define MT_TESTS_CAPTURED_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

struct captured {
    FILE *file;
    int fd;
    int saved;
};

static inline struct captured captured_begin(int fd)
{
    struct captured captured = {.file = tmpfile(), .fd = fd};

    assert_non_null(captured.file);
    (void)fflush(NULL);
    captured.saved = dup(fd);
    assert_true(captured.saved >= 0);
    assert_int_equal(dup2(fileno(captured.file), fd), fd);
    return captured;
}

static inline char *captured_end(struct captured captured)
{
    char *text = calloc(1, 1 << 20);
    size_t length;

    (void)fflush(NULL);
    assert_int_equal(dup2(captured.saved, captured.fd), captured.fd);
    (void)close(captured.saved);
    rewind(captured.file);
    assert_non_null(text);
    length = fread(text, 1, (1 << 20) - 1, captured.file);
    text[length] = '\0';
    (void)fclose(captured.file);
    return text;
}

#endif
